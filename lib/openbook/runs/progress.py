"""Progress of a headless run or of an update: a bar on a terminal, a line now and then in a log.

The kernel writes how many tasks of a long cell are done into a small file in its private folder, which vanishes with
it; nothing of it reaches the notebook or the stage, so that the same inputs give the same bytes.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path

FILE = "OPENBOOK_PROGRESS"  # the environment variable that names the file to a kernel
EVERY = 30.0  # seconds between two lines in a log
LONGEST = 200  # characters of a kernel's message

OnCell = Callable[[int, int, str], None]


def steps(what: str) -> Callable[..., None] | None:
    """What a headless run hands to a long function as its `progress`; None where no runner watches."""
    file = os.environ.get(FILE)
    if not file:
        return None

    def tell(done: int, total: int, *_) -> None:
        with suppress(OSError):  # hours of training do not fail because progress cannot be shown
            Path(file).write_bytes(f"{what} {done}/{total}".encode())

    return tell


@contextmanager
def following(label: str, file: Path) -> Iterator[OnCell]:
    """Show how far a run is while it runs; yields what the runner calls before each cell.

    label : what runs; file : where its kernel writes the steps of the cell that runs now
    """
    with _shown(label, partial(_latest, file)) as on_cell:

        def begin(cell: int, cells: int, heading: str) -> None:
            file.unlink(missing_ok=True)  # the steps of the cell before
            on_cell(cell, cells, heading)

        yield begin


@contextmanager
def watching(label: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show how far a long step of this process is; yields what it calls with what it works through, done and total."""
    with _shown(label, str) as on_step:
        yield lambda what, done, total: on_step(done, total, f"{done}/{total} {what}")


def _shown(label: str, steps: Callable[[], str]) -> AbstractContextManager[OnCell]:
    """A bar on a terminal, lines in a log. steps : what to add to a cell that runs, "" for nothing."""
    return (_bar if sys.stderr.isatty() else _lines)(label, steps)


@contextmanager
def _bar(label: str, steps: Callable[[], str]) -> Iterator[OnCell]:
    """A bar on the terminal that vanishes at the end; steps and clock move inside a cell, too."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class Steps(ProgressColumn):
        """The steps of the cell that runs now."""

        def render(self, task) -> Text:
            return Text(steps())

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), Steps(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda cell, cells, heading: bar.update(
            task, completed=cell, total=cells, description=f"{label}: {heading}"
        )


@contextmanager
def _lines(label: str, steps: Callable[[], str]) -> Iterator[OnCell]:
    """A line on standard error every EVERY seconds; a shorter run prints nothing."""
    over, place, started = threading.Event(), [""], time.monotonic()

    def speak() -> None:
        while not over.wait(EVERY):
            seconds = int(time.monotonic() - started)
            text = ", ".join(filter(None, (place[0], steps())))
            print(f"{label}: {seconds // 60}:{seconds % 60:02} {text}", file=sys.stderr, flush=True)

    voice = threading.Thread(target=speak, daemon=True)
    voice.start()

    def on_cell(cell: int, cells: int, heading: str) -> None:
        place[0] = heading

    try:
        yield on_cell
    finally:
        over.set()
        voice.join()


def _latest(file: Path) -> str:
    """What the kernel wrote last; nothing if it wrote nothing or its folder is already removed."""
    with suppress(OSError):
        text = file.read_bytes()[:LONGEST].decode("utf-8", "replace")
        return "".join(c for c in text if c.isprintable())
    return ""
