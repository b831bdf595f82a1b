"""What a process does to a disk: its system calls as operations on inodes and names, and a disk that obeys them."""

import ast
import itertools
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from support.strace import Call

BLOCK = 512  # bytes that a disk writes whole
_STRING = r'"(?:[^"\\]|\\.)*"'
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+)(?:<(.*)>)?")
_FD = re.compile(r"(\d+)<(.*?)>(?:, (.*))?$", re.DOTALL)


# ---- operations on inodes ----


@dataclass(frozen=True)
class Write:
    """Bytes of a file, from an offset on."""

    inode: int
    offset: int
    data: bytes

    def torn(self) -> "Write | None":
        """The first half of its blocks; None if it is of one block."""
        edge = (self.offset // BLOCK + 1) * BLOCK
        edges = list(range(edge, self.offset + len(self.data), BLOCK))
        return Write(self.inode, self.offset, self.data[: edges[len(edges) // 2] - self.offset]) if edges else None


@dataclass(frozen=True)
class Cut:
    """The size of a file is set."""

    inode: int
    size: int


@dataclass(frozen=True)
class Names:
    """Names of folders that change together: (folder, name, inode), or None where the name is removed."""

    changes: tuple[tuple[int, str, int | None], ...]


@dataclass(frozen=True)
class Sync:
    """A file or a folder is made durable."""

    inode: int


Operation = Write | Cut | Names | Sync


@dataclass
class Disk:
    """Files and folders by inode; inode 0 is the root."""

    files: dict[int, bytes] = field(default_factory=dict)
    folders: dict[int, dict[str, int]] = field(default_factory=lambda: {0: {}})

    def copy(self) -> "Disk":
        return Disk(dict(self.files), {inode: dict(names) for inode, names in self.folders.items()})

    def apply(self, operation: Operation) -> None:
        if isinstance(operation, Write):
            old = self.files[operation.inode].ljust(operation.offset, b"\0")
            end = operation.offset + len(operation.data)
            self.files[operation.inode] = old[: operation.offset] + operation.data + old[end:]
        elif isinstance(operation, Cut):
            self.files[operation.inode] = self.files[operation.inode][: operation.size].ljust(operation.size, b"\0")
        elif isinstance(operation, Names):
            for folder, name, inode in operation.changes:
                self.folders[folder].pop(name, None)
                if inode is not None:
                    self.folders[folder][name] = inode

    def tree(self, folder: int = 0, path: str = "") -> dict[str, bytes | None]:
        """Content by path below the root; of a folder None."""
        found: dict[str, bytes | None] = {}
        for name, inode in sorted(self.folders[folder].items()):
            inner = f"{path}{name}"
            found[inner] = self.files.get(inode)
            if inode in self.folders:
                found |= self.tree(inode, f"{inner}/")
        return found


def read_disk(root: Path) -> Disk:
    """A folder as it is."""
    disk, numbers = Disk(), itertools.count(1)
    inodes = {root: 0}
    for path in sorted(root.rglob("*")):
        inodes[path] = next(numbers)
        disk.folders[inodes[path.parent]][path.name] = inodes[path]
        if path.is_dir():
            disk.folders[inodes[path]] = {}
        else:
            disk.files[inodes[path]] = path.read_bytes()
    return disk


def write_tree(tree: dict[str, bytes | None], root: Path) -> None:
    """A folder with that content and nothing else."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for name, data in tree.items():
        if data is None:
            (root / name).mkdir()
        else:
            (root / name).write_bytes(data)


# ---- from calls to operations ----


class Recording:
    """The operations of an action below a root, from its calls.

    before : the disk as it was; operations : in their order; a folder or file that is made has an inode in `before`
    already, empty and without a name
    """

    def __init__(self, root: Path, calls: Iterable[Call]):
        self.root, self.before = root, read_disk(root)
        self.now, self.operations = self.before.copy(), list[Operation]()
        self.offsets: dict[str, int] = {}
        self.appends: set[str] = set()
        for call in calls:
            self.take(call)

    def take(self, call: Call) -> None:
        match = _CALL.match(call.line)
        if match is None or int(match[3]) < 0:
            return
        act = getattr(self, f"_{call.name}", None)
        assert act is not None, f"nobody knows what {call.name} does to a disk"
        act(match[2], int(match[3]), match[4] or "")

    def add(self, operation: Operation) -> None:
        self.operations.append(operation)
        self.now.apply(operation)

    def inode(self, path: str) -> int | None:
        """Of a path below the root that is there; else None."""
        place = self.place(path)
        return None if place is None else (0 if place[1] == "" else self.now.folders[place[0]].get(place[1]))

    def place(self, path: str) -> tuple[int, str] | None:
        """(folder, name) of a path below the root; None for another one."""
        if path != str(self.root) and not path.startswith(f"{self.root}/"):
            return None
        parts = [part for part in path[len(str(self.root)) :].split("/") if part]
        folder = 0
        for part in parts[:-1]:
            if part not in self.now.folders[folder]:
                return None
            folder = self.now.folders[folder][part]
        return folder, parts[-1] if parts else ""

    def new(self, folder: bool) -> int:
        inode = max([*self.before.files, *self.before.folders]) + 1
        for disk in (self.before, self.now):
            if folder:
                disk.folders[inode] = {}
            else:
                disk.files[inode] = b""
        return inode

    def _openat(self, words: str, fd: int, opened: str) -> None:
        path, place = _path(words), self.place(_path(words))
        self.offsets[str(fd)] = 0
        self.appends.discard(str(fd))
        if place is None:
            return
        inode = self.inode(path)
        if inode is None and "O_CREAT" in words:
            self.add(Names(((*place, self.new(folder=False)),)))
        elif inode is not None and "O_TRUNC" in words and self.now.files[inode]:
            self.add(Cut(inode, 0))
        if "O_APPEND" in words:
            self.appends.add(str(fd))

    def _lseek(self, words: str, result: int, _: str) -> None:
        self.offsets[words.partition("<")[0]] = result

    def _close(self, words: str, result: int, _: str) -> None:
        self.offsets.pop(words.partition("<")[0], None)

    def _write(self, words: str, result: int, _: str) -> None:
        fd, path, rest = _file(words)
        inode = self.inode(path)
        if inode is None:
            return
        at = len(self.now.files[inode]) if fd in self.appends else self.offsets[fd]
        self.offsets[fd] = at + result
        self.add(Write(inode, at, _bytes(rest)[:result]))

    def _pwrite64(self, words: str, result: int, _: str) -> None:
        _, path, rest = _file(words)
        inode = self.inode(path)
        if inode is not None:
            self.add(Write(inode, int(rest.rpartition(", ")[2]), _bytes(rest)[:result]))

    def _fsync(self, words: str, result: int, _: str) -> None:
        inode = self.inode(_file(words)[1])
        if inode is not None:
            self.add(Sync(inode))

    _fdatasync = _fsync

    def _ftruncate(self, words: str, result: int, _: str) -> None:
        _, path, rest = _file(words)
        inode = self.inode(path)
        if inode is not None:
            self.add(Cut(inode, int(rest)))

    def _rename(self, words: str, result: int, _: str) -> None:
        old, new = _paths(words)
        source, target, inode = self.place(old), self.place(new), self.inode(old)
        if source and target and inode is not None:
            self.add(Names(((*source, None), (*target, inode))))

    _renameat = _rename

    def _link(self, words: str, result: int, _: str) -> None:
        old, new = _paths(words)
        target, inode = self.place(new), self.inode(old)
        if target and inode is not None:
            self.add(Names(((*target, inode),)))

    _linkat = _link

    def _unlink(self, words: str, result: int, _: str) -> None:
        place = self.place(_path(words))
        if place:
            self.add(Names(((*place, None),)))

    _rmdir = _unlinkat = _unlink

    def _mkdir(self, words: str, result: int, _: str) -> None:
        place = self.place(_path(words))
        if place:
            self.add(Names(((*place, self.new(folder=True)),)))

    _mkdirat = _mkdir

    def _chmod(self, words: str, result: int, _: str) -> None:
        """Who may read a file is no part of these states."""


def _paths(words: str) -> list[str]:
    """The paths among the arguments of a call; a relative one starts at the folder that strace names before it."""
    found = []
    for match in re.finditer(rf"(?:(?:AT_FDCWD|\d+)<(?P<at>[^>]*)>, )?(?P<text>{_STRING})", words):
        path = ast.literal_eval(f"b{match['text']}").decode()
        found.append(os.path.normpath(os.path.join(match["at"] or os.getcwd(), path)))
    return found


def _path(words: str) -> str:
    return _paths(words)[0]


def _file(words: str) -> tuple[str, str, str]:
    """(descriptor, path, the arguments after it)"""
    match = _FD.match(words)
    assert match is not None, words
    return match[1], match[2], match[3] or ""


def _bytes(rest: str) -> bytes:
    match = re.match(_STRING, rest)
    assert match is not None, rest[:80]
    return ast.literal_eval(f"b{match[0]}")
