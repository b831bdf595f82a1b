"""A command that needs an extra says so in one line, before it does anything."""

import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement

from openbook.common.extras import EXTRAS, lacking
from support import environment

HIDDEN = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[1].split(",")))  # None: as if it were not installed
from openbook.cli import main
sys.exit(main(sys.argv[2:]))
"""
YAHOO = ("run", "daily_run", "--date", "2022-12-28", "--set", "source={provider: yahoo, symbols: [KO]}")
TUNED = "postgresql+psycopg://desk@/studies?host=/nowhere"


def without(modules: tuple[str, ...], *line: str, **named: str) -> subprocess.CompletedProcess:
    """A command in a process in which these modules cannot be imported."""
    command = [sys.executable, "-c", HIDDEN, ",".join(modules), *line]
    return subprocess.run(command, capture_output=True, text=True, env=environment() | named, check=False)


def test_each_extra_lists_the_modules_of_its_packages(project_root):
    """As pyproject.toml has them; `remote` is not part of the tests' own environment."""
    declared = tomllib.loads((project_root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    packages = packages_distributions()
    for extra in set(EXTRAS) - {"remote"}:
        names = {packages[module][0].lower().replace("_", "-") for module in EXTRAS[extra]}
        assert {Requirement(text).name for text in declared[extra]} == names


@pytest.mark.parametrize(
    ("extra", "line", "named"),
    [
        ("yahoo", YAHOO, {}),
        ("dask", ("run", "compare", "--date", "2022-12-28", "--engine", "dask://localhost:8786"), {}),
        ("postgres", ("init", "--cash", "1"), {"OPENBOOK_BOOK_PAPER": "postgresql+psycopg://a@b/c?book=paper"}),
    ],
    ids=["yahoo", "dask", "postgres"],
)
def test_a_missing_extra_is_named_with_the_way_to_get_it(extra, line, named, tmp_path, project_root):
    where = ("--desk", str(project_root), "--runs", str(tmp_path / "runs"))
    done = without(EXTRAS[extra], *where, *line, **named)
    assert done.returncode == 78, done.stderr
    assert f" needs openbook[{extra}]: pip install 'openbook[{extra}]'\n" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "runs" / "daily_run").exists()


def test_a_missing_driver_of_the_tuning_storage_is_named():
    script = f"from openbook.signals.optuna_storage import open_study; open_study({TUNED!r}, 'one')"
    hidden = f"import sys; sys.modules['psycopg'] = None; {script}"
    done = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, check=False)
    assert "needs openbook[postgres]: pip install 'openbook[postgres]'" in done.stderr.splitlines()[-1]


def test_what_is_lacking_is_found_without_importing_it(monkeypatch):
    assert lacking("lab") == []
    for module in EXTRAS["lab"]:
        monkeypatch.setitem(sys.modules, module, None)
    assert lacking("lab") == ["ipywidgets", "jupyterlab"]


def test_the_panel_says_what_it_needs(monkeypatch):
    from openbook.app.whatif import panel
    from openbook.common.errors import ParameterError

    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(ParameterError, match=r"the what-if panel needs openbook\[lab\]: pip install"):
        panel()
