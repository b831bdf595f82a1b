"""The simulated market: its signal is as strong as chosen, its past never changes, its bars and actions add up."""

import time

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal, assert_series_equal

from openbook import metrics
from openbook.common.errors import ParameterError
from openbook.market.calendar import is_session, sessions
from openbook.market.sources import SimulatedSource, fetch, simulate
from openbook.market.sources.simulated_returns import drift_per_latent
from openbook.market.tables import ACTION_COLUMNS, FUNDAMENTAL_COLUMNS, Delivery, adjust

HORIZON = 5


def wide(delivery: Delivery, field: str) -> pd.DataFrame:
    """One field of the bars, sessions × symbols."""
    return delivery.bars.pivot(index="date", columns="symbol", values=field)


def labels(delivery: Delivery, horizon: int = HORIZON) -> pd.DataFrame:
    """Total return from the open of t+1 to the open of t+1+horizon, stored at t."""
    close = wide(delivery, "close")
    price = wide(delivery, "open") * adjust(close, delivery.actions) / close
    return price.shift(-1 - horizon) / price.shift(-1) - 1


def mean_and_error(ic: pd.Series, horizon: int = HORIZON) -> tuple[float, float]:
    """Mean per-date IC and its standard error, from dates whose labels do not overlap."""
    apart = ic.dropna().iloc[:: horizon + 1]
    return ic.mean(), apart.std() / np.sqrt(len(apart))


@pytest.fixture(scope="module")
def market() -> tuple[Delivery, pd.DataFrame]:
    """Everything switched on, and often."""
    return simulate(
        SimulatedSource(
            n_symbols=60,
            n_sessions=600,
            seed=7,
            splits_per_year=0.5,
            delistings_per_year=0.1,
            late_listings=0.2,
            missing_bars=0.01,
        )
    )


# --- the signal -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ic", [0.0, 0.04, 0.12])
def test_planted_ic_is_the_chosen_one(ic):
    source = SimulatedSource(n_symbols=250, n_sessions=900, ic=ic, horizon=HORIZON, seed=4, reports=False)
    delivery, latent = simulate(source)
    mean, error = mean_and_error(metrics.information_coefficient(latent, labels(delivery))["rank_ic"])
    assert error < 0.006
    assert abs(mean - ic) < 3 * error


@pytest.mark.long
@pytest.mark.parametrize(("ic", "horizon"), [(0.0, 20), (0.05, 1), (0.05, 20), (0.2, 10)])
def test_planted_ic_is_unbiased_over_seeds(ic, horizon):
    means = []
    for seed in range(24):
        source = SimulatedSource(n_symbols=150, n_sessions=700, ic=ic, horizon=horizon, seed=seed, reports=False)
        delivery, latent = simulate(source)
        means.append(metrics.information_coefficient(latent, labels(delivery, horizon))["rank_ic"].mean())
    assert abs(np.mean(means) - ic) < 3 * np.std(means, ddof=1) / np.sqrt(24)


def test_the_signal_leaves_tracks_that_features_can_learn():
    """Momentum, unusual volume and reports each know something of the latent, and so of the label."""
    delivery, latent = simulate(SimulatedSource(n_symbols=250, n_sessions=900, ic=0.15, horizon=HORIZON, seed=5))
    close, volume = wide(delivery, "close"), np.log(wide(delivery, "volume"))
    adjusted = adjust(close, delivery.actions)
    reports = delivery.fundamentals
    sales = reports[reports["item"] == "sales"].pivot_table(
        index="available", columns="symbol", values="value", aggfunc="last"
    )
    growth = np.log(sales.reindex(close.index).ffill(limit=30)).diff(63)
    tracks = {
        "momentum": adjusted.pct_change(40, fill_method=None),
        "volume": volume.rolling(20).mean() - volume.rolling(250, min_periods=60).mean(),
    }
    for name, track in tracks.items():
        known = metrics.information_coefficient(track, latent)["rank_ic"].mean()
        mean, error = mean_and_error(metrics.information_coefficient(track, labels(delivery))["rank_ic"])
        assert known > 0.4, name
        assert mean > 0.05 + error, name
    assert metrics.information_coefficient(growth, latent)["rank_ic"].mean() > 0.05


def test_an_unreachable_ic_is_refused():
    with pytest.raises(ParameterError, match="increase half_life"):
        drift_per_latent(0.5, 252, 2.0, 11)


# --- time -------------------------------------------------------------------------------------------------------------


def assert_same_past(short: Delivery, long: Delivery) -> None:
    """Everything that the short market knew is in the long one, unchanged."""
    end = short.bars["date"].max()
    pd.testing.assert_frame_equal(short.bars, long.bars[long.bars["date"] <= end].reset_index(drop=True))
    assert_frame_equal(short.actions, long.actions[long.actions["date"] <= end].reset_index(drop=True))
    known = long.fundamentals[long.fundamentals["available"] <= end].reset_index(drop=True)
    assert_frame_equal(short.fundamentals, known)
    assert_frame_equal(short.market_cap, long.market_cap.loc[:end])
    assert_series_equal(short.index, long.index.loc[:end])


@pytest.mark.parametrize("n_sessions", [70, 150, 333, 599])
def test_more_sessions_leave_the_past_alone(market, n_sessions):
    source = SimulatedSource(
        n_symbols=60,
        n_sessions=n_sessions,
        seed=7,
        splits_per_year=0.5,
        delistings_per_year=0.1,
        late_listings=0.2,
        missing_bars=0.01,
    )
    delivery, latent = simulate(source)
    assert_same_past(delivery, market[0])
    assert_frame_equal(latent, market[1].iloc[:n_sessions])


def test_same_seed_same_market_other_seed_other_market():
    one, same, other = (fetch(SimulatedSource(n_symbols=5, n_sessions=40, seed=seed)) for seed in (1, 1, 2))
    assert_frame_equal(one.bars, same.bars)
    assert_frame_equal(one.fundamentals, same.fundamentals)
    assert not np.isclose(one.bars["close"].iloc[:5], other.bars["close"].iloc[:5]).any()


@pytest.mark.parametrize(
    ("settings", "first", "last", "n"),
    [
        ({"n_sessions": 30}, "2013-01-02", "2013-02-13", 30),
        ({"start": "2024-12-20", "end": "2025-01-10"}, "2024-12-20", "2025-01-10", 13),
        ({"end": "2024-12-31", "n_sessions": 252}, "2024-01-02", "2024-12-31", 252),
        ({"start": "2024-12-24", "n_sessions": 2}, "2024-12-24", "2024-12-26", 2),
    ],
)
def test_sessions_are_those_of_the_exchange(settings, first, last, n):
    dates = simulate(SimulatedSource(n_symbols=3, **settings))[1].index
    assert (dates[0], dates[-1], len(dates)) == (pd.Timestamp(first), pd.Timestamp(last), n)
    assert dates.equals(sessions(first, last).rename("date"))


# --- the tables add up ------------------------------------------------------------------------------------------------


def test_bars_are_sound(market):
    bars = market[0].bars
    assert (bars[["open", "high", "low", "close"]] > 0).all(axis=None)
    assert (bars["high"] >= bars[["open", "close"]].max(axis=1)).all()
    assert (bars["low"] <= bars[["open", "close"]].min(axis=1)).all()
    assert (bars["volume"] >= 1).all()
    assert not bars.duplicated(["symbol", "date"]).any()
    assert bars[["date", "symbol"]].apply(tuple, axis=1).is_monotonic_increasing
    assert bars["symbol"].dtype == "str"
    assert bars["date"].dtype == "datetime64[us]"


def test_actions_explain_the_raw_prices(market):
    """Raw closes jump on splits and drop on dividends; adjusted ones do not."""
    delivery, _ = market
    close = wide(delivery, "close")
    raw = close / close.ffill().shift(1) - 1
    adjusted = adjust(close, delivery.actions)
    clean = adjusted / adjusted.ffill().shift(1) - 1
    splits = delivery.actions.query("kind == 'split'")
    assert list(delivery.actions.columns) == ACTION_COLUMNS
    assert len(splits) > 20
    for action in splits.itertuples():
        assert raw.at[action.date, action.symbol] == pytest.approx(1 / action.value - 1, abs=0.6 / action.value)
    assert clean.abs().max(axis=None) < 0.35
    dividends = delivery.actions.query("kind == 'dividend'")
    before = close.ffill().shift(1)
    yields = [row.value / before.at[row.date, row.symbol] for row in dividends.itertuples()]
    assert min(yields) > 0.002
    assert max(yields) < 0.0125
    at_ex_date = [clean.at[row.date, row.symbol] - raw.at[row.date, row.symbol] for row in dividends.itertuples()]
    np.testing.assert_allclose(at_ex_date, yields, rtol=1e-6)


def test_a_delisted_stock_never_trades_again(market):
    delivery, _ = market
    close = wide(delivery, "close")
    gone = delivery.actions.query("kind == 'delisting'")
    assert len(gone) > 5
    assert gone["symbol"].is_unique
    assert gone["value"].between(-1.0, 0.05).all()
    for action in gone.itertuples():
        assert close.loc[action.date :, action.symbol].isna().all()
        assert close[action.symbol].last_valid_index() >= close.index[close.index.get_loc(action.date) - 4]
    alive = close.columns.difference(gone["symbol"])
    assert close[alive].iloc[-10:].notna().any().all()


def test_listings_and_lost_bars(market):
    close = wide(market[0], "close")
    first = close.apply(pd.Series.first_valid_index)
    late = first > close.index[2]
    assert 3 <= late.sum() <= 25
    assert first.max() <= close.index[121]
    holes = sum(close[s].loc[first[s] : close[s].last_valid_index()].isna().mean() for s in close) / len(close.columns)
    assert holes == pytest.approx(0.01, abs=0.003)


def test_switched_off_means_none():
    delivery = fetch(
        SimulatedSource(
            n_symbols=20,
            n_sessions=300,
            splits_per_year=0,
            payers=0,
            delistings_per_year=0,
            late_listings=0,
            missing_bars=0,
            reports=False,
        )
    )
    assert delivery.actions.empty
    assert delivery.fundamentals is None
    assert wide(delivery, "close").notna().all(axis=None)


def test_reports_are_filed_after_the_quarter_and_used_after_the_filing(market):
    delivery, _ = market
    reports = delivery.fundamentals
    assert list(reports.columns) == FUNDAMENTAL_COLUMNS
    assert not reports.duplicated(["symbol", "period_end", "item"]).any()
    assert all(is_session(day) for day in reports["available"].unique())
    lag = (reports["available"] - reports["period_end"]).dt.days
    first_bar = delivery.bars.groupby("symbol")["date"].min()
    later = reports["available"] > reports["symbol"].map(first_bar)
    assert lag.min() > 20
    assert lag[later].max() <= 66
    values = reports.pivot(index=["symbol", "period_end"], columns="item", values="value")
    assert (values["book"] < values["assets"]).all()
    assert (values["sales"] > values["gross_profit"]).all()
    assert (values[["sales", "book"]] > 0).all(axis=None)


def test_caps_sectors_and_index(market):
    delivery, latent = market
    close = wide(delivery, "close")
    assert delivery.sectors.nunique() == 11
    assert set(delivery.sectors.index) == set(close.columns)
    assert_frame_equal(delivery.market_cap.notna(), close.notna(), check_names=False)
    assert latent.notna().equals(delivery.market_cap.notna())
    splits = delivery.actions.query("kind == 'split'")
    shares = delivery.market_cap / close
    for action in splits.itertuples():
        around = shares[action.symbol].dropna().loc[: action.date].iloc[-2:]
        assert around.iloc[1] / around.iloc[0] == pytest.approx(action.value, rel=0.05)
    market_return = close.pct_change(fill_method=None).median(axis=1)
    assert delivery.index.pct_change().corr(market_return) > 0.9


def test_regimes_show_in_the_index():
    """Volatility comes in spells: its range over 40-session windows far exceeds that of shuffled days."""
    index = fetch(SimulatedSource(n_symbols=2, n_sessions=2000, reports=False)).index
    returns = index.pct_change().dropna()
    shuffled = returns.sample(frac=1.0, random_state=0).reset_index(drop=True)
    spread = [r.rolling(40).std().quantile(0.95) / r.rolling(40).std().quantile(0.05) for r in (returns, shuffled)]
    assert spread[0] > 1.5 * spread[1]


def test_the_latent_is_slow_and_standard():
    _, latent = simulate(SimulatedSource(n_symbols=200, n_sessions=500, half_life=20, reports=False))
    assert latent.stack().std() == pytest.approx(1.0, abs=0.05)
    assert metrics.score_autocorrelation(latent, 20).mean() == pytest.approx(0.5, abs=0.06)


@pytest.mark.benchmark
def test_ten_years_of_500_stocks_take_at_most_three_seconds():
    start = time.perf_counter()
    fetch(SimulatedSource(n_symbols=500, n_sessions=2520))
    assert time.perf_counter() - start < 3.0
