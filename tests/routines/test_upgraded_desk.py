"""What an older openbook wrote opens after `openbook upgrade`, says the same, and its days replay byte for byte."""

import json
import sqlite3
import tarfile
from pathlib import Path

import pytest

from openbook.common import desk_folder
from openbook.ledger import book
from openbook.market.sources import parse_source
from openbook.market.store import load_market
from openbook.runs import audit_log, libraries
from openbook.runs.runs_folder import RunsFolder, read_run
from openbook.runs.upgrade import mark_desk
from openbook.selection.champion import read_champion
from support.trained_desk import hashes, openbook, succeed

HERE = Path(__file__).parent / "before_upgrade"
SEALED = ("train_candidates", "compare", "select_champion", "daily_run", "production", "store")


@pytest.fixture(scope="module")
def older(tmp_path_factory) -> Path:
    """The runs of an older openbook; its library is kept, as an upgrade in a clone with its history keeps it."""
    folder = tmp_path_factory.mktemp("older")
    with tarfile.open(HERE / "desk.tar.xz") as packed:
        packed.extractall(folder, filter="data")
    sources = folder / "library"
    files = {path.relative_to(sources).as_posix(): path.read_bytes() for path in sources.rglob("*") if path.is_file()}
    runs = folder / "runs"
    commit = read_run(runs / "daily_run" / "2022-12-21")["code"]["commit"]
    (runs / "code").mkdir()
    (runs / "code" / "commits.json").write_text(json.dumps({commit: libraries.keep(runs, files)}))
    return runs


@pytest.fixture
def runs(older, tmp_path) -> Path:
    """A copy of them."""
    import shutil

    return shutil.copytree(older, tmp_path / "runs")


def rows(place: Path, query: str) -> list[tuple]:
    """Straight from the file, past all of our code."""
    with sqlite3.connect(f"file:{place}?mode=ro", uri=True) as db:
        return db.execute(query).fetchall()


def test_an_older_book_is_refused_with_the_way_on_and_left_as_it_is(runs):
    before = hashes(runs)
    for line in (["approve", "2022-12-23", "--by", "Ann"], ["run", "daily_run", "--date", "2022-12-27"]):
        answer = openbook("--runs", runs, *line)
        assert answer.code == 60, answer
        assert "run: openbook upgrade (it keeps a copy)" in answer.err
    after = hashes(runs)
    assert {name: after[name] for name in before} == before


def test_after_the_upgrade_everything_says_the_same_and_a_copy_is_kept(runs):
    place, old = runs / "books" / "paper.db", (runs / "books" / "paper.db").read_bytes()
    sealed = {name: hashes(runs / name) for name in SEALED}
    held = rows(
        place, "SELECT symbol, shares, price, value_cents FROM positions WHERE session = '2022-12-23' ORDER BY 1"
    )
    marks = rows(place, "SELECT date, equity_cents, cash_cents FROM history ORDER BY 1")
    events = rows(place, "SELECT seq, body, hash FROM events ORDER BY 1")
    entries = audit_log.entries(runs)
    said = succeed(openbook("--runs", runs, "upgrade")).out
    assert "paper book: " in said
    assert "champion" in said
    assert (runs / "upgraded" / "book-2" / "paper.db").read_bytes() == old
    assert {name: hashes(runs / name) for name in SEALED} == sealed
    state = book.read_book(place)
    assert [(name, shares) for name, shares, *_ in held] == list(state.positions.items())
    assert [
        (f"{r.date:%Y-%m-%d}", round(r.equity * 100), round(r.cash * 100)) for r in state.history.itertuples()
    ] == marks
    assert rows(place, "SELECT seq, body, hash FROM events ORDER BY 1")[: len(events)] == events
    assert audit_log.entries(runs)[: len(entries)] == entries
    book.audit_book(place)
    assert "no problems" in succeed(openbook("--runs", runs, "verify")).out
    assert "2022-12-23" in succeed(openbook("--runs", runs, "status")).out


def test_the_same_upgrade_again_does_nothing(runs):
    succeed(openbook("--runs", runs, "upgrade"))
    before = hashes(runs)
    assert "up to date" in succeed(openbook("--runs", runs, "upgrade")).out
    assert hashes(runs) == before


def test_the_store_and_the_champion_of_an_older_openbook_open(runs):
    run = read_run(runs / "daily_run" / "2022-12-23")
    (store,) = (runs / "store").iterdir()
    market, _ = load_market(parse_source(run["params"]["source"]), store=store, through="2022-12-23")
    assert f"{market.dates[-1]:%Y-%m-%d}" == "2022-12-23"
    folder, _ = RunsFolder(runs).champion()
    model, _, card = read_champion(folder)
    assert (card.model, card.code) == ("lightgbm", {})
    assert model.features == card.features


def test_the_next_evening_of_an_upgraded_desk_and_a_day_of_then(runs):
    """An older page is compared with, its champion scores, its book goes on; and the day of then is made again."""
    succeed(openbook("--runs", runs, "upgrade"))
    ours = ("--set", "source={provider: sample}")  # the demo has other bundled data since
    succeed(openbook("--runs", runs, "run", "daily_run", "--date", "2022-12-27", *ours))
    assert book.read_book(runs / "books" / "paper.db").history["date"].iloc[-1].strftime("%Y-%m-%d") == "2022-12-27"
    said = succeed(openbook("--runs", runs, "replay", "2022-12-22")).out
    assert "the library changed since in " in said
    assert "5 of 5 outputs of 2022-12-22 are identical, byte for byte" in said


def test_an_older_desk_gets_its_marker(tmp_path, monkeypatch):
    for name in (desk_folder.DESK, desk_folder.RUNS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    answer = openbook("upgrade")
    assert (answer.code, "is not a desk of an older openbook" in answer.err) == (64, True)
    for name in ("notebooks", "params", "runs"):
        (tmp_path / name).mkdir()
    (tmp_path / "runs" / "books").mkdir()
    assert f"desk {tmp_path}: marked with openbook.yaml" in succeed(openbook("upgrade")).out
    assert desk_folder.find_desk() == tmp_path
    assert mark_desk(tmp_path) == f"desk {tmp_path}: already marked"
