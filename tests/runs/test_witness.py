"""The head of the log as people keep it: on paper, in a mail, signed by the desk."""

from email.message import EmailMessage

import pytest

from openbook.common.errors import UsageError
from openbook.runs import audit_log
from openbook.runs.key_files import create_key
from openbook.runs.witness import KEY_FILE, check_heads, head_line, kept_heads

WHEN, FOUND = "2024-06-25 21:10:00 UTC", [("run", "daily_run/2024-06-25", "aa"), ("event", "paper/1", "bb")]


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A desk with a log of two entries and a key of its own, which its list names."""
    (tmp_path / "openbook.yaml").write_text("format: 1\n")
    (tmp_path / "runs").mkdir()
    audit_log.record(tmp_path / "runs", FOUND, when=WHEN)
    public = create_key(tmp_path / "desk.pem", tmp_path / "runs")
    (tmp_path / "approvers.yaml").write_text(f"approvers:\n  - {{name: desk server, key: {public}, may: [witness]}}\n")
    (tmp_path / "approvers.yaml").chmod(0o644)
    monkeypatch.setenv(KEY_FILE, str(tmp_path / "desk.pem"))
    return tmp_path


def mail(line: str) -> bytes:
    """A mail that was saved whole, its lines wrapped by a server."""
    message = EmailMessage()
    message["Subject"] = "7 orders"
    message.set_content(f"What to do\n\nAudit log head: {line}\n\n– the desk –", cte="quoted-printable")
    message.add_alternative(f"<p>Audit log head: {line}</p>", subtype="html")
    return message.as_bytes()


def test_h08_a_signed_head_from_a_mail_says_since_when_and_by_whom(desk):
    line = head_line(desk / "runs")
    assert line.startswith(f"{audit_log.head(desk / 'runs')}, entry 2 of {WHEN}, signed by desk server: ")
    for name, content in {"terminal.txt": f"log head {line}\n".encode(), "kept.eml": mail(line)}.items():
        (desk / name).write_bytes(content)
        audit_log.record(desk / "runs", [("event", "paper/2", name)], when=WHEN) if name == "terminal.txt" else None
        problems, known = check_heads(desk / "runs", kept_heads(str(desk / name)))
        assert not problems
        said = f"unaltered since entry 2 of {WHEN}, whose hash was kept elsewhere, signed by desk server"
        assert known == [said]


def test_without_a_key_a_head_is_its_hash_number_and_time(desk, monkeypatch):
    monkeypatch.delenv(KEY_FILE)
    assert head_line(desk / "runs") == f"{audit_log.head(desk / 'runs')}, entry 2 of {WHEN}"
    (desk / "said.txt").write_text(head_line(desk / "runs"))
    _, (known,) = check_heads(desk / "runs", kept_heads(str(desk / "said.txt")))
    assert known == f"unaltered since entry 2 of {WHEN}, whose hash was kept elsewhere"


def test_h08_everything_remade_is_found_by_a_kept_head(desk):
    (desk / "kept.txt").write_text(head_line(desk / "runs"))
    (desk / "runs" / "audit.jsonl").unlink()
    audit_log.record(desk / "runs", [("run", "daily_run/2024-06-25", "ff"), *FOUND[1:]], when=WHEN)
    (problem,), known = check_heads(desk / "runs", kept_heads(str(desk / "kept.txt")))
    assert "the log was truncated or replaced" in problem
    assert not known


def test_h08_a_head_that_somebody_else_signed_is_named(desk, monkeypatch):
    line = head_line(desk / "runs")
    create_key(desk / "mallory.pem", desk / "runs")
    monkeypatch.setenv(KEY_FILE, str(desk / "mallory.pem"))
    assert "signed by a key that is not listed: " in head_line(desk / "runs")
    forged = line.partition("signed by ")[0] + "signed by desk server: " + head_line(desk / "runs").rpartition(": ")[2]
    later = line.replace("21:10:00", "22:10:00")
    for text in (forged, later, head_line(desk / "runs")):
        (desk / "kept.txt").write_text(text)
        (problem,), known = check_heads(desk / "runs", kept_heads(str(desk / "kept.txt")))
        assert "is not signed by" in problem
        assert not known


@pytest.mark.parametrize("text", ["", "abc", "ab" * 31, "AB" * 32])
def test_what_is_no_head_is_refused(text, tmp_path):
    with pytest.raises(UsageError, match="neither the hash of a log entry nor a file with one"):
        kept_heads(text)
    (tmp_path / "mail.txt").write_text("no head here")
    with pytest.raises(UsageError, match="no line with a head of the log"):
        kept_heads(str(tmp_path / "mail.txt"))
