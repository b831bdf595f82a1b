"""Limits: what can be met, the least that must be sold, and the nearest weights."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbook.common.errors import OptimizerError
from openbook.portfolio.constraints import check_feasible, project, reduce_to, settle, solve_qp
from support import portfolios as lab

seeds = st.integers(0, 10**6)


def test_p01_too_few_names_are_named_with_the_way_out():
    with pytest.raises(OptimizerError, match=r"5 names × max_weight 0\.15 = 0\.75 < exposure 1; raise top_n or max_w"):
        check_feasible(lab.make_limits(5, upper=0.15))


def test_p01_full_sectors_are_named_with_their_room():
    groups = [0, 0, 0, 1, 1, 1]
    with pytest.raises(OptimizerError, match=r"leave room for 0\.6 < exposure 1 \(sector 0 0\.3, sector 1 0\.3\)"):
        check_feasible(lab.make_limits(6, upper=0.2, cap=0.3, groups=groups))


def test_no_name_at_all_is_an_error_unless_nothing_is_to_be_invested():
    with pytest.raises(OptimizerError, match="no eligible names"):
        check_feasible(lab.make_limits(0))
    check_feasible(lab.make_limits(0, exposure=0.0))


@pytest.mark.parametrize("field", ["upper", "cap", "exposure"])
def test_nan_never_passes_as_a_limit(field):
    with pytest.raises(OptimizerError, match="is NaN"):
        check_feasible(lab.make_limits(8, **{field: np.nan}))


def test_exactly_feasible_is_feasible():
    np.testing.assert_allclose(project(np.zeros(10), lab.make_limits(10, upper=0.1)), 0.1)


def test_reduce_by_hand():
    limits = lab.make_limits(5, upper=0.25, cap=[0.3, 1.0], groups=[0, 0, 1, 1, 1])
    weights = np.array([0.2, 0.2, 0.35, 0.2, 0.05])
    np.testing.assert_allclose(reduce_to(weights, limits), [0.15, 0.15, 0.25, 0.2, 0.05])


@settings(max_examples=150, deadline=None)
@given(seeds, st.integers(1, 40))
def test_reduce_holds_every_limit_and_raises_no_weight(seed, n):
    rng = np.random.default_rng(seed)
    limits = lab.random_limits(rng, n)
    weights = rng.dirichlet(np.full(n, 0.5))
    out = reduce_to(weights, limits)
    assert limits.excess(out) <= 1e-15
    assert (out <= weights).all()
    np.testing.assert_array_equal(reduce_to(out, limits), out)  # and once is enough


@settings(max_examples=100, deadline=None)
@given(seeds, st.integers(2, 30))
def test_reduce_leaves_the_fixed_alone(seed, n):
    rng = np.random.default_rng(seed)
    limits = lab.random_limits(rng, n)
    fixed = rng.random(n) < 0.3
    weights = reduce_to(rng.dirichlet(np.ones(n)), limits)
    weights = np.where(fixed, weights, rng.dirichlet(np.ones(n)))
    out = reduce_to(weights, limits, fixed)
    np.testing.assert_array_equal(out[fixed], weights[fixed])
    assert (out <= weights).all()
    assert limits.excess(out) <= 1e-12


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(2, 40))
def test_projection_is_the_nearest_point(seed, n):
    """x is nearest to y in a convex set iff (y − x)'(z − x) ≤ 0 for every z in it; the largest is a linear program."""
    rng = np.random.default_rng(seed)
    limits = lab.random_limits(rng, n)
    raw = limits.exposure * rng.dirichlet(np.full(n, 0.4))
    found = project(raw, limits)
    assert limits.excess(found) <= 1e-12
    assert found.sum() == pytest.approx(limits.exposure, abs=1e-6)
    away = raw - found
    assert -lab.least_linear(-away, limits) - away @ found <= 1e-6


def test_weights_within_the_limits_come_back_bit_for_bit():
    weights = np.full(16, 1 / 16)
    np.testing.assert_array_equal(project(weights, lab.make_limits(16, upper=0.1)), weights)


def test_the_rounding_that_a_solver_leaves_is_cut_and_a_hole_is_an_error():
    limits = lab.make_limits(4, upper=0.5)
    np.testing.assert_allclose(settle(np.array([0.5 + 1e-9, 0.5, 1e-9, -1e-12]), limits), [0.5, 0.5, 0, 0], atol=0)
    with pytest.raises(OptimizerError, match="unassigned"):
        settle(np.array([0.4, 0.4, 0.1, 0.0]), limits)
    with pytest.raises(OptimizerError, match="unassigned"):
        settle(np.full(4, np.nan), limits)


def test_p01_a_solver_that_stops_early_is_an_error():
    rng = np.random.default_rng(0)
    covariance = lab.random_covariance(rng, 20)
    with pytest.raises(OptimizerError, match="max iter reached' after 2 iterations"):
        solve_qp(covariance, np.zeros(20), np.ones((1, 20)), np.ones(1), lab.make_limits(20), 2)


def test_nothing_left_to_cut_is_not_a_division_by_zero():
    """The fixed names fill the whole and a rounding more; the rest, which is nothing, stays nothing."""
    limits = lab.make_limits(3, upper=0.6)
    weights = np.array([0.5, 0.5 + 2e-16, 0.0])
    np.testing.assert_array_equal(reduce_to(weights, limits, np.array([True, True, False])), weights)


def test_nan_weights_are_never_within_the_limits():
    assert np.isnan(lab.make_limits(2, upper=1.0).excess(np.array([np.nan, 0.5])))


def test_the_total_is_a_limit_of_its_own():
    total = lab.make_limits(3, upper=1.0)
    assert total.excess(np.array([1.0, 0.0, 0.0])) == 0
    assert total.excess(np.array([0.8, 0.3, 0.0])) == pytest.approx(0.1)
