"""Markers of halts: where they go, who finds them, and that a name alone is enough."""

import os
import threading
import time
from pathlib import Path

import pytest

from openbook.common.errors import ApprovalError, StorageError
from openbook.runs import halt_markers
from openbook.runs.halt_markers import KILL, clear, drop, kill_file, kill_reason, markers, require_none, stops

SIGNED = {"who": "Ann", "reason": "smoke", "when": "2024-06-26 21:10:00 UTC"}


@pytest.fixture
def runs(tmp_path, monkeypatch) -> Path:
    """The runs folder of a desk; the user's state lies beside the desk."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = tmp_path / "desk" / "runs"
    folder.mkdir(parents=True)
    (tmp_path / "desk" / "openbook.yaml").write_text("format: 1\n")
    return folder


def unwritable(monkeypatch, *places: Path) -> None:
    """No file can be made in these folders, whoever tries."""
    make = os.open

    def opening(path, flags, *rest, **more):
        if flags & os.O_CREAT and Path(path).parent in places:
            raise OSError(30, "Read-only file system", str(path))
        return make(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", opening)


def test_a_marker_lies_in_the_runs_folder_and_goes_when_it_is_recorded(runs):
    (mark,) = drop(runs, ["live"], **SIGNED)
    assert mark.file.parent == runs
    assert markers(runs, "live") == [mark]
    assert markers(runs, "paper") == []
    with pytest.raises(ApprovalError, match="halted by Ann: smoke"):
        require_none(runs, "live")
    require_none(runs, "paper")
    clear(mark)
    clear(mark)
    require_none(runs, "live")


@pytest.mark.parametrize(("n_closed", "place"), [(0, "desk/runs"), (1, "desk"), (2, "state/openbook")])
def test_h01_the_first_place_that_takes_it(runs, tmp_path, monkeypatch, n_closed, place):
    unwritable(monkeypatch, *[runs, runs.parent][:n_closed])
    (mark,) = drop(runs, ["paper"], **SIGNED)
    assert mark.file.parent == tmp_path / place
    assert markers(runs, "paper") == [mark]
    assert markers(tmp_path / "another" / "runs", "paper") == []  # its key is that of these runs


def test_h01_where_none_takes_it_that_is_said_loudly(runs, tmp_path, monkeypatch):
    unwritable(monkeypatch, runs, runs.parent, tmp_path / "state" / "openbook")
    with pytest.raises(StorageError, match=r"^NOT HALTED: .*runs, .*desk, .*state/openbook"):
        drop(runs, ["paper", "live"], **SIGNED)


def test_h01_a_place_that_hangs_is_left_for_the_next_within_a_second(runs, monkeypatch):
    make, never = os.open, threading.Event()

    def opening(path, flags, *rest, **more):
        if flags & os.O_CREAT and Path(path).parent in (runs, runs.parent):
            never.wait(5)
        return make(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", opening)
    began = time.monotonic()
    marks = drop(runs, ["paper", "live"], **SIGNED)
    assert time.monotonic() - began < 1
    assert {mark.file.parent.name for mark in marks} == {"openbook"}
    never.set()


def test_h01_on_a_full_disk_the_name_is_enough(runs, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        patch.setattr(os, "fsync", full)
        drop(runs, ["live"], **SIGNED)
    (found,) = markers(runs, "live")
    assert (found.who, found.reason) == ("unknown", "no reason given")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"who": "Ann"}', b'{"who": 1, "reason": null}'])
def test_a_marker_that_cannot_be_read_halts_all_the_same(runs, content):
    (mark,) = drop(runs, ["live"], **SIGNED)
    mark.file.write_bytes(content)
    with pytest.raises(ApprovalError, match="halted by"):
        require_none(runs, "live")


def test_a_marker_shows_no_control_characters(runs):
    drop(runs, ["live"], **(SIGNED | {"reason": "a\x1b[2Jb\u202ec"}))
    assert stops(runs, "live")[0].startswith("halted by Ann: a[2Jbc (marker ")


def test_a_runs_folder_that_was_moved_keeps_its_own_markers(runs, tmp_path):
    drop(runs, ["live"], **SIGNED)
    os.rename(runs, tmp_path / "moved")
    assert len(markers(tmp_path / "moved", "live")) == 1


def test_a_folder_that_cannot_be_searched_may_hold_one(runs, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(halt_markers.os, "listdir", denied)
    with pytest.raises(StorageError, match="look for halt markers"):
        require_none(runs, "live")


@pytest.mark.parametrize("how", ["file", "link", "dangling", "folder", "unreadable"])
def test_h02_kill_is_kill_whatever_it_is(runs, how):
    file = runs / KILL
    if how == "folder":
        file.mkdir()
    elif how in ("link", "dangling"):
        target = runs / "target"
        file.symlink_to(target)
        if how == "link":
            target.write_text("OPENBOOK_SMTP_PASSWORD=hunter2\n")  # a reason is recorded, and mailed
    else:
        file.write_bytes(b"\xff\x00\n" if how == "unreadable" else b"smoke\x1b[2J\nmore")
    assert kill_file(runs) == file
    said = {"file": "smoke[2J", "unreadable": "\ufffd"}
    assert kill_reason(file) == said.get(how, "no reason given")
    for kind in ("paper", "live"):
        with pytest.raises(ApprovalError, match=f"the file {file} exists"):
            require_none(runs, kind)
