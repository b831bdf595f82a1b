"""The bundled members of the S&P 500: what was taken from where, who comes and goes, and what becomes of a holder."""

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from openbook.app.service import store_of
from openbook.backtest.engine import VectorizedBacktester, equal_weight_universe
from openbook.common.errors import DataError
from openbook.ledger.book import commit_session, open_book, read_book, settle
from openbook.market.calendar import next_session, sessions
from openbook.market.ingest import admit
from openbook.market.sources import SampleSource, fetch, origin, parse_source
from openbook.market.sources.sample import FOLDER
from support.books import ABOUT, CALM, FREE, make_trades
from support.sample_members import BARS, MEMBERS, chosen_members

SOURCE = SampleSource(market="sp500_2013_2018")
TODAY = "2022-12-28"


@pytest.fixture(scope="module")
def sent():
    return fetch(SOURCE)


@pytest.fixture(scope="module")
def admitted(sent):
    return admit(sent, today=TODAY)


@pytest.fixture(scope="module")
def market(admitted):
    return admitted[0]


# ---- the files ----


def test_the_files_are_what_the_rule_takes_from_the_shared_data(shared_data):
    bars, members = chosen_members(shared_data)
    assert_frame_equal(pd.read_parquet(FOLDER / BARS), bars, check_exact=True)
    bundled = pd.read_csv(FOLDER / MEMBERS, parse_dates=["start", "end"])
    assert_frame_equal(bundled, members, check_exact=True, check_dtype=False)


def test_sectors_are_those_of_an_index_fund_at_the_time(shared_data):
    """The month-end holdings of a fund on the index; timber was a part of Financials until September 2016."""
    held = pd.read_parquet(shared_data / "membership" / "sp500_sector_weight_monthly.parquet")
    held = held[held["date"].between("2013-01-31", "2018-08-31")].sort_values("date")
    theirs = held.groupby("symbol")["sector"].last().replace("Telecommunications", "Telecommunication Services")
    ours = pd.read_csv(FOLDER / MEMBERS, index_col="symbol")["sector"]
    differ = ours[ours != theirs.reindex(ours.index)]
    assert differ.to_dict() == {"PCL": "Real Estate"}


def test_the_bundled_data_stay_small_and_carry_their_licences():
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 4_000_000
    said = (FOLDER / "README.md").read_text()
    assert all(file.name in said for file in FOLDER.iterdir() if file.name not in ("README.md", "LICENSE"))
    assert "Copyright (c) 2019-2020 Farrell J. Aultman" in (FOLDER / "LICENSE-sp500-membership").read_text()


# ---- the settings ----


def test_what_was_said_before_there_were_two_markets_stays_the_same(tmp_path):
    assert SampleSource().model_dump(mode="json") == {"provider": "sample", "symbols": None, "start": None}
    assert (origin(SampleSource()), origin(SOURCE)) == ("sample", "sample sp500_2013_2018")
    assert store_of(tmp_path, SampleSource()).name == "sample-0691362a"
    assert store_of(tmp_path, SOURCE) != store_of(tmp_path, SampleSource())
    assert parse_source(SOURCE.model_dump(mode="json")) == SOURCE


def test_a_part_of_the_members():
    part = fetch(SampleSource(market="sp500_2013_2018", symbols=("XOM", "WFM"), start="2017-08-01"))
    assert list(part.bars["symbol"].unique()) == ["WFM", "XOM"]
    assert part.bars["date"].min() == part.index.index[0] == pd.Timestamp("2017-08-01")
    assert part.actions["symbol"].tolist() == ["WFM"]
    with pytest.raises(DataError, match="the sample has no AAPL; it has AAL, ABC"):
        fetch(SampleSource(market="sp500_2013_2018", symbols=("AAPL",)))


# ---- the market ----


def test_every_bar_is_admitted(admitted, sent):
    market, refused = admitted
    assert refused.empty
    assert market.close.shape == (1259, 150)
    assert market.bar_fields == ("open", "high", "low", "close", "volume")
    assert market.execution == "next_open"
    assert int(market.close.notna().sum().sum()) == len(sent.bars)
    assert market.dates.equals(sessions("2013-02-28", "2018-02-27"))
    assert market.index.index.equals(market.dates)
    assert market.dates[market.close.isna().all(axis=1)].strftime("%Y-%m-%d").tolist() == ["2017-11-08"]
    assert set(market.sectors.index) == set(market.symbols)


def test_prices_as_published(market):
    """Amazon paid 42.00 USD a share for WFM on 2017-08-28, Marriott 21 USD and 0.8 of its own shares for HOT."""
    assert market.close.loc["2017-08-25", "WFM"] == pytest.approx(42, abs=0.05)
    assert market.close["HOT"].last_valid_index() == pd.Timestamp("2016-09-22")
    # ExxonMobil had no split, and its volume of a day is tens of millions of shares at most
    assert 5e6 < market.volume["XOM"].median() < 20e6


def test_thirty_names_vanish_and_none_later_than_their_month(market):
    gone = market.actions.set_index("symbol")["date"]
    assert len(gone) == 30
    assert (market.actions["kind"] == "delisting").all()
    last = market.close.apply(pd.Series.last_valid_index)
    assert gone.eq(last[gone.index].map(next_session)).all()
    left = market.members.apply(lambda member: member[member].index[-1])
    assert (last[gone.index] - left[gone.index]).dt.days.between(0, 35).all()
    assert set(last.drop(gone.index)) == {market.dates[-1]}


def test_the_universe_changes(market):
    changes = market.members.astype(int).diff()
    assert ((changes == 1).sum().sum(), (changes == -1).sum().sum()) == (23, 30)
    assert market.members.sum(axis=1).between(120, 132).all()
    assert market.members["DOW"].iloc[0]
    assert not market.members.loc["2017-09-01":, "DOW"].any()
    assert not market.members.loc[:"2015-03-20", "AAL"].any()


def test_the_notes_say_what_is_true_of_these_members(sent):
    said = " ".join(sent.notes)
    assert "survivorship" not in said
    assert "30 of which left it early" in said
    assert "adjusted by the vendor" in said


# ---- a holder ----


def evening(path, market, date: str, trades=None):
    """Settle and commit one session of a paper book; returns the settlement."""
    settlement = settle(read_book(path, before=date), market, FREE, date)
    orders = make_trades() if trades is None else trades
    commit_session(
        path,
        session=date,
        inputs_hash="in",
        settlement=settlement.to_json(),
        trades=orders,
        switch=CALM,
        manual=False,
        about=ABOUT,
    )
    return settlement


def test_a_name_that_vanishes_while_held_becomes_cash(market, tmp_path):
    """100 WFM, bought at the open of 2017-08-25; its last bar is of 2017-08-28, and then its close is in cash."""
    path = tmp_path / "paper.db"
    open_book(path, cash=10_000)
    evening(path, market, "2017-08-24", make_trades(WFM=100))
    evening(path, market, "2017-08-25")
    last = evening(path, market, "2017-08-28")
    assert last.positions.to_dict() == {"WFM": 100}
    after = evening(path, market, "2017-08-29")
    assert after.positions.empty
    paid = 100 * (market.close.loc["2017-08-28", "WFM"] - market.open.loc["2017-08-25", "WFM"])
    assert after.cash == pytest.approx(10_000 + paid, abs=0.01)


def test_a_backtest_is_paid_for_every_name_that_vanishes(market):
    """Every member at equal weight, on few dates, so that names vanish between two of them."""
    dates = market.dates[20:1150:40]
    result = VectorizedBacktester(costs=FREE).run(equal_weight_universe(market, dates), market)
    gone = market.actions.set_index("symbol")["date"]
    paid = result.forced_exits.set_index("symbol")
    assert len(paid) > 20
    assert (paid["kind"] == "delisting").all()
    assert (paid["date"] == gone.reindex(paid.index)).all()
    assert result.equity.notna().all()
