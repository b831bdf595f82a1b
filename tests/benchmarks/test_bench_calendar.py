"""What the calendar and `openbook status` cost with 1,000 runs: at most 2 s each, cold or warm.

    pytest -m benchmark -s tests/benchmarks/test_bench_calendar.py

Cold: no row is kept yet. Warm: one run is new, as after every seal. Both are whole processes, imports included, as
somebody waits for them; the page alone, as a seal pays for it, is timed inside one. There is no public peer that does
the same work.
"""

import os
import subprocess
import sys
import time
from statistics import median

import pytest

from openbook.report.calendar_page import publish_calendar
from openbook.runs.summaries import KNOWN
from support.many_runs import write_day, write_history

pytestmark = pytest.mark.benchmark

N_RUNS, ROUNDS, LIMIT = 1000, 7, 2.0
PUBLISH = "import sys; from openbook.report.calendar_page import publish_calendar; publish_calendar(sys.argv[1])"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return write_history(tmp_path_factory.mktemp("calendar") / "runs", N_RUNS)


def seconds(call) -> float:
    """Wall clock of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def say(what: str, took: list[float]) -> None:
    print(f"\n{what}: median {median(took):.3f} s, {min(took):.3f} to {max(took):.3f} of {len(took)}")


def process(*arguments: str, runs=None) -> None:
    env = {**os.environ, "OPENBOOK_RUNS": str(runs)}
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=env)


def test_the_page_of_a_thousand_runs(runs):
    cold, warm, inside = [], [], []
    for n in range(ROUNDS):
        (runs / KNOWN).unlink(missing_ok=True)
        cold.append(seconds(lambda: process("-c", PUBLISH, str(runs))))
        write_day(runs, f"2031-01-{n + 1:02}", orders=n)
        warm.append(seconds(lambda: process("-c", PUBLISH, str(runs))))
        write_day(runs, f"2031-02-{n + 1:02}", orders=n)
        inside.append(seconds(lambda: publish_calendar(runs)))
    size = (runs / "index.html").stat().st_size
    say(f"index.html of {N_RUNS} days, {size / 1024:.0f} KB, a process, cold", cold)
    say("a process, one new run", warm)
    say("inside a process, one new run", inside)
    assert max(median(cold), median(warm)) <= LIMIT
    assert size <= 500 * 1024


def test_status_of_a_thousand_runs(runs):
    cold, warm = [], []
    publish_calendar(runs)
    kept = (runs / KNOWN).read_bytes()
    status = ("-m", "openbook.cli", "status")
    for _ in range(ROUNDS):
        (runs / KNOWN).unlink()
        cold.append(seconds(lambda: process(*status, runs=runs)))
        assert not (runs / KNOWN).exists()
        (runs / KNOWN).write_bytes(kept)
        warm.append(seconds(lambda: process(*status, runs=runs)))
    say(f"status of {N_RUNS} days, a process, nothing kept", cold)
    say("status, rows kept", warm)
    assert max(median(cold), median(warm)) <= LIMIT
