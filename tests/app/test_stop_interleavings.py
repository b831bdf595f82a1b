"""No order decided before a halt leaves after it, however commands are interleaved and wherever a halt is killed.

Real commands run in threads of which one runs at a time: at each seam (a lock, a check, a transaction, a wait) a seeded
scheduler says who goes on. What they do is written down in that order and judged at the end.
"""

import shutil
import threading
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pytest

from openbook.app import commands, service
from openbook.common import locks
from openbook.common.errors import OpenbookError
from openbook.ledger import book_commands, event_chain
from openbook.market import calendar
from openbook.runs import halt_markers
from openbook.runs.halt_markers import KILL
from support.small_runs import forget_head
from support.trained_desk import copied

N_OFTEN, N_LONG = 40, 10_000


class Killed(BaseException):
    """The process of a command ends here."""


class Actor(threading.Thread):
    """One command, in a process of its own as it were; it stops at each seam until it is its turn."""

    def __init__(self, name: str, act: Callable[[], object], dies_at: int | None, happened: list):
        super().__init__(name=name, daemon=True)
        self.act, self.dies_at, self.happened = act, dies_at, happened
        self.turn, self.parked, self.over = threading.Semaphore(0), threading.Semaphore(0), False
        self.seams, self.looks = 0, 0

    def run(self):
        self.turn.acquire()
        try:
            self.act()
            self.happened.append((self.name, "done"))
        except OpenbookError as error:
            self.happened.append((self.name, f"refused: {error}"))
        except Killed:
            self.happened.append((self.name, "killed"))
        except BaseException as error:  # no command may end so
            self.happened.append((self.name, f"BROKEN: {error!r}"))
        finally:
            self.over = True
            self.parked.release()

    def stop(self):
        """A seam."""
        if self.looks:
            return
        self.seams += 1
        if self.seams == self.dies_at:
            raise Killed
        self.parked.release()
        self.turn.acquire()

    @contextmanager
    def looking(self):
        """One look at the names of KILL and the markers: microseconds, in which nobody else has a turn."""
        self.looks += 1
        try:
            yield
        finally:
            self.looks -= 1

    def go_on(self):
        self.turn.release()
        assert self.parked.acquire(timeout=60), f"{self.name} hangs"


def seam() -> None:
    actor = threading.current_thread()
    if isinstance(actor, Actor):
        actor.stop()


def note(happened: list, what: str) -> None:
    happened.append((threading.current_thread().name, what))


class Clock:
    """Time passes where somebody waits, and nowhere else."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += 10 * seconds
        seam()


@pytest.fixture
def stage(by_hand_tonight, tmp_path, monkeypatch):
    """A desk whose orders wait, with its files as they were, and seams in everything that matters to a halt."""
    desk = copied(by_hand_tonight, tmp_path)
    monkeypatch.setenv(calendar.REHEARSAL, f"{desk.tonight:%Y-%m-%d}T21:10Z")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("openbook.ledger.sqlite.BUSY_SECONDS", 0.01)
    monkeypatch.setattr(locks, "time", Clock())
    # What the hashes of code, prices and champion are is not at stake here, and takes most of the time.
    for module, name in ((commands, "standing_on"), (commands, "void_because"), (commands, "_require_unaltered")):
        monkeypatch.setattr(module, name, remembered(getattr(module, name)))
    for module, names in (
        (halt_markers, ("drop", "clear", "markers", "kill_file", "require_none")),
        (book_commands, ("approve", "halt", "reset", "read_batch", "release")),
        (event_chain, ("append",)),
        (commands, ("publish_all_views", "note")),
        (service, ("note",)),
    ):
        for name in names:
            monkeypatch.setattr(module, name, seamed(getattr(module, name)))
    return desk


def remembered(function):
    """Computed once: it depends on no order and no halt."""
    known = []

    def first(*arguments):
        if not known:
            known.append(function(*arguments))
        return known[0]

    return first


def seamed(function):
    def before(*arguments, **more):
        seam()
        actor = threading.current_thread()
        looks = isinstance(actor, Actor) and function.__name__ == "require_none"
        with actor.looking() if looks else nullcontext():
            return function(*arguments, **more)

    return before


@contextmanager
def as_it_was(desk, kept: Path):
    """Book, log and views of before, in their places."""
    for name in ("books", "audit.jsonl"):
        target = desk.runs / name
        if target.is_dir():
            shutil.rmtree(target)
            shutil.copytree(kept / name, target)
        else:
            shutil.copyfile(kept / name, target)
    forget_head(desk.runs)
    for left in (*desk.runs.glob("HALT*"), *desk.runs.glob(KILL)):
        left.unlink()
    yield


def play(desk, rng) -> list[tuple[str, str]]:
    """One interleaving: what happened, in order."""
    happened: list[tuple[str, str]] = []
    runs, date = desk.runs, f"{desk.tonight:%Y-%m-%d}"

    def approve():
        commands.approve(runs, date, who="Ann", ask=lambda proposal: proposal.batch.code)

    def export():
        commands.export(runs, date, "generic")
        note(happened, "left")

    def halt():
        commands.halt(runs, who="Bob", reason="smoke")

    def reset():
        commands.reset(runs, who="Ann", reason="no fire", rearm=True)

    def views():
        service.rebuild_views(runs)

    def kill():
        (runs / KILL).touch()
        note(happened, "KILL made")
        seam()
        if rng_kill:
            (runs / KILL).unlink(missing_ok=True)
            note(happened, "KILL removed")

    rng_kill = rng.random() < 0.5
    acts = {"approve": approve, "export": export, "halt": halt, "reset": reset, "views": views, "kill": kill}
    chosen = ["export", *rng.choice(list(acts), rng.integers(2, 5))]
    dropped = halt_markers.drop

    def dropping(*arguments, **more):
        marks = dropped(*arguments, **more)
        note(happened, "in force")
        return marks

    if rng.random() < 0.7:
        approve()  # the orders are approved already when the rest begins
    halt_markers.drop = dropping
    try:
        ends = [int(rng.integers(1, 12)) if rng.random() < 0.25 else None for _ in chosen]
        actors = [
            Actor(f"{name} {i}", acts[name], end, happened)
            for i, (name, end) in enumerate(zip(chosen, ends, strict=True))
        ]
        for actor in actors:
            actor.start()
        waiting = list(actors)
        while waiting:
            actor = waiting[rng.integers(len(waiting))]
            actor.go_on()
            waiting = [each for each in waiting if not each.over]
    finally:
        halt_markers.drop = dropped
    return happened


def judge(desk, happened: list[tuple[str, str]]) -> None:
    """Nothing left after a halt was in force, nor while KILL existed; and nothing can leave now if there was a halt."""
    assert not [pair for pair in happened if pair[1].startswith("BROKEN")], happened
    halted = killed = False
    for _, what in happened:
        halted |= what == "in force"
        killed = what == "KILL made" or (killed and what != "KILL removed")
        if what == "left":
            assert not halted, happened
            assert not killed, happened
    if halted or killed:
        with pytest.raises(OpenbookError):
            commands.export(desk.runs, f"{desk.tonight:%Y-%m-%d}", "generic")
    if halted:
        (desk.runs / KILL).unlink(missing_ok=True)
        service.rebuild_views(desk.runs)  # the next command records what is not recorded
        with pytest.raises(OpenbookError, match=r"VOID|EXPIRED|void"):
            commands.export(desk.runs, f"{desk.tonight:%Y-%m-%d}", "generic")
        assert not halt_markers.markers(desk.runs, "paper"), happened


def run(desk, tmp_path: Path, n: int, seed: int) -> dict[str, int]:
    """n interleavings; how often each thing happened."""
    kept, count = tmp_path / "kept", {}
    shutil.copytree(desk.runs, kept)
    for k in range(n):
        with as_it_was(desk, kept):
            happened = play(desk, np.random.default_rng((seed, k)))
            judge(desk, happened)
        for _, what in happened:
            word = what.partition(":")[0]
            count[word] = count.get(word, 0) + 1
    return count


def test_h02_nothing_leaves_after_a_halt(stage, tmp_path):
    count = run(stage, tmp_path, N_OFTEN, seed=1)
    assert {"left", "in force", "KILL made", "done", "refused", "killed"} <= count.keys(), count


@pytest.mark.long
def test_h02_nothing_leaves_after_a_halt_in_ten_thousand_interleavings(stage, tmp_path):
    count = run(stage, tmp_path, N_LONG, seed=2)
    assert min(count[word] for word in ("left", "in force", "KILL made", "refused", "killed")) > 500, count


def test_h02_the_judge_notices_an_export_that_does_not_look(stage, tmp_path, monkeypatch):
    """The test can fail: where nothing looks for markers and KILL, orders leave."""
    monkeypatch.setattr(halt_markers, "require_none", seamed(lambda runs, kind: None))
    with pytest.raises(AssertionError):
        run(stage, tmp_path, N_OFTEN, seed=1)
