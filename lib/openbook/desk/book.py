"""The book: what we hold, what we ordered, and how both came about. Everything else that is known of it is derived.

A settled session is committed once, as one event and one transaction; every function here takes the path of the file.
"""

import json
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import ValidationError

from openbook.desk import database
from openbook.desk.settlement import require_continuation, settle
from openbook.desk.statement import (
    HISTORY_COLUMNS,
    PENDING_COLUMNS,
    BookState,
    Mark,
    Settlement,
    performance,
    position_series,
)
from openbook.desk.trades import CASH
from openbook.errors import BookError, ConflictError, OutOfOrderError
from openbook.market.calendar import next_session

__all__ = [
    "HISTORY_COLUMNS",
    "ORDER_COLUMNS",
    "POSITION_COLUMNS",
    "BookState",
    "Settlement",
    "audit_book",
    "commit_session",
    "committed_inputs",
    "head",
    "open_book",
    "read_book",
    "settle",
    "views",
]

POSITION_COLUMNS = ["symbol", "shares", "price", "value", "weight", "as_of"]
ORDER_COLUMNS = [
    "order_id",
    "decided",
    "session",
    "symbol",
    "side",
    "shares",
    "filled_shares",
    "price",
    "commission",
    "slippage",
    "status",
    "reason",
]

MARKED = tuple(Mark.model_fields)[1:]
ORDERED = ("session", "symbol", "shares", "price", "reason")
FILLED = ("date", "shares", "price", "notional_cents", "commission_cents", "slippage_cents")
# The column that says with which session a row was committed.
COMMITTED = {
    "sessions": "session",
    "positions": "session",
    "history": "committed",
    "orders": "decided",
    "fills": "committed",
    "order_states": "committed",
}


def open_book(path, *, cash: float) -> None:
    """Begin a paper book with `cash` USD; BookError if there is a file already, or the cash is not above zero."""
    if not (0 < cash < np.inf):
        raise BookError(f"a book begins with cash above 0 USD, not {cash}")
    body = {"kind": "opened", "session": "", "book": "paper", "cash_cents": round(cash * 100)}
    database.create(Path(path), lambda db: _apply(db, database.append(db, body), body))


def read_book(path, *, before=None) -> BookState:
    """The book after its last commit, or as it was before the commit of session `before`.

    Raises BookError if the file is missing, empty, cut, altered or no book; nothing is created.
    """
    return database.read(Path(path), lambda db: _state(db, _day(before)))


def head(path, *, before=None) -> str:
    """Hash of the last event, or of the last one before the commit of session `before`."""
    return database.read(Path(path), lambda db: _head(db, _day(before)))


def committed_inputs(path, session) -> str | None:
    """The inputs_hash with which `session` was committed; None if it was not."""
    return database.read(Path(path), lambda db: (_committed(db, _day(session)) or (None,))[0])


def commit_session(path, *, session, inputs_hash: str, settlement: str, trades: pd.DataFrame) -> None:
    """Commit a session: what `settlement` (its JSON) says happened, and `trades` as orders for the next session.

    trades : TRADE_COLUMNS, of which symbol, shares, price and reason are kept

    All of it or nothing, once: the same session with the same inputs and outcome again changes nothing. Raises
    ConflictError if it was committed with others, or if the book has moved since the settlement was made;
    OutOfOrderError if a later session was committed; BookError if the settlement does not lead on from the book.
    """
    day = _day(session)
    settled = _parse(settlement, day)
    body = {
        "kind": "session",
        "session": day,
        "inputs_hash": inputs_hash,
        "settlement": settled.model_dump(mode="json"),
        "orders": _orders(trades, day),
    }
    with database.write(Path(path)) as db:
        known = _committed(db, day)
        if known:
            _require_same(known, body)
            return
        last = db.execute("SELECT max(session) FROM sessions").fetchone()[0]
        if last is not None and day < last:
            raise OutOfOrderError(f"{day} lies before the book's last session, {last}")
        _audit(db)
        require_continuation(settled, _state(db, database.LAST))
        _apply(db, database.append(db, body), body)


def audit_book(path) -> None:
    """BookError if any table differs from what the chain of events says.

    Reading checks the chain and the rows of the last session; a commit does all of this first.
    """
    database.read(Path(path), _audit)


def views(path) -> dict[str, pd.DataFrame]:
    """The book as tables for people, by file name without `.csv`; dates are text, money is in USD.

    current_positions : POSITION_COLUMNS, by symbol, and CASH last (its shares and price are missing); weights sum to 1
    performance_history : HISTORY_COLUMNS, one row per session
    trade_history : ORDER_COLUMNS, one row per order, oldest first; `session` is when it was to be filled, `price` the
        fill's, missing if there was none
    """
    return database.read(
        Path(path),
        lambda db: {
            "current_positions": _current_positions(db),
            "performance_history": _history(db, database.LAST).assign(
                date=lambda t: t["date"].dt.strftime("%Y-%m-%d").astype("str")
            ),
            "trade_history": _trade_history(db),
        },
    )


def _day(session) -> str:
    """YYYY-MM-DD; nothing means later than any session."""
    return database.LAST if session is None else f"{pd.Timestamp(session):%Y-%m-%d}"


def _parse(text: str, day: str) -> Settlement:
    """The settlement of `day` from its JSON, or BookError."""
    try:
        settlement = Settlement.model_validate_json(text)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise BookError(f"the settlement cannot be read: {where}: {fault['msg']}") from None
    if settlement.session != day:
        raise BookError(f"the settlement is of {settlement.session}, not of {day}")
    return settlement


def _orders(trades: pd.DataFrame, day: str) -> list[dict]:
    """The orders of one evening, for the session after `day`, sorted by symbol; BookError names the malformed."""
    shares = pd.to_numeric(trades["shares"], errors="coerce").to_numpy(dtype=float)
    price = pd.to_numeric(trades["price"], errors="coerce").to_numpy(dtype=float)
    good = (shares != 0) & (shares == np.rint(shares)) & (price > 0) & (price < np.inf)
    bad = trades["symbol"][~good | trades["symbol"].duplicated().to_numpy()]
    if len(bad):
        raise BookError(f"orders of {', '.join(map(str, bad))} are not single whole numbers of shares at a price")
    due = f"{next_session(day):%Y-%m-%d}"
    rows = zip(trades["symbol"].astype(str), shares, price, trades["reason"].astype(str), strict=True)
    return [
        {"order_id": f"{day}-{symbol}", "session": due, "symbol": symbol, "shares": int(n), "price": p, "reason": why}
        for symbol, n, p, why in sorted(rows)
    ]


def _committed(db: sqlite3.Connection, day: str) -> tuple[str, str] | None:
    """(inputs_hash, body) with which `day` was committed."""
    query = "SELECT inputs_hash, body FROM sessions JOIN events USING (seq) WHERE sessions.session = ?"
    return db.execute(query, (day,)).fetchone()


def _require_same(known: tuple[str, str], body: dict) -> None:
    """ConflictError unless a session is committed again from the same inputs and with the same outcome."""
    day = body["session"]
    if known[0] != body["inputs_hash"]:
        raise ConflictError(f"{day} was committed from other inputs ({known[0][:12]}, now {body['inputs_hash'][:12]})")
    if known[1] != database.canonical(body):
        raise ConflictError(f"{day} was committed from the same inputs, but with another settlement or other orders")


def _apply(db: sqlite3.Connection, seq: int, body: dict) -> None:
    """Derive the tables from one event, and from nothing else."""
    for table, rows in _derive(seq, body).items():
        if rows:
            db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)


def _derive(seq: int, body: dict) -> dict[str, list[tuple]]:
    """The rows of each table that follow from one event."""
    if body["kind"] == "opened":
        return {"book": [(1, body["book"], body["cash_cents"])]}
    day, settled, orders = body["session"], body["settlement"], body["orders"]
    invested = sum(row["value_cents"] for row in settled["holdings"])
    ended = [(r["order_id"], 3, day, r["date"], "PENDING", r["status"], r["reason"]) for r in settled["results"]]
    placed = [(o["order_id"], 1, day, day, "NEW", "PROPOSED", "") for o in orders]
    waiting = [(o["order_id"], 2, day, day, "PROPOSED", "PENDING", "") for o in orders]
    return {
        "sessions": [(day, seq, body["inputs_hash"], settled["cash_cents"], invested)],
        "positions": [(day, h["symbol"], h["shares"], h["price"], h["value_cents"]) for h in settled["holdings"]],
        "history": [(m["date"], day, *(m[name] for name in MARKED)) for m in settled["marks"]],
        "orders": [(o["order_id"], day, *(o[name] for name in ORDERED)) for o in orders],
        # a paper order is filled at most once
        "fills": [
            (f"{f['order_id']}#1", f["order_id"], day, *(f[name] for name in FILLED)) for f in settled["fill_rows"]
        ],
        "order_states": ended + placed + waiting,
    }


def _audit(db: sqlite3.Connection) -> None:
    """BookError if any table is not what the events say: somebody, or a failing disk, got past its guards."""
    told: dict[str, set] = {"book": set(), **{table: set() for table in COMMITTED}}
    for seq, text in db.execute("SELECT seq, body FROM events"):
        for table, rows in _derive(seq, json.loads(text)).items():
            told[table].update(rows)
    for table, rows in told.items():
        if set(db.execute(f"SELECT * FROM {table}")) != rows:
            raise BookError(f"{table} is not what the events say; restore the book from a copy")


def _head(db: sqlite3.Connection, before: str) -> str:
    """Hash of the last event before session `before`."""
    query = "SELECT hash FROM events WHERE session < ? ORDER BY seq DESC LIMIT 1"
    return db.execute(query, (before,)).fetchone()[0]


def _state(db: sqlite3.Connection, before: str) -> BookState:
    """The book as the commits of sessions before `before` left it."""
    kind, opening = db.execute("SELECT kind, cash_cents FROM book").fetchone()
    query = "SELECT session, cash_cents, invested_cents FROM sessions WHERE session < ? ORDER BY session DESC LIMIT 1"
    last, cash, invested = db.execute(query, (before,)).fetchone() or (None, opening, 0)
    if last is not None:
        _require_agreement(db, last)
    held = db.execute("SELECT symbol, shares FROM positions WHERE session = ?", (last,)).fetchall()
    return BookState(
        kind=kind,
        cash_cents=cash,
        invested_cents=invested,
        positions=position_series(held),
        pending=_pending(db, before),
        last_session=None if last is None else pd.Timestamp(last),
        history=_history(db, before),
        head=_head(db, before),
    )


def _require_agreement(db: sqlite3.Connection, day: str) -> None:
    """BookError if the rows of session `day` are not what its event says; the quick part of an audit."""
    query = "SELECT seq, body FROM events WHERE kind = 'session' AND session = ?"
    seq, text = db.execute(query, (day,)).fetchone()
    for table, rows in _derive(seq, json.loads(text)).items():
        if set(db.execute(f"SELECT * FROM {table} WHERE {COMMITTED[table]} = ?", (day,))) != set(rows):
            raise BookError(f"{table} of {day} is not what its event says; restore the book from a copy")


def _pending(db: sqlite3.Connection, before: str) -> pd.DataFrame:
    """Orders that waited before session `before`, PENDING_COLUMNS."""
    query = """
        SELECT o.order_id, o.decided, o.session, o.symbol, o.shares, o.price, o.reason FROM orders o
        JOIN order_states s ON s.order_id = o.order_id
            AND s.n = (SELECT max(n) FROM order_states WHERE order_id = o.order_id AND committed < :before)
        WHERE s.status = 'PENDING' ORDER BY o.order_id
    """
    table = pd.DataFrame(db.execute(query, {"before": before}).fetchall(), columns=PENDING_COLUMNS)
    text = dict.fromkeys(("order_id", "symbol", "reason"), "str")
    dates = dict.fromkeys(("decided", "session"), "datetime64[us]")
    return table.astype({**text, **dates, "shares": "int64", "price": "float64"})


def _history(db: sqlite3.Connection, before: str) -> pd.DataFrame:
    """One row per session before `before`, HISTORY_COLUMNS."""
    names = list(Mark.model_fields)
    query = f"SELECT {', '.join(names)} FROM history WHERE committed < ? ORDER BY date"
    return performance(pd.DataFrame(db.execute(query, (before,)).fetchall(), columns=names))


def _current_positions(db: sqlite3.Connection) -> pd.DataFrame:
    """Every position at its last close, and the cash, with weights."""
    state = _state(db, database.LAST)
    as_of = "" if state.last_session is None else f"{state.last_session:%Y-%m-%d}"
    query = "SELECT symbol, shares, price, value_cents FROM positions WHERE session = ? ORDER BY symbol"
    rows = [*db.execute(query, (as_of,)), (CASH, None, np.nan, state.cash_cents)]
    table = pd.DataFrame(rows, columns=["symbol", "shares", "price", "cents"])
    return pd.DataFrame(
        {
            "symbol": table["symbol"].astype("str"),
            "shares": table["shares"].astype("Int64"),
            "price": table["price"].astype("float64"),
            "value": table["cents"] / 100,
            "weight": table["cents"] / table["cents"].sum(),
            "as_of": pd.Series(as_of, index=table.index, dtype="str"),
        }
    )[POSITION_COLUMNS]


def _trade_history(db: sqlite3.Connection) -> pd.DataFrame:
    """Every order with what became of it, oldest first."""
    query = """
        SELECT o.order_id, o.decided, o.session, o.symbol, iif(o.shares > 0, 'BUY', 'SELL'), o.shares,
            coalesce(f.shares, 0), f.price, coalesce(f.commission, 0) / 100.0, coalesce(f.slippage, 0) / 100.0,
            s.status, o.reason || iif(s.reason <> '' AND o.reason <> '', '; ', '') || s.reason
        FROM orders o
        JOIN order_states s ON s.order_id = o.order_id
            AND s.n = (SELECT max(n) FROM order_states WHERE order_id = o.order_id)
        LEFT JOIN (
            SELECT order_id, sum(shares) AS shares, sum(shares * price) / sum(shares) AS price,
                sum(commission_cents) AS commission, sum(slippage_cents) AS slippage
            FROM fills GROUP BY order_id
        ) f ON f.order_id = o.order_id
        ORDER BY o.decided, o.shares > 0, o.symbol
    """
    table = pd.DataFrame(db.execute(query).fetchall(), columns=ORDER_COLUMNS)
    text = ("order_id", "decided", "session", "symbol", "side", "status", "reason")
    numbers = ("price", "commission", "slippage")
    whole = dict.fromkeys(("shares", "filled_shares"), "int64")
    return table.astype({**dict.fromkeys(text, "str"), **dict.fromkeys(numbers, "float64"), **whole})
