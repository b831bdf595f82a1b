"""Training finds what is there and nothing where nothing is; a model answers only what it was trained on."""

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from openbook import metrics
from openbook.common.errors import ParameterError, SchemaError
from openbook.signals.algorithms import ALGORITHMS
from openbook.signals.dataset import build_dataset, create_time_based_split
from openbook.signals.learners import LEARNERS
from openbook.signals.models import (
    MIN_TREES,
    Candidate,
    ModelTrainer,
    check_scores,
    combine,
    define_candidates,
    evaluate_scores,
)
from openbook.signals.training import WalkForward, train_candidates
from support.signal_markets import features_of, noise_features, planted_dataset, random_market

EACH = pytest.mark.parametrize("algorithm", list(LEARNERS))
BOOSTERS = pytest.mark.parametrize("algorithm", ["xgboost", "lightgbm"])


def walk_forward(chosen: Candidate, dataset, n_folds: int):
    """The stitched scores of one candidate, and its folds."""
    done = train_candidates(dataset, [chosen], WalkForward(n_folds=n_folds, embargo=0, holdout=0))
    return done.oos_scores[chosen.name], done.folds


def candidate(algorithm: str, **changes) -> Candidate:
    return Candidate(**{"name": f"{algorithm}_test", "algorithm": algorithm, "n_estimators": 80, **changes})


@cache
def planted():
    return planted_dataset()


@cache
def trained(algorithm: str):
    return ModelTrainer(candidate(algorithm)).train(planted(), planted().dates[:250])


# --- candidates -------------------------------------------------------------------------------------------------------


def test_candidates_of_a_parameter_file():
    entries = [
        {"name": "xgboost_default", "algorithm": "xgboost"},
        {"name": "lightgbm_deep", "algorithm": "lightgbm", "params": {"max_depth": 8, "learning_rate": 1}, "seed": 7},
    ]
    first, second = define_candidates(entries)
    assert (first.early_stopping, first.params) == (50, {})
    assert (second.seed, second.params["max_depth"]) == (7, 8)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "a"}, "algorithm"),
        ({"name": "a", "algorithm": "oracle"}, "unknown algorithm 'oracle'; choose from xgboost"),
        ({"name": "../../a", "algorithm": "xgboost"}, "name"),
        ({"name": "a", "algorithm": "xgboost", "trees": 5}, "trees"),
        ({"name": "a", "algorithm": "xgboost", "n_estimators": "5"}, "n_estimators"),
        ({"name": "a", "algorithm": "xgboost", "n_estimators": 0}, "n_estimators"),
        ({"name": "a", "algorithm": "xgboost", "params": {"num_leaves": 5}}, "xgboost has no parameter 'num_leaves'"),
        ({"name": "a", "algorithm": "xgboost", "params": {"max_depth": 2.5}}, "max_depth must be a whole number"),
        ({"name": "a", "algorithm": "xgboost", "params": {"learning_rate": "1e-3"}}, "params.learning_rate"),
        ({"name": "a", "algorithm": "xgboost", "params": {"learning_rate": float("nan")}}, "learning_rate.*finite"),
        ({"name": "a", "algorithm": "xgboost", "params": {"max_depth": True}}, "params.max_depth"),
        ("xgboost", r"candidates\[1\]"),
    ],
)
def test_junk_candidates_are_refused_by_entry_and_field(entry, message):
    with pytest.raises(ParameterError, match=message):
        define_candidates([{"name": "fine", "algorithm": "lightgbm"}, entry])


def test_candidates_must_be_some_and_different():
    with pytest.raises(ParameterError, match="at least one"):
        define_candidates([])
    with pytest.raises(ParameterError, match="duplicate twin"):
        define_candidates([{"name": "twin", "algorithm": "xgboost"}, {"name": "twin", "algorithm": "lightgbm"}])


PAIR = [{"name": "a", "algorithm": "xgboost"}, {"name": "b", "algorithm": "lightgbm"}]


def test_an_ensemble_and_a_tuned_candidate_survive_json():
    tuning = {"n_trials": 4, "space": {"max_depth": [3, 5, False]}}
    entries = [{**PAIR[0], "tuning": tuning}, PAIR[1], {"name": "e", "algorithm": "ensemble", "members": ["b", "a"]}]
    tuned, _, ensemble = define_candidates(entries)
    assert tuned.tuning.space == {"max_depth": (3.0, 5.0, False)}
    assert ensemble.members == ("b", "a")
    for one in (tuned, ensemble):
        assert Candidate.model_validate_json(one.model_dump_json()) == one


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"members": ["a", "a", "b"]}, "members must be different"),  # voting twice here, once when deployed
        ({"members": ["a"]}, "at least two other candidates"),
        ({"members": ["a", "e"]}, "'e' is not a candidate"),
        ({"members": ["a", "stranger"]}, "'stranger' is not a candidate"),
        ({"params": {"max_depth": 3}}, "ensemble has no parameter"),
        ({"tuning": {}}, "no parameters to tune"),
        ({"algorithm": "xgboost", "members": ["a", "b"]}, "only ensembles have members"),
        ({"algorithm": "xgboost", "tuning": {"n_trials": "5"}}, "tuning.n_trials"),
        ({"algorithm": "xgboost", "tuning": {"n_trials": True}}, "tuning.n_trials"),
        ({"algorithm": "xgboost", "tuning": {"space": {"max_depth": [3, 5]}}}, "tuning.space.max_depth"),
    ],
)
def test_junk_ensembles_and_searches_are_refused(entry, message):
    with pytest.raises(ParameterError, match=message):
        define_candidates([*PAIR, {"name": "e", "algorithm": "ensemble", **entry}])


def test_an_ensemble_needs_others_beside_it():
    with pytest.raises(ParameterError, match="at least two other candidates"):
        define_candidates([PAIR[0], {"name": "e", "algorithm": "ensemble"}])


def test_models_that_do_not_fit_together_are_not_combined():
    one, two = trained("xgboost"), trained("lightgbm")
    ensemble = combine({"one": one, "two": two}, Candidate(name="e", algorithm="ensemble"))
    later = replace(two, training=two.training.model_copy(update={"horizon": 7}))
    other = replace(two, features=two.features[::-1])
    for models, message in [
        ({}, "at least two"),
        ({"one": one}, "at least two"),
        ({"one": one, "two": other}, "same features"),
        ({"one": one, "two": later}, "same label: one, two"),
        ({"one": one, "both": ensemble}, "cannot be a member of an ensemble"),
    ]:
        with pytest.raises(SchemaError, match=message):
            combine(models, ensemble.training.candidate)


@pytest.mark.parametrize(
    ("algorithm", "params"), [("xgboost", {"learning_rate": -1}), ("lightgbm", {"bagging_fraction": 2})]
)
def test_a_value_that_the_library_refuses_is_a_parameter_error(algorithm, params):
    with pytest.raises(ParameterError, match=f"{algorithm} rejected its parameters.*{next(iter(params))}"):
        ModelTrainer(candidate(algorithm, params=params)).train(planted(), planted().dates[:250])


# --- training ---------------------------------------------------------------------------------------------------------


@EACH
def test_a_planted_feature_is_found(algorithm):
    _, folds = walk_forward(candidate(algorithm), planted(), 3)
    assert (folds["rank_ic"] > 0.2).all()  # the signal's own rank IC over five sessions is about 0.45
    assert (folds["newey_west_t"] > 3).all()
    assert (folds["quantile_spread"] > 0.01).all()


@EACH
def test_noise_stays_noise(algorithm):
    """A model of noise has no rank IC out of sample: within three Newey-West errors. In sample it always has."""
    market, _ = random_market(11, 400, 40)
    noise = build_dataset(market, noise_features(market, 6), 5)
    scores, _ = walk_forward(candidate(algorithm), noise, 3)
    daily = metrics.information_coefficient(scores, noise.labels)["rank_ic"]
    assert abs(metrics.newey_west_t(daily, lags=5)) < 3
    again = ModelTrainer(candidate(algorithm)).train(noise, noise.dates).predict(noise.features)
    assert metrics.newey_west_t(metrics.information_coefficient(again, noise.labels)["rank_ic"], lags=5) > 5


@EACH
def test_training_does_not_see_a_label_that_matures_later(algorithm):
    split = create_time_based_split(planted().dates, 1, 3, horizon=5)
    later = planted().dates > split.train[-1]
    ranks, labels = planted().ranks.copy(), planted().labels.copy()
    ranks[later], labels[later] = 0.5, 9.0
    other = replace(planted(), ranks=ranks, labels=labels)
    trainer = ModelTrainer(candidate(algorithm, n_estimators=30))
    ours, theirs = trainer.train(planted(), split.train), trainer.train(other, split.train)
    assert ALGORITHMS[algorithm].dump(ours.booster) == ALGORITHMS[algorithm].dump(theirs.booster)
    assert pd.Timestamp(ours.training.trained_through) < split.test[0]


@EACH
def test_the_same_training_gives_the_same_bytes_on_any_number_of_threads(algorithm):
    chosen = candidate(algorithm, early_stopping=None, n_estimators=12)
    one, two, other = (
        ModelTrainer(settings, n_jobs).train(planted(), planted().dates[:250])
        for settings, n_jobs in ((chosen, 1), (chosen, 2), (chosen.model_copy(update={"seed": 1}), 1))
    )
    dump = ALGORITHMS[algorithm].dump
    assert dump(one.booster) == dump(two.booster)
    assert dump(one.booster) != dump(other.booster)


@EACH
def test_training_states_what_it_used(algorithm):
    training, dates = trained(algorithm).training, planted().dates
    assert (training.train_start, training.train_end) == (str(dates[0].date()), str(dates[249].date()))
    assert training.trained_through == str(dates[249 + 1 + 5].date())
    assert training.train_rows == 250 * 40
    assert training.horizon == 5
    assert MIN_TREES <= training.trees <= 80
    assert training.candidate.algorithm == trained(algorithm).algorithm == algorithm


def test_dates_without_a_label_are_not_part_of_the_training():
    model = ModelTrainer(candidate("lightgbm")).train(planted(), planted().dates)
    assert model.training.train_end == str(planted().dates[-7].date())
    assert model.training.trained_through == str(planted().dates[-1].date())
    with pytest.raises(ParameterError, match="no labeled row"):
        ModelTrainer(candidate("lightgbm")).train(planted(), planted().dates[-6:])


@BOOSTERS
def test_without_early_stopping_every_tree_is_grown(algorithm):
    chosen = candidate(algorithm, early_stopping=None, n_estimators=7)
    model = ModelTrainer(chosen).train(planted(), planted().dates[:20])
    assert model.training.trees == 7
    with pytest.raises(ParameterError, match="too few for early stopping"):
        ModelTrainer(candidate(algorithm)).train(planted(), planted().dates[:7])


def test_long_short_sharpe_takes_dates_whose_labels_do_not_overlap():
    """Ten names, horizon 2: top fifth less bottom fifth is 4, 5, 2 % on dates 0, 2, 4; the others do not count."""
    rank = np.arange(10.0)
    scores = pd.DataFrame([rank] * 5)
    labels = pd.DataFrame(0.0, index=range(5), columns=range(10))
    for date, top in enumerate([0.04, -0.9, 0.05, -0.9, 0.02]):
        labels.loc[date, [8, 9]] = top
    expected = np.mean([0.04, 0.05, 0.02]) / np.std([0.04, 0.05, 0.02], ddof=1) * np.sqrt(252 / 2)
    assert evaluate_scores(scores, labels, 2)["long_short_sharpe"] == pytest.approx(expected)


def test_scores_are_judged_by_date_before_they_are_averaged():
    """Scores high on good days and useless within a day have no IC and no spread here, whatever pooling would find."""
    rng = np.random.default_rng(0)
    market_wide = rng.standard_normal((250, 1))
    labels = pd.DataFrame(0.01 * market_wide + 0.01 * rng.standard_normal((250, 40)))
    scores = pd.DataFrame(market_wide + 0.1 * rng.standard_normal((250, 40)))
    found = evaluate_scores(scores, labels, 1)
    assert np.corrcoef(scores.to_numpy().ravel(), labels.to_numpy().ravel())[0, 1] > 0.5
    assert abs(found["rank_ic"]) < 0.03
    assert abs(found["quantile_spread"]) < 0.001


# --- predicting -------------------------------------------------------------------------------------------------------


@EACH
def test_a_score_depends_on_its_own_row_only(algorithm):
    model, features = trained(algorithm), planted().features
    whole = model.predict(features, n_jobs=2)
    assert_frame_equal(whole.iloc[[300]], model.predict(planted().features_on(planted().dates[[300]])))
    half = replace(features, values=features.values[:, ::2], symbols=features.symbols[::2])
    assert_frame_equal(whole.iloc[:, ::2], model.predict(half))


@EACH
def test_a_name_without_a_bar_has_no_score_and_one_missing_feature_does_no_harm(algorithm):
    values = planted().features.values[300:301].copy()
    values[0, 0], values[0, 1, 2] = np.nan, np.nan
    features = replace(planted().features, values=values, dates=planted().dates[300:301])
    scores = trained(algorithm).predict(features).iloc[0]
    assert np.isnan(scores.iloc[0])
    assert scores.iloc[1:].notna().all()
    empty = replace(features, values=np.full_like(values, np.nan))
    assert trained(algorithm).predict(empty).isna().all(axis=None)


@EACH
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n: (*n[1:], n[0]), "not in the model's order: column 0 is feature_1, expected feature_0"),
        (lambda n: ("other", *n[1:]), r"missing \['feature_0'\], extra \['other'\]"),
        (lambda n: n[:-1], r"missing \['feature_4'\]"),
        (lambda n: (*n, "other"), r"extra \['other'\]"),
        (lambda n: (*n, n[0]), r"extra \['feature_0'\]"),
    ],
    ids=["reordered", "renamed", "missing", "extra", "twice"],
)
def test_m03_other_features_are_refused(algorithm, change, message):
    columns = change(planted().features.names)
    values = np.zeros((1, 40, len(columns)), dtype=np.float32)
    features = replace(planted().features, values=values, dates=planted().dates[:1], names=columns)
    with pytest.raises(SchemaError, match=message) as caught:
        trained(algorithm).predict(features)
    assert caught.value.exit_code == 41


def test_m03_features_of_another_dtype_are_refused():
    features = replace(planted().features, values=planted().features.values.astype(np.float64))
    with pytest.raises(SchemaError, match="float32"):
        trained("lightgbm").predict(features)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_m04_a_score_that_is_no_number_is_refused_by_name(bad):
    scores = pd.Series([0.1, bad, 0.3], index=["AAA", "NA", "CCC"])
    with pytest.raises(SchemaError, match=r"no finite score for NA \(1 of 3 names\)"):
        check_scores(scores, min_distinct=2)


def test_m05_constant_scores_are_degenerate():
    with pytest.raises(SchemaError, match="degenerate scores: 1 distinct values for 40"):
        check_scores(pd.Series(0.25, index=range(40)), min_distinct=1)
    with pytest.raises(SchemaError, match="degenerate"):
        check_scores(pd.Series([], dtype=float), min_distinct=1)
    with pytest.raises(SchemaError, match="degenerate scores: 4"):
        check_scores(pd.Series([1.0, 2, 3, 4]), min_distinct=5)
    check_scores(pd.Series([1.0, 2, 3, 4]), min_distinct=4)


@EACH
def test_even_a_model_of_noise_tells_the_names_apart(algorithm):
    market, _ = random_market(2, 200, 30)
    noise = build_dataset(market, features_of(market, np.random.default_rng(3).random((200, 30))), 5)
    model = ModelTrainer(candidate(algorithm, early_stopping=1)).train(noise, noise.dates)
    check_scores(model.predict(noise.features).iloc[-1], min_distinct=5)
