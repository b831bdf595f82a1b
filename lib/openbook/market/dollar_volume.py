"""The median dollar volume of recent sessions: what an order is large against."""

from typing import cast

import numpy as np
import pandas as pd

from openbook.market.tables import Market

VOLUME_WINDOW = 20  # sessions


def median_dollar_volume(market: Market, window: int = VOLUME_WINDOW) -> pd.Series | None:
    """Median of close × volume over the last `window` sessions, (n_symbols,), USD; None if the source has no volume.

    A missing bar is left out of the median; a symbol without any bar in the window is NaN.
    """
    if market.volume is None:
        return None
    names = np.arange(len(market.symbols))
    last = np.full(len(names), len(market.dates) - 1)
    return pd.Series(median_dollar_volumes(market, last, names, window), index=market.symbols)


def median_dollar_volumes(
    market: Market, rows: np.ndarray, names: np.ndarray, window: int = VOLUME_WINDOW
) -> np.ndarray:
    """The same of many (session, name), given by their places, each over the `window` sessions through it, (k,)."""
    sessions = rows[:, None] - np.arange(window)
    places = np.maximum(sessions, 0), names[:, None]
    dollars = market.close.to_numpy()[places] * cast(pd.DataFrame, market.volume).to_numpy()[places]
    ordered = np.sort(np.where(sessions >= 0, dollars, np.nan), axis=1)  # NaN last
    seen = np.isfinite(ordered).sum(axis=1)
    low, high = np.maximum((seen - 1) // 2, 0), seen // 2
    each = np.arange(len(ordered))
    return 0.5 * (ordered[each, low] + ordered[each, np.minimum(high, window - 1)])
