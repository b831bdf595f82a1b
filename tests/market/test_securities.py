"""Who a ticker was: by hand, against a loop, and on the index of a day of 2014."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from openbook.common.errors import DataError
from openbook.market import calendar
from openbook.market.ingest import admit
from openbook.market.securities import (
    CAP_BUCKETS,
    CAP_COVERAGE,
    cap_buckets,
    resolve,
    resolve_spells,
    symbols_of,
)
from openbook.market.sources import FilesSource, fetch
from support.real_histories import all_members

# Life Technologies was bought in February 2014; aTyr Pharma took the ticker in May 2015. Google became Alphabet and
# GOOG a share class; Facebook became Meta Platforms in June 2022.
MASTER = [
    ("life-technologies", "LIFE", "2008-11-24", "2014-02-04"),
    ("atyr", "LIFE", "2015-05-07", None),
    ("meta", "FB", "2012-05-18", "2022-06-09"),
    ("meta", "META", "2022-06-09", None),
    ("roundhill-metaverse", "META", "2021-06-30", "2022-01-31"),
]


def days(values) -> pd.Series:
    return pd.to_datetime(pd.Series(values, dtype="object")).astype("datetime64[us]")


def master(rows=MASTER) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["id", "ticker", "start", "end"])
    return table.assign(start=days(table["start"]), end=days(table["end"]))


def dated(*rows) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["symbol", "date"])
    return table.assign(date=days(table["date"])).astype({"symbol": "str"})


def test_the_current_owner_keeps_the_ticker():
    assert symbols_of(master()).to_dict() == {
        "life-technologies": "LIFE@2014",
        "atyr": "LIFE",
        "meta": "META",
        "roundhill-metaverse": "META@2022",
    }


def test_two_that_gave_a_ticker_up_in_one_year_are_told_apart_by_the_day():
    rows = [("a", "X", None, "2014-02-01"), ("b", "X", "2014-03-01", "2014-11-03"), ("c", "X", "2015-01-02", None)]
    assert symbols_of(master(rows)).to_dict() == {"a": "X@2014-02-01", "b": "X@2014-11-03", "c": "X"}


def test_rows_get_the_symbol_of_the_company_of_their_day():
    rows = dated(
        ("LIFE", "2014-02-03"), ("LIFE", "2014-02-04"), ("LIFE", "2015-05-06"), ("LIFE", "2015-05-07"),
        ("FB", "2013-01-02"), ("META", "2021-07-01"), ("META", "2022-06-09"), ("FB", "2022-06-09"), ("A", "2014-01-02"),
    )  # fmt: skip
    table, nobodys = resolve(rows.assign(close=np.arange(9.0)), master())
    assert table["symbol"].tolist() == ["LIFE@2014", "LIFE", "META", "META@2022", "META", "A"]
    assert table["close"].tolist() == [0.0, 3, 4, 5, 6, 8]
    assert nobodys["close"].tolist() == [1.0, 2, 7]


@pytest.mark.parametrize("seed", range(4))
def test_resolve_equals_a_slow_twin(seed):
    rng = np.random.default_rng(seed)
    sessions = calendar.sessions("2012-01-03", "2024-01-02")
    rows = dated(*[(rng.choice(["LIFE", "FB", "META", "A"]), rng.choice(sessions)) for _ in range(300)])
    table, nobodys = resolve(rows, master())
    names, expected, lost = symbols_of(master()), [], 0
    for row in rows.itertuples():
        own = [
            m.id
            for m in master().itertuples()
            if m.ticker == row.symbol and m.start <= row.date and not m.end <= row.date
        ]
        if own or row.symbol == "A":
            expected.append(names[own[0]] if own else row.symbol)
        lost += not (own or row.symbol == "A")
    assert table["symbol"].tolist() == expected
    assert len(nobodys) == lost


def test_membership_is_cut_where_a_ticker_changed_hands():
    spells = pd.DataFrame(
        {"symbol": ["LIFE", "FB", "A", "META"], "start": days(["2008-11-24", "2013-12-23", None, "2022-01-01"])}
    )
    spells["end"] = days(["2014-01-24", None, None, None])
    found = resolve_spells(spells, master()).set_index("symbol")
    assert found.loc["LIFE@2014", "end"] == pd.Timestamp("2014-01-24")
    assert found.loc["META@2022"].tolist() == [pd.Timestamp("2022-01-01"), pd.Timestamp("2022-01-31")]
    assert found.loc["META", "start"].tolist() == [pd.Timestamp("2013-12-23"), pd.Timestamp("2022-06-09")]
    assert found.loc["META", "end"].isna().tolist() == [False, True]
    assert found.loc["A"].isna().all()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", "X", "2015-01-02", "2014-01-02")], "before its start"),
        ([("a", "X", None, None), ("b", "X", "2015-01-02", None)], "X has two owners"),
        ([("a", "X", None, None), ("a", "Y", "2015-01-02", None)], "a has two tickers"),
    ],
)
def test_a_master_that_contradicts_itself_is_refused(rows, message):
    with pytest.raises(DataError, match=message):
        symbols_of(master(rows))


def test_a_ticker_written_like_an_earlier_owner_is_refused():
    with pytest.raises(DataError, match="LIFE@2014"):
        resolve(dated(("LIFE@2014", "2014-01-02"), ("LIFE", "2014-01-02")), master())


def test_cap_buckets_by_hand_and_causal():
    cap = pd.DataFrame({"A": [250e9, 199e9], "B": [10e9, 9.99e9], "C": [np.nan, 2e9], "D": [250e6, 249e6]})
    names = cap_buckets(cap).map(lambda code: CAP_BUCKETS[code] if code >= 0 else "")
    assert names.to_numpy().tolist() == [["mega", "large", "", "small"], ["large", "mid", "mid", "micro"]]
    members = pd.DataFrame(True, index=cap.index, columns=cap.columns).assign(A=False)
    assert (cap_buckets(cap, members)["A"] == -1).all()
    assert_frame_equal(
        cap_buckets(cap, members, by="coverage").iloc[:1], cap_buckets(cap[:1], members[:1], by="coverage")
    )


@pytest.mark.parametrize("seed", range(3))
def test_buckets_by_coverage_equal_a_slow_twin(seed):
    rng = np.random.default_rng(seed)
    cap = pd.DataFrame(np.round(np.exp(rng.normal(2, 1.5, (20, 40)))).clip(1) * 1e9)
    cap = cap.mask(rng.random(cap.shape) < 0.2)
    found = cap_buckets(cap, by="coverage")
    for day, row in cap.iterrows():
        for symbol, value in row.items():
            share = row[row > value].sum() / row.sum()
            wanted = -1 if np.isnan(value) else sum(share >= limit for limit in CAP_COVERAGE)
            assert found.loc[day, symbol] == wanted


# --- real data --------------------------------------------------------------------------------------------------------


# Names in the membership file that the bars know by another one: class shares, and tickers changed after the bars end.
RENAME = {
    "BF.B": "BF_B", "BRK.B": "BRK_B", "BKNG": "PCLN", "BTUUQ": "BTU", "CBRE": "CBG", "JEF": "LUK", "KDP": "DPS",
    "WELL": "HCN", "WYND": "WYN",
}  # fmt: skip


def test_a_backtest_of_2014_holds_the_companies_of_2014(shared_data):
    settings = all_members(shared_data)
    settings["members"] = settings["members"] | {"rename": RENAME | {"LIFE": "LIFE@2014"}, "tickers": "latest"}
    settings["securities"] = {"path": str(Path(__file__).with_name("sp500_tickers.csv"))}
    delivery = fetch(FilesSource(**settings))
    assert any("the ticker was unassigned then" in note for note in delivery.notes)
    market, _ = admit(delivery)
    day = pd.Timestamp("2014-06-30")
    spells = delivery.members
    listed = spells.loc[(spells["start"] <= day) & ~(spells["end"] <= day), "symbol"]
    members = market.symbols[market.members.loc[day]]
    with_bar = members[market.close.loc[day, members].notna()]
    assert len(listed) == 498
    # Holes of the vendor: their bars begin or end elsewhere.
    assert set(listed) - set(with_bar) == {"A", "ARNC", "BF_B", "COP", "UAA"}
    last = market.close[with_bar].apply(pd.Series.last_valid_index)
    assert (last < pd.Timestamp("2018-01-01")).sum() == 81  # taken over, merged, failed, or out of the index
    assert {"ARG", "BRCM", "COV", "DTV", "FDO"} <= set(last[last < pd.Timestamp("2018-01-01")].index)
    # One history for a company that changed its ticker, and nothing of it under the old one.
    assert (
        market.close["SPGI"].first_valid_index()
        < day
        < pd.Timestamp("2018-01-01")
        < market.close["SPGI"].last_valid_index()
    )
    assert not {"MHFI", "WAG", "WLP", "TSO"} & set(market.symbols)
