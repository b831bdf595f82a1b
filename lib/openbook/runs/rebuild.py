"""What a replay uses: the sealed cells, and the library and packages of that time."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openbook.common.desk_folder import find_desk
from openbook.common.files import storage
from openbook.runs import libraries, provenance
from openbook.runs.environments import interpreter_of
from openbook.runs.runs_folder import read_run

SHOWN = 5  # sources that a line names


@dataclass(frozen=True)
class Made:
    """What a run is made with.

    notebook : without its outputs; library : folder with the sources, None: the library that runs this
    lines : what has changed since, and where something of then could not be had
    """

    notebook: Path
    python: str
    library: Path | None
    lines: tuple[str, ...]


def rebuild(runs: Path, sealed: Path, scratch: Path) -> Made:
    """What the sealed run in that folder was made with, in a scratch folder: what is installed where that is the same,
    else the library that was kept, and an environment built from what the run recorded.

    Raises AuditError (90) if the kept library was altered.
    """
    run = read_run(sealed)
    notebook = scratch / f"{run['notebook']}.ipynb"
    with storage(f"write {notebook}"):
        notebook.write_bytes(_without_outputs((sealed / notebook.name).read_bytes()))
    interpreter = interpreter_of(run)
    library, notes = _library(runs, run, scratch / "library")
    if library is None and interpreter.python != sys.executable:  # which has no library of its own
        library = libraries.unpack(provenance.sources(find_desk()), scratch / "library")
    return Made(notebook, interpreter.python, library, (*notes, *interpreter.lines))


def _library(runs: Path, run: Mapping, into: Path) -> tuple[Path | None, list[str]]:
    """Where the library of a run is unpacked, None if it is the running one, and notes."""
    now, then = provenance.sources(find_desk()), libraries.library_of(runs, run)
    if then is None:
        named = run["code"].get("commit") or "then"
        return None, [f"the library of {named} was not kept, so the installed one is used"]
    other = libraries.differing(then, now)
    if not other:
        return None, []
    names = f"{', '.join(other[:SHOWN])}{' …' if len(other) > SHOWN else ''}"
    files = "1 file" if len(other) == 1 else f"{len(other)} files"
    note = f"the library changed since in {files} ({names}), so the recorded one is used"
    libraries.unpack(then, into)
    libraries.bring_compiled(then, into)
    return into, [note]


def _without_outputs(executed: bytes) -> bytes:
    """The notebook as it was before it ran: no outputs, and not the cell that papermill added."""
    notebook = json.loads(executed)
    empty: dict[str, Any] = {"outputs": [], "execution_count": None}
    cells = [cell | empty if cell["cell_type"] == "code" else cell for cell in provenance.own_cells(executed)]
    metadata = {name: value for name, value in notebook["metadata"].items() if name != "papermill"}
    return json.dumps(notebook | {"cells": cells, "metadata": metadata}).encode()
