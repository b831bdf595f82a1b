"""The documentation: the site builds without a warning and needs no network, and its lists are those of the code."""

import html
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import openbook.common.errors as errors
from openbook.report.docs_site import PAGES, build
from support import programs
from test_architecture import ARROWS, LIB

ROOT = Path(__file__).resolve().parents[1]
GUIDES = ROOT / PAGES
LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}  # what a page fetches
OTHER_CODES = {20, 21, 130}  # of states that are no errors, and of an interrupt


def read(page: str) -> str:
    return (GUIDES / page).read_text(encoding="utf-8")


# ---- what the pages list ----


def test_the_readme_is_short_and_has_the_two_commands():
    readme = (ROOT / "README.md").read_bytes()
    assert len(readme) <= 9000
    for command in (b"pip install uv && uv run openbook demo", b"pip install uv && uv run --extra test pytest"):
        assert b"```bash\n" + command + b"\n```" in readme


@pytest.mark.parametrize("document", sorted(ROOT.glob("*.md")), ids=lambda path: path.name)
def test_links_of_the_documents_at_the_top_lead_to_files(document):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_every_id_in_the_name_of_a_test_is_explained_and_no_other():
    explained = re.findall(r"^\| `([a-z][0-9]{2})` \| \S", read("test_ids.md"), re.MULTILINE)
    names = [
        name
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for name in re.findall(r"^ *def test_((?:[a-z][0-9]{2}_)+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    used = {part for name in names for part in name.strip("_").split("_")}
    assert len(used) > 80
    assert len(set(explained)) == len(explained)
    assert set(explained) == used


def test_every_exit_code_is_explained_and_no_other():
    explained = {int(code) for code in re.findall(r"^\| ([0-9]+) \|", read("exit_codes.md"), re.MULTILINE)}
    classes = [thing for thing in vars(errors).values() if isinstance(thing, type)]
    assert explained == {kind.exit_code for kind in classes if issubclass(kind, errors.OpenbookError)} | OTHER_CODES


def test_the_architecture_names_every_package_and_no_module_that_is_not_there():
    packages, _, modules = read("architecture.md").partition("The modules of each package:")
    assert sorted(re.findall(r"^\| `(\w+)` \|", packages, re.MULTILINE)) == sorted(ARROWS)
    lists = re.findall(r"^\*\*`(\w+)`\*\*\n\n((?:- .*\n)+)", modules, re.MULTILINE)
    assert sorted(room for room, _ in lists) == sorted(ARROWS.keys() - {"cli"})
    named = [(room, name) for room, text in lists for name in re.findall(r"`(\w+)`(?=[^–\n]*–)", text)]
    assert len(named) > 100
    assert [(room, name) for room, name in named if not list((LIB / room).glob(f"{name}*"))] == []


# ---- the site ----


class Links(HTMLParser):
    """What a page loads, where its links lead, and the places in it that have a name."""

    def __init__(self, page: Path):
        super().__init__()
        self.loads: list[str] = []
        self.leads: list[str] = []
        self.places: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.places |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag in LOADS and LOADS[tag] in given and given.get("rel") not in ("prev", "next", "index", "search"):
            self.loads.append(given[LOADS[tag]])
        if tag == "a" and given.get("href"):
            self.leads.append(given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built site, without the results of the notebooks; Sphinx's warnings are errors."""
    out = tmp_path_factory.mktemp("docs") / "html"
    build(GUIDES, out, execute=False)
    return out


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Links]:
    return {path: Links(path) for path in sorted(site.glob("*.html"))}


def test_every_page_and_guide_is_in_the_site(site, pages):
    written = {path.stem for path in GUIDES.iterdir() if path.suffix in (".md", ".ipynb")}
    assert written <= {path.stem for path in pages}
    assert len(written) > 25


def test_every_link_within_the_site_holds(site, pages):
    broken = []
    for page, links in pages.items():
        for link in links.leads:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)) if parts.path else page
            known = pages[target].places if target in pages else set()
            if not target.is_file() or (parts.fragment and target in pages and parts.fragment not in known):
                broken.append(f"{page.name}: {link}")
    assert broken == []


def test_nothing_is_loaded_from_elsewhere(site, pages):
    """Scripts, styles, fonts and pictures, also those that a style sheet names."""
    loaded = {link for links in pages.values() for link in links.loads}
    styles = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    named = [name for text in styles for name in re.findall(r"(?:url\(\s*['\"]?|@import\s+['\"]?)([^'\")\s]+)", text)]
    assert [link for link in [*loaded, *named] if re.match(r"(?:https?:)?//", link)] == []
    assert any(link.endswith("furo.css") or "furo.css?" in link for link in loaded)


def test_the_search_knows_words_of_the_pages(site):
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    found = json.loads(index.partition("Search.setIndex(")[2].rpartition(")")[0])
    where = [found[words]["approv"] for words in ("terms", "titleterms")]  # the stem of approve and approval
    numbers = {number for places in where for number in (places if isinstance(places, list) else [places])}
    assert {"approvals", "day_and_month"} <= {found["docnames"][number] for number in numbers}


def test_the_reference_describes_the_public_names(site, pages):
    import openbook

    (api,) = (links for page, links in pages.items() if page.stem == "api")
    assert {"openbook.portfolio.construct.construct_portfolio", "openbook.market.tables.Market.upto"} <= api.places
    text = html.unescape((site / "api.html").read_text(encoding="utf-8"))
    assert [name for name in getattr(openbook, "__all__", ()) if f"openbook.{name}" not in text] == []


@pytest.mark.long
def test_every_guide_runs_in_the_build(tmp_path):
    """Each shows results of its cells; an error in one would have ended the build."""
    build(GUIDES, tmp_path / "html")
    for notebook in GUIDES.glob("*.ipynb"):
        text = (tmp_path / "html" / f"{notebook.stem}.html").read_text(encoding="utf-8")
        assert "cell_output" in text, notebook.stem


@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_shows_the_pages_and_finds_a_word_without_a_network(site, browser, width):
    """No page scrolls sideways, nothing is asked for outside of the site, and the search answers."""
    asked, said = [], []
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda line: said.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    for name in ("index", "day_and_month", "tested_failures", "architecture", "api", "trade_execution"):
        page.goto(f"{site.as_uri()}/{name}.html")
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, name
    page.goto(f"{site.as_uri()}/search.html?q=reconcile")
    page.wait_for_selector("#search-results a")
    assert "The book" in page.inner_text("#search-results")
    assert [url for url in asked if not url.startswith((site.as_uri(), "data:"))] == []
    assert said == []


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window; the test is skipped where there is none."""
    sync_api = programs.driver("chromium", "playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=programs.need("chromium"), args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.long
def test_the_pages_build_where_there_is_no_clone_around_them(tmp_path, monkeypatch):
    """As in a wheel: without SECURITY.md, CONTRIBUTING.md and CHANGELOG.md, whose pages are left out."""
    shutil.copytree(GUIDES, tmp_path / PAGES, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    monkeypatch.setenv("OPENBOOK_DESK", str(ROOT))
    build(tmp_path / PAGES, tmp_path / "out" / "html", execute=False)
    built = {path.stem for path in (tmp_path / "out" / "html").glob("*.html")}
    assert {"index", "approvals", "research_tour"} <= built
    assert not {"security", "contributing", "changelog"} & built
