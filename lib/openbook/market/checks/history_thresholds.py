"""What a whole history is checked for, as a table, and the thresholds as settings."""

from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field

from openbook.common.settings import Settings

FINDING_COLUMNS = ["rule", "symbol", "first", "last", "n", "detail"]


class CheckupRules(Settings):
    """Thresholds of the whole-history check; `CHECKS` explains each."""

    max_price: float = Field(20_000.0, gt=0, description="USD; a stock that closes above is priced in another unit")
    dear: tuple[str, ...] = Field(
        ("BRK-A", "BRK.A", "BRK/A"),
        description="symbols whose price is genuinely above max_price: Berkshire Hathaway A",
    )
    min_session: float = Field(
        0.8, gt=0, le=1, description="minimum bars in a session, as a fraction of the usual number"
    )
    max_frozen: float = Field(0.8, gt=0, le=1, description="maximum fraction of closes equal to the previous session's")
    max_repeats: int = Field(2, ge=1, description="maximum consecutive traded bars identical to the previous one")
    max_untraded: int = Field(60, ge=1, description="maximum number of a symbol's bars with zero volume")
    max_weekends: float = Field(0.5, gt=0, lt=1, description="maximum fraction of weekends with bars")
    max_gap: int = Field(20, ge=1, description="maximum gap inside a history, in sessions")
    max_late: int = Field(25, ge=0, description="maximum sessions from universe entry to the first bar")
    min_break: float = Field(1.12, gt=1, description="a close-to-close ratio beyond this, either way, is examined")
    max_jump: float = Field(1.4, gt=1, description="unexplained moves beyond this are listed")
    split_tolerance: float = Field(0.02, ge=0, lt=0.2, description="tolerance for matching a price ratio to a split")
    slip_tolerance: float = Field(
        0.15, ge=0, lt=0.5, description="tolerance for matching a ratio to a misplaced decimal point"
    )
    real_turnover: float = Field(3.0, gt=1, description="a move on this multiple of usual turnover counts as genuine")
    real_range: float = Field(
        3.0, gt=1, description="a move with a daily range of this multiple of usual counts as genuine"
    )
    real_spread: float = Field(
        20.0,
        gt=0,
        description="a move within this many standard deviations of that session's cross-section counts as genuine",
    )
    usual_moves: float = Field(
        10.0, gt=1, description="a move within this many of the name's usual moves counts as genuine"
    )
    min_price: float = Field(1.0, ge=0, description="USD; below it a tick is a large move")
    thin_jump: float = Field(4.0, gt=1, description="threshold for names below min_price or with little trading")
    came_back: float = Field(
        1.25, gt=1, description="after a wrong price level the close returns to within this factor"
    )
    max_away: int = Field(250, ge=1, description="maximum length of a wrong price level, in bars")
    other_turnover: float = Field(
        0.1, gt=0, lt=1, description="turnover ratio below which the bars belong to another instrument"
    )
    same_moves: float = Field(
        0.95, gt=0.5, le=1, description="fraction of equal returns at which two symbols count as one company"
    )
    min_shared: int = Field(60, ge=20, description="minimum common sessions to compare two histories")
    min_agreement: float = Field(0.7, gt=0, lt=1, description="minimum overlap with the second source per quarter")
    same_return: float = Field(0.002, gt=0, description="returns this close count as equal, because vendors round")
    max_difference: float = Field(0.05, gt=0, description="maximum daily return difference from the second source")
    max_lag: int = Field(200, ge=1, description="days from the end of a period to its report")


class Check(NamedTuple):
    """What a finding stops ("session": the runs of those sessions), why it matters, and the way out."""

    stops: Literal["delivery", "session", "symbol", "nobody"]
    reason: str
    way_out: str


_RECORD = "record the split in the source's actions, or derive it from an adjusted close"
# Worst first: the report keeps this order.
CHECKS = {
    "refused": Check("delivery", "all vendor data are rejected", "see the message above"),
    "conflict": Check("delivery", "two different bars for one symbol and session", "keep the right one"),
    "future": Check("delivery", "dated after today", "correct the dates, or this machine's clock"),
    "last session": Check("session", "a run for the last session would stop", "see the message above"),
    "thin session": Check("session", "the vendor data are incomplete", "get the missing bars of that session"),
    "frozen session": Check("session", "stale closes: the previous session was sent again", "get that session again"),
    "unadjusted split": Check("session", "an unrecorded split looks like a loss or a gain", _RECORD),
    "misapplied split": Check(
        "symbol", "a recorded split that the price does not show or shows twice", "correct the action or the prices"
    ),
    "missing spin-off": Check(
        "symbol",
        "an overnight drop, then a normal session: probably a spin-off or special dividend",
        "record it as a dividend of that value, or as a split of that factor",
    ),
    "symbol collision": Check(
        "symbol", "bars of another instrument under this symbol", "give each instrument its own symbol"
    ),
    "decimal shift": Check("symbol", "misplaced decimal point", "correct the price"),
    "spike": Check("symbol", "a single bar at a different price level", "correct or remove the bar"),
    "jump": Check(
        "symbol",
        "a move not explained by turnover, the market or a corporate action",
        "check it: record the action or correct the price",
    ),
    "another company": Check(
        "symbol",
        "the second source has another company under this symbol",
        "map each ticker to its company by date (securities)",
    ),
    "disagreement": Check("symbol", "the second source has a different return", "check which source is right"),
    "same company": Check("symbol", "the same history under two symbols would be held twice", "keep one of them"),
    "recycled ticker": Check(
        "symbol", "the membership ended before the first bar: a different company", "give the two companies two symbols"
    ),
    "late history": Check("symbol", "a member without bars, which backtests cannot hold", "import the earlier bars"),
    "no history": Check("symbol", "a member without any bars: survivorship bias", "import its bars"),
    "gap": Check(
        "symbol", "the return across the gap is not a daily return", "import the missing bars, or use two symbols"
    ),
    "no trading": Check(
        "symbol", "prices without trades: a foreign listing, or illiquid", "start the history at the first traded bar"
    ),
    "repeated bars": Check("symbol", "identical traded bars: the same bar was sent again", "get those sessions again"),
    "absurd price": Check(
        "symbol", "implausible price in USD: another unit or currency", "convert the prices, or exclude the symbol"
    ),
    "price": Check("symbol", "a zero, negative or infinite price; the bar is rejected", "correct the price"),
    "volume": Check("symbol", "a negative or infinite volume; the bar is rejected", "correct the volume"),
    "range": Check("symbol", "high below low, or close outside the range; the bar is rejected", "correct the bar"),
    "reserved": Check("symbol", "CASH is reserved for cash; the symbol is rejected", "rename the symbol"),
    "weekend bars": Check(
        "symbol",
        "it trades while the exchange is closed; these days are dropped, and Monday's return spans three days",
        "exclude it: sessions follow the New York Stock Exchange",
    ),
    "open": Check(
        "nobody", "the open is outside the day's range, so fills would be at a price without trades", "correct it"
    ),
    "holiday": Check("nobody", "the exchange was closed; the rows are ignored", "nothing, or drop the rows"),
    "duplicate": Check("nobody", "exact duplicate; one is kept", "nothing, or drop the copies"),
    "duplicate key": Check("symbol", "duplicate symbol and date in a side table", "keep the right one"),
    "no symbol": Check("nobody", "side-table rows without a symbol", "drop them"),
    "early report": Check("symbol", "filed before the period ended: one of the dates is wrong", "correct the dates"),
    "late report": Check(
        "nobody", "available so late that it carries little information", "check how it was collected"
    ),
    "repeated report": Check(
        "nobody", "the same report on several days; the first is used", "nothing, or drop the copies"
    ),
    "amended report": Check("nobody", "amended figures; each is used from its own date", "nothing"),
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
