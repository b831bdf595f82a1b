"""A rebalance without a page, or whose orders nobody approved: the next page names it and makes up for it, once."""

import json
import re

import numpy as np
import pytest

from openbook.desk import acts
from openbook.evening import decide, evening_of
from openbook.portfolio.schedule import is_rebalance
from openbook.recheck import read_written
from openbook.record.runs import read_run
from trained_desk import ChampionCard, clock, copied, openbook, succeed

BY_HAND = "require_manual_approval=true"


def crowned(desk, folder):
    """A copy of the desk that rebalances on days[3], and on no other evening of these days."""
    desk = copied(desk, folder)
    others = [day for day in desk.days if day != desk.days[3]]
    counts = (n for n in range(6, 20_000) if is_rebalance(desk.days[3], n))
    every = next(n for n in counts if not any(is_rebalance(day, n) for day in others))
    card = ChampionCard.model_validate_json((desk.bundle() / "champion_metadata.json").read_bytes())
    desk.crown(portfolio=card.portfolio.model_copy(update={"rebalance_every": every}))
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
    again, was = evening_of(page), read_written(page).weights
    np.testing.assert_allclose(decide(again), was, rtol=0, atol=1e-9)
    with clock(f"{desk.days[n]:%Y-%m-%d}T23:10Z"):
        succeed(openbook("--runs", desk.runs, "replay", f"{desk.days[n]:%Y-%m-%d}"))
    return again.holdings.due


@pytest.fixture(scope="module")
def skipped(trained, tmp_path_factory):
    """days[3], a rebalance, had no page; days[4] and days[5] have one."""
    desk = crowned(trained, tmp_path_factory.mktemp("skipped"))
    return desk, [evening(desk, n) for n in (4, 5)]


def test_w08_a_rebalance_without_a_page_is_made_up_for_on_the_next_evening(skipped):
    desk, (made_up, after) = skipped
    said = f"The rebalance of {desk.days[3]:%Y-%m-%d} was missed: no page; made up for in this run."
    assert made_up["due"] is True
    assert said in made_up["sentence"]
    assert said in text_of(desk, 4)
    assert after["due"] is False
    assert "missed" not in after["sentence"]


def test_what_decides_again_agrees_that_it_was_due(skipped):
    desk, _ = skipped
    assert agrees(desk, 4) is True
    assert agrees(desk, 5) is False


def test_orders_that_nobody_approved_are_proposed_again_and_that_is_said(trained, tmp_path):
    desk = crowned(trained, tmp_path)
    assert evening(desk, 3, BY_HAND)["due"] is True
    assert len(acts.read_batch(desk.book, f"{desk.days[3]:%Y-%m-%d}").orders)
    again = evening(desk, 4, BY_HAND)
    said = (
        f"The rebalance of {desk.days[3]:%Y-%m-%d} was missed: its orders were not approved in time; made "
        "up for in this run."
    )
    assert (again["due"], said in again["sentence"]) == (True, True)
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
    assert (after["due"], after["orders"]) == (False, 0)
    assert "missed" not in after["sentence"]


def test_what_a_halted_book_proposed_is_no_rebalance(trained, tmp_path):
    desk = crowned(trained, tmp_path)
    evening(desk, 3)
    who = ("--who", "Ann", "--reason", "a drill")
    with clock(f"{desk.days[3]:%Y-%m-%d}T21:20Z"):
        succeed(openbook("--runs", desk.runs, "halt", *who))
    with clock(f"{desk.days[4]:%Y-%m-%d}T21:10Z"):
        assert desk.daily(desk.evening(desk.days[4]), date=desk.days[4]).code == 20
        succeed(openbook("--runs", desk.runs, "reset", *who))
    assert len(acts.read_batch(desk.book, f"{desk.days[4]:%Y-%m-%d}").orders)
    after = evening(desk, 5)
    assert (after["due"], after["orders"]) == (False, 0)


def test_pages_that_did_not_record_it_keep_the_rule_of_their_time(skipped, tmp_path):
    desk, _ = skipped
    desk = copied(desk, tmp_path)
    file = desk.page(desk.days[4]) / "run.json"
    run = json.loads(file.read_bytes())
    del run["recorded"]["due"]
    file.chmod(0o644)
    file.write_text(json.dumps(run))
    assert evening_of(desk.page(desk.days[4])).holdings.due is False
