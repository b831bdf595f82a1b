"""Selection: 25 combinations of 2,000 sessions, from their backtests to the report, and its two costly parts beside
the same by the book."""

import statistics
import time
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from openbook import metrics
from openbook.selection import SelectionWeights, Thresholds, rank_stability, select_champion, write_report
from support.worthless import field_of, worthless

pytestmark = pytest.mark.benchmark


def seconds(function, rounds: int) -> tuple[float, list[float]]:
    """Median and all rounds."""
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        found.append(time.perf_counter() - start)
    return statistics.median(found), [round(each, 3) for each in found]


def whole(results, universe) -> str:
    """Everything that the notebook of the selection computes, but for the pictures."""
    field = field_of(results, universe)
    selection = select_champion(field, SelectionWeights(), Thresholds())
    return write_report(
        selection, SelectionWeights(), Thresholds(), stability=rank_stability(field, SelectionWeights(), seed=0)
    )


def test_a_whole_selection():
    results, universe = worthless(0, 2000, number=25, market_sharpe=0.8)
    assert whole(results, universe) == whole(results, universe)
    median, rounds = seconds(lambda: whole(results, universe), 3)
    print(f"\nwhole selection, 25 combinations × 2,000 sessions: {median:.2f} s; rounds {rounds}")


def plain_overfitting(returns: np.ndarray, blocks: int) -> float:
    """The procedure as the paper has it, each half put together and measured."""
    parts, below = np.array_split(returns, blocks), []
    for half in combinations(range(blocks), blocks // 2):
        mine = np.concatenate([parts[k] for k in half])
        other = np.concatenate([parts[k] for k in range(blocks) if k not in half])
        best = (mine.mean(axis=0) / mine.std(axis=0, ddof=1)).argmax()
        there = other.mean(axis=0) / other.std(axis=0, ddof=1)
        below.append((there < there[best]).sum() + 1 <= (returns.shape[1] + 1) / 2)
    return float(np.mean(below))


def test_overfitting_from_block_sums():
    returns = 0.01 * np.random.default_rng(1).standard_normal((2000, 30))
    table = pd.DataFrame(returns)
    assert metrics.probability_of_backtest_overfitting(table).pbo == plain_overfitting(returns, 16)
    ours, our_rounds = seconds(lambda: metrics.probability_of_backtest_overfitting(table), 5)
    plain, plain_rounds = seconds(lambda: plain_overfitting(returns, 16), 1)
    print(f"\noverfitting, 12,870 splits × 30: {ours:.3f} s {our_rounds}; half by half {plain:.2f} s {plain_rounds}; "
          f"{plain / ours:.0f}×")  # fmt: skip


def test_intervals_from_running_sums():
    returns = 0.01 * np.random.default_rng(2).standard_normal((25, 2000))

    def all_of_them() -> list[tuple[float, float]]:
        return [metrics.stationary_bootstrap_interval(row, seed=0) for row in returns]

    def session_by_session(row: np.ndarray, draws: int = 2000) -> tuple[float, float]:
        rng, n, chance = np.random.default_rng(1), len(row), 1 / metrics.optimal_block_length(row)
        place, total = rng.integers(0, n, draws), np.zeros(draws)
        for _ in range(n):
            total += row[place]
            place = np.where(rng.random(draws) < chance, rng.integers(0, n, draws), (place + 1) % n)
        return tuple(np.quantile(total / n * 252, [0.025, 0.975]))

    low, high = all_of_them()[0]
    assert session_by_session(returns[0]) == pytest.approx((low, high), abs=0.05 * (high - low))
    ours, our_rounds = seconds(all_of_them, 3)
    plain, plain_rounds = seconds(lambda: [session_by_session(row) for row in returns[:5]], 1)
    print(f"\nintervals, 25 × 2,000 × 2,000: {ours:.2f} s {our_rounds}; session by session {plain * 5:.2f} s "
          f"(5 of 25: {plain_rounds}); {plain * 5 / ours:.1f}×")  # fmt: skip
