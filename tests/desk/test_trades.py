"""Orders from weights: conservation, cash, rounding, and the words beside them."""

import numpy as np
import pandas as pd
import pytest
from desk_lab import make_market
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from openbook.desk.trades import (
    TRADE_COLUMNS,
    TradeGenerator,
    affordable,
    cash_flow,
    current_weights,
    median_dollar_volume,
    portfolio_value,
    trade_cents,
)
from openbook.errors import DataError, LimitError
from openbook.portfolio.costs import Costs

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


@settings(max_examples=30, deadline=None)
@given(evenings())
def test_rounding_never_ends_above_the_target(evening):
    positions, cash, weights, prices, generator = evening
    trades = generator.generate_trades(positions, cash / 100, weights, prices)
    value = portfolio_value(positions, cash / 100, prices)
    shares, _ = after(trades, positions, cash, generator.costs)
    traded = trades["symbol"]
    assert (shares[traded] * prices[traded] <= weights[traded] * value + 1e-6 * prices[traded]).all()


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
    assert trades["reason"].tolist() == ["trim to target 10.00%", "leaves: target 0%", "enters: target 30.00%"]
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
    """All of 10,000 USD into two names at 1%: f = 1/1.01, so 49.50 and 99.009 shares."""
    generator = TradeGenerator(costs=Costs(commission_bps=100, slippage_bps=0))
    trades = generator.generate_trades(held(), 10_000, series(A=0.5, B=0.5, CASH=0.0), series(A=100.0, B=50.0))
    assert trades["shares"].tolist() == [49, 99]
    assert trades["reason"].tolist() == ["enters: target 50.00%; cash pays for 49 of 50", *trades["reason"][1:]]
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


def test_no_order_no_cost():
    notional, commission, slippage = trade_cents([0, 10], [5.0, 5.0], Costs(min_commission=1, slippage_bps=10))
    assert notional.tolist() == [0, 5000]
    assert commission.tolist() == [0, 100]
    assert slippage.tolist() == [0, 5]


def test_the_callers_reasons_are_used_where_given():
    reasons = series(A="leaves: rank 41 > 30")
    generator = TradeGenerator(costs=FREE)
    trades = generator.generate_trades(held(A=10, B=10), 0, series(CASH=1.0), series(A=20.0, B=20.0), reasons=reasons)
    assert trades["reason"].tolist() == ["leaves: rank 41 > 30", "leaves: target 0%"]


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
    with pytest.raises(DataError, match="held B, C; import one or record the delisting"):
        portfolio_value(held(A=1, B=1, C=1), 0, prices)
    assert portfolio_value(held(A=3, B=0), 1.5, prices) == 4.5
    with pytest.raises(DataError, match="held D"):
        TradeGenerator().generate_trades(held(D=1), 100, series(CASH=1.0), prices)
    with pytest.raises(DataError, match="wanted B"):
        TradeGenerator().generate_trades(held(), 100, series(B=1.0), prices)


def test_nothing_can_be_traded_without_value():
    with pytest.raises(DataError, match=r"worth 0\.00 USD"):
        TradeGenerator().generate_trades(held(), 0, series(A=1.0), series(A=1.0))


@pytest.mark.parametrize("bad", [np.nan, -0.01, np.inf])
def test_p02_a_weight_that_is_no_weight_is_refused(bad):
    with pytest.raises(LimitError, match="weights of B"):
        TradeGenerator().generate_trades(held(), 100, series(A=0.1, B=bad), series(A=1.0, B=1.0))


def test_a_symbol_given_twice_is_refused():
    twice = pd.Series([0.1, 0.2], index=["A", "A"])
    with pytest.raises(LimitError, match="weights of A"):
        TradeGenerator().generate_trades(held(), 100, twice, series(A=1.0))


def test_median_dollar_volume_is_of_the_last_window():
    volume = {"A": [1, 2, 3, 4, 5], "B": [np.nan] * 4 + [7], "C": [np.nan] * 5}
    market = make_market({"A": [10] * 5, "B": [1] * 5, "C": [1] * 5}, volume=volume)
    median = median_dollar_volume(market, window=3)
    assert median[["A", "B"]].tolist() == [40, 7]
    assert np.isnan(median["C"])
    assert median_dollar_volume(make_market({"A": [1.0]})) is None


def test_current_weights_sum_to_one_with_cash_last():
    weights = current_weights(held(A=3, B=0, C=1), 40.0, series(A=10.0, C=30.0))
    assert weights.to_dict() == {"A": 0.3, "C": 0.3, "CASH": 0.4}
    assert list(weights.index)[-1] == "CASH"
