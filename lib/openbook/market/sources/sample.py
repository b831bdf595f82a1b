"""The embedded default: real daily closes of 20 large US companies, carried by the package skfolio."""

import importlib.util
from datetime import date
from pathlib import Path
from typing import Literal, cast

import pandas as pd
from pydantic import Field

from openbook.common.errors import DataError
from openbook.common.settings import Settings
from openbook.market.tables import Delivery

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
NOTES = (
    "Sample data: 20 companies that were large in 2022, so every past result has survivorship bias.",
    "Closes only, adjusted by the vendor: orders fill at the next close, share counts are not historical "
    "ones, and liquidity is not checked (no volume).",
)


class SampleSource(Settings):
    """20 US stocks and the S&P 500, 1990-01-02 to 2022-12-28, adjusted closes; no network."""

    provider: Literal["sample"] = "sample"
    symbols: tuple[str, ...] | None = Field(None, description="a subset of the 20; default: all")
    start: date | None = Field(None, description="first session; default: 1990-01-02")


def fetch_sample(source: SampleSource) -> Delivery:
    """Read skfolio's files in place, without importing skfolio (which takes seconds)."""
    folder = _data_folder()
    start = None if source.start is None else pd.Timestamp(source.start)
    close = _read(folder / "sp500_dataset.csv.gz").loc[start:]
    index = _read(folder / "sp500_index.csv.gz").loc[start:]
    symbols = list(SECTORS) if source.symbols is None else sorted(set(source.symbols))
    unknown = sorted(set(symbols) - set(close.columns))
    if unknown:
        raise DataError(f"the sample has no {', '.join(unknown)}; it has {', '.join(close.columns)}")
    closes = cast(pd.Series, close[symbols].rename_axis(columns="symbol").stack())
    bars = closes.rename("close").reset_index()
    return Delivery(
        bars=bars[["symbol", "date", "close"]].astype({"symbol": "str"}),
        name="sample",
        execution="next_close",
        adjusted=True,
        sectors=pd.Series(SECTORS, dtype="str", name="sector")[symbols],
        index=index["SP500"].rename("S&P 500"),
        notes=NOTES,
    )


def _data_folder() -> Path:
    """Where the installed skfolio keeps its data sets."""
    found = importlib.util.find_spec("skfolio")
    if found is None or found.origin is None:
        raise DataError("the sample data needs the package skfolio; pip install skfolio")
    return Path(found.origin).parent / "datasets" / "data"


def _read(path: Path) -> pd.DataFrame:
    """One of skfolio's wide CSV files, float64 by session."""
    if not path.is_file():
        raise DataError(f"this version of skfolio has no {path.name}; install skfolio 0.9 or later")
    return pd.read_csv(path, index_col=0, parse_dates=True).astype("float64").rename_axis("date")
