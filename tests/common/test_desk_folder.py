"""A desk is found upward from where one stands, as git finds its own."""

import os
import subprocess
import sys

import pytest

from openbook.common import desk_folder
from openbook.common.errors import UsageError


def test_a_link_in_the_place_of_the_marker_is_refused(tmp_path, monkeypatch):
    """Somebody else's link to a file of ours would read as ours."""
    (tmp_path / "ours").write_text("format: 1\n")
    monkeypatch.chdir(tmp_path)
    for target in (tmp_path / "ours", tmp_path / "nowhere"):
        (tmp_path / desk_folder.FILE).symlink_to(target)
        with pytest.raises(UsageError, match="is a link or a folder"):
            desk_folder.find_desk()
        (tmp_path / desk_folder.FILE).unlink()


@pytest.mark.parametrize(
    ("text", "said"), [("format: 99\n", "has format 99"), ("", "has no format line"), (None, "a link or a folder")]
)
def test_a_marker_of_another_kind_is_named(text, said, tmp_path, monkeypatch):
    file = tmp_path / desk_folder.FILE
    file.mkdir() if text is None else file.write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=said):
        desk_folder.find_desk()


def test_a_desk_from_before_there_were_markers_is_shown_the_way(tmp_path, monkeypatch):
    for name in ("notebooks", "params"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="of an older openbook, run: openbook upgrade"):
        desk_folder.find_desk()


def test_a_folder_of_another_user_is_no_desk_of_ours(tmp_path, monkeypatch):
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    desk = make_desk(tmp_path / "desk")
    os.chown(desk, 12345, 12345)
    monkeypatch.chdir(desk)
    with pytest.raises(UsageError, match=f"{desk} belongs to another user"):
        desk_folder.find_desk()


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch):
    for name in (desk_folder.DESK, desk_folder.RUNS):
        monkeypatch.delenv(name, raising=False)


def make_desk(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / desk_folder.FILE).write_text("format: 1\n")
    return folder


def test_the_nearest_desk_upward_is_found(tmp_path, monkeypatch):
    outer, inner = make_desk(tmp_path / "desk"), make_desk(tmp_path / "desk" / "a" / "desk")
    (inner / "notebooks" / "guides").mkdir(parents=True)
    for stand, desk in ((outer, outer), (outer / "a", outer), (inner / "notebooks" / "guides", inner)):
        monkeypatch.chdir(stand)
        assert desk_folder.find_desk() == desk
        assert desk_folder.runs_folder() == desk / "runs"


def test_where_there_is_none_the_way_out_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=rf"no desk at or above {tmp_path}.*--desk FOLDER") as raised:
        desk_folder.runs_folder()
    assert raised.value.exit_code == 64


def test_a_desk_that_is_named_comes_first_and_must_be_one(tmp_path, monkeypatch):
    here, named = make_desk(tmp_path / "here"), make_desk(tmp_path / "named")
    monkeypatch.chdir(here)
    monkeypatch.setenv(desk_folder.DESK, str(named))
    assert desk_folder.find_desk() == named
    monkeypatch.setenv(desk_folder.DESK, str(tmp_path))
    with pytest.raises(UsageError, match=f"{tmp_path} is not a desk: file openbook.yaml not found"):
        desk_folder.find_desk()


def test_the_desk_of_another_user_is_refused_unless_it_is_named(tmp_path, monkeypatch):
    if os.getuid() != 0:
        pytest.skip("only root can give a file away")
    desk = make_desk(tmp_path / "desk")
    os.chown(desk / desk_folder.FILE, 12345, 12345)
    monkeypatch.chdir(desk)
    with pytest.raises(UsageError, match=f"belongs to another user .uid 12345.*--desk {desk}"):
        desk_folder.find_desk()
    monkeypatch.setenv("SUDO_UID", "12345")  # root by sudo: it is the same person
    assert desk_folder.find_desk() == desk
    monkeypatch.delenv("SUDO_UID")
    monkeypatch.setenv(desk_folder.DESK, str(desk))
    assert desk_folder.find_desk() == desk


def test_runs_that_were_asked_for_are_those_of_no_other_desk(tmp_path, monkeypatch):
    ours, theirs = make_desk(tmp_path / "ours"), make_desk(tmp_path / "theirs")
    monkeypatch.chdir(ours)
    assert desk_folder.runs_folder("elsewhere") == ours / "elsewhere"
    monkeypatch.setenv(desk_folder.RUNS, str(tmp_path / "far" / "runs"))
    assert desk_folder.runs_folder() == tmp_path / "far" / "runs"
    with pytest.raises(UsageError, match=f"belongs to the desk {theirs}, not to {ours}"):
        desk_folder.runs_folder(theirs / "runs")
    with pytest.raises(UsageError, match=f"belongs to the desk {theirs}"):
        desk_folder.runs_folder(theirs / "runs" / "mine")
    (ours / "notebooks").mkdir()
    monkeypatch.chdir(ours / "notebooks")
    monkeypatch.setenv(desk_folder.RUNS, "runs/mine")
    assert desk_folder.runs_folder() == ours / "runs" / "mine"  # of the environment: from the desk
    assert desk_folder.runs_folder("mine") == ours / "notebooks" / "mine"  # of the command line: from here


def test_a_relative_path_of_the_parameters_starts_at_the_desk(tmp_path, monkeypatch):
    desk = make_desk(tmp_path / "desk")
    (desk / "notebooks").mkdir()
    monkeypatch.chdir(desk / "notebooks")
    assert desk_folder.inside("runs/vendor/prices.parquet") == str(desk / "runs/vendor/prices.parquet")
    for path in ("/data/prices.csv", "s3://bucket/prices.parquet", "file:///data/prices.csv"):
        assert desk_folder.inside(path) == path
    monkeypatch.chdir(tmp_path)
    assert desk_folder.inside("prices.csv") == "prices.csv"


COMMANDS = [
    "verify",
    "status",
    "init --cash 1000",
    "run daily_run --date 2022-12-28",
    "halt --who a --reason b",
]


@pytest.mark.parametrize("command", [line.split() for line in COMMANDS], ids=lambda command: command[0])
def test_the_wrong_folder_is_noticed_and_left_as_it_is(command, tmp_path):
    """What cron does after a forgotten cd."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENBOOK_")}
    done = subprocess.run(
        [sys.executable, "-m", "openbook.cli", *command], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 64, done.stdout + done.stderr
    assert f"no desk at or above {tmp_path}" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["verify", "status", "champion"])
def test_runs_where_there_is_nothing_are_no_desk_in_order(command, tmp_path, project_root):
    """A mistyped --runs must not read as a desk without troubles."""
    typo = tmp_path / "rums"
    done = subprocess.run(
        [sys.executable, "-m", "openbook.cli", "--runs", str(typo), command],
        cwd=project_root, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 64, done.stdout + done.stderr
    assert f"no runs, book or log in {typo}" in done.stderr
    assert not typo.exists()
