"""What happened to a book since its last session: cash, actions, fills, marks. Pure, and exact to the cent."""

from collections import Counter

import numpy as np
import pandas as pd

from openbook.desk.statement import (
    Action,
    BookState,
    Fill,
    Holding,
    Mark,
    Note,
    Result,
    Settlement,
    cash_change,
)
from openbook.desk.trades import affordable, trade_cents
from openbook.errors import BookError, ConflictError, DataError, DataNotReady, OutOfOrderError
from openbook.market.tables import Market
from openbook.portfolio.costs import Costs

# A held name without a bar is marked at its last close for a week; after that nobody knows what it is worth.
MAX_STALE = 5
# 100 × 0.29 is 28.999999999999996 in floating point, and is 29 shares.
WHOLE = 1e-9


def settle(state: BookState, market: Market, costs: Costs, date) -> Settlement:
    """Carry a book from its last session to the close of `date`; a new book only begins there.

    Each session in turn: cash that came or went, splits, dividends for the shares held before, fills, the close,
    delistings. Fills are those that were recorded; on paper, instead, the approved orders of the session at
    `market.execution_price` (sells first; what the cash cannot pay for expires). What was not approved expires. Nothing
    later than `date` is looked at.

    Raises OutOfOrderError if the book is already at `date` or beyond, DataNotReady if the market ends before it,
    DataError if a held name has no price at `date` (it is never valued at zero) or for more than MAX_STALE sessions,
    BookError while nobody has said what became of an approved order of a live book.
    """
    require_accounted(state, date)
    date = pd.Timestamp(date).normalize()
    market = market.upto(date)
    ledger = _Ledger(state, market, costs)
    for session in _sessions(state, market, date):
        ledger.close(session)
    return ledger.result()


def require_accounted(state: BookState, date) -> None:
    """BookError if a statement differs from the book, or if an approved order of a live book has an unknown end."""
    if state.unsettled:
        raise BookError(f"the broker's statement differs from the book: {state.unsettled}; resolve it, then reconcile")
    open_ = state.pending[(state.pending["session"] <= pd.Timestamp(date)) & (state.pending["status"] != "PENDING")]
    if state.kind == "live" and len(open_):
        raise BookError(
            f"what became of {_list(open_['order_id'])} is not known; import the fills, then reconcile the statement"
        )


def _sessions(state: BookState, market: Market, date: pd.Timestamp) -> pd.DatetimeIndex:
    """The sessions to settle, oldest first, ending with `date`."""
    if state.last_session is not None and date <= state.last_session:
        raise OutOfOrderError(f"the book is at {state.last_session:%Y-%m-%d}; {date:%Y-%m-%d} is not after it")
    if market.dates.empty or market.dates[-1] < date:
        last = "never" if market.dates.empty else f"{market.dates[-1]:%Y-%m-%d}"
        raise DataNotReady(f"no bars for {date:%Y-%m-%d}; the last are of {last}; try again when the source has them")
    return market.dates[-1:] if state.last_session is None else market.dates[market.dates > state.last_session]


class _Ledger:
    """The book while it is carried forward; the only mutable state of this module, alive inside `settle`."""

    def __init__(self, state: BookState, market: Market, costs: Costs):
        self.market, self.costs, self.head = market, costs, state.head
        self.cash, self.invested, self.simulated = state.cash_cents, state.invested_cents, state.kind == "paper"
        self.recorded, self.flows = list(state.recorded), state.flows
        self.shares = {symbol: int(shares) for symbol, shares in state.positions.items()}
        self.pending = {row.order_id: row for row in state.pending.itertuples(index=False)}
        self.ordered = {row.order_id: int(row.shares) for row in self.pending.values()}
        self.previous = state.last_session
        self.corporate = _sorted_actions(market)
        self.last_close = _last_closes(market, self.shares, state.last_session)
        self.stale = dict.fromkeys(self.shares, 0)
        self.fills, self.results, self.actions, self.marks, self.notes = [], [], [], [], []

    def close(self, session: pd.Timestamp) -> None:
        """Carry the book over one session."""
        self.session, self.day = session, f"{session:%Y-%m-%d}"
        self.first_fill, self.equity_before = len(self.fills), self.cash + self.invested
        self.dividends, self.proceeds = 0, 0  # proceeds: cash in lieu and delistings, part of the P&L
        self.take_flows()
        fractions = self.split()
        self.pay_dividends()
        self.fill()
        self.see_closes({*self.shares, *fractions})
        self.pay_fractions(fractions)
        self.delist()
        self.mark()
        self.previous = session

    def result(self) -> Settlement:
        """The frozen outcome; DataError names held symbols without a close at the last session."""
        if self.recorded:
            ids = _list(fill.fill_id for fill in self.recorded)
            raise OutOfOrderError(f"fills {ids} are of a session after {self.day}; settle that one")
        missing = [symbol for symbol in sorted(self.shares) if self.stale[symbol]]
        if missing:
            raise DataError(f"no close for held {_list(missing)} on {self.day}; import it or record the delisting")
        return Settlement(
            session=self.day,
            head=self.head,
            cash_cents=self.cash,
            holdings=tuple(self.holding(symbol) for symbol in sorted(self.shares)),
            flow_rows=self.flows,
            fill_rows=tuple(self.fills),
            results=tuple(self.results),
            actions=tuple(self.actions),
            marks=tuple(self.marks),
            notes=tuple(self.notes),
        )

    def take_flows(self) -> None:
        """Cash that came or went since the last session is there from the next one's morning on."""
        flows = self.flows if not self.marks else ()
        self.external = sum(flow.cents for flow in flows if flow.kind in ("deposit", "withdrawal"))
        self.other = sum(flow.cents for flow in flows) - self.external
        self.cash += self.external + self.other

    def split(self) -> dict[str, tuple[int, float]]:
        """Splits of the morning, on shares, waiting orders and the last close; returns (whole, fraction) still to be
        paid in cash at the close."""
        ratios, fractions = {}, {}
        for symbol, ratio in self.due("split"):
            if not 0 < ratio < np.inf:
                raise DataError(f"split of {symbol} on {self.day} has ratio {ratio}; correct the action")
            ratios[symbol] = ratios.get(symbol, 1.0) * ratio
        for symbol, ratio in ratios.items():
            before = self.shares.get(symbol, 0)
            after, fraction = _whole(before * ratio)
            self.scale_orders(symbol, ratio, before, after)
            if before:
                self.last_close[symbol] /= ratio
                self.hold(symbol, after)
                self.act(symbol, "split", ratio, before, 0)
                fractions[symbol] = (after, fraction)
        return fractions

    def scale_orders(self, symbol: str, ratio: float, before: int, after: int) -> None:
        """A waiting order is for the shares of the evening before: a split changes it too; a full exit stays one."""
        for order in self.pending.values():
            if order.symbol == symbol:
                full_exit = before and self.ordered[order.order_id] == -before
                scaled = -after if full_exit else _whole(self.ordered[order.order_id] * ratio)[0]
                self.ordered[order.order_id] = scaled

    def pay_dividends(self) -> None:
        """Cash on the ex-date for the shares held before the session's fills."""
        for symbol, per_share in self.due("dividend"):
            if not 0 <= per_share < np.inf:
                raise DataError(f"dividend of {symbol} on {self.day} is {per_share}; correct the action")
            if symbol in self.shares:
                cents = _cents(self.shares[symbol] * per_share)
                self.cash += cents
                self.dividends += cents
                # only matters where there is no bar today; a price is never zero
                self.last_close[symbol] = max(self.last_close[symbol] - per_share, 0.01)
                self.act(symbol, "dividend", per_share, self.shares[symbol], cents)

    def fill(self) -> None:
        """Take in what was recorded; on paper, fill the approved orders. What else waits for this session expires."""
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
        price = np.array([price for _, price in ready])
        wanted = [max(self.ordered[o.order_id], -max(self.shares.get(o.symbol, 0), 0)) for o, _ in ready]
        shares = affordable(wanted, price, self.cash, self.costs)
        cents = np.column_stack(trade_cents(shares, price, self.costs)).tolist()
        for (order, paid), n, amounts in zip(ready, shares.tolist(), cents, strict=True):
            if n:
                fields = (f"{order.order_id}#1", self.day, order.order_id, order.symbol, n, paid, *amounts, False)
                self.take(Fill(**dict(zip(Fill.model_fields, fields, strict=True))))
            self.end(order, n, _shortfall(self.ordered[order.order_id], n, int(order.shares)))

    def price_of(self, order) -> float:
        """Raw execution price of an order in USD; NaN if its session has passed, or has no bar for it."""
        if order.session != self.session or order.symbol not in self.market.symbols:
            return np.nan
        price = float(self.market.execution_price.at[self.session, order.symbol])
        return price if 0 < price < np.inf else np.nan

    def take(self, fill: Fill) -> None:
        """What one fill does to shares and cash; recorded or simulated, it is the same."""
        self.cash += cash_change(fill)
        if fill.symbol not in self.shares:
            self.last_close[fill.symbol] = fill.price
        self.hold(fill.symbol, self.shares.get(fill.symbol, 0) + fill.shares)
        self.fills.append(fill)

    def see_closes(self, symbols: set[str]) -> None:
        """Today's close of each symbol; without one the last stays, and the sessions without are counted."""
        closes = self.market.close.loc[self.session].reindex(sorted(symbols))
        for symbol, price in closes.items():
            seen = 0 < price < np.inf
            self.stale[symbol] = 0 if seen else self.stale.get(symbol, 0) + 1
            if seen:
                self.last_close[symbol] = float(price)

    def pay_fractions(self, fractions: dict[str, tuple[int, float]]) -> None:
        """Cash in lieu of the fractions of a share that a split left, at the close, so that no cent is lost."""
        for symbol, (whole, fraction) in fractions.items():
            price = self.last_close[symbol]
            cents = _cents((whole + fraction) * price) - _cents(whole * price)
            if cents:
                self.cash += cents
                self.proceeds += cents
                self.act(symbol, "cash_in_lieu", fraction, self.shares.get(symbol, 0), cents)

    def delist(self) -> None:
        """A delisted name becomes cash at its last close × (1 + final return), also if it was recorded late."""
        for date, symbol, kind, final in self.corporate:
            if kind != "delisting" or date > self.session or symbol not in self.shares:
                continue
            closes = self.market.close[symbol].loc[date : self.session]
            if closes[closes.index > date].notna().any():  # it trades on: an earlier owner of the ticker
                continue
            if not -1 <= final < np.inf:
                raise DataError(f"delisting of {symbol} has final return {final}; record one, 0 if none")
            shares = self.shares[symbol]
            cents = _cents(shares * self.last_close[symbol] * (1 + final))
            self.cash += cents
            self.proceeds += cents
            self.hold(symbol, 0)
            self.act(symbol, "delisting", final, shares, cents)

    def mark(self) -> None:
        """Value the book at the close, and check that its change is P&L + dividends − costs."""
        self.look_for_stale()
        before, self.invested = self.invested, sum(self.holding(symbol).value_cents for symbol in self.shares)
        today = self.fills[self.first_fill :]
        buys = sum(row.notional_cents for row in today if row.shares > 0)
        sells = sum(row.notional_cents for row in today if row.shares < 0)
        mark = Mark(
            date=self.day,
            before_cents=self.equity_before,
            flows_cents=self.external,
            equity_cents=self.cash + self.invested,
            cash_cents=self.cash,
            invested_cents=self.invested,
            buys_cents=buys,
            sells_cents=sells,
            pnl_cents=self.invested - before - buys + sells + self.proceeds,
            dividends_cents=self.dividends,
            other_cents=self.other,
            commission_cents=sum(row.commission_cents for row in today),
            slippage_cents=sum(row.slippage_cents for row in today),
            n_positions=len(self.shares),
        )
        self.marks.append(mark)

    def look_for_stale(self) -> None:
        """List the held names without a close; DataError for one that has had none for too long."""
        for symbol in sorted(self.shares):
            n = self.stale[symbol]
            if n > MAX_STALE:
                raise DataError(
                    f"held {symbol} has had no close for {n} sessions on {self.day}; import it or record the delisting"
                )
            if n:
                text = f"no close; marked at its last, {self.last_close[symbol]:,.4f}"
                self.notes.append(Note(date=self.day, symbol=symbol, text=text))

    def due(self, kind: str) -> list[tuple[str, float]]:
        """(symbol, value) of the actions that take effect on this session: later than the session before it."""
        if self.previous is None:
            return []
        window = (row for row in self.corporate if self.previous < row[0] <= self.session)
        return [(symbol, value) for _, symbol, of, value in window if of == kind]

    def hold(self, symbol: str, shares: int) -> None:
        """Set a position; one of no shares is none."""
        self.shares[symbol] = shares
        if shares == 0:
            del self.shares[symbol]

    def holding(self, symbol: str) -> Holding:
        """One position as it is marked."""
        shares, price = self.shares[symbol], self.last_close[symbol]
        return Holding(symbol=symbol, shares=shares, price=price, value_cents=_cents(shares * price))

    def act(self, symbol: str, kind: str, value: float, before: int, cents: int) -> None:
        """List what an action did; the shares after it are those now held."""
        fields = (self.day, symbol, kind, float(value), before, self.shares.get(symbol, 0), cents)
        self.actions.append(Action(**dict(zip(Action.model_fields, fields, strict=True))))

    def end(self, order, filled: int, reason: str) -> None:
        """End an order: filled, partly filled with the rest expired, or expired."""
        ordered = self.ordered[order.order_id]
        status = "EXPIRED" if filled == 0 else "FILLED" if filled == ordered else "PARTIALLY_FILLED"
        fields = (self.day, order.order_id, order.symbol, order.status, status, filled, reason)
        self.results.append(Result(**dict(zip(Result.model_fields, fields, strict=True))))
        del self.pending[order.order_id]


def require_continuation(settlement: Settlement, state: BookState) -> None:
    """BookError unless the rows of `settlement` lead from `state` to what it says is held: no share, no cent more."""
    if settlement.head != state.head:
        raise ConflictError("the book has moved on since this settlement was made; run the session again")
    cash = state.cash_cents + sum(map(cash_change, settlement.fill_rows))
    cash += sum(row.cash_cents for row in settlement.actions) + sum(row.cents for row in settlement.flow_rows)
    shares = Counter(state.positions.to_dict())
    for row in settlement.fill_rows:
        shares[row.symbol] += row.shares
    for row in settlement.actions:
        shares[row.symbol] += row.shares_after - row.shares_before
    held = {symbol: n for symbol, n in shares.items() if n}
    if cash != settlement.cash_cents or held != {row.symbol: row.shares for row in settlement.holdings}:
        raise BookError("fills and actions do not lead from the book to the settled cash and positions")
    _require_chain(settlement, state)
    _require_orders(settlement, state)


def _require_chain(settlement: Settlement, state: BookState) -> None:
    """The marks follow each other from the book's equity to the settled one."""
    equity = [state.cash_cents + state.invested_cents, *(mark.equity_cents for mark in settlement.marks)]
    invested = sum(row.value_cents for row in settlement.holdings)
    days = [mark.date for mark in settlement.marks]
    chained = [mark.before_cents for mark in settlement.marks] == equity[:-1] and days == sorted(set(days))
    ends = days[-1:] == [settlement.session] and equity[-1] == settlement.cash_cents + invested
    if not (chained and ends):
        raise BookError("the marks do not lead from the book's equity to the settled one")


def _require_orders(settlement: Settlement, state: BookState) -> None:
    """Every order that was due has ended once, and no other; every fill was recorded, or is of an approved order."""
    due = state.pending[state.pending["session"] <= pd.Timestamp(settlement.session)].set_index("order_id")["status"]
    ended = {row.order_id: row for row in settlement.results}
    if sorted(due.items()) != sorted((row.order_id, row.before) for row in settlement.results):
        raise BookError("the settlement does not end exactly the orders that were due")
    recorded = tuple(row for row in settlement.fill_rows if row.recorded)
    if Counter(recorded) != Counter(state.recorded) or settlement.flow_rows != state.flows:
        raise BookError("the settlement does not take in exactly the fills and the cash that were recorded")
    simulated = {row.order_id: row.shares for row in settlement.fill_rows if not row.recorded}
    once = len(simulated) + len(recorded) == len(settlement.fill_rows)
    approved = all(ended[key].before == "APPROVED" for key in simulated if key in ended)
    agree = simulated == {key: row.filled_shares for key, row in ended.items() if row.filled_shares}
    if not (once and approved and agree and (state.kind == "paper" or not simulated)):
        raise BookError("the fills are not those of the approved orders that were due")


def _sorted_actions(market: Market) -> list[tuple[pd.Timestamp, str, str, float]]:
    """(date, symbol, kind, value) of every corporate action, oldest first."""
    table = market.actions.sort_values(["date", "symbol", "kind"])
    return list(zip(table["date"], table["symbol"], table["kind"], table["value"].astype(float), strict=True))


def _last_closes(market: Market, shares: dict[str, int], last: pd.Timestamp | None) -> dict[str, float]:
    """Close of each held name at the book's last session, or the one before it; DataError if there is none."""
    if not shares:
        return {}
    held = sorted(shares)
    closes = market.close.loc[:last].iloc[-MAX_STALE - 1 :].reindex(columns=held).ffill()
    found = closes.iloc[-1] if len(closes) else pd.Series(np.nan, index=held)
    missing = [symbol for symbol in held if not found[symbol] > 0]
    if missing:
        raise DataError(f"no price for held {_list(missing)} up to {last:%Y-%m-%d}; import one or record the delisting")
    return {symbol: float(found[symbol]) for symbol in held}


def _whole(shares: float) -> tuple[int, float]:
    """Whole shares toward zero, and the fraction that is left."""
    nearest = round(shares)
    if abs(shares - nearest) <= WHOLE * max(abs(shares), 1):
        return nearest, 0.0
    return int(shares), shares - int(shares)


def _cents(usd: float) -> int:
    return round(usd * 100)


def _shortfall(ordered: int, filled: int, decided: int) -> str:
    """Why an order was not filled as decided; empty if it was."""
    split = f"a split made {decided:+d} shares {ordered:+d}" if ordered != decided else ""
    if filled == ordered:
        return split
    why = "cash pays for" if ordered > 0 else "what is held, and cash for costs, allow"
    short = f"{why} {abs(filled)} of {abs(ordered)}; the rest expired"
    return f"{split}; {short}" if split else short


def _list(names) -> str:
    return ", ".join(map(str, names))
