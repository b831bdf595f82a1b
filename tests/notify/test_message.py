"""What a mail holds, and what it never holds (N05, X03)."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_output

from openbook.common.errors import UsageError
from openbook.notify.channels import as_email, slack_json
from openbook.notify.message import LARGEST, again, compose, compose_alarm, compose_failure, one_line
from openbook.report.elements import callout, chart, facts, figure, table
from openbook.report.exporter import TAGS
from openbook.report.mail_html import BY_CLASS, BY_TAG, Inliner, clean_and_inline
from openbook.runs import audit_log
from support.mail_servers import HEAD, element_cell, mail_cell, seal_run, summarize
from support.small_runs import DATE, hostile_texts, log_runs

ORDERS = pd.DataFrame(
    {
        "symbol": ["AAPL", "BRK.B"],
        "side": ["BUY", "SELL"],
        "shares": [10, -3],
        "price": [126.04, 301.5],
        "reason": ["position increased: rank 1 of 20", ""],
    }
)
QUEUED = "2022-12-28T22:05:00+00:00"
ALLOWED = {*TAGS, "html", "head", "meta", "title", "style", "body", "img"}


class Outline(HTMLParser):
    """Tags with attributes, and the text outside of style."""

    def __init__(self, source: str):
        super().__init__()
        self.tags, self.text, self._inside = [], "", ""
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data):
        self.text += "" if self._inside == "style" else data


@pytest.fixture
def daily(tmp_path) -> Path:
    """A sealed run with a table, facts, a callout, a figure, and outputs that stay on the page."""
    fig, ax = chart()
    ax.plot([1, 2])
    quiet = new_code_cell("x", outputs=[new_output("display_data", data={"text/plain": "not in the mail"})])
    printed = new_code_cell("x", outputs=[new_output("stream", text="printed")], metadata={"tags": ["mail"]})
    summarize(tmp_path)
    return seal_run(
        tmp_path,
        element_cell(facts({"Portfolio": "98,046 USD"})),
        quiet,
        printed,
        element_cell(table(ORDERS, caption="Orders", highlight=["side"])),
        element_cell(callout("Two limits bind.", "warn", title="Limits")),
        element_cell(figure(fig, "the book rose")),
        switch="ACTIVE",
    )


# ---- what is in it ----


def test_a_mail_says_the_verdict_then_the_tagged_outputs_then_what_to_do(daily):
    message = compose(daily)
    assert message.subject == "[openbook] 2022-12-28 · 7 orders pending approval"
    wanted = [
        "7 orders pending approval",
        "openbook approve 2022-12-28 --by NAME",
        "Portfolio",
        "BRK.B",
        "Two limits bind.",
        "orders of 2022-12-28: 7 PENDING; approval deadline 2022-12-29 15:00 UTC",
        f"batch {'ef' * 32}",
        f"Audit log head: {audit_log.head(daily.parent.parent)}",
    ]
    for said in (message.text, Outline(message.html).text):
        start = said.index(wanted[0])  # the page's title has it, too
        places = [said.index(line, start) for line in wanted]
        assert places == sorted(places)
        assert "not in the mail" not in said
        assert "printed" not in said
        assert "secret_code" not in said
    assert "the book rose" in message.text
    assert message.attachment == (daily / "report.html").read_bytes()
    assert not message.alarm


def test_the_head_is_that_of_the_log(daily):
    runs = daily.parent.parent
    audit_log.record(runs, [("event", "paper/1", HEAD)], when="2022-12-28 22:00:00 UTC")
    assert f"Audit log head: {audit_log.head(runs)}" in compose(daily).text


def test_who_has_nothing_to_approve_is_not_asked_to(tmp_path):
    summarize(tmp_path, "APPROVED")
    message = compose(seal_run(tmp_path))
    assert "7 APPROVED" in message.text
    assert "openbook approve" not in message.text
    assert "batch" not in compose(seal_run(tmp_path / "other")).text


def test_the_same_run_gives_the_same_message(daily):
    message = compose(daily)
    same = again(daily.parent.parent, "run", message.date, message.recipe)
    assert same == message
    bytes_of = [as_email(m, sender="a@b.c", to=("d@e.f",), queued=QUEUED).as_bytes() for m in (message, same)]
    assert bytes_of[0] == bytes_of[1]
    for other in (compose_failure("daily_run", DATE, "no", 30, left="x"), compose_alarm("HALTED", DATE, ["why"])):
        assert again(daily.parent.parent, other.kind, other.date, other.recipe) == other


def test_an_id_is_of_what_happened():
    failure = compose_failure("daily_run", DATE, "no prices", 31, left="failed/daily_run/2022-12-28-1")
    assert failure.id == compose_failure("daily_run", DATE, "no prices", 31, left="failed/daily_run/2022-12-28-2").id
    assert failure.id != compose_failure("daily_run", DATE, "no prices", 30).id
    assert failure.id != compose_failure("daily_run", "2022-12-29", "no prices", 31).id
    assert compose_alarm("HALTED", DATE, event="ab").id == compose_alarm("HALTED again", DATE, event="ab").id
    assert compose_alarm("HALTED", DATE, ["x"]).id != compose_alarm("HALTED", DATE, ["y"]).id


def test_a_failure_says_what_why_and_where():
    message = compose_failure("daily_run", DATE, "no price for held AAPL; import one", 30, left="failed/daily_run/d-1")
    assert message.subject == "[openbook] 2022-12-28 · daily_run FAILED (exit 30): no price for held AAPL; import one"
    assert "Output of the failed attempt: failed/daily_run/d-1" in message.text
    told = compose_failure("daily_run", DATE, "no prices (output kept in failed/daily_run/d-1)", 30)
    assert told == compose_failure("daily_run", DATE, "no prices", 30, left="failed/daily_run/d-1")
    long = compose_failure("daily_run", DATE, "word " * 100, 30)
    assert len(long.subject) <= 140
    assert long.text.count("word") > 100


def test_a_halted_run_is_an_alarm(tmp_path):
    message = compose(seal_run(tmp_path, verdict="HALTED: −4% in a day", switch="HALTED"))
    assert message.alarm
    assert 'class="stop"' in message.html


def test_an_alarm_is_for_a_day():
    with pytest.raises(UsageError):
        compose_alarm("HALTED", "../../x")


# ---- the mail ----


def test_a_mail_has_text_html_pictures_and_the_page(daily):
    message = compose(daily)
    mail = as_email(message, sender="openbook <a@b.c>", to=("d@e.f", "g@h.i"), queued=QUEUED)
    parts = [part.get_content_type() for part in mail.walk()]
    assert parts == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
        "text/html",
    ]
    assert mail["Message-ID"] == f"<{message.id[:40]}@openbook>"
    assert mail["Date"] == "Wed, 28 Dec 2022 22:05:00 +0000"
    [image] = [part for part in mail.walk() if part.get_content_type() == "image/png"]
    shown = [attrs for tag, attrs in Outline(message.html).tags if tag == "img"]
    assert [f"<{attrs['src'].removeprefix('cid:')}>" for attrs in shown] == [image["Content-ID"]]
    assert [attrs["alt"] for attrs in shown] == ["the book rose"]
    page = list(mail.iter_attachments())[-1]
    assert page.get_filename() == "openbook-2022-12-28-report.html"
    assert page.get_content() == (daily / "report.html").read_text()


def test_styles_stand_on_the_elements(daily):
    for tag, attrs in Outline(compose(daily).html).tags:
        if tag in BY_TAG or set(BY_CLASS) & set((attrs.get("class") or "").split()):
            assert attrs.get("style"), (tag, attrs)


def test_a_wide_table_has_labels_for_a_phone_and_hides_empty_cells():
    wide = clean_and_inline(table(ORDERS).data["text/html"])
    assert wide.startswith('<table class="wide"')
    assert wide.count('<span class="l" style="display:none">shares</span>') == 2
    assert wide.count('<td class="e"') == 1  # the reason that is empty
    assert "<span" not in clean_and_inline(table(ORDERS[["symbol", "side"]]).data["text/html"])


def test_a_long_table_is_cut_and_says_so():
    frame = pd.DataFrame({"n": range(10_000, 10_300)})
    shown = clean_and_inline(table(frame).data["text/html"])
    assert "10,039" in shown
    assert "10,040" not in shown
    assert shown.endswith("<p>… and 260 more rows on the attached page.</p>")
    assert shown.count("<tr") == shown.count("</tr>") == 41


def test_the_html_stays_below_60_kb(tmp_path):
    big = pd.DataFrame({name: ["some words in a cell"] * 30 for name in "abcdefgh"})
    message = compose(seal_run(tmp_path, *(element_cell(table(big)) for _ in range(9))))
    assert 30_000 < len(message.html.encode()) < LARGEST
    assert "See the attached page for the rest." in message.html
    assert "See the attached page for the rest." in message.text


# ---- what is never in it ----


def test_n05_x03_10000_hostile_strings_break_no_header_and_no_page():
    texts = hostile_texts(10_000)
    for first, second in zip(texts[::2], texts[1::2], strict=True):
        message = compose_failure(first, DATE, second, 70, left=second)
        assert not re.search(r"<script|<img|<!--", message.html, re.IGNORECASE)
        assert re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\ud800-\udfff]", message.subject) is None
        assert re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e\ud800-\udfff]", message.text + message.html) is None
        assert "<!" not in slack_json(message)["text"]
        message.html.encode()


def test_n05_a_hostile_mail_has_only_our_headers():
    for text in hostile_texts(60):
        message = compose_failure(text, DATE, text, 70)
        data = as_email(message, sender="a@b.c", to=("d@e.f",), queued=QUEUED).as_bytes()
        headers = data.partition(b"\r\n\r\n")[0].decode("ascii")
        names = re.findall(r"^([\w-]+):", headers, re.MULTILINE)
        known = {"From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"}
        assert set(names) == known


def test_n05_subjects_are_one_line():
    assert one_line("a\r\nBcc: b") == "a Bcc: b"
    assert one_line("\u202eLPAA") == "LPAA"
    assert one_line("x" * 200) == "x" * 139 + "…"


def test_x03_script_in_ticker_sector_verdict_and_alt_stays_text(tmp_path):
    for number, text in enumerate(hostile_texts(40)):
        text = text.replace("\ud800", "")
        frame = pd.DataFrame([[text] * 6], columns=["symbol", "sector", *"abcd"])
        raw = {"text/html": f"<p onclick='x'>{text}</p><script>bad()</script><style>p{{}}</style>", "text/plain": text}
        cells = [element_cell(table(frame)), element_cell(callout(text, title=text)), mail_cell(raw)]
        cells += [mail_cell({"text/plain": text}), mail_cell({"image/png": "AAAA"}, {"image/png": {"alt": text}})]
        outline = Outline(compose(seal_run(tmp_path / str(number), *cells, verdict=text or "x")).html)
        assert {tag for tag, _ in outline.tags} <= ALLOWED
        names = {name for _, attrs in outline.tags for name in attrs}
        assert not {name for name in names if name.startswith("on") or name == "href"}
        sources = {attrs.get("src", "cid:") for _, attrs in outline.tags}
        assert all(source.startswith("cid:") for source in sources)


def test_the_inliner_closes_what_it_opens():
    for text in hostile_texts(200):
        text = text.replace("\ud800", "")
        inliner = Inliner()
        inliner.feed(f"<table><thead><tr><th>{text}</th></tr></thead><tbody><tr><td>x</td></tr></tbody></table>")
        inliner.close()
        assert inliner.html.count("<td") == inliner.html.count("</td>")


def test_a_secret_in_an_error_is_not_told(monkeypatch):
    monkeypatch.setenv("VENDOR_TOKEN", "s3cr3t-t0ken")
    message = compose_failure("daily_run", DATE, "401 for s3cr3t-t0ken", 30)
    alarm = compose_alarm("s3cr3t-t0ken", DATE, ["s3cr3t-t0ken"])
    assert "s3cr3t" not in repr(replace(message)) + repr(alarm)
    assert "401 for [VENDOR_TOKEN]" in message.subject


def test_a_run_without_tagged_cells_or_notebook_is_told_too(tmp_path):
    folder = seal_run(tmp_path)
    (folder / "daily_run.ipynb").unlink()
    (folder / "report.html").unlink()
    log_runs(tmp_path)
    message = compose(folder)
    assert message.attachment is None
    assert message.text.startswith("7 orders pending approval\n")


def test_the_sentence_below_the_verdict_and_its_look_are_the_pages(tmp_path):
    run = seal_run(tmp_path, verdict="3 orders", sentence="The model did not pass every gate: paper only.", look="warn")
    message = compose(run, head=HEAD)
    assert message.text.startswith("3 orders\n\nThe model did not pass every gate: paper only.")
    assert message.subject.endswith("3 orders")
    plain = compose(seal_run(tmp_path / "b", verdict="3 orders", look="<script>"), head=HEAD)
    assert "script" not in plain.html
