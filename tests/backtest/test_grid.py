"""The tournament's grid: every combination, the baselines, and returns by the regime that was known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from openbook import metrics
from openbook.backtest.engine import BacktestResult, VectorizedBacktester, equal_weight_universe
from openbook.backtest.grid import (
    INDEX,
    RANDOM,
    UNIVERSE,
    backtest_baselines,
    backtest_grid,
    backtest_holdout,
    common_dates,
    daily_returns,
    forced_exits,
    label,
    regime_breakdown,
)
from openbook.common.errors import DataError
from openbook.portfolio.construct import PortfolioSettings
from openbook.selection import judge, summarise_backtests
from support import portfolios as lab

OPTIMIZERS = ["inverse_vol", "equal_weight"]


@pytest.fixture(scope="module")
def market():
    return lab.random_market(20, 420, seed=3)


@pytest.fixture(scope="module")
def regimes(market):
    return pd.Series(np.arange(len(market.dates)) // 7 % 3, index=market.dates)


@pytest.fixture(scope="module")
def grid(market, regimes):
    """Backtester, dates, scores and the results of 2 models × 2 optimizers."""
    tester = VectorizedBacktester(settings=PortfolioSettings(top_n=10, lookback=100))
    scores = {name: lab.random_score_table(market, seed) for name, seed in {"a": 1, "b": 2}.items()}
    dates = common_dates(scores, market, "2015-10-01", 5)
    seen = []
    results = backtest_grid(
        scores,
        market,
        regimes,
        optimizers=OPTIMIZERS,
        backtester=tester,
        dates=dates,
        progress=lambda *p: seen.append(p),
    )
    return tester, dates, scores, results, seen


def test_every_combination_is_there_and_counted(grid):
    _, _, _, results, seen = grid
    assert list(results) == [(model, optimizer) for model in "ab" for optimizer in OPTIMIZERS]
    assert [step[:2] for step in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_combination_is_a_backtest_of_its_own(grid, market, regimes):
    tester, dates, scores, results, _ = grid
    settings = tester.settings.model_copy(update={"optimizer": "inverse_vol"})
    alone = VectorizedBacktester(settings=settings)
    again = alone.run(alone.decide(scores["b"], market, regimes, dates).weights, market)
    pd.testing.assert_series_equal(again.returns, results["b", "inverse_vol"].returns)


def test_where_the_grid_runs_does_not_matter(grid, market, regimes):
    tester, dates, scores, results, _ = grid
    apart = backtest_grid(scores, market, regimes, optimizers=OPTIMIZERS, backtester=tester, dates=dates, n_jobs=2)
    assert list(apart) == list(results)
    for pair, result in results.items():
        for name in ("equity", "turnover", "costs"):
            pd.testing.assert_series_equal(getattr(apart[pair], name), getattr(result, name), check_exact=True)
        pd.testing.assert_frame_equal(apart[pair].weights, result.weights, check_exact=True)
        pd.testing.assert_frame_equal(apart[pair].held, result.held, check_exact=True)


def test_the_grid_is_the_same_on_a_dask_cluster(grid, market, regimes, cluster):
    tester, dates, scores, results, _ = grid
    there = backtest_grid(
        scores, market, regimes, optimizers=OPTIMIZERS, backtester=tester, dates=dates, engine=cluster
    )
    for pair, result in results.items():
        pd.testing.assert_series_equal(there[pair].equity, result.equity, check_exact=True)
        pd.testing.assert_frame_equal(there[pair].weights, result.weights, check_exact=True)


# ---- the holdout ----


def test_the_holdout_is_backtested_as_the_evenings_would_have_been(grid, market, regimes):
    """From cash at its first rebalance, with scores smoothed over the evenings before it."""
    tester, _, scores, _, _ = grid
    start = market.dates[-80]
    before, held = (
        {name: t[early] for name, t in scores.items()} for early in (market.dates < start, market.dates >= start)
    )
    found = backtest_holdout(before, held, market, regimes, optimizers=OPTIMIZERS, backtester=tester)
    dates = common_dates(held, market, "", 5)
    whole = backtest_grid(scores, market, regimes, optimizers=OPTIMIZERS, backtester=tester, dates=dates)
    assert list(found) == [*map(label, whole), label(UNIVERSE)]
    for pair, result in whole.items():
        pd.testing.assert_series_equal(found[label(pair)], result.returns, check_names=False)
    assert found.index[0] > start


def test_without_a_holdout_there_is_nothing_to_put_away(grid, market, regimes):
    tester, _, scores, _, _ = grid
    assert backtest_holdout(scores, {}, market, regimes, optimizers=OPTIMIZERS, backtester=tester).empty


def test_baselines_are_the_universe_and_chance(grid, market, regimes):
    tester, dates, _, _, _ = grid
    found = backtest_baselines(market, regimes, backtester=tester, dates=dates, seed=0)
    assert set(found) == {UNIVERSE, (RANDOM, "equal_weight")}
    np.testing.assert_allclose(found[UNIVERSE].weights.drop(columns="CASH"), 1 / 20)


@pytest.fixture(scope="module")
def with_index(market):
    """The same market with an index that a session is missing from."""
    draws = np.random.default_rng(0).normal(0.0005, 0.01, len(market.dates))
    level = pd.Series(100 * np.exp(np.cumsum(draws)), index=market.dates)
    return replace(market, index=level.drop(market.dates[350]))


def test_the_index_is_a_baseline_where_there_is_one(grid, with_index, regimes):
    """Bought at the close of the first evening, never touched: its own growth, no orders, no costs, no cash."""
    tester, dates, _, _, _ = grid
    baselines = backtest_baselines(with_index, regimes, backtester=tester, dates=dates, seed=0)
    assert list(baselines) == [UNIVERSE, (RANDOM, "equal_weight"), INDEX]
    held = baselines[INDEX]
    expected = tester.capital * with_index.index.iloc[-1] / with_index.index[dates[0]]
    assert held.equity.iloc[-1] == pytest.approx(expected)
    assert held.returns.index.equals(baselines[UNIVERSE].returns.index)
    assert held.returns[with_index.dates[350]] == 0
    assert held.total_costs == 0 == held.mean_turnover
    table = daily_returns(baselines, with_index)
    assert list(table) == [label(pair) for pair in baselines]
    told = ["cagr", "sharpe", "max_drawdown", "calmar", "turnover", "win_rate", "total_costs"]
    assert summarise_backtests(baselines, regimes)[told].notna().all(axis=None)
    late = replace(with_index, index=with_index.index.iloc[-20:])
    with pytest.raises(DataError, match="the index has no level on 2015-"):
        backtest_baselines(late, regimes, backtester=tester, dates=dates, seed=0)


def test_no_common_evening_is_an_error(market):
    with pytest.raises(DataError, match="dates from 2040-01-01"):
        common_dates({"a": lab.random_score_table(market, 1)}, market, "2040-01-01", 5)


def test_daily_returns_name_each_combination(grid, market):
    _, _, _, results, _ = grid
    table = daily_returns(results, market)
    assert list(table)[:4] == ["a × inverse_vol", "a × equal_weight", "b × inverse_vol", "b × equal_weight"]
    pd.testing.assert_series_equal(table["a × inverse_vol"], results["a", "inverse_vol"].returns, check_names=False)


def test_the_return_belongs_to_the_regime_of_the_evening_before(grid, regimes):
    _, _, _, results, _ = grid
    table = regime_breakdown(results, regimes)
    returns = results["a", "inverse_vol"].returns
    mine = table[(table["model"] == "a") & (table["optimizer"] == "inverse_vol")].set_index("regime")
    assert mine["sessions"].sum() == len(returns)
    by_hand = [
        value for date, value in returns.items() if regimes.iloc[regimes.index.get_loc(date) - 1] == 2
    ]  # known on the evening before
    assert mine.loc[2, "sessions"] == len(by_hand)
    assert mine.loc[2, "avg_return"] == pytest.approx(sum(by_hand) / len(by_hand))


def test_a_regime_that_never_was_has_no_figures(grid, regimes):
    _, _, _, results, _ = grid
    table = regime_breakdown(results, regimes * 0)
    assert table.loc[table["regime"] == 2, "sharpe"].isna().all()
    assert (table.loc[table["regime"] == 0, "sessions"] > 0).all()


def test_the_field_is_told_how_many_were_tried(grid, regimes, market):
    """The deflated Sharpe ratio of the whole chain, from the formula of metrics."""
    _, _, _, results, _ = grid
    table, returns = summarise_backtests(results, regimes), daily_returns(results, market)
    field = judge(table, returns, n_trials=7)
    daily = table["sharpe"] / 252**0.5
    mine = results[table["model"][2], table["optimizer"][2]].returns
    expected = metrics.deflated_sharpe(mine, 7, daily.var(ddof=1))
    assert field["deflated_sharpe"][2] == pytest.approx(expected)
    assert field["deflated_sharpe"][2] < metrics.probabilistic_sharpe(mine)
    with pytest.raises(DataError, match="no backtest"):
        summarise_backtests({}, regimes)


def result_of(returns: pd.Series):
    """A backtest of which only the returns matter."""
    nothing = pd.DataFrame(index=returns.index[:2])
    none = pd.Series(0.0, index=returns.index[:2])
    return BacktestResult(returns, (1 + returns).cumprod(), none, nothing, nothing, none, none, nothing, ())


def test_a_breakdown_by_hand():
    """Evenings 1–5 are risk-off, risk-off, risk-on, normal, risk-on: the return of day 2 was earned in the regime of
    evening 1, and so on; the regime of the last evening has earned nothing yet.

    risk-off: +1%, −3%, mean −1%, daily deviation √(2·0.02²) = 2.83%; risk-on: +2% alone; normal: +4% alone.
    """
    days = lab.sessions(5)
    regimes = pd.Series([0, 0, 2, 1, 2], index=days)
    returns = pd.Series([0.01, -0.03, 0.02, 0.04], index=days[1:])
    table = regime_breakdown({("m", "hrp"): result_of(returns)}, regimes).set_index("regime_name")
    assert table["sessions"].to_dict() == {"risk-off": 2, "normal": 1, "risk-on": 1}
    off = table.loc["risk-off"]
    assert off["avg_return"] == pytest.approx(-0.01)
    assert off["volatility"] == pytest.approx(0.0008**0.5 * 252**0.5)
    assert off["sharpe"] == pytest.approx(-0.01 / 0.0008**0.5 * 252**0.5)
    assert off["win_rate"] == 0.5
    assert table.loc[["normal", "risk-on"], ["avg_return", "sharpe"]].isna().all(axis=None)


def test_the_sessions_of_the_regimes_add_up_and_so_do_their_returns(grid, regimes):
    _, _, _, results, _ = grid
    table = regime_breakdown(results, regimes)
    for (model, optimizer), result in results.items():
        mine = table[(table["model"] == model) & (table["optimizer"] == optimizer)]
        assert mine["sessions"].sum() == len(result.returns)
        assert (mine["sessions"] * mine["avg_return"]).sum() == pytest.approx(result.returns.sum())


def test_a_later_regime_changes_no_earlier_attribution(grid, regimes):
    _, _, _, results, _ = grid
    changed = regimes.copy()
    changed.iloc[-1] = (changed.iloc[-1] + 1) % 3  # known on the last evening, so no return belongs to it yet
    pd.testing.assert_frame_equal(regime_breakdown(results, changed), regime_breakdown(results, regimes))


def test_every_model_must_have_scores_on_every_evening(market):
    full, late = lab.random_score_table(market, 1), lab.random_score_table(market, 2).iloc[200:]
    evenings = common_dates({"a": full, "b": late}, market, "", 5)
    assert evenings[0] >= late.index[0]
    assert evenings.equals(common_dates({"b": late}, market, "2015-01-06", 5))
    with pytest.raises(DataError, match="from the first session on have scores of every model"):
        common_dates({"a": full.iloc[:100], "b": late}, market, "", 5)


def test_the_index_beside_the_combinations_loses_no_growth_to_a_hole(grid, market):
    """A session without a level has no return of its own; the next one earns both."""
    _, _, _, results, _ = grid
    level = pd.Series(np.linspace(100, 200, len(market.dates)), index=market.dates)
    whole = daily_returns(results, replace(market, index=level))["index"]
    holed = daily_returns(results, replace(market, index=level.drop(market.dates[350])))["index"]
    assert holed.notna().all()
    assert (1 + holed).prod() == pytest.approx((1 + whole).prod())
    assert "index" not in daily_returns(results, market)


def test_names_that_vanish_while_held_are_counted_over_the_backtests(market):
    """A name that still trades on the day of its delisting is cash on the next; a backtest without it never had it."""
    gone, day = str(market.symbols[0]), market.dates[300]
    ended = replace(market, actions=lab.delisting(f"{day:%Y-%m-%d}", gone, -0.5))
    tester, dates = VectorizedBacktester(settings=PortfolioSettings(top_n=10, lookback=100)), market.dates[250:350:10]
    weights, other = equal_weight_universe(ended, dates), str(market.symbols[1])
    whole = tester.run(weights, ended)
    others = tester.run(weights.assign(**{gone: 0.0, other: weights[other] + weights[gone]}), ended)
    found = forced_exits({("a", "x"): whole, ("b", "x"): whole, ("c", "x"): others})
    assert found.to_dict("records") == [
        {"date": market.dates[301], "symbol": gone, "kind": "delisting", "backtests": 2}
    ]
    assert forced_exits({("c", "x"): others}).empty
