"""What a command tells when it is over: an evening, a failure, a halt; and that none of it changes what was done."""

import email
import email.policy
import html
import json

import pytest

from openbook.ledger import book_commands
from openbook.market.calendar import next_session
from support.mail_servers import free_port, http_server, mail_to, no_channels, smtp_server
from support.trained_desk import clock, openbook, succeed

SECRET = "correct-horse-battery"


@pytest.fixture(autouse=True)
def _nobody_else_is_told(monkeypatch):
    no_channels(monkeypatch)


def mails(mailbox) -> list[email.message.EmailMessage]:
    return [email.message_from_bytes(data, policy=email.policy.default) for _, data in mailbox.taken]


def heartbeat(desk) -> dict:
    return json.loads((desk.runs / "heartbeat.json").read_bytes())


def test_without_a_channel_nothing_is_kept_but_a_heartbeat(desk):
    succeed(desk.daily(desk.evening()))
    assert not (desk.runs / "outbox").exists()
    beat = heartbeat(desk)
    assert (beat["command"], beat["exit_code"], beat["date"]) == ("run daily_run", 0, f"{desk.tonight:%Y-%m-%d}")


def test_an_evening_is_mailed_once_with_its_page_its_orders_and_how_to_approve(desk, monkeypatch):
    with smtp_server() as (port, mailbox):
        mail_to(monkeypatch, port)
        succeed(desk.daily(desk.evening(), "require_manual_approval=true"))
        assert "already done" in succeed(desk.daily(None, "require_manual_approval=true")).out
    (mail,) = mails(mailbox)
    verdict = json.loads((desk.page() / "run.json").read_bytes())["recorded"]["verdict"]
    assert mail["subject"].startswith(f"[openbook] {desk.tonight:%Y-%m-%d} · {verdict[:8]}")
    text, page = mail.get_body(("plain",)).get_content(), mail.get_body(("html",)).get_content()
    batch = book_commands.read_batch(desk.book, f"{desk.tonight:%Y-%m-%d}")
    for said in (text, page):
        assert f"openbook approve {desk.tonight:%Y-%m-%d} --by NAME" in said
        assert batch.digest in said
        assert [name for name in batch.orders["symbol"] if name not in html.unescape(said)] == []
    assert "<script" not in page
    (report,) = mail.iter_attachments()
    assert report.get_payload(decode=True) == (desk.page() / "report.html").read_bytes()
    assert len(page.encode()) < 60_000


def test_n01_a_server_that_is_down_ends_with_80_and_the_run_stands(desk, monkeypatch):
    port = free_port()
    mail_to(monkeypatch, port)
    answer = desk.daily(desk.evening())
    assert answer.code == 80
    assert (desk.page() / "report.html").is_file()
    assert heartbeat(desk)["exit_code"] == 80
    assert openbook("--runs", desk.runs, "notify").code == 80  # not due yet: nothing was tried again
    assert "waits     mail" in openbook("--runs", desk.runs, "status").out


def test_a_failure_is_told_and_keeps_its_exit_code(desk, monkeypatch):
    with http_server() as (url, taken):
        monkeypatch.setenv("OPENBOOK_WEBHOOK", url)
        files = desk.evening().without(desk.held()[:3], desk.tonight)  # more than a tenth of the value
        answer = desk.daily(files)
    assert answer.code == 30
    told = [json.dumps(body) for _, body in taken]  # and the page before, of which nobody was told
    assert len([body for body in told if "daily_run" in body and f"{desk.held()[0]}" in body and "30" in body]) == 1
    assert heartbeat(desk)["exit_code"] == 30


def at(now: str, desk, *command: str):
    """What a command answers at that moment, the nightly run if none is given."""
    with clock(f"{now}Z"):
        return openbook("--runs", desk.runs, *command) if command else desk.daily()


def test_a_late_vendor_is_not_yet_until_the_deadline_and_one_mail_after_it(desk, monkeypatch):
    """Tonight closes at 20:00 UTC; the next session opens at 13:30 UTC, so that 11:30 UTC is two hours before."""
    tonight, morning = f"{desk.tonight:%Y-%m-%d}", f"{next_session(desk.tonight):%Y-%m-%d}"
    with smtp_server() as (port, mailbox):
        mail_to(monkeypatch, port)
        succeed(at(f"{tonight}T20:00", desk, "notify"))  # the page before, of which nobody was told
        mailbox.taken.clear()
        assert at(f"{tonight}T20:10", desk).code == 31  # the session is not over
        assert not (desk.runs / "failed").exists()
        assert [at(f"{when}", desk).code for when in (f"{tonight}T21:00", f"{tonight}T21:30", f"{morning}T11:29")] == [
            31
        ] * 3
        assert at(f"{morning}T11:29", desk, "notify").code == 0
        said = at(f"{morning}T11:29", desk, "status").out
        assert f"waiting for prices of {tonight} until {morning} 11:30 UTC; last tried {morning} 11:29 UTC" in said
        assert "failed" not in said
        index = (desk.runs / "index.html").read_text()
        assert f'<a class="notyet" href="failed/daily_run/{tonight}-1/"' in index
        assert "0 failed" in index
        assert mailbox.taken == []
        assert [at(f"{morning}T{time}", desk).code for time in ("11:30", "12:00", "12:30")] == [31] * 3
        assert at(f"{morning}T12:31", desk, "notify").code == 0
        assert "1 failed" in (desk.runs / "index.html").read_text()
        (mail,) = mails(mailbox)
        assert mail["subject"].startswith(f"[openbook] {tonight} · no prices of {tonight} by {morning} 11:30 UTC")
        assert f"openbook run daily_run --date {tonight}" in mail.get_body(("plain",)).get_content()
        mailbox.taken.clear()
        desk.vendor.deliver(desk.evening())
        succeed(at(f"{morning}T13:00", desk))
    assert [f"of {tonight}" in mail["subject"] for mail in mails(mailbox)] == [False]  # the page itself
    assert f"last      daily_run {tonight}: failed" not in at(f"{morning}T13:00", desk, "status").out


def test_a_late_vendor_is_told_by_notify_where_no_run_starts_after_the_deadline(desk, monkeypatch):
    tonight, morning = f"{desk.tonight:%Y-%m-%d}", f"{next_session(desk.tonight):%Y-%m-%d}"
    with smtp_server() as (port, mailbox):
        mail_to(monkeypatch, port)
        succeed(at(f"{tonight}T20:00", desk, "notify"))
        assert at(f"{tonight}T23:30", desk).code == 31
        assert [at(f"{morning}T{time}", desk, "notify").code for time in ("11:20", "11:30", "11:40", "20:00")] == [
            0
        ] * 4
    assert [f"no prices of {tonight}" in mail["subject"] for mail in mails(mailbox)] == [False, True]


def test_a_past_evening_without_prices_is_no_news(desk, monkeypatch):
    with smtp_server() as (port, mailbox):
        mail_to(monkeypatch, port)
        succeed(openbook("--runs", desk.runs, "notify"))
        mailbox.taken.clear()
        assert desk.daily().code == 31  # by this machine's clock, long after that session
        assert openbook("--runs", desk.runs, "notify").code == 0
    assert mailbox.taken == []
    assert "failed: no bars for" in openbook("--runs", desk.runs, "status").out


def test_a_vendor_that_is_late_twice_is_told_of_twice(desk, monkeypatch):
    sessions = [desk.tonight, next_session(desk.tonight)]
    with smtp_server() as (port, mailbox):
        mail_to(monkeypatch, port)
        for session in sessions:
            for hour in ("12:00", "13:00"):
                with clock(f"{next_session(session):%Y-%m-%d}T{hour}Z"):
                    assert desk.daily(date=session).code == 31
    assert [
        [f"no prices of {s:%Y-%m-%d}" in mail["subject"] for mail in mails(mailbox)].count(True) for s in sessions
    ] == [1, 1]


def test_n04_an_alert_that_reaches_nobody_leaves_a_marker_and_the_book_stays_halted(desk, monkeypatch):
    mail_to(monkeypatch, free_port())
    succeed(openbook("--runs", desk.runs, "halt", "--who", "Ann", "--reason", "a drill"))
    (marker,) = desk.runs.glob("ALERT-*.txt")
    assert "HALTED by Ann" in marker.read_text()
    assert desk.daily(desk.evening()).code == 20
    assert desk.state().switch == "HALTED"


def test_a_mistake_in_a_channel_ends_a_command_before_it_begins(desk, monkeypatch):
    monkeypatch.setenv("OPENBOOK_SMTP", "ftp://nowhere")
    before = desk.kept()
    assert desk.daily(desk.evening()).code == 64
    assert desk.kept() == before


def test_x08_a_secret_in_an_error_is_nowhere_below_the_runs_nor_on_the_terminal(desk, monkeypatch):
    monkeypatch.setenv("OPENBOOK_SMTP_PASSWORD", SECRET)
    mail_to(monkeypatch, free_port(), user="openbook@")
    answer = desk.daily(desk.evening(), f"source.path=/nowhere/{SECRET}")
    assert answer.code == 30
    assert SECRET not in answer.out + answer.err
    assert "/nowhere/[OPENBOOK_SMTP_PASSWORD]" in answer.err
    found = [path for path in desk.runs.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert found == []


def test_x08_a_page_that_holds_a_secret_is_not_sealed(desk, monkeypatch):
    monkeypatch.setenv("DATA_TOKEN", "Book and market since inception")
    answer = desk.daily(desk.evening())
    assert (answer.code, "DATA_TOKEN" in answer.err) == (65, True)
    assert not desk.page().exists()
    left = [path for path in (desk.runs / "failed").rglob("*") if path.is_file()]
    assert not [path for path in left if b"Book and market since inception" in path.read_bytes()]


def test_x08_a_secret_that_is_a_word_of_every_page_is_named_and_stops_no_run(desk, monkeypatch):
    monkeypatch.setenv("DATA_TOKEN", "Regime")
    monkeypatch.setenv("PGPASSWORD", "daily_run")
    answer = succeed(desk.daily(desk.evening()))
    assert "warning: DATA_TOKEN, PGPASSWORD: too short or too plain" in answer.err
