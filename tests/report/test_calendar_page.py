"""The calendar of all runs, and the same on a terminal."""

import html.parser
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import date
from itertools import pairwise

import pytest

from openbook.app.status import status_lines
from openbook.common.errors import DataNotReady
from openbook.report.calendar_page import publish_calendar, render_calendar
from openbook.report.equity_curve import draw_equity
from openbook.report.overview import read_equity, read_overview
from openbook.runs import summaries
from openbook.runs.runs_folder import RunsFolder
from openbook.runs.stage import json_bytes
from openbook.runs.summaries import KNOWN, plain, read_rows
from support.many_runs import write_book, write_day, write_failure, write_history, write_run
from support.small_runs import log_runs, new_stage

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onfocus='alert(1)",
    "</style></title><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "\x1b[2J\x1b]0;owned\x07 gone",
    "\u202egnp.exe",
    "line\nbreak\r\ttab\x00",
    "&lt;b&gt;",
    "\ud800 alone",
]
VOID = {"meta", "line", "polyline", "polygon", "img", "br"}


class Page(html.parser.HTMLParser):
    """What stands on a page: its links, tags, attributes and texts; a tag that is not closed is an error."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.attributes, self.links, self.texts, self._open = [], [], {}, [], []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag == "a":
            self.links.setdefault(dict(attrs)["href"], {}).update(attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" not in self._open:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page(folder) -> Page:
    return Page(render_calendar(folder))


def snapshot(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# ---- the grid ----


@pytest.mark.parametrize(
    ("orders", "switch", "letter"),
    [(3, "ACTIVE", "O"), (0, "ACTIVE", "N"), (3, "REDUCE_ONLY", "R"), (0, "REDUCE_ONLY", "R"), (9, "HALTED", "H")],
)
def test_a_day_has_the_letter_of_its_verdict(tmp_path, orders, switch, letter):
    write_day(tmp_path, "2024-06-10", orders=orders, switch=switch, verdict="as it was")
    link = page(tmp_path).links["daily_run/2024-06-10/report.html"]
    assert link["aria-label"] == f"{letter}, 2024-06-10: as it was"
    log_runs(tmp_path)
    assert f"4 weeks   ····· ····· ····· {letter}   " in "\n".join(status_lines(tmp_path))


@pytest.mark.parametrize("recorded", [{}, {"switch": "ACTIVE"}, {"switch": "active", "orders": 1}, {"switch": None}])
def test_a_verdict_that_is_not_known_is_never_taken_for_a_good_one(tmp_path, recorded):
    write_run(tmp_path, "daily_run", "2024-06-10", **recorded)
    assert page(tmp_path).links["daily_run/2024-06-10/report.html"]["class"] == "odd"


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"recorded": 3}', '{"recorded": null}', "\xff"])
def test_a_run_that_cannot_be_read_is_shown_as_such(tmp_path, text):
    (write_day(tmp_path, "2024-06-10", orders=1) / "run.json").write_text(text, encoding="latin-1")
    assert "run.json cannot be read" in page(tmp_path).links["daily_run/2024-06-10/report.html"]["aria-label"]


def test_orders_that_wait_for_a_person_are_marked(tmp_path):
    write_day(tmp_path, "2024-06-10", orders=3, verdict="3 orders for 11 June")
    lines = [
        "live book: ACTIVE, cash 5.00 USD",
        "  orders of 2024-06-10: 2 PENDING, 1 APPROVED; approval deadline x",
    ]
    write_book(tmp_path, lines, kind="live")
    shown = page(tmp_path)
    assert shown.links["daily_run/2024-06-10/report.html"]["class"] == "pending"
    assert "3 orders for 11 June, waiting for approval" in shown.text
    shutil.rmtree(tmp_path / "books")
    write_book(tmp_path, [line.replace("2 PENDING, 1", "3") for line in lines], kind="live")
    assert page(tmp_path).links["daily_run/2024-06-10/report.html"]["class"] == "orders"


def test_a_failed_day_leads_to_what_it_left_until_a_run_is_sealed(tmp_path):
    write_failure(tmp_path, "2024-06-10-1", ("DataNotReady", "no bars"))
    write_failure(tmp_path, "2024-06-10-2", ("DataError", "gap"))
    day = page(tmp_path).links["failed/daily_run/2024-06-10-2/"]
    assert day["aria-label"] == "F, 2024-06-10: failed: DataError: gap"
    assert read_overview(tmp_path).days()["2024-06-10"].summary == "DataError: gap"
    assert "last      daily_run 2024-06-10: failed: DataError: gap" in status_lines(tmp_path)
    write_day(tmp_path, "2024-06-10")
    shown = page(tmp_path)
    assert shown.links["daily_run/2024-06-10/report.html"]["class"] == "nothing"
    assert {"failed/daily_run/2024-06-10-1/", "failed/daily_run/2024-06-10-2/"} <= set(shown.links)  # in their table
    assert "DataNotReady: no bars" in shown.text


def test_the_newest_version_of_a_day_is_the_one_that_counts(tmp_path):
    write_day(tmp_path, "2024-06-10", orders=3)
    for version in (2, 10):
        write_day(tmp_path, f"2024-06-10.{version}")
    assert read_overview(tmp_path).days()["2024-06-10"].page == "daily_run/2024-06-10.10/report.html"


def test_the_grid_is_a_table_of_every_day_of_the_year(tmp_path):
    for day in ("2024-02-29", "2024-12-31", "2023-01-01"):  # the last is a Sunday
        write_day(tmp_path, day)
    text = render_calendar(tmp_path)
    grids = re.findall(r'<table class="year">.*?</table>', text, re.DOTALL)
    assert [re.search(r"Daily runs of (\d+)", grid)[1] for grid in grids] == ["2024", "2023"]
    for grid, days in zip(grids, (366, 365), strict=True):
        assert grid.count("<td></td>") == 12 * 31 - days + 1  # and the corner
        assert grid.count('scope="col"') == 31
        assert grid.count('scope="row"') == 12
        assert "<caption>" in grid
    weekend = sum(
        date.fromordinal(n).weekday() > 4 for n in range(date(2023, 1, 1).toordinal(), date(2024, 1, 1).toordinal())
    )
    assert grids[1].count('class="we"') == weekend - 1


def test_other_notebooks_have_rows_of_their_own(tmp_path):
    write_day(tmp_path, "2024-06-10")
    for notebook in ("train_candidates", "compare", "select_champion"):
        write_run(tmp_path, notebook, "2024-06-07", verdict=f"{notebook} is done")
    shown = page(tmp_path)
    assert shown.links["compare/2024-06-07/report.html"]["href"]
    assert "compare is done" in shown.text
    assert "compare: 1 sealed, the last of 2024-06-07" in status_lines(tmp_path)


def test_a_run_without_a_page_leads_to_its_folder(tmp_path):
    (write_day(tmp_path, "2024-06-10") / "report.html").unlink()
    assert "daily_run/2024-06-10/" in page(tmp_path).links


def test_folders_that_are_no_runs_are_left_out(tmp_path):
    write_day(tmp_path, "2024-06-10")
    before = render_calendar(tmp_path)
    write_day(tmp_path, "2024-02-30")
    write_failure(tmp_path, "2024-99-99-1")
    write_failure(tmp_path, "2024-06-10-1", notebook="<script>")
    (tmp_path / "failed" / "daily_run").joinpath("2024-06-10-7").write_text("a file")
    assert render_calendar(tmp_path) == before


# ---- why a run failed ----


def test_what_was_noted_of_a_failure_comes_before_what_its_notebook_says(runs):
    stage = new_stage(runs)
    left = runs.fail(stage, DataNotReady("no bars for <today>"))
    assert json.loads((left / "failure.json").read_bytes()) == {"exit_code": 31, "why": "no bars for <today>"}
    assert read_rows(runs.folder)[0].summary == "no bars for <today> (exit code 31)"


def test_a_note_that_the_disk_refuses_hides_no_error(runs, stage):
    (stage.folder / "failure.json").mkdir()
    left = runs.fail(stage, DataNotReady("no bars"))
    assert (left / "failure.json").is_dir()
    assert read_rows(runs.folder)[0].summary == "failure.json cannot be read"


@pytest.mark.parametrize("text", HOSTILE)
def test_x03_any_error_can_be_noted(runs, stage, text):
    runs.fail(stage, DataNotReady(text))
    assert read_rows(runs.folder)[0].summary == f"{plain(text)} (exit code 31)"


def test_a_failure_without_a_note_or_an_error_says_so(tmp_path):
    write_failure(tmp_path, "2024-06-10-1")
    (write_failure(tmp_path, "2024-06-11-1") / "daily_run.ipynb").unlink()
    (write_failure(tmp_path, "2024-06-12-1") / "daily_run.ipynb").write_text("{}")
    (write_failure(tmp_path, "2024-06-13-1") / "failure.json").write_text("[]")
    assert [row.summary for row in read_rows(tmp_path)] == [
        "interrupted; no error was recorded",
        "interrupted before its first cell",
        "the notebook of this attempt cannot be read",
        "failure.json cannot be read",
    ]


def test_an_attempt_that_waits_is_no_failure_until_its_time_is_over(tmp_path):
    runs, late = RunsFolder(tmp_path), DataNotReady("no bars")
    write_day(tmp_path, "2024-06-10")
    for tried in ("2024-06-11 21:00 UTC", "2024-06-11 21:30 UTC"):
        runs.wait("daily_run", "2024-06-11", late, tried=tried, until="2024-06-12 11:30 UTC")
    (row,) = [row for row in read_rows(tmp_path) if row.date == "2024-06-11"]
    assert row.kind == "notyet"
    assert "until 2024-06-12 11:30 UTC; last tried 2024-06-11 21:30 UTC; no bars" in row.summary
    assert runs.waits("daily_run")[0] == "2024-06-11"
    runs.wait("daily_run", "2024-06-11", late, tried="2024-06-12 11:30 UTC", until="2024-06-12 11:30 UTC")
    (row,) = [row for row in read_rows(tmp_path) if row.date == "2024-06-11"]
    assert (row.kind, row.summary) == ("failed", "no bars (exit code 31)")
    write_failure(tmp_path, "2024-06-11-2", ("DataError", "bad"))
    assert runs.waits("daily_run") is None
    runs.wait("daily_run", "2024-06-11", late, tried="2024-06-12 10:00 UTC", until="2024-06-12 11:30 UTC")
    assert runs.waits("daily_run")[1]["tried"] == "2024-06-12 10:00 UTC"
    assert len(read_rows(tmp_path)) == 4  # what failed otherwise stays
    write_day(tmp_path, "2024-06-12")
    assert runs.waits("daily_run") is None


# ---- the head ----


def test_the_head_says_how_things_stand(tmp_path):
    write_history(tmp_path, 30)
    write_book(tmp_path, ["live book: HALTED (loss), cash 1.00 USD"], kind="live")
    (tmp_path / "books" / "live" / "views.json").write_bytes(json_bytes({"performance_history.csv": ["0" * 64]}))
    text = render_calendar(tmp_path)
    assert '<div class="callout stop">\n<p class="title"><strong>live book: HALTED (loss)' in text
    assert '<div class="callout ok">\n<p class="title"><strong>paper book: kill switch not tripped (ACTIVE)' in text
    assert "Edited by hand: performance_history.csv" in text
    assert "ridge × hrp, selected 2019-01-02, abababababab, passed every gate" in text


def test_an_empty_folder_has_a_page_too_and_a_question_creates_nothing(tmp_path):
    shown = page(tmp_path / "runs")
    assert "No run yet." in shown.text
    assert "No book yet." in shown.text
    assert not (tmp_path / "runs").exists()


def test_what_is_broken_is_said_and_keeps_nothing_else_from_the_page(tmp_path):
    write_history(tmp_path, 30)
    (tmp_path / "production" / "champion.json").write_text("{")
    (tmp_path / "books" / "paper" / "summary.json").write_text("{")
    (tmp_path / "books" / "paper" / "performance_history.csv").write_text("date,equity\n2024-06-10,1\n")
    shown = page(tmp_path)
    assert "champion.json cannot be read" in shown.text
    assert "champion.json cannot be read" in "\n".join(status_lines(tmp_path))
    assert "cannot read summary.json" in shown.text
    assert "cannot read its published history: 2024-06-10 has no equity or no daily return" in shown.text
    assert "daily_run/2019-01-02/report.html" in shown.links


def test_champions_newest_first_with_rollbacks(tmp_path):
    write_history(tmp_path, 3)
    entries = [
        {"sha256": letter * 64, "metadata": {"model": f"model_{letter}", "optimizer": "hrp", "selected": "2019-01-02"}}
        for letter in "ab"
    ]
    back = {"who": "Ann <x>", "reason": "it loses", "when": "2019-02-01 20:46:00 UTC", "from": "b" * 64}
    entries.append({**entries[0], "rollback": back})
    content = json_bytes({**entries[-1], "history": entries})
    (tmp_path / "production" / "champion.json").write_bytes(content)
    table = page(tmp_path).text.partition("Champion history, newest first")[2]
    assert re.findall(r"model_[ab]", table) == ["model_a", "model_b", "model_a"]
    assert "2019-02-01 model_a × hrp no: paper only restored by a rollback by Ann <x>: it loses" in table
    assert "selected, paper only, rolled back later" in table


# ---- equity ----


def test_drawdown_leaves_deposits_out_and_equity_keeps_them(tmp_path):
    history = [("2024-06-10", 100.0, 0.0), ("2024-06-11", 90.0, -0.1), ("2024-06-12", 190.0, 0.0)]
    history += [("2024-06-13", 228.0, 0.2), ("2024-06-14", 205.2, -0.1)]
    points = read_equity(write_book(tmp_path, ["paper book: ACTIVE"], history))
    assert [equity for _, equity, _ in points] == [100, 90, 190, 228, 205.2]
    assert [fall for *_, fall in points] == pytest.approx([0, -0.1, -0.1, 0, -0.1])


@pytest.mark.parametrize("value", ["nan", "inf", "", "abc", "-inf"])
def test_a_history_with_a_hole_is_not_drawn(tmp_path, value):
    place = write_book(tmp_path, [], [("2024-06-10", 1.0, 0.0), ("2024-06-11", 2.0, 0.0)])
    file = place / "performance_history.csv"
    file.write_text(file.read_text().replace("2.0,", f"{value},"))
    with pytest.raises(ValueError):
        read_equity(place)
    assert "<svg" not in render_calendar(tmp_path)


def test_the_drawing_goes_through_its_points():
    curve = draw_equity([("2024-06-10", 100.0, 0.0), ("2024-06-11", 50.0, -0.5), ("2024-06-12", 100.0, 0.0)])
    assert curve.equity.line == "0.0,5.36 500.0,94.64 1000.0,5.36"  # 6% of the span above and below: 3 of 56
    assert curve.drawdown.line == "0.0,0.00 500.0,92.59 1000.0,0.00"  # the axis ends at 1.08 × 0.5
    assert curve.equity.ticks == [("76.8", "60"), ("41.1", "80"), ("5.4", "100")]
    assert curve.dates == ["2024-06-10", "2024-06-11", "2024-06-12"]
    assert curve.words.endswith("3 sessions. Maximum drawdown −50.00%, on 2024-06-11.")


@pytest.mark.parametrize("equity", [(0.0, 0.0), (1e5, 1e5), (-5.0, 3.0), (1e12, 1e12 + 0.01)])
def test_flat_and_odd_curves_are_drawn(equity):
    curve = draw_equity([("2024-06-10", equity[0], 0.0), ("2024-06-11", equity[1], 0.0)])
    heights = [float(point.partition(",")[2]) for point in curve.equity.line.split()]
    assert all(0 <= height <= 100 for height in heights)
    assert curve.words.endswith("Maximum drawdown 0.00%.")


def test_the_drawing_has_a_title_and_says_what_it_shows(tmp_path):
    write_history(tmp_path, 30)
    text = render_calendar(tmp_path)
    assert text.count('role="img"') == text.count("<desc") == 2
    assert '<title id="equity-paper-t">Equity of the paper book</title>' in text


# ---- X03: hostile text ----


@pytest.mark.parametrize("text", HOSTILE)
def test_x03_hostile_text_is_only_ever_text(tmp_path, text):
    quiet, loud = tmp_path / "quiet", tmp_path / "loud"
    for folder, said in ((quiet, "quiet"), (loud, text)):
        write_day(folder, "2024-06-10", orders=1, verdict=said)
        write_day(folder, "2024-06-11", verdict=said, switch="HALTED")
        write_run(folder, "compare", "2024-06-10", verdict=said)
        write_failure(folder, "2024-06-12-1", (said, said))
        summary = [f"paper book: HALTED ({said}), cash 1.00 USD", f"  {said}"]
        place = write_book(folder, [], [("2024-06-10", 1.0, 0.0), ("2024-06-11", 2.0, 0.5)])
        (place / "summary.json").write_text(json.dumps(summary))
        (place / "views.json").write_text(json.dumps({}))
        card = {"model": said, "optimizer": said, "selected": said, "vetted": said}
        back = {"who": said, "reason": said, "when": said, "from": "a" * 64}
        entry = {"sha256": "a" * 64, "metadata": card, "rollback": back}
        (folder / "production" / ("a" * 64)).mkdir(parents=True)
        (folder / "production" / "champion.json").write_text(json.dumps({**entry, "history": [entry]}))
    calm, shown = page(quiet), page(loud)
    assert shown.tags == calm.tags
    assert [(tag, name) for tag, name, _ in shown.attributes] == [(tag, name) for tag, name, _ in calm.attributes]
    assert list(shown.links) == list(calm.links)
    assert plain(text) in shown.text
    assert all(line.isprintable() for line in status_lines(loud))
    publish_calendar(loud)


def test_x03_the_page_asks_for_nothing_from_elsewhere(tmp_path):
    write_history(tmp_path, 30)
    text = render_calendar(tmp_path)
    shown = Page(text)
    assert "default-src 'none'; style-src 'unsafe-inline'" in text
    assert not {"script", "iframe", "object", "embed", "link", "base", "form", "img"} & set(shown.tags)
    assert not [name for _, name, _ in shown.attributes if name.startswith("on") or name in ("src", "srcset")]
    assert not re.search(r"url\(|@import|https?:", text)
    assert all(re.fullmatch(r"#\w+|[a-z_]+/[\w./-]+", href) for href in shown.links)


def test_every_link_leads_to_something(tmp_path):
    write_history(tmp_path, 200)
    text = render_calendar(tmp_path)
    shown = Page(text)
    ids = [value for _, name, value in shown.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    for href in shown.links:
        assert href[1:] in ids if href.startswith("#") else (tmp_path / href).exists()
    labeled = {part for _, name, value in shown.attributes if name == "aria-labelledby" for part in value.split()}
    assert labeled <= set(ids)


def test_headings_are_in_order(tmp_path):
    write_history(tmp_path, 300)
    levels = [int(tag[1]) for tag in page(tmp_path).tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


# ---- what is kept ----


def test_the_same_runs_give_the_same_bytes_whatever_was_kept(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    write_history(a, 120)
    shutil.copytree(a, b)
    os.utime(b / "daily_run" / "2019-01-03" / "run.json", (1, 1))
    write_day(a, "2024-06-10", orders=2)
    publish_calendar(b)
    write_day(b, "2024-06-10", orders=2)
    pages = [publish_calendar(a).read_bytes() for _ in range(2)]
    (a / KNOWN).unlink()
    pages += [publish_calendar(a).read_bytes(), publish_calendar(b).read_bytes(), render_calendar(a).encode()]
    assert len(set(pages)) == 1


def test_a_run_is_read_once(tmp_path, monkeypatch):
    write_history(tmp_path, 60)
    publish_calendar(tmp_path)
    write_day(tmp_path, "2024-06-10")
    write_failure(tmp_path, "2024-06-11-1")
    looked = []
    read = summaries._read
    monkeypatch.setattr(summaries, "_read", lambda path, notebook: looked.append(path.name) or read(path, notebook))
    publish_calendar(tmp_path)
    assert looked == ["2024-06-10", "2024-06-11-1"]
    publish_calendar(tmp_path)
    assert len(looked) == 2


def test_a_run_that_was_exchanged_is_read_again(tmp_path):
    file = write_day(tmp_path, "2024-06-10", orders=3) / "run.json"
    publish_calendar(tmp_path)
    file.write_text(file.read_text().replace('"ACTIVE"', '"HALTED"').replace("3 orders", "4 orders"))
    os.utime(file, ns=(1, 1))
    assert page(tmp_path).links["daily_run/2024-06-10/report.html"]["class"] == "halted"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null",
     '{"schema_version": 1}', '{"schema_version": 2, "rows": {}}', '{"schema_version":1,"rows":[]}',
     '{"schema_version": 1, "rows": {"daily_run/2019-01-02": [1, 2]}}',
     '{"schema_version": 1, "rows": {"daily_run/2019-01-02": 3}}',
     '{"schema_version": 1, "rows": {"daily_run/2019-01-02": [1, 2, 3, 4, 5]}}'],
)  # fmt: skip
def test_kept_rows_that_cannot_be_read_cost_time_only(tmp_path, text):
    write_history(tmp_path, 30)
    expected = publish_calendar(tmp_path).read_bytes()
    (tmp_path / KNOWN).write_text(text)
    assert publish_calendar(tmp_path).read_bytes() == expected


def test_a_run_that_is_gone_is_forgotten(tmp_path):
    write_history(tmp_path, 30)
    publish_calendar(tmp_path)
    shutil.rmtree(tmp_path / "daily_run" / "2019-01-02")
    publish_calendar(tmp_path)
    assert "daily_run/2019-01-02" not in (tmp_path / KNOWN).read_text()


def test_status_and_a_look_at_the_page_write_nothing(tmp_path):
    write_history(tmp_path, 30)
    before = snapshot(tmp_path)
    status_lines(tmp_path)
    render_calendar(tmp_path)
    assert snapshot(tmp_path) == before
    publish_calendar(tmp_path)
    assert set(snapshot(tmp_path)) - set(before) == {"index.html", KNOWN}


def test_the_page_needs_nothing_heavy(tmp_path):
    write_history(tmp_path, 30)
    script = (
        "import sys\n"
        "from openbook.report.calendar_page import publish_calendar\n"
        f"publish_calendar({str(tmp_path)!r})\n"
        "print([name for name in ('pandas', 'numpy', 'nbconvert', 'matplotlib', 'IPython') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_n02_a_thousand_runs_are_a_page_of_a_few_hundred_kilobytes(tmp_path):
    write_history(tmp_path, 1000)
    assert len(render_calendar(tmp_path).encode()) < 300 * 1024


# ---- the strip on the terminal ----


def test_the_strip_is_four_weeks_that_end_with_the_last_run(tmp_path):
    for day, orders in (("2024-05-17", 1), ("2024-05-20", 1), ("2024-06-01", 0), ("2024-06-12", 2)):
        write_day(tmp_path, day, orders=orders)
    write_failure(tmp_path, "2024-06-11-1")
    log_runs(tmp_path)
    lines = status_lines(tmp_path)
    strip = next(i for i, line in enumerate(lines) if line.startswith("4 weeks"))
    # 17 May lies before the four weeks; 1 June is a Saturday
    assert lines[strip] == "4 weeks   O···· ·····N ····· ·FO   Mondays from 2024-05-20 on"
    assert lines[strip + 1] == "          O orders, N no orders, F failed"


@pytest.mark.parametrize(
    ("value", "line"), [("a\n b", "a b"), ("\x1b[31mred", "[31mred"), (None, "None"), ("x" * 400, "x" * 299 + "…")]
)
def test_plain_is_one_printable_line(value, line):
    assert plain(value) == line
