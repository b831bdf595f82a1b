"""The state of a runs folder, from small files: the books, their kill switches, the champion, pending orders."""

import csv
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

from openbook.common.errors import OpenbookError
from openbook.runs import registry, views
from openbook.runs.lineage import vetted
from openbook.runs.runs_folder import BOOKS, RunsFolder
from openbook.runs.summaries import DAILY, FAILURE, NOT_YET, ORDERS, PENDING, RunSummary, plain, read_rows

HISTORY = "performance_history.csv"
STATES = ("ACTIVE", "REDUCE_ONLY", "HALTED")
_SWITCH = re.compile(r"\w+ book: (?:kill switch )?(?:not tripped \()?(\w+)", re.ASCII)
_OPEN = re.compile(r"\s*orders of ([0-9]{4}-[0-9]{2}-[0-9]{2}): [^;]*\b(?:PENDING|APPROVED)\b", re.ASCII)
_WAITS = re.compile(r"\s*orders of ([0-9]{4}-[0-9]{2}-[0-9]{2}): [^;]*\bPENDING\b", re.ASCII)


@dataclass(frozen=True)
class BookOverview:
    """One book after the last command."""

    kind: str
    place: Path
    lines: list[str]  # from its summary; empty before the first command
    edited: list[str]  # views that were edited by hand

    @property
    def switch(self) -> str:
        """State of the kill switch, of STATES; 'unknown' if the summary does not have it."""
        match = _SWITCH.match(self.lines[0]) if self.lines else None
        return match[1] if match and match[1] in STATES else "unknown"

    @property
    def open(self) -> list[str]:
        """Sessions with orders that can still be approved or exported."""
        return [match[1] for line in self.lines if (match := _OPEN.match(line))]

    @property
    def waiting(self) -> list[str]:
        """Sessions whose orders a person still has to approve."""
        return [match[1] for line in self.lines if (match := _WAITS.match(line))]


@dataclass(frozen=True)
class Overview:
    """Everything that the calendar and the terminal show."""

    folder: Path
    books: list[BookOverview]
    champion: str
    rows: list[RunSummary]

    @property
    def sealed(self) -> list[RunSummary]:
        """Sealed runs, by date."""
        return [row for row in self.rows if row.kind not in (FAILURE, NOT_YET)]

    @property
    def failed(self) -> list[RunSummary]:
        """Failed attempts, by date."""
        return [row for row in self.rows if row.kind == FAILURE]

    @property
    def last(self) -> RunSummary | None:
        """The last daily run, sealed or failed; before the first, the last run of any notebook."""
        days = self.days()
        return days[max(days)] if days else next(iter(self.rows[-1:]), None)

    @property
    def waiting(self) -> list[str]:
        """Sessions whose orders a person still has to approve, in any book."""
        return sorted({date for book in self.books for date in book.waiting})

    def days(self) -> dict[str, RunSummary]:
        """The daily run of each date: the newest sealed one, or the last other attempt if none was sealed."""
        others = [row for row in self.rows if row.kind in (FAILURE, NOT_YET)]
        daily = [row for row in (*others, *self.sealed) if row.notebook == DAILY]
        return {row.date: row for row in daily}


def read_overview(folder: str | Path, *, keep: bool = False, books: list[BookOverview] | None = None) -> Overview:
    """The overview; `keep` as in `read_rows`.

    books : as the books themselves have it; None: as their summaries do, which are from the last command
    """
    runs = RunsFolder(folder)
    if books is None:
        books = [_book(place) for place in sorted((runs.folder / BOOKS).glob("*")) if place.is_dir()]
    waiting = {date for book in books for date in book.waiting}
    rows = [_marked(row, waiting) for row in read_rows(runs.folder, keep=keep)]
    return Overview(runs.folder, books, champion_line(runs), rows)


def champion_line(runs: RunsFolder) -> str:
    """The champion in one line; what is wrong with it, if something is."""
    try:
        if runs.champion() is None:
            return "none yet"
    except OpenbookError as error:
        return plain(error)
    last = registry.history(runs.folder)[-1]
    who = f"{registry.describe(last)}, {vetted(last['metadata'])}"
    if "rollback" not in last:
        return plain(who)
    back = last["rollback"]
    text = f"{who}; restored {back['when']} by a rollback by {back['who']}: {back['reason']}"
    return plain(text, 500)


def read_equity(place: Path) -> list[tuple[str, float, float]]:
    """Date, equity in USD and drawdown (0 or below, deposits left out) of each session of a book.

    Empty before the first session. Raises ValueError if its published history was altered.
    """
    if HISTORY in views.altered(place):
        raise ValueError(f"{HISTORY} was edited by hand")
    curve, growth, peak = [], 1.0, 1.0
    for row in read_history(place):
        equity, daily = float(row.get("equity") or "nan"), float(row.get("daily_return") or "nan")
        growth *= 1 + daily
        peak = max(peak, growth)
        if not (math.isfinite(equity) and math.isfinite(growth)):
            raise ValueError(f"{row.get('date')} has no equity or no daily return")
        curve.append((plain(row.get("date"), 10), equity, growth / peak - 1))
    return curve


def read_history(place: Path) -> list[dict[str, str]]:
    """The published history of a book as text, by date; empty before the first. ValueError if it is no table."""
    file = place / HISTORY
    if not file.is_file():
        return []
    try:
        with open(file, encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
    except csv.Error as error:
        raise ValueError(f"{HISTORY}: {error}") from None
    if not all(isinstance(cell, str) for row in rows for pair in row.items() for cell in pair):
        raise ValueError(f"{HISTORY}: a row has more or fewer cells than the header")
    return rows


def _book(place: Path) -> BookOverview:
    try:
        lines = [str(line) for line in views.summary(place)]
    except OpenbookError:
        lines = [f"{place.name} book: cannot read {views.SUMMARY}; rebuild it with openbook views"]
    return BookOverview(plain(place.name), place, printable_lines(lines), views.altered(place))


def printable_lines(lines: list[str]) -> list[str]:
    """Lines of a book's summary without control characters, as far indented as they were."""
    return [line[: len(line) - len(line.lstrip(" "))] + plain(line) for line in lines]


def _marked(row: RunSummary, waiting: set[str]) -> RunSummary:
    """Mark a row with orders pending approval."""
    return replace(row, kind=PENDING) if row.kind == ORDERS and row.date in waiting else row
