"""Rolling operators over (n_dates, n_symbols) arrays: the small set of functions that all features are written in.

All of them share these rules. Row t of the result uses rows t-n+1 … t and no later one. A NaN or an infinite
value counts as missing; a window answers only with `enough(n)` values in it, two thirds of its length, and nothing is
filled forward. Arrays are C-contiguous float64, one column per symbol, and columns never meet.
"""

from math import ceil
from typing import NamedTuple

import numpy as np

from openbook.signals import kernels


class Fit(NamedTuple):
    """A rolling straight line y = a + slope · x; three arrays (n_dates, n_symbols)."""

    slope: np.ndarray
    residual: np.ndarray  # standard deviation around the line, n - 2 degrees of freedom
    correlation: np.ndarray


def enough(n: int) -> int:
    """How many values a window of n needs before it answers: two thirds of them."""
    return ceil(2 * n / 3)


def lag(x: np.ndarray, n: int) -> np.ndarray:
    """x as it was n sessions earlier; the first n rows are NaN."""
    out = np.full_like(x, np.nan)
    out[n:] = x[: max(len(x) - n, 0)]
    return out


def change(x: np.ndarray, n: int) -> np.ndarray:
    """x[t] / x[t-n] - 1; NaN unless both are there."""
    return x / lag(x, n) - 1.0


def mean(x: np.ndarray, n: int, least: int | None = None) -> np.ndarray:
    """Mean of the last n rows; `least` values suffice where x is missing by design."""
    return kernels.rolling_mean(x, n, enough(n) if least is None else least)


def std(x: np.ndarray, n: int) -> np.ndarray:
    """Standard deviation of the last n rows, n - 1 degrees of freedom; exactly 0 if nothing moved."""
    return kernels.rolling_std(x, n, max(enough(n), 2))


def skew(x: np.ndarray, n: int) -> np.ndarray:
    """Skewness of the last n rows, corrected for bias as in pandas; NaN if nothing moved."""
    return kernels.rolling_skew(x, n, max(enough(n), 3))


def highest(x: np.ndarray, n: int) -> np.ndarray:
    """Largest of the last n rows."""
    return kernels.rolling_highest(x, n, enough(n), 1.0)


def lowest(x: np.ndarray, n: int) -> np.ndarray:
    """Smallest of the last n rows."""
    return kernels.rolling_highest(x, n, enough(n), -1.0)


def fit(y: np.ndarray, x: np.ndarray, n: int) -> Fit:
    """Least-squares line of y on x over the last n rows, from the rows that have both."""
    return Fit(*kernels.rolling_fit(y, x, n, max(enough(n), 3)))


def correlation(y: np.ndarray, x: np.ndarray, n: int) -> np.ndarray:
    """Pearson correlation over the last n rows, from the rows that have both; NaN if either stood still."""
    return fit(y, x, n).correlation


def ema(x: np.ndarray, span: int) -> np.ndarray:
    """Mean of all values so far with weights (1 - 2/(span+1))^age, age counted in values; needs `enough(span)` of them.

    The only operator with an endless memory. NaN where x is missing.
    """
    return kernels.exponential_mean(x, 2.0 / (span + 1.0), enough(span))


def seasonal(x: np.ndarray, years: int, ahead: int) -> np.ndarray:
    """Mean of x over the same time of year in the past `years`, looking `ahead` sessions further on in each.

    Row t is the mean of x[t - 252·k + ahead], k = 1 … years, from at least two of them (or one, if years is 1).
    """
    total, count = np.zeros_like(x), np.zeros_like(x)
    for k in range(1, years + 1):
        past = lag(x, 252 * k - ahead)
        known = np.isfinite(past)
        np.add(total, past, out=total, where=known)
        count += known
    return np.where(count >= min(2, years), total, np.nan) / count
