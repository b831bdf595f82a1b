"""Power cuts: what a command wrote and did not sync is lost, in part or in whole, whatever its order was.

From every such state the same command ends as if there had been no cut, or says by name what is wrong; and what a
command said to be done is there. The ordinary suite tries a sample of the states, the long one all of them.
"""

import pytest

from support import state_changes, strace
from support.disk_operations import Cut, Disk, Names, Sync, Write
from support.lost_writes import Cuts, PowerCuts, open_at, report

SAMPLE = {
    "the command init": 9,
    "an evening": 8,
    "the command approve": 6,
    "the command fills": 7,
    "the command halt": 8,
    "the first promotion": 8,
    "a promotion with the lock": 8,
    "sealing a run": 5,
    "an update of prices": 2,
}


@pytest.fixture(scope="module")
def power():
    """The power cuts of all these tests: what is lost is decided here."""
    with strace.campaign() as campaign:
        cuts = PowerCuts(campaign)
        yield cuts
        cuts.lab.close()


def bad(cuts: list[Cuts]) -> list[str]:
    return [f"{each.action}: {text}" for each in cuts for text in [*each.refused, *each.wrong]]


def test_s01_after_a_power_cut_the_same_command_ends_as_without_one(power):
    cuts = [power.cut(action, most) for action, most in SAMPLE.items()]
    print(report(cuts))
    assert bad(cuts) == []
    assert sum(each.states for each in cuts) >= 50


@pytest.mark.long
@pytest.mark.parametrize("action", [*state_changes.SCENES, *state_changes.COMMANDS])
def test_s01_after_any_power_cut_the_same_command_ends_as_without_one(power, action):
    cuts = power.cut(action)
    print(report([cuts]))
    assert bad([cuts]) == []


# ---- the harness itself: which states it builds, and what it would notice ----


def test_a_rename_without_a_sync_is_noticed(power):
    """The name is there before the bytes: a file that is empty, or torn, where an old or a new one should be."""
    found = {state.tree.get("books/view/of.csv") for state in power.states("replacing without a sync")}
    assert {b"old\n", b"", b"new" * 1000} < found
    assert any(data and data not in (b"old\n", b"new" * 1000) for data in found)


def test_what_was_said_to_be_done_and_is_lost_is_noticed(power):
    assert any("said to be done, and lost" in text for text in power.cut("promoting without a sync").wrong)


def test_what_is_durable():
    """Of a file what was written before its fsync, of a folder the names that changed before."""
    made, moved = Names(((0, "new", 1),)), Names(((0, "new", None), (0, "of", 1)))
    operations = [made, Write(1, 0, b"x"), Sync(1), Write(1, 1, b"y"), moved, Sync(0), Cut(1, 0)]
    assert open_at(operations, 3) == [0]
    assert open_at(operations, 5) == [0, 3, 4]
    assert open_at(operations, 6) == [3]
    assert open_at(operations, 7) == [3, 6]


def test_a_disk_does_what_it_is_told():
    disk = Disk({1: b"", 2: b"old"}, {0: {"of": 2, "inner": 3}, 3: {}})
    for operation in (
        Names(((0, "new", 1),)),
        Write(1, 2, b"ab"),
        Names(((0, "new", None), (3, "moved", 1))),
        Cut(2, 1),
    ):
        disk.apply(operation)
    assert disk.tree() == {"inner": None, "inner/moved": b"\0\0ab", "of": b"o"}


def test_a_write_is_torn_at_the_edge_of_a_block():
    assert Write(1, 0, b"x" * 512).torn() is None
    assert Write(1, 500, b"x" * 20).torn() == Write(1, 500, b"x" * 12)
    assert Write(1, 0, b"x" * 2048).torn() == Write(1, 0, b"x" * 1024)
