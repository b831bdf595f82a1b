"""The session rules as a table, and their thresholds as settings."""

from typing import Literal, NamedTuple

from pydantic import Field

from openbook.common.settings import Settings


class QualityRules(Settings):
    """Thresholds of the session check; `RULES` explains each."""

    min_coverage: float = Field(0.95, gt=0, le=1, description="minimum fraction of active names with a bar")
    max_zero_volume: float = Field(0.05, ge=0, le=1, description="maximum fraction of names with zero volume")
    max_frozen: float = Field(0.8, gt=0, le=1, description="maximum fraction of closes equal to the previous session's")
    max_jump: float = Field(1.4, gt=1, description="a close-to-close ratio beyond this, either way, is flagged")
    split_tolerance: float = Field(0.02, ge=0, lt=0.2, description="tolerance for matching a price ratio to a split")
    real_turnover: float = Field(3.0, gt=1, description="a jump on this multiple of usual turnover counts as genuine")
    real_spread: float = Field(
        20.0,
        gt=0,
        description="a jump within this many standard deviations of the session's cross-section counts as genuine",
    )
    jump_window: int = Field(20, ge=1, description="sessions for which an unexplained jump excludes a name")
    active_window: int = Field(
        20, ge=1, description="sessions after its last bar for which a name still counts as active"
    )
    gone_after: int = Field(
        5, ge=1, description="sessions without a bar after which a held name counts as possibly delisted"
    )
    max_repeats: int = Field(1, ge=1, description="number of identical repeats of a traded bar that excludes a name")
    max_repeated: float = Field(0.05, gt=0, le=1, description="maximum fraction of names with a repeated bar")
    max_unmoved: int = Field(
        8, ge=2, description="number of repeated closes that excludes a name, for sources without volume"
    )
    max_untraded: float = Field(
        0.5, ge=0, lt=1, description="maximum fraction of a name's last 20 bars with zero volume"
    )
    max_price: float = Field(
        20_000.0, gt=0, description="USD; a close above this is treated as another unit or currency"
    )
    dear: tuple[str, ...] = Field(
        ("BRK-A", "BRK.A", "BRK/A"),
        description="symbols whose price is genuinely above max_price: Berkshire Hathaway A",
    )
    min_shared: int = Field(60, ge=20, description="minimum common sessions to compare two names")
    same_moves: float = Field(
        0.95, gt=0.5, le=1, description="fraction of equal returns at which two symbols count as one company"
    )
    min_break: float = Field(1.12, gt=1, description="an overnight drop by this factor may be a spin-off")
    real_range: float = Field(
        3.0, gt=1, description="a drop with a daily range of this multiple of usual counts as genuine"
    )
    usual_moves: float = Field(
        10.0, gt=1, description="a drop within this many of the name's usual moves counts as genuine"
    )
    min_price: float = Field(1.0, ge=0, description="USD; below it a tick is a large move, and no spin-off")
    accept: tuple[str, ...] = Field((), description="symbols whose jump was checked and is genuine")


class Rule(NamedTuple):
    """What a finding stops ("session": the whole run), the settings that decide, and why."""

    stops: Literal["session", "held", "nobody"]
    settings: tuple[str, ...]
    reason: str


RULES = {
    "coverage": Rule("session", ("min_coverage", "active_window"), "the vendor data are incomplete"),
    "frozen feed": Rule("session", ("max_frozen",), "stale closes: the previous session was sent again"),
    "zero volume": Rule("nobody", ("max_zero_volume",), "zero volume: not tradable at that price"),
    "same company": Rule("nobody", ("min_shared", "same_moves"), "one company under two symbols would be held twice"),
    "no trading": Rule("nobody", ("max_untraded",), "too illiquid for a reliable price"),
    "unmoved close": Rule("nobody", ("max_unmoved",), "a stale price, which would look riskless"),
    "repeated bars": Rule("nobody", ("max_repeats", "max_repeated"), "the same bar was sent again"),
    "unknown": Rule("held", (), "a name without any close cannot be valued"),
    "missing": Rule(
        "nobody", ("active_window",), "a held name is kept at its last close and not traded, as in a trading halt"
    ),
    "gone": Rule("nobody", ("gone_after",), "a name without bars was delisted, renamed or halted"),
    "delisted": Rule("nobody", (), "its delisting is recorded"),
    "suspected split": Rule(
        "session", ("split_tolerance",), "stops the run on that session; afterwards only if the name is held"
    ),
    "small split": Rule("held", ("split_tolerance", "real_turnover", "real_spread"), "2:1 or 3:2, or a real move"),
    "jump": Rule("held", ("max_jump", "real_turnover", "real_spread"), "a data error, or news without trading"),
    "missing spin-off": Rule(
        "held",
        ("min_break", "real_turnover", "real_range", "real_spread", "usual_moves", "min_price"),
        "an overnight drop, then a normal session: probably a spin-off",
    ),
    "gap": Rule(
        "held", ("active_window", "max_jump"), "back after a long gap at another price level: possibly another company"
    ),
    "absurd price": Rule("held", ("max_price", "dear"), "implausible price in USD: another unit or currency"),
    "spike": Rule("nobody", ("max_jump", "jump_window"), "a jump that reversed: a price in between was wrong"),
}
_ACCEPT = "add the symbol to quality.accept if the move is genuine"
WAY_OUT = {
    "unknown": "import its bars, or record a ticker change with openbook rename",
    "gone": "record the delisting in the source's actions, or import the missing bars",
    "suspected split": f"record the split in the source's actions, or {_ACCEPT}",
    "small split": f"{_ACCEPT}; otherwise record the split",
    "jump": f"correct the source, or {_ACCEPT}",
    "missing spin-off": f"record it as a dividend of that value, or {_ACCEPT}",
    "gap": f"import the missing bars, give two companies two symbols, or {_ACCEPT}",
    "absurd price": "convert the prices, or add the symbol to quality.dear if the price is genuine",
}


class Finding(NamedTuple):
    """A fault of one symbol in this session; `rule` is one of RULES, or of INGEST_RULES for a bar refused there."""

    rule: str
    detail: str
    stops: Literal["session", "held", "nobody"]


def found(rule: str, detail: str) -> Finding:
    """A finding of one of RULES, with the consequence that the table gives it."""
    return Finding(rule, detail, RULES[rule].stops)
