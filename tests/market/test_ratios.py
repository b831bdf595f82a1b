"""Split ratios as vendors store them: the fraction that was meant, or that nobody can tell."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbook.market.ratios import MOST, read_ratio

SMALL = st.builds(Fraction, st.integers(1, MOST), st.integers(1, MOST))


def single(value: float) -> float:
    """As a 32-bit column holds it."""
    return float(np.float32(value))


@pytest.mark.parametrize(
    ("stored", "meant"),
    [
        (0.142857, "1/7"),  # six digits
        (1.333333, "4/3"),
        (0.6667, "2/3"),
        (0.333, "1/3"),  # 1:n needs fewer
        (0.067, "1/15"),
        (single(0.01), "1/100"),  # 32 bits: 0.0099999998
        (single(0.04), "1/25"),
        (single(1.4), "7/5"),
        (single(1 / 7), "1/7"),
        (1 / 7, "1/7"),  # 64 bits
        (1.1, "11/10"),
        (50.0, "50"),  # BRK-B, 2010-01-21
        (1000, "1000"),
        (0.001, "1/1000"),
    ],
)
def test_a_rounded_ratio_is_the_fraction_that_was_meant(stored, meant):
    assert read_ratio(stored) == (Fraction(meant), "split")


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        (1.05, "unclear"),  # a stock dividend of 5%, or a spin-off
        (1.03, "unclear"),
        (1.281, "spin_off"),  # GE, 2023-01-04: GE HealthCare
        (1.998, "spin_off"),  # GOOGL, 2014-04-03: one share of class C for each of class A
        (single(1.0053283), "spin_off"),
        (1.056, "spin_off"),  # 19:18 is as near as 0.0005; so is, by chance, one number in ten
        (1.333, "unclear"),  # 4:3, or not
        (0.4725, "unclear"),  # DD, 2019-06-03: 1:3 and a spin-off in one
        (0.07, "unclear"),  # 1:14, or 1:15
        (1500.0, "unclear"),
    ],
)
def test_what_is_no_split_is_told_from_what_nobody_can_tell(stored, kind):
    assert read_ratio(stored).kind == kind


@given(SMALL)
def test_every_small_fraction_is_found_however_it_is_stored(ratio):
    value = float(ratio)
    for stored in (value, single(value), round(value, 6), round(value, 5)):
        assert read_ratio(stored) == (ratio, "split")


@given(st.integers(1, 1000))
def test_so_is_every_split_of_one_share_and_into_one(n):
    assert read_ratio(float(n)) == read_ratio(single(n)) == (Fraction(n), "split")
    assert read_ratio(single(1 / n)) == read_ratio(1 / n) == (Fraction(1, n), "split")


def test_of_205_real_ratios_130_are_splits_65_are_not_and_10_nobody_can_tell(shared_data):
    bars = pd.read_parquet(shared_data / "sp500_2010_2023" / "ohlcv.parquet", columns=["split_ratio"])
    ratios = bars.loc[~bars["split_ratio"].isin([0, 1]) & bars["split_ratio"].notna(), "split_ratio"]
    found = Counter(read_ratio(float(ratio)).kind for ratio in ratios)
    assert found == {"split": 130, "spin_off": 65, "unclear": 10}
