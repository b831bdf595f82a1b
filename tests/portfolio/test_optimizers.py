"""The optimizers: PyPortfolioOpt's problems, solved to optimality, and a chain that never guesses."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbook.common.errors import OptimizerError
from openbook.portfolio.optimizers import (
    OPTIMIZERS,
    equal_weight,
    expected_returns,
    hrp,
    hrp_raw,
    inverse_vol,
    max_sharpe,
    min_volatility,
    optimize,
    own_optimizer,
    shrunk_covariance,
    z_scores,
)
from openbook.portfolio.pypfopt_check import pypfopt_weights
from support import portfolios as lab

seeds = st.integers(0, 10**6)


def problem(seed: int, n: int):
    """Expected returns (some negative), covariance and limits of a random problem."""
    rng = np.random.default_rng(seed)
    covariance = lab.random_covariance(rng, n)
    expected = expected_returns(rng.normal(0.6, 1.0, n), np.sqrt(np.diag(covariance)), 0.05)
    return expected, covariance, lab.random_limits(rng, n)


def sharpe(weights, expected, covariance) -> float:
    return float(expected @ weights / np.sqrt(weights @ covariance @ weights))


def volatility(weights, covariance) -> float:
    return float(np.sqrt(weights @ covariance @ weights))


# ---- estimates ----


@pytest.mark.parametrize(("sessions", "n"), [(252, 50), (60, 100), (30, 1), (252, 2)])
def test_shrunk_covariance_is_scikit_learns(sessions, n):
    from sklearn.covariance import ledoit_wolf

    returns = np.random.default_rng(n).normal(size=(sessions, n)) * 0.02 + 0.001
    np.testing.assert_allclose(shrunk_covariance(returns), ledoit_wolf(returns)[0], rtol=1e-10, atol=1e-16)


def test_shrunk_covariance_is_pyportfolioopts(market):
    from pypfopt.risk_models import CovarianceShrinkage

    prices = market.adjusted.iloc[-253:]
    theirs = CovarianceShrinkage(prices).ledoit_wolf()
    ours = 252 * shrunk_covariance(prices.pct_change().iloc[1:].to_numpy())
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_missing_returns_count_as_the_mean():
    returns = np.random.default_rng(3).normal(size=(100, 4))
    holed = returns.copy()
    holed[:20, 1] = np.nan
    filled = returns.copy()
    filled[:20, 1] = returns[20:, 1].mean()
    np.testing.assert_allclose(shrunk_covariance(holed), shrunk_covariance(filled), rtol=1e-12)


def test_expected_returns_by_hand():
    """Grinold (1994): IC 0.05, volatility 30%, score 2 → 3%."""
    assert expected_returns(np.array([2.0]), np.array([0.30]), 0.05)[0] == pytest.approx(0.03)


def test_z_scores_have_mean_zero_and_deviation_one_and_equal_scores_say_nothing():
    z = z_scores(np.array([1.0, 2.0, np.nan, 6.0]))
    assert np.nanmean(z) == pytest.approx(0)
    assert np.nanstd(z) == pytest.approx(1)
    assert np.isnan(z[2])
    np.testing.assert_array_equal(z_scores(np.full(5, 0.3)), 0.0)


# ---- against PyPortfolioOpt ----


@pytest.mark.parametrize("seed", range(8))
def test_objectives_are_pyportfolioopts(seed):
    expected, covariance, limits = problem(seed, 10 + 5 * seed)
    theirs = pypfopt_weights("max_sharpe", expected, covariance, limits)
    ours = max_sharpe(expected, covariance, limits)
    assert limits.excess(ours) <= 1e-12
    assert sharpe(ours, expected, covariance) >= sharpe(theirs, expected, covariance) * (1 - 1e-6)
    theirs = pypfopt_weights("min_volatility", expected, covariance, limits)
    ours = min_volatility(expected, covariance, limits)
    assert limits.excess(ours) <= 1e-12
    assert volatility(ours, covariance) <= volatility(theirs, covariance) * (1 + 1e-6)


def test_objectives_are_pyportfolioopts_on_estimated_covariance(market):
    returns = market.adjusted.pct_change().iloc[-252:].to_numpy()
    covariance = 252 * shrunk_covariance(returns)
    z = np.linspace(0.2, 2.0, 40)
    expected = expected_returns(z, np.sqrt(np.diag(covariance)), 0.03)
    limits = lab.make_limits(40, upper=0.15, cap=0.25, groups=np.arange(40) % 5)
    for name, value, sign in (
        ("max_sharpe", lambda w: sharpe(w, expected, covariance), 1),
        ("min_volatility", lambda w: volatility(w, covariance), -1),
    ):
        ours = value(OPTIMIZERS[name](expected, covariance, limits))
        theirs = value(pypfopt_weights(name, expected, covariance, limits))
        assert ours == pytest.approx(theirs, rel=1e-6)
        assert sign * ours >= sign * theirs * (1 - 1e-9 * sign)


@pytest.mark.parametrize("n", [2, 3, 17, 50])
def test_hrp_is_pyportfolioopts(n):
    from pypfopt import HRPOpt

    covariance = lab.random_covariance(np.random.default_rng(n), n)
    symbols = list(lab.names(n))
    found = HRPOpt(cov_matrix=pd.DataFrame(covariance, symbols, symbols)).optimize()
    np.testing.assert_allclose(hrp_raw(covariance), [found[s] for s in symbols], rtol=1e-10)


def test_hrp_is_pyportfolioopts_when_distances_tie():
    from pypfopt import HRPOpt

    covariance = np.diag([0.04, 0.09, 0.01, 0.16, 0.25, 0.02])
    covariance[0, 1] = covariance[1, 0] = 0.03
    symbols = list(lab.names(6))
    found = HRPOpt(cov_matrix=pd.DataFrame(covariance, symbols, symbols)).optimize()
    np.testing.assert_allclose(hrp_raw(covariance), [found[s] for s in symbols], rtol=1e-10)


# ---- optimality, without another program ----


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(2, 40))
def test_min_volatility_is_optimal(seed, n):
    """w is optimal iff no feasible z has (Σw)'z below (Σw)'w: the gap bounds the distance to the optimum."""
    expected, covariance, limits = problem(seed, n)
    weights = min_volatility(expected, covariance, limits)
    assert limits.excess(weights) <= 1e-12
    gradient = covariance @ weights
    assert gradient @ weights - lab.least_linear(gradient, limits) <= 1e-6 * (gradient @ weights)


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(2, 40))
def test_max_sharpe_is_optimal(seed, n):
    """The ratio is pseudo-concave: w is optimal iff its gradient admits no better feasible z."""
    expected, covariance, limits = problem(seed, n)
    if not (-lab.least_linear(-expected, limits) > 1e-3):
        return  # no portfolio expects anything: another test
    weights = max_sharpe(expected, covariance, limits)
    assert limits.excess(weights) <= 1e-12
    assert weights.sum() == pytest.approx(limits.exposure, abs=1e-6)
    variance, gain = weights @ covariance @ weights, expected @ weights
    gradient = expected - gain / variance * (covariance @ weights)  # gradient'w = 0
    assert -lab.least_linear(-gradient, limits) - gradient @ weights <= 1e-6 * gain


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 40), st.sampled_from(sorted(OPTIMIZERS)))
def test_every_optimizer_meets_every_limit_and_is_deterministic(seed, n, name):
    expected, covariance, limits = problem(seed, n)
    expected = np.abs(expected) + 1e-3
    weights = OPTIMIZERS[name](expected, covariance, limits)
    assert limits.excess(weights) <= 1e-12
    assert weights.sum() == pytest.approx(limits.exposure, abs=1e-6)
    np.testing.assert_array_equal(weights, OPTIMIZERS[name](expected, covariance, limits))


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_scale_of_expected_returns_and_covariance_does_not_matter(name):
    expected, covariance, limits = problem(5, 20)
    weights = OPTIMIZERS[name](expected, covariance, limits)
    np.testing.assert_allclose(OPTIMIZERS[name](1024 * expected, covariance, limits), weights, atol=1e-8)
    np.testing.assert_allclose(OPTIMIZERS[name](expected, covariance / 256, limits), weights, atol=1e-8)


def test_two_assets_by_hand():
    """Uncorrelated, volatilities 10% and 20%: min variance 0.8/0.2, inverse volatility 2/3 and 1/3."""
    covariance = np.diag([0.01, 0.04])
    loose = lab.make_limits(2, upper=1.0)
    np.testing.assert_allclose(min_volatility(None, covariance, loose), [0.8, 0.2], atol=1e-7)
    np.testing.assert_allclose(hrp(None, covariance, loose), [0.8, 0.2])
    np.testing.assert_allclose(inverse_vol(None, covariance, loose), [2 / 3, 1 / 3])
    np.testing.assert_allclose(equal_weight(None, covariance, loose), [0.5, 0.5])
    # tangency: Σ⁻¹μ ∝ (0.02/0.01, 0.04/0.04) = (2, 1)
    np.testing.assert_allclose(max_sharpe(np.array([0.02, 0.04]), covariance, loose), [2 / 3, 1 / 3], atol=1e-7)
    tight = lab.make_limits(2, upper=[0.6, 1.0])
    np.testing.assert_allclose(min_volatility(None, covariance, tight), [0.6, 0.4], atol=1e-7)


# ---- what cannot be solved ----


def test_p08_one_asset():
    one = lab.make_limits(1, upper=1.0)
    for name, solve in OPTIMIZERS.items():
        np.testing.assert_allclose(solve(np.array([0.1]), np.array([[0.04]]), one), [1.0], atol=1e-7, err_msg=name)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_p08_singular_covariance_is_deterministic(name):
    row = np.array([0.2, 0.2, 0.3, 0.3, 0.4, 0.4, 0.2, 0.3])
    covariance, limits = np.outer(row, row), lab.make_limits(8, upper=0.5)  # rank one
    expected = np.linspace(0.01, 0.08, 8)
    weights = OPTIMIZERS[name](expected, covariance, limits)
    assert limits.excess(weights) <= 1e-12
    np.testing.assert_array_equal(weights, OPTIMIZERS[name](expected, covariance, limits))


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_p08_a_name_without_variance_is_named(name, bad):
    """By every optimizer that looks at the covariance; one that does not says what it says of any other."""
    limits, expected = lab.make_limits(3, upper=1.0), np.array([0.01, 0.02, 0.03])
    usual = [OPTIMIZERS[name](expected, np.diag(variances), limits) for variances in ([0.04] * 3, [0.01, 0.04, 0.09])]
    if np.array_equal(*usual):
        np.testing.assert_array_equal(OPTIMIZERS[name](expected, np.diag([0.04, 0.04, bad]), limits), usual[0])
        return
    with pytest.raises(OptimizerError, match="S002"):
        OPTIMIZERS[name](expected, np.diag([0.04, 0.04, bad]), limits)


def test_equal_weight_alone_of_ours_looks_at_no_covariance():
    limits, expected = lab.make_limits(3, upper=1.0), np.array([0.01, 0.02, 0.03])
    with pytest.raises(OptimizerError, match="S002"):
        inverse_vol(expected, np.diag([0.04, 0.04, np.nan]), limits)
    np.testing.assert_allclose(equal_weight(expected, np.diag([0.04, 0.04, np.nan]), limits), [1 / 3] * 3)


@pytest.mark.parametrize("expected", [np.zeros(4), -np.ones(4), np.full(4, np.nan)])
def test_max_sharpe_needs_something_to_expect(expected):
    with pytest.raises(OptimizerError, match="risk-free"):
        max_sharpe(expected, np.eye(4), lab.make_limits(4, upper=0.5))


def test_max_sharpe_when_the_limits_leave_no_gain():
    expected = np.array([0.01, -0.5, -0.5, -0.5])
    with pytest.raises(OptimizerError, match="no feasible portfolio has an expected return above the risk-free"):
        max_sharpe(expected, np.eye(4), lab.make_limits(4, upper=0.3))


# ---- the chain ----


def test_chain_records_each_step_with_its_reason():
    expected, covariance, limits = -np.ones(6), np.diag(np.full(6, 0.04)), lab.make_limits(6, upper=0.3)
    weights, chain = optimize(("max_sharpe", "min_volatility", "hrp"), expected, covariance, limits)
    assert [(s.optimizer, s.outcome) for s in chain] == [("max_sharpe", "failed"), ("min_volatility", "used")]
    assert "risk-free" in chain[0].reason
    np.testing.assert_allclose(weights, 1 / 6, atol=1e-6)


def test_p01_when_all_fail_the_error_tells_each_reason_and_there_is_no_equal_weight():
    rng = np.random.default_rng(0)
    covariance, limits = lab.random_covariance(rng, 20), lab.make_limits(20, upper=0.06)
    with pytest.raises(
        OptimizerError, match=r"max_sharpe: .*risk-free.*; min_volatility: .*after 1 iter.*; hrp: "
    ) as e:
        optimize(("max_sharpe", "min_volatility", "hrp"), -np.ones(20), covariance, limits, 1)
    assert e.value.exit_code == 50


def test_p01_infeasible_limits_are_named_before_any_solver_runs():
    with pytest.raises(OptimizerError, match="raise top_n or max_weight"):
        optimize(("min_volatility",), np.ones(3), np.full((3, 3), np.nan), lab.make_limits(3))


def test_nothing_to_invest_is_all_cash():
    weights, chain = optimize(("max_sharpe",), np.ones(3), np.eye(3), lab.make_limits(3, exposure=0.0))
    np.testing.assert_array_equal(weights, 0.0)
    assert chain[-1].optimizer == "cash"


# ---- a desk's own ----


@given(seeds, st.integers(1, 30))
def test_an_own_optimizer_is_moved_into_the_limits(seed, n):
    """A scheme of one line that knows no limits: the nearest weights within them, as for inverse_vol."""
    expected, covariance, limits = problem(seed, n)
    mine = own_optimizer("mine", lambda expected, covariance, limits: limits.exposure * risk_share(covariance))
    try:
        theirs = inverse_vol(expected, covariance, limits)
    except OptimizerError:
        with pytest.raises(OptimizerError):
            mine(expected, covariance, limits)
        return
    np.testing.assert_allclose(mine(expected, covariance, limits), theirs, atol=1e-6)


def risk_share(covariance: np.ndarray) -> np.ndarray:
    raw = 1.0 / np.sqrt(np.diag(covariance))
    return raw / raw.sum()


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda expected, covariance, limits: expected * np.nan, r"mine returned \(5,\) numbers, not 5 finite"),
        (lambda expected, covariance, limits: expected[:2], r"mine returned \(2,\) numbers"),
        (lambda expected, covariance, limits: 1 / 0, "mine failed: ZeroDivisionError"),
        (lambda expected: expected, "mine failed: TypeError"),
    ],
)
def test_an_own_optimizer_that_fails_leaves_it_to_the_fallback(function, said, monkeypatch):
    expected, covariance, limits = problem(1, 5)
    monkeypatch.setitem(OPTIMIZERS, "mine", own_optimizer("mine", function))
    weights, steps = optimize(("mine", "equal_weight"), expected, covariance, limits)
    np.testing.assert_array_equal(weights, equal_weight(expected, covariance, limits))
    assert [step.outcome for step in steps] == ["failed", "used"]
    with pytest.raises(OptimizerError, match=said):
        OPTIMIZERS["mine"](expected, covariance, limits)
