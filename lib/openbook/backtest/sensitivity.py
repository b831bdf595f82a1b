"""Sensitivity of a result to one small change at a time: a row per combination, a column per change."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from openbook.backtest.decision_dates import DecisionDates
from openbook.backtest.engine import Decisions, VectorizedBacktester
from openbook.backtest.grid import Combination, gather_all, with_optimizer
from openbook.common.errors import OptimizerError
from openbook.common.parallel import run_tasks
from openbook.market.tables import Market

AS_COMPARED, DEAR, LATE = "base case", "cost × 2", "one day later"
HALVED, DOUBLED = "top N halved", "top N doubled"
COLUMNS = (AS_COMPARED, DEAR, LATE, HALVED, DOUBLED)


def sensitivity(
    scores: Mapping[str, pd.DataFrame],
    market: Market,
    regimes: pd.Series,
    *,
    pairs: Sequence[Combination],
    backtester: VectorizedBacktester,
    dates: pd.DatetimeIndex,
    engine: str = "",
    n_jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Sharpe ratios of (model, optimizer) pairs × COLUMNS, on the same dates and sessions throughout.

    as compared : exactly the backtest of the grid
    cost × 2 : the same decisions, every order at twice the cost; with a minimum commission a little too hard, because
        names that were left alone are then adjusted by cents
    one day later : each decision uses the scores of the session before, so that they are two sessions old when they
        trade; prices, regime and what is held are as known at that session
    top N halved, doubled : the number of names to hold, rounded down and at least 1; every limit stays as it is

    scores : by model, dates × symbols, out of sample; engine, n_jobs, progress : as in `engine.run_tasks`
    NaN where half or twice the names leave a session without a portfolio within the limits that has one as compared:
    half a year in the previous holdings would not measure the number of names.
    """
    decision_dates = gather_all({model: scores[model] for model, _ in pairs}, market, regimes, dates)
    rows = run_tasks(_row, (backtester, decision_dates), list(pairs), engine=engine, n_jobs=n_jobs, progress=progress)
    index = pd.MultiIndex.from_tuples(list(pairs), names=["model", "optimizer"])
    return pd.DataFrame(rows, index=index, columns=list(COLUMNS))


def _row(shared: tuple[VectorizedBacktester, dict[str, DecisionDates]], model: str, optimizer: str) -> dict[str, float]:
    """The Sharpe ratios of one combination, by column."""
    backtester, decision_dates = with_optimizer(shared[0], optimizer), shared[1][model]
    plain, tape, n = backtester.decide_on(decision_dates), decision_dates.tape, backtester.settings.top_n
    dear = backtester.model_copy(update={"costs": backtester.costs.doubled()})
    late = backtester.decide_on(decision_dates.with_older_scores())
    return {
        AS_COMPARED: backtester.run_on(plain.weights, tape).sharpe,
        DEAR: dear.run_on(plain.weights, tape).sharpe,
        LATE: backtester.run_on(late.weights, tape).sharpe,
        HALVED: _holding(max(n // 2, 1), backtester, decision_dates, plain),
        DOUBLED: _holding(2 * n, backtester, decision_dates, plain),
    }


def _holding(n: int, backtester: VectorizedBacktester, decision_dates: DecisionDates, plain: Decisions) -> float:
    """Sharpe ratio with n names to hold; NaN if some session has no portfolio then that has one as compared."""
    other = backtester.model_copy(update={"settings": backtester.settings.model_copy(update={"top_n": n})})
    try:
        decided = other.decide_on(decision_dates)
    except OptimizerError:  # not on a single session
        return float("nan")
    if len(decided.failed.index.difference(plain.failed.index)):
        return float("nan")
    return other.run_on(decided.weights, decision_dates.tape).sharpe
