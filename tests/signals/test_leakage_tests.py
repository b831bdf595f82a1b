"""Negative controls: quiet on a healthy training, loud on a broken split, a broken evaluation, or a leak."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from openbook import metrics
from openbook.common.errors import DataError
from openbook.signals.dataset import Split, build_dataset, create_time_based_split
from openbook.signals.leakage_tests import (
    STANDARD_ERRORS,
    permute_dates,
    plausible,
    require_controls,
    run_controls,
    suspect_leaks,
)
from openbook.signals.models import Candidate, ModelTrainer
from support.signal_markets import features_of, names, planted_dataset, random_market, sessions

HORIZON = 5
SMALL = Candidate(name="small", algorithm="lightgbm", n_estimators=20, early_stopping=None)


@pytest.fixture(scope="module")
def dataset():
    """400 dates, 40 names; the first of 5 features is worth something."""
    return planted_dataset()


@pytest.fixture(scope="module")
def oos_scores(dataset):
    return {"small": walk_forward(dataset)}


def walk_forward(dataset) -> pd.DataFrame:
    """Out-of-sample scores of three folds."""
    folds = [split_of(dataset, fold) for fold in range(3)]
    return pd.concat([ModelTrainer(SMALL).train(dataset, f.train).predict(dataset.features_on(f.test)) for f in folds])


def split_of(dataset, fold: int = 2) -> Split:
    return create_time_based_split(dataset.dates, fold, 3, horizon=dataset.horizon)


def found(table: pd.DataFrame, control: str) -> pd.Series:
    return table.set_index("control").loc[control]


def slow_tables(seed: int, *, n_dates=250, n_symbols=60, factors=3) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Slow scores with a taste for some names, and overlapping labels that move in sectors: no skill at all."""
    rng = np.random.default_rng(seed)
    loading = rng.standard_normal((factors, n_symbols))
    daily = rng.standard_normal((n_dates + 20, factors)) @ loading + rng.standard_normal((n_dates + 20, n_symbols))
    labels = pd.DataFrame(daily).rolling(20).sum().to_numpy()[20:]
    mood = np.cumsum(rng.standard_normal((n_dates, factors)), axis=0) / 5
    scores = mood @ loading + 0.3 * rng.standard_normal((n_dates, n_symbols)) + 2 * rng.standard_normal(n_symbols)
    shape = {"index": sessions(n_dates), "columns": names(n_symbols)}
    return pd.DataFrame(scores, **shape), pd.DataFrame(labels, **shape)


def test_a_healthy_training_passes_every_control(dataset, oos_scores):
    table = run_controls(dataset, split_of(dataset), oos_scores, max_ic=0.5)
    assert list(table.columns) == ["control", "expected", "found", "limit", "ok"]
    controls = [
        "purged split",
        "shuffled labels",
        "injected leak",
        "rank IC plausible: small",
        "date-permuted scores: small",
    ]
    assert table["control"].tolist() == controls
    assert table["ok"].all(), table.to_string()
    require_controls(table)


def test_the_same_seed_gives_the_same_table_and_leaves_the_dataset_alone(dataset, oos_scores):
    before = dataset.features.values.copy(), dataset.ranks.copy()
    first, again = (run_controls(dataset, split_of(dataset), oos_scores, seed=3) for _ in range(2))
    assert_frame_equal(first, again, check_exact=True)
    np.testing.assert_array_equal(dataset.features.values, before[0])
    assert_frame_equal(dataset.ranks, before[1], check_exact=True)


def test_training_rows_in_the_test_block_are_found(dataset):
    honest = split_of(dataset)
    table = run_controls(dataset, Split(dataset.dates, honest.test), {})
    assert not found(table, "shuffled labels")["ok"]
    assert found(table, "shuffled labels")["found"] > 0.2  # learned by heart
    with pytest.raises(DataError, match=r"shuffled labels: .*training rows are in the test block"):
        require_controls(table)


def test_a_split_without_its_purge_is_found(dataset):
    honest = split_of(dataset)
    start = dataset.dates.get_loc(honest.test[0])
    for missing in range(1, HORIZON + 2):
        table = run_controls(dataset, Split(dataset.dates[: start - HORIZON - 1 + missing], honest.test), {})
        assert found(table, "purged split")["found"] == missing
        assert not found(table, "purged split")["ok"]
    assert found(run_controls(dataset, honest, {}), "purged split")["found"] == 0


def test_a_feature_that_knows_the_future_makes_its_candidate_suspect():
    market, _ = random_market(1, 300, 40)
    labels = build_dataset(market, features_of(market, np.zeros(market.close.shape)), HORIZON).labels
    noise = np.random.default_rng(5).standard_normal((2, *labels.shape))
    leaking = build_dataset(market, features_of(market, labels.fillna(0) / 0.045 + 2 * noise[0], noise[1]), HORIZON)
    scores = {"small": walk_forward(leaking)}
    table = run_controls(leaking, split_of(leaking), scores)
    assert found(table, "rank IC plausible: small")["found"] > 0.3
    with pytest.raises(DataError, match=r"1 of 5 .*rank IC plausible: small.* limit 0.0800 .*raise max_ic"):
        require_controls(table)
    require_controls(run_controls(leaking, split_of(leaking), scores, max_ic=0.6))  # "proven to be real"


@pytest.mark.parametrize("n_symbols", [2, 3, 5])
def test_a_handful_of_names_is_not_judged_and_not_accused(n_symbols):
    """With 3 names a rank IC is ±1, ±0.5 (or 0): over 200 dates, 33 apart, luck alone reaches 3·√(0.5/33) = 0.37."""
    small = planted_dataset(400, n_symbols, effect=0.0)
    table = run_controls(small, split_of(small), {"small": walk_forward(small)})
    require_controls(table)
    assert found(table, "rank IC plausible: small")["expected"].startswith("not tested")


def test_luck_of_few_names_by_hand():
    """3 names, 60 dates, horizon 5: a date's variance is 1/2, ten dates count, the standard error √(0.5/10) = 0.2236.

    Luck reaches 3 × 0.2236 = 0.67, so 0.08 judges nothing; 0.08 + 5 × 0.2236 = 1.198 nothing can exceed. With 300
    dates it is 0.1, 0.3 and 0.58: perfect foresight is beyond luck, and is accused.
    """
    rng = np.random.default_rng(0)
    for n_dates, limit, foresight in ((60, 1.1980340, True), (300, 0.58, False)):
        labels = pd.DataFrame(rng.standard_normal((n_dates, 3)), sessions(n_dates), names(3))
        row = plausible("few", labels, labels, 0.08, 5)
        assert row["limit"] == pytest.approx(limit)
        assert row["found"] == pytest.approx(1.0)
        assert row["ok"] == foresight
        assert "with 3 names on" in row["expected"]
    many = pd.DataFrame(rng.standard_normal((300, 60)), sessions(300), names(60))
    assert not plausible("many", many, many, 0.08, 5)["ok"]


def test_a_limit_that_catches_no_leak_is_no_limit(dataset):
    with pytest.raises(DataError, match=r"injected leak: .*lower max_ic"):
        require_controls(run_controls(dataset, split_of(dataset), {}, max_ic=0.95))


def test_suspicion_starts_above_the_limit_and_nan_is_suspect():
    rank_ics = {"fine": 0.03, "at": 0.08, "above": 0.0801, "unknown": np.nan, "negative": -0.5}
    assert suspect_leaks(rank_ics, 0.08) == ["above", "unknown"]
    assert suspect_leaks({}) == []


def test_an_evaluation_that_looks_at_the_labels_is_found():
    def best_of_three_days(scores, labels):
        """Aligns each date with whichever neighbor fits best: what a careless merge_asof on labels does."""
        shifted = [metrics.information_coefficient(scores.shift(lag), labels) for lag in (-1, 0, 1)]
        return pd.concat([table[["rank_ic"]] for table in shifted]).groupby(level=0).max()

    scores, labels = slow_tables(0)
    assert permute_dates("honest", scores, labels, seed=0)["ok"]
    row = permute_dates("peeking", scores, labels, seed=0, evaluate=best_of_three_days)
    assert not row["ok"]
    assert row["found"] > row["limit"] > 0


def test_liking_what_always_rises_is_no_fault():
    scores, labels = slow_tables(1)
    always = pd.Series(np.linspace(-9, 9, scores.shape[1]), index=scores.columns)
    assert metrics.information_coefficient(scores + always, labels + always)["rank_ic"].mean() > 0.5
    assert permute_dates("tilted", scores + always, labels + always, seed=0)["ok"]


def test_scores_that_cannot_be_judged_fail():
    scores, labels = slow_tables(2)
    row = permute_dates("constant", scores * 0, labels, seed=0)
    assert np.isnan(row["found"])
    assert not row["ok"]
    table = pd.DataFrame([row])
    with pytest.raises(DataError, match="date-permuted scores: constant: found nan"):
        require_controls(table)


def test_names_without_scores_or_labels_are_left_out():
    scores, labels = slow_tables(3)
    holes = np.random.default_rng(0).random(scores.shape) < 0.2
    labels.iloc[-30:] = np.nan
    row = permute_dates("holes", scores.mask(holes), labels, seed=0)
    assert row["ok"]
    assert np.isfinite(row["found"])


def test_a_split_without_labels_is_refused(dataset):
    unlabeled = replace(dataset, ranks=dataset.ranks * np.nan)
    with pytest.raises(DataError, match="no labeled date"):
        run_controls(unlabeled, split_of(dataset), {})


@pytest.mark.long
def test_false_alarms_are_as_rare_as_five_standard_errors_promise():
    """Over 300 worthless, slow, tilted scores on overlapping labels with sectors the deviation has no bias and about
    the width that the standard error says (1.1 here, 1.2 at worst), so an alarm at 5 comes once in 30,000 judgments
    or less often."""
    deals = [permute_dates("noise", *slow_tables(seed), seed=seed) for seed in range(300)]
    errors = np.array([row["found"] / row["limit"] * STANDARD_ERRORS for row in deals])
    assert abs(errors.mean()) < 3 / np.sqrt(len(errors))
    assert 0.85 < errors.std() < 1.25
    assert np.abs(errors).max() < 4.5


@pytest.mark.long
def test_shuffled_labels_raise_no_false_alarm():
    """The same for shuffled labels, over 60 deals on one market."""
    dataset = planted_dataset()
    tables = [run_controls(dataset, split_of(dataset), {}, seed=seed) for seed in range(60)]
    rows = [found(table, "shuffled labels") for table in tables]
    errors = np.array([row["found"] / row["limit"] * STANDARD_ERRORS for row in rows])
    assert abs(errors.mean()) < 3 / np.sqrt(len(errors))
    assert 0.7 < errors.std() < 1.3
    assert np.abs(errors).max() < 4
