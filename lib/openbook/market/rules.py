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
    "missing": Rule("held", ("active_window",), "without a close a name has no value; it is never zero"),
    "gone": Rule("held", ("gone_after",), "a name that stopped trading was delisted, renamed or halted"),
    "delisted": Rule("nobody", (), "its delisting is recorded"),
    "suspected split": Rule("session", ("split_tolerance",), "on its own night; afterwards it stops holders only"),
    "small split": Rule("held", ("split_tolerance", "real_turnover", "real_spread"), "2:1 or 3:2, or a real move"),
    "jump": Rule("held", ("max_jump", "real_turnover", "real_spread"), "an error, or news that nobody traded on"),
    "spike": Rule("nobody", ("max_jump", "jump_window"), "jumped and came back: a price in between was wrong"),
}
_ACCEPT = "add the symbol to quality.accept if the move is real"
WAY_OUT = {
    "missing": "import the bar",
    "gone": "record the delisting in the source's actions, or import the missing bars",
    "suspected split": f"record the split in the source's actions, or {_ACCEPT}",
    "small split": f"a stock can really move so far: {_ACCEPT}; otherwise record the split",
    "jump": f"correct the source, or {_ACCEPT}",
}


class Finding(NamedTuple):
    """What is wrong with one symbol tonight; `rule` is one of RULES, or of arrival.DOOR for a bar refused there."""

    rule: str
    detail: str
    stops: Literal["session", "held", "nobody"]


def found(rule: str, detail: str) -> Finding:
    """A finding of one of RULES, with the consequence that the table gives it."""
    return Finding(rule, detail, RULES[rule].stops)
