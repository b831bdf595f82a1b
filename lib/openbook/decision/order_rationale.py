"""The words of a daily page: its verdict, and the rationale of each order, from score to cost."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from openbook.execution.kill_switch import ACTIVE, HALTED, REDUCE_ONLY, Trip

MEANS = {
    ACTIVE: "Not tripped (ACTIVE).",
    REDUCE_ONLY: "No new buys.",
    HALTED: "Only closing orders, and each needs a person's approval.",
}
COUNTED = ("weights", "orders", "prices", "holdings", "max_trades")  # checks of a number of things
CHECKS = {  # what a page calls a check whose name does not say what its value is
    "weights": "invalid weights",
    "sum": "sum of weights",
    "orders": "invalid orders",
    "prices": "orders not at the last close",
    "holdings": "shares sold beyond holdings",
    "cash": "cash after orders, USD",
    "turnover": "risk-adding turnover",
    "max_cost": "max_cost, bps of equity",
    "daily_loss": "daily loss",
    "sharpe": "Sharpe ratio",
}
STATUSES = {  # of the kill switch, on a page; `n/30` counts sessions
    "ok": "pass",
    "near": "near the limit",
    "trip": "tripped now",
    "latched": "tripped earlier",
    "unevaluable": "cannot be evaluated",
}
_COUNT = re.compile(r"(\d+)/(\d+)", re.ASCII)
SHOWN = 6  # digits of a number of shares that follows from a weight
UNITS = {
    **dict.fromkeys(COUNTED, ",.0f"),
    "cash": ",.2f",
    "sharpe": ".2f",
    "liquidity": ".3%",
}  # of a check; others are fractions
BPS = ("max_cost",)  # fractions so small that a page shows basis points


def spoken(checks: pd.DataFrame) -> pd.DataFrame:
    """Checks as a page shows them: check, status, value, limit, detail, the numbers in words of their unit.

    checks : CHECK_COLUMNS of the safety checks or of the kill switch; a value that is NaN shows as –
    """
    forms = [UNITS.get(check, ",.2f" if check in BPS else ".2%") for check in checks["check"]]
    scale = [1e4 if check in BPS else 1.0 for check in checks["check"]]
    columns = {
        name: [_number(v * k, f) for v, k, f in zip(checks[name], scale, forms, strict=True)]
        for name in ("value", "limit")
    }
    words = {"check": [CHECKS.get(c, c) for c in checks["check"]], "status": [_status(s) for s in checks["status"]]}
    return checks.assign(**columns, **words)[["check", "status", "value", "limit", "detail"]]


def _status(status: str) -> str:
    """A status in words: n/30 are the sessions that a check has and needs."""
    if count := _COUNT.fullmatch(status):
        return f"needs {count[2]} sessions, has {count[1]}"
    return STATUSES.get(status, status)


def why_tripped(trips: Iterable[Trip]) -> str:
    """Each trip of the kill switch with its session and numbers; empty without one."""
    return "; ".join(f"{trip.session} {CHECKS.get(trip.check, trip.check)} {trip.detail}" for trip in trips)


def switch_sentence(state: str, why: str) -> str:
    """The state of the kill switch, what it means, and why."""
    return " ".join(filter(None, [MEANS[state] if state == ACTIVE else f"{state}: {MEANS[state]}", why]))


def _number(value: float, form: str) -> str:
    return "–" if np.isnan(value) else format(value + 0.0, form)  # + 0.0: no negative zero


def chances(rates: Mapping[str, float]) -> dict[str, str]:
    """How likely each check of the kill switch trips within a year, in words.

    rates : fractions by check, estimated from resampled paths, so never surely 0% or 100%; NaN: not yet known
    """
    return {
        f"Probability that {'any rule' if name == 'any' else CHECKS.get(name, name)} trips within a year": _chance(rate)
        for name, rate in rates.items()
    }


def _chance(rate: float) -> str:
    if np.isnan(rate):
        return "not yet known"
    return "<1%" if rate < 0.005 else ">99%" if rate > 0.995 else f"{rate:.0%}"


def order_stories(
    trades: pd.DataFrame,
    story: pd.DataFrame,
    because: pd.Series,
    value: float,
    unbought: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row per order: symbol, side, rationale; then one per name that is wanted and not bought, its side NONE.

    trades : TRADE_COLUMNS; story : of the portfolio, by symbol; score and rank are used; because : by symbol,
    what moved its score most; value : of the whole portfolio, USD; unbought : of `Unbought.table`, or None

    The rationale has rank and score, the reason with every limit that binds, the target in shares before and after
    rounding, and the cost.
    """
    known = story.reindex(trades["symbol"])
    rows = zip(trades.itertuples(), known["score"], because.reindex(trades["symbol"]).fillna(""), strict=True)
    stories = [(order.symbol, order.side, _story(order, score, why, value)) for order, score, why in rows]
    if unbought is not None:
        stories += [(row.symbol, "NONE", f"Target not bought: {row.why}.") for row in unbought.itertuples()]
    return pd.DataFrame(stories, columns=["symbol", "side", "rationale"], dtype="str")


def _story(order: Any, score: float, because: str, value: float) -> str:
    """One order in words."""
    cost = order.commission_est + order.slippage_est
    parts = [
        f"{order.reason[:1].upper()}{order.reason[1:]}",
        "" if np.isnan(score) else f"Smoothed rank score {score:+.3f}{f' ({because})' if because else ''}",
        _rounding(order, value),
        f"Estimated cost {cost:,.2f} USD",
        f"Liquidity {order.liquidity_warning}" if order.liquidity_warning else "",
    ]
    return ". ".join(filter(None, parts)) + "."


def _rounding(order: Any, value: float) -> str:
    """The target in shares, and what the order makes of it."""
    wanted = order.weight_target * value / order.price
    before = order.weight_before * value / order.price
    # Of a value whose parts are rounded to the cent no more is known, and a difference is known no better.
    digits = SHOWN - len(f"{max(before, before + order.shares):.0f}")
    after = round(before + order.shares, digits) + 0.0  # not −0
    return f"Target {order.weight_target:.2%} = {wanted:,.1f} shares; {after:,.10g} shares held after the order"


@dataclass(frozen=True)
class Headline:
    """The headline of a page: a verdict of a few words, a sentence, and its color."""

    verdict: str
    sentence: str
    kind: str  # of a callout: ok, warn or stop


def headline(
    trades: pd.DataFrame,
    due: Any,
    *,
    switch: str,
    why: str,
    by_rule: bool,
    warning: str,
    because: str = "",
    unbought: str = "",
) -> Headline:
    """Orders pending, nothing to do, reduce only, or halted, with the reason.

    trades : TRADE_COLUMNS; due : the session they are for; switch : state of the kill switch, and why it is not ACTIVE
    warning : what else a reader must not miss, such as a champion that failed a gate
    because : why there are orders in this session, or none, while the kill switch is ACTIVE
    unbought : which names the book is too small for (`Unbought.sentence`), or that it is worth nothing; a warning, too
    """
    nothing = "no order is possible" if unbought else "no orders"
    orders = f"{len(trades)} order{'s' if len(trades) != 1 else ''} for {due.day} {due:%B}" if len(trades) else nothing
    warning = "\n".join(filter(None, [unbought, warning]))
    verdict = f"{switch}: {orders}" if switch != ACTIVE else orders[:1].upper() + orders[1:]
    cost = trades["commission_est"].sum() + trades["slippage_est"].sum()
    money = f"{trades['notional'].sum():,.0f} USD traded, estimated cost {cost:,.2f} USD."
    waits = "Approved automatically." if by_rule and switch == ACTIVE else "Pending approval by a person."
    sentence = f"{money} {waits}" if len(trades) else "Holdings stay unchanged."
    parts = [f"{because} {sentence}".strip()] if switch == ACTIVE else [f"{MEANS[switch]} {why}".strip()]
    parts += [sentence] if switch != ACTIVE and len(trades) else []
    kind = {ACTIVE: "warn" if warning else "ok", REDUCE_ONLY: "warn", HALTED: "stop"}[switch]
    return Headline(verdict, "\n".join(filter(None, [*parts, warning])), kind)
