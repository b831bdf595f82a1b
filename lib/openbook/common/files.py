"""All functions that write to the disk.

Nothing is written through a symbolic link: a link in the place of a file is replaced, or refused by name. What is not
whole yet has a name of its own, `.NAME.<12 hex digits>.new`, and is locked by its writer; the next writer of NAME
removes those of dead processes.
"""

import errno
import fcntl
import os
import re
import resource
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from openbook.common.errors import StorageError

PRIVATE = 0o700  # mode of a folder that only its owner can open
OPEN_FILES = 1024  # are enough for everything, and the usual limit
CLAIMS = 1000  # names of which not one can be taken: then it is not others who are in the way


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


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, and force their names to the disk: else all that is written
    below is lost with the name after a power cut."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in new:
        sync(path.parent)


def open_itself(file: Path, flags: int) -> int:
    """A handle to a file, made if `flags` say so; OSError that names the file if it is a symbolic link."""
    try:
        return os.open(file, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):  # EMLINK: FreeBSD
            raise OSError(errno.ELOOP, f"{file} is a symbolic link, which is never followed; remove it") from None
        raise


def read_itself(file: Path) -> bytes:
    """The bytes of a regular file; OSError that names it if it is a symbolic link or no file."""
    handle = open_itself(file, os.O_RDONLY | os.O_NONBLOCK)  # a pipe in its place must not make us wait
    with open(handle, "rb") as opened:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, f"{file} is not a regular file")
        return opened.read()


def write_file(file: Path, data: bytes) -> None:
    """Write a file that no other process reads yet."""
    with open(open_itself(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as out:
        out.write(data)


def write_synced(file: Path, data: bytes) -> None:
    """Write a file that no other process reads yet, in full."""
    write_file(file, data)
    sync(file)


def hand_out(file: Path, data: bytes, *, runs: Path) -> None:
    """Write a file for people to carry away, in one step; never among the runs, which are sealed."""
    if file.resolve().is_relative_to(runs.resolve()):
        raise StorageError(f"{file} is inside the runs folder {runs}; write it elsewhere")
    with storage(f"write {file}"):
        replace_file(file, data)


def replace_file(file: Path, data: bytes) -> None:
    """Replace a file in one step: a reader, now or after a crash, sees the old bytes or the new ones.

    The new file has the mode of the old one; the first has the mode that the umask allows.
    """
    new, handle = _claim(file, _make_file)
    try:
        with open(handle, "wb", closefd=False) as out:
            out.write(data)
        keep_mode(handle, file)
        os.fsync(handle)
        os.replace(new, file)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise
    finally:
        os.close(handle)
    sync(file.parent)


def keep_mode(handle: int, file: Path) -> None:
    """Give an open file the mode of the one that it will replace, if there is one, and its group if we may."""
    try:
        old = os.lstat(file)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(old.st_mode):
        return
    mode = stat.S_IMODE(old.st_mode) & 0o777
    if os.fstat(handle).st_gid != old.st_gid:
        try:
            os.fchown(handle, -1, old.st_gid)
        except PermissionError:
            mode &= ~0o070  # what the old group was allowed is no right of ours
    os.fchmod(handle, mode)


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make a folder, or fill an empty one, with all of these files, or with none if that fails.

    files : by name below the folder; a name that ends with / is an empty folder. Of an existing folder the last name
        appears last. OSError if the folder is not empty, or that above it is missing.
    """
    empty = folder.is_dir()  # it may be the current folder, which no other may take the place of
    if empty and os.listdir(folder):
        raise OSError(errno.ENOTEMPTY, f"{folder} is not empty")
    with draft_folder(folder / "new" if empty else folder) as draft:
        for name, data in files.items():
            make_folder((draft / name).parent)
            (draft / name).mkdir(exist_ok=True) if name.endswith("/") else write_synced(draft / name, data)
        if empty:
            _move_up(draft, folder, list(dict.fromkeys(name.split("/")[0] for name in files)))
        else:
            os.rename(draft, folder)
            sync(folder.parent)


def _move_up(draft: Path, folder: Path, names: list[str]) -> None:
    """Move these from a draft into the folder around it; back, if one cannot be."""
    moved: list[str] = []
    try:
        for name in names:
            os.rename(draft / name, folder / name)
            moved.append(name)
    except BaseException:
        for name in moved:
            os.rename(folder / name, draft / name)
        raise
    sync(folder)


@contextmanager
def draft_folder(place: Path) -> Iterator[Path]:
    """A new empty folder beside `place`, for what will be renamed to it or linked there; it is gone afterwards."""
    folder, handle = claim_folder(place)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def claim_folder(place: Path, mode: int = 0o777) -> tuple[Path, int]:
    """A new empty folder beside `place`, and the handle that keeps others from removing it.

    Whoever closes the handle, or dies, leaves it to the next one who claims a folder for the same place.
    """
    return _claim(place, lambda folder: _make_folder(folder, mode))


# ---- inside ----


def _claim(place: Path, make: Callable[[Path], int]) -> tuple[Path, int]:
    """A new name beside `place` and its locked handle; what dead processes left there is removed first.

    OSError if nothing can be made there; a file system such as /proc says that of every name with "no such file".
    """
    _sweep(place)
    failed = 0
    while True:
        new = place.with_name(f".{place.name}.{secrets.token_hex(6)}.new")
        try:
            handle = make(new)
        except (FileExistsError, FileNotFoundError):  # a name that is taken, or swept away before it was opened
            failed += 1
            if failed == CLAIMS or not place.parent.is_dir():
                raise
            continue
        if _locked(handle, new):
            return new, handle
        os.close(handle)  # somebody swept it away before it was locked


def _make_file(new: Path) -> int:
    return open_itself(new, os.O_RDWR | os.O_CREAT | os.O_EXCL)


def _make_folder(new: Path, mode: int) -> int:
    new.mkdir(mode)
    return open_itself(new, os.O_RDONLY | os.O_DIRECTORY)


def _locked(handle: int, new: Path) -> bool:
    """Whether this process has the new file, and it still has its name."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(handle), os.lstat(new))
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError:  # a file system without locks: nobody can sweep there either
        return True


def _sweep(place: Path) -> None:
    """Remove what dead processes left beside `place`; whatever that meets is in nobody's way."""
    mine = re.compile(rf"\.{re.escape(place.name)}\.([0-9a-f]{{12}}\.)?new")  # without digits: of an older openbook
    with suppress(OSError):
        for name in filter(mine.fullmatch, os.listdir(place.parent)):
            with suppress(OSError):
                _remove_dead(place.with_name(name))


def _remove_dead(left: Path) -> None:
    """Remove a file or folder that no process holds. OSError if one does."""
    if left.is_symlink():
        left.unlink()
        return
    handle = open_itself(left, os.O_RDONLY | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            shutil.rmtree(left)
        else:
            left.unlink()
    finally:
        os.close(handle)
