"""Costs of a trade."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from openbook.portfolio.costs import Costs


def test_by_hand():
    costs = Costs(commission_bps=1.0, slippage_bps=5.0)
    assert costs.commission(10_000.0) == pytest.approx(1.0)
    assert costs.slippage(10_000.0) == pytest.approx(5.0)
    assert costs.total(-10_000.0) == pytest.approx(6.0)


def test_minimum_commission_is_per_order_and_not_for_no_order():
    costs = Costs(commission_bps=1.0, slippage_bps=0.0, min_commission=2.0)
    np.testing.assert_allclose(costs.total(np.array([0.0, 100.0, -100.0, 50_000.0])), [0.0, 2.0, 2.0, 5.0])


def test_a_series_stays_a_series_by_symbol():
    notional = pd.Series({"A": 1000.0, "B": -500.0})
    pd.testing.assert_series_equal(Costs().total(notional), notional.abs() * 6e-4)


def test_nan_is_never_free():
    assert np.isnan(Costs(min_commission=1.0).total(np.nan))


@given(st.floats(-1e9, 1e9), st.floats(0, 100), st.floats(0, 100))
def test_costs_rise_with_size_and_rate(notional, rate, more):
    low, high = Costs(commission_bps=rate), Costs(commission_bps=rate + more)
    assert 0 <= low.total(notional) <= high.total(notional)
    assert low.total(notional) <= low.total(2 * notional)


def test_doubled_is_twice_the_cost():
    costs = Costs(commission_bps=0.7, slippage_bps=3.0, min_commission=1.5)
    for notional in (100.0, 1e6):
        assert costs.doubled().total(notional) == pytest.approx(2 * costs.total(notional))


@pytest.mark.parametrize("wrong", [{"commission_bps": -1}, {"slippage_bps": float("nan")}, {"fee": 1}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        Costs(**wrong)
