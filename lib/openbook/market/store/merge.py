"""What an update adds to the store: new sessions, and restatements. History is never rewritten.

A session is new once: its first delivery is stored as it is. Whatever the vendor changes later about a session that it
has delivered before, late bars too, is a restatement, dated by the session at whose close it was known.
"""

from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd

from openbook.common.errors import ConflictError
from openbook.market import calendar
from openbook.market.restatements import LONG_TABLES, NO_NUMBER, in_order, restated_rows
from openbook.market.tables import Market, sector_rows, wide

ACTION_KEY = ["date", "symbol", "kind"]
OPTIONAL_TABLES = ("fundamentals", "sectors", "sector_spells", "members", "market_cap", "index")
# A difference in the tenth digit is a vendor's rounding.
SAME = 1e-9


class Delta(NamedTuple):
    """What one update adds.

    plain : the new sessions, and the actions, reports and sectors first known with them
    spells : symbol, first, last: membership in the new sessions, and all of it for new names; None without membership
    restated : its restatements of earlier sessions, `restatements.restated_rows`
    refused : REFUSED_COLUMNS and `known`, the session since which it is known
    """

    plain: Market
    spells: pd.DataFrame | None
    restated: pd.DataFrame
    refused: pd.DataFrame


def tables_of(market: Market) -> set[str]:
    """Names of the fields and optional tables that a market has."""
    return {*market.bar_fields, *(name for name in OPTIONAL_TABLES if getattr(market, name) is not None)}


def require_same_tables(stored: Market, sent: Market) -> None:
    """ConflictError names the tables that only one of the two has."""
    had, has = tables_of(stored), tables_of(sent)
    if had != has or stored.execution != sent.execution:
        changes = [f"{name} is no longer sent" for name in sorted(had - has)]
        changes += [f"{name} was not sent before" for name in sorted(has - had)]
        changes = changes or [f"execution was {stored.execution}, is {sent.execution}"]
        raise ConflictError(f"the source changed: {', '.join(changes)}; restore the old settings, or start a new store")


def plain_part(sent: Market, closed, listed: pd.Index) -> Market:
    """The sessions of `sent` after `closed`, and what is first known with them; of names not `listed`, all there is.

    closed : the last session that may not change any more, or None if there is none
    """
    if closed is None:
        return sent
    after = closed + pd.Timedelta(days=1)
    dates = calendar.sessions(after, sent.dates[-1]) if sent.dates[-1] >= after else sent.dates[:0]
    cut: dict[str, Any] = {
        name: wide(lay(table, dates, sent.symbols), dates, sent.symbols) for name, table in wide_tables(sent).items()
    }
    if sent.members is not None:
        cut["members"] = wide(lay(sent.members, dates, sent.symbols, empty=False), dates, sent.symbols)
    young = ~sent.symbols.isin(listed)
    new = sent.symbols[young]
    rest: dict[str, Any] = {"actions": _new_rows(sent.actions, "date", closed, new)}
    if sent.fundamentals is not None:
        rest["fundamentals"] = _new_rows(sent.fundamentals, "available", closed, new)
    if sent.sectors is not None:
        rest["sectors"] = sent.sectors[sent.sectors.index.isin(new)]
    if sent.sector_spells is not None:
        rest["sector_spells"] = _new_rows(sent.sector_spells, "start", closed, new)
    if sent.index is not None:
        rest["index"] = sent.index[sent.index.index > closed]
    about: dict[str, Any] = {"name": sent.name, "execution": sent.execution, "notes": sent.notes}
    return Market(**cut, adjusted=cut["close"], **rest, **about)


def wide_tables(market: Market) -> dict[str, pd.DataFrame]:
    """The tables of numbers by session and symbol, by name."""
    names = (*market.bar_fields, *([] if market.market_cap is None else ["market_cap"]))
    return {name: getattr(market, name) for name in names}


def _new_rows(table: pd.DataFrame, since: str, closed: pd.Timestamp, new: pd.Index) -> pd.DataFrame:
    return table[(table[since] > closed) | table["symbol"].isin(new)].reset_index(drop=True)


def plain_members(sent: Market, closed, listed: pd.Index, first: pd.Timestamp) -> pd.DataFrame | None:
    """Membership to be stored, sessions × symbols: after `closed` for all, before for names that are not `listed`."""
    if sent.members is None or closed is None:
        return sent.members
    young = ~sent.symbols.isin(listed)
    counts = (sent.dates > closed)[:, None] | (young[None, :] & (sent.dates >= first)[:, None])
    return sent.members & counts


def differences(stored: Market, sent: Market, *, since: pd.Timestamp, known: pd.Timestamp) -> pd.DataFrame:
    """Differences of `sent` from `stored` in the sessions of `stored` from `since` on, as restatements.

    A bar, a cap, a close of the index or a sector that is missing now is not taken back: vendors drop names. An action
    or a report that is missing is, if its symbol was sent. Differences below SAME are ignored.
    """
    dates = stored.dates[(stored.dates >= max(since, sent.dates[0])) & (stored.dates <= sent.dates[-1])]
    parts = [*_cells(stored, sent, dates), *_long_rows(stored, sent, since)]
    if stored.index is not None:
        parts.append(_index_rows(stored, sent))
    return in_order(pd.concat([restated_rows(), *parts], ignore_index=True).assign(known=known))


def _cells(stored: Market, sent: Market, dates: pd.DatetimeIndex) -> list[pd.DataFrame]:
    """Restated cells of the sessions × symbols tables."""
    parts, symbols = [], sent.symbols
    bar = ~np.isnan(lay(sent.close, dates, symbols))
    for field in wide_tables(stored):
        old, new = (lay(getattr(market, field), dates, symbols) for market in (stored, sent))
        stated = ~np.isnan(new) if field == "market_cap" else bar
        row, column = np.nonzero(stated & differs(old, new))
        if len(row):
            table = "market_cap" if field == "market_cap" else "bars"
            cells = {"before": old[row, column], "after": new[row, column]}
            parts.append(restated_rows(table=table, symbol=symbols[column], date=dates[row], field=field, **cells))
    return parts


def differs(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Where two tables of numbers differ; a number in place of a missing one is a difference."""
    with np.errstate(divide="ignore", invalid="ignore"):
        near = (np.abs(new / old - 1) <= SAME) | (new == old)
    return ~(near | (np.isnan(old) & np.isnan(new)))


def _long_rows(stored: Market, sent: Market, since: pd.Timestamp) -> list[pd.DataFrame]:
    """Restated rows of actions, reports and sectors, of names that were known before."""
    last, out = stored.dates[-1], []
    for name, columns in LONG_TABLES.items():
        if getattr(stored, name) is None or (name == "sectors" and stored.sector_spells is not None):
            continue
        had, has = (_as_long(name, market, columns, stored.symbols) for market in (stored, sent))
        has = has[~(has["date"] > last)]
        covered = ~(had["date"] < max(since, sent.dates[0])) & ~(had["date"] > sent.dates[-1])
        had = had[had["symbol"].isin(sent.symbols) & covered]
        if name in ("sectors", "sector_spells"):
            had = had[had["symbol"].isin(has["symbol"])]
        key = [*columns, "value"]
        out += [
            _one_side(name, had[~_rows_in(had, has, key)], "before"),
            _one_side(name, has[~_rows_in(has, _as_long(name, stored, columns, stored.symbols), key)], "after"),
        ]
    return out


def _as_long(name: str, market: Market, columns: dict[str, str], symbols: pd.Index) -> pd.DataFrame:
    """A long table under the names that restatements use."""
    frame = sector_rows(cast(pd.Series, market.sectors)) if name == "sectors" else getattr(market, name)
    frame = frame if "value" in frame else frame.assign(value=1.0)
    frame = frame[frame["symbol"].isin(symbols)]
    frame = frame.rename(columns={theirs: ours for ours, theirs in columns.items()})
    undated: dict[str, Any] = {} if "date" in frame else {"date": pd.NaT}
    return frame.assign(value=frame["value"].fillna(NO_NUMBER), **undated)


def _rows_in(rows: pd.DataFrame, others: pd.DataFrame, key: list[str]) -> np.ndarray:
    return pd.MultiIndex.from_frame(rows[key]).isin(pd.MultiIndex.from_frame(others[key]))


def _one_side(name: str, rows: pd.DataFrame, side: str) -> pd.DataFrame:
    columns = {column: rows[column] for column in ("symbol", "date", "field", "period_end") if column in rows}
    return restated_rows(table=name, **columns, **{side: rows["value"]})


def _index_rows(stored: Market, sent: Market) -> pd.DataFrame:
    """Closes of the index that are sent otherwise, or only now, up to the last stored session."""
    level, known = cast(pd.Series, sent.index), cast(pd.Series, stored.index)
    new = level[level.index <= stored.dates[-1]]
    old = known.reindex(new.index).to_numpy()
    moved = differs(old, new.to_numpy())
    cells = {"before": old[moved], "after": new.to_numpy()[moved]}
    return restated_rows(table="index", symbol=[""] * moved.sum(), date=new.index[moved], field="index", **cells)


def late_bars(restated: pd.DataFrame) -> pd.DataFrame:
    """Bars of sessions that were stored already without them: symbol, first, last, values."""
    closes = restated[(restated["table"] == "bars") & (restated["field"] == "close") & restated["before"].isna()]
    dates = closes.groupby("symbol")["date"]
    return pd.DataFrame({"first": dates.min(), "last": dates.max(), "values": dates.count()}).reset_index()


def lay(table: pd.DataFrame, dates: pd.DatetimeIndex, symbols: pd.Index, empty=np.nan) -> np.ndarray:
    """A wide table's numbers on these sessions and symbols, `empty` where it has none; read-only."""
    if dates.equals(table.index) and symbols.equals(table.columns):
        return table.to_numpy()
    out = np.full((len(dates), len(symbols)), empty)
    rows, columns = dates.get_indexer(table.index), symbols.get_indexer(table.columns)
    row_of, column_of = np.flatnonzero(rows >= 0), np.flatnonzero(columns >= 0)
    out[np.ix_(rows[row_of], columns[column_of])] = table.to_numpy()[np.ix_(row_of, column_of)]
    return out
