"""Every model with every optimizer on the same dates, and the baselines that none of them may lose to."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from openbook import metrics
from openbook.errors import DataError
from openbook.market.tables import Market
from openbook.portfolio.backtest import (
    BacktestResult,
    VectorizedBacktester,
    equal_weight_universe,
    random_scores,
)
from openbook.portfolio.regime import REGIME_NAMES
from openbook.portfolio.schedule import rebalance_dates

Combination = tuple[str, str]
UNIVERSE = ("universe", "equal_weight")
RANDOM = "random_scores"


def common_dates(scores: Mapping[str, pd.DataFrame], market: Market, first: str, every: int) -> pd.DatetimeIndex:
    """The rebalance evenings from `first` on which every model has scores; DataError if there are none."""
    dates = market.dates[market.dates >= (pd.Timestamp(first) if first else market.dates[0])]
    for table in scores.values():
        dates = dates.intersection(table.index)
    evenings = rebalance_dates(dates, every)
    if len(evenings) < 2:
        since = first or "the first session"
        raise DataError(f"only {len(evenings)} evenings from {since} on which every model has scores; begin earlier")
    return evenings


def backtest_grid(
    scores: Mapping[str, pd.DataFrame],
    market: Market,
    regimes: pd.Series,
    *,
    optimizers: Sequence[str],
    backtester: VectorizedBacktester,
    dates: pd.DatetimeIndex,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[Combination, BacktestResult]:
    """One backtest per (model, optimizer), decided and walked by the same code on the same dates.

    scores : by model, dates × symbols, out of sample. Nothing that was tried may be left out of the result.
    """
    pairs = [(model, optimizer) for model in scores for optimizer in optimizers]
    results = {}
    for done, (model, optimizer) in enumerate(pairs, start=1):
        settings = backtester.settings.model_copy(update={"optimizer": optimizer})
        tester = backtester.model_copy(update={"settings": settings})
        results[model, optimizer] = tester.run(tester.decide(scores[model], market, regimes, dates).weights, market)
        if progress:
            progress(done, len(pairs), f"{model} × {optimizer}")
    return results


def backtest_baselines(
    market: Market, regimes: pd.Series, *, backtester: VectorizedBacktester, dates: pd.DatetimeIndex, seed: int
) -> dict[Combination, BacktestResult]:
    """What costs no skill: the whole universe at equal weight, and random scores through the same construction."""
    settings = backtester.settings.model_copy(update={"optimizer": "equal_weight"})
    tester = backtester.model_copy(update={"settings": settings})
    chance = tester.decide(random_scores(market, seed), market, regimes, dates)
    return {
        UNIVERSE: backtester.run(equal_weight_universe(market, dates), market),
        (RANDOM, "equal_weight"): tester.run(chance.weights, market),
    }


def regime_breakdown(results: Mapping[Combination, BacktestResult], regimes: pd.Series) -> pd.DataFrame:
    """Figures of each combination in each regime: model, optimizer, regime, regime_name, sessions, avg_return (a day),
    volatility (a year), sharpe, win_rate.

    The return of t→t+1 belongs to the regime known at t. A regime with fewer than two sessions has NaN figures.
    """
    rows = []
    for (model, optimizer), result in results.items():
        known = regimes.shift(1).reindex(result.returns.index)
        for code, name in REGIME_NAMES.items():
            rows.append({"model": model, "optimizer": optimizer, "regime": code, "regime_name": name,
                         **_figures(result.returns[known == code])})  # fmt: skip
    return pd.DataFrame(rows)


def label(combination: Combination) -> str:
    """What a combination is called on pages and in columns."""
    return " × ".join(combination)


def daily_returns(results: Mapping[Combination, BacktestResult], market: Market) -> pd.DataFrame:
    """Daily returns, sessions × combination by its label, and those of the index where the source has one."""
    table = pd.DataFrame({label(pair): result.returns for pair, result in results.items()})
    if market.index is not None:
        level = market.index.reindex(market.dates, method="ffill")  # a session without a level earns its return later
        table["index"] = level.pct_change().reindex(table.index)
    return table


def _figures(returns: pd.Series) -> dict[str, float]:
    """Figures of the sessions of one regime, taken together."""
    if len(returns) < 2:
        return {
            "sessions": len(returns),
            **dict.fromkeys(["avg_return", "volatility", "sharpe", "win_rate"], float("nan")),
        }
    return {
        "sessions": len(returns),
        "avg_return": float(returns.mean()),
        "volatility": metrics.volatility(returns),
        "sharpe": metrics.sharpe(returns),
        "win_rate": metrics.win_rate(returns),
    }
