"""The same date once more: refused with what differs, or sealed beside the first, whose open orders are void."""

import json
import os

import pytest

from openbook.app.service import update_prices
from openbook.ledger import book, book_commands
from openbook.market import calendar
from openbook.market.sources import parse_source
from openbook.runs import audit_log, provenance
from openbook.runs.runs_folder import RunsFolder, read_run
from support.trained_desk import COMPARED, TRAINED, Terminal, copied, hashes, openbook, succeed

BY_HAND = "require_manual_approval=true"
OTHER = "min_trade_size=2500"


@pytest.fixture
def evening(by_hand_tonight, tmp_path, monkeypatch):
    """Tonight's orders wait for a person: a desk to be changed; the clock stands at ten past nine."""
    return standing(by_hand_tonight, tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def decided_twice(by_hand_tonight, tmp_path_factory):
    """The same with a second decision beside the first. Copy it, never change it."""
    with pytest.MonkeyPatch.context() as patched:
        desk = standing(by_hand_tonight, tmp_path_factory.mktemp("twice"), patched)
        succeed(again(desk, OTHER))
    return desk


@pytest.fixture
def twice(decided_twice, tmp_path, monkeypatch):
    """A copy of it, to be changed."""
    return standing(decided_twice, tmp_path, monkeypatch)


def standing(decided, folder, monkeypatch):
    """A copy of a desk at ten past nine of `tonight`."""
    desk = copied(decided, folder)
    desk.vendor.deliver(desk.evening())
    monkeypatch.setenv(calendar.REHEARSAL, f"{desk.tonight:%Y-%m-%d}T21:10Z")
    return desk


def tonight(desk) -> str:
    return f"{desk.tonight:%Y-%m-%d}"


def again(desk, *sets: str):
    """Tonight's page with other settings, --supersede."""
    given = [word for text in (desk.vendor.source, BY_HAND, *sets) for word in ("--set", text)]
    return openbook("--runs", desk.runs, "run", "daily_run", "--date", tonight(desk), *given, "--supersede")


def approve(desk, monkeypatch):
    code = book_commands.read_batch(desk.book, tonight(desk)).code
    monkeypatch.setattr("sys.stdin", Terminal(f"{code}\n"))
    return openbook("--runs", desk.runs, "approve", tonight(desk), "--by", "Ann")


def states(desk) -> dict[str, str]:
    """State by order id, of every order of tonight, as the view of the book says it."""
    table = book.views(desk.book)["trade_history"]
    return dict(table.loc[table["decided"] == tonight(desk), ["order_id", "status"]].itertuples(index=False))


def test_s05_a_refused_run_names_the_parameter_and_the_way_on(evening):
    before = evening.kept()
    answer = evening.daily(None, BY_HAND, OTHER)
    assert answer.code == 62
    assert "min_trade_size: 100.0 → 2500" in answer.err
    assert f"use --supersede to seal this run as {tonight(evening)}.2" in answer.err
    assert "openbook --runs FOLDER" in answer.err
    assert evening.kept() == before


def test_a_loop_of_research_on_one_date_names_what_changed_and_is_sealed_beside(desk):
    date = f"{desk.days[0]:%Y-%m-%d}"
    desk.vendor.deliver(desk.vendor.files.upto(desk.days[2]))
    sets = [desk.vendor.source, *COMPARED, "portfolio.top_n=7"]
    run = ("--runs", desk.runs, "run", "compare", "--date", date, *(word for text in sets for word in ("--set", text)))
    first = hashes(desk.runs / "compare" / date)
    refused = openbook(*run)
    assert (refused.code, "portfolio.top_n: 10 → 7" in refused.err) == (62, True), refused.err
    succeed(openbook(*run, "--supersede"))
    assert hashes(desk.runs / "compare" / date) == first
    beside = desk.runs / "compare" / f"{date}.2"
    assert read_run(beside)["params"]["portfolio"]["top_n"] == 7
    assert RunsFolder(desk.runs).latest("compare") == beside
    assert f"already done: compare {date} in {beside}" in succeed(openbook(*run)).out
    assert f"already done: compare {date} in {beside}" in succeed(openbook(*run, "--supersede")).out
    answer = openbook("--runs", desk.runs, "run", "select_champion", "--date", date)
    assert (answer.code, "different compare" in answer.err) == (62, True), answer.err
    succeed(openbook("--runs", desk.runs, "run", "select_champion", "--date", date, "--supersede"))
    looked = read_run(desk.runs / "select_champion" / f"{date}.2")["recorded"]["holdout_looks"]
    assert looked == 2  # the first selection of that date has looked at the holdout, too
    assert "no problems" in succeed(openbook("--runs", desk.runs, "verify")).out


def test_training_names_a_parameter_deep_inside(desk):
    date = f"{desk.days[0]:%Y-%m-%d}"
    sets = [desk.vendor.source, *TRAINED, "walk_forward.n_folds=3"]
    line = ("--runs", desk.runs, "run", "train_candidates", "--date", date)
    answer = openbook(*line, *(word for text in sets for word in ("--set", text)))
    assert answer.code == 62
    assert "walk_forward.n_folds: 2 → 3" in answer.err


def test_other_orders_take_the_place_of_those_that_wait(by_hand_tonight, twice, monkeypatch):
    first = book_commands.read_batch(by_hand_tonight.book, tonight(by_hand_tonight))
    page = hashes(by_hand_tonight.page())
    positions = book.read_book(by_hand_tonight.book).positions
    assert hashes(twice.page()) == page
    beside = twice.page().with_name(f"{tonight(twice)}.2")
    batch = book_commands.read_batch(twice.book, tonight(twice))
    assert batch.digest != first.digest
    assert set(batch.orders["order_id"]) == {f"{tonight(twice)}.2-{symbol}" for symbol in batch.orders["symbol"]}
    assert len(batch.orders) < len(first.orders)  # the filter of small trades is what was changed
    now = states(twice)
    assert {now[key] for key in first.orders["order_id"]} == {"VOID"}
    assert {now[key] for key in batch.orders["order_id"]} <= {"PENDING"}
    assert book.read_book(twice.book).positions.equals(positions)
    if len(batch.orders):
        succeed(approve(twice, monkeypatch))
        said = succeed(openbook("--runs", twice.runs, "export", tonight(twice))).out
        assert said.count(f"{tonight(twice)}.2-") == len(batch.orders)
    book.audit_book(twice.book)
    entries = {entry["subject"] for entry in audit_log.entries(twice.runs)}
    assert {f"daily_run/{tonight(twice)}", f"daily_run/{tonight(twice)}.2"} <= entries
    assert "no problems" in succeed(openbook("--runs", twice.runs, "verify")).out
    assert read_run(beside)["params"]["min_trade_size"] == 2500


def test_the_same_again_is_done_already_and_a_third_decision_is_another(twice):
    before = twice.kept()
    assert "already done" in succeed(again(twice, OTHER)).out
    assert twice.kept() == before
    succeed(again(twice, "min_trade_size=1500"))
    assert twice.page().with_name(f"{tonight(twice)}.3").is_dir()
    assert {
        order.split("-")[2] for order in book_commands.read_batch(twice.book, tonight(twice)).orders["order_id"]
    } <= {f"{tonight(twice)}.3".split("-")[2]}


def test_approved_orders_that_were_not_filled_are_void_too(evening, monkeypatch):
    succeed(approve(evening, monkeypatch))
    first = book_commands.read_batch(evening.book, tonight(evening)).orders["order_id"]
    succeed(again(evening, OTHER))
    assert {states(evening)[key] for key in first} == {"VOID"}


def test_the_next_evening_fills_the_second_orders_alone(evening, monkeypatch):
    succeed(again(evening, "min_trade_size=150"))
    succeed(approve(evening, monkeypatch))
    orders = book_commands.read_batch(evening.book, tonight(evening)).orders.set_index("symbol")["shares"]
    held = book.read_book(evening.book).positions
    following = evening.days[4]
    monkeypatch.setenv(calendar.REHEARSAL, f"{following:%Y-%m-%d}T21:10Z")
    succeed(evening.daily(evening.evening(following), BY_HAND, date=following))
    after = book.read_book(evening.book).positions
    wanted = held.add(orders, fill_value=0).astype("int64")
    assert after.to_dict() == wanted[wanted != 0].to_dict()
    answer = again(evening, OTHER)
    assert answer.code == 63, answer
    assert "only the last session can be superseded" in answer.err


def test_a_book_that_has_moved_is_not_decided_on_again(evening):
    succeed(openbook("--runs", evening.runs, "cash", "deposit", "500", "--who", "Ann", "--reason", "savings"))
    before = evening.kept()
    answer = again(evening, OTHER)
    assert answer.code == 62
    assert "the book changed since" in answer.err
    assert evening.kept() == before


def test_settled_facts_stay_as_they_were_committed(evening):
    """The vendor corrects tonight's close of a held name: another settlement, which the next evening takes in."""
    source = parse_source(json.loads(evening.vendor.source.removeprefix("source=")))
    evening.vendor.deliver(evening.evening().scaled(evening.held()[0], evening.tonight, 1.004))
    assert len(update_prices(RunsFolder(evening.runs), source, through=evening.tonight).revisions)
    before = evening.kept()
    answer = again(evening)
    assert answer.code == 62, answer
    assert "would change, because prices or actions were restated since" in answer.err
    assert evening.kept() == before


@pytest.fixture(scope="module")
def crashed_once(by_hand_tonight, tmp_path_factory):
    """The second decision is in the book, and its page was not sealed. Copy it, never change it."""

    def crash(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        desk = standing(by_hand_tonight, tmp_path_factory.mktemp("crashed"), patched)
        patched.setattr(RunsFolder, "seal", crash)
        assert again(desk, OTHER).code == 130
    return desk


@pytest.fixture
def crashed(crashed_once, tmp_path, monkeypatch):
    """A copy of it, to be changed."""
    return standing(crashed_once, tmp_path, monkeypatch)


def test_a_crash_between_the_book_and_the_seal_is_healed_by_the_same_again(crashed):
    digest = book_commands.read_batch(crashed.book, tonight(crashed)).digest
    events = len(book.event_hashes(crashed.book))
    succeed(again(crashed, OTHER))
    assert book_commands.read_batch(crashed.book, tonight(crashed)).digest == digest
    assert len(book.event_hashes(crashed.book)) == events
    assert "no problems" in succeed(openbook("--runs", crashed.runs, "verify")).out


def test_after_such_a_crash_other_settings_are_a_third_decision(crashed):
    succeed(again(crashed, "min_trade_size=1500"))
    assert crashed.page().with_name(f"{tonight(crashed)}.3").is_dir()
    assert book.decision(crashed.book, tonight(crashed))[0] == 3


def test_such_a_crash_is_said_by_the_same_date_and_stops_the_next_evening(crashed, monkeypatch):
    for line in ((None, BY_HAND), (None, BY_HAND, "min_trade_size=1500")):
        answer = crashed.daily(*line)
        assert answer.code == 62
        assert f"decision 2 of {tonight(crashed)} is in the book but its page is not sealed" in answer.err
    following, before = crashed.days[4], crashed.kept()
    monkeypatch.setenv(calendar.REHEARSAL, f"{following:%Y-%m-%d}T21:10Z")
    answer = crashed.daily(crashed.evening(following), BY_HAND, date=following)
    assert (answer.code, "decision 2" in answer.err) == (62, True)
    assert crashed.kept() == before


def test_both_decisions_can_be_replayed(twice):
    for name in (f"{tonight(twice)}.1", f"{tonight(twice)}.2", tonight(twice)):
        said = succeed(openbook("--runs", twice.runs, "replay", name)).out
        assert f"5 of 5 outputs of {name} are identical, byte for byte" in said
    assert openbook("--runs", twice.runs, "replay", f"{tonight(twice)}.7").code == 64


def test_a_date_has_one_page_paper_or_live(evening):
    evening.promote(vetted=True)
    os.environ.pop(calendar.REHEARSAL)
    now = calendar.approval_deadline(evening.tonight)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(calendar, "now", lambda: now)
        succeed(openbook("--runs", evening.runs, "init", "--cash", "50000", "--book", "live"))
        answer = again(evening, "dry_run=false")
    assert answer.code == 62
    assert f"{tonight(evening)} already has a sealed page, of another book" in answer.err


def test_code_that_changed_since_a_backfill_began_is_not_sealed(evening, monkeypatch):
    """The kernels of a backfill are forked from a process that has imported the library as it was."""
    monkeypatch.setattr(provenance, "library_digest", lambda: "another")
    before = evening.kept()
    answer = again(evening, OTHER)
    assert answer.code == 62
    assert "the openbook library changed while this command was running" in answer.err
    assert evening.kept() == before
