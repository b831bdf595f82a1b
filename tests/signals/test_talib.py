"""The indicators beside TA-Lib, on the bars of one stock at a time.

Ours differ on purpose in three things. A window answers once two thirds of its values are there, TA-Lib's when all are.
An exponential mean weighs every value since the first, TA-Lib's starts from a plain mean, which is forgotten after some
hundred sessions. And only the order within a date counts, so scale and sign are ours: RSI from 0 to 1, not to 100.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import talib

from openbook.signals.features import FEATURES
from openbook.signals.lab_market import lab_market
from openbook.signals.panel import Panel, prepare

FORGOTTEN = 500  # sessions after which (1 - 2/28)^n of the slowest exponential mean, 27, is below 1e-15


class Bars(NamedTuple):
    """One stock, (n_dates,) each; market: the level of the index."""

    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    returns: np.ndarray
    market: np.ndarray


def sample(n: int) -> float:
    """What turns TA-Lib's standard deviation, divisor n, into ours, divisor n - 1."""
    return np.sqrt(n / (n - 1))


def bollinger(b: Bars) -> np.ndarray:
    upper, middle, _ = talib.BBANDS(b.close, 20, nbdevup=1, nbdevdn=1)
    return (b.close - middle) / (upper - middle) / sample(20)


def chaikin(b: Bars, volume: np.ndarray) -> np.ndarray:
    """What the accumulation/distribution line gained in 21 sessions, over their volume."""
    return talib.MOM(talib.AD(b.high, b.low, b.close, volume), 21) / talib.SUM(volume, 21)


def average(b: Bars, n: int) -> np.ndarray:
    return talib.SMA(b.close, n)


def volatility(b: Bars, n: int) -> np.ndarray:
    return talib.STDDEV(b.returns, n) * sample(n)


# fmt: off
TALIB: dict[str, Callable[[Bars], np.ndarray]] = {
    "momentum_21": lambda b: talib.ROCP(b.close, 21),
    "momentum_63": lambda b: talib.ROCP(b.close, 63),
    "momentum_126": lambda b: talib.ROCP(b.close, 126),
    "momentum_252": lambda b: talib.ROCP(b.close, 252),
    "reversal_1": lambda b: -talib.ROCP(b.close, 1),
    "reversal_5": lambda b: -talib.ROCP(b.close, 5),
    "reversal_5_scaled": lambda b: -talib.ROCP(b.close, 5) / volatility(b, 63),
    "volatility_21": lambda b: volatility(b, 21),
    "volatility_63": lambda b: volatility(b, 63),
    "volatility_252": lambda b: volatility(b, 252),
    "volatility_change": lambda b: volatility(b, 21) / volatility(b, 252),
    "true_range_14": lambda b: talib.SMA(talib.TRANGE(b.high, b.low, b.close), 14) / b.close,  # not ATR: see below
    "beta_63": lambda b: talib.BETA(b.market, b.close, 63),
    "beta_252": lambda b: talib.BETA(b.market, b.close, 252),
    "max_return_21": lambda b: talib.MAX(b.returns, 21),
    "average_distance_20": lambda b: b.close / average(b, 20) - 1,
    "average_distance_50": lambda b: b.close / average(b, 50) - 1,
    "average_distance_200": lambda b: b.close / average(b, 200) - 1,
    "average_cross_50_200": lambda b: average(b, 50) / average(b, 200) - 1,
    "rsi_14": lambda b: talib.RSI(b.close, 14) / 100,
    "macd_12_26": lambda b: talib.MACD(b.close, 12, 26, 9)[0] / b.close,
    "macd_histogram": lambda b: talib.MACD(b.close, 12, 26, 9)[2] / b.close,
    "bollinger_20": bollinger,
    "money_flow_14": lambda b: talib.MFI(b.high, b.low, b.close, b.volume, 14) / 100,
    "chaikin_21": lambda b: chaikin(b, b.volume),
    "high_proximity_252": lambda b: b.close / talib.MAX(b.close, 252) - 1,
    "low_distance_252": lambda b: b.close / talib.MIN(b.close, 252) - 1,
    "range_position_63": lambda b: talib.STOCHF(b.close, b.close, b.close, fastk_period=63, fastd_period=1)[0] / 100,
    "williams_r_14": lambda b: talib.WILLR(b.high, b.low, b.close, 14) / 100,
    "close_location_21": lambda b: chaikin(b, np.ones_like(b.volume)),
    "return_volume_correlation_63": lambda b: talib.CORREL(b.returns, np.log(b.volume), 63),
    "price_volume_correlation_21": lambda b: talib.CORREL(b.close, b.volume, 21),
    "move_volume_correlation_63": lambda b: talib.CORREL(np.abs(b.returns), np.log(b.volume), 63),
}
# fmt: on
EXPONENTIAL = ("rsi_14", "macd_12_26", "macd_histogram")


@pytest.fixture(scope="module")
def panel() -> Panel:
    """1,000 sessions of four stocks with splits and dividends; the two in the middle have every bar."""
    return Panel(prepare(lab_market(1000, 4, gaps=0.0)), slice(0, 4))


@pytest.fixture(scope="module", params=[1, 2])
def stock(request, panel) -> int:
    return request.param


@pytest.fixture(scope="module")
def bars(panel, stock) -> Bars:
    level = np.cumprod(1 + np.nan_to_num(panel.market), axis=0)
    fields = (panel.high, panel.low, panel.close, panel.volume, panel.returns, level)
    return Bars(*(np.ascontiguousarray(field[:, stock]) for field in fields))


def unranked(panel: Panel, name: str, stock: int) -> np.ndarray:
    with np.errstate(all="ignore"):
        return FEATURES[name].line(panel)[:, stock]


def test_every_trend_oscillator_and_range_is_compared():
    families = ("trend", "oscillator", "range", "price_volume")
    assert {name for name, feature in FEATURES.items() if feature.family in families} <= set(TALIB)


@pytest.mark.parametrize("name", TALIB)
def test_an_indicator_is_talibs(panel, bars, stock, name):
    ours, theirs = unranked(panel, name, stock), TALIB[name](bars)
    known = np.isfinite(theirs)
    known[: FORGOTTEN if name in EXPONENTIAL else 0] = False
    assert known[FORGOTTEN:].all()
    np.testing.assert_allclose(ours[known], theirs[known], rtol=1e-9, atol=1e-11 * np.abs(theirs[known]).max())


def test_the_average_true_range_is_a_plain_mean_where_talib_uses_wilders(panel, bars, stock):
    """14 sessions and no more: Wilder's mean keeps a third of what is older than that."""
    ours = unranked(panel, "true_range_14", stock)
    wilder = talib.ATR(bars.high, bars.low, bars.close, 14) / bars.close
    apart = np.abs(ours / wilder - 1)[FORGOTTEN:]
    assert 0.02 < np.median(apart) < 0.15
