"""Lots: first in, first out, and no cent of cost is ever lost."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbook.common.errors import DataError
from openbook.ledger import book_commands
from openbook.ledger.book import audit_book, open_book, read_book, views
from openbook.ledger.facts import Action, Adjustment, Fill, Lot
from openbook.ledger.lots import carry, cost_of, share_out
from openbook.portfolio.costs import Costs
from support.books import ABOUT, DAYS, commit, day, make_market, make_trades, random_market


def bought(n: int, shares: int, cents: int, costs: int = 0) -> Fill:
    """A fill of session n for so many cents in all, and costs beside them."""
    return Fill(
        fill_id=f"{n}-{shares}",
        date=day(n),
        order_id="o",
        symbol="A",
        shares=shares,
        price=1.0,
        notional_cents=cents,
        commission_cents=costs,
        slippage_cents=0,
    )


def acted(n: int, kind: str, value: float, before: int, after: int, cents: int = 0) -> Action:
    shares = {"shares_before": before, "shares_after": after}
    return Action(date=day(n), symbol="A", kind=kind, value=value, cash_cents=cents, **shares)


def carried(*, fills=(), actions=(), adjustments=(), before=()):
    days = [day(n) for n in range(10)]
    rows = {"fills": fills, "actions": actions, "adjustments": adjustments}
    lots, closed = carry({"A": tuple(before)}, days=days, share_units=1, **rows)
    return lots["A"], closed


def plain(lots) -> list[tuple]:
    return [(lot.opened, lot.shares, lot.cost_cents) for lot in lots]


def test_a_sale_closes_the_oldest_lots_and_of_the_last_its_part():
    """10 for 100.00 + 0.35, 10 for 121.00; 15 sold for 180.00 − 1.00: the first lot and half of the second."""
    fills = [bought(1, 10, 10_000, 35), bought(2, 10, 12_100), bought(3, -15, 18_000, 100)]
    lots, closed = carried(fills=fills)
    assert plain(lots) == [(day(2), 5, 6_050)]
    assert [(row.opened, row.shares, row.cost_cents, row.proceeds_cents) for row in closed] == [
        (day(1), 10, 10_035, 11_933),
        (day(2), 5, 6_050, 5_967),
    ]
    assert {(row.date, row.kind) for row in closed} == {(day(3), "sale")}


def test_a_split_scales_the_shares_and_leaves_the_cost():
    lots, closed = carried(fills=[bought(1, 10, 1_000), bought(2, 5, 700)], actions=[acted(3, "split", 3, 15, 45)])
    assert plain(lots) == [(day(1), 30, 1_000), (day(2), 15, 700)]
    assert closed == ()


def test_a_fraction_paid_in_cash_takes_its_part_of_the_cost_out():
    """1:8 of 30 shares that cost 334.00: 3.75, of which 0.75 became 66.66 in cash, at a cost of 66.80."""
    actions = [acted(3, "split", 0.125, 30, 3), acted(3, "cash_in_lieu", 0.75, 3, 3, 6_666)]
    lots, closed = carried(fills=[bought(1, 30, 33_400)], actions=actions)
    assert plain(lots) == [(day(1), 3, 26_720)]
    assert [(row.kind, row.shares, row.cost_cents, row.proceeds_cents) for row in closed] == [
        ("cash_in_lieu", 0, 6_680, 6_666)
    ]


def test_a_lot_that_a_reverse_split_leaves_without_a_share_gives_its_cost_to_the_next():
    fills = [bought(1, 1, 100), bought(2, 29, 2_900)]
    lots, _ = carried(fills=fills, actions=[acted(3, "split", 0.1, 30, 3)])
    assert plain(lots) == [(day(2), 3, 3_000)]


def test_a_delisting_closes_everything():
    lots, closed = carried(
        fills=[bought(1, 3, 300), bought(2, 1, 90)], actions=[acted(4, "delisting", -0.5, 4, 0, 203)]
    )
    assert lots == ()
    assert [(row.cost_cents, row.proceeds_cents) for row in closed] == [(300, 152), (90, 51)]


def test_shares_that_were_found_are_a_lot_at_their_price_and_lost_ones_have_no_proceeds():
    adjustments = [Adjustment(symbol="A", shares=4, price=2.5), Adjustment(symbol="A", shares=-3, price=9.0)]
    lots, closed = carried(adjustments=adjustments, before=[Lot(security="A", opened=day(0), shares=1, cost_cents=70)])
    assert plain(lots) == [(day(0), 2, 500)]
    assert [(row.kind, row.shares, row.cost_cents, row.proceeds_cents) for row in closed] == [
        ("adjustment", 1, 70, 0),
        ("adjustment", 2, 500, 0),
    ]


def test_a_sale_beyond_what_is_held_opens_a_lot_below_zero_that_a_purchase_closes():
    """5 bought for 50.00; 8 sold for 88.00, of which 33.00 for the 3 that were not there; bought back for 30.00."""
    lots, closed = carried(fills=[bought(1, 5, 5_000), bought(2, -8, 8_800)])
    assert plain(lots) == [(day(2), -3, -3_300)]
    lots, closed = carried(fills=[bought(1, 5, 5_000), bought(2, -8, 8_800), bought(3, 3, 3_000)])
    assert lots == ()
    assert [row.proceeds_cents - row.cost_cents for row in closed] == [500, 300]


@given(total=st.integers(-(10**9), 10**9), weights=st.lists(st.integers(0, 10**6), min_size=1).filter(any))
def test_what_is_shared_out_is_shared_out_to_the_last(total, weights):
    parts = share_out(total, weights)
    assert sum(parts) == total
    exact = [total * weight / sum(weights) for weight in weights]
    assert all(abs(part - value) < 1 + 1e-6 for part, value in zip(parts, exact, strict=True))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share_units", [1, 1000])
def test_of_all_that_was_ever_paid_every_cent_is_open_or_closed(tmp_path, seed, share_units):
    """Random evenings, splits, delistings and gaps; shares are whole, or thousandths."""
    rng, market, path = np.random.default_rng(seed), random_market(seed), tmp_path / "book.db"
    costs, paid, ended, cash = Costs(min_commission=0.35), 0, 0, 0
    open_book(path, cash=60_000, share_units=share_units)
    for n in range(len(market.dates)):
        held = read_book(path).positions
        some = {symbol: -held[symbol] for symbol in held.index if rng.random() < 0.2}
        some |= {
            symbol: rng.integers(1, 9 * share_units) / share_units for symbol in market.symbols if rng.random() < 0.4
        }
        try:
            settled = commit(path, market, n, make_trades(**some), costs=costs)
        except DataError:
            continue  # a held name has a gap that evening
        buys = [fill for fill in settled.fill_rows if fill.shares > 0]
        paid += sum(fill.notional_cents + fill.commission_cents + fill.slippage_cents for fill in buys)
        ended += sum(row.cost_cents for row in settled.closed)
        got = sum(row.proceeds_cents for row in settled.closed)
        cash += got - sum(action.cash_cents for action in settled.actions if action.kind != "dividend")
        cash -= sum(f.notional_cents - f.commission_cents - f.slippage_cents for f in settled.fill_rows if f.shares < 0)
        lots = read_book(path).lots
        assert paid == ended + sum(map(cost_of, lots.values()))
        assert cash == 0  # and what was got for what ended is exactly what came in
        assert {row.security: (row.shares, row.cost_cents) for row in settled.holdings} == {
            key: (sum(lot.shares for lot in rows), cost_of(rows)) for key, rows in lots.items()
        }
        gain = settled.realized["gain"].sum() * 100
        assert round(gain) == got - sum(row.cost_cents for row in settled.closed)
    assert ended > 0
    view = views(path)["current_positions"].set_index("symbol")["cost_basis"]
    assert view.drop("CASH").sum() == pytest.approx((paid - ended) / 100)
    audit_book(path)


def test_a_fraction_of_a_share_is_worth_its_part(tmp_path):
    """12.5 A at 80.00, then 3:2: 18.75 A at 54.00; 10.25 of them sold at 55.00. By hand, without costs."""
    market = make_market({"A": [80, 80, 54, 55]}, actions=[(DAYS[2], "A", "split", 1.5)])
    open_book(tmp_path / "b.db", cash=2_000, share_units=4)
    free = Costs(commission_bps=0, slippage_bps=0)
    commit(tmp_path / "b.db", market, 0, make_trades(A=12.5), costs=free)
    assert commit(tmp_path / "b.db", market, 1, costs=free).cash == 2_000 - 1_000
    split = commit(tmp_path / "b.db", market, 2, make_trades(A=-10.25), costs=free)
    assert split.positions.to_dict() == {"A": 18.75}
    assert split.equity == 1_000 + 18.75 * 54
    sold = commit(tmp_path / "b.db", market, 3, costs=free)
    assert (sold.positions.to_dict(), sold.cash) == ({"A": 8.5}, 1_000 + 10.25 * 55)
    assert sold.realized[["shares", "cost", "proceeds"]].to_numpy().tolist() == [[10.25, 546.66, 563.75]]
    assert read_book(tmp_path / "b.db").pending.empty
    view = views(tmp_path / "b.db")["current_positions"]
    assert view[["symbol", "shares", "value", "cost_basis"]].to_numpy()[0].tolist() == ["A", 8.5, 467.5, 453.34]
    assert views(tmp_path / "b.db")["trade_history"]["filled_shares"].tolist() == [12.5, -10.25]


def test_the_fraction_below_a_unit_is_paid_in_cash(tmp_path):
    """1:8 of 30.002 shares, in thousandths: 3.75025, so 3.750 are kept and 0.00025 × 88.00 = 0.02 paid."""
    market = make_market({"A": [11, 11, 88]}, actions=[(DAYS[2], "A", "split", 0.125)])
    open_book(tmp_path / "b.db", cash=1_000, share_units=1000)
    commit(tmp_path / "b.db", market, 0, make_trades(A=30.002))
    before = commit(tmp_path / "b.db", market, 1)
    after = commit(tmp_path / "b.db", market, 2)
    assert after.positions.to_dict() == {"A": 3.75}
    assert [(row.kind, row.cash_cents) for row in after.actions] == [("split", 0), ("cash_in_lieu", 2)]
    assert after.equity == before.equity


def test_a_late_sale_of_what_was_booked_since_ends_on_the_day_of_the_booking():
    """Sold in session 1, said so only after a correction of session 2 had brought the shares: held for no time."""
    days = [day(n) for n in range(2, 5)]
    found = Adjustment(symbol="A", security="A", shares=5, price=10.0, cents=0)
    late = bought(1, -5, 6_000)
    lots, closed = carry({}, days=days, share_units=1, adjustments=[found], actions=[], fills=[late])
    assert lots["A"] == ()
    assert [(row.opened, row.date, row.cost_cents, row.proceeds_cents) for row in closed] == [
        (day(2), day(2), 5_000, 6_000)
    ]


def test_a_book_goes_on_after_a_late_sale_of_what_was_booked_since(tmp_path):
    """An approved sale that a statement did not show, shares that a person booked, and then the fill after all."""
    path, market = tmp_path / "book.db", make_market({"A": [10.0] * 6})
    open_book(path, cash=1_000, kind="live")
    commit(path, market, 0, make_trades(A=-5), manual=True)
    batch, now = book_commands.read_batch(path, day(0)), "2025-03-04 21:00:00 UTC"
    book_commands.approve(path, day(0), digest=batch.digest, about=ABOUT, who="Ann", when=now, how="terminal")
    book_commands.reconcile(path, pd.Series(dtype=float), 100_000, closed=day(1), when=now)
    commit(path, market, 1)
    book_commands.adjust(path, who="Ann", reason="found", when=now, shares={"A": 5}, prices={"A": 10.0})
    fill = {"fill_id": "f", "order_id": batch.orders["order_id"][0], "shares": -5, "price": 12.0}
    table = pd.DataFrame([{**fill, "commission_cents": 0, "date": day(1)}])
    assert book_commands.record_fills(path, day(0), table, when=now, source="0" * 64) == 1
    commit(path, market, 2)
    audit_book(path)
    book = read_book(path)
    assert (book.positions.empty, book.cash_cents) == (True, 106_000)
