"""Moves too large to accept unchecked: unrecorded splits, wrong prices, and real news.

A price ratio alone does not distinguish them; the session's other moves and the volume do. In 496 stocks, 2010–2023, 63
moves were beyond 1.4 either way: the rules question two of them, a spin-off missing from the data (EXPE 2011-12-21)
and an IPO in its first week (HOOD 2021-08-04). A split put at random into the same data is noticed in 95% (3:2), 98%
(2:1) and 99.6% (4:1) of cases.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from openbook.market.checks.session_bars import USUAL, SessionBars
from openbook.market.checks.thresholds import Finding, QualityRules, found

# New shares per old, or old per new, that occur in practice.
SPLIT_RATIOS = np.array([1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 15.0, 20.0])
# From here on hardly anything but a split looks like one, so the day's own move may blur it more.
SURE_SPLIT, BLUR = 3.0, 3.0
# A median and a spread need some names.
MIN_NAMES = 10


class Jump(NamedTuple):
    """One questioned move: where in the session's arrays, its log, the nearest split (0: none), its turnover."""

    row: int
    column: int
    move: float
    split: float
    turnover: float


def judge_jumps(bars: SessionBars, rules: QualityRules) -> tuple[dict[str, Finding], list[str]]:
    """The moves of the last `jump_window` sessions that nothing explains, by symbol; and sentences on those explained.

    A move compares an adjusted close with the one before, at most `active_window` sessions earlier, so recorded splits
    and dividends are in it already.
    """
    before = pd.DataFrame(bars.level).ffill(limit=rules.active_window).shift(1).to_numpy()
    findings, notes = {}, []
    for symbol, jumps in _questioned(bars, bars.level - before, rules).items():
        if symbol in rules.accept:
            notes += [f"{symbol}: {_describe(bars, jump)}; accepted by quality.accept." for jump in jumps]
            continue
        news = [jump for jump in jumps if jump.split < SURE_SPLIT and jump.turnover >= rules.real_turnover]
        notes += [
            f"{symbol}: {_describe(bars, jump)}; on {jump.turnover:.0f} times its usual turnover, so accepted."
            for jump in news
            if _is_last(bars, jump)
        ]
        unexplained = [jump for jump in jumps if jump not in news]
        if unexplained:
            findings[symbol] = _finding(bars, unexplained, before, rules)
    return findings, notes


def _questioned(bars: SessionBars, move: np.ndarray, rules: QualityRules) -> dict[str, list[Jump]]:
    """Moves that look like a split, or are large even for their session, by symbol, oldest first."""
    split = _nearest_split(move, rules.split_tolerance)
    large = (np.abs(move) > np.log(rules.max_jump)) | (split > 0)
    large &= (split >= SURE_SPLIT) | ~(spreads(move) <= rules.real_spread)
    large[: -rules.jump_window] = False
    large &= bars.concerned
    out: dict[str, list[Jump]] = {}
    for column, row in np.argwhere(large.T).tolist():
        jump = Jump(row, column, float(move[row, column]), float(split[row, column]), turnover_of(bars, row, column))
        out.setdefault(bars.symbols[column], []).append(jump)
    return out


def _is_last(bars: SessionBars, jump: Jump) -> bool:
    return jump.row == len(bars.dates) - 1


def _nearest_split(move: np.ndarray, tolerance: float) -> np.ndarray:
    """The split ratio that each log move is near enough to, either way; 0 if there is none."""
    size = np.exp(np.abs(move))[..., None]
    near = np.where(SPLIT_RATIOS >= SURE_SPLIT, BLUR * tolerance, tolerance)
    return np.where(np.abs(size / SPLIT_RATIOS - 1) <= near, SPLIT_RATIOS, 0.0).max(axis=-1)


def spreads(move: np.ndarray) -> np.ndarray:
    """How far each log move lies from the session's median, in spreads (1.4826 · median absolute deviation).

    NaN if a session has too few moves.
    """
    enough = np.isfinite(move).sum(axis=1) >= MIN_NAMES
    out = np.full(move.shape, np.nan)
    away = np.abs(move[enough] - np.nanmedian(move[enough], axis=1, keepdims=True))
    with np.errstate(divide="ignore", invalid="ignore"):  # all alike: the one that differs is infinitely far
        out[enough] = away / (1.4826 * np.nanmedian(away, axis=1, keepdims=True))
    return out


def turnover_of(bars: SessionBars, row: int, column: int) -> float:
    """Turnover over its 20-session median, in shares or in USD, whichever is less; NaN if unknown.

    A split changes the shares traded, a wrong price the USD: only news raises both.
    """
    if bars.volume is None:
        return np.nan
    span = slice(max(row - USUAL, 0), row + 1)
    shares, price = bars.volume[span, column], bars.close[span, column]
    with np.errstate(over="ignore"):  # of 1e308 shares or USD
        return min(multiple_of(shares), multiple_of(shares * price))


def multiple_of(values: np.ndarray) -> float:
    """The last value over the median of those before; NaN if these are few or zero."""
    usual = values[:-1][np.isfinite(values[:-1])]
    return values[-1] / np.median(usual) if len(usual) >= USUAL // 2 and np.median(usual) > 0 else np.nan


def _finding(bars: SessionBars, jumps: list[Jump], before: np.ndarray, rules: QualityRules) -> Finding:
    """What the unexplained moves of one symbol, oldest first, amount to."""
    worst = max(jumps, key=lambda jump: abs(jump.move))
    level = bars.level[:, worst.column]
    net = level[~np.isnan(level)][-1] - before[jumps[0].row, worst.column]
    if len(jumps) > 1 and abs(net) <= np.log(rules.max_jump):
        return found("spike", f"{_describe(bars, worst)}, and came back")
    if worst.split < SURE_SPLIT:
        return found("small split" if worst.split else "jump", _describe(bars, worst))
    finding = found("suspected split", _describe(bars, worst))
    # for a name that is not held, it was reported on that day
    return finding if _is_last(bars, worst) else finding._replace(stops="held")


def _describe(bars: SessionBars, jump: Jump) -> str:
    """A move in words."""
    words = f"close {np.exp(jump.move):.3g} times the last on {bars.dates[jump.row]:%Y-%m-%d}"
    if not jump.split:
        return f"{words}, with no action"
    ratio = "3:2" if jump.split == 1.5 else f"{jump.split:.0f}:1"
    return f"{words}, with no action: suspected {'reverse ' if jump.move > 0 else ''}split {ratio}"
