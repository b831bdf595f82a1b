"""What a vendor says today of a sealed day: listed, with its effect on that day's orders, and nothing is changed."""

import pandas as pd
import pytest

from support.trained_desk import hashes, openbook, succeed


@pytest.fixture
def page(desk) -> str:
    """The day of the first page: a rebalance, for the book was empty."""
    return f"{desk.days[1]:%Y-%m-%d}"


def look_back(desk, date: str) -> str:
    before = hashes(desk.runs)
    said = succeed(openbook("--runs", desk.runs, "data", "revisions", date)).out
    assert hashes(desk.runs) == before
    return said


def test_what_is_still_said_is_no_revision(desk, page):
    assert look_back(desk, page) == f"no restatements up to {page}: the vendor's data are as they were on that date\n"


def test_d15_a_rewritten_history_is_listed_with_what_it_would_have_ordered(desk, page):
    trades = pd.read_csv(desk.page(desk.days[1]) / "trades.csv", keep_default_na=False)
    held = next(symbol for symbol in trades["symbol"] if symbol.startswith("S"))
    files = desk.vendor.files.upto(desk.days[2])
    days = sorted(files.bars["date"].unique())
    files = files.scaled(held, days[-260], 0.66).scaled(held, days[-60], 1 / 0.66)  # months in which it stood lower
    desk.vendor.deliver(files)
    said = look_back(desk, page)
    assert "restatements of data known on" in said
    assert held in said
    assert "close" in said
    assert "Data (prices and features) moved " in said
    head = next(i for i, line in enumerate(said.splitlines()) if line.split() == ["symbol", "sealed", "revised"])
    rows = [line.split() for line in said.splitlines()[head + 1 :]]
    assert rows
    assert all(row[-2] != row[-1] for row in rows)


def test_a_revision_of_tomorrow_is_none_of_yesterdays(desk, page):
    files = desk.vendor.files.upto(desk.days[2])
    desk.vendor.deliver(files.scaled(desk.held()[0], desk.days[2], 1.02))
    assert "no restatements up to" in look_back(desk, page)


def test_a_day_that_is_not_sealed(desk):
    assert openbook("--runs", desk.runs, "data", "revisions", "2001-01-02").code == 64
