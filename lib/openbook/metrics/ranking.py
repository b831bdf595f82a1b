"""Scores against the returns that followed, date by date."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from openbook.common.errors import DataError, ParameterError
from openbook.common.ranks import average_ranks
from openbook.metrics.returns import ROUNDING, is_constant, known, sharpe_per_period


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
    """Mean over standard deviation (ddof=1) of per-date coefficients; not annualized. NaN dates are skipped.

    Too optimistic with labels longer than one session: neighbors overlap, so there are fewer independent dates than
    rows. `newey_west_t` accounts for it.
    """
    return sharpe_per_period(known(ic))


def newey_west_error(series, lags: int) -> float:
    """Standard error of the mean with a Bartlett-kernel long-run variance (Newey & West 1987), no small-sample factor.

    lags : at least the label's horizon. NaN periods are skipped, the rest taken as neighbors. A constant series or
    fewer than two values give NaN. Too small with few lags or few dates (below about 10 per lag).
    """
    x = known(series)
    if not (isinstance(lags, int | np.integer) and lags >= 0):
        raise ParameterError(f"lags must be a whole number of at least 0, not {lags!r}")
    if len(x) < 2 or is_constant(x):
        return np.nan
    gap = x - x.mean()
    covariance = [gap[lag:] @ gap[: len(gap) - lag] for lag in range(min(lags, len(x) - 1) + 1)]
    weight = 1.0 - np.arange(1, len(covariance)) / (lags + 1.0)
    variance = (covariance[0] + 2.0 * np.dot(weight, covariance[1:])) / len(x) ** 2
    return float(np.sqrt(variance)) if variance > 0 else np.nan


def newey_west_t(series, lags: int) -> float:
    """t statistic of the mean, the mean by its `newey_west_error`. NaN where that is; too optimistic where it is too
    small.
    """
    error = newey_west_error(series, lags)
    return float(known(series).mean() / error) if np.isfinite(error) else np.nan


def rolling_ic(rank_ic: pd.Series, window: int, lags: int) -> pd.DataFrame:
    """Trailing mean of per-date coefficients with its error: columns rank_ic, mean, error, by signal date.

    rank_ic : by signal date, oldest first, matured dates only
    error : `newey_west_error` of the window's mean; the band that a chart draws is mean ± error, about two thirds sure

    A NaN date counts for nothing in its window. The first window − 1 dates, and windows with fewer than two
    coefficients, are NaN. Too narrow where window is below about 10 · lags: 20 dates of a 5-session label are four
    independent ones.
    """
    if not window >= 2:
        raise ParameterError(f"window must be at least 2 dates, not {window}")
    values = rank_ic.to_numpy(dtype="float64")
    mean, error = np.full(len(values), np.nan), np.full(len(values), np.nan)
    for end in range(window, len(values) + 1):
        x = known(values[end - window : end])
        if len(x) >= 2:
            mean[end - 1], error[end - 1] = x.mean(), newey_west_error(x, lags)
    return pd.DataFrame({"rank_ic": values, "mean": mean, "error": error}, index=rank_ic.index)


def alpha_decay(scores: pd.DataFrame, labels: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """How long scores stay true: columns rank_ic, error, n_dates, one row per horizon, in ascending order.

    labels : horizon in sessions → labels of that horizon, dates × symbols, NaN where not matured

    Each horizon is judged on its own matured dates, so a longer one on fewer; error is the `newey_west_error` with as
    many lags as the horizon has sessions. No matured date: NaN and 0. Horizons share their first days: a flat line
    means that the first days did it all or that the signal lasts, and the returns per session show which.
    """
    rows = []
    for horizon in sorted(labels):
        rank_ic = information_coefficient(scores, labels[horizon])["rank_ic"].dropna()
        mean = rank_ic.mean() if len(rank_ic) else np.nan
        rows.append((mean, newey_west_error(rank_ic, horizon), len(rank_ic)))
    index = pd.Index(sorted(labels), name="horizon", dtype="int64")
    table = pd.DataFrame(rows, index=index, columns=["rank_ic", "error", "n_dates"])
    return table.astype({"rank_ic": "float64", "error": "float64", "n_dates": "int64"})


def quantile_returns_by_date(scores: pd.DataFrame, labels: pd.DataFrame, n: int = 5) -> pd.DataFrame:
    """Mean label of each score quantile, one row per date of `scores`, columns 1 (worst) … n (best).

    Quantiles are cut among all names scored that date, labeled or not: at the decision it is unknown which names will
    lack a label. Ties stay together. Dates with fewer than n scores, and quantiles without a label, are NaN.
    """
    if not n >= 2:
        raise ParameterError(f"n must be at least 2 quantiles, not {n}")
    left, right = _matched(scores, labels)
    ranks, count = average_ranks(left), np.isfinite(left).sum(axis=1)
    bucket = np.floor((ranks - 0.5) * n / np.maximum(count, 1)[:, None])
    bucket[count < n] = np.nan
    means = [_row_mean(right, (bucket == quantile) & np.isfinite(right)) for quantile in range(n)]
    return pd.DataFrame(np.column_stack(means), index=scores.index, columns=pd.RangeIndex(1, n + 1, name="quantile"))


def cumulative_quantile_returns(scores: pd.DataFrame, labels: pd.DataFrame, horizon: int, n: int = 5) -> pd.DataFrame:
    """What each score quantile has earned by signal date, columns 1 (worst) … n (best): running sum of the mean label
    over its horizon.

    It is the sum of `horizon` sleeves of equal money, one of them renewed each session, without compounding or costs:
    labels of neighboring dates share horizon − 1 sessions, and compounding them would count each session many times.
    NaN dates stay NaN and add nothing.
    """
    if not horizon >= 1:
        raise ParameterError(f"horizon must be at least 1 session, not {horizon}")
    return quantile_returns_by_date(scores, labels, n).cumsum() / horizon


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


# ---- inside ----


def _matched(scores: pd.DataFrame, labels: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Both tables as float64 arrays, with the dates and symbols of `scores`; infinite counts as missing."""
    for name, table in (("scores", scores), ("labels", labels)):
        if not (table.index.is_unique and table.columns.is_unique):
            raise DataError(f"{name} must have each date and each symbol once")
    same = labels.index.equals(scores.index) and labels.columns.equals(scores.columns)
    right = labels if same else labels.reindex(index=scores.index, columns=scores.columns)
    pair = (scores.to_numpy(dtype="float64"), right.to_numpy(dtype="float64"))
    one, other = (np.where(np.isfinite(values), values, np.nan) for values in pair)
    return one, other


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


def _is_flat(centered: np.ndarray, values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Rows whose values differ by no more than rounding."""
    if not values.shape[1]:
        return np.ones(len(values), dtype=bool)
    size = np.where(mask, np.abs(values), 0.0).max(axis=1)
    return ~(np.abs(centered).max(axis=1) > ROUNDING * size)
