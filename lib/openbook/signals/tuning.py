"""Tuning: which settings of an algorithm rank the held-out dates best, found by Optuna inside one training set.

What is tuned on never judges: `tune` sees the dates of one fold only, and holds out the last of them, purged, exactly
as early stopping does. Its trials run one after the other and are seeded one by one, so a study that was interrupted
and taken up again ends as if nothing had happened; many studies (folds × candidates) run beside each other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from openbook.common.errors import ModelError, ParameterError
from openbook.common.ranks import average_ranks
from openbook.signals.algorithms import ALGORITHMS, Algorithm, Binned, Recipe, Rows
from openbook.signals.dataset import MLDataset, hold_out_last
from openbook.signals.models import MIN_TREES, Candidate
from openbook.signals.optuna_storage import fail_left_running, finished, open_study

if TYPE_CHECKING:  # imported where used: it takes half a second, and most of what trains never tunes
    import optuna

Space = Mapping[str, tuple[float, float, bool]]

# Parameter: lowest, highest, whether its logarithm is searched. What matters where a rank IC of 0.03 is a good one: how
# large the steps, how fine the leaves, how much of the rows and columns each tree sees, how hard leaves are shrunk.
SPACES: dict[str, Space] = {
    "xgboost": {
        "learning_rate": (0.02, 0.2, True),
        "max_depth": (3, 7, False),
        "min_child_weight": (20.0, 2000.0, True),
        "subsample": (0.3, 0.9, False),
        "colsample_bytree": (0.2, 0.9, False),
        "reg_lambda": (1.0, 1000.0, True),
    },
    "random_forest": {
        "max_depth": (4, 9, False),
        "min_child_weight": (20.0, 2000.0, True),
        "subsample": (0.3, 0.9, False),
        "colsample_bynode": (0.1, 0.9, False),
    },
    "lightgbm": {
        "learning_rate": (0.02, 0.2, True),
        "num_leaves": (7, 63, True),
        "min_data_in_leaf": (20, 2000, True),
        "bagging_fraction": (0.3, 0.9, False),
        "feature_fraction": (0.2, 0.9, False),
        "lambda_l2": (1.0, 1000.0, True),
    },
}
STARTUP = 10  # trials at random before the sampler learns from them
REPORT_EVERY = 10  # trees between two evaluations of the held-out rank IC
COLUMNS = ["number", "state", "params", "trees", "date", "rank_ic"]
STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


@dataclass(frozen=True, eq=False)
class Tuned:
    """Result of one study.

    candidate : the winner with its settings filled in, to be trained once on all dates with a fixed number of trees
    trials : the ledger: one row per trial and held-out date, in order; columns number, state, params (JSON text, all
        settings that are not the algorithm's defaults), trees, date, rank_ic. A trial that failed has one row, NaT
    value : mean rank IC of the winner on the held-out dates; the best of many, so too optimistic
    """

    candidate: Candidate
    trials: pd.DataFrame
    value: float


def tune(
    candidate: Candidate,
    dataset: MLDataset,
    dates,
    *,
    n_trials: int,
    storage: str | None = None,
    study: str = "",
    n_jobs: int = 1,
) -> Tuned:
    """The settings of `candidate` with the highest mean per-date rank IC on the last of `dates`, held out and purged.

    Each trial is the fit by which `ModelTrainer` would count its trees: the same rows, seed and early stopping. The
    candidate's own settings are trial 0, so the winner is never worse than they are, on the held-out dates.

    n_trials : in all, those of an interrupted study counted
    storage : Optuna storage URL where the study is kept and taken up again, sqlite:///…; None keeps it in memory. One
        process per study at a time: trials found running are taken for those of a process that died, and run again
    study : prefix of the study's name; the rest is a digest of all that decides the result, training rows included
    n_jobs : threads of each fit

    Raises ParameterError for a space that does not fit the algorithm, ModelError if no trial could be judged,
    StorageError if the storage cannot be opened.
    """
    if not n_trials >= 1:
        raise ParameterError(f"tuning needs at least 1 trial, not {n_trials}")
    task = _prepare(candidate, dataset, dates, n_jobs)
    record = open_study(storage, f"{study}{'-' if study else ''}{task.digest}")
    fail_left_running(record)
    while (number := len(finished(record))) < n_trials:
        _run_trial(record, task, number)
    return _conclude(task, finished(record)[:n_trials])


@dataclass(frozen=True, eq=False)
class RankJudge:
    """Per-date rank IC of predictions for the same rows, again and again: what does not change is computed once.

    seen : (n_dates, most names on a date) bool, which places hold a row
    labels : as `seen`, ranks of the labels, centered and of length 1 on each date; 0 elsewhere
    """

    seen: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, y: np.ndarray, per_date: np.ndarray) -> RankJudge:
        """y : (n_rows,) labels in date order; per_date : (n_dates,) rows of each date."""
        seen = np.arange(per_date.max()) < per_date[:, None]
        return cls(seen, _unit_ranks(y, seen))

    def daily(self, predictions: np.ndarray) -> np.ndarray:
        """(n_dates,) Spearman correlation of predictions (n_rows,) with the labels; NaN where either is constant or a
        date has fewer than three names. As `metrics.information_coefficient`, in a tenth of the time."""
        ic = (_unit_ranks(predictions, self.seen) * self.labels).sum(axis=1)
        return np.where(self.seen.sum(axis=1) >= 3, ic, np.nan)


def _unit_ranks(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Ranks within each date, centered and of length 1, 0 in empty places; NaN on a date whose values are all equal."""
    table = np.full(seen.shape, np.nan)
    table[seen] = values
    ranks = average_ranks(table) - (seen.sum(axis=1, keepdims=True) + 1) / 2
    ranks[~seen] = 0.0
    length = np.sqrt((ranks**2).sum(axis=1, keepdims=True))
    return np.divide(ranks, length, out=np.full(ranks.shape, np.nan), where=length > 0)


@dataclass(frozen=True, eq=False)
class _Task:
    """Everything that the trials of one study share.

    binned : the rows in the library's own form, binned once: only max_bin would change that, and it is not searched
    held_out : the held-out features, for learners that predict at their end only
    digest : 24 hex digits of all that decides the study's result but its length
    """

    candidate: Candidate
    space: Space
    names: tuple[str, ...]
    binned: Binned
    held_out: np.ndarray
    judge: RankJudge
    dates: pd.DatetimeIndex
    n_jobs: int
    digest: str

    @property
    def algorithm(self) -> Algorithm:
        return ALGORITHMS[self.candidate.algorithm]

    @property
    def settings(self) -> dict[str, float | int]:
        """The candidate's own value of every parameter."""
        return {**self.algorithm.defaults, **self.candidate.params}

    def recipe(self, params: Mapping[str, float | int]) -> Recipe:
        return _recipe(self.candidate, self.names, params, self.n_jobs)


def _prepare(candidate: Candidate, dataset: MLDataset, dates, n_jobs: int) -> _Task:
    """Split the rows as `ModelTrainer` does to count trees."""
    space = _search_space(candidate)
    X, y, per_date = dataset.rows(dates)
    used, per_date = pd.DatetimeIndex(dates)[per_date > 0], per_date[per_date > 0]
    end, start = hold_out_last(len(used), candidate.held_out, dataset.horizon)
    until, since = per_date[:end].sum(), per_date[:start].sum()
    train, held_out = Rows(X[:until], y[:until]), Rows(X[since:], y[since:])
    names, judge = tuple(dataset.features.names), RankJudge.of(y[since:], per_date[start:])
    decisive = [
        candidate.model_dump(mode="json", exclude={"name", "tuning"}),
        _startup(candidate),
        space,
        names,
        n_jobs,
    ]
    algorithm = ALGORITHMS[candidate.algorithm]
    return _Task(
        candidate=candidate,
        space=space,
        names=names,
        binned=algorithm.bin(train, held_out, _recipe(candidate, names, {}, n_jobs)),
        held_out=held_out.X.copy(),  # not a view, which would keep all of X
        judge=judge,
        dates=used[start:],
        n_jobs=n_jobs,
        digest=_digest([*decisive, algorithm.libraries], used.as_unit("us").asi8, per_date, *train, *held_out),
    )


def _recipe(candidate: Candidate, names: tuple[str, ...], params: Mapping[str, float | int], n_jobs: int) -> Recipe:
    """As `ModelTrainer` makes it, but every tree is shown."""
    return Recipe(
        names=names,
        params={**ALGORITHMS[candidate.algorithm].defaults, **candidate.params, **params},
        trees=candidate.n_estimators,
        patience=candidate.early_stopping or candidate.n_estimators,
        seed=candidate.seed,
        n_jobs=n_jobs,
        watch_every=1,
    )


def _startup(candidate: Candidate) -> int:
    return STARTUP if candidate.tuning is None else candidate.tuning.startup


def _search_space(candidate: Candidate) -> Space:
    """The algorithm's space with the candidate's changes, each range widened to hold the candidate's own value."""
    changes = {} if candidate.tuning is None else candidate.tuning.space
    space = {**SPACES.get(candidate.algorithm, {}), **changes}
    settings = {**ALGORITHMS[candidate.algorithm].defaults, **candidate.params}
    if not space:
        raise ParameterError(
            f"{candidate.name}: no search space for {candidate.algorithm}; define one, or set tuning: null"
        )
    for name, (low, high, log) in space.items():
        if name == "max_bin":
            raise ParameterError(f"{candidate.name}: max_bin cannot be searched: rows are binned once")
        if name not in settings:
            raise ParameterError(f"{candidate.name}: cannot search {name!r}; choose from {', '.join(settings)}")
        low, high = min(low, settings[name]), max(high, settings[name])
        if not (low < high and (low > 0 or not log)):
            raise ParameterError(f"{candidate.name}: {name} from {low} to {high} cannot be searched; widen it, above 0")
        space[name] = (low, high, log)
    return space


def _digest(decisive: list, *arrays: np.ndarray) -> str:
    """24 hex digits of all that decides a study's result except its length; the last of `decisive` names libraries."""
    versions = {name: import_module(name).__version__ for name in (*decisive[-1], "optuna", "numpy")}
    digest = hashlib.sha256(json.dumps([decisive, versions], sort_keys=True).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array))  # type: ignore[arg-type]  # a buffer, which numpy says from 3.12 on
    return digest.hexdigest()[:24]


def _run_trial(record: optuna.Study, task: _Task, number: int) -> None:
    """One trial, from the sampler's proposal to a verdict in the storage."""
    import optuna
    from optuna.trial import TrialState

    # The sampler of a trial depends on the trials before it and on its number, not on how often the process restarted.
    seed = int(np.random.SeedSequence([task.candidate.seed, number]).generate_state(1)[0])
    record.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=_startup(task.candidate))
    if number == 0 and not record.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        record.enqueue_trial({name: task.settings[name] for name in task.space})
    trial = record.ask()
    try:
        params = {name: _suggest(trial, name, task) for name in task.space}
        trees, daily, pruned = _fit(trial, task, params)
        value = mean_rank_ic(daily)
        if not (pruned or np.isfinite(value)):
            raise ModelError("scores are constant on every validation date")
    except Exception as error:  # any failed trial was tried, too: it stays in the ledger, with its reason
        trial.set_user_attr("error", f"{type(error).__name__}: {error}")
        record.tell(trial, state=TrialState.FAIL)
        return
    trial.set_user_attr("trees", trees)
    trial.set_user_attr("rank_ic", [float(ic) if np.isfinite(ic) else None for ic in daily])
    record.tell(trial, state=TrialState.PRUNED) if pruned else record.tell(trial, value)


def _suggest(trial: optuna.Trial, name: str, task: _Task) -> float | int:
    low, high, log = task.space[name]
    if isinstance(task.settings[name], int):
        return trial.suggest_int(name, int(low), int(high), log=log)
    return trial.suggest_float(name, float(low), float(high), log=log)


def _fit(trial: optuna.Trial, task: _Task, params: dict) -> tuple[int, np.ndarray, bool]:
    """Fit one proposal: its trees, its rank IC by held-out date with that many trees, and whether it was given up."""
    if not task.algorithm.stops_early:
        booster, trees = task.algorithm.boost(task.binned, task.recipe(params), None)
        return trees, task.judge.daily(task.algorithm.predict(booster, task.held_out, task.n_jobs)), False
    watch = _Watch(trial, task.judge, keep=max(task.candidate.early_stopping or 1, MIN_TREES))
    _, best = task.algorithm.boost(task.binned, task.recipe(params), watch)
    last = max(watch.recent)
    if task.candidate.early_stopping is None or watch.pruned:
        best = last
    trees = min(max(best, MIN_TREES), last)  # as ModelTrainer counts them
    return trees, task.judge.daily(watch.recent[trees]), watch.pruned


@dataclass
class _Watch:
    """Sees the held-out predictions after each tree, reports their rank IC now and then, and decides when to stop.

    recent : the last predictions by number of trees, as many as early stopping may go back
    """

    trial: optuna.Trial
    judge: RankJudge
    keep: int
    pruned: bool = False
    recent: dict[int, np.ndarray] = field(default_factory=dict)

    def __call__(self, trees: int, predictions: np.ndarray) -> bool:
        self.recent[trees] = predictions
        self.recent.pop(trees - self.keep - 1, None)
        if trees % REPORT_EVERY == 0:
            self.trial.report(mean_rank_ic(self.judge.daily(predictions)), trees)
            self.pruned = bool(self.trial.should_prune())
        return self.pruned


def _conclude(task: _Task, judged: list[optuna.trial.FrozenTrial]) -> Tuned:
    """The winner, the first of the best, and the ledger of all."""
    complete = [trial for trial in judged if trial.state.name == "COMPLETE"]
    if not complete:
        reasons = "; ".join(sorted({trial.user_attrs.get("error", "pruned") for trial in judged}))
        raise ModelError(f"every tuning trial of {task.candidate.name} failed: {reasons}")
    best = max(complete, key=lambda trial: cast(float, trial.value))
    fewest = min(MIN_TREES, task.candidate.n_estimators)  # a trial that stopped sooner was judged on what it had
    settings = {
        "params": {**task.candidate.params, **best.params},
        "n_estimators": max(best.user_attrs["trees"], fewest),
        "early_stopping": None,
        "tuning": None,
    }
    winner = Candidate.model_validate(task.candidate.model_dump() | settings)
    ledger = [_ledger(number, trial, task) for number, trial in enumerate(judged)]
    return Tuned(winner, pd.concat(ledger, ignore_index=True)[COLUMNS], float(cast(float, best.value)))


def _ledger(number: int, trial: optuna.trial.FrozenTrial, task: _Task) -> pd.DataFrame:
    """The rows of one trial."""
    daily: list[Any] = trial.user_attrs.get("rank_ic", [None])
    dates = task.dates if "rank_ic" in trial.user_attrs else [pd.NaT]
    return pd.DataFrame(
        {
            "number": number,
            "state": STATES[trial.state.name],
            "params": json.dumps({**task.candidate.params, **trial.params}, sort_keys=True),
            "trees": trial.user_attrs.get("trees", 0),
            "date": pd.DatetimeIndex(dates).as_unit("us"),
            "rank_ic": np.array(daily, dtype=float),
        }
    )


def mean_rank_ic(daily: np.ndarray) -> float:
    """Mean over the dates that have a rank IC; NaN if none has."""
    seen = np.isfinite(daily)
    return float(daily[seen].mean()) if seen.any() else float("nan")
