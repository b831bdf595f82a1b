"""A desk's own features, optimizers, learners and price sources: plain functions in the Python files of lib/extensions.

A file has at its top level one or more of the dicts FEATURES, OPTIMIZERS, LEARNERS and SOURCES; `load` adds their
entries to the library's own. A file is read once: the bytes that are hashed are the bytes that run. Each stands alone
and imports installed packages only, so that its hash says all that it does.
"""

import hashlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from openbook.common.desk_folder import desk_or_none, trusted_owners
from openbook.common.errors import ConflictError, ModelError, ParameterError, UsageError
from openbook.common.files import storage

FOLDER = Path("lib") / "extensions"  # of a desk
PLACE = "OPENBOOK_EXTENSIONS"  # set by a replay for its kernel: the folder with the files of then
MODULES = "openbook_extensions"  # what they are called in a traceback, and between processes
KINDS = {"FEATURES": "feature", "OPTIMIZERS": "optimizer", "LEARNERS": "learner", "SOURCES": "price source"}
SHORT = 12  # characters of a hash that a person compares

Convert = Callable[[str, Any], Any]

_tables: dict[str, tuple[dict, Convert]] = {}  # the library's own dicts that are imported, by kind
_files: dict[str, bytes] = {}  # what is loaded, by its place on the desk
_found: dict[str, dict[str, tuple[str, Any]]] = {}  # kind -> name -> file, value
_added: dict[str, list[str]] = {}  # kind -> names that are in the library's dict because of it
_place: Path | None = None  # the folder that it was loaded from
_handed = False  # it came with a task, and the folder of this process does not count


def register(kind: str, table: dict, convert: Convert) -> None:
    """Let extensions add to a dict of the library.

    convert : (name, what the file says) -> an entry of the table; ParameterError where it cannot be one
    """
    _tables[kind] = (table, convert)
    _add(kind)


def load() -> None:
    """Add what the desk's files define, once a process; another desk's entries are removed first.

    Called wherever a name is looked up. Raises ParameterError (78) naming file and line of what cannot be loaded,
    UsageError (64) for a file of another user.
    """
    global _place
    place = _folder()
    if _handed or place == _place:
        return
    use({} if place is None else read(place), place)
    _place = place


def forget() -> None:
    """Remove all that was added; the next `load` reads the files again."""
    global _files, _place, _found, _added
    for kind, names in _added.items():
        for name in names:
            _tables[kind][0].pop(name, None)
    for name in [name for name in sys.modules if name.startswith(f"{MODULES}.")]:
        del sys.modules[name]
    _files, _place, _found, _added = {}, None, {}, {}


def read(folder: Path) -> dict[str, bytes]:
    """The files of an extensions folder by their place on a desk, sorted; nothing without a folder."""
    paths = sorted(path for path in folder.glob("*.py") if not path.name.startswith("."))
    for path in [folder, *paths] if paths else []:
        _require_trusted(path, desk=folder.parents[1])
    with storage(f"read {folder}"):
        return {(FOLDER / path.name).as_posix(): path.read_bytes() for path in paths}


def use(files: Mapping[str, bytes], folder: Path | None = None) -> None:
    """Execute these files, in the place of those loaded before. folder : where they lie, for tracebacks"""
    global _files, _found
    if files == _files:
        return
    forget()
    found: dict[str, dict[str, tuple[str, Any]]] = {kind: {} for kind in KINDS}
    try:
        for name, data in files.items():
            for kind, entries in _defined(name, data, folder).items():
                _collect(found[kind], name, kind, entries)
        _found = found
        for kind in _tables:
            _add(kind)
    except ParameterError:
        forget()
        raise
    _files = dict(files)


def loaded() -> dict[str, bytes]:
    """The files that this process uses, by their place on the desk."""
    load()
    return dict(_files)


def run_with(files: Mapping[str, bytes], function: Callable, *arguments: Any) -> Any:
    """Call a function in another process with the extensions of the one that sent it, not those that lie here."""
    global _handed
    _handed = True
    use(files)
    return function(*arguments)


def behind(kind: str, names: Iterable[str]) -> dict[str, str]:
    """The files that define these names, file -> sha256; the library's own names have none."""
    files = sorted({_found[kind][name][0] for name in names if name in _found.get(kind, {})})
    return {name: _sha256(_files[name]) for name in files}


def unlike(recorded: Mapping[str, str], who: str) -> str:
    """Which recorded file is not loaded with its recorded sha256, in words; empty if all are. who : needs them"""
    if recorded:
        load()
    for name, sha256 in recorded.items():
        if name not in _files or _sha256(_files[name]) != sha256:
            what = "is missing" if name not in _files else "has changed"
            return (
                f"{who} needs {name} as it was (sha256 {sha256[:SHORT]}…), which {what}; restore the file, or train, "
                "compare and select again"
            )
    return ""


def require(recorded: Mapping[str, str], who: str) -> None:
    """Raise ModelError (40) unless each recorded file is loaded with its recorded sha256. who : needs them"""
    if said := unlike(recorded, who):
        raise ModelError(said)


def require_unchanged() -> None:
    """Raise ConflictError (62) if a file is not the one that this process has loaded."""
    if _place is not None and not _handed and read(_place) != _files:
        raise ConflictError(f"{FOLDER} changed while this was running; run it again")


# ---- inside ----


def _folder() -> Path | None:
    """Where the files lie, if there is a desk; a foreign desk, which commands refuse, counts as none."""
    if PLACE in os.environ:
        return Path(os.environ[PLACE])
    try:
        desk = desk_or_none()
    except UsageError:
        return None
    return None if desk is None else desk / FOLDER


def _require_trusted(path: Path, desk: Path) -> None:
    """UsageError (64) for a file of somebody whose code must not run under this account."""
    ours = trusted_owners(desk)
    for owner in (path.lstat().st_uid, path.stat().st_uid):
        if owner not in ours:
            raise UsageError(f"{path} belongs to another user (uid {owner}), so it is not run; remove or copy it")


def _defined(name: str, data: bytes, folder: Path | None) -> dict[str, dict]:
    """The dicts of one file by kind, after it was executed."""
    module = ModuleType(f"{MODULES}.{Path(name).stem}")
    module.__file__ = name if folder is None else str(folder / Path(name).name)
    sys.modules[module.__name__] = module
    try:
        with _without_current_folder():
            exec(compile(data, module.__file__, "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit) as error:
        place = f"{name}, line {_line(error, module.__file__)}"
        raise ParameterError(f"{place}: {type(error).__name__}: {' '.join(str(error).split())}; mend it") from None
    tables = {kind: getattr(module, kind) for kind in KINDS if hasattr(module, kind)}
    if data.strip() and not tables:
        raise ParameterError(f"{name} has none of {', '.join(KINDS)}; define one, or move the file")
    return tables


def _collect(found: dict, file: str, kind: str, entries: Any) -> None:
    """Put the entries of one file with those of the others; ParameterError for what is no dict or is there twice."""
    if not (isinstance(entries, dict) and all(isinstance(name, str) and name.isidentifier() for name in entries)):
        raise ParameterError(f"{file}: {kind} must be a dict of functions by name, such as {{'my_{kind.lower()}': f}}")
    for name, value in entries.items():
        if name in found:
            raise ParameterError(f"{file}: {KINDS[kind]} {name!r} is already in {found[name][0]}; rename one")
        found[name] = (file, value)


def _add(kind: str) -> None:
    """Put what was found of one kind into the library's dict, all or nothing."""
    table, convert = _tables[kind]
    entries = _found.get(kind, {})
    for name, (file, _) in entries.items():
        if name in table:
            raise ParameterError(f"{file}: {KINDS[kind]} {name!r} already exists in openbook; choose another name")
    table.update({name: _converted(convert, name, *entry) for name, entry in entries.items()})
    _added[kind] = list(entries)


def _converted(convert: Convert, name: str, file: str, value: Any) -> Any:
    """An entry of the library's dict; ParameterError names the file."""
    try:
        return convert(name, value)
    except ParameterError as error:
        raise ParameterError(f"{file}: {error}") from None


def _line(error: BaseException, file: str) -> int:
    """The line of a file on which an error arose."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return lines[-1] if lines and lines[-1] else getattr(error, "lineno", None) or 1


@contextmanager
def _without_current_folder() -> Iterator[None]:
    """Inside, an import finds nothing that happens to lie in the current folder."""
    before, here = list(sys.path), {"", ".", os.getcwd()}
    sys.path[:] = [folder for folder in before if folder not in here]
    try:
        yield
    finally:
        sys.path[:] = before


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
