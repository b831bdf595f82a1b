"""Returns of a simulated market: regimes, a market, sectors, stocks of their own, and the simulated drift."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from openbook.common.errors import ParameterError

Stream = Callable[[str], np.random.Generator]

# Daily market drift and volatility, and the volatility of everything else against normal, in risk-off, normal, risk-on.
MARKET_DRIFT = np.array([-0.0008, 0.0004, 0.0008])
MARKET_VOLATILITY = np.array([0.018, 0.010, 0.006])
OTHER_VOLATILITY = np.array([1.5, 1.0, 0.8])
STAY_OR_MOVE = np.array([[0.980, 0.020, 0.000], [0.006, 0.984, 0.010], [0.002, 0.018, 0.980]])
SECTOR_VOLATILITY = 0.005
OVERNIGHT = 0.3  # share of a day's variance and drift that falls between close and open
TAIL = 5  # degrees of freedom of a stock's own shocks
NEWS = 0.7  # correlation of the latent's news with the stock's own shock of the same day
PILOT_SESSIONS, PILOT_STOCKS = 1000, 512


class Stocks(NamedTuple):
    """What never changes about a stock, (n_symbols,) each."""

    sector: np.ndarray
    beta: np.ndarray
    volatility: np.ndarray


class Returns(NamedTuple):
    """Log total returns by session; latent is known at the session's close."""

    overnight: np.ndarray
    intraday: np.ndarray
    latent: np.ndarray
    market: np.ndarray
    regime: np.ndarray


def draw_stocks(n_symbols: int, n_sectors: int, stream: Stream) -> Stocks:
    """Sector in turn, beta around 1, volatility of its own around 1.5% a day."""
    rng = stream("stocks")
    beta = np.clip(rng.normal(1.0, 0.25, n_symbols), 0.4, 1.8)
    volatility = np.clip(0.015 * np.exp(0.3 * rng.standard_normal(n_symbols)), 0.007, 0.035)
    return Stocks(np.arange(n_symbols) % n_sectors, beta, volatility)


def simulate_returns(n_sessions: int, stocks: Stocks, stream: Stream, drift: float, half_life: float) -> Returns:
    """Log returns of the market, the sectors and the stocks themselves, drifting by `drift` per unit of latent.

    drift : daily drift in units of the stock's own volatility; the segment from the open of s to the open of s+1 drifts
        with the latent of the close of s−1, which an order of that session can use
    """
    regime = _regimes(n_sessions, stream("regimes"))
    calm = OTHER_VOLATILITY[regime][:, None]
    night, day = np.sqrt(OVERNIGHT), np.sqrt(1.0 - OVERNIGHT)
    shocks = [_shocks(n_sessions, len(stocks.beta), stream(name)) for name in ("overnight", "intraday")]
    latent = _latent(night * shocks[0] + day * shocks[1], stream("latent"), half_life)
    push = drift * stocks.volatility * calm * _before(latent, 1)
    push_night = drift * stocks.volatility * calm * _before(latent, 2)
    common = _common(n_sessions, stocks, stream, regime)
    own = stocks.volatility * calm
    return Returns(
        overnight=night * own * shocks[0] + OVERNIGHT * (push_night - own**2 / 2) + common[0],
        intraday=day * own * shocks[1] + (1.0 - OVERNIGHT) * (push - own**2 / 2) + common[1],
        latent=latent,
        market=common[2],
        regime=regime,
    )


def drift_per_latent(ic: float, horizon: int, half_life: float, n_sectors: int) -> float:
    """The `drift` of `simulate_returns` at which the latent's mean rank IC with the label is `ic`.

    Solved on a pilot market of fixed size and seed without drift, whose labels are then tilted: log labels are linear
    in the drift. The IC without tilt, which is chance, is taken off.
    """
    if ic == 0.0:
        return 0.0

    def stream(name: str) -> np.random.Generator:
        return np.random.default_rng([20, *name.encode()])

    stocks = draw_stocks(PILOT_STOCKS, n_sectors, stream)
    pilot = simulate_returns(PILOT_SESSIONS + horizon, stocks, stream, 0.0, half_life)
    dates = np.arange(0, PILOT_SESSIONS - 2, 5)
    noise = _label(pilot.overnight, pilot.intraday, dates, horizon)
    unit = stocks.volatility * OTHER_VOLATILITY[pilot.regime][:, None]
    night, day = OVERNIGHT * unit * _before(pilot.latent, 2), (1.0 - OVERNIGHT) * unit * _before(pilot.latent, 1)
    tilt = _label(night, day, dates, horizon)
    return _solve(partial(_tilted_ic, pilot.latent[dates], noise, tilt), ic, horizon)


def _solve(found: Callable[[float], float], ic: float, horizon: int) -> float:
    """The drift at which `found` is `ic`: the curve rises from 0, nearly straight at first, and bends down."""
    drift = ic / np.sqrt(horizon)
    for _ in range(20):
        reached = found(drift)
        if abs(reached - ic) <= 1e-3 * ic:
            return drift
        drift *= ic / max(reached, ic / 2)
    raise ParameterError(f"no drift reaches a rank IC of {ic} over {horizon} sessions; increase half_life or lower ic")


def _tilted_ic(latent: np.ndarray, noise: np.ndarray, tilt: np.ndarray, drift: float) -> float:
    """Mean rank IC of the latent with labels tilted by `drift`, less that with labels left alone."""
    scores = _centered_ranks(latent)
    gain = _centered_ranks(noise + drift * tilt) - _centered_ranks(noise)
    return float((scores * gain).sum() / (scores**2).sum())


def _centered_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks within each row less their mean; continuous numbers have no ties."""
    return values.argsort(axis=1).argsort(axis=1) - (values.shape[1] - 1) / 2


def _label(overnight: np.ndarray, intraday: np.ndarray, dates: np.ndarray, horizon: int) -> np.ndarray:
    """Log return from the open of t+1 to the open of t+1+horizon, for the rows `dates`."""
    at_open = np.cumsum(overnight, axis=0)
    at_open[1:] += np.cumsum(intraday, axis=0)[:-1]
    return at_open[dates + 1 + horizon] - at_open[dates + 1]


def _regimes(n_sessions: int, rng: np.random.Generator) -> np.ndarray:
    """A Markov chain over risk-off, normal, risk-on that begins in normal."""
    edges = np.cumsum(STAY_OR_MOVE, axis=1)
    path, state = np.empty(n_sessions, dtype=np.int64), 1
    for t, draw in enumerate(rng.random(n_sessions)):
        state = min(int(np.searchsorted(edges[state], draw, side="right")), 2)
        path[t] = state
    return path


def _common(n_sessions: int, stocks: Stocks, stream: Stream, regime: np.ndarray) -> tuple[np.ndarray, ...]:
    """Market and sector part of each stock's overnight and intraday return, and the market's own daily return."""
    n_sectors = int(stocks.sector.max()) + 1
    parts, market = [], np.zeros(n_sessions)
    for name, share in (("overnight", OVERNIGHT), ("intraday", 1.0 - OVERNIGHT)):
        shock = stream(f"market {name}").standard_normal(n_sessions)
        of_market = share * MARKET_DRIFT[regime] + np.sqrt(share) * MARKET_VOLATILITY[regime] * shock
        sector = stream(f"sectors {name}").standard_normal((n_sessions, n_sectors))
        of_sector = np.sqrt(share) * SECTOR_VOLATILITY * OTHER_VOLATILITY[regime][:, None] * sector
        parts.append(of_market[:, None] * stocks.beta + of_sector[:, stocks.sector])
        market += of_market
    return parts[0], parts[1], market


def _shocks(n_sessions: int, n_symbols: int, rng: np.random.Generator) -> np.ndarray:
    """Fat-tailed, variance 1; drawn session by session, so that more sessions leave the earlier ones alone."""
    return rng.standard_t(TAIL, (n_sessions, n_symbols)) * np.sqrt((TAIL - 2) / TAIL)


def _latent(shocks: np.ndarray, rng: np.random.Generator, half_life: float) -> np.ndarray:
    """AR(1) of variance 1; its news is correlated with the day's own shock by NEWS."""
    keep = 0.5 ** (1.0 / half_life)
    news = NEWS * shocks + np.sqrt(1.0 - NEWS**2) * rng.standard_normal(shocks.shape)
    news[1:] *= np.sqrt(1.0 - keep**2)  # the first row is the stationary start
    for t in range(1, len(news)):
        news[t] += keep * news[t - 1]
    return news


def _before(latent: np.ndarray, lag: int) -> np.ndarray:
    """The latent of `lag` sessions before; 0 before the first."""
    out = np.zeros_like(latent)
    out[lag:] = latent[:-lag]
    return out
