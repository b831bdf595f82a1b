"""The limits of a portfolio on plain arrays, whether they can be met, and the nearest weights that meet them."""

from dataclasses import dataclass, replace

import numpy as np
import piqp

from openbook.common.errors import OptimizerError

MAX_ITERATIONS = 250
# The solver leaves about 1e-12 in a name that it does not want; on a billion USD this threshold is 100 USD.
CRUMB = 1e-7
SLACK = 1e-12


class NoSolution(OptimizerError):
    """The solver proved that nothing meets the constraints."""


@dataclass(frozen=True, eq=False)
class Limits:
    """Long only; every limit is an upper one, so that giving weight up never breaks a limit.

    upper : (n,) largest weight of each name
    groups : (n,) integer code of each name's sector
    caps : (n_groups,) largest total weight of each sector
    exposure : total weight of all names; the rest is cash
    symbols, group_names : what to call them in a message
    """

    upper: np.ndarray
    groups: np.ndarray
    caps: np.ndarray
    exposure: float
    symbols: tuple[str, ...]
    group_names: tuple[str, ...]

    @property
    def room(self) -> np.ndarray:
        """Most weight that each sector can hold, (n_groups,): its cap, or what its names can hold together."""
        return np.minimum(self.caps, self.group_sums(self.upper))

    @property
    def reachable(self) -> float:
        """Most weight that all names can hold together."""
        return float(self.room.sum())

    def group_sums(self, weights: np.ndarray) -> np.ndarray:
        """Total weight of each sector, (n_groups,)."""
        return np.bincount(self.groups, weights, len(self.caps))

    def excess(self, weights: np.ndarray) -> float:
        """By how much the worst broken limit is broken; 0 if all hold, NaN if a weight is."""
        over = (-weights, weights - self.upper, self.group_sums(weights) - self.caps, [weights.sum() - self.exposure])
        return float(np.maximum(np.max(np.concatenate(over)), 0.0))

    def with_exposure(self, exposure: float) -> "Limits":
        """The same limits at another total."""
        return replace(self, exposure=exposure)


def check_feasible(limits: Limits) -> None:
    """Raise OptimizerError (50), naming the limit and the way out, if no weights add up to the exposure."""
    n, need = len(limits.upper), limits.exposure
    if not (np.isfinite(limits.upper).all() and np.isfinite(limits.caps).all() and np.isfinite(need)):
        raise OptimizerError("a limit is NaN; every limit needs a value")
    if n == 0 and need > 0:
        raise OptimizerError("no eligible names: none has a score, a price on this session and enough history")
    if limits.reachable >= need - SLACK:
        return
    total = limits.upper.sum()
    if not (total >= need - SLACK):
        most = limits.upper.max()
        sum_of = (
            f"{n} names × max_weight {most:.4g}" if (limits.upper == most).all() else f"position limits of {n} names"
        )
        raise OptimizerError(
            f"{sum_of} = {total:.4g} < exposure {need:.4g}; raise top_n or max_weight, or set cash_absorbs"
        )
    full = [f"{limits.group_names[g]} {limits.room[g]:.4g}" for g in np.flatnonzero(limits.room > 0)]
    raise OptimizerError(
        f"sector limits leave room for {limits.reachable:.4g} < exposure {need:.4g} ({', '.join(full)}); "
        "raise max_sector_weight or top_n, or set cash_absorbs"
    )


def reduce_to(weights: np.ndarray, limits: Limits, fixed: np.ndarray | None = None) -> np.ndarray:
    """The weights cut down until every limit holds; no weight rises. The least that has to be sold, in total.

    A name over its limit is cut to it, a sector over its cap is scaled down in proportion, then the whole.
    fixed : (n,) names that must stay as they are; the others give way, down to zero if need be
    """
    fixed = np.zeros(len(weights), dtype=bool) if fixed is None else fixed
    out = np.where(fixed, weights, np.clip(weights, 0.0, limits.upper))
    moving = np.where(fixed, 0.0, out)
    stay = out - moving
    moving *= _scale(limits.group_sums(moving), limits.caps - limits.group_sums(stay))[limits.groups]
    moving *= _scale(moving.sum(), limits.exposure - stay.sum())
    return stay + moving


def _scale(total, room):
    """Factor ≤ 1 that brings total down to room, 0 where there is none.

    A hair below it, so that the sum is within the room in whatever order it is added up.
    """
    room = np.maximum(room, 0.0)
    over = total > room
    return np.where(over, (1 - 1e-13) * room / np.where(over, total, 1.0), 1.0)


def project(weights: np.ndarray, limits: Limits, max_iterations: int = MAX_ITERATIONS) -> np.ndarray:
    """The nearest weights (least squares) that meet every limit and add up to the exposure, (n,).

    Weights that already do come back as they are. Raises OptimizerError if the limits cannot be met.
    """
    check_feasible(limits)
    off = abs(weights.sum() - limits.exposure)
    if off <= SLACK and limits.excess(weights) <= SLACK:
        return reduce_to(weights, limits)
    n = len(weights)
    found = solve_qp(np.eye(n), -weights, np.ones((1, n)), np.array([limits.exposure]), limits, max_iterations)
    return settle(found, limits)


def settle(weights: np.ndarray, limits: Limits) -> np.ndarray:
    """A solver's weights without its crumbs and within the limits to the last digit; what is left over is cash.

    Raises OptimizerError if that is more than rounding.
    """
    out = reduce_to(np.where(weights > CRUMB * limits.exposure, weights, 0.0), limits)
    missing = limits.exposure - out.sum()
    if not (abs(missing) <= 1e-5):
        raise OptimizerError(f"the solver left {missing:.2g} of the portfolio unassigned")
    return out


def sector_rows(limits: Limits, bound: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (k, n) and caps (k,) of the sectors whose cap is below `bound`, (n_groups,): the others cannot bind."""
    can_bind = np.flatnonzero(limits.caps < bound)
    rows = (limits.groups[None, :] == can_bind[:, None]).astype(float)
    return rows, limits.caps[can_bind]


def solve_qp(cost, linear, equal, target, limits: Limits, max_iterations: int) -> np.ndarray:
    """Minimize ½ x'·cost·x + linear'x with equal·x = target and x within the position and sector limits, (n,)."""
    rows, caps = sector_rows(limits, np.minimum(limits.group_sums(limits.upper), limits.exposure))
    return run_piqp((cost, linear, equal, target), (rows, caps), limits.upper, max_iterations)


def run_piqp(problem, inequality, upper, max_iterations: int) -> np.ndarray:
    """Solve a dense QP over 0 ≤ x ≤ upper by piqp's interior point method, (n,).

    problem : (P, c, A, b) of ½ x'Px + c'x, Ax = b; inequality : (G, h) of Gx ≤ h, with no rows if there are none
    Raises NoSolution if there is none, OptimizerError with the solver's own verdict if it did not get there.
    """
    cost, linear, equal, target = problem
    rows, caps = inequality if len(inequality[1]) else (None, None)
    solver = piqp.DenseSolver()
    solver.settings.max_iter = max_iterations
    solver.settings.eps_abs = solver.settings.eps_duality_gap_abs = 1e-10
    rows = None if rows is None else np.asfortranarray(rows)
    cost, equal = np.asfortranarray(cost), np.asfortranarray(equal)
    solver.setup(cost, linear, equal, target, rows, None, caps, np.zeros(len(linear)), upper)
    status = solver.solve()
    if status == piqp.PIQP_PRIMAL_INFEASIBLE:
        raise NoSolution("infeasible: the solver found no weights that satisfy the constraints")
    if status != piqp.PIQP_SOLVED:
        ending = status.name.removeprefix("PIQP_").lower().replace("_", " ")
        raise OptimizerError(f"the solver ended with '{ending}' after {solver.result.info.iter} iterations")
    return np.array(solver.result.x)
