"""The bundled data: two real markets, in sample_data/, whose README names source and licence of each."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, Literal, cast

import pandas as pd
from pydantic import Field, model_serializer

from openbook.common.errors import DataError
from openbook.common.settings import Settings
from openbook.market.sources.inferred_delistings import Endings, read_endings
from openbook.market.tables import BAR_FIELDS, Delivery

FOLDER = Path(__file__).parent / "sample_data"
# GICS sectors at the end of 2022, by S&P and MSCI.
SECTORS = {
    "AAPL": "Information Technology",
    "AMD": "Information Technology",
    "BAC": "Financials",
    "BBY": "Consumer Discretionary",
    "CVX": "Energy",
    "GE": "Industrials",
    "HD": "Consumer Discretionary",
    "JNJ": "Health Care",
    "JPM": "Financials",
    "KO": "Consumer Staples",
    "LLY": "Health Care",
    "MRK": "Health Care",
    "MSFT": "Information Technology",
    "PEP": "Consumer Staples",
    "PFE": "Health Care",
    "PG": "Consumer Staples",
    "RRC": "Energy",
    "UNH": "Health Care",
    "WMT": "Consumer Staples",
    "XOM": "Energy",
}
LARGE_NOTES = (
    "Sample data: 20 companies that were large in 2022, so every past result has survivorship bias.",
    "Closes only, adjusted by the vendor: orders fill at the next close, share counts are not historical "
    "ones, and liquidity is not checked (no volume).",
)
MEMBER_NOTES = (
    "Sample data: 150 of some 620 members of the S&P 500 of 2013 to 2018, 30 of which left it early; each counts from "
    "its first day in the index to its last.",
    "Prices are adjusted by the vendor: past share counts and USD amounts are not historical ones.",
    "The vendor follows a name while it is in the index: a stock whose bars end, acquired or only removed, counts as "
    "delisted at its last close, and one that joins has no earlier bars.",
)
UNTIL_DELISTED = Endings(after=10)


class SampleSource(Settings):
    """Bundled prices, no network: 20 US stocks, or 150 members of the S&P 500, those that left it too.

    large_2022 : adjusted closes, 1990-01-02 to 2022-12-28, of companies that survived
    sp500_2013_2018 : adjusted opens, highs, lows, closes and volume, 2013-02-28 to 2018-02-27, with dated membership
    """

    provider: Literal["sample"] = "sample"
    market: Literal["large_2022", "sp500_2013_2018"] = Field(
        "large_2022", description="20 closes since 1990, or bars of 150 dated members of the S&P 500"
    )
    symbols: tuple[str, ...] | None = Field(None, description="a subset of the market's; default: all")
    start: date | None = Field(None, description="first session; default: the market's first")

    @model_serializer(mode="wrap")
    def _plain(self, handler) -> dict[str, Any]:
        """Without the market where it is the first: a store and a sealed run of before there were two stay the same."""
        said = handler(self)
        return {key: value for key, value in said.items() if key != "market" or value != "large_2022"}


def fetch_sample(source: SampleSource) -> Delivery:
    """Bars, sectors and index of a bundled market; DataError (30) for a symbol that it does not have."""
    delivery = MARKETS[source.market](source)
    index = _read("sp500_index.csv.gz")["SP500"].rename("S&P 500")
    dates = delivery.bars["date"]
    return replace(delivery, index=index.loc[dates.min() : dates.max()])


def _large(source: SampleSource) -> Delivery:
    """Closes of the 20 companies."""
    close = _read("sp500_dataset.csv.gz").loc[_start(source) :]
    symbols = _chosen(source, list(SECTORS))
    closes = cast(pd.Series, close[symbols].rename_axis(columns="symbol").stack())
    bars = closes.rename("close").reset_index()
    return Delivery(
        bars=bars[["symbol", "date", "close"]].astype({"symbol": "str"}),
        name="sample",
        execution="next_close",
        adjusted=True,
        sectors=pd.Series(SECTORS, dtype="str", name="sector")[symbols],
        notes=LARGE_NOTES,
    )


def _members(source: SampleSource) -> Delivery:
    """Bars, membership and ends of the 150 members."""
    bars = pd.read_parquet(FOLDER / "sp500_2013_2018.parquet").astype(dict.fromkeys(BAR_FIELDS, "float64"))
    names = pd.read_csv(
        FOLDER / "sp500_2013_2018_members.csv", parse_dates=["start", "end"], dtype={"symbol": "str", "sector": "str"}
    )
    symbols = _chosen(source, list(names["symbol"]))
    bars = bars[bars["symbol"].isin(symbols) & (bars["date"] >= _start(source))].reset_index(drop=True)
    names = names[names["symbol"].isin(symbols)].reset_index(drop=True)
    return Delivery(
        bars=bars,
        name="sample of the S&P 500",
        adjusted=True,
        actions=read_endings(bars, UNTIL_DELISTED),
        sectors=names.set_index("symbol")["sector"],
        members=names[["symbol", "start", "end"]],
        notes=MEMBER_NOTES,
    )


MARKETS: dict[str, Callable[[SampleSource], Delivery]] = {"large_2022": _large, "sp500_2013_2018": _members}


def _start(source: SampleSource) -> pd.Timestamp:
    """The first session asked for, or one before all."""
    return pd.Timestamp(source.start or "1990-01-01")


def _chosen(source: SampleSource, known: list[str]) -> list[str]:
    """The symbols asked for, sorted, each of which must be known."""
    symbols = known if source.symbols is None else sorted(set(source.symbols))
    if unknown := sorted(set(symbols) - set(known)):
        raise DataError(f"the sample has no {', '.join(unknown)}; it has {', '.join(known)}")
    return symbols


def _read(name: str) -> pd.DataFrame:
    """One of the wide CSV files, float64 by session."""
    return pd.read_csv(FOLDER / name, index_col=0, parse_dates=True).astype("float64").rename_axis("date")
