"""The compiled loops of `simulate`: plain arrays in, plain arrays out, one thread, no fast-math.

The same few functions walk a whole backtest of given weights and the span between two decisions, so the two agree to
the last bit. Costs here are `Costs.total` written out; a test holds them together. Compiled once per machine, kept on
disk.
"""

import numpy as np
from numba import njit

kernel = njit(cache=True, nogil=True, error_model="numpy")

SAME = 1e-12  # a target this close to the held weight is no order
ROUNDS = 40  # of the equation for the value after costs


@kernel
def carry(close):
    """Closes carried over gaps, NaN before the first bar, and sessions since the last bar, −1 before the first.

    close : (sessions, n)
    """
    sessions, n = close.shape
    filled, age = np.empty((sessions, n)), np.empty((sessions, n), np.int32)
    for j in range(n):
        there = np.isfinite(close[0, j])
        filled[0, j], age[0, j] = (close[0, j], 0) if there else (np.nan, -1)
    for t in range(1, sessions):
        for j in range(n):
            if np.isfinite(close[t, j]):
                filled[t, j], age[t, j] = close[t, j], 0
            else:
                filled[t, j] = filled[t - 1, j]
                age[t, j] = age[t - 1, j] + 1 if age[t - 1, j] >= 0 else -1
    return filled, age


@kernel
def with_cash(weights):
    """Weights (k, n) with what the positive ones lack to 1 as one more column, never below 0.

    The sum carries its rounding errors along (Knuth's two-sum), so that it comes out as `math.fsum` has it.
    """
    k, n = weights.shape
    out = np.empty((k, n + 1))
    for i in range(k):
        total, lost = 0.0, 0.0
        for j in range(n):
            out[i, j] = weights[i, j]
            if weights[i, j] > 0.0:
                more = total + weights[i, j]
                back = more - total
                lost += (total - (more - back)) + (weights[i, j] - back)
                total = more
        out[i, n] = max(1.0 - (total + lost), 0.0)
    return out


@kernel
def walk_given(prices, exits, rows, targets, rates, capital):
    """Walk weights that are known beforehand; see `simulate.Walk` for what comes back, and `live` for the arguments."""
    sessions, n = prices[0].shape
    equity, cash_line = np.empty(sessions), np.empty(sessions)
    helds = np.empty(targets.shape)
    turnover, paid = np.full(rows.size, np.nan), np.full(rows.size, np.nan)
    shares, cash, received = np.zeros(n), capital, np.full(exits[1].size, np.nan)
    equity[rows[0]] = cash_line[rows[0]] = capital
    for k in range(rows.size):
        weigh(shares, cash, prices[0][rows[k]], helds[k])
        end = rows[k + 1] + 1 if k + 1 < rows.size else sessions
        if rows[k] + 1 < sessions:
            span = (rows[k] + 1, end)
            order = (targets[k], helds[k])
            lines = (equity, cash_line)
            cash, turnover[k], paid[k] = live(prices, exits, span, order, shares, cash, rates, lines, received)
    return equity, cash_line, helds, turnover, paid, received, shares


@kernel
def weigh(shares, cash, price, out):
    """Weights at these prices into `out`, (n,); what they lack to 1 is cash."""
    total = cash
    for j in range(shares.size):
        out[j] = shares[j] * price[j] if shares[j] > 0.0 else 0.0
        total += out[j]
    for j in range(shares.size):
        out[j] /= total


@kernel
def live(prices, exits, span, order, shares, cash, rates, lines, received):
    """Trade at the first session of the span, then mark every close of it; returns cash, turnover and costs.

    prices : (close, execution), each (sessions, n); exits : (starts, names, growth), see `simulate.Tape`
    span : (first session, the one after the last); order : (target, held) weights, each (n,)
    shares : (n,), changed in place; rates : commission and slippage per USD, USD at least per order
    lines : (equity, cash) by session, filled in place; received : USD of each exit, filled in place
    """
    close, execution = prices
    first, end = span
    cash += settle(exits, first, close, shares, received)
    before = close[first - 1]
    cash, turned, fee = trade(shares, cash, order, execution[first], before, rates)
    names = np.flatnonzero(shares > 0.0)
    for t in range(first, end):
        if t > first:
            cash += settle(exits, t, close, shares, received)
        value = 0.0
        for j in names:
            value += close[t, j] * shares[j]
        lines[0][t], lines[1][t] = value + cash, cash
    return cash, turned, fee


@kernel
def settle(exits, session, close, shares, received):
    """USD from held names that leave on `session`, at their last close × growth; their shares become 0 in place."""
    starts, names, growth = exits
    proceeds = 0.0
    for e in range(starts[session], starts[session + 1]):
        j = names[e]
        if shares[j] > 0.0:
            received[e] = shares[j] * close[session - 1, j] * growth[e]
            proceeds += received[e]
            shares[j] = 0.0
    return proceeds


@kernel
def trade(shares, cash, order, price, last, rates):
    """Cash, turnover and costs after trading toward the target at `price`, (n,); shares change in place.

    Target weights apply to the value after costs. A name without an execution price, or whose target is its held
    weight, does not trade; what that leaves over is cash, and if it leaves too little the other targets shrink alike.
    last : (n,) closes of the session before, the value of what has no execution price
    """
    target, held = order
    names, before, goal = np.empty(shares.size, np.int64), np.empty(shares.size), np.empty(shares.size)
    m, total, stay = 0, cash, 0.0
    for j in range(shares.size):
        known = np.isfinite(price[j])
        value = shares[j] * (price[j] if known else last[j]) if shares[j] > 0.0 else 0.0
        total += value
        if known and abs(target[j] - held[j]) > SAME:
            names[m], before[m], goal[m] = j, value, target[j]
            m += 1
        else:
            stay += value
    if m == 0:
        return cash, 0.0, 0.0
    room, fee = spend(before[:m], goal[:m], total, stay, rates)
    spent, net, gross = 0.0, 0.0, 0.0
    for i in range(m):
        after = goal[i] * room
        shares[names[i]] = after / price[names[i]]
        spent += after
        net += after - before[i]
        gross += abs(after - before[i])
    return max(total - stay - spent - fee, 0.0), 0.5 * (gross + abs(net)) / total, fee


@kernel
def spend(before, goal, total, stay, rates):
    """USD that a weight of 1 means after trading, and the costs: value after costs + costs = value before.

    before : (m,) values of the names that trade; goal : their target weights; stay : value of those that do not
    Each round shrinks the error by the cost rate, so the last digit is reached in a few. A minimum commission that
    is due or not within a cent may keep the rounds alternating; the lower of the two values is then affordable.
    """
    weight = goal.sum()
    value = older = total
    for _ in range(ROUNDS):
        room = room_for(weight, value, stay)
        fee = cost_of(before, goal, room, rates)
        if abs(total - fee - value) <= 1e-15 * total:
            return room, fee
        value, older = total - fee, value
    room = room_for(weight, min(value, older), stay)
    return room, cost_of(before, goal, room, rates)


@kernel
def room_for(weight, value, stay):
    """USD that a weight of 1 means: all of the value, or less where what does not trade takes up too much."""
    return min(value, max(value - stay, 0.0) / weight) if weight > 0.0 else 0.0


@kernel
def cost_of(before, goal, room, rates):
    """`Costs.total` of moving every value in `before` to goal × room, in USD."""
    commission, slippage, least = rates
    paid = 0.0
    for i in range(before.size):
        size = abs(goal[i] * room - before[i])
        paid += max(size * commission, least if size > 0.0 else 0.0) + size * slippage
    return paid
