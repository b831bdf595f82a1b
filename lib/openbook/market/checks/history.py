"""The check of a whole history before trading on it: `examine` finds faults, names them, and suggests the fix.

Ingest (`market.ingest`) and the session check (`session`) judge bars as they arrive; this judges all of them at
once, forwards and backwards, and changes nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd

from openbook.common.constants import SESSIONS_A_YEAR
from openbook.common.errors import CalendarError, DataError, DataNotReady
from openbook.common.frames import plain_rows
from openbook.market import calendar
from openbook.market.checks.bar_history import BarHistory, make_bar_history
from openbook.market.checks.duplicates import compare, same_companies
from openbook.market.checks.gaps import (
    bad_sessions,
    closed_days,
    holiday_rows,
    judge_members,
    judge_reports,
    lapses,
    odd_bars,
    overlapping_spells,
    refused_bars,
    weekend_bars,
)
from openbook.market.checks.history_thresholds import CHECKS, FINDING_COLUMNS, CheckupRules, findings
from openbook.market.checks.price_moves import judge_moves
from openbook.market.checks.session import check_session
from openbook.market.checks.thresholds import QualityRules
from openbook.market.ingest import Bars, admit, copies, is_bad, read_bars, refuse
from openbook.market.sources.files import FilesSource
from openbook.market.tables import Delivery

__all__ = ["CHECKS", "Checkup", "CheckupRules", "examine"]

# Rules of ingest that hide a bar, in its order.
REFUSING = ("reserved", "price", "volume", "range")
EXAMPLES = 5


class Extent(NamedTuple):
    """How much was checked: symbols, the sessions with bars, and which fields there are beside the close."""

    n_symbols: int
    sessions: pd.DatetimeIndex
    fields: tuple[str, ...]
    has_sectors: bool


@dataclass(frozen=True, eq=False)
class Checkup:
    """What was found in one delivery.

    findings : rule (of CHECKS), symbol ("*": a whole session), first, last, n, detail, way_out; worst first
    summary : what was looked at, by name: rows, symbols, sessions, fields, span
    readings : how files and columns were understood, if that was guessed
    symbol_years : bars over SESSIONS_A_YEAR: what rates of findings are measured by
    unpriced : why there was no price to check; empty if there were prices
    extent : how much was checked; None where there was no price
    source : the settings that read the files, if they were guessed
    """

    findings: pd.DataFrame
    summary: dict[str, str]
    symbol_years: float
    readings: tuple[str, ...] = ()
    unpriced: str = ""
    extent: Extent | None = None
    source: FilesSource | None = None

    @property
    def usable(self) -> bool:
        """Whether there are prices, and no finding stops a run for everybody."""
        return not (self.stopping or self.unpriced)

    @property
    def stopping(self) -> list[str]:
        """The rules found that stop the whole delivery, or the runs of some sessions."""
        return [rule for rule in self.counts.index if CHECKS[rule].stops in ("delivery", "session")]

    @property
    def counts(self) -> pd.Series:
        """Findings by rule, worst first."""
        return self.findings.groupby("rule", sort=False).size()

    def rates(self) -> pd.Series:
        """Findings per 1,000 symbol-years by rule."""
        return self.counts / self.symbol_years * 1000

    def lines(self, examples: int = EXAMPLES) -> Iterator[str]:
        """The report: what it is, then the findings by rule with their reason, examples and way out."""
        yield from self.readings
        for name, value in self.summary.items():
            yield f"{name:<10} {value}"
        for rule, rows in self.findings.groupby("rule", sort=False):
            check = CHECKS[str(rule)]
            yield ""
            yield f"{rule}: {len(rows):,} ({rows['symbol'].nunique():,} symbols)" if len(rows) > 1 else f"{rule}: 1"
            yield f"  why: {check.reason}"
            yield f"  fix: {check.way_out}"
            for row in rows.head(examples).itertuples():
                yield f"  {row.symbol:<8} {_span(row)}  {row.detail}"
            if len(rows) > examples:
                yield f"  … and {len(rows) - examples:,} more"
        yield ""
        yield self._verdict()

    def document(self) -> dict[str, Any]:
        """All of it for a program: every finding, and the rules among them that stop a run."""
        about = {"usable": self.usable, "unpriced": self.unpriced, "stopping": self.stopping}
        counts = {str(rule): int(n) for rule, n in self.counts.items()}
        seen = {"summary": self.summary, "readings": list(self.readings), "counts": counts}
        return {**about, **seen, "findings": plain_rows(self.findings)}

    def _verdict(self) -> str:
        """The last line."""
        if self.unpriced:
            return f"Not usable: {self.unpriced}"
        if self.usable:
            return f"Usable: {len(self.findings):,} findings, none of which stops a run."
        whole = [rule for rule in self.stopping if CHECKS[rule].stops == "delivery"]
        if whole:
            return f"Not usable: {', '.join(whole)}; all vendor data would be rejected."
        days = self.findings.loc[self.findings["rule"].isin(self.stopping), "last"].drop_duplicates().sort_values()
        span = f"{days.iloc[0]:%Y-%m-%d}" if len(days) == 1 else f"{days.iloc[0]:%Y-%m-%d} to {days.iloc[-1]:%Y-%m-%d}"
        what = ", ".join(self.stopping)
        return f"Not usable as it is: a run would stop on {len(days):,} sessions, {span} ({what}); fix these first."


def _span(row) -> str:
    """First and last day of a finding."""
    if pd.isna(row.first):
        return " " * 10
    first, last = f"{row.first:%Y-%m-%d}", "" if pd.isna(row.last) else f"{row.last:%Y-%m-%d}"
    return first if last in ("", first) else f"{first} to {last}"


def examine(
    delivery: Delivery,
    *,
    beside: Delivery | None = None,
    rules: CheckupRules | None = None,
    session_rules: QualityRules | None = None,
    today=None,
) -> Checkup:
    """Check every bar of a delivery, and the tables beside the bars.

    delivery : actions beside adjusted prices are, according to the vendor, in the prices: they are compared, not
        applied
    beside : a second source of some of the same symbols
    today : the date now in New York (None: by this machine's clock)

    Raises DataError only where nothing can be looked at: columns or dates that cannot be read, or no bar at all.
    """
    rules = rules or CheckupRules()
    bars = read_bars(delivery)
    sound, found = _on_arrival(bars, rules, calendar.today() if today is None else calendar.as_day(today))
    if not len(sound.day):
        raise DataError(_no_price(delivery, bars))
    tape = make_bar_history(sound, None if delivery.adjusted else delivery.actions)
    found += bad_sessions(tape, rules)
    found += lapses(tape, rules)
    found += judge_moves(tape, delivery.actions, rules)
    found.append(same_companies(tape, rules))
    if delivery.members is not None:
        found += [*judge_members(tape, delivery.members, rules), overlapping_spells(delivery.members)]
    found += judge_reports(delivery, rules)
    if beside is not None:
        found += compare(tape, _tape_beside(beside, tape), rules)
    found += _last_session(delivery, session_rules, today)
    extent = Extent(
        len(bars.symbols), pd.DatetimeIndex(tape.sessions), tuple(bars.values), delivery.sectors is not None
    )
    return Checkup(
        rank_findings(found), _summary(delivery, bars, tape), len(tape.close) / SESSIONS_A_YEAR, extent=extent
    )


def _on_arrival(bars: Bars, rules: CheckupRules, today: pd.Timestamp) -> tuple[Bars, list[pd.DataFrame]]:
    """The bars that ingest admits, one per symbol and session, and findings on the others: one rule for each bar."""
    late = bars.day > today.to_datetime64()
    found = [refused_bars(bars, late, "future")]
    bars = bars.take(~late)
    again, other = copies(bars)
    bad = {"holiday": is_bad(bars, "holiday"), "duplicate": again, "conflict": other}
    bad |= {rule: is_bad(bars, rule) for rule in REFUSING}
    left = np.ones(len(bars.day), dtype=bool)
    for rule, mask in bad.items():
        find = holiday_rows if rule == "holiday" else refused_bars
        found.append(find(bars, mask & left, rule))
        left &= ~mask
    found.append(weekend_bars(bars, bad["holiday"], rules))
    bars = bars.take(left)
    return bars, [*found, *odd_bars(bars, rules)]


def _no_price(delivery: Delivery, bars: Bars) -> str:
    """How many rows there were, how many had a price, that none can be used, and the way out."""
    return (
        f"{delivery.name}: no usable price in {len(delivery.bars):,} rows, {len(bars.day):,} with a "
        "price; check columns and units, and describe them with --source FILE.yaml"
    )


def _tape_beside(delivery: Delivery, tape: BarHistory) -> BarHistory:
    """The tape of what ingest admits of another source; of bars that differ the first counts.

    Raises DataError if it has no price, or no symbol of the first source: nothing would be compared.
    """
    read = read_bars(delivery)
    bars, _ = refuse(read, ("holiday",))
    again, other = copies(bars)
    bars, _ = refuse(bars.take(~(again | other)), ("price", "volume", "range"))
    if not len(bars.day):
        raise DataError(_no_price(delivery, read))
    if not set(bars.symbols) & set(tape.symbols):
        raise DataError(f"{delivery.name} shares no symbol with the first source; map its symbols")
    return make_bar_history(bars, None if delivery.adjusted else delivery.actions)


def _last_session(delivery: Delivery, session_rules: QualityRules | None, today) -> list[pd.DataFrame]:
    """Errors of ingest and of the last session's check, if they stop."""
    if delivery.adjusted and delivery.actions is not None:  # splits and dividends are in the prices already
        delivery = replace(delivery, actions=delivery.actions[delivery.actions["kind"] == "delisting"])
    rule, day = "refused", cast(pd.Timestamp, pd.NaT)
    try:
        market, refused = admit(delivery, today=today)
        rule, day = "last session", market.dates[-1]
        check_session(market, day, rules=session_rules, refused=refused)
    except (DataError, DataNotReady, CalendarError) as error:
        return [findings(rule, ["*"], [day], [day], [1], [str(error)])]
    return []


def rank_findings(found: list[pd.DataFrame]) -> pd.DataFrame:
    """All findings, worst rule first, of one rule the longest, then by symbol and day, each with its way out."""
    table = pd.concat([findings("refused", [], [], [], [], []), *found], ignore_index=True)
    rank = {rule: place for place, rule in enumerate(CHECKS)}
    table = table.assign(rank=table["rule"].map(rank))
    order = {"rank": True, "n": False, "symbol": True, "first": True, "last": True}  # the longest first
    table = table.sort_values(list(order), ascending=list(order.values()), ignore_index=True)
    way_out = table["rule"].map({rule: check.way_out for rule, check in CHECKS.items()}).astype("str")
    return table[FINDING_COLUMNS].assign(way_out=way_out)


def _summary(delivery: Delivery, bars: Bars, tape: BarHistory) -> dict[str, str]:
    """Summary of the checked data."""
    closed = closed_days(bars, is_bad(bars, "holiday"))
    prices = "adjusted by the vendor" if delivery.adjusted else "raw, as traded"
    actions = "none" if delivery.actions is None else f"{len(delivery.actions):,}"
    return {
        "Source": delivery.name,
        "Rows": f"{len(bars.day):,}",
        "Symbols": f"{len(bars.symbols):,}",
        "Sessions": f"{len(tape.sessions):,}, {tape.sessions[0]} to {tape.sessions[-1]}",
        **({"Closed": closed} if closed else {}),
        "Fields": ", ".join(bars.values),
        "Prices": f"{prices}; actions: {actions}",
    }
