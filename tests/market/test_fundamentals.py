"""What was known of a company's reports, and when: by hand, and against a twin that reads them again each day."""

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from openbook.common.errors import DataError
from openbook.market import calendar
from openbook.market.fundamentals import FACT_COLUMNS, FilingLimits, facts_of, known_items
from openbook.market.sources import FilesSource, fetch

SESSIONS = calendar.sessions("2015-01-02", "2018-12-31").as_unit("us")


def facts(*rows) -> pd.DataFrame:
    """Rows of symbol, item, period_start, period_end, value, filed."""
    table = pd.DataFrame(rows, columns=FACT_COLUMNS)
    days = dict.fromkeys(("period_start", "period_end", "filed"), "datetime64[us]")
    table["period_start"] = pd.to_datetime(table["period_start"])
    return table.astype(days | {"symbol": "str", "item": "str", "value": "float64"})


def said(table: pd.DataFrame, item: str) -> list[tuple]:
    rows = table[table["item"] == item]
    return [(f"{row.available:%Y-%m-%d}", f"{row.period_end:%Y-%m-%d}", row.value) for row in rows.itertuples()]


# Apple's operating cash flow, in millions of USD, as its 10-Qs and its 10-K of fiscal 2015 gave it: since the start of
# the fiscal year, which begins on a Sunday.
CASH = [
    ("AAPL", "cash_flow", "2014-09-28", "2014-12-27", 33_722.0, "2015-01-28"),
    ("AAPL", "cash_flow", "2014-09-28", "2015-03-28", 52_803.0, "2015-04-28"),
    ("AAPL", "cash_flow", "2014-09-28", "2015-06-27", 67_791.0, "2015-07-22"),
    ("AAPL", "cash_flow", "2014-09-28", "2015-09-26", 81_266.0, "2015-10-28"),
    ("AAPL", "cash_flow", "2015-09-27", "2015-12-26", 27_463.0, "2016-01-27"),
]


def test_year_to_date_flows_become_quarters_and_twelve_months():
    table, odd = known_items(facts(*CASH), SESSIONS)
    assert odd.empty
    assert said(table, "cash_flow") == [
        ("2015-01-29", "2014-12-27", 33_722.0),
        ("2015-04-29", "2015-03-28", 19_081.0),
        ("2015-07-23", "2015-06-27", 14_988.0),
        ("2015-10-29", "2015-09-26", 13_475.0),
        ("2016-01-28", "2015-12-26", 27_463.0),
    ]
    assert said(table, "cash_flow_ttm") == [
        ("2015-10-29", "2015-09-26", 81_266.0),
        ("2016-01-28", "2015-12-26", 81_266.0 - 33_722.0 + 27_463.0),
    ]


def test_a_missing_report_leaves_a_hole_and_no_guess():
    table, _ = known_items(facts(CASH[0], CASH[2], CASH[3]), SESSIONS)
    ends = [end for _, end, _ in said(table, "cash_flow")]
    assert ends == ["2014-12-27", "2015-09-26"]  # the third quarter needs the half year
    assert [value for _, _, value in said(table, "cash_flow_ttm")] == [81_266.0]
    table, _ = known_items(facts(CASH[0], CASH[1], CASH[2], CASH[4]), SESSIONS)
    assert said(table, "cash_flow_ttm") == []


def test_a_fourth_quarter_is_the_year_less_its_quarters():
    rows = [
        ("A", "sales", "2015-01-01", "2015-03-31", 10.0, "2015-05-01"),
        ("A", "sales", "2015-04-01", "2015-06-30", 11.0, "2015-08-03"),
        ("A", "sales", "2015-07-01", "2015-09-30", 12.0, "2015-11-02"),
        ("A", "sales", "2015-01-01", "2015-12-31", 47.0, "2016-02-22"),
    ]
    table, _ = known_items(facts(*rows), SESSIONS)
    assert said(table, "sales")[-1] == ("2016-02-23", "2015-12-31", 14.0)
    assert said(table, "sales_ttm") == [("2016-02-23", "2015-12-31", 47.0)]


def test_an_amendment_is_appended_and_a_repeated_figure_is_not():
    again = ("AAPL", "cash_flow", "2014-09-28", "2014-12-27", 33_722.0, "2015-01-29")  # the same filing, a day later
    amended = ("AAPL", "cash_flow", "2014-09-28", "2015-03-28", 52_800.0, "2015-06-01")
    table, _ = known_items(facts(*CASH[:3], again, amended), SESSIONS)
    assert said(table, "cash_flow") == [
        ("2015-01-29", "2014-12-27", 33_722.0),
        ("2015-04-29", "2015-03-28", 19_081.0),
        ("2015-06-02", "2015-03-28", 19_078.0),
        ("2015-07-23", "2015-06-27", 14_991.0),
    ]


def test_an_amended_half_year_after_the_third_quarter_changes_both():
    amended = ("AAPL", "cash_flow", "2014-09-28", "2015-03-28", 52_800.0, "2015-09-01")
    table, _ = known_items(facts(*CASH[:3], amended), SESSIONS)
    assert said(table, "cash_flow")[-2:] == [
        ("2015-09-02", "2015-03-28", 19_078.0),
        ("2015-09-02", "2015-06-27", 14_991.0),
    ]


def test_balances_are_as_filed_and_a_friday_evening_counts_on_monday():
    table, _ = known_items(facts(("A", "assets", None, "2015-03-31", 5.0, "2015-05-01")), SESSIONS)
    assert said(table, "assets") == [("2015-05-04", "2015-03-31", 5.0)]
    assert set(table["item"]) == {"assets"}


def test_impossible_and_late_filings_are_listed():
    rows = [
        ("A", "assets", None, "2015-06-30", 1.0, "2015-05-01"),
        ("B", "assets", None, "2015-01-31", 2.0, "2015-12-01"),
        ("C", "assets", None, "2012-01-31", 3.0, "2015-12-01"),
    ]
    table, odd = known_items(facts(*rows), SESSIONS)
    assert set(table["symbol"]) == {"B"}
    assert odd[["symbol", "reason"]].to_numpy().tolist() == [
        ["A", "filed before its period ended: refused"],
        ["B", "filed more than 200 days after its period: used"],
        ["C", "filed more than 800 days after its period: refused"],
    ]
    table, _ = known_items(facts(*rows), SESSIONS, FilingLimits(stale_after=300))
    assert table.empty


def a_mess(seed: int) -> pd.DataFrame:
    """Three companies over three years: quarters told or not, year to date told or not, amendments, copies."""
    rng = np.random.default_rng(seed)
    rows = []
    for symbol in "ABC":
        first = pd.Timestamp(rng.choice(["2014-01-01", "2014-04-01", "2014-09-28"]))
        for quarter in range(12):
            year = first + pd.DateOffset(months=12 * (quarter // 4))
            begin = first + pd.DateOffset(months=3 * quarter)
            end = (
                first
                + pd.DateOffset(months=3 * quarter + 3)
                - pd.Timedelta(days=1)
                + pd.Timedelta(days=int(rng.integers(-3, 4)))
            )
            for item in ("sales", "cash_flow"):
                for start in {begin, year}:
                    if rng.random() < 0.25:
                        continue
                    filed = end + pd.Timedelta(days=int(rng.integers(20, 90)))
                    value = float(rng.integers(1, 100))
                    rows.append((symbol, item, start, end, value, filed))
                    if rng.random() < 0.3:
                        change = float(rng.integers(0, 2))
                        rows.append(
                            (
                                symbol,
                                item,
                                start,
                                end,
                                value + change,
                                filed + pd.Timedelta(days=int(rng.integers(1, 150))),
                            )
                        )
    table = facts(*rows).drop_duplicates(["symbol", "item", "period_start", "period_end", "filed"], keep="last")
    return table.sample(frac=1.0, random_state=seed, ignore_index=True)


def months(start, end) -> int:
    return round(((end - start).days + 1) / 30.44)


def as_read_that_day(table: pd.DataFrame, day) -> dict:
    """(symbol, item, month of the end) → value, by reading all filings before the day one by one."""
    flows = {}
    for row in table.sort_values("filed", kind="stable").itertuples():
        if row.filed < day:
            n, end = months(row.period_start, row.period_end), (row.period_end - pd.Timedelta(days=14)).to_period("M")
            flows.setdefault((row.symbol, row.item), {})[end, n] = row.value
    out = {}
    for (symbol, item), told in flows.items():
        quarters = {}
        for end in {end for end, _ in told}:
            if (end, 3) in told:
                quarters[end] = told[end, 3]
        for end, n in sorted(told):
            if end not in quarters and n > 3 and (end - 3, n - 3) in told:
                quarters.setdefault(end, told[end, n] - told[end - 3, n - 3])
        for end, n in sorted(told):
            direct = [told.get((end - k, 3)) for k in (3, 6, 9)]
            if end not in quarters and n == 12 and None not in direct:
                quarters[end] = told[end, 12] - sum(direct)
        for end, value in quarters.items():
            out[symbol, item, end] = value
        for end in {*quarters, *(end for end, n in told if n == 12)}:
            four = [quarters.get(end - k) for k in (0, 3, 6, 9)]
            if (end, 12) in told or None not in four:
                out[symbol, item + "_ttm", end] = told[end, 12] if (end, 12) in told else sum(four)
    return out


@pytest.mark.parametrize("seed", range(6))
def test_every_day_is_as_a_reader_of_all_filings_finds_it(seed):
    raw = a_mess(seed)
    table, _ = known_items(raw, SESSIONS)
    for day in SESSIONS[20::37]:
        known = table[table["available"] <= day]
        newest = known.assign(end=(known["period_end"] - pd.Timedelta(days=14)).dt.to_period("M"))
        newest = newest.drop_duplicates(["symbol", "item", "end"], keep="last")
        found = {(row.symbol, row.item, row.end): row.value for row in newest.itertuples()}
        assert found == pytest.approx(as_read_that_day(raw, day))


def test_later_filings_change_no_earlier_line():
    raw = a_mess(9)
    whole, _ = known_items(raw, SESSIONS)
    for day in SESSIONS[100::150]:
        early, _ = known_items(raw[raw["filed"] < day], SESSIONS)
        keep = whole["available"] <= day
        assert_frame_equal(early[early["available"] <= day].reset_index(drop=True), whole[keep].reset_index(drop=True))


def test_nothing_filed_gives_nothing():
    table, odd = known_items(facts(), SESSIONS)
    assert table.empty
    assert odd.empty


def test_reports_with_a_focus_tell_their_periods():
    reports = pd.DataFrame(
        {
            "symbol": ["A", "A"],
            "focus": ["Q2", "FY"],
            "sales": [10.0, 50.0],
            "cash_flow": [9.0, 20.0],
            "assets": [100.0, np.nan],
        }
    )
    reports["period_end"], reports["filed"] = (
        pd.to_datetime(["2015-03-28", "2015-09-26"]),
        pd.to_datetime(["2015-04-28", "2015-10-28"]),
    )
    found = facts_of(reports, ["sales", "cash_flow", "assets"], to_date=("cash_flow",), balances=("assets",))
    start = {(row.item, f"{row.period_end:%m}"): row.period_start for row in found.itertuples()}
    assert start["sales", "03"] == pd.Timestamp("2014-12-28")  # 29 − 1: a month may have no 29th
    assert start["cash_flow", "03"] == pd.Timestamp("2014-09-28")
    assert start["cash_flow", "09"] == pd.Timestamp("2014-09-27")
    assert start["assets", "03"] is pd.NaT
    assert ("assets", "09") not in start
    with pytest.raises(DataError, match="H1"):
        facts_of(reports.assign(focus="H1"), ["sales"])


def test_facts_and_reports_through_the_files_provider(tmp_path):
    days = pd.DataFrame({"date": SESSIONS[:400], "close": 1.0}).assign(symbol="AAPL")
    days.to_parquet(tmp_path / "bars.parquet")
    facts(*CASH).rename(columns={"period_start": "start"}).to_csv(tmp_path / "facts.csv", index=False)
    spec = {"path": str(tmp_path / "facts.csv"), "columns": {"period_start": "start"}}
    bars = {"path": str(tmp_path / "bars.parquet"), "prices": "raw"}
    found = fetch(FilesSource(**bars, fundamentals=spec)).fundamentals
    assert_frame_equal(found, known_items(facts(*CASH), SESSIONS[:400])[0])
    rows = [
        (row[0], row[3], row[5], focus, row[4]) for row, focus in zip(CASH, ("Q1", "Q2", "Q3", "FY", "Q1"), strict=True)
    ]
    pd.DataFrame(rows, columns=["symbol", "end", "seen", "focus", "ocf"]).to_csv(tmp_path / "reports.csv", index=False)
    spec = {"path": str(tmp_path / "reports.csv"), "columns": {"period_end": "end", "filed": "seen", "focus": "focus"}}
    spec |= {"items": {"cash_flow": "ocf"}, "to_date": ["cash_flow"]}
    assert_frame_equal(fetch(FilesSource(**bars, fundamentals=spec)).fundamentals, found)
    with pytest.raises(ValueError, match="focus"):
        FilesSource(**bars, fundamentals=spec | {"columns": {}})
