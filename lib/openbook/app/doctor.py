"""`openbook doctor`: what a desk needs around it, one line each; nothing is changed, and nothing is sent."""

import os
import platform
import shutil
import socket
import stat
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, cast

import pandas as pd

from openbook.app.book_places import books
from openbook.app.service import require_clock
from openbook.app.settings import load_params
from openbook.common import desk_folder, secrets
from openbook.common.errors import OpenbookError
from openbook.common.extras import EXTRAS, lacking
from openbook.common.text import printable
from openbook.market import calendar
from openbook.market.sources import FilesSource, Source, YahooSource
from openbook.market.sources.reading import list_files
from openbook.market.sources.yahoo_client import require_client
from openbook.notify import channels
from openbook.runs import audit_log

OK, WARN, FAIL = "ok", "warn", "fail"
PYTHONS = ((3, 11), (3, 14))  # the oldest and the newest that the tests were run on or the packages resolve for
CALENDAR = pd.Timedelta(days=92)  # less left of it is a warning
SCARCE, TOO_LITTLE = 5e9, 5e8  # bytes free where the runs lie: a year of pages of a large universe, and one page
YAHOO = ("query2.finance.yahoo.com", 443)
PATIENCE = 5.0  # seconds for a server to answer


class Diagnosis(NamedTuple):
    """One thing that was looked at."""

    name: str
    state: str  # ok, warn or fail
    said: str

    @property
    def line(self) -> str:
        """For a terminal."""
        return f"{self.state:<5} {self.name:<9} {printable(' '.join(self.said.split()))}"


def examine(runs: Path | None, *, profile: str = "demo") -> list[Diagnosis]:
    """Everything that can be looked at; without a runs folder, what needs no desk.

    profile : the one whose source is asked whether it can be reached
    """
    found = [_tried("versions", _versions), _tried("extras", _extras), _tried("calendar", _calendar)]
    if runs is None:
        found.append(Diagnosis("desk", WARN, f"none at or above {Path.cwd()}; make one with openbook new FOLDER"))
    else:
        found += [
            _tried("desk", lambda: (OK, str(desk_folder.find_desk()))),
            _tried("clock", lambda: _clock(runs)),
            _tried("disk", lambda: _disk(runs)),
            _tried("books", lambda: _books(runs)),
            _tried("source", lambda: _source(load_params("daily_run", profile, root=desk_folder.find_desk()).source)),
        ]
    return [*found, _tried("secrets", _secrets), _tried("channels", _channels)]


def document(found: list[Diagnosis]) -> dict:
    """The same for a program."""
    return {"ok": not failed(found), "checks": [one._asdict() for one in found]}


def failed(found: list[Diagnosis]) -> bool:
    """Whether something does not work; a warning is no failure."""
    return any(one.state == FAIL for one in found)


def _tried(name: str, look: Callable[[], tuple[str, str]]) -> Diagnosis:
    """What a look found; an error that a user can meet is a failure, in its own words."""
    try:
        return Diagnosis(name, *look())
    except (OpenbookError, OSError) as error:
        return Diagnosis(name, FAIL, secrets.redact(str(error)))


def _versions() -> tuple[str, str]:
    oldest, newest = PYTHONS
    state = OK if oldest <= sys.version_info[:2] <= newest else WARN
    system = f"{platform.system()} {platform.machine()}"
    return state, f"openbook {version('openbook')}, Python {platform.python_version()}, {system}"


def _extras() -> tuple[str, str]:
    missing = [extra for extra in EXTRAS if lacking(extra)]
    there = ", ".join(sorted(EXTRAS.keys() - missing)) or "none"
    return OK, f"installed: {there}; not installed: {', '.join(missing) or 'none'}"


def _calendar() -> tuple[str, str]:
    """How far the exchange calendar reaches; CalendarError if the clock is beyond it."""
    calendar.last_closed()
    last = calendar.last_known()
    return OK if last - calendar.today() > CALENDAR else WARN, f"{calendar.EXCHANGE} sessions through {last:%Y-%m-%d}"


def _clock(runs: Path) -> tuple[str, str]:
    """This machine's clock against the log; CalendarError where a command would refuse to go on."""
    require_clock(runs)
    last = audit_log.last_when(runs)
    said = f"{calendar.now():%Y-%m-%d %H:%M} UTC, last log entry {last or 'none'}"
    if rehearsed := os.environ.get(calendar.REHEARSAL):
        return WARN, f"{said}; {calendar.REHEARSAL}={rehearsed} overrides the clock, for simulations only"
    return OK, said


def _disk(runs: Path) -> tuple[str, str]:
    """Space where the runs lie, or will."""
    there = next(place for place in (runs, *runs.parents) if place.is_dir())
    free = shutil.disk_usage(there).free
    state = OK if free >= SCARCE else WARN if free >= TOO_LITTLE else FAIL
    writable = os.access(there, os.W_OK | os.X_OK)
    return state if writable else FAIL, f"{free / 1e9:.1f} GB free{'' if writable else ', but not writable'} in {there}"


def _books(runs: Path) -> tuple[str, str]:
    """The books, and whether somebody else could write into them."""
    found = books(runs)
    if not found:
        return WARN, "none yet; begin one with openbook init --cash AMOUNT"
    if odd := [str(place) for place in found.values() if isinstance(place, Path) and _others_write(place)]:
        return FAIL, f"every user of this machine can write {', '.join(odd)}; chmod o-w"
    return OK, ", ".join(found)


def _others_write(file: Path) -> bool:
    """Whether the mode of a file, or of the folder that it lies in, lets everybody write."""
    return any(stat.S_IMODE(path.stat().st_mode) & stat.S_IWOTH for path in (file, file.parent))


def _source(source: Source) -> tuple[str, str]:
    """Whether the prices can be reached; DataError and ParameterError say why not."""
    if isinstance(source, YahooSource):
        require_client()
        if source.universe is not None:
            list_files(source.universe.path)
        if source.second_source is not None:
            _source(cast(Source, source.second_source))
        return _answers(*YAHOO)
    if isinstance(source, FilesSource):
        return OK, f"files: {len(list_files(source.path))} at {source.path}"
    return OK, f"{source.provider}: bundled, nothing to reach"


def _answers(host: str, port: int) -> tuple[str, str]:
    """Whether a server takes a connection."""
    try:
        socket.create_connection((host, port), timeout=PATIENCE).close()
    except OSError as error:
        return FAIL, f"{host} does not answer: {error.strerror or error}; check the network, or try again later"
    return OK, f"{host} answers"


def _secrets() -> tuple[str, str]:
    """The file of secrets, which only its owner may read (UsageError if not), and secrets that nobody could find in a
    page."""
    secrets.settings()
    if names := secrets.unrecognizable():
        return WARN, f"too short or too plain to be found if a run writes it down: {', '.join(names)}"
    return OK, f"{os.environ[secrets.FILE]} is private" if secrets.FILE in os.environ else "no file of secrets"


def _channels() -> tuple[str, str]:
    """Who is told of a page, a failure or a halt; UsageError for a channel that cannot work."""
    names = ", ".join(channels.configured())
    return (OK, names) if names else (WARN, "none configured: nobody is told of a failure or a halt")
