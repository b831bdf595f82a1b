"""Whatever comes in by a door of openbook is taken, or refused by name with an exit code of its own: never with 70."""

import os
import random

import pytest

from support.door_commands import COMMANDS, command_of
from support.doors import Folder
from support.forked_commands import forked_commands
from support.fuzzing import verdict
from support.runs_doors import DOORS
from support.trained_desk import openbook

CASES = int(os.environ.get("OPENBOOK_FUZZ_CASES", "100000"))
PROCESSES = int(os.environ.get("OPENBOOK_FUZZ_PROCESSES", "1000"))
USAGE = 64  # typer says in several lines which option is wrong


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


def failed_commands(name: str, place, seeds, run) -> list[str]:
    """The seeded commands that ended with 70, or with more than a line.

    run : (words, environment, folder) -> code, stderr
    """
    DOORS[name].prepare(place)
    found = {}
    for seed in seeds:
        chance = random.Random(seed)
        words, environment = command_of(name, place, DOORS[name].make(chance), chance)
        if any("\0" in word for word in words):  # which no system hands over
            continue
        code, said = run(words, environment, place)
        if code == 70 or "Traceback" in said or (code != USAGE and len(said.splitlines()) > 1):
            found.setdefault(said[-300:], f"seed {seed}: {code} {words} {said[-300:]}")
    return list(found.values())


def here(words: list[str], environment: dict[str, str], place) -> tuple[int, str]:
    """A command in this process, given in that folder."""
    before, folder = dict(os.environ), os.getcwd()
    os.environ.update(environment)
    os.chdir(place)
    try:
        answer = openbook(*words)
    finally:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(before)
    return answer.code, answer.err


@pytest.mark.parametrize("name", DOORS)
def test_no_input_ends_in_an_unexpected_error(name, tmp_path):
    assert failures(DOORS[name], tmp_path, range(DOORS[name].usual)) == []


def brings_bytes(name: str) -> bool:
    """Whether what comes in by a door is a file."""
    given = DOORS[name].make(random.Random(0))
    return isinstance(given[1] if isinstance(given, tuple) else given, bytes)


@pytest.mark.parametrize("name", [*filter(brings_bytes, DOORS)])
def test_a_folder_in_the_place_of_a_file_is_refused_by_name(name, tmp_path):
    DOORS[name].prepare(tmp_path)
    given = DOORS[name].make(random.Random(0))
    folder = (given[0], Folder()) if isinstance(given, tuple) else Folder()
    assert verdict(lambda case: DOORS[name].enter(tmp_path, case), folder) == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_ends_in_an_unexpected_error(name, tmp_path):
    assert failed_commands(name, tmp_path, range(len(COMMANDS[name])), here) == []


@pytest.mark.long
@pytest.mark.parametrize("name", DOORS)
def test_no_input_of_a_hundred_thousand(name, tmp_path):
    assert failures(DOORS[name], tmp_path, range(1_000_000, 1_000_000 + CASES)) == []


@pytest.mark.long
@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_of_a_thousand(name, tmp_path):
    with forked_commands() as run:
        assert failed_commands(name, tmp_path, range(2_000_000, 2_000_000 + PROCESSES), run) == []
