"""Upgrade of a book of format 2 to the current one, once: the same events, and one more with what they lack.

The events are never rewritten, for the audit log has their hashes. Format 2 knew no securities (a name was its ticker),
whole shares only, no lots and no cost basis: `upgraded` states the units, gives every name that was ever ordered an id,
and lists the lots that are open by its fills and actions, first in, first out.
"""

import json
import os
import sqlite3
from pathlib import Path

from openbook.common.errors import BookError
from openbook.common.files import draft_folder, keep_mode, make_folder, replace_file, sync
from openbook.ledger import database, event_chain, projection, sqlite
from openbook.ledger.facts import Lot
from openbook.ledger.lots import carry_over
from openbook.ledger.records import CURRENCY, MINOR_UNITS, Settlement
from openbook.ledger.schema import SCHEMA_VERSION, statements

OLDER = 2
Event = tuple[int, str, str]


def upgrade_book(path: Path | str, keep: Path, *, when: str = "") -> str | None:
    """Bring a book of format 2 to today's; what was done, or None if there was nothing to do.

    path : of a file, or the URL of a book on a server
    keep : where a copy of the file is kept, byte for byte; a server keeps its events, so nothing is copied there
    when : UTC, as text

    A file is copied first, and replaced in one rename by a new one with the same content: a
    crash leaves one or the other, and the same command repairs it. No other process may write to it. BookError if it
    is no whole book, if it is of a newer format, or if `keep` is another file already.
    """
    place = database.place(path)
    return _upgrade_chain(place, when) if isinstance(place, str) else _upgrade_file(place, keep, when)


def upgrading(events: list[Event], when: str) -> dict:
    """The event `upgraded` that follows from the events of format 2."""
    lots: dict[str, tuple[Lot, ...]] = {}
    started: dict[str, str] = {}
    ended: dict[str, str] = {}
    last = ""
    for body in (json.loads(text) for _, text, _ in events):
        if body["kind"] != "session":
            continue
        settled, last = Settlement.model_validate_json(json.dumps(body["settlement"])), body["session"]
        lots, _ = carry_over(lots, settled)
        ended |= {row.symbol: row.date for row in settled.actions if row.kind == "delisting"}
        for order in body["orders"]:
            started.setdefault(order["symbol"], last)
            ended.pop(order["symbol"], None)
    named = [{"id": symbol, "ticker": symbol, "start": day} for symbol, day in sorted(started.items())]
    named += [{"id": symbol, "ticker": "", "start": day} for symbol, day in sorted(ended.items())]
    return {
        "kind": "upgraded",
        "session": last,
        "from": OLDER,
        "to": SCHEMA_VERSION,
        "when": when,
        "units": {"currency": CURRENCY, "minor_units": MINOR_UNITS, "share_units": 1},
        "securities": named,
        "lots": [lot.model_dump() for key in sorted(lots) for lot in lots[key]],
    }


# ---- inside ----


def _upgrade_file(path: Path, keep: Path, when: str) -> str | None:
    sqlite.require_file(path)
    with sqlite.spoken(path), draft_folder(path) as folder:
        if _format_of(path) == SCHEMA_VERSION:
            return None
        before = sqlite.at_rest(path)
        _keep(path, keep)
        draft = sqlite.new_draft(folder)
        n = _write(path, draft, when)
        if before is None or sqlite.at_rest(path) != before:
            raise BookError(f"{path} changed during its upgrade; nothing was upgraded, try again")
        with draft.open("rb") as file:
            keep_mode(file.fileno(), path)
        os.replace(draft, path)
        sync(path.parent)
    return f"{path} upgraded to format {SCHEMA_VERSION}, {n} events; backup: {keep}"


def _upgrade_chain(place: str, when: str) -> str | None:
    """Append `upgraded` to a chain on a server; its tables are made anew at each reading."""
    with database.write(place, older=True) as db:
        found = projection.format_of(db)
        if found != OLDER:
            sqlite.require_format(found, place)
            return None
        events = db.execute("SELECT seq, body, hash FROM events ORDER BY seq").fetchall()
        _append(db, events, when)
    return f"{place} upgraded to format {SCHEMA_VERSION}, {len(events)} events"


def _format_of(path: Path) -> int:
    """The format of a book; an older one is checked, and what a crash left beside its file is taken in."""
    with sqlite.connection(path, "rw" if sqlite.at_rest(path) is None else "ro&immutable=1") as db:
        found = sqlite.require_book(db, path)
        if found != OLDER:
            sqlite.require_format(found, path)
            return found
    with sqlite.connection(path, "rw") as db:
        sqlite.require_whole(db, path)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return found


def _keep(path: Path, keep: Path) -> None:
    """Copy the file to `keep`, durably; a copy that is there already, from before a crash, must be the same."""
    data = path.read_bytes()
    if keep.exists():
        if keep.read_bytes() != data:
            raise BookError(f"the backup {keep} already exists and differs from {path}; move it elsewhere")
        return
    make_folder(keep.parent)
    replace_file(keep, data)


def _write(path: Path, draft: Path, when: str) -> int:
    """Write the new book beside the old one, durably, and compare the two; how many events the old one has."""
    with sqlite.connection(path, "ro&immutable=1") as old, sqlite.connection(draft, "rw") as new:
        events = old.execute("SELECT seq, body, hash FROM events ORDER BY seq").fetchall()
        new.execute("PRAGMA journal_mode = WAL")
        new.execute("PRAGMA synchronous = FULL")
        new.execute("PRAGMA foreign_keys = ON")
        new.executescript(f"BEGIN; {statements()}")
        new.executemany("INSERT INTO events (seq, body, hash) VALUES (?, ?, ?)", events)
        for seq, body, _ in events:
            projection.apply(new, seq, json.loads(body))
        _append(new, events, when)
        _compare(old, new, path)
        new.execute("COMMIT")
        new.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    sync(draft)
    return len(events)


def _append(db: sqlite3.Connection, events: list[Event], when: str) -> None:
    """Append the event, with its rows; BookError unless the whole book then agrees with its events."""
    body = upgrading(events, when)
    projection.apply(db, event_chain.append(db, body), body)
    projection.audit(db)
    held = "SELECT security, shares FROM positions WHERE session = ? ORDER BY security"
    lots = "SELECT security, sum(shares) FROM lots WHERE session = ? GROUP BY security ORDER BY security"
    day = (body["session"],)
    if db.execute(held, day).fetchall() != db.execute(lots, day).fetchall():
        raise BookError("the positions do not follow from the book's fills and actions; restore it from a backup")


def _compare(old: sqlite3.Connection, new: sqlite3.Connection, path: Path) -> None:
    """BookError unless every column of the old tables is the same in the new ones, except for the new event; which
    transitions are allowed is a matter of the format, not of the book."""
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'transitions' ORDER BY name"
    tables = [name for (name,) in old.execute(query)]
    for table in tables:
        names = ", ".join(row[1] for row in old.execute(f"PRAGMA table_xinfo({table})"))
        only = " WHERE kind <> 'upgraded'" if table == "events" else ""
        if set(old.execute(f"SELECT {names} FROM {table}")) != set(new.execute(f"SELECT {names} FROM {table}{only}")):
            raise BookError(f"{path}: table {table} would differ after the upgrade; nothing was changed")
