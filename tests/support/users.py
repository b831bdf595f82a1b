"""Two users of one group, as the kernel knows them: by number, so that no account has to be made."""

import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest

from openbook.common.errors import OpenbookError, StorageError

ANN, BOB, DESK = 54321, 54322, 54320  # two users, each with a group of the same number, and the group of both
SHARED, USUAL, PRIVATE = 0o002, 0o022, 0o077  # umasks


@contextmanager
def folder_of(owner: int, group: int, mode: int):
    """A new folder that these may use, below one that everybody may search."""
    if os.geteuid() != 0:
        pytest.skip("only root can be two users")
    above = Path(tempfile.mkdtemp(dir="/tmp"))
    above.chmod(0o755)
    folder = above / "desk"
    folder.mkdir()
    os.chown(folder, owner, group)
    folder.chmod(mode)
    try:
        yield folder
    finally:
        shutil.rmtree(above)


def as_user(user: int, umask: int, act: Callable[[], object]) -> tuple[int, str]:
    """The exit code of `act` done by a user, and what an error said. What it imports must have been imported."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        code, said = 0, ""
        try:
            os.setgroups([DESK])
            os.setgid(user)
            os.setuid(user)
            os.umask(umask)
            os.environ |= {"HOME": "/nonexistent", "XDG_STATE_HOME": "/nonexistent"}
            sys.path[:] = [path for path in sys.path if os.access(path, os.R_OK)]  # root's own Python is root's
            act()
        except OpenbookError as error:
            code, said = error.exit_code, str(error)
        except OSError as error:  # as `cli.main` does
            code, said = StorageError.exit_code, f"{error.filename}: {error.strerror}"
        except BaseException as error:
            code, said = OpenbookError.exit_code, repr(error)
        finally:
            os.write(send, json.dumps([code, said]).encode())
            os._exit(0)
    os.close(send)
    os.waitpid(child, 0)
    with open(receive, "rb") as answer:
        code, said = json.loads(answer.read())
    return code, said


def modes(folder: Path) -> dict[str, tuple[str, int]]:
    """Mode, as ls writes it, and group of everything below a folder."""
    found = {path.relative_to(folder).as_posix(): path.lstat() for path in sorted(folder.rglob("*"))}
    return {name: (stat.filemode(about.st_mode), about.st_gid) for name, about in found.items()}
