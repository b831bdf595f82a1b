"""A parallel run: the target weights of another process beside those of a sealed day."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from openbook.app.pre_trade_recheck import read_written
from openbook.common.constants import CASH
from openbook.common.errors import DataError, UsageError
from openbook.common.frames import plain_rows
from openbook.decision.sealed_inputs import sealed_day
from openbook.portfolio.turnover import turnover

COLUMNS = ["symbol", "weight"]
BIGGEST = 15  # rows for a terminal
TINY = 5e-5  # a difference that is shown as none
ROUNDED = 1e-3  # by so much rounded weights may miss 1


@dataclass(frozen=True, eq=False)
class Beside:
    """Target weights of a sealed day and of a file.

    table : symbol, openbook, theirs, difference (theirs less openbook), largest difference first, CASH included
    """

    date: str
    file: str
    table: pd.DataFrame

    @property
    def turnover(self) -> float:
        """½Σ|difference|, cash included: what one would trade to become the other."""
        return turnover(self.table["theirs"], self.table["openbook"])

    @property
    def document(self) -> dict[str, Any]:
        """All of it for a program; weights are fractions of the portfolio."""
        rows = plain_rows(self.table)
        return {"date": self.date, "file": self.file, "weights": rows, "turnover": self.turnover}

    @property
    def lines(self) -> list[str]:
        """All of it for a terminal."""
        moved = self.table[self.table["difference"].abs() >= TINY]
        formats = {"openbook": "{:.2%}".format, "theirs": "{:.2%}".format, "difference": "{:+.2%}".format}
        rows = moved.head(BIGGEST).to_string(index=False, formatters=formats).splitlines() if len(moved) else []
        more = [f"… and {len(moved) - BIGGEST} smaller differences"] if len(moved) > BIGGEST else []
        return [f"target weights of {self.date} beside {self.file}", *rows, *more, self.sentence]

    @property
    def sentence(self) -> str:
        """How far the two are apart, in words."""
        names = self.table[self.table["symbol"] != CASH]
        held = {side: set(names.loc[names[side] > 0, "symbol"]) for side in ("openbook", "theirs")}
        both = len(held["openbook"] & held["theirs"])
        counts = (
            f"{both} names in both, {len(held['openbook']) - both} only here, {len(held['theirs']) - both} only there"
        )
        return f"turnover between them {self.turnover:.1%}; {counts}"


def beside(runs: str | Path, date: str, file: str | Path) -> Beside:
    """The target weights of a sealed daily run and those of a CSV file with columns symbol and weight.

    Weights are fractions of the portfolio, not negative. Without a row CASH, cash is what they leave to 1.

    Raises UsageError (64) if the day is not sealed or there is no such file, DataError (30) naming what is wrong in it.
    """
    ours = read_written(sealed_day(Path(runs), date)).weights
    theirs = read_weights(Path(file))
    table = pd.DataFrame({"openbook": ours, "theirs": theirs}).fillna(0.0).rename_axis("symbol")
    table["difference"] = table["theirs"] - table["openbook"]
    table = table.sort_index().sort_values("difference", key=lambda values: -values.abs(), kind="stable")
    return Beside(date, Path(file).name, table.reset_index())


def read_weights(file: Path) -> pd.Series:
    """Weights by symbol, CASH included, that sum to 1 but for rounding."""
    if not file.is_file():
        raise UsageError(f"no file {file}; --weights takes a CSV file with columns symbol and weight")
    try:
        table = pd.read_csv(file, usecols=COLUMNS, dtype="str", keep_default_na=False)
    except (ValueError, OSError) as error:
        raise DataError(f"{file} cannot be read: {' '.join(str(error).split())}; columns: symbol, weight") from None
    weights = pd.to_numeric(table["weight"], errors="coerce").astype("float64").set_axis(table["symbol"])
    _require_weights(weights, table, file)
    total = float(weights.sum())
    if CASH not in weights.index and total <= 1 + ROUNDED:
        return pd.concat([weights, pd.Series({CASH: max(0.0, 1 - total)})])
    if not abs(total - 1) <= ROUNDED:
        raise DataError(f"{file}: the weights add up to {total:g}, not 1; write fractions, such as 0.05 for 5%")
    return weights


def _require_weights(weights: pd.Series, table: pd.DataFrame, file: Path) -> None:
    """DataError naming the first row that is no weight, or a symbol that is there twice."""
    bad = ~(np.isfinite(weights.to_numpy()) & (weights.to_numpy() >= 0)) | (table["symbol"] == "").to_numpy()
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        row = f"{table['symbol'].iloc[at]!r}, {table['weight'].iloc[at]!r}"
        raise DataError(f"{file}: row {at + 1} ({row}) is no symbol with a weight of 0 or more")
    if not weights.index.is_unique:
        raise DataError(f"{file}: {weights.index[weights.index.duplicated()][0]} is there twice; keep one row")
