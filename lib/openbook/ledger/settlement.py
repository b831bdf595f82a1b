"""What happened to a book since its last session: cash, actions, fills, marks. Pure, and exact to the cent.

What is held is known by its security, an id for good; the market is asked by what that was called on each day.
"""

from collections.abc import Iterable
from fractions import Fraction
from math import prod
from typing import Any, cast

import numpy as np
import pandas as pd

from openbook.common.constants import CASH
from openbook.common.errors import BookError, DataError, DataNotReady, OutOfOrderError
from openbook.common.frames import each_row
from openbook.execution.orders import affordable, trade_cents
from openbook.execution.share_units import shares_text
from openbook.ledger import lots
from openbook.ledger.account import Account
from openbook.ledger.facts import (
    OPEN_END,
    Action,
    ActionKind,
    Delisted,
    Fill,
    Holding,
    Mark,
    Note,
    Outcome,
    Receivable,
    Result,
    cash_change,
    exact,
    worth,
)
from openbook.ledger.lots import whole_shares
from openbook.ledger.receivables import owed_after
from openbook.ledger.records import NO_CLOSE, BookState, Settlement
from openbook.market.calendar import session_from
from openbook.market.ingest import INGEST_RULES
from openbook.market.ratios import Kind, Ratio, read_ratio
from openbook.market.tables import Market
from openbook.portfolio.costs import Costs

REWRITTEN = 1.02  # a correction of a close by more is looked at by a person
DAYS_OF_INTEREST = 360  # money-market convention, actual/360


def settle(
    state: BookState, market: Market, costs: Costs, date: str | pd.Timestamp, account: Account | None = None
) -> Settlement:
    """Carry a book from its last session to the close of `date`; a new book only begins there.

    Each session in turn: what was corrected by name, cash that came or went, interest on a debit, receivables that are
    due, splits, spin-offs, dividends for the shares held before, fills, the close, delistings. Fills are those that
    were recorded; on paper, instead, the approved orders of the session at `market.execution_price`, or at the end of
    the day's range where that lies outside of it (sells first; what the cash cannot pay for expires). What was not
    approved expires. Nothing later than `date` is looked at.

    A dividend is cash at once on paper; in a live book it is a receivable until a statement shows it. What a spin-off
    takes out of a price is a receivable until a person or a statement names what was received for it.
    A held name without a close is marked at its last one, and noted, for `account.max_locked` sessions.

    Raises OutOfOrderError if the book is already at `date` or beyond, DataNotReady if the market ends before it,
    DataError if held names have no price for too long, or too many of them (they are never valued at zero), and for an
    action whose ratio could mean two things; BookError while the outcome is unknown of an approved order of a
    live book.

    Examples
    --------
    >>> from openbook.ledger.records import new_state
    >>> ob.settle(new_state(1000.0), market, ob.Costs(), "2022-12-28").equity
    1000.0
    """
    require_accounted(state, date)
    date = pd.Timestamp(date).normalize()
    market = market.upto(date)
    ledger = _Ledger(state, market, costs, account or Account())
    try:
        for session in _sessions(state, market, date):
            ledger.close(session)
        return ledger.result()
    except OverflowError:
        held = {*state.positions_now.index, *state.pending["symbol"]}
        dear = market.close[[symbol for symbol in market.close if symbol in held]].iloc[-1].idxmax()
        raise BookError(
            f"the amounts of {date:%Y-%m-%d} are larger than a book can hold; check the price of {dear} at its source"
        ) from None


def require_accounted(state: BookState, date: str | pd.Timestamp) -> None:
    """BookError if a statement differs from the book, or if an approved order of a live book has no known outcome."""
    if state.unsettled:
        raise BookError(
            f"the broker's statement differs from the book: {state.unsettled}; resolve the difference and run "
            "openbook reconcile"
        )
    open_ = state.pending[(state.pending["session"] <= pd.Timestamp(date)) & (state.pending["status"] != "PENDING")]
    if state.kind == "live" and len(open_):
        raise BookError(
            f"no fill or cancellation recorded for {_list(open_['order_id'])}; run openbook fills, then "
            "openbook reconcile"
        )


def _sessions(state: BookState, market: Market, date: pd.Timestamp) -> pd.DatetimeIndex:
    """The sessions to settle, oldest first, ending with `date`."""
    if state.last_session is not None and date <= state.last_session:
        raise OutOfOrderError(f"{date:%Y-%m-%d} is not after the book's last session, {state.last_session:%Y-%m-%d}")
    if market.dates.empty or market.dates[-1] < date:
        last = "never" if market.dates.empty else f"{market.dates[-1]:%Y-%m-%d}"
        raise DataNotReady(
            f"no bars for {date:%Y-%m-%d} yet, the latest are of {last}; try again when the source has them"
        )
    return market.dates[-1:] if state.last_session is None else market.dates[market.dates > state.last_session]


class _Ledger:
    """The book while it is carried forward; the only mutable state of this module, alive inside `settle`."""

    def __init__(self, state: BookState, market: Market, costs: Costs, account: Account):
        self.market, self.costs, self.account, self.head = market, costs, account, state.head
        self.cash, self.invested, self.simulated = state.cash_cents, state.invested_cents, state.kind == "paper"
        self.recorded, self.flows, self.adjustments = list(state.recorded), state.flows, state.adjustments
        self.share_units, self.names, self.renames = state.share_units, state.names, state.renames
        self.shares, self.receivables = state.units, list(state.receivables)
        self.lots, self.settled_lots = state.lots_restated, state.lots
        self.pending = {row.order_id: row for row in each_row(state.pending, index=False)}
        self.names |= {row.security: row.symbol for row in self.pending.values()}
        self.ordered = {row.order_id: round(row.shares * self.share_units) for row in self.pending.values()}
        self.previous = state.last_session
        self.corporate = _sorted_actions(market)
        self.turn_to(state.last_session)
        columns = {security: self.column(security) for security in self.shares}
        _require_known(columns, market, account, state)
        self.last_close = {security: state.prices[security] for security in self.shares}
        self.stale = _sessions_without(market, columns, state.last_session, account.max_locked + 1)
        self.fills: list[Fill] = []
        self.results: list[Result] = []
        self.actions: list[Action] = []
        self.marks: list[Mark] = []
        self.notes: list[Note] = []
        self.delisted: list[Delisted] = []

    def turn_to(self, session: pd.Timestamp | None) -> None:
        """Name the day, on which every security has the ticker of that day; before a first session, today's."""
        self.session = cast(pd.Timestamp, session)  # None until the first is carried over
        self.day = "9999" if session is None else f"{session:%Y-%m-%d}"

    def called(self, security: str) -> str:
        """What a security is called on the day."""
        earlier = [row.symbol for row in self.renames if row.security == security and row.date > self.day]
        return earlier[0] if earlier else self.names.get(security, security)

    def column(self, security: str) -> str:
        """Its column in the market: the ticker of the day, or the last one for all of history, as in some sources."""
        called = self.called(security)
        return called if called in self.market.symbols else self.names.get(security, called)

    def close(self, session: pd.Timestamp) -> None:
        """Carry the book over one session."""
        self.turn_to(session)
        self.first_fill, self.equity_before = len(self.fills), self.equity
        self.dividends, self.proceeds = 0, 0  # proceeds: cash in lieu, delistings and spin-offs, part of the P&L
        waiting = {order.security for order in self.pending.values()}
        self.here = {self.column(security): security for security in sorted({*self.shares, *waiting})}
        self.take_adjustments()
        self.take_flows()
        self.pay_interest()
        self.collect()
        fractions = self.split()
        self.pay_dividends()
        self.fill()
        self.see_closes({*self.shares, *fractions})
        self.pay_fractions(fractions)
        self.delist()
        self.retire()
        self.mark()
        self.previous = session

    @property
    def equity(self) -> int:
        """Cents, as last marked."""
        return self.cash + self.invested + sum(row.cents for row in self.receivables)

    def result(self) -> Settlement:
        """The frozen outcome; DataError names held symbols without a close at the last session."""
        if self.recorded:
            ids = _list(fill.fill_id for fill in self.recorded)
            raise OutOfOrderError(f"fills {ids} are dated after {self.day}; settle the later session")
        locked = [security for security in sorted(self.shares) if self.stale[security]]
        unpriced = sum(abs(self.value(self.shares[security], self.last_close[security])) for security in locked)
        if unpriced > self.account.max_locked_value * max(self.equity, 0):
            raise DataError(
                f"no close for held {_list(map(self.called, locked))} on {self.day}, {unpriced / 100:,.2f} "
                f"USD of {self.equity / 100:,.2f}; import the bars or record the delisting; "
                "account.max_locked_value limits how much may stay at its last close"
            )
        held, closed = self.carry_lots()
        return Settlement(
            session=self.day,
            head=self.head,
            cash_cents=self.cash,
            holdings=tuple(self.holding(key, lots.cost_of(held.get(key, ()))) for key in sorted(self.shares)),
            flow_rows=self.flows,
            fill_rows=tuple(self.fills),
            results=tuple(self.results),
            actions=tuple(self.actions),
            marks=tuple(self.marks),
            notes=tuple(self.notes),
            share_units=self.share_units,
            adjustment_rows=self.adjustments,
            receivables=tuple(self.receivables),
            delisted=tuple(self.delisted),
            lots=lots.changed(self.settled_lots, held),
            closed=closed,
        )

    def carry_lots(self) -> tuple[lots.Lots, tuple]:
        """Open lots by security, and what was closed, after all that is listed here."""
        return lots.carry(
            self.lots,
            days=[mark.date for mark in self.marks],
            adjustments=self.adjustments,
            actions=self.actions,
            fills=self.fills,
            share_units=self.share_units,
        )

    def take_adjustments(self) -> None:
        """What was corrected by name since the last session; shares are valued at their last known close."""
        self.adjusted, self.adjusted_shares = 0, 0
        if not self.marks:
            before = sum(row.cents for row in self.receivables)
            self.receivables = owed_after(self.receivables, self.adjustments)
            self.adjusted = sum(row.cents for row in self.receivables) - before
        for row in self.adjustments if not self.marks else ():
            if row.shares:
                self.hold(row.security, self.shares.get(row.security, 0) + row.shares)
                self.names.setdefault(row.security, row.symbol)
                self.here.setdefault(self.column(row.security), row.security)
                self.adjusted_shares += self.value(
                    row.shares, self.last_close.setdefault(row.security, cast(float, row.price))
                )
            elif not row.due:
                self.cash += row.cents
                self.adjusted += row.cents
        self.adjusted += self.adjusted_shares

    def take_flows(self) -> None:
        """Cash that came or went since the last session is there from the next one's morning on."""
        flows = self.flows if not self.marks else ()
        self.external = sum(flow.cents for flow in flows if flow.kind in ("deposit", "withdrawal"))
        self.other = sum(flow.cents for flow in flows) - self.external
        self.cash += self.external + self.other

    def pay_interest(self) -> None:
        """On paper, interest on cash that was below zero since the session before; a live book records its broker's."""
        debit = -min(self.cash - self.external - self.other, 0)
        if not (self.simulated and debit and self.previous is not None):
            return
        days = (self.session - self.previous).days
        cents = -round(debit * exact(self.account.debit_rate) * days / DAYS_OF_INTEREST)
        if cents:
            self.cash += cents
            self.other += cents
            self.actions.append(Action(date=self.day, symbol=CASH, kind="interest", value=self.account.debit_rate,
                                    shares_before=0, shares_after=0, cash_cents=cents))  # fmt: skip

    def collect(self) -> None:
        """What is owed to the book is paid on the first session from its due date on."""
        paid = [row for row in self.receivables if row.due <= self.day]
        self.receivables = [row for row in self.receivables if row.due > self.day]
        for row in paid:
            self.cash += row.cents
            text = f"{row.kind} of {row.cents / 100:,.2f} USD was paid, due {row.due}"
            self.notes.append(Note(date=self.day, symbol=row.symbol, text=text))

    def split(self) -> dict[str, tuple[int, Fraction]]:
        """Splits and spin-offs of the morning; returns (whole, fraction) in units of what was split, the fraction
        still to be paid in cash at the close."""
        ratios: dict[tuple[str, str], list[Fraction]] = {}
        fractions: dict[str, tuple[int, Fraction]] = {}
        for symbol, security, value in self.due("split"):
            if not 0 < value < np.inf:
                raise DataError(f"split of {symbol} on {self.day} has ratio {value}; correct it in the source")
            if security:
                meant = self.explained(symbol, security, value)
                ratios.setdefault((security, meant.kind), []).append(meant.value)
        for (security, kind), values in sorted(ratios.items()):
            ratio = prod(values, start=Fraction(1))
            if kind == "spin_off":
                self.spin_off(security, ratio)
                continue
            before = self.shares.get(security, 0)
            after, fraction = whole_shares(before * ratio)
            self.scale_orders(security, ratio, before, after)
            if before:
                self.last_close[security] /= float(ratio)
                self.hold(security, after)
                self.act(security, "split", float(ratio), before)
                fractions[security] = (after, fraction)
        return fractions

    def explained(self, symbol: str, security: str, value: float) -> Ratio:
        """What a ratio means for a security that is held or ordered; if necessary, as a person stated."""
        ratio, stated = read_ratio(value), self.account.actions.get(f"{symbol} {self.day}")
        if stated is None and ratio.kind == "unclear":
            raise DataError(
                f"{symbol} on {self.day} has a split ratio of {float(ratio.value):g}, which may be a "
                "split or a spin-off; look it up, then set --set "
                f"'account.actions={{{symbol} {self.day}: split}}' or spin_off, or correct it in the "
                "source"
            )
        return ratio if stated is None else Ratio(ratio.value, cast(Kind, stated))

    def spin_off(self, security: str, ratio: Fraction) -> None:
        """The shares stay; what leaves their price is owed to the book, until it is known what came for it."""
        shares = self.shares.get(security, 0)
        if not shares:
            return
        before = self.value(shares, self.last_close[security])
        self.last_close[security] /= float(ratio)
        cents = before - self.value(shares, self.last_close[security])
        self.proceeds += cents
        self.owe(security, "spin_off", cents)
        self.act(security, "spin_off", float(ratio), shares, owed=cents)

    def owe(self, security: str, kind: str, cents: int) -> None:
        """A receivable without a known pay date."""
        if cents:
            row = Receivable(symbol=self.called(security), security=security, kind=kind, due=OPEN_END, cents=cents)
            self.receivables.append(row)

    def scale_orders(self, security: str, ratio: Fraction, before: int, after: int) -> None:
        """A pending order is for shares before the split, so a split changes it too; a full exit stays one."""
        for order in self.pending.values():
            if order.security == security:
                full_exit = before and self.ordered[order.order_id] == -before
                scaled = -after if full_exit else whole_shares(self.ordered[order.order_id] * ratio)[0]
                self.ordered[order.order_id] = scaled

    def pay_dividends(self) -> None:
        """Dividends of the ex-date, for the shares held before the session's fills, less what the broker withholds."""
        for symbol, security, per_share in self.due("dividend"):
            if not 0 <= per_share < np.inf:
                raise DataError(f"dividend of {symbol} on {self.day} is {per_share}; correct it in the source")
            if security in self.shares:
                cents = self.value(self.shares[security], per_share)
                cents -= round(max(cents, 0) * exact(self.account.withholding))
                self.dividends += cents
                self.cash += cents if self.simulated else 0
                self.owe(security, "dividend", 0 if self.simulated else cents)
                # only matters where there is no bar today; a price is never zero
                self.last_close[security] = max(self.last_close[security] - per_share, 0.01)
                paid = {"cash": cents} if self.simulated else {"owed": cents}
                self.act(security, "dividend", per_share, self.shares[security], **paid)

    def fill(self) -> None:
        """Apply recorded fills; on paper, fill the approved orders. Other orders for this session expire."""
        for row in [row for row in self.recorded if row.date <= self.day]:
            self.recorded.remove(row)
            self.take(row)
        due = [order for order in self.pending.values() if order.session <= self.session]
        for order in due:
            if order.status == "PENDING":
                self.end(order, 0, "not approved")
        if self.simulated:
            self.simulate([order for order in due if order.order_id in self.pending])

    def simulate(self, due: list) -> None:
        """Fill orders at this session's execution price; what has no bar, or no cash, expires."""
        prices = [self.price_of(order) for order in due]
        ready = [(order, price) for order, price in zip(due, prices, strict=True) if price > 0]
        for order, price in zip(due, prices, strict=True):
            if np.isnan(price):
                self.end(order, 0, f"no bar of {order.symbol} on {order.session:%Y-%m-%d}")
        ready.sort(key=lambda pair: (self.ordered[pair[0].order_id] > 0, pair[0].symbol))
        at = np.array([price for _, price in ready])
        wanted = [max(self.ordered[o.order_id], -max(self.shares.get(o.security, 0), 0)) for o, _ in ready]
        units = affordable(wanted, at, self.cash, self.costs, self.share_units)
        cents = np.column_stack(trade_cents(units, at, self.costs, self.share_units)).tolist()
        for (order, paid), n, amounts in zip(ready, units.tolist(), cents, strict=True):
            if n:
                self.take(self.simulated_fill(order, n, paid, amounts))
            decided = round(order.shares * self.share_units)
            self.end(order, n, _shortfall(self.ordered[order.order_id], n, decided, self.share_units))

    def simulated_fill(self, order: Any, shares: int, price: float, amounts: list[int]) -> Fill:
        """The one fill of an order on paper; amounts : notional, commission and slippage, cents"""
        return Fill(
            fill_id=f"{order.order_id}#1",
            date=self.day,
            order_id=order.order_id,
            symbol=self.called(order.security),
            security=order.security,
            shares=shares,
            price=price,
            notional_cents=amounts[0],
            commission_cents=amounts[1],
            slippage_cents=amounts[2],
        )

    def price_of(self, order: Any) -> float:
        """Raw execution price of an order in USD; NaN if its session has passed, or has no bar for it. Where that
        turned out not to be a session, because the exchange stayed closed, it is for the next one."""
        column = self.column(order.security)
        if session_from(order.session) != self.session or column not in self.market.symbols:
            return np.nan
        price = float(cast(float, self.market.execution_price.at[self.session, column]))
        return self.in_range(price, column) if 0 < price < np.inf else np.nan

    def in_range(self, price: float, column: str) -> float:
        """The price, or the nearest one of the day's range where it lies outside by more than vendors round."""
        if self.market.high is None or self.market.low is None:
            return price
        high, low = (
            float(cast(float, table.at[self.session, column])) for table in (self.market.high, self.market.low)
        )
        slack = cast(float, INGEST_RULES["range"].threshold) * price
        return high if price > high + slack else low if price < low - slack else price

    def take(self, fill: Fill) -> None:
        """What one fill does to shares and cash; recorded or simulated, it is the same."""
        self.cash += cash_change(fill)
        if fill.security not in self.shares:
            self.last_close[fill.security] = fill.price
            self.names.setdefault(fill.security, fill.symbol)
            self.here.setdefault(self.column(fill.security), fill.security)
        self.hold(fill.security, self.shares.get(fill.security, 0) + fill.shares)
        self.fills.append(fill)

    def see_closes(self, securities: set[str]) -> None:
        """Today's close of each security; without one the last stays, and the sessions without are counted."""
        columns = {security: self.column(security) for security in sorted(securities)}
        closes = self.market.close.loc[self.session].reindex(list(columns.values()))
        for security, price in zip(columns, closes, strict=True):
            seen = 0 < price < np.inf
            self.stale[security] = 0 if seen else self.stale.get(security, 0) + 1
            if seen:
                self.last_close[security] = float(price)

    def pay_fractions(self, fractions: dict[str, tuple[int, Fraction]]) -> None:
        """Cash in lieu of the fraction of a unit that a split left, at the close, so that no cent is lost."""
        for security, (whole, fraction) in fractions.items():
            price = self.last_close[security]
            cents = self.value(whole + fraction, price) - self.value(whole, price)
            if cents:
                self.cash += cents
                self.proceeds += cents
                self.act(security, "cash_in_lieu", float(fraction), self.shares.get(security, 0), cash=cents)

    def delist(self) -> None:
        """A delisted name becomes cash at its last close × (1 + final return), also if it was recorded late."""
        for date, symbol, kind, final in self.corporate:
            security = self.here.get(symbol)
            if kind != "delisting" or date > self.session or security not in self.shares:
                continue
            if self.trades_on(symbol, date):
                continue
            if not -1 <= final < np.inf:
                raise DataError(f"delisting of {symbol} has final return {final}; record a return, 0 if none")
            shares = self.shares[security]
            price = exact(self.last_close[security]) * (1 + exact(final))
            cents = round(shares * price * 100 / self.share_units)
            self.cash += cents
            self.proceeds += cents
            self.hold(security, 0)
            self.act(security, "delisting", final, shares, cash=cents)
            self.delisted.append(Delisted(date=self.day, security=security))

    def trades_on(self, symbol: str, date: pd.Timestamp) -> bool:
        """Whether there are bars after a delisting: it was of an earlier owner of the ticker."""
        closes = self.market.close[symbol].loc[date : self.session]
        return bool(closes[closes.index > date].notna().any())

    def retire(self) -> None:
        """A name that was held once and is delisted now gives its ticker up, for another company to take."""
        gone = {row.security for row in self.delisted}
        for date, symbol, kind, _ in self.corporate:
            if kind != "delisting" or not self.just(date) or symbol not in self.market.symbols:
                continue
            known = [key for key in self.names if self.column(key) == symbol and key not in {*gone, *self.shares}]
            if known and not self.trades_on(symbol, date):
                self.delisted += [Delisted(date=self.day, security=key) for key in known]

    def mark(self) -> None:
        """Value the book at the close, and check that its change is P&L + dividends − costs."""
        self.look_for_stale()
        before = self.invested
        self.invested = sum(self.value(n, self.last_close[security]) for security, n in self.shares.items())
        today = self.fills[self.first_fill :]
        buys = sum(row.notional_cents for row in today if row.shares > 0)
        sells = sum(row.notional_cents for row in today if row.shares < 0)
        mark = Mark(
            date=self.day,
            before_cents=self.equity_before,
            flows_cents=self.external,
            equity_cents=self.equity,
            cash_cents=self.cash,
            invested_cents=self.invested,
            buys_cents=buys,
            sells_cents=sells,
            pnl_cents=self.invested - before - buys + sells + self.proceeds - self.adjusted_shares,
            dividends_cents=self.dividends,
            other_cents=self.other,
            commission_cents=sum(row.commission_cents for row in today),
            slippage_cents=sum(row.slippage_cents for row in today),
            n_positions=len(self.shares),
            receivables_cents=sum(row.cents for row in self.receivables),
            adjustments_cents=self.adjusted,
        )
        self.marks.append(mark)

    def look_for_stale(self) -> None:
        """List the held names without a close; DataError for one that has had none for too long."""
        for security in sorted(self.shares):
            n, symbol = self.stale[security], self.called(security)
            if n > self.account.max_locked:
                raise DataError(
                    f"held name {symbol} has had no close for {n} sessions up to {self.day}; import its "
                    "bars, or record the delisting with its final return"
                )
            if n:
                text = f"{NO_CLOSE}, session {n} of at most {self.account.max_locked}; marked at its last, "
                text += (
                    f"{self.last_close[security]:,.4f}, and not traded; if it has another ticker now: openbook rename"
                )
                self.notes.append(Note(date=self.day, symbol=symbol, text=text))

    def due(self, kind: str) -> list[tuple[str, str, float]]:
        """(symbol, security, value) of the actions that take effect on this session; a symbol that is neither held nor
        waited for has no security."""
        rows = [row for row in self.corporate if row[2] == kind and self.just(row[0])]
        return [(symbol, self.here.get(symbol, ""), value) for _, symbol, _, value in rows]

    def just(self, date: pd.Timestamp) -> bool:
        """Whether something of that date takes effect on this session: it is later than the session before it."""
        return self.previous is not None and self.previous < date <= self.session

    def value(self, units: int | Fraction, price: float) -> int:
        """Units × price in cents."""
        return worth(units, price, self.share_units)

    def hold(self, security: str, shares: int) -> None:
        """Set a position; zero shares remove it."""
        self.shares[security] = shares
        if shares == 0:
            del self.shares[security]

    def holding(self, security: str, cost: int) -> Holding:
        """One position as it is marked."""
        shares, price = self.shares[security], self.last_close[security]
        return Holding(
            symbol=self.called(security),
            security=security,
            shares=shares,
            price=price,
            value_cents=self.value(shares, price),
            cost_cents=cost,
        )

    def act(self, security: str, kind: ActionKind, value: float, before: int, *, cash: int = 0, owed: int = 0) -> None:
        """List what an action did; the shares after it are those now held."""
        action = Action(
            date=self.day,
            symbol=self.called(security),
            security=security,
            kind=kind,
            value=float(value),
            shares_before=before,
            shares_after=self.shares.get(security, 0),
            cash_cents=cash,
            owed_cents=owed,
        )
        self.actions.append(action)

    def end(self, order: Any, filled: int, reason: str) -> None:
        """End an order: filled, partly filled with the rest expired, or expired."""
        ordered = self.ordered[order.order_id]
        status: Outcome = "EXPIRED" if filled == 0 else "FILLED" if filled == ordered else "PARTIALLY_FILLED"
        result = Result(
            date=self.day,
            order_id=order.order_id,
            symbol=order.symbol,
            security=order.security,
            before=order.status,
            status=status,
            filled_shares=filled,
            reason=reason,
        )
        self.results.append(result)
        del self.pending[order.order_id]


def _sorted_actions(market: Market) -> list[tuple[pd.Timestamp, str, str, float]]:
    """(date, symbol, kind, value) of every corporate action, oldest first."""
    table = market.actions.sort_values(["date", "symbol", "kind"])
    return list(zip(table["date"], table["symbol"], table["kind"], table["value"].astype(float), strict=True))


def _require_known(columns: dict[str, str], market: Market, account: Account, state: BookState) -> None:
    """DataError for a held name that the source does not have, or whose past close it has rewritten since the book was
    marked at it: as adjusted prices do at every split, which moves a price and leaves the shares.

    columns : symbol in the market by security
    """
    for security, symbol in columns.items():
        if symbol not in market.symbols:
            raise DataError(
                f"the book holds {symbol}, but the source has no bars for it; after a ticker change: "
                f"openbook rename {symbol} NEW --date D; after a delisting, record it in the source"
            )
        marked, day = state.prices[security], state.last_session
        close = float(cast(float, market.close.at[day, symbol])) if day in market.dates else np.nan
        factor = close / marked
        if not (1 / REWRITTEN < factor < REWRITTEN or np.isnan(factor)):
            event = f"{symbol} {day:%Y-%m-%d}"
            if account.actions.get(event) != "correction":
                raise DataError(
                    f"held name {symbol} was marked at {marked:,.4f} on {day:%Y-%m-%d}, but the source "
                    f"now has {close:,.4f}, {factor:.4g} times as much. Prices re-adjusted for splits or "
                    "dividends cannot value a book; use prices as traded with their actions "
                    "(adjusted_with_actions), or, if the vendor corrected a wrong close, --set "
                    f"'account.actions={{{event}: correction}}'"
                )


def _sessions_without(market: Market, columns: dict[str, str], last: pd.Timestamp | None, span: int) -> dict[str, int]:
    """For how many sessions, up to the book's last one, each held security has had no close."""
    closes = market.close.loc[:last].iloc[-span:].reindex(columns=sorted(columns.values()))
    silent = closes.isna()[::-1].cumprod().sum()
    return {security: int(silent[symbol]) for security, symbol in columns.items()}


def _shortfall(ordered: int, filled: int, decided: int, share_units: int) -> str:
    """Why an order, in units, was not filled as decided; empty if it was."""
    was, is_ = (shares_text(n, share_units, "+") for n in (decided, ordered))
    split = f"a split made {was} shares {is_}" if ordered != decided else ""
    if filled == ordered:
        return split
    why = "cash pays for" if ordered > 0 else "what is held, and cash for costs, allow"
    some, all_ = (shares_text(abs(n), share_units) for n in (filled, ordered))
    short = f"{why} {some} of {all_}; the rest expired"
    return f"{split}; {short}" if split else short


def _list(names: Iterable) -> str:
    return ", ".join(map(str, names))
