"""Where a book is kept: a file, or a PostgreSQL server if the location is a URL; the same functions for both.

`sqlite` does it for files, `postgres` for servers; nothing else imports the latter.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from openbook.common.extras import needed
from openbook.ledger import sqlite

T = TypeVar("T")
LAST = "9999-99-99"  # later than any session


def place(path: Path | str) -> Path | str:
    """Location of a book: the path of a file, or the URL of a server, which a Path would break (// becomes /)."""
    return path if isinstance(path, str) and "://" in path else Path(path)


def exists(path: Path | str) -> bool:
    """Whether a book was opened there, sound or damaged. StorageError if a server does not answer."""
    return _remote().exists(path) if isinstance(path, str) else path.is_file()


def create(path: Path | str, begin: Callable[[sqlite3.Connection], None]) -> None:
    """A new book with what `begin` writes; it is there whole, or not at all. BookError if there is one already."""
    _kept(path).create(path, begin)


def read(path: Path | str, query: Callable[[sqlite3.Connection], T]) -> T:
    """What `query` returns, from a connection that cannot write; the book is checked first.

    Raises BookError for a missing, cut or foreign book, and for a broken chain of events; creates nothing.
    """
    return _kept(path).read(path, query)


@contextmanager
def write(path: Path | str, *, older: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection inside one transaction: all of it is kept, durably, or nothing.

    older : also to a book of an older format on a server, for its upgrade

    Raises BookError as `read` does, LockError while another process writes, StorageError if the disk refuses.
    """
    with sqlite.write(path) if isinstance(path, Path) else _remote().write(path, older=older) as db:
        yield db


def _kept(path: Path | str) -> Any:
    """The module for this kind of place."""
    return sqlite if isinstance(path, Path) else _remote()


def _remote() -> Any:
    """The module for books on a server; imported late, for SQLAlchemy takes its time and may not be installed."""
    with needed("postgres", "a book on a server"):
        from openbook.ledger import postgres
    return postgres
