"""What a whole history is checked for, as a table, and the thresholds as settings."""

from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import BaseModel, Field

FINDING_COLUMNS = ["rule", "symbol", "first", "last", "n", "detail"]


class CheckupRules(BaseModel, frozen=True, extra="forbid"):
    """Thresholds of the look at a whole history; `CHECKS` says what each is for."""

    max_price: float = Field(20_000.0, gt=0, description="USD; a stock that closes above is priced in another unit")
    dear: tuple[str, ...] = Field(
        ("BRK-A", "BRK.A", "BRK/A"), description="symbols that really cost more: Berkshire Hathaway A"
    )
    min_session: float = Field(0.8, gt=0, le=1, description="bars of a session, as a share of the usual number")
    max_frozen: float = Field(0.8, gt=0, le=1, description="share of closes that may equal the session before")
    max_repeats: int = Field(2, ge=1, description="traded bars in a row that may equal the one before in every field")
    max_untraded: int = Field(60, ge=1, description="bars of a symbol without a share traded")
    max_weekends: float = Field(0.5, gt=0, lt=1, description="share of a symbol's weekends that may have bars")
    max_gap: int = Field(20, ge=1, description="sessions without a bar inside a history")
    max_late: int = Field(25, ge=0, description="sessions from entering the universe to the first bar")
    min_break: float = Field(
        1.12, gt=1, description="a close this many times, or the inverse of, the last is looked at"
    )
    max_jump: float = Field(1.4, gt=1, description="from here on a move that nothing explains is listed")
    split_tolerance: float = Field(0.02, ge=0, lt=0.2, description="how near to a split a price ratio looks like one")
    slip_tolerance: float = Field(
        0.15, ge=0, lt=0.5, description="how near to a power of ten a ratio looks like a slip"
    )
    real_turnover: float = Field(3.0, gt=1, description="a move on this many times the usual turnover is real news")
    real_range: float = Field(3.0, gt=1, description="a move on a day this many times as wide as usual is real news")
    real_spread: float = Field(20.0, gt=0, description="a move within this many spreads of the night's moves is real")
    usual_moves: float = Field(10.0, gt=1, description="a move within this many of the name's usual moves is real")
    min_price: float = Field(1.0, ge=0, description="USD; below it a tick is a large move")
    thin_jump: float = Field(4.0, gt=1, description="what a name below min_price, or that hardly trades, must exceed")
    came_back: float = Field(1.25, gt=1, description="after a false level the close is within this factor of the true")
    max_away: int = Field(250, ge=1, description="bars that a false level may last")
    other_turnover: float = Field(0.1, gt=0, lt=1, description="usual turnover below this: another instrument")
    same_moves: float = Field(0.95, gt=0.5, le=1, description="equal moves, as a share, that make two symbols one")
    min_shared: int = Field(60, ge=20, description="sessions that two histories must share to be compared")
    min_agreement: float = Field(0.7, gt=0, lt=1, description="share of a quarter's days that the second source shares")
    same_return: float = Field(0.002, gt=0, description="returns this near are the same: vendors round")
    max_difference: float = Field(0.05, gt=0, description="how far one day's return may lie from the second source's")
    max_lag: int = Field(200, ge=1, description="days from the end of a period to its report")


class Check(NamedTuple):
    """What a finding stops ("session": the runs of those sessions), why it matters, and the way out."""

    stops: Literal["delivery", "session", "symbol", "nobody"]
    reason: str
    way_out: str


_RECORD = "record the split in the source's actions, or have it read out of an adjusted close, if there is one"
# Worst first: the report keeps this order.
CHECKS = {
    "refused": Check("delivery", "the door admits nothing of it", "see the sentence"),
    "conflict": Check(
        "delivery", "two different bars of one symbol and session: nobody knows which is true", "keep the right one"
    ),
    "future": Check("delivery", "dated after today", "correct the dates, or this machine's clock"),
    "tonight": Check("session", "a run of the last session would stop", "see the sentence"),
    "thin session": Check("session", "a partial delivery is no market to choose from", "get the rest of that day"),
    "frozen session": Check("session", "closes that repeat are the day before's, sent again", "get that day again"),
    "unadjusted split": Check("session", "a split that nobody recorded looks like a loss or a gain", _RECORD),
    "half-applied split": Check(
        "symbol", "a recorded split that the price does not show, or shows twice", "correct the action or the prices"
    ),
    "missing spin-off": Check(
        "symbol",
        "a fall overnight, and then a calm day at usual turnover: holders were given something",
        "record it: a dividend of the value, or a split of the same factor",
    ),
    "symbol collision": Check(
        "symbol", "the bars of another instrument under this symbol", "give each instrument its own symbol"
    ),
    "slip": Check("symbol", "the decimal point moved", "correct the price"),
    "spike": Check("symbol", "one bar at another level, and back", "correct or remove the bar"),
    "jump": Check("symbol", "a move that no turnover, night or action explains", "look it up: record or correct it"),
    "another company": Check(
        "symbol", "the second source has another company under this symbol", "map each ticker to its company by date"
    ),
    "disagreement": Check("symbol", "the second source has another return", "look up who is right"),
    "same company": Check("symbol", "one history under two symbols counts twice", "keep one of them"),
    "recycled ticker": Check(
        "symbol", "the member left before the first bar: this is another company", "give the two companies two symbols"
    ),
    "late history": Check("symbol", "a member without bars: backtests cannot choose it", "import the earlier bars"),
    "no history": Check("symbol", "a member without any bar: survivors are all there is", "import its bars"),
    "gap": Check("symbol", "the return across the gap is no daily return", "import the bars between, or two symbols"),
    "stale line": Check(
        "symbol", "prices at which nobody traded: a foreign line, or too thin", "start after the first traded bars"
    ),
    "repeated bars": Check("symbol", "traded bars equal in every field: the same bar sent again", "get the days again"),
    "absurd price": Check("symbol", "no stock costs that in USD: another unit or currency", "convert, or leave it out"),
    "price": Check("symbol", "a price that is zero, negative or infinite; the bar is refused", "correct the price"),
    "volume": Check("symbol", "a volume that is negative or infinite; the bar is refused", "correct the volume"),
    "range": Check("symbol", "high below low, or the close outside; the bar is refused", "correct the bar"),
    "reserved": Check("symbol", "CASH is the row of cash in every table; the symbol is refused", "rename the symbol"),
    "weekend bars": Check(
        "symbol",
        "it trades while the exchange is closed; these days are left out, and Monday's return is of three days",
        "leave it out: the sessions are those of the New York Stock Exchange",
    ),
    "open": Check(
        "nobody", "the open lies outside the day's range: orders would fill where nobody traded", "correct it"
    ),
    "holiday": Check("nobody", "the exchange was closed; the rows are ignored", "nothing, or drop the rows"),
    "duplicate": Check("nobody", "sent twice and identical; one is kept", "nothing, or drop the copies"),
    "duplicate key": Check("symbol", "two rows of one symbol and date in a side table", "keep the right one"),
    "no symbol": Check("nobody", "rows of a side table that name no symbol", "drop them"),
    "early report": Check("symbol", "reported before the period ended: one of the dates is wrong", "correct the dates"),
    "late report": Check("nobody", "usable so late after the period that it tells little", "see how it was collected"),
    "repeated report": Check("nobody", "one report on several days: the first counts", "nothing, or drop the copies"),
    "amended report": Check("nobody", "the same period with other numbers: each counts from its own day", "nothing"),
}


def findings(rule: str, symbol, first, last, n, detail) -> pd.DataFrame:
    """Rows of one rule of CHECKS, FINDING_COLUMNS; n: how many bars, rows or sessions each is about."""
    table = {
        "rule": rule,
        "symbol": np.asarray(symbol, dtype=object),
        "first": _days(first),
        "last": _days(last),
        "n": np.asarray(n, dtype="int64"),
        "detail": np.asarray(detail, dtype=object),
    }
    return pd.DataFrame(table).astype({"rule": "str", "symbol": "str", "detail": "str"})


def _days(days) -> np.ndarray:
    """Dates as datetime64[us]; NaT where there is none."""
    return pd.DatetimeIndex(pd.to_datetime(list(days))).as_unit("us").to_numpy()
