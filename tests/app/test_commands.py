"""The commands of the people: what each shows, refuses and leaves behind, with its exit code."""

import csv
import io
import json
import os
import shutil

import pandas as pd
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from openbook.app import commands
from openbook.cli import main
from openbook.common import desk_folder
from openbook.common.errors import ApprovalError
from openbook.common.signatures import public_key
from openbook.ledger import book_commands, database, event_chain, projection
from openbook.ledger.book import read_book
from openbook.market import calendar
from openbook.runs import audit_log
from openbook.runs.key_files import create_key, read_key, read_once
from support.small_runs import log_runs
from support.time_authority import authority
from support.trained_desk import AWKWARD, Answer, Terminal, clock, copied, openbook, succeed

BY_HAND = "require_manual_approval=true"


@pytest.fixture
def waiting(by_hand_tonight, tmp_path, monkeypatch):
    """Tonight's orders wait for a person: a desk to be broken; the clock stands at ten past nine."""
    desk = copied(by_hand_tonight, tmp_path)
    monkeypatch.setenv(calendar.REHEARSAL, f"{desk.tonight:%Y-%m-%d}T21:10Z")
    desk.vendor.deliver(desk.evening())
    return desk


def tonight(desk) -> str:
    return f"{desk.tonight:%Y-%m-%d}"


def command(desk, *words) -> Answer:
    return openbook("--runs", desk.runs, *words)


def approve(desk, monkeypatch, code: str | None = None, by: str = "Ann") -> Answer:
    """`openbook approve`, answered with the end of the batch's hash, or with `code`."""
    code = book_commands.read_batch(desk.book, tonight(desk)).code if code is None else code
    monkeypatch.setattr("sys.stdin", Terminal(f"{code}\n"))
    return command(desk, "approve", tonight(desk), "--by", by)


def refused(answer: Answer, code: int, *said: str) -> None:
    assert answer.code == code, answer
    assert [words for words in said if words not in answer.err] == [], answer.err


def ordered(desk) -> list[str]:
    return book_commands.read_batch(desk.book, tonight(desk)).orders["symbol"].tolist()


def states(desk) -> set[str]:
    return set(book_commands.read_batch(desk.book, tonight(desk)).orders["status"])


# ---- approval ----


def test_a_person_sees_orders_costs_and_checks_and_approves_by_the_end_of_the_hash(waiting, monkeypatch):
    answer = succeed(approve(waiting, monkeypatch))
    batch = book_commands.read_batch(waiting.book, tonight(waiting))
    for words in (batch.digest, "commission_est", "estimated costs", "check", *batch.orders["symbol"]):
        assert words in answer.out
    assert "approved by Ann" in answer.out
    assert states(waiting) == {"APPROVED"}
    assert succeed(approve(waiting, monkeypatch)).out.count("approved by Ann") == 1
    assert audit_log.entries(waiting.runs)[-1]["kind"] == "event"


@pytest.mark.parametrize("code", ["", "000000", "approve"])
def test_x06_the_wrong_end_approves_nothing(waiting, monkeypatch, code):
    refused(approve(waiting, monkeypatch, code), 55, "does not match the last six characters", "nothing was approved")
    assert states(waiting) == {"PENDING"}


def test_x06_an_approval_expires_half_an_hour_after_the_next_open(waiting, monkeypatch):
    following = calendar.next_session(waiting.tonight)
    monkeypatch.setenv(calendar.REHEARSAL, f"{following:%Y-%m-%d}T14:00:01Z")  # 10:00:01 in New York, in summer
    refused(approve(waiting, monkeypatch), 55, "the approval deadline for the orders of", "14:00 UTC")
    monkeypatch.setenv(calendar.REHEARSAL, f"{following:%Y-%m-%d}T14:00Z")
    succeed(approve(waiting, monkeypatch))


def test_x06_an_edited_run_is_not_approved(waiting, monkeypatch):
    file = waiting.page() / "trades.csv"
    os.chmod(file, 0o644)
    file.write_text(file.read_text().replace("BUY", "buy", 1))
    refused(approve(waiting, monkeypatch), 90, "was altered")


def test_x06_another_champion_voids_the_approval(waiting, monkeypatch):
    waiting.promote(reason="another")
    refused(approve(waiting, monkeypatch), 55, "the champion changed since")


def test_rejected_orders_are_not_approved_again_and_never_filled(waiting, monkeypatch):
    succeed(command(waiting, "reject", tonight(waiting), "--by", "Bob", "--reason", "too much"))
    refused(approve(waiting, monkeypatch), 55, "REJECTED")
    assert "PENDING" not in states(waiting)
    refused(command(waiting, "reject", tonight(waiting), "--by", "Bob", "--reason", "a\nb"), 64, "one line")


# ---- keys; tokens are in test_approvals ----


def test_x07_what_was_read_is_what_is_used(tmp_path):
    """The bytes are those of the file that was opened, whatever its name leads to a moment later."""
    file = tmp_path / "token.json"
    file.write_bytes(b"first")
    handle = os.open(file, os.O_RDONLY)
    (tmp_path / "other").write_bytes(b"second")
    os.replace(tmp_path / "other", file)
    assert os.read(handle, 10) == b"first"
    os.close(handle)
    assert read_once(file) == b"second"


def test_a_key_is_private_whole_and_outside_the_runs(tmp_path):
    runs = tmp_path / "runs"
    runs.mkdir()
    public = create_key(tmp_path / "key", runs)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert public_key(read_key(tmp_path / "key", runs)) == public
    assert main(["--runs", str(runs), "key", str(tmp_path / "key")]) == 74  # never replaced
    assert main(["--runs", str(runs), "key", str(runs / "key")]) == 55
    os.chmod(tmp_path / "key", 0o640)
    with pytest.raises(ApprovalError, match="can be read by others"):
        read_key(tmp_path / "key", runs)


@pytest.mark.parametrize("kind", ["shared", "cut", "encrypted", "of another kind", "public"])
def test_what_is_no_key_for_signing(tmp_path, kind):
    """A key shared by both machines, as openbook made them once, among them."""
    key, whole = Ed25519PrivateKey.generate(), (Encoding.PEM, PrivateFormat.PKCS8)
    data = {
        "shared": b"00" * 32 + b"\n",
        "cut": key.private_bytes(*whole, NoEncryption())[:-40],
        "encrypted": key.private_bytes(*whole, BestAvailableEncryption(b"secret")),
        "of another kind": X25519PrivateKey.generate().private_bytes(*whole, NoEncryption()),
        "public": key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    }[kind]
    (tmp_path / "key").write_bytes(data)
    os.chmod(tmp_path / "key", 0o600)
    with pytest.raises(
        ApprovalError, match="does not contain a private key for signing; create one with: openbook key"
    ):
        read_key(tmp_path / "key", tmp_path / "runs")


# ---- export, status, views ----


@pytest.mark.parametrize("form", ["generic", "ibkr", "alpaca"])
def test_only_approved_orders_leave(waiting, monkeypatch, tmp_path, form):
    words = ["export", tonight(waiting), "--format", form, "--paper-account", "--out", tmp_path / "orders"]
    refused(command(waiting, *words), 55, "only approved orders can be exported")
    succeed(approve(waiting, monkeypatch))
    if form == "generic":
        succeed(command(waiting, *words))
        said = (tmp_path / "orders").read_text()
        assert all(said.count(f"{tonight(waiting)}-{symbol}") == 1 for symbol in ordered(waiting))
    else:
        assert {*ordered(waiting)} & {*AWKWARD}
        refused(command(waiting, *words), 60, "is not a broker ticker")
    waiting.promote(reason="another")
    refused(command(waiting, *words), 55, "are void: the champion changed since")


def test_orders_leave_in_a_known_format_to_a_place_outside(waiting, monkeypatch, tmp_path):
    succeed(approve(waiting, monkeypatch))
    refused(command(waiting, "export", tonight(waiting), "--format", "fix"), 64, "generic, ibkr, alpaca")
    refused(command(waiting, "export", tonight(waiting), "--out", waiting.runs / "x"), 74, "write it elsewhere")
    assert succeed(command(waiting, "export", tonight(waiting))).out.startswith("order_id,session,symbol")


def test_orders_leave_for_the_auction_at_which_the_sealed_run_executes(waiting, monkeypatch):
    """A source with opens executes at the next open; a run of before said nothing, and is as its store's source is."""
    succeed(approve(waiting, monkeypatch))
    file = waiting.page() / "run.json"
    run = json.loads(file.read_bytes())
    assert run["recorded"].pop("execution") == "next_open"
    file.chmod(0o644)
    for recorded, auction in (({"execution": "next_open"}, "OPG"), ({"execution": "next_close"}, "CLS"), ({}, "OPG")):
        file.write_text(json.dumps({**run, "recorded": {**run["recorded"], **recorded}}))
        log_runs(waiting.runs)
        rows = list(csv.DictReader(io.StringIO(succeed(command(waiting, "export", tonight(waiting))).out)))
        assert {row["time_in_force"] for row in rows} == {auction}


def as_live(path) -> None:
    """The same evenings and acts in a live book, at the place of a paper one: only a live book takes fills."""
    bodies = database.read(path, lambda db: [json.loads(body) for (body,) in db.execute("SELECT body FROM events")])
    path.unlink()
    database.create(path, lambda db: [projection.apply(db, event_chain.append(db, body), body) for body in
                                      [bodies[0] | {"book": "live"}, *bodies[1:]]])  # fmt: skip


def fill(desk, order, shares: int) -> None:
    row = [f"{order.order_id} {shares}", order.order_id, shares, 10.0, 0, order.session]
    table = pd.DataFrame([row], columns=["fill_id", "order_id", "shares", "price", "commission_cents", "date"])
    book_commands.record_fills(desk.book, tonight(desk), table, when="now", source="0" * 64)


def test_after_some_fills_what_is_still_open_leaves(waiting, monkeypatch):
    succeed(approve(waiting, monkeypatch))
    as_live(waiting.book)
    log_runs(waiting.runs)
    first, second, *rest = book_commands.read_batch(waiting.book, tonight(waiting)).orders.itertuples()
    fill(waiting, first, first.shares)
    fill(waiting, second, part := 1 if second.shares > 0 else -1)
    answer = succeed(command(waiting, "export", tonight(waiting)))
    left = pd.read_csv(io.StringIO(answer.out), keep_default_na=False).set_index("order_id")["shares"]
    known = {o.order_id: abs(o.shares) for o in rest} | {second.order_id: abs(second.shares - part)}
    assert left.to_dict() == {f"PAPER-{order_id}": shares for order_id, shares in known.items()}  # its page is of paper
    assert f"already filled, not exported: {first.symbol} {abs(first.shares)} of {abs(first.shares)}, " in answer.err
    assert f"{second.symbol} 1 of {abs(second.shares)}" in answer.err
    for order in (second, *rest):
        fill(waiting, order, order.shares - (part if order is second else 0))
    refused(command(waiting, "export", tonight(waiting)), 55, "are FILLED; only approved orders can be exported")


def fill_file(path, rows: list[tuple]) -> object:
    """A broker's file of fills (id, order, shares, price, date), at a commission of 1 USD."""
    lines = [f"{key},{order.replace(',', '')},{n},{price:.4f},1.00,{date}" for key, order, n, price, date in rows]
    path.write_text("\n".join(["fill_id,order_id,shares,price,commission,date", *lines, ""]))
    return path


@pytest.fixture
def approved_live(waiting, monkeypatch):
    """Tonight's orders are approved, in a live book."""
    succeed(approve(waiting, monkeypatch))
    as_live(waiting.book)
    log_runs(waiting.runs)
    monkeypatch.setenv(calendar.REHEARSAL, f"{calendar.next_session(waiting.tonight):%Y-%m-%d}T21:10Z")
    return waiting


def test_a_fill_that_a_typing_error_made_is_refused_unless_a_person_forces_it(approved_live, tmp_path):
    desk, file = approved_live, tmp_path / "fills.csv"
    first, second, *_ = book_commands.read_batch(desk.book, tonight(desk)).orders.itertuples()
    good = ("f2", second.order_id, second.shares, second.price, second.session)
    fill_file(file, [("f1", first.order_id, first.shares, first.price * 1.5, first.session), good])
    words, before = ["fills", tonight(desk), file], desk.book.read_bytes()
    answer = command(desk, *words)
    refused(answer, 60, "fill f1: line 2, price: ", "is outside", "the reference price", "--force f1 --who NAME")
    refused(command(desk, *words, "--force", "f9", "--who", "Ann", "--reason", "gap"), 64, "names f9, which")
    refused(command(desk, *words, "--force", "f1"), 64, "--force needs --who NAME and --reason WHY")
    refused(command(desk, *words, "--who", "Ann", "--reason", "gap"), 60, "fill f1: line 2, price: ")
    assert desk.book.read_bytes() == before
    said = succeed(command(desk, *words, "--force", "f1", "--who", "Ann", "--reason", "a gap")).out
    assert "2 fills" in said
    event = database.read(desk.book, event_chain.last_event)
    assert (event["who"], event["reason"], list(event["forced"])) == ("Ann", "a gap", ["f1"])
    assert "0 fills" in succeed(command(desk, *words)).out  # the same file again needs no force


def test_a_file_that_grows_is_imported_again_and_again(approved_live, tmp_path):
    """What was sold in its first lines is not held any more, and does not count against the next ones."""
    desk, file, lines = approved_live, tmp_path / "fills.csv", []
    orders = book_commands.read_batch(desk.book, tonight(desk)).orders
    sold = orders[orders["shares"] < -1].iloc[0]
    held = int(read_book(desk.book).positions_now[sold["ticker"]])
    book_commands.adjust(desk.book, shares={sold["ticker"]: 2 - held}, who="Ann", reason="drill", when="now")
    for n, shares in enumerate((-1, -1)):
        lines.append((f"f{n}", sold["order_id"], shares, sold["price"], sold["session"]))
        fill_file(file, lines)
        assert "1 fills" in succeed(command(desk, "fills", tonight(desk), file)).out


def test_a_wrong_fill_is_reversed_and_the_right_one_recorded(approved_live, tmp_path):
    desk, file = approved_live, tmp_path / "fills.csv"
    first, *_ = book_commands.read_batch(desk.book, tonight(desk)).orders.itertuples()
    cash = read_book(desk.book).cash_now_cents
    fill_file(file, [("f1", first.order_id, first.shares, first.price * 1.1, first.session)])
    succeed(command(desk, "fills", tonight(desk), file))
    refused(command(desk, "fills", "--reverse", "f9", "--who", "Ann", "--reason", "typo"), 60, "no fill f9")
    refused(command(desk, "fills", "--reverse", "f1"), 64, "--who")
    refused(command(desk, "fills", tonight(desk), "--reverse", "f1"), 64, "either DATE and FILE, or --reverse")
    refused(command(desk, "fills", tonight(desk)), 64, "either DATE and FILE, or --reverse")
    said = succeed(command(desk, "fills", "--reverse", "f1", "--who", "Ann", "--reason", "typo")).out
    assert f"fill f1, {first.shares:+d} {first.symbol}, is reversed" in said
    assert read_book(desk.book).cash_now_cents == cash
    fill_file(file, [("f1b", first.order_id, first.shares, first.price, first.session)])
    assert "1 fills" in succeed(command(desk, "fills", tonight(desk), file)).out
    trades = pd.read_csv(desk.runs / "books" / "paper" / "trade_history.csv", keep_default_na=False)
    assert trades.set_index("order_id")["status"][first.order_id] == "FILLED"
    succeed(command(desk, "verify"))


def test_an_amount_of_cash_that_looks_like_a_typing_error_is_refused_unless_forced(waiting):
    before = read_book(waiting.book).cash_now_cents
    who = ("--who", "Ann", "--reason", "plan")
    refused(command(waiting, "cash", "deposit", "999999999999", *who), 60, "outside 0 to", "record it with --force")
    refused(command(waiting, "cash", "fee", "50000", *who), 60, "a fee of 50,000.00 USD is outside 0 to", "--force")
    assert "recorded; cash" in succeed(command(waiting, "cash", "fee", "50000", *who, "--force")).out
    assert "already recorded" in succeed(command(waiting, "cash", "fee", "50000", *who)).out
    assert read_book(waiting.book).cash_now_cents == before - 5_000_000
    for n in range(10):  # no force lets a book hold more than it can count
        answer = command(waiting, "cash", "deposit", "999999999999", "--who", "Ann", "--reason", f"{n}", "--force")
    refused(answer, 60, "cannot hold more than 1,000,000,000,000 USD")


def test_a_statement_that_looks_like_a_typing_error_is_accepted_only_when_forced(waiting, tmp_path):
    state, file = read_book(waiting.book), tmp_path / "statement.csv"
    rows = [f"'{symbol},{n}\n" if symbol[:1] in "=+-@" else f"{symbol},{n}\n" for symbol, n in state.positions.items()]
    file.write_text("symbol,shares\n" + "".join(rows) + f"CASH,{state.cash_now_cents * 10}\n")  # no point
    words, before = ["reconcile", file, "--who", "Ann", "--reason", "as stated"], waiting.book.read_bytes()
    refused(command(waiting, *words), 60, "CASH: +", "20% of the equity", "accept it with --force")
    assert waiting.book.read_bytes() == before
    assert "booked by Ann" in succeed(command(waiting, *words, "--force")).out
    assert "CASH" in database.read(waiting.book, event_chain.last_event)["forced"]


def test_the_same_cash_twice_is_recorded_twice_only_when_told(waiting):
    words = ["cash", "deposit", "50", "--who", "Ann", "--reason", "savings"]
    before = read_book(waiting.book).cash_now_cents
    assert "recorded; cash is" in succeed(command(waiting, *words)).out
    said = succeed(command(waiting, *words)).out
    assert f"already recorded at {tonight(waiting)}" in said
    assert "use --again to record a second one" in said
    assert read_book(waiting.book).cash_now_cents == before + 5_000
    assert "recorded; cash is" in succeed(command(waiting, *words, "--again")).out
    assert read_book(waiting.book).cash_now_cents == before + 10_000


def test_a_statement_that_differs_is_booked_by_name_and_then_agrees(waiting, tmp_path):
    state, file = read_book(waiting.book), tmp_path / "statement.csv"
    rows = [
        f"'{symbol},{n},\n" if symbol[:1] in "=+-@" else f"{symbol},{n},\n" for symbol, n in state.positions.items()
    ]
    file.write_text("symbol,shares,price\n" + "".join(rows) + "GIFT,3,12.5\nCASH,1000.00,\n")
    words = ["reconcile", file]
    refused(command(waiting, *words), 60, "GIFT: book 0, statement 3 shares", "book the difference with --who")
    assert "booked by Ann: GIFT" in succeed(command(waiting, *words, "--who", "Ann", "--reason", "a gift")).out
    assert "book and statement agree" in succeed(command(waiting, *words)).out
    after = read_book(waiting.book)
    assert (after.positions_now["GIFT"], after.cash_now_cents, after.unsettled) == (3, 100_000, "")
    assert "orders of" in succeed(command(waiting, "status")).out
    assert "(adjusted)" in succeed(command(waiting, "status")).out


@pytest.mark.parametrize("spelling", ["BRK B", "BRK.B", "BRK-B", "BRK/B"])
def test_a_statement_in_the_spelling_of_any_broker_agrees(waiting, tmp_path, spelling):
    """The book calls it BRK.B; orders left for it as BRK B (IBKR) and BRK.B (Alpaca)."""
    state, file = read_book(waiting.book), tmp_path / "statement.csv"
    assert "BRK.B" in state.positions_now.index
    theirs = state.positions_now.rename({"BRK.B": spelling})
    rows = [f"'{symbol},{n}\n" if symbol[:1] in "=+-@" else f"{symbol},{n}\n" for symbol, n in theirs.items()]
    file.write_text("symbol,shares\n" + "".join(rows) + f"CASH,{state.cash_now_cents / 100:.2f}\n")
    assert "book and statement agree" in succeed(command(waiting, "reconcile", file)).out
    file.write_text(file.read_text().replace(f"{spelling},", "BRKB,"))
    refused(command(waiting, "reconcile", file), 60, "BRK.B: book", "BRKB: book 0")


def test_status_says_what_waits_for_whom(waiting, monkeypatch):
    said = succeed(command(waiting, "status")).out
    assert "paper book: kill switch not tripped (ACTIVE)" in said
    assert "PENDING; approval deadline" in said
    succeed(approve(waiting, monkeypatch))
    said = succeed(command(waiting, "status")).out
    assert "APPROVED; for the next session" in said
    assert "approval deadline" not in said


def test_x06_nobody_is_asked_to_approve_what_has_expired_and_nobody_there_is_no_yes(waiting, monkeypatch):
    refused(approve(waiting, monkeypatch, code=""), 55, "nothing was approved")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    refused(command(waiting, "approve", tonight(waiting), "--by", "Ann"), 55, "is typed at a terminal", "--token")
    monkeypatch.setenv(calendar.REHEARSAL, f"{calendar.next_session(waiting.tonight):%Y-%m-%d}T15:01Z")
    late = approve(waiting, monkeypatch)
    refused(late, 55, "the approval deadline for the orders of")
    assert "type the last six" not in late.out
    assert states(waiting) == {"PENDING"}


def test_a_file_of_the_broker_that_is_another_is_named(waiting, tmp_path):
    (tmp_path / "other.csv").write_text("foo,bar\n1,2\n")
    for words in (("fills", tonight(waiting)), ("reconcile",)):
        refused(command(waiting, *words, tmp_path / "other.csv"), 60, "other.csv: line 1: the columns are foo,bar")


def test_s08_a_view_edited_by_hand_is_noticed_shown_and_rebuilt_only_when_told(waiting):
    view = waiting.runs / "books" / "paper" / "current_positions.csv"
    was = view.read_bytes()
    view.write_bytes(was + b"GIFT,100,1,100,0.5,2024-06-01\n")
    assert "edited by hand or out of date: current_positions.csv" in succeed(command(waiting, "status")).out
    succeed(command(waiting, "halt", "--who", "Ann", "--reason", "look"))
    assert view.read_bytes().endswith(b"GIFT,100,1,100,0.5,2024-06-01\n")
    assert "GIFT" not in read_book(waiting.book).positions.index
    answer = command(waiting, "verify")
    assert (answer.code, "current_positions.csv of the paper book was edited by hand" in answer.out) == (90, True)
    succeed(command(waiting, "views"))
    assert view.read_bytes() == was
    assert "edited by hand" not in succeed(command(waiting, "status")).out


# ---- the switch ----


def test_k01_a_halt_voids_what_waits_and_every_later_evening_ends_with_20(waiting):
    succeed(command(waiting, "halt", "--who", "Ann", "--reason", "drill"))
    assert states(waiting) == {"VOID"}
    later = waiting.days[4]
    os.environ[calendar.REHEARSAL] = f"{later:%Y-%m-%d}T21:10Z"
    answer = waiting.daily(waiting.evening(later), date=later)
    assert (answer.code, "HALTED" in answer.out) == (20, True)
    trades = commands.read_trades(waiting.page(later) / "trades.csv")
    held = read_book(waiting.book).positions
    assert dict(zip(trades["symbol"], trades["shares"], strict=True)) == (-held).to_dict()  # a proposal to close
    assert set(book_commands.read_batch(waiting.book, f"{later:%Y-%m-%d}").orders["status"]) == {"PENDING"}
    assert waiting.daily(date=later).code == 20  # already done, and still halted
    page = (waiting.page(later) / "report.html").read_text()
    assert "HALTED" in page
    assert "drill" in page
    refused(command(waiting, "reset", "--who", "Ann", "--reason", " "), 64, "--reason")
    assert "ACTIVE" in succeed(command(waiting, "reset", "--who", "Ann", "--reason", "it was a drill")).out


def test_a_switch_that_is_active_is_loosened_only_when_told(waiting):
    words = ["reset", "--who", "Ann", "--reason", "it nearly trips"]
    refused(command(waiting, *words), 64, "ACTIVE", "--rearm", "restarts its loss and peak history")
    assert len(read_book(waiting.book).marks)
    succeed(command(waiting, *words, "--rearm"))
    assert read_book(waiting.book).marks.empty


def test_k01_an_evening_that_lost_more_than_three_percent_ends_with_20(desk):
    files = desk.evening()
    for symbol in desk.state().positions.index:
        files = files.scaled(symbol, desk.tonight, 0.95)
    answer = desk.daily(files)
    assert (answer.code, "HALTED" in answer.out) == (20, True)
    assert "daily_loss" in desk.state().switch_reason
    assert set(desk.state().pending["status"]) == {"PENDING"}  # to close, though this book approves by rule
    assert (desk.state().pending["shares"] < 0).all()


def test_k04_an_evening_under_reduce_only_ends_with_21_and_buys_nothing(desk):
    answer = desk.daily(desk.evening(), "kill_switch.sharpe_sessions=3", "kill_switch.min_sharpe=1000.0")
    assert (answer.code, "REDUCE_ONLY" in answer.out) == (21, True)
    state = desk.state()
    assert state.switch == "REDUCE_ONLY"
    assert (state.pending["shares"] < 0).all()
    assert (state.pending["shares"].abs().to_numpy() <= state.positions[state.pending["symbol"]].to_numpy()).all()


def test_a_file_named_kill_halts(desk):
    (desk.runs / "KILL").write_text("smoke in the server room\n")
    answer = desk.daily(desk.evening())
    assert answer.code == 20
    assert "smoke in the server room" in read_book(desk.book).switch_reason
    refused(command(desk, "reset", "--who", "Ann", "--reason", "fire is out"), 64, "KILL exists")
    (desk.runs / "KILL").unlink()
    succeed(command(desk, "reset", "--who", "Ann", "--reason", "fire is out"))


def test_k05_enabled_false_is_no_parameter(desk):
    refused(desk.daily(desk.evening(), "kill_switch.enabled=false"), 78, "unknown parameter kill_switch.enabled")


# ---- backfill of evenings that wait for a person ----


def backfill(desk, first, last, *sets: str) -> Answer:
    """`openbook backfill daily_run` over a span, the vendor having sent that much."""
    desk.vendor.deliver(desk.evening(last))
    given = [word for text in (desk.vendor.source, *sets) for word in ("--set", text)]
    return command(desk, "backfill", "daily_run", "--from", f"{first:%Y-%m-%d}", "--to", f"{last:%Y-%m-%d}", *given)


@pytest.fixture
def by_hand(desk, tmp_path, monkeypatch):
    """The desk with a profile of its own, in which a person approves."""
    for name in ("params", "notebooks"):
        shutil.copytree(desk_folder.find_desk() / name, tmp_path / "checkout" / name)
    (tmp_path / "checkout" / desk_folder.FILE).write_text("format: 1\n")
    file = tmp_path / "checkout" / "params" / "demo" / "daily_run.yaml"
    file.write_text(file.read_text().replace("require_manual_approval: false", "require_manual_approval: true"))
    monkeypatch.chdir(tmp_path / "checkout")
    return desk


def test_a_backfill_of_past_evenings_that_nobody_can_approve_does_not_begin(by_hand):
    desk, before = by_hand, by_hand.kept()
    with clock(f"{desk.days[5]:%Y-%m-%d}T21:10Z"):
        answer = backfill(desk, desk.days[3], desk.days[4])
    refused(
        answer, 78, "need a person's approval", "--set require_manual_approval=false", f"--to {desk.days[5]:%Y-%m-%d}"
    )
    assert answer.err.count("\n") == 1
    assert answer.out == ""
    assert desk.kept() == before


def test_a_backfill_that_catches_up_says_what_expires_and_leaves_the_last_orders_to_approve(by_hand):
    desk = by_hand
    with clock(f"{desk.days[4]:%Y-%m-%d}T21:10Z"):
        lines = succeed(backfill(desk, desk.days[3], desk.days[4])).out.splitlines()
    assert f"the orders of {desk.days[3]:%Y-%m-%d} to {desk.days[4]:%Y-%m-%d} need a person's approval" in lines[0]
    assert f"only those of {desk.days[4]:%Y-%m-%d} can be approved" in lines[0]
    assert [line[:5] for line in lines[1:]] == ["[1/2]", "[2/2]"]
    assert set(book_commands.read_batch(desk.book, f"{desk.days[4]:%Y-%m-%d}").orders["status"]) <= {"PENDING"}
    with clock(f"{desk.days[5]:%Y-%m-%d}T21:10Z"):  # done already: nothing waits that did not before
        assert "need a person's approval" not in succeed(backfill(desk, desk.days[3], desk.days[4])).out


@pytest.mark.parametrize("given", ["true", "false"])
def test_a_backfill_of_past_evenings_goes_on_where_the_parameter_is_given(by_hand, given):
    desk = by_hand
    with clock(f"{desk.days[5]:%Y-%m-%d}T21:10Z"):
        answer = succeed(backfill(desk, desk.days[3], desk.days[4], f"require_manual_approval={given}"))
    assert ("need a person's approval" in answer.out) == (given == "true")
    assert "can be approved" not in answer.out
    assert desk.page(desk.days[4]).is_dir()


def test_a_single_evening_of_the_past_is_warned_of_and_runs(by_hand):
    desk = by_hand
    with clock(f"{desk.days[5]:%Y-%m-%d}T21:10Z"):
        answer = succeed(backfill(desk, desk.days[3], desk.days[3]))
    assert answer.out.startswith(f"the orders of {desk.days[3]:%Y-%m-%d} need a person's approval")


# ---- the clock ----


def test_t04_a_clock_that_ran_backwards(waiting, monkeypatch):
    monkeypatch.setenv(calendar.REHEARSAL, f"{waiting.days[2]:%Y-%m-%d}T21:10Z")
    before = waiting.kept()
    refused(approve(waiting, monkeypatch), 32, "the clock shows")
    refused(command(waiting, "reset", "--who", "A", "--reason", "b"), 32, "the clock shows")
    refused(waiting.daily(date=waiting.days[2]), 32, "the clock shows")
    assert waiting.kept() == before


HALT = ("halt", "--who", "Ann", "--reason", "smoke")


@pytest.mark.parametrize("now", [None, "1990-01-02T21:00Z", "2024-06-24T21:00Z", "2099-01-01T00:00Z", "rubbish"])
@pytest.mark.parametrize("kind", ["paper", "live"])
def test_h01_no_clock_hinders_a_halt_and_the_log_runs_forwards(waiting, monkeypatch, now, kind):
    if kind == "live":
        with clock(""):  # this machine's own
            succeed(command(waiting, "init", "--cash", "1000", "--book", "live"))
    monkeypatch.setenv(calendar.REHEARSAL, now) if now else monkeypatch.delenv(calendar.REHEARSAL, raising=False)
    began = f"{calendar.machine_now():%Y-%m-%d %H:%M:%S} UTC"
    said = succeed(command(waiting, *HALT, "--book", kind)).out
    assert f"HALTED: {kind}" in said
    place = waiting.runs / "books" / f"{kind}.db"
    assert read_book(place).switch == "HALTED"
    times = [entry["when"] for entry in audit_log.entries(waiting.runs)]
    assert times == sorted(times)
    assert times[-1] <= f"{calendar.machine_now():%Y-%m-%d %H:%M:%S} UTC"  # 2099 does not lock the desk
    assert database.read(place, event_chain.last_event)["when"] >= began  # by this machine
    assert audit_log.check(waiting.runs) == []


def test_h01_a_rehearsal_goes_on_after_a_halt(waiting):
    succeed(command(waiting, *HALT))
    assert succeed(command(waiting, "reset", "--who", "Ann", "--reason", "no fire")).out.endswith(
        "without earlier losses\n"
    )


def test_h01_a_halt_behind_the_log_does_not_let_a_wrong_clock_in(waiting, monkeypatch):
    monkeypatch.setenv(calendar.REHEARSAL, f"{waiting.days[1]:%Y-%m-%d}T21:10Z")
    succeed(command(waiting, *HALT))
    refused(command(waiting, "reset", "--who", "Ann", "--reason", "no fire"), 32, "the clock shows")


def test_h04_a_live_book_takes_nothing_under_a_rehearsed_clock_but_a_halt(waiting, monkeypatch, tmp_path):
    live = waiting.runs / "books" / "live.db"
    with clock(""):  # this machine's own
        succeed(command(waiting, "init", "--cash", "1000", "--book", "live"))
    file, page = tmp_path / "file.csv", waiting.page() / "run.json"
    run = json.loads(page.read_bytes())  # the page of an evening, as if of the live book
    page.chmod(0o644)
    page.write_text(json.dumps({**run, "params": {**run["params"], "dry_run": False}}))
    log_runs(waiting.runs)
    before = live.read_bytes()
    for now in (f"{waiting.tonight:%Y-%m-%d}T21:10Z", "1990-01-02T21:00Z"):
        monkeypatch.setenv(calendar.REHEARSAL, now)
        file.write_text("symbol,shares\nCASH,1000\n")
        person = ("--who", "Ann", "--reason", "x")
        refused(command(waiting, "reconcile", file, "--book", "live"), 55, "OPENBOOK_NOW", "unset it")
        refused(command(waiting, "cash", "deposit", "5", *person, "--book", "live"), 55, "OPENBOOK_NOW")
        refused(command(waiting, "reset", *person, "--book", "live"), 55, "OPENBOOK_NOW")
        refused(command(waiting, "init", "--cash", "5", "--book", "live"), 55, "OPENBOOK_NOW")
        file.write_text("fill_id,order_id,shares,price,commission,date\n1,2,3,4,0,2024-06-27\n")
        refused(command(waiting, "fills", tonight(waiting), file), 55, "OPENBOOK_NOW")
        refused(command(waiting, "export", tonight(waiting)), 55, "OPENBOOK_NOW")
        refused(command(waiting, "approve", tonight(waiting), "--by", "Ann"), 55, "OPENBOOK_NOW")
        refused(command(waiting, "reject", tonight(waiting), "--by", "Ann", "--reason", "x"), 55, "OPENBOOK_NOW")
    assert live.read_bytes() == before
    succeed(command(waiting, *HALT))


@pytest.mark.parametrize(
    ("now", "code"),
    [
        ("2024-06-26T20:29Z", 31),
        ("2024-06-26T20:30Z", 0),
        ("2024-06-26T15:30-05:00", 0),
        ("rubbish", 32),
        ("2024-06-26T21:00", 32),
    ],
)
def test_t03_before_the_close_and_half_an_hour(desk, monkeypatch, now, code):
    assert f"{desk.tonight:%Y-%m-%d}" == "2024-06-26"
    monkeypatch.setenv(calendar.REHEARSAL, now)
    answer = desk.daily(desk.evening())
    assert answer.code == code, answer


# ---- audit ----


def test_h08_verify_says_since_when_by_a_head_that_was_kept_elsewhere(waiting, monkeypatch, tmp_path):
    approved = succeed(approve(waiting, monkeypatch)).out
    head, n = audit_log.head(waiting.runs), len(audit_log.entries(waiting.runs))
    assert f"log head {head}, entry {n} of " in approved
    said = succeed(command(waiting, "verify")).out
    assert "no problems" in said
    assert "cannot tell whether all of it was made anew" in said
    assert head in said
    assert head in succeed(command(waiting, "status")).out
    succeed(command(waiting, "halt", "--who", "A", "--reason", "b"))
    (tmp_path / "approved.txt").write_text(approved)
    for kept in (head, tmp_path / "approved.txt"):
        said = succeed(command(waiting, "verify", "--head", kept)).out
        assert f"unaltered since entry {n} of " in said
        assert "cannot tell" not in said
    refused(command(waiting, "verify", "--head", "0" * 63), 64, "neither the hash of a log entry nor a file")
    answer = command(waiting, "verify", "--head", "0" * 63 + "1")
    assert (answer.code, "the log was truncated or replaced" in answer.out) == (90, True)


def test_h08_the_head_is_stamped_after_a_run_and_a_stamp_that_failed_is_made_up_for(desk, monkeypatch, tmp_path):
    with authority(tmp_path / "authority") as clock_ltd:
        monkeypatch.setenv("OPENBOOK_TIMESTAMP_URL", clock_ltd.url)
        monkeypatch.setenv("OPENBOOK_TIMESTAMP_ROOTS", str(clock_ltd.roots))
        clock_ltd.refuses = True
        answer = desk.daily(desk.evening())
        assert (answer.code, "the log's head was not stamped by 127.0.0.1" in answer.out) == (80, True), answer
        clock_ltd.refuses = False
        succeed(command(desk, "notify"))
    said = succeed(command(desk, "verify")).out
    assert f"unaltered since entry {len(audit_log.entries(desk.runs))} of " in said
    assert "Clock Ltd" in said


def test_replay_makes_the_same_bytes(waiting):
    said = succeed(command(waiting, "replay", tonight(waiting))).out
    assert "outputs of" in said
    assert "are identical, byte for byte" in said
    refused(command(waiting, "replay", "2024-01-02"), 64, "no sealed daily_run of 2024-01-02")


# ---- a book on a server ----


def url(server, name: str) -> str:
    return f"postgresql+psycopg://openbook@/postgres?host={server}&book={name}"


@pytest.mark.long
def test_a_desk_whose_book_is_on_a_server(desk, server, monkeypatch):
    """The same evening with the book in PostgreSQL: run, approve, verify, replay, halt."""
    monkeypatch.setenv("OPENBOOK_BOOK_PAPER", url(server, "paper"))
    monkeypatch.setenv(calendar.REHEARSAL, f"{desk.tonight:%Y-%m-%d}T21:10Z")
    desk.book.unlink()
    log_runs(desk.runs)
    for view in (desk.runs / "books" / "paper").iterdir():
        view.unlink()
    succeed(command(desk, "init", "--cash", 100_000))
    succeed(desk.daily(desk.evening(), BY_HAND))
    batch = book_commands.read_batch(url(server, "paper"), tonight(desk))
    monkeypatch.setattr("sys.stdin", Terminal(f"{batch.code}\n"))
    succeed(command(desk, "approve", tonight(desk), "--by", "Ann"))
    assert "APPROVED" in succeed(command(desk, "status")).out
    assert "are identical, byte for byte" in succeed(command(desk, "replay", tonight(desk))).out
    assert "paper/1" in {entry["subject"] for entry in audit_log.entries(desk.runs)}
    succeed(command(desk, "halt", "--who", "Ann", "--reason", "drill"))
    assert read_book(url(server, "paper")).switch == "HALTED"
    monkeypatch.setenv("OPENBOOK_BOOK_LIVE", url(server, "live").replace("host=", "host=/nowhere"))
    refused(command(desk, "halt", "--who", "Ann", "--reason", "again"), 74)
