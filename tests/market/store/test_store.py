"""The store: what goes in comes out, the same history gives the same bytes, and damage is noticed before use."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from openbook.common.errors import ConflictError, DataError, StorageError
from openbook.market import store
from openbook.market.checks.session import admit, check_session
from openbook.market.sources import FilesSource, SimulatedSource
from openbook.market.store import (
    compact,
    fingerprint,
    load_market,
    put_market,
    read_store,
    store_fingerprint,
    update_store,
)
from openbook.market.store.manifest import chained, seal_of
from openbook.market.tables import Delivery, Market

FROM = {"provider": "by hand"}
YESTERDAY = "2023-06-29"


def put(folder, delivery: Delivery, *, through=None) -> store.StoreReport:
    """What `update_store` does with a delivery that somebody else fetched."""
    return put_market(folder, *admit(delivery, through=through), settings=FROM)


def snapshot(folder) -> dict[str, bytes]:
    """Every file of the store."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def live(folder) -> dict[str, bytes]:
    """The manifest and the files that it counts."""
    deltas = json.loads((folder / "manifest.json").read_text())["deltas"]
    named = [entry["file"] for delta in deltas for entry in delta["files"].values()]
    return {name: data for name, data in snapshot(folder).items() if name in [*named, "manifest.json"]}


def assert_same_market(one: Market, other: Market) -> None:
    """Equal tables, to the last bit."""
    for name in (
        "close",
        "adjusted",
        "open",
        "high",
        "low",
        "volume",
        "members",
        "market_cap",
        "actions",
        "fundamentals",
        "sector_spells",
        "doubtful",
    ):
        left, right = getattr(one, name), getattr(other, name)
        assert (left is None) == (right is None), name
        if left is not None:
            pd.testing.assert_frame_equal(left, right, check_exact=True)
    for name in ("sectors", "index"):
        left, right = getattr(one, name), getattr(other, name)
        assert (left is None) == (right is None), name
        if left is not None:
            pd.testing.assert_series_equal(left, right, check_exact=True)
    assert (one.name, one.execution, one.notes) == (other.name, other.execution, other.notes)


@pytest.fixture
def full(delivery, act, tonight) -> Delivery:
    """A delivery with every table: actions, reports, members, caps, index, dated sectors, refused bars, a new name."""
    rng, bars = np.random.default_rng(5), delivery.bars
    dates, names = pd.DatetimeIndex(bars["date"].unique()), sorted(bars["symbol"].unique())
    reports = pd.DataFrame(
        {
            "symbol": np.repeat(names, 3),
            "available": np.tile(dates[[3, 40, 68]], len(names)),
            "period_end": np.tile(pd.to_datetime(["2022-12-31", "2023-03-31", "2023-03-31"]), len(names)),
            "item": "sales",
            "value": rng.uniform(1e9, 2e9, 3 * len(names)),
        }
    ).astype({"symbol": "str", "item": "str"})
    members = pd.DataFrame({"symbol": names, "start": dates[10], "end": pd.NaT}).astype({"symbol": "str"})
    members.loc[:2, "end"] = dates[60]
    spells = pd.DataFrame({"symbol": names, "sector": [f"Sector {i % 4}" for i in range(len(names))], "start": pd.NaT})
    moved = pd.DataFrame({"symbol": names[:3], "sector": "Moved", "start": dates[[20, 30, 69]]})
    spells = pd.concat([spells, moved])
    young = (bars["symbol"] == "S39") & (bars["date"] < dates[66])
    wrong = (bars["symbol"] == "S05") & (bars["date"] == dates[30])
    sent = replace(
        delivery,
        bars=bars.assign(close=bars["close"].mask(wrong, 0.0))[~young],
        fundamentals=reports,
        members=members.astype({"start": "datetime64[us]", "end": "datetime64[us]"}),
        market_cap=bars.pivot(index="date", columns="symbol", values="close") * 1e8,
        index=pd.Series(4000 + np.arange(70.0), index=dates, name="S&P 500"),
        sectors=spells.astype({"symbol": "str", "sector": "str", "start": "datetime64[us]"}),
        notes=("Made by hand.",),
    )
    return act(
        sent, (dates[20], "S07", "split", 1.01), (dates[68], "S08", "dividend", 0.2), (tonight, "S09", "split", 1)
    )


# --- what goes in comes out ---


def test_round_trip(tmp_path, full):
    market, refused = admit(full)
    report = put_market(tmp_path, market, refused, settings=FROM)
    again, again_refused = read_store(tmp_path)
    assert_same_market(again, market)
    pd.testing.assert_frame_equal(again_refused, refused)
    assert refused["rule"].tolist() == ["price"]
    assert list(report.new_sessions) == list(market.dates)
    assert report.revisions.empty
    assert report.late.empty


def test_reading_up_to_a_date_is_admitting_up_to_it(tmp_path, full):
    put(tmp_path, full)
    for day in ("2023-03-24", "2023-04-01", "2023-06-28"):
        stored, refused = read_store(tmp_path, through=day)
        market, expected = admit(full, through=day)
        assert_same_market(stored, market)
        pd.testing.assert_frame_equal(refused, expected)


def test_what_was_refused_as_a_false_level_comes_back_with_the_market(tmp_path, full, damage):
    """Otherwise a backtest from the store would not know what a fall that was never believed may have cost."""
    days = pd.DatetimeIndex(full.bars["date"].unique())
    fallen = damage(full, "S07", days[30:], scale=0.01)
    for day in days[29:33]:
        put(tmp_path, fallen, through=day)
    market, _ = read_store(tmp_path)
    assert market.doubtful[["date", "symbol"]].to_numpy().tolist() == [[day, "S07"] for day in days[30:32]]
    assert_same_market(market, admit(fallen, through=days[32])[0])
    assert_same_market(read_store(tmp_path, through=days[30])[0], admit(fallen, through=days[30])[0])
    assert read_store(tmp_path, through=days[29])[0].doubtful is None


def test_d14_odd_tickers_round_trip(tmp_path, delivery, tonight):
    names = {"S00": "NA", "S01": "TRUE", "S02": "1E5", "S03": "BRK.B", "S04": "nan"}
    named = replace(delivery, bars=delivery.bars.assign(symbol=delivery.bars["symbol"].replace(names)), sectors=None)
    put(tmp_path, named)
    market, refused = read_store(tmp_path)
    assert set(names.values()) <= set(market.symbols)
    assert set(names.values()) <= set(check_session(market, tonight, refused=refused).tradable)


def test_closes_only(tmp_path, delivery):
    bare = replace(delivery, bars=delivery.bars[["symbol", "date", "close"]], execution="next_close", sectors=None)
    put(tmp_path, bare)
    assert_same_market(read_store(tmp_path)[0], admit(bare)[0])


# --- updates ---


def test_an_unchanged_source_changes_not_a_byte(tmp_path, full):
    put(tmp_path, full)
    before = snapshot(tmp_path)
    times = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    report = put(tmp_path, full)
    assert snapshot(tmp_path) == before
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == times
    assert report.new_sessions.empty


def test_session_by_session_or_at_once_gives_the_same_bytes(tmp_path, full):
    dates = pd.DatetimeIndex(full.bars["date"].unique())
    for day in dates[[25, 26, 29, 30, 31, 59, 66, 67, 68, 69]]:
        report = put(tmp_path / "daily", full, through=day)
        assert report.revisions.empty
        assert report.restated.empty
    put(tmp_path / "once", full)
    assert compact(tmp_path / "daily") == 10
    assert compact(tmp_path / "once") == 1
    assert live(tmp_path / "daily") == live(tmp_path / "once")


def test_years_that_are_over_are_not_written_again(tmp_path, shared_data):
    file = shared_data / "sp500_2010_2023" / "ohlcv.parquet"
    source = FilesSource(path=str(file), prices="adjusted", symbols=("AAPL", "MSFT"))
    update_store(tmp_path, source, through="2012-06-29")
    old = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("bars-201[01]*")}
    assert len(old) == 2
    report = update_store(tmp_path, source, through="2012-07-02")
    assert list(report.new_sessions) == [pd.Timestamp("2012-07-02")]
    assert old == {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("bars-201[01]*")}


def test_superseded_files_stay_for_one_update(tmp_path, full):
    """Who read the manifest just before an update still finds its files."""
    dates = pd.DatetimeIndex(full.bars["date"].unique())
    put(tmp_path, full, through=dates[60])
    put(tmp_path, full, through=dates[61])
    first = live(tmp_path)
    assert len(list(tmp_path.glob("bars-*"))) == 2
    compact(tmp_path)
    assert first.keys() - {"manifest.json"} <= snapshot(tmp_path).keys()
    put(tmp_path, full, through=dates[62])
    assert len(list(tmp_path.glob("bars-*"))) == 2


def test_a_revision_is_listed_and_the_past_stays_as_it_was_seen(tmp_path, full, damage, tonight):
    put(tmp_path, full, through=YESTERDAY)
    before, _ = read_store(tmp_path)
    day = pd.Timestamp("2023-05-10")
    report = put(tmp_path, damage(full, "S07", day, scale=1.001))
    rows = report.revisions.set_index("field")
    assert list(rows.index) == ["close", "high", "low", "open"]
    assert rows.loc["close", "symbol"] == "S07"
    assert rows.loc["close", "first"] == rows.loc["close", "last"] == day
    assert rows.loc["close", "values"] == 1
    assert rows.loc["close", "largest"] == pytest.approx(0.001)
    assert_same_market(read_store(tmp_path, through=YESTERDAY)[0], before)
    assert list(report.new_sessions) == [tonight]
    assert report.restated["field"].tolist() == ["close", "high", "low", "open"]
    now, _ = read_store(tmp_path)
    assert_same_market(now, admit(damage(full, "S07", day, scale=1.001))[0])
    assert_same_market(now.upto(YESTERDAY, as_known_on=YESTERDAY), before)


def test_every_table_is_compared(tmp_path, full, damage):
    put(tmp_path, full, through="2023-06-28")
    changed = replace(
        damage(full, "S01", "2023-05-10", drop=True),
        actions=full.actions.assign(value=full.actions["value"].replace(1.01, 1.02)),
        fundamentals=full.fundamentals.assign(
            value=full.fundamentals["value"].where(full.fundamentals["symbol"] != "S02", 1.0)
        ),
        members=full.members[full.members["symbol"] != "S03"],
        market_cap=full.market_cap.assign(S04=1e9),
        index=full.index.mask(full.index == 4010.0, 4011.0),
        sectors=full.sectors.replace("Sector 1", "Sector 9"),
    )
    kept, _ = read_store(tmp_path)
    report = put(tmp_path, changed, through=YESTERDAY)
    taken = {(row.symbol, row.field) for row in report.restated.itertuples()}
    assert {("S07", "split"), ("S02", "sales"), ("S04", "market_cap"), ("", "index")} <= taken
    assert {("S05", "Sector 1"), ("S05", "Sector 9")} <= taken
    assert not {("S01", "close"), ("S03", "member")} & taken  # a bar that is missing now is kept, and so is membership
    found = {(row.symbol, row.field) for row in report.revisions.itertuples()}
    assert {("S01", "close"), ("S07", "split"), ("S02", "sales"), ("S03", "member")} <= found
    assert {("S04", "market_cap"), ("S&P 500", "index"), ("S05", "sector")} <= found
    again, _ = read_store(tmp_path, through="2023-06-28")
    assert_same_market(again, kept)
    now, _ = read_store(tmp_path)
    assert now.sectors["S05"] == "Sector 9"
    assert now.actions.set_index("symbol").loc["S07", "value"] == 1.02
    assert set(now.fundamentals.loc[now.fundamentals["symbol"] == "S02", "value"]) == {1.0}
    assert (now.market_cap["S04"] == 1e9).all()
    assert now.index.iloc[10] == 4011.0
    assert_same_market(now.upto("2023-06-28", as_known_on="2023-06-28"), kept)


def test_the_last_session_can_be_mended_until_the_next_comes(tmp_path, full, damage, tonight):
    """A bad evening: the run stops, the operator corrects the source and updates again."""
    put(tmp_path, damage(full, "S07", tonight, scale=0.4))
    with pytest.raises(DataError, match="held S07: close"):
        check_session(read_store(tmp_path)[0], tonight, held=["S07"])
    report = put(tmp_path, full)
    assert set(report.revisions["symbol"]) == {"S07"}
    assert report.new_sessions.empty
    market, _ = read_store(tmp_path)
    assert_same_market(market, admit(full)[0])
    assert "S07" in check_session(market, tonight, held=["S07"]).tradable


def test_d05_recording_the_split_mends_the_run(tmp_path, full, damage, act, tonight):
    split = damage(full, "S07", tonight, scale=0.25, volume=4e6)
    put(tmp_path, split)
    with pytest.raises(DataError, match="suspected split 4:1"):
        check_session(read_store(tmp_path)[0], tonight, held=["S07"])
    put(tmp_path, act(split, (tonight, "S07", "split", 4.0)))
    assert "S07" in check_session(read_store(tmp_path)[0], tonight, held=["S07"]).tradable


def test_a_single_session_can_be_mended_too(tmp_path, full, damage):
    first = full.bars["date"].iloc[0]
    put(tmp_path, damage(full, "S07", first, scale=2), through=first)
    put(tmp_path, full, through=first)
    assert_same_market(read_store(tmp_path)[0], admit(full, through=first)[0])


def test_late_bars_fill_holes_and_are_listed(tmp_path, full, damage):
    day = pd.Timestamp("2023-05-10")
    put(tmp_path, damage(full, ["S01", "S02"], day, drop=True), through=YESTERDAY)
    report = put(tmp_path, full)
    assert report.late[["symbol", "first", "last", "values"]].to_numpy().tolist() == [
        ["S01", day, day, 1],
        ["S02", day, day, 1],
    ]
    assert_same_market(read_store(tmp_path)[0], admit(full)[0])


def test_a_name_added_to_the_universe_brings_its_history(tmp_path, full):
    without = replace(full, bars=full.bars[full.bars["symbol"] != "S20"])
    put(tmp_path, without, through=YESTERDAY)
    report = put(tmp_path, full)
    assert report.late["symbol"].tolist() == ["S20"]
    assert_same_market(read_store(tmp_path)[0], admit(full)[0])


def test_a_vendor_that_sends_recent_days_only(tmp_path, full):
    put(tmp_path, full, through="2023-06-15")
    recent = replace(full, bars=full.bars[full.bars["date"] > "2023-06-20"])
    report = put(tmp_path, recent)
    market, _ = read_store(tmp_path)
    assert market.close.loc["2023-06-16"].isna().all()  # a hole is a row
    assert market.close.loc["2023-06-15"].notna().sum() == 39
    assert pd.Timestamp("2023-06-16") in report.new_sessions
    assert report.revisions.empty or not report.revisions["field"].isin(["close"]).any()


def test_an_older_date_than_the_store_changes_nothing(tmp_path, full):
    put(tmp_path, full)
    before = snapshot(tmp_path)
    report = put(tmp_path, full, through="2023-05-10")
    assert snapshot(tmp_path) == before
    assert report.fingerprint == store_fingerprint(tmp_path, "2023-05-10")


def test_another_source_is_a_conflict(tmp_path):
    source = SimulatedSource(n_symbols=5, n_sessions=40, end="2023-06-30", seed=1)
    update_store(tmp_path, source, through="2023-06-30")
    before = snapshot(tmp_path)
    other = source.model_copy(update={"seed": 2})
    with pytest.raises(ConflictError, match="seed was 1, is 2") as caught:
        update_store(tmp_path, other, through="2023-06-30")
    assert caught.value.exit_code == 62
    with pytest.raises(ConflictError, match="provider was 'simulated', is 'files'"):
        update_store(tmp_path, FilesSource(path="nowhere", prices="raw"), through="2023-06-30")
    with pytest.raises(ConflictError, match="seed was 1, is 2"):
        load_market(other, store=tmp_path)
    assert snapshot(tmp_path) == before


def test_a_source_that_changes_its_tables_is_a_conflict(tmp_path, full):
    put(tmp_path, full, through=YESTERDAY)
    fewer = replace(full, bars=full.bars.drop(columns="volume"), index=None)
    with pytest.raises(ConflictError, match="index is no longer sent, volume is no longer sent"):
        put(tmp_path, fewer)
    with pytest.raises(ConflictError, match="execution was next_open, is next_close"):
        put(tmp_path, replace(full, execution="next_close"))


# --- the door of the notebooks ---


def test_load_market_with_and_without_a_store(tmp_path):
    source = SimulatedSource(n_symbols=8, n_sessions=60, end="2023-06-30", seed=3)
    report = update_store(tmp_path, source, through="2023-06-30")
    direct, refused = load_market(source, through="2023-06-15")
    stored, stored_refused = load_market(source, store=tmp_path, through="2023-06-15")
    assert_same_market(stored, direct)
    pd.testing.assert_frame_equal(stored_refused, refused)
    assert report.fingerprint == fingerprint(load_market(source, store=tmp_path)[0])


def test_has_session_asks_the_manifest_alone(tmp_path, full):
    assert not store.has_session(tmp_path, YESTERDAY)
    put(tmp_path, full, through=YESTERDAY)
    assert store.has_session(tmp_path, YESTERDAY)
    assert not store.has_session(tmp_path, "2023-06-30")


def test_no_store_and_nothing_to_read(tmp_path, full):
    with pytest.raises(DataError, match=r"no market store at .*openbook data update"):
        read_store(tmp_path)
    with pytest.raises(DataError, match="no market store at"):
        store_fingerprint(tmp_path, YESTERDAY)
    put(tmp_path, full)
    with pytest.raises(DataError, match="starts on 2023-03-22, after 2020-01-02"):
        read_store(tmp_path, through="2020-01-02")
    with pytest.raises(DataError, match="starts on 2023-03-22, after 2020-01-02"):
        store_fingerprint(tmp_path, "2020-01-02")


# --- fingerprints ---


def test_the_quick_fingerprint_is_the_fingerprint(tmp_path, full):
    put(tmp_path, full)
    market, _ = admit(full)
    for day in (*market.dates[[0, 3, 20, 30, 59, 60, 66, 69]], pd.Timestamp("2023-06-25")):
        assert store_fingerprint(tmp_path, day) == fingerprint(market.upto(day))
        assert store_fingerprint(tmp_path, day) == fingerprint(admit(full, through=day)[0])


def test_later_sessions_never_change_an_earlier_fingerprint(tmp_path, full):
    """Also not those on which a new name is listed, a report is filed or a split happens."""
    dates = pd.DatetimeIndex(full.bars["date"].unique())
    put(tmp_path, full, through=dates[50])
    known = {day: store_fingerprint(tmp_path, day) for day in dates[:51]}
    put(tmp_path, full)
    assert known == {day: store_fingerprint(tmp_path, day) for day in known}
    assert len(set(known.values())) == 51


@pytest.mark.parametrize(
    "change",
    [
        lambda m: replace(m, close=m.close * (1 + 1e-15), adjusted=m.close),
        lambda m: replace(m, volume=m.volume + 1),
        lambda m: replace(m, actions=m.actions.assign(value=m.actions["value"] * 1.5)),
        lambda m: replace(m, fundamentals=m.fundamentals.assign(value=0.0)),
        lambda m: replace(m, sector_spells=m.sector_spells.replace("Sector 1", "Sector 2")),
        lambda m: replace(m, sector_spells=None, sectors=m.sectors.replace("Sector 1", "Sector 2")),
        lambda m: replace(m, members=~m.members),
        lambda m: replace(m, market_cap=m.market_cap * 2),
        lambda m: replace(m, index=m.index + 1),
        lambda m: replace(m, execution="next_close"),
        lambda m: replace(m, index=None),
    ],
    ids=lambda _: "",
)
def test_whatever_is_known_counts(full, change):
    market, _ = admit(full)
    assert fingerprint(change(market)) != fingerprint(market)


def test_an_empty_market_has_a_fingerprint(full):
    market, _ = admit(full)
    assert len(fingerprint(market.upto("2000-01-01"))) == 64


def test_pinned_fingerprint():
    """Ours: if this changes, every fingerprint in a sealed run of the past is lost."""
    bars = pd.DataFrame(
        {
            "date": pd.to_datetime(["2023-06-28", "2023-06-29", "2023-06-29"]),
            "symbol": ["A", "A", "BRK.B"],
            "close": [1.5, 1.25, 300.0],
        }
    )
    actions = pd.DataFrame({"date": bars["date"][1:2], "symbol": "A", "kind": "dividend", "value": 0.25})
    sectors = pd.Series({"A": "Energy"})
    sent = Delivery(bars=bars, name="pinned", execution="next_close", actions=actions, sectors=sectors)
    assert fingerprint(admit(sent)[0]) == "a6caebf01e9665b42534ae668d7d733a4d845efcb9df9af29d61cd4e302b85e1"


# --- damage ---


@pytest.fixture
def damaged(tmp_path, full):
    """A store, and the files that a reader needs."""
    put(tmp_path, full)
    return tmp_path, sorted(live(tmp_path))


def test_d12_every_flipped_bit_is_noticed(damaged):
    folder, names = damaged
    rng = np.random.default_rng(0)
    for name in names:
        sound = (folder / name).read_bytes()
        for _ in range(25):
            data = bytearray(sound)
            data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
            (folder / name).write_bytes(data)
            with pytest.raises(DataError, match="is damaged") as caught:
                read_store(folder)
            assert caught.value.exit_code == 30
            assert name in str(caught.value)
        (folder / name).write_bytes(sound)
    read_store(folder)


@pytest.mark.parametrize("keep", [0, 1, 0.5, -1])
def test_d12_a_truncated_file_is_noticed(damaged, keep):
    folder, names = damaged
    for name in names:
        sound = (folder / name).read_bytes()
        (folder / name).write_bytes(sound[: int(keep * len(sound)) if isinstance(keep, float) else keep])
        with pytest.raises(DataError, match="is damaged"):
            read_store(folder)
        (folder / name).write_bytes(sound)


def test_d12_a_missing_file_is_noticed(damaged):
    folder, names = damaged
    for name in set(names) - {"manifest.json"}:
        sound = (folder / name).read_bytes()
        (folder / name).unlink()
        with pytest.raises(DataError, match=f"{name} is missing; restore"):
            read_store(folder)
        (folder / name).write_bytes(sound)


def test_an_unreadable_file_is_a_storage_error(damaged):
    folder, names = damaged
    (folder / names[0]).unlink()
    (folder / names[0]).mkdir()
    with pytest.raises(StorageError, match="cannot be read: Is a directory"):
        read_store(folder)


def test_d12_damage_stops_an_update_before_it_writes(damaged, full):
    folder, names = damaged
    path = folder / names[1]
    path.write_bytes(path.read_bytes()[:-9])
    before = snapshot(folder)
    with pytest.raises(DataError, match="is damaged"):
        put(folder, full)
    assert snapshot(folder) == before


def test_d12_page_checksums_hold_where_the_hash_was_taken_too_late(tmp_path, full):
    """A bit that flipped before the hash was computed: only the checksum inside the file can tell."""
    put(tmp_path, full)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    entry = manifest["deltas"][0]["files"]["bars-2023"]
    path, rng = tmp_path / entry["file"], np.random.default_rng(1)
    sound = path.read_bytes()
    for _ in range(60):
        data = bytearray(sound)
        data[rng.integers(len(data) // 10, len(data) // 2)] ^= 1 << int(rng.integers(8))  # inside the pages
        path.write_bytes(data)
        rehash(tmp_path, manifest, "bars-2023", bytes(data))
        with pytest.raises(DataError, match="is damaged"):
            read_store(tmp_path)


def rehash(folder, manifest: dict, part: str, data: bytes) -> None:
    """Make the manifest agree with a damaged file."""
    body = {key: value for key, value in manifest.items() if key != "seal"}
    body["deltas"][0]["files"][part]["sha256"] = hashlib.sha256(data).hexdigest()
    body["deltas"] = chained(body["deltas"])
    (folder / "manifest.json").write_text(json.dumps(body | {"seal": seal_of(body)}))


def test_another_format_is_refused(damaged):
    folder, _ = damaged
    body = json.loads((folder / "manifest.json").read_text()) | {"format": 99}
    del body["seal"]
    (folder / "manifest.json").write_text(json.dumps(body | {"seal": seal_of(body)}))
    with pytest.raises(DataError, match="has format 99"):
        read_store(folder)


# --- crashes ---


@pytest.fixture
def half(tmp_path, full) -> Path:
    """A store that ends one session early and carries the leftovers of the update before."""
    put(tmp_path / "half", full, through="2023-06-28")
    put(tmp_path / "half", full, through=YESTERDAY)
    return tmp_path / "half"


def test_a_crash_at_any_step_leaves_the_old_store_and_a_rerun_heals(tmp_path, half, full, monkeypatch):
    """The update ends at the nth fsync, rename, removal or opening of a folder, for every n; then it is run again."""
    sent = admit(full)
    put(tmp_path / "whole", full)
    old, new = fingerprint(read_store(half)[0]), fingerprint(sent[0])
    crashed, nth, seen = True, 0, []
    while crashed:
        nth += 1
        folder = shutil.copytree(half, tmp_path / f"crash{nth}")
        crashed = _crashes(folder, sent, nth, monkeypatch)
        seen.append(store_fingerprint(folder, "2023-06-30"))
        read_store(folder)
        put_market(folder, *sent, settings=FROM)
        compact(folder)
        assert live(folder) == live(tmp_path / "whole")
    switch = seen.index(new)
    assert switch >= 8
    assert seen == [old] * switch + [new] * (nth - switch)


class Killed(BaseException):
    """The process is gone: nothing after this runs."""


def _crashes(folder, sent, nth: int, monkeypatch) -> bool:
    """Run an update that ends at its nth write-type call; False if it made fewer."""
    calls = 0

    def counted(call):
        def wrapped(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == nth:
                raise Killed
            return call(*args, **kwargs)

        return wrapped

    with monkeypatch.context() as patch:
        for name in ("fsync", "replace", "unlink", "open"):
            patch.setattr(store.os, name, counted(getattr(os, name)))
        try:
            put_market(folder, *sent, settings=FROM)
        except Killed:
            return True
    return False


def test_a_process_killed_while_writing_leaves_a_store_that_reads(tmp_path):
    """A real end of a real process, with a half-written file."""
    source = SimulatedSource(n_symbols=4, n_sessions=60, end="2023-06-30", seed=1)
    folder = tmp_path / "killed"
    update_store(folder, source, through=YESTERDAY)
    old = fingerprint(read_store(folder)[0])
    script = (
        "import os, sys\n"
        "from openbook.market import store\n"
        "from openbook.market.sources import SimulatedSource\n"
        "def half(path, data):\n"
        "    path.write_bytes(data[: len(data) // 2])\n"
        "    os._exit(9)\n"
        "store.write_synced = half\n"
        "source = SimulatedSource(n_symbols=4, n_sessions=60, end='2023-06-30', seed=1)\n"
        "store.update_store(sys.argv[1], source, through='2023-06-30')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(folder)], check=False)
    assert done.returncode == 9
    assert len(snapshot(folder)) == len(live(folder)) + 1
    assert fingerprint(read_store(folder)[0]) == old
    update_store(folder, source, through="2023-06-30")
    compact(folder)
    update_store(tmp_path / "whole", source, through="2023-06-30")
    assert live(folder) == live(tmp_path / "whole")


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_full_disk_is_a_storage_error_and_the_old_store_stands(half, full, monkeypatch, name):
    old = fingerprint(read_store(half)[0])

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(store.os, name, full_disk)
        with pytest.raises(StorageError, match=r"cannot write the store at .*: No space left") as caught:
            put(half, full)
    assert caught.value.exit_code == 74
    assert fingerprint(read_store(half)[0]) == old


def test_other_files_in_the_folder_are_left_alone(half, full):
    (half / "notes.parquet").write_bytes(b"mine")
    (half / "README").write_bytes(b"mine")
    put(half, full)
    assert (half / "notes.parquet").read_bytes() == (half / "README").read_bytes() == b"mine"
