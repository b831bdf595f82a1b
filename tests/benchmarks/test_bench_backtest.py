"""One backtest of given weights beside vectorbt and bt, and the whole grid of the tournament, in one run.

    pytest -m benchmark -s tests/benchmarks/test_bench_backtest.py

500 stocks over ten years, weekly rebalances over the last eight, 50 names held. The peers are used as their manuals
do (see backtest_peers), their inputs laid out beforehand, untimed, and everything compiled. Final equity is compared
before a clock is read; then they run in turns, so that a busy machine is busy for all.
"""

import time
from functools import partial
from importlib.metadata import version
from statistics import median

import pandas as pd
import pytest

from openbook.backtest.engine import VectorizedBacktester
from openbook.backtest.grid import backtest_grid
from openbook.backtest.sensitivity import sensitivity
from openbook.backtest.simulate import read_prices
from openbook.portfolio.optimizers import OPTIMIZERS
from openbook.portfolio.regime import detect_regime
from openbook.portfolio.target_weights import PortfolioSettings
from support import backtest_peers as peers

pytestmark = pytest.mark.benchmark

ROUNDS = 5
OURS_A_ROUND = 20
AT_LEAST = {"vectorbt": 30, "bt": 200}
GRID_SECONDS = 20
PEERS = {
    "vectorbt": (peers.sized_for_vectorbt, peers.with_vectorbt),
    "bt": (peers.dated_for_bt, peers.with_bt),
}


@pytest.fixture
def installed():
    """Here and not above: importing them takes seconds, which collecting the tests should not."""
    for name in PEERS:
        pytest.importorskip(name, reason="the peer is not installed; pip install 'openbook[bench]'")


@pytest.fixture(scope="module")
def market():
    return peers.closes_only(500, 2520, seed=1)


@pytest.fixture(scope="module")
def evenings(market):
    """Every fifth session of the last eight years."""
    return market.dates[-2040:-1:5]


def milliseconds(call) -> float:
    """Wall clock of one call."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", PEERS)
def test_the_recorded_numbers_are_what_the_programs_say(name):
    """The quick tests compare with these without having the programs."""
    lay_out, run = PEERS[name]
    market, weights = peers.small_case()
    inputs = lay_out(weights, market.close)
    assert run(inputs, market.close, 0.0).iloc[-1] == pytest.approx(peers.RECORDED_FREE, rel=1e-9)
    known = peers.RECORDED.get(f"{name} {version(name)}")
    if known is None:
        pytest.skip(f"recorded with {', '.join(peers.RECORDED)}; this is {name} {version(name)}")
    assert run(inputs, market.close).iloc[-1] == pytest.approx(known, rel=1e-9)


@pytest.mark.usefixtures("installed")
def test_one_backtest_of_given_weights(market, evenings):
    weights = peers.top_weights(peers.slow_scores(market, 2), evenings, 50, seed=3)
    tester, close, tape = (
        VectorizedBacktester(costs=peers.COSTS, capital=peers.CAPITAL),
        market.close,
        read_prices(market),
    )
    calls = {"openbook": lambda: tester.run(weights, market), "on a shared tape": lambda: tester.run_on(weights, tape)}
    ours = calls["openbook"]().equity.iloc[-1]
    for name, (lay_out, run) in PEERS.items():
        calls[name] = partial(run, lay_out(weights, close), close)
        theirs = calls[name]().iloc[-1]
        print(f"\n{name} {version(name)}: final equity {theirs / ours - 1:+.4%} from ours, {ours:,.0f} USD", end="")
        assert theirs == pytest.approx(ours, rel=5e-4)
    rounds = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            rounds[name] += [milliseconds(call) for _ in range(1 if name in PEERS else OURS_A_ROUND)]
    print(f"\n{len(evenings)} rebalances of 50 from 500:")
    for name, took in rounds.items():
        ratio = median(took) / median(rounds["openbook"])
        print(f"{name}: median {median(took):.1f} ms, {ratio:.1f}×; " + " ".join(f"{ms:.1f}" for ms in took))
    for name, factor in AT_LEAST.items():
        assert median(rounds[name]) >= factor * median(rounds["openbook"])


def test_the_grid_of_five_models_and_five_optimizers(market, evenings):
    """Decisions with everything in them, on two processes; the same bits as in one."""
    regimes = detect_regime(market)["regime"]
    scores = {f"model {seed}": peers.slow_scores(market, seed) for seed in range(5)}
    tester = VectorizedBacktester(settings=PortfolioSettings(top_n=50), costs=peers.COSTS)
    asked = {"optimizers": list(OPTIMIZERS), "backtester": tester, "dates": evenings}
    alone = backtest_grid(scores, market, regimes, **asked)
    took, found = [], {}
    for _ in range(3):
        start = time.perf_counter()
        found = backtest_grid(scores, market, regimes, **asked, n_jobs=2)
        took.append(time.perf_counter() - start)
    for pair, result in found.items():
        pd.testing.assert_series_equal(result.equity, alone[pair].equity, check_exact=True)
    print(f"\n{len(found)} backtests: median {median(took):.1f} s; " + " ".join(f"{s:.1f}" for s in took))
    start = time.perf_counter()
    sensitivity(scores, market, regimes, pairs=list(found), backtester=tester, dates=evenings, n_jobs=2)
    print(f"their sensitivity: {time.perf_counter() - start:.1f} s")
    assert median(took) <= GRID_SECONDS
