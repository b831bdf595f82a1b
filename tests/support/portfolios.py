"""Small markets and random problems for the tests of the portfolio room, and the slow twins beside them."""

import numpy as np
import pandas as pd

from openbook.market.tables import ACTION_COLUMNS, Market, empty_actions
from openbook.portfolio.constraints import Limits
from openbook.portfolio.costs import Costs


def sessions(n: int, start: str = "2015-01-05") -> pd.DatetimeIndex:
    """n weekdays."""
    return pd.bdate_range(start, periods=n, unit="us", name="date")


def names(n: int) -> pd.Index:
    """n symbols in sorted order."""
    return pd.Index([f"S{i:03d}" for i in range(n)], dtype="str", name="symbol")


def make_market(close: pd.DataFrame, opens: pd.DataFrame | None = None, **tables) -> Market:
    """A market of unadjusted closes, executed at the next open if there are opens."""
    execution = "next_close" if opens is None else "next_open"
    tables = {"adjusted": close.copy(), "actions": empty_actions(), **tables}
    return Market(close=close, open=opens, name="made", execution=execution, **tables)


def delisting(date, symbol: str, final: float) -> pd.DataFrame:
    """One recorded delisting."""
    return pd.DataFrame([[pd.Timestamp(date), symbol, "delisting", final]], columns=ACTION_COLUMNS)


def random_market(n: int, length: int, seed: int, *, gaps: float = 0.0, n_sectors: int = 5) -> Market:
    """A market with a common factor, opens apart from closes, and a share of missing bars."""
    rng = np.random.default_rng(seed)
    dates, symbols = sessions(length), names(n)
    noise = rng.normal(size=(length, n)) * rng.uniform(0.01, 0.03, n) + rng.normal(size=(length, 1)) * 0.01
    close = pd.DataFrame(50 * np.exp(np.cumsum(noise, axis=0)), dates, symbols)
    opens = close.shift(1).fillna(50.0) * np.exp(rng.normal(size=(length, n)) * 0.004)
    seen = rng.random((length, n)) >= gaps
    seen[0] = True
    sectors = pd.Series([f"sector {i % n_sectors}" for i in range(n)], index=symbols)
    return make_market(close.where(seen), opens.where(seen), sectors=sectors)


def random_score_table(market: Market, seed: int) -> pd.DataFrame:
    """Slowly moving scores where there is a bar."""
    draws = np.random.default_rng(seed).normal(size=market.close.shape)
    table = pd.DataFrame(draws, market.dates, market.symbols).ewm(halflife=20).mean()
    return table.where(market.close.notna())


def random_covariance(rng: np.random.Generator, n: int) -> np.ndarray:
    """A year's covariance of n names with a market, sector factors and their own noise: well conditioned."""
    factors = rng.normal(size=(n, 4)) * [0.18, 0.08, 0.06, 0.05]
    return factors @ factors.T + np.diag(rng.uniform(0.15, 0.5, n) ** 2)


def make_limits(n: int, *, upper=0.15, cap=1.0, groups=None, exposure: float = 1.0) -> Limits:
    """Limits of n names; groups are sector codes, all in one if left out."""
    codes = np.zeros(n, dtype=np.intp) if groups is None else np.asarray(groups, dtype=np.intp)
    count = int(codes.max(initial=0)) + 1
    return Limits(
        upper=np.broadcast_to(np.asarray(upper, dtype=float), (n,)).copy(),
        groups=codes,
        caps=np.broadcast_to(np.asarray(cap, dtype=float), (count,)).copy(),
        exposure=exposure,
        symbols=tuple(names(n)),
        group_names=tuple(f"sector {g}" for g in range(count)),
    )


def random_limits(rng: np.random.Generator, n: int) -> Limits:
    """Limits that bind but can be met."""
    groups = rng.integers(0, 5, n)
    upper = rng.uniform(1.5, 6) / n
    limits = make_limits(n, upper=upper, cap=rng.uniform(0.25, 0.6), groups=groups, exposure=rng.choice([1.0, 0.6]))
    return limits.with_exposure(min(limits.exposure, 0.98 * limits.reachable))


def least_linear(gradient: np.ndarray, limits: Limits) -> float:
    """Smallest gradient'z over all z within the limits: the other half of an optimality certificate."""
    from scipy.optimize import linprog

    rows = (limits.groups[None, :] == np.arange(len(limits.caps))[:, None]).astype(float)
    bounds = [(0.0, u) for u in limits.upper]
    ones = np.ones((1, len(gradient)))
    return linprog(gradient, rows, limits.caps, ones, [limits.exposure], bounds=bounds).fun


def slow_walk(weights: pd.DataFrame, market: Market, costs: Costs, capital: float) -> pd.DataFrame:
    """Equity, cash and costs by session, share by share and day by day; the plain reading of the rules.

    weights : dates × symbols. Prices are total return: dividends are reinvested. Refused closes (`market.doubtful`)
    are read as total return, too: these markets have no splits and dividends.
    """
    refused = {} if market.doubtful is None else market.doubtful.set_index(["date", "symbol"])["close"].to_dict()
    fell, doubts = {}, dict.fromkeys(market.symbols, 0)
    adjusted, execution = market.adjusted, market.adjusted_execution
    last_bar, last_price, last_bar_price = dict.fromkeys(market.symbols, -1), {}, {}
    shares, cash, order, rows = dict.fromkeys(market.symbols, 0.0), capital, None, []
    final = {row.symbol: (row.date, row.value) for row in market.actions.itertuples() if row.kind == "delisting"}
    for t, date in enumerate(market.dates):
        paid = 0.0
        for s in market.symbols:  # what is gone is cash before anything trades
            recorded = s in final and last_bar[s] >= 0 and date >= final[s][0] and np.isnan(adjusted.at[date, s])
            elsewhere = last_bar[s] >= 0 and adjusted.at[date, s] > 25 * last_bar_price[s]
            if recorded and date == final[s][0] and refused.get((date, s), np.inf) < last_bar_price[s]:
                fell[s] = refused[date, s]  # sent on the very day of the record
            if shares[s] > 0 and recorded:  # the declared return counts from the last bar that was sent
                cash += shares[s] * fell.get(s, last_price[s]) * (1 + final[s][1])
                shares[s] = 0.0
            if shares[s] > 0 and elsewhere:  # another company or unit: no gain
                cash += shares[s] * last_price[s]
                shares[s] = 0.0
        if order is not None:
            target, held = order
            price = {s: execution.at[date, s] for s in market.symbols}
            value = {s: shares[s] * (price[s] if price[s] > 0 else last_price.get(s, 0.0)) for s in market.symbols}
            moves = [s for s in market.symbols if price[s] > 0 and abs(target[s] - held[s]) > 1e-12]
            total, stay = sum(value.values()) + cash, sum(value[s] for s in market.symbols if s not in moves)
            asked = sum(target[s] for s in moves)

            def goals(after, moves=moves, target=target, stay=stay, asked=asked):
                scale = min(after, (after - stay) / asked) if asked > 0 else 0.0
                return {s: target[s] * max(scale, 0.0) for s in moves}

            low, high = 0.0, total
            for _ in range(200):  # value after costs + costs = value before
                middle = (low + high) / 2
                cost = sum(costs.total(goal - value[s]) for s, goal in goals(middle).items())
                low, high = (middle, high) if middle + cost <= total else (low, middle)
            goal = goals(low)
            paid = sum(costs.total(goal[s] - value[s]) for s in moves)
            for s in moves:
                shares[s] = goal[s] / price[s]
            cash = total - stay - sum(goal.values()) - paid if moves else cash
            order = None
        for s in market.symbols:
            if adjusted.at[date, s] > 0:
                last_bar[s], last_price[s] = t, adjusted.at[date, s]
                last_bar_price[s], doubts[s] = adjusted.at[date, s], 0
                fell.pop(s, None)
            elif last_bar[s] >= 0:  # a refused fall counts from its third session of doubt on
                if refused.get((date, s), np.inf) < last_bar_price[s]:
                    fell[s] = refused[date, s]
                doubts[s] += s in fell
                last_price[s] = fell[s] if doubts[s] >= 3 else last_price[s]
        equity = cash + sum(n * last_price[s] for s, n in shares.items() if n > 0)
        rows.append((equity, cash, paid))
        if date in weights.index:
            held = {s: shares[s] * last_price.get(s, 0.0) / equity for s in market.symbols}
            order = (weights.loc[date].to_dict(), held)
    return pd.DataFrame(rows, index=market.dates, columns=["equity", "cash", "costs"])
