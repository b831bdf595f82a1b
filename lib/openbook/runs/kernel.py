"""One kernel: this interpreter, on private sockets, in a process group of its own that ends with the run.

It is launched before anything heavy is imported here, and imports what its notebook needs meanwhile.
"""

import json
import os
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openbook.common import extensions
from openbook.common.desk_folder import DESK, desk_or_none
from openbook.common.errors import KernelDied, StorageError, UsageError
from openbook.common.files import OPEN_FILES, PRIVATE, claim_folder, storage
from openbook.common.secrets import scrubbed_environment
from openbook.runs import progress
from openbook.runs.forkserver import Forked, ForkServer, safe_path
from openbook.runs.provenance import library_digest

FOLDER = "openbook-kernel"
STEPS = "steps"  # in a kernel's folder: how far its long cell is
CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
GRACE = 2.0  # seconds that a resource tracker has to clean up
UNKILLABLE = 10.0
TRACKER = "resource_tracker import main"
GIB = 2**30
LEAST_MEMORY = 0.5  # GiB; with less the imports alone do not fit
LEAST_FILES = 256  # open at once; a kernel and its imports take about a hundred
# What a user sets for sessions of their own. LightGBM and XGBoost cannot be imported without docstrings.
OF_THE_USER = {"PYTHONSTARTUP", "PYTHONOPTIMIZE", "MPLBACKEND", "MATPLOTLIBRC"}
LAST_WORDS = 2000  # characters of a dead kernel's log that are kept

_server: ForkServer | None = None  # of `forking`


class Kernel:
    """A started kernel. As a context manager it ends every process of its group on leaving."""

    def __init__(
        self,
        process: subprocess.Popen | Forked,
        folder: Path,
        claim: int,
        *,
        memory: float | None = None,
        library: str = "",
    ):
        self.process = process
        self.library = library  # hash of the sources that it imports, as they were before it did
        self.folder = folder
        self._claim = claim  # while it is open, no other command takes the folder for one that a dead process left
        self.memory = memory  # GiB that it may take; None: no limit
        self._manager = None

    def __enter__(self) -> "Kernel":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    @property
    def steps(self) -> Path:
        """Where it writes the progress of a long cell; see `progress`."""
        return self.folder / STEPS

    @property
    def group(self) -> int:
        """The id of its process group; it leads a session of its own."""
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it lives; negative: the signal that ended it."""
        return self.process.poll()

    @property
    def manager(self):
        """The same kernel with the interface of nbclient."""
        if self._manager is None:
            from jupyter_client.manager import AsyncKernelManager
            from jupyter_client.provisioning import LocalProvisioner

            self._manager = AsyncKernelManager(connection_file=str(self.folder / "kernel.json"))
            self._manager.load_connection_file()
            self._manager.provisioner = LocalProvisioner(parent=self._manager)
            self._manager.provisioner.process = self.process
            self._manager.provisioner.pgid = self.group
        return self._manager

    def kill(self) -> None:
        """End the kernel at once; from any thread, any number of times. `close()` ends the rest of its group."""
        self.process.kill()

    def close(self) -> None:
        """End every process of the group, wait until nothing of it runs, and remove the sockets."""
        if not self.folder.exists():
            return
        self.kill()
        self.process.wait()
        _end_group(self.group)
        if self._manager is not None:
            self._manager.context.destroy(linger=0)
        shutil.rmtree(self.folder)
        os.close(self._claim)

    def last_words(self) -> str:
        """What the process wrote to its standard error, outside of any cell."""
        return (self.folder / "stderr.log").read_text(encoding="utf-8", errors="replace")[-LAST_WORDS:]


def start_kernel(
    modules: Iterable[str] = (),
    *,
    cwd: str | Path | None = None,
    memory: float | None = None,
    python: str = sys.executable,
    library: Path | None = None,
) -> Kernel:
    """Launch a kernel and return at once, while it still starts and imports `modules`.

    It runs this interpreter, not an installed kernel, talks over Unix sockets in a
    private folder, and reads no start-up file or history of the user. Sets are ordered alike in every run.

    python, library : another interpreter, and a folder in which it finds openbook before the one that is installed
    memory : GiB that the kernel, and each process that it starts, may hold for its data; UsageError (64) below 0.5
    """
    check_memory(memory)
    _allow_files()
    folder, claim = _private_folder()
    connection: dict[str, Any] = {f"{name}_port": number for number, name in enumerate(CHANNELS, start=1)}
    connection |= {"transport": "ipc", "ip": str(folder / "at"), "key": secrets.token_hex(16)}
    connection |= {"signature_scheme": "hmac-sha256", "kernel_name": "openbook"}
    with storage(f"write to {folder}"):
        (folder / "kernel.json").write_text(json.dumps(connection))
    try:
        # A fork holds all imports as data of its own, which a limit on memory would count.
        if _server is not None and memory is None and python == sys.executable and library is None:
            process: subprocess.Popen | Forked = _forked(_server, folder, cwd)
            imported = _server.library
        else:
            imported = library_digest()
            process = _launched(folder, cwd, python, library, list(modules))
        _limit(process, memory)
    except OSError as error:
        shutil.rmtree(folder)
        os.close(claim)
        raise KernelDied(f"could not start the notebook's kernel: {error}") from error
    return Kernel(process, folder, claim, memory=memory, library=imported)


def _launched(folder: Path, cwd, python: str, library: Path | None, modules: list[str]) -> subprocess.Popen:
    with open(folder / "stderr.log", "wb") as log:
        return subprocess.Popen(
            [python, *safe_path(), "-m", "ipykernel_launcher", *_arguments(folder / "kernel.json", modules)],
            env=_environment(folder, library),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _forked(server: ForkServer, folder: Path, cwd) -> Forked:
    where = os.getcwd() if cwd is None else str(cwd)
    return server.fork(
        _arguments(folder / "kernel.json", []), folder=folder, environment=_environment(folder), cwd=where
    )


@contextmanager
def forking(modules: Iterable[str]) -> Iterator[None]:
    """Inside, kernels of this interpreter are forked from one process that has imported `modules` once.

    For running many notebooks one after another. Results do not depend on it.
    """
    global _server
    before = _server
    mine = before or ForkServer(modules, {**_without_habits(), "PYTHONHASHSEED": "0"})
    _server = mine
    try:
        yield
    finally:
        _server = before
        if before is None:
            mine.close()


def check_memory(memory: float | None) -> None:
    """UsageError (64) for a limit, in GiB, that no notebook could even start with; None is no limit."""
    if memory is not None and not (LEAST_MEMORY <= memory < float("inf")):
        raise UsageError(f"a notebook needs at least {LEAST_MEMORY:g} GiB, not {memory:g}; omit --memory for no limit")


def _allow_files() -> None:
    """Raise the limit on open files where that is allowed; StorageError (74) if it is too low for a notebook."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
    if enough < LEAST_FILES:
        raise StorageError(
            f"a process may open {enough} files at once, and a notebook needs {LEAST_FILES}; raise the limit with "
            f"ulimit -n {OPEN_FILES}"
        )


def _limit(process: subprocess.Popen | Forked, memory: float | None) -> None:
    """Bound what it may take, before it has taken anything.

    RLIMIT_DATA counts what is written to (Linux, getrlimit(2)); RLIMIT_AS would also count the code of libraries and
    addresses that threads reserve and never use. A stricter limit that we are under ourselves stays.
    """
    if memory is None:
        return
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    allowed = round(memory * GIB)
    allowed = allowed if hard == resource.RLIM_INFINITY else min(allowed, hard)
    resource.prlimit(process.pid, resource.RLIMIT_DATA, (allowed, allowed))


def _private_folder() -> tuple[Path, int]:
    """A folder that only we can read, and its claim; what killed commands left, with the keys of their kernels, is
    removed. Its path is short: that of a socket may have 107 bytes."""
    usual = tempfile.gettempdir()
    with storage(f"make a folder in {usual}"):
        return claim_folder(Path(usual if len(usual) <= 64 else "/tmp") / FOLDER, PRIVATE)


def _environment(folder: Path, library: Path | None = None) -> dict[str, str]:
    """Ours, without secrets and without what would run or change what a page says; the desk by its absolute path.

    A kernel whose parent dies ends itself: ipykernel looks for JPY_PARENT_PID once a second.
    """
    kept = _without_habits()
    ours = {"IPYTHONDIR": str(folder / "ipython"), "PYTHONHASHSEED": "0", "JPY_PARENT_PID": str(os.getpid())}
    ours[progress.FILE] = str(folder / STEPS)
    ours |= {"PYTHONSAFEPATH": "1"}  # also for the processes that it starts
    found = {}
    if library is not None:
        found = {"PYTHONPATH": str(library), extensions.PLACE: str(library / extensions.FOLDER.name)}
    desk = desk_or_none()
    return {**kept, **ours, **found, **({DESK: str(desk)} if desk else {})}


def _without_habits() -> dict[str, str]:
    """The environment without secrets and without OF_THE_USER."""
    environment = scrubbed_environment()
    return {name: value for name, value in environment.items() if name not in OF_THE_USER | {extensions.PLACE}}


def _arguments(connection: Path, modules: list[str]) -> list[str]:
    """How to launch the kernel; the imports run before it answers, and leave no name behind."""
    warm_up = [f"__import__('openbook.runs.preload', fromlist=['preload']).preload({modules!r})"] if modules else []
    options = [f"--IPKernelApp.exec_lines={json.dumps(warm_up)}", "--HistoryManager.enabled=False"]
    options += ["--IPKernelApp.ignore_cwd=True"]
    return ["-f", str(connection), *options]


def _end_group(group: int) -> None:
    """Kill what the dead leader of a group left behind.

    Resource trackers (of joblib, of multiprocessing) get a moment: they remove the shared memory that the others
    cannot, and then end by themselves.
    """
    start = time.monotonic()
    while members := _members(group):
        waited = time.monotonic() - start
        if waited > UNKILLABLE:
            raise KernelDied(f"process {members[0].pid} of the notebook could not be ended and may still write files")
        for process in members:
            if waited > GRACE or TRACKER not in process.info["cmdline"]:
                _kill(process.pid)
        time.sleep(0.01)


def _kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return


def _members(group: int) -> list:
    """The processes of a group that run; an uncollected zombie does not count."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return []
    import psutil

    found = []
    for process in psutil.process_iter(["status", "cmdline"]):
        try:
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                process.info["cmdline"] = " ".join(process.info["cmdline"] or [])
                found.append(process)
        except ProcessLookupError:
            continue
    return found
