"""A process that promotes or rolls back and kills itself, by a real SIGKILL, at its n-th step on the disk.

python killed.py RUNS ACTION N: a step is before and after each call that changes a folder or forces something to the
disk, and before, in the midst of and after each write. The calls are the real ones, and what is tested is not replaced.
Ends by itself, with code 0, if there are fewer than N steps.
"""

import io
import os
import signal
import sys
from hashlib import sha256
from pathlib import Path

from openbook.record import production

CALLS = ("mkdir", "rename", "replace", "unlink", "rmdir", "fsync", "open")
WHEN = "2024-06-10 20:46:00 UTC"


class Steps:
    """Counts steps, and kills this process at the last of them."""

    def __init__(self, last: int):
        self.left = last

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class Torn(io.FileIO):
    """A file whose every write is two: a kill between them leaves half of it."""

    step: Steps

    def write(self, data) -> int:
        data = bytes(data)
        self.step()
        super().write(data[: len(data) // 2])
        self.step()
        super().write(data[len(data) // 2 :])
        self.step()
        return len(data)


def arm(step: Steps) -> None:
    """From here on, every call that changes the disk is a step."""
    for name in CALLS:
        setattr(os, name, _counted(getattr(os, name), step))
    opened = io.open
    Torn.step = step

    def open_counted(file, mode="r", *arguments, **given):
        if mode != "wb":
            assert set(mode) <= set("rb"), f"count the steps of a file opened with {mode!r} too"
            return opened(file, mode, *arguments, **given)
        step()
        made = Torn(file, mode)
        step()
        return made

    io.open = open_counted


def _counted(real, step: Steps):
    def call(*arguments, **given):
        step()
        result = real(*arguments, **given)
        step()
        return result

    return call


def bundle(text: str) -> tuple[dict[str, bytes], dict, str]:
    """Files, metadata and the hash that names the bundle of one candidate."""
    card = f"card of {text}".encode()
    files = {"model.txt": b"trees of " + text.encode(), "schema.json": b"{}", "card.json": card}
    metadata = {"model": text, "optimizer": "hrp", "vetted": True, "selected": "2024-06-10"}
    return files, metadata, sha256(card).hexdigest()


def promote(runs: Path) -> None:
    production.promote(runs, *bundle("new"))


def rollback(runs: Path) -> None:
    production.rollback(runs, who="Ann", reason="it loses", when=WHEN, verify=lambda folder: folder.stat())


ACTIONS = {"promote": promote, "rollback": rollback}

if __name__ == "__main__":
    arm(Steps(int(sys.argv[3])))
    ACTIONS[sys.argv[2]](Path(sys.argv[1]))
