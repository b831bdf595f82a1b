"""A test of a real part is skipped where the part is missing, and never where the run says that it is there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import programs

HERE = Path(__file__).parent
TESTS = """
from support import programs

def test_of_a_real_part():
    programs.lack("strace", "it was taken away")
"""


@pytest.mark.parametrize(("required", "outcome"), [("chromium", "skipped"), ("strace,chromium", "failed")])
def test_a_skip_fails_the_run_where_the_program_is_there(tmp_path, required, outcome):
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]")
    env = os.environ | {"PYTHONPATH": str(HERE), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", programs.REQUIRED: required}
    line = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(line, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert f"1 {outcome}" in done.stdout
    assert done.returncode == (outcome == "failed")


def test_the_lack_of_a_driver_is_the_lack_of_its_program(monkeypatch):
    monkeypatch.setenv(programs.REQUIRED, "")
    with pytest.raises(pytest.skip.Exception, match=r"no postgresql: .*'no_such_driver'"):
        programs.driver("postgresql", "no_such_driver")
    monkeypatch.setenv(programs.REQUIRED, "chromium,postgresql")
    with pytest.raises(pytest.fail.Exception, match="names postgresql, yet"):
        programs.driver("postgresql", "no_such_driver")
    with pytest.raises(pytest.fail.Exception, match="names postgresql, yet"):
        programs.driver("postgresql", "pytest", minversion="999")
    assert programs.driver("postgresql", "pytest") is pytest


def test_a_program_is_found_on_the_path_only_if_it_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert programs.find("strace") is None
    fake = tmp_path / "strace"
    fake.write_text("#!/bin/sh\n")
    fake.chmod(0o755)
    assert programs.need("strace") == str(fake)


# ---- .ci/run ----

UV = """#!/bin/bash
shift 3  # run --extra test
case $1 in
    python) shift; exec {python} "$@" ;;
    *) echo "ran $*, requiring $OPENBOOK_REQUIRE" ;;
esac
"""
APT = """#!/bin/bash
echo "apt-get $*"
if [ "${@: -1}" = strace ]; then cp "$0" "$(dirname "$0")/strace"; fi
"""


@pytest.fixture
def machine(tmp_path, project_root):
    """A new machine whose packages have strace and nothing else: a function that runs .ci/run there, as a user."""
    for name in ("bash", "cp", "dirname", "timeout", "env", "python3"):
        (tmp_path / name).symlink_to(shutil.which(name))
    for name, text in {"uv": UV.replace("{python}", sys.executable), "apt-get": APT}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)

    def run(user: int) -> list[str]:
        (tmp_path / "id").write_text(f"#!/bin/bash\necho {user}\n")
        (tmp_path / "id").chmod(0o755)
        line = [str(project_root / ".ci" / "run")]
        done = subprocess.run(line, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    return run


def test_what_root_can_bring_is_brought_and_required_and_the_rest_is_said_last(machine):
    said = machine(0)
    assert "strace" in "".join(line for line in said if line.startswith("apt-get") and "install" in line)
    ran = next(line for line in said if line.startswith("ran pytest"))
    assert ran.endswith("strace")
    after = said[said.index(ran) + 1 :]
    assert after[0] == f"NOT TESTED, for lack of chromium: {programs.TESTED['chromium']}"
    assert not [line for line in after if not line.startswith("NOT TESTED")]


def test_who_is_not_root_brings_nothing_and_is_told(machine):
    said = machine(1000)
    assert not [line for line in said if line.startswith("apt-get")]
    assert said[-1] == f"NOT TESTED, for lack of strace: {programs.TESTED['strace']}"
