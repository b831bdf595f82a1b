"""The page and what it is made of; notebooks are written as if executed, so that no kernel is needed."""

import base64
import io
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from openbook.common.errors import UsageError
from openbook.report.page import PALETTE, bar, callout, chart, facts, figure, render_report, table
from support.small_runs import DATE, hostile_texts, new_stage

SCRIPT = "<script>alert(1)</script>"


def shown(element) -> nbformat.NotebookNode:
    """What IPython makes of an element that is the last line of a cell."""
    data, metadata = element._repr_mimebundle_()
    return new_output("display_data", data=data, metadata=metadata)


def page(tmp_path, *cells) -> str:
    """The page of a notebook whose cells are markdown texts or outputs, each alone or as (tags, it)."""
    made = []
    for number, cell in enumerate(cells):
        tags, output = cell if isinstance(cell, tuple) else ([], cell)
        if isinstance(output, str):
            made.append(new_markdown_cell(output, metadata={"tags": tags}, id=f"c{number}"))
            continue
        source = "secret_code()"
        made.append(new_code_cell(source, outputs=[output], metadata={"tags": tags}, id=f"c{number}"))
    path = tmp_path / "daily_run.ipynb"
    nbformat.write(new_notebook(cells=made), path)
    return render_report(path)


class Outline(HTMLParser):
    """Every tag of a page with its attributes, and its text outside of style."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.text, self._inside = [], "", ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data):
        self.text += data if self._inside != "style" else ""

    def names(self) -> set[str]:
        """The names of the tags."""
        return {name for name, _ in self.tags}


# ---- the page ----


def test_a_page_needs_nothing_else(tmp_path):
    fig, ax = chart()
    ax.plot([1, 2])
    html = page(
        tmp_path,
        "# The daily page\n\nWords with a [link](https://example.com), [another](//example.com), [a file](run.json).",
        shown(figure(fig, "a line")),
        shown(table(pd.DataFrame({"a": [1]}))),
    )
    outline = Outline(html)
    policies = [a["content"] for _, a in outline.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    assert not outline.names() & {"script", "link", "iframe", "object", "form", "svg", "base"}
    assert not re.search(r"https?:|//example|@import|url\(", html)
    assert [a["href"] for _, a in outline.tags if "href" in a] == ["run.json"]
    assert not any(name.startswith("on") or name == "style" for _, a in outline.tags for name in a)
    assert {"html", "main", "h1", "figure", "table", "meta"} <= outline.names()
    assert ("html", {"lang": "en"}) in outline.tags
    assert "<title>The daily page</title>" in html
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


def test_code_and_prints_are_not_on_the_page_and_errors_are(tmp_path):
    html = page(
        tmp_path,
        "# Page",
        new_output("stream", name="stdout", text="printed"),
        new_output("stream", name="stderr", text="warned"),
        (["no-report"], shown(callout("left out"))),
        new_output("error", ename="DataError", evalue=f"no price for {SCRIPT}", traceback=["File secret.py"]),
        new_output("execute_result", data={"text/plain": "Timestamp <now>"}, execution_count=1),
        new_output("display_data", data={"application/scrapbook.scrap.json+json": {"name": "n"}}),
    )
    text = Outline(html).text
    for hidden in ("secret", "printed", "warned", "left out", "scrap"):
        assert hidden not in text
    assert f"DataError: no price for {SCRIPT}" in text
    assert "Timestamp <now>" in text


def test_the_verdict_stands_below_the_title(tmp_path):
    verdict = (["verdict"], shown(callout("7 orders", "ok", title="Ready")))
    text = Outline(page(tmp_path, "# Page", "## 1. First", "## 2. Second", verdict)).text
    assert text.index("Page") < text.index("Ready") < text.index("1. First")


def test_the_verdict_stands_before_the_words_that_introduce_the_page(tmp_path):
    verdict = (["verdict"], shown(callout("7 orders", "ok", title="Ready")))
    text = Outline(page(tmp_path, "# Page\n\nWhat this is.\n\nAnd why.", "## First", verdict)).text
    found = [text.index(part) for part in ("Page", "Ready", "What this is.", "And why.", "First")]
    assert found == sorted(found)


def test_the_plain_form_of_a_table_has_the_same_formats_and_nothing_is_minus_zero():
    frame = pd.DataFrame({"symbol": ["AAPL", "MRK"], "notional": [4408.168, np.nan], "weight": [-0.000004, -0.044637]})
    made = table(frame, {"notional": ",.0f", "weight": "+.2%"})
    lines = [line.split() for line in made.data["text/plain"].splitlines()]
    assert lines == [["symbol", "notional", "weight"], ["AAPL", "4,408", "+0.00%"], ["MRK", "–", "−4.46%"]]
    assert "+0.00%" in made.data["text/html"]


def test_numbers_in_words_have_a_real_minus_and_hyphens_stay():
    said = "sharpe -0.006 (low, -.5), BRK-B of 2022-12-28, 30-day, x -y; -2 of 3"
    told = "sharpe −0.006 (low, −.5), BRK-B of 2022-12-28, 30-day, x -y; −2 of 3"
    row = pd.DataFrame({"story": [said]})
    for element in (callout(said), facts({"What": said}), table(row), callout("", title=said)):
        assert told in element.data["text/html"]


def test_the_page_has_the_order_of_its_notebook(tmp_path):
    cells = ["# Page", "Words.", "## First", "Of the first.", "## Second", shown(callout("of the second"))]
    text = Outline(page(tmp_path, *cells, (["page-1"], "## Last"))).text
    order = ["Page", "Words.", "First", "Of the first.", "Second", "of the second", "Last"]
    found = [text.index(part) for part in order]
    assert found == sorted(found)


def test_the_foot_says_where_the_page_came_from(runs, tmp_path):
    stage = new_stage(runs)
    stage.finish()
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Page", id="a")]), stage.folder / "daily_run.ipynb")
    html = render_report(stage.folder / "daily_run.ipynb")
    text = " ".join(Outline(html).text.split())
    assert f"<title>Page · {DATE}</title>" in html
    assert f"Session {DATE}" in text
    assert "Profile demo" in text
    assert "Hash of all inputs (sha256, first 12 digits) abababababab" in text
    assert str(tmp_path) not in html


def test_the_same_notebook_gives_the_same_bytes(tmp_path):
    cells = ["# Page", shown(table(pd.DataFrame({"a": [1.5]}))), shown(callout("x"))]
    assert page(tmp_path, *cells) == page(tmp_path, *cells)


def test_what_cannot_be_read_is_an_error(tmp_path):
    for text in (None, "no json"):
        if text:
            (tmp_path / "x.ipynb").write_text(text)
        with pytest.raises(UsageError, match="cannot read"):
            render_report(tmp_path / "x.ipynb")


def test_markdown_as_written(tmp_path):
    source = (
        "# Page\n\n> quoted\n\n`a < b & c`\n\nfrom $5 to **$6**\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n![pic](x.png)"
    )
    html = page(tmp_path, source)
    for part in ("<blockquote>", "<code>a &lt; b &amp; c</code>", "<strong>$6</strong>", "<td>1</td>"):
        assert part in html
    assert "<img" not in html
    assert "¶" not in html


# ---- X03 ----


def test_x03_a_script_is_visible_text_wherever_it_comes_from(tmp_path):
    frame = pd.DataFrame({SCRIPT: [SCRIPT], "n": [1]}, index=pd.Index([SCRIPT], name=SCRIPT))
    fig, _ = chart(2, 1)
    html = page(
        tmp_path,
        f"# Title {SCRIPT}\n\n{SCRIPT} [x](javascript:alert(1)) <img src=x onerror=alert(1)>\n\n`{SCRIPT}`",
        shown(table(frame, caption=SCRIPT, highlight=[SCRIPT])),
        shown(callout(SCRIPT, title=SCRIPT)),
        shown(facts({SCRIPT: SCRIPT})),
        shown(figure(fig, f'"><img src=x onerror=alert(1)>{SCRIPT}')),
        new_output("display_data", data={"text/html": frame._repr_html_()}),
        new_output("display_data", data={"text/html": f'{SCRIPT}<p onclick="alert(1)" style="color:red">p</p>'}),
        new_output("display_data", data={"text/html": f"<style>p{{}}</style>{SCRIPT}<sty<style></style>le>"}),
        new_output("display_data", data={"text/html": '<p class="callout evil">p</p><a href="data:text/html,x">a</a>'}),
        new_output("display_data", data={"text/html": '<iframe src="x"></iframe><svg onload=alert(1)>'}),
        new_output("display_data", data={"text/markdown": f"{SCRIPT} [x](javascript:alert(1))"}),
        new_output("display_data", data={"image/svg+xml": f"<svg>{SCRIPT}</svg>"}),
        new_output("display_data", data={"application/javascript": "alert(1)"}),
        new_output("display_data", data={"image/png": '"><script>alert(1)</script>'}, metadata={}),
        new_output("error", ename=SCRIPT, evalue=SCRIPT, traceback=[SCRIPT]),
    )
    outline = Outline(html)
    assert not outline.names() & {"script", "svg", "iframe"}
    assert [name for name, _ in outline.tags].count("style") == 1  # ours
    attributes = {(tag, name) for tag, values in outline.tags for name in values}
    assert not {name for _, name in attributes} & {"onclick", "onerror", "onload", "style"}
    assert not any("evil" in values.get("class", "") for _, values in outline.tags)
    assert not any(values["href"] for _, values in outline.tags if values.get("href"))
    assert outline.text.count(SCRIPT) >= 12


def test_x03_10000_hostile_strings_leave_the_tags_of_a_harmless_page(tmp_path):
    """Ticker, sector, column, caption, fact, title and error text: whatever they hold, the page is built the same."""
    texts = [text.replace("\ud800", "") for text in hostile_texts(10_000)]

    def built(words: list[str]) -> Outline:
        frame = pd.DataFrame({"symbol": words[:4000], "sector": words[4000:8000], "n": 1.0})
        columns = pd.DataFrame([range(500)], columns=[f"{i}{word}" for i, word in enumerate(words[8000:8500])])
        named = facts({f"{i}{word}": word for i, word in enumerate(words[8500:9000])})
        titles = [shown(callout("text", title=f"t{word}")) for word in words[9000:9400]]
        captions = [shown(table(frame[:1], caption=f"c{word}")) for word in words[9400:9800]]
        errors = [new_output("error", ename=word, evalue=word, traceback=[word]) for word in words[9800:]]
        outputs = [shown(table(frame)), shown(table(columns)), shown(named), *titles, *captions, *errors]
        return Outline(page(tmp_path, "# Title", *outputs))

    hostile, harmless = built(texts), built(["A" * len(text) for text in texts])
    for outline in (hostile, harmless):
        spoken = [values.pop("aria-label", None) for _, values in outline.tags]  # a caption, as text
    assert spoken.count(None) < len(spoken)
    assert hostile.tags == harmless.tags
    assert hostile.text.count("<script>") > 1000


# ---- elements ----


def test_table_by_hand():
    frame = pd.DataFrame(
        {
            "symbol": ["AAPL", None],
            "shares": [-1200, 3],
            "weight_change": [-0.031, 0.0],
            "price": [np.nan, 193.789],
            "day": pd.to_datetime(["2022-12-28", None]),
            "ok": [True, False],
        }
    )
    html = table(frame, {"weight_change": "+.1%"}, caption="Orders", highlight=["weight_change", "ok"]).data[
        "text/html"
    ]
    body = re.sub(r"<style.*?</style>", "", html, flags=re.DOTALL)
    rows = [re.findall(r"<t[dh].*?class=\"(.*?)\">(.*?)</t[dh]>", row) for row in body.split("<tr>")[1:]]
    assert [text for _, text in rows[0]] == ["symbol", "shares", "weight change", "price", "day", "ok"]
    assert rows[1] == [
        ("text", "AAPL"),
        ("num", "−1,200"),
        ("num neg", "−3.1%"),
        ("num", "–"),
        ("text", "2022-12-28"),
        ("text pos", "yes"),
    ]
    assert rows[2] == [
        ("text", "–"),
        ("num", "3"),
        ("num", "+0.0%"),
        ("num", "193.79"),
        ("text", "–"),
        ("text neg", "no"),
    ]
    assert "<caption>Orders</caption>" in html


def test_table_shows_a_meaningful_index_and_refuses_unknown_columns():
    weights = pd.Series([0.5, 0.5], index=["AAPL", "CASH"], name="weight").to_frame()
    assert "AAPL" in table(weights).data["text/html"]
    assert "<td" in table(weights.reset_index(drop=True)).data["text/html"]
    with pytest.raises(UsageError, match="no column wieght"):
        table(weights, {"wieght": ".1%"})
    with pytest.raises(UsageError, match="no column price"):
        table(weights, highlight=["price"])


def test_figure_is_small_crisp_closed_and_says_what_it_shows():
    fig, ax = chart(8, 3.5)
    days = pd.bdate_range("2018-01-01", periods=1200)
    ax.plot(days, np.cumsum(np.random.default_rng(0).normal(size=1200)), label="market")
    ax.legend()
    data, metadata = figure(fig, "Market level")._repr_mimebundle_()
    png = base64.b64decode(data["image/png"])
    image = Image.open(io.BytesIO(png))
    assert image.size == (1024, 448)
    assert metadata == {"image/png": {"alt": "Market level", "width": 768, "height": 336}}
    assert len(image.getcolors()) <= 64
    assert image.info == {}  # no software, no time
    assert len(png) < 60_000
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_the_same_figure_gives_the_same_bytes():
    made = []
    for _ in range(2):
        fig, axes = chart(6, 3, rows=2, heights=(2, 1))
        axes[0].plot([1, 3, 2], color=PALETTE["main"])
        axes[1].bar([1, 2], [3, 4], color=PALETTE["series"][1])
        made.append(figure(fig, "two axes").data["image/png"])
    assert made[0] == made[1]


def test_a_figure_without_words_is_refused():
    fig, _ = chart(2, 1)
    with pytest.raises(UsageError, match="alt text"):
        figure(fig, " ")


def test_a_bar_moves_for_who_watches_and_is_nothing_for_a_headless_run(capsys):
    assert bar("Folds", shown=False) is None
    move = bar("Folds", shown=True)
    for done in (1, 3):
        move(done, 3, "the label of what was done")
    assert re.search(r"Folds: +100%.* 3/3 ", capsys.readouterr().err)


def test_a_callout_of_no_kind_is_refused():
    with pytest.raises(UsageError, match="choose from note, ok, warn, stop"):
        callout("x", "danger")


def test_the_template_is_in_the_package():
    import openbook.report.page as report

    folder = Path(report.__file__).parent / "templates" / "report"
    assert {path.name for path in folder.iterdir()} == {"conf.json", "index.html.j2", "style.css"}
    assert json.loads((folder / "conf.json").read_text())["mimetypes"] == {"text/html": True}
