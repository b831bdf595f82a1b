"""The states in which a power cut may leave a disk: what was not synced yet is there, lost, or there in part.

A process does one action under strace, which lists its calls. Of a file, what was written before an fsync of it is
durable; of a folder, the names that were made, moved or removed before an fsync of it. Everything else may be missing,
in any combination and whatever its order was, and a write may end at the edge of a block.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from openbook.common.errors import OpenbookError
from openbook.runs import summaries
from support import state_changes, strace, struck
from support.disk_operations import Names, Operation, Recording, Sync, Write, write_tree
from support.strace import Lab
from support.trained_desk import Answer, openbook

LOOKED_AT = ("an evening", "the command fills")  # by status and verify
MOST = 6  # of so few open operations every combination is tried
READS = ("openat", "lseek", "close")


class Recorder(Lab):
    """A process whose calls are listed, and that nothing strikes."""

    TRACED = (*struck.CALLS, *READS)


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
            odd = [name for name in odd if not name.endswith(strace.BESIDE)]
        if odd:
            cuts.wrong.append(f"{state}: the same command again leaves other {', '.join(odd)}")


def report(cuts: list[Cuts]) -> str:
    """Action × states × refusals × wrong states, one line for each, and the sum."""
    rows = [(each.action, each.states, len(each.refused), len(each.wrong)) for each in cuts]
    rows.append(("together", *(sum(row[n] for row in rows) for n in (1, 2, 3))))
    lines = [f"{name:<45}{a:>8}{b:>9}{c:>8}" for name, a, b, c in [("", "states", "refused", "wrong"), *rows]]
    said = [f"{each.action}: {text}" for each in cuts for text in [*each.refused, *each.wrong]]
    return "\n".join(["", *lines, *said])
