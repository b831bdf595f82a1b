"""Do tonight's inputs look like those before? By hand, by scipy, by scikit-learn, and on planted drift."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.tree import DecisionTreeClassifier

from openbook import metrics
from openbook.common.errors import DataError, ParameterError
from openbook.metrics import drift

SAMPLES = st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0, np.nan]), min_size=5, max_size=60)


def ranked(sessions: int, *, names: int = 60, number: int = 5, bent: int = 0, seed: int = 0) -> pd.DataFrame:
    """Features ranked within their date to ±0.5, slow in time; in the last `bent` sessions the first two agree."""
    rng = np.random.default_rng(seed)
    raw = 0.9 * rng.standard_normal((names, number)) + 0.44 * rng.standard_normal((sessions, names, number))
    if bent:
        raw[-bent:, :, 1] = raw[-bent:, :, 0] + 0.3 * raw[-bent:, :, 1]
    values = raw.argsort(axis=1).argsort(axis=1) / (names - 1) - 0.5
    dates = pd.bdate_range("2024-01-01", periods=sessions)
    index = pd.MultiIndex.from_product([dates, [f"S{i:02d}" for i in range(names)]], names=["date", "symbol"])
    return pd.DataFrame(values.reshape(-1, number), index=index, columns=list("abcde"[:number])).astype("float32")


def last(features: pd.DataFrame, sessions: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The sessions before the last ones, and those."""
    days = features.index.get_level_values("date")
    start = days.unique()[-sessions]
    return features[days < start], features[days >= start]


# --- one column -------------------------------------------------------------------------------------------------------


def test_stability_index_by_hand():
    reference, recent = [1, 2, 3, 4], [1, 1, 1, 4]
    # two bins, up to 2 and above: shares 1/2, 1/2 against 3/4, 1/4
    by_hand = (0.75 - 0.5) * np.log(0.75 / 0.5) + (0.25 - 0.5) * np.log(0.25 / 0.5)
    assert metrics.population_stability_index(reference, recent, bins=2) == pytest.approx(by_hand)


def test_missing_values_are_a_bin_of_their_own():
    reference, recent = [1, 1, 2, 2, np.nan], [1, np.nan, 2, np.nan, np.nan]
    shares = [(0.4, 0.2), (0.4, 0.2), (0.2, 0.6)]
    by_hand = sum((q - p) * np.log(q / p) for p, q in shares)
    assert metrics.population_stability_index(reference, recent, bins=2) == pytest.approx(by_hand)


def test_an_empty_bin_counts_as_the_floor():
    by_hand = (1 - 0.5) * np.log(1 / 0.5) + (1e-4 - 0.5) * np.log(1e-4 / 0.5)
    assert metrics.population_stability_index([1, 2], [1, 1], bins=2) == pytest.approx(by_hand)


@given(SAMPLES, SAMPLES)
def test_stability_index_is_zero_only_for_equal_shares(reference, recent):
    found = metrics.population_stability_index(reference, recent)
    if np.isnan(reference).all():
        assert np.isnan(found)
        return
    known = np.array(reference)[~np.isnan(reference)]
    edges = np.unique(np.quantile(known, np.arange(1, 10) / 10, method="inverted_cdf"))
    bins = [np.histogram(x, [-np.inf, *np.nextafter(edges, np.inf), np.inf])[0] / len(x) for x in (reference, recent)]
    assert (found == 0) == np.array_equal(*bins)
    assert found >= 0
    assert metrics.population_stability_index(reference, reference * 3) == 0


@given(SAMPLES, SAMPLES)
def test_kolmogorov_smirnov_is_that_of_scipy(reference, recent):
    before, now = (np.array(x)[~np.isnan(x)] for x in (reference, recent))
    found = metrics.kolmogorov_smirnov(reference, recent)
    if not (len(before) and len(now)):
        assert np.isnan(found)
    else:
        assert found == pytest.approx(stats.ks_2samp(before, now, method="asymp").statistic, abs=1e-12)


def test_nothing_to_compare_is_undefined():
    assert np.isnan(metrics.population_stability_index([], [1.0]))
    assert np.isnan(metrics.population_stability_index([1.0], []))
    with pytest.raises(ParameterError, match="bins"):
        metrics.population_stability_index([1.0], [1.0], bins=1)


def test_stability_index_without_drift_is_as_large_as_expected():
    rng = np.random.default_rng(0)
    found = [metrics.population_stability_index(rng.random(1000), rng.random(500)) for _ in range(400)]
    expected = 9 * (1 / 1000 + 1 / 500)
    assert np.mean(found) == pytest.approx(expected, abs=4 * expected * np.sqrt(2 / 9) / np.sqrt(400))


def test_ranked_features_hide_their_levels_and_show_ties_and_gaps():
    features = ranked(60)
    before, now = last(features, 20)
    assert metrics.column_drift(before, now)["psi"].max() < 1e-3
    frozen = now.assign(b=0.0, c=now["c"].where(np.arange(len(now)) % 3 > 0))
    table = metrics.column_drift(before, frozen)
    assert table.loc["b", "psi"] > 1
    assert table.loc["b", "ks"] == pytest.approx(0.5, abs=0.02)
    assert table.loc["c", ["missing_before", "missing_now"]].tolist() == pytest.approx([0, 1 / 3], abs=1e-3)
    assert table.loc["c", "psi"] > 0.25
    assert table.loc["a", "psi"] < 1e-3


def test_other_columns_are_refused():
    features = ranked(10)
    with pytest.raises(DataError, match=r"differ in \['b'\]"):
        metrics.column_drift(features, features.drop(columns="b"))


# --- how features go together -----------------------------------------------------------------------------------------


def test_discriminant_is_the_likelihood_ratio_of_scipy(monkeypatch):
    monkeypatch.setattr(drift, "SHRINKAGE", 0.0)
    rng = np.random.default_rng(0)
    old, new = rng.standard_normal((300, 4)), rng.standard_normal((200, 4)) @ rng.standard_normal((4, 4)) + 0.3
    (mine,) = drift._discriminant(old, new, new)
    before, now = (stats.multivariate_normal(rows.mean(axis=0), np.cov(rows, rowvar=False)) for rows in (old, new))
    gap = 0.5 * mine - (now.logpdf(new) - before.logpdf(new))
    np.testing.assert_allclose(gap, gap[0], atol=1e-9)


def test_domain_classifier_is_as_good_as_scikit_learns(monkeypatch):
    monkeypatch.setattr(drift, "SHRINKAGE", 0.0)
    before, now = last(ranked(80, bent=20), 20)
    rows = pd.concat([before, now])
    theirs = cross_val_score(
        QuadraticDiscriminantAnalysis(priors=[0.5, 0.5]),
        rows.to_numpy("float64"),
        np.arange(len(rows)) >= len(before),
        groups=rows.index.get_level_values("symbol"),
        cv=GroupKFold(5),
        scoring="roc_auc",
    )
    assert metrics.domain_auc(before, now) == pytest.approx(theirs.mean(), abs=0.01)


def test_area_under_the_curve_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    old, new = rng.standard_normal(80).round(1), rng.standard_normal(50).round(1) + 0.5
    assert drift._auc(old, new) == pytest.approx(roc_auc_score(np.r_[np.zeros(80), np.ones(50)], np.r_[old, new]))


def test_domain_classifier_finds_features_that_go_together_otherwise():
    calm, bent = ranked(80), ranked(80, bent=20)
    assert abs(metrics.domain_auc(*last(calm, 20)) - 0.5) < 0.05
    assert metrics.domain_auc(*last(bent, 20)) > 0.75
    assert metrics.domain_auc(*last(bent, 20)) == metrics.domain_auc(*last(bent, 20))  # same seed, same number


def test_lines_and_small_trees_see_nothing_in_ranks():
    """Why the classifier is a quadratic one: the planted drift leaves each feature's spread alone."""
    before, now = last(ranked(80, bent=20), 20)
    rows, recent = pd.concat([before, now]), np.r_[np.zeros(len(before)), np.ones(len(now))]
    groups = rows.index.get_level_values("symbol")
    for blind in (LogisticRegression(), DecisionTreeClassifier(max_depth=1, random_state=0)):
        found = cross_val_score(blind, rows, recent, groups=groups, cv=GroupKFold(5), scoring="roc_auc")
        assert found.mean() < 0.53  # ranks add up to nothing: what some names gain, those left out of a fold lose


def test_domain_classifier_does_not_recognise_names():
    """Features that never move in time: every recent row is in the reference too, by name."""
    still = ranked(1, names=100)
    days = pd.bdate_range("2024-01-01", periods=40)
    features = pd.concat({day: still.droplevel("date") for day in days}, names=["date"])
    assert metrics.domain_auc(*last(features, 10)) == pytest.approx(0.5, abs=1e-9)


def test_too_little_to_tell_apart_is_undefined():
    features = ranked(6, names=3)
    assert np.isnan(metrics.domain_auc(*last(features, 1)))
    with pytest.raises(ParameterError, match="folds"):
        metrics.domain_auc(features, features, folds=1)


def test_domain_history_ends_tonight_and_knows_no_tomorrow():
    features = ranked(120, bent=20)
    found = metrics.domain_history(features, 20)
    dates = features.index.unique("date")
    assert found.index.tolist() == [dates[i] for i in (59, 79, 99, 119)]
    assert found.iloc[-1] > 0.75
    assert found.iloc[:-1].max() < 0.6
    earlier, _ = last(features, 20)
    pd.testing.assert_series_equal(metrics.domain_history(earlier, 20), found.iloc[:-1])
    assert metrics.domain_history(last(features, 70)[0], 20).empty


def test_structure_drift_is_the_distance_from_the_mean_correlation():
    features = ranked(30)
    found = metrics.structure_drift(features, 20)
    matrices = [day.corr().to_numpy()[np.triu_indices(5, 1)] for _, day in features.groupby("date")]
    by_hand = np.sqrt(np.mean((matrices[25] - np.mean(matrices[5:25], axis=0)) ** 2))
    assert found.iloc[25] == pytest.approx(by_hand, rel=1e-6)
    assert found.iloc[:20].isna().all()
    pd.testing.assert_series_equal(metrics.structure_drift(last(features, 5)[0], 20), found.iloc[:25])


def test_structure_drift_finds_features_that_go_together_otherwise():
    found = metrics.structure_drift(ranked(100, bent=1), 40)
    assert found.iloc[-1] > 2 * found.iloc[:-1].max()
    assert metrics.structure_drift(ranked(50, number=1), 40).isna().all()


def test_a_frozen_feature_correlates_with_nothing():
    features = ranked(30).assign(b=np.float32(0.0))
    features.loc[features.index[:7], "c"] = np.nan
    assert metrics.structure_drift(features, 20).iloc[20:].notna().all()
    assert np.isfinite(metrics.domain_auc(*last(features, 5)))


def test_names_out_of_distribution():
    reference, tonight = last(ranked(60, number=3), 1)
    pair = 0.5 * np.array([1.0, -1.0])
    reference = reference.assign(b=(0.9 * reference["a"] + 0.1 * reference["b"]).astype("float32"))
    tonight = tonight.assign(b=(0.9 * tonight["a"] + 0.1 * tonight["b"]).astype("float32"))
    usual = metrics.out_of_distribution(reference, tonight)
    assert usual.share <= 0.05
    tonight.iloc[7, :2] = pair  # high in one, low in the other, where both always agreed; neither is beyond its range
    found = metrics.out_of_distribution(reference, tonight)
    assert found.names[0] == "S07"
    assert found.share > usual.share
    assert found.share == len(found.names) / len(tonight)


def test_the_expected_share_of_reference_rows_is_out_of_distribution():
    reference, _ = last(ranked(60, names=100), 1)
    shares = [metrics.out_of_distribution(reference, day, expected=0.05).share for _, day in reference.groupby("date")]
    assert np.mean(shares) == pytest.approx(0.05, abs=1e-3)
    assert metrics.out_of_distribution(reference, reference.iloc[:100], expected=0.05).usual_high == pytest.approx(
        np.quantile(shares, 0.95)
    )


def test_names_without_features_are_no_names():
    reference, tonight = last(ranked(30), 1)
    found = metrics.out_of_distribution(reference, tonight * np.nan)
    assert np.isnan([found.share, found.usual_high]).all()
    assert found.names == ()
    half = tonight.copy()
    half.iloc[30:] = np.nan
    assert metrics.out_of_distribution(reference, half).share == pytest.approx(
        metrics.out_of_distribution(reference, tonight.iloc[:30]).share
    )
    with pytest.raises(ParameterError, match="expected"):
        metrics.out_of_distribution(reference, tonight, expected=0.0)
