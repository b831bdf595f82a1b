"""A portfolio's walk through time on plain arrays: trade at the next execution price, pay, drift, mark at the close.

Positions are shares of total-return price series, so that dividends are reinvested and splits do not matter.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from openbook.market.tables import Market
from openbook.portfolio.costs import Costs

GIVE_UP = 20  # sessions without a bar after which a held name is taken for gone
SAME = 1e-12  # a target this close to the held weight is no order


@dataclass(frozen=True, eq=False)
class Tape:
    """A market's prices as the walk needs them; sessions × n, adjusted.

    close : carried over gaps, NaN before the first bar; execution : NaN where a name cannot trade
    bar : bool, has a close that session
    exits : by session, (name, growth, kind) of each that becomes cash then, at its last close × growth; kind is
        "delisting" or "no bars"; exit_sessions : the sorted keys
    """

    close: np.ndarray
    execution: np.ndarray
    bar: np.ndarray
    exits: dict[int, list[tuple[int, float, str]]]
    exit_sessions: list[int]


@dataclass(frozen=True, eq=False)
class Walk:
    """What happened, on arrays: k decisions, sessions from the first decision on.

    equity, cash : (sessions,) USD at each close; targets, held : (k, n) weights decided, and at that close before
    turnover, costs : (k,) at execution; NaN for a decision on the last session, which nothing executes
    gone : (session, name, kind, USD) of each held name that became cash without an order
    """

    equity: np.ndarray
    cash: np.ndarray
    targets: np.ndarray
    held: np.ndarray
    turnover: np.ndarray
    costs: np.ndarray
    gone: list[tuple[int, int, str, float]]


def read_tape(market: Market) -> Tape:
    """The tape of a market; all of it is known on the session it belongs to."""
    close = market.adjusted.to_numpy(dtype=float)
    bar = np.isfinite(close)
    last = np.maximum.accumulate(np.where(bar, np.arange(len(close))[:, None], -1), axis=0)
    filled = np.where(last >= 0, np.take_along_axis(close, np.maximum(last, 0), axis=0), np.nan)
    exits: dict[int, list[tuple[int, float, str]]] = {}
    for session, *event in sorted(_delistings(market, last) + _silences(last)):
        exits.setdefault(session, []).append(tuple(event))
    return Tape(
        close=filled,
        execution=market.adjusted_execution.to_numpy(dtype=float),
        bar=bar,
        exits=exits,
        exit_sessions=list(exits),
    )


def _delistings(market: Market, last: np.ndarray) -> list[tuple[int, int, float, str]]:
    """Exits by recorded delistings: the session after the last bar at or before the record, never before it."""
    actions = market.actions
    rows = actions[(actions["kind"] == "delisting") & actions["symbol"].isin(market.symbols)]
    events = []
    for date, symbol, final in zip(rows["date"], rows["symbol"], rows["value"], strict=True):
        name = market.symbols.get_loc(symbol)
        known = int(market.dates.searchsorted(date, side="right")) - 1  # last session at or before the record
        first = int(market.dates.searchsorted(date))
        bar = int(last[known, name]) if known >= 0 else -1
        session = max(bar + 1, first)
        if bar >= 0 and session < len(market.dates):
            events.append((session, name, 1.0 + (0.0 if pd.isna(final) else float(final)), "delisting"))
    return events


def _silences(last: np.ndarray) -> list[tuple[int, int, float, str]]:
    """Exits of names without a bar for GIVE_UP sessions, at their last close: a vendor that records no delisting."""
    age = np.arange(len(last))[:, None] - last
    where = np.argwhere((age == GIVE_UP) & (last >= 0))
    return [(int(session), int(name), 1.0, "no bars") for session, name in where]


def walk(
    tape: Tape, rows: list[int], decide: Callable[[int, np.ndarray], np.ndarray], costs: Costs, capital: float
) -> Walk:
    """Walk from the first decision to the end of the tape.

    rows : sessions of the decisions, increasing; decide : (k, held weights (n,) at that close) -> target weights (n,)
    """
    sessions, n = tape.close.shape
    equity, cash_line = np.full(sessions, np.nan), np.full(sessions, np.nan)
    targets, helds = np.empty((len(rows), n)), np.empty((len(rows), n))
    turnover, paid, gone = np.full(len(rows), np.nan), np.full(len(rows), np.nan), []
    shares, cash = np.zeros(n), float(capital)
    equity[rows[0]] = cash_line[rows[0]] = cash
    for k, row in enumerate(rows):
        held = helds[k] = held_weights(shares, cash, tape.close[row])
        target = targets[k] = decide(k, held)
        if row + 1 == sessions:
            break
        cash += settle_exits(tape, row + 1, shares, gone)
        shares, cash, turnover[k], paid[k] = trade(shares, cash, target, held, tape, row + 1, costs)
        end = rows[k + 1] + 1 if k + 1 < len(rows) else sessions
        cash = _mark(tape, (row + 1, end), shares, cash, (equity, cash_line), gone)
    first = rows[0]
    return Walk(equity[first:], cash_line[first:], targets, helds, turnover, paid, gone)


def held_weights(shares: np.ndarray, cash: float, prices: np.ndarray) -> np.ndarray:
    """Weights at these prices, (n,); what they lack to 1 is cash."""
    value = np.where(shares > 0, shares * prices, 0.0)
    return value / (value.sum() + cash)


def trade(shares, cash: float, target, held, tape: Tape, session: int, costs: Costs) -> tuple:
    """New shares, cash, turnover and costs after trading towards `target` at the execution prices of `session`.

    Target weights apply to the value after costs. A name without an execution price, or whose target is its held
    weight, does not trade; what that leaves over is cash, and if it leaves too little the other targets shrink alike.
    """
    names = np.flatnonzero((shares > 0) | (target > 0))
    price = tape.execution[session, names]
    moves = np.isfinite(price) & (np.abs(target[names] - held[names]) > SAME)
    before = shares[names] * np.where(np.isfinite(price), price, tape.close[session - 1, names])
    before = np.where(shares[names] > 0, before, 0.0)
    total = before.sum() + cash
    if not moves.any():
        return shares, cash, 0.0, 0.0
    stay = before[~moves].sum()
    names, price, before, goal = names[moves], price[moves], before[moves], target[names][moves]
    after, fee = spend(before, goal, total, stay, costs)
    change = after - before
    shares = shares.copy()
    shares[names] = after / price
    left = total - stay - after.sum() - fee
    turned = 0.5 * (np.abs(change).sum() + abs(change.sum())) / total
    return shares, max(left, 0.0), float(turned), float(fee)


def spend(before: np.ndarray, goal: np.ndarray, total: float, stay: float, costs: Costs) -> tuple[np.ndarray, float]:
    """Values after trading, (m,), and the costs in USD: value after costs + costs = value before, solved exactly.

    before : values of the names that trade; goal : their target weights; stay : value of those that do not
    Each round shrinks the error by the cost rate, so the last digit is reached in a few. A minimum commission that
    is due or not within a cent may keep the rounds alternating; the lower of the two values is then affordable.
    """
    value = total
    for _ in range(40):
        after = goal * _room_for(goal.sum(), value, stay)
        fee = float(np.sum(costs.total(after - before)))
        if abs(total - fee - value) <= 1e-15 * total:
            return after, fee
        value, older = total - fee, value
    after = goal * _room_for(goal.sum(), min(value, older), stay)
    return after, float(np.sum(costs.total(after - before)))


def _room_for(weight: float, value: float, stay: float) -> float:
    """USD that a weight of 1 means: all of the value, or less where what does not trade takes up too much."""
    return min(value, max(value - stay, 0.0) / weight) if weight > 0 else 0.0


def settle_exits(tape: Tape, session: int, shares: np.ndarray, gone: list) -> float:
    """USD from held names that leave on `session`, at their last close; their shares become 0 in place."""
    proceeds = 0.0
    for name, growth, kind in tape.exits.get(session, ()):
        if shares[name] > 0:
            usd = float(shares[name] * tape.close[session - 1, name] * growth)
            gone.append((session, name, kind, usd))
            shares[name] = 0.0
            proceeds += usd
    return proceeds


def _mark(tape: Tape, span: tuple[int, int], shares, cash: float, lines, gone: list) -> float:
    """Equity and cash at each close of the span (start, end), settling exits after its start; returns the cash."""
    start, end = span
    equity, cash_line = lines
    leaving = tape.exit_sessions[bisect_right(tape.exit_sessions, start) : bisect_left(tape.exit_sessions, end)]
    for first, stop in pairwise([start, *leaving, end]):
        if first > start:
            cash += settle_exits(tape, first, shares, gone)
        names = np.flatnonzero(shares > 0)
        equity[first:stop] = (tape.close[first:stop, names] * shares[names]).sum(axis=1) + cash
        cash_line[first:stop] = cash
    return cash
