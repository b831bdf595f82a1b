"""One session's decision on plain arrays: the one path for the daily portfolio and every backtest."""

from dataclasses import dataclass
from typing import cast

import numpy as np
from pydantic import Field, field_validator

from openbook.common import extensions
from openbook.common.constants import NORMAL, REGIME_NAMES, RISK_OFF, RISK_ON, SESSIONS_A_YEAR
from openbook.common.errors import OptimizerError
from openbook.common.ranks import average_ranks
from openbook.common.settings import Settings
from openbook.portfolio.constraints import MAX_ITERATIONS, Limits, reduce_to
from openbook.portfolio.optimizers import (
    OPTIMIZERS,
    OptimizerStep,
    expected_returns,
    optimize,
    shrunk_covariance,
    z_scores,
)
from openbook.portfolio.turnover import turnover

HALF_LIVES = 6  # older values weigh less than 2% of the latest
DUST = 1e-12
TOLERANCE = 1e-9


def check_optimizers(names: tuple[str | None, ...]) -> None:
    """Raise ValueError naming an optimizer that does not exist."""
    wanted = {name for name in names if name is not None}
    if not wanted.issubset(OPTIMIZERS):
        extensions.load()
    if unknown := sorted(wanted.difference(OPTIMIZERS)):
        raise ValueError(f"unknown optimizer {unknown[0]!r}; choose from {', '.join(OPTIMIZERS)}")


class RegimeAdaptation(Settings):
    """Settings of one regime; None: the setting of the portfolio applies."""

    exposure: float = Field(1.0, ge=0, le=1, description="fraction invested; the rest is cash")
    max_weight: float | None = Field(None, gt=0, le=1, description="maximum weight of one name in this regime")
    optimizer: str | None = Field(None, description="optimizer in this regime")

    @field_validator("optimizer")
    @classmethod
    def _known(cls, name):
        check_optimizers((name,))
        return name


class PortfolioSettings(Settings):
    """How scores become weights; every number here is a trial when it is tuned.

    Examples
    --------
    >>> ob.PortfolioSettings(optimizer="hrp", top_n=20).top_n
    20
    """

    optimizer: str = Field("max_sharpe", description=f"one of {', '.join(OPTIMIZERS)}")
    fallbacks: tuple[str, ...] = Field(
        ("min_volatility", "inverse_vol"), description="fallback optimizers, tried in order"
    )
    top_n: int = Field(50, ge=1, description="number of names to hold")
    hold_buffer: float = Field(
        2.0, ge=1, description="rank buffer: a held name stays while its rank is at most hold_buffer × top_n"
    )
    score_half_life: float = Field(5.0, ge=0, description="half-life of score smoothing in sessions; 0: no smoothing")
    max_weight: float = Field(0.15, gt=0, le=1, description="maximum weight of one name")
    max_sector_weight: float = Field(0.30, gt=0, le=1, description="maximum total weight of one sector")
    max_turnover: float = Field(
        0.40, gt=0, le=1, description="maximum turnover per rebalance, ½Σ|change|, cash included"
    )
    max_trade: float = Field(0.10, gt=0, le=1, description="maximum increase of one weight per rebalance")
    no_trade_band: float = Field(
        0.002, ge=0, lt=1, description="no-trade band: smaller weight changes are not traded, except exits"
    )
    cash_absorbs: bool = Field(False, description="hold cash if the limits leave no room, instead of failing")
    lookback: int = Field(252, ge=20, description="covariance lookback in sessions")
    min_history: float = Field(0.9, gt=0, le=1, description="minimum fraction of lookback sessions with a price")
    ic: float = Field(0.03, gt=0, lt=1, description="information coefficient assumed in expected returns")
    risk_free: float = Field(0.0, description="annual risk-free rate, subtracted from expected returns")
    rebalance_every: int = Field(5, ge=1, description="rebalancing interval in sessions")
    enable_regime_adaptation: bool = Field(True, description="false: every regime is treated as normal")
    regimes: dict[int, RegimeAdaptation] = Field(
        {RISK_OFF: RegimeAdaptation(exposure=0.5), NORMAL: RegimeAdaptation(), RISK_ON: RegimeAdaptation()},
        description="overrides by regime (0 risk-off, 1 normal, 2 risk-on)",
    )
    solver_iterations: int = Field(MAX_ITERATIONS, ge=1, description="maximum solver iterations")

    @field_validator("optimizer", "fallbacks")
    @classmethod
    def _known(cls, value):
        check_optimizers((value,) if isinstance(value, str) else value)
        return value

    @field_validator("regimes")
    @classmethod
    def _regimes(cls, value):
        unknown = [code for code in value if code not in REGIME_NAMES]
        if unknown:
            raise ValueError(f"unknown regime {unknown[0]}; choose from {REGIME_NAMES}")
        return value

    def rule(self, regime: int) -> RegimeAdaptation:
        """Exposure, position limit and optimizer in force in `regime`, with nothing left open."""
        if regime not in REGIME_NAMES:
            raise OptimizerError(f"unknown regime {regime!r}; choose from {REGIME_NAMES}")
        found = self.regimes.get(regime) if self.enable_regime_adaptation else None
        found = found or RegimeAdaptation()
        tightest = min(self.max_weight, found.max_weight or self.max_weight)
        return RegimeAdaptation(
            exposure=found.exposure, max_weight=tightest, optimizer=found.optimizer or self.optimizer
        )

    @property
    def score_window(self) -> int:
        """Sessions of scores that enter the smoothed score."""
        return max(1, int(np.ceil(HALF_LIVES * self.score_half_life)))


@dataclass(frozen=True, eq=False)
class WeightInputs:
    """What is known at the close of one session, for n symbols in sorted order.

    ranks : (≤ score_window, n) within-date ranks of the scores, oldest first, NaN where none
    close : (≤ lookback + 1, n) adjusted closes, oldest first, NaN where no bar
    held : (n,) weights at this close; what they lack to 1 is cash
    locked : (n,) bool, held names that cannot trade
    sectors : (n,) codes into sector_names; sector_caps False if the source has no sectors
    """

    ranks: np.ndarray
    close: np.ndarray
    held: np.ndarray
    locked: np.ndarray
    sectors: np.ndarray
    sector_names: tuple[str, ...]
    sector_caps: bool
    symbols: np.ndarray
    regime: int


@dataclass(frozen=True, eq=False)
class WeightDecision:
    """What was decided, and every step on the way.

    weights : (n,) final, locked names included; cash is what they lack to 1
    target : (n,) of the optimizer, before the no-trade band and the turnover cap
    score, rank : (n,) smoothed score; rank from 1 among the eligible, 0 if not eligible
    chosen : (k,) positions of the chosen names; expected, covariance : theirs, a year
    limits : of the optimizer, over the chosen; hard : over all n, the hard limits of the weights
    kept : (n,) bool, left alone by the no-trade band; floor : (n,) held weights cut to the limits
    uncapped_turnover : before the cap; trade_fraction : part of the trades that was made, 1 if the cap did not bind
    """

    weights: np.ndarray
    target: np.ndarray
    score: np.ndarray
    rank: np.ndarray
    chosen: np.ndarray
    expected: np.ndarray
    covariance: np.ndarray
    limits: Limits
    hard: Limits
    chain: tuple[OptimizerStep, ...]
    kept: np.ndarray
    floor: np.ndarray
    uncapped_turnover: float
    trade_fraction: float

    @property
    def optimizer(self) -> str:
        """Name of the optimizer that was used."""
        return self.chain[-1].optimizer


def decide_weights(inputs: WeightInputs, settings: PortfolioSettings) -> WeightDecision:
    """Target weights: smooth, rank, choose, estimate, optimize, then move from the held weights toward them.

    Raises OptimizerError if no portfolio can be made; what is held then stays as it is.
    """
    rule = settings.rule(inputs.regime)
    score = smooth(inputs.ranks, settings.score_half_life)
    eligible = np.isfinite(score) & has_history(inputs.close, settings.min_history) & ~inputs.locked
    rank = rank_names(score, eligible)
    chosen = choose(rank, inputs.held > DUST, settings.top_n, settings.hold_buffer)
    covariance = recent_covariance(inputs.close[:, chosen])
    z = z_scores(np.where(eligible, score, np.nan))[chosen] if len(chosen) else np.empty(0)
    expected = expected_returns(z, np.sqrt(np.diag(covariance)), settings.ic) - settings.risk_free
    hard = hard_limits(inputs, settings, rule)
    limits = optimizer_limits(inputs, hard, chosen, rule, settings.cash_absorbs)
    names = (cast(str, rule.optimizer), *settings.fallbacks)
    found, chain = optimize(names, expected, covariance, limits, settings.solver_iterations)
    target = np.where(inputs.locked, inputs.held, 0.0)
    target[chosen] = found
    moved = approach(target, inputs.held, inputs.locked, hard, settings)
    return WeightDecision(
        target=target,
        score=score,
        rank=rank,
        chosen=chosen,
        expected=expected,
        covariance=covariance,
        limits=limits,
        hard=hard,
        chain=chain,
        **moved,
    )


# ---- which names ----


def rank_rows(scores: np.ndarray) -> np.ndarray:
    """Percentile rank of each score within its row, in [-0.5, 0.5], ties averaged, (dates, n); NaN stays NaN.

    Ranks come before any averaging over dates: scores of two dates are not on one scale. `rank_by_date` of the labels
    rounds otherwise in the last bit, which weights and models keep.
    """
    count = np.count_nonzero(~np.isnan(scores), axis=1)[:, None]
    return (average_ranks(scores) - 1) / np.maximum(count - 1, 1) - np.where(count > 1, 0.5, 0.0)


def smooth(ranks: np.ndarray, half_life: float) -> np.ndarray:
    """Mean of each name's ranks, the weight halving every half_life rows back, (n,); NaN without a last one."""
    age = np.arange(len(ranks))[::-1, None]
    weight = 0.5 ** (age / half_life) if half_life > 0 else (age == 0) * 1.0
    seen = ~np.isnan(ranks)
    total = (weight * np.where(seen, ranks, 0.0)).sum(axis=0)
    share = (weight * seen).sum(axis=0)
    return np.where(seen[-1], total / np.where(share > 0, share, 1.0), np.nan)


def has_history(close: np.ndarray, min_history: float) -> np.ndarray:
    """Names with a price in this session and in enough of the sessions before, (n,) bool."""
    if len(close) < 21:
        raise OptimizerError(f"{len(close)} sessions of prices are too few for a covariance; at least 21 are needed")
    priced = np.isfinite(close)
    return priced[-1] & (priced.sum(axis=0) >= min_history * len(close))


def rank_names(score: np.ndarray, eligible: np.ndarray) -> np.ndarray:
    """Rank from 1 (best) among the eligible, 0 for the others, (n,); ties go to the symbol that sorts first."""
    rank = np.zeros(len(score), dtype=np.intp)
    names = np.flatnonzero(eligible)
    rank[names[np.argsort(-score[names], kind="stable")]] = np.arange(1, len(names) + 1)
    return rank


def choose(rank: np.ndarray, held: np.ndarray, top_n: int, hold_buffer: float) -> np.ndarray:
    """Positions of the top_n names to hold, sorted, (≤ top_n,): held ones within the buffer first, then the best."""
    stays = held & (rank > 0) & (rank <= hold_buffer * top_n)
    order = np.lexsort((rank, ~stays, rank == 0))
    return np.sort(order[: min(top_n, np.count_nonzero(rank))])


def unchosen(ranked: int, settings: PortfolioSettings) -> str:
    """That the model chooses nothing of `ranked` names that may be held, and the way out; empty where it chooses."""
    top_n, reach = settings.top_n, settings.hold_buffer * settings.top_n
    if top_n >= ranked > 0:
        return f"top_n {top_n} of {ranked} names: every name is held, so the model has no effect; lower portfolio.top_n"
    if reach >= ranked > 0:
        return (
            f"hold_buffer {settings.hold_buffer:g} × top_n {top_n} of {ranked} names: held names stay "
            "whatever their rank, so the model has no effect after the first rebalance; lower "
            "portfolio.hold_buffer"
        )
    return ""


def recent_covariance(close: np.ndarray) -> np.ndarray:
    """Shrunk covariance of daily returns, a year, (k, k); the return over a gap belongs to the day after it."""
    if close.shape[1] == 0:
        return np.empty((0, 0))
    seen = ~np.isnan(close)
    if not seen.all():
        last = np.maximum.accumulate(np.where(seen, np.arange(len(close))[:, None], 0), axis=0)
        close = np.take_along_axis(close, last, axis=0)
    return SESSIONS_A_YEAR * shrunk_covariance(close[1:] / close[:-1] - 1)


# ---- which limits ----


def hard_limits(inputs: WeightInputs, settings: PortfolioSettings, rule: RegimeAdaptation) -> Limits:
    """Hard limits of the tradable weights, over all n names; locked names have used up their part."""
    locked = np.where(inputs.locked, inputs.held, 0.0)
    cap = settings.max_sector_weight if inputs.sector_caps else 1.0
    used = np.bincount(inputs.sectors, locked, len(inputs.sector_names))
    return Limits(
        upper=np.where(inputs.locked, 0.0, cast(float, rule.max_weight)),
        groups=inputs.sectors,
        caps=np.maximum(cap - used, 0.0),
        exposure=1.0 - locked.sum(),
        symbols=tuple(inputs.symbols),
        group_names=inputs.sector_names,
    )


def optimizer_limits(
    inputs: WeightInputs, hard: Limits, chosen: np.ndarray, rule: RegimeAdaptation, cash_absorbs: bool
) -> Limits:
    """The hard limits of the chosen names, at the regime's exposure less what is locked.

    Cash never replaces all names: a session without scores is an error, not a sale of everything.
    """
    locked = 1.0 - hard.exposure
    limits = Limits(
        upper=hard.upper[chosen],
        groups=hard.groups[chosen],
        caps=hard.caps,
        exposure=max(rule.exposure - locked, 0.0),
        symbols=tuple(inputs.symbols[chosen]),
        group_names=hard.group_names,
    )
    absorbs = cash_absorbs and len(chosen) > 0
    return limits.with_exposure(min(limits.exposure, limits.reachable)) if absorbs else limits


# ---- how far to move ----


def approach(target, held, locked, hard: Limits, settings: PortfolioSettings) -> dict:
    """From the held weights toward the target: no-trade band, then turnover cap; every hard limit holds afterwards.

    Held weights that break a limit are cut to it first, whatever turnover that takes; no weight grows by more than
    max_trade; of the rest, the fraction that the cap leaves is traded, which keeps every limit because both ends do.
    The first build from cash is not slowed.
    """
    stuck = np.where(locked, held, 0.0)
    held, target = held - stuck, target - stuck
    if not (held > DUST).any():
        kept = np.zeros(len(held), dtype=bool)
        return {
            "weights": target + stuck,
            "kept": kept,
            "floor": held,
            "uncapped_turnover": turnover(target, held),
            "trade_fraction": 1.0,
        }
    floor = reduce_to(held, hard)
    goal, kept = apply_band(target, held, hard, settings.no_trade_band)
    goal = np.minimum(
        goal, held + settings.max_trade
    )  # giving weight up breaks no limit; cash takes it until next time
    fraction = trade_fraction_within(held, floor, goal, settings.max_turnover)
    weights = goal if fraction == 1.0 else floor + fraction * (goal - floor)
    weights = np.where(weights <= DUST, 0.0, weights)
    if not (hard.excess(weights) <= TOLERANCE):
        raise OptimizerError(
            f"internal error: the weights exceed a limit by {hard.excess(weights):.3g}; please report this"
        )
    return {
        "weights": weights + stuck,
        "kept": kept,
        "floor": floor,
        "uncapped_turnover": turnover(goal, held),
        "trade_fraction": fraction,
    }


def apply_band(target, held, hard: Limits, band: float) -> tuple[np.ndarray, np.ndarray]:
    """The target with small changes left undone, and which names those are; what they leave over or short is cash.

    A full exit is never left undone, nor a held weight above its limit. If the kept weights would break a sector's cap
    or the total, the other names give way; where they cannot, that sector's small changes are made after all.
    """
    exits = (target <= DUST) & (held > DUST)
    kept = (np.abs(target - held) < band) & ~exits & (held <= hard.upper)
    kept &= (hard.group_sums(np.where(kept, held, 0.0)) <= hard.caps)[hard.groups]
    return reduce_to(np.where(kept, held, target), hard, fixed=kept), kept & ((held > DUST) | (target > DUST))


def trade_fraction_within(held, floor, goal, cap: float) -> float:
    """Largest fraction in [0, 1] of the trades from floor to goal at which the turnover from held is within the cap."""
    full = turnover(goal, held)
    if full <= cap:
        return 1.0
    if turnover(floor, held) >= cap:
        return 0.0
    if np.array_equal(floor, held):
        return cap / full
    low, high = 0.0, 1.0  # turnover is convex in the part, and crosses the cap once
    while high - low > 1e-12:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if turnover(floor + middle * (goal - floor), held) <= cap else (low, middle)
    return low
