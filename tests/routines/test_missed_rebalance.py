"""A rebalance without a page, not approved, or never filled: the next page names it and makes up for it, once.

What was rejected stays rejected.
"""

import json
import re

import numpy as np
import pandas as pd
import pytest

from openbook.app.pre_trade_recheck import read_written
from openbook.decision.decide import decide
from openbook.decision.sealed_inputs import decision_inputs
from openbook.ledger import book_commands
from openbook.ledger.book import read_book
from openbook.market import calendar
from openbook.portfolio.schedule import is_rebalance
from openbook.runs.runs_folder import read_run
from support.trained_desk import ChampionCard, Terminal, clock, copied, openbook, succeed

BY_HAND = "require_manual_approval=true"


def crowned(desk, folder):
    """A copy of the desk that rebalances on days[3], and on no other evening of these days."""
    desk = copied(desk, folder)
    others = [day for day in desk.days if day != desk.days[3]]
    counts = (n for n in range(6, 20_000) if is_rebalance(desk.days[3], n))
    every = next(n for n in counts if not any(is_rebalance(day, n) for day in others))
    card = ChampionCard.model_validate_json((desk.bundle() / "champion_metadata.json").read_bytes())
    desk.promote(portfolio=card.portfolio.model_copy(update={"rebalance_every": every}))
    return desk


def evening(desk, n: int, *sets: str) -> dict:
    """What the page of days[n] recorded."""
    with clock(f"{desk.days[n]:%Y-%m-%d}T21:10Z"):
        succeed(desk.daily(desk.evening(desk.days[n]), *sets, date=desk.days[n]))
    return read_run(desk.page(desk.days[n]))["recorded"]


def text_of(desk, n: int) -> str:
    """The words of a page."""
    return re.sub(r"<[^>]+>", " ", (desk.page(desk.days[n]) / "report.html").read_text(encoding="utf-8"))


def agrees(desk, n: int) -> bool:
    """Whether the evening is decided again as it was, and played again to the same bytes."""
    page = desk.page(desk.days[n])
    again, was = decision_inputs(page), read_written(page).weights
    np.testing.assert_allclose(decide(again).target, was, rtol=0, atol=1e-9)
    with clock(f"{desk.days[n]:%Y-%m-%d}T23:10Z"):
        succeed(openbook("--runs", desk.runs, "replay", f"{desk.days[n]:%Y-%m-%d}"))
    return again.holdings.is_rebalance


@pytest.fixture(scope="module")
def skipped(trained, tmp_path_factory):
    """days[3], a rebalance, had no page; days[4] and days[5] have one."""
    desk = crowned(trained, tmp_path_factory.mktemp("skipped"))
    return desk, [evening(desk, n) for n in (4, 5)]


def test_w08_a_rebalance_without_a_page_is_made_up_for_on_the_next_evening(skipped):
    desk, (made_up, after) = skipped
    said = f"The rebalance of {desk.days[3]:%Y-%m-%d} was missed: no page; made up for in this run."
    assert made_up["is_rebalance"] is True
    assert said in made_up["sentence"]
    assert said in text_of(desk, 4)
    assert after["is_rebalance"] is False
    assert "missed" not in after["sentence"]


def test_what_decides_again_agrees_that_it_was_due(skipped):
    desk, _ = skipped
    assert agrees(desk, 4) is True
    assert agrees(desk, 5) is False


def test_orders_that_nobody_approved_are_proposed_again_and_that_is_said(trained, tmp_path):
    desk = crowned(trained, tmp_path)
    assert evening(desk, 3, BY_HAND)["is_rebalance"] is True
    assert len(book_commands.read_batch(desk.book, f"{desk.days[3]:%Y-%m-%d}").orders)
    again = evening(desk, 4, BY_HAND)
    said = (
        f"The rebalance of {desk.days[3]:%Y-%m-%d} was missed: its orders were not approved in time; made "
        "up for in this run."
    )
    assert (again["is_rebalance"], said in again["sentence"]) == (True, True)
    assert again["orders"] > 0
    once_more = evening(desk, 5, BY_HAND)
    assert f"The rebalance of {desk.days[4]:%Y-%m-%d} was missed: its orders were not approved" in once_more["sentence"]


def test_what_a_person_rejected_stays_rejected(trained, tmp_path):
    desk = crowned(trained, tmp_path)
    evening(desk, 3, BY_HAND)
    with clock(f"{desk.days[3]:%Y-%m-%d}T21:20Z"):
        words = ("reject", f"{desk.days[3]:%Y-%m-%d}", "--by", "Ann", "--reason", "not these")
        succeed(openbook("--runs", desk.runs, *words))
    after = evening(desk, 4, BY_HAND)
    assert (after["is_rebalance"], after["orders"]) == (False, 0)
    assert "missed" not in after["sentence"]


# ---- a live book, which begins on days[3] with cash alone ----

LIVE = ("dry_run=false", BY_HAND)


@pytest.fixture
def live(trained, tmp_path, monkeypatch):
    """A desk with a live book, and a function that sets the clock, of a live book never the one of a rehearsal."""
    desk = crowned(trained, tmp_path)
    desk.promote(vetted=True)
    monkeypatch.delenv(calendar.REHEARSAL, raising=False)

    def at(n: int, time: str) -> None:
        now = pd.Timestamp(f"{desk.days[n]:%Y-%m-%d}T{time}Z")
        monkeypatch.setattr(calendar, "now", lambda: now)

    at(3, "21:05")
    succeed(openbook("--runs", desk.runs, "init", "--cash", "50000", "--book", "live"))
    return desk, desk.runs / "books" / "live.db", at


def live_evening(desk, at, n: int) -> dict:
    """What the page of days[n] recorded, in the live book."""
    at(n, "21:10")
    succeed(desk.daily(desk.evening(desk.days[n]), *LIVE, date=desk.days[n]))
    return read_run(desk.page(desk.days[n]))["recorded"]


def test_approved_orders_that_were_never_filled_are_made_up_for_once_a_statement_says_so(live, monkeypatch, tmp_path):
    """Approved, exported and forgotten: the next page waits for the broker's word, then names it and decides again."""
    desk, book, at = live
    date = f"{desk.days[3]:%Y-%m-%d}"
    assert live_evening(desk, at, 3)["orders"] > 0
    monkeypatch.setattr("sys.stdin", Terminal(f"{book_commands.read_batch(book, date).code}\n"))
    succeed(openbook("--runs", desk.runs, "approve", date, "--by", "Ann"))
    succeed(openbook("--runs", desk.runs, "export", date))
    at(4, "21:05")
    assert desk.daily(desk.evening(desk.days[4]), *LIVE, date=desk.days[4]).code == 60
    statement = tmp_path / "statement.csv"
    statement.write_text("symbol,shares\nCASH,50000.00\n")
    succeed(openbook("--runs", desk.runs, "reconcile", statement, "--book", "live"))
    again = live_evening(desk, at, 4)
    why = "its orders were approved, but none was filled"
    said = f"The rebalance of {date} was missed: {why}; made up for in this run."
    assert (again["is_rebalance"], said in again["sentence"], said in text_of(desk, 4)) == (True, True, True)
    assert again["orders"] > 0
    assert set(read_book(book).last_orders["status"]) == {"PENDING"}
    assert "none was filled" not in live_evening(desk, at, 5)["sentence"]  # nobody approved these


def test_a_first_build_that_was_rejected_is_not_proposed_again_before_the_next_rebalance(live):
    desk, book, at = live
    assert live_evening(desk, at, 3)["orders"] > 0
    date = f"{desk.days[3]:%Y-%m-%d}"
    at(3, "21:20")
    words = ("reject", date, "--by", "Ann", "--reason", "not these")
    succeed(openbook("--runs", desk.runs, *words))
    for n in (4, 5):
        after = live_evening(desk, at, n)
        assert (after["is_rebalance"], after["orders"]) == (False, 0)
        assert f"The initial build of {date} was rejected. The next rebalance is on" in after["sentence"]
    assert read_book(book).positions.empty


def test_what_a_halted_book_proposed_is_no_rebalance(trained, tmp_path):
    desk = crowned(trained, tmp_path)
    evening(desk, 3)
    who = ("--who", "Ann", "--reason", "a drill")
    with clock(f"{desk.days[3]:%Y-%m-%d}T21:20Z"):
        succeed(openbook("--runs", desk.runs, "halt", *who))
    with clock(f"{desk.days[4]:%Y-%m-%d}T21:10Z"):
        assert desk.daily(desk.evening(desk.days[4]), date=desk.days[4]).code == 20
        succeed(openbook("--runs", desk.runs, "reset", *who))
    assert len(book_commands.read_batch(desk.book, f"{desk.days[4]:%Y-%m-%d}").orders)
    after = evening(desk, 5)
    assert (after["is_rebalance"], after["orders"]) == (False, 0)


@pytest.mark.parametrize("older", [{}, {"due": True}, {"due": False}], ids=["not recorded", "due", "not due"])
def test_pages_that_recorded_it_otherwise_keep_the_rule_of_their_time(skipped, tmp_path, older):
    desk, _ = skipped
    desk = copied(desk, tmp_path)
    file = desk.page(desk.days[4]) / "run.json"
    run = json.loads(file.read_bytes())
    del run["recorded"]["is_rebalance"]
    run["recorded"] |= older
    file.chmod(0o644)
    file.write_text(json.dumps(run))
    assert decision_inputs(desk.page(desk.days[4])).holdings.is_rebalance is older.get("due", False)
