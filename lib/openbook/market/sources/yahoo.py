"""Daily bars, splits and dividends of a named universe from Yahoo Finance."""

from collections.abc import Iterator
from datetime import date
from typing import Literal, NamedTuple, cast

import pandas as pd
from pydantic import Field, model_validator

from openbook.common.errors import DataError, DataNotReady
from openbook.common.extras import needed
from openbook.common.settings import Settings
from openbook.market import calendar
from openbook.market.sources.edgar import EdgarTable, fetch_reports
from openbook.market.sources.rate_limit import Pace, Patience
from openbook.market.sources.reading import (
    Notation,
    SideTable,
    column_names,
    file_name,
    list_files,
    read_table,
    shown,
)
from openbook.market.tables import Delivery

NAMED = 20  # symbols named in a note; the rest are counted


class UniverseTable(SideTable):
    """Which symbols: column symbol; also sector, and start and end of membership, where the file has them."""


class YahooSource(Settings):
    """A universe at Yahoo Finance. How it is asked (batches, patience) is no part of what it is."""

    provider: Literal["yahoo"] = "yahoo"
    universe: UniverseTable | None = Field(None, description="file of symbols; or give `symbols`")
    symbols: tuple[str, ...] | None = Field(None, min_length=1, description="symbols, as in the book")
    start: date = Field(date(2010, 1, 4), description="first session")
    yahoo_names: dict[str, str] = Field({}, description="our symbol → Yahoo's, where they differ beyond - for .")
    index: str | None = Field("^GSPC", description="market index, as Yahoo writes it")
    ask_sectors: bool = Field(False, description="fetch today's sector of each name from Yahoo, if the file has none")
    fundamentals: EdgarTable | None = Field(None, description="SEC reports; Yahoo's fundamentals have no filing dates")
    batch_size: int = Field(50, ge=1, le=1000, exclude=True, description="symbols per request batch")
    patience: Patience = Field(Patience(), exclude=True, description="pace, retries, timeout")

    @model_validator(mode="after")
    def _one_universe(self):
        if (self.universe is None) == (self.symbols is None):
            raise ValueError("give one of universe and symbols")
        return self


class YahooUniverse(NamedTuple):
    """symbols, sorted; members and sectors as `Delivery` has them, or None."""

    symbols: list[str]
    members: pd.DataFrame | None
    sectors: pd.Series | None


def fetch_yahoo(source: YahooSource, *, since: date | None = None, pace: Pace | None = None) -> Delivery:
    """Raw bars and actions from `since` (else the source's start) until the last finished session.

    A symbol that Yahoo does not answer for, after all retries, is left out whole and named in the notes; whether
    enough are there is decided by the session rules. Raises DataNotReady if Yahoo answers for none of a batch, limits
    our requests to the end, or lacks the index; DataError if it knows none of the symbols.
    """
    with needed("yahoo", "provider: yahoo"):
        from openbook.market.sources import yahoo_chart  # half a second, only for those who ask Yahoo

    universe = _universe(source)
    chart = yahoo_chart.open_chart(source.patience, pace or Pace(source.patience.requests_per_second))
    with chart.session, yahoo_chart.raised_faults():
        wanted = [*universe.symbols, *([source.index] if source.index else [])]
        answers = _ask_all(source, chart, wanted, since or source.start)
        index = None if source.index is None else _index(source.index, answers.pop(source.index))
        sectors = _sectors_of_today(source, chart, universe, answers)
    tables = {symbol: answer.table for symbol, answer in answers.items() if not answer.fault}
    if not tables:
        raise DataError(f"Yahoo has no bars for any of the {len(answers)} symbols; check their spelling and `start`")
    rows = yahoo_chart.together(tables)
    bars, actions = yahoo_chart.as_traded(rows)
    finished, unfinished = _finished(bars)
    fundamentals, about_reports = _fundamentals(source, finished)
    return Delivery(
        bars=finished,
        name="Yahoo Finance" + (f", {file_name(source.universe.path)}" if source.universe else ""),
        actions=actions[actions["date"] <= finished["date"].max()].sort_values(
            ["date", "symbol", "kind"], ignore_index=True
        ),
        fundamentals=fundamentals,
        sectors=sectors,
        members=universe.members,
        index=index,
        notes=(*_notes(answers, unfinished, yahoo_chart.doubtful(rows), universe), *about_reports),
    )


def _universe(source: YahooSource) -> YahooUniverse:
    """The symbols to ask for; members that left before `start` are not among them."""
    if source.symbols is not None:
        return YahooUniverse(sorted(set(source.symbols)), None, None)
    table = cast(UniverseTable, source.universe)  # one of the two, says the source
    present = column_names(list_files(table.path)[0])
    columns = {field: table.columns.get(field, field) for field in ("symbol", "sector", "start", "end")}
    named = {"symbol", *table.columns}
    columns = {field: name for field, name in columns.items() if field in named or name in present}
    unknown = sorted(set(table.columns) - set(columns))
    if unknown:
        raise DataError(
            f"{shown(table.path)}: unknown fields in `columns`: {', '.join(unknown)}; choose from {', '.join(columns)}"
        )
    rows = read_table(table.path, columns, notation=Notation(table.date_format))
    rows["symbol"] = rows["symbol"].replace(table.rename).astype("str")
    if rows.empty:
        raise DataError(f"{shown(table.path)} lists no symbols")
    if {"start", "end"} & set(columns):
        for missing in {"start", "end"} - set(columns):
            rows[missing] = pd.Series(pd.NaT, index=rows.index, dtype="datetime64[us]")
        rows = rows[rows["end"].isna() | (rows["end"] > pd.Timestamp(source.start))]
    members = rows[["symbol", "start", "end"]].reset_index(drop=True) if "end" in rows else None
    return YahooUniverse(sorted(rows["symbol"].unique()), members, _sectors(rows, table) if "sector" in rows else None)


def _sectors(rows: pd.DataFrame, table: UniverseTable) -> pd.Series:
    """Sector by symbol; two sectors for one symbol are an error."""
    pairs = rows[["symbol", "sector"]].drop_duplicates()
    twice = pairs.loc[pairs["symbol"].duplicated(), "symbol"]
    if len(twice):
        raise DataError(f"{shown(table.path)} gives {twice.iloc[0]} more than one sector; keep one")
    return pairs.set_index("symbol")["sector"].sort_index()


def _sectors_of_today(source: YahooSource, chart, universe: YahooUniverse, answers: dict) -> pd.Series | None:
    """The file's sectors; without any, and if asked for, Yahoo's of each symbol with bars that has one."""
    if universe.sectors is not None or not source.ask_sectors:
        return universe.sectors
    have_bars = [symbol for symbol, answer in answers.items() if not answer.fault]
    asked = {symbol: chart.sector(_their_name(source, symbol)) for symbol in have_bars}
    return pd.Series({symbol: sector for symbol, sector in asked.items() if sector}, dtype="str", name="sector")


def _their_name(source: YahooSource, symbol: str) -> str:
    """The symbol as Yahoo writes it: BRK-B for BRK.B."""
    return source.yahoo_names.get(symbol, symbol.replace(".", "-"))


def _ask_all(source: YahooSource, chart, symbols: list[str], start: date) -> dict:
    """An answer for every symbol, batch by batch; DataNotReady where going on is pointless."""
    answers: dict = {}
    n_batches = -(-len(symbols) // source.batch_size)
    for part in range(n_batches):  # of one size, lest the last be a single name that means nothing
        batch = symbols[part * len(symbols) // n_batches : (part + 1) * len(symbols) // n_batches]
        got = _ask_batch(source, chart, batch, start)
        faults = {answer.fault for answer in got.values()}
        if "limited" in faults:
            raise DataNotReady(
                "Yahoo's rate limit was reached, after all retries; try again later, or lower "
                "source.patience.requests_per_second"
            )
        if faults <= {"silent", "garbled"}:
            raise DataNotReady(
                f"no readable answer from Yahoo for any of {len(batch)} symbols ({batch[0]}: "
                f"{got[batch[0]].detail}); check the network, or try again later"
            )
        answers |= got
    return answers


def _ask_batch(source: YahooSource, chart, batch: list[str], start: date) -> dict:
    """Ask for each symbol, and again after a pause for those whose fault may pass."""
    from openbook.market.sources.yahoo_chart import PASSING

    answers: dict = {}
    waiting = batch
    for pause in (0.0, *source.patience.pauses()):
        if answers:
            chart.session.pace.pause(max(pause, chart.session.retry_after))
        answers |= dict(_round(source, chart, waiting, start))
        waiting = [symbol for symbol in batch if symbol not in answers or answers[symbol].fault in PASSING]
        if not waiting:
            break
    return answers


def _round(source: YahooSource, chart, symbols: list[str], start: date) -> Iterator:
    """Symbol and answer, until the first refusal for too many requests."""
    for symbol in symbols:
        answer = chart.ask(_their_name(source, symbol), start)
        yield symbol, answer
        if answer.fault == "limited":
            return


def _index(symbol: str, answer) -> pd.Series:
    """Closes of the index by finished session."""
    if answer.fault:
        raise DataNotReady(f"no data from Yahoo for the index {symbol}; try again later, or remove it from the source")
    close = answer.table["Close"].dropna().astype("float64").round(2)
    return close[close.index <= calendar.last_closed()].rename(symbol)


def _finished(bars: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The bars of sessions that are over, sorted, and the other days: their bars still form."""
    is_over = bars["date"] <= calendar.last_closed()
    if not is_over.any():
        raise DataNotReady("Yahoo has no bars of a completed session yet; try again after the close")
    days = bars.loc[~is_over, "date"].drop_duplicates().sort_values()
    return bars[is_over].sort_values(["date", "symbol"], ignore_index=True), days.dt.strftime("%Y-%m-%d").tolist()


def _fundamentals(source: YahooSource, bars: pd.DataFrame) -> tuple[pd.DataFrame | None, tuple[str, ...]]:
    """Reports by the session after they were filed, and notes on them."""
    if source.fundamentals is None:
        return None, ("No fundamentals: Yahoo's have no filing dates and are not used.",)
    return fetch_reports(source.fundamentals, bars)


def _notes(answers: dict, unfinished: list[str], doubtful: list[str], universe: YahooUniverse) -> list[str]:
    """Notes on this delivery for the pages."""
    from openbook.market.sources.yahoo_chart import FAULTS

    notes = ["Yahoo's split-adjusted prices were converted to prices as traded, using the splits that Yahoo lists."]
    for fault, reason in FAULTS.items():
        names = sorted(symbol for symbol, answer in answers.items() if answer.fault == fault)
        if names:
            notes.append(f"No bars of {len(names)} of {len(answers)} symbols, {reason}: {_listed(names)}.")
    if unfinished:
        notes.append(f"The bars of {', '.join(unfinished)} were skipped: the session was not over.")
    if doubtful:
        notes.append(f"Yahoo's adjusted close and dividends are inconsistent for {_listed(doubtful)}.")
    if universe.members is None:
        notes.append("The universe is today's, so past results have survivorship bias.")
    else:
        notes.append("Yahoo drops most delisted names, so past members are missing.")
    return notes


def _listed(names: list[str]) -> str:
    """The first names, and how many more."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
