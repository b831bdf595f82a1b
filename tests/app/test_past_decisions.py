"""All sealed runs as tables: what they say is what lies in the runs folder and in the book."""

import re

import pandas as pd
import pytest

import openbook as ob
from openbook.common.errors import UsageError
from openbook.ledger.book import read_book
from openbook.runs.run_record import read_run
from openbook.runs.runs_folder import RunsFolder
from support.trained_desk import clock, copied, openbook, succeed


@pytest.fixture(scope="module")
def runs(trained):
    return trained.runs


def test_every_sealed_run_has_a_row_with_what_it_recorded(runs):
    table = ob.load_runs(runs)
    sealed = RunsFolder(runs).list()
    assert sorted(table["folder"]) == sorted(str(run.folder) for run in sealed)
    for row in table.itertuples():
        recorded = read_run(runs / row.folder)["recorded"]
        assert row.verdict == recorded["verdict"]
    days = table[table["notebook"] == "daily_run"]
    assert days["equity"].notna().all()
    assert table["date"].is_monotonic_increasing


def test_the_orders_are_those_of_the_files(trained, runs):
    table = ob.load_trades(runs)
    files = [pd.read_csv(run.folder / "trades.csv") for run in RunsFolder(runs).list("daily_run")]
    assert table["shares"].tolist() == [n for file in files for n in file["shares"]]
    assert set(table["book"]) == {"paper"}
    first = pd.Timestamp(trained.days[1])
    assert (table.loc[table["date"] == first, "side"] == "BUY").all()


def test_the_positions_are_those_of_the_book(trained, runs):
    table = ob.load_positions(runs)
    last = table[table["date"] == trained.days[2]].set_index("symbol")
    state = read_book(trained.book, before=trained.days[3])
    assert last.loc["CASH", "value"] == state.cash_cents / 100
    assert last["shares"].drop("CASH").to_dict() == state.positions.to_dict()
    assert (last["value"] - (last["shares"] * last["price"]).round(2)).abs().max() < 0.006


def test_a_run_that_was_superseded_is_a_run_but_its_orders_do_not_count(trained, tmp_path):
    desk = copied(trained, tmp_path)
    with clock(f"{desk.days[2]:%Y-%m-%d}T21:40Z"):
        line = ["run", "daily_run", "--date", f"{desk.days[2]:%Y-%m-%d}", "--set", desk.vendor.source]
        succeed(openbook("--runs", desk.runs, *line, "--set", "min_trade_size=500", "--supersede"))
    table = ob.load_runs(desk.runs)
    twice = table[(table["notebook"] == "daily_run") & (table["date"] == desk.days[2])]
    assert twice["newest"].tolist() == [False, True]
    orders = ob.load_trades(desk.runs)
    newest = pd.read_csv(desk.runs / "daily_run" / f"{desk.days[2]:%Y-%m-%d}.2" / "trades.csv")
    assert (orders["date"] == desk.days[2]).sum() == len(newest)


def test_the_query_of_the_guide_finds_the_same_orders(runs, project_root, monkeypatch):
    duckdb = pytest.importorskip("duckdb")
    page = (project_root / "notebooks" / "guides" / "day_and_month.md").read_text(encoding="utf-8")
    (query,) = re.findall(r"```sql\n(.*?)```", page, flags=re.DOTALL)
    monkeypatch.chdir(runs.parent)
    found = duckdb.sql(query.replace("'runs/", f"'{runs.name}/")).df()
    ours = ob.load_trades(runs).query("notional > 5000").sort_values(["date", "symbol"])
    assert len(ours)
    assert found["session"].tolist() == ours["date"].dt.strftime("%Y-%m-%d").tolist()
    assert found["shares"].tolist() == ours["shares"].tolist()


def test_a_folder_without_runs_gives_empty_tables_and_no_desk_is_an_error(tmp_path, monkeypatch):
    assert ob.load_runs(tmp_path).empty
    assert ob.load_trades(tmp_path).empty
    assert ob.load_positions(tmp_path).empty
    monkeypatch.delenv("OPENBOOK_RUNS", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no desk at or above"):
        ob.load_runs()
