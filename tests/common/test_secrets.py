"""X08: a secret in the environment and in a traceback is nowhere under runs/."""

import base64
import html
import json
import os
import re
from urllib.parse import quote

import pytest

from openbook.common import secrets
from openbook.common.errors import OpenbookError, UsageError
from openbook.runs.runner import execute_notebook
from support.small_runs import DATE, FINISH, OPEN, new_stage

SECRET = "p\"4ss/w'ord+<é>&x"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Only the secrets of a test."""
    for name in list(os.environ):
        if secrets._is_named(name) or name.startswith("OPENBOOK_"):
            monkeypatch.delenv(name)


def private_file(tmp_path, text: str, mode: int = 0o600):
    file = tmp_path / "secrets"
    file.write_text(text)
    file.chmod(mode)
    return file


# ---- where they come from ----


def test_the_environment_wins_over_the_file(tmp_path, monkeypatch):
    file = private_file(tmp_path, "# mine\n\nOPENBOOK_SLACK = 'https://a'\nOPENBOOK_MAIL_TO=a=b\n")
    monkeypatch.setenv("OPENBOOK_SECRETS", str(file))
    monkeypatch.setenv("OPENBOOK_MAIL_TO", "c")
    found = secrets.settings()
    assert (found["OPENBOOK_SLACK"], found["OPENBOOK_MAIL_TO"]) == ("https://a", "c")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_can_read_is_refused(tmp_path, monkeypatch, mode):
    monkeypatch.setenv("OPENBOOK_SECRETS", str(private_file(tmp_path, "OPENBOOK_SLACK=sekret123", mode)))
    with pytest.raises(UsageError, match="chmod 600"):
        secrets.settings()
    assert secrets.redact("sekret123") == "sekret123"  # not known, and no error while one is reported


def test_no_error_shows_a_line_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENBOOK_SECRETS", str(private_file(tmp_path, "A=1\nsekret123\n")))
    with pytest.raises(UsageError, match="line 2") as told:
        secrets.settings()
    assert "sekret123" not in str(told.value)
    monkeypatch.setenv("OPENBOOK_SECRETS", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="cannot read"):
        secrets.settings()


# ---- what a notebook sees ----


def test_a_kernel_sees_no_secret(monkeypatch):
    hidden = {
        "OPENBOOK_SMTP_PASSWORD": "a",
        "OPENBOOK_SLACK": "b",
        "OPENBOOK_WEBHOOK": "c",
        "OPENBOOK_SECRETS": "/d",
        "VENDOR_API_KEY": "e",
        "github_token": "f",
        "OPENBOOK_BOOK_LIVE": "postgresql://u:secret@host/db",
    }
    shown = {"OPENBOOK_RUNS": "runs", "MONKEY": "x", "PGPASSWORD": "y", "HTTPS_PROXY": "http://proxy:80"}
    for name, value in {**hidden, **shown}.items():
        monkeypatch.setenv(name, value)
    seen = secrets.scrubbed_environment()
    assert not set(hidden) & set(seen)
    assert {name: seen[name] for name in shown} == shown


# ---- finding and hiding ----

FORMS = {
    "as it is": SECRET,
    "url": quote(SECRET, safe=""),
    "url, lower": re.sub("%..", lambda found: found[0].lower(), quote(SECRET, safe="")),
    "html": html.escape(SECRET),
    "json": json.dumps(SECRET),
    "html in json": json.dumps(html.escape(SECRET)),
    "repr": repr(SECRET),
    "hex": SECRET.encode().hex(),
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "basic auth": base64.b64encode(f"user:{SECRET}".encode()).decode(),
    "shifted": base64.b64encode(f"ab{SECRET} and more".encode()).decode(),
    "shifted, urlsafe": base64.urlsafe_b64encode(f"a{SECRET}>>>???".encode()).decode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_x08_a_secret_is_found_and_hidden_however_it_is_written(tmp_path, monkeypatch, form):
    monkeypatch.setenv("SOME_TOKEN", SECRET)
    (tmp_path / "deep").mkdir()
    file = tmp_path / "deep" / "a.json"
    file.write_text(f"before {FORMS[form]} after")
    file.chmod(0o444)
    (tmp_path / "b.json").write_text("nothing here")
    assert secrets.find(tmp_path) == ["deep/a.json: SOME_TOKEN"]
    assert secrets.redact_folder(tmp_path) == ["deep/a.json"]
    assert secrets.find(tmp_path) == []
    said = file.read_text()
    assert said.startswith("before ")
    assert said.endswith("after")
    assert "[SOME_TOKEN]" in said
    assert SECRET not in secrets.redact(FORMS[form])


def test_parts_that_are_secrets_by_themselves(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENBOOK_SLACK", "https://hooks.slack.com/services/T0/B0/abcdef")
    monkeypatch.setenv("OPENBOOK_BOOK_LIVE", "postgresql+psycopg://desk:p%40ssword@host/book")
    assert secrets.redact("POST /services/T0/B0/abcdef failed") == "POST [OPENBOOK_SLACK] failed"
    assert secrets.redact("with p@ssword or p%40ssword") == "with [OPENBOOK_BOOK_LIVE] or [OPENBOOK_BOOK_LIVE]"
    assert secrets.redact("postgresql+psycopg://desk@host/book") == "postgresql+psycopg://desk@host/book"


def test_what_is_short_or_a_path_is_no_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("A_KEY", "12345")
    monkeypatch.setenv("B_KEY", str(tmp_path))
    (tmp_path / "a").write_text(f"12345 {tmp_path}")
    assert secrets.find(tmp_path) == []


def test_x08_a_traceback_with_a_secret_leaves_nothing_below_runs(runs, write_notebook, monkeypatch):
    """The kernel does not have it; a notebook that has it from elsewhere shows it in source, output and traceback."""
    monkeypatch.setenv("VENDOR_TOKEN", "s3cr3t-t0ken")
    asks = 'import os\nprint("seen" if "VENDOR_TOKEN" in os.environ else "unseen")'
    leaks = 'name = "s3cr3t-t0ken"\nprint(name)\nrun.write("note.txt", name)\nraise ValueError(f"no answer for {name}")'
    notebook, stage = write_notebook(OPEN, asks, leaks, FINISH), new_stage(runs)
    with pytest.raises(OpenbookError) as told:
        execute_notebook(notebook, stage, {"date": DATE, "stage": str(stage.folder)})
    assert [name.rpartition("/")[2] for name in secrets.find(runs.folder)] == [
        "daily_run.ipynb: VENDOR_TOKEN",
        "note.txt: VENDOR_TOKEN",
    ]
    left = runs.fail(stage)
    assert secrets.find(runs.folder) == []
    everything = b"".join(path.read_bytes() for path in runs.folder.rglob("*") if path.is_file())
    assert b"s3cr3t-t0ken" not in everything
    ran = json.loads((left / "daily_run.ipynb").read_bytes())  # still a notebook
    printed = [output.get("text") for cell in ran["cells"] for output in cell.get("outputs", [])]
    assert "unseen\n" in ["".join(text) for text in printed if text]
    assert "s3cr3t-t0ken" not in secrets.redact(str(told.value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPENBOOK_SLACK", "https://[hooks/T0/secret-path"),
        ("OPENBOOK_WEBHOOK", "http://x:99999999/secret-path"),
        ("SOME_TOKEN", os.fsdecode(b"\xff\xfesecret-token")),
    ],
)
def test_a_secret_that_is_no_url_or_no_text_is_hidden_like_any_other(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert secrets.redact(f"before {value} after") == f"before [{name}] after"
