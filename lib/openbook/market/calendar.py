"""The exchange calendar, XNYS: which days are sessions and when they close; beyond what is known, an error."""

import os
import re
from datetime import UTC, date, datetime
from functools import cache

import pandas as pd

from openbook.common.errors import CalendarError, NoSession, UsageError

EXCHANGE = "XNYS"
FIRST = "1960-01-01"
# The exchange announces its holidays a few years ahead; anything later is a guess.
YEARS_AHEAD = 1
APPROVABLE = pd.Timedelta(minutes=30)  # after the open
# Before the next open: time to call the vendor, to run the daily run, to read its page and to approve.
ACTABLE = pd.Timedelta(hours=2)
REHEARSAL = "OPENBOOK_NOW"
# Days that the exchange closed without notice, and sessions that it cut short: YYYY-MM-DD or YYYY-MM-DDTHH:MM in New
# York, with commas between. `openbook closure` writes them down; see `openbook.runs.closures`.
CLOSURES = "OPENBOOK_CLOSURES"
SETTLING = pd.Timedelta(minutes=30)  # from the close until a vendor's bar of the session is final
NEW_YORK = "America/New_York"
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d", re.ASCII)


def parse_date(text: str) -> pd.Timestamp:
    """A day written as YYYY-MM-DD and nothing else; UsageError (64) otherwise."""
    try:
        if not (isinstance(text, str) and _DATE.fullmatch(text)):
            raise ValueError("wrong format")
        return pd.Timestamp(date.fromisoformat(text)).as_unit("us")
    except ValueError:
        raise UsageError(f"{text!a} is not a date; write YYYY-MM-DD, for example 2024-12-31") from None


def spelled_out(text: str) -> str:
    """A date of a command line as YYYY-MM-DD: today is the date now in New York, last the last completed session."""
    named = {"today": today, "last": last_closed}
    return f"{named[text]():%Y-%m-%d}" if text in named else text


def sessions(start, end) -> pd.DatetimeIndex:
    """The sessions from `start` to `end`, both included, as datetime64[us]; CalendarError beyond the calendar."""
    known = _sessions()
    return known[known.searchsorted(_inside(start)) : known.searchsorted(_inside(end), side="right")]


def is_session(day) -> bool:
    """Whether the exchange opens on `day`; CalendarError beyond the calendar."""
    return _inside(day) in _sessions()


def next_session(day) -> pd.Timestamp:
    """The first session after `day`."""
    known = _sessions()
    after = known[known.searchsorted(_inside(day), side="right") :]
    if after.empty:
        raise _beyond(day)
    return after[0]


def session_from(day) -> pd.Timestamp:
    """`day` itself if it is a session, else the next one: when orders for a day that stayed closed are executed."""
    return as_day(day) if is_session(day) else next_session(day)


def previous_session(day) -> pd.Timestamp:
    """The last session before `day`."""
    known = _sessions()
    before = known[: known.searchsorted(_inside(day))]
    if before.empty:
        raise _beyond(day)
    return before[-1]


def require_session(day) -> pd.Timestamp:
    """`day` as a naive Timestamp; NoSession (0) if the exchange is closed, CalendarError (32) beyond the calendar.

    Examples
    --------
    >>> ob.require_session("2022-12-28").day_name()
    'Wednesday'
    """
    moment = _inside(day)
    if moment not in _sessions():
        following = f"; next is {next_session(moment):%Y-%m-%d}" if moment < _sessions()[-1] else ""
        raise NoSession(
            f"{moment:%Y-%m-%d} is not a New York Stock Exchange session ({_why_closed(moment)}){following}"
        )
    return moment


def session_close(day) -> pd.Timestamp:
    """When the session of `day` closes, in UTC: 16:00 in New York, 13:00 on a half day, or when it was cut short."""
    moment = require_session(day)
    early = _closures(os.environ.get(CLOSURES, "")).get(moment)
    if early is not None:
        return early.tz_localize(NEW_YORK).tz_convert("UTC").as_unit("us")
    return _calendar().session_close(moment).as_unit("us")


def session_open(day) -> pd.Timestamp:
    """When the session of `day` opens, in UTC: 9:30 in New York."""
    return _calendar().session_open(require_session(day)).as_unit("us")


def approval_deadline(day) -> pd.Timestamp:
    """Until when orders decided on `day` may be approved, in UTC: half an hour after the next session's open."""
    return session_open(next_session(day)) + APPROVABLE


def prices_deadline(day) -> pd.Timestamp:
    """When prices of `day` that have not come are too late to act upon, in UTC: two hours before the next open."""
    return session_open(next_session(day)) - ACTABLE


def now() -> pd.Timestamp:
    """This moment, UTC, by this machine's clock; OPENBOOK_NOW overrides it, to simulate past sessions.

    Raises CalendarError if OPENBOOK_NOW is no moment with a time zone, such as 2022-12-28T21:00Z.
    """
    rehearsed = os.environ.get(REHEARSAL)
    if not rehearsed:
        return machine_now()
    try:
        if not _MOMENT.match(rehearsed):  # pandas takes "now", "nan" and a number of nanoseconds, too
            raise ValueError("no date")
        return pd.Timestamp(rehearsed).tz_convert("UTC")
    except (ValueError, TypeError, OverflowError):
        raise CalendarError(f"{REHEARSAL}={rehearsed!a} is not a timestamp; write it like 2022-12-28T21:00Z") from None


def machine_now() -> pd.Timestamp:
    """This moment, UTC, by this machine's clock alone: a halt ignores OPENBOOK_NOW."""
    return pd.Timestamp.now(tz="UTC")


def today() -> pd.Timestamp:
    """The date now where the exchange is."""
    return now().tz_convert(NEW_YORK).tz_localize(None).normalize().as_unit("us")


def last_closed(at=None) -> pd.Timestamp:
    """The last session that closed at least SETTLING ago; a bar of today's open session is not the last word.

    at : moment with a time zone; now by default
    """
    moment = now() if at is None else pd.Timestamp(at)
    day = moment.tz_convert(NEW_YORK).tz_localize(None).normalize()
    if is_session(day) and moment >= session_close(day) + SETTLING:
        return day
    return previous_session(day)


def last_known() -> pd.Timestamp:
    """The last session that the calendar has: the end of next year."""
    return _sessions()[-1]


def as_day(day) -> pd.Timestamp:
    """A date as text, date or Timestamp, as a naive Timestamp at midnight."""
    if isinstance(day, str):
        return parse_date(day)
    moment = pd.Timestamp(day)
    if moment is pd.NaT:
        raise UsageError("a date is missing; write YYYY-MM-DD")
    return moment.tz_localize(None).normalize().as_unit("us")


@cache
def _calendar():
    """The calendar of the exchange; built once, 0.2 s."""
    import exchange_calendars

    last = f"{datetime.now(UTC).year + YEARS_AHEAD}-12-31"
    return exchange_calendars.get_calendar(EXCHANGE, start=FIRST, end=last)


def _sessions() -> pd.DatetimeIndex:
    """All known sessions, without time zone or frequency."""
    return _sessions_but(os.environ.get(CLOSURES, ""))


@cache
def _sessions_but(closed: str) -> pd.DatetimeIndex:
    """The sessions of the calendar without those that the exchange did not hold."""
    known = pd.DatetimeIndex(_calendar().sessions.tz_localize(None).to_numpy(), name="date").as_unit("us")
    return known.difference([day for day, close in _closures(closed).items() if close is None]).rename("date")


@cache
def _closures(text: str) -> dict[pd.Timestamp, pd.Timestamp | None]:
    """Each day that is written down, and when its session ended, in New York; None: it did not open at all."""
    found = {}
    for entry in filter(None, text.split(",")):
        date, _, time = entry.partition("T")
        try:
            found[parse_date(date)] = pd.Timestamp(f"{date} {time}") if time else None
        except ValueError:
            raise UsageError(f"{CLOSURES} has {entry!a}; write YYYY-MM-DD or YYYY-MM-DDTHH:MM") from None
    return found


def _inside(day) -> pd.Timestamp:
    """`day` normalized, or CalendarError if it is beyond the known calendar."""
    moment = as_day(day)
    # Whole years are known, not only the span from the first session to the last.
    if not (_sessions()[0].year <= moment.year <= _sessions()[-1].year):
        raise _beyond(moment)
    return moment


def _beyond(day) -> CalendarError:
    """The error for a date that the calendar does not reach."""
    first, last = _sessions()[0].year, _sessions()[-1].year
    return CalendarError(
        f"{as_day(day).date()} is outside the New York Stock Exchange calendar, {first} to {last}; check the date and "
        "the clock, or update exchange-calendars"
    )


def _why_closed(moment: pd.Timestamp) -> str:
    """Weekend, the holiday's name, or an unscheduled closure."""
    if moment.weekday() >= 5:
        return f"{moment:%A}"
    if moment in _closures(os.environ.get(CLOSURES, "")):
        return f"{moment:%A}, unscheduled closure"
    named = _calendar().regular_holidays.holidays(moment, moment, return_name=True)
    return f"{moment:%A}, {named.iloc[0] if len(named) else 'unscheduled closure'}"
