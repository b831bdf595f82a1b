"""Queries on a book's tables: its current state, or the state before any of its sessions. Every function reads inside a
transaction, and none writes."""

import json
import sqlite3
from typing import Any, cast

import pandas as pd

from openbook.common.errors import BookError
from openbook.execution.kill_switch import ACTIVE, worst
from openbook.execution.share_units import in_shares, position_series
from openbook.ledger import projection
from openbook.ledger.database import LAST
from openbook.ledger.facts import Adjustment, Fill, Flow, Lot, Mark, Receivable, Rename
from openbook.ledger.lots import carry, carry_over
from openbook.ledger.records import FILL_COLUMNS, MARK_COLUMNS, PENDING_COLUMNS, BookState, Settlement, performance

# Ids of the fills that were reversed before a session; the question mark is the session.
REVERSED = "SELECT json_extract(body, '$.fill') FROM events WHERE kind = 'reversed' AND session < ?"


def head_before(db: sqlite3.Connection, before: str) -> str:
    """Hash of the last event before session `before`."""
    query = "SELECT hash FROM events WHERE session < ? ORDER BY seq DESC LIMIT 1"
    return db.execute(query, (before,)).fetchone()[0]


def state_before(db: sqlite3.Connection, before: str, *, whole: bool = True) -> BookState:
    """The book as the events of sessions before `before` left it; its history and fills only if `whole`."""
    kind, opening, units = db.execute("SELECT kind, cash_cents, share_units FROM book").fetchone()
    query = """SELECT session, seq, cash_cents, invested_cents FROM sessions WHERE session < ?
        ORDER BY session DESC LIMIT 1"""
    last, seq, cash, invested = db.execute(query, (before,)).fetchone() or ("", 0, opening, 0)
    if last and db.execute("SELECT session FROM events WHERE seq = ?", (seq,)).fetchone() != (last,):
        raise BookError(f"no event matches the book's last session, {last!r}; restore the book from a backup")
    projection.require_agreement(db, last)
    names, renames = names_now(db, before), _renames(db, before, last, seq)
    held = db.execute("SELECT security, symbol, shares, price FROM positions WHERE session = ?", (last,)).fetchall()
    # The tables of the last session and the acts since were compared with their events; older names were not.
    today = {security: symbol for security, symbol, *_ in held} | {row.security: row.to for row in renames}
    positions = [(today[security], n) for security, _, n, _ in held]
    switch, why, armed = _switch(db, before)
    return BookState(
        kind=kind,
        cash_cents=cash,
        invested_cents=invested,
        positions=position_series(positions, units),
        pending=_pending(db, before, last, names | today, units),
        last_session=pd.Timestamp(last) if last else None,
        history=history_before(db, before if whole else ""),
        head=head_before(db, before),
        recorded=_recorded(db, before, seq),
        flows=_flows(db, before, seq),
        switch=switch,
        switch_reason=why,
        marks=_marks(db, before, armed),
        fills=_fills(db, before if whole else "", units),
        unsettled=_unsettled(db, before),
        share_units=units,
        securities={ticker: security for security, ticker in (names | today).items() if ticker},
        ids=frozenset(names | today),
        receivables=_receivables(db, last),
        adjustments=_adjustments(db, before, seq),
        renames=renames,
        lots=_lots(db, before, last, {security: n for security, _, n, _ in held}),
        restated=_restated(db, before, seq),
        prices={security: price for security, *_, price in held},
        last_orders=_last_orders(db, before),
    )


def names_now(db: sqlite3.Connection, before: str) -> dict[str, str]:
    """What every security that was ever seen is called today, by id; nothing if it was delisted."""
    query = "SELECT security, ticker FROM names WHERE committed < ? ORDER BY start, seq, n"
    return dict(db.execute(query, (before,)).fetchall())


def _renames(db: sqlite3.Connection, before: str, last: str, seq: int) -> tuple[Rename, ...]:
    """Renames that were recorded after event `seq`, or are of a day after session `last`, oldest first."""
    query = """SELECT json_extract(body, '$.security'), json_extract(body, '$.symbol'), json_extract(body, '$.to'),
            json_extract(body, '$.date') AS date FROM events
        WHERE kind = 'renamed' AND session < ? AND (seq > ? OR date > ?) ORDER BY date, seq"""
    rows = db.execute(query, (before, seq, last))
    return tuple(Rename(security=key, symbol=was, to=to, date=date) for key, was, to, date in rows)


def _receivables(db: sqlite3.Connection, last: str) -> tuple[Receivable, ...]:
    """What was owed to the book after session `last`."""
    query = f"SELECT {', '.join(projection.OWED)} FROM receivables WHERE session = ? ORDER BY n"
    return tuple(Receivable(**dict(zip(projection.OWED, row, strict=True))) for row in db.execute(query, (last,)))


def _adjustments(db: sqlite3.Connection, before: str, seq: int) -> tuple[Adjustment, ...]:
    """What was corrected by name after event `seq`, oldest first; not fills that were reversed since."""
    query = f"""SELECT {", ".join(projection.ADJUSTED)} FROM adjustments WHERE committed < ? AND seq > ? AND seq NOT IN
        (SELECT seq FROM events WHERE kind = 'adjusted' AND json_extract(body, '$.fill') IN ({REVERSED}))
        ORDER BY seq, n"""
    rows = db.execute(query, (before, seq, before))
    return tuple(Adjustment(**dict(zip(projection.ADJUSTED, row, strict=True))) for row in rows)


def _lots(db: sqlite3.Connection, before: str, last: str, held: dict[str, int]) -> dict[str, tuple[Lot, ...]]:
    """The open lots of what is held after session `last`: of each security the latest recorded ones."""
    old = db.execute("SELECT session FROM events WHERE kind = 'upgraded'").fetchone()
    if old is not None and old[0] >= before:  # before its upgrade: the events know more than the tables
        return _old_lots(db, last)
    query = """SELECT security, opened, shares, cost_cents FROM lots l WHERE security = ? AND session =
        (SELECT max(session) FROM lots WHERE security = l.security AND session <= ?) ORDER BY n"""
    found = {key: tuple(_lot(*row) for row in db.execute(query, (key, last))) for key in held}
    wrong = [key for key, rows in found.items() if sum(lot.shares for lot in rows) != held[key]]
    if wrong:
        raise BookError(f"the lots of {', '.join(wrong)} do not match the positions; restore the book from a backup")
    return found


def _restated(db: sqlite3.Connection, before: str, seq: int) -> dict[str, tuple[Lot, ...]]:
    """The lots that reversals of settled fills left, after event `seq`, by security; the last word on each."""
    query = "SELECT body FROM events WHERE kind = 'reversed' AND session < ? AND seq > ? ORDER BY seq"
    bodies = [json.loads(text) for (text,) in db.execute(query, (before, seq))]
    return {body["security"]: tuple(Lot(**row) for row in body["lots"]) for body in bodies if body["lots"] is not None}


def _lot(security: str, opened: str, shares: int, cost: int) -> Lot:
    return Lot(security=security, opened=opened, shares=shares, cost_cents=cost)


def _old_lots(db: sqlite3.Connection, last: str) -> dict[str, tuple[Lot, ...]]:
    """The lots after session `last` from events that record none."""
    query = "SELECT json_extract(body, '$.settlement') FROM events WHERE kind = 'session' AND session <= ? ORDER BY seq"
    found: dict[str, tuple[Lot, ...]] = {}
    for (text,) in db.execute(query, (last,)):
        found, _ = carry_over(found, Settlement.model_validate_json(text))
    return {key: rows for key, rows in found.items() if rows}


def _pending(db: sqlite3.Connection, before: str, last: str, names: dict[str, str], units: int) -> pd.DataFrame:
    """Orders of sessions after `last` that were open before session `before`, PENDING_COLUMNS; names : by id"""
    query = """
        SELECT o.order_id, o.decided, o.session, o.symbol, o.shares, o.price, o.reason, s.status, o.security
        FROM orders o JOIN order_states s ON s.order_id = o.order_id
            AND (s.seq, s.n) = (SELECT seq, n FROM order_states WHERE order_id = o.order_id AND committed < :before
                ORDER BY seq DESC, n DESC LIMIT 1)
        WHERE o.session > :last AND s.status IN ('PENDING', 'APPROVED', 'PARTIALLY_FILLED') ORDER BY o.order_id
    """
    found = db.execute(query, {"before": before, "last": last}).fetchall()
    table = pd.DataFrame(found, columns=PENDING_COLUMNS)
    table["symbol"] = [names.get(key) or was for key, was in zip(table["security"], table["symbol"], strict=True)]
    text = dict.fromkeys(("order_id", "symbol", "reason", "status", "security"), "str")
    dates = dict.fromkeys(("decided", "session"), "datetime64[us]")
    return table.astype({**text, **dates, "price": "float64"}).assign(shares=in_shares(table["shares"], units))


def _last_orders(db: sqlite3.Connection, before: str) -> pd.DataFrame:
    """Orders of the last session before session `before` that had any, and how they stood then: see `BookState`."""
    query = """
        SELECT o.order_id, o.decided, s.status FROM orders o JOIN order_states s ON s.order_id = o.order_id
            AND (s.seq, s.n) = (SELECT seq, n FROM order_states WHERE order_id = o.order_id AND committed < :before
                ORDER BY seq DESC, n DESC LIMIT 1)
        WHERE o.decided = (SELECT max(decided) FROM orders WHERE decided < :before) ORDER BY o.order_id
    """
    table = pd.DataFrame(db.execute(query, {"before": before}).fetchall(), columns=["order_id", "decided", "status"])
    return table.astype({"order_id": "str", "decided": "datetime64[us]", "status": "str"})


def _recorded(db: sqlite3.Connection, before: str, seq: int) -> tuple[Fill, ...]:
    """Fills that a person recorded after event `seq`, and did not reverse, oldest first."""
    names = [name for name in Fill.model_fields if name != "recorded"]
    query = f"""SELECT {", ".join(names)} FROM fills WHERE committed < ? AND seq > ? AND fill_id NOT IN ({REVERSED})
        ORDER BY seq, fill_id"""
    rows = db.execute(query, (before, seq, before))
    return tuple(Fill(**dict(zip(names, row, strict=True)), recorded=True) for row in rows)


def _fills(db: sqlite3.Connection, before: str, units: int) -> pd.DataFrame:
    """Every fill committed, and not reversed, before session `before`, FILL_COLUMNS."""
    query = f"""SELECT f.date, f.fill_id, f.symbol, f.shares, f.price, f.commission_cents / 100.0,
        f.slippage_cents / 100.0, o.price FROM fills f JOIN orders o USING (order_id) WHERE f.committed < ?
        AND f.fill_id NOT IN ({REVERSED}) ORDER BY f.date, f.fill_id"""
    table = pd.DataFrame(db.execute(query, (before, before)).fetchall(), columns=FILL_COLUMNS)
    return table if units == 1 else table.assign(shares=in_shares(table["shares"], units))


def _flows(db: sqlite3.Connection, before: str, seq: int) -> tuple[Flow, ...]:
    """Cash that came or went after event `seq`, oldest first."""
    rows = db.execute("SELECT kind, cents FROM flows WHERE committed < ? AND seq > ? ORDER BY seq", (before, seq))
    return tuple(Flow(kind=kind, cents=cents) for kind, cents in rows)


def _switch(db: sqlite3.Connection, before: str) -> tuple[str, str, str]:
    """State of the kill switch, why, and the session after which it was armed."""
    query = "SELECT seq, state, session, cause, who, reason FROM switch WHERE committed < ? ORDER BY seq, n"
    state, armed = ACTIVE, ""
    why: list[str] = []
    for _, new, session, cause, who, reason in db.execute(query, (before,)):
        if cause == "reset":
            state, why, armed = ACTIVE, [], session
        else:
            state = worst(state, new)
            why.append(f"{session or 'before its first session'}: {f'{who}: ' if who else f'{cause}: '}{reason}")
    return state, "; ".join(why), armed


def _marks(db: sqlite3.Connection, before: str, armed: str) -> pd.DataFrame:
    """MARK_COLUMNS of the sessions since the switch was armed."""
    query = f"SELECT {', '.join(MARK_COLUMNS)} FROM history WHERE committed < ? AND date > ? ORDER BY date"
    return pd.DataFrame(db.execute(query, (before, armed)).fetchall(), columns=MARK_COLUMNS)


def _unsettled(db: sqlite3.Connection, before: str) -> str:
    """The differences of the last statement, if they were not accepted; else nothing."""
    query = "SELECT settled, difference FROM reconciliations WHERE committed < ? ORDER BY seq DESC LIMIT 1"
    settled, difference = db.execute(query, (before,)).fetchone() or (1, "")
    return "" if settled else difference


def history_before(db: sqlite3.Connection, before: str) -> pd.DataFrame:
    """One row per session before `before`, HISTORY_COLUMNS."""
    names = list(Mark.model_fields)
    query = f"SELECT {', '.join(names)} FROM history WHERE committed < ? ORDER BY date"
    return performance(pd.DataFrame(db.execute(query, (before,)).fetchall(), columns=names))


def reversed_fills(db: sqlite3.Connection) -> set[str]:
    """Ids of the fills that were reversed."""
    return {fill for (fill,) in db.execute(REVERSED, (LAST,))}


def last_prices(db: sqlite3.Connection, state: BookState) -> dict[str, float]:
    """The last price that the book knows of what it holds now, USD by id: the close of its last session, or what was
    paid or stated since."""
    as_of = "" if state.last_session is None else f"{state.last_session:%Y-%m-%d}"
    stated = {row.security: cast(float, row.price) for row in state.adjustments if row.shares}
    filled = {fill.security: fill.price for fill in state.recorded}
    marked = db.execute("SELECT security, price FROM positions WHERE session = ?", (as_of,)).fetchall()
    return stated | filled | dict(marked)


def lots_now(state: BookState) -> dict[str, tuple[Lot, ...]]:
    """Open lots by id, with what was recorded since the last session."""
    days = sorted({row.date for row in state.recorded}) or ["9999-12-31"]
    since: dict[str, Any] = {
        "adjustments": state.adjustments,
        "actions": (),
        "fills": state.recorded,
        "share_units": state.share_units,
    }
    return carry(state.lots_restated, days=days, **since)[0]
