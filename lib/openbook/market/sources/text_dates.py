"""Dates that a file writes as text or as numbers: ISO 8601, a strftime format, or seconds since 1970."""

import re

import pandas as pd

from openbook.common.errors import DataError

# Counts since 1970-01-01 UTC, as values of `date_format`. A session of New York lies within one day of UTC.
EPOCHS = {"epoch s": "s", "epoch ms": "ms", "epoch us": "us", "epoch ns": "ns"}
ISO = "ISO8601"
# What vendors write, the unmistakable first; the last four read 03/04/2020 in two ways.
FORMATS = (
    "%Y%m%d",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%d.%m.%Y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%d %b %Y",
    "%d %B %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%m/%d/%y",
    "%d/%m/%y",
    "%m-%d-%Y",
    "%d-%m-%Y",
)
_ZONE = r"(:\d\d(?:\.\d+)?)\s?(?:Z|UTC|[+-]\d\d:?\d\d)$"  # behind a time; -2019 ends a date
_CLOCK = r"[ T]\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?(?: ?[AaPp][Mm])?$"
_MONTHS = re.compile(r"(?i)jan\w*|feb\w*|mar\w*|apr\w*|may|june?|july?|aug\w*|sep\w*|oct\w*|nov\w*|dec\w*")
_SERIAL = re.compile(r"[2-5]\d{4}(\.0)?")  # days since 1900, as Excel counts them


def parse_dates(texts: pd.Series, date_format: str | None, where: str) -> pd.Series:
    """datetime64 of distinct texts, NaT where one is empty; DataError names the first that is no such date."""
    parsed = read_dates(texts, date_format)
    bad = texts[parsed.isna() & (texts.str.strip() != "")]
    if len(bad):
        like = date_format or "YYYY-MM-DD"
        raise DataError(f"{where} holds {bad.iloc[0]!r}, not a date like {like}; set date_format{_total(bad.iloc[0])}")
    return parsed


def read_dates(texts: pd.Series, date_format: str | None) -> pd.Series:
    """datetime64 by text; NaT where it is no such date. A zone at the end, and the time before it, are dropped."""
    texts = texts.str.strip()
    if date_format in EPOCHS:
        counts = pd.to_numeric(texts, errors="coerce").astype("Float64")
        days = [pd.NaT if pd.isna(n) else pd.Timestamp(int(n), unit=EPOCHS[date_format]) for n in counts]
        return pd.Series(days, index=texts.index, dtype="datetime64[us]")
    plain = texts.str.replace(_ZONE, r"\1", regex=True)
    if date_format is not None:
        plain = plain.str.replace(_CLOCK, "", regex=True) if "%H" not in date_format else plain
        try:
            return pd.to_datetime(plain, format=date_format, errors="coerce")
        except ValueError as error:
            raise DataError(f"date_format {date_format!r} is none of strftime: {error}") from None
    return pd.to_datetime(plain.mask(plain == ""), format=ISO, errors="coerce")


def find_date_format(texts: pd.Series, where: str, *, traded: bool = True) -> str | None:
    """The `date_format` that reads every one of these distinct texts; None: ISO 8601.

    traded : the dates are days of trading, so that a reading with weekends is none

    Raises DataError where no format reads all of them (mixed dates, a line with a total) and where two do.
    """
    texts = texts[texts.str.strip() != ""]
    if epoch := _epoch(texts):
        return epoch
    fits = {form: read_dates(texts, form) for form in (None, *FORMATS)}
    whole = [form for form, days in fits.items() if days.notna().all()]
    if not whole:
        raise DataError(_unreadable(texts, fits, where))
    if len(whole) > 1 and None not in whole:
        return _of_two(texts, {form: fits[form] for form in whole if form}, where, traded)
    return whole[0]


def _epoch(texts: pd.Series) -> str:
    """Which count since 1970 all of these numbers can be, years 1950 to 2100; empty if none."""
    numbers = pd.to_numeric(texts, errors="coerce")
    if not len(texts) or numbers.isna().any() or numbers.abs().max() < 2.2e8:
        return ""  # 20240102 is a date
    size = numbers.abs().max()
    return next((name for name, limit in zip(EPOCHS, (4.2e9, 4.2e12, 4.2e15, 4.2e18), strict=True) if size < limit), "")


def _of_two(texts: pd.Series, fits: dict[str, pd.Series], where: str, traded: bool) -> str:
    """Of formats that all read, the one whose dates are weekdays; DataError where two are."""
    if len({tuple(days) for days in fits.values()}) == 1:
        return next(iter(fits))
    weekdays = [form for form, days in fits.items() if (days.dt.day_of_week < 5).mean() > 0.99]
    if traded and len(weekdays) == 1:
        return weekdays[0]
    named = " or ".join((weekdays if traded else []) or fits)
    raise DataError(f"{where} holds {texts.iloc[0]!r}, which may be {named}; set date_format in the source")


def _unreadable(texts: pd.Series, fits: dict[str | None, pd.Series], where: str) -> str:
    """Which text does not fit to the others, and the way out."""
    if texts.str.fullmatch(_SERIAL.pattern).all():
        return f"{where} holds {texts.iloc[0]!r}, a day number of a spreadsheet; format the column as YYYY-MM-DD"
    days = max(fits.values(), key=lambda found: found.notna().sum())
    odd = texts[days.isna()].iloc[0]
    if not days.notna().any():
        return f"{where} holds {odd!r}, which is not a date; name the column of dates, and its date_format"
    if _total(odd):
        return f"{where} holds {odd!r} among dates{_total(odd)}"
    like = next(iter(texts[days.notna()]))
    return f"{where} has mixed dates: {like!r} and {odd!r}; write all of them as YYYY-MM-DD"


def _total(text: str) -> str:
    """The way out where a line is no bar but a sum or a footnote."""
    words = re.search(r"[A-Za-z]{3,}", _MONTHS.sub("", text))
    return "; remove the rows that are not daily bars (totals, footnotes)" if words else ""
