"""openbook as people get it: installed from a wheel into an environment of its own, without a clone."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from openbook.runs import provenance
from support.vendor_shapes import SHAPES, make_market

pytestmark = pytest.mark.long
HOURS = 3600.0  # seconds at most for a command; the demo takes two minutes on a machine that does nothing else


@pytest.fixture(scope="module")
def installed(project_root, tmp_path_factory) -> Path:
    """The folder of programs of a new environment in which only the wheel and its base packages are."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed")
    home = tmp_path_factory.mktemp("installed")
    call(uv, "build", "--wheel", "--out-dir", home, project_root, at=home)
    call(uv, "venv", home / "venv", at=home)
    (wheel,) = home.glob("*.whl")
    call(uv, "pip", "install", "--python", home / "venv" / "bin" / "python", wheel, at=home)
    return home / "venv" / "bin"


def call(*command, at: Path) -> str:
    """What a program said, once it has succeeded; it sees nothing of this environment."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "UV_CACHE_DIR", "SSL_CERT_FILE") if name in os.environ}
    state = {"XDG_STATE_HOME": str(at / ".state")}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=at, env=kept | state, capture_output=True, text=True, timeout=HOURS, check=False)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def test_the_library_from_the_wheel_is_the_one_of_the_clone(installed, tmp_path):
    """An approval given in a clone and one given beside the wheel of the same sources are by the same code."""
    script = "from openbook.runs import provenance as p; print(p.LIBRARY, p.library_digest())"
    place, digest = call(installed / "python", "-c", script, at=tmp_path).split()
    assert Path(place).is_relative_to(installed.parent)
    assert digest == provenance.library_digest()


def test_a_desk_from_the_wheel_alone(installed, tmp_path):
    """new, demo, open, status, verify, replay, in a folder with nothing around it."""
    openbook, desk = installed / "openbook", tmp_path / "desk"
    assert "a new desk" in call(openbook, "new", "desk", at=tmp_path)
    said = call(openbook, "demo", at=desk)
    page = desk / "runs" / "daily_run" / "2017-09-15"
    assert f"Latest daily page: {page / 'report.html'}" in said
    assert call(openbook, "open", at=desk) == f"{page / 'report.html'}\n"
    assert "daily_run: 20 sealed, the last of 2017-09-15" in call(openbook, "status", at=desk / "notebooks")
    assert "23 runs" in call(openbook, "verify", at=desk)
    assert "no problems" in call(openbook, "verify", at=desk)
    assert "outputs of 2017-09-15 are identical" in call(openbook, "replay", "2017-09-15", at=desk)


def test_own_files_by_the_wheel_alone(installed, tmp_path):
    """new, data check --write, the month, a book, an evening: in the words that the check prints."""
    openbook, desk, data = installed / "openbook", tmp_path / "desk", tmp_path / "prices"
    call(openbook, "new", "desk", at=tmp_path)
    data.mkdir()
    SHAPES["yahoo_csv"].write(data, make_market(12, last="2019-05-31"))
    lines = call(openbook, "data", "check", "../prices", "--write", "params/mine", at=desk).splitlines()
    following = [line.split()[1:] for line in lines[lines.index("params/mine is written; next:") + 1 :]]
    for words in following:
        call(openbook, *words, at=desk)
    assert (desk / "runs" / "daily_run" / "2019-05-31" / "report.html").is_file()
