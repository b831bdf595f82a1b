"""Whether a settlement leads on from a book: checked once more before it is kept, from its rows alone."""

from collections import Counter

import pandas as pd

from openbook.common.errors import BookError, ConflictError
from openbook.ledger import lots
from openbook.ledger.facts import OPEN_END, Adjustment, Fill, Receivable, cash_change
from openbook.ledger.receivables import owed_after
from openbook.ledger.records import BookState, Settlement


def require_continuation(settlement: Settlement, state: BookState) -> None:
    """BookError unless the rows of `settlement` lead from `state` to the holdings, receivables and costs in it: no
    share, no cent more."""
    if settlement.head != state.head:
        raise ConflictError("the book changed since this settlement was computed; run the session again")
    if settlement.share_units != state.share_units or settlement.adjustment_rows != state.adjustments:
        raise BookError("the settlement does not match the manual adjustments in the book")
    _require_cash(settlement, state)
    _require_shares(settlement, state)
    _require_lots(settlement, state)
    _require_chain(settlement, state)
    _require_orders(settlement, state)


def _require_cash(settlement: Settlement, state: BookState) -> None:
    """Cash and receivables are those before, with everything that came, went, and was paid on its day."""
    owed = owed_after(state.receivables, state.adjustments)
    paid = [row for row in owed if row.due <= settlement.session]
    cash = state.cash_cents + sum(map(cash_change, settlement.fill_rows)) + sum(row.cents for row in paid)
    cash += sum(row.cash_cents for row in settlement.actions) + sum(row.cents for row in settlement.flow_rows)
    cash += sum(row.cents for row in state.adjustments if not row.due)
    if cash != settlement.cash_cents:
        raise BookError("the settled cash and positions do not follow from the book, its fills and corporate actions")
    since = [
        Receivable(symbol=row.symbol, security=row.security, kind=row.kind, due=OPEN_END, cents=row.owed_cents)
        for row in settlement.actions
        if row.owed_cents
    ]
    if settlement.receivables != tuple(row for row in [*owed, *since] if row.due > settlement.session):
        raise BookError("the settled receivables do not match those of the book")


def _require_shares(settlement: Settlement, state: BookState) -> None:
    """Every share that is held was there before, or came by a fill, an action or a correction."""
    shares = Counter(state.units)
    moved: tuple[Fill | Adjustment, ...] = (*settlement.fill_rows, *settlement.adjustment_rows)
    for row in moved:
        shares[row.security] += row.shares
    for action in settlement.actions:
        shares[action.security] += action.shares_after - action.shares_before
    held = {security: n for security, n in shares.items() if n}
    if held != {row.security: row.shares for row in settlement.holdings}:
        raise BookError("the settled cash and positions do not follow from the book, its fills and corporate actions")


def _require_lots(settlement: Settlement, state: BookState) -> None:
    """The lots are those that follow, first in, first out, and the cost of each holding is theirs."""
    try:
        after, closed = lots.carry_over(state.lots_restated, settlement)
    except (KeyError, IndexError, ValueError) as error:  # rows that no book has, such as a split of nothing
        raise BookError(f"cannot derive lots from the settlement: {error!r}") from error
    costs = {row.security: row.cost_cents for row in settlement.holdings}
    agree = costs == {security: lots.cost_of(after.get(security, ())) for security in costs}
    if not (agree and settlement.closed == closed and settlement.lots == lots.changed(state.lots, after)):
        raise BookError("the settled cost basis does not follow from the lots")


def _require_chain(settlement: Settlement, state: BookState) -> None:
    """The marks follow each other from the book's equity to the settled one."""
    equity = [state.equity_cents, *(mark.equity_cents for mark in settlement.marks)]
    held = sum(row.value_cents for row in settlement.holdings) + sum(row.cents for row in settlement.receivables)
    days = [mark.date for mark in settlement.marks]
    chained = [mark.before_cents for mark in settlement.marks] == equity[:-1] and days == sorted(set(days))
    ends = days[-1:] == [settlement.session] and equity[-1] == settlement.cash_cents + held
    if not (chained and ends):
        raise BookError("the settled equity does not follow from the daily marks")


def _require_orders(settlement: Settlement, state: BookState) -> None:
    """Every order that was due has ended once, and no other; every fill was recorded, or is of an approved order."""
    due = state.pending[state.pending["session"] <= pd.Timestamp(settlement.session)].set_index("order_id")["status"]
    ended = {row.order_id: row for row in settlement.results}
    if sorted(due.items()) != sorted((row.order_id, row.before) for row in settlement.results):
        raise BookError("the settlement does not close exactly the orders of its sessions")
    recorded = tuple(row for row in settlement.fill_rows if row.recorded)
    if Counter(recorded) != Counter(state.recorded) or settlement.flow_rows != state.flows:
        raise BookError("the settlement does not match the recorded fills and cash flows")
    simulated = {row.order_id: row.shares for row in settlement.fill_rows if not row.recorded}
    once = len(simulated) + len(recorded) == len(settlement.fill_rows)
    approved = all(ended[key].before == "APPROVED" for key in simulated if key in ended)
    agree = simulated == {key: row.filled_shares for key, row in ended.items() if row.filled_shares}
    if not (once and approved and agree and (state.kind == "paper" or not simulated)):
        raise BookError("the fills do not match the approved orders of the session")
