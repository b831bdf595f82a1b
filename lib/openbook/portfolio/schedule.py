"""The rebalance dates: the same live and in every backtest, whatever their first date.

Live, one may be missed: no page for that session, orders not approved in time, or approved ones of which none
was filled. The next daily run makes up for it and says so. A backtest misses none. A rejection is a decision: it
is not proposed again before the next rebalance date, and neither is a first build.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

import pandas as pd

from openbook.market import calendar

EPOCH = pd.Timestamp("1990-01-04")  # sessions are counted from here; any session would do


def rebalance_dates(dates: pd.DatetimeIndex, every: int) -> pd.DatetimeIndex:
    """Those of `dates` that are rebalance dates: every `every`-th session since the EPOCH."""
    if len(dates) == 0:
        return dates
    all_sessions = calendar.sessions(min(EPOCH, dates.min()), max(EPOCH, dates.max()))
    counted = all_sessions.get_indexer(dates) - cast(int, all_sessions.get_loc(EPOCH))
    return dates[(all_sessions.get_indexer(dates) >= 0) & (counted % every == 0)]


def is_rebalance(session, every: int) -> bool:
    """Whether `session` is a rebalance date."""
    return len(rebalance_dates(pd.DatetimeIndex([session]), every)) == 1


def next_rebalance(session, every: int) -> pd.Timestamp:
    """The first rebalance date after `session`."""
    day = calendar.next_session(session)
    while not is_rebalance(day, every):
        day = calendar.next_session(day)
    return day


NO_PAGE, NOT_APPROVED = "no page", "its orders were not approved in time"
NOT_EXECUTED = "its orders were approved, but none was filled"


@dataclass(frozen=True)
class Rebalance:
    """Whether a session is a rebalance, and why.

    scheduled : it is one of `rebalance_dates`; empty : nothing is held, so that a first build is due
    missed : why, by session, of those that this one makes up for, oldest first
    rejected : nothing is held because the build of that session was rejected; None: no rejection
    """

    session: pd.Timestamp
    every: int
    scheduled: bool
    empty: bool = False
    missed: Mapping[pd.Timestamp, str] = field(default_factory=dict)
    rejected: pd.Timestamp | None = None

    @property
    def is_rebalance(self) -> bool:
        """Whether the portfolio is to be changed."""
        return self.scheduled or self.empty or bool(self.missed)

    @property
    def sentence(self) -> str:
        """Why there is a rebalance in this session, or when the next will be."""
        if not self.is_rebalance:
            why = f"The initial build of {self.rejected:%Y-%m-%d} was rejected. " if self.rejected is not None else ""
            due = next_rebalance(self.session, self.every)
            return f"{why}The next rebalance is on {due:%A}, {due.day} {due:%B}."
        build = "No positions yet: initial build." if self.empty else ""
        return " ".join(filter(None, ["Rebalance date." if self.scheduled else build, *self._missed_sentences()]))

    def _missed_sentences(self) -> list[str]:
        """One sentence for all that were missed for the same reason."""
        sentences = []
        for why in dict.fromkeys(self.missed.values()):
            days = [f"{day:%Y-%m-%d}" for day, reason in self.missed.items() if reason == why]
            were = "rebalance of {} was" if len(days) == 1 else "rebalances of {} were"
            sentences.append(f"The {were.format(', '.join(days))} missed: {why}; made up for in this run.")
        return sentences


def rebalance_on(
    session,
    every: int,
    *,
    skipped: Iterable = (),
    expired: Iterable = (),
    unfilled: Iterable = (),
    empty: bool = False,
    rejected=None,
) -> Rebalance:
    """The rebalance of one session: by the schedule, because nothing is held, or to make up for missed ones.

    skipped : sessions before it that had no page, back to the last one; expired : sessions whose orders for a rebalance
    were not approved in time; unfilled : those with approved orders of which none was filled. Orders that a
    person rejected were decided: they are in none of these
    empty : nothing is held; rejected : the session whose orders to change that were rejected, or None
    """
    day = pd.Timestamp(session)
    due_then = rebalance_dates(pd.DatetimeIndex(list(skipped)), every)
    missed = {pd.Timestamp(date): NOT_APPROVED for date in expired}
    missed |= {pd.Timestamp(date): NOT_EXECUTED for date in unfilled} | dict.fromkeys(due_then, NO_PAGE)
    decided = pd.Timestamp(rejected) if empty and rejected is not None else None
    return Rebalance(
        day, every, is_rebalance(day, every), empty and decided is None, dict(sorted(missed.items())), decided
    )
