"""The kill switch: each limit by hand and to the cent, no missed session, nothing loosened, and no exception."""

from dataclasses import FrozenInstanceError
from itertools import pairwise
from math import sqrt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from openbook import metrics
from openbook.common.errors import BookError, ParameterError
from openbook.execution.kill_switch import (
    ACTIVE,
    CHECK_COLUMNS,
    HALTED,
    REDUCE_ONLY,
    STATES,
    KillSwitch,
    Trip,
    false_alarm_rates,
    reducing,
    worst,
)
from openbook.execution.orders import TRADE_COLUMNS
from openbook.market.calendar import sessions

SWITCH = KillSwitch()
DATES = [f"{date:%Y-%m-%d}" for date in sessions("2024-06-10", "2025-06-10")]
MARKS = ["date", "before_cents", "flows_cents", "equity_cents"]


def make_marks(*equity: int, flows: dict[int, int] | None = None) -> pd.DataFrame:
    """Marks that chain: the first number is the equity before, the others follow; `flows` by row."""
    rows = [(DATES[n], before, (flows or {}).get(n, 0), after) for n, (before, after) in enumerate(pairwise(equity))]
    return pd.DataFrame(rows, columns=MARKS)


def of_returns(returns, start: int = 10**15) -> pd.DataFrame:
    """Marks of a book so large that a cent is nothing."""
    equity = [start]
    for r in returns:
        equity.append(round(equity[-1] * (1 + r)))
    return make_marks(*equity)


def with_sharpe(value: float, n: int = 30) -> list[float]:
    """Returns m ± 1% in turns, whose mean/std(ddof=1)·√252 over an even number is `value`: std is 1%·√(n/(n−1))."""
    mean = value * 0.01 * sqrt(n / (n - 1)) / sqrt(252)
    return [mean + (0.01 if t % 2 == 0 else -0.01) for t in range(n)]


def judge(marks, *, latched=ACTIVE, unseen=None, switch=SWITCH):
    return switch.evaluate(marks, latched=latched, unseen=len(marks) if unseen is None else unseen)


def row(verdict, check: str) -> pd.Series:
    return verdict.checks.set_index("check").loc[check]


def statuses(verdict) -> list[str]:
    return verdict.checks["status"].tolist()


# --- states -----------------------------------------------------------------------------------------------------------


def test_the_most_restrictive_state_wins():
    assert STATES == ("ACTIVE", "REDUCE_ONLY", "HALTED")
    assert worst(ACTIVE) == ACTIVE
    assert worst(HALTED, ACTIVE) == worst(REDUCE_ONLY, HALTED, ACTIVE) == HALTED
    assert worst(ACTIVE, REDUCE_ONLY) == REDUCE_ONLY
    with pytest.raises(BookError, match="unknown kill switch state 'ASLEEP'; choose from ACTIVE, REDUCE_ONLY, HALTED"):
        worst(HALTED, "ASLEEP")


def test_settings_are_strict():
    for name in ("max_daily_loss", "max_drawdown"):
        for bad in (-0.1, 0.0, 1.0):
            with pytest.raises(ValidationError):
                KillSwitch(**{name: bad})
    for bad in ({"sharpe_sessions": 1}, {"min_sharpe": float("inf")}, {"min_sharp": 0.5}):
        with pytest.raises(ValidationError):
            KillSwitch(**bad)
    with pytest.raises(ValidationError):
        SWITCH.max_daily_loss = 0.5
    for name in ("max_daily_loss", "min_sharpe", "max_drawdown"):
        with pytest.raises(ValidationError):
            KillSwitch(**{name: float("nan")})
    assert KillSwitch().model_dump() == {
        "max_daily_loss": 0.03,
        "min_sharpe": 0.5,
        "sharpe_sessions": 30,
        "max_drawdown": 0.10,
    }
    assert KillSwitch(sharpe_sessions=2).sharpe_sessions == 2


def test_before_the_first_session_nothing_is_known_and_the_state_is_what_was_kept():
    for kept in STATES:
        verdict = judge(make_marks(), latched=kept)
        assert (verdict.state, verdict.trips) == (kept, ())
        assert list(verdict.checks) == CHECK_COLUMNS
        assert verdict.checks["check"].tolist() == ["daily_loss", "sharpe", "drawdown"]
        assert statuses(verdict) == ["ok", "0/30", "ok"]
        assert verdict.checks["detail"].tolist() == ["no session yet", "", "no session yet"]
        assert verdict.checks["limit"].tolist() == [-0.03, 0.5, -0.10]
        assert verdict.checks["value"].isna().all()


# --- daily loss -------------------------------------------------------------------------------------------------------


def test_k01_a_loss_of_3_01_percent_halts():
    verdict = judge(make_marks(1_000_000, 969_900))
    assert verdict.state == HALTED
    assert verdict.trips == (Trip("2024-06-10", "daily_loss", HALTED, "-3.01% < -3.00%"),)
    found = row(verdict, "daily_loss")
    assert found["status"] == "trip"
    assert (found["value"], found["limit"]) == (pytest.approx(-0.0301, abs=1e-15), -0.03)
    assert found["detail"] == "2024-06-10: -3.01% < -3.00%"
    assert statuses(verdict)[1:] == ["1/30", "ok"]


@pytest.mark.parametrize(
    ("equity", "detail"),
    [
        (970_000, "-3.00% = -3.00%"),
        (970_100, "-2.99% > -3.00%"),
        (976_000, "-2.40% > -3.00%"),
    ],
)
def test_k02_exactly_three_percent_does_not_trip_and_is_near(equity, detail):
    verdict = judge(make_marks(1_000_000, equity))
    assert (verdict.state, verdict.trips) == (ACTIVE, ())
    assert row(verdict, "daily_loss")["status"] == "near"
    assert row(verdict, "daily_loss")["detail"] == detail


def test_k02_a_cent_less_than_a_fifth_from_the_limit_is_fine():
    found = row(judge(make_marks(1_000_000, 976_001)), "daily_loss")
    assert (found["status"], found["detail"]) == ("ok", "")
    assert found["value"] == pytest.approx(-0.023999, abs=1e-15)


def test_a_cent_beyond_the_limit_is_told_from_it():
    (trip,) = judge(make_marks(10**9, 97 * 10**7 - 1)).trips
    with pytest.raises(FrozenInstanceError):
        trip.state = ACTIVE
    assert trip.detail == "-3.0000001% < -3.0000000%"


@settings(max_examples=60, deadline=None)
@given(there=st.integers(100, 10**13), share=st.integers(-90, 90))
def test_k02_the_limit_is_exact_to_the_cent_for_any_equity_and_flow(there, share):
    """E/there − 1 ≥ −3/100 exactly if 100·E ≥ 97·there, in whole numbers."""
    flow = there * share // 100
    least = -(-97 * there // 100)
    for equity, state in ((least, ACTIVE), (least - 1, HALTED)):
        verdict = judge(make_marks(there - flow, equity, flows={0: flow}))
        assert verdict.state == state
        assert bool(verdict.trips) == (state == HALTED)


def test_k03_a_loss_on_a_missed_session_trips_on_the_run_after_it():
    marks = make_marks(1_000_000, 1_000_000, 960_000, 965_000)
    verdict = judge(marks, unseen=2)
    assert verdict.state == HALTED
    assert verdict.trips == (Trip("2024-06-11", "daily_loss", HALTED, "-4.00% < -3.00%"),)
    assert row(verdict, "daily_loss")["value"] == pytest.approx(-0.04)
    assert row(verdict, "daily_loss")["detail"] == "2024-06-11: -4.00% < -3.00%"
    seen = judge(marks, unseen=1)
    assert (seen.state, seen.trips, row(seen, "daily_loss")["status"]) == (ACTIVE, (), "ok")


def test_k03_each_of_several_missed_losses_is_named():
    verdict = judge(make_marks(1_000_000, 960_000, 960_000, 921_600))
    assert [trip.session for trip in verdict.trips] == ["2024-06-10", "2024-06-12"]
    assert row(verdict, "daily_loss")["detail"] == "2024-06-10: -4.00% < -3.00%; 2024-06-12: -4.00% < -3.00%"


def test_a_session_that_was_judged_before_is_shown_and_trips_no_more():
    verdict = judge(make_marks(1_000_000, 960_000), unseen=0, latched=HALTED)
    assert (verdict.state, verdict.trips) == (HALTED, ())
    assert row(verdict, "daily_loss")["status"] == "latched"
    assert row(verdict, "daily_loss")["detail"] == "-4.00% < -3.00%"
    assert judge(make_marks(1_000_000, 960_000), unseen=0, latched=ACTIVE).state == HALTED
    fine = judge(make_marks(1_000_000, 999_000), unseen=0)
    assert (fine.state, statuses(fine)) == (ACTIVE, ["ok", "1/30", "ok"])


def test_a_loss_of_everything_halts():
    for equity in (0, -500):
        verdict = judge(make_marks(1_000_000, equity))
        assert verdict.state == HALTED
        assert [trip.check for trip in verdict.trips] == ["daily_loss", "drawdown"]


# --- Sharpe ratio -----------------------------------------------------------------------------------------------------


def test_k04_a_sharpe_ratio_of_0_49_over_30_sessions_reduces():
    verdict = judge(of_returns(with_sharpe(0.49)))
    assert verdict.state == REDUCE_ONLY
    assert verdict.trips == (Trip(DATES[29], "sharpe", REDUCE_ONLY, "0.49 < 0.50"),)
    assert row(verdict, "sharpe")["value"] == pytest.approx(0.49, abs=1e-9)
    assert row(verdict, "sharpe")["detail"] == f"{DATES[29]}: 0.49 < 0.50"


def test_k04_29_sessions_are_too_few_and_not_ok():
    verdict = judge(of_returns(with_sharpe(0.49)[:29]))
    assert (verdict.state, verdict.trips) == (ACTIVE, ())
    found = row(verdict, "sharpe")
    assert (found["status"], found["detail"], found["limit"]) == ("29/30", "", 0.5)
    assert np.isnan(found["value"])


@pytest.mark.parametrize("percent", [100, 101])
def test_k04_constant_returns_are_undefined_and_ask_for_a_look_at_the_feed(percent):
    equity = [100**31 * percent**n // 100**n for n in range(31)]
    marks = pd.DataFrame(zip(DATES, equity, [0] * 30, equity[1:], strict=False), columns=MARKS, dtype=object)
    verdict = judge(marks)
    assert (verdict.state, verdict.trips) == (ACTIVE, ())
    assert row(verdict, "sharpe")["status"] == "undefined"
    assert row(verdict, "sharpe")["detail"] == "all returns are the same; look for a frozen price feed"
    assert np.isnan(row(verdict, "sharpe")["value"])


@pytest.mark.parametrize(("value", "status"), [(0.51, "near"), (0.599, "near"), (0.601, "ok"), (2.0, "ok")])
def test_k04_within_a_fifth_of_the_least_sharpe_ratio_is_near(value, status):
    verdict = judge(of_returns(with_sharpe(value)))
    assert (verdict.state, row(verdict, "sharpe")["status"]) == (ACTIVE, status)
    assert row(verdict, "sharpe")["value"] == pytest.approx(value, abs=1e-9)
    assert row(verdict, "sharpe")["detail"] == (f"{value:.2f} > 0.50" if status == "near" else "")


def test_a_least_sharpe_ratio_below_zero_has_its_near_zone_above_it():
    switch = KillSwitch(min_sharpe=-1.0)
    for value, status in ((-1.01, "trip"), (-0.81, "near"), (-0.79, "ok")):
        assert row(judge(of_returns(with_sharpe(value)), switch=switch), "sharpe")["status"] == status


def test_a_sharpe_ratio_at_its_limit_does_not_trip():
    switch = KillSwitch(sharpe_sessions=2, min_sharpe=0.0)
    verdict = judge(make_marks(1_000_000, 1_010_000, 999_900), switch=switch)
    assert (verdict.state, verdict.trips) == (ACTIVE, ())
    assert row(verdict, "sharpe")[["value", "status", "detail"]].tolist() == [0.0, "near", "0.00 = 0.00"]


def test_the_sharpe_ratio_takes_the_last_sessions_only():
    old = [-0.02, -0.02, -0.02]
    verdict = judge(of_returns(old + with_sharpe(1.0)), unseen=1)
    assert row(verdict, "sharpe")["value"] == pytest.approx(1.0, abs=1e-9)
    returns = np.random.default_rng(1).normal(0.001, 0.005, 40)
    assert row(judge(of_returns(returns)), "sharpe")["value"] == pytest.approx(metrics.sharpe(returns[-30:]), abs=1e-6)


def test_a_sharpe_ratio_that_stays_low_trips_once():
    marks = of_returns(with_sharpe(0.3, 34))
    verdict = judge(marks)
    assert [(trip.session, trip.check) for trip in verdict.trips] == [(DATES[29], "sharpe")]
    later = judge(marks, latched=REDUCE_ONLY, unseen=1)
    assert (later.state, later.trips, row(later, "sharpe")["status"]) == (REDUCE_ONLY, (), "latched")


# --- drawdown ---------------------------------------------------------------------------------------------------------


def slide(*equity: int) -> pd.DataFrame:
    """From 1,000,000 down to each, in steps too small for the daily loss."""
    return make_marks(1_000_000, *equity)


DOWN = (980_000, 960_000, 940_000, 920_000, 910_000)


def test_a_drawdown_of_exactly_ten_percent_does_not_trip_and_a_cent_more_halts():
    verdict = judge(slide(*DOWN, 900_000))
    assert (verdict.state, row(verdict, "drawdown")["status"]) == (ACTIVE, "near")
    assert row(verdict, "drawdown")["detail"] == "-10.00% = -10.00%"
    verdict = judge(slide(*DOWN, 899_999))
    assert verdict.state == HALTED
    assert verdict.trips == (Trip(DATES[5], "drawdown", HALTED, "-10.0001% < -10.0000%"),)
    assert row(verdict, "drawdown")["value"] == pytest.approx(-0.100001)


def test_a_drawdown_is_near_from_eight_percent_on():
    assert row(judge(slide(*DOWN[:4])), "drawdown")[["status", "detail"]].tolist() == ["near", "-8.00% > -10.00%"]
    assert row(judge(slide(*DOWN[:3], 920_001)), "drawdown")["status"] == "ok"


def test_the_peak_is_the_highest_since_arming_and_the_start_is_one():
    up = make_marks(800_000, 1_000_000, *DOWN, 899_999)
    assert [trip.check for trip in judge(up, unseen=1).trips] == ["drawdown"]
    assert row(judge(make_marks(800_000, 1_000_000)), "drawdown")["value"] == 0
    fresh = make_marks(910_000, 899_999)
    assert judge(fresh).state == ACTIVE


def test_a_lasting_drawdown_trips_once_and_a_loss_in_it_trips_again():
    marks = slide(*DOWN, 890_000, 885_000, 850_000)
    verdict = judge(marks)
    assert [(trip.session, trip.check) for trip in verdict.trips] == [(DATES[5], "drawdown"), (DATES[7], "daily_loss")]
    assert row(verdict, "drawdown")["status"] == "trip"
    later = judge(marks, latched=HALTED, unseen=2)
    assert [trip.check for trip in later.trips] == ["daily_loss"]
    assert row(later, "drawdown")[["status", "detail"]].tolist() == ["latched", "-15.00% < -10.00%"]


def test_a_drawdown_halts_what_only_reduced():
    verdict = judge(slide(*DOWN, 890_000), latched=REDUCE_ONLY, unseen=1)
    assert (verdict.state, [trip.state for trip in verdict.trips]) == (HALTED, [HALTED])


@settings(max_examples=60, deadline=None)
@given(peak=st.integers(10**4, 10**12), rise=st.integers(0, 50), flow=st.integers(-50, 50))
def test_the_drawdown_is_exact_to_the_cent_whatever_flows(peak, rise, flow):
    """Up by `rise` percent, then a flow, then down: the index is below 90% of its peak if the last equity is below
    90% of what was there after the flow."""
    start = peak * 100 // (100 + rise)
    top = max(start, peak)
    there = top + top * flow // 100
    least = -(-90 * there // 100)
    switch = KillSwitch(max_daily_loss=0.5)
    for equity, state in ((least, ACTIVE), (least - 1, HALTED)):
        assert judge(make_marks(start, top, equity, flows={1: there - top}), switch=switch).state == state


@pytest.mark.parametrize("flow", [100_000, -100_000, 5_000_000])
def test_k08_a_deposit_or_withdrawal_is_no_gain_and_no_loss(flow):
    verdict = judge(make_marks(1_000_000, 1_000_000 + flow, 1_000_000 + flow, flows={0: flow}))
    assert (verdict.state, verdict.trips) == (ACTIVE, ())
    assert statuses(verdict) == ["ok", "2/30", "ok"]
    assert row(verdict, "daily_loss")["value"] == row(verdict, "drawdown")["value"] == 0


def test_k08_a_deposit_hides_no_loss():
    verdict = judge(make_marks(1_000_000, 1_060_000, flows={0: 100_000}))
    assert [trip.detail for trip in verdict.trips] == ["-3.64% < -3.00%"]
    falls = make_marks(1_000_000, *DOWN, 990_000, flows={5: 95_000})
    assert [trip.check for trip in judge(falls).trips] == ["drawdown"]


# --- what cannot be evaluated -----------------------------------------------------------------------------------------


def broken(**cells) -> pd.DataFrame:
    """Three quiet sessions, of which the second has other cells."""
    marks = make_marks(1_000_000, 1_000_000, 1_000_000, 1_000_000).astype(object)
    for name, value in cells.items():
        marks.at[1, name] = value
    return marks


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        ({"equity_cents": np.nan}, "nan is not a whole number of cents"),
        ({"before_cents": pd.NA}, "<NA> is not a whole number of cents"),
        ({"flows_cents": None}, "None is not a whole number of cents"),
        ({"equity_cents": 1_000_000.5}, "1000000.5 is not a whole number of cents"),
        ({"equity_cents": np.inf}, "inf is not a whole number of cents"),
        ({"equity_cents": "1000000"}, "'1000000' is not a whole number of cents"),
        ({"flows_cents": False}, "False is not a whole number of cents"),
        ({"before_cents": 999_999}, "the mark does not follow that of 2024-06-10"),
        ({"date": "2024-06-10"}, "the mark does not follow that of 2024-06-10"),
        ({"date": "2024-06-09"}, "the mark does not follow that of 2024-06-10"),
        ({"flows_cents": -1_000_000}, "2024-06-11: 0.00 USD were there before the session"),
        ({"flows_cents": -101_000_050}, "-1,000,000.50 USD were there before the session"),
    ],
)
def test_k07_what_cannot_be_evaluated_allows_no_buys_and_is_not_latched(cells, why):
    marks = broken(**cells)
    for unseen in (2, 3):
        verdict = judge(marks, unseen=unseen)
        assert (verdict.state, verdict.trips) == (REDUCE_ONLY, ())
        assert statuses(verdict) == ["unevaluable"] * 3
        assert verdict.checks["detail"].str.contains(why, regex=False).all()
    later = judge(marks[:2], unseen=1)
    assert later.checks["detail"].tolist() == [row(later, "drawdown")["detail"]] * 3
    assert later.checks["value"].isna().all()


def test_k07_a_mark_without_a_date_is_named():
    for nothing in (None, np.nan, pd.NaT, 20240611):
        verdict = judge(broken(date=nothing))
        assert verdict.state == REDUCE_ONLY
        assert "the mark has no date" in row(verdict, "daily_loss")["detail"]


def test_k07_the_sharpe_ratio_is_blind_as_long_as_the_session_is_in_it_and_the_drawdown_until_a_reset():
    marks = of_returns(with_sharpe(1.0, 33)).astype({"flows_cents": object})
    marks.at[1, "flows_cents"] = None
    assert statuses(judge(marks[:3], unseen=1)) == ["ok", "unevaluable", "unevaluable"]
    assert statuses(judge(marks[:31], unseen=1)) == ["ok", "unevaluable", "unevaluable"]
    late = judge(marks[:32], unseen=1)
    assert (late.state, statuses(late)) == (REDUCE_ONLY, ["ok", "ok", "unevaluable"])
    assert row(late, "drawdown")["detail"] == "2024-06-11: None is not a whole number of cents"


def test_k07_a_book_that_was_worth_nothing_is_not_evaluated():
    verdict = judge(make_marks(0, 100))
    assert (verdict.state, statuses(verdict)) == (REDUCE_ONLY, ["unevaluable"] * 3)


def test_k07_a_loss_that_is_known_halts_beside_what_is_not():
    marks = make_marks(1_000_000, 1_000_000, 1_000_000, 950_000).astype({"flows_cents": object})
    marks.at[1, "flows_cents"] = None
    verdict = judge(marks)
    assert verdict.state == HALTED
    assert verdict.trips == (Trip("2024-06-12", "daily_loss", HALTED, "-5.00% < -3.00%"),)
    assert statuses(verdict) == ["trip", "unevaluable", "unevaluable"]
    assert row(verdict, "daily_loss")["detail"] == (
        "2024-06-12: -5.00% < -3.00%; 2024-06-11: None is not a whole number of cents"
    )


def test_k07_whole_floats_are_whole_numbers():
    marks = make_marks(1_000_000, 970_000, 970_000).astype(dict.fromkeys(MARKS[1:], float))
    assert judge(marks).state == ACTIVE


@pytest.mark.parametrize("unseen", [-1, 3, None, "two"])
def test_k07_a_number_of_sessions_that_cannot_be_allows_no_buys(unseen):
    verdict = SWITCH.evaluate(make_marks(1_000_000, 1_000_000, 1_000_000), latched=ACTIVE, unseen=unseen)
    assert (verdict.state, verdict.trips, statuses(verdict)) == (REDUCE_ONLY, (), ["unevaluable"] * 3)


def test_k07_marks_that_are_no_table_of_marks_raise_nothing():
    for marks in (None, pd.DataFrame({"date": ["2024-06-10"]})):
        verdict = SWITCH.evaluate(marks, latched=ACTIVE, unseen=1)
        assert (verdict.state, verdict.trips, statuses(verdict)) == (REDUCE_ONLY, (), ["unevaluable"] * 3)
        assert verdict.checks["value"].dtype == float
        assert verdict.checks["detail"].str.startswith("the kill switch could not be evaluated: ").all()
        assert verdict.checks["limit"].tolist() == [-0.03, 0.5, -0.10]
        assert verdict.checks["value"].isna().all()
    assert SWITCH.evaluate(None, latched=HALTED, unseen=1).state == HALTED


def test_a_latched_state_that_is_none_is_refused():
    with pytest.raises(BookError, match="unknown kill switch state ''"):
        judge(make_marks(), latched="")


# --- laws -------------------------------------------------------------------------------------------------------------


@st.composite
def stories(draw) -> pd.DataFrame:
    """Marks of up to 12 sessions with small and large moves, flows, and now and then a cell that is no number."""
    n = draw(st.integers(1, 12))
    equity, flows = [1_000_000], {}
    for t in range(n):
        flows[t] = draw(st.sampled_from([0, 0, 0, 50_000, -100_000]))
        move = draw(st.sampled_from([1.0, 1.0, 1.01, 0.99, 0.98, 1.03, 0.96]))
        equity.append(max(round((equity[-1] + flows[t]) * move), 0))
    marks = make_marks(*equity, flows=flows).astype(object)
    if draw(st.integers(0, 5)) == 0:
        marks.at[draw(st.integers(0, n - 1)), draw(st.sampled_from(MARKS))] = None
    return marks


SHORT = KillSwitch(sharpe_sessions=4)


@settings(max_examples=60, deadline=None)
@given(marks=stories(), latched=st.sampled_from(STATES), data=st.data())
def test_k03_many_sessions_at_once_are_judged_as_one_by_one(marks, latched, data):
    first = data.draw(st.integers(0, len(marks) - 1))
    at_once = judge(marks, latched=latched, unseen=len(marks) - first, switch=SHORT)
    state, trips = latched, ()
    for end in range(first + 1, len(marks) + 1):
        verdict = judge(marks[:end], latched=state, unseen=1, switch=SHORT)
        state = worst(state, *(trip.state for trip in verdict.trips))
        trips += verdict.trips
    assert at_once.trips == trips
    assert at_once.state == verdict.state


@settings(max_examples=60, deadline=None)
@given(marks=stories(), latched=st.sampled_from(STATES), data=st.data())
def test_nothing_loosens_what_is_latched(marks, latched, data):
    unseen = data.draw(st.integers(0, len(marks)))
    verdict = judge(marks, latched=latched, unseen=unseen, switch=SHORT)
    assert worst(verdict.state, latched) == verdict.state
    assert all(worst(verdict.state, trip.state) == verdict.state for trip in verdict.trips)
    if (verdict.checks["status"] == "unevaluable").any():
        assert verdict.state != ACTIVE


# --- orders under a switch that is not active -------------------------------------------------------------------------


def orders(**shares) -> pd.DataFrame:
    """Orders of signed shares by symbol, at 10 USD."""
    table = pd.DataFrame({name: [0.0] * len(shares) for name in TRADE_COLUMNS})
    return table.assign(symbol=list(shares), shares=list(shares.values()), price=10.0, reason="by hand")


def test_only_orders_that_make_a_holding_smaller_reduce():
    held = pd.Series({"A": 10, "B": 10, "C": 10, "D": -5, "E": -5, "F": 10})
    asked = orders(A=-4, B=-10, C=-11, D=3, E=-1, F=2, G=-1, H=1)
    kept = reducing(asked, held)
    assert kept["symbol"].tolist() == ["A", "B", "D"]
    assert kept["shares"].tolist() == [-4, -10, 3]
    assert list(kept) == TRADE_COLUMNS
    assert kept.index.tolist() == [0, 1, 2]
    assert reducing(orders(A=-1), pd.Series({"A": 1}))["shares"].tolist() == [-1]  # the last share of a position


def test_orders_that_cannot_be_trusted_do_not_reduce():
    held = pd.Series({"A": 10, "B": 10, "C": 10})
    assert reducing(orders(A=np.nan, B=0, Z=0), held).empty
    twice = pd.concat([orders(A=-6, C=-1), orders(A=-6)])
    assert reducing(twice, held)["symbol"].tolist() == ["C"]
    assert reducing(orders(), held).empty
    assert reducing(orders(A=-1), pd.Series(dtype="int64")).empty


# --- false alarms -----------------------------------------------------------------------------------------------------


def slow_rates(returns, switch, *, sessions, n_paths, block, seed) -> dict[str, float]:
    """The switch itself on each resampled path, whose checks trip if they ever do while nothing is latched."""
    drawn = metrics.stationary_bootstrap_indices(
        len(returns), length=sessions, draws=n_paths, mean_block=block, seed=seed
    )
    found = {"daily_loss": [], "sharpe": [], "drawdown": [], "any": []}
    for path in np.asarray(returns)[drawn]:
        marks = of_returns(path)
        seen = [judge(marks[: n + 1], unseen=1, switch=switch).trips for n in range(sessions)]
        tripped = {trip.check for trips in seen for trip in trips}
        for check in found:
            found[check].append(bool(tripped) if check == "any" else check in tripped)
    return {check: float(np.mean(hits)) for check, hits in found.items()}


@pytest.mark.parametrize(
    ("scale", "switch"),
    [
        (0.012, KillSwitch(sharpe_sessions=5, min_sharpe=-9.0)),
        (0.006, KillSwitch(sharpe_sessions=8, min_sharpe=-4.0, max_drawdown=0.03, max_daily_loss=0.015)),
    ],
)
def test_false_alarms_are_what_the_switch_itself_would_do(scale, switch):
    returns = np.random.default_rng(3).normal(0.0003, scale, 120)
    setting = {"sessions": 30, "n_paths": 12, "block": 5, "seed": 7}
    fast = false_alarm_rates(returns, switch, **setting)
    assert fast == slow_rates(returns, switch, **setting)
    assert all(0 < rate < 1 for rate in fast.values())


def test_false_alarms_of_plain_returns():
    fall = false_alarm_rates(np.full(20, -0.05), SWITCH, sessions=3, n_paths=10)
    assert fall == {"daily_loss": 1.0, "sharpe": 0.0, "drawdown": 1.0, "any": 1.0}
    rise = false_alarm_rates(np.full(20, 0.001), SWITCH, n_paths=10)
    assert rise == {"daily_loss": 0.0, "sharpe": 0.0, "drawdown": 0.0, "any": 0.0}
    swing = false_alarm_rates(np.tile([0.01, -0.01], 20), SWITCH, sessions=30, n_paths=50)
    assert (swing["daily_loss"], swing["drawdown"]) == (0.0, 0.0)
    assert swing["any"] == swing["sharpe"] > 0.2
    assert false_alarm_rates(np.tile([0.01, -0.01], 20), SWITCH, sessions=29, n_paths=50)["sharpe"] == 0.0


def test_what_is_exactly_at_its_limit_is_no_false_alarm():
    switch = KillSwitch(max_daily_loss=0.25, max_drawdown=0.25, sharpe_sessions=2, min_sharpe=0.0)
    assert false_alarm_rates(np.full(20, -0.25), switch, sessions=1, n_paths=5)["any"] == 0.0
    assert false_alarm_rates(np.tile([0.01, -0.01], 20), switch, n_paths=5)["sharpe"] == 0.0


def test_false_alarms_need_enough_returns():
    few = false_alarm_rates(np.full(19, 0.01), SWITCH)
    assert list(few) == ["daily_loss", "sharpe", "drawdown", "any"]
    assert all(np.isnan(list(few.values())))
    assert all(np.isnan(list(false_alarm_rates([0.01] * 19 + [np.nan] * 9, SWITCH).values())))
    assert all(np.isnan(list(false_alarm_rates([0.01] * 20 + [np.inf], SWITCH).values())))
    gap = pd.Series([0.01, np.nan] * 20)
    assert false_alarm_rates(gap, SWITCH, n_paths=5)["any"] == 0.0


def test_false_alarms_are_the_same_for_the_same_seed():
    returns = np.random.default_rng(5).normal(0.0005, 0.01, 200)
    first = false_alarm_rates(returns, SWITCH, n_paths=200, sessions=60)
    assert first == false_alarm_rates(returns, SWITCH, n_paths=200, sessions=60, seed=0, block=10)
    assert first != false_alarm_rates(returns, SWITCH, n_paths=200, sessions=60, seed=1)


@pytest.mark.parametrize("wrong", [{"sessions": 0}, {"n_paths": 0}, {"block": 0}])
def test_false_alarms_refuse_numbers_that_cannot_be(wrong):
    with pytest.raises(ParameterError, match="sessions, n_paths and block must be at least 1"):
        false_alarm_rates(np.zeros(30), SWITCH, **wrong)
    least = dict.fromkeys(wrong, 1)
    assert false_alarm_rates(np.zeros(30), SWITCH, **{"n_paths": 2, **least})["any"] == 0.0
