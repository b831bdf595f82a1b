"""Signed approvals of a whole desk: real keys, real files, and a book that somebody without a key wrote into."""

import json
import os
import re
import shutil
import sqlite3
from pathlib import Path

import pandas as pd
import pytest

from openbook.app import audit, commands
from openbook.app.service import parameters_digest
from openbook.common import desk_folder
from openbook.common.signatures import public_key
from openbook.ledger import approval_tokens, book_commands, database, event_chain, projection
from openbook.ledger.book import batch_digest, event_of
from openbook.market import calendar
from openbook.runs.approvers import FILE
from openbook.runs.key_files import create_key, read_key
from support.small_runs import log_runs
from support.trained_desk import Answer, copied, openbook, succeed

PEOPLE = ("Ann", "Bob", "Cy")  # Cy has a key, and is not listed


@pytest.fixture
def waiting(by_hand_tonight, tmp_path, monkeypatch):
    """Tonight's orders of the paper book wait for a person, on a desk of its own that lists no approvers yet."""
    desk = copied(by_hand_tonight, tmp_path)
    for name in ("notebooks", "params"):
        shutil.copytree(desk_folder.find_desk() / name, tmp_path / name)
    (tmp_path / desk_folder.FILE).write_text("format: 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(calendar.REHEARSAL, f"{desk.tonight:%Y-%m-%d}T21:10Z")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    desk.vendor.deliver(desk.evening())
    for name in PEOPLE:
        create_key(tmp_path / f"{name}.key", desk.runs)
    return desk


@pytest.fixture
def paper(waiting):
    """The same, with a list of Ann and Bob."""
    write_list(waiting)
    return waiting


@pytest.fixture
def live(waiting, monkeypatch):
    """The same evening of a live book, on a desk that lists Ann and Bob; this machine's own clock stands there."""
    as_live(waiting)
    write_list(waiting)
    monkeypatch.delenv(calendar.REHEARSAL)
    at(monkeypatch, waiting.tonight, "21:10")
    return waiting


def at(monkeypatch, day, time: str) -> None:
    """This machine's own clock."""
    moment = pd.Timestamp(f"{day:%Y-%m-%d}T{time}Z")
    monkeypatch.setattr(calendar, "machine_now", lambda: moment)


def as_live(desk) -> None:
    """Make the paper book and tonight's page those of a live book, hashes and log included."""
    page = desk.page() / "run.json"
    run = json.loads(page.read_bytes())
    run["params"]["dry_run"] = False
    page.chmod(0o644)
    page.write_text(json.dumps(run))
    rebuild(desk, desk.book, {"opened": lambda body: body | {"book": "live"},
                              "session": lambda body: of_parameters(desk, body, run["params"])})  # fmt: skip
    desk.book.rename(desk.book.with_name("live.db"))
    log_runs(desk.runs)


def of_parameters(desk, body: dict, params: dict) -> dict:
    """Tonight's session as decided with these parameters."""
    if body["session"] != tonight(desk):
        return body
    about = body["batch"]["about"] | {"parameters": parameters_digest(params)}
    return body | {"batch": body["batch"] | {"about": about, "digest": batch_digest(body, about)}}


def rebuild(desk, place, changes: dict, more: tuple = ()) -> None:
    """Write the book again with some kinds of events changed and others added, every hash as it must be then."""
    rows = database.read(place, lambda db: db.execute("SELECT body, hash FROM events ORDER BY seq").fetchall())
    place.unlink()

    def begin(db):
        hashes = {}
        for text, was in [*rows, *((json.dumps(body), "") for body in more)]:
            body = json.loads(text)
            if "settlement" in body:
                body["settlement"]["head"] = hashes[body["settlement"]["head"]]
            body = changes.get(body["kind"], lambda body: body)(body)
            projection.apply(db, event_chain.append(db, body), body)
            hashes[was] = event_chain.head(db)

    database.create(place, begin)


def write_list(desk, people: dict | None = None, two_above: float | None = None) -> None:
    """approvers.yaml with what each person may, and the settings of some."""
    people = {"Ann": {}, "Bob": {}} if people is None else people
    may = {"may": ["approve", "reset"]}
    rows = [{"name": name, "key": public(desk, name)} | may | more for name, more in people.items()]
    text = json.dumps({"approvers": rows} | ({} if two_above is None else {"two_above": two_above}))
    (desk.runs.parent / FILE).write_text(text)  # JSON is YAML
    (desk.runs.parent / FILE).chmod(0o644)


def public(desk, name: str) -> str:
    return public_key(read_key(key(desk, name), desk.runs))


def key(desk, name: str):
    return desk.runs.parent / f"{name}.key"


def tonight(desk) -> str:
    return f"{desk.tonight:%Y-%m-%d}"


def book_of(desk):
    live = desk.book.with_name("live.db")
    return live if live.exists() else desk.book


def batch_of(desk):
    return book_commands.read_batch(book_of(desk), tonight(desk))


def states(desk) -> set[str]:
    return set(batch_of(desk).orders["status"])


def traded(desk) -> float:
    """USD of tonight's batch."""
    orders = batch_of(desk).orders
    return round(float((orders["shares"].abs() * orders["price"]).sum()), 2)


def command(desk, *words) -> Answer:
    return openbook("--runs", desk.runs, *words)


def refused(answer: Answer, code: int, *said: str) -> None:
    assert answer.code == code, answer
    assert [words for words in said if words not in answer.err] == [], answer.err


def sign(desk, name: str, *more, batch: str = "", date: str = "", by: str = "") -> str:
    """A token, signed as on another machine."""
    out = desk.runs.parent / f"{name}.token"
    words = ["--date", date or tonight(desk), "--by", by or name, "--key", key(desk, name), "--out", out, *more]
    succeed(openbook("sign", batch or batch_of(desk).digest, *words))
    return str(out)


def token_of(file: str) -> dict:
    return approval_tokens.read(Path(file).read_bytes())


def approve(desk, *tokens) -> Answer:
    return command(desk, "approve", tonight(desk), *(word for token in tokens for word in ("--token", token)))


def export(desk) -> Answer:
    return command(desk, "export", tonight(desk))


def last(desk) -> dict:
    return database.read(book_of(desk), event_chain.last_event)


# ---- keys ----


def test_a_key_is_made_once_and_its_public_half_is_told(waiting, tmp_path):
    answer = succeed(command(waiting, "key", tmp_path / "new.key"))
    said = re.search(r"^public key (\S{44})$", answer.out, re.MULTILINE)[1]
    assert said == public_key(read_key(tmp_path / "new.key", waiting.runs))
    assert f"key: {said}, may: [approve]" in answer.out
    assert (tmp_path / "new.key").stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in answer.out.encode()
    refused(command(waiting, "key", tmp_path / "new.key"), 74, "new.key")
    refused(command(waiting, "key", waiting.runs / "new.key"), 55, "inside the runs folder")


# ---- approvals ----


def test_a_listed_person_approves_from_another_machine_and_the_book_keeps_the_signature(paper):
    token = sign(paper, "Ann")
    assert "approved by Ann" in succeed(approve(paper, token)).out
    event, said = last(paper), approval_tokens.read((paper.runs.parent / "Ann.token").read_bytes())
    assert event["signed"] == [said]
    assert (event["who"], event["how"]) == ("Ann", said["nonce"])
    succeed(approve(paper, token))  # the same command again
    succeed(export(paper))
    succeed(command(paper, "reject", tonight(paper), "--by", "Bob", "--reason", "no"))
    refused(approve(paper, token), 55, "was already used")


def test_without_a_list_no_token_counts(waiting):
    refused(approve(waiting, sign(waiting, "Ann")), 55, "approvers.yaml, which does not exist", "openbook key")
    assert states(waiting) == {"PENDING"}


@pytest.mark.parametrize(
    ("people", "by", "said"),
    [
        ({"Bob": {}}, "", "Ann is not listed in approvers.yaml"),
        ({"Ann": {}, "Bob": {}}, "Bob", "the key that signed as Bob is not the one listed for Bob"),
        ({"Ann": {"may": ["reset", "promote"]}}, "", "Ann may not approve: approvers.yaml allows reset, promote"),
        ({"Ann": {"may": []}}, "", "Ann may not approve: approvers.yaml allows nothing"),
    ],
)
def test_x06_who_signs_must_be_listed_with_this_key_and_may_approve(paper, people, by, said):
    token = sign(paper, "Ann", by=by)
    write_list(paper, people)
    refused(approve(paper, token), 55, said)
    assert states(paper) == {"PENDING"}


def test_x06_a_list_that_others_can_write_or_that_is_wrong_approves_nothing(paper):
    token, file = sign(paper, "Ann"), paper.runs.parent / FILE
    file.chmod(0o666)
    refused(approve(paper, token), 55, "chmod go-w")
    file.chmod(0o644)
    file.write_text(file.read_text().replace('"may"', '"can"'))
    refused(approve(paper, token), 78, f"{file}: ", "approvers.0.may")
    file.unlink()
    file.symlink_to(paper.runs.parent / "nowhere")
    refused(approve(paper, token), 55, "not a regular file")
    assert states(paper) == {"PENDING"}


def test_x06_an_altered_token_is_refused(paper):
    """Every byte is tried in test_approval_tokens; here a few go through the command."""
    file = paper.runs.parent / "Ann.token"
    sign(paper, "Ann")
    whole = file.read_bytes()
    for n in range(0, len(whole), 41):
        file.write_bytes(whole[:n] + bytes([whole[n] ^ 1]) + whole[n + 1 :])
        refused(approve(paper, file), 55, "token")
    for text in (b"approve, please", whole + b" " * 5000, whole.replace(b"Ann", b"Bob"), b""):
        file.write_bytes(text)
        refused(approve(paper, file), 55, "token")
    assert states(paper) == {"PENDING"}


def test_x07_a_link_a_folder_or_a_pipe_is_no_token(paper, tmp_path):
    (tmp_path / "link").symlink_to(sign(paper, "Ann"))
    os.mkfifo(tmp_path / "pipe")
    for odd in (tmp_path / "link", tmp_path / "pipe", tmp_path):
        refused(approve(paper, odd), 55, "regular file")
    refused(approve(paper, tmp_path / "nowhere"), 74, "does not exist")


def test_x07_a_key_that_is_a_link_or_readable_by_others_signs_nothing(paper, tmp_path):
    words = ["sign", batch_of(paper).digest, "--date", tonight(paper), "--by", "Ann", "--out", tmp_path / "t", "--key"]
    (tmp_path / "link").symlink_to(key(paper, "Ann"))
    refused(openbook(*words, tmp_path / "link"), 55, "regular file")
    key(paper, "Ann").chmod(0o640)
    refused(openbook(*words, key(paper, "Ann")), 55, "can be read by others")
    assert not (tmp_path / "t").exists()


def test_x06_a_token_of_another_evening_another_batch_or_too_late(paper, monkeypatch):
    refused(approve(paper, sign(paper, "Ann", date=f"{paper.days[2]:%Y-%m-%d}")), 55,
            f"approves {paper.days[2]:%Y-%m-%d}, not {tonight(paper)}")  # fmt: skip
    refused(approve(paper, sign(paper, "Ann", batch="ab" * 32)), 55, "approves a different batch (ababab)")
    token = sign(paper, "Ann")
    monkeypatch.setenv(calendar.REHEARSAL, f"{calendar.next_session(paper.tonight):%Y-%m-%d}T15:00Z")
    refused(approve(paper, token), 55, "the token expired at")


@pytest.mark.parametrize("name", ["Ann\u200b", "Ann\u3164", "Ann\x1b[2J", "A\nB", " ", "x" * 201])
def test_nobody_signs_under_a_name_that_cannot_be_read(paper, name, tmp_path):
    words = ["--date", tonight(paper), "--by", name, "--key", key(paper, "Ann"), "--out", tmp_path / "odd.token"]
    refused(openbook("sign", batch_of(paper).digest, *words), 64, "--by")
    assert not (tmp_path / "odd.token").exists()


@pytest.mark.parametrize("expires", ["never", "", "2099-01-01T00:00:00", "NaT"])
def test_x06_a_token_that_says_no_time_is_refused(paper, expires):
    token = token_of(sign(paper, "Ann"))
    said = {name: token[name] for name in ("batch", "session", "orders", "who", "when")} | {"expires": expires}
    file = paper.runs.parent / "odd.token"
    private = read_key(key(paper, "Ann"), paper.runs)
    file.write_bytes(approval_tokens.to_bytes(approval_tokens.sign_approval(said, private)))
    refused(approve(paper, file), 55, "token expire")


def test_a_token_may_name_the_orders_and_then_all_of_them(paper):
    ids = batch_of(paper).orders["order_id"].tolist()
    refused(approve(paper, sign(paper, "Ann", "--orders", ",".join(ids[1:]))), 55, "approves other orders", ids[0])
    refused(
        approve(paper, sign(paper, "Ann", "--orders", ",".join([*ids, "more"]))), 55, "approves other orders", "more"
    )
    succeed(approve(paper, sign(paper, "Ann", "--orders", ",".join(reversed(ids)))))
    assert last(paper)["signed"][0]["orders"] == sorted(ids)


def test_x06_a_limit_holds_to_the_cent(paper):
    token = sign(paper, "Ann")
    write_list(paper, {"Ann": {"approve_up_to": round(traded(paper) - 0.01, 2)}})
    refused(approve(paper, token), 55, f"the batch trades {traded(paper):,.2f} USD, and Ann may approve up to")
    write_list(paper, {"Ann": {"approve_up_to": traded(paper)}})
    succeed(approve(paper, token))


def test_x06_above_a_limit_two_different_people_sign(paper):
    first, second = sign(paper, "Ann"), sign(paper, "Bob")
    write_list(paper, two_above=round(traded(paper) - 0.01, 2))
    again = shutil.copy(first, paper.runs.parent / "again")
    sign(paper, "Ann")  # with another nonce
    for tokens in ([first], [second], [first, again]):
        refused(approve(paper, *tokens), 55, "two different people sign", "--token FILE --token FILE")
    said = succeed(approve(paper, second, first)).out
    assert "approved by Ann and Bob" in said
    event = last(paper)
    assert [token["who"] for token in event["signed"]] == ["Ann", "Bob"]
    assert event["how"] == ",".join(token["nonce"] for token in event["signed"])
    succeed(approve(paper, first, second))  # the same again, in another order
    succeed(command(paper, "reject", tonight(paper), "--by", "Bob", "--reason", "no"))
    write_list(paper)
    for tokens in ([first], [second], [first, second]):
        refused(approve(paper, *tokens), 55, "was already used")


def test_at_the_limit_one_person_suffices(paper):
    write_list(paper, two_above=traded(paper))
    succeed(approve(paper, sign(paper, "Ann")))


def test_a_way_to_approve_is_one_way(paper):
    refused(command(paper, "approve", tonight(paper)), 64, "--by NAME, or --token")
    refused(command(paper, "approve", tonight(paper), "--by", "A", "--token", "t"), 64, "--by NAME")
    assert command(paper, "approve", tonight(paper), "--token", "t", "--key", "k").code == 64


# ---- a live book ----


def test_a_live_book_of_a_desk_with_a_list_takes_signed_approvals_only(live):
    refused(command(live, "approve", tonight(live), "--by", "Ann"), 55, "takes signed approvals only", "openbook sign")
    assert states(live) == {"PENDING"}
    succeed(approve(live, sign(live, "Ann")))
    assert succeed(export(live)).out.startswith("order_id,session,symbol")
    answer = command(live, "verify")
    assert "live book: 1 approval signed by listed keys" in answer.out
    assert answer.code == 0, answer.out


def test_a_paper_book_may_be_approved_at_a_terminal(paper, monkeypatch):
    seen = book_commands.read_batch(paper.book, tonight(paper))
    commands.approve(paper.runs, tonight(paper), who="Ann", ask=lambda proposal: seen.code)
    succeed(export(paper))
    answer = command(paper, "verify")
    assert f"paper book: 1 approval typed at a terminal, unsigned ({tonight(paper)})" in answer.out
    assert answer.code == 0, answer.out


def approve_at_a_terminal(desk) -> None:
    """As on a desk without a list."""
    file = desk.runs.parent / FILE
    file.rename(file.with_name("kept"))
    commands.approve(desk.runs, tonight(desk), who="Ann", ask=lambda proposal: proposal.batch.code)
    file.with_name("kept").rename(file)


def test_an_approval_from_before_the_list_is_exported_once_it_is_signed(live):
    approve_at_a_terminal(live)
    refused(export(live), 55, "does not count: it has no signature; nothing was exported", "openbook sign")
    token = sign(live, "Bob")
    succeed(approve(live, token))
    succeed(approve(live, token))  # the same command again
    assert (states(live), last(live)["orders"], last(live)["who"]) == ({"APPROVED"}, [], "Bob")
    succeed(export(live))
    answer = succeed(command(live, "verify"))
    assert "1 approval typed at a terminal, unsigned" in answer.out
    assert "1 approval signed by listed keys" in answer.out


def test_another_person_signs_where_the_signature_of_the_first_no_longer_suffices(live):
    succeed(approve(live, sign(live, "Ann")))
    write_list(live, {"Ann": {"may": []}, "Bob": {}})
    refused(export(live), 55, "Ann may not approve")
    succeed(approve(live, sign(live, "Bob")))
    succeed(export(live))


def test_x06_a_rejected_batch_that_is_written_back_exports_nothing(live):
    """The signature is genuine, and older than the rejection."""
    succeed(approve(live, sign(live, "Ann")))
    succeed(command(live, "reject", tonight(live), "--by", "Bob", "--reason", "no"))
    with sqlite3.connect(book_of(live)) as db:
        db.execute("INSERT INTO transitions VALUES ('REJECTED', 'APPROVED')")
    ids = batch_of(live).orders["order_id"]
    write(live, {"kind": "approved", "batch": batch_of(live).digest, "who": "Ann", "when": "2024-06-26 21:11:00 UTC",
                 "how": "terminal", "session": tonight(live),
                 "orders": [{"order_id": key, "before": "REJECTED"} for key in ids]})  # fmt: skip
    assert states(live) == {"APPROVED"}
    refused(export(live), 55, "does not count: it has no signature")


@pytest.mark.parametrize(
    "forgery", ["unsigned", "own key", "own name", "other batch", "nothing", "text", "a nonce", "their signature"]
)
def test_x06_an_approval_written_into_the_book_without_a_key_exports_nothing_and_verify_says_so(live, forgery):
    """Somebody who can write into the file makes every hash fit, and has no key of an approver."""
    batch = batch_of(live)
    genuine = token_of(sign(live, "Ann"))
    theirs = token_of(sign(live, "Cy"))
    named = token_of(sign(live, "Cy", by="Ann"))
    other = token_of(sign(live, "Ann", batch="ab" * 32))
    signed = {
        "unsigned": None,
        "own key": [theirs],
        "own name": [named],
        "other batch": [other],
        "nothing": [],
        "text": "signed by Ann",
        "a nonce": None,
        "their signature": [genuine | {"signature": theirs["signature"]}],
    }[forgery]
    token = signed[0] if signed and isinstance(signed, list) else {"who": "Ann", "nonce": "00" * 16}
    event = {"kind": "approved", "batch": batch.digest, "who": token["who"], "when": "2024-06-26 21:11:00 UTC",
             "how": "terminal" if forgery == "unsigned" else token["nonce"], "session": tonight(live),
             "orders": [{"order_id": key, "before": "PENDING"} for key in batch.orders["order_id"]]}  # fmt: skip
    write(live, event | ({} if signed is None else {"signed": signed}))
    assert states(live) == {"APPROVED"}
    refused(export(live), 55, "does not count: ", "nothing was exported")
    succeed(command(live, "views"))  # the log takes it for what the book says
    problems, notes = audit.verify(live.runs)
    if forgery in ("unsigned", "nothing", "a nonce"):
        how = "typed at a terminal, unsigned" if forgery == "unsigned" else "signed with a shared key"
        assert [line for line in notes if how in line and tonight(live) in line], notes
    else:
        assert [line for line in problems if line.startswith(f"approved {tonight(live)} (event live/")], problems


def write(desk, *events: dict) -> None:
    """Put events into the file, with proper hashes and tables, as a program of somebody else's would."""
    with database.write(book_of(desk)) as db:
        for event in events:
            projection.apply(db, event_chain.append(db, event), event)


def test_x06_an_approval_that_is_copied_within_the_book_is_a_problem(live):
    succeed(approve(live, sign(live, "Ann")))
    write(live, last(live) | {"orders": []})
    problems, notes = audit.verify(live.runs)
    assert len([line for line in problems if line.startswith("approved ")]) == 1
    assert [line for line in notes if "1 approval signed by listed keys" in line]


@pytest.mark.parametrize("what", ["price", "cash", "head", "events before"])
def test_x06_orders_changed_behind_their_approval_export_nothing(live, what):
    """The recorded hash of the batch stays, and so does the signature; what they stand for has changed."""
    succeed(approve(live, sign(live, "Ann")))

    def changed(body: dict) -> dict:
        if body["session"] == tonight(live):
            if what == "cash":
                body["settlement"]["cash_cents"] += 1
            elif what == "head":
                body["settlement"]["head"] = "ab" * 32
            elif what == "events before":
                body["settlement"]["head"] = head  # that of the book as it was
            else:
                body["orders"][0]["price"] *= 2
        return body

    head = database.read(book_of(live), lambda db: event_of(db, tonight(live)))["settlement"]["head"]
    more = {"cash_cents": 1} if what == "events before" else {}
    rebuild(live, book_of(live), {"session": changed, "opened": lambda body: body | more})
    refused(export(live), 90, "of the book does not match the log")
    log_runs(live.runs)  # whoever can rewrite the book can rewrite the log
    refused(export(live), 55, "are not those of the batch that was approved")
    problems, _ = audit.verify(live.runs)
    assert [line for line in problems if "are not those of the batch that was approved" in line]


def test_x06_what_an_approver_may_is_asked_again_at_the_export(live):
    succeed(approve(live, sign(live, "Ann")))
    write_list(live, {"Ann": {"may": []}})
    refused(export(live), 55, "Ann may not approve")
    write_list(live, {"Ann": {"approve_up_to": 1}})
    refused(export(live), 55, "Ann may approve up to 1.00 USD")
    write_list(live, two_above=1)
    refused(export(live), 55, "two different people sign")
    write_list(live)
    succeed(export(live))


# ---- verify ----


def test_verify_knows_retired_keys_and_names_those_that_are_gone(live):
    succeed(approve(live, sign(live, "Ann")))
    write_list(live, {"Ann": {"may": []}, "Bob": {}})
    assert command(live, "verify").code == 0
    for people, why in (
        ({"Bob": {}}, "Ann is not listed in approvers.yaml"),
        ({"Ann": {"key": public(live, "Cy")}}, "the key that signed as Ann is not the one listed"),
    ):
        write_list(live, people)
        answer = command(live, "verify")
        assert answer.code == 90
        assert f"approved {tonight(live)} (event live/" in answer.out
        assert why in answer.out
    (live.runs.parent / FILE).unlink()
    answer = command(live, "verify")
    assert (answer.code, "the desk has no approvers.yaml to check it with" in answer.out) == (90, True)
    (live.runs.parent / FILE).write_text("approvers: 5")
    answer = command(live, "verify")
    assert (answer.code, "the signatures of the live book cannot be checked" in answer.out) == (90, True)


# ---- reset ----

WHY = ("--reason", "it was a drill")


@pytest.fixture
def halted(live):
    """A live book that is halted."""
    succeed(command(live, "halt", "--who", "Bob", "--reason", "drill"))
    return live


def test_a_reset_of_a_live_book_is_signed_by_somebody_who_may(halted):
    write_list(halted, {"Ann": {"may": ["reset"]}, "Bob": {"may": ["approve"]}})
    ann = ("reset", "--who", "Ann", *WHY)
    refused(command(halted, *ann), 55, "a reset of the live book is signed; add --key FILE")
    refused(command(halted, *ann, "--key", key(halted, "Bob")), 55, "the key that signed as Ann is not")
    refused(command(halted, "reset", "--who", "Bob", *WHY, "--key", key(halted, "Bob")), 55, "Bob may not reset")
    refused(command(halted, "reset", "--who", "Cy", *WHY, "--key", key(halted, "Cy")), 55, "Cy is not listed")
    assert "is now ACTIVE" in succeed(command(halted, *ann, "--key", key(halted, "Ann"))).out
    event = last(halted)
    token = event["signed"][0]
    assert {name: token[name] for name in ("who", "reason", "when")} == {
        "who": "Ann", "reason": WHY[1], "when": event["when"]}  # fmt: skip
    answer = succeed(command(halted, "verify"))
    assert "live book: 1 reset signed by listed keys" in answer.out


def test_x06_a_live_book_that_is_called_a_paper_book_is_one(halted, monkeypatch):
    monkeypatch.setenv("OPENBOOK_BOOK_PAPER", str(book_of(halted)))
    refused(command(halted, "reset", "--who", "Ann", *WHY, "--book", "paper"), 55, "a reset of the live book is signed")


def test_x06_a_reset_copied_to_another_place_of_the_book_is_a_problem(halted):
    succeed(command(halted, "reset", "--who", "Ann", *WHY, "--key", key(halted, "Ann")))
    again = last(halted)
    succeed(command(halted, "halt", "--who", "Bob", "--reason", "another"))
    write(halted, again)
    problems, notes = audit.verify(halted.runs)
    assert [line for line in problems if "what was signed is not what the event says" in line]
    assert [line for line in notes if "1 reset signed by listed keys" in line]


def test_a_reset_needs_no_key_without_a_list_or_on_paper(paper, halted):
    (paper.runs.parent / FILE).unlink()
    succeed(command(halted, "reset", "--who", "Ann", *WHY))
    assert "signed" not in last(halted)
    assert "live book: 1 reset unsigned" in succeed(command(halted, "verify")).out


def test_a_reset_of_a_paper_book_may_be_signed(paper):
    succeed(command(paper, "halt", "--who", "Bob", "--reason", "drill"))
    succeed(command(paper, "reset", "--who", "Ann", *WHY, "--key", key(paper, "Ann")))
    assert last(paper)["signed"][0]["who"] == "Ann"
    assert command(paper, "reset", "--clock", "--who", "A", *WHY, "--key", key(paper, "Ann")).code == 64
