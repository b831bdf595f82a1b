"""The stop that always works: a halt whatever else is wrong, KILL, and what research and a wrong clock do not block."""

import fcntl
import os
import shutil
import signal
import sqlite3
import sys
import time

import numpy as np
import pytest

from openbook.app import pipeline
from openbook.common.errors import LockError
from openbook.ledger import book_commands
from openbook.ledger.book import read_book
from openbook.market import calendar
from openbook.runs import audit_log, halt_markers
from openbook.runs.halt_markers import KILL
from openbook.runs.runs_folder import RunsFolder
from support.trained_desk import COMPARED, Answer, Terminal, clock, copied, openbook, succeed

HALT = ("halt", "--who", "Bob", "--reason", "smoke in the server room")
RESET = ("reset", "--who", "Ann", "--reason", "no fire")


@pytest.fixture
def waiting(by_hand_tonight, tmp_path, monkeypatch):
    """Tonight's orders wait for a person; the clock stands at ten past nine, and the user's state is the test's own."""
    desk = copied(by_hand_tonight, tmp_path)
    monkeypatch.setenv(calendar.REHEARSAL, f"{desk.tonight:%Y-%m-%d}T21:10Z")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    desk.vendor.deliver(desk.evening())
    return desk


@pytest.fixture
def approved(waiting, monkeypatch):
    """Tonight's orders are approved, and may be exported."""
    succeed(approve(waiting, monkeypatch))
    succeed(command(waiting, "export", tonight(waiting)))
    return waiting


def tonight(desk) -> str:
    return f"{desk.tonight:%Y-%m-%d}"


def command(desk, *words) -> Answer:
    return openbook("--runs", desk.runs, *words)


def approve(desk, monkeypatch) -> Answer:
    code = book_commands.read_batch(desk.book, tonight(desk)).code
    monkeypatch.setattr("sys.stdin", Terminal(f"{code}\n"))
    return command(desk, "approve", tonight(desk), "--by", "Ann")


def refused(answer: Answer, code: int, *said: str) -> None:
    assert answer.code == code, answer
    assert [words for words in said if words not in answer.err] == [], answer.err


def states(desk) -> set[str]:
    return set(book_commands.read_batch(desk.book, tonight(desk)).orders["status"])


def marked(desk) -> list:
    return halt_markers.markers(desk.runs, "paper")


# ---- what a halt needs ----


def held(desk):
    """The folder is held by another process for longer than anybody waits."""
    file = open(desk.runs / ".lock", "a+")  # noqa: SIM115
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def behind(desk):
    """One command ran under a clock of 2099."""
    audit_log.record(desk.runs, [("clock", "2099", "0" * 64)], when="2099-01-01 00:00:00 UTC")


def damaged_log(desk):
    with open(desk.runs / audit_log.FILE, "ab") as log:
        log.write(b"not an entry\n")


def damaged_pointer(desk):
    (desk.runs / "production" / "champion.json").write_text("{")


def damaged_closures(desk):
    (desk.runs / "closures.json").write_text("{")


def another_book_damaged(desk):
    (desk.runs / "books" / "live.db").write_bytes(b"SQLite format 3\0 and then rubbish")


def another_book_empty(desk):
    (desk.runs / "books" / "live.db").touch()


def altered_champion(desk):
    card = desk.bundle() / "champion_metadata.json"
    os.chmod(card, 0o644)
    card.write_bytes(card.read_bytes() + b" ")


@pytest.mark.parametrize(
    "trouble",
    [held, behind, damaged_log, damaged_pointer, damaged_closures, another_book_damaged, another_book_empty,
     altered_champion],
    ids=lambda trouble: trouble.__name__,
)  # fmt: skip
def test_h01_a_halt_needs_nothing_but_its_intent(approved, monkeypatch, trouble):
    keep = trouble(approved)
    began = time.monotonic()
    answer = succeed(command(approved, *HALT))
    assert time.monotonic() - began < 5
    assert "HALTED" in answer.out
    assert read_book(approved.book).switch == "HALTED"
    assert states(approved) == {"VOID"}
    assert command(approved, "export", tonight(approved)).code in (40, 55, 60, 90)
    assert approve(approved, monkeypatch).code != 0
    del keep


def test_h01_a_halt_works_while_its_own_book_is_held_by_another_writer_and_is_recorded_by_the_next_command(
    approved, monkeypatch
):
    """What another process writes takes longer than we wait: the marker stops the orders meanwhile."""
    monkeypatch.setattr("openbook.ledger.sqlite.BUSY_SECONDS", 0.1)
    writer = sqlite3.connect(approved.book, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    answer = succeed(command(approved, *HALT))
    assert "no order goes out; the paper book has not recorded it" in answer.out
    (mark,) = marked(approved)
    assert str(mark.file) in answer.out
    refused(command(approved, "export", tonight(approved)), 55, "halted by Bob: smoke in the server room")
    refused(approve(approved, monkeypatch), 55, "halted by Bob")
    assert f"stop      halted by Bob: smoke in the server room (marker {mark.file})" in command(approved, "status").out
    writer.execute("ROLLBACK")
    writer.close()
    succeed(command(approved, "views"))
    assert marked(approved) == []
    assert read_book(approved.book).switch == "HALTED"
    assert states(approved) == {"VOID"}
    assert "stop " not in command(approved, "status").out


def test_h01_a_book_that_cannot_record_it_stays_stopped(approved, monkeypatch):
    """A damaged book: the marker stays until the book is restored, and then the halt is in it."""
    sound = approved.book.read_bytes()
    approved.book.write_bytes(sound[:5000])
    succeed(command(approved, *HALT))
    assert len(marked(approved)) == 1
    approved.book.write_bytes(sound)  # from a backup, with the orders approved
    refused(command(approved, "export", tonight(approved)), 55, "halted by Bob")
    succeed(command(approved, "views"))
    refused(command(approved, "export", tonight(approved)), 55, "VOID")


def test_h01_where_nothing_can_be_written_it_ends_with_74_and_says_so(waiting, monkeypatch):
    make = os.open

    def opening(path, flags, *rest, **more):
        if flags & os.O_CREAT:
            raise OSError(30, "Read-only file system", str(path))
        return make(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", opening)
    monkeypatch.setattr(book_commands, "halt", _disk_is_full)
    refused(command(waiting, *HALT), 74, "NOT HALTED: no halt marker could be written in", "has not recorded it")


def _disk_is_full(*_, **__):
    from openbook.common.errors import StorageError

    raise StorageError("no room")


def test_a_halt_of_no_book_and_of_nobody_is_refused_and_leaves_no_marker(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "runs").mkdir()
    refused(openbook("--runs", tmp_path / "runs", *HALT), 64, "no book in")
    refused(openbook("--runs", tmp_path / "runs", "halt", "--who", "", "--reason", "x"), 64, "--who must be one line")
    refused(openbook("--runs", tmp_path / "runs", *HALT, "--book", "papr"), 64, "unknown book 'papr'")
    assert not list(tmp_path.rglob("HALT*"))


def test_a_halt_of_one_book_leaves_the_other_and_names_one_that_is_not_there(approved):
    refused(command(approved, *HALT, "--book", "live"), 64, "no live book in")
    assert states(approved) == {"APPROVED"}
    assert not list(approved.runs.glob("HALT*"))
    succeed(command(approved, "export", tonight(approved)))


def test_a_reset_records_the_halt_first_so_that_its_orders_stay_void(approved):
    halt_markers.drop(approved.runs, ["paper"], who="Bob", reason="killed at once", when="2024-06-26 21:10:00 UTC")
    succeed(command(approved, *RESET))
    assert read_book(approved.book).switch == "ACTIVE"
    assert states(approved) == {"VOID"}
    refused(command(approved, "export", tonight(approved)), 55, "VOID")


def test_after_a_halt_sells_are_proposed_and_may_be_approved_but_not_while_kill_exists(approved, monkeypatch):
    succeed(command(approved, *HALT))
    day = approved.days[4]
    with clock(f"{day:%Y-%m-%d}T21:10Z"):
        assert approved.daily(approved.evening(day), date=day).code == 20
        batch = book_commands.read_batch(approved.book, f"{day:%Y-%m-%d}")
        assert (batch.orders["shares"] < 0).all()
        (approved.runs / KILL).touch()
        monkeypatch.setattr("sys.stdin", Terminal(f"{batch.code}\n"))
        approving = ("approve", f"{day:%Y-%m-%d}", "--by", "Ann")
        refused(command(approved, *approving), 55, "KILL exists")
        (approved.runs / KILL).unlink()
        monkeypatch.setattr("sys.stdin", Terminal(f"{batch.code}\n"))
        succeed(command(approved, *approving))
        succeed(command(approved, "export", f"{day:%Y-%m-%d}"))


# ---- KILL ----


@pytest.mark.parametrize("how", ["file", "dangling"])
def test_h02_while_kill_exists_nothing_is_approved_exported_or_reset(approved, monkeypatch, how):
    file = approved.runs / KILL
    file.touch() if how == "file" else file.symlink_to("nowhere")
    refused(command(approved, "export", tonight(approved)), 55, f"the file {file} exists")
    refused(approve(approved, monkeypatch), 55, f"the file {file} exists")
    refused(command(approved, *RESET), 64, f"the file {file} exists")
    file.unlink()
    refused(command(approved, "export", tonight(approved)), 55, "VOID")  # the reset that was refused recorded the halt


def test_h02_a_halt_between_the_first_check_and_the_transaction_approves_nothing(waiting, monkeypatch):
    check, asked = halt_markers.require_none, []

    def checking(runs, kind):
        check(runs, kind)
        asked.append(kind)
        if len(asked) == 2:  # what approve asks at its start and under the lock has passed
            (runs / KILL).touch()

    monkeypatch.setattr(halt_markers, "require_none", checking)
    refused(approve(waiting, monkeypatch), 55, "KILL exists")
    assert states(waiting) == {"PENDING"}


def test_h02_a_kill_while_a_run_is_under_way_leaves_no_order(desk, monkeypatch, tmp_path):
    """Orders that a rule would approve: the commit refuses them, and the next run halts."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    execute = pipeline.execute_notebook

    def executing(*arguments, **more):
        execute(*arguments, **more)
        (desk.runs / KILL).write_text("now\n")

    monkeypatch.setattr(pipeline, "execute_notebook", executing)
    head = read_book(desk.book)
    refused(desk.daily(desk.evening()), 62, "was halted while the notebook was running", "KILL exists (now)")
    assert read_book(desk.book).pending.equals(head.pending)
    monkeypatch.undo()
    assert desk.daily().code == 20
    assert (read_book(desk.book).pending["shares"] <= 0).all()


def test_fills_are_recorded_whatever_stops_orders(approved, tmp_path):
    """A paper book takes no fills, and says so; a halt is not the reason."""
    (approved.runs / KILL).touch()
    file = tmp_path / "fills.csv"
    file.write_text("fill_id,order_id,shares,price,commission,date\n1,2,3,4,0,2024-06-26\n")
    refused(command(approved, "fills", tonight(approved), file), 60, "paper book")


def test_h03_a_fill_dated_after_today_is_refused(approved, tmp_path):
    """The page of a live book, as far as the date is concerned: it is looked at before the orders are."""
    file = tmp_path / "fills.csv"
    head = "fill_id,order_id,shares,price,commission,date\n"
    file.write_text(f"{head}1,2,3,4,0,{approved.days[4]:%Y-%m-%d}\n")
    refused(
        command(approved, "fills", tonight(approved), file), 60, "fill 1 is dated 2024-06-27, after today, 2024-06-26"
    )
    file.write_text(f"{head}1,2,3,4,0,{tonight(approved)}\n")
    assert "after today" not in command(approved, "fills", tonight(approved), file).err


# ---- research does not block the desk ----


def test_a_training_holds_the_folder_only_to_begin_and_to_seal(trained, tmp_path, monkeypatch):
    """While a notebook of research runs, a halt, a reject and an evening go on; a second one of that date does not."""
    desk = copied(trained, tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv(calendar.REHEARSAL, f"{desk.tonight:%Y-%m-%d}T21:10Z")
    execute, said = pipeline.execute_notebook, {}

    def executing(notebook, stage, parameters, **more):
        if notebook.stem != "compare":
            return execute(notebook, stage, parameters, **more)
        with RunsFolder(desk.runs).lock(patience=0):
            pass
        (desk.runs / ".stage" / "compare" / f"{tonight(desk)}-1.lock").unlink()  # which lets nobody in
        with pytest.raises(LockError, match=f"compare of {tonight(desk)} is running"):
            RunsFolder(desk.runs).stage("compare", tonight(desk), profile="demo", params={}, inputs_hash="")
        desk.vendor.deliver(desk.evening().scaled(desk.others()[0], desk.days[0], 1.01))  # and the store moves on
        said["evening"] = desk.daily()
        said["store"] = parameters["store"]
        return execute(notebook, stage, parameters, **more)

    monkeypatch.setattr(pipeline, "execute_notebook", executing)
    desk.vendor.deliver(desk.evening())
    succeed(desk.run("compare", desk.tonight, *COMPARED, "portfolio.top_n=10"))
    assert succeed(said["evening"])
    assert not os.path.lexists(said["store"])
    assert not list((desk.runs / ".stage").glob("*/*"))


# ---- the clock ----


def test_h03_a_clock_years_ahead_is_refused_and_one_that_got_in_is_corrected_by_an_event(waiting, monkeypatch):
    with clock("2034-06-26T21:10Z"):
        for words in (("views",), RESET, ("cash", "deposit", "5", "--who", "Ann", "--reason", "x")):
            refused(command(waiting, *words), 32, "days after the last log entry", "openbook reset --clock")
    behind(waiting)  # as if it had got in
    refused(command(waiting, "views"), 32, "before the last log entry at 2099", "openbook reset --clock")
    said = succeed(command(waiting, *RESET, "--clock")).out
    assert "its last entry before was at 2099-01-01 00:00:00 UTC" in said
    entry = next(entry for entry in audit_log.entries(waiting.runs)[::-1] if entry["kind"] == "clock")
    assert "Ann: no fire" in entry["subject"]
    succeed(command(waiting, "views"))
    succeed(approve(waiting, monkeypatch))
    assert audit_log.check(waiting.runs) == []


def test_reset_clock_is_about_the_log_alone(waiting, tmp_path):
    refused(command(waiting, *RESET, "--clock", "--book", "paper"), 64, "are about the log, not about a book")
    (tmp_path / "empty").mkdir()
    refused(openbook("--runs", tmp_path / "empty", *RESET, "--clock"), 64, "there is no clock to confirm")


def test_h04_a_desk_with_a_live_book_writes_nothing_under_a_rehearsed_clock_but_a_halt(waiting):
    with clock(""):  # this machine's own
        succeed(command(waiting, "init", "--cash", "1000", "--book", "live"))
    person = ("--who", "Ann", "--reason", "x")
    for words in (
        ("views", "--book", "paper"),
        ("cash", "deposit", "5", *person, "--book", "paper"),
        ("closure", "2024-06-27", *person),
        (*RESET, "--clock"),
        ("data", "update"),
        ("rollback", *person),
        ("run", "daily_run", "--date", tonight(waiting)),
    ):
        refused(command(waiting, *words), 55, "OPENBOOK_NOW", "unset it")
    succeed(command(waiting, *HALT))


@pytest.mark.parametrize("who", ["\u3164", "\u2800", "A\ufe0fnn", "\u200b", "\u202eeve", "   "])
def test_h05_an_invisible_name_is_no_name(waiting, monkeypatch, who):
    code = book_commands.read_batch(waiting.book, tonight(waiting)).code
    monkeypatch.setattr("sys.stdin", Terminal(f"{code}\n"))
    refused(command(waiting, "approve", tonight(waiting), "--by", who), 64, "--by")
    assert states(waiting) == {"PENDING"}


# ---- Ctrl-C ----


def interrupted_at(step: int, trace: list[int]):
    """A tracer that presses Ctrl-C at the `step`-th line of our code."""

    def local(frame, event, _):
        if event == "line":
            trace[0] += 1
            if trace[0] == step:
                os.kill(os.getpid(), signal.SIGINT)
        return local

    def tracer(frame, event, _):
        return local if "openbook" in frame.f_code.co_filename else None

    return tracer


def lines_of(words: tuple, runs) -> int:
    """How many lines of ours a command runs."""
    trace = [0]
    sys.settrace(interrupted_at(0, trace))
    try:
        openbook("--runs", runs, *words)
    finally:
        sys.settrace(None)
    return trace[0]


@pytest.mark.parametrize("seed", range(3))
def test_an_interrupt_says_what_is_true(waiting, tmp_path, seed):
    """Pressed at random lines of a deposit: it says that the book was changed if and only if it was, and the same
    command again leaves one deposit."""
    words = ("cash", "deposit", "5", "--who", "Ann", "--reason", "x")
    shutil.copytree(waiting.runs, tmp_path / "copy")
    n_lines = lines_of(words, tmp_path / "copy")
    said = {True: 0, False: 0}
    for k, step in enumerate(np.random.default_rng(seed).integers(1, n_lines, 20)):
        runs = tmp_path / f"try{k}"
        shutil.copytree(waiting.runs, runs)
        before = read_book(runs / "books" / "paper.db").cash_now_cents
        sys.settrace(interrupted_at(int(step), [0]))
        try:
            answer = openbook("--runs", runs, *words)
        finally:
            sys.settrace(None)
        changed = read_book(runs / "books" / "paper.db").cash_now_cents - before
        assert answer.code == 130, answer
        assert ("was changed; run the same command again" in answer.err) == (changed == 500)
        assert ("nothing was changed" in answer.err) == (changed == 0)
        said[changed == 500] += 1
        succeed(openbook("--runs", runs, *words))
        assert read_book(runs / "books" / "paper.db").cash_now_cents - before == 500
    assert min(said.values()) > 0
