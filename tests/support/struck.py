"""The process that is struck: `python struck.py` waits for orders on its standard input, a socket, and forks for each.

The child does one action and says how it ended. An order is `{"action", "folder", "when", "ahead"}`; `ahead` are
harmless calls that it makes first, by the name of the system call, so that whoever counts its calls counts to where he
wants to.
"""

import contextlib
import json
import os
import socket
from pathlib import Path

from openbook.common.errors import OpenbookError
from support import state_changes

BEGIN = "the action begins"  # a path that is asked for just before, as a mark in the log
NONE = 1 << 20  # no file has this number
CALLS = {
    "write": lambda: os.write(NONE, b""),
    "writev": lambda: os.writev(NONE, [b""]),
    "pwrite64": lambda: os.pwrite(NONE, b"", 0),
    "fsync": lambda: os.fsync(NONE),
    "fdatasync": lambda: os.fdatasync(NONE),
    "ftruncate": lambda: os.ftruncate(NONE, 0),
    "truncate": lambda: os.truncate("", 0),
    "fallocate": lambda: os.posix_fallocate(NONE, 0, 1),
    "rename": lambda: os.rename("", ""),
    "renameat": lambda: os.rename("a", "b", src_dir_fd=NONE, dst_dir_fd=NONE),
    "link": lambda: os.link("", ""),
    "linkat": lambda: os.link("a", "b", src_dir_fd=NONE, dst_dir_fd=NONE),
    "unlink": lambda: os.unlink(""),
    "unlinkat": lambda: os.unlink("a", dir_fd=NONE),
    "mkdir": lambda: os.mkdir(""),
    "mkdirat": lambda: os.mkdir("a", dir_fd=NONE),
    "rmdir": lambda: os.rmdir(""),
    "chmod": lambda: os.chmod("", 0),
}
"""Each system call that changes the disk, and a way to make it that changes nothing."""


def serve(link: socket.socket) -> None:
    """One child for each order, until nobody gives any more; every order gets one answer: how, and what it said."""
    while order := link.recv(1 << 16):
        child = os.fork()
        if child == 0:
            obey(link, **json.loads(order))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code != 0:
            link.send(json.dumps([child, code, ""]).encode())


def obey(link: socket.socket, action: str, folder: str, when: str, ahead: dict[str, int]) -> None:
    """Do it, say how it went, and end."""
    for name, times in ahead.items():
        for _ in range(times):
            with contextlib.suppress(OSError):
                CALLS[name]()
    os.access(BEGIN, os.F_OK)
    code, said = 0, ""
    try:
        state_changes.EVERY[action].act(Path(folder), when)
    except OpenbookError as error:
        code, said = error.exit_code, str(error)
    except BaseException as error:
        code, said = OpenbookError.exit_code, repr(error)
    link.send(json.dumps([os.getpid(), code, said]).encode())
    os._exit(0)


if __name__ == "__main__":
    serve(socket.socket(fileno=0))
