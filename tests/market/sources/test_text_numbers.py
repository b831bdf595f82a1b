"""Numbers as vendors write them: read where a mark can be one thing only, and else refused."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbook.common.errors import DataError
from openbook.market.sources.text_numbers import read_numbers


def read(*texts: str, field: str = "close", decimal=None) -> list[float]:
    """The texts as one column of one file."""
    return read_numbers({field: pd.Series(texts, dtype="str")}, {field: "column"}, decimal)[field].tolist()


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        (("1,234,567", "1"), [1_234_567.0, 1.0]),
        (("1.234,56", "2,5"), [1234.56, 2.5]),
        (("$1,234.50", "$999.50", "N/A"), [1234.5, 999.5, np.nan]),
        (("USD 12.5", "12.5 USD", "-"), [12.5, 12.5, np.nan]),
        (("1 234,5", "1'234,5", "1\u00a0234,5"), [1234.5, 1234.5, 1234.5]),
        (("0,125", "1,250"), [0.125, 1.25]),
        (("1e3", "2.5E-2", "+3", "-4.0"), [1000.0, 0.025, 3.0, -4.0]),
        (("12345,678", "1"), [12345.678, 1.0]),
    ],
)
def test_they_are_read(texts, numbers):
    np.testing.assert_array_equal(read(*texts), numbers)


def test_counts_may_have_a_letter_and_prices_may_not():
    assert read("12.5M", "1.25B", "900K", "7", field="volume") == [12.5e6, 1.25e9, 9e5, 7.0]
    with pytest.raises(DataError, match=r"'12\.5M', which is not a number; correct or remove it"):
        read("12.5M")


def test_one_column_of_a_file_tells_of_the_others():
    """Alone, 1,234 may be either; beside 10.5 its comma stands between thousands, and beside 10,5 it does not."""
    where = {"close": "close", "volume": "volume"}
    for close, volume in (("10.5", 1234.0), ("10,5", 1.234)):
        texts = {"close": pd.Series([close], dtype="str"), "volume": pd.Series(["1,234"], dtype="str")}
        assert read_numbers(texts, where, None)["volume"].tolist() == [volume]
    with pytest.raises(DataError, match=r"'1,234': ambiguous comma .*; set decimal: comma or decimal: point"):
        read("1,234", "999")


def test_what_is_said_settles_it():
    assert read("1,234", "999", decimal="comma") == [1.234, 999.0]
    assert read("1,234", "999", decimal="point") == [1234.0, 999.0]
    with pytest.raises(DataError, match=r"'10\.5', which is not a number with a decimal comma"):
        read("10.5", decimal="comma")


@pytest.mark.parametrize("text", ["€12", "12 GBP", "£1,234.50", "HKD 5"])
def test_another_currency_is_refused(text):
    with pytest.raises(DataError, match=re.escape(f"holds '{text}': prices are read in USD")):
        read(text, "1.5")


@given(st.lists(st.decimals(0, 10_000_000, places=2), min_size=1, max_size=20))
def test_either_locale_gives_the_number_that_was_written(values):
    point = [f"{value:,.2f}" for value in values]
    comma = [text.translate(str.maketrans(",.", ".,")) for text in point]
    wanted = [float(value) for value in values]
    assert read(*point) == wanted
    assert read(*comma) == wanted
