"""Optimizers beside PyPortfolioOpt, and what one decision costs; run with `pytest -m benchmark -s`.

Agreement is asserted before a clock is read; the clock then runs ours and theirs in turn, warm, in one process.
"""

import statistics
import time

import numpy as np
import pandas as pd
import pytest

from openbook.backtest.engine import VectorizedBacktester
from openbook.market.tables import Market, empty_actions
from openbook.portfolio.constraints import Limits
from openbook.portfolio.construct import PortfolioSettings
from openbook.portfolio.optimizers import OPTIMIZERS, expected_returns, hrp_raw, shrunk_covariance
from openbook.portfolio.pypfopt_check import pypfopt_weights

pytestmark = pytest.mark.benchmark
ROUNDS = 9
N = 50


def timed(call) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def in_turn(ours, theirs) -> tuple[list[float], list[float]]:
    """Milliseconds of each round of both, taken in turn after one warm-up."""
    ours(), theirs()
    pairs = [(timed(ours), timed(theirs)) for _ in range(ROUNDS)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def show(name: str, ours: list[float], theirs: list[float]) -> float:
    """Print medians, ratio and every round; returns the ratio."""
    ratio = statistics.median(theirs) / statistics.median(ours)
    print(f"\n{name}: {statistics.median(ours):.2f} ms against {statistics.median(theirs):.2f} ms, {ratio:.0f}×")
    print("  ours  ", " ".join(f"{t:.2f}" for t in ours))
    print("  theirs", " ".join(f"{t:.2f}" for t in theirs))
    return ratio


@pytest.fixture(scope="module")
def problem():
    """50 names in 11 sectors, covariance from 252 sessions, limits of 15% and 30%."""
    rng = np.random.default_rng(0)
    returns = rng.normal(size=(252, N)) * rng.uniform(0.01, 0.03, N) + rng.normal(size=(252, 1)) * 0.01
    covariance = 252 * shrunk_covariance(returns)
    expected = expected_returns(rng.uniform(0.3, 2.0, N), np.sqrt(np.diag(covariance)), 0.03)
    names, sectors = tuple(f"S{i:03d}" for i in range(N)), tuple(f"sector {i}" for i in range(11))
    limits = Limits(np.full(N, 0.15), np.arange(N) % 11, np.full(11, 0.30), 1.0, names, sectors)
    return expected, covariance, limits


@pytest.mark.parametrize("name", ["max_sharpe", "min_volatility"])
def test_quadratic_problems_beside_pypfopt(problem, name):
    expected, covariance, limits = problem
    ours, theirs = OPTIMIZERS[name](*problem), pypfopt_weights(name, *problem)
    risk = [np.sqrt(w @ covariance @ w) for w in (ours, theirs)]
    gain = [expected @ w for w in (ours, theirs)] if name == "max_sharpe" else [1.0, 1.0]
    assert gain[0] / risk[0] == pytest.approx(gain[1] / risk[1], rel=1e-6)
    assert limits.excess(ours) <= 1e-9
    rounds = in_turn(lambda: OPTIMIZERS[name](*problem), lambda: pypfopt_weights(name, *problem))
    assert show(f"{name}, {N} names", *rounds) > 5


def test_hrp_beside_pypfopt(problem):
    from pypfopt import HRPOpt

    covariance, names = problem[1], list(problem[2].symbols)
    frame = pd.DataFrame(covariance, names, names)
    theirs = pd.Series(HRPOpt(cov_matrix=frame).optimize())[names]
    np.testing.assert_allclose(hrp_raw(covariance), theirs, rtol=1e-9)
    rounds = in_turn(lambda: hrp_raw(covariance), lambda: HRPOpt(cov_matrix=frame).optimize())
    assert show(f"hrp, {N} names", *rounds) > 5


def test_ledoit_wolf_beside_pypfopt():
    from pypfopt.risk_models import CovarianceShrinkage

    prices = pd.DataFrame(np.exp(np.cumsum(np.random.default_rng(1).normal(size=(253, 500)) * 0.02, axis=0)))
    returns = prices.pct_change().iloc[1:].to_numpy()
    np.testing.assert_allclose(252 * shrunk_covariance(returns), CovarianceShrinkage(prices).ledoit_wolf(), rtol=1e-8)
    rounds = in_turn(lambda: shrunk_covariance(returns), lambda: CovarianceShrinkage(prices).ledoit_wolf())
    show("Ledoit-Wolf, 500 names", *rounds)


def test_a_decision_of_50_from_500():
    """Weekly decisions with everything in them, and the walk; milliseconds each."""
    rng, length = np.random.default_rng(0), 800
    dates = pd.bdate_range("2015-01-05", periods=length, unit="us")
    symbols = pd.Index([f"S{i:03d}" for i in range(500)], dtype="str")
    noise = rng.normal(size=(length, 500)) * rng.uniform(0.01, 0.03, 500) + rng.normal(size=(length, 1)) * 0.01
    close = pd.DataFrame(50 * np.exp(np.cumsum(noise, axis=0)), dates, symbols)
    market = Market(
        close=close,
        adjusted=close.copy(),
        open=close.shift(1).fillna(50.0),
        name="bench",
        execution="next_open",
        actions=empty_actions(),
        sectors=pd.Series([f"sector {i % 11}" for i in range(500)], symbols),
    )
    scores = pd.DataFrame(rng.normal(size=close.shape), dates, symbols).ewm(halflife=30).mean()
    evenings = market.dates[260::5]
    print()
    for name in OPTIMIZERS:
        tester = VectorizedBacktester(settings=PortfolioSettings(optimizer=name))
        weights = tester.decide(scores, market, None, evenings[:5]).weights
        rounds = [timed(lambda t=tester: t.decide(scores, market, None, evenings)) / len(evenings) for _ in range(3)]
        walked = timed(lambda t=tester, w=weights: t.run(w, market))
        said = " ".join(f"{t:.2f}" for t in rounds)
        print(f"{name}: {statistics.median(rounds):.2f} ms a decision ({said}); walk {walked:.0f} ms")
        assert statistics.median(rounds) < 10
