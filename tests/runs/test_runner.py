"""Real notebooks on real kernels: how a run ends well, and every way in which it does not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from openbook.common.errors import (
    DataError,
    IncompleteRun,
    KernelDied,
    OpenbookError,
    ParameterError,
    RunTimeout,
    UsageError,
)
from openbook.runs import kernel as kernel_module
from openbook.runs.notebook_source import check_parameters
from openbook.runs.preload import lean_imports
from openbook.runs.runner import execute_notebook, start_kernel
from openbook.runs.runs_folder import read_run
from support.small_runs import DATE, FINISH, OPEN, new_stage


@pytest.fixture(autouse=True, params=["launched", "forked"])
def started(request, monkeypatch):
    """Every test here twice: a kernel that is launched, as by a single command, and one that is forked."""
    if request.param == "launched":
        monkeypatch.setattr(kernel_module, "_server", None)
    return request.param


def execute(notebook: Path, stage, **options) -> None:
    """Execute with the parameters that every notebook here has."""
    execute_notebook(notebook, stage, {"date": DATE, "stage": str(stage.folder)}, **options)


def cells_of(stage) -> list[dict]:
    """The cells of the executed notebook on a stage."""
    return json.loads((stage.folder / "daily_run.ipynb").read_text())["cells"]


def is_gone(pid: int) -> bool:
    """Whether a process runs no more; a zombie does not run."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# ---- a run that ends well ----


EVIL = '"; import os; os._exit(3); "\\\n# {date}'


def test_a_run_leaves_its_notebook_its_facts_and_no_process(runs, write_notebook):
    facts = "run.record(n=7, turnover=0.118, names=['AAPL'], nothing=None, text='1', day=session, evil=evil)"
    names = "sorted(name for name in globals() if name[0] != '_')"
    cells = ("## 1. The session", OPEN, names, "## 2. The end", facts, FINISH)
    notebook = write_notebook(*cells, parameters='date = ""\nstage = None\nevil = ""')
    seen, made = [], []
    for _ in range(2):
        stage = new_stage(runs)
        kernel = start_kernel(["decimal", "no_such_module"])
        parameters = {"date": DATE, "stage": str(stage.folder), "evil": EVIL}
        execute_notebook(notebook, stage, parameters, kernel=kernel, progress=lambda *said: seen.append(said))
        assert is_gone(kernel.group)
        assert not kernel.folder.exists()
        made.append(json.loads((stage.folder / notebook.name).read_text()))
        recorded = read_run(stage.folder)["recorded"]
        runs.fail(stage)
    places = [(1, "The daily page"), (2, "The daily page"), (4, "1. The session"), (5, "1. The session")]
    places += [(7, "2. The end"), (8, "2. The end")]
    assert seen[:6] == [(index, 9, heading) for index, heading in places]
    assert recorded == {
        **{"n": 7, "turnover": 0.118, "names": ["AAPL"], "nothing": None, "text": "1", "day": DATE},
        "evil": EVIL,  # X02: text that looks like code stays text
    }
    assert _scraps(runs) == {name: value for name, value in recorded.items() if value is not None}
    ours = {"date", "stage", "evil", "run", "session", "open_stage"}
    assert set(_shown(made[0]["cells"][5])) - {"In", "Out", "exit", "quit", "open", "get_ipython"} == ours
    assert _without_times(made[0]).replace(f"{DATE}-1", f"{DATE}-2") == _without_times(made[1])


def _without_times(notebook: dict) -> str:
    """Everything but times: papermill's and the kernel's metadata."""
    papermill = notebook["metadata"].pop("papermill")
    assert papermill["input_path"] == papermill["output_path"] == "daily_run.ipynb"  # no folder, so none to differ
    assert notebook["cells"][2]["id"] == "injected-parameters"
    for cell in notebook["cells"]:
        cell["metadata"] = {"tags": cell["metadata"].get("tags")}
    return json.dumps(notebook)


def _shown(cell: dict) -> list[str]:
    return eval("".join(cell["outputs"][0]["data"]["text/plain"]))


def _scraps(runs) -> dict:
    with lean_imports():
        import scrapbook

    left = runs.folder / "failed" / "daily_run" / f"{DATE}-2" / "daily_run.ipynb"
    return dict(scrapbook.read_notebook(str(left)).scraps.data_dict)


# ---- errors of the notebook ----


def test_an_error_of_ours_arrives_as_it_was_raised_and_takes_its_processes_along(stage, write_notebook):
    spawn = (
        "import subprocess\nfrom multiprocessing import shared_memory\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "memory = shared_memory.SharedMemory(create=True, size=10)\n"
        "run.write('left.json', f'[{child.pid}, \"{memory.name}\"]')"
    )
    fail = "from openbook.common.errors import DataError\nraise DataError('no price for held AAPL; import one')"
    with pytest.raises(DataError, match=r"^no price for held AAPL; import one$"):
        execute(write_notebook(OPEN, spawn, fail), stage)
    pid, name = json.loads((stage.folder / "left.json").read_text())
    assert is_gone(pid)
    assert not Path("/dev/shm", name).exists()
    assert "Traceback" in json.dumps(cells_of(stage)[-1]["outputs"])


def test_an_error_that_nobody_foresaw_is_one_line_with_its_place(stage, write_notebook):
    notebook = write_notebook(OPEN, "## 3. The champion", "raise KeyError('<script>\\nAAPL')", FINISH)
    with pytest.raises(OpenbookError) as caught:
        execute(notebook, stage)
    assert str(caught.value) == r"KeyError: '<script>\nAAPL' in cell 4 (3. The champion)"
    assert caught.value.exit_code == 70


# ---- runs that do not end, or end too soon ----


def test_s09_a_killed_kernel(stage, write_notebook):
    notebook = write_notebook("## 1. Prices", OPEN, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", FINISH)
    with pytest.raises(KernelDied, match=r"died of signal SIGKILL in cell 4 \(1\. Prices\); memory may have run out"):
        execute(notebook, stage)
    assert cells_of(stage)[4]["source"] == OPEN.splitlines(keepends=True)


@pytest.mark.parametrize(
    "greedy",
    [
        "found = bytearray(2 * 2**30)",
        "import numpy\nfound = numpy.ones(2**28)",
        "found = ['x' * 2**20]\nfound *= 2**28",
    ],
    ids=["Python", "NumPy", "a list"],
)
def test_s09_a_cell_beyond_the_memory_limit(stage, write_notebook, greedy):
    """Each asks for 2 GiB, under a limit of 1."""
    kernel = start_kernel(memory=1)
    with pytest.raises(
        KernelDied, match=r"memory limit 1 GiB reached in cell 4 \(1\. Prices\); raise --memory"
    ) as caught:
        execute(write_notebook("## 1. Prices", OPEN, greedy, FINISH), stage, kernel=kernel)
    assert caught.value.exit_code == 71
    assert is_gone(kernel.group)
    assert not (stage.folder / "run.json").exists()


def test_s09_below_the_memory_limit_nothing_changes(stage, write_notebook):
    limits = "import resource\nrun.record(limit=resource.getrlimit(resource.RLIMIT_DATA)[0])"
    execute(write_notebook(OPEN, "found = bytearray(2**29)", limits, FINISH), stage, kernel=start_kernel(memory=1))
    assert read_run(stage.folder)["recorded"] == {"limit": 2**30}


def test_s09_a_kernel_that_dies_under_a_limit_says_what_the_limit_was(stage, write_notebook):
    abort = "import os\nos.abort()"
    with pytest.raises(KernelDied, match=r"died of signal SIGABRT in cell 4 .*; its memory limit is 1\.5 GiB"):
        execute(write_notebook(OPEN, abort, FINISH), stage, kernel=start_kernel(memory=1.5))


@pytest.mark.parametrize("memory", [0.0, -1.0, 0.4, float("nan"), float("inf")])
def test_s09_a_limit_that_no_notebook_fits_in(memory):
    with pytest.raises(UsageError, match=r"at least 0\.5 GiB"):
        start_kernel(memory=memory)


@pytest.mark.parametrize(
    "cells",
    [
        (OPEN, "import sys\nsys.exit(0)", FINISH),
        (OPEN, "quit()", FINISH),
        (OPEN, "#tag skip-execution\n" + FINISH),
    ],
    ids=["sys.exit(0)", "quit()", "last cell skipped"],
)
def test_s10_a_run_without_its_last_cell(stage, write_notebook, cells):
    with pytest.raises(IncompleteRun, match="its output is discarded") as caught:
        execute(write_notebook(*cells), stage)
    assert caught.value.exit_code == 73
    assert "cell " in str(caught.value)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"cell_timeout": 1.5}, r"cell 4 \(1\. Prices\) took longer than 1\.5 s"),
        ({"run_timeout": 4.0}, "was stopped after 4 s, in "),
    ],
    ids=["cell", "run"],
)
def test_s11_a_cell_that_hangs(stage, write_notebook, limits, said):
    hang = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True:\n    time.sleep(1)"
    kernel = start_kernel()
    with pytest.raises(RunTimeout, match=said):
        execute(write_notebook("## 1. Prices", OPEN, hang, FINISH), stage, kernel=kernel, **limits)
    assert is_gone(kernel.group)
    assert len(cells_of(stage)) == 7  # what ran is kept, with what did not


RUNNER = """
import sys
from openbook.runs.runner import execute_notebook
from openbook.runs.stage import Stage
execute_notebook(sys.argv[1], Stage(sys.argv[2]), {"date": "2022-12-28", "stage": sys.argv[2]})
"""


def test_s12_the_kernel_of_a_killed_runner_writes_into_the_dead_stage_only(runs, stage, write_notebook):
    write = (
        "import os, time\nrun.write('pid', str(os.getpid()))\n"
        "for i in range(1200):\n    run.write('tick', str(i))\n    time.sleep(0.05)"
    )
    notebook = write_notebook(OPEN, write, FINISH)
    runner = subprocess.Popen([sys.executable, "-c", RUNNER, notebook, stage.folder])
    try:
        _wait_for(lambda: (stage.folder / "tick").exists())
        pid = int((stage.folder / "pid").read_text())
    finally:
        runner.send_signal(signal.SIGKILL)
        runner.wait()
    fresh = new_stage(runs)  # what the next run does first
    assert not stage.folder.exists()
    _wait_for(lambda: is_gone(pid))
    assert [path.name for path in fresh.folder.iterdir()] == ["inputs.json"]
    assert runs.list() == []


def _wait_for(happens, seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


# ---- X02: parameters, before anything starts ----

PARAMETERS = (
    'date = "2022-12-28"\nlimit: float = 0.15\ntop_n = 10\ndry_run = True\nsource = {}\nstore = None\ndays = ()'
)
READS = "(date, limit, top_n, dry_run, source, store, days)"
GOOD = {"date": DATE, "limit": 1, "top_n": 3, "dry_run": False, "source": {"a": [1, None]}, "store": "x", "days": [1]}


def test_good_parameters_pass(write_notebook):
    check_parameters(write_notebook("%matplotlib inline\n!true", READS, parameters=PARAMETERS), GOOD)
    check_parameters(write_notebook(READS, parameters=PARAMETERS), {"store": None, "days": []})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("sorce", {}, "has no parameter 'sorce'; it has date, days, dry_run, limit, source, store, top_n"),
        ("date\nimport os", "x", "is not a valid parameter name"),
        ("import", "x", "is not a valid parameter name"),
        ("ⅾate", "x", "is not a valid parameter name"),
        (3, "x", "is not a valid parameter name"),
        ("date", 20221228, "date must be a text, not 20221228"),
        ("date", None, "date must be a text, not None"),
        ("top_n", 3.0, "top_n must be a whole number"),
        ("top_n", True, "top_n must be a whole number"),
        ("top_n", "3", "top_n must be a whole number"),
        ("dry_run", "false", "dry_run must be true or false"),
        ("dry_run", 0, "dry_run must be true or false"),
        ("limit", "0.15", "limit must be a number"),
        ("limit", float("nan"), "limit is nan"),
        ("source", [], "source must be a map"),
        ("source", {"a": {1: 2}}, "mapping keys must be strings"),
        ("source", {"a": [Path("x")]}, "must be plain: text"),
        ("store", object(), "must be plain: text"),
    ],
)
def test_x02_a_wrong_parameter(write_notebook, name, value, said):
    with pytest.raises(ParameterError) as caught:
        check_parameters(write_notebook(READS, parameters=PARAMETERS), {name: value})
    assert said in str(caught.value)


def test_x02_a_parameter_that_no_later_cell_reads(write_notebook):
    notebook = write_notebook("stage", "date = 3", 'f"{limit}"', parameters=PARAMETERS + "\nstage = None")
    with pytest.raises(ParameterError, match=r"no later cell of daily_run\.ipynb uses date, top_n$"):
        check_parameters(notebook, {"date": DATE, "limit": 0.1, "top_n": 3})


def test_x02_a_notebook_without_its_tag_starts_no_kernel(runs, stage, write_notebook):
    with pytest.raises(ParameterError, match="no cell tagged 'parameters'"):
        execute(write_notebook(OPEN, FINISH, tag=""), stage)
    assert sorted(path.name for path in stage.folder.iterdir()) == ["inputs.json"]


def test_x02_a_kernel_that_was_started_before_ends_with_the_refusal(stage, write_notebook):
    kernel = start_kernel()
    with pytest.raises(ParameterError):
        execute_notebook(write_notebook(OPEN, FINISH), stage, {"dat": DATE}, kernel=kernel)
    assert is_gone(kernel.group)
    assert not kernel.folder.exists()


def test_what_is_no_notebook(tmp_path):
    with pytest.raises(UsageError, match="cannot read"):
        check_parameters(tmp_path / "none.ipynb", {})
    (tmp_path / "bad.ipynb").write_text('{"cells": 3}')
    with pytest.raises(UsageError, match="not a notebook"):
        check_parameters(tmp_path / "bad.ipynb", {})


# ---- the kernel itself ----


def test_a_long_temporary_folder_does_not_stop_the_sockets(monkeypatch, tmp_path):
    deep = tmp_path / ("d" * 80)
    deep.mkdir()
    monkeypatch.setattr(kernel_module.tempfile, "tempdir", str(deep))
    folder, claim = kernel_module._private_folder()
    folder.rmdir()
    os.close(claim)
    assert len(str(folder)) < 64


def test_a_kernel_reads_no_start_up_file(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "start.py"))
    environment = kernel_module._environment(tmp_path)
    assert "PYTHONSTARTUP" not in environment
    assert environment["JPY_PARENT_PID"] == str(os.getpid())


@pytest.mark.long
def test_memory_does_not_grow_over_60_runs(runs, write_notebook):
    from openbook.report.page import render_report

    notebook = write_notebook(OPEN, "'x' * 300_000", FINISH)
    sizes = []
    for i in range(60):
        stage = new_stage(runs, f"20{i:02d}-12-28")
        execute(notebook, stage)
        stage.write("report.html", render_report(stage.folder / notebook.name))
        runs.seal(stage)
        sizes.append(psutil.Process().memory_info().rss / 2**20)
    assert max(sizes[-5:]) - sizes[5] < 10  # MB
