"""What a run seals depends on nothing that a user, a shell or a machine sets for other purposes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support import TESTS
from support.small_desk import make_desk

STYLE = "lines.linewidth: 9\naxes.facecolor: pink\nfont.size: 30\nfigure.dpi: 33\nbackend: TkAgg\n"


def in_folder(desk: Path, elsewhere: Path) -> dict[str, str]:
    (desk / "matplotlibrc").write_text(STYLE)
    return {}


def by_variable(desk: Path, elsewhere: Path) -> dict[str, str]:
    (elsewhere / "mine").write_text(STYLE)
    return {"MATPLOTLIBRC": str(elsewhere / "mine")}


def in_home(desk: Path, elsewhere: Path) -> dict[str, str]:
    (elsewhere / ".config" / "matplotlib").mkdir(parents=True)
    (elsewhere / ".config" / "matplotlib" / "matplotlibrc").write_text(STYLE)
    return {"HOME": str(elsewhere)}


def foreign_kernel(desk: Path, elsewhere: Path) -> dict[str, str]:
    """A kernelspec python3 that is none."""
    folder = elsewhere / "kernels" / "python3"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text('{"argv": ["/bin/false"], "display_name": "x", "language": "python"}')
    return {"JUPYTER_PATH": str(elsewhere)}


def start_up_file(desk: Path, elsewhere: Path) -> dict[str, str]:
    (elsewhere / "start.py").write_text("print('hello')\nraise SystemExit(3)\n")
    return {"PYTHONSTARTUP": str(elsewhere / "start.py")}


def ipython_start_up(desk: Path, elsewhere: Path) -> dict[str, str]:
    folder = elsewhere / "profile_default" / "startup"
    folder.mkdir(parents=True)
    (folder / "00.py").write_text("import pandas\npandas.options.display.max_rows = 2\nprint('hello')\n")
    return {"IPYTHONDIR": str(elsewhere)}


def variables(**given: str) -> Callable[[Path, Path], dict[str, str]]:
    return lambda desk, elsewhere: given


ALTERED: dict[str, Callable[[Path, Path], dict[str, str]]] = {
    "LANG=C": variables(LANG="C"),
    "LC_ALL=C": variables(LC_ALL="C"),
    "LC_ALL=de_DE": variables(LC_ALL="de_DE.UTF-8"),
    "TZ": variables(TZ="Asia/Tokyo"),
    "home unwritable": variables(HOME="/dev/null/home"),
    "without docstrings": variables(PYTHONOPTIMIZE="2"),
    "any hash": variables(PYTHONHASHSEED="random"),
    "one thread": variables(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1"),
    "two threads": variables(OMP_NUM_THREADS="2"),
    "narrow": variables(COLUMNS="20", LINES="5", NO_COLOR="1"),
    "TkAgg": variables(MPLBACKEND="TkAgg"),
    "matplotlibrc in the folder": in_folder,
    "matplotlibrc by variable": by_variable,
    "matplotlibrc in the home": in_home,
    "foreign kernel": foreign_kernel,
    "start-up file": start_up_file,
    "IPython start-up": ipython_start_up,
}


def sealed(folder: Path, environment: dict[str, str], *, umask: int = 0o022, home: bool = True) -> dict[str, str]:
    """sha256 of every file that the small desk in a folder seals, in a process with this environment alone."""
    usual = {"PATH": os.environ["PATH"], **({"HOME": os.environ.get("HOME", "/tmp")} if home else {})}
    line = [sys.executable, "-m", "support.small_desk", str(folder)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=folder, umask=umask,
                          env=usual | environment | {"PYTHONPATH": str(TESTS)})  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def as_usual(tmp_path_factory):
    """What is sealed in a plain environment."""
    return sealed(make_desk(tmp_path_factory.mktemp("usual") / "desk"), {})


def altered(tmp_path: Path, *names: str, **how) -> dict[str, str]:
    """What is sealed with some alterations."""
    desk, elsewhere = make_desk(tmp_path / "desk"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment: dict[str, str] = {}
    for name in names:
        environment |= ALTERED[name](desk, elsewhere)
    return sealed(desk, environment, **how)


def test_everything_altered_at_once_changes_nothing(as_usual, tmp_path):
    names = [name for name in ALTERED if name not in ("home unwritable", "LC_ALL=de_DE", "two threads")]
    assert altered(tmp_path, *names, umask=0o077) == as_usual


@pytest.mark.long
@pytest.mark.parametrize("name", ALTERED)
def test_no_alteration_changes_what_is_sealed(as_usual, tmp_path, name):
    assert altered(tmp_path, name) == as_usual


@pytest.mark.long
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_no_umask_changes_what_is_sealed(as_usual, tmp_path, umask):
    assert altered(tmp_path, umask=umask) == as_usual


@pytest.mark.long
def test_an_empty_environment_changes_nothing(as_usual, tmp_path):
    assert altered(tmp_path, home=False) == as_usual


# ---- the command itself ----


def command(*words: str, options: tuple[str, ...] = (), files: int | None = None, **environment: str):
    """A command in a process of its own, with at most so many files open at once."""
    import resource

    def limit() -> None:
        if files:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    line = [sys.executable, *options, "-m", "openbook.cli", *words]
    return subprocess.run(line, capture_output=True, text=True, check=False, env=os.environ | environment,
                          preexec_fn=limit)  # fmt: skip


def test_a_command_without_docstrings_says_what_it_says_with_them():
    without = command("run", "--help", options=("-OO",), PYTHONOPTIMIZE="2")
    assert without.returncode == 0
    assert "Run one notebook and seal its outputs" in without.stdout


def test_too_few_open_files_name_the_limit_and_the_way_out(tmp_path, project_root):
    runs = str(tmp_path / "runs")
    done = command("--desk", str(project_root), "--runs", runs, "run", "daily_run", "--date", "2022-12-28", files=64)
    assert done.returncode == 74
    assert "may open 64 files at once, and a notebook needs 256; raise the limit with ulimit -n 1024" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    few = command("--runs", runs, "init", "--cash", "1000", files=64)
    assert few.returncode == 0, few.stderr


def test_no_open_file_left_names_the_limit(tmp_path):
    script = (
        "import os, resource, sys\n"
        "from openbook import cli\n"
        "from openbook.app import pipeline\n"
        "from openbook.ledger import book\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))\n"
        "held = [os.dup(0) for _ in range(36 - len(os.listdir('/proc/self/fd')))]\n"
        "try:\n"
        "    while True: held.append(os.dup(0))\n"
        "except OSError: pass\n"
        "sys.exit(cli.main(['--runs', sys.argv[1], 'init', '--cash', '1000']))\n"
    )
    line = [sys.executable, "-c", script, str(tmp_path / "runs")]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 74, done.stderr
    assert "the limit is 40; raise it with ulimit -n 1024" in done.stderr
