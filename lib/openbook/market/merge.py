"""What the store has and what the vendor sends now, put together: holes are filled, history is never overwritten."""

import numpy as np
import pandas as pd

from openbook.errors import ConflictError
from openbook.market import calendar
from openbook.market.tables import ACTION_COLUMNS, Market, adjust, wide

ACTION_KEY = ["date", "symbol", "kind"]
FILING_KEY = ["available", "symbol", "item", "period_end"]
OPTIONAL_TABLES = ("fundamentals", "sectors", "members", "market_cap", "index")


def merge(stored: Market, sent: Market) -> Market:
    """`stored`, with what `sent` adds: later sessions, later names, and values that were missing.

    A stored value stays as it was, whatever the vendor sends now. Two exceptions: the last stored session may be
    corrected until a later one is stored, so that a bad evening can be mended; and of the sectors, which carry no
    date, the newest count. Raises ConflictError if one has a table that the other lacks.
    """
    _require_same_tables(stored, sent)
    base = _closed_history(stored, sent)
    ends = [day for market in (base, sent) if len(market.dates) for day in (market.dates[0], market.dates[-1])]
    dates = calendar.sessions(min(ends), max(ends))
    symbols = pd.Index(sorted({*base.symbols, *sent.symbols}), dtype="str", name="symbol")
    bars = _bars(base, sent, dates, symbols)
    actions = _add_rows(base.actions, sent.actions, ACTION_KEY, ACTION_COLUMNS)
    return Market(
        **bars,
        adjusted=adjust(bars["close"], actions),
        name=sent.name,
        execution=sent.execution,
        actions=actions,
        fundamentals=_fundamentals(base, sent),
        sectors=_sectors(stored, sent),
        members=_members(base, sent, dates, symbols),
        market_cap=_market_cap(base, sent, dates, symbols),
        index=None if sent.index is None else base.index.combine_first(sent.index).rename(sent.index.name),
        notes=sent.notes,
    )


def _require_same_tables(stored: Market, sent: Market) -> None:
    """ConflictError names the tables that only one of the two has."""
    had, has = (
        {*market.bar_fields, *(name for name in OPTIONAL_TABLES if getattr(market, name) is not None)}
        for market in (stored, sent)
    )
    if had != has or stored.execution != sent.execution:
        changes = [f"{name} is no longer sent" for name in sorted(had - has)]
        changes += [f"{name} was not sent before" for name in sorted(has - had)]
        changes = changes or [f"execution was {stored.execution}, is {sent.execution}"]
        raise ConflictError(f"the source changed: {', '.join(changes)}; keep it as it was, or start a new store")


def _closed_history(stored: Market, sent: Market) -> Market:
    """What may not change any more: all of the store, or all but its last session if `sent` ends with that too."""
    if sent.dates[-1] != stored.dates[-1]:
        return stored
    return stored.upto(stored.dates[-1] - pd.Timedelta(days=1))


def lay(table: pd.DataFrame, dates: pd.DatetimeIndex, symbols: pd.Index, empty=np.nan) -> np.ndarray:
    """A wide table's numbers on these sessions and symbols, `empty` where it has none; read-only."""
    if dates.equals(table.index) and symbols.equals(table.columns):
        return table.to_numpy()
    out = np.full((len(dates), len(symbols)), empty)
    rows, columns = dates.get_indexer(table.index), symbols.get_indexer(table.columns)
    row_of, column_of = np.flatnonzero(rows >= 0), np.flatnonzero(columns >= 0)
    out[np.ix_(rows[row_of], columns[column_of])] = table.to_numpy()[np.ix_(row_of, column_of)]
    return out


def _bars(base: Market, sent: Market, dates: pd.DatetimeIndex, symbols: pd.Index) -> dict[str, pd.DataFrame]:
    """Each field, a bar taken whole from `base` where it has one."""
    keep = ~np.isnan(lay(base.close, dates, symbols))
    return {
        field: wide(
            np.where(keep, *(lay(getattr(market, field), dates, symbols) for market in (base, sent))), dates, symbols
        )
        for field in sent.bar_fields
    }


def _market_cap(base: Market, sent: Market, dates: pd.DatetimeIndex, symbols: pd.Index) -> pd.DataFrame | None:
    if sent.market_cap is None:
        return None
    known, new = (lay(market.market_cap, dates, symbols) for market in (base, sent))
    return wide(np.where(np.isnan(known), new, known), dates, symbols)


def _members(base: Market, sent: Market, dates: pd.DatetimeIndex, symbols: pd.Index) -> pd.DataFrame | None:
    """Membership of `base` for its own sessions and symbols, of `sent` for all others."""
    if sent.members is None:
        return None
    known = np.ix_(dates.isin(base.dates), symbols.isin(base.symbols))
    out = lay(sent.members, dates, symbols, empty=False).copy()
    out[known] = lay(base.members, dates, symbols, empty=False)[known]
    return wide(out, dates, symbols)


def _fundamentals(base: Market, sent: Market) -> pd.DataFrame | None:
    if sent.fundamentals is None:
        return None
    return _add_rows(base.fundamentals, sent.fundamentals, FILING_KEY, FILING_KEY)


def _add_rows(base: pd.DataFrame, sent: pd.DataFrame, key: list[str], order: list[str]) -> pd.DataFrame:
    """The rows of `base`, and those of `sent` whose key it lacks, sorted."""
    new = sent[~pd.MultiIndex.from_frame(sent[key]).isin(pd.MultiIndex.from_frame(base[key]))]
    if new.empty:
        return base
    return pd.concat([base, new]).sort_values(order, ignore_index=True)


def _sectors(stored: Market, sent: Market) -> pd.Series | None:
    if sent.sectors is None:
        return None
    return sent.sectors.combine_first(stored.sectors).rename_axis("symbol").rename("sector").sort_index()
