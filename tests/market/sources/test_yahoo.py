"""Yahoo, as served on this machine.

Shapes as of yfinance 1.7.0: written by hand after the v8/finance/chart answer that it reads, not live answers. Every
request of yfinance goes through its own session hook to a real HTTP server on the loopback.
"""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml

from openbook.common import desk_folder
from openbook.common.errors import DataError, DataNotReady, ParameterError
from openbook.market import calendar
from openbook.market.ingest import admit
from openbook.market.sources import YahooSource, fetch, parse_source, yahoo, yahoo_chart
from openbook.market.sources.rate_limit import Pace, Patience
from openbook.market.store import read_store
from openbook.market.tables import adjust
from support.trained_desk import openbook
from support.vendor_server import CRUMB, YAHOO, Hours, Said, as_yahoo, chart, refusal, routed, vendor

DAYS = [f"{day:%Y-%m-%d}" for day in calendar.sessions("2020-08-06", "2020-09-01")]
INDEX = chart("^GSPC", DAYS, [3300.0 + i for i in range(len(DAYS))])
GONE = refusal("Not Found", "No data found, symbol may be delisted")


@pytest.fixture
def here(monkeypatch):
    """Yahoo on this machine, with its index, on the evening of 2020-09-01."""
    monkeypatch.setenv(calendar.REHEARSAL, "2020-09-01T22:00Z")
    with vendor() as server:
        monkeypatch.setattr(yahoo_chart, "PacedSession", routed(server))
        server.says("/fc.yahoo.com/", b"")
        server.says(CRUMB, b"crumb")
        server.says(YAHOO + "^GSPC", INDEX)
        yield server


@pytest.fixture
def hours() -> Hours:
    return Hours()


@pytest.fixture
def ask(hours):
    """ask(*symbols, settings of the source) fetches at an owned pace."""

    def ask(*symbols, since=None, patience=None, **settings):
        patience = Patience(**({"requests_per_second": 4.0, "retries": 2, "backoff": 1.0} | (patience or {})))
        source = YahooSource(**({"symbols": symbols} if symbols else {}), patience=patience, **settings)
        pace = Pace(patience.requests_per_second, clock=hours.clock, sleep=hours.sleep)
        return yahoo.fetch_yahoo(source, since=since, pace=pace)

    return ask


def plain(symbol: str, days=DAYS, start=50.0) -> dict:
    return chart(symbol, days, [start + 0.25 * i for i in range(len(days))])


def test_bars_and_the_index_of_sound_answers(here, ask):
    here.says(YAHOO + "AAA", plain("AAA"))
    here.says(YAHOO + "BRK-B", plain("BRK-B", start=200.0))
    got = ask("BRK.B", "AAA")
    assert list(got.bars.columns) == ["symbol", "date", "open", "high", "low", "close", "volume"]
    assert got.bars["symbol"].unique().tolist() == ["AAA", "BRK.B"]
    assert not got.adjusted
    assert len(got.actions) == 0
    market, refused = admit(got, through="2020-09-01")
    assert refused.empty
    assert market.close["BRK.B"].iloc[-1] == 200.0 + 0.25 * (len(DAYS) - 1)
    assert market.index.name == "^GSPC"
    assert market.index.iloc[0] == 3300.0


def test_published_apple_closes_before_its_split_of_2020(here, ask):
    """AAPL closed at 455.61, 444.45 and 499.23 and paid 0.82 on 2020-08-07; on 2020-08-31 it split four for one."""
    days = ["2020-08-06", "2020-08-07", "2020-08-28", "2020-08-31"]
    close, volume = [113.9025, 111.112503, 124.807503, 129.039993], [202428800, 198045600, 187151500, 225702700]
    said = chart("AAPL", days, close, volume=volume, splits=[("2020-08-31", 4, 1)], dividends=[("2020-08-07", 0.205)])
    here.says(YAHOO + "AAPL", said)
    got = ask("AAPL")
    assert got.bars["close"].tolist() == [455.61, 444.45, 499.23, 129.04]
    assert got.bars["volume"].tolist() == [50607200, 49511400, 46787875, 225702700]
    assert got.actions[["kind", "value"]].to_numpy().tolist() == [["dividend", 0.82], ["split", 4.0]]


def test_our_adjustment_of_raw_prices_is_yahoos_adjusted_close(here, ask):
    """raw × our own `adjust` has the returns of Adj Close, to 1e-4, through splits both ways and dividends between."""
    rng, n = np.random.default_rng(5), len(DAYS)
    splits, dividends = {4: 3.0, 9: 0.1, 14: 1.5}, {2: 0.91, 9: 0.25, 12: 0.4}
    ratio = np.ones(n)
    for t, by in splits.items():
        ratio[t:] *= by
    close = np.round(120 * np.exp(np.cumsum(rng.normal(0, 0.01, n))) / ratio, 2).tolist()
    volume = rng.integers(100_000, 900_000, n).tolist()
    shown, shares, paid, adjusted = as_yahoo(close, volume, splits, dividends)
    said = chart(
        "AAA",
        DAYS,
        np.float32(shown).tolist(),
        adjusted=np.float32(adjusted).tolist(),
        volume=shares,
        splits=[(DAYS[t], by, 1) for t, by in splits.items()],
        dividends=[(DAYS[t], usd) for t, usd in paid.items()],
    )
    here.says(YAHOO + "AAA", said)
    got = ask("AAA")
    assert got.bars["close"].tolist() == close
    np.testing.assert_allclose(got.bars["volume"], volume, atol=10)  # Yahoo rounds shares after it divides
    wide = got.bars.pivot(index="date", columns="symbol", values="close")
    ours = adjust(wide, got.actions)["AAA"].pct_change().dropna()
    theirs = pd.Series(adjusted).pct_change().dropna()
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert not any("are inconsistent" in note for note in got.notes)


def test_an_adjusted_close_that_its_dividends_do_not_explain_is_told(here, ask):
    close = [50.0] * len(DAYS)
    here.says(YAHOO + "AAA", chart("AAA", DAYS, close, adjusted=[*[49.0] * 5, *close[5:]]))
    here.says(YAHOO + "BBB", plain("BBB"))
    assert any(note.endswith("are inconsistent for AAA.") for note in ask("AAA", "BBB").notes)


def test_prices_lose_the_noise_of_float32_and_nothing_else():
    """Whatever the splits that followed, a price in cents comes back as the same cents, so nothing looks revised."""
    rng = np.random.default_rng(3)
    traded = np.round(np.exp(rng.uniform(np.log(0.01), np.log(5000), 20_000)), 2)
    traded[:5] = [0.0123, 0.9999, 28.0625, 4999.99, -1.0]
    for by in (1.0, 4.0, 20.0, 0.1, 1.5):
        back = yahoo_chart.believed(pd.DataFrame({"close": np.float32(traded / by).astype(float) * by}))
        np.testing.assert_array_equal(back["close"], traded)
    assert np.isnan(yahoo_chart.believed(pd.DataFrame({"close": [np.nan]})).iloc[0, 0])


def test_a_delisted_symbol_is_left_out_and_named(here, ask, hours):
    here.says(YAHOO + "AAA", plain("AAA"))
    here.says(YAHOO + "GONE", Said(GONE, 404))
    got = ask("AAA", "GONE")
    assert got.bars["symbol"].unique().tolist() == ["AAA"]
    assert "No bars of 1 of 2 symbols, not known to Yahoo, or delisted: GONE." in got.notes
    assert max(hours.slept) <= 0.25  # nobody waited for it to come back


def test_n_too_many_requests_are_met_with_patience(here, ask, hours):
    """yfinance itself asks twice; the third time is ours, after the pause that Yahoo asked for."""
    limited = Said(b"Too Many Requests", 429, headers=(("Retry-After", "7"),))
    here.says(YAHOO + "AAA", limited, limited, plain("AAA"))
    here.says(YAHOO + "BBB", plain("BBB"))
    got = ask("AAA", "BBB")
    assert got.bars["symbol"].nunique() == 2
    assert 7.0 in hours.slept
    before = here.asked("chart").index(YAHOO + "BBB")
    assert here.asked("chart")[:before] == [YAHOO + "AAA"] * 3  # nobody else was asked in between


def test_lasting_limits_end_the_fetch(here, ask):
    here.says(YAHOO + "AAA", plain("AAA"))
    here.says(YAHOO + "BBB", Said(b"Too Many Requests", 429))
    with pytest.raises(DataNotReady, match="requests_per_second"):
        ask("AAA", "BBB")


def quoted_as(name: str, theirs: str) -> dict:
    """A sound answer in which one list of numbers has another name."""
    said = plain("BBB")
    quote = said["chart"]["result"][0]["indicators"]["quote"][0]
    quote[theirs] = quote.pop(name)
    return said


@pytest.mark.parametrize(
    "broken",
    [
        Said(b"<html>Will be right back</html>", 503),
        Said(b"<!doctype html><html><body>Sign in</body></html>", headers=(("Content-Type", "text/html"),)),
        Said(b'{"chart": {"result": [{"meta"'),
        Said([]),
        Said({"chart": {"result": [], "error": None}}),
        Said({"chart": {"result": [{"meta": {}, "timestamp": None}], "error": None}}),
        Said(chart("BBB", DAYS, [1.0] * 3)),
        Said(refusal("Unauthorized", "Invalid Crumb"), 401),
        Said(b"", delay=0.6),
        Said(chart("BBB", DAYS, [None] * len(DAYS))),
        Said(quoted_as("close", "price")),
        Said(quoted_as("volume", "shares")),
        Said(chart("AAA", DAYS, [50.0] * len(DAYS))),
        Said(chart("BBB", DAYS, [50.0] * len(DAYS), granularity="1mo")),
    ],
    ids=[
        *(
            "down",
            "html",
            "half",
            "list",
            "empty",
            "shapeless",
            "ragged",
            "crumb",
            "silence",
            "nulls",
            "close",
            "volume",
        ),
        *("other", "monthly"),
    ],
)
def test_a_broken_answer_is_asked_for_again_and_else_left_out_whole(here, ask, broken):
    here.says(YAHOO + "AAA", plain("AAA"))
    here.says(YAHOO + "BBB", broken)
    got = ask("AAA", "BBB", patience={"timeout": 0.3, "retries": 1})
    assert got.bars["symbol"].unique().tolist() == ["AAA"]
    assert any(note.startswith("No bars of 1 of 2 symbols") and "BBB" in note for note in got.notes)
    again = [broken, broken, plain("BBB")]
    here.says(YAHOO + "BBB", *again)
    whole = ask("AAA", "BBB", patience={"timeout": 0.3, "retries": 3})
    assert (whole.bars["symbol"] == "BBB").sum() == len(DAYS)
    assert not any(note.startswith("No bars") for note in whole.notes)


def adjusted_by_itself(history, *args, **kwargs):
    """What yfinance returns by default: adjusted prices under the names of the others, and no Adj Close."""
    return history(*args, **kwargs | {"auto_adjust": True})


def by_symbol(history, *args, **kwargs):
    """Columns in two levels, as `yfinance.download` has them."""
    return pd.concat({"BBB": history(*args, **kwargs)}, axis=1).swaplevel(axis=1)


def renamed(history, *args, **kwargs):
    return history(*args, **kwargs).rename(columns={"Close": "Last"})


def as_text(history, *args, **kwargs):
    return history(*args, **kwargs).astype({"Close": str})


def twice_a_day(history, *args, **kwargs):
    table = history(*args, **kwargs)
    return pd.concat([table, table.iloc[-1:] * 2])


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (adjusted_by_itself, "no column Adj Close from yfinance"),
        (by_symbol, "columns by symbol from yfinance"),
        (renamed, "no column Close from yfinance"),
        (as_text, "a column Close without numbers from yfinance"),
        (twice_a_day, "two rows of 2020-09-01 from yfinance"),
    ],
)
def test_a_yfinance_with_other_columns_gives_no_price(here, ask, monkeypatch, changed, named):
    """Each is the real answer of yfinance, as another version of it would return it."""
    here.says(YAHOO + "BBB", chart("BBB", DAYS, [50.0] * len(DAYS), adjusted=[25.0] * len(DAYS)))
    history = yahoo_chart.PriceHistory.history
    monkeypatch.setattr(yahoo_chart.PriceHistory, "history", lambda *args, **kwargs: changed(history, *args, **kwargs))
    with pytest.raises(DataNotReady, match=rf"for any of 1 symbols \(BBB: {named} "):
        ask("BBB", index=None, patience={"retries": 0})


def test_no_crumb_no_cookie_but_charts(here, ask):
    here.says(CRUMB, Said(b"<html>consent</html>"))
    here.says("/guce.yahoo.com/consent", Said(b"<html>no token here</html>"))
    here.says(YAHOO + "AAA", plain("AAA"))
    assert len(ask("AAA").bars) == len(DAYS)
    here.says(CRUMB, Said(b"Too Many Requests", 429))
    assert len(ask("AAA").bars) == len(DAYS)


def test_a_partial_answer_keeps_its_holes(here, ask):
    close = [50.0 + i for i in range(len(DAYS))]
    holes = [*close[:3], None, *close[4:]]
    opens = [None, *close[1:]]
    here.says(YAHOO + "AAA", chart("AAA", DAYS, holes, open=opens, high=holes, low=holes))
    bars = ask("AAA").bars
    assert DAYS[3] not in bars["date"].dt.strftime("%Y-%m-%d").tolist()
    assert np.isnan(bars["open"].iloc[0])
    assert len(bars) == len(DAYS) - 1


def test_nobody_answers(here, ask):
    here.says(YAHOO + "AAA", Said(b"", 500))
    with pytest.raises(DataNotReady, match="no readable answer from Yahoo for any of 1 symbols"):
        ask("AAA", index=None)
    here.says(YAHOO + "AAA", Said(GONE, 404))
    with pytest.raises(DataError, match="any of the 1 symbols"):
        ask("AAA", index=None)
    here.says(YAHOO + "^GSPC", Said(GONE, 404))
    with pytest.raises(DataNotReady, match="the index"):
        ask("AAA")


def test_a_dead_network_ends_after_the_first_batch(here, ask):
    symbols = [f"S{i}" for i in range(6)]
    for symbol in symbols:
        here.says(YAHOO + symbol, Said(b"", 500))
    with pytest.raises(DataNotReady, match="any of 3 symbols"):
        ask(*symbols, batch_size=3, index=None)
    assert not here.asked("S3")


def test_another_currency_is_left_out(here, ask):
    here.says(YAHOO + "AAA", plain("AAA"))
    here.says(YAHOO + "SHEL.L", chart("SHEL.L", DAYS, [2500.0] * len(DAYS), currency="GBp"))
    got = ask("AAA", "SHEL", yahoo_names={"SHEL": "SHEL.L"})
    assert "No bars of 1 of 2 symbols, not quoted in USD: SHEL." in got.notes


@pytest.mark.parametrize(("now", "last"), [("2020-09-01T20:20Z", "2020-08-31"), ("2020-09-01T20:31Z", "2020-09-01")])
def test_the_bar_that_still_forms_is_dropped(here, ask, monkeypatch, now, last):
    monkeypatch.setenv(calendar.REHEARSAL, now)
    here.says(YAHOO + "AAA", plain("AAA"))
    got = ask("AAA")
    assert f"{got.bars['date'].max():%Y-%m-%d}" == f"{got.index.index[-1]:%Y-%m-%d}" == last
    assert any("2020-09-01 were skipped" in note for note in got.notes) == (last == "2020-08-31")


def test_before_the_close_of_a_split_the_past_is_turned_back_already(here, ask, monkeypatch):
    """On the morning of a split Yahoo divides the past, and its own bar is not final yet."""
    monkeypatch.setenv(calendar.REHEARSAL, "2020-09-01T14:00Z")
    said = chart("AAA", DAYS, [25.0] * len(DAYS), splits=[(DAYS[-1], 4, 1)])
    here.says(YAHOO + "AAA", said)
    got = ask("AAA")
    assert set(got.bars["close"]) == {100.0}
    assert got.actions.empty
    monkeypatch.setenv(calendar.REHEARSAL, "2020-08-06T14:00Z")
    with pytest.raises(DataNotReady, match="bars of a completed session"):
        ask("AAA")


def test_requests_keep_their_distance(here, hours, monkeypatch):
    """Cookies and crumbs too: by the clock that the pace goes by, no two requests are closer than a quarter second."""
    for symbol in ("AAA", "BBB", "CCC"):
        here.says(YAHOO + symbol, plain(symbol))
    moments, request = [], yahoo_chart.requests.Session.request

    def watched(self, *args, **kwargs):
        moments.append(hours.now)
        return request(self, *args, **kwargs)

    monkeypatch.setattr(yahoo_chart.requests.Session, "request", watched)
    source = YahooSource(symbols=("AAA", "BBB", "CCC"))
    yahoo.fetch_yahoo(source, pace=Pace(4.0, clock=hours.clock, sleep=hours.sleep))
    assert len(moments) == len(here.requests) >= 4
    assert (np.diff(moments) >= 0.25 - 1e-9).all()


def test_one_cookie_and_one_crumb_serve_a_whole_fetch_and_no_other(here, ask):
    for symbol in ("AAA", "BBB", "CCC"):
        here.says(YAHOO + symbol, plain(symbol))
    for fetches in (1, 2):
        ask("AAA", "BBB", "CCC")
        assert len(here.asked("fc.yahoo.com")) == len(here.asked("getcrumb")) == fetches
        assert len(here.requests) == 6 * fetches


def test_symbols_do_not_touch_each_other():
    """Many at once are each of them alone: splits, dividends on a day without a bar, an impossible adjusted close."""
    days = pd.DatetimeIndex(DAYS[:6], name="date")
    sound = {"Open": 1.0, "High": 1.0, "Low": 1.0, "Volume": 900.0, "Dividends": 0.0, "Stock Splits": 0.0}
    one = pd.DataFrame({"Close": 10.0, "Adj Close": 10.0, **sound}, index=days)
    two = pd.DataFrame(
        {"Close": [5.0, 5, np.nan, 5, 5, 5], "Adj Close": [4.0, 4, np.nan, 5, 5, 5], **sound}, index=days
    )
    three = one.assign(**{"Capital Gains": 0.0})
    one.loc[days[3], "Stock Splits"], two.loc[days[1], "Stock Splits"] = 2.0, 3.0
    two.loc[days[2], "Dividends"] = 1.0
    three.loc[days[4], ["Capital Gains", "Stock Splits"]] = 0.5
    tables = {"ONE": one, "TWO": two, "THREE": three}
    rows = yahoo_chart.together(tables)
    alone = [yahoo_chart.as_traded(yahoo_chart.together({name: table})) for name, table in tables.items()]
    for got, parts in zip(yahoo_chart.as_traded(rows), zip(*alone, strict=True), strict=True):
        expected = pd.concat(parts).sort_values(["symbol", "date"], ignore_index=True)
        pd.testing.assert_frame_equal(got.sort_values(["symbol", "date"], ignore_index=True), expected)
    assert alone[1][0]["close"].tolist() == [15.0, 5, 5, 5, 5]
    assert yahoo_chart.doubtful(rows) == ["THREE"]  # TWO paid a fifth of its price, and Adj Close says so


def test_since_asks_for_the_last_weeks_only(here, ask, monkeypatch):
    here.says(YAHOO + "AAA", plain("AAA"))
    asked, ask_one = [], yahoo_chart.Chart.ask

    def watched(self, symbol, start):
        asked.append(f"{start}")
        return ask_one(self, symbol, start)

    monkeypatch.setattr(yahoo_chart.Chart, "ask", watched)
    ask("AAA", start=pd.Timestamp("2012-05-01").date())
    ask("AAA", since=pd.Timestamp("2020-08-20").date())
    assert asked == ["2012-05-01"] * 2 + ["2020-08-20"] * 2


def test_a_universe_by_file(here, ask, tmp_path):
    file = tmp_path / "sp500.csv"
    rows = ["AAA,Energy,2001-01-02,", "OLD,Energy,1999-01-04,2005-03-01", "NA,Utilities,2020-08-10,"]
    file.write_text("\n".join(["Symbol,GICS Sector,from,to", *rows, ""]))
    here.says(YAHOO + "AAA", plain("AAA"))
    here.says(YAHOO + "NA", plain("NA"))
    columns = {"symbol": "Symbol", "sector": "GICS Sector", "start": "from", "end": "to"}
    got = ask(universe={"path": str(file), "columns": columns})
    assert got.bars["symbol"].unique().tolist() == ["AAA", "NA"]
    assert got.sectors.to_dict() == {"AAA": "Energy", "NA": "Utilities"}
    assert got.members["symbol"].tolist() == ["AAA", "NA"]
    market, _ = admit(got, through="2020-09-01")
    assert market.members["NA"].sum() == len(DAYS) - 2
    assert not here.asked("OLD")


def test_sectors_by_yahoo_where_there_is_no_file_of_them(here, ask):
    profiles = "/query2.finance.yahoo.com/v10/finance/quoteSummary/"
    told = {"quoteSummary": {"result": [{"assetProfile": {"sector": "Technology"}}], "error": None}}
    for symbol in ("AAA", "BRK-B"):
        here.says(YAHOO + symbol, plain(symbol))
    here.says(profiles + "BRK-B", told)
    here.says(profiles + "AAA", Said(refusal("Unauthorized", "Invalid Crumb"), 401))
    assert ask("AAA", "BRK.B").sectors is None
    assert not here.asked(profiles)
    got = ask("AAA", "BRK.B", ask_sectors=True)
    assert got.sectors.to_dict() == {"BRK.B": "Technology"}
    assert admit(got, through="2020-09-01")[0].sectors["BRK.B"] == "Technology"


def test_settings():
    """How Yahoo is asked is no part of what is asked: a store made with more patience is the same store."""
    plain_ = parse_source({"provider": "yahoo", "symbols": ["AAA"]})
    patient = parse_source({"provider": "yahoo", "symbols": ["AAA"], "patience": {"retries": 9}, "batch_size": 7})
    assert plain_.model_dump(mode="json") == patient.model_dump(mode="json")
    assert patient.patience.retries == 9
    with pytest.raises(ParameterError, match="one of universe and symbols"):
        parse_source({"provider": "yahoo"})
    with pytest.raises(ParameterError, match="auto_adjust is not a setting"):
        parse_source({"provider": "yahoo", "symbols": ["AAA"], "auto_adjust": True})
    assert Patience(retries=4, backoff=2.0).pauses() == [2.0, 4.0, 8.0, 16.0]
    assert fetch  # the table of providers knows it


# ---- through the commands, into a store ----


@pytest.fixture
def live(here, tmp_path, monkeypatch, hours):
    """A folder in which the profile `live` finds its universe; three of its four companies are at Yahoo."""
    monkeypatch.setattr(yahoo, "Pace", lambda per_second: Pace(per_second, clock=hours.clock, sleep=hours.sleep))
    file = tmp_path / "runs" / "universe" / "sp500.csv"
    file.parent.mkdir(parents=True)
    file.write_text("symbol,sector\nAAA,Energy\nBRK.B,Financials\nCCC,Energy\nGONE,Energy\n")
    for name in ("notebooks", "params"):
        shutil.copytree(desk_folder.find_desk() / name, tmp_path / name)
    (tmp_path / desk_folder.FILE).write_text("format: 1\n")
    monkeypatch.chdir(tmp_path)
    for symbol in ("AAA", "BRK-B", "CCC"):
        here.says(YAHOO + symbol, plain(symbol))
    here.says(YAHOO + "GONE", Said(GONE, 404))
    return tmp_path / "runs"


def stored(runs):
    """The market in the only store."""
    (folder,) = (runs / "store").iterdir()
    return read_store(folder)[0]


def update(runs, through: str):
    """What the command answers."""
    return openbook("--runs", runs, "data", "update", "--profile", "live", "--through", through)


def test_data_update_of_the_profile_live(live, here):
    """`openbook data update --profile live --through D`: a holiday in between, then a day more, then nothing new."""
    here.says(YAHOO + "AAA", plain("AAA", DAYS[:-1]))
    first = update(live, DAYS[-2])
    assert first.code == 0, first
    assert first.out.startswith(f"{len(DAYS) - 1} new sessions, 0 late, 0 revised, 0 bars rejected")
    here.says(YAHOO + "AAA", plain("AAA"))
    assert update(live, DAYS[-1]).out.startswith("1 new")
    again = update(live, DAYS[-1])
    assert again.out.startswith("0 new sessions, 0 late, 0 revised")
    market = stored(live)
    assert market.symbols.tolist() == ["AAA", "BRK.B", "CCC"]
    assert market.sectors["BRK.B"] == "Financials"
    assert any("GONE" in note for note in market.notes)


def test_data_update_goes_on_after_a_break_and_says_how_long_it_took(live, here):
    here.says(YAHOO + "CCC", Said(b"Too Many Requests", 429))
    broken = update(live, DAYS[-1])
    assert broken.code == 31
    assert "2 answers are kept for today, and the next call asks only for the rest" in broken.err
    assert (live / ".unfinished").is_dir()
    before = len(here.asked("chart"))
    here.says(YAHOO + "CCC", plain("CCC"))
    again = update(live, DAYS[-1])
    assert re.search(r"bars rejected so far; 5 symbols \(2 kept from an earlier attempt\) in \d+ s\n$", again.out)
    asked = set(here.asked("chart")[before:])
    assert asked == {YAHOO + "CCC", YAHOO + "GONE", YAHOO + "^GSPC"}
    assert not (live / ".unfinished").exists()
    assert re.search(r"; 5 symbols in \d+ s\n$", update(live, DAYS[-1]).out)


def test_data_update_says_what_came_from_a_second_source_and_the_store_keeps_it(live, here):
    """As a profile has it: the paths start at the desk."""
    params = live.parent / "params" / "live" / "daily_run.yaml"
    values = yaml.safe_load(params.read_text())
    columns = {"split": "split", "dividend": "dividend"}
    second = {"provider": "files", "path": "second.csv", "prices": "raw", "columns": columns}
    params.write_text(yaml.safe_dump(values | {"source": values["source"] | {"second_source": second}}))
    numbers = "50,50,50,50,900,1,0"
    rows = [f"GONE,{day},{numbers}" for day in DAYS] + [f"OTHER,{day},{numbers}" for day in DAYS]
    header = "symbol,date,open,high,low,close,volume,split,dividend"
    (live.parent / "second.csv").write_text("\n".join([header, *rows, ""]))
    told = update(live, DAYS[-1])
    note = f"Bars of 1 name, {DAYS[0]} to {DAYS[-1]}, came from the second source files second.csv: GONE."
    assert told.code == 0, told
    assert told.out.splitlines()[1:] == [note]
    assert note in stored(live).notes
    assert stored(live).symbols.tolist() == ["AAA", "BRK.B", "CCC", "GONE"]


def test_a_split_tonight_revises_nothing(live, here):
    """After it Yahoo shows another past; as traded it is the same one."""
    close = [80.0 + 0.12 * i for i in range(len(DAYS))]
    here.says(YAHOO + "AAA", chart("AAA", DAYS[:-1], close[:-1]))
    update(live, DAYS[-2])
    after = np.float32(np.array(close) / 4).tolist()
    here.says(YAHOO + "AAA", chart("AAA", DAYS, after, volume=[4_000_000] * len(DAYS), splits=[(DAYS[-1], 4, 1)]))
    told = update(live, DAYS[-1])
    assert told.out.startswith("1 new sessions, 0 late, 0 revised"), told
    market = stored(live)
    np.testing.assert_allclose(market.adjusted["AAA"].pct_change().iloc[-1], close[-1] / close[-2] - 1, atol=1e-5)


def test_the_daily_run_fetches_by_itself(live, here):
    answer = openbook("--runs", live, "run", "daily_run", "--profile", "live", "--date", DAYS[-1])
    assert answer.code == 60, answer  # there is no book yet; the prices are there
    assert stored(live).dates[-1] == pd.Timestamp(DAYS[-1])


def test_a_day_that_is_not_over_is_not_fetched(live, here, monkeypatch):
    monkeypatch.setenv(calendar.REHEARSAL, "2020-09-01T20:20Z")
    answer = update(live, DAYS[-1])
    assert answer.code == 31
    assert not here.requests


def test_without_its_universe_the_profile_live_says_what_is_missing(live):
    (live / "universe" / "sp500.csv").unlink()
    answer = update(live, DAYS[-1])
    assert answer.code == 30
    assert "runs/universe/sp500.csv" in answer.err
