"""How long the market takes to arrive, to be stored and to be read back."""

import time

import pandas as pd
import pytest

from openbook.market.providers import FilesSource, SimulatedSource, fetch
from openbook.market.quality import admit, check_session
from openbook.market.store import fingerprint, read_store, store_fingerprint, update_store
from openbook.market.tables import Delivery

pytestmark = pytest.mark.benchmark


def seconds(work, *, warm: bool = True) -> float:
    """Wall time of `work()`, after one run to warm up."""
    if warm:
        work()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def test_admit_1_64_million_bars(shared_data):
    columns = ["symbol", "date", "open", "high", "low", "close", "volume"]
    bars = pd.read_parquet(shared_data / "sp500_2010_2023" / "ohlcv.parquet", columns=columns)
    delivery = Delivery(bars=bars, name="496 stocks", adjusted=True)
    took = seconds(lambda: admit(delivery))
    market, _ = admit(delivery)
    check = seconds(lambda: check_session(market, "2023-12-29"))
    known = seconds(lambda: fingerprint(market))
    print(f"\nadmit {took:.2f} s, nightly check {check * 1000:.0f} ms, fingerprint {known:.2f} s")
    assert took < 1.5
    assert check < 0.2


def test_store_of_500_stocks_and_ten_years(tmp_path):
    source = SimulatedSource(n_symbols=500, n_sessions=2520, end="2023-06-30", seed=1)
    print(f"\nfetch {seconds(lambda: fetch(source), warm=False):.2f} s")
    first = seconds(lambda: update_store(tmp_path, source, through="2023-06-29"), warm=False)
    append = seconds(lambda: update_store(tmp_path, source, through="2023-06-30"), warm=False)
    read = seconds(lambda: read_store(tmp_path))
    quick = seconds(lambda: store_fingerprint(tmp_path, "2020-01-02"))
    print(f"first update {first:.2f} s, one session more {append:.2f} s, read {read:.2f} s")
    print(f"fingerprint from the manifest {quick * 1000:.0f} ms")
    assert read < 1.0
    assert quick < 0.2


def test_one_file_source_end_to_end(tmp_path, shared_data):
    source = FilesSource(path=str(shared_data / "sp500_2010_2023" / "ohlcv.parquet"), prices="adjusted")
    first = seconds(lambda: update_store(tmp_path, source, through="2023-12-28"), warm=False)
    append = seconds(lambda: update_store(tmp_path, source, through="2023-12-29"), warm=False)
    read = seconds(lambda: read_store(tmp_path))
    print(f"\n496 × 3522: first update {first:.2f} s, one session more {append:.2f} s, read {read:.2f} s")
    assert read < 1.0
