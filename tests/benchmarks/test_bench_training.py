"""What the tournament's training costs at full size: 500 stocks × 2,520 sessions, 60 features, every row.

    pytest -m benchmark -s tests/benchmarks/test_bench_training.py

The market is simulated with a planted signal; wall-clock minutes on two processes of one thread each.
"""

import time

import pandas as pd
import pytest

from openbook.common.parallel import run_tasks
from openbook.market.checks.session import admit
from openbook.market.sources import SimulatedSource, fetch
from openbook.signals.dataset import MLDataset, build_dataset
from openbook.signals.features import available_features, compute_features
from openbook.signals.models import Candidate
from openbook.signals.training import FINAL, WalkForward, trials_per_fold
from openbook.signals.tuning import tune

N_TRIALS, MINUTES = 100, 12.0
PLAN = WalkForward(n_folds=5, embargo=5, holdout=252)
HORIZON = 5

pytestmark = pytest.mark.benchmark


def simulated_dataset(n_symbols: int = 500, n_sessions: int = 2520) -> MLDataset:
    """Bars only, the first 60 features."""
    source = SimulatedSource(
        n_symbols=n_symbols, n_sessions=n_sessions, end="2023-06-30", seed=1, horizon=HORIZON, reports=False
    )
    market, _ = admit(fetch(source))
    return build_dataset(market, compute_features(market, available_features(market)[:60]), HORIZON)


def tune_in_fold(shared, candidate: Candidate, fold: int, n_trials: int, storage: str | None):
    """One study: what `train_candidates` does before the fit of a fold."""
    dataset = shared if fold == FINAL else PLAN.known_before(shared)
    train = PLAN.splits(shared)[fold].train
    started, used = time.perf_counter(), time.process_time()
    tuned = tune(candidate, dataset, train, n_trials=n_trials, storage=storage, study=f"fold {fold}")
    return tuned, time.perf_counter() - started, time.process_time() - used


def tune_everywhere(dataset: MLDataset, candidate: Candidate, n_trials: int, storage: str | None) -> pd.DataFrame:
    """All studies of one candidate, the longest first, a row each; cpu_minutes do not depend on what else runs."""
    splits = PLAN.splits(dataset)
    folds = sorted(splits, key=lambda fold: -len(splits[fold].train))
    share = trials_per_fold(n_trials, len(splits))
    tasks = [(candidate, fold, share, storage) for fold in folds]
    rows = []
    for fold, (tuned, seconds, cpu) in zip(folds, run_tasks(tune_in_fold, dataset, tasks, n_jobs=2), strict=True):
        trials = tuned.trials.groupby("number").agg({"state": "first", "trees": "first", "rank_ic": "mean"})
        rows.append(
            {
                "fold": fold,
                "trials": len(trials),
                "pruned": int((trials["state"] == "pruned").sum()),
                "failed": int((trials["state"] == "failed").sum()),
                "mean_trees": trials["trees"].mean(),
                "own_value": trials["rank_ic"][0],
                "best_value": tuned.value,
                "minutes": seconds / 60,
                "cpu_minutes": cpu / 60,
            }
        )
    return pd.DataFrame(rows)


@pytest.mark.parametrize("algorithm", ["xgboost", "lightgbm"])
def test_tuning(tmp_path, algorithm):
    """100 trials over five folds, the holdout and the final fit, the studies kept in one SQLite file."""
    dataset = simulated_dataset()
    assert dataset.features.values.shape == (2520, 500, 60)
    started = time.perf_counter()
    table = tune_everywhere(
        dataset, Candidate(name="tuned", algorithm=algorithm), N_TRIALS, f"sqlite:///{tmp_path}/t.db"
    )
    minutes = (time.perf_counter() - started) / 60
    print(
        f"\n{table.round(4).to_string(index=False)}\n{algorithm}: {table['trials'].sum()} trials, {minutes:.1f} minutes"
    )
    assert (table["best_value"] >= table["own_value"]).all()
    assert minutes <= MINUTES
