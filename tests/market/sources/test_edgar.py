"""The SEC's company facts, as served on this machine.

Shapes after www.sec.gov/search-filings/edgar-application-programming-interfaces: written by hand, not live answers. The
requests are real and go to a real HTTP server on the loopback; only the addresses differ from the defaults.
"""

import numpy as np
import pandas as pd
import pytest

from openbook.common.errors import DataError, DataNotReady, ParameterError
from openbook.market import calendar
from openbook.market.fundamentals import known_items
from openbook.market.sources import EdgarTable, YahooSource, edgar, fetch, parse_source, yahoo, yahoo_chart
from openbook.market.sources.edgar_facts import ITEMS, RAW_COLUMNS
from openbook.market.sources.rate_limit import Pace, Patience
from openbook.market.sources.simulated_filings import ITEMS as SIMULATED
from support.vendor_server import CRUMB, YAHOO, Hours, Said, chart, entry, facts, routed, vendor

WHO = "Jane Doe jane@example.com"
LIST = {
    "0": {"cik_str": 1, "ticker": "AAA", "title": "First Corp."},
    "1": {"cik_str": 2, "ticker": "BRK-B", "title": "Second Corp."},
    "2": {"cik_str": 2, "ticker": "BRK-A", "title": "Second Corp."},
    "3": {"cik_str": 3, "ticker": "TWO", "title": "Old Corp."},
    "4": {"cik_str": 4, "ticker": "TWO", "title": "New Corp."},
}


def place(cik: int) -> str:
    return f"/api/xbrl/companyfacts/CIK{cik:010d}.json"


@pytest.fixture
def sec():
    with vendor() as server:
        server.says("/files/company_tickers.json", Said(LIST, compressed=True))
        yield server


@pytest.fixture
def hours() -> Hours:
    return Hours()


@pytest.fixture
def ask(sec, hours):
    """ask(*symbols, settings) fetches what was filed, at an owned pace."""

    def ask(*symbols, patience=None, **settings) -> edgar.Filings:
        patience = Patience(**({"requests_per_second": 8.0, "retries": 2, "backoff": 1.0} | (patience or {})))
        addresses = {"files_url": sec.url, "facts_url": sec.url}
        table = EdgarTable(**({"user_agent": WHO} | addresses | settings), patience=patience)
        pace = Pace(patience.requests_per_second, clock=hours.clock, sleep=hours.sleep)
        return edgar.fetch_filings(table, list(symbols), pace=pace)

    return ask


def test_the_raw_table_keeps_what_was_filed_and_when(sec, ask):
    """A first report, its amendment, and the comparative of a year later: three rows, nothing replaced."""
    q1 = {"start": "2020-01-01", "end": "2020-03-31"}
    told = [
        entry(100, filed="2020-05-01", accn="0000000001-20-000001", **q1),
        entry(90, filed="2020-06-15", accn="0000000001-20-000007", form="10-Q/A", **q1),
        entry(90, filed="2021-04-30", accn="0000000001-21-000003", **q1),
        entry(210, filed="2020-08-01", accn="0000000001-20-000011", start="2020-01-01", end="2020-06-30"),
    ]
    sec.says(place(1), Said(facts(1, Revenues=("USD", told)), compressed=True))
    got = ask("AAA").table
    assert list(got.columns) == RAW_COLUMNS
    assert got["value"].tolist() == [100.0, 90.0, 210.0, 90.0]
    assert got["form"].tolist() == ["10-Q", "10-Q/A", "10-Q", "10-Q"]
    assert got["filed"].is_monotonic_increasing
    assert set(got["item"]) == {"sales"}
    assert got["period_start"].eq("2020-01-01").all()  # quarters and year-to-date can be told apart
    assert got.dtypes.astype(str).to_dict() == {
        "symbol": "str",
        "item": "str",
        "period_start": "datetime64[us]",
        "period_end": "datetime64[us]",
        "value": "float64",
        "filed": "datetime64[us]",
        "form": "str",
        "accession": "str",
    }


def test_balances_have_no_start_and_shares_come_from_the_cover_page(sec, ask):
    sec.says(
        place(1),
        facts(
            1,
            Assets=("USD", [entry(5e9, "2020-03-31", "2020-05-01")]),
            EntityCommonStockSharesOutstanding=("shares", [entry(1e8, "2020-04-20", "2020-05-01")]),
        ),
    )
    got = ask("AAA").table.set_index("item")
    assert got.loc["assets", "value"] == 5e9
    assert got.loc["shares_outstanding", "value"] == 1e8
    assert got["period_start"].isna().all()


def test_tags_are_preferred_in_order_within_a_filing_and_follow_a_company_that_changes_them(sec, ask):
    old, new = {"start": "2016-01-01", "end": "2016-12-31"}, {"start": "2019-01-01", "end": "2019-12-31"}
    sec.says(
        place(1),
        facts(
            1,
            SalesRevenueNet=("USD", [entry(70, filed="2017-02-20", accn="a", **old)]),
            RevenueFromContractWithCustomerExcludingAssessedTax=(
                "USD",
                [entry(95, filed="2020-02-20", accn="b", **new)],
            ),
            Revenues=("USD", [entry(99, filed="2020-02-20", accn="b", **new)]),
        ),
    )
    assert ask("AAA").table["value"].tolist() == [70.0, 99.0]


def test_other_units_and_nonsense_are_no_facts(sec, ask):
    sound = entry(1.25, "2020-03-31", "2020-05-01", start="2020-01-01")
    sec.says(
        place(1),
        facts(
            1,
            EarningsPerShareDiluted={"USD/shares": [sound], "pure": [sound | {"val": 9}]},
            NetIncomeLoss={"EUR": [entry(7, "2020-03-31", "2020-05-01", start="2020-01-01")]},
            Assets=(
                "USD",
                [
                    entry(None, "2020-03-31", "2020-05-01"),
                    entry("many", "2020-03-31", "2020-05-01"),
                    entry(1, "2020-03-31", "2020-02-01"),  # filed before the quarter ended
                    entry(1, "2020-13-31", "2020-05-01"),
                    entry(1, "2020-03-31", ""),
                    "not an entry",
                ],
            ),
            Liabilities=("USD", [entry(1, "2020-03-31", "2020-05-01", start="once")]),
            GrossProfit=("USD", [entry(1, "2020-03-31", "2020-05-01", start="2020-04-30")]),
            Goodwill=("USD", [entry(1, "2020-03-31", "2020-05-01")]),
        ),
    )
    got = ask("AAA")
    assert got.table[["item", "value"]].to_numpy().tolist() == [["eps_diluted", 1.25]]


def test_who_reports_nothing_is_named(sec, ask):
    sec.says(place(2), facts(2, Assets=("USD", [entry(1, "2020-03-31", "2020-05-01")])))
    sec.says(place(1), {"cik": 1, "entityName": "First Corp.", "facts": {}})
    got = ask("AAA", "BRK.B", "BRK.A", "TWO", "NIL")
    assert got.table["symbol"].tolist() == ["BRK.A", "BRK.B"]
    assert sec.asked("companyfacts") == [place(1), place(2)]  # two share classes, one question
    assert any("no CIK found: NIL." in note for note in got.notes)
    assert any("several CIKs" in note and note.endswith("TWO.") for note in got.notes)
    assert any("no facts are on file: AAA." in note for note in got.notes)


def test_a_company_that_changed_its_number(sec, ask, tmp_path):
    """By a file of ours, a symbol may have had two CIKs; both histories are its own, and nobody asks for the list."""
    (tmp_path / "ciks.csv").write_text("symbol,cik\nTWO,3\nTWO,4\n")
    sec.says(place(3), facts(3, Assets=("USD", [entry(1, "2015-03-31", "2015-05-01")])))
    sec.says(place(4), facts(4, Assets=("USD", [entry(2, "2020-03-31", "2020-05-01")])))
    got = ask("TWO", ciks={"path": str(tmp_path / "ciks.csv")})
    assert got.table["value"].tolist() == [1.0, 2.0]
    assert not sec.asked("tickers")
    (tmp_path / "ciks.csv").write_text("symbol,cik\nTWO,-3\n")
    with pytest.raises(DataError, match="the cik of TWO"):
        ask("TWO", ciks={"path": str(tmp_path / "ciks.csv")})


@pytest.mark.parametrize("who", ["", "  ", "Jane Doe", "jane@example", "Jane jane@example.com\r\nX-Evil: 1"])
def test_nobody_asks_without_saying_who(sec, ask, monkeypatch, who):
    monkeypatch.delenv(edgar.USER_AGENT, raising=False)
    with pytest.raises(ParameterError, match=edgar.USER_AGENT):
        ask("AAA", user_agent=who)
    with pytest.raises(ParameterError, match=edgar.USER_AGENT):
        ask("AAA", user_agent=None)
    assert not sec.requests


def test_who_asks_is_told_and_comes_from_the_environment(sec, ask, monkeypatch):
    monkeypatch.setenv(edgar.USER_AGENT, WHO)
    sec.says(place(1), facts(1))
    ask("AAA", user_agent=None)
    for _, headers in sec.requests:
        assert headers["User-Agent"] == WHO
        assert headers["Accept-Encoding"] == "gzip"


@pytest.mark.parametrize("status", [403, 429, 503])
def test_refusals_are_met_with_patience(sec, ask, hours, status):
    sound = facts(1, Assets=("USD", [entry(1, "2020-03-31", "2020-05-01")]))
    sec.says(place(1), Said(b"", status, headers=(("Retry-After", "9"),)), Said(b"", status), sound)
    assert len(ask("AAA").table) == 1
    assert [pause for pause in hours.slept if pause >= 1] == [9.0, 2.0]
    sec.says(place(1), Said(b"", status))
    with pytest.raises(DataNotReady, match=f"answers {status}.*3 times"):
        ask("AAA")


@pytest.mark.parametrize(
    "broken",
    [Said(b"{"), Said([]), Said(b"\x1f\x8b", headers=(("Content-Encoding", "gzip"),)), Said(b"{}", delay=0.5)],
    ids=["half", "list", "half gzip", "silence"],
)
def test_broken_answers_are_asked_for_again(sec, ask, broken):
    sound = facts(1, Assets=("USD", [entry(1, "2020-03-31", "2020-05-01")]))
    sec.says(place(1), broken, sound)
    assert len(ask("AAA", patience={"timeout": 0.2}).table) == 1


def test_a_wrong_address_is_not_asked_twice(sec, ask):
    sec.says(place(1), Said(b"", 400))
    with pytest.raises(DataError, match="answers 400"):
        ask("AAA")
    sec.says("/files/company_tickers.json", Said({"0": {"name": "no ticker"}}))
    with pytest.raises(DataError, match="is not a list of tickers"):
        ask("AAA")
    assert len(sec.asked("companyfacts")) == 1


def test_at_most_eight_requests_a_second(sec, ask, hours, tmp_path):
    """By the clock that the pace goes by: what the server sees is never closer than an eighth of a second."""
    rows = [f"S{i},{i}" for i in range(1, 41)]
    (tmp_path / "ciks.csv").write_text("\n".join(["symbol,cik", *rows, ""]))
    moments = []
    for i in range(1, 41):
        sec.says(place(i), facts(i))
    take = sec.take
    sec.take = lambda path: (moments.append(hours.now), take(path))[1]
    ask(*[f"S{i}" for i in range(1, 41)], ciks={"path": str(tmp_path / "ciks.csv")})
    assert len(moments) == 40
    assert np.diff(moments).min() >= 1 / 8 - 1e-9
    with pytest.raises(ValueError, match="less than or equal to 10"):
        Patience(requests_per_second=11)


def test_quarters_are_usable_from_the_session_after_they_were_filed(sec, ask):
    q1, half = {"start": "2020-01-01", "end": "2020-03-31"}, {"start": "2020-01-01", "end": "2020-06-30"}
    told = [
        entry(100, filed="2020-05-01", **q1),  # a Friday
        entry(90, filed="2020-06-15", form="10-Q/A", accn="b", **q1),
        entry(210, filed="2020-08-03", accn="c", **half),
    ]
    assets = [entry(7, "2020-03-31", "2020-05-01"), entry(8, "2020-06-30", "2020-08-03", accn="c")]
    sec.says(place(1), facts(1, Revenues=("USD", told), Assets=("USD", assets)))
    got, _ = known_items(ask("AAA").table, calendar.sessions("2020-01-02", "2020-08-03"))
    assert got.columns.tolist() == ["symbol", "available", "period_end", "item", "value"]
    assert got["available"].dt.strftime("%Y-%m-%d").tolist() == ["2020-05-04", "2020-05-04", "2020-06-16"]
    assert got[["item", "value"]].to_numpy().tolist() == [["assets", 7.0], ["sales", 100.0], ["sales", 90.0]]


def test_beside_yahoos_bars(sec, hours, monkeypatch):
    days = [f"{day:%Y-%m-%d}" for day in calendar.sessions("2020-04-27", "2020-05-08")]
    monkeypatch.setenv(calendar.REHEARSAL, "2020-05-08T22:00Z")
    monkeypatch.setattr(yahoo_chart, "PacedSession", routed(sec))
    sec.says(CRUMB, b"crumb")
    sec.says(YAHOO + "AAA", chart("AAA", days, [10.0] * len(days)))
    sec.says(place(1), facts(1, Assets=("USD", [entry(5, "2020-03-31", "2020-05-01")])))
    table = EdgarTable(user_agent=WHO, files_url=sec.url, facts_url=sec.url)
    source = YahooSource(symbols=("AAA",), index=None, fundamentals=table)
    got = yahoo.fetch_yahoo(source, pace=Pace(4.0, clock=hours.clock, sleep=hours.sleep))
    assert got.fundamentals[["item", "value"]].to_numpy().tolist() == [["assets", 5.0]]
    assert got.fundamentals["available"].tolist() == [pd.Timestamp("2020-05-04")]


def test_a_report_counts_from_its_own_day_whatever_the_bars_begin_with(sec, hours):
    """Of an update of the last weeks too: a filing of 2015 is not one of the first session that was sent."""
    old, new = entry(1, "2015-03-31", "2015-05-01"), entry(2, "2020-03-31", "2020-05-01", accn="b")
    sec.says(place(1), facts(1, Assets=("USD", [old, new])))
    bars = pd.DataFrame({"symbol": "AAA", "date": calendar.sessions("2020-04-27", "2020-05-08")})
    table = EdgarTable(user_agent=WHO, files_url=sec.url, facts_url=sec.url)
    got, _ = edgar.fetch_reports(table, bars, pace=Pace(8.0, clock=hours.clock, sleep=hours.sleep))
    assert got["available"].dt.strftime("%Y-%m-%d").tolist() == ["2015-05-04", "2020-05-04"]
    sec.says(place(1), Said(b"", 404))
    nothing, notes = edgar.fetch_reports(table, bars, pace=Pace(8.0, clock=hours.clock, sleep=hours.sleep))
    assert nothing.empty
    assert nothing.columns.tolist() == got.columns.tolist()
    assert notes == ("No reports of 1 of 1 symbols, as no facts are on file: AAA.",)


def test_beside_a_vendors_files(sec, tmp_path, monkeypatch):
    monkeypatch.setenv(edgar.USER_AGENT, WHO)
    sec.says(place(1), facts(1, Assets=("USD", [entry(5, "2020-03-31", "2020-05-01")])))
    days = calendar.sessions("2020-04-27", "2020-05-08")
    pd.DataFrame({"symbol": "AAA", "date": days, "close": 10.0}).to_csv(tmp_path / "bars.csv", index=False)
    reports = {"provider": "edgar", "files_url": sec.url, "facts_url": sec.url}
    values = {"provider": "files", "path": str(tmp_path / "bars.csv"), "prices": "adjusted", "fundamentals": reports}
    got = fetch(parse_source(values))
    assert got.fundamentals["value"].tolist() == [5.0]
    assert got.fundamentals["available"].tolist() == [pd.Timestamp("2020-05-04")]


def test_settings():
    values = {"provider": "yahoo", "symbols": ["AAA"], "fundamentals": {"provider": "edgar", "user_agent": WHO}}
    source = parse_source(values)
    assert WHO not in source.model_dump_json()  # who asks is no part of what is asked, and travels nowhere
    assert source.fundamentals.patience.requests_per_second == 8.0
    values["fundamentals"]["items"] = ["ebitda"]
    with pytest.raises(ParameterError, match="unknown item 'ebitda'"):
        parse_source(values)
    assert all(unit in ("USD", "shares", "USD/shares") for unit, _ in ITEMS.values())


def test_the_features_know_the_items_by_name():
    """What a company reports is called here as in the simulated market, which all features of reports were made for."""
    assert set(SIMULATED) <= set(ITEMS)
