"""A notebook's source, read without running it: its parameters, which cells read them, and where a cell is."""

import ast
import json
import keyword
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from openbook.common.errors import ParameterError, UsageError

TAG = "parameters"
KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", list: "a list", dict: "a map"}


def read_cells(notebook: Path) -> list[dict]:
    """The cells of a notebook file, sources joined; UsageError (64) if there is none."""
    try:
        content = json.loads(notebook.read_bytes())
        return [{**cell, "source": "".join(cell["source"])} for cell in content["cells"]]
    except OSError as error:
        raise UsageError(f"cannot read the notebook {notebook}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{notebook} is not a notebook of format 4") from None


def check_parameters(notebook: Path, parameters: Mapping) -> None:
    """Every parameter must be known to the cell tagged `parameters`, plain, of its kind, and read by a later cell.

    papermill itself only warns of an unknown name, runs a name as code, and takes any value. ParameterError (78).
    """
    cells = read_cells(notebook)
    at = next((i for i, cell in enumerate(cells) if TAG in cell.get("metadata", {}).get("tags", [])), None)
    if at is None:
        raise ParameterError(f"{notebook.name} has no cell tagged {TAG!r}, so parameters cannot be passed; tag one")
    known = _defaults(_parse(cells[at], notebook))
    for name, value in parameters.items():
        if not (isinstance(name, str) and name.isascii() and name.isidentifier()) or keyword.iskeyword(name):
            raise ParameterError(f"{str(name)[:80]!r} is not a valid parameter name")
        if name not in known:
            raise ParameterError(f"{notebook.name} has no parameter {name!r}; it has {', '.join(sorted(known))}")
        _check_plain(name, value)
        _check_kind(name, value, known[name])
    unread = sorted(set(parameters) - _names_read(cells[at + 1 :], notebook))
    if unread:
        raise ParameterError(f"no later cell of {notebook.name} uses {', '.join(unread)}")


def where(cells: list[dict], index: int) -> str:
    """A cell as a person finds it: `cell 7 (3. The champion)`, counted as the execution counts beside the cells."""
    number = sum(cell["cell_type"] == "code" for cell in cells[: index + 1])
    title = heading(cells, index)
    return f"cell {number} ({title})" if title else f"cell {number}"


def heading(cells: list[dict], index: int) -> str:
    """The last markdown heading above a cell, or nothing."""
    for cell in reversed(cells[:index]):
        if cell["cell_type"] == "markdown":
            titles = [line.lstrip("#").strip() for line in cell["source"].splitlines() if line.startswith("#")]
            if titles:
                return titles[-1]
    return ""


def _parse(cell: dict, notebook: Path) -> ast.Module:
    """The code of a cell; lines for IPython (%magic, !command, ?help) are left out."""
    lines = ["" if line.lstrip().startswith(("%", "!", "?")) else line for line in cell["source"].splitlines()]
    try:
        return ast.parse("\n".join(lines))
    except SyntaxError as error:
        raise UsageError(f"{notebook.name}: a cell is not Python: {error.text or ''!r}: {error.msg}") from None


def _defaults(code: ast.Module) -> dict:
    """Each name that the cell assigns and its default, or None where that is not written out."""
    found = {}
    for node in code.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            if isinstance(target, ast.Name):
                found[target.id] = _literal(cast(Any, node).value)
    return found


def _literal(node):
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return None


def _names_read(cells: list[dict], notebook: Path) -> set[str]:
    code = [_parse(cell, notebook) for cell in cells if cell["cell_type"] == "code"]
    names = [node for tree in code for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return {node.id for node in names if isinstance(node.ctx, ast.Load)}


def _check_plain(name: str, value) -> None:
    """None, bool, int, finite float, str, and lists and maps of them; nothing that papermill would guess at."""
    if isinstance(value, list):
        for item in value:
            _check_plain(name, item)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_plain(name, item)
            if type(key) is not str:
                raise ParameterError(f"{name}: mapping keys must be strings, not {key!r:.80}")
    elif value is not None and type(value) not in KINDS:
        raise ParameterError(
            f"{name} must be plain: text, number, true, false, list or map, not {type(value).__name__}"
        )
    elif isinstance(value, float) and not math.isfinite(value):
        raise ParameterError(f"{name} is {value}: write a finite number")


def _check_kind(name: str, value, default) -> None:
    """A value must be of its default's kind; a default of None takes any, and a whole number may stand for a float."""
    if default is None or type(value) is type(default) or (type(default) is float and type(value) is int):
        return
    if isinstance(default, tuple) and isinstance(value, list):
        return
    raise ParameterError(f"{name} must be {KINDS.get(type(default), type(default).__name__)}, not {value!r:.80}")
