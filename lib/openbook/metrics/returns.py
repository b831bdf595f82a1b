"""Formulas of one series of returns: growth, risk and drawdown."""

from functools import reduce
from typing import cast

import numpy as np
import pandas as pd

from openbook.common.constants import SESSIONS_A_YEAR
from openbook.common.errors import DataError

# Below this share of the mean's size a standard deviation is rounding: 0.001 repeated has std 2e-19, "Sharpe" 1e16.
ROUNDING = 1e-12


def total_return(returns) -> float:
    """Compounded return, Π(1+r) − 1.

    NaN periods are skipped (counted as 0); no period at all gives NaN. Too optimistic when periods without a value
    were unrecorded losses.
    """
    r = known(returns)
    return float(np.prod(1.0 + r) - 1.0) if len(r) else np.nan


def cagr(returns, periods: int = SESSIONS_A_YEAR) -> float:
    """Compound annual growth rate, (Π(1+r))^(periods/n) − 1; −1 once everything is lost.

    NaN periods are skipped, in n too. Too optimistic on less than a year: it extrapolates.
    """
    r = known(returns)
    if not len(r):
        return np.nan
    return float(np.maximum(np.prod(1.0 + r), 0.0) ** (periods / len(r)) - 1.0)


def volatility(returns, periods: int = SESSIONS_A_YEAR) -> float:
    """Annualized standard deviation, std(ddof=1)·√periods. NaN periods are skipped; fewer than two give NaN.

    Too optimistic when returns trend or prices are stale: with positive autocorrelation risk grows faster than √time.
    """
    r = known(returns)
    return float(r.std(ddof=1) * np.sqrt(periods)) if len(r) > 1 else np.nan


def sharpe(returns, periods: float = SESSIONS_A_YEAR) -> float:
    """Annualized Sharpe ratio of returns already net of the risk-free rate, mean/std(ddof=1)·√periods (Sharpe 1994).

    NaN periods are skipped. Constant returns, or fewer than two, are undefined: NaN, not 1e16. Too optimistic when it
    is the best of many trials (see `deflated_sharpe`), when prices are stale, or when losses are rare and large. Its
    standard error is about √(periods/n).
    """
    return sharpe_per_period(known(returns)) * float(np.sqrt(periods))


def rolling_sharpe(returns: np.ndarray, window: int, periods: int = SESSIONS_A_YEAR) -> np.ndarray:
    """`sharpe` of each `window` sessions in a row, for many series at once.

    returns : (n_series, n_periods) without NaN; the result is (n_series, n_periods − window + 1), empty if too short
    """
    count = max(returns.shape[1] - window + 1, 0)
    shifted = [returns[:, start : start + count] for start in range(window)]
    mean = cast(np.ndarray, sum(shifted)) / window
    variance = sum((part - mean) ** 2 for part in shifted) / (window - 1)
    high, low = reduce(np.maximum, shifted), reduce(np.minimum, shifted)
    moves = (high - low > ROUNDING * np.maximum(np.abs(high), np.abs(low))) & (variance > 0)
    ratio = np.divide(mean, np.sqrt(variance), out=np.full(mean.shape, np.nan), where=moves)
    return ratio * np.sqrt(periods)


def sortino(returns, periods: int = SESSIONS_A_YEAR, target: float = 0.0) -> float:
    """Annualized mean excess over `target` per period by the downside deviation (Sortino & van der Meer 1991).

    The downside deviation is √mean(min(r − target, 0)²) over all periods, not over the losing ones only. NaN periods
    are skipped; no loss at all is undefined: NaN. Too optimistic on samples without a bad spell.
    """
    r = known(returns) - target
    if not len(r):
        return np.nan
    downside = np.sqrt(np.mean(np.minimum(r, 0.0) ** 2))
    return float(r.mean() / downside * np.sqrt(periods)) if downside > 0 else np.nan


def drawdowns(returns: pd.Series | np.ndarray) -> pd.Series:
    """Wealth below its highest level so far, ≤ 0, by the index of `returns`; the first peak is the starting capital.

    A NaN period keeps the wealth of the period before. Libraries that take the first close as the first peak miss a
    loss on day one.
    """
    r = pd.Series(returns, dtype="float64")
    wealth = np.concatenate([[1.0], np.cumprod(1.0 + r.fillna(0.0).to_numpy())])
    return pd.Series((wealth / np.maximum.accumulate(wealth) - 1.0)[1:], index=r.index, name="drawdown")


def max_drawdown(returns) -> float:
    """Deepest drawdown, a negative number or 0, so a gate reads `max_drawdown >= -0.20`. NaN as in `drawdowns`.

    Too optimistic on short samples (it only grows with time) and at daily closes (the low of the day is lower).
    """
    r = known(returns)
    return float(drawdowns(r).min()) if len(r) and np.isfinite(r).all() else np.nan


def calmar(returns, periods: int = SESSIONS_A_YEAR) -> float:
    """CAGR by the size of the maximum drawdown (Young 1991, over the whole sample, not 36 months).

    No drawdown is undefined: NaN. Too optimistic on short samples, twice: short CAGR, shallow drawdown.
    """
    depth = -max_drawdown(returns)
    return cagr(returns, periods) / depth if depth > 0 else np.nan


def win_rate(returns) -> float:
    """Share of periods with a return above 0; a zero is no win. NaN periods are skipped; none at all gives NaN.

    Ignores the size: selling insurance wins nearly always.
    """
    r = known(returns)
    return float(np.mean(r > 0)) if len(r) and np.isfinite(r).all() else np.nan


def skewness(returns) -> float:
    """Third standardized moment, population form (divisor n), as in the deflated Sharpe ratio. Constant: NaN."""
    return _standardized_moment(known(returns), 3)


def kurtosis(returns) -> float:
    """Raw fourth standardized moment, population form: a normal sample has 3, not 0. Constant: NaN."""
    return _standardized_moment(known(returns), 4)


def beta(returns: pd.Series, benchmark: pd.Series) -> float:
    """Slope of the least-squares line of `returns` on `benchmark`, cov(r, b)/var(b): 1 moves as the benchmark does.

    Series are matched by their index; a session that either lacks is left out. Fewer than two sessions in both, or a
    constant benchmark, are undefined: NaN, as is everything with an infinite return. Too low when prices are stale.
    """
    sides = [pd.Series(returns, dtype="float64"), pd.Series(benchmark, dtype="float64")]
    pair = pd.concat(sides, axis=1, join="inner").dropna()
    mine, market = pair.to_numpy().T
    if len(pair) < 2 or not np.isfinite(pair).all(axis=None) or is_constant(market):
        return np.nan
    gap = market - market.mean()
    return float(gap @ (mine - mine.mean()) / (gap @ gap))


# ---- inside ----


def known(returns) -> np.ndarray:
    """The numbers of one series, NaN left out; an infinite one makes every result NaN."""
    r = np.asarray(returns, dtype="float64")
    if r.ndim != 1:
        raise DataError(f"a metric takes one series of returns, not an array of shape {r.shape}")
    r = r[~np.isnan(r)]
    return r if np.isfinite(r).all() else np.full(len(r), np.nan)


def is_constant(x: np.ndarray) -> bool:
    """True if the values differ by no more than rounding."""
    return not (np.ptp(x) > ROUNDING * np.abs(x).max() and x.std() > 0)


def sharpe_per_period(r: np.ndarray) -> float:
    """mean/std(ddof=1), NaN where undefined."""
    if len(r) < 2 or is_constant(r):
        return np.nan
    return float(r.mean() / r.std(ddof=1))


def _standardized_moment(r: np.ndarray, power: int) -> float:
    """mean(((r − mean)/std(ddof=0))^power)."""
    if len(r) < 2 or is_constant(r):
        return np.nan
    return float(np.mean(((r - r.mean()) / r.std()) ** power))
