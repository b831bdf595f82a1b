"""From returns to what a vendor sends: raw bars, splits, dividends, late listings, delistings and lost bars."""

from typing import NamedTuple

import numpy as np

from openbook.common.constants import SESSIONS_A_YEAR
from openbook.market.sources.simulated_returns import Returns, Stocks, Stream
from openbook.market.sources.simulated_settings import SimulatedSource

QUARTER = SESSIONS_A_YEAR // 4
LATEST_LISTING = 120  # sessions
SPLIT_RATIOS, SPLIT_ODDS = np.array([2.0, 3.0, 4.0]), np.array([0.6, 0.15, 0.25])
LOWEST_FORWARD_SPLIT, HIGHEST_REVERSE_SPLIT, REVERSE_SPLIT = 25.0, 3.0, 0.1  # USD, USD, new shares per old
ACQUIRED = 0.7  # share of delistings; the others fail
VOLUME_TRACK = 0.3  # log volume per unit of latent


class Listings(NamedTuple):
    """Sessions × symbols, raw USD and shares; values without a bar are meaningless where `has_bar` is False.

    split, dividend, final_return are NaN where nothing happens. begin and end, (n_symbols,): a stock is listed in the
    rows begin … end−1.
    """

    has_bar: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    split: np.ndarray
    dividend: np.ndarray
    final_return: np.ndarray
    market_cap: np.ndarray


def list_stocks(source: SimulatedSource, stocks: Stocks, returns: Returns, stream: Stream) -> Listings:
    """Raw prices as traded, and the actions that connect them with the total returns."""
    rng = stream("first prices")
    first_price = np.clip(60.0 * np.exp(0.7 * rng.standard_normal(source.n_symbols)), 8.0, 400.0)
    first_cap = np.clip(8e9 * np.exp(1.2 * rng.standard_normal(source.n_symbols)), 3e8, 2e12)
    growth = np.exp(np.cumsum(returns.overnight + returns.intraday, axis=0))
    begin, end, final_return = _life(source, growth.shape, stream)
    sessions = np.arange(len(growth))[:, None]
    alive = (sessions >= begin) & (sessions < end)
    payout = _payouts(source, growth.shape, alive, stream)
    paid = growth * np.cumprod(1.0 - payout, axis=0)  # price return: dividends leave the price
    split = _splits(source, first_price * paid, alive, stream)
    payout[~np.isnan(split)] = 0.0
    shares = np.cumprod(np.nan_to_num(split, nan=1.0), axis=0)  # that one share of the first session has become
    scale = first_price * np.cumprod(1.0 - payout, axis=0) / shares
    close = np.round(growth * scale, 2).clip(0.01)
    before = np.vstack([np.ones_like(first_price), growth[:-1]])
    open_ = np.round(before * np.exp(returns.overnight) * scale, 2).clip(0.01)
    high, low = _range(open_, close, stocks, stream)
    dividend = _dividends(payout, before * scale)
    quiet = np.isnan(split) & np.isnan(dividend)  # a vendor that lost the bar of an action would have lost the action
    lost = quiet & (stream("lost bars").random(close.shape) < source.missing_bars)
    return Listings(
        has_bar=alive & ~lost,
        begin=begin,
        end=end,
        open=open_,
        high=high,
        low=low,
        close=close,
        volume=_volume(first_cap / first_price * shares, returns, stocks, stream),
        split=split,
        dividend=dividend,
        final_return=final_return,
        market_cap=first_cap * growth * np.cumprod(1.0 - payout, axis=0),
    )


def _life(source: SimulatedSource, shape: tuple[int, int], stream: Stream) -> tuple[np.ndarray, ...]:
    """First row of each stock, the row after its last, and the final return on that row."""
    rng, sessions = stream("listings"), np.arange(shape[0])[:, None]
    late = rng.random(shape[1]) < source.late_listings
    begin = np.where(late, rng.integers(1, LATEST_LISTING, shape[1]), 0)
    ends = stream("delistings").random(shape) < source.delistings_per_year / SESSIONS_A_YEAR
    ends &= sessions > begin
    end = np.where(ends.any(axis=0), ends.argmax(axis=0), shape[0])
    acquired, size = stream("final kinds").random(shape[1]) < ACQUIRED, stream("final returns").random(shape[1])
    value = np.where(acquired, 0.05 * size, -0.3 - 0.7 * size)
    return begin, end, np.where(sessions == end, value, np.nan)


def _payouts(source: SimulatedSource, shape: tuple[int, int], alive: np.ndarray, stream: Stream) -> np.ndarray:
    """Dividend as a share of the price before, on each stock's quarterly ex-dates; 0 elsewhere."""
    rng = stream("dividends")
    pays = rng.random(shape[1]) < source.payers
    quarterly = rng.uniform(0.01, 0.04, shape[1]) / 4
    turn = rng.integers(0, QUARTER, shape[1])
    ex_date = (np.arange(shape[0])[:, None] + turn) % QUARTER == 0
    return np.where(ex_date & pays & _traded_before(alive), quarterly, 0.0)


def _splits(source: SimulatedSource, price: np.ndarray, alive: np.ndarray, stream: Stream) -> np.ndarray:
    """New shares per old, NaN on other days: dear stocks split, cheap ones merge, the rest do neither.

    price : as it would be without any split; yesterday's decides, so the past never depends on the future
    """
    due = (stream("splits").random(price.shape) < source.splits_per_year / SESSIONS_A_YEAR) & _traded_before(alive)
    ratio = SPLIT_RATIOS[np.searchsorted(np.cumsum(SPLIT_ODDS)[:-1], stream("split ratios").random(price.shape))]
    split, shares = np.full(price.shape, np.nan), np.ones(price.shape[1])
    for t, i in zip(*np.nonzero(due), strict=True):
        yesterday = price[t - 1, i] / shares[i]
        if yesterday >= LOWEST_FORWARD_SPLIT:
            split[t, i] = ratio[t, i]
        elif yesterday <= HIGHEST_REVERSE_SPLIT:
            split[t, i] = REVERSE_SPLIT
        shares[i] *= np.nan_to_num(split[t, i], nan=1.0)
    return split


def _traded_before(alive: np.ndarray) -> np.ndarray:
    """True where a stock trades and traded the session before."""
    return alive & np.vstack([np.zeros((1, alive.shape[1]), dtype=bool), alive[:-1]])


def _dividends(payout: np.ndarray, before: np.ndarray) -> np.ndarray:
    """USD per share on ex-dates, NaN elsewhere. before : yesterday's close on today's scale, dividend already off."""
    amount = np.round(before * payout / (1.0 - payout), 4)
    return np.where(amount > 0, amount, np.nan)


def _range(open_: np.ndarray, close: np.ndarray, stocks: Stocks, stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """High and low of the day: open and close, and a little beyond."""
    reach = 0.4 * stocks.volatility
    up, down = (np.abs(stream(name).standard_normal(close.shape)) for name in ("highs", "lows"))
    high = np.maximum(open_, close) * np.exp(reach * up)
    low = np.minimum(open_, close) * np.exp(-reach * down)
    return np.round(high, 2).clip(0.01), np.round(low, 2).clip(0.01)


def _volume(shares: np.ndarray, returns: Returns, stocks: Stocks, stream: Stream) -> np.ndarray:
    """Shares traded: about 0.5% of those outstanding, more on big moves and while the latent is high."""
    habit = stream("volume").standard_normal(shares.shape)
    day = stream("volume of the day").standard_normal(shares.shape)
    habit[1:] *= 0.3
    for t in range(1, len(habit)):
        habit[t] += 0.9 * habit[t - 1]
    move = np.abs(returns.overnight + returns.intraday) / stocks.volatility
    activity = 0.4 * habit + 0.3 * day + 0.2 * move + VOLUME_TRACK * returns.latent
    return np.maximum(np.round(0.005 * shares * np.exp(activity)), 1.0)
