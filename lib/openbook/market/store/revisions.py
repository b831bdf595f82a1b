"""Differences between a vendor's delivery now and its earlier ones."""

from typing import cast

import numpy as np
import pandas as pd

from openbook.market.store.merge import ACTION_KEY, SAME, lay
from openbook.market.tables import FILING_KEY, Market, sectors_on

REVISION_COLUMNS = ["symbol", "field", "first", "last", "values", "largest"]


def find_revisions(stored: Market | None, sent: Market, *, since: pd.Timestamp | None = None) -> pd.DataFrame:
    """Stored values that `sent` contradicts or no longer has, over the sessions of both, from `since` on.

    Columns: symbol; field (of the bars, market_cap, member, index, sector, kind of action, item of a report); first and
    last date; number of values; largest |sent / stored − 1|, NaN where there is no number to compare.
    """
    if stored is None:
        return _table([])
    stored = stored.upto(sent.dates[-1])
    parts = [*_wide_revisions(stored, sent, since), *_dated_revisions(stored, sent, since)]
    out = pd.concat([part for part in parts if len(part)] or [_table([])])
    return out.sort_values(["symbol", "field"], ignore_index=True)


def _table(rows: list[tuple]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=REVISION_COLUMNS)
    types = {"symbol": "str", "field": "str", "first": "datetime64[us]", "last": "datetime64[us]"}
    return table.astype(types | {"values": "int64", "largest": "float64"})


def _row(symbol: str, field: str, dates: pd.DatetimeIndex, largest: float) -> tuple:
    return (symbol, field, dates.min(), dates.max(), len(dates), largest)


def _wide_revisions(stored: Market, sent: Market, since) -> list[pd.DataFrame]:
    """Revisions of the sessions × symbols tables, one row per symbol and field."""
    parts = []
    dates = stored.dates[stored.dates >= (sent.dates[0] if since is None else since)]
    for field in (*stored.bar_fields, "market_cap", "members"):
        if getattr(stored, field) is None:
            continue
        empty = False if field == "members" else np.nan
        old, new = (lay(getattr(market, field), dates, stored.symbols, empty) for market in (stored, sent))
        parts.append(_table(list(_changed(old, new, dates, stored.symbols, field))))
    return parts


def _changed(old: np.ndarray, new: np.ndarray, dates: pd.Index, symbols: pd.Index, field: str):
    """One row for each symbol with a value that differs; what was missing and came late is no revision."""
    numbers = old.dtype != bool
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.abs(new / old - 1) if numbers else (old != new).astype(float)
    change[old == new] = 0.0
    differs = ~(change <= SAME) & (~np.isnan(old) if numbers else True)
    for column in np.flatnonzero(differs.any(axis=0)).tolist():
        rows = differs[:, column]
        sizes = change[rows, column]
        largest = np.nanmax(sizes) if numbers and not np.isnan(sizes).all() else np.nan
        yield _row(symbols[column], "member" if field == "members" else field, dates[rows], float(largest))


def _dated_revisions(stored: Market, sent: Market, since) -> list[pd.DataFrame]:
    """Revisions of actions, reports, the index and the sectors."""
    parts = [_lost_rows(_from(stored.actions, "date", since), sent.actions, ACTION_KEY, "kind")]
    if stored.fundamentals is not None:
        filed = _from(stored.fundamentals, "available", since)
        parts.append(_lost_rows(filed, cast(pd.DataFrame, sent.fundamentals), FILING_KEY, "item"))
    if stored.index is not None:
        old, new = (cast(pd.Series, market.index).loc[since:].to_frame("index") for market in (stored, sent))
        again = new.reindex(old.index).to_numpy()
        parts.append(_table(list(_changed(old.to_numpy(), again, old.index, pd.Index([stored.index.name]), "index"))))
    if stored.sectors is not None and sent.sectors is not None:
        then = sent.sectors if sent.sector_spells is None else sectors_on(sent.sector_spells, stored.dates[-1])
        now = then.reindex(stored.sectors.index)
        moved = stored.sectors.index[(now.notna() & (now != stored.sectors)).to_numpy()]
        parts.append(_table([_row(symbol, "sector", stored.dates[-1:], np.nan) for symbol in moved]))
    return parts


def _from(table: pd.DataFrame, column: str, since: pd.Timestamp | None) -> pd.DataFrame:
    return table if since is None else table[table[column] >= since]


def _lost_rows(stored: pd.DataFrame, sent: pd.DataFrame, key: list[str], field: str) -> pd.DataFrame:
    """Stored rows that `sent` has no more, or with another value, one row each."""
    both = [pd.MultiIndex.from_frame(table[[*key, "value"]]) for table in (stored, sent)]
    lost = stored[~both[0].isin(both[1])]
    return _table(
        [_row(row["symbol"], row[field], pd.DatetimeIndex([row[key[0]]]), np.nan) for _, row in lost.iterrows()]
    )
