"""The holdout evaluation, on sessions that nothing before has used, and the count of such evaluations."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from openbook import metrics
from openbook.common.errors import DataError
from openbook.selection.combination_metrics import against

_TO = " to "


@dataclass(frozen=True)
class Look:
    """What the chosen combination did over the holdout.

    span : first to last session; None without a holdout, the figures then NaN
    looks : evaluations of holdouts that share a session with this one, this one included; 0 without a holdout
    sharpe, active_return, active_low, active_high : a year; active: above the universe at equal weight, with its 95%
        interval; total_return, universe_return : over the whole holdout
    """

    span: str | None
    looks: int
    sessions: int
    sharpe: float
    total_return: float
    active_return: float
    active_low: float
    active_high: float
    universe_return: float

    @property
    def sentence(self) -> str:
        """The evaluation in words, for the page."""
        if self.span is None:
            return "No holdout period, so no holdout evaluation."
        count = "first evaluation" if self.looks == 1 else f"evaluation number {self.looks}"
        warning = "" if self.looks == 1 else " Every repeated evaluation makes the result less reliable."
        active, low, high = (_figure(x, "+.1%") for x in (self.active_return, self.active_low, self.active_high))
        earned, universe = (_figure(x, ".1%") for x in (self.total_return, self.universe_return))
        return (
            f"Holdout {self.span} ({self.sessions} sessions), {count}: Sharpe ratio "
            f"{_figure(self.sharpe, '.2f')}, return {earned} against {universe} for the equal-weight "
            f"universe; annualized active return {active}, 95% interval {low} to {high}.{warning}"
        )


def holdout_look(returns: pd.DataFrame | None, *, earlier: Sequence[str], seed: int = 0) -> Look:
    """What one combination and the universe did over the holdout.

    returns : sessions × (the combination, the universe), daily; None or without a session: no holdout was kept
    earlier : spans "YYYY-MM-DD to YYYY-MM-DD" of the holdouts that earlier selections have looked at

    Over a year the interval is wide: the standard error of an annual Sharpe ratio is about 1. Too optimistic from the
    second evaluation on, which is why they are counted.
    """
    if returns is None or returns.empty:
        return Look(None, 0, 0, *[float("nan")] * 6)
    if returns.shape[1] != 2:
        raise DataError(
            f"the holdout evaluation takes two columns, the combination and the universe, not {returns.shape[1]}"
        )
    first, last = returns.index[0], returns.index[-1]
    spans = [_parse(span) for span in earlier]
    chosen, universe = returns.iloc[:, 0], returns.iloc[:, 1]
    active = against(chosen, universe, seed=seed)
    return Look(
        span=f"{first:%Y-%m-%d}{_TO}{last:%Y-%m-%d}",
        looks=1 + sum(begin <= last and first <= end for begin, end in spans),
        sessions=len(returns),
        sharpe=metrics.sharpe(chosen),
        total_return=metrics.total_return(chosen),
        active_return=active["active_return"],
        active_low=active["active_low"],
        active_high=active["active_high"],
        universe_return=metrics.total_return(universe),
    )


def _parse(span: str) -> tuple[pd.Timestamp, pd.Timestamp]:
    """First and last session of a span; DataError if it is invalid."""
    try:
        first, last = (pd.Timestamp(part) for part in span.split(_TO))
    except ValueError:
        raise DataError(f"{span!r} is not a date range; write YYYY-MM-DD to YYYY-MM-DD") from None
    return first, last


def _figure(value: float, form: str) -> str:
    """A number, or the word for one that is undefined."""
    return format(value, form) if pd.notna(value) else "unknown"
