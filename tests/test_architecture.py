"""The rooms and their arrows: who may import whom, who may write files, and what must stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

LIB = Path(__file__).resolve().parents[1] / "lib" / "openbook"

# An arrow means *imports*. A room may always import itself, `errors` and `lazily`; nothing else is allowed.
ARROWS = {
    "errors": set(),
    "engine": set(),
    "marker": set(),
    "metrics": set(),
    "market": {"marker"},
    "signals": {"engine", "market", "metrics"},
    "portfolio": {"engine", "market", "metrics"},
    "selection": {"signals", "portfolio", "metrics"},
    "desk": {"market", "portfolio", "metrics"},
    "record": {"marker", "metrics"},
    "params": {"market", "signals", "portfolio", "selection", "desk", "record"},
    "standins": {"champion", "market", "signals", "portfolio", "selection", "desk", "record", "metrics", "params"},
    "champion": {"signals", "portfolio", "selection"},
    "succession": {"champion", "record"},
    "closures": {"market", "record"},
    "upkeep": {"closures", "desk", "market", "marker", "record"},
    "recheck": {"desk", "market", "record", "upkeep"},
    "binding": {"desk", "market", "record"},
    "upgrade": {"champion", "desk", "market", "record", "upkeep"},
    "telling": {"market", "record"},
    "operate": {"closures", "desk", "market", "params", "record", "succession", "upkeep"},
    "evening": {"champion", "desk", "market", "portfolio", "record", "signals"},
    "auditor": {"champion", "closures", "desk", "evening", "marker", "record", "upkeep"},
    "diff": {"champion", "evening", "params", "recheck", "record"},
    "hindsight": {"champion", "desk", "evening", "market", "recheck", "record"},
    "whatif": {"auditor", "champion", "evening", "market", "marker", "params", "portfolio", "recheck", "record"},
    "plan": {"binding", "champion", "desk", "market", "params", "record", "succession", "upkeep"},
    "jobs": {
        "plan",
        "marker",
        "recheck",
        "succession",
        "champion",
        "engine",
        "upkeep",
        "market",
        "signals",
        "portfolio",
        "selection",
        "desk",
        "record",
        "params",
    },
    "cli": {
        *("auditor", "closures", "diff", "hindsight", "jobs", "marker", "operate"),
        *("record", "succession", "telling", "upgrade", "upkeep", "whatif"),
    },
}
WRITERS = {"record", "market/store.py", "desk/book.py"}
WRITING_CALLS = {"to_csv", "to_parquet", "to_json", "to_pickle", "write_text", "write_bytes", "write_table", "savefig"}
HEAVY = ["pandas", "numba", "xgboost", "lightgbm", "sklearn", "matplotlib", "papermill", "nbconvert", "quantstats"]


def room(path: Path) -> str:
    """The room that a file of the library belongs to."""
    first = path.relative_to(LIB).parts[0]
    return first.removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """Rooms that a file imports anywhere, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "openbook":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("openbook.")}
    return found


FILES = sorted(path for path in LIB.rglob("*.py") if path.parent != LIB or path.name != "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(LIB)))
def test_arrows(path):
    here = room(path)
    assert here in ARROWS, f"{here} is a new room: add it to ARROWS and to the README's map"
    assert imported_rooms(path) <= ARROWS[here] | {here, "errors", "lazily"}


def test_every_room_exists():
    assert {room(path) for path in FILES} == set(ARROWS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(LIB)))
def test_only_the_record_the_store_and_the_book_write(path):
    if room(path) in WRITERS or str(path.relative_to(LIB)) in WRITERS:
        return
    calls = {
        n.func.attr
        for n in ast.walk(ast.parse(path.read_text()))
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)
    }
    assert not calls & WRITING_CALLS


def test_no_pickle_anywhere():
    """But between the processes of one run: `engine` reads none from a file."""
    for path in FILES:
        if room(path) == "engine":
            continue
        modules = {
            alias.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert not modules & {"pickle", "joblib.dump", "dill", "cloudpickle"}, path


@pytest.mark.parametrize("arguments", [["--help"], ["status"], ["champion"]])
def test_light_commands_import_nothing_heavy(arguments, tmp_path):
    script = (
        "import sys\n"
        "from openbook.cli import main\n"
        f"code = main({arguments!r})\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "print('HEAVY', heavy, code)\n"
    )
    (tmp_path / "books").mkdir()
    env = {"OPENBOOK_RUNS": str(tmp_path), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, check=False)
    assert "HEAVY [] 0" in done.stdout, done.stdout + done.stderr
