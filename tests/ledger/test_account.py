"""What a broker's account does and a book must follow: ratios, spin-offs, dividends on their way, debits, halts."""

import numpy as np
import pandas as pd
import pytest

from openbook.common.errors import BookError, DataError
from openbook.ledger import book_commands
from openbook.ledger.account import Account
from openbook.ledger.book import audit_book, open_book, read_book, settle
from openbook.ledger.facts import OPEN_END, Receivable
from openbook.ledger.receivables import paid_by
from support.books import ABOUT, DAYS, FREE, commit, day, make_market, make_trades

NOW = "2025-03-03 21:00:00 UTC"


@pytest.fixture
def path(tmp_path):
    """A paper book of 10,000 USD."""
    open_book(tmp_path / "paper.db", cash=10_000)
    return tmp_path / "paper.db"


@pytest.fixture
def live(tmp_path):
    """A live book of 100,000 USD without positions."""
    open_book(tmp_path / "live.db", cash=100_000, kind="live")
    return tmp_path / "live.db"


def hold(path, market, shares: dict, prices: dict) -> None:
    """Give a live book shares at the first session, as a statement that somebody accepts."""
    commit(path, market, 0)
    cash = 10_000_000 - sum(round(n * prices[symbol] * 100) for symbol, n in shares.items())
    how = {"closed": day(0), "when": NOW, "accepted": ("Ann", "moved in"), "prices": prices}
    book_commands.reconcile(path, pd.Series(shares), cash, **how)


def agrees(path, shares: dict, cents: int, n: int = 2) -> str:
    return book_commands.reconcile(path, pd.Series(shares), cents, closed=day(n), when=NOW)


# ---- ratios ----


@pytest.mark.parametrize(
    ("held", "stored", "after"),
    [
        (700, 0.142857, 100),  # 700 / 7
        (300, 0.333333, 100),
        (300, 1.333333, 400),  # 300 × 4 / 3
        (1000, float(np.float32(0.01)), 10),
        (100, float(np.float32(0.04)), 4),
        (500, float(np.float32(1.4)), 700),
    ],
)
def test_w03_a_rounded_ratio_leaves_whole_shares_and_no_cash_in_lieu(path, held, stored, after):
    """Before: one share less each time, and cash that no broker pays."""
    market = make_market({"A": [1, 1, held / after]}, actions=[(DAYS[2], "A", "split", stored)])
    commit(path, market, 0, make_trades(A=held))
    commit(path, market, 1)
    settled = commit(path, market, 2)
    assert settled.positions.to_dict() == {"A": after}
    assert [(a.kind, a.cash_cents) for a in settled.actions] == [("split", 0)]


def test_w03_a_spin_off_that_comes_as_a_split_leaves_the_shares_and_is_owed_until_it_is_named(live):
    """100 GE at 81.99 before, ratio 1.281: 100 GE stay, and 8199.00 × (1 − 1/1.281) = 1798.53 left their price. The
    statement then has 33 GEHC at 54.13 and 18.05 for a third of a share: 1804.34 came, 5.81 more than had left."""
    market = make_market({"GE": [81.99, 81.99, 64.0, 64.0]}, actions=[(DAYS[2], "GE", "split", 1.281)])
    hold(live, market, {"GE": 100}, {"GE": 81.99})
    commit(live, market, 1)
    settled = commit(live, market, 2)
    assert settled.positions.to_dict() == {"GE": 100}
    assert [(row.symbol, row.kind, row.cents) for row in settled.receivables] == [("GE", "spin_off", 179_853)]
    assert settled.marks[-1].equity_cents == 9_180_100 + 640_000 + 179_853
    theirs, cash = {"GE": 100, "GEHC": 33}, 9_180_100 + 1_805
    said = agrees(live, theirs, cash)
    assert "GEHC: book 0, statement 33 shares" in said
    assert "outstanding receivables, included in neither: 1,798.53 USD: spin-off of GE 1,798.53" in said
    how = {"closed": day(2), "when": NOW, "accepted": ("Ann", "GE HealthCare"), "prices": {"GEHC": 54.13}}
    book_commands.reconcile(live, pd.Series(theirs), cash, **how)
    wide = make_market({"GE": [81.99, 81.99, 64.0, 64.0], "GEHC": [np.nan, np.nan, 54.13, 54.13]})
    after = commit(live, wide, 3)
    assert (after.positions.to_dict(), after.receivables) == ({"GE": 100, "GEHC": 33}, ())
    assert after.marks[-1].adjustments_cents == 33 * 5_413 + 1_805 - 179_853
    audit_book(live)


def test_a_ratio_that_nobody_can_tell_stops_who_holds_it_until_somebody_says(path):
    market = make_market(
        {"A": [100, 100, 95.24], "B": [1, 1, 1]},
        actions=[(DAYS[2], "A", "split", 1.05), (DAYS[2], "B", "split", 1.03)],
    )
    commit(path, market, 0, make_trades(A=40))
    commit(path, market, 1)
    state = read_book(path)
    with pytest.raises(DataError, match=rf"A on {day(2)} has a split ratio of 1.05, .*actions=.A {day(2)}: split"):
        settle(state, market, FREE, DAYS[2])
    stock = settle(state, market, FREE, DAYS[2], Account(actions={f"A {day(2)}": "split"}))
    assert stock.positions.to_dict() == {"A": 42}  # 40 × 1.05
    spun = settle(state, market, FREE, DAYS[2], Account(actions={f"A {day(2)}": "spin_off"}))
    assert (spun.positions.to_dict(), spun.receivables[0].cents) == ({"A": 40}, 400_000 - 380_952)


def test_the_75_odd_ratios_of_14_years_go_through_a_book(tmp_path, shared_data):
    """65 as spin-offs, whose value is what left the price; 10 stop by name. None changes the value of the book."""
    bars = pd.read_parquet(shared_data / "sp500_2010_2023" / "ohlcv.parquet", columns=["symbol", "split_ratio"])
    ratios = bars[~bars["split_ratio"].isin([0, 1]) & bars["split_ratio"].notna()]
    outcomes = {"split": 0, "spin_off": 0, "unclear": 0}
    open_book(tmp_path / "b.db", cash=1_000_000)
    flat = make_market({"A": [100, 100]})
    commit(tmp_path / "b.db", flat, 0, make_trades(A=700))
    commit(tmp_path / "b.db", flat, 1)
    state = read_book(tmp_path / "b.db")
    for ratio in ratios["split_ratio"].astype(float):
        market = make_market({"A": [100, 100, 100 / ratio]}, actions=[(DAYS[2], "A", "split", ratio)])
        try:
            settled = settle(state, market, FREE, DAYS[2])
        except DataError:
            outcomes["unclear"] += 1
            continue
        kind = settled.actions[0].kind
        outcomes[kind] += 1
        assert settled.equity == pytest.approx(1_000_000, abs=0.011)
        assert kind == "split" or settled.positions["A"] == 700
    assert outcomes == {"split": 130, "spin_off": 65, "unclear": 10}


# ---- dividends on their way ----


def test_w04_a_dividend_is_owed_from_its_ex_date_and_cash_when_a_statement_shows_it(live):
    """86.80 USD on the way: the book has 1,103.76 in cash as the broker does, and is worth 86.80 more."""
    market = make_market({"A": [10, 10, 10, 10]}, actions=[(DAYS[2], "A", "dividend", 0.0868)])
    hold(live, market, {"A": 1000}, {"A": 10})
    commit(live, market, 1)
    settled = commit(live, market, 2)
    assert (settled.cash_cents, settled.receivables[0].cents, settled.receivables[0].due) == (
        9_000_000,
        8_680,
        OPEN_END,
    )
    assert settled.marks[-1].dividends_cents == 8_680
    assert agrees(live, {"A": 1000}, 9_000_000) == ""
    assert agrees(live, {"A": 1000}, 9_008_680) == ""
    assert agrees(live, {"A": 1000}, 9_008_680) == ""  # repeated
    paid = commit(live, market, 3)
    assert (paid.cash_cents, paid.receivables) == (9_008_680, ())
    assert paid.marks[-1].equity_cents == settled.marks[-1].equity_cents
    audit_book(live)


def test_the_tax_that_the_broker_keeps_is_no_income(live):
    market = make_market({"A": [10, 10, 10]}, actions=[(DAYS[2], "A", "dividend", 1.0)])
    hold(live, market, {"A": 1000}, {"A": 10})
    commit(live, market, 1)
    settled = settle(read_book(live), market, FREE, DAYS[2], Account(withholding=0.3))
    assert (settled.receivables[0].cents, settled.marks[-1].dividends_cents) == (70_000, 70_000)


def test_a_batch_that_waits_outlives_a_dividend_that_was_paid(live):
    market = make_market({"A": [10, 10, 10]}, actions=[(DAYS[2], "A", "dividend", 1.0)])
    hold(live, market, {"A": 1000}, {"A": 10})
    commit(live, market, 1)
    commit(live, market, 2, make_trades(A=-10))
    assert agrees(live, {"A": 1000}, 9_000_000 + 100_000) == ""
    assert book_commands.read_batch(live, day(2)).moved == ""


def owed(*cents: int) -> list[Receivable]:
    return [Receivable(symbol=f"S{n}", kind="dividend", due=OPEN_END, cents=c) for n, c in enumerate(cents)]


@pytest.mark.parametrize(
    ("cents", "more", "paid"),
    [
        ([100, 250, 400], 350, [0, 1]),  # the oldest ones
        ([100, 250, 400], 650, [1, 2]),  # some later ones
        ([100, 250, 400], 751, [0, 1, 2]),  # the broker rounds each by itself
        ([100, 250, 400], 754, []),
        ([100, 250, 400], 0, []),
        ([250, 250, 400], 250, [0]),  # which of two: the older
        ([100, 250, 400], -100, []),
    ],
)
def test_what_was_paid_is_read_from_the_cash(cents, more, paid):
    rows = owed(*cents)
    assert list(paid_by(rows, more)) == [rows[n] for n in paid]


def test_two_hundred_dividends_are_matched_at_once():
    """Eighty of fifty names wait at any time; the oldest seventy were paid."""
    rows = owed(*(1_000 + 37 * n for n in range(200)))
    assert paid_by(rows, sum(row.cents for row in rows[:70])) == tuple(rows[:70])


# ---- cash below zero ----


def test_w04_a_debit_is_marked_judged_and_repaid_and_a_deposit_that_does_not_cover_it_is_taken(live):
    """90 shares at 10 for 1,000: cash −1,077.89 after the broker's fee, equity = positions + cash."""
    market = make_market({"A": [10, 10, 10]})
    hold(live, market, {"A": 9_900}, {"A": 10})
    book_commands.record_cash(live, flow="fee", cents=207_789, who="Ann", reason="margin interest", when=NOW)
    settled = commit(live, market, 1)
    assert (settled.cash_cents, settled.marks[-1].equity_cents) == (-107_789, 9_900_000 - 107_789)
    left = book_commands.record_cash(live, flow="deposit", cents=100_000, who="Ann", reason="top-up", when=NOW)
    assert left == -7_789
    with pytest.raises(BookError, match=r"would leave -77\.90 USD in cash; sell positions first"):
        book_commands.record_cash(live, flow="withdrawal", cents=1, who="Ann", reason="x", when=NOW)


def test_a_paper_book_pays_interest_on_a_debit_by_the_day(path):
    """−1,000.00 from Friday to Monday at 6%: 1000 × 0.06 × 3 / 360 = 0.50 USD."""
    market = make_market({"A": [10] * 6})
    commit(path, market, 3)
    book_commands.record_cash(path, flow="fee", cents=1_100_000, who="Ann", reason="a fine", when=NOW)
    commit(path, market, 4)  # Friday, 7 March 2025
    settled = settle(read_book(path), market, FREE, DAYS[5], Account(debit_rate=0.06))
    assert (settled.cash_cents, settled.marks[-1].other_cents) == (-100_050, -50)
    assert [(a.kind, a.symbol, a.cash_cents) for a in settled.actions] == [("interest", "CASH", -50)]
    assert settle(read_book(path), market, FREE, DAYS[5]).cash_cents == -100_000


# ---- a source that rewrites its past ----


@pytest.mark.parametrize(("factor", "name"), [(0.5, "2:1"), (10.0, "1:10"), (0.75, "a special dividend of a quarter")])
def test_w01_a_source_that_rewrites_the_close_of_a_held_name_stops_with_the_factor_and_the_way_out(path, factor, name):
    """Before: 100 shares at 40.00 became worth 2,000, 40,000 or 3,000 USD over night."""
    before, after = make_market({"A": [40, 40]}), make_market({"A": [40 * factor] * 3})
    commit(path, before, 0, make_trades(A=100))
    commit(path, before, 1)
    with pytest.raises(
        DataError, match=rf"held name A was marked at 40.0000 on {day(1)}, but the source now has .* {factor:g} "
    ):
        settle(read_book(path), after, FREE, DAYS[2])
    looked_at = Account(actions={f"A {day(1)}": "correction"})
    assert settle(read_book(path), after, FREE, DAYS[2], looked_at).equity == 6_000 + 4_000 * factor


def test_a_small_correction_of_a_close_is_taken(path):
    commit(path, make_market({"A": [40, 40]}), 0, make_trades(A=100))
    commit(path, make_market({"A": [40, 40]}), 1)
    assert settle(read_book(path), make_market({"A": [40, 40.5, 41]}), FREE, DAYS[2]).equity == 10_100


# ---- what no order explains ----


def test_a_fill_that_no_order_explains_is_booked_by_name_once(live):
    """10 ordered and approved for session 1. The broker filled 6 then, 3 a day late, 6 more (2 too many), and 5 of a
    name that nobody ordered: 15 A at 10 and 5 B at 20 cost 250.00, and 1.00 of commission each time."""
    market = make_market({"A": [10, 10, 10, 10], "B": [20, 20, 20, 20]})
    commit(live, market, 0, make_trades(A=10))
    batch = book_commands.read_batch(live, day(0))
    book_commands.approve(live, day(0), digest=batch.digest, about=ABOUT, who="Ann", when=NOW, how="terminal")
    order = f"{day(0)}-A"
    table = pd.DataFrame(
        [
            ("f1", order, 6, 10.0, 100, day(1), "A"),
            ("f2", order, 3, 10.0, 100, day(2), "A"),
            ("f3", order, 6, 10.0, 100, day(1), "A"),
            ("f4", "phone", 5, 20.0, 100, day(1), "B"),
        ],
        columns=["fill_id", "order_id", "shares", "price", "commission_cents", "date", "symbol"],
    )
    said = {"when": NOW, "source": "0" * 64}
    before = live.read_bytes()
    with pytest.raises(BookError, match=f"fill f2 is dated {day(2)}"):
        book_commands.record_fills(live, day(0), table, **said)
    assert live.read_bytes() == before
    assert book_commands.record_fills(live, day(0), table, accepted=("Ann", "the broker was late"), **said) == 4
    after = live.read_bytes()
    assert book_commands.record_fills(live, day(0), table, accepted=("Ann", "the broker was late"), **said) == 0
    assert live.read_bytes() == after
    again = table.iloc[[0]].assign(date=day(2))  # f1 is recorded: on another day it is not another fill
    with pytest.raises(BookError, match=f"fill f1 is dated {day(2)}"):
        book_commands.record_fills(live, day(0), again, accepted=("Ann", "twice"), **said)
    assert live.read_bytes() == after
    state = read_book(live)
    assert state.positions_now.to_dict() == {"A": 15, "B": 5}
    assert state.cash_now_cents == 10_000_000 - 15 * 1_000 - 5 * 2_000 - 400
    assert agrees(live, {"A": 15, "B": 5}, state.cash_now_cents, 1) == ""
    settled = commit(live, market, 1)
    assert settled.positions.to_dict() == {"A": 15, "B": 5}
    assert settled.marks[-1].equity_cents == 10_000_000 - 400
    audit_book(live)


def test_a_dividend_on_shares_that_were_sold_short_is_owed_by_the_book_in_full(live):
    """The lender of 100 shares gets what the company pays, 100.00 USD, whatever tax the account has."""
    market = make_market({"A": [10, 10, 10]}, actions=[(DAYS[2], "A", "dividend", 1.0)])
    hold(live, market, {"A": -100}, {"A": 10})
    commit(live, market, 1)
    settled = settle(read_book(live), market, FREE, DAYS[2], Account(withholding=0.3))
    assert [(row.kind, row.cents) for row in settled.receivables] == [("dividend", -10_000)]
