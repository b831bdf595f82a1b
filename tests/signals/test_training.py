"""Several candidates over the same folds: all are kept, all are counted, and only unseen dates are scored."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from openbook import metrics
from openbook.app import inputs
from openbook.common.errors import ParameterError
from openbook.signals.algorithms import ENSEMBLE
from openbook.signals.dataset import MLDataset, build_dataset
from openbook.signals.models import Candidate, ModelTrainer, Tuning, evaluate_scores
from openbook.signals.training import FINAL, Trained, WalkForward, stack_scores, train_candidates, trials_per_fold
from support.signal_markets import features_of, planted_dataset, random_market

FOLDS, HOLDOUT = 3, 40
PLAN = WalkForward(n_folds=FOLDS, embargo=2, holdout=HOLDOUT)


def candidate(name: str, algorithm: str = "lightgbm", **changes) -> Candidate:
    settings = {"n_estimators": 20, "params": {"learning_rate": 0.1}, "early_stopping": None} | changes
    return Candidate(name=name, algorithm=algorithm, **settings)


ENSEMBLE_OF_TWO = Candidate(name="both", algorithm=ENSEMBLE, top=2)
TUNED = candidate("tuned", "xgboost", params={}, tuning=Tuning(n_trials=10, startup=2))
CANDIDATES = [candidate("leaves"), candidate("depth", "xgboost"), TUNED, ENSEMBLE_OF_TWO]
LEARNERS = CANDIDATES[:3]


@pytest.fixture(scope="module")
def dataset() -> MLDataset:
    """400 dates, 40 names; the first of 5 features is worth something."""
    return planted_dataset()


@pytest.fixture(scope="module")
def steps() -> list:
    """What was reported while `trained` was made."""
    return []


@pytest.fixture(scope="module")
def trained(dataset, steps) -> Trained:
    """All candidates over three folds and a holdout."""
    return train_candidates(dataset, CANDIDATES, PLAN, progress=lambda *step: steps.append(step))


def test_progress_counts_every_fold_holdout_and_final_fit(trained, steps):
    total = len(trained.learners) * (FOLDS + 2)
    assert steps == [(i, total) for i in range(1, total + 1)]


def test_a_candidate_is_what_it_would_have_been_alone(trained, dataset):
    one, known = CANDIDATES[0], PLAN.known_before(dataset)
    for fold, split in PLAN.splits(dataset).items():
        seen = dataset if fold == FINAL else known
        model = ModelTrainer(one).train(seen, split.train)
        if fold == FINAL:
            expected = model.predict(dataset.features)
            assert_frame_equal(trained.models[one.name].predict(dataset.features), expected, check_exact=True)
        else:
            table = trained.holdout_scores if fold == FOLDS else trained.oos_scores
            expected = model.predict(dataset.features_on(split.test))
            assert_frame_equal(table[one.name].loc[split.test], expected, check_exact=True)


def test_every_session_before_the_holdout_and_in_it_is_scored_once(trained, dataset):
    for scores, held in zip(trained.oos_scores.values(), trained.holdout_scores.values(), strict=True):
        assert scores.index.is_unique
        assert list(held.index) == list(dataset.dates[-HOLDOUT:])
        assert scores.index[-1] == dataset.dates[-HOLDOUT - 1]


def scrambled(dataset: MLDataset, start: int) -> MLDataset:
    """The same dataset with other features and labels from row `start` on."""
    rng = np.random.default_rng(5)
    values = dataset.features.values.copy()
    values[start:] = rng.permuted(values[start:], axis=1)
    labels, ranks = dataset.labels.copy(), dataset.ranks.copy()
    reach = start - dataset.horizon - 1  # labels before it are known before `start`
    labels.iloc[reach:] = rng.permuted(labels.iloc[reach:].to_numpy(), axis=1)
    ranks.iloc[reach:] = rng.permuted(ranks.iloc[reach:].to_numpy(), axis=1)
    return replace(dataset, features=replace(dataset.features, values=values), labels=labels, ranks=ranks)


def test_nothing_that_is_compared_has_seen_the_holdout(trained, dataset):
    other = train_candidates(scrambled(dataset, len(dataset.dates) - HOLDOUT), CANDIDATES, PLAN)
    for name, scores in trained.oos_scores.items():
        assert_frame_equal(other.oos_scores[name], scores, check_exact=True)
        assert not other.holdout_scores[name].equals(trained.holdout_scores[name])
    assert_frame_equal(other.summary, trained.summary, check_exact=True)
    cost = ["seconds", "memory_mb"]
    assert_frame_equal(other.folds.drop(columns=cost), trained.folds.drop(columns=cost), check_exact=True)
    before = trained.trials["fold"].between(0, FOLDS - 1)
    assert_frame_equal(other.trials[before], trained.trials[before], check_exact=True)


def test_all_candidates_are_judged_on_the_same_unseen_dates(trained, dataset):
    assert trained.folds.groupby("candidate").size().to_dict() == {one.name: FOLDS for one in CANDIDATES}
    spans = ["fold", "train_start", "train_end", "test_start", "test_end"]
    parts = [part[spans].reset_index(drop=True) for _, part in trained.folds.groupby("candidate")]
    for part in parts[1:]:
        assert_frame_equal(part, parts[0])
    gap = dataset.dates.get_indexer(parts[0]["test_start"]) - dataset.dates.get_indexer(parts[0]["train_end"])
    assert (gap > dataset.horizon + 1 + 2).all()


def test_the_summary_is_of_all_folds_together(trained, dataset):
    summary, known = trained.summary.set_index("candidate"), PLAN.known_before(dataset)
    for name, scores in trained.oos_scores.items():
        expected = evaluate_scores(scores, known.labels.loc[scores.index], dataset.horizon)
        assert summary.loc[name, list(expected)].to_dict() == pytest.approx(expected)
        assert summary.loc[name, "dates"] == len(scores) - dataset.horizon - 1  # the last labels are not known yet
    assert (summary["rank_ic"] > 0.05).all()


def test_the_final_fit_has_learned_from_every_date_with_a_label(trained, dataset):
    for one in LEARNERS:
        training = trained.models[one.name].training
        assert training.trained_through == f"{dataset.dates[-1]:%Y-%m-%d}"
        assert training.train_rows == int(dataset.ranks.notna().to_numpy().sum())


def test_importance_is_a_share_and_finds_what_was_planted(trained):
    for one in LEARNERS:
        share = trained.importance(one.name)
        assert share.sum() == pytest.approx(1.0)
        assert (share >= 0).all()
        assert share.is_monotonic_decreasing
        assert share.index[0] == "feature_0"


def test_a_model_without_a_split_gives_no_feature_a_share(dataset):
    stump = candidate("stump", params={"min_data_in_leaf": 1_000_000})
    share = train_candidates(dataset, [stump], WalkForward(n_folds=2, holdout=0)).importance("stump")
    assert (share == 0).all()
    assert len(share) == 5


# ---- the ensemble ----


def rank_mean(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """The slow way: percentile ranks date by date, then their mean."""
    scaled = [table.rank(axis=1).sub((table.shape[1] + 1) / 2).div(table.shape[1] - 1) for table in tables]
    return sum(scaled) / len(scaled)


def test_the_ensemble_ranks_like_the_mean_of_its_members_ranks(trained, dataset):
    split = PLAN.splits(dataset)[0]
    members = [trained.oos_scores[one.name].loc[split.test] for one in LEARNERS]
    mine = trained.oos_scores["both"].loc[split.test]
    assert_frame_equal(mine, rank_mean(members))  # nothing is known before the first fold: all of them are members


def test_the_members_of_a_fold_were_the_best_on_labels_known_before_it(trained, dataset):
    known, split = PLAN.known_before(dataset), PLAN.splits(dataset)[FOLDS - 1]
    matured = pd.Series(known.matured, index=known.dates)
    past = {}
    for one in LEARNERS:
        scores = trained.oos_scores[one.name]
        dates = [date for date in scores.index if matured[date] < split.test[0]]
        past[one.name] = metrics.information_coefficient(scores.loc[dates], known.labels.loc[dates])["rank_ic"].mean()
    best = sorted(past, key=past.get, reverse=True)[:2]
    expected = rank_mean([trained.oos_scores[name].loc[split.test] for name in sorted(best)])
    assert_frame_equal(trained.oos_scores["both"].loc[split.test], expected)


def test_a_named_ensemble_has_these_members(dataset):
    named = Candidate(name="named", algorithm=ENSEMBLE, members=("depth", "leaves"))
    pair = [candidate("leaves"), candidate("depth", "xgboost"), candidate("third", seed=3)]
    done = train_candidates(dataset, [*pair, named], WalkForward(n_folds=2, holdout=0))
    expected = rank_mean([done.oos_scores["leaves"], done.oos_scores["depth"]])
    assert_frame_equal(done.oos_scores["named"], expected)


def test_a_combined_model_says_what_the_ensemble_said(trained, dataset):
    """The bundle of an ensemble answers with the same bits as the scores that were compared."""
    split = PLAN.splits(dataset)[FOLDS - 1]
    said = trained.last["both"].predict(dataset.features_on(split.test))
    assert_frame_equal(said, trained.oos_scores["both"].loc[split.test], check_exact=True)


# ---- the ledger ----


def test_the_ledger_holds_every_trial_with_its_daily_rank_ic(trained, dataset):
    ledger = trained.trials
    assert list(ledger.columns) == ["trial", "candidate", "fold", "kind", "state", "params", "trees", "date", "rank_ic"]
    tuning = ledger[ledger["kind"] == "tuning"]
    share = trials_per_fold(10, FOLDS + 2)
    assert set(tuning["candidate"]) == {"tuned"}
    assert tuning.groupby("fold")["trial"].nunique().to_dict() == dict.fromkeys([FINAL, *range(FOLDS + 1)], share)
    kept = ledger[(ledger["kind"] == "candidate") & (ledger["candidate"] == "leaves")].set_index("date")["rank_ic"]
    known, scores = PLAN.known_before(dataset), trained.oos_scores["leaves"]
    expected = metrics.information_coefficient(scores, known.labels.loc[scores.index])["rank_ic"]
    pd.testing.assert_series_equal(kept, expected, check_names=False, check_freq=False)


def test_the_tuned_model_is_the_best_trial_of_its_fold(trained):
    """Trials that were given up early do not stand for election."""
    final = trained.trials[(trained.trials["kind"] == "tuning") & (trained.trials["fold"] == FINAL)]
    value = final[final["state"] == "complete"].groupby("params")["rank_ic"].mean()
    won = trained.models["tuned"].training.candidate
    assert (won.tuning, won.early_stopping) == (None, None)
    assert won.params == json.loads(value.idxmax())


def test_the_budget_is_spread_and_never_empty():
    assert trials_per_fold(100, 7) == 14
    assert trials_per_fold(3, 7) == 1


# ---- how history is cut ----


def test_the_dataset_of_an_evening_is_what_one_would_have_built_then():
    market, signal = random_market(3, 120, 8)
    features = features_of(market, signal)
    evening = market.dates[80]
    then = build_dataset(
        market.upto(evening), replace(features, values=features.values[:81], dates=market.dates[:81]), 5
    )
    now = build_dataset(market, features, 5).upto(evening)
    assert_frame_equal(now.labels, then.labels)
    assert_frame_equal(now.ranks, then.ranks)
    assert now.matured.equals(then.matured)
    np.testing.assert_array_equal(now.features.values, then.features.values)


def test_training_for_the_holdout_ends_before_its_labels_begin(dataset):
    split = PLAN.splits(dataset)[FOLDS]
    last = dataset.matured[dataset.dates.get_loc(split.train[-1])]
    assert last < split.test[0]


def test_rolling_folds_forget_the_oldest_sessions(dataset):
    rolling = WalkForward(n_folds=3, embargo=0, holdout=0, kind="rolling", min_train=100)
    lengths = [len(split.train) for fold, split in rolling.splits(dataset).items() if fold != FINAL]
    assert lengths == [100, 100, 100]


def test_a_holdout_that_leaves_nothing_is_refused(dataset):
    with pytest.raises(ParameterError, match="holdout of 400"):
        WalkForward(n_folds=2, holdout=400).splits(dataset)


def test_the_plan_is_described_by_what_each_part_does(dataset):
    table = PLAN.describe(dataset).set_index("part")
    assert list(table.index) == ["fold 0", "fold 1", "fold 2", "holdout", "final fit"]
    assert table.loc["holdout", "test_start"] == dataset.dates[-HOLDOUT]
    assert PLAN.holdout_span(dataset) == f"{dataset.dates[-HOLDOUT]:%Y-%m-%d} to {dataset.dates[-1]:%Y-%m-%d}"
    assert WalkForward(holdout=0).holdout_span(dataset) is None


# ---- wherever it runs ----


@pytest.mark.parametrize("where", ["processes", "cluster"])
def test_the_engine_does_not_change_a_bit(trained, dataset, where, request):
    how = {"n_jobs": 2} if where == "processes" else {"engine": request.getfixturevalue("cluster")}
    again = train_candidates(dataset, CANDIDATES, PLAN, **how)
    for name in trained.models:
        assert_frame_equal(again.oos_scores[name], trained.oos_scores[name], check_exact=True)
        assert_frame_equal(again.holdout_scores[name], trained.holdout_scores[name], check_exact=True)
        expected = trained.models[name].predict(dataset.features)
        assert_frame_equal(again.models[name].predict(dataset.features), expected, check_exact=True)
    assert_frame_equal(again.trials, trained.trials, check_exact=True)
    assert_frame_equal(again.summary, trained.summary, check_exact=True)


# ---- the files ----


def test_scores_come_back_from_the_file_as_they_were(trained, tmp_path):
    stacked = stack_scores(trained.oos_scores)
    assert stacked.index.names == ["date", "symbol"]
    assert stacked.index.is_monotonic_increasing
    assert (stacked.dtypes == "float64").all()
    stacked.to_parquet(tmp_path / "scores.parquet")
    again = inputs.read_scores(tmp_path / "scores.parquet")
    assert list(again) == list(trained.oos_scores)
    for name, scores in trained.oos_scores.items():
        assert_frame_equal(again[name], scores, check_exact=True, check_names=False, check_freq=False)


def test_a_name_that_nobody_scored_has_no_row(trained, tmp_path):
    date, symbol = trained.oos_scores["leaves"].index[3], "S007"
    holes = {name: trained.oos_scores[name].copy() for name in ("leaves", "depth")}
    holes["leaves"].loc[date, "S008"] = np.nan  # one of the two still has a score
    for scores in holes.values():
        scores.loc[date, symbol] = np.nan
    stacked = stack_scores(holes)
    assert (date, symbol) not in stacked.index
    assert stacked.notna().any(axis=1).all()
    assert pd.isna(stacked.loc[(date, "S008"), "leaves"])
    assert np.isfinite(stacked.loc[(date, "S008"), "depth"])
    stacked.to_parquet(tmp_path / "scores.parquet")
    again = inputs.read_scores(tmp_path / "scores.parquet")["leaves"]
    assert again.loc[date, [symbol, "S008"]].isna().all()
