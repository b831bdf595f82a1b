"""What code and packages made a run: what changes its identity, and what does not."""

import json
import platform
import shutil
from importlib.metadata import distributions, version

import pytest

from openbook.common import desk_folder
from openbook.common.errors import UsageError
from openbook.runs import provenance


@pytest.fixture
def desk(tmp_path, monkeypatch, project_root):
    """A desk of its own, with the daily notebook."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / desk_folder.FILE).write_text("format: 1\n")
    shutil.copyfile(project_root / "notebooks" / "daily_run.ipynb", tmp_path / "notebooks" / "daily_run.ipynb")
    monkeypatch.delenv(desk_folder.DESK, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def edit(desk, change) -> None:
    """Rewrite the daily notebook of the desk."""
    file = desk / "notebooks" / "daily_run.ipynb"
    notebook = json.loads(file.read_bytes())
    change(notebook)
    file.write_text(json.dumps(notebook))


def code(cells: list[dict]) -> list[dict]:
    return [cell for cell in cells if cell["cell_type"] == "code"]


def executed(notebook: dict) -> None:
    """What Run All and a save in JupyterLab leave behind."""
    for number, cell in enumerate(code(notebook["cells"]), start=1):
        cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "said"}]
        cell["execution_count"] = number
        cell["metadata"]["execution"] = {"iopub.status.busy": "2022-12-28T22:00:00Z"}
    notebook["cells"].append({"cell_type": "code", "id": "new", "metadata": {}, "source": [], "outputs": []})
    notebook["metadata"]["widgets"] = {}


def reworded(notebook: dict) -> None:
    notebook["cells"][0]["source"] = ["# Another title\n"]


def injected(notebook: dict) -> None:
    """What papermill adds."""
    cell = {"cell_type": "code", "id": "p", "metadata": {"tags": [provenance.INJECTED]}, "source": ["date = 1"]}
    notebook["cells"].insert(2, cell | {"outputs": []})


def injected_twice(notebook: dict) -> None:
    injected(notebook)
    injected(notebook)


def edited(notebook: dict) -> None:
    cell = code(notebook["cells"])[5]
    cell["source"] = [*cell["source"], "\nprint(1)"]


def moved_tag(notebook: dict) -> None:
    first, second = code(notebook["cells"])[:2]
    first["metadata"], second["metadata"] = second["metadata"], first["metadata"]


@pytest.mark.parametrize("change", [executed, reworded, injected], ids=lambda change: change.__name__)
def test_what_does_not_decide_leaves_the_identity_as_it_is(desk, change):
    before = provenance.code("daily_run")["sha256"]
    edit(desk, change)
    assert provenance.code("daily_run")["sha256"] == before


@pytest.mark.parametrize("change", [edited, moved_tag, injected_twice], ids=lambda change: change.__name__)
def test_what_decides_changes_the_identity(desk, change):
    before = provenance.deciding("daily_run")
    edit(desk, change)
    after = provenance.deciding("daily_run")
    assert after["sha256"] != before["sha256"]
    assert after["sources"] == before["sources"]


def test_the_desks_own_python_decides_and_its_other_files_do_not(desk):
    before = provenance.deciding("daily_run")
    (desk / "README.md").write_text("a line more")
    (desk / "notebooks" / "compare.ipynb").write_text("{}")
    (desk / "lib" / "extensions" / "__pycache__").mkdir(parents=True)
    (desk / "lib" / "extensions" / "__pycache__" / "mine.cpython-311.pyc").write_bytes(b"x")
    assert provenance.deciding("daily_run") == before
    (desk / "lib" / "extensions" / "mine.py").write_text("a = 1\n")
    mine = provenance.deciding("daily_run")
    assert mine["sources"] != before["sources"]
    (desk / "lib" / "extensions" / "mine.py").write_text("a = 2\n")
    assert provenance.deciding("daily_run")["sha256"] not in (mine["sha256"], before["sha256"])


def test_every_source_of_the_library_decides(desk, monkeypatch, tmp_path):
    copy = shutil.copytree(
        provenance.LIBRARY, tmp_path / "copy" / "openbook", ignore=shutil.ignore_patterns("__pycache__")
    )
    before = provenance.sources_digest(provenance.sources(desk))
    monkeypatch.setattr(provenance, "LIBRARY", copy)
    assert provenance.sources_digest(provenance.sources(desk)) == before  # where it lies does not matter
    (copy / "portfolio" / "costs.py").write_text((copy / "portfolio" / "costs.py").read_text() + "\n")
    assert provenance.sources_digest(provenance.sources(desk)) != before


def test_a_notebook_that_is_none_is_named(desk):
    (desk / "notebooks" / "daily_run.ipynb").write_text("[]")
    with pytest.raises(UsageError, match="cannot read the notebook"):
        provenance.deciding("daily_run")


def test_saving_a_notebook_with_its_outputs_is_no_modification(project_root, tmp_path, monkeypatch):
    """In a clone, with real git: outputs saved, another file changed, a cell changed."""
    clone = tmp_path / "clone"
    provenance._git("clone", "--quiet", str(project_root), str(clone), at=project_root)
    if not (clone / desk_folder.FILE).is_file():
        pytest.skip("this checkout is not a git repository with a commit of the marker file")
    monkeypatch.setattr(provenance, "LIBRARY", clone / "lib" / "openbook")
    monkeypatch.chdir(clone)
    (clone / "README.md").write_text("changed")
    edit(clone, executed)
    said = provenance.code("daily_run")
    assert (said["commit"], said["modified"]) == (provenance._git("rev-parse", "HEAD", at=clone), False)
    edit(clone, edited)
    assert provenance.code("daily_run")["modified"] is True


def test_code_outside_of_a_repository_has_no_commit(desk, tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "LIBRARY", tmp_path / "lib")
    said = provenance.code("daily_run")
    assert (said["commit"], said["modified"]) == (None, None)
    assert len(said["sha256"]) == 64


def test_the_environment_is_every_distribution_with_its_version():
    """Beside Python's own reading of the same folders, importlib.metadata."""
    found = provenance.environment()
    names = {dist.metadata["Name"].lower().replace("_", "-").replace(".", "-") for dist in distributions()}
    assert set(found["distributions"]) == names - {"openbook"}
    assert found["python"] == platform.python_version()
    for name in ("numpy", "pandas", "pydantic"):
        assert found["distributions"][name] == version(name)


def test_versions_of_an_older_run_are_those_that_it_named():
    assert provenance.versions({"packages": {"python": "3.11.7", "numpy": "2.0"}}) == {
        "python": "3.11.7",
        "numpy": "2.0",
    }
    made = {"python": "3.12.1", "platform": "x", "distributions": {"numpy": "2.1"}}
    assert provenance.versions({"environment": made}) == {"python": "3.12.1", "numpy": "2.1"}
