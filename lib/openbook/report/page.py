"""The page of a run: the executed notebook without its code, as one HTML file that needs nothing else."""

import json
import re
from pathlib import Path

from openbook.common.errors import UsageError
from openbook.report.elements import PALETTE, bar, callout, chart, facts, figure, house_style, table
from openbook.runs.preload import lean_imports
from openbook.runs.provenance import versions
from openbook.runs.stage import RUN

__all__ = ["PALETTE", "bar", "callout", "chart", "facts", "figure", "house_style", "render_report", "table"]

STYLE = Path(__file__).parent / "templates" / "report" / "style.css"
SHORT = 12  # characters of a hash that a person compares
INPUTS = {"Data": "data", "Champion": "champion", "Book, hash of the last event": "book", "Parameters": "parameters"}


def render_report(notebook: str | Path) -> str:
    """The page of an executed notebook as HTML; the same notebook gives the same bytes.

    Words and outputs are shown; code and what was printed are not. A cell tagged `no-report` is left out, the output
    of one tagged `verdict` stands below the title. If run.json lies beside the notebook, the foot shows where it came
    from.
    """
    notebook = Path(notebook)
    with lean_imports():
        import nbformat

        from openbook.report.exporter import exporter
    try:
        nb = nbformat.read(notebook, as_version=4)
    except (OSError, ValueError, nbformat.reader.NotJSONError) as error:
        raise UsageError(f"cannot read the notebook {notebook}: {error}") from None
    run = _run_beside(notebook)
    resources = {
        "title": " · ".join(filter(None, (_title(nb) or notebook.stem, run.get("date")))),
        "style": STYLE.read_text(encoding="utf-8").strip(),
        "provenance": _provenance(run),
    }
    html, _ = exporter().from_notebook_node(nb, resources=resources)
    return html


def _run_beside(notebook: Path) -> dict:
    file = notebook.with_name(RUN)
    return json.loads(file.read_bytes()) if file.is_file() else {}


def _title(nb) -> str:
    """The first heading of the first level."""
    for cell in nb.cells:
        found = re.search(r"^# +(.+)$", cell.source, re.MULTILINE) if cell.cell_type == "markdown" else None
        if found:
            return found[1].strip()
    return ""


def _provenance(run: dict) -> list[tuple[str, str]]:
    """What a reader needs to find this run again: name and value."""
    if not run:
        return []
    code = run.get("code") or {}
    commit = (code.get("commit") or "")[:SHORT] + (" with changes" if code.get("modified") else "")
    installed, inputs = versions(run), run.get("inputs") or {}
    fields = {
        "Session": run.get("date"),
        "Notebook": run.get("notebook"),
        "Profile": run.get("profile"),
        "Hash of all inputs (sha256, first 12 digits)": (run.get("inputs_hash") or "")[:SHORT],
        **{name: inputs.get(key, "")[:SHORT] for name, key in INPUTS.items()},
        "Code": code.get("sha256", "")[:SHORT],
        "Commit": commit,
        "Python": installed.get("python"),
    }
    return [(name, str(value)) for name, value in fields.items() if value]
