"""A book on a real PostgreSQL server: the same book, event for event, as one in a file; and never half of an act."""

import importlib
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal, assert_series_equal

from openbook.common.errors import (
    ApprovalError,
    BookError,
    ConflictError,
    LockError,
    OpenbookError,
    ParameterError,
    StorageError,
    UsageError,
)
from openbook.execution.kill_switch import KillSwitch
from openbook.execution.orders import TradeGenerator
from openbook.ledger import book_commands, database, event_chain, sqlite
from openbook.ledger.book import (
    audit_book,
    commit_session,
    decision,
    event_hashes,
    head,
    open_book,
    read_book,
    settle,
    views,
)
from openbook.ledger.reversals import reverse_fill
from openbook.portfolio.costs import Costs
from support import programs
from support.books import ABOUT, CALM, DAYS, commit, day, make_market, make_trades, random_market
from support.postgres import control, start

psycopg = programs.driver("postgresql", "psycopg")
programs.driver("postgresql", "sqlalchemy", minversion="2")
remote = importlib.import_module("openbook.ledger.postgres")

MARKET = make_market({"A": [100, 101, 102, 103, 104, 105], "B": [50, 49, 48, 47, 46, 45]})
NOW = "2025-03-03 21:00:00 UTC"
NUMBERS = itertools.count(1)


@pytest.fixture
def admin(server):
    """A connection past the library, as an administrator has it."""
    with psycopg.connect(host=str(server), user="openbook", dbname="postgres", autocommit=True) as db:
        yield db


@pytest.fixture
def url(server):
    """The address of a paper book of 10,000 USD."""
    place = address(server)
    open_book(place, cash=10_000)
    return place


def address(server, database="postgres") -> str:
    """The address of a book that does not exist yet."""
    return f"postgresql+psycopg://openbook@/{database}?host={server}&book=b{next(NUMBERS)}"


def name(url: str) -> str:
    return url.rpartition("=")[2]


def rows(admin, url: str) -> list[tuple]:
    """What the server keeps of a book."""
    query = "SELECT seq, body, hash, xmin::text FROM openbook_events WHERE book = %s ORDER BY seq"
    return admin.execute(query, [name(url)]).fetchall()


def unchanged(admin, url: str, act, error, match: str) -> None:
    """An act that is refused inserts nothing."""
    before = rows(admin, url)
    with pytest.raises(error, match=match):
        act()
    assert rows(admin, url) == before


def same(one, other) -> None:
    """Two books are the same in everything that can be asked of them."""
    assert event_hashes(one) == event_hashes(other)
    ours, theirs = (vars(read_book(path)) for path in (one, other))
    for field in ours:
        if isinstance(ours[field], pd.DataFrame):
            assert_frame_equal(ours[field], theirs[field])
        elif isinstance(ours[field], pd.Series):
            assert_series_equal(ours[field], theirs[field])
        else:
            assert ours[field] == theirs[field], field
    mine, yours = views(one), views(other)
    assert mine.keys() == yours.keys()
    for view, table in mine.items():
        assert_frame_equal(table, yours[view])


def approve(path, n: int) -> int:
    batch = book_commands.read_batch(path, day(n))
    return book_commands.approve(path, day(n), digest=batch.digest, about=ABOUT, who="Ann", when=NOW, how="terminal")


def record(path, *fills) -> int:
    """Record rows of (fill_id, symbol, shares, price, commission in cents) of the orders of session 0."""
    table = [(key, f"{day(0)}-{symbol}", n, price, cents, day(1)) for key, symbol, n, price, cents in fills]
    columns = ["fill_id", "order_id", "shares", "price", "commission_cents", "date"]
    return book_commands.record_fills(path, day(0), pd.DataFrame(table, columns=columns), when=NOW, source="0" * 64)


def live_steps(path):
    """Everything that can happen to a live book, one act after another."""
    signed = {"who": "Ann", "reason": "çà et là, 日本 🙂", "when": NOW}
    yield lambda: open_book(path, cash=10_000, kind="live")
    yield lambda: commit(path, MARKET, 0, make_trades(A=50, B=20), inputs="one")
    yield lambda: approve(path, 0)
    yield lambda: record(path, ("x1", "A", 30, 101.5, 100), ("x2", "B", 20, 49.25, 35))
    yield lambda: book_commands.record_cash(path, flow="deposit", cents=50_000, **signed)
    held = pd.Series({"A": 30, "B": 20})
    yield lambda: book_commands.reconcile(
        path, held, 0, closed=day(1), when=NOW, accepted=("Bob", "their cash is late")
    )
    yield lambda: commit(path, MARKET, 1, make_trades(A=-10), inputs="two")
    yield lambda: book_commands.reject(path, day(1), **signed)
    yield lambda: commit(path, MARKET, 2, make_trades(B=5), inputs="three")
    yield lambda: book_commands.halt(path, **signed)
    yield lambda: book_commands.reset(path, **signed)
    yield lambda: reverse_fill(path, "x2", **signed)
    yield lambda: record(path, ("x3", "B", 20, 49.25, 35))
    yield lambda: reverse_fill(path, "x3", **signed)
    owed = [{"symbol": "A", "kind": "dividend", "due": day(9), "cents": 100}]
    yield lambda: book_commands.adjust(
        path, shares={"Z": 2}, prices={"Z": 4.5}, cash_cents=7, receivables=owed, **signed
    )
    yield lambda: book_commands.rename(
        path, symbol="A", to="AA", date=day(3), **(signed | {"when": f"{day(2)} 21:00:00 UTC"})
    )


def test_the_same_acts_make_the_same_book_after_every_one(server, tmp_path):
    here, there = tmp_path / "live.db", address(server)
    for one, other in zip(live_steps(here), live_steps(there), strict=True):
        assert one() == other()
        same(here, there)
    assert len(event_hashes(there)) == 17
    for before in (DAYS[0], DAYS[1], DAYS[2]):
        assert head(here, before=before) == head(there, before=before)
        assert read_book(here, before=before).cash_cents == read_book(there, before=before).cash_cents
    assert decision(there, day(1)) == (1, "two")
    audit_book(there)


def test_the_switch_trips_alike(server, tmp_path):
    market = make_market({"A": [100, 100, 96, 97, 98]})
    books = tmp_path / "paper.db", address(server)
    for path in books:
        open_book(path, cash=10_000)
        for n, trades in enumerate((make_trades(A=100), None, make_trades(A=-100), None)):
            commit(path, market, n, trades, switch=KillSwitch(), inputs=day(n))
    assert read_book(books[1]).switch == "HALTED"
    same(*books)


def test_random_evenings_are_the_same_on_both(server, tmp_path):
    market, costs = random_market(7), Costs(min_commission=0.35)
    books = tmp_path / "paper.db", address(server)
    for path in books:
        open_book(path, cash=50_000)
    rng, generator = np.random.default_rng(0), TradeGenerator(costs=costs)
    for n in range(len(market.dates)):
        close = market.close.iloc[n].dropna()
        held = read_book(books[0]).positions.index
        if not held.difference(market.actions.query("kind == 'delisting'")["symbol"]).isin(close.index).all():
            continue
        settlement = settle(read_book(books[1]), market, costs, DAYS[n])
        parts = rng.random(len(close) + 1)
        weights = pd.Series(parts / parts.sum(), index=[*close.index, "CASH"])
        trades = generator.generate_trades(settlement.positions, settlement.cash, weights, close)
        how = {"inputs_hash": day(n), "settlement": settlement.to_json(), "trades": trades, "switch": CALM}
        for path in books:
            commit_session(path, session=DAYS[n], **how)
        assert head(books[0]) == head(books[1])
    same(*books)


def test_s04_a_rerun_changes_nothing(url, admin):
    commit(url, MARKET, 0, make_trades(A=50, B=20), inputs="one", manual=True)
    approve(url, 0)
    commit(url, MARKET, 1, make_trades(A=-5), inputs="two")
    book_commands.halt(url, who="Ann", reason="drill", when=NOW)
    before = rows(admin, url)
    commit(url, MARKET, 0, make_trades(A=50, B=20), inputs="one", manual=True)
    commit(url, MARKET, 1, make_trades(A=-5), inputs="two")
    assert book_commands.halt(url, who="Ann", reason="drill", when=NOW) == 0
    assert rows(admin, url) == before


def test_what_is_refused_inserts_nothing(url, admin):
    commit(url, MARKET, 0, make_trades(A=50), inputs="one", manual=True)
    commit(url, MARKET, 1, make_trades(A=1), inputs="two", manual=True)
    who = {"who": "Ann", "reason": "x", "when": NOW}
    for act, error, match in (
        (lambda: commit(url, MARKET, 1, inputs="other"), ConflictError, "with different inputs"),
        (lambda: commit(url, MARKET, 1, inputs="two"), ConflictError, "different settlement or different orders"),
        (lambda: approve(url, 0), ApprovalError, "can no longer be"),
        (lambda: record(url, ("x", "A", 1, 1.0, 0)), BookError, "paper book"),
        (lambda: book_commands.record_cash(url, flow="withdrawal", cents=10**9, **who), BookError, "would leave -"),
        (lambda: book_commands.read_batch(url, day(4)), BookError, "is not in the book"),
        (lambda: open_book(url, cash=1), BookError, "already exists"),
    ):
        unchanged(admin, url, act, error, match)


def test_every_guard_of_the_schema_holds_in_memory_and_nothing_is_sent(url, admin):
    def break_it(statement):
        with database.write(url) as db:
            event_chain.append(db, {"kind": "note", "session": ""})
            db.execute(statement)

    for statement in (
        "UPDATE book SET cash_cents = 1",
        "DELETE FROM events",
        "INSERT INTO positions VALUES ('2025-03-03', 'A', 'A', 0, 1.0, 1, 1)",
        "INSERT INTO flows VALUES (99, '', 'deposit', 1)",
        "INSERT INTO order_states VALUES ('x', 2, 1, '', 'NEW', 'FILLED', '')",
    ):
        unchanged(admin, url, lambda statement=statement: break_it(statement), BookError, "rejected the change")
    with pytest.raises(StorageError, match="cannot write"):
        database.read(url, lambda db: db.execute("INSERT INTO flows VALUES (1, '', 'deposit', 1)"))


def test_books_of_one_server_know_nothing_of_each_other(server, url):
    other = address(server)
    with pytest.raises(BookError, match=r"no book at postgresql://.*book=b\d+&host=.*create one with `openbook init"):
        read_book(other)
    open_book(other, cash=5)
    commit(url, MARKET, 0)
    assert [read_book(path).cash for path in (url, other)] == [10_000, 5]
    with database.write(url):
        commit(other, MARKET, 0)  # nor wait for each other


# ---- the guards of the server ----


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE openbook_events SET body = '{}'",
        "DELETE FROM openbook_events WHERE seq = 99",
        "TRUNCATE openbook_events",
    ],
)
def test_the_events_are_append_only(url, admin, statement):
    before = rows(admin, url)
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        admin.execute(statement)
    assert rows(admin, url) == before


def test_the_server_refuses_an_event_that_does_not_follow(url, admin):
    commit(url, MARKET, 0)
    body, hash_ = '{"kind":"note"}', event_hashes(url)[-1][1]
    good = event_chain.chain(hash_, body)
    for row in ((3, body, "0" * 64), (4, body, good), (2, body, good), (3, body + " ", good), (0, body, good)):
        with pytest.raises(psycopg.Error, match="does not follow"):
            admin.execute("INSERT INTO openbook_events VALUES (%s, %s, %s, %s)", [name(url), *row])
    admin.execute("INSERT INTO openbook_events VALUES (%s, 3, %s, %s)", [name(url), body, good])
    with pytest.raises(BookError, match="events that this version of openbook cannot read"):  # a chain, but of no book
        read_book(url)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE openbook_events SET body = replace(body, '1000000', '1000001') WHERE book = '{}' AND seq = 1",
        "UPDATE openbook_events SET hash = repeat('0', 64) WHERE book = '{}' AND seq = 2",
        "DELETE FROM openbook_events WHERE book = '{}' AND seq = 2",
        "UPDATE openbook_events SET seq = 4 - seq WHERE book = '{}' AND seq <> 2",
    ],
)
def test_x09_an_event_altered_past_the_guard_is_noticed(url, admin, change):
    commit(url, MARKET, 0, make_trades(A=5))
    commit(url, MARKET, 1)
    admin.execute("SET session_replication_role = replica")  # an administrator's way around a trigger
    admin.execute("ALTER TABLE openbook_events DROP CONSTRAINT openbook_events_pkey")
    admin.execute(change.format(name(url)))
    admin.execute("ALTER TABLE openbook_events ADD PRIMARY KEY (book, seq)")
    for act in (lambda: read_book(url), lambda: commit(url, MARKET, 2), lambda: views(url)):
        unchanged(admin, url, act, BookError, r"event \d was altered or removed; restore")


# ---- two at once, and crashes ----

FORK = multiprocessing.get_context("fork")  # another process at once, without importing everything again


def process(act):
    """Another process that does one thing, and ends with the exit code of the command."""

    def run():
        try:
            act()
        except OpenbookError as error:
            os._exit(error.exit_code)
        os._exit(0)

    started = FORK.Process(target=run)
    started.start()
    return started


def code(running) -> int:
    """The exit code of a process that should end by itself."""
    running.join(60)
    return running.exitcode


def waiting(admin) -> int:
    """How many writers wait for a lock."""
    return admin.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetchone()[0]


def wait_until(true) -> None:
    for _ in range(1200):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come to pass within a minute")


def test_of_processes_that_commit_one_session_at_once_one_wins(url, admin):
    """Two with the same inputs, one with others: it is done once, and who comes later finds it so, or in conflict."""
    commit(url, MARKET, 0, make_trades(A=50, B=20), inputs="one")
    with database.write(url):  # they read, settle, and wait until this lock is free
        running = [
            process(lambda inputs=inputs: commit(url, MARKET, 1, make_trades(A=-20), inputs=inputs))
            for inputs in ("two", "two", "three")
        ]
        wait_until(lambda: waiting(admin) == len(running))
    found = {"two": [0, 0, ConflictError.exit_code], "three": [ConflictError.exit_code] * 2 + [0]}
    assert [code(each) for each in running] == found[decision(url, DAYS[1])[1]]
    assert len(rows(admin, url)) == 3
    assert read_book(url).pending["shares"].tolist() == [-20]


def test_two_that_begin_the_first_book_of_a_server(server, admin):
    admin.execute("CREATE DATABASE fresh")
    url = address(server, "fresh")
    with pytest.raises(BookError, match="no book at"):
        read_book(url)
    with pytest.raises(BookError, match="no book at"):
        commit(url, MARKET, 0)
    both = [process(lambda: open_book(url, cash=10_000)) for _ in range(2)]
    assert sorted(map(code, both)) == [0, BookError.exit_code]
    assert len(event_hashes(url)) == 1


def test_a_second_writer_waits_and_then_says_so(url, monkeypatch):
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.1)
    with database.write(url), pytest.raises(LockError, match="locked by another process"):
        commit(url, MARKET, 0)
    commit(url, MARKET, 0)


def test_a_writer_that_knows_nothing_of_the_lock_is_met_by_the_key(url, admin):
    """It cannot happen to two of ours: the number is taken between the reading and the writing."""
    body = '{"kind":"note"}'

    def overtaken():
        with database.write(url) as db:
            event_chain.append(db, {"kind": "note", "session": ""})
            row = [name(url), body, event_chain.chain(event_hashes(url)[-1][1], body)]
            admin.execute("INSERT INTO openbook_events VALUES (%s, 2, %s, %s)", row)

    with pytest.raises(LockError, match="by another process"):
        overtaken()
    assert [row[:2] for row in rows(admin, url)][1:] == [(2, body)]


def test_killed_inside_the_transaction_leaves_the_old_book(url, admin, monkeypatch):
    commit(url, MARKET, 0, make_trades(A=50, B=20), inputs="one")
    before, insert = rows(admin, url), remote._insert

    def killed(*args, **how):
        insert(*args, **how)
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patched:
        patched.setattr(remote, "_insert", killed)
        dead = process(lambda: commit(url, MARKET, 1, make_trades(A=-20), inputs="two"))
    assert code(dead) == -signal.SIGKILL
    assert rows(admin, url) == before
    assert read_book(url).last_session == DAYS[0]
    commit(url, MARKET, 1, make_trades(A=-20), inputs="two")  # and its lock is free
    assert len(rows(admin, url)) == 3


def test_reading_while_another_writes_sees_the_old_book_and_waits_for_nobody(url):
    commit(url, MARKET, 0, inputs="one")
    with database.write(url) as db:
        event_chain.append(db, {"kind": "note", "session": ""})
        assert read_book(url).last_session == DAYS[0]
        raised = database.read(url, lambda db: db.execute("SELECT count(*) FROM events").fetchone()[0])
        assert raised == 2
        db.execute("DELETE FROM events WHERE 0")


def others(admin) -> str:
    """Condition of pg_stat_activity for the connections of the library."""
    return f"backend_type = 'client backend' AND pid <> {admin.info.backend_pid}"


def test_a_writer_that_falls_silent_loses_its_lock(url, admin, monkeypatch):
    def silent():
        with database.write(url) as db:
            event_chain.append(db, {"kind": "note", "session": ""})
            query = f"SELECT count(*) FROM pg_stat_activity WHERE {others(admin)}"
            wait_until(lambda: admin.execute(query).fetchone()[0] == 0)

    with monkeypatch.context() as short:
        short.setattr(remote, "SILENCE", "100ms")
        unchanged(admin, url, silent, StorageError, "cannot read or write")
    commit(url, MARKET, 0)  # which a busy machine may hold up for longer than that


def test_a_server_lost_in_the_commit_leaves_a_doubt_and_says_so(url, admin, monkeypatch):
    insert = remote._insert

    def cut_off(*args, **how):
        insert(*args, **how)
        admin.execute(f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE {others(admin)}")

    monkeypatch.setattr(remote, "_insert", cut_off)
    unchanged(admin, url, lambda: commit(url, MARKET, 0), StorageError, "the event may or may not be stored")


# ---- addresses ----


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("postgresql://u@h/db", "names no book"),
        ("postgresql://u:secret@h/db?book=", "names no book"),
        ("postgresql://u:secret@h/db?book=a&book=b", "names no book"),
        ("postgres://u:secret@h/db?book=live", "is not a PostgreSQL URL"),
        ("mysql://u:secret@h/db?book=live", "is not a PostgreSQL URL"),
        ("postgresql+asyncpg://u:secret@h/db?book=live", "is not a PostgreSQL URL"),
        ("sqlite:///secret.db", "is not a PostgreSQL URL"),
        ("postgresql://u:secret@h:port/db?book=live", "unreadable book address"),
        ("postgresql://u:secret@h/db?book=live", "not contain a password.*~/.pgpass"),
        ("postgresql://u:p@secret@h/db?book=live", "not contain a password.*~/.pgpass"),
        ("postgresql://u@h/db?book=live&password=secret", "not contain a password.*~/.pgpass"),
    ],
)
def test_a_wrong_address_is_a_usage_error_that_shows_no_password(text, match):
    for act in (lambda: read_book(text), lambda: open_book(text, cash=1), lambda: commit(text, MARKET, 0)):
        with pytest.raises(UsageError, match=match) as caught:
            act()
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["localhost:1", "no-such-host.invalid", ""])
def test_an_unreachable_server_is_a_storage_error(host, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "secret")
    text = f"postgresql://u@{host}/db?book=live&connect_timeout=2" + ("" if host else "&host=/nowhere")
    for act in (lambda: read_book(text), lambda: open_book(text, cash=1), lambda: commit(text, MARKET, 0)):
        with pytest.raises(StorageError, match=r"^cannot read or write postgresql://u@.*book=live") as caught:
            act()
        assert "secret" not in str(caught.value)


def test_a_role_needs_no_more_rights_than_what_it_does(server, url, admin):
    admin.execute("CREATE ROLE auditor LOGIN; GRANT SELECT ON openbook_events TO auditor")
    admin.execute("CREATE ROLE desk LOGIN; GRANT SELECT, INSERT ON openbook_events TO desk")
    theirs = url.replace("openbook@", "auditor@")
    assert read_book(theirs).cash == 10_000
    unchanged(admin, url, lambda: commit(theirs, MARKET, 0), StorageError, "permission denied")
    commit(url.replace("openbook@", "desk@"), MARKET, 0)
    open_book(address(server).replace("openbook@", "desk@"), cash=1)


def test_a_server_with_settings_of_its_own_changes_nothing(url, admin):
    """Least safe defaults: commits reported before they are on the disk, snapshots taken before the lock, read-only."""
    admin.execute("CREATE ROLE odd LOGIN SUPERUSER")
    for setting in ("synchronous_commit = off", "default_transaction_isolation = 'repeatable read'"):
        admin.execute(f"ALTER ROLE odd SET {setting}")
    theirs = url.replace("openbook@", "odd@")
    with remote._writing(remote.parse(theirs)) as server:
        found = [
            server.exec_driver_sql(f"SHOW {name}").scalar() for name in ("synchronous_commit", "transaction_isolation")
        ]
    assert found == ["on", "read committed"]
    admin.execute("ALTER ROLE odd SET default_transaction_read_only = on")
    assert read_book(theirs).cash == 10_000
    unchanged(admin, url, lambda: commit(theirs, MARKET, 0), StorageError, "read-only")


def test_a_server_that_dies_after_the_commit_has_kept_it(server, url, admin):
    admin.execute("CREATE ROLE hasty LOGIN SUPERUSER; ALTER ROLE hasty SET synchronous_commit = off")
    commit(url.replace("openbook@", "hasty@"), MARKET, 0, inputs="one")
    before = rows(admin, url)
    control(server, "pg_ctl", "-w", "-m", "immediate", "stop")  # as if its power had failed
    with pytest.raises(StorageError, match="cannot read or write"):
        read_book(url)
    start(server)
    assert [row[:3] for row in before] == database.read(
        url, lambda db: db.execute("SELECT seq, body, hash FROM events").fetchall()
    )


def test_a_path_is_a_path_and_an_address_an_address(tmp_path):
    assert database.place("books/live.db") == Path("books/live.db")
    assert database.place("postgresql.db") == Path("postgresql.db")
    assert database.place(tmp_path) is not None
    assert database.place("postgresql://h/db?book=live") == "postgresql://h/db?book=live"


def test_a_book_in_a_file_imports_no_sqlalchemy(tmp_path):
    code = (
        "import sys; from openbook.ledger.book import open_book, read_book\n"
        f"open_book({str(tmp_path / 'b.db')!r}, cash=1); read_book({str(tmp_path / 'b.db')!r})\n"
        "print([name for name in ('sqlalchemy', 'psycopg', 'openbook.ledger.postgres') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_without_the_driver_the_way_out_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "openbook.ledger.postgres")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delattr("openbook.ledger.postgres")
    with pytest.raises(ParameterError, match=r"pip install 'openbook\[postgres\]'"):
        read_book("postgresql://h/db?book=live")
