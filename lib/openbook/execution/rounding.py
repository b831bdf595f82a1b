"""From target weights to whole shares: what rounding down leaves in cash is spent, as far as the limits allow."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from openbook.portfolio.costs import Costs

# Weights come out of floating-point solvers: 99.9999999 shares are 100, not 99.
WHOLE = 1e-6
NO_LIMIT = 1_000_000
FULL = 2**53  # the factor 1 of a bisection: as many steps as a double tells apart
STEPS = 1000  # about so many parts the left-over is spent in: a share of a cent is not bought one by one


@dataclass(frozen=True, eq=False)
class Room:
    """How far rounding up may go, as fractions of the portfolio. What a target asks for needs no room.

    max_turnover, max_trade : of what is bought; max_cost : of all orders; max_trades : number of orders
    sectors : by symbol, those without one count as one; None: sectors are not limited
    """

    max_weight: float = 1.0
    max_sector_weight: float = 1.0
    max_turnover: float = float(NO_LIMIT)
    max_trade: float = float(NO_LIMIT)
    max_cost: float = float(NO_LIMIT)
    max_trades: int = NO_LIMIT
    sectors: pd.Series | None = None

    def groups(self, symbols: pd.Series) -> np.ndarray:
        """Code of each symbol's sector, (n,)."""
        if self.sectors is None:
            return np.zeros(len(symbols), dtype=np.intp)
        known = self.sectors.reindex(symbols)
        return pd.factorize(known.astype("object").fillna("").to_numpy())[0]


def trade_cents(
    shares: ArrayLike, prices: ArrayLike, costs: Costs, share_units: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Notional, commission and slippage of each order, (n,) integer cents, none negative; no shares cost nothing.

    shares : (n,) integers, `share_units` of them to a whole share; prices : (n,) USD per whole share
    """
    notional = np.abs(np.asarray(shares, dtype=np.int64)) / share_units * np.asarray(prices, dtype=float)
    parts = (notional, costs.commission(notional), costs.slippage(notional))
    return tuple(np.rint(np.where(notional > 0, part, 0.0) * 100).astype(np.int64) for part in parts)


def cash_flow(shares: ArrayLike, prices: ArrayLike, costs: Costs, share_units: int = 1) -> np.ndarray:
    """What each order does to the cash after its own costs, (n,) integer cents; negative for a buy."""
    notional, commission, slippage = trade_cents(shares, prices, costs, share_units)
    return -np.sign(np.asarray(shares, dtype=np.int64)) * notional - commission - slippage


def affordable(shares: Any, prices: Any, cash_cents: int, costs: Costs, share_units: int = 1) -> np.ndarray:
    """As much of the orders as the cash can pay for, (n,) signed units of shares; cash never ends below zero.

    Sells come first and in full; then all buys are scaled by one factor, the largest that fits, and rounded down.
    Only where the cash cannot even carry the sells are those left out whose costs exceed their proceeds.
    """
    shares, prices = np.asarray(shares, dtype=np.int64), np.asarray(prices, dtype=float)
    sells, buys = np.minimum(shares, 0), np.maximum(shares, 0)
    flow = cash_flow(sells, prices, costs, share_units)
    if cash_cents + flow.sum() < 0:
        sells, flow = np.where(flow >= 0, sells, 0), np.maximum(flow, 0)
    budget = cash_cents + flow.sum()
    return sells + _scale(buys, prices, budget, costs, share_units)


def _scale(buys: np.ndarray, prices: np.ndarray, budget: int, costs: Costs, share_units: int) -> np.ndarray:
    """floor(buys × f) for the largest f ≤ 1 whose total is within `budget` cents.

    Found by bisection, as costs may have a minimum and are not proportional. A double is only near the factor: 24 × f
    may round up to 20 while 30 × f stays below 25. So the last steps, from just below it, are taken in exact fractions.
    """

    def fits(orders: np.ndarray) -> bool:
        return bool(-cash_flow(orders, prices, costs, share_units).sum() <= budget)

    if fits(buys):
        return buys
    if budget < 0:
        return np.zeros_like(buys)
    low, high = 0, FULL
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(np.floor(buys * (middle / FULL))) else (low, middle)
    factor = Fraction(max(low - 2, 0), FULL)
    scaled = _times(buys, factor)
    while fits(more := _times(buys, _next_step(buys, scaled))):
        scaled = more
    return scaled


def _times(orders: np.ndarray, factor: Fraction) -> np.ndarray:
    """Orders × factor, rounded down without an error of floating point."""
    return np.array([n * factor.numerator // factor.denominator for n in orders.tolist()], dtype=np.int64)


def _next_step(buys: np.ndarray, scaled: np.ndarray) -> Fraction:
    """The smallest factor at which one of the buys has a unit more than now."""
    return min(Fraction(now + 1, n) for n, now in zip(buys.tolist(), scaled.tolist(), strict=True) if n)


@dataclass(frozen=True, eq=False)
class Rounding:
    """One session's orders before the leftover cash is spent, for n symbols in sorted order.

    symbols : (n,); prices : (n,) USD per whole share; held : (n,) units; aimed : (n,) units, not rounded
    value : of the portfolio, USD; cash, keep : cents there are, and cents that the target leaves in cash
    smallest : USD, smaller orders are not made
    """

    symbols: pd.Series
    prices: np.ndarray
    held: np.ndarray
    aimed: np.ndarray
    value: float
    cash: int
    keep: int
    smallest: float
    costs: Costs
    share_units: int

    @property
    def rounded_down(self) -> np.ndarray:
        """Units to trade with every target rounded down: a buy stops at or below it, a sale goes to or below it."""
        return self.large_enough(np.floor(self.aimed + WHOLE).astype(np.int64) - self.held)

    def large_enough(self, orders: np.ndarray) -> np.ndarray:
        """The orders without those that are too small; a sale of everything always stays."""
        large = np.abs(orders) / self.share_units * self.prices >= self.smallest
        return np.where(large | ((orders < 0) & (self.aimed == 0)), orders, 0)

    def orders(self, room: Room) -> np.ndarray:
        """Units to trade, (n,) signed: targets rounded to the nearest unit, as far as cash and limits let them.

        All targets are rounded down first, and cut to what the cash can pay. Then one unit after the other is added: to
        names that are half a unit or more below their target, then to the others, of each the one that lacks most USD
        first; never beyond the unit above the target, and only if the portfolio ends closer to its target by it: the
        sum of all distances in USD, that of the cash after costs among them, gets smaller with every unit.
        """
        paid = affordable(self.rounded_down, self.prices, self.cash, self.costs, self.share_units)
        return _Spending(self, self.large_enough(paid), room).spend()


class _Spending:
    """The state of one spending: orders that grow, and the cash that shrinks."""

    def __init__(self, plan: Rounding, orders: np.ndarray, room: Room):
        self.plan, self.room, self.orders = plan, room, orders.copy()
        self.flows = self._flow(np.arange(len(orders)), orders)
        self.unit = plan.prices / plan.share_units
        self.top = np.ceil(plan.aimed - WHOLE).astype(np.int64)
        self.groups = room.groups(plan.symbols)
        left = max(self.cash - plan.keep, 0) / 100
        self.grain = np.maximum(left / STEPS // self.unit, 1).astype(np.int64)

    @property
    def cash(self) -> int:
        """Cents left by the orders."""
        return int(self.plan.cash + self.flows.sum())

    def spend(self) -> np.ndarray:
        """The orders when nothing more fits."""
        lacks = self.plan.aimed - self.plan.held - self.orders
        open_ = (lacks > WHOLE) & (self.plan.aimed > 0)
        while open_.any():
            near, usd = lacks >= 0.5, lacks * self.unit
            chosen = np.flatnonzero(open_)
            place = chosen[np.lexsort((chosen, -usd[chosen], ~near[chosen]))[0]]
            step = self._step(place)
            if step:
                self.flows[place] = self._flow([place], [self.orders[place] + step])[0]
                self.orders[place] += step
                lacks[place] -= step
            open_[place] = step > 0 and lacks[place] > WHOLE
        return self.orders

    def _step(self, place: int) -> int:
        """By how many units an order grows next; 0 if nothing more fits."""
        order = int(self.orders[place])
        most = int(self.top[place] - self.plan.held[place]) - order
        for step in {int(min(self.grain[place], most)): None, 1: None, self._jump(place): None}:
            good = 0 < step <= most and self._sound(place, order + step)
            if good and self._closer(place, step) and self._fits(place, order + step):
                return step
        return 0

    def _jump(self, place: int) -> int:
        """Units to the smallest buy that is large enough, or from a sale to none at all."""
        order = int(self.orders[place])
        least = int(np.ceil(self.plan.smallest / self.unit[place] - WHOLE))
        return max(least - order, 1) if order >= 0 else -order

    def _sound(self, place: int, order: int) -> bool:
        """Whether an order is zero, or large enough."""
        return order == 0 or abs(order) * self.unit[place] >= self.plan.smallest

    def _closer(self, place: int, step: int) -> bool:
        """Whether the cash pays for a step, and the portfolio is closer to its target after it."""
        left = self.cash + self._flow([place], [self.orders[place] + step])[0] - self.flows[place]
        lacks = self.plan.aimed[place] - self.plan.held[place] - self.orders[place]
        name = (abs(lacks - step) - abs(lacks)) * self.unit[place]
        idle = (abs(left - self.plan.keep) - abs(self.cash - self.plan.keep)) / 100
        return left >= 0 and name + idle < 0

    def _fits(self, place: int, order: int) -> bool | np.bool:
        """Whether an order breaks no limit."""
        value, room, orders = self.plan.value, self.room, self.orders.copy()
        orders[place] = order
        worth = (self.plan.held + orders) * self.unit
        bought = np.maximum(orders, 0) * self.unit
        costs = sum(part.sum() for part in self._cents(np.arange(len(orders)), orders)[1:]) / 100
        return (
            worth[place] <= room.max_weight * value
            and (room.sectors is None or self._sector(worth, place) <= room.max_sector_weight * value)
            and bought[place] <= room.max_trade * value
            and bought.sum() <= room.max_turnover * value
            and costs <= room.max_cost * value
            and np.count_nonzero(orders) <= room.max_trades
        )

    def _sector(self, worth: np.ndarray, place: int) -> float:
        """USD in the sector of one name."""
        return float(worth[self.groups == self.groups[place]].sum())

    def _cents(self, places: Any, orders: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return trade_cents(orders, self.plan.prices[places], self.plan.costs, self.plan.share_units)

    def _flow(self, places: Any, orders: ArrayLike) -> np.ndarray:
        return cash_flow(orders, self.plan.prices[places], self.plan.costs, self.plan.share_units)
