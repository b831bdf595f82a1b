"""Every model with every optimizer on the same dates, and the baselines that each must beat."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import pandas as pd

from openbook import metrics
from openbook.backtest.decision_dates import DecisionDates, decision_rows, gather_decision_dates
from openbook.backtest.engine import BacktestResult, VectorizedBacktester, equal_weight_universe, random_scores
from openbook.backtest.simulate import read_prices
from openbook.common.constants import CASH, REGIME_NAMES
from openbook.common.errors import DataError
from openbook.common.parallel import run_tasks
from openbook.market.tables import Market
from openbook.portfolio.schedule import rebalance_dates

Combination = tuple[str, str]
UNIVERSE = ("universe", "equal_weight")
RANDOM = "random_scores"
INDEX = ("index", "buy_and_hold")


def common_dates(scores: Mapping[str, pd.DataFrame], market: Market, first: str, every: int) -> pd.DatetimeIndex:
    """The rebalance dates from `first` on which every model has scores; DataError if there are none."""
    dates = market.dates[market.dates >= (pd.Timestamp(first) if first else market.dates[0])]
    for table in scores.values():
        dates = dates.intersection(cast(pd.DatetimeIndex, table.index))
    rebalances = rebalance_dates(dates, every)
    if len(rebalances) < 2:
        since = first or "the first session"
        raise DataError(f"only {len(rebalances)} dates from {since} on have scores of every model; start earlier")
    return rebalances


def backtest_grid(
    scores: Mapping[str, pd.DataFrame],
    market: Market,
    regimes: pd.Series,
    *,
    optimizers: Sequence[str],
    backtester: VectorizedBacktester,
    dates: pd.DatetimeIndex,
    engine: str = "",
    n_jobs: int = 1,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[Combination, BacktestResult]:
    """One backtest per (model, optimizer), decided and walked by the same code on the same dates.

    scores : by model, dates × symbols, out of sample. Nothing that was tried may be left out of the result.
    engine, n_jobs : as in `engine.run_tasks`
    progress : called with how many are done, of how many, and the label of the last one
    """
    pairs = [(model, optimizer) for model in scores for optimizer in optimizers]
    shared = backtester, gather_all(scores, market, regimes, dates)

    def tell(done: int, total: int) -> None:
        if progress:
            progress(done, total, label(pairs[done - 1]))

    results = run_tasks(_backtest, shared, pairs, engine=engine, n_jobs=n_jobs, progress=tell)
    return dict(zip(pairs, results, strict=True))


def backtest_holdout(
    scores: Mapping[str, pd.DataFrame],
    held: Mapping[str, pd.DataFrame],
    market: Market,
    regimes: pd.Series,
    *,
    optimizers: Sequence[str],
    backtester: VectorizedBacktester,
    engine: str = "",
    n_jobs: int = 1,
    progress: Callable[[int, int, str], None] | None = None,
) -> pd.DataFrame:
    """Daily returns over the holdout, sessions × label: every combination, then the universe. To be put away unseen.

    scores, held : by model, dates × symbols, before the holdout and over it; the earlier ones only for the smoothing,
        as on a real session. Empty without a holdout, or with one of fewer than two rebalances.
    progress : as in `backtest_grid`
    """
    every = backtester.settings.rebalance_every
    if not held or len(rebalance_dates(cast(pd.DatetimeIndex, next(iter(held.values())).index), every)) < 2:
        return pd.DataFrame()
    dates = common_dates(held, market, "", every)
    joined = {model: pd.concat([scores[model], held[model]]) for model in held}
    how: dict[str, Any] = {
        "optimizers": optimizers,
        "backtester": backtester,
        "dates": dates,
        "engine": engine,
        "n_jobs": n_jobs,
    }
    results = backtest_grid(joined, market, regimes, progress=progress, **how)
    universe = backtester.run(equal_weight_universe(market, dates), market)
    return pd.DataFrame({label(pair): result.returns for pair, result in {**results, UNIVERSE: universe}.items()})


def gather_all(
    scores: Mapping[str, pd.DataFrame], market: Market, regimes: pd.Series, dates: pd.DatetimeIndex
) -> dict[str, DecisionDates]:
    """The sessions of each model, on one tape."""
    tape = read_prices(market)
    return {model: gather_decision_dates(table, market, regimes, dates, tape) for model, table in scores.items()}


def with_optimizer(backtester: VectorizedBacktester, optimizer: str) -> VectorizedBacktester:
    """The same backtester deciding by `optimizer`."""
    return backtester.model_copy(update={"settings": backtester.settings.model_copy(update={"optimizer": optimizer})})


def _backtest(
    shared: tuple[VectorizedBacktester, dict[str, DecisionDates]], model: str, optimizer: str
) -> BacktestResult:
    """One task of the grid."""
    backtester, decision_dates = with_optimizer(shared[0], optimizer), shared[1][model]
    decisions = backtester.decide_on(decision_dates)
    result = backtester.run_on(decisions.weights, decision_dates.tape)
    return replace(result, warning=decisions.warning(backtester.settings))


def warnings(results: Mapping[Combination, BacktestResult]) -> str:
    """Warnings of the results, each sentence once, one per line; empty without any."""
    return "\n".join(dict.fromkeys(result.warning for result in results.values() if result.warning))


def forced_exits(results: Mapping[Combination, BacktestResult]) -> pd.DataFrame:
    """Held names that became cash without an order: date, symbol, kind, and the number of backtests that held them."""
    every = pd.concat([result.forced_exits for result in results.values()], ignore_index=True)
    return every.groupby(["date", "symbol", "kind"]).size().rename("backtests").reset_index()


def backtest_baselines(
    market: Market, regimes: pd.Series, *, backtester: VectorizedBacktester, dates: pd.DatetimeIndex, seed: int
) -> dict[Combination, BacktestResult]:
    """What costs no skill: the whole universe at equal weight, random scores through the same construction, and the
    index where the source has one."""
    tester = with_optimizer(backtester, "equal_weight")
    chance = tester.decide(random_scores(market, seed), market, regimes, dates)
    found = {
        UNIVERSE: backtester.run(equal_weight_universe(market, dates), market),
        (RANDOM, "equal_weight"): tester.run(chance.weights, market),
    }
    return found if market.index is None else {**found, INDEX: hold_index(market, dates, backtester.capital)}


def hold_index(market: Market, dates: pd.DatetimeIndex, capital: float) -> BacktestResult:
    """The index bought at its close on the first of `dates` and never touched, at no cost: kinder than any fund is.

    The market must have an index; DataError if it has no level by then.
    """
    rows = decision_rows(market.dates, dates)
    level = _level(market).iloc[rows[0] :]
    if not (level > 0).all():
        raise DataError(f"the index has no level on {level.index[~(level > 0)][0]:%Y-%m-%d}; start later")
    equity, decided = (capital * level / level.iloc[0]).rename("equity"), market.dates[rows]
    weights = pd.DataFrame({INDEX[0]: 1.0, CASH: 0.0}, index=decided)
    none = pd.Series(0.0, index=decided)
    return BacktestResult(
        returns=equity.pct_change().iloc[1:].rename("returns"),
        equity=equity,
        cash=pd.Series(0.0, index=equity.index, name="cash"),
        weights=weights,
        held=weights,
        turnover=none.rename("turnover"),
        costs=none.rename("costs"),
        forced_exits=pd.DataFrame(columns=["date", "symbol", "kind", "usd"]),
        notes=("the index is held without costs, from its close on the first decision date",),
    )


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
    """Daily returns, sessions × combination by its label, and "index" where the source has one and `results` not."""
    table = pd.DataFrame({label(pair): result.returns for pair, result in results.items()})
    if market.index is not None and INDEX not in results:
        table["index"] = _level(market).pct_change().reindex(table.index)
    return table


def _level(market: Market) -> pd.Series:
    """The index by session; one without a level keeps the last, and earns its return later."""
    return cast(pd.Series, market.index).reindex(market.dates, method="ffill")


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
