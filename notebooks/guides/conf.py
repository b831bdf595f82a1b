"""Settings of the documentation site: `openbook open docs`, or `sphinx-build -W notebooks/guides OUT`.

The pages are the Markdown files and the notebooks of this folder. The built site loads nothing from the network.
"""

import re
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]  # of a clone; SECURITY.md, CHANGELOG.md and CONTRIBUTING.md lie there
OF_A_CLONE = {"security": "SECURITY.md", "changelog": "CHANGELOG.md", "contributing": "CONTRIBUTING.md"}

project = "openbook"
release = metadata.version("openbook")
copyright = "the openbook authors"
extensions = ["myst_nb", "sphinx.ext.autodoc", "numpydoc"]
exclude_patterns = [f"{page}.md" for page, file in OF_A_CLONE.items() if not (TOP / file).is_file()]
suppress_warnings = ["mystnb.unknown_mime_type"]
if exclude_patterns:  # outside of a clone the table of contents names pages that are not there
    suppress_warnings += ["toc.excluded", "toc.not_readable"]

html_theme = "furo"
html_title = "openbook"
html_static_path = ["_static"]
html_css_files = ["openbook.css"]
html_copy_source = False
html_show_sphinx = False
html_show_search_summary = False  # it would fetch every page found, which a browser forbids for files

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "auto"  # every notebook: none has outputs of its own
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_ipywidgets_js = {}  # a page without a kernel has no use for widgets, whose scripts lie elsewhere
nb_merge_streams = True

default_role = "code"
autodoc_default_options = {"members": True, "member-order": "bysource", "exclude-members": "model_config"}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
numpydoc_show_class_members = False

FIELD = re.compile(r"^(\w+(?:, \w+)*) : (.*)$")
MODULES = (  # the public modules, in the order of a month's work
    "market.tables",
    "market.sources",
    "market.store",
    "market.calendar",
    "market.ingest",
    "signals.features",
    "signals.operators",
    "signals.dataset",
    "signals.training",
    "signals.tuning",
    "signals.explain",
    "portfolio.construct",
    "portfolio.optimizers",
    "portfolio.regime",
    "portfolio.costs",
    "backtest.engine",
    "backtest.grid",
    "metrics.returns",
    "metrics.ranking",
    "metrics.inference",
    "selection.gates",
    "selection.verdict",
    "decision.decide",
    "execution.orders",
    "execution.risk_checks",
    "execution.kill_switch",
    "execution.cost_analysis",
    "report.page",
    "app.whatif",
)


def public() -> list[tuple[str, str, str]]:
    """Title, directive and full name of all on the API page: `openbook.__all__` if there is one, then the modules."""
    import openbook

    named = [(f"openbook.{name}", *described(openbook, name)) for name in getattr(openbook, "__all__", ())]
    offered = {full for _, _, full in named}
    modules = [f"openbook.{name}" for name in MODULES]
    return named + [(name, "automodule", name) for name in modules if name not in offered]


def described(package, name: str) -> tuple[str, str]:
    """Directive and full name by which autodoc describes a public name: the place where it is defined."""
    thing = getattr(package, name)
    if isinstance(thing, ModuleType):
        return "automodule", thing.__name__
    if isinstance(thing, type):
        return "autoclass", f"{thing.__module__}.{thing.__qualname__}"
    if callable(thing):
        return "autofunction", f"{thing.__module__}.{thing.__name__}"
    return "autodata", f"openbook.{package.PUBLIC[name].replace(':', '.')}"


def fill_api_page(app, page: str, source: list[str]) -> None:
    """Put a heading and a description of every public name below the words of the API page, each name once."""
    if page != "api":
        return
    shown: set[str] = set()
    for title, kind, full in public():
        source[0] += f"\n## `{title}`\n\n"
        if full in shown:
            source[0] += f"The same as `{full}` above.\n"
            continue
        hidden = sorted(name.removeprefix(f"{full}.") for name in shown if name.startswith(f"{full}."))
        left_out = f":exclude-members: {', '.join(['model_config', *hidden])}\n"
        options = {"autofunction": "", "autodata": ":no-value:\n"}.get(kind, left_out)
        source[0] += f"```{{eval-rst}}\n.. {kind}:: {full}\n{indent(options)}```\n"
        shown.add(full)


def indent(text: str) -> str:
    return "".join(f"   {line}\n" for line in text.splitlines())


def read_docstring(app, what: str, name: str, thing, options, lines: list[str]) -> None:
    """Our docstrings as reStructuredText: `name : meaning` becomes an item of a list, and stars are stars."""
    written, inside = [], False
    for line in lines:
        found, plain = FIELD.match(line), escaped(line)
        if found:
            written += [] if inside else [""]
            plain = f"* **{found[1]}** – {escaped(found[2])}"
        elif inside and line.strip():
            plain = f"  {plain.strip()}"
        inside = bool(found or (inside and line.strip()))
        written.append(plain)
    lines[:] = written


def escaped(line: str) -> str:
    """A line whose stars, bars and trailing underscores are no markup; what is between backticks stays."""
    parts = re.split(r"(`+[^`]+`+)", line)
    return "".join(part if i % 2 else re.sub(r"([*|]|(?<=\w)_(?!\w))", r"\\\1", part) for i, part in enumerate(parts))


def setup(app) -> None:
    """Called by Sphinx."""
    import_module("openbook")
    app.connect("source-read", fill_api_page)
    app.connect("autodoc-process-docstring", read_docstring, priority=100)  # before numpydoc reads it
