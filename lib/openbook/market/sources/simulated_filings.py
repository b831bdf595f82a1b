"""Quarterly reports of a simulated market, usable from the session after they were filed."""

import numpy as np
import pandas as pd

from openbook.market.sources.simulated_returns import Stream
from openbook.market.sources.simulated_vendor import Listings
from openbook.market.tables import FUNDAMENTAL_COLUMNS

# Flows are of the quarter, balances at its end; all in USD.
ITEMS = ("sales", "gross_profit", "earnings", "cash_flow", "book", "assets")
QUARTERS_BEFORE = 8  # reports on file when the market begins, so that yearly growth exists from the start
FIRST_FILING, LAST_FILING = 20, 60  # calendar days after the quarter's end
GROWTH_TRACK, MARGIN_TRACK = 0.03, 0.02  # per unit of latent


def simulate_filings(
    dates: pd.DatetimeIndex, symbols: pd.Index, listed: Listings, latent: np.ndarray, stream: Stream
) -> pd.DataFrame:
    """Reports of every quarter that someone could have read by the last session, FUNDAMENTAL_COLUMNS.

    A stock reports while it is listed; what it filed before is available on its first session. `available` is otherwise
    the first session after the filing date.
    """
    first = dates[0].to_period("Q") - QUARTERS_BEFORE
    ends = pd.period_range(first, dates[-1].to_period("Q"), freq="Q").end_time.normalize().astype(dates.dtype)
    items = _statements(_at(ends, dates, latent), listed.market_cap[0], stream)
    days = stream("filing dates").integers(FIRST_FILING, LAST_FILING + 1, (len(ends), len(symbols)))
    filed = ends.to_numpy()[:, None] + days.astype("timedelta64[D]")
    row = dates.searchsorted(filed.ravel(), side="right").reshape(filed.shape)
    row = np.maximum(row, listed.begin)
    quarter, stock = np.nonzero(row < listed.end)
    known = dates.take(row[quarter, stock])
    keys = {"symbol": symbols.take(stock), "available": known, "period_end": ends.take(quarter)}
    parts = [pd.DataFrame(keys | {"item": item, "value": np.round(items[item][quarter, stock])}) for item in ITEMS]
    table = pd.concat(parts).astype({"item": "str"})
    return table.sort_values(["available", "symbol", "period_end", "item"], ignore_index=True)[FUNDAMENTAL_COLUMNS]


def _at(ends: pd.Index, dates: pd.DatetimeIndex, latent: np.ndarray) -> np.ndarray:
    """The latent at the last session of each quarter, quarters × symbols; 0 for quarters before the market."""
    row = dates.searchsorted(ends, side="right") - 1
    return np.where(row[:, None] >= 0, latent[row], 0.0)


def _statements(latent: np.ndarray, first_cap: np.ndarray, stream: Stream) -> dict[str, np.ndarray]:
    """Each item, quarters × symbols: sales grow, margins wander, what is earned and not paid out becomes book."""
    n = len(first_cap)
    firm = stream("firms")
    sales_yield, margin, markup = firm.uniform(0.1, 0.5, n), firm.uniform(0.02, 0.15, n), firm.uniform(0.15, 0.4, n)
    leverage, book_yield, trend = firm.uniform(1.3, 4.0, n), firm.uniform(0.2, 0.7, n), firm.normal(0.012, 0.012, n)
    noise = {name: stream(f"reports {name}").standard_normal(latent.shape) for name in ("growth", "margin", "accrual")}
    growth = trend + 0.02 * noise["growth"] + GROWTH_TRACK * latent
    sales = sales_yield / 4 * first_cap * np.exp(np.cumsum(growth, axis=0))
    margins = margin + 0.015 * noise["margin"] + MARGIN_TRACK * latent
    earnings = sales * margins
    book = np.maximum(book_yield * first_cap + 0.5 * np.cumsum(earnings, axis=0), 0.05 * first_cap)
    return {
        "sales": sales,
        "gross_profit": sales * (margins + markup),
        "earnings": earnings,
        "cash_flow": earnings + sales * (0.04 + 0.03 * noise["accrual"]),
        "book": book,
        "assets": book * leverage,
    }
