"""The look at a whole history on real ones: twenty known faults by name, and how often a finding is wrong."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from openbook.market.checks.history import Checkup, examine
from openbook.market.checks.vendor_folder import check_folder
from openbook.market.sources.files import FilesSource
from openbook.market.sources.folder import deliver
from openbook.market.tables import Delivery

# ---- twenty real cases: known_bad_cases.csv beside the data ----

A, B, C, SIDE = "sp500_2010_2023", "sp500_all_members_2013_2018", "us_2015_2017_point_in_time", "membership"
# (set, symbols as the list writes them): rule, symbol and a day inside the finding
KNOWN = {
    (A, "DHR"): [("misapplied split", "DHR", "2016-07-05")],
    (A, "VTR"): [("missing spin-off", "VTR", "2015-08-18")],
    (A, "CB"): [("another company", "CB", "2015-07-01")],
    (A, "SW|FERG|AMCR"): [("no trading", symbol, "2016-06-01") for symbol in ("SW", "FERG", "AMCR")],
    (B, "LIFE"): [("recycled ticker", "LIFE", "2015-05-07")],
    (B, "WLP"): [("same company", "ANTM", "2016-01-04")],
    (B, "AMD"): [("gap", "AMD", "2017-03-31")],
    (B, "CRC"): [("gap", "CRC", "2016-02-29")],
    (B, "AAPL + 32 others"): [("late history", "AAPL", "2014-03-28")],
    (B, "*"): [
        ("thin session", "*", "2017-11-08"),
        ("holiday", "*", "2017-04-14"),
        ("thin session", "*", "2018-02-28"),
    ],
    (B, "AMZN|ADBE|ALXN"): [
        ("open", "AMZN", "2016-11-16"),
        ("open", "ADBE", "2016-11-30"),
        ("open", "ALXN", "2016-11-30"),
    ],
    (C, "CRK|ACLS|ARR|AA"): [
        ("unadjusted split", "CRK", "2016-08-01"),
        ("unadjusted split", "ACLS", "2016-07-01"),
        ("unadjusted split", "ARR", "2015-08-03"),
        ("unadjusted split", "AA", "2016-10-06"),
    ],
    (C, "AOS|CHD|CMCSA|CF"): [
        ("unadjusted split", "AOS", "2016-10-06"),
        ("unadjusted split", "CHD", "2016-09-02"),
        ("unadjusted split", "CMCSA", "2017-02-21"),
        ("unadjusted split", "CF", "2015-06-18"),
    ],
    (C, "reports"): [("repeated report", "AAOI", "2015-12-22"), ("late report", "AAOI", "2015-12-22")],
    (C, "NEE"): [("symbol collision", "NEE", day) for day in ("2016-06-09", "2016-11-18", "2016-11-28", "2017-01-27")],
    (C, "MS"): [("symbol collision", "MS", "2017-02-14"), ("symbol collision", "MS", "2017-02-15")],
    (C, "CUI"): [("price", "CUI", "2015-03-30")],
    (C, "SAB"): [("absurd price", "SAB", "2017-02-01")],
    (C, "*"): [("holiday", "*", "2015-04-03"), ("holiday", "*", "2016-12-26")],
    (SIDE, "CB|MRK|AGN"): [("duplicate key", symbol, "2014-06-30") for symbol in ("CB", "AGN")]
    + [("duplicate key", "MRK", "2008-01-31")],
}
RENAME = {"BRK.B": "BRK-B", "BF.B": "BF-B"}


def _members_at(shared_data) -> dict:
    columns = {"symbol": "ticker", "start": "start_date", "end": "end_date"}
    return {"path": str(shared_data / SIDE / "sp500_intervals.csv"), "columns": columns, "rename": RENAME}


def _folder(shared_data, name: str) -> str:
    if not (shared_data / name).is_dir():
        pytest.skip(f"no {name} in the real data")
    return str(shared_data / name)


@pytest.fixture(scope="module")
def examined(shared_data):
    """The checkup of a set, made once. Of the 7,072 symbols every twentieth, and those of the list."""
    made = {}

    def get(name: str) -> Checkup:
        if name not in made:
            made[name] = _examine(shared_data, name)
        return made[name]

    return get


def _examine(shared_data, name: str) -> Checkup:
    if name == SIDE:
        return check_folder(_folder(shared_data, name))
    if name == C:
        return _part_of_the_largest(shared_data)
    source = FilesSource(path=_folder(shared_data, name), prices="adjusted", members=_members_at(shared_data))
    beside = deliver(FilesSource(path=_folder(shared_data, B), prices="adjusted")) if name == A else None
    return examine(deliver(source), beside=beside)


def _part_of_the_largest(shared_data) -> Checkup:
    folder = _folder(shared_data, C)
    fundamentals = {
        "path": f"{folder}/reports.parquet",
        "columns": {"filed": "collected", "period_end": "end_date"},
        "items": {"assets": "assets", "revenues": "revenues"},
    }
    source = FilesSource(path=f"{folder}/ohlcv.parquet", prices="raw", fundamentals=fundamentals)
    whole = deliver(source)
    known = {symbol for spots in KNOWN.values() for _, symbol, _ in spots}
    every = sorted(whole.bars["symbol"].unique())
    chosen = whole.bars["symbol"].isin(list(known | set(every[::20])))
    holidays = whole.bars["date"].isin(pd.to_datetime(["2015-04-03", "2016-12-26"]))
    return examine(replace(whole, bars=whole.bars[chosen | holidays]))


@pytest.mark.parametrize("case", KNOWN, ids=" ".join)
def test_a_known_real_fault_is_found_by_its_name(examined, case):
    findings = examined(case[0]).findings
    for rule, symbol, day in KNOWN[case]:
        rows = findings[(findings["rule"] == rule) & (findings["symbol"] == symbol)]
        inside = (rows["first"] <= day) & (rows["last"] >= day)
        assert inside.any(), f"{rule} of {symbol} on {day}: {rows.to_string()}"


def test_the_list_of_known_faults_is_the_one_beside_the_data(shared_data):
    listed = pd.read_csv(shared_data / "known_bad_cases.csv", keep_default_na=False)
    assert set(zip(listed["set"], listed["symbol"], strict=True)) == set(KNOWN)
    assert len(KNOWN) == 20


def test_what_is_said_of_the_known_faults(examined):
    def told(name: str, rule: str, symbol: str) -> str:
        rows = examined(name).findings
        return rows[(rows["rule"] == rule) & (rows["symbol"] == symbol)]["detail"].iloc[0]

    assert "applied the wrong way" in told(A, "misapplied split", "VTR")
    assert "a listing elsewhere before" in told(A, "no trading", "AMCR")
    assert "moves as WLP does" in told(B, "same company", "ANTM")
    assert "1281 days" in told(B, "gap", "AMD")
    assert "-89.8%" in told(B, "gap", "CRC")
    assert "3 bars, usually" in told(B, "thin session", "*")
    assert "reverse split 5:1" in told(C, "unadjusted split", "CRK")
    assert (examined(B).findings["rule"] == "late history").sum() > 33
    assert (examined(C).findings["rule"] == "holiday").sum() == 18


# ---- how often a finding is wrong ----

# Findings in the whole sets, known cases included; each was looked at. Of 63 moves beyond 1.4 in the first set none is
# left that is real; in the second all are spin-offs that the set lacks (DF, GCI, HPE twice, VNO). In the third the
# vendor's own adjusted closes confirm the splits.
PINNED = {
    A: {"misapplied split": 3, "missing spin-off": 1, "recycled ticker": 1, "no trading": 3, "open": 1},
    B: {"unadjusted split": 1, "missing spin-off": 3, "jump": 1, "same company": 2, "recycled ticker": 1, "gap": 7},
    C: {
        "unadjusted split": 337,
        "missing spin-off": 26,
        "symbol collision": 37,
        "decimal shift": 24,
        "spike": 30,
        "jump": 114,
        "gap": 31,
        "absurd price": 4,
        "price": 1,
        "range": 1,
        "holiday": 18,
    },
}


@pytest.mark.parametrize("name", [A, B])
def test_pinned_findings_of_the_index_sets(examined, name):
    counts = examined(name).counts.drop(["late history", "no history", "disagreement"], errors="ignore")
    assert counts[list(PINNED[name])].to_dict() == PINNED[name]
    moves = {
        "misapplied split",
        "unadjusted split",
        "missing spin-off",
        "symbol collision",
        "decimal shift",
        "spike",
        "jump",
    }
    assert moves & set(counts.index) <= set(PINNED[name])


@pytest.fixture(scope="module")
def largest(shared_data) -> tuple[Checkup, pd.DataFrame]:
    """The checkup of all 7,072 symbols, and the vendor's factor of each bar over the next: adjusted / raw close."""
    folder = _folder(shared_data, C)
    checkup = examine(deliver(FilesSource(path=f"{folder}/ohlcv.parquet", prices="raw")))
    bars = pd.read_parquet(f"{folder}/ohlcv.parquet", columns=["symbol", "date", "close", "adj_close"])
    bars = bars.astype({"symbol": "str"}).sort_values(["symbol", "date"], ignore_index=True)
    bars["factor"] = (bars["adj_close"] / bars["close"]).groupby(bars["symbol"]).shift()
    return checkup, bars


@pytest.mark.long
def test_pinned_findings_among_7072_symbols(largest):
    counts = largest[0].counts
    assert {rule: int(counts[rule]) for rule in PINNED[C]} == PINNED[C]
    assert largest[0].symbol_years == pytest.approx(12_298, abs=1)


@pytest.mark.long
def test_splits_that_are_read_out_of_an_adjusted_close_are_no_longer_missing(shared_data, largest):
    """The way out that the report names: what stays are splits that the vendor lacks too, and its other faults."""
    columns = {"adjusted_close": "adj_close"}
    file = f"{_folder(shared_data, C)}/ohlcv.parquet"
    source = FilesSource(path=file, prices="raw", columns=columns, adjusted_as="next_session")
    left = examine(deliver(source)).findings
    splits = left[left["rule"] == "unadjusted split"]
    assert len(splits) < 0.25 * largest[0].counts["unadjusted split"]
    assert {"CF", "HTZ", "DRYS", "GOGL"} <= set(splits["symbol"])
    assert not {"CRK", "ACLS", "ARR", "AOS", "CHD", "CMCSA"} & set(splits["symbol"])


@pytest.mark.long
def test_the_vendors_own_factors_confirm_the_splits(largest):
    """Of the splits that the raw closes show, 4 in 5 are in the vendor's adjusted closes; and hardly one is overlooked.

    The fifth that is not is mostly real too (CF 5:1, HTZ, DRYS, SJI, TVIZ are not in the vendor's factors), or a price
    of before the listing; a real fall of 86% that looks like 7:1 is among them (OPHT, 2016-12-12).
    """
    checkup, bars = largest
    bars = bars.assign(split=(bars["factor"] > 1.4) | (bars["factor"] < 1 / 1.4))
    bars["near"] = bars.groupby("symbol")["split"].transform(
        lambda each: each.rolling(5, center=True, min_periods=1).max()
    )
    found = checkup.findings
    splits = found[found["rule"] == "unadjusted split"]
    told = splits.merge(bars, left_on=["symbol", "first"], right_on=["symbol", "date"])
    assert told["near"].mean() > 0.78
    ratio = bars["close"] / bars.groupby("symbol")["close"].shift()
    shown = bars[bars["split"] & ((ratio * bars["factor"] - 1).abs() > 0.25) & ((ratio > 1.4) | (ratio < 1 / 1.4))]
    names = found[found["rule"].isin(["unadjusted split", "jump", "missing spin-off", "symbol collision"])]
    noticed = shown.merge(names, left_on=["symbol", "date"], right_on=["symbol", "first"], how="left")
    assert noticed["rule"].notna().mean() > 0.85


@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "scale", "bars", "rules", "at_least"),
    [
        ("a decimal point for a day", 10.0, 1, {"decimal shift"}, 0.97),
        ("cents for a week", 100.0, 5, {"decimal shift"}, 0.97),
        ("another level for ten days", 0.5, 10, {"symbol collision"}, 0.85),
        ("one bar of another stock", 1.9, 1, {"spike"}, 0.9),
        ("a split of 4:1", 0.25, None, {"unadjusted split"}, 0.95),
        ("a split of 2:1", 0.5, None, {"unadjusted split", "missing spin-off"}, 0.85),
        ("a spin-off of a quarter", 0.75, None, {"missing spin-off"}, 0.7),
    ],
)
def test_faults_put_into_real_data_are_found(shared_data, fault, scale, bars, rules, at_least):
    """60 draws: a name and a day among 496 stocks; a split turns over as many more shares."""
    source = FilesSource(path=_folder(shared_data, A), prices="adjusted", columns={"close": "close"})
    whole = replace(deliver(source), actions=None).bars
    whole = whole[whole["date"] >= "2021-01-01"].sort_values(["symbol", "date"], ignore_index=True)
    rng, dirty, draws = np.random.default_rng(0), whole.copy(), []
    sizes = whole.groupby("symbol").indices
    usual = [symbol for symbol, rows in sizes.items() if len(rows) > 700 and symbol not in ("SW", "FERG", "AMCR")]
    for symbol in rng.choice(usual, 60, replace=False):
        start = sizes[symbol][rng.integers(30, len(sizes[symbol]) - 30)]
        end = start + bars if bars else sizes[symbol][-1] + 1
        dirty.loc[start : end - 1, ["open", "high", "low", "close"]] *= scale
        if fault.startswith("a split"):
            dirty.loc[start : end - 1, "volume"] /= scale
        draws.append((symbol, whole["date"][start]))
    found = examine(Delivery(bars=dirty, name="dirty", adjusted=True)).findings
    hits = found[found["rule"].isin(rules)]
    noticed = [((hits["symbol"] == symbol) & (hits["first"] == day)).any() for symbol, day in draws]
    assert np.mean(noticed) >= at_least, found[found["symbol"].isin([symbol for symbol, _ in draws])].to_string()
