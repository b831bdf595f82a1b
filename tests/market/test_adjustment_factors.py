"""Splits and dividends read out of adjusted prices, against numbers by hand, a vendor's loop, and vendors' returns."""

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from openbook.market import calendar
from openbook.market.adjustment_factors import derive_actions, unadjust
from openbook.market.sources import FilesSource, fetch
from openbook.market.tables import adjust, empty_actions

DATES = calendar.sessions("2020-01-02", "2020-12-31")
LIMIT = 1e-4  # between our total return and the vendor's


def bars(symbol: str = "A", **columns) -> pd.DataFrame:
    n = len(next(iter(columns.values())))
    return pd.DataFrame({"symbol": symbol, "date": DATES[:n], **columns}).astype({"symbol": "str"})


def listed(actions: pd.DataFrame) -> list[tuple]:
    return [(DATES.get_loc(row.date), row.symbol, row.kind, round(row.value, 6)) for row in actions.itertuples()]


def test_a_split_a_reverse_split_and_a_dividend_by_hand():
    forward = bars("F", close=[100.0, 51.0, 52.0, 51.5], adjusted_close=[50.0, 51.0, 51.48, 51.5])
    reverse = bars("R", close=[2.0, 21.0, 20.0], adjusted_close=[20.0, 21.0, 20.0])
    actions, left = derive_actions(pd.concat([forward, reverse]), adjusted_as="next_session")
    # 52.00 was marked down to 51.48 on the evening of session 3: a dividend of 52 cents
    assert listed(actions) == [(1, "F", "split", 2.0), (1, "R", "split", 0.1), (3, "F", "dividend", 0.52)]
    assert left.empty


def test_the_same_from_closes_adjusted_for_everything_since():
    # 51.48 / 52 = 0.99: every close before the dividend is 1% lower, those before the split are halved too.
    forward = bars(close=[100.0, 51.0, 52.0, 51.5], adjusted_close=[49.5, 50.49, 51.48, 51.5])
    actions, left = derive_actions(forward, adjusted_as="today")
    assert listed(actions) == [(1, "A", "split", 2.0), (3, "A", "dividend", 0.52)]
    assert left.empty


def test_rounding_is_no_action_and_a_negative_dividend_is_listed():
    penny = bars("P", close=[0.334, 0.334, 0.334], adjusted_close=[0.33, 0.33, 0.33])
    wrong = bars("W", close=[50.0, 50.0], adjusted_close=[52.0, 50.0])
    actions, left = derive_actions(pd.concat([penny, wrong]), adjusted_as="next_session")
    assert actions.empty
    assert left[["symbol", "date"]].to_numpy().tolist() == [["W", DATES[1]]]


def test_rows_without_a_price_tell_nothing():
    table = bars(close=[10.0, 0.0, np.nan, 10.0], adjusted_close=[9.9, 5.0, 3.0, 10.0])
    actions, _ = derive_actions(table, adjusted_as="next_session")
    assert listed(actions) == [(3, "A", "dividend", 0.1)]


def a_history(seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Raw bars of three names, columns split and dividend, and the vendor's fully adjusted close by the slow rule."""
    rng = np.random.default_rng(seed)
    parts = []
    for symbol in "ABC":
        n = int(rng.integers(50, 200))
        split = np.where(rng.random(n) < 0.02, rng.choice([2.0, 3.0, 0.1], n), 1.0)
        dividend = np.where(rng.random(n) < 0.05, rng.uniform(0.1, 0.5, n), 0.0)
        split[0], dividend[0] = 1.0, 0.0
        close = 50.0 * np.exp(rng.normal(0, 0.02, n).cumsum()) / split.cumprod()
        dividend *= close / 50.0
        adjusted, shares = close.copy(), np.ones(n)
        for i in range(n - 1, 0, -1):
            adjusted[:i] *= (1.0 - dividend[i] * split[i] / close[i - 1]) / split[i]
            shares[:i] *= split[i]
        parts.append(bars(symbol, close=close, split=split, dividend=dividend, adjusted=adjusted, shares=shares))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("seed", range(5))
def test_unadjusting_undoes_the_slow_rule_of_a_vendor(seed):
    raw = a_history(seed)
    sent = raw[["symbol", "date", "split"]].assign(
        close=raw["adjusted"], open=raw["adjusted"] * 1.01, volume=1e6 * raw["shares"]
    )
    sent["dividend"] = raw["dividend"] / raw["shares"]  # vendors quote it in shares of today
    mixed = sent.sample(frac=1.0, random_state=seed)
    found, actions = unadjust(mixed)
    np.testing.assert_allclose(found["close"], raw["close"], rtol=1e-10)
    np.testing.assert_allclose(found["open"], raw["close"] * 1.01, rtol=1e-10)
    np.testing.assert_allclose(found["volume"], 1e6, rtol=1e-12)
    dividends = actions[actions["kind"] == "dividend"].sort_values(["symbol", "date"])
    np.testing.assert_allclose(dividends["value"], raw.loc[raw["dividend"] > 0, "dividend"], rtol=1e-10)
    splits = actions[actions["kind"] == "split"].sort_values(["symbol", "date"])
    np.testing.assert_array_equal(splits["value"], raw.loc[raw["split"] != 1.0, "split"])
    assert "split" not in found


@pytest.mark.parametrize("seed", range(5))
def test_actions_read_out_of_a_full_adjustment_give_its_returns(seed):
    raw = a_history(seed).rename(columns={"adjusted": "adjusted_close"})
    raw = raw[~((raw["split"] != 1.0) & (raw["dividend"] > 0))]
    actions, left = derive_actions(raw, adjusted_as="today", tick=0.0)
    wide = raw.pivot(index="date", columns="symbol", values="close")
    ours = adjust(wide, actions)
    theirs = raw.pivot(index="date", columns="symbol", values="adjusted_close")
    assert left.empty
    # The vendor reinvests at the close before, we at the close of the day: dividend yield times return, at most.
    gap = (ours.pct_change(fill_method=None) - theirs.pct_change(fill_method=None)).abs()
    paid = actions[actions["kind"] == "dividend"].pivot(index="date", columns="symbol", values="value")
    is_paid = paid.reindex_like(gap).notna()
    assert gap.where(~is_paid).max().max() < 1e-9
    assert gap.where(is_paid).max().max() < 0.02 * 0.1


def test_later_rows_and_other_symbols_change_no_action():
    raw = a_history(1).rename(columns={"adjusted": "adjusted_close"})
    whole, _ = derive_actions(raw, adjusted_as="today")
    for cut in (DATES[30], DATES[80]):
        early, _ = derive_actions(raw[raw["date"] <= cut], adjusted_as="today")
        assert_frame_equal(early, whole[whole["date"] <= cut].reset_index(drop=True))
    alone, _ = derive_actions(raw[raw["symbol"] == "B"], adjusted_as="today")
    assert_frame_equal(alone, whole[whole["symbol"] == "B"].reset_index(drop=True))


def test_nothing_gives_nothing():
    none = bars(close=[], adjusted_close=[])
    none["date"] = none["date"].astype("datetime64[us]")
    actions, left = derive_actions(none, adjusted_as="today")
    assert_frame_equal(actions, empty_actions())
    assert left.empty


# --- through the files provider ---------------------------------------------------------------------------------------


def test_an_adjusted_close_beside_raw_bars_becomes_actions(tmp_path):
    table = bars(close=[100.0, 51.0, 52.0, 51.5], adj=[50.0, 51.0, 51.48, 51.5])
    table.to_parquet(tmp_path / "bars.parquet")
    settings = {"path": str(tmp_path / "bars.parquet"), "prices": "raw", "columns": {"adjusted_close": "adj"}}
    delivery = fetch(FilesSource(**settings, adjusted_as="next_session"))
    assert listed(delivery.actions) == [(1, "A", "split", 2.0), (3, "A", "dividend", 0.52)]
    assert list(delivery.bars) == ["symbol", "date", "close"]
    assert not delivery.adjusted
    assert not any("without corporate actions" in note for note in delivery.notes)
    with pytest.raises(ValueError, match="already"):
        FilesSource(**settings | {"columns": {"adjusted_close": "adj", "split": "s"}})


def test_adjusted_bars_with_their_actions_become_raw(tmp_path):
    table = bars(
        close=[49.5, 50.49, 51.48, 51.5], div=[0.0, 0, 0, 0.52], ratio=[0.0, 2, 0, 0], volume=[200.0, 100, 90, 80]
    )
    table.to_parquet(tmp_path / "bars.parquet")
    settings = {"path": str(tmp_path / "bars.parquet"), "prices": "adjusted_with_actions"}
    delivery = fetch(FilesSource(**settings, columns={"dividend": "div", "split": "ratio"}))
    assert delivery.bars["close"].tolist() == pytest.approx([100.0, 51.0, 52.0, 51.5])
    assert delivery.bars["volume"].tolist() == [100.0, 100, 90, 80]
    assert listed(delivery.actions) == [(1, "A", "split", 2.0), (3, "A", "dividend", 0.52)]
    with pytest.raises(ValueError, match="column split or dividend"):
        FilesSource(**settings)


# --- real data --------------------------------------------------------------------------------------------------------


def compared(raw: pd.DataFrame, theirs: pd.Series, actions: pd.DataFrame) -> pd.DataFrame:
    """ours, theirs, and dividends of an old share / last close, by date and symbol of each row that has a return."""
    close = raw.pivot(index="date", columns="symbol", values="close").where(lambda table: table > 0)
    adjusted, last = adjust(close, actions), close.ffill().shift(1)
    ours = (adjusted / adjusted.ffill().shift(1) - 1.0).stack().rename("ours")
    keys = [raw["date"], raw["symbol"]]
    table = pd.concat([ours, pd.Series(theirs.to_numpy(), index=keys, name="theirs")], axis=1, join="inner")
    table = table[np.isfinite(table).all(axis=1)]
    value = {kind: rows.set_index(["date", "symbol"])["value"] for kind, rows in actions.groupby("kind")}
    paid = value["dividend"].reindex(table.index) * value["split"].reindex(table.index).fillna(1.0)
    return table.assign(paid=paid / last.stack().reindex(table.index))


def reinvested_before(table: pd.DataFrame) -> pd.Series:
    """Our return, had the dividend bought its shares at the close before its day and not at the day's close."""
    return (1.0 + table["ours"] - table["paid"]) / (1.0 - table["paid"]) - 1.0


def vendor_returns(bars: pd.DataFrame) -> pd.Series:
    """The vendor's own total return of each row on the symbol's row before; NaN where there is none."""
    before = bars["adjusted_close"].groupby(bars["symbol"]).shift(1)
    return bars["close"] / before - 1.0


@pytest.mark.long
def test_returns_of_7072_symbols_equal_the_vendors(shared_data):
    columns = ["symbol", "date", "close", "adj_close"]
    raw = pd.read_parquet(shared_data / "us_2015_2017_point_in_time" / "ohlcv.parquet", columns=columns)
    raw = raw.astype({"symbol": "str", "close": "float64", "adj_close": "float64"}).sort_values(["symbol", "date"])
    raw = raw.rename(columns={"adj_close": "adjusted_close"})
    actions, left = derive_actions(raw, adjusted_as="next_session")
    table = compared(raw, vendor_returns(raw), actions)
    gap = (table["ours"] - table["theirs"]).abs()
    assert len(table) > 3_090_000
    assert (gap <= LIMIT).mean() > 0.997
    rest = table[gap > LIMIT]
    by_price = (reinvested_before(rest) - rest["theirs"]).abs() <= LIMIT
    growth = (1.0 + rest["theirs"]) / (1.0 + rest["ours"])
    last = raw["adjusted_close"].groupby(raw["symbol"]).shift(1).set_axis([raw["date"], raw["symbol"]])
    by_rounding = (growth - 1.0).abs() <= 0.005001 / last.reindex(rest.index) + 1e-6
    listed = rest.index.isin(left.set_index(["date", "symbol"]).index)
    assert left.shape[0] == 10
    assert (by_price | by_rounding | listed).all()


@pytest.mark.long
def test_prices_recovered_from_adjusted_ones_give_the_same_returns(shared_data):
    columns = ["symbol", "date", "close", "dividends", "split_ratio"]
    sent = pd.read_parquet(shared_data / "sp500_2010_2023" / "ohlcv.parquet", columns=columns)
    sent = sent.astype({"symbol": "str", "close": "float64"})
    sent = sent.rename(columns={"dividends": "dividend", "split_ratio": "split"})
    raw, actions = unadjust(sent)
    theirs = sent.sort_values(["symbol", "date"]).groupby("symbol")["close"].pct_change(fill_method=None)
    table = compared(raw, theirs, actions)
    gap = (table["ours"] - table["theirs"]).abs()
    assert len(table) == len(sent) - sent["symbol"].nunique()
    assert (gap <= LIMIT).mean() > 0.997
    rest = table[gap > LIMIT]
    assert ((reinvested_before(rest) - rest["theirs"]).abs() <= LIMIT).all()
