"""Restatements of sessions already delivered: one long table, which can be applied and undone.

Each row: at the close of session `known`, the vendor restated the value `before` as `after`. Applied in order to
the first delivery, the rows give what is known now; undone in reverse, they give the past as it was known then.
"""

from typing import Any

import numpy as np
import pandas as pd

from openbook.common.frames import places_in

RESTATED_COLUMNS = ["known", "table", "symbol", "date", "field", "period_end", "before", "after"]
WIDE_TABLES = ("bars", "market_cap")
# How the rows of the long tables are written here: our column → theirs.
LONG_TABLES = {
    "actions": {"date": "date", "symbol": "symbol", "field": "kind"},
    "fundamentals": {"date": "available", "symbol": "symbol", "field": "item", "period_end": "period_end"},
    "sectors": {"symbol": "symbol", "field": "sector"},
    "sector_spells": {"date": "start", "symbol": "symbol", "field": "sector"},
}
# A row without a number: a delisting with unknown return.
NO_NUMBER = np.inf
_TYPES = {
    "known": "datetime64[us]",
    "table": "str",
    "symbol": "str",
    "date": "datetime64[us]",
    "field": "str",
    "period_end": "datetime64[us]",
    "before": "float64",
    "after": "float64",
}


def restated_rows(**columns) -> pd.DataFrame:
    """Lines of the table, RESTATED_COLUMNS; what is not given is missing (NaT, NaN).

    known : session at whose close the restatement was known
    table : bars, market_cap, index, actions, fundamentals, sectors, sector_spells
    date : session of a bar, day of an action, first day of use of a report or a sector; NaT for an undated sector
    field : of the bars, market_cap, index, kind of action, item of a report, name of the sector
    period_end : of a report
    before, after : the number; NaN: missing before, or missing after. A sector that counts is 1
    """
    empty: dict[str, Any] = {"known": pd.NaT, "date": pd.NaT, "period_end": pd.NaT, "before": np.nan, "after": np.nan}
    frame = pd.DataFrame(columns if "symbol" in columns else columns | {"symbol": []})
    missing = {name: empty[name] for name in RESTATED_COLUMNS if name not in frame and name in empty}
    texts: dict[str, Any] = {name: "" for name in ("table", "field") if name not in frame}
    return frame.assign(**missing, **texts)[RESTATED_COLUMNS].astype(_TYPES)


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows in the one order in which they are stored and hashed."""
    return rows.sort_values(RESTATED_COLUMNS, ignore_index=True)


def composed(rows: pd.DataFrame) -> pd.DataFrame:
    """Successive rows of one `known`, merged as if delivered at once."""
    wide = rows["table"].isin([*WIDE_TABLES, "index"])
    cell = ["known", "table", "symbol", "date", "field", "period_end"]
    value = rows["before"].fillna(rows["after"]).mask(wide, 0.0)
    groups = rows.assign(value=value).groupby([*cell, "value"], dropna=False, sort=False)
    ends = groups.agg(first=("before", lambda v: v.iloc[0]), last=("after", lambda v: v.iloc[-1])).reset_index()
    ends = ends.rename(columns={"first": "before", "last": "after"})[RESTATED_COLUMNS].astype(_TYPES)
    same = (ends["before"] == ends["after"]) | (ends["before"].isna() & ends["after"].isna())
    return in_order(ends[~same])


def put_cells(values: np.ndarray, rows: pd.DataFrame, side: str, dates: pd.Index, symbols: pd.Index) -> None:
    """Write column `side` of the rows into a sessions × symbols array, in their order; other cells are left out."""
    if rows.empty:
        return
    row, column = places_in(dates, rows["date"]), places_in(symbols, rows["symbol"])
    inside = (row >= 0) & (column >= 0)
    values[row[inside], column[inside]] = rows[side].to_numpy()[inside]


def put_rows(name: str, table: pd.DataFrame, rows: pd.DataFrame, side: str) -> pd.DataFrame:
    """A long table with the rows of column `side` (before, after), and without those of the other one; unsorted."""
    rows = rows[rows["table"] == name]
    if rows.empty:
        return table
    opposite = "before" if side == "after" else "after"
    parts = [table.assign(count=1), _as_rows(name, rows, side, 1), _as_rows(name, rows, opposite, -1)]
    both = pd.concat(parts, ignore_index=True)
    count = both.groupby(list(table.columns), dropna=False, sort=False)["count"].sum()
    return count[count > 0].reset_index().drop(columns="count").astype(dict(table.dtypes))


def _as_rows(name: str, rows: pd.DataFrame, side: str, count: int) -> pd.DataFrame:
    """One side of the rows as rows of the long table itself."""
    rows = rows[rows[side].notna()]
    frame = pd.DataFrame({theirs: rows[ours] for ours, theirs in LONG_TABLES[name].items()})
    if name not in ("sectors", "sector_spells"):
        frame["value"] = rows[side].replace(NO_NUMBER, np.nan)
    return frame.assign(count=count)


def put_index(index: pd.Series, rows: pd.DataFrame, side: str) -> pd.Series:
    """Closes of the index with column `side` of the rows laid over them, in their order."""
    rows = rows[rows["table"] == "index"]
    if rows.empty:
        return index
    laid = rows.drop_duplicates("date", keep="last").set_index("date")[side]
    out = pd.concat([index[~index.index.isin(laid.index)], laid]).dropna().sort_index().rename(index.name)
    return out.set_axis(pd.DatetimeIndex(out.index, name=index.index.name).as_unit("us"))
