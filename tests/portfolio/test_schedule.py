"""Rebalance evenings: the same ones live and in every backtest."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbook.market import calendar
from openbook.portfolio.schedule import EPOCH, is_rebalance, next_rebalance, rebalance_dates, rebalance_on

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


def test_no_closed_day_of_two_years_is_ever_one():
    every_day = pd.date_range(DAYS[0], DAYS[-1])
    closed = every_day.difference(DAYS)
    assert len(closed) > 200
    assert rebalance_dates(closed, 1).empty
    assert rebalance_dates(every_day, 1).equals(every_day.intersection(DAYS))
    assert not is_rebalance("2015-07-03", 1)  # Independence Day, observed


@given(place=st.integers(0, 470), every=st.integers(1, 25))
def test_the_next_evening_lies_after_tonight_and_none_between(place, every):
    coming = next_rebalance(DAYS[place], every)
    assert coming > DAYS[place]
    assert is_rebalance(coming, every)
    between = DAYS[(DAYS[place] < DAYS) & (coming > DAYS)]
    assert rebalance_dates(between, every).empty
    assert len(between) < every


def test_the_next_evening_of_a_closed_day_is_the_first_one_after_it():
    assert next_rebalance("2015-12-25", 1) == pd.Timestamp("2015-12-28")


def test_a_span_that_ends_before_the_epoch_is_counted_too():
    """A market that ends in the 1980s, or one old evening, used to be a KeyError."""
    long, short = calendar.sessions("1985-01-02", "1990-12-31"), calendar.sessions("1985-01-02", "1985-12-31")
    assert rebalance_dates(short, 5).equals(long[long.isin(rebalance_dates(long, 5)) & (long <= short[-1])])
    assert {is_rebalance(day, 5) for day in short[:5]} == {True, False}


def test_dates_in_any_order_are_the_same_evenings():
    some = DAYS[[200, 3, 100, 50, 4, 5, 6, 7]]
    assert set(rebalance_dates(some, 5)) == set(rebalance_dates(some.sort_values(), 5)) != set()


# ---- what was missed ----


@given(place=st.integers(5, 470), every=st.integers(1, 25))
def test_where_nothing_is_missed_the_rule_is_the_schedule(place, every):
    """So it is in every backtest."""
    assert rebalance_on(DAYS[place], every).is_rebalance == (DAYS[place] in rebalance_dates(DAYS, every))


@given(place=st.integers(0, 400), gap=st.integers(0, 40), every=st.integers(1, 25))
def test_a_rebalance_without_a_page_is_made_up_for_once_and_named(place, gap, every):
    """Whatever the gap: the first page after it is due if any evening in between, or its own, was."""
    skipped, tonight = DAYS[place : place + gap], DAYS[place + gap]
    found = rebalance_on(tonight, every, skipped=skipped)
    assert list(found.missed) == list(rebalance_dates(skipped, every))
    assert found.is_rebalance == (len(rebalance_dates(DAYS[place : place + gap + 1], every)) > 0)
    assert all(f"{day:%Y-%m-%d}" in found.sentence for day in found.missed)
    assert not rebalance_on(DAYS[place + gap + 1], every).missed


def test_the_words_of_a_missed_rebalance():
    """Every fifth session: 2015-01-05 is one, the four sessions after it are none."""
    due, first, second = "2015-01-05", "2015-01-06", "2015-01-07"
    plain = rebalance_on(first, 5)
    assert (plain.is_rebalance, plain.sentence) == (False, "The next rebalance is on Monday, 12 January.")
    skipped = rebalance_on(first, 5, skipped=[due])
    assert skipped.is_rebalance
    assert skipped.sentence == "The rebalance of 2015-01-05 was missed: no page; made up for in this run."
    expired = rebalance_on(second, 5, skipped=[first], expired=[due])
    unapproved = (
        "The rebalance of 2015-01-05 was missed: its orders were not approved in time; made up for in this run."
    )
    assert (expired.is_rebalance, expired.sentence) == (True, unapproved)
    both = rebalance_on(second, 1, skipped=[first], expired=[due], empty=True)
    no_page = "The rebalance of 2015-01-06 was missed: no page; made up for in this run."
    assert both.sentence == f"Rebalance date. {unapproved} {no_page}"
    two = rebalance_on(second, 1, skipped=[due, first])
    assert "The rebalances of 2015-01-05, 2015-01-06 were missed: no page; made up for in this run." in two.sentence
    assert rebalance_on(first, 5, empty=True).sentence == "No positions yet: initial build."
    unfilled = rebalance_on(first, 5, unfilled=[due])
    why = "its orders were approved, but none was filled"
    said = f"The rebalance of 2015-01-05 was missed: {why}; made up for in this run."
    assert (unfilled.is_rebalance, unfilled.sentence) == (True, said)


def test_a_first_build_that_was_rejected_waits_for_the_next_rebalance():
    """2015-01-05 is a rebalance evening, and so is 2015-01-12."""
    waits = rebalance_on("2015-01-06", 5, empty=True, rejected="2015-01-05")
    assert not waits.is_rebalance
    said = "The initial build of 2015-01-05 was rejected. The next rebalance is on Monday, 12 January."
    assert waits.sentence == said
    due = rebalance_on("2015-01-12", 5, empty=True, rejected="2015-01-05")
    assert (due.is_rebalance, due.sentence) == (True, "Rebalance date.")
    held = rebalance_on("2015-01-06", 5, rejected="2015-01-05")
    assert (held.is_rebalance, held.sentence) == (False, "The next rebalance is on Monday, 12 January.")
    skipped = rebalance_on("2015-01-13", 5, empty=True, rejected="2015-01-05", skipped=["2015-01-12"])
    assert skipped.is_rebalance
