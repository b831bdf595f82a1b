"""A fill that is taken back: the book goes on as if it had never been recorded."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from openbook.common.errors import BookError, ConflictError
from openbook.ledger import book_commands, database, event_chain
from openbook.ledger.account import Account
from openbook.ledger.book import audit_book, commit_session, open_book, read_book, settle, views
from openbook.ledger.queries import lots_now
from openbook.ledger.reversals import reverse_fill
from openbook.market.tables import Market
from support.books import ABOUT, CALM, DAYS, FREE, day, make_market, make_trades, random_market

NOW = "2025-03-03 21:00:00 UTC"
SAID = {"who": "Ann", "reason": "typo", "when": NOW}
COLUMNS = ["fill_id", "order_id", "shares", "price", "commission_cents", "date"]
STOCKS = make_market({"A": [100, 102, 104, 101, 99, 103], "B": [50, 51, 52, 50, 49, 51]})


def evening(path, market, n: int, orders: dict | None = None) -> None:
    """Settle session n of a live book and commit it with some orders."""
    settled = settle(read_book(path, before=DAYS[n]), market, FREE, DAYS[n]).to_json()
    how = {"switch": CALM, "manual": True, "about": ABOUT, "inputs_hash": "in"}
    commit_session(path, session=DAYS[n], settlement=settled, trades=make_trades(**(orders or {})), **how)


def approve(path, n: int) -> None:
    digest = book_commands.read_batch(path, day(n)).digest
    book_commands.approve(path, day(n), digest=digest, about=ABOUT, who="Ann", when=NOW, how="terminal")


def record(path, n: int, *rows: tuple, accepted=("", "")) -> int:
    """Fills (id, symbol, shares, price) of the batch of session n, at a commission of 1 USD."""
    table = [(key, f"{day(n)}-{symbol}", shares, price, 100, day(n + 1)) for key, symbol, shares, price in rows]
    file = pd.DataFrame(table, columns=COLUMNS)
    return book_commands.record_fills(path, day(n), file, when=NOW, source="0" * 64, accepted=accepted)


def agree(path, n: int) -> None:
    """A statement that agrees, after session n."""
    state = read_book(path)
    book_commands.reconcile(path, state.positions_now, state.cash_now_cents, closed=day(n), when=NOW)


def statuses(path) -> dict[str, str]:
    return views(path)["trade_history"].set_index("order_id")["status"].to_dict()


def holdings(path) -> dict:
    """What a person sees of a book today, and what the next settlement begins with."""
    state = read_book(path)
    return {
        "cash": state.cash_now_cents,
        "shares": state.units_now,
        "owed": sorted((row.security, row.kind, row.cents) for row in state.receivables_now),
        "lots": {key: lots for key, lots in lots_now(state).items() if lots},
        "open": state.pending.drop(columns="reason").to_dict("records"),
        "basis": views(path)["current_positions"][["symbol", "shares", "cost_basis"]].to_csv(),
        "fills": state.fills.to_dict("records"),
    }


@pytest.fixture
def live(tmp_path):
    """A live book after its first session, with approved orders of 100 A and 40 B."""
    path = tmp_path / "live.db"
    open_book(path, cash=100_000, kind="live")
    evening(path, STOCKS, 0, {"A": 100, "B": 40})
    approve(path, 0)
    return path


def test_a_fill_that_is_not_settled_yet_is_gone_at_once(live):
    before = holdings(live)
    record(live, 0, ("f1", "A", 100, 10_000.0))
    assert statuses(live)[f"{day(0)}-A"] == "FILLED"
    assert reverse_fill(live, "f1", **SAID) == "fill f1, +100 A, is reversed"
    assert holdings(live) == before
    assert statuses(live)[f"{day(0)}-A"] == "APPROVED"
    record(live, 0, ("f2", "A", 100, 100.0), ("f3", "B", 40, 50.0))
    agree(live, 1)
    evening(live, STOCKS, 1)
    state = read_book(live)
    assert (state.units, state.cash_cents) == ({"A": 100, "B": 40}, 10_000_000 - 1_000_000 - 200_000 - 200)
    assert state.fills["fill_id"].tolist() == ["f2", "f3"]
    audit_book(live)


def test_a_fill_of_a_settled_session_is_adjusted_by_name(live):
    record(live, 0, ("f1", "A", 100, 1_000.0), ("f2", "B", 40, 50.0))
    agree(live, 1)
    evening(live, STOCKS, 1)
    history = views(live)["performance_history"]
    said = reverse_fill(live, "f1", **SAID)
    assert "sessions were settled with it, so shares, cash and lots are adjusted" in said
    state = read_book(live)
    assert (state.units_now, state.cash_now_cents) == ({"B": 40}, 10_000_000 - 200_100)
    pd.testing.assert_frame_equal(views(live)["performance_history"], history)
    assert statuses(live) == {f"{day(0)}-A": "EXPIRED", f"{day(0)}-B": "RECONCILED"}
    evening(live, STOCKS, 2)
    after = read_book(live)
    assert after.units == {"B": 40}
    assert list(after.lots) == ["B"]
    assert after.equity_cents == 10_000_000 - 200_100 + 40 * 5_200
    record(live, 0, ("f3", "A", 100, 100.0))  # the right one, late
    assert read_book(live).units_now == {"A": 100, "B": 40}
    audit_book(live)


def test_the_same_reversal_again_changes_nothing_and_another_is_refused(live):
    record(live, 0, ("f1", "A", 100, 1_000.0))
    said = reverse_fill(live, "f1", **SAID)
    before = live.read_bytes()
    assert reverse_fill(live, "f1", **SAID) == said
    with pytest.raises(BookError, match="already reversed by Ann"):
        reverse_fill(live, "f1", who="Bob", reason="typo", when=NOW)
    with pytest.raises(BookError, match="no fill f9 was recorded"):
        reverse_fill(live, "f9", **SAID)
    assert record(live, 0, ("f1", "A", 100, 1_000.0)) == 0  # the same file again
    with pytest.raises(BookError, match="and was reversed; use a new fill_id"):
        record(live, 0, ("f1", "A", 100, 100.0))
    assert live.read_bytes() == before


def test_a_paper_book_refuses_it(tmp_path):
    path = tmp_path / "paper.db"
    open_book(path, cash=100_000)
    evening(path, STOCKS, 0, {"A": 100})
    with pytest.raises(BookError, match="its fills are simulated and cannot be reversed"):
        reverse_fill(path, f"{day(0)}-A#1", **SAID)


@pytest.mark.parametrize("settled", [False, True])
def test_a_fill_that_was_booked_by_name_is_taken_back_too(live, settled):
    record(live, 0, ("f1", "A", 100, 100.0), ("f2", "B", 40, 50.0))
    agree(live, 1)
    evening(live, STOCKS, 1)
    before = holdings(live)
    record(live, 0, ("odd", "A", 7, 1_000.0), accepted=("Bob", "by telephone"))
    if settled:
        before = None
        evening(live, STOCKS, 2)
    reverse_fill(live, "odd", **SAID)
    state = read_book(live)
    assert (state.units_now, state.cash_now_cents) == ({"A": 100, "B": 40}, 10_000_000 - 1_000_000 - 200_000 - 200)
    assert before is None or holdings(live) == before
    evening(live, STOCKS, 3)
    assert [lot.cost_cents for lot in read_book(live).lots["A"]] == [1_000_100]
    with pytest.raises(BookError, match="USD, and was reversed; use a new fill_id"):
        record(live, 0, ("odd", "A", 7, 100.0), accepted=("Bob", "by telephone"))


def test_a_halt_in_between_voids_the_order_as_it_would_have(live):
    record(live, 0, ("f1", "A", 100, 1_000.0))
    book_commands.halt(live, **SAID)
    reverse_fill(live, "f1", **SAID)
    assert statuses(live) == {f"{day(0)}-A": "VOID", f"{day(0)}-B": "VOID"}
    record(live, 0, ("f2", "A", 60, 100.0), ("f3", "A", 40, 100.0))
    reverse_fill(live, "f2", **SAID)
    assert statuses(live)[f"{day(0)}-A"] == "PARTIALLY_FILLED"
    reverse_fill(live, "f3", **SAID)
    assert statuses(live)[f"{day(0)}-A"] == "VOID"
    audit_book(live)


def test_a_settlement_from_before_a_reversal_is_not_committed(live):
    record(live, 0, ("f1", "A", 100, 100.0), ("f2", "B", 40, 50.0))
    agree(live, 1)
    settled = settle(read_book(live), STOCKS, FREE, DAYS[1]).to_json()
    reverse_fill(live, "f1", **SAID)
    with pytest.raises(ConflictError, match="the book changed since"):
        commit_session(live, session=DAYS[1], settlement=settled, trades=make_trades(), inputs_hash="in", switch=CALM)


def test_a_book_that_is_older_than_reversals_takes_one(live):
    """Its file lists the transitions of its time."""
    with database.write(live) as db:
        db.execute("DROP TRIGGER transitions_DELETE")
        db.execute("DELETE FROM transitions WHERE before = 'FILLED' AND after <> 'RECONCILED'")
    record(live, 0, ("f1", "A", 100, 1_000.0))
    reverse_fill(live, "f1", **SAID)
    assert statuses(live)[f"{day(0)}-A"] == "APPROVED"


def test_an_event_of_a_newer_openbook_is_named(live):
    with database.write(live) as db:
        event_chain.append(db, {"kind": "dreamt", "session": day(0)})
    with pytest.raises(BookError, match="has an event 'dreamt' of a newer openbook; update openbook"):
        read_book(live)


# ---- the law: a fill and its reversal are nothing ----


ACCOUNT = Account(max_locked=60, max_locked_value=1.0)
N = 10


@dataclass(frozen=True)
class Story:
    """Orders and fills of every session, the same for all books; `wrong` is one of the fills, (session, number)."""

    market: Market
    orders: list[dict[str, int]]
    fills: list[list[tuple]]
    wrong: tuple[int, int]

    def tell(self, path, *, taken: bool, back: int = -1, units: int = 1) -> tuple[list[dict], str]:
        """What a book holds after every session, with the wrong fill, which is reversed after session `back`, or
        without it; and what the reversal said."""
        found, said = [], ""
        open_book(path, cash=20_000_000, kind="live", share_units=units)
        for n in range(N):
            settled = settle(read_book(path, before=DAYS[n]), self.market, FREE, DAYS[n], ACCOUNT).to_json()
            how = {"switch": CALM, "manual": True, "about": ABOUT, "inputs_hash": "in"}
            trades = make_trades(**self.orders[n])
            commit_session(path, session=DAYS[n], settlement=settled, trades=trades, **how)
            approve(path, n) if self.orders[n] else None
            if taken and back == n > self.wrong[0]:
                said = reverse_fill(path, self.fills[self.wrong[0]][self.wrong[1]][0], **SAID)
            kept = [row for k, row in enumerate(self.fills[n]) if taken or (n, k) != self.wrong]
            record(path, n, *kept) if kept else None
            if taken and back == n == self.wrong[0]:
                said = reverse_fill(path, self.fills[n][self.wrong[1]][0], **SAID)
            found.append(holdings(path) if n >= self.wrong[0] and (n == N - 1 or back <= n <= back + 1) else {})
            agree(path, n + 1)
        audit_book(path)
        return found, said


def random_story(seed: int) -> Story:
    """Buys, sells and short sales in names that split, pay and end."""
    market, rng = random_market(seed, n=N), np.random.default_rng(seed)
    orders = [{key: int(rng.integers(1, 90)) * (1 if rng.random() < 0.6 else -1) for key in market.symbols
               if rng.random() < 0.5 and market.close[key].iloc[n:].notna().sum() > 2} for n in range(N)]  # fmt: skip
    fills = []
    for n, batch in enumerate(orders):
        rows = []
        for symbol, shares in batch.items():
            part = shares if rng.random() < 0.6 else int(shares * rng.random())
            for k, some in enumerate([part] if rng.random() < 0.6 else [part // 2, part - part // 2]):
                if some:
                    rows.append((f"{n}-{symbol}-{k}", symbol, some, round(float(rng.uniform(5, 300)), 2)))
        fills.append(rows)
    first = int(rng.integers(0, 4))
    while not fills[first]:
        first += 1
    return Story(market, orders, fills, (first, int(rng.integers(len(fills[first])))))


def require_nothing_happened(folder, seed: int) -> bool:
    """A wrong fill and its reversal are nothing, in the same session and in later ones; whether the book could know."""
    story, units = random_story(seed), 1 if seed % 2 else 1000
    back = story.wrong[0] + seed % 6
    without, _ = story.tell(folder / f"{seed} without.db", taken=False, back=back, units=units)
    found, said = story.tell(folder / f"{seed} with.db", taken=True, back=back, units=units)
    known = "are missing" not in said
    assert not known or found[back:] == without[back:], (seed, story.wrong, back)
    return known


@pytest.fixture
def folder():
    """In memory where there is a folder for it: what a disk does is tested elsewhere."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as name:
        yield Path(name)


def test_a_fill_and_its_reversal_are_nothing(folder):
    assert sum(require_nothing_happened(folder, seed) for seed in range(2)) == 2


@pytest.mark.long
def test_a_fill_and_its_reversal_are_nothing_in_three_hundred_books(folder):
    assert sum(require_nothing_happened(folder, seed) for seed in range(300)) >= 280
