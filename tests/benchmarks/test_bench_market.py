"""How long the market takes to arrive, to be stored and to be read back."""

import resource
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest

from openbook.market.calendar import sessions
from openbook.market.checks.session import admit, check_session
from openbook.market.sources import FilesSource, SimulatedSource, fetch
from openbook.market.store import (
    BLIND,
    COMPARED,
    compact,
    fingerprint,
    put_market,
    read_store,
    store_fingerprint,
    update_store,
)
from openbook.market.tables import Delivery, Market

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
    compacted = seconds(lambda: compact(tmp_path), warm=False)
    print(f"compaction of two deltas {compacted:.2f} s")
    assert read < 1.0
    assert quick < 0.2


def test_one_day_of_500_stocks_is_added_and_300_sessions_are_read(tmp_path):
    """Beside the network: the door, the comparison with what is stored, and the writing of one session."""
    source = SimulatedSource(n_symbols=500, n_sessions=2520, end="2023-06-30", seed=1)
    sent = fetch(source)
    days = sessions("2023-01-01", "2023-06-30")
    put_market(tmp_path, *admit(sent, through=days[-11]), settings={})
    since = days[-11 - BLIND - COMPARED]
    recent = replace(sent, bars=sent.bars[sent.bars["date"] >= since])
    tables = {name: table for name in ("actions", "fundamentals") if (table := getattr(sent, name)) is not None}
    dates = {"actions": "date", "fundamentals": "available"}
    recent = replace(recent, **{name: table[table[dates[name]] >= since] for name, table in tables.items()})
    updates = [seconds(partial(add, tmp_path, recent, day, since), warm=False) for day in days[-10:]]
    reads = [seconds(lambda: read_store(tmp_path, first="2022-04-22"), warm=False) for _ in range(10)]
    market, _ = read_store(tmp_path, first="2022-04-22")
    shown("one day more", updates)
    shown(f"read {market.close.shape[0]} sessions of {market.close.shape[1]} names, 11 deltas", reads)
    compact(tmp_path)
    shown(
        "the same, compacted",
        [seconds(lambda: read_store(tmp_path, first="2022-04-22"), warm=False) for _ in range(10)],
    )


def add(folder, sent: Delivery, day, since) -> None:
    """Admit a partial delivery and store it."""
    put_market(folder, *admit(sent, through=day), settings={}, since=since)


def test_7072_symbols_and_500_sessions(tmp_path, shared_data):
    """The whole of a point-in-time set through the files provider and the door, into the store, and out of it."""
    folder = shared_data / "us_2015_2017_point_in_time"
    source = FilesSource(path=str(folder / "ohlcv.parquet"), prices="raw")
    rounds = [seconds(lambda: admit(fetch(source)), warm=False) for _ in range(3)]
    market, _ = admit(fetch(source))
    shown(f"files provider and door, {market.close.shape[1]} × {market.close.shape[0]}", rounds)
    update_store(tmp_path, source, through=market.dates[-1])
    shown("read_store", [seconds(lambda: read_store(tmp_path), warm=False) for _ in range(3)])
    print(f"largest memory of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB")


def shown(what: str, rounds: list[float]) -> None:
    """The median and every round."""
    print(f"\n{what}: median {np.median(rounds):.3f} s of {', '.join(f'{took:.3f}' for took in rounds)}")


def test_one_file_source_end_to_end(tmp_path, shared_data):
    source = FilesSource(path=str(shared_data / "sp500_2010_2023" / "ohlcv.parquet"), prices="adjusted")
    first = seconds(lambda: update_store(tmp_path, source, through="2023-12-28"), warm=False)
    append = seconds(lambda: update_store(tmp_path, source, through="2023-12-29"), warm=False)
    read = seconds(lambda: read_store(tmp_path))
    print(f"\n496 × 3522: first update {first:.2f} s, one session more {append:.2f} s, read {read:.2f} s")
    assert read < 1.0


def test_adjusted_prices_that_are_rewritten_by_every_dividend(tmp_path):
    """A vendor of adjusted prices: each dividend multiplies a whole history by one factor, eight on each evening."""
    days, evenings = sessions("2013-01-01", "2022-12-31")[-2500:], 40
    source = {"prices": "adjusted"}
    updates = [seconds(partial(put_market, tmp_path, *rewritten(days, day), settings=source), warm=False)
               for day in days[-evenings:]]  # fmt: skip
    shown("one evening more", updates[1:])
    compact(tmp_path)
    size = sum(path.stat().st_size for path in tmp_path.iterdir()) / 2**20
    read = [seconds(lambda: read_store(tmp_path), warm=False) for _ in range(3)]
    shown(f"read_store, {size:.0f} MiB on disk", read)
    shown("as it was known at the tenth", [seconds(lambda: read_store(tmp_path, through=days[-30]), warm=False)])
    market, _ = read_store(tmp_path)
    shown("taken back to the tenth", [seconds(lambda: market.upto(days[-30], as_known_on=days[-30]), warm=False)])
    alone = "import resource, sys, openbook.market.store as store; store.read_store(sys.argv[1]); "
    alone += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    used = subprocess.run([sys.executable, "-c", alone, str(tmp_path)], capture_output=True, text=True, check=True)
    print(f"memory of a process that reads it {int(used.stdout) / 2**20:.2f} GB")
    assert np.median(read) < 2.0


def rewritten(days: pd.DatetimeIndex, day) -> tuple[Market, pd.DataFrame]:
    """500 names up to `day`; on each of the last forty evenings eight of them have paid 0.5 percent."""
    seen, names = days <= day, pd.Index([f"N{i:03d}" for i in range(500)], dtype="str", name="symbol")
    paid = pd.Series(days[np.minimum(len(days) - 40 + np.arange(500) // 8, len(days) - 1)])
    later = (days.to_numpy()[:, None] < paid.to_numpy()) & (paid.to_numpy() <= day.to_numpy()) & (np.arange(500) < 320)
    raw = np.random.default_rng(1).lognormal(0, 0.02, (len(days), 500)).cumprod(axis=0) * 50
    close = (raw * np.where(later, 0.995, 1.0))[seen]
    scale = {"open": 0.999, "high": 1.01, "low": 0.99, "close": 1.0}
    long = {"symbol": np.tile(names.to_numpy(object), len(close)), "date": np.repeat(days[seen].to_numpy(), 500)}
    bars = pd.DataFrame(long | {field: (close * by).ravel() for field, by in scale.items()} | {"volume": 1e6})
    return admit(Delivery(bars=bars.astype({"symbol": "str"}), name="500 names", adjusted=True))
