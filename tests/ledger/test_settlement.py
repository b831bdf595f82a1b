"""What happens to a paper book between two evenings: fills, splits, dividends, delistings, marks."""

from contextlib import nullcontext, suppress
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal, assert_series_equal

from openbook.common.errors import BookError, ConflictError, DataError, DataNotReady, OutOfOrderError
from openbook.ledger.account import Account
from openbook.ledger.book import open_book, read_book, settle
from openbook.ledger.continuity import require_continuation
from openbook.ledger.facts import Adjustment, Mark, Receivable
from openbook.ledger.records import Settlement, all_fills, new_state
from openbook.portfolio.costs import Costs
from support.books import DAYS, FREE, commit, day, make_market, make_trades, random_market


@pytest.fixture
def path(tmp_path):
    """A paper book of 10,000 USD."""
    open_book(tmp_path / "paper.db", cash=10_000)
    return tmp_path / "paper.db"


def one(table: pd.DataFrame) -> pd.Series:
    assert len(table) == 1
    return table.iloc[0]


def test_worked_by_hand(path):
    """Buys 50 A and 20 B; filled a session later at the open with 1% commission and 2% slippage; then A rises."""
    market = make_market({"A": [100, 104, 110], "B": [50, 50, 45]}, opens={"A": [99, 102, 1], "B": [49, 51, 1]})
    costs = Costs(commission_bps=100, slippage_bps=200)
    first = commit(path, market, 0, make_trades(A=50, B=20), costs=costs)
    assert (first.cash, first.equity) == (10_000, 10_000)
    second = commit(path, market, 1, costs=costs)
    # A: 50 × 102 = 5,100 + 51 + 102; B: 20 × 51 = 1,020 + 10.20 + 20.40
    assert second.fills["notional"].tolist() == [5100, 1020]
    assert second.fills["commission"].tolist() == [51, 10.20]
    assert second.fills["slippage"].tolist() == [102, 20.40]
    assert second.cash == 10_000 - 6_120 - 183.60
    assert second.equity == second.cash + 50 * 104 + 20 * 50
    third = commit(path, market, 2, costs=costs)
    history = one(third.history)
    assert history["equity"] == 3_696.40 + 5_500 + 900
    assert history["daily_return"] == pytest.approx(10_096.40 / 9_896.40 - 1)
    assert history["turnover"] == 0
    bought = one(second.history)
    assert bought["turnover"] == pytest.approx(0.6120)
    assert bought["costs"] == 183.60


def test_a_source_of_closes_only_fills_at_the_close(path):
    market = make_market({"A": [100, 104]})
    commit(path, market, 0, make_trades(A=10))
    assert one(commit(path, market, 1).fills)["price"] == 104


def test_a_new_book_begins_at_its_first_session(path):
    settlement = settle(read_book(path), make_market({"A": [1, 2, 3]}), FREE, DAYS[2])
    assert one(settlement.history)["date"] == DAYS[2]
    assert one(settlement.history)["daily_return"] == 0
    assert settlement.positions.empty


def test_a_book_in_memory_begins_like_one_on_disk(path):
    market = make_market({"A": [1, 2]})
    kept, unkept = read_book(path), new_state(10_000)
    assert_frame_equal(unkept.history, kept.history)
    assert_series_equal(unkept.positions, kept.positions)
    settled = settle(kept, market, FREE, DAYS[1])
    assert settle(unkept, market, FREE, DAYS[1]) == settled.model_copy(update={"head": unkept.head})


def test_d06_a_recorded_split_multiplies_shares_and_conserves_value(path):
    market = make_market({"A": [100, 100, 25]}, actions=[(DAYS[2], "A", "split", 4)])
    commit(path, market, 0, make_trades(A=30))
    before = commit(path, market, 1)
    after = commit(path, market, 2)
    assert (before.positions["A"], after.positions["A"]) == (30, 120)
    assert before.equity == after.equity == 10_000
    assert one(after.history)["daily_return"] == 0
    assert after.events["detail"].tolist() == ["4: 30 → 120 shares, cash +0.00 USD"]


def test_a_fraction_of_a_share_is_paid_in_cash_at_the_close(path):
    """1:8 of 30 shares: 3.75, so 3 shares at 88.88 and 0.75 × 88.88 = 66.66 in cash."""
    market = make_market({"A": [11, 11.11, 88.88]}, actions=[(DAYS[2], "A", "split", 0.125)])
    commit(path, market, 0, make_trades(A=30))
    before, after = commit(path, market, 1), commit(path, market, 2)
    assert after.positions["A"] == 3
    assert after.cash - before.cash == pytest.approx(66.66)
    assert after.equity == before.equity


def test_a_position_that_a_reverse_split_leaves_without_a_share_becomes_cash(path):
    market = make_market({"A": [1, 1, 100]}, actions=[(DAYS[2], "A", "split", 0.01)])
    commit(path, market, 0, make_trades(A=70))
    commit(path, market, 1)
    after = commit(path, market, 2)
    assert after.positions.empty
    assert after.cash == after.equity == 10_000


def test_two_splits_over_one_weekend_are_one(path):
    actions = [(DAYS[5] - pd.Timedelta(days=2), "A", "split", 3), (DAYS[5] - pd.Timedelta(days=1), "A", "split", 0.5)]
    market = make_market({"A": [30, 30, 30, 30, 30, 20]}, actions=actions)
    commit(path, market, 3, make_trades(A=101))
    commit(path, market, 4)
    after = commit(path, market, 5)
    assert after.positions["A"] == 151
    assert after.equity == 10_000


def test_a_waiting_order_is_split_too_and_a_full_exit_stays_one(path):
    actions = [(DAYS[2], "A", "split", 0.1), (DAYS[2], "B", "split", 4)]
    market = make_market({"A": [5, 5, 50, 50], "B": [40, 40, 10, 10]}, actions=actions)
    commit(path, market, 0, make_trades(A=105))
    commit(path, market, 1, make_trades(A=-105, B=7))
    after = commit(path, market, 2)
    assert after.fills["shares"].tolist() == [-10, 28]
    assert {r.symbol: (r.status, r.reason) for r in after.results} == {
        "A": ("FILLED", "a split made -105 shares -10"),
        "B": ("FILLED", "a split made +7 shares +28"),
    }
    assert after.equity == 10_000  # half a share of A in cash
    assert after.positions.to_dict() == {"B": 28}


def test_dividends_are_paid_on_the_shares_held_before_the_session(path):
    actions = [(DAYS[1], "A", "dividend", 1.0), (DAYS[2], "A", "dividend", 0.25), (DAYS[2], "B", "dividend", 9)]
    market = make_market({"A": [100, 100, 99.75]}, actions=actions)
    commit(path, market, 0, make_trades(A=40))
    assert commit(path, market, 1).cash == 6_000  # bought on the ex-date: too late
    after = commit(path, market, 2)
    assert after.cash == 6_010
    assert after.equity == 10_000
    assert [(a.kind, a.symbol, a.cash_cents) for a in after.actions] == [("dividend", "A", 1000)]


def test_a_dividend_on_the_day_of_a_split_is_per_new_share(path):
    actions = [(DAYS[2], "A", "split", 2), (DAYS[2], "A", "dividend", 1)]
    market = make_market({"A": [100, 100, 49]}, actions=actions)
    commit(path, market, 0, make_trades(A=10))
    commit(path, market, 1)
    assert commit(path, market, 2).equity == 10_000
    assert market.adjusted["A"].iloc[2] == pytest.approx(market.adjusted["A"].iloc[1])


def test_a_delisted_name_becomes_cash_at_its_last_close_and_final_return(path):
    market = make_market({"A": [100, 100, np.nan], "B": [1, 1, 1]}, actions=[(DAYS[2], "A", "delisting", -0.3)])
    commit(path, market, 0, make_trades(A=50))
    commit(path, market, 1, make_trades(A=-50))
    after = commit(path, market, 2)
    assert after.cash == after.equity == 5_000 + 3_500
    assert after.positions.empty
    assert one(after.history)["daily_return"] == pytest.approx(-0.15)
    assert after.results[0].status == "EXPIRED"


def test_a_delisting_on_the_last_session_pays_its_close(path):
    market = make_market({"A": [100, 100, 80]}, actions=[(DAYS[2], "A", "delisting", 0.0)])
    commit(path, market, 0, make_trades(A=50))
    commit(path, market, 1)
    assert commit(path, market, 2).cash == 5_000 + 4_000


def test_d16_a_delisting_recorded_late_heals_a_book_that_could_not_be_marked_any_more(path):
    closes = {"A": [100, 100, *[np.nan] * 11], "B": [1] * 13}
    market = make_market(closes)
    commit(path, market, 0, make_trades(A=10))
    commit(path, market, 1)
    for n in range(2, 12):
        commit(path, market, n)
    with pytest.raises(
        DataError, match=rf"A has had no close for 11 sessions up to {day(12)}; .* record the delisting"
    ):
        commit(path, market, 12)
    late = make_market(closes, actions=[(DAYS[1], "A", "delisting", 0.1)])
    assert commit(path, late, 12).cash == 9_000 + 1_100


def test_a_recycled_ticker_is_not_delisted_again(path):
    closes = {"A": [100, 100, 100, 100, 100]}
    market = make_market(closes, actions=[(DAYS[0], "A", "delisting", -1.0)])
    commit(path, market, 1, make_trades(A=50))
    assert commit(path, market, 2).positions["A"] == 50


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("split", 0.0, "split of A on .* has ratio 0.0"),
        ("split", np.nan, "split of A"),
        ("dividend", np.nan, "dividend of A on .* is nan"),
        ("dividend", -1, "dividend of A"),
        ("delisting", np.nan, "delisting of A has final return nan; record a return, 0 if none"),
        ("delisting", -1.5, "delisting of A"),
    ],
)
def test_an_impossible_action_is_an_error_that_names_it(path, kind, value, message):
    market = make_market({"A": [100, 100, 100]}, actions=[(DAYS[2], "A", kind, value)])
    commit(path, market.upto(DAYS[1]), 0, make_trades(A=50))
    commit(path, market.upto(DAYS[1]), 1)
    with pytest.raises(DataError, match=message):
        commit(path, market, 2)


def test_an_order_without_a_bar_expires_with_its_reason(path):
    market = make_market({"A": [100, np.nan, 100], "B": [1, 1, 1]})
    commit(path, market, 0, make_trades(A=5, X=5))
    after = commit(path, market, 1)
    assert {r.symbol: (r.status, r.reason) for r in after.results} == {
        "A": ("EXPIRED", f"no bar of A on {day(1)}"),
        "X": ("EXPIRED", f"no bar of X on {day(1)}"),
    }
    assert after.cash == 10_000
    assert commit(path, market, 2).results == ()


def test_an_order_whose_whole_session_has_no_bars_expires(path):
    market = make_market({"A": [100, 100, 100]})
    commit(path, market, 0, make_trades(A=5))
    gap = replace(
        market,
        close=market.close.drop(DAYS[1]),
        adjusted=market.adjusted.drop(DAYS[1]),
    )
    after = commit(path, gap, 2)
    assert after.results[0].reason == f"no bar of A on {day(1)}"
    assert after.positions.empty


def test_sells_are_filled_first_and_pay_for_the_buys(path):
    market = make_market({"A": [100, 100, 100], "B": [50, 50, 50]})
    commit(path, market, 0, make_trades(B=200))
    commit(path, market, 1, make_trades(A=100, B=-200))
    after = commit(path, market, 2)
    assert after.fills["symbol"].tolist() == ["B", "A"]
    assert after.cash == 0


def test_p06_buys_beyond_the_cash_are_scaled_and_the_rest_expires(path):
    """10,000 USD for 60 A and 20 B, which gapped up to 200 and 100: f = 11/15 buys 43 and 14."""
    market = make_market(
        {
            "A": [100, 200],
            "B": [50, 100],
        }
    )
    commit(path, market, 0, make_trades(A=60, B=20))
    after = commit(path, market, 1)
    assert after.positions.to_dict() == {"A": 43, "B": 14}
    assert {r.status for r in after.results} == {"PARTIALLY_FILLED"}
    assert after.results[0].reason == "cash pays for 43 of 60; the rest expired"
    assert after.cash == 0


def test_a_buy_that_cash_cannot_pay_at_all_expires(path):
    market = make_market({"A": [100, 20_000]})
    commit(path, market, 0, make_trades(A=1))
    assert commit(path, market, 1).results[0].status == "EXPIRED"


def test_p07_more_than_is_held_is_never_sold(path):
    market = make_market({"A": [100, 100, 100]})
    commit(path, market, 0, make_trades(A=10, B=-5))
    commit(path, market, 1, make_trades(A=-15))
    after = commit(path, market, 2)
    assert after.positions.empty
    result = after.results[0]
    assert (result.status, result.filled_shares) == ("PARTIALLY_FILLED", -10)
    assert result.reason == "what is held, and cash for costs, allow 10 of 15; the rest expired"


def test_d03_a_held_name_without_a_close_keeps_its_last_one_and_is_never_zero(path):
    """100 shares at 10,000 USD: 10 at 100 are 1,000 while it is halted, and 10 at 20 when it trades again."""
    market = make_market({"A": [100, 100, np.nan, np.nan, 20], "B": [1] * 5})
    commit(path, market, 0, make_trades(A=10))
    commit(path, market, 1)
    for n, words in ((2, "session 1 of at most 10"), (3, "session 2 of at most 10")):
        halted = commit(path, market, n)
        assert (halted.equity, [note.symbol for note in halted.notes]) == (10_000, ["A"])
        assert words in halted.notes[0].text
    assert commit(path, market, 4).equity == 9_200


@pytest.mark.parametrize(("shares", "stops"), [(10, False), (11, True)])
def test_more_than_a_tenth_of_the_value_without_a_close_stops(path, shares, stops):
    """At 100 USD, of 10,000 USD."""
    market = make_market({"A": [100, 100, np.nan], "B": [1, 1, 1]})
    commit(path, market, 0, make_trades(A=shares))
    commit(path, market, 1)
    said = rf"no close for held A on {day(2)}, 1,100.00 USD of 10,000.00; import the bars or record the delisting"
    with pytest.raises(DataError, match=said) if stops else nullcontext():
        settle(read_book(path), market, FREE, DAYS[2])
    assert settle(read_book(path), market, FREE, DAYS[2], Account(max_locked_value=0.2)).equity == 10_000


def test_a_held_name_that_the_source_does_not_have_is_an_error_that_knows_of_renames(path):
    market = make_market({"A": [100, 100, 100], "B": [1, 1, 1]})
    commit(path, market, 0, make_trades(A=10))
    commit(path, market, 1)
    with pytest.raises(
        DataError, match=r"the book holds A, but the source has no bars for it; .* openbook rename A NEW"
    ):
        settle(read_book(path), market.select(["B"]), FREE, DAYS[2])


def test_d07_a_zero_or_infinite_price_is_no_price(path):
    for bad in (0.0, np.inf, -5.0):
        market = make_market({"A": [100, 100, bad]})
        if read_book(path).last_session is None:
            commit(path, market, 0, make_trades(A=10))
            commit(path, market, 1)
        assert settle(read_book(path), market, FREE, DAYS[2]).equity == 10_000


def test_a_gap_on_the_way_is_marked_at_the_last_close_and_listed(path):
    gap = [100, 100, np.nan, np.nan, 120]
    actions = [(DAYS[2], "A", "dividend", 1.5), (DAYS[3], "A", "split", 2)]
    market = make_market({"A": gap, "B": [1] * 5}, actions=actions)
    commit(path, market, 0, make_trades(A=10))
    commit(path, market, 1)
    after = commit(path, market, 4)
    assert after.history["equity"].tolist() == [10_000, 10_000, 9_015 + 20 * 120]
    assert [(n.date, n.symbol, n.text) for n in after.notes] == [
        (day(2), "A", f"no close, session 1 of at most 10; marked at its last, 98.5000, and not traded{HINT}"),
        (day(3), "A", f"no close, session 2 of at most 10; marked at its last, 49.2500, and not traded{HINT}"),
    ]
    assert after.events["event"].tolist() == ["dividend", "note", "note", "split"]


@pytest.mark.parametrize(("missing", "fine"), [(10, True), (11, False)])
def test_a_gap_of_more_than_ten_sessions_is_an_error(path, missing, fine):
    market = make_market({"A": [100, 100, *[np.nan] * missing, 100], "B": [1.0] * (missing + 3)})
    commit(path, market, 0, make_trades(A=10))
    commit(path, market, 1)
    if fine:
        assert len(commit(path, market, missing + 2).notes) == 10
    else:
        with pytest.raises(DataError, match=f"held name A has had no close for 11 sessions up to {day(12)}"):
            commit(path, market, missing + 2)


def test_d10_a_market_that_ends_before_the_date_is_not_ready(path):
    with pytest.raises(DataNotReady, match=f"no bars for {day(2)} yet, the latest are of {day(1)}"):
        settle(read_book(path), make_market({"A": [1, 1]}), FREE, DAYS[2])
    with pytest.raises(DataNotReady, match="the latest are of never"):
        settle(read_book(path), make_market({"A": [1, 1]}, start=5), FREE, DAYS[2])


def test_s06_a_date_that_the_book_has_passed_is_out_of_order(path):
    market = make_market({"A": [1, 1]})
    commit(path, market, 1)
    for n in (0, 1):
        with pytest.raises(OutOfOrderError, match=f"is not after the book's last session, {day(1)}"):
            settle(read_book(path), market, FREE, DAYS[n])


def test_a_live_book_is_never_filled_by_simulation(path):
    market = make_market({"A": [1, 1]})
    commit(path, market, 0, make_trades(A=5))
    live = replace(read_book(path), kind="live")
    with pytest.raises(BookError, match=f"no fill or cancellation recorded for {day(0)}-A; run openbook fills"):
        settle(live, market, FREE, DAYS[1])


COSTS = Costs(commission_bps=1, slippage_bps=5, min_commission=0.35)


HINT = "; if it has another ticker now: openbook rename"
UNITS = pytest.mark.parametrize("share_units", [1, 1000])


def random_book(path, seed: int, upto: int, share_units: int = 1):
    """A book that bought at random on its second session, committed up to session `upto`."""
    rng = np.random.default_rng(seed)
    market = random_market(seed)
    shares = {symbol: int(rng.integers(1, 60 * share_units)) / share_units for symbol in market.symbols}
    commit(path, market, 0, make_trades(**shares), costs=COSTS)
    for n in range(1, upto + 1):
        commit(path, market, n, costs=COSTS)
    return market


def held_without_gaps(market, skip: int) -> int:
    """The last session but `skip` that has no gap among the names that trade on the last one."""
    alive = market.close.columns[market.close.iloc[-1].notna()]
    whole = market.close[alive].notna().all(axis=1).to_numpy()
    return int(np.flatnonzero(whole[: len(whole) - skip])[-1])


@UNITS
@pytest.mark.parametrize("seed", range(4))
def test_settling_over_missed_sessions_equals_settling_one_by_one(tmp_path, seed, share_units):
    for name in ("one.db", "many.db"):
        open_book(tmp_path / name, cash=30_000, share_units=share_units)
    market = random_book(tmp_path / "one.db", seed, 0, share_units)
    random_book(tmp_path / "many.db", seed, 0, share_units)
    end = held_without_gaps(market, 0)
    for n in range(1, end + 1):
        with suppress(DataError):  # a held name has a gap that evening: one waits, as an operator would
            commit(tmp_path / "one.db", market, n, costs=COSTS)
    commit(tmp_path / "many.db", market, end, costs=COSTS)
    one_by_one, at_once = read_book(tmp_path / "one.db"), read_book(tmp_path / "many.db")
    assert_series_equal(one_by_one.positions, at_once.positions)
    assert_frame_equal(one_by_one.history, at_once.history)
    assert one_by_one.cash_cents == at_once.cash_cents
    assert one_by_one.lots == at_once.lots


def value_of(state, market, n: int) -> float:
    """What yesterday's positions are worth today, in floats: shares × split × (close + dividend), or what they were
    marked at if there is no close; the slow, obvious account, independent of the ledger."""
    total = 0.0
    for symbol, shares in state.positions.items():
        actions = market.actions[(market.actions["symbol"] == symbol) & (market.actions["date"] == DAYS[n])]
        split = actions.loc[actions["kind"] == "split", "value"].prod()
        dividend = actions.loc[actions["kind"] == "dividend", "value"].sum()
        final = actions.loc[actions["kind"] == "delisting", "value"].sum()
        close = market.close.at[DAYS[n], symbol]
        if np.isnan(close):
            close = state.prices[symbol] / split - dividend
        total += shares * split * (close * (1 + final) + dividend)
    return total


@UNITS
@pytest.mark.parametrize("seed", range(4))
def test_equity_moves_as_prices_and_actions_say(tmp_path, seed, share_units):
    path = tmp_path / "b.db"
    open_book(path, cash=30_000, share_units=share_units)
    market = random_book(path, seed, 0, share_units)
    compared = 0
    for n in range(1, len(market.dates)):
        state = read_book(path)
        try:
            commit(path, market, n, costs=COSTS)
        except DataError:
            continue
        if state.last_session == DAYS[n - 1] and state.pending.empty:
            compared += 1
            expected = state.cash + value_of(state, market, n)
            assert read_book(path).equity == pytest.approx(expected, abs=0.01 * (len(state.positions) + 1))
    assert compared > 5


@pytest.mark.parametrize("seed", range(3))
def test_settling_ignores_the_future(tmp_path, seed):
    open_book(tmp_path / "b.db", cash=30_000)
    market = random_book(tmp_path / "b.db", seed, 0)
    state = read_book(tmp_path / "b.db")
    date = DAYS[held_without_gaps(market, 2)]
    assert settle(state, market, COSTS, date) == settle(state, market.upto(date), COSTS, date)


def test_higher_costs_never_leave_more(path):
    market = make_market({"A": [100, 101, 102]})
    commit(path, market, 0, make_trades(A=50))
    state = read_book(path)
    equity = [settle(state, market, Costs(commission_bps=c, slippage_bps=5), DAYS[2]).equity for c in (0, 1, 10, 100)]
    assert equity == sorted(equity, reverse=True)


def test_a_settlement_survives_json_byte_for_byte(path):
    market = make_market({"NA": [100, 101], "é'\"": [3, 4]})
    commit(path, market, 0, make_trades(**{"NA": 50, "é'\"": 5}))
    settlement = settle(read_book(path), market, COSTS, DAYS[1])
    text = settlement.to_json()
    assert Settlement.model_validate_json(text) == settlement
    assert Settlement.model_validate_json(text).to_json() == text


def test_a_mark_that_does_not_add_up_cannot_exist():
    good = dict.fromkeys(list(Mark.model_fields)[1:], 0)
    Mark(date="2025-03-03", **good)
    for wrong in ({"equity_cents": 1}, {"pnl_cents": 1}, {"cash_cents": 5, "equity_cents": 5}):
        with pytest.raises(BookError, match="does not balance on 2025-03-03"):
            Mark(date="2025-03-03", **{**good, **wrong})


def test_a_settlement_must_lead_on_from_the_book(path):
    market = make_market({"A": [100, 101], "B": [10, 10]})
    commit(path, market, 0, make_trades(A=50, B=3))
    state = read_book(path)
    good = settle(state, market, COSTS, DAYS[1])
    require_continuation(good, state)
    with pytest.raises(ConflictError, match="the book changed since"):
        require_continuation(good.model_copy(update={"head": "0" * 64}), state)
    more = good.holdings[0].model_copy(update={"shares": 51})
    cheaper = good.lots[0].model_copy(update={"cost_cents": good.lots[0].cost_cents - 1})
    owed = Receivable(symbol="A", kind="dividend", due=day(5), cents=1)
    for change in (
        {"lots": (cheaper, *good.lots[1:])},
        {"lots": good.lots[:1]},
        {"holdings": (good.holdings[0].model_copy(update={"cost_cents": 1}), *good.holdings[1:])},
        {"receivables": (owed,)},
        {"adjustment_rows": (Adjustment(cents=1),)},
        {"share_units": 10},
        {"cash_cents": good.cash_cents + 1},
        {"holdings": (more, *good.holdings[1:])},
        {"fill_rows": good.fill_rows[:1]},
        {"results": good.results[:1]},
        {"results": (good.results[0], *good.results)},
        {"marks": ()},
        {"marks": good.marks * 2},
    ):
        with pytest.raises(BookError):
            require_continuation(good.model_copy(update=change), state)


def test_no_settlement_fills_what_nobody_approved(tmp_path):
    """Everything adds up, as it would if somebody had approved; but nobody has."""
    market = make_market({"A": [100, 101]})
    for name, manual in (("by rule", False), ("by hand", True)):
        open_book(tmp_path / name, cash=10_000)
        commit(tmp_path / name, market, 0, make_trades(A=50), manual=manual)
    state = read_book(tmp_path / "by hand")
    filled = settle(read_book(tmp_path / "by rule"), market, COSTS, DAYS[1])
    results = tuple(row.model_copy(update={"before": "PENDING"}) for row in filled.results)
    with pytest.raises(BookError, match="do not match the approved orders"):
        require_continuation(filled.model_copy(update={"head": state.head, "results": results}), state)


def test_all_fills_are_those_of_before_and_the_new_ones_at_the_prices_of_their_orders(path):
    market = make_market({"A": [100, 104, 108], "B": [50, 50, 50]})
    commit(path, market, 0, make_trades(A=10))
    commit(path, market, 1, make_trades(B=4))
    state = read_book(path)
    found = all_fills(state, settle(state, market, FREE, DAYS[2]))
    assert found[["symbol", "shares", "price", "decided_price"]].to_numpy().tolist() == [
        ["A", 10, 104.0, 1.0],
        ["B", 4, 50.0, 1.0],
    ]
