"""What people approved and reset in a book, with what their signatures must cover; both read from the events alone."""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openbook.common.errors import ApprovalError
from openbook.ledger import approval_tokens, database
from openbook.ledger.book import batch_digest
from openbook.ledger.book_commands import TERMINAL


@dataclass(frozen=True)
class DecidedBatch:
    """A batch as the events have it.

    digest : worked out again from the orders, positions and hashes; empty if it was decided on another book
    """

    session: str
    digest: str
    orders: frozenset[str]


@dataclass(frozen=True, eq=False)
class SignedAct:
    """An event of kind `approved` or `reset`.

    seq : its number; before : hash of the event before it; batch : that an approval names, None if there is none
    repeated : nonces of it that an earlier approval has too
    """

    seq: int
    body: dict[str, Any]
    before: str
    batch: DecidedBatch | None
    repeated: frozenset[str]

    @property
    def kind(self) -> str:
        """approved or reset"""
        return self.body["kind"]

    @property
    def day(self) -> str:
        """The session whose orders were approved, or the day of a reset; YYYY-MM-DD."""
        return self.batch.session if self.batch else str(self.body.get("when", ""))[:10]

    @property
    def tokens(self) -> list[Any]:
        """The signed texts; none if it was typed at a terminal, or signed with the shared key of an older openbook."""
        return _signed(self.body)

    @property
    def typed(self) -> bool:
        """Whether nobody signed it."""
        return not self.tokens and self.body.get("how", TERMINAL) == TERMINAL

    def require_genuine(self) -> None:
        """ApprovalError (55) unless every signature is valid and covers what the event says; whose key it is, is not
        asked."""
        if self.kind == "reset":
            self._require_reset()
        else:
            self._require_approval()

    def _require_reset(self) -> None:
        if len(self.tokens) != 1:
            raise ApprovalError("it has not exactly one signature")
        approval_tokens.require_signed(approval_tokens.RESET, token := self.tokens[0])
        said = {"head": self.before} | {name: self.body[name] for name in ("who", "reason", "when")}
        if any(token[name] != value for name, value in said.items()):
            raise ApprovalError("what was signed is not what the event says")

    def _require_approval(self) -> None:
        batch = self.batch
        if not self.tokens:
            raise ApprovalError("it has no signature")
        if batch is None or batch.digest != self.body["batch"]:
            raise ApprovalError("the orders in the book are not those of the batch that was approved")
        for token in self.tokens:
            approval_tokens.require_signed(approval_tokens.APPROVAL, token)
            approval_tokens.require_covers(token, batch=batch.digest, session=batch.session, orders=batch.orders)
        said = {"who": approval_tokens.signers(self.tokens), "how": approval_tokens.nonces(self.tokens)}
        ids = {row["order_id"] for row in self.body["orders"]}  # none, if they were approved before
        if self.repeated:
            raise ApprovalError("its token approved something before; a token works once")
        if any(self.body[name] != value for name, value in said.items()) or ids not in (batch.orders, set()):
            raise ApprovalError("what was signed is not what the event says")


def read_acts(path: Path | str) -> list[SignedAct]:
    """Every approval and reset of a book, oldest first."""
    return database.read(database.place(path), _acts)


def read_approving(path: Path | str, orders: Iterable[str]) -> list[SignedAct]:
    """The approvals of a batch that hold: the one by which its orders became APPROVED for the last time, if it was a
    person's, and those that were added since. Oldest first."""

    def query(db: sqlite3.Connection) -> list[SignedAct]:
        rows = db.execute("SELECT order_id, seq FROM order_states WHERE status = 'APPROVED'").fetchall()
        wanted = {*orders}
        since = max((seq for key, seq in rows if key in wanted), default=0)
        return [act for act in _acts(db) if act.seq >= since and act.batch and act.batch.orders == wanted]

    return database.read(database.place(path), query)


def _acts(db: sqlite3.Connection) -> list[SignedAct]:
    rows = db.execute("""SELECT e.seq, e.body, p.hash FROM events e JOIN events p ON p.seq = e.seq - 1
        WHERE e.kind IN ('approved', 'reset') ORDER BY e.seq""").fetchall()
    found = [(seq, json.loads(text), before) for seq, text, before in rows]
    batches, seen, acts = _batches(db), set[str](), []
    for seq, body, before in found:
        nonces = _nonces(body)
        batch = batches.get(str(body.get("batch", "")))
        acts.append(SignedAct(seq, body, before, batch, frozenset(nonces & seen)))
        seen |= nonces
    return acts


def _nonces(body: Mapping[str, Any]) -> set[str]:
    """The nonces with which an event was approved, by the event or by what was signed."""
    signed = {str(token.get("nonce", TERMINAL)) for token in _signed(body) if isinstance(token, dict)}
    return (signed | {*str(body.get("how", TERMINAL)).split(",")}) - {TERMINAL}


def _signed(body: Mapping[str, Any]) -> list[Any]:
    """What was signed for an event; of a forged one it may be anything."""
    signed = body.get("signed", [])
    return signed if isinstance(signed, list) else [signed]


def _batches(db: sqlite3.Connection) -> dict[str, DecidedBatch]:
    """The batches of all decisions, by the hash that was recorded with each."""
    found: dict[str, DecidedBatch] = {}
    settled: dict[str, dict[str, Any]] = {}
    hashes = {hash_ for (hash_,) in db.execute("SELECT hash FROM events")}
    for (text,) in db.execute("SELECT body FROM events WHERE kind IN ('session', 'superseded') ORDER BY seq"):
        body = json.loads(text)
        day, batch = body["session"], body["batch"]
        if body["kind"] == "session":
            settled[day] = body["settlement"]
        digest = batch_digest(body | {"settlement": settled[day]}, batch["about"])
        ids = frozenset(row["order_id"] for row in body["orders"])
        # The head stands for all events before the decision: those that it names must be those of this book.
        found[batch["digest"]] = DecidedBatch(day, digest if settled[day]["head"] in hashes else "", ids)
    return found
