"""Each learner keeps its promises: every parameter does something, and its text is the whole model."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from openbook.errors import ModelError
from openbook.signals.algorithms import ALGORITHMS, Recipe, Rows

EACH = pytest.mark.parametrize("algorithm", list(ALGORITHMS))
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


def trees_of(algorithm: str, booster) -> np.ndarray:
    return ALGORITHMS[algorithm].predict(booster, rows().X, 1)


@EACH
def test_every_parameter_that_may_be_set_changes_the_model(algorithm):
    """A misspelt one would be ignored by the library without a word."""
    learner = ALGORITHMS[algorithm]
    assert set(OTHER[algorithm]) == set(learner.defaults)
    default = trees_of(algorithm, learner.fit(rows(), None, recipe(algorithm))[0])
    for key, value in OTHER[algorithm].items():
        other, _ = learner.fit(rows(), None, recipe(algorithm, **{key: value}))
        assert not np.array_equal(trees_of(algorithm, other), default), key


@EACH
def test_the_text_is_the_whole_model(algorithm):
    learner = ALGORITHMS[algorithm]
    booster, _ = learner.fit(rows(), None, recipe(algorithm))
    text = learner.dump(booster)
    back = learner.load(text)
    assert learner.dump(back) == text
    assert learner.names(back) == ("a", "b", "c", "d")
    np.testing.assert_array_equal(trees_of(algorithm, back), trees_of(algorithm, booster))
    assert trees_of(algorithm, back).dtype == np.float64


@EACH
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


@EACH
def test_gain_names_the_features_that_matter(algorithm):
    learner = ALGORITHMS[algorithm]
    gain = learner.gain(learner.fit(rows(), None, recipe(algorithm))[0])
    assert gain.shape == (4,)
    assert (gain >= 0).all()
    assert gain[0] == gain.max()
    stump = learner.gain(learner.fit(Rows(rows().X, np.zeros(3000, np.float32)), None, recipe(algorithm))[0])
    assert stump.tolist() == [0, 0, 0, 0]


@EACH
@pytest.mark.parametrize("data", [b"", b"\x80\x04\x95", b"{L", b"binf", b"tree", b"<html>"])
def test_bytes_of_another_kind_never_reach_the_library(algorithm, data):
    with pytest.raises(ModelError, match="the model file is no"):
        ALGORITHMS[algorithm].load(data)
