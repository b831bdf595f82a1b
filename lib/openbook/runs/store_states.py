"""The states of the price stores in the log: `<store>/<n> <last session>`, with the hash of the manifest, which covers
every file.

Before a store changes, the log announces it (`updating`, with the hash of the state that it leaves). So a store that is
not in its last logged state was changed by a command that a crash ended, or it was put back, deleted or rewritten.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from openbook.common.errors import OpenbookError
from openbook.common.files import storage
from openbook.market.store.manifest import MANIFEST, read_manifest
from openbook.runs import audit_log
from openbook.runs.runs_folder import STORE

KIND, ANNOUNCED = "store", "updating"


def current(runs: Path) -> dict[str, str]:
    """The hash of the manifest of each store as it is, by name."""
    with storage(f"read the manifests in {runs / STORE}"):
        files = sorted((runs / STORE).glob(f"*/{MANIFEST}"))
        return {file.parent.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()}


def is_of(entry: Mapping, name: str) -> bool:
    """Whether an entry is about a state of that store."""
    return entry["kind"] == KIND and _name(entry) == name


def unlogged(runs: Path) -> Iterator[tuple[str, str, str]]:
    """An entry for each store whose state is not the last one in the log."""
    found = audit_log.entries(runs)
    for name, digest in current(runs).items():
        last = _last(found, name)
        if last is None or last["digest"] != digest:
            yield KIND, f"{name}/{_count(found, name) + 1} {_last_session(runs, name)}", digest


def announcement(runs: Path, store: Path) -> tuple[str, str, str]:
    """The entry that announces a change of a store."""
    found = audit_log.entries(runs)
    digest = current(runs).get(store.name, audit_log.GENESIS)
    return ANNOUNCED, f"{store.name}/{_count(found, store.name) + 1}", digest


def corrected(runs: Path, name: str, run: str, date: str) -> bool:
    """Whether the log has a change of a store after the entry of a sealed run, `<notebook>/<date>`, by which `date` was
    still its last session: only then can its prices have been corrected in place."""
    found = audit_log.entries(runs)
    logged = next((n for n, entry in enumerate(found) if (entry["kind"], entry["subject"]) == ("run", run)), len(found))
    return any(is_of(entry, name) and entry["subject"].endswith(f" {date}") for entry in found[logged:])


def disagreements(runs: Path, found: Sequence[Mapping]) -> Iterator[tuple[str, str]]:
    """(store, what is wrong with it in words) of each store that is neither in its last logged state nor in one that
    a crash can have left. Raises DataError (30) for a damaged manifest."""
    there = current(runs)
    for name in dict.fromkeys(_name(entry) for entry in found if entry["kind"] == KIND):
        last, digest = _last(found, name), there.get(name)
        if last is None or last["digest"] == digest:
            continue
        before = [entry for entry in found if is_of(entry, name)]
        was = next((entry for entry in reversed(before) if entry["digest"] == digest), None)
        if digest is not None:
            read_manifest(runs / STORE / name)
        if digest is None:
            yield name, f"the store {runs / STORE / name} is missing"
        elif was is not None:
            yield name, f"the store {runs / STORE / name} is as it was at {was['when']}, not as at {last['when']}"
        elif not _announced(found, name):
            yield name, f"the store {runs / STORE / name} is not as it was at {last['when']}"


def subjects(found: Iterable[Mapping], name: str) -> Iterator[tuple[str, str]]:
    """(kind, subject) of every entry about a store."""
    for entry in found:
        if entry["kind"] in (KIND, ANNOUNCED) and _name(entry) == name:
            yield entry["kind"], entry["subject"]


def _last_session(runs: Path, name: str) -> str:
    """The last session of a store; "unreadable" where its manifest is damaged."""
    try:
        return max(read_manifest(runs / STORE / name)["sessions"])
    except (OpenbookError, ValueError):
        return "unreadable"


def _name(entry: Mapping) -> str:
    return entry["subject"].rpartition("/")[0]


def _count(found: Iterable[Mapping], name: str) -> int:
    """How many states of a store were ever logged."""
    return sum(is_of(entry, name) for entry in found)


def _last(found: Iterable[Mapping], name: str) -> Mapping | None:
    """The entry of the last state of a store; None if none binds."""
    held = audit_log.standing(found)
    mine = [entry for entry in found if is_of(entry, name)]
    mine = [entry for entry in mine if (KIND, entry["subject"]) in held]
    return mine[-1] if mine else None


def _announced(found: Iterable[Mapping], name: str) -> bool:
    """Whether the last entry about a store announces a change."""
    mine = [entry["kind"] for entry in found if entry["kind"] in (KIND, ANNOUNCED) and _name(entry) == name]
    return bool(mine) and mine[-1] == ANNOUNCED
