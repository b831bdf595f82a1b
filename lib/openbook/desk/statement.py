"""Plain facts of a book: what one is, and what happened to it. Money is in integer cents."""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, Field, model_validator

from openbook.errors import BookError

PENDING_COLUMNS = ["order_id", "decided", "session", "symbol", "shares", "price", "reason", "status"]
FILL_COLUMNS = ["date", "fill_id", "symbol", "shares", "price", "commission", "slippage", "decided_price"]
MARK_COLUMNS = ["date", "before_cents", "flows_cents", "equity_cents"]
HISTORY_COLUMNS = ["date", "equity", "cash", "invested", "daily_return", "turnover", "costs", "n_positions"]
CASH_ROW = "CASH"
Day = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$")]
Outcome = Literal["FILLED", "PARTIALLY_FILLED", "EXPIRED"]


class Row(BaseModel, frozen=True, extra="forbid", strict=True, allow_inf_nan=False):
    """A plain fact of the book; money is in integer cents, dates are YYYY-MM-DD."""


class Holding(Row):
    """A position after the last session, at the price that it is marked at."""

    symbol: str
    shares: int
    price: float = Field(gt=0)
    value_cents: int


class Fill(Row):
    """An order, or part of one, that was executed.

    On paper: at the raw execution price, slippage charged beside it. A fill that was recorded has its slippage in its
    price, and is settled once, with the session after it was recorded.
    """

    fill_id: str = Field(min_length=1)
    date: Day
    order_id: str
    symbol: str
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


class Result(Row):
    """How an order ended; `before` is the state that it was in."""

    date: Day
    order_id: str
    symbol: str
    before: str
    status: Outcome
    filled_shares: int
    reason: str


class Action(Row):
    """A corporate action on a held name: what it did to shares and cash.

    value : new shares per old (split), fraction of a share (cash_in_lieu), USD per share (dividend), final return
        (delisting)
    """

    date: Day
    symbol: str
    kind: Literal["split", "cash_in_lieu", "dividend", "delisting"]
    value: float
    shares_before: int
    shares_after: int
    cash_cents: int


class Note(Row):
    """Something about a held name that a reader should know."""

    date: Day
    symbol: str
    text: str


class Mark(Row):
    """The book at the close of one session; `before` is its equity at the session before.

    Always, to the cent: equity = cash + invested, and
    equity − before = flows + pnl + dividends + other − commission − slippage.
    flows : deposits less withdrawals; other : interest less fees
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

    @model_validator(mode="after")
    def _adds_up(self):
        earned = self.pnl_cents + self.dividends_cents + self.other_cents
        change = self.flows_cents + earned - self.commission_cents - self.slippage_cents
        held = self.cash_cents + self.invested_cents
        if self.equity_cents != held or self.equity_cents - self.before_cents != change:
            raise BookError(f"the book does not add up on {self.date}: {self}")
        return self


@dataclass(frozen=True, eq=False)
class BookState:
    """A book as it was after its last settled session, and what was recorded since.

    cash_cents, invested_cents, positions : as settled; whole signed shares by symbol, sorted, CASH not among them
    recorded, flows : fills and cash that a person recorded since; the next settlement takes them in
    pending : orders of sessions to come, PENDING_COLUMNS; `shares` signed, `price` USD when decided; `status` is
        PENDING, APPROVED or PARTIALLY_FILLED
    history : one row per session, HISTORY_COLUMNS; see `performance`
    switch : state of the kill switch, and why it is not ACTIVE
    marks : MARK_COLUMNS of the sessions since the switch was armed
    fills : every fill so far, FILL_COLUMNS, oldest first; USD, decided_price is the close of the evening before
    unsettled : what a statement of the broker says otherwise, and nobody has resolved; empty: nothing
    head : hash of the last event, on which the next commit must build
    """

    kind: str
    cash_cents: int
    invested_cents: int
    positions: pd.Series
    pending: pd.DataFrame
    last_session: pd.Timestamp | None
    history: pd.DataFrame
    head: str
    recorded: tuple[Fill, ...] = ()
    flows: tuple[Flow, ...] = ()
    switch: str = "ACTIVE"
    switch_reason: str = ""
    marks: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=MARK_COLUMNS))
    fills: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=FILL_COLUMNS))
    unsettled: str = ""

    @property
    def cash_now_cents(self) -> int:
        """Settled cash, and what was recorded since."""
        return self.cash_cents + sum(map(cash_change, self.recorded)) + sum(flow.cents for flow in self.flows)

    @property
    def positions_now(self) -> pd.Series:
        """Settled positions, and what was recorded since; as `positions`."""
        shares = Counter(self.positions.to_dict())
        for fill in self.recorded:
            shares[fill.symbol] += fill.shares
        return position_series((symbol, n) for symbol, n in shares.items() if n)

    @property
    def cash(self) -> float:
        """USD."""
        return self.cash_cents / 100

    @property
    def equity(self) -> float:
        """Cash and positions at the last close, USD."""
        return (self.cash_cents + self.invested_cents) / 100


def new_state(cash: float) -> BookState:
    """A paper book in memory, as it is before its first session; nothing of it is kept. cash : USD"""
    return BookState(
        kind="paper",
        cash_cents=round(cash * 100),
        invested_cents=0,
        positions=position_series(()),
        pending=pd.DataFrame(columns=PENDING_COLUMNS),
        last_session=None,
        history=performance(pd.DataFrame(columns=list(Mark.model_fields))),
        head="",
    )


class Settlement(Row):
    """Everything that happened between the book's last session and `session`, as plain rows."""

    schema_version: Literal[2] = 2
    session: Day
    head: str = Field(description="hash of the event that this settlement builds on")
    cash_cents: int
    holdings: tuple[Holding, ...]
    flow_rows: tuple[Flow, ...]
    fill_rows: tuple[Fill, ...]
    results: tuple[Result, ...]
    actions: tuple[Action, ...]
    marks: tuple[Mark, ...]
    notes: tuple[Note, ...]

    def to_json(self) -> str:
        """The same settlement gives the same bytes."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)

    @property
    def cash(self) -> float:
        """USD after the last session."""
        return self.cash_cents / 100

    @property
    def equity(self) -> float:
        """Cash and positions at the last close, USD."""
        return self.marks[-1].equity_cents / 100

    @property
    def positions(self) -> pd.Series:
        """Signed whole shares by symbol, sorted."""
        return position_series((row.symbol, row.shares) for row in self.holdings)

    @property
    def fills(self) -> pd.DataFrame:
        """Columns fill_id, date, order_id, symbol, shares, price, notional, commission, slippage, recorded; USD."""
        return dollars(pd.DataFrame([row.model_dump() for row in self.fill_rows], columns=list(Fill.model_fields)))

    @property
    def marks_table(self) -> pd.DataFrame:
        """MARK_COLUMNS, one row per session settled: what the kill switch has not seen yet."""
        return pd.DataFrame([row.model_dump(include=set(MARK_COLUMNS)) for row in self.marks], columns=MARK_COLUMNS)

    @property
    def history(self) -> pd.DataFrame:
        """One row per session settled, HISTORY_COLUMNS: to be appended to the history of the book."""
        return performance(pd.DataFrame([row.model_dump() for row in self.marks], columns=list(Mark.model_fields)))

    @property
    def events(self) -> pd.DataFrame:
        """What a reader should know, oldest first: columns date, event, symbol, detail."""
        rows = [(a.date, a.kind, a.symbol, _action_text(a)) for a in self.actions]
        rows += [(f.date, "fill", f.symbol, f"{f.shares:+d} at {f.price:,.4f}") for f in self.fill_rows]
        rows += [(r.date, r.status.lower(), r.symbol, r.reason) for r in self.results if r.reason]
        rows += [(n.date, "note", n.symbol, n.text) for n in self.notes]
        rows += [(self.marks[0].date, f.kind, CASH_ROW, f"{f.cents / 100:+,.2f} USD") for f in self.flow_rows]
        return pd.DataFrame(sorted(rows), columns=["date", "event", "symbol", "detail"], dtype="str")


def all_fills(state: BookState, settlement: Settlement) -> pd.DataFrame:
    """FILL_COLUMNS of a book after a settlement: those that it knew, and those that were simulated since."""
    decided = state.pending.set_index("order_id")["price"]
    new = settlement.fills[~settlement.fills["recorded"].astype(bool)]
    new = new.assign(decided_price=decided.reindex(new["order_id"]).to_numpy())[FILL_COLUMNS]
    return pd.concat([part for part in (state.fills, new) if len(part)] or [new], ignore_index=True)


def cash_change(fill: Fill) -> int:
    """What a fill does to the cash, cents."""
    notional = fill.notional_cents if fill.shares < 0 else -fill.notional_cents
    return notional - fill.commission_cents - fill.slippage_cents


def position_series(pairs) -> pd.Series:
    """Shares by symbol, sorted, int64."""
    pairs = sorted(pairs)
    index = pd.Index([symbol for symbol, _ in pairs], dtype="str", name="symbol")
    return pd.Series([shares for _, shares in pairs], index=index, dtype="int64", name="shares")


def performance(marks: pd.DataFrame) -> pd.DataFrame:
    """HISTORY_COLUMNS of marks in cents (the fields of `Mark`), one row per session, USD.

    daily_return : equity / (equity of the session before + deposits − withdrawals) − 1; a new book's first is 0
    turnover : ½ Σ|change of weight|, cash included: the larger of what was bought and sold, of the equity before
    costs : commission and slippage
    """
    cents = {name: marks[name].to_numpy(dtype="int64") for name in marks if name != "date"}
    before = cents["before_cents"] + cents["flows_cents"]
    return pd.DataFrame(
        {
            "date": pd.to_datetime(marks["date"], format="%Y-%m-%d").astype("datetime64[us]"),
            "equity": cents["equity_cents"] / 100,
            "cash": cents["cash_cents"] / 100,
            "invested": cents["invested_cents"] / 100,
            "daily_return": cents["equity_cents"] / before - 1,
            "turnover": np.maximum(cents["buys_cents"], cents["sells_cents"]) / before,
            "costs": (cents["commission_cents"] + cents["slippage_cents"]) / 100,
            "n_positions": cents["n_positions"],
        }
    )


def dollars(table: pd.DataFrame) -> pd.DataFrame:
    """Columns in cents as columns in USD, without the suffix."""
    cents = [name for name in table if name.endswith("_cents")]
    return table.assign(**{name: table[name] / 100 for name in cents}).rename(
        columns={name: name.removesuffix("_cents") for name in cents}
    )


def _action_text(action: Action) -> str:
    """One corporate action in words."""
    shares = f"{action.shares_before} → {action.shares_after} shares"
    return f"{action.value:g}: {shares}, cash {action.cash_cents / 100:+,.2f} USD"
