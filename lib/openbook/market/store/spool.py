"""Answers of an update that did not end: kept for the rest of the day, so that the next one asks only for the rest.

A part is a file named by what it is an answer to and by its content; one that was damaged or exchanged is not read.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from openbook.common.files import make_folder, read_itself, storage, write_file
from openbook.market import calendar

FORMAT = 1


class Spool:
    """The parts of one update; those of any other update in the same place are removed when it begins.

    place : the folder of all spools; settings : of the source; since : the first session that is asked for, None: all;
    closed : the last session that was over
    """

    def __init__(self, place: Path, settings: dict, since, closed):
        days = {"since": str(since), "closed": str(closed), "today": str(calendar.today())}
        self._key = _digest({"format": FORMAT, "source": settings} | days)
        self._place, self._folder = place, place / self._key[:16]
        self._leave({self._folder})
        there = sorted(self._folder.iterdir()) if self._folder.is_dir() else []
        self._files = {file.name.partition("-")[0]: file for file in there}

    def __len__(self) -> int:
        """How many parts there are."""
        return len(self._files)

    def get(self, name: str) -> bytes | None:
        """A part as it was put; None if there is none, or if it is not what was put. A spoiled part is removed."""
        file = self._files.get(self._name(name))
        if file is None:
            return None
        with storage(f"read the answers kept in {self._folder}"):
            data = b"" if file.is_symlink() or not file.is_file() else read_itself(file)
            if hashlib.sha256(data).hexdigest() == file.name.partition("-")[2]:
                return data
            del self._files[self._name(name)]
            shutil.rmtree(file) if file.is_dir() and not file.is_symlink() else file.unlink(missing_ok=True)
        return None

    def put(self, name: str, data: bytes) -> None:
        """Keep a part. It need not reach the disk at once: half a part is no part."""
        with storage(f"keep an answer in {self._folder}"):
            make_folder(self._folder)
            file = self._folder / f"{self._name(name)}-{hashlib.sha256(data).hexdigest()}"
            write_file(file, data)
            self._files[self._name(name)] = file

    def remove(self) -> None:
        """The update is over: nothing is kept, and the place is gone."""
        self._leave(set())
        self._files = {}

    def _name(self, name: str) -> str:
        return _digest({"of": self._key, "name": name})[:32]

    def _leave(self, kept: set[Path]) -> None:
        """Remove every spool in the place but these, and the place if it is empty then."""
        with storage(f"clear {self._place}"):
            if self._place.is_symlink():
                self._place.unlink()
            if not self._place.is_dir():
                return
            for path in set(self._place.iterdir()) - kept:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            if not any(self._place.iterdir()):
                self._place.rmdir()


def _digest(content: Mapping) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
