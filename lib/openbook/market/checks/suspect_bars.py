"""Bars of this session that are not accepted: sent again, not traded, after a gap, in another unit.

`history` has the same rules for a whole history; these can be judged at once, from this session and the sessions
before. How often a rule is wrong was counted on 8,800 symbol-years of index members and 12,300 of 7,000 US symbols.
"""

import numpy as np

from openbook.market.checks.equal_returns import same_moves
from openbook.market.checks.session_bars import USUAL, SessionBars
from openbook.market.checks.thresholds import Finding, QualityRules, found

# Sessions whose returns are compared to find one company under two symbols.
SHARED = 90


def judge_bars(bars: SessionBars, held: list[str], rules: QualityRules) -> dict[str, Finding]:
    """Names not to buy in this session, by symbol; a name whose bar is not of this session is not sold either."""
    return (
        _one_company(bars, held, rules)
        | _stale_lines(bars, held, rules)
        | _unmoved(bars, rules)
        | _repeated(bars, rules)
    )


def judge_levels(bars: SessionBars, rules: QualityRules) -> dict[str, Finding]:
    """Names whose price may be another company's or in another unit, by symbol: it values no holding."""
    return _gaps(bars, rules) | _absurd(bars, rules)


# ---- sent again ----


def _repeated(bars: SessionBars, rules: QualityRules) -> dict[str, Finding]:
    """The same bar again, in every field, and traded: one repeat is enough if it has a range and a volume, else two.

    Of ranged bars that were traded 23 were equal to the one before in 21,000 symbol-years, all of thinly traded names;
    bars without a range came three times in 25 cases.
    """
    ranged = np.zeros(len(bars.symbols), dtype=bool)
    if {"high", "low"} <= bars.fields.keys():
        ranged = bars.fields["high"][-1] > bars.fields["low"][-1]
    traded, enough = (ranged, 2) if bars.volume is None else (bars.volume[-1] > 0, np.where(ranged, 1, 2))
    n = _run(np.logical_and.reduce([_as_last(values) for values in bars.fields.values()]), bars.bar) - 1
    chosen = bars.concerned & bars.bar[-1] & traded & (n >= enough * rules.max_repeats)
    return {
        bars.symbols[i]: found("repeated bars", f"the same bar for {_sessions(n[i] + 1, bars)}: {_bar(bars, i)}")
        for i in np.flatnonzero(chosen).tolist()
    }


def _unmoved(bars: SessionBars, rules: QualityRules) -> dict[str, Finding]:
    """A close that repeats without volume.

    Of the index members that traded none repeated a close for eight sessions; of 7,000 US symbols 55 did that traded
    all the while, 4 of them on more than 1 million USD a day: 0.6 in 1,000 symbol-years.
    """
    if bars.volume is not None:
        return {}
    n = _run(_as_last(bars.close), bars.bar) - 1
    chosen = bars.concerned & bars.bar[-1] & (n >= rules.max_unmoved)
    return {
        bars.symbols[i]: found(
            "unmoved close",
            f"close {bars.close[-1, i]:.6g} for {_sessions(n[i] + 1, bars)}, without volume to confirm trading",
        )
        for i in np.flatnonzero(chosen).tolist()
    }


def _as_last(values: np.ndarray) -> np.ndarray:
    """Whether a field equals this session's value, sessions × symbols; missing equals missing."""
    return (values == values[-1]) | (np.isnan(values) & np.isnan(values[-1]))


def _run(again: np.ndarray, bar: np.ndarray) -> np.ndarray:
    """How many bars up to this session are marked, without one between them that is not, (n,)."""
    rows = np.arange(len(bar))[:, None]
    other = np.where(bar & ~again, rows, -1).max(axis=0)
    return (bar & (rows > other)).sum(axis=0)


def _sessions(n: int, bars: SessionBars) -> str:
    """A number of sessions, capped at the depth of the session's history."""
    return f"{n} sessions or more" if n == len(bars.dates) else f"{n} sessions"


def _bar(bars: SessionBars, column: int) -> str:
    """Close and volume, as the vendor sent them."""
    volume = "" if bars.volume is None else f", volume {bars.volume[-1, column]:.0f}"
    return f"close {bars.close[-1, column]:.6g}{volume}"


# ---- not traded, not a price, not the company ----


def _stale_lines(bars: SessionBars, held: list[str], rules: QualityRules) -> dict[str, Finding]:
    """Names that did not trade on most of the last sessions; a holding may be sold on a session with trades."""
    if bars.volume is None:
        return {}
    last = bars.bar[-USUAL:], (bars.volume == 0)[-USUAL:]
    n, none = (values.sum(axis=0) for values in last)
    chosen = bars.concerned & bars.bar[-1] & (n >= USUAL // 2) & (none > rules.max_untraded * n)
    chosen &= ~bars.symbols.isin(held)
    return {
        bars.symbols[i]: found("no trading", f"no share traded on {none[i]} of the last {n[i]} sessions")
        for i in np.flatnonzero(chosen).tolist()
    }


def _absurd(bars: SessionBars, rules: QualityRules) -> dict[str, Finding]:
    """Closes that no stock has in USD."""
    chosen = bars.concerned & (bars.close[-1] > rules.max_price) & ~bars.symbols.isin(rules.dear)
    return {
        bars.symbols[i]: found("absurd price", f"close {bars.close[-1, i]:.6g}, above {rules.max_price:,.0f} USD")
        for i in np.flatnonzero(chosen).tolist()
    }


def _gaps(bars: SessionBars, rules: QualityRules) -> dict[str, Finding]:
    """Names that came back, lately, after more sessions without a bar than `active_window`, at another level."""
    level, out = bars.level, {}
    rows = np.where(bars.bar, np.arange(len(level))[:, None], -1)
    before = np.vstack([np.full(level.shape[1], -1), np.maximum.accumulate(rows, axis=0)[:-1]])
    away = bars.bar & (np.arange(len(level))[:, None] - before > rules.active_window)
    away[: -rules.jump_window] = False
    for row, column in np.argwhere(away & bars.concerned & ~bars.symbols.isin(rules.accept)):
        history = bars.market.adjusted[bars.symbols[column]].loc[: bars.dates[row]].dropna()
        if len(history) > 1 and abs(move := np.log(history.iloc[-1] / history.iloc[-2])) > np.log(rules.max_jump):
            since, back = history.index[-2:]
            text = f"no bar from {since:%Y-%m-%d} to {back:%Y-%m-%d}, then a close {np.exp(move):.3g} times the last"
            out[bars.symbols[column]] = found("gap", text)
    return out


def _one_company(bars: SessionBars, held: list[str], rules: QualityRules) -> dict[str, Finding]:
    """Of two symbols that move alike the one that is not held, or that sorts last: else one company counts twice.

    If both are held, both stay tradable, so that either can be sold.
    """
    names = np.flatnonzero(bars.concerned & bars.bar[-1])
    close = bars.market.adjusted.to_numpy()[-SHARED - 1 :, names]
    with np.errstate(over="ignore", invalid="ignore"):
        moves = np.diff(np.log(close), axis=0).astype(np.float32)
    out = {}
    for one, other, equal, rows in same_moves(moves, rules.min_shared, rules.same_moves):
        pair = sorted((bars.symbols[names[one]], bars.symbols[names[other]]), key=lambda s: (s not in held, s))
        if pair[1] in held:
            continue
        text = f"moves as {pair[0]} does on {equal:.1%} of {len(rows)} sessions: one company under two symbols"
        out[pair[1]] = found("same company", text)
    return out
