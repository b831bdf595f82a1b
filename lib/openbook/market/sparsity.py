"""Whether bars fill the tables that are made of them: sessions × symbols, so that one old row beside many young names
would take gigabytes for nothing."""

import numpy as np
import pandas as pd

from openbook.common.errors import DataError
from openbook.market import calendar

SPARSE_CELLS = 40_000_000  # in almost empty sessions at the start; 0.3 GB for each field
FILLED = 0.01  # share of the cells below which sessions are almost empty


def require_filled(days: np.ndarray, column: np.ndarray, symbols: pd.Index, name: str) -> None:
    """DataError (30) names the first bar if the sessions at the start of some bars are many, and almost empty.

    days : of the bars, datetime64[D]; column : position of each bar's symbol in `symbols`; name : of the source
    """
    known = days >= np.datetime64(calendar.FIRST)  # ingest refuses what is older
    if not known.any() or _weekdays(days[known].min(), days.max()) * len(symbols) <= SPARSE_CELLS:
        return
    found, bars = np.unique(days[known], return_counts=True)
    cells = _weekdays(found[0], found) * len(symbols)  # before each of these days
    before = np.append(0, np.cumsum(bars)[:-1])
    at = int(np.argmax(FILLED * cells - before))  # where the others begin
    if not (before[at] < FILLED * cells[at] and cells[at] > SPARSE_CELLS):
        return
    gigabytes, count = cells[at] * 8 / 1e9, len(symbols)
    first, few = symbols[column[int(np.argmax(days == found[0]))]], f"{before[at]:,} bar{'s' if before[at] > 1 else ''}"
    raise DataError(
        f"{first} has a bar on {found[0]}, but before {found[at]} {name} has {few} for {count:,} symbols: tables of "
        f"all sessions since then would take {gigabytes:.1f} GB for each field, almost empty; correct the date, remove "
        "the rows before the others begin, or read that history as a source of its own (`symbols`)"
    )


def _weekdays(first, last):
    return np.busday_count(first, last)
