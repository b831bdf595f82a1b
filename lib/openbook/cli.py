"""The commands. Each is a few lines: it says what it does, calls `jobs`, prints, and returns an exit code."""

import os
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from openbook import marker
from openbook.errors import ApprovalError, AuditError, OpenbookError, StorageError, UsageError

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
DANGER = "Stop, go, and keys"


class _Runs:
    """The runs folder, looked for when a command first asks for it: `key` and --help need none."""

    def __get__(self, _, state) -> Path:
        runs = marker.runs_folder(state.asked)
        os.environ.pop("OPENBOOK_CLOSURES", None)  # of another desk
        if (runs / "closures.json").exists():
            from openbook.closures import announce

            announce(runs)
        return runs


class State:
    """What the options before the command decided."""

    asked: Path | None = None
    runs = _Runs()
    verbose = False


@app.callback()
def options(
    desk: Annotated[
        Path | None, typer.Option(help="The desk's folder; else the one at or above the current folder.")
    ] = None,
    runs: Annotated[
        Path | None, typer.Option(help="Folder of all runs, else that of the desk; OPENBOOK_RUNS says the same.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more while working.")] = False,
) -> None:
    """Every trading decision is an executed notebook that anyone can open, check and replay."""
    State.asked, State.verbose = runs, verbose
    if desk is not None:
        os.environ[marker.DESK] = str(marker.named_desk(desk))


@app.command(rich_help_panel=START)
def demo() -> None:
    """Everything on the bundled data: train, compare, select, then 20 daily pages."""
    from openbook import jobs

    jobs.demo(State.runs, say=_say)


@app.command(rich_help_panel=START)
def init(
    cash: Annotated[float, typer.Option(help="USD that the book begins with.")],
    book: Annotated[str, typer.Option(help="paper or live.")] = "paper",
    parts: Annotated[int, typer.Option(help="Of a share, that a paper book counts; 1: whole shares.")] = 1,
) -> None:
    """Open a book."""
    from openbook import jobs

    _say(jobs.init(State.runs, cash=cash, kind=book, share_units=parts))


@app.command(rich_help_panel=START)
def upgrade() -> None:
    """Bring what an older openbook wrote to today's formats, once; copies are kept, and what is sealed stays."""
    from openbook.record.upgrade import mark_desk

    if not (State.asked or os.environ.get(marker.RUNS)):
        _say(mark_desk(Path.cwd()))
    from openbook.upgrade import upgrade

    upgrade(State.runs, _say)


@app.command(rich_help_panel=DAY)
def run(
    notebook: Annotated[str, typer.Argument(help="train_candidates, compare, select_champion or daily_run.")],
    date: Annotated[str, typer.Option(help="The session whose close is the latest thing known, YYYY-MM-DD.")],
    profile: Annotated[str, typer.Option(help="Folder below params/.")] = "demo",
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value over the profile; repeat it.")] = None,
    engine: Annotated[str, typer.Option(help="Where the tasks run, dask://host:8786; this machine if left out.")] = "",
    memory: Annotated[
        float | None, typer.Option(help="GiB that each process of the notebook may take; no limit.")
    ] = None,
    supersede: Annotated[
        bool, typer.Option("--supersede", help="Seal it beside a run of that date with other inputs, as D.2.")
    ] = False,
) -> int:
    """Run one notebook headless and seal what it wrote. Exit code 20: the book is halted, 21: it only reduces."""
    from openbook.record.kernel import start_kernel
    from openbook.record.preload import FOR_NOTEBOOKS

    runs = State.runs
    # It imports what the notebook needs while we import what the command needs.
    with start_kernel(FOR_NOTEBOOKS, memory=memory) as kernel:
        from openbook import jobs, telling

        def act() -> int:
            given = {"profile": profile, "sets": tuple(set_ or ()), "engine": engine, "supersede": supersede}
            done = jobs.run(notebook, date, runs, kernel=kernel, **given)
            _say(done.sentence)
            return done.exit_code

        return telling.watched(runs, f"run {notebook}", date, act, _say)


@app.command(rich_help_panel=DAY)
def backfill(
    notebook: Annotated[str, typer.Argument(help="Usually daily_run.")],
    start: Annotated[str, typer.Option("--from", help="First session, YYYY-MM-DD.")],
    end: Annotated[str, typer.Option("--to", help="Last session, YYYY-MM-DD.")],
    profile: Annotated[str, typer.Option(help="Folder below params/.")] = "demo",
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value over the profile; repeat it.")] = None,
) -> int:
    """Run a notebook for each session of a span, oldest first; stop at the first failure.

    Orders that wait for a person expire at the next session. A span of daily pages that ends with the last session that
    is over catches up: its last orders can be approved. For evenings of the past nobody can approve any more: rehearse
    them on the paper book with --set require_manual_approval=false, else exit code 78.
    """
    from openbook import jobs, telling

    def act() -> int:
        done = jobs.backfill(notebook, start, end, State.runs, profile=profile, sets=tuple(set_ or ()), say=_say)
        return done[-1].exit_code if done else 0

    return telling.watched(State.runs, f"backfill {notebook}", end, act, _say)


@app.command(rich_help_panel=DAY)
def approve(
    date: Annotated[str, typer.Argument(help="Evening on which the orders were decided, YYYY-MM-DD.")],
    by: Annotated[str, typer.Option(help="Who approves; the book keeps the name.")] = "",
    token: Annotated[Path | None, typer.Option(help="A token that somebody signed, instead of --by.")] = None,
    key: Annotated[Path | None, typer.Option(help="The key that it was signed with.")] = None,
) -> None:
    """Look at the orders of an evening, and approve them."""
    from openbook import operate

    if (token is None) == (not by) or (token is None) != (key is None):
        raise UsageError("say --by NAME, or --token FILE --key FILE")
    if token is None:
        _say(operate.approve(State.runs, date, who=by, ask=_ask))
    else:
        _say(operate.approve_by_token(State.runs, date, token=token, key=key))


@app.command(rich_help_panel=DAY)
def reject(
    date: Annotated[str, typer.Argument(help="Evening on which the orders were decided, YYYY-MM-DD.")],
    reason: Annotated[str, typer.Option(help="Why; the book keeps it.")],
    by: Annotated[str, typer.Option(help="Who rejects; the book keeps the name.")],
) -> None:
    """Reject the orders of an evening, approved or not."""
    from openbook import operate

    _say(operate.reject(State.runs, date, who=by, reason=reason))


@app.command(rich_help_panel=DAY)
def export(
    date: Annotated[str, typer.Argument(help="Evening on which the orders were decided, YYYY-MM-DD.")],
    form: Annotated[str, typer.Option("--format", help="generic, ibkr or alpaca.")] = "generic",
    out: Annotated[Path | None, typer.Option(help="File to write, outside the runs folder; else printed.")] = None,
) -> None:
    """The approved orders of an evening in a broker's format; nothing is ever sent."""
    from openbook import operate
    from openbook.record.disk import hand_out

    _, data, left_out = operate.export(State.runs, date, form)
    if left_out:
        typer.echo(left_out, err=True)
    if out is None:
        typer.echo(data.decode(), nl=False)
    else:
        hand_out(out, data, runs=State.runs)
        _say(f"{out}: orders of {date} for {form}")


@app.command(rich_help_panel=DAY)
def fills(
    date: Annotated[str, typer.Argument(help="Evening on which the orders were decided, YYYY-MM-DD.")],
    file: Annotated[Path, typer.Argument(help="CSV: fill_id,order_id,shares,price,commission,date.")],
    who: Annotated[str, typer.Option(help="Who answers for fills that no order explains: they are booked.")] = "",
    reason: Annotated[str, typer.Option(help="Why; the book keeps it.")] = "",
) -> None:
    """Record what the broker did, in the live book; with --who also what was never ordered, approved, or that late."""
    from openbook import operate

    _say(operate.fills(State.runs, date, file, accepted=(who, reason)))


@app.command(rich_help_panel=DAY)
def reconcile(
    file: Annotated[Path, typer.Argument(help="CSV of the broker's statement: symbol,shares[,price], and a row CASH.")],
    book: Annotated[str, typer.Option(help="paper or live; needed where there are both.")] = "",
    who: Annotated[str, typer.Option(help="Who takes the statement for right: the book is corrected.")] = "",
    reason: Annotated[str, typer.Option(help="Why; the book keeps it.")] = "",
) -> None:
    """Compare a statement of the broker with the book, and with --who make the book agree."""
    from openbook import operate

    _say(operate.reconcile(State.runs, file, kind=book, accepted=(who, reason)))


@app.command(rich_help_panel=DAY)
def rename(
    symbol: Annotated[str, typer.Argument(help="The ticker that the book knows.")],
    new: Annotated[str, typer.Argument(help="What it is called from then on.")],
    date: Annotated[str, typer.Option(help="The first session under the new ticker, YYYY-MM-DD.")],
    who: Annotated[str, typer.Option(help="Who says so; the book keeps the name.")],
    reason: Annotated[str, typer.Option(help="Why; the book keeps it.")],
    book: Annotated[str, typer.Option(help="paper or live; needed where there are both.")] = "",
) -> None:
    """Say that a company has another ticker: what is held, ordered and paid for stays, under the new one."""
    from openbook import operate

    _say(operate.rename(State.runs, symbol=symbol, to=new, date=date, who=who, reason=reason, kind=book))


@app.command(rich_help_panel=DAY)
def closure(
    date: Annotated[str, typer.Argument(help="The day on which the exchange did not open, YYYY-MM-DD.")],
    who: Annotated[str, typer.Option(help="Who says so; the list keeps the name.")],
    reason: Annotated[str, typer.Option(help="Why; the list keeps it.")],
    close: Annotated[str, typer.Option(help="It did open, and closed early: HH:MM in New York.")] = "",
) -> None:
    """Write down that the exchange closed without notice: the day is no session, and its orders wait for the next."""
    from openbook import operate

    _say(operate.closure(State.runs, date, who=who, reason=reason, close=close))


@app.command(rich_help_panel=DAY)
def cash(
    flow: Annotated[str, typer.Argument(help="deposit, withdrawal, fee or interest.")],
    amount: Annotated[str, typer.Argument(help="USD, above 0, like 1234.56.")],
    who: Annotated[str, typer.Option(help="Who says so; the book keeps the name.")],
    reason: Annotated[str, typer.Option(help="Why; the book keeps it.")],
    book: Annotated[str, typer.Option(help="paper or live; needed where there are both.")] = "",
    again: Annotated[bool, typer.Option("--again", help="It happened a second time: record it once more.")] = False,
) -> None:
    """Record cash that came or went without a trade; the same again at once, for the same reason, is once."""
    from openbook import operate

    said = {"flow": flow, "amount": amount, "who": who, "reason": reason}
    _say(operate.cash(State.runs, **said, kind=book, again=again))


@app.command(rich_help_panel=DAY)
def views(
    book: Annotated[str, typer.Option(help="paper or live; needed where there are both.")] = "",
) -> None:
    """Make the CSV views of a book again, whatever somebody wrote into them."""
    from openbook import upkeep

    _say(upkeep.rebuild_views(State.runs, book))


@app.command(rich_help_panel=DANGER)
def halt(
    who: Annotated[str, typer.Option(help="Who halts; the book keeps the name.")],
    reason: Annotated[str, typer.Option(help="Why; the book keeps it.")],
    book: Annotated[str, typer.Option(help="paper or live; all there are if left out.")] = "",
) -> None:
    """Stop: every open order is void, and nothing new is bought until somebody resets."""
    from openbook import operate, telling

    _say(operate.halt(State.runs, who=who, reason=reason, kind=book))
    telling.alarm(State.runs, f"HALTED by {who}", reason, _say)


@app.command(rich_help_panel=DANGER)
def reset(
    who: Annotated[str, typer.Option(help="Who resets; the book keeps the name.")],
    reason: Annotated[str, typer.Option(help="Why it is safe again; the book keeps it.")],
    book: Annotated[str, typer.Option(help="paper or live; needed where there are both.")] = "",
    rearm: Annotated[bool, typer.Option("--rearm", help="Also while ACTIVE: forget losses and the peak.")] = False,
) -> None:
    """Arm the kill switch of a book again."""
    from openbook import operate

    _say(operate.reset(State.runs, who=who, reason=reason, kind=book, rearm=rearm))


@app.command(rich_help_panel=DANGER)
def key(file: Annotated[Path, typer.Argument(help="Where the key goes, outside the runs folder.")]) -> None:
    """Make a key for approvals that are signed on another machine; copy it there by a safe way."""
    from openbook.record.keys import create_key

    create_key(file, _runs_or_none_here())
    _say(f"{file}: a new key; whoever holds it can approve")


@app.command(rich_help_panel=DANGER)
def sign(
    batch: Annotated[str, typer.Argument(help="The whole hash of the batch, as approve and status show it.")],
    date: Annotated[str, typer.Option(help="Evening on which the orders were decided, YYYY-MM-DD.")],
    by: Annotated[str, typer.Option(help="Who approves; the book keeps the name.")],
    key: Annotated[Path, typer.Option(help="The key that both machines hold.")],
    out: Annotated[Path, typer.Option(help="Where the token goes.")],
) -> None:
    """Sign the approval of a batch, on any machine that holds the key."""
    from openbook import operate
    from openbook.record.disk import hand_out

    runs = _runs_or_none_here()
    hand_out(out, operate.sign(batch, date, who=by, key=key, runs=runs), runs=runs)
    _say(f"{out}: approves {date}; give it to openbook approve {date} --token")


@app.command(rich_help_panel=LOOK)
def verify(
    head: Annotated[
        str, typer.Option(help="The log's head that a mail or an earlier verify showed; finds a cut tail.")
    ] = "",
) -> int:
    """Hash everything again, and say what was altered. Exit code 90 if anything was."""
    from openbook import auditor

    problems, notes = auditor.verify(_something(), head=head or None)
    for line in [*notes, *problems]:
        _say(line)
    return AuditError.exit_code if problems else 0


@app.command(rich_help_panel=LOOK)
def replay(
    date: Annotated[str, typer.Argument(help="Session of a sealed daily run, YYYY-MM-DD.")],
) -> int:
    """Run a day again in a scratch folder, from what was recorded, and compare what it writes byte by byte."""
    from openbook import auditor

    different, lines = auditor.replay(State.runs, date)
    for line in lines:
        _say(line)
    return AuditError.exit_code if different else 0


@app.command(rich_help_panel=LOOK)
def diff(
    first: Annotated[str, typer.Argument(help="Session of a sealed daily run, YYYY-MM-DD.")],
    second: Annotated[str, typer.Argument(help="Another one, usually later.")],
) -> None:
    """What changed between two days: target weights by what moved them, parameters, champion, code, orders."""
    from openbook.diff import diff

    for line in diff(State.runs, first, second).lines:
        _say(line)


@app.command(rich_help_panel=LOOK)
def whatif(
    date: Annotated[str, typer.Argument(help="Session of a sealed daily run, YYYY-MM-DD.")],
    set_: Annotated[list[str], typer.Option("--set", help="key=value of that day or of its champion; repeat it.")],
    out: Annotated[Path | None, typer.Option(help="Folder to keep the page in, outside the runs folder.")] = None,
) -> None:
    """The same day with a parameter changed, in a scratch folder: what orders, risk and cost would have been."""
    from openbook.whatif import try_it

    for line in try_it(State.runs, date, tuple(set_), out=out).lines:
        _say(line)


@app.command(rich_help_panel=LOOK)
def status() -> None:
    """The book, the champion and the latest runs, in a few lines."""
    from openbook.record.status import status_lines

    for line in status_lines(_something()):
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

    for line in champion_lines(_something()):
        _say(line)


@app.command(rich_help_panel=MODEL)
def rollback(
    who: Annotated[str, typer.Option(help="Who asks for it; the history keeps the name.")],
    reason: Annotated[str, typer.Option(help="Why; the history keeps it.")],
) -> None:
    """Make the champion before the champion again; what was rolled back never comes back by itself."""
    from openbook import succession

    _say(succession.rollback(State.runs, who=who, reason=reason))


@app.command(rich_help_panel=DAY)
def notify() -> int:
    """Send the messages that still wait. Exit code 80 if some could not be sent."""
    from openbook import telling

    return telling.deliver(_something(), _say)


data = typer.Typer(no_args_is_help=True, help="Prices and what hangs on them.")
app.add_typer(data, name="data", rich_help_panel=DATA)


@data.command("update")
def data_update(
    through: Annotated[
        str, typer.Option(help="Last session to fetch, YYYY-MM-DD; the last that is over if left out.")
    ] = "",
    profile: Annotated[str, typer.Option(help="Folder below params/.")] = "demo",
    whole: Annotated[bool, typer.Option("--whole", help="Ask for all of history again, not the last weeks.")] = False,
) -> None:
    """Fetch new sessions into the store."""
    from openbook import jobs

    _say(jobs.update_data(State.runs, through, profile=profile, whole=whole))


@data.command("check")
def data_check(
    folder: Annotated[str, typer.Argument(help="Folder, file or URL of a vendor; what it is will be guessed.")] = "",
    source: Annotated[str, typer.Option(help="YAML with a source: block, where guessing does not do.")] = "",
    beside: Annotated[str, typer.Option(help="A second source to compare with: a folder, or YAML.")] = "",
) -> int:
    """What a whole history has wrong with it, worst first, and the way out. Exit code 30: it would stop a run."""
    from openbook import jobs

    return jobs.check_data(folder, source=source, beside=beside, say=_say)


@data.command("compact")
def data_compact(
    profile: Annotated[str, typer.Option(help="Folder below params/.")] = "demo",
) -> None:
    """Fold what the updates left side by side in the store into one; nothing that is read from it changes."""
    from openbook import jobs

    _say(jobs.compact_data(State.runs, profile=profile))


@data.command("revisions")
def data_revisions(
    date: Annotated[str, typer.Argument(help="Session of a sealed daily run, YYYY-MM-DD.")],
) -> None:
    """What the vendor says today of that day, and what it would have done to its orders; changes nothing."""
    from openbook import hindsight

    for line in hindsight.look_back(State.runs, date).lines:
        _say(line)


def _runs_or_none_here() -> Path:
    """The runs folder, for a command that must only not write into it: a machine that signs needs no desk."""
    named = State.asked or os.environ.get(marker.RUNS)
    return State.runs if named or marker.desk_or_none() else Path("runs")


def _something() -> Path:
    """The runs folder, once there is something in it: a mistyped one must not read as a desk in order."""
    from openbook.record.runs import RunsFolder

    RunsFolder(State.runs).require_something()
    return State.runs


def _ask(proposal) -> str:
    """Show a proposal, and ask for the end of its hash."""
    for line in proposal.lines():
        _say(line)
    asked = "To approve, type the last six characters of the batch's hash"
    try:
        return typer.prompt(asked, default="", show_default=False)
    except typer.Abort:
        if sys.stdin.isatty():
            raise
        typer.echo()
        raise ApprovalError("nobody is there to answer, nothing was approved; use a terminal, or --token") from None


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


def _end(error: Exception, code: int, said: str) -> int:
    """Say why in one line, after the traceback if -v asked for more; returns the exit code."""
    from openbook.record.secrets import redact

    if State.verbose:
        typer.echo(redact("".join(traceback.format_exception(error))), err=True)
    typer.echo(redact(f"openbook: {' '.join(said.split())}"), err=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
