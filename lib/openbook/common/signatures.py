"""Signatures (Ed25519, RFC 8032): the private key signs; whoever has the public key checks, and cannot sign.

A public key and a signature are base64 text of 32 and 64 bytes, of which only the one canonical spelling is accepted.
"""

import base64
import binascii

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KEY_BYTES, SIGNATURE_BYTES = 32, 64
# The y coordinates of the eight points of small order, and their spellings above the field's prime. With such a "public
# key" anybody can make signatures that OpenSSL accepts, without a private key.
_PRIME = 2**255 - 19
_Y_OF_ORDER_8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022
_WEAK = {0, 1, _PRIME - 1, _PRIME, _PRIME + 1, _Y_OF_ORDER_8, _PRIME - _Y_OF_ORDER_8}


def public_key(key: Ed25519PrivateKey) -> str:
    """The public key that belongs to a private one, as text."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def sign(message: bytes, key: Ed25519PrivateKey) -> str:
    """The signature of a message, as text; the same message and key always give the same one."""
    return base64.b64encode(key.sign(message)).decode()


def is_signed(message: bytes, signature: str, key: str) -> bool:
    """Whether `signature` is that of `message` by the private key that belongs to the public `key`."""
    written = _bytes(signature, SIGNATURE_BYTES)
    if written is None or not is_public_key(key):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(base64.b64decode(key)).verify(written, message)
    except InvalidSignature:
        return False
    return True


def is_public_key(text: str) -> bool:
    """Whether a text is a public key that only its owner can sign for."""
    key = _bytes(text, KEY_BYTES)
    return key is not None and int.from_bytes(key, "little") % 2**255 not in _WEAK


def _bytes(text: str, length: int) -> bytes | None:
    """The bytes that a text spells in canonical base64; None if it spells something else."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if len(data) == length and base64.b64encode(data).decode() == text else None
