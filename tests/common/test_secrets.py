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
        "FSSPEC_HTTPS": '{"client_kwargs": {"headers": {"Authorization": "Bearer g"}}}',
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


PLAIN = {  # not to be told from what every run writes
    "short": "12345",
    "a word": "data",
    "another": "production",
    "a name of ours": "train_candidates",
    "a date": "2022-12-28",
    "seven": "a1b2c3d",
    "a host": "https://desk.example.com",
}
TELLING = {
    "eight": "a1b2c3d4",
    "a sign": "p@ssword",
    "a letter that is not ASCII": "passwört",
    "long": "correct horse battery staple",
}


@pytest.mark.parametrize("what", PLAIN)
def test_a_secret_that_looks_like_anything_is_named_and_stops_nothing(tmp_path, monkeypatch, what):
    monkeypatch.setenv("A_KEY", PLAIN[what])
    (tmp_path / "a").write_text(f"before {PLAIN[what]} after")
    assert secrets.find(tmp_path) == []
    assert secrets.unrecognizable() == ["A_KEY"]
    monkeypatch.delenv("A_KEY")
    monkeypatch.setenv("A_URL", f"postgresql://u:{PLAIN[what].rpartition('/')[2]}@host/db")
    assert secrets.unrecognizable() == ["A_URL"]


@pytest.mark.parametrize("what", TELLING)
def test_a_secret_that_can_be_told_is_found(tmp_path, monkeypatch, what):
    monkeypatch.setenv("A_KEY", TELLING[what])
    (tmp_path / "a").write_text(f"before {TELLING[what]} after")
    assert secrets.find(tmp_path) == ["a: A_KEY"]
    assert secrets.unrecognizable() == []


def test_a_path_to_a_key_is_no_key(tmp_path, monkeypatch):
    monkeypatch.setenv("B_KEY", str(tmp_path))
    monkeypatch.setenv("EMPTY_KEY", "")
    (tmp_path / "a").write_text(f"{tmp_path}")
    assert secrets.find(tmp_path) == secrets.unrecognizable() == []


HOOKS = {  # a webhook, and a word of a run that it shares
    "https://hooks.example.com/openbook": "/srv/openbook/runs",
    "https://runs.example.com/srv/openbook/runs/daily_run": "/srv/openbook/runs/daily_run/2022-12-28",
    "https://hooks.example.com/trades.csv?desk=production": "production trades.csv",
    "https://hooks.example.com/services/trading-desk-of-the-year": "trading-desk-of-the-year",
    "https://hooks.example.com/services?desk=trading-desk-of-the-year": "trading-desk-of-the-year",
}


@pytest.mark.parametrize("url", HOOKS)
def test_a_webhook_that_shares_a_word_with_a_run_stops_nothing(tmp_path, monkeypatch, url):
    monkeypatch.setenv("OPENBOOK_WEBHOOK", url)
    (tmp_path / "trades.csv").write_text(HOOKS[url])
    assert secrets.find(tmp_path) == []
    (tmp_path / "trades.csv").write_text(f"posted to {url}.")
    assert secrets.find(tmp_path) == ["trades.csv: OPENBOOK_WEBHOOK"]


def test_a_webhook_whose_path_is_that_of_a_folder_here_stops_nothing(tmp_path, monkeypatch):
    runs = tmp_path / "runs2024"
    runs.mkdir()
    monkeypatch.setenv("OPENBOOK_WEBHOOK", f"https://hooks.example.com{runs}")
    (runs / "run.json").write_text(json.dumps({"store": f"{runs}/store"}))
    assert secrets.find(runs) == []


KEYS = {
    "https://hooks.slack.com/services/T000/B000/a1B2c3D4e5F6g7H8": "a1B2c3D4e5F6g7H8",
    "https://discord.com/api/webhooks/1122/x9_y8-zZz7w6v5u4": "x9_y8-zZz7w6v5u4",
    "https://hooks.example.com/x?token=s3cr3t-t0ken": "s3cr3t-t0ken",
    "https://hooks.example.com/catch/123456/abcdefg": "/catch/123456/abcdefg",
}


@pytest.mark.parametrize("url", KEYS)
def test_the_key_of_a_webhook_is_found_without_its_host(tmp_path, monkeypatch, url):
    monkeypatch.setenv("OPENBOOK_WEBHOOK", url)
    (tmp_path / "a").write_text(f"POST {KEYS[url]} failed")
    assert secrets.find(tmp_path) == ["a: OPENBOOK_WEBHOOK"]
    assert secrets.redact(KEYS[url]) == "[OPENBOOK_WEBHOOK]"


def test_what_a_source_logs_in_with_is_a_secret(tmp_path, monkeypatch):
    login = {"endpoint": "https://files.example.com", "headers": {"Authorization": "Bearer s3cr3t-t0ken"}}
    monkeypatch.setenv("FSSPEC_HTTPS", json.dumps(login))
    monkeypatch.setenv("FSSPEC_S3_ENDPOINT_URL", "https://files.example.com")
    assert secrets.unrecognizable() == []
    (tmp_path / "a").write_text("https://files.example.com refused s3cr3t-t0ken")
    assert secrets.redact("https://files.example.com refused s3cr3t-t0ken").endswith("refused [FSSPEC_HTTPS]")
    assert secrets.find(tmp_path) == ["a: FSSPEC_HTTPS"]


# ---- URLs in settings ----

WITH_SECRETS = [
    "https://user:pw@host/bars.csv",
    "https://user:p/w@host/bars.csv",
    "https://user:p#w@host/bars.csv",
    "https://ghp_0123@host/bars.csv",
    "ftp://user:pw@host/bars.csv",
    "simplecache::https://user:pw@host/bars.csv",
    "postgresql+psycopg://u:pw@host/db",
    "postgresql://host/db?user=u&password=pw",
    "s3://id:secret@bucket/bars.parquet",
    "https://host/bars.csv?apikey=1",
    "https://host/bars.csv?a=1&api_key=1",
    "https://host/bars.csv?a=1;Access-Token=1",
    "https://host/bars.csv?X-Amz-Signature=1",
    "https://host/bars.csv?AWSAccessKeyId=1",
    "https://host/bars.csv?sv=2022&sig=1",
    "https://host/bars.csv?subscription-key=1",
    "https://host/bars.csv?%74oken=1",
    "https://host/bars.csv?Authorization=Bearer%20x",
    "https://host/bars.csv#access_token=1",
    "https://host/bars.csv?clientSecret=1",
]
WITHOUT = [
    "prices/bars.csv",
    "/data/token=1/bars.csv",
    "https://host:8443/bars.csv",
    "https://host/bars@2022.csv",
    "https://host:80/bars@2022.csv",
    "https://host/bars.csv?email=a@example.com&monkey=1&keyword=x&author=y&token=",
    "postgresql+psycopg://desk@host/db?host=/run",
    "sqlite:///studies.db",
    "s3://bucket/bars.parquet",
    "dask://host:8786",
    "sftp://desk@host/bars.csv",
]


@pytest.mark.parametrize("url", WITH_SECRETS)
def test_a_secret_in_a_url_is_seen(url):
    assert secrets.in_url(url)


@pytest.mark.parametrize("url", WITHOUT)
def test_a_url_without_one_is_left_alone(url):
    assert secrets.in_url(url) == ""


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
