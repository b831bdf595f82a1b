"""The commands. Each is a few lines: it says what it does, calls `app`, prints, and returns an exit code."""

import json
import os
import re
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

if sys.platform == "win32":  # before anything is imported that asks for locks on files
    print("openbook runs on Linux and macOS; on Windows use WSL", file=sys.stderr)
    raise SystemExit(64)

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from openbook.common import desk_folder, interrupts
from openbook.common.errors import (
    ApprovalError,
    AuditError,
    DataError,
    OpenbookError,
    ParameterError,
    StorageError,
    UsageError,
)
from openbook.common.files import reason
from openbook.common.text import printable

START, RESEARCH, BOOK, LOOK, AUDIT = "Start here", "Research", "The book", "Look", "Audit"
PANELS = (START, RESEARCH, BOOK, LOOK, AUDIT)  # by who uses them and when


class CommandGroups(TyperGroup):
    """Shows the commands of --help panel by panel."""

    def list_commands(self, ctx) -> list[str]:
        """Names in the order of PANELS; within one, in that of this file."""
        panels: dict[str, Any] = {name: vars(command)["rich_help_panel"] for name, command in self.commands.items()}
        return sorted(panels, key=lambda name: PANELS.index(panels[name]))


app = typer.Typer(
    name="openbook",
    cls=CommandGroups,
    help="Every trading decision is an executed notebook that anyone can open, check and replay.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

INTERRUPTED = 130  # what a shell reports after Ctrl-C


Json = Annotated[bool, typer.Option("--json", help="One JSON document instead, for a program.")]


class _Runs:
    """The runs folder, looked for when a command first asks for it: `key` and --help need none."""

    def __get__(self, _, state) -> Path:
        runs = desk_folder.runs_folder(state.asked)
        os.environ.pop("OPENBOOK_CLOSURES", None)  # of another desk
        if (runs / "closures.json").exists():
            from openbook.runs.closures import announce

            announce(runs)
        return runs


class State:
    """What the options before the command decided."""

    asked: Path | None = None
    runs = _Runs()
    verbose = False


def _version(asked: bool) -> None:
    """Print the version, and end."""
    if asked:
        from importlib.metadata import version

        typer.echo(f"openbook {version('openbook')}")
        raise typer.Exit


@app.callback()
def options(
    desk: Annotated[
        Path | None, typer.Option(help="Desk folder; default: the one at or above the current folder.")
    ] = None,
    runs: Annotated[
        Path | None, typer.Option(help="Runs folder; default: the desk's runs folder, or OPENBOOK_RUNS.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Verbose output.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Every trading decision is an executed notebook that anyone can open, check and replay."""
    State.asked, State.verbose = runs, verbose
    if desk is not None:
        os.environ[desk_folder.DESK] = str(desk_folder.named_desk(desk))


@app.command(rich_help_panel=START)
def new(folder: Annotated[Path, typer.Argument(help="Folder to make; an existing one must be empty.")]) -> None:
    """Make a desk: a folder with notebooks, parameters and runs of your own."""
    from openbook.app.new import new_desk

    _say(new_desk(folder))


@app.command(rich_help_panel=START)
def demo() -> None:
    """Run everything on the bundled data: train, compare, select, then 20 daily pages.

    Outside a desk it makes one, ./openbook-demo.
    """
    from openbook.app import pipeline

    if desk_folder.desk_or_none() is None and not desk_folder.is_unmarked(Path.cwd()):
        from openbook.app.new import demo_desk

        desk, said = demo_desk(Path.cwd())
        os.environ[desk_folder.DESK] = str(desk)
        _say(said)
    pipeline.demo(State.runs, say=_say)


@app.command(rich_help_panel=BOOK)
def init(
    cash: Annotated[float, typer.Option(help="Opening cash, USD.")],
    book: Annotated[str, typer.Option(help="paper or live.")] = "paper",
    parts: Annotated[
        int, typer.Option(help="Fractional shares of a paper book: 1000 allows thousandths; 1: whole shares only.")
    ] = 1,
) -> None:
    """Create a paper or live book with its opening cash."""
    from openbook.app import pipeline

    _say(pipeline.init(State.runs, cash=cash, kind=book, share_units=parts))


@app.command(rich_help_panel=START)
def doctor(
    profile: Annotated[str, typer.Option(help="Parameter profile whose source is looked at.")] = "demo",
    json_: Json = False,
) -> int:
    """Check what a desk needs: versions, calendar, clock, disk, books, source, secrets, channels. Changes nothing.

    Exit code 78 if something fails; a warning is no failure.
    """
    from openbook.app import doctor

    named = State.asked or os.environ.get(desk_folder.RUNS) or desk_folder.desk_or_none()
    found = doctor.examine(State.runs if named else None, profile=profile)
    _answer(json_, doctor.document(found), [one.line for one in found])
    return ParameterError.exit_code if doctor.failed(found) else 0


@app.command(rich_help_panel=START)
def upgrade() -> None:
    """Upgrade books of an older openbook to the current format; backups are kept, sealed runs stay as they are."""
    from openbook.runs.upgrade import mark_desk

    if not (State.asked or os.environ.get(desk_folder.RUNS)):
        _say(mark_desk(Path.cwd()))
    from openbook.app.upgrade import upgrade

    upgrade(State.runs, _say)


@app.command(rich_help_panel=RESEARCH)
def run(
    notebook: Annotated[str, typer.Argument(help="train_candidates, compare, select_champion or daily_run.")],
    date: Annotated[
        str, typer.Option(help="Session whose close is the latest known data: YYYY-MM-DD, today, or last (completed).")
    ],
    profile: Annotated[str, typer.Option(help="Parameter profile: a folder in params/.")] = "demo",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, overrides the profile; repeatable.")
    ] = None,
    engine: Annotated[str, typer.Option(help="Dask scheduler, dask://host:8786; default: this machine.")] = "",
    memory: Annotated[
        float | None, typer.Option(help="Memory limit per notebook process, GiB; default: no limit.")
    ] = None,
    supersede: Annotated[
        bool,
        typer.Option(
            "--supersede",
            help="Replace a run of that date that had other inputs: the new one is sealed as DATE.2, and counts.",
        ),
    ] = False,
) -> int:
    """Run one notebook and seal its outputs (hashed, and never changed again).

    Exit code 20: the book is HALTED, 21: REDUCE_ONLY.
    """
    from openbook.runs.kernel import start_kernel
    from openbook.runs.preload import FOR_NOTEBOOKS

    runs = State.runs
    _warn_of_secrets()
    # It imports what the notebook needs while we import what the command needs.
    with start_kernel(FOR_NOTEBOOKS, memory=memory) as kernel:
        from openbook.app import pipeline
        from openbook.notify import alerts

        date = pipeline.named_date(date)

        def act() -> int:
            given: dict[str, Any] = {
                "profile": profile,
                "sets": tuple(set_ or ()),
                "engine": engine,
                "supersede": supersede,
            }
            done = pipeline.run(notebook, date, runs, kernel=kernel, **given)
            _say(done.sentence)
            return done.exit_code

        return alerts.watched(runs, f"run {notebook}", date, act, _say)


@app.command(rich_help_panel=RESEARCH)
def backfill(
    notebook: Annotated[str, typer.Argument(help="Usually daily_run.")],
    start: Annotated[str, typer.Option("--from", help="First session, YYYY-MM-DD.")],
    end: Annotated[str, typer.Option("--to", help="Last session, YYYY-MM-DD.")],
    profile: Annotated[str, typer.Option(help="Parameter profile: a folder in params/.")] = "demo",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, overrides the profile; repeatable.")
    ] = None,
) -> int:
    """Run a notebook for each session of a date range, oldest first; stop at the first failure.

    Orders pending approval expire at the next session. If the range ends with the last completed session, the
    orders of that session can still be approved. Earlier sessions cannot be approved any more; simulate them on the
    paper book with --set require_manual_approval=false, otherwise exit code 78.
    """
    from openbook.app import pipeline
    from openbook.notify import alerts

    _warn_of_secrets()

    def act() -> int:
        done = pipeline.backfill(notebook, start, end, State.runs, profile=profile, sets=tuple(set_ or ()), say=_say)
        return done[-1].exit_code if done else 0

    return alerts.watched(State.runs, f"backfill {notebook}", end, act, _say)


@app.command(rich_help_panel=BOOK)
def approve(
    date: Annotated[str, typer.Argument(help="Session on which the orders were decided, YYYY-MM-DD.")],
    by: Annotated[str, typer.Option(help="Name of the approver, recorded in the book.")] = "",
    token: Annotated[
        list[Path] | None,
        typer.Option(help="Signed approval token, instead of --by; repeat it if two people must sign."),
    ] = None,
) -> None:
    """Show the orders of a session and approve them, or approve them with tokens signed by listed approvers."""
    from openbook.app import commands
    from openbook.runs.witness import head_line

    if bool(token) == bool(by):
        raise UsageError("give either --by NAME, or --token FILE")
    if token:
        _say(commands.approve_by_token(State.runs, date, tokens=token))
    else:
        _say(commands.approve(State.runs, date, who=by, ask=_ask))
    _say(f"log head {head_line(State.runs)}")


@app.command(rich_help_panel=BOOK)
def reject(
    date: Annotated[str, typer.Argument(help="Session on which the orders were decided, YYYY-MM-DD.")],
    reason: Annotated[str, typer.Option(help="Reason, recorded in the book.")],
    by: Annotated[str, typer.Option(help="Name, recorded in the book.")],
) -> None:
    """Reject the orders of a session, approved or not."""
    from openbook.app import commands

    _say(commands.reject(State.runs, date, who=by, reason=reason))


@app.command(rich_help_panel=BOOK)
def export(
    date: Annotated[str, typer.Argument(help="Session on which the orders were decided, YYYY-MM-DD.")],
    form: Annotated[str, typer.Option("--format", help="generic, ibkr or alpaca.")] = "generic",
    out: Annotated[Path | None, typer.Option(help="Output file, outside the runs folder; default: print.")] = None,
    paper_account: Annotated[
        bool, typer.Option("--paper-account", help="Orders of the paper book, for a broker's paper account.")
    ] = False,
) -> None:
    """Write the approved orders of a session in a broker's format; nothing is sent. Paper orders are marked PAPER."""
    from openbook.app import commands
    from openbook.common.files import hand_out

    _, data, left_out = commands.export(State.runs, date, form, paper_account=paper_account)
    if left_out:
        typer.echo(left_out, err=True)
    if out is None:
        typer.echo(data.decode(), nl=False)
    else:
        hand_out(out, data, runs=State.runs)
        _say(f"{out}: orders of {date} for {form}")


@app.command(rich_help_panel=BOOK)
def fills(
    date: Annotated[str, typer.Argument(help="Session on which the orders were decided, YYYY-MM-DD.")] = "",
    file: Annotated[Path | None, typer.Argument(help="CSV: fill_id,order_id,shares,price,commission,date.")] = None,
    who: Annotated[
        str, typer.Option(help="Your name: book fills that match no approved order, under your responsibility.")
    ] = "",
    reason: Annotated[str, typer.Option(help="Reason, recorded in the book.")] = "",
    force: Annotated[
        str, typer.Option(help="Fill ids, with commas, to take although price, commission, shares or date look wrong.")
    ] = "",
    reverse: Annotated[str, typer.Option(help="Fill id to take back, instead of a file.")] = "",
) -> None:
    """Import broker fills into the live book; with --who also late fills and fills without an approved order.

    With --reverse FILL_ID, take back one that was recorded by mistake; then import the right one under another id.
    """
    from openbook.app import commands

    if bool(reverse) == bool(file) or (reverse and (date or force)):
        raise UsageError("give either DATE and FILE, or --reverse FILL_ID with --who and --reason")
    if reverse:
        _say(commands.reverse(State.runs, reverse, who=who, reason=reason))
    elif file is not None:
        ids = [text.strip() for text in force.split(",") if text.strip()]
        _say(commands.fills(State.runs, date, file, accepted=(who, reason), forced=ids))


@app.command(rich_help_panel=BOOK)
def reconcile(
    file: Annotated[Path, typer.Argument(help="CSV of the broker's statement: symbol,shares[,price], and a row CASH.")],
    book: Annotated[str, typer.Option(help="paper or live; required if both exist.")] = "",
    who: Annotated[
        str, typer.Option(help="Your name: correct the book to the statement, under your responsibility.")
    ] = "",
    reason: Annotated[str, typer.Option(help="Reason, recorded in the book.")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="With --who: accept a difference that looks like a typing error.")
    ] = False,
) -> None:
    """Compare a broker statement with the book; with --who, correct the book to it."""
    from openbook.app import commands

    _say(commands.reconcile(State.runs, file, kind=book, accepted=(who, reason), force=force))


@app.command(rich_help_panel=BOOK)
def rename(
    symbol: Annotated[str, typer.Argument(help="Current ticker in the book.")],
    new: Annotated[str, typer.Argument(help="New ticker.")],
    date: Annotated[str, typer.Option(help="First session under the new ticker, YYYY-MM-DD.")],
    who: Annotated[str, typer.Option(help="Name, recorded in the book.")],
    reason: Annotated[str, typer.Option(help="Reason, recorded in the book.")],
    book: Annotated[str, typer.Option(help="paper or live; required if both exist.")] = "",
) -> None:
    """Record a ticker change; positions, orders and cost basis carry over to the new ticker."""
    from openbook.app import commands

    _say(commands.rename(State.runs, symbol=symbol, to=new, date=date, who=who, reason=reason, kind=book))


@app.command(rich_help_panel=BOOK)
def closure(
    date: Annotated[str, typer.Argument(help="Day of the closure or early close, YYYY-MM-DD.")],
    who: Annotated[str, typer.Option(help="Name, recorded in the list.")],
    reason: Annotated[str, typer.Option(help="Reason, recorded in the list.")],
    close: Annotated[str, typer.Option(help="For an early close: HH:MM New York time.")] = "",
    reverse: Annotated[
        bool, typer.Option("--reverse", help="Take a closure back that was recorded by mistake.")
    ] = False,
) -> None:
    """Record an unscheduled exchange closure or, with --close, an early close.

    Without --close the day is no session, and its orders move to the next one.
    """
    from openbook.app import commands

    if reverse and close:
        raise UsageError("give either --close or --reverse")
    if reverse:
        _say(commands.reverse_closure(State.runs, date, who=who, reason=reason))
    else:
        _say(commands.closure(State.runs, date, who=who, reason=reason, close=close))


@app.command(rich_help_panel=BOOK)
def cash(
    flow: Annotated[str, typer.Argument(help="deposit, withdrawal, fee or interest.")],
    amount: Annotated[str, typer.Argument(help="USD, above 0, like 1234.56.")],
    who: Annotated[str, typer.Option(help="Name, recorded in the book.")],
    reason: Annotated[str, typer.Option(help="Reason, recorded in the book.")],
    book: Annotated[str, typer.Option(help="paper or live; required if both exist.")] = "",
    again: Annotated[bool, typer.Option("--again", help="Record an identical entry a second time.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Record an amount that looks like a typing error.")] = False,
) -> None:
    """Record a cash flow without a trade; an identical repeat is ignored unless --again."""
    from openbook.app import commands

    said = {"flow": flow, "amount": amount, "who": who, "reason": reason}
    _say(commands.cash(State.runs, **said, kind=book, again=again, force=force))


@app.command(rich_help_panel=BOOK)
def views(
    book: Annotated[str, typer.Option(help="paper or live; required if both exist.")] = "",
) -> None:
    """Rebuild the CSV views of a book, overwriting manual edits."""
    from openbook.app import service

    _say(service.rebuild_views(State.runs, book))


@app.command(rich_help_panel=BOOK)
def halt(
    who: Annotated[str, typer.Option(help="Name, recorded in the book.")],
    reason: Annotated[str, typer.Option(help="Reason, recorded in the book.")],
    book: Annotated[str, typer.Option(help="paper or live; default: all books.")] = "",
) -> None:
    """Halt: void every open order and block new buys until openbook reset. Works whatever else is wrong."""
    from openbook.app import commands
    from openbook.notify import alerts

    runs = desk_folder.runs_folder(State.asked)  # without the closures: their file may be damaged
    _say(commands.halt(runs, who=who, reason=reason, kind=book))
    try:
        alerts.alarm(runs, f"HALTED by {who}", reason, _say)
    except (OpenbookError, OSError) as error:
        _say(f"the alarm could not be sent: {error}")


@app.command(rich_help_panel=BOOK)
def reset(
    who: Annotated[str, typer.Option(help="Name, recorded in the book.")],
    reason: Annotated[str, typer.Option(help="Why it is safe to resume, recorded in the book.")],
    book: Annotated[str, typer.Option(help="paper or live; required if both exist.")] = "",
    rearm: Annotated[
        bool, typer.Option("--rearm", help="Also while ACTIVE: restart the loss and peak history.")
    ] = False,
    clock: Annotated[
        bool, typer.Option("--clock", help="Instead: confirm that this machine's clock is right and the log's is not.")
    ] = False,
    restored: Annotated[
        bool,
        typer.Option(
            "--restored",
            help="Instead: go on although the log and what it names do not agree, after a backup; halts every book.",
        ),
    ] = False,
    key: Annotated[
        Path | None,
        typer.Option(help="Private key of --who; needed for a live book if the desk lists its approvers."),
    ] = None,
) -> None:
    """Reset the kill switch of a book to ACTIVE."""
    from openbook.app import commands, service

    if (clock or restored) and (book or rearm or key or (clock and restored)):
        raise UsageError("--clock and --restored are about the log, not about a book; give one of them alone")
    if clock:
        _say(service.confirm_clock(State.runs, who=who, reason=reason))
        return
    if restored:
        from openbook.app.restored import accept

        _say(accept(desk_folder.runs_folder(State.asked), who=who, reason=reason))
        return
    _say(commands.reset(State.runs, who=who, reason=reason, kind=book, rearm=rearm, key=key))


@app.command(rich_help_panel=BOOK)
def key(file: Annotated[Path, typer.Argument(help="Private key to create, outside the runs folder.")]) -> None:
    """Create a private key for signing approvals, and print its public key for the desk's approvers.yaml.

    Every approver creates a key of their own, on their own machine. The private key stays there; the public key is no
    secret.
    """
    from openbook.runs.approvers import FILE, lines_for_list
    from openbook.runs.key_files import create_key

    public = create_key(file, _runs_or_none_here())
    _say(f"{file}: new private key created; keep it to yourself, for anyone who has it can sign in your name")
    _say(f"public key {public}")
    _say(f"for {FILE}, in the folder of the desk, with your name:")
    for line in lines_for_list([public]):
        _say(line)


@app.command(rich_help_panel=BOOK)
def sign(
    batch: Annotated[str, typer.Argument(help="Full batch hash, as shown by approve and status.")],
    date: Annotated[str, typer.Option(help="Session on which the orders were decided, YYYY-MM-DD.")],
    by: Annotated[str, typer.Option(help="Name of the approver, as listed in the desk's approvers.yaml.")],
    key: Annotated[Path, typer.Option(help="Private key of the approver.")],
    out: Annotated[Path, typer.Option(help="Token file to write.")],
    orders: Annotated[str, typer.Option(help="Ids of the orders, with commas; default: all orders of the batch.")] = "",
) -> None:
    """Sign the approval of a batch, on any machine; the private key never leaves it."""
    from openbook.app import commands
    from openbook.common.files import hand_out

    runs = _runs_or_none_here()
    hand_out(out, commands.sign(batch, date, who=by, key=key, runs=runs, orders=orders), runs=runs)
    _say(f"{out}: approves {date}; use it with: openbook approve {date} --token {out.name}")


@app.command(rich_help_panel=AUDIT)
def verify(
    head: Annotated[
        str,
        typer.Option(help="A head of the log that was kept elsewhere: its hash, or a saved mail or text that has it."),
    ] = "",
    restored: Annotated[
        bool, typer.Option("--restored", help="Show which parts of a backup belong together, and how to go on.")
    ] = False,
    json_: Json = False,
) -> int:
    """Check all hashes and list what was altered. Exit code 90 if anything was."""
    from openbook.app import audit

    if restored:
        from openbook.app.restored import restored_lines

        lines, agree = restored_lines(_something())
        _answer(json_, {"agree": agree, "lines": lines}, lines)
        return 0 if agree else AuditError.exit_code
    problems, notes = audit.verify(_something(), head=head or None)
    _answer(json_, {"problems": problems, "notes": notes}, [*notes, *problems])
    return AuditError.exit_code if problems else 0


@app.command(rich_help_panel=AUDIT)
def replay(
    date: Annotated[str, typer.Argument(help="Session of a sealed daily run, YYYY-MM-DD.")],
) -> int:
    """Re-run a sealed day in a scratch folder and compare its outputs byte for byte."""
    from openbook.app import audit

    different, lines = audit.replay(State.runs, date)
    for line in lines:
        _say(line)
    return AuditError.exit_code if different else 0


@app.command(rich_help_panel=RESEARCH)
def diff(
    first: Annotated[str, typer.Argument(help="Session of a sealed daily run, YYYY-MM-DD.")],
    second: Annotated[str, typer.Argument(help="Second session, usually a later one.")] = "",
    weights: Annotated[str, typer.Option(help="CSV file (symbol, weight) to put beside the first session.")] = "",
    json_: Json = False,
) -> None:
    """Compare two days: attribution of the change in target weights, parameters, champion, code, orders.

    With --weights FILE in the place of the second day: a parallel run beside the first.
    """
    if bool(second) == bool(weights):
        raise UsageError("give a second session, or --weights FILE to put beside the first")
    if weights:
        from openbook.app.weights_beside import beside

        other = beside(State.runs, first, weights)
        return _answer(json_, other.document if json_ else {}, [] if json_ else other.lines)
    from openbook.app.diff import diff

    found = diff(State.runs, first, second)
    _answer(json_, found.document if json_ else {}, [] if json_ else found.lines)


@app.command(rich_help_panel=RESEARCH)
def whatif(
    date: Annotated[str, typer.Argument(help="Session of a sealed daily run, YYYY-MM-DD.")],
    set_: Annotated[
        list[str], typer.Option("--set", help="key=value, a parameter of that day or of its champion; repeatable.")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder in which to keep the page, outside the runs folder.")] = None,
) -> None:
    """Re-run a sealed day with changed parameters in a scratch folder: orders, risk and cost."""
    from openbook.app.whatif import try_it

    for line in try_it(State.runs, date, tuple(set_), out=out).lines:
        _say(line)


@app.command(rich_help_panel=LOOK)
def status(
    part: Annotated[str, typer.Argument(help="positions, orders, runs or log, as a table; default: a summary.")] = "",
    json_: Json = False,
) -> int:
    """Show the book, the champion and the latest runs. Exit code 90: one of those was altered."""
    from openbook.app.status import ALTERED, status_document, status_lines
    from openbook.app.status_tables import read_part, table_lines

    document: dict[str, Any] = {}
    if part:
        rows, altered = read_part(_something(), part)
        document = {part: rows, "altered": altered}
        lines = [*(f"{ALTERED}   {said}" for said in altered), *table_lines(rows)]
    elif json_:
        document, lines = status_document(_something()), []
        altered = document["altered"]
    else:
        lines = status_lines(_something())
        altered = [line for line in lines if line.startswith(ALTERED)]
    _answer(json_, document, lines)
    return AuditError.exit_code if altered else 0


@app.command("open", rich_help_panel=LOOK)
def open_page(
    date: Annotated[
        str | None, typer.Argument(help="Session of the page; default: the latest. docs: the documentation.")
    ] = None,
) -> None:
    """Open the daily page, or with docs the documentation, in the browser."""
    if date == "docs":
        from openbook.report.docs_site import open_docs

        page = open_docs(_say)
    else:
        from openbook.runs.runs_folder import page_of

        page = page_of(State.runs, date)
    _say(str(page))
    if sys.stdout.isatty():
        typer.launch(str(page))


@app.command(rich_help_panel=RESEARCH)
def champion(json_: Json = False) -> None:
    """Who the champion is, since when and why, and who was champion before."""
    from openbook.runs.lineage import champion_document, champion_lines

    _answer(json_, champion_document(_something()), champion_lines(_something()))


@app.command(rich_help_panel=RESEARCH)
def rollback(
    who: Annotated[str, typer.Option(help="Name, recorded in the history.")],
    reason: Annotated[str, typer.Option(help="Reason, recorded in the history.")],
) -> None:
    """Restore the previous champion; a rolled-back one returns only through a new selection."""
    from openbook.app import champions

    _say(champions.rollback(State.runs, who=who, reason=reason))


@app.command(rich_help_panel=LOOK)
def notify() -> int:
    """Send queued messages. Exit code 80 if some could not be sent."""
    from openbook.app.service import require_own_summaries
    from openbook.notify import alerts

    require_own_summaries(_something())
    return alerts.deliver(State.runs, _say)


data = typer.Typer(no_args_is_help=True, help="Price store and data checks.")
app.add_typer(data, name="data", rich_help_panel=RESEARCH)


@data.command("update")
def data_update(
    through: Annotated[
        str, typer.Option(help="Last session to fetch, YYYY-MM-DD; default: the last completed one.")
    ] = "",
    profile: Annotated[str, typer.Option(help="Parameter profile: a folder in params/.")] = "demo",
    whole: Annotated[
        bool, typer.Option("--whole", help="Fetch the full history again, not only the last weeks.")
    ] = False,
) -> None:
    """Fetch new sessions into the store."""
    from openbook.app import pipeline

    _say(pipeline.update_data(State.runs, through, profile=profile, whole=whole))


@data.command("check")
def data_check(
    folder: Annotated[str, typer.Argument(help="Vendor folder, file or URL; its layout is detected.")] = "",
    source: Annotated[str, typer.Option(help="YAML with a source: block, if detection fails.")] = "",
    beside: Annotated[str, typer.Option(help="A second source to compare with: a folder, or YAML.")] = "",
    write: Annotated[str, typer.Option(help="params/NAME: write what was recognized as a profile that runs.")] = "",
    json_: Json = False,
) -> int:
    """Check a full price history: findings, worst first, and how to fix them. Exit code 30: it would stop a run."""
    from openbook.app import pipeline

    checkup, following = pipeline.check_data(folder, source=source, beside=beside, write=write)
    lines = [] if json_ else [*checkup.lines(), *following]
    _answer(json_, checkup.document() | {"written": write} if json_ else {}, lines)
    return 0 if checkup.usable else DataError.exit_code


@data.command("compact")
def data_compact(
    profile: Annotated[str, typer.Option(help="Parameter profile: a folder in params/.")] = "demo",
) -> None:
    """Merge the deltas of the store into one; what is read from it does not change."""
    from openbook.app import pipeline

    _say(pipeline.compact_data(State.runs, profile=profile))


@data.command("revisions")
def data_revisions(
    date: Annotated[str, typer.Argument(help="Session of a sealed daily run, YYYY-MM-DD.")],
) -> None:
    """List restatements since a sealed day and their impact on its orders; changes nothing."""
    from openbook.app import revision_impact

    for line in revision_impact.revision_impact(State.runs, date).lines:
        _say(line)


def _runs_or_none_here() -> Path:
    """The runs folder, for a command that must only not write into it: a machine that signs needs no desk."""
    named = State.asked or os.environ.get(desk_folder.RUNS)
    return State.runs if named or desk_folder.desk_or_none() else Path("runs")


def _something() -> Path:
    """The runs folder, once there is something in it: a mistyped one must not read as a desk in order."""
    from openbook.runs.runs_folder import RunsFolder

    RunsFolder(State.runs).require_something()
    return State.runs


def _ask(proposal) -> str:
    """Show a proposal, and ask for the end of its hash."""
    if not sys.stdin.isatty():
        raise ApprovalError(
            "an approval is typed at a terminal by the person who read the orders, and this is none; nothing was "
            "approved. Elsewhere use a signed token: openbook sign, then approve --token"
        )
    for line in proposal.lines():
        _say(line)
    asked = "To approve, type the last six characters of the batch's hash"
    return typer.prompt(asked, default="", show_default=False)


def _answer(as_json: bool, document: dict[str, Any], lines: list[str]) -> None:
    """Print the answer to a question: lines for a person, or one JSON document for a program."""
    if as_json:
        typer.echo(json.dumps(document, indent=1, allow_nan=False))  # ASCII: a terminal gets no control character
        return
    for line in lines:
        _say(line)


def _say(line: str) -> None:
    """Print one line, or some; a terminal gets no control character of a ticker, a reason or a name."""
    typer.echo("\n".join(printable(each) for each in line.split("\n")))


def _keep_docstrings() -> None:
    """Start again without -OO or PYTHONOPTIMIZE=2: LightGBM and XGBoost read docstrings when they are imported."""
    if sys.flags.optimize < 2:
        return
    first = next((i for i, word in enumerate(sys.orig_argv[1:], start=1) if word[:1] != "-" or word in ("-m", "-c")), 1)
    options = [word for word in sys.orig_argv[1:first] if not re.fullmatch("-O+", word)]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONOPTIMIZE"}
    os.execve(sys.executable, [sys.executable, *options, *sys.orig_argv[first:]], kept)


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code; an error that a user can meet is one line, never a traceback."""
    if arguments is None:
        _keep_docstrings()
    State.verbose = False
    interrupts.begin()
    try:
        result = app(arguments, standalone_mode=False)
    except OpenbookError as error:
        return _end(error, error.exit_code, str(error))
    except TyperException as error:
        error.show()  # type: ignore[attr-defined]  # as those of a command line can
        return UsageError.exit_code
    except (KeyboardInterrupt, typer.Abort):
        result = INTERRUPTED
    except OSError as error:
        return _end(error, StorageError.exit_code, f"{error.filename or 'the disk'}: {reason(error)}")
    except Exception as error:  # a bug: its place is for whoever asks with -v
        return _end(
            error, OpenbookError.exit_code, f"unexpected {type(error).__name__}: {error}; use -v for the traceback"
        )
    if result == INTERRUPTED:  # typer, too, answers Ctrl-C with this code, and says nothing
        said = f"but {', '.join(done)}; run the same command again to finish" if (done := interrupts.done()) else ""
        typer.echo(f"openbook: interrupted; {said or 'nothing was changed'}", err=True)
    return result if isinstance(result, int) else 0


def _warn_of_secrets() -> None:
    """Name the secrets that nobody can find in what a run writes; they do not stop it."""
    from openbook.common.secrets import unrecognizable

    if names := unrecognizable():
        typer.echo(
            f"openbook: warning: {', '.join(names)}: too short or too plain to be found if a run writes it down; "
            "use at least 8 characters with letters beside digits",
            err=True,
        )


def _end(error: Exception, code: int, said: str) -> int:
    """Say why in one line, after the traceback if -v asked for more; returns the exit code."""
    from openbook.common.secrets import redact

    if State.verbose:
        typer.echo(redact("".join(traceback.format_exception(error))), err=True)
    typer.echo(redact(f"openbook: {printable(' '.join(said.split()))}"), err=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
