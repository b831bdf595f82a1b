"""Audit: was anything altered, and does a sealed day give the same outputs if it is run again?"""

import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from openbook.app.agreement import compare
from openbook.app.approvals import audit_signatures
from openbook.app.book_places import book_place, books, kept_book
from openbook.app.service import made_views, store_of
from openbook.common.desk_folder import find_desk
from openbook.common.errors import AuditError, BookError, OpenbookError
from openbook.decision.sealed_inputs import input_locations, sealed_day
from openbook.ledger import book
from openbook.ledger.schema import SCHEMA_VERSION as BOOK_FORMAT
from openbook.market.sources import parse_source
from openbook.market.store import audit_store, store_fingerprint
from openbook.market.store.manifest import MANIFEST
from openbook.report.calendar_page import INDEX, render_calendar
from openbook.runs import audit_log, bytecode, registry, score_files, store_states, verification, views
from openbook.runs.coverage import links, not_covered
from openbook.runs.provenance import notebook_file
from openbook.runs.rebuild import Made, rebuild
from openbook.runs.runner import execute_notebook, start_kernel
from openbook.runs.runs_folder import BOOKS, STORE, RunsFolder, read_run
from openbook.runs.stage import REPORT, RUN, Stage
from openbook.runs.timestamps import check_stamps
from openbook.runs.witness import KeptHead, check_heads, head_line, kept_heads
from openbook.selection.champion import refusal, verify_champion

FIRST_FORMAT = 2  # of the book, when runs did not record it yet


def verify(runs: Path, *, head: str | None = None) -> tuple[list[str], list[str]]:
    """(what was altered, notes on what could not be checked and on the rest), in words.

    The log's chain and all that it names, every sealed run, every event of every book and the tables that follow from
    it, every signature of an approval or a reset against the keys that the desk lists, every champion, the prices
    against the fingerprints that the runs recorded, the cells of each executed notebook against the repository. Views
    and the calendar are made again and compared; every other file is named.

    head : the hash of a log entry that was kept elsewhere, or a file with lines that name some
    """
    heads = kept_heads(head) if head else []
    problems = audit_log.check(runs)
    try:
        known = audit_log.entries(runs)
    except AuditError as error:
        return [*problems, str(error)], ["the log cannot be read, so nothing was compared with it"]
    agreement = compare(runs, readable=True)
    problems += [each.said for each in agreement.broken]
    problems += verification.check_runs(runs)
    notes = [f"not logged yet, since a command was ended: {', '.join(agreement.waiting)}"] if agreement.waiting else []
    for kind, place in books(runs).items():
        problems += _check_book(runs, kind, place)
        unsound, signed = _check_signatures(runs, kind, place)
        problems, notes = [*problems, *unsound], [*notes, *signed]
    problems += verification.check_champions(runs, verify=verify_champion)
    notes += _note_of_champion(runs)
    problems += verification.check_libraries(runs)
    problems += _check_stores(runs)
    problems += [f"{name} is a symbolic link, and what it leads to can be altered elsewhere" for name in links(runs)]
    problems += [*_check_calendar(runs), *score_files.check(runs)]
    problems += [f"{file} was not compiled from its source" for file in bytecode.unfaithful()]
    altered, unchecked = verification.check_cells(runs, find_desk())
    problems += altered
    events = sum(entry["kind"] == "event" for entry in known)
    sealed = len(RunsFolder(runs).list())
    witnessed = _check_witnesses(runs, heads)
    problems += witnessed[0]
    n, rest = len(problems), not_covered(runs)
    result = f"{n} problem{'s' if n > 1 else ''}" if n else "no problems"
    left = [f"not covered: {', '.join(rest)}"] if rest else []
    counts = f"{sealed} runs, {events} events, {len(known)} entries: {result}"
    return problems, [*unchecked, *notes, *left, *witnessed[1], counts, f"audit log head {head_line(runs)}"]


def _check_witnesses(runs: Path, heads: list[KeptHead]) -> tuple[list[str], list[str]]:
    """(what is wrong, up to when the log is known to be unaltered): heads that were kept elsewhere, and stamps."""
    problems, known = check_heads(runs, heads)
    unsound, stamped = check_stamps(runs)
    known = [*known, *stamped[-1:]]
    if not any(line.startswith("unaltered since") for line in known):
        known.append(
            "cannot tell whether all of it was made anew by somebody who can write here: give a head that was kept "
            "elsewhere, from a mail, approve or status, with --head"
        )
    return [*problems, *unsound], known


def _check_book(runs: Path, kind: str, place: Path | str) -> list[str]:
    """What is wrong with a book: its chain, its tables, its views."""
    try:
        book.audit_book(place)
        made = made_views(kind, place)
    except BookError as error:
        return [str(error)]
    return [
        f"{name} of the {kind} book was edited by hand or is out of date; rebuild it with openbook views"
        for name in views.unlike(runs / BOOKS / kind, made)
    ]


def _note_of_champion(runs: Path) -> list[str]:
    """A line if the desk's own files changed since the champion in use was selected, which alters no sealed run."""
    with suppress(OpenbookError):  # findings of their own
        entries = registry.history(runs)
        if entries and (said := refusal(registry.place(runs, entries[-1]["sha256"]))):
            return [said]
    return []


def _check_stores(runs: Path) -> list[str]:
    """What is wrong with the prices: damaged files, data that are not those of their fingerprints, and prices that are
    not those from which a sealed run was made, unless the log has a correction of that session."""
    stores = sorted(path.parent for path in (runs / STORE).glob(f"*/{MANIFEST}"))
    problems = {store: audit_store(store) for store in stores}
    for run in RunsFolder(runs).list():
        with suppress(OpenbookError):  # findings of their own
            about = read_run(run.folder)
            made_from = (about.get("inputs") or {}).get("data")
            store = store_of(runs, parse_source(about["params"]["source"], sealed=True)) if made_from else None
            if store is None or problems.get(store, [""]) or store_fingerprint(store, run.date) == made_from:
                continue
            if not store_states.corrected(runs, store.name, run.subject, run.date):
                problems[store].append(f"{store} does not have the prices that {run.notebook} {run.date} was made from")
    return [line for found in problems.values() for line in found]


def _check_calendar(runs: Path) -> list[str]:
    """A line if index.html is not the page of these runs."""
    file = runs / INDEX
    if not file.is_file() or file.read_bytes() == render_calendar(runs).encode():
        return []
    return [f"{INDEX} was altered or is out of date; the next command that writes makes it again"]


def _check_signatures(runs: Path, kind: str, place: Path | str) -> tuple[list[str], list[str]]:
    """What is wrong with the approvals and resets of a book, and notes; of a book that cannot be read nothing, for
    `_check_book` says so."""
    try:
        return audit_signatures(runs, kind, place)
    except BookError:
        return [], []


def replay(runs: Path, date: str) -> tuple[list[str], list[str]]:
    """(the outputs that differ, notes): a sealed daily run executed again in a scratch folder.

    It runs the cells that were sealed, with the library and the packages of then: what is installed where that is the
    same, else the library that was kept and an environment built from what the run recorded.
    """
    sealed = sealed_day(runs, date)
    run = read_run(sealed)
    with tempfile.TemporaryDirectory(prefix="openbook-replay-") as scratch:
        made = rebuild(runs, sealed, Path(scratch))
        try:
            stage = run_again(runs, date, RunsFolder(Path(scratch) / "runs"), made=made)
        except OpenbookError as error:
            raise type(error)("; ".join([*made.lines, str(error)])) from None
        different = _compare(run["outputs"], stage.require_finished()["outputs"])
    same = len(run["outputs"]) - len(different)
    if broken := _unlike_the_log(runs, sealed):
        different.append(RUN)
    lines = [*made.lines, *broken, *(f"{name} differs" for name in different if name != RUN)]
    return different, [*lines, f"{same} of {len(run['outputs'])} outputs of {date} are identical, byte for byte"]


def _unlike_the_log(runs: Path, sealed: Path) -> list[str]:
    """A line if a sealed run differs from its entry in the log; its own run.json proves nothing then."""
    subject = f"{sealed.parent.name}/{sealed.name}"
    same = audit_log.logged(runs, "run").get(subject) == verification.run_digest(sealed)
    return [] if same else [f"{subject} does not match the log; see openbook verify"]


def run_again(
    runs: Path,
    date: str,
    scratch: RunsFolder,
    *,
    params: Mapping | None = None,
    champion: Path | None = None,
    note: str = "",
    made: Made | None = None,
) -> Stage:
    """A sealed daily run executed again on a stage of another runs folder; nothing below `runs` changes.

    params : in the place of those it had; champion : folder of a bundle in the place of its own; note : what the page
        must say of it
    made : what it is executed with; None: the notebook of the desk, the library and the packages that run this
    """
    sealed = sealed_day(runs, date)
    run, given = read_run(sealed), input_locations(sealed)
    same = params is None and champion is None
    about = {"inputs_hash": run["inputs_hash"], "inputs": run.get("inputs")} if same else {"inputs_hash": ""}
    params = run["params"] if params is None else params
    stage = scratch.stage("daily_run", run["date"], profile=run["profile"], params=params, **about)
    given |= {"book": str(_book_of(runs, run, params)), "stage": str(stage.folder)}
    given |= {"champion": str(champion)} if champion else {}
    given |= {"champion_note": note} if note else {}
    notebook = made.notebook if made else notebook_file(find_desk(), "daily_run")
    kernel = start_kernel(python=made.python, library=made.library) if made else start_kernel()
    execute_notebook(notebook, stage, {**params, **given}, kernel=kernel)
    return stage


def _book_of(runs: Path, run: Mapping, params: Mapping) -> Path | str:
    """The book that a sealed run read; if it was upgraded since, the copy from before."""
    kind, was = "paper" if params["dry_run"] else "live", run.get("formats", {}).get("book", FIRST_FORMAT)
    return book_place(runs, kind) if was == BOOK_FORMAT else kept_book(runs, kind, was)


def _compare(was: dict[str, str], now: dict[str, str]) -> list[str]:
    """Names of the outputs whose bytes differ, or that only one side has."""
    return sorted(name for name in {*was, *now} - {RUN, REPORT} if was.get(name) != now.get(name))
