"""What code and which packages made a run."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from openbook.errors import UsageError

HERE = Path(__file__).resolve().parents[1]
PACKAGES = (  # those that can change a number
    *("exchange-calendars", "lightgbm", "numba", "numpy", "openbook", "pandas", "piqp", "pyarrow", "pydantic"),
    *("scikit-learn", "scipy", "xgboost", "xgboost-cpu"),
)


def checkout() -> Path:
    """The folder with notebooks/ and params/: this one, or the one that the package was installed from."""
    for place in (Path.cwd(), HERE.parents[1]):
        if (place / "notebooks").is_dir() and (place / "params").is_dir():
            return place
    raise UsageError("no notebooks/ and params/ here; run openbook from its checkout")


def packages() -> dict[str, str]:
    """Versions by name, of those that are installed, and Python's."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def code() -> dict:
    """The git commit of this code and whether files differ from it; nulls where it does not run from a checkout."""
    tracked = _git("ls-files", "--error-unmatch", "errors.py")
    said = _git("describe", "--always", "--abbrev=40", "--exclude=*", "--dirty") if tracked else None
    if not said:
        return {"commit": None, "modified": None}
    return {"commit": said.removesuffix("-dirty"), "modified": said.endswith("-dirty")}


def _git(*arguments: str) -> str | None:
    """What git answers about the folder of this package, or None if it cannot."""
    try:
        done = subprocess.run(["git", "-C", HERE, *arguments], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
