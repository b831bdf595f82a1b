"""Kernels from a fork: the same notebook as on a launched one, and every way in which one or their server ends."""

import json
import os
import signal
import subprocess
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import psutil
import pytest

from openbook.backtest import kernels as backtest_kernels
from openbook.common.errors import KernelDied
from openbook.decision import decide
from openbook.report import charts
from openbook.runs import kernel as kernel_module
from openbook.runs.kernel import forking, start_kernel
from openbook.runs.preload import FOR_NOTEBOOKS, preload
from openbook.runs.runner import execute_notebook
from openbook.signals import kernels as signal_kernels

MODULES = ("json",)


@pytest.fixture
def server(monkeypatch):
    """A fork server of its own, to be ended."""
    monkeypatch.setattr(kernel_module, "_server", None)
    with forking(MODULES):
        yield kernel_module._server


def test_a_kernel_leads_a_session_of_its_own_below_the_server(server):
    with start_kernel() as kernel:
        process = psutil.Process(kernel.group)
        assert process.ppid() == server.process.pid
        assert os.getpgid(kernel.group) == os.getsid(kernel.group) == kernel.group
        assert kernel.exit_code is None
    assert not psutil.pid_exists(kernel.group)


def test_a_kernel_has_an_environment_and_a_folder_of_its_own(server, write_notebook, stage, monkeypatch, tmp_path):
    monkeypatch.setenv("OPENBOOK_TRIED", "now")
    monkeypatch.setenv("OPENBOOK_SMTP_PASSWORD", "hush-hush-hush")
    monkeypatch.chdir(tmp_path)
    begin = "import os\nfrom openbook.runs.runs_folder import open_stage\nrun = open_stage(stage)\nsession = date"
    asked = "run.record(tried=os.environ['OPENBOOK_TRIED'], where=os.getcwd(), seed=os.environ['PYTHONHASHSEED'])"
    hidden = "run.record(hidden='OPENBOOK_SMTP_PASSWORD' not in os.environ, order=list({'a', 'b', 'c', 'd'}))"
    notebook = write_notebook(begin, asked, hidden, "run.finish()")
    told = []
    for start in ("forked", "launched"):
        if start == "launched":
            monkeypatch.setattr(kernel_module, "_server", None)
            (stage.folder / "run.json").unlink()
        execute_notebook(notebook, stage, {"date": "2022-12-28", "stage": str(stage.folder)})
        told.append(json.loads((stage.folder / "run.json").read_bytes())["recorded"])
    assert told[0] == told[1]
    assert (told[0]["tried"], told[0]["where"], told[0]["seed"], told[0]["hidden"]) == ("now", str(tmp_path), "0", True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_how_a_kernel_ended_is_known(server, number):
    with start_kernel() as kernel:
        os.kill(kernel.group, number)
        assert kernel.process.wait(timeout=10) == -number
        assert kernel.exit_code == -number
        kernel.process.kill()  # of one that is gone: nothing


def test_waiting_for_a_kernel_has_an_end(server):
    with start_kernel() as kernel, pytest.raises(subprocess.TimeoutExpired):
        kernel.process.wait(timeout=0.05)


def test_a_server_that_is_gone_is_said_and_its_kernels_end(server):
    with start_kernel() as kernel:
        group = kernel.group
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait()
        with pytest.raises(KernelDied, match="fork server has died"):
            start_kernel().process.wait()
        deadline = time.monotonic() + 10
        while kernel.exit_code is None and time.monotonic() < deadline:  # it looks for its parent once a second
            time.sleep(0.1)
        assert kernel.exit_code == -signal.SIGKILL  # nobody is left to tell how
        assert not psutil.pid_exists(group) or psutil.Process(group).status() == psutil.STATUS_ZOMBIE


def test_a_limit_on_memory_gets_a_process_of_its_own(server):
    with start_kernel(memory=2.0) as kernel:
        assert isinstance(kernel.process, subprocess.Popen)


def test_inside_another_the_server_is_the_same_and_ends_with_the_outer(server):
    with forking(MODULES), start_kernel() as kernel:
        assert kernel_module._server is server
        assert psutil.Process(kernel.group).ppid() == server.process.pid
    assert server.process.poll() is None


WHAT_A_PAGE_NEEDS = """
from openbook.market import calendar
from openbook.signals import kernels
run.record(calendar=calendar._calendar.cache_info().currsize, loops=len(kernels.rolling_mean.signatures))
"""


def test_a_fork_finds_done_what_every_page_does_first(monkeypatch, write_notebook, stage):
    monkeypatch.setattr(kernel_module, "_server", None)
    begin = "from openbook.runs.runs_folder import open_stage\nrun = open_stage(stage)\nsession = date"
    notebook = write_notebook(begin, WHAT_A_PAGE_NEEDS, "run.finish()")
    with forking(FOR_NOTEBOOKS):
        execute_notebook(notebook, stage, {"date": "2022-12-28", "stage": str(stage.folder)})
    told = json.loads((stage.folder / "run.json").read_bytes())["recorded"]
    assert told == {"calendar": 1, "loops": 1}


def test_what_fails_while_warming_up_is_left_to_the_page(monkeypatch):
    def fail():
        raise OSError("no fonts here")

    monkeypatch.setattr(json, "warm_up", fail, raising=False)
    preload(["json"], warm=True)


def test_warming_up_leaves_no_thread_behind():
    before = threading.active_count()
    decide.warm_up()
    charts.warm_up()
    assert threading.active_count() == before


WHERE_MODULES_ARE = """
import subprocess, sys
import scrapbook
ask = [sys.executable, '-c', 'import scrapbook; print(scrapbook.__file__)']
theirs = subprocess.run(ask, capture_output=True, text=True).stdout
run.record(ours='here' not in scrapbook.__file__, theirs='scrapbook' in theirs and 'here' not in theirs)
"""


@pytest.mark.parametrize("forked", [True, False], ids=["forked", "launched"])
def test_a_module_in_the_current_folder_is_none_of_ours(tmp_path, monkeypatch, write_notebook, stage, forked):
    """`scrapbook.py` beside the command would run with its rights, in the kernel and in processes that it starts."""
    monkeypatch.setattr(kernel_module, "_server", None)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "scrapbook.py").write_text("raise SystemExit('not ours')\n")
    begin = "from openbook.runs.runs_folder import open_stage\nrun = open_stage(stage)\nsession = date"
    notebook = write_notebook(begin, WHERE_MODULES_ARE, "run.finish()")
    monkeypatch.chdir(tmp_path / "here")
    with forking(MODULES) if forked else nullcontext():
        execute_notebook(notebook, stage, {"date": "2022-12-28", "stage": str(stage.folder)})
    found = json.loads((stage.folder / "run.json").read_bytes())["recorded"]
    assert found == {"ours": True, "theirs": True}


def test_compiled_loops_depend_on_no_other_file_of_ours():
    """Their cache knows its own file alone: a constant that changed elsewhere would go unnoticed."""
    for module in (backtest_kernels, signal_kernels):
        names = {line for line in Path(module.__file__).read_text().splitlines() if "import" in line}
        assert not [line for line in names if line.lstrip().startswith(("from openbook", "import openbook"))]
