"""The programs that tests of real parts need and no Python package brings; named as Debian's packages are.

python tests/support/programs.py there|lacking|skipped: which are there, which are not, and what is not tested for
lack of them.
"""

import os
import shutil
import sys
from pathlib import Path

REQUIRED = "OPENBOOK_REQUIRE"  # programs that are there, with commas between: a test that skips for lack of one fails
COMMANDS = {
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
    "openssl": ("openssl",),
    "postgresql": ("pg_ctl",),
    "strace": ("strace",),
}
TESTED = {
    "chromium": "pages in a browser",
    "openssl": "stamps of an authority",
    "postgresql": "books on a database server",
    "strace": "processes killed at a system call",
}


def find(program: str) -> str | None:
    """Where the command of a program is; Debian keeps those of PostgreSQL's server off the PATH."""
    folders = [*map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"))), os.environ.get("PATH", "")]
    return next(filter(None, (shutil.which(name, path=os.pathsep.join(folders)) for name in COMMANDS[program])), None)


def need(program: str) -> str:
    """Where the command of a program is; a skip where it is not."""
    found = find(program)
    return found if found else lack(program, f"none of {', '.join(COMMANDS[program])} is installed")


def lack(program: str, why: str):
    """Skip the test, or the file being imported; a failure where the run says that the program is there."""
    import pytest

    if program in os.environ.get(REQUIRED, "").split(","):
        pytest.fail(f"{REQUIRED} names {program}, yet {why}")
    pytest.skip(f"no {program}: {why}", allow_module_level=True)


def driver(program: str, module: str, **version: str):
    """The module through which tests speak to a program; its lack is the program's lack. `version` : minversion."""
    import pytest

    try:
        return pytest.importorskip(module, **version)
    except pytest.skip.Exception as skipped:
        return lack(program, str(skipped))


def main(asked: str) -> None:
    """Print what is there or lacking, or for each that is lacking a line that says what was not tested."""
    there = [program for program in COMMANDS if find(program)]
    lacking = [program for program in COMMANDS if program not in there]
    said = [f"NOT TESTED, for lack of {program}: {TESTED[program]}" for program in lacking]
    print({"there": ",".join(there), "lacking": " ".join(lacking), "skipped": "\n".join(said)}[asked])


if __name__ == "__main__":
    main(sys.argv[1])
