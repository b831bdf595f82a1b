"""Tables of a book for people: rebuilt after every change, but never over a manual edit.

A view is known as ours by its hash. Before it is written, the hashes of the one that is there and of the one to come
are noted, so that a crash in between does not look like a manual edit; afterwards only that of the new one.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from openbook.common.errors import BookError
from openbook.common.files import make_folder, replace_file, storage
from openbook.common.strict_json import parse_json
from openbook.runs.stage import json_bytes

NOTE = "views.json"
SUMMARY = "summary.json"  # the book in a few lines, for those who do not want to open it


def publish(place: Path, made: Mapping[str, bytes], *, rebuild: bool = False) -> list[str]:
    """Write the views of one book into its folder; returns the edited ones, which stay unless `rebuild`.

    The summary is not for editing, and never stays. What is the same already is not written.
    """
    edited = [] if rebuild else [name for name in altered(place) if name != SUMMARY]
    if _is_published(place, made):
        return []
    fresh = {name: data for name, data in made.items() if name not in edited}
    known, coming = _noted(place), {name: [_sha256(data)] for name, data in fresh.items()}
    with storage(f"write the views in {place}"):
        make_folder(place)
        there = {name: [_sha256((place / name).read_bytes())] for name in fresh if (place / name).is_file()}
        both = {name: [*there.get(name, []), *coming[name]] for name in fresh}
        replace_file(place / NOTE, json_bytes({**known, **both}))
        for name, data in fresh.items():
            replace_file(place / name, data)
        replace_file(place / NOTE, json_bytes({**known, **coming}))
    return edited


def _is_published(place: Path, made: Mapping[str, bytes]) -> bool:
    """Whether these views lie there, with their note, and nothing else that a crash may have left."""
    noted = {name: [_sha256(data)] for name, data in made.items()}
    same = place.is_dir() and all(_is(place / name, data) for name, data in made.items())
    return same and _noted(place) == noted and {path.name for path in place.iterdir()} == {*made, NOTE}


def altered(place: Path) -> list[str]:
    """The views that were edited since they were written."""
    files = {place / name: hashes for name, hashes in sorted(_noted(place).items())}
    return [file.name for file, known in files.items() if file.is_file() and _sha256(file.read_bytes()) not in known]


def names(place: Path) -> list[str]:
    """The views that were written."""
    return sorted(_noted(place))


def unlike(place: Path, made: Mapping[str, bytes]) -> list[str]:
    """The views that are not, byte for byte, what the book gives; one that is missing is none of them."""
    files = {name: place / name for name in sorted(made)}
    return [name for name, file in files.items() if os.path.lexists(file) and not _is(file, made[name])]


def summary(place: Path) -> list[str]:
    """The book in a few lines, after the last command; nothing before the first."""
    file = place / SUMMARY
    if not file.is_file():
        return []
    try:
        return parse_json(file.read_bytes(), [str])
    except ValueError as error:
        raise BookError(f"{file} cannot be read: {error}; rebuild it with openbook views") from None


def _is(file: Path, data: bytes) -> bool:
    return file.is_file() and not file.is_symlink() and file.read_bytes() == data


def _noted(place: Path) -> dict[str, list[str]]:
    """Hashes of the views as they were written last and before, by name; none where the note cannot be read."""
    try:
        return parse_json((place / NOTE).read_bytes(), {str: [str]})
    except (OSError, ValueError):
        return {}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
