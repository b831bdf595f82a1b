"""What is missing, repeated or out of place in a whole history: sessions, bars, spans and reports."""

from typing import cast

import numpy as np
import pandas as pd

from openbook.market.checks.bar_history import BarHistory
from openbook.market.checks.history_thresholds import CheckupRules, findings
from openbook.market.ingest import INGEST_RULES, Bars
from openbook.market.tables import Delivery

# Sessions on either side whose median is the usual number of bars.
AROUND = 20
# Fewer weekends with bars than this are stray rows.
FEW_WEEKS = 3
DAY = "datetime64[D]"


# ---- checks at ingest ----


def refused_bars(bars: Bars, bad: np.ndarray, rule: str) -> pd.DataFrame:
    """One finding per symbol for the bars that a rule refuses, with the first of them as the example."""
    rows = np.flatnonzero(bad)
    table = pd.DataFrame({"column": bars.column[rows], "day": bars.day[rows], "row": rows}).sort_values(
        ["column", "day"], kind="stable"
    )
    by_symbol = table.groupby("column")
    first, last, n = by_symbol["day"].min(), by_symbol["day"].max(), by_symbol.size()
    details = [", ".join(f"{f} {v[i]:.6g}" for f, v in bars.values.items()) for i in by_symbol["row"].first()]
    return findings(rule, bars.symbols[first.index], first, last, n, details)


def holiday_rows(bars: Bars, bad: np.ndarray, rule: str) -> pd.DataFrame:
    """One finding per date on which the exchange was closed."""
    bars, bad = bars.take(bad), bad[bad]
    days, n = np.unique(bars.day[bad], return_counts=True)
    some = [_some(bars.symbols[np.unique(bars.column[bad & (bars.day == day)])]) for day in days]
    return findings(rule, ["*"] * len(days), days, days, n, some)


def closed_days(bars: Bars, closed: np.ndarray) -> str:
    """How many rows are on days on which the exchange was closed, and the kind of these days; empty if none."""
    if not closed.any():
        return ""
    days = np.unique(bars.day[closed])
    weekday = (days.astype("int64") + 3) % 7  # Monday is 0
    kinds = {"Saturday": weekday == 5, "Sunday": weekday == 6, "holiday": weekday < 5}
    details = [f"{n:,} {kind}{'s' * (n > 1)}" for kind, which in kinds.items() if (n := int(which.sum()))]
    share = f"{closed.mean():.1%}" if closed.mean() >= 0.001 else "less than 0.1%"
    return f"{closed.sum():,} of {len(closed):,} rows ({share}) lie on {', '.join(details)}: left out"


def weekend_bars(bars: Bars, closed: np.ndarray, rules: CheckupRules) -> pd.DataFrame:
    """Symbols that have a bar on most weekends: what trades then trades on another calendar than this."""
    weekend = closed & ((bars.day.astype("int64") + 3) % 7 >= 5)
    some = np.isin(bars.column, np.unique(bars.column[weekend]))
    bars, weekend = bars.take(some), weekend[some]
    week = (bars.day.astype("int64") + 3) // 7
    pairs = pd.DataFrame({"column": bars.column, "week": week, "day": bars.day, "weekend": weekend})
    by_week = pairs.groupby(["column", "week"])["weekend"].max()
    n, share = by_week.groupby("column").sum(), by_week.groupby("column").mean()
    chosen = n.index[(share > rules.max_weekends) & (n >= FEW_WEEKS)]
    days = pairs[pairs["weekend"] & pairs["column"].isin(chosen)].groupby("column")["day"]
    details = [
        f"bars on the weekends of {k} of {round(k / s)} weeks" for k, s in zip(n[chosen], share[chosen], strict=True)
    ]
    return findings("weekend bars", bars.symbols[chosen], days.min(), days.max(), days.size(), details)


def odd_bars(bars: Bars, rules: CheckupRules) -> list[pd.DataFrame]:
    """Bars that ingest admits: an open outside the day's range, and prices that no stock has."""
    close = bars.values["close"]
    dear = bars.symbols.isin(rules.dear)[bars.column]
    out = [refused_bars(bars, (close > rules.max_price) & ~dear, "absurd price")]
    if {"open", "high", "low"} <= bars.values.keys():
        slack = INGEST_RULES["range"].threshold * close
        opening, high, low = (bars.values[name] for name in ("open", "high", "low"))
        out.append(refused_bars(bars, (opening > high + slack) | (opening < low - slack), "open"))
    return out


# ---- sessions ----


def bad_sessions(tape: BarHistory, rules: CheckupRules) -> list[pd.DataFrame]:
    """Sessions with far fewer bars than usual, and sessions that repeat the one before."""
    n = pd.Series(np.bincount(tape.row, minlength=len(tape.sessions)))
    usual = n.rolling(2 * AROUND + 1, center=True, min_periods=1).median()
    thin = np.flatnonzero(n < rules.min_session * usual)
    details = [f"{n[i]} bars, usually {usual[i]:.0f}" for i in thin]
    days = tape.sessions
    out = [findings("thin session", ["*"] * len(thin), days[thin], days[thin], n[thin], details)]
    next_day = tape.gap == 1
    equal = np.append(False, tape.close[1:] == tape.close[:-1]) & next_day
    paired, same = (np.bincount(tape.row[mask], minlength=len(days)) for mask in (next_day, equal))
    frozen = np.flatnonzero((same > rules.max_frozen * paired) & (paired >= 10))
    details = [f"{same[i]} of {paired[i]} closes equal those of {days[i - 1]}" for i in frozen]
    out.append(findings("frozen session", ["*"] * len(frozen), days[frozen], days[frozen], same[frozen], details))
    return out


# ---- symbols ----


def lapses(tape: BarHistory, rules: CheckupRules) -> list[pd.DataFrame]:
    """Gaps, lines without trades, and bars that were sent again."""
    return [_gaps(tape, rules), _untraded(tape, rules), _repeated(tape, rules)]


def _gaps(tape: BarHistory, rules: CheckupRules) -> pd.DataFrame:
    """More than `max_gap` sessions without a bar between two bars."""
    at, day = np.flatnonzero(tape.gap > rules.max_gap + 1), tape.day
    details = [
        f"no bar for {tape.gap[i] - 1} sessions ({(day[i] - day[i - 1]).astype(int)} days); the close is then "
        f"{np.expm1(tape.move[i]):+.1%} away"
        for i in at
    ]
    return findings("gap", tape.symbols[tape.column[at]], day[at - 1], day[at], tape.gap[at] - 1, details)


def _untraded(tape: BarHistory, rules: CheckupRules) -> pd.DataFrame:
    """Symbols with many bars on which no share was traded."""
    none, day = tape.volume == 0, tape.day
    count = np.bincount(tape.column, weights=none, minlength=len(tape.symbols)).astype(int)
    total = np.bincount(tape.column, minlength=len(tape.symbols))
    chosen = np.flatnonzero(count > rules.max_untraded)
    rows = pd.Series(np.flatnonzero(none)).groupby(tape.column[none])
    first, last = rows.first()[chosen].to_numpy(), rows.last()[chosen].to_numpy()
    ends = tape.bounds[1:][chosen]
    details = []
    for column, bar, end in zip(chosen, last, ends, strict=True):
        after = end - bar - 1
        since = f"; every bar since {day[bar]} was traded: a listing elsewhere before" if after > 20 else ""
        details.append(f"{count[column]} of {total[column]} bars without a share traded{since}")
    return findings("no trading", tape.symbols[chosen], day[first], day[last], count[chosen], details)


def _repeated(tape: BarHistory, rules: CheckupRules) -> pd.DataFrame:
    """Runs of traded bars that equal the one before in every field."""
    fields = (tape.open, tape.high, tape.low, tape.close, tape.volume)
    same = np.append(False, np.logical_and.reduce([values[1:] == values[:-1] for values in fields]))
    first, last = tape.spells(same & ~tape.start & (tape.volume > 0) & (tape.high > tape.low))
    long = last - first + 1 >= rules.max_repeats
    first, last, day = first[long], last[long], tape.day
    details = [f"close {tape.close[i]:.6g}, volume {tape.volume[i]:.0f} again and again" for i in first]
    return findings("repeated bars", tape.symbols[tape.column[first]], day[first], day[last], last - first + 1, details)


# ---- the universe ----


def judge_members(tape: BarHistory, members: pd.DataFrame, rules: CheckupRules) -> list[pd.DataFrame]:
    """Members whose bars are missing, begin late, or belong to a company that came later.

    members : columns symbol, start, end; an interval outside the span of the bars is ignored
    """
    first, last = pd.Timestamp(tape.sessions[0]), pd.Timestamp(np.datetime64(tape.sessions[-1] + 1, "us"))
    spans = members.assign(
        start=members["start"].fillna(first).clip(lower=first),  # type: ignore[call-overload]  # the stubs know numbers
        end=members["end"].fillna(last).clip(upper=last),  # type: ignore[call-overload]
    )
    spans = spans[spans["start"] < spans["end"]].sort_values(["symbol", "start"])
    first_bar = pd.Series(tape.day[tape.start].astype("datetime64[us]"), index=tape.symbols)
    known = spans[spans["symbol"].isin(tape.symbols)]
    bar = known["symbol"].map(first_bar)
    missed = _sessions_between(tape, known["start"], cast(pd.Series, np.minimum(bar, known["end"])))
    gone = known["end"] <= bar
    late = known[(missed > rules.max_late) & ~gone]
    return [
        _recycled(known[gone], known[~gone], first_bar),
        _late(tape, late, bar[late.index], missed[late.index]),
        _none(spans[~spans["symbol"].isin(tape.symbols)]),
    ]


def _sessions_between(tape: BarHistory, start: pd.Series, end: pd.Series) -> pd.Series:
    """Sessions from `start` to before `end`."""
    rows = [np.searchsorted(tape.sessions, dates.to_numpy().astype(DAY)) for dates in (start, end)]
    return pd.Series(rows[1] - rows[0], index=start.index)


def _recycled(gone: pd.DataFrame, others: pd.DataFrame, first_bar: pd.Series) -> pd.DataFrame:
    """Members that left before their first bar, and never came back."""
    table = gone[~gone["symbol"].isin(others["symbol"])].drop_duplicates("symbol", keep="last")
    bar = table["symbol"].map(first_bar)
    details = [
        f"a member until {end:%Y-%m-%d}, the first bar is of {day:%Y-%m-%d}"
        for end, day in zip(table["end"], bar, strict=True)
    ]
    return findings("recycled ticker", table["symbol"], table["end"], bar, np.ones(len(table)), details)


def _late(tape: BarHistory, late: pd.DataFrame, bar: pd.Series, missed: pd.Series) -> pd.DataFrame:
    """Members whose bars begin long after they entered."""
    details = [
        f"a member since {s:%Y-%m-%d} or before, bars from {b:%Y-%m-%d}"
        for s, b in zip(late["start"], bar, strict=True)
    ]
    return findings("late history", late["symbol"], late["start"], bar, missed, details)


def _none(absent: pd.DataFrame) -> pd.DataFrame:
    """Members without any bar."""
    spans = absent.groupby("symbol").agg(start=("start", "min"), end=("end", "max"))
    details = [f"a member from {s:%Y-%m-%d} to {e:%Y-%m-%d}" for s, e in zip(spans["start"], spans["end"], strict=True)]
    return findings("no history", spans.index, spans["start"], spans["end"], np.zeros(len(spans)), details)


# ---- reports and side tables ----


def judge_reports(delivery: Delivery, rules: CheckupRules) -> list[pd.DataFrame]:
    """Reports whose dates cannot be, that come late, again, or with other numbers."""
    if delivery.fundamentals is None:
        return []
    table = delivery.fundamentals.dropna(subset=["value"])
    # one number per filing: equal items give equal numbers
    weight = pd.util.hash_array(table["item"].to_numpy(object)) % 9973 + 1
    key = ["symbol", "period_end", "available"]
    filed = table.assign(sum=table["value"] * weight).groupby(key, sort=True)["sum"].sum().reset_index()
    lag = (filed["available"] - filed["period_end"]).dt.days
    again = filed.duplicated(["symbol", "period_end"])
    same = again & np.isclose(filed["sum"], filed["sum"].shift(), rtol=1e-9)
    return [
        _reports("early report", filed[lag < 0], lag, "days from the period's end to the report"),
        _reports("late report", filed[lag > rules.max_lag], lag, "days from the period's end to the report"),
        _reports("repeated report", filed[same], lag, "days after the period's end, the same numbers again"),
        _reports("amended report", filed[again & ~same], lag, "days after the period's end, with other numbers"),
    ]


def _reports(rule: str, rows: pd.DataFrame, lag: pd.Series, words: str) -> pd.DataFrame:
    details = [f"{days} {words}" for days in lag[rows.index]]
    dates = rows[["period_end", "available"]]
    return findings(rule, rows["symbol"], dates.min(axis=1), dates.max(axis=1), np.ones(len(rows)), details)


def repeated_keys(table: pd.DataFrame, nameless: int = 0) -> pd.DataFrame:
    """Symbols of a side table (columns symbol, date) with several rows of one date, one finding each.

    nameless : rows without a symbol, one finding together
    """
    twice = table[table.duplicated(["symbol", "date"], keep=False)]
    by_symbol = twice.groupby("symbol")["date"]
    extra = twice[twice.duplicated(["symbol", "date"])].groupby("symbol").size()
    first, last = by_symbol.min()[extra.index], by_symbol.max()[extra.index]
    found = findings("duplicate key", extra.index, first, last, extra, [f"{n} rows too many" for n in extra])
    if not nameless:
        return found
    return pd.concat(
        [found, findings("no symbol", ["*"], [pd.NaT], [pd.NaT], [nameless], [f"{nameless} rows without a symbol"])]
    )


def overlapping_spells(members: pd.DataFrame) -> pd.DataFrame:
    """Membership intervals that overlap, repeat or end before they start; ingest takes their union."""
    ordered = members.sort_values(["symbol", "start"], na_position="first", ignore_index=True)
    end = ordered["end"].fillna(pd.Timestamp.max.as_unit("us"))
    again = (ordered["symbol"] == ordered["symbol"].shift()) & (ordered["start"] < end.shift())
    bad = ordered[again | (ordered["end"] < ordered["start"])]
    details = [
        f"the interval from {start} to {end} overlaps or is empty"
        for start, end in zip(bad["start"], bad["end"], strict=True)
    ]
    last = bad["end"].fillna(bad["start"])
    return findings("duplicate key", bad["symbol"], bad["start"], last, np.ones(len(bad)), details)


def _some(symbols) -> str:
    """The first few symbols of many."""
    return ", ".join([*symbols[:5], "…"] if len(symbols) > 5 else symbols)
