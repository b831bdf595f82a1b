"""The doors in the runs folder: what openbook wrote once, and people, disks or forgers changed since."""

import contextlib
import functools
import hashlib
import json
import os
import random
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd

from openbook.app import agreement, commands, pre_trade_recheck, service, settings, status
from openbook.common import desk_folder
from openbook.decision.sealed_inputs import input_locations, read_settlement
from openbook.execution.orders import TRADE_COLUMNS
from openbook.ledger import book
from openbook.market import calendar
from openbook.market.sources import parse_source
from openbook.market.store import manifest
from openbook.notify import alerts, outbox
from openbook.report import overview
from openbook.runs import (
    audit_log,
    closures,
    halt_markers,
    last_head,
    libraries,
    lineage,
    message_queue,
    past_runs,
    provenance,
    registry,
    summaries,
    timestamps,
    verification,
    views,
    witness,
)
from openbook.runs.code_changes import void_because
from openbook.runs.runs_folder import RunsFolder, read_run
from openbook.selection.champion import CARD, PROMISE, ChampionCard, parse_card, read_card, read_promise
from openbook.signals import bundle
from support import fuzzing
from support.doors import BEFORE, DAY, DOORS, NOW, SHA, door, json_door, written
from support.time_authority import Authority

__all__ = ["DOORS"]  # all of them, these included

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
    audit_log.check(place)
    audit_log.entries(place)
    witness.check_heads(place, [witness.KeptHead(SHA)])
    agreement.compare(place)
    last_head.remember(place)
    audit_log.head(place)
    verification.check_runs(place)
    service.log_time(place)
    service.require_clock(place)


@json_door({"n": 1, "when": f"{DAY} 21:00:00 UTC", "hash": SHA})
def head_seen(place: Path, given: bytes) -> None:
    """What was noted of the log in the user's state folder: at worst it is no note."""
    written(desk_folder.state_folder() / f"head.{desk_folder.runs_key(place)}", given)
    seen = last_head.remembered(place)
    assert seen is None or (type(seen["n"]) is int and isinstance(seen["hash"], str))


KEPT = f"log head {SHA}, entry 1 of {DAY} 21:00:00 UTC, signed by desk server: {'A' * 86}==\n".encode()


@door(lambda chance: fuzzing.raw(chance.choice((KEPT, b"Subject: x\nContent-Type: text/plain\n\n" + KEPT)), chance))
def kept_head(place: Path, given: bytes) -> None:
    witness.check_heads(place, witness.kept_heads(str(written(place / "kept.eml", given))))


@functools.cache
def _stamp_sample() -> tuple[bytes, str]:
    """A stamp of SHA, and the certificates of who made it."""
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

    authority = Authority(Path(tempfile.mkdtemp(prefix="openbook-authority-")) / "clock", "Clock Ltd")
    asked = TimestampRequestBuilder().data(SHA.encode()).hash_algorithm(HashAlgorithm.SHA256).build()
    return authority.answer(asked.as_bytes()), str(authority.roots)


@door(lambda chance: fuzzing.raw(_stamp_sample()[0], chance), usual=100)
def time_stamp(place: Path, given: bytes) -> None:
    written(place / timestamps.FOLDER / f"1-{SHA}.tsr", given)
    with mock.patch.dict(os.environ, {timestamps.ROOTS: _stamp_sample()[1]}):
        problems, known = timestamps.check_stamps(place)
    assert len(problems) == 1  # one that is cut, or of an entry that the log lacks
    assert not known


@json_door({"who": "Ann", "reason": "fire", "when": f"{DAY} 21:00:00 UTC"})
def halt_marker(place: Path, given: bytes) -> None:
    name = f"HALT.paper.{desk_folder.runs_key(place)}.{'0' * 8}"
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
