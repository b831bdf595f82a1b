"""Whether Python would run what the sources say: its bytecode is taken from a cache that only knows times and sizes.

The identity of the code is a hash of sources (see `provenance`). A file in `__pycache__` that was compiled from
something else, with the time and size of the source, would run in their place unnoticed.
"""

import importlib.util
import marshal
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from openbook.common.desk_folder import desk_or_none
from openbook.common.errors import AuditError
from openbook.runs.provenance import EXTENSIONS, LIBRARY

HEADER = 16  # bytes before the code: magic number, flags, then time and size of the source, or its hash (PEP 552)
HASHED, CHECKED = 1, 2  # flags


def unfaithful() -> list[Path]:
    """The bytecode files of the library and of the desk's own Python that Python would use although they are not what
    their source compiles to."""
    desk = desk_or_none()
    folders = [LIBRARY, *([desk / EXTENSIONS] if desk else [])]
    return sorted(file for folder in folders for file in _unfaithful_below(folder))


def require_faithful() -> None:
    """AuditError (90) naming bytecode that is not what its source compiles to."""
    if found := unfaithful():
        raise AuditError(f"{', '.join(map(str, found))} was not compiled from its source; delete it and find out why")


def _unfaithful_below(folder: Path) -> Iterator[Path]:
    for source in folder.rglob("*.py"):
        compiled = Path(importlib.util.cache_from_source(str(source)))
        if compiled.is_file() and not _is_faithful(source, compiled, _version(source), _version(compiled)):
            yield compiled


def _version(file: Path) -> tuple[int, int, int]:
    stat = file.stat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


@cache
def _is_faithful(source: Path, compiled: Path, was: tuple[int, int, int], _: tuple[int, int, int]) -> bool:
    """Whether bytecode is unused, or what its source compiles to; each version of the two files is compared once."""
    data = compiled.read_bytes()
    if data[:4] != importlib.util.MAGIC_NUMBER or not _is_used(data, source, was):
        return True
    try:
        code = marshal.loads(data[HEADER:])
        return code == compile(source.read_bytes(), str(source), "exec", dont_inherit=True)
    except (ValueError, EOFError, TypeError, SyntaxError):
        return False


def _is_used(data: bytes, source: Path, was: tuple[int, int, int]) -> bool:
    """Whether Python would take this bytecode for that of the source."""
    flags = int.from_bytes(data[4:8], "little")
    if flags & HASHED:
        fresh = data[8:HEADER] == importlib.util.source_hash(source.read_bytes())
        return fresh or not flags & CHECKED
    time, size = int.from_bytes(data[8:12], "little"), int.from_bytes(data[12:HEADER], "little")
    return (time, size) == (was[0] // 10**9 & 0xFFFFFFFF, was[1] & 0xFFFFFFFF)
