"""A stranger's first days, by command and in JupyterLab, in the order in which people go through them.

One desk, one after another: own files are looked at, the month and the evening fall on one date, a guide is run and
saved, orders are approved, exported, filled and reconciled, a command is given in the wrong folder, and the next day
comes.
"""

import json
import shutil
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient

from openbook.common import desk_folder
from openbook.ledger import book, book_commands
from openbook.market import calendar
from openbook.runs.runs_folder import read_run
from support.trained_desk import (
    COMPARED,
    TRAINED,
    Answer,
    Desk,
    Terminal,
    make_vendor,
    openbook,
    succeed,
    write_profile,
)

MINE = ("--profile", "mine")


@pytest.fixture(scope="module")
def desk(tmp_path_factory, project_root) -> Desk:
    """A clone with a profile for files of one's own, and nothing run yet."""
    home = tmp_path_factory.mktemp("first") / "openbook"
    for name in ("notebooks", "params"):
        shutil.copytree(project_root / name, home / name, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    shutil.copyfile(project_root / desk_folder.FILE, home / desk_folder.FILE)
    vendor = make_vendor(home.parent / "vendor")
    days = pd.DatetimeIndex(sorted(vendor.files.bars["date"].unique()))[-6:]
    sets = {
        "train_candidates": [vendor.source, *TRAINED],
        "compare": [vendor.source, *COMPARED, "portfolio.top_n=10"],
        "select_champion": [],
        "daily_run": [vendor.source],
    }
    write_profile(home / "params" / "mine", sets)
    return Desk(home / "runs", vendor, days)


@pytest.fixture
def at(desk, monkeypatch):
    """A function that sets the clock; commands are given somewhere below the desk, without --runs."""
    for name in (desk_folder.DESK, desk_folder.RUNS, calendar.REHEARSAL):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(desk.runs.parent / "notebooks" / "guides")

    def set_clock(date: pd.Timestamp, time: str) -> None:
        now = pd.Timestamp(f"{date:%Y-%m-%d}T{time}Z")
        monkeypatch.setattr(calendar, "now", lambda: now)  # a live book refuses the clock of a rehearsal

    return set_clock


def run(notebook: str, date: pd.Timestamp, *more: str) -> Answer:
    return openbook("run", notebook, "--date", f"{date:%Y-%m-%d}", *MINE, *more)


def approve(monkeypatch, place: Path, date: str) -> Answer:
    monkeypatch.setattr("sys.stdin", Terminal(f"{book_commands.read_batch(place, date).code}\n"))
    return openbook("approve", date, "--by", "Ann")


def test_own_files_are_looked_at_first(desk, at):
    at(desk.days[0], "21:00")
    desk.vendor.deliver(desk.vendor.files.upto(desk.days[0]))
    said = succeed(openbook("data", "check", "--source", "../../params/mine/daily_run.yaml")).out
    assert "Symbols    25" in said


def test_a_month_and_its_evening_fall_on_one_date(desk, at):
    at(desk.days[0], "21:00")
    for notebook in ("train_candidates", "compare", "select_champion"):
        succeed(run(notebook, desk.days[0]))
    succeed(openbook("init", "--cash", "100000"))
    answer = succeed(run("daily_run", desk.days[0]))
    assert "orders for" in answer.out
    page = desk.runs / "daily_run" / f"{desk.days[0]:%Y-%m-%d}"
    log = json.loads((page / "monitoring_log.json").read_bytes())
    assert (log["model"]["age_days"], log["ic"]["n_matured"], log["scores"]["n_scored"]) == (0, 0, 25)
    html = (page / "report.html").read_text()
    assert "no matured labels yet" in html
    assert f"trained through {desk.days[0]:%Y-%m-%d}" in html


def test_what_does_not_decide_leaves_an_approval_as_it_is(desk, at, monkeypatch):
    """Run All in a guide, saved, and a line more in the README: neither is what decided the orders."""
    date = f"{desk.days[0]:%Y-%m-%d}"
    at(desk.days[0], "21:30")
    guide = desk.runs.parent / "notebooks" / "guides" / "trade_execution.ipynb"
    notebook = nbformat.read(guide, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(guide.parent)}}).execute()
    nbformat.write(notebook, guide)
    daily = desk.runs.parent / "notebooks" / "daily_run.ipynb"
    opened = nbformat.read(daily, as_version=4)
    opened.cells[1].execution_count = 1
    nbformat.write(opened, daily)
    (desk.runs.parent / "README.md").write_text("a line of mine")
    answer = succeed(approve(monkeypatch, desk.book, date))
    assert "approved by Ann" in answer.out
    assert (
        succeed(openbook("export", date)).out.count("\n") == len(book_commands.read_batch(desk.book, date).orders) + 1
    )
    assert "VOID" not in succeed(openbook("status")).out


def test_a_cell_that_decides_voids_the_approval_and_says_which(desk, at, monkeypatch):
    date = f"{desk.days[0]:%Y-%m-%d}"
    at(desk.days[0], "21:40")
    daily = desk.runs.parent / "notebooks" / "daily_run.ipynb"
    before = daily.read_text()
    daily.write_text(before.replace("page = ob.DailyPage", "page =  ob.DailyPage"))
    refused = openbook("export", date)
    assert refused.code == 55
    assert "the code changed since: notebooks/daily_run.ipynb, code cell" in refused.err
    assert f"openbook run daily_run --date {date} --supersede" in refused.err
    assert f"VOID: orders of {date}: the code changed since: notebooks/daily_run.ipynb" in openbook("status").out
    daily.write_text(before)
    assert "VOID" not in openbook("status").out
    succeed(openbook("export", date))


def test_the_wrong_folder(desk, at, monkeypatch, tmp_path):
    at(desk.days[1], "21:00")
    monkeypatch.chdir(tmp_path)
    for line in (["status"], ["verify"], ["run", "daily_run", "--date", f"{desk.days[1]:%Y-%m-%d}", *MINE]):
        answer = openbook(*line)
        assert answer.code == 64
        assert f"no desk at or above {tmp_path}" in answer.err
    assert list(tmp_path.iterdir()) == []


def test_the_second_day(desk, at):
    at(desk.days[1], "21:00")
    desk.vendor.deliver(desk.vendor.files.upto(desk.days[1]))
    succeed(run("daily_run", desk.days[1]))
    page = desk.runs / "daily_run" / f"{desk.days[1]:%Y-%m-%d}"
    assert read_run(page)["recorded"]["switch"] == "ACTIVE"
    assert len(book.read_book(desk.book).positions) > 0  # what was approved was filled at the open
    assert json.loads((page / "monitoring_log.json").read_bytes())["ic"]["n_matured"] == 0
    assert "no problems" in succeed(openbook("verify")).out


def agree(live, folder) -> None:
    """A statement of the broker, who has what the book has."""
    state, file = book.read_book(live), folder / "statement.csv"
    held = [f"{symbol},{shares}" for symbol, shares in state.positions_now.items()]
    file.write_text("\n".join(["symbol,shares", *held, f"CASH,{state.cash_now_cents / 100:.2f}"]) + "\n")
    assert "agree" in succeed(openbook("reconcile", file, "--book", "live")).out


def test_a_live_book_from_its_orders_to_a_statement(desk, at, monkeypatch, tmp_path):
    """The desk goes live on the third evening: approved, exported, filled in two files, reconciled, and settled. Then a
    price turns out to be wrong: its fill is reversed, the right one is recorded, and the desk goes on."""
    desk.promote(vetted=True)  # the gates are not the matter here
    at(desk.days[2], "21:00")
    desk.vendor.deliver(desk.vendor.files.upto(desk.days[2]))
    date, live = f"{desk.days[2]:%Y-%m-%d}", desk.runs / "books" / "live.db"
    by_hand = ("--set", "dry_run=false", "--set", "require_manual_approval=true")
    succeed(openbook("init", "--cash", "50000", "--book", "live"))
    succeed(run("daily_run", desk.days[2], *by_hand))
    succeed(approve(monkeypatch, live, date))
    orders = book_commands.read_batch(live, date).orders
    assert len(succeed(openbook("export", date)).out.splitlines()) == len(orders) + 1
    at(desk.days[3], "21:00")
    prices = {row.order_id: row.price for row in orders.itertuples()}
    first, columns = orders.iloc[0], "fill_id,order_id,shares,price,commission,date"
    prices[first["order_id"]] *= 1.1
    rows = [
        f"{order.order_id}-1,{order.order_id},{order.shares},{prices[order.order_id]:.2f},1.00,{desk.days[3]:%Y-%m-%d}"
        for order in orders.itertuples()
    ]
    for name, part in (("one", rows[:1]), ("rest", rows[1:])):
        file = tmp_path / f"{name}.csv"
        file.write_text("\n".join([columns, *part]) + "\n")
        assert f"{len(part)} fills of {date} recorded" in succeed(openbook("fills", date, file)).out
    agree(live, tmp_path)
    desk.vendor.deliver(desk.vendor.files.upto(desk.days[3]))
    succeed(run("daily_run", desk.days[3], *by_hand))
    assert book.read_book(live).positions.sum() == orders["shares"].sum()
    assert "no problems" in succeed(openbook("verify")).out

    signed = ("--who", "Ann", "--reason", "typo")
    said = succeed(openbook("fills", "--reverse", f"{first['order_id']}-1", *signed)).out
    assert "sessions were settled with it, so shares, cash and lots are adjusted" in said
    right = f"right,{first['order_id']},{first['shares']},{first['price']:.2f},1.00,{desk.days[3]:%Y-%m-%d}"
    (tmp_path / "right.csv").write_text(f"{columns}\n{right}\n")
    assert "1 fills" in succeed(openbook("fills", date, tmp_path / "right.csv")).out
    agree(live, tmp_path)
    at(desk.days[4], "21:00")
    desk.vendor.deliver(desk.vendor.files.upto(desk.days[4]))
    succeed(run("daily_run", desk.days[4], *by_hand))
    assert "reversal of a fill" in (desk.runs / "daily_run" / f"{desk.days[4]:%Y-%m-%d}" / "report.html").read_text()
    state = book.read_book(live)
    paid = sum(order.shares * round(order.price, 2) + 1 for order in orders.itertuples())
    assert state.cash == pytest.approx(50_000 - paid)
    assert state.fills["fill_id"].tolist() == sorted(["right", *(row.partition(",")[0] for row in rows[1:])])
    assert "no problems" in succeed(openbook("verify")).out
