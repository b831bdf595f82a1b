"""Runs tasks here, in further processes or on a Dask cluster. The results are the same to the bit.

A task is a plain function of what all tasks share and of its own arguments. Each computes on one thread, because the
number of threads may change the last digit of a fit, and because threads times processes would fight for the cores.
"""

from __future__ import annotations

import os
import pickle  # between the processes of one run only: nothing is ever read from a file
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from openbook.common import extensions, secrets
from openbook.common.errors import StorageError, UsageError
from openbook.common.extras import needed

DASK = "dask://"
REACHED_WITHIN = 10  # seconds to find the scheduler in
LOOKS = 0.5  # seconds between two looks at whether a process still has its parent


def run_tasks(
    function: Callable,
    shared: Any,
    tasks: Sequence[tuple],
    *,
    engine: str = "",
    n_jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list:
    """`function(shared, *task)` of each task, in the order of the tasks, wherever they ran.

    shared : sent once; its large arrays are read-only in the tasks
    engine : "" for this machine, or dask://host:port
    n_jobs : processes on this machine; 1 runs the tasks in this one
    progress : called with (done, total) as results come in, in order

    An error of a task is raised here unchanged. Raises UsageError for an unknown engine, StorageError if the
    cluster cannot be reached.
    """
    check_engine(engine)
    tasks = list(tasks)
    if engine:
        results = _cluster(function, shared, tasks, engine)
    elif n_jobs == 1 or len(tasks) < 2:
        results = (function(shared, *task) for task in tasks)
    else:
        results = _processes(function, shared, tasks, n_jobs)
    return _collect(results, len(tasks), progress)


def check_engine(engine: str) -> None:
    """UsageError (64) unless this is an engine: nothing, or the address of a Dask scheduler; ParameterError (78) where
    Dask is not installed."""
    if found := secrets.in_url(engine):
        raise UsageError(f"the engine contains {found}, and would be sealed with the run; use Dask's own configuration")
    if engine and not (engine.startswith(DASK) and ":" in engine.removeprefix(DASK)):
        raise UsageError(
            f"invalid engine {engine!r}; give a Dask scheduler address such as dask://host:8786, or leave it empty"
        )
    if engine:
        with needed("dask", f"--engine {engine}"):
            import distributed  # noqa: F401  (now, not after the notebook has begun)


def _collect(results: Iterable, total: int, progress) -> list:
    """The results as a list, reporting how many there are so far."""
    found = []
    for result in results:
        found.append(result)
        if progress is not None:
            progress(len(found), total)
    return found


def _processes(function, shared, tasks, n_jobs: int) -> Iterable:
    """Results from processes of this machine; large arrays are mapped into them, not copied."""
    from joblib import Parallel, delayed, parallel_config

    ending = {"initializer": _end_with, "initargs": (os.getpid(),)}
    with parallel_config(backend="loky", n_jobs=n_jobs, inner_max_num_threads=1, **ending):
        call, own = delayed(extensions.run_with), extensions.loaded()
        yield from Parallel(return_as="generator")(call(own, function, shared, *task) for task in tasks)


def _end_with(parent: int) -> None:
    """Make this process end when its parent does, however that ends.

    A thread looks from time to time. Linux could send a signal instead, but sends it when the thread that started us
    ends, and macOS has none.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOKS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _cluster(function, shared, tasks, engine: str) -> Iterable:
    """Results from a Dask cluster, `shared` handed to its workers once.

    Both ways travel as one block of bytes: arrays that Dask receives as frames of its own may lie at odd addresses,
    where NumPy adds in another order, and the last digit changes.
    """
    from joblib import Parallel, delayed, parallel_config

    packed = pickle.dumps((extensions.loaded(), pickle.dumps(shared, protocol=5)), protocol=5)
    with _client(engine) as client, parallel_config(backend="dask", client=client, scatter=[packed]):
        calls = (delayed(_unpack_and_run)(function, packed, *task) for task in tasks)
        yield from map(pickle.loads, Parallel(return_as="generator")(calls))


def _unpack_and_run(function, packed: bytes, *task) -> bytes:
    """One task, on a worker, with the extensions that came with it: their classes may be part of what is shared."""
    own, shared = pickle.loads(packed)
    return pickle.dumps(extensions.run_with(own, _unpack_shared, function, shared, *task), protocol=5)


def _unpack_shared(function, shared: bytes, *task):
    return function(pickle.loads(shared), *task)


def _client(engine: str):
    """A connection to the cluster's scheduler; it closes with the block that it is used in."""
    with needed("dask", DASK):
        from distributed import Client
    address = engine.removeprefix(DASK)
    try:
        return Client(f"tcp://{address}", timeout=REACHED_WITHIN, set_as_default=False)
    except OSError as error:  # a TimeoutError is one too
        raise StorageError(
            f"no Dask scheduler answers at {address}: {error}; start one, or leave --engine out"
        ) from None
