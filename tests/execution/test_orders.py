"""Orders from weights: conservation, cash, rounding, and the words beside them."""

from fractions import Fraction
from math import floor

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from openbook.common.errors import DataError, LimitError
from openbook.execution.orders import (
    TRADE_COLUMNS,
    Room,
    TradeGenerator,
    affordable,
    cash_flow,
    current_weights,
    portfolio_value,
    trade_cents,
)
from openbook.execution.risk_checks import SafetyLimits, SafetyValidator
from openbook.ledger.book import open_book, read_book, settle
from openbook.portfolio.costs import Costs
from support.books import DAYS, commit, random_market

FREE = Costs(commission_bps=0, slippage_bps=0)
NAMES = list("ABCDEF")


def series(**values) -> pd.Series:
    return pd.Series(values)


def held(**shares: int) -> pd.Series:
    return pd.Series(shares, dtype="int64")


@st.composite
def evenings(draw):
    """A book, its prices in whole cents, target weights with cash, and a generator."""
    n = draw(st.integers(1, len(NAMES)))
    shares = draw(st.lists(st.integers(0, 3000), min_size=n, max_size=n))
    cents = draw(st.lists(st.integers(1, 500_000), min_size=n, max_size=n))
    parts = draw(st.lists(st.integers(0, 10), min_size=n + 1, max_size=n + 1).filter(any))
    cash = draw(st.integers(100, 50_000_000))
    costs = Costs(
        commission_bps=draw(st.sampled_from([0, 1, 10])),
        slippage_bps=draw(st.sampled_from([0, 5, 50])),
        min_commission=draw(st.sampled_from([0, 0.35, 5])),
    )
    generator = TradeGenerator(min_trade_size=draw(st.sampled_from([0, 100, 2000])), costs=costs)
    weights = pd.Series(np.array(parts) / sum(parts), index=[*NAMES[:n], "CASH"])
    return (
        pd.Series(shares, index=NAMES[:n]),
        cash,
        weights,
        pd.Series(np.array(cents) / 100, index=NAMES[:n]),
        generator,
    )


def after(trades: pd.DataFrame, positions: pd.Series, cash_cents: int, costs: Costs) -> tuple[pd.Series, int]:
    """The book once the trades are done at their prices."""
    shares = positions.add(trades.set_index("symbol")["shares"], fill_value=0).astype("int64")
    return shares, cash_cents + int(cash_flow(trades["shares"], trades["price"], costs).sum())


@settings(max_examples=30, deadline=None)
@given(evenings())
def test_trades_conserve_value_to_the_cent_and_never_overdraw(evening):
    positions, cash, weights, prices, generator = evening
    trades = generator.generate_trades(positions, cash / 100, weights, prices)
    shares, left = after(trades, positions, cash, generator.costs)
    cents = (prices * 100).round().astype("int64")
    costs = round((trades["commission_est"] + trades["slippage_est"]).sum() * 100)
    assert left + (shares * cents).sum() == cash + (positions * cents).sum() - costs
    assert left >= 0
    assert (shares >= 0).all()


def truncated(evening) -> pd.DataFrame:
    """The orders with every target rounded down, and nothing spent of what that leaves."""
    positions, cash, weights, prices, generator = evening
    plan, rounding = generator._plan(positions, cash / 100, weights, prices)
    paid = affordable(rounding.rounded_down, rounding.prices, cash, generator.costs, generator.share_units)
    trades = plan.assign(shares=rounding.large_enough(paid) / generator.share_units)
    return trades[trades["shares"] != 0]


def distance(trades: pd.DataFrame, evening) -> float:
    """Σ |what is held − what was wanted| over all names and the cash after costs, USD."""
    positions, cash, weights, prices, generator = evening
    value, units = portfolio_value(positions, cash / 100, prices), generator.share_units
    shares = positions.add(trades.set_index("symbol")["shares"], fill_value=0).reindex(prices.index)
    left = cash + cash_flow(np.rint(trades["shares"] * units), trades["price"], generator.costs, units).sum()
    names = weights.drop("CASH")
    return float((shares * prices - names * value).abs().sum() + abs(left / 100 - weights["CASH"] * value))


@settings(max_examples=100, deadline=None)
@given(evenings())
def test_spending_what_is_left_never_ends_farther_from_the_target_than_truncation(evening):
    positions, cash, weights, prices, generator = evening
    trades = generator.generate_trades(positions, cash / 100, weights, prices)
    assert distance(trades, evening) <= distance(truncated(evening), evening) + 0.02  # a target's cash is in cents


@settings(max_examples=50, deadline=None)
@given(evenings())
def test_no_buy_ends_a_share_or_more_above_its_target_and_the_cash_is_never_negative(evening):
    positions, cash, weights, prices, generator = evening
    trades = generator.generate_trades(positions, cash / 100, weights, prices)
    value = portfolio_value(positions, cash / 100, prices)
    shares, left = after(trades, positions, cash, generator.costs)
    bought = trades.loc[trades["shares"] > 0, "symbol"]
    assert (shares[bought] * prices[bought] < weights[bought] * value + prices[bought] * (1 + 1e-6)).all()
    assert left >= 0


@settings(max_examples=50, deadline=None)
@given(evenings(), st.floats(0.05, 1), st.floats(0.05, 1), st.floats(0.01, 1), st.floats(0.01, 1), st.integers(0, 6))
def test_rounding_up_keeps_every_limit_that_truncation_keeps(evening, weight, sector, trade, turn, count):
    positions, cash, weights, prices, generator = evening
    sectors = pd.Series(["X", "Y", "X", "Y", "X", "Y"], index=NAMES)
    room = Room(weight, sector, turn, trade, 0.01, count, sectors)
    trades = generator.generate_trades(positions, cash / 100, weights, prices, room=room)
    value = portfolio_value(positions, cash / 100, prices)
    had, has = usage(truncated(evening), evening, value), usage(trades, evening, value)
    limits = {"weight": weight, "sector": sector, "turnover": turn, "trade": trade, "cost": 0.01, "count": count}
    for name, limit in limits.items():
        assert (has[name] <= np.maximum(had[name], limit) + 1e-9).all(), name


@settings(max_examples=50, deadline=None)
@given(evenings(), st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_nothing_is_bought_where_no_target_is_above_what_is_held(evening, parts):
    """As a book that may only reduce has it; the cash is the rest."""
    positions, cash, _, prices, generator = evening
    drifted = positions * prices / portfolio_value(positions, cash / 100, prices)
    weights = drifted * parts[: len(drifted)]
    trades = generator.generate_trades(positions, cash / 100, weights, prices)
    assert (trades["shares"] < 0).all()


def usage(trades: pd.DataFrame, evening, value: float) -> dict[str, np.ndarray]:
    """What is used up of each limit, as fractions of the portfolio."""
    positions, _, _, prices, generator = evening
    worth = positions.add(trades.set_index("symbol")["shares"], fill_value=0).reindex(prices.index) * prices / value
    bought = trades.set_index("symbol").eval("shares * price").clip(lower=0) / value
    parts = trade_cents(trades["shares"], trades["price"], generator.costs)
    return {
        "weight": worth.to_numpy(),
        "sector": worth.groupby([NAMES.index(name) % 2 for name in worth.index]).sum().to_numpy(),
        "turnover": np.array([bought.sum()]),
        "trade": bought.reindex(prices.index, fill_value=0.0).to_numpy(),
        "cost": np.array([(parts[1] + parts[2]).sum() / 100 / value]),
        "count": np.array([len(trades)]),
    }


def test_a_target_is_rounded_to_the_nearest_share():
    """10,000 USD, free of costs: A 3.6 shares of 100, B 5.4 shares of 100, C 2.9 shares of 30, the rest cash.

    Rounded down they leave 60, 40 and 27 USD. A gets its share, then C: 130 USD for the 127 that were left over, closer
    in all (0 + 40 + 3 of names, 3 of cash) than without (0 + 40 + 27, 27). B is nearer to 5 shares than to 6.
    """
    generator = TradeGenerator(min_trade_size=0, costs=FREE)
    prices = series(A=100.0, B=100.0, C=30.0)
    weights = series(A=0.036, B=0.054, C=0.0087)
    assert generator.generate_trades(held(), 10_000, weights, prices)["shares"].tolist() == [4, 5, 3]
    # a sale stops at the nearest share as well: 4.6 of 5 shares stay 5, where rounding down sold one
    assert generator.generate_trades(held(A=5), 9_500, series(A=0.046, B=0.04), prices)["shares"].tolist() == [4]
    assert generator.generate_trades(held(A=5), 9_500, series(A=0.044), prices)["shares"].tolist() == [-1]


def test_what_is_left_over_is_spent_on_what_lacks_most():
    """2,000 USD, ten names at 10%: nine at 130 USD (1.54 shares), NVR at 1,581.29 (0.13 shares), free of costs.

    Rounded down: nine single shares are 1,170 USD, and 830 stay idle. Each of the nine lacks 70 USD, and is nearest to
    2 shares: six more at 130 are 780. Then 50 USD are left, which buy nothing. NVR would be 79% of the book.
    """
    names = [*"ABCDEFGHI", "NVR"]
    weights, prices = pd.Series(0.1, index=names), pd.Series([130.0] * 9 + [1581.29], index=names)
    generator = TradeGenerator(costs=FREE)
    trades = generator.generate_trades(held(), 2000, weights, prices, room=Room(max_weight=0.15, max_trade=0.15))
    assert trades["shares"].tolist() == [2] * 6 + [1] * 3
    found = generator.unbought(held(), 2000, weights, prices, trades)
    assert found.table["symbol"].tolist() == ["NVR"]
    assert (found.idle, found.n_wanted) == (50.0, 10)
    assert found.enough == pytest.approx(15_812.90)  # 1,581.29 / 10%
    assert found.sentence == (
        "1 of 10 target names cannot be bought with 2,000.00 USD: NVR (10.0% is 0.13 shares at 1,581.29 USD, less than "
        "one). 50.00 USD (2.5%) stay uninvested. These settings need about 15,813 USD to hold every name; with "
        "less, lower portfolio.top_n."
    )
    unsorted = generator.generate_trades(held(), 2000, weights, prices, room=Room(0.15, max_sector_weight=0.1))
    assert unsorted["shares"].tolist() == trades["shares"].tolist()  # where there are no sectors, none is limited
    tight = generator.generate_trades(held(), 2000, weights, prices, room=Room(max_weight=0.12))
    assert tight["shares"].tolist() == [1] * 9  # two shares are 13%


def test_orders_below_the_smallest_are_named():
    """500 USD and ten names: 50 USD each, less than min_trade_size. A second share that makes a buy large enough is not
    bought beyond the share above the target."""
    names = list("ABCDEFGHIJ")
    weights, prices = pd.Series(0.1, index=names), pd.Series(30.0, index=names)
    generator = TradeGenerator(costs=FREE)
    trades = generator.generate_trades(held(), 500, weights, prices)
    assert trades.empty
    found = generator.unbought(held(), 500, weights, prices, trades)
    assert found.table["why"].unique().tolist() == ["10.0% is 50.00 USD, less than min_trade_size 100.00"]
    assert (found.idle, found.enough) == (500.0, pytest.approx(1000.0))
    assert "10 of 10 target names" in found.sentence
    assert "E (10.0% is 50.00 USD, less than min_trade_size 100.00), 5 more. 500.00 USD (100.0%) stay" in found.sentence


def test_the_reason_is_what_would_have_to_change():
    """1,000 USD at 5%, min_trade_size 100: of a share of 60 it is 0.83, yet one would be too small an order as well."""
    generator, prices = TradeGenerator(costs=FREE), series(A=60.0, B=120.0)
    weights = series(A=0.05, B=0.05, CASH=0.9)
    trades = generator.generate_trades(held(), 1000, weights, prices, room=Room(max_weight=0.1))
    found = generator.unbought(held(), 1000, weights, prices, trades)
    assert found.table["why"].tolist() == [
        "5.0% is 50.00 USD, less than min_trade_size 100.00",
        "5.0% is 0.42 shares at 120.00 USD, less than one",
    ]
    assert found.enough == pytest.approx(2400)  # 120 / 5%


def test_a_dear_share_of_fifty_names_is_bought_where_it_is_nearest():
    """100,000 USD and 50 names are 2,000 USD each: of a share of 2,100 that is 0.95, of one of 4,100 it is 0.49.

    Rounded down, 48 names of 90 USD hold 22 shares (1,980 USD), the two others none: 4,960 USD are left. The first dear
    share takes 2,100 of them; the other is less than half a share and comes after the 48 that lack 20 USD, which
    is 0.22 shares of 90: it lacks 2,000 USD and none of the others more, but 4,100 are not there any more.
    """
    names = [f"N{i:02d}" for i in range(48)] + ["DEAR", "DEARER"]
    prices = pd.Series([90.0] * 48 + [2100.0, 4100.0], index=names)
    generator, weights = TradeGenerator(costs=FREE), pd.Series(0.02, index=names)
    trades = generator.generate_trades(held(), 100_000, weights, prices).set_index("symbol")["shares"]
    assert trades["DEAR"] == 1
    assert "DEARER" not in trades
    assert trades.drop("DEAR").tolist() == [23] * 31 + [22] * 17  # 2,860 USD left: 31 more at 90 are 2,790


def test_a_smallest_trade_beyond_every_order_is_no_order():
    generator = TradeGenerator(min_trade_size=1e300, costs=FREE)
    assert generator.generate_trades(held(), 1000, series(A=0.55), series(A=100.0)).empty


def test_names_that_are_held_or_not_wanted_are_not_unbought():
    generator, prices = TradeGenerator(costs=FREE), series(A=100.0, B=100.0, C=100.0)
    weights = series(A=0.5, B=0.0, C=0.005)
    trades = generator.generate_trades(held(A=40, B=10), 5_000, weights, prices)
    found = generator.unbought(held(A=40, B=10), 5_000, weights, prices, trades)
    assert found.table["symbol"].tolist() == ["C"]
    assert found.idle == pytest.approx(50.0)  # 49.5% was to stay in cash; half a share of C was not bought
    alone = generator.unbought(held(A=50), 5_000, series(A=0.5), prices, trades.iloc[:0])
    assert (alone.sentence, alone.idle) == ("", 0.0)


@pytest.mark.parametrize("share_units", [4, 1000])
def test_a_book_that_counts_parts_of_a_share_orders_them(share_units):
    """2,000 USD, 5% of a share of 1,581.29 are 0.06324 shares: 0.063 in thousandths, none in quarters.

    600 / 7 = 85.7143 shares of A, of which 0.5 are held: 85.714 in thousandths, 85.75 in quarters.
    """
    generator = TradeGenerator(min_trade_size=50, costs=FREE, share_units=share_units)
    weights, prices = series(NVR=0.05, A=0.3), series(NVR=1581.29, A=7.0)
    trades = generator.generate_trades(pd.Series({"A": 0.5}), 1996.5, weights, prices).set_index("symbol")
    units = trades["shares"] * share_units
    assert (units == units.round()).all()
    assert trades["shares"].get("NVR", 0.0) == {4: 0.0, 1000: 0.063}[share_units]
    assert trades["shares"]["A"] == {4: 85.25, 1000: 85.214}[share_units]
    found = generator.unbought(pd.Series({"A": 0.5}), 1996.5, weights, prices, trades.reset_index())
    assert ("less than 1/4" in found.sentence) == (share_units == 4)


def test_parts_of_a_share_are_sold_to_the_last():
    generator = TradeGenerator(costs=FREE, share_units=1000)
    trades = generator.generate_trades(pd.Series({"A": 0.125}), 100, series(CASH=1.0), series(A=10.0))
    assert trades["shares"].tolist() == [-0.125]


@pytest.mark.parametrize("share_units", [1, 1000])
def test_evenings_of_a_book_in_its_own_unit(tmp_path, share_units):
    """Decided, checked, committed and settled, evening after evening: orders are multiples of the unit, pass the checks
    of the desk, and never overdraw the book."""
    path, market, costs = tmp_path / "b.db", random_market(7), Costs(min_commission=0.35)
    open_book(path, cash=2_000, share_units=share_units)
    generator = TradeGenerator(min_trade_size=20, costs=costs, share_units=share_units)
    anything = SafetyLimits(max_turnover=9, max_trade=9, max_cost=9)
    rng, parts = np.random.default_rng(0), 0
    for n in range(len(market.dates)):
        close, state = market.close.iloc[n].dropna(), read_book(path)
        gone = market.actions.query("kind == 'delisting'")["symbol"]
        if not state.positions.index.difference(gone).isin(close.index).all():
            continue  # a gap in a held name: that evening is settled with the next
        settled = settle(state, market, costs, DAYS[n])
        weights = pd.Series(rng.random(len(close) + 1), index=[*close.index, "CASH"])
        trades = generator.generate_trades(settled.positions, settled.cash, weights / weights.sum(), close)
        book = (trades, settled.positions, settled.cash, close, settled.equity)
        checks = SafetyValidator(anything).validate_trades(*book, share_units=share_units)
        assert checks["status"].isin(["pass", "not checked"]).all()
        commit(path, market, n, trades, costs=costs)
        assert read_book(path).cash_cents >= 0
        parts += int((trades["shares"] % 1 != 0).sum())
    assert (parts > 20) == (share_units > 1)


def test_a_million_cheap_units_are_spent_in_few_steps():
    generator = TradeGenerator(costs=Costs(commission_bps=100, slippage_bps=0), share_units=1_000_000)
    names = [f"N{i:02d}" for i in range(40)]
    weights = pd.Series(1 / 40, index=names)
    prices = pd.Series(np.linspace(0.02, 4000, 40), index=names)
    trades = generator.generate_trades(held(), 100_000, weights, prices)
    assert len(trades) == 40
    units = np.rint(trades["shares"] * 1_000_000)
    assert 0 <= 10_000_000 + cash_flow(units, trades["price"], generator.costs, 1_000_000).sum() < 10


@settings(max_examples=30, deadline=None)
@given(evenings())
def test_the_table_is_consistent_and_ordered(evening):
    positions, cash, weights, prices, generator = evening
    trades = generator.generate_trades(positions, cash / 100, weights, prices)
    assert list(trades) == TRADE_COLUMNS
    assert (trades["shares"] != 0).all()
    assert (trades["side"] == np.where(trades["shares"] > 0, "BUY", "SELL")).all()
    assert (trades["notional"] == trades["shares"].abs() * trades["price"]).all()
    assert (trades["weight_change"] == trades["weight_target"] - trades["weight_before"]).all()
    order = [(row.side == "BUY", row.symbol) for row in trades.itertuples()]
    assert order == sorted(order)
    small = trades[trades["notional"] < generator.min_trade_size]
    assert (small["weight_target"] == 0).all()
    assert (small["side"] == "SELL").all()


@settings(max_examples=30, deadline=None)
@given(evenings())
def test_what_has_no_target_is_sold_to_the_last_share(evening):
    positions, cash, weights, prices, generator = evening
    trades = generator.generate_trades(positions, cash / 100, weights, prices)
    exits = positions[(positions > 0) & (weights.reindex(positions.index) == 0)]
    sold = -trades.set_index("symbol")["shares"].reindex(exits.index, fill_value=0)
    proceeds = cash_flow(-exits, prices[exits.index], generator.costs)
    # the only sale that may be left out costs more than it brings
    assert ((sold == exits) | ((sold == 0) & (proceeds < 0))).all()


@settings(max_examples=30, deadline=None)
@given(evenings())
def test_a_book_at_its_targets_does_not_trade(evening):
    positions, cash, _, prices, generator = evening
    value = portfolio_value(positions, cash / 100, prices)
    drifted = positions * prices / value
    assert generator.generate_trades(positions, cash / 100, drifted, prices).empty


@settings(max_examples=20, deadline=None)
@given(evenings(), st.randoms())
def test_the_order_of_the_inputs_does_not_matter(evening, random):
    positions, cash, weights, prices, generator = evening
    names = list(weights.index)
    random.shuffle(names)
    stocks = [name for name in names if name != "CASH"]
    again = generator.generate_trades(positions[stocks], cash / 100, weights[names], prices[stocks[::-1]])
    assert_frame_equal(generator.generate_trades(positions, cash / 100, weights, prices), again)


def test_worked_by_hand():
    """100,000 USD: 200 A at 100, 100 B at 50, 75,000 cash; to A 10%, C 30%, nothing else."""
    generator = TradeGenerator(costs=Costs(commission_bps=1, slippage_bps=5))
    prices = series(A=100.0, B=50.0, C=70.0)
    trades = generator.generate_trades(held(A=200, B=100), 75_000, series(A=0.10, C=0.30, CASH=0.60), prices)
    assert trades["symbol"].tolist() == ["A", "B", "C"]
    assert trades["shares"].tolist() == [-100, -100, 428]  # 30,000 / 70 = 428.57
    assert trades["notional"].tolist() == [10_000, 5_000, 29_960]
    assert trades["weight_before"].tolist() == pytest.approx([0.20, 0.05, 0.0])
    assert trades["weight_target"].tolist() == pytest.approx([0.10, 0.0, 0.30])
    assert trades["commission_est"].tolist() == [1.00, 0.50, 3.00]  # 2.996 is charged as 3.00
    assert trades["slippage_est"].tolist() == [5.00, 2.50, 14.98]
    assert trades["reason"].tolist() == [
        "position reduced to target 10.00%",
        "position closed: target 0%",
        "position opened: target 30.00%",
    ]
    assert generator.calculate_turnover(trades, 100_000) == pytest.approx(0.2996)
    assert generator.estimate_costs(trades) == pytest.approx({"commission": 4.5, "slippage": 22.48, "total": 26.98})


def test_prices_and_cash_times_ten_leave_shares_unchanged():
    generator = TradeGenerator(min_trade_size=0, costs=FREE)
    prices, weights = series(A=12.34, B=56.78), series(A=0.3, B=0.6, CASH=0.1)
    one = generator.generate_trades(held(A=10), 9_000, weights, prices)
    ten = generator.generate_trades(held(A=10), 90_000, weights, prices * 10)
    assert one["shares"].tolist() == ten["shares"].tolist()


def test_floating_point_noise_in_a_target_sells_nothing():
    weights = series(A=0.1 + 0.2 - 1e-12, CASH=0.7)
    assert TradeGenerator(min_trade_size=0).generate_trades(held(A=30), 70, weights, series(A=1.0)).empty


def test_p06_buys_beyond_the_cash_are_scaled_alike():
    """All of 10,000 USD into two names at 1%: f = 1/1.01, so 49.50 and 99.009 shares. 49 and 99 cost 9,948.50 USD; the
    51.50 that are left do not pay for a share of A, which lacks most (101), but for one of B (50.50)."""
    generator = TradeGenerator(costs=Costs(commission_bps=100, slippage_bps=0))
    trades = generator.generate_trades(held(), 10_000, series(A=0.5, B=0.5, CASH=0.0), series(A=100.0, B=50.0))
    assert trades["shares"].tolist() == [49, 100]
    assert trades["reason"].tolist() == [
        "position opened: target 50.00%; cash pays for 49 of 50",
        "position opened: target 50.00%",
    ]
    assert 10_000 - trades["notional"].sum() - generator.estimate_costs(trades)["total"] >= 0


def test_p06_a_buy_scaled_below_the_minimum_is_dropped():
    """Selling 900 of B is too small to do, which leaves 500 in cash for 1,400 of A: too small as well."""
    generator = TradeGenerator(min_trade_size=1000, costs=FREE)
    weights, prices = series(A=0.14, B=0.86), series(A=1.0, B=1.0)
    assert generator.generate_trades(held(B=9500), 500, weights, prices).empty
    assert generator.generate_trades(held(B=9500), 1500, weights / 1.1, prices)["shares"].tolist() == [1400]


def test_small_trades_are_dropped_but_full_exits_never():
    generator = TradeGenerator(min_trade_size=100, costs=FREE)
    prices = series(A=1.0, B=1.0, C=1.0)
    trades = generator.generate_trades(held(A=50, B=1000), 8_950, series(B=0.0950, C=0.0099), prices)
    assert trades["symbol"].tolist() == ["A"]


def test_a_sale_that_costs_more_than_it_brings_waits_for_cash():
    costs = Costs(commission_bps=0, slippage_bps=0, min_commission=5)
    assert affordable([-1, -100], [1.0, 10.0], 0, costs).tolist() == [-1, -100]
    assert affordable([-1, 3], [1.0, 10.0], 100, costs).tolist() == [0, 0]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-500, 500), st.integers(1, 100_000)), max_size=6),
    st.integers(0, 10_000_000),
    st.sampled_from([0, 1, 9.99]),
)
def test_affordable_never_overdraws_and_never_turns_an_order_round(orders, cash, minimum):
    costs = Costs(commission_bps=3, slippage_bps=7, min_commission=minimum)
    shares = np.array([n for n, _ in orders], dtype="int64")
    prices = np.array([cents / 100 for _, cents in orders])
    paid = affordable(shares, prices, cash, costs)
    assert cash + cash_flow(paid, prices, costs).sum() >= 0
    assert (np.abs(paid) <= np.abs(shares)).all()
    assert (paid * shares >= 0).all()
    if cash + np.minimum(cash_flow(shares, prices, costs), 0).sum() >= 0:
        assert (paid == shares).all()


def test_buys_are_scaled_by_one_factor_where_a_double_cannot_tell_two_apart():
    """24 × 5/6 is 20 and 30 × 5/6 is 25: at the largest double below 5/6, 24 × it rounds up to 20, 30 × it stays
    below 25. The cash pays for 20 and 25, of either order."""
    for orders in ([24, 30], [30, 24]):
        assert affordable(orders, [1.0, 1.0], 4500, FREE).tolist() == [n * 5 // 6 for n in orders]
        assert affordable(orders, [1.0, 1.0], 4499, FREE).tolist() == [n * 4 // 5 for n in orders]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(1, 3000)), min_size=1, max_size=5),
    st.integers(0, 300_000),
    st.sampled_from([0, 9.99]),
)
def test_buys_are_scaled_by_the_largest_factor_that_the_cash_can_pay(orders, cash, minimum):
    """Against the slow way: every factor at which one of the buys has a unit more, the largest first."""
    costs = Costs(commission_bps=3, slippage_bps=7, min_commission=minimum)
    shares, prices = [n for n, _ in orders], [cents / 100 for _, cents in orders]
    for factor in sorted({Fraction(k, n) for n in shares for k in range(n + 1)}, reverse=True):
        some = [floor(n * factor) for n in shares]
        if cash + cash_flow(some, prices, costs).sum() >= 0:
            break
    assert affordable(shares, prices, cash, costs).tolist() == some


def test_a_price_so_small_that_its_shares_cannot_be_counted_is_refused_by_name():
    generator = TradeGenerator(min_trade_size=0, costs=FREE)
    with pytest.raises(DataError, match=r"B at 1e-12 USD: a weight of 50.0% buys more shares than can be counted"):
        generator.generate_trades(held(), 100_000, series(A=0.5, B=0.5), series(A=1.0, B=1e-12))


def test_no_order_no_cost():
    notional, commission, slippage = trade_cents([0, 10], [5.0, 5.0], Costs(min_commission=1, slippage_bps=10))
    assert notional.tolist() == [0, 5000]
    assert commission.tolist() == [0, 100]
    assert slippage.tolist() == [0, 5]


def test_the_callers_reasons_are_used_where_given():
    reasons = series(A="sold: rank 41 > 30")
    generator = TradeGenerator(costs=FREE)
    trades = generator.generate_trades(held(A=10, B=10), 0, series(CASH=1.0), series(A=20.0, B=20.0), reasons=reasons)
    assert trades["reason"].tolist() == ["sold: rank 41 > 30", "position closed: target 0%"]


def test_liquidity_is_said_in_words():
    volume = series(A=1e6, B=70_000.0, C=np.nan, D=0.0)
    weights = series(A=0.05, B=0.05, C=0.05, D=0.05, CASH=0.8)
    prices = series(A=1.0, B=1.0, C=1.0, D=1.0)
    trades = TradeGenerator(costs=FREE).generate_trades(held(), 100_000, weights, prices, volume=volume)
    assert trades["liquidity_warning"].tolist() == [
        "",
        "7.1% of 20-session median dollar volume",
        "not checked: no volume",
        "nothing traded in 20 sessions",
    ]
    unknown = TradeGenerator(costs=FREE).generate_trades(held(), 100_000, weights, prices)
    assert set(unknown["liquidity_warning"]) == {"not checked: no volume"}


def test_no_trades_is_an_empty_table_of_the_same_types():
    generator = TradeGenerator()
    empty = generator.generate_trades(held(), 100, series(CASH=1.0), series(A=1.0))
    full = generator.generate_trades(held(), 1000, series(A=1.0), series(A=1.0))
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()
    assert generator.calculate_turnover(empty, 100) == 0
    assert generator.estimate_costs(empty)["total"] == 0


def test_d14_tickers_that_look_like_something_else():
    names = ["NA", "TRUE", "1E5", "BRK.B"]
    weights = pd.Series(0.2, index=names)
    trades = TradeGenerator().generate_trades(held(), 100_000, weights, pd.Series(10.0, index=names))
    assert trades["symbol"].tolist() == sorted(names)
    assert trades["symbol"].dtype == "str"


def test_d03_a_held_name_without_a_price_is_an_error_that_names_it():
    prices = series(A=1.0, B=np.nan, C=0.0)
    with pytest.raises(DataError, match="held B, C; import its bars or record the delisting"):
        portfolio_value(held(A=1, B=1, C=1), 0, prices)
    assert portfolio_value(held(A=3, B=0), 1.5, prices) == 4.5
    with pytest.raises(DataError, match="held D"):
        TradeGenerator().generate_trades(held(D=1), 100, series(CASH=1.0), prices)
    with pytest.raises(DataError, match="wanted B"):
        TradeGenerator().generate_trades(held(), 100, series(B=1.0), prices)


@pytest.mark.parametrize("cash", [0.0, -5.0])
def test_a_book_worth_nothing_has_no_orders_and_is_all_cash(cash):
    prices = series(A=1.0)
    trades = TradeGenerator().generate_trades(held(), cash, series(A=1.0), prices)
    assert trades.empty
    assert list(trades) == TRADE_COLUMNS
    assert TradeGenerator().calculate_turnover(trades, cash) == 0
    assert current_weights(held(), cash, prices).to_dict() == {"CASH": 1.0}
    said = TradeGenerator().unbought(held(), cash, series(A=1.0), prices, trades).sentence
    assert said == f"The portfolio is worth {cash:.2f} USD, so nothing can be traded."


def test_a_cent_is_a_book():
    assert TradeGenerator().generate_trades(held(), 0.01, series(A=1.0), series(A=1.0)).empty
    assert current_weights(held(), 0.01, series(A=1.0)).to_dict() == {"CASH": 1.0}


def test_holdings_that_are_worth_nothing_with_the_cash_are_an_error():
    for call in (current_weights, lambda *book: TradeGenerator().generate_trades(*book[:2], series(A=1.0), book[2])):
        with pytest.raises(DataError, match=r"the portfolio is worth 0\.00 USD, so nothing can be traded"):
            call(held(A=5), -5.0, series(A=1.0))


@pytest.mark.parametrize("bad", [np.nan, -0.01, np.inf])
def test_p02_a_weight_that_is_no_weight_is_refused(bad):
    with pytest.raises(LimitError, match="weights for B"):
        TradeGenerator().generate_trades(held(), 100, series(A=0.1, B=bad), series(A=1.0, B=1.0))


def test_a_symbol_given_twice_is_refused():
    twice = pd.Series([0.1, 0.2], index=["A", "A"])
    with pytest.raises(LimitError, match="weights for A"):
        TradeGenerator().generate_trades(held(), 100, twice, series(A=1.0))


def test_current_weights_sum_to_one_with_cash_last():
    weights = current_weights(held(A=3, B=0, C=1), 40.0, series(A=10.0, C=30.0))
    assert weights.to_dict() == {"A": 0.3, "C": 0.3, "CASH": 0.4}
    assert list(weights.index)[-1] == "CASH"
