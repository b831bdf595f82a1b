"""Tables of a book for people: rebuilt after every change, but never over a manual edit.

A view is known as ours by its hash. Before it is written, the hashes of the one that is there and of the one to come
are noted, so that a crash in between does not look like a manual edit; afterwards only that of the new one.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from openbook.common.errors import BookError
from openbook.common.files import replace_file, storage
from openbook.common.strict_json import parse_json
from openbook.runs.stage import json_bytes

NOTE = "views.json"
SUMMARY = "summary.json"  # the book in a few lines, for those who do not want to open it


def publish(place: Path, made: Mapping[str, bytes], *, rebuild: bool = False) -> list[str]:
    """Write the views of one book into its folder; returns the edited ones, which stay unless `rebuild`."""
    edited = [] if rebuild else altered(place)
    fresh = {name: data for name, data in made.items() if name not in edited}
    known, coming = _noted(place), {name: [_sha256(data)] for name, data in fresh.items()}
    with storage(f"write the views in {place}"):
        place.mkdir(parents=True, exist_ok=True)
        there = {name: [_sha256((place / name).read_bytes())] for name in fresh if (place / name).is_file()}
        both = {name: [*there.get(name, []), *coming[name]] for name in fresh}
        replace_file(place / NOTE, json_bytes({**known, **both}))
        for name, data in fresh.items():
            replace_file(place / name, data)
        replace_file(place / NOTE, json_bytes({**known, **coming}))
    return edited


def altered(place: Path) -> list[str]:
    """The views that were edited since they were written."""
    files = {place / name: hashes for name, hashes in sorted(_noted(place).items())}
    return [file.name for file, known in files.items() if file.is_file() and _sha256(file.read_bytes()) not in known]


def summary(place: Path) -> list[str]:
    """The book in a few lines, after the last command; nothing before the first."""
    file = place / SUMMARY
    if not file.is_file():
        return []
    try:
        return parse_json(file.read_bytes(), [str])
    except ValueError as error:
        raise BookError(f"{file} cannot be read: {error}; rebuild it with openbook views") from None


def _noted(place: Path) -> dict[str, list[str]]:
    """Hashes of the views as they were written last and before, by name; none where the note cannot be read."""
    try:
        return parse_json((place / NOTE).read_bytes(), {str: [str]})
    except (OSError, ValueError):
        return {}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
