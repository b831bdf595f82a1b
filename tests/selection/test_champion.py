"""The champion's bundle and the stand-ins: what was selected is what trades, and nothing can be altered unnoticed."""

import hashlib
import json

import pandas as pd
import pytest

from openbook.app import inputs
from openbook.common.errors import ModelError
from openbook.market.sources import SampleSource
from openbook.market.store import load_market
from openbook.selection import SelectionWeights, Thresholds, judge, select_champion, write_report
from openbook.selection.champion import (
    CARD,
    PROMISE,
    SCHEMA,
    against_incumbent,
    bundle_champion,
    champion_hash,
    own_scores_of,
    read_champion,
    read_promise,
    verify_champion,
)

DATE = "2017-08-17"


@pytest.fixture(scope="module")
def compared():
    """The small comparison that the selection notebook makes for itself on a fresh clone."""
    return inputs.comparison(None, None, DATE)


@pytest.fixture(scope="module")
def bundle(compared):
    """Files and card of the best combination, and the selection that chose it."""
    tried = inputs.tried(compared, [])
    field = judge(compared.summary, compared.alone, n_trials=tried.total, benchmark=compared.universe)
    selection = select_champion(field, SelectionWeights(), Thresholds(), n_trials=tried.total)
    chosen = selection.ranking.iloc[0]
    files, card = bundle_champion(chosen, vetted=False, selection=selection, compared=compared, selected=DATE)
    return files, card, selection


@pytest.fixture
def folder(bundle, tmp_path):
    """The bundle in a folder named by its hash."""
    place = tmp_path / champion_hash(bundle[0])
    place.mkdir()
    for name, data in bundle[0].items():
        (place / name).write_bytes(data)
    return place


def test_what_was_selected_is_read_back(bundle, folder, compared):
    model, schema, card = read_champion(folder)
    assert card == bundle[1]
    assert model.features == card.features == tuple(schema["features"])
    assert card.portfolio.optimizer == card.optimizer == bundle[2].ranking.iloc[0]["optimizer"]
    assert card.n_trials == len(compared.summary)
    assert card.trained_through <= DATE


def test_the_same_card_gives_the_same_bytes(bundle):
    files, card, _ = bundle
    assert files[CARD] == card.to_bytes()
    assert json.loads(files[CARD])["model_sha256"] == card.model_sha256


def test_the_promise_is_what_the_combination_did_before_it_was_chosen(bundle, folder, compared):
    files, card, selection = bundle
    chosen = selection.ranking.iloc[0]
    promise = read_promise(folder, card)
    returns = compared.returns[chosen["combination"]].dropna()
    pd.testing.assert_series_equal(promise.series, returns, check_names=False, check_freq=False, check_index_type=False)
    told = compared.ledger[(compared.ledger["kind"] == "candidate") & (compared.ledger["candidate"] == chosen["model"])]
    told = told[told["date"] <= returns.index[-1]]
    assert promise.rank_ic == (pytest.approx(told["rank_ic"].mean()), pytest.approx(told["rank_ic"].std()))
    (folder / PROMISE).write_bytes(files[PROMISE].replace(b"0.", b"1.", 1))
    with pytest.raises(ModelError, match="was altered: its hash differs from the one in"):
        read_champion(folder)


def test_a_champion_from_before_there_were_promises_is_read(bundle, folder):
    card = bundle[1].model_copy(update={"promise_sha256": ""})
    assert read_promise(folder, card) is None


def test_an_unvetted_champion_says_so_and_what_stopped_it(bundle):
    _, card, _ = bundle
    assert "NOT VETTED, paper only" in card.sentence
    assert card.sentence.startswith(f"{card.model} × {card.optimizer}, selected ")
    assert card.sentence.count(" failed: ") == 1
    assert card.summary("2017-09-15")["Passed every gate"] == "no: paper only"


@pytest.mark.parametrize("name", [CARD, "schema.json", "model.txt"])
def test_m02_any_altered_file_is_refused(folder, name):
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(bytes(data))
    with pytest.raises(ModelError, match="altered") as caught:
        read_champion(folder)
    assert caught.value.exit_code == 40


@pytest.mark.parametrize("name", [CARD, "schema.json", "model.txt"])
def test_m02_no_parser_sees_an_altered_file(folder, monkeypatch, name):
    """One byte flipped all over each file; whatever would read it fails the test."""
    whole = (folder / name).read_bytes()
    readers = {
        CARD: "openbook.selection.champion.ChampionCard.model_validate_json",
        "schema.json": "openbook.signals.bundle.Schema.model_validate_json",
        "model.txt": "lightgbm.Booster.__init__",
    }
    monkeypatch.setattr(readers[name], lambda *_, **__: pytest.fail(f"{name} was parsed"))
    for at in range(0, len(whole), max(len(whole) // 40, 1)):
        (folder / name).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(ModelError, match="altered") as caught:
            read_champion(folder)
        assert caught.value.exit_code == 40


def test_a_card_of_another_time_is_named_with_its_field(folder, tmp_path):
    """Only who promotes can write one whose hash fits its folder; it is refused all the same."""
    card = json.loads((folder / CARD).read_bytes()) | {"format_version": 2}
    data = json.dumps(card).encode()
    other = tmp_path / champion_hash({CARD: data})
    folder.rename(other)
    (other / CARD).write_bytes(data)
    with pytest.raises(ModelError, match="format_version"):
        read_champion(other)


def test_what_is_undefined_or_infinite_travels_as_nothing(compared, bundle):
    selection = bundle[2]
    chosen = selection.ranking.iloc[0].copy()
    chosen["calmar"], chosen["cagr"] = float("inf"), float("nan")
    files, card = bundle_champion(chosen, vetted=False, selection=selection, compared=compared, selected=DATE)
    assert card.metrics["calmar"] is card.metrics["cagr"] is None
    json.loads(files[CARD], parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def test_the_card_of_one_that_passed_says_so_and_does_not_boast(compared, bundle):
    selection = bundle[2]
    chosen = selection.ranking.iloc[-1]
    _, card = bundle_champion(chosen, vetted=True, selection=selection, compared=compared, selected=DATE)
    assert card.sentence.endswith("after 2 trials: passed every gate.")
    said = card.summary("2017-09-15")
    assert said["Passed every gate"] == "yes"
    assert said["Selection score"].endswith("after 2 trials")  # another may have scored higher and failed a gate
    assert card.portfolio == compared.portfolio.model_copy(update={"optimizer": chosen["optimizer"]})


def test_a_comparison_says_what_was_compared(compared):
    assert compared.sentence == "Models: 1. Optimizers: 2. Combinations: 2."


def test_a_folder_that_is_not_named_by_its_hash_is_refused(folder):
    moved = folder.rename(folder.with_name("f" * 64))
    with pytest.raises(ModelError, match="its hash differs from the folder name"):
        read_champion(moved)


def test_m06_a_missing_bundle_is_named(tmp_path):
    with pytest.raises(ModelError, match="cannot read the champion"):
        read_champion(tmp_path / "gone")


def test_the_report_names_every_combination_and_who_was_stopped(bundle, compared):
    text = write_report(bundle[2], SelectionWeights(), Thresholds())
    assert text.startswith("# Model selection")
    for row in compared.summary.itertuples():
        assert f"{row.model} | {row.optimizer}" in text
    stopped = bundle[2].gates[~bundle[2].gates["passed"]]
    assert text.count(" failed ") == len(stopped)


def seal(compared, folder):
    """The files of a comparison and of its training, as the notebooks leave them."""
    training, comparison = folder / "train_candidates" / DATE, folder / "compare" / DATE
    for place in (training / "candidates" / "stand_in", comparison):
        place.mkdir(parents=True)
    (comparison / "backtest_detailed_results.json").write_text(json.dumps(compared.details))
    compared.returns.to_parquet(comparison / "returns.parquet")
    compared.unseen.to_parquet(comparison / "holdout_returns.parquet")
    compared.ledger.to_parquet(training / "trials.parquet")
    for name, data in compared.models["stand_in"].items():
        (training / "candidates" / "stand_in" / name).write_bytes(data)
    for place in (training, comparison):
        (place / "run.json").write_text(json.dumps({"inputs_hash": place.parent.name}))
    return str(comparison), str(training)


def test_settings_travel_through_the_files_of_a_comparison(compared, tmp_path):
    found = inputs.comparison(*seal(compared, tmp_path), DATE)
    assert (found.portfolio, found.regime, found.costs) == (compared.portfolio, compared.regime, compared.costs)
    assert found.models == compared.models
    assert found.runs == {"train_candidates": "train_candidates", "compare": "compare"}
    pd.testing.assert_frame_equal(found.returns, compared.returns, check_freq=False)
    chosen = compared.summary["combination"].iloc[1]
    pd.testing.assert_frame_equal(found.look(chosen), compared.look(chosen), check_freq=False)
    assert inputs.tried(found, []) == inputs.tried(compared, [])


def test_what_was_compared_before_is_tried_once(compared, tmp_path):
    """The same comparison again adds nothing; with another setting each of its combinations counts."""
    same, _ = seal(compared, tmp_path / "same")
    other, _ = seal(compared, tmp_path / "other")
    details = json.loads(json.dumps(compared.details))
    for row in details["combinations"]:
        row["trial"] = row["trial"][::-1]
    (tmp_path / "other" / "compare" / DATE / "backtest_detailed_results.json").write_text(json.dumps(details))
    tried = inputs.tried(compared, [same, other])
    assert (tried.combinations, tried.earlier, tried.total) == (2, 2, 4)


def test_only_the_chosen_column_of_the_holdout_is_read(compared, tmp_path):
    """A file that lacks the other combinations serves as well."""
    found = inputs.comparison(*seal(compared, tmp_path), DATE)
    chosen = compared.summary["combination"].iloc[0]
    compared.unseen[[chosen, compared.baselines[0]]].to_parquet(found.unseen)
    assert list(found.look(chosen)) == [chosen, compared.baselines[0]]


def test_a_challenger_is_compared_with_the_champion_on_the_same_dates(bundle, folder, compared):
    selection = bundle[2]
    mine, other = selection.ranking.iloc[0], selection.ranking.iloc[1]
    table = against_incumbent(str(folder), other, selection.ranking, compared.alone, seed=0)
    assert list(table["combination"]) == [mine["combination"], other["combination"]]
    gap = compared.alone[other["combination"]] - compared.alone[mine["combination"]]
    assert table["difference"].iloc[1] == pytest.approx(252 * gap.mean())
    assert table["difference_low"].iloc[1] < table["difference"].iloc[1] < table["difference_high"].iloc[1]
    assert against_incumbent(None, other, selection.ranking, compared.alone, seed=0).empty
    gone = selection.ranking[selection.ranking["combination"] != mine["combination"]]
    assert against_incumbent(str(folder), other, gone, compared.alone, seed=0).empty


def test_a_stand_in_champion_is_marked_and_has_not_seen_the_last_sessions():
    market, _ = load_market(SampleSource(market="sp500_2013_2018"), through=DATE)
    model, card = inputs.champion(None, market)
    assert not card.vetted
    assert "Demo model" in card.sentence
    assert model.training.trained_through <= f"{market.dates[-inputs.UNSEEN]:%Y-%m-%d}"


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", "null", '{"candidate": {"path": 5}}', "not json"])
def test_a_schema_that_says_nothing_of_its_candidate_is_refused_by_name(tmp_path, text):
    (tmp_path / SCHEMA).write_text(text)
    with pytest.raises(ModelError, match=r"schema\.json cannot be read"):
        own_scores_of(tmp_path)


def test_a_card_that_names_own_files_and_nothing_else_is_refused_by_name(tmp_path):
    """Under its own hash, as a forger names it."""
    card = b'{"extensions": {"lib/extensions/gone.py": "ab"}}'
    folder = tmp_path / hashlib.sha256(card).hexdigest()
    folder.mkdir()
    (folder / CARD).write_bytes(card)
    with pytest.raises(ModelError):
        verify_champion(folder)
