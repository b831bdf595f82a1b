"""The ledger: one commit a session, all or nothing, once; and the views that are derived from it."""

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal, assert_series_equal

from openbook.common.errors import BookError, ConflictError, LockError, OutOfOrderError, StorageError
from openbook.execution.orders import TradeGenerator
from openbook.ledger import book_commands, database, event_chain, projection, schema, sqlite
from openbook.ledger.book import (
    HISTORY_COLUMNS,
    ORDER_COLUMNS,
    POSITION_COLUMNS,
    audit_book,
    commit_session,
    decision,
    head,
    open_book,
    read_book,
    settle,
    views,
)
from openbook.portfolio.costs import Costs
from support import environment
from support.books import CALM, DAYS, FREE, commit, day, make_market, make_trades, random_market

MARKET = make_market({"A": [100, 101, 102, 103, 104, 105], "B": [50, 49, 48, 47, 46, 45]})


@pytest.fixture
def path(tmp_path):
    """A paper book of 10,000 USD, in a folder of its own."""
    folder = tmp_path / "books"
    open_book(folder / "paper.db", cash=10_000)
    return folder / "paper.db"


def digest(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def dump(path) -> str:
    db = sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
    text = "\n".join(db.iterdump())
    db.close()
    return text


def three_sessions(path) -> None:
    """Buy, then sell part, with one order that expires."""
    commit(path, MARKET, 0, make_trades(A=50, B=20), inputs="first")
    commit(path, MARKET, 1, make_trades(A=-20, X=1), inputs="second")
    commit(path, MARKET, 2, inputs="third")


def test_a_book_begins_with_cash_and_nothing_else(path):
    state = read_book(path)
    assert (state.kind, state.cash, state.equity, state.last_session) == ("paper", 10_000, 10_000, None)
    assert state.positions.empty
    assert state.pending.empty
    assert state.history.empty
    assert os.listdir(path.parent) == ["paper.db"]


def test_a_book_is_never_begun_twice(path):
    before = digest(path)
    with pytest.raises(BookError, match="already exists"):
        open_book(path, cash=1)
    assert digest(path) == before


def test_what_a_crash_left_of_a_book_that_never_began_is_swept_away(tmp_path):
    left = tmp_path / f".paper.db.{'0' * 12}.new"
    left.mkdir()
    for name in ("draft.db", "draft.db-wal"):
        (left / name).write_bytes(b"half")
    (tmp_path / ".paper.db.new").write_bytes(b"of an older openbook")
    open_book(tmp_path / "paper.db", cash=10_000)
    assert os.listdir(tmp_path) == ["paper.db"]
    assert read_book(tmp_path / "paper.db").cash == 10_000


@pytest.mark.parametrize("cash", [0, -1, np.nan, np.inf])
def test_a_book_begins_with_money(tmp_path, cash):
    with pytest.raises(BookError, match="cash must be above 0"):
        open_book(tmp_path / "b.db", cash=cash)
    assert not any(tmp_path.iterdir())


def test_state_follows_the_commits(path):
    three_sessions(path)
    state = read_book(path)
    assert state.positions.to_dict() == {"A": 30, "B": 20}
    assert state.cash == 10_000 - 50 * 101 - 20 * 49 + 20 * 102
    assert state.equity == state.cash + 30 * 102 + 20 * 48
    assert state.last_session == DAYS[2]
    assert list(state.history) == HISTORY_COLUMNS
    assert state.history["date"].tolist() == list(DAYS[:3])


def test_the_settlement_shows_what_the_book_will_be(path):
    commit(path, MARKET, 0, make_trades(A=50))
    before = read_book(path)
    settlement = commit(path, MARKET, 3)
    after = read_book(path)
    assert_series_equal(settlement.positions, after.positions)
    assert settlement.cash == after.cash
    assert settlement.equity == after.equity
    assert_frame_equal(pd.concat([before.history, settlement.history], ignore_index=True), after.history)


def test_orders_wait_for_the_next_session(path):
    commit(path, MARKET, 3, make_trades(A=5))
    pending = read_book(path).pending.iloc[0]
    assert pending["order_id"] == f"{day(3)}-A"
    assert (pending["decided"], pending["session"]) == (DAYS[3], DAYS[4])
    assert (pending["symbol"], pending["shares"], pending["price"], pending["reason"]) == ("A", 5, 1.0, "by hand")


def test_s04_the_same_session_with_the_same_inputs_changes_nothing(path):
    three_sessions(path)
    before, text = digest(path), dump(path)
    commit(path, MARKET, 2, inputs="third")
    commit(path, MARKET, 0, make_trades(A=50, B=20), inputs="first")
    assert digest(path) == before
    assert dump(path) == text
    assert os.listdir(path.parent) == ["paper.db"]


def test_two_books_made_alike_are_the_same_bytes(path, tmp_path):
    other = tmp_path / "other" / "paper.db"
    open_book(other, cash=10_000)
    three_sessions(path)
    three_sessions(other)
    assert dump(path) == dump(other)
    assert head(path) == head(other)


def test_s05_the_same_session_with_other_inputs_is_a_conflict(path):
    three_sessions(path)
    before = digest(path)
    with pytest.raises(
        ConflictError, match=rf"{day(2)} was already committed with different inputs \(third, now other\)"
    ):
        commit(path, MARKET, 2, inputs="other")
    with pytest.raises(ConflictError, match="same inputs but a different settlement or different orders"):
        commit(path, MARKET, 2, make_trades(A=1), inputs="third")
    assert digest(path) == before


def test_s06_an_earlier_session_is_out_of_order(path):
    commit(path, MARKET, 2)
    before = digest(path)
    with pytest.raises(OutOfOrderError, match=rf"{day(1)} is before the book's last session, {day(2)}"):
        commit(path, MARKET, 1)
    assert digest(path) == before


def test_a_rerun_sees_the_book_as_it_was_before_its_session(path):
    seen = [(read_book(path), head(path))]
    for n in range(3):
        commit(path, MARKET, n, make_trades(A=5, B=-2))
        seen.append((read_book(path), head(path)))
    for n, (state, hash_) in enumerate(seen[:-1]):
        again = read_book(path, before=DAYS[n])
        assert again.head == state.head == hash_ == head(path, before=day(n))
        assert (again.cash_cents, again.invested_cents, again.last_session) == (
            state.cash_cents,
            state.invested_cents,
            state.last_session,
        )
        assert_series_equal(again.positions, state.positions)
        assert_frame_equal(again.pending, state.pending)
        assert_frame_equal(again.history, state.history)


def test_the_decision_of_an_evening(path):
    assert decision(path, DAYS[0]) is None
    three_sessions(path)
    assert decision(path, DAYS[1]) == (1, "second")
    assert decision(path, day(3)) is None


def test_a_settlement_made_before_another_commit_is_refused(path):
    commit(path, MARKET, 0, make_trades(A=5))
    old = settle(read_book(path), MARKET, FREE, DAYS[2])
    commit(path, MARKET, 1)
    with pytest.raises(ConflictError, match="the book changed since"):
        commit_session(path, session=DAYS[2], inputs_hash="x", settlement=old.to_json(), trades=make_trades())


def test_a_settlement_that_was_edited_is_refused(path):
    commit(path, MARKET, 0, make_trades(A=5))
    good = settle(read_book(path), MARKET, FREE, DAYS[1])
    before = digest(path)
    richer = good.to_json().replace(f'"cash_cents": {good.cash_cents}', f'"cash_cents": {good.cash_cents + 100}')
    for text, message in (
        (richer, "does not balance|do not follow|does not follow"),
        (good.to_json().replace('"head"', '"haed"'), "cannot read the settlement: h"),
        ("{", "cannot read the settlement"),
        (
            good.to_json().replace(f'"session": "{day(1)}"', f'"session": "{day(2)}"'),
            f"is for {day(2)}, not for {day(1)}",
        ),
    ):
        with pytest.raises(BookError, match=message):
            commit_session(path, session=DAYS[1], inputs_hash="x", settlement=text, trades=make_trades())
    assert digest(path) == before


@pytest.mark.parametrize(
    "trades",
    [
        make_trades(A=1, B=0),
        make_trades(B=1).assign(shares=1.5),
        make_trades(B=1).assign(price=np.nan),
        make_trades(B=1).assign(price=-1.0),
        pd.concat([make_trades(B=1), make_trades(B=2)]),
    ],
)
def test_a_malformed_order_is_refused_and_named(path, trades):
    settlement = settle(read_book(path), MARKET, FREE, DAYS[0]).to_json()
    with pytest.raises(
        BookError, match="invalid orders for B: each symbol needs one order in whole numbers of shares, with a price"
    ):
        commit_session(path, session=DAYS[0], inputs_hash="x", settlement=settlement, trades=trades)
    assert read_book(path).last_session is None


def test_cash_is_not_a_stock(path):
    before = digest(path)
    with pytest.raises(BookError, match="rejected the change: CHECK constraint"):
        commit(path, MARKET, 0, make_trades(CASH=1))
    assert digest(path) == before


def test_d14_odd_tickers_pass_through_the_book(path):
    names = ["NA", "TRUE", "1E5", "BRK.B", "a'; DROP TABLE events; --"]
    market = make_market({name: [10.0, 11.0] for name in names})
    commit(path, market, 0, make_trades(**dict.fromkeys(names, 3)))
    commit(path, market, 1)
    assert read_book(path).positions.to_dict() == dict.fromkeys(sorted(names), 3)
    assert views(path)["current_positions"]["symbol"].tolist() == [*sorted(names), "CASH"]


def test_views(path):
    three_sessions(path)
    tables = views(path)
    positions, history, orders = (
        tables[name] for name in ("current_positions", "performance_history", "trade_history")
    )
    assert list(positions) == POSITION_COLUMNS
    assert positions["symbol"].tolist() == ["A", "B", "CASH"]
    assert positions["value"].tolist() == [3060, 960, 6010]
    assert positions["weight"].sum() == pytest.approx(1)
    assert set(positions["as_of"]) == {day(2)}
    assert positions["shares"].isna().tolist() == [False, False, True]
    assert list(history) == HISTORY_COLUMNS
    assert history["date"].tolist() == [day(0), day(1), day(2)]
    assert history["turnover"].tolist() == pytest.approx([0, 6030 / 10_000, 2040 / 10_000])
    assert list(orders) == ORDER_COLUMNS
    assert orders["order_id"].tolist() == [f"{day(0)}-A", f"{day(0)}-B", f"{day(1)}-A", f"{day(1)}-X"]
    assert orders["side"].tolist() == ["BUY", "BUY", "SELL", "BUY"]
    assert orders["filled_shares"].tolist() == [50, 20, -20, 0]
    assert orders["price"].tolist()[:3] == [101, 49, 102]
    assert np.isnan(orders["price"].iloc[3])
    assert orders["status"].tolist() == ["FILLED", "FILLED", "FILLED", "EXPIRED"]
    assert orders["reason"].iloc[3] == f"by hand; no bar of X on {day(2)}"


def test_views_of_a_new_book(path):
    tables = views(path)
    assert tables["current_positions"].to_dict("records")[0]["value"] == 10_000
    assert tables["performance_history"].empty
    assert tables["trade_history"].empty
    assert list(tables["trade_history"]) == ORDER_COLUMNS
    commit(path, MARKET, 0, make_trades(A=1))
    assert views(path)["trade_history"]["status"].tolist() == ["APPROVED"]


def test_every_table_follows_from_the_events_alone(path):
    three_sessions(path)
    again = sqlite3.connect(":memory:", isolation_level=None)
    again.executescript(schema.statements())
    source = sqlite3.connect(path)
    for (body,) in source.execute("SELECT body FROM events ORDER BY seq"):
        record = json.loads(body)
        projection.apply(again, event_chain.append(again, record), record)
    for table in schema.NAMES:
        query = f"SELECT * FROM {table}"
        assert again.execute(query).fetchall() == source.execute(query).fetchall()
    source.close()
    audit_book(path)


def test_orders_follow_the_table_of_transitions(path):
    three_sessions(path)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA foreign_keys = ON")
    states = f"INSERT INTO order_states VALUES ('{day(0)}-A', 4, 99, '{day(2)}', ?, ?, '')"
    for before, after in (("FILLED", "PENDING"), ("PENDING", "FILLED"), ("FILLED", "NONSENSE")):
        with pytest.raises(sqlite3.IntegrityError):
            db.execute(states, (before, after))
    db.execute(states, ("FILLED", "RECONCILED"))
    db.close()


def test_nothing_in_a_book_is_changed_or_deleted(path):
    three_sessions(path)
    owed = {"symbol": "A", "kind": "dividend", "due": day(9), "cents": 100}
    book_commands.adjust(path, cash_cents=5, receivables=[owed], who="Ann", reason="found", when="now")
    commit(path, MARKET, 3)
    book_commands.record_cash(path, flow="fee", cents=1, who="Ann", reason="custody", when="now")
    book_commands.halt(path, who="Ann", reason="drill", when="now")
    book_commands.reconcile(path, pd.Series(dtype="int64"), 0, closed=day(3), when="now")
    db = sqlite3.connect(path, isolation_level=None)
    for table in schema.NAMES:
        column = db.execute(f"SELECT name FROM pragma_table_info('{table}') LIMIT 1").fetchone()[0]
        for statement in (f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}"):
            with pytest.raises(sqlite3.IntegrityError, match=f"{table} is append-only"):
                db.execute(statement)
    db.close()


def test_reading_leaves_no_trace_and_needs_no_right_to_write(path):
    three_sessions(path)
    before = digest(path), path.stat().st_mtime_ns
    read_book(path)
    views(path)
    head(path)
    assert (digest(path), path.stat().st_mtime_ns) == before
    assert os.listdir(path.parent) == ["paper.db"]


def test_a_query_cannot_write(path):
    with pytest.raises(StorageError, match="cannot write"):
        database.read(path, lambda db: db.execute("CREATE TABLE t (x)"))
    assert os.listdir(path.parent) == ["paper.db"]


def test_s07_a_missing_book_is_an_error_and_is_not_created(tmp_path):
    path = tmp_path / "books" / "paper.db"
    settlement = "{}"
    for call in (
        lambda: read_book(path),
        lambda: views(path),
        lambda: head(path),
        lambda: decision(path, DAYS[0]),
    ):
        with pytest.raises(BookError, match=r"no book at .*; create one with `openbook init"):
            call()
    with pytest.raises(BookError):
        commit_session(path, session=DAYS[0], inputs_hash="x", settlement=settlement, trades=make_trades())
    assert not any(tmp_path.iterdir())
    with pytest.raises(BookError, match="is not a file"):
        read_book(tmp_path)


def damaged(path, kind: str) -> None:
    """Ruin a book in one of several ways."""
    data = bytearray(path.read_bytes())
    if kind == "empty":
        data = b""
    elif kind == "text":
        data = b"cash: 100000\n"
    elif kind == "cut":
        data = data[: len(data) // 2]
    elif kind == "first page":
        data = data[:4096]
    elif kind == "zeros":
        data[4096:8192] = bytes(4096)
    elif kind == "last page":
        data[-4096:] = bytes(4096)
    elif kind == "event":
        at = data.index(b'"cash_cents":1000000')
        data[at : at + 20] = b'"cash_cents":9000000'
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["empty", "text", "cut", "first page", "zeros", "last page", "event"])
def test_s07_a_damaged_book_is_an_error_and_is_left_as_it_is(path, kind):
    three_sessions(path)
    settlement = settle(read_book(path), MARKET, FREE, DAYS[3]).to_json()
    damaged(path, kind)
    before = digest(path)
    for call in (
        lambda: read_book(path),
        lambda: views(path),
        lambda: commit_session(path, session=DAYS[3], inputs_hash="x", settlement=settlement, trades=make_trades()),
    ):
        with pytest.raises(BookError):
            call()
    assert digest(path) == before


def test_s07_a_flipped_bit_anywhere_is_noticed_or_harmless(path):
    """Cash and positions are as they were, or an error; whatever else changed, an audit tells.

    Two places were found by trying every byte: the year, or a dash, in the key of the last session.
    """
    three_sessions(path)
    commit(path, MARKET, 3, make_trades(A=-7), inputs="fourth")
    good, shown, data = read_book(path), views(path), path.read_bytes()
    rng = np.random.default_rng(1)
    used = np.flatnonzero(np.frombuffer(data, dtype="uint8"))
    noticed = 0
    key = data.index(b"2025-03-06\x05fourt")
    chosen = [(key, 1), (key + 4, 5), *((at, int(rng.integers(8))) for at in rng.choice(used, 400, replace=False))]
    for at, bit in chosen:
        flipped = bytearray(data)
        flipped[at] ^= 1 << bit
        path.write_bytes(flipped)
        try:
            state, tables = read_book(path), views(path)
        except BookError:
            noticed += 1
            continue
        assert (state.head, state.cash_cents, state.invested_cents) == (good.head, good.cash_cents, good.invested_cents)
        assert_series_equal(state.positions, good.positions)
        same = [state.pending.equals(good.pending), *(table.equals(shown[name]) for name, table in tables.items())]
        if not all(same):  # older rows are compared by an audit, and before every commit
            with pytest.raises(BookError):
                audit_book(path)
    assert noticed > 60


def test_s07_another_sqlite_file_is_not_a_book(tmp_path):
    other = tmp_path / "other.db"
    db = sqlite3.connect(other)
    db.execute("CREATE TABLE events (seq, body, hash)")
    db.close()
    with pytest.raises(BookError, match="is not a book"):
        read_book(other)


def test_a_book_of_another_version_is_refused(path):
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 7")
    db.close()
    with pytest.raises(BookError, match=r"by a newer openbook \(format 7; this one reads 3\); update openbook"):
        read_book(path)


@pytest.mark.parametrize("statement", ["DELETE FROM events WHERE seq = 2", "DELETE FROM events"])
def test_x09_a_removed_event_breaks_the_chain(path, statement):
    three_sessions(path)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("DROP TRIGGER events_DELETE")
    db.execute(statement)
    db.close()
    with pytest.raises(BookError, match=r"event 2 was altered or removed|has no events"):
        read_book(path)


def crashing_commit(path, where: str) -> None:
    """Commit the second session in a process of its own that dies at `where`."""
    code = f"""
import os
from support.books import commit, make_market, make_trades
from openbook.ledger import projection, sqlite

def die(function):
    def wrapped(*args):
        function(*args)
        os._exit(9)
    return wrapped

{where}
market = make_market({{"A": [100, 101, 102, 103], "B": [50, 49, 48, 47]}})
commit({str(path)!r}, market, 1, make_trades(A=-20), inputs="second")
"""
    assert subprocess.run([sys.executable, "-c", code], env=environment(), check=False).returncode == 9


@pytest.mark.parametrize(
    ("table", "change"),
    [("sessions", "cash_cents = cash_cents + 1"), ("positions", "shares = shares + 1"), ("orders", "symbol = 'B'")],
)
def test_tables_changed_past_their_guards_are_noticed(path, table, change):
    three_sessions(path)
    commit(path, MARKET, 3, make_trades(A=-1))
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(f"DROP TRIGGER {table}_UPDATE")
    db.execute(f"UPDATE {table} SET {change} WHERE {'decided' if table == 'orders' else 'session'} = '{day(3)}'")
    db.close()
    with pytest.raises(BookError, match=f"table {table} does not match the events"):
        read_book(path)


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("fills", f"UPDATE fills SET price = 1 WHERE date = '{day(1)}'"),
        ("history", f"UPDATE history SET buys_cents = 1 WHERE date = '{day(0)}'"),
        ("lots", f"UPDATE lots SET cost_cents = 1 WHERE session = '{day(1)}'"),
        ("names", "UPDATE names SET ticker = 'C' WHERE ticker = 'A'"),
        ("order_states", f"DELETE FROM order_states WHERE order_id = '{day(0)}-A' AND status = 'FILLED'"),
        ("positions", "INSERT INTO positions VALUES ('2024-01-02', 'A', 'A', 1, 1.0, 100, 90)"),
    ],
)
def test_an_audit_compares_all_tables_with_all_events(path, table, change):
    three_sessions(path)
    db = sqlite3.connect(path, isolation_level=None)
    for verb in ("UPDATE", "DELETE"):
        db.execute(f"DROP TRIGGER {table}_{verb}")
    db.execute(change)
    db.close()
    with pytest.raises(BookError, match=f"table {table} does not match the events"):
        audit_book(path)


KILL_AFTER_COMMIT = """
from contextlib import contextmanager
transaction = sqlite._transaction

@contextmanager
def _dying(db, begin, *rest):
    with transaction(db, begin, *rest):
        yield
    if begin == "BEGIN IMMEDIATE":
        os._exit(9)

sqlite._transaction = _dying
"""


def test_killed_inside_the_transaction_leaves_the_old_book(path, tmp_path):
    commit(path, MARKET, 0, make_trades(A=50, B=20), inputs="first")
    twin = tmp_path / "twin.db"
    shutil.copy(path, twin)
    text = dump(path)
    crashing_commit(path, "projection.apply = die(projection.apply)")
    assert read_book(path).last_session == DAYS[0]
    for file in (path, twin):
        commit(file, MARKET, 1, make_trades(A=-20), inputs="second")
    assert dump(path) == dump(twin) != text
    assert os.listdir(path.parent) == ["paper.db"]


def test_killed_after_the_commit_keeps_it_and_a_rerun_changes_nothing(path):
    commit(path, MARKET, 0, make_trades(A=50, B=20), inputs="first")
    crashing_commit(path, KILL_AFTER_COMMIT)
    assert path.with_name("paper.db-wal").stat().st_size > 0
    assert decision(path, DAYS[1]) == (1, "second")
    commit(path, MARKET, 1, make_trades(A=-20), inputs="second")
    assert os.listdir(path.parent) == ["paper.db"]
    assert read_book(path).pending["shares"].tolist() == [-20]


def test_reading_while_another_process_writes_sees_the_old_book(path):
    commit(path, MARKET, 0, make_trades(A=50))
    with database.write(path) as db:
        db.execute("INSERT INTO transitions VALUES ('A', 'B')")
        assert read_book(path).last_session == DAYS[0]
        assert database.read(path, lambda ro: ro.execute("SELECT count(*) FROM transitions").fetchone()) == (
            len(schema.TRANSITIONS),
        )
    assert os.listdir(path.parent) == ["paper.db"]


def test_a_read_that_a_commit_overtakes_is_done_again(path):
    commit(path, MARKET, 0)
    calls = []

    def query(db):
        calls.append(db.execute("SELECT max(session) FROM sessions").fetchone()[0])
        if len(calls) == 1:
            commit(path, MARKET, 1)
        return calls[-1]

    assert database.read(path, query) == day(1)
    assert calls == [day(0), day(1)]


def test_a_read_that_a_commit_garbles_is_done_again(path):
    calls = []

    def query(db):
        calls.append(1)
        if len(calls) == 1:
            commit(path, MARKET, 0)
            raise BookError("torn")
        return db.execute("SELECT max(session) FROM sessions").fetchone()[0]

    assert database.read(path, query) == day(0)


def test_a_second_writer_waits_and_then_says_so(path, monkeypatch):
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.1)
    with database.write(path), pytest.raises(LockError, match="locked by another process"):
        commit(path, MARKET, 0)


def fill_the_disk(path) -> None:
    """Append more than the file may grow to."""
    with database.write(path) as db:
        db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
        event_chain.append(db, {"kind": "note", "session": day(0), "text": "x" * 100_000})


def test_s02_a_full_disk_is_a_storage_error_and_changes_nothing(path):
    commit(path, MARKET, 0)
    before = digest(path)
    with pytest.raises(StorageError, match=r"cannot read or write .*: database or disk is full"):
        fill_the_disk(path)
    assert digest(path) == before
    commit(path, MARKET, 1)


def test_a_book_cannot_be_begun_below_a_file(path):
    with pytest.raises(StorageError, match=r"Not a directory|File exists"):
        open_book(path / "paper.db", cash=1)


def test_twenty_evenings_with_costs_and_everything(tmp_path):
    """Generator, book and settlement together: cash is never overdrawn, equity and views agree every evening."""
    path, market, costs = tmp_path / "b.db", random_market(7), Costs(min_commission=0.35)
    open_book(path, cash=50_000)
    rng = np.random.default_rng(0)
    generator = TradeGenerator(costs=costs)
    for n in range(len(market.dates)):
        close = market.close.iloc[n].dropna()
        held = read_book(path).positions.index
        delisted = market.actions.query("kind == 'delisting'")["symbol"]
        if not held.difference(delisted).isin(close.index).all():
            continue  # a gap in a held name: that evening is settled with the next
        settlement = settle(read_book(path), market, costs, DAYS[n])
        parts = rng.random(len(close) + 1) * (rng.random(len(close) + 1) < 0.7) + 1e-9
        weights = pd.Series(parts / parts.sum(), index=[*close.index, "CASH"])
        trades = generator.generate_trades(settlement.positions, settlement.cash, weights, close)
        how = {"inputs_hash": day(n), "settlement": settlement.to_json(), "trades": trades, "switch": CALM}
        commit_session(path, session=DAYS[n], **how)
        table = views(path)["current_positions"]
        assert table["value"].sum() == pytest.approx(read_book(path).equity)
        assert (table["value"] >= 0).all()
    orders = views(path)["trade_history"]
    assert {"FILLED", "APPROVED"} <= set(orders["status"])
    assert len(orders) > 20


# ---- amounts beyond what a book can hold ----


@pytest.mark.parametrize("cash", [1e12, 9e16, 1e17, 1e300, float("inf"), float("nan"), 0.0, 0.004, -1.0])
def test_opening_cash_lies_between_a_cent_and_a_trillion(tmp_path, cash):
    with pytest.raises(BookError, match="opening cash must be above 0 USD and below 1,000,000,000,000 USD"):
        open_book(tmp_path / "new.db", cash=cash)
    assert not list(tmp_path.iterdir())


def test_cash_stays_below_a_trillion(path):
    said = {"flow": "deposit", "who": "Ann", "reason": "x", "when": "2025-03-03 21:00:00 UTC"}
    book_commands.record_cash(path, cents=10**14 - 10**12, **said)
    before = path.read_bytes()
    with pytest.raises(BookError, match="too much: a book holds less than a trillion USD"):
        book_commands.record_cash(path, cents=10**12, **said)
    assert path.read_bytes() == before


@pytest.mark.parametrize("cents", [2**63, -(2**63) - 1, 10**400])
def test_a_correction_beyond_64_bits_is_refused(path, cents):
    before = head(path)
    with pytest.raises(BookError, match="cannot hold such an amount or number of shares; nothing was changed"):
        book_commands.adjust(path, who="Ann", reason="x", when="2025-03-03 21:00:00 UTC", cash_cents=cents)
    assert head(path) == before


@pytest.mark.parametrize("price", [1e17, 1e100, 1e300, 1.7e308])
def test_a_close_beyond_64_bits_is_refused_by_name(path, price):
    market = make_market({"A": [10, 10, price], "B": [1.0, 1.0, 1.0]})
    commit(path, market, 0, make_trades(A=5, B=1))
    commit(path, market, 1)
    before = head(path)
    with pytest.raises(
        BookError, match=r"cannot hold such an amount|larger than a book can hold; check the price of A"
    ):
        commit(path, market, 2)
    assert head(path) == before
