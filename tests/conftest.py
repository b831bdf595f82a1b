"""Fixtures that more than one room uses."""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import hypothesis
import pytest

from openbook.market.tables import Market
from openbook.runs.runs_folder import RunsFolder, Stage
from support import portfolios
from support.small_runs import DATE, cell, new_stage

# How long an example takes says how busy the machine is, and nothing about the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

ROOT = Path(__file__).resolve().parents[1]

# Without bytecode a process needs a quarter longer to start, and the tests start hundreds; a machine may be set not to
# write it.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# What commands remember of a runs folder stays out of the user's own state folder.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="openbook-state-")


def pytest_xdist_auto_num_workers(config) -> int | None:
    """No workers where benchmarks are asked for: they are timed one after the other, and print what they find."""
    rest = config.option.markexpr.replace("not benchmark", "")
    return 0 if not rest or "benchmark" in rest else None


@pytest.fixture(scope="session", autouse=True)
def forked_kernels():
    """Notebooks of a whole session run on kernels that are forked from one process, as a backfill's do.

    An evening costs half of its seconds so. How a single command launches its kernel is tested in test_runner, and by
    the commands that tests give in processes of their own.
    """
    from openbook.runs.kernel import forking
    from openbook.runs.preload import FOR_NOTEBOOKS

    with forking(FOR_NOTEBOOKS):
        yield


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real equity data, or a skip with the reason."""
    folder = Path(os.environ.get("OPENBOOK_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set OPENBOOK_SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def desk_after_one_page(tmp_path_factory):
    """A desk trained once, with its champion, its book and its first page. Copy it, never change it."""
    from support.trained_desk import train_desk

    return train_desk(tmp_path_factory.mktemp("desk"))


@pytest.fixture(scope="session")
def trained(desk_after_one_page, tmp_path_factory):
    """The same desk with its second page. Copy it, never change it."""
    from support.trained_desk import clock, copied, succeed

    desk = copied(desk_after_one_page, tmp_path_factory.mktemp("trained"))
    with clock(f"{desk.days[2]:%Y-%m-%d}T21:00Z"):
        succeed(desk.daily(date=desk.days[2]))
    return desk


@pytest.fixture(scope="session")
def by_hand_tonight(trained, tmp_path_factory):
    """The desk on the evening of `tonight`, its orders waiting for a person. Copy it, never change it."""
    from openbook.ledger import book_commands
    from support.trained_desk import clock, copied, succeed

    desk = copied(trained, tmp_path_factory.mktemp("by-hand"))
    with clock(f"{desk.tonight:%Y-%m-%d}T21:10Z"):
        succeed(desk.daily(desk.evening(), "require_manual_approval=true"))
    assert len(book_commands.read_batch(desk.book, f"{desk.tonight:%Y-%m-%d}").orders)
    return desk


@pytest.fixture
def desk(trained, tmp_path):
    """A copy of the trained desk, to be broken; the vendor has sent nothing for tonight yet."""
    from support.trained_desk import copied

    return copied(trained, tmp_path)


@pytest.fixture(scope="module")
def cluster():
    """The address of a real Dask cluster of two worker processes; idle ones take a twentieth of a core."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as running:
        yield running.scheduler_address.replace("tcp://", "dask://")


@pytest.fixture(scope="session")
def server():
    """The folder of a PostgreSQL server, whose socket is its only door; skipped where none is installed."""
    from support import programs
    from support.postgres import control, start

    programs.need("postgresql")
    folder = Path(tempfile.mkdtemp(prefix="openbook-pg", dir="/tmp"))  # a socket's path is at most 107 bytes long
    control(folder, "initdb", "-U", "openbook", "-A", "trust", "-E", "UTF8", "--no-sync")
    start(folder)
    yield folder
    control(folder, "pg_ctl", "-w", "-m", "immediate", "stop")
    shutil.rmtree(folder)


@pytest.fixture
def runs(tmp_path) -> RunsFolder:
    """An empty runs folder."""
    return RunsFolder(tmp_path / "runs")


@pytest.fixture
def stage(runs) -> Stage:
    """A stage of the daily run."""
    return new_stage(runs)


@pytest.fixture
def write_notebook(tmp_path):
    """A function that writes daily_run.ipynb from its cells: code, or markdown where the text begins with #."""

    def write(*cells: str, parameters: str = f'date = "{DATE}"\nstage = None', tag: str = "parameters") -> Path:
        made = [cell("# The daily page", 0), cell(parameters, 1, tag)]
        made += [cell(text, number) for number, text in enumerate(cells, start=2)]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        content = {"cells": made, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
        path = tmp_path / "daily_run.ipynb"
        path.write_text(json.dumps(content))
        return path

    return write


@pytest.fixture(scope="session")
def market() -> Market:
    """40 names in 5 sectors, 420 sessions of opens and closes, every bar there."""
    return portfolios.random_market(40, 420, seed=7)


@pytest.fixture(scope="session")
def gappy() -> Market:
    """20 names, 420 sessions, one bar in twenty missing."""
    return portfolios.random_market(20, 420, seed=8, gaps=0.05)
