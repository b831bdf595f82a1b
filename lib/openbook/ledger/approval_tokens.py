"""Approval tokens: a small signed text with which a person approves a batch from another machine.

Both machines hold the same key. The text is plain JSON with an HMAC-SHA256 (RFC 2104) of all its fields.
"""

import hmac
import json
import secrets
from collections.abc import Mapping

from openbook.common.errors import ApprovalError
from openbook.ledger.event_chain import canonical

FIELDS = ("batch", "session", "who", "when", "expires", "nonce")
LARGEST = 4096  # bytes


def sign(said: Mapping[str, str], key: bytes) -> bytes:
    """A token: what is `said` (batch, session, who, when, expires) with a nonce, signed."""
    body = {**said, "nonce": secrets.token_hex(16)}
    return (canonical({**body, "signature": _signature(body, key)}) + "\n").encode()


def read(data: bytes, key: bytes) -> dict[str, str]:
    """The fields of a token; ApprovalError (55) unless all are there and the signature matches this key."""
    try:
        body = json.loads(data[: LARGEST + 1].decode("utf-8"))
        signature = body.pop("signature")
        plain = all(isinstance(value, str) for value in body.values())
        whole = len(data) <= LARGEST and sorted(body) == sorted(FIELDS) and plain
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise ApprovalError("not a valid approval token; sign the batch again with openbook sign")
    if not (isinstance(signature, str) and hmac.compare_digest(signature.encode(), _signature(body, key).encode())):
        raise ApprovalError(
            "the token's signature does not match this key: the token was altered or signed with another key"
        )
    return body


def _signature(body: Mapping[str, str], key: bytes) -> str:
    return hmac.new(key, canonical(dict(body)).encode(), "sha256").hexdigest()
