"""On which evenings a portfolio is rebalanced: the same ones live and in every backtest, whatever their first date."""

import pandas as pd

from openbook.market import calendar

EPOCH = pd.Timestamp("1990-01-04")  # sessions are counted from here; any session would do


def rebalance_dates(dates: pd.DatetimeIndex, every: int) -> pd.DatetimeIndex:
    """Those of `dates` that are rebalance evenings: every `every`-th session since the EPOCH."""
    if len(dates) == 0:
        return dates
    all_sessions = calendar.sessions(min(EPOCH, dates.min()), max(EPOCH, dates.max()))
    counted = all_sessions.get_indexer(dates) - all_sessions.get_loc(EPOCH)
    return dates[(all_sessions.get_indexer(dates) >= 0) & (counted % every == 0)]


def is_rebalance(session, every: int) -> bool:
    """Whether the evening of `session` is one."""
    return len(rebalance_dates(pd.DatetimeIndex([session]), every)) == 1


def next_rebalance(session, every: int) -> pd.Timestamp:
    """The first rebalance evening after `session`."""
    day = calendar.next_session(session)
    while not is_rebalance(day, every):
        day = calendar.next_session(day)
    return day
