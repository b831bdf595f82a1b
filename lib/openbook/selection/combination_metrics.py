"""The figures of every combination that was backtested."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from openbook import metrics
from openbook.backtest.capacity import capacity, smallest_account
from openbook.backtest.engine import BacktestResult
from openbook.backtest.grid import Combination, label
from openbook.common.constants import SESSIONS_A_YEAR
from openbook.common.errors import DataError

# Figures of a backtest itself, beside those computed here.
FIGURES = (
    "cagr",
    "total_return",
    "volatility",
    "sharpe",
    "sortino",
    "max_drawdown",
    "calmar",
    "win_rate",
    "total_costs",
)


def regime_consistency(sharpes: Mapping[int, float], shares: Mapping[int, float]) -> float:
    """Share of the sessions that fell in a regime in which the strategy's Sharpe ratio was positive, in [0, 1].

    sharpes : by regime; NaN (too few sessions) counts as not positive
    shares : sessions by regime, as counts or fractions

    Weighted by sessions because the Sharpe ratio of a rare regime is mostly noise. Blunt: three regimes give eight
    possible values.
    """
    total = sum(shares.values())
    if not (total > 0 and set(shares) == set(sharpes)):
        raise DataError(
            f"Sharpe ratios and session counts must cover the same regimes, at least one: {sorted(sharpes)} "
            f"and {sorted(shares)}"
        )
    return sum(shares[regime] for regime in shares if sharpes[regime] > 0) / total


def summarise_backtests(
    results: Mapping[Combination, BacktestResult],
    regimes: pd.Series,
    *,
    benchmark: pd.Series | None = None,
    market=None,
    seed: int = 0,
) -> pd.DataFrame:
    """One row of figures per combination (model, optimizer), in the order given: what `judge` and the gates go on.

    benchmark : daily returns of doing nothing clever, after costs. beta is measured against it; active_return is the
        mean of what a combination earns above it, a year, and active_low, active_high its 95% interval by the
        stationary bootstrap with this seed. None: these are NaN
    market : the Market that they were run on, for their capacity and smallest account in USD; None: NaN

    Raises DataError for no result.
    """
    if not results:
        raise DataError("no backtests to summarize; pass every combination")
    rows = []
    for (model, optimizer), result in results.items():
        rows.append(
            {
                "combination": label((model, optimizer)),
                "model": model,
                "optimizer": optimizer,
                **{name: getattr(result, name) for name in FIGURES},
                "turnover": result.mean_turnover,
                "sessions": int(result.returns.notna().sum()),
                "skewness": metrics.skewness(result.returns),
                "kurtosis": metrics.kurtosis(result.returns),
                "regime_consistency": _consistency(result.returns, regimes),
                "capacity": float("nan") if market is None else capacity(result, market),
                "smallest_account": float("nan") if market is None else smallest_account(result, market),
                **against(result.returns, benchmark, seed=seed),
            }
        )
    return pd.DataFrame(rows)


def against(returns: pd.Series, benchmark: pd.Series | None, *, seed: int) -> dict[str, float]:
    """beta, active_return, active_low, active_high of one series beside a benchmark; NaN without one.

    Over the sessions that both have. One that never differs from the benchmark has no interval.
    """
    if benchmark is None:
        return dict.fromkeys(["beta", "active_return", "active_low", "active_high"], float("nan"))
    gap = (returns - benchmark.reindex(returns.index)).dropna()
    low, high = metrics.stationary_bootstrap_interval(gap, seed=seed)
    active = float(gap.mean()) * SESSIONS_A_YEAR
    return {"beta": metrics.beta(returns, benchmark), "active_return": active, "active_low": low, "active_high": high}


def judge(
    summary: pd.DataFrame, returns: pd.DataFrame, *, n_trials: int, benchmark: pd.Series | None = None, seed: int = 0
) -> pd.DataFrame:
    """The summary with the corrections for luck: deflated_sharpe, pbo, active_low_all, min_track_record, track_record.

    returns : sessions × combination label, what `summary` was made of
    n_trials : everything that was tried, `Trials.total`; the variance across trials is that of the daily Sharpe ratios
        in `returns`. One that held nothing has none, and still counts
    benchmark : daily returns of the universe at equal weight; active_low_all is the low end of the return a year above
        it that holds for the whole field at once (`metrics.simultaneous_lows`). In a rising market everybody has a
        Sharpe ratio, which no count of trials takes off again: this gate does. None: NaN
    pbo is one value for the whole field; min_track_record in sessions, track_record the share of it that there is.

    Examples
    --------
    >>> from openbook.app import inputs
    >>> tried = inputs.comparison(None, None, "2022-11-29")
    >>> field = ob.judge(tried.summary, tried.alone, n_trials=2, benchmark=tried.universe)
    >>> field["optimizer"].tolist()
    ['hrp', 'equal_weight']
    """
    missing = sorted(set(summary["combination"]) - set(returns.columns))
    if missing:
        raise DataError(f"no daily returns for {missing[0]}; pass those of every combination")
    if not (n_trials >= len(summary)):
        raise DataError(f"n_trials {n_trials} is below the number of combinations, {len(summary)}; count every trial")
    mine = returns[list(summary["combination"])]
    daily = np.array([metrics.sharpe(column) for _, column in mine.items()]) / SESSIONS_A_YEAR**0.5
    known = daily[np.isfinite(daily)]
    spread = float(known.var(ddof=1)) if len(known) > 1 else 0.0
    needed = np.array([metrics.minimum_track_record_length(column) for _, column in mine.items()])
    active = mine.sub(benchmark.reindex(mine.index), axis=0) if benchmark is not None else mine * np.nan
    return summary.assign(
        active_low_all=metrics.simultaneous_lows(active, seed=seed).to_numpy(),
        deflated_sharpe=[metrics.deflated_sharpe(column, n_trials, spread) for _, column in mine.items()],
        pbo=metrics.probability_of_backtest_overfitting(mine).pbo,
        min_track_record=needed,
        track_record=mine.notna().sum().to_numpy() / needed,
    )


def _consistency(returns: pd.Series, regimes: pd.Series) -> float:
    """`regime_consistency` of daily returns; the return of t→t+1 belongs to the regime known at t."""
    known = regimes.shift(1).reindex(returns.index)
    groups = {code: returns[known == code] for code in sorted(known.dropna().unique())}
    sharpes = {code: metrics.sharpe(group) if len(group) > 1 else float("nan") for code, group in groups.items()}
    return regime_consistency(sharpes, {code: len(group) for code, group in groups.items()})
