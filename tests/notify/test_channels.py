"""Real servers on this machine: what they get, and what their refusals become (N01, N02, N05)."""

import ssl
from email import message_from_bytes
from email.policy import default

import pytest
import trustme
from aiosmtpd.smtp import AuthResult

from openbook.common.errors import Undelivered, UsageError
from openbook.notify.channels import Mail, Refused, _seconds, configured
from openbook.notify.message import compose, compose_failure
from support.mail_servers import free_port, http_server, mail_to, no_channels, seal_run, silent_server, smtp_server
from support.small_runs import DATE

QUEUED = "2022-12-28T22:05:00+00:00"
MESSAGE = compose_failure("daily_run", DATE, "no price for <AAPL> & others", 30)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """No channel, whatever this machine has."""
    no_channels(monkeypatch)


# ---- mail ----


def test_a_mail_arrives_whole(tmp_path, monkeypatch):
    message = compose(seal_run(tmp_path, verdict="7 orders – für morgen"))
    with smtp_server() as (port, mailbox):
        mail_to(monkeypatch, port, to="pm@example.com, Risk Desk <risk@example.com>")
        configured()["mail"].send(message, QUEUED)
    [(to, data)] = mailbox.taken
    mail = message_from_bytes(data, policy=default)
    assert to == ["pm@example.com", "risk@example.com"]
    assert mail["Subject"] == message.subject == "[openbook] 2022-12-28 · 7 orders – für morgen"
    assert mail["From"] == "openbook <openbook@example.com>"
    assert mail["Message-ID"] == f"<{message.id[:40]}@openbook>"
    assert mail.get_body(("plain",)).get_content().replace("\r", "") == message.text
    assert mail.get_body(("html",)).get_content().replace("\r", "") == message.html
    assert [part.get_filename() for part in mail.iter_attachments()] == ["openbook-2022-12-28-report.html"]


def test_n01_a_refused_connection(monkeypatch):
    mail_to(monkeypatch, free_port())
    with pytest.raises(Refused, match="refused") as told:
        configured()["mail"].send(MESSAGE, QUEUED)
    assert told.value.down
    assert told.value.exit_code == Undelivered.exit_code == 80


def test_n01_a_server_that_never_answers(monkeypatch):
    with silent_server() as port:
        mail_to(monkeypatch, port, options="?timeout=0.2")
        with pytest.raises(Refused, match="timed out"):
            configured()["mail"].send(MESSAGE, QUEUED)


@pytest.mark.parametrize("answer", ["554 no thanks", "451 later"])
def test_n01_a_server_that_does_not_take_the_mail(monkeypatch, answer):
    with smtp_server() as (port, mailbox):
        mail_to(monkeypatch, port)
        mailbox.answers.append(answer)
        with pytest.raises(Refused, match=answer) as told:
            configured()["mail"].send(MESSAGE, QUEUED)
        assert not told.value.down  # another message may be taken
        configured()["mail"].send(MESSAGE, QUEUED)
    assert len(mailbox.taken) == 1


def test_who_was_refused_is_tried_again_and_nobody_gets_it_twice(monkeypatch):
    with smtp_server() as (port, mailbox):
        mail_to(monkeypatch, port, to="a@x.org, b@x.org")
        mailbox.unknown.add("b@x.org")
        with pytest.raises(Refused, match="no such user") as told:
            configured()["mail"].send(MESSAGE, QUEUED)
        mailbox.unknown.clear()
        configured()["mail"].send(MESSAGE, QUEUED, told.value.left)
    assert [to for to, _ in mailbox.taken] == [["a@x.org"], ["b@x.org"]]
    assert mailbox.taken[0][1] == mailbox.taken[1][1]


@pytest.fixture
def authority(tmp_path, monkeypatch):
    """A certificate authority that this process trusts."""
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return made


def server_context(authority, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def check_login(server, session, envelope, mechanism, data) -> AuthResult:
    return AuthResult(success=(data.login, data.password) == (b"desk", b"pass-word"), handled=False)


def test_starttls_and_login(authority, monkeypatch):
    options = {"tls_context": server_context(authority, "127.0.0.1"), "require_starttls": True}
    with smtp_server(**options, authenticator=check_login, auth_required=True) as (port, mailbox):
        mail_to(monkeypatch, port, options="?starttls=1&timeout=5", user="desk@")
        monkeypatch.setenv("OPENBOOK_SMTP_PASSWORD", "pass-word")
        configured()["mail"].send(MESSAGE, QUEUED)
        monkeypatch.setenv("OPENBOOK_SMTP_PASSWORD", "wrong-word")
        with pytest.raises(Refused, match="535") as told:
            configured()["mail"].send(MESSAGE, QUEUED)
    assert len(mailbox.taken) == 1
    assert "wrong-word" not in str(told.value)


def test_smtps(authority, monkeypatch):
    with smtp_server(ssl_context=server_context(authority, "127.0.0.1")) as (port, mailbox):
        mail_to(monkeypatch, port)
        monkeypatch.setenv("OPENBOOK_SMTP", f"smtps://127.0.0.1:{port}?timeout=5")
        configured()["mail"].send(MESSAGE, QUEUED)
        configured()["mail"].send(MESSAGE, QUEUED, ("nobody@any.more",))
    assert [to for to, _ in mailbox.taken] == [["pm@example.com"]]


def test_a_certificate_of_somebody_else_is_refused(authority, monkeypatch):
    with smtp_server(tls_context=server_context(authority, "mail.example.com")) as (port, mailbox):
        mail_to(monkeypatch, port, options="?starttls=1&timeout=5")
        with pytest.raises(Refused, match="certificate"):
            configured()["mail"].send(MESSAGE, QUEUED)
    assert mailbox.taken == []


def test_a_server_without_starttls_gets_nothing(monkeypatch):
    with smtp_server() as (port, mailbox):
        mail_to(monkeypatch, port, options="?starttls=1&timeout=5")
        with pytest.raises(Refused, match="STARTTLS"):
            configured()["mail"].send(MESSAGE, QUEUED)
    assert mailbox.taken == []


# ---- webhooks ----


def test_slack_and_webhook_get_json(monkeypatch):
    with http_server() as (url, taken):
        monkeypatch.setenv("OPENBOOK_SLACK", url)
        monkeypatch.setenv("OPENBOOK_WEBHOOK", url)
        for channel in configured().values():
            channel.send(MESSAGE, QUEUED)
    slack, generic = (body for _, body in taken)
    assert set(slack) == {"text"}
    assert "no price for &lt;AAPL&gt; &amp; others" in slack["text"]
    assert (generic["id"], generic["date"], generic["kind"]) == (MESSAGE.id, DATE, "failure")
    assert generic["text"] == MESSAGE.text
    assert {headers["Idempotency-Key"] for headers, _ in taken} == {MESSAGE.id}


def test_n02_retry_after_is_heard(monkeypatch):
    with http_server((429, {"Retry-After": "17"}), (503, {}), (404, {})) as (url, _):
        monkeypatch.setenv("OPENBOOK_SLACK", url)
        refused = []
        for _ in range(3):
            with pytest.raises(Refused) as told:
                configured()["slack"].send(MESSAGE, QUEUED)
            refused.append((told.value.retry_after, told.value.down))
    assert refused == [(17.0, True), (None, True), (None, False)]


def test_retry_after_as_a_date():
    assert _seconds("Fri, 31 Dec 1999 23:59:59 GMT") == 0
    assert _seconds("Fri, 31 Dec 2100 23:59:59 GMT") > 1e9
    assert _seconds("soon") is None
    assert _seconds("-5") is None


def test_a_redirect_is_not_followed(monkeypatch):
    with http_server() as (elsewhere, taken), http_server((302, {"Location": elsewhere})) as (url, _):
        monkeypatch.setenv("OPENBOOK_WEBHOOK", url)
        with pytest.raises(Refused, match="302"):
            configured()["webhook"].send(MESSAGE, QUEUED)
    assert taken == []


@pytest.mark.parametrize("port", ["closed", "silent"])
def test_a_webhook_that_does_not_answer_is_not_named_by_its_secret(monkeypatch, port):
    with silent_server() as silent:
        number = silent if port == "silent" else free_port()
        monkeypatch.setenv("OPENBOOK_SLACK", f"http://127.0.0.1:{number}/services/hook-s3cr3t")
        channel = configured()["slack"].model_copy(update={"timeout": 0.2})
        with pytest.raises(Refused) as told:
            channel.send(MESSAGE, QUEUED)
    assert told.value.down
    assert "s3cr3t" not in str(told.value) + repr(channel)


# ---- settings ----


def test_nothing_configured_is_nothing():
    assert configured() == {}


@pytest.mark.parametrize(
    ("url", "security", "port"),
    [
        ("smtp://mail.example.com", "starttls", 587),
        ("smtp://mail.example.com:25", "starttls", 25),
        ("smtp://mail.example.com:25?plain=1", "plain", 25),
        ("smtps://mail.example.com", "tls", 465),
        ("smtp://localhost:25", "plain", 25),
        ("smtp://localhost:587", "starttls", 587),
        ("smtp://[::1]:25", "plain", 25),
        ("smtp://127.0.0.1.example.com:25", "starttls", 25),
    ],
)
def test_mail_is_encrypted_unless_it_stays_here_or_somebody_says_so(monkeypatch, url, security, port):
    mail_to(monkeypatch, 25)
    monkeypatch.setenv("OPENBOOK_SMTP", url)
    found = configured()["mail"]
    assert isinstance(found, Mail)
    assert (found.security, found.port) == (security, port)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OPENBOOK_SMTP", "mail.example.com:25", "smtp://"),
        ("OPENBOOK_SMTP", "smtp://mail.example.com:x", "not a URL"),
        ("OPENBOOK_SMTP", "smtp://mail.example.com:70000", "not a URL"),
        ("OPENBOOK_SMTP", "smtp://desk:t0psecret@mail.example.com", "OPENBOOK_SMTP_PASSWORD"),
        ("OPENBOOK_SMTP", "smtp://desk@mail.example.com", "OPENBOOK_SMTP_PASSWORD"),
        ("OPENBOOK_SMTP", "smtp://mail.example.com?timeout=t0psecret", "timeout"),
        ("OPENBOOK_MAIL_TO", "", "OPENBOOK_MAIL_TO"),
        ("OPENBOOK_MAIL_TO", "nobody", "OPENBOOK_MAIL_TO"),
        ("OPENBOOK_MAIL_TO", "a@b.c\r\nBcc: d@e.f", "OPENBOOK_MAIL_TO"),
        ("OPENBOOK_MAIL_FROM", "", "OPENBOOK_MAIL_FROM"),
        ("OPENBOOK_SLACK", "http://hooks.example.com/t0psecret", "OPENBOOK_SLACK"),
        ("OPENBOOK_WEBHOOK", "file:///etc/t0psecret", "OPENBOOK_WEBHOOK"),
        ("OPENBOOK_WEBHOOK", "https://[t0psecret", "OPENBOOK_WEBHOOK"),
        ("OPENBOOK_WEBHOOK", "https://a/t0psecret\r\nX: y", "OPENBOOK_WEBHOOK"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_without_showing_it(monkeypatch, name, value, said):
    mail_to(monkeypatch, 25)
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=said) as told:
        configured()
    assert "t0psecret" not in str(told.value)
