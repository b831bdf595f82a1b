"""What documents, guides and docstrings spell: code, commands, files. All of it works as it is spelled."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import typer

from openbook.cli import app

ROOT = Path(__file__).resolve().parents[1]
SPAN = re.compile(r"`([^`]+)`", re.DOTALL)
PYTHON = re.compile(r"openbook(?!\.yaml$)(\.\w+)+(\(.*\))?")  # openbook.yaml is the marker file of a desk
NAMED_IN = re.compile(r"`([A-Za-z_]\w*)` in\s+`(openbook(?:\.\w+)+)`")
OURS = re.compile(r"(?:^|&& |uv run (?:--extra \w+ )*)openbook (.*)")  # a command of ours, alone or after others
TEST_FILE = re.compile(r"(?<![\w.])(?:tests/)?((?:\w+/)*test_\w+\.py)")
BELOW = ("lib/", "tests/", "notebooks/", "params/")
OF_A_DESK = ("lib/extensions", "params/mine")  # a desk may have it and files in it, this repository does not


def texts() -> dict[str, str]:
    """By place, everything that is written for people: documents, the words of the notebooks, the library's docs."""
    documents = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "notebooks").rglob("*.md"))]
    found = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in documents}
    for path in sorted((ROOT / "notebooks").rglob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        words = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
        found[str(path.relative_to(ROOT))] = "\n\n".join(words)
    for path in sorted((ROOT / "lib").rglob("*.py")):
        found[str(path.relative_to(ROOT))] = path.read_text(encoding="utf-8")
    return found


def spans() -> dict[str, str]:
    """Each piece of code between backticks, fenced or not, as one line, and where it was seen first."""
    found = {}
    for place, text in texts().items():
        for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL):
            found |= {line.strip(): place for line in block.splitlines() if line.strip() not in found}
        for span in SPAN.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
            found.setdefault(" ".join(span.split()), place)
    return found


SPANS = spans()
CODE = sorted(span for span in SPANS if PYTHON.fullmatch(span))
NAMES = sorted({f"{module}.{name}" for text in texts().values() for name, module in NAMED_IN.findall(text)})
COMMANDS = sorted(span for span in SPANS if OURS.search(span))
FILES = sorted(
    s for s in SPANS if s.startswith(BELOW) and " " not in s and "<" not in s and not s.startswith(OF_A_DESK)
)


def test_something_is_found():
    assert "openbook.whatif.panel()" in CODE
    assert {"openbook.signals.learners.LEARNERS", "openbook.signals.tuning.SPACES"} <= {*CODE, *NAMES}
    assert len(COMMANDS) > 80
    assert "lib/openbook/signals/features.py" in FILES


def fresh(code: str, tmp_path: Path) -> subprocess.CompletedProcess:
    """What a new interpreter says that has imported nothing but the package; there are no runs."""
    env = {**os.environ, "OPENBOOK_RUNS": str(tmp_path / "runs")}
    said = f"import openbook\n{code}\n"
    return subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, env=env, check=False)


@pytest.mark.parametrize("code", [code for code in CODE if "(" in code])
def test_code_runs_as_it_is_spelled(code, tmp_path):
    done = fresh(f"print(repr({code}))", tmp_path)
    assert done.returncode == 0, done.stderr


def test_names_are_there_as_they_are_spelled(tmp_path):
    named = sorted({*NAMES, *(code for code in CODE if "(" not in code)})
    for modules in ("", "from openbook.signals import panel\n"):  # whatever was imported before
        done = fresh(modules + "\n".join(named), tmp_path)
        assert done.returncode == 0, done.stderr


def test_what_is_not_there_is_an_attribute_error(tmp_path):
    done = fresh("print(hasattr(openbook, 'nothing'), hasattr(openbook.signals, 'nothing'))", tmp_path)
    assert done.stdout.split() == ["False", "False"]


def test_the_package_alone_is_light(tmp_path):
    """Less than 50 ms beside an interpreter that imports nothing; the best of five of each."""
    imports = "import time; began = time.perf_counter(); import openbook; print(time.perf_counter() - began)"
    took = [
        float(subprocess.run([sys.executable, "-c", imports], capture_output=True, text=True, check=True).stdout)
        for _ in range(5)
    ]
    assert min(took) < 0.05
    loaded = fresh("import sys\nprint([name for name in sys.modules if name.startswith('openbook')])", tmp_path)
    assert loaded.stdout.strip() == "['openbook']"


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_there_with_their_options(command):
    words = OURS.search(command)[1].partition("#")[0].split()
    while words and words[0].startswith("-"):  # of the program: --runs DIR, -v
        words = words[1:] if words[0] in ("-v", "--help", "…") else words[2:]
    group = typer.main.get_command(app)
    while words and isinstance(group, click.Group | typer.core.TyperGroup):
        assert words[0] in group.commands or words[0] in ("COMMAND", "…"), f"{command} in {SPANS[command]}"
        if words[0] not in group.commands:
            return
        group, words = group.commands[words[0]], words[1:]
    known = {option for parameter in group.params for option in parameter.opts} | {"--help"}
    used = set(re.findall(r"(?<!\S)\[?(--[a-z]+)", " ".join(words)))
    assert used <= known, f"{command} in {SPANS[command]}"


@pytest.mark.parametrize("document", [name for name in texts() if name.endswith(".md")])
def test_tests_that_a_document_names_are_there(document):
    """`tests/app/test_stops.py`, or `app/test_stops.py` where a document says that they are below tests/."""
    named = {name for span in SPAN.findall(texts()[document]) for name in TEST_FILE.findall(span)}
    assert [name for name in named if not (ROOT / "tests" / name).is_file()] == []


@pytest.mark.parametrize("file", FILES)
def test_files_are_there(file):
    assert (ROOT / file.rstrip("/")).exists() or list(ROOT.glob(file.rstrip("/"))), SPANS[file]
