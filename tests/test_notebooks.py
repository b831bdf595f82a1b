"""The notebooks as files: they read like a page, hold no logic, and every parameter is used."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks"
# Not what an editor keeps in hidden folders, as JupyterLab does in .ipynb_checkpoints.
NOTEBOOKS = sorted(path for path in FOLDER.rglob("*.ipynb") if "/." not in f"/{path.relative_to(FOLDER)}")
MOST_LINES, MOST_CODE_CELLS, OF_A_GUIDE = 15, 25, 40
NOT_IN_A_CELL = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.For, ast.While, ast.Try)


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def cells(request) -> list[dict]:
    """The cells of one notebook, each with its source as one text."""
    found = json.loads(request.param.read_text(encoding="utf-8"))["cells"]
    return [{**cell, "source": "".join(cell["source"])} for cell in found]


def code(cells: list[dict]) -> list[dict]:
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_the_four_notebooks_are_there():
    assert {path.stem for path in NOTEBOOKS} >= {"train_candidates", "compare", "select_champion", "daily_run"}


def test_the_checkpoints_of_jupyterlab_are_not_collected(tmp_path):
    """Those of a run notebook have outputs: they are neither executed nor held to be committed."""
    shutil.copytree(FOLDER, tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*"))
    for folder in (tmp_path / "notebooks", tmp_path / "notebooks" / "guides"):
        kept = folder / ".ipynb_checkpoints"
        kept.mkdir()
        for path in folder.glob("*.ipynb"):
            shutil.copy(path, kept / f"{path.stem}-checkpoint.ipynb")
    (tmp_path / "tests").mkdir()
    shutil.copy(__file__, tmp_path / "tests")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    line = [sys.executable, "-m", "pytest", "-p", "xdist", "-p", "nbmake.pytest_plugin", "--collect-only", "-q"]
    env = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    collected = done.stdout.splitlines()
    assert "notebooks/daily_run.ipynb::daily_run.ipynb" in collected
    assert "tests/test_notebooks.py::test_no_output_is_committed[daily_run]" in collected
    assert not [name for name in collected if "checkpoint]" in name or "checkpoint.ipynb" in name]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_source_is_kept_line_by_line(path):
    """Else a diff of one word is a diff of the whole cell, or of every letter."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = cell["source"]
        assert isinstance(source, str) or source == "".join(source).splitlines(keepends=True)


def test_no_output_is_committed(cells):
    assert not [cell["id"] for cell in code(cells) if cell["outputs"] or cell["execution_count"] is not None]


def test_cells_have_ids_of_their_own(cells):
    ids = [cell["id"] for cell in cells]
    assert len(set(ids)) == len(ids)


def test_cells_are_short(request, cells):
    lists = {cell["id"] for cell in code(cells) if cell["source"].lstrip().startswith(("import", "from"))}
    lists |= {cell["id"] for cell in cells if "parameters" in cell["metadata"].get("tags", [])}  # a line each
    long = {c["id"]: n for c in code(cells) if (n := c["source"].count("\n") + 1) > MOST_LINES and c["id"] not in lists}
    assert not long
    guide = request.node.callspec.params["cells"].parent.name == "guides"
    assert len(code(cells)) <= (OF_A_GUIDE if guide else MOST_CODE_CELLS)


def test_a_run_imports_two_lines_of_the_library_at_most(request, cells):
    if request.node.callspec.params["cells"].parent.name == "guides":
        pytest.skip("a guide shows where things are")
    nodes = [n for c in code(cells) for n in ast.parse(c["source"]).body]
    lines = [
        ast.unparse(n) for n in nodes if isinstance(n, ast.Import | ast.ImportFrom) and "openbook" in ast.unparse(n)
    ]
    assert lines[0] == "import openbook as ob"
    assert len(lines) <= 2


def test_the_logic_is_in_the_library(cells):
    found = [
        type(n).__name__ for c in code(cells) for n in ast.walk(ast.parse(c["source"])) if isinstance(n, NOT_IN_A_CELL)
    ]
    assert not found


def test_every_heading_has_words_below_it(cells):
    headings = [c["source"] for c in cells if c["cell_type"] == "markdown" and c["source"].startswith("#")]
    assert headings
    assert headings[0].startswith("# ")


def test_every_parameter_is_read_by_a_later_cell(cells):
    tagged = [i for i, cell in enumerate(cells) if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1
    names = {t.id for n in ast.parse(cells[tagged[0]]["source"]).body for t in n.targets}
    later = [cell["source"] for cell in cells[tagged[0] + 1 :] if cell["cell_type"] == "code"]
    read = {n.id for source in later for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Name)}
    assert names <= read


def test_smaller_settings_under_test_are_of_parameters_and_no_others(cells):
    """nbmake sets what a cell's `mock` names after the cell ran; a user's Run All knows nothing of it."""
    for cell in cells:
        smaller = cell["metadata"].get("nbmake", {}).get("mock", {})
        tagged = "parameters" in cell["metadata"].get("tags", [])
        assert set(smaller) <= set(assigned(cell) if tagged else ())
        assert [name for name, value in smaller.items() if value == assigned(cell)[name]] == []


def assigned(cell: dict) -> dict:
    """The names that a cell gives a plain value, with their values."""
    return {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(cell["source"]).body}


def test_parameters_are_those_that_the_command_hands_over():
    from openbook.app.plan import HANDED_AS, NEEDS, ON_A_CLUSTER
    from openbook.app.settings import NOTEBOOKS as SETTINGS

    for name, settings in SETTINGS.items():
        found = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
        cell = next(c for c in found if "parameters" in c["metadata"].get("tags", []))
        declared = {t.id for n in ast.parse("".join(cell["source"])).body for t in n.targets}
        handed = {"date", "stage", *(HANDED_AS[earlier] for earlier in NEEDS[name])}
        handed |= {"store"} if "source" in settings.model_fields else set()
        handed |= {"champion", "champion_note", "book", "previous", "scores_file"} if name == "daily_run" else set()
        handed |= {"earlier", "looks", "incumbent"} if name == "select_champion" else set()
        handed |= {"engine"} if name in ON_A_CLUSTER else set()
        assert declared == handed | set(settings.model_fields)


def test_the_last_cell_of_a_run_is_the_sentinel(request, cells):
    if request.node.callspec.params["cells"].parent.name == "guides":
        pytest.skip("a guide is no run: nothing is sealed")
    assert code(cells)[-1]["source"].rstrip().endswith("run.finish()")
