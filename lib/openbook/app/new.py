"""`openbook new`: a desk of one's own, from the installed package or from a clone."""

import errno
from pathlib import Path

from openbook.common.desk_folder import FILE, desk_at_or_above, named_desk
from openbook.common.errors import StorageError, UsageError
from openbook.common.files import reason, write_folder
from openbook.runs.provenance import EXTENSIONS, LIBRARY, TEMPLATE
from openbook.runs.upgrade import MARKER

DEMO = "openbook-demo"
COPIED = ("notebooks/*.ipynb", "notebooks/guides/*.ipynb", "params/*/*.yaml")
README = b"""# A desk of openbook

Every trading decision of this desk is an executed notebook that anyone can open, check and replay.

    openbook demo      # train, compare, select and 20 daily pages, on bundled data: some minutes
    openbook open      # the latest daily page
    openbook status    # the book, the champion, the latest runs

| here | is |
|---|---|
| `notebooks/` | the four notebooks that decide; `guides/` explains, with examples to run |
| `params/` | their parameters, one folder a profile: `demo` (bundled data), `vendor` (your files), `live` |
| `lib/extensions/` | Python of your own |
| `runs/` | everything that is written; not for git |
| `openbook.yaml` | marks this folder as a desk |

All of it is yours to change; an update of openbook leaves it as it is. `openbook --help` lists the commands. To work in
JupyterLab: `pip install 'openbook[lab]'`, then `jupyter lab notebooks`.
"""
IGNORED = b"""/runs/
/HALT.*
__pycache__/
.ipynb_checkpoints/
.venv/
"""
EXAMPLE = b'''# Python of this desk

Put features, optimizers, learners and price sources of your own here, as .py files with a dict `FEATURES`,
`OPTIMIZERS`, `LEARNERS` or `SOURCES` at the top level. Their bytes are part of "the code": a change voids open orders.
For example `mine.py`, named in compare.yaml by `optimizers: [inverse_variance]`:

```python
import numpy as np


def inverse_variance(expected, covariance, limits):
    """Weights in proportion to 1 / variance, (n,)."""
    raw = 1 / np.diag(covariance)
    return limits.exposure * raw / raw.sum()


OPTIMIZERS = {"inverse_variance": inverse_variance}
```

`openbook open docs` has a page about it, "A desk's own code and scores".
'''


def new_desk(folder: Path) -> str:
    """Make a desk in a folder that is new or empty; all of it, or nothing. What was made, in one line.

    Raises UsageError (64) for a folder with something in it, for one inside another desk and where the folder above is
    missing; StorageError (74) if it cannot be written.
    """
    desk = folder.resolve()
    if (other := desk_at_or_above(desk)) is not None:
        raise UsageError(f"{folder} is inside the desk {other}; choose a folder outside of it")
    if not desk.parent.is_dir():
        raise UsageError(f"no folder {desk.parent}; make it first")
    if desk.exists() and not desk.is_dir():
        raise UsageError(f"{folder} is a file; choose a folder that is new or empty")
    try:
        write_folder(desk, desk_files())
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise UsageError(f"{folder} is not empty; choose a folder that is new or empty") from None
        raise StorageError(f"could not make {folder}: {reason(error)}") from None
    return f"{folder}: a new desk; change into it, then: openbook demo"


def demo_desk(here: Path) -> tuple[Path, str]:
    """The desk of a demo that is started outside of any: here/openbook-demo, made if it is not there; and a line."""
    desk = here / DEMO
    made = not (desk / FILE).is_file()
    if made:
        new_desk(desk)
    said = "there is no desk here, so a new one was made" if made else "the desk of an earlier demo goes on"
    return named_desk(desk), f"{said}: {desk}; for the next commands: cd {DEMO}"


def desk_files() -> dict[str, bytes]:
    """Every file of a new desk by its name there; the marker comes last."""
    top = template()
    copied = sorted(path for pattern in COPIED for path in top.glob(pattern))
    return {
        **{path.relative_to(top).as_posix(): path.read_bytes() for path in copied},
        f"{EXTENSIONS.as_posix()}/README.md": EXAMPLE,
        "runs/": b"",
        ".gitignore": IGNORED,
        "README.md": README,
        FILE: MARKER,
    }


def template() -> Path:
    """The folder with notebooks/ and params/ to copy: in the installed package, or the top of the clone."""
    top = TEMPLATE if TEMPLATE.is_dir() else LIBRARY.parents[1]
    if not (top / "notebooks" / "daily_run.ipynb").is_file():
        raise StorageError(f"{top} has no notebooks to copy; install openbook again")
    return top
