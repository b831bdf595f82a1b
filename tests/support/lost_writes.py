"""The states in which a power cut may leave a disk: what was not synced yet is there, lost, or there in part.

A process does one action under strace, which lists its calls. Of a file, what was written before an fsync of it is
durable; of a folder, the names that were made, moved or removed before an fsync of it. Everything else may be missing,
in any combination and whatever its order was, and a write may end at the edge of a block.
"""

import ast
import itertools
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from openbook.common.errors import OpenbookError
from openbook.runs import summaries
from support import state_changes, strace, struck
from support.strace import Call, Lab
from support.trained_desk import Answer, openbook

LOOKED_AT = ("an evening", "the command fills")  # by status and verify
BLOCK = 512  # bytes that a disk writes whole
MOST = 6  # of so few open operations every combination is tried
READS = ("openat", "lseek", "close")
_STRING = r'"(?:[^"\\]|\\.)*"'
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+)(?:<(.*)>)?")
_FD = re.compile(r"(\d+)<(.*?)>(?:, (.*))?$", re.DOTALL)


class Recorder(Lab):
    """A process whose calls are listed, and that nothing strikes."""

    TRACED = (*struck.CALLS, *READS)


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


# ---- the states ----


def open_at(operations: list[Operation], end: int) -> list[int]:
    """The operations before `end` that are not durable there, by number."""
    synced: set[int] = set()
    found = []
    for n in range(end - 1, -1, -1):
        operation = operations[n]
        if isinstance(operation, Sync):
            synced.add(operation.inode)
        elif isinstance(operation, Names):
            if not synced & {folder for folder, *_ in operation.changes}:
                found.append(n)
        elif operation.inode not in synced:
            found.append(n)
    return found[::-1]


@dataclass(frozen=True)
class State:
    """A disk after a power cut: before operation `end`, with some of the open operations lost and one torn."""

    end: int
    lost: tuple[int, ...]
    torn: int | None
    tree: dict[str, bytes | None]

    def __str__(self) -> str:
        torn = "" if self.torn is None else f", {self.torn} torn"
        return f"power cut before operation {self.end}, lost {list(self.lost)}{torn}"


def states(recording: Recording) -> Iterator[State]:
    """Every state that differs from those before, the last operation first: what is lost when a command has ended must
    not be hidden by the same state of before. With every combination of losses where few operations are open, else with
    all, each, all but each, and each kind of them lost; and with each write torn."""
    seen = set()
    for end in range(len(recording.operations), -1, -1):
        open_ = open_at(recording.operations, end)
        for lost, torn in _losses(recording.operations, open_):
            tree = _after(recording, end, lost, torn)
            key = hash(tuple(tree.items()))
            if key not in seen:
                seen.add(key)
                yield State(end, lost, torn, tree)


def _losses(operations: list[Operation], open_: list[int]) -> Iterator[tuple[tuple[int, ...], int | None]]:
    """(lost, torn) of each combination."""
    if len(open_) <= MOST:
        for n in range(len(open_) + 1):
            yield from ((lost, None) for lost in itertools.combinations(open_, n))
    else:
        names = tuple(n for n in open_ if isinstance(operations[n], Names))
        data = tuple(n for n in open_ if n not in names)
        yield from ((lost, None) for lost in ((), tuple(open_), names, data))
        for n in open_:
            yield (n,), None
            yield tuple(other for other in open_ if other != n), None
            yield tuple(other for other in open_ if other > n), None
            yield tuple(other for other in open_ if other < n), None
    for n in open_:
        operation = operations[n]
        if isinstance(operation, Write) and operation.torn():
            yield (), n
            yield tuple(other for other in open_ if other > n), n


def _after(recording: Recording, end: int, lost: tuple[int, ...], torn: int | None) -> dict[str, bytes | None]:
    disk = recording.before.copy()
    for n, operation in enumerate(recording.operations[:end]):
        if n == torn and isinstance(operation, Write):
            operation = operation.torn() or operation
        if n not in lost:
            disk.apply(operation)
    return disk.tree()


def record(action: str, before: Path, root: Path, lab: Recorder) -> Recording:
    """Do an action in a copy of a folder, and list what it does to the disk."""
    strace.copy(before, root)
    end = lab.act(action, root)
    assert end.code == 0, f"{action} fails: {end.said}"
    strace.copy(before, root)
    return Recording(root, end.calls)


# ---- the campaign ----


@dataclass
class Cuts:
    """One action, and what became of it after power cuts: states, refusals by name, and what must not be."""

    action: str
    states: int = 0
    refused: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def look(runs: Path, word: str) -> Answer:
    """`openbook status` or `verify`, which may find anything but an error that nobody foresaw."""
    with state_changes.clock(state_changes.WHEN):
        return openbook("--runs", runs, word)


class PowerCuts:
    """Cuts the power of actions, in the folder of a campaign."""

    def __init__(self, campaign: strace.Campaign):
        self.campaign = campaign
        folder = campaign.folder / "recorder"
        folder.mkdir()
        self.lab = Recorder(folder)
        self.recordings: dict[str, Recording] = {}

    def recording(self, action: str) -> Recording:
        if action not in self.recordings:
            course = self.campaign.course(action)
            self.recordings[action] = record(action, course.before, self.campaign.runs, self.lab)
        return self.recordings[action]

    def states(self, action: str) -> list[State]:
        return list(states(self.recording(action)))

    def cut(self, action: str, most: int = 0) -> Cuts:
        """Cut in every state, or in so many of them, evenly spaced; after the last operation in any case."""
        found, cuts = self.states(action), Cuts(action)
        for state in found[:: -(-len(found) // most) if most else 1]:
            cuts.states += 1
            self._judge(cuts, state)
        return cuts

    def _judge(self, cuts: Cuts, state: State) -> None:
        """What is read next, and what the same command does."""
        campaign, course = self.campaign, self.campaign.course(cuts.action)
        write_tree(state.tree, campaign.runs)
        for word in ("status", "verify") if cuts.action in LOOKED_AT else ():
            answer = look(campaign.runs, word)
            if answer.code == OpenbookError.exit_code:
                cuts.wrong.append(f"{state}: {word} fails: {answer.err}")
        write_tree(state.tree, campaign.runs)
        try:
            found = strace.parts(campaign.runs)
        except OpenbookError:
            found = {}
        lasting = [name for name in course.new if name != "files" and not name.startswith("view ")]
        lost = [name for name in lasting if found.get(name) != course.new[name]]
        if state.end == len(self.recording(cuts.action).operations) and lost:
            cuts.wrong.append(f"{state}: {', '.join(lost)} said to be done, and lost")
        done = bool(found) and all(found.get(name) == course.new[name] for name in course.new if name != "files")
        write_tree(state.tree, campaign.runs)
        try:
            state_changes.EVERY[cuts.action].act(campaign.runs, state_changes.LATER if done else state_changes.WHEN)
            after = strace.everything(campaign.runs)
        except OpenbookError as error:
            cuts.refused.append(f"{state}: {error}")
            return
        odd = sorted(name for name in {*course.new, *after} if course.new.get(name) != after.get(name))
        if odd == ["files"]:
            odd = sorted({name for name, _ in course.new["files"].items() ^ after["files"].items()} - {summaries.KNOWN})
            odd = [name for name in odd if not name.endswith(strace.LEFT)]  # the next commit removes them
        if odd:
            cuts.wrong.append(f"{state}: the same command again leaves other {', '.join(odd)}")


def report(cuts: list[Cuts]) -> str:
    """Action × states × refusals × wrong states, one line for each, and the sum."""
    rows = [(each.action, each.states, len(each.refused), len(each.wrong)) for each in cuts]
    rows.append(("together", *(sum(row[n] for row in rows) for n in (1, 2, 3))))
    lines = [f"{name:<45}{a:>8}{b:>9}{c:>8}" for name, a, b, c in [("", "states", "refused", "wrong"), *rows]]
    said = [f"{each.action}: {text}" for each in cuts for text in [*each.refused, *each.wrong]]
    return "\n".join(["", *lines, *said])
