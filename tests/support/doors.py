"""The doors of openbook: each kind of file or word that comes from outside, a valid sample of it, and the reader.

A door makes a hostile version of its sample (`make`) and lets it in (`enter`), as the commands do. `place` is a folder
of its own, in which the valid sample and what stands beside it lie.
"""

import datetime
import functools
import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from openbook.app import approvals, commands, service, settings
from openbook.app.pipeline import _source_in
from openbook.common import desk_folder, secrets
from openbook.common.text import require_line
from openbook.execution import brokers
from openbook.ledger import approval_tokens, book
from openbook.ledger.facts import LARGEST_CENTS
from openbook.market import calendar
from openbook.market.ingest import admit
from openbook.market.sources import fetch, parse_source
from openbook.market.sources.edgar import EdgarTable, _user_agent
from openbook.market.sources.folder import understand
from openbook.notify import channels
from openbook.runs import (
    approvers,
    halt_markers,
    key_files,
)
from openbook.runs.runs_folder import RunsFolder
from openbook.runs.witness import check_heads, kept_heads
from support import fuzzing

DAY, BEFORE = "2022-12-28", "2022-12-27"
SHA = "ab" * 32
NOW = datetime.datetime(2022, 12, 29, 3, tzinfo=datetime.UTC)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@dataclass(frozen=True)
class Door:
    """One kind of input. usual : cases of an ordinary run; `make` and `enter` as above"""

    name: str
    make: Callable[[random.Random], Any]
    enter: Callable[[Path, Any], Any]
    prepare: Callable[[Path], None] = lambda place: None
    usual: int = 150


DOORS: dict[str, Door] = {}


def door(make: Callable[[random.Random], Any], *, prepare=lambda place: None, usual: int = 150):
    """The decorated function is the `enter` of a door of its name."""

    def add(enter: Callable[[Path, Any], Any]):
        DOORS[enter.__name__] = Door(enter.__name__, make, enter, prepare, usual)
        return enter

    return add


class Folder(bytes):
    """In the place of a file's content: a folder in the place of the file."""


def written(file: Path, data: bytes) -> Path:
    """The file with that content; or a folder of that name."""
    if isinstance(data, Folder):
        file.unlink(missing_ok=True)
        file.mkdir(parents=True)
        return file
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


def json_door(sample: Any, **more):
    """A door for a JSON file."""
    return door(functools.partial(fuzzing.json_file, sample), **more)


# ---- what people write ----

PARAMS: dict[str, Any] = {
    "daily_run": {
        "source": {"provider": "files", "path": "runs/vendor", "prices": "raw", "columns": {"split": "split"}},
        "limits": {"max_weight": 0.15, "market_cap_buckets": {"large": {"at_least": 1e10, "min": 0.3}}},
        "monitor": {"ic_threshold": 0.02, "cusum": {"threshold": 20.0}},
        "kill_switch": {"max_daily_loss": 0.03, "min_sharpe": 0.5},
        "account": {},
        "min_trade_size": 100.0,
        "max_model_age": 62,
        "dry_run": True,
    },
    "train_candidates": {
        "source": {"provider": "sample"},
        "first": "2002-01-02",
        "walk_forward": {"n_folds": 6, "embargo": 5, "holdout": 252},
        "max_ic": 0.08,
        "candidates": [
            {"name": "a", "algorithm": "lightgbm", "params": {"num_leaves": 7}},
            {"name": "b", "algorithm": "xgboost", "tuning": {"n_trials": 9, "space": {"eta": [0.01, 0.3, True]}}},
        ],
    },
    "compare": {"source": {"provider": "simulated"}, "portfolio": {"top_n": 30}, "costs": {}, "regime": {}},
    "select_champion": {"weights": {}, "thresholds": {"sharpe_min": 1.0}, "seed": 1},
}


def _params(chance: random.Random) -> tuple[str, bytes]:
    notebook = chance.choice(list(PARAMS))
    return notebook, fuzzing.yaml_file(PARAMS[notebook], chance)


@door(_params, usual=80)
def parameters(place: Path, given: tuple[str, bytes]) -> None:
    notebook, data = given
    written(place / "params" / "demo" / f"{notebook}.yaml", data)
    fuzzing.require_finite(settings.load_params(notebook, "demo", root=place).model_dump())


def _set(chance: random.Random) -> str:
    key = chance.choice(("limits.max_weight", "source", "monitor.ic_threshold", "a.b.c", "min_trade_size", "x." * 300))
    value = chance.choice((*fuzzing.YAML_VALUES, *fuzzing.TEXTS[:60]))
    return fuzzing.word(f"{key}=0.1", chance) if chance.random() < 0.3 else f"{key}={value}"


@door(_set)
def set_option(place: Path, given: str) -> None:
    values = json.loads(json.dumps(PARAMS["daily_run"]))
    settings.set_value(values, given)
    fuzzing.require_finite(settings.check_params("daily_run", values).model_dump())


SOURCES = [
    {"provider": "files", "path": "x", "prices": "raw", "members": {"path": "m.csv"}, "rename": {"CASH": "CASH.O"}},
    {"provider": "files", "path": "x", "prices": "raw", "fundamentals": {"path": "f.csv", "items": {"revenue": "r"}}},
    {"provider": "files", "path": "x", "prices": "raw", "liquid": {"n": 50}, "endings": {"sessions": 5}},
    {"provider": "simulated", "seed": 1},
]
YAHOO = {"provider": "yahoo", "symbols": ["A"], "patience": {"requests_per_second": 1.0}}


@door(lambda chance: fuzzing.yaml_file({"source": chance.choice(SOURCES)}, chance), usual=80)
def source_file(place: Path, given: bytes) -> None:
    fuzzing.require_finite(_source_in(str(written(place / "source.yaml", given))).model_dump())


@door(functools.partial(fuzzing.yaml_file, {"source": YAHOO}), usual=30)
def yahoo_source(place: Path, given: bytes) -> None:
    fuzzing.require_finite(_source_in(str(written(place / "source.yaml", given))).model_dump())


@door(lambda chance: fuzzing.raw(b"# a desk\nformat: 1\n", chance))
def desk_marker(place: Path, given: bytes) -> None:
    written(place / desk_folder.FILE, given)
    desk_folder.named_desk(place)


PEOPLE = {
    "two_above": 250000,
    "approvers": [
        {"name": name, "key": approvals.public_key(Ed25519PrivateKey.from_private_bytes(bytes([n] * 32))),
         "approve_up_to": 1e5, "may": ["approve", "reset"]}
        for n, name in enumerate(("Ann", "Bob"), start=1)
    ],
}  # fmt: skip


@door(functools.partial(fuzzing.yaml_file, PEOPLE), prepare=lambda place: (place / "runs").mkdir(), usual=80)
def approvers_list(place: Path, given: bytes) -> None:
    written(place / desk_folder.FILE, b"format: 1\n")
    written(place / approvers.FILE, given).chmod(0o644)
    found = approvers.read_approvers(place / "runs")
    if found is not None:
        found.require_enough(
            [(person.name, person.key) for person in found.approvers if "approve" in person.may], 10**6
        )


# ---- what vendors send ----

DAYS = [f"{day:%Y-%m-%d}" for day in calendar.sessions("2022-11-01", "2022-12-28")[-12:]]
SYMBOLS = ("A", "NA", "TRUE")
BARS = [(s, day, "10", "11", "9", f"{10 + i / 10}", "1000") for s in SYMBOLS for i, day in enumerate(DAYS)]
BAR_HEAD = ("symbol", "date", "open", "high", "low", "close", "volume")
SIDES: dict[str, tuple[tuple[str, ...], list[tuple[str, ...]]]] = {
    "actions": (("date", "symbol", "kind", "value"),
                [(DAYS[3], "A", "split", "2"), (DAYS[5], "NA", "dividend", "0.1"),
                 (DAYS[9], "TRUE", "delisting", "-1")]),
    "sectors": (("symbol", "sector"), [("A", "Tech"), ("NA", "Energy"), ("TRUE", "Tech")]),
    "members": (("symbol", "start", "end"), [("A", DAYS[0], ""), ("NA", DAYS[0], DAYS[6]), ("NA", DAYS[8], "")]),
    "securities": (("id", "ticker", "start", "end"),
                   [("1", "A", DAYS[0], ""), ("2", "NA", DAYS[0], ""), ("3", "TRUE", "", "")]),
    "index": (("date", "close"), [(day, "100") for day in DAYS]),
    "fundamentals": (("symbol", "available", "period_end", "item", "value"),
                     [("A", DAYS[2], "2022-09-30", "revenue", "5"), ("NA", DAYS[4], "2022-09-30", "equity", "7")]),
}  # fmt: skip


def _table(head, rows) -> bytes:
    return "".join(",".join(cells) + "\n" for cells in (head, *rows)).encode()


def _frame(head, rows) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=list(head))
    dates = [name for name in table if name in ("date", "start", "end", "available", "period_end")]
    numbers = [name for name in table if name in ("open", "high", "low", "close", "volume", "value")]
    table[dates] = table[dates].apply(pd.to_datetime)
    return table.assign(**{name: table[name].astype("float64") for name in numbers})


def _vendor(place: Path) -> None:
    written(place / "bars.csv", _table(BAR_HEAD, BARS))
    for name, (head, rows) in SIDES.items():
        written(place / f"{name}.csv", _table(head, rows))


def deliver(place: Path, *sides: str, bars: str = "bars.csv", **more) -> None:
    """The folder through the reader and ingest: what was admitted has no price that is none."""
    tables = {side: {"path": str(place / f"{side}.csv")} for side in sides}
    said = {"provider": "files", "path": str(place / bars), "prices": "raw", **tables, **more}
    market, _ = admit(fetch(parse_source(said)), today=DAY)
    for field in ("open", "high", "low", "close", "adjusted"):
        if (table := getattr(market, field)) is not None:
            values = table.to_numpy()
            assert ((values > 0) & (values < np.inf) | np.isnan(values)).all(), field


@door(lambda chance: fuzzing.csv_file(BAR_HEAD, BARS, chance), prepare=_vendor, usual=25)
def bars_csv(place: Path, given: bytes) -> None:
    written(place / "bars.csv", given)
    deliver(place)


@door(lambda chance: fuzzing.parquet_file(_frame(BAR_HEAD, BARS), chance), prepare=_vendor, usual=25)
def bars_parquet(place: Path, given: bytes) -> None:
    written(place / "bars.parquet", given)
    deliver(place, bars="bars.parquet")


WIDE = ("date", *SYMBOLS)


@door(lambda chance: fuzzing.csv_file(WIDE, [(day, "10", "11", "12") for day in DAYS], chance), usual=25)
def wide_closes(place: Path, given: bytes) -> None:
    written(place / "close.csv", given)
    deliver(place, bars="close.csv", layout="wide")


# What nobody described: a header and rows by shape, for `understand`.
UNDESCRIBED: dict[str, tuple[tuple[str, ...], list[tuple[str, ...]]]] = {
    "long": (("ticker", "date", "close", "volume"), [("A", day, "10.5", "1,200") for day in DAYS]),
    "european": (("Symbol;Datum;Date;Close",), [(f"A;x;{day[8:]}.{day[5:7]}.{day[:4]};10,5",) for day in DAYS]),
    "per_symbol": (("Date", "Close/Last"), [(f"{day[5:7]}/{day[8:]}/{day[:4]}", "$10.50") for day in DAYS]),
    "two_headers": (("Price", "Close", "Close"), [("Ticker", "A", "B"), *((day, "10", "11") for day in DAYS)]),
    "splits": (("symbol", "ex_date", "ratio"), [("A", DAY, "4:1"), ("B", DAY, "2")]),
}


def _undescribed_door(name: str) -> None:
    head, rows = UNDESCRIBED[name]

    def enter(place: Path, given: bytes) -> None:
        folder = place / f"own_{name}"
        written(folder / "A.csv", given)
        source = understand(str(folder)).source
        if source is not None:
            admit(fetch(source), today=DAY)

    def prepare(place: Path) -> None:
        (place / f"own_{name}").mkdir()
        if name == "splits":
            written(place / f"own_{name}" / "bars.csv", _table(BAR_HEAD, BARS))

    make = functools.partial(fuzzing.csv_file, head, rows)
    DOORS[f"folder_{name}"] = Door(f"folder_{name}", make, enter, prepare, 25)


for _name in UNDESCRIBED:
    _undescribed_door(_name)


def _side_door(name: str) -> None:
    head, rows = SIDES[name]

    def make(chance: random.Random) -> tuple[str, bytes]:
        if chance.random() < 0.7:
            return "csv", fuzzing.csv_file(head, rows, chance)
        return "parquet", fuzzing.parquet_file(_frame(head, rows), chance)

    def enter(place: Path, given: tuple[str, bytes]) -> None:
        file = written(place / f"{name}_table.{given[0]}", given[1])
        deliver(place, **{name: {"path": str(file)}})

    DOORS[f"vendor_{name}"] = Door(f"vendor_{name}", make, enter, _vendor, 25)


for _name in SIDES:
    _side_door(_name)

# ---- what a broker sends ----

FILLS = [("f1", "2022-12-28-A", "10", "10.5", "0.35", DAY), ("f2", "2022-12-28-NA", "-3", "8", "0", DAY)]


@door(lambda chance: fuzzing.csv_file(brokers.FILL_COLUMNS, FILLS, chance))
def fills(place: Path, given: bytes) -> None:
    table = commands._understood(brokers.parse_fills, given, place / "fills.csv")
    commands._require_past(table)
    assert np.isfinite(table["price"].astype(float)).all()


@door(
    lambda chance: fuzzing.csv_file(("symbol", "shares", "price"), [("A", "10", "9.5"), ("CASH", "5.25", "")], chance)
)
def statement(place: Path, given: bytes) -> None:
    file = place / "statement.csv"
    shares, _ = commands._understood(brokers.parse_statement, given, file)
    prices = commands._understood(brokers.parse_prices, given, file)
    assert np.isfinite([*prices.values(), *shares.to_numpy(dtype=float)]).all()


# ---- words ----

WORDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "date": (DAY, lambda text: calendar.require_session(calendar.parse_date(text))),
    "deadline": (DAY, calendar.approval_deadline),
    "amount": ("1234.56", commands._cents),
    "name": ("Ann", lambda text: require_line(text, "--who")),
    "ids": ("2022-12-28-A,2022-12-28-B", approvals.order_ids),
    "signature": (SHA, lambda text: commands.sign(text, DAY, who="Ann", key=Path("none"), runs=Path("runs"))),
    "book": ("paper", lambda text: service.the_book(Path("nowhere"), text)),
    "sealed": (f"{DAY}.2", lambda text: RunsFolder("nowhere").sealed("daily_run", text)),
    "notebook": ("daily_run", lambda text: RunsFolder("nowhere").latest(text)),
    "source": ("runs/vendor/prices.parquet", lambda text: vendor_folder_of(text)),
    "head": (SHA, lambda text: check_heads(Path("nowhere"), kept_heads(text))),
}


def vendor_folder_of(text: str) -> None:
    """What `data check FOLDER` does first; nothing is fetched from anywhere."""
    from openbook.market.sources.reading import list_files

    if "://" not in text:
        list_files(text)


def _word(chance: random.Random) -> tuple[str, str]:
    name = chance.choice(list(WORDS))
    return name, fuzzing.word(WORDS[name][0], chance)


@door(_word)
def words(place: Path, given: tuple[str, str]) -> None:
    WORDS[given[0]][1](given[1])


@door(
    lambda chance: chance.choice((1.0, 0.004, 9e11, 1e12, 9e16, 1e17, 1e300, -1.0, 0.0, float("nan"), float("inf"))),
    usual=20,
)
def opening_cash(place: Path, given: float) -> None:
    file = place / f"{given}.db"
    file.unlink(missing_ok=True)
    book.open_book(file, cash=given)
    assert 0 < book.read_book(file).cash_now_cents < LARGEST_CENTS


VARIABLES = {
    "OPENBOOK_NOW": f"{DAY}T21:00Z",
    "OPENBOOK_CLOSURES": f"{BEFORE},{DAY}T13:00",
    "OPENBOOK_RUNS": "runs",
    "OPENBOOK_DESK": "desk",
    "OPENBOOK_SMTP": "smtp://user@host:587?timeout=5",
    "OPENBOOK_SMTP_PASSWORD": "secret1",
    "OPENBOOK_MAIL_FROM": "Desk <desk@example.com>",
    "OPENBOOK_MAIL_TO": "a@example.com, b@example.com",
    "OPENBOOK_SLACK": "https://hooks.slack.com/services/x",
    "OPENBOOK_WEBHOOK": "https://example.com/x",
    "OPENBOOK_SECRETS": "secrets.env",
    "OPENBOOK_BOOK_PAPER": "books/paper.db",
    "OPENBOOK_SEC_USER_AGENT": "Jane Doe jane@example.com",
    "SUDO_UID": "0",
    "XDG_STATE_HOME": "/tmp",
}
MAIL = {name: VARIABLES[name] for name in VARIABLES if "SMTP" in name or "MAIL" in name}


def _variable(chance: random.Random) -> tuple[str, str]:
    name = chance.choice(list(VARIABLES))
    text = fuzzing.word(VARIABLES[name], chance).replace("\0", "")[:5000]
    return name, text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")  # as a shell hands it over


@door(_variable)
def environment(place: Path, given: tuple[str, str]) -> None:
    before = dict(os.environ)
    here = os.getcwd()
    written(place / desk_folder.FILE, b"format: 1\n")
    os.chdir(place)
    os.environ.update(MAIL)
    os.environ.pop("OPENBOOK_NOW", None)
    os.environ[given[0]] = given[1]
    try:
        calendar.last_closed()
        calendar.is_session(DAY)
        runs = desk_folder.runs_folder()
        RunsFolder(runs).list()
        channels.configured()
        secrets.scrubbed_environment()
        secrets.redact("text")
        halt_markers.stops(Path("runs"), "paper")
        if given[0] == "OPENBOOK_BOOK_PAPER" and "://" not in given[1]:
            book.exists(service.book_place(Path("runs"), "paper"))
        if given[0] == "OPENBOOK_SEC_USER_AGENT":
            _user_agent(EdgarTable())
    finally:
        os.chdir(here)
        os.environ.clear()
        os.environ.update(before)


@door(lambda chance: fuzzing.raw(b"# secrets\nOPENBOOK_SMTP_PASSWORD='secret1'\nOTHER=x\n", chance))
def secrets_file(place: Path, given: bytes) -> None:
    secrets._read(_private(place / "secrets.env", given))


def _private(file: Path, data: bytes) -> Path:
    written(file, data).chmod(0o600)
    return file


# ---- approvals ----

TOKEN = approval_tokens.sign_approval(
    {"batch": SHA, "session": DAY, "orders": "all", "who": "Ann", "when": f"{DAY} 21:00:00 UTC",
     "expires": "2099-12-29T15:00:00+00:00"}, KEY)  # fmt: skip


def _token(chance: random.Random) -> bytes:
    if chance.random() < 0.5:
        return fuzzing.raw(approval_tokens.to_bytes(TOKEN), chance)
    changed = fuzzing.plain({name: value for name, value in TOKEN.items() if name not in ("signature", "key")}, chance)
    try:  # a forger with a key of his own signs whatever he likes
        return approval_tokens.to_bytes(approval_tokens._sign(approval_tokens.APPROVAL, changed, KEY))
    except (TypeError, ValueError):
        return fuzzing.json_file(TOKEN, chance)


@door(_token)
def token(place: Path, given: bytes) -> None:
    approvals.read_tokens([written(place / "token", given)], DAY)


PEM = (b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n"
       b"-----END PRIVATE KEY-----\n")  # fmt: skip


@door(lambda chance: fuzzing.raw(PEM, chance), prepare=lambda place: (place / "runs").mkdir())
def private_key(place: Path, given: bytes) -> None:
    key_files.read_key(_private(place / "key", given), place / "runs")
