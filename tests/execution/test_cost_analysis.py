"""Predicted and realized costs of fills, worked by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbook.execution.cost_analysis import EXECUTION_COLUMNS, execution_costs, refit_slippage
from openbook.execution.orders import trade_cents
from openbook.portfolio.costs import Costs
from support.books import DAYS, day, make_market

COSTS = Costs(commission_bps=1.0, slippage_bps=5.0)
COLUMNS = ["date", "fill_id", "symbol", "shares", "price", "commission", "slippage", "decided_price"]


def make_fills(*rows) -> pd.DataFrame:
    """Fills of COLUMNS but fill_id, which counts."""
    return pd.DataFrame([(row[0], str(i), *row[1:]) for i, row in enumerate(rows)], columns=COLUMNS)


@pytest.fixture
def market():
    """Two names that open at 100 on each of three days; B has no bar on the second."""
    opens = {"A": [100.0, 100.0, 100.0], "B": [100.0, np.nan, 100.0]}
    return make_market({"A": [99.0, 101.0, 101.0], "B": [50.0, np.nan, 50.0]}, opens=opens)


def test_a_fill_away_from_the_open_by_hand(market):
    """Bought at 100.10 and sold at 99.90 with an open of 100: 10 bps lost each time; bought at 99.90: 10 bps won."""
    fills = make_fills(
        (day(1), "A", 200, 100.10, 1.5, 0.0, 99.0),
        (day(1), "A", -200, 99.90, 1.5, 0.0, 99.0),
        (day(2), "B", 10, 99.90, 0.0, 0.0, 100.0),
    )
    table = execution_costs(fills, market, COSTS)
    assert list(table.columns) == EXECUTION_COLUMNS
    assert table["realised_bps"].tolist() == pytest.approx([10.0, 10.0, -10.0])
    assert table["predicted_bps"].tolist() == pytest.approx([5.0, 5.0, 5.0])
    assert table["reference"].tolist() == [100.0, 100.0, 100.0]
    assert table["side"].tolist() == ["BUY", "SELL", "BUY"]
    assert table["notional"].tolist() == pytest.approx([20_020.0, 19_980.0, 999.0])
    # 200 · (100.10 − 99) + 1.50; −200 · (99.90 − 99) + 1.50; 10 · (99.90 − 100)
    assert table["shortfall"].tolist() == pytest.approx([221.5, -178.5, -1.0])
    assert table["date"].tolist() == [day(1), day(1), day(2)]


def test_without_a_bar_nothing_was_realized(market):
    """No bar that day, a symbol or a session that the market does not have: NaN, and the rest is as it was."""
    fills = make_fills(
        (day(1), "B", 10, 50.0, 1.0, 0.0, 50.0),
        (day(1), "X", 10, 50.0, 1.0, 0.0, 49.0),
        (day(9), "A", 10, 50.0, 1.0, 0.0, 51.0),
    )
    table = execution_costs(fills, market, COSTS)
    assert table[["reference", "realised_bps"]].isna().all(axis=None)
    assert table["predicted_bps"].tolist() == pytest.approx([5.0] * 3)
    assert table["shortfall"].tolist() == pytest.approx([1.0, 11.0, -9.0])


def test_where_orders_execute_at_the_close_that_is_the_reference():
    market = make_market({"A": [99.0, 101.0]})
    table = execution_costs(make_fills((day(1), "A", 1, 101.0, 0.0, 0.0, 99.0)), market, COSTS)
    assert table["reference"].tolist() == [101.0]
    assert table["realised_bps"].tolist() == [0.0]


@settings(max_examples=50, deadline=None)
@given(
    shares=st.integers(-(10**6), 10**6).filter(bool),
    price=st.floats(1, 1e5),
    bps=st.floats(0, 100),
)
def test_a_paper_fill_realizes_what_was_predicted_but_for_a_cent(shares, price, bps):
    costs = Costs(slippage_bps=bps)
    market = make_market({"A": [price, price]})
    _, commission, slippage = (int(part) / 100 for part in trade_cents(shares, price, costs))
    row = execution_costs(make_fills((day(1), "A", shares, price, commission, slippage, price)), market, costs).iloc[0]
    assert abs(row["realised_bps"] - row["predicted_bps"]) / 1e4 * row["notional"] <= 0.005 + 1e-9 * row["notional"]
    assert row["shortfall"] == pytest.approx(commission + slippage)


def test_a_split_or_dividend_of_the_session_is_no_shortfall():
    """Decided at 100; two for one and a dividend of 0.50 the next morning: the same price is 49.50 now."""
    actions = [(DAYS[1], "A", "split", 2.0), (DAYS[1], "A", "dividend", 0.5), (DAYS[2], "A", "dividend", 9.0)]
    market = make_market({"A": [100.0, 49.5, 40.5], "B": [10.0, 10.0, 10.0]}, actions=actions)
    fills = make_fills(
        (day(1), "A", 20, 49.5, 0.0, 0.0, 100.0),
        (day(1), "A", -20, 49.0, 0.0, 0.0, 100.0),
        (day(1), "B", 5, 11.0, 0.0, 0.0, 10.0),
    )
    assert execution_costs(fills, market, COSTS)["shortfall"].tolist() == pytest.approx([0.0, 10.0, 5.0])


def test_no_fills_are_an_empty_table(market):
    table = execution_costs(make_fills(), market, COSTS)
    assert table.empty
    assert list(table.columns) == EXECUTION_COLUMNS
    fit = refit_slippage(table)
    assert fit.pop("n_fills") == fit.pop("n_dates") == 0
    assert np.isnan(list(fit.values())).all()


def make_table(dates, notional, realized, predicted=5.0) -> pd.DataFrame:
    """What a refit needs of the table of costs."""
    return pd.DataFrame({"date": dates, "notional": notional, "realised_bps": realized, "predicted_bps": predicted})


def test_refit_by_hand():
    """Weights ½, ¼, ¼ of 4, 8 and 12 bps: 7. By date the weighted residuals sum to −1.25 and +1.25, so the variance is
    2 · (1.25² + 1.25²) = 6.25 and the error 2.5."""
    fit = refit_slippage(make_table([day(1), day(1), day(2)], [2000, 1000, 1000], [4.0, 8.0, 12.0]))
    assert fit == pytest.approx(
        {"slippage_bps": 7.0, "standard_error_bps": 2.5, "predicted_bps": 5.0, "n_fills": 3, "n_dates": 2}
    )


def test_refit_of_equal_dates_is_the_error_of_a_mean():
    """One fill a date and equal notional: the usual standard deviation / √n."""
    realized = np.array([3.0, 9.0, 4.0, 6.0, 1.0])
    fit = refit_slippage(make_table([day(i) for i in range(5)], 100.0, realized))
    assert fit["slippage_bps"] == pytest.approx(realized.mean())
    assert fit["standard_error_bps"] == pytest.approx(realized.std(ddof=1) / np.sqrt(5))


def test_fills_of_one_date_are_one_draw():
    """To report each fill in ten parts teaches nothing: neither the mean nor its error changes."""
    table = make_table([day(1), day(1), day(2)], [2000.0, 1000.0, 1000.0], [4.0, 8.0, 12.0])
    parts = pd.concat([table.assign(notional=table["notional"] / 10)] * 10)
    assert refit_slippage(parts) == pytest.approx(refit_slippage(table) | {"n_fills": 30})


def test_refit_below_two_dates_is_unknown():
    fit = refit_slippage(make_table([day(1), day(1), day(2)], 100.0, [4.0, 8.0, np.nan]))
    assert np.isnan(fit["slippage_bps"])
    assert np.isnan(fit["standard_error_bps"])
    assert (fit["n_fills"], fit["n_dates"], fit["predicted_bps"]) == (2, 1, 5.0)
