"""What a page is made of: a callout, a row of facts, a table, a chart, a figure.

Each is displayed in JupyterLab directly, and `render_report` puts it on the page. All text is escaped here, so
data is never markup.
"""

import base64
import html
import io
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from openbook.common.errors import UsageError
from openbook.runs.progress import steps

KINDS = ("note", "ok", "warn", "stop")
PALETTE = {
    "ink": "#1c2733",
    "muted": "#7b8794",
    "soft": "#b9c9da",
    "grid": "#e4e9ef",
    "main": "#1f5f99",
    "ok": "#2e7d4f",
    "warn": "#b7791f",
    "stop": "#b23a3a",
    "series": ("#1f5f99", "#d9822b", "#2e7d4f", "#8e4a8e", "#7b8794", "#4fa3c7", "#b23a3a", "#8a7a3c"),
}
CSS_DPI = 96
DPI = 128  # a third more than what CSS calls a pixel: crisp on a phone, and a year of pages stays small
WIDEST = 1024  # pixels: 8 inches
EDGE, TITLE, USUAL = 0.06, 0.34, 0.6  # inches: around everything, above axes with a title, for labels not yet measured
COLORS = 48  # enough for a chart
WEEK = 8  # days; a shorter axis has a tick for each day, and no hours
LONG = 32  # characters of a cell that may be wrapped
WORDY = 60  # characters of a cell in the plain form, which stands beside the other in every notebook
WORDS = {  # of a highlighted column
    **dict.fromkeys(("ok", "yes", "pass", "buy", "active"), "pos"),
    **dict.fromkeys(("flag", "warn", "near", "reduce_only"), "warn"),
    **dict.fromkeys(("stop", "no", "fail", "sell", "halted"), "neg"),
}
# For JupyterLab only: the page has a style of its own and drops these.
_STYLE = """<style scoped>
.ob-table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.ob-table caption { caption-side: top; text-align: left; font-weight: 600; padding-bottom: 4px; }
.ob-table td, .ob-table th { padding: 3px 10px; }
.ob-table td.num { text-align: right !important; }
.ob-table td.text, .ob-table th.text { text-align: left !important; white-space: nowrap; }
.ob-table td.long { white-space: normal; min-width: 14em; max-width: 28em; }
.ob-table .pos { color: #2e7d4f; } .ob-table .neg { color: #b23a3a; } .ob-table .warn { color: #b7791f; }
</style>"""
_NEGATIVE = re.compile(r"(?<![^\s(])-(?=\.?\d)")
_BORDER = {kind: PALETTE.get(kind, PALETTE["main"]) for kind in KINDS}


class Element:
    """A displayed element: its forms by MIME type, and what belongs to them."""

    def __init__(self, data: Mapping[str, str], metadata: Mapping[str, Mapping] | None = None):
        self.data = dict(data)
        self.metadata = dict(metadata or {})

    @property
    def png(self) -> bytes:
        """The picture of a figure."""
        return base64.b64decode(self.data["image/png"])

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        """What IPython asks for."""
        return self.data, self.metadata


class Section:
    """Some elements that one cell of a notebook displays, one below the other."""

    def __init__(self, *elements: Element):
        self.elements = elements

    def _ipython_display_(self) -> None:
        """What IPython calls."""
        from IPython.display import display

        display(*self.elements)


def callout(text: str, kind: str = "note", title: str | None = None) -> Element:
    """A sentence that must not be missed; kind is note, ok, warn or stop. Line breaks part paragraphs.

    Examples
    --------
    >>> ob.callout("None passes.", kind="warn", title="Verdict").data["text/plain"]
    'Verdict: None passes.'
    """
    if kind not in KINDS:
        raise UsageError(f"unknown callout kind {kind!r}; choose from {', '.join(KINDS)}")
    style = f"border-left: 4px solid {_BORDER[kind]}; padding: 6px 12px; margin: 4px 0"
    head = f'<p class="title"><strong>{html.escape(_minus(title))}</strong></p>' if title else ""
    body = "".join(f"<p>{html.escape(_minus(line))}</p>" for line in str(text).splitlines() if line.strip())
    plain = f"{title}: {text}" if title else str(text)
    return _html(f'<div class="callout {kind}" style="{style}">{head}{body}</div>', plain)


def facts(values: Mapping[str, str]) -> Element:
    """A row of key figures: what it is, and the figure, already in words.

    Examples
    --------
    >>> ob.facts({"Equity": "100,000 USD"}).data["text/plain"]
    'Equity: 100,000 USD'
    """
    style = "display: inline-block; margin: 0 24px 8px 0"
    items = [
        f'<div class="fact" style="{style}"><span class="label">{html.escape(str(name))}</span><br>'
        f'<strong class="value">{html.escape(_minus(str(value)))}</strong></div>'
        for name, value in values.items()
    ]
    return _html(f'<div class="facts">{"".join(items)}</div>', ", ".join(f"{n}: {v}" for n, v in values.items()))


def table(
    frame,
    formats: Mapping[str, str] | None = None,
    caption: str | None = None,
    highlight: Sequence[str] = (),
    empty: str = "",
) -> Element:
    """A DataFrame as a table: numbers to the right, a missing value as –.

    formats : format specification by column, such as ",.0f" or ".1%"; others follow from the size of the numbers
    highlight : columns whose sign, truth or word (ok, stop, BUY…) is colored
    empty : the sentence that stands for a table without rows

    Examples
    --------
    >>> ob.table(pd.DataFrame({"symbol": ["A"], "weight": [0.25]}), {"weight": ".0%"}).data["text/plain"].split()
    ['symbol', 'weight', 'A', '25%']
    """
    if empty and not len(frame):
        return _html(f'<p class="empty">{html.escape(empty)}</p>', empty)
    if any(name is not None for name in frame.index.names) or frame.index.dtype.kind not in "iu":
        frame = frame.reset_index(names="" if frame.index.names == [None] else None, allow_duplicates=True)
    formats = dict(formats or {})
    unknown = sorted((set(formats) | set(highlight)) - {str(name) for name in frame.columns})
    if unknown:
        raise UsageError(f"the table has no column {', '.join(unknown)}; it has {', '.join(map(str, frame.columns))}")
    columns = [_column(str(name), frame.iloc[:, i], formats, highlight) for i, name in enumerate(frame.columns)]
    head = "".join(cells[0] for cells in columns)
    rows = "".join(f"<tr>{''.join(row)}</tr>" for row in zip(*(cells[1:] for cells in columns), strict=True))
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    text = f"{_STYLE}<table class='ob-table'>{title}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    formatters = {name: partial(_shown, spec=spec) for name, spec in formats.items()}
    return _html(text, frame.to_string(index=False, max_colwidth=WORDY, formatters=formatters, na_rep="–"))


def chart(width: float = 8, height: float = 3, *, rows: int = 1, heights: Sequence[float] | None = None):
    """A figure in the house style and its axes: one, or with `rows` an array of them that share the x axis.

    width, height : inches; 8 fill the page
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with house_style():
        fig = Figure(figsize=(width, height), dpi=DPI)
        FigureCanvasAgg(fig)
        axes = fig.subplots(rows, 1, sharex=True, height_ratios=heights)
    return fig, axes


@contextmanager
def house_style():
    """Inside, matplotlib draws in the house style: quiet axes, light grid, our colors on a white card."""
    import matplotlib as mpl

    settings = {
        "axes.edgecolor": PALETTE["muted"],
        "axes.labelcolor": PALETTE["ink"],
        "axes.prop_cycle": mpl.cycler(color=PALETTE["series"]),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": PALETTE["ink"],
        "axes.titlelocation": "left",
        "axes.titlesize": 13,
        "axes.titleweight": "bold",
        "axes.grid": True,
        "axes.axisbelow": True,
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same picture on every machine
        "font.size": 12,
        "grid.color": PALETTE["grid"],
        "grid.linewidth": 0.8,
        "xtick.color": PALETTE["ink"],
        "ytick.color": PALETTE["ink"],
        "xtick.major.size": 3,
        "ytick.major.size": 0,
    }
    with mpl.rc_context(settings):
        yield


def figure(fig, alt: str) -> Element:
    """A matplotlib figure as a small crisp PNG; the figure is closed.

    alt : what a reader who cannot see it should know; it may not be empty
    """
    if not alt.strip():
        raise UsageError("a figure needs an alt text that describes what it shows")
    _dress(fig)
    if fig.get_layout_engine() is None:
        _arrange(fig)
    data, width, height = _png(fig)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close(fig)
    metadata = {"image/png": {"alt": alt, "width": width * CSS_DPI // DPI, "height": height * CSS_DPI // DPI}}
    return Element({"image/png": base64.b64encode(data).decode(), "text/plain": alt}, metadata)


def _dress(fig) -> None:
    """What matplotlib decides when a line, a title or a legend is made, after the house style was left."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, DayLocator

    with house_style():
        for ax in fig.axes:
            title = ax.get_title("left") or ax.get_title("center")
            ax.set_title("", loc="center")
            ax.set_title(title, loc="left", y=1.0)  # nothing stands between the axes and their title
            if ax.get_legend() is not None:
                ax.get_legend().set_frame_on(False)
            if isinstance(ax.xaxis.get_major_locator(), AutoDateLocator):
                few = 0 <= ax.dataLim.width < WEEK
                if few and ax.dataLim.width == 0:
                    ax.set_xlim(ax.dataLim.x0 - 1, ax.dataLim.x0 + 1)
                locator = DayLocator() if few else AutoDateLocator(minticks=3, maxticks=8)
                ax.xaxis.set_major_locator(locator)
                ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def _arrange(fig) -> None:
    """Margins that hold what stands around the axes of a `chart`, each measured once where it will be drawn.

    matplotlib's own layout measures every axis twice, and drawing looks a third time: half the seconds of a figure.
    """
    width, height = fig.get_size_inches()
    title = max((TITLE if ax.get_title("left") else EDGE for ax in fig.axes), default=EDGE)
    gap = {"hspace": len(fig.axes) * (title + EDGE) / height} if len(fig.axes) > 1 else {}
    room = {"left": USUAL / width, "right": 1 - EDGE / width, "bottom": USUAL / height, "top": 1 - title / height}
    fig.subplots_adjust(**room, **gap)
    for ax in fig.axes:
        for axis in (ax.xaxis, ax.yaxis):
            if not axis.get_label_text():
                axis.set_label_coords(0, 0)  # else matplotlib computes the place of a label that does not exist
    renderer = fig.canvas.get_renderer()
    inches = [
        box.transformed(fig.dpi_scale_trans.inverted())
        for ax in fig.axes
        for axis in ([ax.yaxis, ax.xaxis] if ax is fig.axes[-1] else [ax.yaxis])
        if (box := axis.get_tightbbox(renderer)) is not None
    ]
    if inches:
        room["left"] += (EDGE - min(box.x0 for box in inches)) / width
        room["bottom"] += (EDGE - min(box.y0 for box in inches)) / height
        room["right"] -= max(0.0, max(box.x1 for box in inches) - width + EDGE) / width
        room["top"] -= max(0.0, max(box.y1 for box in inches) - height + EDGE) / height
        fig.subplots_adjust(**room)
    _fit_titles(fig, renderer)


def _fit_titles(fig, renderer) -> None:
    """A title that is longer than its axes begins further to the left, above the labels of the axis."""
    for ax in fig.axes:
        with house_style():
            text = ax.set_title(ax.get_title("left"), loc="left", y=1.0)
        box = text.get_window_extent(renderer)
        beyond = box.x1 - fig.bbox.x1 + EDGE * fig.dpi
        if beyond > 0:
            text.set_x(-min(beyond, box.x0) / ax.bbox.width)


def _png(fig) -> tuple[bytes, int, int]:
    """PNG of at most COLORS colors and WIDEST pixels, without times or names of software; its width and height."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    fig.set(dpi=min(DPI, WIDEST / fig.get_figwidth()), facecolor="white")
    canvas = FigureCanvasAgg(fig)
    canvas.draw()  # once; savefig would draw twice, first to lay out
    drawn = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba(), "raw", "RGBA", 0, 1)
    image = drawn.convert("RGB").quantize(COLORS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small = io.BytesIO()
    image.save(small, format="PNG", compress_level=8)  # the highest takes twice as long for a hundredth less
    return small.getvalue(), image.width, image.height


def bar(what: str, *, shown: bool) -> Callable[..., None] | None:
    """What to hand to a long function as its `progress`: a progress bar in JupyterLab.

    shown : False under a runner: progress then goes elsewhere, so that the notebook holds no timings

    Examples
    --------
    >>> ob.bar("Backtests", shown=False) is None  # nobody watches
    True
    """
    if not shown:
        return steps(what)
    from tqdm.auto import tqdm

    line = tqdm(desc=what)

    def move(done: int, total: int, *_) -> None:
        line.total = total
        line.update(done - line.n)
        if done == total:
            line.close()

    return move


def _html(text: str, plain: str) -> Element:
    return Element({"text/html": text, "text/plain": plain})


def _column(name: str, values, formats: Mapping[str, str], highlight: Sequence[str]) -> list[str]:
    """The head of one column and its cells, as HTML."""
    numeric = values.dtype.kind in "iufc"
    spec = formats.get(name) or _spec(values, numeric)
    side = "num" if numeric else "text"
    cells = [f'<th scope="col" class="{side}">{html.escape(name.replace("_", " "))}</th>']
    for value in values.tolist():
        shown = _shown(value, spec)
        classes = [side, "long" if len(shown) > LONG else "", _color(value) if name in highlight else ""]
        cells.append(f'<td class="{" ".join(filter(None, classes))}">{html.escape(shown)}</td>')
    return cells


def _spec(values, numeric: bool) -> str:
    """A format by the size of the numbers: whole numbers with commas, small ones with more decimals."""
    if not numeric:
        return ""
    if values.dtype.kind != "f":
        return ",d"
    most = values.abs().max()
    return ",.0f" if most >= 100_000 else ",.2f" if most >= 1 else ".4f"


def _shown(value, spec: str) -> str:
    if value is None or value != value or type(value).__name__ == "NAType":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        text = format(value, spec)
        return _minus(text if any(digit in text for digit in "123456789infna") else format(abs(0 * value), spec))
    if hasattr(value, "isoformat"):
        return value.isoformat().removesuffix("T00:00:00")
    return _minus(format(value, spec) if spec else str(value))


def _minus(text: str) -> str:
    """A real minus sign before each number; hyphens inside words, dates and ranges stay."""
    return _NEGATIVE.sub("−", text)


def _color(value) -> str:
    """The class of a highlighted cell."""
    if isinstance(value, str):
        return WORDS.get(value.lower(), "")
    if isinstance(value, bool):
        return "pos" if value else "neg"
    if isinstance(value, int | float) and math.isfinite(value) and value != 0:
        return "pos" if value > 0 else "neg"
    return ""
