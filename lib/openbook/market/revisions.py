"""How what the vendor sends now differs from what it sent before."""

import numpy as np
import pandas as pd

from openbook.market.merge import ACTION_KEY, FILING_KEY, lay
from openbook.market.tables import Market

REVISION_COLUMNS = ["symbol", "field", "first", "last", "values", "largest"]
# A difference in the tenth digit is a vendor's rounding.
SAME = 1e-9


def find_revisions(stored: Market | None, sent: Market) -> pd.DataFrame:
    """Stored values that `sent` contradicts or no longer has, over the sessions of both.

    Columns: symbol; field (of the bars, market_cap, member, index, sector, kind of action, item of a report); first and
    last date; number of values; largest |sent / stored − 1|, NaN where there is no number to compare.
    """
    if stored is None:
        return _table([])
    stored = stored.upto(sent.dates[-1])
    parts = [*_wide_revisions(stored, sent), *_dated_revisions(stored, sent)]
    out = pd.concat([part for part in parts if len(part)] or [_table([])])
    return out.sort_values(["symbol", "field"], ignore_index=True)


def late_bars(stored: Market | None, merged: Market) -> pd.DataFrame:
    """Bars of sessions that were stored already without them: symbol, first, last, values."""
    if stored is None:
        return _table([])[["symbol", "first", "last", "values"]]
    dates = merged.dates[merged.dates <= stored.dates[-1]]
    had = ~np.isnan(lay(stored.close, dates, merged.symbols))
    added = ~np.isnan(merged.close.to_numpy()[: len(dates)]) & ~had
    rows = [
        _row(symbol, "bar", dates[added[:, i]], np.nan) for i, symbol in enumerate(merged.symbols) if added[:, i].any()
    ]
    return _table(rows)[["symbol", "first", "last", "values"]]


def _table(rows: list[tuple]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=REVISION_COLUMNS)
    types = {"symbol": "str", "field": "str", "first": "datetime64[us]", "last": "datetime64[us]"}
    return table.astype(types | {"values": "int64", "largest": "float64"})


def _row(symbol: str, field: str, dates: pd.DatetimeIndex, largest: float) -> tuple:
    return (symbol, field, dates.min(), dates.max(), len(dates), largest)


def _wide_revisions(stored: Market, sent: Market) -> list[pd.DataFrame]:
    """Revisions of the sessions × symbols tables, one row per symbol and field."""
    parts = []
    dates = stored.dates[stored.dates >= sent.dates[0]]
    for field in (*stored.bar_fields, "market_cap", "members"):
        if getattr(stored, field) is None:
            continue
        empty = False if field == "members" else np.nan
        old, new = (lay(getattr(market, field), dates, stored.symbols, empty) for market in (stored, sent))
        parts.append(_table(list(_changed(old, new, dates, stored.symbols, field))))
    return parts


def _changed(old: np.ndarray, new: np.ndarray, dates: pd.DatetimeIndex, symbols: pd.Index, field: str):
    """One row for each symbol with a value that differs; what was missing and came late is no revision."""
    numbers = old.dtype != bool
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.abs(new / old - 1) if numbers else (old != new).astype(float)
    change[old == new] = 0.0
    differs = ~(change <= SAME) & (~np.isnan(old) if numbers else True)
    for column in np.flatnonzero(differs.any(axis=0)):
        rows = differs[:, column]
        sizes = change[rows, column]
        largest = np.nanmax(sizes) if numbers and not np.isnan(sizes).all() else np.nan
        yield _row(symbols[column], "member" if field == "members" else field, dates[rows], float(largest))


def _dated_revisions(stored: Market, sent: Market) -> list[pd.DataFrame]:
    """Revisions of actions, reports, the index and the sectors."""
    parts = [_lost_rows(stored.actions, sent.actions, ACTION_KEY, "kind")]
    if stored.fundamentals is not None:
        parts.append(_lost_rows(stored.fundamentals, sent.fundamentals, FILING_KEY, "item"))
    if stored.index is not None:
        old, new = (market.index.to_frame("index") for market in (stored, sent))
        new = new.reindex(old.index).to_numpy()
        parts.append(_table(list(_changed(old.to_numpy(), new, old.index, pd.Index([stored.index.name]), "index"))))
    if stored.sectors is not None and sent.sectors is not None:
        now = sent.sectors.reindex(stored.sectors.index)
        moved = stored.sectors.index[(now.notna() & (now != stored.sectors)).to_numpy()]
        parts.append(_table([_row(symbol, "sector", stored.dates[-1:], np.nan) for symbol in moved]))
    return parts


def _lost_rows(stored: pd.DataFrame, sent: pd.DataFrame, key: list[str], field: str) -> pd.DataFrame:
    """Stored rows that `sent` has no more, or with another value, one row each."""
    both = [pd.MultiIndex.from_frame(table[[*key, "value"]]) for table in (stored, sent)]
    lost = stored[~both[0].isin(both[1])]
    return _table(
        [_row(row["symbol"], row[field], pd.DatetimeIndex([row[key[0]]]), np.nan) for _, row in lost.iterrows()]
    )
