"""Scores by hand, gates that nothing undefined passes, and the right to promote nobody."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from openbook.errors import DataError
from openbook.selection import (
    GATES,
    SCALES,
    SelectionWeights,
    Thresholds,
    calculate_weighted_score,
    create_comparison_matrix,
    filter_by_thresholds,
    regime_consistency,
    select_champion,
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
