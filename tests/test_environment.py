"""pyproject.toml (ranges) and environment.yml (tested versions) name the same packages."""

import re
import shutil
import subprocess
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement

CONDA_NAMES = {
    "arch": "arch-py",
    "duckdb": "python-duckdb",
    "xgboost-cpu": "py-xgboost-cpu",
    "xgboost": "py-xgboost-cpu",  # the same module on macOS
    "matplotlib": "matplotlib-base",
    "jupyter-client": "jupyter_client",
}  # PyPI name → conda-forge name


def ignored(root) -> set[str]:
    """The patterns of .gitignore, comments left out."""
    return {line for line in (root / ".gitignore").read_text().splitlines() if not line.startswith("#")}


@pytest.fixture(scope="module")
def ranges(project_root):
    project = tomllib.loads((project_root / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    texts = project["dependencies"] + [text for extra in extras.values() for text in extra]
    needs = [need for need in map(Requirement, texts) if need.name != project["name"]]
    return {CONDA_NAMES.get(need.name, need.name).lower(): need.specifier for need in needs}


@pytest.fixture(scope="module")
def pins(project_root):
    lines = yaml.safe_load((project_root / "environment.yml").read_text())["dependencies"]
    lines += [line for part in lines if isinstance(part, dict) for line in part["pip"]]
    found = [re.fullmatch(r"([\w.-]+)==?([\w.]+)", line) for line in lines if isinstance(line, str)]
    return {match[1]: match[2] for match in found if match}


def test_same_packages(ranges, pins):
    assert set(pins) - {"python"} == set(ranges)


def test_tested_versions_lie_in_the_ranges(ranges, pins):
    outside = {name: pins[name] for name, allowed in ranges.items() if not allowed.contains(pins[name])}
    assert not outside


@pytest.mark.long
@pytest.mark.parametrize("extras", [(), ("--all-extras",)], ids=["base", "all extras"])
@pytest.mark.parametrize("system", ["linux", "macos"])
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_there_are_packages_for_each_python_and_system(python, system, extras, project_root):
    """As uv resolves them; nothing is installed, and no lock file written."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed")
    command = [uv, "pip", "compile", "--quiet", "--python-version", python, "--python-platform", system, *extras]
    done = subprocess.run([*command, "pyproject.toml"], cwd=project_root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    wheel = "xgboost" if system == "macos" else "xgboost-cpu"
    assert re.search(rf"^{wheel}==3\.", done.stdout, re.MULTILINE)


def test_no_lock_file_is_committed(project_root):
    assert "uv.lock" in ignored(project_root)


def test_gitignore_keeps_lib(project_root):
    assert not {"lib/", "lib", "/lib"} & ignored(project_root)
