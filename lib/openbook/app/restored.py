"""After a backup was put back: what belongs together, and how a person goes on from what is there."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from openbook.app.agreement import WAYS, Disagreement, compare
from openbook.app.book_places import books, event_digests
from openbook.app.service import log_time, note, publish_all_views, require_own_clocks
from openbook.common.errors import UsageError
from openbook.common.text import require_line
from openbook.ledger import book_commands
from openbook.report.calendar_page import publish_calendar
from openbook.runs import audit_log, last_head, registry, store_states
from openbook.runs.runs_folder import RunsFolder
from openbook.runs.verification import run_digest

RESTORED = "restored"  # kind of an entry with which a person accepted what does not agree


def restored_lines(runs: Path) -> tuple[list[str], bool]:
    """(each part and the entry of the log up to which it goes, the way on; whether all agree), after a backup was put
    back. Raises AuditError (90) if the log cannot be read."""
    found, broken = audit_log.entries(runs), compare(runs).broken
    last = f"entry {found[-1]['n']} of {found[-1]['when']}" if found else "none"
    lines = [f"log: its last entry is {last}"]
    if found and (seen := last_head.remembered(runs)) is not None:
        lines.append(f"this machine: has seen entry {seen['n']} of {seen['when']}")
    lines += [f"{part}: {said}" for part, said in _parts(runs, found)]
    if not broken:
        return [*lines, "the log and everything beside it agree"], True
    lines += [f"does not agree: {each.said}" for each in broken]
    return [*lines, f"to go on: {WAYS[: WAYS.index('; see')]}"], False


def _parts(runs: Path, found: Sequence[Mapping]) -> Iterator[tuple[str, str]]:
    """Each part that the log names, and up to which entry it has what the log has."""
    here: dict[str, set[tuple[str, str]]] = {}
    for kind, place in books(runs).items():
        here[f"{kind} book"] = set(event_digests(kind, place).items())
    here["champions"] = set(registry.digests(runs).items())
    sealed = RunsFolder(runs).list()
    here["sealed runs"] = {(run.subject, run_digest(run.folder)) for run in sealed}
    states = store_states.current(runs)
    for name, digest in states.items():
        here[f"store {name}"] = {(e["subject"], digest) for e in found if store_states.is_of(e, name)}
    for part, content in here.items():
        logged = [entry for entry in found if (entry["subject"], entry["digest"]) in content]
        if content:
            upto = f"entry {logged[-1]['n']} of {logged[-1]['when']}" if logged else "no entry"
            yield part, f"as of {upto}"


def accept(runs: Path, *, who: str, reason: str) -> str:
    """Go on from what is there, in a person's name: what the log has and is gone no longer binds, every book is halted.

    Raises UsageError (64) where everything agrees, and what keeps a part from being read: that must be restored.
    """
    signed = {"who": require_line(who, "--who"), "reason": require_line(reason, "--reason")}
    folder = RunsFolder(runs)
    with folder.lock():
        require_own_clocks(runs)
        broken = compare(runs).broken
        if not broken:
            raise UsageError(f"the log of {runs} and everything beside it agree; there is nothing to accept")
        when = log_time(runs)
        audit_log.record(runs, _acceptance(runs, broken, f"{when}: {who}: {reason}"), when=when)
        halted = books(runs)
        for place in halted.values():
            book_commands.halt(place, who=who, reason=f"restored: {reason}", when=when)
        note(folder, at=when)
        publish_all_views(folder)
        publish_calendar(runs)
    voided = f"; HALTED: {', '.join(halted)}, every open order is void; to resume: openbook reset" if halted else ""
    return f"accepted by {signed['who']}: {'; '.join(each.said for each in broken)}{voided}"


def _acceptance(runs: Path, broken: Sequence[Disagreement], said: str) -> Iterator[tuple[str, str, str]]:
    """The entries that accept what does not agree: waivers, the runs and stores that are there, and who said so."""
    digest = hashlib.sha256(said.encode()).hexdigest()
    yield RESTORED, said, digest
    for kind, subject in dict.fromkeys(pair for each in broken for pair in each.breaks):
        yield audit_log.WAIVED, f"{kind} {subject}", digest
    for run in RunsFolder(runs).list():
        yield "run", run.subject, run_digest(run.folder)
    yield from store_states.unlogged(runs)
