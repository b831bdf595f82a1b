"""What it flatters to backtest today's members: the same strategies on them and on the members of each day.

    pytest -m benchmark -s tests/benchmarks/test_bench_survivorship.py

Real data, found by OPENBOOK_SHARED_DATA. Every strategy is decided every 21 sessions and pays the same costs. The two
sets come from two vendors: their daily returns of the same stocks correlate 0.99 and more.
"""

import numpy as np
import pandas as pd
import pytest

from openbook.backtest.engine import BacktestResult, VectorizedBacktester, equal_weight_universe
from openbook.market.ingest import admit
from openbook.market.sources import fetch, parse_source
from openbook.market.tables import Market
from openbook.portfolio.construct import PortfolioSettings
from openbook.signals.features import compute_features
from support.real_histories import all_members, survivors

pytestmark = pytest.mark.benchmark

FIRST, LAST, EVERY, HELD = "2014-07-01", "2017-12-29", 21, 50
STRATEGIES = {
    "momentum_12_1": "the winners of the past year",
    "reversal_36_12": "the losers of the years before",
    "volatility_252": "the most volatile",
}


def backtests(market: Market) -> dict[str, BacktestResult]:
    """Each strategy's 50 highest ranks, and all names, at equal weights."""
    days = market.dates[(market.dates >= FIRST) & (market.dates <= LAST)]
    dates = days[::EVERY]
    tester = VectorizedBacktester(
        settings=PortfolioSettings(optimizer="equal_weight", top_n=HELD, max_weight=0.05, rebalance_every=1)
    )
    features = compute_features(market, list(STRATEGIES), dates=days)
    found = {"every member": tester.run(equal_weight_universe(market, dates), market.upto(LAST))}
    for i, name in enumerate(STRATEGIES):
        scores = pd.DataFrame(features.values[:, :, i], index=features.dates, columns=features.symbols)
        weights = tester.decide(scores.astype("float64"), market, None, dates).weights
        found[name] = tester.run(weights, market.upto(LAST))
    return found


def test_what_survivors_flatter(shared_data):
    sides = {}
    for side, settings in (("today's members", survivors), ("members of the day", all_members)):
        market, _ = admit(fetch(parse_source({"provider": "files", **settings(shared_data)})))
        sides[side] = backtests(market)
    table = pd.DataFrame(
        {
            (side, figure): {name: getattr(result, figure) for name, result in found.items()}
            for side, found in sides.items()
            for figure in ("cagr", "sharpe", "max_drawdown")
        }
    )
    today, then = (table[side]["cagr"] for side in sides)
    print(f"\n{FIRST} to {LAST}, decided every {EVERY} sessions, after costs")
    print(table.to_string(float_format="{:.3f}".format))
    print("flattered, a year: " + "  ".join(f"{name} {gap:+.2%}" for name, gap in (today - then).items()))
    assert np.isfinite(table.to_numpy()).all()
