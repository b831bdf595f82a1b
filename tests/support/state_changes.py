"""One state change at a time, each in a runs folder of its own: what a crash must not tear."""

import contextlib
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from openbook.app import commands, pipeline, service
from openbook.common.errors import BookError, StorageError
from openbook.ledger import book, book_commands
from openbook.ledger.reversals import reverse_fill
from openbook.market import calendar
from openbook.market.calendar import REHEARSAL
from openbook.market.sources import SimulatedSource
from openbook.market.store import update_store
from openbook.runs import audit_log, halt_markers, registry
from openbook.runs.runs_folder import RunsFolder
from openbook.runs.stage import Stage
from support.books import DAYS, FREE, make_market, make_trades

WHEN, LATER = "2025-03-05 21:46:00 UTC", "2025-03-05 22:01:00 UTC"
MARKET = make_market({"A": [100, 101, 102, 103], "B": [50, 49, 48, 47]})
ABOUT = {"model": "aa", "data": "bb", "parameters": "cc", "code": "dd"}
DECIDED = f"{DAYS[1]:%Y-%m-%d}"  # the evening of the batch that people act on


class Scene(NamedTuple):
    """A folder as it is before, and what is done to it; doing it again, at a later time, must change nothing."""

    begin: Callable[[Path], object]
    act: Callable[[Path, str], object]


# ---- the champion ----


def bundle(text: str) -> tuple[dict[str, bytes], dict, str]:
    """Files, metadata and the hash that names the bundle of one candidate."""
    card = f"card of {text}".encode()
    files = {"model.txt": b"trees of " + text.encode(), "schema.json": b"{}", "card.json": card}
    metadata = {"model": text, "optimizer": "hrp", "vetted": True, "selected": "2024-06-10"}
    return files, metadata, sha256(card).hexdigest()


def promote(folder: Path, when: str) -> None:
    registry.promote(folder, *bundle("new"))


def promote_alone(folder: Path, when: str) -> None:
    """While nobody else may change the folder."""
    with RunsFolder(folder).lock():
        promote(folder, when)


def roll_back(folder: Path, when: str) -> None:
    registry.rollback(folder, who="Ann", reason="it loses", when=when, verify=Path.stat)


def promoted(folder: Path, *names: str) -> Path:
    """A runs folder in which these were promoted, in this order."""
    for name in names:
        registry.promote(folder, *bundle(name))
    return folder


def half_promoted(folder: Path) -> None:
    """A runs folder in which a promotion was killed before."""
    left = promoted(folder, "old") / "production" / f".{bundle('new')[2]}.{'0' * 12}.new"
    left.mkdir()
    (left / "model.txt").write_bytes(b"tre")
    (folder / "production" / ".champion.json.new").write_bytes(b"{")


# ---- runs ----


def staged(folder: Path) -> None:
    """A finished run on its stage."""
    stage = RunsFolder(folder).stage("daily_run", DECIDED, profile="demo", params={}, inputs_hash="ab" * 32)
    stage.json("verdict.json", {"verdict": "buy"})
    stage.table("tables/positions.csv", pd.DataFrame({"symbol": ["A"], "shares": [50]}))
    stage.record(verdict="buy")
    stage.finish()


def seal(folder: Path, when: str) -> None:
    runs = RunsFolder(folder)
    if runs.sealed("daily_run", DECIDED) is None:
        stage = Stage(folder / ".stage" / "daily_run" / f"{DECIDED}-1")
        runs.prepare(stage)
        runs.seal(stage)


def publish(folder: Path, when: str) -> None:
    service.publish_views(RunsFolder(folder), "paper")


# ---- the book ----


def paper(folder: Path) -> Path:
    return folder / "books" / "paper.db"


def commit(folder: Path, n: int, trades: pd.DataFrame, **given) -> None:
    """Settle session n and commit it with new orders."""
    settled = book.settle(book.read_book(paper(folder), before=DAYS[n]), MARKET, FREE, DAYS[n]).to_json()
    known = {"session": DAYS[n], "inputs_hash": f"of session {n}", "settlement": settled, "trades": trades}
    book.commit_session(paper(folder), **known, about=ABOUT, **given)


def opened(folder: Path, kind: str = "paper") -> None:
    book.open_book(paper(folder), cash=10_000, kind=kind)


def one_session(folder: Path) -> None:
    opened(folder)
    commit(folder, 0, make_trades(A=50, B=20))
    publish(folder, WHEN)


def two_sessions(folder: Path) -> None:
    one_session(folder)
    commit(folder, 1, make_trades(A=-20, B=5))


def evening(folder: Path) -> None:
    one_session(folder)
    staged(folder)


def begin_book(folder: Path, when: str) -> None:
    """A person who does not know whether it worked tries again, and is told that there is one."""
    try:
        opened(folder)
    except BookError as error:
        if "already exists" not in str(error):
            raise


# ---- people ----


def proposed(folder: Path) -> None:
    """A live book whose batch of the last session waits for a person."""
    opened(folder, "live")
    commit(folder, 1, make_trades(A=50, B=20))


def approved(folder: Path) -> None:
    proposed(folder)
    approve(folder, WHEN)


def halted(folder: Path) -> None:
    approved(folder)
    halt(folder, WHEN)


def filled(folder: Path) -> None:
    approved(folder)
    record_fills(folder, WHEN)


def approve(folder: Path, when: str) -> None:
    digest = book_commands.read_batch(paper(folder), DECIDED).digest
    book_commands.approve(paper(folder), DECIDED, digest=digest, about=ABOUT, who="Ann", when=when, how="terminal")


def reject(folder: Path, when: str) -> None:
    book_commands.reject(paper(folder), DECIDED, who="Ann", reason="too much", when=when)


def record_fills(folder: Path, when: str) -> None:
    """One order in full, one in part."""
    rows = [("f1", "A", 50, 102.0), ("f2", "B", 7, 48.0)]
    table = pd.DataFrame(rows, columns=["fill_id", "order_id", "shares", "price"])
    table["order_id"] = f"{DECIDED}-" + table["order_id"]
    table = table.assign(commission_cents=100, date=f"{DAYS[2]:%Y-%m-%d}")
    book_commands.record_fills(paper(folder), DECIDED, table, when=when, source="ee" * 32)


def reverse(folder: Path, when: str) -> None:
    reverse_fill(paper(folder), "f1", who="Ann", reason="typo", when=when)


def record_cash(folder: Path, when: str) -> None:
    book_commands.record_cash(paper(folder), flow="deposit", cents=50_000, who="Ann", reason="savings", when=when)


def reconcile(folder: Path, when: str) -> None:
    cents = book.read_book(paper(folder)).cash_now_cents
    book_commands.reconcile(paper(folder), pd.Series({"A": 50, "B": 7}), cents, closed=f"{DAYS[2]:%Y-%m-%d}", when=when)


def halt(folder: Path, when: str) -> None:
    book_commands.halt(paper(folder), who="Ann", reason="the feed is odd", when=when)


def reset(folder: Path, when: str) -> None:
    book_commands.reset(paper(folder), who="Ann", reason="the feed is mended", when=when)


# ---- commands: the lock, the log and the views around it ----


@contextlib.contextmanager
def clock(when: str):
    """The time for whoever asks for it, a halt too, which asks the machine: two runs must differ in nothing."""
    os.environ[REHEARSAL] = when.replace(" UTC", "Z")
    machine, calendar.machine_now = calendar.machine_now, lambda: pd.Timestamp(when.removesuffix(" UTC"), tz="UTC")
    try:
        yield
    finally:
        del os.environ[REHEARSAL]
        calendar.machine_now = machine


def noted(begin: Callable[[Path], object]) -> Callable[[Path], None]:
    """A folder as a command leaves it: with its views, and all of it in the log."""

    def made(folder: Path) -> None:
        begin(folder)
        announced = [
            ("sealing", f"daily_run/{date} before", "0" * 64) for date in book.decisions(paper(folder)).values()
        ]
        audit_log.record(folder, announced, when=WHEN)
        with clock(WHEN), service.working(folder):
            pass

    return made


def evening_command(folder: Path, when: str) -> None:
    """From a finished stage to the log, in the order of a daily run."""
    with clock(when), service.working(folder) as runs:
        if runs.sealed("daily_run", DECIDED) is None:
            stage = Stage(folder / ".stage" / "daily_run" / f"{DECIDED}-1")
            runs.prepare(stage)
            service.announce_sealing(runs, stage, 1)
            commit(folder, 1, make_trades(A=-20, B=5))
            runs.seal(stage)
        service.note(runs, runs.sealed("daily_run", DECIDED))


def init_command(folder: Path, when: str) -> None:
    """A person who does not know whether it worked tries again, and is told that there is one."""
    with clock(when):
        try:
            pipeline.init(folder, cash=10_000)
        except BookError as error:
            if "already exists" not in str(error):
                raise


def halt_command(folder: Path, when: str) -> None:
    with clock(when):
        said = commands.halt(folder, who="Ann", reason="the feed is odd")
    # Orders are stopped, and the book, or the log and the views, have yet to record it.
    if halt_markers.markers(folder, "paper") or "follow with the next command" in said:
        raise StorageError(said)


def reset_command(folder: Path, when: str) -> None:
    with clock(when):
        commands.reset(folder, who="Ann", reason="the feed is mended")


SCENES = {
    "the first promotion": Scene(Path.mkdir, promote),
    "a promotion": Scene(lambda folder: promoted(folder, "old"), promote),
    "a promotion after one that was killed": Scene(half_promoted, promote),
    "a promotion with the lock": Scene(lambda folder: promoted(folder, "old"), promote_alone),
    "a rollback": Scene(lambda folder: promoted(folder, "old", "new"), roll_back),
    "sealing a run": Scene(staged, seal),
    "publishing views": Scene(two_sessions, publish),
    "beginning a book": Scene(Path.mkdir, begin_book),
    "the first commit": Scene(opened, lambda folder, when: commit(folder, 0, make_trades(A=50, B=20))),
    "a commit": Scene(one_session, lambda folder, when: commit(folder, 1, make_trades(A=-20, B=5))),
    "approving": Scene(proposed, approve),
    "rejecting": Scene(approved, reject),
    "recording fills": Scene(approved, record_fills),
    "reversing a fill": Scene(filled, reverse),
    "recording cash": Scene(approved, record_cash),
    "reconciling": Scene(filled, reconcile),
    "halting": Scene(approved, halt),
    "resetting": Scene(halted, reset),
    "an evening": Scene(noted(evening), evening_command),
    "the command init": Scene(Path.mkdir, init_command),
    "the command halt": Scene(noted(approved), halt_command),
    "the command reset": Scene(noted(halted), reset_command),
}

# ---- more commands, for power cuts: strace lists their calls once ----


def fills_command(folder: Path, when: str) -> None:
    with clock(when), service.working(folder) as runs:
        record_fills(folder, when)
        service.publish_views(runs, "paper")


def approve_command(folder: Path, when: str) -> None:
    with clock(when), service.working(folder) as runs:
        approve(folder, when)
        service.publish_views(runs, "paper")


PRICES = SimulatedSource(n_symbols=4, n_sessions=60, end="2025-03-05", seed=3, reports=False)


def update(through: int) -> Callable[[Path], object]:
    """The store, brought up to a session."""
    return lambda folder: update_store(folder / "store" / "simulated", PRICES, through=DAYS[through])


COMMANDS = {
    "the command approve": Scene(noted(proposed), approve_command),
    "the command fills": Scene(noted(approved), fills_command),
    "the first update of prices": Scene(Path.mkdir, lambda folder, when: update(0)(folder)),
    "an update of prices": Scene(update(0), lambda folder, when: update(1)(folder)),
}

# ---- as it must not be: whoever strikes these has to notice ----


def written(folder: Path) -> None:
    view = folder / "books" / "view" / "of.csv"
    view.parent.mkdir(parents=True)
    view.write_text("old\n")


def write_in_place(folder: Path, when: str) -> None:
    with open(folder / "books" / "view" / "of.csv", "wb", buffering=0) as file:
        file.write(b"half, ")
        file.write(b"whole\n")


def write_on(folder: Path, when: str) -> None:
    with open(folder / "books" / "view" / "of.csv", "ab", buffering=0) as file:
        file.write(b"once\n")
        os.fsync(file.fileno())


def replace_unsynced(folder: Path, when: str) -> None:
    """The rename may be there before the bytes."""
    new = folder / "books" / "view" / "new.csv"
    new.write_bytes(b"new" * 1000)
    os.replace(new, new.with_name("of.csv"))


def promote_unsynced(folder: Path, when: str) -> None:
    """A pointer that is renamed, in a folder of which the names are not synced."""
    fsync, os.fsync = os.fsync, lambda handle: None
    try:
        promote(folder, when)
    finally:
        os.fsync = fsync


CARELESS = {"writing in place": Scene(written, write_in_place), "writing on": Scene(written, write_on)}
UNSYNCED = {
    "replacing without a sync": Scene(written, replace_unsynced),
    "promoting without a sync": Scene(lambda folder: promoted(folder, "old"), promote_unsynced),
}
EVERY = {**SCENES, **COMMANDS, **CARELESS, **UNSYNCED}
