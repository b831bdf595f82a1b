"""The known bad spots of real prices, under a book that holds the name: the evening stops by name, or says so."""

from contextlib import nullcontext

import pandas as pd
import pytest

from openbook.desk.book import commit_session, open_book, read_book, settle
from openbook.desk.killswitch import KillSwitch
from openbook.errors import DataError
from openbook.market.arrival import admit
from openbook.market.quality import check_session
from openbook.market.tables import Delivery
from openbook.portfolio.costs import Costs

FREE = Costs(commission_bps=0, slippage_bps=0)
CALM = KillSwitch(max_daily_loss=0.99, min_sharpe=-1e9, max_drawdown=0.99)
RAW, FIRST = "us_2015_2017_point_in_time", "sp500_2010_2023"
OTHERS = ["AAPL", "MSFT", "XOM", "JNJ", "WFC", "JPM", "PG", "T", "KO", "PFE", "MRK", "VZ", "HD", "DIS", "CVX", "BA"]
# Set, symbol, the evening on which its price is wrong or its split is missing, and whether that evening stops.
CASES = [
    (RAW, "CRK", "2016-08-01", True),  # reverse splits that nobody recorded: +251%, +306%, +707%
    (RAW, "ACLS", "2016-07-01", True),
    (RAW, "ARR", "2015-08-03", True),
    (RAW, "CF", "2015-06-18", True),  # 5:1
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
            chosen = [("symbol", "in", [*OTHERS, *(case[1] for case in CASES)])]
            table = pd.read_parquet(shared_data / name / "ohlcv.parquet", columns=columns, filters=chosen)
            read[name] = table.assign(symbol=table["symbol"].astype("str"), date=pd.to_datetime(table["date"]))
        return read[name]

    return get


@pytest.mark.parametrize(("name", "symbol", "day", "stops"), CASES, ids=lambda value: str(value))
def test_a_known_bad_bar_of_a_held_name_never_moves_a_book_in_silence(tmp_path, bars, name, symbol, day, stops):
    table, date = bars(name), pd.Timestamp(day)
    near = table[(table["date"] <= date) & (table["date"] > date - pd.Timedelta(days=120))]
    market, refused = admit(Delivery(near[near["symbol"].isin([*OTHERS, symbol])].reset_index(drop=True), name))
    evenings = market.dates[-4:]
    assert evenings[-1] == date
    open_book(tmp_path / "b.db", cash=10_000_000)
    orders = pd.DataFrame([(symbol, 100, 1.0, "by hand")], columns=["symbol", "shares", "price", "reason"])
    for n, evening in enumerate(evenings[:-1]):
        settled = settle(read_book(tmp_path / "b.db"), market, FREE, evening)
        how = {"switch": CALM, "manual": False, "about": {}, "inputs_hash": "in"}
        trades = orders if n == 0 else orders.iloc[:0]
        commit_session(tmp_path / "b.db", session=evening, settlement=settled.to_json(), trades=trades, **how)
    state = read_book(tmp_path / "b.db")
    assert state.positions.to_dict() == {symbol: 100}
    with pytest.raises(DataError, match=symbol) if stops else nullcontext():
        checked = check_session(market, date, held=[symbol], refused=refused)
    assert stops or any(symbol in note and "so accepted" in note for note in checked.notes)
