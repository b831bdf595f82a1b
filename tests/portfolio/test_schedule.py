"""Rebalance evenings: the same ones live and in every backtest."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbook.market import calendar
from openbook.portfolio.schedule import EPOCH, is_rebalance, next_rebalance, rebalance_dates

DAYS = calendar.sessions("2015-01-02", "2016-12-30")


@given(start=st.integers(0, 400), length=st.integers(1, 100), every=st.integers(1, 25))
def test_the_evenings_do_not_depend_on_where_a_span_begins(start, length, every):
    part = DAYS[start : start + length]
    assert rebalance_dates(part, every).equals(part[part.isin(rebalance_dates(DAYS, every))])


@pytest.mark.parametrize("every", [1, 2, 5, 21])
def test_every_nth_session_is_one(every):
    places = DAYS.get_indexer(rebalance_dates(DAYS, every))
    assert set(places[1:] - places[:-1]) == {every}


@given(place=st.integers(0, 470), every=st.integers(1, 25))
def test_live_and_backtest_agree(place, every):
    assert is_rebalance(DAYS[place], every) == (DAYS[place] in rebalance_dates(DAYS, every))


@given(place=st.integers(0, 470), every=st.integers(1, 25))
def test_the_next_evening_is_the_first_one_after(place, every):
    coming = rebalance_dates(DAYS[place + 1 :], every)
    assert next_rebalance(DAYS[place], every) == coming[0]


def test_before_the_epoch_the_count_goes_on_backwards():
    before = calendar.sessions("1989-11-01", "1990-02-28")
    places = before.get_indexer(rebalance_dates(before, 5))
    assert set(places[1:] - places[:-1]) == {5}
    assert is_rebalance(EPOCH, 5)


def test_a_day_without_a_session_is_never_one():
    christmas = pd.DatetimeIndex(["2015-12-25"])
    assert not len(rebalance_dates(christmas, 1))
    assert rebalance_dates(DAYS[:0], 5).empty
