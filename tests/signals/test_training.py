"""Several candidates over the same folds: all are kept, all are counted, and only unseen dates are scored."""

import numpy as np
import pandas as pd
import pytest
from lab import planted_dataset
from pandas.testing import assert_frame_equal

from openbook import standins
from openbook.signals.models import Candidate, ModelTrainer, evaluate_scores
from openbook.signals.training import train_candidates

FOLDS = 3


def candidate(name: str, algorithm: str = "lightgbm", **changes) -> Candidate:
    settings = {"n_estimators": 20, "params": {"learning_rate": 0.1}, "early_stopping": None} | changes
    return Candidate(name=name, algorithm=algorithm, **settings)


CANDIDATES = [candidate("leaves"), candidate("depth", "xgboost")]


@pytest.fixture(scope="module")
def dataset():
    """400 dates, 40 names; the first of 5 features is worth something."""
    return planted_dataset()


@pytest.fixture(scope="module")
def steps():
    """What was reported while `trained` was made."""
    return []


@pytest.fixture(scope="module")
def trained(dataset, steps):
    """Both candidates over three folds."""
    return train_candidates(dataset, CANDIDATES, n_folds=FOLDS, embargo=2, progress=lambda *step: steps.append(step))


def test_progress_counts_every_fold_and_final_fit(trained, steps):
    assert [step[:2] for step in steps] == [(i, 8) for i in range(1, 9)]
    assert [text for _, _, text in steps if "final" in text] == ["leaves final fit", "depth final fit"]


def test_each_candidate_is_what_it_would_have_been_alone(trained, dataset):
    for one in CANDIDATES:
        scores, _ = ModelTrainer(one).walk_forward(dataset, FOLDS, embargo=2)
        assert_frame_equal(trained.oos_scores[one.name], scores, check_exact=True)
        alone = ModelTrainer(one).train(dataset, dataset.dates).predict(dataset.features)
        assert_frame_equal(trained.models[one.name].predict(dataset.features), alone, check_exact=True)


def test_all_candidates_are_judged_on_the_same_unseen_dates(trained, dataset):
    assert trained.folds.groupby("candidate").size().to_dict() == {"leaves": FOLDS, "depth": FOLDS}
    first, second = (trained.folds[trained.folds["candidate"] == one.name].reset_index() for one in CANDIDATES)
    spans = ["fold", "train_start", "train_end", "test_start", "test_end"]
    assert_frame_equal(first[spans], second[spans])
    gap = dataset.dates.get_indexer(first["test_start"]) - dataset.dates.get_indexer(first["train_end"])
    assert (gap > dataset.horizon + 1 + 2).all()
    for scores in trained.oos_scores.values():
        assert scores.index.is_unique
        assert scores.index[0] == first["test_start"].iloc[0]


def test_the_summary_is_of_all_folds_together(trained, dataset):
    summary = trained.summary.set_index("candidate")
    for name, scores in trained.oos_scores.items():
        expected = evaluate_scores(scores, dataset.labels.loc[scores.index], dataset.horizon)
        assert summary.loc[name, list(expected)].to_dict() == pytest.approx(expected)
        assert summary.loc[name, "dates"] == len(scores) - dataset.horizon - 1  # the last labels are not known yet
    assert (summary["rank_ic"] > 0.05).all()


def test_the_final_fit_has_learned_from_every_date_with_a_label(trained, dataset):
    for model in trained.models.values():
        assert model.training.trained_through == f"{dataset.dates[-1]:%Y-%m-%d}"
        assert model.training.train_rows == int(dataset.ranks.notna().to_numpy().sum())


@pytest.mark.parametrize("name", [one.name for one in CANDIDATES])
def test_importance_is_a_share_and_finds_what_was_planted(trained, name):
    share = trained.importance(name)
    assert share.sum() == pytest.approx(1.0)
    assert (share >= 0).all()
    assert share.is_monotonic_decreasing
    assert share.index[0] == "feature_0"
    assert set(share.index) == set(trained.models[name].features)


def test_a_model_without_a_split_gives_no_feature_a_share(dataset):
    stump = candidate("stump", params={"min_data_in_leaf": 1_000_000})
    share = train_candidates(dataset, [stump], n_folds=2).importance("stump")
    assert (share == 0).all()
    assert len(share) == 5


def test_scores_come_back_from_the_file_as_they_were(trained, tmp_path):
    stacked = trained.stacked_scores()
    assert stacked.index.names == ["date", "symbol"]
    assert stacked.index.is_monotonic_increasing
    assert (stacked.dtypes == "float64").all()
    stacked.to_parquet(tmp_path / "oos_scores.parquet")
    again = standins.oos_scores(str(tmp_path), market=None)
    assert list(again) == list(trained.oos_scores)
    for name, scores in trained.oos_scores.items():
        assert_frame_equal(again[name], scores, check_exact=True, check_names=False, check_freq=False)


def test_a_name_that_nobody_scored_has_no_row(trained, tmp_path):
    date, symbol = trained.oos_scores["leaves"].index[3], "S007"
    for scores in trained.oos_scores.values():
        assert np.isfinite(scores.loc[date, symbol])
    holes = {name: scores.copy() for name, scores in trained.oos_scores.items()}
    holes["leaves"].loc[date, "S008"] = np.nan  # one of the two still has a score
    for scores in holes.values():
        scores.loc[date, symbol] = np.nan
    stacked = type(trained)(holes, trained.folds, trained.models, trained.summary).stacked_scores()
    assert (date, symbol) not in stacked.index
    assert stacked.notna().any(axis=1).all()
    assert pd.isna(stacked.loc[(date, "S008"), "leaves"])
    assert np.isfinite(stacked.loc[(date, "S008"), "depth"])
    stacked.to_parquet(tmp_path / "oos_scores.parquet")
    again = standins.oos_scores(str(tmp_path), market=None)["leaves"]
    assert again.loc[date, [symbol, "S008"]].isna().all()
