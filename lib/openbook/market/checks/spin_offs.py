"""Overnight falls followed by a calm day at usual volume: an unrecorded spin-off.

`checkup.moves` asks the same of a whole history. In 8,800 symbol-years of index members there were six such falls, and
all were spin-offs: EXPE 2011-12-21, DF 2013-05-24, VTR 2015-08-18, HPE 2017-04-03 and 2017-09-01, VNO 2017-07-18.
"""

import numpy as np

from openbook.market.checks.jumps import multiple_of, spreads, turnover_of
from openbook.market.checks.session_bars import USUAL, SessionBars
from openbook.market.checks.thresholds import Finding, QualityRules, found


def judge_spin_offs(bars: SessionBars, rules: QualityRules) -> dict[str, Finding]:
    """Such falls in the last `jump_window` sessions, by symbol."""
    if bars.volume is None or not {"high", "low"} <= bars.fields.keys():
        return {}
    move, clear = _overnight(bars)
    chosen = (clear > np.log(rules.min_break)) & (np.abs(move) > np.log(rules.min_break)) & (move < 0)
    chosen[: -rules.jump_window] = False
    chosen &= bars.concerned & ~bars.symbols.isin(rules.accept)
    spread, out = spreads(move), {}
    for row, column in np.argwhere(chosen):
        level = bars.level[~np.isnan(bars.level[:, column]), column][-1] - bars.level[row - 1, column]
        turnover, wide, usual = _day(bars, move, row, column)
        calm = turnover < rules.real_turnover and not wide >= rules.real_range
        sudden = not abs(move[row, column]) <= rules.usual_moves * usual
        firm = bars.close[row - 1, column] >= rules.min_price and not spread[row, column] <= rules.real_spread
        stayed = level < -np.log(rules.min_break)
        if calm and sudden and firm and stayed:
            text = f"close {np.exp(move[row, column]):.3g} times the last on {bars.dates[row]:%Y-%m-%d}, overnight"
            words = (
                f"{text}, then a normal session on {turnover:.2g} times the usual turnover: possibly a missing spin-off"
            )
            out[bars.symbols[column]] = found("missing spin-off", words)
    return out


def _overnight(bars: SessionBars) -> tuple[np.ndarray, np.ndarray]:
    """Log moves from one session to the next, and how far each day's high lies below the low before, splits aside."""
    move, clear = np.full((2, *bars.level.shape), np.nan)
    move[1:] = np.diff(bars.level, axis=0)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        given = move[1:] - np.diff(np.log(bars.close), axis=0)
        clear[1:] = -(np.log(bars.fields["high"][1:] / bars.fields["low"][:-1]) + given)
    return move, clear


def _day(bars: SessionBars, move: np.ndarray, row: int, column: int) -> tuple[float, float, float]:
    """Turnover and range of a day over the usual, and the name's usual absolute move; NaN if unknown."""
    span = slice(max(row - USUAL, 0), row + 1)
    high, low, close = bars.fields["high"][span, column], bars.fields["low"][span, column], bars.close[span, column]
    before = np.abs(move[span, column][:-1])
    before = before[np.isfinite(before)]
    usual = np.median(before) if len(before) >= USUAL // 2 else np.nan
    return turnover_of(bars, row, column), multiple_of((high - low) / close), usual
