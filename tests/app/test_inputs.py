"""Stand-ins are marked, know nothing that they should not, and are never made where half of a run was given."""

import pandas as pd
import pytest

from openbook.app import inputs
from openbook.backtest.grid import common_dates
from openbook.common.errors import DataError, ModelError, UsageError
from openbook.ledger.book import open_book
from openbook.market.sources import SampleSource
from openbook.market.store import fingerprint, load_market
from openbook.signals.bundle import require_fresh

DATE = "2022-12-28"


@pytest.fixture(scope="module")
def market():
    """The bundled data, a few of its years: a stand-in looks no further back."""
    return load_market(SampleSource(start="2019-01-02"), through=DATE)[0]


@pytest.fixture(scope="module")
def champion(market):
    return inputs.champion(None, market)


def test_a_stand_in_champion_is_not_vetted_and_chosen_from_nothing(champion, market):
    model, card = champion
    assert card.vetted is False
    assert card.reason == inputs.NOTE
    assert "NOT VETTED, paper only; Demo model, trained on the fly" in card.sentence
    assert (card.n_trials, card.metrics, card.runs, card.model_sha256) == (1, {}, {}, "")
    assert card.summary(market.dates[-1])["Passed every gate"] == "no: paper only"
    assert card.features == model.features


def test_it_did_not_learn_from_the_last_unseen_sessions(champion, market):
    model, card = champion
    unseen = market.dates[market.dates > pd.Timestamp(card.trained_through)]
    assert len(unseen) == inputs.UNSEEN
    assert card.data_fingerprint == fingerprint(market.upto(card.trained_through))
    assert pd.Timestamp(model.training.train_end) < pd.Timestamp(card.trained_through)
    require_fresh(card.model_dump(), market.dates[-1], 92)
    with pytest.raises(ModelError, match="which is in sample"):
        require_fresh(card.model_dump(), market.dates[-inputs.UNSEEN - 2], 92)


def test_later_prices_change_nothing_that_it_learned(champion, market):
    model, card = inputs.champion(None, market)
    shaken = market.adjusted.copy()
    shaken.iloc[-inputs.UNSEEN :] *= 1.5
    later = type(market)(**{**vars(market), "adjusted": shaken, "close": shaken})
    again, second = inputs.champion(None, later)
    assert second.data_fingerprint == card.data_fingerprint
    assert again.booster.model_to_string() == model.booster.model_to_string() == champion[0].booster.model_to_string()


def test_a_market_too_short_for_a_stand_in_is_said(market):
    with pytest.raises(DataError, match="40 sessions are too few to train a demo model"):
        inputs.champion(None, market.upto(market.dates[inputs.UNSEEN - 1]))


def test_a_folder_that_is_not_there_is_never_replaced_by_a_stand_in(market, tmp_path):
    with pytest.raises(ModelError, match="cannot read the champion"):
        inputs.champion(str(tmp_path / "gone"), market)


def test_half_of_a_comparison_is_refused_not_made_up(tmp_path):
    for given in ((str(tmp_path), None), (None, str(tmp_path))):
        with pytest.raises(UsageError, match="pass both the comparison and its training run, or neither"):
            inputs.comparison(*given, DATE)


def test_small_scores_are_out_of_sample_and_can_be_backtested(market):
    scored = inputs.scores(None, market)
    scores = scored.oos
    table = scores["stand_in"]
    assert list(scores) == ["stand_in"]
    assert table.index[0] > market.dates[0]
    assert table.index[-1] == scored.last_known == market.dates[-inputs.WALK_FORWARD.holdout - 1]
    assert list(scored.held["stand_in"].index) == list(market.dates[-inputs.WALK_FORWARD.holdout :])
    assert scored.holdout in scored.sentence
    assert table.columns.equals(market.symbols)
    assert len(common_dates(scores, market, "", 5)) > 50


def test_a_new_book_holds_cash_only_and_an_old_one_is_read_as_it_was(tmp_path):
    state = inputs.book(None, DATE, cash=5_000.0)
    assert state.cash == 5_000.0
    assert state.positions.empty
    path = tmp_path / "paper.db"
    open_book(path, cash=7_000.0)
    assert inputs.book(str(path), DATE).cash == 7_000.0
