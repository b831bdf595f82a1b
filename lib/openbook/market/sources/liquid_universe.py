"""A universe made from the bars themselves: each month the names that traded most before it."""

import numpy as np
import pandas as pd
from pydantic import Field

from openbook.common.errors import DataError
from openbook.common.settings import Settings
from openbook.market.sources.inferred_delistings import Places, place


class Liquid(Settings):
    """The names with the largest median dollar volume, chosen anew on the first session of each month.

    Only sessions before that one are looked at, so a backtest holds what was liquid then. The first `window` sessions
    have no members.
    """

    top: int = Field(1000, ge=2, description="names")
    window: int = Field(63, ge=5, le=504, description="window of the median dollar volume, in sessions")
    min_price: float = Field(5.0, ge=0, description="USD; names with a last close below it are excluded for the month")


def liquid_members(bars: pd.DataFrame, rule: Liquid) -> pd.DataFrame:
    """Months of membership: symbol, start, end (the first session of the next month; NaT for the last one).

    bars : long, symbol, date, close (USD, as traded) and volume (shares). A session without a bar counts as no trade;
        of two bars of one session the larger counts, until ingest has chosen. Equal medians go by symbol.

    Raises DataError without volumes.
    """
    if "volume" not in bars:
        raise DataError("a liquid universe needs volume, which the source does not have")
    if bars.empty:
        return _intervals([])
    at, close, volume = place(bars), bars["close"].to_numpy("float64"), bars["volume"].to_numpy("float64")
    traded, marked = _table(at, close * volume), pd.DataFrame(_table(at, close))
    price = marked.mask(marked == 0).ffill(limit=rule.window).to_numpy()
    month = at.sessions.to_period("M")
    starts = np.flatnonzero(np.append(True, month[1:] != month[:-1]))
    known = starts[starts >= rule.window]
    days = [*at.sessions[known], pd.NaT]
    parts = []
    for i, row in enumerate(known):
        median = np.median(traded[row - rule.window : row], axis=0)
        sound = (median > 0) & (price[row - 1] >= rule.min_price)
        best = np.argsort(np.where(sound, -median, 0.0), kind="stable")[: min(rule.top, int(sound.sum()))]
        parts.append(pd.DataFrame({"symbol": at.symbols[np.sort(best)], "start": days[i], "end": days[i + 1]}))
    return _intervals(parts)


def _intervals(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """The parts together, with the right types though there be none."""
    table = pd.concat(parts) if parts else pd.DataFrame(columns=["symbol", "start", "end"])
    return table.astype({"symbol": "str", "start": "datetime64[us]", "end": "datetime64[us]"}).reset_index(drop=True)


def _table(at: Places, values: np.ndarray) -> np.ndarray:
    """Sessions × symbols of the finite, positive values, the larger of two; 0 where there is none."""
    kept = values[at.known]
    out = np.zeros((len(at.sessions), len(at.symbols)))
    np.maximum.at(out, (at.row, at.column), np.where((kept > 0) & np.isfinite(kept), kept, 0.0))
    return out
