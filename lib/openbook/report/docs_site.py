"""The documentation as a site: the pages beside the notebooks, built by Sphinx into the user's cache.

A site is named by a hash of its pages and of the library that they describe, and built once. It loads nothing from
the network.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from openbook.common.desk_folder import DESK, RUNS, desk_of, desk_or_none, find_desk
from openbook.common.errors import StorageError, UsageError
from openbook.common.extras import lacking, lacks
from openbook.common.files import draft_folder, make_folder, storage
from openbook.common.secrets import scrubbed_environment
from openbook.runs import provenance

PAGES = Path("notebooks") / "guides"
PATIENCE = 1800.0  # seconds for a build, in which every guide is executed
TIMES = "the guides are executed, which takes two to five minutes"  # 200 s of processor time; on a busy machine 293 s


def open_docs(say: Callable[[str], None]) -> Path:
    """First page of the site of this desk's pages, or of the clone's; built first if pages or library are new.

    Raises ParameterError (78) if the extra `docs` is not installed, StorageError (74) if the build fails.
    """
    pages = find_pages()
    site = _home() / site_key(pages)
    if not (site / "index.html").is_file():
        if lacking("docs"):
            raise lacks("docs", "the documentation")
        say(f"building the documentation in {site}: {TIMES}")
        with storage(f"build the documentation in {site.parent}"):
            make_folder(site.parent)
            with draft_folder(site) as work:
                build(pages, work / "html")
                _publish(work / "html", site)
    return site / "index.html"


def build(pages: Path, out: Path, *, execute: bool = True) -> None:
    """Build the site of a folder of pages; any warning is an error.

    execute : run the notebooks; without it they are shown without results, in seconds

    Raises StorageError (74) with the first warning, UsageError (64) if there is no desk to run the notebooks in.
    """
    line = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", "-j", "4", "-d", str(out.with_name("doctrees"))]
    line += [str(pages), str(out)] if execute else ["-D", "nb_execution_mode=off", str(pages), str(out)]
    try:
        done = subprocess.run(
            line, env=_environment(pages), capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise StorageError(f"the documentation was not built within {PATIENCE:g} s; try again") from None
    if done.returncode:
        lines = [text for text in done.stderr.splitlines() if text.strip()] or ["Sphinx gave no reason"]
        first = next((text for text in lines if re.search(r": (?:WARNING|ERROR):", text)), lines[-1])
        raise StorageError(f"could not build the documentation: {first}")


def find_pages() -> Path:
    """The folder of the pages: the desk's if it has some, else those of the library's clone or wheel.

    Raises UsageError (64) if there are none.
    """
    tops = [desk_or_none(), provenance.LIBRARY.parents[1], provenance.LIBRARY / "desk"]
    found = [top / PAGES for top in tops if top is not None and (top / PAGES / "conf.py").is_file()]
    if not found:
        raise UsageError(f"no documentation: no {PAGES} in this desk; give the command in a clone of openbook")
    return found[0]


def site_key(pages: Path) -> str:
    """Names the site of these pages, the documents at the top of their clone, and the library, by their content."""
    files = [path for path in sorted(pages.rglob("*")) if path.is_file() and "/." not in f"/{path.relative_to(pages)}"]
    files += sorted(pages.parents[1].glob("*.md"))
    lines = [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]
    return hashlib.sha256("\n".join([provenance.library_digest(), *lines]).encode()).hexdigest()[:16]


def _environment(pages: Path) -> dict[str, str]:
    """Ours without secrets and runs. The guides work in the desk around the pages; in a wheel, in that of the user.

    Raises UsageError (64) if there is neither.
    """
    env = {name: value for name, value in scrubbed_environment().items() if name not in (DESK, RUNS)}
    return env if desk_of(pages) else env | {DESK: str(find_desk())}


def _publish(built: Path, site: Path) -> None:
    """Put a finished site in its place and remove those of older pages."""
    try:
        os.rename(built, site)
    except OSError:
        if not (site / "index.html").is_file():  # else another process has built it meanwhile
            raise
    for older in site.parent.iterdir():
        if older != site and not older.name.startswith("."):
            shutil.rmtree(older, ignore_errors=True)


def _home() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "openbook" / "docs"
