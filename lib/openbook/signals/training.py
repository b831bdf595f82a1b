"""All candidates over all folds, and their final fits: what the training notebook shows and hands on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from openbook.signals.algorithms import ALGORITHMS
from openbook.signals.dataset import MLDataset
from openbook.signals.models import Candidate, Model, ModelTrainer, evaluate_scores


@dataclass(frozen=True, eq=False)
class Trained:
    """What came of training several candidates on one dataset.

    oos_scores : by candidate, dates × symbols, walk-forward: the only scores that may be backtested
    folds : one row per candidate and fold; see `models.run_fold`
    models : by candidate, fitted on every date with a label
    summary : one row per candidate, its figures over all folds together
    """

    oos_scores: dict[str, pd.DataFrame]
    folds: pd.DataFrame
    models: dict[str, Model]
    summary: pd.DataFrame

    def stacked_scores(self) -> pd.DataFrame:
        """oos_scores as one table: (date, symbol) × candidate, float64, sorted; rows without any score left out."""
        columns = {
            name: scores.rename_axis(index="date", columns="symbol").stack() for name, scores in self.oos_scores.items()
        }
        return pd.DataFrame(columns).dropna(how="all").sort_index()

    def importance(self, name: str) -> pd.Series:
        """Share of the gain by feature, largest first; sums to 1, or is all 0 for a model without a split."""
        model = self.models[name]
        gain = pd.Series(ALGORITHMS[model.algorithm].gain(model.booster), index=list(model.features), name="gain")
        return (gain / (gain.sum() or 1.0)).sort_values(ascending=False, kind="stable")


def train_candidates(
    dataset: MLDataset,
    candidates: Sequence[Candidate],
    *,
    n_folds: int,
    embargo: int = 0,
    n_jobs: int = 1,
    progress: Callable[[int, int, str], None] | None = None,
) -> Trained:
    """Walk each candidate forward over the same folds, then fit it on everything.

    progress(done, total, text) is called after each fold and each final fit.
    """
    total = len(candidates) * (n_folds + 1)
    scores, folds, models = {}, [], {}
    for i, candidate in enumerate(candidates):
        trainer = ModelTrainer(candidate, n_jobs)
        step = _shifted(progress, i * (n_folds + 1), total)
        scores[candidate.name], rows = trainer.walk_forward(dataset, n_folds, embargo=embargo, progress=step)
        folds.append(rows)
        models[candidate.name] = trainer.train(dataset, dataset.dates)
        step(n_folds + 1, total, f"{candidate.name} final fit")
    summary = [{"candidate": name, **_judge(table, dataset)} for name, table in scores.items()]
    return Trained(scores, pd.concat(folds, ignore_index=True), models, pd.DataFrame(summary))


def _judge(scores: pd.DataFrame, dataset: MLDataset) -> dict[str, float]:
    """Figures of stitched scores, and how many dates they cover."""
    labels = dataset.labels.loc[scores.index]
    judged = (scores.notna() & labels.notna()).any(axis=1)
    return {"dates": int(np.count_nonzero(judged)), **evaluate_scores(scores, labels, dataset.horizon)}


def _shifted(progress, before: int, total: int) -> Callable[[int, int, str], None]:
    """`progress` as one candidate sees it, counting on from those before."""
    return lambda done, _, text: progress(before + done, total, text) if progress else None
