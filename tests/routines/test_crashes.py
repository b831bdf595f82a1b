"""Every change of state, struck at its system calls: killed there, or told there that the disk is full or broken.

What a reader finds afterwards is old or new in each part, and doing the same once more leaves what an undisturbed run
leaves. The ordinary suite strikes at a sample of the calls, the long one at all of them.
"""

import os
import signal

import pytest

from support import state_changes, strace
from support.strace import FAULTS, KILL, TORN, Campaign, report

REFUSALS = [fault for fault in FAULTS if fault not in (KILL, TORN)]
STRIDES = {KILL: 8, TORN: 25, **dict.fromkeys(REFUSALS, 80)}  # so that all of them take half a minute
NESTED = ("a promotion", "sealing a run", "publishing views", "beginning a book", "a commit", "approving")


@pytest.fixture(scope="module")
def campaign():
    """The campaign of all these tests."""
    with strace.campaign() as begun:
        yield begun


def strike_all(campaign: Campaign, fault: str, stride: int = 1) -> list:
    """Every action, at every `stride`-th of its calls and at one of them at least."""
    trials = [campaign.strike(action, fault, stride, first) for first, action in enumerate(state_changes.SCENES)]
    print(report(trials))
    return trials


def wrong(trials: list) -> list[str]:
    return [f"{trial.action}: {each}" for trial in trials for each in trial.wrong]


@pytest.mark.parametrize("fault", [KILL, TORN])
def test_s01_m09_killed_anywhere_it_is_old_or_new_and_a_rerun_heals(campaign, fault):
    assert wrong(strike_all(campaign, fault, STRIDES[fault])) == []


@pytest.mark.parametrize("fault", REFUSALS)
def test_s02_a_refusal_of_the_disk_is_an_error_and_a_rerun_heals(campaign, fault):
    assert wrong(strike_all(campaign, fault, STRIDES[fault])) == []


@pytest.mark.long
@pytest.mark.parametrize("fault", [KILL, TORN])
def test_s01_m09_killed_at_every_call_it_is_old_or_new_and_a_rerun_heals(campaign, fault):
    trials = strike_all(campaign, fault)
    assert wrong(trials) == []
    assert sum(trial.struck for trial in trials) >= 200


@pytest.mark.long
@pytest.mark.parametrize("fault", REFUSALS)
def test_s02_any_refusal_of_the_disk_is_an_error_and_a_rerun_heals(campaign, fault):
    assert wrong(strike_all(campaign, fault)) == []


@pytest.mark.long
@pytest.mark.parametrize("fault", [KILL, TORN])
def test_s01_m09_a_rerun_that_is_killed_too_is_healed_by_the_next(campaign, fault):
    trials = [campaign.strike_the_rerun(action, fault, 5, 3) for action in NESTED]
    print(report(trials))
    assert wrong(trials) == []


# ---- the harness itself: what it strikes, and what it would notice ----


def test_the_struck_call_is_the_one_that_was_meant(campaign, tmp_path):
    """All before it happened, and nothing after."""
    lab = campaign.lab(KILL)
    runs = state_changes.promoted(tmp_path / "runs", "old")
    calls = lab.act("a promotion", runs).calls
    point = next(n for n, call in enumerate(calls) if call.name == "rename")
    runs = state_changes.promoted(tmp_path / "again", "old")
    end = lab.act("a promotion", runs, strace.ahead(calls, point, KILL))
    assert end.code == -signal.SIGKILL
    assert [call.name for call in end.calls] == [call.name for call in calls[: point + 1]]
    names = os.listdir(runs / "production")
    assert any(name.startswith(f".{state_changes.bundle('new')[2]}.") for name in names)
    assert state_changes.bundle("new")[2] not in names


@pytest.mark.parametrize(
    ("action", "noticed"),
    [("writing in place", "view of.csv is neither old nor new"), ("writing on", "leaves other files, view of.csv")],
)
def test_a_careless_change_is_noticed(campaign, action, noticed):
    assert any(noticed in each for each in campaign.strike(action, KILL).wrong)
