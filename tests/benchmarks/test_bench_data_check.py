"""How long a look at a whole history takes, as typed, from the folder to the report.

    pytest -m benchmark -s tests/benchmarks/test_bench_data_check.py

The largest set has 3.1 million bars of 7,072 symbols. No peer does the same; the figures to beat are 30 s and 2 GB.
"""

import subprocess
import sys
import time

import psutil
import pytest

pytestmark = pytest.mark.benchmark


def run(*arguments: str) -> tuple[float, float, str]:
    """Seconds, peak memory in GB, and what was printed."""
    start, peak = time.perf_counter(), 0
    command = [sys.executable, "-m", "openbook.cli", "data", "check", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            peak = max(peak, watched.memory_info().rss)
            time.sleep(0.02)
        said = process.stdout.read()
    return time.perf_counter() - start, peak / 1e9, said


@pytest.mark.parametrize("name", ["sp500_2010_2023", "sp500_all_members_2013_2018", "us_2015_2017_point_in_time"])
def test_look_at_a_whole_history(shared_data, name):
    seconds, gigabytes, said = run(str(shared_data / name))
    print(f"\n{name}: {seconds:.1f} s, {gigabytes:.2f} GB, {said.count(chr(10))} lines")
    assert "sable" in said.splitlines()[-1]
    assert seconds < 30
    assert gigabytes < 2
