"""The large moves of a whole history: unrecorded splits and spin-offs, false levels, slips, and real news.

The session check (`jumps`) must decide at once. Here the following days are known, too: a level that came back, the
volume that followed and the range of the day are evidence. A split or a spin-off happens overnight: the day's range
does not touch the one before, is as narrow as usual, and shares or USD turn over as usual. News does the opposite.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from openbook.market.checks.bar_history import USUAL, BarHistory, locate, night_spreads
from openbook.market.checks.history_thresholds import CheckupRules, findings
from openbook.market.checks.jumps import BLUR, SURE_SPLIT

# New shares per old, or old per new, that occur in practice; penny stocks exceed the range of the session rule.
RATIOS = np.array([1.5, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 35, 40, 50, 60, 75, 100.0])
# Bars after a move, its own included, that measure the volume since.
NEXT_BARS = 5
# A move on the day of a recorded split, in multiples of the log of its ratio.
HALF_APPLIED = {
    "not applied": -1.0,
    "applied, but the price did not move": 1.0,
    "applied the wrong way": 2.0,
    "still to be applied twice": -2.0,
}
# Who splits: reverse from below, forward from above these prices, USD. Elsewhere a factor of ten is a slip.
CHEAP, DEAR = 10.0, 50.0


class Jumps(NamedTuple):
    """Moves beyond `min_break`, as arrays of one length.

    at : the bar in the tape; move : its log; opening : log of the open over the close before
    clear : how far the day's range lies from the one before, log, 0 if they touch
    turnover : in shares or USD, whichever rose less, over the usual
    wide : the day's range over the usual; usual : the name's usual absolute move
    firm : priced above `min_price` and traded regularly, or a move beyond `thin_jump`
    spreads : distance from the session's median; NaN where the session has too few names
    """

    at: np.ndarray
    move: np.ndarray
    opening: np.ndarray
    clear: np.ndarray
    turnover: np.ndarray
    wide: np.ndarray
    usual: np.ndarray
    spreads: np.ndarray
    firm: np.ndarray

    def take(self, chosen: np.ndarray) -> "Jumps":
        """The chosen ones."""
        return Jumps(*(values[chosen] for values in self))


def judge_moves(tape: BarHistory, recorded: pd.DataFrame | None, rules: CheckupRules) -> list[pd.DataFrame]:
    """Findings on the moves of a tape, by rule.

    recorded : the actions that the vendor knows of, whether applied to the prices or not
    """
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # prices of 1e308 are looked at, too
        return _judge(tape, recorded, rules)


def _judge(tape: BarHistory, recorded: pd.DataFrame | None, rules: CheckupRules) -> list[pd.DataFrame]:
    """Half-applied splits first, then levels that came back, then what stayed."""
    jumps = large_moves(tape, rules)
    half, on_day = _half_applied(tape, jumps, recorded, rules)
    false, used = _false_levels(tape, jumps.take(~on_day), rules)
    used_at = jumps.at[~on_day][used]
    stayed = jumps.take(~np.isin(jumps.at, used_at))
    return [half, *false, *_persistent(tape, stayed, np.isin(stayed.at, jumps.at[on_day]), rules)]


def large_moves(tape: BarHistory, rules: CheckupRules) -> Jumps:
    """All moves beyond `min_break` over at most `max_gap` sessions."""
    at = np.flatnonzero((np.abs(tape.move) > np.log(rules.min_break)) & (tape.gap > 0) & (tape.gap <= rules.max_gap))
    median, spread = night_spreads(tape)
    width = (tape.high - tape.low) / tape.close
    given = tape.move[at] - np.log(tape.close[at] / tape.close[at - 1])  # by actions
    up = np.log(tape.low[at] / tape.high[at - 1]) + given
    down = np.log(tape.high[at] / tape.low[at - 1]) + given
    shares = _multiple(tape, tape.volume, at)
    dollars = _multiple(tape, tape.volume * tape.close, at)
    return Jumps(
        at=at,
        move=tape.move[at],
        opening=np.log(tape.open[at] / tape.close[at - 1]) + given,
        clear=np.where(tape.move[at] > 0, np.maximum(up, 0.0), np.maximum(-down, 0.0)),
        turnover=np.minimum(shares, dollars),
        wide=_multiple(tape, width, at),
        usual=_medians(tape.before(np.abs(tape.move), at)),
        spreads=np.abs(tape.move[at] - median[tape.row[at]]) / spread[tape.row[at]],
        firm=_is_firm(tape, at, shares, rules),
    )


def _is_firm(tape: BarHistory, at: np.ndarray, shares: np.ndarray, rules: CheckupRules) -> np.ndarray:
    """Whether a move is of a regularly traded stock, and not of a warrant that trades once a week."""
    dear = np.maximum(tape.close[at], tape.close[at - 1]) >= rules.min_price
    traded = np.isnan(tape.volume) | (tape.volume > 0)
    young = np.isfinite(tape.before(tape.close, at)).sum(axis=1) < USUAL // 2
    young &= traded[at] & traded[at - 1]
    regular = dear & (np.isnan(tape.volume).all() | np.isfinite(shares) | young)
    return regular | (np.abs(tape.move[at]) > np.log(rules.thin_jump))


def _multiple(tape: BarHistory, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Values at these bars over the median of those before; NaN if these are few or zero."""
    usual = _medians(tape.before(values, at))
    return values[at] / np.where(usual > 0, usual, np.nan)


def _medians(windows: np.ndarray) -> np.ndarray:
    """Row medians; NaN where fewer than half of the values are known."""
    enough = np.isfinite(windows).sum(axis=1) >= USUAL // 2
    out = np.full(len(windows), np.nan)
    out[enough] = np.nanmedian(windows[enough], axis=1)
    return out


def _is_calm(jumps: Jumps, rules: CheckupRules) -> np.ndarray:
    """Neither the volume nor the range of the day indicates news, and the market did not move like that."""
    news = (jumps.turnover >= rules.real_turnover) | (jumps.spreads <= rules.real_spread)
    return ~news & ~(jumps.wide >= rules.real_range)


def _half_applied(tape, jumps: Jumps, recorded, rules) -> tuple[pd.DataFrame, np.ndarray]:
    """Recorded splits that do not explain the price move of their day; also the jumps on such days.

    A penny stock may really lose a third on the day of its reverse split: what does not look like the ratio must be
    sudden for that name.
    """
    at, ratio, _ = locate(tape, recorded, "split")
    known = pd.Series(ratio, index=at)[lambda each: each != 1.0].groupby(level=0).prod()
    on_day = np.isin(jumps.at, known.index)
    far = jumps.take(on_day & ~(jumps.spreads <= rules.real_spread) & ~(jumps.turnover >= 2 * rules.real_turnover))
    looks = [_looks_like(known[bar], move) for bar, move in zip(far.at, far.move, strict=True)]
    sudden = far.firm & ~(np.abs(far.move) <= rules.usual_moves * far.usual)
    chosen = sudden | np.array([bool(words) for words in looks], dtype=bool)
    detail = [
        _describe_half(known[bar], move, words)
        for bar, move, words, is_chosen in zip(far.at, far.move, looks, chosen, strict=True)
        if is_chosen
    ]
    return _rows(tape, "misapplied split", far.at[chosen], far.at[chosen], detail), on_day


def _looks_like(ratio: float, move: float) -> str:
    """What a log move beside a recorded split looks like, if it is a multiple of the split's own."""
    size = np.log(ratio)
    blur = 0.1 if abs(size) >= np.log(SURE_SPLIT) else 0.04
    return next((words for words, times in HALF_APPLIED.items() if abs(times * size - move) <= blur), "")


def _describe_half(ratio: float, move: float, words: str) -> str:
    """The recorded ratio, the move that is left, and what it looks like."""
    halves = 2 * max(ratio, 1 / ratio)  # 3:2 is three of them
    odd = "; an unusual ratio for a split, spin-offs have such" if abs(halves - round(halves)) > 0.01 * halves else ""
    return f"recorded {ratio:.4g}, the close still moved ×{np.exp(move):.3f}{': ' * bool(words)}{words}{odd}"


def _false_levels(tape: BarHistory, jumps: Jumps, rules: CheckupRules) -> tuple[list[pd.DataFrame], np.ndarray]:
    """Levels that were left again for the one before: slips, spikes and collisions; and which jumps these are."""
    used = np.zeros(len(jumps.at), dtype=bool)
    level, large = np.cumsum(tape.move), jumps.firm & (np.abs(jumps.move) > np.log(rules.max_jump))
    sudden = ~(jumps.turnover >= rules.real_turnover) & ~(np.abs(jumps.move) <= rules.usual_moves * jumps.usual)
    order = np.flatnonzero(large)
    pairs = []
    for k, i in enumerate(order):
        if used[i] or not sudden[i]:
            continue
        for j in order[k + 1 : k + 4]:
            start, end = jumps.at[i], jumps.at[j]
            if tape.column[start] != tape.column[end] or end - start > rules.max_away:
                break
            if max(abs(level[end] - level[start - 1]), abs(jumps.move[i] + jumps.move[j])) < np.log(rules.came_back):
                used[[i, j]] = True
                pairs.append((i, j))
                break
    return _named_levels(tape, jumps, np.array(pairs, dtype=int).reshape(-1, 2), rules), used


def _named_levels(tape: BarHistory, jumps: Jumps, pairs: np.ndarray, rules: CheckupRules) -> list[pd.DataFrame]:
    """Findings for levels that begin and end with these jumps."""
    there, back = pairs.T
    start, end = jumps.at[there], jumps.at[back]
    slip = _is_power_of_ten(jumps.move[there], rules)
    names = np.where(slip, "decimal shift", np.where(end - start == 1, "spike", "symbol collision"))
    out = []
    for name in np.unique(names):
        chosen = names == name
        detail = [_describe_return(tape, jumps, i, j) for i, j in pairs[chosen]]
        out.append(_rows(tape, str(name), start[chosen], end[chosen] - 1, detail))
    return out


def _describe_return(tape: BarHistory, jumps: Jumps, there: int, back: int) -> str:
    """A level that was left again, in words."""
    at, n = jumps.at[there], jumps.at[back] - jumps.at[there]
    words = f"close ×{np.exp(jumps.move[there]):.3g} from {tape.close[at - 1]:.6g} to {tape.close[at]:.6g}"
    return f"{words}, after {n} bar{'s' * bool(n > 1)} ×{np.exp(jumps.move[back]):.3g} and back"


def _is_power_of_ten(move: np.ndarray, rules: CheckupRules) -> np.ndarray:
    """Whether a log move is a factor near 10, 100 or 1000, either way."""
    power = np.abs(move) / np.log(10)
    near = np.abs(np.expm1(np.abs(move) - np.round(power) * np.log(10))) <= rules.slip_tolerance
    return near & (np.round(power) >= 1) & (np.round(power) <= 3)


def _persistent(tape: BarHistory, jumps: Jumps, on_day: np.ndarray, rules: CheckupRules) -> list[pd.DataFrame]:
    """Findings for moves that stayed: each gets the first name that fits.

    on_day : jumps on the day of a recorded split, of which only a spin-off is reported again
    """
    split, masks = _split(jumps, rules), {}
    shares, dollars = _after(tape, tape.volume, jumps.at), _after(tape, tape.volume * tape.close, jumps.at)
    calm, large = _is_calm(jumps, rules), np.abs(jumps.move) > np.log(rules.max_jump)
    sudden = jumps.firm & ~(np.abs(jumps.move) <= rules.usual_moves * jumps.usual)
    quiet = ~(jumps.turnover >= rules.real_turnover)
    shown = np.isfinite(jumps.turnover) | np.isnan(tape.volume).all()  # a calm day is shown, not presumed
    fall, sure, wide = jumps.move < 0, split >= SURE_SPLIT, jumps.wide >= rules.real_range
    price = tape.close[jumps.at - 1]
    splits = np.where(jumps.move > 0, price <= CHEAP, price >= DEAR)  # who would split at that price
    same_shares = np.abs(np.log(shares)) < np.abs(
        np.log(dollars)
    )  # a slip: as many shares as before, ten times the USD
    masks["symbol collision"] = large & sudden & (np.maximum(shares, dollars) < rules.other_turnover)
    masks["decimal shift"] = _is_power_of_ten(jumps.move, rules) & sudden & ~splits & same_shares & quiet
    masks["unadjusted split"] = (split > 0) & (jumps.clear > 0) & quiet & sudden & (calm | (sure & ~(wide & fall)))
    masks["missing spin-off"] = fall & calm & shown & sudden & (jumps.clear > np.log(rules.min_break))
    huge = np.abs(jumps.move) > np.log(rules.thin_jump)
    masks["jump"] = large & sudden & quiet & (shown | huge) & ~(jumps.spreads <= rules.real_spread)
    out, left = [], np.ones(len(jumps.at), dtype=bool)
    for name, mask in masks.items():
        chosen = mask & left & (~on_day | (name == "missing spin-off"))
        some = jumps.take(chosen)
        detail = [_describe(tape, *each) for each in zip(some.at, some.move, some.turnover, split[chosen], strict=True)]
        out.append(_rows(tape, name, some.at, some.at, detail))
        left &= ~mask
    return out


def _after(tape: BarHistory, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Median of the next bars, this one included, over the usual before; NaN if unknown."""
    ends = tape.bounds[1:][tape.column[at]]
    rows = at[:, None] + np.arange(NEXT_BARS)
    inside = rows < ends[:, None]
    later = np.where(inside, values[np.minimum(rows, len(values) - 1)], np.nan)
    out, enough = np.full(len(at), np.nan), np.isfinite(later).sum(axis=1) > NEXT_BARS // 2
    out[enough] = np.nanmedian(later[enough], axis=1)
    usual = _medians(tape.before(values, at))
    return np.maximum(out, 1.0) / np.where(usual > 0, usual, np.nan)


def _split(jumps: Jumps, rules: CheckupRules) -> np.ndarray:
    """The split ratio that the close or the open is near to, either way; 0 if there is none.

    A stock can really halve: below SURE_SPLIT the day must have opened there too.
    """
    by_close, by_open = (_nearest(move, rules.split_tolerance) for move in (jumps.move, jumps.opening))
    ratio = np.where(by_close > 0, by_close, by_open)
    opened = ~(np.abs(jumps.opening - jumps.move) > np.log1p(BLUR * rules.split_tolerance))
    return np.where((ratio >= SURE_SPLIT) | opened, ratio, 0.0)


def _nearest(move: np.ndarray, tolerance: float) -> np.ndarray:
    """The ratio nearest to each log move, if near enough; from SURE_SPLIT on the day's own move may blur it more."""
    size = np.where(np.isfinite(move), np.exp(np.abs(move)), 0.0)[:, None]
    error = np.abs(size / RATIOS - 1)
    near = error <= np.where(RATIOS >= SURE_SPLIT, BLUR * tolerance, tolerance)
    best = np.where(near, error, np.inf).argmin(axis=1)
    return np.where(near.any(axis=1), RATIOS[best], 0.0)


def _describe(tape: BarHistory, at: int, move: float, turnover: float, split: float) -> str:
    """A move in words."""
    words = f"close ×{np.exp(move):.3g} from {tape.close[at - 1]:.6g} to {tape.close[at]:.6g}"
    words += f" on {turnover:.2g} times the usual turnover" if np.isfinite(turnover) else ""
    if not split:
        return words
    ratio = "3:2" if split == 1.5 else f"{split:.0f}:1"
    return f"{words}: {'reverse ' if move > 0 else ''}split {ratio}"


def _rows(tape: BarHistory, rule: str, first: np.ndarray, last: np.ndarray, detail) -> pd.DataFrame:
    """Findings about the bars from `first` to `last`."""
    day = tape.day
    return findings(rule, tape.symbols[tape.column[first]], day[first], day[last], last - first + 1, detail)
