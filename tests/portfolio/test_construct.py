"""construct_portfolio: the laws that tonight's weights obey, and the account of them."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbook.common.constants import CASH
from openbook.common.errors import DataError, OptimizerError
from openbook.portfolio.construct import (
    PortfolioSettings,
    RegimeAdaptation,
    construct_portfolio,
    keep_tradable,
    sector_codes,
    smooth_scores,
    weights_table,
)
from openbook.portfolio.optimizers import OPTIMIZERS
from openbook.portfolio.regime import NORMAL, RISK_OFF
from support import portfolios as lab

BASE = PortfolioSettings(top_n=12, lookback=120, score_half_life=2.0)


@pytest.fixture(scope="module")
def scores(market):
    return lab.random_score_table(market, 11)


@pytest.fixture(scope="module")
def drifted(market) -> pd.Series:
    """Held weights that keep every limit of BASE."""
    rng = np.random.default_rng(2)
    weights = pd.Series(rng.uniform(0.05, 0.07, 14), index=market.symbols[::2][:14])
    weights = weights / weights.sum() * 0.97
    return pd.concat([weights, pd.Series({CASH: 1 - weights.sum()})])


def build(market, scores, **changes):
    """The portfolio of the last session, from BASE with some settings changed."""
    how = {name: changes.pop(name) for name in ("held", "regime", "locked") if name in changes}
    sectors = changes.pop("sectors", market.sectors)
    rules = BASE.model_copy(update=changes)
    return construct_portfolio(scores, market.adjusted, sectors=sectors, settings=rules, **how)


def same_portfolio(one, other):
    pd.testing.assert_series_equal(one.weights, other.weights, check_exact=True)
    pd.testing.assert_frame_equal(one.story, other.story, check_exact=True)


# ---- the shape of the answer ----


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_weights_sum_to_one_are_sorted_and_cash_is_last(market, scores, drifted, optimizer):
    found = build(market, scores, optimizer=optimizer, held=drifted)
    weights = found.weights
    assert weights.index[-1] == CASH
    assert weights.index[:-1].is_monotonic_increasing
    assert (weights >= 0).all()
    assert math.fsum(weights) == 1.0
    assert (weights.drop(CASH) <= 0.15 + 1e-9).all()
    by_sector = weights.drop(CASH).groupby(market.sectors).sum()
    assert (by_sector <= 0.30).all()
    assert found.turnover <= 0.40 + 1e-9
    assert found.optimizer == optimizer


def test_every_chosen_or_held_name_has_a_reason(market, scores, drifted):
    found = build(market, scores, held=drifted, optimizer="hrp", max_turnover=0.1)
    named = set(found.chosen["symbol"]) | set(drifted.index) - {CASH}
    assert set(found.story.index) == named == set(found.reasons.index)
    assert found.reasons.str.len().gt(5).all()
    np.testing.assert_allclose(found.story["change"], found.story["weight"] - found.story["held"])
    assert list(found.chosen.columns)[:4] == ["symbol", "score", "rank", "held"]
    assert found.reasons.str.contains("of the intended change, because of the turnover limit").any()
    assert set(found.binding["limit"]) >= {"turnover"}
    assert 0 < found.trade_fraction < 1 < found.uncapped_turnover / found.turnover


def test_reasons_tell_bought_sold_and_bound(market, scores, drifted):
    found = build(market, scores, held=drifted, optimizer="min_volatility", max_turnover=1.0, max_weight=0.1)
    said = found.reasons
    assert said[found.weights.index[:-1].difference(drifted.index)].str.startswith("bought: rank").all()
    gone = drifted.drop(CASH).index.difference(found.weights.index)
    assert said[gone].str.startswith("sold: ").all()
    at_limit = found.binding.query("limit == 'position'")["name"]
    assert len(at_limit)
    assert said[at_limit].str.contains("at the position limit 10.0%").all()


def test_chosen_table_is_a_year_and_in_the_unit_of_returns(market, scores):
    """Shrinkage toward the mean variance keeps the mean variance: 252 times that of the daily returns."""
    chosen = build(market, scores).chosen.set_index("symbol")
    daily = market.adjusted[chosen.index].pct_change().iloc[-120:].var(ddof=0)
    assert (chosen["volatility"] ** 2).mean() == pytest.approx(252 * daily.mean(), rel=1e-12)
    z = smooth_scores(scores, 2.0).pipe(lambda s: (s - s.mean()) / s.std(ddof=0))
    np.testing.assert_allclose(chosen["expected"], 0.03 * chosen["volatility"] * z[chosen.index], rtol=1e-9)


def test_the_first_build_is_not_slowed(market, scores):
    for held in (None, pd.Series({CASH: 1.0}), pd.Series(dtype=float)):
        found = build(market, scores, held=held, max_turnover=0.1)
        assert found.trade_fraction == 1.0
        assert found.turnover == pytest.approx(1.0, abs=1e-6)


def test_chosen_names_are_the_best_ranked_and_held_ones_within_the_buffer(market, scores, drifted):
    found = build(market, scores, held=drifted, hold_buffer=2.0)
    smoothed = smooth_scores(scores, BASE.score_half_life).rank(ascending=False)
    held = drifted.drop(CASH).index
    stay = smoothed[held][smoothed[held] <= 24].index
    assert len(found.chosen) == 12
    assert set(stay) <= set(found.chosen["symbol"])
    fresh = set(found.chosen["symbol"]) - set(stay)
    assert fresh == set(smoothed.drop(stay).sort_values().index[: 12 - len(stay)])
    np.testing.assert_array_equal(found.chosen["rank"], smoothed[found.chosen["symbol"]])


# ---- invariances ----


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_rescaling_the_scores_moves_nothing(market, scores, drifted, optimizer):
    same_portfolio(
        build(market, scores, optimizer=optimizer, held=drifted),
        build(market, np.exp(3 * scores) + 100, optimizer=optimizer, held=drifted),
    )


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_prices_times_ten_move_nothing(market, scores, drifted, optimizer):
    rules = BASE.model_copy(update={"optimizer": optimizer})
    one = construct_portfolio(scores, market.adjusted, held=drifted, sectors=market.sectors, settings=rules)
    ten = construct_portfolio(scores, market.adjusted * 10, held=drifted, sectors=market.sectors, settings=rules)
    pd.testing.assert_series_equal(one.weights, ten.weights, rtol=0, atol=1e-9)


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_the_order_of_symbols_does_not_matter(market, scores, drifted, optimizer):
    rng = np.random.default_rng(0)
    rules = BASE.model_copy(update={"optimizer": optimizer})
    shuffled = construct_portfolio(
        scores[rng.permutation(market.symbols)],
        market.adjusted[rng.permutation(market.symbols)],
        held=drifted.sample(frac=1, random_state=1),
        sectors=market.sectors.sample(frac=1, random_state=2),
        settings=rules,
    )
    same_portfolio(build(market, scores, optimizer=optimizer, held=drifted), shuffled)


def test_renaming_symbols_in_order_renames_the_weights(market, scores):
    new = {s: f"T{s}" for s in market.symbols}
    renamed = construct_portfolio(
        scores.rename(columns=new),
        market.adjusted.rename(columns=new),
        sectors=market.sectors.rename(new),
        settings=BASE,
    )
    expected = build(market, scores).weights.rename(index=new)
    pd.testing.assert_series_equal(renamed.weights, expected, check_exact=True)


@settings(max_examples=15, deadline=None)
@given(st.integers(130, 400), st.integers(0, 10**6))
def test_weights_do_not_depend_on_later_rows(market, scores, row, seed):
    date = market.dates[row]
    rng = np.random.default_rng(seed)
    rules = BASE.model_copy(update={"cash_absorbs": True})
    now = construct_portfolio(scores.loc[:date], market.adjusted.loc[:date], sectors=market.sectors, settings=rules)
    changed = market.adjusted.copy()
    changed.iloc[row + 1 :] *= rng.uniform(0.5, 2, changed.iloc[row + 1 :].shape)
    later = construct_portfolio(scores.loc[:date], changed.loc[:date], sectors=market.sectors, settings=rules)
    same_portfolio(now, later)


def test_rows_before_the_windows_do_not_matter(market, scores):
    late_scores, late_close = scores.iloc[-BASE.score_window :], market.adjusted.iloc[-(BASE.lookback + 1) :]
    late = construct_portfolio(late_scores, late_close, sectors=market.sectors, settings=BASE)
    same_portfolio(build(market, scores), late)


# ---- limits that are broken before tonight ----


def test_drifted_weights_over_a_limit_are_cut_whatever_turnover_it_takes(market, scores):
    held = pd.Series({"S000": 0.30, "S001": 0.22, "S002": 0.12, CASH: 0.36})
    found = build(market, scores, held=held, max_turnover=0.05)
    assert found.weights.get("S000", 0.0) <= 0.15
    assert found.weights.get("S001", 0.0) <= 0.15
    assert found.turnover == pytest.approx(0.22)  # 0.15 + 0.07 sold, all of it to cash
    assert set(found.binding.query("limit == 'held above a limit'")["name"]) == {"S000", "S001"}
    assert found.trade_fraction == 0.0


def test_risk_off_holds_cash_and_moves_there_within_the_turnover_cap(market, scores, drifted):
    rules = {"regimes": {0: RegimeAdaptation(exposure=0.3)}}
    free = build(market, scores, regime=RISK_OFF, **rules)
    assert free.weights[CASH] == pytest.approx(0.7, abs=1e-6)
    assert "risk-off" in set(free.binding["name"])
    slowed = build(market, scores, held=drifted, regime=RISK_OFF, **rules)
    assert slowed.turnover == pytest.approx(0.40)
    assert drifted[CASH] < slowed.weights[CASH] < 0.7
    normal = build(market, scores, regime=NORMAL, **rules)
    assert normal.weights[CASH] < 1e-6


def test_a_regime_may_hold_nothing_but_cash(market, scores):
    found = build(market, scores, regime=RISK_OFF, regimes={0: RegimeAdaptation(exposure=0.0)})
    assert found.weights.to_dict() == {CASH: 1.0}
    assert found.optimizer == "cash"


def test_locked_names_keep_their_weight_and_use_up_the_limits(market, scores, drifted):
    locked = ("S000", "S010")
    assert (market.sectors[list(locked)] == "sector 0").all()
    found = build(market, scores, held=drifted, locked=locked, max_turnover=1.0)
    pd.testing.assert_series_equal(found.weights[list(locked)], drifted[list(locked)], check_names=False)
    assert found.weights.drop(CASH).groupby(market.sectors).sum()["sector 0"] <= 0.30
    assert found.reasons["S000"].startswith("cannot trade")


# ---- what does not fit ----


def test_p01_a_small_universe_is_an_error_that_names_the_limits(market, scores):
    with pytest.raises(
        OptimizerError, match=r"5 names × max_weight 0\.15 = 0\.75 < exposure 1; raise top_n or max_weig"
    ):
        build(market, scores, top_n=5)


def test_p01_unless_cash_may_absorb_the_rest(market, scores):
    found = build(market, scores, top_n=5, cash_absorbs=True, max_sector_weight=1.0)
    np.testing.assert_allclose(found.weights.drop(CASH), 0.15)
    assert found.weights[CASH] == pytest.approx(0.25)
    assert "remainder held in cash" in set(found.binding["name"])


def test_p01_solver_that_stops_early_falls_back_and_says_so(market, scores):
    rules = {"solver_iterations": 1, "max_weight": 0.5, "max_sector_weight": 1.0}
    found = build(market, scores, fallbacks=("min_volatility", "inverse_vol"), **rules)
    assert list(found.chain["optimizer"]) == ["max_sharpe", "min_volatility", "inverse_vol"]
    assert list(found.chain["outcome"]) == ["failed", "failed", "used"]
    assert found.chain["reason"].str.contains("after 1 iterations").sum() == 2
    assert any("max_sharpe failed, inverse_vol was used" in note for note in found.notes)
    with pytest.raises(OptimizerError, match=r"max_sharpe: .*; min_volatility: ") as error:
        build(market, scores, fallbacks=("min_volatility",), **rules)
    assert error.value.exit_code == 50


def test_p08_equal_scores_are_decided_by_name_and_by_the_fallback(market, scores):
    level = scores * 0 + 1.0
    found = build(market, level)
    assert list(found.chosen["symbol"]) == list(market.symbols[:12])
    assert found.optimizer == "min_volatility"
    assert "risk-free" in found.chain.loc[0, "reason"]
    same_portfolio(found, build(market, level))


def test_p08_one_asset(market, scores):
    one = market.symbols[[3]]
    rules = BASE.model_copy(update={"max_weight": 1.0, "max_sector_weight": 1.0})
    found = construct_portfolio(scores[one], market.adjusted[one], settings=rules)
    assert found.weights["S003"] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_p08_identical_prices_are_deterministic(market, scores, optimizer):
    close = market.adjusted.copy()
    close.loc[:, :] = close[["S000"]].to_numpy()
    first = construct_portfolio(scores, close, settings=BASE.model_copy(update={"optimizer": optimizer}))
    again = construct_portfolio(scores, close, settings=BASE.model_copy(update={"optimizer": optimizer}))
    same_portfolio(first, again)
    assert math.fsum(first.weights) == 1.0


def test_p08_prices_that_never_move_are_an_error_that_names_them(market, scores):
    with pytest.raises(OptimizerError, match="cannot estimate a variance for S0"):
        construct_portfolio(scores, market.adjusted * 0 + 5, settings=BASE)


def test_no_score_no_portfolio_and_too_few_sessions(market, scores):
    for absorbs in (False, True):  # cash is for what the limits leave over, not for a night without scores
        with pytest.raises(OptimizerError, match="no eligible names"):
            build(market, scores * np.nan, cash_absorbs=absorbs)
    with pytest.raises(OptimizerError, match="10 sessions of prices are too few"):
        construct_portfolio(scores.iloc[-10:], market.adjusted.iloc[-10:], settings=BASE)


def test_a_held_name_without_a_score_is_sold(market, scores, drifted):
    missing = scores.copy()
    missing.loc[missing.index[-1], "S000"] = np.nan
    found = build(market, missing, held=drifted, max_turnover=1.0)
    assert "S000" not in found.weights.index
    assert found.reasons["S000"] == "sold: no score this session"


def test_a_young_name_is_not_chosen(market, scores):
    close = market.adjusted.copy()
    best = build(market, scores).chosen.sort_values("rank")["symbol"].iloc[0]
    close.loc[close.index[:-60], best] = np.nan
    found = construct_portfolio(scores, close, sectors=market.sectors, settings=BASE)
    assert best not in set(found.chosen["symbol"])
    holder = construct_portfolio(scores, close, held=pd.Series({best: 0.1, CASH: 0.9}), settings=BASE)
    assert holder.reasons[best].startswith("sold: too short a price history")


def test_names_without_a_sector_share_one_limit(market, scores):
    sectors = market.sectors.drop(market.symbols[::3])
    found = build(market, scores, sectors=sectors, max_sector_weight=0.2, cash_absorbs=True)
    assert found.weights.drop(CASH).drop(sectors.index, errors="ignore").sum() <= 0.2
    assert any("without a sector share one limit of 20%" in note for note in found.notes)
    codes, names = sector_codes(pd.Series({"A": "x", "B": None, "C": ""}), pd.Index(list("ABCD")))
    assert [names[c] for c in codes] == ["x", "unknown", "unknown", "unknown"]


def test_without_sectors_the_page_says_so(market, scores):
    found = build(market, scores, sectors=None)
    assert "sector limits not applied: no sectors" in found.notes
    assert "sector" not in set(found.binding["limit"])


def test_short_history_is_said(market, scores):
    found = construct_portfolio(scores.iloc[:80], market.adjusted.iloc[:80], settings=BASE)
    assert "covariance from 79 sessions, fewer than the 120 asked for" in found.notes


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({"S000": 0.5, CASH: 0.4}, "sum to 0.900000"),
        ({"S000": 1.2}, "sum to 1.200000"),
        ({"S000": -0.1, CASH: 1.1}, "S000 is negative or missing"),
        ({"S000": np.nan, CASH: 1.0}, "S000 is negative or missing"),
        ({"GONE": 0.5, CASH: 0.5}, "held name GONE has no price on this session"),
    ],
)
def test_held_weights_are_checked(market, scores, held, said):
    with pytest.raises(DataError, match=said):
        build(market, scores, held=pd.Series(held))


def test_a_symbol_held_twice_is_refused(market, scores):
    with pytest.raises(DataError, match="held has 'S000' twice"):
        build(market, scores, held=pd.Series([0.1, 0.1], index=["S000", "S000"]))


def test_a_held_name_without_a_price_tonight_must_be_locked(market, scores, drifted):
    close = market.adjusted.copy()
    close.iloc[-1, 0] = np.nan
    rules = {"held": drifted, "sectors": market.sectors, "settings": BASE}
    with pytest.raises(DataError, match="held name S000 has no price on this session"):
        construct_portfolio(scores, close, **rules)
    found = construct_portfolio(scores, close, locked=("S000",), **rules)
    assert found.weights["S000"] == drifted["S000"]
    with pytest.raises(DataError, match="locked 'S001' is not a held"):
        construct_portfolio(scores, close, locked=("S000", "S001"), **rules)


def test_tables_that_do_not_fit_are_refused(market, scores):
    with pytest.raises(DataError, match="scores end on"):
        construct_portfolio(scores.iloc[:-1], market.adjusted)
    with pytest.raises(DataError, match="without prices: S039"):
        construct_portfolio(scores, market.adjusted.drop(columns="S039"))
    with pytest.raises(DataError, match="'S000' twice"):
        construct_portfolio(scores, market.adjusted[["S000", "S000"]])
    with pytest.raises(DataError, match="no rows"):
        construct_portfolio(scores.iloc[:0], market.adjusted)
    with pytest.raises(OptimizerError, match="unknown regime 7"):
        build(market, scores, regime=7)


def test_d14_awkward_tickers_survive(market, scores):
    new = dict(zip(market.symbols[:4], ["NA", "TRUE", "1E5", "BRK.B"], strict=True))
    renamed = construct_portfolio(
        scores.rename(columns=new),
        market.adjusted.rename(columns=new),
        sectors=market.sectors.rename(new),
        settings=BASE,
    )
    assert set(renamed.weights.index) - {CASH} <= set(market.adjusted.rename(columns=new).columns)


# ---- smoothing ----


def test_smooth_scores_is_a_weighted_mean_of_ranks_over_a_finite_window(scores):
    ranks = scores.rank(axis=1).sub(1).div(scores.shape[1] - 1) - 0.5
    weight = 0.5 ** (np.arange(18)[::-1] / 3.0)
    expected = ranks.iloc[-18:].mul(weight, axis=0).sum() / weight.sum()
    np.testing.assert_allclose(smooth_scores(scores, 3.0), expected, atol=1e-14)


def test_a_longer_half_life_trades_less(market, scores):
    moved = {}
    for half_life in (0.0, 10.0):
        ranks = pd.DataFrame({d: smooth_scores(scores.loc[:d], half_life).rank() for d in market.dates[200:260:5]}).T
        moved[half_life] = ranks.diff().abs().mean().mean()
    assert moved[10.0] < moved[0.0]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_no_weight_grows_by_more_than_max_trade_and_exits_are_not_slowed(market, scores, optimizer):
    held = pd.Series({"S000": 0.14, CASH: 0.86})
    found = build(market, scores.assign(S000=np.nan), held=held, optimizer=optimizer, max_turnover=1.0, max_trade=0.03)
    grown = found.weights.drop(CASH) - held.reindex(found.weights.index).fillna(0.0)
    assert grown.max() == pytest.approx(0.03)
    assert "S000" not in found.weights.index
    assert "single trade" in set(found.binding["limit"])


def test_the_first_build_is_not_held_back_by_max_trade(market, scores):
    assert build(market, scores, max_trade=0.01).weights.drop(CASH).max() > 0.01


# ---- around it ----


def test_only_tonight_is_kept_from_names_that_cannot_trade(market, scores):
    before = scores.copy()
    tradable = market.symbols[5:]
    kept = keep_tradable(scores, tradable)
    pd.testing.assert_frame_equal(kept.iloc[:-1], scores.iloc[:-1])
    assert kept.iloc[-1].first_valid_index() == "S005"
    pd.testing.assert_series_equal(kept.iloc[-1][tradable], scores.iloc[-1][tradable])
    pd.testing.assert_frame_equal(scores, before)
    assert not set(build(market, kept).chosen["symbol"]) & set(market.symbols[:5])
    pd.testing.assert_frame_equal(keep_tradable(kept, tradable), kept)
    pd.testing.assert_frame_equal(keep_tradable(scores, market.symbols), scores)


def test_the_table_of_weights_has_what_a_person_checks(market, scores):
    found = build(market, scores)
    table = weights_table(found.weights, scores.iloc[-1], market.sectors)
    assert list(table) == ["symbol", "weight", "score", "sector"]
    assert math.fsum(table["weight"]) == 1.0
    assert table["symbol"].iloc[-1] == CASH
    assert table["symbol"].iloc[:-1].is_monotonic_increasing
    cash, names = table.iloc[-1], table.iloc[:-1]
    assert np.isnan(cash["score"])
    assert cash["sector"] == ""
    assert names["sector"].tolist() == market.sectors[names["symbol"]].tolist()
    assert names["score"].tolist() == scores.iloc[-1][names["symbol"]].tolist()
    assert weights_table(found.weights, scores.iloc[-1], None)["sector"].eq("").all()


def test_a_name_without_a_score_or_a_sector_keeps_its_row():
    held = pd.Series({"AAA": 0.25, "NA": 0.25, CASH: 0.5})
    table = weights_table(held, pd.Series({"AAA": 1.5}), pd.Series({"AAA": "Energy"}))
    assert table["symbol"].tolist() == ["AAA", "NA", CASH]
    assert table["sector"].tolist() == ["Energy", "", ""]
    assert table["score"].isna().tolist() == [False, True, True]
