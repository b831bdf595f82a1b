"""Scores by hand, gates that nothing undefined passes, and the right to promote nobody."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from openbook import metrics
from openbook.backtest.capacity import capacity, smallest_account
from openbook.backtest.engine import VectorizedBacktester, equal_weight_universe
from openbook.common.errors import DataError, ParameterError
from openbook.market.sources import SimulatedSource
from openbook.market.store import load_market
from openbook.portfolio.construct import PortfolioSettings
from openbook.portfolio.regime import RegimeSettings
from openbook.selection import (
    GATES,
    SCALES,
    SelectionWeights,
    Thresholds,
    Trials,
    calculate_weighted_score,
    count_trials,
    create_comparison_matrix,
    detailed_results,
    filter_by_thresholds,
    holdout_look,
    judge,
    rank_stability,
    regime_consistency,
    select_champion,
    summarise_backtests,
    write_report,
)
from support.worthless import backtest_of

WEIGHTS, THRESHOLDS, REGIME = SelectionWeights(), Thresholds(), RegimeSettings()
GOOD = {
    "sharpe": 1.2,
    "max_drawdown": -0.15,
    "calmar": 0.9,
    "turnover": 0.20,
    "regime_consistency": 1.0,
    "deflated_sharpe": 0.97,
    "pbo": 0.30,
    "active_low": 0.02,
    "active_low_all": 0.01,
    "track_record": 2.0,
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
    with pytest.raises(DataError, match="must cover the same regimes"):
        regime_consistency({0: 1.0}, shares)
    with pytest.raises(DataError, match="at least one"):
        regime_consistency({}, {})


# --- gates ------------------------------------------------------------------------------------------------------------


def test_a_value_on_the_limit_passes_and_the_next_worse_does_not():
    limits = {"sharpe": 1.0, "max_drawdown": -0.20, "calmar": 0.5, "turnover": 0.40, "deflated_sharpe": 0.95}
    limits |= {"pbo": 0.5, "active_low_all": 0.0, "track_record": 1.0}
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
    assert "b × hrp failed deflated Sharpe ratio 0.50 (at least 0.95)" in selection.reason


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
        "a × hrp failed deflated Sharpe ratio undefined (at least 0.95); "
        "b × hrp failed Sharpe ratio 0.80 (at least 1), maximum drawdown -30.0% (at least -20%)"
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
    with pytest.raises(DataError, match="a × hrp appears twice in the results"):
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


@pytest.fixture
def backtests() -> dict:
    """Five combinations of noise with different means, 300 sessions."""
    rng = np.random.default_rng(0)
    return {(f"m{i}", "hrp"): backtest_of(0.01 * rng.standard_normal(300) + 0.0004 * i) for i in range(5)}


@pytest.fixture
def regimes() -> pd.Series:
    days = pd.bdate_range("2014-01-01", periods=301)
    return pd.Series(np.arange(301) // 50 % 3, index=days)


def judged(backtests: dict, regimes: pd.Series, n_trials: int | None = None) -> pd.DataFrame:
    """The field as the notebooks make it."""
    returns = pd.DataFrame({" × ".join(pair): result.returns for pair, result in backtests.items()})
    return judge(summarise_backtests(backtests, regimes), returns, n_trials=n_trials or len(backtests))


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
        assert row["sessions"] == 300
    unknown = ["beta", "active_return", "active_low", "active_high", "capacity", "smallest_account"]
    assert summary[unknown].isna().all(axis=None)
    assert "deflated_sharpe" not in summary


def test_beside_a_benchmark_only_what_differs_counts(backtests, regimes):
    """A benchmark plus 2 bp a day is 5% a year above it, with beta 1; the benchmark itself has no interval."""
    universe = backtests["m1", "hrp"].returns
    pairs = {
        ("same", "hrp"): backtest_of(universe.to_numpy()),
        ("above", "hrp"): backtest_of(universe.to_numpy() + 0.0002),
    }
    rows = summarise_backtests(pairs | backtests, regimes, benchmark=universe, seed=3).set_index("model")
    assert rows.loc["above", "active_return"] == pytest.approx(0.0504)
    assert rows.loc["above", "beta"] == pytest.approx(1.0)
    assert rows.loc["same", "active_return"] == 0.0
    assert rows.loc[["same", "above"], ["active_low", "active_high"]].isna().all(axis=None)
    gap = backtests["m4", "hrp"].returns - universe
    low, high = metrics.stationary_bootstrap_interval(gap, seed=3)
    assert (rows.loc["m4", "active_low"], rows.loc["m4", "active_high"]) == (low, high)
    assert rows.loc["m4", "active_return"] == pytest.approx(gap.mean() * 252)
    assert low < rows.loc["m4", "active_return"] < high


def test_capacity_is_that_of_the_market_they_were_run_on():
    market, _ = load_market(SimulatedSource(n_symbols=12, n_sessions=300, seed=3))
    weights = equal_weight_universe(market, market.dates[100:280:20])
    found = {("everyone", "equal_weight"): VectorizedBacktester().run(weights, market)}
    regimes = pd.Series(1, index=market.dates)
    known = capacity(found["everyone", "equal_weight"], market)
    assert np.isfinite(known)
    summary = summarise_backtests(found, regimes, market=market)
    assert summary["capacity"].tolist() == [known]
    assert summary["smallest_account"].tolist() == [smallest_account(found["everyone", "equal_weight"], market)]


def test_the_deflated_sharpe_is_told_the_trials_and_takes_their_spread_from_the_field(backtests, regimes):
    """By hand from the formula of metrics: V is the variance of the combinations' daily Sharpe ratios."""
    field = judged(backtests, regimes, 40)
    spread = np.var([result.sharpe / 252**0.5 for result in backtests.values()], ddof=1)
    for row, result in zip(field.itertuples(), backtests.values(), strict=True):
        assert row.deflated_sharpe == pytest.approx(metrics.deflated_sharpe(result.returns, 40, spread))
        needed = metrics.minimum_track_record_length(result.returns)
        assert row.min_track_record == pytest.approx(needed, nan_ok=True)
        assert row.track_record == pytest.approx(300 / needed, nan_ok=True)
    alone = judged({("m4", "hrp"): backtests["m4", "hrp"]}, regimes)
    assert alone["deflated_sharpe"][0] == metrics.probabilistic_sharpe(backtests["m4", "hrp"].returns)
    assert np.isnan(alone["pbo"][0])  # nothing to choose from: no gate is passed by that
    assert field["pbo"].nunique() == 1


def test_the_more_was_tried_the_less_the_same_result_says(backtests, regimes):
    few, many = (judged(backtests, regimes, n)["deflated_sharpe"] for n in (5, 50))
    assert (many < few).all()


def test_fewer_trials_than_combinations_and_missing_returns_are_refused(backtests, regimes):
    with pytest.raises(DataError, match="count every trial"):
        judged(backtests, regimes, 4)
    with pytest.raises(DataError, match="no daily returns for m0 × hrp"):
        judge(summarise_backtests(backtests, regimes), pd.DataFrame(), n_trials=5)


@pytest.mark.filterwarnings("error")
def test_a_combination_that_held_nothing_is_a_trial_without_a_sharpe_ratio(backtests, regimes):
    """Its Sharpe ratio is undefined; that used to leave the spread undefined, and no summary at all."""
    cash = {("cash", "hrp"): backtest_of(np.zeros(300))}
    pair = judged(cash | {("m4", "hrp"): backtests["m4", "hrp"]}, regimes).set_index("model")
    assert np.isnan(pair.loc["cash", "deflated_sharpe"])
    assert 0 < pair.loc["m4", "deflated_sharpe"] < 1
    assert judged(cash, regimes)["deflated_sharpe"].isna().all()
    six = judged(cash | backtests, regimes).set_index("model")
    five = judged(backtests, regimes).set_index("model")
    assert (six.loc[five.index, "deflated_sharpe"] < five["deflated_sharpe"]).all()
    assert not filter_by_thresholds(six, THRESHOLDS).loc["cash"].all()


def test_consistency_looks_at_the_regime_of_the_evening_before():
    """Risk-off evenings lose the session after, risk-on evenings win it: 4 of 8 sessions."""
    days = pd.bdate_range("2014-01-01", periods=9)
    regimes = pd.Series([0, 2, 0, 2, 0, 2, 0, 2, 0], index=days)
    returns = [-0.01, 0.01, -0.02, 0.02, -0.01, 0.02, -0.02, 0.01]
    assert summarise_backtests({("m", "hrp"): backtest_of(returns)}, regimes)["regime_consistency"][0] == 0.5
    always = summarise_backtests({("m", "hrp"): backtest_of(np.abs(returns))}, regimes)
    assert always["regime_consistency"][0] == 1.0


def test_no_backtest_is_an_error(regimes):
    with pytest.raises(DataError, match="pass every combination"):
        summarise_backtests({}, regimes)


def test_settings_and_figures_come_back_from_the_details(backtests, regimes):
    tester = VectorizedBacktester(settings=PortfolioSettings(top_n=7, rebalance_every=3))
    summary = summarise_backtests(backtests, regimes)
    regime, recipes = RegimeSettings(confirm=5), {f"m{i}": {"name": f"m{i}"} for i in range(5)}
    details = detailed_results(summary, summary.iloc[:2], backtester=tester, regime=regime, recipes=recipes)
    read = json.loads(json.dumps(details))
    assert PortfolioSettings.model_validate_json(json.dumps(read["settings"]["portfolio"])) == tester.settings
    assert RegimeSettings.model_validate(read["settings"]["regime"]).confirm == 5
    assert read["baseline_names"] == ["m0 × hrp", "m1 × hrp"]
    pd.testing.assert_frame_equal(pd.DataFrame(read["combinations"]).drop(columns="trial"), summary)
    returns = pd.DataFrame({" × ".join(pair): result.returns for pair, result in backtests.items()})
    there, back = (judge(table, returns, n_trials=9) for table in (summary, pd.DataFrame(read["combinations"])))
    first, second = (select_champion(field, WEIGHTS, THRESHOLDS) for field in (there, back))
    assert first.ranking["combination"].tolist() == second.ranking["combination"].tolist()


def test_the_gates_in_words():
    summary = Thresholds(sharpe_min=1.5).summary().set_index("figure")
    assert summary.loc["Sharpe ratio"].tolist() == ["at least", "1.5"]
    assert summary.loc["turnover per rebalance"].tolist() == ["at most", "40%"]
    assert len(summary) == len(GATES)


def test_the_sentence_is_the_decision_alone():
    results = table(combination("a", "hrp"), combination("b", "hrp", sharpe=2.0, deflated_sharpe=0.5))
    assert select_champion(results, WEIGHTS, THRESHOLDS).sentence == (
        "a × hrp: score 0.615, the best of the combinations that passed every gate."
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
    assert "4 combinations compared, 4 trials counted" in text
    stopped = text.split("## Rejected by the gates")[1].split()
    assert "higher" in stopped
    assert "lower" in stopped
    assert "passed" not in stopped
    assert "- lower × hrp failed Sharpe ratio 0.40 (at least 1), maximum drawdown undefined (at least -20%)" in text
    rows = [
        line
        for line in text.split("## Multiple testing")[0].splitlines()
        if line.startswith("| ") and "| hrp |" in line
    ]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == selection.ranking["model"].tolist()
    for part in ("Ranking", "Multiple testing"):
        lines = text.split(f"## {part}")[1].split("##")[0].splitlines()
        assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    assert "- Sharpe ratio at least 1: 3 of 4 passed" in text
    assert "Probability of backtest overfitting (PBO): 30%" in text
    assert "- none" in write_report(select_champion(results.iloc[:1], WEIGHTS, THRESHOLDS), WEIGHTS, THRESHOLDS)
    assert text == write_report(select_champion(results, WEIGHTS, THRESHOLDS), WEIGHTS, THRESHOLDS)


def test_the_report_tells_a_committee_everything_it_is_given():
    selection = select_champion(
        table(combination("a", "hrp"), combination("b", "hrp")), WEIGHTS, THRESHOLDS, n_trials=37
    )
    text = write_report(
        selection,
        WEIGHTS,
        THRESHOLDS,
        trials=Trials(combinations=2, earlier=5, tuning=30),
        effective=1.4,
        stability=rank_stability(selection.ranking, WEIGHTS, seed=0),
        look=holdout_look(None, earlier=[]),
    )
    for said in (
        "37 trials counted: 2 combinations",
        "among those compared: 1.4",
        "uses all 37 trials",
        "a × hrp ranks first in 100%",
        "No holdout",
    ):
        assert said in text


# --- trials -----------------------------------------------------------------------------------------------------------

LEDGER = pd.DataFrame({"trial": ["x/0", "x/0", "x/1", "x"], "kind": ["tuning", "tuning", "tuning", "candidate"]})


def compared(*trials: str) -> dict:
    return {"combinations": [{"trial": trial} for trial in trials]}


def test_a_trial_is_counted_once_however_often_it_was_compared():
    trials = count_trials(compared("a", "b"), [compared("a", "c"), compared("c", "d")], LEDGER)
    assert (trials.combinations, trials.earlier, trials.tuning, trials.total) == (2, 2, 2, 6)
    assert trials.sentence == (
        "6 trials counted: 2 combinations in this comparison, 2 from earlier comparisons, 2 tuning trials. "
        "The fit of a candidate is part of its combinations."
    )
    again = count_trials(compared("a", "b"), [compared("a", "b")] * 3, LEDGER.iloc[:0])
    assert again.total == 2
    with pytest.raises(DataError, match="compare again"):
        count_trials({"combinations": [{"model": "a"}]}, [], LEDGER)
    with pytest.raises(DataError, match="no column kind"):
        count_trials(compared("a"), [], LEDGER[["trial"]])


def test_a_changed_setting_is_another_trial(backtests, regimes):
    summary, recipes = summarise_backtests(backtests, regimes), {f"m{i}": {"depth": i} for i in range(5)}

    def ids(recipes=recipes, regime=REGIME, **portfolio) -> list[str]:
        tester = VectorizedBacktester(settings=PortfolioSettings(**portfolio))
        details = detailed_results(summary, summary.iloc[:0], backtester=tester, regime=regime, recipes=recipes)
        return [row["trial"] for row in details["combinations"]]

    plain = ids()
    assert len(set(plain)) == 5
    assert {len(trial) for trial in plain} == {16}
    assert plain == ids()
    assert plain == ids(optimizer="inverse_vol")  # the one of the settings is not the one that is tried
    assert not set(plain) & set(ids(top_n=7))
    assert not set(plain) & set(ids(regime=RegimeSettings(confirm=5)))
    assert len(set(plain) - set(ids(recipes | {"m0": {"depth": 9}}))) == 1
    with pytest.raises(DataError, match="no candidate settings for m0"):
        ids({})


def test_the_number_of_trials_is_the_one_that_was_told():
    results = table(combination("a", "hrp"))
    assert select_champion(results, WEIGHTS, THRESHOLDS).n_trials == 1
    assert select_champion(results, WEIGHTS, THRESHOLDS, n_trials=90).n_trials == 90


# --- under other weights ----------------------------------------------------------------------------------------------


def test_rank_stability_is_the_ranking_of_every_draw():
    """The slow twin: the same weights, one draw after the other, through select_champion."""
    rng = np.random.default_rng(0)
    rows = [combination(m, "hrp", sharpe=rng.uniform(0, 2), calmar=rng.uniform(0, 1.5), turnover=rng.uniform(0, 0.5))
            for m in "abcde"]  # fmt: skip
    found = rank_stability(table(*rows), WEIGHTS, draws=60, seed=4).set_index("combination")
    factors = 2.0 ** np.random.default_rng(4).uniform(-1, 1, (60, 5)) * list(WEIGHTS.model_dump().values())
    first, three = [], []
    for shaken in factors / factors.sum(axis=1, keepdims=True):
        weights = SelectionWeights(**dict(zip(SelectionWeights.model_fields, shaken, strict=True)))
        order = select_champion(table(*rows), weights, THRESHOLDS).ranking["model"]
        first, three = [*first, order[0]], [*three, *order[:3]]
    for model in "abcde":
        assert found.loc[f"{model} × hrp", "first"] == pytest.approx(first.count(model) / 60)
        assert found.loc[f"{model} × hrp", "top_three"] == pytest.approx(three.count(model) / 60)
    assert found["first"].is_monotonic_decreasing


def test_the_one_that_is_best_in_everything_is_always_first():
    found = rank_stability(table(combination("b", "hrp"), combination("a", "hrp", sharpe=1.3)), WEIGHTS, seed=1)
    assert found["combination"].tolist() == ["a × hrp", "b × hrp"]
    assert found["first"].tolist() == [1.0, 0.0]
    assert found["top_three"].tolist() == [1.0, 1.0]
    tied = rank_stability(table(combination("b", "hrp"), combination("a", "hrp")), WEIGHTS, seed=1)
    assert tied["first"].tolist() == [1.0, 0.0]  # equal scores are ordered by name
    with pytest.raises(ParameterError, match="draws"):
        rank_stability(table(combination("a", "hrp")), WEIGHTS, draws=0, seed=1)


# --- the holdout ------------------------------------------------------------------------------------------------------


def test_a_look_says_what_it_saw_and_how_often_others_looked():
    days = pd.bdate_range("2024-01-01", periods=120)
    rng = np.random.default_rng(2)
    universe = pd.Series(0.01 * rng.standard_normal(120), index=days)
    mine = universe + 0.001 + 0.002 * rng.standard_normal(120)
    returns = pd.DataFrame({"a × hrp": mine, "universe": universe})
    look = holdout_look(returns, earlier=[], seed=5)
    assert look.span == f"2024-01-01 to {days[-1]:%Y-%m-%d}"
    assert (look.looks, look.sessions) == (1, 120)
    assert look.sharpe == metrics.sharpe(mine)
    assert look.active_return == pytest.approx((mine - universe).mean() * 252)
    assert (look.active_low, look.active_high) == metrics.stationary_bootstrap_interval(mine - universe, seed=5)
    assert look.universe_return == metrics.total_return(universe)
    assert "first evaluation" in look.sentence
    spans = ["2023-01-01 to 2023-12-31", "2023-06-01 to 2024-01-01", f"{days[-1]:%Y-%m-%d} to 2025-01-01", look.span]
    assert holdout_look(returns, earlier=spans).looks == 4
    assert "evaluation number 4" in holdout_look(returns, earlier=spans).sentence


def test_without_a_holdout_there_is_nothing_to_look_at():
    for nothing in (None, pd.DataFrame(columns=["a", "b"])):
        look = holdout_look(nothing, earlier=["2023-01-01 to 2023-12-31"])
        assert look.span is None
        assert look.looks == 0
        assert np.isnan(look.sharpe)
        assert look.sentence == "No holdout period, so no holdout evaluation."
    few = pd.DataFrame(0.01, index=pd.bdate_range("2024-01-01", periods=3), columns=["a", "b"])
    assert "Sharpe ratio unknown" in holdout_look(few, earlier=[]).sentence
    with pytest.raises(DataError, match="not 3"):
        holdout_look(few.assign(c=0.0), earlier=[])
    with pytest.raises(DataError, match="'soon' is not a date range"):
        holdout_look(few, earlier=["soon"])
