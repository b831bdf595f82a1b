"""Kernels forked from one process that has done the imports: of the seconds of a page, most are imports.

`python -m openbook.runs.forkserver MODULE …` imports the modules and calls the `warm_up` of those that have one, then
forks a kernel for each line of JSON on its standard input and answers with its process id. It ends when its input does,
and its kernels notice that they are alone. A `warm_up` leaves no thread behind, so none runs here when it forks.
"""

import ctypes
import json
import os
import select
import signal
import site
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import IO, Any, cast

from openbook.common import extensions
from openbook.common.errors import KernelDied
from openbook.runs.provenance import library_digest

EXIT = "exit"  # in the private folder of a kernel: how it ended
MOMENT = 0.005  # seconds between two checks of a kernel that is ending
PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
LOST = 2.0  # seconds after which a kernel that ended without a message counts as killed with its server


class ForkServer:
    """The process that kernels are forked from; it starts with the first of them."""

    def __init__(self, modules: Iterable[str], environment: dict[str, str]):
        self.library = ""  # hash of what it has imported, once it has started
        self.process: subprocess.Popen | None = None
        self._modules, self._environment = list(modules), environment
        self._asked = count()
        self._pids: dict[int, int] = {}

    def fork(self, arguments: list[str], *, folder: Path, environment: dict[str, str], cwd: str) -> "Forked":
        """A kernel with these arguments. folder : its private one, for its output and its exit status"""
        stdin = cast(IO[str], self._start().stdin)
        key = next(self._asked)
        about = {"key": key, "arguments": arguments, "folder": str(folder), "environment": environment, "cwd": cwd}
        try:
            stdin.write(json.dumps(about) + "\n")
            stdin.flush()
        except OSError as error:
            raise KernelDied("the kernel fork server has died; run the command again") from error
        return Forked(self, key, folder)

    @property
    def gone(self) -> bool:
        """Whether it has ended, which it does not by itself."""
        return self.process is not None and self.process.poll() is not None

    def pid(self, key: int) -> int:
        """The process id of a kernel that was asked for; waits until the imports are done."""
        stdout = cast(IO[str], cast(subprocess.Popen, self.process).stdout)
        while key not in self._pids:
            line = stdout.readline()
            if not line:
                raise KernelDied("the kernel fork server has died; run the command again")
            answer = json.loads(line)
            self._pids[answer["key"]] = answer["pid"]
        return self._pids[key]

    def _start(self) -> subprocess.Popen:
        if self.process is None:
            line = [sys.executable, *safe_path(), "-m", "openbook.runs.forkserver", *self._modules]
            self.library = library_digest()
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            self.process = subprocess.Popen(line, env=self._environment, text=True, start_new_session=True, **pipes)
        return self.process

    def close(self) -> None:
        """End it; kernels that still run end with it."""
        if self.process is None:
            return
        for pipe in filter(None, (self.process.stdin, self.process.stdout)):
            with suppress(BrokenPipeError):  # what was asked of one that is gone
                pipe.close()
        self.process.kill()
        self.process.wait()


class Forked:
    """A forked kernel, as `subprocess.Popen` would be: we are not its parent, so its end is read from a file."""

    stdin = stdout = stderr = None

    def __init__(self, server: ForkServer, key: int, folder: Path):
        self._server, self._key, self._file = server, key, folder / EXIT
        self.returncode: int | None = None

    @property
    def pid(self) -> int:
        """Of the kernel, which leads a session of its own."""
        return self._server.pid(self._key)

    def poll(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        if self.returncode is None and self._file.exists():
            self.returncode = int(self._file.read_text())
        elif self.returncode is None and self._server.gone and not _runs(self.pid):
            self.returncode = -signal.SIGKILL  # its exit status is unknown
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises subprocess.TimeoutExpired."""
        start, gone = time.monotonic(), None
        while self.poll() is None:
            now = time.monotonic()
            if timeout is not None and now - start > timeout:
                raise subprocess.TimeoutExpired("kernel", timeout)
            gone = None if _runs(self.pid) else gone or now
            if gone is not None and now - gone > LOST:
                self.returncode = -signal.SIGKILL
            time.sleep(MOMENT)
        return cast(int, self.returncode)

    def send_signal(self, number: int) -> None:
        """To the kernel alone; does nothing if it has ended."""
        if self.poll() is None and _runs(self.pid):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)


def _runs(process: int) -> bool:
    """Whether a process is running, and not a zombie."""
    import psutil

    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# ---- in the server ----


def serve(modules: list[str]) -> int:
    """Import, warm up, fork for each request; returns when the input ends, and in every kernel when the kernel does."""
    from openbook.runs.preload import FOR_KERNELS, preload

    preload([*FOR_KERNELS, *modules], warm=True)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    server, asked = os.getpid(), os.fdopen(os.dup(0), "rb", buffering=0)
    folders: dict[int, Any] = {}
    heard: list[Any] = [asked, woken]
    rest = b""
    while True:
        ready, _, _ = select.select(heard, [], [])
        if woken in ready:
            os.read(woken, 4096)
            _collect(folders)
        if asked in ready:
            data = os.read(asked.fileno(), 1 << 16)
            if not data:
                return 0
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                about = json.loads(line)
                child = os.fork()
                if child == 0:
                    signal.set_wakeup_fd(-1)
                    asked.close()
                    return _become(about, server)
                folders[child] = Path(about["folder"])


def _collect(folders: dict[int, Path]) -> None:
    """Write down how each kernel that has ended did end."""
    while True:
        try:
            child, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if child == 0:
            return
        folder = folders.pop(child)
        if folder.is_dir():
            part = folder / f".{EXIT}"
            part.write_text(str(os.waitstatus_to_exitcode(status)))
            part.rename(folder / EXIT)


def _end_with(server: int) -> None:
    """Ask Linux to kill this process when its server dies; elsewhere ipykernel notices it within a second."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != server:  # it died before that
            os._exit(1)


def _become(about: dict, server: int) -> int:
    """Turn the fork into a kernel: a session, a folder, an environment and outputs of its own."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _end_with(server)
    os.setsid()
    os.write(1, json.dumps({"key": about["key"], "pid": os.getpid()}).encode() + b"\n")
    os.chdir(about["cwd"])
    os.environ.clear()
    os.environ.update(about["environment"], JPY_PARENT_PID=str(os.getppid()))
    extensions.forget()  # of the desk as it was when the server started
    arguments = [
        *about["arguments"],
        f"--IPKernelApp.parent_handle={os.getppid()}",
    ]  # ipykernel has read JPY_PARENT_PID
    log = os.open(Path(about["folder"]) / "stderr.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for here, there in ((null, 0), (log, 1), (log, 2)):
        os.dup2(here, there)
    from ipykernel.kernelapp import IPKernelApp

    sys.argv = ["ipykernel_launcher", *arguments]
    IPKernelApp.launch_instance(argv=arguments)
    return 0


def safe_path() -> list[str]:
    """Options of an interpreter that imports nothing from the current folder, and nothing that the user installed for
    all programs unless openbook itself lies there."""
    ours = Path(__file__).resolve().is_relative_to(Path(site.getusersitepackages()).resolve())
    return ["-P"] if ours else ["-P", "-s"]


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:]))
