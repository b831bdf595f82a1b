"""A book against its backtest: a cone, a place in it, and parts that add up."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbook import metrics
from openbook.common.errors import DataError, ParameterError

RETURNS = pd.Series(0.0005 + 0.01 * np.random.default_rng(0).standard_normal(500))
DATES = pd.bdate_range("2024-01-01", periods=4)
PARTS = ["costs", "timing", "rounding", "rest"]


# --- the cone ---------------------------------------------------------------------------------------------------------


def test_cone_opens_from_nothing_and_keeps_its_order():
    cone = metrics.backtest_cone(RETURNS, 60, seed=1)
    assert cone.columns.tolist() == [0.05, 0.25, 0.50, 0.75, 0.95]
    assert cone.index.tolist() == list(range(61))
    assert (cone.iloc[0] == 0).all()
    assert (cone.diff(axis=1).iloc[1:, 1:] > 0).all(axis=None)
    width = cone[0.95] - cone[0.05]
    assert width.iloc[60] > width.iloc[10] > width.iloc[1]


def test_cone_of_one_session_is_the_returns_own_quantiles():
    cone = metrics.backtest_cone(RETURNS, 1, draws=20_000, mean_block=1.0, seed=0)
    np.testing.assert_allclose(cone.iloc[1], RETURNS.quantile([0.05, 0.25, 0.5, 0.75, 0.95]), atol=1e-3)


def test_cone_of_independent_returns_is_the_normal_one():
    """Sums of logs of independent sessions are nearly normal: mean n·m, deviation s·√n."""
    logs = np.log1p(RETURNS)
    cone = np.log1p(metrics.backtest_cone(RETURNS, 100, draws=20_000, mean_block=1.0, seed=0).iloc[100])
    expected = 100 * logs.mean() + 10 * logs.std(ddof=0) * np.array([-1.6449, -0.6745, 0.0, 0.6745, 1.6449])
    np.testing.assert_allclose(cone, expected, atol=4e-3)


def test_cone_is_the_same_each_time_and_skips_what_is_missing():
    holes = pd.concat([RETURNS, pd.Series([np.nan] * 5)])
    pd.testing.assert_frame_equal(metrics.backtest_cone(RETURNS, 20, seed=1), metrics.backtest_cone(holes, 20, seed=1))


@pytest.mark.parametrize("returns", [[0.01] * 50, [0.01, -0.01] * 7, []])
def test_too_little_gives_no_cone(returns):
    assert metrics.backtest_cone(returns, 5, seed=0).isna().all(axis=None)
    assert np.isnan(metrics.standing([0.01], returns, seed=0).percentile)


def test_settings_of_the_cone_are_checked():
    with pytest.raises(ParameterError, match="levels"):
        metrics.backtest_cone(RETURNS, 5, levels=[0.0, 0.5], seed=0)
    with pytest.raises(ParameterError, match="sessions"):
        metrics.backtest_cone(RETURNS, 0, seed=0)


def test_standing_agrees_with_the_cone():
    book = pd.Series([0.002] * 30)
    place = metrics.standing(book, RETURNS, seed=3)
    assert place.sessions == 30
    assert place.total_return == pytest.approx(1.002**30 - 1)
    level = metrics.backtest_cone(RETURNS, 30, levels=[place.percentile], seed=3).iloc[30, 0]
    assert level == pytest.approx(place.total_return, abs=1e-3)
    assert metrics.standing(book - 0.1, RETURNS, seed=3).percentile == 0.0
    assert metrics.standing(book + 0.1, RETURNS, seed=3).percentile == 1.0


def test_a_book_without_sessions_stands_nowhere():
    place = metrics.standing([], RETURNS, seed=0)
    assert place.sessions == 0
    assert np.isnan([place.total_return, place.percentile]).all()


@pytest.mark.long
def test_healthy_books_leave_the_cone_as_often_as_it_says():
    """Books drawn from the same distribution as their backtest of ten years, judged after 60 sessions."""
    rng = np.random.default_rng(5)
    low = [
        metrics.standing(0.01 * rng.standard_normal(60), 0.01 * rng.standard_normal(2520), draws=500, seed=i).percentile
        < 0.05
        for i in range(1000)
    ]
    print(f"\nhealthy books below the 5% line of their cone after 60 sessions: {np.mean(low):.1%}")
    assert np.mean(low) == pytest.approx(0.05, abs=0.03)


# --- tracking ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def facts() -> dict:
    """Three sessions of a book of 100,000 USD and two names; all numbers by hand."""
    equity = np.array([100_000.0, 101_000.0, 100_500.0, 100_700.0])
    symbols = ["A", "B"]
    return {
        "history": pd.DataFrame(
            {
                "date": DATES,
                "equity": equity,
                "daily_return": [0.0, *(equity[1:] / equity[:-1] - 1)],
                "costs": [0.0, 20.0, 10.0, 0.0],
            }
        ),
        "backtest": pd.DataFrame({"return": [0.0, 0.012, -0.004, 0.001], "cost": [0.0, 1e-4, 1e-4, 0.0]}, index=DATES),
        "fills": pd.DataFrame(
            {
                "date": DATES[[1, 1, 2]],
                "symbol": ["A", "B", "A"],
                "shares": [100, -50, 10],
                "price": [10.2, 19.9, 11.0],
                "reference": [10.0, 20.0, np.nan],
            }
        ),
        "ideal": pd.DataFrame([[0.5, 0.3]] * 4, index=DATES, columns=symbols),
        "held": pd.DataFrame([[0.5, 0.3], [0.5004, 0.3], [0.4997, 0.2], [0.5, 0.3]], index=DATES, columns=symbols),
        "returns": pd.DataFrame([[0.0, 0.0], [0.02, 0.01], [0.01, -0.02], [0.02, 0.03]], index=DATES, columns=symbols),
        "smallest": pd.DataFrame(100.0, index=DATES, columns=symbols),
    }


def tracked(facts: dict, **changes) -> pd.DataFrame:
    """The table, with some of the facts changed."""
    given = facts | changes
    return metrics.tracking_difference(given.pop("history"), given.pop("backtest"), **given)


def test_tracking_by_hand(facts):
    table = tracked(facts)
    assert table["difference"].iloc[1] == pytest.approx(0.01 - 0.012)
    assert table["costs"].tolist() == pytest.approx([0, 1e-4 - 20 / 100_000, 1e-4 - 10 / 101_000, 0])
    # bought 100 at 0.20 too much, sold 50 at 0.10 too little; the fill of the third session has no reference
    assert table["timing"].tolist() == pytest.approx([0, -(20 + 5) / 100_000, 0, 0])
    # gaps 0.0004 · 101,000 = 40 USD and 0.0003 · 100,500 = 30 USD are too small to trade, 10% of B is not
    assert table["rounding"].tolist() == pytest.approx([0, 0, 0.0004 * 0.01, -0.0003 * 0.02])
    assert table["rest"].iloc[3] == pytest.approx(100_700 / 100_500 - 1 - 0.001 + 0.0003 * 0.02)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_parts_add_up_to_book_less_backtest(seed):
    rng, dates, names = np.random.default_rng(seed), pd.bdate_range("2024-01-01", periods=30), list("ABCDE")
    grid = {"index": dates, "columns": names}
    returns = rng.normal(0, 0.02, 30)
    fills = pd.DataFrame({"date": rng.choice(dates, 40), "symbol": rng.choice(names, 40)})
    weights = rng.random((30, 5)) / 5
    table = metrics.tracking_difference(
        pd.DataFrame(
            {
                "date": dates,
                "equity": 1e5 * np.cumprod(1 + returns),
                "daily_return": returns,
                "costs": rng.random(30) * 50,
            }
        ),
        pd.DataFrame({"return": rng.normal(0, 0.02, 30), "cost": rng.random(30) * 1e-3}, index=dates),
        fills=fills.assign(
            shares=rng.integers(-90, 90, 40), price=rng.uniform(9, 11, 40), reference=rng.uniform(9, 11, 40)
        ),
        ideal=pd.DataFrame(weights, **grid),
        held=pd.DataFrame(weights + rng.normal(0, 1e-3, (30, 5)), **grid),
        returns=pd.DataFrame(rng.normal(0, 0.02, (30, 5)), **grid),
        smallest=pd.DataFrame(100.0, **grid),
    )
    np.testing.assert_allclose(table[PARTS].sum(axis=1), table["difference"], rtol=0, atol=1e-16)
    np.testing.assert_allclose(table["book"] - table["backtest"], table["difference"], rtol=0, atol=0)


def test_a_book_that_is_its_backtest_has_nothing_to_explain(facts):
    book = facts["history"]
    same = pd.DataFrame(
        {
            "return": book["daily_return"].to_numpy(),
            "cost": (book["costs"] / book["equity"].shift(fill_value=1)).to_numpy(),
        },
        index=DATES,
    )
    table = tracked(facts, backtest=same, fills=facts["fills"].iloc[:0], held=facts["ideal"])
    assert table[["timing", "rounding", "difference"]].eq(0).all(axis=None)
    np.testing.assert_allclose(table[["costs", "rest"]], 0, atol=1e-15)


def test_later_rows_change_nothing(facts):
    table = tracked(facts)
    cut = tracked(facts, history=facts["history"].iloc[:3])
    pd.testing.assert_frame_equal(cut, table.iloc[:3])


def test_a_name_that_only_one_side_knows_has_no_weight_on_the_other(facts):
    table = tracked(facts, held=facts["held"].assign(C=[0, 5e-4, 0, 0]), returns=facts["returns"].assign(C=0.1))
    assert table["rounding"].tolist() == pytest.approx([0, 0, 0.0004 * 0.01, -0.0003 * 0.02])  # no smallest trade: rest
    smallest = facts["smallest"].assign(C=100.0)
    known = tracked(
        facts,
        held=facts["held"].assign(C=[0, 5e-4, 0, 0]),
        returns=facts["returns"].assign(C=0.1),
        smallest=smallest,
    )
    assert known["rounding"].iloc[2] == pytest.approx(0.0004 * 0.01 + 5e-4 * 0.1)


def test_a_gap_without_a_return_is_unknown_not_zero(facts):
    returns = facts["returns"].mask(facts["returns"] == 0.01)
    table = tracked(facts, returns=returns)
    assert np.isnan(table["rounding"].iloc[2])
    assert np.isnan(table["rest"].iloc[2])
    assert table["rest"].drop(DATES[2]).notna().all()


def test_a_backtest_that_ends_too_early_is_named(facts):
    with pytest.raises(DataError, match="no session 2024-01-04; run it through 2024-01-04"):
        tracked(facts, backtest=facts["backtest"].iloc[:3])
