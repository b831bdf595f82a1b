"""Is it luck? Sharpe ratios deflated for the trials, overfitting, and intervals that keep the order of days."""

from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist

import numpy as np
import pandas as pd

from openbook.common.constants import SESSIONS_A_YEAR
from openbook.common.errors import ParameterError
from openbook.metrics.returns import ROUNDING, is_constant, known, kurtosis, sharpe_per_period, skewness

EULER_GAMMA = 0.5772156649015329
FEWEST = 16  # fewest sessions for inference on the order of days
_CHUNK = 250  # draws at a time, so that they fit the processor's cache
_NORMAL = NormalDist()


def probabilistic_sharpe(returns, benchmark: float = 0.0) -> float:
    """Probability that the true Sharpe ratio exceeds `benchmark`, both per period (Bailey & López de Prado 2012).

    NaN periods are skipped; undefined Sharpe gives NaN. Too optimistic with autocorrelated returns, and whenever the
    series was chosen among several: that is what `deflated_sharpe` is for.
    """
    r = known(returns)
    return sharpe_confidence(sharpe_per_period(r), len(r), skewness(r), kurtosis(r), benchmark)


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


def effective_trials(returns: pd.DataFrame) -> float:
    """Number of independent trials that M correlated ones are worth, ρ̂ + (1 − ρ̂)·M, between 1 and M.

    returns : sessions × combination. ρ̂ is the mean correlation between two different ones, clipped to [0, 1]; each pair
    uses the sessions that both have. A combination whose correlations are undefined counts as independent; no
    combination at all gives NaN. Bailey & López de Prado (2014), The Deflated Sharpe Ratio, appendix 3. Too low, so too
    optimistic, when two crowds of combinations differ: one mean correlation describes neither.
    """
    number = returns.shape[1]
    if number < 2:
        return float(number) if number else np.nan
    flat = [is_constant(known(column)) if column.notna().any() else True for _, column in returns.items()]
    correlation = returns.corr().mask(np.eye(number, dtype=bool)).to_numpy(copy=True)
    correlation[flat, :] = correlation[:, flat] = 0.0
    pairs = correlation[~np.eye(number, dtype=bool)]
    mean = float(np.clip(np.where(np.isfinite(pairs), pairs, 0.0).mean(), 0.0, 1.0))
    return mean + (1.0 - mean) * number


# --- how long is long enough? -----------------------------------------------------------------------------------------


def minimum_track_record_length(returns, benchmark: float = 0.0, confidence: float = 0.95) -> float:
    """Sessions that a Sharpe ratio like this one must last before `probabilistic_sharpe` reaches `confidence`.

    benchmark : Sharpe ratio to exceed, per period. NaN periods are skipped. A Sharpe ratio at or below the benchmark is
    never long enough: NaN, not infinity. Too short when the series is the best of many trials, or autocorrelated.
    """
    r = known(returns)
    return track_record_length(sharpe_per_period(r), skewness(r), kurtosis(r), benchmark, confidence)


def track_record_length(sharpe: float, skew: float, kurt: float, benchmark: float, confidence: float) -> float:
    """1 + (1 − γ3·SR + (γ4−1)/4·SR²)·(Φ⁻¹(confidence)/(SR − SR*))²; Sharpe ratios per period, γ4 raw (normal: 3).

    Bailey & López de Prado (2012), The Sharpe Ratio Efficient Frontier. NaN in, NaN out; SR ≤ SR*: NaN.
    """
    if not 0.5 < confidence < 1:
        raise ParameterError(f"confidence must be between 0.5 and 1, not {confidence}")
    spread = 1.0 - skew * sharpe + (kurt - 1.0) / 4.0 * sharpe**2
    if not (sharpe > benchmark and spread > 0):
        return np.nan
    return float(1.0 + spread * (_NORMAL.inv_cdf(confidence) / (sharpe - benchmark)) ** 2)


# --- an interval that keeps the order of days -------------------------------------------------------------------------


def stationary_bootstrap_interval(
    returns, *, level: float = 0.95, draws: int = 2000, mean_block: float | None = None, seed: int
) -> tuple[float, float]:
    """Percentile interval (low, high) of the annualized mean of one series, mean·252 (Politis & Romano 1994).

    returns : by session in order, usually a difference of two strategies
    mean_block : mean length of the blocks that are drawn, in sessions; None: `optimal_block_length`

    NaN sessions are dropped, the rest taken as neighbors. Fewer than 16 sessions, or a constant series, give NaN. Too
    narrow on short samples (a year holds few independent blocks), and when the series is the best of many.
    The law of arch's StationaryBootstrap (a test says so), ten times faster and without its seconds of import.
    """
    r = known(returns)
    if not (0 < level < 1 and draws >= 1 and (mean_block is None or mean_block >= 1)):
        raise ParameterError("level must be between 0 and 1, draws and mean_block at least 1")
    if len(r) < FEWEST or is_constant(r):
        return np.nan, np.nan
    means = _bootstrap_means(r[:, None], optimal_block_length(r) if mean_block is None else mean_block, draws, seed)
    low, high = np.quantile(means, [(1.0 - level) / 2.0, (1.0 + level) / 2.0]) * SESSIONS_A_YEAR
    return float(low), float(high)


def stationary_bootstrap_indices(n: int, *, length: int, draws: int, mean_block: float, seed: int) -> np.ndarray:
    """Which of n sessions in order make up each resample, (draws, length), integers from 0 to n−1 (Politis & Romano
    1994).

    Blocks of geometric length, `mean_block` sessions on average, begin anywhere and run on past the end to the start.
    """
    if not (n >= 1 and length >= 1 and draws >= 1 and mean_block >= 1):
        raise ParameterError("n, length, draws and mean_block must be at least 1")
    starts, begins, ends = _blocks(np.random.default_rng(seed), n, length, mean_block, draws)
    shift = np.repeat((starts - begins).ravel(), (ends - begins).ravel()).reshape(draws, length)
    return (shift + np.arange(length)) % n


def simultaneous_lows(returns, *, level: float = 0.95, draws: int = 2000, seed: int) -> pd.Series:
    """Lower ends of the annualized means of several series that all hold at once, by column; a year.

    returns : sessions × series, usually what each strategy earned above one benchmark; only sessions that all have

    With probability (1 + level)/2 no true mean is below its end, so the best of all may be judged by its own: the
    largest studentized deviation over the series, in resamples that they share, takes the place of each one's (White
    2000, A Reality Check for Data Snooping; Romano & Wolf 2005). Series that move together cost little, independent
    ones much. A constant series, or fewer than 16 sessions, gives NaN. Too low a bar when more was tried than is here.
    Not arch's StepM, which names the series that win without an interval, and (8.0.0) ignores `studentize`.
    """
    x = returns.dropna().to_numpy(dtype="float64")
    lows = pd.Series(np.nan, index=returns.columns, name="low")
    moving = np.array([len(x) >= FEWEST and not is_constant(column) for column in x.T], dtype=bool)
    if not moving.any():
        return lows
    x = x[:, moving]
    block = max(optimal_block_length(column) for column in x.T)
    gap = _bootstrap_means(x, block, draws, seed) - x.mean(axis=0)
    error = gap.std(axis=0, ddof=1)
    reach = np.quantile((gap / error).max(axis=1), (1.0 + level) / 2.0)
    lows[moving] = (x.mean(axis=0) - reach * error) * SESSIONS_A_YEAR
    return lows


def optimal_block_length(returns) -> float:
    """Mean block length, in sessions and at least 1, for the stationary bootstrap of a mean.

    Politis & White (2004) with the correction of Patton, Politis & White (2009), the bandwidth found as in the authors'
    program: twice the first lag that begins a run of max(5, log10 n) insignificant autocorrelations. NaN sessions are
    dropped. Fewer than 16 sessions or a constant series give NaN.
    """
    x = known(returns)
    n = len(x)
    if n < FEWEST or is_constant(x):
        return np.nan
    run = max(5, int(np.log10(n)))
    most = int(np.ceil(np.sqrt(n))) + run
    covariance, correlation = _autocovariance(x - x.mean(), most)
    quiet = correlation < 2.0 * np.sqrt(np.log10(n) / n)
    begins = [lag for lag in range(1, most - run + 1) if quiet[lag : lag + run].all()]
    bandwidth = min(2 * begins[0], most) if begins else most
    lags = np.arange(1, bandwidth + 1)
    weight = np.minimum(1.0, 2.0 * (1.0 - lags / bandwidth))  # flat top: 1 to the half, then down to 0
    slope = 2.0 * np.sum(weight * lags * covariance[lags])
    variance = covariance[0] + 2.0 * np.sum(weight * covariance[lags])
    best = np.cbrt(n * (slope / variance) ** 2) if variance != 0 else np.inf
    return float(np.clip(best, 1.0, np.ceil(min(3.0 * np.sqrt(n), n / 3.0))))


def _autocovariance(gap: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Autocovariance (divisor n) and absolute autocorrelation (by the two stretches' own sizes) at lags 0 … `most`."""
    n = len(gap)
    products = np.array([gap[lag:] @ gap[: n - lag] for lag in range(most + 1)])
    sizes = [(gap[lag + 1 :] @ gap[lag + 1 :]) * (gap[: n - lag - 1] @ gap[: n - lag - 1]) for lag in range(most + 1)]
    size = np.sqrt(sizes)
    return products / n, np.divide(np.abs(products), size, out=np.ones(most + 1), where=size > 0)


def _bootstrap_means(x: np.ndarray, mean_block: float, draws: int, seed: int) -> np.ndarray:
    """Means of `draws` samples of x (n, k), the same sessions in each column, (draws, k): blocks of geometric length
    that begin anywhere and run on past the end.

    The sum of a block is a difference of two running sums, so a block costs the same however long it is.
    """
    rng, (n, k) = np.random.default_rng(seed), x.shape
    running = np.column_stack([np.zeros(k), np.cumsum(np.hstack([x.T, x.T]), axis=1)])
    means = np.empty((draws, k))
    for done in range(0, draws, _CHUNK):
        starts, begins, ends = _blocks(rng, n, n, mean_block, min(_CHUNK, draws - done))
        stops = starts + ends - begins
        for column, line in enumerate(running):
            means[done : done + _CHUNK, column] = (line[stops] - line[starts]).sum(axis=1) / n
    return means


def _blocks(rng, n: int, length: int, mean_block: float, draws: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Blocks of `draws` samples of `length` from n sessions, (draws, blocks): where each starts among the n, and where
    it begins and ends in the sample; those that are not needed are empty."""
    chance = 1.0 / mean_block
    blocks = int(length * chance + 8.0 * np.sqrt(length * chance * (1.0 - chance))) + 9
    ends = np.minimum(np.cumsum(rng.geometric(chance, (draws, min(blocks, length))), axis=1), length)
    ends[:, -1] = length  # the last is stretched once in 1e15
    begins = np.concatenate([np.zeros((draws, 1), dtype=ends.dtype), ends[:, :-1]], axis=1)
    return rng.integers(0, n, ends.shape), begins, ends


# --- would the winner of one half win the other? ----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Overfitting:
    """How the best of one half of history does in the other, over every way to halve it.

    pbo : share of the splits in which it is at or below the median there; NaN with nothing to choose from
    logits : (splits,), ln(ω/(1−ω)) of its relative rank ω there; splits : how many there were
    slope : of its Sharpe ratio there on the one that chose it; loss : share of the splits in which it lost money there
    """

    pbo: float
    logits: np.ndarray
    splits: int
    slope: float
    loss: float


def probability_of_backtest_overfitting(returns: pd.DataFrame, *, blocks: int = 16) -> Overfitting:
    """Probability of backtest overfitting by combinatorially symmetric cross-validation, Sharpe ratio as performance.

    returns : sessions × combination; `blocks` (even) stretches of equal length, differing by one session at most,
    make C(blocks, blocks/2) halves: 12,870 of 16. A NaN session counts for nothing in its combination; a combination
    without a Sharpe ratio ranks last. Equal ones share their rank. Fewer than two combinations, or two sessions a
    block, give NaN. Bailey, Borwein, López de Prado & Zhu (2017). Half of noise's splits are above the median, so
    skill shows well below 0.5; an odd number of combinations errs on the safe side, the median itself counting as
    below. Too optimistic when only the survivors of an earlier choice are compared.
    """
    if not (isinstance(blocks, int | np.integer) and 2 <= blocks <= 20 and blocks % 2 == 0):
        raise ParameterError(f"blocks must be an even number from 2 to 20, not {blocks!r}")
    r = returns.to_numpy(dtype="float64")
    if r.shape[1] < 2 or len(r) < 2 * blocks:
        return Overfitting(np.nan, np.empty(0), 0, np.nan, np.nan)
    sums = _block_sums(r, blocks)
    halves = np.zeros((len(list(combinations(range(blocks), blocks // 2))), blocks))
    for row, half in enumerate(combinations(range(blocks), blocks // 2)):
        halves[row, half] = 1.0
    inside = _sharpes(*(halves @ part for part in sums))
    outside = _sharpes(*((1.0 - halves) @ part for part in sums))
    return _judge_splits(inside, outside)


def _block_sums(r: np.ndarray, blocks: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number, sum and sum of squares of the known returns, each (blocks, combinations)."""
    filled, known_ones = np.where(np.isfinite(r), r, 0.0), np.isfinite(r).astype(float)
    starts = [stretch[0] for stretch in np.array_split(np.arange(len(r)), blocks)]
    n, total, squares = (np.add.reduceat(part, starts, axis=0) for part in (known_ones, filled, filled**2))
    return n, total, squares


def _sharpes(count: np.ndarray, total: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Sharpe ratio per period from sums, NaN where it is undefined; shapes alike."""
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
        variance = (squares - count * mean**2) / (count - 1.0)
        return np.where((count > 1) & (variance > ROUNDING * squares / count), mean / np.sqrt(variance), np.nan)


def _judge_splits(inside: np.ndarray, outside: np.ndarray) -> Overfitting:
    """What became of the best of each split; Sharpe ratios inside and outside, (splits, combinations)."""
    every, number = np.arange(len(inside)), inside.shape[1]
    best = np.where(np.isnan(inside), -np.inf, inside).argmax(axis=1)
    there = np.where(np.isnan(outside), -np.inf, outside)
    mine = there[every, best][:, None]
    rank = (there < mine).sum(axis=1) + ((there == mine).sum(axis=1) + 1.0) / 2.0
    logits = np.log(rank / (number + 1.0 - rank))
    chosen, after = inside[every, best], outside[every, best]
    both = np.isfinite(chosen) & np.isfinite(after)
    line = np.polyfit(chosen[both], after[both], 1)[0] if both.any() and not is_constant(chosen[both]) else np.nan
    return Overfitting(float(np.mean(logits <= 0)), logits, len(logits), float(line), float(np.mean(~(after >= 0))))
