"""A random market to try a feature on: daily bars with gaps, splits, dividends, listings, delistings and reports."""

import numpy as np
import pandas as pd

from openbook.market.tables import Market, adjust, empty_actions

FLOWS = ("sales", "earnings", "cash_flow", "gross_profit")
REPORT_ITEMS = (*FLOWS, "book", "assets", *(f"{item}_ttm" for item in FLOWS))
MAY_BE_NEGATIVE = ("earnings", "earnings_ttm", "book")


def lab_market(n_dates=800, n_symbols=9, seed=0, *, gaps=0.02, actions=True, fundamentals=False) -> Market:
    """A random market of daily bars with gaps, splits, dividends, late listings and delistings."""
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2015-01-05", periods=n_dates)
    symbols = pd.Index([f"S{i:04d}" for i in range(n_symbols)], dtype="str")
    shape = (n_dates, n_symbols)
    bars = _lab_bars(rng, shape)
    missing = rng.random(shape) < gaps
    missing[: n_dates // 3, :1] = True
    missing[-n_dates // 5 :, -1:] = True
    table = _lab_actions(rng, dates, symbols) if actions else empty_actions()
    per_share = np.ones(shape)
    for action in table[table["kind"] == "split"].itertuples():
        per_share[dates.get_loc(action.date) :, symbols.get_loc(action.symbol)] *= action.value

    def frame(values):
        return pd.DataFrame(np.where(missing, np.nan, values), index=dates, columns=symbols)

    prices = {name: frame(bars[name] / per_share) for name in ("close", "open", "high", "low")}
    return Market(
        **prices,
        adjusted=adjust(prices["close"], table),
        volume=frame(np.round(bars["volume"] * per_share)),
        name="lab",
        execution="next_open",
        actions=table,
        market_cap=frame(bars["close"] * 1e7) if fundamentals else None,
        fundamentals=_lab_reports(rng, dates, symbols) if fundamentals else None,
    )


def _lab_bars(rng, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """Prices and shares traded before any split, each (n_dates, n_symbols)."""
    n_dates, n_symbols = shape
    moves = rng.normal(0, 0.008, (n_dates, 1)) * rng.uniform(0.5, 1.5, n_symbols) + rng.normal(0.0002, 0.015, shape)
    close = 40.0 * np.exp(rng.normal(0, 0.7, n_symbols) + np.cumsum(moves, axis=0))
    opening = close * np.exp(rng.normal(0, 0.006, shape))
    high = np.maximum(close, opening) * np.exp(np.abs(rng.normal(0, 0.005, shape)))
    low = np.minimum(close, opening) * np.exp(-np.abs(rng.normal(0, 0.005, shape)))
    volume = np.round(np.exp(rng.normal(12, 1, n_symbols) + rng.normal(0, 0.5, shape) + 5 * np.abs(moves)))
    return {"close": close, "open": opening, "high": high, "low": low, "volume": volume}


def _lab_actions(rng, dates, symbols) -> pd.DataFrame:
    rows = []
    for i, symbol in enumerate(symbols[::2]):
        rows.append((dates[(len(dates) // 2 + 7 * i) % len(dates)], symbol, "split", [2.0, 4.0, 0.1][i % 3]))
        rows += [(dates[j], symbol, "dividend", 0.2) for j in range(40 + i, len(dates), 63)]
    table = pd.DataFrame(rows, columns=empty_actions().columns)
    return table.astype({"symbol": "str", "kind": "str"}).sort_values(["date", "symbol"], ignore_index=True)


def _lab_reports(rng, dates, symbols) -> pd.DataFrame:
    """Quarterly reports, some of them late, restated, or never followed by another."""
    rows = []
    for i, symbol in enumerate(symbols):
        for end in pd.date_range("2013-12-31", dates[-1], freq="QE"):
            filed = end + pd.Timedelta(days=int(rng.integers(25, 70)))
            if i == 2 and end > pd.Timestamp("2015-09-01"):
                continue
            for item in REPORT_ITEMS:
                value = float(np.round(rng.lognormal(15, 1)) * (rng.choice([-1, 1]) if item in MAY_BE_NEGATIVE else 1))
                rows.append((symbol, filed, end, item, value))
                if rng.random() < 0.1:
                    rows.append((symbol, filed + pd.Timedelta(days=int(rng.integers(1, 200))), end, item, value * 1.1))
    table = pd.DataFrame(rows, columns=["symbol", "available", "period_end", "item", "value"])
    table = table[table["available"] <= dates[-1]]
    return table.astype({"symbol": "str", "item": "str"}).sort_values(["available", "symbol"], ignore_index=True)
