"""The embedded default: real daily closes of 20 large US companies, in sample_data/ (from skfolio, BSD-3-Clause)."""

from datetime import date
from pathlib import Path
from typing import Literal, cast

import pandas as pd
from pydantic import Field

from openbook.common.errors import DataError
from openbook.common.settings import Settings
from openbook.market.tables import Delivery

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
    """Closes, sectors and index of the sample; DataError (30) for a symbol that it does not have."""
    start = None if source.start is None else pd.Timestamp(source.start)
    close = _read("sp500_dataset.csv.gz").loc[start:]
    index = _read("sp500_index.csv.gz").loc[start:]
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


def _read(name: str) -> pd.DataFrame:
    """One of the wide CSV files, float64 by session."""
    return pd.read_csv(FOLDER / name, index_col=0, parse_dates=True).astype("float64").rename_axis("date")
