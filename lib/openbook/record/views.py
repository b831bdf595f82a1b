"""Tables of a book for people: made again after every change, and never over what somebody wrote into them.

A view is known as ours by its hash, which is noted before the view is written; of each the last two hashes are kept, so
that a crash between the note and the view does not look like somebody's hand.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from openbook.record.disk import replace_file, storage
from openbook.record.stage import json_bytes

NOTE = "views.json"
SUMMARY = "summary.json"  # the book in a few lines, for those who do not want to open it


def publish(place: Path, made: Mapping[str, bytes], *, rebuild: bool = False) -> list[str]:
    """Write the views of one book into its folder; returns those that somebody edited, which stay unless `rebuild`."""
    edited = [] if rebuild else altered(place)
    fresh = {name: data for name, data in made.items() if name not in edited}
    known = _noted(place)
    noted = {name: [*known.get(name, [])[-1:], _sha256(data)] for name, data in fresh.items()}
    with storage(f"write the views in {place}"):
        place.mkdir(parents=True, exist_ok=True)
        replace_file(place / NOTE, json_bytes({**known, **noted}))
        for name, data in fresh.items():
            replace_file(place / name, data)
    return edited


def altered(place: Path) -> list[str]:
    """The views that are not as they were written: somebody edited them."""
    files = {place / name: hashes for name, hashes in sorted(_noted(place).items())}
    return [file.name for file, known in files.items() if file.is_file() and _sha256(file.read_bytes()) not in known]


def summary(place: Path) -> list[str]:
    """The book in a few lines, as it was after the last command; nothing before the first."""
    file = place / SUMMARY
    return json.loads(file.read_bytes()) if file.is_file() else []


def _noted(place: Path) -> dict[str, list[str]]:
    """Hashes of the views as they were written last and before, by name; none where the note cannot be read."""
    try:
        return json.loads((place / NOTE).read_bytes())
    except (OSError, ValueError):
        return {}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
