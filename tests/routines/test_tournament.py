"""The tournament as a whole: it finds what was planted, and crowns nobody where there is nothing."""

import pytest

from openbook import metrics
from openbook.common.parallel import run_tasks
from openbook.market.sources import SimulatedSource
from openbook.portfolio.construct import PortfolioSettings
from support.tournament import hold_tournament

PORTFOLIO = PortfolioSettings(top_n=15, hold_buffer=2.0, score_half_life=5.0, cash_absorbs=True)
SEEDS = 40


def of_noise(_, seed: int) -> tuple[str, bool]:
    """The verdict of a tournament in a market without any signal."""
    source = SimulatedSource(n_symbols=60, n_sessions=1260, seed=1000 + seed, ic=0.0, reports=False)
    selection = hold_tournament(source, PORTFOLIO).selection
    return selection.sentence, selection.promoted is not None


@pytest.mark.long
def test_noise_crowns_at_most_two_champions_in_forty_tournaments():
    verdicts = run_tasks(of_noise, None, [(seed,) for seed in range(SEEDS)], n_jobs=2)
    crowned = [sentence for sentence, promoted in verdicts if promoted]
    print(f"{len(crowned)} of {SEEDS}: {crowned}")
    assert len(crowned) <= 2


@pytest.mark.long
def test_a_planted_signal_is_found_and_beats_equal_weight_after_costs():
    source = SimulatedSource(n_symbols=200, n_sessions=2520, seed=11, ic=0.05)
    done = hold_tournament(source, PortfolioSettings(top_n=30, hold_buffer=2.0, cash_absorbs=True))
    champion = done.champion
    mine, universe = done.returns[champion["combination"]], done.universe
    low, _ = metrics.stationary_bootstrap_interval(mine - universe, seed=0)
    print(champion, done.selection.sentence, low)
    assert low > 0
    assert metrics.sharpe(mine) > metrics.sharpe(universe)
    found = done.trained.summary.set_index("candidate").loc[champion["model"]]
    standard_error = found["rank_ic"] / found["newey_west_t"]
    assert abs(found["rank_ic"] - source.ic) <= 1.96 * standard_error  # the hidden number itself would have 0.05
