"""Candidates, how they are trained and judged walk-forward, and what a trained model answers."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, cast

import numpy as np
import pandas as pd
from pydantic import BaseModel, Field, ValidationError, field_validator, model_serializer, model_validator

from openbook import metrics
from openbook.common import extensions
from openbook.common.constants import SESSIONS_A_YEAR
from openbook.common.days import Day
from openbook.common.errors import ParameterError, SchemaError
from openbook.common.settings import Settings
from openbook.signals.algorithms import ALGORITHMS, ENSEMBLE, SCORES, Recipe, Rows
from openbook.signals.dataset import MLDataset, hold_out_last, scored_rows
from openbook.signals.ensemble import members_of
from openbook.signals.own_scores import ScoreTable, rows_of, scores_on

if TYPE_CHECKING:  # features brings numba in, which loading a model does not need
    from openbook.signals.features import Features

# A model stopped after its first tree has a few dozen distinct scores: too coarse to rank a universe.
MIN_TREES = 25


class Tuning(Settings, strict=True):
    """How a candidate's settings are searched for: see `tuning`."""

    n_trials: int = Field(default=30, ge=1, description="total number of trials over folds, holdout and final fit")
    startup: int = Field(default=5, ge=1, description="random trials before the sampler starts")
    space: dict[str, Annotated[tuple[float, float, bool], Field(strict=False)]] = Field(
        default={}, description="by parameter: low, high, log scale; overrides the default space"
    )


class Candidate(Settings, strict=True):
    """One model to be tried: an algorithm with its settings, or an ensemble of others."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_]{0,62}$", description="name, used for its folder and in every table")
    algorithm: str = Field(description="a key of ALGORITHMS")
    params: dict[str, float | int] = Field(
        default={}, description="parameters of the algorithm that differ from its defaults"
    )
    n_estimators: int = Field(default=500, ge=1, le=20_000, description="maximum number of trees")
    early_stopping: int | None = Field(
        default=50, ge=1, description="early-stopping rounds in trees; null: no early stopping"
    )
    held_out: float = Field(
        default=0.15, gt=0, lt=0.5, description="fraction of the dates, the last ones, used for early stopping"
    )
    seed: int = Field(default=0, ge=0, lt=2**31)
    tuning: Tuning | None = Field(default=None, description="nested tuning inside each fold; null: none")
    members: tuple[str, ...] = Field(
        default=(), strict=False, description="ensemble members by name; empty: the best ones"
    )
    top: int = Field(default=3, ge=2, description="number of best members of an ensemble without named members")
    path: str = Field(default="", description="table of own scores: date, symbol, score, known_at; of `scores` only")

    @model_serializer(mode="wrap")
    def _plain(self, handler) -> dict[str, Any]:
        """Without a path where there is none: its absence is the same trial as before there were paths."""
        said = handler(self)
        return said if self.path else {name: value for name, value in said.items() if name != "path"}

    @field_validator("algorithm")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in ALGORITHMS:
            extensions.load()
        if value not in ALGORITHMS:
            raise ValueError(f"unknown algorithm {value!r}; choose from {', '.join(ALGORITHMS)}")
        return value

    @model_validator(mode="after")
    def _params_fit(self) -> Candidate:
        defaults = ALGORITHMS[self.algorithm].defaults
        for key, value in self.params.items():
            if key not in defaults:
                raise ValueError(f"{self.algorithm} has no parameter {key!r}; choose from {', '.join(defaults)}")
            whole = isinstance(defaults[key], int)  # 2.5 where a whole number belongs is cut to 2 without a word
            if not (-sys.float_info.max <= value <= sys.float_info.max and (isinstance(value, int) or not whole)):
                raise ValueError(f"{key} must be a {'whole ' if whole else ''}number like {defaults[key]}, not {value}")
        return self

    @model_validator(mode="after")
    def _scores_have_a_path(self) -> Candidate:
        if (self.algorithm == SCORES) != bool(self.path):
            raise ValueError(f"path: the table of own scores goes with algorithm: {SCORES}, and with no other")
        if self.algorithm == SCORES and self.tuning is not None:
            raise ValueError("own scores have no parameters to tune")
        return self

    @model_validator(mode="after")
    def _ensembles_are_not_tuned(self) -> Candidate:
        for key, (low, high, _) in (self.tuning.space if self.tuning else {}).items():
            if not (key in ALGORITHMS[self.algorithm].defaults and low < high):
                raise ValueError(f"cannot search {key!r} from {low} to {high}: unknown parameter or empty range")
        if self.algorithm == ENSEMBLE and self.tuning is not None:
            raise ValueError("an ensemble has no parameters to tune; tune its members")
        if len(set(self.members)) < len(self.members):  # every member has one vote
            raise ValueError(f"members must be different, not {', '.join(self.members)}")
        if self.algorithm != ENSEMBLE and self.members:
            raise ValueError(f"only ensembles have members, not {self.algorithm}")
        return self


def define_candidates(entries: list[dict]) -> list[Candidate]:
    """The candidates of a parameter file, in its order. Raises ParameterError naming the entry and the field.

    Examples
    --------
    >>> [one.name for one in ob.define_candidates([{"name": "a", "algorithm": "lightgbm"}])]
    ['a']
    """
    if not isinstance(entries, list) or not entries:
        raise ParameterError("candidates must be a list with at least one entry: {name: ..., algorithm: ...}")
    candidates = [_define(i, entry) for i, entry in enumerate(entries)]
    names = [candidate.name for candidate in candidates]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ParameterError(f"candidate names must be unique; duplicate {', '.join(twice)}")
    learners = [candidate.name for candidate in candidates if candidate.algorithm not in (ENSEMBLE, SCORES)]
    for candidate in candidates:
        if candidate.algorithm == ENSEMBLE:
            _check_members(candidate, learners)
    return candidates


def _check_members(ensemble: Candidate, learners: list[str]) -> None:
    """Raise ParameterError unless the ensemble has at least two candidates beside it to be made of."""
    strangers = [name for name in ensemble.members if name not in learners]
    if strangers:
        raise ParameterError(f"{ensemble.name}: {strangers[0]!r} is not a candidate; choose from {learners}")
    if len(set(ensemble.members or learners)) < 2:
        raise ParameterError(f"{ensemble.name}: an ensemble needs at least two other candidates")


def _define(i: int, entry: dict) -> Candidate:
    try:
        return Candidate.model_validate(entry)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ParameterError(f"candidates[{i}]{'.' + field if field else ''}: {first['msg']}") from error


class Training(BaseModel, frozen=True, extra="forbid", strict=True):
    """What a model was made from; stored in its bundle. Dates are ISO text.

    train_start, train_end : first and last decision date it learned from
    trained_through : last session whose prices its labels used; it may score from that date on
    """

    candidate: Candidate
    horizon: int = Field(ge=1)
    label: str
    train_start: Day
    train_end: Day
    trained_through: Day
    train_rows: int = Field(ge=1)
    trees: int = Field(ge=1)


@dataclass(frozen=True, eq=False)
class Model:
    """A trained model: what it sees, in which order, and the booster that answers."""

    algorithm: str
    features: tuple[str, ...]
    booster: Any
    training: Training

    def predict(self, features: Features, *, n_jobs: int = 1) -> pd.DataFrame:
        """Scores, dates × symbols; higher is better, within a date only. NaN for a name with no feature that day.

        Raises SchemaError unless the features are those of the training, in that order.
        """
        check_features(features, self.features)
        if self.algorithm == SCORES:
            own = scores_on(rows_of(self.booster), features.dates, features.symbols)
            return own.where(scored_rows(features))
        chosen, algorithm = scored_rows(features), ALGORITHMS[self.algorithm]
        scores = np.full(chosen.shape, np.nan)
        blocks = range(len(chosen)) if algorithm.within_date else [slice(None)]
        for at in blocks:
            if chosen[at].any():
                scores[at][chosen[at]] = algorithm.predict(self.booster, features.values[at][chosen[at]], n_jobs)
        return pd.DataFrame(scores, index=features.dates, columns=features.symbols)

    def scorable(self, features: Features) -> np.ndarray:
        """Which names should have a score on which date, dates × symbols bool: of own scores, those that are there."""
        return self.predict(features).notna().to_numpy() if self.algorithm == SCORES else scored_rows(features)

    def reading(self, rows: pd.DataFrame) -> Model:
        """The same with these rows of own scores, in the place of its file's; any other model as it is."""
        return replace(self, booster=self.booster._replace(rows=rows)) if self.algorithm == SCORES else self


def check_features(features: Features, expected: tuple[str, ...]) -> None:
    """Raise SchemaError unless names, order and dtype are those that the model was trained on."""
    names = tuple(features.names)
    missing, extra = list(Counter(expected) - Counter(names)), list(Counter(names) - Counter(expected))
    if missing or extra:
        raise SchemaError(
            f"features do not match the model: missing {missing}, extra {extra}; compute the model's "
            "features, or retrain"
        )
    if names != expected:
        i = next(i for i in range(len(names)) if names[i] != expected[i])
        raise SchemaError(f"features are not in the model's order: column {i} is {names[i]}, expected {expected[i]}")
    if features.values.dtype != np.float32 or features.values.shape[2] != len(expected):
        raise SchemaError(f"features must be float32 with {len(expected)} columns, not {features.values.dtype}")


def check_scores(scores: pd.Series, *, min_distinct: int) -> None:
    """Raise SchemaError if a name that should be scored is not, or if the scores cannot rank the universe.

    scores : by symbol, only the names that should have one
    min_distinct : fewer different scores are called degenerate
    """
    bad = scores.index[~np.isfinite(scores.to_numpy(dtype=float))]
    if len(bad):
        raise SchemaError(f"no finite score for {', '.join(map(str, bad[:10]))} ({len(bad)} of {len(scores)} names)")
    distinct = scores.nunique()
    if not (distinct >= max(2, min_distinct)):
        raise SchemaError(f"degenerate scores: {distinct} distinct values for {len(scores)} names; retrain the model")


@dataclass(frozen=True)
class ModelTrainer:
    """Trains one candidate. n_jobs: threads; 1 inside parallel work, more only when it has the machine to itself."""

    candidate: Candidate
    n_jobs: int = 1

    def train(self, dataset: MLDataset, dates) -> Model:
        """The model of `dates`, those with labels.

        Early stopping finds the number of trees on the last dates, held out and purged; then all dates are fitted with
        that many, so that the newest history is learned from and not only looked at.
        """
        algorithm = ALGORITHMS[self.candidate.algorithm]
        X, y, per_date = dataset.rows(dates)
        used = pd.DatetimeIndex(dates)[per_date > 0]
        if len(y) == 0:
            raise ParameterError(f"no labeled rows to train {self.candidate.name}; use an earlier or longer period")
        trees = self._count_trees(Rows(X, y), per_date[per_date > 0], dataset)
        recipe = self._recipe(dataset, trees)
        binned = algorithm.bin(Rows(X, y), None, recipe)
        del X  # the bins hold what the fit needs
        booster, _ = algorithm.boost(binned, recipe, None)
        training = Training(
            candidate=self.candidate,
            horizon=dataset.horizon,
            label=dataset.label,
            train_start=_iso(used[0]),
            train_end=_iso(used[-1]),
            trained_through=_iso(dataset.matured[cast(int, dataset.dates.get_loc(used[-1]))]),
            train_rows=len(y),
            trees=trees,
        )
        return Model(self.candidate.algorithm, tuple(dataset.features.names), booster, training)

    def _count_trees(self, rows: Rows, per_date: np.ndarray, dataset: MLDataset) -> int:
        """Trees that did best on the held out dates, at least MIN_TREES; all of them without early stopping."""
        if not ALGORITHMS[self.candidate.algorithm].has_trees:
            return 1
        if self.candidate.early_stopping is None or not ALGORITHMS[self.candidate.algorithm].stops_early:
            return self.candidate.n_estimators
        end, start = hold_out_last(len(per_date), self.candidate.held_out, dataset.horizon)
        until, since = per_date[:end].sum(), per_date[:start].sum()  # rows are in date order, so slices do
        recipe = self._recipe(dataset, self.candidate.n_estimators)
        fit = ALGORITHMS[self.candidate.algorithm].fit
        _, best = fit(Rows(rows.X[:until], rows.y[:until]), Rows(rows.X[since:], rows.y[since:]), recipe)
        return min(max(best, MIN_TREES), self.candidate.n_estimators)

    def _recipe(self, dataset: MLDataset, trees: int) -> Recipe:
        return Recipe(
            names=tuple(dataset.features.names),
            params={**ALGORITHMS[self.candidate.algorithm].defaults, **self.candidate.params},
            trees=trees,
            patience=self.candidate.early_stopping or trees,
            seed=self.candidate.seed,
            n_jobs=self.n_jobs,
        )


def own_scores(candidate: Candidate, dataset: MLDataset, dates: pd.DatetimeIndex, rows: pd.DataFrame) -> Model:
    """Own scores as a model of the same dates as any other: it has learned nothing, and was judged on their labels."""
    labeled = dataset.ranks.loc[dates].notna()
    used = dates[labeled.any(axis=1).to_numpy()]
    if used.empty:
        raise ParameterError(f"no labeled rows to judge {candidate.name}; use an earlier or longer period")
    training = Training(
        candidate=candidate,
        horizon=dataset.horizon,
        label=dataset.label,
        train_start=_iso(used[0]),
        train_end=_iso(used[-1]),
        trained_through=_iso(dataset.matured[cast(int, dataset.dates.get_loc(used[-1]))]),
        train_rows=int(labeled.to_numpy().sum()),
        trees=1,
    )
    names = tuple(dataset.features.names)
    return Model(SCORES, names, ScoreTable(names, candidate.path, rows), training)


def combine(models: Mapping[str, Model], candidate: Candidate) -> Model:
    """The ensemble of trained models, in the order given; it has learned from all that any of them has.

    Raises SchemaError unless there are at least two, none an ensemble, with the same features, horizon and label.
    """
    members = members_of(models)
    parts = [model.training for model in models.values()]
    if len({(part.horizon, part.label) for part in parts}) != 1:
        raise SchemaError(
            f"ensemble members must have the same label: {', '.join(models)}; train them with the same horizon"
        )
    if any(member.algorithm == ENSEMBLE for member in members):
        raise SchemaError("an ensemble cannot be a member of an ensemble; list its members instead")
    training = Training(
        candidate=candidate,
        horizon=parts[0].horizon,
        label=parts[0].label,
        train_start=min(part.train_start for part in parts),
        train_end=max(part.train_end for part in parts),
        trained_through=max(part.trained_through for part in parts),
        train_rows=max(part.train_rows for part in parts),
        trees=sum(part.trees for part in parts),
    )
    return Model(ENSEMBLE, next(iter(models.values())).features, members, training)


def evaluate_scores(scores: pd.DataFrame, labels: pd.DataFrame, horizon: int) -> dict[str, float]:
    """Performance of scores, per date first, then the mean over dates whose label is known.

    rank_ic, ic : mean correlation within the date; icir : of the rank IC; newey_west_t : of the mean rank IC, with
    `horizon` lags for the overlap of the labels; quantile_spread : mean return of the top fifth less the bottom fifth;
    long_short_sharpe : of that difference a year, before costs, from every horizon-th date, whose labels do not overlap
    """
    daily = metrics.information_coefficient(scores, labels)
    quantiles = metrics.quantile_returns_by_date(scores, labels, n=5)
    spread = quantiles.iloc[:, -1] - quantiles.iloc[:, 0]
    return {
        "rank_ic": daily["rank_ic"].mean(),
        "ic": daily["ic"].mean(),
        "icir": metrics.icir(daily["rank_ic"]),
        "newey_west_t": metrics.newey_west_t(daily["rank_ic"], lags=horizon),
        "quantile_spread": spread.mean(),
        "long_short_sharpe": metrics.sharpe(spread.iloc[::horizon], periods=SESSIONS_A_YEAR / horizon),
    }


def _iso(date: pd.Timestamp) -> str:
    return date.strftime("%Y-%m-%d")
