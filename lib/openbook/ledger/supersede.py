"""A session decided again: new orders on the same settled book, before any of the first ones is filled."""

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from openbook.common.errors import ConflictError, OutOfOrderError
from openbook.execution.kill_switch import HALTED, KillSwitch, Verdict
from openbook.ledger import database, event_chain, projection
from openbook.ledger.book import event_of, judge, parse_settlement, require_same, session_body
from openbook.ledger.book_commands import read_moves, statuses
from openbook.ledger.queries import state_before

OPEN = ("PENDING", "APPROVED")
ENDED = ("EXPIRED", "REJECTED", "VOID")


def require_supersedable(path: Path | str, session: str) -> None:
    """Raise unless `session` can be decided again: it is the book's last, nothing of its orders is
    filled, and the book has not moved since. OutOfOrderError (63) or ConflictError (62)."""
    database.read(database.place(path), lambda db: _require(db, session))


def supersede_session(
    path: Path | str,
    *,
    session: str,
    version: int,
    inputs_hash: str,
    settlement: str,
    trades: pd.DataFrame,
    switch: KillSwitch | None = None,
    manual: bool = False,
    about: Mapping[str, str] | None = None,
    may_go: Callable[[], None] = lambda: None,
) -> Verdict:
    """Put `trades` in the place of the orders that were decided for `session`; those are void.

    version : 2 for the first time, then 3 …; the ids of the orders carry it. The rest is as in `book.commit_session`

    What happened to the book stays as it was committed: ConflictError (62) if `settlement` differs, for example if
    prices were restated since. The same again changes nothing. Raises what `require_supersedable` does.
    """
    settled = parse_settlement(settlement, session)
    with database.write(database.place(path)) as db:
        known, state = event_of(db, session), state_before(db, session, whole=False)
        if known["settlement"]["schema_version"] != settled.schema_version:
            raise ConflictError(
                f"{session} was settled by an older version of openbook and cannot be superseded; go on with "
                "the next session"
            )
        if known["settlement"] != settled.model_dump(mode="json"):
            raise ConflictError(
                f"the settlement of {session} would change, because prices or actions were restated "
                "since; it stays as committed, and the next session takes the restatements in"
            )
        verdict = judge(state, settled, switch or KillSwitch())
        body = session_body(state, settled, verdict, trades, manual, dict(about or {}), version=version)
        body |= {"inputs_hash": inputs_hash}
        if known.get("version", 1) == version:
            require_same(known | {"securities": body["securities"]}, body)
            return verdict
        _require(db, session)
        if verdict.state != HALTED:
            may_go()
        projection.apply(db, event_chain.append(db, event := _event(db, known, body)), event)
    return verdict


def _event(db: sqlite3.Connection, known: dict, body: dict) -> dict:
    """What a second decision changes: the orders, what it voids, and new trips."""
    securities = [row for row in body["securities"] if row not in known["securities"]]
    trips = [trip for trip in body["switch"]["trips"] if trip not in known["switch"]["trips"]]
    waiting = [{"order_id": key, "before": was} for key, was in statuses(db, body["session"]) if was in OPEN]
    kept = ("session", "orders", "switch", "batch", "version", "inputs_hash")
    new = {"kind": "superseded", "securities": securities, "new_trips": trips, "void": waiting}
    return new | {name: body[name] for name in kept}


def _require(db: sqlite3.Connection, session: str) -> None:
    last = db.execute("SELECT max(session) FROM sessions").fetchone()[0]
    if session != last:
        raise OutOfOrderError(
            f"{session} is before the book's last session, {last}; only the last session can be superseded"
        )
    filled = sorted({status for _, status in statuses(db, session)} - {*OPEN, *ENDED})
    if filled:
        raise ConflictError(f"orders of {session} are already {', '.join(filled)}, so the session cannot be superseded")
    if moved := read_moves(db, session):
        raise ConflictError(
            f"the book changed since {session} was settled ({moved}), so it cannot be superseded; go on with "
            "the next session"
        )
