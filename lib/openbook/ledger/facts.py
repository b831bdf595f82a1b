"""Plain facts of a book, as rows: money in integer cents, shares in integers of the book's unit."""

from fractions import Fraction
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from openbook.common.days import Day
from openbook.common.errors import BookError

OPEN_END = "9999-12-31"  # due when a statement or a person confirms it
LARGEST_CENTS = 10**14  # that a book can hold, a trillion USD; sums and products of it stay within 64 bits
REVERSAL = "reversal"  # kind of the rows of an adjustment that take back a fill; `lots` are restated beside them
Outcome = Literal["FILLED", "PARTIALLY_FILLED", "EXPIRED"]
Ending = Literal["sale", "cash_in_lieu", "delisting", "adjustment"]
ActionKind = Literal["split", "cash_in_lieu", "dividend", "delisting", "spin_off", "interest"]


class Row(BaseModel, frozen=True, extra="forbid", strict=True, allow_inf_nan=False):
    """A plain fact of the book; money is in integer cents, dates are YYYY-MM-DD."""


class OfSecurity(Row):
    """A fact about one security.

    symbol : what it was called on that day; security : its id, for good, which until format 3 was its ticker
    """

    symbol: str
    security: str = ""

    @model_validator(mode="before")
    @classmethod
    def _identified(cls, row: Any) -> Any:
        return row if not isinstance(row, dict) or row.get("security") else {**row, "security": row.get("symbol", "")}


class Holding(OfSecurity):
    """A position after the last session, at the price that it is marked at.

    cost_cents : cost basis, the sum of its open lots; None in books of format 2, which kept none
    """

    shares: int
    price: float = Field(gt=0)
    value_cents: int
    cost_cents: int | None = None


class Lot(Row):
    """Shares that were bought together and are still held; a split changes `shares`, never `cost_cents`.

    cost_cents : paid for them, commission and slippage included. Shares sold short are a lot below zero, as its cost
    """

    security: str
    opened: Day
    shares: int
    cost_cents: int


class Closed(OfSecurity):
    """A lot, or a part of one, that ended: cost_cents of it were taken out of the cost basis for proceeds_cents.

    kind : how; shares removed by an adjustment have no proceeds, as they are unknown
    """

    date: Day
    opened: Day
    kind: Ending
    shares: int
    cost_cents: int
    proceeds_cents: int


class Receivable(OfSecurity):
    """Cash that is owed to the book: part of its equity, paid with the first session on or after `due`.

    A dividend of a live book, and what a spin-off took out of a price, are owed until OPEN_END: a statement shows when
    the first was paid, and a person names what was received for the second.
    """

    kind: str = Field(min_length=1)
    due: Day
    cents: int


class Adjustment(OfSecurity):
    """A correction of the book by a named person, between two sessions.

    shares : signed, at `price` (USD, the last that the book knows) where security and price are given
    cents : cash; owed only from `due` on if that is given, as `kind` (a receivable). Below zero it takes away what was
        owed: see `receivables.owed_after`
    """

    symbol: str = ""
    shares: int = 0
    price: float | None = Field(None, gt=0)
    cents: int = 0
    kind: str = ""
    due: str = ""


class Rename(OfSecurity):
    """A security that is called `to` from `date` on, and was called `symbol` before."""

    to: str
    date: Day


class Delisted(Row):
    """A security that no longer trades: from `date` on its ticker is free for another company."""

    date: Day
    security: str


class Fill(OfSecurity):
    """An order, or part of one, that was executed.

    On paper: at the raw execution price, slippage charged beside it. A fill that was recorded has its slippage in its
    price, and is settled once, with the session after it was recorded.
    """

    fill_id: str = Field(min_length=1)
    date: Day
    order_id: str
    shares: int
    price: float = Field(gt=0)
    notional_cents: int = Field(ge=0)
    commission_cents: int = Field(ge=0)
    slippage_cents: int = Field(ge=0)
    recorded: bool = False


class Flow(Row):
    """Cash that came or went without a trade; deposits and withdrawals are no performance, fees and interest are."""

    kind: Literal["deposit", "withdrawal", "fee", "interest"]
    cents: int


class Result(OfSecurity):
    """How an order ended; `before` is the state that it was in."""

    date: Day
    order_id: str
    before: str
    status: Outcome
    filled_shares: int
    reason: str


class Action(OfSecurity):
    """A corporate action on a held name: what it did to shares and cash.

    value : new shares per old (split), fraction of a share (cash_in_lieu), USD per share before tax (dividend), final
        return (delisting), price before over price after (spin_off), yearly rate (interest, of no name but CASH)
    owed_cents : what is owed to the book since, and not cash yet
    """

    date: Day
    kind: ActionKind
    value: float
    shares_before: int
    shares_after: int
    cash_cents: int
    owed_cents: int = 0


class Note(Row):
    """A note about a held name."""

    date: Day
    symbol: str
    text: str


class Mark(Row):
    """The book at the close of one session; `before` is its equity at the session before.

    Always, to the cent: equity = cash + invested + receivables, and
    equity − before = flows + pnl + dividends + other + adjustments − commission − slippage.
    flows : deposits less withdrawals; other : interest less fees; adjustments : what was corrected by name, shares at
    their last known close, which counts as performance: earlier values were wrong by that amount
    """

    date: Day
    before_cents: int
    flows_cents: int
    equity_cents: int
    cash_cents: int
    invested_cents: int
    buys_cents: int = Field(ge=0)
    sells_cents: int = Field(ge=0)
    pnl_cents: int
    dividends_cents: int
    other_cents: int
    commission_cents: int = Field(ge=0)
    slippage_cents: int = Field(ge=0)
    n_positions: int = Field(ge=0)
    receivables_cents: int = 0
    adjustments_cents: int = 0

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        earned = self.pnl_cents + self.dividends_cents + self.other_cents + self.adjustments_cents
        change = self.flows_cents + earned - self.commission_cents - self.slippage_cents
        held = self.cash_cents + self.invested_cents + self.receivables_cents
        if self.equity_cents != held or self.equity_cents - self.before_cents != change:
            raise BookError(f"the book does not balance on {self.date}: {self}")
        return self


def cash_change(fill: Fill) -> int:
    """What a fill does to the cash, cents."""
    notional = fill.notional_cents if fill.shares < 0 else -fill.notional_cents
    return notional - fill.commission_cents - fill.slippage_cents


def exact(value: float) -> Fraction:
    """The decimal number that is meant by a price, a rate or a return: 0.1 is a tenth."""
    return Fraction(repr(float(value)))


def worth(units: int | Fraction, price: float, share_units: int) -> int:
    """Units × price in cents; exact, so that half a cent is one."""
    return round(units * exact(price) * 100 / share_units)
