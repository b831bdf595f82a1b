"""One evening on the bundled members of an index, after a name of the book has vanished."""

import pytest

import openbook as ob
from openbook.ledger.book import commit_session, open_book, read_book, settle
from openbook.market.sources import SampleSource
from openbook.market.store import load_market
from support.books import ABOUT, CALM, FREE, make_trades

SOURCE = {"provider": "sample", "market": "sp500_2013_2018"}
HELD = {"WFM": 300, "XOM": 150, "MSFT": 150, "UNP": 100, "DOW": 150, "JNJ": 80}


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """2017-08-31, a rebalance date: Amazon bought WFM on 2017-08-28, and the last page was of that session."""
    path = tmp_path_factory.mktemp("book") / "paper.db"
    open_book(path, cash=100_000)
    market, _ = load_market(SampleSource(market="sp500_2013_2018"), through="2017-08-28")
    for session, trades in (("2017-08-24", make_trades(**HELD)), ("2017-08-25", None), ("2017-08-28", None)):
        settlement = settle(read_book(path, before=session), market, FREE, session)
        commit_session(
            path,
            session=session,
            inputs_hash="in",
            settlement=settlement.to_json(),
            trades=make_trades() if trades is None else trades,
            switch=CALM,
            manual=False,
            about=ABOUT,
        )
    assert read_book(path).positions["WFM"] == 300
    return ob.TradingDay("2017-08-31", SOURCE, book=str(path), require_manual_approval=False)


def test_the_holder_of_a_name_that_vanished_is_paid_and_trades_on(day):
    assert "WFM" not in day.settlement.positions.index
    paid = 300 * day.market.close.loc["2017-08-28", "WFM"]
    assert day.settlement.cash == pytest.approx(day.state.cash + paid, abs=0.01)
    assert "WFM" not in day.target.index or day.target["WFM"] == 0
    assert "WFM" not in set(day.trades["symbol"])
    assert len(day.trades) > 5


def test_names_are_scored_while_they_are_members(day):
    """DOW is a member until the day of its merger, 2017-09-01; WFM was one until 2017-08-25."""
    assert "DOW" in day.scores.index
    assert not {"WFM", "AN", "MUR"} & set(day.scores.index)
    assert set(day.scores.index) <= set(day.market.members.columns[day.market.members.iloc[-1]])


def test_liquidity_and_sectors_are_checked(day):
    checks = day.checks.set_index("check")
    traded = (day.market.close * day.market.volume).iloc[-20:].median()[day.trades["symbol"]]
    largest = (day.trades["notional"].to_numpy() / traded.to_numpy()).max()
    assert checks.loc["liquidity", "value"] == pytest.approx(largest)
    assert checks.loc["liquidity", "status"] == "pass"
    assert 0.05 < checks.loc["max_sector_weight", "value"] <= 0.30 + 1e-6
    assert day.decision.portfolio.story["sector"].notna().all()


def test_the_page_says_nothing_that_is_only_true_of_survivors(day):
    said = " ".join(day.market.notes)
    assert "survivorship" not in said
    assert "closes only" not in said.lower()
    assert day.market.summary()["Members"] == f"{day.market.members.iloc[-1].sum()}" == "122"
