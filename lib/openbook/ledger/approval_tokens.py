"""Approval tokens: a small signed text with which a person approves a batch, on this machine or another.

The text is one line of canonical JSON with the public key of the signer and an Ed25519 signature of all its fields. A
reset of the kill switch is signed in the same way. What is signed begins with its purpose, so that a signature for one
is none for the other. Whether the desk lists that key is another question: see `runs.approvers`.
"""

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from openbook.common import signatures
from openbook.common.errors import ApprovalError
from openbook.ledger.event_chain import canonical

APPROVAL, RESET = "openbook approval 2", "openbook reset 1"
FIELDS = {
    APPROVAL: {"batch", "session", "orders", "who", "when", "expires", "nonce", "key"},
    RESET: {"head", "who", "reason", "when", "key"},
}
ALL = "all"  # orders: those of the batch, whose hash names them
LARGEST = 1_000_000  # bytes; an id of an order has about 20
_AGAIN = "sign the batch again with openbook sign"


def sign_approval(said: Mapping[str, Any], key: Ed25519PrivateKey) -> dict[str, Any]:
    """A token: what is `said` (batch, session, orders, who, when, expires) with a nonce, signed.

    orders : "all", or the sorted ids of the orders that are approved
    """
    return _sign(APPROVAL, {**said, "nonce": secrets.token_hex(16)}, key)


def sign_reset(said: Mapping[str, str], key: Ed25519PrivateKey) -> dict[str, Any]:
    """What is `said` (head of the book, who, reason, when), signed."""
    return _sign(RESET, said, key)


def to_bytes(token: Mapping[str, Any]) -> bytes:
    """A token as it is written to a file."""
    return (canonical(dict(token)) + "\n").encode()


def read(data: bytes) -> dict[str, Any]:
    """The token in a file; ApprovalError (55) unless it is one, byte for byte, with a valid signature."""
    try:
        token = json.loads(data[: LARGEST + 1].decode("utf-8"))
        same = isinstance(token, dict) and len(data) <= LARGEST and to_bytes(token) == data
    except (ValueError, TypeError, RecursionError):
        same = False
    if not same:
        raise ApprovalError(f"not a valid approval token; {_AGAIN}")
    require_signed(APPROVAL, token)
    return token


def require_signed(purpose: str, token: Any) -> None:
    """ApprovalError (55) unless a token has all its fields and is signed, for this purpose, with the key in it."""
    if not (isinstance(token, dict) and set(token) == FIELDS[purpose] | {"signature"} and _plain(token)):
        raise ApprovalError(f"not a valid approval token; {_AGAIN}")
    body = {name: value for name, value in token.items() if name != "signature"}
    if not signatures.is_signed(_message(purpose, body), token["signature"], token["key"]):
        raise ApprovalError(f"the token's signature is not valid: the token was altered after it was signed; {_AGAIN}")


def require_covers(token: Mapping[str, Any], *, batch: str, session: str, orders: AbstractSet[str]) -> None:
    """ApprovalError (55) unless a token approves this batch of this session, with all these orders and no other."""
    if token["session"] != session:
        raise ApprovalError(f"the token approves {token['session']}, not {session}")
    if token["batch"] != batch:
        raise ApprovalError(
            f"the token approves a different batch ({token['batch'][-6:]}) than that of {session} ({batch[-6:]}); "
            f"look at the orders and {_AGAIN}"
        )
    if token["orders"] != ALL and set(token["orders"]) != orders:
        odd = ", ".join(sorted(orders ^ set(token["orders"])))
        raise ApprovalError(f"the token of {token['who']} approves other orders than those of {session} ({odd}); "
                            "a batch is approved as a whole: sign it without --orders")  # fmt: skip


def in_order(tokens: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Tokens by the names of their signers; they may be given in any order."""
    return sorted((dict(token) for token in tokens), key=lambda token: (token["who"], token["nonce"]))


def signers(tokens: Sequence[Mapping[str, Any]]) -> str:
    """Who signed, as the book records it."""
    return " and ".join(token["who"] for token in tokens)


def nonces(tokens: Sequence[Mapping[str, Any]]) -> str:
    """The nonces of some tokens, as the book records them."""
    return ",".join(token["nonce"] for token in tokens)


def _sign(purpose: str, said: Mapping[str, Any], key: Ed25519PrivateKey) -> dict[str, Any]:
    body = {**said, "key": signatures.public_key(key)}
    return body | {"signature": signatures.sign(_message(purpose, body), key)}


def _message(purpose: str, body: dict[str, Any]) -> bytes:
    """The bytes that are signed."""
    return f"{purpose}\n{canonical(body)}".encode()


def _plain(token: Mapping[str, Any]) -> bool:
    """Whether every value is text that can be shown, but the orders, which may be a sorted list of different ones."""
    orders = token.get("orders", ALL)
    if orders != ALL and not (isinstance(orders, list) and orders):
        return False
    ids = orders if isinstance(orders, list) else []
    texts = [*(value for name, value in token.items() if name != "orders"), *ids]
    return all(isinstance(text, str) and text.isprintable() for text in texts) and ids == sorted({*ids})
