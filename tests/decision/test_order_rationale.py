"""The words of an evening: they say what the orders say, and nothing that is not so."""

import numpy as np
import pandas as pd
import pytest

from openbook.decision.order_rationale import (
    chances,
    headline,
    order_stories,
    spoken,
    switch_sentence,
    why_tripped,
)
from openbook.execution.kill_switch import Trip
from openbook.execution.orders import TradeGenerator
from openbook.portfolio.costs import Costs

DUE = pd.Timestamp("2025-03-04")
PRICES = pd.Series({"AAA": 30.0, "BBB": 50.0})


@pytest.fixture(scope="module")
def trades() -> pd.DataFrame:
    """Of 10,000 USD: BBB from 40 shares to 30%, 60 at 50 USD, AAA from nothing to 20%, 66.7 at 30 USD, of which 67 are
    bought: 1,000 and 2,010 USD. 5 bps for each of both costs."""
    generator = TradeGenerator(costs=Costs(commission_bps=5, slippage_bps=5))
    target = pd.Series({"AAA": 0.2, "BBB": 0.3, "CASH": 0.5})
    reasons = pd.Series(
        {"AAA": "bought: rank 1 of 9", "BBB": "position increased: rank 2; at the position limit 30.0%"}
    )
    return generator.generate_trades(pd.Series({"BBB": 40}), 8_000.0, target, PRICES, reasons=reasons)


def test_checks_are_shown_in_their_units():
    rows = [
        ("max_weight", 0.0772176, 0.15, "pass", ""),
        ("max_cost", 3.46773e-06, 0.005, "pass", "0.34 USD"),
        ("cash", 49382.83, 0.0, "pass", ""),
        ("max_trades", 3.0, 50.0, "pass", "3 orders"),
        ("sharpe", np.nan, 0.5, "20/30", ""),
        ("long_only", -0.0, 0.0, "pass", ""),
        ("market_cap large min", 0.295, 0.3, "flag", "large 29.5% < 30%"),
    ]
    shown = spoken(pd.DataFrame(rows, columns=["check", "value", "limit", "status", "detail"]))
    assert list(shown) == ["check", "status", "value", "limit", "detail"]
    assert shown["value"].tolist() == ["7.72%", "0.03", "49,382.83", "3", "–", "0.00%", "29.50%"]
    assert shown["check"].tolist()[:3] == ["max_weight", "max_cost, bps of equity", "cash after orders, USD"]
    assert shown["status"].iloc[4] == "needs 30 sessions, has 20"
    assert shown["limit"].tolist() == ["15.00%", "50.00", "0.00", "50", "0.50", "0.00%", "30.00%"]


def test_a_chance_is_never_sure_and_one_that_is_not_known_says_so():
    rates = {"daily_loss": 0.0, "sharpe": 1.0, "drawdown": 0.124, "any": np.nan}
    assert list(chances(rates).items()) == [
        ("Probability that daily loss trips within a year", "<1%"),
        ("Probability that Sharpe ratio trips within a year", ">99%"),
        ("Probability that drawdown trips within a year", "12%"),
        ("Probability that any rule trips within a year", "not yet known"),
    ]


def test_a_story_goes_from_the_score_to_the_cost(trades):
    story = pd.DataFrame({"score": [0.031, -0.002], "rank": [1, 2]}, index=["AAA", "BBB"])
    because = pd.Series({"AAA": "Return over the past month: high, +0.012"})
    told = order_stories(trades, story, because, 10_000.0).set_index("symbol")["rationale"]
    assert told["AAA"] == (
        "Bought: rank 1 of 9. Smoothed rank score +0.031 (Return over the past month: high, +0.012). "
        "Target 20.00% = 66.7 shares; 67 shares held after the order. "
        "Estimated cost 2.02 USD. Liquidity not checked: no volume."
    )
    assert "at the position limit 30.0%. Smoothed rank score -0.002. " in told["BBB"]
    assert "Target 30.00% = 60.0 shares; 60 shares held after the order" in told["BBB"]


def test_shares_that_follow_from_a_rounded_value_have_no_stray_decimals(trades):
    """29 shares of 173.73 are held of 98,040.9362 USD, which the book has as 98,040.94: 27 stay, not 27.000001."""
    order = trades.iloc[[0]].assign(shares=-2, price=173.73, weight_before=29 * 173.73 / 98_040.9362)
    story = pd.DataFrame({"score": [0.0], "rank": [1]}, index=order["symbol"])
    told = order_stories(order, story, pd.Series(dtype="str"), 98_040.94)["rationale"]
    assert "; 27 shares held after the order. " in told.iloc[0]


def test_nothing_is_left_of_a_name_that_is_sold(trades):
    """104 shares of 98.5180 are 10,245.872 USD; of an equity that is 0.03 USD off, 1e-5 shares would seem to stay."""
    order = trades.iloc[[0]].assign(shares=-104, price=98.518, weight_before=104 * 98.518 / 102_644.56, weight_target=0)
    story = pd.DataFrame({"score": [0.0], "rank": [72]}, index=order["symbol"])
    for value in (102_644.59, 102_644.53):
        told = order_stories(order, story, pd.Series(dtype="str"), value)["rationale"]
        assert "Target 0.00% = 0.0 shares; 0 shares held after the order. " in told.iloc[0]


def test_participation_of_a_small_book_in_large_names_is_not_shown_as_zero():
    """7,584 USD of a name that trades 150 million a day are half a basis point."""
    row = {"check": "liquidity", "status": "pass", "value": 7_584 / 150e6, "limit": 0.05, "detail": ""}
    assert spoken(pd.DataFrame([row]))[["value", "limit"]].iloc[0].tolist() == ["0.005%", "5.000%"]


def test_names_that_the_book_is_too_small_for_come_last(trades):
    missed = pd.DataFrame({"symbol": ["NVR"], "why": ["10.0% is 0.13 shares at 1,581.29 USD, less than one"]})
    none = pd.DataFrame({"score": [], "rank": []}, dtype=float)
    told = order_stories(trades, none, pd.Series(dtype="str"), 10_000.0, missed)
    assert told["symbol"].tolist() == ["AAA", "BBB", "NVR"]
    assert told["side"].tolist() == ["BUY", "BUY", "NONE"]
    assert told["rationale"].iloc[-1] == ("Target not bought: 10.0% is 0.13 shares at 1,581.29 USD, less than one.")


def test_an_order_without_a_score_says_none(trades):
    told = order_stories(trades, pd.DataFrame({"score": [], "rank": []}, dtype=float), pd.Series(dtype="str"), 10_000.0)
    assert not told["rationale"].str.contains("score").any()


@pytest.mark.parametrize(
    ("switch", "by_rule", "verdict", "kind", "says"),
    [
        ("ACTIVE", False, "2 orders for 4 March", "ok", "Pending approval by a person."),
        ("ACTIVE", True, "2 orders for 4 March", "ok", "Approved automatically."),
        ("REDUCE_ONLY", True, "REDUCE_ONLY: 2 orders for 4 March", "warn", "No new buys. sharpe 0.1 < 0.5"),
        ("HALTED", True, "HALTED: 2 orders for 4 March", "stop", "Pending approval by a person."),
    ],
)
def test_the_headline_is_the_state_and_what_waits_for_whom(trades, switch, by_rule, verdict, kind, says):
    said = headline(trades, DUE, switch=switch, why="sharpe 0.1 < 0.5", by_rule=by_rule, warning="")
    assert (said.verdict, said.kind) == (verdict, kind)
    assert says in said.sentence
    assert "3,010 USD traded, estimated cost 3.02 USD." in said.sentence


def test_without_orders_there_is_nothing_to_do_and_a_warning_is_never_lost(trades):
    none = headline(trades.iloc[:0], DUE, switch="ACTIVE", why="", by_rule=True, warning="")
    assert (none.verdict, none.sentence) == ("No orders", "Holdings stay unchanged.")
    warned = headline(trades.iloc[:0], DUE, switch="ACTIVE", why="", by_rule=True, warning="Not vetted.")
    assert (warned.kind, warned.sentence) == ("warn", "Holdings stay unchanged.\nNot vetted.")


def test_a_book_that_is_too_small_has_something_to_say(trades):
    plain = {"due": DUE, "switch": "ACTIVE", "why": "", "by_rule": False, "warning": "Not vetted."}
    none = headline(trades.iloc[:0], unbought="10 of 10 target names cannot be bought", **plain)
    assert (none.verdict, none.kind) == ("No order is possible", "warn")
    assert none.sentence.endswith("\n10 of 10 target names cannot be bought\nNot vetted.")
    some = headline(trades, unbought="1 of 3 target names cannot be bought", **plain)
    assert (some.verdict, some.kind) == ("2 orders for 4 March", "warn")
    assert "\n1 of 3 target names cannot be bought\n" in some.sentence


def test_the_headline_says_why_tonight(trades):
    plain = {"due": DUE, "why": "", "by_rule": False, "warning": ""}
    idle = headline(trades.iloc[:0], switch="ACTIVE", because="The next rebalance is on Friday, 7 March.", **plain)
    assert idle.sentence == "The next rebalance is on Friday, 7 March. Holdings stay unchanged."
    busy = headline(trades, switch="ACTIVE", because="Rebalance date.", **plain)
    assert busy.sentence.startswith("Rebalance date. 3,010 USD traded")
    halted = headline(trades, switch="HALTED", because="Rebalance date.", **plain)
    assert "rebalance" not in halted.sentence


def test_the_state_of_the_kill_switch_is_told_in_words():
    trips = (Trip("2025-03-03", "daily_loss", "HALTED", "-4.00% < -3.00%"),)
    assert switch_sentence("ACTIVE", why_tripped(())) == "Not tripped (ACTIVE)."
    assert switch_sentence("HALTED", why_tripped(trips)) == (
        "HALTED: Only closing orders, and each needs a person's approval. 2025-03-03 daily loss -4.00% < -3.00%"
    )
