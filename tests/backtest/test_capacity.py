"""Capacity: by hand, by its definition, and where there is none to give."""

import numpy as np
import pandas as pd
import pytest

from openbook.backtest.capacity import capacity, smallest_account
from openbook.backtest.engine import VectorizedBacktester, equal_weight_universe
from openbook.common.constants import CASH
from openbook.portfolio.costs import Costs
from support import portfolios as lab

FREE = VectorizedBacktester(costs=Costs(commission_bps=0, slippage_bps=0))


def with_volume(market, shares):
    """The same market with a volume in shares."""
    volume = pd.DataFrame(np.broadcast_to(shares, market.close.shape).astype(float), market.dates, market.symbols)
    return lab.make_market(market.close, market.open, volume=volume.where(market.close.notna()))


def test_by_hand():
    """A trades 10,000 USD a day, B 40,000. Half and half is bought: 5% of A's volume is 500 USD, reached by a portfolio
    of 1,000; B's 2,000, by one of 4,000. A fifth of B is sold later: 2,000 / 0.2 = 10,000.
    """
    days = lab.sessions(40)
    market = lab.make_market(pd.DataFrame({"A": 10.0, "B": 20.0}, days))
    market = with_volume(market, [1000, 2000])
    weights = pd.DataFrame({"A": [0.5, 0.5], "B": [0.5, 0.3], CASH: [0.0, 0.2]}, days[[25, 30]])
    found = FREE.run(weights, market)
    assert capacity(found, market, orders=1.0) == pytest.approx(1000)
    assert capacity(found, market, orders=0.5) == pytest.approx(4000)
    assert capacity(found, market, orders=0.0) == pytest.approx(10_000)
    assert capacity(found, market, orders=1.0, share=0.01) == pytest.approx(200)


def test_the_median_is_of_the_twenty_sessions_through_the_evening_and_leaves_missing_bars_out():
    market = lab.random_market(3, 60, seed=1, gaps=0.3)
    market = with_volume(market, np.random.default_rng(0).integers(100, 1000, market.close.shape))
    for row in (0, 10, 45):
        weights = equal_weight_universe(market, market.dates[[row]])
        dollars = (market.close * market.volume).iloc[max(row - 19, 0) : row + 1].median()
        asked = weights.iloc[0].drop(CASH)
        expected = (0.05 * dollars / asked)[asked > 0].min()
        assert capacity(FREE.run(weights, market), market, orders=1.0) == pytest.approx(expected)


def test_no_order_above_the_limit_at_the_capacity_and_some_beyond_it(market):
    """The definition, turned round: at that value the largest of the orders that must fit is exactly 5%."""
    market = with_volume(market, np.random.default_rng(0).integers(1000, 90_000, market.close.shape))
    found = FREE.run(equal_weight_universe(market, market.dates[100:300:10]), market)
    value = capacity(found, market)
    change = (found.weights - found.held).drop(columns=CASH).abs()
    dollars = (market.close * market.volume).rolling(20).median().loc[change.index]
    orders = (value * change / dollars).to_numpy()[change.to_numpy() > 1e-9]
    assert np.mean(orders <= 0.05 * (1 + 1e-9)) >= 0.95
    assert np.mean(1.001 * orders <= 0.05) < 0.95 + 1 / len(orders)


def test_neither_prices_nor_capital_change_it(market):
    volumes = np.random.default_rng(0).integers(1000, 90_000, market.close.shape)
    market = with_volume(market, volumes)
    weights = equal_weight_universe(market, market.dates[100:300:10])
    value = capacity(FREE.run(weights, market), market)
    richer = FREE.model_copy(update={"capital": 5e9})
    assert capacity(richer.run(weights, market), market) == pytest.approx(value)
    split = lab.make_market(market.close * 4, market.open * 4, volume=market.volume / 4)
    assert capacity(FREE.run(weights, split), split) == pytest.approx(value)


def test_a_name_without_volume_can_carry_nothing(market):
    volumes = np.full(market.close.shape, 1000.0)
    volumes[:, 0] = np.nan
    silent = with_volume(market, volumes)
    found = FREE.run(equal_weight_universe(silent, silent.dates[[100]]), silent)
    assert capacity(found, silent, orders=1.0) == 0.0
    assert capacity(found, silent) > 0  # one name in forty is less than one order in twenty


def test_nan_without_volume_or_orders(market):
    found = FREE.run(equal_weight_universe(market, market.dates[[100]]), market)
    assert np.isnan(capacity(found, market))
    sold = with_volume(market, 1000)
    idle = pd.DataFrame({"S000": [0.0], CASH: [1.0]}, market.dates[[100]])
    assert np.isnan(capacity(FREE.run(idle, sold), sold))


# ---- how little ----


def test_the_smallest_account_by_hand():
    """Half of A at 10 USD is a share from 20 USD on, half of B at 20 from 40. Later 30% of B: from 66.67, and 1% of C
    at 3,000 USD: from 300,000."""
    days = lab.sessions(40)
    market = lab.make_market(pd.DataFrame({"A": 10.0, "B": 20.0, "C": 3000.0}, days))
    weights = pd.DataFrame({"A": [0.5, 0.0], "B": [0.5, 0.3], "C": [0.0, 0.01], CASH: [0.0, 0.69]}, days[[25, 30]])
    found = FREE.run(weights, market)
    assert smallest_account(found, market, positions=0.0) == pytest.approx(20)
    assert smallest_account(found, market, positions=0.5) == pytest.approx(20 / 0.3)  # the third of four
    assert smallest_account(found, market, positions=1.0) == pytest.approx(300_000)


def test_at_the_smallest_account_the_targets_that_must_be_a_share_are(market):
    found = FREE.run(equal_weight_universe(market, market.dates[100:300:10]), market)
    value = smallest_account(found, market)
    weights = found.weights.drop(columns=CASH)
    shares = (value * weights / market.close.ffill().loc[weights.index, weights.columns]).to_numpy()[weights > 0]
    assert np.mean(shares >= 1 - 1e-9) >= 0.95
    assert np.mean(0.999 * shares >= 1) < 0.95 + 1 / len(shares)


def test_the_smallest_account_of_nothing_is_not_known(market):
    idle = pd.DataFrame({CASH: [1.0]}, market.dates[[100]])
    assert np.isnan(smallest_account(FREE.run(idle, market), market))
