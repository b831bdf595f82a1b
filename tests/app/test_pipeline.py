"""What a desk leaves behind, that the same inputs give the same bytes, and that no decision knows what came later."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal, assert_series_equal

from openbook.app import champions, pipeline
from openbook.app.service import read_trades, store_of
from openbook.app.settings import NOTEBOOKS, load_params
from openbook.common.errors import ModelError
from openbook.execution.orders import TRADE_COLUMNS, TradeGenerator, current_weights
from openbook.ledger.book import read_book, settle, views
from openbook.ledger.records import new_state
from openbook.market.calendar import sessions
from openbook.market.dollar_volume import median_dollar_volume
from openbook.market.ingest import admit
from openbook.market.store import load_market
from openbook.market.tables import Delivery
from openbook.portfolio.construct import construct_portfolio
from openbook.portfolio.regime import detect_regime
from openbook.runs import progress, registry
from openbook.runs.notebook_source import check_parameters
from openbook.runs.runs_folder import read_run
from openbook.selection.champion import CARD, ChampionCard, read_champion
from openbook.signals.dataset import compute_labels
from openbook.signals.features import compute_features
from support.small_runs import log_runs
from support.trained_desk import AWKWARD, CASH, COMPARED, TRAINED, copied, hashes, openbook, succeed

EVERYWHERE = {"run.json", "report.html"}
OUTPUTS = {
    "train_candidates": {
        "candidates/tiny/model.txt",
        "candidates/tiny/schema.json",
        "oos_scores.parquet",
        "training_comparison.csv",
        "holdout_scores.parquet",
        "trials.parquet",
    },
    "compare": {
        "backtest_comparison_matrix.csv",
        "backtest_detailed_results.json",
        "regime_performance_breakdown.csv",
        "returns.parquet",
        "holdout_returns.parquet",
        "sensitivity.csv",
        "equity_curves.png",
    },
    "select_champion": {
        "bundle/model.txt",
        "bundle/promise.json",
        "bundle/schema.json",
        f"bundle/{CARD}",
        CARD,
        "model_selection_report.md",
        "champion_vs_benchmark.png",
    },
    "daily_run": {
        "trades.csv",
        "portfolio_weights.csv",
        "signals.json",
        "monitoring_log.json",
        "settlement.json",
    },
}


# ---- what a desk leaves ----


@pytest.mark.parametrize("notebook", OUTPUTS)
def test_a_sealed_run_has_its_files_and_no_others(trained, notebook):
    day = trained.days[1 if notebook == "daily_run" else 0]
    folder = trained.runs / notebook / f"{day:%Y-%m-%d}"
    assert set(hashes(folder)) == OUTPUTS[notebook] | EVERYWHERE | {f"{notebook}.ipynb"}
    run = read_run(folder)
    assert set(run["outputs"]) == OUTPUTS[notebook]
    assert run["complete"] is True
    text = (folder / "run.json").read_text()
    assert str(trained.runs) not in text
    assert run["recorded"]["verdict"]


def test_the_executed_notebook_names_no_error_and_every_cell_ran(trained):
    notebook = json.loads((trained.page(trained.days[2]) / "daily_run.ipynb").read_bytes())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in code)
    assert not [out for cell in code for out in cell["outputs"] if out["output_type"] == "error"]


def test_a_log_says_how_far_training_is_and_the_sealed_notebook_does_not(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.05)
    desk = replace(copied(trained, tmp_path), runs=tmp_path / "new")
    answer = succeed(desk.run("train_candidates", desk.days[0], *TRAINED))
    assert re.search(rf"train_candidates {desk.days[0]:%Y-%m-%d}: 0:\d\d .*, Candidates × folds [1-4]/4", answer.err)
    name = f"train_candidates/{desk.days[0]:%Y-%m-%d}/train_candidates.ipynb"
    made = [json.loads((runs / name).read_bytes())["cells"] for runs in (desk.runs, trained.runs)]
    shown = [[output for cell in cells for output in cell.get("outputs", [])] for cells in made]
    assert "folds 1/4" not in json.dumps(shown)
    assert [output["output_type"] for output in shown[0]] == [output["output_type"] for output in shown[1]]


@pytest.mark.parametrize(("top_n", "warned"), [(50, "top_n 50 of 25 names: every name is held"), (10, "")])
def test_a_top_n_beyond_the_universe_is_warned_of_in_the_comparison_on_the_page_and_by_status(
    trained, tmp_path, top_n, warned
):
    desk = copied(trained, tmp_path)
    for name in ("compare", "select_champion", "daily_run", "books", "production"):
        shutil.rmtree(desk.runs / name)
    log_runs(desk.runs)
    settings = [f"portfolio.top_n={top_n}", "portfolio.hold_buffer=1.0"]
    compared = succeed(desk.run("compare", desk.days[0], *COMPARED, *settings))
    succeed(desk.run("select_champion", desk.days[0]))
    succeed(openbook("--runs", desk.runs, "init", "--cash", CASH))
    daily = succeed(desk.daily(desk.vendor.files.upto(desk.days[1]), date=desk.days[1]))
    status = succeed(openbook("--runs", desk.runs, "status")).out
    pages = [(desk.runs / name / "report.html").read_text() for name in (f"compare/{desk.days[0]:%Y-%m-%d}",)]
    pages.append((desk.page(desk.days[1]) / "report.html").read_text())
    for said in (compared.out, daily.out, *pages):
        assert (warned in said) if warned else ("the model has no effect" not in said)
    assert len([line for line in status.splitlines() if line.startswith("warning ") and warned in line]) == 2 * bool(
        warned
    )


def test_nothing_else_is_left_in_the_runs_folder(trained):
    names = {path.name for path in trained.runs.iterdir()}
    assert names - {".lock", ".stage"} == {
        *OUTPUTS,
        "audit.jsonl",
        "books",
        "code",
        "heartbeat.json",
        "index.html",
        ".index.json",
        "production",
        "store",
    }
    assert not list((trained.runs / ".stage").glob("*/*"))
    assert sorted(path.name for path in (trained.runs / "books").iterdir()) == ["paper", "paper.db"]


def test_the_orders_of_a_page_wait_in_the_book_and_are_filled_on_the_next(trained):
    before = read_book(trained.book, before=trained.days[2])
    first = read_trades(trained.page(trained.days[1]) / "trades.csv")
    assert list(first.columns) == TRADE_COLUMNS
    assert (
        dict(zip(first["symbol"], first["shares"], strict=True))
        == before.pending.set_index("symbol")["shares"].to_dict()
    )
    after = trained.state()
    fills = json.loads((trained.page(trained.days[2]) / "settlement.json").read_bytes())["fill_rows"]
    opens = trained.vendor.files.bars.set_index(["date", "symbol"])["open"]
    assert all(fill["price"] == opens[trained.days[2], fill["symbol"]] for fill in fills)
    filled = {fill["symbol"]: fill["shares"] for fill in fills}
    assert after.positions.to_dict() == filled
    # the market opened higher than it had closed: what the cash cannot pay for is not bought
    ordered = before.pending.set_index("symbol")["shares"]
    assert all(0.9 * n <= filled[symbol] <= n for symbol, n in ordered.items())
    spent = sum(f["notional_cents"] + f["commission_cents"] + f["slippage_cents"] for f in fills)
    assert after.cash_cents == CASH * 100 - spent >= 0


def test_the_files_of_a_page_say_the_same(trained):
    page = trained.page(trained.days[2])
    weights = pd.read_csv(page / "portfolio_weights.csv", keep_default_na=False, dtype={"symbol": "str"})
    assert list(weights.columns) == ["symbol", "weight", "score", "sector"]
    assert weights["symbol"].iloc[-1] == "CASH"
    assert abs(weights["weight"].sum() - 1) < 1e-9
    trades = read_trades(page / "trades.csv")
    assert (np.sign(trades["shares"]) == trades["side"].map({"BUY": 1, "SELL": -1})).all()
    assert np.allclose(trades["notional"], trades["shares"].abs() * trades["price"])
    signals = json.loads((page / "signals.json").read_bytes())
    assert set(weights["symbol"][:-1]) <= set(signals["scores"])
    assert read_run(page)["recorded"]["orders"] == len(trades)


def test_the_views_are_the_book(trained):
    from openbook.runs.stage import csv_bytes

    for name, table in views(trained.book).items():
        assert (trained.runs / "books" / "paper" / f"{name}.csv").read_bytes() == csv_bytes(table)


def test_the_champion_is_the_one_that_was_selected(trained):
    _, schema, card = read_champion(trained.bundle())
    sealed = trained.runs / "select_champion" / f"{trained.days[0]:%Y-%m-%d}"
    assert card == ChampionCard.model_validate_json((sealed / CARD).read_bytes())
    assert (card.horizon, tuple(schema["features"])) == (5, card.features)
    assert pd.Timestamp(card.trained_through) <= trained.days[0]
    pointer = json.loads((trained.runs / "production" / "champion.json").read_bytes())
    assert [entry["sha256"] for entry in pointer["history"]] == [trained.bundle().name]


def rollback(desk, reason="it loses"):
    return openbook("--runs", desk.runs, "rollback", "--who", "Ann", "--reason", reason)


def test_a_rollback_holds_when_the_selection_that_it_took_back_is_run_again(desk):
    earlier = desk.bundle()
    succeed(desk.run("select_champion", desk.days[1]))
    assert desk.bundle() != earlier
    said = succeed(rollback(desk)).out
    assert said.startswith("tiny × ")
    assert f"selected {desk.days[0]:%Y-%m-%d}, {earlier.name[:12]} is the champion again, replacing" in said
    before = desk.kept()
    assert succeed(rollback(desk)).out.startswith("already done: ")
    assert succeed(desk.run("select_champion", desk.days[1])).out.startswith("already done: ")
    assert desk.kept() == before
    assert desk.bundle() == earlier
    assert "by a rollback by Ann" in openbook("--runs", desk.runs, "status").out
    assert ", rolled back\n" in openbook("--runs", desk.runs, "champion").out


def test_on_a_cluster_a_training_leaves_the_same_bytes(desk, cluster):
    """What was measured, and what tells of it, aside."""
    day = f"{desk.days[0]:%Y-%m-%d}"
    folder = desk.runs / "train_candidates" / day
    before = hashes(folder)
    shutil.rmtree(folder)
    log_runs(desk.runs)  # which would not have another run in the place of this one
    options = [word for text in (desk.vendor.source, *TRAINED) for word in ("--set", text)]
    command = ["run", "train_candidates", "--date", day, "--engine", cluster, *options]
    succeed(openbook("--runs", desk.runs, *command))
    measured = {"training_comparison.csv", "train_candidates.ipynb", "report.html", "run.json"}
    after = hashes(folder)
    assert {name: sha for name, sha in after.items() if name not in measured} == {
        name: sha for name, sha in before.items() if name not in measured
    }


def test_a_second_selection_knows_the_look_the_champion_and_what_was_tried(desk):
    """A month later: another comparison was made in between, the holdout was looked at once, a champion reigns."""
    first = desk.bundle()
    succeed(desk.run("compare", desk.days[1], *COMPARED, "portfolio.top_n=8"))
    succeed(desk.run("select_champion", desk.days[1]))
    run = read_run(desk.runs / "select_champion" / f"{desk.days[1]:%Y-%m-%d}")
    assert run["recorded"]["holdout_looks"] == 2
    assert run["recorded"]["trials"] == 4  # two optimizers with ten names, two with eight
    assert champions.incumbent_of(desk.runs, f"{desk.days[1]:%Y-%m-%d}") == first
    assert champions.incumbent_of(desk.runs, f"{desk.days[0]:%Y-%m-%d}") is None
    assert succeed(desk.run("select_champion", desk.days[1])).out.startswith("already done: ")


@pytest.mark.parametrize(
    ("notebook", "earlier", "file"),
    [
        ("compare", "train_candidates", "oos_scores.parquet"),
        ("compare", "train_candidates", "run.json"),
        ("select_champion", "train_candidates", "trials.parquet"),
        ("select_champion", "compare", "returns.parquet"),
        ("select_champion", "compare", "backtest_detailed_results.json"),
    ],
)
def test_an_altered_run_is_no_input_of_a_later_one(desk, notebook, earlier, file):
    altered = desk.runs / earlier / f"{desk.days[0]:%Y-%m-%d}" / file
    altered.chmod(0o644)
    altered.write_bytes(altered.read_bytes().replace(b"1", b"2", 1))
    before = desk.kept()
    answer = desk.run(notebook, desk.days[1], *(COMPARED if notebook == "compare" else ()))
    assert answer.code == 90
    assert f"{earlier}/{desk.days[0]:%Y-%m-%d} was altered: it is not the run in the log" in answer.err
    assert desk.kept() == before


@pytest.mark.parametrize("name", ["model.txt", CARD])
@pytest.mark.parametrize("damage", ["altered", "missing"])
def test_a_rollback_to_a_bundle_that_is_not_whole_moves_nothing(desk, name, damage):
    file = desk.bundle() / name
    desk.promote(selected="2024-05-31")
    data = file.read_bytes()
    file.unlink()
    if damage == "altered":
        file.write_bytes(data[:-2] + b" \n")
    before = desk.kept()
    answer = rollback(desk)
    assert answer.code == 40
    assert name in answer.err
    assert desk.kept() == before


def test_the_last_champion_that_is_whole_stands_in_for_one_that_is_missing(desk):
    """Five champions, of which the last is missing: one of them altered, one that answers differently, one gone."""
    params = load_params("daily_run", "demo", ("fallback_champion=previous",))
    whole, schema = desk.bundle(), json.loads((desk.bundle() / "schema.json").read_bytes())
    assert champions.champion_of(desk.runs, params.fallback_champion) == (whole, "")
    altered = desk.promote(selected="2024-05-01")
    gone = desk.promote(selected="2024-05-02")
    schema["golden"]["predictions"] = schema["golden"]["predictions"][::-1]
    changed = desk.promote(json.dumps(schema).encode(), selected="2024-05-03")
    desk.promote(selected="2024-05-04").rename(desk.runs / "lost")
    gone.rename(desk.runs / "gone")
    (altered / "model.txt").write_bytes(b"other trees")
    folder, note = champions.champion_of(desk.runs, params.fallback_champion)
    assert folder == whole
    assert "selected 2024-05-04" in note
    assert whole.name[:12] in note
    assert changed.is_dir()
    (whole / "model.txt").unlink()
    with pytest.raises(ModelError, match="no earlier champion is intact"):
        champions.champion_of(desk.runs, params.fallback_champion)
    with pytest.raises(ModelError, match="is missing; restore it"):
        champions.champion_of(desk.runs, "none")


@pytest.mark.parametrize(
    ("incumbent", "challenger", "moves"),
    [
        (None, {"vetted": False}, True),
        (None, {"vetted": False, "decision": "keep"}, True),
        ({"vetted": False}, {"vetted": False}, True),
        ({"vetted": False}, {"vetted": True}, True),
        ({"vetted": True}, {"vetted": True}, True),
        ({"vetted": True}, {"vetted": False}, False),
        ({"vetted": True}, {"vetted": False, "decision": "promote"}, False),
        ({"vetted": True}, {"vetted": True, "decision": "promote"}, True),
        ({"vetted": True}, {"vetted": True, "decision": "keep"}, False),
    ],
)
@pytest.mark.parametrize("lost", [False, True])
def test_who_may_take_whose_place(tmp_path, incumbent, challenger, moves, lost):
    """Whether the incumbent's bundle is still there makes no difference: nobody is stuck with a missing one."""
    folder = pipeline.RunsFolder(tmp_path)
    if incumbent:
        champions.promote_selected(tmp_path, {CARD: json.dumps({"who": 1, **incumbent}).encode()})
        if lost:
            folder.champion()[0].rename(tmp_path / "lost")
    champions.promote_selected(tmp_path, {CARD: json.dumps({"who": 2, **challenger}).encode()})
    assert (registry.history(tmp_path)[-1]["metadata"]["who"] == 2) is moves


# ---- the same inputs, the same bytes ----


def changed_after(files, date, seed: int):
    """The same files up to a date; after it other prices and volumes, missing bars, and a split."""
    rng = np.random.default_rng(seed)
    bars = files.bars.copy()
    later = bars["date"] > date
    moved = np.exp(rng.normal(0, 0.02, later.sum()))
    for field in ("open", "high", "low", "close"):
        bars.loc[later, field] *= moved
    bars.loc[later, "volume"] *= rng.uniform(0.5, 2, later.sum())
    lost = later.to_numpy() & (rng.random(len(bars)) < 0.02)
    bars = bars[~lost]
    days = np.sort(bars["date"][bars["date"] > date].unique())
    files = type(files)(bars, files.actions)
    if not len(days):
        return files
    split = pd.Timestamp(days[len(days) // 2])
    return files.scaled("S0010", split, 0.5, volume=2.0).with_action(split, "S0010", "split", 2.0)


def test_s01_another_folder_a_crash_before_sealing_and_other_later_prices_give_the_same_bytes(
    desk_after_one_page, trained, tmp_path, monkeypatch
):
    """Three laws in two runs: the place does not matter, a crash heals, and what comes later is not known."""
    twin = copied(desk_after_one_page, tmp_path)
    twin.vendor.deliver(changed_after(twin.vendor.files, twin.days[2], seed=3))
    rename = os.rename

    def fail(source, target, **given):
        if Path(target) == twin.page(twin.days[2]):
            raise OSError(28, "No space left on device")
        rename(source, target, **given)

    with monkeypatch.context() as broken:
        broken.setattr(os, "rename", fail)
        assert twin.daily(date=twin.days[2]).code == 74
    assert not twin.page(twin.days[2]).exists()
    succeed(twin.daily(date=twin.days[2]))
    assert twin.kept().keys() == trained.kept().keys()
    differ = {name for name, sha in twin.kept().items() if trained.kept()[name] != sha}
    assert differ == {f"daily_run/{twin.days[2]:%Y-%m-%d}/daily_run.ipynb"}


# ---- no decision knows what came later ----


def admitted(files):
    """The files as a market."""
    sectors = pd.Series({name: "Tech" if name[-1] in "02468" else "Energy" for name in files.bars["symbol"].unique()})
    actions = files.actions.astype({"value": "float64"}) if len(files.actions) else None
    told = {"name": "by hand", "execution": "next_open", "adjusted": False}
    delivery = Delivery(bars=files.bars, actions=actions, sectors=sectors.rename_axis("symbol").sort_index(), **told)
    return admit(delivery)[0]


def decide(market, date, card, model):
    """Everything that the page of `date` decides, from what is known at its close."""
    known = market.upto(date)
    features = compute_features(known, card.features, dates=known.dates[-60:])
    scores = model.predict(features)
    regimes = detect_regime(known, card.regime)
    prices = known.close.loc[date]
    state = settle(new_state(CASH), known, card.costs, date)
    wanted = construct_portfolio(
        scores,
        known.adjusted,
        held=current_weights(state.positions, state.cash, prices),
        sectors=known.sectors,
        regime=int(regimes["regime"].iloc[-1]),
        settings=card.portfolio,
    )
    volume = median_dollar_volume(known)
    orders = TradeGenerator(costs=card.costs).generate_trades(
        state.positions, state.cash, wanted.weights, prices, volume=volume, reasons=wanted.reasons
    )
    labels = compute_labels(known, card.horizon).iloc[: -card.horizon - 1]
    return features.frame(), labels, regimes, scores, wanted.weights, orders


@pytest.mark.parametrize(("row", "seed"), [(280, 0), (333, 1), (399, 2), (418, 3)])
def test_no_decision_changes_when_what_comes_later_does(trained, row, seed):
    model, _, card = read_champion(trained.bundle())
    files = trained.vendor.files
    date = pd.DatetimeIndex(sorted(files.bars["date"].unique()))[row]
    alone = decide(admitted(files.upto(date)), date, card, model)
    for later in (files, changed_after(files, date, seed)):
        market = admitted(later)
        for had, has in zip(alone, decide(market, date, card, model), strict=True):
            compare = assert_frame_equal if isinstance(had, pd.DataFrame) else assert_series_equal
            compare(had, has, check_exact=True)
        # the same numbers stand in the tables that go on beyond the date
        features, labels, regimes = alone[:3]
        whole = compute_features(market, card.features, dates=market.dates[: row + 1][-60:]).frame()
        assert_frame_equal(whole, features, check_exact=True)
        assert_frame_equal(compute_labels(market, card.horizon).loc[labels.index], labels, check_exact=True)
        assert_frame_equal(detect_regime(market, card.regime).loc[:date], regimes, check_exact=True)


# ---- what is promised elsewhere ----


@pytest.mark.parametrize("profile", ["demo", "live", "vendor"])
@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_every_profile_fits_its_notebook(project_root, notebook, profile):
    params = load_params(notebook, profile, root=project_root).model_dump(mode="json")
    check_parameters(project_root / "notebooks" / f"{notebook}.ipynb", params)


def test_names_vanish_during_the_demo(project_root):
    days = sessions("2017-08-01", pipeline.DEMO_LAST)[-pipeline.DEMO_SESSIONS :]
    assert (20, pd.Timestamp("2017-09-15")) == (pipeline.DEMO_SESSIONS, pipeline.DEMO_LAST)
    assert f"{days[0]:%Y-%m-%d}" == "2017-08-18"
    market, _ = load_market(load_params("daily_run", "demo", root=project_root).source, through=days[-1])
    during = market.actions[market.actions["date"] >= days[0]]
    assert during["symbol"].tolist() == ["WFM", "DOW", "SPLS"]
    assert market.volume.iloc[-1].count() == market.members.iloc[-1].sum() == 120


def test_an_earlier_run_must_be_there(tmp_path):
    for notebook in ("compare", "select_champion"):
        folder = tmp_path / notebook
        sets = ("source={provider: simulated, n_symbols: 5, n_sessions: 30, end: 2022-12-28}",)
        with pytest.raises(pipeline.UsageError, match=f"{notebook} needs a sealed train_candidates run"):
            pipeline.run(notebook, "2022-12-28", folder, sets=sets if notebook == "compare" else ())


def test_each_source_has_a_store_of_its_own(project_root):
    one = load_params("daily_run", "demo", ("source={provider: simulated, seed: 1}",), root=project_root).source
    two = load_params("daily_run", "demo", ("source={provider: simulated, seed: 2}",), root=project_root).source
    assert store_of(Path("runs"), one) != store_of(Path("runs"), two)


# ---- long: the demo, and the notebooks without us ----


@pytest.mark.long
def test_the_demo_from_nothing_to_twenty_pages(tmp_path):
    answer = succeed(openbook("--runs", tmp_path / "runs", "demo"))
    pages = sorted((tmp_path / "runs" / "daily_run").glob("*/report.html"))
    assert len(pages) == pipeline.DEMO_SESSIONS
    assert pages[-1].parent.name == "2017-09-15"
    assert str(pages[-1].resolve()) in answer.out
    history = views(tmp_path / "runs" / "books" / "paper.db")["performance_history"]
    assert list(history["date"]) == [page.parent.name for page in pages]
    for page in pages:
        text = page.read_text()
        assert "<script" not in text
        assert not re.search(r"""(?:src|href)\s*=\s*["'](?:https?:)?//""", text)
    before = hashes(tmp_path / "runs")
    again = succeed(openbook("--runs", tmp_path / "runs", "demo"))
    assert again.out.count("already done") == len(pipeline.MONTHLY) + pipeline.DEMO_SESSIONS
    after = hashes(tmp_path / "runs")
    assert {name for name in before | after if before.get(name) != after.get(name)} <= {".lock"}


@pytest.mark.long
@pytest.mark.parametrize(
    ("notebook", "options"),
    [(name, ()) for name in NOTEBOOKS]
    + [("daily_run", ("-f", "params/demo/daily_run.yaml", "-p", "date", "2017-09-15"))],
)
def test_bare_papermill_runs_every_notebook_and_changes_no_state(project_root, tmp_path, notebook, options):
    """Run All with the defaults, and the line that the quickstart gives."""
    checkout = tmp_path / "checkout"
    for name in ("notebooks", "params"):
        shutil.copytree(project_root / name, checkout / name, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    before = hashes(checkout)
    line = [sys.executable, "-m", "papermill", f"notebooks/{notebook}.ipynb", "out.ipynb", *options]
    done = subprocess.run(line, cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    after = hashes(checkout)
    assert {name for name in before | after if before.get(name) != after.get(name)} == {"out.ipynb"}
    text = (checkout / "out.ipynb").read_text()
    assert "No stage was given" in text
    assert "demo" in text.lower() or notebook == "train_candidates"


def test_awkward_names_are_what_the_model_buys(trained):
    """The tests of D14 and X03 rest on this."""
    assert set(AWKWARD) <= set(trained.state().positions.index)
