"""The nbconvert exporter of a page; imported only when one is rendered, because nbconvert takes 0.5 s to import.

The page has only the tags, attributes and classes that are listed here.
"""

import re
from functools import cache, lru_cache
from pathlib import Path

from nbconvert.exporters.templateexporter import TemplateExporter
from nbconvert.filters.markdown_mistune import BlockParser, InlineParser, IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors.base import Preprocessor
from nbconvert.preprocessors.sanitize import SanitizeHTML
from nbformat import NotebookNode

TEMPLATES = Path(__file__).parent / "templates"
LEFT_OUT = {"no-report", "papermill-error-cell-tag"}
VERDICT = "verdict"
TAGS = [
    *("a", "b", "blockquote", "br", "caption", "code", "col", "colgroup", "dd", "del", "div", "dl", "dt", "em", "h1"),
    *("h2", "h3", "h4", "h5", "h6", "hr", "i", "li", "ol", "p", "pre", "s", "small", "span", "strong", "sub", "sup"),
    *("table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul"),
]
CLASSES = {"callout", "note", "ok", "warn", "stop", "title", "facts", "fact", "label", "value"}  # made by `elements`
CLASSES |= {"num", "text", "long", "pos", "neg", "empty", "ob-table"}
KEPT = 512  # pieces of HTML that were cleaned and are remembered: the prose of every page, the tables of its mail
_STYLE = re.compile(r"<style\b[^>]*>.*?</style\s*>", re.DOTALL | re.IGNORECASE)
_INSIDE = re.compile(r"#[\w-]*|[\w][\w./-]*", re.ASCII)  # a link into this page or to a file beside it


class ReportExporter(TemplateExporter):
    """A notebook as a page: words and outputs."""

    def __init__(self):
        super().__init__(
            file_extension=".html",
            template_name="report",
            extra_template_basedirs=[str(TEMPLATES)],
            default_preprocessors=[],
            preprocessors=[Arrange, Clean],
        )

    def default_filters(self):
        """Markdown goes through the same cleaning as every other output."""
        yield from super().default_filters()
        yield "markdown2html", render_markdown


@cache
def exporter() -> ReportExporter:
    """The one of this process; what it compiles of the template takes as long as a page."""
    return ReportExporter()


class Arrange(Preprocessor):
    """Leave out what is tagged `no-report`, and put what is tagged `verdict` right below the title, before the words
    that introduce the page; everything else has the order of the notebook."""

    enabled = True

    def preprocess(self, nb, resources):
        """See nbconvert."""
        cells = [cell for cell in nb.cells if not LEFT_OUT & set(cell.metadata.get("tags", []))]
        verdict = [cell for cell in cells if VERDICT in cell.metadata.get("tags", [])]
        rest = [cell for cell in cells if VERDICT not in cell.metadata.get("tags", [])]
        head = [part for cell in rest[:1] for part in _title_and_words(cell)]
        nb.cells = [*head[:1], *verdict, *head[1:], *rest[1:]]
        return nb, resources


def _title_and_words(cell) -> list:
    """The title, and the words below it in the same cell; a cell without both is left whole."""
    title, _, words = cell.source.partition("\n\n")
    if not (cell.cell_type == "markdown" and title.startswith("# ") and words):
        return [cell]
    return [NotebookNode(cell | {"source": title}), NotebookNode(cell | {"source": words, "id": "words"})]


class Clean(SanitizeHTML):
    """HTML outputs with the listed tags only; others become visible text. Markdown is cleaned once it is HTML."""

    enabled = True

    def __init__(self, **options):
        super().__init__(
            tags=TAGS,
            attributes=_allowed,
            styles=[],
            safe_output_keys={"text/plain", "image/png"},
            sanitized_output_types={"text/html"},
            **options,
        )

    def preprocess_cell(self, cell, resources, index):
        """See nbconvert."""
        if cell.cell_type != "code":
            return cell, resources
        for output in cell.outputs:  # the filter of the template cleans it
            output.setdefault("data", {})
        return super().preprocess_cell(cell, resources, index)

    def sanitize_html_tags(self, html_str):
        """Clean one piece of HTML; style blocks are for JupyterLab only."""
        return clean(_STYLE.sub("", html_str))


@lru_cache(KEPT)
def clean(text: str) -> str:
    """One piece of HTML with what is listed here only."""
    return super(Clean, Clean()).sanitize_html_tags(text)


@lru_cache(KEPT)
def render_markdown(text: str) -> str:
    """Markdown as clean HTML; HTML inside it stays visible text, and a $ is money, not the start of a formula."""
    renderer = IPythonRenderer(escape=True, exclude_anchor_links=True)
    parser = MarkdownWithMath(renderer, block=BlockParser(), inline=InlineParser(hard_wrap=False))
    return Clean().sanitize_html_tags(parser.render(text))


def _allowed(tag: str, name: str, value: str) -> bool:
    """Which attribute may stay."""
    if name == "class":
        return set(value.split()) <= CLASSES
    if name in ("colspan", "rowspan"):
        return tag in ("td", "th") and value.isdigit()
    if name == "scope":
        return value in ("col", "row")
    return name == "href" and tag == "a" and _INSIDE.fullmatch(value) is not None
