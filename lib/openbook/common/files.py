"""All functions that write to the disk."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openbook.common.errors import StorageError


@contextmanager
def storage(action: str) -> Iterator[None]:
    """Turns an I/O error into a StorageError (74) that names the operation."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"could not {action}: {error.strerror or error}") from error


def sync(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, and force their names to the disk: else all that is written
    below is lost with the name after a power cut."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in new:
        sync(path.parent)


def write_synced(file: Path, data: bytes) -> None:
    """Write a file that no other process reads yet, in full."""
    file.write_bytes(data)
    sync(file)


def hand_out(file: Path, data: bytes, *, runs: Path) -> None:
    """Write a file for people to carry away, in one step; never among the runs, which are sealed."""
    if file.resolve().is_relative_to(runs.resolve()):
        raise StorageError(f"{file} is inside the runs folder {runs}; write it elsewhere")
    with storage(f"write {file}"):
        replace_file(file, data)


def replace_file(file: Path, data: bytes) -> None:
    """Replace a file in one step: a reader, now or after a crash, sees the old bytes or the new ones."""
    new = file.with_name(f".{file.name}.new")
    write_synced(new, data)
    os.replace(new, file)
    sync(file.parent)
