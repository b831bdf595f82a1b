"""The packages of a sealed run: the same, more than then, others, and what cannot be built."""

import shutil
import subprocess
import sys

import pytest

from openbook.runs import environments as e
from openbook.runs import provenance


@pytest.fixture
def here() -> dict:
    return provenance.environment()


def without(made: dict, name: str) -> dict:
    return made | {"distributions": {key: value for key, value in made["distributions"].items() if key != name}}


def test_the_same_packages_are_those_that_run_this(here):
    assert e.interpreter_of({"environment": here}) == e.Interpreter(sys.executable)


def test_a_package_that_came_later_changes_nothing(here):
    assert e.interpreter_of({"environment": without(here, "tqdm")}) == e.Interpreter(sys.executable)


def test_what_has_changed_is_named():
    then = {"python": "3.11.1", "platform": "p", "distributions": {"a": "1", "b": "2", "c": "3"}}
    now = {"python": "3.11.2", "platform": "p", "distributions": {"a": "1", "b": "2.1"}}
    assert e.differing(then, now) == ["python 3.11.1 → 3.11.2", "b 2 → 2.1", "c 3 → missing"]


def test_what_cannot_be_built_is_said_and_the_installed_stand_in(here, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))  # no uv
    found = e.interpreter_of({"environment": here | {"distributions": {"tqdm": "0.0.1"}}})
    assert found.python == sys.executable
    (line,) = found.lines
    assert line.startswith("packages changed since: tqdm 0.0.1 → ")
    assert "uv is not installed" in line
    assert line.endswith("so the installed ones are used")


def test_an_older_run_names_a_few_packages_and_the_rest_is_as_here(here):
    named = {"python": here["python"], "numpy": here["distributions"]["numpy"], "openbook": "0.1.0"}
    assert e.interpreter_of({"packages": named}) == e.Interpreter(sys.executable)
    old = e.recorded({"packages": named | {"numpy": "1.0"}})
    assert old["distributions"] == here["distributions"] | {"numpy": "1.0"}


def test_another_platform_is_said(here):
    (line,) = e.interpreter_of({"environment": here | {"platform": "plan9-vax"}}).lines
    assert line == f"sealed on plan9-vax, not {here['platform']}"


def test_an_environment_is_built_with_the_versions_of_then_and_kept(monkeypatch, tmp_path, here):
    """A real one, by uv, of two small packages; from the network or from uv's cache."""
    if shutil.which("uv") is None:
        pytest.skip("uv is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    then = {
        "python": here["python"],
        "platform": here["platform"],
        "distributions": {"tqdm": "4.66.5", "six": "1.16.0"},
    }
    try:
        python = e.build(then)
    except e.BuildError as error:
        pytest.skip(f"uv could not reach a registry: {error}")
    asked = "import tqdm, six, sys; print(tqdm.__version__, six.__version__, sys.prefix)"
    said = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout.split()
    assert said[:2] == ["4.66.5", "1.16.0"]
    assert said[2].startswith(str(tmp_path))
    before = python.stat().st_mtime_ns
    monkeypatch.setenv("PATH", "")  # kept: uv is not asked again
    monkeypatch.setattr(shutil, "which", lambda name: "uv")
    assert e.build(then) == python
    assert python.stat().st_mtime_ns == before
    assert [path.name for path in python.parents[2].iterdir()] == [python.parents[1].name]
