"""Overfitting, intervals and track records: by hand, by papers, by the program arch, and by slow twins."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from arch import bootstrap as arch
from scipy import stats

from openbook import metrics
from openbook.common.errors import ParameterError
from openbook.selection import Thresholds, filter_by_thresholds
from support.worthless import field_of, worthless


def series(phi: float, n: int, seed: int) -> np.ndarray:
    """Returns of which a share `phi` carries over to the next session."""
    noise = np.random.default_rng(seed).standard_normal(n)
    carried = noise.copy()
    for t in range(1, n):
        carried[t] = phi * carried[t - 1] + noise[t]
    return 0.01 * carried + 0.0004


def field(seed: int, sessions: int = 320, number: int = 10) -> pd.DataFrame:
    """Returns of worthless combinations."""
    return pd.DataFrame(0.01 * np.random.default_rng(seed).standard_normal((sessions, number)))


# --- overfitting ------------------------------------------------------------------------------------------------------


def slow_overfitting(returns: pd.DataFrame, blocks: int) -> metrics.Overfitting:
    """The paper's procedure step by step, split by split."""
    parts = [returns.iloc[rows] for rows in np.array_split(np.arange(len(returns)), blocks)]
    logits, inside, outside = [], [], []
    for half in combinations(range(blocks), blocks // 2):
        mine = pd.concat([parts[k] for k in half])
        other = pd.concat([parts[k] for k in range(blocks) if k not in half])
        chosen = pd.Series([metrics.sharpe(mine[name], 1) for name in returns]).fillna(-np.inf)
        there = pd.Series([metrics.sharpe(other[name], 1) for name in returns])
        best = chosen.idxmax()
        share = stats.rankdata(there.fillna(-np.inf))[best] / (returns.shape[1] + 1)
        logits.append(np.log(share / (1 - share)))
        inside.append(chosen[best])
        outside.append(there[best])
    slope = stats.linregress(inside, outside).slope
    loss = np.mean(np.array(outside) < 0)
    return metrics.Overfitting(np.mean(np.array(logits) <= 0), np.array(logits), len(logits), slope, loss)


@pytest.mark.parametrize(("blocks", "number", "sessions"), [(4, 5, 90), (6, 4, 97), (8, 2, 131)])
def test_overfitting_is_what_the_slow_twin_finds(blocks, number, sessions):
    returns = field(3, sessions, number) + 0.001 * np.arange(number)
    returns.iloc[5:20, 0] = np.nan
    returns.iloc[:, 1] = returns.iloc[:, 1].round(2)
    found = metrics.probability_of_backtest_overfitting(returns, blocks=blocks)
    slow = slow_overfitting(returns, blocks)
    np.testing.assert_allclose(found.logits, slow.logits, atol=1e-12)
    assert (found.pbo, found.splits, found.loss) == (slow.pbo, slow.splits, slow.loss)
    assert found.slope == pytest.approx(slow.slope, rel=1e-9)


def test_overfitting_by_hand():
    """Each is best where the other is not: the winner of one half loses the other, 1 of 2, ω = 1/3."""
    returns = pd.DataFrame({"a": [0.01, 0.03, -0.01, -0.03], "b": [-0.01, -0.03, 0.01, 0.03]})
    found = metrics.probability_of_backtest_overfitting(returns, blocks=2)
    assert (found.pbo, found.splits, found.loss) == (1.0, 2, 1.0)
    assert found.logits.tolist() == pytest.approx([np.log(0.5)] * 2)
    assert np.isnan(found.slope)  # one Sharpe ratio inside, both times


def test_one_that_is_always_best_is_not_overfitted():
    returns = field(1)
    returns[3] = returns.max(axis=1) + 0.001
    found = metrics.probability_of_backtest_overfitting(returns)
    assert (found.pbo, found.splits, found.loss) == (0.0, 12_870, 0.0)
    assert found.logits == pytest.approx(np.log(10))  # first of ten


def test_among_worthless_combinations_the_winner_is_above_the_median_half_of_the_time():
    found = [metrics.probability_of_backtest_overfitting(field(seed), blocks=8).pbo for seed in range(200)]
    assert np.mean(found) == pytest.approx(0.5, abs=4 * np.std(found) / np.sqrt(200))


def test_neither_scale_nor_the_order_of_combinations_matters():
    returns = field(6)
    found = metrics.probability_of_backtest_overfitting(returns, blocks=8)
    for other in (7.0 * returns, returns[returns.columns[::-1]]):
        np.testing.assert_allclose(metrics.probability_of_backtest_overfitting(other, blocks=8).logits, found.logits)


def test_equal_ones_share_their_rank_and_idle_ones_rank_last():
    same = field(7, number=1)
    twins = metrics.probability_of_backtest_overfitting(pd.concat([same, same], axis=1))
    assert (twins.pbo, set(twins.logits)) == (1.0, {0.0})
    idle = metrics.probability_of_backtest_overfitting(pd.concat([same * 0 + 0.001, same - 0.01], axis=1))
    assert idle.pbo == 0.0
    assert metrics.probability_of_backtest_overfitting(pd.concat([same * 0, same * 0], axis=1)).pbo == 1.0


def test_nothing_to_choose_from_is_undefined():
    for nothing in (field(0, number=1), field(0, number=0), field(0, sessions=31)):
        found = metrics.probability_of_backtest_overfitting(nothing)
        assert np.isnan([found.pbo, found.slope, found.loss]).all()
        assert (found.splits, len(found.logits)) == (0, 0)
    for blocks in (3, 0, 22, 4.0):
        with pytest.raises(ParameterError, match="blocks"):
            metrics.probability_of_backtest_overfitting(field(0), blocks=blocks)


# --- intervals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phi", [-0.5, -0.2, 0.0, 0.3, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("n", [20, 60, 250, 500, 1000, 2000])
def test_block_length_is_archs(phi, n):
    """Ours is at least one session."""
    x = series(phi, n, seed=n)
    theirs = max(1.0, arch.optimal_block_length(x)["stationary"].item())
    assert metrics.optimal_block_length(x) == pytest.approx(theirs, rel=1e-9)
    assert metrics.optimal_block_length(np.insert(x, 7, np.nan)) == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize(
    ("phi", "n", "seed", "block", "published"),
    [  # arch 8.0.0: StationaryBootstrap(block, x, seed=7).conf_int(mean·252, 100_000, method="percentile")
        (0.0, 500, 5, 1.0, (-0.10895469, 0.31629676)),
        (0.4, 1000, 6, 10.0, (-0.19190054, 0.29209179)),
    ],
)
def test_published_bootstrap_interval(phi, n, seed, block, published):
    """Other random numbers, so alike to the error of a quantile of 40,000 draws, about 1% of the width."""
    x = series(phi, n, seed)
    found = metrics.stationary_bootstrap_interval(x, mean_block=block, draws=40_000, seed=1)
    assert found == pytest.approx(published, abs=0.015 * (published[1] - published[0]))


def test_without_blocks_the_interval_is_the_textbook_one():
    x = series(0.0, 2000, 8)
    low, high = metrics.stationary_bootstrap_interval(x, mean_block=1, draws=8_000, seed=2)
    half = 1.96 * x.std() / np.sqrt(2000) * 252
    assert (low, high) == pytest.approx((x.mean() * 252 - half, x.mean() * 252 + half), abs=0.05 * half)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """Noise that carries over, 400 times: day by day the interval is too narrow, in blocks nearly right."""
    samples = [series(0.3, 400, 100 + k) - 0.0004 for k in range(400)]
    covered = {}
    for block in (None, 1.0):
        ends = [
            metrics.stationary_bootstrap_interval(x, mean_block=block, draws=200, seed=k) for k, x in enumerate(samples)
        ]
        covered[block] = np.mean([low <= 0 <= high for low, high in ends])
    assert 0.88 <= covered[None] <= 0.98
    assert covered[1.0] < covered[None]


def test_laws_of_intervals():
    x = series(0.2, 300, 9)
    low, high = metrics.stationary_bootstrap_interval(x, seed=3)
    assert (low, high) == metrics.stationary_bootstrap_interval(x, seed=3)
    assert (low, high) == metrics.stationary_bootstrap_interval(np.append(x, np.nan), seed=3)
    assert low < x.mean() * 252 < high
    wide = metrics.stationary_bootstrap_interval(x, level=0.99, seed=3)
    assert wide[0] < low < high < wide[1]
    assert metrics.stationary_bootstrap_interval(x + 0.001, seed=3) == pytest.approx((low + 0.252, high + 0.252))
    assert metrics.stationary_bootstrap_interval(2 * x, seed=3) == pytest.approx((2 * low, 2 * high))


def test_intervals_where_there_is_nothing_to_say():
    for nothing in ([], [np.nan] * 40, [0.01, -0.02] * 7, np.full(50, 0.001), [*series(0, 40, 1), np.inf]):
        assert np.isnan(metrics.stationary_bootstrap_interval(nothing, seed=0)).all()
        assert np.isnan(metrics.optimal_block_length(nothing))
    for wrong in ({"level": 1.0}, {"draws": 0}, {"mean_block": 0.5}, {"mean_block": float("nan")}):
        with pytest.raises(ParameterError, match="mean_block at least 1"):
            metrics.stationary_bootstrap_interval(series(0, 40, 1), seed=0, **wrong)


def test_resamples_are_blocks_that_begin_anywhere_and_run_on_past_the_end():
    drawn = metrics.stationary_bootstrap_indices(40, length=300, draws=500, mean_block=8, seed=1)
    assert drawn.shape == (500, 300)
    assert np.array_equal(drawn, metrics.stationary_bootstrap_indices(40, length=300, draws=500, mean_block=8, seed=1))
    goes_on = np.diff(drawn, axis=1) % 40 == 1
    assert goes_on.mean() == pytest.approx(7 / 8 + 1 / 8 / 40, abs=0.003)  # a new block begins on by chance, once in 40
    np.testing.assert_allclose(np.bincount(drawn.ravel(), minlength=40) / drawn.size, 1 / 40, atol=0.002)


def test_resamples_have_the_means_of_the_interval():
    x = series(0.3, 60, 4)
    drawn = metrics.stationary_bootstrap_indices(60, length=60, draws=250, mean_block=6, seed=2)
    low, high = np.quantile(x[drawn].mean(axis=1), [0.025, 0.975]) * 252
    found = metrics.stationary_bootstrap_interval(x, mean_block=6, draws=250, seed=2)
    assert found == pytest.approx((low, high), rel=1e-12)


@pytest.mark.parametrize("wrong", ["n", "length", "draws", "mean_block"])
def test_resamples_of_nothing_are_refused(wrong):
    least = {"n": 1, "length": 1, "draws": 1, "mean_block": 1}
    assert metrics.stationary_bootstrap_indices(**least, seed=0).tolist() == [[0]]
    with pytest.raises(ParameterError, match="must be at least 1"):
        metrics.stationary_bootstrap_indices(**{**least, wrong: 0}, seed=0)


# --- track record and number of trials --------------------------------------------------------------------------------


@pytest.mark.parametrize(("periods", "published"), [(252, 2.73), (52, 2.83), (12, 3.24)])
def test_published_track_record(periods, published):
    """Bailey & López de Prado (2012): years until an annual Sharpe ratio of 2, normal returns, is above 1 at 95%."""
    needed = metrics.track_record_length(2 / periods**0.5, 0, 3, 1 / periods**0.5, 0.95)
    assert needed / periods == pytest.approx(published, abs=5e-3)


def test_at_the_track_record_the_probabilistic_sharpe_ratio_is_the_confidence():
    r = 0.01 * np.random.default_rng(4).standard_t(5, 800) + 0.0008
    sharpe = metrics.sharpe(r, periods=1)
    for benchmark, confidence in ((0.0, 0.95), (0.01, 0.9)):
        needed = metrics.minimum_track_record_length(r, benchmark, confidence)
        reached = metrics.sharpe_confidence(sharpe, needed, metrics.skewness(r), metrics.kurtosis(r), benchmark)
        assert reached == pytest.approx(confidence)


def test_no_track_record_is_long_enough_for_nothing():
    r = 0.01 * np.random.default_rng(5).standard_normal(300)
    r -= r.mean()
    assert np.isnan(metrics.minimum_track_record_length(r - 0.0001))
    assert np.isnan(metrics.minimum_track_record_length(r + 0.0001, benchmark=1.0))
    assert np.isnan(metrics.minimum_track_record_length(np.full(30, 0.001)))
    assert np.isnan(metrics.minimum_track_record_length([]))
    with pytest.raises(ParameterError, match="confidence"):
        metrics.minimum_track_record_length(r, confidence=1.0)


def test_effective_trials_by_hand():
    """Correlations 1, −1 and −1 have the mean −1/3, clipped to 0; 1, 0 and 0 have 1/3: 1/3 + 2/3·3."""
    a, b = np.tile([1.0, -1, 1, -1], 5), np.tile([1.0, 1, -1, -1], 5)
    assert metrics.effective_trials(pd.DataFrame({"a": a, "b": a, "c": -a})) == pytest.approx(3.0)
    assert metrics.effective_trials(pd.DataFrame({"a": a, "b": 2 * a, "c": b})) == pytest.approx(1 / 3 + 2.0)
    assert metrics.effective_trials(pd.DataFrame({"a": a, "b": a, "c": a + 1})) == pytest.approx(1.0)
    assert metrics.effective_trials(pd.DataFrame({"a": a})) == 1.0
    assert metrics.effective_trials(pd.DataFrame({"a": a, "cash": 0 * a})) == 2.0
    assert np.isnan(metrics.effective_trials(pd.DataFrame()))


def test_effective_trials_of_one_common_factor():
    """Correlation 0.8 between any two of 20: 0.8 + 0.2·20 = 4.8."""
    rng = np.random.default_rng(6)
    returns = np.sqrt(0.8) * rng.standard_normal((5000, 1)) + np.sqrt(0.2) * rng.standard_normal((5000, 20))
    assert metrics.effective_trials(pd.DataFrame(returns)) == pytest.approx(4.8, abs=0.4)


# --- the low end for all at once --------------------------------------------------------------------------------------


def noise(number: int, seed: int = 0, sessions: int = 750) -> pd.DataFrame:
    return pd.DataFrame(0.005 * np.random.default_rng(seed).standard_normal((sessions, number)))


def test_of_one_series_the_low_end_is_that_of_its_own_interval():
    one = noise(1)
    low, high = metrics.stationary_bootstrap_interval(one[0], seed=3)
    assert metrics.simultaneous_lows(one, seed=3)[0] == pytest.approx(low, abs=0.05 * (high - low))


def test_the_same_series_twice_costs_nothing_and_others_do():
    ten = noise(10)
    twice = pd.concat([ten[[0]], ten[[0]]], axis=1, keys=["a", "b"]).droplevel(1, axis=1)
    alone = metrics.simultaneous_lows(ten[[0]], seed=1)[0]
    assert metrics.simultaneous_lows(twice, seed=1).to_list() == pytest.approx([alone, alone])
    assert metrics.simultaneous_lows(ten, seed=1)[0] < alone


def test_a_series_that_never_moves_has_no_low_end_and_harms_nobody():
    table = noise(2).assign(still=0.0)
    lows = metrics.simultaneous_lows(table, seed=1)
    assert np.isnan(lows["still"])
    assert lows[[0, 1]].to_list() == metrics.simultaneous_lows(noise(2), seed=1).to_list()
    assert metrics.simultaneous_lows(noise(2, sessions=10), seed=1).isna().all()


def carried(seed: int, sharpes: list[float], sessions: int = 500) -> pd.DataFrame:
    """Series that carry over, with these annual Sharpe ratios, each three times as volatile as the one before."""
    columns = [series(0.2, sessions, 100 * seed + k) for k in range(len(sharpes))]
    x = np.column_stack([column / column.std() for column in columns])
    return pd.DataFrame((x - x.mean(axis=0) + np.array(sharpes) / 252**0.5) * 0.001 * 3.0 ** np.arange(len(sharpes)))


def studentized_by_arch(x: pd.DataFrame, draws: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Mean block length, standard errors of the means, and losses in units of them: arch 8.0.0 does not studentize."""
    block = arch.optimal_block_length(x)["stationary"].max()
    means = arch.StationaryBootstrap(block, x.to_numpy(), seed=2).apply(lambda drawn: drawn.mean(axis=0), draws)
    return block, means.std(axis=0), -x.to_numpy() / means.std(axis=0)


def test_low_ends_are_those_of_archs_reality_check():
    """Other random numbers: 20,000 draws leave an error of 0.5% in a standard error, and as much in the quantile."""
    x = carried(1, [0.0, 1.0, -1.0, 2.0, 0.5])
    block, error, losses = studentized_by_arch(x, draws=20_000)
    check = arch.SPA(np.zeros(len(x)), losses, block_size=block, reps=20_000, seed=4)
    check.compute()
    reach = check.critical_values(0.025)["upper"] * error  # "upper": no series is left out of the largest deviation
    below = x.mean() - metrics.simultaneous_lows(x, draws=20_000, seed=5) / 252
    np.testing.assert_allclose(below, reach, rtol=0.03)


@pytest.mark.parametrize("seed", range(4))
def test_who_is_above_zero_is_superior_to_archs_stepwise_test(seed):
    """The stepwise test also leaves out the winners of a step and the hopeless, so it may find more, never fewer."""
    x = carried(seed, [0.0, 6.0, -0.5, 2.6, 0.3, 5.0, -8.0])
    block, _, losses = studentized_by_arch(x, draws=4000)
    test = arch.StepM(np.zeros(len(x)), losses, size=0.025, block_size=block, reps=4000, seed=5)
    test.compute()
    lows = metrics.simultaneous_lows(x, draws=4000, seed=6)
    assert {1, 5} <= set(lows.index[lows > 0]) <= set(test.superior_models) <= {1, 3, 5}


@pytest.mark.long
def test_no_low_end_lies_above_the_truth_in_39_of_40_fields():
    """Twenty series of mean 0: the largest of the low ends is above 0 in 2.5% of the fields, give or take 3 errors."""
    wrong = [metrics.simultaneous_lows(noise(20, seed), draws=1000, seed=seed).max() > 0 for seed in range(400)]
    assert np.mean(wrong) == pytest.approx(0.025, abs=3 * np.sqrt(0.025 * 0.975 / 400))


# --- twenty worthless combinations ------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(("years", "expected"), [(3, 0.573), (5, 0.225)])
def test_the_best_of_twenty_worthless_ones_often_shows_a_sharpe_ratio_of_one(years, expected):
    """1 − Φ(√years)^20: 57% on three years, 22% on five."""
    assert expected == pytest.approx(1 - stats.norm.cdf(years**0.5) ** 20, abs=1e-3)
    best = []
    for seed in range(1000):
        results, _ = worthless(seed, years * 252)
        best.append(max(result.sharpe for result in results.values()))
    share = np.mean(np.array(best) >= 1)
    print(f"best of 20 shows a Sharpe ratio of 1 on {years} years: {share:.1%}")
    assert share == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 1000))


@pytest.mark.long
@pytest.mark.parametrize("market_sharpe", [None, 0.8, 1.0])
def test_all_gates_together_let_a_worthless_one_through_in_at_most_one_of_twenty(market_sharpe):
    """On three years, 16% of volatility each; the other market is one in which everybody has a Sharpe ratio."""
    passed = []
    for seed in range(150):
        gates = filter_by_thresholds(field_of(*worthless(seed, 756, market_sharpe=market_sharpe)), Thresholds())
        passed.append(gates.all(axis=1).any())
    print(f"market {market_sharpe}: {np.mean(passed):.1%} of 150 fields had one that passed every gate")
    assert np.mean(passed) <= 0.05
