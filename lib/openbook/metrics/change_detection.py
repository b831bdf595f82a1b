"""Rules that detect a model's decline, and their false-alarm rates.

Rank ICs of neighboring dates are alike because their labels overlap. A rule that takes them for independent raises
false alarms far more often than in the literature, so every rate here is measured on simulated rank ICs that overlap as
labels do.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from pydantic import Field

from openbook.common.constants import SESSIONS_A_YEAR
from openbook.common.errors import ParameterError
from openbook.common.settings import Settings


def is_drifting(window, threshold: float) -> bool:
    """The asked rule on the last matured rank ICs: their mean is below `threshold`, and so are at least half of them.

    window : (lookback,) rank ICs. An undefined one (constant scores) counts as below and is left out of the mean; a
    window without any defined one is drifting. Not a test of significance: see `drift_false_alarm`.
    """
    values = np.asarray(window, dtype="float64")
    known = values[np.isfinite(values)]
    below = int((~(values >= threshold)).sum())
    return bool(not (len(known) and known.mean() >= threshold) and 2 * below >= len(values))


@dataclass(frozen=True)
class FalseAlarm:
    """How often a rule fires although nothing is wrong, as fractions: on a given session, and at least once in a year.

    length : sessions that an alarm lasts, on average; NaN if the rule never fired
    """

    session: float
    year: float
    length: float


def drift_false_alarm(
    mean: float,
    deviation: float,
    *,
    horizon: int,
    lookback: int = 20,
    threshold: float = 0.02,
    draws: int = 2000,
    seed: int = 0,
) -> FalseAlarm:
    """Chance that `is_drifting` fires for a model whose rank IC keeps this mean and standard deviation, by simulation.

    horizon : sessions of the label; see `overlapping_ics`
    draws : simulated years of 252 sessions; the error of `year` is at most 0.5/√draws, 0.011 at 2,000

    A NaN or a deviation that is not above 0 gives NaN. Too low if rank ICs have fatter tails or longer memory than
    their labels give them, and if mean and deviation were estimated on a lucky stretch.
    """
    if not (horizon >= 1 and lookback >= 2 and draws >= 1):
        raise ParameterError("horizon and draws must be at least 1, lookback at least 2")
    if not (np.isfinite(mean) and np.isfinite(threshold) and 0 < deviation < np.inf):
        return FalseAlarm(np.nan, np.nan, np.nan)
    ics = mean + deviation * overlapping_ics(draws, SESSIONS_A_YEAR + lookback - 1, horizon, seed)
    fired = (_moving_sum(ics, lookback) < lookback * threshold) & (
        2 * _moving_sum(ics < threshold, lookback) >= lookback
    )
    begins = fired[:, 0].sum() + (fired[:, 1:] & ~fired[:, :-1]).sum()
    length = float(fired.sum() / begins) if begins else np.nan
    return FalseAlarm(float(fired.mean()), float(fired.any(axis=1).mean()), length)


def overlapping_ics(draws: int, sessions: int, horizon: int, seed: int) -> np.ndarray:
    """Normal series of mean 0 and deviation 1 that overlap as labels do, (draws, sessions).

    Labels of `horizon` sessions that begin k sessions apart share horizon − k of them, so with slow scores their
    coefficients correlate (horizon − k)/horizon: a moving sum of `horizon` independent terms. Faster scores overlap
    less, and rules then cry wolf less often: these are the numbers of the worst case.
    """
    noise = np.random.default_rng(seed).standard_normal((draws, sessions + horizon - 1))
    return _moving_sum(noise, horizon) / np.sqrt(horizon)


# --- CUSUM ------------------------------------------------------------------------------------------------------------


class Cusum(Settings):
    """Tabular one-sided CUSUM (Page 1954) of rank ICs that fall below what was promised.

    S(t) = max(0, S(t−1) + z(t) − allowance), z = (target − rank IC)/(deviation·√horizon); an alarm where S exceeds
    `threshold`, and S starts from 0 again. √horizon makes the long-run deviation of overlapping rank ICs the unit, so
    that one threshold serves every horizon.

    With the defaults a healthy model is called into question once in 1,030 sessions (four years) on average with labels
    of one session, 1,310 with 5 and 1,950 with 21: see `cusum_run_length`. One whose rank IC of deviation 0.1 falls by
    0.03 is found after 76, 200 and 510 sessions: a rank IC carries that little information.
    """

    allowance: float = Field(0.05, ge=0, description="shortfall that is let pass, in long-run deviations per session")
    threshold: float = Field(20.0, gt=0, description="accumulated shortfall that is an alarm, in long-run deviations")


def cusum(rank_ic: pd.Series, target: float, deviation: float, *, horizon: int, rule: Cusum | None = None):
    """The CUSUM of matured rank ICs, a DataFrame by signal date: columns shortfall (z), statistic (S), alarm.

    rank_ic : by signal date, oldest first. An undefined one (constant scores) counts as 0: such scores know nothing
    target, deviation : rank IC per date that the model was promised to have, from a time before these dates
    horizon : sessions of the label

    statistic is the S that was compared with the threshold: where there is an alarm, the next session starts from 0.
    Raises ParameterError without a finite target and a deviation above 0.
    """
    if not (np.isfinite(target) and 0 < deviation < np.inf and horizon >= 1):
        raise ParameterError(f"a CUSUM needs a target and a deviation above 0, not {target} and {deviation}")
    rule = rule or Cusum()
    values = np.nan_to_num(rank_ic.to_numpy(dtype="float64"), nan=0.0)
    shortfall = (target - values) / (deviation * np.sqrt(horizon))
    statistic, level = np.zeros(len(values)), 0.0
    for t, step in enumerate(shortfall):
        level = statistic[t] = max(0.0, level + step - rule.allowance)
        level = 0.0 if level > rule.threshold else level
    table = {"shortfall": shortfall, "statistic": statistic, "alarm": statistic > rule.threshold}
    return pd.DataFrame(table, index=rank_ic.index)


def cusum_run_length(
    rule: Cusum, *, horizon: int = 1, shift: float = 0.0, draws: int = 1000, longest: int = 20_000, seed: int = 0
) -> float:
    """Average number of sessions until the CUSUM's alarm, by simulation from S = 0 on overlapping rank ICs.

    shift : how far the mean rank IC has fallen below its target, in deviations of one rank IC; 0 is a healthy model
    longest : sessions after which a simulated series is cut off; the average is then too low

    The error is about the average itself over √draws: run lengths are close to geometric.
    """
    if not (horizon >= 1 and draws >= 1 and longest >= 1):
        raise ParameterError("horizon, draws and longest must be at least 1")
    rng, root = np.random.default_rng(seed), np.sqrt(horizon)
    recent = rng.standard_normal((horizon, draws)) / root
    moving, level = recent.sum(axis=0), np.zeros(draws)
    total, drift = 0, shift / root - rule.allowance
    for t in range(longest):
        level = np.maximum(0.0, level + moving / root + drift)
        total += len(level)
        alive = level <= rule.threshold
        if not alive.all():
            level, moving, recent = level[alive], moving[alive], recent[:, alive]
        if not len(level):
            break
        fresh = rng.standard_normal(len(level)) / root
        moving = moving + fresh - recent[t % horizon]
        recent[t % horizon] = fresh
    return total / draws


def _moving_sum(values: np.ndarray, window: int) -> np.ndarray:
    """Sums over `window` neighbors along the rows, (draws, sessions − window + 1)."""
    running = np.cumsum(values, axis=1, dtype="float64")
    running[:, window:] -= running[:, :-window].copy()
    return running[:, window - 1 :]
