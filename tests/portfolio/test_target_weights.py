"""One evening on arrays: ranks, choice, and the steps that follow the optimizer."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from openbook.common.errors import OptimizerError
from openbook.portfolio.target_weights import (
    DUST,
    PortfolioSettings,
    RegimeAdaptation,
    WeightInputs,
    apply_band,
    choose,
    decide_weights,
    has_history,
    rank_names,
    rank_rows,
    recent_covariance,
    smooth,
    trade_fraction_within,
    unchosen,
)
from openbook.portfolio.turnover import traded_turnover, turnover
from support import portfolios as lab

seeds = st.integers(0, 10**6)


# ---- settings ----


@pytest.mark.parametrize(
    "wrong",
    [
        {"optimizer": "magic"},
        {"fallbacks": ("min_volatility", "magic")},
        {"regimes": {3: RegimeAdaptation()}},
        {"regimes": {0: {"optimizer": "magic"}}},
        {"max_weight": float("nan")},
        {"top_k": 10},
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        PortfolioSettings(**wrong)


def test_settings_travel_as_json():
    settings = PortfolioSettings(top_n=12, regimes={0: RegimeAdaptation(exposure=0.2, optimizer="hrp")})
    assert PortfolioSettings.model_validate_json(settings.model_dump_json(), strict=True) == settings


def test_rule_of_a_regime_is_the_tighter_one_and_can_be_switched_off():
    settings = PortfolioSettings(
        max_weight=0.1, regimes={0: RegimeAdaptation(exposure=0.4, max_weight=0.05, optimizer="hrp")}
    )
    off = settings.rule(0)
    assert (off.exposure, off.max_weight, off.optimizer) == (0.4, 0.05, "hrp")
    assert settings.rule(2) == RegimeAdaptation(exposure=1.0, max_weight=0.1, optimizer="max_sharpe")
    fixed = settings.model_copy(update={"enable_regime_adaptation": False})
    assert fixed.rule(0) == fixed.rule(2)


# ---- ranks and choice ----


@settings(max_examples=50, deadline=None)
@given(seeds)
def test_rank_rows_is_pandas_rank(seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 8, (5, 12)).astype(float)  # with ties
    scores[rng.random(scores.shape) < 0.2] = np.nan
    table = pd.DataFrame(scores)
    count = table.notna().sum(axis=1)
    expected = table.rank(axis=1).sub(1).div((count - 1).clip(lower=1), axis=0).sub(0.5 * (count > 1), axis=0)
    np.testing.assert_allclose(rank_rows(scores), expected.to_numpy(), atol=1e-15)


def test_equal_scores_rank_exactly_zero():
    np.testing.assert_array_equal(rank_rows(np.full((2, 7), 3.3)), 0.0)


def test_smooth_by_hand():
    ranks = np.array([[0.5, np.nan, 0.1], [-0.5, 0.3, np.nan]])
    found = smooth(ranks, half_life=1.0)  # weights 1/2, 1
    np.testing.assert_allclose(found, [(0.25 - 0.5) / 1.5, 0.3, np.nan])
    np.testing.assert_array_equal(smooth(ranks, half_life=0.0), ranks[-1])


def test_ties_go_to_the_symbol_that_sorts_first():
    np.testing.assert_array_equal(
        rank_names(np.array([0.1, 0.2, 0.2, np.nan, 0.1]), np.array([1, 1, 1, 0, 1], dtype=bool)), [3, 1, 2, 0, 4]
    )


def test_hold_buffer_by_hand():
    rank = np.array([1, 2, 3, 4, 5, 6, 0])
    held = np.array([0, 0, 0, 1, 0, 1, 1], dtype=bool)
    np.testing.assert_array_equal(choose(rank, held, top_n=2, hold_buffer=1.0), [0, 1])
    np.testing.assert_array_equal(choose(rank, held, top_n=2, hold_buffer=2.0), [0, 3])  # rank 4 stays, rank 6 goes
    np.testing.assert_array_equal(choose(rank, held, top_n=2, hold_buffer=3.0), [3, 5])
    np.testing.assert_array_equal(choose(rank, held, top_n=1, hold_buffer=6.0), [3])  # the better of two that may stay
    np.testing.assert_array_equal(choose(rank, held, top_n=9, hold_buffer=1.0), range(6))  # never one without a rank


def test_history_needs_a_price_tonight_and_on_most_sessions():
    close = np.ones((100, 4))
    close[-1, 1] = np.nan
    close[:20, 2] = np.nan
    close[40:45, 3] = np.nan
    np.testing.assert_array_equal(has_history(close, 0.9), [True, False, False, True])


def test_the_return_over_a_gap_belongs_to_the_day_after_it():
    close = np.exp(np.cumsum(np.random.default_rng(0).normal(size=(60, 3)) * 0.02, axis=0))
    gap, carried = close.copy(), close.copy()
    gap[30:33, 1] = np.nan
    carried[30:33, 1] = close[29, 1]
    np.testing.assert_array_equal(recent_covariance(gap), recent_covariance(carried))


# ---- the way there ----


def test_turnover_counts_cash():
    assert turnover(np.array([0.5, 0.5]), np.zeros(2)) == pytest.approx(1.0)
    assert turnover(np.array([0.3, 0.3]), np.array([0.5, 0.5])) == pytest.approx(0.4)
    assert turnover(np.array([0.7, 0.3]), np.array([0.5, 0.5])) == pytest.approx(0.2)


def test_turnover_is_the_larger_of_bought_and_sold():
    new, old = np.array([0.5, 0.0, 0.1]), np.array([0.2, 0.3, 0.2])
    change = 1000 * (new - old)
    assert traded_turnover(change.clip(0).sum(), -change.clip(max=0).sum(), 1000) == pytest.approx(turnover(new, old))


def test_p04_nan_weight_gives_nan_turnover():
    assert np.isnan(turnover(np.array([np.nan, 0.5]), np.zeros(2)))
    assert np.isnan(traded_turnover(np.nan, 1.0, 10.0))


def test_band_by_hand():
    limits = lab.make_limits(5, upper=0.4)
    held = np.array([0.300, 0.200, 0.002, 0.000, 0.398])
    target = np.array([0.304, 0.250, 0.000, 0.003, 0.400])
    goal, kept = apply_band(target, held, limits, 0.005)
    np.testing.assert_allclose(goal, [0.300, 0.250, 0.0, 0.0, 0.398])  # the exit of 0.002 is made
    np.testing.assert_array_equal(kept, [True, False, False, True, True])


def test_band_never_leaves_a_sector_over_its_cap():
    limits = lab.make_limits(3, upper=1.0, cap=[0.3, 1.0], groups=[0, 0, 1])
    goal, kept = apply_band(np.array([0.15, 0.15, 0.7]), np.array([0.152, 0.151, 0.697]), limits, 0.005)
    np.testing.assert_allclose(goal, [0.15, 0.15, 0.697])
    np.testing.assert_array_equal(kept, [False, False, True])


def test_trade_fraction_within_by_hand():
    held, goal = np.array([0.5, 0.5, 0.0]), np.array([0.0, 0.5, 0.5])
    assert trade_fraction_within(held, held, goal, 0.5) == 1.0
    assert trade_fraction_within(held, held, goal, 0.2) == pytest.approx(0.4)
    floor = np.array([0.2, 0.5, 0.0])  # a cut of 0.3 that must be made
    assert trade_fraction_within(held, floor, goal, 0.3) == 0.0
    part = trade_fraction_within(held, floor, goal, 0.4)
    assert turnover(floor + part * (goal - floor), held) == pytest.approx(0.4)


# ---- every limit, after every step ----


def random_evening(seed: int, n: int, half_life: float) -> WeightInputs:
    """Anything that may come: few or many sectors, drifted weights over every limit, locked names, missing scores."""
    rng = np.random.default_rng(seed)
    close = np.exp(np.cumsum(rng.normal(size=(80, n)) * rng.uniform(0.005, 0.04, n), axis=0))
    close[rng.random(close.shape) < 0.01] = np.nan
    ranks = rank_rows(np.where(rng.random((int(6 * half_life) or 1, n)) < 0.1, np.nan, rng.normal(size=(1, n))))
    held = rng.dirichlet(np.full(n, 0.3)) * rng.choice([0.0, 0.5, 1.0])
    held[held < 0.01] = 0.0
    locked = (held > 0) & ((rng.random(n) < 0.1) | np.isnan(close[-1]))
    count = int(rng.integers(1, 6))
    return WeightInputs(
        ranks=ranks,
        close=close,
        held=held,
        locked=locked,
        sectors=rng.integers(0, count, n),
        sector_names=tuple(f"sector {i}" for i in range(count)),
        sector_caps=bool(rng.random() < 0.8),
        symbols=np.array(lab.names(n), dtype=object),
        regime=int(rng.integers(0, 3)),
    )


@settings(max_examples=150, deadline=None)
@given(
    seeds,
    st.integers(3, 40),
    st.sampled_from(["max_sharpe", "min_volatility", "hrp", "inverse_vol", "equal_weight"]),
    st.sampled_from([0.05, 0.2, 0.4, 1.0]),
    st.sampled_from([0.0, 0.002, 0.03]),
)
def test_every_limit_holds_after_every_step(seed, n, optimizer, cap, band):
    evening = random_evening(seed, n, 2.0)
    rules = PortfolioSettings(
        optimizer=optimizer,
        top_n=max(1, n // 2),
        max_turnover=cap,
        no_trade_band=band,
        lookback=79,
        cash_absorbs=True,
        fallbacks=("min_volatility", "inverse_vol", "equal_weight"),
    )
    nobody = not (np.isfinite(evening.ranks[-1]) & has_history(evening.close, 0.9) & ~evening.locked).any()
    if nobody and rules.rule(evening.regime).exposure > evening.held[evening.locked].sum() + DUST:
        with pytest.raises(OptimizerError, match="no eligible names"):
            decide_weights(evening, rules)
        return
    decision = decide_weights(evening, rules)
    weights, held, locked = decision.weights, evening.held, evening.locked
    free = np.where(locked, 0.0, weights)
    assert decision.limits.excess(decision.target[decision.chosen]) <= 1e-9
    assert decision.hard.excess(free) <= 1e-9
    assert weights.sum() <= 1 + 1e-12
    np.testing.assert_array_equal(weights[locked], held[locked])
    if (np.where(locked, 0.0, held) > DUST).any():
        must = turnover(np.where(locked, held, decision.floor), held)
        assert turnover(weights, held) <= max(cap, must) + 1e-9
        if turnover(weights, held) > cap + 1e-9:
            np.testing.assert_allclose(free, decision.floor, atol=1e-12)  # exactly what had to be sold
    if decision.trade_fraction == 1.0:
        np.testing.assert_array_equal(weights[decision.kept], held[decision.kept])
        exits = (decision.target <= DUST) & (held > DUST)
        assert (weights[exits] == 0).all()


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_deciding_again_from_the_target_changes_nothing(seed):
    evening = random_evening(seed, 20, 2.0)
    evening = WeightInputs(**{**vars(evening), "held": np.zeros(20), "locked": np.zeros(20, dtype=bool)})
    rules = PortfolioSettings(optimizer="inverse_vol", top_n=8, lookback=79, cash_absorbs=True)
    first = decide_weights(evening, rules)
    again = decide_weights(WeightInputs(**{**vars(evening), "held": first.weights}), rules)
    np.testing.assert_array_equal(again.weights, first.weights)
    assert turnover(again.weights, first.weights) == 0


@pytest.mark.parametrize(
    ("top_n", "hold_buffer", "ranked", "said"),
    [
        (50, 3.0, 20, "top_n 50 of 20 names: every name is held, so the model has no effect; lower portfolio.top_n"),
        (20, 1.0, 20, "top_n 20 of 20 names"),
        (19, 1.0, 20, ""),  # one name is left out, and the model says which
        (10, 2.0, 20, "hold_buffer 2 × top_n 10 of 20 names: held names stay whatever their rank"),
        (10, 1.9, 20, ""),
        (5, 2.0, 0, ""),  # an evening without any name is an error of its own
    ],
)
def test_settings_that_leave_the_model_nothing_to_choose_are_named(top_n, hold_buffer, ranked, said):
    found = unchosen(ranked, PortfolioSettings(top_n=top_n, hold_buffer=hold_buffer))
    assert found.startswith(said)
    assert bool(found) == bool(said)
