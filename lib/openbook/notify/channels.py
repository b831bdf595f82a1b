"""Notification channels: mail by SMTP, Slack and any other webhook; only those configured in the environment.

    OPENBOOK_SMTP      smtp://user@host:587 (STARTTLS) or smtps://user@host:465; ?plain=1 for neither, ?timeout=SECONDS
    OPENBOOK_SMTP_PASSWORD, OPENBOOK_MAIL_FROM, OPENBOOK_MAIL_TO (addresses, comma between)
    OPENBOOK_SLACK     the URL of an incoming webhook
    OPENBOOK_WEBHOOK   any URL that takes JSON

smtplib, email and urllib of the standard library do the work. apprise would bring a hundred services, but it decides by
itself how a mail is put together (pictures by CID, the page attached, one Message-ID for every try are ours to decide),
and it answers yes or no: the outbox needs the status and the Retry-After of a webhook, and which recipient was refused.
"""

import email.utils
import http.client
import json
import re
import smtplib
import ssl
import urllib.error
import urllib.request
from contextlib import suppress
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from typing import Literal, cast
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import Field, SecretStr

from openbook.common import secrets
from openbook.common.errors import Undelivered, UsageError
from openbook.common.settings import Settings
from openbook.notify.message import Message, one_line
from openbook.runs.stage import REPORT

PORTS = {"smtp": 587, "smtps": 465}
TIMEOUT = 20.0  # seconds that a server may be silent
SLACK_LONGEST = 3000  # characters of one text; Slack cuts at 4,000
_LOOPBACK = re.compile(r"localhost|127(\.[0-9]+){3}|::1", re.ASCII | re.IGNORECASE)


class Refused(Undelivered):
    """A channel did not take a message.

    retry_after : seconds that a server asked us to wait
    left : recipients that still have nothing; empty for all of them
    down : the channel itself fails, so that other messages need not try it now
    """

    def __init__(self, reason: str, *, retry_after: float | None = None, left: tuple[str, ...] = (), down: bool = True):
        super().__init__(one_line(secrets.redact(reason), 300))
        self.retry_after, self.left, self.down = retry_after, left, down


class Mail(Settings):
    """An SMTP server and its recipients."""

    tries: int = Field(0, description="maximum attempts per message; 0: retry for one day")
    host: str
    port: int = Field(ge=1, le=65535)
    security: Literal["starttls", "tls", "plain"]
    timeout: float = Field(TIMEOUT, gt=0, le=120, description="timeout of the server, in seconds")
    user: str = ""
    password: SecretStr = SecretStr("")
    sender: str
    to: tuple[str, ...] = Field(min_length=1)

    def send(self, message: Message, queued: str, left: tuple[str, ...] = ()) -> None:
        """Send to everybody, or to those `left`; the same bytes at every try. Raises Refused."""
        to = [address for address in self.to if not left or address in left]
        if not to:
            return
        data = as_email(message, sender=self.sender, to=self.to, queued=queued)
        try:
            refused = self._hand_over(data, to)
        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError) as error:
            raise Refused(f"{self.host}: {_said(error)}", left=left, down=False) from None
        except (OSError, EOFError, ValueError) as error:  # every error of smtplib is an OSError
            raise Refused(f"{self.host}:{self.port}: {_said(error)}", left=left) from None
        if refused:
            said = "; ".join(f"{name}: {_reply(*reply)}" for name, reply in sorted(refused.items()))
            raise Refused(said, left=tuple(sorted(refused)), down=False)

    def _hand_over(self, data: EmailMessage, to: list[str]) -> dict:
        """The refused recipients; the server has accepted the mail for all others, even if it then disconnects."""
        server = self._connected()
        try:
            refused = server.send_message(data, from_addr=_address(self.sender), to_addrs=to)
            with suppress(OSError):
                server.quit()
            return refused
        finally:
            server.close()

    def _connected(self) -> smtplib.SMTP:
        """A server connection after login."""
        if self.security == "tls":
            context = ssl.create_default_context()
            server: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=self.timeout, context=context)
        else:
            server = smtplib.SMTP(self.host, self.port, timeout=self.timeout)
        try:
            if self.security == "starttls":
                server.starttls(context=ssl.create_default_context())
            if self.user:
                server.login(self.user, self.password.get_secret_value())
        except BaseException:
            server.close()
            raise
        return server


class Webhook(Settings):
    """A URL that takes JSON: Slack's {"text"}, or all fields."""

    tries: int = Field(5, description="maximum attempts per message")
    name: Literal["slack", "webhook"]
    url: SecretStr
    timeout: float = TIMEOUT

    def send(self, message: Message, queued: str, left: tuple[str, ...] = ()) -> None:
        """Post the message; the id goes along, so that a receiver knows a second try. Raises Refused."""
        body = slack_json(message) if self.name == "slack" else webhook_json(message, queued)
        headers = {"Content-Type": "application/json", "User-Agent": "openbook", "Idempotency-Key": message.id}
        request = urllib.request.Request(self.url.get_secret_value(), json.dumps(body).encode(), headers)
        try:
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=self.timeout):
                return
        except urllib.error.HTTPError as error:
            with error:
                wait, busy = _seconds(error.headers.get("Retry-After")), error.code == 429 or error.code >= 500
                raise Refused(f"{self.name}: HTTP {error.code} {error.reason}", retry_after=wait, down=busy) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Refused(f"{self.name}: {_said(error)}") from None


Channel = Mail | Webhook


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: messages go only to the configured URL."""

    def redirect_request(self, *_):
        """See urllib."""
        return


def configured() -> dict[str, Channel]:
    """The channels that the environment names, by name: mail, slack, webhook; empty if it names none.

    Raises UsageError (64) for a setting that cannot work; it never shows a value that may be secret.
    """
    found = secrets.settings()
    channels: dict[str, Channel] = {}
    if found.get("OPENBOOK_SMTP"):
        channels["mail"] = _mail(found)
    for name in ("slack", "webhook"):
        if url := found.get(f"OPENBOOK_{name.upper()}"):
            channels[name] = Webhook(name=name, url=SecretStr(_checked_url(url, f"OPENBOOK_{name.upper()}")))
    return channels


def as_email(message: Message, *, sender: str, to: tuple[str, ...], queued: str) -> EmailMessage:
    """The mail: plain text, HTML with its pictures, and the page. The same message gives the same bytes.

    queued : when it was put into the outbox, ISO 8601; the mail's date
    """
    mail = EmailMessage(policy=SMTP_POLICY)
    mail["From"], mail["To"], mail["Subject"] = sender, ", ".join(to), message.subject
    mail["Date"] = email.utils.format_datetime(datetime.fromisoformat(queued).astimezone(UTC))
    mail["Message-ID"] = f"<{message.id[:40]}@openbook>"  # one line of a header holds no more
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text)
    mail.add_alternative(message.html, subtype="html")
    for image in message.images:
        part = cast(list[EmailMessage], mail.get_payload())[1]
        part.add_related(image.png, "image", "png", cid=f"<{image.cid}>", disposition="inline")
    if message.attachment is not None:
        mail.add_attachment(message.attachment, "text", "html", filename=f"openbook-{message.date}-{REPORT}")
    multiparts = (part for part in mail.walk() if part.is_multipart())
    for number, part in enumerate(multiparts):
        part.set_boundary(f"openbook-{message.id[:24]}-{number}")
    return mail


def slack_json(message: Message) -> dict:
    """What Slack's incoming webhooks take; &, < and > are escaped, so that no text is a link or calls anybody."""
    lines = [f"*{message.subject.replace('*', '')}*", *message.brief]
    text = "\n".join(lines)[:SLACK_LONGEST]
    return {"text": text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}


def webhook_json(message: Message, queued: str) -> dict:
    """What any other webhook gets."""
    said = {"id": message.id, "kind": message.kind, "date": message.date, "subject": message.subject}
    return {**said, "alarm": message.alarm, "queued": queued, "brief": list(message.brief), "text": message.text}


def _mail(found: dict[str, str]) -> Mail:
    """The mail channel from its settings."""
    name = "OPENBOOK_SMTP"
    url, options = _split(found[name], name)
    if url.scheme not in PORTS or not url.hostname:
        raise UsageError(f"{name} must be smtp://user@host:587 or smtps://user@host:465")
    if url.password is not None:
        raise UsageError(f"{name} contains a password; put it into OPENBOOK_SMTP_PASSWORD instead")
    user, password = unquote(url.username or ""), found.get("OPENBOOK_SMTP_PASSWORD", "")
    if user and not password:
        raise UsageError(f"{name} has a user, but OPENBOOK_SMTP_PASSWORD is not set")
    port = url.port or PORTS[url.scheme]
    return Mail(
        host=url.hostname,
        port=port,
        security="tls" if url.scheme == "smtps" else _security(url.hostname, port, options),
        timeout=_timeout(options, name),
        user=user,
        password=SecretStr(password),
        sender=_addresses(found, "OPENBOOK_MAIL_FROM", whole=True)[0],
        to=_addresses(found, "OPENBOOK_MAIL_TO"),
    )


def _security(host: str, port: int, options: dict[str, str]) -> str:
    """STARTTLS, except on this machine, where only port 587 uses it; ?plain=1 and ?starttls=1 override that."""
    if options.get("plain") == "1":
        return "plain"
    local = _LOOPBACK.fullmatch(host) and port != PORTS["smtp"] and options.get("starttls") != "1"
    return "plain" if local else "starttls"


def _timeout(options: dict[str, str], name: str) -> float:
    try:
        seconds = float(options.get("timeout", TIMEOUT))
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 120:
        raise UsageError(f"{name}: timeout must be seconds, more than 0 and at most 120")
    return seconds


def _split(value: str, name: str):
    """A URL and its options; UsageError that does not show it."""
    try:
        url = urlsplit(value)
        _ = url.port, url.hostname
    except ValueError:
        raise UsageError(f"{name} is not a URL") from None
    return url, {key: values[-1] for key, values in parse_qs(url.query).items()}


def _checked_url(value: str, name: str) -> str:
    """A webhook's URL: https, or http on this machine; UsageError that does not show it."""
    url, _ = _split(value, name)
    local = url.scheme == "http" and _LOOPBACK.fullmatch(url.hostname or "")
    if not url.hostname or not (url.scheme == "https" or local) or not value.isascii() or not value.isprintable():
        raise UsageError(f"{name} must be an https:// URL (http:// only for this machine)")
    return value


def _addresses(found: dict[str, str], name: str, *, whole: bool = False) -> tuple[str, ...]:
    """The addresses of a setting; with their display names if `whole`."""
    pairs = email.utils.getaddresses([found.get(name, "")])
    try:
        parsed = [Address(display_name=shown, addr_spec=address) for shown, address in pairs]
    except (ValueError, IndexError, email.errors.MessageError):
        parsed = []
    if not parsed or not all(address.domain for address in parsed) or not found.get(name, "").isprintable():
        raise UsageError(f"{name} must be one or more comma-separated mail addresses, because OPENBOOK_SMTP is set")
    return tuple(str(address) if whole else address.addr_spec for address in parsed)


def _address(sender: str) -> str:
    return email.utils.parseaddr(sender)[1]


def _said(error: Exception) -> str:
    """The error of a server or of the system, in a few words."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return "; ".join(f"{name}: {_reply(*reply)}" for name, reply in sorted(error.recipients.items()))
    if isinstance(error, smtplib.SMTPResponseException):
        return _reply(error.smtp_code, error.smtp_error)
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    text = str(reason) if isinstance(reason, ssl.SSLError) else getattr(reason, "strerror", None) or str(reason)
    text = text or type(error).__name__
    return f"no answer ({text})" if isinstance(reason, TimeoutError) else text


def _reply(code: int, said: bytes | str) -> str:
    return f"{code} {said.decode('utf-8', 'replace') if isinstance(said, bytes) else said}"


def _seconds(value: str | None) -> float | None:
    """A Retry-After header, seconds or a date; None without a sensible one."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        until = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (until - datetime.now(UTC)).total_seconds()) if until.tzinfo else None
