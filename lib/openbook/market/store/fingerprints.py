"""A content hash of everything known at a date, as a chain: each session's digest covers all sessions before it."""

import hashlib
from typing import NamedTuple

import numpy as np
import pandas as pd

from openbook.market.restatements import in_order, restated_rows
from openbook.market.tables import Market

VERSION = "openbook market 1"


class Earlier(NamedTuple):
    """What an update goes on from.

    chain : the digest of the session before; first : the first session of all
    listed : the session on which each symbol of before was first known, by symbol
    """

    chain: str
    first: pd.Timestamp
    listed: pd.Series


class Lines(NamedTuple):
    """Rows of a side table in the order of the session on which each is first known: `start[t]` to `start[t + 1]`."""

    start: np.ndarray
    texts: tuple[list[str], ...]
    numbers: tuple[np.ndarray, ...]

    def update(self, digest, t: int) -> None:
        """Hash the rows first known at session t."""
        rows = slice(self.start[t], self.start[t + 1])
        if rows.start == rows.stop:
            return
        for text in self.texts:
            digest.update("\n".join(text[rows]).encode() + b"\0")
        for number in self.numbers:
            digest.update(number[rows].tobytes())


def fingerprint(market: Market) -> str:
    """Hex digest of what the market holds: bars, actions, reports, membership, caps, index, sectors of listed names.

    A later session, or a name that is listed later, never changes the fingerprint of `market.upto(date)`; a later
    restatement of an earlier session never changes that of `market.upto(date, as_known_on=date)`.
    """
    digests = session_digests(market)
    return digests[-1] if digests else _header(market)


def session_digests(market: Market) -> list[str]:
    """The fingerprint of the market as known at the close of t, for each session t, oldest first.

    A session's digest covers its first delivery, and the restatements of earlier sessions known at its close
    (`Market.restated`); so no later restatement changes it, and an update hashes nothing but what it brings.
    """
    return digests_of(*_as_delivered(market))


def digests_of(market: Market, restated: pd.DataFrame, earlier: Earlier | None = None) -> list[str]:
    """The same for an update: its sessions as first delivered, and its restatements of `earlier` ones, in order."""
    if market.dates.empty:
        return []
    first_known = rows_known(market, restated, None if earlier is None else earlier.listed)
    bar, since = market.close.notna().to_numpy(), market.dates[0] if earlier is None else earlier.first
    tables = [_canonical(getattr(market, field)) for field in market.bar_fields]
    caps = None if market.market_cap is None else _canonical(market.market_cap)
    members = None if market.members is None else market.members.to_numpy()
    lines = [
        part
        for part in [*_side_lines(market, first_known, since), _restated_lines(market, restated)]
        if part is not None
    ]
    bar_names, cap_names, member_names = (_Names(market.symbols) for _ in range(3))
    chain, out = _header(market) if earlier is None else earlier.chain, []
    for t, day in enumerate(market.dates.strftime("%Y-%m-%d")):
        digest = hashlib.sha256(f"{chain}\n{day}\n".encode())
        digest.update(bar_names.of(bar[t]))
        for table in tables:
            digest.update(table[t, bar[t]].tobytes())
        known = first_known <= t
        if caps is not None:
            has_cap = known & ~np.isnan(caps[t])
            digest.update(cap_names.of(has_cap) + caps[t, has_cap].tobytes())
        if members is not None:
            digest.update(member_names.of(known & members[t]))
        for part in lines:
            part.update(digest, t)
        chain = digest.hexdigest()
        out.append(chain)
    return out


def _as_delivered(market: Market) -> tuple[Market, pd.DataFrame]:
    """The market as each of its sessions was first delivered, and the later restatements of its names."""
    rows = market.restatements()
    if rows.empty:
        return market, restated_rows()
    ours = rows["symbol"].isin(market.symbols) | (rows["table"] == "index")
    restated = in_order(rows[ours])
    return market.before(restated), restated


def rows_known(market: Market, restated: pd.DataFrame, listed: pd.Series | None = None) -> np.ndarray:
    """Row of the session on which each symbol was first known by a bar, one of it or a late one; their number: never.

    Of the symbols of before, `listed`: the first row.
    """
    bar = market.close.notna().to_numpy()
    out = np.where(bar.any(axis=0), bar.argmax(axis=0), len(bar))
    late = restated[(restated["table"] == "bars") & (restated["field"] == "close") & restated["before"].isna()]
    dates = [late.groupby("symbol")["known"].min(), *([] if listed is None else [listed])]
    for known in dates:
        column = market.symbols.get_indexer(known.index)
        row = market.dates.searchsorted(known.to_numpy())
        np.minimum.at(out, column[column >= 0], row[column >= 0])
    return out


def _header(market: Market) -> str:
    """What the chain begins with: how to read the numbers."""
    tables = ("fundamentals", "sectors", "sector_spells", "members", "market_cap", "index")
    present = [name for name in tables if getattr(market, name) is not None]
    text = "\n".join([VERSION, market.execution, *market.bar_fields, *present])
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(table: pd.DataFrame) -> np.ndarray:
    """The numbers as little-endian float64 with one NaN and one zero."""
    values = table.to_numpy().astype("<f8") + 0.0
    values[np.isnan(values)] = np.nan
    return values


class _Names:
    """Symbols under a mask as bytes; the join is kept while the mask stays the same, as it mostly does."""

    def __init__(self, symbols: pd.Index):
        self.symbols, self.text = symbols.to_numpy(object), b""
        self.mask: np.ndarray | None = None

    def of(self, mask: np.ndarray) -> bytes:
        if self.mask is None or not np.array_equal(mask, self.mask):
            self.mask, self.text = mask, "\n".join(self.symbols[mask]).encode() + b"\0"
        return self.text


def _side_lines(market: Market, first_known: np.ndarray, begin: pd.Timestamp) -> list[Lines | None]:
    """Actions, reports, sectors and the index as lines by the session on which they are first known."""
    actions = market.actions
    out = [_lines(market, first_known, actions["date"], actions["symbol"], [actions["kind"]], [actions["value"]])]
    if (filed := market.fundamentals) is not None:
        period = filed["period_end"].to_numpy("datetime64[D]").astype("<i8")
        out.append(
            _lines(market, first_known, filed["available"], filed["symbol"], [filed["item"]], [filed["value"], period])
        )
    if (spells := market.sector_spells) is not None:
        since = spells["start"].fillna(begin)
        out.append(_lines(market, first_known, since, spells["symbol"], [spells["sector"]], []))
    elif (sectors := market.sectors) is not None:
        since = pd.Series(begin, index=sectors.index)
        out.append(_lines(market, first_known, since, sectors.index, [sectors], []))
    if (index := market.index) is not None:
        start = np.searchsorted(market.dates.searchsorted(index.index), np.arange(len(market.dates) + 1))
        days = index.index.to_numpy("datetime64[D]").astype("<i8")
        out.append(Lines(start, (), (days, index.to_numpy("<f8"))))
    return out


def _restated_lines(market: Market, rows: pd.DataFrame) -> Lines | None:
    """Restatements by the session at whose close they were known, or the last one."""
    if rows.empty:
        return None
    row = np.minimum(market.dates.searchsorted(rows["known"]), len(market.dates) - 1)
    days = [rows[name].to_numpy("datetime64[D]").astype("<i8") for name in ("date", "period_end")]
    return Lines(
        np.searchsorted(row, np.arange(len(market.dates) + 1)),
        tuple(rows[name].tolist() for name in ("table", "symbol", "field")),
        (*days, *(_canonical(rows[[name]]).ravel() for name in ("before", "after"))),
    )


def _lines(market: Market, first_known: np.ndarray, date, symbol, texts, numbers) -> Lines | None:
    """Rows of symbols that the market has, by the later of their date and the symbol's first day."""
    column = market.symbols.get_indexer(symbol)
    row = np.maximum(market.dates.searchsorted(date), np.where(column >= 0, first_known[column], len(market.dates)))
    order = np.argsort(row, kind="stable")
    order = order[row[order] < len(market.dates)]
    return Lines(
        np.searchsorted(row[order], np.arange(len(market.dates) + 1)),
        tuple(np.asarray(text, dtype=object)[order].tolist() for text in [symbol, *texts]),
        tuple(np.asarray(number)[order] for number in [np.asarray(date, "datetime64[D]").astype("<i8"), *numbers]),
    )
