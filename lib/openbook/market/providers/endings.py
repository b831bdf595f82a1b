"""Delistings that a history shows and no action records: a symbol whose bars end, or stop for long, was delisted."""

import numpy as np
import pandas as pd
from pydantic import BaseModel, Field

from openbook.market import calendar
from openbook.market.tables import ACTION_COLUMNS, empty_actions


class Endings(BaseModel, frozen=True, extra="forbid"):
    """How to read the end of a history. Set this for a history that is complete, never for a feed that may be late.

    What the last holder got is not in the bars. 0 sells at the last close, which suits a takeover; a stock that failed
    lost about 30% more on the NYSE and AMEX (Shumway 1997, Journal of Finance 52) and 55% on NASDAQ (Shumway and
    Warther 1999).
    """

    final_return: float = Field(0.0, ge=-1, le=1, description="return after the last close to what a holder got")
    after: int = Field(20, ge=5, le=252, description="sessions without a bar that end a listing")


def read_endings(bars: pd.DataFrame, endings: Endings) -> pd.DataFrame:
    """A delisting on the first session without a bar, for each listing in `bars` that ended: ACTION_COLUMNS.

    bars : long, columns symbol and date. A symbol that comes back later begins a new listing. Dates that are no
    sessions count for nothing.
    """
    if bars.empty:
        return empty_actions()
    sessions = calendar.sessions(bars["date"].min(), bars["date"].max()).as_unit("us")
    code, symbols = pd.factorize(bars["symbol"], sort=True)
    row = sessions.get_indexer(bars["date"].to_numpy("datetime64[us]"))
    seen = np.unique(code[row >= 0].astype(np.int64) * (len(sessions) + 1) + row[row >= 0])
    column, row = np.divmod(seen, len(sessions) + 1)
    end_of_all = np.full(len(row), len(sessions))
    following = np.where(np.append(column[1:] == column[:-1], False), np.append(row[1:], 0), end_of_all)
    ended = following - row > endings.after
    table = {"date": sessions[row[ended] + 1], "symbol": np.asarray(symbols)[column[ended]]}
    out = pd.DataFrame(table | {"kind": "delisting", "value": endings.final_return})
    return out.astype(dict(empty_actions().dtypes)).sort_values(ACTION_COLUMNS, ignore_index=True)
