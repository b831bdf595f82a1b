"""From the events of a book to its tables: what each event means, and whether the tables still agree.

Every row follows from the body of one event alone, so the tables can be made again, and compared, at any time.

Bodies of format 2 are read as well, and are never rewritten: each missing field has one meaning. Their shares are
whole and their money is in US cents; a security's id is its ticker; they keep no lots, no receivables and no
adjustments. The event `upgraded` adds once what format 3 needs.
"""

import json
import sqlite3
from collections import Counter
from itertools import pairwise

from openbook.common.errors import BookError
from openbook.ledger.facts import Mark
from openbook.ledger.records import CURRENCY, MINOR_UNITS
from openbook.ledger.schema import DERIVED, TRANSITIONS

MARKED = tuple(Mark.model_fields)[1:]
SINCE_3 = {"receivables_cents": 0, "adjustments_cents": 0}
ORDERED = ("symbol", "shares", "price", "reason")
FILLED = ("symbol", "shares", "price", "notional_cents", "commission_cents", "slippage_cents")
CLOSED = ("date", "security", "opened", "kind", "shares", "cost_cents", "proceeds_cents")
OWED = ("security", "symbol", "kind", "due", "cents")
ADJUSTED = ("security", "symbol", "shares", "price", "cents", "kind", "due")
# The column with the session of a row; the rows of a few small tables are compared in every read.
COMMITTED = dict.fromkeys(("sessions", "positions", "lots", "closed_lots", "receivables"), "session")
COMMITTED |= dict.fromkeys(("history", "names", "order_states", "fills"), "committed") | {"orders": "decided"}
SMALL = ("flows", "adjustments", "switch", "reconciliations")
COMMITTED |= dict.fromkeys(SMALL, "committed")


def apply(db: sqlite3.Connection, seq: int, body: dict) -> None:
    """Insert the rows that follow from one event."""
    if body["kind"] == "reversed":  # a book that is older than reversals does not know their transitions
        db.executemany("INSERT OR IGNORE INTO transitions VALUES (?, ?)", TRANSITIONS)
    for table, rows in derive(seq, body).items():
        if rows:
            db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)


def derive(seq: int, body: dict) -> dict[str, list[tuple]]:
    """The rows of each table that follow from one event, and from nothing else."""
    if body["kind"] not in MEANINGS:
        raise BookError(f"the book has an event {body['kind']!r} of a newer openbook; update openbook")
    rows = MEANINGS[body["kind"]](seq, body)
    named = enumerate(body.get("securities", ()), start=1)
    return rows | {"names": [(seq, n, body["session"], s["id"], s["ticker"], s["start"]) for n, s in named]}


def format_of(db: sqlite3.Connection) -> int:
    """The format that a chain of events has come to: that of its first event, or what it was upgraded to."""
    query = """SELECT coalesce(max(json_extract(body, '$.to')), (SELECT json_extract(body, '$.format') FROM events
        WHERE seq = 1), 2) FROM events WHERE kind = 'upgraded'"""
    return db.execute(query).fetchone()[0]


def _opened(seq: int, body: dict) -> dict[str, list[tuple]]:
    units = (body.get("currency", CURRENCY), body.get("minor_units", MINOR_UNITS), body.get("share_units", 1))
    return {"book": [(1, body["book"], body["cash_cents"], *units)]}


def _upgraded(seq: int, body: dict) -> dict[str, list[tuple]]:
    """The open lots of an older book, recorded once in this format."""
    return {"lots": _lots(body["session"], body["lots"])}


def _session(seq: int, body: dict) -> dict[str, list[tuple]]:
    """A settled session, its orders, and the trips of the kill switch."""
    day, settled = body["session"], body["settlement"]
    invested = sum(row["value_cents"] for row in settled["holdings"])
    changes = [(r["order_id"], r["before"], r["status"], r["reason"]) for r in settled["results"]] + _proposed(body)
    trips = enumerate(body["switch"]["trips"], start=1)
    fills = [row for row in settled["fill_rows"] if not row["recorded"]]
    owed = settled.get("receivables", ())
    closed = enumerate(settled.get("closed", ()), start=1)
    held = [(h["symbol"], h["shares"], h["price"], h["value_cents"], h.get("cost_cents")) for h in settled["holdings"]]
    ids = [_security(h) for h in settled["holdings"]]
    total = sum(row["cents"] for row in owed)
    return {
        "sessions": [(day, seq, body["inputs_hash"], settled["cash_cents"], invested, total)],
        "positions": [(day, key, *row) for key, row in zip(ids, held, strict=True)],
        "lots": _lots(day, settled.get("lots", ())),
        "closed_lots": [(day, n, *(row[name] for name in CLOSED)) for n, row in closed],
        "receivables": [(day, n, *(row[name] for name in OWED)) for n, row in enumerate(owed, start=1)],
        "history": [(m["date"], day, *((SINCE_3 | m)[name] for name in MARKED)) for m in settled["marks"]],
        "orders": _orders(body),
        "order_states": _states(seq, day, changes),
        "fills": _fills(seq, day, fills),
        "switch": [(seq, n, day, t["state"], t["session"], t["check"], "", t["detail"]) for n, t in trips],
    }


def _superseded(seq: int, body: dict) -> dict[str, list[tuple]]:
    """A session was decided again: its first orders, as far as still open, are void, and others replace them."""
    day, why = body["session"], f"superseded by decision {body['version']}"
    changes = [(row["order_id"], row["before"], "VOID", why) for row in body["void"]] + _proposed(body)
    trips = enumerate(body["new_trips"], start=1)
    return {
        "orders": _orders(body),
        "order_states": _states(seq, day, changes),
        "switch": [(seq, n, day, t["state"], t["session"], t["check"], "", t["detail"]) for n, t in trips],
    }


def _judged(seq: int, body: dict) -> dict[str, list[tuple]]:
    """A batch that a person approved or rejected."""
    status, why = body["kind"].upper(), body.get("reason", "")
    changes = [(row["order_id"], row["before"], status, why) for row in body["orders"]]
    return {"order_states": _states(seq, body["session"], changes)}


def _filled(seq: int, body: dict) -> dict[str, list[tuple]]:
    """Fills that a person recorded, each with what it makes of its order."""
    changes = [(row["order_id"], row["before"], row["after"], "") for row in body["fills"]]
    states = _states(seq, body["session"], changes)
    return {"fills": _fills(seq, body["session"], body["fills"]), "order_states": states}


def _flowed(seq: int, body: dict) -> dict[str, list[tuple]]:
    return {"flows": [(seq, body["session"], body["flow"], body["cents"])]}


def _adjusted(seq: int, body: dict) -> dict[str, list[tuple]]:
    """What a person corrected in a book that was wrong."""
    rows = enumerate(body["rows"], start=1)
    return {"adjustments": [(seq, n, body["session"], *(row[name] for name in ADJUSTED)) for n, row in rows]}


def _reversed(seq: int, body: dict) -> dict[str, list[tuple]]:
    """A fill that was taken back: what that makes of its order and, if it was settled, of shares and cash. The fill
    keeps its row, and `queries` leave it out from then on."""
    changes = [(row["order_id"], row["before"], row["after"], row["reason"]) for row in body["orders"]]
    return _adjusted(seq, body) | {"order_states": _states(seq, body["session"], changes)}


def _renamed(seq: int, body: dict) -> dict[str, list[tuple]]:
    """A security has another ticker; see `names`."""
    return {}


def _switched(seq: int, body: dict) -> dict[str, list[tuple]]:
    """A person halted the book, and its open orders are void; or reset it."""
    row = (seq, 1, body["session"], body["state"], body["session"], body["kind"], body["who"], body["reason"])
    changes = [(order["order_id"], order["before"], "VOID", body["reason"]) for order in body.get("orders", [])]
    return {"switch": [row], "order_states": _states(seq, body["session"], changes)}


def _reconciled(seq: int, body: dict) -> dict[str, list[tuple]]:
    """A statement was compared with the book; if both agree, the outcome of its orders is final."""
    settled = not body["difference"] or bool(body["who"])
    changes = [(row["order_id"], row["before"], row["after"], row["reason"]) for row in body["orders"]]
    row = (seq, body["session"], int(settled), body["difference"])
    return {"reconciliations": [row], "order_states": _states(seq, body["session"], changes)}


MEANINGS = {
    "opened": _opened,
    "session": _session,
    "superseded": _superseded,
    "approved": _judged,
    "rejected": _judged,
    "fills": _filled,
    "cash": _flowed,
    "adjusted": _adjusted,
    "reversed": _reversed,
    "renamed": _renamed,
    "upgraded": _upgraded,
    "halted": _switched,
    "reset": _switched,
    "reconciled": _reconciled,
}


def _orders(body: dict) -> list[tuple]:
    day, version = body["session"], body.get("version", 1)
    orders = body["orders"]
    keys = [(o["order_id"], day, o["session"], _security(o)) for o in orders]
    return [(*key, *(o[name] for name in ORDERED), version) for key, o in zip(keys, orders, strict=True)]


def _proposed(body: dict) -> list[tuple]:
    """The first states of the orders of a session: pending, or approved by rule."""
    steps = ["NEW", "PROPOSED", "PENDING", *([] if body["batch"]["manual"] else ["APPROVED"])]
    return [(order["order_id"], *pair, "") for order in body["orders"] for pair in pairwise(steps)]


def _states(seq: int, day: str, changes: list[tuple]) -> list[tuple]:
    return [(key, seq, n, day, *change) for n, (key, *change) in enumerate(changes, start=1)]


def _fills(seq: int, day: str, rows: list[dict]) -> list[tuple]:
    keys = ((row["fill_id"], row["order_id"], seq, day, row["date"], _security(row)) for row in rows)
    return [(*key, *(row[name] for name in FILLED)) for key, row in zip(keys, rows, strict=True)]


def _lots(day: str, rows: list[dict]) -> list[tuple]:
    """Lots of some securities, each numbered from its oldest."""
    counts: Counter[str] = Counter()
    found = []
    for row in rows:
        counts[row["security"]] += 1
        found.append((day, row["security"], counts[row["security"]], row["opened"], row["shares"], row["cost_cents"]))
    return found


def _security(row: dict) -> str:
    """The id that a row is about; in format 2 it is the ticker."""
    return row.get("security") or row["symbol"]


def audit(db: sqlite3.Connection) -> None:
    """BookError if any table differs from the events: a person or a failing disk got past its guards.

    An index that does not agree with its table is found too: a question that goes by it would miss rows.
    """
    damage = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if damage != "ok":
        raise BookError(f"the book is damaged: {damage}; restore it from a backup")
    _compare(db, "SELECT seq, body FROM events", (), dict.fromkeys(DERIVED, ""))


def require_agreement(db: sqlite3.Connection, day: str) -> None:
    """BookError if the rows that belong to session `day`, or the small tables, differ from the events; the quick
    part of an audit."""
    query = "SELECT seq, body FROM events WHERE session = ?"
    _compare(db, query, (day,), {table: f" WHERE {column} = '{day}'" for table, column in COMMITTED.items()})
    acts = "SELECT seq, body FROM events WHERE kind <> 'session' OR trips > 0"
    _compare(db, acts, (), dict.fromkeys(SMALL, ""))


def _compare(db: sqlite3.Connection, query: str, arguments: tuple, where: dict[str, str]) -> None:
    """BookError unless the tables of `where` hold exactly what follows from the events found by `query`."""
    derived: dict[str, set] = {table: set() for table in where}
    for seq, text in db.execute(query, arguments):
        for table, rows in derive(seq, json.loads(text)).items():
            if table in derived:
                derived[table].update(rows)
    for table, condition in where.items():
        if set(db.execute(f"SELECT * FROM {table}{condition}")) != derived[table]:
            raise BookError(f"table {table} does not match the events; restore the book from a backup")
