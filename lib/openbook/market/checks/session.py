"""The data check of one session: which names can be traded, which are left out and why, and when to stop.

The first check, on arrival, is `ingest.admit`. A name that is not held is left out and listed; a held one with a wrong
bar stops the run, because it is never valued at a guess. A held one without a bar is not traded, and keeps its last
price for as long as a halt may last (`ledger.settlement`).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from openbook.common.errors import DataError
from openbook.common.frames import each_row
from openbook.market import calendar
from openbook.market.checks.jumps import judge_jumps
from openbook.market.checks.session_bars import SessionBars, look
from openbook.market.checks.spin_offs import judge_spin_offs
from openbook.market.checks.suspect_bars import judge_bars, judge_levels
from openbook.market.checks.thresholds import RULES, WAY_OUT, Finding, QualityRules, found
from openbook.market.ingest import BAR_RULES, INGEST_RULES, admit
from openbook.market.tables import Market

__all__ = ["INGEST_RULES", "RULES", "Checked", "QualityRules", "admit", "check_session"]

LEFT_OUT_COLUMNS = ["symbol", "rule", "detail"]


@dataclass(frozen=True, eq=False)
class Checked:
    """Result of the session check.

    tradable : symbols with a sound bar in this session and shares traded on it
    left_out : symbol, rule, detail; one row for each active or held symbol that is not tradable
    coverage : share of the active names that have a bar
    notes : sentences for the page
    """

    date: pd.Timestamp
    tradable: pd.Index
    left_out: pd.DataFrame
    coverage: float
    notes: tuple[str, ...]


def check_session(market: Market, date, *, held=(), rules: QualityRules | None = None, refused=None) -> Checked:
    """Check the session `date` as known at its close; later rows are ignored.

    held : symbols in the book
    refused : the table of `admit`, which explains missing bars

    Raises NoSession, CalendarError, DataNotReady if `date` has not arrived, and DataError with all that must stop the
    run, each with its name and the way out.

    Examples
    --------
    >>> checked = ob.check(market, "2022-12-28")
    >>> len(checked.tradable), checked.coverage
    (20, 1.0)
    """
    rules = rules or QualityRules()
    date = calendar.require_session(date)
    held = sorted({str(symbol) for symbol in held})
    bars = look(market.upto(date), date, held, rules)
    jumps, notes = judge_jumps(bars, rules)
    findings = (
        judge_bars(bars, held, rules)
        | _untraded(bars)
        | judge_levels(bars, rules)
        | judge_spin_offs(bars, rules)
        | jumps
    )
    findings |= _absent(bars, held, rules, refused)
    problems = [*_session_problems(bars, findings, rules), *_symbol_problems(findings, held)]
    if problems:
        raise DataError(f"{date:%Y-%m-%d}: {'; '.join(problems)}; after fixing the source, run `openbook data update`")
    left_out = [(symbol, finding.rule, finding.detail) for symbol, finding in sorted(findings.items())]
    if bars.volume is None:
        notes = ["Untraded names cannot be detected: the source has no volume.", *notes]
    return Checked(
        date=date,
        tradable=bars.symbols[bars.concerned & bars.bar[-1] & ~bars.symbols.isin(list(findings))],
        left_out=pd.DataFrame(left_out, columns=LEFT_OUT_COLUMNS, dtype="str"),
        coverage=_coverage(bars),
        notes=tuple(notes),
    )


def _absent(bars: SessionBars, held: list[str], rules: QualityRules, refused) -> dict[str, Finding]:
    """Names that should have a bar in this session and have none, by symbol."""
    unknown = [symbol for symbol in held if symbol not in bars.symbols]
    out = {symbol: found("unknown", "the source has no bars for it") for symbol in unknown}
    why = {} if refused is None else _refused_on(refused, bars.dates[-1])
    for column in np.flatnonzero(~bars.bar[-1] & bars.concerned).tolist():
        symbol = bars.symbols[column]
        last = bars.market.close[symbol].last_valid_index()
        gap = len(bars.market.dates) if last is None else int((bars.market.dates > last).sum())
        since = "no bar yet" if last is None else f"no bar on this session, the latest is of {last:%Y-%m-%d}"
        if bars.delisted[column]:
            out[symbol] = found("delisted", since)
        elif symbol in why:
            out[symbol] = why[symbol]
        elif gap >= rules.gone_after:
            out[symbol] = found("gone", f"{since}, {gap} sessions ago")
        else:
            out[symbol] = found("missing", since)
    return out


def _refused_on(refused: pd.DataFrame, date: pd.Timestamp) -> dict[str, Finding]:
    """Why ingest refused a bar of `date`, by symbol."""
    rows = refused[(refused["date"] == date) & refused["rule"].isin(BAR_RULES)]
    return {
        row.symbol: Finding(row.rule, f"its bar was rejected on arrival ({row.rule}: {row.detail})", "held")
        for row in each_row(rows)
    }


def _untraded(bars: SessionBars) -> dict[str, Finding]:
    """Names with a bar but no volume in this session."""
    if bars.volume is None:
        return {}
    none = bars.concerned & bars.bar[-1] & ~(bars.volume[-1] > 0)
    return {symbol: found("zero volume", "no share traded") for symbol in bars.symbols[none]}


def _coverage(bars: SessionBars) -> float:
    """Share of the expected names that have a bar in this session; 0 if none is expected."""
    return float(bars.bar[-1, bars.expected].mean()) if bars.expected.any() else 0.0


def _session_problems(bars: SessionBars, findings: dict[str, Finding], rules: QualityRules) -> list[str]:
    """Faults of the session as a whole."""
    problems = []
    coverage, n = _coverage(bars), int(bars.expected.sum())
    if not coverage >= rules.min_coverage:
        absent = bars.symbols[bars.expected & ~bars.bar[-1]]
        problems.append(
            f"coverage {_below(coverage, rules.min_coverage)} < {rules.min_coverage:.0%}: {len(absent)} "
            f"of {n} active names have no bar ({_names(absent)}); get the missing bars"
        )
    both = bars.expected & bars.bar[-1] & bars.bar[-2:-1].any(axis=0)
    same = (bars.close[-1, both] == bars.close[-2:-1, both]).mean() if both.any() else 0.0
    if not same <= rules.max_frozen:
        problems.append(
            f"frozen feed: {same:.0%} of closes equal those of {bars.dates[-2]:%Y-%m-%d}; get the session again"
        )
    untraded = [symbol for symbol in bars.symbols[bars.expected] if _is(findings.get(symbol), "zero volume")]
    again = [symbol for symbol in bars.symbols[bars.expected] if _is(findings.get(symbol), "repeated bars")]
    if same <= rules.max_frozen and not len(again) <= rules.max_repeated * n:
        problems.append(
            f"bars sent again for {len(again)} of {n} names ({_names(again)}), more than "
            f"{rules.max_repeated:.0%}; get that session again"
        )
    if not len(untraded) <= rules.max_zero_volume * n:
        problems.append(
            f"no volume for {len(untraded)} of {n} names ({_names(untraded)}), more than {rules.max_zero_volume:.0%}; "
            "get bars with volume"
        )
    return problems


def _below(share: float, limit: float) -> str:
    """A share in whole percent that does not read as the limit: 94.9% is not 95%."""
    return f"{share:.0%}" if round(100 * share) < 100 * limit else f"{np.floor(100 * share):.0f}%"


def _is(finding: Finding | None, rule: str) -> bool:
    return finding is not None and finding.rule == rule


def _symbol_problems(findings: dict[str, Finding], held: list[str]) -> list[str]:
    """What is wrong with single names that must stop the run, and the way out of each."""
    problems = []
    for symbol, (rule, detail, stops) in sorted(findings.items()):
        if stops == "session" or (stops == "held" and symbol in held):
            who = f"held {symbol}" if symbol in held else symbol
            problems.append(f"{who}: {detail}; {WAY_OUT.get(rule, 'correct the source')}")
    return problems


def _names(symbols) -> str:
    """The first few symbols of many."""
    return ", ".join([*symbols[:5], "…"] if len(symbols) > 5 else symbols)
