"""The state of a book at one time, and the events of a settlement since then.

Money is in integer cents. In rows, shares are integers of the book's unit (`share_units` to a whole share); in tables
and Series they are shares.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd
from pydantic import Field

from openbook.common.constants import CASH
from openbook.common.days import Day
from openbook.execution.share_units import in_shares, position_series, shares_text
from openbook.ledger.facts import (
    OPEN_END,
    REVERSAL,
    Action,
    Adjustment,
    Closed,
    Delisted,
    Fill,
    Flow,
    Holding,
    Lot,
    Mark,
    Note,
    Receivable,
    Rename,
    Result,
    Row,
    cash_change,
)
from openbook.ledger.receivables import owed_after
from openbook.portfolio.turnover import traded_turnover

PENDING_COLUMNS = ["order_id", "decided", "session", "symbol", "shares", "price", "reason", "status", "security"]
FILL_COLUMNS = ["date", "fill_id", "symbol", "shares", "price", "commission", "slippage", "decided_price"]
MARK_COLUMNS = ["date", "before_cents", "flows_cents", "equity_cents"]
HISTORY_COLUMNS = ["date", "equity", "cash", "invested", "daily_return", "turnover", "costs", "n_positions"]
NO_CLOSE = "no close"  # how a note on a held name without one begins
SHOWN = 5  # receivables that a sentence names
RECEIVABLES_ROW = "RECEIVABLES"
CURRENCY, MINOR_UNITS = "USD", 100  # money is kept in integer cents


@dataclass(frozen=True, eq=False)
class BookState:
    """A book after its last settled session, and what was recorded since.

    cash_cents, invested_cents, positions : as settled; signed shares by symbol, sorted, CASH not among them
    receivables : what is owed to the book, as settled
    recorded, flows, adjustments : what a person recorded since; the next settlement takes it in
    pending : orders of sessions to come, PENDING_COLUMNS; `shares` signed, `price` USD when decided; `status` is
        PENDING, APPROVED or PARTIALLY_FILLED; `security` is the id
    history : one row per session, HISTORY_COLUMNS; see `performance`
    switch : state of the kill switch, and why it is not ACTIVE
    marks : MARK_COLUMNS of the sessions since the switch was armed
    fills : every fill so far, FILL_COLUMNS, oldest first; USD, decided_price is the close of the session before
    unsettled : unresolved differences from a broker statement; empty: none
    head : hash of the last event, on which the next commit must build
    share_units : units of a whole share; positions and orders are multiples of one unit
    securities : id by ticker of every security that the book knows and that trades, as they are called today: a rename
        that was recorded is in force in `securities`, `positions` and `pending`
    ids : every id that was ever given
    renames : those that are recorded, and were not in force yet at the last session
    lots : open lots by id, oldest first, as settled; restated : those of the securities of which a settled fill was
        reversed since, as they would be without it
    prices : USD by id, at which what is held was marked
    last_orders : those of the last session that had any, in any state: order_id, decided, status
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
    share_units: int = 1
    securities: dict[str, str] = field(default_factory=dict)
    ids: frozenset[str] = frozenset()
    receivables: tuple[Receivable, ...] = ()
    adjustments: tuple[Adjustment, ...] = ()
    renames: tuple[Rename, ...] = ()
    lots: dict[str, tuple[Lot, ...]] = field(default_factory=dict)
    restated: dict[str, tuple[Lot, ...]] = field(default_factory=dict)
    prices: dict[str, float] = field(default_factory=dict)
    last_orders: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["order_id", "decided", "status"]))

    @property
    def cash_now_cents(self) -> int:
        """Settled cash, and what was recorded since."""
        corrected = sum(row.cents for row in self.adjustments if not row.due)
        flows = sum(flow.cents for flow in self.flows)
        return self.cash_cents + sum(map(cash_change, self.recorded)) + flows + corrected

    @property
    def positions_now(self) -> pd.Series:
        """Settled positions, and what was recorded since; as `positions`."""
        called = self.names
        held = ((called.get(security, security), n) for security, n in self.units_now.items())
        return position_series(held, self.share_units)

    @property
    def names(self) -> dict[str, str]:
        """Ticker of today by id; the other way round than `securities`."""
        return {security: ticker for ticker, security in self.securities.items()}

    @property
    def units(self) -> dict[str, int]:
        """Settled positions in units, by id."""
        pairs = zip(self.positions.index, self.positions, strict=True)
        return {self.securities.get(symbol, symbol): round(n * self.share_units) for symbol, n in pairs}

    @property
    def units_now(self) -> dict[str, int]:
        """Settled positions in units, and what was recorded since, by id."""
        held = Counter(self.units)
        moved: tuple[Fill | Adjustment, ...] = (*self.recorded, *self.adjustments)
        for row in moved:
            held[row.security] += row.shares
        return {security: n for security, n in held.items() if n}

    @property
    def lots_restated(self) -> dict[str, tuple[Lot, ...]]:
        """Open lots by id, without the fills that were reversed since; the next settlement begins with them."""
        return self.lots | self.restated

    @property
    def receivables_now(self) -> list[Receivable]:
        """Receivables as settled, with later corrections."""
        return owed_after(self.receivables, self.adjustments)

    @property
    def receivables_cents(self) -> int:
        """What is owed to the book, as settled."""
        return sum(row.cents for row in self.receivables)

    @property
    def equity_cents(self) -> int:
        """Cash, positions at the last close, and what is owed to the book."""
        return self.cash_cents + self.invested_cents + self.receivables_cents

    @property
    def cash(self) -> float:
        """USD."""
        return self.cash_cents / 100

    @property
    def equity(self) -> float:
        """Cash, positions at the last close and receivables, USD."""
        return self.equity_cents / 100


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
    """Everything that happened between the book's last session and `session`, as plain rows.

    lots : the open lots of every security whose lots changed, oldest first; closed : what ended; see `lots.carry`
    """

    schema_version: Literal[2, 3] = 3
    session: Day
    head: str = Field(description="hash of the event that this settlement builds on")
    cash_cents: int
    holdings: tuple[Holding, ...]
    flow_rows: tuple[Flow, ...]
    fill_rows: tuple[Fill, ...]
    results: tuple[Result, ...]
    actions: tuple[Action, ...]
    marks: tuple[Mark, ...] = Field(min_length=1)
    notes: tuple[Note, ...]
    share_units: int = Field(1, ge=1, description="units of a whole share")
    adjustment_rows: tuple[Adjustment, ...] = ()
    receivables: tuple[Receivable, ...] = ()
    delisted: tuple[Delisted, ...] = ()
    lots: tuple[Lot, ...] = ()
    closed: tuple[Closed, ...] = ()

    def to_json(self) -> str:
        """The same settlement gives the same bytes."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)

    @property
    def cash(self) -> float:
        """USD after the last session."""
        return self.cash_cents / 100

    @property
    def equity(self) -> float:
        """Cash, positions at the last close and receivables, USD."""
        return self.marks[-1].equity_cents / 100

    @property
    def positions(self) -> pd.Series:
        """Signed shares by symbol, sorted."""
        return position_series(((row.symbol, row.shares) for row in self.holdings), self.share_units)

    @property
    def halted(self) -> str:
        """Which held names have no close in this session, in a sentence; empty if all have one."""
        names = [row.symbol for row in self.notes if row.date == self.session and row.text.startswith(NO_CLOSE)]
        return f"No close for {', '.join(names)}: kept at the last close, not traded." if names else ""

    @property
    def owed(self) -> str:
        """What is owed to the book and is no cash yet, in words."""
        return owed_text(self.receivables)

    def priced(self, closes: pd.Series) -> pd.Series:
        """The closes of the session, (n_symbols,), USD; of a held name without one the price that it was marked at."""
        marks = pd.Series({row.symbol: row.price for row in self.holdings}, dtype="float64")
        return closes.reindex(closes.index.union(marks.index)).fillna(marks)

    @property
    def fills(self) -> pd.DataFrame:
        """Columns symbol, security, fill_id, date, order_id, shares, price, notional, commission, slippage, recorded;
        USD."""
        return self._shown(self.fill_rows, Fill)

    @property
    def realized(self) -> pd.DataFrame:
        """One row per lot, or part of one, that was closed: symbol, security, date, opened, kind, shares, cost,
        proceeds, gain; USD. What an adjustment took away has no gain (NaN)."""
        table = self._shown(self.closed, Closed)
        known = table["kind"] != "adjustment"
        return table.assign(
            gain=(table["proceeds"] - table["cost"]).where(known), proceeds=table["proceeds"].where(known)
        )

    def _shown(self, rows: tuple[Row, ...], kind: type[Row]) -> pd.DataFrame:
        """Rows as a table, in shares and USD."""
        table = pd.DataFrame([row.model_dump() for row in rows], columns=list(kind.model_fields))
        return dollars(table.assign(shares=in_shares(table["shares"], self.share_units)))

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
        """Notes, oldest first: columns date, event, symbol, detail."""
        units = self.share_units
        rows: list[tuple[str, str, str, str]] = [
            (a.date, a.kind, a.symbol, _action_text(a, units)) for a in self.actions
        ]
        rows += [
            (f.date, "fill", f.symbol, f"{shares_text(f.shares, units, '+')} at {f.price:,.4f}") for f in self.fill_rows
        ]
        rows += [(r.date, r.status.lower(), r.symbol, r.reason) for r in self.results if r.reason]
        rows += [(n.date, "note", n.symbol, n.text) for n in self.notes]
        rows += [(self.marks[0].date, f.kind, CASH, f"{f.cents / 100:+,.2f} USD") for f in self.flow_rows]
        rows += [(self.marks[0].date, "adjustment", *_adjustment_text(row, units)) for row in self.adjustment_rows]
        return pd.DataFrame(sorted(rows), columns=["date", "event", "symbol", "detail"], dtype="str")


def owed_text(receivables: Iterable[Receivable]) -> str:
    """What is owed to a book, in words: the sum, and the largest of what it consists of."""
    rows = sorted(receivables, key=lambda row: -abs(row.cents))
    parts = [f"{row.kind.replace('_', '-')} of {row.symbol} {row.cents / 100:,.2f}" for row in rows[:SHOWN]]
    parts += [f"{len(rows) - SHOWN} more"] if len(rows) > SHOWN else []
    return f"{sum(row.cents for row in rows) / 100:,.2f} USD: {', '.join(parts)}" if rows else "none"


def all_fills(state: BookState, settlement: Settlement) -> pd.DataFrame:
    """FILL_COLUMNS of a book after a settlement: those that it knew, and those that were simulated since."""
    decided = state.pending.set_index("order_id")["price"]
    new = settlement.fills[~settlement.fills["recorded"].astype(bool)]
    new = new.assign(decided_price=decided.reindex(new["order_id"]).to_numpy())[FILL_COLUMNS]
    return pd.concat([part for part in (state.fills, new) if len(part)] or [new], ignore_index=True)


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
            "turnover": traded_turnover(cents["buys_cents"], cents["sells_cents"], before),
            "costs": (cents["commission_cents"] + cents["slippage_cents"]) / 100,
            "n_positions": cents["n_positions"],
        }
    )


def dollars(table: pd.DataFrame) -> pd.DataFrame:
    """Columns in cents as columns in USD, without the suffix."""
    cents = [name for name in table.columns if name.endswith("_cents")]
    return table.assign(**{name: table[name] / 100 for name in cents}).rename(
        columns={name: name.removesuffix("_cents") for name in cents}
    )


def _adjustment_text(row: Adjustment, share_units: int) -> tuple[str, str]:
    """Symbol and words of one correction."""
    if row.due:
        due = "until paid" if row.due == OPEN_END else f"due {row.due}"
        return row.symbol, f"{row.kind} of {row.cents / 100:+,.2f} USD, {due}"
    why = "reversal of a fill" if row.kind == REVERSAL else "manual adjustment"
    if row.shares:
        return row.symbol, f"{shares_text(row.shares, share_units, '+')} shares, {why}"
    return CASH, f"{row.cents / 100:+,.2f} USD, {why}"


def _action_text(action: Action, share_units: int) -> str:
    """One corporate action in words."""
    before, after = (shares_text(n, share_units) for n in (action.shares_before, action.shares_after))
    owed = f", owed {action.owed_cents / 100:+,.2f} USD" if action.owed_cents else ""
    return f"{action.value:g}: {before} → {after} shares, cash {action.cash_cents / 100:+,.2f} USD{owed}"
