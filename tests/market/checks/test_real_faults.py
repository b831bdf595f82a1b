"""The faults of the data once more, where real vendors made them: dirty rows of three sets, night by night."""

from dataclasses import replace

import pandas as pd
import pytest

from openbook.common.errors import DataError, DataNotReady
from openbook.market.checks.session import admit, check_session
from openbook.market.store.revisions import find_revisions
from openbook.market.tables import Delivery, empty_actions

FIELDS = ["symbol", "date", "open", "high", "low", "close", "volume"]
TODAY = "2018-06-01"
US, INDEX = "us_2015_2017_point_in_time", "sp500_all_members_2013_2018"


@pytest.fixture(scope="module")
def us(shared_data) -> pd.DataFrame:
    """Raw bars of 7,072 symbols, as the vendor sent them; nobody recorded a split."""
    return _bars(shared_data, US)


@pytest.fixture(scope="module")
def index(shared_data) -> pd.DataFrame:
    """Adjusted bars of the members of an index, those that ended too."""
    return _bars(shared_data, INDEX)


def _bars(shared_data, name: str) -> pd.DataFrame:
    file = shared_data / name / "ohlcv.parquet"
    if not file.is_file():
        pytest.skip(f"no {name} in the real data")
    return pd.read_parquet(file, columns=FIELDS).astype({"symbol": "str"})


@pytest.fixture(scope="module")
def large(us, index) -> pd.DataFrame:
    """Raw bars of the index members alone: few of them split on one night."""
    return us[us["symbol"].isin(index["symbol"].unique())]


def until(bars: pd.DataFrame, date, *actions: tuple, adjusted: bool = False) -> Delivery:
    """What a desk would have had on the evening of a date: the last four months."""
    day = pd.Timestamp(date)
    rows = bars[(bars["date"] > day - pd.Timedelta(days=120)) & (bars["date"] <= day)]
    table = pd.DataFrame(list(actions), columns=empty_actions().columns)
    table = table.assign(date=pd.to_datetime(table["date"])).astype(dict(empty_actions().dtypes))
    return Delivery(bars=rows, name="real", adjusted=adjusted, actions=table if actions else None)


def evening(delivery: Delivery, date, *held: str):
    market, refused = admit(delivery, today=TODAY)
    return check_session(market, date, held=held, refused=refused)


def stops(delivery: Delivery, date, *held: str) -> str:
    """The sentence with which that evening ends, exit code 30."""
    with pytest.raises(DataError) as caught:
        evening(delivery, date, *held)
    assert caught.value.exit_code == 30
    return str(caught.value)


def left_out(checked) -> dict[str, str]:
    return dict(zip(checked.left_out["symbol"], checked.left_out["rule"], strict=True))


def test_d01_d03_bars_that_the_vendor_lost_on_one_evening(us):
    """On 2016-09-02 bars of 256 names are missing; 95.4% are there."""
    sent = until(us, "2016-09-02")
    checked = evening(sent, "2016-09-02", "MSFT")
    missing = checked.left_out[checked.left_out["rule"] == "missing"]["symbol"]
    assert 0.95 < checked.coverage < 0.96
    assert len(missing) == 256
    held = evening(sent, "2016-09-02", "MSFT", missing.iloc[0])
    assert (left_out(held)[missing.iloc[0]], missing.iloc[0] in held.tradable) == ("missing", False)


def test_d02_a_delivery_that_lacks_a_sixth_of_the_market(us):
    assert "coverage 82% < 95%: 1064 of 6044 active names have no bar" in stops(until(us, "2016-09-01"), "2016-09-01")


def test_d02_a_little_too_few_is_not_told_as_enough(us):
    assert "coverage 94% < 95%" in stops(until(us, "2016-09-07"), "2016-09-07")


def test_d04_d05_decimal_points_that_moved_on_one_evening(us):
    """2015-09-04: SHAK, HIFR, SPNE and TCON at a tenth; ABIO really split."""
    told = stops(until(us, "2015-09-04"), "2015-09-04")
    for symbol in ("SHAK", "HIFR", "SPNE", "TCON"):
        assert f"{symbol}: close 0.09" in told or f"{symbol}: close 0.10" in told
    after = until(us[us["symbol"] != "BUSE"], "2015-09-08")  # BUSE split on that day
    assert {left_out(evening(after, "2015-09-08"))[name] for name in ("SHAK", "HIFR", "TCON")} == {"spike"}


def test_d04_a_price_in_another_currency_is_refused_at_the_door(us):
    """SAB is a Johannesburg line at 200,000; on 2016-12-27 one bar of 14.53 came between."""
    sent = until(us, "2016-12-27")
    assert left_out(evening(sent, "2016-12-27"))["SAB"] == "level"
    assert "held SAB: its bar was rejected on arrival (level: close 14.53)" in stops(sent, "2016-12-27", "SAB")


@pytest.mark.parametrize(
    ("date", "symbol", "told", "ratio"),
    [
        ("2015-06-18", "CF", "suspected split 5:1", 5.0),
        ("2016-11-04", "ICE", "suspected split 5:1", 5.0),
    ],
)
def test_d05_d06_a_real_split_stops_until_it_is_recorded(large, date, symbol, told, ratio):
    assert f"{symbol}: close" in stops(until(large, date), date)
    assert told in stops(until(large, date), date, symbol)
    recorded = until(large, date, (date, symbol, "split", ratio))
    assert symbol in evening(recorded, date, symbol).tradable
    market, _ = admit(recorded, today=TODAY)
    assert abs(market.adjusted[symbol].pct_change().iloc[-1]) < 0.03


def test_d05_a_real_two_for_one_stops_its_holder_alone(large):
    sent = until(large, "2016-09-02")
    assert left_out(evening(sent, "2016-09-02", "MSFT"))["CHD"] == "small split"
    assert "held CHD: close 0.501" in stops(sent, "2016-09-02", "CHD")


def test_d05_another_instrument_under_a_symbol_looks_like_a_split(large):
    """NEE carried the prices of a note for seven months; MS those of a preferred for two days."""
    assert "NEE: close 0.203" in stops(until(large, "2016-06-09"), "2016-06-09")
    first = evening(until(large, "2017-02-14"), "2017-02-14", "AAPL")
    assert left_out(first)["MS"] == "jump"
    assert left_out(evening(until(large, "2017-02-16"), "2017-02-16", "AAPL"))["MS"] == "spike"


def test_d07_prices_of_zero(us):
    sent = until(us, "2015-04-08")
    assert left_out(evening(sent, "2015-04-08"))["CUI"] == "price"
    assert "held CUI: its bar was rejected on arrival (price: open 0" in stops(sent, "2015-04-08", "CUI")


def test_d08_names_that_nobody_traded(us):
    checked = evening(until(us, "2016-05-11"), "2016-05-11")
    untraded = checked.left_out[checked.left_out["rule"] == "zero volume"]["symbol"]
    bars = us[(us["date"] == "2016-05-11") & us["symbol"].isin(untraded)]
    assert len(untraded) == 180
    assert (bars["volume"] == 0).all()
    assert not checked.tradable.isin(untraded).any()


def test_d09_d15_bars_that_the_vendor_corrected_later(us, shared_data):
    """revisions.parquet: what was sent first, and what is sent now. Both in one delivery contradict each other."""
    table = pd.read_parquet(shared_data / US / "revisions.parquet").astype({"symbol": "str"})
    table = table[table["date"].between("2016-12-01", "2017-01-31")]
    first = table[FIELDS]
    now = first.assign(**{name: table[f"{name}_l"].to_numpy() for name in FIELDS[2:]})
    sent = until(us, "2017-01-31")
    key = pd.MultiIndex.from_frame(sent.bars[["symbol", "date"]])
    others = sent.bars[~key.isin(pd.MultiIndex.from_frame(first[["symbol", "date"]]))]
    old, new = (replace(sent, bars=pd.concat([others, rows])) for rows in (first, now))
    differ = (first[FIELDS[2:]] != now[FIELDS[2:]]).any(axis=1)
    with pytest.raises(DataError, match="two different bars of"):
        admit(replace(sent, bars=pd.concat([old.bars, now[differ]])), today=TODAY)
    twice = admit(replace(sent, bars=pd.concat([old.bars, first])), today=TODAY)[1]
    assert (twice["rule"] == "duplicate").sum() >= (~first["date"].isin(["2017-01-02"])).sum() * 0.9
    revised = find_revisions(admit(old, today=TODAY)[0], admit(new, today=TODAY)[0])
    listed = set(revised.loc[revised["field"] == "close", "symbol"])
    closes = first.loc[(first["close"] != now["close"]).to_numpy(), "symbol"]
    assert listed
    assert listed <= set(closes)
    assert len(listed) >= 0.9 * closes.nunique()


def test_d10_a_set_that_ends_the_day_before(index):
    market, _ = admit(until(index, "2017-06-01", adjusted=True), today=TODAY)
    with pytest.raises(DataNotReady, match="no bars for 2017-06-02 yet"):
        check_session(market, "2017-06-02")


def test_d11_a_clock_that_stands_before_the_last_bar(us):
    with pytest.raises(DataError, match=r"has a bar of 2017-03-31, after today \(2017-03-30\), and 5\d\d\d more"):
        admit(Delivery(bars=us, name="US"), today="2017-03-30")


def test_d13_a_close_outside_its_range(us):
    """PMV 2015-11-20: high and low 0.50, close 0.49."""
    sent = until(us, "2015-11-20")
    assert left_out(evening(sent, "2015-11-20"))["PMV"] == "range"
    assert "held PMV: its bar was rejected on arrival (range: open 0.5, high 0.5" in stops(sent, "2015-11-20", "PMV")


def test_d14_real_tickers_that_look_like_something_else(us):
    odd = {"TRUE", "NAN", "INF", "NAT", "ON", "T", "F", "E", "ALL", "KEY", "DATE"}
    checked = evening(until(us, "2016-05-11"), "2016-05-11", *odd)
    assert odd <= set(checked.tradable)


def test_d16_a_held_stock_that_was_taken_over(index):
    """Baxalta's last bar is of 2016-06-02; Shire bought it."""
    sent = until(index, "2016-06-03", adjusted=True)
    assert left_out(evening(sent, "2016-06-03", "BXLT"))["BXLT"] == "missing"  # and locked, by the settlement
    later = until(index, "2016-06-10", adjusted=True)
    assert left_out(evening(later, "2016-06-10", "BXLT"))["BXLT"] == "gone"
    recorded = until(index, "2016-06-10", ("2016-06-03", "BXLT", "delisting", 0.0), adjusted=True)
    assert left_out(evening(recorded, "2016-06-10", "BXLT"))["BXLT"] == "delisted"


def test_d17_a_session_sent_again(index):
    """2013-02-12 repeats 2013-02-11 in this set. And a whole evening of 2017, sent again."""
    assert "frozen feed: 100% of closes equal" in stops(until(index, "2013-02-12", adjusted=True), "2013-02-12")
    sent = until(index, "2017-06-01", adjusted=True)
    again = sent.bars[sent.bars["date"] == "2017-06-01"].assign(date=pd.Timestamp("2017-06-02"))
    assert "frozen feed: 100%" in stops(replace(sent, bars=pd.concat([sent.bars, again])), "2017-06-02")


def test_d18_rows_on_closed_days(index):
    """Good Friday 2017 has two rows."""
    market, refused = admit(until(index, "2017-04-17", adjusted=True), today=TODAY)
    assert refused[["symbol", "rule"]].to_numpy().tolist() == [["FAST", "holiday"], ["LOW", "holiday"]]
    assert pd.Timestamp("2017-04-14") not in market.dates
    assert len(check_session(market, "2017-04-17").tradable) > 480


def test_t06_open_exchange_and_three_bars(index):
    for date, rows in (("2017-11-08", 3), ("2018-02-28", 1)):
        sent = until(index, date, adjusted=True)
        assert (sent.bars["date"] == date).sum() == rows
        assert "active names have no bar" in stops(sent, date)


def test_a_night_of_real_earnings_stops_nobody(us, large):
    """NFLX rose 19% on 2016-10-18; LNKD fell 44% on 2016-02-05: turnover says that it is news."""
    for date, symbol in (("2016-10-18", "NFLX"), ("2016-02-05", "LNKD")):
        checked = evening(until(us[us["symbol"].isin([*large["symbol"].unique(), symbol])], date), date, symbol, "MSFT")
        assert {symbol, "MSFT"} <= set(checked.tradable)
    assert any("LNKD" in note and "so accepted" in note for note in checked.notes)


# Another instrument took the symbol, as a rule a US listing that of a foreign line, and stayed: its first bar.
STAYED = {"FTAI": "2015-05-21", "HCM": "2016-03-17", "HLG": "2015-07-07", "PXS": "2015-11-04", "SPI": "2016-01-20"}


def test_falls_beyond_25_times_that_stay_are_believed_with_their_third_bar(us):
    """All five of 7,072 symbols; and CJ and SSE, with wild bars of 0.02 between sound ones, some of them traded."""
    bars = us[us["symbol"].isin([*STAYED, "CJ", "SSE"])]
    market, refused = admit(Delivery(bars=bars, name="US"), today=TODAY)
    for symbol, first in STAYED.items():
        days = market.dates[market.dates >= first][:3]
        rows = refused[(refused["symbol"] == symbol) & (refused["rule"] == "level")]
        assert rows["date"].tolist() == list(days[:2])
        assert market.close[symbol].loc[days].notna().tolist() == [False, False, True]
    assert market.close["CJ"].min() > 30
    assert market.close["SSE"].loc[:"2015-06-30"].min() > 3
