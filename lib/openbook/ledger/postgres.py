"""A book on a PostgreSQL server, for desks with several machines; the same functions as for a file.

The server keeps the chain of events and nothing else: every table of a book follows from them. To read is to fetch the
chain, check it, and make the tables in memory, under the very schema of a file, so that both give the same answers. To
write is one transaction of the server, held alone by a lock on the book's name: what was appended in memory, where
every guard of the schema saw it, is inserted, or nothing is.

An address is `postgresql://user@host/database?book=live`, and holds no password: addresses are shown, and are written
into runs. libpq finds it in ~/.pgpass or in PGPASSWORD.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import psycopg  # noqa: F401  (the driver: if it is missing, fail before anything else)
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError

from openbook.common.errors import BookError, LockError, StorageError, UsageError
from openbook.common.interrupts import durably
from openbook.ledger import event_chain, projection, sqlite
from openbook.ledger.schema import APPLICATION_ID, statements

T = TypeVar("T")
Event = tuple[int, str, str]
DRIVER = "postgresql+psycopg"
SILENCE = "60s"  # after which the server gives up a writer that stopped in the middle, and frees its lock
# A network that falls silent is noticed within half a minute, not after the two hours that are usual for TCP.
ALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 4, "tcp_user_timeout": 30_000}

TABLE = """
CREATE TABLE openbook_events (
    book text NOT NULL CHECK (book <> ''),
    seq bigint NOT NULL CHECK (seq > 0),
    body text NOT NULL,
    hash text NOT NULL CHECK (length(hash) = 64),
    PRIMARY KEY (book, seq)
);

CREATE FUNCTION openbook_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'openbook_events is append-only'; END $$;
CREATE TRIGGER openbook_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON openbook_events
    FOR EACH STATEMENT EXECUTE FUNCTION openbook_append_only();

CREATE FUNCTION openbook_follows() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE last openbook_events;
BEGIN
    SELECT * INTO last FROM openbook_events WHERE book = NEW.book ORDER BY seq DESC LIMIT 1;
    IF NEW.seq <> coalesce(last.seq, 0) + 1 OR NEW.hash <>
        encode(sha256(convert_to(coalesce(last.hash, repeat('0', 64)) || '|' || NEW.body, 'UTF8')), 'hex')
    THEN RAISE serialization_failure
        USING MESSAGE = 'event ' || NEW.seq || ' does not follow from the one before it'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER openbook_follows BEFORE INSERT ON openbook_events FOR EACH ROW EXECUTE FUNCTION openbook_follows();
"""
FETCH = sa.text("SELECT seq, body, hash FROM openbook_events WHERE book = :book ORDER BY seq")
INSERT = sa.text("INSERT INTO openbook_events (book, seq, body, hash) VALUES (:book, :seq, :body, :hash)")
LOCK = sa.text("SELECT pg_advisory_xact_lock(:application, hashtext(:name))")
# The server's own setting may be to report a commit before it is on its disk; a stricter one is left alone.
DURABLE = """SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"""


@dataclass(frozen=True)
class Address:
    """The address of a server, and the name of a book on it."""

    url: sa.URL
    book: str

    def __str__(self) -> str:
        url = self.url
        asked: dict[str, str | tuple[str, ...]] = {"book": self.book}
        if "host" in url.query:  # of a socket
            asked["host"] = url.query["host"]
        shown = sa.URL.create("postgresql", url.username, None, url.host, url.port, url.database, asked)
        return shown.render_as_string()


def parse(text: str) -> Address:
    """The address in a URL; UsageError (64), which does not repeat it, if it is invalid or holds a password."""
    form = "write it as postgresql://user@host/database?book=NAME"
    try:
        url = sa.make_url(text)
    except (ArgumentError, ValueError):
        raise UsageError(f"unreadable book address; {form}") from None
    book = url.query.get("book")
    if url.drivername not in ("postgresql", DRIVER) or not isinstance(book, str) or not book.strip():
        raise UsageError(f"the book address names no book or is not a PostgreSQL URL; {form}")
    if url.password is not None or "password" in url.query:
        raise UsageError(
            "the book address must not contain a password, because it is shown and sealed; use ~/.pgpass or PGPASSWORD"
        )
    return Address(url.set(drivername=DRIVER).difference_update_query(["book"]), book)


def create(place: str, begin: Callable[[sqlite3.Connection], None]) -> None:
    """A new book with what `begin` writes, in one transaction; the first book of a server makes the table too.

    Raises BookError if there is a book of that name already: it is never replaced.
    """
    address = parse(place)
    with _spoken(address), _writing(address) as server:
        _lock(server, "")  # two machines may begin their first book at once
        if server.scalar(sa.text("SELECT to_regclass('openbook_events')")) is None:
            server.exec_driver_sql(TABLE)
        _lock(server, address.book)
        if _fetch(server, address):
            raise BookError(f"the book {address} already exists")
        with sqlite.spoken(address), _tables([], address) as db:
            begin(db)
            _insert(server, address, db, after=0)


def exists(place: str) -> bool:
    """Whether the server has a book of that name."""
    address = parse(place)
    with _spoken(address), _connected(address) as server:
        if server.scalar(sa.text("SELECT to_regclass('openbook_events')")) is None:
            return False
        found = sa.text("SELECT EXISTS (SELECT FROM openbook_events WHERE book = :book)")
        return bool(server.scalar(found, {"book": address.book}))


def read(place: str, query: Callable[[sqlite3.Connection], T]) -> T:
    """What `query` returns, from a connection that cannot write; the chain of events is checked first.

    Raises BookError for a missing book and a broken chain, StorageError if the server cannot be reached.
    """
    address = parse(place)
    with _spoken(address), _connected(address) as server:
        events = _fetch(server.execution_options(postgresql_readonly=True), address)
    _require(events, address)
    with sqlite.spoken(address), _tables(events, address) as db:
        sqlite.require_format(projection.format_of(db), address)
        db.execute("PRAGMA query_only = ON")
        return sqlite.ask(db, query, address)


@contextmanager
def write(place: str, *, older: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection to the tables in memory; the events that the block appends are kept, durably, or none of them.

    older : also of a book of an older format, for its upgrade

    Raises BookError as `read` does, LockError while another process writes, StorageError if the server cannot be
    reached.
    """
    address = parse(place)
    with _spoken(address), _writing(address) as server:
        _lock(server, address.book)
        events = _fetch(server, address)
        _require(events, address)
        with sqlite.spoken(address), _tables(events, address) as db:
            if not older:
                sqlite.require_format(projection.format_of(db), address)
            yield db
            _insert(server, address, db, after=len(events))


# ---- inside ----


@contextmanager
def _connected(address: Address) -> Iterator[sa.Connection]:
    """A connection of its own, in a transaction that is rolled back at the end unless it was committed."""
    usual = {"client_encoding": "utf8", "connect_timeout": sqlite.BUSY_SECONDS, **ALIVE}
    options = {key: value for key, value in usual.items() if key not in address.url.query}
    # What is read after the lock must be newer than the lock: REPEATABLE READ would show the book as it was before it.
    engine = sa.create_engine(
        address.url, poolclass=sa.NullPool, isolation_level="READ COMMITTED", hide_parameters=True, connect_args=options
    )
    with engine.connect() as server:
        yield server


@contextmanager
def _writing(address: Address) -> Iterator[sa.Connection]:
    """A connection in a transaction that is committed durably if the block ends well."""
    with _connected(address) as server:
        server.exec_driver_sql(f"SET LOCAL lock_timeout = {max(1, round(sqlite.BUSY_SECONDS * 1000))}")
        server.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = '{SILENCE}'")
        server.exec_driver_sql(DURABLE)
        yield server
        try:
            with durably(f"the book {address} was changed"):
                server.commit()
        except DBAPIError as error:
            lost = "the server connection was lost during the commit, so the event may or may not be stored"
            raise StorageError(f"{address}: {lost}; check the book before you retry") from error


def _lock(server: sa.Connection, name: str) -> None:
    """Wait to be the only writer of that name, until the transaction ends."""
    server.execute(LOCK, {"application": APPLICATION_ID, "name": name})


def _fetch(server: sa.Connection, address: Address) -> list[Event]:
    """(number, body, hash) of every event, oldest first."""
    return [tuple(row) for row in server.execute(FETCH, {"book": address.book})]


def _insert(server: sa.Connection, address: Address, db: sqlite3.Connection, *, after: int) -> None:
    """Send the events that were appended in memory."""
    new = db.execute("SELECT seq, body, hash FROM events WHERE seq > ? ORDER BY seq", (after,))
    rows = [{"book": address.book, "seq": seq, "body": body, "hash": hash_} for seq, body, hash_ in new]
    if rows:
        server.execute(INSERT, rows)


def _require(events: list[Event], address: Address) -> None:
    """BookError, with the way out, unless there is a book with an unbroken chain."""
    if not events:
        raise BookError(_missing(address))
    event_chain.require_chain(events, address)


def _missing(address: Address) -> str:
    return f"no book at {address}; create one with `openbook init --cash USD`"


@contextmanager
def _tables(events: list[Event], address: Address) -> Iterator[sqlite3.Connection]:
    """The events and all that follows from them, in memory; BookError if they make no sense."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.executescript(statements())
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("BEGIN")
        try:
            db.executemany("INSERT INTO events (seq, body, hash) VALUES (?, ?, ?)", events)
            for seq, body, _ in events:
                projection.apply(db, seq, json.loads(body))
        except (KeyError, TypeError, ValueError, sqlite3.Error) as error:
            raise BookError(
                f"{address} has events that this version of openbook cannot read: {error!r}; update it"
            ) from error
        yield db


@contextmanager
def _spoken(address: Address) -> Iterator[None]:
    """PostgreSQL's errors as ours, by what can be done about them."""
    try:
        yield
    except DBAPIError as error:
        code = getattr(error.orig, "sqlstate", None) or ""
        reason = str(error.orig).strip().partition("\n")[0]
        if code == "42P01":  # undefined_table
            raise BookError(_missing(address)) from error
        if code in ("55P03", "40P01", "40001", "23505"):  # no lock, deadlock, serialization, unique violation
            raise LockError(f"{address} is locked by another process; try again") from error
        if code == "P0001" or code.startswith("23"):  # a trigger of ours, a constraint
            raise BookError(f"{address} rejected the change: {reason}") from error
        raise StorageError(f"cannot read or write {address}: {reason}") from error
