"""Rules that call a model into question: by hand, by statsmodels, by textbooks, and by slow twins."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from alphalens.performance import factor_information_coefficient, factor_rank_autocorrelation, mean_return_by_quantile
from alphalens.utils import quantize_factor
from scipy import stats

from openbook import metrics
from openbook.common.errors import ParameterError
from openbook.metrics import Cusum, cusum, cusum_run_length, drift_false_alarm, is_drifting, overlapping_ics

DATES = pd.bdate_range("2024-01-01", periods=90)
SYMBOLS = [f"S{i:02d}" for i in range(40)]
TEXTBOOK = Cusum(allowance=0.5, threshold=5.0)


@pytest.fixture
def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores with some skill and the labels that followed, dates × symbols, without ties or holes."""
    rng = np.random.default_rng(1)
    scores = pd.DataFrame(rng.standard_normal((90, 40)), index=DATES, columns=SYMBOLS)
    return scores, 0.02 * (0.2 * scores + rng.standard_normal((90, 40)))


@pytest.fixture
def factor_data(tables) -> pd.DataFrame:
    """The same as alphalens wants it."""
    scores, labels = tables
    data = pd.DataFrame({"factor": scores.stack(), "1D": labels.stack()}).rename_axis(["date", "asset"])
    return data.assign(factor_quantile=quantize_factor(data, quantiles=5))


def ics(values) -> pd.Series:
    """Rank ICs by signal date."""
    return pd.Series(values, index=pd.bdate_range("2024-01-01", periods=len(values)), dtype="float64")


# --- alphalens and statsmodels ----------------------------------------------------------------------------------------


def test_rank_ic_is_alphalens_information_coefficient(tables, factor_data):
    theirs = factor_information_coefficient(factor_data)["1D"]
    np.testing.assert_allclose(metrics.information_coefficient(*tables)["rank_ic"], theirs, rtol=1e-12)


def test_quantile_returns_are_those_of_alphalens(tables, factor_data):
    theirs, _ = mean_return_by_quantile(factor_data, by_date=True, demeaned=False)
    theirs = theirs["1D"].unstack("factor_quantile")
    np.testing.assert_allclose(metrics.quantile_returns_by_date(*tables, 5), theirs, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("lag", [1, 5])
def test_score_autocorrelation_is_that_of_alphalens(tables, factor_data, lag):
    theirs = factor_rank_autocorrelation(factor_data, period=lag)
    np.testing.assert_allclose(metrics.score_autocorrelation(tables[0], lag), theirs, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("lags", [0, 1, 5, 21])
def test_newey_west_error_is_that_of_statsmodels(lags):
    x = 0.03 + 0.1 * overlapping_ics(1, 120, 5, seed=3)[0]
    fit = sm.OLS(x, np.ones(len(x))).fit(cov_type="HAC", cov_kwds={"maxlags": lags})
    assert metrics.newey_west_error(x, lags) == pytest.approx(fit.bse[0], rel=1e-12)
    assert metrics.newey_west_t(x, lags) == pytest.approx(fit.tvalues[0], rel=1e-12)


def test_newey_west_error_of_too_little_is_undefined():
    assert np.isnan(metrics.newey_west_error([0.1], 1))
    assert np.isnan(metrics.newey_west_error([0.1, 0.1, 0.1], 1))
    with pytest.raises(ParameterError, match="lags"):
        metrics.newey_west_error([0.1, 0.2], -1)


def test_rolling_ic_is_the_mean_and_error_of_each_window():
    series = ics(0.03 + 0.1 * np.random.default_rng(0).standard_normal(60))
    series.iloc[30] = np.nan
    table = metrics.rolling_ic(series, 20, 5)
    assert table.iloc[:19, 1:].isna().all(axis=None)
    np.testing.assert_allclose(table["mean"], series.rolling(20, min_periods=1).mean().where(np.arange(60) >= 19))
    for end in (20, 35, 60):
        assert table["error"].iloc[end - 1] == metrics.newey_west_error(series.iloc[end - 20 : end], 5)
    pd.testing.assert_frame_equal(metrics.rolling_ic(series.iloc[:40], 20, 5), table.iloc[:40])
    with pytest.raises(ParameterError, match="window"):
        metrics.rolling_ic(series, 1, 5)


def test_alpha_decay_judges_each_horizon_on_what_has_matured(tables):
    scores, labels = tables
    noise = pd.DataFrame(np.random.default_rng(2).standard_normal(labels.shape), index=DATES, columns=SYMBOLS)
    later = (labels + 0.1 * noise).iloc[:80].reindex(DATES)
    table = metrics.alpha_decay(scores, {10: later, 1: labels, 21: labels * np.nan})
    assert table.index.tolist() == [1, 10, 21]
    assert table["n_dates"].tolist() == [90, 80, 0]
    rank_ic = metrics.information_coefficient(scores, later)["rank_ic"].dropna()
    assert table.loc[10, "rank_ic"] == pytest.approx(rank_ic.mean())
    assert table.loc[10, "error"] == pytest.approx(metrics.newey_west_error(rank_ic, 10))
    assert table.loc[1, "rank_ic"] > table.loc[10, "rank_ic"]
    assert table.loc[21, ["rank_ic", "error"]].isna().all()


def test_cumulative_quantiles_are_sleeves_without_compounding(tables):
    scores, labels = tables
    labels = labels.iloc[:84].reindex(DATES)
    table = metrics.cumulative_quantile_returns(scores, labels, 5)
    by_date = metrics.quantile_returns_by_date(scores, labels)
    assert table.iloc[83].tolist() == pytest.approx((by_date.iloc[:84].sum() / 5).tolist())
    assert table.iloc[84:].isna().all(axis=None)


# --- the asked rule ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "drifting"),
    [
        ([0.01, 0.01, 0.05, 0.05], False),  # mean 0.03
        ([0.01, 0.01, 0.01, 0.04], True),  # mean 0.0175, three of four below
        ([0.03, 0.03, 0.03, -0.5], False),  # only one of four below
        ([0.03, 0.03, -0.5, -0.5], True),  # half of them
        ([0.02, 0.02, 0.02, 0.02], False),  # at the threshold is not below it
        ([np.nan, np.nan, 0.01, 0.5], False),  # mean 0.255
        ([np.nan] * 4, True),
    ],
)
def test_the_asked_rule_by_hand(window, drifting):
    assert is_drifting(window, 0.02) is drifting


@pytest.mark.parametrize("horizon", [1, 3, 10])
def test_simulated_rank_ics_overlap_as_labels_do(horizon):
    series = overlapping_ics(4000, 15, horizon, seed=0)
    assert series.shape == (4000, 15)
    correlation = np.corrcoef(series, rowvar=False)[0]
    expected = np.maximum(horizon - np.arange(15), 0) / horizon
    np.testing.assert_allclose(correlation, expected, atol=4 / np.sqrt(4000))
    np.testing.assert_allclose(series.std(axis=0), 1.0, atol=4 / np.sqrt(2 * 4000))


@pytest.mark.parametrize("horizon", [1, 2, 5])
def test_false_alarms_of_two_days_are_a_normal_tail(horizon):
    """A mean of two below the threshold has one of two below it, so the chance is known exactly."""
    found = drift_false_alarm(0.05, 0.1, horizon=horizon, lookback=2, threshold=0.02, seed=1)
    spread = 0.1 * np.sqrt((1 + (horizon - 1) / horizon) / 2)
    exact = stats.norm.cdf((0.02 - 0.05) / spread)
    assert found.session == pytest.approx(exact, abs=4 * np.sqrt(exact * horizon / (2000 * 252)))


def test_false_alarms_are_what_the_rule_says_evening_by_evening():
    found = drift_false_alarm(0.05, 0.1, horizon=5, draws=8, seed=4)
    paths = 0.05 + 0.1 * overlapping_ics(8, 252 + 19, 5, seed=4)
    fired = np.array([[is_drifting(path[t : t + 20], 0.02) for t in range(252)] for path in paths])
    assert found.session == fired.mean()
    assert found.year == fired.any(axis=1).mean()
    runs = sum(1 for row in fired for length in np.split(row, np.flatnonzero(np.diff(row)) + 1) if length[0])
    assert found.length == pytest.approx(fired.sum() / runs)


def test_better_models_are_accused_less_and_overlap_makes_it_worse():
    good, better = (drift_false_alarm(mean, 0.1, horizon=5).session for mean in (0.03, 0.08))
    assert better < good
    assert drift_false_alarm(0.05, 0.1, horizon=1).session < drift_false_alarm(0.05, 0.1, horizon=21).session
    assert drift_false_alarm(1.0, 0.01, horizon=5) == metrics.FalseAlarm(0.0, 0.0, pytest.approx(np.nan, nan_ok=True))


@pytest.mark.parametrize(("mean", "deviation"), [(np.nan, 0.1), (0.03, np.nan), (0.03, 0.0), (0.03, -1.0)])
def test_false_alarms_of_the_unknown_are_unknown(mean, deviation):
    found = drift_false_alarm(mean, deviation, horizon=5)
    assert np.isnan([found.session, found.year, found.length]).all()


def test_settings_of_simulations_are_checked():
    with pytest.raises(ParameterError, match="lookback at least 2"):
        drift_false_alarm(0.03, 0.1, horizon=5, lookback=1)
    with pytest.raises(ParameterError, match="horizon"):
        cusum_run_length(Cusum(), horizon=0)


# --- CUSUM ------------------------------------------------------------------------------------------------------------


def test_cusum_by_hand():
    rule = Cusum(allowance=0.5, threshold=2.0)
    table = cusum(ics([0.05, -0.05, -0.15, 0.05, -0.35, 0.05, -0.05]), 0.05, 0.1, horizon=1, rule=rule)
    np.testing.assert_allclose(table["shortfall"], [0.0, 1.0, 2.0, 0.0, 4.0, 0.0, 1.0], atol=1e-15)
    # 0 − 0.5 → 0; +0.5; +1.5 = 2.0 is not above 2; 1.5; +3.5 = 5 is an alarm; from 0 again: 0; 0.5
    np.testing.assert_allclose(table["statistic"], [0.0, 0.5, 2.0, 1.5, 5.0, 0.0, 0.5], atol=1e-12)
    assert table["alarm"].tolist() == [False, False, False, False, True, False, False]


def test_cusum_starts_again_after_an_alarm():
    values = -0.05 + 0.1 * np.random.default_rng(0).standard_normal(400)
    table = cusum(ics(values), 0.05, 0.1, horizon=1)
    at = int(np.flatnonzero(table["alarm"])[0])
    again = cusum(ics(values).iloc[at + 1 :], 0.05, 0.1, horizon=1)
    pd.testing.assert_frame_equal(table.iloc[at + 1 :], again)


def test_cusum_is_causal_and_counts_the_undefined_as_no_skill():
    values = ics(0.1 * np.random.default_rng(0).standard_normal(60))
    table = cusum(values, 0.05, 0.1, horizon=5)
    pd.testing.assert_frame_equal(cusum(values.iloc[:30], 0.05, 0.1, horizon=5), table.iloc[:30])
    holes = values.where(np.arange(60) % 7 > 0)
    pd.testing.assert_frame_equal(cusum(holes, 0.05, 0.1, horizon=5), cusum(holes.fillna(0.0), 0.05, 0.1, horizon=5))


@pytest.mark.parametrize(("target", "deviation"), [(np.nan, 0.1), (0.03, 0.0), (0.03, np.nan)])
def test_cusum_needs_a_promise(target, deviation):
    with pytest.raises(ParameterError, match="a CUSUM needs a target"):
        cusum(ics([0.1, 0.2]), target, deviation, horizon=5)


def markov_run_length(rule: Cusum, shift: float, states: int = 400) -> float:
    """Average run length by the Markov chain of Brook & Evans (1972), for independent values."""
    width = 2 * rule.threshold / (2 * states - 1)
    start = np.arange(states) * width
    upper = start[None, :] + width / 2 - start[:, None] + rule.allowance
    chance = np.diff(stats.norm.cdf(upper - shift), axis=1, prepend=0.0)
    return float(np.linalg.solve(np.eye(states) - chance, np.ones(states))[0])


@pytest.mark.parametrize(("shift", "published"), [(0.5, 38.0), (1.0, 10.4), (2.0, 4.01)])
def test_published_run_lengths(shift, published):
    """Montgomery, Introduction to Statistical Quality Control, table 9.3: allowance 0.5, threshold 5."""
    assert markov_run_length(TEXTBOOK, shift) == pytest.approx(published, rel=0.01)
    found = cusum_run_length(TEXTBOOK, shift=shift, draws=4000)
    assert found == pytest.approx(published, rel=0.05)


def test_run_length_of_a_healthy_model_is_that_of_the_markov_chain():
    exact = markov_run_length(TEXTBOOK, 0.0)
    assert exact == pytest.approx(2 * 465, rel=0.01)  # the same table, for one of its two sides
    assert cusum_run_length(TEXTBOOK, draws=2000) == pytest.approx(exact, rel=4 / np.sqrt(2000))


@pytest.mark.parametrize("horizon", [1, 4])
def test_run_length_is_that_of_the_rule_session_by_session(horizon):
    rule, lengths = Cusum(allowance=0.1, threshold=4.0), []
    for path in overlapping_ics(800, 600, horizon, seed=5):
        alarm = cusum(ics(path), 0.3, 1.0, horizon=horizon, rule=rule)["alarm"].to_numpy()
        lengths.append(np.flatnonzero(alarm)[0] + 1 if alarm.any() else 600)
    found = cusum_run_length(rule, horizon=horizon, shift=0.3, draws=4000, longest=600)
    assert np.mean(lengths) == pytest.approx(found, rel=4 * np.std(lengths) / np.mean(lengths) / np.sqrt(800))


def test_a_run_that_is_cut_off_counts_as_far_as_it_went():
    assert cusum_run_length(Cusum(threshold=1e9), longest=50, draws=3) == 50


@pytest.mark.long
@pytest.mark.parametrize(
    ("mean", "horizon", "evening", "year"),
    [  # 20 days, 0.02, deviation 0.1: the numbers that the guide states
        (0.03, 1, 0.28, 1.00),
        (0.05, 1, 0.07, 0.95),
        (0.03, 5, 0.38, 1.00),
        (0.05, 5, 0.24, 1.00),
        (0.03, 21, 0.44, 1.00),
        (0.05, 21, 0.34, 1.00),
        (0.10, 1, 0.00, 0.01),
        (0.10, 5, 0.04, 0.73),
        (0.10, 21, 0.16, 0.94),
    ],
)
def test_pinned_false_alarm_rates_of_the_asked_rule(mean, horizon, evening, year):
    found = drift_false_alarm(mean, 0.1, horizon=horizon, draws=20_000, seed=7)
    print(f"\nrank IC {mean:.2f} ± 0.10, labels of {horizon}: {found}")
    assert found.session == pytest.approx(evening, abs=0.01)
    assert found.year == pytest.approx(year, abs=0.015)


@pytest.mark.long
@pytest.mark.parametrize(
    ("horizon", "healthy", "fallen"), [(1, 1034, 76), (5, 1306, 199), (10, 1539, 309), (21, 1954, 510)]
)
def test_pinned_run_lengths_of_the_default_cusum(horizon, healthy, fallen):
    """Sessions between alarms of a healthy model, and until one that lost 0.3 of its deviation is found."""
    lengths = [cusum_run_length(Cusum(), horizon=horizon, shift=shift, draws=8000, seed=7) for shift in (0.0, 0.3)]
    print(f"\nCUSUM, labels of {horizon}: healthy {lengths[0]:.0f}, fallen by 0.3 deviations {lengths[1]:.0f}")
    assert lengths == pytest.approx([healthy, fallen], rel=0.05)
