"""Laws of the frozen tables, and the total-return close against hand computations."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbook.common.errors import DataError
from openbook.market.checks.session import admit
from openbook.market.tables import Market, adjust, empty_actions

DATES = pd.bdate_range("2024-01-01", periods=6).as_unit("us")


def table(columns: dict, dates=DATES) -> pd.DataFrame:
    out = pd.DataFrame(columns, index=dates[: len(next(iter(columns.values())))], dtype="float64")
    out.columns = pd.Index(list(columns), dtype="str")
    return out


def actions(*rows: tuple) -> pd.DataFrame:
    out = pd.DataFrame(list(rows), columns=empty_actions().columns)
    return out.astype({"date": "datetime64[us]", "symbol": "str", "kind": "str", "value": "float64"})


def market_of(close: pd.DataFrame, acts: pd.DataFrame | None = None, **tables) -> Market:
    acts = empty_actions() if acts is None else acts
    execution = "next_open" if "open" in tables else "next_close"
    return Market(close=close, adjusted=adjust(close, acts), name="lab", execution=execution, actions=acts, **tables)


# --- the total-return close ---


def test_adjust_by_hand_with_a_split_a_dividend_and_a_gap():
    """One share at 100. Day 2: a dividend of 2, close 102: worth 104 if reinvested at the close.

    Day 3, no bar: 4:1 split, then 0.25 per new share. Day 4, close 26: the share of day 2, worth 102, has become
    4 × (26 + 0.25) = 105. Day 5 nothing but the price, 26.52.
    """
    close = table({"A": [100, 102, np.nan, 26, 26.52]})
    acts = actions((DATES[1], "A", "dividend", 2.0), (DATES[2], "A", "split", 4.0), (DATES[2], "A", "dividend", 0.25))
    expected = [100, 104, np.nan, 104 * 105 / 102, 104 * 105 / 102 * 26.52 / 26]
    np.testing.assert_allclose(adjust(close, acts)["A"], expected, rtol=1e-12)


def test_dividend_in_a_gap_before_a_split_in_the_same_gap_is_per_old_share():
    """Close 100, then in the gap 1 USD per old share, then 2:1, then close 50: (2 × 50 + 1) / 100."""
    close = table({"A": [100, np.nan, np.nan, 50]})
    acts = actions((DATES[1], "A", "dividend", 1.0), (DATES[2], "A", "split", 2.0))
    assert adjust(close, acts)["A"].iloc[3] == pytest.approx(101.0, rel=1e-12)


def test_a_split_alone_conserves_value():
    close = table({"A": [90.0, 92.0, 23.0, 24.0], "B": [10.0, 11.0, 12.0, 13.0]})
    out = adjust(close, actions((DATES[2], "A", "split", 4.0)))
    assert out["A"].tolist() == [90.0, 92.0, 92.0, 96.0]
    assert out["B"].tolist() == close["B"].tolist()


def test_a_reverse_split_and_two_dividends_on_one_day():
    close = table({"A": [1.0, 10.0]})
    acts = actions(*[(DATES[1], "A", "split", 0.1), (DATES[1], "A", "dividend", 0.3), (DATES[1], "A", "dividend", 0.2)])
    assert adjust(close, acts)["A"].iloc[1] == pytest.approx(0.1 * (10 + 0.5) / 1, rel=1e-12)


def test_without_actions_the_close_is_untouched():
    close = table({"A": [1 / 3, np.nan, 2 / 3]})
    assert adjust(close, empty_actions()) is close
    assert adjust(close, actions((DATES[1], "Z", "split", 2.0), (DATES[1], "A", "delisting", -1.0))) is close


def test_actions_up_to_the_first_bar_change_nothing():
    close = table({"A": [np.nan, 10.0, 11.0]})
    acts = actions((DATES[0], "A", "split", 2.0), (DATES[1], "A", "dividend", 5.0))
    pd.testing.assert_frame_equal(adjust(close, acts), close)


def test_an_action_on_a_saturday_counts_on_monday():
    friday = DATES[4]
    close = table({"A": [8.0, 8.0, 8.0, 8.0, 8.0, 2.0]})
    acts = actions((friday + pd.Timedelta(days=1), "A", "split", 4.0))
    assert adjust(close, acts)["A"].tolist() == [8.0] * 6


def test_an_action_after_the_last_bar_waits():
    close = table({"A": [8.0, 8.0, np.nan]})
    out = adjust(close, actions((DATES[2], "A", "dividend", 1.0), (DATES[5], "A", "split", 2.0)))
    assert out["A"].tolist()[:2] == [8.0, 8.0]
    assert np.isnan(out["A"].iloc[2])


def slow_total_return(close: list[float], events: dict[int, list[tuple[str, float]]]) -> list[float]:
    """One share, carried through time as a bookkeeper would; dividends wait as cash for the next close."""
    out, shares, cash, started = [], 1.0, 0.0, False
    for t, price in enumerate(close):
        for kind in ("split", "dividend"):
            for _, value in [event for event in events.get(t, []) if started and event[0] == kind]:
                shares, cash = (shares * value, cash) if kind == "split" else (shares, cash + shares * value)
        if not np.isnan(price):
            shares, cash, started = shares + cash / price, 0.0, True
        out.append(shares * price)
    return out


@settings(max_examples=150, deadline=None)
@given(
    prices=st.lists(st.one_of(st.just(np.nan), st.floats(1, 500)), min_size=2, max_size=12),
    events=st.lists(
        st.tuples(
            st.integers(0, 11),
            st.one_of(
                st.tuples(st.just("split"), st.sampled_from([0.1, 0.5, 1.5, 2.0, 4.0])),
                st.tuples(st.just("dividend"), st.floats(0, 5)),
            ),
        ),
        max_size=8,
    ),
)
def test_adjust_agrees_with_a_bookkeeper_and_ignores_the_future(prices, events):
    dates = pd.bdate_range("2024-01-01", periods=12).as_unit("us")
    close = table({"A": prices}, dates)
    acts = actions(*[(dates[t], "A", kind, value) for t, (kind, value) in events])
    by_day = {}
    for t, event in events:
        by_day.setdefault(t, []).append(event)
    got = adjust(close, acts)
    np.testing.assert_allclose(got["A"], slow_total_return(prices, by_day), rtol=1e-9)
    for t in range(1, len(prices)):
        cut = adjust(close.iloc[:t], acts[acts["date"] <= dates[t - 1]])
        pd.testing.assert_frame_equal(cut, got.iloc[:t], check_exact=True)


# --- the frozen tables ---


@pytest.fixture
def market(delivery, act, tonight) -> Market:
    delivery = act(delivery, (tonight, "S03", "dividend", 0.4), ("2023-06-15", "S01", "dividend", 0.2))
    return admit(delivery)[0]


def test_nobody_can_write_into_the_market(market):
    cut, part = market.upto(market.dates[5]), market.select(["S00", "S01"])
    for table in (market.close, market.adjusted, market.volume, cut.close, part.close):
        with pytest.raises(ValueError, match="read-only"):
            table.iloc[0, 0] = 1.0
        with pytest.raises(ValueError, match="read-only"):
            table.to_numpy()[0, 0] = 1.0
    with pytest.raises(AttributeError):
        market.close = None


def test_what_the_caller_does_to_his_own_frame_later_changes_nothing():
    close = table({"A": [1.0, 2.0], "B": [3.0, 4.0]})
    market = market_of(close)
    close.iloc[0, 0] = 99.0
    assert market.close.iloc[0, 0] == 1.0


def test_a_cut_costs_no_copy(market):
    cut = market.upto(market.dates[40])
    assert np.shares_memory(cut.close.to_numpy(), market.close.to_numpy())


def test_upto_holds_nothing_later(market, tonight):
    day = pd.Timestamp("2023-06-20")
    cut = market.upto("2023-06-20")
    for name in ("open", "high", "low", "close", "volume", "adjusted"):
        assert getattr(cut, name).index[-1] == day
    assert cut.actions["symbol"].tolist() == ["S01"]
    assert market.upto(tonight).actions["symbol"].tolist() == ["S01", "S03"]


def test_upto_ignores_later_rows(delivery, act, damage):
    """The market of a date is the same whatever comes after it."""
    day, later = pd.Timestamp("2023-06-20"), pd.Timestamp("2023-06-23")
    delivery = act(delivery, ("2023-06-15", "S01", "split", 1.0))
    changed = damage(act(delivery, (later, "S01", "split", 3.0)), ["S01", "S02"], later, scale=1.2)
    one, other = (admit(each)[0].upto(day) for each in (delivery, changed))
    for name in ("open", "high", "low", "close", "volume", "adjusted", "actions"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name), check_exact=True)


def test_upto_and_select_keep_the_other_tables_in_step():
    dates, symbols = DATES[:4], pd.Index(["A", "B"], dtype="str")
    close = pd.DataFrame(np.arange(1.0, 9.0).reshape(4, 2), index=dates, columns=symbols)
    reports = pd.DataFrame(
        {
            "symbol": ["A", "A"],
            "available": dates[[1, 3]],
            "period_end": dates[[0, 0]],
            "item": "sales",
            "value": [1.0, 2.0],
        }
    )
    market = market_of(
        close,
        open=close * 2,
        members=close > 3,
        market_cap=close * 100,
        index=pd.Series(1.0, index=dates),
        fundamentals=reports,
        sectors=pd.Series({"A": "x", "B": "y"}),
    )
    cut = market.upto(dates[1])
    assert cut.fundamentals["value"].tolist() == [1.0]
    assert len(cut.index) == len(cut.members) == len(cut.market_cap) == 2
    assert market.select(["B"]).members.columns.tolist() == ["B"]
    assert market.bar_fields == ("open", "close")
    pd.testing.assert_frame_equal(market.execution_price, close * 2)
    pd.testing.assert_frame_equal(market.adjusted_execution, close * 2)


def test_closes_only_execute_at_the_next_close():
    close = table({"A": [4.0, 2.0]})
    market = market_of(close, actions((DATES[1], "A", "split", 2.0)))
    assert market.execution_price["A"].tolist() == [4.0, 2.0]
    assert market.adjusted_execution["A"].tolist() == [4.0, 4.0]
    assert market.adjustment["A"].tolist() == [1.0, 2.0]
    assert market.bar_fields == ("close",)


def test_summary_says_what_a_page_needs(delivery, damage, tonight):
    said = admit(damage(delivery, ["S01", "S02"], tonight, drop=True))[0].summary()
    assert said["Last session"] == "2023-06-30"
    assert said["Names with a bar"] == "38 of 40"
    assert said["Sessions"] == "70 since 2023-03-22"
    assert said["Execution"] == "next open"
    assert "Members" not in said


def test_summary_counts_the_members_of_the_last_session():
    close = table({"A": [4.0, 2.0], "B": [1.0, 1.0]})
    members = pd.DataFrame({"A": [True, False], "B": [True, True]}, index=close.index).rename_axis(columns="symbol")
    market = replace(market_of(close), members=members[close.columns])
    assert market.summary()["Members"] == "1"


def test_tables_out_of_step_are_refused():
    close = table({"A": [1.0, 2.0]})
    with pytest.raises(DataError, match="table volume must have the same sessions"):
        market_of(close, volume=close.iloc[:1])
    with pytest.raises(DataError, match="execution must be one of"):
        Market(close=close, adjusted=close, name="x", execution="now", actions=empty_actions())
