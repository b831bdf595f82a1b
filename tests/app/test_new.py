"""A desk of one's own: what `openbook new` writes, and what it leaves alone."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from openbook.app.new import demo_desk, desk_files, new_desk
from openbook.app.settings import NOTEBOOKS, load_params
from openbook.common import desk_folder
from openbook.common.errors import StorageError, UsageError
from openbook.runs import provenance
from support.trained_desk import openbook


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Commands are given outside of any desk."""
    monkeypatch.setenv(desk_folder.DESK, "")
    monkeypatch.delenv(desk_folder.RUNS, raising=False)
    monkeypatch.chdir(tmp_path)


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_new_desk_has_its_own_notebooks_parameters_and_runs(tmp_path, project_root):
    answer = openbook("new", "mine")
    assert answer == (0, "mine: a new desk; change into it, then: openbook demo\n", "")
    desk = tmp_path / "mine"
    assert sorted(path.name for path in desk.iterdir()) == [
        *(".gitignore", "README.md", "lib", "notebooks", "openbook.yaml", "params", "runs"),
    ]
    for name in (*(f"notebooks/{name}.ipynb" for name in NOTEBOOKS), "notebooks/guides/dirty_data.ipynb"):
        assert (desk / name).read_bytes() == (project_root / name).read_bytes()
    for profile in ("demo", "vendor", "live"):
        for notebook in NOTEBOOKS:
            load_params(notebook, profile, root=desk)
    assert list((desk / "runs").iterdir()) == []
    assert everything(tmp_path)[0] == "mine"
    assert not [name for name in everything(tmp_path) if name.endswith(".new")]


def test_commands_find_the_new_desk(tmp_path, monkeypatch):
    openbook("new", "mine")
    monkeypatch.chdir(tmp_path / "mine" / "notebooks")
    assert openbook("init", "--cash", 1000).code == 0
    assert (tmp_path / "mine" / "runs" / "books" / "paper.db").is_file()
    assert "0 runs" in openbook("verify").out


def test_the_example_of_an_extension_works_as_a_file_of_the_desk(tmp_path):
    openbook("new", "mine")
    folder = tmp_path / "mine" / provenance.EXTENSIONS
    assert [file.name for file in folder.iterdir()] == ["README.md"]  # nothing is loaded yet
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)
    (folder / "mine.py").write_text(code)
    script = (
        "import numpy as np\n"
        "from openbook.common import extensions\n"
        "from openbook.portfolio.optimizers import OPTIMIZERS, Limits\n"
        "extensions.load()\n"
        "groups = np.zeros(2, dtype=int)\n"
        "limits = Limits(np.ones(2), groups, np.ones(1), exposure=1.0, symbols=('A', 'B'), group_names=('all',))\n"
        "print(OPTIMIZERS['inverse_variance'](None, np.diag([1.0, 3.0]), limits, 100).round(9))\n"
    )
    line = [sys.executable, "-c", script]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=tmp_path / "mine")
    assert done.stdout == "[0.75 0.25]\n", done.stderr


def test_an_empty_folder_may_be_there_the_current_one_too(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    assert openbook("new", ".").code == 0
    assert openbook("init", "--cash", 1000).code == 0
    assert everything(tmp_path / "mine")[0] == ".gitignore"


def test_what_is_in_a_folder_stays(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("of mine")
    answer = openbook("new", "mine")
    assert (answer.code, answer.err) == (
        64,
        "openbook: mine is not empty; choose a folder that is new or empty\n",
    )
    assert everything(tmp_path) == ["mine", "mine/notes.txt"]
    answer = openbook("new", "mine/notes.txt")
    assert (answer.code, "is a file" in answer.err) == (64, True)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "of mine"


def test_not_inside_another_desk_nor_below_nothing(tmp_path):
    openbook("new", "mine")
    before = everything(tmp_path)
    answer = openbook("new", "mine/runs/other")
    assert (answer.code, f"is inside the desk {tmp_path / 'mine'}" in answer.err) == (64, True)
    answer = openbook("new", "mine")
    assert (answer.code, "is inside the desk" in answer.err) == (64, True)
    answer = openbook("new", "a/b")
    assert (answer.code, f"no folder {tmp_path / 'a'}" in answer.err) == (64, True)
    assert everything(tmp_path) == before


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc is of Linux")
def test_a_folder_where_nothing_can_be_made_is_named():
    answer = openbook("new", "/proc/mine")
    why = "(No such file or directory|Permission denied)"
    assert (answer.code, bool(re.fullmatch(f"openbook: could not make /proc/mine: {why}\n", answer.err))) == (74, True)


@pytest.mark.parametrize("there", [False, True], ids=["new", "empty"])
@pytest.mark.parametrize("failing", ["write", "rename"])
def test_a_failure_leaves_nothing_half_written(there, failing, tmp_path, monkeypatch):
    """A full disk in the middle of writing; a rename that fails after some of the names."""
    if there:
        (tmp_path / "mine").mkdir()
    calls, real = [], os.rename if failing == "rename" else os.fsync

    def fail(*arguments):
        calls.append(arguments)
        if len(calls) == (3 if there and failing == "rename" else 1 if failing == "rename" else 20):
            raise OSError(28, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(os, "rename" if failing == "rename" else "fsync", fail)
    with pytest.raises(StorageError, match="No space left on device"):
        new_desk(Path("mine"))
    assert everything(tmp_path) == (["mine"] if there else [])


def test_the_demo_outside_of_a_desk_makes_one_and_goes_on_with_it(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("openbook.app.pipeline.demo", lambda runs, say: seen.append(runs))
    first = openbook("demo")
    assert (first.code, first.out) == (
        0,
        f"there is no desk here, so a new one was made: {tmp_path / 'openbook-demo'}; "
        "for the next commands: cd openbook-demo\n",
    )
    monkeypatch.setenv(desk_folder.DESK, "")
    again = openbook("demo")
    assert again.out.startswith("the desk of an earlier demo goes on: ")
    assert seen == [tmp_path / "openbook-demo" / "runs"] * 2


def test_the_demo_touches_no_folder_that_only_has_its_name(tmp_path):
    (tmp_path / "openbook-demo").mkdir()
    (tmp_path / "openbook-demo" / "mine.txt").write_text("of mine")
    with pytest.raises(UsageError, match="is not empty"):
        demo_desk(tmp_path)
    assert everything(tmp_path) == ["openbook-demo", "openbook-demo/mine.txt"]


def test_notebooks_of_a_desk_have_no_output():
    notebooks = {name: data for name, data in desk_files().items() if name.endswith(".ipynb")}
    assert len(notebooks) >= 10
    for name, data in notebooks.items():
        assert not any(cell.get("outputs") for cell in json.loads(data)["cells"]), name
