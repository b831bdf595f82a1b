"""Each learner keeps its promises: every parameter does something, and its text is the whole model."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from openbook.common.errors import ModelError, ParameterError
from openbook.signals.algorithms import ALGORITHMS, ENSEMBLE, Recipe, Rows
from openbook.signals.ensemble import Member
from openbook.signals.learners import LEARNERS

EACH = pytest.mark.parametrize("algorithm", list(LEARNERS))
BOOSTERS = pytest.mark.parametrize("algorithm", ["xgboost", "lightgbm"])
WITH_ENSEMBLE = pytest.mark.parametrize("algorithm", [*LEARNERS, ENSEMBLE])
OTHER = {
    "xgboost": {
        "learning_rate": 0.3,
        "max_depth": 2,
        "min_child_weight": 50.0,
        "subsample": 0.9,
        "colsample_bytree": 1.0,
        "reg_lambda": 0.0,
        "reg_alpha": 5.0,
        "gamma": 5.0,
        "max_bin": 8,
    },
    "random_forest": {
        "max_depth": 2,
        "min_child_weight": 50.0,
        "subsample": 0.9,
        "colsample_bynode": 1.0,
        "reg_lambda": 50.0,
        "max_bin": 8,
    },
    "lightgbm": {
        "learning_rate": 0.3,
        "num_leaves": 3,
        "max_depth": 2,
        "min_data_in_leaf": 50,
        "bagging_fraction": 0.9,
        "bagging_freq": 4,
        "feature_fraction": 1.0,
        "lambda_l2": 0.0,
        "lambda_l1": 5.0,
        "min_gain_to_split": 5.0,
        "max_bin": 8,
    },
}


@cache
def rows() -> Rows:
    rng = np.random.default_rng(0)
    X = rng.random((3000, 4), dtype=np.float32) - 0.5
    y = X[:, 0] * np.abs(X[:, 1]) + 0.1 * rng.standard_normal(3000)
    X[rng.random(X.shape) < 0.05] = np.nan
    return Rows(X, y.astype(np.float32))


def recipe(algorithm: str, **changes) -> Recipe:
    params = {**ALGORITHMS[algorithm].defaults, **changes}
    return Recipe(("a", "b", "c", "d"), params, trees=8, patience=3, seed=0, n_jobs=1)


def fitted(algorithm: str):
    """What a fit gives; of an ensemble, one of each learner."""
    if algorithm == ENSEMBLE:
        return tuple(Member(f"the {name}", name, fitted(name)) for name in LEARNERS)
    return ALGORITHMS[algorithm].fit(rows(), None, recipe(algorithm))[0]


def trees_of(algorithm: str, booster) -> np.ndarray:
    return ALGORITHMS[algorithm].predict(booster, rows().X, 1)


@EACH
def test_every_parameter_that_may_be_set_changes_the_model(algorithm):
    """A misspelled one would be ignored by the library without a word."""
    learner = ALGORITHMS[algorithm]
    assert set(OTHER[algorithm]) == set(learner.defaults)
    default = trees_of(algorithm, learner.fit(rows(), None, recipe(algorithm))[0])
    for key, value in OTHER[algorithm].items():
        other, _ = learner.fit(rows(), None, recipe(algorithm, **{key: value}))
        assert not np.array_equal(trees_of(algorithm, other), default), key


@WITH_ENSEMBLE
def test_the_text_is_the_whole_model(algorithm):
    learner, booster = ALGORITHMS[algorithm], fitted(algorithm)
    text = learner.dump(booster)
    back = learner.load(text)
    assert learner.dump(back) == text
    assert learner.names(back) == ("a", "b", "c", "d")
    np.testing.assert_array_equal(trees_of(algorithm, back), trees_of(algorithm, booster))
    assert trees_of(algorithm, back).dtype == np.float64


@BOOSTERS
def test_early_stopping_counts_the_trees_with_the_lowest_error(algorithm):
    """And a fit of that many trees is the beginning of the longer one, so counting and fitting can be two steps."""
    learner = ALGORITHMS[algorithm]
    seen, held_out = Rows(rows().X[:2000], rows().y[:2000]), Rows(rows().X[2000:], rows().y[2000:])
    told = replace(recipe(algorithm, learning_rate=0.5), trees=15, patience=15)
    _, best = learner.fit(seen, held_out, told)
    errors = []
    for trees in range(1, 16):
        booster, _ = learner.fit(seen, None, replace(told, trees=trees))
        errors.append(np.mean((learner.predict(booster, held_out.X, 1) - held_out.y) ** 2))
    assert best == np.argmin(errors) + 1


@WITH_ENSEMBLE
def test_gain_names_the_features_that_matter(algorithm):
    gain = ALGORITHMS[algorithm].gain(fitted(algorithm))
    assert gain.shape == (4,)
    assert (gain >= 0).all()
    assert gain[0] == gain.max()


@EACH
def test_a_model_without_a_split_has_no_gain(algorithm):
    learner = ALGORITHMS[algorithm]
    stump = learner.gain(learner.fit(Rows(rows().X, np.zeros(3000, np.float32)), None, recipe(algorithm))[0])
    assert stump.tolist() == [0, 0, 0, 0]


@WITH_ENSEMBLE
@pytest.mark.parametrize("data", [b"", b"\x80\x04\x95", b"{L", b"binf", b"tree", b"<html>"])
def test_bytes_of_another_kind_never_reach_the_library(algorithm, data):
    with pytest.raises(ModelError, match="the model file is no"):
        ALGORITHMS[algorithm].load(data)


# ---- who watches ----


@BOOSTERS
def test_whoever_watches_sees_the_predictions_of_the_held_out_rows_and_may_stop(algorithm):
    learner, told = ALGORITHMS[algorithm], replace(recipe(algorithm), trees=12, patience=12, watch_every=3)
    seen, held_out = Rows(rows().X[:2000], rows().y[:2000]), Rows(rows().X[2000:], rows().y[2000:])
    heard = {}

    def watch(trees: int, predictions: np.ndarray) -> bool:
        heard[trees] = predictions.copy()
        return trees == 9

    learner.fit(seen, held_out, told, watch)
    assert list(heard) == [3, 6, 9]
    for trees, predictions in heard.items():
        booster, _ = learner.fit(seen, None, replace(told, trees=trees))
        np.testing.assert_allclose(predictions, learner.predict(booster, held_out.X, 1), atol=1e-7)


@BOOSTERS
def test_watching_changes_nothing(algorithm):
    learner, told = ALGORITHMS[algorithm], replace(recipe(algorithm, learning_rate=0.5), trees=15, patience=4)
    seen, held_out = Rows(rows().X[:2000], rows().y[:2000]), Rows(rows().X[2000:], rows().y[2000:])
    alone, best = learner.fit(seen, held_out, told)
    watched, same = learner.fit(seen, held_out, told, lambda trees, predictions: False)
    assert same == best
    assert learner.dump(watched) == learner.dump(alone)


@BOOSTERS
def test_rows_binned_once_serve_fits_with_other_parameters(algorithm):
    learner = ALGORITHMS[algorithm]
    binned = learner.bin(rows(), None, recipe(algorithm))
    leaf = {"xgboost": "min_child_weight", "lightgbm": "min_data_in_leaf"}[algorithm]
    for value in (5, 1000):
        other = recipe(algorithm, **{leaf: value})
        assert learner.dump(learner.boost(binned, other, None)[0]) == learner.dump(learner.fit(rows(), None, other)[0])


# ---- the forest, the ensemble, the contributions ----


def test_the_forest_ranks_like_that_of_scikit_learn():
    """The same settings in both: 100 trees of depth 6, 60% of the rows, a third of the features for each split."""
    from scipy.stats import spearmanr
    from sklearn.ensemble import RandomForestRegressor

    rng = np.random.default_rng(1)
    X = rng.random((6000, 12), dtype=np.float32) - 0.5
    y = (X[:, 0] * np.abs(X[:, 1]) + 0.3 * X[:, 2] + 0.3 * rng.standard_normal(6000)).astype(np.float32)
    names = tuple("abcdefghijkl")
    settings = {"max_depth": 6, "min_child_weight": 40.0, "colsample_bynode": 1 / 3}
    params = {**ALGORITHMS["random_forest"].defaults, **settings}
    told = Recipe(names, params, trees=100, patience=1, seed=0, n_jobs=1)
    ours, _ = ALGORITHMS["random_forest"].fit(Rows(X[:4000], y[:4000]), None, told)
    how = {"n_estimators": 100, "max_depth": 6, "min_samples_leaf": 40, "max_samples": 0.6, "max_features": 1 / 3}
    theirs = RandomForestRegressor(**how, random_state=0).fit(X[:4000], y[:4000])
    assert spearmanr(ALGORITHMS["random_forest"].predict(ours, X[4000:], 1), theirs.predict(X[4000:])).statistic > 0.98


def test_the_forest_is_the_mean_of_its_trees():
    """Trees in one round add up; the library divides by their number, so twice the trees is not twice the score."""
    told = recipe("random_forest")
    few, many = (ALGORITHMS["random_forest"].fit(rows(), None, replace(told, trees=n))[0] for n in (50, 100))
    assert trees_of("random_forest", many).std() == pytest.approx(trees_of("random_forest", few).std(), rel=0.1)


def test_an_ensemble_is_not_fitted():
    with pytest.raises(ParameterError, match="built from trained members"):
        ALGORITHMS[ENSEMBLE].fit(rows(), None, recipe(ENSEMBLE))


def test_an_ensemble_is_the_mean_rank_of_its_members():
    """By hand: ranks 1, 2, 3 and 3, 1, 2 on the scale from -0.5 to 0.5 are -0.5, 0, 0.5 and 0.5, -0.5, 0."""
    from openbook.signals.ensemble import mean_ranks

    both = mean_ranks(np.array([[[10.0, 20.0, 30.0]], [[0.3, 0.1, 0.2]]]))
    np.testing.assert_allclose(both, [[0.0, -0.25, 0.25]])


def test_monotone_changes_of_a_members_scores_change_nothing():
    import pandas as pd

    from openbook.signals.ensemble import ensemble_scores

    rng = np.random.default_rng(3)
    one, two = (pd.DataFrame(rng.standard_normal((5, 9))) for _ in range(2))
    pd.testing.assert_frame_equal(ensemble_scores([np.exp(one), 7 * two + 3]), ensemble_scores([one, two]))


@EACH
def test_contributions_and_their_constant_add_up_to_the_prediction(algorithm):
    booster = fitted(algorithm)
    parts = ALGORITHMS[algorithm].contributions(booster, rows().X[:50])
    assert parts.shape == (50, 5)
    np.testing.assert_allclose(parts.sum(axis=1), ALGORITHMS[algorithm].predict(booster, rows().X[:50], 1), atol=1e-6)
