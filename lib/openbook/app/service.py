"""What every command that changes state does around the change: lock the folder, check the clock, append to the log."""

import hashlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from openbook.app.agreement import require_agreement
from openbook.app.book_places import book_place, books, event_digests, the_book
from openbook.common.constants import BOOK_KINDS
from openbook.common.errors import (
    ApprovalError,
    AuditError,
    BookError,
    CalendarError,
    DataNotReady,
    OpenbookError,
    UsageError,
)
from openbook.common.files import storage
from openbook.common.text import require_line
from openbook.execution.kill_switch import ACTIVE, HALTED
from openbook.execution.orders import TRADE_COLUMNS
from openbook.ledger import book, book_commands
from openbook.market import calendar
from openbook.market.sources import Source
from openbook.market.store import StoreReport, update_store
from openbook.report.calendar_page import publish_calendar
from openbook.runs import audit_log, closures, halt_markers, last_head, registry, store_states, views
from openbook.runs.progress import watching
from openbook.runs.runs_folder import BOOKS, STORE, UNFINISHED, RunsFolder, read_run, sealed_name
from openbook.runs.stage import Stage, csv_bytes, json_bytes, plain_text
from openbook.runs.verification import run_digest

MOMENT = "%Y-%m-%d %H:%M:%S UTC"  # text that sorts by time
SLACK = pd.Timedelta(minutes=5)  # by which two machines that share a folder may differ
FAR = pd.Timedelta(days=92)  # a clock so far ahead of the last entry is more likely wrong than the desk idle
CLOCK = "clock"  # kind of an entry of the log with which a person confirmed the clock


@contextmanager
def working(runs: Path) -> Iterator[RunsFolder]:
    """The runs folder, held alone; its log is brought up to date before and after, views and calendar after it, failed
    or not.
    Halts that a book has not recorded yet are recorded first, as far as that is possible.

    Raises LockError (61), CalendarError (32) if the clock is behind the log or far ahead of it, ApprovalError (55) if
    it is overridden while there is a live book, AuditError (90) if what the log knows is gone, or is another now.
    """
    folder = RunsFolder(runs)
    with folder.lock():
        record_halts(folder)
        require_own_clocks(runs)
        require_clock(runs)
        require_agreement(runs)
        note(folder)
        try:
            yield folder
            note(folder)
        except BaseException:
            with suppress(OpenbookError):  # the first error is the one that counts
                publish_all_views(folder)
            raise
        else:
            publish_all_views(folder)
        finally:
            publish_calendar(folder.folder)


@contextmanager
def awaited(folder: RunsFolder, notebook: str, session: pd.Timestamp) -> Iterator[None]:
    """Note an attempt that ended because prices of `session` are missing (31): until the deadline it only waits."""
    try:
        yield
    except DataNotReady as error:
        until = calendar.prices_deadline(session)
        folder.wait(notebook, session, error, tried=clock_time(calendar.now()), until=clock_time(until))
        raise


def clock_time(moment: pd.Timestamp) -> str:
    """A moment to the minute; text that sorts by time."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def require_clock(runs: Path) -> None:
    """CalendarError (32) if this machine's clock is behind the last entry of the log, or so far ahead of it that
    one command would keep every later one out, should the clock be wrong."""
    last = audit_log.last_when(runs)
    if last is None:
        return
    now, before = calendar.now(), _moment_of(last)
    written = pd.Timestamp((runs / audit_log.FILE).stat().st_mtime, unit="s", tz="UTC")  # also where days are simulated
    way_out = "correct the clock; if it is right: openbook reset --clock --who NAME --reason WHY"
    if now + SLACK < before:
        raise CalendarError(f"the clock shows {when()}, before the last log entry at {last}; {way_out}")
    if now > max(before, written) + FAR:
        days = (now - max(before, written)).days
        raise CalendarError(f"the clock shows {when()}, {days} days after the last log entry at {last}; {way_out}")


def _moment_of(last: str) -> pd.Timestamp:
    """The time of an entry of the log; AuditError (90) for a text that is none."""
    try:
        return pd.Timestamp(datetime.strptime(last, MOMENT), tz="UTC")
    except ValueError:
        raise AuditError(
            f"{audit_log.FILE} ends with an entry of {last!r}, which is not a time; {audit_log.WAY_OUT}"
        ) from None


def confirm_clock(runs: Path, *, who: str, reason: str) -> str:
    """Record that this machine's clock is right, whatever the last entry of the log says; later entries follow it."""
    said = f"{require_line(who, '--who')}: {require_line(reason, '--reason')}"
    folder = RunsFolder(runs)
    require_own_clocks(runs)
    with folder.lock():
        last, now = audit_log.last_when(runs), when()
        if last is None:
            raise UsageError(f"no log in {runs.absolute()}; there is no clock to confirm")
        subject = f"{now} after {last}, {said}"
        audit_log.record(runs, [(CLOCK, subject, hashlib.sha256(subject.encode()).hexdigest())], when=now)
        note(folder)
    return f"the log goes on at {now}; its last entry before was at {last}"


def log_time(runs: Path) -> str:
    """The time of an entry that must be written in any case: never before the last entry, so that the log
    runs forwards, and never ahead of this machine for the sake of a rehearsal."""
    moment = calendar.machine_now()
    with suppress(CalendarError):  # OPENBOOK_NOW is no moment
        moment = min(moment, calendar.now())
    return max(f"{moment:{MOMENT}}", audit_log.last_when(runs) or "")


def require_own_clock(kind: str) -> None:
    """ApprovalError (55) for a live book while the clock is overridden."""
    if kind == "live" and os.environ.get(calendar.REHEARSAL):
        raise ApprovalError(f"{calendar.REHEARSAL} is for simulating past days on the paper book; unset it")


def require_own_clocks(runs: Path) -> None:
    """ApprovalError (55) for a desk with a live book while the clock is overridden: its log is of real days."""
    for kind in books(runs):
        require_own_clock(kind)


def note(folder: RunsFolder, sealed: Path | None = None, *, at: str | None = None) -> None:
    """Append what is new to the log: events of the books, promotions, closures of the exchange, and a
    run that was just sealed.

    at : the time of the entries; now if left out
    """
    told = list(store_states.unlogged(folder.folder))
    for kind, place in books(folder.folder).items():
        told += [("event", *pair) for pair in event_digests(kind, place).items()]
    told += [("promotion", *pair) for pair in registry.digests(folder.folder).items()]
    told += [("closure", *pair) for pair in closures.digests(folder.folder).items()]
    if sealed is not None:
        told.append(("run", f"{sealed.parent.name}/{sealed.name}", run_digest(sealed)))
    audit_log.record(folder.folder, told, when=at or when())
    last_head.remember(folder.folder)


def announce_sealing(folder: RunsFolder, stage: Stage, version: int) -> None:
    """Log what is about to be sealed: a run that lies there later, unlogged, is known by this to be what was made."""
    run, digest = read_run(stage.folder), run_digest(stage.folder)
    subject = f"{run['notebook']}/{sealed_name(run['date'], version)} {digest[:16]}"
    audit_log.record(folder.folder, [("sealing", subject, digest)], when=when())


def update_prices(folder: RunsFolder, source: Source, *, through: pd.Timestamp, whole: bool = False) -> StoreReport:
    """Bring the store of a source up to a session, announced in the log if it changes; `whole`: see `update_store`.

    It shows how far it is, and an update that broke off goes on where it ended.
    """
    store = store_of(folder.folder, source)
    with watching("data update") as tell:
        return update_store(
            store,
            source,
            through=through,
            whole=whole,
            announce=partial(announce_update, folder, store),
            unfinished=folder.folder / UNFINISHED,
            tell=tell,
        )


def announce_update(folder: RunsFolder, store: Path) -> None:
    """Log that a store is about to change."""
    audit_log.record(folder.folder, [store_states.announcement(folder.folder, store)], when=when())


def when() -> str:
    """This moment, for the ledger and the log."""
    return f"{calendar.now():{MOMENT}}"


def record_halts(folder: RunsFolder) -> None:
    """Record what halts each book and is not recorded there: markers, which are removed then, and the file KILL. A
    book that cannot record it keeps its markers, and they go on stopping its orders."""
    for kind in BOOK_KINDS:
        with suppress(OpenbookError):
            place = book_place(folder.folder, kind)
            marks, killed = halt_markers.markers(folder.folder, kind), halt_markers.kill_file(folder.folder)
            if (marks or killed) and book.exists(place):
                obey_halts(folder, kind, place)


def obey_halts(folder: RunsFolder, kind: str, place: Path | str) -> int:
    """Halt a book for its markers and the file KILL, as `record_halts`; how many orders that voided. Raises what keeps
    it from being recorded."""
    voided = 0
    for mark in halt_markers.markers(folder.folder, kind):
        voided += book_commands.halt(place, who=mark.who, reason=mark.reason, when=mark.when or when())
        halt_markers.clear(mark)
    killed = halt_markers.kill_file(folder.folder)
    if killed and book.read_book(place).switch != HALTED:
        reason = halt_markers.kill_reason(killed)
        voided += book_commands.halt(place, who="the KILL file", reason=reason, when=when())
    return voided


def store_of(runs: Path, source) -> Path:
    """Each source has a store of its own: settings that differ must not share bars."""
    said = json.dumps(source.model_dump(mode="json"), sort_keys=True)
    return runs / STORE / f"{source.provider}-{hashlib.sha256(said.encode()).hexdigest()[:8]}"


def made_views(kind: str, place: Path | str) -> dict[str, bytes]:
    """The views of a book and its summary, by file name, as the book gives them."""
    tables = {f"{name}.csv": csv_bytes(table) for name, table in book.views(place).items()}
    return tables | {views.SUMMARY: json_bytes(book_lines(kind, place))}


def publish_views(folder: RunsFolder, kind: str, *, rebuild: bool = False) -> None:
    """Update the CSV views of a book and its summary; edited views stay, unless `rebuild`."""
    made = made_views(kind, book_place(folder.folder, kind))
    views.publish(folder.folder / BOOKS / kind, made, rebuild=rebuild)


def publish_all_views(folder: RunsFolder) -> None:
    """Update the views of every book."""
    for kind in books(folder.folder):
        publish_views(folder, kind)


def require_own_summaries(runs: Path) -> None:
    """AuditError (90) for a book's summary that is not what the book gives: mails show it."""
    for kind, place in books(runs).items():
        made = {views.SUMMARY: json_bytes(book_lines(kind, place))}
        if views.unlike(runs / BOOKS / kind, made):
            said = f"{views.SUMMARY} of the {kind} book is not what the book gives"
            raise AuditError(f"{said}; rebuild it with openbook views, and see openbook verify")


def rebuild_views(runs: Path, kind: str = "") -> str:
    """Rebuild the views of a book, edited or not."""
    with working(runs) as folder:
        kind, _ = the_book(runs, kind)
        edited = views.altered(runs / BOOKS / kind)
        publish_views(folder, kind, rebuild=True)
    return f"views of the {kind} book rebuilt; edited by hand before: {', '.join(edited) or 'none'}"


def book_lines(kind: str, place: Path | str) -> list[str]:
    """A book in a few lines: its kill switch, what waits for approval, and where a broker statement differs."""
    state = book.read_book(place)
    why = f" ({state.switch_reason})" if state.switch_reason else ""
    switch = switch_text(state.switch)
    lines = [f"{kind} book: kill switch {switch}{why}, cash {state.cash_now_cents / 100:,.2f} USD"]
    if len(state.pending):
        decided = f"{state.pending['decided'].max():%Y-%m-%d}"
        batch, until = book_commands.read_batch(place, decided), calendar.approval_deadline(decided)
        counts = ", ".join(f"{n} {status}" for status, n in batch.orders["status"].value_counts().items())
        if batch.moved and "PENDING" in counts:
            lines.append(f"  orders of {decided}: void, the book changed since ({batch.moved})")
        else:
            waits = f"approval deadline {until:%Y-%m-%d %H:%M} UTC" if "PENDING" in counts else "for the next session"
            lines.append(f"  orders of {decided}: {counts}; {waits}")
            lines.append(f"  batch {batch.digest}")
    if state.unsettled:
        lines.append(f"  the broker's statement differs: {state.unsettled}")
    return lines


def switch_text(state: str) -> str:
    """The state of a kill switch in words: an active one has not tripped."""
    return "not tripped (ACTIVE)" if state == ACTIVE else state


def read_trades(file: Path) -> pd.DataFrame:
    """trades.csv as it was before it was written; a ticker NA, TRUE, 1E5 or =A stays that text.

    BookError (60) for a file that is no such table.
    """
    text = {"symbol": "str", "side": "str", "reason": "str", "liquidity_warning": "str"}
    numbers = [name for name in TRADE_COLUMNS if name not in text]
    with storage(f"read {file}"):
        data = file.read_bytes()
    try:
        given: dict = {"dtype": text, "keep_default_na": False, "na_values": {"price": [""], "notional": [""]}}
        table = pd.read_csv(io.BytesIO(data), **given)
        if list(table.columns) != TRADE_COLUMNS:
            raise ValueError(f"the columns are not {','.join(TRADE_COLUMNS)}")
        if odd := [name for name in numbers if len(table) and not _is_of_numbers(table[name])]:
            raise ValueError(f"the column {odd[0]} has a value that is not a number")
    except (ValueError, OverflowError) as error:
        raise BookError(f"{file} cannot be read: {error}; see openbook verify") from None
    return table.assign(**{name: table[name].map(plain_text).astype("str") for name in text})


def _is_of_numbers(column: pd.Series) -> bool:
    """Whether every cell is a finite number; price and notional are missing where a name has no price."""
    known = column.dropna() if column.name in ("price", "notional") else column
    return column.dtype.kind in "if" and bool(np.isfinite(known).all())


def parameters_digest(params: dict) -> str:
    """One hash of the parameters of a run."""
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()
