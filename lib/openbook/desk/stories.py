"""What a page says of an evening in words: its verdict, and why each order is there, from score to cost."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from openbook.desk.killswitch import ACTIVE, HALTED, REDUCE_ONLY

MEANS = {
    REDUCE_ONLY: "Nothing new is bought.",
    HALTED: "Nothing is traded but what a person approves, and only to close.",
}


def order_stories(trades: pd.DataFrame, story: pd.DataFrame, because: pd.Series, value: float) -> pd.DataFrame:
    """One row per order: symbol, side, story.

    trades : TRADE_COLUMNS; story : of the portfolio, by symbol, of which score and rank are read; because : by symbol,
    what moved its score most; value : of the whole portfolio, USD

    The story names score and rank, the reason with every limit that binds, the target in shares before and after
    rounding, and the cost.
    """
    known = story.reindex(trades["symbol"])
    rows = zip(trades.itertuples(), known["score"], because.reindex(trades["symbol"]).fillna(""), strict=True)
    said = [_story(order, score, why, value) for order, score, why in rows]
    return pd.DataFrame(
        {"symbol": trades["symbol"], "side": trades["side"], "story": pd.Series(said, dtype="str", index=trades.index)}
    )


def _story(order, score: float, because: str, value: float) -> str:
    """One order in words."""
    cost = order.commission_est + order.slippage_est
    parts = [
        f"{order.reason[:1].upper()}{order.reason[1:]}",
        "" if np.isnan(score) else f"Score {score:+.3f}{f' ({because})' if because else ''}",
        _rounding(order, value),
        f"Costs about {cost:,.2f} USD",
        f"Liquidity {order.liquidity_warning}" if order.liquidity_warning else "",
    ]
    return ". ".join(filter(None, parts)) + "."


def _rounding(order, value: float) -> str:
    """The target in shares, and what the order makes of it."""
    wanted = order.weight_target * value / order.price
    before = order.weight_before * value / order.price
    return f"Target {order.weight_target:.2%} is {wanted:,.1f} shares, after the order {before + order.shares:,.0f}"


@dataclass(frozen=True)
class Headline:
    """What a reader wants to know first: a verdict of a few words, a sentence, and how the page colours it."""

    verdict: str
    sentence: str
    kind: str  # of a callout: ok, warn or stop


def headline(trades: pd.DataFrame, due, *, switch: str, why: str, by_rule: bool, warning: str) -> Headline:
    """Orders wait, nothing to do, reduce only, or halted, with the reason.

    trades : TRADE_COLUMNS; due : the session they are for; switch : state of the kill switch, and why it is not ACTIVE
    warning : what else a reader must not miss, such as a champion that passed no gate
    """
    orders = f"{len(trades)} order{'s' if len(trades) != 1 else ''} for {due:%d %B}" if len(trades) else "nothing to do"
    verdict = f"{switch}: {orders}" if switch != ACTIVE else orders[:1].upper() + orders[1:]
    cost = trades["commission_est"].sum() + trades["slippage_est"].sum()
    money = f"{trades['notional'].sum():,.0f} USD change hands, for about {cost:,.2f} USD."
    waits = "Approved by rule." if by_rule and switch == ACTIVE else "A person has to approve them."
    parts = [f"{MEANS[switch]} {why}".strip() if switch != ACTIVE else "", f"{money} {waits}" if len(trades) else ""]
    kind = {ACTIVE: "warn" if warning else "ok", REDUCE_ONLY: "warn", HALTED: "stop"}[switch]
    return Headline(verdict, "\n".join(filter(None, [*parts, warning])) or "What is held stays as it is.", kind)
