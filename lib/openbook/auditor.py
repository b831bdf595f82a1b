"""What an auditor asks: was anything altered, and does that day come out the same if it is run again?"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from openbook.champion import read_champion
from openbook.desk import book
from openbook.errors import AuditError, BookError
from openbook.evening import handed, sealed_day
from openbook.record import audit, verification, views
from openbook.record.provenance import checkout, code
from openbook.record.runner import execute_notebook
from openbook.record.runs import BOOKS, RunsFolder, read_run
from openbook.record.stage import REPORT, RUN, Stage
from openbook.upkeep import book_place, books


def verify(runs: Path, *, head: str | None = None) -> tuple[list[str], list[str]]:
    """(what was altered, what could not be looked at and what is known of the rest), in words.

    The log's chain, every sealed run, every event of every book and the tables that follow from it, every champion, and
    the cells of each executed notebook against the repository. With `head`, also that the log still holds that entry.
    """
    problems = audit.check(runs, head)
    try:
        known = audit.entries(runs)
    except AuditError as error:
        return [*problems, str(error)], ["the log cannot be read: nothing else was compared with it"]
    problems += verification.check_runs(runs)
    problems += [line for kind, place in books(runs).items() for line in _check_book(runs, known, kind, place)]
    problems += verification.check_champions(runs, verify=read_champion)
    altered, unchecked = verification.check_cells(runs, checkout())
    problems += altered
    events = sum(entry["kind"] == "event" for entry in known)
    sealed = len(RunsFolder(runs).list())
    said = (
        "nothing was altered"
        if not problems
        else f"{len(problems)} thing{'s were' if len(problems) > 1 else ' was'} altered"
    )
    return problems, [*unchecked, f"{sealed} runs, {events} events, {len(known)} entries: {said}",
                      f"head of the log {audit.head(runs)}"]  # fmt: skip


def _check_book(runs: Path, known: list[dict], kind: str, place: Path | str) -> list[str]:
    """What is wrong with a book: its chain, its tables, its entries in the log, its views."""
    logged = {e["subject"]: e["digest"] for e in known if e["kind"] == "event"}
    try:
        book.audit_book(place)
        hashes = {f"{kind}/{seq}": digest for seq, digest in book.event_hashes(place)}
        edited = [f"{name} of the {kind} book was edited by hand" for name in views.altered(runs / BOOKS / kind)]
    except BookError as error:
        return [str(error)]
    mine = {subject: digest for subject, digest in logged.items() if subject.startswith(f"{kind}/")}
    other = sorted(key for key in {*hashes, *mine} if hashes.get(key) != mine.get(key))
    return [*(f"event {key} of the book is not what the log knows" for key in other), *edited]


def replay(runs: Path, date: str) -> tuple[list[str], list[str]]:
    """(the outputs that differ, what there is to say): a sealed daily run made again in a scratch folder."""
    run = read_run(sealed_day(runs, date))
    then, now = run["code"], code()
    lines = [] if then == now else [f"the code has changed since: {then['commit']}, now {now['commit']}"]
    with tempfile.TemporaryDirectory(prefix="openbook-replay-") as scratch:
        stage = run_again(runs, date, RunsFolder(scratch))
        different = _compare(run["outputs"], stage.require_finished()["outputs"])
    same = len(run["outputs"]) - len(different)
    lines += [f"{name} differs" for name in different]
    return different, [*lines, f"{same} of {len(run['outputs'])} outputs of {date} are the same, byte by byte"]


def run_again(
    runs: Path,
    date: str,
    scratch: RunsFolder,
    *,
    params: Mapping | None = None,
    champion: Path | None = None,
    note: str = "",
) -> Stage:
    """A sealed daily run executed again on a stage of another runs folder; nothing below `runs` changes.

    params : in the place of those it had; champion : folder of a bundle in the place of its own; note : what the page
        must say of it
    """
    sealed = sealed_day(runs, date)
    run, given = read_run(sealed), handed(sealed)
    same = params is None and champion is None
    about = {"inputs_hash": run["inputs_hash"], "inputs": run.get("inputs")} if same else {"inputs_hash": ""}
    params = run["params"] if params is None else params
    stage = scratch.stage("daily_run", date, profile=run["profile"], params=params, **about)
    given |= {"book": str(book_place(runs, "paper" if params["dry_run"] else "live")), "stage": str(stage.folder)}
    given |= {"champion": str(champion)} if champion else {}
    given |= {"champion_note": note} if note else {}
    execute_notebook(checkout() / "notebooks" / "daily_run.ipynb", stage, {**params, **given})
    return stage


def _compare(was: dict[str, str], now: dict[str, str]) -> list[str]:
    """Names of the outputs whose bytes differ, or that only one side has."""
    return sorted(name for name in {*was, *now} - {RUN, REPORT} if was.get(name) != now.get(name))
