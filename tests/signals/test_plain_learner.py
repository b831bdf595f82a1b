"""A learner from two functions: fitted, explained, saved and read back like the library's own."""

import numpy as np
import pytest
from scipy.linalg import lstsq

from openbook.common.errors import ModelError, ParameterError
from openbook.signals.bundle import load_model, pack_model
from openbook.signals.explain import shap_importance
from openbook.signals.learners import LEARNERS, Recipe, Rows
from openbook.signals.models import Candidate, ModelTrainer
from openbook.signals.plain_learner import plain_learner
from support.own_desk import guide_files
from support.signal_markets import planted_dataset


@pytest.fixture
def ridge(monkeypatch):
    """The learner of the guide, as if its file had been loaded."""
    namespace: dict = {}
    exec(guide_files()["lib/extensions/our_learners.py"], namespace)
    monkeypatch.setitem(LEARNERS, "ridge", namespace["LEARNERS"]["ridge"])
    return namespace["LEARNERS"]["ridge"]


@pytest.fixture
def model(ridge):
    dataset = planted_dataset()
    return ModelTrainer(Candidate(name="mine", algorithm="ridge", params={"alpha": 0.0})).train(
        dataset, dataset.dates[:300]
    ), dataset


def test_without_a_penalty_it_is_least_squares(model):
    fitted, dataset = model
    X, y, _ = dataset.rows(dataset.dates[:300])
    theirs = lstsq(np.nan_to_num(X).astype(float), y.astype(float))[0]
    np.testing.assert_allclose(fitted.booster.state["slope"], theirs, rtol=1e-6)
    assert fitted.training.trees == 1  # it has none to count


def test_its_bundle_predicts_the_same_to_the_bit(model, tmp_path):
    fitted, dataset = model
    sample = dataset.features_on(dataset.dates[-5:])
    files = pack_model(fitted, sample, data_fingerprint="x")
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    again, _ = load_model(tmp_path)
    assert again.predict(sample).equals(fitted.predict(sample))
    assert sorted(files) == ["arrays.json", "schema.json"]
    assert "extensions" not in files["schema.json"].decode()  # it came from no file


def test_parts_of_a_linear_score_are_slope_times_rank(model, ridge):
    fitted, dataset = model
    X = dataset.rows(dataset.dates[-60:-20])[0][:50]
    parts = ridge.contributions(fitted.booster, X)
    np.testing.assert_allclose(parts[:, :-1], np.nan_to_num(X) * fitted.booster.state["slope"], atol=1e-12)
    np.testing.assert_allclose(parts.sum(axis=1), ridge.predict(fitted.booster, X, 1), atol=1e-12)
    assert shap_importance(fitted, dataset.features_on(dataset.dates[-9:])).idxmax() == "feature_0"  # the planted one


def rows() -> Rows:
    rng = np.random.default_rng(0)
    return Rows(rng.random((50, 3), dtype=np.float32), rng.random(50, dtype=np.float32))


RECIPE = Recipe(("a", "b", "c"), {}, 1, 1, 0, 1)


@pytest.mark.parametrize(
    ("fit", "said"),
    [
        (lambda X, y, params, seed: [1.0], "must return a dict of arrays by name, not list"),
        (lambda X, y, params, seed: {"slope": [np.nan]}, "'slope' that are not finite"),
        (lambda X, y, params, seed: np.linalg.solve(np.zeros((2, 2)), [1, 2]), "fit failed: LinAlgError"),
    ],
)
def test_a_fit_that_fails_is_a_parameter_error(fit, said):
    with pytest.raises(ParameterError, match=said):
        plain_learner(fit, lambda state, X: X[:, 0]).fit(rows(), None, RECIPE)


def test_scores_of_another_length_are_refused():
    learner = plain_learner(lambda X, y, params, seed: {"a": [1.0]}, lambda state, X: X[:-1, 0])
    booster, _ = learner.fit(rows(), None, RECIPE)
    with pytest.raises(ModelError, match="one score a row"):
        learner.predict(booster, rows().X, 1)


@pytest.mark.parametrize("data", [b"", b"{}", b'{"names": ["a"], "arrays": {"a": [[9], "AAAA"]}}', b"[1]"])
def test_a_damaged_file_is_a_model_error(data):
    with pytest.raises(ModelError, match="holds no arrays"):
        plain_learner(lambda *_: {}, lambda *_: 0).load(data)
