"""Decisions of earlier sealed pages, read back from their files."""

import csv
import math
from pathlib import Path
from typing import cast

from openbook.common.errors import DataError
from openbook.common.files import storage
from openbook.runs.runs_folder import RunsFolder, read_run
from openbook.runs.stage import plain_text

WEIGHTS = "portfolio_weights.csv"


def target_weights(previous: str | None, *, dry_run: bool):
    """The target weights of every sealed daily run up to the folder `previous` that led to orders, dates × symbols and
    CASH, 0 where a name was not wanted; without rows if `previous` is None.

    dry_run : true reads the pages of the paper book, false those of the live one. DataError for a file without weights.
    """
    import pandas as pd

    rows = {}
    runs = [] if previous is None else RunsFolder(Path(previous).parents[1]).list(Path(previous).parent.name)
    for run in runs:
        about = read_run(run.folder) if run.folder.name <= Path(cast(str, previous)).name else {"recorded": {}}
        if about["recorded"].get("orders") and about["params"]["dry_run"] is dry_run:
            rows[pd.Timestamp(run.date)] = _weights(run.folder / WEIGHTS)
    return pd.DataFrame.from_dict(rows, orient="index", dtype="float64").fillna(0.0).sort_index()


def _weights(file: Path) -> dict[str, float]:
    with storage(f"read {file}"), open(file, encoding="utf-8", newline="") as lines:
        try:
            found = {plain_text(row["symbol"]): float(row["weight"]) for row in csv.DictReader(lines)}
            if not all(map(math.isfinite, found.values())):
                raise ValueError("a weight is not a number")
            return found
        except (LookupError, ValueError, TypeError, AttributeError, csv.Error) as error:
            raise DataError(f"cannot read weights from {file}: {error}") from None
