"""A lock keeps others out for as long as its process lives, whatever happens to the file that says who has it."""

import os
import subprocess
import sys

import pytest

from openbook.common.errors import LockError
from openbook.common.locks import held
from openbook.runs.runs_folder import RunsFolder
from support import environment
from support.small_runs import new_stage

HOLD = """
import sys, time
from openbook.runs.runs_folder import RunsFolder, Stage
runs = RunsFolder(sys.argv[1])
with runs.lock() if sys.argv[2] == "runs" else runs.running(Stage(sys.argv[2])):
    print("held", flush=True)
    time.sleep(60)
"""


def holding(runs: RunsFolder, what: str) -> subprocess.Popen:
    """Another process that holds the runs folder, or a stage."""
    line = [sys.executable, "-c", HOLD, str(runs.folder), what]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=environment())
    assert process.stdout.readline() == "held\n"
    return process


REMOVED = {
    "there": lambda note: None,
    "removed": lambda note: note.unlink(),
    "another": lambda note: (note.unlink(), note.write_text("1\n")),
    "moved": lambda note: note.rename(note.with_name("elsewhere")),
}


@pytest.mark.parametrize("how", REMOVED)
@pytest.mark.parametrize("what", ["runs", "stage"])
def test_what_becomes_of_the_note_lets_nobody_in(runs, what, how):
    stage = new_stage(runs)
    note = runs.folder / ".lock" if what == "runs" else stage.folder.with_name("2022-12-28-1.lock")

    def enter():
        if what == "runs":
            with runs.lock(patience=0):
                return
        new_stage(runs)

    process = holding(runs, what if what == "runs" else str(stage.folder))
    try:
        REMOVED[how](note)
        for _ in range(2):  # who was refused leaves nothing that lets the next one in
            with pytest.raises(LockError, match=str(process.pid) if how == "there" else "process"):
                enter()
        assert stage.folder.is_dir()
    finally:
        process.kill()
        process.communicate()
    enter()  # a dead process holds nothing


def test_a_held_folder_that_is_replaced_is_not_held(tmp_path):
    """Whoever waits for a folder gets the one that has the name in the end."""
    place = tmp_path / "a"
    place.mkdir()
    with held(place, place / ".lock") as holder:
        assert holder is None
        place.rename(tmp_path / "b")
        place.mkdir()
        with held(place, place / ".lock") as other:
            assert other is None
        with held(tmp_path / "b", tmp_path / "b" / ".lock") as other:
            assert other == f"process {os.getpid()}"
