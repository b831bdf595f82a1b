"""`openbook upgrade`: brings files of an older openbook to the current formats, once, and keeps a copy."""

from collections.abc import Callable, Iterator
from pathlib import Path

from openbook.app.book_places import book_place, kept_book
from openbook.app.service import note, publish_views, require_clock, when
from openbook.common.constants import BOOK_KINDS
from openbook.common.errors import OpenbookError
from openbook.ledger import book
from openbook.ledger.upgrade import OLDER, upgrade_book
from openbook.market.store.manifest import require_manifest
from openbook.runs import registry
from openbook.runs.runs_folder import STORE, RunsFolder
from openbook.runs.upgrade import keep_libraries
from openbook.selection.champion import read_champion


def upgrade(runs: Path, say: Callable[[str], None]) -> None:
    """Bring books, stores and bundles of these runs to the current formats, and report each as it is done.

    A book is copied to upgraded/ before it is replaced in one step; sealed runs stay as they are, and the library that
    made them is kept, so that they can be replayed. The same again does nothing. Raises the first error of a book, once
    the others are done: a damaged one does not keep the others from their upgrade.
    """
    folder = RunsFolder(runs)
    folder.require_something()
    with folder.lock():
        require_clock(runs)
        failed = []
        for kind in BOOK_KINDS:
            try:
                for line in _book(folder, kind):
                    say(line)
            except OpenbookError as error:
                failed.append(error)
        if failed:
            raise failed[0]
        note(folder)
        for lines in (_stores(runs), _bundles(runs), keep_libraries(runs)):
            for line in lines:
                say(line)


def _book(folder: RunsFolder, kind: str) -> list[str]:
    """What was done to a book; nothing without a book."""
    place = book_place(folder.folder, kind)
    if not book.exists(place):
        return []
    done = upgrade_book(place, kept_book(folder.folder, kind, OLDER), when=when())
    publish_views(folder, kind)
    return [f"{kind} book: {done or 'up to date'}"]


def _stores(runs: Path) -> Iterator[str]:
    """A line for each store, once its manifest was read: each is read in the format that it has."""
    for place in sorted((runs / STORE).glob("*/")):
        found = require_manifest(place)
        yield f"store {place.name}: up to date (format {found['format']}, {len(found['sessions'])} sessions)"


def _bundles(runs: Path) -> Iterator[str]:
    """A line for the champion, once its bundle was read: its format is unchanged; newer cards only have more fields."""
    found = registry.champion(runs)
    if found is not None:
        read_champion(found[0])
        yield f"champion {found[0].name[: registry.SHORT]}: up to date, golden predictions reproduced"
