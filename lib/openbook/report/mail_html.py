"""HTML for mail programs: cleaned like the page, every style on its element, one small sheet for dark mode and phones.

Nothing here leans on the sheet: a program that drops it shows a light mail with tables, one that reads it turns wide
tables into one card a row below 480 px.
"""

import html
from collections.abc import Sequence
from html.parser import HTMLParser

from openbook.common.text import printable
from openbook.report.elements import PALETTE
from openbook.report.exporter import Clean

WIDE = 4  # columns; a wider table becomes cards on a phone
ROWS = 40  # of a table; the page has them all
SOFT = {"note": "#eaf2f9", "ok": "#e9f5ee", "warn": "#fcf3e2", "stop": "#fbeaea"}
EDGE = {kind: PALETTE.get(kind, PALETTE["main"]) for kind in SOFT}
INK = {"note": "#1f5f99", "ok": "#24693f", "warn": "#8a5a12", "stop": "#a12f2f"}
FONT = "font-family:system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
QUIET = "#5d6976"
LINE = "border-bottom:1px solid #dfe4ea"
BY_TAG = {
    "table": "border-collapse:collapse;font-size:14px;font-variant-numeric:tabular-nums",
    "caption": "text-align:left;font-weight:600;padding:0 0 6px",
    "th": f"color:{QUIET};font-size:12px;font-weight:600;border-bottom:2px solid #dfe4ea;vertical-align:bottom",
    "p": "margin:4px 0",
    "pre": "white-space:pre-wrap;font-size:13px",
}
BY_CLASS = {
    "fact": "display:inline-block;vertical-align:top;min-width:128px;margin:0 20px 10px 0",
    "label": f"color:{QUIET};font-size:12px",
    "value": "font-size:16px",
    "title": "font-size:16px",
    "empty": f"color:{QUIET};font-style:italic",
    "pos": f"color:{INK['ok']};font-weight:600",
    "neg": f"color:{INK['stop']};font-weight:600",
    "warn": f"color:{INK['warn']};font-weight:600",
}
VOID = {"br", "hr", "col"}
SHEET = """
@media (max-width:480px) {
  .wide thead { display:none !important; }
  .wide, .wide tbody, .wide tr, .wide td, .wide caption { display:block !important; width:auto !important; }
  .wide tr { border:1px solid #dfe4ea !important; border-radius:8px; margin:0 0 10px !important; padding:6px 10px; }
  .wide td { border:0 !important; padding:2px 0 2px 124px !important; text-align:left !important; text-indent:-124px; }
  .wide td .l { display:inline-block !important; width:116px; margin-right:8px; text-indent:0; font-size:12px;
    font-weight:400; color:#5d6976; }
  .wide td.e { display:none !important; }
  .wide td:first-child { padding-left:0 !important; text-indent:0; font-weight:700; font-size:16px; }
  .wide td:first-child .l { display:none !important; }
  .pad { padding:16px !important; }
}
@media (prefers-color-scheme:dark) {
  body, .back { background:#12171d !important; }
  .card { background:#1a2129 !important; border-color:#2e3843 !important; }
  .card, .card p, .card td, .card strong, .card caption, .card pre { color:#e2e8ee !important; }
  .quiet, .label, .card th, .wide td .l { color:#9aa7b4 !important; }
  .card th, .card td, .wide tr { border-color:#2e3843 !important; }
  .note { background:#17263a !important; } .ok { background:#16291f !important; }
  div.warn { background:#2c2415 !important; } .stop { background:#311c1d !important; }
  .card .pos, .card .ok strong { color:#7fcf9d !important; }
  .card .neg, .card .stop strong { color:#f08c8c !important; }
  .card td.warn, .card div.warn strong { color:#e5b567 !important; }
  .card img { opacity:.92; }
}
"""


def clean_and_inline(source: str) -> str:
    """One HTML output of a notebook for a mail: only the tags and classes of the page, its styles on the elements."""
    inliner = Inliner()
    inliner.feed(Clean().sanitize_html_tags(source))
    inliner.close()
    return inliner.html


def page(
    subject: str, date: str, verdict: Sequence[str], *, look: str, blocks: Sequence[str], steps: Sequence[str]
) -> str:
    """The whole mail. `blocks` are clean HTML; everything else is text."""
    lines = "".join(f'<p style="margin:4px 0">{html.escape(line)}</p>' for line in verdict[1:])
    body = "".join(f'<div style="margin:0 0 20px">{block}</div>' for block in blocks)
    quiet = f"margin:4px 0;font-size:12px;color:{QUIET};overflow-wrap:anywhere;word-break:break-word"
    foot = "".join(f'<p class="quiet" style="{quiet}">{html.escape(step)}</p>' for step in steps)
    foot = foot and f'<div style="border-top:1px solid #dfe4ea;padding-top:12px">{foot}</div>'
    dark = '<meta name="color-scheme" content="light dark"><meta name="supported-color-schemes" content="light dark">'
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
{dark}<title>{html.escape(subject)}</title><style>{SHEET}</style></head>
<body style="margin:0;padding:0;background:#f5f6f8"><div class="back" style="background:#f5f6f8;padding:12px 8px">
<div class="card pad" style="{FONT};font-size:15px;line-height:1.5;color:{PALETTE["ink"]};background:#ffffff;\
max-width:680px;margin:0 auto;padding:24px;border:1px solid #dfe4ea;border-radius:10px;box-sizing:border-box">
<p class="quiet" style="margin:0 0 8px;font-size:13px;color:{QUIET}">openbook · {html.escape(date)}</p>
<div class="{look}" style="{_callout(look)}"><strong style="font-size:19px;line-height:1.3;color:{INK[look]}">\
{html.escape(verdict[0])}</strong>{lines}</div>
{body}{foot}
</div></div></body></html>
"""


def _callout(kind: str) -> str:
    return (
        f"border-left:4px solid {EDGE[kind]};background:{SOFT[kind]};border-radius:0 8px 8px 0;padding:10px 14px;"
        "margin:0 0 20px;overflow-wrap:anywhere"
    )


class Inliner(HTMLParser):
    """Writes clean HTML again with a style on each element; a table gets labels that phones show."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._heads: list[str] = []
        self._cell = self._rows = 0
        self._open_cell = 0
        self._in_head = self._skip = False
        self._start = 0

    @property
    def html(self) -> str:
        """What was written."""
        return "".join(self.parts)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        """See HTMLParser."""
        classes = (dict(attrs).get("class") or "").split()
        if tag == "table":
            self._heads, self._rows, self._start = [], 0, len(self.parts)
        if tag == "tr":
            self._cell = 0
            self._rows += 1
            self._skip = self._rows > ROWS + 1
        self._in_head = tag == "th" or (self._in_head and tag not in ("td", "tr"))
        if tag == "th":
            self._heads.append("")
        if self._skip:
            return
        self.parts.append(self._open(tag, attrs, classes))
        if tag == "td":
            self._label()

    def handle_endtag(self, tag: str) -> None:
        """See HTMLParser."""
        if tag in ("tbody", "table"):
            self._skip = False
        if tag == "th":
            self._in_head = False
        if not self._skip and tag not in VOID:
            self._hide_empty(tag)
            self.parts.append(f"</{tag}>")
        if tag == "table":
            self._finish_table()

    def handle_data(self, data: str) -> None:
        """See HTMLParser."""
        text = printable(data)
        if self._in_head and self._heads:
            self._heads[-1] += text.strip()
        if not self._skip:
            self.parts.append(html.escape(text))

    def _open(self, tag: str, attrs: list, classes: list[str]) -> str:
        """A start tag with its style; cells have their alignment in an attribute, which is shorter."""
        styles = [BY_TAG.get(tag, "")] + [BY_CLASS.get(name, "") for name in classes if tag != "div" or name == "fact"]
        kept = "".join(
            f' {name}="{html.escape(value or "")}"' for name, value in attrs if name not in ("class", "href")
        )
        if tag == "div" and "callout" in classes:
            styles.append(_callout(next((name for name in classes if name in SOFT), "note")))
        if tag == "table":
            kept += ' cellpadding="6" cellspacing="0" width="100%"'
        if tag in ("td", "th"):
            kept += f' align="{"right" if "num" in classes else "left"}"'
        if tag == "td":
            styles.append(LINE)
        named = [name for name in classes if name not in ("num", "text", "long", "ob-table", "facts", "fact")]
        shown = f' class="{" ".join(named)}"' if named else ""
        style = ";".join(filter(None, styles))
        return f"<{tag}{shown}{kept}" + (f' style="{style}"' if style else "") + ">"

    def _label(self) -> None:
        """The name of the column before its cell, which only a phone shows."""
        if len(self._heads) > WIDE and self._cell < len(self._heads):
            self.parts.append(f'<span class="l" style="display:none">{html.escape(self._heads[self._cell])}</span>')
        self._cell += 1
        self._open_cell = len(self.parts)

    def _hide_empty(self, tag: str) -> None:
        """A cell without content has no line on a phone."""
        if tag == "td" and len(self.parts) == self._open_cell and self.parts[-1].startswith('<span class="l"'):
            self.parts.pop()
            self.parts[-1] = self.parts[-1].replace("<td", '<td class="e"', 1)

    def _finish_table(self) -> None:
        if len(self._heads) > WIDE:
            self.parts[self._start] = self.parts[self._start].replace("<table", '<table class="wide"', 1)
        if self._rows > ROWS + 1:
            self.parts.append(f"<p>… and {self._rows - ROWS - 1} more rows on the attached page.</p>")
