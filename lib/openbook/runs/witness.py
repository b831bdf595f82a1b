"""The head of the log for keeping elsewhere: who can write the whole runs folder can make all of it anew, but not what
was printed, mailed, signed or stamped before.

A line names the last entry. With OPENBOOK_DESK_KEY_FILE it is signed with the desk's own private key, whose public key
stands in `approvers.yaml` with `may: [witness]`. With OPENBOOK_TIMESTAMP_URL an authority stamps the head (RFC 3161);
the answers lie in `stamps/`, and OPENBOOK_TIMESTAMP_ROOTS names the certificates by which they are checked.
"""

import email
import email.policy
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from openbook.common.errors import OpenbookError, UsageError
from openbook.common.files import storage
from openbook.common.signatures import is_signed, public_key, sign
from openbook.runs import audit_log
from openbook.runs.approvers import FILE, read_approvers
from openbook.runs.key_files import read_key

KEY_FILE = "OPENBOOK_DESK_KEY_FILE"
UNLISTED = "a key that is not listed"
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LINE = re.compile(
    r"([0-9a-f]{64}), entry (\d{1,12}) of (\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2} UTC)"
    r"(?:, signed by (.{1,90}?): ([A-Za-z0-9+/]{86}==))?",
    re.ASCII,
)


@dataclass(frozen=True)
class KeptHead:
    """A head of the log as somebody kept it: its hash; of a whole line also number and time, signer and signature."""

    hash: str
    n: int | None = None
    when: str = ""
    signer: str = ""
    signature: str = ""


def head_line(runs: Path, head: str = "") -> str:
    """The last entry of the log in one line, signed where the desk has a key: hash, number, time, signer, signature.

    head : the hash of another entry; one that the log does not have stays a hash
    """
    found = [entry for entry in audit_log.entries(runs) if not head or entry["hash"] == head]
    if not found:
        return head or audit_log.GENESIS
    last = found[-1]
    line = f"{last['hash']}, entry {last['n']} of {last['when']}"
    file = os.environ.get(KEY_FILE)
    if not file:
        return line
    key = read_key(Path(file), runs)
    signature = sign(_message(last["hash"], last["n"], last["when"]), key)
    return f"{line}, signed by {_signer(runs, public_key(key))}: {signature}"


def kept_heads(text: str) -> list[KeptHead]:
    """The heads that a person kept: one hash, or a file with the lines that a mail or a terminal showed.

    Raises UsageError (64) for a text that is neither.
    """
    if _HASH.fullmatch(text):
        return [KeptHead(text)]
    file = Path(text)
    if not file.is_file():
        raise UsageError(f"{text!r} is neither the hash of a log entry nor a file with one")
    with storage(f"read {file}"):
        found = [
            KeptHead(hash_, int(n), when, signer or "", signature or "")
            for part in _texts(file.read_bytes())
            for hash_, n, when, signer, signature in _LINE.findall(part)
        ]
    if not found:
        raise UsageError(f"{file} has no line with a head of the log, as mails, status and approve show it")
    return list(dict.fromkeys(found))


def check_heads(runs: Path, heads: list[KeptHead]) -> tuple[list[str], list[str]]:
    """(what is wrong, what is known then): each kept head against the log, its signature against the desk's list."""
    by_hash = {entry["hash"]: entry for entry in audit_log.entries(runs)}
    problems, known = [], []
    for head in heads:
        if head.signature and not _is_signed(runs, head):
            problems.append(f"the kept head {head.hash} is not signed by {head.signer}, as {FILE} lists the keys")
        elif head.hash not in by_hash:
            problems.append(f"no entry of {audit_log.FILE} has the hash {head.hash}: the log was truncated or replaced")
        else:
            entry = by_hash[head.hash]
            signed = f", signed by {head.signer}" if head.signature else ""
            known.append(
                f"unaltered since entry {entry['n']} of {entry['when']}, whose hash was kept elsewhere{signed}"
            )
    return problems, known


def _signer(runs: Path, key: str) -> str:
    """The name under which the desk lists a public key."""
    try:
        listed = read_approvers(runs)
    except OpenbookError:
        return UNLISTED
    people = listed.approvers if listed else ()
    return next((person.name for person in people if person.key == key), UNLISTED)


def _is_signed(runs: Path, head: KeptHead) -> bool:
    """Whether a key that the desk lists, under that name, signed this head."""
    listed = read_approvers(runs)
    if listed is None or head.n is None:
        return False
    person = next((person for person in listed.approvers if person.name == head.signer), None)
    return person is not None and is_signed(_message(head.hash, head.n, head.when), head.signature, person.key)


def _message(hash_: str, n: int, when: str) -> bytes:
    """What is signed."""
    return json.dumps({"what": "openbook log head", "hash": hash_, "n": n, "when": when}, sort_keys=True).encode()


def _texts(data: bytes) -> Iterator[str]:
    """A file as text in one line, and the plain text of a mail that was saved whole."""
    yield " ".join(data.decode("utf-8", "replace").split())
    for part in email.message_from_bytes(data, policy=email.policy.default).walk():
        if part.get_content_type() == "text/plain" and not part.is_multipart():
            try:
                yield " ".join(part.get_content().split())
            except (LookupError, ValueError):  # an unknown or wrong encoding
                continue
