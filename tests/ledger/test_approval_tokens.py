"""Tokens: every byte counts, each is for one purpose, and it says exactly which orders of which batch."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from openbook.common.errors import ApprovalError
from openbook.common.signatures import public_key
from openbook.ledger import approval_tokens
from openbook.ledger.approval_tokens import APPROVAL, RESET

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
SAID = {
    "batch": "ab" * 32,
    "session": "2025-03-03",
    "orders": "all",
    "who": "Zoë",
    "when": "2025-03-03 21:00:00 UTC",
    "expires": "2025-03-04T15:00:00+00:00",
}
TOKEN = approval_tokens.sign_approval(SAID, KEY)
DATA = approval_tokens.to_bytes(TOKEN)
SOME = approval_tokens.to_bytes(approval_tokens.sign_approval(SAID | {"orders": ["2025-03-03-A", "2025-03-03-B"]}, KEY))


def refused(data: bytes) -> str:
    with pytest.raises(ApprovalError) as error:
        approval_tokens.read(data)
    return str(error.value)


def test_a_token_says_what_was_signed_by_which_key():
    token = approval_tokens.read(DATA)
    assert token == TOKEN
    assert {name: token[name] for name in SAID} == SAID
    assert token["key"] == public_key(KEY)
    assert approval_tokens.sign_approval(SAID, KEY)["nonce"] != TOKEN["nonce"]


@pytest.mark.parametrize("data", [DATA, SOME])
def test_x06_no_byte_of_a_token_can_be_changed(data):
    assert approval_tokens.read(data)
    for n in range(len(data)):
        for bit in range(8):
            refused(data[:n] + bytes([data[n] ^ 1 << bit]) + data[n + 1 :])
        refused(data[:n] + data[n + 1 :])
        refused(data[:n] + b" " + data[n:])


@given(st.integers(0, len(DATA)), st.binary(min_size=1, max_size=4))
def test_x06_nothing_can_be_put_into_a_token(at, more):
    refused(DATA[:at] + more + DATA[at:])


def test_x06_another_spelling_of_the_same_token_is_none():
    for spelled in (json.dumps(TOKEN), json.dumps(TOKEN, indent=1), DATA.decode().strip(), f"\ufeff{DATA.decode()}"):
        refused(spelled.encode())
    refused(DATA.replace(b'{"batch"', b'{"batch":"","batch"', 1))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"approve, please",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"who":"\\ud800"}\n',
        b"{}\n",
        b"\xff",
        DATA + b" " * 1_000_000,
    ],
)
def test_what_is_no_token(data):
    assert "sign the batch again with openbook sign" in refused(data)


@pytest.mark.parametrize(
    "change",
    [
        {"who": 1},
        {"who": "Ann\x1b[2J"},
        {"who": "Ann\nBob"},
        {"who": "Ann\u200b"},
        {"orders": ["a\n"]},
        {"orders": "a"},
        {"orders": None},
        {"orders": {}},
        {"orders": []},
        {"orders": ["b", "a"]},
        {"orders": ["a", "a"]},
        {"orders": [1]},
        {"orders": "none"},
        {"more": "x"},
        {"who": None},
    ],
)
def test_a_key_signs_only_what_is_a_token(change):
    """Whoever signs other fields with a listed key has still signed no approval."""
    refused(approval_tokens.to_bytes(approval_tokens.sign_approval(SAID | change, KEY)))


def test_a_token_of_before_the_private_keys_is_refused():
    """Those had an HMAC with a key that both sides shared."""
    old = {name: SAID[name] for name in SAID if name != "orders"} | {"nonce": "00", "signature": "00" * 32}
    assert "not a valid approval token" in refused(approval_tokens.to_bytes(old))


def test_x06_the_name_the_key_and_the_signature_belong_together():
    for change in ({"who": "Bob"}, {"key": public_key(OTHER)}, {"signature": TOKEN["nonce"]}):
        refused(approval_tokens.to_bytes(TOKEN | change))
    theirs = approval_tokens.sign_approval({name: TOKEN[name] for name in SAID}, OTHER)
    refused(approval_tokens.to_bytes(TOKEN | {"signature": theirs["signature"]}))


def test_x06_a_signature_is_for_one_purpose(monkeypatch):
    reset = approval_tokens.sign_reset({"head": "0" * 64, "who": "Zoë", "reason": "drill", "when": "now"}, KEY)
    approval_tokens.require_signed(RESET, reset)
    with pytest.raises(ApprovalError):
        approval_tokens.require_signed(APPROVAL, reset)
    # Even with the same fields.
    monkeypatch.setitem(approval_tokens.FIELDS, RESET, approval_tokens.FIELDS[APPROVAL])
    with pytest.raises(ApprovalError, match="signature is not valid"):
        approval_tokens.require_signed(RESET, TOKEN)


COVERED = {"batch": SAID["batch"], "session": SAID["session"], "orders": frozenset({"A", "B"})}


def test_x06_a_token_is_for_one_batch_of_one_session():
    approval_tokens.require_covers(TOKEN, **COVERED)
    for change, why in (
        ({"batch": "cd" * 32}, "different batch"),
        ({"session": "2025-03-04"}, "approves 2025-03-03, not 2025-03-04"),
    ):
        with pytest.raises(ApprovalError, match=why):
            approval_tokens.require_covers(TOKEN, **COVERED | change)


@pytest.mark.parametrize(
    ("orders", "fits"), [(["A", "B"], True), (["A"], False), (["A", "B", "C"], False), (["C"], False)]
)
def test_x06_a_token_with_ids_is_for_all_of_them_and_no_other(orders, fits):
    token = approval_tokens.sign_approval(SAID | {"orders": orders}, KEY)
    if fits:
        approval_tokens.require_covers(token, **COVERED)
    else:
        with pytest.raises(ApprovalError, match="approves other orders"):
            approval_tokens.require_covers(token, **COVERED)
