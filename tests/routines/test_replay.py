"""A sealed day comes out the same byte for byte, whatever becomes of the library, the notebook and the packages."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from openbook.app import audit
from openbook.common import desk_folder
from openbook.runs import environments, provenance, rebuild
from openbook.runs.runs_folder import read_run
from support.trained_desk import hashes


@pytest.fixture
def later(desk, project_root, tmp_path):
    """The desk some versions later: costs are another formula, a module has moved, and a public name is another."""
    home = tmp_path / "later"
    for name in ("notebooks", "params"):
        shutil.copytree(project_root / name, home / name)
    (home / desk_folder.FILE).write_text("format: 1\n")
    library = home / "lib" / "openbook"
    shutil.copytree(provenance.LIBRARY, library, ignore=shutil.ignore_patterns("__pycache__"))
    edit(library / "portfolio" / "costs.py", "1e-4", "3e-4")
    (library / "portfolio" / "pypfopt_check.py").rename(library / "portfolio" / "second_opinion.py")
    for file in library.rglob("*.py"):
        file.write_text(
            file.read_text().replace("openbook.portfolio.pypfopt_check", "openbook.portfolio.second_opinion")
        )
    notebook = home / "notebooks" / "daily_run.ipynb"
    edit(library / "__init__.py", '"DailyPage"', '"Page"')
    edit(notebook, "ob.DailyPage", "ob.Page")
    return home


def edit(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))


def command(home: Path, runs: Path, *arguments: str) -> subprocess.CompletedProcess:
    """A command of the library that lies in `home`, given there."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENBOOK_")}
    line = [sys.executable, "-m", "openbook.cli", "--runs", str(runs), *arguments]
    environment = kept | {"PYTHONPATH": str(home / "lib")}
    return subprocess.run(line, cwd=home, env=environment, capture_output=True, text=True, check=False)


def test_a_day_replays_byte_for_byte_after_a_change_of_the_library(desk, later):
    date = f"{desk.days[2]:%Y-%m-%d}"
    before = hashes(desk.runs)
    done = command(later, desk.runs, "replay", date)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the library changed since in " in done.stdout
    assert "lib/openbook/portfolio/costs.py" in done.stdout
    n = len(read_run(desk.page(desk.days[2]))["outputs"])
    assert f"{n} of {n} outputs of {date} are identical, byte for byte" in done.stdout
    assert hashes(desk.runs) == before


def test_without_the_library_of_then_the_one_that_is_here_is_said(desk, later):
    """The other side of the test above: the library that is here does not even have the names that the cells use."""
    shutil.rmtree(desk.runs / "code")
    done = command(later, desk.runs, "replay", f"{desk.days[2]:%Y-%m-%d}")
    assert done.returncode == 70
    assert "was not kept, so the installed one is used" in done.stderr
    assert "module 'openbook' has no attribute 'DailyPage'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_other_packages_alone_get_the_library_too(desk, tmp_path, monkeypatch):
    """An interpreter that was built for a replay has packages and no library of ours; here a script stands for it."""
    made = tmp_path / "python"
    made.write_text(f'#!/bin/sh\nexec {sys.base_prefix}/bin/python3 "$@"\n')
    made.chmod(0o755)
    monkeypatch.setattr(environments, "build", lambda then: made)
    page = desk.page(desk.days[2])
    (page / "run.json").chmod(0o644)
    run = json.loads((page / "run.json").read_bytes())
    run["environment"]["distributions"]["tqdm"] = "0.0.1"
    (page / "run.json").write_text(json.dumps(run))
    found = rebuild.rebuild(desk.runs, page, tmp_path)
    assert any("tqdm 0.0.1 → " in line for line in found.lines)
    line = [found.python, "-c", "import openbook; print(openbook.__file__)"]
    said = subprocess.run(
        line, env={"PYTHONPATH": str(found.library)}, capture_output=True, text=True, check=True
    ).stdout
    assert said.strip() == str(found.library / "openbook" / "__init__.py")


def test_a_sealed_run_that_the_log_does_not_know_proves_nothing(desk):
    page = desk.page(desk.days[2])
    (page / "run.json").chmod(0o644)
    run = json.loads((page / "run.json").read_bytes())
    (page / "run.json").write_text(json.dumps(run | {"profile": "another"}))
    different, lines = audit.replay(desk.runs, f"{desk.days[2]:%Y-%m-%d}")
    assert different == ["run.json"]
    assert f"daily_run/{desk.days[2]:%Y-%m-%d} does not match the log; see openbook verify" in lines


def test_every_run_kept_the_library_that_made_it(desk):
    made = {read_run(folder)["code"]["sources"] for folder in desk.runs.glob("*/????-??-??")}
    assert {path.stem for path in (desk.runs / "code").glob("*.zip")} == made
    assert len(made) == 1  # once, for all of them


def test_an_altered_library_is_not_run(desk, later):
    (file,) = (desk.runs / "code").glob("*.zip")
    data = file.read_bytes()
    file.write_bytes(data[:-30])
    done = command(later, desk.runs, "replay", f"{desk.days[2]:%Y-%m-%d}")
    assert done.returncode == 90
    assert f"{file.name} was altered" in done.stderr


def test_verify_tells_a_missing_library(desk):
    (file,) = (desk.runs / "code").glob("*.zip")
    file.unlink()
    done = command(desk_folder.find_desk(), desk.runs, "verify")
    assert done.returncode == 90
    assert f"code/{file.name} is missing" in done.stdout


def test_the_card_of_a_champion_names_the_code_that_made_it(desk):
    card = json.loads((desk.bundle() / "champion_metadata.json").read_bytes())
    for notebook in ("train_candidates", "compare"):
        run = read_run(desk.runs / notebook / f"{desk.days[0]:%Y-%m-%d}")
        assert card["code"][notebook] == run["code"]["sha256"] != ""
