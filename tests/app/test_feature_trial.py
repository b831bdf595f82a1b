"""The fitting room and the features on trial: what the research tour plays with."""

import numpy as np
import pandas as pd
import pytest

from openbook.app.inputs import PORTFOLIO, FittingRoom, trying
from openbook.common.constants import CASH
from openbook.common.errors import UsageError
from openbook.market.sources import SampleSource
from openbook.market.store import load_market
from openbook.portfolio.construct import construct_portfolio
from openbook.portfolio.regime import detect_regime
from openbook.report import charts
from openbook.signals.features import FEATURES, Feature, compute_features
from openbook.signals.operators import change


@pytest.fixture(scope="module")
def market():
    found, _ = load_market(SampleSource(start="2019-01-02"))
    return found


@pytest.fixture(scope="module")
def room(market):
    momentum = compute_features(market, ["momentum_126"]).frame()["momentum_126"].unstack("symbol")
    return FittingRoom(momentum, market)


def same_as_momentum(name: str = "mine") -> Feature:
    return Feature(name, "momentum", ("close",), lambda p: change(p.close, 126), "The same as momentum_126.")


def test_a_feature_on_trial_is_computed_and_then_gone(market):
    before = list(FEATURES)
    with trying(same_as_momentum()):
        values = compute_features(market, ["momentum_126", "mine"]).values
    np.testing.assert_array_equal(values[..., 0], values[..., 1])
    assert list(FEATURES) == before


def test_a_feature_on_trial_is_gone_after_an_error():
    before = dict(FEATURES)
    with pytest.raises(ZeroDivisionError), trying(same_as_momentum()):
        _ = 1 / 0
    assert before == FEATURES


@pytest.mark.parametrize("names", [("momentum_126",), ("mine", "mine")])
def test_a_name_that_is_taken_is_refused(names):
    before = dict(FEATURES)
    with pytest.raises(UsageError, match=f"feature '{names[-1]}' already"), trying(*map(same_as_momentum, names)):
        pass
    assert before == FEATURES


def test_the_fitting_room_gives_what_construct_portfolio_gives(room, market):
    regime = int(detect_regime(market)["regime"].iloc[-1])
    settings = PORTFOLIO.model_copy(update={"top_n": 5, "optimizer": "equal_weight"})
    wanted = construct_portfolio(room.scores, market.adjusted, sectors=market.sectors, regime=regime, settings=settings)
    pd.testing.assert_series_equal(
        room.portfolio({"top_n": 5, "optimizer": "equal_weight"}).weights, wanted.weights, check_exact=True
    )


def test_figures_of_each_idea(room, market):
    table = room.compare({"five": {"top_n": 5, "optimizer": "equal_weight"}})
    assert list(table.index) == ["as set", "five"]
    one = room.portfolio({"top_n": 5, "optimizer": "equal_weight"})
    weights, five = one.weights.drop(CASH), table.loc["five"]
    assert five["names"] == 5
    assert five["largest"] == weights.max()
    assert five["cash"] == one.weights[CASH] == pytest.approx(1 - weights.sum(), abs=1e-12)
    assert five["largest_sector"] == max(
        weights[market.sectors[weights.index] == sector].sum() for sector in market.sectors.unique()
    )
    variance = sum(weights[a] * weights[b] * one.covariance.loc[a, b] for a in weights.index for b in weights.index)
    assert five["volatility"] == pytest.approx(variance**0.5, rel=1e-9)


def test_a_setting_that_does_not_exist_is_refused(room):
    with pytest.raises(ValueError, match="top_m"):
        room.portfolio({"top_m": 5})


def test_the_sliders_draw_the_tried_weights(room):
    picture = room.look(top_n=5, max_weight=0.2, optimizer="equal_weight")
    wanted = room.portfolio({"top_n": 5, "max_weight": 0.2, "optimizer": "equal_weight"}).weights
    drawn = charts.weights(room.portfolio().weights, wanted, legend=("as set", "tried"))
    assert picture.png == drawn.png
    assert picture.metadata["image/png"]["alt"].startswith("Tried weights")
