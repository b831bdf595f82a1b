"""Whatever comes in by a door of openbook is taken, or refused by name with an exit code of its own: never with 70."""

import os
import random

import pytest

from support.doors import DOORS
from support.fuzzing import verdict

LONG = int(os.environ.get("OPENBOOK_FUZZ_CASES", "100000"))


def failures(door, place, seeds) -> list[str]:
    """What a door did to some seeded cases, where it neither took them nor refused them by name; each fault once."""
    door.prepare(place)
    found: dict[str, int] = {}
    taken = 0

    def enter(case) -> None:
        nonlocal taken
        door.enter(place, case)
        taken += 1

    for seed in seeds:
        if wrong := verdict(enter, door.make(random.Random(seed))):
            found.setdefault(wrong, seed)
    assert taken, "the door takes nothing at all, so that its rooms were not reached"
    return [f"seed {seed}: {wrong}" for wrong, seed in found.items()]


@pytest.mark.parametrize("name", DOORS)
def test_no_input_ends_in_an_unexpected_error(name, tmp_path):
    assert failures(DOORS[name], tmp_path, range(DOORS[name].usual)) == []


@pytest.mark.long
@pytest.mark.parametrize("name", DOORS)
def test_no_input_of_a_hundred_thousand(name, tmp_path):
    assert failures(DOORS[name], tmp_path, range(1_000_000, 1_000_000 + LONG)) == []
