"""All functions that write to the disk."""

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openbook.common.errors import StorageError

OPEN_FILES = 1024  # are enough for everything, and the usual limit


@contextmanager
def storage(action: str) -> Iterator[None]:
    """Turns an I/O error into a StorageError (74) that names the operation."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"could not {action}: {reason(error)}") from error


def reason(error: OSError) -> str:
    """An error of the system in words; of a limit on open files, the limit and the way out."""
    if error.errno != errno.EMFILE:
        return error.strerror or str(error)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return f"{error.strerror}: the limit is {limit}; raise it with ulimit -n {OPEN_FILES}"


def sync(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
