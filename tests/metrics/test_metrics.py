"""Formulas against hand computations, published examples and named programs, and the laws that they obey."""

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from openbook import metrics
from openbook.common.errors import DataError, ParameterError

RETURNS = pd.Series(
    [0.012, -0.007, 0.004, 0.021, -0.015, 0.003, -0.009, 0.016, 0.002, -0.004],
    index=pd.bdate_range("2024-01-01", periods=10),
)
IC_SERIES = [0.05, 0.02, -0.01, 0.04, 0.03, 0.06, -0.02, 0.01, 0.05, 0.02, 0.00, 0.03]
ONE_SERIES = [
    metrics.total_return,
    metrics.cagr,
    metrics.volatility,
    metrics.sharpe,
    metrics.sortino,
    metrics.max_drawdown,
    metrics.calmar,
    metrics.win_rate,
    metrics.skewness,
    metrics.kurtosis,
    metrics.probabilistic_sharpe,
    metrics.icir,
]


def tables(seed: int = 0, shape: tuple[int, int] = (30, 40)) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores and labels with ties and holes, dates × symbols."""
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2024-01-01", periods=shape[0])
    scores = pd.DataFrame(rng.standard_normal(shape).round(1), index=dates, columns=range(shape[1]))
    labels = 0.3 * scores + rng.standard_normal(shape)
    return scores.mask(rng.random(shape) < 0.1), labels.mask(rng.random(shape) < 0.1)


# --- one return series ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "published"),
    [  # empyrical-reloaded 0.7.1 on RETURNS, numpy 2.4
        (metrics.sharpe, 3.1777729448174985),
        (metrics.sortino, 5.994336950130359),
        (metrics.volatility, 0.18239188578442847),
        (metrics.cagr, 0.7577787316284406),
        (metrics.max_drawdown, -0.020936595000000228),
        (metrics.calmar, 36.19398147733346),
        (metrics.total_return, 0.022635351540898352),
    ],
)
def test_published_empyrical(formula, published):
    assert formula(RETURNS) == pytest.approx(published, rel=1e-12)


def test_hand_computed_three_days():
    returns = [0.10, -0.50, 0.20]
    assert metrics.total_return(returns) == pytest.approx(1.1 * 0.5 * 1.2 - 1)
    assert metrics.max_drawdown(returns) == pytest.approx(-0.5)
    assert metrics.cagr(returns, periods=3) == pytest.approx(-0.34)
    assert metrics.calmar(returns, periods=3) == pytest.approx(-0.34 / 0.5)
    assert metrics.win_rate(returns) == pytest.approx(2 / 3)
    assert metrics.drawdowns(returns).tolist() == pytest.approx([0.0, -0.5, -0.4])


def test_a_loss_on_the_first_day_is_a_drawdown():
    assert metrics.max_drawdown([-0.1, 0.05]) == pytest.approx(-0.1)


def test_moments_agree_with_scipy():
    assert metrics.skewness(RETURNS) == pytest.approx(stats.skew(RETURNS))
    assert metrics.kurtosis(RETURNS) == pytest.approx(stats.kurtosis(RETURNS, fisher=False))


def test_kurtosis_is_raw():
    assert metrics.kurtosis(np.random.default_rng(0).standard_normal(100_000)) == pytest.approx(3.0, abs=0.05)


@pytest.mark.parametrize("value", [0.0, 0.001, -0.02, 1e-9])
def test_k04_constant_returns_are_undefined(value):
    returns = np.full(30, value)
    for formula in (metrics.sharpe, metrics.probabilistic_sharpe, metrics.skewness, metrics.kurtosis, metrics.icir):
        assert np.isnan(formula(returns)), formula.__name__


def test_no_loss_is_undefined():
    assert np.isnan(metrics.sortino([0.01, 0.02]))
    assert np.isnan(metrics.calmar([0.01, 0.02]))
    assert metrics.max_drawdown([0.01, 0.02]) == 0.0


@pytest.mark.parametrize("formula", ONE_SERIES)
def test_nothing_gives_nan_and_nan_is_skipped(formula):
    holes = np.insert(RETURNS.to_numpy(), [0, 4, 10], np.nan)
    assert np.isnan(formula([]))
    assert np.isnan(formula([np.nan, np.nan]))
    assert formula(holes) == pytest.approx(formula(RETURNS), rel=1e-12)


@pytest.mark.parametrize("formula", ONE_SERIES)
def test_infinite_returns_are_undefined(formula):
    assert np.isnan(formula([0.01, np.inf, -0.02, 0.03]))


def test_a_table_of_returns_is_refused():
    with pytest.raises(DataError, match="one series"):
        metrics.sharpe(np.zeros((3, 2)))


def test_ruin_is_minus_one_per_year():
    assert metrics.cagr([0.5, -1.0, 0.5]) == -1.0


@settings(max_examples=50, deadline=None)
@given(
    # a return of 1e-159 has a square that a double cannot hold
    st.lists(st.floats(-0.5, 0.5).map(lambda r: r if abs(r) > 1e-100 else 0.0), min_size=3, max_size=40),
    st.floats(0.01, 10.0),
)
def test_laws_of_returns(returns, scale):
    r = np.asarray(returns)
    depth = metrics.drawdowns(r)
    assert (depth <= 0).all()
    assert metrics.max_drawdown(r) >= -1
    assert metrics.drawdowns(r[:-1]).tolist() == depth.iloc[:-1].tolist()
    assert metrics.sharpe(r * scale) == pytest.approx(metrics.sharpe(r), rel=1e-6, nan_ok=True)
    assert metrics.sharpe(-r) == pytest.approx(-metrics.sharpe(r), rel=1e-6, nan_ok=True)


def test_rolling_sharpe_is_the_sharpe_ratio_of_each_window():
    returns = np.random.default_rng(2).normal(0.001, 0.01, (3, 20))
    returns[1, 4:12] = 0.001
    found = metrics.rolling_sharpe(returns, 5)
    assert found.shape == (3, 16)
    slow = [[metrics.sharpe(row[start : start + 5]) for start in range(16)] for row in returns]
    np.testing.assert_allclose(found, slow, rtol=1e-12)
    assert np.isnan(found[1, 4:8]).all()
    assert np.isfinite(found[0]).all()
    assert metrics.rolling_sharpe(returns, 21).shape == (3, 0)
    np.testing.assert_allclose(metrics.rolling_sharpe(returns, 20, 12)[0], [metrics.sharpe(returns[0], 12)], rtol=1e-12)


# --- beside a benchmark -----------------------------------------------------------------------------------------------


def test_beta_is_the_slope_that_scipy_finds_over_the_sessions_in_both():
    rng = np.random.default_rng(12)
    days = pd.bdate_range("2024-01-01", periods=60)
    market = pd.Series(0.01 * rng.standard_normal(60), index=days)
    mine = (0.4 * market + 0.002 * rng.standard_normal(60)).iloc[5:]
    mine.iloc[3] = np.nan
    both = mine.notna()
    expected = stats.linregress(market[both.index[both]], mine[both]).slope
    assert metrics.beta(mine, market) == pytest.approx(expected, rel=1e-12)
    assert metrics.beta(mine[::-1], market) == pytest.approx(expected, rel=1e-12)


def test_beta_by_hand_and_where_it_is_undefined():
    market = pd.Series([0.01, -0.01, 0.02, -0.02])
    assert metrics.beta(2 * market + 0.001, market) == pytest.approx(2.0)
    assert metrics.beta(0 * market, market) == 0.0
    assert np.isnan(metrics.beta(market, 0 * market + 0.001))
    assert np.isnan(metrics.beta(market.iloc[:1], market))
    assert np.isnan(metrics.beta(market.mask(market > 0.015, np.inf), market))
    assert np.isnan(metrics.beta(market, market.set_axis(range(10, 14))))


# --- is the Sharpe ratio luck? ----------------------------------------------------------------------------------------


def test_published_deflated_sharpe_example():
    """Bailey & López de Prado (2014), section "a numerical example": SR 2.5 a year, V[SR] 1/2 a year, 250 days."""
    luck = metrics.expected_max_sharpe(100, 0.5 / 250)
    assert luck == pytest.approx(0.1132, abs=5e-5)
    assert metrics.sharpe_confidence(2.5 / np.sqrt(250), 1250, -3, 10, luck) == pytest.approx(0.9004, abs=5e-5)


def test_published_deflated_sharpe_fewer_trials():
    """The same example: with 46 trials instead of 100 the confidence is 0.9505."""
    luck = metrics.expected_max_sharpe(46, 0.5 / 250)
    assert metrics.sharpe_confidence(2.5 / np.sqrt(250), 1250, -3, 10, luck) == pytest.approx(0.9505, abs=1e-3)


def test_deflated_sharpe_is_the_published_formula_on_a_sample():
    r = np.random.default_rng(1).standard_t(4, 500) * 0.01 + 0.001
    sr = r.mean() / r.std(ddof=1)
    spread = 1 - stats.skew(r) * sr + (stats.kurtosis(r, fisher=False) - 1) / 4 * sr**2
    gamma = 0.5772156649
    luck = np.sqrt(0.002) * ((1 - gamma) * stats.norm.ppf(1 - 1 / 20) + gamma * stats.norm.ppf(1 - 1 / (20 * np.e)))
    expected = stats.norm.cdf((sr - luck) * np.sqrt(499) / np.sqrt(spread))
    assert metrics.deflated_sharpe(r, 20, 0.002) == pytest.approx(expected, rel=1e-9)


def test_expected_max_sharpe_matches_the_best_of_many_without_skill():
    best = np.random.default_rng(2).standard_normal((20_000, 50)).max(axis=1).mean()
    assert metrics.expected_max_sharpe(50, 1.0) == pytest.approx(best, rel=0.02)


def test_more_trials_never_make_us_surer():
    r = np.random.default_rng(3).standard_normal(400) * 0.01 + 0.0008
    confidence = [metrics.deflated_sharpe(r, n, 0.001) for n in (1, 2, 5, 20, 100, 1000)]
    assert confidence == sorted(confidence, reverse=True)
    assert confidence[0] == metrics.probabilistic_sharpe(r)


@pytest.mark.parametrize(("n_trials", "variance"), [(0, 0.1), (float("nan"), 0.1), (5, -0.1), (5, float("nan"))])
def test_senseless_trials_are_refused(n_trials, variance):
    with pytest.raises(ParameterError):
        metrics.expected_max_sharpe(n_trials, variance)


# --- scores against what followed -------------------------------------------------------------------------------------


def test_information_coefficient_agrees_with_scipy_date_by_date():
    scores, labels = tables()
    table = metrics.information_coefficient(scores, labels)
    for date in scores.index:
        both = scores.loc[date].notna() & labels.loc[date].notna()
        x, y = scores.loc[date, both], labels.loc[date, both]
        assert table.loc[date, "n"] == both.sum()
        assert table.loc[date, "ic"] == pytest.approx(stats.pearsonr(x, y).statistic)
        assert table.loc[date, "rank_ic"] == pytest.approx(stats.spearmanr(x, y).statistic)


def test_average_ranks_agree_with_scipy():
    values = np.random.default_rng(4).integers(0, 6, (50, 9)).astype(float)
    values[values == 5] = np.nan
    expected = stats.rankdata(values, axis=1, nan_policy="omit")
    np.testing.assert_array_equal(metrics.average_ranks(values), expected)


def test_information_coefficient_is_undefined_not_zero():
    dates = pd.bdate_range("2024-01-01", periods=4)
    scores = pd.DataFrame([[1.0, 2, 3], [1, 1, 1], [1, 2, np.nan], [1, 2, 3]], index=dates, columns=list("ABC"))
    labels = pd.DataFrame([[3.0, 2, 1], [1, 2, 3], [1, 2, 3]], index=dates[:3], columns=list("ABC"))
    table = metrics.information_coefficient(scores, labels)
    assert table["rank_ic"].iloc[0] == pytest.approx(-1.0)
    assert table["rank_ic"].iloc[1:].isna().all()
    assert table["n"].tolist() == [3, 3, 2, 0]


@pytest.mark.parametrize("value", [0.1, 1e-7, 12345.6])
def test_constant_scores_have_no_coefficient(value):
    _, labels = tables()
    table = metrics.information_coefficient(labels * 0 + value, labels)
    assert table[["ic", "rank_ic"]].isna().all(axis=None)


def test_rank_ic_is_unmoved_by_monotone_scores_and_by_the_order_of_symbols():
    scores, labels = tables(5)
    plain = metrics.information_coefficient(scores, labels)["rank_ic"]
    moved = metrics.information_coefficient(np.exp(scores), labels)["rank_ic"]
    mixed = metrics.information_coefficient(scores, labels[labels.columns[::-1]])["rank_ic"]
    np.testing.assert_allclose(moved, plain, atol=1e-12)
    np.testing.assert_allclose(mixed, plain, atol=1e-12)


def test_a_good_month_is_not_skill():
    """Scores and labels both high on the same dates, but unrelated within them: pooled they look skilled."""
    rng = np.random.default_rng(6)
    month = rng.standard_normal((400, 1))
    scores = pd.DataFrame(month + rng.standard_normal((400, 30)))
    labels = pd.DataFrame(month + rng.standard_normal((400, 30)))
    ic = metrics.information_coefficient(scores, labels)["rank_ic"]
    assert stats.spearmanr(scores.to_numpy().ravel(), labels.to_numpy().ravel()).statistic > 0.4
    assert abs(ic.mean()) < 4 * ic.std() / np.sqrt(len(ic))
    by_quantile = metrics.quantile_returns(scores, labels)
    assert abs(by_quantile[5] - by_quantile[1]) < 0.1


@pytest.mark.parametrize(
    ("lags", "published"),
    [  # statsmodels 0.15.0: OLS(x, 1).fit(cov_type="HAC", cov_kwds={"maxlags": lags}).tvalues
        (0, 3.3789755441783447),
        (1, 3.899602101718089),
        (3, 8.045740795857677),
        (5, 6.828290464002904),
    ],
)
def test_published_newey_west(lags, published):
    assert metrics.newey_west_t(IC_SERIES, lags) == pytest.approx(published, rel=1e-10)
    assert metrics.newey_west_t([*IC_SERIES, np.nan], lags) == pytest.approx(published, rel=1e-10)


def test_newey_west_sees_through_overlap():
    """20-day sums of noise: the naive t rejects far too often, the corrected one much less."""
    rng = np.random.default_rng(7)
    noise = rng.standard_normal((300, 619))
    sums = np.lib.stride_tricks.sliding_window_view(noise, 20, axis=1).sum(axis=2)
    naive = np.mean([abs(metrics.newey_west_t(row, 0)) > 1.96 for row in sums])
    corrected = np.mean([abs(metrics.newey_west_t(row, 30)) > 1.96 for row in sums])
    assert naive > 0.5
    assert corrected < 0.2


def test_newey_west_refuses_senseless_lags_and_knows_when_it_is_undefined():
    assert np.isnan(metrics.newey_west_t([0.1], 2))
    assert np.isnan(metrics.newey_west_t([0.1] * 9, 2))
    with pytest.raises(ParameterError, match="lags"):
        metrics.newey_west_t(IC_SERIES, -1)


def test_icir_by_hand():
    assert metrics.icir([0.02, 0.04, 0.06]) == pytest.approx(0.04 / 0.02)


def test_quantile_returns_by_hand():
    dates = pd.bdate_range("2024-01-01", periods=2)
    scores = pd.DataFrame([[1.0, 2, 3, 4], [4, 3, 2, 1]], index=dates, columns=list("ABCD"))
    labels = pd.DataFrame([[0.01, 0.02, 0.03, 0.04], [0.10, np.nan, np.nan, 0.30]], index=dates, columns=list("ABCD"))
    by_date = metrics.quantile_returns_by_date(scores, labels, n=2)
    assert by_date.iloc[0].tolist() == pytest.approx([0.015, 0.035])
    assert by_date.iloc[1].tolist() == pytest.approx([0.30, 0.10])
    assert metrics.quantile_returns(scores, labels, n=2).tolist() == pytest.approx([0.1575, 0.0675])


def test_quantiles_have_nearly_equal_sizes_and_undefined_dates_are_nan():
    scores, _ = tables(8, (1, 43))
    everyone = pd.DataFrame(np.arange(43.0)[None, :], index=scores.index, columns=scores.columns)
    ones = everyone * 0 + 1
    ranks = metrics.quantile_returns_by_date(everyone, everyone, n=5)
    assert ranks.diff(axis=1).iloc[0, 1:].between(8, 9.5).all()
    assert metrics.quantile_returns_by_date(ones, everyone, n=5).count(axis=1).item() == 1
    few = everyone.where(everyone < 4)
    assert metrics.quantile_returns_by_date(few, everyone, n=5).isna().all(axis=None)
    with pytest.raises(ParameterError, match="quantiles"):
        metrics.quantile_returns(everyone, everyone, n=1)


def test_score_autocorrelation():
    scores, _ = tables(9)
    same = pd.DataFrame(np.tile(np.arange(5.0), (4, 1)))
    assert metrics.score_autocorrelation(same).tolist()[1:] == pytest.approx([1.0, 1.0, 1.0])
    found = metrics.score_autocorrelation(scores, lag=3)
    assert found.iloc[:3].isna().all()
    x, y = scores.iloc[10], scores.iloc[7]
    both = x.notna() & y.notna()
    assert found.iloc[10] == pytest.approx(stats.spearmanr(x[both], y[both]).statistic)


def test_infinite_scores_count_as_missing():
    scores, labels = tables(10)
    holed = metrics.information_coefficient(scores.mask(scores > 1.5), labels)
    infinite = metrics.information_coefficient(scores.mask(scores > 1.5, np.inf), labels)
    pd.testing.assert_frame_equal(holed, infinite)


def test_duplicate_dates_are_refused():
    scores, labels = tables()
    with pytest.raises(DataError, match="labels"):
        metrics.information_coefficient(scores, pd.concat([labels, labels]))


def test_empty_tables_are_nothing_not_an_error():
    scores, labels = tables()
    assert metrics.information_coefficient(scores.iloc[:0], labels).empty
    assert metrics.information_coefficient(scores[[]], labels)["rank_ic"].isna().all()
    assert metrics.quantile_returns(scores.iloc[:0], labels).isna().all()


@pytest.mark.benchmark
def test_ten_years_of_500_names_take_less_than_a_second():
    scores, labels = tables(11, (2520, 500))
    start = time.perf_counter()
    metrics.information_coefficient(scores, labels)
    assert time.perf_counter() - start < 1.0
