"""Secrets on the disk and files from people: read once, and only from a place where others cannot replace them."""

import os
import secrets
import stat
from pathlib import Path

from openbook.common.errors import ApprovalError, StorageError
from openbook.common.files import storage

BYTES = 32


def create_key(file: Path, runs: Path) -> None:
    """A new random key, readable by its owner only; StorageError (74) if the file exists, ApprovalError below runs/."""
    _require_outside(file, runs)
    with storage(f"write the key {file}"):
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as out:
            out.write(secrets.token_hex(BYTES) + "\n")


def read_key(file: Path, runs: Path) -> bytes:
    """The key; ApprovalError (55) unless the file is private to its owner, outside runs/, and holds a whole one."""
    _require_outside(file, runs)
    mode, data = _read(file)
    if stat.S_IMODE(mode) & 0o077:
        raise ApprovalError(f"{file} can be read by others; chmod 600 {file}")
    try:
        key = bytes.fromhex(data.decode("ascii"))
    except ValueError:
        key = b""
    if len(key) != BYTES:
        raise ApprovalError(f"{file} does not contain a key; create one with: openbook key {file}")
    return key


def read_once(file: Path) -> bytes:
    """The bytes of a plain file, opened once; ApprovalError (55) for a symbolic link, or for no plain file."""
    return _read(file)[1]


def _read(file: Path) -> tuple[int, bytes]:
    """Mode and bytes, both of the file that was opened: what happens to its name afterwards does not matter."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise StorageError(f"file {file} does not exist") from None
    except OSError as error:
        raise ApprovalError(f"{file} is not a regular file: {error.strerror}") from None
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise ApprovalError(f"{file} is not a regular file")
    with os.fdopen(handle, "rb") as opened:
        return mode, opened.read()


def _require_outside(file: Path, runs: Path) -> None:
    """ApprovalError if a secret would be in the runs folder, which is shown to people."""
    if file.resolve().is_relative_to(runs.resolve()):
        raise ApprovalError(f"{file} is inside the runs folder {runs}, which others can read; keep the key elsewhere")
