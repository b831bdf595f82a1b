"""Which code and which packages made a run.

The code has one identity, the same for a sealed run, an approval, a replay and a champion's card: the hash of the
sources that decide. These are the library, the desk's own Python, and the code cells of the notebook that ran. Prose,
outputs, other notebooks and files that only a reader sees do not count.
"""

import hashlib
import json
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from openbook.common import extensions
from openbook.common.desk_folder import find_desk
from openbook.common.errors import UsageError

LIBRARY = Path(__file__).resolve().parents[1]
EXTENSIONS = extensions.FOLDER  # of a desk: its own features, optimizers, learners and sources
INJECTED = "injected-parameters"  # papermill's tag for the cell that it adds
PARAMETERS = "parameters"
SKIPPED = ("__pycache__", ".ipynb_checkpoints")
TEMPLATE = LIBRARY / "desk"  # of a library installed from a wheel: what `openbook new` copies; it decides nothing


def code(notebook: str) -> dict:
    """`deciding(notebook)`, and for readers commit and modified from git; None outside a repository."""
    desk = find_desk()
    return {**deciding(notebook), **_git_says(desk, notebook_file(desk, notebook))}


def deciding(notebook: str) -> dict[str, str]:
    """What a run of that notebook on this desk is decided by, as hashes.

    sha256 : the identity of the code, of both of the following; sources : of the library and the desk's own Python
    cells : of the notebook's code cells, empty if the desk has none of that name
    """
    desk = find_desk()
    file = notebook_file(desk, notebook)
    try:
        cells = cells_digest(file.read_bytes()) if file.is_file() else ""
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from None
    made = {"sources": sources_digest(sources(desk)), "cells": cells}
    return {"sha256": identity(made), **made}


def identity(made: Mapping[str, str]) -> str:
    """The one hash of the code, from the hash of its sources and that of its cells."""
    return hashlib.sha256(f"{made['sources']} {made['cells']}".encode()).hexdigest()


def notebook_file(desk: Path, notebook: str) -> Path:
    """Where the notebook of that name lies on a desk."""
    return desk / "notebooks" / f"{notebook}.ipynb"


def sources(desk: Path) -> dict[str, bytes]:
    """The library and the desk's own Python, by name: openbook/… and extensions/…"""
    found = {f"openbook/{name}": data for name, data in _library().items()}
    return found | {f"extensions/{name}": data for name, data in _files(desk / EXTENSIONS).items()}


def library_digest() -> str:
    """One sha256 over the library alone, as it lies on the disk: what a process that starts now will import."""
    return sources_digest(_library())


def sources_digest(files: Mapping[str, bytes]) -> str:
    """One sha256 over names and bytes."""
    lines = (f"{name} {hashlib.sha256(files[name]).hexdigest()}\n" for name in sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def cells_digest(notebook: bytes) -> str:
    """One sha256 over what a notebook runs. Running it, saving it, and rewording its prose leave it as it is."""
    return hashlib.sha256(json.dumps(code_cells(notebook)).encode()).hexdigest()


def code_cells(notebook: bytes) -> list[list]:
    """Source of every code cell that is not empty, and whether it is the one of the parameters."""
    cells = [(_source(cell), PARAMETERS in _tags(cell)) for cell in own_cells(notebook) if cell["cell_type"] == "code"]
    return [[source, tagged] for source, tagged in cells if source.strip()]


def all_cells(notebook: bytes) -> list[tuple[str, str]]:
    """Kind and source of every cell that is not empty, prose too."""
    return [(cell["cell_type"], _source(cell)) for cell in own_cells(notebook) if _source(cell).strip()]


def own_cells(notebook: bytes) -> list[dict]:
    """The cells of a notebook, without the one that papermill injected; a second such cell belongs to the author.

    Raises UsageError (64) if that is no notebook.
    """
    try:
        cells = json.loads(notebook)["cells"]
        injected = [i for i, cell in enumerate(cells) if INJECTED in _tags(cell)]
        kept = [cell for i, cell in enumerate(cells) if i not in injected[:1]]
        return [cell for cell in kept if isinstance(_source(cell), str) and isinstance(cell["cell_type"], str)]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise UsageError("cannot read the notebook, it is not nbformat 4; restore it") from None


def environment() -> dict:
    """Everything that is installed beside this code: Python, the platform, and each distribution with its version."""
    found: dict[str, str] = {}
    for folder in sys.path:  # the first one found is the one that is imported
        for entry in sorted(Path(folder or ".").glob("*.dist-info")):
            name, _, version = entry.name.removesuffix(".dist-info").rpartition("-")
            found.setdefault(_canonical(name), version)
    found.pop("openbook", None)  # its sources are hashed, whatever its version
    return {
        "python": platform.python_version(),
        "platform": f"{sys.platform}-{platform.machine()}",
        "distributions": dict(sorted(found.items())),
    }


def versions(run: Mapping) -> dict[str, str]:
    """Versions by name that a run.json records, Python's among them; an older one names a few packages only."""
    made = run.get("environment")
    return dict(run.get("packages") or {}) if made is None else {"python": made["python"], **made["distributions"]}


def _source(cell: Mapping) -> str:
    return "".join(cell["source"])


def _tags(cell: Mapping) -> list[str]:
    return cell["metadata"].get("tags", [])


def _library() -> dict[str, bytes]:
    """The files of the library by their names in it, the same in a clone and installed from a wheel."""
    return {name: data for name, data in _files(LIBRARY).items() if not name.startswith(f"{TEMPLATE.name}/")}


def _files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its name there, but for caches and hidden ones."""
    paths = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    kept = {name: path for name, path in paths.items() if not any(_is_cache(part) for part in name.parts)}
    return {name.as_posix(): path.read_bytes() for name, path in kept.items()}


def _is_cache(part: str) -> bool:
    return part in SKIPPED or part.startswith(".") or part.endswith((".pyc", ".nbi", ".nbc"))


def _canonical(name: str) -> str:
    """The name of a distribution as all tools compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _git_says(desk: Path, notebook: Path) -> dict:
    """The commit of this code, and whether what decides differs from it; nulls where this is no checkout."""
    commit = _git("rev-parse", "HEAD") if _git("ls-files", "--error-unmatch", "common/errors.py") else None
    if not commit:
        return {"commit": None, "modified": None}
    ours = [LIBRARY, desk / EXTENSIONS] if LIBRARY.is_relative_to(desk) else [LIBRARY]
    changed = _git("status", "--porcelain", "--", *map(str, ours))
    return {"commit": commit, "modified": changed != "" or not _as_committed(notebook)}


def _as_committed(notebook: Path) -> bool:
    """Whether the cells of a notebook, prose too, are those of its commit; True where there is no such notebook."""
    if not notebook.is_file():
        return True
    committed = _git("show", f"HEAD:./{notebook.name}", at=notebook.parent)
    return committed is not None and all_cells(committed.encode()) == all_cells(notebook.read_bytes())


def _git(*arguments: str, at: Path | None = None) -> str | None:
    """What git answers about a folder, the library's if none is named; None if it cannot, as in a repository of another
    user. It writes nothing, not even what it remembers about files."""
    try:
        where = ["git", "--no-optional-locks", "-C", str(LIBRARY if at is None else at)]
        done = subprocess.run([*where, *arguments], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
