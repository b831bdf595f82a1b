"""The faults of the data, the model, the limits and the state, put into a whole desk; each test carries its fault's id.

What every one of them shows: the exit code, one line that names the culprit, and the book, its views, the champion and
all sealed runs byte for byte as they were. The rooms' own tests look at the same faults closer by, and at many more.
"""

import ast
import base64
import html
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest

from openbook.app.audit import verify
from openbook.common.errors import ModelError
from openbook.decision.sealed_inputs import decision_inputs
from openbook.ledger.book import views
from openbook.market.calendar import sessions, today
from openbook.market.sources import parse_source
from openbook.market.store import fingerprint, load_market, read_store, restatements, store_fingerprint
from openbook.runs.runs_folder import RunsFolder, read_run
from openbook.selection.champion import CARD, PROMISE, ChampionCard, champion_hash, read_champion
from openbook.signals.bundle import SCHEMA, bundle_hash, pack_model
from openbook.signals.dataset import build_dataset
from openbook.signals.features import compute_features
from openbook.signals.models import Candidate, ModelTrainer
from support.small_runs import cell as record_cell
from support.small_runs import log_runs
from support.trained_desk import AWKWARD, SCRIPT, Answer, Desk, copied, hashes, openbook, succeed


@contextmanager
def untouched(desk: Desk):
    """Inside, nothing may happen to the book, its views, the champion or any sealed run."""
    before = desk.kept()
    yield
    assert desk.kept() == before


def complains(answer: Answer, code: int, *words: str) -> None:
    """An exit code, and one line that says these words."""
    assert answer.code == code, answer
    assert answer.err.startswith("openbook: ")
    assert answer.err.count("\n") == 1
    assert "Traceback" not in answer.out + answer.err
    missing = [word for word in words if word not in answer.err]
    assert not missing, answer.err


def stays_put(desk: Desk, files, code: int, *words: str, sets: tuple[str, ...] = ()) -> None:
    """The vendor delivers `files`; tonight's page ends with `code`, these words, and nothing else."""
    with untouched(desk):
        complains(desk.daily(files, *sets), code, *words)


def at_held(desk: Desk) -> str:
    """A held symbol with a plain name and no order waiting."""
    return next(symbol for symbol in desk.held() if symbol not in AWKWARD)


# ---- data ----


def test_d15_a_rewritten_history_that_is_stored_changes_no_sealed_day(desk):
    """The vendor rewrites an old close under two sealed pages and delivers tonight: taken, dated, and they stand."""
    held, store = at_held(desk), next((desk.runs / "store").iterdir())
    old = pd.Timestamp(sorted(desk.vendor.files.bars["date"].unique())[-30])
    sealed, prints = hashes(desk.page(desk.days[2])), [store_fingerprint(store, day) for day in desk.days[:3]]
    seen = decision_inputs(desk.page(desk.days[2])).data.market
    files = desk.evening()
    bar = files.bars[(files.bars["symbol"] == held) & (files.bars["date"] == old)].iloc[0]
    moved = {field: bar[field] * 1.02 for field in ("open", "high", "low", "close")}
    succeed(desk.daily(files.edited(held, old, **moved)))
    said = restatements(store)
    assert {(row.symbol, row.known, row.date) for row in said.itertuples()} == {(held, desk.tonight, old)}
    now = decision_inputs(desk.page()).data.market
    assert now.close.loc[old, held] == pytest.approx(1.02 * seen.close.loc[old, held])
    assert prints == [store_fingerprint(store, day) for day in desk.days[:3]]
    assert hashes(desk.page(desk.days[2])) == sealed
    again = decision_inputs(desk.page(desk.days[2])).data.market
    pd.testing.assert_frame_equal(again.close, seen.close)
    pd.testing.assert_frame_equal(again.adjusted, seen.adjusted)
    assert fingerprint(again) == fingerprint(seen) == prints[2]
    page = (desk.page() / "report.html").read_text()
    told = page[page.index("Restatements are corrections") :]
    assert f"Restated: {len(said)}. Revision impact on the target weights of {desk.days[2]:%Y-%m-%d}: " in told
    assert held in told[: told.index("</table>")]
    succeed(openbook("--runs", desk.runs, "replay", f"{desk.days[2]:%Y-%m-%d}"))


def test_d01_d04_d07_d08_d13_d18_a_doubtful_name_that_is_not_held_is_left_out_and_listed(desk):
    absent, spiked, free, untraded, upside_down, sent_again, *_ = [
        name for name in desk.others() if name not in AWKWARD
    ]
    night, files = desk.tonight, desk.evening()
    files = files.without([absent], night).scaled(spiked, night, 100.0).edited(free, night, close=0.0)
    bar = files.bars[(files.bars["symbol"] == upside_down) & (files.bars["date"] == night)].iloc[0]
    files = files.edited(upside_down, night, high=bar["low"] * 0.99).edited(untraded, night, volume=0.0)
    mine = files.bars[(files.bars["symbol"] == sent_again) & (files.bars["date"] < night)]
    files = files.edited(sent_again, night, **mine.iloc[-1][["open", "high", "low", "close", "volume"]].to_dict())
    holiday = files.bars[files.bars["date"] == night].assign(date=pd.Timestamp("2024-06-19"))
    files = type(files)(pd.concat([files.bars, holiday], ignore_index=True), files.actions)
    succeed(desk.daily(files, "quality.min_coverage=0.8"))
    listed = (desk.page() / "report.html").read_text()
    told = {absent: "missing", spiked: "level", free: "price", untraded: "zero volume", upside_down: "range"}
    told |= {sent_again: "repeated bars"}
    section = listed[listed.index("What was left out, and why") :]
    assert all(symbol in section and rule in section for symbol, rule in told.items())
    signals = json.loads((desk.page() / "signals.json").read_bytes())
    assert not set(told) & set(signals["scores"])
    ordered = set(pd.read_csv(desk.page() / "trades.csv", keep_default_na=False)["symbol"])
    assert not set(told) & ordered
    _, refused = read_store(next((desk.runs / "store").iterdir()))
    assert (refused["rule"] == "holiday").sum() == len(holiday)


def test_d02_thirty_percent_of_the_universe_missing(desk):
    gone = desk.others()[:8]
    stays_put(desk, desk.evening().without(gone, desk.tonight), 30, "coverage 68% < 95%", gone[0])


def test_d03_of_held_symbols_no_more_than_a_tenth_of_the_value_may_be_missing(desk):
    """What a smaller one does is in test_dirty_evenings."""
    held = desk.held()[:3]
    stays_put(desk, desk.evening().without(held, desk.tonight), 30, *held)


def test_d04_a_held_close_times_one_hundred(desk):
    held = at_held(desk)
    stays_put(desk, desk.evening().scaled(held, desk.tonight, 100.0), 30, held)


def test_d05_a_split_that_nobody_recorded(desk):
    held = at_held(desk)
    files = desk.evening().scaled(held, desk.tonight, 0.25, volume=4.0)
    stays_put(desk, files, 30, held, "suspected split 4:1", "record the split")


def test_d06_a_recorded_split_of_a_held_symbol(desk):
    held, before = at_held(desk), desk.state()
    files = desk.evening().scaled(held, desk.tonight, 0.25, volume=4.0)
    succeed(desk.daily(files.with_action(desk.tonight, held, "split", 4.0)))
    after = desk.state()
    assert after.positions[held] == 4 * before.positions[held]
    settled = json.loads((desk.page() / "settlement.json").read_bytes())
    assert [row["symbol"] for row in settled["actions"]] == [held]
    # the market moves a few percent at most; an unnoticed split would take three quarters of the position
    assert abs(after.history["equity"].iloc[-1] / before.history["equity"].iloc[-1] - 1) < 0.05


def test_d08_more_than_one_name_in_twenty_without_volume(desk):
    files, names = desk.evening(), desk.others()[:2]
    for name in names:
        files = files.edited(name, desk.tonight, volume=0.0)
    stays_put(desk, files, 30, "no volume for 2 of 25 names", names[0], "more than 5%")


def test_d09_two_different_bars_of_one_symbol_and_session(desk):
    symbol, files = desk.others()[-1], desk.evening()
    bar = files.bars[(files.bars["symbol"] == symbol) & (files.bars["date"] == desk.tonight)]
    twice = pd.concat([files.bars, bar.assign(close=bar["close"] * 1.0001)], ignore_index=True)
    stays_put(desk, type(files)(twice, files.actions), 30, symbol, f"{desk.tonight:%Y-%m-%d}")


def test_d10_backfill_stops_at_the_first_night_without_bars(desk):
    said = ["--runs", desk.runs, "backfill", "daily_run", "--set", desk.vendor.source]
    with untouched(desk):
        answer = openbook(*said, "--from", f"{desk.days[1]:%Y-%m-%d}", "--to", f"{desk.days[5]:%Y-%m-%d}")
    complains(answer, 31, f"no bars for {desk.tonight:%Y-%m-%d}", f"{desk.days[2]:%Y-%m-%d}")
    lines = answer.out.splitlines()
    assert [line[:18] for line in lines] == ["[1/5] already done", "[2/5] already done"]
    assert [path.name for path in (desk.runs / "failed" / "daily_run").iterdir()] == [f"{desk.tonight:%Y-%m-%d}-1"]


def test_d11_a_bar_dated_after_today(desk):
    files = desk.evening()
    late = files.bars[files.bars["date"] == desk.tonight].assign(date=today() + pd.Timedelta(days=5))
    with_late = type(files)(pd.concat([files.bars, late], ignore_index=True), files.actions)
    stays_put(desk, with_late, 30, "after today", "correct the source")


@pytest.mark.parametrize("part", ["bars-2024-*", "actions-*", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_d12_a_damaged_store(desk, part, damage):
    store = next((desk.runs / "store").iterdir())
    file = sorted(store.glob(part), key=os.path.getmtime)[-1]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data) if damage == "flip" else bytes(data[: len(data) // 2]))
    with untouched(desk):
        complains(desk.daily(desk.evening()), 30, file.name, "damaged")


def test_d14_tickers_that_look_like_something_else(trained):
    page, tables = trained.page(trained.days[2]), views(trained.book)
    read = {"keep_default_na": False, "dtype": {"symbol": "str"}}
    assert {"NA", "TRUE", "1E5", "BRK.B"} <= set(trained.state().positions.index)
    assert {"NA", "TRUE", "1E5", "BRK.B"} <= set(tables["current_positions"]["symbol"])
    view = pd.read_csv(trained.runs / "books" / "paper" / "current_positions.csv", **read)
    assert list(view["symbol"]) == list(tables["current_positions"]["symbol"])
    first = pd.read_csv(trained.page(trained.days[1]) / "trades.csv", **read)
    assert {"NA", "TRUE", "1E5", "BRK.B"} <= set(first["symbol"])
    assert set(pd.read_csv(page / "portfolio_weights.csv", **read)["symbol"]) >= {"NA", "TRUE", "1E5", "BRK.B"}
    assert set(AWKWARD) <= set(json.loads((page / "signals.json").read_bytes())["scores"])


def test_d16_a_held_symbol_without_a_bar_waits_for_its_delisting(desk):
    held = at_held(desk)
    gone = desk.evening().without([held], desk.tonight)
    stays_put(desk, gone, 30, f"{held} has had no close", "record the delisting", sets=["account.max_locked=0"])


def test_d16_a_held_symbol_whose_delisting_is_recorded(desk):
    held, before = at_held(desk), desk.state()
    gone = desk.evening().without([held], desk.tonight).with_action(desk.tonight, held, "delisting", 0.0)
    succeed(desk.daily(gone))
    after = desk.state()
    assert held in before.positions.index
    assert held not in after.positions.index
    settled = json.loads((desk.page() / "settlement.json").read_bytes())
    assert [(row["symbol"], row["kind"]) for row in settled["actions"]] == [(held, "delisting")]


def test_t06_an_open_exchange_and_two_bars(desk):
    gone = [*desk.others(), *desk.held()][:-2]
    stays_put(desk, desk.evening().without(gone, desk.tonight), 30, "no close for held", f"{desk.tonight:%Y-%m-%d}")


def test_t06_an_open_exchange_and_the_held_names_alone(desk):
    stays_put(desk, desk.evening().without(desk.others(), desk.tonight), 30, "% < 95%", "active names have no bar")


def test_d17_a_feed_that_stands_still(desk):
    files = desk.evening(desk.days[2])
    again = files.bars[files.bars["date"] == desk.days[2]].assign(date=desk.tonight)
    stays_put(desk, type(files)(pd.concat([files.bars, again]), files.actions), 30, "frozen feed")


# ---- the model ----


class Loud:
    """Runs as soon as it is unpickled."""

    def __init__(self, file):
        self.file = str(file)

    def __reduce__(self):
        return (open, (self.file, "w"))


def test_m01_a_pickle_in_the_place_of_the_model_never_runs(desk, tmp_path):
    import pickle

    model = desk.bundle() / "model.txt"
    model.write_bytes(pickle.dumps(Loud(tmp_path / "ran")))
    with untouched(desk):
        complains(desk.daily(desk.evening()), 40, "model.txt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["model.txt", SCHEMA, PROMISE, CARD])
def test_m02_one_byte_flipped_in_any_file_of_the_champion(desk, name):
    file = desk.bundle() / name
    whole = file.read_bytes()
    for at in np.linspace(0, len(whole) - 1, 25).astype(int):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(ModelError, match=name):
            read_champion(desk.bundle())


def test_m05_constant_scores(desk):
    source = parse_source(json.loads(desk.vendor.source.removeprefix("source=")))
    market, _ = load_market(source, through=desk.days[0])
    _, schema, card = read_champion(desk.bundle())
    features = compute_features(market, tuple(schema["features"]), dates=market.dates[-150:])
    dataset = build_dataset(market, features, card.horizon)
    # no leaf can be so full: every tree is a single leaf
    dull = Candidate(name="dull", algorithm="lightgbm", n_estimators=1, params={"min_data_in_leaf": 10**8})
    model = ModelTrainer(dull).train(dataset, dataset.dates)
    files = pack_model(model, dataset.features_on(dataset.dates[-5:]), data_fingerprint=card.data_fingerprint)
    told = card.model_copy(update={"model": "dull", "model_sha256": bundle_hash(files), "promise_sha256": ""})
    files[CARD] = told.to_bytes()
    RunsFolder(desk.runs).promote(files, told.model_dump(mode="json"), champion_hash(files))
    stays_put(desk, desk.evening(), 41, "degenerate")


def test_m06_the_pointer_points_to_nothing(desk):
    desk.bundle().rename(desk.runs / "production" / "moved")
    stays_put(desk, desk.evening(), 40, "is missing", "promote another")


def test_m06_the_champion_before_stands_in_if_the_parameters_say_so_and_every_page_does(desk):
    first, second = desk.bundle(), desk.promote(selected="2024-06-03", vetted=True)
    second.rename(desk.runs / "production" / "moved")
    stays_put(desk, desk.evening(), 40, "is missing", "promote another")
    answer = succeed(desk.daily(desk.evening(), "fallback_champion=previous"))
    lost, used = f"selected 2024-06-03, {second.name[:12]}", first.name[:12]
    note = read_run(desk.page())["recorded"]["champion_note"]
    assert note.startswith("The champion's bundle (tiny × ")
    assert f"{lost}) is missing; " in note
    assert note.endswith(f"{used}, is used instead.")
    assert "the previous champion, " in note
    assert note in answer.out
    page = (desk.page() / "report.html").read_text()
    written = html.escape(note)
    assert page.count(written) == 2
    assert page.index(written) < page.index("The session</h2>")  # at its head, and again beside the champion
    # the second is still the champion; once it is back, this page was made from other inputs
    (desk.runs / "production" / "moved").rename(second)
    complains(desk.daily(None, "fallback_champion=previous"), 62, "different inputs")


def test_m06_one_that_was_rolled_back_never_stands_in(desk):
    first = desk.bundle()
    desk.promote(selected="2024-06-03")
    succeed(openbook("--runs", desk.runs, "rollback", "--who", "Ann", "--reason", "it loses"))
    first.rename(desk.runs / "production" / "moved")
    asked = ("fallback_champion=previous",)
    stays_put(desk, desk.evening(), 40, "is missing", "no earlier champion is intact", sets=asked)


def test_m06_an_altered_champion_is_never_stood_in_for(desk):
    model = desk.promote(selected="2024-06-03") / "model.txt"
    model.chmod(0o644)
    model.write_bytes(model.read_bytes() + b"\n")
    stays_put(desk, desk.evening(), 40, "model.txt", sets=("fallback_champion=previous",))


def test_m06_no_champion_yet(desk):
    (desk.runs / "production" / "champion.json").unlink()
    stays_put(desk, desk.evening(), 90, "champion/1 is in the log, but not in the history of champion.json")
    log_runs(desk.runs)
    stays_put(desk, desk.evening(), 40, "no champion", "select_champion")


def test_m07_a_library_that_answers_differently_than_when_the_model_was_saved(desk):
    """The schema remembers other predictions, and every hash fits: what a change of the library looks like."""
    schema = json.loads((desk.bundle() / SCHEMA).read_bytes())
    said = np.frombuffer(base64.b64decode(schema["golden"]["predictions"]), "<f8") + 1e-3
    schema["golden"]["predictions"] = base64.b64encode(said.tobytes()).decode()
    desk.promote((json.dumps(schema, indent=1, sort_keys=True) + "\n").encode())
    stays_put(desk, desk.evening(), 40, "golden predictions differ", "lightgbm")
    succeed(openbook("--runs", desk.runs, "rollback", "--who", "Ann", "--reason", "the library changed"))
    succeed(desk.daily())


def test_m08_a_model_that_is_too_old(desk):
    stays_put(
        desk,
        desk.evening(),
        42,
        ChampionCard.model_validate_json((desk.bundle() / CARD).read_bytes()).trained_through,
        sets=("max_model_age=1",),
    )


# ---- the limits ----


def test_p03_p05_a_target_and_a_batch_beyond_the_limits(desk):
    sets = ("limits.max_weight=0.02", "limits.max_sector_weight=0.03", "limits.max_trades=0", "limits.max_cost=0.0")
    stays_put(desk, desk.evening(), 51, "max_weight", "max_sector_weight", "max_trades", "max_cost", sets=sets)


# ---- state ----


def test_s03_the_second_of_two_runs(desk):
    script = (
        "import sys, time\nfrom openbook.runs.runs_folder import RunsFolder\n"
        "with RunsFolder(sys.argv[1]).lock():\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(desk.runs)], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            stays_put(desk, desk.evening(), 61, str(holder.pid), "try again")
        finally:
            holder.kill()


GATED = (
    "from openbook.runs.runs_folder import open_stage\nrun = open_stage(stage)",
    "import pathlib, time\nwhile not (pathlib.Path({gates!r}) / date).exists():\n    time.sleep(0.01)",
    "run.finish()",
)


def gated_checkout(folder, root) -> None:
    """A checkout whose training waits for a file with its date's name, below gates/, and does nothing else."""
    shutil.copytree(root / "params", folder / "params")
    (folder / "notebooks").mkdir()
    (folder / "gates").mkdir()
    notebook = json.loads((root / "notebooks" / "train_candidates.ipynb").read_text())
    given = [cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", [])]
    named = [node.targets[0].id for node in ast.parse("".join(given[0]["source"])).body if isinstance(node, ast.Assign)]
    code = [", ".join(named), *(text.replace("{gates!r}", repr(str(folder / "gates"))) for text in GATED)]
    notebook["cells"] = given + [record_cell(text, number) for number, text in enumerate(code)]
    (folder / "notebooks" / "train_candidates.ipynb").write_text(json.dumps(notebook))


def race(runs, checkout, day: str) -> list[tuple[int, str]]:
    """Exit codes and last words of two runs that start at once; the first to end ends while the other still runs."""
    words = [sys.executable, "-m", "openbook.cli", "--runs", str(runs), "run", "train_candidates", "--date", day]
    both = [
        subprocess.Popen(words, cwd=checkout, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        deadline = time.monotonic() + 60
        while all(process.poll() is None for process in both):
            assert time.monotonic() < deadline, "both hold the lock, or neither ends"
            time.sleep(0.01)
        (checkout / "gates" / day).touch()
        ended = [(process.communicate(timeout=60)[1], process.returncode) for process in both]
    finally:
        for process in both:
            process.kill()
            process.wait()
    return sorted((code, said) for said, code in ended)


@pytest.mark.long
def test_s03_fifty_times_two_runs_at_once(tmp_path, project_root):
    runs, checkout = tmp_path / "runs", tmp_path / "checkout"
    gated_checkout(checkout, project_root)
    succeed(openbook("--runs", runs, "init", "--cash", 100_000))
    book = hashes(runs / "books")
    days = [f"{day:%Y-%m-%d}" for day in sessions("2022-06-01", "2022-12-28")[-50:]]
    for done, day in enumerate(days, start=1):
        (won, _), (lost, said) = race(runs, checkout, day)
        assert (won, lost) == (0, 61), said
        assert "try again when it has finished" in said
        assert sorted(path.name for path in (runs / "train_candidates").iterdir()) == days[:done]
        assert not (runs / "failed").exists()
    assert len(days) == 50
    assert hashes(runs / "books") == book
    # The notebook with the gate is no commit's. On a clean checkout the auditor says so, and must say nothing else.
    altered, _ = verify(runs)
    assert not [line for line in altered if "of the executed notebook differs from" not in line]


def test_s04_the_same_inputs_again(desk):
    for notebook, day in [("daily_run", desk.days[2]), ("daily_run", desk.days[1]), ("select_champion", desk.days[0])]:
        with untouched(desk):
            answer = succeed(desk.run(notebook, day))
        assert answer.out.startswith("already done")
    assert not (desk.runs / "failed").exists()


def test_s04_views_and_pointer_that_a_crash_left_behind_are_made_again(desk):
    before = desk.kept()
    (desk.runs / "production" / "champion.json").unlink()
    for view in (desk.runs / "books" / "paper").iterdir():
        view.unlink()
    log_runs(desk.runs)  # the crash came before the promotion was logged
    succeed(desk.run("select_champion", desk.days[0]))
    succeed(desk.run("daily_run", desk.days[2]))
    assert desk.kept() == before


def test_s05_the_same_date_with_other_inputs(desk):
    with untouched(desk):
        answer = desk.run("daily_run", desk.days[2], "min_trade_size=250.0")
    complains(
        answer, 62, f"{desk.days[2]:%Y-%m-%d}", "different inputs", "min_trade_size: 100.0 → 250.0", "--supersede"
    )


def test_s06_a_date_before_the_last_of_the_book(desk):
    with untouched(desk):
        complains(desk.run("daily_run", desk.days[0]), 63, f"{desk.days[0]:%Y-%m-%d}", f"{desk.days[2]:%Y-%m-%d}")


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "no book", "altered"])
def test_s07_no_whole_book(desk, damage):
    data = desk.book.read_bytes()
    broken = {"empty": b"", "cut": data[: len(data) // 2], "no book": b"a line of text\n" * 500}
    at = data.index(b'"inputs_hash":"') + 15
    broken["altered"] = data[:at] + (b"f" if data[at : at + 1] != b"f" else b"e") + data[at + 1 :]
    desk.book.unlink()
    if damage != "missing":
        desk.book.write_bytes(broken[damage])
    stays_put(desk, desk.evening(), 60, "paper.db")


def test_the_live_book_needs_approvals(desk):
    stays_put(desk, desk.evening(), 55, "the live book needs a person's approval", sets=("dry_run=false",))
    sets = ("dry_run=false", "require_manual_approval=true")
    stays_put(desk, desk.evening(), 60, "no book at", "openbook init --cash 100000 --book live", sets=sets)


# ---- security ----


def test_x03_a_script_in_a_ticker_a_sector_or_a_name_is_text(trained):
    pages = sorted(trained.runs.glob("*/*/report.html"))
    assert len(pages) == 5
    for page in pages:
        assert "<script" not in page.read_text().lower(), page
    daily = (trained.page(trained.days[1]) / "report.html").read_text()
    assert "&lt;script&gt;X" in daily  # the ticker
    binding = daily[daily.index("Binding limits") : daily.index("Optimizers tried")]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in binding  # the sector
    assert "the vendor &lt;script&gt;" in daily
    weights = pd.read_csv(trained.page(trained.days[1]) / "portfolio_weights.csv", keep_default_na=False)
    assert SCRIPT in set(weights["sector"])


def test_x04_a_ticker_that_a_spreadsheet_would_run_stays_itself_in_the_book(tmp_path):
    from openbook.app.service import read_trades
    from openbook.execution.orders import TRADE_COLUMNS
    from openbook.runs.stage import csv_bytes

    names = ["=CMD", "+A", "-B", "@C", "NA", "'D"]
    trades = pd.DataFrame({"symbol": names, "side": "BUY", "shares": 1, "price": 2.5, "reason": "=1+1"})
    table = trades.assign(notional=2.5, liquidity_warning="").reindex(columns=TRADE_COLUMNS, fill_value=0.0)
    (tmp_path / "trades.csv").write_bytes(csv_bytes(table))
    back = read_trades(tmp_path / "trades.csv")
    assert list(back["symbol"]) == names
    assert list(back["reason"]) == ["=1+1"] * 6


# ---- a full file system ----


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 12 MB of its own, where this process may mount one."""
    place = tmp_path / "small"
    place.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(place)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this process may not mount a tmpfs")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("left", [0, 300_000])
def test_s13_a_full_disk_ends_with_74_and_room_heals(trained, small_disk, left):
    """Full before anything is written, and full somewhere in the middle of the page."""
    desk = copied(trained, small_disk)
    files = desk.evening()
    desk.vendor.deliver(files)
    ballast = small_disk / "ballast"
    with untouched(desk):
        ballast.write_bytes(b"\0" * (shutil.disk_usage(small_disk).free - left))
        assert desk.daily(None).code == 74
        ballast.unlink()
    succeed(desk.daily(None))
    assert (desk.page() / "report.html").is_file()
