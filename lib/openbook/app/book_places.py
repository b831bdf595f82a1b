"""Where the books of a runs folder are kept: a file in it, or the database that an environment variable names."""

import os
from pathlib import Path

from openbook.common.constants import BOOK_KINDS
from openbook.common.desk_folder import inside
from openbook.common.errors import UsageError
from openbook.ledger import book
from openbook.runs.runs_folder import BOOKS, UPGRADED


def book_place(runs: Path, kind: str) -> Path | str:
    """Location of the paper or live book: a file in the runs folder, or the value of OPENBOOK_BOOK_PAPER or _LIVE, the
    URL of a PostgreSQL server; a relative path starts at the desk."""
    named = os.environ.get(f"OPENBOOK_BOOK_{kind.upper()}")
    return inside(named) if named else (runs / BOOKS / f"{kind}.db").resolve()


def kept_book(runs: Path, kind: str, version: int) -> Path:
    """Where an upgrade keeps the copy of a book that had another format."""
    return runs / UPGRADED / f"book-{version}" / f"{kind}.db"


def books(runs: Path) -> dict[str, Path | str]:
    """The books that were begun, by kind."""
    places = {kind: book_place(runs, kind) for kind in BOOK_KINDS}
    return {kind: place for kind, place in places.items() if book.exists(place)}


def event_digests(kind: str, place: Path | str) -> dict[str, str]:
    """The hash of each event of a book by its name in the log, `<kind>/<number>`."""
    return {f"{kind}/{seq}": digest for seq, digest in book.event_hashes(place)}


def the_book(runs: Path, kind: str = "") -> tuple[str, Path | str]:
    """Kind and location of the book of that kind, or of the only one; UsageError (64) if that is ambiguous."""
    if kind and kind not in BOOK_KINDS:
        raise UsageError(f"unknown book {kind!r}; choose {' or '.join(BOOK_KINDS)}")
    found = [kind] if kind else list(books(runs))
    if len(found) != 1:
        raise UsageError(f"{len(found)} books in {runs}; choose one with --book paper or --book live")
    return found[0], book_place(runs, found[0])
