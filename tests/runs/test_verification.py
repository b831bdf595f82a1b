"""What `openbook verify` finds: each way to alter a sealed run, a champion or an executed notebook, by its name."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from openbook.common.errors import ModelError
from openbook.runs import audit_log, libraries, provenance, registry
from openbook.runs import verification as v
from support.small_runs import DATE, cell, new_stage
from support.state_changes import bundle, promoted

NAME = f"daily_run/{DATE}"
WHEN = "2022-12-28 22:00:00 UTC"
TOLD = f"{NAME}: run.json, report.html or the notebook was altered, added or removed"
SOURCE = [cell("# The daily page", 0), cell("a = 1", 1, "parameters"), cell("print(a)", 2)]
INJECTED = cell("a = 2", 9, "injected-parameters")


def notebook(*cells: dict) -> str:
    return json.dumps({"cells": [*cells], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def seal(runs, date: str = DATE) -> Path:
    """A sealed run with two outputs, a report and an executed notebook."""
    stage = new_stage(runs, date)
    stage.write("trades.csv", "symbol\nA\n")
    stage.write("bundle/model.json", "{}")
    stage.finish()
    (stage.folder / "report.html").write_text("<p>fine</p>")
    (stage.folder / "daily_run.ipynb").write_text(notebook(*SOURCE[:2], INJECTED, *SOURCE[2:]))
    return runs.seal(stage)


@pytest.fixture
def sealed(runs) -> Path:
    """A sealed run that is in the log."""
    folder = seal(runs)
    audit_log.record(runs.folder, [("run", NAME, v.run_digest(folder))], when=WHEN)
    return folder


def alter(file: Path, text: str = "altered") -> None:
    file.unlink(missing_ok=True)
    file.write_text(text)


# ---- sealed runs ----


def test_nothing_is_wrong_with_nothing_nor_with_a_sealed_run(runs, sealed, tmp_path):
    assert v.check_runs(tmp_path / "nowhere") == []
    assert v.check_runs(runs.folder) == []


def test_the_digest_covers_names_and_bytes(sealed):
    before = v.run_digest(sealed)
    (sealed / "trades.csv").rename(sealed / "orders.csv")
    renamed = v.run_digest(sealed)
    alter(sealed / "orders.csv")
    assert len({before, renamed, v.run_digest(sealed)}) == 3


@pytest.mark.parametrize("name", ["trades.csv", "bundle/model.json"])
def test_x09_an_output_that_was_altered_or_is_missing(runs, sealed, name):
    alter(sealed / name)
    assert v.check_runs(runs.folder) == [f"{NAME}: {name} was altered"]
    (sealed / name).unlink()
    assert v.check_runs(runs.folder) == [f"{NAME}: {name} is missing"]


@pytest.mark.parametrize("name", ["extra.csv", "inputs.json", "bundle/extra.ipynb"])
def test_x09_a_file_that_was_added(runs, sealed, name):
    alter(sealed / name)
    assert v.check_runs(runs.folder) == [f"{NAME}: {name} was added"]


@pytest.mark.parametrize("target", ["elsewhere.csv", "nowhere.csv", "."])
def test_x09_a_link_in_place_of_an_output(runs, sealed, tmp_path, target):
    shutil.copy(sealed / "trades.csv", tmp_path / "elsewhere.csv")
    (sealed / "trades.csv").unlink()
    (sealed / "trades.csv").symlink_to(tmp_path / target)
    assert v.check_runs(runs.folder) == [f"{NAME}: trades.csv was altered"]


@pytest.mark.parametrize("name", ["report.html", "daily_run.ipynb"])
def test_x09_the_report_or_the_notebook_altered_or_missing(runs, sealed, name):
    alter(sealed / name)
    assert v.check_runs(runs.folder) == [TOLD]
    (sealed / name).unlink()
    assert v.check_runs(runs.folder) == [TOLD]


def test_x09_an_output_altered_with_its_hash_in_run_json(runs, sealed):
    alter(sealed / "trades.csv")
    run = json.loads((sealed / "run.json").read_bytes())
    run["outputs"]["trades.csv"] = v._hashes(sealed)["trades.csv"]
    alter(sealed / "run.json", json.dumps(run))
    assert v.check_runs(runs.folder) == [TOLD]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"outputs": 5}', "[" * 100_000], ids=len)
def test_x09_a_run_json_that_cannot_be_read(runs, sealed, text):
    alter(sealed / "run.json", text)
    assert v.check_runs(runs.folder) == [f"{NAME}: run.json was altered and cannot be read"]


# ---- champions ----


@pytest.fixture
def crowned(tmp_path) -> Path:
    """Two champions, both in the log."""
    runs = promoted(tmp_path, "a", "b")
    told = enumerate(registry.history(runs), start=1)
    audit_log.record(runs, [("promotion", f"champion/{n}", registry.entry_digest(e)) for n, e in told], when=WHEN)
    return runs


def refuse(folder: Path) -> None:
    raise ModelError(f"{folder.name} was altered")


def test_whole_champions_have_no_problems(crowned, tmp_path):
    (crowned / "production" / ".crashed").mkdir()
    assert v.check_champions(crowned, Path.stat) == []
    assert v.check_champions(tmp_path / "nowhere", Path.stat) == []


def test_x09_a_bundle_that_its_own_check_refuses(crowned):
    assert v.check_champions(crowned, refuse) == sorted(f"{bundle(one)[2]} was altered" for one in "ab")


def test_x09_a_card_that_was_altered_and_a_bundle_that_is_missing(crowned):
    first, second = (registry.place(crowned, bundle(one)[2]) for one in "ab")
    alter(first / "card.json")
    shutil.rmtree(second)
    problems = v.check_champions(crowned, Path.stat)
    assert problems == [f"the name of {first} is not the hash of one of its files: it was altered or added",
                        f"the bundle {second} is missing"]  # fmt: skip


@pytest.mark.parametrize("name", ["other", "0" * 64])
def test_x09_something_else_in_production(crowned, name):
    alter(crowned / "production" / name)
    (problem,) = v.check_champions(crowned, Path.stat)
    assert name in problem


def test_x09_a_pointer_that_cannot_be_read(crowned):
    alter(crowned / "production" / "champion.json")
    (problem,) = v.check_champions(crowned, Path.stat)
    assert "champion.json cannot be read" in problem


# ---- cells ----


@pytest.fixture
def repository(tmp_path) -> Path:
    """A repository with the notebook in one commit."""
    folder = tmp_path / "repository"
    (folder / "notebooks").mkdir(parents=True)
    (folder / "notebooks" / "daily_run.ipynb").write_text(notebook(*SOURCE))
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", "one")
    return folder


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=True).stdout.strip()


def made_by(folder: Path, **code) -> None:
    """Say in run.json which code made a run."""
    run = json.loads((folder / "run.json").read_bytes())
    alter(folder / "run.json", json.dumps({**run, "code": {"modified": False, **code}}))


@pytest.fixture
def ran(runs, repository) -> list[Path]:
    """Three runs of that commit."""
    folders = [seal(runs, f"2022-12-{day}") for day in (27, 28, 29)]
    for folder in folders:
        made_by(folder, commit=git(repository, "rev-parse", "HEAD"))
    return folders


def test_executed_cells_are_those_of_their_commit(runs, repository, ran):
    alter(repository / "notebooks" / "daily_run.ipynb")  # what lies there now is not the question
    assert v.check_cells(runs.folder, repository) == ([], [])


EXECUTED = {
    3: [SOURCE[0], SOURCE[1], INJECTED, cell("print(b)", 2)],
    1: [cell("# Another page", 0), SOURCE[1], INJECTED, SOURCE[2]],
    2: [SOURCE[0], INJECTED, SOURCE[2]],
    4: [*SOURCE[:2], INJECTED, SOURCE[2], cell("more()", 3)],
}


@pytest.mark.parametrize("at", EXECUTED)
def test_x09_a_cell_that_is_another(runs, repository, ran, at):
    alter(ran[1] / "daily_run.ipynb", notebook(*EXECUTED[at]))
    (problem,), unchecked = v.check_cells(runs.folder, repository)
    assert problem.startswith(f"{NAME}: cell {at} of the executed notebook differs from ")
    assert unchecked == []


def test_x09_only_one_cell_can_have_been_injected(runs, repository, ran):
    alter(ran[1] / "daily_run.ipynb", notebook(*SOURCE[:2], INJECTED, INJECTED, SOURCE[2]))
    (problem,), _ = v.check_cells(runs.folder, repository)
    assert "cell 3" in problem


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cells": [5]}'])
def test_x09_an_executed_notebook_that_cannot_be_read(runs, repository, ran, text):
    alter(ran[1] / "daily_run.ipynb", text)
    assert v.check_cells(runs.folder, repository)[0] == [
        f"{NAME}: the executed notebook was altered and cannot be read"
    ]


CODES = [
    ({"commit": None, "modified": None}, "not made from a checkout"),
    ({"commit": "HEAD\n"}, "not made from a checkout"),
    ({"modified": True}, "changed after its commit"),
    ({"commit": "0" * 40}, "has no 0000"),
]


@pytest.mark.parametrize(("code", "why"), CODES)
def test_what_cannot_be_compared_is_said_once(runs, repository, ran, code, why):
    for count, who in enumerate((" were", " and of 1 more run were", " and of 2 more runs were")):
        made_by(ran[count], **{"commit": git(repository, "rev-parse", "HEAD"), **code})
        problems, (said,) = v.check_cells(runs.folder, repository)
        assert problems == []
        assert said.startswith(f"cells of daily_run/2022-12-27{who} not compared with a commit: ")
        assert why in said


def test_a_run_without_notebook_or_code_and_a_folder_without_git_cannot_be_compared(runs, repository, ran, tmp_path):
    (ran[0] / "daily_run.ipynb").unlink()
    alter(ran[1] / "run.json", "{}")
    problems, unchecked = v.check_cells(runs.folder, tmp_path / "nowhere")
    assert problems == []
    assert [
        "no executed" in unchecked[0],
        "not record the code" in unchecked[1],
        "git cannot read" in unchecked[2],
    ] == [True] * 3


# ---- what a run says of its own code ----


def test_x09_the_executed_cells_are_those_whose_hash_the_run_names(runs, sealed):
    executed = sealed / "daily_run.ipynb"
    made_by(sealed, cells=provenance.cells_digest(executed.read_bytes()))
    assert v.check_cells(runs.folder, runs.folder)[0] == []
    alter(executed, notebook(*SOURCE[:2], INJECTED, cell("print(b)", 2)))
    assert v.check_cells(runs.folder, runs.folder)[0] == [
        f"{NAME}: the code cells of the executed notebook differ from run.json"
    ]


def test_a_library_that_a_run_needs_is_there_and_is_what_its_name_says(runs, sealed):
    digest = libraries.keep(runs.folder, {"openbook/a.py": b"a = 1\n"})
    made_by(sealed, sources=digest)
    assert v.check_libraries(runs.folder) == []
    file = runs.folder / "code" / f"{digest}.zip"
    whole = file.read_bytes()
    alter(file, "no zip")
    (problem,) = v.check_libraries(runs.folder)
    assert problem.startswith(f"code/{digest}.zip was altered: its content does not match the hash in its name")
    file.unlink()
    assert v.check_libraries(runs.folder) == [f"code/{digest}.zip is missing, but {NAME} needs it"]
    file.with_name("0.zip").write_bytes(whole)
    assert "code/0.zip was altered: its content" in v.check_libraries(runs.folder)[0]
