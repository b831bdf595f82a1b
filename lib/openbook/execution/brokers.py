"""Files for a broker and from a broker, as bytes: nothing is sent from here, and no file is opened.

Orders leave as market orders for an auction of their session, in one of three shapes (FORMATS): the opening auction,
or the closing one where their source has closes only. What comes back is accepted whole or refused whole: BookError
(60) names the line and the column. Money is read as decimals, never as floating point.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import pandas as pd

from openbook.common.constants import CASH
from openbook.common.errors import BookError, UsageError
from openbook.common.frames import each_row
from openbook.execution.share_units import position_series
from openbook.execution.ticker_spellings import TICKER, same_security, spelled
from openbook.market.calendar import parse_date

FILL_COLUMNS = ("fill_id", "order_id", "shares", "price", "commission", "date")
NAMED_COLUMNS = (*FILL_COLUMNS, "symbol")
STATEMENT_COLUMNS, PRICED_COLUMNS = ("symbol", "shares"), ("symbol", "shares", "price")
GENERIC_COLUMNS = (
    "order_id",
    "session",
    "symbol",
    "side",
    "shares",
    "order_type",
    "time_in_force",
    "reference_price",
)
# The fields of a market order, as IBKR's own example has them, and the tag that comes back in the trade report.
IBKR_COLUMNS = (
    "Action",
    "Quantity",
    "Symbol",
    "SecType",
    "Exchange",
    "Currency",
    "TimeInForce",
    "OrderType",
    "BasketTag",
)
LONGEST_CLIENT_ID = 128  # characters, Alpaca's limit on client_order_id

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # a spreadsheet runs a text that begins so
NEUTRALIZED = re.compile(r"^'(?=[=+\-@\t\r\n])")  # what our own files put before such a text
# Bounds keep the notional of a fill, in cents, within 64 bits.
WHOLE = re.compile(r"[+-]?[0-9]{1,9}")
PRICE = re.compile(r"[0-9]{1,7}(?:\.[0-9]{1,10})?")
USD = re.compile(r"[+-]?[0-9]{1,12}(?:\.[0-9]{1,2})?")

Row = dict[str, str]


class Auction(NamedTuple):
    """How a market order for one auction is written."""

    generic: str  # time_in_force
    ibkr: tuple[str, str]  # TimeInForce, OrderType
    alpaca: str  # time_in_force


# By when a decision executes, `Market.execution`. IBKR: "Market-on-Open (MOO)" and "Market-on-Close (MOC)" in the TWS
# Users' Guide. Alpaca: opg and cls in "Orders at Alpaca".
AUCTIONS = {
    "next_open": Auction("OPG", ("OPG", "MKT"), "opg"),
    "next_close": Auction("CLS", ("DAY", "MOC"), "cls"),
}


# ---- to the broker ----


def generic_csv(orders: pd.DataFrame, execution: str) -> bytes:
    """Orders as a CSV that any spreadsheet reads, GENERIC_COLUMNS; `shares` is above zero, `side` is the direction.

    orders : columns order_id, session, symbol, shares (signed), price (USD when decided); one line each, as given
    execution : of AUCTIONS; time_in_force is OPG for the opening auction, CLS for the closing one

    A text that a spreadsheet would run as a formula gets a leading ' .
    """
    at = AUCTIONS[execution].generic
    rows = [
        (o.order_id, o.session, o.symbol, _side(o.shares), f"{abs(o.shares):.12g}", "MARKET", at, f"{o.price:.12g}")
        for o in each_row(orders)
    ]
    return _csv(GENERIC_COLUMNS, [[_neutral(str(cell)) for cell in row] for row in rows])


def ibkr_basket(orders: pd.DataFrame, execution: str) -> bytes:
    """Orders as a basket file for Interactive Brokers' Trader Workstation (BasketTrader), IBKR_COLUMNS.

    Fields and values are those of "Basket Fields" and "Manually Create a Basket File" in the TWS Users' Guide: a header
    row, then one row per order, no space beside a comma. A market-on-open order is OrderType MKT with TimeInForce OPG,
    a market-on-close order OrderType MOC with TimeInForce DAY. BasketTag comes back as the order reference of the trade
    report: there it is the order_id. A class share is written with a space, BRK B (see `ticker_spellings`).

    orders, execution : as `generic_csv`. BookError for a symbol that is no ticker.
    """
    at = AUCTIONS[execution].ibkr
    rows = [
        (_side(o.shares), _quantity(o), _ticker(o, "ibkr"), "STK", "SMART", "USD", *at, o.order_id)
        for o in each_row(orders)
    ]
    return _csv(IBKR_COLUMNS, rows)


def alpaca_json(orders: pd.DataFrame, execution: str) -> bytes:
    """Orders as a JSON list, each the body of one request "Create an Order" (POST /v2/orders) of Alpaca's Trading API.

    Market orders with time_in_force opg or cls; client_order_id is the order_id, and Alpaca refuses one that it has
    seen. A class share is written with a dot, BRK.B.

    orders, execution : as `generic_csv`. BookError for a symbol that is no ticker, or an id that is too long.
    """
    requests = [_alpaca_request(order, AUCTIONS[execution].alpaca) for order in orders.itertuples()]
    return (json.dumps(requests, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


FORMATS: dict[str, Callable[[pd.DataFrame, str], bytes]] = {
    "generic": generic_csv,
    "ibkr": ibkr_basket,
    "alpaca": alpaca_json,
}
FILENAMES = {"generic": "orders.csv", "ibkr": "basket.csv", "alpaca": "orders.json"}


def _alpaca_request(order: Any, at: str) -> dict[str, str]:
    if len(order.order_id) > LONGEST_CLIENT_ID:
        raise BookError(
            f"order id {order.order_id[:40]}… exceeds the {LONGEST_CLIENT_ID} characters that Alpaca allows"
        )
    return {
        "symbol": _ticker(order, "alpaca"),
        "qty": str(_quantity(order)),
        "side": _side(order.shares).lower(),
        "type": "market",
        "time_in_force": at,
        "client_order_id": order.order_id,
    }


def _side(shares: float) -> str:
    return "BUY" if shares > 0 else "SELL"


def _quantity(order: Any) -> int:
    """Whole shares; BookError for a part of one, which neither broker takes into an auction."""
    if order.shares != round(order.shares):
        raise BookError(
            f"order {order.order_id} is for {order.shares:+.10g} shares, but auctions take whole shares "
            "only; use --format generic"
        )
    return abs(round(order.shares))


def _ticker(order: Any, form: str) -> str:
    """The symbol as the broker spells it; BookError if it is no ticker."""
    if not TICKER.fullmatch(order.symbol):
        raise BookError(f"{order.symbol!r} of order {order.order_id} is not a broker ticker; use --format generic")
    return spelled(order.symbol, form)


def _neutral(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text


def _csv(columns: Iterable[str], rows: Iterable[Iterable]) -> bytes:
    """RFC 4180: comma, quotes where needed, lines end with \\r\\n."""
    file = io.StringIO(newline="")
    csv.writer(file).writerows([columns, *rows])
    return file.getvalue().encode()


# ---- from the broker ----


def parse_fills(data: bytes) -> pd.DataFrame:
    """Fills as the broker reports them, in the order of the file.

    data : CSV with a header and the FILL_COLUMNS in any order: shares signed (a sale is below zero) and whole, price
        in USD above zero, commission in USD with at most two decimals, date YYYY-MM-DD. There may be a column symbol
        too, in any spelling that `ticker_spellings` has

    Returns columns fill_id, order_id, shares (int64), price (float64, USD), commission_cents (int64), date, and symbol
    where the file has it; the index is the line of the file. BookError (60) for anything else, a repeated fill_id and a
    file without fills among it. An id such as NA or 1E5 stays text.
    """
    lines: dict[str, int] = {}
    rows = []
    for line, row in _records(data, FILL_COLUMNS, NAMED_COLUMNS):
        fill = _fill(line, row)
        if fill["fill_id"] in lines:
            raise _refused(line, "fill_id", fill["fill_id"], f"the same as on line {lines[fill['fill_id']]}")
        lines[fill["fill_id"]] = line
        rows.append(fill)
    if not rows:
        raise BookError("the file has a header but no fills")
    types = {"fill_id": "str", "order_id": "str", "shares": "int64", "commission_cents": "int64", "date": "str"}
    return pd.DataFrame(rows, index=pd.Index(lines.values(), name="line")).astype(types)


def require_named_alike(fills: pd.DataFrame, orders: pd.DataFrame) -> None:
    """BookError (60) names a fill whose symbol is no spelling of that of its order; without a column symbol there is
    nothing to compare, and an order that is not there is found missing elsewhere.

    fills : of `parse_fills`; orders : order_id, symbol when decided, and ticker, what that is called now
    """
    named = {row.order_id: (row.symbol, row.ticker) for row in each_row(orders)}
    for fill in each_row(fills) if "symbol" in fills else ():
        ours = named.get(fill.order_id, (fill.symbol,))
        if not any(same_security(fill.symbol, symbol) for symbol in ours):
            raise BookError(
                f"fill {fill.fill_id} is for {fill.symbol}, but its order {fill.order_id} is for "
                f"{ours[-1]}; the whole file is rejected"
            )


def parse_statement(data: bytes) -> tuple[pd.Series, int]:
    """Positions and cash as the broker states them: whole signed shares by symbol, sorted, and cents.

    data : CSV with the columns symbol and shares, one line per symbol; the line CASH has USD with at most two decimals.
        There may be a column price too, see `parse_prices`

    BookError (60) for anything else, a repeated symbol and a missing CASH among it.
    """
    found: dict[str, int] = {}
    for line, row in _records(data, STATEMENT_COLUMNS, PRICED_COLUMNS):
        symbol = _text(line, "symbol", row)
        if symbol in found:
            raise _refused(line, "symbol", symbol, "a duplicate")
        found[symbol] = _usd(line, "shares", row) if symbol == CASH else _whole(line, "shares", row)
    if CASH not in found:
        raise BookError(f"the statement has no {CASH} row; add one with the cash in USD, or 0")
    cash = found.pop(CASH)
    return position_series(found.items()), cash


def parse_prices(data: bytes) -> dict[str, float]:
    """USD by symbol if a broker statement has a column price; a blank and the line CASH have none. BookError (60) for
    anything else."""
    rows = _records(data, STATEMENT_COLUMNS, PRICED_COLUMNS)
    priced = [(line, row) for line, row in rows if row.get("price") and row["symbol"] != CASH]
    return {_text(line, "symbol", row): _price(line, "price", row) for line, row in priced}


def _fill(line: int, row: Row) -> dict:
    """One line of fills."""
    shares, commission = _whole(line, "shares", row), _usd(line, "commission", row)
    if shares == 0:
        raise _refused(line, "shares", row["shares"], "no trade")
    if commission < 0:
        raise _refused(line, "commission", row["commission"], "negative")
    return {
        "fill_id": _text(line, "fill_id", row),
        "order_id": _text(line, "order_id", row),
        "shares": shares,
        "price": _price(line, "price", row),
        "commission_cents": commission,
        "date": _day(line, "date", row),
        **({"symbol": _text(line, "symbol", row)} if "symbol" in row else {}),
    }


def _records(data: bytes, columns: tuple[str, ...], *others: tuple[str, ...]) -> Iterator[tuple[int, Row]]:
    """Line number and cells by column, below a header of exactly `columns`, in any order, or of one of the `others`."""
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
    except UnicodeDecodeError as error:
        raise BookError(f"the file is not UTF-8 (byte {error.start}); save it as CSV, UTF-8") from None
    header = _next(reader)
    if header is None:
        raise BookError(f"the file is empty; required columns: {', '.join(columns)}")
    if sorted(header) not in [sorted(names) for names in (columns, *others)]:
        raise BookError(
            f"line 1: the columns are {_short(','.join(header))}, not {','.join(columns)}, each exactly once"
        )
    while (cells := _next(reader)) is not None:
        if len(cells) != len(header):
            raise BookError(f"line {reader.line_num}: {len(cells)} cells for {len(header)} columns")
        yield reader.line_num, dict(zip(header, cells, strict=True))


def _next(reader: Any) -> list[str] | None:
    """Cells of the next line, None at the end."""
    try:
        return next(reader, None)
    except csv.Error as error:
        raise BookError(f"line {reader.line_num}: invalid CSV: {error}") from None


def _text(line: int, column: str, row: Row) -> str:
    """An id or a symbol, as it was before our own files put a ' before it."""
    text = NEUTRALIZED.sub("", row[column])
    if not (text and text == text.strip() and text.isprintable()):
        raise _refused(line, column, row[column], "empty, or has surrounding blanks or non-printing characters")
    return text


def _whole(line: int, column: str, row: Row) -> int:
    if not WHOLE.fullmatch(row[column]):
        raise _refused(line, column, row[column], "not a whole number of shares below a billion")
    return int(row[column])


def _price(line: int, column: str, row: Row) -> float:
    if not (PRICE.fullmatch(row[column]) and Decimal(row[column]) > 0):
        raise _refused(line, column, row[column], "not a price in USD above 0 and below ten million, such as 101.25")
    return float(row[column])


def _usd(line: int, column: str, row: Row) -> int:
    """Cents."""
    if not USD.fullmatch(row[column]):
        raise _refused(line, column, row[column], "not an amount in USD with at most two decimals, such as 1234.56")
    return int(Decimal(row[column]) * 100)


def _day(line: int, column: str, row: Row) -> str:
    try:
        parse_date(row[column])
    except UsageError:
        raise _refused(line, column, row[column], "not a date; write YYYY-MM-DD") from None
    return row[column]


def _refused(line: int, column: str, text: str, why: str) -> BookError:
    return BookError(f"line {line}, {column}: {_short(text)!r} is {why}; the whole file is rejected")


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]}…"
