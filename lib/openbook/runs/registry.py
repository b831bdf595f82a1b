"""Model bundles in production: immutable folders, and one pointer that is replaced in a single step.

The pointer's history has one entry for each promotion and each rollback, oldest first; the last is the champion.
"""

import os
import re
from collections.abc import Callable, Mapping
from hashlib import sha256 as sha256_of
from pathlib import Path

from openbook.common.errors import ModelError, StorageError, UsageError
from openbook.common.files import draft_folder, make_folder, replace_file, storage, sync, write_synced
from openbook.common.interrupts import durably
from openbook.common.strict_json import parse_json
from openbook.common.text import require_line
from openbook.runs.stage import check_name, clean, json_bytes

FOLDER = "production"
POINTER = "champion.json"
SHORT = 12  # characters of a hash that a person compares
# What people are told of a champion, of its metadata.
SAID = {
    **dict.fromkeys(("model?", "optimizer?", "selected?", "reason?", "trained_through?"), str),
    "vetted?": bool,
    "runs?": {str: str},
    "code?": {str: str},
}
ENTRY = {"sha256": str, "metadata": SAID, "rollback?": dict.fromkeys(("who", "reason", "when", "from"), str)}
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


def promote(runs: Path, files: Mapping[str, bytes], metadata: Mapping, sha256: str) -> Path:
    """Put a bundle into production, then point to it; the pointer's history grows by one.

    sha256 : names the folder; it must be the hash of one of `files`, which pins the others

    A crash before the last rename leaves the old pointer. Promoting the champion again changes nothing, and what a
    person rolled back stays so: the same bundle never comes back by itself, only a new selection does.
    """
    if not (_SHA256.fullmatch(sha256) and sha256 in {sha256_of(data).hexdigest() for data in files.values()}):
        raise ModelError(f"{sha256!r} does not match any file of the bundle: {', '.join(sorted(files))}")
    entries = history(runs)
    target = place(runs, sha256)
    with storage(f"promote {target}"):
        _put(target, files)
        if sha256 not in {*rolled_back(entries), *(entry["sha256"] for entry in entries[-1:])}:
            _point(runs, entries, {"sha256": sha256, "metadata": metadata})
    return target


def rollback(runs: Path, *, who: str, reason: str, when: str, verify: Callable[[Path], object]) -> dict:
    """Point back to the champion before; returns its new entry in the history.

    when : of the rollback, UTC, as text. verify : raises if the bundle of that folder is missing or altered; then the
        pointer stays, and no older champion is tried

    The same person with the same reason again changes nothing: a rollback that was killed can be repeated, and a
    second step back needs a reason of its own. Raises UsageError (64) if there is nothing to go back to.
    """
    given = {"who": require_line(who, "who"), "reason": require_line(reason, "reason")}
    entries, earlier = history(runs), before(runs)
    if entries and given.items() <= entries[-1].get("rollback", {}).items():
        return entries[-1]
    if not earlier:
        first = f"; {describe(entries[-1])} is the first" if len(entries) == 1 else ""
        raise UsageError(f"nothing to roll back to: there is no earlier champion{first}")
    verify(place(runs, earlier[0]["sha256"]))
    record = {**given, "when": when, "from": entries[-1]["sha256"]}
    entry = {**earlier[0], "rollback": record}
    with storage(f"roll back to {entry['sha256']}"):
        _point(runs, entries, entry)
    return entry


def champion(runs: Path) -> tuple[Path, dict] | None:
    """Folder and metadata of the champion, or None before the first promotion.

    Raises ModelError (40) if the pointer cannot be read or points to a bundle that is not there.
    """
    pointer = _read_pointer(runs)
    if not pointer:
        return None
    folder = place(runs, pointer["sha256"])
    if not folder.is_dir():
        raise ModelError(
            f"the champion's bundle {folder} is missing; restore it, promote another champion, or run openbook rollback"
        )
    return folder, pointer["metadata"]


def history(runs: Path) -> list[dict]:
    """Every promotion and rollback, oldest first; the last is the champion. Empty before the first promotion.

    An entry is `sha256` and `metadata`; one of a rollback has `rollback` too: who, reason, when, from (a sha256).
    """
    return _read_pointer(runs).get("history", [])


def entry_digest(entry: Mapping) -> str:
    """sha256 of an entry of the history."""
    return sha256_of(json_bytes(entry)).hexdigest()


def digests(runs: Path) -> dict[str, str]:
    """sha256 of each entry of the history by its name in the log, `champion/<n>`."""
    return {f"champion/{n}": entry_digest(entry) for n, entry in enumerate(history(runs), start=1)}


def before(runs: Path) -> list[dict]:
    """The entries of the champions before this one, newest first; none that was rolled back."""
    entries = history(runs)
    passed = {*rolled_back(entries), *(entry["sha256"] for entry in entries[-1:])}
    return [entry for entry in reversed(entries) if "rollback" not in entry and entry["sha256"] not in passed]


def rolled_back(entries: list[dict]) -> dict[str, dict]:
    """sha256 -> who, reason and when, of every champion that a person took back."""
    return {entry["rollback"]["from"]: entry["rollback"] for entry in entries if "rollback" in entry}


def place(runs: Path, sha256: str) -> Path:
    """Where a bundle lies, or would."""
    return runs / FOLDER / sha256


def describe(entry: Mapping) -> str:
    """A champion in a few words: model × optimizer, the session of its selection, and the hash that names it."""
    metadata = entry["metadata"]
    who = " × ".join(str(metadata[key]) for key in ("model", "optimizer") if key in metadata) or "unnamed"
    selected = f", selected {metadata['selected']}" if "selected" in metadata else ""
    return f"{who}{selected}, {entry['sha256'][:SHORT]}"


def _read_pointer(runs: Path) -> dict:
    """The content of champion.json; empty before the first promotion."""
    file = runs / FOLDER / POINTER
    try:
        pointer = parse_json(file.read_bytes(), {**ENTRY, "history": [ENTRY]})
        if not all(_SHA256.fullmatch(entry["sha256"]) for entry in pointer["history"]):
            raise ValueError("an entry of its history has no sha256")
        last = {name: value for name, value in pointer.items() if name not in ("schema_version", "history")}
        if [last] != pointer["history"][-1:]:
            raise ValueError("it is not the last entry of its history")
    except FileNotFoundError:
        return {}
    except PermissionError as error:
        raise StorageError(f"cannot read {file}: {error.strerror}") from None
    except (OSError, ValueError) as error:
        way_out = "restore it from a backup"
        raise ModelError(f"{file} cannot be read: {error}; {way_out}") from None
    return pointer


def _point(runs: Path, entries: list[dict], entry: Mapping) -> None:
    """The one step: `entry` is the champion, and the last of the history."""
    entry = clean(entry)
    content = {"schema_version": 1, **entry, "history": [*entries, entry]}
    with durably("the champion was changed"):
        replace_file(runs / FOLDER / POINTER, json_bytes(content))


def _put(target: Path, files: Mapping[str, bytes]) -> None:
    """A complete bundle at `target`: the one that is there if it has the same bytes, else a new one by one rename."""
    if target.exists():
        _require_same(target, files)
        return
    make_folder(target.parent)
    with draft_folder(target) as new:
        for name, data in files.items():
            if len(check_name(name).parts) > 1:
                raise ModelError(f"a bundle must not contain folders: {name}")
            write_synced(new / name, data)
        sync(new)
        try:
            os.rename(new, target)
        except OSError:
            if not target.is_dir():
                raise
            _require_same(target, files)  # another process was faster
        sync(target.parent)


def _require_same(target: Path, files: Mapping[str, bytes]) -> None:
    if {path.name: path.read_bytes() for path in target.iterdir()} != dict(files):
        raise ModelError(f"{target} was altered; move it away and promote again")
