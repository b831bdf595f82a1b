"""Sensitivity: each column is a backtest that could have been made by hand."""

import numpy as np
import pandas as pd
import pytest

from openbook.backtest.engine import VectorizedBacktester
from openbook.backtest.grid import backtest_grid, common_dates
from openbook.backtest.sensitivity import AS_COMPARED, COLUMNS, DEAR, DOUBLED, HALVED, LATE, sensitivity
from openbook.portfolio.construct import PortfolioSettings
from support import portfolios as lab

OPTIMIZERS = ["inverse_vol", "equal_weight"]
RULES = PortfolioSettings(top_n=10, lookback=60, max_sector_weight=1.0, max_weight=0.25)


@pytest.fixture(scope="module")
def world():
    """Market, regimes, scores of two models, backtester, dates."""
    market = lab.random_market(24, 300, seed=3)
    regimes = pd.Series(np.arange(len(market.dates)) // 7 % 3, index=market.dates)
    scores = {name: lab.random_score_table(market, seed) for name, seed in {"a": 1, "b": 2}.items()}
    return market, regimes, scores, VectorizedBacktester(settings=RULES), common_dates(scores, market, "2015-06-01", 5)


@pytest.fixture(scope="module")
def found(world):
    """The table of all four pairs."""
    market, regimes, scores, tester, dates = world
    pairs = [(model, optimizer) for model in scores for optimizer in OPTIMIZERS]
    return sensitivity(scores, market, regimes, pairs=pairs, backtester=tester, dates=dates)


def by_hand(world, *, model="b", optimizer="inverse_vol", scores=None, **settings):
    """One backtest of one pair with other settings."""
    market, regimes, tables, tester, dates = world
    rules = tester.settings.model_copy(update={"optimizer": optimizer, **settings})
    tester = tester.model_copy(update={"settings": rules})
    decided = tester.decide(tables[model] if scores is None else scores, market, regimes, dates)
    return tester, decided.weights, tester.run(decided.weights, market)


def test_the_first_column_is_the_grid(world, found):
    market, regimes, scores, tester, dates = world
    grid = backtest_grid(scores, market, regimes, optimizers=OPTIMIZERS, backtester=tester, dates=dates)
    assert list(found.index) == list(grid)
    assert list(found.columns) == list(COLUMNS)
    assert found[AS_COMPARED].to_list() == [result.sharpe for result in grid.values()]


def test_each_column_is_the_backtest_that_its_name_says(world, found):
    row = found.loc[("b", "inverse_vol")]
    assert row[HALVED] == by_hand(world, top_n=5)[2].sharpe
    assert row[DOUBLED] == by_hand(world, top_n=20)[2].sharpe
    assert row[LATE] == by_hand(world, scores=world[2]["b"].shift(1))[2].sharpe
    tester, weights, _ = by_hand(world)
    dear = VectorizedBacktester(settings=tester.settings, costs=tester.costs.doubled())
    assert row[DEAR] == dear.run(weights, world[0]).sharpe


def test_twice_the_costs_never_raise_what_is_left_in_the_end(world, found):
    for model in "ab":
        for optimizer in OPTIMIZERS:
            tester, weights, plain = by_hand(world, model=model, optimizer=optimizer)
            dear = tester.model_copy(update={"costs": tester.costs.doubled()}).run(weights, world[0])
            assert (dear.equity <= plain.equity).all()
    assert (found[DEAR] < found[AS_COMPARED]).all()


def test_knowing_a_day_later_hurts_who_knows_tomorrow(world):
    """Scores that are the return of the one session after execution are worth nothing a day later."""
    market, regimes, _, tester, dates = world
    rules = RULES.model_copy(update={"score_half_life": 0.0, "max_turnover": 1.0, "optimizer": "equal_weight"})
    tester = tester.model_copy(update={"settings": rules})
    ahead = {"oracle": market.adjusted.shift(-1) / market.open.shift(-1) - 1}
    pairs = [("oracle", "equal_weight")]
    row = sensitivity(ahead, market, regimes, pairs=pairs, backtester=tester, dates=dates[:-1]).iloc[0]
    assert row[AS_COMPARED] > row[LATE] + 2


def test_a_change_that_the_limits_forbid_has_no_number(world):
    """Five names of at most 15% make the half that risk-off asks for, and no whole portfolio; ten make both."""
    market, regimes, scores, tester, dates = world
    tight = tester.model_copy(update={"settings": RULES.model_copy(update={"max_weight": 0.15})})
    row = sensitivity(scores, market, regimes, pairs=[("a", "equal_weight")], backtester=tight, dates=dates).iloc[0]
    assert np.isnan(row[HALVED])
    assert row.drop(HALVED).notna().all()


def test_where_it_runs_does_not_matter(world, found):
    market, regimes, scores, tester, dates = world
    pairs = list(found.index[1:3])
    again = sensitivity(scores, market, regimes, pairs=pairs, backtester=tester, dates=dates, n_jobs=2)
    pd.testing.assert_frame_equal(again, found.iloc[1:3], check_exact=True)
