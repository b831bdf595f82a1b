"""The nightly command as a cron job sees it: seconds and memory of the whole process tree, and of a long backfill.

    pytest -m benchmark -s tests/benchmarks/test_bench_daily_run.py

500 simulated stocks × 2,520 sessions. There is no peer to run beside it; the figures to beat are 10 s and 1 GB.
"""

import os
import statistics
import subprocess
import sys
import time

import psutil
import pytest

from openbook.app import pipeline
from openbook.cli import main
from openbook.market import calendar

LARGE = "source={provider: simulated, n_symbols: 500, n_sessions: 2520, end: 2022-12-30, seed: 1}"
SMALL = "source={provider: simulated, n_symbols: 40, n_sessions: 700, end: 2022-12-30, seed: 1}"
MODEL = "candidates=[{name: lightgbm, algorithm: lightgbm, n_estimators: 300, early_stopping: null}]"
ROUNDS, SESSIONS = 5, 60

pytestmark = pytest.mark.benchmark


def open_desk(runs, source: str, first: str, date: str, top_n: int) -> None:
    """A champion trained on `source` at `date`, and an empty paper book."""
    common = ["--date", date, "--set", source, "--set", f"first={first!r}"]
    steps = [
        [
            "run",
            "train_candidates",
            *common,
            "--set",
            MODEL,
            "--set",
            "walk_forward={n_folds: 2, holdout: 60}",
            "--set",
            "max_ic=0.3",  # forty stocks over some months may look too good by luck
        ],
        ["run", "compare", *common, "--set", f"portfolio.top_n={top_n}", "--set", "optimizers=[hrp]"],
        ["run", "select_champion", "--date", date],
        ["init", "--cash", "1000000"],
    ]
    for step in steps:
        assert main(["--runs", str(runs), *step]) == 0, step


def watch(command: list[str]) -> tuple[float, float]:
    """Seconds of a command, and the peak of its processes' resident memory together, in MB."""
    started, peak = time.perf_counter(), 0
    process = psutil.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, tree_memory(process))
        time.sleep(0.02)
    assert process.returncode == 0
    return time.perf_counter() - started, peak / 1e6


def tree_memory(process: psutil.Process) -> int:
    """Resident bytes of a process and everything below it."""
    try:
        return sum(member.memory_info().rss for member in [process, *process.children(recursive=True)])
    except psutil.NoSuchProcess:
        return 0


def test_daily_run_of_500_stocks_and_10_years(tmp_path):
    open_desk(tmp_path, LARGE, first="2020-01-02", date="2022-11-30", top_n=50)
    days = calendar.sessions("2022-12-01", "2022-12-30")[: ROUNDS + 1]
    rounds = []
    for day in days:
        command = [sys.executable, "-m", "openbook.cli", "--runs", str(tmp_path), "run", "daily_run"]
        rounds.append(watch([*command, "--date", f"{day:%Y-%m-%d}", "--set", LARGE, "--set", "limits.max_trades=100"]))
    seconds, memory = zip(*rounds[1:], strict=True)  # the first compiles kernels where nobody did before
    print(f"\nopenbook run daily_run, 500 stocks x 2,520 sessions, {os.cpu_count()} cores, {ROUNDS} rounds")
    print(
        "  seconds  " + "  ".join(f"{value:5.1f}" for value in seconds) + f"   median {statistics.median(seconds):.1f}"
    )
    print("  MB peak  " + "  ".join(f"{value:5.0f}" for value in memory) + f"   median {statistics.median(memory):.0f}")


def test_memory_of_a_backfill_does_not_grow(tmp_path):
    open_desk(tmp_path, SMALL, first="2021-06-01", date="2022-08-31", top_n=10)
    me, resident = psutil.Process(), []
    for day in calendar.sessions("2022-09-01", "2022-12-30")[:SESSIONS]:
        pipeline.run("daily_run", f"{day:%Y-%m-%d}", tmp_path, sets=(SMALL,))
        resident.append(me.memory_info().rss / 1e6)
    print(f"\nresident MB of the runner after each of {SESSIONS} sessions")
    print("  " + "  ".join(f"{value:.0f}" for value in resident))
    early, late = statistics.median(resident[10:20]), statistics.median(resident[-10:])
    print(f"  sessions 11-20: {early:.1f}   last ten: {late:.1f}   growth {late - early:+.1f}")
