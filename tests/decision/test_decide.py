"""An evening is decided again as it was sealed, and the change between two of them is told by input."""

import json
import os
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from openbook.app.pre_trade_recheck import read_written
from openbook.common.errors import UsageError
from openbook.decision.decide import INPUTS, Holdings, Scorer, check_orders, decide, make_orders, score
from openbook.decision.difference import compare, difference, sentences, since
from openbook.decision.sealed_inputs import decision_inputs, input_locations, sealed_day
from openbook.execution.risk_checks import SafetyLimits
from openbook.runs.runs_folder import read_run
from openbook.selection.champion import read_champion
from support.trained_desk import ChampionCard, clock, copied, hashes, openbook, succeed

SELDOM = 7  # sessions between rebalances; neither of the last two pages is one


@pytest.fixture(scope="module")
def week(trained, tmp_path_factory):
    """Four pages: a first build, a rebalance, an evening without one, and one on which the book was halted."""
    desk = copied(trained, tmp_path_factory.mktemp("week"))
    card = ChampionCard.model_validate_json((desk.bundle() / "champion_metadata.json").read_bytes())
    desk.promote(portfolio=card.portfolio.model_copy(update={"rebalance_every": SELDOM, "max_weight": 0.12}))
    with clock(f"{desk.days[3]:%Y-%m-%d}T21:10Z"):
        succeed(desk.daily(desk.evening(desk.days[3]), date=desk.days[3]))
        succeed(openbook("--runs", desk.runs, "halt", "--who", "Ann", "--reason", "a test"))
    with clock(f"{desk.days[4]:%Y-%m-%d}T21:10Z"):
        assert desk.daily(desk.evening(desk.days[4]), date=desk.days[4]).code == 20
    return desk


@pytest.fixture(scope="module")
def evenings(week):
    """The inputs of those four pages."""
    return [decision_inputs(week.page(day)) for day in week.days[1:5]]


@dataclass(frozen=True)
class Contrary:
    """A model that says the opposite of another."""

    other: object

    def predict(self, features, *, n_jobs=1):
        return -self.other.predict(features, n_jobs=n_jobs)


def adds_up(table) -> bool:
    return bool(((table[list(INPUTS)].sum(axis=1) - table["total"]).abs() < 1e-12).all())


# ---- deciding again ----


@pytest.mark.parametrize("page", range(4))
def test_an_evening_is_decided_again_as_it_was_sealed(week, evenings, page):
    was = read_written(week.page(week.days[page + 1])).weights
    made = decide(evenings[page]).target
    assert list(made.index) == list(was.index)
    np.testing.assert_allclose(made, was, rtol=0, atol=1e-9)


@pytest.mark.parametrize("page", range(4))
def test_its_orders_and_checks_are_made_again_as_they_were_sealed(week, evenings, page):
    """Of a first build, a rebalance, a session without one and a halted book: every column."""
    sealed = week.page(week.days[page + 1])
    was, params = read_written(sealed), read_run(sealed)["params"]
    costs = read_champion(input_locations(sealed)["champion"])[2].costs
    limits = SafetyLimits.model_validate_json(json.dumps(params["limits"]))
    decision = decide(evenings[page])
    made = make_orders(decision, was.settlement, costs=costs, limits=limits, min_trade_size=params["min_trade_size"])
    pd.testing.assert_frame_equal(made.trades, was.trades, check_dtype=False, rtol=1e-9)
    checks = check_orders(decision, made, was.settlement, limits)
    failed = checks.loc[~checks["ok"], ["check", "status", "detail"]].to_dict("records")
    assert failed == was.recorded["not_passed"]


def test_an_empty_book_that_is_overdrawn_buys_nothing(evenings):
    """All of its weight is cash, of whatever sign: that it is below zero has to be said apart."""
    empty = Holdings(pd.Series({"CASH": 1.0}), is_rebalance=True)
    assert len(decide(replace(evenings[1], holdings=empty)).target) > 1
    assert decide(replace(evenings[1], holdings=replace(empty, overdrawn=True))).target.to_dict() == {"CASH": 1.0}


def test_the_four_pages_are_what_they_are_meant_to_be(evenings):
    """Parity on evenings that differ in nothing would show little."""
    assert [evening.holdings.is_rebalance for evening in evenings] == [True, True, False, False]
    assert [evening.limits.switch for evening in evenings] == ["ACTIVE", "ACTIVE", "ACTIVE", "HALTED"]
    assert [evening.limits.max_weight for evening in evenings] == [0.15, 0.15, 0.12, 0.12]
    assert [len(evening.holdings.weights) > 1 for evening in evenings] == [False, True, True, True]


def test_a_market_that_goes_further_gives_the_same_evening(week, evenings):
    known = decision_inputs(week.page(week.days[1]), evenings[3].data.market)
    pd.testing.assert_series_equal(decide(known).target, decide(evenings[0]).target)


def test_deciding_again_changes_nothing_below_the_runs_folder(week):
    before = hashes(week.runs)
    compare(decision_inputs(week.page(week.days[1])), decision_inputs(week.page(week.days[2])))
    assert hashes(week.runs) == before


def test_a_runs_folder_that_was_moved_uses_what_lies_in_it(week):
    found = input_locations(week.page(week.days[1]))
    assert found["champion"].startswith(str(week.runs))
    assert found["store"].startswith(str(week.runs))


def test_a_day_that_is_not_sealed_is_named(week):
    with pytest.raises(UsageError, match="2024-01-02"):
        sealed_day(week.runs, "2024-01-02")


# ---- the change by input ----


def test_the_change_adds_up_and_what_did_not_change_has_no_effect(evenings):
    for before, after in pairwise(evenings):
        table = difference(before, after)
        assert adds_up(table)
        assert (table["model"] == 0).all()  # the same one all week
        whole = decide(after).target.sub(decide(before).target, fill_value=0.0)
        pd.testing.assert_series_equal(table["total"], whole.reindex(table.index), check_names=False, atol=1e-12)
        assert table[list(INPUTS)].sum().abs().max() < 1e-12  # what one name gains, another or cash gives


def test_an_evening_differs_from_itself_in_nothing(week, evenings):
    found = compare(evenings[1], decision_inputs(week.page(week.days[2])))
    assert (found.effects == 0).all(axis=None)
    assert found.table.empty
    assert found.sentence == "The target weights did not change."


def test_each_input_alone_is_the_whole_change(evenings):
    evening = evenings[1]
    model = Scorer(Contrary(evening.model.model), evening.model.features, "another")
    others = {
        "data": evenings[2].data,
        "holdings": Holdings(pd.Series({"CASH": 1.0}), is_rebalance=True),
        "model": model,
        "optimizer": evening.optimizer.model_copy(update={"top_n": 4}),
        "limits": replace(evening.limits, switch="HALTED"),
    }
    for name, value in others.items():
        table = difference(evening, replace(evening, **{name: value}))
        assert table["total"].abs().max() > 1e-4, name
        pd.testing.assert_series_equal(table[name], table["total"], check_names=False)


def test_with_regime_adaptation_the_regime_has_an_effect(evenings):
    rules = {code: rule.model_copy() for code, rule in type(evenings[1].optimizer)().regimes.items()}
    evening = replace(evenings[1], optimizer=evenings[1].optimizer.model_copy(update={"regimes": rules}), regime=1)
    found = compare(evening, replace(evening, regime=0))
    assert found.sizes["regime"] == pytest.approx(found.sizes["total"])
    assert found.sentence.startswith("Regime moved ")


def test_a_mixture_that_cannot_be_decided_keeps_what_is_held_and_is_told(evenings):
    free = {"cash_absorbs": False, "fallbacks": ()}
    wide = replace(evenings[1].limits, max_sector_weight=1.0, max_weight=0.15)
    ten = replace(evenings[1], optimizer=evenings[1].optimizer.model_copy(update=free | {"top_n": 10}), limits=wide)
    three = evenings[1].optimizer.model_copy(update=free | {"top_n": 3, "hold_buffer": 1.0})
    after = replace(ten, optimizer=three, limits=replace(wide, max_weight=0.5))
    found = compare(ten, after)  # three names at 15% each are no portfolio
    assert adds_up(found.effects)
    assert len(found.notes) == 1
    assert found.notes[0].startswith(
        "1 combinations of old and new inputs were infeasible and keep the current holdings, "
    )


def test_names_that_the_other_evening_does_not_know_stay_as_they_are(evenings):
    held = pd.Series({"ZZZ": 0.2, "CASH": 0.8})
    found = compare(evenings[1], replace(evenings[1], holdings=Holdings(held, is_rebalance=True)))
    assert found.after["ZZZ"] == 0.2
    assert adds_up(found.effects)


# ---- in words ----


def test_an_effect_in_words():
    effects = pd.DataFrame(0.0, index=["AAPL", "MSFT", "CASH"], columns=[*INPUTS, "total"])
    effects.loc[["AAPL", "MSFT", "CASH"], "data"] = [0.012, 0.019, -0.031]
    effects.loc[["AAPL", "CASH"], "limits"] = [-0.0004, 0.0004]  # 0.0% is not said
    assert sentences(effects) == ("Data (prices and features) moved 3.1% of the portfolio; largest effect MSFT +1.9%",)


def test_the_table_begins_with_the_biggest_change(evenings):
    table = compare(evenings[0], evenings[1]).table
    assert list(table.columns) == ["symbol", "before", "after", "change", *INPUTS]
    assert table["change"].abs().is_monotonic_decreasing
    np.testing.assert_allclose(table["after"] - table["before"], table["change"], atol=1e-12)


def test_since_the_page_before(week, evenings):
    """By the scores that the page of tonight has, of one market."""
    source = read_run(week.page(week.days[2]))["params"]["source"]
    scores = score(evenings[2].data, evenings[2].model, 120)
    found = since(str(week.page(week.days[2])), evenings[2], source, scores)
    pd.testing.assert_frame_equal(found.effects, difference(evenings[1], evenings[2]), check_exact=True)
    assert "The previous session was a rebalance date" in found.sentence
    none = since(None, evenings[2], source, scores)
    assert none.table.empty
    assert none.sentence == "This is the first daily run: there is no earlier one to compare with."


def test_scores_that_end_too_early_are_not_used(week, evenings):
    few = score(evenings[1].data, evenings[1].model, 5)
    for scored in ({}, {evenings[1].model.sha256: few}):
        found = compare(evenings[0], evenings[1], scored)
        pd.testing.assert_frame_equal(found.effects, difference(evenings[0], evenings[1]), check_exact=True)


def test_since_says_why_it_cannot_compare(week, evenings, tmp_path):
    desk = copied(week, tmp_path)
    source = read_run(desk.page(desk.days[2]))["params"]["source"]
    card = Path(input_locations(desk.page(desk.days[2]))["champion"]) / "champion_metadata.json"
    assert card.is_relative_to(tmp_path)
    os.chmod(card, 0o644)
    card.write_bytes(card.read_bytes() + b" ")
    found = since(str(desk.page(desk.days[2])), evenings[2], source, pd.DataFrame())
    assert found.table.empty
    assert found.sentence.startswith("Not compared with the previous daily run: ")
    assert "was altered" in found.sentence
