"""Tasks give the same bits in this process, in processes beside it, and on a Dask cluster of two workers."""

import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from openbook.common.errors import DataError, StorageError, UsageError
from openbook.common.parallel import run_tasks
from support import environment
from support.processes import MARK, end_all, marked, wait_until


@dataclass
class Shared:
    """Something large that all tasks read."""

    table: np.ndarray


@pytest.fixture(scope="module")
def shared() -> Shared:
    return Shared(np.random.default_rng(0).standard_normal((6, 50_001)))


def add_up(shared: Shared, row: int, power: int) -> tuple[float, int]:
    """A sum whose last digit depends on the order of adding, and who added."""
    return float((shared.table[row] ** power).sum()), os.getpid()


def fail(shared: Shared, row: int) -> None:
    raise DataError(f"row {row} is bad; import it again")


TASKS = [(row, power) for row in range(6) for power in (1, 3)]


def values(found) -> list[float]:
    return [value for value, _ in found]


@pytest.fixture(scope="module")
def here(shared) -> list:
    return run_tasks(add_up, shared, TASKS)


def test_one_process_runs_the_tasks_in_order_in_this_one(here, shared):
    assert values(here) == [add_up(shared, *task)[0] for task in TASKS]
    assert {pid for _, pid in here} == {os.getpid()}


def test_two_processes_give_the_same_bits(here, shared):
    heard = []
    found = run_tasks(add_up, shared, TASKS, n_jobs=2, progress=lambda *step: heard.append(step))
    assert values(found) == values(here)
    assert os.getpid() not in {pid for _, pid in found}
    assert heard == [(i, len(TASKS)) for i in range(1, len(TASKS) + 1)]


def test_a_dask_cluster_of_two_workers_gives_the_same_bits(here, shared, cluster):
    found = run_tasks(add_up, shared, TASKS, engine=cluster)
    assert values(found) == values(here)
    assert os.getpid() not in {pid for _, pid in found}


@pytest.mark.parametrize("where", ["here", "processes", "cluster"])
def test_the_error_of_a_task_is_the_error_of_the_call(shared, where, request):
    how = {"here": {}, "processes": {"n_jobs": 2}, "cluster": {}}[where]
    if where == "cluster":
        how = {"engine": request.getfixturevalue("cluster")}
    with pytest.raises(DataError, match="row 0 is bad"):
        run_tasks(fail, shared, [(0,), (0,)], **how)


@pytest.mark.parametrize("engine", ["dask://user:hunter2@host:8786", "dask://host:8786?token=hunter2"])
def test_an_engine_with_a_secret_is_refused_and_not_repeated(engine, shared):
    with pytest.raises(UsageError, match="would be sealed") as told:
        run_tasks(add_up, shared, TASKS, engine=engine)
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize("engine", ["dask:/host:1", "spark://host:7077", "dask://host", "dask"])
def test_what_is_no_engine_is_refused(engine, shared):
    with pytest.raises(UsageError, match="invalid engine"):
        run_tasks(add_up, shared, TASKS, engine=engine)


def test_a_cluster_that_does_not_answer_is_named(shared):
    with pytest.raises(StorageError, match=r"no Dask scheduler answers at 127.0.0.1:1"):
        run_tasks(add_up, shared, TASKS, engine="dask://127.0.0.1:1")


def test_no_task_is_no_result(shared):
    assert run_tasks(add_up, shared, []) == []


WORK = """
import time
from openbook.common.parallel import run_tasks
def work(shared, n):
    print("at work", flush=True)
    time.sleep(120)
run_tasks(work, None, [(1,), (2,), (3,)], n_jobs=2)
"""


@pytest.mark.parametrize("when", ["starting", "at work"])
def test_the_processes_end_with_the_one_that_is_killed(when):
    """At work, or before the first task has reached them."""
    mark = f"workers-{os.getpid()}"
    line = [sys.executable, "-c", WORK]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=environment() | {MARK: mark}) as asker:
        try:
            if when == "at work":
                assert [asker.stdout.readline() for _ in range(2)] == ["at work\n"] * 2
            wait_until(lambda: sum("LokyProcess" in command for command in marked(mark).values()) == 2)
            asker.kill()
            wait_until(lambda: not marked(mark))
        finally:
            end_all(mark)
