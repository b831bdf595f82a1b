"""A book that an older openbook wrote says the same after its upgrade, and goes on from there."""

import json
import lzma
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from ledger.format2.drive import COSTS, MARKET
from ledger.format2.said import said
from openbook.common.errors import BookError, ConflictError
from openbook.execution.kill_switch import KillSwitch
from openbook.ledger import book_commands, event_chain
from openbook.ledger.book import audit_book, event_hashes, open_book, read_book, views
from openbook.ledger.queries import lots_now
from openbook.ledger.reversals import reverse_fill
from openbook.ledger.upgrade import upgrade_book
from support.books import DAYS, commit, make_trades

FOLDER = Path(__file__).parent / "format2"
NOW = "2025-04-01 21:00:00 UTC"
BOTH = pytest.mark.parametrize("name", ["live", "paper"])


def old_book(folder: Path, name: str) -> Path:
    """A book of format 2, as openbook 47f30e9 left it; see `format2/drive.py`."""
    path = folder / f"{name}.db"
    path.write_bytes(lzma.decompress((FOLDER / f"{name}.db.xz").read_bytes()))
    return path


def upgraded(folder: Path, name: str) -> Path:
    path = old_book(folder, name)
    upgrade_book(path, folder / "kept" / path.name, when=NOW)
    return path


def expected(name: str) -> dict:
    """What the code that wrote the book said of it."""
    return json.loads((FOLDER / f"{name}.json").read_text())


@BOTH
def test_an_upgraded_book_says_what_the_older_code_said_of_it(tmp_path, name):
    path = old_book(tmp_path, name)
    before = path.read_bytes()
    assert "backup: " in upgrade_book(path, tmp_path / "kept" / path.name, when=NOW)
    assert (tmp_path / "kept" / path.name).read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["kept", path.name]
    audit_book(path)
    was, now = expected(name), json.loads(json.dumps(said(path)))
    assert now["events"][:-1] == was["events"]
    assert now["now"].pop("head") == now["events"][-1]
    assert was["now"].pop("head") == was["events"][-1]
    assert now["now"] == was["now"]
    assert now["before"] == was["before"]
    assert now["views"] == was["views"]


@BOTH
def test_an_upgraded_book_goes_on(tmp_path, name):
    """What waits is filled, what was recorded is taken in, and lots and cost are carried on from the older fills."""
    path = upgraded(tmp_path, name)
    if name == "live":
        state = read_book(path)
        book_commands.reconcile(path, state.positions_now, state.cash_now_cents, closed=f"{DAYS[8]:%Y-%m-%d}", when=NOW)
    n = {"live": 8, "paper": 10}[name]
    settled = commit(path, MARKET, n, costs=COSTS)
    assert {row.security: row.shares for row in settled.holdings} == settled.positions.to_dict()
    assert settled.closed
    for row in settled.holdings:
        lots = read_book(path).lots[row.security]
        assert (sum(lot.shares for lot in lots), sum(lot.cost_cents for lot in lots)) == (row.shares, row.cost_cents)
    audit_book(path)


def test_a_fill_from_before_the_upgrade_is_reversed(tmp_path):
    """Each of them in turn: what is left is what the others bought, and the book goes on."""
    path = upgraded(tmp_path, "live")
    state = read_book(path)
    book_commands.reconcile(path, state.positions_now, state.cash_now_cents, closed=f"{DAYS[8]:%Y-%m-%d}", when=NOW)
    fills = read_book(path).fills["fill_id"].tolist()
    assert len(fills) > 3
    for n, fill_id in enumerate(fills):
        said = reverse_fill(path, fill_id, who="Ann", reason="drill", when=NOW)
        assert f"fill {fill_id}, " in said
        assert read_book(path).fills["fill_id"].tolist() == fills[n + 1 :]
    assert read_book(path).units_now == {}
    assert not any(lots_now(read_book(path)).values())
    commit(path, MARKET, 8, costs=COSTS)
    assert read_book(path).units == {}
    audit_book(path)


def test_an_older_session_again_changes_nothing_after_the_upgrade(tmp_path):
    """A crash may have come between the commit of a run and its sealing, and the upgrade before it is run again."""
    path = upgraded(tmp_path, "paper")
    before, how = path.read_bytes(), {"costs": COSTS, "switch": KillSwitch(max_daily_loss=0.02)}
    commit(path, MARKET, 9, make_trades(NA=-30, B=-5), **how)
    commit(path, MARKET, 1, make_trades(A=-8, NA=20), manual=True, **how)
    with pytest.raises(ConflictError, match="a different settlement or different orders"):
        commit(path, MARKET, 9, make_trades(NA=-30, B=-6), **how)
    assert path.read_bytes() == before


def test_the_lots_of_an_older_book_are_those_of_its_fills(tmp_path):
    """By hand, from what live.json says of the trades: A cost 30 × 100.55 + 0.35 and 20 × 100.61 + 0.35; then 1:8 left
    6.25 shares, of which 0.25 were paid in cash, and of the two lots 4 and 2 with what the other 6 had cost."""
    state = read_book(upgraded(tmp_path, "live"))
    whole = 30 * 10_055 + 35 + 20 * 10_061 + 35
    gone = round(whole * 0.25 / 6.25)
    assert [(lot.opened, lot.shares) for lot in state.lots["A"]] == [("2025-03-04", 4), ("2025-03-04", 2)]
    assert sum(lot.cost_cents for lot in state.lots["A"]) == whole - gone
    assert [(lot.opened, lot.shares, lot.cost_cents) for lot in state.lots["B"]] == [
        ("2025-03-04", 42, 21 * 4_940 + 35),
        ("2025-03-07", 3, 3 * 2_420 + 35),
    ]
    assert [lot.shares for lot in state.lots["NA"]] == [60]
    assert state.securities == {symbol: symbol for symbol in ("A", "B", "C", "NA")}  # D was delisted
    view = views(tmp_path / "live.db")["current_positions"].set_index("symbol")["cost_basis"]
    assert view["B"] == (21 * 4_940 + 35 + 3 * 2_420 + 35) / 100
    assert pd.isna(view["CASH"])


def test_the_state_before_the_upgrade_has_the_lots_of_that_evening(tmp_path):
    path = upgraded(tmp_path, "live")
    assert [(lot.shares, lot.cost_cents) for lot in read_book(path, before=DAYS[3]).lots["A"]] == [
        (30, 30 * 10_055 + 35),
        (20, 20 * 10_061 + 35),
    ]


@BOTH
def test_a_book_of_today_and_one_that_was_upgraded_are_left_alone(tmp_path, name):
    path = upgraded(tmp_path, name)
    open_book(tmp_path / "new.db", cash=1_000)
    for book in (path, tmp_path / "new.db"):
        before = book.read_bytes(), book.stat().st_mtime_ns
        assert upgrade_book(book, tmp_path / "again.db") is None
        assert (book.read_bytes(), book.stat().st_mtime_ns) == before
    assert set(os.listdir(tmp_path)) == {"kept", path.name, "new.db"}


def test_an_older_book_is_refused_with_the_way_out_and_left_as_it_is(tmp_path):
    path = old_book(tmp_path, "paper")
    before = path.read_bytes()
    for act in (
        lambda: read_book(path),
        lambda: views(path),
        lambda: commit(path, MARKET, 10),
        lambda: book_commands.halt(path, who="Ann", reason="drill", when=NOW),
    ):
        with pytest.raises(
            BookError, match=r"by an older openbook \(format 2\); run: openbook upgrade \(it keeps a copy\)"
        ):
            act()
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["paper.db"]


def test_another_file_at_the_place_of_the_copy_is_never_replaced(tmp_path):
    path, keep = old_book(tmp_path, "paper"), tmp_path / "kept.db"
    keep.write_bytes(b"mine")
    before = path.read_bytes()
    with pytest.raises(BookError, match="already exists and differs from"):
        upgrade_book(path, keep)
    assert (path.read_bytes(), keep.read_bytes()) == (before, b"mine")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE orders SET shares = shares + 1",
        "DELETE FROM flows",
        "UPDATE events SET body = replace(body, 'Ann', 'Bob')",
    ],
)
def test_a_book_whose_tables_and_events_disagree_is_not_upgraded(tmp_path, change):
    path = old_book(tmp_path, "paper")
    table = change.split()[1] if change.startswith("UPDATE") else change.split()[2]
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"DROP TRIGGER {table}_{change.split()[0]}")
        db.execute(change)
    before = path.read_bytes()
    with pytest.raises(BookError, match=f"{table} would differ|was altered or removed"):
        upgrade_book(path, tmp_path / "kept.db")
    assert path.read_bytes() == before
    assert set(os.listdir(tmp_path)) <= {"paper.db", "kept.db"}


STEPS = ["upgrade._keep", "upgrade._write", "os.replace", "upgrade.sync"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_step_leaves_the_old_or_the_new_and_a_rerun_heals(tmp_path, step, when):
    path, keep = old_book(tmp_path, "live"), tmp_path / "kept.db"
    before = path.read_bytes()
    code = f"""
import os
from pathlib import Path
from openbook.ledger import upgrade
from openbook.ledger.upgrade import upgrade_book

def dying(act):
    def wrapped(*args):
        if {when!r} == "after":
            act(*args)
        os._exit(9)
    return wrapped

{step} = dying({step})
upgrade_book({str(path)!r}, Path({str(keep)!r}), when={NOW!r})
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    left = path.read_bytes()
    assert left == before or event_hashes(path)
    upgrade_book(path, keep, when=NOW)
    assert keep.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["kept.db", "live.db"]
    other = tmp_path / "other"
    other.mkdir()
    assert event_hashes(path) == event_hashes(upgraded(other, "live"))


def test_what_a_killed_writer_left_beside_the_older_book_is_taken_in(tmp_path):
    """A -wal file that holds five cents of interest: the copy and the new book have them."""
    path, crashed = old_book(tmp_path, "paper"), tmp_path / "crashed"
    crashed.mkdir()
    entry = {"kind": "cash", "flow": "interest", "cents": 5, "who": "Ann", "reason": "late", "session": "2025-03-14"}
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("BEGIN")
        seq = event_chain.append(db, entry)
        db.execute("INSERT INTO flows VALUES (?, '2025-03-14', 'interest', 5)", (seq,))
        db.execute("COMMIT")
        for file in tmp_path.glob("paper.db*"):
            (crashed / file.name).write_bytes(file.read_bytes())
    assert (crashed / "paper.db-wal").stat().st_size > 0
    upgrade_book(crashed / "paper.db", tmp_path / "kept.db")
    assert read_book(crashed / "paper.db").cash_now_cents == expected("paper")["now"]["cash_now_cents"] + 5
    with closing(sqlite3.connect(tmp_path / "kept.db")) as kept:
        assert kept.execute("SELECT max(seq) FROM flows").fetchone() == (seq,)
    assert os.listdir(crashed) == ["paper.db"]


def test_a_book_on_a_server_is_upgraded_by_one_event(server, tmp_path):
    psycopg = pytest.importorskip("psycopg", reason="no driver: pip install 'openbook[postgres]'")
    url = f"postgresql+psycopg://openbook@/postgres?host={server}&book=live2"
    open_book(url.replace("live2", "other2"), cash=1_000)  # makes the table
    with closing(sqlite3.connect(old_book(tmp_path, "live"))) as db:
        events = db.execute("SELECT seq, body, hash FROM events ORDER BY seq").fetchall()
    with psycopg.connect(host=str(server), user="openbook", dbname="postgres", autocommit=True) as admin:
        for row in events:
            admin.execute("INSERT INTO openbook_events (book, seq, body, hash) VALUES ('live2', %s, %s, %s)", row)
    for act in (lambda: read_book(url), lambda: book_commands.halt(url, who="Ann", reason="drill", when=NOW)):
        with pytest.raises(BookError, match=r"by an older openbook \(format 2\); run: openbook upgrade"):
            act()
    assert "upgraded to format 3, 29 events" in upgrade_book(url, tmp_path / "unused", when=NOW)
    assert upgrade_book(url, tmp_path / "unused", when=NOW) is None
    other = tmp_path / "other"
    other.mkdir()
    assert said(url) == said(upgraded(other, "live"))
    audit_book(url)
    assert not (tmp_path / "unused").exists()
