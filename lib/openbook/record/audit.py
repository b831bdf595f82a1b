"""The log of everything that was sealed, said or promoted: one chain of hashes, one line each."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from openbook.errors import AuditError
from openbook.record.disk import storage

FILE = "audit.jsonl"
GENESIS = "0" * 64


def entries(runs: Path) -> list[dict]:
    file = runs / FILE
    data = file.read_bytes() if file.is_file() else b""
    return [json.loads(line) for line in data.split(b"\n")[:-1]]


def head(runs: Path) -> str:
    found = entries(runs)
    return found[-1]["hash"] if found else GENESIS


def last_when(runs: Path) -> str | None:
    found = entries(runs)
    return found[-1]["when"] if found else None


def record(runs: Path, found: Iterable[tuple[str, str, str]], *, when: str) -> int:
    known = entries(runs)
    have = {(e["kind"], e["subject"]): e["digest"] for e in known}
    lines, previous = [], head(runs)
    for kind, subject, digest in found:
        if (kind, subject) in have:
            if have[kind, subject] != digest:
                raise AuditError(f"{kind} {subject} is not what the log knows of it")
            continue
        have[kind, subject] = digest
        body = {
            "n": len(known) + len(lines) + 1,
            "when": when,
            "kind": kind,
            "subject": subject,
            "digest": digest,
            "previous": previous,
        }
        previous = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        lines.append(json.dumps({**body, "hash": previous}, sort_keys=True))
    if lines:
        with storage("write the log"), open(runs / FILE, "ab") as out:
            out.write(("\n".join(lines) + "\n").encode())
            out.flush()
            os.fsync(out.fileno())
    return len(lines)


def check(runs: Path, head: str | None = None) -> list[str]:
    return []
