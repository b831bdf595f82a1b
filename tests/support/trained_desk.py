"""A desk that was trained once, on vendor files that the tests control, and copies of it to break."""

import contextlib
import hashlib
import io
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml

from openbook.cli import main
from openbook.common import desk_folder, extensions
from openbook.ledger.book import BookState, read_book
from openbook.market.calendar import REHEARSAL
from openbook.market.sources import SimulatedSource, fetch
from openbook.market.tables import ACTION_COLUMNS
from openbook.runs.runs_folder import RunsFolder
from openbook.selection.champion import CARD, ChampionCard, champion_hash
from openbook.signals.bundle import SCHEMA

N_NAMES, N_SESSIONS = 25, 420
# Tickers that a careless reader takes for a missing value, a bool, a number; and one that a browser would run.
AWKWARD = ("NA", "TRUE", "1E5", "BRK.B", "<script>X")
SCRIPT = "<script>alert(1)</script>"
SECTORS = (SCRIPT, "Energy", "Health", "Tech", "Utilities")
FEATURES = "momentum_21,momentum_63,volatility_21,reversal_5,average_distance_20,dollar_volume_63,amihud_21,rsi_14"
CASH = 100_000
TRAINED = (
    "candidates=[{name: tiny, algorithm: lightgbm, n_estimators: 30, early_stopping: null}]",
    f"features=[{FEATURES}]",
    "first=2023-02-01",
    "horizon=5",
    "walk_forward={n_folds: 2, embargo: 0, holdout: 40}",
    "max_ic=0.6",  # names that only ever rise are a leak, as such, and meant to be held
    "n_jobs=1",
)
COMPARED = (
    "first=2023-02-01",
    "optimizers=[hrp, inverse_vol]",
    "portfolio.rebalance_every=1",
    "portfolio.cash_absorbs=true",
    "portfolio.lookback=120",
    "portfolio.regimes={}",
    "portfolio.top_n=10",
    "portfolio.hold_buffer=1.5",
    "portfolio.max_weight=0.15",
    "n_jobs=1",
)
OLD_SPLIT = ("BRK.B", 300)  # 2:1, recorded, long before the first page


class Answer(NamedTuple):
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str


def openbook(*arguments: str) -> Answer:
    """Run one command in this process; the desk that it may name, and that desk's own code, are there for it alone."""
    out, err = io.StringIO(), io.StringIO()
    named = os.environ.get(desk_folder.DESK)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([str(argument) for argument in arguments])
    finally:
        os.environ.pop(desk_folder.DESK, None)
        os.environ.update({desk_folder.DESK: named} if named is not None else {})
        if "--desk" in arguments:
            extensions.forget()
    return Answer(code, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Files:
    """What the vendor sends: long bars and actions; a test alters a copy and delivers it."""

    bars: pd.DataFrame
    actions: pd.DataFrame

    def upto(self, date: pd.Timestamp) -> "Files":
        """What the vendor had sent by the evening of `date`."""
        return Files(self.bars[self.bars["date"] <= date].copy(), self.actions[self.actions["date"] <= date].copy())

    def scaled(self, symbol: str, date: pd.Timestamp, factor: float, *, volume: float = 1.0) -> "Files":
        """The same with the prices of one symbol times `factor` from `date` on."""
        bars = self.bars.copy()
        rows = (bars["symbol"] == symbol) & (bars["date"] >= date)
        bars.loc[rows, ["open", "high", "low", "close"]] *= factor
        bars.loc[rows, "volume"] *= volume
        return replace(self, bars=bars)

    def edited(self, symbol: str, date: pd.Timestamp, **values: float) -> "Files":
        """The same with some fields of one bar set."""
        bars = self.bars.copy()
        rows = (bars["symbol"] == symbol) & (bars["date"] == date)
        bars.loc[rows, list(values)] = list(values.values())
        return replace(self, bars=bars)

    def without(self, symbols, date: pd.Timestamp) -> "Files":
        """The same without the bars of some symbols on `date`."""
        return replace(self, bars=self.bars[~(self.bars["symbol"].isin(symbols) & (self.bars["date"] == date))])

    def with_action(self, date: pd.Timestamp, symbol: str, kind: str, value: float) -> "Files":
        """The same with one more action."""
        row = pd.DataFrame([(date, symbol, kind, value)], columns=ACTION_COLUMNS)
        return replace(self, actions=pd.concat([self.actions, row], ignore_index=True))


@dataclass(frozen=True)
class Vendor:
    """The folder that a vendor delivers to; its path never changes, for a store belongs to one source."""

    folder: Path
    files: Files

    def deliver(self, files: Files) -> None:
        """Replace what lies there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        files.bars.to_parquet(self.folder / "prices.parquet", index=False)
        files.actions.to_parquet(self.folder / "actions.parquet", index=False)
        symbols = sorted(self.files.bars["symbol"].unique())
        sector = [SECTORS[0] if symbol in AWKWARD else SECTORS[1 + i % 4] for i, symbol in enumerate(symbols)]
        pd.DataFrame({"symbol": symbols, "sector": sector}).to_parquet(self.folder / "sectors.parquet", index=False)

    @property
    def source(self) -> str:
        """The source's settings as the value of --set."""
        said = {
            "provider": "files",
            "path": str(self.folder / "prices.parquet"),
            "prices": "raw",
            "name": f"the vendor {SCRIPT}",
            "sectors": {"path": str(self.folder / "sectors.parquet")},
            "actions": {"path": str(self.folder / "actions.parquet")},
        }
        return f"source={json.dumps(said)}"


def make_vendor(folder: Path) -> Vendor:
    """OHLCV of 25 names; the awkward ones rise steadily, so that a model that looks at momentum holds them."""
    source = SimulatedSource(
        n_symbols=N_NAMES,
        n_sessions=N_SESSIONS,
        end="2024-06-28",
        seed=7,
        delistings_per_year=0,
        late_listings=0,
        missing_bars=0,
        splits_per_year=0,
        payers=0,
        reports=False,
    )
    bars = fetch(source).bars.astype({"volume": "float64"})
    renamed = dict(zip(sorted(bars["symbol"].unique()), AWKWARD, strict=False))
    bars["symbol"] = bars["symbol"].replace(renamed).astype("str")
    days = pd.DatetimeIndex(sorted(bars["date"].unique()))
    steady = np.where(bars["symbol"].isin(AWKWARD), np.exp(0.008 * (days.get_indexer(bars["date"]) - len(days))), 1.0)
    bars[["open", "high", "low", "close"]] = bars[["open", "high", "low", "close"]].mul(steady, axis=0)
    # Enough of each name trades that no order is large: the liquidity check is a fault test's to trip.
    bars["volume"] = bars["volume"].clip(lower=1e6)
    files = Files(bars.reset_index(drop=True), pd.DataFrame(columns=ACTION_COLUMNS))
    split = days[OLD_SPLIT[1]]
    files = files.scaled(OLD_SPLIT[0], split, 0.5, volume=2.0).with_action(split, OLD_SPLIT[0], "split", 2.0)
    return Vendor(folder, files)


@dataclass(frozen=True)
class Desk:
    """A runs folder with a champion and a book, and the vendor that it listens to.

    days : the last six sessions of the vendor's history; selection was on days[0], pages exist for days[1] and days[2]
    """

    runs: Path
    vendor: Vendor
    days: pd.DatetimeIndex

    @property
    def tonight(self) -> pd.Timestamp:
        """The first session without a page."""
        return self.days[3]

    def evening(self, date: pd.Timestamp | None = None) -> Files:
        """What the vendor has sent by that evening, tonight if none is given."""
        return self.vendor.files.upto(self.tonight if date is None else date)

    def run(self, notebook: str, date, *sets: str) -> Answer:
        """`openbook run`, with the vendor as the source."""
        day = date if isinstance(date, str) else f"{date:%Y-%m-%d}"
        given = [self.vendor.source, *sets] if notebook != "select_champion" else sets
        options = [word for text in given for word in ("--set", text)]
        return openbook("--runs", self.runs, "run", notebook, "--date", day, *options)

    def daily(self, files: Files | None = None, *sets: str, date=None) -> Answer:
        """The page of `date` (tonight), after the vendor delivered `files`; nothing new is delivered if None."""
        if files is not None:
            self.vendor.deliver(files)
        return self.run("daily_run", self.tonight if date is None else date, *sets)

    def page(self, date=None) -> Path:
        """The sealed folder of a page, tonight's if no date is given."""
        return self.runs / "daily_run" / f"{self.tonight if date is None else date:%Y-%m-%d}"

    @property
    def book(self) -> Path:
        """The paper book."""
        return self.runs / "books" / "paper.db"

    def state(self) -> BookState:
        """What the book says."""
        return read_book(self.book)

    def held(self) -> list[str]:
        """Symbols in the book, those without a waiting order first."""
        state = self.state()
        waiting = set(state.pending["symbol"])
        return sorted(state.positions.index, key=lambda symbol: (symbol in waiting, symbol))

    def others(self) -> list[str]:
        """Symbols neither held nor ordered, that will not be held tonight."""
        state = self.state()
        busy = {*state.positions.index, *state.pending["symbol"]}
        return sorted(set(self.vendor.files.bars["symbol"]) - busy)

    def bundle(self) -> Path:
        """The champion's folder."""
        pointer = json.loads((self.runs / "production" / "champion.json").read_bytes())
        return self.runs / "production" / pointer["sha256"]

    def promote(self, schema: bytes | None = None, **changes) -> Path:
        """Promote the champion again with some fields of its card changed, so that it is another; the new folder.

        schema : in the place of its own; every hash is made to fit it
        """
        files = {path.name: path.read_bytes() for path in self.bundle().iterdir()}
        if schema is not None:
            files[SCHEMA] = schema
            changes["model_sha256"] = hashlib.sha256(schema).hexdigest()
        card = ChampionCard.model_validate_json(files[CARD]).model_copy(update=changes)
        files[CARD] = card.to_bytes()
        return RunsFolder(self.runs).promote(files, card.model_dump(mode="json"), champion_hash(files))

    def kept(self) -> dict[str, str]:
        """sha256 by name of every file that a failure must not touch: book, views, production, sealed runs."""
        folders = ("books", "production", "train_candidates", "compare", "select_champion", "daily_run")
        return {name: sha for folder in folders for name, sha in hashes(self.runs / folder, self.runs).items()}


def hashes(folder: Path, root: Path | None = None) -> dict[str, str]:
    """sha256 by relative name of every file below a folder."""
    root = root or folder
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def write_profile(folder: Path, sets: Mapping[str, Sequence[str]]) -> None:
    """A profile of parameter files as somebody writes them, by notebook from lines as --set takes them."""
    folder.mkdir(parents=True)
    for notebook, lines in sets.items():
        values: dict = {}
        for line in lines:
            key, _, value = line.partition("=")
            *above, last = key.split(".")
            place = values
            for part in above:
                place = place.setdefault(part, {})
            place[last] = value if last == "first" else yaml.safe_load(value)  # a date stays text
        (folder / f"{notebook}.yaml").write_text(yaml.safe_dump(values) if values else "{}\n")


def train_desk(folder: Path) -> Desk:
    """Train, compare, select, open a book and write the first page; the second is `trained`'s."""
    desk = select_champion(folder, 6)
    with clock(f"{desk.days[1]:%Y-%m-%d}T21:00Z"):
        succeed(desk.daily(desk.vendor.files.upto(desk.days[1]), date=desk.days[1]))
    return desk


def select_champion(folder: Path, n_days: int) -> Desk:
    """Train, compare and select on the first of the vendor's last `n_days` sessions, and open a book."""
    vendor = make_vendor(folder / "vendor")
    days = pd.DatetimeIndex(sorted(vendor.files.bars["date"].unique()))[-n_days:]
    desk = Desk(folder / "runs", vendor, days)
    vendor.deliver(vendor.files.upto(days[0]))
    with clock(f"{days[0]:%Y-%m-%d}T21:00Z"):
        succeed(desk.run("train_candidates", days[0], *TRAINED))
        succeed(desk.run("compare", days[0], *COMPARED, "portfolio.top_n=10"))
        succeed(desk.run("select_champion", days[0]))
        succeed(openbook("--runs", desk.runs, "init", "--cash", CASH))
    return desk


class Terminal(io.StringIO):
    """What a person types at a terminal."""

    def isatty(self) -> bool:
        return True


@contextlib.contextmanager
def clock(now: str):
    """The clock stands at `now`, as if this were that evening."""
    before = os.environ.get(REHEARSAL)
    os.environ[REHEARSAL] = now
    try:
        yield
    finally:
        os.environ.pop(REHEARSAL)
        if before is not None:
            os.environ[REHEARSAL] = before


def succeed(answer: Answer) -> Answer:
    """The same answer, once its code is 0."""
    assert answer.code == 0, answer.err
    return answer


def copied(desk: Desk, folder: Path) -> Desk:
    """The same desk in another folder, to be broken; the vendor has sent what its second page was made from."""
    shutil.copytree(desk.runs, folder / "runs", copy_function=shutil.copyfile)
    desk.vendor.deliver(desk.vendor.files.upto(desk.days[2]))
    return replace(desk, runs=folder / "runs")


__all__ = [
    *("AWKWARD", "SCRIPT", "Answer", "Desk", "Files", "Terminal", "clock", "copied"),
    *("hashes", "openbook", "train_desk", "write_profile"),
]
