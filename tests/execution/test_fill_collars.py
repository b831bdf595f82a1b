"""What a typing error makes of a number is outside its collar; what really happens in a market is inside."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from openbook.execution.brokers import parse_fills
from openbook.execution.fill_collars import outside, outside_cash, outside_statement
from support.books import day, make_market

ORDERS = pd.DataFrame(
    {
        "order_id": ["o-A", "o-B"],
        "symbol": ["A", "B"],
        "ticker": ["A", "B2"],
        "price": [100.0, 40.0],
    }
)
GOOD = {"fill_id": "f1", "order_id": "o-A", "shares": "10", "price": "101.5", "commission": "1.00", "date": day(1)}


def found(market=None, held=None, prices=None, equity: float = 100_000, **changes) -> str:
    """What is not plausible about the fill GOOD with some changes, on line 2 of its file."""
    row = GOOD | changes
    data = f"{','.join(row)}\n{','.join(row.values())}\n".encode()
    book = {"equity": equity, "held": held or {"A": 10.0, "B2": 5.0}, "prices": prices or {}}
    return outside(parse_fills(data), ORDERS, session=day(0), market=market, **book).get("f1", "")


def bars(low: float, high: float, close: float):
    """A market with the bars of A on two days."""
    market = make_market({"A": [100.0, close]})
    frames = {name: market.close.assign(A=[100.0, value]) for name, value in (("low", low), ("high", high))}
    return replace(market, **frames)


def test_an_ordinary_fill_is_inside():
    assert found() == ""
    assert found(order_id="o-B", shares="-5", price="39.5") == ""


@pytest.mark.parametrize(("price", "inside"), [("80", True), ("79.99", False), ("120", True), ("120.01", False)])
def test_without_a_bar_the_price_of_the_order_counts(price, inside):
    assert (found(price=price) == "") == inside


@pytest.mark.parametrize("factor", [100, 10, 1 / 10, 1 / 100])
def test_a_decimal_point_that_is_wrong_is_named_with_its_line_and_range(factor):
    price = f"{101.5 * factor:.10g}"
    said = found(price=price, shares="1")
    assert said == (f"line 2, price: {price} is outside 80.0000 to 120.0000, the reference price 100.0000 ± 20%")


def test_a_gap_of_thirty_percent_passes_where_the_bar_of_the_day_covers_it():
    assert "is outside 80.0000 to 120.0000" in found(price="70")
    assert found(market=bars(68.0, 73.0, 71.0), price="70") == ""
    said = found(market=bars(68.0, 73.0, 71.0), price="101.5")
    assert said == f"line 2, price: 101.5 is outside 64.6000 to 76.6500, the bar of {day(1)} ± 5%"


def test_a_close_alone_is_a_reference_for_its_day():
    market = make_market({"A": [100.0, 50.0]})
    assert found(market=market, price="57") == ""
    assert "outside 40.0000 to 60.0000" in found(market=market, price="101.5")
    assert found(market=make_market({"A": [100.0, np.nan]}), price="101.5") == ""


def test_an_order_is_found_under_either_ticker_and_a_fill_without_one_by_the_marks_of_the_book():
    market = make_market({"B2": [40.0, 60.0]})
    assert found(market=market, order_id="o-B", price="61") == ""
    assert "outside 48.0000 to 72.0000" in found(market=market, order_id="o-B", price="40")
    other = {"order_id": "none", "symbol": "A", "shares": "1"}
    assert "the reference price 12.0000" in found(prices={"A": 12.0}, **other)
    assert found(order_id="none", symbol="new", shares="1") == ""


@pytest.mark.parametrize(
    ("commission", "inside"), [("25.00", True), ("25.01", False), ("999999999999", False), ("0", True)]
)
def test_a_commission_has_a_floor(commission, inside):
    said = found(commission=commission)
    assert (said == "") == inside
    assert inside or ("commission: " in said and "is outside 0 to 25.00, 1% of the notional or 25 USD" in said)


def test_a_commission_may_be_a_hundredth_of_a_large_notional():
    assert found(shares="500", commission="507.50") == ""
    assert "is outside 0 to 507.50" in found(shares="500", commission="507.51")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"date": "2015-03-04"}, "date: 2015-03-04 is not after 2025-03-03, when the orders were decided"),
        ({"date": day(0)}, "date: 2025-03-03 is not after 2025-03-03"),
        ({"shares": "1000"}, "shares: +1000 at 101.5 are 101,500.00 USD, outside 0 to 100,000.00, the equity"),
        ({"shares": "-11"}, "shares: -11 is, with the other fills of A, outside -10 to 0, what the book holds"),
    ],
)
def test_a_year_and_shares_that_cannot_be_meant(changes, said):
    assert f"line 2, {said}" in found(**changes)


def test_everything_that_is_wrong_with_a_fill_is_said_at_once():
    said = found(price="10.15", commission="99", date="2015-03-04", shares="-20")
    assert [part.split(":")[0] for part in said.split("; ")] == [
        f"line 2, {field}" for field in ("price", "commission", "date", "shares")
    ]


def test_cash_by_its_kind_and_the_equity():
    assert outside_cash("deposit", 1_000_000, 100_000) == ""
    assert "a deposit of 1,000,000,000,000.00 USD is outside 0 to 1,000,000.00" in outside_cash("deposit", 1e12, 1e5)
    assert outside_cash("fee", 5_000, 100_000) == outside_cash("interest", 5_000, 100_000) == ""
    assert "a fee of 5,000.01 USD is outside" in outside_cash("fee", 5_000.01, 100_000)
    assert outside_cash("withdrawal", 1e12, 100_000) == ""  # what is there limits it


def test_a_statement_may_correct_a_fifth_of_the_equity_by_line():
    prices = {"A": 100.0}
    assert outside_statement({"A": -200}, prices, 20_000, 100_000) == ""
    said = outside_statement({"A": -201}, prices, -20_001, 100_000)
    assert said == "A: -201 shares, 20,100.00 USD; CASH: -20,001.00 USD: above 20,000.00 USD, 20% of the equity"
