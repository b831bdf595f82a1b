"""The learners: one entry of LEARNERS each, with how it fits, predicts, and is written as plain text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from openbook.common import extensions
from openbook.common.errors import ModelError, ParameterError

Watch = Callable[[int, np.ndarray], bool]
SAMPLED = 100_000  # rows that XGBoost takes its quantiles from


class Rows(NamedTuple):
    """Training rows: X (n, n_features) float32 with NaN for missing, y (n,) float32 ranks within the date."""

    X: np.ndarray
    y: np.ndarray


class Binned(NamedTuple):
    """The same rows in a library's own form: to learn from, and held out or None."""

    train: Any
    held_out: Any | None


@dataclass(frozen=True)
class Recipe:
    """Arguments of a fit besides its rows.

    names : the features, in the order of the columns
    params : the library's own parameters, defaults included
    trees : how many at most
    patience : stop after so many trees without a lower error on the rows held out
    watch_every : trees between two calls of the observer
    """

    names: tuple[str, ...]
    params: Mapping[str, float | int]
    trees: int
    patience: int
    seed: int
    n_jobs: int
    watch_every: int = 10


@dataclass(frozen=True)
class Algorithm:
    """One learner.

    libraries : modules whose versions the bundle records
    filename : name of its native text file
    defaults : the parameters that may be set, with their values for daily stock returns
    bin : (rows, held out rows or None, recipe) -> Binned; of the recipe only names, max_bin, seed and n_jobs matter, so
        fits that differ in the rest may share it
    boost : (Binned, recipe, watch or None) -> (booster, trees that did best on the held out rows).
        watch(trees, predictions of the held out rows) is called every watch_every trees; True stops the fit
    predict : (booster, X, n_jobs) -> (n,) float64
    dump, load : booster <-> bytes of the native text format
    names : (booster) -> the feature names that it knows
    gain : (booster) -> (n_features,) error removed by the splits on each feature, in its order
    contributions : (booster, X) -> (n, n_features + 1) SHAP values and a constant, which add up to the prediction
    stops_early : whether its trees are a sequence, so that the first few are a model, too
    has_trees : whether it is made of trees at all; else its fit counts as one
    within_date : whether it compares the rows that it is given, which must then be those of one date
    """

    libraries: tuple[str, ...]
    filename: str
    defaults: Mapping[str, float | int]
    bin: Callable[[Rows, Rows | None, Recipe], Binned]
    boost: Callable[[Binned, Recipe, Watch | None], tuple[Any, int]]
    predict: Callable[[Any, np.ndarray, int], np.ndarray]
    dump: Callable[[Any], bytes]
    load: Callable[[bytes], Any]
    names: Callable[[Any], tuple[str, ...]]
    gain: Callable[[Any], np.ndarray]
    contributions: Callable[[Any, np.ndarray], np.ndarray] | None = None
    stops_early: bool = True
    has_trees: bool = True
    within_date: bool = False

    def fit(self, train: Rows, held_out: Rows | None, recipe: Recipe, watch: Watch | None = None) -> tuple[Any, int]:
        """Bin, then boost."""
        return self.boost(self.bin(train, held_out, recipe), recipe, watch)


# ---- XGBoost ----


def bin_xgboost(train: Rows, held_out: Rows | None, recipe: Recipe) -> Binned:
    """Quantile matrices: they bin the float32 rows without another copy of them, at the quantiles of a sample."""
    import xgboost as xgb

    about = {"feature_names": list(recipe.names), "max_bin": recipe.params["max_bin"], "nthread": recipe.n_jobs}
    sample = None
    if len(train.y) > SAMPLED:  # as LightGBM does; finding the quantiles of all rows takes as long as binning them
        chosen = np.random.default_rng(recipe.seed).choice(len(train.y), SAMPLED, replace=False, shuffle=False)
        sample = xgb.QuantileDMatrix(train.X[np.sort(chosen)], **about)
    data = xgb.QuantileDMatrix(train.X, train.y, ref=sample, **about)
    return Binned(data, held_out and xgb.QuantileDMatrix(held_out.X, held_out.y, ref=data, **about))


def boost_xgboost(binned: Binned, recipe: Recipe, watch: Watch | None) -> tuple[Any, int]:
    """Histogram trees on squared error."""
    import xgboost as xgb

    params = _xgboost_params(recipe)
    try:
        if binned.held_out is None:
            return xgb.train(params, binned.train, recipe.trees), recipe.trees
        stop = xgb.callback.EarlyStopping(rounds=recipe.patience, metric_name="rmse", data_name="held_out")
        seen, calls = _watch_xgboost(watch, recipe.watch_every)
        how = {"evals": [(binned.held_out, "held_out")], "verbose_eval": False, "custom_metric": seen}
        booster = xgb.train(params, binned.train, recipe.trees, callbacks=[stop, *calls], **how)
    except xgb.core.XGBoostError as error:
        raise ParameterError(f"xgboost rejected its parameters: {_reason(error)}") from error
    return booster, booster.best_iteration + 1


def _watch_xgboost(watch: Watch | None, every: int):
    """A metric that only remembers the predictions, which the library has at hand, and a callback that shows them."""
    import xgboost as xgb

    if watch is None:
        return None, []
    stops: Watch = watch
    last: list[np.ndarray] = []

    def remember(predictions: np.ndarray, data) -> tuple[str, float]:
        last[:] = [predictions]
        return "seen", 0.0

    class Watching(xgb.callback.TrainingCallback):
        def after_iteration(self, model, epoch: int, evals_log) -> bool:
            trees = epoch + 1
            return trees % every == 0 and bool(stops(trees, last[0].astype(np.float64)))

    return remember, [Watching()]


def grow_forest(binned: Binned, recipe: Recipe, watch: Watch | None) -> tuple[Any, int]:
    """A random forest: every tree fits the labels on its own draw of rows and columns, their mean is the prediction.

    The same trees as with num_parallel_tree, which holds the rows' leaves of all trees at once: 1.4 GB of 300 trees on
    1.2 million rows.
    """
    import xgboost as xgb

    target = binned.train.get_label()
    gradient, hessian = -target, np.ones_like(target)  # of the squared error of predicting 0, whatever grew before
    params = {**_xgboost_params(recipe), "learning_rate": 1 / recipe.trees}
    try:
        booster = xgb.train(params, binned.train, recipe.trees, obj=lambda predictions, data: (gradient, hessian))
    except xgb.core.XGBoostError as error:
        raise ParameterError(f"xgboost rejected its parameters: {_reason(error)}") from error
    return booster, recipe.trees


def _xgboost_params(recipe: Recipe) -> dict:
    fixed = {"objective": "reg:squarederror", "tree_method": "hist", "base_score": 0.0, "verbosity": 0}
    return {**recipe.params, **fixed, "seed": recipe.seed, "nthread": recipe.n_jobs}


def contributions_xgboost(booster: Any, X: np.ndarray) -> np.ndarray:
    """TreeSHAP (Lundberg et al. 2020), by the library itself."""
    import xgboost as xgb

    data = xgb.DMatrix(X, feature_names=booster.feature_names, nthread=1)
    return booster.predict(data, pred_contribs=True).astype(np.float64)


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
        raise ModelError("the model file is not XGBoost JSON; pack the model again")
    try:
        return xgb.Booster(model_file=bytearray(data))
    except xgb.core.XGBoostError as error:
        raise ModelError(f"xgboost cannot read the model: {_reason(error)}") from error


def gain_xgboost(booster: Any) -> np.ndarray:
    """Total gain by feature; a feature that no tree splits on has 0."""
    gain = booster.get_score(importance_type="total_gain")
    return np.array([gain.get(name, 0.0) for name in booster.feature_names])


# ---- LightGBM ----


def bin_lightgbm(train: Rows, held_out: Rows | None, recipe: Recipe) -> Binned:
    """Datasets of the library; without its filter of features, which would depend on the size of the leaves."""
    import lightgbm as lgb

    params = _lightgbm_params(recipe)
    try:
        data = lgb.Dataset(train.X, train.y, feature_name=list(recipe.names), params=params).construct()
        judge = held_out and lgb.Dataset(held_out.X, held_out.y, reference=data, params=params).construct()
    except lgb.basic.LightGBMError as error:
        raise ParameterError(f"lightgbm rejected its parameters: {_reason(error)}") from error
    return Binned(data, judge)


def boost_lightgbm(binned: Binned, recipe: Recipe, watch: Watch | None) -> tuple[Any, int]:
    """Leaf-wise trees on squared error, with the settings that make them the same on every run."""
    import lightgbm as lgb

    params = _lightgbm_params(recipe)
    try:
        if binned.held_out is None:
            return lgb.train(params, binned.train, recipe.trees), recipe.trees
        stop = lgb.early_stopping(recipe.patience, first_metric_only=True, verbose=False)
        seen, calls = _watch_lightgbm(watch, recipe.watch_every)
        how = {"valid_sets": [binned.held_out], "feval": seen, "callbacks": [*calls, stop]}
        booster = lgb.train(params, binned.train, recipe.trees, **how)
    except lgb.basic.LightGBMError as error:
        raise ParameterError(f"lightgbm rejected its parameters: {_reason(error)}") from error
    return booster, booster.best_iteration


def _watch_lightgbm(watch: Watch | None, every: int):
    """A metric that only remembers the predictions, which the library has at hand, and a callback that shows them."""
    import lightgbm as lgb

    if watch is None:
        return None, []
    last: list[np.ndarray] = []
    best: list[Any] = [np.inf, 0]  # squared error, and after which iteration

    def remember(predictions: np.ndarray, data) -> tuple[str, float, bool]:
        last[:] = [predictions]
        return "seen", 0.0, False

    def show(env) -> None:
        error = env.evaluation_result_list[0][2]
        if error < best[0]:
            best[:] = [error, env.iteration]
        trees = env.iteration + 1
        if trees % every == 0 and watch(trees, np.array(last[0], dtype=np.float64)):
            raise lgb.callback.EarlyStopException(best[1], env.evaluation_result_list)

    return remember, [show]


def _lightgbm_params(recipe: Recipe) -> dict:
    fixed = {"objective": "regression", "boost_from_average": False, "metric": "l2", "verbosity": -1}
    same = {"seed": recipe.seed, "num_threads": recipe.n_jobs, "deterministic": True, "force_col_wise": True}
    return {**recipe.params, **fixed, **same, "feature_pre_filter": False}


def contributions_lightgbm(booster: Any, X: np.ndarray) -> np.ndarray:
    """TreeSHAP (Lundberg et al. 2020), by the library itself."""
    return booster.predict(X, pred_contrib=True, num_threads=1)


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
        raise ModelError("the model file is not LightGBM text; pack the model again")
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
# A forest takes its variety from the draws of rows and columns, not from small steps; its leaves must still be large.
FOREST_DEFAULTS = {
    "max_depth": 5,
    "min_child_weight": 200.0,
    "subsample": 0.6,
    "colsample_bynode": 0.33,
    "reg_lambda": 0.0,
    "max_bin": 64,
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
    "max_bin": 63,
}

XGBOOST = Algorithm(
    libraries=("xgboost",),
    filename="model.json",
    defaults=XGBOOST_DEFAULTS,
    bin=bin_xgboost,
    boost=boost_xgboost,
    predict=predict_xgboost,
    dump=dump_xgboost,
    load=load_xgboost,
    names=lambda booster: tuple(booster.feature_names or ()),
    gain=gain_xgboost,
    contributions=contributions_xgboost,
)

LEARNERS = {
    "xgboost": XGBOOST,
    "random_forest": replace(XGBOOST, defaults=FOREST_DEFAULTS, boost=grow_forest, stops_early=False),
    "lightgbm": Algorithm(
        libraries=("lightgbm",),
        filename="model.txt",
        defaults=LIGHTGBM_DEFAULTS,
        bin=bin_lightgbm,
        boost=boost_lightgbm,
        predict=predict_lightgbm,
        dump=dump_lightgbm,
        load=load_lightgbm,
        names=lambda booster: tuple(booster.feature_name()),
        gain=lambda booster: booster.feature_importance("gain"),
        contributions=contributions_lightgbm,
    ),
}


def own_learner(name: str, given) -> Algorithm:
    """A learner from what an extension says, an `Algorithm`, such as `plain_learner` makes of two functions."""
    if not isinstance(given, Algorithm):
        raise ParameterError(f"learner {name!r} must be an Algorithm, such as plain_learner(fit, predict) returns")
    return given


extensions.register("LEARNERS", LEARNERS, own_learner)
