"""Answers for programs: one JSON document on the standard output, stable keys, the exit code of the same command."""

import json
import os
import subprocess
import sys
from importlib.metadata import version

import pytest

from support import environment
from support.trained_desk import openbook


def document(*line, code: int = 0) -> dict:
    """What a command answers to a program."""
    answer = openbook(*line, "--json")
    assert answer.code == code, answer
    assert answer.out.isascii()
    return json.loads(answer.out)


def test_the_status_of_a_desk(trained):
    found = document("--runs", trained.runs, "status")
    last = f"{trained.days[2]:%Y-%m-%d}"
    assert list(found) == [
        *("runs", "altered", "stops", "champion", "books", "last", "waiting", "sealed", "failed"),
    ]
    assert found["sealed"]["daily_run"] == {"n": 2, "last": last}
    assert (found["altered"], found["stops"], found["failed"]) == ([], [], 0)
    (book,) = found["books"]
    assert (book["kind"], book["switch"], book["last"]["date"]) == ("paper", "ACTIVE", last)
    assert found["last"]["page"] == f"daily_run/{last}/report.html"


def test_the_positions_of_a_desk_are_those_of_its_view(trained):
    rows = document("--runs", trained.runs, "status", "positions")["positions"]
    view = (trained.runs / "books" / "paper" / "current_positions.csv").read_text().splitlines()
    assert [row["symbol"] for row in rows] == [line.split(",")[0].strip('"') for line in view[1:]]
    assert set(view[0].split(",")) | {"book"} == set(rows[0])
    assert sum(row["weight"] for row in rows) == pytest.approx(1.0)
    cash = rows[-1]
    assert (cash["symbol"], cash["shares"], cash["price"]) == ("CASH", None, None)
    table = openbook("--runs", trained.runs, "status", "positions").out.splitlines()
    assert len(table) == len(rows) + 1
    assert table[0].split()[:2] == ["book", "symbol"]


def test_the_orders_runs_and_log_of_a_desk(trained):
    orders = document("--runs", trained.runs, "status", "orders")["orders"]
    assert {row["book"] for row in orders} == {"paper"}
    assert all(row["side"] in ("BUY", "SELL") for row in orders)
    runs = document("--runs", trained.runs, "status", "runs")["runs"]
    assert [row["notebook"] for row in runs if row["date"] == f"{trained.days[2]:%Y-%m-%d}"] == ["daily_run"]
    log = document("--runs", trained.runs, "status", "log")["log"]
    written = [json.loads(line) for line in (trained.runs / "audit.jsonl").read_text().splitlines()]
    assert log == written
    table = openbook("--runs", trained.runs, "status", "log").out.splitlines()
    assert len(table) == len(log) + 1
    assert max(map(len, table)) < 160


def test_an_unknown_part_is_a_usage_error(trained):
    answer = openbook("--runs", trained.runs, "status", "fills")
    assert (answer.code, answer.out) == (64, "")
    assert "choose from positions, orders, runs, log" in answer.err


def test_an_altered_run_is_said_in_each_answer(desk):
    page = desk.page(desk.days[2])
    (page / "report.html").write_text("better")
    for part in ((), ("positions",), ("log",)):
        found = document("--runs", desk.runs, "status", *part, code=90)
        assert any(f"{desk.days[2]:%Y-%m-%d}" in said for said in found["altered"])
        assert "ALTERED" in openbook("--runs", desk.runs, "status", *part).out
    verified = document("--runs", desk.runs, "verify", code=90)
    assert any("report.html" in said for said in verified["problems"])


def test_a_champion_and_none(trained, tmp_path):
    found = document("--runs", trained.runs, "champion")
    assert found["champion"]["sha256"] == trained.bundle().name
    assert (found["champion"]["model"], found["champion"]["vetted"]) == ("tiny", False)
    assert found["champion"]["bundle_present"] is True
    (row,) = found["history"]
    assert (row["selected"], row["rolled_back"], row["rollback"]) == (f"{trained.days[0]:%Y-%m-%d}", False, None)
    assert openbook("--runs", tmp_path / "runs", "init", "--cash", 1000).code == 0
    assert document("--runs", tmp_path / "runs", "champion") == {"champion": None, "history": []}


def test_verify_and_diff(trained):
    found = document("--runs", trained.runs, "verify")
    assert found["problems"] == []
    assert any("no problems" in note for note in found["notes"])
    days = [f"{day:%Y-%m-%d}" for day in trained.days[1:3]]
    changed = document("--runs", trained.runs, "diff", *days)
    assert changed["dates"] == days
    for side in ("before", "after"):
        assert sum(changed[side].values()) == pytest.approx(1.0)
    for row in changed["changes"]:
        assert row["change"] == pytest.approx(row["after"] - row["before"])


def test_data_check_of_a_sound_and_of_a_bad_history(tmp_path):
    """A last session that only repeats the one before stops a run, whoever asks."""
    days = [f"2024-01-{day:02}" for day in (2, 3, 4, 5, 8, 9, 10, 11, 12)]
    closes = [60.0, 60.4, 60.1, 59.7, 60.2, 60.9, 61.3, 61.0, 61.6]
    rows = [
        f"KO,{day},{c},{c + 1},{c - 1},{c},{1_000_000 + n}" for n, (day, c) in enumerate(zip(days, closes, strict=True))
    ]
    again = rows[-2].replace(days[-2], days[-1])
    for name, lines in {"good": rows, "bad": [*rows[:-1], again]}.items():
        text = "\n".join(["symbol,date,open,high,low,close,volume", *lines])
        (tmp_path / f"{name}.csv").write_text(f"{text}\n")
    good = document("data", "check", tmp_path / "good.csv")
    assert (good["usable"], good["stopping"], good["unpriced"]) == (True, [], "")
    bad = document("data", "check", tmp_path / "bad.csv", code=30)
    assert (bad["usable"], bad["stopping"]) == (False, ["last session"])
    assert bad["counts"]["last session"] == 1
    assert {row["last"] for row in bad["findings"] if row["rule"] == "last session"} == {days[-1]}


def test_the_version():
    assert openbook("--version") == (0, f"openbook {version('openbook')}\n", "")


def test_the_shell_completes_commands():
    """What bash asks after `openbook ex` and a tab."""
    asked = {"_OPENBOOK_COMPLETE": "complete_bash", "COMP_WORDS": "openbook ex", "COMP_CWORD": "1"}
    program = os.path.join(os.path.dirname(sys.executable), "openbook")
    done = subprocess.run([program], env=environment() | asked, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["export"]


def test_on_windows_one_line_says_what_to_do():
    """fcntl cannot be imported there."""
    script = "import sys; sys.platform = 'win32'; sys.modules['fcntl'] = None; import openbook.cli"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 64
    assert (done.stdout, done.stderr) == ("", "openbook runs on Linux and macOS; on Windows use WSL\n")


@pytest.mark.parametrize("kind", ["missing", "file", "unreadable"])
def test_a_wrong_desk_is_said_in_one_line(kind, tmp_path):
    """--desk with a folder that is not there, with a file, and with a folder of somebody else."""
    place, said = tmp_path / "desk", {"missing": "is not there", "file": "is a file", "unreadable": "cannot be read"}
    if kind == "file":
        place.write_text("")
    if kind == "unreadable":
        place.mkdir(mode=0)
        if os.access(place, os.R_OK):
            pytest.skip("root can read every folder")
    answer = openbook("--desk", place, "status")
    assert (answer.code, answer.err.count("\n")) == (64, 1)
    assert said[kind] in answer.err
