"""The features as a table, and the laws that each of them keeps."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from openbook.common.errors import DataError, ParameterError, SchemaError
from openbook.signals.features import FEATURES, available_features, compute_features, own_feature
from openbook.signals.lab_market import REPORT_ITEMS, lab_market
from openbook.signals.operators import lag, mean
from openbook.signals.panel import Panel, prepare
from support.feature_reference import ReportTwin, TwinPanel, WideWords, newest, respoken, wide_fields

BAR_FEATURES = [name for name, f in FEATURES.items() if {"open", "high", "low", "close", "volume"}.issuperset(f.needs)]
REPORT_FEATURES = [name for name, f in FEATURES.items() if f.family in ("value", "quality", "growth")]
FAMILIES = ["momentum", "reversal", "volatility", "beta", "skewness", "trend", "oscillator", "range", "gap", "volume"]
FAMILIES += ["liquidity", "price_volume", "seasonality", "value", "quality", "growth"]


@pytest.fixture(scope="module")
def market():
    """800 sessions of nine stocks: gaps, splits, dividends, a late listing, a delisting, reports."""
    return lab_market(fundamentals=True)


@pytest.fixture(scope="module")
def twin(market):
    """The same market as pandas frames."""
    return TwinPanel(WideWords(), wide_fields(market))


@pytest.fixture(scope="module")
def features(market):
    return compute_features(market)


def unranked(market, name):
    """A feature before it is ranked, sessions × symbols float64."""
    items = tuple(set(FEATURES[name].needs) & set(REPORT_ITEMS))
    with np.errstate(all="ignore"):
        return FEATURES[name].line(Panel(prepare(market, items), slice(0, len(market.symbols))))


def scaled(market, factor):
    """The same market with each symbol's prices multiplied by a factor (one number, or one per symbol)."""
    tables = {name: getattr(market, name) * factor for name in ("open", "high", "low", "close", "adjusted")}
    return replace(market, **tables)


# ------------------------------------------------------------------------------------------------------------ the table


def test_there_are_sixty_features_of_bars_at_least_and_more_with_reports():
    assert len(BAR_FEATURES) >= 60
    assert len(FEATURES) > len(BAR_FEATURES)
    assert set(FAMILIES) <= {feature.family for feature in FEATURES.values()}


def test_each_feature_says_in_a_sentence_what_it_means():
    for feature in FEATURES.values():
        assert feature.meaning[0].isupper()
        assert feature.meaning.endswith(".")
        assert feature.needs


def test_the_fields_of_a_market_decide_its_features(market):
    bars = replace(market, fundamentals=None, market_cap=None)
    closes = replace(bars, open=None, high=None, low=None, volume=None, execution="next_close")
    assert available_features(market) == list(FEATURES)
    assert available_features(bars) == BAR_FEATURES
    assert available_features(closes) == [name for name, f in FEATURES.items() if f.needs == ("close",)]
    assert len(available_features(closes)) >= 38
    assert compute_features(closes).names == tuple(available_features(closes))
    few = market.fundamentals[market.fundamentals["item"] == "sales"]
    assert {"sales_yield", "sales_growth"} == set(available_features(replace(market, fundamentals=few))) & set(
        REPORT_FEATURES
    )


def test_what_a_feature_needs_is_all_that_it_touches(market):
    fields = {"open", "high", "low", "volume", "market_cap"}
    for feature in FEATURES.values():
        bare = replace(market, **dict.fromkeys(fields - set(feature.needs)), execution="next_close")
        assert np.isfinite(compute_features(bare, [feature.name]).values).any()


def test_a_feature_that_is_unknown_or_lacks_its_fields_is_named(market):
    with pytest.raises(SchemaError, match="momentum_22"):
        compute_features(market, ["momentum_21", "momentum_22"])
    with pytest.raises(SchemaError, match="gap_1 needs open, which lab does not have"):
        compute_features(replace(market, open=None, execution="next_close"), ["gap_1"])
    with pytest.raises(SchemaError, match="no feature"):
        compute_features(market, [])


# ------------------------------------------------------------------------------------------------------------ the twins


@pytest.mark.parametrize("name", BAR_FEATURES)
def test_a_feature_is_what_pandas_says(market, twin, name):
    with np.errstate(all="ignore"):
        theirs = respoken(FEATURES[name], WideWords())(twin).to_numpy()
    ours = unranked(market, name)
    known = np.isfinite(theirs)
    assert known.any()
    np.testing.assert_array_equal(np.isfinite(ours), known)
    np.testing.assert_allclose(ours[known], theirs[known], rtol=1e-9, atol=1e-11 * np.abs(theirs[known]).max())


def test_five_years_of_seasons_are_what_pandas_says():
    long = lab_market(1500, 4, gaps=0.01)
    name = "same_month_5_years"
    theirs = respoken(FEATURES[name], WideWords())(TwinPanel(WideWords(), wide_fields(long)))
    np.testing.assert_allclose(unranked(long, name), theirs.to_numpy(), rtol=1e-12)
    assert theirs.iloc[1400:].notna().any(axis=None)


def test_ranks_are_those_of_pandas_within_the_date(market, features):
    bar = market.close.notna()
    for i, name in enumerate(features.names):
        raw = pd.DataFrame(unranked(market, name).astype(np.float32), market.dates, market.symbols)
        ranks = raw.where(np.isfinite(raw) & bar).rank(axis=1)
        theirs = (ranks - 1).div(ranks.count(axis=1) - 1, axis=0) - 0.5
        theirs[(ranks.count(axis=1) == 1).to_numpy()] *= np.nan
        known = theirs.notna().to_numpy()
        np.testing.assert_array_equal(features.values[:, :, i][known], theirs.to_numpy(np.float32)[known])
        assert (np.isnan(features.values[:, :, i]) == ranks.isna().to_numpy()).all()


@pytest.mark.parametrize("item", ["sales", "earnings"])
def test_reports_are_those_known_that_day(market, item):
    panel = Panel(prepare(market, (item,)), slice(0, len(market.symbols)))
    latest, year_ago = panel.latest(item), panel.year_ago(item)
    for t in range(0, len(market.dates), 23):
        for j, symbol in enumerate(market.symbols):
            theirs = newest(market, item, market.dates[t], symbol)
            np.testing.assert_array_equal((latest[t, j], year_ago[t, j]), theirs, err_msg=f"{market.dates[t]} {symbol}")
    assert np.isnan(latest[-1, 2])  # the third symbol has not reported for over 400 days
    assert np.isfinite(year_ago[-1, 3])


@pytest.mark.parametrize("name", REPORT_FEATURES)
def test_a_feature_of_reports_is_what_reading_them_all_says(market, name):
    rows = np.arange(40, len(market.dates), 251)
    with np.errstate(all="ignore"):
        theirs = FEATURES[name].line(ReportTwin(market, market.dates[rows]))
    ours = unranked(market, name)[rows]
    np.testing.assert_array_equal(ours, theirs)
    assert np.isfinite(theirs).any()


# ------------------------------------------------------------------------------------------------------------- the laws


@pytest.mark.parametrize("row", [0, 1, 40, 253, 500, 798])
def test_features_ignore_the_future(market, features, row):
    past = compute_features(market.upto(market.dates[row]))
    assert past.values.tobytes() == features.values[: row + 1].tobytes()


def test_features_ignore_changes_of_later_rows(market, features):
    rng = np.random.default_rng(8)
    tables = ("open", "high", "low", "close", "adjusted", "volume", "market_cap")
    later = np.arange(len(market.dates)) > 450
    changed = {
        name: getattr(market, name) * np.where(later[:, None], rng.lognormal(0, 1, market.close.shape), 1.0)
        for name in tables
    }
    reports = market.fundamentals.copy()
    reports.loc[reports["available"] > market.dates[450], "value"] *= -3.0
    other = compute_features(replace(market, **changed, fundamentals=reports))
    assert other.values[:451].tobytes() == features.values[:451].tobytes()
    assert other.values[451:].tobytes() != features.values[451:].tobytes()


def test_some_dates_have_the_same_bytes_as_all(market, features):
    for rows in (slice(790, 800), slice(0, 3), [5, 250, 799], [400]):
        some = compute_features(market, dates=market.dates[rows])
        assert some.values.tobytes() == features.values[rows].tobytes()
        assert some.dates.equals(market.dates[rows])
    assert compute_features(market, dates=[str(market.dates[9].date())]).dates[0] == market.dates[9]


def test_some_features_have_the_same_bytes_as_all(market, features):
    names = ["amihud_21", "momentum_21", "beta_63"]
    some = compute_features(market, names)
    for i, name in enumerate(names):
        assert some.values[:, :, i].tobytes() == features.values[:, :, features.names.index(name)].tobytes()


def test_the_order_of_the_symbols_does_not_matter():
    market = lab_market(400, 21, seed=3, fundamentals=True)
    order = np.random.default_rng(1).permutation(21)
    tables = ("open", "high", "low", "close", "adjusted", "volume", "market_cap")
    shuffled = replace(market, **{name: getattr(market, name).iloc[:, order] for name in tables})
    ours, theirs = compute_features(market), compute_features(shuffled)
    assert theirs.symbols.tolist() == market.symbols[order].tolist()
    assert np.ascontiguousarray(ours.values[:, order]).tobytes() == theirs.values.tobytes()


def test_prices_in_another_currency_change_nothing(market, features):
    bars = [features.names.index(name) for name in BAR_FEATURES]
    tenfold = compute_features(scaled(replace(market, fundamentals=None), 10.0), BAR_FEATURES)
    np.testing.assert_array_equal(tenfold.values, features.values[:, :, bars])


def test_the_unit_of_one_price_changes_nothing_but_its_dollar_volume(market, features):
    factor = 2.0 ** np.array([0, 3, -2, 5, 0, 1, 7, -4, 2])
    names = [name for name in BAR_FEATURES if not name.startswith(("dollar", "amihud"))]
    other = compute_features(scaled(replace(market, fundamentals=None), factor), names)
    kept = [features.names.index(name) for name in names]
    assert other.values.tobytes() == np.ascontiguousarray(features.values[:, :, kept]).tobytes()


def test_a_split_in_the_actions_changes_nothing(market):
    """d06: a 4:1 split quarters the raw price and quadruples the volume; what a model sees stays."""
    plain = lab_market(500, 5, gaps=0.0, actions=False)
    row, column = 300, 2
    per_share = np.ones(plain.close.shape)
    per_share[row:, column] = 4.0
    split = pd.DataFrame({"date": [plain.dates[row]], "symbol": ["S0002"], "kind": ["split"], "value": [4.0]})
    after = replace(
        plain,
        **{name: getattr(plain, name) / per_share for name in ("open", "high", "low", "close")},
        volume=plain.volume * per_share,
        actions=split,
    )
    assert compute_features(after).values.tobytes() == compute_features(plain).values.tobytes()


def test_only_members_with_a_bar_are_ranked():
    market = lab_market(320, 12)
    inside = pd.DataFrame(np.random.default_rng(2).random(market.close.shape) < 0.7, market.dates, market.symbols)
    ours = compute_features(replace(market, members=inside), ["momentum_21"]).values[:, :, 0]
    assert np.isnan(ours[~(inside & market.close.notna()).to_numpy()]).all()
    raw = pd.DataFrame(unranked(market, "momentum_21").astype(np.float32), market.dates, market.symbols)
    theirs = raw.where(inside & market.close.notna()).rank(axis=1)
    theirs = (theirs - 1).div(theirs.count(axis=1) - 1, axis=0) - 0.5
    np.testing.assert_array_equal(ours[50:], theirs.to_numpy(np.float32)[50:])


def test_beta_is_against_the_members_or_against_the_index_if_there_is_one():
    market = lab_market(320, 12)
    inside = pd.DataFrame(np.random.default_rng(2).random(market.close.shape) < 0.7, market.dates, market.symbols)
    index = pd.Series(np.exp(np.random.default_rng(3).normal(0, 0.01, 320).cumsum()), market.dates)
    for other in (replace(market, members=inside), replace(market, index=index), replace(market, index=index.iloc[9:])):
        twin = TwinPanel(WideWords(), wide_fields(other))
        theirs = respoken(FEATURES["beta_63"], WideWords())(twin).to_numpy()
        np.testing.assert_allclose(unranked(other, "beta_63"), theirs, rtol=1e-9, atol=1e-10)
        assert np.isfinite(theirs).any()
        past = unranked(other.upto(other.dates[200]), "beta_63")
        np.testing.assert_array_equal(past, unranked(other, "beta_63")[:201])


def test_a_market_index_has_beta_one_to_itself():
    market = lab_market(300, 6, gaps=0.0, actions=False)
    itself = replace(market, index=market.adjusted["S0003"])
    assert unranked(itself, "beta_63")[100:, 3] == pytest.approx(1.0)
    assert unranked(itself, "idiosyncratic_volatility_63")[100:, 3] == pytest.approx(0.0, abs=1e-8)


# ----------------------------------------------------------------------------------------------- numbers worked by hand


def one_symbol(closes: np.ndarray):
    """A market of one symbol that has these closes and nothing else."""
    lab = lab_market(len(closes), 1, actions=False)
    frame = pd.DataFrame(closes[:, None], lab.dates, lab.symbols)
    return replace(
        lab, close=frame, adjusted=frame, open=None, high=None, low=None, volume=None, execution="next_close"
    )


def test_momentum_leaves_out_the_last_month():
    closes = np.full(300, 10.0)
    closes[47], closes[278], closes[299] = 8.0, 12.0, 99.0
    market = one_symbol(closes)
    assert unranked(market, "momentum_12_1")[299, 0] == pytest.approx(12 / 8 - 1)
    assert unranked(market, "momentum_252")[299, 0] == pytest.approx(99 / 8 - 1)


def test_oscillators_know_their_ends():
    rising = one_symbol(np.linspace(10.0, 20.0, 100))
    assert unranked(rising, "rsi_14")[-1, 0] == 1.0
    assert unranked(rising, "range_position_63")[-1, 0] == 1.0
    falling = one_symbol(np.linspace(20.0, 10.0, 100))
    assert unranked(falling, "rsi_14")[-1, 0] == 0.0
    assert unranked(falling, "up_days_63")[-1, 0] == -1.0


def test_illiquidity_is_the_move_per_dollar():
    """Two sessions of +10% at 1,000 and 4,000 USD: (0.1 / 1000 + 0.1 / 4000) / 2; one without trades says nothing."""
    lab = one_symbol(np.array([10.0, 11.0, 12.1, 12.1]))
    volume = pd.DataFrame([[5.0], [1000 / 11], [4000 / 12.1], [0.0]], lab.dates, lab.symbols)
    panel = Panel(prepare(replace(lab, volume=volume)), slice(0, 1))
    with np.errstate(all="ignore"):
        assert mean(panel.impact, 3)[3, 0] == pytest.approx((0.1 / 1000 + 0.1 / 4000) / 2)


def test_dates_that_are_no_sessions_are_named(market):
    with pytest.raises(DataError, match="2015-01-10"):
        compute_features(market, dates=["2015-01-09", "2015-01-10"])


def test_the_result_is_read_only_and_its_frame_shares_the_memory(features):
    frame = features.frame()
    assert features.values.dtype == np.float32
    assert frame.index.names == ["date", "symbol"]
    assert list(frame.columns) == list(features.names)
    assert np.shares_memory(frame.to_numpy(), features.values)
    np.testing.assert_array_equal(frame.loc[features.dates[600]].to_numpy(), features.values[600])
    with pytest.raises(ValueError, match="read-only"):
        features.values[0, 0, 0] = 1.0


# ------------------------------------------------------------------------------------------------------------- its own


def test_an_own_function_is_a_feature_like_any_other(market, features):
    def mine(p):
        """Half a year.

        Not this line.
        """
        return p.close / lag(p.close, 126) - 1.0

    feature = own_feature("mine", mine)
    assert (feature.needs, feature.meaning) == (("close",), "Half a year.")
    with np.errstate(all="ignore"):
        values = feature.line(Panel(prepare(market), slice(0, 9)))
    np.testing.assert_array_equal(values, unranked(market, "momentum_126"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (lambda p: p.close[:-1], r"feature mine returned \(799, 9\), not \(800, 9\)"),
        (lambda p: 1 / 0, "feature mine failed: ZeroDivisionError"),
        (lambda p: p.latest("sales"), "feature mine reads 'sales', which the market lacks"),
        (lambda p: "a", "feature mine failed: ValueError"),
    ],
)
def test_an_own_function_that_fails_is_named(market, line, said):
    with pytest.raises(SchemaError, match=said):
        own_feature("mine", line).line(Panel(prepare(market), slice(0, 9)))


def test_an_own_feature_has_one_name(market):
    with pytest.raises(ParameterError, match="'mine' is called 'momentum_21' in its Feature"):
        own_feature("mine", FEATURES["momentum_21"])
