"""After Ctrl-C a command says what is true: what was made durable, or that nothing was."""

import os
import signal
import threading

import pytest

from openbook.common import interrupts
from openbook.common.interrupts import durably


@pytest.fixture(autouse=True)
def fresh():
    interrupts.begin()


def write(presses: int, written: list[str]) -> None:
    """Something that is made durable while somebody presses Ctrl-C."""
    with durably("a was written"):
        for _ in range(presses):
            os.kill(os.getpid(), signal.SIGINT)
        written.append("a")


def test_ctrl_c_waits_until_what_was_done_is_noted():
    written: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        write(1, written)
    assert written == ["a"]
    assert interrupts.done() == ("a was written",)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_failed_was_not_done():
    with pytest.raises(ZeroDivisionError), durably("a was written"):
        raise ZeroDivisionError
    assert interrupts.done() == ()


def test_a_second_ctrl_c_ends_a_step_that_hangs_and_its_end_is_not_known():
    written: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        write(2, written)
    assert written == []
    assert interrupts.done() == ("it is not known whether a was written",)


def test_each_thing_is_said_once_and_a_command_begins_anew():
    for _ in range(2):
        with durably("a was written"):
            pass
    assert interrupts.done() == ("a was written",)
    interrupts.begin()
    assert interrupts.done() == ()


def test_another_thread_is_never_interrupted():
    def work():
        with durably("b was written"):
            pass

    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
    assert interrupts.done() == ("b was written",)
