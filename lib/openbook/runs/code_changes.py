"""Whether a sealed session's code and champion are unchanged; names the file that changed."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from openbook.common.desk_folder import find_desk
from openbook.common.errors import AuditError
from openbook.runs import libraries, provenance, registry
from openbook.runs.runs_folder import RunsFolder, read_run
from openbook.runs.stage import RUN

DAILY = "daily_run"
SHOWN = 4  # files that a line names


def void_because(runs: Path, date: str) -> str:
    """Why open orders of that session can no longer be approved or exported; empty if code and champion are the same.

    Data and parameters are not compared here: that would take too long for a status line.
    """
    sealed = RunsFolder(runs).sealed(DAILY, date)
    try:
        run = {} if sealed is None else read_run(sealed)
        made, champion = run.get("code") or {}, (run.get("inputs") or {}).get("champion")
    except AuditError:
        return f"{cast(Path, sealed) / RUN} was altered and cannot be read"
    if changed := changed_code(runs, cast(Path, sealed), made) if made else []:
        more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
        return f"the code changed since: {', '.join(changed[:SHOWN])}{more}"
    entries = registry.history(runs)
    if champion and entries and entries[-1]["sha256"] != champion:
        return f"the champion changed since: now {registry.describe(entries[-1])}"
    return ""


def changed_code(runs: Path, sealed: Path, made: Mapping) -> list[str]:
    """Deciding files that changed since a run was sealed, by their place on the desk; none: the same.

    made : the `code` of its run.json. Of the notebook the first code cell that differs is named.
    """
    desk, notebook = find_desk(), sealed.parent.name
    if made.get("sha256") == provenance.deciding(notebook)["sha256"]:
        return []
    then = libraries.library_of(runs, {"code": made})
    sources = ["the library (not kept)"] if then is None else []
    if then is not None:
        sources = libraries.differing(then, provenance.sources(desk))
    return [*sources, *_changed_cells(sealed / f"{notebook}.ipynb", desk)]


def _changed_cells(executed: Path, desk: Path) -> list[str]:
    """The notebook of the desk and its first code cell that is not the one that was executed."""
    file = provenance.notebook_file(desk, executed.stem)
    name = file.relative_to(desk).as_posix()
    if not (executed.is_file() and file.is_file()):
        return [f"{name} is missing"]
    then, now = (provenance.code_cells(path.read_bytes()) for path in (executed, file))
    if then == now:
        return []
    same = next((i for i, (a, b) in enumerate(zip(then, now, strict=False)) if a != b), min(len(then), len(now)))
    return [f"{name}, code cell {same + 1}"]
