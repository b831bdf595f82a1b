"""A market from a seed: N stocks × T sessions with a simulated signal whose strength is known.

How the signal is simulated
---------------------------
Every stock carries a hidden, slowly moving number, its *latent* z (mean 0, variance 1, `half_life` sessions). While z
is high the stock drifts up a little, by just so much that the mean rank correlation, within a date, of z(t) with the
return from the open of t+1 to the open of t+1+horizon is the chosen `ic`
(`simulated_returns.drift_per_latent` solves for it).
z is hidden, but it leaves traces that ordinary features pick up, each with its own noise:
- past returns: the news that moves z also moved the price on the same day (momentum over about the half-life);
- volume: the stock trades more, against its own habit, while z is high;
- reports: sales growth and margins of a quarter lean toward z at its end.
With ic = 0 the traces remain but predict nothing. Nothing at t uses data after t, and every random number belongs to
its session: with the same `start`, a later end only adds rows.
"""

import zlib
from datetime import timedelta
from typing import cast

import numpy as np
import pandas as pd

from openbook.market.sources.simulated_filings import simulate_filings
from openbook.market.sources.simulated_returns import draw_stocks, drift_per_latent, simulate_returns
from openbook.market.sources.simulated_settings import DEFAULT_SESSIONS, DEFAULT_START, SimulatedSource
from openbook.market.sources.simulated_vendor import Listings, list_stocks
from openbook.market.tables import Delivery


def fetch_simulated(source: SimulatedSource) -> Delivery:
    """The simulated market as a provider delivers it."""
    return simulate(source)[0]


def simulate(source: SimulatedSource) -> tuple[Delivery, pd.DataFrame]:
    """The delivery, and the simulated latent, sessions × symbols, NaN where the stock has no bar."""
    dates = _sessions(source)

    def stream(name: str) -> np.random.Generator:
        return np.random.default_rng([source.seed, zlib.crc32(name.encode())])

    stocks = draw_stocks(source.n_symbols, len(source.sectors), stream)
    drift = drift_per_latent(source.ic, source.horizon, source.half_life, len(source.sectors))
    returns = simulate_returns(len(dates), stocks, stream, drift, source.half_life)
    listed = list_stocks(source, stocks, returns, stream)
    symbols = pd.Index([f"S{i:04d}" for i in range(source.n_symbols)], dtype="str", name="symbol")
    delivery = Delivery(
        bars=_bars(listed, dates, symbols),
        name=f"simulated ({source.n_symbols} stocks, seed {source.seed})",
        execution="next_open",
        actions=_actions(listed, dates, symbols),
        fundamentals=simulate_filings(dates, symbols, listed, returns.latent, stream) if source.reports else None,
        sectors=pd.Series([source.sectors[i] for i in stocks.sector], index=symbols, dtype="str", name="sector"),
        market_cap=pd.DataFrame(np.where(listed.has_bar, listed.market_cap, np.nan), index=dates, columns=symbols),
        index=pd.Series(1000.0 * np.exp(np.cumsum(returns.market)), index=dates, name="simulated index"),
        notes=("Simulated prices: results say nothing about real markets.",),
    )
    return delivery, pd.DataFrame(np.where(listed.has_bar, returns.latent, np.nan), index=dates, columns=symbols)


def _sessions(source: SimulatedSource) -> pd.DatetimeIndex:
    """The XNYS sessions that the settings ask for."""
    from openbook.market.calendar import sessions

    if source.start is not None and source.end is not None:
        dates = sessions(source.start, source.end)
    else:
        n = source.n_sessions or DEFAULT_SESSIONS
        reach = timedelta(days=int(n * 1.5) + 15)  # 252 sessions a year, closures included
        if source.end is not None:
            dates = sessions(source.end - reach, source.end)[-n:]
        else:
            start = source.start or DEFAULT_START
            dates = sessions(start, start + reach)[:n]
    return cast(pd.DatetimeIndex, pd.DatetimeIndex(dates, name="date").astype("datetime64[us]"))


def _bars(listed: Listings, dates: pd.DatetimeIndex, symbols: pd.Index) -> pd.DataFrame:
    """One row per stock and session with a bar, by session, then symbol."""
    row, column = np.nonzero(listed.has_bar)
    fields = ("open", "high", "low", "close", "volume")
    keys = {"symbol": symbols.take(column), "date": dates.take(row)}
    return pd.DataFrame(keys | {field: getattr(listed, field)[row, column] for field in fields})


def _actions(listed: Listings, dates: pd.DatetimeIndex, symbols: pd.Index) -> pd.DataFrame:
    """Splits, dividends and delistings; a delisting is dated on the first session without a bar."""
    parts = []
    for kind, table in (("split", listed.split), ("dividend", listed.dividend), ("delisting", listed.final_return)):
        row, column = np.nonzero(~np.isnan(table))
        keys = {"date": dates.take(row), "symbol": symbols.take(column), "kind": kind}
        parts.append(pd.DataFrame(keys | {"value": table[row, column]}))
    actions = pd.concat(parts).astype({"symbol": "str", "kind": "str"})
    return actions.sort_values(["date", "symbol", "kind"], ignore_index=True)
