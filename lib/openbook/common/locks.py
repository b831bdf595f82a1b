"""Locks between processes. A dead process holds nothing."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from openbook.common.files import open_itself, storage

LONGEST = 32  # characters of a note that a message shows


@contextmanager
def held(folder: Path, note: Path, *, patience: float = 0.0) -> Iterator[str | None]:
    """Hold a folder alone inside the block. Yields None; or, once `patience` seconds are over, who holds it instead.

    The lock is on the folder itself, so that removing `note`, the file that says who holds it, lets nobody else in. The
    note is locked too: some network file systems lock no folders.
    """
    until = time.monotonic() + patience
    with ExitStack() as opened:
        while True:
            with storage(f"lock {folder}"):
                place = _opened(opened, folder, os.O_RDONLY | os.O_DIRECTORY)
                handle = _opened(opened, note, os.O_RDWR | os.O_CREAT)
                alone = _locked(place, folder) and _locked(handle, note)
            if alone:
                break
            if time.monotonic() >= until:
                yield _holder(handle)
                return
            opened.close()
            time.sleep(0.05)
        with storage(f"lock {folder}"):
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
        yield None


def _opened(stack: ExitStack, path: Path, flags: int) -> int:
    handle = os.open(path, flags) if flags & os.O_DIRECTORY else open_itself(path, flags)
    stack.callback(os.close, handle)
    return handle


def _locked(handle: int, path: Path) -> bool:
    """Whether this process holds it now, and it still has its name: who held it may have removed it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        if not path.is_dir():
            raise
        return True  # no locks on folders here: the note decides
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _holder(handle: int) -> str:
    """The process that the note names; none if the note was removed and made again."""
    said = os.pread(handle, LONGEST, 0).decode("ascii", "replace").strip()
    return f"process {said}" if said.isdecimal() else "another process"
