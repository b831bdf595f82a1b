"""A small delivery made by hand, and the means to damage it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from openbook.market import calendar
from openbook.market.tables import Delivery, empty_actions

# The session that the tests of this room call tonight.
TONIGHT = "2023-06-30"
N_SYMBOLS, N_SESSIONS = 40, 70


@pytest.fixture
def tonight() -> pd.Timestamp:
    """The last session of `delivery`."""
    return pd.Timestamp(TONIGHT)


@pytest.fixture
def delivery() -> Delivery:
    """40 names × 70 sessions of sound OHLCV up to tonight, raw prices, no actions."""
    return make_delivery()


def make_delivery(n_symbols: int = N_SYMBOLS, n_sessions: int = N_SESSIONS, seed: int = 0) -> Delivery:
    """Random walks of 1% a day, with a range around each close and volumes near a million shares."""
    rng = np.random.default_rng(seed)
    dates = calendar.sessions("2020-01-01", TONIGHT)[-n_sessions:]
    symbols = pd.Index([f"S{i:02d}" for i in range(n_symbols)], dtype="str")
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.01, (n_sessions, n_symbols)), axis=0)) + np.arange(n_symbols)
    bars = pd.DataFrame(
        {
            "date": dates.repeat(n_symbols),
            "symbol": np.tile(symbols, n_sessions),
            "open": (close * rng.uniform(0.995, 1.005, close.shape)).ravel(),
            "high": (close * 1.01).ravel(),
            "low": (close * 0.99).ravel(),
            "close": close.ravel(),
            "volume": rng.integers(800_000, 1_200_000, close.size).astype(float),
        }
    )
    sectors = pd.Series([f"Sector {i % 4}" for i in range(n_symbols)], index=symbols, dtype="str")
    return Delivery(bars=bars.astype({"symbol": "str"}), name="by hand", sectors=sectors)


def where(delivery: Delivery, symbol, date) -> pd.Series:
    """Which rows of the bars belong to these symbols and dates (one or several)."""
    symbols, dates = ([symbol] if isinstance(symbol, str) else symbol), pd.DatetimeIndex(np.atleast_1d(date))
    return delivery.bars["symbol"].isin(list(symbols)) & delivery.bars["date"].isin(dates)


@pytest.fixture
def damage():
    """damage(delivery, symbols, dates, close=…) sets fields; scale=… multiplies prices; drop=True removes the bars."""
    return _damage


def _damage(delivery: Delivery, symbol, date, *, scale: float = 1.0, drop: bool = False, **values) -> Delivery:
    bars, rows = delivery.bars.copy(), where(delivery, symbol, date)
    assert rows.any()
    if drop:
        return replace(delivery, bars=bars[~rows])
    bars.loc[rows, ["open", "high", "low", "close"]] *= scale
    for field, value in values.items():
        bars.loc[rows, field] = value
    return replace(delivery, bars=bars)


@pytest.fixture
def act():
    """act(delivery, (date, symbol, kind, value), …) adds corporate actions."""
    return _act


def _act(delivery: Delivery, *rows: tuple) -> Delivery:
    table = pd.DataFrame(list(rows), columns=empty_actions().columns)
    table["date"] = pd.to_datetime(table["date"])
    old = empty_actions() if delivery.actions is None else delivery.actions
    return replace(delivery, actions=pd.concat([old, table.astype(dict(old.dtypes))], ignore_index=True))
