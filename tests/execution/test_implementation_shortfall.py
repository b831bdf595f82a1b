"""Why a book earned something else than its decisions in a backtest: each cause alone, by hand, in its own column."""

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from openbook.execution.cost_analysis import execution_costs
from openbook.execution.implementation_shortfall import track
from openbook.ledger import book_commands
from openbook.ledger.book import held_weights, open_book, read_book, views
from openbook.portfolio.costs import Costs
from support.books import ABOUT, DAYS, FREE, commit, day, make_market, make_trades

PARTS = ["costs", "timing", "rounding", "rest"]
RISING = make_market({"A": [100, 100, 110, 121]}, opens={"A": [100, 100, 110, 121]})
HALF = pd.DataFrame({"A": [0.5], "CASH": [0.5]}, index=DAYS[:1])


def tracked(path, market, targets, costs: Costs = FREE) -> pd.DataFrame:
    state = read_book(path)
    executed = execution_costs(state.fills, market, costs)
    held = held_weights(path)
    return track(state.history, executed, targets, held, market, costs=costs, min_trade_size=100.0)


def run(tmp_path, market, shares: int, *, costs: Costs = FREE, n: int = 4, **how):
    """A paper book of 10,000 USD that orders `shares` of A on the first evening; n sessions."""
    path = tmp_path / "paper.db"
    open_book(path, cash=10_000)
    commit(path, market, 0, make_trades(A=shares), costs=costs, **how)
    for later in range(1, n):
        commit(path, market, later, costs=costs)
    return path


def test_a_book_that_could_buy_its_target_exactly_is_its_backtest(tmp_path):
    table = tracked(run(tmp_path, RISING, 50), RISING, HALF)
    assert table["book"].tolist() == pytest.approx([0, 0.05, 550 / 10_500], abs=1e-12)
    assert table[["difference", *PARTS]].abs().max().max() < 1e-12


def test_the_same_costs_are_no_difference(tmp_path):
    costs = Costs(commission_bps=10, slippage_bps=10)  # 5 + 5 USD of 5,000
    table = tracked(run(tmp_path, RISING, 50, costs=costs), RISING, HALF, costs)
    assert table["costs"].abs().max() < 1e-6
    assert table["difference"].abs().max() < 1e-4  # the backtest buys a little less, so that the cash pays for it


def test_whole_shares_are_rounding(tmp_path):
    market = make_market({"A": [300, 300, 330, 363]}, opens={"A": [300, 300, 330, 363]})
    table = tracked(run(tmp_path, market, 16), market, HALF)  # 16.67 were wanted: 0.02 of the book are missing
    assert table["rounding"].iloc[1] == pytest.approx(-0.02 * 0.1, abs=1e-12)
    assert table["difference"].iloc[1] == pytest.approx(-0.02 * 0.1, abs=1e-12)
    assert table[["costs", "timing", "rest"]].abs().max().max() < 1e-12


def test_orders_that_nobody_approved_are_the_rest(tmp_path):
    table = tracked(run(tmp_path, RISING, 50, manual=True), RISING, HALF)
    assert table["book"].tolist() == [0, 0, 0]
    assert table["rest"].tolist() == pytest.approx([0, -0.05, -550 / 10_500], abs=1e-12)


def test_a_worse_price_is_timing(tmp_path):
    path = tmp_path / "live.db"
    open_book(path, cash=10_000, kind="live")
    commit(path, RISING, 0, make_trades(A=50))
    batch = book_commands.read_batch(path, day(0))
    book_commands.approve(path, day(0), digest=batch.digest, about=ABOUT, who="Ann", when="now", how="terminal")
    fill = {
        "fill_id": "1",
        "order_id": f"{day(0)}-A",
        "shares": 50,
        "price": 101.0,
        "commission_cents": 0,
        "date": day(1),
    }
    book_commands.record_fills(path, day(0), pd.DataFrame([fill]), when="now", source="0" * 64)
    commit(path, RISING, 1)
    table = tracked(path, RISING, HALF)
    assert table["timing"].tolist() == pytest.approx([-50 / 10_000], abs=1e-12)
    assert table["difference"].tolist() == pytest.approx([-50 / 10_000], abs=1e-12)


def test_what_was_decided_for_another_book_before_this_one_is_not_compared(tmp_path):
    path = run(tmp_path, RISING, 50)
    before = HALF.set_axis(HALF.index - pd.Timedelta(days=20))
    assert_frame_equal(tracked(path, RISING, pd.concat([before, HALF])), tracked(path, RISING, HALF))
    assert tracked(path, RISING, before) is None


def test_before_the_first_decision_there_is_nothing_to_compare(tmp_path):
    path = run(tmp_path, RISING, 50, n=1)
    assert tracked(path, RISING, HALF) is None
    assert tracked(path, RISING, pd.DataFrame()) is None
    assert tracked(path, RISING, HALF.rename(columns={"A": "GONE"})) is None


def test_what_was_held_is_the_views_last_line(tmp_path):
    path = run(tmp_path, RISING, 50)
    last = held_weights(path).iloc[-1]
    shown = views(path)["current_positions"].set_index("symbol")["weight"]
    assert last["A"] == pytest.approx(shown["A"])
    assert held_weights(path, before=DAYS[1]).empty
