"""Whatever is killed, no process of a notebook lives on, and the next command removes its keys."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from openbook.runs import kernel as kernel_module
from support import environment
from support.processes import MARK, end_all, marked, wait_until
from support.small_runs import FINISH, OPEN

RUNNER = """
import sys
from openbook.common.errors import OpenbookError
from openbook.runs.kernel import start_kernel
from openbook.runs.runner import execute_notebook
from openbook.runs.runs_folder import RunsFolder
from support.small_runs import DATE, new_stage
stage = new_stage(RunsFolder(sys.argv[2]))
try:
    execute_notebook(sys.argv[1], stage, {"date": DATE, "stage": str(stage.folder)}, kernel=start_kernel())
except OpenbookError as error:
    sys.exit(error.exit_code)
"""

WORK = """
import os, pathlib, time
from openbook.common.parallel import run_tasks
def work(shared, n):
    pathlib.Path({at!r}, f"worker-{{os.getpid()}}").touch()
    time.sleep(120)
pathlib.Path({at!r}, f"kernel-{{os.getpid()}}").touch()
run_tasks(work, None, [(1,), (2,), (3,)], n_jobs=2)
"""


@pytest.fixture
def short(monkeypatch):
    """A temporary folder of our own, with a short path, for the folders of kernels."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setattr(kernel_module.tempfile, "tempdir", str(folder))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("killed", ["runner", "kernel", "both"])
def test_no_process_outlives_what_is_killed_and_no_key_the_next_command(tmp_path, write_notebook, short, killed):
    mark = f"{killed}-{os.getpid()}"
    notebook = write_notebook(OPEN, WORK.format(at=str(tmp_path)), FINISH)
    line = [sys.executable, "-c", RUNNER, str(notebook), str(tmp_path / "runs")]
    runner = subprocess.Popen(line, env=environment() | {MARK: mark, "TMPDIR": str(short)})
    try:
        wait_until(lambda: len(list(tmp_path.glob("worker-*"))) == 2)
        [kernel] = [int(path.name.rpartition("-")[2]) for path in tmp_path.glob("kernel-*")]
        assert {runner.pid, kernel} < set(marked(mark))
        for process in {"runner": [runner.pid], "kernel": [kernel], "both": [kernel, runner.pid]}[killed]:
            os.kill(process, signal.SIGKILL)
        assert runner.wait(30) == (71 if killed == "kernel" else -signal.SIGKILL)
        wait_until(lambda: not marked(mark))
        left = list(short.glob(".openbook-kernel.*"))
        assert len(left) == (0 if killed == "kernel" else 1)
        for folder in left:
            assert len(json.loads((folder / "kernel.json").read_text())["key"]) == 32
            assert folder.stat().st_mode & 0o777 == 0o700
        with kernel_module.start_kernel() as ours:
            assert list(short.glob(".openbook-kernel.*")) == [ours.folder]
    finally:
        end_all(mark)
        runner.wait()


def test_a_folder_of_a_kernel_that_runs_is_not_removed(short):
    with kernel_module.start_kernel() as first, kernel_module.start_kernel() as second:
        assert sorted(short.glob(".openbook-kernel.*")) == sorted([first.folder, second.folder])
    assert not list(short.glob(".openbook-kernel.*"))


@pytest.mark.long
@pytest.mark.parametrize("when", ["preparing", "training"])
def test_a_killed_training_leaves_nothing(tmp_path, project_root, short, when):
    """The command itself, on the bundled data, killed as the kernel's out-of-memory killer would."""
    mark = f"training-{os.getpid()}"
    line = [sys.executable, "-m", "openbook.cli", "--runs", str(tmp_path / "runs")]
    line += ["run", "train_candidates", "--date", "2017-08-17"]
    env = environment() | {MARK: mark, "TMPDIR": str(short)}
    training = subprocess.Popen(line, env=env, cwd=project_root, stderr=subprocess.DEVNULL)
    looked_for = "ipykernel" if when == "preparing" else "loky"
    try:
        wait_until(lambda: any(looked_for in command for command in marked(mark).values()), 300)
        training.kill()
        training.wait()
        wait_until(lambda: not marked(mark))
        again = subprocess.Popen(line, env=env, cwd=project_root, stderr=subprocess.DEVNULL)
        assert again.wait(900) == 0  # what is left is in nobody's way
        assert not marked(mark)
        assert not list(short.glob(".openbook-kernel.*"))
        assert not list((tmp_path / "runs" / ".stage").glob("*/*"))
    finally:
        end_all(mark)
        training.wait()
