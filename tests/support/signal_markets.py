"""Small markets with a known answer, for the tests of this room."""

import numpy as np
import pandas as pd

from openbook.market.tables import Market, adjust, empty_actions
from openbook.signals.dataset import build_dataset
from openbook.signals.features import Features


def sessions(n: int) -> pd.DatetimeIndex:
    """n weekdays; good enough where no exchange is involved."""
    return pd.bdate_range("2015-01-05", periods=n)


def names(n: int) -> pd.Index:
    return pd.Index([f"S{i:03d}" for i in range(n)], dtype="str")


def market_of(close: pd.DataFrame, open_: pd.DataFrame | None = None, actions: list[tuple] = ()) -> Market:
    """A market of these raw prices; actions as (date, symbol, kind, value)."""
    table = empty_actions()
    if actions:
        table = pd.DataFrame(list(actions), columns=table.columns).astype({"date": "datetime64[us]", "symbol": "str"})
    return Market(
        close=close,
        adjusted=adjust(close, table),
        open=open_,
        name="lab",
        execution="next_close" if open_ is None else "next_open",
        actions=table,
    )


def random_market(seed: int, n_dates: int, n_symbols: int, *, effect: float = 0.0, gaps: float = 0.0):
    """Prices, and the signal (dates × symbols) that is worth `effect` standard deviations two sessions later."""
    rng = np.random.default_rng(seed)
    signal = np.zeros((n_dates, n_symbols))
    for t in range(1, n_dates):  # slow, as signals are
        signal[t] = 0.9 * signal[t - 1] + np.sqrt(1 - 0.81) * rng.standard_normal(n_symbols)
    daily = 0.02 * rng.standard_normal((n_dates, n_symbols))
    daily[2:] += 0.02 * effect * signal[:-2]
    close = pd.DataFrame(100 * np.exp(np.cumsum(daily, axis=0)), index=sessions(n_dates), columns=names(n_symbols))
    return market_of(close.mask(rng.random(close.shape) < gaps)), signal


def features_of(market: Market, *columns: np.ndarray) -> Features:
    """Features from dates × symbols arrays, ranked within the date, NaN where the market has no bar."""
    ranked = [pd.DataFrame(c).where(market.close.notna().to_numpy()).rank(axis=1, pct=True) - 0.5 for c in columns]
    return Features(
        values=np.stack([r.to_numpy() for r in ranked], axis=2).astype(np.float32),
        dates=market.dates,
        symbols=market.symbols,
        names=tuple(f"feature_{i}" for i in range(len(columns))),
    )


def noise_features(market: Market, n: int, seed: int = 1) -> Features:
    rng = np.random.default_rng(seed)
    return features_of(market, *(rng.random(market.close.shape) for _ in range(n)))


def planted_dataset(n_dates=400, n_symbols=40, *, effect=0.3, horizon=5, n_noise=4, seed=0):
    """A dataset whose first feature is worth something and whose others are not."""
    market, signal = random_market(seed, n_dates, n_symbols, effect=effect)
    noise = np.random.default_rng(seed + 1).random((n_noise, *signal.shape))
    return build_dataset(market, features_of(market, signal, *noise), horizon)
