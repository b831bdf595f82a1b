"""A learner from two plain functions, for a desk's own: what they fit is a dict of arrays, kept as JSON."""

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from openbook.common.errors import ModelError, ParameterError
from openbook.signals.learners import Algorithm, Binned, Recipe, Rows, Watch

State = dict[str, np.ndarray]
Fit = Callable[[np.ndarray, np.ndarray, Mapping[str, float | int], int], State]
Predict = Callable[[State, np.ndarray], np.ndarray]


class FittedState(NamedTuple):
    """What a fit left: the features in the order of the columns, and arrays of numbers by name."""

    names: tuple[str, ...]
    state: State


def plain_learner(
    fit: Fit, predict: Predict, defaults: Mapping[str, float | int] | None = None, *, weigh: Callable | None = None
) -> Algorithm:
    """A learner for the dict LEARNERS of an extension.

    fit : (X, y, params, seed) -> dict of arrays. X (n, n_features) float32 in [-0.5, 0.5], NaN where missing;
        y (n,) float32 ranks in [-0.5, 0.5]; the same arguments must give the same bytes
    predict : (that dict, X) -> (n,) scores; higher is better, compared within a date only
    defaults : the parameters that a candidate may set, with their values
    weigh : (that dict) -> (n_features,) how much each feature matters, not negative; None: not known

    A score is explained by what it would lose with one feature at 0, the middle of the ranks: exact for a linear model.

        LEARNERS = {"ridge": plain_learner(fit_ridge, score_ridge, {"alpha": 1.0})}

    Examples
    --------
    >>> mean = ob.plain_learner(lambda X, y, params, seed: {"mean": y.mean()[None]}, lambda state, X: X[:, 0])
    >>> ob.define_candidates([{"name": "a", "algorithm": "lightgbm"}])[0].name  # "mean" once it is in LEARNERS
    'a'
    """

    def boost(binned: Binned, recipe: Recipe, watch: Watch | None) -> tuple[FittedState, int]:
        rows = binned.train
        try:
            found = fit(rows.X, rows.y, dict(recipe.params), recipe.seed)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise ParameterError(f"the learner's fit failed: {type(error).__name__}: {error}") from error
        return FittedState(recipe.names, _arrays(found)), 1

    def scores(booster: FittedState, X: np.ndarray, n_jobs: int) -> np.ndarray:
        found = np.asarray(predict(booster.state, X), dtype=np.float64)
        if found.shape != (len(X),):
            raise ModelError(f"the learner's predict returned {found.shape}, not {(len(X),)}: one score a row")
        return found

    def gain(booster: FittedState) -> np.ndarray:
        return np.zeros(len(booster.names)) if weigh is None else np.asarray(weigh(booster.state), dtype=np.float64)

    return Algorithm(
        libraries=(),
        filename="arrays.json",
        defaults=dict(defaults or {}),
        bin=_keep_rows,
        boost=boost,
        predict=scores,
        dump=_dump,
        load=_load,
        names=lambda booster: booster.names,
        gain=gain,
        contributions=lambda booster, X: _leave_one_out(lambda rows: scores(booster, rows, 1), X),
        stops_early=False,
        has_trees=False,
    )


def _keep_rows(train: Rows, held_out: Rows | None, recipe: Recipe) -> Binned:
    return Binned(train, held_out)


def _leave_one_out(predict: Callable[[np.ndarray], np.ndarray], X: np.ndarray) -> np.ndarray:
    """(n, n_features + 1): what each score loses with one feature at the middle rank, and the rest of the score."""
    whole, parts = predict(X), np.zeros((len(X), X.shape[1] + 1))
    for i in range(X.shape[1]):
        without = X.copy()
        without[:, i] = 0.0
        parts[:, i] = whole - predict(without)
    parts[:, -1] = whole - parts.sum(axis=1)
    return parts


def _arrays(found: Any) -> State:
    """What a fit returned, as float64 arrays; ParameterError for anything else, and for a number that is none."""
    if not (isinstance(found, dict) and all(isinstance(name, str) for name in found)):
        raise ParameterError(f"the learner's fit must return a dict of arrays by name, not {type(found).__name__}")
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in found.items()}
    bad = [name for name, values in arrays.items() if not np.isfinite(values).all()]
    if bad:
        raise ParameterError(f"the learner's fit left numbers in {bad[0]!r} that are not finite; check its inputs")
    return arrays


def _dump(booster: FittedState) -> bytes:
    """JSON: names, and each array's shape and little-endian float64 in base64."""
    arrays = {name: [list(a.shape), _encoded(a)] for name, a in booster.state.items()}
    return json.dumps({"names": booster.names, "arrays": arrays}, sort_keys=True).encode()


def _encoded(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f8").tobytes()).decode()


def _load(data: bytes) -> FittedState:
    """The arrays of these bytes, which must have been hashed before."""
    try:
        content = json.loads(data)
        arrays = {
            name: np.frombuffer(base64.b64decode(text, validate=True), "<f8").reshape(shape)
            for name, (shape, text) in content["arrays"].items()
        }
        return FittedState(tuple(content["names"]), arrays)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelError(f"the model file holds no arrays: {error!r}; pack the model again") from None
