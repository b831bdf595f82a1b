"""Ed25519 signatures: the published vectors, one spelling each, and no key that anybody can sign for."""

import base64

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from openbook.common.signatures import is_public_key, is_signed, public_key, sign

# RFC 8032, section 7.1, tests 1 to 3: secret key, public key, message, signature.
published_vectors = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe2465"
        "5141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb0"
        "0d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc0"
        "27beceea1ec40a",
    ),
]
# The encodings of the points of order 1, 2, 4 and 8 (Chalkias, Garillot and Nikolaenko, Taming the many EdDSAs, 2020).
published_small_order = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]


def text(hexadecimal: str) -> str:
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()


@pytest.mark.parametrize(("secret", "public", "message", "signature"), published_vectors)
def test_the_published_signatures(secret, public, message, signature):
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret))
    assert public_key(key) == text(public)
    assert sign(bytes.fromhex(message), key) == text(signature)
    assert is_signed(bytes.fromhex(message), text(signature), text(public))
    assert not is_signed(bytes.fromhex(message) + b"\0", text(signature), text(public))


def test_a_signature_by_another_key_does_not_count():
    ours, theirs = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    assert not is_signed(b"orders", sign(b"orders", theirs), public_key(ours))


@pytest.mark.parametrize("point", published_small_order)
def test_a_key_that_anybody_can_sign_for_is_no_key(point):
    assert not is_public_key(text(point))


@pytest.mark.parametrize("point", published_small_order[:8])
def test_a_signature_without_a_private_key_is_taken_by_openssl_and_refused_here(point):
    """With such a key, one of eight points and s = 0 fit every second message or so."""
    made_up = [bytes.fromhex(other) + bytes(32) for other in published_small_order[:8]]
    tries = ((b"%d" % n, each) for n in range(200) for each in made_up)
    message, signature = next((m, each) for m, each in tries if openssl_takes(point, m, each))
    assert not is_signed(message, base64.b64encode(signature).decode(), text(point))


def openssl_takes(point: str, message: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(point)).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def test_keys_and_signatures_have_one_spelling():
    key = Ed25519PrivateKey.generate()
    public, signature = public_key(key), sign(b"orders", key)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    # The last letter before the = carries bits that decode to nothing: another letter, the same bytes.
    other = public[:-2] + letters[letters.index(public[-2]) ^ 1] + "="
    assert base64.b64decode(other) == base64.b64decode(public)
    for wrong in (other, public[:-1], f"{public}=", f" {public}", f"{public}\n", public[4:], "", "ключ", "a" * 44):
        assert not is_public_key(wrong), wrong
        assert not is_signed(b"orders", signature, wrong)
    other = signature[:-3] + letters[letters.index(signature[-3]) ^ 1] + "=="
    assert base64.b64decode(other) == base64.b64decode(signature)
    for wrong in (other, signature[:-2], f"{signature}\n", signature[4:], "", "ключ"):
        assert not is_signed(b"orders", wrong, public)
