"""What people approved and reset, read from the events, with what their signatures must cover."""

import lzma
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from openbook.common.errors import ApprovalError
from openbook.ledger import approval_tokens, book_commands, upgrade
from openbook.ledger.book import audit_book, open_book, read_book, settle
from openbook.ledger.signed_acts import read_acts, read_approving
from openbook.ledger.supersede import supersede_session
from support import programs
from support.books import ABOUT, CALM, FREE, commit, day, make_market, make_trades

MARKET = make_market({"A": [100, 101, 102, 103, 104, 105], "B": [50, 49, 48, 47, 46, 45]})
NOW = "2025-03-03 21:00:00 UTC"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
FORMAT2 = Path(__file__).parent / "format2"


@pytest.fixture
def book(tmp_path):
    """A live book that waits for approval of A +50, B +20."""
    open_book(tmp_path / "live.db", cash=10_000, kind="live")
    commit(tmp_path / "live.db", MARKET, 0, make_trades(A=50, B=20), manual=True)
    return tmp_path / "live.db"


def approve(path, n: int = 0, **changes) -> None:
    """An approval by Ann, signed."""
    batch = book_commands.read_batch(path, day(n))
    said = {"batch": batch.digest, "session": day(n), "orders": "all", "who": "Ann", "when": NOW, "expires": NOW}
    token = approval_tokens.sign_approval(said | changes, KEY)
    how = {"how": approval_tokens.nonces([token]), "signed": [token]}
    book_commands.approve(path, day(n), digest=batch.digest, about=ABOUT, who="Ann", when=NOW, **how)


def test_an_approval_is_read_with_the_batch_that_it_is_about(book):
    approve(book)
    (act,) = read_acts(book)
    assert (act.kind, act.day, act.typed, act.batch.session) == ("approved", day(0), False, day(0))
    assert act.batch.orders == {f"{day(0)}-A", f"{day(0)}-B"}
    assert act.batch.digest == book_commands.read_batch(book, day(0)).digest
    act.require_genuine()
    (found,) = read_approving(book, act.batch.orders)
    assert found.seq == act.seq
    assert read_approving(book, ["another"]) == []


@pytest.mark.parametrize(
    "change", [{"session": day(1)}, {"batch": "ab" * 32}, {"who": "Bob"}, {"orders": [f"{day(0)}-A"]}]
)
def test_x06_a_signature_of_something_else_is_not_genuine(book, change):
    approve(book, **change)
    with pytest.raises(ApprovalError):
        read_acts(book)[0].require_genuine()


def test_the_approvals_of_both_decisions_of_a_session_stand_for_their_own_orders(book):
    approve(book)
    settled = settle(read_book(book, before=day(0)), MARKET.upto(day(0)), FREE, day(0))
    again = {"version": 2, "inputs_hash": "two", "trades": make_trades(A=10), "manual": True, "about": ABOUT}
    supersede_session(book, session=day(0), settlement=settled.to_json(), switch=CALM, **again)
    approve(book)
    first, second = read_acts(book)
    for act in (first, second):
        act.require_genuine()
    assert (first.batch.orders, second.batch.orders) == ({f"{day(0)}-A", f"{day(0)}-B"}, {f"{day(0)}.2-A"})


def test_a_signature_is_added_to_an_approval_and_changes_no_order(book):
    batch = book_commands.read_batch(book, day(0))
    how = {"digest": batch.digest, "about": ABOUT, "when": NOW, "how": "terminal"}
    book_commands.approve(book, day(0), who="Ann", **how)
    with pytest.raises(ApprovalError, match="can no longer be approved"):
        book_commands.approve(book, day(0), who="Bob", **how)
    approve(book)
    typed, signed = read_approving(book, batch.orders["order_id"])
    assert (typed.typed, signed.typed, signed.body["orders"]) == (True, False, [])
    signed.require_genuine()
    audit_book(book)
    book_commands.reject(book, day(0), who="Bob", reason="no", when=NOW)
    with pytest.raises(ApprovalError, match="are REJECTED"):
        approve(book)


def test_a_reset_is_signed_for_one_place_in_the_book(book):
    book_commands.halt(book, who="Ann", reason="drill", when=NOW)
    said = {"who": "Ann", "reason": "over", "when": NOW}
    book_commands.reset(book, **said, sign=lambda head: approval_tokens.sign_reset({**said, "head": head}, KEY))
    read_acts(book)[0].require_genuine()
    book_commands.halt(book, who="Ann", reason="drill", when=NOW)
    wrong = approval_tokens.sign_reset({**said, "head": "ab" * 32}, KEY)
    book_commands.reset(book, **said, sign=lambda head: wrong)
    with pytest.raises(ApprovalError, match="what was signed is not what the event says"):
        read_acts(book)[1].require_genuine()


def test_a_book_on_a_server_keeps_signatures_too(server):
    programs.driver("postgresql", "psycopg")
    place = f"postgresql+psycopg://openbook@/postgres?host={server}&book=signed"
    open_book(place, cash=10_000, kind="live")
    commit(place, MARKET, 0, make_trades(A=50, B=20), manual=True)
    approve(place)
    (act,) = read_approving(place, book_commands.read_batch(place, day(0)).orders["order_id"])
    act.require_genuine()
    audit_book(place)


@pytest.mark.parametrize("file", sorted(FORMAT2.glob("*.db.xz")), ids=lambda file: file.name)
def test_a_book_from_before_signatures_is_read(tmp_path, file):
    place = tmp_path / file.name.removesuffix(".xz")
    place.write_bytes(lzma.decompress(file.read_bytes()))
    upgrade.upgrade_book(place, tmp_path / "kept.db", when=NOW)
    acts = read_acts(place)
    assert acts
    assert all(not act.tokens for act in acts)
    assert all(act.batch.digest == act.body["batch"] for act in acts if act.kind == "approved")
