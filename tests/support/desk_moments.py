"""A desk at each moment at which a person gives a command.

Words of a page in capitals stand for a name, a date or a file, and a date of the past for one of the desk's; each
moment has what stands for them.
"""

import re
import shlex
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest

from openbook.common import desk_folder
from openbook.common.errors import BookError
from openbook.ledger import book
from openbook.ledger.book_commands import Batch, read_batch
from openbook.market import calendar
from openbook.runs import audit_log
from openbook.runs.approvers import FILE as APPROVERS
from support.documented_commands import OURS, ROOT
from support.trained_desk import (
    COMPARED,
    OLD_SPLIT,
    TRAINED,
    Answer,
    Desk,
    Terminal,
    make_vendor,
    openbook,
    succeed,
    write_profile,
)

MONTH = tuple(f"openbook run {name} --date D" for name in ("train_candidates", "compare", "select_champion"))
BY_HAND = "--set require_manual_approval=true"
LIVE = f"openbook run daily_run --date D --set dry_run=false {BY_HAND}"
SMALL = {
    "train_candidates": TRAINED,
    "compare": (*COMPARED, "shaken=0", "portfolio.top_n=10"),
    "select_champion": (),
    "daily_run": ("require_manual_approval=false",),
}


@dataclass(frozen=True)
class Moment:
    """A desk on disk, and this machine's clock.

    session : D, as a number among the last six sessions of the vendor
    clock : the session up to which the vendor has delivered, and the time on that date, UTC
    """

    desk: Desk
    session: int
    clock: tuple[int, str]

    @property
    def folder(self) -> Path:
        return self.desk.runs.parent

    @property
    def book(self) -> Path:
        """The live book if there is one, else the paper book."""
        live = self.desk.book.with_name("live.db")
        return live if live.exists() else self.desk.book

    def date(self, session: int) -> str:
        return f"{self.desk.days[session]:%Y-%m-%d}"

    def batch(self) -> Batch:
        return read_batch(self.book, self.date(self.session))

    def give(self, line: str) -> Answer:
        """Give commands as they stand on a page, up to the first that fails, beginning at the top of the desk."""
        here, answer = self.folder, Answer(0, "", "")
        for command in line.split("; "):
            if command.startswith("cd "):
                here = here / command.removeprefix("cd ")
            elif not answer.code:
                answer = self._give(command, here)
        return answer

    def _give(self, line: str, here: Path) -> Answer:
        """Give one command in a folder, at a terminal."""
        day, time = self.clock
        now = pd.Timestamp(f"{self.date(day)}T{time}Z")
        self.desk.vendor.deliver(self.desk.vendor.files.upto(self.desk.days[day]))
        typed = f"{self.batch().code}\n" if " approve " in line else ""
        with pytest.MonkeyPatch.context() as patch:
            for name in (desk_folder.DESK, desk_folder.RUNS, calendar.REHEARSAL, calendar.CLOSURES):
                patch.setenv(name, "")
            patch.chdir(here)
            patch.setattr(calendar, "machine_now", lambda: now)
            patch.setattr("sys.stdin", Terminal(typed))
            return openbook(*self.words(line))

    def words(self, line: str) -> list[str]:
        """The words of a command with what stands for those in capitals; `--head FILE` may be another file."""
        given = OURS.fullmatch(line)
        assert given, f"no command of openbook: {line}"
        words, stands = shlex.split(given[1]), self.stands()
        pairs = zip(["", *words], words, strict=False)
        return [part for before, word in pairs for part in stands.get(f"{before} {word}", stands.get(word, [word]))]

    def stands(self) -> dict[str, list[str]]:
        """What stands for the words in capitals on a page."""
        date, before = self.date(self.session), self.date(max(self.session - 1, 0))
        hashes = {"--head HASH": audit_log.head(self.desk.runs), "sign HASH": self._digest()}
        files = {"FILE": "new.txt", "--head FILE": "mail.txt", "--weights FILE": "ours.csv", "--key FILE": "ann.key"}
        said = {
            "NAME": "Ann",
            "WHY": "a test",
            "OLD": self._held(),
            "NEW": "NEWER",
            "FILL_ID": "fill-0",
            "AMOUNT": "5",
        }
        places = {"FOLDER": "../new", "check FOLDER": "delivered", "TOKEN": "token.json"}
        dates = {"D": date, "D1": before, "D2": date}
        one = {name: [word] for name, word in (hashes | files | said | places | dates).items()}
        return one | {"vendor …": ["--date", date]}

    def _digest(self) -> str:
        with suppress(BookError):  # no book, or not this session
            return self.batch().digest
        return ""

    def _held(self) -> str:
        with suppress(BookError):
            return max(book.read_book(self.book).positions.index, default="")
        return ""

    def write(self, name: str, *lines: str) -> None:
        """A file at the top of the desk."""
        (self.folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


class Moments:
    """The moments by name, each made once, from an earlier one."""

    def __init__(self, home: Path):
        self.home = home
        self.made: dict[str, Moment | Exception] = {}

    def at(self, name: str) -> Moment:
        """The moment itself; copy it, never change it. What failed once fails again at once."""
        if name not in self.made:
            try:
                self.made[name] = MAKERS[name](self)
            except Exception as error:
                self.made[name] = error
        made = self.made[name]
        if isinstance(made, Exception):
            raise made
        return made

    def copied(self, name: str, folder: Path, **changes) -> Moment:
        """A copy of a moment's desk in a new folder, to be changed."""
        moment = self.at(name)
        shutil.copytree(moment.folder, folder)
        return replace(moment, desk=replace(moment.desk, runs=folder / "runs"), **changes)

    def after(self, earlier: str, name: str, *lines: str, **changes) -> Moment:
        """A copy of an earlier moment's desk on which these commands were given."""
        moment = self.copied(earlier, self.home / name, **changes)
        for line in lines:
            succeed(moment.give(line))
        return moment


def _new(moments: Moments) -> Moment:
    """A desk with parameters for small runs on a vendor's files, and nothing run."""
    vendor = make_vendor(moments.home / "vendor")
    bars = vendor.files.bars.replace({"symbol": {"<script>X": "XYZ", "1E5": "EEE"}})  # which no broker trades
    vendor = replace(vendor, files=replace(vendor.files, bars=bars))
    days = pd.DatetimeIndex(sorted(vendor.files.bars["date"].unique()))[-6:]
    folder = moments.home / "new"
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    sets = {name: more if name == "select_champion" else (vendor.source, *more) for name, more in SMALL.items()}
    for profile in ("demo", "vendor", "theirs"):
        write_profile(folder / "params" / profile, sets)
    (folder / desk_folder.FILE).write_text("format: 1\n")
    sound = bars[(bars["symbol"] != OLD_SPLIT[0]) & (bars["date"] <= days[0])]
    for place in (folder / "delivered", moments.home / "outside" / "prices"):
        place.mkdir(parents=True)
        sound.to_csv(place / "prices.csv", index=False)
    return Moment(Desk(folder / "runs", vendor, days), 0, (0, "21:00"))


def _outside(moments: Moments) -> Moment:
    """A folder that is no desk and in none, with prices in it."""
    new = moments.at("new")
    return replace(new, desk=replace(new.desk, runs=moments.home / "outside" / "runs"))


def _next_evening(moments: Moments) -> Moment:
    """The evening after, on a desk that has a profile `mine` too."""
    moment = moments.after("waiting", "next evening", session=3, clock=(3, "21:00"))
    (moment.folder / "params" / "theirs").rename(moment.folder / "params" / "mine")
    return moment


def _waiting(moments: Moments) -> Moment:
    """The second evening of a paper book, whose orders wait for a person."""
    moment = moments.after("first page", "waiting", session=2, clock=(2, "21:00"))
    succeed(moment.give(f"openbook run daily_run --date D {BY_HAND}"))
    moment.write("mail.txt", succeed(moment.give("openbook status")).out)
    weights = pd.read_csv(moment.desk.page(moment.desk.days[2]) / "portfolio_weights.csv", keep_default_na=False)
    weights[["symbol", "weight"]].to_csv(moment.folder / "ours.csv", index=False)
    return moment


def _listed(moments: Moments) -> Moment:
    """The same evening on a desk that lists Ann among its approvers; her key lies there, for she sits there."""
    moment = moments.after("waiting", "listed")
    public = re.search(r"public key (\S+)", succeed(moment.give("openbook key ann.key")).out)
    assert public
    moment.write(APPROVERS, f'approvers: [{{name: Ann, key: "{public[1]}", may: [approve]}}]')
    (moment.folder / APPROVERS).chmod(0o644)
    return moment


def _live(moments: Moments) -> Moment:
    """The first evening of a live book, whose orders wait; that the champion passed every gate is not the matter."""
    moment = moments.copied("selected", moments.home / "live", session=1, clock=(1, "21:00"))
    moment.desk.promote(vetted=True)
    succeed(moment.give("openbook init --cash 100000 --book live"))
    succeed(moment.give(LIVE))
    return moment


def _executed(earlier: str) -> Callable[[Moments], Moment]:
    """The evening after a live book's orders went to the broker, with the broker's file of fills."""

    def make(moments: Moments) -> Moment:
        moment = moments.after(earlier, f"executed, {earlier}", clock=(2, "20:30"))
        fills = [
            f"fill-{n},{order.order_id},{order.shares},{order.price:.2f},1.00,{moment.date(2)}"
            for n, order in enumerate(moment.batch().orders.itertuples())
        ]
        moment.write("fills.csv", "fill_id,order_id,shares,price,commission,date", *fills)
        return moment

    return make


def _filled(moments: Moments) -> Moment:
    """Every fill is recorded, and the broker's statement has come."""
    moment = moments.after("executed", "filled", "openbook fills D fills.csv")
    state = book.read_book(moment.book)
    held = [f"{symbol},{shares}" for symbol, shares in state.positions_now.items()]
    moment.write("statement.csv", "symbol,shares", *held, f"CASH,{state.cash_now_cents / 100:.2f}")
    return moment


def _promoted(moments: Moments) -> Moment:
    """A second champion was promoted."""
    moment = moments.after("waiting", "promoted")
    moment.desk.promote(selected=moment.date(2))
    return moment


def _restored(moments: Moments) -> Moment:
    """The book was put back from a backup of the evening before."""
    moment = moments.after("waiting", "restored")
    shutil.copyfile(moments.at("first page").book, moment.book)
    return moment


MAKERS: dict[str, Callable[[Moments], Moment]] = {
    "new": _new,
    "selected": lambda moments: moments.after("new", "selected", *MONTH),
    "first page": lambda moments: moments.after(
        "selected", "first page", "openbook init --cash 100000", "openbook run daily_run --date D",
        session=1, clock=(1, "21:00"),
    ),
    "waiting": _waiting,
    "next evening": _next_evening,
    "outside": _outside,
    "listed": _listed,
    "signed": lambda moments: moments.after(
        "listed", "signed", "openbook sign HASH --date D --by NAME --key FILE --out TOKEN"
    ),
    "halted": lambda moments: moments.after("waiting", "halted", "openbook halt --who NAME --reason WHY"),
    "promoted": _promoted,
    "restored": _restored,
    "live": _live,
    "live, approved": lambda moments: moments.after("live", "live, approved", "openbook approve D --by NAME"),
    "executed": _executed("live, approved"),
    "executed unapproved": _executed("live"),
    "filled": _filled,
}  # fmt: skip
