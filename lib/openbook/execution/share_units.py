"""Shares are kept as integers of a book's unit (`share_units` to a whole share), and shown as shares."""

from collections.abc import Iterable

import pandas as pd


def position_series(pairs: Iterable[tuple], share_units: int = 1) -> pd.Series:
    """Shares by symbol, sorted, from pairs of symbol and units; int64 where a unit is a whole share, else float64."""
    pairs = sorted(pairs)
    index = pd.Index([symbol for symbol, _ in pairs], dtype="str", name="symbol")
    units = pd.Series([units for _, units in pairs], index=index, dtype="int64", name="shares")
    return in_shares(units, share_units)


def in_shares(units: pd.Series, share_units: int) -> pd.Series:
    """Units as shares: int64 where a unit is a whole share, else float64, from which rounding gives the units again."""
    return units.astype("int64") if share_units == 1 else units.astype("int64") / share_units


def shares_text(units: int, share_units: int, sign: str = "") -> str:
    """Units as a number of shares, in words."""
    return f"{units:{sign}d}" if share_units == 1 else f"{units / share_units:{sign}.10g}"
