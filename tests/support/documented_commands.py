"""The commands that the pages show.

A page's command is code between backticks that begins with `openbook` and does more than name a command, or a fenced
block of shell commands, here in one line with a semicolon between.
"""

import json
import re
from pathlib import Path

import click
import typer

from openbook.cli import app

ROOT = Path(__file__).resolve().parents[2]
GUIDES = ROOT / "notebooks" / "guides"
PAGES = (ROOT / "README.md", *sorted(GUIDES.glob("*.md")), *sorted(GUIDES.glob("*.ipynb")))
INDENTED = re.compile(r"^ {4}(openbook .*?)(?: {2,}.*)?$", re.MULTILINE)  # and in words what it does
DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
OURS = re.compile(r"(?:uv run (?:--extra \w+ )*)?openbook ((?:-|[a-z]).*)")


def shown() -> dict[str, str]:
    """Every command of the pages and the first page that has it; of alternatives such as orders|runs each."""
    found: dict[str, str] = {}
    for page in PAGES:
        text = _words(page)
        blocks = [body for language, body in FENCED.findall(text) if language == "bash"]
        lines = [_one_line(body) for body in blocks] + INDENTED.findall(text)
        spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", FENCED.sub("", text))]
        commands = [span for span in spans if OURS.fullmatch(span) and not is_a_name(span)]
        for line in [*lines, *commands]:
            for command in _alternatives(DATE.sub("D", line).replace("\\|", "|")):
                found.setdefault(command, page.name)
    return found


def _words(page: Path) -> str:
    """The text of a page, of a notebook the prose alone: its cells are run by other tests."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".md":
        return text
    return "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")


def _one_line(block: str) -> str:
    """The commands of a block without their comments."""
    lines = [line.partition(" #")[0].strip() for line in block.splitlines()]
    return "; ".join(filter(None, lines))


def _alternatives(line: str) -> list[str]:
    word = next((word for word in line.split() if "|" in word), None)
    return [line] if word is None else [line.replace(word, choice) for choice in word.split("|")]


def is_a_name(command: str) -> bool:
    """Whether it only names a command, without what that needs: `openbook halt`."""
    given = OURS.fullmatch(command)
    here: click.Command = typer.main.get_command(app)
    for word in given[1].split() if given else [""]:
        if not isinstance(here, click.Group | typer.core.TyperGroup) or word not in here.commands:
            return False
        here = here.commands[word]
    return any(parameter.required for parameter in here.params)
