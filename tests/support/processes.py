"""What runs on this machine, as /proc has it."""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

MARK = "OPENBOOK_TEST_MARK"  # a variable that a process hands on to all that it starts


def marked(mark: str) -> dict[int, str]:
    """The command line by number of every process, but zombies, whose environment has the mark."""
    if sys.platform != "linux":
        pytest.skip("only Linux has /proc")
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def wait_until(what, seconds: float = 30.0) -> None:
    """Until `what()` is true; a failure after so many seconds."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, f"not so after {seconds:g} s"
        time.sleep(0.05)


def end_all(mark: str) -> None:
    """What a failed test left."""
    for process in marked(mark):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
