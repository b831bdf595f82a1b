"""Files as vendors write them are recognized without a word, and give back the market that they were written from."""

import numpy as np
import pandas as pd
import pytest

from openbook.common.errors import DataError, ParameterError
from openbook.market.ingest import admit
from openbook.market.sources import fetch, parse_source
from openbook.market.sources.folder import understand
from support.vendor_shapes import SHAPES, make_market, split_adjusted

TODAY = "2020-01-02"
WITHOUT_DIVIDENDS = {"polygon", "nasdaq", "kaggle", "investing", "wide_parquet"}


@pytest.fixture(scope="module")
def market():
    return make_market()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, market):
    """The folder of one shape, written once."""
    made = {}

    def write(shape: str):
        if shape not in made:
            made[shape] = tmp_path_factory.mktemp(shape)
            SHAPES[shape].write(made[shape], market)
        return str(made[shape])

    return write


def keyed(table: pd.DataFrame, field: str = "close") -> pd.Series:
    return table.set_index(["symbol", "date"])[field].dropna().sort_index()


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_recognized_and_gives_the_same_bars(folder, market, shape):
    source = understand(folder(shape)).source
    assert (source.layout, source.prices) == (SHAPES[shape].layout, SHAPES[shape].prices)
    close = keyed(fetch(source).bars)
    written = split_adjusted(market)
    wanted = keyed(market.bars if SHAPES[shape].exact else written)
    if source.prices == "adjusted":
        wanted = keyed(written, "adj_close")
    pd.testing.assert_series_equal(close, wanted, rtol=2e-6, check_names=False)


@pytest.mark.parametrize("shape", [name for name, shape in SHAPES.items() if shape.exact])
def test_prices_as_traded_come_back_with_their_splits(folder, market, shape):
    actions = fetch(understand(folder(shape)).source).actions
    told = actions[actions["kind"] == "split"].reset_index(drop=True)
    wanted = market.actions[market.actions["kind"] == "split"].reset_index(drop=True)
    pd.testing.assert_frame_equal(told, wanted, check_dtype=False)


@pytest.mark.parametrize("shape", sorted(SHAPES.keys() - WITHOUT_DIVIDENDS))
def test_every_shape_has_the_same_total_returns(folder, market, shape):
    """On the day of a dividend D at price P the vendor's factor 1 − D/P and one reinvested at the close differ by D/P
    times the day's return: at most 0.01 × 0.05 here."""
    found, _ = admit(fetch(understand(folder(shape)).source), today=TODAY)
    wanted = (
        split_adjusted(market).pivot(index="date", columns="symbol", values="adj_close").pct_change(fill_method=None)
    )
    moves = found.adjusted.pct_change(fill_method=None)
    np.testing.assert_allclose(moves.to_numpy(), wanted[moves.columns].to_numpy(), atol=5e-4)


PRESET = {"stooq": "stooq", "yahoo_csv": "yahoo_csv", "sharadar": "sharadar"}


@pytest.mark.parametrize(("preset", "shape"), PRESET.items())
def test_a_preset_reads_what_its_vendor_documents(folder, preset, shape):
    given = parse_source({"provider": "files", "path": folder(shape), "preset": preset})
    guessed = understand(folder(shape)).source
    pd.testing.assert_frame_equal(fetch(given).bars, fetch(guessed).bars)
    assert parse_source(given.model_dump(mode="json")) == given  # a sealed run's parameters say the same again


def test_what_is_given_counts_beside_a_preset():
    columns = {"close": "closeunadj"}
    source = parse_source({"provider": "files", "path": "x", "preset": "sharadar", "name": "SEP", "columns": columns})
    assert source.columns["close"] == "closeunadj"
    assert source.columns["symbol"] == "ticker"
    with pytest.raises(ParameterError, match="preset: Input should be 'stooq', 'yahoo_csv' or 'sharadar'"):
        parse_source({"provider": "files", "path": "x", "preset": "bloomberg"})


def test_tables_beside_the_prices_are_recognized(tmp_path, market):
    SHAPES["kaggle"].write(tmp_path, market)
    names = market.bars["symbol"].unique()
    told = market.actions.assign(
        action=market.actions["kind"], ticker=market.actions["symbol"], amount=market.actions["value"]
    )
    odd = pd.DataFrame({"date": ["2018-03-01"], "action": ["tickerchangeto"], "ticker": ["BAL"], "amount": [0.0]})
    pd.concat([told[["date", "action", "ticker", "amount"]], odd]).to_csv(tmp_path / "corporate.csv", index=False)
    pd.DataFrame({"Symbol": names, "GICS Sector": "Energy"}).to_csv(tmp_path / "names.csv", index=False)
    pd.DataFrame({"ticker": names, "start_date": "2018-01-02", "end_date": ""}).to_csv(tmp_path / "m.csv", index=False)
    index = market.bars.groupby("date")["close"].mean().rename("Close").rename_axis("Date")
    index.to_csv(tmp_path / "SPX.csv")
    reports = pd.DataFrame({"ticker": names, "datekey": "2018-05-01", "reportperiod": "2018-03-31", "revenue": 5.0})
    reports.to_csv(tmp_path / "fundamentals.csv", index=False)
    understood = understand(str(tmp_path))
    assert "actions: date = date, symbol = ticker, kind = action, value = amount; left out: tickerchangeto" in (
        understood.readings
    )
    assert understood.source.prices == "split_adjusted"  # the recorded splits do not show in it
    delivery = fetch(understood.source)
    assert delivery.sectors.to_dict() == dict.fromkeys(names, "Energy")
    assert set(delivery.members["symbol"]) == set(names)
    assert delivery.index.iloc[-1] == pytest.approx(index.iloc[-1])
    assert len(delivery.fundamentals) == len(names)
    assert sorted(delivery.actions["kind"].unique()) == ["dividend", "split"]
    pd.testing.assert_series_equal(keyed(delivery.bars), keyed(market.bars), rtol=1e-4, check_names=False)


def without_splits(market) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Bars and dividends of the names that never split."""
    split = market.actions.loc[market.actions["kind"] == "split", "symbol"]
    paid = market.actions[(market.actions["kind"] == "dividend") & ~market.actions["symbol"].isin(split)]
    return market.bars[~market.bars["symbol"].isin(split)], paid[["date", "symbol", "value"]]


def test_a_table_of_values_is_what_its_name_says(tmp_path, market):
    """date, symbol, value: dividends in dividends.csv, and nothing that is applied in ratings.csv."""
    bars, paid = without_splits(market)
    bars.to_csv(tmp_path / "prices.csv", index=False)
    paid.to_csv(tmp_path / "ratings.csv", index=False)
    assert fetch(understand(str(tmp_path)).source).actions is None
    (tmp_path / "ratings.csv").rename(tmp_path / "dividends.csv")
    delivery = fetch(understand(str(tmp_path)).source)
    assert delivery.actions["kind"].unique().tolist() == ["dividend"]
    assert len(delivery.actions) == len(paid)
    pd.testing.assert_series_equal(keyed(delivery.bars), keyed(bars))


@pytest.mark.parametrize("ticker", ["C", "V", "O", "T", "LOW", "LAST"])
def test_a_ticker_that_is_a_word_for_a_column_is_a_ticker(tmp_path, market, ticker):
    closes = split_adjusted(market).pivot(index="date", columns="symbol", values="adj_close")
    closes.rename(columns={"BAL": ticker}).rename_axis("Date").to_csv(tmp_path / "closes.csv")
    source = understand(str(tmp_path)).source
    assert source.layout == "wide"
    assert set(fetch(source).bars["symbol"]) == {ticker, *closes.columns} - {"BAL"}


def test_files_of_one_header_in_another_order_are_one_history(tmp_path, market):
    early = market.bars["date"] < "2019-01-01"
    market.bars[early].to_csv(tmp_path / "a.csv", index=False)
    text = market.bars[~early][market.bars.columns[::-1]].to_csv(index=False)
    (tmp_path / "b.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    pd.testing.assert_series_equal(keyed(fetch(understand(str(tmp_path)).source).bars), keyed(market.bars))


def test_an_adjusted_close_that_is_the_close_tells_nothing(tmp_path, market):
    whole = split_adjusted(market)
    whole.assign(close=whole["adj_close"]).drop(columns=["open", "high", "low"]).to_csv(tmp_path / "a.csv", index=False)
    assert understand(str(tmp_path)).source.prices == "adjusted"


def test_an_unadjusted_close_beside_total_returns_gives_no_splits(tmp_path, market):
    """Norgate's usual export: what pays a dividend is no split of 1.003 to 1."""
    whole = split_adjusted(market)
    table = market.bars[["symbol", "date"]].assign(close=whole["adj_close"], unadjusted_close=market.bars["close"])
    table.to_csv(tmp_path / "a.csv", index=False)
    source = understand(str(tmp_path)).source
    assert source.prices == "adjusted"
    assert fetch(source).actions is None


def test_what_is_not_read_is_said(tmp_path, market):
    market.bars.to_csv(tmp_path / "prices.csv", index=False)
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "more.csv").write_text("symbol,date,close\n")
    assert "not looked at: more.csv" in understand(str(tmp_path)).readings


def test_dates_of_membership_may_lie_on_weekends_and_so_tell_no_format(tmp_path, market):
    market.bars.to_csv(tmp_path / "prices.csv", index=False)
    (tmp_path / "members.csv").write_text("symbol,start,end\nBAL,01/02/2010,\nBAN,05/01/2010,\n")
    with pytest.raises(DataError, match=r"'01/02/2010', which may be %m/%d/%Y or %d/%m/%Y; set date_format"):
        understand(str(tmp_path))
