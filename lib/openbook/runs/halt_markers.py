"""What stops orders before a book can record it: a file named KILL, and the markers of halts not recorded yet.

A halt needs nothing but its intent. It first writes a marker, a small file in the runs folder; if that cannot be
written, in the desk; if that cannot either, in the user's state folder. Whatever lets an order forward looks for both
at its start, and again inside its transaction. A marker goes once its book has recorded the halt; KILL stays until a
person removes it.
"""

import json
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Thread

from openbook.common.desk_folder import desk_of, runs_key, state_folder
from openbook.common.errors import ApprovalError, StorageError
from openbook.common.files import read_itself, storage, sync
from openbook.common.strict_json import parse_json
from openbook.common.text import printable

KILL = "KILL"
PATIENCE = 0.3  # seconds for each place; a folder on a server that does not answer must not hold up a halt
LONGEST = 150  # characters of a reason that a marker or KILL gives
_NAME = re.compile(r"HALT\.(?P<kind>[a-z]+)\.(?P<runs>[0-9a-f]{12})\.[0-9a-f]{8}", re.ASCII)


@dataclass(frozen=True)
class HaltMarker:
    """A halt that a book has not recorded yet. kind : of the book; when : UTC, as text"""

    file: Path
    kind: str
    who: str
    reason: str
    when: str


def drop(runs: Path, kinds: Iterable[str], *, who: str, reason: str, when: str) -> list[HaltMarker]:
    """Write a marker for each kind of book, in the first place that takes them, within a second.

    Raises StorageError (74), naming the places, if none takes them.
    """
    about, places = {"who": who, "reason": reason, "when": when}, list(_places(runs))
    names = {kind: f"HALT.{kind}.{runs_key(runs)}.{secrets.token_hex(4)}" for kind in kinds}
    for place in places:
        if _in_time(partial(_write, place, names.values(), json.dumps(about).encode())):
            return [HaltMarker(place / name, kind, **about) for kind, name in names.items()]
    raise StorageError(f"NOT HALTED: no halt marker could be written in {', '.join(map(str, places))}")


def markers(runs: Path, kind: str) -> list[HaltMarker]:
    """The markers for a book of that kind, oldest first; of one that cannot be read the name counts alone.

    Raises StorageError (74) for a folder that cannot be searched: it may hold one.
    """
    found = [_read(file, kind) for place in _places(runs) for file in _files(place, runs, kind)]
    return sorted(found, key=lambda marker: (marker.when, marker.file.name))


def clear(marker: HaltMarker) -> None:
    """Remove a marker whose halt is recorded; StorageError (74) if it stays."""
    with storage(f"remove {marker.file}"):
        marker.file.unlink(missing_ok=True)


def kill_file(runs: Path) -> Path | None:
    """The file KILL of a runs folder, if it is there; a link that leads nowhere, or a folder, is one too."""
    return runs / KILL if os.path.lexists(runs / KILL) else None


def kill_reason(file: Path) -> str:
    """The first line of KILL, as far as it is plain text; of what a link leads to nothing is told."""
    try:
        first = read_itself(file)[:1000].decode("utf-8", "replace").strip().partition("\n")[0]
    except OSError:
        first = ""
    return _text(first)


def stops(runs: Path, kind: str) -> list[str]:
    """Each thing that stops the orders of a book of that kind, in words; empty if nothing does."""
    killed = kill_file(runs)
    found = [f"the file {killed} exists ({kill_reason(killed)})"] if killed else []
    return found + [f"halted by {mark.who}: {mark.reason} (marker {mark.file})" for mark in markers(runs, kind)]


def require_none(runs: Path, kind: str) -> None:
    """ApprovalError (55) naming what stops the orders of a book of that kind; nothing may go forward meanwhile."""
    if found := stops(runs, kind):
        raise ApprovalError(f"no order of the {kind} book may go out: {'; '.join(found)}")


# ---- inside ----


def _places(runs: Path) -> Iterator[Path]:
    """Where a marker may be, in the order in which it is tried."""
    yield runs
    if (desk := desk_of(runs.absolute())) is not None:
        yield desk
    yield state_folder()


def _in_time(act: Callable[[], None]) -> bool:
    """Whether `act` succeeded in time; one that hangs is left behind."""
    done = []

    def attempt() -> None:
        with suppress(OSError):
            act()
            done.append(True)

    worker = Thread(target=attempt, daemon=True)
    worker.start()
    worker.join(PATIENCE)
    return bool(done)


def _write(place: Path, names: Iterable[str], data: bytes) -> None:
    """Make files; OSError unless all of them exist then. On a full disk they may be empty: the name is enough."""
    if place == state_folder():
        place.mkdir(parents=True, exist_ok=True)
    for name in names:
        handle = os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        with suppress(OSError):
            os.write(handle, data)
            os.fsync(handle)
        os.close(handle)
    with suppress(OSError):
        sync(place)
        sync(place.parent)


def _files(place: Path, runs: Path, kind: str) -> list[Path]:
    """The markers in one folder, for that book of that runs folder; its own runs folder may have been moved."""
    with storage(f"look for halt markers in {place}"):
        try:
            names = os.listdir(place)
        except (FileNotFoundError, NotADirectoryError):
            return []
    matches = [match for match in map(_NAME.fullmatch, sorted(names)) if match and match["kind"] == kind]
    return [place / match[0] for match in matches if place == runs or match["runs"] == runs_key(runs)]


def _read(file: Path, kind: str) -> HaltMarker:
    """A marker; one that is empty or no marker has no name and no reason, and halts all the same."""
    try:
        about = parse_json(read_itself(file), dict.fromkeys(("who", "reason", "when"), str))
        said = {name: _text(about[name]) for name in ("who", "reason", "when")}
    except (OSError, ValueError):
        said = {"who": "unknown", "reason": "no reason given", "when": ""}
    return HaltMarker(file, kind, **said)


def _text(text: object) -> str:
    return printable(str(text)).strip()[:LONGEST] or "no reason given"
