"""The file checks of `openbook verify`: is every sealed run, champion and executed notebook unaltered?"""

import hashlib
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from openbook.common.errors import AuditError, OpenbookError
from openbook.common.files import read_itself, storage
from openbook.runs import audit_log, libraries, provenance, registry
from openbook.runs.runs_folder import Run, RunsFolder, read_run
from openbook.runs.stage import REPORT, RUN

NO_FILE = "no file"  # in the place of a hash
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40,64}", re.ASCII)


def run_digest(folder: Path) -> str:
    """One sha256 over every file of a sealed run, run.json, the notebook and the report included."""
    return _digest(_hashes(folder))


def require_as_logged(runs: Path, folder: Path) -> None:
    """AuditError (90) unless a sealed run is byte for byte the one that the log has."""
    _require_logged(runs, folder, run_digest(folder))


def read_as_logged(runs: Path, folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Those of the named files that a sealed run has, by name: the very bytes that were compared with the log.

    Raises AuditError (90) as `require_as_logged`; a symbolic link is no file of a run.
    """
    hashes = _hashes(folder)
    with storage(f"read {folder}"):
        found = {name: read_itself(folder / name) for name in names if hashes.get(name, NO_FILE) != NO_FILE}
    hashes |= {name: hashlib.sha256(data).hexdigest() for name, data in found.items()}
    _require_logged(runs, folder, _digest(hashes))
    return found


def _require_logged(runs: Path, folder: Path, digest: str) -> None:
    name = f"{folder.parent.name}/{folder.name}"
    logged = audit_log.logged(runs, "run").get(name)
    if logged is None:
        raise AuditError(f"{name} is not in the log; if a crash came between, run it again, else see openbook verify")
    if logged != digest:
        raise AuditError(f"{name} was altered: it is not the run in the log; see openbook verify")


def check_runs(runs: Path) -> list[str]:
    """What was altered in the sealed runs, in words: against each run.json, and against the log where it has them.

    Raises AuditError (90) if the log cannot be read.
    """
    logged = audit_log.logged(runs, "run")
    sealed = {run.subject: run.folder for run in RunsFolder(runs).list()}
    return [line for name, folder in sealed.items() for line in _check_run(name, folder, logged.get(name))]


def check_champions(runs: Path, verify: Callable[[Path], object]) -> list[str]:
    """What was altered in production/, in words: the bundles, and whether the pointer can be read.

    verify : raises an OpenbookError if the bundle of that folder is altered
    """
    bundles = sorted(path for path in (runs / registry.FOLDER).glob("[!.]*") if path.name != registry.POINTER)
    problems = [line for folder in bundles for line in _check_bundle(folder, verify)]
    try:
        entries = registry.history(runs)
    except OpenbookError as error:
        return [*problems, str(error)]
    named = {registry.place(runs, entry["sha256"]) for entry in entries}
    return [*problems, *(f"the bundle {folder} is missing" for folder in sorted(named - set(bundles)))]


def check_cells(runs: Path, repository: Path) -> tuple[list[str], list[str]]:
    """(what was altered, what could not be compared): the cells of executed notebooks against what made them.

    A run names the hash of its code cells; if it was made from a commit, the repository shows what all of its cells
    were. The cell that papermill injected is left out. A run whose run.json cannot be read is a matter of `check_runs`.

    repository : with notebooks/ at its top
    """
    altered = [line for run in RunsFolder(runs).list() for line in _check_own_cells(run)]
    commits: dict = {}
    unchecked: dict = {}
    for run in RunsFolder(runs).list():
        code, reason = _code(run)
        if reason:
            unchecked.setdefault(reason, []).append(run.subject)
        else:
            commits[run] = f"{code}:notebooks/{run.notebook}.ipynb"
    sources, problems = _read_objects(repository, sorted(set(commits.values()))), []
    for run, name in commits.items():
        if sources is None:
            unchecked.setdefault(f"git cannot read {repository}", []).append(run.subject)
        elif name not in sources:
            unchecked.setdefault(f"{repository} has no {name}", []).append(run.subject)
        else:
            problems += _compare(run, name, sources[name])
    lines = [
        f"cells of {names[0]}{_and(len(names) - 1)} not compared with a commit: {why}"
        for why, names in unchecked.items()
    ]
    return [*altered, *problems], lines


def check_libraries(runs: Path) -> list[str]:
    """What was altered in code/, in words: a library that does not match its hash, or that a run needs and lacks."""
    needed: dict[str, str] = {}
    for run in RunsFolder(runs).list():
        digest = _made_by(run).get("sources")
        if isinstance(digest, str):
            needed.setdefault(digest, run.subject)
    missing = [
        f"{libraries.FOLDER}/{digest}.zip is missing, but {subject} needs it"
        for digest, subject in sorted(needed.items())
        if not (runs / libraries.FOLDER / f"{digest}.zip").is_file()
    ]
    return [*libraries.check(runs), *missing]


def _hashes(folder: Path) -> dict[str, str]:
    """sha256 by relative name of everything below a folder; a link is no file, wherever it leads."""
    if folder.is_symlink():
        return {".": "no file"}
    with storage(f"read {folder}"):
        paths = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
        return {path.relative_to(folder).as_posix(): _hash(path) for path in sorted(paths)}


def _hash(path: Path) -> str:
    if path.is_symlink() or not path.is_file():
        return NO_FILE
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(hashes: Mapping[str, str]) -> str:
    return hashlib.sha256("".join(f"{name} {hashes[name]}\n" for name in sorted(hashes)).encode()).hexdigest()


def _check_run(name: str, folder: Path, logged: str | None) -> list[str]:
    """What was altered in one sealed run; `logged` is its digest in the log, if it is there."""
    try:
        outputs = dict(read_run(folder)["outputs"])
    except AuditError:
        return [f"{name}: {RUN} was altered and cannot be read"]
    found = _hashes(folder)
    own = {key: sha for key, sha in found.items() if key in (RUN, REPORT) or re.fullmatch(r"[^/]*\.ipynb", key)}
    made = {key: sha for key, sha in found.items() if key not in own}
    problems = []
    for key in sorted({*made, *outputs}):
        if made.get(key) != outputs.get(key):
            what = "is missing" if key not in made else "was altered" if key in outputs else "was added"
            problems.append(f"{name}: {key} {what}")
    if logged is not None and _digest({**own, **outputs}) != logged:
        problems.append(f"{name}: {RUN}, {REPORT} or the notebook was altered, added or removed")
    return problems


def _check_bundle(folder: Path, verify: Callable[[Path], object]) -> list[str]:
    hashes = _hashes(folder) if folder.is_dir() and _HASH.fullmatch(folder.name) else {}
    if folder.name not in hashes.values():
        return [f"the name of {folder} is not the hash of one of its files: it was altered or added"]
    try:
        verify(folder)
    except OpenbookError as error:
        return [str(error)]
    return []


def _made_by(run: Run) -> dict:
    """The code recorded in run.json; nothing if it cannot be read."""
    try:
        return dict(read_run(run.folder)["code"])
    except AuditError:
        return {}


def _check_own_cells(run: Run) -> list[str]:
    """A line if the code cells of an executed notebook are not those that its run.json names; older ones name none."""
    cells, notebook = _made_by(run).get("cells"), run.folder / f"{run.notebook}.ipynb"
    if not cells or not notebook.is_file():
        return []
    try:
        same = provenance.cells_digest(notebook.read_bytes()) == cells
    except OpenbookError:
        same = False
    return [] if same else [f"{run.subject}: the code cells of the executed notebook differ from {RUN}"]


def _code(run: Run) -> tuple[str, str]:
    """The commit that made a run, or why its cells cannot be compared."""
    try:
        code = read_run(run.folder)["code"]
        commit, modified = code["commit"], code["modified"]
    except AuditError:
        return "", f"{RUN} does not record the code"
    if not (run.folder / f"{run.notebook}.ipynb").is_file():
        return "", "no executed notebook"
    if not (isinstance(commit, str) and _COMMIT.fullmatch(commit)):
        return "", "not made from a checkout"
    return (commit, "") if modified is False else ("", "made from code that was changed after its commit")


def _read_objects(repository: Path, names: list[str]) -> dict[str, bytes] | None:
    """Content by name, commit:path, of those that the repository has; one process of git for all. None if git refuses:
    there is no repository, or it is another user's."""
    asked = "".join(f"{name}\n" for name in names).encode()
    command: list[str | Path] = ["git", "-C", repository, "cat-file", "--batch"]
    try:
        answer = subprocess.run(command, input=asked, capture_output=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = {}
    for name in names:
        first, _, answer = answer.partition(b"\n")
        if not first.endswith(b" missing"):
            size = int(first.rpartition(b" ")[2])
            found[name], answer = answer[:size], answer[size + 1 :]
    return found


def _compare(run: Run, name: str, source: bytes) -> list[str]:
    """The first cell of an executed notebook that is not that of its source."""
    try:
        ran = provenance.all_cells((run.folder / f"{run.notebook}.ipynb").read_bytes())
    except OpenbookError:
        return [f"{run.subject}: the executed notebook was altered and cannot be read"]
    wrote = provenance.all_cells(source)
    if ran == wrote:
        return []
    same = next((i for i, (a, b) in enumerate(zip(ran, wrote, strict=False)) if a != b), min(len(ran), len(wrote)))
    return [f"{run.subject}: cell {same + 1} of the executed notebook differs from {name}"]


def _and(others: int) -> str:
    return f" and of {others} more runs were" if others > 1 else " and of 1 more run were" if others else " were"
