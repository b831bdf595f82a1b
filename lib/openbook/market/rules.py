"""The nightly rules as a table, and their thresholds as settings."""

from typing import Literal, NamedTuple

from pydantic import BaseModel, Field


class QualityRules(BaseModel, frozen=True, extra="forbid"):
    """Thresholds of the nightly check; `RULES` says what each is for."""

    min_coverage: float = Field(0.95, gt=0, le=1, description="share of the active names that must have a bar")
    max_zero_volume: float = Field(0.05, ge=0, le=1, description="share of names that may have traded no share")
    max_frozen: float = Field(0.8, gt=0, le=1, description="share of closes that may equal the session before")
    max_jump: float = Field(1.4, gt=1, description="a close this many times, or the inverse of, the last is questioned")
    split_tolerance: float = Field(0.02, ge=0, lt=0.2, description="how near to a split a price ratio looks like one")
    real_turnover: float = Field(3.0, gt=1, description="a jump on this many times the usual turnover is real news")
    real_spread: float = Field(20.0, gt=0, description="a jump within this many spreads of the night's moves is real")
    jump_window: int = Field(20, ge=1, description="sessions for which an unexplained jump keeps a name out")
    active_window: int = Field(20, ge=1, description="sessions after its last bar for which a name is still expected")
    gone_after: int = Field(5, ge=1, description="sessions without a bar after which a held name looks delisted")
    max_repeats: int = Field(1, ge=1, description="times that a traded bar may not come again, equal in every field")
    max_repeated: float = Field(0.05, gt=0, le=1, description="share of names whose bar may be one sent again")
    max_unmoved: int = Field(
        8, ge=2, description="repeats of a close that leave a name out, of a source without volume"
    )
    max_untraded: float = Field(0.5, ge=0, lt=1, description="share of a name's last 20 bars that may be untraded")
    max_price: float = Field(20_000.0, gt=0, description="USD; a stock that closes above is priced in another unit")
    dear: tuple[str, ...] = Field(
        ("BRK-A", "BRK.A", "BRK/A"), description="symbols that really cost more: Berkshire Hathaway A"
    )
    min_shared: int = Field(60, ge=20, description="sessions that two names must share to be compared")
    same_moves: float = Field(0.95, gt=0.5, le=1, description="equal moves, as a share, that make two symbols one")
    min_break: float = Field(1.12, gt=1, description="a fall overnight by this factor may be a spin-off")
    real_range: float = Field(3.0, gt=1, description="a fall on a day this many times as wide as usual is real news")
    usual_moves: float = Field(10.0, gt=1, description="a fall within this many of the name's usual moves is real")
    min_price: float = Field(1.0, ge=0, description="USD; below it a tick is a large move, and no spin-off")
    accept: tuple[str, ...] = Field((), description="symbols whose jump was looked at and is real")


class Rule(NamedTuple):
    """Whom a finding stops ("session": anybody), the settings that decide, and why."""

    stops: Literal["session", "held", "nobody"]
    settings: tuple[str, ...]
    reason: str


RULES = {
    "coverage": Rule("session", ("min_coverage", "active_window"), "a partial delivery is no market to choose from"),
    "frozen feed": Rule("session", ("max_frozen",), "closes that repeat are yesterday's, sent again"),
    "zero volume": Rule("nobody", ("max_zero_volume",), "what nobody traded cannot be traded at its price"),
    "same company": Rule("nobody", ("min_shared", "same_moves"), "one company under two symbols counts twice"),
    "stale line": Rule("nobody", ("max_untraded",), "what hardly anybody trades has no price tonight either"),
    "unmoved close": Rule("nobody", ("max_unmoved",), "a price that never moves is no price, and looks like no risk"),
    "repeated bars": Rule("nobody", ("max_repeats", "max_repeated"), "the same bar sent again is no bar of tonight"),
    "unknown": Rule("held", (), "without any close a name has no value; it is never zero"),
    "missing": Rule("nobody", ("active_window",), "held, it keeps its last price and is not traded, as in a halt"),
    "gone": Rule("nobody", ("gone_after",), "a name that stopped trading was delisted, renamed or halted"),
    "delisted": Rule("nobody", (), "its delisting is recorded"),
    "suspected split": Rule("session", ("split_tolerance",), "on its own night; afterwards it stops holders only"),
    "small split": Rule("held", ("split_tolerance", "real_turnover", "real_spread"), "2:1 or 3:2, or a real move"),
    "jump": Rule("held", ("max_jump", "real_turnover", "real_spread"), "an error, or news that nobody traded on"),
    "missing spin-off": Rule(
        "held",
        ("min_break", "real_turnover", "real_range", "real_spread", "usual_moves", "min_price"),
        "a fall overnight, and then a calm day: holders were given something",
    ),
    "gap": Rule("held", ("active_window", "max_jump"), "back after long at another level: perhaps another company"),
    "absurd price": Rule("held", ("max_price", "dear"), "no stock costs that in USD: another unit or currency"),
    "spike": Rule("nobody", ("max_jump", "jump_window"), "jumped and came back: a price in between was wrong"),
}
_ACCEPT = "add the symbol to quality.accept if the move is real"
WAY_OUT = {
    "unknown": "import its bars; if it has another ticker now, say so with openbook rename",
    "gone": "record the delisting in the source's actions, or import the missing bars",
    "suspected split": f"record the split in the source's actions, or {_ACCEPT}",
    "small split": f"a stock can really move so far: {_ACCEPT}; otherwise record the split",
    "jump": f"correct the source, or {_ACCEPT}",
    "missing spin-off": f"record it as a dividend of the value, or {_ACCEPT}",
    "gap": f"import the bars between, give two companies two symbols, or {_ACCEPT}",
    "absurd price": "convert the prices, or add the symbol to quality.dear if it really costs that",
}


class Finding(NamedTuple):
    """What is wrong with one symbol tonight; `rule` is one of RULES, or of arrival.DOOR for a bar refused there."""

    rule: str
    detail: str
    stops: Literal["session", "held", "nobody"]


def found(rule: str, detail: str) -> Finding:
    """A finding of one of RULES, with the consequence that the table gives it."""
    return Finding(rule, detail, RULES[rule].stops)
