"""The median dollar volume: by hand, and the same for many places as for the last session."""

import numpy as np
import pandas as pd

from openbook.market.dollar_volume import median_dollar_volume, median_dollar_volumes
from support import portfolios as lab


def market_of(close: dict, volume: dict | None = None):
    """A market of these lines."""
    days = lab.sessions(len(next(iter(close.values()))))
    traded = None if volume is None else pd.DataFrame(volume, days, dtype=float)
    return lab.make_market(pd.DataFrame(close, days, dtype=float), volume=traded)


def test_median_dollar_volume_is_of_the_last_window():
    volume = {"A": [1, 2, 3, 4, 5], "B": [np.nan] * 4 + [7], "C": [np.nan] * 5}
    market = market_of({"A": [10] * 5, "B": [1] * 5, "C": [1] * 5}, volume)
    median = median_dollar_volume(market, window=3)
    assert median[["A", "B"]].tolist() == [40, 7]
    assert np.isnan(median["C"])
    assert median_dollar_volume(market_of({"A": [1.0]})) is None


def test_every_place_has_the_median_that_was_the_last_one_then():
    market = lab.random_market(3, 60, seed=1, gaps=0.3)
    shares = np.random.default_rng(0).integers(100, 1000, market.close.shape)
    volume = pd.DataFrame(shares, market.dates, market.symbols).where(market.close.notna())
    market = lab.make_market(market.close, market.open, volume=volume)
    for row in (0, 10, 45):
        expected = (market.close * market.volume).iloc[max(row - 19, 0) : row + 1].median()
        found = median_dollar_volumes(market, np.full(3, row), np.arange(3))
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(median_dollar_volume(market.upto(market.dates[row])), expected)
