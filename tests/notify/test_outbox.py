"""Nothing is lost and nothing is forgotten: what waits, what was sent, and what was given up (N01–N04)."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default

import pytest

from openbook.notify.message import compose, compose_alarm, compose_failure
from openbook.notify.outbox import DeliveryReport, beat, catch_up, deliver, enqueue, entries, status_lines, tell
from openbook.runs import audit_log
from support.mail_servers import free_port, http_server, mail_to, no_channels, seal_run, smtp_server
from support.small_runs import DATE, log_runs

NOW = datetime(2022, 12, 28, 22, 5, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
FAILURE = compose_failure("daily_run", DATE, "no prices", 30)
ALARM = compose_alarm("HALTED by the desk", DATE, ["open orders are void"])


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """No channel, whatever this machine has."""
    no_channels(monkeypatch)


@pytest.fixture
def folder(tmp_path):
    """A runs folder with one sealed run."""
    seal_run(tmp_path / "runs")
    return tmp_path / "runs"


def states(runs) -> dict:
    """State by channel of the only entry."""
    [entry] = entries(runs)
    return entry["channels"]


# ---- the ordinary way ----


def test_nothing_configured_leaves_nothing(folder):
    before = sorted(folder.rglob("*"))
    assert not enqueue(folder, FAILURE, NOW)
    assert not catch_up(folder, NOW)
    assert deliver(folder, NOW) == DeliveryReport((), 0)
    assert status_lines(folder, NOW) == []
    assert sorted(folder.rglob("*")) == before


def test_queued_once_and_sent_once(folder, monkeypatch):
    with smtp_server() as (port, mailbox), http_server() as (url, taken):
        mail_to(monkeypatch, port)
        monkeypatch.setenv("OPENBOOK_SLACK", url)
        message = compose(folder / "daily_run" / DATE)
        assert enqueue(folder, message, NOW)
        assert not enqueue(folder, message, NOW)
        done = deliver(folder, NOW)
        assert done.waiting == 0
        assert done.lines == (f"mail: sent {message.subject}", f"slack: sent {message.subject}")
        assert deliver(folder, NOW + HOUR) == DeliveryReport()
        assert not enqueue(folder, message, NOW + HOUR)
        assert not catch_up(folder, NOW + HOUR)
    assert len(mailbox.taken) == len(taken) == 1
    assert {state["status"] for state in states(folder).values()} == {"sent"}


def test_tell_queues_and_sends_what_is_given_and_what_was_missed(folder, monkeypatch):
    assert tell(folder, NOW, FAILURE) == DeliveryReport()
    with smtp_server() as (port, mailbox):
        mail_to(monkeypatch, port)
        assert len(tell(folder, NOW, FAILURE).lines) == 2  # the failure, and the sealed run that nobody told of
        assert tell(folder, NOW, FAILURE) == DeliveryReport()
    assert len(mailbox.taken) == 2


def test_a_run_whose_message_was_never_queued_gets_one(folder, monkeypatch):
    seal_run(folder, date="2022-12-27")
    with smtp_server() as (port, mailbox):
        mail_to(monkeypatch, port)
        assert catch_up(folder, NOW)
        assert not catch_up(folder, NOW)
        deliver(folder, NOW)
    [(_, data)] = mailbox.taken
    assert message_from_bytes(data, policy=default)["Subject"].startswith("[openbook] 2022-12-28")


def test_a_message_is_made_again_from_what_it_was_queued_with(folder, monkeypatch):
    """Approving changes the book's summary and the log; the mail still says what was so when the run was sealed."""
    with smtp_server() as (port, mailbox):
        mail_to(monkeypatch, port)
        message = compose(folder / "daily_run" / DATE, book=["orders of 2022-12-28: 7 PENDING"])
        enqueue(folder, message, NOW)
        audit_log.record(folder, [("event", "paper/1", "ef" * 32)], when="2022-12-28 22:06:00 UTC")
        deliver(folder, NOW)
    arrived = message_from_bytes(mailbox.taken[0][1], policy=default).get_body(("plain",))
    assert arrived.get_content().replace("\r", "") == message.text


# ---- what fails ----


def test_n01_backs_off_then_gives_up_after_a_day(folder, monkeypatch):
    mail_to(monkeypatch, free_port())
    enqueue(folder, FAILURE, NOW)
    now, waits = NOW, []
    while deliver(folder, now).waiting:
        state = states(folder)["mail"]
        later = datetime.fromisoformat(state["next_try"])
        assert deliver(folder, later - timedelta(seconds=1)).lines == ()  # not due yet
        waits.append((later - now) / MINUTE)
        now = later
    assert waits == [1, 5, 15, 60, 240, *[60] * 18]
    assert states(folder)["mail"]["status"] == "given up"
    assert now <= NOW + timedelta(days=1)
    [line] = status_lines(folder, now)
    assert line.startswith(f"not sent  mail: {FAILURE.subject}, ")
    assert "refused" in line
    assert status_lines(folder, now + timedelta(days=8)) == []


def test_n01_a_5xx_is_retried_and_arrives(folder, monkeypatch):
    with smtp_server() as (port, mailbox):
        mail_to(monkeypatch, port)
        mailbox.answers += ["554 no", "451 not now"]
        enqueue(folder, FAILURE, NOW)
        assert deliver(folder, NOW).waiting == 1
        [line] = status_lines(folder, NOW)
        assert line == f"waits     mail: {FAILURE.subject}, next try 2022-12-28T22:06:00+00:00 (127.0.0.1: 554 no)"
        assert deliver(folder, NOW + MINUTE).waiting == 1
        assert deliver(folder, NOW + 6 * MINUTE).waiting == 0
    assert len(mailbox.taken) == 1
    assert states(folder)["mail"]["tries"] == 3


def test_n01_only_the_recipient_who_was_refused_waits(folder, monkeypatch):
    with smtp_server() as (port, mailbox):
        mail_to(monkeypatch, port, to="a@x.org, b@x.org")
        mailbox.unknown.add("b@x.org")
        enqueue(folder, FAILURE, NOW)
        assert deliver(folder, NOW).waiting == 1
        mailbox.unknown.clear()
        assert deliver(folder, NOW + MINUTE).waiting == 0
    assert [to for to, _ in mailbox.taken] == [["a@x.org"], ["b@x.org"]]


def test_a_server_that_is_down_is_asked_once_for_all(folder, monkeypatch):
    mail_to(monkeypatch, free_port())
    with http_server() as (url, taken):
        monkeypatch.setenv("OPENBOOK_WEBHOOK", url)
        enqueue(folder, FAILURE, NOW)
        enqueue(folder, ALARM, NOW + MINUTE)
        lines = deliver(folder, NOW + MINUTE).lines
    assert [line.partition(":")[0] for line in lines] == ["mail", "webhook", "webhook"]
    assert [body["id"] for _, body in taken] == [ALARM.id, FAILURE.id]  # alarms first
    tries = {entry["id"]: entry["channels"]["mail"]["tries"] for entry in entries(folder)}
    assert tries == {ALARM.id: 1, FAILURE.id: 0}


def test_n02_retry_after_is_honored_and_five_tries_are_enough(folder, monkeypatch):
    with http_server(*[(429, {"Retry-After": "90"})] * 9) as (url, taken):
        monkeypatch.setenv("OPENBOOK_SLACK", url)
        enqueue(folder, FAILURE, NOW)
        now = NOW
        for tried in range(1, 6):
            left = deliver(folder, now).waiting
            assert len(taken) == tried
            assert deliver(folder, now + timedelta(seconds=89)).lines == ()
            now += timedelta(seconds=90)
        assert left == 0
        deliver(folder, now + 9 * HOUR)
    assert len(taken) == 5
    assert states(folder)["slack"]["status"] == "given up"


def test_a_server_that_asks_for_years_is_given_up(folder, monkeypatch):
    with http_server((429, {"Retry-After": "9" * 30})) as (url, _):
        monkeypatch.setenv("OPENBOOK_SLACK", url)
        enqueue(folder, FAILURE, NOW)
        assert deliver(folder, NOW + MINUTE).waiting == 0
    assert states(folder)["slack"]["status"] == "given up"


def test_a_channel_that_is_gone_and_a_run_that_is_gone_are_given_up(folder, monkeypatch):
    with http_server() as (url, taken):
        monkeypatch.setenv("OPENBOOK_SLACK", url)
        enqueue(folder, FAILURE, NOW)
        monkeypatch.delenv("OPENBOOK_SLACK")
        assert deliver(folder, NOW).waiting == 1  # a shell that lacks the setting gives nothing up
        assert deliver(folder, NOW + timedelta(days=2)).waiting == 0
        monkeypatch.setenv("OPENBOOK_WEBHOOK", url)
        enqueue(folder, compose(folder / "daily_run" / DATE), NOW)
        (folder / "daily_run" / DATE / "run.json").unlink()
        done = deliver(folder, NOW)
        assert done.waiting == 1
        assert f"daily_run/{DATE} is not a sealed run" in done.lines[0]
    assert taken == []


def test_a_broken_file_is_named_and_stops_nobody(folder, monkeypatch):
    with smtp_server() as (port, mailbox):
        mail_to(monkeypatch, port)
        enqueue(folder, FAILURE, NOW)
        for name, text in {"a": "{", "b": "[]", "c": '{"channels": {"mail": 1}}', "d": "{}"}.items():
            (folder / "outbox" / f"{name}.json").write_text(text)
        assert deliver(folder, NOW).waiting == 0
    assert len(mailbox.taken) == 1
    assert status_lines(folder, NOW) == [f"outbox    {name}.json cannot be read" for name in "abcd"]


def unlogged(runs, secret):
    """A sealed run that nobody logged."""
    made = seal_run(runs.parent / "elsewhere", date="2022-12-27")
    made.rename(runs / "daily_run" / "2022-12-27")
    return "daily_run/2022-12-27"


def altered(runs, secret):
    """The page was edited after the run was logged."""
    (runs / "daily_run" / DATE / "report.html").write_text("send the money to me")
    return f"daily_run/{DATE}"


def linked_page(runs, secret):
    """The page is a link to a file that only we can read."""
    (runs / "daily_run" / DATE / "report.html").unlink()
    (runs / "daily_run" / DATE / "report.html").symlink_to(secret)
    return f"daily_run/{DATE}"


def linked_notebook(runs, secret):
    """The body would come from a link."""
    (runs / "daily_run" / DATE / "daily_run.ipynb").unlink()
    (runs / "daily_run" / DATE / "daily_run.ipynb").symlink_to(secret)
    return f"daily_run/{DATE}"


def with_a_log_of_its_own(runs, secret, below="planted"):
    """A runs folder inside the runs folder, whose log fits; it has the link in the place of a page."""
    made = seal_run(runs / below)
    (made / "report.html").unlink()
    (made / "report.html").symlink_to(secret)
    log_runs(runs / below)
    return f"{below}/daily_run/{DATE}"


def outside(runs, secret):
    """The same beside the runs folder."""
    return with_a_log_of_its_own(runs, secret, "../planted")


def absolute(runs, secret):
    """The same by its absolute path."""
    return str((runs / with_a_log_of_its_own(runs, secret)).resolve())


PLANTED = (unlogged, altered, linked_page, linked_notebook, with_a_log_of_its_own, outside, absolute)


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_only_a_sealed_run_as_logged_is_sent(folder, tmp_path, monkeypatch, plant):
    """Whoever can write into the runs folder can queue a message; nothing is sent that the log does not have."""
    secret = tmp_path / "secrets"
    secret.write_text("OPENBOOK_SMTP_PASSWORD=hunter2hunter2")
    genuine = compose(folder / "daily_run" / DATE)
    with smtp_server() as (port, mailbox):
        mail_to(monkeypatch, port)
        enqueue(folder, replace(genuine, recipe={**genuine.recipe, "run": plant(folder, secret)}), NOW)
        done = deliver(folder, NOW)
    assert mailbox.taken == []
    assert done.waiting == 1
    assert "mail: not sent" in done.lines[0]


def other_head(entry):
    entry["recipe"]["head"] = "ab" * 32  # what an approver would compare with the log


def other_message(entry):
    entry.update(kind="alarm", recipe={"title": "call this number", "lines": [], "event": "x"})


@pytest.mark.parametrize("alter", [other_head, other_message], ids=lambda alter: alter.__name__)
def test_an_entry_that_was_altered_is_not_sent(folder, monkeypatch, alter):
    with smtp_server() as (port, mailbox):
        mail_to(monkeypatch, port)
        enqueue(folder, compose(folder / "daily_run" / DATE), NOW)
        [file] = (folder / "outbox").glob("*.json")
        entry = json.loads(file.read_text())
        alter(entry)
        file.write_text(json.dumps(entry))
        deliver(folder, NOW)
    assert mailbox.taken == []


def test_an_entry_that_is_a_link_or_has_a_path_for_a_date_is_named_and_not_followed(folder, tmp_path, monkeypatch):
    mail_to(monkeypatch, free_port())
    enqueue(folder, ALARM, NOW)
    [file] = (folder / "outbox").glob("*.json")
    entry = json.loads(file.read_text())
    victim = tmp_path / file.name
    file.rename(victim)
    file.symlink_to(victim)
    assert status_lines(folder, NOW) == [f"outbox    {file.name} cannot be read"]
    (folder / "ALERT-..").mkdir()
    file.unlink()
    file.write_text(json.dumps({**entry, "date": "../../x"}))
    deliver(folder, NOW)
    assert status_lines(folder, NOW) == [f"outbox    {file.name} cannot be read"]
    assert not (tmp_path / "x.txt").exists()


def test_an_alert_file_that_is_a_link_is_replaced_and_tells_nothing_of_its_victim(folder, tmp_path, monkeypatch):
    victim = tmp_path / "secrets"
    victim.write_text("hunter2hunter2\n")
    (folder / f"ALERT-{DATE}.txt").symlink_to(victim)
    mail_to(monkeypatch, free_port())
    tell(folder, NOW, ALARM)
    assert victim.read_text() == "hunter2hunter2\n"
    assert "HALTED" in (folder / f"ALERT-{DATE}.txt").read_text()
    assert "hunter2" not in (folder / f"ALERT-{DATE}.txt").read_text()


def test_a_secret_in_an_answer_is_not_kept(folder, monkeypatch):
    with smtp_server() as (port, mailbox):
        mail_to(monkeypatch, port)
        monkeypatch.setenv("VENDOR_TOKEN", "s3cr3t-t0ken")
        mailbox.answers.append("554 I know s3cr3t-t0ken")
        enqueue(folder, compose_failure("daily_run", DATE, "s3cr3t-t0ken", 30), NOW)
        lines = deliver(folder, NOW).lines
    kept = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert b"s3cr3t" not in kept
    assert "s3cr3t" not in " ".join(lines)


# ---- crashes ----

SEND = """
import sys
from datetime import datetime
from pathlib import Path
from openbook.notify.outbox import deliver
print("ready", flush=True)
sys.stdin.readline()
deliver(Path(sys.argv[1]), datetime.fromisoformat(sys.argv[2]))
"""


def test_n03_killed_after_sending_and_before_marking(folder, monkeypatch):
    """The server kills the sender once it has the whole mail, so that the sender never learns of it."""
    with smtp_server() as (port, mailbox):
        mail_to(monkeypatch, port)
        enqueue(folder, compose(folder / "daily_run" / DATE), NOW)
        command = [sys.executable, "-c", SEND, str(folder), NOW.isoformat()]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as sender:
            sender.stdout.readline()
            mailbox.on_data = lambda: os.kill(sender.pid, signal.SIGKILL)
            sender.communicate(b"go\n", timeout=60)
        assert sender.returncode == -signal.SIGKILL
        assert states(folder)["mail"]["status"] == "waiting"
        mailbox.on_data = None
        assert deliver(folder, NOW + MINUTE).waiting == 0
    first, second = (data for _, data in mailbox.taken)
    assert first == second
    assert message_from_bytes(first, policy=default)["Message-ID"] == f"<{entries(folder)[0]['id'][:40]}@openbook>"


def test_one_process_delivers_at_a_time(folder, monkeypatch):
    with smtp_server() as (port, mailbox):
        mail_to(monkeypatch, port)
        enqueue(folder, FAILURE, NOW)
        with open(folder / "outbox" / ".lock", "a") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            assert deliver(folder, NOW) == DeliveryReport(("another process is sending the outbox",), 1)
        assert mailbox.taken == []
        assert deliver(folder, NOW).waiting == 0


# ---- alarms ----


def test_n04_an_alarm_that_reaches_nobody_leaves_a_marker(folder, monkeypatch):
    mail_to(monkeypatch, free_port())
    with http_server((500, {}), (500, {})) as (url, _):
        monkeypatch.setenv("OPENBOOK_SLACK", url)
        enqueue(folder, ALARM, NOW)
        enqueue(folder, FAILURE, NOW)
        assert deliver(folder, NOW).waiting == 2
        marker = folder / f"ALERT-{DATE}.txt"
        assert marker.read_text().startswith(f"{ALARM.subject}\n")
        assert f"alert     ALERT-{DATE}.txt" in status_lines(folder, NOW)
        marker.unlink()  # somebody read it
        deliver(folder, NOW + MINUTE)
        assert not marker.exists()


def test_n04_the_marker_goes_once_the_alarm_arrived(folder, monkeypatch):
    other = compose_alarm("HALTED again", DATE)
    with http_server((500, {}), (500, {})) as (url, _):
        monkeypatch.setenv("OPENBOOK_SLACK", url)
        enqueue(folder, ALARM, NOW)
        deliver(folder, NOW)
        enqueue(folder, other, NOW + MINUTE / 2)
        deliver(folder, NOW + MINUTE / 2)
        marker = folder / f"ALERT-{DATE}.txt"
        assert ALARM.subject in marker.read_text()
        assert other.subject in marker.read_text()
        deliver(folder, NOW + MINUTE)
        assert ALARM.subject not in marker.read_text()
        deliver(folder, NOW + 2 * MINUTE)
        assert not marker.exists()


# ---- the heartbeat ----


def test_a_heartbeat_says_when_and_how_it_ended(tmp_path):
    beat(tmp_path / "none", "run", exit_code=64, date=None, now=NOW)
    assert list(tmp_path.iterdir()) == []
    beat(tmp_path, "run daily_run", exit_code=0, date=DATE, now=NOW)
    said = json.loads((tmp_path / "heartbeat.json").read_bytes())
    assert said == {"when": "2022-12-28T22:05:00+00:00", "command": "run daily_run", "exit_code": 0, "date": DATE}


def test_h03_what_a_clock_years_ahead_put_off_is_sent_by_a_clock_that_is_right(folder, monkeypatch):
    ahead = NOW.replace(year=NOW.year + 9)
    monkeypatch.setenv("OPENBOOK_WEBHOOK", f"http://127.0.0.1:{free_port()}/")
    enqueue(folder, ALARM, ahead)
    assert deliver(folder, ahead).waiting == 1  # nobody listens: it is to be tried again, years from now
    with http_server() as (url, taken):
        monkeypatch.setenv("OPENBOOK_WEBHOOK", url)
        assert deliver(folder, NOW).waiting == 0
    assert len(taken) == 1
