"""Tracking of a live book against the backtest that selected its model."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from openbook.common.errors import DataError, ParameterError
from openbook.metrics.inference import FEWEST, optimal_block_length, stationary_bootstrap_indices
from openbook.metrics.returns import is_constant, known

CONE_LEVELS = (0.05, 0.25, 0.50, 0.75, 0.95)
TRACKING_PARTS = ["costs", "timing", "rounding", "rest"]


def backtest_cone(
    returns, sessions: int, *, levels=CONE_LEVELS, draws: int = 2000, mean_block: float | None = None, seed: int
) -> pd.DataFrame:
    """Quantiles of the cumulative return that a book should have after 0 … `sessions` sessions, one column per level.

    returns : of the backtest by session, out of sample, after costs; NaN sessions are dropped
    mean_block : mean length of the blocks of the stationary bootstrap, in sessions; None: `optimal_block_length`

    Resampled sessions, so it holds for any distribution of returns, but only if the future draws from the same days.
    Fewer than 16 sessions or a constant series give NaN. Each session's quantiles stand alone: a healthy book leaves
    the 5–95% band at some time far more often than one time in ten. Too high when the backtest is the best of many.
    """
    levels = list(levels)
    if not all(0 < level < 1 for level in levels):
        raise ParameterError(f"levels must be between 0 and 1, not {levels}")
    paths = _paths(returns, sessions, draws, mean_block, seed)
    index = pd.RangeIndex(sessions + 1, name="session")
    values = np.full((sessions + 1, len(levels)), np.nan) if paths is None else np.quantile(paths, levels, axis=0).T
    return pd.DataFrame(values, index=index, columns=pd.Index(levels, name="level", dtype="float64"))


@dataclass(frozen=True)
class Standing:
    """Percentile of a book among resampled backtests of the same length.

    sessions : age; total_return : of the book, as a fraction; percentile : share of the resamples that did worse, ties
    counting half, 0 to 1
    """

    sessions: int
    total_return: float
    percentile: float


def standing(
    book_returns, backtest_returns, *, draws: int = 2000, mean_block: float | None = None, seed: int
) -> Standing:
    """The book's own cumulative return against `backtest_cone` at its age; NaN sessions of the book are dropped.

    One healthy book in twenty has a percentile below 0.05 on a given session. A book without sessions, or a
    backtest too short for a cone, gives NaN.
    """
    mine = known(book_returns)
    total = float(np.prod(1.0 + mine) - 1.0) if len(mine) else np.nan
    paths = _paths(backtest_returns, len(mine), draws, mean_block, seed) if len(mine) else None
    if paths is None or not np.isfinite(total):
        return Standing(len(mine), total, np.nan)
    below, same = np.mean(paths[:, -1] < total), np.mean(paths[:, -1] == total)
    return Standing(len(mine), total, float(below + 0.5 * same))


def tracking_difference(
    history: pd.DataFrame,
    backtest: pd.DataFrame,
    *,
    fills: pd.DataFrame,
    ideal: pd.DataFrame,
    held: pd.DataFrame,
    returns: pd.DataFrame,
    smallest: pd.DataFrame,
) -> pd.DataFrame:
    """Why the book earned something else than its backtest, by session: columns book, backtest, difference, costs,
    timing, rounding, rest; fractions of the equity before. The last four add up to difference = book − backtest.

    history : columns date, equity, daily_return, costs (commission and slippage paid, USD), oldest first
    backtest : by session, columns return (after costs) and cost (fraction of its equity)
    fills : columns date, symbol, shares (signed), price, reference (price that the backtest would have had, USD; NaN
        where there was none)
    ideal, held : dates × symbols, weights at the close of the backtest and of the book; NaN or absent is 0
    returns : dates × symbols, adjusted, from the close before to this one
    smallest : dates × symbols, USD of the smallest trade: one share, or the minimum trade if that is more; NaN: none

    costs : the backtest's less those paid. timing : −shares·(price − reference)/equity before; fills without a
    reference are left to the rest. rounding : Σ (held − ideal)·return over the names whose gap at the close before was
    worth less than their smallest trade; 0 in the first session. rest : larger gaps (orders that were refused or
    expired, other data), dividends, interest and rounding of money. A gap whose return is unknown makes rounding and
    rest NaN.

    Raises DataError for a session that the backtest lacks.
    """
    book = history.set_index(pd.DatetimeIndex(history["date"])).drop(columns="date")
    if len(missing := book.index.difference(backtest.index)):
        raise DataError(f"the backtest has no session {missing[0]:%Y-%m-%d}; run it through {book.index[-1]:%Y-%m-%d}")
    before = book["equity"] / (1.0 + book["daily_return"])
    table = pd.DataFrame({"book": book["daily_return"], "backtest": backtest["return"].reindex(book.index)})
    table["difference"] = table["book"] - table["backtest"]
    table["costs"] = backtest["cost"].reindex(book.index) - book["costs"] / before
    table["timing"] = _timing(fills, book.index) / before
    table["rounding"] = _rounding(book["equity"], ideal, held, returns, smallest)
    table["rest"] = table["difference"] - table["costs"] - table["timing"] - table["rounding"]
    return table.astype("float64")


# ---- inside ----


def _paths(returns, sessions: int, draws: int, mean_block: float | None, seed: int) -> np.ndarray | None:
    """Cumulative returns of resampled backtests, (draws, sessions + 1), 0 at first; None if there is too little."""
    r = known(returns)
    if not (sessions >= 1 and draws >= 1 and (mean_block is None or mean_block >= 1)):
        raise ParameterError("sessions, draws and mean_block must be at least 1")
    if len(r) < FEWEST or is_constant(r):
        return None
    block = optimal_block_length(r) if mean_block is None else mean_block
    rows = stationary_bootstrap_indices(len(r), length=sessions, draws=draws, mean_block=block, seed=seed)
    growth = np.cumprod(1.0 + r[rows], axis=1) - 1.0
    return np.column_stack([np.zeros(draws), growth])


def _timing(fills: pd.DataFrame, sessions: pd.Index) -> pd.Series:
    """USD that prices other than the reference brought, by session; a fill on another date counts in none."""
    usd = -fills["shares"].astype("float64") * (fills["price"].astype("float64") - fills["reference"].astype("float64"))
    by_date = usd.groupby(pd.DatetimeIndex(pd.to_datetime(fills["date"]))).sum()
    return by_date.reindex(sessions, fill_value=0.0)


def _rounding(equity: pd.Series, ideal: pd.DataFrame, held: pd.DataFrame, returns, smallest) -> pd.Series:
    """What the gaps too small to trade earned, by session: the gap at the close before, times the return."""
    symbols = ideal.columns.union(held.columns)
    gap = _laid(held, equity.index, symbols).fillna(0.0) - _laid(ideal, equity.index, symbols).fillna(0.0)
    small = gap.abs().mul(equity, axis=0) < _laid(smallest, equity.index, symbols)
    gap = gap.where(small, 0.0).shift(1, fill_value=0.0)
    earned = (gap * _laid(returns, equity.index, symbols)).where(gap != 0.0, 0.0)
    return earned.sum(axis=1, skipna=False)


def _laid(table: pd.DataFrame, dates: pd.Index, symbols: pd.Index) -> pd.DataFrame:
    """A table of these dates and symbols, NaN where it has none."""
    return table.reindex(index=dates, columns=symbols).astype("float64")
