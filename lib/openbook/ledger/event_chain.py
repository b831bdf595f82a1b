"""A book's chain of hashed events: how one is appended, and whether each follows from the one before."""

import hashlib
import json
import sqlite3
from collections.abc import Iterable

from openbook.common.errors import BookError

GENESIS = "0" * 64


def append(db: sqlite3.Connection, body: dict) -> int:
    """Append an event to the chain; returns its number. `body` has `kind` and `session`, and must be plain JSON."""
    text = canonical(body)
    last, previous = db.execute("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").fetchone() or (0, GENESIS)
    db.execute("INSERT INTO events (seq, body, hash) VALUES (?, ?, ?)", (last + 1, text, chain(previous, text)))
    return last + 1


def last_event(db: sqlite3.Connection) -> dict:
    """The body of the newest event."""
    return json.loads(db.execute("SELECT body FROM events ORDER BY seq DESC LIMIT 1").fetchone()[0])


def head(db: sqlite3.Connection) -> str:
    """The hash of the newest event."""
    return db.execute("SELECT hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()[0]


def chain(previous: str, body: str) -> str:
    """sha256 of the hash before and the body: changing, dropping or reordering an event breaks every later one."""
    return hashlib.sha256(f"{previous}|{body}".encode()).hexdigest()


def canonical(body: dict) -> str:
    """The one JSON text of an object."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def require_chain(events: Iterable[tuple[int, str, str]], path: object) -> None:
    """BookError unless each of the events (number, body, hash) follows from the one before, and there is one."""
    previous = GENESIS
    for n, (seq, body, hash_) in enumerate(events, start=1):
        previous = chain(previous, body)
        if seq != n or hash_ != previous:
            raise BookError(f"{path}: event {n} was altered or removed; restore the book from a backup")
    if previous == GENESIS:
        raise BookError(f"{path} has no events; restore it from a backup")
