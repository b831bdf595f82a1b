"""Sixty evenings with approvals and paper fills, killed again and again, end as if nothing had happened."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from openbook.app import audit
from openbook.ledger import database
from openbook.ledger.book import read_book, views
from support import environment
from support.operator_process import FULL
from support.trained_desk import select_champion

EVENINGS, KILLS = 60, 30
HERE = Path(__file__).parents[1]


def drive(runs: Path, vendor: Path, first: int, *, seconds: float | None = None) -> int | None:
    """The operator's process; killed after `seconds`, with everything that it started. None if it was killed."""
    words = [sys.executable, str(HERE / "support" / "operator_process.py"), str(runs), str(vendor), str(first)]
    with subprocess.Popen(
        words, start_new_session=True, cwd=HERE.parent, env=environment(), stdout=subprocess.DEVNULL
    ) as process:
        try:
            return process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()  # the runner alone: its kernel must end by itself, or be made harmless
            return None


@pytest.mark.long
def test_sixty_evenings_killed_thirty_times_end_in_the_same_book(tmp_path):
    desk = select_champion(tmp_path / "desk", EVENINGS + 1)
    days = sorted(desk.vendor.files.bars["date"].unique())
    first = days.index(desk.days[1])
    desk.vendor.files.bars.to_parquet(desk.vendor.folder / FULL)
    desk.vendor.files.actions.to_parquet(desk.vendor.folder / "actions_full.parquet")
    twin = tmp_path / "twin"
    shutil.copytree(desk.runs, twin, copy_function=shutil.copyfile)

    started = time.perf_counter()
    assert drive(desk.runs, desk.vendor.folder, first) == 0
    usual = (time.perf_counter() - started) / EVENINGS
    patience = [*np.random.default_rng(0).uniform(0.5, 4 * usual, KILLS), None]
    ends = [drive(twin, desk.vendor.folder, first, seconds=seconds) for seconds in patience]
    assert ends == [None] * KILLS + [0]

    calm, shaken = desk.book, twin / "books" / "paper.db"
    assert event_bodies(shaken) == event_bodies(calm)
    assert read_book(calm).last_session == desk.days[-1]
    for name, table in views(calm).items():
        pd.testing.assert_frame_equal(views(shaken)[name], table)
    assert set(views(calm)["trade_history"]["status"]) >= {"FILLED"}
    assert not [line for line in audit.verify(twin)[0] if "not in the log" not in line]


def event_bodies(path: Path) -> list[str]:
    """All that was ever recorded, in order."""
    return database.read(path, lambda db: [body for (body,) in db.execute("SELECT body FROM events ORDER BY seq")])
