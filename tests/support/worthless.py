"""Combinations without any skill, as backtests: what a tournament must not be fooled by."""

import numpy as np
import pandas as pd

from openbook.backtest.engine import BacktestResult
from openbook.backtest.grid import Combination, label
from openbook.selection import judge, summarise_backtests

YEAR = 252


def backtest_of(returns, turnover=(1.0, 0.2, 0.4)) -> BacktestResult:
    """A backtest of which only the returns, turnovers and costs matter."""
    days = pd.bdate_range("2014-01-01", periods=len(returns) + 1)
    earned = pd.Series(returns, index=days[1:], name="returns", dtype=float)
    traded = pd.Series(turnover, index=days[: len(turnover)])
    empty = pd.DataFrame(index=days[: len(turnover)])
    return BacktestResult(earned, (1 + earned).cumprod(), 0 * earned, empty, empty, traded, 10 * traded, empty, ())


def worthless(
    seed: int, sessions: int, *, number: int = 20, market_sharpe: float | None = None
) -> tuple[dict[Combination, BacktestResult], pd.Series]:
    """Backtests of `number` combinations, and the universe at equal weight.

    market_sharpe : None: 16% of volatility a year each, independent of each other and of the universe. Else all hold a
        market of this Sharpe ratio, each with 8% a year of noise of its own around it
    """
    rng = np.random.default_rng(seed)
    market = 0.16 / YEAR**0.5 * rng.standard_normal(sessions) + (market_sharpe or 0.0) * 0.16 / YEAR
    noise = rng.standard_normal((number, sessions)) / YEAR**0.5
    returns = 0.16 * noise if market_sharpe is None else market + 0.08 * noise
    pairs = [(f"m{k:02d}", "hrp") for k in range(number)]
    return {pair: backtest_of(row) for pair, row in zip(pairs, returns, strict=True)}, backtest_of(market).returns


def field_of(results: dict[Combination, BacktestResult], universe: pd.Series) -> pd.DataFrame:
    """All figures that the gates look at, from one end of the selection to the other."""
    regimes = pd.Series(1, index=universe.index)
    returns = pd.DataFrame({label(pair): result.returns for pair, result in results.items()})
    summary = summarise_backtests(results, regimes, benchmark=universe)
    return judge(summary, returns, n_trials=len(results), benchmark=universe)
