"""Cost of the holdings: lots, first in, first out, in integer cents so that no cent is ever lost.

A purchase opens a lot at its cost, commission and slippage included. A sale closes the oldest lots, and of a lot that
it takes in part the cost pro rata. Shares sold short are lots below zero, which a purchase closes the same way.

A split changes the shares of each lot and no cost. A fraction that is paid in cash instead counts as received and then
sold: it takes its part of the cost out (IRS Publication 550, "Fractional shares"; Revenue Ruling 66-365).
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Any, cast

from openbook.ledger.facts import REVERSAL, Action, Adjustment, Closed, Ending, Fill, Lot, cash_change
from openbook.ledger.records import Settlement

NOISE = 1e-12  # of a product in floating point: 700 × (1/7) is 100.00000000000001
Lots = Mapping[str, tuple[Lot, ...]]


def carry(
    lots: Lots,
    *,
    days: list[str],
    adjustments: Iterable[Adjustment],
    actions: Iterable[Action],
    fills: Iterable[Fill],
    share_units: int,
) -> tuple[dict[str, tuple[Lot, ...]], tuple[Closed, ...]]:
    """The lots of every security after the sessions `days`, and what was closed on the way, oldest first.

    lots : by security, oldest first, before the first of the days, as reversals restated them; the rest as in a
        settlement of those days. Each session in turn: adjustments (before the first), splits, fills, delistings
    """
    work = _Lots(lots, share_units)
    by_day: defaultdict[str, tuple[list[Action], list[Fill]]] = defaultdict(lambda: ([], []))
    for action in actions:
        by_day[action.date][0].append(action)
    for fill in fills:  # of a session without bars: it is settled with the next
        by_day[days[bisect_left(days, fill.date)]][1].append(fill)
    for row in adjustments:
        if row.kind != REVERSAL:
            work.adjust(row, days[0])
    for day in days:
        acted, filled = by_day[day]
        for action in acted:
            if action.kind == "split":
                work.split(action, [other for other in acted if other.kind == "cash_in_lieu"])
        for fill in filled:
            work.trade(fill)
        for action in acted:
            if action.kind == "delisting":
                work.close(action, action.shares_before, action.cash_cents, action.date, "delisting")
    return work.open, tuple(work.closed)


def carry_over(lots: Lots, settled: Settlement) -> tuple[dict[str, tuple[Lot, ...]], tuple[Closed, ...]]:
    """`carry` over all events of a settlement."""
    return carry(
        lots,
        days=[mark.date for mark in settled.marks],
        adjustments=settled.adjustment_rows,
        actions=settled.actions,
        fills=settled.fill_rows,
        share_units=settled.share_units,
    )


def changed(before: Lots, after: Lots) -> tuple[Lot, ...]:
    """The lots of every security whose lots are not as they were, by security, oldest first."""
    return tuple(lot for key in sorted(after) if after[key] != before.get(key) for lot in after[key])


def cost_of(lots: Iterable[Lot]) -> int:
    """Cost basis of some lots, cents."""
    return sum(lot.cost_cents for lot in lots)


def share_out(total: int, weights: list[int]) -> list[int]:
    """`total` in whole parts like `weights` (none negative, not all 0), by largest remainder, the first where equal."""
    whole = sum(weights)
    parts = [abs(total) * weight // whole for weight in weights]
    rest = [abs(total) * weight % whole for weight in weights]
    for n in sorted(range(len(weights)), key=lambda n: -rest[n])[: abs(total) - sum(parts)]:
        parts[n] += 1
    return parts if total >= 0 else [-part for part in parts]


def whole_shares(shares: Fraction) -> tuple[int, Fraction]:
    """Whole units toward zero, and the fraction of a unit that is left."""
    whole = int(shares)
    return whole, shares - whole


class _Lots:
    """The lots while they are carried forward; alive inside `carry` only."""

    def __init__(self, lots: Lots, share_units: int):
        self.open, self.share_units = dict(lots), share_units
        self.closed: list[Closed] = []

    def adjust(self, row: Adjustment, day: str) -> None:
        """Shares added by a correction are a lot at its price; shares that are missing are closed."""
        ends = self.ends(row.security, row.shares)
        self.close(row, -ends, 0, day, "adjustment")
        if row.shares != ends:
            cost = round((row.shares - ends) / self.share_units * cast(float, row.price) * 100)
            self.add(row.security, day, row.shares - ends, cost)

    def trade(self, fill: Fill) -> None:
        """A fill ends what is held the other way, oldest first; what is left of it opens a lot."""
        ends, cash = self.ends(fill.security, fill.shares), cash_change(fill)
        ended, opened = share_out(cash, [abs(ends), abs(fill.shares - ends)])
        self.close(fill, -ends, ended, fill.date, "sale")
        if fill.shares != ends:
            self.add(fill.security, fill.date, fill.shares - ends, -opened)

    def ends(self, security: str, shares: int) -> int:
        """How many of some signed shares only end what is held."""
        held = sum(lot.shares for lot in self.open.get(security, ()))
        return 0 if held * shares >= 0 else max(shares, -held) if shares < 0 else min(shares, -held)

    def add(self, security: str, day: str, shares: int, cost: int) -> None:
        lot = Lot(security=security, opened=day, shares=shares, cost_cents=cost)
        self.open[security] = (*self.open.get(security, ()), lot)

    def close(self, row: Adjustment | Action | Fill, shares: int, proceeds: int, day: str, kind: Ending) -> None:
        """Take signed shares out of the oldest lots, for some cents that are shared out among them."""
        if not shares:
            return
        taken, kept = _oldest(self.open[row.security], shares)
        self.open[row.security] = kept
        parts = share_out(proceeds, [abs(lot.shares) for lot in taken])
        for lot, part in zip(taken, parts, strict=True):
            self.end(row, lot, part, day, kind)

    def split(self, action: Action, paid: list[Action]) -> None:
        """Scale the lots to the shares after a split; the fraction that is left over is sold, perhaps for nothing."""
        lots = self.open[action.security]
        exact, whole = action.shares_before * action.value, action.shares_after
        fraction = exact - whole if abs(exact - whole) > NOISE * max(abs(exact), 1) else 0.0
        cents = sum(other.cash_cents for other in paid if other.security == action.security)
        gone = round(cost_of(lots) * (fraction / exact)) if whole else cost_of(lots) if fraction else 0
        self.open[action.security] = _scaled(lots, whole, cost_of(lots) - gone)
        if fraction:
            part = lots[0].model_copy(update={"shares": 0, "cost_cents": gone})
            self.end(action, part, cents, action.date, "cash_in_lieu")

    def end(self, row: Adjustment | Action | Fill, lot: Lot, proceeds: int, day: str, kind: Ending) -> None:
        """A lot, or part of one, has ended: on the later of two days, for a fill may be recorded after a lot was opened
        that it was made before."""
        facts: dict[str, Any] = {
            "opened": lot.opened,
            "shares": lot.shares,
            "cost_cents": lot.cost_cents,
            "proceeds_cents": proceeds,
        }
        self.closed.append(
            Closed(symbol=row.symbol, security=row.security, date=max(day, lot.opened), kind=kind, **facts)
        )


def _oldest(lots: tuple[Lot, ...], shares: int) -> tuple[list[Lot], tuple[Lot, ...]]:
    """The oldest lots that make up some signed shares, the last of them perhaps in part, and those that stay."""
    before = [0, *accumulate(abs(lot.shares) for lot in lots)]
    taken, kept = [], []
    for lot, (start, end) in zip(lots, pairwise(before), strict=True):
        part = min(max(abs(shares) - start, 0), end - start)
        cost = lot.cost_cents * part // (end - start)
        sign = 1 if lot.shares > 0 else -1
        if part:
            taken.append(lot.model_copy(update={"shares": sign * part, "cost_cents": cost}))
        if part < end - start:
            left = {"shares": lot.shares - sign * part, "cost_cents": lot.cost_cents - cost}
            kept.append(lot.model_copy(update=left) if part else lot)
    return taken, tuple(kept)


def _scaled(lots: tuple[Lot, ...], shares: int, cost: int) -> tuple[Lot, ...]:
    """The lots with `shares` shared out among them like their shares, and `cost` like their cost; the cost of a lot
    that keeps no share goes to the next one, or to the one before if it is the last."""
    if not shares:
        return ()
    units = share_out(shares, [abs(lot.shares) for lot in lots])
    weights = [abs(lot.cost_cents) for lot in lots]
    costs = share_out(cost, weights if any(weights) else units)
    kept, carried = [], 0
    for lot, n, cents in zip(lots, units, costs, strict=True):
        carried += cents
        if n:
            kept.append(lot.model_copy(update={"shares": n, "cost_cents": carried}))
            carried = 0
    kept[-1] = kept[-1].model_copy(update={"cost_cents": kept[-1].cost_cents + carried})
    return tuple(kept)
