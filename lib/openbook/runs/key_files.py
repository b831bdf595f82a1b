"""Secrets on the disk and files from people: read once, and only from a place where others cannot replace them."""

import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from openbook.common.errors import ApprovalError, StorageError
from openbook.common.files import storage
from openbook.common.signatures import public_key


def create_key(file: Path, runs: Path) -> str:
    """Write a new private key, readable by its owner only (PEM, PKCS 8); returns the public key as text.

    StorageError (74) if the file exists, ApprovalError (55) inside runs/.
    """
    require_outside(file, runs)
    key = Ed25519PrivateKey.generate()
    with storage(f"write the key {file}"):
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as out:
            out.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            out.flush()
            os.fsync(out.fileno())
    return public_key(key)


def read_key(file: Path, runs: Path) -> Ed25519PrivateKey:
    """The private key; ApprovalError (55) unless the file is private to its owner, outside runs/, and holds one."""
    require_outside(file, runs)
    mode, data = read_with_mode(file)
    if stat.S_IMODE(mode) & 0o077:
        raise ApprovalError(f"{file} can be read by others; chmod 600 {file}")
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # of another kind, cut, or encrypted
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ApprovalError(f"{file} does not contain a private key for signing; create one with: openbook key {file}")
    return key


def read_once(file: Path) -> bytes:
    """The bytes of a plain file, opened once; ApprovalError (55) for a symbolic link, or for no plain file."""
    return read_with_mode(file)[1]


def read_with_mode(file: Path) -> tuple[int, bytes]:
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


def require_outside(file: Path, runs: Path) -> None:
    """ApprovalError (55) for a file about keys in the runs folder, which is shown to people and written by programs."""
    if file.resolve().is_relative_to(runs.resolve()):
        raise ApprovalError(f"{file} is inside the runs folder {runs}, which others can read; keep it elsewhere")
