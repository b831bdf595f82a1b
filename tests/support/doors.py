"""The doors of openbook: each kind of file or word that comes from outside, a valid sample of it, and the reader.

A door makes a hostile version of its sample (`make`) and lets it in (`enter`), as the commands do. `place` is a folder
of its own, in which the valid sample and what stands beside it lie.
"""

import contextlib
import datetime
import functools
import hashlib
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

from openbook.app import approvals, commands, pre_trade_recheck, service, settings, status
from openbook.app.pipeline import _source_in
from openbook.common import desk_folder, secrets
from openbook.common.text import require_line
from openbook.decision.sealed_inputs import input_locations, read_settlement
from openbook.execution import brokers
from openbook.execution.orders import TRADE_COLUMNS
from openbook.ledger import approval_tokens, book
from openbook.market import calendar
from openbook.market.ingest import admit
from openbook.market.sources import fetch, parse_source
from openbook.market.sources.edgar import EdgarTable, _user_agent
from openbook.market.store import manifest
from openbook.notify import alerts, channels, outbox
from openbook.report import overview
from openbook.runs import (
    approvers,
    audit_log,
    closures,
    halt_markers,
    key_files,
    libraries,
    lineage,
    message_queue,
    past_runs,
    provenance,
    registry,
    summaries,
    verification,
    views,
)
from openbook.runs.code_changes import void_because
from openbook.runs.runs_folder import RunsFolder, read_run
from openbook.selection.champion import CARD, PROMISE, ChampionCard, parse_card, read_card, read_promise
from openbook.signals import bundle
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


def written(file: Path, data: bytes) -> Path:
    """The file with that content; a folder of its name goes."""
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


@door(lambda chance: fuzzing.csv_file(BAR_HEAD, BARS, chance), prepare=_vendor, usual=50)
def bars_csv(place: Path, given: bytes) -> None:
    written(place / "bars.csv", given)
    deliver(place)


@door(lambda chance: fuzzing.parquet_file(_frame(BAR_HEAD, BARS), chance), prepare=_vendor, usual=50)
def bars_parquet(place: Path, given: bytes) -> None:
    written(place / "bars.parquet", given)
    deliver(place, bars="bars.parquet")


WIDE = ("date", *SYMBOLS)


@door(lambda chance: fuzzing.csv_file(WIDE, [(day, "10", "11", "12") for day in DAYS], chance), usual=50)
def wide_closes(place: Path, given: bytes) -> None:
    written(place / "close.csv", given)
    deliver(place, bars="close.csv", layout="wide")


def _side_door(name: str) -> None:
    head, rows = SIDES[name]

    def make(chance: random.Random) -> tuple[str, bytes]:
        if chance.random() < 0.7:
            return "csv", fuzzing.csv_file(head, rows, chance)
        return "parquet", fuzzing.parquet_file(_frame(head, rows), chance)

    def enter(place: Path, given: tuple[str, bytes]) -> None:
        file = written(place / f"{name}_table.{given[0]}", given[1])
        deliver(place, **{name: {"path": str(file)}})

    DOORS[f"vendor_{name}"] = Door(f"vendor_{name}", make, enter, _vendor, 30)


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
    "head": (SHA, lambda text: audit_log.check(Path("nowhere"), text)),
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
    assert 0 < book.read_book(file).cash_now_cents < 10**14


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


# ---- what lies in the runs folder ----

CLOSURES = [{"date": DAY, "close": close, "who": "Ann", "reason": "snow", "when": f"{DAY} 12:00:00 UTC"}
            for close in ("", "13:00")]  # fmt: skip


@json_door(CLOSURES)
def closures_list(place: Path, given: bytes) -> None:
    written(place / closures.FILE, given)
    before = os.environ.get(calendar.CLOSURES)
    try:
        closures.announce(place)
        calendar.is_session(DAY)
        calendar.approval_deadline(BEFORE)
    finally:
        os.environ.pop(calendar.CLOSURES, None)
        if before is not None:
            os.environ[calendar.CLOSURES] = before


ENVIRONMENT = {"python": "3.11.7", "platform": "Linux", "distributions": {"numpy": "2.0"}}
RECORDED = {
    "verdict": "2 orders", "sentence": "Calm.", "switch": "ACTIVE", "orders": 2, "regime": 1, "is_rebalance": True,
    "execution": "next_open", "warning": None, "champion_note": "", "look": "ok",
    "not_passed": [{"check": "liquidity", "status": "WARN", "detail": "thin"}],
}  # fmt: skip
RUN = {
    "schema_version": 2, "complete": True, "notebook": "daily_run", "date": DAY, "profile": "demo", "inputs_hash": SHA,
    "params": {"dry_run": True, "source": {"provider": "sample"}, "limits": {}, "quality": {}, "min_trade_size": 100.0},
    "inputs": {"champion": SHA, "data": SHA}, "formats": {"book": 3}, "environment": ENVIRONMENT, "recorded": RECORDED,
    "code": {"sha256": SHA, "cells": SHA, "sources": SHA, "commit": None, "modified": False}, "outputs": {"a.csv": SHA},
}  # fmt: skip


@json_door(RUN, usual=60)
def sealed_run(place: Path, given: bytes) -> None:
    folder = place / "daily_run" / DAY
    written(folder / "run.json", given)
    written(folder / past_runs.WEIGHTS, b"symbol,weight,score,sector\nA,0.5,1,x\nCASH,0.5,,\n")
    verification.check_runs(place)
    summaries.read_rows(place)
    void_because(place, DAY)
    run = read_run(folder)
    past_runs.target_weights(str(folder), dry_run=True)
    commands._kind_of(run)
    from openbook.app.pipeline import exit_code_of
    from openbook.notify.message import run_id
    from openbook.runs.environments import differing, recorded

    run_id(run)
    exit_code_of(run)
    differing(recorded(run), ENVIRONMENT)
    settings.differences(run["params"], RUN["params"])
    settings.check_params("daily_run", run["params"])
    parse_source(run["params"]["source"])
    sorted(run["outputs"].items() ^ RUN["outputs"].items())


TRADE = ("A", "BUY", "10", "9.5", "95", "0", "0.1", "0.1", "0.35", "0.01", "", "score rank 1")


@door(lambda chance: fuzzing.csv_file(TRADE_COLUMNS, [TRADE, TRADE[:1] + TRADE[1:]], chance))
def trades_table(place: Path, given: bytes) -> None:
    table = service.read_trades(written(place / "trades.csv", given))
    assert len(table) == 0 or np.isfinite(table[["shares", "commission_est"]].to_numpy(dtype=float)).all()


@door(
    lambda chance: fuzzing.csv_file(
        ("symbol", "weight", "score", "sector"), [("A", "0.5", "1", "x"), ("CASH", "0.5", "", "")], chance
    )
)
def weights_table(place: Path, given: bytes) -> None:
    file = written(place / "portfolio_weights.csv", given)
    pre_trade_recheck._read_weights(file)
    assert np.isfinite(list(past_runs._weights(file).values())).all()


MARK = {
    "date": DAY, "before_cents": 100, "flows_cents": 0, "equity_cents": 100, "cash_cents": 50, "invested_cents": 50,
    "buys_cents": 0, "sells_cents": 0, "pnl_cents": 0, "dividends_cents": 0, "other_cents": 0, "commission_cents": 0,
    "slippage_cents": 0, "n_positions": 1,
}  # fmt: skip
SETTLEMENT = {
    "schema_version": 3, "session": DAY, "head": SHA, "cash_cents": 50, "share_units": 1, "marks": [MARK],
    "holdings": [{"symbol": "A", "security": "A", "shares": 5, "price": 0.1, "value_cents": 50, "cost_cents": 50}],
    "flow_rows": [{"kind": "deposit", "cents": 5}], "results": [], "notes": [{"date": DAY, "symbol": "A", "text": "x"}],
    "fill_rows": [{"symbol": "A", "fill_id": "f", "date": DAY, "order_id": "o", "shares": 1, "price": 1.0,
                   "notional_cents": 100, "commission_cents": 0, "slippage_cents": 0}],
    "actions": [{"symbol": "A", "date": DAY, "kind": "split", "value": 2.0, "shares_before": 1, "shares_after": 2,
                 "cash_cents": 0}],
    "receivables": [{"symbol": "A", "kind": "dividend", "due": "9999-12-31", "cents": 5}],
    "lots": [{"security": "A", "opened": DAY, "shares": 5, "cost_cents": 50}], "closed": [],
}  # fmt: skip


@json_door(SETTLEMENT)
def settlement(place: Path, given: bytes) -> None:
    written(place / "settlement.json", given)
    found = read_settlement(place)
    closes = pd.Series({"A": 1.0})
    _ = found.positions, found.equity, found.priced(closes), found.fills, found.realized, found.owed, found.halted


NOTEBOOK = {
    "cells": [{"cell_type": "code", "source": "1", "metadata": {"tags": ["x"]}, "outputs": [], "id": "a"},
              {"cell_type": "markdown", "source": ["# x"], "metadata": {}, "id": "b"}],
    "metadata": {"papermill": {"parameters": {"date": DAY, "store": "s", "champion": "c", "previous": None}}},
    "nbformat": 4, "nbformat_minor": 5,
}  # fmt: skip


@json_door(NOTEBOOK)
def sealed_notebook(place: Path, given: bytes) -> None:
    folder = place / "daily_run" / DAY
    written(folder / "daily_run.ipynb", given)
    input_locations(folder)
    provenance.code_cells(given)
    provenance.all_cells(given)
    provenance.cells_digest(given)


META = {"model": "tiny", "optimizer": "hrp", "selected": DAY, "vetted": True, "reason": "best score of 2 combinations",
        "trained_through": BEFORE, "runs": {"compare": SHA}, "code": {"compare": SHA}}  # fmt: skip
BACK = {"who": "Ann", "reason": "x", "when": DAY, "from": "cd" * 32}
ENTRIES = [{"sha256": SHA, "metadata": META}, {"sha256": SHA, "metadata": META, "rollback": BACK}]


@json_door({"schema_version": 1, **ENTRIES[1], "history": ENTRIES})
def champion_pointer(place: Path, given: bytes) -> None:
    (place / registry.FOLDER / SHA).mkdir(parents=True, exist_ok=True)
    written(place / registry.FOLDER / registry.POINTER, given)
    overview.champion_line(RunsFolder(place))
    verification.check_champions(place, lambda folder: None)
    lineage.champion_lines(place)
    registry.champion(place)
    registry.before(place)
    from openbook.app.champions import incumbent_of

    incumbent_of(place, DAY)


CARD_SAMPLE = ChampionCard(
    model="tiny", optimizer="hrp", vetted=True, reason="r", selected=DAY, score=0.5, n_trials=3, metrics={"sharpe": 1},
    features=("a", "b"), horizon=5, trained_through=BEFORE, portfolio={}, regime={}, costs={}, model_sha256=SHA,
    data_fingerprint=SHA, promise_sha256=SHA, runs={"compare": SHA},
).model_dump(mode="json")  # fmt: skip


@json_door(CARD_SAMPLE)
def champion_card(place: Path, given: bytes) -> None:
    """Under its own hash, as a forger names it."""
    folder = place / hashlib.sha256(given).hexdigest()
    written(folder / CARD, given)
    try:
        card = read_card(folder)
    finally:
        (folder / CARD).unlink()
        folder.rmdir()
    _ = parse_card(given), card.sentence, card.summary(DAY), card.to_bytes()
    fuzzing.require_finite(card.model_dump())


@json_door({"rank_ic": [0.03, 0.1], "returns": {BEFORE: 0.01, DAY: -0.01}})
def champion_promise(place: Path, given: bytes) -> None:
    written(place / PROMISE, given)
    card = ChampionCard.model_validate({**CARD_SAMPLE, "promise_sha256": hashlib.sha256(given).hexdigest()})
    found = read_promise(place, card)
    assert found is not None
    assert np.isfinite(found.series.to_numpy()).all()


SCHEMA = {
    "format": "openbook model", "format_version": 1, "algorithm": "lightgbm", "features": ["a", "b"],
    "dtype": "float32",
    "candidate": {"name": "tiny", "algorithm": "lightgbm"}, "horizon": 5, "label": "rank", "train_start": "2020-01-02",
    "train_end": "2022-01-03", "trained_through": BEFORE, "train_rows": 10, "trees": 3, "data_fingerprint": SHA,
    "libraries": {"numpy": "2"}, "model_file": "model.txt", "model_sha256": hashlib.sha256(b"x").hexdigest(),
    "golden": {"rows": 1, "inputs": "AAAAAAAAAAA=", "predictions": "AAAAAAAAAAA="},
}  # fmt: skip


@json_door(SCHEMA)
def model_schema(place: Path, given: bytes) -> None:
    written(place / bundle.SCHEMA, given)
    schema = bundle._parse(given, place / bundle.SCHEMA)
    bundle.require_fresh(schema.model_dump(), DAY, 62)
    bundle._decode(schema.golden.inputs, "<f4", place)
    bundle.bundle_hash({bundle.SCHEMA: given, "model.txt": b"x"})
    if schema.model_sha256 != SCHEMA["model_sha256"]:
        bundle.load_model(place, sha256=hashlib.sha256(given).hexdigest())


def _log(chance: random.Random) -> bytes:
    lines, previous = [], audit_log.GENESIS
    for n in range(1, 5):
        entry = {"n": n, "when": f"{DAY} 21:0{n}:00 UTC", "kind": "run", "subject": f"daily_run/2022-12-2{n}",
                 "digest": SHA, "previous": previous}  # fmt: skip
        if n == 4 and chance.random() < 0.6:
            entry = fuzzing.plain(entry, chance)
        try:
            sealed = audit_log._seal(entry) if isinstance(entry, dict) else {"hash": SHA}
            previous = sealed["hash"]
            lines.append(audit_log._canonical(sealed))
        except (TypeError, ValueError):
            lines.append(b"{}")
    data = b"".join(line + b"\n" for line in lines)
    return fuzzing.raw(data, chance) if chance.random() < 0.6 else data


@door(_log)
def audit_trail(place: Path, given: bytes) -> None:
    written(place / audit_log.FILE, given)
    audit_log.check(place, SHA)
    audit_log.entries(place)
    audit_log.head(place)
    verification.check_runs(place)
    service.log_time(place)
    service.require_clock(place)


@json_door({"who": "Ann", "reason": "fire", "when": f"{DAY} 21:00:00 UTC"})
def halt_marker(place: Path, given: bytes) -> None:
    name = f"HALT.paper.{halt_markers._key(place)}.{'0' * 8}"
    written(place / name, given)
    written(place / halt_markers.KILL, given)
    assert len(halt_markers.markers(place, "paper")) == 1
    assert len(halt_markers.stops(place, "paper")) == 2


STATE = {
    "tries": 1,
    "status": "waiting",
    "left": ["a@example.com"],
    "error": "421",
    "next_try": f"{DAY}T21:05:00+00:00",
}
MESSAGE = {
    "id": "a", "kind": "failure", "date": DAY, "subject": "s", "queued": f"{DAY}T21:00:00+00:00", "alarm": True,
    "marked": False, "channels": {"mail": STATE},
    "recipe": {"what": "run", "error": "e", "exit_code": 30, "left": "", "title": "t", "lines": ["l"], "event": ""},
}  # fmt: skip


@json_door(MESSAGE)
def outbox_entry(place: Path, given: bytes) -> None:
    for old in place.glob("ALERT-*"):
        old.unlink()
    file = written(place / "outbox" / "a.json", given)
    message_queue.entries(place)
    message_queue.count_waiting(place)
    outbox.status_lines(place, NOW)
    outbox.deliver(place, NOW)
    entry = message_queue.read_entry(file)
    if entry is not None:
        from openbook.notify.channels import Refused

        with contextlib.suppress(Refused):
            outbox._again(place, entry)


ROW = [1, 2, "orders", "2 orders", "report.html"]


@json_door({"schema_version": 1, "rows": {f"daily_run/{DAY}": ROW, f"failed/daily_run/{DAY}-1": ROW}}, usual=60)
def rows_index(place: Path, given: bytes) -> None:
    written(place / summaries.KNOWN, given)
    folder = place / "daily_run" / DAY
    if not folder.is_dir():
        written(folder / "run.json", json.dumps(RUN).encode())
    stamp = summaries._stamp(folder)
    written(place / summaries.KNOWN, given.replace(b"[1, 2,", json.dumps(stamp)[:-1].encode() + b","))
    status.status_lines(place)
    summaries.read_rows(place, keep=True)


@json_door({"performance_history.csv": [SHA, SHA]})
def views_note(place: Path, given: bytes) -> None:
    written(place / views.NOTE, given)
    views.altered(place)
    views.publish(place, {"a.csv": b"x\n"})


@json_door(["paper book: kill switch not tripped (ACTIVE)", f"  orders of {DAY}: 7 PENDING; approval deadline"])
def book_summary(place: Path, given: bytes) -> None:
    folder = place / "books" / "paper"
    written(folder / views.SUMMARY, given)
    status.status_lines(place)
    views.summary(folder)


HISTORY = ("date", "equity", "cash", "invested", "daily_return", "turnover", "costs", "n_positions")


@door(lambda chance: fuzzing.csv_file(HISTORY, [(DAY, "1000.0", "1", "2", "0.01", "0", "0", "3")] * 2, chance))
def performance_history(place: Path, given: bytes) -> None:
    folder = place / "books" / "paper"
    written(folder / "performance_history.csv", given)
    status.status_lines(place)
    with contextlib.suppress(ValueError):  # which the calendar page shows as it is
        overview.read_equity(folder)


STORE = {
    "format": 2, "source": {"provider": "sample"}, "name": "n", "execution": "next_close", "notes": ["x"],
    "fields": ["close"],
    "tables": ["actions"], "index": None, "sessions": {BEFORE: SHA, DAY: SHA}, "listed": {"A": BEFORE},
    "deltas": [{"first": BEFORE, "known": DAY, "files": {"bars-2022": {"file": "x.parquet", "sha256": SHA}}}],
}  # fmt: skip


def _manifest(chance: random.Random) -> bytes:
    content = fuzzing.plain(STORE, chance)
    try:  # a forger seals what he wrote
        content = {**content, "deltas": manifest.chained(content["deltas"])}
        content |= {"seal": manifest.seal_of(content)}
    except (TypeError, ValueError, KeyError, AttributeError):
        content = {"seal": SHA}
    return fuzzing.json_file(content, chance) if chance.random() < 0.4 else json.dumps(content).encode()


@door(_manifest)
def store_manifest(place: Path, given: bytes) -> None:
    from openbook.market.store import has_session, store_fingerprint

    written(place / manifest.MANIFEST, given)
    has_session(place, DAY)
    manifest.files_of(manifest.read_manifest(place))
    store_fingerprint(place, DAY)


@json_door({"exit_code": 31, "why": "no prices", "tried": f"{BEFORE} 21:00 UTC", "until": f"{DAY} 12:30 UTC"}, usual=60)
def failure_note(place: Path, given: bytes) -> None:
    chance = random.Random(len(given))
    above = place / "failed" / "daily_run"
    for name in (
        f"{DAY}-1",
        f"{DAY}-1.bak",
        f"{DAY}-",
        f"{DAY}-x",
        "2022-99-99-1",
        chance.choice(fuzzing.TEXTS[:30]) + "-1",
    ):
        try:
            written(above / name / "failure.json", given)
        except (OSError, ValueError):
            continue
    written(place / "failed" / "daily_run" / f"{DAY}-2" / "daily_run.ipynb", given)
    RunsFolder(place).waits("daily_run")
    RunsFolder(place)._attempts("daily_run", DAY)
    summaries.read_rows(place)
    alerts.late_prices(place)


@json_door({"abcdef": SHA})
def kept_commits(place: Path, given: bytes) -> None:
    written(place / libraries.FOLDER / libraries.COMMITS, given)
    libraries.check(place)
    libraries._commits(place)


def _book_bytes() -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        book.open_book(Path(folder) / "b.db", cash=1000.0)
        return (Path(folder) / "b.db").read_bytes()


@functools.cache
def _book_sample() -> bytes:
    return _book_bytes()


@door(lambda chance: fuzzing.raw(_book_sample(), chance), usual=40)
def book_file(place: Path, given: bytes) -> None:
    file = written(place / "b.db", given)
    for beside in place.glob("b.db-*"):
        beside.unlink()
    book.read_book(file)
    book.audit_book(file)


# ---- the commands behind the doors ----

WHO = ("--who", "Ann", "--reason", "a test")
OF = ("--runs", "{place}")
# By door, commands that read what it brings; {given} is the input itself, a word or a file with these bytes.
COMMANDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "parameters": (("--desk", "{place}", *OF, "data", "compact"),),
    "set_option": ((*OF, "whatif", DAY, "--set", "{given}"),),
    "source_file": (("data", "check", "--source", "{given}.yaml"),
                    ("data", "check", "{given}", "--beside", "{given}.yaml")),
    "desk_marker": (("--desk", "{place}", *OF, "champion"),),
    "approvers_list": (("--runs", "{place}/runs", "approve", DAY, "--token", "{given}"),),
    "bars_csv": (("data", "check", "{place}/bars.csv"),),
    "bars_parquet": (("data", "check", "{place}/bars.parquet"),),
    "wide_closes": (("data", "check", "{place}/close.csv"),),
    "fills": ((*OF, "fills", DAY, "{given}"), (*OF, "fills", DAY, "{given}", *WHO)),
    "statement": ((*OF, "reconcile", "{given}"), (*OF, "reconcile", "{given}", *WHO)),
    "words": (
        (*OF, "cash", "deposit", "{given}", *WHO), (*OF, "cash", "{given}", "5", *WHO),
        (*OF, "closure", "{given}", *WHO), (*OF, "closure", DAY, "--close", "{given}", *WHO),
        (*OF, "approve", "{given}", "--by", "Ann"), (*OF, "approve", DAY, "--by", "{given}"),
        (*OF, "reject", DAY, "--by", "{given}", "--reason", "{given}"), (*OF, "export", "{given}"),
        (*OF, "export", DAY, "--format", "{given}"), (*OF, "rename", "{given}", "{given}", "--date", DAY, *WHO),
        (*OF, "rename", "A", "B", "--date", "{given}", *WHO), (*OF, "halt", "--who", "{given}", "--reason", "{given}"),
        (*OF, "reset", "--who", "{given}", "--reason", "{given}"), (*OF, "init", "--cash", "{given}"),
        (*OF, "init", "--cash", "100", "--parts", "{given}"), (*OF, "init", "--cash", "100", "--book", "{given}"),
        (*OF, "verify", "--head", "{given}"), (*OF, "diff", "{given}", DAY), (*OF, "replay", "{given}"),
        (*OF, "open", "{given}"), (*OF, "rollback", "--who", "{given}", "--reason", "{given}"),
        (*OF, "data", "revisions", "{given}"), (*OF, "data", "update", "--through", "{given}", "--profile", "{given}"),
        (*OF, "backfill", "{given}", "--from", "{given}", "--to", DAY), (*OF, "views", "--book", "{given}"),
        ("sign", "{given}", "--date", "{given}", "--by", "{given}", "--key", "{given}", "--out", "{place}/t"),
        ("--runs", "{given}", "status"), ("--desk", "{given}", "status"), ("{given}",), ("data", "{given}"),
    ),
    "environment": ((*OF, "status"), ("status",), ("notify",), ("verify",), ("cash", "deposit", "5", *WHO)),
    "token": ((*OF, "approve", DAY, "--token", "{given}"),),
    "private_key": (("--runs", "{place}/runs", "sign", SHA, "--date", DAY, "--by", "Ann", "--key", "{place}/key",
                     "--out", "{place}/t"),),
    "closures_list": ((*OF, "champion"), (*OF, "closure", DAY, *WHO), (*OF, "verify")),
    "sealed_run": ((*OF, "status"), (*OF, "verify"), (*OF, "diff", DAY, DAY), (*OF, "fills", DAY, "{given}"),
                   (*OF, "whatif", DAY, "--set", "min_trade_size=5"), (*OF, "data", "revisions", DAY),
                   (*OF, "open", DAY)),
    "champion_pointer": ((*OF, "champion"), (*OF, "rollback", *WHO), (*OF, "status"), (*OF, "verify")),
    "audit_trail": ((*OF, "verify"), (*OF, "reset", "--clock", *WHO), (*OF, "closure", DAY, *WHO), (*OF, "status")),
    "halt_marker": ((*OF, "status"), (*OF, "halt", *WHO)),
    "outbox_entry": ((*OF, "status"), (*OF, "notify")),
    "rows_index": ((*OF, "status"), (*OF, "closure", DAY, *WHO)),
    "book_summary": ((*OF, "status"), (*OF, "verify")),
    "performance_history": ((*OF, "status"), (*OF, "closure", DAY, *WHO)),
    "failure_note": ((*OF, "status"), (*OF, "notify"), (*OF, "closure", DAY, *WHO)),
    "kept_commits": ((*OF, "verify"),),
    "book_file": ((*OF, "views"), (*OF, "cash", "deposit", "5", *WHO), (*OF, "verify"), (*OF, "halt", *WHO),
                  (*OF, "upgrade")),
}  # fmt: skip


def command_of(name: str, place: Path, given: Any, chance: random.Random) -> tuple[list[str], dict[str, str]]:
    """A command that reads what a door brings, and its environment; the input is put in its place first."""
    with contextlib.suppress(Exception):
        DOORS[name].enter(place, given)  # which puts it there
    said = given[1] if name in ("words", "environment") else given
    environment = {given[0]: said} if name == "environment" else {}
    data = next((part for part in (given if isinstance(given, tuple) else (given,)) if isinstance(part, bytes)), None)
    if data is not None:
        for suffix in ("", ".yaml"):
            _private(place / f"given{suffix}", data)
        said = str(place / "given")
    if name == "book_file":
        written(place / "books" / "paper.db", given)
    line = chance.choice(COMMANDS[name])
    return [word.replace("{place}", str(place)).replace("{given}", str(said)) for word in line], environment
