"""The log of everything sealed, recorded or promoted: one line each, with the hash of the line before.

An entry is `n`, `when`, `kind`, `subject`, `digest`, `previous` and `hash`, the sha256 of the rest. To alter a line one
must alter all that follow, which changes the hash of the last one: who kept that one hash, in a mail or on paper, has
the whole log.

Kinds are `run`, `event` (of a book), `promotion`, `closure`, `clock` and `store`; before a run is sealed or a store is
changed, `sealing` and `updating` announce it, so that what a crash left can be told from what was put back or planted.
`waived` is a person's word that what an earlier entry names is gone or is another now.
"""

import functools
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

from openbook.common.errors import AuditError
from openbook.common.files import open_itself, read_itself, storage, sync

FILE = "audit.jsonl"
GENESIS = "0" * 64  # what the first entry follows
WAIVED = "waived"  # kind of an entry; its subject is the kind and the subject that no longer bind
_TEXTS = ("when", "kind", "subject", "digest", "previous", "hash")
WAY_OUT = "restore the log from a backup; see openbook verify"


def entries(runs: Path) -> list[dict]:
    """The log, oldest first, its hashes unchecked; empty without one. What a crash left of a last line is no entry.

    Raises AuditError (90) naming the first line that is no entry.
    """
    found = _parsed(_bytes(runs))
    if None in found:
        raise AuditError(f"line {found.index(None) + 1} of {runs / FILE} is not a valid entry; {WAY_OUT}")
    return [dict(entry) for entry in cast(tuple[dict, ...], found)]


def head(runs: Path) -> str:
    """The hash of the last entry, which pins all of them; 64 zeros without one."""
    found = entries(runs)
    return found[-1]["hash"] if found else GENESIS


def last_when(runs: Path) -> str | None:
    """The time of the last entry, UTC, as text; None without one."""
    found = entries(runs)
    return found[-1]["when"] if found else None


def standing(found: Iterable[Mapping]) -> dict[tuple[str, str], str]:
    """(kind, subject) -> digest of what entries still bind to: all of them but those that a person waived later."""
    held: dict[tuple[str, str], str] = {}
    for entry in found:
        if entry["kind"] == WAIVED:
            kind, _, subject = entry["subject"].partition(" ")
            held.pop((kind, subject), None)
        else:
            held[entry["kind"], entry["subject"]] = entry["digest"]
    return held


def logged(runs: Path, kind: str) -> dict[str, str]:
    """Subject -> digest of what the entries of one kind still bind to. Raises AuditError (90)."""
    return of_kind(standing(entries(runs)), kind)


def of_kind(held: Mapping[tuple[str, str], str], kind: str) -> dict[str, str]:
    """Subject -> digest of one kind, of what `standing` found."""
    return {subject: digest for (each, subject), digest in held.items() if each == kind}


def record(runs: Path, found: Iterable[tuple[str, str, str]], *, when: str) -> int:
    """Append every (kind, subject, digest) that is not in the log yet, in one write; returns how many.

    when : now, UTC, as text. The caller holds the lock of the runs folder.

    What a crash left of a last line is cut off first; a whole line is never touched. Raises AuditError (90) if the log
    knows a subject by another digest, and appends nothing.
    """
    known = entries(runs)
    digests = standing(known)
    previous = known[-1]["hash"] if known else GENESIS
    lines: list[bytes] = []
    for kind, subject, digest in found:
        before = None if kind == WAIVED else digests.get((kind, subject))
        if before not in (None, digest):
            raise AuditError(
                f"{kind} {subject} was altered: its digest differs from the one in {runs / FILE}; {WAY_OUT}"
            )
        if before is None:
            digests[kind, subject] = digest
            about = {"when": when, "kind": kind, "subject": subject, "digest": digest, "previous": previous}
            entry = _seal({"n": len(known) + len(lines) + 1, **about})
            previous = entry["hash"]
            lines.append(_canonical(entry))
    if lines:
        _append(runs / FILE, b"".join(line + b"\n" for line in lines))
    return len(lines)


def check(runs: Path) -> list[str]:
    """What is wrong with the log's own chain, in words; empty if nothing is. Missing last lines break no chain."""
    problems, told = [], set()
    before: dict | None = {"n": 0, "hash": GENESIS}
    for number, line in enumerate(_lines(_bytes(runs)), start=1):
        entry = _parse(line)
        if entry is None:
            problems.append(f"line {number} of {FILE} is not a valid entry")
        elif line != _canonical(_seal(entry)):
            problems.append(f"line {number} of {FILE} was altered")
        elif before is not None and (entry["previous"], entry["n"]) != (before["hash"], before["n"] + 1):
            problems.append(f"line {number} of {FILE} breaks the hash chain: lines are missing or reordered")
        elif entry["kind"] != WAIVED and (entry["kind"], entry["subject"]) in told:
            problems.append(f"line {number} of {FILE} records {entry['kind']} {entry['subject']} a second time")
        before = entry
        if entry is not None:
            told.add((entry["kind"], entry["subject"]))
            told -= {tuple(entry["subject"].split(" ", 1))} if entry["kind"] == WAIVED else set()
    return problems


def _bytes(runs: Path) -> bytes:
    with storage(f"read {runs / FILE}"):
        return read_itself(runs / FILE) if os.path.lexists(runs / FILE) else b""


def _lines(data: bytes) -> list[bytes]:
    """The whole lines of the log."""
    return data.split(b"\n")[:-1]


@functools.lru_cache(maxsize=1)
def _parsed(data: bytes) -> tuple[dict | None, ...]:
    """`_parse` of each whole line. A command reads the log some eight times; the file is read and all of its bytes are
    compared each time, so what was parsed before is taken for the same bytes only."""
    return tuple(_parse(line) for line in _lines(data))


def _parse(line: bytes) -> dict | None:
    """An entry, its hash unchecked; None if the line is not an entry."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(entry, dict) and set(entry) == {"n", *_TEXTS} and type(entry["n"]) is int
    return entry if whole and all(isinstance(entry[name], str) for name in _TEXTS) else None


def _seal(entry: dict) -> dict:
    """An entry with the hash that it must have."""
    body = {name: value for name, value in entry.items() if name != "hash"}
    return {**body, "hash": hashlib.sha256(_canonical(body)).hexdigest()}


def _canonical(content: dict) -> bytes:
    """The one way to write it: sorted keys, ASCII."""
    return json.dumps(content, sort_keys=True).encode()


def _append(file: Path, data: bytes) -> None:
    """Add whole lines after the last whole line, and bring them to the disk."""
    with storage(f"write {file}"), open(open_itself(file, os.O_RDWR | os.O_CREAT | os.O_APPEND), "a+b") as log:
        log.seek(0)
        log.truncate(log.read().rfind(b"\n") + 1)
        log.write(data)
        log.flush()
        os.fsync(log.fileno())
        sync(file.parent)
