"""A whole history multiplied by one factor, as vendors of adjusted prices do on every dividend, in one row.

A rewrite stands for many rows of `restated` about one symbol and field, known at one close. Each of its cells
is the one before times the factor, in the precision in which the vendor sends its numbers, and a small correction in
units of the last place. So both ways are exact, bit for bit: from the values before to the values after, and
back. A cell that does not fit is an ordinary row of `restated`.
"""

import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from openbook.common.frames import places_in
from openbook.market.restatements import RESTATED_COLUMNS, in_order, put_cells, restated_rows

DAY = "datetime64[D]"
# So many cells are a rewrite; fewer are kept as they are.
MANY = 30
# The precision of a vendor's numbers: so many decimals, or those of a float of 32 or 64 bits.
DECIMALS, SINGLE, DOUBLE = range(7), -1, -2
REWRITE_KEY = ["known", "symbol", "field"]
_ORDER = [*REWRITE_KEY, "first", "last", "factor"]
_TYPES = {
    "known": "datetime64[us]",
    "symbol": "str",
    "field": "str",
    "first": "datetime64[us]",
    "last": "datetime64[us]",
    "factor": "float64",
    "precision": "int64",
    "days": "object",
    "forth": "object",
    "back": "object",
}


def rewrite_rows(rows: Sequence[tuple] = ()) -> pd.DataFrame:
    """The table of rewrites.

    known : session at whose close the rewrite was known
    symbol, field : whose bars, and which of their numbers
    first, last : the sessions of its first and last cell
    factor, precision : values before, times the factor, rounded to the precision (DECIMALS, SINGLE, DOUBLE)
    days : the calendar days from each cell to the next, compressed
    forth, back : corrections in units of the last place, compressed: of before × factor, and of after / factor
    """
    return pd.DataFrame(list(rows), columns=list(_TYPES)).astype(_TYPES)


def packed(restated: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows that stay as they are, and the rewrites that stand for all others, in order; packed again, they stay."""
    rest, rewrites = _packed_once(restated)
    while len(rewrites):
        rest, more = _packed_once(rest)
        if more.empty:
            return rest, in_key_order(rewrites)
        rewrites = pd.concat([rewrites, more], ignore_index=True)
    return rest, rewrites


def _packed_once(restated: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same with at most one rewrite of each close, symbol and field: that of the factor of most of its cells."""
    fits = ((restated["table"] == "bars") & (restated["before"] > 0) & (restated["after"] > 0)).to_numpy()
    if fits.sum() < MANY:
        return restated, rewrite_rows()
    places, changes = np.flatnonzero(fits), restated[fits]
    days = changes["date"].to_numpy().astype(DAY).astype("int64")
    before, after = changes["before"].to_numpy(), changes["after"].to_numpy()
    keys = [changes[name].to_numpy() for name in REWRITE_KEY]
    gone, rewrites = np.zeros(len(restated), dtype=bool), []
    for rows in _groups(changes, days):
        if len(rows) < MANY or not (np.diff(days[rows]) > 0).all():
            continue
        inside, encoded = _encoded(days[rows], before[rows], after[rows])
        if encoded is not None:
            rewrites.append((*(key[rows[0]] for key in keys), *encoded))
            gone[places[rows[inside]]] = True
    if not rewrites:
        return restated, rewrite_rows()
    return restated[~gone].reset_index(drop=True), rewrite_rows(rewrites)


def in_key_order(rewrites: pd.DataFrame) -> pd.DataFrame:
    """The rewrites in the one order in which they are stored."""
    return rewrites.sort_values(_ORDER, ignore_index=True)


def _groups(changes: pd.DataFrame, days: np.ndarray) -> Iterator[np.ndarray]:
    """The places of each close, symbol and field, by day."""
    codes = [pd.factorize(changes[name])[0] for name in REWRITE_KEY]
    order = np.lexsort((days, *codes[::-1]))
    key = np.stack([code[order] for code in codes])
    return iter(np.split(order, np.flatnonzero((np.diff(key, axis=1) != 0).any(axis=0)) + 1))


def _encoded(days: np.ndarray, before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, tuple | None]:
    """Which cells fit one factor, and the rewrite for them: `rewrite_rows` from `first` on."""
    precision = _precision(before, after)
    large = before >= np.median(before)  # where rounding matters least
    factor = float(np.median(after[large] / before[large]))
    forth = _units(after, precision) - _units(before * factor, precision)
    back = _units(before, precision) - _units(after / factor, precision)
    inside = (np.abs(forth) < 128) & (np.abs(back) < 128)
    if inside.sum() < MANY:
        return inside, None
    steps = np.diff(days[inside]).astype("<u2")
    ends = days[inside][[0, -1]].astype(DAY)
    corrections = (zlib.compress(units[inside].astype("i1").tobytes()) for units in (forth, back))
    return inside, (*ends, factor, precision, zlib.compress(steps.tobytes()), *corrections)


def _precision(*numbers: np.ndarray) -> int:
    """The coarsest precision in which all of these numbers are written exactly."""
    values = np.concatenate(numbers)
    for precision in DECIMALS:
        if values.max() * 10.0**precision < 2**53 and (_number(_units(values, precision), precision) == values).all():
            return precision
    return SINGLE if (values.astype("f4") == values).all() else DOUBLE


def _units(values: np.ndarray, precision: int) -> np.ndarray:
    """Numbers above zero, rounded to the precision, counted in units of the last place."""
    if precision >= 0:
        return np.rint(values * 10.0**precision).astype("i8")
    return values.astype("f4").view("i4").astype("i8") if precision == SINGLE else values.astype("f8").view("i8")


def _number(units: np.ndarray, precision: int) -> np.ndarray:
    if precision >= 0:
        return units / 10.0**precision
    return units.astype("i4").view("f4").astype("f8") if precision == SINGLE else units.view("f8")


def _moved(values: np.ndarray, one, forth: bool) -> np.ndarray:
    """The cells of a rewrite after it, or before it; missing stays missing."""
    there = ~np.isnan(values)
    scaled = values[there] * one.factor if forth else values[there] / one.factor
    units = np.frombuffer(zlib.decompress(one.forth if forth else one.back), "i1")[there]
    out = values.copy()
    out[there] = _number(_units(scaled, one.precision) + units, one.precision)
    return out


def _days_of(one) -> np.ndarray:
    first = np.datetime64(one.first, "D").astype("int64")
    return first + np.concatenate([[0], np.cumsum(np.frombuffer(zlib.decompress(one.days), "<u2"), dtype="int64")])


class Grid:
    """Where the cells of a rewrite lie in sessions × symbols."""

    def __init__(self, dates: pd.Index, symbols: pd.Index):
        self.days, self.symbols = dates.to_numpy().astype(DAY).astype("int64"), symbols
        self.dates = dates

    def move(self, values: np.ndarray, one, forth: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Lay a rewrite on the array, or take it back; returns the rows of its cells and the numbers before and after.

        The cells of other sessions are left out.
        """
        column, days = places_in(self.symbols, [one.symbol])[0], _days_of(one)
        row = np.searchsorted(self.days, days)
        inside = row < len(self.days)
        inside[inside] = self.days[row[inside]] == days[inside]
        if column < 0 or not inside.any():
            return np.zeros(0, dtype="int64"), np.zeros(0), np.zeros(0)
        had = np.full(len(days), np.nan)
        had[inside] = values[row[inside], column]
        has = _moved(had, one, forth)
        values[row[inside], column] = has[inside]
        before, after = (had, has) if forth else (has, had)
        return row[inside], before[inside], after[inside]


def put_in_turn(values: np.ndarray, rows: pd.DataFrame, rewrites: pd.DataFrame, side: str, grid: Grid) -> None:
    """Apply restatements of one field to its sessions × symbols array (side: after), or undo them (before).

    rows, rewrites : oldest first; ordinary rows as `put_cells` takes them
    """
    for part in _turns(rows, rewrites, side):
        if isinstance(part, pd.DataFrame):
            put_cells(values, part, side, grid.dates, grid.symbols)
        else:
            grid.move(values, part, side == "after")


def _turns(rows: pd.DataFrame, rewrites: pd.DataFrame, side: str) -> list:
    """Ordinary rows and rewrites as they follow each other: pieces of the table of rows, and single rewrites."""
    closes: Any = rewrites["known"].unique()
    ends = np.searchsorted(rows["known"].to_numpy(), closes.to_numpy(), side="right")
    out = []
    for start, end, close in zip([0, *ends[:-1]], ends, closes, strict=True) if len(closes) else []:
        out += [rows.iloc[start:end], *rewrites[rewrites["known"] == close].itertuples()]
    out.append(rows.iloc[ends[-1] if len(ends) else 0 :])
    if side == "after":
        return out
    return [part[::-1] if isinstance(part, pd.DataFrame) else part for part in reversed(out)]


def spelled_out(tables: dict[str, pd.DataFrame], rows: pd.DataFrame, rewrites: pd.DataFrame) -> pd.DataFrame:
    """Rewrites cell by cell, as rows of `restated`.

    tables : sessions × symbols as they are known after all of `rows` and `rewrites`, by field
    rows : the ordinary rows beside the rewrites, oldest first
    """
    out = [restated_rows()]
    for field, ours in rewrites.groupby("field", sort=False):
        table = tables[str(field)]
        values, grid = table.to_numpy().copy(), Grid(table.index, table.columns)
        cells = rows[(rows["table"] == "bars") & (rows["field"] == field)]
        for part in _turns(cells, ours, "before"):
            if isinstance(part, pd.DataFrame):
                put_cells(values, part, "before", grid.dates, grid.symbols)
                continue
            row, before, after = grid.move(values, part, forth=False)
            cell = {"table": "bars", "symbol": part.symbol, "field": part.field, "known": part.known}
            out.append(restated_rows(**cell, date=grid.dates[row], before=before, after=after))
    return in_order(pd.concat(out, ignore_index=True)[RESTATED_COLUMNS])
