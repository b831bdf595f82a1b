"""Collars: how far a number in a broker's file, or in an amount that a person types, may lie from what is expected.

A price ×100, a commission of a billion or a year that is wrong are typing errors far more often than facts. What is
outside is not recorded unless a person names it, and says that it happened.
"""

from collections.abc import Iterable, Mapping
from typing import Any, cast

import pandas as pd

from openbook.common.frames import each_row
from openbook.market.tables import Market

# The widths are judgments: wide enough for a wild day, far too narrow for a slipped decimal point.
PRICE_BAND = 0.20  # of the order's reference price, the close at which it was decided
BAR_BAND = 0.05  # beyond the low and the high of the day, where the store has its bar
COMMISSION_BAND = 0.01  # of the notional
COMMISSION_FLOOR = 25.0  # USD; up to this any commission is plausible
DEPOSIT_BAND = 10.0  # of the equity; a deposit is no performance
COST_BAND = 0.05  # of the equity: a fee, or interest
STATEMENT_BAND = 0.20  # of the equity: by how much a statement may correct one holding, or the cash


def outside(
    fills: pd.DataFrame,
    orders: pd.DataFrame,
    *,
    session: str,
    market: Market | None,
    equity: float,
    held: Mapping[str, float],
    prices: Mapping[str, float],
) -> dict[str, str]:
    """What is not plausible about some fills, by fill_id: line, field, value and the expected range.

    fills : of `brokers.parse_fills`, by line
    orders : order_id, symbol when decided, ticker (what that is called now), price (USD when decided)
    session : on which the orders were decided, YYYY-MM-DD
    market : bars of the days of the fills, as far as there are any
    equity : of the book, USD; held : shares by ticker; prices : USD, last known, by ticker
    """
    known = {row.order_id: row for row in each_row(orders)}
    found: dict[str, list[str]] = {}
    sold = _oversold(fills, known, held)
    for line, row in zip(fills.index, each_row(fills), strict=True):
        order = known.get(row.order_id)
        names = _names(row, order)
        reference = order.price if order is not None else next((prices[n] for n in names if n in prices), None)
        wrong = [
            _price(row, names, reference, market),
            _commission(row),
            _date(row, session),
            _notional(row, equity),
            sold.get(row.fill_id, ""),
        ]
        found[row.fill_id] = [f"line {line}, {text}" for text in wrong if text]
    return {key: "; ".join(texts) for key, texts in found.items() if texts}


def outside_cash(flow: str, usd: float, equity: float) -> str:
    """What is not plausible about a cash flow, in words; empty if nothing is."""
    band = {"deposit": DEPOSIT_BAND, "fee": COST_BAND, "interest": COST_BAND}.get(flow)
    if band is None or usd <= band * max(equity, 0):
        return ""
    return f"a {flow} of {usd:,.2f} USD is outside 0 to {band * max(equity, 0):,.2f}, {band:.4g} times the equity"


def outside_statement(changes: Mapping[str, float], prices: Mapping[str, float], cash: float, equity: float) -> str:
    """What is not plausible about the difference between a statement and the book, in words; empty if nothing is.

    changes : signed shares by symbol; prices : USD by symbol; cash : the difference, USD
    """
    limit = STATEMENT_BAND * max(equity, 0)
    worth = {symbol: abs(n) * prices.get(symbol, 0.0) for symbol, n in changes.items()}
    parts = [
        f"{symbol}: {changes[symbol]:+.10g} shares, {usd:,.2f} USD" for symbol, usd in worth.items() if usd > limit
    ]
    parts += [f"CASH: {cash:+,.2f} USD"] if abs(cash) > limit else []
    return f"{'; '.join(parts)}: above {limit:,.2f} USD, {STATEMENT_BAND:.0%} of the equity" if parts else ""


def _names(row: Any, order: Any) -> list[str]:
    """What the security of a fill may be called."""
    names = [order.ticker, order.symbol] if order is not None else []
    return [*names, *([row.symbol] if hasattr(row, "symbol") else [])]


def _price(row: Any, names: Iterable[str], reference: float | None, market: Market | None) -> str:
    """The day's own bar decides where there is one: it has whatever gap there was over night."""
    bar = _bar(market, row.date, names)
    if bar is not None:
        low, high, band, what = *bar, BAR_BAND, f"the bar of {row.date}"
        if low == high:
            band = PRICE_BAND  # a close alone says little of where the day's trades were
    elif reference is not None:
        low, high, band, what = reference, reference, PRICE_BAND, f"the reference price {reference:,.4f}"
    else:
        return ""
    low, high = low * (1 - band), high * (1 + band)
    if low <= row.price <= high:
        return ""
    return f"price: {row.price:.10g} is outside {low:,.4f} to {high:,.4f}, {what} ± {band:.0%}"


def _bar(market: Market | None, day: str, names: Iterable[str]) -> tuple[float, float] | None:
    """Low and high of a day in USD, or its close twice; None without a bar."""
    date = pd.Timestamp(day)
    symbol = next((name for name in names if market is not None and name in market.symbols), None)
    if market is None or symbol is None or date not in market.dates:
        return None
    tables = [table for table in (market.low, market.high) if table is not None]
    values = [float(cast(float, table.at[date, symbol])) for table in tables]
    if len(values) < 2 or not all(value > 0 for value in values):
        values = [float(cast(float, market.close.at[date, symbol]))] * 2
    return (values[0], values[1]) if all(value > 0 for value in values) else None


def _commission(row: Any) -> str:
    notional, usd = abs(row.shares) * row.price, row.commission_cents / 100
    limit = max(COMMISSION_BAND * notional, COMMISSION_FLOOR)
    if usd <= limit:
        return ""
    return (
        f"commission: {usd:.2f} is outside 0 to {limit:,.2f}, {COMMISSION_BAND:.0%} of the notional or "
        f"{COMMISSION_FLOOR:.0f} USD"
    )


def _date(row: Any, session: str) -> str:
    return "" if row.date > session else f"date: {row.date} is not after {session}, when the orders were decided"


def _notional(row: Any, equity: float) -> str:
    notional, limit = abs(row.shares) * row.price, max(equity, 0)
    if notional <= limit:
        return ""
    return f"shares: {row.shares:+d} at {row.price:.10g} are {notional:,.2f} USD, outside 0 to {limit:,.2f}, the equity"


def _oversold(fills: pd.DataFrame, known: Mapping[str, Any], held: Mapping[str, float]) -> dict[str, str]:
    """The sales that would together leave less than nothing of a security, by fill_id."""
    names = {row.fill_id: _names(row, known.get(row.order_id))[:1] for row in each_row(fills)}
    after = dict(held)
    for row in each_row(fills):
        for name in names[row.fill_id]:
            after[name] = after.get(name, 0) + row.shares
    most = {name: max(held.get(name, 0), 0) for name in after}
    return {
        row.fill_id: f"shares: {row.shares:+d} is, with the other fills of {name}, outside {-most[name]:.10g} to 0, "
        "what the book holds"
        for row in each_row(fills)
        for name in names[row.fill_id]
        if row.shares < 0 and after[name] < 0
    }
