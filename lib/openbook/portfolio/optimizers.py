"""Five optimizers on plain arrays, and the estimates that they need.

The problems are PyPortfolioOpt's (EfficientFrontier.max_sharpe and .min_volatility, HRPOpt); the quadratic ones are
solved by piqp, which is many times faster. Every optimizer takes (expected, covariance, limits, max_iterations) and
returns weights (n,) that meet the limits and add up to limits.exposure, or raises OptimizerError.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from openbook.common import extensions
from openbook.common.errors import OptimizerError, ParameterError
from openbook.portfolio.constraints import (
    MAX_ITERATIONS,
    SLACK,
    Limits,
    NoSolution,
    check_feasible,
    project,
    run_piqp,
    sector_rows,
    settle,
    solve_qp,
)

__all__ = [
    "OPTIMIZERS",
    "Limits",
    "OptimizerStep",
    "check_feasible",
    "equal_weight",
    "expected_returns",
    "hrp",
    "hrp_raw",
    "inverse_vol",
    "max_sharpe",
    "min_volatility",
    "optimize",
    "project",
    "shrunk_covariance",
    "z_scores",
]


# ---- estimates ----


def shrunk_covariance(returns: np.ndarray) -> np.ndarray:
    """Covariance of returns (sessions, n), shrunk toward a multiple of the identity, (n, n), per session.

    Ledoit & Wolf (2004), "A well-conditioned estimator for large-dimensional covariance matrices": the formula of
    scikit-learn's `ledoit_wolf`, divisor n, which refuses NaN, takes 3 to 7 times as long and must be imported. NaN
    counts as the name's own mean, so it adds nothing.
    """
    sessions, n = returns.shape
    missing = np.isnan(returns)
    seen = np.maximum(sessions - missing.sum(axis=0), 1)
    centered = np.where(missing, 0.0, returns)
    centered = np.where(missing, 0.0, centered - centered.sum(axis=0) / seen)
    sample = centered.T @ centered / sessions
    mean = np.trace(sample) / n
    spread = max((sample**2).sum() - n * mean**2, 0.0)
    noise = ((centered**2).sum(axis=1) ** 2).sum() / sessions**2 - (sample**2).sum() / sessions
    share = min(max(noise, 0.0), spread) / spread if spread > 0 else 0.0
    return (1 - share) * sample + share * mean * np.eye(n)


def z_scores(scores: np.ndarray) -> np.ndarray:
    """Scores less their mean, over their standard deviation; all zero if all are equal; NaN stays, uncounted."""
    centered = scores - np.nanmean(scores)
    spread = np.sqrt(np.nanmean(centered**2))
    return centered / spread if spread > 1e-12 else centered * 0.0


def expected_returns(z: np.ndarray, volatility: np.ndarray, ic: float) -> np.ndarray:
    """Expected active return = IC · volatility · z, in the unit of volatility (Grinold 1994, "Alpha is volatility
    times IC times score"): raw scores have no unit, and scaling them must not move the weights."""
    return ic * volatility * z


# ---- the five ways ----


def max_sharpe(
    expected: np.ndarray, covariance: np.ndarray, limits: Limits, max_iterations: int = MAX_ITERATIONS
) -> np.ndarray:
    """Largest expected excess return per unit of volatility, (n,).

    With y = k·w the ratio becomes the quadratic program min y'Σy, expected'y = 1 (Charnes & Cooper 1962; Cornuéjols
    & Tütüncü 2006, §8.2). Raises OptimizerError if no portfolio within the limits expects more than the risk-free rate.
    """
    check_inputs(covariance, limits)
    best = float(np.max(expected))
    if not (best > 0):
        raise OptimizerError("no name has an expected return above the risk-free rate")
    n = len(expected)
    cost = np.zeros((n + 1, n + 1))
    cost[:n, :n] = covariance / np.diag(covariance).mean()
    equal = np.vstack([np.append(expected / best, 0.0), np.append(np.ones(n), -limits.exposure)])
    rows, caps = _limits_of_ratio(limits)
    problem = (cost, np.zeros(n + 1), equal, np.array([1.0, 0.0]))
    try:
        found = run_piqp(problem, (rows, caps), np.full(n + 1, np.inf), max_iterations)
    except NoSolution:
        raise OptimizerError("no feasible portfolio has an expected return above the risk-free rate") from None
    return settle(found[:n] / found[n], limits)


def _limits_of_ratio(limits: Limits) -> tuple[np.ndarray, np.ndarray]:
    """Position and sector limits as rows over (y, k): y_i − upper_i·k ≤ 0; limits that cannot bind are left out."""
    n = len(limits.upper)
    tight = np.flatnonzero(limits.upper < limits.exposure)
    rows, caps = sector_rows(limits, np.minimum(limits.group_sums(limits.upper), limits.exposure))
    rows = np.vstack([np.eye(n)[tight], rows])
    bounds = np.concatenate([limits.upper[tight], caps])
    return np.column_stack([rows, -bounds]), np.zeros(len(bounds))


def min_volatility(
    expected: np.ndarray, covariance: np.ndarray, limits: Limits, max_iterations: int = MAX_ITERATIONS
) -> np.ndarray:
    """Least variance, (n,); `expected` is not used."""
    check_inputs(covariance, limits)
    n = len(covariance)
    cost = covariance / np.diag(covariance).mean()
    ones = np.ones((1, n))
    return settle(solve_qp(cost, np.zeros(n), ones, np.array([limits.exposure]), limits, max_iterations), limits)


def hrp(
    expected: np.ndarray, covariance: np.ndarray, limits: Limits, max_iterations: int = MAX_ITERATIONS
) -> np.ndarray:
    """Hierarchical risk parity, moved to the nearest weights within the limits, (n,); `expected` is not used."""
    check_inputs(covariance, limits)
    return project(limits.exposure * hrp_raw(covariance), limits, max_iterations)


def inverse_vol(
    expected: np.ndarray, covariance: np.ndarray, limits: Limits, max_iterations: int = MAX_ITERATIONS
) -> np.ndarray:
    """Weights in proportion to 1 / volatility, moved to the nearest within the limits, (n,)."""
    check_inputs(covariance, limits)
    raw = 1.0 / np.sqrt(np.diag(covariance))
    return project(limits.exposure * raw / raw.sum(), limits, max_iterations)


def equal_weight(
    expected: np.ndarray, covariance: np.ndarray, limits: Limits, max_iterations: int = MAX_ITERATIONS
) -> np.ndarray:
    """The same weight for each name, moved to the nearest within the limits, (n,); needs no estimate at all."""
    n = len(limits.upper)
    check_feasible(limits)
    return project(np.full(n, limits.exposure / n), limits, max_iterations)


OPTIMIZERS = {
    "max_sharpe": max_sharpe,
    "min_volatility": min_volatility,
    "hrp": hrp,
    "inverse_vol": inverse_vol,
    "equal_weight": equal_weight,
}


def own_optimizer(name: str, given) -> Callable[..., np.ndarray]:
    """An optimizer from what an extension says: a function of (expected, covariance, limits) that returns weights (n,).

    They are moved to the nearest weights within the limits, so that a scheme of one line is enough. Raises
    OptimizerError, so that the next fallback is tried, where it fails or returns anything but n finite numbers.
    """
    if not callable(given):
        raise ParameterError(f"optimizer {name!r} must be a function of expected, covariance and limits")

    def solve(expected, covariance, limits, max_iterations=MAX_ITERATIONS) -> np.ndarray:
        check_inputs(covariance, limits)
        try:
            raw = np.asarray(given(expected, covariance, limits), dtype=np.float64)
        except OptimizerError:
            raise
        except Exception as error:
            raise OptimizerError(f"{name} failed: {type(error).__name__}: {error}") from error
        if raw.shape != limits.upper.shape or not np.isfinite(raw).all():
            raise OptimizerError(f"{name} returned {raw.shape} numbers, not {len(limits.upper)} finite weights")
        return project(raw, limits, max_iterations)

    return solve


extensions.register("OPTIMIZERS", OPTIMIZERS, own_optimizer)


def check_inputs(covariance: np.ndarray, limits: Limits) -> None:
    """Raise OptimizerError naming the names whose risk cannot be estimated, or the limits that cannot be met."""
    check_feasible(limits)
    known = np.isfinite(covariance).all(axis=1) & (np.diag(covariance) > 0)
    if not known.all():
        names = ", ".join(str(limits.symbols[i]) for i in np.flatnonzero(~known)[:5])
        raise OptimizerError(f"cannot estimate a variance for {names}; exclude names without price changes")


def hrp_raw(covariance: np.ndarray) -> np.ndarray:
    """Hierarchical risk parity without limits, (n,), summing to 1 (López de Prado 2016), as PyPortfolioOpt does it:
    correlations rounded to 6 digits, single linkage, halves weighted by the inverse of their variance."""
    from scipy.cluster.hierarchy import linkage  # takes a second to import

    n = len(covariance)
    if n == 1:
        return np.ones(1)
    deviation = np.sqrt(np.diag(covariance))
    correlation = np.round(covariance / np.outer(deviation, deviation), 6)
    distance = np.sqrt(np.clip((1.0 - correlation) / 2.0, 0.0, 1.0))
    order = _leaves(linkage(distance[np.triu_indices(n, 1)], "single"))
    weights = np.empty(n)
    weights[order] = _bisect(covariance[np.ix_(order, order)])
    return weights


def _leaves(links: np.ndarray) -> list[int]:
    """The names from left to right in the tree that `links` describes; scipy's own checks the tree for twice as long
    as the rest of the weights take."""
    below = [[name] for name in range(len(links) + 1)]
    for left, right in links[:, :2].astype(int).tolist():
        below.append(below[left] + below[right])
    return below[-1]


def _bisect(covariance: np.ndarray) -> np.ndarray:
    """Split the ordered names into halves, again and again, each half getting the share of the other's variance."""
    n = len(covariance)
    inverse = 1.0 / np.diag(covariance)
    weighted = covariance * np.outer(inverse, inverse)
    weights, edges = np.ones(n), [0, n]
    while len(edges) <= n:
        halves = [(a, (a + b) // 2, b) for a, b in pairwise(edges) if b - a > 1]
        edges = sorted({*edges, *(middle for _, middle, _ in halves)})
        starts = edges[:-1]
        block = np.add.reduceat(np.add.reduceat(weighted, starts, axis=0), starts, axis=1).diagonal()
        variance = dict(zip(starts, block / np.add.reduceat(inverse, starts) ** 2, strict=True))
        for a, middle, b in halves:
            first, second = variance[a], variance[middle]
            share = 1 - first / (first + second)
            weights[a:middle] *= share
            weights[middle:b] *= 1 - share
    return weights


# ---- the chain ----


@dataclass(frozen=True)
class OptimizerStep:
    """One optimizer that was tried, and what came of it; `reason` is empty for the one that was used."""

    optimizer: str
    outcome: str
    reason: str = ""


def optimize(
    names: tuple[str, ...],
    expected: np.ndarray,
    covariance: np.ndarray,
    limits: Limits,
    max_iterations: int = MAX_ITERATIONS,
) -> tuple[np.ndarray, tuple[OptimizerStep, ...]]:
    """Weights of the first optimizer in `names` that succeeds, and the chain of those tried.

    Raises OptimizerError at once if the limits cannot be met, and with the reason of each if all of them fail: there
    is no silent equal weight.
    """
    check_feasible(limits)
    if not (limits.exposure > SLACK):
        return np.zeros(len(limits.upper)), (OptimizerStep("cash", "used", "exposure is zero"),)
    steps: list[OptimizerStep] = []
    for name in dict.fromkeys(names):
        try:
            weights = OPTIMIZERS[name](expected, covariance, limits, max_iterations)
        except OptimizerError as error:
            steps.append(OptimizerStep(name, "failed", str(error)))
        else:
            return weights, (*steps, OptimizerStep(name, "used"))
    raise OptimizerError("no optimizer succeeded: " + "; ".join(f"{step.optimizer}: {step.reason}" for step in steps))
