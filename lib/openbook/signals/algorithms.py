"""The learners: one entry of ALGORITHMS each, with how it fits, predicts, and is written as plain text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from openbook.errors import ModelError, ParameterError


class Rows(NamedTuple):
    """Training rows: X (n, n_features) float32 with NaN for missing, y (n,) float32 ranks within the date."""

    X: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Recipe:
    """What a fit is told besides its rows.

    names : the features, in the order of the columns
    params : the library's own parameters, defaults included
    trees : how many at most
    patience : stop after so many trees without a lower error on the rows held out
    """

    names: tuple[str, ...]
    params: Mapping[str, float | int]
    trees: int
    patience: int
    seed: int
    n_jobs: int


@dataclass(frozen=True)
class Algorithm:
    """One learner.

    library : module whose version the bundle records
    filename : name of its native text file
    defaults : the parameters that may be set, with their values for daily stock returns
    fit : (rows, held out rows or None, recipe) -> (booster, trees that did best on the held out rows)
    predict : (booster, X, n_jobs) -> (n,) float64
    dump, load : booster <-> bytes of the native text format
    names : (booster) -> the feature names that it knows
    gain : (booster) -> (n_features,) error removed by the splits on each feature, in its order
    """

    library: str
    filename: str
    defaults: Mapping[str, float | int]
    fit: Callable[[Rows, Rows | None, Recipe], tuple[Any, int]]
    predict: Callable[[Any, np.ndarray, int], np.ndarray]
    dump: Callable[[Any], bytes]
    load: Callable[[bytes], Any]
    names: Callable[[Any], tuple[str, ...]]
    gain: Callable[[Any], np.ndarray]


def fit_xgboost(train: Rows, held_out: Rows | None, recipe: Recipe) -> tuple[Any, int]:
    """Histogram trees on squared error; the quantile matrix bins the float32 rows without another copy of them."""
    import xgboost as xgb

    fixed = {"objective": "reg:squarederror", "tree_method": "hist", "base_score": 0.0, "verbosity": 0}
    params = {**recipe.params, **fixed, "seed": recipe.seed, "nthread": recipe.n_jobs}
    about = {"feature_names": list(recipe.names), "max_bin": params["max_bin"], "nthread": recipe.n_jobs}
    try:
        data = xgb.QuantileDMatrix(train.X, train.y, **about)
        if held_out is None:
            return xgb.train(params, data, recipe.trees), recipe.trees
        judge = xgb.QuantileDMatrix(held_out.X, held_out.y, ref=data, **about)
        watch = {"evals": [(judge, "held_out")], "early_stopping_rounds": recipe.patience, "verbose_eval": False}
        booster = xgb.train(params, data, recipe.trees, **watch)
    except xgb.core.XGBoostError as error:
        raise ParameterError(f"xgboost refused its parameters: {_reason(error)}") from error
    return booster, booster.best_iteration + 1


def predict_xgboost(booster: Any, X: np.ndarray, n_jobs: int) -> np.ndarray:
    """Scores of the rows of X, straight from the array."""
    booster.set_param({"nthread": n_jobs})
    return booster.inplace_predict(X).astype(np.float64)


def dump_xgboost(booster: Any) -> bytes:
    """XGBoost's own JSON."""
    return bytes(booster.save_raw("json"))


def load_xgboost(data: bytes) -> Any:
    """The booster of these bytes, which must have been hashed before: JSON only, never UBJ or the old binary."""
    import xgboost as xgb

    if not data.startswith(b'{"'):
        raise ModelError("the model file is no XGBoost JSON; pack the model again")
    try:
        return xgb.Booster(model_file=bytearray(data))
    except xgb.core.XGBoostError as error:
        raise ModelError(f"xgboost cannot read the model: {_reason(error)}") from error


def gain_xgboost(booster: Any) -> np.ndarray:
    """Total gain by feature; a feature that no tree splits on has 0."""
    gain = booster.get_score(importance_type="total_gain")
    return np.array([gain.get(name, 0.0) for name in booster.feature_names])


def fit_lightgbm(train: Rows, held_out: Rows | None, recipe: Recipe) -> tuple[Any, int]:
    """Leaf-wise trees on squared error, with the settings that make them the same on every run."""
    import lightgbm as lgb

    fixed = {"objective": "regression", "boost_from_average": False, "metric": "l2", "verbosity": -1}
    same = {"seed": recipe.seed, "num_threads": recipe.n_jobs, "deterministic": True, "force_row_wise": True}
    params = {**recipe.params, **fixed, **same}
    try:
        data = lgb.Dataset(train.X, train.y, feature_name=list(recipe.names), params=params)
        if held_out is None:
            return lgb.train(params, data, recipe.trees), recipe.trees
        judge = lgb.Dataset(held_out.X, held_out.y, reference=data, params=params)
        stop = lgb.early_stopping(recipe.patience, verbose=False)
        booster = lgb.train(params, data, recipe.trees, valid_sets=[judge], callbacks=[stop])
    except lgb.basic.LightGBMError as error:
        raise ParameterError(f"lightgbm refused its parameters: {_reason(error)}") from error
    return booster, booster.best_iteration


def predict_lightgbm(booster: Any, X: np.ndarray, n_jobs: int) -> np.ndarray:
    """Scores of the rows of X. LightGBM accepts columns in any order: `Model.predict` has checked them before."""
    return booster.predict(X, num_threads=n_jobs)


def dump_lightgbm(booster: Any) -> bytes:
    """LightGBM's own text, its note of the thread count blanked: the trees do not depend on it, nor should the hash."""
    return re.sub(r"\[num_threads: \d+\]", "[num_threads: 0]", booster.model_to_string()).encode()


def load_lightgbm(data: bytes) -> Any:
    """The booster of these bytes, which must have been hashed before: a corrupted text can crash the process."""
    import lightgbm as lgb

    if not data.startswith(b"tree\nversion="):
        raise ModelError("the model file is no LightGBM text; pack the model again")
    try:
        return lgb.Booster(model_str=data.decode("ascii"))
    except (lgb.basic.LightGBMError, UnicodeDecodeError) as error:
        raise ModelError(f"lightgbm cannot read the model: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """A C++ library's message on one line, without its stack trace."""
    return " ".join(str(error).split("Stack trace")[0].split())


# A rank IC of 0.03 explains a thousandth of the variance, so: small steps, shallow trees, large leaves, strong L2, and
# half of the rows and columns for each tree.
XGBOOST_DEFAULTS = {
    "learning_rate": 0.03,
    "max_depth": 5,
    "min_child_weight": 200.0,
    "subsample": 0.5,
    "colsample_bytree": 0.5,
    "reg_lambda": 10.0,
    "reg_alpha": 0.0,
    "gamma": 0.0,
    "max_bin": 128,
}
LIGHTGBM_DEFAULTS = {
    "learning_rate": 0.03,
    "num_leaves": 31,
    "max_depth": 6,
    "min_data_in_leaf": 200,
    "bagging_fraction": 0.5,
    "bagging_freq": 1,
    "feature_fraction": 0.5,
    "lambda_l2": 10.0,
    "lambda_l1": 0.0,
    "min_gain_to_split": 0.0,
    "max_bin": 127,
}

ALGORITHMS = {
    "xgboost": Algorithm(
        library="xgboost",
        filename="model.json",
        defaults=XGBOOST_DEFAULTS,
        fit=fit_xgboost,
        predict=predict_xgboost,
        dump=dump_xgboost,
        load=load_xgboost,
        names=lambda booster: tuple(booster.feature_names or ()),
        gain=gain_xgboost,
    ),
    "lightgbm": Algorithm(
        library="lightgbm",
        filename="model.txt",
        defaults=LIGHTGBM_DEFAULTS,
        fit=fit_lightgbm,
        predict=predict_lightgbm,
        dump=dump_lightgbm,
        load=load_lightgbm,
        names=lambda booster: tuple(booster.feature_name()),
        gain=lambda booster: booster.feature_importance("gain"),
    ),
}
