"""Reported figures as they were known at the time: quarters out of year-to-date flows, trailing twelve months.

Every line of the result comes from filings that were public by then. An amendment is a further line with its own day;
it replaces nothing.
"""

from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from openbook.common.errors import DataError
from openbook.common.settings import Settings
from openbook.market.tables import FUNDAMENTAL_COLUMNS

FACT_COLUMNS = ["symbol", "item", "period_start", "period_end", "value", "filed"]
ODD_COLUMNS = ["symbol", "item", "period_end", "filed", "reason"]
MONTHS = {"Q1": 3, "Q2": 6, "Q3": 9, "FY": 12}  # from the fiscal year's start to the end of what a report covers
TRAILING = "_ttm"
# Fiscal quarters of 12 to 14 weeks end up to a week beside a month's end: two weeks inside is the month that is meant.
TWO_WEEKS = np.timedelta64(14, "D")


class FilingLimits(Settings):
    """Which figures are accepted by the days from the end of their period to their filing."""

    late_after: int = Field(200, ge=1, description="days; later ones are used and listed")
    stale_after: int = Field(
        800,
        ge=1,
        description="days; later ones are refused. A report's figures of the year before come after about 410",
    )


def facts_of(reports: pd.DataFrame, items: list[str], *, to_date=(), balances=()) -> pd.DataFrame:
    """FACT_COLUMNS of reports that have a column for each item and state their period by its end and `focus`.

    reports : columns symbol, period_end, focus (Q1, Q2, Q3 or FY), filed, and the items
    to_date : flows that a quarterly report gives since the fiscal year's start, as cash flows are
    balances : items at the period's end; all others are flows of the quarter, or of the year if focus is FY
    """
    months = reports["focus"].map(MONTHS)
    if months.isna().any():
        raise DataError(f"a report covers {reports.loc[months.isna(), 'focus'].iloc[0]!r}; known: {', '.join(MONTHS)}")
    for name in sorted({*to_date, *balances} - set(items)):
        raise DataError(f"{name} is not an item of the reports; choose from {', '.join(items)}")
    parts = []
    for item in items:
        length = months if item in to_date else months.where(months == 12, 3)
        start = None if item in balances else _months_before(reports["period_end"], length.to_numpy("int64"))
        known = reports[["symbol", "period_end", "filed"]].assign(item=item, period_start=start, value=reports[item])
        parts.append(known.astype({"item": "str", "period_start": "datetime64[us]"}))
    table = pd.concat(parts, ignore_index=True).dropna(subset="value")
    return table.sort_values("filed", kind="stable", ignore_index=True)[FACT_COLUMNS]


def known_items(
    facts: pd.DataFrame, sessions: pd.DatetimeIndex, limits: FilingLimits | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """FUNDAMENTAL_COLUMNS of what could be known, usable from the session after its filing.

    facts : FACT_COLUMNS in any order, further ones ignored but `accession`, by which filings of one day are ordered;
        period_start NaT: a balance at period_end. Flows of about 3, 6, 9 and 12 months are read, others left out

    A flow appears twice. Under its own name it is that of the quarter: as reported, else the year to date less what was
    known of it three months before, else (a fourth quarter) the year less its three quarters. With `_ttm` it is that of
    the last twelve months: the fiscal year's, else the sum of four quarters, and nothing unless all four are known.
    A figure that only repeats what was known adds no line; one that differs is an amendment and adds one.

    Returns the table, and what is odd, ODD_COLUMNS: filed before its period ended, or too late (both refused), or late.
    """
    facts, odd = _sound(facts, limits or FilingLimits())
    news = _news(facts[["line", "start", "end", "months", "period_end", "filed", "value"]])
    flows = news[news["months"] > 0]
    quarters = _quarters(flows)
    trailing = _trailing(quarters, flows[flows["months"] == 12])
    balances = news.loc[news["months"] == 0, quarters.columns]
    lines = facts.drop_duplicates("line").set_index("line")[["symbol", "item"]]
    parts = [(balances, ""), (quarters, ""), (trailing, TRAILING)]
    named = [table.assign(item=table["item"] + end) for part, end in parts for table in [part.join(lines, on="line")]]
    return _available(pd.concat(named, ignore_index=True), sessions), odd


def _sound(facts: pd.DataFrame, limits: FilingLimits) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Accepted facts, with line (a number for symbol and item), start, end and months; and irregularities."""
    order = ["filed", "accession"] if "accession" in facts else ["filed"]
    table = facts.dropna(subset=["period_end", "filed", "value"]).sort_values(order, kind="stable", ignore_index=True)
    lag = (table["filed"] - table["period_end"]).dt.days
    reasons = {
        "filed before its period ended: refused": lag < 0,
        f"filed more than {limits.stale_after} days after its period: refused": lag > limits.stale_after,
        f"filed more than {limits.late_after} days after its period: used": lag > limits.late_after,
    }
    reason = np.select(list(reasons.values()), list(reasons), default="")
    odd = table.assign(reason=reason).loc[reason != "", ODD_COLUMNS]
    is_flow = table["period_start"].notna()
    end = _month(table["period_end"] - TWO_WEEKS)
    start = np.where(is_flow, _month(table["period_start"].fillna(table["period_end"]) + TWO_WEEKS), end + 1)
    table = table.assign(start=start, end=end, months=end - start + 1)
    table = table[
        (lag >= 0) & (lag <= limits.stale_after) & table["months"].isin([0, 3, 6, 9, 12]) & ~(is_flow & (start > end))
    ]
    return table.assign(line=table.groupby(["symbol", "item"], sort=True).ngroup()), odd.reset_index(drop=True)


def _news(facts: pd.DataFrame) -> pd.DataFrame:
    """Facts without those that repeat the last filing's number for the period."""
    ordered = facts.sort_values(["line", "start", "end"], kind="stable", ignore_index=True)
    return _changes(ordered, ["line", "start", "end"])


def _quarters(flows: pd.DataFrame) -> pd.DataFrame:
    """Flow of each quarter by the day on which it was known: line, end, period_end, filed, value."""
    years = flows[flows["months"] > 3]
    key = ["line", "start", "end"]
    earlier = flows[flows["months"] < 12].assign(end=lambda table: table["end"] + 3)
    parts = [years.assign(role="long"), earlier.assign(role="short")]
    three = flows[flows["months"] == 3]
    for i in range(3):
        parts.append(three.assign(start=three["start"] - 3 * i, end=three["start"] - 3 * i + 11, role=f"quarter {i}"))
    events = pd.concat(parts, ignore_index=True).merge(years[key].drop_duplicates(), on=key)
    roles = ["long", "short", "quarter 0", "quarter 1", "quarter 2"]
    derived = _as_known(events, key, roles)
    of_quarters = derived["quarter 0"] + derived["quarter 1"] + derived["quarter 2"]
    derived["value"] = derived["long"] - derived["short"].fillna(of_quarters)
    both = [three.assign(role="reported"), derived.dropna(subset="value").assign(role="derived")]
    known = _as_known(pd.concat(both, ignore_index=True), ["line", "end"], ["reported", "derived"])
    return _lines(known.assign(value=known["reported"].fillna(known["derived"])))


def _trailing(quarters: pd.DataFrame, years: pd.DataFrame) -> pd.DataFrame:
    """Flow of the twelve months up to each quarter's end by the day on which it was known, as `_quarters`."""
    parts = [years.assign(role="year"), quarters.assign(role="0")]
    for i in range(1, 4):
        never: Any = pd.NaT
        parts.append(quarters.assign(end=quarters["end"] + 3 * i, role=str(i), period_end=never))
    known = _as_known(pd.concat(parts, ignore_index=True), ["line", "end"], ["year", "0", "1", "2", "3"])
    total = known["0"] + known["1"] + known["2"] + known["3"]
    return _lines(known.assign(value=known["year"].fillna(total)).dropna(subset="period_end"))


def _as_known(events: pd.DataFrame, key: list[str], roles: list[str]) -> pd.DataFrame:
    """One row per key and day of news, with the newest value of each role (NaN: none yet) and its period's end.

    events : key, filed, role, value, period_end; of several on a day the last row counts. The end of a period is that
        of the rows which cover it to its end, not of the earlier ones that are taken off
    """
    events = events.sort_values([*key, "filed"], kind="stable", ignore_index=True)
    wide = {role: events["value"].where(events["role"] == role) for role in roles}
    ends = events["period_end"].where(~events["role"].isin(["short", "quarter 0", "quarter 1", "quarter 2"]))
    table = events[[*key, "filed"]].assign(**wide, period_end=ends)
    filled = table.groupby(key, sort=False)[[*roles, "period_end"]].ffill()
    table[[*roles, "period_end"]] = filled
    return table.drop_duplicates([*key, "filed"], keep="last")


def _lines(known: pd.DataFrame) -> pd.DataFrame:
    """line, end, period_end, filed, value of the rows that have a value and change what was known."""
    table = known.dropna(subset="value")[["line", "end", "period_end", "filed", "value"]]
    return _changes(table.reset_index(drop=True), ["line", "end"])


def _changes(table: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """The rows whose value is not that of the row before with the same key."""
    before = table.shift(1)
    same = (table["value"] == before["value"]) & (table[key] == before[key]).all(axis=1)
    return table[~same].reset_index(drop=True)


def _available(table: pd.DataFrame, sessions: pd.DatetimeIndex) -> pd.DataFrame:
    """FUNDAMENTAL_COLUMNS; of several filings by one session about one period, the last counts."""
    after = sessions.searchsorted(table["filed"], side="right")
    known = table[after < len(sessions)].assign(available=sessions[after[after < len(sessions)]])
    key = ["available", "symbol", "item", "period_end"]
    known = known.sort_values("filed", kind="stable").drop_duplicates(key, keep="last")
    out = known.sort_values(["available", "symbol", "period_end", "item"], ignore_index=True)[FUNDAMENTAL_COLUMNS]
    return out.astype({"symbol": "str", "item": "str", "value": "float64"})


def _month(days: pd.Series) -> np.ndarray:
    """Months since 1970."""
    return days.to_numpy("datetime64[M]").astype("int64")


def _months_before(ends: pd.Series, months: np.ndarray) -> np.ndarray:
    """First day of the period of so many months up to `ends`."""
    after = ends.to_numpy("datetime64[D]") + np.timedelta64(1, "D")
    month = after.astype("datetime64[M]")
    day = np.minimum(after - month.astype("datetime64[D]"), np.timedelta64(27, "D"))
    return (month - months.astype("timedelta64[M]")).astype("datetime64[D]") + day
