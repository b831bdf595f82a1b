"""What `openbook doctor` finds around a desk, and that it changes nothing."""

import json
import os
import shutil
import socket
import sys

import pytest

from openbook.app import doctor
from openbook.common import desk_folder, secrets
from openbook.common.extras import EXTRAS
from openbook.market import calendar
from openbook.notify import channels
from support.mail_servers import no_channels
from support.trained_desk import openbook


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A new desk in which commands are given, without channels."""
    for name in (desk_folder.DESK, desk_folder.RUNS, secrets.FILE):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    no_channels(monkeypatch)
    monkeypatch.chdir(tmp_path)
    assert openbook("new", "desk").code == 0
    monkeypatch.chdir(tmp_path / "desk")
    return tmp_path / "desk"


def states(*more: str) -> dict[str, tuple[str, str]]:
    """State and words of each check, by name; the exit code must follow from them."""
    answer = openbook("doctor", "--json", *more)
    found = json.loads(answer.out)
    bad = any(one["state"] == "fail" for one in found["checks"])
    assert (answer.code, found["ok"]) == ((78, False) if bad else (0, True))
    return {one["name"]: (one["state"], one["said"]) for one in found["checks"]}


def test_a_new_desk_is_well_but_has_no_book_and_nobody_is_told(mine):
    before = sorted(mine.rglob("*"))
    answer = openbook("doctor")
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert [line.split()[1] for line in lines] == [
        *("versions", "extras", "calendar", "desk", "clock", "disk", "books", "source", "secrets", "channels"),
    ]
    assert {line.split()[1] for line in lines if line.startswith("warn")} == {"books", "channels"}
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}" in lines[0]
    assert sorted(mine.rglob("*")) == before


def test_outside_of_a_desk_it_says_how_to_make_one(mine, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = states()
    assert found["desk"] == ("warn", f"none at or above {tmp_path}; make one with openbook new FOLDER")
    assert "clock" not in found


def test_a_book_that_everybody_may_write_is_a_failure(mine):
    assert openbook("init", "--cash", 1000).code == 0
    assert states()["books"] == ("ok", "paper")
    book = mine / "runs" / "books" / "paper.db"
    os.chmod(book, 0o666)
    state, said = states()["books"]
    assert state == "fail"
    assert str(book) in said


def test_a_file_of_secrets_that_others_can_read_is_a_failure(mine, tmp_path, monkeypatch):
    file = tmp_path / "secrets"
    file.write_text("OPENBOOK_SLACK=https://hooks.slack.com/services/T0/B0/abcDEF123456\n")
    monkeypatch.setenv(secrets.FILE, str(file))
    os.chmod(file, 0o644)
    assert states()["secrets"][0] == "fail"
    os.chmod(file, 0o600)
    found = states()
    assert found["secrets"] == ("ok", f"{file} is private")
    assert found["channels"] == ("ok", "slack")


def test_a_channel_that_cannot_work_is_a_failure(mine, monkeypatch):
    monkeypatch.setenv("OPENBOOK_WEBHOOK", "ftp://nowhere")
    with pytest.raises(Exception, match="OPENBOOK_WEBHOOK"):
        channels.configured()
    assert states()["channels"][0] == "fail"


def test_a_clock_behind_the_log_is_a_failure_and_a_rehearsed_one_a_warning(mine, monkeypatch):
    assert openbook("init", "--cash", 1000).code == 0
    monkeypatch.setenv(calendar.REHEARSAL, "2000-01-03T21:00Z")
    state, said = states()["clock"]
    assert state == "fail"
    assert "before the last log entry" in said
    monkeypatch.setenv(calendar.REHEARSAL, f"{calendar.machine_now():%Y-%m-%dT%H:%MZ}")
    state, said = states()["clock"]
    assert state == "warn"
    assert "overrides the clock" in said


@pytest.mark.parametrize(("free", "state"), [(6e9, "ok"), (1e9, "warn"), (1e8, "fail")])
def test_a_disk_that_fills_up(mine, monkeypatch, free, state):
    usage = shutil.disk_usage(mine)._replace(free=int(free))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert states()["disk"][0] == state


def test_the_source_of_a_profile_must_be_there(mine, monkeypatch):
    assert states()["source"] == ("ok", "sample: bundled, nothing to reach")
    state, said = states("--profile", "vendor")["source"]
    assert state == "fail"
    assert "runs/vendor/prices.parquet" in said
    (mine / "runs" / "vendor").mkdir()
    (mine / "runs" / "vendor" / "prices.parquet").touch()
    assert states("--profile", "vendor")["source"][0] == "ok"
    assert states("--profile", "mine")["source"][0] == "fail"


def test_yahoo_must_answer_and_its_client_be_installed(mine, monkeypatch):
    """A server of our own stands for Yahoo's."""
    (mine / "runs" / "universe").mkdir()
    (mine / "runs" / "universe" / "sp500.csv").write_text("symbol\nKO\n")
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(doctor, "YAHOO", server.getsockname())
        assert states("--profile", "live")["source"] == ("ok", "127.0.0.1 answers")
    state, said = states("--profile", "live")["source"]
    assert state == "fail"
    assert said.startswith("127.0.0.1 does not answer")
    monkeypatch.setitem(sys.modules, EXTRAS["yahoo"][0], None)
    assert states("--profile", "live")["source"] == (
        *("fail", "provider: yahoo needs openbook[yahoo]: pip install 'openbook[yahoo]'"),
    )


def test_the_second_source_of_yahoo_must_be_there(mine, monkeypatch):
    (mine / "runs" / "universe").mkdir()
    (mine / "runs" / "universe" / "sp500.csv").write_text("symbol\nKO\n")
    file, second = mine / "params" / "live" / "daily_run.yaml", "{provider: files, path: s.csv, prices: raw}"
    file.write_text(file.read_text().replace("provider: yahoo", f"provider: yahoo\n  second_source: {second}"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(doctor, "YAHOO", server.getsockname())
        state, said = states("--profile", "live")["source"]
        assert (state, "s.csv" in said) == ("fail", True)
        (mine / "s.csv").touch()
        assert states("--profile", "live")["source"] == ("ok", "127.0.0.1 answers")


def test_the_calendar_reaches_the_end_of_next_year():
    """Wednesday 2027-12-31 … the last session of a year is its last weekday, unless that is a holiday."""
    assert calendar.last_known().year == calendar.machine_now().year + 1
    assert calendar.last_known().month == 12
