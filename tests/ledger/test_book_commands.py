"""What people do to a book between two sessions: each act once, signed, and never more than the batch allows."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from openbook.common.errors import ApprovalError, BookError, LimitError, OutOfOrderError, UsageError
from openbook.execution.kill_switch import KillSwitch
from openbook.ledger import book_commands, database, event_chain
from openbook.ledger.book import (
    audit_book,
    commit_session,
    event_hashes,
    head,
    held_weights,
    open_book,
    read_book,
    settle,
    views,
)
from support.books import ABOUT, CALM, DAYS, FREE, commit, day, make_market, make_trades

MARKET = make_market({"A": [100, 101, 102, 103, 104, 105], "B": [50, 49, 48, 47, 46, 45]})
NOW = "2025-03-03 21:00:00 UTC"


@pytest.fixture
def paper(tmp_path):
    """A paper book that waits for approval of A +50, B +20."""
    open_book(tmp_path / "paper.db", cash=10_000)
    commit(tmp_path / "paper.db", MARKET, 0, make_trades(A=50, B=20), manual=True)
    return tmp_path / "paper.db"


@pytest.fixture
def live(tmp_path):
    """A live book with the same batch."""
    open_book(tmp_path / "live.db", cash=10_000, kind="live")
    commit(tmp_path / "live.db", MARKET, 0, make_trades(A=50, B=20))
    return tmp_path / "live.db"


def approve(path, n: int = 0, **changes):
    batch = book_commands.read_batch(path, day(n))
    said = {"digest": batch.digest, "about": ABOUT, "who": "Ann", "when": NOW, "how": "terminal"} | changes
    return book_commands.approve(path, day(n), **said)


def fills(*rows) -> pd.DataFrame:
    """Rows of (fill_id, order of session 0 on A or B, shares, price, commission in cents)."""
    table = [(key, f"{day(0)}-{symbol}", n, price, cents, day(1)) for key, symbol, n, price, cents in rows]
    return pd.DataFrame(table, columns=["fill_id", "order_id", "shares", "price", "commission_cents", "date"])


def record(path, *rows) -> int:
    return book_commands.record_fills(path, day(0), fills(*rows), when=NOW, source="0" * 64)


def statuses(path) -> dict[str, str]:
    return views(path)["trade_history"].set_index("symbol")["status"].to_dict()


def unchanged(path, act, error, match: str) -> None:
    """An act that is refused changes no byte of the book."""
    before = path.read_bytes()
    with pytest.raises(error, match=match):
        act()
    assert path.read_bytes() == before


# ---- approval ----


def test_orders_that_nobody_approved_are_never_filled(paper):
    assert statuses(paper) == {"A": "PENDING", "B": "PENDING"}
    commit(paper, MARKET, 1)
    assert statuses(paper) == {"A": "EXPIRED", "B": "EXPIRED"}
    assert read_book(paper).positions.empty
    assert set(views(paper)["trade_history"]["reason"]) == {"by hand; not approved"}


def test_approved_orders_are_filled_and_a_repeated_approval_changes_nothing(paper):
    assert approve(paper) == 2
    before = paper.read_bytes()
    assert approve(paper) == 2
    assert paper.read_bytes() == before
    commit(paper, MARKET, 1)
    assert read_book(paper).positions.to_dict() == {"A": 50, "B": 20}
    audit_book(paper)


@pytest.mark.parametrize("part", list(ABOUT))
def test_x06_an_approval_is_void_when_what_it_stands_on_changed(paper, part):
    unchanged(paper, lambda: approve(paper, about=ABOUT | {part: "other"}), ApprovalError, f"{part} changed since")


def test_x06_an_approval_for_another_batch_or_used_twice(paper):
    unchanged(paper, lambda: approve(paper, digest="0" * 64), ApprovalError, "for a different batch")
    approve(paper)
    unchanged(
        paper,
        lambda: approve(paper, who="Bob"),
        ApprovalError,
        "are APPROVED and can no longer be approved or rejected",
    )
    commit(paper, MARKET, 1, make_trades(A=1), manual=True, inputs="two")
    unchanged(paper, lambda: approve(paper), ApprovalError, "are FILLED")


def test_x06_a_token_approves_once(paper):
    approve(paper, how="nonce")
    book_commands.reject(paper, day(0), who="Ann", reason="no", when=NOW)
    unchanged(paper, lambda: approve(paper, how="nonce"), ApprovalError, "was already used")


def test_x06_both_tokens_of_two_people_are_used(paper):
    approve(paper, how="one,two")
    book_commands.reject(paper, day(0), who="Ann", reason="no", when=NOW)
    for how in ("one", "two", "two,one", "two,three"):
        unchanged(paper, lambda how=how: approve(paper, how=how), ApprovalError, "was already used")


def test_the_event_keeps_what_was_signed_and_nothing_else_changes(paper, live):
    """No table reads it, so a book with signatures is read and audited like one without."""
    token = {"who": "Ann", "signature": "…"}
    approve(paper, how="nonce", signed=[token])
    assert database.read(paper, event_chain.last_event)["signed"] == [token]
    approve(live)
    assert "signed" not in database.read(live, event_chain.last_event)
    assert statuses(paper) == statuses(live)
    audit_book(paper)


def test_a_reset_signs_the_head_of_the_book(paper):
    book_commands.halt(paper, who="Ann", reason="drill", when=NOW)
    before = event_hashes(paper)[-1][1]
    book_commands.reset(paper, who="Ann", reason="over", when=NOW, sign=lambda head: {"head": head})
    assert database.read(paper, event_chain.last_event)["signed"] == [{"head": before}]
    audit_book(paper)


@pytest.mark.parametrize("act", ["cash", "halt"])
def test_x06_an_approval_is_void_when_the_book_moved(paper, act):
    if act == "cash":
        book_commands.record_cash(paper, flow="deposit", cents=100, who="Ann", reason="more", when=NOW)
    else:
        book_commands.halt(paper, who="Ann", reason="drill", when=NOW)
    unchanged(paper, lambda: approve(paper), ApprovalError, "the book changed since|are VOID")


def test_a_rejected_batch_stays_rejected(paper):
    approve(paper)
    assert book_commands.reject(paper, day(0), who="Bob", reason="too much", when=NOW) == 2
    assert book_commands.reject(paper, day(0), who="Bob", reason="too much", when=NOW) == 2  # a command repeated
    unchanged(paper, lambda: approve(paper), ApprovalError, "are REJECTED")
    commit(paper, MARKET, 1)
    assert read_book(paper).positions.empty


def test_a_session_without_orders_or_that_is_not_there(paper):
    commit(paper, MARKET, 1, inputs="two")
    unchanged(paper, lambda: approve(paper, 1), ApprovalError, "no orders were proposed")
    unchanged(paper, lambda: book_commands.read_batch(paper, day(4)), BookError, "is not in the book")


@pytest.mark.parametrize("line", ["", "  ", "a\nb", "x" * 201, "\x1b[31m"])
def test_who_and_why_are_one_plain_line(paper, line):
    unchanged(paper, lambda: approve(paper, who=line), UsageError, "--by must be one line")
    unchanged(
        paper, lambda: book_commands.reject(paper, day(0), who="Ann", reason=line, when=NOW), UsageError, "--reason"
    )


# ---- fills ----


def test_s14_fills_move_the_live_book_at_once_and_the_settlement_takes_them_in(live):
    approve(live)
    assert record(live, ("x1", "A", 30, 101.5, 100), ("x2", "B", 20, 49.25, 35)) == 2
    state = read_book(live)
    assert state.positions.empty
    assert state.positions_now.to_dict() == {"A": 30, "B": 20}
    assert state.cash_now_cents == 1_000_000 - 304_500 - 98_500 - 135
    assert statuses(live) == {"A": "PARTIALLY_FILLED", "B": "FILLED"}
    assert views(live)["current_positions"].set_index("symbol")["value"].to_dict() == {
        "A": 3045.0, "B": 985.0, "CASH": 10_000 - 3045 - 985 - 1.35}  # fmt: skip
    record(live, ("x3", "A", 20, 102.0, 0))
    commit(live, MARKET, 1, inputs="two")
    after = read_book(live)
    assert after.positions.to_dict() == {"A": 50, "B": 20}
    assert after.cash_cents == after.cash_now_cents == 1_000_000 - 304_500 - 204_000 - 98_500 - 135
    assert after.recorded == ()
    assert views(live)["trade_history"].set_index("symbol").loc["A", "price"] == pytest.approx((30 * 101.5 + 2040) / 50)
    audit_book(live)


def test_s14_a_replayed_fill_counts_once(live):
    approve(live)
    record(live, ("x1", "A", 30, 101.5, 100))
    before = live.read_bytes()
    assert record(live, ("x1", "A", 30, 101.5, 100)) == 0
    assert live.read_bytes() == before
    assert record(live, ("x1", "A", 30, 101.5, 100), ("x2", "A", 20, 101.0, 0)) == 1


def test_s14_what_cannot_be_is_refused_whole(live):
    approve(live)
    record(live, ("x1", "A", 30, 101.5, 100))
    good = ("x9", "B", 20, 49.0, 0)
    for bad, match in (
        (("x1", "A", 29, 101.5, 100), "already recorded with different values"),
        (("x2", "A", 21, 101.5, 0), r"\+21 shares for order 2025-03-03-A, but only \+20 are open"),
        (("x2", "A", -5, 101.5, 0), r"is for -5 shares, its order for \+50"),
        (("x2", "C", 5, 101.5, 0), "order 2025-03-03-C is not in the batch"),
    ):
        unchanged(live, lambda bad=bad: record(live, good, bad), BookError, match)
    late = fills(good).assign(date=day(2))
    unchanged(
        live,
        lambda: book_commands.record_fills(live, day(0), late, when=NOW, source=""),
        BookError,
        "its order was for",
    )


def test_a_fill_that_nobody_approved_is_refused(live):
    unchanged(
        live, lambda: record(live, ("x1", "A", 30, 101.5, 0)), ApprovalError, "order 2025-03-03-A was not approved"
    )


def test_a_paper_book_takes_no_recorded_fills(paper):
    approve(paper)
    unchanged(paper, lambda: record(paper, ("x1", "A", 30, 101.5, 0)), BookError, "is a paper book")


def test_the_next_run_waits_until_somebody_says_what_became_of_the_orders(live):
    approve(live)
    with pytest.raises(BookError, match="no fill or cancellation recorded for 2025-03-03-A, 2025-03-03-B"):
        commit(live, MARKET, 1)
    record(live, ("x1", "A", 30, 101.0, 0), ("x2", "B", 20, 49.0, 0))
    with pytest.raises(BookError, match="no fill or cancellation recorded for 2025-03-03-A"):
        commit(live, MARKET, 1)
    held = pd.Series({"A": 30, "B": 20})
    assert book_commands.reconcile(live, held, 1_000_000 - 303_000 - 98_000, closed=day(1), when=NOW) == ""
    assert statuses(live) == {"A": "RECONCILED", "B": "RECONCILED"}
    commit(live, MARKET, 1)


def test_k06_a_fill_after_a_halt_is_still_recorded(live):
    approve(live)
    assert book_commands.halt(live, who="Ann", reason="drill", when=NOW) == 2
    assert statuses(live) == {"A": "VOID", "B": "VOID"}
    assert record(live, ("x1", "A", 50, 101.0, 0)) == 1
    assert statuses(live) == {"A": "FILLED", "B": "VOID"}
    commit(live, MARKET, 1)
    assert read_book(live).positions.to_dict() == {"A": 50}


# ---- statement and cash ----


def test_a_statement_that_differs_stops_the_next_run_until_it_agrees_or_somebody_accepts(live):
    said = book_commands.reconcile(live, pd.Series({"Z": 3}), 999_998, closed=day(0), when=NOW)
    assert said == "Z: book 0, statement 3 shares; cash: book 10,000.00, statement 9,999.98 USD"
    with pytest.raises(BookError, match="the broker's statement differs from the book: Z: book 0"):
        commit(live, MARKET, 1)
    assert (
        book_commands.reconcile(live, pd.Series(dtype="int64"), 999_999, closed=day(0), when=NOW) == ""
    )  # within a cent
    commit(live, MARKET, 1)


def test_a_difference_is_booked_by_name_and_the_next_run_stands_on_what_the_broker_holds(live):
    """50 A at 101 and 20 B at 49 were bought, and never recorded; the broker has a share less of B, and 3 of Z."""
    how = {"closed": day(1), "when": NOW, "prices": {"A": 7.0, "B": 49.0, "Z": 10.0}}
    approve(live)
    record(live, ("x1", "A", 50, 101.0, 0))
    theirs, cash = pd.Series({"A": 50, "B": 19, "Z": 3}), 1_000_000 - 505_000 - 93_100
    said = book_commands.reconcile(live, theirs, cash, accepted=("Ann", "as they hold it"), **how)
    assert said == "B: book 0, statement 19 shares; Z: book 0, statement 3 shares; cash: book 4,950.00, " \
        "statement 4,019.00 USD"  # fmt: skip
    state = read_book(live)
    assert (state.positions_now.to_dict(), state.cash_now_cents, state.unsettled) == (theirs.to_dict(), cash, "")
    before = live.read_bytes()
    assert book_commands.reconcile(live, theirs, cash, accepted=("Ann", "as they hold it"), **how) == said  # repeated
    assert live.read_bytes() == before
    assert book_commands.reconcile(live, theirs, cash, **how) == ""  # and a statement of another day agrees
    market = make_market({"A": [100, 101, 102], "B": [50, 48, 48], "Z": [9, 10, 11]})
    settled = commit(live, market, 1)
    assert settled.positions.to_dict() == theirs.to_dict()
    mark = settled.marks[-1]
    assert mark.adjustments_cents == -93_100 + 19 * 4_900 + 3 * 1_000  # at what the statement said of B and Z
    assert mark.equity_cents == cash + 50 * 10_100 + 19 * 4_800 + 3 * 1_000
    assert mark.pnl_cents == -19 * 100
    assert {lot.security: (lot.shares, lot.cost_cents) for lot in settled.lots} == {
        "A": (50, 505_000), "B": (19, 93_100), "Z": (3, 3_000)}  # fmt: skip
    audit_book(live)


def test_a_share_that_nobody_knows_a_price_of_is_not_booked(live):
    how = {"closed": day(0), "when": NOW, "accepted": ("Ann", "a gift")}
    act = lambda: book_commands.reconcile(live, pd.Series({"Z": 3}), 1_000_000, **how)  # noqa: E731
    unchanged(live, act, BookError, "Z is new to the book and has no price; add a price column")
    how["accepted"] = ("Ann", "")
    unchanged(live, act, UsageError, "--reason")


def test_a_wrong_book_is_performance_and_the_kill_switch_sees_it(paper):
    commit(paper, MARKET, 1, switch=KillSwitch())
    book_commands.adjust(paper, cash_cents=-30_100, who="Ann", reason="a fee nobody booked", when=NOW)
    settled = commit(paper, MARKET, 2, switch=KillSwitch())
    assert settled.history["daily_return"].tolist() == pytest.approx([-0.0301])
    assert (settled.marks[0].flows_cents, settled.marks[0].adjustments_cents) == (0, -30_100)
    assert read_book(paper).switch == "HALTED"
    assert ("adjustment", "CASH", "-301.00 USD, manual adjustment") in settled.events[
        ["event", "symbol", "detail"]
    ].itertuples(index=False, name=None)


def test_an_adjustment_voids_what_waits_for_approval_and_is_made_once(paper):
    how = {"shares": {"A": 3}, "prices": {"A": 100.0}, "who": "Ann", "reason": "found", "when": NOW}
    book_commands.adjust(paper, **how)
    before = paper.read_bytes()
    book_commands.adjust(paper, **how)
    assert paper.read_bytes() == before
    assert read_book(paper).positions_now.to_dict() == {"A": 3}
    unchanged(paper, lambda: approve(paper), ApprovalError, r"the book changed since .* \(adjusted\)")
    with pytest.raises(UsageError, match="empty adjustment"):
        book_commands.adjust(paper, who="Ann", reason="found", when=NOW)


def test_what_is_owed_is_equity_and_becomes_cash_on_its_day(paper):
    """Due on a day without a bar: it is paid with the next session; no cent is gained or lost."""
    market = make_market({"A": [100, 100, 100, 100, 100]})
    market = replace(market, close=market.close.drop(DAYS[3]), adjusted=market.adjusted.drop(DAYS[3]))
    owed = {"symbol": "A", "kind": "dividend", "due": day(3), "cents": 12_345}
    book_commands.adjust(paper, receivables=[owed], who="Ann", reason="declared", when=NOW)
    settled = commit(paper, market, 1)
    assert (settled.cash_cents, settled.marks[0].receivables_cents, settled.equity) == (1_000_000, 12_345, 10_123.45)
    state = read_book(paper)
    assert (state.cash_cents, state.receivables_cents, state.equity) == (1_000_000, 12_345, 10_123.45)
    view = views(paper)["current_positions"]
    assert view[["symbol", "value"]].to_numpy().tolist() == [["RECEIVABLES", 123.45], ["CASH", 10_000.0]]
    assert view["weight"].sum() == pytest.approx(1)
    assert commit(paper, market, 2).cash_cents == 1_000_000
    paid = commit(paper, market, 4)
    assert (paid.cash_cents, paid.receivables, paid.equity) == (1_012_345, (), 10_123.45)
    assert paid.history["daily_return"].tolist() == [0]
    assert [note.text for note in paid.notes] == [f"dividend of 123.45 USD was paid, due {day(3)}"]
    audit_book(paper)


# ---- names ----


def rename(path, symbol: str, to: str, n: int, **changes) -> str:
    said = {"who": "Ann", "reason": "a new name", "when": f"{day(n - 1)} 21:00:00 UTC"} | changes
    return book_commands.rename(path, symbol=symbol, to=to, date=day(n), **said)


NEW_NAME = make_market(
    {"A": [100, 101, 102, np.nan, np.nan, np.nan], "Z": [np.nan, np.nan, np.nan, 206, 208, 210], "B": [50.0] * 6},
    actions=[(DAYS[4], "Z", "dividend", 0.5)],
)


@pytest.mark.parametrize("whole_history", [False, True])
def test_a_renamed_security_is_the_same_holding_under_its_new_ticker(paper, whole_history):
    """Held, with an order that waits, over the day of its rename; the source has the old name too, or the new alone."""
    market = NEW_NAME
    if whole_history:
        close = NEW_NAME.close.assign(Z=NEW_NAME.close["Z"].fillna(NEW_NAME.close["A"])).drop(columns="A")
        market = replace(NEW_NAME, close=close, adjusted=close)
    approve(paper)
    commit(paper, NEW_NAME, 1)
    commit(paper, NEW_NAME, 2, make_trades(A=-20))
    lots = read_book(paper).lots
    assert rename(paper, "A", "Z", 3) == "A"
    before = paper.read_bytes()
    assert rename(paper, "A", "Z", 3) == "A"  # repeated
    assert paper.read_bytes() == before
    state = read_book(paper)
    assert (state.positions.to_dict(), state.pending["symbol"].tolist()) == ({"B": 20, "Z": 50}, ["Z"])
    assert (state.securities, state.lots) == ({"Z": "A", "B": "B"}, lots)
    assert book_commands.read_batch(paper, day(2)).orders[["symbol", "ticker"]].to_numpy().tolist() == [["A", "Z"]]
    settled = commit(paper, market, 4, make_trades(Z=5))
    assert settled.positions.to_dict() == {"B": 20, "Z": 30}
    assert settled.fills[["symbol", "security", "price"]].to_numpy().tolist() == [["Z", "A", 206.0]]
    assert [(a.symbol, a.kind, a.cash_cents) for a in settled.actions] == [("Z", "dividend", 1_500)]
    assert [(lot.security, lot.opened, lot.shares, lot.cost_cents) for lot in settled.lots] == [
        ("A", day(1), 30, 30 * 10_100)
    ]
    after = commit(paper, market, 5)
    assert [(lot.opened, lot.shares) for lot in after.lots] == [(day(1), 30), (day(5), 5)]
    assert held_weights(paper).columns.tolist() == ["B", "Z"]
    audit_book(paper)


def test_a_session_before_the_rename_is_settled_under_the_old_ticker(paper):
    approve(paper)
    commit(paper, NEW_NAME, 1)
    rename(paper, "A", "Z", 3)
    state = read_book(paper)
    assert [row.symbol for row in settle(state, NEW_NAME, FREE, DAYS[2]).holdings] == ["A", "B"]
    assert [row.symbol for row in commit(paper, NEW_NAME, 4).holdings] == ["Z", "B"]


def test_a_rename_to_what_is_somebody_elses_or_of_nothing_is_refused(paper):
    approve(paper)
    commit(paper, MARKET, 1)
    unchanged(paper, lambda: rename(paper, "A", "B", 2), BookError, "cannot rename A to B: the book already uses")
    unchanged(paper, lambda: rename(paper, "A", "CASH", 2), BookError, "cannot rename A to CASH")
    unchanged(paper, lambda: rename(paper, "X", "Y", 2), BookError, "X is not in the book, which holds A, B")
    unchanged(paper, lambda: rename(paper, "A", "Z", 4, when=NOW), UsageError, "on the session before it, or later")


def test_a_rename_to_a_ticker_that_was_mistyped_is_put_right_by_another(paper):
    """From the same date on, or back again; what is held and its cost stay."""
    approve(paper)
    commit(paper, NEW_NAME, 1)
    commit(paper, NEW_NAME, 2)
    lots = read_book(paper).lots
    rename(paper, "A", "ZZ", 3)
    assert rename(paper, "ZZ", "A", 3) == "A"
    rename(paper, "A", "ZZ", 3, reason="once more")
    assert rename(paper, "ZZ", "Z", 3) == "A"
    assert (read_book(paper).positions.to_dict(), read_book(paper).lots) == ({"B": 20, "Z": 50}, lots)
    settled = commit(paper, NEW_NAME, 4)
    assert settled.positions.to_dict() == {"B": 20, "Z": 50}
    audit_book(paper)


def test_a_rename_of_a_year_that_is_wrong_is_refused(paper):
    """Before the book knew the name the rename would have no effect, and could not be taken back."""
    approve(paper)
    commit(paper, NEW_NAME, 1)
    early = {"symbol": "A", "to": "Z", "date": "2015-03-06", "who": "Ann", "reason": "new name", "when": NOW}
    unchanged(paper, lambda: book_commands.rename(paper, **early), UsageError, "is before 2025-03-03, since when")
    rename(paper, "A", "Z", 2)
    early |= {"symbol": "Z", "to": "Y", "date": day(1)}
    unchanged(paper, lambda: book_commands.rename(paper, **early), UsageError, f"is before {day(2)}, since when")


def test_a_ticker_that_another_company_took_over_is_another_security(tmp_path):
    """A is delisted; two sessions later another company is called so: it has an id of its own, and lots of its own."""
    path = tmp_path / "paper.db"
    open_book(path, cash=10_000)
    nan = np.nan
    market = make_market({"A": [100, 100, nan, nan, 20, 21, 22.0]}, actions=[(DAYS[2], "A", "delisting", -0.5)])
    commit(path, market.upto(DAYS[1]), 0, make_trades(A=10))
    commit(path, market.upto(DAYS[1]), 1)
    assert commit(path, market.upto(DAYS[3]), 3).realized[["kind", "cost", "proceeds", "gain"]].to_numpy().tolist() == [
        ["delisting", 1000.0, 500.0, -500.0]
    ]
    assert read_book(path).securities == {}
    commit(path, market, 4, make_trades(A=7))
    settled = commit(path, market, 5)
    assert [(row.security, row.symbol, row.shares) for row in settled.holdings] == [(f"A@{day(4)}", "A", 7)]
    found = database.read(path, lambda db: db.execute("SELECT * FROM securities ORDER BY start").fetchall())
    assert found == [("A", "A", day(0), day(2)), (f"A@{day(4)}", "A", day(4), "")]
    audit_book(path)


def test_a_ticker_of_a_delisted_name_that_was_sold_before_is_free_too(tmp_path):
    path = tmp_path / "paper.db"
    open_book(path, cash=10_000)
    nan = np.nan
    closes = {"A": [100, 100, 100, nan, nan, 20.0], "B": [1.0] * 6}
    market = make_market(closes, actions=[(DAYS[3], "A", "delisting", 0.0)])
    commit(path, market, 0, make_trades(A=10))
    commit(path, market, 1, make_trades(A=-10))
    commit(path, market, 2)
    assert read_book(path).securities == {"A": "A"}
    commit(path, market, 4, make_trades(A=7))
    assert read_book(path).securities == {"A": f"A@{day(4)}"}


def test_cash_that_came_is_no_performance_and_a_fee_is(paper):
    assert (
        book_commands.record_cash(paper, flow="deposit", cents=500_000, who="Ann", reason="more", when=NOW) == 1_500_000
    )
    assert book_commands.record_cash(paper, flow="fee", cents=1_500, who="Ann", reason="custody", when=NOW) == 1_498_500
    settlement = commit(paper, MARKET, 1)
    assert settlement.cash_cents == 1_498_500
    assert settlement.history["daily_return"].tolist() == pytest.approx([-1_500 / 1_500_000])
    assert "deposit" in set(settlement.events["event"])
    unchanged(
        paper,
        lambda: book_commands.record_cash(paper, flow="withdrawal", cents=1_498_501, who="A", reason="b", when=NOW),
        BookError,
        "would leave -0.01 USD",
    )
    for wrong in ({"flow": "gift", "cents": 1}, {"flow": "fee", "cents": 0}, {"flow": "fee", "cents": -5}):
        with pytest.raises(UsageError):
            book_commands.record_cash(paper, who="A", reason="b", when=NOW, **wrong)


def test_the_same_cash_again_is_said_to_be_known_unless_it_came_twice(paper):
    entry = {"flow": "deposit", "cents": 5_000, "who": "Ann", "reason": "savings"}
    assert book_commands.cash_recorded(paper, **entry) == ""
    assert book_commands.record_cash(paper, **entry, when=NOW) == 1_005_000
    assert book_commands.cash_recorded(paper, **entry) == NOW
    assert book_commands.record_cash(paper, **entry, when="later") == 1_005_000
    assert book_commands.record_cash(paper, **entry, when="later", again=True) == 1_010_000
    assert book_commands.cash_recorded(paper, **entry) == "later"


def test_k08_a_withdrawal_of_a_tenth_does_not_trip(paper):
    book_commands.record_cash(paper, flow="withdrawal", cents=100_000, who="Ann", reason="rent", when=NOW)
    commit(paper, MARKET, 1, switch=KillSwitch())
    assert read_book(paper).switch == "ACTIVE"


# ---- the switch ----


def fallen(path, **how):
    """A book that loses 4% between two sessions."""
    market = make_market({"A": [100, 100, 96, 97, 98]})
    commit(path, market, 0, make_trades(A=100), switch=KillSwitch())
    commit(path, market, 1, inputs="two", switch=KillSwitch())
    return market


def test_k01_a_loss_halts_the_book_and_only_less_may_be_held(tmp_path):
    path = tmp_path / "paper.db"
    open_book(path, cash=10_000)
    market = fallen(path)
    for trades in (make_trades(A=1), make_trades(B=1), make_trades(A=-101)):
        with pytest.raises(LimitError, match="the kill switch is HALTED, but these orders add exposure"):
            commit(path, market, 2, trades, switch=KillSwitch())
    commit(path, market, 2, make_trades(A=-100), switch=KillSwitch())
    state = read_book(path)
    assert (state.switch, state.switch_reason) == ("HALTED", f"{day(2)}: daily_loss: -4.00% < -3.00%")
    assert statuses(path)["A"] == "PENDING"  # a proposal: nothing is sold by itself, though this book approves by rule
    commit(path, market, 3, switch=KillSwitch())
    assert read_book(path).positions.to_dict() == {"A": 100}


def test_k03_a_loss_on_a_day_without_a_run_trips_the_day_after(tmp_path):
    path = tmp_path / "paper.db"
    open_book(path, cash=10_000)
    market = fallen(path)
    commit(path, market, 4, switch=KillSwitch())
    assert read_book(path).switch == "HALTED"


def test_k05_the_latch_outlives_restarts_and_a_deleted_row_is_noticed(tmp_path):
    import sqlite3

    path = tmp_path / "paper.db"
    open_book(path, cash=10_000)
    commit(path, fallen(path), 2, switch=KillSwitch())
    commit(path, make_market({"A": [100, 100, 96, 97, 98]}), 3, switch=CALM)
    assert read_book(path).switch == "HALTED"  # looser limits do not loosen the latch
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("DROP TRIGGER switch_DELETE")
    db.execute("DELETE FROM switch")
    db.close()
    with pytest.raises(BookError, match="table switch does not match the events"):
        read_book(path)


def test_k09_a_reset_needs_a_name_and_a_reason_and_arms_the_switch_anew(tmp_path):
    path = tmp_path / "paper.db"
    open_book(path, cash=10_000)
    market = fallen(path)
    commit(path, market, 2, switch=KillSwitch())
    for who, why in (("", "x"), ("x", ""), (" ", "\n")):
        unchanged(
            path,
            lambda who=who, why=why: book_commands.reset(path, who=who, reason=why, when=NOW),
            UsageError,
            "must be",
        )
    assert book_commands.reset(path, who="Ann", reason="understood", when=NOW) == "HALTED"
    assert read_book(path).switch == "ACTIVE"
    assert book_commands.reset(path, who="Ann", reason="understood", when=NOW) == "ACTIVE"
    loosen = {"who": "Bob", "reason": "it nearly trips", "when": NOW}
    unchanged(
        path,
        lambda: book_commands.reset(path, **loosen),
        UsageError,
        "ACTIVE, .* --rearm restarts its loss and peak history",
    )
    assert book_commands.reset(path, **loosen, rearm=True) == "ACTIVE"
    commit(path, market, 3, make_trades(A=-1), switch=KillSwitch())
    assert len(read_book(path).marks) == 1  # the old losses are forgotten
    audit_book(path)


def test_a_halt_by_a_person_is_latched_once(paper):
    assert book_commands.halt(paper, who="Ann", reason="drill", when=NOW) == 2
    before = head(paper)
    assert book_commands.halt(paper, who="Ann", reason="drill", when=NOW) == 0
    assert head(paper) == before
    assert read_book(paper).switch_reason == f"{day(0)}: Ann: drill"


def test_a_fill_of_an_order_that_a_statement_has_closed_is_refused_by_name(live):
    approve(live)
    record(live, ("x1", "A", 30, 100.0, 0))
    state = read_book(live)
    book_commands.reconcile(live, state.positions_now, state.cash_now_cents, closed=day(1), when=NOW)
    unchanged(
        live,
        lambda: record(live, ("x2", "A", 20, 100.0, 0)),
        BookError,
        "x2: order 2025-03-03-A was closed by reconciliation",
    )


def test_an_act_that_is_repeated_after_a_crash_counts_once(paper):
    statement = {"closed": day(0), "when": NOW}
    deposit = {"flow": "deposit", "cents": 5_000, "who": "Ann", "reason": "savings", "when": NOW}
    none = pd.Series(dtype="int64")
    for act, said in (
        (lambda: book_commands.record_cash(paper, **deposit), 1_005_000),
        (lambda: book_commands.reconcile(paper, none, 1_005_000, **statement), ""),
    ):
        assert act() == said
        before = paper.read_bytes()
        assert act() == said
        assert paper.read_bytes() == before


def test_a_halt_voids_what_waits_and_leaves_what_has_ended(tmp_path):
    """At the open the cash pays for part of the order: it ends partially filled, and no halt opens it again."""
    market = make_market({"A": [100, 130, 130]})
    open_book(tmp_path / "paper.db", cash=10_000)
    commit(tmp_path / "paper.db", market, 0, make_trades(A=100))
    commit(tmp_path / "paper.db", market, 1, make_trades(A=-5))
    assert book_commands.halt(tmp_path / "paper.db", who="Ann", reason="a drill", when=NOW) == 1
    history = views(tmp_path / "paper.db")["trade_history"]
    assert list(zip(history["filled_shares"], history["status"], strict=True)) == [
        (76, "PARTIALLY_FILLED"),
        (0, "VOID"),
    ]


def test_acts_belong_to_the_session_before_so_that_a_rerun_finds_the_book_as_it_was(paper):
    was = read_book(paper, before=DAYS[1])
    commit(paper, MARKET, 1, inputs="two")
    book_commands.record_cash(paper, flow="deposit", cents=100, who="Ann", reason="more", when=NOW)
    book_commands.halt(paper, who="Ann", reason="drill", when=NOW)
    again = read_book(paper, before=DAYS[1])
    assert (again.head, again.flows, again.switch) == (was.head, (), "ACTIVE")
    commit(paper, MARKET, 1, inputs="two")  # already done
    assert read_book(paper, before=DAYS[2]).switch == "HALTED"


def test_a_settlement_must_take_in_what_was_recorded(live):
    approve(live)
    record(live, ("x1", "A", 50, 101.0, 0), ("x2", "B", 20, 49.0, 0))
    before = settle(read_book(live), MARKET, FREE, DAYS[1])
    forged = before.model_copy(update={"fill_rows": before.fill_rows[:1]})
    with pytest.raises(BookError, match="do not follow from the book"):
        commit_session(live, session=DAYS[1], inputs_hash="x", settlement=forged.to_json(), trades=make_trades())
    renamed = (before.fill_rows[0].model_copy(update={"recorded": False}), *before.fill_rows[1:])
    forged = before.model_copy(update={"fill_rows": renamed})
    with pytest.raises(BookError, match="does not match the recorded fills"):
        commit_session(live, session=DAYS[1], inputs_hash="x", settlement=forged.to_json(), trades=make_trades())


def test_a_settlement_before_the_session_of_a_recorded_fill_is_refused(tmp_path):
    """Friday's order was filled on Monday; a market that has a Saturday must not be settled without it."""
    live, friday = tmp_path / "live.db", 4
    open_book(live, cash=10_000, kind="live")
    commit(live, MARKET, friday, make_trades(A=50))
    approve(live, friday)
    filled = pd.DataFrame([("x1", f"{day(friday)}-A", 50, 101.0, 0, day(friday + 1))], columns=list(fills()))
    book_commands.record_fills(live, day(friday), filled, when=NOW, source="0" * 64)
    saturday = DAYS[friday] + pd.Timedelta(days=1)
    close = MARKET.close.set_axis([*MARKET.dates[:-1], saturday])
    odd = replace(MARKET, close=close, adjusted=close)
    unchanged(
        live, lambda: settle(read_book(live), odd, FREE, saturday), OutOfOrderError, "x1.* settle the later session"
    )
