"""Settings for the files of vendors whose columns are documented."""

from collections.abc import Mapping
from typing import Any, Literal

Preset = Literal["stooq", "yahoo_csv", "sharadar"]

PRESETS: dict[str, dict[str, Any]] = {
    # Stooq's daily archive in ASCII, one file a symbol such as aapl.us.txt: adjusted for splits and dividends.
    "stooq": {
        "prices": "adjusted",
        "date_format": "%Y%m%d",
        "symbol_format": "{symbol}.US",
        "columns": {
            "symbol": "<TICKER>",
            "period": "<PER>",
            "date": "<DATE>",
            "open": "<OPEN>",
            "high": "<HIGH>",
            "low": "<LOW>",
            "close": "<CLOSE>",
            "volume": "<VOL>",
        },
    },
    # "Download" on Yahoo's page of historical prices, one file a symbol such as AAPL.csv. Close has the splits in it,
    # Adj Close dividends too.
    "yahoo_csv": {
        "prices": "split_adjusted",
        "layout": "per_symbol",
        "columns": {
            "date": "Date",
            "open": "Open",
            "high": "High",
            "low": "Low",
            "close": "Close",
            "adjusted_close": "Adj Close",
            "volume": "Volume",
        },
    },
    # Sharadar Equity Prices (SEP): open, high, low, close and volume have the splits in them.
    "sharadar": {
        "prices": "split_adjusted",
        "columns": {
            "symbol": "ticker",
            "date": "date",
            "open": "open",
            "high": "high",
            "low": "low",
            "close": "close",
            "volume": "volume",
            "adjusted_close": "closeadj",
            "unadjusted_close": "closeunadj",
        },
    },
}


def with_preset(values: Any) -> Any:
    """The settings with those of their preset below them: what is given counts."""
    preset = PRESETS.get(str(values.get("preset"))) if isinstance(values, Mapping) else None
    if preset is None:
        return values
    given = values.get("columns")
    columns = preset["columns"] | given if isinstance(given, Mapping) else preset["columns"]
    return preset | dict(values) | {"columns": columns}
