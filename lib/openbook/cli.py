"""The commands. Each is a few lines: it says what it does, calls `jobs`, prints, and returns an exit code."""

import os
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from openbook.errors import OpenbookError, StorageError, UsageError

app = typer.Typer(
    name="openbook",
    help="Every trading decision is an executed notebook that anyone can open, check and replay.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

INTERRUPTED = 130  # what a shell reports after Ctrl-C
START, DAY, LOOK, MODEL, DATA = "Start here", "Every day", "Look", "The model", "Data"


class State:
    """What the options before the command decided."""

    runs = Path("runs")
    verbose = False


@app.callback()
def options(
    runs: Annotated[Path | None, typer.Option(help="Folder of all runs; OPENBOOK_RUNS says the same.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more while working.")] = False,
) -> None:
    """Every trading decision is an executed notebook that anyone can open, check and replay."""
    State.runs = runs or Path(os.environ.get("OPENBOOK_RUNS", "runs"))
    State.verbose = verbose


@app.command(rich_help_panel=START)
def demo() -> None:
    """Everything on the bundled data: train, compare, select, then 20 daily pages."""
    from openbook import jobs

    jobs.demo(State.runs, say=_say)


@app.command(rich_help_panel=START)
def init(cash: Annotated[float, typer.Option(help="USD that the book begins with.")]) -> None:
    """Open the paper book."""
    from openbook import jobs

    _say(jobs.init(State.runs, cash=cash))


@app.command(rich_help_panel=DAY)
def run(
    notebook: Annotated[str, typer.Argument(help="train_candidates, compare, select_champion or daily_run.")],
    date: Annotated[str, typer.Option(help="The session whose close is the latest thing known, YYYY-MM-DD.")],
    profile: Annotated[str, typer.Option(help="Folder below params/.")] = "demo",
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value over the profile; repeat it.")] = None,
    engine: Annotated[str, typer.Option(help="Where the tasks run, dask://host:8786; this machine if left out.")] = "",
) -> None:
    """Run one notebook headless and seal what it wrote."""
    from openbook.record.kernel import start_kernel
    from openbook.record.preload import FOR_NOTEBOOKS

    with start_kernel(
        FOR_NOTEBOOKS
    ) as kernel:  # it imports what the notebook needs while we import what the command needs
        from openbook import jobs

        sets = tuple(set_ or ())
        done = jobs.run(notebook, date, State.runs, profile=profile, sets=sets, kernel=kernel, engine=engine)
    _say(done.sentence)


@app.command(rich_help_panel=DAY)
def backfill(
    notebook: Annotated[str, typer.Argument(help="Usually daily_run.")],
    start: Annotated[str, typer.Option("--from", help="First session, YYYY-MM-DD.")],
    end: Annotated[str, typer.Option("--to", help="Last session, YYYY-MM-DD.")],
    profile: Annotated[str, typer.Option(help="Folder below params/.")] = "demo",
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value over the profile; repeat it.")] = None,
) -> None:
    """Run a notebook for each session of a span, oldest first; stop at the first failure."""
    from openbook import jobs

    jobs.backfill(notebook, start, end, State.runs, profile=profile, sets=tuple(set_ or ()), say=_say)


@app.command(rich_help_panel=LOOK)
def status() -> None:
    """The book, the champion and the latest runs, in a few lines."""
    from openbook.record.runs import status_lines

    for line in status_lines(State.runs):
        _say(line)


@app.command("open", rich_help_panel=LOOK)
def open_page(
    date: Annotated[str | None, typer.Argument(help="Session of the page; the latest if left out.")] = None,
) -> None:
    """Open the daily page in the browser."""
    from openbook.record.runs import page_of

    page = page_of(State.runs, date)
    _say(str(page))
    if sys.stdout.isatty():
        typer.launch(str(page))


@app.command(rich_help_panel=MODEL)
def champion() -> None:
    """Who the champion is, since when and why, and who was champion before."""
    from openbook.record.pedigree import champion_lines

    for line in champion_lines(State.runs):
        _say(line)


@app.command(rich_help_panel=MODEL)
def rollback(
    who: Annotated[str, typer.Option(help="Who asks for it; the history keeps the name.")],
    reason: Annotated[str, typer.Option(help="Why; the history keeps it.")],
) -> None:
    """Make the champion before the champion again; what was rolled back never comes back by itself."""
    from openbook import succession

    _say(succession.rollback(State.runs, who=who, reason=reason))


data = typer.Typer(no_args_is_help=True, help="Prices and what hangs on them.")
app.add_typer(data, name="data", rich_help_panel=DATA)


@data.command("update")
def data_update(
    through: Annotated[str, typer.Option(help="Last session to fetch, YYYY-MM-DD.")],
    profile: Annotated[str, typer.Option(help="Folder below params/.")] = "demo",
) -> None:
    """Fetch new sessions into the store."""
    from openbook import jobs

    _say(jobs.update_data(State.runs, through, profile=profile))


def _say(line: str) -> None:
    """Print one line; rich colours are left to the terminal."""
    typer.echo(line)


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code; an error that a user can meet is one line, never a traceback."""
    State.verbose = False
    try:
        result = app(arguments, standalone_mode=False)
    except OpenbookError as error:
        return _end(error, error.exit_code, str(error))
    except TyperException as error:
        error.show()
        return UsageError.exit_code
    except (KeyboardInterrupt, typer.Abort):
        result = INTERRUPTED
    except OSError as error:
        return _end(error, StorageError.exit_code, f"{error.filename or 'the disk'}: {error.strerror or error}")
    except Exception as error:  # a bug: its place is for whoever asks with -v
        return _end(error, OpenbookError.exit_code, f"unexpected {type(error).__name__}: {error}; -v says where")
    if result == INTERRUPTED:  # typer, too, answers Ctrl-C with this code, and says nothing
        typer.echo("openbook: interrupted; what was not sealed does not count", err=True)
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    sys.exit(main())


def _end(error: Exception, code: int, said: str) -> int:
    """Say why in one line, after the traceback if -v asked for more; returns the exit code."""
    if State.verbose:
        traceback.print_exception(error)
    typer.echo(f"openbook: {' '.join(said.split())}", err=True)
    return code
