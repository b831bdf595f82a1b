"""Stamps of the log's head by a time-stamping authority (RFC 3161), kept in `stamps/<n>-<hash>.tsr`.

Nobody on the desk can make a stamp of the past: one that a trusted authority signed proves that its head, and with it
every entry before, was there at that time.
"""

import os
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

from openbook.common.errors import ParameterError, Undelivered
from openbook.common.files import replace_file, storage
from openbook.runs import audit_log

FOLDER = "stamps"
URL, ROOTS = "OPENBOOK_TIMESTAMP_URL", "OPENBOOK_TIMESTAMP_ROOTS"
PATIENCE = 20.0  # seconds for the answer of an authority
LARGEST = 100_000  # bytes of an answer; usual ones have 2,000 to 8,000
_NAME = re.compile(r"(\d{1,12})-([0-9a-f]{64})\.tsr", re.ASCII)


def stamp(runs: Path) -> Path | None:
    """Have the head of the log stamped, once; None if no authority is named, there is no log, or it has a stamp.

    Raises Undelivered (80) if the authority does not answer, or refuses.
    """
    url, found = os.environ.get(URL), audit_log.entries(runs)
    if not (url and found):
        return None
    file = runs / FOLDER / f"{found[-1]['n']}-{found[-1]['hash']}.tsr"
    if file.exists():
        return None
    answer = _ask(url, found[-1]["hash"].encode())
    with storage(f"write {file}"):
        file.parent.mkdir(exist_ok=True)
        replace_file(file, answer)
    return file


def check_stamps(runs: Path) -> tuple[list[str], list[str]]:
    """(what is wrong, what is known): each stamp against the log and the certificates that ROOTS names.

    What is known is in the order of the log, the latest entry last.
    """
    files = sorted((path for path in (runs / FOLDER).glob("*") if path.suffix == ".tsr"), key=_place)
    if not files:
        return [], []
    if not os.environ.get(ROOTS):
        return [], [f"{len(files)} stamps were not checked: set {ROOTS} to the authority's certificate (PEM)"]
    by_hash = {entry["hash"]: entry for entry in audit_log.entries(runs)}
    problems, known = [], []
    for file, hash_, who, when in _stamped(files):
        if not who:
            problems.append(f"{FOLDER}/{file.name} is not a stamp by an authority of {ROOTS}: {when}")
        elif hash_ not in by_hash:
            problems.append(
                f"{FOLDER}/{file.name}, stamped by {who} at {when}, is of an entry that the log lacks: it was "
                "truncated or replaced"
            )
        else:
            entry = by_hash[hash_]
            known.append(f"unaltered since entry {entry['n']} of {entry['when']}, stamped by {who} at {when}")
    return problems, known


def _ask(url: str, message: bytes) -> bytes:
    """The answer of an authority, once it is one for this message."""
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder, decode_timestamp_response

    asked = TimestampRequestBuilder().data(message).hash_algorithm(HashAlgorithm.SHA256).build()
    headers = {"Content-Type": "application/timestamp-query", "User-Agent": "openbook"}
    try:
        with urllib.request.urlopen(  # its scheme is the desk's own setting
            urllib.request.Request(url, asked.as_bytes(), headers), timeout=PATIENCE
        ) as answer:
            data = answer.read(LARGEST)
        given = decode_timestamp_response(data)
        if given.status != 0 or given.tst_info.nonce != asked.nonce:
            raise ValueError("it refused, or answered another question")
    except (URLError, OSError, ValueError) as error:
        raise Undelivered(
            f"the log's head was not stamped by {_host(url)}: {getattr(error, 'reason', error)}"
        ) from None
    return data


def _place(file: Path) -> tuple[int, str]:
    """Number of a stamp's entry, and its name."""
    match = _NAME.fullmatch(file.name)
    return int(match[1]) if match else 0, file.name


def _stamped(files: list[Path]) -> Iterator[tuple[Path, str, str, str]]:
    """(file, hash of the entry, authority, time) of each stamp; without an authority why, in place of the time."""
    from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

    roots = _roots()
    for file in files:
        match = _NAME.fullmatch(file.name)
        try:
            given = decode_timestamp_response(file.read_bytes())
            verifier = VerifierBuilder(roots=list(roots)).build()
            if match is None or not verifier.verify_message(given, match[2].encode()):
                raise ValueError("it is of another entry")
            who = given.tst_info.name or _subject(given)
            yield file, match[2], str(who), f"{given.tst_info.gen_time:%Y-%m-%d %H:%M:%S} UTC"
        except (VerificationError, ValueError, OSError) as error:
            yield file, "", "", str(error) or "it cannot be read"


def _roots() -> list:
    from cryptography.x509 import load_pem_x509_certificates

    file = Path(os.environ[ROOTS])
    try:
        return load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ParameterError(f"{ROOTS}: {file} has no certificate (PEM): {error}") from None


def _subject(given) -> str:
    """The subject of the certificate that came with a stamp."""
    from cryptography.x509 import load_der_x509_certificate

    certificates = [load_der_x509_certificate(each) for each in given.signed_data.certificates]
    return certificates[0].subject.rfc4514_string() if certificates else "an authority"


def _host(url: str) -> str:
    return url.partition("://")[2].partition("/")[0].rpartition("@")[2] or "the authority"
