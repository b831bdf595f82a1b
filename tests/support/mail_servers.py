"""Sealed runs with cells tagged `mail`, and real servers on this machine that take, refuse, or say nothing."""

import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import nbformat
from aiosmtpd.controller import Controller
from nbformat.v4 import new_code_cell, new_notebook, new_output

from openbook.runs import audit_log
from openbook.runs.stage import json_bytes
from openbook.runs.verification import run_digest

DATE = "2022-12-28"
HEAD = "ab" * 32


def mail_cell(data: dict, metadata: dict | None = None, *tags: str):
    """An executed cell with one output, tagged `mail`."""
    output = new_output("display_data", data=data, metadata=metadata or {})
    return new_code_cell("secret_code()", outputs=[output], metadata={"tags": ["mail", *tags]})


def element_cell(element):
    """The same, of something that `elements` made."""
    return mail_cell(*element._repr_mimebundle_())


def seal_run(runs: Path, *cells, date: str = DATE, verdict: str = "7 orders pending approval", **recorded) -> Path:
    """A sealed daily run as the runner leaves it."""
    folder = runs / "daily_run" / date
    folder.mkdir(parents=True)
    for number, cell in enumerate(cells):
        cell["id"] = f"c{number}"
    nbformat.write(new_notebook(cells=list(cells)), folder / "daily_run.ipynb")
    (folder / "report.html").write_text("<!DOCTYPE html><title>page</title>")
    about = {"notebook": "daily_run", "date": date, "inputs_hash": "cd" * 32}
    (folder / "run.json").write_bytes(json_bytes({**about, "recorded": {"verdict": verdict, **recorded}}))
    audit_log.record(runs, [("run", f"daily_run/{date}", run_digest(folder))], when=f"{date} 22:00:00 UTC")
    return folder


def summarize(runs: Path, status: str = "PENDING", date: str = DATE) -> None:
    """A book's summary, as `app.service` writes it."""
    place = runs / "books" / "paper"
    place.mkdir(parents=True)
    lines = ["paper book: kill switch not tripped (ACTIVE), cash 1,000.00 USD"]
    lines += [f"  orders of {date}: 7 {status}; approval deadline 2022-12-29 15:00 UTC", f"  batch {'ef' * 32}"]
    (place / "summary.json").write_text(json.dumps(lines))


class Mailbox:
    """What an SMTP server took; `answers` are its replies to the next mails, in turn, else it takes them."""

    def __init__(self):
        self.taken, self.answers, self.unknown, self.on_data = [], [], set(), None

    async def handle_RCPT(self, server, session, envelope, address, options):
        """Refuse recipients who are unknown."""
        if address in self.unknown:
            return "550 no such user here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        """Take a mail, or do not."""
        if self.answers:
            return self.answers.pop(0)
        self.taken.append((list(envelope.rcpt_tos), envelope.content))
        if self.on_data is not None:
            self.on_data()
        return "250 OK"


@contextmanager
def smtp_server(**options):
    """A real SMTP server; yields (its port, its mailbox)."""
    mailbox = Mailbox()
    controller = Controller(mailbox, hostname="127.0.0.1", port=free_port(), **options)
    controller.start()
    try:
        yield controller.port, mailbox
    finally:
        controller.stop()


@contextmanager
def http_server(*answers: tuple[int, dict]):
    """A real HTTP server that gives these answers in turn, then 200; yields (URL, requests as (headers, body))."""
    taken, left = [], list(answers)

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.append((dict(self.headers), json.loads(body)))
            status, headers = left.pop(0) if left else (200, {})
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self):
            taken.append((dict(self.headers), "GET"))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            return

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/services/T0/hook-s3cr3t", taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def silent_server():
    """A server that takes connections and never says a word; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def no_channels(monkeypatch) -> None:
    """An environment that names no channel, whatever this machine's says."""
    for name in ("SMTP", "SMTP_PASSWORD", "MAIL_FROM", "MAIL_TO", "SLACK", "WEBHOOK", "SECRETS"):
        monkeypatch.delenv(f"OPENBOOK_{name}", raising=False)


def mail_to(monkeypatch, port: int, *, options: str = "?timeout=5", user: str = "", to: str = "pm@example.com") -> None:
    """Configure mail to a server on this machine."""
    monkeypatch.setenv("OPENBOOK_SMTP", f"smtp://{user}127.0.0.1:{port}{options}")
    monkeypatch.setenv("OPENBOOK_MAIL_FROM", "openbook <openbook@example.com>")
    monkeypatch.setenv("OPENBOOK_MAIL_TO", to)
