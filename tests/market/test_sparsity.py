"""One row of long ago beside many young names: refused by name and in little memory; an honest old series is not."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from openbook.common.errors import DataError
from openbook.market import calendar
from openbook.market.ingest import admit
from openbook.market.sparsity import require_filled
from openbook.market.tables import Delivery
from support import environment

MEASURED = """
import resource, sys
from openbook.common.errors import DataError
from openbook.market.ingest import admit
from openbook.market.sources import fetch, parse_source
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
extra = {"endings": {}} if sys.argv[2] == "endings" else {}
try:
    admit(fetch(parse_source({"provider": "files", "path": sys.argv[1], "prices": "raw", **extra})))
except DataError as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error)
"""


def bars(n: int, days, old: tuple[str, ...] = ()) -> pd.DataFrame:
    """Closes of n names on some days, and of S00000 on some others."""
    days, names = pd.DatetimeIndex(days), np.array([f"S{i:05d}" for i in range(n)])
    young = pd.DataFrame({"symbol": np.repeat(names, len(days)), "date": np.tile(days, n)})
    rows = pd.DataFrame({"symbol": "S00000", "date": pd.DatetimeIndex(old).as_unit(days.unit)})
    return pd.concat([rows, young], ignore_index=True).assign(close=10.0)


def admitted(table: pd.DataFrame):
    return admit(Delivery(bars=table, name="vendor", execution="next_close"), today="2022-12-28")[0]


@pytest.mark.parametrize("side", ["bars", "endings"])
def test_one_row_of_1960_beside_20_000_names_takes_little_memory(tmp_path, side):
    table = bars(20_000, calendar.sessions("2022-12-01", "2022-12-28"), old=("1960-01-04",))
    table.to_parquet(tmp_path / "bars.parquet")
    line = [sys.executable, "-c", MEASURED, str(tmp_path / "bars.parquet"), side]
    done = subprocess.run(line, capture_output=True, text=True, env=environment(), check=True)
    kilobytes, _, said = done.stdout.partition(" ")
    assert "S00000 has a bar on 1960-01-04" in said
    assert "but before 2022-12-01 " in said
    assert "has 1 bar for 20,000 symbols" in said
    assert "correct the date" in said
    assert int(kilobytes) < 600_000


def test_an_old_series_beside_hundreds_of_young_names_is_admitted():
    old = calendar.sessions("1962-01-02", "2022-11-30")
    market = admitted(bars(300, calendar.sessions("2022-12-01", "2022-12-28"), old=tuple(old)))
    assert market.dates[0] == pd.Timestamp("1962-01-02")
    assert market.close["S00000"].notna().all()


def test_names_that_come_one_after_the_other_are_admitted():
    """Forty years in which a twentieth of today's names traded are a history, not an accident."""
    days = calendar.sessions("1982-12-28", "2022-12-28").to_numpy("datetime64[D]")
    every, names = np.repeat(days, 250), np.tile(np.arange(250), len(days))
    late = np.repeat(days[-1:], 5000)
    symbols = pd.Index([f"S{i}" for i in range(5000)])
    require_filled(np.append(every, late), np.append(names, np.arange(5000)), symbols, "vendor")
    with pytest.raises(DataError, match="S0 has a bar on 1982-12-28"):  # of one name, it would be
        require_filled(np.append(days, late), np.append(0 * names[: len(days)], np.arange(5000)), symbols, "vendor")


def test_a_row_before_the_calendar_is_listed_as_ever():
    table = bars(20_000, calendar.sessions("2022-12-27", "2022-12-28"), old=("1901-01-02",))
    assert admitted(table).dates[0] == pd.Timestamp("2022-12-27")


def test_the_message_names_the_first_of_several_rows():
    table = bars(20_000, calendar.sessions("2022-12-27", "2022-12-28"), old=("1971-02-01", "1970-02-02", "1999-02-01"))
    with pytest.raises(DataError, match=r"S00000 has a bar on 1970-02-02, but before 2022-12-27 vendor has 3 bars"):
        admitted(table)
