"""Dates as vendors write them: one reading, or none."""

import pandas as pd
import pytest

from openbook.common.errors import DataError
from openbook.market import calendar
from openbook.market.sources.text_dates import EPOCHS, FORMATS, find_date_format, read_dates

DAYS = calendar.sessions("2019-01-02", "2019-12-31")


def written(form: str) -> pd.Series:
    return pd.Series([f"{day:{form}}" for day in DAYS], dtype="str")


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_found_and_gives_the_days_back(form):
    texts = written(form)
    found = find_date_format(texts, "column")
    assert read_dates(texts, found).tolist() == DAYS.tolist()
    assert found in (None, form)  # None: ISO 8601 reads it as it is


@pytest.mark.parametrize("text", ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d 00:00:00-05:00", "%Y-%m-%dT00:00:00Z"])
def test_iso_needs_no_format(text):
    texts = written(text)
    assert find_date_format(texts, "column") is None
    assert read_dates(texts, None).dt.normalize().tolist() == DAYS.tolist()


@pytest.mark.parametrize(("name", "unit"), EPOCHS.items())
@pytest.mark.parametrize("hour", [5, 14, 21])
def test_counts_since_1970_at_any_hour_of_a_session(name, unit, hour):
    """Midnight in New York, the open and the close, all in UTC, lie on the session's day."""
    stamps = (DAYS + pd.Timedelta(hours=hour)).as_unit(unit).astype("int64")
    texts = pd.Series(stamps.astype("str"), dtype="str")
    assert find_date_format(texts, "column") == name
    assert read_dates(texts, name).dt.normalize().tolist() == DAYS.tolist()


def test_twelve_of_thirteen_months_tell_day_from_month():
    early = pd.Series(["01/02/2020", "01/03/2020", "01/06/2020", "01/07/2020"], dtype="str")  # or 1 March, a Sunday
    assert find_date_format(early, "column") == "%m/%d/%Y"
    with pytest.raises(
        DataError, match=r"column holds '02/05/2018', which may be %m/%d/%Y or %d/%m/%Y; set date_format"
    ):
        find_date_format(pd.Series(["02/05/2018", "03/05/2018"], dtype="str"), "column")


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["2020-01-02", "01/03/2020"], "mixed dates: '.*' and '.*'; write all of them as YYYY-MM-DD"),
        (["2020-01-02", "2020-01-03", "Total"], "holds 'Total' among dates; remove the rows that are not daily bars"),
        (["43832", "43833"], "'43832', a day number of a spreadsheet; format the column as YYYY-MM-DD"),
        (["AAPL", "MSFT"], "'AAPL', which is not a date; name the column of dates"),
    ],
)
def test_what_is_no_one_kind_of_dates_is_refused(texts, said):
    with pytest.raises(DataError, match=said):
        find_date_format(pd.Series(texts, dtype="str"), "column")
