"""Histories side by side: one company under two symbols, and two sources that do not mean the same company."""

from typing import Any

import numpy as np
import pandas as pd

from openbook.market.checks.bar_history import BarHistory
from openbook.market.checks.equal_returns import same_moves
from openbook.market.checks.history_thresholds import CheckupRules, findings

# A quarter with fewer shared days is not judged.
FEW = 20


def same_companies(tape: BarHistory, rules: CheckupRules) -> pd.DataFrame:
    """Pairs of symbols whose returns are the same on nearly every session that they share."""
    moves = _wide_moves(tape)
    pairs: list[tuple[Any, ...]] = []
    for one, other, equal, rows in same_moves(moves, rules.min_shared, rules.same_moves):
        pairs.append((one, rows[0], rows[-1], len(rows), tape.symbols[other], equal))
    names = [tape.symbols[one] for one, *_ in pairs]
    first, last = ([tape.sessions[each[place]] for each in pairs] for place in (1, 2))
    detail = [f"moves as {other} does on {equal:.1%} of {n} sessions" for *_, n, other, equal in pairs]
    return findings("same company", names, first, last, [each[3] for each in pairs], detail)


def _wide_moves(tape: BarHistory) -> np.ndarray:
    """Log returns from one session to the next, sessions × symbols, float32; NaN where there is none."""
    out = np.full((len(tape.sessions), len(tape.symbols)), np.nan, dtype=np.float32)
    daily = tape.gap == 1
    out[tape.row[daily], tape.column[daily]] = tape.move[daily]
    return out


def compare(tape: BarHistory, beside: BarHistory, rules: CheckupRules) -> list[pd.DataFrame]:
    """The same symbols in two sources: spans of another company, and single days with another return."""
    both = _side_by_side(tape, beside)
    quarter = (both["day"].dt.year * 4 + both["day"].dt.quarter).rename("quarter")
    same = (both["move"] - both["other"]).abs() <= rules.same_return
    by_quarter = same.groupby([both["symbol"], quarter])
    agreement = by_quarter.mean().where(by_quarter.size() >= FEW)
    strange = agreement < rules.min_agreement
    keys = pd.MultiIndex.from_arrays([both["symbol"], quarter])
    in_strange = strange.reindex(keys).to_numpy(dtype=bool, na_value=False)
    far = (both["move"] - both["other"]).abs() > rules.max_difference
    days = both[far & ~in_strange]
    details = [
        f"{np.expm1(a):+.1%} here, {np.expm1(b):+.1%} there" for a, b in zip(days["move"], days["other"], strict=True)
    ]
    out = [_spans(both[in_strange], quarter[in_strange], same[in_strange])]
    return [*out, findings("disagreement", days["symbol"], days["day"], days["day"], np.ones(len(days)), details)]


def _side_by_side(tape: BarHistory, beside: BarHistory) -> pd.DataFrame:
    """Daily moves of the symbols and sessions that both tapes have: symbol, day, move, other."""
    tables = []
    for each, name in ((tape, "move"), (beside, "other")):
        daily = each.gap == 1
        key = {"symbol": each.symbols[each.column[daily]], "day": each.day[daily].astype("datetime64[us]")}
        tables.append(pd.DataFrame(key | {name: each.move[daily]}))
    return tables[0].merge(tables[1], on=["symbol", "day"]).sort_values(["symbol", "day"], ignore_index=True)


def _spans(rows: pd.DataFrame, quarter: pd.Series, same: pd.Series) -> pd.DataFrame:
    """Unbroken runs of strange quarters, one finding each."""
    begins = (rows["symbol"] != rows["symbol"].shift()) | (quarter - quarter.shift() > 1)
    spans = rows.assign(same=same).groupby(begins.cumsum())
    details = [f"{share:.0%} of the daily returns are those of the second source" for share in spans["same"].mean()]
    symbol, first, last = spans["symbol"].first(), spans["day"].first(), spans["day"].last()
    return findings("another company", symbol, first, last, spans.size(), details)
