"""The rooms and their arrows: who may import whom, who may write files, and what must stay light."""

import ast
import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

LIB = Path(__file__).resolve().parents[1] / "lib" / "openbook"

# An arrow means *imports*. A room may always import itself, `common` and `lazily`; nothing else is allowed.
ARROWS = {
    "common": set(),
    "metrics": set(),
    "market": set(),
    "signals": {"market", "metrics"},
    "portfolio": {"market"},
    "backtest": {"market", "metrics", "portfolio"},
    "execution": {"backtest", "market", "metrics", "portfolio"},
    "ledger": {"execution", "market", "portfolio"},
    "selection": {"backtest", "metrics", "portfolio", "signals"},
    "monitoring": {"metrics"},
    "runs": {"market"},
    "report": {"metrics", "runs"},
    "notify": {"market", "report", "runs"},
    "decision": {
        *("execution", "ledger", "market", "monitoring", "portfolio", "report", "runs", "selection", "signals"),
    },
    "app": {
        *("backtest", "decision", "execution", "ledger", "market", "monitoring", "notify", "portfolio", "report"),
        *("runs", "selection", "signals"),
    },
    "cli": {"app", "notify", "report", "runs"},
}
WRITERS = {"common", "runs", "report", "notify", "market/store/__init__.py", "ledger/book.py"}
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


def imported_modules(path: Path) -> set[str]:
    """Modules of the library that a file imports anywhere, by their names below it; a package is its `__init__`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "openbook":
            base = node.module.removeprefix("openbook").lstrip(".")
            below = {f"{base}.{alias.name}".lstrip(".") for alias in node.names}
            files = {name for name in below if (LIB / f"{name.replace('.', '/')}.py").is_file()}
            packages = {name for name in below if (LIB / name.replace(".", "/")).is_dir()}
            found |= files | packages | ({base} if below - files - packages else set())
        elif isinstance(node, ast.Import):
            found |= {
                alias.name.removeprefix("openbook.") for alias in node.names if alias.name.startswith("openbook.")
            }
    return found


FILES = sorted(path for path in LIB.rglob("*.py") if path.parent != LIB or path.name != "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(LIB)))
def test_arrows(path):
    here = room(path)
    assert here in ARROWS, f"{here} is a new room: add it to ARROWS and to the map in notebooks/guides/architecture.md"
    assert imported_rooms(path) <= ARROWS[here] | {here, "common", "lazily"}


def test_no_module_imports_itself_by_way_of_others():
    """A circle inside a room, or through several, says that nobody knows which of its modules comes first."""
    names = {".".join(path.relative_to(LIB).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}
    graph = {name: imported_modules(path) & set(names) - {name} for name, path in names.items()}
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_no_class_name_is_used_twice():
    names = Counter(
        node.name for path in FILES for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)
    )
    assert [name for name, times in names.items() if times > 1] == []


def test_every_room_exists():
    assert {room(path) for path in FILES} == set(ARROWS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(LIB)))
def test_only_rooms_that_keep_things_write(path):
    if room(path) in WRITERS or str(path.relative_to(LIB)) in WRITERS:
        return
    calls = {
        n.func.attr
        for n in ast.walk(ast.parse(path.read_text()))
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)
    }
    assert not calls & WRITING_CALLS


def test_no_pickle_anywhere():
    """But between the processes of one run: `parallel` reads none from a file."""
    for path in FILES:
        if path.name == "parallel.py":
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
