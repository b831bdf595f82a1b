"""The same orders through vectorbt and bt: worlds made from a seed, and each program used the way its manual does.

Everybody trades at the close of the session after a decision, pays the same part of each order, holds fractions of
shares. One difference is left: here target weights apply to the value after costs, there to the value before, and the
last purchase gets what is left. With costs of a few basis points final values agree within a few hundredths of a
percent.
"""

import numpy as np
import pandas as pd

from openbook.market.tables import Market, empty_actions
from openbook.portfolio.costs import Costs

COSTS = Costs(commission_bps=1.0, slippage_bps=5.0)
RATE = 6e-4  # what COSTS are, per USD traded
CAPITAL = 1_000_000.0
# Last equity of `small_case`, made by these programs; the benchmark makes it again.
RECORDED = {"vectorbt 1.2.0": 913627.5278018948, "bt 1.4.1": 913601.5433780737}
RECORDED_FREE = 933726.4058163097  # the same without costs, from either


def closes_only(n: int, length: int, seed: int) -> Market:
    """n names with a common factor, executed at the next close."""
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2013-01-07", periods=length, unit="us", name="date")
    symbols = pd.Index([f"S{i:03d}" for i in range(n)], dtype="str", name="symbol")
    noise = rng.normal(size=(length, n)) * rng.uniform(0.01, 0.03, n) + rng.normal(size=(length, 1)) * 0.01
    close = pd.DataFrame(50 * np.exp(np.cumsum(noise, axis=0)), dates, symbols)
    sectors = pd.Series([f"sector {i % 11}" for i in range(n)], symbols)
    return Market(
        close=close,
        adjusted=close.copy(),
        name="made",
        execution="next_close",
        actions=empty_actions(),
        sectors=sectors,
    )


def slow_scores(market: Market, seed: int, half_life: float = 30.0) -> pd.DataFrame:
    """Scores that know nothing and change slowly, sessions × symbols."""
    draws = np.random.default_rng(seed).normal(size=market.close.shape)
    return pd.DataFrame(draws, market.dates, market.symbols).ewm(halflife=half_life).mean()


def top_weights(scores: pd.DataFrame, dates, top: int, seed: int) -> pd.DataFrame:
    """Uneven weights of the `top` best scores on each of `dates`, dates × symbols, each row summing to 1."""
    rng, rows = np.random.default_rng(seed), np.zeros((len(dates), scores.shape[1]))
    for row, values in zip(rows, scores.loc[dates].to_numpy(), strict=True):
        row[np.argsort(-values)[:top]] = rng.dirichlet(np.full(top, 5.0))
    return pd.DataFrame(rows, pd.DatetimeIndex(dates), scores.columns)


def small_case() -> tuple[Market, pd.DataFrame]:
    """12 names, 260 sessions, weights of 5 every 5 sessions."""
    market = closes_only(12, 260, seed=11)
    return market, top_weights(slow_scores(market, 12), market.dates[20:250:5], 5, 13)


def sized_for_vectorbt(weights: pd.DataFrame, close: pd.DataFrame) -> pd.DataFrame:
    """Target weights on the sessions that execute them, sessions × symbols, NaN where nothing is ordered."""
    sizes = np.full(close.shape, np.nan)
    sizes[close.index.get_indexer(weights.index) + 1] = weights.to_numpy()
    return pd.DataFrame(sizes, close.index, close.columns)


def with_vectorbt(sizes: pd.DataFrame, close: pd.DataFrame, rate: float = RATE) -> pd.Series:
    """Equity by session: one pot of cash, sales before purchases."""
    import vectorbt

    portfolio = vectorbt.Portfolio.from_orders(
        close,
        size=sizes,
        size_type="targetpercent",
        fees=rate,
        init_cash=CAPITAL,
        cash_sharing=True,
        group_by=True,
        call_seq="auto",
        freq="1D",
    )
    return portfolio.value()


def dated_for_bt(weights: pd.DataFrame, close: pd.DataFrame) -> pd.DataFrame:
    """Target weights under the date of the session that executes them."""
    return weights.set_axis(close.index[close.index.get_indexer(weights.index) + 1])


def with_bt(targets: pd.DataFrame, close: pd.DataFrame, rate: float = RATE) -> pd.Series:
    """Equity by session."""
    import bt

    strategy = bt.Strategy("same orders", [bt.algos.WeighTarget(targets), bt.algos.Rebalance()])
    test = bt.Backtest(
        strategy,
        close,
        initial_capital=CAPITAL,
        commissions=lambda quantity, price: abs(quantity) * price * rate,
        integer_positions=False,
        progress_bar=False,
    )
    test.run()
    return test.strategy.values
