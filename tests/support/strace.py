"""A process struck at one system call, by strace: killed, killed in the midst of a write, or refused by the disk.

strace counts the calls of a process by name and strikes at number AT of each. The struck process is a fork of one that
has imported everything; first it makes so many calls that change nothing that the call to be struck has that number.
"""

import ast
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from openbook.common.errors import OpenbookError, StorageError
from openbook.ledger import database, projection
from openbook.market.store import read_store
from openbook.market.store.manifest import MANIFEST, files_of, read_manifest
from openbook.runs import audit_log, registry
from openbook.runs.runs_folder import RunsFolder
from support import environment, programs, state_changes, struck

MEMORY = "/dev/shm"
AT = 120  # more than an action makes of one call
KILL, TORN = "kill", "torn write"
FAULTS = {
    KILL: f"signal=SIGKILL:when={AT}",
    TORN: f"signal=SIGKILL:when={AT}",
    "EIO once": f"error=EIO:when={AT}",
    "EIO for good": f"error=EIO:when={AT}+",
    "ENOSPC once": f"error=ENOSPC:when={AT}",
    "ENOSPC for good": f"error=ENOSPC:when={AT}+",
}
BESIDE = (".db-wal", ".db-shm")  # of a book whose writer died: the next commit removes them
LEFT = re.compile(r"\.db-(wal|shm)$|\.new(/|$)")  # the disk may refuse to remove them: the next writer of the name does
NOTHING = re.compile(r"(?!)")
PATIENCE = 60  # seconds after which a process is taken to hang
_NAME = re.compile(r"(\w+)\(")
_WRITE = re.compile(r'(?:write|pwrite64)\(\d+<(?P<file>[^>]+)>, (?P<data>".*"), \d+(?:, (?P<offset>\d+))?\) += ')
_END = re.compile(r"\) += ")
_RANDOM = re.compile(r"\.[0-9a-f]{12}\.(new|[0-9a-f]{8})\b")  # of a draft, or of the marker of a halt
_DATA = re.compile(r', "(?:[^"\\]|\\.)*"(?:, \d+)?')


def missing() -> str:
    """Why nothing can be struck here; empty if it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    probe = ["strace", "-o", os.devnull, "-e", f"trace={','.join(struck.CALLS)}", "true"]
    found = subprocess.run(probe, capture_output=True, text=True, check=False)
    return f"strace does not work here: {found.stderr.strip()[:200]}" if found.returncode else ""


@dataclass(frozen=True)
class Call:
    """One system call of an action, as strace writes it."""

    name: str
    line: str

    @property
    def place(self) -> str:
        """What is called on which file, without the bytes, their number (a lock names its process, and 10000 is longer
        than 9999), the random part of a temporary name, and the outcome."""
        return _RANDOM.sub("", _END.split(_DATA.sub("", self.line))[0])

    def tear(self) -> None:
        """Write the first half of what a killed write would have written; nothing if it is no write of bytes."""
        match = _WRITE.match(self.line)
        data = ast.literal_eval(f"b{match['data']}") if match else b""
        if len(data) > 1:
            with open(match["file"], "r+b") as file:
                file.seek(*((int(match["offset"]),) if match["offset"] else (0, os.SEEK_END)))
                file.write(data[: len(data) // 2])


@dataclass(frozen=True)
class End:
    """How a process ended: an exit code, or minus the signal; what it said; and its calls that change the disk."""

    code: int
    said: str
    calls: list[Call]


class Lab:
    """A process under strace that does what it is told, in a fork of its own, and is struck in one way, or in none.

    TRACED : the calls that are listed
    """

    TRACED: tuple[str, ...] = tuple(struck.CALLS)

    def __init__(self, folder: Path, fault: str = ""):
        self.log = folder / "strace"
        self.link, theirs = socket.socketpair()
        self.link.settimeout(PATIENCE)
        line = ["strace", "-ff", "-qq", "-y", "-s", str(1 << 20), "-o", str(self.log)]
        line += ["-e", f"trace=access,{','.join(self.TRACED)}"]
        line += ["-e", f"inject={','.join(struck.CALLS)}:{FAULTS[fault]}"] if fault else []
        single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONDONTWRITEBYTECODE"), "1")
        self.process = subprocess.Popen(
            [*line, sys.executable, struck.__file__], stdin=theirs, env=environment() | single
        )
        theirs.close()

    def close(self) -> None:
        """No more orders."""
        self.link.close()
        self.process.wait(PATIENCE)

    def act(self, action: str, folder: Path, ahead: dict[str, int] | None = None) -> End:
        """Do one action in a runs folder, at WHEN."""
        order = {"action": action, "folder": str(folder), "when": state_changes.WHEN, "ahead": ahead or {}}
        self.link.send(json.dumps(order).encode())
        pid, code, said = json.loads(self.link.recv(1 << 16))
        return End(code, said, self._calls(pid, whole=code < 0))

    def _calls(self, pid: int, whole: bool) -> list[Call]:
        """The calls since the action began; strace writes the one that was killed after the process is gone."""
        log, until = Path(f"{self.log}.{pid}"), time.monotonic() + PATIENCE
        while True:
            lines = log.read_text(encoding="ascii").splitlines()
            if not whole or lines[-1].startswith("+++"):
                break
            assert time.monotonic() < until, f"strace does not say how {pid} was killed"
            time.sleep(0.001)
        log.unlink()
        begun = next(n for n, line in enumerate(lines) if line.startswith(f'access("{struck.BEGIN}"')) + 1
        found = [(match[1], line) for line in lines[begun:] if (match := _NAME.match(line))]
        return [Call(name, line) for name, line in found if name in self.TRACED]


def points(calls: list[Call], fault: str) -> list[int]:
    """The numbers of the calls at which a fault can strike."""
    return [n for n, call in enumerate(calls) if fault != TORN or _WRITE.match(call.line)]


def ahead(calls: list[Call], point: int, fault: str) -> dict[str, int]:
    """Calls to make first, so that the one at `point` is struck; for good: those after it too, whatever their name."""
    names = {call.name for call in (calls[point:] if "good" in fault else calls[point : point + 1])}
    before = [call.name for call in calls[:point]]
    assert all(before.count(name) < AT for name in names)
    return {name: AT - 1 - before.count(name) for name in sorted(names)}


# ---- the state of a runs folder ----


def parts(folder: Path) -> dict[str, object]:
    """What a reader finds, by part: each must be old or new as a whole."""
    runs = RunsFolder(folder)
    found = {f"book {file.stem}": tables(file) for file in sorted((folder / "books").glob("*.db"))}
    found |= {f"view {file.name}": file.read_bytes() for file in sorted((folder / "books").glob("*/*.csv"))}
    found |= {f"run {run.notebook} {run.date}": files(run.folder) for run in runs.list()}
    found |= {f"entry {n} of the log": entry for n, entry in enumerate(audit_log.entries(folder), start=1)}
    for manifest in folder.glob(f"store/*/{MANIFEST}"):
        read_store(manifest.parent)  # it is whole
        counted = [MANIFEST, *sorted(files_of(read_manifest(manifest.parent)))]
        found["prices"] = {name: (manifest.parent / name).read_bytes() for name in counted}
    champion = registry.champion(folder)
    if champion:
        found["champion"] = (champion[1], files(champion[0]), registry.history(folder))
    return found


def tables(file: Path) -> list[str]:
    """Every row of a book that is whole, and of which the tables are what the events say."""

    def rows(db: sqlite3.Connection) -> list[str]:
        projection.audit(db)
        return list(db.iterdump())

    return database.read(file, rows)


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by relative name; who held it last is nothing that lasts."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def copy(source: Path, target: Path) -> None:
    """A folder as another is; what was there is gone."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


def everything(folder: Path) -> dict[str, object]:
    """Each part, and every file that there is, hidden ones too; of a book the rows and not the bytes."""
    rest = {name: b"" if name.endswith(".db") else data for name, data in files(folder).items()}
    return {**parts(folder), "files": rest}


# ---- the campaign ----


@contextmanager
def campaign() -> Iterator["Campaign"]:
    """A campaign whose processes are started once; a skip where nothing can be struck.

    In memory where there is a folder for it: what a killed process wrote is not lost, so that only the waiting is. Its
    folders are put back as they were, so no head of a log is remembered.
    """
    if why := missing():
        programs.lack("strace", why)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_STATE_HOME", "/dev/null/nothing")
        with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
            begun = Campaign(Path(folder))
            yield begun
            begun.close()


@dataclass
class Trial:
    """One action under one fault: how often it was struck, and every state that must not be."""

    action: str
    fault: str
    struck: int = 0
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Course:
    """An action that nothing strikes: the folder before, its parts before, the calls, and all that there is after."""

    action: str
    before: Path
    old: dict
    calls: list[Call]
    new: dict


class Campaign:
    """Strikes actions at many points, in copies of one folder."""

    def __init__(self, folder: Path):
        self.folder, self.runs, self.twin = folder, folder / "runs", folder / "twin"
        self.labs: dict[str, Lab] = {}
        self.courses: dict[str, Course] = {}

    def close(self) -> None:
        """End every process."""
        for lab in self.labs.values():
            lab.close()

    def strike(self, action: str, fault: str, stride: int = 1, first: int = 0) -> Trial:
        """Strike at every `stride`-th point of an action, from `first` on, and at one point at least."""
        trial = Trial(action, fault)
        self._strike(trial, self.course(action), fault, stride, first)
        return trial

    def strike_the_rerun(self, action: str, fault: str, stride: int, again: int) -> Trial:
        """Strike at every `stride`-th point, and at every `again`-th point of the rerun that should heal it."""
        trial, course = Trial(action, f"{fault}, twice"), self.course(action)
        for number, point in enumerate(points(course.calls, fault)[::stride]):
            self._hit(course, fault, point)
            left = self.folder / f"left by {action} after {fault} at {point}"
            copy(self.runs, left)
            self._strike(trial, self._course(action, left), fault, again, number)
        return trial

    def course(self, action: str) -> Course:
        """The course of an action from its scene."""
        if action not in self.courses:
            before = self.folder / f"before {action}"
            state_changes.EVERY[action].begin(before)
            self.courses[action] = self._course(action, before)
        return self.courses[action]

    def lab(self, fault: str) -> Lab:
        """The process that is struck in one way."""
        if fault not in self.labs:
            folder = self.folder / f"lab of {fault}"
            folder.mkdir(parents=True)
            self.labs[fault] = Lab(folder, fault)
        return self.labs[fault]

    def _course(self, action: str, before: Path) -> Course:
        copy(before, self.runs)
        old = parts(self.runs)
        copy(before, self.runs)
        end = self.lab(KILL).act(action, self.runs)
        assert end.code == 0, f"{action} fails without a fault: {end.said}"
        return Course(action, before, old, end.calls, everything(self.runs))

    def _strike(self, trial: Trial, course: Course, fault: str, stride: int, first: int) -> None:
        at = points(course.calls, fault)
        for point in at[first % max(1, min(stride, len(at))) :: stride]:
            trial.struck += 1
            faults = self._faults(course, fault, point)
            trial.wrong += [f"call {point}, {course.calls[point].place}: {each}" for each in faults]

    def _hit(self, course: Course, fault: str, point: int) -> End:
        """Do an action, and strike it at one of its calls."""
        copy(course.before, self.runs)
        end = self.lab(fault).act(course.action, self.runs, ahead(course.calls, point, fault))
        meant, hit = course.calls[point], end.calls[point]
        assert hit.place == meant.place, f"{hit.line[:200]} was struck instead of {meant.line[:200]}"
        if fault == TORN:
            hit.tear()
        return end

    def _faults(self, course: Course, fault: str, point: int) -> list[str]:
        """What is wrong after a strike, and after the action was done once more."""
        end, old, new = self._hit(course, fault, point), course.old, course.new
        faults = _ending(end, fault)
        copy(self.runs, self.twin)
        unread = [self.twin] if any(self.twin.rglob("*-wal")) else []  # else reading changes nothing
        try:
            found = parts(self.runs)
        except OpenbookError as error:
            return [*faults, f"cannot be read: {error}"]
        names = sorted({*old, *new, *found} - {"files"})
        torn = [name for name in names if found.get(name) not in (old.get(name), new.get(name))]
        faults += [f"{name} is neither old nor new" for name in torn]
        done = all(found.get(name) == new.get(name) for name in names)
        if end.code == 0 and not done:
            faults.append("ended as if done, and is not")
        when = (
            state_changes.LATER if done else state_changes.WHEN
        )  # what is done already must not be done again at another time
        left = NOTHING if fault in (KILL, TORN) else LEFT
        return faults + [each for folder in (self.runs, *unread) for each in self._rerun(course, folder, when, left)]

    def _rerun(self, course: Course, folder: Path, when: str, left: re.Pattern[str]) -> list[str]:
        """Once more, without a fault; the twin was not read in between. `left` : names that may stay."""
        who, new = f"a rerun {'' if folder == self.runs else 'that nobody read before '}", course.new
        try:
            state_changes.EVERY[course.action].act(folder, when)
            found = everything(folder)
        except OpenbookError as error:
            return [f"{who}fails: {error}"]
        odd = sorted(name for name in {*new, *found} if new.get(name) != found.get(name))
        if odd == ["files"]:
            differing = {name for name, _ in new["files"].items() ^ found["files"].items()}
            odd = sorted(name for name in differing if not left.search(name))
        return [f"{who}leaves other {', '.join(odd)}"] if odd else []


def _ending(end: End, fault: str) -> list[str]:
    """A killed process is killed; one that the disk refused something says so, or could do without."""
    good = (-signal.SIGKILL,) if fault in (KILL, TORN) else (0, StorageError.exit_code)
    return [] if end.code in good else [f"ended with {end.code}: {end.said}"]


def report(trials: list[Trial]) -> str:
    """Action × points × wrong states, one line for each, and the sum."""
    rows = [(f"{t.action}, {t.fault}", t.struck, len(t.wrong)) for t in trials]
    rows.append(("together", sum(t.struck for t in trials), sum(len(t.wrong) for t in trials)))
    lines = [f"{name:<60}{count:>8}{wrong:>8}" for name, count, wrong in [("", "points", "wrong"), *rows]]
    return "\n".join(["", *lines, *(f"{t.action}, {t.fault}, {wrong}" for t in trials for wrong in t.wrong)])
