"""What this process has made durable, so that after Ctrl-C a command can say what is true.

A change and the note of it are one step for an interrupt: it waits until both are done.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_done: list[str] = []


def begin() -> None:
    """A command begins: nothing is done yet."""
    _done.clear()


def done() -> tuple[str, ...]:
    """What was made durable since the command began, each thing once, in order."""
    return tuple(dict.fromkeys(_done))


@contextmanager
def durably(what: str) -> Iterator[None]:
    """Around the one step that makes something durable; `what` names it. An error means that it was not done; after a
    second Ctrl-C, which ends the step, that is not known."""
    with _deferred():
        try:
            yield
        except KeyboardInterrupt:
            _done.append(f"it is not known whether {what}")
            raise
        _done.append(what)


@contextmanager
def _deferred() -> Iterator[None]:
    """Ctrl-C waits for the end of the block. Python interrupts no other thread than the main one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []

    def wait(number: int, _) -> None:
        pressed.append(number)
        if len(pressed) > 1:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, wait)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before if before is not None else signal.default_int_handler)
    if pressed:
        raise KeyboardInterrupt
