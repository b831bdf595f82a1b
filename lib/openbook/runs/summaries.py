"""One small row per run, sealed or failed: what the calendar and `openbook status` show.

A sealed run never changes, so its row is kept beside the runs, with the time and the size of the file that it was read
from, and a thousand runs need not be read again. Deleting what is kept costs time, nothing else.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from openbook.common.errors import OpenbookError, UsageError
from openbook.common.files import replace_file, storage
from openbook.common.strict_json import parse_json
from openbook.runs.runs_folder import (
    FAILED,
    WHY,
    RunsFolder,
    attempt_of,
    check_date,
    check_notebook,
    read_note,
    read_run,
)
from openbook.runs.stage import REPORT, RUN, json_bytes

KNOWN = ".index.json"
SCHEMA_VERSION = 1
ATTEMPT_OUTPUT = {"output_type?": str, "ename?": str, "evalue?": str}
DAILY = "daily_run"
LONGEST = 300  # characters of a verdict or an error
PENDING, ORDERS, NOTHING, REDUCED, HALTED = "pending", "orders", "nothing", "reduced", "halted"
FAILURE, NOT_YET, DONE, ODD = "failed", "notyet", "done", "odd"
SWITCH = {"REDUCE_ONLY": REDUCED, "HALTED": HALTED}
MARKS = {  # a letter and its words, in the order of a legend: color is never the only sign
    PENDING: ("P", "orders pending approval"),
    ORDERS: ("O", "orders"),
    NOTHING: ("N", "no orders"),
    REDUCED: ("R", "reduce only"),
    HALTED: ("H", "halted"),
    NOT_YET: ("W", "waiting for prices"),
    FAILURE: ("F", "failed"),
    ODD: ("?", "result cannot be read"),
}


@dataclass(frozen=True, order=True)
class RunSummary:
    """One run: when, what, where it lies, and its outcome in words."""

    date: str
    notebook: str
    number: int  # version of a sealed run, attempt of a failed one
    folder: str  # below the runs folder
    kind: str  # of MARKS, or DONE for a notebook that decides no orders
    summary: str  # verdict, or why it failed; one printable line
    page: str  # what to open, below the runs folder


def read_rows(folder: str | Path, *, keep: bool = False) -> list[RunSummary]:
    """Every sealed run and every failed attempt, by date; reads only what is new since rows were kept.

    keep : keep the rows for the next time; a question keeps nothing
    """
    runs = RunsFolder(folder)
    known, rows = _known(runs.folder), []
    now: dict[str, list] = {}
    for date, notebook, number, path in _found(runs):
        name = path.relative_to(runs.folder).as_posix()
        stamp = _stamp(path)
        kept = known.get(name)
        now[name] = kept if kept is not None and kept[:2] == stamp else [*stamp, *_read(path, notebook)]
        kind, summary, page = now[name][2:]
        rows.append(RunSummary(date, notebook, number, name, kind, summary, f"{name}/{page}"))
    if keep and now != known:
        with storage(f"write {runs.folder / KNOWN}"):
            replace_file(runs.folder / KNOWN, json_bytes({"schema_version": SCHEMA_VERSION, "rows": now}))
    return sorted(rows)


def plain(value, longest: int = LONGEST) -> str:
    """Any value as one printable line: a terminal obeys no control character of it, a page turns no text around."""
    text = " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _known(folder: Path) -> dict[str, list]:
    """The rows that were kept, by folder; none where they cannot be read, or were kept by another version."""
    try:
        kept = parse_json((folder / KNOWN).read_bytes(), {"schema_version": int, "rows": {str: [(int, str)]}})
    except (OSError, ValueError):
        return {}
    rows = kept["rows"] if kept["schema_version"] == SCHEMA_VERSION else {}
    return {name: row for name, row in rows.items() if _is_row(row)}


def _is_row(row: list) -> bool:
    """Time, size, kind, summary and page."""
    return [type(item) for item in row] == [int, int, str, str, str] and row[2] in {*MARKS, DONE}


def _found(runs: RunsFolder) -> Iterator[tuple[str, str, int, Path]]:
    """Date, notebook, version or attempt, and folder of every sealed run and of what every failed attempt left."""
    for run in runs.list():
        if _named(run.date, run.notebook):
            yield run.date, run.notebook, run.version, run.folder
    for path in (runs.folder / FAILED).glob("*/*"):
        named = attempt_of(path)
        if named and _named(named[0], path.parent.name) and path.is_dir():
            yield named[0], path.parent.name, named[1], path


def _named(date: str, notebook: str) -> bool:
    """Whether a run can have these names: a folder made by hand is not a run."""
    try:
        return bool(check_date(date) and check_notebook(notebook))
    except UsageError:
        return False


def _failed(path: Path) -> bool:
    return path.parent.parent.name == FAILED


def _stamp(path: Path) -> list[int]:
    """Time and size of what a row is read from: run.json, or the folder that a failed attempt left."""
    file = path if _failed(path) else path / RUN
    with storage(f"look at {file}"):
        found = file.stat()
    return [found.st_mtime_ns, found.st_size]


def _read(path: Path, notebook: str) -> tuple[str, str, str]:
    """Kind, words, and what to open in the folder of one run."""
    if _failed(path):
        waits = _not_yet(path)
        return (NOT_YET, waits, "") if waits else (FAILURE, _why(path, notebook), "")
    page = REPORT if (path / REPORT).is_file() else ""
    try:
        recorded = read_run(path)["recorded"]
        summary = plain(recorded.get("verdict", "no result was recorded"))
    except OpenbookError:
        return ODD, f"{RUN} cannot be read", page
    return _kind(recorded) if notebook == DAILY else DONE, summary, page


def _kind(recorded: dict) -> str:
    """What a daily run decided: the kill switch first, then whether there are orders."""
    switch, orders = recorded.get("switch"), recorded.get("orders")
    if switch in SWITCH:
        return SWITCH[switch]
    if switch != "ACTIVE" or not (isinstance(orders, int) and orders >= 0):
        return ODD
    return ORDERS if orders else NOTHING


def _not_yet(path: Path) -> str:
    """What an attempt waits for that came before its prices, and in time; empty for one that failed."""
    try:
        note = read_note(path)
    except (OSError, ValueError):
        return ""
    date, tried, until = path.name.rpartition("-")[0], note.get("tried", ""), note.get("until", "")
    words = f"waiting for prices of {date} until {until}; last tried {tried}; {note['why']}"
    return plain(words) if tried < until else ""


def _why(path: Path, notebook: str) -> str:
    """Why an attempt failed: what was noted then, or the error that its notebook ended with."""
    try:
        note = read_note(path)
        return plain(f"{note['why']} (exit code {note['exit_code']})")
    except FileNotFoundError:
        return _last_error(path / f"{notebook}.ipynb")
    except (OSError, ValueError):
        return f"{WHY} cannot be read"


def _last_error(notebook: Path) -> str:
    """The error in an executed notebook; one whose kernel was ended from outside has none."""
    try:
        cells = parse_json(notebook.read_bytes(), {"cells": [{"outputs?": [ATTEMPT_OUTPUT]}]})["cells"]
    except FileNotFoundError:
        return "interrupted before its first cell"
    except (OSError, ValueError):
        return "the notebook of this attempt cannot be read"
    errors = [out for cell in cells for out in cell.get("outputs", []) if out.get("output_type") == "error"]
    last = errors[-1] if errors else {}
    return plain(f"{last.get('ename')}: {last.get('evalue')}") if errors else "interrupted; no error was recorded"
