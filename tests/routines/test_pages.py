"""The pages in a real browser: what a reader sees, with any width, any light, on paper and without a mouse."""

import re
import shutil
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import pytest

from openbook.report.calendar_page import publish_calendar
from support import programs
from support.many_runs import write_book, write_day, write_failure

sync_api = programs.driver("chromium", "playwright.sync_api")
axe_playwright = programs.driver("chromium", "axe_playwright_python.sync_playwright")

PAGES = ("daily", "calendar")
SCHEMES = ("light", "dark")
NARROW, WIDE = 390, 1200  # px: a phone held upright, a laptop
TALL = 900  # px
PAPER = 688  # px: A4 within the margins of the print style, at 96 px an inch
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
BAD = """<!DOCTYPE html><html lang="en"><head><title>Bad</title><style>
@media (prefers-color-scheme: dark) { p { color: #333; background: #222; } }
@media (prefers-color-scheme: light) { p { color: #ccc; background: #fff; } }
main { background: #777; } a:focus { outline: none; }
</style></head><body><main><h1>Bad</h1><p>Too pale to read.</p>
<img src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=" width="9" height="9">
<img src="elsewhere.png" alt="From another file">
<table><tr><td><div style="width: 900px">wide</div></td></tr></table>
<a href="#x">no outline</a><a href="#y" tabindex="-1">no way to get here</a>
</main><script>console.warn("half a fault"); console.error("a fault"); undefined_name</script></body></html>"""
# Links and boxes that scroll sideways, by their place among all elements.
PLACES = "selector => [...document.querySelectorAll('*')].flatMap((e, i) => e.matches(selector) ? [i] : [])"
SCROLLERS = """() => [...document.body.querySelectorAll('*')].filter(
  e => ['auto', 'scroll'].includes(getComputedStyle(e).overflowX) && e.scrollWidth > e.clientWidth
).map(e => [...document.querySelectorAll('*')].indexOf(e))"""
SCROLLED = "place => document.querySelectorAll('*')[place].scrollLeft > 0"
GROUND = "getComputedStyle(document.querySelector('main')).backgroundColor"
FOCUSED = """() => {
  const e = document.activeElement, style = getComputedStyle(e);
  if (e === document.body) return null;
  const box = e.getBoundingClientRect();
  return {
    place: [...document.querySelectorAll('*')].indexOf(e),
    ring: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0,
    seen: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
  };
}"""


@dataclass
class View:
    """A page that is open, what it wrote to the console and what it asked for.

    said : errors, warnings and exceptions, as text
    asked : addresses of all requests, the page's own first
    """

    page: "sync_api.Page"
    address: str
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Write down what happens from here on."""
        self.page.on("console", lambda line: self.said.append(line.text) if line.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def foreign(self) -> list[str]:
        """Requests to anything but the page itself and the pictures within it."""
        return [url for url in self.asked if url != self.address and not url.startswith("data:")]

    def overflow(self) -> int:
        """Pixels by which the page is wider than the window; 0 or less if it does not scroll sideways."""
        return self.page.evaluate("document.documentElement.scrollWidth - innerWidth")

    def violations(self) -> dict[str, list[str]]:
        """Rules of WCAG 2 A and AA that axe-core finds broken, each with the elements that break it.

        Text that a box has scrolled away is not judged, for axe cannot see on what it stands. In a wide window nothing
        is scrolled away, and what axe could not decide counts as broken.
        """
        options = {"runOnly": RULES, "resultTypes": ["violations", "incomplete"]}
        found = axe_playwright.Axe().run(self.page, options=options).response
        judged = {rule["id"] for kind in ("passes", "violations") for rule in found[kind]}
        assert {"color-contrast", "document-title"} <= judged
        undecided = found["incomplete"] if self.width == WIDE else []
        broken = found["violations"] + undecided
        return {rule["id"]: [node["html"][:120] for node in rule["nodes"]] for rule in broken}

    @property
    def width(self) -> int:
        """Of the window, px."""
        return self.page.viewport_size["width"]

    def ground(self) -> float:
        """Brightness behind the text: 0 is black, 255 is white."""
        return sum(map(int, re.findall(r"\d+", self.page.evaluate(GROUND))[:3])) / 3

    def on_paper(self) -> tuple[float, int]:
        """Brightness behind the text and overflow as the page is printed on A4."""
        shape = self.page.viewport_size
        self.page.emulate_media(media="print")
        self.page.set_viewport_size({"width": PAPER, "height": TALL})
        measured = self.ground(), self.overflow()
        self.page.emulate_media(media="screen")
        self.page.set_viewport_size(shape)
        return measured

    def tabbed(self) -> list[dict]:
        """What has the focus after each Tab, until it leaves the page."""
        self.page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
        stops = []
        for _ in range(500):
            self.page.keyboard.press("Tab")
            stop = self.page.evaluate(FOCUSED)
            if stop is None or stop["place"] in {earlier["place"] for earlier in stops}:
                return stops
            stops.append(stop)
        raise AssertionError("500 times Tab, and still on the page")

    def scrollers(self) -> list[int]:
        """Places of the boxes that scroll sideways."""
        return self.page.evaluate(SCROLLERS)

    def unreachable(self) -> set[int]:
        """Links and scrolling boxes that Tab does not reach, or where the reader cannot see that it did."""
        stops = {stop["place"] for stop in self.tabbed() if stop["ring"] and stop["seen"]}
        return {*self.page.evaluate(PLACES, "a[href]"), *self.scrollers()} - stops


def look(browser, file: Path, scheme: str, width: int) -> View:
    """Open a file as a reader with these preferences."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": TALL}, offline=True)
    view = View(context.new_page(), file.as_uri())
    view.listen()
    view.page.goto(view.address)
    return view


def every_kind_of_day(runs: Path) -> Path:
    """Add to a runs folder what a calendar can show, a halted book among it; the calendar anew."""
    for day, switch in (("2024-06-03", "ACTIVE"), ("2024-06-04", "REDUCE_ONLY"), ("2024-06-05", "HALTED")):
        write_day(runs, day, orders=2, switch=switch)
    write_day(runs, "2024-06-06")
    (write_day(runs, "2024-06-07") / "run.json").write_text("{")
    write_failure(runs, "2024-06-10-1", ("DataNotReady", "no bars for 2024-06-10; try again later"))
    waits = "  orders of 2024-06-03: 2 PENDING, 0 APPROVED; approval deadline 2024-06-04"
    history = [("2024-06-03", 1e5, 0.0), ("2024-06-04", 1.02e5, 0.02), ("2024-06-05", 0.99e5, -0.0294)]
    write_book(runs, ["live book: HALTED (loss), cash 99,000.00 USD", waits], history, kind="live")
    return publish_calendar(runs)


@pytest.fixture(scope="module")
def files(trained, tmp_path_factory) -> dict[str, Path]:
    """The pages by name, as copies."""
    runs = Path(shutil.copytree(trained.runs, tmp_path_factory.mktemp("pages") / "runs"))
    daily = runs / trained.page(trained.days[2]).relative_to(trained.runs) / "report.html"
    return {"daily": daily, "calendar": every_kind_of_day(runs)}


@pytest.fixture(scope="module")
def browser(files):  # after the pages: while it runs, no notebook can be executed in this process
    """Chromium without a window, and without a network."""
    program = programs.need("chromium")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program)
        yield running
        running.close()


@pytest.fixture(scope="module", params=product(PAGES, SCHEMES), ids="-".join)
def opened(request, browser, files):
    """Each page in each light."""
    name, scheme = request.param
    view = look(browser, files[name], scheme, WIDE)
    yield view
    view.page.context.close()


@pytest.fixture(params=(NARROW, WIDE))
def view(request, opened):
    """The same in each width."""
    opened.page.set_viewport_size({"width": request.param, "height": TALL})
    return opened


@pytest.fixture(scope="module", params=SCHEMES)
def bad(request, browser, tmp_path_factory):
    """A page that does everything wrong, on a phone."""
    file = tmp_path_factory.mktemp("bad") / "bad.html"
    file.write_text(BAD)
    view = look(browser, file, request.param, NARROW)
    yield view
    view.page.context.close()


def test_a_page_says_nothing_on_the_console_and_asks_for_nothing(view):
    assert (view.said, view.asked[0], view.foreign()) == ([], view.address, [])


def test_a_page_never_scrolls_sideways(view):
    assert view.overflow() <= 0


def test_axe_finds_no_violation(view):
    assert view.violations() == {}


def test_tab_reaches_every_link_and_every_table_that_scrolls(view):
    assert view.unreachable() == set()


def test_the_arrow_keys_scroll_a_table_that_is_too_wide(view):
    places = view.scrollers()
    assert bool(places) == (view.width == NARROW)
    for place in places[:1]:
        view.page.locator("*").nth(place).focus()
        view.page.keyboard.press("ArrowRight")
        view.page.wait_for_function(SCROLLED, arg=place, timeout=10_000)


def test_dark_is_dark_and_light_is_light(opened):
    dark = opened.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert opened.ground() < 60 if dark else opened.ground() > 200


def test_a_page_prints_dark_on_white_and_within_the_paper(opened):
    pdf = opened.page.pdf(format="A4")
    assert pdf.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) > 1
    assert opened.on_paper() == (255, 0)


def test_the_checks_find_what_is_wrong_with_a_bad_page(bad):
    assert [said for said in bad.said if "fault" in said] == ["half a fault", "a fault"]
    assert any("undefined_name" in said for said in bad.said)
    assert [Path(url).name for url in bad.foreign()] == ["elsewhere.png"]
    assert bad.overflow() > 400
    ground, overflow = bad.on_paper()
    assert ground < 200 < overflow
    assert set(bad.violations()) == {"color-contrast", "image-alt"}
    assert len(bad.unreachable()) == 2
