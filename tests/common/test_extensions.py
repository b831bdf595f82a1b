"""A desk's own Python files: what is loaded, and what is refused by name."""

import os
import subprocess
import sys

import pytest

from openbook.common import desk_folder, extensions
from openbook.common.errors import ConflictError, ModelError, ParameterError, UsageError
from openbook.common.parallel import run_tasks
from openbook.portfolio.optimizers import OPTIMIZERS
from openbook.signals.algorithms import ALGORITHMS
from openbook.signals.features import FEATURES
from openbook.signals.learners import LEARNERS

MINE = "def half(p):\n    '''Half a year.'''\n    return p.close\n\n\nFEATURES = {'half': half}\n"
OURS = "def flat(expected, covariance, limits):\n    return limits.upper\n\n\nOPTIMIZERS = {'flat': flat}\n"


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A desk without extensions, named by the environment."""
    (tmp_path / desk_folder.FILE).write_text("format: 1\n")
    (tmp_path / extensions.FOLDER).mkdir(parents=True)
    monkeypatch.setenv(desk_folder.DESK, str(tmp_path))
    extensions.forget()
    before = dict(FEATURES), dict(OPTIMIZERS), dict(LEARNERS)
    yield tmp_path
    extensions.forget()
    assert before == (dict(FEATURES), dict(OPTIMIZERS), dict(LEARNERS))


def write(desk, name: str, text: str):
    file = desk / extensions.FOLDER / name
    file.write_text(text)
    return file


def test_entries_of_all_files_are_added_once(desk):
    write(desk, "a.py", MINE)
    write(desk, "b.py", OURS)
    n = len(FEATURES)
    extensions.load()
    extensions.load()
    assert len(FEATURES) == n + 1
    assert FEATURES["half"].meaning == "Half a year."
    assert FEATURES["half"].needs == ("close",)
    assert callable(OPTIMIZERS["flat"])


def test_another_desk_has_its_own(desk, tmp_path_factory, monkeypatch):
    write(desk, "a.py", MINE)
    extensions.load()
    other = tmp_path_factory.mktemp("other")
    (other / desk_folder.FILE).write_text("format: 1\n")
    monkeypatch.setenv(desk_folder.DESK, str(other))
    extensions.load()
    assert "half" not in FEATURES


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = 1\n\ndef f(:\n", r"lib/extensions/bad\.py, line 3: SyntaxError"),
        ("a = 1\nb = a / 0\n", r"lib/extensions/bad\.py, line 2: ZeroDivisionError: division by zero"),
        ("import nothing_of_that_name\n", r"bad\.py, line 1: ModuleNotFoundError"),
        ("def f():\n    raise SystemExit(0)\n\n\nf()\n", r"bad\.py, line 2: SystemExit"),
        ("FEATURE = {}\n", "bad.py has none of FEATURES, OPTIMIZERS, LEARNERS, SOURCES"),
        ("FEATURES = []\n", "bad.py: FEATURES must be a dict of functions by name"),
        ("FEATURES = {'a b': len}\n", "bad.py: FEATURES must be a dict of functions by name"),
        ("FEATURES = {'a': 1}\n", "bad.py: feature 'a' must be a function of a panel"),
        ("LEARNERS = {'a': len}\n", "bad.py: learner 'a' must be an Algorithm"),
        ("OPTIMIZERS = {'a': 1}\n", "bad.py: optimizer 'a' must be a function"),
        ("FEATURES = {'momentum_21': len}\n", "bad.py: feature 'momentum_21' already exists in openbook"),
        ("OPTIMIZERS = {'hrp': len}\n", "bad.py: optimizer 'hrp' already exists in openbook"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_nothing_is_added(desk, text, said):
    write(desk, "a.py", OURS)
    write(desk, "bad.py", text)
    for _ in range(2):  # and again: nothing is half loaded
        with pytest.raises(ParameterError, match=said) as raised:
            extensions.load()
        assert "\n" not in str(raised.value)
        assert "flat" not in OPTIMIZERS


def test_two_files_with_one_name_are_refused(desk):
    write(desk, "a.py", MINE)
    write(desk, "b.py", MINE)
    with pytest.raises(ParameterError, match=r"b\.py: feature 'half' is already in lib/extensions/a\.py"):
        extensions.load()


def test_nothing_of_the_current_folder_is_imported(desk, monkeypatch):
    (desk / "helper_beside.py").write_text("raise RuntimeError('was run')\n")
    write(desk, "a.py", "import helper_beside\n" + MINE)
    monkeypatch.chdir(desk)
    monkeypatch.syspath_prepend("")
    with pytest.raises(ParameterError, match=r"a\.py, line 1: ModuleNotFoundError: No module named 'helper_beside'"):
        extensions.load()


def test_no_bytecode_is_left_or_used(desk):
    write(desk, "a.py", MINE)
    extensions.load()
    assert [path.name for path in (desk / extensions.FOLDER).iterdir()] == ["a.py"]


def test_a_file_of_another_user_is_refused(desk):
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    file = write(desk, "a.py", MINE)
    os.chown(file, 54321, -1)
    with pytest.raises(UsageError, match=r"a\.py belongs to another user \(uid 54321\)"):
        extensions.load()
    assert "half" not in FEATURES
    os.chown(desk / desk_folder.FILE, 54321, -1)  # a foreign desk, which the environment names
    extensions.load()
    assert "half" in FEATURES


def test_a_changed_or_missing_file_is_named(desk):
    file = write(desk, "a.py", MINE)
    extensions.load()
    recorded = extensions.behind("FEATURES", ["half", "momentum_21"])
    assert list(recorded) == ["lib/extensions/a.py"]
    extensions.require(recorded, "the model tiny")
    extensions.require_unchanged()
    file.write_text(MINE + "# more\n")
    with pytest.raises(ConflictError, match="lib/extensions changed while this was running"):
        extensions.require_unchanged()
    extensions.forget()
    with pytest.raises(ModelError, match=r"the model tiny needs lib/extensions/a\.py as it was .* has changed"):
        extensions.require(recorded, "the model tiny")
    file.unlink()
    extensions.forget()
    with pytest.raises(ModelError, match="is missing"):
        extensions.require(recorded, "the model tiny")


def known(shared: tuple, name: str) -> bool:
    """Whether a worker knows an optimizer, with the file that it came with."""
    return (
        name in OPTIMIZERS
        and name in ALGORITHMS | {name: 1}
        and shared[0] == extensions.behind("OPTIMIZERS", [name])["lib/extensions/b.py"]
    )


def test_workers_have_the_extensions_of_the_process_that_sent_them(desk):
    write(desk, "b.py", OURS)
    extensions.load()
    sha = extensions.behind("OPTIMIZERS", ["flat"])["lib/extensions/b.py"]
    write(desk, "b.py", OURS + "# edited since\n")
    assert run_tasks(known, (sha,), [("flat",), ("flat",)], n_jobs=2) == [True, True]


def test_a_cluster_has_them_too(desk, cluster):
    write(desk, "b.py", OURS)
    extensions.load()
    sha = extensions.behind("OPTIMIZERS", ["flat"])["lib/extensions/b.py"]
    assert run_tasks(known, (sha,), [("flat",), ("flat",)], engine=cluster) == [True, True]


def test_a_broken_file_does_not_stop_a_halt(desk):
    """What stops trading must never depend on research code."""
    write(desk, "bad.py", "1 / 0\n")
    script = "import sys; from openbook.cli import main; sys.exit(main(sys.argv[1:]))"
    line = [sys.executable, "-c", script]
    env = {name: value for name, value in os.environ.items() if name != desk_folder.RUNS}

    def command(*words):
        return subprocess.run([*line, *words], env=env, capture_output=True, text=True, check=False)

    assert command("init", "--cash", "1000").returncode == 0
    assert command("halt", "--who", "A", "--reason", "test").returncode == 0
    assert command("status").returncode in (0, 20)
    for name in ("notebooks", "params"):
        os.symlink(desk_folder.Path(__file__).resolve().parents[2] / name, desk / name)
    trained = command("run", "train_candidates", "--date", "2022-11-29")
    assert (trained.returncode, trained.stderr.count("\n")) == (78, 1)
    assert "lib/extensions/bad.py, line 1: ZeroDivisionError" in trained.stderr
