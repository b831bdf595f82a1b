"""The runs folder: where a run is staged, and where it is sealed or kept as failed.

A sealed run is never written again. Everything goes to the disk in full before a rename makes it visible, so that a
crash at any point leaves the old state or the new one.
"""

import datetime
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from openbook.common.errors import ConflictError, LockError, OpenbookError, StorageError, UsageError
from openbook.common.files import make_folder, replace_file, storage, sync, write_file
from openbook.common.interrupts import durably
from openbook.common.locks import held
from openbook.common.secrets import redact, redact_folder
from openbook.common.strict_json import parse_json
from openbook.runs import libraries, provenance, registry, timestamps
from openbook.runs.run_record import read_run
from openbook.runs.stage import ABOUT, REPORT, RUN, Stage, check_name, csv_bytes, json_bytes, open_stage

__all__ = ["Run", "RunsFolder", "Stage", "check_date", "csv_bytes", "json_bytes", "open_stage", "read_run"]

STAGE, FAILED, BOOKS, STORE, OUTBOX = ".stage", "failed", "books", "store", "outbox"
UNFINISHED = ".unfinished"  # what a provider answered to an update that broke off
UPGRADED = "upgraded"  # copies from before an upgrade
READ_ONLY = 0o444  # of what the umask allows
PATIENCE = 2.0  # seconds that a command waits for another to finish with the folder
WHY = "failure.json"  # beside what a failed attempt left
NOTE = {"exit_code": int, "why": str, "tried?": str, "until?": str}
_OWN = {FAILED, BOOKS, STORE, OUTBOX, UPGRADED}
KEPT = _OWN | {registry.FOLDER, libraries.FOLDER, timestamps.FOLDER}  # folders that are no notebooks
_NOTEBOOK = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_DATE = re.compile(r"[12][0-9]{3}-[0-9]{2}-[0-9]{2}", re.ASCII)
_ATTEMPT = re.compile(r"([12][0-9]{3}-[0-9]{2}-[0-9]{2})-([0-9]{1,9})", re.ASCII)
_SEALED = re.compile(r"([12][0-9]{3}-[0-9]{2}-[0-9]{2})(?:\.([0-9]{1,9}))?", re.ASCII)


@dataclass(frozen=True, order=True)
class Run:
    """One sealed run."""

    date: str
    notebook: str
    version: int  # 1, or more where a run superseded another
    folder: Path

    @property
    def subject(self) -> str:
        """What the log calls it, `<notebook>/<date>`."""
        return f"{self.notebook}/{self.folder.name}"


class RunsFolder:
    """Everything that openbook writes, below one folder. It is made by the first write, never by a question."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def require_something(self) -> None:
        """UsageError (64) where nothing was ever written: the question was meant for another folder, or comes early."""
        if not (self.folder.is_dir() and any(not path.name.startswith(".") for path in self.folder.iterdir())):
            raise UsageError(
                f"no runs, book or log in {self.folder.absolute()}; check the folder, or start with "
                "openbook demo or openbook init --cash AMOUNT"
            )

    @contextmanager
    def lock(self, patience: float = PATIENCE) -> Iterator[None]:
        """Hold the runs folder alone; LockError (61) names the process that still holds it after `patience` seconds. A
        dead process holds nothing."""
        with storage(f"lock {self.folder}"):
            self.folder.mkdir(parents=True, exist_ok=True)
        with _alone(self.folder, self.folder / ".lock", f"{self.folder} is locked", patience):
            yield

    @contextmanager
    def running(self, stage: Stage) -> Iterator[None]:
        """Hold a stage while its notebook runs and others use the folder: no second run of that date begins meanwhile.
        The caller holds the runs folder when it enters."""
        with _used(stage.folder):
            yield

    def stage(
        self,
        notebook: str,
        date,
        *,
        profile: str,
        params: Mapping,
        inputs_hash: str,
        inputs: Mapping | None = None,
        formats: Mapping[str, int] | None = None,
    ) -> Stage:
        """A new stage for one run, with what it is about. What a crashed run of that date left becomes failed.

        inputs : hashes by name of what decides the outputs, all of them in `inputs_hash`
        formats : version by name of what the run reads that an upgrade may rewrite

        No stage is used twice: a kernel that outlives its runner writes to the old one. LockError (61) while another
        run of that date goes on.
        """
        date = check_date(date)
        above = self.folder / STAGE / check_notebook(notebook)
        about = {"notebook": notebook, "date": date, "profile": profile, "params": params, "inputs_hash": inputs_hash}
        about |= {"inputs": dict(inputs or {}), "formats": dict(formats or {})}
        about |= {"code": provenance.code(notebook), "environment": provenance.environment()}
        with storage(f"make a stage in {above}"):
            for left in sorted(above.glob(f"{date}-*[0-9]")):  # not the notes beside them
                with _used(left):
                    self._fail(left)
            folder = above / f"{date}-{self._attempts(notebook, date) + 1}"
            folder.mkdir(parents=True)
            write_file(folder / ABOUT, json_bytes(about))
        return Stage(folder)

    def prepare(self, stage: Stage) -> dict:
        """Check a finished stage and bring it to the disk in full; returns its run.json. IncompleteRun (73)."""
        run = stage.require_finished()
        with storage(f"bring {stage.folder} to the disk"):
            (stage.folder / ABOUT).unlink(missing_ok=True)  # it is in run.json
            for path in sorted(stage.folder.rglob("*")):
                if path.is_symlink():
                    raise StorageError(f"{path} is a symbolic link; a run is sealed with files only, so copy the file")
                if path.is_file():
                    path.chmod(path.stat().st_mode & READ_ONLY)
                sync(path)
            sync(stage.folder)
        return run

    def seal(self, stage: Stage, version: int = 1) -> Path:
        """Prepare a stage and rename it to its place among the runs, for good. ConflictError (62) if that is taken.

        version : above 1 for a run that supersedes others of its date; its place is <date>.<version>
        """
        run = self.prepare(stage)
        target = self.folder / check_notebook(run["notebook"]) / sealed_name(run["date"], version)
        if target.exists():
            raise ConflictError(f"{target} is already sealed and cannot be overwritten")
        with storage(f"seal {target}"):
            make_folder(target.parent)
            with durably(f"the run {target} was sealed"):
                os.rename(stage.folder, target)
            sync(target.parent)
            sync(self.folder)
        return target

    def fail(self, stage: Stage, error: OpenbookError | None = None) -> Path:
        """Move what a failed attempt left to failed/<notebook>/<date>-<attempt>, and note there why it failed."""
        with storage(f"keep the failed run {stage.folder}"):
            target = self._fail(stage.folder)
        if error is not None:
            with suppress(OSError):  # a disk that takes no note must not hide the error that it is about
                note = {"exit_code": error.exit_code, "why": redact(str(error))}
                write_file(target / WHY, json.dumps(note, indent=1).encode())
        return target

    def wait(self, notebook: str, date, error: OpenbookError, *, tried: str, until: str) -> Path:
        """Note that an attempt only came too early for its prices; one note for all such attempts in a row.

        tried, until : moments as text that sorts by time; after `until` it counts as a failure
        """
        above, date = self.folder / FAILED / check_notebook(notebook), check_date(date)
        number = self._attempts(notebook, date)
        note = {"exit_code": error.exit_code, "why": redact(str(error)), "tried": tried, "until": until}
        with storage(f"note in {above} that {date} waits"):
            if _noted(above / f"{date}-{number}").get("exit_code") != error.exit_code:
                number += 1
            target = above / f"{date}-{number}"
            target.mkdir(parents=True, exist_ok=True)
            replace_file(target / WHY, json_bytes(note))
        return target

    def waits(self, notebook: str) -> tuple[str, dict] | None:
        """Date and note of the last attempt, if it came before its prices and nothing as late was sealed since."""
        attempts = (self.folder / FAILED / check_notebook(notebook)).glob("*-*")
        numbered = sorted((named, path) for path in attempts if (named := attempt_of(path)))
        found = {date: path for (date, _), path in numbered}
        last, sealed = max(found, default=""), self.latest(notebook)
        note = _noted(found[last]) if found else {}
        over = sealed is not None and sealed.name[:10] >= last
        return None if over or not isinstance(note.get("until"), str) else (last, note)

    def sealed(self, notebook: str, date) -> Path | None:
        """The folder of the sealed run of that date, the newest if one superseded another; 2024-06-25.1: the first."""
        match = _SEALED.fullmatch(date) if isinstance(date, str) else None
        date, version = (match[1], match[2]) if match else (date, None)
        date = check_date(date)
        runs = [run for run in self.list(notebook) if run.date == date]
        found = [run for run in runs if version in (None, str(run.version))]
        return found[-1].folder if found else None

    def version(self, notebook: str, date) -> int:
        """Of the newest sealed run of that date; 0 if there is none."""
        return max((run.version for run in self.list(notebook) if run.date == check_date(date)), default=0)

    def latest(self, notebook: str, upto=None) -> Path | None:
        """The folder of the last sealed run, of those up to and including a date if one is given."""
        last = "9999-12-31" if upto is None else check_date(upto)
        runs = [run for run in self.list(notebook) if run.date <= last]
        return runs[-1].folder if runs else None

    def list(self, notebook: str | None = None) -> list[Run]:
        """Sealed runs by date; of one notebook or of all."""
        names = (
            [check_notebook(notebook)] if notebook is not None else sorted(path.name for path in self.folder.glob("*"))
        )
        found = []
        for name in filter(_is_notebook, names):
            for folder in (self.folder / name).glob("*"):
                match = _SEALED.fullmatch(folder.name)
                if match and _is_date(match[1]) and (folder / RUN).is_file():
                    found.append(Run(match[1], name, int(match[2] or 1), folder))
        return sorted(found)

    def publish(self, name: str, content: bytes) -> Path:
        """Replace one file below the runs folder in one step: a view of a book, an index of pages."""
        file = self.folder / check_name(name)
        with storage(f"write {file}"):
            make_folder(file.parent)
            replace_file(file, content)
        return file

    def promote(self, files: Mapping[str, bytes], metadata: Mapping, sha256: str) -> Path:
        """See `production.promote`."""
        return registry.promote(self.folder, files, metadata, sha256)

    def champion(self) -> tuple[Path, dict] | None:
        """See `production.champion`."""
        return registry.champion(self.folder)

    def _fail(self, left: Path) -> Path:
        target = self.folder / FAILED / left.parent.name / left.name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(left, target)
        redact_folder(target)
        return target

    def _attempts(self, notebook: str, date: str) -> int:
        """The highest attempt of that date so far."""
        found = map(attempt_of, (self.folder / FAILED / notebook).glob(f"{date}-*"))
        return max((number for _, number in filter(None, found)), default=0)


@contextmanager
def _used(stage: Path) -> Iterator[None]:
    """Hold a stage alone; LockError (61) names the process that has it."""
    note = stage.with_name(f"{stage.name}.lock")
    with _alone(stage, note, f"{stage.parent.name} of {stage.name.rpartition('-')[0]} is running", 0.0):
        try:
            yield
        finally:
            with suppress(OSError):
                note.unlink()


@contextmanager
def _alone(folder: Path, note: Path, what: str, patience: float) -> Iterator[None]:
    """Hold a folder; LockError (61) says who else does."""
    with held(folder, note, patience=patience) as holder:
        if holder is not None:
            raise LockError(f"{what} by {holder}; try again when it has finished")
        yield


def check_date(date) -> str:
    """A day as YYYY-MM-DD, from text or anything with strftime; UsageError (64) if there is no such day."""
    text = date.strftime("%Y-%m-%d") if hasattr(date, "strftime") else date
    try:
        if not (isinstance(text, str) and _DATE.fullmatch(text)):
            raise ValueError("write YYYY-MM-DD")
        datetime.date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{str(text)[:80]!r} is not a date: {error}") from None
    return text


def sealed_name(date: str, version: int) -> str:
    """Name of the folder of a sealed run."""
    return check_date(date) + (f".{version}" if version > 1 else "")


def _is_date(text: str) -> bool:
    """Whether a name that looks like a day is one: a folder that was made by hand may have any name."""
    try:
        return bool(check_date(text))
    except UsageError:
        return False


def check_notebook(name: str) -> str:
    """A notebook's name, or UsageError (64)."""
    if not (isinstance(name, str) and _is_notebook(name)):
        raise UsageError(f"{str(name)[:80]!r} is not a valid notebook name: use lower case, digits and '_'")
    return name


def page_of(folder: str | Path, date: str | None = None, notebook: str = "daily_run") -> Path:
    """The report of a sealed run, the latest if no date is given; UsageError (64) if there is none."""
    runs = RunsFolder(folder)
    found = runs.latest(notebook) if date is None else runs.sealed(notebook, date)
    if found is None or not (found / REPORT).is_file():
        raise UsageError(f"no page of {notebook}{f' for {date}' if date else ''} in {folder}; see openbook status")
    return found / REPORT


def attempt_of(path: Path) -> tuple[str, int] | None:
    """Date and number of a failed attempt, from the name of its folder; None for anything that people left there."""
    match = _ATTEMPT.fullmatch(path.name)
    return (match[1], int(match[2])) if match and _is_date(match[1]) else None


def _noted(attempt: Path) -> dict:
    """What was noted of a failed attempt; empty where nothing was that can be read."""
    try:
        return read_note(attempt)
    except (OSError, ValueError):
        return {}


def read_note(attempt: Path) -> dict:
    """What was noted of a failed attempt: OSError or ValueError where there is no note that can be read."""
    return parse_json((attempt / WHY).read_bytes(), NOTE)


def _is_notebook(name: str) -> bool:
    return _NOTEBOOK.fullmatch(name) is not None and name not in KEPT
