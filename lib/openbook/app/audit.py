"""Audit: was anything altered, and does a sealed day give the same outputs if it is run again?"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from openbook.app.approvals import audit_signatures
from openbook.app.service import book_place, books, kept_book
from openbook.common.desk_folder import find_desk
from openbook.common.errors import AuditError, BookError, OpenbookError
from openbook.decision.sealed_inputs import input_locations, sealed_day
from openbook.ledger import book
from openbook.ledger.schema import SCHEMA_VERSION as BOOK_FORMAT
from openbook.runs import audit_log, bytecode, closures, verification, views
from openbook.runs.provenance import notebook_file
from openbook.runs.rebuild import Made, rebuild
from openbook.runs.runner import execute_notebook, start_kernel
from openbook.runs.runs_folder import BOOKS, RunsFolder, read_run
from openbook.runs.stage import REPORT, RUN, Stage
from openbook.selection.champion import read_champion

FIRST_FORMAT = 2  # of the book, when runs did not record it yet


def verify(runs: Path, *, head: str | None = None) -> tuple[list[str], list[str]]:
    """(what was altered, notes on what could not be checked and on the rest), in words.

    The log's chain, every sealed run, every event of every book and the tables that follow from it, every signature of
    an approval or a reset against the keys that the desk lists, every champion, and the cells of each executed notebook
    against the repository. With `head`, also that the log still holds that entry.
    """
    problems = audit_log.check(runs, head)
    try:
        known = audit_log.entries(runs)
    except AuditError as error:
        return [*problems, str(error)], ["the log cannot be read, so nothing was compared with it"]
    problems += verification.check_runs(runs)
    notes: list[str] = []
    for kind, place in books(runs).items():
        problems += _check_book(runs, known, kind, place)
        unsound, signed = _check_signatures(runs, kind, place)
        problems, notes = [*problems, *unsound], [*notes, *signed]
    problems += verification.check_champions(runs, verify=read_champion)
    problems += verification.check_libraries(runs)
    problems += closures.altered(runs)
    problems += [f"{file} was not compiled from its source" for file in bytecode.unfaithful()]
    altered, unchecked = verification.check_cells(runs, find_desk())
    problems += altered
    events = sum(entry["kind"] == "event" for entry in known)
    sealed = len(RunsFolder(runs).list())
    n = len(problems)
    result = f"{n} problem{'s' if n > 1 else ''}" if n else "no problems"
    return problems, [*unchecked, *notes, f"{sealed} runs, {events} events, {len(known)} entries: {result}",
                      f"audit log head {audit_log.head(runs)}"]  # fmt: skip


def _check_book(runs: Path, known: list[dict], kind: str, place: Path | str) -> list[str]:
    """What is wrong with a book: its chain, its tables, its entries in the log, its views."""
    logged = {e["subject"]: e["digest"] for e in known if e["kind"] == "event"}
    try:
        book.audit_book(place)
        hashes = {f"{kind}/{seq}": digest for seq, digest in book.event_hashes(place)}
        edited = [
            f"{name} of the {kind} book was edited by hand; rebuild it with openbook views"
            for name in views.altered(runs / BOOKS / kind)
        ]
    except BookError as error:
        return [str(error)]
    mine = {subject: digest for subject, digest in logged.items() if subject.startswith(f"{kind}/")}
    other = sorted(key for key in {*hashes, *mine} if hashes.get(key) != mine.get(key))
    return [*(f"event {key} of the book does not match the log" for key in other), *edited]


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
    logged = [e["digest"] for e in audit_log.entries(runs) if (e["kind"], e["subject"]) == ("run", subject)]
    same = logged == [verification.run_digest(sealed)]
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
