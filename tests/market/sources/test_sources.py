"""The door to all providers, and the sample that comes with openbook."""

import hashlib
from datetime import date

import pandas as pd
import pytest

from openbook.common.errors import DataError, ParameterError
from openbook.market.calendar import sessions
from openbook.market.sources import (
    PROVIDERS,
    FilesSource,
    SampleSource,
    SimulatedSource,
    fetch,
    origin,
    parse_source,
    takes_since,
)
from openbook.market.sources.sample import FOLDER
from openbook.market.tables import BAR_FIELDS, Delivery


@pytest.fixture(scope="module")
def sample() -> Delivery:
    return fetch(SampleSource())


# --- settings ---------------------------------------------------------------------------------------------------------


def test_parse_source_knows_each_provider():
    assert parse_source({"provider": "sample"}) == SampleSource()
    assert parse_source({"provider": "files", "path": "x.csv", "prices": "raw"}) == FilesSource(
        path="x.csv", prices="raw"
    )
    simulated = parse_source({"provider": "simulated", "n_symbols": 9, "end": "2024-06-28", "n_sessions": 50})
    assert simulated == SimulatedSource(n_symbols=9, end=date(2024, 6, 28), n_sessions=50)
    assert set(PROVIDERS) == {"sample", "files", "simulated", "yahoo"}


def test_parse_source_takes_the_dates_of_yaml():
    assert parse_source({"provider": "sample", "start": date(2020, 1, 2)}) == SampleSource(start=date(2020, 1, 2))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "provider"),
        ({"provider": "bloomberg"}, "'sample', 'files', 'simulated', 'yahoo'"),
        ({"provider": "sample", "sumbols": ["AAPL"]}, "sumbols is not a setting of provider 'sample'"),
        ({"provider": "sample", "start": "2025-02-30"}, "start"),
        ({"provider": "files", "prices": "raw"}, "path: Field required"),
        ({"provider": "files", "path": "x.csv"}, "prices: Field required"),
        (
            {"provider": "files", "path": "x.csv", "prices": "split-adjusted"},
            "'raw', 'split_adjusted', 'adjusted' or 'adjusted_with_actions'",
        ),
        ({"provider": "files", "path": "x.csv", "prices": "raw", "price_unit": "EUR"}, "'USD' or 'cents'"),
        ({"provider": "files", "path": "x.csv", "prices": "raw", "volume_unit": "lots"}, "volume_unit"),
        ({"provider": "files", "path": "x.csv", "prices": "raw", "columns": {"clse": "Close"}}, "columns.clse"),
        ({"provider": "files", "path": "x.csv", "prices": "adjusted", "actions": {"path": "a.csv"}}, "twice"),
        ({"provider": "simulated", "n_symbols": "500"}, "n_symbols: Input should be a valid integer"),
        ({"provider": "simulated", "ic": float("nan")}, "ic"),
        ({"provider": "simulated", "start": "2020-01-02", "end": "2021-01-04", "n_sessions": 9}, "not all three"),
    ],
)
def test_x02_a_wrong_setting_is_named(values, message):
    with pytest.raises(ParameterError, match=message):
        parse_source(values)


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        SampleSource().symbols = ("AAPL",)


# --- sample -----------------------------------------------------------------------------------------------------------


def test_sample_is_what_it_says(sample):
    close = sample.bars.pivot(index="date", columns="symbol", values="close")
    assert close.shape == (8313, 20)
    assert close.index[0] == pd.Timestamp("1990-01-02")
    assert close.index[-1] == pd.Timestamp("2022-12-28")
    assert (close > 0).all(axis=None)
    assert sample.adjusted
    assert sample.execution == "next_close"
    assert sample.actions is None
    assert not set(BAR_FIELDS[:3]) & set(sample.bars.columns)
    assert "volume" in sample.notes[1]


def test_sample_sessions_are_those_of_the_exchange(sample):
    assert pd.DatetimeIndex(sample.bars["date"].unique()).equals(sessions("1990-01-02", "2022-12-28"))
    assert sample.index.index.equals(sessions("1990-01-02", "2022-12-28"))


def test_published_index_closes(sample):
    """S&P 500 by S&P Dow Jones Indices: the close of 2020-02-19, the peak before the pandemic, and of 2020-03-23."""
    assert sample.index["2020-02-19"] == pytest.approx(3386.15)
    assert sample.index["2020-03-23"] == pytest.approx(2237.40)


def test_sample_types_and_sectors(sample):
    assert sample.bars["symbol"].dtype == "str"
    assert sample.bars["date"].dtype == "datetime64[us]"
    assert sample.bars["close"].dtype == "float64"
    assert sample.sectors.dtype == "str"
    assert set(sample.sectors.index) == set(sample.bars["symbol"])
    assert sample.sectors["XOM"] == "Energy"
    assert sample.sectors["WMT"] == "Consumer Staples"


def test_sample_subset_and_start():
    part = fetch(SampleSource(symbols=("MSFT", "AAPL"), start="2022-01-01"))
    assert list(part.bars["symbol"].unique()) == ["AAPL", "MSFT"]
    assert part.bars["date"].min() == pd.Timestamp("2022-01-03")
    assert part.index.index[0] == pd.Timestamp("2022-01-03")
    with pytest.raises(DataError, match="no TSLA; it has AAPL"):
        fetch(SampleSource(symbols=("TSLA",)))


def test_published_sample_files_are_those_of_skfolio():
    """Byte for byte those of skfolio 1.12.2, as its wheel has them; the licence of the package lies beside them."""
    published = {
        "sp500_dataset.csv.gz": "ee21cac28befb1d0a739a9ceb22184f995394726aa0cfde9a21941d1ac04ac0d",
        "sp500_index.csv.gz": "894c34431c284f86aa64a467e176e2a3c9b697c857eb9ab35006c2dd55d3fdf2",
    }
    assert {name: hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() for name in published} == published
    assert "BSD 3-Clause License" in (FOLDER / "LICENSE").read_text()


# ---- a desk's own ----


def ours(path: str, *, scale: float = 1.0, since=None) -> Delivery:
    bars = pd.DataFrame({"symbol": "A", "date": pd.to_datetime(["2024-01-02", "2024-01-03"]), "close": scale})
    return Delivery(bars[bars["date"] >= (since or bars["date"].min())], name=path)


def test_settings_of_an_own_source_are_the_arguments_of_its_function(monkeypatch):
    monkeypatch.setitem(PROVIDERS, "ours", ours)
    source = parse_source({"provider": "ours", "path": "here", "scale": 2.5})
    sent = fetch(source)
    assert (sent.name, sent.bars["close"].tolist()) == ("here", [2.5, 2.5])
    assert takes_since(source)
    assert len(fetch(source, since=pd.Timestamp("2024-01-03")).bars) == 1
    assert parse_source(source.model_dump(mode="json")) == source
    assert origin(source) == "ours here"


def test_settings_that_an_own_source_does_not_take_are_refused(monkeypatch):
    monkeypatch.setitem(PROVIDERS, "ours", ours)
    with pytest.raises(
        ParameterError, match="'ours' does not take these settings: missing a required argument: 'path'"
    ):
        parse_source({"provider": "ours"})
    with pytest.raises(ParameterError, match="unexpected keyword argument 'pth'"):
        parse_source({"provider": "ours", "path": "x", "pth": "y"})
    sealed = parse_source({"provider": "gone", "path": "x"}, sealed=True)
    assert sealed.settings == {"path": "x"}


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda: pd.DataFrame(), "price source 'ours' must return a Delivery, not DataFrame"),
        (lambda: pd.read_csv("/no/such/file"), "price source 'ours' failed: FileNotFoundError"),
    ],
)
def test_an_own_source_that_fails_is_named(monkeypatch, function, said):
    monkeypatch.setitem(PROVIDERS, "ours", function)
    with pytest.raises(DataError, match=said):
        fetch(parse_source({"provider": "ours"}))
