"""Do the log and everything that it names agree? A part that was put back from a backup, or deleted, does not.

Every command that writes asks this before it works. What a crash left is no disagreement: an event, a promotion or a
closure that is not logged yet, a run or a store that the log announced. What a person accepts is waived by entries in
that person's name, and halts every book: an order that was halted or filled since must not come back with a backup.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from openbook.app.book_places import books, event_digests, the_book
from openbook.common.constants import BOOK_KINDS
from openbook.common.errors import AuditError, BookError, OpenbookError
from openbook.ledger import book
from openbook.runs import audit_log, closures, last_head, registry, store_states
from openbook.runs.runs_folder import RunsFolder
from openbook.runs.stage import RUN
from openbook.runs.verification import run_digest

SHOWN = 3  # disagreements that an error names
WAYS = (
    "put the missing part back from the same backup as the rest, or accept what is here with openbook reset --restored "
    "--who NAME --reason WHY, which halts every book; see openbook verify --restored"
)


@dataclass(frozen=True)
class Disagreement:
    """A part that is not as the log has it, in words, and the entries (kind, subject) that it breaks; `error` ends a
    command if nothing else is wrong."""

    said: str
    breaks: tuple[tuple[str, str], ...] = ()
    error: type[OpenbookError] = AuditError


@dataclass(frozen=True)
class Agreement:
    """broken : what does not agree; waiting : what a crash left unlogged, and the next command logs"""

    broken: list[Disagreement]
    waiting: list[str]


def require_agreement(runs: Path) -> None:
    """AuditError (90) naming what does not agree with the log, BookError (60) if only a book is missing. Raises what
    keeps a part from being read, too."""
    if broken := compare(runs).broken:
        more = f"; and {len(broken) - SHOWN} more" if len(broken) > SHOWN else ""
        errors = {each.error for each in broken}
        error = errors.pop() if len(errors) == 1 else AuditError
        raise error(f"{'; '.join(each.said for each in broken[:SHOWN])}{more}. Nothing was changed: {WAYS}")


def compare(runs: Path, *, readable: bool = False) -> Agreement:
    """What does not agree with the log, and what is not logged yet. Raises what keeps a part from being read, unless
    only the `readable` parts are asked for."""
    found = audit_log.entries(runs)
    if not found:
        return Agreement(list(_without_log(RunsFolder(runs))), [])
    held = audit_log.standing(found)
    parts = [partial(part, runs, held) for part in (_of_books, _of_champions, _of_closures, _of_runs)]
    parts += [partial(_of_stores, runs, found)]
    broken: list[Disagreement] = list(_of_head(runs, found))
    waiting: list[str] = []
    for compare_part in parts:
        with suppress(*[OpenbookError] if readable else []):
            part = compare_part()
            broken, waiting = [*broken, *part.broken], [*waiting, *part.waiting]
    return Agreement(broken, waiting)


# ---- the parts ----


def _without_log(folder: RunsFolder) -> Iterator[Disagreement]:
    """What lies there without a log; a book that was only opened may be what a crash left of the first command."""
    runs = folder.folder
    things = [f"{n} sealed runs"] if (n := len(folder.list())) else []
    things += ["champions"] if registry.history(runs) else []
    things += [f"events of the {kind} book" for kind, place in books(runs).items() if len(book.event_hashes(place)) > 1]
    if things:
        yield Disagreement(f"{runs / audit_log.FILE} is missing, though there are {', '.join(things)}")


def _of_head(runs: Path, found: Sequence[Mapping]) -> Iterator[Disagreement]:
    seen = last_head.remembered(runs)
    if seen is not None and seen["hash"] not in {entry["hash"] for entry in found}:
        last = f"its last is entry {found[-1]['n']} of {found[-1]['when']}"
        yield Disagreement(f"the log lacks entry {seen['n']} of {seen['when']}, which was seen on this machine; {last}")


def _of_books(runs: Path, held: Mapping) -> Agreement:
    broken, waiting, there = [], [], books(runs)
    for kind in BOOK_KINDS:
        events = audit_log.of_kind(held, "event")
        logged = {subject: digest for subject, digest in events.items() if subject.startswith(f"{kind}/")}
        if logged and kind not in there:
            where = f"{the_book(runs, kind)[1]} (or set OPENBOOK_BOOK_{kind.upper()})"
            said = f"the {kind} book is missing at {where}; the log has {len(logged)} of its events"
            broken.append(Disagreement(said, tuple(("event", subject) for subject in logged), BookError))
        if kind in there:
            found = event_digests(kind, there[kind])
            broken += _unlike(
                found, logged, "event", f"the {kind} book lacks event {{}} of the log", "event {} of the book"
            )
            waiting += _unlogged(found, logged, "event {} of the book")
            for seq, session in book.decisions(there[kind]).items():
                if f"{kind}/{seq}" not in logged and not _announced(held, session):
                    broken.append(
                        Disagreement(f"the {kind} book has decided {session}, of which the log knows nothing")
                    )
    return Agreement(broken, waiting)


def _announced(held: Mapping, session: str) -> bool:
    """Whether the log announced a daily run of that session."""
    return any(kind == "sealing" and subject.startswith(f"daily_run/{session}") for kind, subject in held)


def _of_champions(runs: Path, held: Mapping) -> Agreement:
    found = registry.digests(runs)
    logged = audit_log.of_kind(held, "promotion")
    lacks = f"{{}} is in the log, but not in the history of {registry.POINTER}"
    differs = f"{{}} in the history of {registry.POINTER}"
    return Agreement(_unlike(found, logged, "promotion", lacks, differs), _unlogged(found, logged, "{}"))


def _of_closures(runs: Path, held: Mapping) -> Agreement:
    found = closures.digests(runs)
    logged = audit_log.of_kind(held, "closure")
    lacks, differs = f"{closures.FILE} lacks {{}}, which is in the log", f"{{}} of {closures.FILE}"
    return Agreement(_unlike(found, logged, "closure", lacks, differs), _unlogged(found, logged, "{}"))


def _of_runs(runs: Path, held: Mapping) -> Agreement:
    sealed = {run.subject: run.folder for run in RunsFolder(runs).list()}
    logged = audit_log.of_kind(held, "run")
    broken, waiting = [], []
    for subject in sorted(set(logged) - set(sealed)):
        gone = f"its {RUN} is missing" if (runs / subject).is_dir() else "it is missing"
        said = f"{subject} is sealed according to the log, but {gone}"
        broken.append(Disagreement(said, (("run", subject),)))
    for subject in sorted(set(sealed) - set(logged)):
        digest = run_digest(sealed[subject])
        if held.get(("sealing", f"{subject} {digest[:16]}")) == digest:
            waiting.append(subject)
        else:
            broken.append(Disagreement(f"{subject} is sealed, but not in the log, which never announced it"))
    return Agreement(broken, waiting)


def _of_stores(runs: Path, found: Sequence[Mapping]) -> Agreement:
    broken = [
        Disagreement(said, tuple(store_states.subjects(found, name)))
        for name, said in store_states.disagreements(runs, found)
    ]
    return Agreement(broken, [])


def _unlike(
    found: Mapping[str, str], logged: Mapping[str, str], kind: str, lacks: str, differs: str
) -> list[Disagreement]:
    """What the log has and a part lacks, in one line, and what is another there, each in its own."""
    gone = [subject for subject in logged if subject not in found]
    last = f" to {gone[-1]}" if len(gone) > 1 else ""
    missing = [Disagreement(lacks.format(f"{gone[0]}{last}"), tuple((kind, each) for each in gone))] if gone else []
    other = [subject for subject in logged if subject in found and found[subject] != logged[subject]]
    words = {subject: f"{differs.format(subject)} does not match the log" for subject in other}
    return missing + [Disagreement(said, ((kind, subject),)) for subject, said in words.items()]


def _unlogged(found: Iterable[str], logged: Mapping[str, str], form: str) -> list[str]:
    return [form.format(subject) for subject in found if subject not in logged]
