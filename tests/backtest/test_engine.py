"""Backtests: a case by hand, a slow twin, conservation, and the same decisions as live."""

import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbook import metrics
from openbook.backtest import kernels
from openbook.backtest.engine import VectorizedBacktester, equal_weight_universe, random_scores
from openbook.backtest.simulate import rates, read_prices
from openbook.common.constants import CASH
from openbook.common.errors import DataError, LimitError, OptimizerError
from openbook.market import calendar
from openbook.market.ingest import admit
from openbook.market.tables import ACTION_COLUMNS, Delivery
from openbook.portfolio.construct import PortfolioSettings, RegimeAdaptation, cash_of, construct_portfolio
from openbook.portfolio.costs import Costs
from openbook.portfolio.optimizers import OPTIMIZERS
from support import backtest_peers as peers
from support import portfolios as lab

FREE = Costs(commission_bps=0, slippage_bps=0)
ONE_PERCENT = Costs(commission_bps=0, slippage_bps=100)


def table(rows: dict, dates=None) -> pd.DataFrame:
    """A small sessions × symbols table."""
    found = pd.DataFrame(rows, dtype=float)
    found.index = lab.sessions(len(found)) if dates is None else dates
    return found


def walk(weights, market, costs=FREE, capital=1000.0):
    return VectorizedBacktester(costs=costs, capital=capital).run(weights, market)


@pytest.fixture(scope="module")
def tiny():
    """Three sessions, two names, opens and closes."""
    return lab.make_market(
        table({"A": [10, 11, 12], "B": [20, 18, 21]}), table({"A": [9.9, 10, 11], "B": [19.5, 20, 20]})
    )


# ---- by hand ----


def test_three_days_two_assets_by_hand(tiny):
    """Half and half at the first open, then 20% and 30%, each trade costing 1% of its notional.

    Open 2: V + 0.01·V = 1000, so V = 990.0990 and 9.90099 is paid; 49.50495 A at 10, 24.75248 B at 20.
    Close 2: 49.50495·11 + 24.75248·18 = 990.0990; A 55%, B 45%.
    Open 3: A 544.5545, B 495.0495, together 1039.6040. Both are sold down: V + 0.01·(1039.6040 − 0.5·V) = 1039.6040,
    so V = 1029.2079/0.995 = 1034.3798 and 5.22414 is paid; A 206.8760, B 310.3139, cash 517.1899.
    Close 3: 206.8760·12/11 + 310.3139·21/20 + 517.1899 = 1068.7024.
    """
    weights = table({"A": [0.5, 0.2], "B": [0.5, 0.3]}, tiny.dates[:2])
    found = walk(weights, tiny, ONE_PERCENT)
    np.testing.assert_allclose(found.costs, [1000 - 1000 / 1.01, 5.2241405], rtol=1e-7)
    np.testing.assert_allclose(found.equity, [1000.0, 990.0990099, 1068.7024230], rtol=1e-9)
    np.testing.assert_allclose(found.cash, [1000.0, 0.0, 517.1899100], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.held.iloc[1], [0.55, 0.45, 0.0], atol=1e-12)
    sold = (544.5544554 - 206.8759620) + (495.0495050 - 310.3139429)
    np.testing.assert_allclose(found.turnover, [990.0990099 / 1000, sold / 1039.6039604], rtol=1e-8)
    np.testing.assert_allclose(found.returns, found.equity.pct_change().iloc[1:])


def test_next_close_executes_at_the_next_close():
    market = lab.make_market(table({"A": [10, 12, 15]}))
    found = walk(table({"A": [1.0]}, market.dates[:1]), market)
    np.testing.assert_allclose(found.equity, [1000.0, 1000.0, 1250.0])
    assert "executed at the next close: the source has no opens" in found.notes


def test_dividends_and_splits_are_in_the_total_return_price():
    close = table({"A": [10, 5.5, 5.0]})  # 2:1 split on day 2, 0.55 dividend on day 3
    market = lab.make_market(close, table({"A": [10, 5.2, 4.9]}), adjusted=table({"A": [10, 11, 11.1]}))
    found = walk(table({"A": [1.0]}, market.dates[:1]), market)
    np.testing.assert_allclose(found.equity, [1000, 1000 * 5.5 / 5.2, 1000 * 5.5 / 5.2 * 11.1 / 11])


def test_a_missing_execution_bar_is_no_trade_and_stays_in_cash(tiny):
    opens = table({"A": [9.9, np.nan, 11], "B": [19.5, 20, 20]})
    market = lab.make_market(tiny.close, opens)
    found = walk(table({"A": [0.5], "B": [0.5]}, tiny.dates[:1]), market)
    np.testing.assert_allclose(found.cash, [1000, 500, 500])
    np.testing.assert_allclose(found.equity, [1000, 500 + 450, 500 + 525])


def test_when_a_sale_cannot_be_made_the_purchases_shrink_and_cash_is_never_negative(tiny):
    opens = table({"A": [9.9, 10, np.nan], "B": [19.5, 20, 20]})
    market = lab.make_market(tiny.close, opens)
    weights = table({"A": [0.5, 0.0], "B": [0.5, 1.0]}, tiny.dates[:2])
    found = walk(weights, market)
    # A stays at its last close, 550; B may take what is left, which is what it is already worth
    np.testing.assert_allclose(found.cash, [1000, 0, 0], atol=1e-9)
    np.testing.assert_allclose(found.equity.iloc[-1], 550 * 12 / 11 + 500 * 21 / 20)


def test_a_recorded_delisting_becomes_cash_at_the_final_return_on_the_next_session():
    close = table({"A": [10, 10, 8, np.nan, np.nan], "B": [10, 10, 10, 10, 10]})
    opens = table({"A": [10, 10, 9, np.nan, np.nan], "B": [10, 10, 10, 10, 10]})
    market = lab.make_market(close, opens, actions=lab.delisting("2015-01-07", "A", -0.5))
    found = walk(table({"A": [0.5], "B": [0.5]}, market.dates[:1]), market)
    np.testing.assert_allclose(found.equity, [1000, 1000, 900, 700, 700])
    np.testing.assert_allclose(found.cash, [1000, 0, 0, 200, 200], atol=1e-9)
    assert found.forced_exits.iloc[0].to_list() == [market.dates[3], "A", "delisting", 200.0]


def test_the_proceeds_of_a_delisting_can_be_spent_on_the_same_session():
    close = table({"A": [10, 10, np.nan], "B": [10, 10, 10]})
    market = lab.make_market(close, actions=lab.delisting("2015-01-06", "A", 0.0))
    found = walk(table({"A": [1.0, 0.0], "B": [0.0, 1.0]}, market.dates[:2]), market)
    assert found.cash.iloc[-1] == pytest.approx(0.0, abs=1e-9)
    assert found.equity.iloc[-1] == pytest.approx(1000.0)


def test_a_name_that_falls_silent_stays_locked_and_never_becomes_cash():
    """Half in A at 10, up to 12, then nothing for 30 sessions: 600 + 500, of which A's 600 cannot be spent.

    Bars end in row 2; from row 22 on, 20 sessions later, a note tells of it. A sale of A ordered in row 25 finds no
    price, and B gets nothing of it.
    """
    prices = np.r_[10.0, 10.0, 12.0, np.full(30, np.nan)]
    market = lab.make_market(table({"A": prices, "B": np.full(33, 5.0)}))
    weights = table({"A": [0.5, 0.0], "B": [0.5, 1.0]}, market.dates[[0, 25]])
    found = walk(weights, market)
    assert found.forced_exits.empty
    np.testing.assert_allclose(found.cash.iloc[1:], 0.0, atol=1e-9)
    assert (found.equity.iloc[2:] == 1100).all()
    assert found.locked.to_numpy().tolist() == [[market.dates[2], "A", "no bars", 600.0]]
    assert (
        "no bars for at least 20 sessions and no delisting recorded for 1 held name (A; 54.5% of the" in found.notes[1]
    )
    assert len(walk(weights.iloc[:1], market.upto(market.dates[21])).notes) == 1


@pytest.mark.parametrize("halt", [1, 12, 19, 20, 21, 60])
@pytest.mark.parametrize(("back", "equity"), [(5.0, 750.0), (0.05, 502.5), (15.0, 1250.0)])
def test_a_reopening_counts_at_its_price_however_long_the_halt(halt, back, equity):
    """Half in A at 10: 50 shares. It reopens at 5, 0.05 or 15: 500 + 50 × that. At 15, it gains, and that is real."""
    market = lab.make_market(table({"A": [10.0, 10.0, *[np.nan] * halt, back, back], "B": [5.0] * (halt + 4)}))
    found = walk(table({"A": [0.5], "B": [0.5]}, market.dates[:1]), market)
    assert (found.equity.iloc[: halt + 2] == 1000.0).all()
    np.testing.assert_allclose(found.equity.iloc[-2:], equity)
    assert found.forced_exits.empty
    assert found.locked.empty


def test_who_held_a_name_that_comes_back_on_another_level_gains_nothing():
    """Half in A at 10, which comes back at 251, 25.1 times above, as another company: the holder got 10 a share.

    At 249 it is the same company, and 50 shares are worth 12,450.
    """
    for back, equity in ((251.0, 1000.0), (249.0, 500 + 50 * 249.0)):
        market = lab.make_market(table({"A": [10.0, 10.0, *[np.nan] * 30, back, back], "B": [5.0] * 34}))
        found = walk(table({"A": [0.5], "B": [0.5]}, market.dates[:1]), market)
        assert found.equity.iloc[-1] == pytest.approx(equity)
    market = lab.make_market(table({"A": [10.0, 10.0, *[np.nan] * 30, 251.0, 251.0], "B": [5.0] * 34}))
    found = walk(table({"A": [0.5], "B": [0.5]}, market.dates[:1]), market)
    assert found.forced_exits.to_numpy().tolist() == [[market.dates[32], "A", "another level", 500.0]]
    assert "A reappeared at more than 25 times the last accepted price while held" in found.notes[-1]


def test_a_delisting_declared_after_a_long_silence_counts():
    """Silent from row 3 on, declared in row 30 to be worth nothing: 1000 until then, 500 from then on."""
    close = table({"A": [10.0, 10.0, 10.0, *[np.nan] * 30], "B": [5.0] * 33})
    gone = lab.delisting(close.index[30], "A", -1.0)
    found = walk(table({"A": [0.5], "B": [0.5]}, close.index[:1]), lab.make_market(close, actions=gone))
    assert (found.equity.iloc[:30] == 1000.0).all()
    assert (found.equity.iloc[30:] == 500.0).all()


# ---- falls in doubt ----

# Ten names of 10 a share at 100 USD each; only the first ever moves. So equity is 900 + 10 × its price.
OTHERS = [f"B{i}" for i in range(9)]


def ten_names(prices: list, closes_only: bool = False, actions=None):
    """What the door makes of ten names, the first with these prices (None: no bar), every bar traded."""
    dates, rows = calendar.sessions("2023-01-03", "2023-12-29")[: len(prices)], []
    for i, (date, price) in enumerate(zip(dates, prices, strict=True)):
        rows += [(name, date, 10.0, 1000.0 + i) for name in OTHERS]
        rows += [] if price is None else [("A", date, price, 500.0 + i)]
    bars = pd.DataFrame(rows, columns=["symbol", "date", "close", "volume"]).astype({"symbol": "str"})
    bars = bars.drop(columns="volume") if closes_only else bars.assign(open=bars["close"])
    return admit(
        Delivery(bars=bars, name="ten", execution="next_close" if closes_only else "next_open", actions=actions)
    )


def walk_ten(prices: list, **known):
    """The backtest of a tenth each, bought on the second session at 10."""
    market, refused = ten_names(prices, **known)
    weights = pd.DataFrame(0.1, market.dates[:1], market.symbols)
    found = walk(weights, market)
    for cut in (len(prices) // 2, len(prices) - 1):  # nothing of it looks ahead
        short = walk(weights, ten_names(prices[:cut], **known)[0])
        pd.testing.assert_series_equal(short.equity, found.equity.iloc[:cut], check_exact=True)
    return found, len(refused)


@pytest.mark.parametrize("closes_only", [False, True])
@pytest.mark.parametrize("halt", [0, 12, 19, 20, 21, 60])
@pytest.mark.parametrize("times", [24.0, 25.2, 200.0])
def test_w02_a_fall_costs_what_it_costs(times, halt, closes_only):
    """10 shares of A, at 10 and then at 10 / times: 900 + 100 / times, so 904.17, 903.97 and 900.50.

    At 24 times, or after 20 sessions of silence, the first bar is believed. Else it counts from the third session on:
    bars with changing volume are believed by then, closes that repeat (0.05 again and again) are not, for 20 sessions
    after the last believed one.
    """
    after = 30
    found, refused = walk_ten([10.0] * 5 + [None] * halt + [10.0 / times] * after, closes_only=closes_only)
    at_once = times == 24.0 or halt >= 20
    left = 20 - halt  # of the sessions in which a level is remembered
    assert refused == (0 if at_once else left if closes_only else min(2, left))
    counts = 5 + halt + (0 if at_once else min(2, left))
    assert (found.equity.iloc[:counts] == 1000.0).all()
    np.testing.assert_allclose(found.equity.iloc[counts:], 900 + 100 / times)
    assert found.max_drawdown == pytest.approx((100 / times - 100) / 1000)
    assert found.forced_exits.empty
    assert found.locked.empty


@pytest.mark.parametrize("wrong", [[0.1], [0.1, 0.1], [1000.0], [1000.0] * 5])
def test_a_false_level_that_is_left_again_costs_and_earns_nothing(wrong):
    """A hundredth for one bar or two, or a hundredfold for five: refused, and A counts at 10 all along."""
    found, refused = walk_ten([10.0] * 5 + wrong + [10.0] * 30)
    assert refused == len(wrong)
    assert (found.equity == 1000.0).all()


def test_a_reverse_split_recorded_beside_it_is_no_level():
    """1:50 on the sixth session: 10 becomes 500, the 10 shares a fifth of one: still 100 USD. No bar is refused."""
    day = calendar.sessions("2023-01-03", "2023-12-29")[5]
    split = pd.DataFrame([[day, "A", "split", 1 / 50]], columns=ACTION_COLUMNS)
    found, refused = walk_ten([10.0] * 5 + [500.0] * 30, actions=split)
    assert refused == 0
    np.testing.assert_allclose(found.equity, 1000.0)
    # beside a real fall by 200 times: 500 / 200 = 2.5, and a fifth of a share is worth 0.50
    found, refused = walk_ten([10.0] * 5 + [2.5] * 30, actions=split)
    assert refused == 2
    assert found.equity.iloc[-1] == pytest.approx(900.5)


@pytest.mark.parametrize(("low", "sessions", "equity"), [(1, 3, 900.5), (2, 3, 900.5), (1, 2, 1000.0)])
def test_a_refused_fall_that_nothing_follows_counts_from_its_third_session(low, sessions, equity):
    """A closes at 0.05 once or twice and then never again: 900 + 10 × 0.05, not 1000, and locked, not cash."""
    found, refused = walk_ten([10.0] * 5 + [0.05] * low + [None] * (sessions - low))
    assert refused == low
    assert found.equity.iloc[-1] == pytest.approx(equity)
    assert found.locked[["symbol", "why"]].to_numpy().tolist() == [["A", "refused"]]
    assert found.cash.iloc[-1] == pytest.approx(0.0, abs=1e-9)
    assert any("the last bars of 1 held name (A; " in note and "rejected as doubtful" in note for note in found.notes)
    assert not any("no bars for at least" in note for note in found.notes)


@pytest.mark.parametrize(("final", "equity"), [(0.0, 900.5), (-0.5, 900.25), (np.nan, 900.5)])
@pytest.mark.parametrize(("low", "later"), [(1, 1), (2, 1), (1, 0), (2, 0), (1, 30)])
def test_a_declared_return_counts_from_the_bar_that_was_refused(low, later, final, equity):
    """A closes at 0.05, refused, and is delisted: 10 shares × 0.05 × (1 + final), not 10 × 10.

    Recorded on the day of the last bar, on the session after, or 30 later: what a holder got counts from that bar.
    """
    days = calendar.sessions("2023-01-03", "2023-12-29")
    recorded = days[4 + low + later]
    gone = lab.delisting(recorded, "A", final)
    found, _ = walk_ten([10.0] * 5 + [0.05] * low + [None] * 35, actions=gone)
    assert found.equity.iloc[-1] == pytest.approx(equity)
    assert found.forced_exits[["date", "kind"]].to_numpy().tolist() == [[recorded, "delisting"]]


def test_a_rise_that_stays_is_believed_after_twenty_sessions_and_pays_no_holder():
    """10, then 1000 for good: refused for 20 sessions, then another company. Equity stays at 1000 throughout."""
    found, refused = walk_ten([10.0] * 5 + [1000.0] * 40)
    assert refused == 20
    assert (found.equity == 1000.0).all()
    assert found.forced_exits[["kind", "usd"]].to_numpy().tolist() == [["another level", 100.0]]


def test_buy_and_hold_is_one_trade(market):
    date = market.dates[100]
    weights = equal_weight_universe(market, [date])
    found = walk(weights, market)
    growth = market.adjusted.loc[date:].iloc[1:] / market.open.loc[date:].iloc[1]
    np.testing.assert_allclose(found.equity.iloc[1:], 1000 * growth.mean(axis=1), rtol=1e-12)


def test_targets_equal_to_what_is_held_are_no_orders(market):
    weights = equal_weight_universe(market, market.dates[[100]])
    once = walk(weights, market, ONE_PERCENT)
    later = market.dates[150]
    days = (market.dates > market.dates[100]) & (market.dates <= later)
    shares = once.equity.iloc[1] / market.open.iloc[101] / 40  # any scale: weights only
    value = shares * market.adjusted.loc[later]
    again = pd.concat([weights, (value / value.sum()).to_frame(later).T]).fillna({CASH: 0.0})
    both = walk(again, market, ONE_PERCENT)
    assert days.sum() == 50
    assert both.turnover.iloc[1] == 0
    assert both.costs.iloc[1] == 0
    np.testing.assert_allclose(both.equity, once.equity, rtol=1e-12)


# ---- the slow twin ----


@settings(max_examples=14, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([0.0, 6e-4, 0.02]),
    st.sampled_from([0.0, 0.5]),
    st.booleans(),
    st.sampled_from([39, 41, 42, 65]),
)
def test_equals_the_share_by_share_twin(seed, rate, minimum, at_open, recorded):
    rng = np.random.default_rng(seed)
    full = lab.random_market(8, 70, seed, gaps=0.08)
    close = full.close.copy()
    close.iloc[40:, 0] = np.nan  # delisted on record
    close.iloc[30:, 1] = np.nan  # silent
    close.iloc[20:45, 2] = np.nan  # halted, and back far below
    close.iloc[45:, 2] /= 40
    close.iloc[10:33, 3] = np.nan  # a new company under the ticker
    close.iloc[33:, 3] *= 40
    close.iloc[25:28, 4] = np.nan  # refused, then believed or not; refused before it is delisted, too
    close.iloc[28:, 4] /= 50
    doubtful = [(25, 4, 0.02), (26, 4, 0.03), (27, 4, 40.0), (41, 0, 0.01), (43, 0, 0.02), (50, 1, 0.03)]
    rows = [(full.dates[row], full.symbols[name], full.close.iat[0, name] * scale) for row, name, scale in doubtful]
    opens = full.open.where(close.notna()) if at_open else None
    if at_open:
        opens = opens * (close / full.close)
    market = lab.make_market(
        close,
        opens,
        actions=lab.delisting(market_date(full, recorded), "S000", -0.3),
        doubtful=pd.DataFrame(rows, columns=["date", "symbol", "close"]),
    )
    dates = market.dates[[3, 8, 9, 20, 29, 30, 39, 40, 55]]
    weights = pd.DataFrame(rng.dirichlet(np.full(9, 0.5), len(dates)), dates, [*market.symbols, CASH])
    costs = Costs(commission_bps=rate * 1e4 / 2, slippage_bps=rate * 1e4 / 2, min_commission=minimum)
    found = walk(weights, market, costs)
    twin = lab.slow_walk(weights.drop(columns=CASH), market, costs, 1000.0).loc[dates[0] :]
    np.testing.assert_allclose(found.equity, twin["equity"], rtol=1e-10)
    np.testing.assert_allclose(found.cash, twin["cash"], rtol=1e-10, atol=1e-7)
    assert found.total_costs == pytest.approx(twin["costs"].sum(), rel=1e-9, abs=1e-9)


def market_date(market, row: int):
    return market.dates[row]


@pytest.mark.parametrize("program", sorted(peers.RECORDED))
def test_published_final_equity_of_the_same_orders(program):
    """12 names, 46 rebalances, 6 basis points: the last equity that other programs came to. See `backtest_peers`."""
    market, weights = peers.small_case()
    found = walk(weights, market, peers.COSTS, peers.CAPITAL)
    assert found.equity.iloc[-1] == pytest.approx(peers.RECORDED[program], rel=5e-4)


def test_published_final_equity_without_costs_is_the_same_to_twelve_digits():
    """Both programs without costs: then nothing is left that the three of us read differently."""
    market, weights = peers.small_case()
    found = walk(weights, market, FREE, peers.CAPITAL)
    assert found.equity.iloc[-1] == pytest.approx(peers.RECORDED_FREE, rel=1e-12)


# ---- the kernels ----


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 50), st.floats(0, 50), st.floats(0, 20))
def test_the_kernel_charges_what_costs_say(seed, commission, slippage, minimum):
    costs = Costs(commission_bps=commission, slippage_bps=slippage, min_commission=minimum)
    rng = np.random.default_rng(seed)
    before, goal = rng.uniform(0, 1e5, 9), rng.dirichlet(np.ones(9))
    before[3] = goal[3] * 2e5  # one that does not move
    paid = kernels.cost_of(before, goal, 2e5, rates(costs))
    assert paid == pytest.approx(costs.total(goal * 2e5 - before).sum(), rel=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1.0, 0.5, 1e-9]))
def test_the_kernel_leaves_the_cash_that_one_evening_leaves(seed, invested):
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(300, 0.1), 20) * invested
    weights[3] = 0.0
    found = kernels.with_cash(weights)
    np.testing.assert_array_equal(found[:, :-1], weights)
    np.testing.assert_array_equal(found[:, -1], [cash_of(row) for row in weights])


def test_closes_are_carried_over_gaps_and_age_counts_the_sessions_since(gappy):
    tape = read_prices(gappy)
    seen = gappy.adjusted.notna()
    np.testing.assert_array_equal(tape.close, gappy.adjusted.ffill())
    np.testing.assert_array_equal(tape.age == 0, seen)
    by_hand = read_prices(lab.make_market(table({"A": [np.nan, 5, np.nan, np.nan, 6]})))
    np.testing.assert_array_equal(by_hand.age[:, 0], [-1, 0, 1, 2, 0])
    np.testing.assert_array_equal(by_hand.close[:, 0], [np.nan, 5, 5, 5, 6])


def test_one_tape_serves_every_backtest_and_cannot_be_written_on(gappy):
    tape, tester = read_prices(gappy), VectorizedBacktester(costs=ONE_PERCENT)
    for step in (5, 20):
        weights = equal_weight_universe(gappy, gappy.dates[20:300:step])
        pd.testing.assert_series_equal(
            tester.run_on(weights, tape).equity, tester.run(weights, gappy).equity, check_exact=True
        )
    for values in (tape.close, tape.execution, tape.age, tape.exit_starts):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 1


def test_the_layout_of_the_tables_does_not_matter(gappy):
    by_column = lab.make_market(
        *(pd.DataFrame(np.asfortranarray(t), t.index, t.columns) for t in (gappy.close, gappy.open))
    )
    weights = equal_weight_universe(gappy, gappy.dates[20:300:5])
    pd.testing.assert_series_equal(walk(weights, by_column).equity, walk(weights, gappy).equity, check_exact=True)


def test_reading_parameters_compiles_nothing():
    """numba takes a third of a second to import; only a walk needs it."""
    script = "import sys, openbook.app.settings, openbook.backtest.grid as g; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# ---- laws ----


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 30), st.floats(0, 30))
def test_higher_costs_never_raise_equity(seed, low, more):
    market = lab.random_market(6, 60, seed)
    rng = np.random.default_rng(seed)
    weights = pd.DataFrame(rng.dirichlet(np.ones(7), 10), market.dates[5:55:5], [*market.symbols, CASH])
    cheap = walk(weights, market, Costs(commission_bps=low))
    dear = walk(weights, market, Costs(commission_bps=low + more))
    assert (dear.equity <= cheap.equity * (1 + 1e-12)).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 5.0]))
def test_value_before_is_value_after_plus_costs(seed, minimum):
    """Executed at the close, nothing but costs can change equity on a session whose prices stand still."""
    rng = np.random.default_rng(seed)
    prices = np.exp(np.cumsum(rng.normal(size=(12, 5)) * 0.05, axis=0)) * 20
    prices = np.repeat(prices, 2, axis=0)  # every second session repeats the one before
    market = lab.make_market(pd.DataFrame(prices, lab.sessions(24), lab.names(5)))
    weights = pd.DataFrame(rng.dirichlet(np.ones(6), 12), market.dates[::2], [*market.symbols, CASH])
    found = walk(weights, market, Costs(commission_bps=30, slippage_bps=70, min_commission=minimum), 10_000.0)
    lost = -found.equity.diff().iloc[1::2].to_numpy()
    np.testing.assert_allclose(lost, found.costs, rtol=1e-9, atol=1e-9)
    assert (found.cash >= 0).all()


def test_a_minimum_commission_that_is_due_or_not_ends_at_what_is_affordable():
    """Worth 990 USD the first name would trade and cost 10 more; worth 980 it would not: 980 can be paid."""
    fee = Costs(commission_bps=0, slippage_bps=0, min_commission=10)
    room, paid = kernels.spend(np.array([490.0, 0.0]), np.array([0.5, 0.1]), 1000.0, 0.0, rates(fee))
    np.testing.assert_allclose(room * np.array([0.5, 0.1]), [490.0, 98.0])
    assert paid == 10.0


def test_capital_scales_everything_without_a_minimum_commission(market):
    weights = equal_weight_universe(market, market.dates[50:300:20])
    small, large = (walk(weights, market, ONE_PERCENT, capital) for capital in (1024.0, 1024.0**2))
    pd.testing.assert_series_equal(small.returns, large.returns, rtol=1e-12)


def test_equity_ignores_the_future(gappy):
    dates = gappy.dates[20:200:7]
    weights = equal_weight_universe(gappy, dates)
    cut = gappy.dates[198]
    whole, short = walk(weights, gappy, ONE_PERCENT), walk(weights, gappy.upto(cut), ONE_PERCENT)
    pd.testing.assert_series_equal(whole.equity.loc[:cut], short.equity, check_exact=True)
    pd.testing.assert_frame_equal(whole.held, short.held, check_exact=True)


def test_the_last_session_decides_but_does_not_trade(market):
    found = walk(equal_weight_universe(market, market.dates[-1:]), market)
    assert found.equity.to_list() == [1000.0]
    assert np.isnan(found.turnover.iloc[0])
    assert "the last decision was not executed: no next session" in found.notes


def test_results_are_derived_from_returns_by_the_one_set_of_formulas(market):
    found = walk(equal_weight_universe(market, market.dates[50:300:20]), market, ONE_PERCENT)
    for name in ("total_return", "cagr", "volatility", "sharpe", "sortino", "max_drawdown", "calmar", "win_rate"):
        assert getattr(found, name) == getattr(metrics, name)(found.returns)
    assert found.total_return == pytest.approx(found.equity.iloc[-1] / 1000 - 1)
    assert found.mean_turnover == pytest.approx(found.turnover.iloc[1:].mean())


@pytest.mark.parametrize(
    ("row", "said"),
    [({"A": 0.5, "B": np.nan}, "missing"), ({"A": -0.1, "B": 0.5}, "negative"), ({"A": 0.6, "B": 0.6}, "sum to 1.2")],
)
def test_p02_weights_that_cannot_be_held_are_refused(tiny, row, said):
    with pytest.raises(LimitError, match=said):
        walk(table({k: [v] for k, v in row.items()}, tiny.dates[:1]), tiny)


def test_p02_a_sum_of_97_percent_with_cash_is_refused(tiny):
    with pytest.raises(LimitError, match=r"sum to 0\.97"):
        walk(table({"A": [0.5], CASH: [0.47]}, tiny.dates[:1]), tiny)


def test_dates_and_symbols_are_checked(tiny):
    with pytest.raises(DataError, match="2015-02-01 is not a session"):
        walk(table({"A": [1.0]}, pd.DatetimeIndex(["2015-02-01"])), tiny)
    with pytest.raises(DataError, match="must be increasing"):
        walk(table({"A": [1.0, 1.0]}, tiny.dates[[1, 0]]), tiny)
    with pytest.raises(DataError, match="at least one"):
        walk(table({"A": []}, tiny.dates[:0]), tiny)
    with pytest.raises(DataError, match="'Z', which is not in this market"):
        walk(table({"Z": [1.0]}, tiny.dates[:1]), tiny)
    twice = pd.DataFrame([[0.5, 0.5]], tiny.dates[:1], ["A", "A"])
    with pytest.raises(DataError, match="'A' twice"):
        walk(twice, tiny)


# ---- decisions through time ----

RULES = PortfolioSettings(top_n=10, lookback=100, score_half_life=2.0, regimes={0: RegimeAdaptation(exposure=0.5)})


def regimes_of(market) -> pd.Series:
    """Spells of each regime."""
    return pd.Series(np.arange(len(market.dates)) // 40 % 3, market.dates)


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_backtest_decides_what_live_decides_bit_for_bit(gappy, optimizer):
    rules = RULES.model_copy(update={"optimizer": optimizer, "cash_absorbs": True})
    scores, regimes = lab.random_score_table(gappy, 3), regimes_of(gappy)
    decisions = VectorizedBacktester(settings=rules).decide(scores, gappy, regimes, gappy.dates[150:400:9])
    assert decisions.failed.empty
    for date in decisions.weights.index:
        known, held = gappy.upto(date), decisions.held.loc[date]
        there = held.index[held > 0].difference([CASH])
        live = construct_portfolio(
            scores.loc[:date],
            known.adjusted,
            held=held,
            sectors=known.sectors,
            regime=regimes[date],
            locked=tuple(there[known.adjusted.iloc[-1][there].isna()]),
            settings=rules,
        )
        row = decisions.weights.loc[date]
        pd.testing.assert_series_equal(
            live.weights, row[(row > 0) | (row.index == CASH)], check_exact=True, check_names=False
        )
        assert live.optimizer == decisions.log.loc[date, "optimizer"]


def test_held_weights_of_the_decisions_are_those_of_the_walk(gappy):
    scores = lab.random_score_table(gappy, 3)
    tester = VectorizedBacktester(settings=RULES.model_copy(update={"cash_absorbs": True}))
    decisions = tester.decide(scores, gappy, None, gappy.dates[150:400:9])
    found = tester.run(decisions.weights, gappy)
    pd.testing.assert_frame_equal(found.held, decisions.held, check_exact=True)
    pd.testing.assert_frame_equal(found.weights, decisions.weights, check_exact=True)
    assert (found.turnover.iloc[1:] <= 0.40 + 0.02).all()  # the cap is on weights at the close, executed at the open
    assert all(math.fsum(row) == 1.0 for row in decisions.weights.to_numpy())


def test_decisions_ignore_the_future(gappy):
    scores, rules = lab.random_score_table(gappy, 3), RULES.model_copy(update={"cash_absorbs": True})
    tester, cut = VectorizedBacktester(settings=rules), gappy.dates[249]
    whole = tester.decide(scores, gappy, regimes_of(gappy), gappy.dates[150:400:9])
    short = tester.decide(scores.loc[:cut], gappy.upto(cut), regimes_of(gappy), gappy.dates[150:250:9])
    pd.testing.assert_frame_equal(whole.weights.loc[:cut], short.weights, check_exact=True)


def test_a_date_without_a_portfolio_keeps_what_is_held_and_is_logged(market):
    scores = lab.random_score_table(market, 5)
    dates = market.dates[150:250:10]
    scores.loc[dates[4]] = np.nan
    tester = VectorizedBacktester(settings=RULES.model_copy(update={"cash_absorbs": True}))
    decisions = tester.decide(scores, market, None, dates)
    assert list(decisions.failed.index) == [dates[4]]
    assert "no eligible names" in decisions.failed["reason"].iloc[0]
    pd.testing.assert_series_equal(decisions.weights.loc[dates[4]], decisions.held.loc[dates[4]], rtol=1e-14)
    assert tester.run(decisions.weights, market).turnover[dates[4]] == 0


def test_p01_limits_that_no_date_can_meet_are_an_error(market):
    tester = VectorizedBacktester(settings=RULES.model_copy(update={"top_n": 5}))
    with pytest.raises(
        OptimizerError, match=r"no portfolio could be built on any date; on .*raise top_n or max_weight"
    ):
        tester.decide(lab.random_score_table(market, 5), market, None, market.dates[150:200:10])


def test_scores_and_regimes_must_cover_the_dates(market):
    scores, tester = lab.random_score_table(market, 5), VectorizedBacktester(settings=RULES)
    with pytest.raises(DataError, match="no scores for"):
        tester.decide(scores.iloc[:160], market, None, market.dates[150:200:10])
    with pytest.raises(DataError, match="no regime for"):
        tester.decide(scores, market, regimes_of(market).iloc[:160], market.dates[150:200:10])


def test_perfect_foresight_beats_equal_weight_and_the_opposite_loses(market):
    """The sign of everything between a score and a return."""
    ahead = (market.open.shift(-6) / market.open.shift(-1) - 1).iloc[:-6]
    dates = market.dates[150:400:5]
    rules = RULES.model_copy(update={"score_half_life": 0.0, "max_turnover": 1.0})
    tester = VectorizedBacktester(settings=rules)
    even = tester.run(equal_weight_universe(market, dates), market).cagr
    good, bad = (tester.run(tester.decide(sign * ahead, market, None, dates).weights, market).cagr for sign in (1, -1))
    assert good > even + 0.5 > even - 0.2 > bad


# ---- baselines ----


def test_equal_weight_universe_is_equal_among_what_can_be_had(gappy):
    dates = gappy.dates[10:60:5]
    weights = equal_weight_universe(gappy, dates)
    for date in dates:
        row = weights.loc[date].drop(CASH)
        there = gappy.adjusted.loc[date].notna()
        np.testing.assert_allclose(row[there], 1 / there.sum())
        assert (row[~there] == 0).all()
    members = gappy.close.notna() & (gappy.symbols < "S010")
    only = equal_weight_universe(lab.make_market(gappy.close, gappy.open, members=members), dates)
    assert (only.loc[:, "S010":"S019"] == 0).all().all()
    with pytest.raises(DataError, match="no name has a bar"):
        equal_weight_universe(lab.make_market(gappy.close, members=members & False), dates)


def test_random_scores_know_nothing_and_repeat(gappy):
    first, again = random_scores(gappy, 4), random_scores(gappy, 4)
    pd.testing.assert_frame_equal(first, again)
    assert first.notna().equals(gappy.close.notna())
    ahead = gappy.adjusted.shift(-2) / gappy.adjusted.shift(-1) - 1
    assert abs(first.corrwith(ahead, axis=1).mean()) < 0.05
    assert not first.equals(random_scores(gappy, 5))


@pytest.mark.parametrize("notional", [-50_000.0, -3.0, 0.0, 3.0, 50_000.0])
def test_a_backtest_pays_every_kind_of_cost_that_an_order_pays(notional):
    """All settings of `Costs` at once, each with a value of its own: one that the kernels do not know is noticed."""
    costs = Costs(**{name: 1.5 + n for n, name in enumerate(Costs.model_fields)})
    paid = kernels.cost_of(np.zeros(1), np.array([notional]), 1.0, rates(costs))
    assert paid == pytest.approx(float(costs.total(notional)), rel=1e-12)
