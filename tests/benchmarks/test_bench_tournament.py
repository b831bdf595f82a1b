"""What a whole training costs at full size: five candidates × five folds at 300 trees, and the final fits.

    pytest -m benchmark -s tests/benchmarks/test_bench_tournament.py

500 stocks × 2,520 sessions, 60 features, every row, two processes of one thread each. There is no public peer that does
the same work; scikit-learn's forest is timed beside ours on a sample of it.
"""

import threading
import time

import numpy as np
import psutil
import pytest

from openbook.market.checks.session import admit
from openbook.market.sources import SimulatedSource, fetch
from openbook.signals.dataset import MLDataset, build_dataset
from openbook.signals.features import available_features, compute_features
from openbook.signals.models import Candidate, ModelTrainer
from openbook.signals.training import WalkForward, train_candidates

pytestmark = pytest.mark.benchmark

FIXED = {"n_estimators": 300, "early_stopping": None}
CANDIDATES = [
    Candidate(name="xgboost_default", algorithm="xgboost", **FIXED),
    Candidate(name="xgboost_tuned", algorithm="xgboost", params={"max_depth": 6, "subsample": 0.7}, **FIXED),
    Candidate(name="random_forest", algorithm="random_forest", **FIXED),
    Candidate(name="lightgbm", algorithm="lightgbm", **FIXED),
    Candidate(name="ensemble", algorithm="ensemble", top=3),
]


@pytest.fixture(scope="module")
def dataset() -> MLDataset:
    """Bars only, the first 60 features, a planted signal."""
    source = SimulatedSource(n_symbols=500, n_sessions=2520, end="2023-06-30", seed=1, horizon=5, reports=False)
    market, _ = admit(fetch(source))
    return build_dataset(market, compute_features(market, available_features(market)[:60]), 5)


class Memory:
    """The most that this process and its children held together, MB; shared pages are counted once per process."""

    def __enter__(self):
        self.peak, self._stop = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _watch(self):
        me = psutil.Process()
        while not self._stop.wait(0.25):
            held = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    held += process.memory_info().rss - process.memory_info().shared
                except psutil.NoSuchProcess:
                    continue
            self.peak = max(self.peak, held / 2**20)


def test_five_candidates_by_five_folds(dataset):
    started = time.perf_counter()
    with Memory() as memory:
        trained = train_candidates(dataset, CANDIDATES, WalkForward(n_folds=5, embargo=5, holdout=0), n_jobs=2)
    minutes = (time.perf_counter() - started) / 60
    shown = trained.folds[["candidate", "fold", "rows", "trees", "rank_ic", "seconds", "memory_mb"]]
    print(f"\n{shown.round(4).to_string(index=False)}")
    print(f"{minutes:.1f} minutes with the final fits; {memory.peak:,.0f} MB not shared, all processes together")
    assert (trained.summary["rank_ic"] > 0.01).all()
    assert minutes <= 8
    assert memory.peak <= 3 * 1024


def test_the_forest_beside_that_of_scikit_learn(dataset):
    """The same settings and rows in both; agreement of the scores first, then the rounds."""
    from scipy.stats import spearmanr
    from sklearn.ensemble import RandomForestRegressor

    few = [dataset.dates[i] for i in range(300, 500)]
    X, y, _ = dataset.rows(few)
    X = np.nan_to_num(X)
    settings = {"max_depth": 5, "min_child_weight": 200.0, "subsample": 0.6, "colsample_bynode": 0.33}
    candidate = Candidate(name="forest", algorithm="random_forest", n_estimators=30, params=settings)
    trainer, rounds = ModelTrainer(candidate), {"ours": [], "scikit-learn": []}
    how = {"n_estimators": 30, "max_depth": 5, "min_samples_leaf": 200, "max_samples": 0.6, "max_features": 0.33}
    for _ in range(3):
        started = time.perf_counter()
        model = trainer.train(dataset, few)
        rounds["ours"].append(time.perf_counter() - started)
        started = time.perf_counter()
        theirs = RandomForestRegressor(**how, random_state=0, n_jobs=1).fit(X, y)
        rounds["scikit-learn"].append(time.perf_counter() - started)
    from openbook.signals.algorithms import ALGORITHMS

    ours = ALGORITHMS["random_forest"].predict(model.booster, X, 1)
    agree = spearmanr(ours, theirs.predict(X)).statistic
    medians = {name: float(np.median(times)) for name, times in rounds.items()}
    print(f"\n{len(y):,} rows × {X.shape[1]}, 30 trees, one thread: {rounds}")
    print(f"medians {medians}, ratio {medians['scikit-learn'] / medians['ours']:.1f}; rank correlation {agree:.3f}")
    assert agree > 0.85
