"""What people do to a book between two sessions: approve, reject, record fills and cash, correct what it is wrong
about, rename, reconcile, halt, reset.

Each is one event in one transaction. It names who did it, why, and when (UTC, as text); it belongs to the book's last
session, so that a rerun of that session finds the book as it was before.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from openbook.common.constants import CASH
from openbook.common.errors import ApprovalError, BookError, UsageError
from openbook.common.text import require_line
from openbook.execution.kill_switch import ACTIVE, HALTED
from openbook.execution.share_units import in_shares, shares_text
from openbook.ledger import database, event_chain, projection
from openbook.ledger.book import batch_digest, event_of, new_id, state_of
from openbook.ledger.facts import LARGEST_CENTS, Receivable
from openbook.ledger.queries import REVERSED, last_prices, reversed_fills
from openbook.ledger.receivables import paid_by, taken_away
from openbook.ledger.records import RECEIVABLES_ROW, BookState, owed_text
from openbook.market.calendar import next_session, session_from

TERMINAL = "terminal"  # how a batch was approved that nobody signed for
FLOWS = {"deposit": 1, "withdrawal": -1, "fee": -1, "interest": 1}
UNFILLED = {"PENDING", "APPROVED", "REJECTED"}  # an order in one of these states has no fill
NEAR = 0.5  # what came for a spin-off is worth what left the price, give or take what the market did since
# A row of an adjustment that changes nothing yet.
BLANK = {
    "security": "",
    "symbol": "",
    "shares": 0,
    "price": None,
    "cents": 0,
    "kind": "",
    "due": "",
}
# Events after which a batch that was proposed before stands on something else.
MOVES = ("fills", "reversed", "cash", "adjusted", "halted", "reset")


@dataclass(frozen=True, eq=False)
class Batch:
    """The orders of one session, as the book has them.

    digest : what an approval stands on, see `batch_digest`; about : hashes of model, data, parameters and code
    orders : PENDING_COLUMNS but `decided`, all of them, as decided, with the state that each is in; `open` : shares
        that are not filled; `ticker` : what the symbol is called now
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


def read_batch(path: Path | str, session: str) -> Batch:
    """The batch that was proposed on `session`; BookError if that session was not committed."""
    return database.read(database.place(path), lambda db: _batch(db, session))


def release(path: Path | str, session: str, *, may_go: Callable[[], None]) -> Batch:
    """The batch of `session` as it is while nothing else can change the book; `may_go` as in `approve`."""
    with database.write(database.place(path)) as db:
        may_go()
        return _batch(db, session)


def approve(
    path: Path | str,
    session: str,
    *,
    digest: str,
    about: dict[str, str],
    who: str,
    when: str,
    how: str,
    signed: Sequence[Mapping[str, Any]] = (),
    may_go: Callable[[], None] = lambda: None,
) -> int:
    """Approve the batch of `session`; how many orders. Approving it again by the same person changes nothing.

    digest : of the batch that the person saw; about : hashes of model, data, parameters and code as they are now
    how : "terminal", or the nonces of the tokens, with commas
    signed : the tokens, which the event keeps and which the caller has checked; they may be added to a batch that is
        approved already, for example at a terminal before the desk listed its approvers
    may_go : raises if a halt that no book knows yet stops orders

    Raises ApprovalError (55) if it is another batch, if anything that it stands on has changed, or if it was approved,
    rejected or ended before.
    """
    with database.write(database.place(path)) as db:
        batch, body = _batch(db, session), event_of(db, session)
        said = {"kind": "approved", "batch": digest, "who": require_line(who, "--by"), "how": how}
        if _done_before(db, batch, said):
            return len(batch.orders)
        if digest != batch.digest or {*how.split(",")} & _used(db):
            raise ApprovalError(
                f"this approval is for a different batch than {session} ({batch.code}), or was already used"
            )
        changed = sorted(key for key in {*about, *batch.about} if about.get(key) != batch.about.get(key))
        if changed or batch_digest(body, about) != digest:
            raise ApprovalError(
                f"{', '.join(changed) or 'the book'} changed since {session} was decided, so its batch is void"
            )
        _require_waiting(batch, ("PENDING", "APPROVED") if signed else ("PENDING",))
        may_go()
        kept = {"signed": [dict(token) for token in signed]} if signed else {}
        changed_states = [] if "APPROVED" in set(batch.orders["status"]) else _states(batch)
        _append(db, said | kept | {"when": when, "session": _last(db), "orders": changed_states})
    return len(batch.orders)


def reject(path: Path | str, session: str, *, who: str, reason: str, when: str) -> int:
    """Reject the batch of `session`, approved or not, before any of it is filled; how many orders."""
    with database.write(database.place(path)) as db:
        batch = _batch(db, session)
        said = {"kind": "rejected", "batch": batch.digest, **_signed(who, reason)}
        if _done_before(db, batch, said):
            return len(batch.orders)
        _require_waiting(batch, ("PENDING", "APPROVED"))
        _append(db, said | {"when": when, "session": _last(db), "orders": _states(batch)})
    return len(batch.orders)


def record_fills(
    path: Path | str,
    session: str,
    fills: pd.DataFrame,
    *,
    when: str,
    source: str,
    accepted: tuple[str, str] = ("", ""),
    outside: Mapping[str, str] = MappingProxyType({}),
    forced: Set[str] = frozenset(),
) -> int:
    """Record what a broker did with the batch of `session`; how many fills are new. All of them or none.

    fills : columns fill_id, order_id, shares (signed), price (USD), commission_cents, date; see `brokers.parse_fills`
    source : sha256 of the file that they come from
    accepted : (who, reason) of a person who takes responsibility for fills that match no order: a fill on another day,
        of an order that was not approved or does not exist, of more than was open. Those are booked under that name as
        corrections, each with the irregularity; a column symbol names the security if the order does not
    outside : what is not plausible, by fill_id (see `fill_collars.outside`); forced : fills that happened all the same,
        and that `accepted` answers for. Where any is named, a fill that matches no order must be named too

    A fill that is recorded already changes nothing; with the same id and other content it is refused, as is one of an
    unknown order, on another day, to the wrong side, or of more than is open: BookError (60). ApprovalError (55) for an
    order that was not approved. A fill of an order that was voided or expired after its approval happened, and is
    taken.
    """
    with database.write(database.place(path)) as db:
        if state_of(db).kind != "live":
            raise BookError(f"{path} is a paper book with simulated fills; only a live book accepts imported fills")
        batch, units, rows = _batch(db, session), _share_units(db), fills.to_dict("records")
        booked = _booked(db)
        for row in rows:
            _require_as_booked(db, row, booked.get(row["fill_id"]), units)
        odd = _odd(rows, batch, db, units) if any(accepted) else {}
        sound = [row for row in rows if row["fill_id"] not in {*odd, *booked}]
        new = [row for row in _checked(sound, batch, units) if not _known(db, row, units)]
        follow = _follow(new, batch, db, units)
        late = [row for row in rows if row["fill_id"] in odd and row["fill_id"] not in booked]
        taken = _forced([*new, *late], odd, outside, forced)
        if new:
            said = {"kind": "fills", "when": when, "source": source, "session": _last(db), "fills": follow}
            mine = {row["fill_id"]: taken[row["fill_id"]] for row in new if row["fill_id"] in taken}
            _append(db, said | ({"forced": mine, **_signed(*accepted)} if mine else {}))
        for row in late:
            why = "; ".join([odd[row["fill_id"]], *([taken[row["fill_id"]]] if row["fill_id"] in taken else [])])
            _book_odd(db, row, why, batch, _signed(*accepted), when)
        _require_room(db)
    return len(new) + len(late)


def recorded_fills(path: Path | str) -> set[str]:
    """Ids of all fills that were ever recorded, those that were booked by name or reversed since among them."""
    query = "SELECT fill_id FROM fills"
    return database.read(database.place(path), lambda db: {*(key for (key,) in db.execute(query)), *_booked(db)})


def record_cash(
    path: Path | str,
    *,
    flow: str,
    cents: int,
    who: str,
    reason: str,
    when: str,
    again: bool = False,
    forced: str = "",
) -> int:
    """Record cash that came or went without a trade; returns the cash now, cents.

    flow : deposits and withdrawals do not count as performance; fees and interest do. Interest that the broker takes,
        on a debit, is a fee: it may leave the cash below zero, and so may a deposit that does not cover a debit
    cents : above zero; forced : why that is not plausible, and was said to have happened all the same

    The same flow again, by the same person with the same reason and nothing in between, changes nothing, for a command
    that was killed can be repeated (see `cash_recorded`); `again` means that it happened a second time.
    """
    if flow not in FLOWS:
        raise UsageError(f"unknown cash flow {flow!r}; choose from {', '.join(FLOWS)}")
    if not (isinstance(cents, int) and cents > 0):
        raise UsageError(f"the amount must be above 0 USD, not {cents} cents; the kind sets its sign")
    with database.write(database.place(path)) as db:
        said = {"kind": "cash", "flow": flow, "cents": FLOWS[flow] * cents, **_signed(who, reason)}
        if said.items() <= event_chain.last_event(db).items() and not again:
            return state_of(db).cash_now_cents
        now = state_of(db).cash_now_cents + FLOWS[flow] * cents
        if not abs(now) < LARGEST_CENTS:
            raise BookError(f"a {flow} of {cents / 100:,.2f} USD is too much: a book holds less than a trillion USD")
        if now < 0 and flow == "withdrawal":
            raise BookError(
                f"a {flow} of {cents / 100:,.2f} USD would leave {now / 100:,.2f} USD in cash; sell positions first"
            )
        _append(db, said | ({"forced": forced} if forced else {}) | {"when": when, "session": _last(db)})
        _require_room(db)
    return now


def cash_recorded(path: Path | str, *, flow: str, cents: int, who: str, reason: str) -> str:
    """When exactly this entry of cash was recorded, if it is the last thing that happened to the book; else nothing."""
    said = {"kind": "cash", "flow": flow, "cents": FLOWS.get(flow, 0) * cents, **_signed(who, reason)}
    last = database.read(database.place(path), event_chain.last_event)
    return last["when"] if said.items() <= last.items() else ""


def adjust(
    path: Path | str,
    *,
    who: str,
    reason: str,
    when: str,
    shares: Mapping[str, float] | None = None,
    prices: Mapping[str, float] | None = None,
    cash_cents: int = 0,
    receivables: Sequence[Mapping] = (),
) -> None:
    """Correct a book that is wrong: shares and cash change by so much, by name, and the next settlement takes it in.

    shares : signed change by symbol; prices : USD, of the symbols for which the book knows none
    receivables : what is owed to the book: symbol, kind, due (YYYY-MM-DD) and cents of each

    It counts as performance, because earlier values were wrong, and the kill switch sees it. Shares are valued at
    their last known close, and are a lot of that cost. BookError for shares without a known price. The same
    correction again, with nothing in between, changes nothing.
    """
    with database.write(database.place(path)) as db:
        said = {"kind": "adjusted", **_signed(who, reason), "difference": ""}
        rows, named = _corrections(db, state_of(db), shares or {}, prices or {}, cash_cents, receivables, when)
        if not rows:
            raise UsageError("empty adjustment: it must change shares or cash")
        if not (said | {"rows": rows}).items() <= event_chain.last_event(db).items():
            _append(db, said | {"rows": rows, "securities": named, "when": when, "session": _last(db)})
        _require_room(db)


def rename(path: Path | str, *, symbol: str, to: str, date: str, who: str, reason: str, when: str) -> str:
    """Say that a security is called `to` from `date` on; returns its id. What is held, ordered and paid for stays.

    A rename is recorded at the session before its date, or later. BookError if the book knows no `symbol`, or holds or
    waits for another security that is called `to`.
    """
    to, date = require_line(to, "the new ticker"), f"{pd.Timestamp(date):%Y-%m-%d}"
    with database.write(database.place(path)) as db:
        said = {"kind": "renamed", "symbol": symbol, "to": to, "date": date, **_signed(who, reason)}
        last = event_chain.last_event(db)
        if said.items() <= last.items():
            return last["security"]
        state = state_of(db)
        security, other = state.securities.get(symbol), state.securities.get(to)
        if security is None:
            raise BookError(
                f"{symbol} is not in the book, which holds {', '.join(state.positions_now.index) or 'nothing'}"
            )
        if to in (symbol, CASH, RECEIVABLES_ROW) or other in {*state.units_now, *state.pending["security"]}:
            raise BookError(f"cannot rename {symbol} to {to}: the book already uses that name")
        since = db.execute("SELECT max(start) FROM names WHERE security = ?", (security,)).fetchone()[0]
        if date < since:
            raise UsageError(f"{date} is before {since}, since when the book calls it {symbol}; correct the date")
        latest = next_session(max(_last(db), when[:10]))
        if pd.Timestamp(date) > latest:
            raise UsageError(f"{date} is too far ahead; record a rename on the session before it, or later")
        named = [{"id": security, "ticker": to, "start": date}]
        named += [{"id": other, "ticker": "", "start": date}] if other else []
        _append(db, said | {"security": security, "securities": named, "when": when, "session": _last(db)})
    return security


def reconcile(
    path: Path | str,
    shares: pd.Series,
    cash_cents: int,
    *,
    closed: str,
    when: str,
    accepted: tuple[str, str] = ("", ""),
    prices: Mapping[str, float] | None = None,
    forced: str = "",
) -> str:
    """Compare a broker's statement with the book; returns the difference in words, empty if there is none.

    shares : signed, by symbol; must agree exactly, the cash within a cent, and each dividend that it shows to be paid
        (see `receivables.paid_by`) within another: those are cash then, and owed no more
    closed : last session that is over: the approved orders up to it have ended, and what is filled is RECONCILED
    accepted : (who, reason) of a person who accepts the statement: the difference is booked under that name, see
        `adjust`, and the book stands on what the broker holds
    prices : USD by symbol, where the statement has them; BookError (60) for a symbol that neither it nor the book knows
    forced : why the difference is not plausible, and was accepted all the same

    An unaccepted difference stops the next run until a statement agrees.
    """
    who, reason = accepted
    signed = _signed(who, reason) if who or reason else {"who": "", "reason": ""}
    with database.write(database.place(path)) as db:
        state = state_of(db)
        if paid := _paid(state, cash_cents):
            _append(db, {"kind": "adjusted", "who": "", "reason": "", "difference": "", "paid": True, "rows": paid,
                         "securities": [], "when": when, "session": _last(db)})  # fmt: skip
            state = state_of(db)
        last = event_chain.last_event(db)
        change, cents = _change(state, shares), cash_cents - state.cash_now_cents
        difference = _difference(state, shares, cash_cents)
        ended = [] if difference and not signed["who"] else _ended(db, closed)
        booked_before = bool(signed["who"]) and {"kind": "adjusted", **signed}.items() <= last.items()
        if booked_before and not difference and not ended:
            return last["difference"]  # the same command again: what it booked is no difference any more
        said = {"kind": "reconciled", "difference": difference, **signed}
        if ended or not said.items() <= last.items():
            _append(db, said | {"orders": ended, "when": when, "session": _last(db)})
        if difference and signed["who"]:
            rows, named = _corrections(db, state, change, prices or {}, cents, (), when)
            rows += taken_away(_named(state, rows))
            booked = {"kind": "adjusted", **signed, "difference": difference, "rows": rows, "securities": named}
            booked |= {"forced": forced} if forced else {}
            _append(db, booked | {"when": when, "session": _last(db)})
        _require_room(db)
    return difference


def halt(path: Path | str, *, who: str, reason: str, when: str) -> int:
    """Halt the book, and void every open order; how many. A book that is halted stays so, and keeps this reason too."""
    with database.write(database.place(path)) as db:
        signed, last = _signed(who, reason), event_chain.last_event(db)
        if {"kind": "halted", **signed}.items() <= last.items():
            return 0
        waiting = state_of(db).pending[["order_id", "status"]].itertuples(index=False)  # no order that has ended
        orders = [{"order_id": key, "before": status} for key, status in waiting]
        _append(db, {"kind": "halted", "state": HALTED, "orders": orders, **signed, "when": when, "session": _last(db)})
    return len(orders)


def reset(
    path: Path | str,
    *,
    who: str,
    reason: str,
    when: str,
    rearm: bool = False,
    sign: Callable[[str], dict[str, Any]] | None = None,
) -> str:
    """Arm the kill switch again; returns the state that it was in. Losses before this moment are forgotten by it, and
    so is what it could not evaluate. The same person with the same reason again changes nothing.

    rearm : also where the switch is ACTIVE, which else is refused (64): it would only be loosened
    sign : makes the signed text that the event keeps, from the hash of the event before it
    """
    with database.write(database.place(path)) as db:
        was, signed = state_of(db).switch, _signed(who, reason)
        if not {"kind": "reset", **signed}.items() <= event_chain.last_event(db).items():
            if was == ACTIVE and not rearm:
                raise UsageError(
                    "the kill switch is ACTIVE, nothing to reset; --rearm restarts its loss and peak "
                    "history from here, which loosens it"
                )
            body = {"kind": "reset", "state": ACTIVE, **signed, "when": when, "session": _last(db)}
            _append(db, body | ({"signed": [sign(event_chain.head(db))]} if sign else {}))
    return was


# ---- inside ----


def _append(db: sqlite3.Connection, body: dict) -> None:
    projection.apply(db, event_chain.append(db, body), body)


def _last(db: sqlite3.Connection) -> str:
    """The book's last session, or nothing before the first."""
    return db.execute("SELECT coalesce(max(session), '') FROM sessions").fetchone()[0]


def _signed(who: str, reason: str) -> dict[str, str]:
    return {"who": require_line(who, "--who"), "reason": require_line(reason, "--reason")}


def statuses(db: sqlite3.Connection, decided: str = "") -> list[tuple[str, str]]:
    """(order_id, state) of all orders, or of those decided on one session."""
    query = """SELECT order_id, (SELECT status FROM order_states s WHERE s.order_id = o.order_id
        ORDER BY seq DESC, n DESC LIMIT 1) FROM orders o WHERE ? IN ('', decided) ORDER BY order_id"""
    return db.execute(query, (decided,)).fetchall()


def _batch(db: sqlite3.Connection, session: str) -> Batch:
    body, units = event_of(db, session), _share_units(db)
    seq = db.execute("SELECT seq FROM sessions WHERE session = ?", (session,)).fetchone()[0]
    states = dict(statuses(db, session))
    filled = Counter() if set(states.values()) <= UNFILLED else _filled(db)
    orders = pd.DataFrame(body["orders"], columns=["order_id", "session", "symbol", "shares", "price", "reason"])
    orders["status"] = [states[key] for key in orders["order_id"]]
    left = [row["shares"] - filled[row["order_id"]] for row in body["orders"]]
    orders["open"] = in_shares(pd.Series(left, index=orders.index, dtype="int64"), units)
    orders["security"] = [row.get("security", row["symbol"]) for row in body["orders"]]
    renamed = orders["security"].map(_renamed(db, seq))
    orders["ticker"] = renamed.where(renamed.notna(), orders["symbol"])
    orders["shares"] = in_shares(orders["shares"], units)
    moved = read_moves(db, session, set(orders["order_id"]))
    return Batch(session, **body["batch"], orders=orders, moved=moved)


def read_moves(db: sqlite3.Connection, session: str, orders: Set[str] = frozenset()) -> str:
    """Kinds of the events that moved the book since a session was settled, fills of `orders` not among them."""
    seq = db.execute("SELECT seq FROM sessions WHERE session = ?", (session,)).fetchone()[0]
    later = f"SELECT kind, body FROM events WHERE seq > ? AND kind IN ('session', {', '.join('?' * len(MOVES))})"
    return ", ".join(kind for kind, text in db.execute(later, (seq, *MOVES)) if not _is_own(kind, text, orders))


def _is_own(kind: str, text: str, orders: Set[str]) -> bool:
    """Whether an event is of fills of some orders and of nothing else, or takes one of them back, or is of dividends
    that were paid: a session was decided with these in mind."""
    if kind == "adjusted":
        return json.loads(text).get("paid", False)
    if kind == "reversed":
        return json.loads(text)["order_id"] in orders
    return kind == "fills" and {fill["order_id"] for fill in json.loads(text)["fills"]} <= orders


def _renamed(db: sqlite3.Connection, seq: int) -> dict[str, str]:
    """What the securities are called that were renamed after event `seq`, by id."""
    query = """SELECT json_extract(body, '$.security'), json_extract(body, '$.to') FROM events
        WHERE kind = 'renamed' AND seq > ? ORDER BY seq"""
    return dict(db.execute(query, (seq,)).fetchall())


def _states(batch: Batch) -> list[dict]:
    return [{"order_id": row.order_id, "before": row.status} for row in batch.orders.itertuples()]


def _require_waiting(batch: Batch, states: tuple[str, ...]) -> None:
    """ApprovalError unless there are orders, all in one of `states`, and the book has not moved since."""
    found = sorted(set(batch.orders["status"]))
    if not found:
        raise ApprovalError(f"no orders were proposed on {batch.session}")
    if not set(found) <= set(states):
        raise ApprovalError(
            f"the orders of {batch.session} are {', '.join(found)} and can no longer be approved or rejected"
        )
    if batch.moved:
        raise ApprovalError(f"the book changed since {batch.session} was decided ({batch.moved}), so its batch is void")


def _done_before(db: sqlite3.Connection, batch: Batch, said: dict) -> bool:
    """Whether this person has decided the same about this batch already and nothing came after: a repeat."""
    return len(batch.orders) > 0 and said.items() <= event_chain.last_event(db).items()


def _used(db: sqlite3.Connection) -> set[str]:
    """Nonces of the tokens that approved something."""
    rows = db.execute("SELECT json_extract(body, '$.how') FROM events WHERE kind = 'approved'")
    return {nonce for (how,) in rows for nonce in how.split(",")} - {TERMINAL}


def _share_units(db: sqlite3.Connection) -> int:
    return db.execute("SELECT share_units FROM book").fetchone()[0]


def _filled(db: sqlite3.Connection) -> Counter:
    """Units that are filled, by order."""
    query = f"SELECT order_id, sum(shares) FROM fills WHERE fill_id NOT IN ({REVERSED}) GROUP BY order_id"
    return Counter(dict(db.execute(query, (database.LAST,))))


def _units(shares: float, share_units: int, what: str) -> int:
    """Shares in units; BookError if they are no multiple of one."""
    units = round(shares * share_units)
    if units / share_units != shares:
        raise BookError(f"{what} is for {shares:+} shares; this book holds multiples of 1/{share_units:,}")
    return units


def _checked(rows: list[dict], batch: Batch, share_units: int) -> list[dict]:
    """Fills of this batch in units, with security and cents; BookError names one of an unknown order, side or day."""
    orders = batch.orders.set_index("order_id")
    found = []
    for row in rows:
        if row["order_id"] not in orders.index:
            raise BookError(f"fill {row['fill_id']}: order {row['order_id']} is not in the batch of {batch.session}")
        order, shares = orders.loc[row["order_id"]], row["shares"]
        due = f"{session_from(order['session']):%Y-%m-%d}"
        if row["date"] != due:
            raise BookError(f"fill {row['fill_id']} is dated {row['date']}, its order was for {due}")
        if shares * order["shares"] <= 0:
            raise BookError(f"fill {row['fill_id']} is for {shares:+} shares, its order for {order['shares']:+}")
        units = _units(shares, share_units, f"fill {row['fill_id']}")
        notional = round(abs(units) / share_units * row["price"] * 100)
        who = {"symbol": order["symbol"], "security": order["security"], "shares": units}
        found.append({**row, **who, "notional_cents": notional, "slippage_cents": 0})
    return found


def _forced(rows: list[dict], odd: Mapping[str, str], outside: Mapping[str, str], forced: Set[str]) -> dict[str, str]:
    """What is not plausible about the fills that a person forces, by id; BookError for one that is not forced."""
    for row in rows:
        key = row["fill_id"]
        if key in outside and key not in forced:
            raise BookError(
                f"fill {key}: {outside[key]}; correct the file, or, if it happened, take it with --force {key} "
                "--who NAME --reason WHY; the whole file is rejected"
            )
        if forced and key in odd and key not in forced:
            raise BookError(f"{odd[key]}; name it in --force too, or correct the file; the whole file is rejected")
    return {row["fill_id"]: outside[row["fill_id"]] for row in rows if row["fill_id"] in outside}


def _require_room(db: sqlite3.Connection) -> None:
    """BookError if the book would hold more than it can count, whoever says that it happened."""
    state = state_of(db)
    prices = last_prices(db, state)
    worth = [abs(n) / state.share_units * prices[security] * 100 for security, n in state.units_now.items()]
    if not abs(state.cash_now_cents) + sum(worth) <= LARGEST_CENTS:
        raise BookError(f"the book cannot hold more than {LARGEST_CENTS / 100:,.0f} USD; correct the amount")


def _known(db: sqlite3.Connection, row: dict, share_units: int) -> bool:
    """Whether this very fill is recorded; BookError if its id is, with other content."""
    names = ("order_id", "date", *projection.FILLED)
    known = db.execute(f"SELECT {', '.join(names)} FROM fills WHERE fill_id = ?", (row["fill_id"],)).fetchone()
    if known is not None and known != tuple(row[name] for name in names):
        was = dict(zip(names, known, strict=True))
        shares = shares_text(was["shares"], share_units, "+")
        said = f"{shares} shares of {was['order_id']} at {was['price']:g} on {was['date']}"
        said += ", and was reversed" if row["fill_id"] in reversed_fills(db) else ""
        raise BookError(
            f"fill {row['fill_id']} is already recorded with different values: {said}; use a new fill_id for a new fill"
        )
    return known is not None


def _follow(rows: list[dict], batch: Batch, db: sqlite3.Connection, share_units: int) -> list[dict]:
    """Each fill with the state of its order before and after; refused if not approved, or more than is open."""
    states = dict(zip(batch.orders["order_id"], batch.orders["status"], strict=True))
    ordered = {row["order_id"]: row["shares"] for row in event_of(db, batch.session)["orders"]}
    filled = _filled(db)
    approved = {key for (key,) in db.execute("SELECT order_id FROM order_states WHERE status = 'APPROVED'")}
    found = []
    for row in rows:
        key = row["order_id"]
        if key not in approved:
            raise ApprovalError(f"fill {row['fill_id']}: order {key} was not approved (state {states[key]})")
        if states[key] == "RECONCILED":
            raise BookError(
                f"fill {row['fill_id']}: order {key} was closed by reconciliation; book the fill with --who "
                "and --reason"
            )
        left = ordered[key] - filled[key]
        if abs(row["shares"]) > abs(left):
            shares, open_ = (shares_text(n, share_units, "+") for n in (row["shares"], left))
            raise BookError(f"fill {row['fill_id']}: {shares} shares for order {key}, but only {open_} are open")
        filled[key] += row["shares"]
        after = "FILLED" if filled[key] == ordered[key] else "PARTIALLY_FILLED"
        found.append({**row, "before": states[key], "after": after})
        states[key] = after
    return found


def _paid(state: BookState, cash_cents: int) -> list[dict]:
    """Rows that turn dividend receivables into the cash of a statement; none if they do not explain it."""
    more = cash_cents - state.cash_now_cents
    found = paid_by([row for row in state.receivables_now if row.kind == "dividend"], more)
    return [{**BLANK, "cents": more}, *taken_away(found)] if found and abs(more) > 1 else []


def _named(state: BookState, rows: list[dict]) -> tuple[Receivable, ...]:
    """The spin-offs that some corrections name: new shares, with the cash beside them, that are worth about as much."""
    new = [row for row in rows if row["shares"] > 0 and row["security"] not in state.units_now]
    worth = sum(round(row["shares"] / state.share_units * row["price"] * 100) for row in new)
    worth += sum(row["cents"] for row in rows)
    owed = [row for row in state.receivables_now if row.kind == "spin_off"]
    some = [(abs(sum(row.cents for row in part) - worth), part) for n in range(1, min(len(owed), 4) + 1)
            for part in combinations(owed, n)]  # fmt: skip
    off, part = min(some, key=lambda each: each[0], default=(0, ()))
    return part if new and off <= NEAR * abs(worth) else ()


def _odd(rows: list[dict], batch: Batch, db: sqlite3.Connection, share_units: int) -> dict[str, str]:
    """The irregularity of each fill that matches no order, by its id; those before it in the file count as booked."""
    found: dict[str, str] = {}
    sound: list[dict] = []
    recorded = {key for (key,) in db.execute("SELECT fill_id FROM fills")}
    for row in rows:
        try:
            checked = [
                each for each in _checked([*sound, row], batch, share_units) if not _known(db, each, share_units)
            ]
            _follow(checked, batch, db, share_units)
            sound.append(row)
        except (ApprovalError, BookError) as error:
            if row["fill_id"] in recorded:  # one id is one fill, whoever accepted it
                raise
            found[row["fill_id"]] = str(error)
    return found


def _booked(db: sqlite3.Connection) -> dict[str, dict]:
    """The events of the fills booked as corrections, by id."""
    query = "SELECT body FROM events WHERE kind = 'adjusted' AND json_extract(body, '$.fill') IS NOT NULL"
    bodies = [json.loads(text) for (text,) in db.execute(query)]
    return {body["fill"]: body for body in bodies}


def _require_as_booked(db: sqlite3.Connection, row: dict, booked: dict | None, share_units: int) -> None:
    """BookError if a fill is booked as a correction, and was for other shares or another amount."""
    if booked is None:
        return
    was = [sum(each[name] for each in booked["rows"]) for name in ("shares", "cents")]
    if was != [round(row["shares"] * share_units), _paid_for(row)]:
        gone = ", and was reversed" if row["fill_id"] in reversed_fills(db) else ""
        raise BookError(
            f"fill {row['fill_id']} is already booked with different values: "
            f"{shares_text(was[0], share_units, '+')} shares for {was[1] / 100:+,.2f} USD{gone}; "
            "use a new fill_id for a new fill"
        )


def _paid_for(row: dict) -> int:
    """What a fill that no order explains does to the cash, cents."""
    return -round(row["shares"] * row["price"] * 100) - row["commission_cents"]


def _book_odd(db: sqlite3.Connection, row: dict, why: str, batch: Batch, signed: dict, when: str) -> None:
    """Book one fill that no order explains: its shares and its cash, by name."""
    named = batch.orders.set_index("order_id")["ticker"].to_dict()
    symbol = named.get(row["order_id"]) or row.get("symbol")
    if not symbol:
        raise BookError(f"{why}; add a symbol column to the file to book it with --who")
    prices = {symbol: row["price"]}
    rows, securities = _corrections(db, state_of(db), {symbol: row["shares"]}, prices, _paid_for(row), (), when)
    said = {"kind": "adjusted", **signed, "difference": why, "fill": row["fill_id"], "rows": rows}
    _append(db, said | {"securities": securities, "when": when, "session": _last(db)})


def _change(state: BookState, shares: pd.Series) -> dict[str, float]:
    """By how many shares a statement differs, by symbol."""
    ours, theirs = state.positions_now, shares[shares != 0]
    names = sorted({*ours.index, *theirs.index})
    change = theirs.reindex(names, fill_value=0) - ours.reindex(names, fill_value=0)
    return {symbol: n for symbol, n in zip(change.index, change, strict=True) if abs(n) * state.share_units >= 0.5}


def _corrections(
    db: sqlite3.Connection,
    state: BookState,
    shares: Mapping[str, float],
    prices: Mapping[str, float],
    cash_cents: int,
    receivables: Sequence[Mapping],
    when: str,
) -> tuple[list[dict], list[dict]]:
    """(rows of an adjustment, names of the securities that are seen for the first time)."""
    ids, known, named, day = dict(state.securities), last_prices(db, state), [], _last(db) or when[:10]
    for symbol in sorted({*shares, *(row["symbol"] for row in receivables)} - {*ids}):
        ids[symbol] = new_id(require_line(symbol, "a symbol"), state.ids, day)
        named.append({"id": ids[symbol], "ticker": symbol, "start": day})
    rows = [{**BLANK, "cents": cash_cents}] if cash_cents else []
    for symbol, n in sorted(shares.items()):
        price = known.get(ids[symbol], prices.get(symbol))
        if price is None or not 0 < price < float("inf"):
            raise BookError(f"{symbol} is new to the book and has no price; add a price column to the statement")
        units = round(n * state.share_units)
        rows.append({**BLANK, "security": ids[symbol], "symbol": symbol, "shares": units, "price": float(price)})
    return rows + [{**BLANK, "security": ids[row["symbol"]], **row} for row in receivables], named


def _difference(state: BookState, shares: pd.Series, cash_cents: int) -> str:
    """Differences between a broker statement and the book, in words."""
    ours, theirs = state.positions_now.to_dict(), shares.to_dict()
    parts = [
        f"{symbol}: book {ours.get(symbol, 0):.10g}, statement {theirs.get(symbol, 0):.10g} shares"
        for symbol in _change(state, shares)
    ]
    if not abs(state.cash_now_cents - cash_cents) <= 1:
        parts.append(f"cash: book {state.cash_now_cents / 100:,.2f}, statement {cash_cents / 100:,.2f} USD")
    if parts and (owed := state.receivables_now):
        parts.append(f"outstanding receivables, included in neither: {owed_text(owed)}")
    return "; ".join(parts)


def _ended(db: sqlite3.Connection, closed: str) -> list[dict]:
    """Approved orders of sessions that are over, with their end: what is filled is reconciled, the rest has expired."""
    due = {key for (key,) in db.execute("SELECT order_id FROM orders WHERE session <= ?", (closed,))}
    after = {"FILLED": "RECONCILED", "PARTIALLY_FILLED": "RECONCILED", "APPROVED": "EXPIRED"}
    why = {"APPROVED": "no fill by the statement", "PARTIALLY_FILLED": "the rest was not filled"}
    return [
        {"order_id": key, "before": status, "after": after[status], "reason": why.get(status, "")}
        for key, status in statuses(db)
        if key in due and status in after
    ]
