"""All candidates over all folds, the holdout and their final fits: what the training notebook shows and hands on."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pandas as pd
from pydantic import Field

from openbook import metrics
from openbook.common.errors import ParameterError
from openbook.common.parallel import run_tasks
from openbook.common.settings import Settings
from openbook.signals.algorithms import ALGORITHMS, ENSEMBLE, SCORES
from openbook.signals.dataset import MLDataset, Split, create_time_based_split, holdout_split
from openbook.signals.ensemble import ensemble_scores
from openbook.signals.models import Candidate, Model, ModelTrainer, combine, evaluate_scores, own_scores
from openbook.signals.own_scores import read_scores, require_sessions
from openbook.signals.tuning import COLUMNS as LEDGER_COLUMNS
from openbook.signals.tuning import tune

FINAL = -1  # the fold number of a final fit in the trial ledger


class WalkForward(Settings):
    """How history is cut: folds that judge the candidates, then a holdout that is not used before the end.

    Examples
    --------
    >>> ob.WalkForward(n_folds=3, holdout=252).n_folds
    3
    """

    n_folds: int = Field(5, ge=1, description="number of test blocks, each scored by a model trained on earlier dates")
    embargo: int = Field(5, ge=0, description="embargo before each test block, in sessions, in addition to the purge")
    kind: str = Field("expanding", pattern="^(expanding|rolling)$", description="expanding or rolling training window")
    min_train: int | None = Field(
        None, ge=1, description="length of the first training window in sessions; null: as a test block"
    )
    holdout: int = Field(
        252, ge=0, description="holdout length in sessions, evaluated once after the selection; 0: none"
    )

    def splits(self, dataset: MLDataset) -> dict[int, Split]:
        """By fold: 0 … n_folds - 1 before the holdout, n_folds the holdout itself, FINAL every date."""
        horizon, dates = dataset.horizon, dataset.dates
        before = dates[: self._holdout_start(dataset)]
        how: dict[str, Any] = {
            "horizon": horizon,
            "embargo": self.embargo,
            "kind": self.kind,
            "min_train": self.min_train,
        }
        splits = {i: create_time_based_split(before, i, self.n_folds, **how) for i in range(self.n_folds)}
        if self.holdout:
            splits[self.n_folds] = holdout_split(dates, self.holdout, horizon=horizon, embargo=self.embargo)
        return splits | {FINAL: Split(train=dates, test=dates[:0])}

    def describe(self, dataset: MLDataset) -> pd.DataFrame:
        """What each part of history is for: part, train_start, train_end, test_start, test_end; NaT: not judged."""
        rows = []
        for fold, split in self.splits(dataset).items():
            tested = (split.test[0], split.test[-1]) if len(split.test) else (pd.NaT, pd.NaT)
            rows.append((fold_name(fold, self), split.train[0], split.train[-1], *tested))
        return pd.DataFrame(rows, columns=["part", "train_start", "train_end", "test_start", "test_end"])

    def holdout_span(self, dataset: MLDataset) -> str | None:
        """First to last session of the holdout, or None where none is kept."""
        held = dataset.dates[self._holdout_start(dataset) :]
        return f"{held[0]:%Y-%m-%d} to {held[-1]:%Y-%m-%d}" if len(held) else None

    def known_before(self, dataset: MLDataset) -> MLDataset:
        """The dataset as it was at the session before the holdout."""
        return dataset.upto(dataset.dates[self._holdout_start(dataset) - 1])

    def _holdout_start(self, dataset: MLDataset) -> int:
        """Position of the first session of the holdout; ParameterError if nothing lies before it."""
        if not (self.holdout < len(dataset.dates)):
            raise ParameterError(
                f"a holdout of {self.holdout} sessions leaves no data of {len(dataset.dates)}; use a shorter holdout"
            )
        return len(dataset.dates) - self.holdout


@dataclass(frozen=True, eq=False)
class FoldResult:
    """What one candidate made of one fold.

    scores : test dates × symbols, or None of a final fit; row : figures of the fold, or None where nothing is judged
    trials : what tuning tried in this fold, LEDGER_COLUMNS
    """

    model: Model
    scores: pd.DataFrame | None
    row: dict | None
    trials: pd.DataFrame


@dataclass(frozen=True, eq=False)
class Trained:
    """Result of training several candidates on one dataset.

    oos_scores : by candidate, dates × symbols, walk-forward before the holdout: the only scores that may be compared
    holdout_scores : likewise over the holdout, for one evaluation at the end; empty without a holdout
    learners : the candidates that are fitted, without ensembles and own scores; all, if there are only own scores
    folds : one row per candidate and fold; see `judge_fold`
    models : by candidate, fitted on every date with a label; last : by candidate, of the last fold before the holdout
    summary : one row per candidate, its figures over all folds together
    trials : the ledger of everything that was tried: trial, candidate, fold, kind, state, params, trees, date, rank_ic
    """

    oos_scores: dict[str, pd.DataFrame]
    holdout_scores: dict[str, pd.DataFrame]
    learners: tuple[Candidate, ...]
    folds: pd.DataFrame
    models: dict[str, Model]
    last: dict[str, Model]
    summary: pd.DataFrame
    trials: pd.DataFrame = field(repr=False)

    def importance(self, name: str) -> pd.Series:
        """Share of the gain by feature, largest first; sums to 1, or is all 0 for a model without a split."""
        model = self.models[name]
        gain = pd.Series(ALGORITHMS[model.algorithm].gain(model.booster), index=list(model.features), name="gain")
        return (gain / (gain.sum() or 1.0)).sort_values(ascending=False, kind="stable")


def stack_scores(scores: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Scores by candidate as one table: (date, symbol) × candidate, float64, sorted; rows without a score left out."""
    columns = {name: table.rename_axis(index="date", columns="symbol").stack() for name, table in scores.items()}
    return pd.DataFrame(columns).dropna(how="all").sort_index()


def train_candidates(
    dataset: MLDataset,
    candidates: Sequence[Candidate],
    plan: WalkForward,
    *,
    storage: str | None = None,
    engine: str = "",
    n_jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Trained:
    """Walk each candidate forward over the same folds, score the holdout, and fit it on everything.

    storage : an Optuna storage URL, where tuning can be resumed; None keeps it in memory
    engine, n_jobs, progress : see `run_tasks`; a task is one candidate in one fold

    Examples
    --------
    >>> features = ob.compute_features(market, ["momentum_126", "volatility_63"], dates=market.dates[-1000:])
    >>> dataset = ob.build_dataset(market, features, horizon=20)
    >>> candidates = ob.define_candidates([{"name": "a", "algorithm": "lightgbm", "n_estimators": 20}])
    >>> trained = ob.train(dataset, candidates, ob.WalkForward(n_folds=2, holdout=60))
    >>> list(trained.oos_scores)
    ['a']
    """
    learners = [candidate for candidate in candidates if candidate.algorithm not in (ENSEMBLE, SCORES)]
    splits = plan.splits(dataset)
    tasks = [(one, fold) for one in learners for fold in splits]
    tasks.sort(key=lambda task: -len(splits[task[1]].train))  # the longest first, so that no process waits at the end
    shared = (dataset, plan, storage)
    done = run_tasks(fold_task, shared, tasks, engine=engine, n_jobs=n_jobs, progress=progress)
    found = {(one.name, fold): result for (one, fold), result in zip(tasks, done, strict=True)}
    for candidate in candidates:
        if candidate.algorithm == SCORES:
            found |= _own_scores(candidate, splits, dataset, plan)
        if candidate.algorithm == ENSEMBLE:
            found |= _ensemble(candidate, [one.name for one in learners], found, splits, dataset, plan)
    return _gather(candidates, found, dataset, plan)


def fold_task(shared: tuple, candidate: Candidate, fold: int) -> FoldResult:
    """One candidate in one fold, on one thread: tune if it is to be tuned, fit, score, judge."""
    dataset, plan, storage = shared
    started = time.perf_counter()
    splits = plan.splits(dataset)
    split = splits[fold]
    known = dataset if fold == FINAL else plan.known_before(dataset)
    trials = pd.DataFrame(columns=LEDGER_COLUMNS)
    chosen = candidate
    if candidate.tuning is not None:
        share = trials_per_fold(candidate.tuning.n_trials, len(splits))
        study = f"{candidate.name}, fold {fold}"
        tuned = tune(candidate, known, split.train, n_trials=share, storage=storage, study=study)
        chosen, trials = tuned.candidate, tuned.trials
    model = ModelTrainer(chosen).train(known, split.train)
    scores = model.predict(dataset.features_on(split.test)) if len(split.test) else None
    judged = 0 <= fold < plan.n_folds
    row = judge_fold(candidate.name, fold, model, cast(pd.DataFrame, scores), known, started) if judged else None
    return FoldResult(model, scores, row, trials)


def trials_per_fold(n_trials: int, n_fits: int) -> int:
    """The budget of trials spread over the folds, the holdout and the final fit: at least one each."""
    return max(1, round(n_trials / n_fits))


def judge_fold(name: str, fold: int, model: Model, scores: pd.DataFrame, known: MLDataset, started: float) -> dict:
    """A row of training_comparison.csv; `started` by the clock of time.perf_counter, for what it cost."""
    return {
        "candidate": name,
        "fold": fold,
        "train_start": pd.Timestamp(model.training.train_start),
        "train_end": pd.Timestamp(model.training.train_end),
        "test_start": scores.index[0],
        "test_end": scores.index[-1],
        "rows": model.training.train_rows,
        "trees": model.training.trees,
        **evaluate_scores(scores, known.labels.loc[scores.index], known.horizon),
        "seconds": time.perf_counter() - started,
        "memory_mb": _peak_mb(),
    }


# ---- inside ----


def _own_scores(candidate: Candidate, splits: dict, dataset: MLDataset, plan: WalkForward) -> dict:
    """The desk's own scores in every fold: read once, cut and judged as those of the models are."""
    started, results, known = time.perf_counter(), {}, plan.known_before(dataset)
    rows = read_scores(candidate.path)
    for fold, split in splits.items():
        seen = dataset if fold == FINAL else known
        model = own_scores(candidate, seen, split.train, rows)
        scores = model.predict(dataset.features_on(split.test)) if len(split.test) else None
        if scores is not None:
            require_sessions(scores, candidate.path)
        judged = 0 <= fold < plan.n_folds
        row = judge_fold(candidate.name, fold, model, cast(pd.DataFrame, scores), known, started) if judged else None
        results[candidate.name, fold] = FoldResult(model, scores, row, pd.DataFrame(columns=LEDGER_COLUMNS))
    return results


def _ensemble(candidate: Candidate, names: list[str], found: dict, splits: dict, dataset: MLDataset, plan) -> dict:
    """The ensemble in every fold, of the members that had been the best on labels known before that fold."""
    started, results, known = time.perf_counter(), {}, plan.known_before(dataset)
    daily = _daily_rank_ic({name: _stitch(found, name, plan) for name in names}, known)
    for fold, split in splits.items():
        until = known.dates[-1] if fold == FINAL else split.test[0] - pd.Timedelta(days=1)
        members = _members(candidate, daily, known, until)
        parts = [found[name, fold] for name in members]
        model = combine({name: part.model for name, part in zip(members, parts, strict=True)}, candidate)
        scores = ensemble_scores([part.scores for part in parts]) if len(split.test) else None
        judged = 0 <= fold < plan.n_folds
        row = judge_fold(candidate.name, fold, model, cast(pd.DataFrame, scores), known, started) if judged else None
        results[candidate.name, fold] = FoldResult(model, scores, row, pd.DataFrame(columns=LEDGER_COLUMNS))
    return results


def _members(candidate: Candidate, daily: pd.DataFrame, known: MLDataset, until) -> list[str]:
    """Those named, or the `top` by mean rank IC of the labels known at `until`; all before there are any."""
    if candidate.members:
        return list(candidate.members)
    matured = pd.Series(known.matured, index=known.dates).reindex(daily.index) <= until
    past = daily[matured.to_numpy()].dropna(how="all")
    if past.empty:
        return list(daily.columns)
    best = past.mean().sort_values(ascending=False, kind="stable").index[: candidate.top]
    return [name for name in daily.columns if name in best]


def _gather(candidates, found: dict, dataset: MLDataset, plan: WalkForward) -> Trained:
    """The results of all folds in tables."""
    names, known = [one.name for one in candidates], plan.known_before(dataset)
    scores = {name: _stitch(found, name, plan) for name in names}
    daily = _daily_rank_ic(scores, known)
    rows = [found[name, fold].row for name in names for fold in range(plan.n_folds)]
    summary = [{"candidate": name, **_judge(scores[name], known)} for name in names]
    held = {name: found[name, plan.n_folds].scores for name in names} if plan.holdout else {}
    return Trained(
        oos_scores=scores,
        holdout_scores=held,
        learners=tuple(one for one in candidates if one.algorithm not in (ENSEMBLE, SCORES)) or tuple(candidates),
        folds=pd.DataFrame(rows),
        models={name: found[name, FINAL].model for name in names},
        last={name: found[name, plan.n_folds - 1].model for name in names},
        summary=pd.DataFrame(summary),
        trials=_ledger(names, found, daily, plan),
    )


def _ledger(names: list[str], found: dict, daily: pd.DataFrame, plan: WalkForward) -> pd.DataFrame:
    """Every trial of every study, then every candidate in every fold with its out-of-sample rank IC."""
    parts = []
    for (name, fold), result in found.items():
        tried = result.trials.assign(candidate=name, fold=fold, kind="tuning")
        number = tried["number"].map("{:03d}".format)
        parts.append(tried.assign(trial=f"{name}/{fold_name(fold, plan)}/" + number.astype("str")))
    for name in names:
        for fold in range(plan.n_folds):
            model, dates = found[name, fold].model, found[name, fold].scores.index
            series = {"date": dates, "rank_ic": daily.loc[dates, name].to_numpy()}
            params = model.training.candidate.model_dump_json()
            about = {"trial": f"{name}/{fold_name(fold, plan)}", "candidate": name, "fold": fold, "kind": "candidate",
                     "state": "complete", "params": params, "trees": model.training.trees}  # fmt: skip
            parts.append(pd.DataFrame(series).assign(**about))
    columns = ["trial", "candidate", "fold", "kind", "state", "params", "trees", "date", "rank_ic"]
    text = dict.fromkeys(["trial", "candidate", "kind", "state", "params"], "str")
    parts = [part[columns].astype({"fold": "int64", "rank_ic": "float64", **text}) for part in parts if len(part)]
    return pd.concat(parts).sort_values(["kind", "trial", "date"], kind="stable", ignore_index=True)


def fold_name(fold: int, plan: WalkForward) -> str:
    """What a part of history is called in tables and in the ledger."""
    return {FINAL: "final fit", plan.n_folds: "holdout"}.get(fold, f"fold {fold}")


def _stitch(found: dict, name: str, plan: WalkForward) -> pd.DataFrame:
    """The scores of all folds before the holdout, one after the other."""
    return pd.concat([found[name, fold].scores for fold in range(plan.n_folds)])


def _daily_rank_ic(scores: Mapping[str, pd.DataFrame], known: MLDataset) -> pd.DataFrame:
    """Rank IC of each date, dates × candidate; NaN where no label had matured before the holdout."""
    daily = {
        name: metrics.information_coefficient(table, known.labels.loc[table.index])["rank_ic"]
        for name, table in scores.items()
    }
    return pd.DataFrame(daily)


def _judge(scores: pd.DataFrame, known: MLDataset) -> dict[str, float]:
    """Figures of stitched scores, and how many dates they cover."""
    labels = known.labels.loc[scores.index]
    judged = (scores.notna() & labels.notna()).any(axis=1)
    return {"dates": int(np.count_nonzero(judged)), **evaluate_scores(scores, labels, known.horizon)}


def _peak_mb() -> float:
    """Most memory that this process has held so far, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
