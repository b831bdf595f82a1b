"""Delistings inferred without a recorded action: a symbol whose bars end or pause for long was delisted."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field

from openbook.common.frames import places_in
from openbook.common.settings import Settings
from openbook.market import calendar
from openbook.market.tables import ACTION_COLUMNS, empty_actions


class Endings(Settings):
    """How to read the end of a history. Set this for a history that is complete, never for a feed that may be late.

    What the last holder got is not in the bars. 0 sells at the last close, which suits a takeover; a stock that failed
    lost about 30% more on the NYSE and AMEX (Shumway 1997, Journal of Finance 52) and 55% on NASDAQ (Shumway and
    Warther 1999). Where the symbol comes back below its last close, a holder got no more than that price: it may have
    been the same stock, halted.
    """

    final_return: float = Field(0.0, ge=-1, le=1, description="assumed delisting return after the last close")
    after: int = Field(20, ge=5, le=252, description="sessions without a bar after which a listing counts as ended")


class Places(NamedTuple):
    """Where each bar belongs on sessions × symbols; `known` marks the rows of the bars that lie on a session."""

    sessions: pd.DatetimeIndex
    symbols: pd.Index
    row: np.ndarray
    column: np.ndarray
    known: np.ndarray


def place(bars: pd.DataFrame) -> Places:
    """Long bars on the sessions from their first date to their last and their sorted symbols."""
    sessions = calendar.sessions(bars["date"].min(), bars["date"].max()).as_unit("us")
    column, symbols = pd.factorize(bars["symbol"])
    symbols = pd.Index(symbols, dtype="str", name="symbol")
    rank = symbols.argsort().argsort()
    row = places_in(sessions, bars["date"].to_numpy("datetime64[us]"))
    known = row >= 0
    return Places(sessions, symbols.sort_values(), row[known], rank[column[known]], known)


def read_endings(bars: pd.DataFrame, endings: Endings) -> pd.DataFrame:
    """A delisting on the first session without a bar, for each listing in `bars` that ended: ACTION_COLUMNS.

    bars : long, columns symbol and date, and close if there is one. A symbol that comes back later begins a new
    listing. Dates that are no sessions count for nothing.
    """
    if bars.empty:
        return empty_actions()
    at = place(bars)
    has = np.zeros((len(at.symbols), len(at.sessions)), dtype=bool)
    has[at.column, at.row] = True
    column, row = np.nonzero(has)
    last = np.append(column[1:] != column[:-1], True)
    following = np.where(last, len(at.sessions), np.append(row[1:], 0))
    ended = following - row > endings.after
    back = np.where(last, row, following)[ended]
    value = np.fmin(endings.final_return, _returned(bars, at, column[ended], row[ended], back))
    table = {"date": at.sessions[row[ended] + 1], "symbol": at.symbols[column[ended]]}
    out = pd.DataFrame(table | {"kind": "delisting", "value": value})
    return out.astype(dict(empty_actions().dtypes)).sort_values(ACTION_COLUMNS, ignore_index=True)


def _returned(bars: pd.DataFrame, at: Places, column: np.ndarray, row: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Return from the close in `row` to the one in `back`; NaN where they are one, or unknown, or no prices."""
    if "close" not in bars:
        return np.full(len(row), np.nan)
    close = np.full((len(at.symbols), len(at.sessions)), np.nan)
    close[at.column, at.row] = pd.to_numeric(bars["close"], errors="coerce").to_numpy("float64")[at.known]
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(back > row, close[column, back] / close[column, row] - 1, np.nan)
    return np.where((found > -1) & np.isfinite(found), found, np.nan)
