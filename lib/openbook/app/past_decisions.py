"""All sealed runs of a desk as tables: the runs, their orders, and what the books held at each close."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from openbook.app.service import read_trades
from openbook.common.constants import CASH
from openbook.common.desk_folder import runs_folder
from openbook.decision.sealed_inputs import read_settlement
from openbook.execution.orders import TRADE_COLUMNS
from openbook.runs.runs_folder import RunsFolder, read_run

RUN_COLUMNS = ["notebook", "date", "version", "newest", "profile", "folder"]
ABOUT = ["date", "book"]
POSITION_COLUMNS = [*ABOUT, "symbol", "shares", "price", "value"]


def load_runs(runs: str | Path | None = None) -> pd.DataFrame:
    """One row per sealed run, by date: RUN_COLUMNS, then what the run recorded of itself, such as `verdict`, `equity`,
    `model`; NaN where it did not.

    runs : a runs folder; None: that of the desk. newest : no later version of the same date superseded it

    Raises UsageError (64) without a desk, AuditError (90) for a run that cannot be read.

    Examples
    --------
    >>> list(ob.load_runs("runs").columns[:3])
    ['notebook', 'date', 'version']
    """
    rows = []
    for run, newest in _sealed(runs):
        about = read_run(run.folder)
        place = [run.notebook, pd.Timestamp(run.date), run.version, newest, about.get("profile"), str(run.folder)]
        rows.append(dict(zip(RUN_COLUMNS, place, strict=True)) | about.get("recorded", {}))
    columns = list(dict.fromkeys([*RUN_COLUMNS, *(name for row in rows for name in row)]))
    return pd.DataFrame(rows, columns=columns).sort_values(["date", "notebook", "version"], ignore_index=True)


def load_trades(runs: str | Path | None = None) -> pd.DataFrame:
    """The orders of every daily run that counts: `date`, `book`, then the columns of trades.csv.

    A run that was superseded does not count. runs : as in `load_runs`

    Raises what `load_runs` does, BookError (60) for a file that cannot be read.

    Examples
    --------
    >>> list(ob.load_trades("runs").columns[:4])
    ['date', 'book', 'symbol', 'side']
    """
    tables = [read_trades(folder / "trades.csv").assign(date=date, book=book) for folder, (date, book) in _days(runs)]
    columns = [*ABOUT, *TRADE_COLUMNS]
    filled = [table[columns] for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)


def load_positions(runs: str | Path | None = None) -> pd.DataFrame:
    """What the books held at the close of every daily run that counts: POSITION_COLUMNS, USD; a row CASH each.

    runs : as in `load_runs`. price : the close, or the last one known

    Raises what `load_trades` does.

    Examples
    --------
    >>> list(ob.load_positions("runs").columns)
    ['date', 'book', 'symbol', 'shares', 'price', 'value']
    """
    rows: list[tuple] = []
    for folder, about in _days(runs):
        settled = read_settlement(folder)
        rows += [
            (*about, row.symbol, row.shares / settled.share_units, row.price, row.value_cents / 100)
            for row in settled.holdings
        ]
        rows.append((*about, CASH, settled.cash, 1.0, settled.cash))
    return pd.DataFrame(rows, columns=POSITION_COLUMNS)


def _sealed(runs: str | Path | None) -> Iterator[tuple[Any, bool]]:
    """Each sealed run, and whether it is the newest of its date."""
    found = RunsFolder(runs_folder(runs)).list()
    newest = {(run.notebook, run.date): run.version for run in found}
    for run in found:
        yield run, run.version == newest[run.notebook, run.date]


def _days(runs: str | Path | None) -> Iterator[tuple[Path, tuple[pd.Timestamp, str]]]:
    """Folder, date and book of each daily run that counts, oldest first."""
    for run, newest in _sealed(runs):
        if run.notebook == "daily_run" and newest:
            book = "paper" if read_run(run.folder)["params"]["dry_run"] else "live"
            yield run.folder, (pd.Timestamp(run.date), book)
