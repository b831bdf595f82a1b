"""A desk is a folder with a marker file, found upward from the current folder, as git finds its repository.

Its notebooks, parameters and runs lie below it; a relative path in its parameters starts there, wherever a command is
given and wherever a kernel stands.
"""

import hashlib
import os
import re
import stat
from pathlib import Path
from typing import cast

from openbook.common.errors import UsageError

FILE = "openbook.yaml"
FORMAT = "1"
DESK = "OPENBOOK_DESK"  # names the desk; kernels and their workers inherit it
RUNS = "OPENBOOK_RUNS"
WAYS = f"change into a desk folder, or name one with --desk FOLDER or {DESK}"


def find_desk() -> Path:
    """The desk that OPENBOOK_DESK names, or the nearest one at or above the current folder; absolute.

    Raises UsageError (64) where there is none, or where the marker belongs to another user: a desk's Python runs as
    the user of the command. A desk that is named explicitly may have any owner.
    """
    desk = desk_or_none()
    if desk is None:
        here = Path.cwd()
        old = " (for a desk of an older openbook, run: openbook upgrade)" if is_unmarked(here) else ""
        raise UsageError(f"no desk at or above {here}: file {FILE} not found{old}; {WAYS}")
    return desk


def desk_or_none() -> Path | None:
    """The desk as `find_desk` finds it, or None where nothing names or marks one."""
    named = os.environ.get(DESK)
    return named_desk(named) if named else _nearest(Path.cwd())


def is_unmarked(folder: Path) -> bool:
    """Whether a folder looks like a desk from before there were marker files."""
    there = all((folder / name).is_dir() for name in ("notebooks", "params"))
    return there and not os.path.lexists(folder / FILE)


def named_desk(folder: str | Path) -> Path:
    """The desk in that very folder, absolute; UsageError (64) if it is none, or this user cannot read it."""
    desk = Path(folder).resolve()
    if not desk.is_dir():
        raise UsageError(f"{desk} is {'a file' if desk.exists() else 'not there'}, not the folder of a desk; {WAYS}")
    if not os.access(desk, os.R_OK | os.X_OK, effective_ids=True):
        raise UsageError(f"{desk} cannot be read by this user; ask its owner, or name another desk")
    if not os.path.lexists(desk / FILE):
        raise UsageError(f"{desk} is not a desk: file {FILE} not found; {WAYS}")
    _require_marker(desk / FILE)
    return desk


def runs_folder(asked: str | Path | None = None) -> Path:
    """The runs folder that was asked for, or that OPENBOOK_RUNS names, or that of the desk; absolute.

    A relative one that was asked for starts at the current folder, one of OPENBOOK_RUNS at the desk.

    Raises UsageError (64) where none was asked for and there is no desk, and where the folder asked for belongs to
    another desk than the one of the current folder: its parameters and notebooks are not those of that desk.
    """
    named = os.environ.get(RUNS)
    if not (asked or named):
        return find_desk() / "runs"
    runs = Path(asked or inside(cast(str, named))).resolve()
    theirs, ours = desk_of(runs), desk_or_none()
    if theirs is not None and ours is not None and theirs != ours:
        raise UsageError(
            f"{runs} belongs to the desk {theirs}, not to {ours}; change into that desk, or pass --desk {theirs}"
        )
    return runs


def desk_of(runs: Path) -> Path | None:
    """The desk that a runs folder lies in; None for a folder elsewhere."""
    return desk_at_or_above(runs.parent)


def desk_at_or_above(folder: Path) -> Path | None:
    """The nearest folder with a marker, from an absolute one upward; whose it is, and its format, are not asked."""
    return next((place for place in (folder, *folder.parents) if os.path.lexists(place / FILE)), None)


def state_folder() -> Path:
    """Where this user's programs keep their state, by the XDG specification."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "openbook"


def runs_key(runs: Path) -> str:
    """Names a runs folder among others in one place, by its path."""
    return hashlib.sha256(os.fsencode(runs.absolute())).hexdigest()[:12]


def inside(path: str) -> str:
    """A path of the parameters: a relative one starts at the desk, where there is one; a URL stays as it is."""
    if "://" in path or os.path.isabs(path):
        return path
    desk = desk_or_none()
    return path if desk is None else str(desk / path)


def _nearest(here: Path) -> Path | None:
    """The nearest folder at or above `here` with a marker that belongs to us."""
    desk = desk_at_or_above(here)
    if desk is not None:
        _require_marker(desk / FILE)
        _require_own(desk)
    return desk


def _require_marker(marker: Path) -> None:
    """UsageError (64) unless that is a plain file of a known format."""
    try:
        plain = stat.S_ISREG(marker.lstat().st_mode)
        text = marker.read_text(encoding="utf-8", errors="replace") if plain else ""
    except OSError as error:
        raise UsageError(f"{marker} cannot be read: {error.strerror}") from None
    if not plain:
        raise UsageError(f"{marker} is a link or a folder; it must be a regular file")
    found = re.search(r"^format: *(\S+)", text, re.MULTILINE)
    if found is None or found[1] != FORMAT:
        what = f"has format {found[1]}" if found else "has no format line"
        raise UsageError(
            f"{marker} {what}, this openbook reads format {FORMAT}; update openbook, or write `format: {FORMAT}`"
        )


def trusted_owners(desk: Path) -> set[int]:
    """Ids of those whose files may run as us: this user, root, whoever became root by sudo, and the owner of the
    marker, for a foreign desk is used only where it was named."""
    marker = desk / FILE
    return _own_ids() | ({marker.lstat().st_uid} if os.path.lexists(marker) else set())


def _own_ids() -> set[int]:
    sudo = os.environ.get("SUDO_UID", "")
    return {os.getuid(), 0, *([int(sudo)] if sudo.isdecimal() and len(sudo) < 20 else [])}


def _require_own(desk: Path) -> None:
    """UsageError (64) unless desk and marker belong to this user, to root, or to whoever became root by sudo."""
    for place in (desk / FILE, desk):
        owner = place.lstat().st_uid
        if owner not in _own_ids():
            raise UsageError(
                f"{place} belongs to another user (uid {owner}), whose desk code would run under your "
                f"account; if you trust it, pass --desk {desk}"
            )
