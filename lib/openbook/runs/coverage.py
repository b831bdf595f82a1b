"""Which files below a runs folder `openbook verify` answers for: every other one is named."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from openbook.common.errors import DataError, StorageError
from openbook.market.store.manifest import MANIFEST, files_of, read_manifest
from openbook.runs import audit_log, closures, libraries, registry, score_files, summaries, timestamps, views
from openbook.runs.runs_folder import BOOKS, STORE, RunsFolder

INDEX = "index.html"
ALONE = {audit_log.FILE, closures.FILE, INDEX, summaries.KNOWN}


def links(runs: Path) -> list[str]:
    """The symbolic links below a runs folder, by relative name: what they lead to can be altered elsewhere. Not in
    the place of a whole folder at the top: people make such a link when they move it to another disk."""
    found = (path for path in _walk(runs) if path.is_symlink() and not (path.parent == runs and path.is_dir()))
    return sorted(path.relative_to(runs).as_posix() for path in found)


def not_covered(runs: Path) -> list[str]:
    """What no hash, log or book speaks for: files at the top by name, folders with the number of their files."""
    covered = set(_covered(runs))
    rest = (path.relative_to(runs) for path in _walk(runs) if path not in covered and not path.is_symlink())
    counts = Counter(path.parts[0] + "/" if len(path.parts) > 1 else path.name for path in rest)
    moved = [f"{path.name}/ (a link)" for path in sorted(runs.glob("*/")) if path.is_symlink()]
    return [f"{name} ({_files(n)})" if name.endswith("/") else name for name, n in sorted(counts.items())] + moved


def _covered(runs: Path) -> Iterator[Path]:
    yield from (runs / name for name in ALONE)
    for run in RunsFolder(runs).list():
        yield from _walk(run.folder)
    yield from _walk(runs / registry.FOLDER)
    yield from (runs / libraries.FOLDER).glob("*.zip")
    yield from (runs / score_files.FOLDER).glob("*.parquet")
    yield from (runs / timestamps.FOLDER).glob("*.tsr")
    yield from (runs / BOOKS).glob("*.db")
    for folder in (runs / BOOKS).glob("*/"):
        yield from (folder / name for name in (views.NOTE, *views.names(folder)))
    for folder in (runs / STORE).glob("*/"):
        try:
            yield from (folder / name for name in (MANIFEST, *files_of(read_manifest(folder))))
        except (DataError, StorageError):  # a finding of its own
            yield from _walk(folder)


def _walk(folder: Path) -> Iterator[Path]:
    """Every file and link below a folder, links not followed."""
    for above, folders, names in os.walk(folder):
        yield from (Path(above) / name for name in names)
        yield from (Path(above) / name for name in folders if (Path(above) / name).is_symlink())


def _files(n: int) -> str:
    return f"{n} file{'s' if n > 1 else ''}"
