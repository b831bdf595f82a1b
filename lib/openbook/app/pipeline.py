"""What each command does, from the lock to the sealed folder; the only place besides notebooks that uses all rooms.

The order is the promise: check everything that can be checked, run the notebook on a stage, commit the book in one
transaction, then rename the stage to its sealed name. A crash between any two of these is healed by the next run: it
makes the same outputs again, finds them committed, and seals them.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import pandas as pd

from openbook.app import champions, own_profile, pre_trade_recheck
from openbook.app.book_places import books, the_book
from openbook.app.plan import ON_A_CLUSTER, Plan, kind_of, make_plan, next_version, require_sealed
from openbook.app.service import (
    announce_sealing,
    announce_update,
    awaited,
    note,
    parameters_digest,
    require_own_clock,
    store_of,
    update_prices,
    working,
)
from openbook.app.settings import NOTEBOOKS, DailyRun, differences, load_params
from openbook.common import secrets
from openbook.common.desk_folder import find_desk
from openbook.common.errors import (
    ConflictError,
    DataNotReady,
    NoSession,
    OpenbookError,
    ParameterError,
    SecretError,
    UsageError,
)
from openbook.common.parallel import check_engine
from openbook.common.strict_yaml import read_yaml
from openbook.common.text import duration
from openbook.execution.kill_switch import HALTED, REDUCE_ONLY
from openbook.ledger import book
from openbook.ledger.schema import SCHEMA_VERSION as BOOK_FORMAT
from openbook.ledger.supersede import supersede_session
from openbook.market import calendar
from openbook.market.checks import vendor_folder
from openbook.market.checks.history import Checkup
from openbook.market.sources import Source, origin, parse_source
from openbook.market.sources.files import FilesSource
from openbook.market.sources.folder import deliver
from openbook.market.store import Asked, compact, snapshot
from openbook.report.page import render_report
from openbook.runs import bytecode, halt_markers, libraries, provenance
from openbook.runs.kernel import Kernel, forking, start_kernel
from openbook.runs.preload import FOR_NOTEBOOKS
from openbook.runs.progress import following
from openbook.runs.runner import execute_notebook
from openbook.runs.runs_folder import RunsFolder, read_run
from openbook.runs.stage import Stage

Say = Callable[[str], None]
DEMO_CASH = 100_000.0
DEMO_SESSIONS = 20
DEMO_LAST = pd.Timestamp("2017-09-15")  # three of the bundled names vanish in the twenty sessions before
MONTHLY = ("train_candidates", "compare", "select_champion")
RESEARCH = ("train_candidates", "compare")  # take hours, and hold the runs folder only to begin and to seal
# Seconds after which a cell, and the whole run, is taken to hang. Tuning at full size takes hours on a small machine.
PATIENCE = {"train_candidates": (12 * 3600.0, 14 * 3600.0), "compare": (4 * 3600.0, 5 * 3600.0)}
USUAL_PATIENCE = (1800.0, 3600.0)
MOST_UNITS = 1_000_000  # of a whole share, in a book that is begun by command
MOST_NAMED = 6  # differences that one line names


@dataclass(frozen=True)
class Outcome:
    """How a run ended, if not with an error."""

    status: str  # done, already done, no session
    folder: Path | None
    sentence: str
    exit_code: int = 0


# ---- the commands ----


def init(runs: Path, *, cash: float, kind: str = "paper", share_units: int = 1) -> str:
    """Open the paper book, or the live one; BookError if there is one already.

    share_units : units of a whole share in which the book counts, and orders, for good. UsageError (64) for parts of a
    share in a live book: its orders leave for an auction, which takes whole shares; and for more parts than the twelve
    digits of trades.csv distinguish
    """
    if not 1 <= share_units <= MOST_UNITS:
        raise UsageError(f"--parts must be 1 to {MOST_UNITS:,}, not {share_units:,}")
    if kind == "live" and share_units != 1:
        raise UsageError("a live book holds whole shares only, since auctions take no fractional shares; omit --parts")
    place = the_book(runs, kind)[1]
    require_own_clock(kind)
    with working(runs):
        book.open_book(place, cash=cash, kind=kind, share_units=share_units)
    return f"opened {place} with {cash:,.2f} USD"


def run(
    notebook: str,
    date: str,
    runs: Path,
    *,
    profile: str = "demo",
    sets: tuple[str, ...] = (),
    kernel: Kernel | None = None,
    engine: str = "",
    supersede: bool = False,
) -> Outcome:
    """Run one notebook for one session, seal what it wrote, and commit the book if it is the daily one.

    Raises an OpenbookError with the exit code of what went wrong; then the book, its views and the champion are as they
    were, and what the attempt left lies below failed/.

    kernel : one that was started before; it is used up in any case
    engine : where the tasks run, "" for this machine; the outputs are the same, so it is no input
    supersede : where the date is sealed from other inputs or by other code, seal this run beside it as <date>.2, .3 …
    """
    if notebook not in NOTEBOOKS:
        raise UsageError(f"unknown notebook {notebook!r}; choose from {', '.join(NOTEBOOKS)}")
    if engine and notebook not in ON_A_CLUSTER:
        raise UsageError(f"{notebook} does not run on an engine; only {' and '.join(ON_A_CLUSTER)} do")
    check_engine(engine)
    day = calendar.parse_date(date)
    with kernel or start_kernel(FOR_NOTEBOOKS) as kernel:  # it imports while this process checks and fetches
        try:
            session = calendar.require_session(day)
        except NoSession as closed:
            return Outcome("no session", None, f"no session: {closed}")
        _require_over(session)
        settings = load_params(notebook, profile, sets, root=find_desk())
        with ExitStack() as alone:
            with working(runs) as folder, awaited(folder, notebook, session):
                about = (folder, notebook, session, profile, settings, engine)
                version = folder.version(notebook, session)
                plan = make_plan(*about, version=version or 1)
                if version and not (supersede and _differs(folder, plan)):
                    return _already_done(folder, plan)
                if version:
                    plan = make_plan(*about, version=next_version(plan))
                stage = _begin(folder, plan, kernel)
                alone.enter_context(folder.running(stage))
                handed = alone.enter_context(_own_prices(plan, stage))
                if notebook not in RESEARCH:
                    _execute(folder, plan, handed, stage, kernel)
                    return _finish(folder, plan, stage)
            _execute(folder, plan, handed, stage, kernel)  # for hours, perhaps: nobody waits for it
            with working(runs) as folder:
                return _finish(folder, plan, stage)


@forking(FOR_NOTEBOOKS)
def backfill(
    notebook: str,
    start: str,
    end: str,
    runs: Path,
    *,
    profile: str = "demo",
    sets: tuple[str, ...] = (),
    say: Say = print,
) -> list[Outcome]:
    """Run a notebook for each session of a span, oldest first. The first failure ends it and is raised.

    Raises ParameterError (78) before it begins for past sessions whose orders need an approval that can no longer
    be given, unless `sets` has require_manual_approval; see `_warn_of_waiting`.
    """
    first, last = calendar.parse_date(start), calendar.parse_date(end)
    if first > last:
        raise UsageError(f"--from {start} is after --to {end}; give the earlier date first")
    days = calendar.sessions(first, last)
    if not len(days):
        say(f"no sessions from {start} to {end}")
    if notebook == "daily_run":
        _warn_of_waiting([day for day in days if RunsFolder(runs).sealed(notebook, day) is None], profile, sets, say)
    outcomes = []
    for done, day in enumerate(days, start=1):
        outcome = run(notebook, f"{day:%Y-%m-%d}", runs, profile=profile, sets=sets)
        outcomes.append(outcome)
        say(f"[{done}/{len(days)}] {outcome.sentence}")
    return outcomes


def _warn_of_waiting(days: list[pd.Timestamp], profile: str, sets: tuple[str, ...], say: Say) -> None:
    """Warn before a backfill of `days` that their orders need approval, and that all but the last day's expire.

    A span that ends with the last completed session catches up, and a single session is an inspection: both go on. In a
    longer span of the past no order could ever be approved, so each session would propose the same first purchase
    again: ParameterError (78) names the alternatives, unless `sets` states what is wanted.
    """
    settings = load_params("daily_run", profile, sets, root=find_desk())
    if not (days and settings.require_manual_approval):
        return
    closed = calendar.last_closed()
    span = f"{days[0]:%Y-%m-%d}" if len(days) == 1 else f"{days[0]:%Y-%m-%d} to {days[-1]:%Y-%m-%d}"
    waits = f"the orders of {span} need a person's approval and expire at the next session"
    rehearse = "to simulate on the paper book: --set require_manual_approval=false"
    given = any(text.partition("=")[0] == "require_manual_approval" for text in sets)
    if len(days) > 1 and days[-1] < closed and not given:
        raise ParameterError(
            f"{waits}, so no position would ever be opened; {rehearse}; to catch up: --to "
            f"{closed:%Y-%m-%d}; to let them expire: --set require_manual_approval=true"
        )
    until = calendar.approval_deadline(days[-1])
    last = f"; only those of {days[-1]:%Y-%m-%d} can be approved, until {until:%Y-%m-%d %H:%M} UTC"
    say(f"{waits}{last if calendar.now() <= until else ''}; {rehearse}")


def named_date(text: str) -> str:
    """A date of a command line as YYYY-MM-DD: today in New York, and last, the last completed session, by name."""
    return calendar.spelled_out(text)


def update_data(runs: Path, through: str = "", *, profile: str = "demo", whole: bool = False) -> str:
    """Fetch what is new through a session, or the last that is over, into the store, and say what came and how long it
    took; `whole`: see `update_store`."""
    began = time.monotonic()
    settings = load_params("daily_run", profile, root=find_desk())
    last = calendar.parse_date(through) if through else calendar.last_closed()
    _require_over(last)
    with working(runs) as folder:
        report = update_prices(folder, settings.source, through=last, whole=whole)
    earlier = f", {report.earlier} sessions before the start of the store skipped" if report.earlier else ""
    return (
        f"{len(report.new_sessions)} new sessions, {len(report.late)} late, {len(report.revisions)} "
        f"revised, {len(report.refused)} bars rejected so far{earlier}; "
        f"{_asked(report.asked)}in {duration(time.monotonic() - began)}"
        + "".join(f"\n{note}" for note in report.second)
    )


def _asked(asked: Asked) -> str:
    """What a provider was asked for, one thing after the other; empty for one that was asked once."""
    kept = {what: f" ({n} kept from an earlier attempt)" for what, n in asked.reused.items()}
    said = ", ".join(f"{n:,} {what}{kept.get(what, '')}" for what, n in asked.totals.items())
    return f"{said} " if said else ""


def check_data(path: str, *, source: str = "", beside: str = "", write: str = "") -> tuple[Checkup, list[str]]:
    """A whole history checked: its faults, worst first, and whether they would stop a run; and what comes next.

    path : a folder, file or URL without a description; or nothing, if `source` is given
    source : a YAML file with a `source:` block, as in the parameters
    beside : a second source to compare with, either way
    write : params/NAME, where what was recognized is written as a profile; DataError if no run could use the prices
    """
    folder = own_profile.require_free(find_desk(), write) if write else None
    if bool(path) == bool(source):
        raise UsageError("give a FOLDER, or a --source FILE.yaml that describes it")
    other = None
    if beside:
        is_described = beside.endswith((".yaml", ".yml"))
        other = deliver(_source_in(beside)) if is_described else vendor_folder.delivery_of(_from_here(beside))
    found: Source | None
    if source:
        described = _source_in(source)
        checkup, found = vendor_folder.check_source(described, beside=other), described
    else:
        checkup = vendor_folder.check_folder(_from_here(path), beside=other)
        found = checkup.source
    if folder is None:
        return checkup, []
    if found is not None and not isinstance(found, FilesSource):
        raise UsageError("--write describes files; for another provider copy params/vendor and edit its source")
    return checkup, own_profile.write_profile(folder, path or source, found, checkup)


def _from_here(path: str) -> str:
    """A path of the command line, which starts at the current folder; one of the parameters starts at the desk."""
    return path if "://" in path else os.path.abspath(path)


def _source_in(file: str) -> Source:
    """The settings of a source in a YAML file: its `source:` block, or the whole file."""
    if not Path(file).is_file():
        raise UsageError(f"no file {file}; --source takes a YAML file with a `source:` block, as in the parameters")
    values = read_yaml(Path(file))
    values = values.get("source", values) if isinstance(values, dict) else values
    if not isinstance(values, dict):
        raise ParameterError(f"{file}: expected a `source:` block, found {type(values).__name__}")
    return parse_source(values)


def compact_data(runs: Path, *, profile: str = "demo") -> str:
    """Fold the deltas of the store into one."""
    settings = load_params("daily_run", profile, root=find_desk())
    with working(runs) as folder:
        store = store_of(runs, settings.source)
        n = compact(store, announce=partial(announce_update, folder, store))
    return f"{n} deltas merged into one" if n > 1 else "nothing to compact"


@forking(FOR_NOTEBOOKS)
def demo(runs: Path, *, say: Say = print) -> None:
    """Everything on the bundled data: train, compare, select, open a book, and 20 daily pages. Safe to repeat."""
    days = calendar.sessions(DEMO_LAST - pd.Timedelta(days=60), DEMO_LAST)[-DEMO_SESSIONS - 1 :]
    todo = [*((name, days[0]) for name in MONTHLY), *(("daily_run", day) for day in days[1:])]
    say(f"{len(todo)} notebooks on the bundled data, in {runs.resolve()}")
    for step, (notebook, day) in enumerate(todo, start=1):
        if notebook == "daily_run" and "paper" not in books(runs):
            say(init(runs, cash=DEMO_CASH))
        say(f"[{step}/{len(todo)}] {notebook} of {day:%Y-%m-%d} …")
        say(f"        {run(notebook, f'{day:%Y-%m-%d}', runs).sentence}")
    last = cast(Path, RunsFolder(runs).sealed("daily_run", DEMO_LAST))
    say(f"Done. Latest daily page: {(last / 'report.html').resolve()}")
    say(f"All daily pages are in {last.parent.resolve()}; `openbook open` shows the latest.")


def _require_over(day: pd.Timestamp) -> None:
    """DataNotReady (31) for a day whose prices are not final yet: a bar of an open session is not the last word."""
    if day > calendar.last_closed():
        close = (
            calendar.session_close(day)
            if calendar.is_session(day)
            else calendar.session_close(calendar.next_session(day))
        )
        final = close + calendar.SETTLING
        raise DataNotReady(
            f"{day:%Y-%m-%d} is not over: its prices are final at {final:%Y-%m-%d %H:%M} UTC; try again then"
        )


def _other_inputs(was: dict[str, str], now: dict[str, str]) -> list[str]:
    """What else a run stood on and is not the same now, but for the parameters, by name."""
    names = sorted({*was, *now} - {"parameters"})
    return [f"different {name.replace('_', ' ')}" for name in names if was.get(name, "") != now.get(name, "")]


# ---- one run ----


def _differs(folder: RunsFolder, plan: Plan) -> bool:
    """Whether the newest sealed run of that date was made from other inputs, or by other code."""
    was = read_run(cast(Path, folder.sealed(plan.notebook, plan.date)))
    now = provenance.deciding(plan.notebook)["sha256"]
    return was["inputs_hash"] != plan.inputs_hash or was["code"].get("sha256") != now


def _already_done(folder: RunsFolder, plan: Plan) -> Outcome:
    """The same inputs again are done; others are refused, and what is sealed stays as it is."""
    require_sealed(plan)
    sealed = cast(Path, folder.sealed(plan.notebook, plan.date))
    was = read_run(sealed)
    if was["inputs_hash"] != plan.inputs_hash:
        other = [*differences(was["params"], plan.params), *_other_inputs(was.get("inputs") or {}, plan.inputs)]
        more = f" and {len(other) - MOST_NAMED} more" if len(other) > MOST_NAMED else ""
        raise ConflictError(
            f"{plan.notebook} of {plan.date} is already sealed with different inputs: "
            f"{', '.join(other[:MOST_NAMED])}{more}; use --supersede to seal this run as "
            f"{plan.date}.{plan.version + 1}, or a separate runs folder: openbook --runs FOLDER"
        )
    if sealed == folder.latest(plan.notebook):
        _after(folder, plan, sealed)  # a crash may have come between sealing and this
    note(folder, sealed)
    said = f"already done: {plan.notebook} {plan.date} in {sealed}"
    return Outcome("already done", sealed, said, exit_code_of(read_run(sealed)))


def _begin(folder: RunsFolder, plan: Plan, kernel: Kernel) -> Stage:
    """A stage for a run, whose code is kept first."""
    if kernel.library != provenance.library_digest():
        raise ConflictError("the openbook library changed while this command was running; run the command again")
    bytecode.require_faithful()
    libraries.keep(folder.folder, provenance.sources(find_desk()))
    return folder.stage(
        plan.notebook,
        plan.date,
        profile=plan.profile,
        params=plan.params,
        inputs_hash=plan.inputs_hash,
        inputs={**plan.inputs, "parameters": parameters_digest(plan.params)},
        formats={"book": BOOK_FORMAT},
    )


def _execute(folder: RunsFolder, plan: Plan, handed: dict[str, Any], stage: Stage, kernel: Kernel) -> None:
    """Run the notebook on its stage and render it; what a failure left is kept below failed/."""
    notebook = provenance.notebook_file(find_desk(), plan.notebook)
    with _failing(folder, stage):
        parameters = {**plan.params, **handed, "stage": str(stage.folder)}
        with following(f"{plan.notebook} {plan.date}", kernel.steps) as progress:
            cell, whole = PATIENCE.get(plan.notebook, USUAL_PATIENCE)
            limits = {"cell_timeout": cell, "run_timeout": whole}
            execute_notebook(notebook, stage, parameters, progress=progress, kernel=kernel, **limits)
        stage.write("report.html", render_report(stage.folder / notebook.name))
        folder.prepare(stage)
        _require_no_secret(stage)


def _finish(folder: RunsFolder, plan: Plan, stage: Stage) -> Outcome:
    """Commit and seal a stage that was executed; a failure before the commit changes nothing."""
    with _failing(folder, stage):
        announce_sealing(folder, stage, plan.version)
        _commit(folder, plan, stage)
    done = read_run(stage.folder)
    sealed = folder.seal(stage, plan.version)
    _after(folder, plan, sealed)
    note(folder, sealed)
    said = [done["recorded"].get("verdict", "done"), *(done["recorded"].get(n) for n in ("champion_note", "warning"))]
    return Outcome("done", sealed, f"{plan.notebook} {plan.date}: {'. '.join(filter(None, said))}", exit_code_of(done))


@contextmanager
def _failing(folder: RunsFolder, stage: Stage) -> Iterator[None]:
    """What an error leaves of a stage goes below failed/, and the error says where."""
    try:
        yield
    except OpenbookError as error:
        left = folder.fail(stage, error)
        raise type(error)(f"{error} (output kept in {left})") from None


@contextmanager
def _own_prices(plan: Plan, stage: Stage) -> Iterator[dict[str, Any]]:
    """Where the inputs are. A training or a comparison reads prices as they are now, from links beside its stage: the
    store of the desk goes on meanwhile."""
    if plan.notebook not in RESEARCH or "store" not in plan.handed:
        yield plan.handed
        return
    with snapshot(plan.handed["store"], stage.folder.with_name(f"{plan.date}.store")) as store:
        yield plan.handed | {"store": str(store)}


def _require_no_secret(stage: Stage) -> None:
    """SecretError (65) if a file that is about to be sealed holds a password or a token."""
    if held := secrets.find(stage.folder):
        raise SecretError(f"a secret would have been sealed: {', '.join(held)}; remove it from the notebook")


def _commit(folder: RunsFolder, plan: Plan, stage: Stage) -> None:
    """The one transaction of a daily run: the settlement and the new orders, both read back and checked again."""
    if plan.notebook != "daily_run":
        return
    run, place, settings = read_run(stage.folder), plan.handed["book"], cast(DailyRun, plan.settings)
    if provenance.deciding(plan.notebook)["sha256"] != run["code"]["sha256"]:
        raise ConflictError("the code changed while the notebook was running; run it again")
    settlement = (stage.folder / "settlement.json").read_text(encoding="utf-8")
    state = book.read_book(place, before=plan.session)
    written = pre_trade_recheck.read_written(stage.folder)
    pre_trade_recheck.require_safe(written, state, settings, store=plan.handed["store"], session=plan.session)
    about = {
        "model": plan.inputs["champion"],
        "data": plan.inputs["data"],
        "parameters": parameters_digest(plan.params),
        "code": run["code"]["sha256"],
        "source": origin(settings.source),
    }
    decided: dict[str, Any] = {
        "inputs_hash": plan.inputs_hash,
        "settlement": settlement,
        "trades": written.trades,
        "switch": settings.kill_switch,
        "manual": settings.require_manual_approval,
        "about": about,
        "may_go": partial(_require_no_halt, folder.folder, kind_of(settings)),
    }
    if plan.version == 1:
        book.commit_session(place, session=plan.session, **decided)
    else:
        supersede_session(place, session=plan.date, version=plan.version, **decided)


def _require_no_halt(runs: Path, kind: str) -> None:
    """ConflictError (62) if a halt came while the notebook decided as if there were none."""
    if stops := halt_markers.stops(runs, kind):
        raise ConflictError(
            f"the {kind} book was halted while the notebook was running ({'; '.join(stops)}); no order was proposed. "
            "Run it again to get the closing orders"
        )


def _after(folder: RunsFolder, plan: Plan, sealed: Path) -> None:
    """What follows from a sealed run and can be made again from it: the champion's pointer."""
    if plan.notebook == "select_champion":
        bundle = sorted((sealed / "bundle").iterdir())
        champions.promote_selected(folder.folder, {path.name: path.read_bytes() for path in bundle})


def exit_code_of(run: dict) -> int:
    """0, or the exit code of a halted or reduce-only book."""
    return {HALTED: 20, REDUCE_ONLY: 21}.get(run["recorded"].get("switch"), 0)
