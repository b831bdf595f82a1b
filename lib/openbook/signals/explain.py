"""What a model has learned: which features it needs, how long its scores last, and how many trees help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from openbook import metrics
from openbook.common.errors import ModelError, ParameterError
from openbook.market.tables import Market
from openbook.signals.algorithms import ALGORITHMS, ENSEMBLE, SCORES, Recipe, Rows
from openbook.signals.dataset import MLDataset, Split, compute_labels, scored_rows
from openbook.signals.ensemble import Member
from openbook.signals.models import Candidate, Model, check_features, evaluate_scores
from openbook.signals.tuning import RankJudge, mean_rank_ic

if TYPE_CHECKING:  # features brings numba in, which loading a model does not need
    from openbook.signals.features import Features

WATCH_EVERY = 10  # trees between two points of a learning curve


def permutation_importance(model: Model, dataset: MLDataset, dates, *, seed: int = 0, repeats: int = 1) -> pd.Series:
    """Mean rank IC lost when a feature is dealt at random among the names of each date; by feature, largest first.

    dates : that the model has not learned from, or it shows what was memorized
    repeats : deals to average over

    Names without the feature keep their gap. A feature that the model does not use, or that is the same for all names,
    has exactly 0; noise that it does use is around 0, below as often as above. Redundant features substitute
    for each other, and each looks less important than they are together (Breiman 2001; Strobl et al. 2008).
    """
    if not repeats >= 1:
        raise ParameterError(f"repeats must be at least 1, not {repeats}")
    features, labels = dataset.features_on(dates), dataset.labels.loc[pd.DatetimeIndex(dates)]
    values = features.values.copy()
    dealt = replace(features, values=values)
    whole = _rank_ic(model, features, labels)
    lost = {}
    for column, name in enumerate(features.names):
        rng = np.random.default_rng([seed, column])
        original = values[:, :, column].copy()
        found = np.empty(repeats)
        for i in range(repeats):
            values[:, :, column] = _deal_within_dates(original, rng)
            found[i] = _rank_ic(model, dealt, labels)
        values[:, :, column] = original
        lost[name] = whole - found.mean()
    return pd.Series(lost, name="rank_ic_lost").sort_values(ascending=False, kind="stable")


def shap_importance(model: Model, features: Features) -> pd.Series:
    """Mean size of each feature's contribution to the scores (TreeSHAP, Lundberg et al. 2020); largest first.

    features : dates × symbols × features, those of the training; names without any feature that day are left out. A few
        thousand rows suffice, and take seconds: the method visits every leaf of every tree.

    In the unit of the scores, ranks within a date: 0.01 moves a name by one percentile on average. It shows what moves
    the scores, not whether that was right; `permutation_importance` does. Of an ensemble: the mean over its members, of
    their own scores. Raises ModelError for an algorithm that has no such contributions.
    """
    parts = _contributions(model, features, scored_rows(features))
    size = np.abs(parts).mean(axis=0)
    named = pd.Series(size, index=list(model.features), name="mean_contribution", dtype="float64")
    return named.sort_values(ascending=False, kind="stable")


def top_contributions(model: Model, features: Features, symbols: Sequence[str], *, count: int = 3) -> pd.Series:
    """What moved the last date's score of each of `symbols` most, in words; by symbol, "" for a name without a score.

    features : dates × symbols × features, the last date is explained

    "high" and "low" are halves of that session's ranking of the feature; the number is its part of the score, in the
    unit of `shap_importance`. The parts of all features and a constant add up to the score of a single model.
    """
    last = replace(features, values=features.values[-1:], dates=features.dates[-1:])
    known = scored_rows(last) & features.symbols.isin(list(symbols))
    parts, values = _contributions(model, last, known), last.values[known]
    rows = {symbol: i for i, symbol in enumerate(features.symbols[known[0]])}
    sentences = [
        _sentence(model.features, parts[rows[symbol]], values[rows[symbol]], count) if symbol in rows else ""
        for symbol in symbols
    ]
    return pd.Series(sentences, index=pd.Index(list(symbols), dtype="str", name="symbol"), name="because", dtype="str")


def alpha_decay(scores: pd.DataFrame, market: Market, horizons: Sequence[int]) -> pd.DataFrame:
    """What the same scores are worth over other holding periods: columns horizon, rank_ic, newey_west_t, one row each.

    scores : out-of-sample, dates × symbols
    market : up to the last session that may be looked at: cut it before a holdout

    Longer labels overlap more; the t statistic allows for it with `horizon` lags. A rank IC that grows with the horizon
    pays for slow trading, one that decays within a few sessions does not survive costs.
    """
    rows = []
    for horizon in horizons:
        labels = compute_labels(market, horizon).reindex(index=scores.index, columns=scores.columns)
        figures = evaluate_scores(scores, labels, horizon)
        rows.append({"horizon": horizon, **{key: figures[key] for key in ("rank_ic", "newey_west_t")}})
    return pd.DataFrame(rows, columns=["horizon", "rank_ic", "newey_west_t"])


def learning_curve(dataset: MLDataset, candidate: Candidate, split: Split, *, n_jobs: int = 1) -> pd.DataFrame:
    """How a candidate does on split.test after every tenth tree: columns trees, rank_ic, squared_error.

    rank_ic is the mean over dates. All trees are fitted, early stopping or not, so that the curve shows where it should
    have stopped; a forest, which is all or nothing, has one point. The error is of ranks within [-0.5, 0.5]: saying
    nothing costs 1/12, and a rank IC of 0.03 lowers that by a thousandth.
    """
    if candidate.algorithm == SCORES:  # which do not grow
        return pd.DataFrame({"trees": [1], "rank_ic": [np.nan], "squared_error": [np.nan]})
    X, y, _ = dataset.rows(split.train)
    tested, truth, per_date = dataset.rows(split.test)
    if not (len(y) and len(truth)):
        raise ParameterError(f"no labeled rows for the learning curve of {candidate.name}; use another split")
    judge = RankJudge.of(truth, per_date[per_date > 0])
    points = []

    def watch(trees: int, predictions: np.ndarray) -> bool:
        error = float(np.mean((predictions - truth) ** 2, dtype=np.float64))
        points.append({"trees": trees, "rank_ic": mean_rank_ic(judge.daily(predictions)), "squared_error": error})
        return False

    recipe = Recipe(
        names=tuple(dataset.features.names),
        params={**ALGORITHMS[candidate.algorithm].defaults, **candidate.params},
        trees=candidate.n_estimators,
        patience=candidate.n_estimators,
        seed=candidate.seed,
        n_jobs=n_jobs,
        watch_every=WATCH_EVERY,
    )
    algorithm = ALGORITHMS[candidate.algorithm]
    booster, trees = algorithm.fit(Rows(X, y), Rows(tested, truth), recipe, watch)
    if not algorithm.stops_early:
        watch(trees, algorithm.predict(booster, tested, n_jobs))
    return pd.DataFrame(points, columns=["trees", "rank_ic", "squared_error"])


def _contributions(model: Model, features: Features, rows: np.ndarray) -> np.ndarray:
    """(n_rows, n_features) parts of the scores of the rows that are marked, (n_dates, n_symbols)."""
    check_features(features, model.features)
    members = (
        model.booster if model.algorithm == ENSEMBLE else [Member(model.algorithm, model.algorithm, model.booster)]
    )
    silent = [member.algorithm for member in members if ALGORITHMS[member.algorithm].contributions is None]
    if silent:
        raise ModelError(f"{silent[0]} provides no feature contributions")
    X = features.values[rows]
    if not len(X):
        return np.zeros((0, len(model.features)))
    parts = [
        explained(member.booster, X)
        for member in members
        if (explained := ALGORITHMS[member.algorithm].contributions) is not None
    ]
    return np.mean(parts, axis=0)[:, : len(model.features)]


def _sentence(names: Sequence[str], parts: np.ndarray, values: np.ndarray, count: int) -> str:
    """The largest parts of one score, in words."""
    from openbook.signals.features import FEATURES

    largest = [i for i in np.argsort(-np.abs(parts), kind="stable")[:count] if parts[i] != 0]
    meanings = {name: feature.meaning for name, feature in FEATURES.items()}
    phrases = [_phrase(meanings.get(names[i], names[i])) for i in largest]
    return "; ".join(
        f"{phrase}: {_level(values[i])}, {parts[i]:+.3f}" for phrase, i in zip(phrases, largest, strict=True)
    )


def _level(value: float) -> str:
    """A name's place in the ranking of one feature."""
    return "unknown" if np.isnan(value) else "high" if value > 0 else "low"


def _phrase(meaning: str) -> str:
    """The sentence of a feature without its details."""
    return meaning.rstrip(".").partition(":")[0].partition(" (")[0]


def _rank_ic(model: Model, features: Features, labels: pd.DataFrame) -> float:
    """Mean per-date rank IC of the model's scores."""
    return float(metrics.information_coefficient(model.predict(features), labels)["rank_ic"].mean())


def _deal_within_dates(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n_dates, n_symbols) with the numbers of each row in random order; NaN stays where it is."""
    keys = np.where(np.isnan(values), np.inf, rng.random(values.shape))
    source = np.argsort(keys, axis=1, kind="stable")  # the row's numbers in random order, its gaps last
    place = np.argsort(np.isnan(values), axis=1, kind="stable")  # where numbers are, its gaps last
    dealt = np.empty_like(values)
    np.put_along_axis(dealt, place, np.take_along_axis(values, source, axis=1), axis=1)
    return dealt
