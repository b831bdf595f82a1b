"""Model bundles in production: immutable folders, and one pointer that is replaced in a single step."""

import json
import os
import re
import shutil
from collections.abc import Mapping
from hashlib import sha256 as sha256_of
from pathlib import Path

from openbook.errors import ModelError
from openbook.record.disk import replace_file, storage, sync, write_synced
from openbook.record.stage import check_name, clean, json_bytes

FOLDER = "production"
POINTER = "champion.json"
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


def promote(runs: Path, files: Mapping[str, bytes], metadata: Mapping, sha256: str) -> Path:
    """Put a bundle into production, then point to it; the pointer's history grows by one.

    sha256 : names the folder; it must be the hash of one of `files`, which pins the others

    A crash before the last rename leaves the old pointer. Promoting the champion again changes nothing.
    """
    if not (_SHA256.fullmatch(sha256) and sha256 in {sha256_of(data).hexdigest() for data in files.values()}):
        raise ModelError(f"{sha256!r} is the sha256 of no file of the bundle: {', '.join(sorted(files))}")
    history = _read_pointer(runs).get("history", [])
    target = runs / FOLDER / sha256
    with storage(f"promote {target}"):
        _place(target, files)
        entry = clean({"sha256": sha256, "metadata": metadata})
        if not history or history[-1] != entry:
            content = {"schema_version": 1, **entry, "history": [*history, entry]}
            replace_file(runs / FOLDER / POINTER, json_bytes(content))
    return target


def champion(runs: Path) -> tuple[Path, dict] | None:
    """Folder and metadata of the champion, or None before the first promotion.

    Raises ModelError (40) if the pointer cannot be read or points to a bundle that is not there.
    """
    pointer = _read_pointer(runs)
    if not pointer:
        return None
    folder = runs / FOLDER / pointer["sha256"]
    if not folder.is_dir():
        raise ModelError(f"the champion's bundle {folder} is missing; restore it or promote another")
    return folder, pointer["metadata"]


def _read_pointer(runs: Path) -> dict:
    """The content of champion.json; empty before the first promotion."""
    file = runs / FOLDER / POINTER
    try:
        pointer = json.loads(file.read_bytes())
        if not (_SHA256.fullmatch(pointer["sha256"]) and pointer["history"] and "metadata" in pointer):
            raise ValueError("it lacks its sha256, metadata or history")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{file} cannot be read: {error}; restore it or promote again") from None
    return pointer


def _place(target: Path, files: Mapping[str, bytes]) -> None:
    """A complete bundle at `target`: the one that is there if it has the same bytes, else a new one by one rename."""
    if target.exists():
        if {path.name: path.read_bytes() for path in target.iterdir()} != dict(files):
            raise ModelError(f"{target} was altered; move it away and promote again")
        return
    new = target.with_name(f".{target.name}")
    if new.exists():  # what a crash left
        shutil.rmtree(new)
    new.mkdir(parents=True)
    for name, data in files.items():
        if len(check_name(name).parts) > 1:
            raise ModelError(f"a bundle has no folders: {name}")
        write_synced(new / name, data)
    sync(new)
    os.rename(new, target)
    sync(target.parent)
