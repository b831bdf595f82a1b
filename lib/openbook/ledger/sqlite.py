"""The file of a book: how it is created, read without leaving a trace, and changed in one transaction.

SQLite in WAL mode with synchronous=FULL; at rest it is one single file, without -wal and -shm beside it.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from openbook.common.errors import BookError, LockError, StorageError
from openbook.common.files import draft_folder, make_folder, sync, write_file
from openbook.common.interrupts import durably
from openbook.ledger import event_chain
from openbook.ledger.schema import APPLICATION_ID, SCHEMA_VERSION, statements

T = TypeVar("T")
BUSY_SECONDS = 10


def create(path: Path, begin: Callable[[sqlite3.Connection], None]) -> None:
    """A new file with the schema and what `begin` writes; it appears under its name whole, or not at all.

    Raises BookError if there is a file already: it is never replaced.
    """
    with spoken(path):
        make_folder(path.parent)
        with draft_folder(path) as folder:
            if path.exists():
                raise _exists(path)
            draft = new_draft(folder)
            with connection(draft, "rw") as db:
                db.execute("PRAGMA journal_mode = WAL")
                db.executescript(f"BEGIN; {statements()} COMMIT;")
                with _transaction(db, "BEGIN IMMEDIATE"):
                    begin(db)
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # closing would not report it if the disk refused it
            try:
                with durably(f"the book {path} was opened"):
                    os.link(draft, path)  # unlike a rename, never replaces a file
            except FileExistsError:
                raise _exists(path) from None
        sync(path.parent)


def _exists(path: Path) -> BookError:
    return BookError(f"the book {path} already exists")


def new_draft(folder: Path) -> Path:
    """An empty file for a book, with the mode that the umask allows; SQLite by itself would forbid a group to write."""
    draft = folder / "draft.db"
    write_file(draft, b"")
    return draft


def read(path: Path, query: Callable[[sqlite3.Connection], T]) -> T:
    """What `query` returns, from a connection that cannot write; the book is checked first.

    At rest the file is opened immutable, so that reading leaves nothing beside it and needs no right to write. If a
    commit began meanwhile, it is read again under SQLite's own locks.

    Raises BookError for a missing, empty, cut or foreign file, and for a broken chain of events; creates nothing.
    """
    require_file(path)
    before = at_rest(path)
    if before is not None:
        try:
            result = _query(path, "ro&immutable=1", query)
        except BookError:
            if at_rest(path) == before:
                raise
        else:
            if at_rest(path) == before:
                return result
    return _query(path, "ro", query)


@contextmanager
def write(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection inside one transaction: all of it is kept, durably, or nothing.

    Raises BookError as `read` does, LockError while another process writes, StorageError if the disk refuses.
    """
    require_file(path)
    with spoken(path), connection(path, "rw") as db:
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA synchronous = FULL")
        with _transaction(db, "BEGIN IMMEDIATE", path):
            check(db, path)
            yield db
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def check(db: sqlite3.Connection, path: Path) -> None:
    """BookError unless the file is a whole book of this format with an unbroken chain of events."""
    require_format(require_book(db, path), path)
    require_whole(db, path)


def require_book(db: sqlite3.Connection, path: object) -> int:
    """The format of the book in a file, or BookError if it holds none."""
    if _pragma(db, "application_id") != APPLICATION_ID:
        raise BookError(f"{path} is not a book")
    return _pragma(db, "user_version")


def require_format(found: int, path: object) -> None:
    """BookError, with the way out, unless a book has the format of today."""
    if found > SCHEMA_VERSION:
        raise BookError(
            f"{path} was written by a newer openbook (format {found}; this one reads {SCHEMA_VERSION}); update openbook"
        )
    if found < SCHEMA_VERSION:
        raise BookError(
            f"{path} was written by an older openbook (format {found}); run: openbook upgrade (it keeps a copy)"
        )


def require_whole(db: sqlite3.Connection, path: object) -> None:
    """BookError if the file is damaged, or its chain of events is broken."""
    damage = _pragma(db, "quick_check")
    if damage != "ok":
        raise BookError(f"{path} is damaged: {damage}; restore it from a backup")
    event_chain.require_chain(db.execute("SELECT seq, body, hash FROM events ORDER BY seq"), path)


def require_file(path: Path) -> None:
    """BookError, with the way out, unless there is an SQLite file."""
    if not path.exists():
        raise BookError(f"no book at {path}; create one with `openbook init --cash USD`")
    if not path.is_file():
        raise BookError(f"{path} is not a file, so it is not a book")
    with path.open("rb") as file:
        if file.read(16) != b"SQLite format 3\0":
            raise BookError(f"{path} is empty or not a book; restore it from a backup")


def at_rest(path: Path) -> tuple[int, int, int] | None:
    """Identifies a version of the file; None during a write, or after a crash."""
    if path.with_name(f"{path.name}-wal").exists():
        return None
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _query(path: Path, mode: str, query: Callable[[sqlite3.Connection], T]) -> T:
    """Check the book and ask it, both on one snapshot."""
    with spoken(path), connection(path, mode) as db, _transaction(db, "BEGIN"):
        check(db, path)
        return ask(db, query, path)


def ask(db: sqlite3.Connection, query: Callable[[sqlite3.Connection], T], path: object) -> T:
    """What `query` returns; BookError if the rows make no sense."""
    try:
        return query(db)
    except (ValueError, TypeError) as error:  # an invalid date, a missing row
        raise BookError(f"{path} is damaged: {error}; restore it from a backup") from error


@contextmanager
def connection(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    """A connection that is closed again; transactions are begun by hand."""
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_SECONDS)
    try:
        yield db
    finally:
        db.close()


@contextmanager
def _transaction(db: sqlite3.Connection, begin: str, book: Path | None = None) -> Iterator[None]:
    """All or nothing. book : whose file it is, if a commit of a change is to be noted"""
    db.execute(begin)
    before = db.total_changes
    try:
        yield
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    with durably(f"the book {book} was changed") if book and db.total_changes > before else nullcontext():
        db.execute("COMMIT")


@contextmanager
def spoken(path: object) -> Iterator[None]:
    """SQLite's errors as ours, by what can be done about them."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot read or write {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BookError(f"{path} is damaged: invalid text; restore it from a backup") from error
    except OverflowError as error:  # beyond 64 bits
        raise BookError(f"{path} cannot hold such an amount or number of shares; nothing was changed") from error
    except sqlite3.IntegrityError as error:
        raise BookError(f"{path} rejected the change: {error}") from error
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise LockError(f"{path} is locked by another process; try again") from error
        if code == sqlite3.SQLITE_READONLY:
            raise StorageError(f"cannot write {path}: permission denied for the file or its folder") from error
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
            raise StorageError(f"cannot read or write {path}: {error}") from error
        raise BookError(f"{path} is damaged: {error}; restore it from a backup") from error


def _pragma(db: sqlite3.Connection, name: str) -> Any:
    """One value of a PRAGMA."""
    return db.execute(f"PRAGMA {name}").fetchone()[0]
