"""How far a long cell is: seen on a real terminal and in a log while a real kernel works, never in what it leaves."""

import json
import os
import pty
import re
import sys
import threading
import time

import pytest

from openbook.report.elements import bar
from openbook.runs import progress
from openbook.runs.kernel import start_kernel
from openbook.runs.progress import following, watching
from openbook.runs.runner import execute_notebook
from openbook.runs.stage import ABOUT
from support.small_runs import DATE, FINISH, OPEN, new_stage

LONG = """import time
from openbook.report.page import bar
tell = bar("Candidates × folds", shown=stage is None)
[(time.sleep(0.3), tell(done, 5)) for done in range(1, 6)]
"done" """


def work(runs, notebook) -> dict:
    """The executed notebook of one run that somebody follows."""
    stage, kernel = new_stage(runs), start_kernel()
    with following("daily_run", kernel.steps) as on_cell:
        parameters = {"date": DATE, "stage": str(stage.folder)}
        execute_notebook(notebook, stage, parameters, kernel=kernel, progress=on_cell)
    made = json.loads((stage.folder / notebook.name).read_text())
    left = sorted(path.name for path in stage.folder.iterdir())
    runs.fail(stage)
    assert [name for name in left if name not in ("daily_run.ipynb", "run.json", ABOUT)] == []
    return made


@pytest.fixture
def notebook(write_notebook):
    return write_notebook("## 1. The long part", OPEN, LONG, "## 2. The end", "time.sleep(0.5)", FINISH)


def test_a_log_has_a_line_now_and_then_with_the_steps_of_the_cell_that_runs(runs, notebook, monkeypatch, capsys):
    monkeypatch.setattr(progress, "EVERY", 0.1)
    made = work(runs, notebook)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("daily_run: ")]
    steps = [found[1] for line in lines if (found := re.search(r"1\. The long part, Candidates × folds (\d)/5", line))]
    assert len(set(steps)) >= 4
    assert steps == sorted(steps)
    assert re.fullmatch(r"daily_run: 0:0\d .*", lines[0])
    assert [line for line in lines if line.endswith("2. The end")]  # the steps of a cell end with it
    outputs = [output for cell in made["cells"] for output in cell.get("outputs", [])]
    assert [output["output_type"] for output in outputs] == ["execute_result"]
    assert "folds 1/5" not in json.dumps(outputs)


def test_a_short_run_says_nothing_in_a_log(runs, notebook, capsys):
    work(runs, notebook)
    assert capsys.readouterr().err == ""


def test_a_terminal_shows_a_bar_that_moves_inside_a_cell(runs, notebook, monkeypatch):
    outer, inner = pty.openpty()
    seen = bytearray()

    def read() -> None:
        try:
            while chunk := os.read(outer, 65536):
                seen.extend(chunk)
        except OSError:  # the other end is closed
            return

    reader = threading.Thread(target=read)
    reader.start()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    with os.fdopen(inner, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        work(runs, notebook)
    reader.join(timeout=10)
    os.close(outer)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode("utf-8", "replace"))
    assert len(set(re.findall(r"Candidates × folds (\d)/5", text))) >= 4
    assert "daily_run: 1. The long part" in text
    assert re.search(r"0:00:0[1-9]", text)  # the clock moves


def test_a_log_has_the_steps_of_an_update(monkeypatch, capsys):
    monkeypatch.setattr(progress, "EVERY", 0.05)
    with watching("data update") as tell:
        for done in range(1, 6):
            tell("symbols", done, 5)
            time.sleep(0.12)
    lines = capsys.readouterr().err.splitlines()
    steps = [int(found[1]) for line in lines if (found := re.fullmatch(r"data update: 0:0\d (\d)/5 symbols", line))]
    assert len(set(steps)) >= 4
    assert steps == sorted(steps)


def test_a_short_update_says_nothing_in_a_log(capsys):
    with watching("data update") as tell:
        tell("symbols", 1, 1)
    assert capsys.readouterr().err == ""


def test_where_no_runner_watches_nothing_is_told(monkeypatch, tmp_path):
    monkeypatch.delenv(progress.FILE, raising=False)
    assert bar("Backtests", shown=False) is None
    monkeypatch.setenv(progress.FILE, str(tmp_path / "nowhere" / "steps"))
    bar("Backtests", shown=False)(1, 2)  # a folder that is gone ends nothing
