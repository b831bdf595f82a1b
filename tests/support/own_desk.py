"""A desk in a folder of its own, with the files of the guide on extending, and commands as a user gives them."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from openbook.common.desk_folder import FILE
from openbook.market.calendar import REHEARSAL
from support.trained_desk import COMPARED, Vendor, make_vendor

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "notebooks" / "guides" / "extending.md"
TRAINED = (
    "horizon=5",
    "first=2023-02-01",
    "walk_forward={n_folds: 2, embargo: 0, holdout: 40}",
    "max_ic=0.6",
    "n_jobs=2",
)


def guide_files() -> dict[str, str]:
    """The files that the guide shows, by their place on a desk."""
    text = GUIDE.read_text(encoding="utf-8")
    return dict(re.findall(r"^`(lib/extensions/\w+\.py)`:\n\n```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


def guide_snippet(marker: str) -> str:
    """The one Python block of the guide that contains `marker` and is no file."""
    blocks = re.findall(r"```python\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (found,) = [block for block in blocks if marker in block and block not in guide_files().values()]
    return found


@dataclass(frozen=True)
class OwnDesk:
    """A desk with its vendor's files; days : the vendor's last six sessions."""

    folder: Path
    vendor: Vendor
    days: pd.DatetimeIndex

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def write(self, name: str, text: str) -> Path:
        """Put a file below the desk."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def evening(self, date: pd.Timestamp) -> None:
        """The vendor delivers what it has by that evening."""
        self.vendor.deliver(self.vendor.files.upto(date))

    def command(self, *arguments: str, now: str = "") -> subprocess.CompletedProcess:
        """A command in a process of its own, given in the desk's folder."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENBOOK_")}
        environment = kept | ({REHEARSAL: now} if now else {})
        line = [sys.executable, "-P", "-m", "openbook.cli", *arguments]
        return subprocess.run(line, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)

    def run(self, notebook: str, date: pd.Timestamp, *sets: str, source: str = "") -> subprocess.CompletedProcess:
        """`openbook run` on the evening of a date."""
        given = [*sets, source or self.vendor.source] if notebook != "select_champion" else list(sets)
        options = [word for text in given for word in ("--set", text)]
        return self.command("run", notebook, "--date", f"{date:%Y-%m-%d}", *options, now=f"{date:%Y-%m-%d}T21:00Z")

    def card(self) -> dict:
        """The champion's card."""
        pointer = json.loads((self.runs / "production" / "champion.json").read_bytes())
        return json.loads((self.runs / "production" / pointer["sha256"] / "champion_metadata.json").read_bytes())


def make_own_desk(folder: Path) -> OwnDesk:
    """A desk without extensions."""
    for name in ("notebooks", "params"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / FILE).write_text("format: 1\n")
    vendor = make_vendor(folder / "vendor")
    days = pd.DatetimeIndex(sorted(vendor.files.bars["date"].unique()))[-6:]
    desk = OwnDesk(folder, vendor, days)
    desk.evening(days[0])
    return desk


def done(answer: subprocess.CompletedProcess) -> subprocess.CompletedProcess:
    """The same answer, once its code is 0."""
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer


__all__ = ["COMPARED", "TRAINED", "OwnDesk", "done", "guide_files", "guide_snippet", "make_own_desk"]
