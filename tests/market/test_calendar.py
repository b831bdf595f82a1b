"""Dated facts about the New York exchange, with the reason beside them."""

import datetime

import numpy as np
import pandas as pd
import pytest

from openbook.common.errors import CalendarError, NoSession, UsageError
from openbook.market import calendar


@pytest.mark.parametrize(
    ("day", "reason"),
    [
        ("2025-01-09", "unscheduled closure"),  # day of mourning for President Carter
        ("2018-12-05", "unscheduled closure"),  # day of mourning for President G. H. W. Bush
        ("2001-09-11", "unscheduled closure"),
        ("2012-10-29", "unscheduled closure"),  # hurricane Sandy
        ("2024-03-29", "Good Friday"),
        ("2022-06-20", "Juneteenth"),  # observed: the 19th was a Sunday, and the first year of it
        ("2025-01-04", "Saturday"),
        ("2025-01-05", "Sunday"),
    ],
)
def test_t01_a_closed_day_is_no_session_and_no_failure(day, reason):
    with pytest.raises(NoSession, match=f"{day} is not a New York Stock Exchange session .*{reason}") as caught:
        calendar.require_session(day)
    assert caught.value.exit_code == 0


def test_t01_names_the_next_session():
    with pytest.raises(NoSession, match=r"next is 2025-01-10$"):
        calendar.require_session("2025-01-09")


@pytest.mark.parametrize(
    ("day", "close"),
    [
        ("2025-11-28", "2025-11-28 18:00"),  # the day after Thanksgiving: 13:00 in New York
        ("2025-12-24", "2025-12-24 18:00"),
        ("2025-07-03", "2025-07-03 17:00"),  # the same 13:00, in summer time
        ("2025-11-26", "2025-11-26 21:00"),
        ("2025-03-07", "2025-03-07 21:00"),  # the Friday before the clocks change
        ("2025-03-10", "2025-03-10 20:00"),  # the Monday after
    ],
)
def test_t02_half_days_and_summer_time(day, close):
    assert calendar.session_close(day) == pd.Timestamp(close, tz="UTC")


@pytest.mark.parametrize("day", ["2099-01-05", "1959-12-31", "9999-12-31", "0001-01-01"])
def test_t05_beyond_the_calendar_is_never_open(day):
    questions = [calendar.require_session, calendar.is_session, calendar.next_session, calendar.session_close]
    for ask in questions:
        with pytest.raises(CalendarError, match=f"{day} is outside the New York Stock Exchange calendar") as caught:
            ask(day)
        assert caught.value.exit_code == 32
    with pytest.raises(CalendarError):
        calendar.sessions("2024-01-01", "2099-01-01")


def test_the_calendar_ends_with_the_next_year():
    end = pd.Timestamp.now(tz="UTC").year + calendar.YEARS_AHEAD
    last = calendar.previous_session(f"{end}-12-31") if not calendar.is_session(f"{end}-12-31") else f"{end}-12-31"
    with pytest.raises(CalendarError):
        calendar.next_session(last)
    with pytest.raises(CalendarError):
        calendar.previous_session("1960-01-01")


def test_2024_has_252_sessions():
    assert len(calendar.sessions("2024-01-01", "2024-12-31")) == 252


def test_sessions_are_plain_dates_whatever_the_input():
    expected = ["2025-01-08", "2025-01-10"]
    spans = [
        ("2025-01-08", "2025-01-10"),
        (datetime.date(2025, 1, 8), datetime.datetime(2025, 1, 10, 23, 59)),
        (pd.Timestamp("2025-01-08 09:30", tz="America/New_York"), np.datetime64("2025-01-10")),
    ]
    for span in spans:
        days = calendar.sessions(*span)
        assert list(days.strftime("%Y-%m-%d")) == expected
        assert days.tz is None
        assert days.dtype == "datetime64[us]"
        assert days.freq is None


def test_next_and_previous_skip_closed_days():
    assert calendar.next_session("2025-01-08") == pd.Timestamp("2025-01-10")
    assert calendar.next_session("2025-01-09") == pd.Timestamp("2025-01-10")
    assert calendar.previous_session("2025-01-10") == pd.Timestamp("2025-01-08")
    assert calendar.previous_session("2025-01-06") == pd.Timestamp("2025-01-03")
    assert calendar.is_session("2025-01-10")
    assert not calendar.is_session("2025-01-09")


@pytest.mark.parametrize(
    "text",
    [
        *("../../x", "\0", "", None, 20250103, "NaT", "today"),
        *("2025-02-30", "2025-13-01", "2025-1-3", "20250103", "0000-01-01", "-2025-01-03", "2025-01-03T00:00"),
        *("2025-01-03\n", " 2025-01-03", "２０２５-01-03"),
    ],
)
def test_x01_junk_is_no_date(text):
    with pytest.raises(UsageError, match="write YYYY-MM-DD") as caught:
        calendar.parse_date(text)
    assert caught.value.exit_code == 64
    assert "\0" not in str(caught.value)


def test_x01_ten_thousand_random_strings():
    rng = np.random.default_rng(0)
    letters = np.array(list("0123456789-/.T \0\n%äA"))
    for length in rng.integers(0, 13, 10_000):
        text = "".join(rng.choice(letters, length))
        try:
            day = calendar.parse_date(text)
        except UsageError:
            continue
        assert f"{day:%Y-%m-%d}" == text


def test_parse_date_is_exact():
    assert calendar.parse_date("2024-02-29") == pd.Timestamp("2024-02-29")


def test_a_missing_date_is_a_usage_error():
    with pytest.raises(UsageError, match="a date is missing"):
        calendar.as_day(pd.NaT)


def test_today_is_a_plain_date():
    assert calendar.today() == calendar.today().normalize()
    assert calendar.today().tz is None


@pytest.mark.parametrize(
    ("now", "day"),
    [
        ("2022-12-28 21:29:59", "2022-12-27"),  # T03: 16:00 in New York is 21:00 UTC in winter, and 30 minutes more
        ("2022-12-28 21:30:00", "2022-12-28"),
        ("2022-07-06 20:29:59", "2022-07-05"),  # and 20:00 UTC in summer
        ("2022-07-06 20:30:00", "2022-07-06"),
        ("2025-11-28 18:29:59", "2025-11-26"),  # T02: a half day, after Thanksgiving
        ("2025-11-28 18:30:00", "2025-11-28"),
        ("2022-12-25 23:00:00", "2022-12-23"),  # Christmas, a Sunday
        ("2022-12-29 01:00:00", "2022-12-28"),  # still the 28th in New York
    ],
)
def test_t03_a_session_is_over_half_an_hour_after_its_close(now, day):
    assert calendar.last_closed(pd.Timestamp(now, tz="UTC")) == pd.Timestamp(day)


def test_prices_are_too_late_two_hours_before_the_next_open():
    assert calendar.prices_deadline("2022-12-28") == pd.Timestamp("2022-12-29T12:30Z")
    assert calendar.prices_deadline("2022-12-30") == pd.Timestamp("2023-01-03T12:30Z")  # over a weekend and New Year
    assert calendar.prices_deadline("2024-06-26") == pd.Timestamp("2024-06-27T11:30Z")  # in summer
    assert calendar.session_close("2024-06-26") < calendar.prices_deadline("2024-06-26")
    assert calendar.prices_deadline("2024-06-26") < calendar.approval_deadline("2024-06-26")


@pytest.mark.parametrize(
    ("now", "today", "last"),
    [
        ("2024-06-28T21:00Z", "2024-06-28", "2024-06-28"),
        ("2024-06-28T15:00Z", "2024-06-28", "2024-06-27"),  # the exchange is open
        ("2024-06-30T03:00Z", "2024-06-29", "2024-06-28"),  # Saturday evening in New York
        ("2024-07-04T22:00Z", "2024-07-04", "2024-07-03"),  # a holiday
    ],
)
def test_a_command_may_name_today_and_the_last_session(monkeypatch, now, today, last):
    monkeypatch.setenv(calendar.REHEARSAL, now)
    assert calendar.spelled_out("today") == today
    assert calendar.spelled_out("last") == last
    for text in ("2024-06-28", "Today", "yesterday", ""):
        assert calendar.spelled_out(text) == text
