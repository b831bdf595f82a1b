"""The only caller of papermill: one notebook, one kernel, one stage.

papermill calls a run complete whose kernel was killed, that hung, or that called sys.exit(0). Here a run is complete
when its last cell has written run.json, and every other end is an error with a code of its own.
"""

import re
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from openbook.common import errors
from openbook.common.errors import IncompleteRun, KernelDied, OpenbookError, RunTimeout
from openbook.runs.kernel import Kernel, start_kernel
from openbook.runs.notebook_source import check_parameters, heading, where
from openbook.runs.preload import lean_imports, preload
from openbook.runs.stage import RUN, Stage

__all__ = ["check_parameters", "execute_notebook", "start_kernel"]

UNBELIEVED = "its output is discarded"
LONGEST = 300  # characters of an unexpected error that a line can bear


class Execution:
    """Where a running notebook stands, and the clock that ends it."""

    def __init__(self, kernel: Kernel, run_timeout: float, progress: Callable[[int, int, str], None] | None):
        self.kernel = kernel
        self.progress = progress
        self.limit = run_timeout
        self.place = "its start"
        self.expired = False
        self._clock = threading.Timer(run_timeout, self._expire)
        self._clock.daemon = True

    def __enter__(self) -> "Execution":
        self._clock.start()
        return self

    def __exit__(self, *_) -> None:
        self._clock.cancel()
        self.kernel.close()

    def on_cell(self, cells: list, index: int) -> None:
        """Called before each cell."""
        if cells[index]["cell_type"] != "code":
            return
        self.place = where(cells, index)
        if self.progress is not None:
            self.progress(index, len(cells), heading(cells, index))

    def on_reply(self, reply: dict) -> None:
        """Called after each cell: after quit() the kernel lives on for a moment, and would run more of them."""
        if any(item.get("source") == "ask_exit" for item in reply.get("payload", ())):
            raise IncompleteRun(f"{self.place} ended the notebook with quit() or exit(); {UNBELIEVED}")

    def _expire(self) -> None:
        self.expired = True
        self.kernel.kill()


def execute_notebook(
    notebook: str | Path,
    stage: Stage,
    parameters: Mapping,
    *,
    cell_timeout: float = 1800.0,
    run_timeout: float = 3600.0,
    progress: Callable[[int, int, str], None] | None = None,
    kernel: Kernel | None = None,
) -> None:
    """Run a notebook headless; the executed notebook lies on the stage, however the run ends.

    parameters : plain values by name, checked before anything starts (ParameterError 78)
    cell_timeout, run_timeout : seconds of wall clock, for each cell and for all of it, the kernel's start included
    progress : called before each code cell with its index, the number of cells, and the heading above it
    kernel : one that was started before; it is used up. By default a new one is started here

    Raises the error that the notebook raised, if it is one of `openbook.common.errors`, else OpenbookError (70) naming
    the cell; KernelDied (71), for want of memory too, RunTimeout (72), IncompleteRun (73). No process of the kernel is
    left in any case.
    """
    notebook = Path(notebook)
    try:
        check_parameters(notebook, parameters)
    except OpenbookError:
        if kernel is not None:
            kernel.close()
        raise
    with Execution(kernel or start_kernel(), run_timeout, progress) as execution:
        failure = _run(notebook, stage, dict(parameters), cell_timeout, execution)
    if failure is not None:
        raise failure
    if not (stage.folder / RUN).is_file():
        raise IncompleteRun(f"{notebook.name} ended in {execution.place}, before its last cell, finish(); {UNBELIEVED}")
    stage.require_finished()


def _run(
    notebook: Path, stage: Stage, parameters: dict, cell_timeout: float, execution: Execution
) -> OpenbookError | None:
    """Execute, and report a failure."""
    with lean_imports():
        from nbclient.exceptions import CellTimeoutError, DeadKernelError
        from papermill.exceptions import PapermillExecutionError

        from openbook.runs.papermill_engine import Job, run_papermill
    preload(["openbook.report.exporter"])  # for the report, while the kernel still starts

    job = Job(execution.kernel, stage.folder / notebook.name, cell_timeout, execution.on_cell, execution.on_reply)
    try:
        run_papermill(notebook, parameters, job)
    except PapermillExecutionError as error:
        if _lacked_memory(error):
            return KernelDied(f"{notebook.name}: {_memory_text(execution)}")
        return _translate(error, execution.place)
    except CellTimeoutError:
        return RunTimeout(f"{notebook.name}: {execution.place} took longer than {cell_timeout:g} s")
    except (DeadKernelError, RuntimeError) as error:  # RuntimeError: it never answered
        if execution.expired:
            return RunTimeout(f"{notebook.name} was stopped after {execution.limit:g} s, in {execution.place}")
        return _obituary(notebook, error, execution)
    return None


def _lacked_memory(error) -> bool:
    """Whether a cell ran out of memory: Python's error, NumPy's and Arrow's, or that of a C++ library."""
    return error.ename.endswith("MemoryError") or "bad_alloc" in str(error.evalue)


def _memory_text(execution: Execution) -> str:
    """That memory ran out, where, and the way out."""
    limit = execution.kernel.memory
    if limit is None:
        return f"out of memory in {execution.place}; use a larger machine, fewer names or fewer jobs"
    return f"memory limit {limit:g} GiB reached in {execution.place}; raise --memory, or use fewer names or jobs"


def _translate(error, place: str) -> OpenbookError:
    """An error of the notebook as the same error here; one that we do not know as a line with its place."""
    known = getattr(errors, error.ename, None)
    if isinstance(known, type) and issubclass(known, OpenbookError):
        return known(error.evalue)
    if error.ename == "SystemExit":
        return IncompleteRun(f"{place} ended the notebook (exit {error.evalue or 0}); {UNBELIEVED}")
    text = re.sub(r"\s+", " ", f"{error.ename}: {error.evalue}").strip()
    return OpenbookError(f"{text[:LONGEST]} in {place}")


def _obituary(notebook: Path, error: Exception, execution: Execution) -> OpenbookError:
    """Why the kernel ended: by itself (quit()), or something ended it."""
    code = execution.kernel.exit_code
    if code is None:
        return KernelDied(f"{notebook.name}: the kernel does not answer, in {execution.place}: {error}")
    if code == 0:
        return IncompleteRun(f"{notebook.name} exited before {execution.place} finished; {UNBELIEVED}")
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    hint = "; memory may have run out" if code == -signal.SIGKILL else ""
    limit = execution.kernel.memory
    hint += f"; its memory limit is {limit:g} GiB" if limit is not None else ""
    words = execution.kernel.last_words().strip().splitlines()
    last = f": {words[-1]}" if words and code != -signal.SIGKILL else ""
    return KernelDied(f"{notebook.name}: the kernel died of {how} in {execution.place}{hint}{last}")
