"""The book: holdings, orders, and the events behind them. Everything else about it is derived.

A settled session is committed once, as one event and one transaction; every function here takes the path of the file.
What people do to a book between two sessions is in `book_commands`.
"""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from openbook.common.constants import CASH
from openbook.common.errors import BookError, ConflictError, LimitError, OutOfOrderError
from openbook.execution.kill_switch import ACTIVE, HALTED, KillSwitch, Verdict, reducing
from openbook.execution.share_units import in_shares
from openbook.ledger import database, event_chain, projection
from openbook.ledger.continuity import require_continuation
from openbook.ledger.facts import LARGEST_CENTS
from openbook.ledger.lots import cost_of
from openbook.ledger.queries import (
    REVERSED,
    head_before,
    history_before,
    last_prices,
    lots_now,
    names_now,
    state_before,
)
from openbook.ledger.records import CURRENCY, HISTORY_COLUMNS, MINOR_UNITS, RECEIVABLES_ROW, BookState, Settlement
from openbook.ledger.schema import SCHEMA_VERSION
from openbook.ledger.settlement import settle
from openbook.market.calendar import next_session

__all__ = [
    "HISTORY_COLUMNS",
    "ORDER_COLUMNS",
    "POSITION_COLUMNS",
    "BookState",
    "Settlement",
    "audit_book",
    "batch_digest",
    "commit_session",
    "decision",
    "decisions",
    "event_hashes",
    "exists",
    "head",
    "marked_prices",
    "open_book",
    "read_book",
    "settle",
    "views",
]

POSITION_COLUMNS = ["symbol", "shares", "price", "value", "weight", "as_of", "cost_basis"]
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


def open_book(path: Path | str, *, cash: float, kind: str = "paper", share_units: int = 1) -> None:
    """Begin a book with `cash` USD; BookError if there is a file already, or the cash is not above zero.

    kind : "paper", filled by simulation, or "live", filled by what a person records
    share_units : units of a whole share, in which shares are counted for good: 1 for whole shares, 1_000_000 for
        millionths
    """
    if not (isinstance(share_units, int) and 1 <= share_units <= 10**9):
        raise BookError(f"share_units must be 1 to 1,000,000,000, not {share_units}")
    if not (0 < cash < LARGEST_CENTS / 100 and 0 < round(cash * 100) < LARGEST_CENTS):
        raise BookError(f"opening cash must be above 0 USD and below {LARGEST_CENTS // 100:,} USD, not {cash:.15g}")
    units = {"currency": CURRENCY, "minor_units": MINOR_UNITS, "share_units": share_units}
    body = {"kind": "opened", "session": "", "book": kind, "cash_cents": round(cash * 100), **units}
    body["format"] = SCHEMA_VERSION
    database.create(database.place(path), lambda db: projection.apply(db, event_chain.append(db, body), body))


def read_book(path: Path | str, *, before: str | pd.Timestamp | None = None) -> BookState:
    """The book after its last commit, or as it was before the commit of session `before`.

    Raises BookError if the file is missing, empty, truncated, altered or not a book; nothing is created.
    """
    return database.read(database.place(path), lambda db: state_before(db, _day(before)))


def held_weights(path: Path | str, *, before: str | pd.Timestamp | None = None) -> pd.DataFrame:
    """What was held at the close of each committed session before `before`: sessions × symbols as they are called
    today, fractions of the equity, NaN where a name was not held."""
    query = """SELECT p.session, p.security, p.symbol,
            p.value_cents * 1.0 / (s.cash_cents + s.invested_cents + s.receivables_cents)
        FROM positions p JOIN sessions s USING (session) WHERE p.session < ?"""
    found, names = database.read(
        database.place(path), lambda db: (db.execute(query, (_day(before),)).fetchall(), names_now(db, database.LAST))
    )
    rows = [(day, names.get(security) or symbol, weight) for day, security, symbol, weight in found]
    table = pd.DataFrame(rows, columns=["date", "symbol", "weight"])
    return table.assign(date=pd.to_datetime(table["date"])).pivot(index="date", columns="symbol", values="weight")


def marked_prices(path: Path | str) -> pd.Series:
    """At what each name that is held was marked at the last settled close, USD, by symbol."""
    query = "SELECT symbol, price FROM positions WHERE session = (SELECT max(session) FROM sessions) ORDER BY symbol"
    rows = database.read(database.place(path), lambda db: db.execute(query).fetchall())
    return pd.Series(dict(rows), dtype="float64")


def head(path: Path | str, *, before: str | pd.Timestamp | None = None) -> str:
    """Hash of the last event, or of the last one before the commit of session `before`."""
    return database.read(database.place(path), lambda db: head_before(db, _day(before)))


def exists(path: Path | str) -> bool:
    """Whether a book was begun there."""
    return database.exists(database.place(path))


def event_hashes(path: Path | str) -> list[tuple[int, str]]:
    """(number, hash) of every event, oldest first."""
    return database.read(
        database.place(path), lambda db: db.execute("SELECT seq, hash FROM events ORDER BY seq").fetchall()
    )


def decisions(path: Path | str) -> dict[int, str]:
    """Number -> session of every event that decided a session, or decided it again."""
    query = "SELECT seq, session FROM events WHERE kind IN ('session', 'superseded') ORDER BY seq"
    return dict(database.read(database.place(path), lambda db: db.execute(query).fetchall()))


def decision(path: Path | str, session: str | pd.Timestamp) -> tuple[int, str] | None:
    """(version, inputs_hash) of the last decision of `session`; None if it was not committed."""
    known = database.read(database.place(path), lambda db: _committed(db, _day(session)))
    return None if known is None else (known[1].get("version", 1), known[0])


def commit_session(
    path: Path | str,
    *,
    session: str | pd.Timestamp,
    inputs_hash: str,
    settlement: str,
    trades: pd.DataFrame,
    switch: KillSwitch | None = None,
    manual: bool = False,
    about: Mapping[str, str] | None = None,
    may_go: Callable[[], None] = lambda: None,
) -> Verdict:
    """Commit a session: the events of `settlement` (JSON), and `trades` as orders for the next session.

    trades : TRADE_COLUMNS; symbol, shares, price and reason are kept; whole shares where the book counts
        those, else multiples of its unit
    switch : its limits; it is evaluated here, on the book's own equity, independent of the notebook
    manual : the orders wait for a person's approval; always so in a live book, and for what a halted book proposes
    about : what else the batch of orders stands on, as hashes: model, data, parameters, code
    may_go : raises if a halt that no book knows yet stops orders; asked unless the book is HALTED

    All of it or nothing, once: the same session with the same inputs and outcome again changes nothing. Raises
    ConflictError if it was committed with others, or if the book has moved since the settlement was made;
    OutOfOrderError if a later session was committed; BookError if the settlement does not lead on from the book;
    LimitError if an order adds exposure while the kill switch is not ACTIVE.
    """
    day = _day(session)
    settled = parse_settlement(settlement, day)
    with database.write(database.place(path)) as db:
        state, known = state_before(db, day, whole=False), _committed(db, day)
        if known and known[0] != inputs_hash:
            was = f"({known[0][:12]}, now {inputs_hash[:12]})"
            raise ConflictError(f"{day} was already committed with different inputs {was}")
        if not known:
            _require_next(db, day)
            require_continuation(settled, state)
        verdict = judge(state, settled, switch or KillSwitch())
        body = session_body(state, settled, verdict, trades, manual, dict(about or {})) | {"inputs_hash": inputs_hash}
        if known:
            require_same(known[1], body)
        else:
            if verdict.state != HALTED:
                may_go()
            projection.apply(db, event_chain.append(db, body), body)
    return verdict


def judge(state: BookState, settled: Settlement, switch: KillSwitch) -> Verdict:
    """The kill switch's verdict on a book after a settlement, for every session since it was armed."""
    new = settled.marks_table
    marks = pd.concat([state.marks, new], ignore_index=True) if len(state.marks) else new
    return switch.evaluate(marks, latched=state.switch, unseen=len(new))


def state_of(db: sqlite3.Connection) -> BookState:
    """The book as it is, inside a transaction, without its history and fills."""
    return state_before(db, database.LAST, whole=False)


def event_of(db: sqlite3.Connection, session: str) -> dict:
    """The body of the event of a settled session; BookError if there is none."""
    known = _committed(db, _day(session))
    if known is None:
        raise BookError(f"session {session} is not in the book; run daily_run for it first")
    return known[1]


def batch_digest(body: Mapping, about: Mapping[str, str]) -> str:
    """sha256 of all that an approval covers: session, orders, positions and cash, the ledger before it, and `about`.

    body : of the session's event
    """
    settled = body["settlement"]
    positions = {row["symbol"]: row["shares"] for row in settled["holdings"]} | {CASH: settled["cash_cents"]}
    parts = {"session": body["session"], "orders": body["orders"], "positions": positions, "head": settled["head"]}
    return hashlib.sha256(event_chain.canonical(parts | dict(about)).encode()).hexdigest()


def session_body(
    state: BookState,
    settled: Settlement,
    verdict: Verdict,
    trades: pd.DataFrame,
    manual: bool,
    about: Mapping[str, str],
    *,
    version: int = 1,
) -> dict:
    """The event of one session; version : above 1 where it was decided again."""
    ids, named = _identified(state, settled, trades["symbol"].astype(str))
    orders = _orders(trades, settled.session, ids, state.share_units, version)
    adds = trades["symbol"][~trades["symbol"].isin(reducing(trades, settled.positions)["symbol"])]
    if verdict.state != ACTIVE and len(adds):
        raise LimitError(f"the kill switch is {verdict.state}, but these orders add exposure: {', '.join(adds)}")
    body: dict[str, Any] = {
        "kind": "session",
        "session": settled.session,
        "settlement": settled.model_dump(mode="json"),
        "orders": orders,
        "securities": named,
        "switch": {"state": verdict.state, "trips": [vars(trip) for trip in verdict.trips]},
    }
    body |= {"version": version} if version > 1 else {}
    by_hand = manual or state.kind == "live" or verdict.state == HALTED
    return body | {"batch": {"digest": batch_digest(body, about), "manual": by_hand, "about": about}}


def audit_book(path: Path | str) -> None:
    """BookError if any table differs from the chain of events.

    Reading, and every commit, checks the chain, the rows of the last session, and what people did.
    """
    database.read(database.place(path), projection.audit)


def views(path: Path | str) -> dict[str, pd.DataFrame]:
    """The book as tables for people, by file name without `.csv`; dates are text, money is in USD.

    current_positions : POSITION_COLUMNS, by symbol, and CASH last (its shares and price are missing); weights sum to 1
    performance_history : HISTORY_COLUMNS, one row per session
    trade_history : ORDER_COLUMNS, one row per order, oldest first; `session` is when it was to be filled, `price` the
        fill's, missing if there was none
    """
    return database.read(
        database.place(path),
        lambda db: {
            "current_positions": _current_positions(db),
            "performance_history": history_before(db, database.LAST).assign(
                date=lambda t: t["date"].dt.strftime("%Y-%m-%d").astype("str")
            ),
            "trade_history": _trade_history(db),
        },
    )


def _day(session: str | pd.Timestamp | None) -> str:
    """YYYY-MM-DD; nothing means later than any session."""
    return database.LAST if session is None else f"{pd.Timestamp(session):%Y-%m-%d}"


def parse_settlement(text: str, day: str) -> Settlement:
    """The settlement of `day` from its JSON, or BookError."""
    try:
        settlement = Settlement.model_validate_json(text)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise BookError(f"cannot read the settlement: {where}: {fault['msg']}") from None
    if settlement.schema_version != SCHEMA_VERSION:
        raise BookError(f"the settlement has format {settlement.schema_version}, not {SCHEMA_VERSION}; run it again")
    if settlement.session != day:
        raise BookError(f"the settlement is for {settlement.session}, not for {day}")
    return settlement


def _orders(trades: pd.DataFrame, day: str, ids: dict[str, str], share_units: int, version: int) -> list[dict]:
    """The orders of one session, for the session after `day`, sorted by symbol; BookError names the malformed.

    ids : security by symbol
    """
    shares = pd.to_numeric(trades["shares"], errors="coerce").to_numpy(dtype=float)
    price = pd.to_numeric(trades["price"], errors="coerce").to_numpy(dtype=float)
    units = np.rint(shares * share_units)
    good = (units != 0) & (shares == units / share_units) & (price > 0) & (price < np.inf)
    bad = trades["symbol"][~good | trades["symbol"].duplicated().to_numpy()]
    if len(bad):
        what = "whole numbers of shares" if share_units == 1 else f"multiples of 1/{share_units:,} share"
        raise BookError(
            f"invalid orders for {', '.join(map(str, bad))}: each symbol needs one order in {what}, with a price"
        )
    due = f"{next_session(day):%Y-%m-%d}"
    rows = zip(trades["symbol"].astype(str), units, price, trades["reason"].astype(str), strict=True)
    return [
        {
            "order_id": f"{day}{f'.{version}' if version > 1 else ''}-{symbol}",
            "session": due,
            "security": ids[symbol],
            "symbol": symbol,
            "shares": int(n),
            "price": p,
            "reason": why,
        }
        for symbol, n, p, why in sorted(rows)
    ]


def _identified(state: BookState, settled: Settlement, symbols: Iterable[str]) -> tuple[dict[str, str], list[dict]]:
    """(security by symbol, names to be kept): who the symbols of some orders are, after a settlement.

    What the book never saw before is a new security, and so is a ticker that a delisted company left to another.
    """
    gone = {row.security for row in settled.delisted}
    live = {symbol: security for symbol, security in state.securities.items() if security not in gone}
    live |= {row.symbol: row.security for row in settled.holdings}
    ended = [{"id": row.security, "ticker": "", "start": row.date} for row in settled.delisted]
    new = sorted({*symbols} - {*live})
    known = {*state.ids, *live.values(), *gone}
    made = {symbol: new_id(symbol, known, settled.session) for symbol in new}
    named = [{"id": made[symbol], "ticker": symbol, "start": settled.session} for symbol in new]
    return live | made, ended + named


def new_id(ticker: str, known: Container[str], day: str) -> str:
    """The id of a security that is seen first on `day`: its ticker, unless that is another's id already."""
    return ticker if ticker not in known else f"{ticker}@{day}"


def _committed(db: sqlite3.Connection, day: str) -> tuple[str, dict] | None:
    """(inputs_hash, body) with which `day` was committed; where it was decided again, with the last decision in it."""
    settled = db.execute("SELECT seq, body FROM sessions JOIN events USING (seq) WHERE sessions.session = ?", (day,))
    seq, text = settled.fetchone() or (None, None)
    if text is None:
        return None
    body = json.loads(text)
    later = "SELECT body FROM events WHERE seq > ? AND kind = 'superseded' AND session = ? ORDER BY seq"
    for again in (json.loads(more) for (more,) in db.execute(later, (seq, day))):
        body |= {name: again[name] for name in ("inputs_hash", "orders", "switch", "batch", "version")}
        body["securities"] = body["securities"] + again["securities"]
    return body["inputs_hash"], body


def _require_next(db: sqlite3.Connection, day: str) -> None:
    """OutOfOrderError if the book has a later session."""
    last = db.execute("SELECT max(session) FROM sessions").fetchone()[0]
    if last is not None and day < last:
        raise OutOfOrderError(f"{day} is before the book's last session, {last}")


def require_same(known: dict, body: dict) -> None:
    """ConflictError unless a session is committed again with the same outcome; code may have changed since a crash, and
    the format of the book too: of an older body only its own fields are compared."""
    new = json.loads(event_chain.canonical(body))
    if known["settlement"]["schema_version"] < SCHEMA_VERSION:
        new = _like(known, new)
        new["settlement"]["schema_version"] = known["settlement"]["schema_version"]
    if {**known, "batch": None} != {**new, "batch": None}:
        raise ConflictError(
            f"{body['session']} was already committed with the same inputs but a different settlement or "
            "different orders"
        )


def _current_positions(db: sqlite3.Connection) -> pd.DataFrame:
    """Every position at its last close, what was recorded since among them, and the cash, with weights."""
    state = state_before(db, database.LAST)
    as_of = "" if state.last_session is None else f"{state.last_session:%Y-%m-%d}"
    price, names = last_prices(db, state), state.names
    cost = {key: cost_of(lots) / 100 for key, lots in lots_now(state).items()}
    held = sorted((names.get(key, key), key, n) for key, n in state.units_now.items())
    values = [round(n / state.share_units * price[key] * 100) for _, key, n in held]
    rows: list[tuple] = [
        (symbol, n, price[key], value, cost[key]) for (symbol, key, n), value in zip(held, values, strict=True)
    ]
    owed = state.receivables_cents + sum(row.cents for row in state.adjustments if row.due)
    rows += [(RECEIVABLES_ROW, None, np.nan, owed, np.nan)] if owed else []
    rows.append((CASH, None, np.nan, state.cash_now_cents, np.nan))
    table = pd.DataFrame(rows, columns=["symbol", "shares", "price", "cents", "cost_basis"])
    shares = table["shares"].astype("Int64")
    return pd.DataFrame(
        {
            "symbol": table["symbol"].astype("str"),
            "shares": shares if state.share_units == 1 else shares / state.share_units,
            "price": table["price"].astype("float64"),
            "value": table["cents"] / 100,
            "weight": table["cents"] / table["cents"].sum(),
            "as_of": pd.Series(as_of, index=table.index, dtype="str"),
            "cost_basis": table["cost_basis"].astype("float64"),
        }
    )[POSITION_COLUMNS]


def _like(known: Any, now: Any) -> Any:
    """`now` without the fields that `known`, of an older format, does not have."""
    if isinstance(known, dict) and isinstance(now, dict):
        return {name: _like(value, now.get(name)) for name, value in known.items()}
    if isinstance(known, list) and isinstance(now, list) and len(known) == len(now):
        return [_like(*pair) for pair in zip(known, now, strict=True)]
    return now


def _trade_history(db: sqlite3.Connection) -> pd.DataFrame:
    """Every order with what became of it, oldest first."""
    query = f"""
        SELECT o.order_id, o.decided, o.session, o.symbol, iif(o.shares > 0, 'BUY', 'SELL'), o.shares,
            coalesce(f.shares, 0), f.price, coalesce(f.commission, 0) / 100.0, coalesce(f.slippage, 0) / 100.0,
            s.status, o.reason || iif(s.reason <> '' AND o.reason <> '', '; ', '') || s.reason
        FROM orders o
        JOIN order_states s ON s.order_id = o.order_id
            AND (s.seq, s.n) = (SELECT seq, n FROM order_states WHERE order_id = o.order_id
                ORDER BY seq DESC, n DESC LIMIT 1)
        LEFT JOIN (
            SELECT order_id, sum(shares) AS shares, sum(shares * price) / sum(shares) AS price,
                sum(commission_cents) AS commission, sum(slippage_cents) AS slippage
            FROM fills WHERE fill_id NOT IN ({REVERSED}) GROUP BY order_id
        ) f ON f.order_id = o.order_id
        ORDER BY o.decided, o.shares > 0, o.symbol
    """
    table = pd.DataFrame(db.execute(query, (database.LAST,)).fetchall(), columns=ORDER_COLUMNS)
    text = ("order_id", "decided", "session", "symbol", "side", "status", "reason")
    numbers = ("price", "commission", "slippage")
    units = db.execute("SELECT share_units FROM book").fetchone()[0]
    shares = {name: in_shares(table[name], units) for name in ("shares", "filled_shares")}
    return table.astype({**dict.fromkeys(text, "str"), **dict.fromkeys(numbers, "float64")}).assign(**shares)
