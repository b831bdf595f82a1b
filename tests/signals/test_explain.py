"""Explanations: what was planted is found, what is not used counts for nothing, and figures agree with the metric's."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from openbook import metrics
from openbook.common.errors import ModelError, ParameterError, SchemaError
from openbook.signals.algorithms import ALGORITHMS
from openbook.signals.dataset import build_dataset, create_time_based_split, scored_rows
from openbook.signals.ensemble import members_of
from openbook.signals.explain import (
    _contributions,
    alpha_decay,
    learning_curve,
    permutation_importance,
    shap_importance,
    top_contributions,
)
from openbook.signals.models import Candidate, ModelTrainer, evaluate_scores
from support.signal_markets import features_of, planted_dataset, random_market

BOOSTERS = ["lightgbm", "xgboost"]
CONSTANT = "feature_5"


def candidate(algorithm: str, **changes) -> Candidate:
    settings = {"n_estimators": 30, "early_stopping": None, "params": {"learning_rate": 0.1}} | changes
    return Candidate(name="explained", algorithm=algorithm, **settings)


@pytest.fixture(scope="module")
def dataset():
    """400 dates, 40 names; the first of 6 features is worth something, the last is the same for all names."""
    whole = planted_dataset()
    features = whole.features
    same = np.zeros((*features.values.shape[:2], 1), dtype=np.float32)
    wider = replace(features, values=np.concatenate([features.values, same], axis=2), names=(*features.names, CONSTANT))
    return replace(whole, features=wider)


@pytest.fixture(scope="module")
def split(dataset):
    return create_time_based_split(dataset.dates, 2, 3, horizon=dataset.horizon)


@pytest.fixture(scope="module", params=BOOSTERS)
def model(request, dataset, split):
    return ModelTrainer(candidate(request.param)).train(dataset, split.train)


def test_permutation_finds_the_planted_feature_and_gives_a_constant_one_nothing(model, dataset, split):
    lost = permutation_importance(model, dataset, split.test)
    assert lost.index[0] == "feature_0"
    assert lost["feature_0"] > 10 * lost.drop("feature_0").abs().max()
    assert lost[CONSTANT] == 0.0
    assert lost.is_monotonic_decreasing
    assert set(lost.index) == set(dataset.features.names)


def test_a_feature_that_no_tree_splits_on_loses_nothing(dataset, split):
    stump = candidate("lightgbm", n_estimators=1, params={"num_leaves": 2, "feature_fraction": 1.0})
    lost = permutation_importance(ModelTrainer(stump).train(dataset, split.train), dataset, split.test)
    assert lost["feature_0"] > 0
    assert (lost.drop("feature_0") == 0.0).all()


def test_permutation_is_seeded_averages_repeats_and_changes_nothing(model, dataset, split):
    before = dataset.features.values.copy()
    first, again, other = (permutation_importance(model, dataset, split.test, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_series_equal(first, again, check_exact=True)
    assert first["feature_0"] != other["feature_0"]
    many = permutation_importance(model, dataset, split.test, seed=1, repeats=3)
    assert many["feature_0"] == pytest.approx(first["feature_0"], rel=0.2)
    np.testing.assert_array_equal(dataset.features.values, before)
    with pytest.raises(ParameterError, match="repeats"):
        permutation_importance(model, dataset, split.test, repeats=0)


def test_a_gap_stays_a_gap_and_numbers_stay_on_their_date(dataset):
    from openbook.signals.explain import _deal_within_dates

    values = dataset.features.values[:50, :, 0].copy()
    values[np.random.default_rng(0).random(values.shape) < 0.3] = np.nan
    dealt = _deal_within_dates(values, np.random.default_rng(1))
    np.testing.assert_array_equal(np.isnan(dealt), np.isnan(values))
    np.testing.assert_array_equal(np.sort(dealt, axis=1), np.sort(values, axis=1))
    assert (dealt != values).sum() > values.size / 2


def test_contributions_find_the_planted_feature_and_give_a_constant_one_nothing(model, dataset, split):
    size = shap_importance(model, dataset.features_on(split.test))
    assert size.index[0] == "feature_0"
    assert size[CONSTANT] == 0.0
    assert (size >= 0).all()
    assert set(size.index) == set(dataset.features.names)


def test_the_largest_parts_of_tonights_scores_in_words(model, dataset, split):
    tested = dataset.features_on(split.test)
    symbols = list(tested.symbols)
    told = top_contributions(model, tested, [*symbols, "GONE"], count=1)
    assert told["GONE"] == ""
    score = model.predict(tested).iloc[-1]
    best, worst = score.idxmax(), score.idxmin()
    assert told[best].startswith("feature_0: high, +")
    assert told[worst].startswith("feature_0: low, -")
    assert told.equals(top_contributions(model, dataset.features_on(split.test[-1:]), [*symbols, "GONE"], count=1))


def test_the_parts_of_an_ensemble_are_the_mean_over_its_members(dataset, split):
    models = {name: ModelTrainer(candidate(name)).train(dataset, split.train) for name in ("xgboost", "lightgbm")}
    both = replace(models["xgboost"], algorithm="ensemble", booster=members_of(models))
    tested = dataset.features_on(split.test)
    parts = [_contributions(model, tested, scored_rows(tested)) for model in (*models.values(), both)]
    np.testing.assert_allclose(parts[2], (parts[0] + parts[1]) / 2, rtol=1e-12, atol=1e-15)


def test_contributions_of_one_stump_are_its_leaves(dataset, split):
    """One split on one feature: each row's contribution is its leaf's value less the mean over the training rows."""
    stump = candidate("lightgbm", n_estimators=1, params={"num_leaves": 2, "feature_fraction": 1.0, "bagging_freq": 0})
    trained = ModelTrainer(stump).train(dataset, split.train)
    tested = dataset.features_on(split.test)
    low, high = np.unique(trained.predict(tested).to_numpy())
    share = (trained.predict(dataset.features_on(split.train)) == high).to_numpy().mean()
    mean = share * high + (1 - share) * low
    expected = np.abs(trained.predict(tested).to_numpy() - mean).mean()
    assert shap_importance(trained, tested)["feature_0"] == pytest.approx(expected, rel=1e-3)


def test_contributions_need_the_models_own_features_and_an_algorithm_that_has_them(model, dataset, monkeypatch):
    swapped = replace(dataset.features, names=dataset.features.names[::-1])
    with pytest.raises(SchemaError, match="order"):
        shap_importance(model, swapped)
    without = replace(ALGORITHMS[model.algorithm], contributions=None)
    monkeypatch.setitem(ALGORITHMS, model.algorithm, without)
    with pytest.raises(ModelError, match="no feature contributions"):
        shap_importance(model, dataset.features)


def test_alpha_decay_at_the_labels_own_horizon_is_the_evaluation():
    market, signal = random_market(0, 400, 40, effect=0.3)
    dataset = build_dataset(market, features_of(market, signal), 5)
    scores = pd.DataFrame(signal, index=market.dates, columns=market.symbols).iloc[100:]
    decay = alpha_decay(scores, market, [1, 5, 20]).set_index("horizon")
    figures = evaluate_scores(scores, dataset.labels.loc[scores.index], 5)
    assert decay.loc[5].to_dict() == {key: figures[key] for key in ("rank_ic", "newey_west_t")}
    assert decay.loc[5, "rank_ic"] > decay.loc[1, "rank_ic"]  # five days of a slow signal beat one
    assert decay.index.tolist() == [1, 5, 20]


def test_scores_of_white_noise_decay_to_nothing_at_every_horizon():
    market, _ = random_market(3, 400, 40)
    noise = np.random.default_rng(0).standard_normal(market.close.shape)
    decay = alpha_decay(pd.DataFrame(noise, index=market.dates, columns=market.symbols), market, [1, 10])
    assert (decay["newey_west_t"].abs() < 3.5).all()


@pytest.mark.parametrize("algorithm", BOOSTERS)
def test_a_learning_curve_point_is_the_model_of_that_many_trees(dataset, split, algorithm):
    curve = learning_curve(dataset, candidate(algorithm), split).set_index("trees")
    assert curve.index.tolist() == [10, 20, 30]
    for trees, row in curve.iterrows():
        trained = ModelTrainer(candidate(algorithm, n_estimators=trees)).train(dataset, split.train)
        scores, ranks = trained.predict(dataset.features_on(split.test)), dataset.ranks.loc[split.test]
        expected = metrics.information_coefficient(scores, ranks)["rank_ic"].mean()
        assert row["rank_ic"] == pytest.approx(expected, abs=1e-12)
        error = (scores - ranks).to_numpy() ** 2
        assert row["squared_error"] == pytest.approx(np.nanmean(error), rel=1e-5)
    assert curve["squared_error"].is_monotonic_decreasing


def test_a_learning_curve_goes_on_where_early_stopping_would_end(dataset, split):
    eager = candidate("lightgbm", n_estimators=60, early_stopping=1, params={"learning_rate": 0.9})
    assert learning_curve(dataset, eager, split)["trees"].tolist() == [10, 20, 30, 40, 50, 60]
    forest = candidate("random_forest", n_estimators=20, params={})
    curve = learning_curve(dataset, forest, split)
    scores = ModelTrainer(forest).train(dataset, split.train).predict(dataset.features_on(split.test))
    ranks = dataset.ranks.loc[split.test]
    assert curve["trees"].tolist() == [20]
    assert curve["rank_ic"][0] == pytest.approx(metrics.information_coefficient(scores, ranks)["rank_ic"].mean())
    unlabeled = replace(dataset, ranks=dataset.ranks * np.nan)
    with pytest.raises(ParameterError, match="no labeled row"):
        learning_curve(unlabeled, eager, split)
