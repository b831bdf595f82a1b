"""Scores by hand, gates that nothing undefined passes, and the right to promote nobody."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from openbook import metrics
from openbook.errors import DataError
from openbook.portfolio.backtest import BacktestResult, VectorizedBacktester
from openbook.portfolio.construct import PortfolioSettings
from openbook.portfolio.regime import RegimeSettings
from openbook.selection import (
    GATES,
    SCALES,
    SelectionWeights,
    Thresholds,
    calculate_weighted_score,
    create_comparison_matrix,
    detailed_results,
    filter_by_thresholds,
    regime_consistency,
    select_champion,
    summarise_backtests,
    write_report,
)

WEIGHTS, THRESHOLDS = SelectionWeights(), Thresholds()
GOOD = {
    "sharpe": 1.2,
    "max_drawdown": -0.15,
    "calmar": 0.9,
    "turnover": 0.20,
    "regime_consistency": 1.0,
    "deflated_sharpe": 0.97,
}


def combination(model: str, optimizer: str, **changes) -> dict:
    return {"model": model, "optimizer": optimizer, **GOOD, **changes}


def table(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


# --- score ------------------------------------------------------------------------------------------------------------


def test_a_score_by_hand():
    # 0.30·(1.2/2) + 0.25·(0.15/0.30) + 0.20·(0.9/1.5) + 0.15·(0.30/0.50) + 0.10·1
    assert calculate_weighted_score(GOOD, WEIGHTS) == pytest.approx(0.18 + 0.125 + 0.12 + 0.09 + 0.10)


def test_the_best_scores_one_and_the_worst_zero_however_extreme():
    best = {"sharpe": 9, "max_drawdown": 0, "calmar": 9, "turnover": 0, "regime_consistency": 1}
    worst = {"sharpe": -9, "max_drawdown": -1, "calmar": -9, "turnover": 9, "regime_consistency": 0}
    assert calculate_weighted_score(best, WEIGHTS) == pytest.approx(1)
    assert calculate_weighted_score(worst, WEIGHTS) == 0


@pytest.mark.parametrize("metric", list(SCALES))
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_undefined_criterion_counts_as_the_worst(metric, bad):
    worst = GOOD | {metric: SCALES[metric][0]}
    assert calculate_weighted_score(GOOD | {metric: bad}, WEIGHTS) == calculate_weighted_score(worst, WEIGHTS)


@given(metric=st.sampled_from(list(SCALES)), low=st.floats(-3, 3), high=st.floats(-3, 3))
def test_better_in_one_criterion_never_scores_lower(metric, low, high):
    worst, best = SCALES[metric]
    low, high = sorted((low, high), reverse=worst > best)
    lower, higher = (calculate_weighted_score(GOOD | {metric: value}, WEIGHTS) for value in (low, high))
    assert lower <= higher + 1e-12
    assert 0 <= lower <= 1


def test_weights_must_sum_to_one():
    with pytest.raises(ValidationError, match=r"must sum to 1, not 1\.2"):
        SelectionWeights(sharpe=0.5)
    with pytest.raises(ValidationError):
        SelectionWeights(sharpe=float("nan"))
    with pytest.raises(ValidationError):
        SelectionWeights(sharpe=1.30, max_drawdown=-0.75)
    assert SelectionWeights(sharpe=0.2, regime_consistency=0.2).regime_consistency == 0.2


def test_regime_consistency_is_the_share_of_sessions_in_regimes_that_paid():
    shares = {0: 100, 1: 700, 2: 200}
    assert regime_consistency({0: 0.4, 1: 1.1, 2: 0.1}, shares) == 1
    assert regime_consistency({0: -0.4, 1: 1.1, 2: 0.1}, shares) == pytest.approx(0.9)
    assert regime_consistency({0: 0.4, 1: float("nan"), 2: 0.0}, shares) == pytest.approx(0.1)
    assert regime_consistency({1: -2.0}, {1: 1.0}) == 0
    with pytest.raises(DataError, match="must be the same"):
        regime_consistency({0: 1.0}, shares)
    with pytest.raises(DataError, match="not empty"):
        regime_consistency({}, {})


# --- gates ------------------------------------------------------------------------------------------------------------


def test_a_value_on_the_limit_passes_and_the_next_worse_does_not():
    limits = {"sharpe": 1.0, "max_drawdown": -0.20, "calmar": 0.5, "turnover": 0.40, "deflated_sharpe": 0.95}
    assert filter_by_thresholds(table(limits), THRESHOLDS).all(axis=None)
    for gate, (metric, _, side) in GATES.items():
        worse = np.nextafter(limits[metric], -9 if side == "at least" else 9)
        failed = filter_by_thresholds(table(limits | {metric: worse}), THRESHOLDS)
        assert failed.columns[~failed.iloc[0]].tolist() == [gate]


def test_a_drawdown_of_minus_25_percent_is_worse_than_minus_20():
    gates = filter_by_thresholds(table(GOOD | {"max_drawdown": -0.25}, GOOD | {"max_drawdown": -0.15}), THRESHOLDS)
    assert gates["max_drawdown_min"].tolist() == [False, True]


@pytest.mark.parametrize(("gate", "metric"), [(gate, metric) for gate, (metric, _, _) in GATES.items()])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, None])
def test_nothing_undefined_passes_its_gate(gate, metric, bad):
    gates = filter_by_thresholds(table(GOOD, GOOD | {metric: bad}), THRESHOLDS)
    assert gates.dtypes.eq(bool).all()
    assert gates.columns[~gates.iloc[1]].tolist() == [gate]


def test_every_threshold_has_its_gate():
    assert list(GATES) == list(Thresholds.model_fields)
    assert list(SCALES) == list(SelectionWeights.model_fields)


# --- champion ---------------------------------------------------------------------------------------------------------


def test_the_best_score_that_passes_every_gate_is_promoted():
    results = table(
        combination("lightgbm", "hrp"),
        combination("xgboost", "max_sharpe", sharpe=1.9, turnover=0.45),
        combination("xgboost", "hrp", sharpe=1.4),
    )
    selection = select_champion(results, WEIGHTS, THRESHOLDS)
    assert (selection.promoted["model"], selection.promoted["optimizer"]) == ("xgboost", "hrp")
    assert selection.best_unvetted["optimizer"] == "max_sharpe"
    assert selection.n_trials == 3
    assert selection.ranking["score"].is_monotonic_decreasing
    assert selection.gates["passed"].tolist() == [True, False, True]
    assert selection.reason.startswith("xgboost × hrp: score ")


def test_a_higher_score_does_not_buy_a_way_past_a_gate():
    results = table(combination("a", "hrp"), combination("b", "hrp", sharpe=2.0, calmar=1.5, deflated_sharpe=0.5))
    selection = select_champion(results, WEIGHTS, THRESHOLDS)
    assert selection.promoted["model"] == "a"
    assert selection.ranking["model"].tolist() == ["b", "a"]
    assert "b × hrp stopped by deflated_sharpe 0.500 (at least 0.95)" in selection.reason


def test_nobody_passes_is_a_result():
    results = table(
        combination("a", "hrp", deflated_sharpe=float("nan")),
        combination("b", "hrp", sharpe=0.8, max_drawdown=-0.3),
    )
    selection = select_champion(results, WEIGHTS, THRESHOLDS)
    assert selection.promoted is None
    assert selection.best_unvetted["model"] == "a"
    assert selection.reason == (
        "no promotion: none of 2 combinations passed every gate; "
        "a × hrp stopped by deflated_sharpe nan (at least 0.95); "
        "b × hrp stopped by sharpe 0.800 (at least 1), max_drawdown -0.300 (at least -0.2)"
    )


def test_when_all_pass_none_is_unvetted():
    selection = select_champion(table(combination("a", "hrp")), WEIGHTS, THRESHOLDS)
    assert selection.best_unvetted is None
    assert "stopped" not in selection.reason


def test_the_order_of_the_rows_decides_nothing():
    rows = [combination(m, o) for m in "cab" for o in ("hrp", "equal_weight")]
    there, back = (select_champion(table(*order), WEIGHTS, THRESHOLDS) for order in (rows, rows[::-1]))
    pd.testing.assert_frame_equal(there.ranking, back.ranking)
    assert (there.promoted["model"], there.promoted["optimizer"]) == ("a", "equal_weight")


def test_incomplete_results_are_refused():
    with pytest.raises(DataError, match="deflated_sharpe"):
        select_champion(table(combination("a", "hrp")).drop(columns="deflated_sharpe"), WEIGHTS, THRESHOLDS)
    with pytest.raises(DataError, match="rows"):
        select_champion(table(combination("a", "hrp")).iloc[:0], WEIGHTS, THRESHOLDS)
    with pytest.raises(DataError, match="a × hrp is in the results twice"):
        select_champion(table(combination("a", "hrp"), combination("a", "hrp")), WEIGHTS, THRESHOLDS)


def test_the_comparison_matrix_is_models_by_optimizers():
    results = table(combination("b", "hrp", sharpe=1.0), combination("a", "hrp"), combination("a", "equal_weight"))
    matrix = create_comparison_matrix(results)
    assert matrix.index.tolist() == ["a", "b"]
    assert matrix.columns.tolist() == ["equal_weight", "hrp"]
    assert matrix.loc["b", "hrp"] == 1.0
    assert np.isnan(matrix.loc["b", "equal_weight"])
    assert create_comparison_matrix(results, "turnover").loc["a", "hrp"] == 0.20


# --- from backtests to a report ---------------------------------------------------------------------------------------


def backtest(returns, turnover=(1.0, 0.2, 0.4)) -> BacktestResult:
    """A backtest of which only the returns, turnovers and costs matter."""
    days = pd.bdate_range("2024-01-01", periods=len(returns) + 1)
    earned = pd.Series(returns, index=days[1:], name="returns", dtype=float)
    traded = pd.Series(turnover, index=days[: len(turnover)])
    empty = pd.DataFrame(index=days[: len(turnover)])
    return BacktestResult(earned, (1 + earned).cumprod(), 0 * earned, empty, empty, traded, 10 * traded, empty, ())


@pytest.fixture
def backtests() -> dict:
    """Five combinations of noise with different means, 300 sessions."""
    rng = np.random.default_rng(0)
    return {(f"m{i}", "hrp"): backtest(0.01 * rng.standard_normal(300) + 0.0004 * i) for i in range(5)}


@pytest.fixture
def regimes() -> pd.Series:
    days = pd.bdate_range("2024-01-01", periods=301)
    return pd.Series(np.arange(301) // 50 % 3, index=days)


def test_the_summary_repeats_each_backtest(backtests, regimes):
    summary = summarise_backtests(backtests, regimes).set_index("combination")
    assert summary.index.tolist() == [f"m{i} × hrp" for i in range(5)]
    for (model, _), result in backtests.items():
        row = summary.loc[f"{model} × hrp"]
        assert row["sharpe"] == metrics.sharpe(result.returns)
        assert row["max_drawdown"] == result.max_drawdown <= 0
        assert row["turnover"] == pytest.approx(0.3)  # the first build is not a rebalance
        assert row["total_costs"] == pytest.approx(16.0)
        assert row["kurtosis"] == pytest.approx(metrics.kurtosis(result.returns))


def test_the_deflated_sharpe_counts_every_combination(backtests, regimes):
    """By hand from the formula of metrics: N is the number of rows, V the variance of their daily Sharpe ratios."""
    summary = summarise_backtests(backtests, regimes)
    spread = np.var([result.sharpe / 252**0.5 for result in backtests.values()], ddof=1)
    for row, result in zip(summary.itertuples(), backtests.values(), strict=True):
        assert row.deflated_sharpe == pytest.approx(metrics.deflated_sharpe(result.returns, 5, spread))
    alone = summarise_backtests({("m4", "hrp"): backtests["m4", "hrp"]}, regimes)
    assert alone["deflated_sharpe"][0] == metrics.probabilistic_sharpe(backtests["m4", "hrp"].returns)
    assert alone["deflated_sharpe"][0] > summary["deflated_sharpe"].iloc[-1]


def test_the_more_was_tried_the_less_the_same_result_says(backtests, regimes):
    """The same combinations twice: the spread of their Sharpe ratios hardly changes, the number of trials does."""
    twice = backtests | {(model, "again"): result for (model, _), result in backtests.items()}
    once = summarise_backtests(backtests, regimes)["deflated_sharpe"]
    assert (summarise_backtests(twice, regimes)["deflated_sharpe"].iloc[:5] < once).all()


@pytest.mark.filterwarnings("error")
def test_a_combination_that_held_nothing_is_a_trial_without_a_sharpe_ratio(backtests, regimes):
    """Its Sharpe ratio is undefined; that used to leave the spread undefined, and no summary at all."""
    cash = {("cash", "hrp"): backtest(np.zeros(300))}
    pair = summarise_backtests(cash | {("m4", "hrp"): backtests["m4", "hrp"]}, regimes).set_index("model")
    assert np.isnan(pair.loc["cash", "deflated_sharpe"])
    assert 0 < pair.loc["m4", "deflated_sharpe"] < 1
    assert summarise_backtests(cash, regimes)["deflated_sharpe"].isna().all()
    six = summarise_backtests(cash | backtests, regimes).set_index("model")
    five = summarise_backtests(backtests, regimes).set_index("model")
    assert (six.loc[five.index, "deflated_sharpe"] < five["deflated_sharpe"]).all()
    assert not filter_by_thresholds(six, THRESHOLDS).loc["cash"].all()


def test_consistency_looks_at_the_regime_of_the_evening_before():
    """Risk-off evenings lose the session after, risk-on evenings win it: 4 of 8 sessions."""
    days = pd.bdate_range("2024-01-01", periods=9)
    regimes = pd.Series([0, 2, 0, 2, 0, 2, 0, 2, 0], index=days)
    returns = [-0.01, 0.01, -0.02, 0.02, -0.01, 0.02, -0.02, 0.01]
    assert summarise_backtests({("m", "hrp"): backtest(returns)}, regimes)["regime_consistency"][0] == 0.5
    always = summarise_backtests({("m", "hrp"): backtest(np.abs(returns))}, regimes)
    assert always["regime_consistency"][0] == 1.0


def test_no_backtest_is_an_error(regimes):
    with pytest.raises(DataError, match="give every combination"):
        summarise_backtests({}, regimes)


def test_settings_and_figures_come_back_from_the_details(backtests, regimes):
    tester = VectorizedBacktester(settings=PortfolioSettings(top_n=7, rebalance_every=3))
    summary = summarise_backtests(backtests, regimes)
    details = detailed_results(summary, summary.iloc[:2], backtester=tester, regime=RegimeSettings(confirm=5))
    read = json.loads(json.dumps(details))
    assert PortfolioSettings.model_validate_json(json.dumps(read["settings"]["portfolio"])) == tester.settings
    assert RegimeSettings.model_validate(read["settings"]["regime"]).confirm == 5
    assert read["baseline_names"] == ["m0 × hrp", "m1 × hrp"]
    pd.testing.assert_frame_equal(pd.DataFrame(read["combinations"]), summary)
    judged = select_champion(pd.DataFrame(read["combinations"]), WEIGHTS, THRESHOLDS)
    assert judged.ranking["combination"].tolist() == (
        select_champion(summary, WEIGHTS, THRESHOLDS).ranking["combination"].tolist()
    )


def test_the_gates_in_words():
    summary = Thresholds(sharpe_min=1.5).summary().set_index("figure")
    assert summary.loc["sharpe"].tolist() == ["at least", 1.5]
    assert summary.loc["turnover"].tolist() == ["at most", 0.40]
    assert len(summary) == len(GATES)


def test_the_sentence_is_the_decision_alone():
    results = table(combination("a", "hrp"), combination("b", "hrp", sharpe=2.0, deflated_sharpe=0.5))
    assert select_champion(results, WEIGHTS, THRESHOLDS).sentence == (
        "a × hrp: score 0.615, the best of those that passed every gate."
    )
    nobody = select_champion(results.assign(sharpe=0.1), WEIGHTS, THRESHOLDS)
    assert nobody.sentence == "no promotion: none of 2 combinations passed every gate."


def test_the_report_names_every_combination_that_a_gate_stopped():
    """Those below the champion too: the reader asks why each of them was not chosen."""
    results = table(
        combination("best", "hrp"),
        combination("higher", "hrp", sharpe=2.0, calmar=1.5, deflated_sharpe=0.5),
        combination("lower", "hrp", sharpe=0.4, max_drawdown=float("nan")),
        combination("passed", "hrp", sharpe=1.1),
    )
    selection = select_champion(results, WEIGHTS, THRESHOLDS)
    text = write_report(selection, WEIGHTS, THRESHOLDS)
    assert "4 combinations were tried" in text
    stopped = text.split("## Stopped")[1].split()
    assert "higher" in stopped
    assert "lower" in stopped
    assert "passed" not in stopped
    assert "- lower × hrp stopped by sharpe 0.400 (at least 1), max_drawdown nan (at least -0.2)" in text
    rows = [line for line in text.splitlines() if line.startswith("| ") and "| hrp |" in line]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == selection.ranking["model"].tolist()
    assert {line.count("|") for line in text.splitlines() if line.startswith("|")} == {10}
    assert "- sharpe at least 1" in text
    assert "- nobody" in write_report(select_champion(results.iloc[:1], WEIGHTS, THRESHOLDS), WEIGHTS, THRESHOLDS)
    assert text == write_report(select_champion(results, WEIGHTS, THRESHOLDS), WEIGHTS, THRESHOLDS)
