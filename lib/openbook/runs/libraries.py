"""The library that made a run, kept once under the hash of its sources, so a replay survives code changes.

Beside the runs lies code/<sha256>.zip for each state of the sources that made one of them. A run from before that was
so names a commit instead; its library is taken from the repository, and kept under the commit's name in commits.json.
"""

import io
import shutil
import subprocess
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from openbook.common.errors import AuditError
from openbook.common.files import make_folder, replace_file, storage
from openbook.common.strict_json import parse_json
from openbook.runs import provenance
from openbook.runs.stage import json_bytes

FOLDER = "code"
COMMITS = "commits.json"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold: the same files give the same bytes


def keep(runs: Path, files: Mapping[str, bytes]) -> str:
    """Keep the sources of a library, unless they are there already; returns their hash."""
    digest = provenance.sources_digest(files)
    target = _place(runs, digest)
    if not _is_whole(target, digest):
        with storage(f"keep the library in {target}"):
            make_folder(target.parent)
            replace_file(target, _pack(files))
    return digest


def kept(runs: Path, digest: str) -> dict[str, bytes] | None:
    """The sources of that hash by name, None if they are not kept; AuditError (90) if what is there has another."""
    target = _place(runs, digest)
    if not target.is_file():
        return None
    files = _read(target)
    if files is None or provenance.sources_digest(files) != digest:
        raise AuditError(f"{target} was altered: its content does not match the hash in its name; restore it")
    return files


def library_of(runs: Path, run: Mapping) -> dict[str, bytes] | None:
    """The sources that made a sealed run, from what is kept or from the repository; None if they are nowhere.

    run : its run.json
    """
    made = run["code"]
    if "sources" in made:
        return kept(runs, made["sources"])
    digest = _commits(runs).get(made["commit"])
    if digest is not None:
        return kept(runs, digest)
    return None if made["modified"] or not made["commit"] else committed(made["commit"])


def keep_commits(runs: Path, commits: set[str]) -> list[str]:
    """Keep the library of each of these commits that the repository has; returns those that it has not."""
    known = _commits(runs)
    found = {commit: committed(commit) for commit in sorted(commits - set(known))}
    new = {commit: keep(runs, files) for commit, files in found.items() if files is not None}
    if new:
        with storage(f"write {runs / FOLDER / COMMITS}"):
            replace_file(runs / FOLDER / COMMITS, json_bytes({**known, **new}))
    return [commit for commit, files in found.items() if files is None]


def committed(commit: str) -> dict[str, bytes] | None:
    """The library as a commit has it, from the repository that this library lies in; None if it does not have it."""
    top = provenance.LIBRARY.parents[1]
    command: list[str | Path] = ["git", "-C", top, "archive", "--format=zip", f"{commit}:lib/openbook"]
    try:
        archive = subprocess.run(command, capture_output=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        return {f"openbook/{name}": packed.read(name) for name in packed.namelist() if not name.endswith("/")}


def unpack(files: Mapping[str, bytes], into: Path) -> Path:
    """Write sources below a scratch folder, which is returned: Python finds the library there."""
    with storage(f"unpack the library into {into}"):
        for name, data in files.items():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            (into / name).write_bytes(data)
    return into


def bring_compiled(files: Mapping[str, bytes], into: Path) -> None:
    """What Numba has compiled of the unpacked files that are the same in the library that runs this: to compile it
    again takes half a minute, and compiled loops call nothing outside of their file."""
    with storage(f"unpack the library into {into}"):
        for name, data in files.items():
            ours, theirs = provenance.LIBRARY.parent / name, into / name
            compiled = sorted((ours.parent / "__pycache__").glob(f"{ours.stem}.*.nb[ic]"))
            if compiled and ours.is_file() and ours.read_bytes() == data:
                shutil.copystat(ours, theirs)  # Numba compares the times
                (theirs.parent / "__pycache__").mkdir(exist_ok=True)
                for file in compiled:
                    shutil.copyfile(file, theirs.parent / "__pycache__" / file.name)


def differing(files: Mapping[str, bytes], others: Mapping[str, bytes]) -> list[str]:
    """Names of the sources that differ, as they lie on a desk: lib/openbook/…, lib/extensions/…"""
    return sorted(f"lib/{name}" for name in {*files, *others} if files.get(name) != others.get(name))


def check(runs: Path) -> list[str]:
    """What was altered in the kept libraries, in words."""
    found = sorted((runs / FOLDER).glob("[!.]*"))
    added = [path for path in found if path.suffix != ".zip" and path.name != COMMITS]
    altered = [path for path in found if path.suffix == ".zip" and not _is_whole(path, path.stem)]
    problems = [f"unexpected file {FOLDER}/{path.name}: only library archives belong there" for path in added]
    problems += [f"{FOLDER}/{p.name} was altered: its content does not match the hash in its name" for p in altered]
    try:
        lost = sorted(digest for digest in _commits(runs).values() if not _place(runs, digest).is_file())
    except AuditError as error:
        return [*problems, str(error)]
    return [*problems, *(f"{FOLDER}/{digest}.zip is missing but listed in {COMMITS}" for digest in lost)]


def _place(runs: Path, digest: str) -> Path:
    return runs / FOLDER / f"{digest}.zip"


def _is_whole(file: Path, digest: str) -> bool:
    files = _read(file) if file.is_file() else None
    return files is not None and provenance.sources_digest(files) == digest


def _read(file: Path) -> dict[str, bytes] | None:
    """The files of an archive; None if it cannot be read. Names that lead out of it are no names of ours."""
    try:
        with zipfile.ZipFile(file) as packed:
            names = packed.namelist()
            if any(name.startswith("/") or ".." in name.split("/") for name in names):
                return None
            return {name: packed.read(name) for name in names}
    except (OSError, zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, ValueError, RuntimeError, EOFError):
        return None


def _pack(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in sorted(files):
            packed.writestr(zipfile.ZipInfo(name, EPOCH), files[name], zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _commits(runs: Path) -> dict[str, str]:
    file = runs / FOLDER / COMMITS
    with storage(f"read {file}"):
        data = file.read_bytes() if file.is_file() else b"{}"
    try:
        return parse_json(data, {str: str})
    except ValueError as error:
        way_out = "restore it, or remove it and run openbook upgrade"
        raise AuditError(f"{file} was altered: it cannot be read: {error}; {way_out}") from None
