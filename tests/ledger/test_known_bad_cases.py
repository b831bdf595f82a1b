"""The known bad spots of real prices, under a book that holds the name: what it is worth then, or which stop is right.

Each number is derived beside it from the prices that are sound. What has no meaning for a book is in NO_MEANING.
"""

from contextlib import nullcontext

import pandas as pd
import pytest

from openbook.common.errors import DataError, DataNotReady
from openbook.execution.kill_switch import KillSwitch
from openbook.ledger.book import commit_session, open_book, read_book, settle
from openbook.ledger.records import Settlement
from openbook.market.checks.session import check_session
from openbook.market.ingest import admit
from openbook.market.tables import Delivery, Market
from openbook.portfolio.costs import Costs

FREE = Costs(commission_bps=0, slippage_bps=0)
CALM = KillSwitch(max_daily_loss=0.99, min_sharpe=-1e9, max_drawdown=0.99)
RAW, FIRST, ALL = "us_2015_2017_point_in_time", "sp500_2010_2023", "sp500_all_members_2013_2018"
OTHERS = ["AAPL", "MSFT", "XOM", "JNJ", "WFC", "JPM", "PG", "T", "KO", "PFE", "MRK", "VZ", "HD", "DIS", "CVX", "BA"]
OTHERS += ["CSCO", "INTC", "WMT", "MCD", "CAT", "MMM", "GS"]
# Names of the cases below, and the three that have a bar on a day on which all others have none.
NAMED = ["AMCR", "FERG", "SW", "ANTM", "WLP", "AMD", "CRC", "CB", "AMZN", "ADBE", "ALXN", "CUI", "SAB", "WETF"]
NAMED += ["LIFE", "USD", "LOW", "FAST"]
# Set, symbol, the evening on which its price is wrong or its split is missing, and whether that evening stops.
CASES = [
    (RAW, "CRK", "2016-08-01", True),  # reverse splits that nobody recorded: +251%, +306%, +707%
    (RAW, "ACLS", "2016-07-01", True),
    (RAW, "ARR", "2015-08-03", True),
    (RAW, "AA", "2016-10-06", True),
    (RAW, "CF", "2015-06-18", True),  # splits that nobody recorded: 5:1, and three of 2:1
    (RAW, "AOS", "2016-10-06", True),
    (RAW, "CHD", "2016-09-02", True),
    (RAW, "CMCSA", "2017-02-21", True),
    (RAW, "NEE", "2016-06-09", True),  # a preferred line under the same symbol
    (RAW, "MS", "2017-02-14", True),  # another instrument for two days
    # Fortive, applied twice: +61% on a day on which so many shares changed hands that it is taken for news, and told.
    (FIRST, "DHR", "2016-07-05", False),
    (FIRST, "VTR", "2015-08-18", True),  # Care Capital Properties, not applied: −24%
]


@pytest.fixture(scope="module")
def bars(shared_data):
    """The bars of a set, read once: date, symbol, open, high, low, close, volume."""
    read = {}

    def get(name: str) -> pd.DataFrame:
        if name not in read:
            columns = ["symbol", "date", "open", "high", "low", "close", "volume"]
            chosen = [("symbol", "in", [*OTHERS, *NAMED, *(case[1] for case in CASES)])]
            table = pd.read_parquet(shared_data / name / "ohlcv.parquet", columns=columns, filters=chosen)
            read[name] = table.assign(symbol=table["symbol"].astype("str"), date=pd.to_datetime(table["date"]))
        return read[name]

    return get


def admitted(table: pd.DataFrame, *symbols: str, day: str, days: int = 120, others=OTHERS):
    """The market of so many days up to `day`, of some names and sound ones beside them, and what the door refused."""
    date = pd.Timestamp(day)
    near = table[(table["date"] <= date) & (table["date"] > date - pd.Timedelta(days=days))]
    return admit(Delivery(near[near["symbol"].isin([*others, *symbols])].reset_index(drop=True), "a set"), through=day)


def held(folder, market: Market, symbol: str, evenings, shares: int = 100):
    """A paper book that has bought the name at the open of the second evening, settled through the last one."""
    open_book(folder / "b.db", cash=10_000_000)
    orders = pd.DataFrame([(symbol, shares, 1.0, "by hand")], columns=["symbol", "shares", "price", "reason"])
    for n, evening in enumerate(evenings):
        go_on(folder / "b.db", market, evening, orders if n == 0 else orders.iloc[:0])
    return folder / "b.db"


def go_on(path, market: Market, evening, orders: pd.DataFrame | None = None) -> Settlement:
    """Settle and commit one evening more."""
    none = pd.DataFrame(columns=["symbol", "shares", "price", "reason"])
    settled = settle(read_book(path), market, FREE, evening)
    how = {"switch": CALM, "manual": False, "about": {}, "inputs_hash": "in"}
    trades = none if orders is None else orders
    commit_session(path, session=evening, settlement=settled.to_json(), trades=trades, **how)
    return settled


def worth(settled: Settlement, symbol: str) -> float:
    """USD of a holding, as marked."""
    return sum(row.value_cents for row in settled.holdings if row.symbol == symbol) / 100


@pytest.mark.parametrize(("name", "symbol", "day", "stops"), CASES, ids=lambda value: str(value))
def test_a_known_bad_bar_of_a_held_name_never_moves_a_book_in_silence(tmp_path, bars, name, symbol, day, stops):
    date = pd.Timestamp(day)
    market, refused = admitted(bars(name), symbol, day=day)
    assert market.dates[-1] == date
    path = held(tmp_path, market, symbol, market.dates[-4:-1])
    assert read_book(path).positions.to_dict() == {symbol: 100}
    with pytest.raises(DataError, match=symbol) if stops else nullcontext():
        checked = check_session(market, date, held=[symbol], refused=refused)
    assert stops or any(symbol in note and "so accepted" in note for note in checked.notes)


@pytest.mark.parametrize(("symbol", "close"), [("AMCR", 21.983536), ("FERG", 28.723310)])
def test_a_close_that_nobody_traded_at_values_what_is_held_and_moves_no_order(tmp_path, bars, symbol, close):
    """Before their listing in the US the foreign line was filled in, without volume: 100 × a close that stays."""
    market, refused = admitted(bars(FIRST), symbol, day="2012-06-29")
    path = held(tmp_path, market, symbol, market.dates[-4:-1])
    settled = go_on(path, market, market.dates[-1])
    assert worth(settled, symbol) == pytest.approx(100 * close, abs=0.01)
    for names in ([symbol], []):
        assert symbol not in check_session(market, market.dates[-1], held=names, refused=refused).tradable


@pytest.mark.parametrize(("ours", "other"), [("ANTM", "WLP"), ("WLP", "ANTM")])
def test_one_company_under_two_symbols_is_not_bought_twice(tmp_path, bars, ours, other):
    """Anthem was WellPoint until December 2014, and WLP goes on in the set: what is held stays, 100 × its close."""
    market, refused = admitted(bars(ALL), ours, other, day="2016-06-30")
    path = held(tmp_path, market, ours, market.dates[-4:-1])
    settled = go_on(path, market, market.dates[-1])
    assert worth(settled, ours) == pytest.approx(100 * {"ANTM": 128.661057, "WLP": 131.339996}[ours], abs=0.01)
    tradable = check_session(market, market.dates[-1], held=[ours], refused=refused).tradable
    assert other not in tradable


@pytest.mark.parametrize(
    ("symbol", "last", "close", "back", "factor"),
    [("AMD", "2013-09-27", 3.86, "2017-03-31", "3.77"), ("CRC", "2014-12-31", 55.069469, "2016-02-29", "0.102")],
)
def test_a_name_that_leaves_the_set_for_years_is_locked_for_ten_sessions_and_then_stops(
    tmp_path, bars, symbol, last, close, back, factor
):
    """Ten sessions at the last close, 386.00 and 5,506.95 for 100 shares; on the eleventh nobody knows its worth.

    On the day on which it is back the gap is named, and no return of +277% or −89.8% is taken.
    """
    end = pd.Timestamp(last)
    market, _ = admitted(bars(ALL), symbol, day=f"{end + pd.Timedelta(days=25):%Y-%m-%d}")
    place = market.dates.get_loc(end)
    path = held(tmp_path, market, symbol, market.dates[place - 2 : place + 1])
    for evening in market.dates[place + 1 : place + 11]:
        assert worth(go_on(path, market, evening), symbol) == pytest.approx(100 * close, abs=0.01)
    with pytest.raises(DataError, match=symbol):
        settle(read_book(path), market, FREE, market.dates[place + 11])
    far, refused = admitted(bars(ALL), symbol, day=back, days=1500)
    with pytest.raises(DataError, match=f"held {symbol}: no bar from {last} to {back}, then a close {factor} times"):
        check_session(far, back, held=[symbol], refused=refused)


def test_a_set_that_begins_late_cannot_carry_a_book_that_holds_the_name(tmp_path, bars):
    """AAPL begins on 2014-03-31 in one set; bought by another, it has no bar on 2014-03-28, and nothing is guessed."""
    market, _ = admitted(bars(FIRST), "AAPL", day="2014-03-27")
    path = held(tmp_path, market, "AAPL", market.dates[-3:])
    late, refused = admitted(bars(ALL), "AAPL", day="2014-03-28")
    assert "AAPL" not in late.symbols
    with pytest.raises(DataError, match="AAPL"):
        settle(read_book(path), late, FREE, pd.Timestamp("2014-03-28"))
    with pytest.raises(DataError, match="held AAPL: the source has no bars for it"):
        check_session(late, "2014-03-28", held=["AAPL"], refused=refused)


def test_another_company_under_the_ticker_in_another_set_stops(tmp_path, bars):
    """CB is the old Chubb in one set, 95.14 on 2015-06-30, and ACE in the other, 83.42: 0.8768 times that."""
    market, _ = admitted(bars(RAW), "CB", day="2015-06-30")
    path = held(tmp_path, market, "CB", market.dates[-3:])
    other, _ = admitted(bars(FIRST), "CB", day="2015-07-01")
    with pytest.raises(DataError, match=r"held name CB was marked at 95\.1400 on 2015-06-30.*83\.4158, 0\.8768 times"):
        settle(read_book(path), other, FREE, pd.Timestamp("2015-07-01"))


@pytest.mark.parametrize(("day", "present"), [("2017-11-08", ("LIFE", "USD", "WLP")), ("2018-02-28", ("USD",))])
def test_a_day_on_which_almost_nobody_has_a_bar_is_no_evening_for_a_book(tmp_path, bars, day, present):
    """Three bars, and one, of some 500 names: what is held has no close, and the evening stops."""
    market, refused = admitted(bars(ALL), "JNJ", *present, day=day)
    assert market.dates[-1] == pd.Timestamp(day)
    path = held(tmp_path, market, "JNJ", market.dates[-4:-1])
    assert read_book(path).positions.to_dict() == {"JNJ": 100}
    with pytest.raises((DataError, DataNotReady)):
        check_session(market, day, held=["JNJ"], refused=refused)


@pytest.mark.parametrize(
    ("name", "symbol", "stray", "before", "after"),
    [
        (ALL, "LOW", "2017-04-14", "2017-04-13", "2017-04-17"),  # Good Friday
        (RAW, "WETF", "2015-04-03", "2015-04-02", "2015-04-06"),  # Good Friday
    ],
)
def test_a_bar_of_a_holiday_is_no_session_of_the_book(tmp_path, bars, name, symbol, stray, before, after):
    """Marked on the sessions on both sides, and on the later one at its own close, not at that of the stray bar."""
    market, refused = admitted(bars(name), symbol, day=after)
    assert refused.loc[refused["date"] == pd.Timestamp(stray), ["symbol", "rule"]].values.tolist() == [
        [symbol, "holiday"]
    ]
    assert list(market.dates[-2:].strftime("%Y-%m-%d")) == [before, after]
    path = held(tmp_path, market, symbol, market.dates[-4:-1])
    settled = go_on(path, market, market.dates[-1])
    assert list(settled.history["date"].dt.strftime("%Y-%m-%d")) == [after]
    own = bars(name)
    seen = own.loc[(own["symbol"] == symbol) & (own["date"] == pd.Timestamp(after)), "close"].item()
    assert worth(settled, symbol) == pytest.approx(100 * seen, abs=0.01)


@pytest.mark.parametrize(
    ("symbol", "day", "price"),
    [("ALXN", "2016-11-30", 126.2099), ("ADBE", "2016-11-30", 102.800003), ("AMZN", "2016-11-16", 735.609985)],
)
def test_an_open_outside_the_range_of_its_day_fills_no_order_where_nobody_traded(tmp_path, bars, symbol, day, price):
    """ALXN opens at 170.02 above a high of 126.21, ADBE at 94.82 and AMZN at 718.00 below their lows.

    Filled at the end of the range; the loss or gain of the day is that from there to the close.
    """
    market, _ = admitted(bars(ALL), symbol, day=day)
    path = held(tmp_path, market, symbol, market.dates[-2:])
    fills = read_book(path).fills
    assert fills["price"].tolist() == [pytest.approx(price, abs=1e-4)]
    close = market.close[symbol].iloc[-1]
    equity = read_book(path).history["equity"].iloc[-1]
    assert equity == pytest.approx(10_000_000 + 100 * (close - price), abs=0.02)


def test_prices_of_zero_are_no_prices(tmp_path, bars):
    """CUI: 100 shares at 0.01, then 0, 5.86 for a day, and 0 again: worth 1.00 all along, and the evening stops."""
    table = bars(RAW)
    market, refused = admitted(table, "CUI", day="2015-04-02", days=14)
    path = held(tmp_path, market, "CUI", market.dates[2:6])
    assert set(refused.loc[refused["symbol"] == "CUI", "rule"]) == {"price", "level"}
    for evening in market.dates[6:]:
        assert worth(go_on(path, market, evening), "CUI") == 1.00
    with pytest.raises(DataError, match=r"held CUI: its bar was rejected on arrival \(price: open 0"):
        check_session(market, market.dates[-1], held=["CUI"], refused=refused)


def test_a_price_in_another_unit_for_one_day_is_not_believed(tmp_path, bars):
    """SAB is quoted at 200,000 and more, and at 15.165 on 2017-03-21, a 13,000th: marked at the close before it."""
    market, refused = admitted(bars(RAW), "SAB", day="2017-03-22")
    path = held(tmp_path, market, "SAB", market.dates[-5:-2], shares=3)
    before, table = market.dates[-3], bars(RAW)
    last = table.loc[(table["symbol"] == "SAB") & (table["date"] == before), "close"].item()
    assert refused.loc[refused["symbol"] == "SAB", "rule"].tolist()[-1] == "level"
    assert worth(go_on(path, market, market.dates[-2]), "SAB") == pytest.approx(3 * last, abs=0.01)


# Cases of the list that say nothing to a book, and why.
NO_MEANING = {
    (ALL, "LIFE"): "the set has no bar of the old company: no book can have bought it, and the new one is another",
    (RAW, "reports"): "a report moves no share and no cash of a book; what it does to features is tested there",
    ("membership", "CB|MRK|AGN"): "membership says what may be bought, not what is held",
}
THROUGH_A_BOOK = {
    *{(name, symbol) for name, symbol, *_ in CASES},
    *{(FIRST, name) for name in ("CB", "SW|FERG|AMCR")},
    *{(ALL, name) for name in ("WLP", "AMD", "CRC", "AAPL + 32 others", "*", "AMZN|ADBE|ALXN")},
    *{(RAW, name) for name in ("CUI", "SAB", "*", "CRK|ACLS|ARR|AA", "AOS|CHD|CMCSA|CF")},
}


def test_every_known_case_went_through_a_book_or_has_none(shared_data):
    listed = pd.read_csv(shared_data / "known_bad_cases.csv")
    assert len(listed) == 20
    left = set(zip(listed["set"], listed["symbol"], strict=True)) - THROUGH_A_BOOK
    assert left == set(NO_MEANING)
