"""Tuning: trials are what the trainer would train, all are kept, and a killed study ends as if it had not been."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from openbook import metrics
from openbook.common.errors import ModelError, ParameterError, StorageError
from openbook.signals import optuna_storage, tuning
from openbook.signals.algorithms import ALGORITHMS
from openbook.signals.dataset import hold_out_last
from openbook.signals.learners import boost_lightgbm
from openbook.signals.models import Candidate, ModelTrainer, Tuning, define_candidates
from openbook.signals.tuning import COLUMNS, SPACES, RankJudge, tune
from support import environment
from support.signal_markets import planted_dataset

TRIALS = 9


def candidate(algorithm: str = "lightgbm", **changes) -> Candidate:
    settings = {"n_estimators": 60, "early_stopping": 10, "params": {"learning_rate": 0.1}} | changes
    return Candidate(name="tuned", algorithm=algorithm, **settings)


@pytest.fixture(scope="module")
def dataset():
    """400 dates, 40 names; the first of 5 features is worth something."""
    return planted_dataset()


@pytest.fixture(scope="module", params=["lightgbm", "xgboost"])
def algorithm(request):
    return request.param


@pytest.fixture(scope="module")
def tuned(dataset, algorithm):
    return tune(candidate(algorithm), dataset, dataset.dates, n_trials=TRIALS)


def by_trial(trials: pd.DataFrame) -> pd.DataFrame:
    return trials.groupby("number").agg({"state": "first", "params": "first", "trees": "first", "rank_ic": "mean"})


def inner_split(dataset, fraction=0.15):
    """Dates that trials learn from, and those that they are judged on."""
    used = dataset.dates[dataset.ranks.notna().any(axis=1).to_numpy()]
    end, start = hold_out_last(len(used), fraction, dataset.horizon)
    return used[:end], used[start:]


def test_the_ledger_has_every_trial_on_every_held_out_date(tuned, dataset):
    assert list(tuned.trials.columns) == COLUMNS
    _, judged = inner_split(dataset)
    for number, rows in tuned.trials.groupby("number"):
        assert pd.DatetimeIndex(rows["date"]).equals(judged), number
        assert rows["rank_ic"].notna().all()
    assert by_trial(tuned.trials).index.tolist() == list(range(TRIALS))
    assert set(tuned.trials["state"]) <= {"complete", "pruned"}


def test_the_candidates_own_settings_are_trial_0_and_the_winner_is_no_worse(tuned, algorithm):
    trials = by_trial(tuned.trials)
    own = {**ALGORITHMS[algorithm].defaults, "learning_rate": 0.1}
    first = json.loads(trials["params"][0])
    assert first == {name: own[name] for name in SPACES[algorithm]}
    assert trials["state"][0] == "complete"
    complete = trials[trials["state"] == "complete"]
    assert tuned.value == pytest.approx(complete["rank_ic"].max(), abs=1e-15)
    assert tuned.value >= complete["rank_ic"][0]


def test_the_winner_is_ready_to_be_trained_once(tuned, dataset, algorithm):
    trials = by_trial(tuned.trials)
    best = trials[trials["state"] == "complete"]["rank_ic"].idxmax()
    winner = tuned.candidate
    assert winner.params == json.loads(trials["params"][best])
    assert (winner.n_estimators, winner.early_stopping, winner.tuning) == (trials["trees"][best], None, None)
    assert (winner.name, winner.algorithm, winner.seed) == ("tuned", algorithm, 0)
    assert all(isinstance(winner.params[k], int) for k in SPACES[algorithm] if isinstance(own_type(algorithm, k), int))
    assert ModelTrainer(winner).train(dataset, dataset.dates).training.trees == trials["trees"][best]


def own_type(algorithm: str, name: str):
    return ALGORITHMS[algorithm].defaults[name]


def test_a_trial_is_exactly_the_model_that_the_trainer_trains(tuned, dataset, algorithm):
    """A slow twin: train each completed trial's settings with its trees on the inner training dates and score."""
    learned, judged = inner_split(dataset)
    trials = by_trial(tuned.trials)
    for number, row in trials[trials["state"] == "complete"].iterrows():
        alone = candidate(algorithm, params=json.loads(row["params"]), n_estimators=row["trees"], early_stopping=None)
        scores = ModelTrainer(alone).train(dataset, learned).predict(dataset.features_on(judged))
        expected = metrics.information_coefficient(scores, dataset.ranks.loc[judged])["rank_ic"]
        found = tuned.trials[tuned.trials["number"] == number].set_index("date")["rank_ic"]
        np.testing.assert_allclose(found, expected, atol=1e-12)
    trained = ModelTrainer(candidate(algorithm)).train(dataset, dataset.dates)
    assert trials["trees"][0] == trained.training.trees


def test_the_same_seed_gives_the_same_ledger_and_another_does_not(tuned, dataset, algorithm):
    again = tune(candidate(algorithm), dataset, dataset.dates, n_trials=TRIALS)
    assert_frame_equal(again.trials, tuned.trials, check_exact=True)
    assert again.candidate == tuned.candidate
    other = tune(candidate(algorithm, seed=1), dataset, dataset.dates, n_trials=2)
    assert by_trial(other.trials)["params"][1] != by_trial(tuned.trials)["params"][1]


def test_hopeless_trials_are_given_up_but_kept(dataset):
    """Many trials, few of them good: some are pruned, and their series stands in the ledger up to where they ended."""
    trials = tune(candidate(n_estimators=150), dataset, dataset.dates, n_trials=20).trials
    pruned = trials[trials["state"] == "pruned"]
    assert pruned["number"].nunique() >= 2
    assert (pruned["trees"] % tuning.REPORT_EVERY == 0).all()
    assert (pruned["trees"] >= optuna_storage.WARMUP).all()
    assert pruned["rank_ic"].notna().all()
    assert (pruned["number"] >= optuna_storage.PEERS).all()


def test_nothing_after_the_dates_is_looked_at(dataset):
    early = dataset.dates[:150]
    whole = tune(candidate(), dataset, early, n_trials=3)
    values = dataset.features.values.copy()
    values[150:] = -values[150:]
    ranks = dataset.ranks.copy()
    ranks.iloc[150:] *= -1
    changed = replace(dataset, features=replace(dataset.features, values=values), ranks=ranks)
    assert_frame_equal(tune(candidate(), changed, early, n_trials=3).trials, whole.trials, check_exact=True)
    assert whole.trials["date"].max() == early[-1]


# --- resuming ---------------------------------------------------------------------------------------------------------


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'tuning.db'}"


def test_a_larger_budget_goes_on_where_the_smaller_ended(dataset, tmp_path):
    how = {"storage": url_of(tmp_path), "study": "fold 2"}
    short = tune(candidate(), dataset, dataset.dates, n_trials=3, **how)
    long = tune(candidate(), dataset, dataset.dates, n_trials=7, **how)
    again = tune(candidate(), dataset, dataset.dates, n_trials=3, **how)
    straight = tune(candidate(), dataset, dataset.dates, n_trials=7)
    assert_frame_equal(long.trials, straight.trials, check_exact=True)
    assert_frame_equal(short.trials, again.trials, check_exact=True)
    assert_frame_equal(short.trials, long.trials[long.trials["number"] < 3], check_exact=True)
    assert (long.candidate, long.value) == (straight.candidate, straight.value)


def test_a_study_is_taken_up_for_identical_work_only(dataset, tmp_path):
    import optuna

    def studies():
        return len(optuna.get_all_study_names(url_of(tmp_path)))

    def run(one=None, data=dataset, dates=None):
        dates = data.dates if dates is None else dates
        tune(one or candidate(), data, dates, n_trials=1, storage=url_of(tmp_path), study="same")
        return studies()

    assert run() == 1
    assert run() == 1
    assert run(candidate(params={"learning_rate": 0.2})) == 2
    assert run(dates=dataset.dates[:-30]) == 3
    values = dataset.features.values.copy()
    values[3, 4, 1] += 1e-3
    assert run(data=replace(dataset, features=replace(dataset.features, values=values))) == 4
    ranks = dataset.ranks.copy()
    ranks.iloc[3] = ranks.iloc[3].to_numpy()[::-1]
    assert run(data=replace(dataset, ranks=ranks)) == 5


KILLED = """
import os, signal
from dataclasses import replace
from signals.test_tuning import candidate, planted_dataset
from openbook.signals import algorithms, learners, tuning
import optuna

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

fits = 0
def boost(binned, recipe, watch):
    global fits
    fits += 1
    def deadly(trees, predictions):
        stop = watch(trees, predictions)
        return die() if (fits, trees) == ({fit}, 15) else stop
    return learners.boost_lightgbm(binned, recipe, deadly)

algorithms.ALGORITHMS["lightgbm"] = replace(algorithms.ALGORITHMS["lightgbm"], boost=boost)
tell, told = optuna.Study.tell, 0
def last_words(self, *args, **kwargs):
    global told
    told += 1
    return die() if told == {tell} else tell(self, *args, **kwargs)
optuna.Study.tell = last_words
dataset = planted_dataset()
tuning.tune(candidate(), dataset, dataset.dates, n_trials={trials}, storage={url!r})
"""


@pytest.mark.parametrize(("fit", "tell"), [pytest.param(1, 0, marks=pytest.mark.long), (4, 0), (0, 3)])
def test_a_killed_study_ends_as_if_it_had_not_been(dataset, tmp_path, fit, tell):
    """kill −9 in the middle of the first trial, in the middle of the fourth, and before the third got its verdict."""
    values = {"url": url_of(tmp_path), "trials": 6}
    program = KILLED.format(fit=fit, tell=tell, **values)
    died = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=False
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    resumed = tune(candidate(), dataset, dataset.dates, n_trials=6, storage=url_of(tmp_path))
    straight = tune(candidate(), dataset, dataset.dates, n_trials=6)
    assert_frame_equal(resumed.trials, straight.trials, check_exact=True)
    assert (resumed.candidate, resumed.value) == (straight.candidate, straight.value)


BESIDE = """
import sys, time
from signals.test_tuning import candidate, planted_dataset
from openbook.signals.tuning import tune
dataset = planted_dataset()
print("ready", flush=True)
sys.stdin.readline()
tuned = tune(candidate(), dataset, dataset.dates, n_trials=4, storage={url!r}, study=sys.argv[1])
print(repr(tuned.value), flush=True)
"""


def test_two_studies_at_once_on_a_fresh_file(dataset, tmp_path):
    program = BESIDE.format(url=url_of(tmp_path))
    pipes = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "env": environment(),
    }
    running = [subprocess.Popen([sys.executable, "-c", program, f"fold {i}"], **pipes) for i in range(2)]
    for one in running:
        assert one.stdout.readline() == "ready\n", one.stderr.read()
    for one in running:  # all at once
        one.stdin.write("go\n")
        one.stdin.flush()
    ends = [one.communicate(timeout=120) for one in running]
    expected = tune(candidate(), dataset, dataset.dates, n_trials=4).value
    assert [one.returncode for one in running] == [0, 0], ends
    assert [float(out) for out, _ in ends] == [expected] * 2


@pytest.mark.parametrize("name", ["50% off", "what?", "a{b}c", "{}", "x#y", "a%20b", "plain"])
def test_a_study_lies_where_its_folder_is_whatever_that_is_called(tmp_path, name):
    """Before: elsewhere, or an error of Optuna or of its database."""
    folder = tmp_path / "desk" / name
    folder.mkdir(parents=True)
    for tried in (1, 2):  # made, and taken up again
        study = optuna_storage.open_study(f"sqlite:///{folder / 'studies.db'}", "one")
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
        assert len(study.trials) == tried
    assert [path.relative_to(folder) for path in folder.iterdir()] == [Path("studies.db")]
    assert [path.name for path in folder.parent.iterdir()] == [name]


def test_a_storage_that_cannot_be_opened_says_so(dataset, tmp_path):
    with pytest.raises(StorageError, match="cannot open the tuning storage"):
        tune(candidate(), dataset, dataset.dates, n_trials=1, storage=f"sqlite:///{tmp_path}/missing/tuning.db")
    with pytest.raises(StorageError, match=r"postgresql://\*\*\*@desk/db") as told:
        tune(candidate(), dataset, dataset.dates, n_trials=1, storage="postgresql://me:geheim@desk/db")
    assert "geheim" not in str(told.value)
    with pytest.raises(StorageError, match="is not a tuning storage"):
        tune(candidate(), dataset, dataset.dates, n_trials=1, storage=str(tmp_path))


# --- failures and spaces ----------------------------------------------------------------------------------------------


def fail_with_fine_leaves(binned, recipe, watch):
    if recipe.params["min_data_in_leaf"] < 150:
        raise MemoryError("the leaves are too fine for this machine")
    return boost_lightgbm(binned, recipe, watch)


def test_a_trial_that_raises_is_kept_with_its_settings(dataset, monkeypatch, tmp_path):
    monkeypatch.setitem(ALGORITHMS, "lightgbm", replace(ALGORITHMS["lightgbm"], boost=fail_with_fine_leaves))
    tuned = tune(candidate(), dataset, dataset.dates, n_trials=TRIALS, storage=url_of(tmp_path))
    failed = tuned.trials[tuned.trials["state"] == "failed"]
    assert len(failed) >= 2
    assert failed["number"].is_unique
    assert failed["date"].isna().all()
    assert failed["rank_ic"].isna().all()
    assert all(json.loads(params)["min_data_in_leaf"] < 150 for params in failed["params"])
    assert tuned.trials["number"].nunique() == TRIALS
    assert tuned.candidate.params["min_data_in_leaf"] >= 150
    again = tune(candidate(), dataset, dataset.dates, n_trials=TRIALS, storage=url_of(tmp_path))
    assert_frame_equal(again.trials, tuned.trials, check_exact=True)  # failures count, and are not run again


def test_no_trial_that_can_be_judged_is_an_error(dataset):
    stump = candidate(params={"min_data_in_leaf": 1_000_000}, tuning=Tuning(n_trials=1))
    with pytest.raises(ModelError, match=r"every tuning trial of tuned failed: .*constant"):
        tune(stump, dataset, dataset.dates, n_trials=1)


def test_a_forest_is_tuned_too_without_trees_to_watch(dataset):
    forest = candidate("random_forest", n_estimators=30, params={"min_child_weight": 50.0})
    tuned = tune(forest, dataset, dataset.dates, n_trials=3)
    trials = by_trial(tuned.trials)
    assert set(trials["state"]) == {"complete"}
    assert set(trials["trees"]) == {30}
    learned, judged = inner_split(dataset)
    model = ModelTrainer(tuned.candidate).train(dataset, learned)
    expected = metrics.information_coefficient(model.predict(dataset.features_on(judged)), dataset.ranks.loc[judged])
    assert tuned.value == pytest.approx(expected["rank_ic"].mean(), abs=1e-12)


def test_without_early_stopping_every_trial_has_all_trees(dataset):
    trials = tune(candidate(early_stopping=None, n_estimators=30), dataset, dataset.dates, n_trials=3).trials
    assert set(trials["trees"]) == {30}


def test_the_space_may_be_changed_and_always_holds_the_candidates_own(dataset):
    narrow = Tuning(n_trials=4, space={"max_depth": (2, 4, False)})
    own = candidate(tuning=narrow, params={"learning_rate": 0.9, "max_depth": 7})
    tuned = tune(own, dataset, dataset.dates, n_trials=4)
    tried = [json.loads(text) for text in by_trial(tuned.trials)["params"]]
    assert tried[0]["learning_rate"] == 0.9
    assert tried[0]["max_depth"] == 7
    assert all(2 <= one["max_depth"] <= 7 for one in tried)
    assert all(set(one) == {*SPACES["lightgbm"], "max_depth"} for one in tried)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"lambda_l1": (0.0, 1.0, True)}, "lambda_l1 from 0.0 to 1.0 cannot be searched"),
        ({"max_bin": (15, 31, False)}, "max_bin cannot be searched: rows are binned once"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(dataset, space, message):
    own = candidate(tuning=Tuning(n_trials=1, space=space))
    with pytest.raises(ParameterError, match=message):
        tune(own, dataset, dataset.dates, n_trials=1)


@pytest.mark.parametrize("space", [{"leaves": [1, 2, False]}, {"max_depth": [6, 6, False]}])
def test_a_space_without_a_parameter_or_a_range_is_refused_at_the_door(space):
    entry = {"name": "tuned", "algorithm": "lightgbm", "tuning": {"n_trials": 1, "space": space}}
    with pytest.raises(ParameterError, match=f"cannot search '{next(iter(space))}' from"):
        define_candidates([entry])


def test_no_trials_is_no_tuning(dataset):
    with pytest.raises(ParameterError, match="at least 1 trial"):
        tune(candidate(), dataset, dataset.dates, n_trials=0)


@pytest.mark.parametrize("name", sorted(SPACES))
def test_every_space_fits_its_algorithm(name):
    defaults = ALGORITHMS[name].defaults
    for parameter, (low, high, log) in SPACES[name].items():
        assert low < high
        assert low <= defaults[parameter] <= high
        assert not log or low > 0
        assert not isinstance(defaults[parameter], int) or (isinstance(low, int) and isinstance(high, int))


def test_the_judge_agrees_with_the_metric_on_ties_gaps_and_short_dates():
    rng = np.random.default_rng(0)
    per_date = np.array([40, 17, 2, 1, 40, 3])
    y, scores = rng.random(per_date.sum()), rng.integers(0, 5, per_date.sum()).astype(float)
    scores[57 + 3 : 57 + 3 + 40] = 1.0  # the fifth date: all equal
    table = {"y": np.full((6, 40), np.nan), "scores": np.full((6, 40), np.nan)}
    seen = np.arange(40) < per_date[:, None]
    table["y"][seen], table["scores"][seen] = y, scores
    expected = metrics.information_coefficient(pd.DataFrame(table["scores"]), pd.DataFrame(table["y"]))["rank_ic"]
    np.testing.assert_allclose(RankJudge.of(y, per_date).daily(scores), expected, atol=1e-14)
    assert expected.isna().tolist() == [False, False, True, True, True, False]


def test_the_studies_of_this_process_left_no_file(tmp_path):
    """In memory unless a storage is named."""
    assert os.listdir(tmp_path) == []
