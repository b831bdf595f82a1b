"""A desk is a folder with a marker file, found upward from the current folder, as git finds its own.

Its notebooks, parameters and runs lie below it; a relative path in its parameters starts there, wherever a command is
given and wherever a kernel stands.
"""

import os
from pathlib import Path

from openbook.errors import UsageError

FILE = "openbook.yaml"
DESK = "OPENBOOK_DESK"  # names the desk; kernels and their workers inherit it
RUNS = "OPENBOOK_RUNS"
WAYS = f"go into a desk's folder, or name one with --desk FOLDER or {DESK}"


def find_desk(start: str | Path | None = None) -> Path:
    """The desk that OPENBOOK_DESK names, or the nearest one at or above `start` (the current folder); absolute.

    Raises UsageError (64) where there is none, or where the marker belongs to another user: a desk's Python runs as
    whoever gives the command. A desk that is named needs no owner: naming it says that one means it.
    """
    named = os.environ.get(DESK)
    if named and start is None:
        return named_desk(named)
    here = Path.cwd() if start is None else Path(start).resolve()
    desk = _nearest(here)
    if desk is None:
        raise UsageError(f"no desk at {here} or above it: no folder has the file {FILE}; {WAYS}")
    return desk


def desk_or_none() -> Path | None:
    """The desk as `find_desk` finds it, or None where nothing names or marks one."""
    named = os.environ.get(DESK)
    return named_desk(named) if named else _nearest(Path.cwd())


def named_desk(folder: str | Path) -> Path:
    """The desk in that very folder, absolute; UsageError (64) if there is no marker file in it."""
    desk = Path(folder).resolve()
    if not (desk / FILE).is_file():
        raise UsageError(f"{desk} is not a desk: it has no file {FILE}; {WAYS}")
    return desk


def runs_folder(asked: str | Path | None = None) -> Path:
    """The runs folder that was asked for, or that OPENBOOK_RUNS names, or that of the desk; absolute.

    Raises UsageError (64) where none was asked for and there is no desk, and where the folder asked for belongs to
    another desk than the one that the command stands in: its parameters and notebooks are not those of that desk.
    """
    asked = asked or os.environ.get(RUNS)
    if not asked:
        return find_desk() / "runs"
    runs = Path(asked).resolve()
    theirs, ours = desk_of(runs), desk_or_none()
    if theirs is not None and ours is not None and theirs != ours:
        raise UsageError(f"{runs} belongs to the desk {theirs}, not to {ours}; go there, or say --desk {theirs}")
    return runs


def desk_of(runs: Path) -> Path | None:
    """The desk whose runs folder this is; None for a folder elsewhere."""
    return runs.parent if runs.name == "runs" and (runs.parent / FILE).is_file() else None


def inside(path: str) -> str:
    """A path of the parameters: a relative one starts at the desk, where there is one; a URL stays as it is."""
    if "://" in path or os.path.isabs(path):
        return path
    desk = desk_or_none()
    return path if desk is None else str(desk / path)


def _nearest(here: Path) -> Path | None:
    """The nearest folder at or above `here` with a marker that belongs to us."""
    desk = next((folder for folder in (here, *here.parents) if (folder / FILE).is_file()), None)
    if desk is not None:
        _require_own(desk / FILE)
    return desk


def _require_own(marker: Path) -> None:
    """UsageError (64) unless the marker belongs to this user, to root, or to whoever became root by sudo."""
    owner = marker.stat().st_uid
    if owner not in {os.getuid(), 0, int(os.environ.get("SUDO_UID", os.getuid()))}:
        raise UsageError(
            f"{marker} belongs to another user (uid {owner}), and a desk's Python would run as you; "
            f"if you trust it, name it: --desk {marker.parent}"
        )
