"""A fill that was recorded by mistake and is taken back: the book goes on as if it had never been recorded.

The fill and everything that was settled with it stay where they are. One event follows, `reversed`. From then on no
query sees the fill. Where a settled session lies between, the event also has an adjustment, by which today's shares,
cash and receivables become what they would be without it, and the lots of that security as they would be.
"""

import json
import sqlite3
from bisect import bisect_left
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from openbook.common.errors import BookError
from openbook.common.text import require_line
from openbook.execution.share_units import shares_text
from openbook.ledger import database, event_chain, lots, projection
from openbook.ledger.book import state_of
from openbook.ledger.facts import OPEN_END, REVERSAL, Action, Adjustment, Fill, Lot, Receivable, cash_change, worth
from openbook.ledger.lots import whole_shares
from openbook.ledger.queries import last_prices
from openbook.ledger.records import BookState
from openbook.market.ratios import read_ratio

OPEN = ("PENDING", "APPROVED", "PARTIALLY_FILLED")
BLANK = {"security": "", "symbol": "", "shares": 0, "price": None, "cents": 0, "kind": REVERSAL, "due": ""}

Event = tuple[int, dict]


def reverse_fill(path: Path | str, fill_id: str, *, who: str, reason: str, when: str) -> str:
    """Take a recorded fill back; what that did, in words. The right one can then be recorded under another id.

    A fill that was booked by name, because it matched no order, can be taken back too. The same reversal again, with
    nothing in between, changes nothing. BookError (60) for a fill that is not in the book, for one that was reversed
    before, and in a paper book, where fills are simulated.
    """
    signed = {"who": require_line(who, "--who"), "reason": require_line(reason, "--reason")}
    with database.write(database.place(path)) as db:
        state, last = state_of(db), event_chain.last_event(db)
        if state.kind != "live":
            raise BookError(f"{path} is a paper book; its fills are simulated and cannot be reversed")
        if ({"kind": "reversed", "fill": fill_id} | signed).items() <= last.items():
            return str(last["done"])
        events = [(seq, json.loads(text)) for seq, text in db.execute("SELECT seq, body FROM events ORDER BY seq")]
        wrong = _recorded(events, fill_id, path)
        body = {"kind": "reversed", "fill": fill_id, **signed, **_consequences(db, state, events, wrong)}
        body |= {"when": when, "session": f"{state.last_session:%Y-%m-%d}"}
        projection.apply(db, event_chain.append(db, body), body)
    return str(body["done"])


@dataclass(frozen=True)
class _Recorded:
    """A fill as it was recorded, by event `seq`; `order_id` is empty if it was booked by name."""

    seq: int
    fill_id: str
    order_id: str
    security: str
    symbol: str
    shares: int


def _recorded(events: list[Event], fill_id: str, path: Path | str) -> _Recorded:
    """The fill of that id; BookError if there is none, or none any more."""
    for _, body in events:
        if body["kind"] == "reversed" and body["fill"] == fill_id:
            raise BookError(f"fill {fill_id} was already reversed by {body['who']}, {body['when']}: {body['reason']}")
    for seq, body in events:
        if body["kind"] == "adjusted" and body.get("fill") == fill_id:
            row = next(row for row in body["rows"] if row["shares"])
            return _Recorded(seq, fill_id, "", row["security"], row["symbol"], row["shares"])
        for row in body["fills"] if body["kind"] == "fills" else ():
            if row["fill_id"] == fill_id:
                key = row.get("security") or row["symbol"]
                return _Recorded(seq, fill_id, row["order_id"], key, row["symbol"], row["shares"])
    raise BookError(f"no fill {fill_id} was recorded in {path}; the ids are those of the files of fills")


def _consequences(db: sqlite3.Connection, state: BookState, events: list[Event], wrong: _Recorded) -> dict[str, Any]:
    """The parts of the event that say what the reversal changes."""
    earlier = {body["fill"] for _, body in events if body["kind"] == "reversed"}
    settled = any(body["kind"] == "session" for seq, body in events if seq > wrong.seq)
    rows: list[dict] = []
    left: list[dict] | None = None
    unseen = ""
    if settled:
        with_it = _course(events, wrong.security, earlier, state.share_units)
        without = _course(events, wrong.security, earlier | {wrong.fill_id}, state.share_units)
        _require_known(state, wrong, with_it)
        rows = _rows(db, state, wrong, with_it, without)
        left = [lot.model_dump() for lot in without.lots.get(wrong.security, ())]
        unseen = _unseen(wrong, without)
    shares = shares_text(wrong.shares, state.share_units, "+")
    when = "; sessions were settled with it, so shares, cash and lots are adjusted" if settled else ""
    return {
        "order_id": wrong.order_id,
        "security": wrong.security,
        "rows": rows,
        "lots": left,
        "orders": _order(db, events, wrong, earlier | {wrong.fill_id}),
        "done": f"fill {wrong.fill_id}, {shares} {wrong.symbol}, is reversed{when}{unseen}",
    }


def _require_known(state: BookState, wrong: _Recorded, found: "_Course") -> None:
    """BookError unless the events lead to what the book holds of the security."""
    held = state.units.get(wrong.security, 0)
    held += sum(row.shares for row in state.adjustments if row.security == wrong.security and row.kind == REVERSAL)
    kept = state.lots_restated.get(wrong.security, ()) if held else ()
    if (held, kept) != (found.shares, found.lots.get(wrong.security, ())):
        raise BookError(
            f"fill {wrong.fill_id} cannot be taken out of the record of {wrong.symbol}; correct the book to a "
            "statement: openbook reconcile FILE --who NAME --reason WHY"
        )


def _unseen(wrong: _Recorded, without: "_Course") -> str:
    """Which sessions a correction cannot know of, in words."""
    if not without.unseen:
        return ""
    days = " to ".join(sorted({without.unseen[0], without.unseen[-1]}))
    return (
        f"; the book did not hold {wrong.symbol} in {days}, so splits and dividends of those sessions are missing: "
        "compare it with a statement (openbook reconcile)"
    )


# ---- shares, cash and lots ----


@dataclass
class _Course:
    """One security of a live book through its sessions, by fills, corrections and recorded actions.

    cash : cents that came for it; owed : cents by day, kind and number of the receivables that arose
    unseen : sessions before which there are shares here, and were none in the book, which recorded no actions for it
    """

    security: str
    share_units: int
    shares: int = 0
    cash: int = 0
    lots: dict[str, tuple[Lot, ...]] = field(default_factory=dict)
    owed: dict[tuple[str, str, int], int] = field(default_factory=dict)
    unseen: list[str] = field(default_factory=list)

    def carry(self, settled: dict, fills: list[Fill], fixes: list[Adjustment], held: bool) -> bool:
        """Over the sessions of one settlement; whether the book held it after them. held : whether it did before"""
        days = [mark["date"] for mark in settled["marks"]]
        actions = [Action(**row) for row in settled["actions"] if _security(row) == self.security]
        self.shares += sum(row.shares for row in fixes)
        self.cash += sum(row.cents for row in fixes)
        holds = any(_security(row) == self.security for row in settled["holdings"])
        if self.shares and not (held and (holds or len(days) == 1)):
            self.unseen += [days[0], days[-1]]
        acted: list[Action] = []
        for day in days:
            traded = [row for row in fills if days[bisect_left(days, row.date)] == day]
            acted += self.day([row for row in actions if row.date == day], traded, _closes(settled, day))
        self.lots, _ = lots.carry(
            self.lots,
            days=days,
            adjustments=[row for row in fixes if row.shares],
            actions=acted,
            fills=fills,
            share_units=self.share_units,
        )
        return holds

    def day(self, actions: list[Action], traded: list[Fill], closes: dict[str, float]) -> list[Action]:
        """One session; returns its actions as they would be for the shares here."""
        found: list[Action | None] = []
        fraction: Fraction | None = None
        for row in actions:
            if row.kind == "split":
                fraction = self.split(row, found)
            elif row.kind in ("dividend", "spin_off"):
                self.owe(row)
        self.shares += sum(row.shares for row in traded)
        self.cash += sum(map(cash_change, traded))
        paid = [row for row in actions if row.kind == "cash_in_lieu"]
        if fraction is None:
            found += paid
        elif fraction:
            found.append(self.pay(fraction, actions, paid, closes))
        found += [self.delist(row) for row in actions if row.kind == "delisting"]
        acted = [row for row in found if row is not None]
        self.cash += sum(row.cash_cents for row in acted)
        return acted

    def split(self, row: Action, found: list[Action | None]) -> Fraction | None:
        """The fraction of a unit that is left to be paid; None if that is as recorded."""
        before = self.shares
        if before == row.shares_before:
            self.shares = row.shares_after
            found.append(row)
            return None
        ratio = read_ratio(row.value).value
        if whole_shares(row.shares_before * ratio)[0] != row.shares_after:
            ratio = Fraction(row.shares_after, row.shares_before)
        self.shares, fraction = whole_shares(before * ratio)
        if before:
            found.append(row.model_copy(update={"shares_before": before, "shares_after": self.shares}))
        return fraction

    def pay(
        self, fraction: Fraction, actions: list[Action], paid: list[Action], closes: dict[str, float]
    ) -> Action | None:
        """Cash in lieu of a fraction, at the close if the record has it, else at the price paid for another."""
        price = closes.get(self.security)
        if price is None and paid:
            price = paid[0].cash_cents * self.share_units / (100 * paid[0].value)
        if not price:
            return None
        row = next(row for row in actions if row.kind == "split")
        cents = worth(abs(fraction), price, self.share_units) * (1 if fraction > 0 else -1)
        facts = {"kind": "cash_in_lieu", "value": float(fraction), "cash_cents": cents}
        return row.model_copy(update=facts | {"shares_before": self.shares, "shares_after": self.shares})

    def owe(self, row: Action) -> None:
        """A dividend or a spin-off, by the shares here; the part that is withheld is that of the record."""
        here, there = self.shares, row.shares_before
        if row.kind == "dividend":  # exact to the cent where nothing is withheld
            here, there = (worth(n, row.value, self.share_units) for n in (here, there))
        same_day = sum(key[:2] == (row.date, row.kind) for key in self.owed)
        part = Fraction(here, there) if there else Fraction(0)
        self.owed[(row.date, row.kind, same_day)] = round(row.owed_cents * part)
        self.cash += round(row.cash_cents * part)  # in books of format 2 a dividend was cash at once

    def delist(self, row: Action) -> Action | None:
        """The proceeds of a delisting, in proportion."""
        before, self.shares = self.shares, 0
        if not before:
            return None
        cents = round(Fraction(row.cash_cents * before, row.shares_before))
        return row.model_copy(update={"shares_before": before, "cash_cents": cents})


def _course(events: list[Event], security: str, without: set[str], share_units: int) -> _Course:
    """A security through all settled sessions, without some fills; no adjustment by an earlier reversal is needed."""
    course, held = _Course(security, share_units), False
    fills: list[Fill] = []
    fixes: list[Adjustment] = []
    for _, body in events:
        if body["kind"] == "fills":
            fills += [_fill(row) for row in body["fills"] if _is_of(row, security, without)]
        elif body["kind"] == "adjusted" and body.get("fill") not in without:
            fixes += _fixes(body, security)
        elif body["kind"] == "session":
            held = course.carry(body["settlement"], fills, fixes, held or any(row.shares for row in fixes))
            fills, fixes = [], []
    return course


def _is_of(row: dict, security: str, without: set[str]) -> bool:
    return _security(row) == security and row["fill_id"] not in without


def _fill(row: dict) -> Fill:
    """A recorded fill from the body of its event."""
    return Fill(**{name: row[name] for name in Fill.model_fields if name in row}, recorded=True)


def _fixes(body: dict, security: str) -> list[Adjustment]:
    """The rows of an adjustment that are about a security; of a fill that was booked by name its cash too."""
    rows = [Adjustment(**row) for row in body["rows"]]
    of_it = [row for row in rows if row.shares and row.security == security]
    return of_it + [row for row in rows if of_it and body.get("fill") and not (row.shares or row.due)]


def _security(row: dict) -> str:
    return str(row.get("security") or row["symbol"])


def _closes(settled: dict, day: str) -> dict[str, float]:
    """The closes of what is held at the end of a settlement, if that is the day."""
    return {_security(row): row["price"] for row in settled["holdings"]} if settled["session"] == day else {}


def _rows(db: sqlite3.Connection, state: BookState, wrong: _Recorded, with_it: _Course, without: _Course) -> list[dict]:
    """The rows of the adjustment that makes shares, cash and receivables what they would be."""
    about = {"security": wrong.security, "symbol": state.names.get(wrong.security) or wrong.symbol}
    rows = []
    if cents := without.cash - with_it.cash:
        rows.append(BLANK | {"cents": cents})
    if shares := without.shares - with_it.shares:
        rows.append(BLANK | about | {"shares": shares, "price": _price(db, state, wrong)})
    for key in sorted({*with_it.owed, *without.owed}):
        old, new = with_it.owed.get(key, 0), without.owed.get(key, 0)
        owed = [row for row in state.receivables_now if _is_owed(row, wrong.security, key[1], old)]
        if old != new and (owed or not old):
            facts = BLANK | about | {"kind": key[1], "due": OPEN_END}
            rows += [facts | {"cents": cents} for cents in (-old, new) if cents]
    return rows


def _is_owed(row: Receivable, security: str, kind: str, cents: int) -> bool:
    return (row.security, row.kind, row.due, row.cents) == (security, kind, OPEN_END, cents)


def _price(db: sqlite3.Connection, state: BookState, wrong: _Recorded) -> float:
    """What a share is worth until the next close: never the price of the fill, which may be what was wrong."""
    known = last_prices(db, state).get(wrong.security)
    query = """SELECT price FROM positions WHERE security = ? ORDER BY session DESC LIMIT 1"""
    marked = db.execute(query, (wrong.security,)).fetchone()
    ordered = db.execute("SELECT price FROM orders WHERE security = ? ORDER BY decided DESC", (wrong.security,))
    return float(known or (marked or ordered.fetchone())[0])


# ---- the order ----


def _order(db: sqlite3.Connection, events: list[Event], wrong: _Recorded, without: set[str]) -> list[dict]:
    """The state that the order of a fill goes to, if it changes."""
    if not wrong.order_id:
        return []
    query = "SELECT status FROM order_states WHERE order_id = ? ORDER BY seq DESC, n DESC LIMIT 1"
    before = db.execute(query, (wrong.order_id,)).fetchone()[0]
    after = _state_without(db, events, wrong.order_id, without)
    change = {"order_id": wrong.order_id, "before": before, "after": after}
    return [change | {"reason": f"fill {wrong.fill_id} reversed"}] if after != before else []


def _state_without(db: sqlite3.Connection, events: list[Event], order_id: str, without: set[str]) -> str:
    """The state in which an order would be without some fills, by what happened to it otherwise."""
    due, ordered = db.execute("SELECT session, shares FROM orders WHERE order_id = ?", (order_id,)).fetchone()
    rows = db.execute("SELECT seq, status FROM order_states WHERE order_id = ? ORDER BY seq, n", (order_id,))
    changes: dict[int, str] = dict(rows.fetchall())
    status, filled = "", 0
    for seq, body in events:
        if body["kind"] == "fills":
            mine = [row for row in body["fills"] if row["order_id"] == order_id and row["fill_id"] not in without]
            filled += sum(row["shares"] for row in mine)
            status = _filled(filled, ordered) if mine else status
        elif body["kind"] == "halted" and status in OPEN and due > body["session"]:
            status = "VOID"
        elif body["kind"] != "reversed" and seq in changes:
            status = changes[seq]
            status = "EXPIRED" if status == "RECONCILED" and not filled else status
    return status


def _filled(filled: int, ordered: int) -> str:
    return "FILLED" if filled == ordered else "PARTIALLY_FILLED"
