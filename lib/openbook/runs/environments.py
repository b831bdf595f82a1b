"""The packages of a sealed run: those installed here if they are the same, else built again by uv."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from openbook.common.files import draft_folder, storage
from openbook.runs import provenance

PATIENCE = 1800.0  # seconds for the downloads of a whole environment
SHOWN = 6  # packages that a line names


@dataclass(frozen=True)
class Interpreter:
    """A Python to run a notebook with, and notes on its packages."""

    python: str
    lines: tuple[str, ...] = ()


def interpreter_of(run: Mapping) -> Interpreter:
    """The Python with the packages that a sealed run recorded; this one if it has all of them at the same versions.

    run : its run.json. A package that is here too and was not there then changes nothing. What cannot be built, for
    lack of uv, of a network or of a package is reported, and this Python is used instead.
    """
    here, then = provenance.environment(), recorded(run)
    other = differing(then, here)
    notes = [] if then["platform"] == here["platform"] else [f"sealed on {then['platform']}, not {here['platform']}"]
    if not other:
        return Interpreter(sys.executable, tuple(notes))
    notes += [] if "environment" in run else [f"the run recorded only {len(provenance.versions(run))} packages"]
    text = f"{', '.join(other[:SHOWN])}{f' and {len(other) - SHOWN} more' if len(other) > SHOWN else ''}"
    text = f"packages changed since: {text}"
    try:
        python = build(then)
    except BuildError as error:
        lost = f"{text}; they could not be rebuilt ({error}), so the installed ones are used"
        return Interpreter(sys.executable, (*notes, lost))
    return Interpreter(str(python), (*notes, f"{text}; rebuilt with the recorded versions"))


class BuildError(Exception):
    """An environment could not be built; never leaves this module."""


def recorded(run: Mapping) -> dict:
    """The environment that a run.json records; what an older one does not name is taken as it is here."""
    if "environment" in run:
        return run["environment"]
    here, named = provenance.environment(), dict(provenance.versions(run))
    python = named.pop("python", here["python"])
    named.pop("openbook", None)
    return {**here, "python": python, "distributions": {**here["distributions"], **named}}


def differing(then: Mapping, here: Mapping) -> list[str]:
    """What was there then and is not the same here, as `name then → here`; Python first."""
    pairs = [("python", then["python"], here["python"])] if then["python"] != here["python"] else []
    installed = here["distributions"]
    pairs += [
        (name, was, installed.get(name, "missing"))
        for name, was in sorted(then["distributions"].items())
        if installed.get(name) != was
    ]
    return [f"{name} {was} → {now}" for name, was, now in pairs]


def build(then: Mapping) -> Path:
    """The Python of an environment with exactly these distributions, kept in the user's cache for the next time.

    Raises BuildError with uv's last line.
    """
    uv = shutil.which("uv")
    if uv is None:
        raise BuildError("uv is not installed; pip install uv")
    target = _cache() / hashlib.sha256(json.dumps(then, sort_keys=True).encode()).hexdigest()
    if (target / "bin" / "python").exists():
        return target / "bin" / "python"
    wanted = [f"{name}=={version}" for name, version in then["distributions"].items()]
    with storage(f"build an environment in {target.parent}"):
        target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with draft_folder(target) as work:
            _call(uv, "venv", "--relocatable", "--python", then["python"], str(work / "venv"))
            python = str(work / "venv" / "bin" / "python")
            _call(uv, "pip", "install", "--no-deps", "--python", python, *wanted)
            os.rename(work / "venv", target)
    except OSError as error:
        if not (target / "bin" / "python").exists():  # else another process has built it meanwhile
            raise BuildError(str(error)) from None
    return target / "bin" / "python"


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "openbook" / "environments"


def _call(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise BuildError(f"uv took longer than {PATIENCE:g} s") from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        first = next((i for i, line in enumerate(lines) if line.startswith(("error", "×"))), 0)
        raise BuildError(" ".join(lines[first:])[:300] if lines else f"uv ended with {done.returncode}")
