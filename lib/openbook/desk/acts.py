"""What people do to a book between two sessions: approve, reject, record fills and cash, reconcile, halt, reset.

Each is one event in one transaction. It names who did it, why, and when (UTC, as text); it belongs to the book's last
session, so that a rerun of that session finds the book as it was before.
"""

import sqlite3
from collections import Counter
from dataclasses import dataclass

import pandas as pd

from openbook.desk import database, ledger
from openbook.desk.book import batch_digest, event_of, state_of
from openbook.desk.killswitch import ACTIVE, HALTED
from openbook.desk.statement import BookState
from openbook.errors import ApprovalError, BookError, UsageError

FLOWS = {"deposit": 1, "withdrawal": -1, "fee": -1, "interest": 1}
LONGEST = 200
# Events after which a batch that was proposed before stands on something else.
MOVES = ("fills", "cash", "halted", "reset")


@dataclass(frozen=True, eq=False)
class Batch:
    """The orders of one evening, as the book has them.

    digest : what an approval stands on, see `batch_digest`; about : hashes of model, data, parameters and code
    orders : PENDING_COLUMNS but `decided`, all of them, with the state that each is in
    """

    session: str
    digest: str
    manual: bool
    about: dict[str, str]
    orders: pd.DataFrame
    moved: str

    @property
    def code(self) -> str:
        """The last six characters of the hash, which a person types."""
        return self.digest[-6:]


def read_batch(path, session: str) -> Batch:
    """The batch that was proposed on the evening of `session`; BookError if that session was not committed."""
    return database.read(database.place(path), lambda db: _batch(db, session))


def approve(path, session: str, *, digest: str, about: dict[str, str], who: str, when: str, how: str) -> int:
    """Approve the batch of `session`; how many orders. Approving it again by the same person changes nothing.

    digest : of the batch that the person saw; about : hashes of model, data, parameters and code as they are now
    how : "terminal", or the nonce of a token

    Raises ApprovalError (55) if it is another batch, if anything that it stands on has changed, or if it was approved,
    rejected or ended before.
    """
    with database.write(database.place(path)) as db:
        batch, body = _batch(db, session), event_of(db, session)
        said = {"kind": "approved", "batch": digest, "who": line(who, "--by"), "how": how}
        if _done_before(db, batch, said):
            return len(batch.orders)
        if digest != batch.digest or how in _used(db):
            raise ApprovalError(f"that approval is for another batch than {session} ({batch.code}), or was used before")
        changed = sorted(key for key in {*about, *batch.about} if about.get(key) != batch.about.get(key))
        if changed or batch_digest(body, about) != digest:
            raise ApprovalError(
                f"{', '.join(changed) or 'the book'} changed since {session} was decided: its batch is void"
            )
        _require_waiting(batch, ("PENDING",))
        _append(db, said | {"when": when, "session": _last(db), "orders": _states(batch)})
    return len(batch.orders)


def reject(path, session: str, *, who: str, reason: str, when: str) -> int:
    """Reject the batch of `session`, approved or not, before any of it is filled; how many orders."""
    with database.write(database.place(path)) as db:
        batch = _batch(db, session)
        said = {"kind": "rejected", "batch": batch.digest, **_signed(who, reason)}
        if _done_before(db, batch, said):
            return len(batch.orders)
        _require_waiting(batch, ("PENDING", "APPROVED"))
        _append(db, said | {"when": when, "session": _last(db), "orders": _states(batch)})
    return len(batch.orders)


def record_fills(path, session: str, fills: pd.DataFrame, *, when: str, source: str) -> int:
    """Record what a broker did with the batch of `session`; how many fills are new. All of them or none.

    fills : columns fill_id, order_id, shares (signed), price (USD), commission_cents, date; see `brokers.parse_fills`
    source : sha256 of the file that they come from

    A fill that is recorded already changes nothing; with the same id and other content it is refused, as is one of an
    unknown order, on another day, to the wrong side, or of more than is open: BookError (60). ApprovalError (55) for an
    order that nobody approved. A fill of an order that was voided or expired after its approval happened, and is taken.
    """
    with database.write(database.place(path)) as db:
        if state_of(db).kind != "live":
            raise BookError(f"{path} is a paper book: its fills are simulated; only a live book takes recorded ones")
        batch = _batch(db, session)
        new = [row for row in _checked(fills.to_dict("records"), batch) if not _known(db, row)]
        if new:
            rows = _follow(new, batch, db)
            _append(db, {"kind": "fills", "when": when, "source": source, "session": _last(db), "fills": rows})
    return len(new)


def record_cash(path, *, flow: str, cents: int, who: str, reason: str, when: str) -> int:
    """Record cash that came or went without a trade; returns the cash now, cents. `cents` is above zero.

    flow : deposit and withdrawal are nobody's performance; fee and interest are

    The same flow again, with the same reason and nothing in between, changes nothing: a command that was killed can be
    repeated, and a second deposit needs a reason of its own.
    """
    if flow not in FLOWS:
        raise UsageError(f"no kind of cash {flow!r}; there are {', '.join(FLOWS)}")
    if not (isinstance(cents, int) and cents > 0):
        raise UsageError(f"an amount is above 0 USD, not {cents} cents; its kind says which way it goes")
    with database.write(database.place(path)) as db:
        said = {"kind": "cash", "flow": flow, "cents": FLOWS[flow] * cents, **_signed(who, reason)}
        if said.items() <= database.last_event(db).items():
            return state_of(db).cash_now_cents
        now = state_of(db).cash_now_cents + FLOWS[flow] * cents
        if now < 0:
            raise BookError(f"a {flow} of {cents / 100:,.2f} USD leaves {now / 100:,.2f} USD; sell something first")
        _append(db, said | {"when": when, "session": _last(db)})
    return now


def reconcile(path, shares: pd.Series, cash_cents: int, *, closed: str, when: str, accepted=("", "")) -> str:
    """Compare a broker's statement with the book; returns the difference in words, empty if there is none.

    shares : signed, by symbol; must agree exactly, the cash within a cent
    closed : last session that is over: the approved orders up to it have ended, and what is filled is RECONCILED
    accepted : (who, reason) of somebody who takes the difference upon himself; the book does not change by it

    A difference that nobody accepted stops the next run, until a statement agrees.
    """
    who, reason = accepted
    signed = _signed(who, reason) if who or reason else {"who": "", "reason": ""}
    with database.write(database.place(path)) as db:
        state = state_of(db)
        difference = _difference(state, shares, cash_cents)
        ended = [] if difference and not signed["who"] else _ended(db, closed)
        said = {"kind": "reconciled", "difference": difference, **signed}
        if ended or not said.items() <= database.last_event(db).items():
            _append(db, said | {"orders": ended, "when": when, "session": _last(db)})
    return difference


def halt(path, *, who: str, reason: str, when: str) -> int:
    """Halt the book, and void every open order; how many. A book that is halted stays so, and keeps this reason too."""
    with database.write(database.place(path)) as db:
        signed, last = _signed(who, reason), database.last_event(db)
        if {"kind": "halted", **signed}.items() <= last.items():
            return 0
        waiting = state_of(db).pending[["order_id", "status"]].itertuples(index=False)  # no order that has ended
        orders = [{"order_id": key, "before": status} for key, status in waiting]
        _append(db, {"kind": "halted", "state": HALTED, "orders": orders, **signed, "when": when, "session": _last(db)})
    return len(orders)


def reset(path, *, who: str, reason: str, when: str) -> str:
    """Arm the kill switch again; returns the state that it was in. Losses before this moment are forgotten by it, and
    so is what it could not evaluate. The same person with the same reason again changes nothing."""
    with database.write(database.place(path)) as db:
        was, signed = state_of(db).switch, _signed(who, reason)
        if not {"kind": "reset", **signed}.items() <= database.last_event(db).items():
            _append(db, {"kind": "reset", "state": ACTIVE, **signed, "when": when, "session": _last(db)})
    return was


def line(text: str, name: str) -> str:
    """One printable line, for the ledger; UsageError (64) names what is not."""
    said = text.strip()
    if not (0 < len(said) <= LONGEST and said.isprintable()):
        raise UsageError(f"{name} must be one line of 1 to {LONGEST} characters: the book keeps it")
    return said


# ---- inside ----


def _append(db: sqlite3.Connection, body: dict) -> None:
    ledger.apply(db, database.append(db, body), body)


def _last(db: sqlite3.Connection) -> str:
    """The book's last session, or nothing before the first."""
    return db.execute("SELECT coalesce(max(session), '') FROM sessions").fetchone()[0]


def _signed(who: str, reason: str) -> dict[str, str]:
    return {"who": line(who, "--who"), "reason": line(reason, "--reason")}


def _statuses(db: sqlite3.Connection, decided: str = "") -> list[tuple[str, str]]:
    """(order_id, state) of all orders, or of those decided on one evening."""
    query = """SELECT order_id, (SELECT status FROM order_states s WHERE s.order_id = o.order_id
        ORDER BY seq DESC, n DESC LIMIT 1) FROM orders o WHERE ? IN ('', decided) ORDER BY order_id"""
    return db.execute(query, (decided,)).fetchall()


def _batch(db: sqlite3.Connection, session: str) -> Batch:
    body = event_of(db, session)
    states = dict(_statuses(db, session))
    orders = pd.DataFrame(body["orders"], columns=["order_id", "session", "symbol", "shares", "price", "reason"])
    orders["status"] = [states[key] for key in orders["order_id"]]
    seq = db.execute("SELECT seq FROM sessions WHERE session = ?", (session,)).fetchone()[0]
    later = f"SELECT kind FROM events WHERE seq > ? AND kind IN ('session', {', '.join('?' * len(MOVES))})"
    moved = ", ".join(kind for (kind,) in db.execute(later, (seq, *MOVES)))
    return Batch(session, **body["batch"], orders=orders, moved=moved)


def _states(batch: Batch) -> list[dict]:
    return [{"order_id": row.order_id, "before": row.status} for row in batch.orders.itertuples()]


def _require_waiting(batch: Batch, states: tuple[str, ...]) -> None:
    """ApprovalError unless there are orders, all in one of `states`, and the book has not moved since."""
    found = sorted(set(batch.orders["status"]))
    if not found:
        raise ApprovalError(f"nothing was proposed on {batch.session}")
    if not set(found) <= set(states):
        raise ApprovalError(f"the orders of {batch.session} are {', '.join(found)}, and cannot be judged any more")
    if batch.moved:
        raise ApprovalError(f"the book changed since {batch.session} was decided ({batch.moved}): its batch is void")


def _done_before(db: sqlite3.Connection, batch: Batch, said: dict) -> bool:
    """Whether the same person has said the same of this batch already, and nothing came after: a command repeated."""
    return len(batch.orders) > 0 and said.items() <= database.last_event(db).items()


def _used(db: sqlite3.Connection) -> set[str]:
    """Nonces of the tokens that approved something."""
    rows = db.execute("SELECT json_extract(body, '$.how') FROM events WHERE kind = 'approved'")
    return {how for (how,) in rows} - {"terminal"}


def _checked(rows: list[dict], batch: Batch) -> list[dict]:
    """Fills of this batch, with symbol and cents; BookError names one of an unknown order, side or day."""
    orders = batch.orders.set_index("order_id")
    found = []
    for row in rows:
        if row["order_id"] not in orders.index:
            raise BookError(f"fill {row['fill_id']}: no order {row['order_id']} in the batch of {batch.session}")
        order = orders.loc[row["order_id"]]
        if row["date"] != order["session"]:
            raise BookError(f"fill {row['fill_id']} is of {row['date']}; its order was for {order['session']}")
        if row["shares"] * int(order["shares"]) <= 0:
            raise BookError(f"fill {row['fill_id']} is of {row['shares']:+d} shares; its order is {order['shares']:+d}")
        notional = round(abs(row["shares"]) * row["price"] * 100)
        found.append({**row, "symbol": order["symbol"], "notional_cents": notional, "slippage_cents": 0})
    return found


def _known(db: sqlite3.Connection, row: dict) -> bool:
    """Whether this very fill is recorded; BookError if its id is, with other content."""
    query = f"SELECT order_id, {', '.join(ledger.FILLED)} FROM fills WHERE fill_id = ?"
    known = db.execute(query, (row["fill_id"],)).fetchone()
    if known is not None and known != (row["order_id"], *(row[name] for name in ledger.FILLED)):
        said = f"{known[3]:+d} shares of {known[0]} at {known[4]:g} on {known[1]}"
        raise BookError(f"fill {row['fill_id']} is recorded with other content: {said}; one id is one fill")
    return known is not None


def _follow(rows: list[dict], batch: Batch, db: sqlite3.Connection) -> list[dict]:
    """Each fill with the state of its order before and after; refused if not approved, or more than is open."""
    states = dict(zip(batch.orders["order_id"], batch.orders["status"], strict=True))
    ordered = dict(zip(batch.orders["order_id"], batch.orders["shares"].astype(int), strict=True))
    filled = Counter(dict(db.execute("SELECT order_id, sum(shares) FROM fills GROUP BY order_id")))
    approved = {key for (key,) in db.execute("SELECT order_id FROM order_states WHERE status = 'APPROVED'")}
    found = []
    for row in rows:
        key = row["order_id"]
        if key not in approved:
            raise ApprovalError(f"fill {row['fill_id']}: nobody approved {key}, which is {states[key]}")
        if states[key] == "RECONCILED":
            raise BookError(f"fill {row['fill_id']}: a statement has closed {key}; accept the difference by name")
        left = ordered[key] - filled[key]
        if abs(row["shares"]) > abs(left):
            raise BookError(f"fill {row['fill_id']}: {row['shares']:+d} shares of {key}; only {left:+d} are open")
        filled[key] += row["shares"]
        after = "FILLED" if filled[key] == ordered[key] else "PARTIALLY_FILLED"
        found.append({**row, "before": states[key], "after": after})
        states[key] = after
    return found


def _difference(state: BookState, shares: pd.Series, cash_cents: int) -> str:
    """Where a statement and the book disagree, in words."""
    ours, theirs = state.positions_now.to_dict(), {symbol: int(n) for symbol, n in shares.items() if n}
    parts = [
        f"{symbol}: book {ours.get(symbol, 0)}, statement {theirs.get(symbol, 0)} shares"
        for symbol in sorted({*ours, *theirs})
        if ours.get(symbol, 0) != theirs.get(symbol, 0)
    ]
    if not abs(state.cash_now_cents - cash_cents) <= 1:
        parts.append(f"cash: book {state.cash_now_cents / 100:,.2f}, statement {cash_cents / 100:,.2f} USD")
    return "; ".join(parts)


def _ended(db: sqlite3.Connection, closed: str) -> list[dict]:
    """Approved orders of sessions that are over, with their end: what is filled is reconciled, the rest has expired."""
    due = {key for (key,) in db.execute("SELECT order_id FROM orders WHERE session <= ?", (closed,))}
    after = {"FILLED": "RECONCILED", "PARTIALLY_FILLED": "RECONCILED", "APPROVED": "EXPIRED"}
    why = {"APPROVED": "no fill by the statement", "PARTIALLY_FILLED": "the rest was not filled"}
    return [
        {"order_id": key, "before": status, "after": after[status], "reason": why.get(status, "")}
        for key, status in _statuses(db)
        if key in due and status in after
    ]
