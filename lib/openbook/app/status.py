"""`openbook status`: the state of champion, books and runs, in a few lines for a terminal."""

import csv
import datetime
import io
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from openbook.common.constants import BOOK_KINDS
from openbook.common.errors import OpenbookError
from openbook.notify import outbox
from openbook.report.overview import HISTORY, BookOverview, Overview, printable_lines, read_overview
from openbook.runs import audit_log, halt_markers, views
from openbook.runs.code_changes import void_because
from openbook.runs.runs_folder import BOOKS, read_run
from openbook.runs.summaries import DAILY, FAILURE, MARKS, ODD, RunSummary, plain
from openbook.runs.verification import require_as_logged
from openbook.runs.witness import head_line

WEEKS = 4
ALTERED = "ALTERED"  # begins the line of a run that is not the one in the log
AMOUNT = re.compile(r"-?[0-9]{1,15}\.?[0-9]*", re.ASCII)
NONE = "·"  # a weekday without a run


def status_lines(folder: str | Path) -> list[str]:
    """The champion, the books and the runs, in a few lines for a terminal."""
    seen, found = _read(folder)
    altered = altered_runs(seen)
    stops = [f"stop      {said}" for said in _stops(seen.folder)]
    lines = [f"runs      {seen.folder.absolute()}", *stops, f"champion  {seen.champion}"]
    lines[1:1] = [f"{ALTERED}   {said}" for said in (*disagreeing(seen.folder), *altered.values())]
    for book, last in found:
        lines += [f"book      {_book_line(book, last)}", *_book_notes(book), *_void(seen.folder, book)]
    if seen.last is not None and seen.last.folder not in altered:
        failed = "failed: " if seen.last.kind == FAILURE else ""
        lines.append(f"last      {seen.last.notebook} {seen.last.date}: {failed}{seen.last.summary}")
        lines += [*_strip(seen.days()), *_warnings(seen)]
    if seen.waiting:
        dates = ", ".join(seen.waiting)
        lines.append(f"waiting   for approval: orders of {dates}; openbook approve DATE --by NAME, or --token FILE")
    lines += [*outbox.status_lines(seen.folder, datetime.datetime.now(datetime.UTC)), *_counts(seen)]
    lines += _head(seen.folder)
    return lines if seen.rows else [*lines, "no runs yet; try openbook demo"]


def status_document(folder: str | Path) -> dict[str, Any]:
    """The same for a program; `last` of a book holds its last session as the performance history writes it."""
    seen, found = _read(folder)
    altered = altered_runs(seen)
    sealed = {row.notebook: row.date for row in seen.sealed}
    return {
        "runs": str(seen.folder.absolute()),
        "altered": [*disagreeing(seen.folder), *altered.values()],
        "stops": _stops(seen.folder),
        "champion": seen.champion,
        "books": [_book_document(seen.folder, book, last) for book, last in found],
        "last": None if seen.last is None or seen.last.folder in altered else asdict(seen.last),
        "waiting": seen.waiting,
        "sealed": {name: {"n": sum(r.notebook == name for r in seen.sealed), "last": sealed[name]} for name in sealed},
        "failed": len(seen.failed),
    }


def _read(folder: str | Path) -> tuple[Overview, list[tuple[BookOverview, dict[str, str]]]]:
    """The overview, and each book, asked itself, with its last session; nothing is written."""
    found = _books(Path(folder)) if _has_books(Path(folder)) else []
    return read_overview(folder, books=[overview for overview, _ in found]), found


def _book_document(folder: Path, book: BookOverview, last: dict[str, str]) -> dict[str, Any]:
    """A book for a program; `void` says which open orders can no longer be approved."""
    state = {"kind": book.kind, "switch": book.switch, "waiting": book.waiting, "open": book.open}
    void = [line.strip() for line in _void(folder, book)]
    return {**state, "last": last, "lines": book.lines, "edited": book.edited, "void": void}


def _head(runs: Path) -> list[str]:
    """The last entry of the log, to be kept elsewhere."""
    try:
        return [f"log head  {head_line(runs)}"] if (runs / audit_log.FILE).exists() else []
    except OpenbookError as error:
        return [f"log head  {plain(error)}"]


def disagreeing(folder: Path) -> list[str]:
    """What does not agree with the log, in words; what cannot be read is left to `openbook verify`."""
    if not (_has_books(folder) or (folder / audit_log.FILE).exists()):
        return []
    from openbook.app.agreement import compare

    try:
        return [plain(each.said) for each in compare(folder, readable=True).broken]
    except OpenbookError as error:
        return [plain(error)]


def altered_runs(seen: Overview) -> dict[str, str]:
    """Why the last sealed runs that a status reads from are not those in the log, by folder; empty if they are."""
    last = {row.notebook: row.folder for row in seen.sealed if row.notebook in ("compare", DAILY)}
    found = {}
    for folder in last.values():
        try:
            require_as_logged(seen.folder, seen.folder / folder)
        except OpenbookError as error:
            found[folder] = plain(error)
    return found


def _stops(folder: Path) -> list[str]:
    """What stops the orders of a book, and the book may not have recorded yet."""
    return list(dict.fromkeys(line for kind in BOOK_KINDS for line in halt_markers.stops(folder, kind)))


def _warnings(seen: Overview) -> Iterator[str]:
    """What the last comparison and the last daily page warn of."""
    last = {row.notebook: row for row in seen.sealed if row.notebook in ("compare", DAILY) and row.kind != ODD}
    for row in last.values():
        if row.folder in altered_runs(seen):
            continue
        if warning := read_run(seen.folder / row.folder)["recorded"].get("warning"):
            yield f"warning   {row.notebook} {row.date}: {plain(warning)}"


def _counts(seen: Overview) -> Iterator[str]:
    """How many runs of each notebook, and how many that failed."""
    for name in sorted({row.notebook for row in seen.sealed}):
        found = [row for row in seen.sealed if row.notebook == name]
        yield f"{name}: {len(found)} sealed, the last of {found[-1].date}"
    if seen.failed:
        last = seen.failed[-1]
        yield f"failed: {len(seen.failed)}, the last at {seen.folder / last.folder}"
        yield f"  {last.summary}"


def _strip(days: dict[str, RunSummary]) -> Iterator[str]:
    """A letter for each weekday of the four weeks that end with the last daily run, and what the letters mean."""
    if not days:
        return
    last = datetime.date.fromisoformat(max(days))
    monday = last - datetime.timedelta(days=last.weekday() + 7 * (WEEKS - 1))
    weeks = [[monday + datetime.timedelta(days=7 * week + day) for day in range(7)] for week in range(WEEKS)]
    letters = ["".join(_letter(day, days) for day in week if day <= last) for week in weeks]
    yield f"4 weeks   {' '.join(letters)}   Mondays from {monday} on"
    shown = {row.kind for date, row in days.items() if date >= monday.isoformat()}
    yield f"          {', '.join(f'{letter} {words}' for kind, (letter, words) in MARKS.items() if kind in shown)}"


def _letter(day: datetime.date, days: dict[str, RunSummary]) -> str:
    """The letter of a day; a weekend has none unless there was a run."""
    row = days.get(day.isoformat())
    if row is None:
        return NONE if day.weekday() < 5 else ""
    return MARKS[row.kind][0]


def _book_notes(book: BookOverview) -> list[str]:
    """The book in a few lines, and which of its views are not what it gives."""
    edited = (
        [f"  edited by hand or out of date: {', '.join(book.edited)}; rebuild with openbook views"]
        if book.edited
        else []
    )
    return [*(f"  {line}" for line in book.lines), *edited]


def _void(folder: Path, book: BookOverview) -> Iterator[str]:
    """A line for the open orders that can no longer be approved or exported, because something changed since."""
    for date in book.open:
        try:
            why = void_because(folder, date)
        except OpenbookError as error:
            why = plain(error)
        if why:
            yield f"  VOID: orders of {date}: {why}; to decide again: openbook run daily_run --date {date} --supersede"


def _has_books(runs: Path) -> bool:
    """Whether there may be a book, asked without what it takes to read one."""
    return any((runs / BOOKS).glob("*")) or any(os.environ.get(f"OPENBOOK_BOOK_{kind.upper()}") for kind in BOOK_KINDS)


def _books(runs: Path) -> list[tuple[BookOverview, dict[str, str]]]:
    """Each book as it is, and date, equity and so on of its last session as it shows them; nothing before the first."""
    from openbook.app.book_places import books

    there = books(runs)
    found = [_book(runs, kind, place) for kind, place in there.items()]
    for folder in sorted((runs / BOOKS).glob("*/")):
        if folder.name not in there:
            found.append((BookOverview(plain(folder.name), folder, ["  the book is missing"], []), {}))
    return found


def _book(runs: Path, kind: str, place: Path | str) -> tuple[BookOverview, dict[str, str]]:
    from openbook.app.service import made_views

    folder = runs / BOOKS / kind
    try:
        made = made_views(kind, place)
    except OpenbookError as error:
        return BookOverview(kind, folder, [f"  {plain(error)}"], []), {}
    history = list(csv.DictReader(io.StringIO(made[HISTORY].decode())))[-1:]
    last = {name: row[name] for row in history for name in list(row)[:4]}
    lines = printable_lines(json.loads(made[views.SUMMARY]))
    return BookOverview(kind, folder, lines, views.unlike(folder, made)), last


def _book_line(book: BookOverview, last: dict[str, str]) -> str:
    """A book and its last session, if there is one."""
    return ": ".join(filter(None, [book.kind, ", ".join(f"{name} {_cell_text(last[name])}" for name in last)]))


def _cell_text(cell: str) -> str:
    """A cell of the history; an amount in USD with commas and cents."""
    return f"{float(cell):,.2f}" if AMOUNT.fullmatch(cell) else plain(cell)
