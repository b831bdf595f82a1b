"""Who approved what: the rules by which signatures count, and what an audit says of those that a book keeps.

A book and its tokens say what was signed, with which key (`ledger`); the desk's list says whose key that is and how far
the person may go (`runs.approvers`). Here both come together.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from openbook.common.errors import ApprovalError, OpenbookError
from openbook.common.frames import each_row
from openbook.common.signatures import public_key
from openbook.common.text import require_line
from openbook.ledger import approval_tokens
from openbook.ledger.book import read_book
from openbook.ledger.book_commands import Batch
from openbook.ledger.signed_acts import SignedAct, read_acts, read_approving
from openbook.market import calendar
from openbook.runs.approvers import FILE, Approvers, read_approvers, require_approvers
from openbook.runs.key_files import read_key, read_once

MANY = 6  # dates that a note names one by one


# ---- approvals ----


def order_ids(text: str) -> str | list[str]:
    """What a token says of the orders: "all", or the sorted ids of a text with commas."""
    ids = sorted({require_line(part, "an order id") for part in text.split(",")}) if text else []
    return ids or approval_tokens.ALL


def read_tokens(files: Sequence[Path], date: str) -> list[dict[str, Any]]:
    """Tokens that approve `date` now, by the names of their signers; each file is read once.

    Raises ApprovalError (55) for a file that is no token, one of another session, and one that has expired.
    """
    tokens = approval_tokens.in_order(approval_tokens.read(read_once(file)) for file in files)
    for token in tokens:
        if token["session"] != date:
            raise ApprovalError(f"the token approves {token['session']}, not {date}")
        if not calendar.now() <= _moment(token["expires"]):
            raise ApprovalError(f"the token expired at {token['expires']}; sign the batch again with openbook sign")
    return tokens


def _moment(text: str) -> pd.Timestamp:
    """A moment with its time zone; ApprovalError (55) for a text that names none."""
    try:
        return pd.Timestamp(text).tz_convert("UTC")
    except (ValueError, TypeError):
        raise ApprovalError(f"the token expires at {text!r}, which is not a time; sign the batch again") from None


def _asks_for_signatures(runs: Path, place: Path | str) -> bool:
    """Whether acts on a book must be signed: it is live, by what it says itself, and the desk lists its approvers."""
    return read_approvers(runs) is not None and read_book(place).kind == "live"


def require_terminal_suffices(runs: Path, place: Path | str) -> None:
    """ApprovalError (55) for a live book on a desk that lists its approvers: it takes signed approvals only."""
    if _asks_for_signatures(runs, place):
        raise ApprovalError(
            f"the desk lists its approvers in {FILE}, so its live book takes signed approvals only: "
            "openbook sign HASH --date DATE --by NAME --key FILE --out TOKEN, then openbook approve DATE --token TOKEN"
        )


def require_signatures(runs: Path, batch: Batch, tokens: Sequence[Mapping[str, Any]]) -> None:
    """ApprovalError (55) unless listed people, as many as it takes, signed this batch within their limits."""
    approvers, orders = require_approvers(runs), batch.orders
    for token in tokens:
        ids = frozenset(orders["order_id"])
        approval_tokens.require_covers(token, batch=batch.digest, session=batch.session, orders=ids)
    approvers.require_enough([(token["who"], token["key"]) for token in tokens], _traded_cents(orders))


def require_signed(runs: Path, place: Path | str, batch: Batch) -> None:
    """ApprovalError (55) unless the approval that a live book has of a batch is signed as the desk's list asks.

    It is read from the events again: whoever can write into the book has still no key.
    """
    if not _asks_for_signatures(runs, place):
        return
    why = "it is not a person's"
    for act in read_approving(place, batch.orders["order_id"]):
        try:
            act.require_genuine()
            require_signatures(runs, batch, act.tokens)
        except ApprovalError as error:
            why = str(error)
        else:
            return
    raise ApprovalError(
        f"the approval of {batch.session} in the book does not count: {why}; nothing was exported. Sign the batch with "
        f"openbook sign, then: openbook approve {batch.session} --token TOKEN"
    )


def _traded_cents(orders: pd.DataFrame) -> int:
    """Sum of |shares| × price of some orders, US cents; ApprovalError (55) if an order has no price."""
    usd = math.fsum(abs(float(row.shares)) * float(row.price) for row in each_row(orders))
    if not math.isfinite(usd):
        raise ApprovalError("an order has no price, so nobody's limit can be checked")
    return round(usd * 100)


# ---- resets ----


def reset_signature(
    runs: Path, place: Path | str, key: Path | None, *, who: str, reason: str, when: str
) -> Callable[[str], dict[str, Any]] | None:
    """A function that signs the reset of a book, given the hash of its last event; None where none is needed.

    Raises ApprovalError (55) if the desk's list asks for a key and none is given, or if its owner may not reset.
    """
    if key is None:
        if _asks_for_signatures(runs, place):
            raise ApprovalError(
                f"the desk lists its approvers in {FILE}, so a reset of the live book is signed; add --key FILE of "
                "somebody who may reset"
            )
        return None
    private, approvers = read_key(key, runs), require_approvers(runs)
    said = {"who": require_line(who, "--who"), "reason": require_line(reason, "--reason"), "when": when}
    approvers.require_may(said["who"], public_key(private), "reset")
    return lambda head: approval_tokens.sign_reset({**said, "head": head}, private)


# ---- audit ----


def audit_signatures(runs: Path, kind: str, place: Path | str) -> tuple[list[str], list[str]]:
    """(what is wrong with the approvals and resets of a book, notes on the rest), in words."""
    acts = read_acts(place)
    try:
        approvers = read_approvers(runs)
    except OpenbookError as error:
        return [f"the signatures of the {kind} book cannot be checked: {error}"], []
    signed = [act for act in acts if act.tokens]
    wrong = {act.seq: why for act in signed if (why := _wrong(act, approvers))}
    problems = [f"{act.kind} {act.day} (event {kind}/{act.seq}): {wrong[act.seq]}" for act in signed
                if act.seq in wrong]  # fmt: skip
    sound = [act for act in signed if act.seq not in wrong]
    unsigned = [act for act in acts if not act.tokens]
    approvals = [act for act in unsigned if act.kind == "approved"]
    notes = [
        _note(kind, [act for act in sound if act.kind == "approved"], "approval", "signed by listed keys"),
        _note(kind, [act for act in sound if act.kind == "reset"], "reset", "signed by listed keys"),
        _note(kind, [act for act in approvals if act.typed], "approval", "typed at a terminal, unsigned", dates=True),
        _note(kind, [act for act in approvals if not act.typed], "approval",
              "signed with a shared key of an older openbook, cannot be checked", dates=True),
        _note(kind, [act for act in unsigned if act.kind == "reset"], "reset", "unsigned", dates=True),
    ]  # fmt: skip
    return problems, [note for note in notes if note]


def _wrong(act: SignedAct, approvers: Approvers | None) -> str:
    """What is wrong with the signatures of an act, in words; empty if nothing is. Limits are those of its day, and not
    asked for again."""
    try:
        act.require_genuine()
        if approvers is None:
            raise ApprovalError(f"it is signed, and the desk has no {FILE} to check it with")
        for token in act.tokens:
            approvers.require_listed(token["who"], token["key"])
    except ApprovalError as error:
        return str(error)
    return ""


def _note(kind: str, acts: Iterable[SignedAct], what: str, how: str, *, dates: bool = False) -> str:
    """How many acts of a book were done in some way, and when; empty if none was."""
    days = [act.day for act in acts]
    if not days:
        return ""
    named = ", ".join(days) if len(days) <= MANY else f"{days[0]} to {days[-1]}"
    when = f" ({named})" if dates else ""
    return f"{kind} book: {len(days)} {what}{'s' if len(days) > 1 else ''} {how}{when}"
