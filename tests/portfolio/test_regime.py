"""The regime: causal, visible, and right about the falls that everybody remembers."""

import numpy as np
import pandas as pd
import pytest

from openbook.common.errors import DataError
from openbook.portfolio.regime import (
    NORMAL,
    RISK_OFF,
    RISK_ON,
    RegimeSettings,
    detect_regime,
    market_level,
)
from support import portfolios as lab

QUICK = RegimeSettings(
    trend_window=40,
    slope_window=5,
    volatility_window=10,
    volatility_history=120,
    min_volatility_history=60,
)


def index_market(returns: np.ndarray):
    """A market whose index has these daily returns."""
    dates = lab.sessions(len(returns))
    index = pd.Series(100 * np.cumprod(1 + np.asarray(returns)), dates)
    close = pd.DataFrame(np.ones((len(returns), 2)), dates, lab.names(2))
    return lab.make_market(close, index=index)


def calm_then_crash(calm: int = 300, crash: int = 40) -> np.ndarray:
    """A rise that grows calmer, a noisy fall, the same rise again."""
    rise = 0.001 + np.linspace(0.006, 0.004, calm) * np.tile([1, -1], calm // 2)
    fall = -0.015 + np.random.default_rng(1).normal(size=crash) * 0.03
    return np.concatenate([rise, fall, rise])


def test_calm_rise_is_risk_on_and_a_crash_is_risk_off():
    table = detect_regime(index_market(calm_then_crash()), QUICK)
    before, during = table["regime"].iloc[200:295], table["regime"].iloc[320:340]
    assert (before == RISK_ON).mean() > 0.8
    assert (during == RISK_OFF).all()
    assert (table["regime"].iloc[-60:] == RISK_ON).mean() > 0.8


def test_regime_ignores_the_future():
    market = index_market(calm_then_crash())
    for row in (100, 310, 400):
        cut = market.dates[row]
        pd.testing.assert_frame_equal(detect_regime(market, QUICK).loc[:cut], detect_regime(market.upto(cut), QUICK))


def test_regime_of_the_universe_ignores_the_future(market):
    cut = market.dates[300]
    pd.testing.assert_frame_equal(detect_regime(market, QUICK).loc[:cut], detect_regime(market.upto(cut), QUICK))


def test_normal_until_there_is_enough_history():
    table = detect_regime(index_market(calm_then_crash()), QUICK)
    unknown = table[["trend", "slope", "volatility_rank"]].isna().any(axis=1)
    assert unknown.iloc[:69].all()
    assert (table.loc[unknown, "regime"] == NORMAL).all()


def test_a_signal_counts_only_after_it_was_confirmed():
    market = index_market(calm_then_crash())
    table = detect_regime(market, QUICK)
    for row in range(2, len(table)):
        last = table["signal"].iloc[row - 2 : row + 1]
        expected = last.iloc[0] if last.nunique() == 1 else table["regime"].iloc[row - 1]
        assert table["regime"].iloc[row] == expected
    at_once = detect_regime(market, QUICK.model_copy(update={"confirm": 1}))
    pd.testing.assert_series_equal(at_once["regime"], at_once["signal"], check_names=False)


def test_scale_of_the_index_does_not_matter():
    market = index_market(calm_then_crash())
    other = lab.make_market(market.close, index=market.index * 8)
    pd.testing.assert_frame_equal(
        detect_regime(market, QUICK).drop(columns="level"), detect_regime(other, QUICK).drop(columns="level")
    )


def test_without_an_index_the_level_is_the_equal_weight_universe():
    close = pd.DataFrame({"A": [10.0, 11.0, 11.0], "B": [20.0, 20.0, np.nan]}, index=lab.sessions(3))
    np.testing.assert_allclose(market_level(lab.make_market(close)), [1.0, 1.05, 1.05])


def test_only_members_make_the_universe():
    close = pd.DataFrame({"A": [10.0, 11.0], "B": [20.0, 10.0]}, index=lab.sessions(2))
    members = pd.DataFrame({"A": [True, True], "B": [False, False]}, index=close.index)
    np.testing.assert_allclose(market_level(lab.make_market(close, members=members)), [1.0, 1.1])


def test_an_index_that_starts_too_late_is_an_error():
    close = pd.DataFrame({"A": [10.0, 11.0]}, index=lab.sessions(2))
    late = pd.Series([100.0], index=close.index[1:])
    with pytest.raises(DataError, match="2015-01-05"):
        detect_regime(lab.make_market(close, index=late))


def test_real_index_2008_and_march_2020_are_risk_off(shared_data):
    bars = pd.read_parquet(shared_data / "indexes" / "ohlcv.parquet")
    index = bars[bars["symbol"] == "^GSPC"].set_index("date")["close"].astype(float).sort_index()
    close = pd.DataFrame({"A": 1.0}, index=index.index)
    table = detect_regime(lab.make_market(close, index=index)).loc["1992":]
    regime = table["regime"]
    assert (regime["2008-01":"2009-03"] == RISK_OFF).mean() > 0.9
    assert (regime["2020-03-09":"2020-04-30"] == RISK_OFF).all()
    assert (regime["2017"] == RISK_ON).all()
    switches = (regime != regime.shift()).sum() / (len(regime) / 252)
    assert switches < 8
    pinned_share = {RISK_OFF: 0.22, NORMAL: 0.18, RISK_ON: 0.60}
    assert regime.value_counts(normalize=True).round(2).to_dict() == pinned_share
