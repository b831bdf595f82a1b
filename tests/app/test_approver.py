"""What an approver sees is what was sealed, what they type is typed, and paper orders do not pass for real ones."""

import csv
import io
import json
import os
import pty
import subprocess
import sys

import pytest

from openbook.ledger import book_commands
from openbook.ledger.book import read_book
from openbook.market import calendar
from openbook.runs.stage import RUN
from support import environment
from support.small_runs import forget_head
from support.trained_desk import Answer, Terminal, copied, openbook, succeed

FORGED = "No orders, nothing to approve"


@pytest.fixture
def waiting(by_hand_tonight, tmp_path, monkeypatch):
    """Tonight's orders wait for a person; the clock stands at ten past nine."""
    desk = copied(by_hand_tonight, tmp_path)
    monkeypatch.setenv(calendar.REHEARSAL, f"{desk.tonight:%Y-%m-%d}T21:10Z")
    desk.vendor.deliver(desk.evening())
    return desk


def tonight(desk) -> str:
    return f"{desk.tonight:%Y-%m-%d}"


def command(desk, *words) -> Answer:
    return openbook("--runs", desk.runs, *words)


def code_of(desk) -> str:
    return book_commands.read_batch(desk.book, tonight(desk)).code


def approve(desk, monkeypatch) -> Answer:
    monkeypatch.setattr("sys.stdin", Terminal(f"{code_of(desk)}\n"))
    return command(desk, "approve", tonight(desk), "--by", "Ann")


def states(desk) -> set[str]:
    return set(book_commands.read_batch(desk.book, tonight(desk)).orders["status"])


def refused(answer: Answer, code: int, *said: str) -> None:
    assert answer.code == code, answer
    assert [words for words in said if words not in answer.err] == [], answer.err


# ---- a terminal ----


def approving(desk, who: str) -> list[str]:
    """The command as a process of its own."""
    return [sys.executable, "-m", "openbook.cli", "--runs", str(desk.runs), "approve", tonight(desk), "--by", who]


@pytest.mark.parametrize("typed", ["", "right"])
def test_h05_a_pipe_approves_nothing_and_is_shown_nothing(waiting, typed):
    """`echo LAST6 | openbook approve D --by 'The CFO'`, as a process of its own."""
    words = [
        sys.executable,
        "-m",
        "openbook.cli",
        "--runs",
        waiting.runs,
        "approve",
        tonight(waiting),
        "--by",
        "The CFO",
    ]
    said = f"{code_of(waiting)}\n" if typed else ""
    done = subprocess.run(words, input=said, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 55, done
    assert "is typed at a terminal by the person who read the orders" in done.stderr
    assert done.stdout == ""
    assert states(waiting) == {"PENDING"}


def test_a_person_at_a_terminal_approves(waiting):
    """A pseudo-terminal, and a process of its own: it shows the orders, asks, and reads what is typed."""
    words = [
        sys.executable,
        "-m",
        "openbook.cli",
        "--runs",
        str(waiting.runs),
        "approve",
        tonight(waiting),
        "--by",
        "Ann",
    ]
    ours, theirs = pty.openpty()
    with subprocess.Popen(words, stdin=theirs, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        os.write(ours, f"{code_of(waiting)}\n".encode())
        shown, _ = process.communicate(timeout=120)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0, shown
    assert "type the last six characters" in shown
    assert states(waiting) == {"APPROVED"}


# ---- a forged page ----


def forge(desk, what: str) -> None:
    """Change a sealed page so that it agrees with itself: run.json has the hashes of what was changed."""
    import hashlib

    page = desk.page()
    run = json.loads((page / RUN).read_bytes())
    if what == "verdict":
        run["recorded"]["verdict"] = FORGED
    if what == "orders":
        table = (page / "trades.csv").read_text().splitlines()
        os.chmod(page / "trades.csv", 0o644)
        (page / "trades.csv").write_text("\n".join(table[:2]) + "\n")
        for name, known in run.get("files", {}).items():
            if name == "trades.csv":
                digest = hashlib.sha256((page / name).read_bytes()).hexdigest()
                run["files"][name] = digest if isinstance(known, str) else {**known, "sha256": digest}
    if what == "checks":
        run["recorded"]["not_passed"] = []
        run["recorded"]["look"] = "ok"
    os.chmod(page / RUN, 0o644)
    (page / RUN).write_text(json.dumps(run) + " ")


@pytest.mark.parametrize("what", ["verdict", "orders", "checks"])
def test_h06_a_forged_page_is_refused_before_anything_of_it_is_shown(waiting, monkeypatch, what):
    forge(waiting, what)
    answer = approve(waiting, monkeypatch)
    refused(answer, 90, f"daily_run/{tonight(waiting)} was altered", "openbook verify")
    assert answer.out == ""
    assert states(waiting) == {"PENDING"}
    refused(command(waiting, "export", tonight(waiting)), 90, "was altered")
    refused(command(waiting, "reject", tonight(waiting), "--by", "Ann", "--reason", "x"), 90, "was altered")


def test_h06_status_names_a_forged_page_and_shows_nothing_of_it(waiting):
    forge(waiting, "verdict")
    answer = command(waiting, "status")
    assert answer.code == 90
    assert f"ALTERED   daily_run/{tonight(waiting)} was altered" in answer.out
    assert FORGED not in answer.out


def test_h06_a_forged_page_is_not_mailed(waiting, monkeypatch):
    monkeypatch.setenv("OPENBOOK_WEBHOOK", "http://127.0.0.1:9/")
    forge(waiting, "verdict")
    refused(command(waiting, "notify"), 90, "was altered")
    assert not [path for path in waiting.runs.rglob("*.json") if path.parent.name == "outbox"]


def test_h06_a_page_that_the_log_does_not_know_is_refused(waiting, monkeypatch):
    log = waiting.runs / "audit.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    assert b'"run"' in lines[-1]
    log.write_bytes(b"".join(lines[:-1]))
    forget_head(waiting.runs)  # of a line that a crash never wrote
    refused(approve(waiting, monkeypatch), 90, "is not in the log; if a crash came between, run it again")
    succeed(waiting.daily(None, "require_manual_approval=true"))  # already done, and logged now
    succeed(approve(waiting, monkeypatch))


def test_the_orders_that_are_shown_are_those_of_the_book(waiting, monkeypatch):
    shown = succeed(approve(waiting, monkeypatch)).out
    for row in book_commands.read_batch(waiting.book, tonight(waiting)).orders.itertuples():
        line = next(line for line in shown.splitlines() if line.split()[:1] == [row.symbol])
        assert line.split()[1:4] == ["BUY" if row.shares > 0 else "SELL", f"{row.shares:g}", f"{row.price:,.2f}"]


# ---- paper orders ----


@pytest.fixture
def approved(waiting, monkeypatch):
    succeed(approve(waiting, monkeypatch))
    return waiting


@pytest.mark.parametrize("form", ["ibkr", "alpaca"])
def test_paper_orders_leave_in_a_brokers_format_for_its_paper_account_alone(approved, form):
    """There they are marked: the first of them that no broker would take is named by the id that it would have."""
    words = ("export", tonight(approved), "--format", form)
    refused(command(approved, *words), 55, "are of the paper book", "--paper-account")
    refused(command(approved, *words, "--paper-account"), 60, "of order PAPER-2024-06-26-", "is not a broker ticker")


def test_paper_orders_in_our_own_format_are_marked_too(approved):
    rows = list(csv.DictReader(io.StringIO(succeed(command(approved, "export", tonight(approved))).out)))
    known = read_book(approved.book).pending["order_id"]
    assert sorted(row["order_id"] for row in rows) == sorted("PAPER-" + known)


# ---- what a terminal is sent ----


def test_no_control_character_of_a_name_or_reason_reaches_the_terminal(waiting, capsys):
    halted = command(waiting, "halt", "--who", "Bob", "--reason", "x\x1b[2J")
    refused(halted, 64, "--reason must be one line")
    assert "\x1b" not in halted.err
    unknown = command(waiting, "run", "daily_run\x1b[2J", "--date", tonight(waiting))
    assert unknown.code == 64
    assert "\x1b" not in unknown.err
