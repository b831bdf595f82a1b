"""The log of everything sealed, recorded or promoted: one line each, with the hash of the line before.

An entry is `n`, `when`, `kind` (run, event, promotion), `subject`, `digest`, `previous` and `hash`, the sha256 of the
rest. To alter a line one must alter all that follow, which changes the hash of the last one: who kept that one
hash, in a mail or on paper, has the whole log.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from openbook.common.errors import AuditError
from openbook.common.files import storage, sync

FILE = "audit.jsonl"
GENESIS = "0" * 64  # what the first entry follows
_TEXTS = ("when", "kind", "subject", "digest", "previous", "hash")
WAY_OUT = "restore the log from a backup; see openbook verify"


def entries(runs: Path) -> list[dict]:
    """The log, oldest first, its hashes unchecked; empty without one. What a crash left of a last line is no entry.

    Raises AuditError (90) naming the first line that is no entry.
    """
    found = [_parse(line) for line in _lines(runs)]
    if None in found:
        raise AuditError(f"line {found.index(None) + 1} of {runs / FILE} is not a valid entry; {WAY_OUT}")
    return cast(list[dict], found)


def head(runs: Path) -> str:
    """The hash of the last entry, which pins all of them; 64 zeros without one."""
    found = entries(runs)
    return found[-1]["hash"] if found else GENESIS


def last_when(runs: Path) -> str | None:
    """The time of the last entry, UTC, as text; None without one."""
    found = entries(runs)
    return found[-1]["when"] if found else None


def record(runs: Path, found: Iterable[tuple[str, str, str]], *, when: str) -> int:
    """Append every (kind, subject, digest) that is not in the log yet, in one write; returns how many.

    when : now, UTC, as text. The caller holds the lock of the runs folder.

    What a crash left of a last line is cut off first; a whole line is never touched. Raises AuditError (90) if the log
    knows a subject by another digest, and appends nothing.
    """
    known = entries(runs)
    digests = {(entry["kind"], entry["subject"]): entry["digest"] for entry in known}
    previous = known[-1]["hash"] if known else GENESIS
    lines: list[bytes] = []
    for kind, subject, digest in found:
        before = digests.get((kind, subject))
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


def check(runs: Path, head: str | None = None) -> list[str]:
    """What is wrong with the log, in words; empty if nothing is.

    head : the hash of any entry there once was; without it, missing last lines go unnoticed
    """
    problems, hashes, told = [], {GENESIS}, set()
    before: dict | None = {"n": 0, "hash": GENESIS}
    for number, line in enumerate(_lines(runs), start=1):
        entry = _parse(line)
        if entry is None:
            problems.append(f"line {number} of {FILE} is not a valid entry")
        elif line != _canonical(_seal(entry)):
            problems.append(f"line {number} of {FILE} was altered")
        elif before is not None and (entry["previous"], entry["n"]) != (before["hash"], before["n"] + 1):
            problems.append(f"line {number} of {FILE} breaks the hash chain: lines are missing or reordered")
        elif (entry["kind"], entry["subject"]) in told:
            problems.append(f"line {number} of {FILE} records {entry['kind']} {entry['subject']} a second time")
        before = entry
        if entry is not None:
            hashes.add(entry["hash"])
            told.add((entry["kind"], entry["subject"]))
    if head is not None and head not in hashes:
        problems.append(f"no entry of {FILE} has the hash {head}: the log was truncated or replaced")
    return problems


def _lines(runs: Path) -> list[bytes]:
    """The whole lines of the log."""
    with storage(f"read {runs / FILE}"):
        data = (runs / FILE).read_bytes() if (runs / FILE).exists() else b""
    return data.split(b"\n")[:-1]


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
    with storage(f"write {file}"), open(file, "a+b") as log:
        log.seek(0)
        log.truncate(log.read().rfind(b"\n") + 1)
        log.write(data)
        log.flush()
        os.fsync(log.fileno())
        sync(file.parent)
