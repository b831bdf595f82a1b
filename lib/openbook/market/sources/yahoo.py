"""Daily bars, splits and dividends of a named universe from Yahoo Finance."""

from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import pandas as pd
from pydantic import Field, model_validator

from openbook.common.errors import DataError, DataNotReady, OpenbookError
from openbook.common.settings import Settings
from openbook.market.sources.attempt import Attempt
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
from openbook.market.sources.yahoo_client import require_client
from openbook.market.tables import Delivery

if TYPE_CHECKING:
    SecondSource = Settings  # the package completes the class with the other sources
SYMBOLS = "symbols"  # what an attempt counts
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
    second_source: "SecondSource | None" = Field(
        None, exclude=True, description="source of the names that Yahoo does not deliver, with prices as traded"
    )
    batch_size: int = Field(50, ge=1, le=1000, exclude=True, description="symbols per request batch")
    patience: Patience = Field(Patience(), exclude=True, description="pace, retries, timeout")

    @model_validator(mode="after")
    def _one_universe(self):
        if (self.universe is None) == (self.symbols is None):
            raise ValueError("give one of universe and symbols")
        if not getattr(self.second_source, "carries_a_live_book", True):
            raise ValueError("second_source needs prices as traded: raw, or adjusted with their splits and dividends")
        return self


class YahooUniverse(NamedTuple):
    """symbols, sorted; members and sectors as `Delivery` has them, or None."""

    symbols: list[str]
    members: pd.DataFrame | None
    sectors: pd.Series | None


def fetch_yahoo(
    source: YahooSource, *, since: date | None = None, pace: Pace | None = None, attempt: Attempt | None = None
) -> Delivery:
    """Raw bars and actions from `since` (else the source's start) until the last finished session.

    A symbol that Yahoo does not answer for, after all retries, is left out whole and named in the notes; whether
    enough are there is decided by the session rules. Raises DataNotReady if Yahoo answers for none of a batch, limits
    our requests to the end, or lacks the index; DataError if it knows none of the symbols.
    """
    require_client()
    from openbook.market.sources import yahoo_chart  # half a second, only for those who ask Yahoo

    universe, attempt = _universe(source), attempt or Attempt()
    chart = yahoo_chart.open_chart(source.patience, pace or Pace(source.patience.requests_per_second))
    with chart.session, yahoo_chart.raised_faults():
        wanted = [*universe.symbols, *([source.index] if source.index else [])]
        enquiry = Enquiry(source, chart, since or source.start, attempt, len(wanted))
        unready = enquiry.ask_all(wanted)
        answers = enquiry.answers
        index, no_index = _index(source, answers, attempt.closed)
        sectors = _sectors_of_today(source, chart, universe, {} if unready else answers)
    tables = {symbol: answer.table for symbol, answer in answers.items() if not answer.fault}
    unready = unready or no_index or _nothing(source, tables, len(answers))
    rows = yahoo_chart.together(tables)
    bars, actions = yahoo_chart.as_traded(rows)
    finished, unfinished = _finished(bars, attempt.closed)
    fundamentals, about_reports = _fundamentals(source, finished, universe, attempt)
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
        notes=(*_notes(source, answers, unfinished, yahoo_chart.doubtful(rows), universe), *about_reports),
        missing=tuple(symbol for symbol in universe.symbols if symbol not in tables),
        unready=unready,
    )


def _unready(source: YahooSource, why: str, error: type[OpenbookError] = DataNotReady) -> str:
    """Why Yahoo's answer is not whole, for a source with a second one; for others an error says so."""
    if source.second_source is None:
        raise error(why)
    return why


def _nothing(source: YahooSource, tables: dict, n: int) -> str:
    """Unready without a single table."""
    said = f"Yahoo has no bars for any of the {n} symbols; check their spelling and `start`"
    return "" if tables else _unready(source, said, DataError)


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


@dataclass
class Enquiry:
    """One fetch while it goes on: the answers by symbol as they come in, of `total` symbols."""

    source: YahooSource
    chart: Any
    start: date
    attempt: Attempt
    total: int
    answers: dict = field(default_factory=dict)

    def ask_all(self, symbols: list[str]) -> str:
        """An answer for every symbol, batch by batch, until going on is pointless: then why, or DataNotReady."""
        n_batches = -(-len(symbols) // self.source.batch_size)
        for part in range(n_batches):  # of one size, lest the last be a single name that means nothing
            batch = symbols[part * len(symbols) // n_batches : (part + 1) * len(symbols) // n_batches]
            self._ask_batch(batch)
            got = {symbol: self.answers[symbol] for symbol in batch if symbol in self.answers}
            if why := _why_to_stop(got):
                self._give_up(symbols, got)
                return _unready(self.source, why)
        return ""

    def _give_up(self, symbols: list[str], got: dict) -> None:
        """The symbols that are not asked for have the fault for which the fetch ends."""
        fault = next(answer for answer in reversed(got.values()) if answer.fault)
        self.answers |= {symbol: fault for symbol in symbols if symbol not in self.answers}

    def _ask_batch(self, batch: list[str]) -> None:
        """Ask for each symbol, and again after a pause for those whose fault may pass."""
        from openbook.market.sources.yahoo_chart import PASSING

        waiting = [symbol for symbol in batch if not self._recalled(symbol)]
        for repeat, pause in enumerate((0.0, *self.source.patience.pauses())):
            if not waiting:
                return
            if repeat:
                self.chart.session.pace.pause(max(pause, self.chart.session.retry_after))
            self._round(waiting)
            waiting = [name for name in batch if name not in self.answers or self.answers[name].fault in PASSING]

    def _recalled(self, symbol: str) -> bool:
        """Whether an earlier attempt has the answer."""
        from openbook.market.sources.yahoo_chart import Answer

        table = self.attempt.table(SYMBOLS, symbol)
        if table is not None:
            self.answers[symbol] = Answer(table.set_index("date"))
            self.attempt.step(SYMBOLS, len(self.answers), self.total)
        return table is not None

    def _round(self, symbols: list[str]) -> None:
        """One question for each symbol, until the first refusal for too many requests."""
        for symbol in symbols:
            answer = self.answers[symbol] = self.chart.ask(_their_name(self.source, symbol), self.start)
            if not answer.fault:
                self.attempt.keep(SYMBOLS, symbol, answer.table.reset_index())
            self.attempt.step(SYMBOLS, len(self.answers), self.total)
            if answer.fault == "limited":
                return


def _why_to_stop(batch: dict) -> str:
    """Why it is no use to go on: Yahoo limits our requests, or nothing of a batch can be read; "" if it is."""
    faults = {answer.fault for answer in batch.values()}
    if "limited" in faults:
        return (
            "Yahoo's rate limit was reached, after all retries; try again later, or lower "
            "source.patience.requests_per_second"
        )
    if faults <= {"silent", "garbled"}:
        symbol, answer = next(iter(batch.items()))
        return (
            f"no readable answer from Yahoo for any of {len(batch)} symbols ({symbol}: {answer.detail}); check the "
            "network, or try again later"
        )
    return ""


def _index(source: YahooSource, answers: dict, closed: pd.Timestamp) -> tuple[pd.Series | None, str]:
    """Closes of the index by finished session, taken out of the answers; none, and why, if Yahoo has none."""
    if source.index is None:
        return None, ""
    answer = answers.pop(source.index)
    if answer.fault:
        said = f"no data from Yahoo for the index {source.index}; try again later, or remove it from the source"
        return pd.Series(dtype="float64", name=source.index, index=pd.DatetimeIndex([])), _unready(source, said)
    close = answer.table["Close"].dropna().astype("float64").round(2)
    return close[close.index <= closed].rename(source.index), ""


def _finished(bars: pd.DataFrame, closed: pd.Timestamp) -> tuple[pd.DataFrame, list[str]]:
    """The bars of sessions that are over, sorted, and the other days: their bars still form."""
    is_over = bars["date"] <= closed
    if len(bars) and not is_over.any():
        raise DataNotReady("Yahoo has no bars of a completed session yet; try again after the close")
    days = bars.loc[~is_over, "date"].drop_duplicates().sort_values()
    return bars[is_over].sort_values(["date", "symbol"], ignore_index=True), days.dt.strftime("%Y-%m-%d").tolist()


def _fundamentals(
    source: YahooSource, bars: pd.DataFrame, universe: YahooUniverse, attempt: Attempt
) -> tuple[pd.DataFrame | None, tuple[str, ...]]:
    """Reports by the session after they were filed, and notes on them."""
    if source.fundamentals is None:
        return None, ("No fundamentals: Yahoo's have no filing dates and are not used.",)
    if source.second_source is not None:  # it may have the bars of the others
        bars = pd.DataFrame({"symbol": universe.symbols, "date": attempt.closed})
    return fetch_reports(source.fundamentals, bars, attempt=attempt)


def _notes(
    source: YahooSource, answers: dict, unfinished: list[str], doubtful: list[str], universe: YahooUniverse
) -> list[str]:
    """Notes on this delivery for the pages."""
    from openbook.market.sources.yahoo_chart import FAULTS

    notes = ["Yahoo's split-adjusted prices were converted to prices as traded, using the splits that Yahoo lists."]
    for fault, reason in FAULTS.items():
        names = sorted(symbol for symbol, answer in answers.items() if answer.fault == fault)
        if names:
            none = "No bars" if source.second_source is None else "Yahoo has no bars"
            notes.append(f"{none} of {len(names)} of {len(answers)} symbols, {reason}: {_listed(names)}.")
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
