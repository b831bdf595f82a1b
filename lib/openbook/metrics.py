"""The only formulas for Sharpe, drawdown, Calmar, turnover, information coefficient and deflated Sharpe.

Returns are simple returns per period, (n_periods,), as fractions. Tables of scores and labels are sessions × symbols.
Undefined is NaN, never 0 and never infinity: a check written as `not (x >= limit)` then fails, as it should.
"""

from statistics import NormalDist

import numpy as np
import pandas as pd

from openbook.errors import DataError, ParameterError

PERIODS = 252
EULER_GAMMA = 0.5772156649015329
_NORMAL = NormalDist()
# Below this share of the mean's size a standard deviation is rounding: 0.001 repeated has std 2e-19, "Sharpe" 1e16.
_ROUNDING = 1e-12


# --- one return series ------------------------------------------------------------------------------------------------


def total_return(returns) -> float:
    """Compounded return, Π(1+r) − 1.

    NaN periods are skipped (counted as 0); no period at all gives NaN. Too optimistic when periods without a value
    were losses that nobody recorded.
    """
    r = _values(returns)
    return float(np.prod(1.0 + r) - 1.0) if len(r) else np.nan


def cagr(returns, periods: int = PERIODS) -> float:
    """Compound annual growth rate, (Π(1+r))^(periods/n) − 1; −1 once everything is lost.

    NaN periods are skipped, in n too. Too optimistic on less than a year: it extrapolates.
    """
    r = _values(returns)
    if not len(r):
        return np.nan
    return float(np.maximum(np.prod(1.0 + r), 0.0) ** (periods / len(r)) - 1.0)


def volatility(returns, periods: int = PERIODS) -> float:
    """Annualised standard deviation, std(ddof=1)·√periods. NaN periods are skipped; fewer than two give NaN.

    Too optimistic when returns trend or prices are stale: with positive autocorrelation risk grows faster than √time.
    """
    r = _values(returns)
    return float(r.std(ddof=1) * np.sqrt(periods)) if len(r) > 1 else np.nan


def sharpe(returns, periods: int = PERIODS) -> float:
    """Annualised Sharpe ratio of returns already net of the risk-free rate, mean/std(ddof=1)·√periods (Sharpe 1994).

    NaN periods are skipped. Constant returns, or fewer than two, are undefined: NaN, not 1e16. Too optimistic when it
    is the best of many trials (see `deflated_sharpe`), when prices are stale, or when losses are rare and large. Its
    standard error is about √(periods/n).
    """
    return _sharpe_per_period(_values(returns)) * float(np.sqrt(periods))


def sortino(returns, periods: int = PERIODS, target: float = 0.0) -> float:
    """Annualised mean excess over `target` per period by the downside deviation (Sortino & van der Meer 1991).

    The downside deviation is √mean(min(r − target, 0)²) over all periods, not over the losing ones only. NaN periods
    are skipped; no loss at all is undefined: NaN. Too optimistic on samples without a bad spell.
    """
    r = _values(returns) - target
    if not len(r):
        return np.nan
    downside = np.sqrt(np.mean(np.minimum(r, 0.0) ** 2))
    return float(r.mean() / downside * np.sqrt(periods)) if downside > 0 else np.nan


def drawdowns(returns: pd.Series) -> pd.Series:
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
    r = _values(returns)
    return float(drawdowns(r).min()) if len(r) and np.isfinite(r).all() else np.nan


def calmar(returns, periods: int = PERIODS) -> float:
    """CAGR by the size of the maximum drawdown (Young 1991, over the whole sample, not 36 months).

    No drawdown is undefined: NaN. Too optimistic on short samples, twice: short CAGR, shallow drawdown.
    """
    depth = -max_drawdown(returns)
    return cagr(returns, periods) / depth if depth > 0 else np.nan


def win_rate(returns) -> float:
    """Share of periods with a return above 0; a zero is no win. NaN periods are skipped; none at all gives NaN.

    Says nothing about the size: selling insurance wins nearly always.
    """
    r = _values(returns)
    return float(np.mean(r > 0)) if len(r) and np.isfinite(r).all() else np.nan


def skewness(returns) -> float:
    """Third standardised moment, population form (divisor n), as in the deflated Sharpe ratio. Constant: NaN."""
    return _standardised_moment(_values(returns), 3)


def kurtosis(returns) -> float:
    """Raw fourth standardised moment, population form: a normal sample has 3, not 0. Constant: NaN."""
    return _standardised_moment(_values(returns), 4)


# --- is the Sharpe ratio luck? ----------------------------------------------------------------------------------------


def probabilistic_sharpe(returns, benchmark: float = 0.0) -> float:
    """Probability that the true Sharpe ratio exceeds `benchmark`, both per period (Bailey & López de Prado 2012).

    NaN periods are skipped; undefined Sharpe gives NaN. Too optimistic with autocorrelated returns, and whenever the
    series was chosen among several: that is what `deflated_sharpe` is for.
    """
    r = _values(returns)
    return sharpe_confidence(_sharpe_per_period(r), len(r), skewness(r), kurtosis(r), benchmark)


def sharpe_confidence(sharpe: float, n: int, skew: float, kurt: float, benchmark: float = 0.0) -> float:
    """Φ((SR − SR*)·√(n−1) / √(1 − γ3·SR + (γ4−1)/4·SR²)); Sharpe ratios per period, γ4 raw (normal: 3).

    Bailey & López de Prado (2014), The Deflated Sharpe Ratio, eq. 2. NaN in, NaN out.
    """
    spread = 1.0 - skew * sharpe + (kurt - 1.0) / 4.0 * sharpe**2
    if not (n > 1 and spread > 0 and np.isfinite(sharpe)):
        return np.nan
    return _NORMAL.cdf((sharpe - benchmark) * np.sqrt(n - 1) / np.sqrt(spread))


def expected_max_sharpe(n_trials: int, var_sharpe: float) -> float:
    """Sharpe ratio that the best of `n_trials` without any skill is expected to show, per period.

    √V·((1−γ)·Φ⁻¹(1−1/N) + γ·Φ⁻¹(1−1/(N·e))), γ = 0.5772 (Bailey & López de Prado 2014, eq. 1); one trial gives 0.
    var_sharpe : variance of the per-period Sharpe ratios across the trials; an annual variance divides by `periods`.
    Too low, so the deflated Sharpe too optimistic, when trials that were looked at are not counted.
    """
    if not n_trials >= 1:
        raise ParameterError(f"n_trials must be at least 1, not {n_trials}; count every trial that was looked at")
    if not var_sharpe >= 0:
        raise ParameterError(f"var_sharpe must be a variance of at least 0, not {var_sharpe}")
    if n_trials == 1:
        return 0.0
    high = _NORMAL.inv_cdf(1.0 - 1.0 / n_trials)
    higher = _NORMAL.inv_cdf(1.0 - 1.0 / (n_trials * np.e))
    return float(np.sqrt(var_sharpe) * ((1.0 - EULER_GAMMA) * high + EULER_GAMMA * higher))


def deflated_sharpe(returns, n_trials: int, var_sharpe: float) -> float:
    """Probability that the Sharpe ratio of the best of `n_trials` is skill: `probabilistic_sharpe` against their luck.

    NaN periods are skipped. Counting correlated trials as independent errs on the safe side; forgetting some does not.
    """
    return probabilistic_sharpe(returns, expected_max_sharpe(n_trials, var_sharpe))


# --- weights ----------------------------------------------------------------------------------------------------------


def turnover(target: pd.Series, drifted: pd.Series) -> float:
    """One-way turnover ½·Σ|target − drifted|, fractions of portfolio value by symbol, CASH a row of both.

    A symbol in only one of the two has weight 0 in the other. A NaN weight gives NaN, which passes no limit. Too low
    when `drifted` are last night's targets instead of the weights that the market made of them.
    """
    symbols = target.index.union(drifted.index)
    if target.index.has_duplicates or drifted.index.has_duplicates:
        raise DataError("turnover needs one weight per symbol; a symbol appears twice")
    change = target.reindex(symbols, fill_value=0.0).to_numpy() - drifted.reindex(symbols, fill_value=0.0).to_numpy()
    return float(0.5 * np.abs(change).sum())


# --- scores against what followed -------------------------------------------------------------------------------------


def information_coefficient(scores: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """Correlation of scores with labels within each date: columns ic (Pearson), rank_ic (Spearman), n; one row per
    date of `scores`.

    Only symbols with both count; ties share their average rank. Fewer than three, or constant scores or labels, give
    NaN, so a date without labels yet shows n = 0. Never pooled over dates: pooling finds market timing in noise. Too
    optimistic when names without a label are the ones that failed.
    """
    left, right = _matched(scores, labels)
    both = np.isfinite(left) & np.isfinite(right)
    left, right = np.where(both, left, np.nan), np.where(both, right, np.nan)
    count = both.sum(axis=1)
    columns = {
        "ic": _row_correlation(left, right, both, count),
        "rank_ic": _row_correlation(average_ranks(left), average_ranks(right), both, count),
        "n": count,
    }
    return pd.DataFrame(columns, index=scores.index)


def icir(ic) -> float:
    """Mean over standard deviation (ddof=1) of per-date coefficients; not annualised. NaN dates are skipped.

    Too optimistic with labels longer than one session: neighbours overlap, so there are fewer independent dates than
    rows. `newey_west_t` accounts for it.
    """
    return _sharpe_per_period(_values(ic))


def newey_west_t(series, lags: int) -> float:
    """t statistic of the mean with a Bartlett-kernel long-run variance (Newey & West 1987), no small-sample factor.

    lags : at least the label's horizon. NaN periods are skipped, the rest taken as neighbours. A constant series or
    fewer than two values give NaN. Too optimistic with few lags or few dates (below about 10 per lag).
    """
    x = _values(series)
    if not (isinstance(lags, int | np.integer) and lags >= 0):
        raise ParameterError(f"lags must be a whole number of at least 0, not {lags!r}")
    if len(x) < 2 or _is_constant(x):
        return np.nan
    gap = x - x.mean()
    covariance = [gap[lag:] @ gap[: len(gap) - lag] for lag in range(min(lags, len(x) - 1) + 1)]
    weight = 1.0 - np.arange(1, len(covariance)) / (lags + 1.0)
    variance = (covariance[0] + 2.0 * np.dot(weight, covariance[1:])) / len(x) ** 2
    return float(x.mean() / np.sqrt(variance)) if variance > 0 else np.nan


def quantile_returns_by_date(scores: pd.DataFrame, labels: pd.DataFrame, n: int = 5) -> pd.DataFrame:
    """Mean label of each score quantile, one row per date of `scores`, columns 1 (worst) … n (best).

    Quantiles are cut among all names scored that date, labelled or not: at the decision nobody knows who will lack a
    label. Ties stay together. Dates with fewer than n scores, and quantiles without a label, are NaN.
    """
    if not n >= 2:
        raise ParameterError(f"n must be at least 2 quantiles, not {n}")
    left, right = _matched(scores, labels)
    ranks, count = average_ranks(left), np.isfinite(left).sum(axis=1)
    bucket = np.floor((ranks - 0.5) * n / np.maximum(count, 1)[:, None])
    bucket[count < n] = np.nan
    means = [_row_mean(right, (bucket == quantile) & np.isfinite(right)) for quantile in range(n)]
    return pd.DataFrame(np.column_stack(means), index=scores.index, columns=pd.RangeIndex(1, n + 1, name="quantile"))


def quantile_returns(scores: pd.DataFrame, labels: pd.DataFrame, n: int = 5) -> pd.Series:
    """Mean over dates of `quantile_returns_by_date`: every date counts the same, however many names it has.

    Per date first, because pooled quantiles reward scores that are merely high in good months: +156 bps a day from zero
    skill in one simulation. NaN dates are skipped; a quantile that never had a label is NaN.
    """
    table = quantile_returns_by_date(scores, labels, n)
    values = table.to_numpy()
    return pd.Series(_row_mean(values.T, np.isfinite(values.T)), index=table.columns, name="mean_return")


def score_autocorrelation(scores: pd.DataFrame, lag: int = 1) -> pd.Series:
    """Rank correlation of each date's scores with those of `lag` dates before, over the names in both.

    The first `lag` dates are NaN. High means slow scores and low turnover; a sudden drop means that something upstream
    changed.
    """
    return information_coefficient(scores, scores.shift(lag))["rank_ic"].rename("score_autocorrelation")


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks 1 … n within each row, ties sharing their average, NaN staying NaN. values : (n_rows, n_columns), finite or
    NaN.
    """
    n_rows, n_columns = values.shape
    if not values.size:
        return np.full(values.shape, np.nan)
    order = np.argsort(values, axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    starts = np.ones(values.shape, dtype=bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    group = np.cumsum(starts.ravel()) - 1
    first = np.flatnonzero(starts.ravel())
    size = np.diff(np.append(first, values.size))
    mean_rank = first % n_columns + 0.5 * (size + 1)
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, mean_rank[group].reshape(n_rows, n_columns), axis=1)
    return np.where(np.isnan(values), np.nan, ranks)


# --- inside -----------------------------------------------------------------------------------------------------------


def _values(returns) -> np.ndarray:
    """The numbers of one series, NaN left out; an infinite one makes every result NaN."""
    r = np.asarray(returns, dtype="float64")
    if r.ndim != 1:
        raise DataError(f"a metric takes one series of returns, not an array of shape {r.shape}")
    r = r[~np.isnan(r)]
    return r if np.isfinite(r).all() else np.full(len(r), np.nan)


def _is_constant(x: np.ndarray) -> bool:
    """True if the values differ by no more than rounding."""
    return not (np.ptp(x) > _ROUNDING * np.abs(x).max() and x.std() > 0)


def _sharpe_per_period(r: np.ndarray) -> float:
    """mean/std(ddof=1), NaN where undefined."""
    if len(r) < 2 or _is_constant(r):
        return np.nan
    return float(r.mean() / r.std(ddof=1))


def _standardised_moment(r: np.ndarray, power: int) -> float:
    """mean(((r − mean)/std(ddof=0))^power)."""
    if len(r) < 2 or _is_constant(r):
        return np.nan
    return float(np.mean(((r - r.mean()) / r.std()) ** power))


def _matched(scores: pd.DataFrame, labels: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Both tables as float64 arrays, with the dates and symbols of `scores`; infinite counts as missing."""
    for name, table in (("scores", scores), ("labels", labels)):
        if not (table.index.is_unique and table.columns.is_unique):
            raise DataError(f"{name} must have each date and each symbol once")
    same = labels.index.equals(scores.index) and labels.columns.equals(scores.columns)
    right = labels if same else labels.reindex(index=scores.index, columns=scores.columns)
    pair = (scores.to_numpy(dtype="float64"), right.to_numpy(dtype="float64"))
    left, right = (np.where(np.isfinite(values), values, np.nan) for values in pair)
    return left, right


def _row_mean(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean of the masked values of each row, NaN where the row has none."""
    count = mask.sum(axis=1)
    total = np.where(mask, values, 0.0).sum(axis=1)
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def _row_correlation(left: np.ndarray, right: np.ndarray, mask: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Pearson correlation within each row over the mask; NaN below three values or where one side is constant."""
    x = np.where(mask, left - _row_mean(left, mask)[:, None], 0.0)
    y = np.where(mask, right - _row_mean(right, mask)[:, None], 0.0)
    scale = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    flat = _is_flat(x, left, mask) | _is_flat(y, right, mask)
    defined = (count >= 3) & ~flat & (scale > 0)
    return np.divide((x * y).sum(axis=1), scale, out=np.full(len(x), np.nan), where=defined)


def _is_flat(centred: np.ndarray, values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Rows whose values differ by no more than rounding."""
    if not values.shape[1]:
        return np.ones(len(values), dtype=bool)
    size = np.where(mask, np.abs(values), 0.0).max(axis=1)
    return ~(np.abs(centred).max(axis=1) > _ROUNDING * size)
