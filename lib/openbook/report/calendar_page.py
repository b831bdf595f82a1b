"""runs/index.html: the calendar of all runs, one page that needs nothing else.

It is made from small files in the runs folder, without the clock: the same runs give the same bytes.
"""

import calendar
import datetime
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

from openbook.common.errors import OpenbookError
from openbook.report.equity_curve import Curve, draw_equity
from openbook.report.overview import BookOverview, Overview, read_equity, read_overview
from openbook.runs import registry
from openbook.runs.runs_folder import RunsFolder
from openbook.runs.summaries import DAILY, FAILURE, MARKS, PENDING, RunSummary, plain

INDEX = "index.html"
TEMPLATES = Path(__file__).parent / "templates"
N_LATEST = 10
N_FAILED = 50
LABEL = 140  # characters of a verdict in the grid, which has one for each day
MONTHS = [calendar.month_abbr[month] for month in range(1, 13)]
CALLOUT = {"ACTIVE": "ok", "REDUCE_ONLY": "warn", "HALTED": "stop", "unknown": "warn"}


@dataclass(frozen=True)
class Day:
    """One field of the grid."""

    css: str  # what it looks like; empty for a day that the month lacks
    row: RunSummary | None = None

    @property
    def letter(self) -> str:
        """Of MARKS."""
        return MARKS[cast(RunSummary, self.row).kind][0]

    @property
    def label(self) -> str:
        """Date and verdict."""
        row = cast(RunSummary, self.row)
        return plain(f"{row.date}: {outcome(row)}", LABEL)


@dataclass(frozen=True)
class Year:
    """A year at a glance."""

    year: int
    months: list[tuple[str, list[Day]]]  # name, 31 days; empty if no daily run is of that year
    others: list[tuple[str, list[RunSummary]]]  # notebook, its sealed runs
    counts: list[tuple[str, int]]  # kind, days


def publish_calendar(folder: str | Path) -> Path:
    """Write runs/index.html anew, reading only the runs that came since the last time; call it under the lock."""
    runs = RunsFolder(folder)
    return runs.publish(INDEX, render_calendar(runs.folder, keep=True).encode())


def render_calendar(folder: str | Path, *, keep: bool = False) -> str:
    """The page as HTML; the same runs give the same bytes. `keep` as in `read_rows`."""
    seen = read_overview(folder, keep=keep)
    style = [(TEMPLATES / room / "style.css").read_text(encoding="utf-8").strip() for room in ("report", "calendar")]
    return _template().render(
        style="\n".join(style),
        seen=seen,
        callouts=CALLOUT,
        curves=[(book, *_curve(book)) for book in seen.books],
        years=years(seen),
        latest=sorted(seen.sealed, key=_newest)[::-1][:N_LATEST],
        failed=sorted(seen.failed, key=_newest)[::-1][:N_FAILED],
        champions=_champions(seen.folder),
        marks=MARKS,
        outcome=outcome,
        day_numbers=range(1, 32),
    )


@cache
def _template():
    """The page to be filled in, compiled once in a process."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES / "calendar"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("index.html.j2")


def outcome(row: RunSummary) -> str:
    """A verdict in words: pending and failed runs are named, not only colored."""
    if row.kind == PENDING:
        return f"{row.summary}, waiting for approval"
    return f"failed: {row.summary}" if row.kind == FAILURE else row.summary


def years(seen: Overview) -> list[Year]:
    """The years that have a run, newest first."""
    days = seen.days()
    found = sorted({int(row.date[:4]) for row in (*seen.sealed, *days.values())}, reverse=True)
    return [_year(year, seen, {date: row for date, row in days.items() if int(date[:4]) == year}) for year in found]


def _year(year: int, seen: Overview, days: dict[str, RunSummary]) -> Year:
    others = [row for row in seen.sealed if row.notebook != DAILY and int(row.date[:4]) == year]
    names = sorted({row.notebook for row in others})
    return Year(
        year,
        [(MONTHS[n - 1], [_day(year, n, day, days) for day in range(1, 32)]) for n in range(1, 13)] if days else [],
        [(name, [row for row in others if row.notebook == name]) for name in names],
        [(kind, n) for kind in MARKS if (n := sum(row.kind == kind for row in days.values()))],
    )


def _day(year: int, month: int, day: int, days: dict[str, RunSummary]) -> Day:
    if day > calendar.monthrange(year, month)[1]:
        return Day("")
    row = days.get(f"{year:04}-{month:02}-{day:02}")
    if row is not None:
        return Day(row.kind, row)
    return Day("we" if datetime.date(year, month, day).weekday() > 4 else "wd")


def _newest(row: RunSummary) -> tuple:
    """By date; of one date the daily run comes last, as it does on the desk."""
    return row.date, row.notebook == DAILY, row.number


def _curve(book: BookOverview) -> tuple[Curve | None, str]:
    """The equity of a book, and what keeps it from being shown."""
    try:
        points = read_equity(book.place)
    except (OSError, ValueError) as error:
        return None, f"cannot read its published history: {plain(error)}; rebuild it with openbook views"
    return (draw_equity(points), "") if len(points) > 1 else (None, "the chart needs at least two sessions")


def _champions(folder: Path) -> tuple[list[dict], str]:
    """The history of the champion, newest first, and what is wrong with it."""
    try:
        entries = registry.history(folder)
    except OpenbookError as error:
        return [], plain(error)
    gone = registry.rolled_back(entries)
    return [_champion(entry, gone) for entry in reversed(entries)], ""


def _champion(entry: dict, gone: dict) -> dict:
    card, back = entry["metadata"], entry.get("rollback")
    if back:
        event = f"restored by a rollback by {back['who']}: {back['reason']}"
    else:
        chosen = "promoted" if card.get("vetted") is True else "selected, paper only"
        event = f"{chosen}, rolled back later" if entry["sha256"] in gone else chosen
    return {
        "since": plain(str(back["when"] if back else card.get("selected", "?"))[:10]),
        "who": plain(" × ".join(str(card[key]) for key in ("model", "optimizer") if key in card) or "unnamed"),
        "vetted": "yes" if card.get("vetted") is True else "no: paper only",
        "event": plain(event),
        "sha256": entry["sha256"][: registry.SHORT],
    }
