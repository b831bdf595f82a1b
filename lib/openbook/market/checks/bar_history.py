"""All bars of a delivery as one long table, sorted by symbol and day: the input of the whole-history checks."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from openbook.common.frames import places_in
from openbook.market import calendar
from openbook.market.ingest import Bars

# Bars that make a name's usual turnover, range and move.
USUAL = 20


class BarHistory(NamedTuple):
    """Bars by symbol, then day, as arrays of one length n_bars; a field that the source lacks is NaN.

    column : into `symbols`
    row : which session of `sessions`
    start : True at the first bar of a symbol
    gap : sessions since the symbol's bar before, 1 if none is missing; 0 at the first
    move : log return since the bar before, recorded splits and dividends in it; 0 at the first
    """

    symbols: pd.Index
    sessions: np.ndarray
    column: np.ndarray
    row: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    start: np.ndarray
    gap: np.ndarray
    move: np.ndarray

    @property
    def day(self) -> np.ndarray:
        """The date of each bar, datetime64[D]."""
        return self.sessions[self.row]

    @property
    def bounds(self) -> np.ndarray:
        """(n_symbols + 1,) where each symbol's bars begin; the last is n_bars."""
        return np.append(np.flatnonzero(self.start), len(self.start))

    def spells(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and last bar of each unbroken run of chosen bars of one symbol."""
        before = np.append(False, chosen[:-1]) & ~self.start
        after = np.append(chosen[1:] & ~self.start[1:], False)
        return np.flatnonzero(chosen & ~before), np.flatnonzero(chosen & ~after)

    def before(self, values: np.ndarray, at: np.ndarray, n: int = USUAL) -> np.ndarray:
        """The `n` values of the same symbol before each bar of `at`, (len(at), n); NaN where there are fewer."""
        rows = at[:, None] - np.arange(n, 0, -1)
        first = np.flatnonzero(self.start)[self.column[at]]
        return np.where(rows >= first[:, None], values[np.maximum(rows, 0)], np.nan)


def make_bar_history(bars: Bars, actions: pd.DataFrame | None) -> BarHistory:
    """The tape of sound bars on sessions, one per symbol and session.

    actions : splits and dividends that the prices do not have in them; None for adjusted prices
    """
    order = np.lexsort((bars.day, bars.column))
    day, column = bars.day[order], bars.column[order]
    present, column = np.unique(column, return_inverse=True)
    sessions = calendar.sessions(day.min(), day.max()).to_numpy().astype("datetime64[D]")
    row = np.searchsorted(sessions, day)
    absent = np.full(len(order), np.nan)
    values = {
        name: bars.values[name][order] if name in bars.values else absent
        for name in ("open", "high", "low", "close", "volume")
    }
    start = np.append(True, column[1:] != column[:-1])
    gap = np.where(start, 0, np.append(0, np.diff(row)))
    tape = BarHistory(bars.symbols[present], sessions, column, row, **values, start=start, gap=gap, move=absent)
    return tape._replace(move=_moves(tape, actions))


def _moves(tape: BarHistory, actions: pd.DataFrame | None) -> np.ndarray:
    """Log returns from bar to bar, with what the actions between them gave."""
    held = tape.close.copy()
    for kind in ("dividend", "split"):  # a dividend is paid per share after the splits of its day
        at, value, _ = locate(tape, actions, kind)
        (np.add if kind == "dividend" else np.multiply).at(held, at, value)
    out = np.zeros(len(held))
    out[1:] = np.log(held[1:]) - np.log(tape.close[:-1])
    out[tape.start] = 0.0
    return out


def locate(tape: BarHistory, actions: pd.DataFrame | None, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bar on which each action of a kind takes effect, its value, and its date; those before the first bar are left
    out, and those after the last."""
    if actions is None:
        return np.zeros(0, dtype=int), np.zeros(0), np.zeros(0, dtype="datetime64[D]")
    chosen = actions[(actions["kind"] == kind) & actions["symbol"].isin(tape.symbols)]
    day = chosen["date"].to_numpy().astype("datetime64[D]")
    width = len(tape.sessions) + 1
    column = places_in(tape.symbols, chosen["symbol"])
    at = np.searchsorted(tape.column * width + tape.row, column * width + np.searchsorted(tape.sessions, day))
    inside = at < len(tape.start)
    inside[inside] = (tape.column[at[inside]] == column[inside]) & ~tape.start[at[inside]]
    return at[inside], chosen["value"].to_numpy("float64")[inside], day[inside]


def night_spreads(tape: BarHistory) -> tuple[np.ndarray, np.ndarray]:
    """Median of the moves of each session, and their spread (1.4826 · median absolute deviation), by session.

    NaN where fewer than ten names moved from the session before.
    """
    usable = tape.gap == 1
    by_session = pd.Series(tape.move[usable]).groupby(tape.row[usable])
    median = by_session.median().reindex(range(len(tape.sessions))).to_numpy()
    away = pd.Series(np.abs(tape.move[usable] - median[tape.row[usable]])).groupby(tape.row[usable]).median()
    few = by_session.size().reindex(range(len(tape.sessions)), fill_value=0).to_numpy() < 10
    spread = 1.4826 * away.reindex(range(len(tape.sessions))).to_numpy()
    return np.where(few, np.nan, median), np.where(few, np.nan, spread)
