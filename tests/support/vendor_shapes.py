"""One market, written as sixteen vendors write theirs: by the documentation of their files, each with its own units.

`write_SHAPE(folder, market)` writes files of prices into a folder; SHAPES lists them with what must be recognized. The
documentation that each follows is named in its docstring.
"""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from openbook.market import calendar

FIELDS = ("open", "high", "low", "close")


class VendorMarket(NamedTuple):
    """bars : symbol, date, open, high, low, close (as traded, whole cents), volume; sorted by symbol and date
    actions : date, symbol, kind, value, in shares of the day
    """

    bars: pd.DataFrame
    actions: pd.DataFrame


def make_market(
    n_symbols: int = 16, first: str = "2018-01-02", last: str = "2019-12-31", seed: int = 5
) -> VendorMarket:
    """Random walks in whole cents, with a split of every fourth name, quarterly dividends, and one name that ends."""
    rng = np.random.default_rng(seed)
    days = calendar.sessions(first, last)
    names = [f"{a}{b}{c}" for a in "BKT" for b in "AEO" for c in "LNRS"][:n_symbols]
    bars, actions = [], []
    common = rng.normal(0.0004, 0.008, len(days))
    for i, name in enumerate(names):
        n = len(days) - (150 if i == 3 else 0)
        move = common[:n] * rng.uniform(0.6, 1.4) + rng.normal(0.0, 0.012, n)
        close = rng.uniform(60, 240) * np.exp(np.cumsum(move))
        if i % 4 == 0:
            at = n // 2 + i
            close[at:] /= 2 if i % 8 else 4
            actions.append((days[at], name, "split", 2.0 if i % 8 else 4.0))
        paid = range(40 + i, n, 63) if i % 3 else ()
        for k in paid:
            close[k:] -= 0.4
            actions.append((days[k], name, "dividend", 0.4))
        last_close = np.concatenate([close[:1], close[:-1]])
        first_trade = last_close * np.exp(rng.normal(0, 0.004, n))
        if i % 4 == 0:
            first_trade[at] = close[at]
        bounds = np.sort([first_trade, close], axis=0)
        table = pd.DataFrame({"symbol": name, "date": days[:n], "open": first_trade, "high": bounds[1] * 1.004})
        table = table.assign(low=bounds[0] * 0.996, close=close, volume=rng.integers(1e5, 4e6, n) * 100)
        bars.append(table)
    table = pd.concat(bars, ignore_index=True)
    table[list(FIELDS)] = table[list(FIELDS)].round(2)
    told = pd.DataFrame(actions, columns=["date", "symbol", "kind", "value"])
    return VendorMarket(table, told.sort_values(["date", "symbol"], ignore_index=True))


def _later(market: VendorMarket, kind: str) -> np.ndarray:
    """By bar, the product over later actions: splits, or 1 − dividend / last close."""
    bars, out = market.bars, np.ones(len(market.bars))
    for row in market.actions[market.actions["kind"] == kind].itertuples():
        own = (bars["symbol"] == row.symbol) & (bars["date"] < row.date)
        factor = row.value if kind == "split" else 1.0 - row.value / bars.loc[own, "close"].iloc[-1]
        out[own] *= factor
    return out


def split_adjusted(market: VendorMarket) -> pd.DataFrame:
    """The bars divided by later splits, volumes multiplied; and adj_close, with dividends in it too."""
    splits = _later(market, "split")
    out = market.bars.assign(volume=(market.bars["volume"] * splits).round().astype("int64"))
    out[list(FIELDS)] = out[list(FIELDS)].div(splits, axis=0)
    return out.assign(adj_close=out["close"] * _later(market, "dividend"))


def _columns(market: VendorMarket, splits: float = 0.0) -> pd.DataFrame:
    """By bar, the columns split (`splits` where there is none) and dividend, in shares of the day."""
    keys = market.bars[["symbol", "date"]]
    told = market.actions.pivot(index=["symbol", "date"], columns="kind", values="value")
    out = keys.merge(told.reset_index(), on=["symbol", "date"], how="left")
    return out.fillna({"split": splits, "dividend": 0.0})[["split", "dividend"]]


def write_long(folder: Path, market: VendorMarket) -> None:
    """One table, one row per symbol and day, prices as traded: the columns of Quandl's WIKI prices, without adj_*."""
    told = _columns(market, 1.0).rename(columns={"split": "split_ratio", "dividend": "ex-dividend"})
    table = market.bars.rename(columns={"symbol": "ticker"})
    pd.concat([table, told], axis=1).to_csv(folder / "WIKI_PRICES.csv", index=False)


def write_yahoo_csv(folder: Path, market: VendorMarket) -> None:
    """A file a symbol as Yahoo's pages of historical prices gave it: splits in Close, dividends too in Adj Close."""
    for symbol, rows in split_adjusted(market).groupby("symbol"):
        table = rows.rename(columns=str.title).rename(columns={"Adj_Close": "Adj Close"})
        table = table[["Date", "Open", "High", "Low", "Close", "Adj Close", "Volume"]]
        table.to_csv(folder / f"{symbol}.csv", index=False, float_format="%.6f")


def write_yfinance(folder: Path, market: VendorMarket) -> None:
    """yfinance 1.x, `download(tickers, auto_adjust=False, actions=True).to_csv(...)`: fields over tickers over Date."""
    table = pd.concat([split_adjusted(market), _columns(market)], axis=1)
    table["dividend"] /= _later(market, "split")
    names = {field: field.title() for field in (*FIELDS, "volume")}
    names |= {"adj_close": "Adj Close", "split": "Stock Splits", "dividend": "Dividends"}
    wide = table.rename(columns=names).pivot(index="date", columns="symbol", values=sorted(names.values()))
    wide.rename_axis(index="Date", columns=["Price", "Ticker"]).to_csv(folder / "download.csv")


def write_wide(folder: Path, market: VendorMarket) -> None:
    """A spreadsheet of adjusted closes, one column a symbol."""
    closes = split_adjusted(market).pivot(index="date", columns="symbol", values="adj_close")
    closes.rename_axis(index="Date", columns=None).to_csv(folder / "closes.csv", float_format="%.6f")


def write_stooq(folder: Path, market: VendorMarket) -> None:
    """Stooq's daily archive, in its folders: <TICKER>,<PER>,<DATE>,<TIME>,…, adjusted for splits and dividends."""
    table = split_adjusted(market)
    table[list(FIELDS)] = table[list(FIELDS)].mul(table["adj_close"] / table["close"], axis=0)
    for symbol, rows in table.groupby("symbol"):
        place = folder / "daily" / "us" / ("nyse stocks" if symbol < "K" else "nasdaq stocks")
        place.mkdir(parents=True, exist_ok=True)
        day = rows["date"].dt.strftime("%Y%m%d")
        columns = {"<TICKER>": f"{symbol}.US", "<PER>": "D", "<DATE>": day, "<TIME>": "000000"}
        columns |= {f"<{field.upper()}>": rows[field].round(6) for field in FIELDS}
        columns |= {"<VOL>": rows["volume"], "<OPENINT>": 0}
        pd.DataFrame(columns).to_csv(place / f"{symbol.lower()}.us.txt", index=False)


def write_sharadar(folder: Path, market: VendorMarket) -> None:
    """Sharadar SEP and ACTIONS: prices with splits in them, closeunadj as traded, closeadj with dividends too."""
    table = split_adjusted(market)
    columns = {"ticker": table["symbol"], "date": table["date"].dt.strftime("%Y-%m-%d")}
    columns |= {field: table[field].round(4) for field in FIELDS}
    columns |= {"volume": table["volume"], "closeadj": table["adj_close"].round(5)}
    columns |= {"closeunadj": market.bars["close"], "lastupdated": "2020-01-02"}
    pd.DataFrame(columns).to_csv(folder / "SHARADAR_SEP.csv", index=False)


def write_european(folder: Path, market: VendorMarket) -> None:
    """A spreadsheet's CSV in Europe: BOM, semicolons, decimal commas, points between thousands, 31.12.2019."""
    told = _columns(market, 1.0)
    table = pd.concat([market.bars, told], axis=1).rename(columns=str.title)
    for field in ("Open", "High", "Low", "Close", "Split", "Dividend"):
        table[field] = [f"{value:,.2f}".translate(str.maketrans(",.", ".,")) for value in table[field]]
    table["Volume"] = [f"{value:,}".replace(",", ".") for value in table["Volume"]]
    table["Date"] = table["Date"].dt.strftime("%d.%m.%Y")
    text = table.to_csv(index=False, sep=";")
    (folder / "Kurse.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())


def write_nasdaq(folder: Path, market: VendorMarket) -> None:
    """Nasdaq.com's download, a file a symbol: $ signs, MM/DD/YYYY, the newest first; splits in the prices."""
    for symbol, rows in split_adjusted(market).groupby("symbol"):
        table = {"Date": rows["date"].dt.strftime("%m/%d/%Y")}
        table |= {"Close/Last": [f"${value:,.4f}" for value in rows["close"]], "Volume": rows["volume"]}
        table |= {field.title(): [f"${value:,.4f}" for value in rows[field]] for field in ("open", "high", "low")}
        pd.DataFrame(table)[::-1].to_csv(folder / f"HistoricalData_{symbol}.csv", index=False)


def write_polygon(folder: Path, market: VendorMarket) -> None:
    """Polygon's flat files of day aggregates, a gzip file a day: window_start in nanoseconds, prices as traded."""
    for day, rows in market.bars.groupby("date"):
        start = day.tz_localize("America/New_York").as_unit("ns").value
        table = rows.assign(window_start=start, transactions=1000).rename(columns={"symbol": "ticker"})
        table = table[["ticker", "volume", "open", "close", "high", "low", "window_start", "transactions"]]
        table.to_csv(folder / f"{day:%Y-%m-%d}.csv.gz", index=False)
    told = market.actions[market.actions["kind"] == "split"]
    splits = {"ticker": told["symbol"], "execution_date": told["date"], "split": [f"{n:g}:1" for n in told["value"]]}
    pd.DataFrame(splits).to_csv(folder / "splits.csv", index=False)


def write_alpha_vantage(folder: Path, market: VendorMarket) -> None:
    """Alpha Vantage's TIME_SERIES_DAILY_ADJUSTED as CSV, a file a symbol: prices as traded, actions in columns."""
    table = pd.concat([market.bars, _columns(market, 1.0)], axis=1)
    table["adjusted_close"] = split_adjusted(market)["adj_close"].round(4)
    names = {"date": "timestamp", "dividend": "dividend_amount", "split": "split_coefficient"}
    wanted = ["timestamp", *FIELDS, "adjusted_close", "volume", "dividend_amount", "split_coefficient"]
    for symbol, rows in table.rename(columns=names).groupby("symbol"):
        rows[wanted][::-1].to_csv(folder / f"daily_adjusted_{symbol}.csv", index=False)


def write_kaggle(folder: Path, market: VendorMarket) -> None:
    """The shape of the much used all_stocks_5yr.csv: date, prices with splits in them, volume, Name."""
    table = split_adjusted(market).rename(columns={"symbol": "Name"})
    table[["date", *FIELDS, "volume", "Name"]].to_csv(folder / "all_stocks_5yr.csv", index=False, float_format="%.4f")


def write_investing(folder: Path, market: VendorMarket) -> None:
    """Investing.com's download, a file a symbol: quoted, Price for the close, 1,234.5000, 12.34M, 01/31/2019."""
    for symbol, rows in split_adjusted(market).groupby("symbol"):
        table = {"Date": rows["date"].dt.strftime("%m/%d/%Y"), "Price": rows["close"]}
        table |= {field.title(): rows[field] for field in ("open", "high", "low")}
        table = {name: [f"{x:,.4f}" if name != "Date" else x for x in values] for name, values in table.items()}
        table |= {"Vol.": [f"{value / 1e6:.2f}M" for value in rows["volume"]], "Change %": "0.50%"}
        pd.DataFrame(table)[::-1].to_csv(folder / f"{symbol} Historical Data.csv", index=False, quoting=csv.QUOTE_ALL)


def write_tiingo(folder: Path, market: VendorMarket) -> None:
    """Tiingo's end-of-day prices as CSV, a file a symbol: as traded beside adj…, divCash, splitFactor, …T00:00:00Z."""
    table = pd.concat([market.bars, _columns(market, 1.0)], axis=1)
    table["adjClose"] = split_adjusted(market)["adj_close"]
    names = {"dividend": "divCash", "split": "splitFactor"}
    for symbol, rows in table.rename(columns=names).groupby("symbol"):
        rows = rows.assign(date=rows["date"].dt.strftime("%Y-%m-%dT00:00:00.000Z"))
        rows.drop(columns="symbol").to_csv(folder / f"{symbol}.csv", index=False)


def write_simfin(folder: Path, market: VendorMarket) -> None:
    """SimFin's us-shareprices-daily.csv: semicolons, as traded, "Adj. Close" beside, dividends where there are any."""
    told = _columns(market)["dividend"]
    columns = {"Ticker": market.bars["symbol"], "SimFinId": 1, "Date": market.bars["date"].dt.strftime("%Y-%m-%d")}
    columns |= {field.title(): market.bars[field] for field in FIELDS}
    columns |= {"Adj. Close": split_adjusted(market)["adj_close"], "Volume": market.bars["volume"]}
    columns |= {"Dividend": told.where(told > 0), "Shares Outstanding": 1_000_000}
    pd.DataFrame(columns).to_csv(folder / "us-shareprices-daily.csv", index=False, sep=";")


def write_wide_parquet(folder: Path, market: VendorMarket) -> None:
    """A quant's own tables, one parquet file a field, dates as the index of pandas."""
    for field in (*FIELDS, "volume"):
        split_adjusted(market).pivot(index="date", columns="symbol", values=field).to_parquet(
            folder / f"{field}.parquet"
        )


def write_two_headers_parquet(folder: Path, market: VendorMarket) -> None:
    """yfinance's `download(tickers, group_by="ticker").to_parquet(...)`: tickers over fields, prices adjusted."""
    table = split_adjusted(market)
    table[list(FIELDS)] = table[list(FIELDS)].mul(table["adj_close"] / table["close"], axis=0)
    table = table.rename(columns=str.title)
    wide = table.pivot(index="Date", columns="Symbol", values=["Open", "High", "Low", "Close", "Volume"])
    wide.swaplevel(axis=1).sort_index(axis=1).to_parquet(folder / "download.parquet")


class Shape(NamedTuple):
    """write : the files; layout, prices : what must be recognized; exact : closes as traded come back to the cent"""

    write: Callable[[Path, VendorMarket], None]
    layout: str
    prices: str
    exact: bool


SHAPES = {
    "long": Shape(write_long, "long", "raw", True),
    "yahoo_csv": Shape(write_yahoo_csv, "per_symbol", "split_adjusted", False),
    "yfinance": Shape(write_yfinance, "two_headers", "split_adjusted", True),
    "wide": Shape(write_wide, "wide", "adjusted", False),
    "stooq": Shape(write_stooq, "long", "adjusted", False),
    "sharadar": Shape(write_sharadar, "long", "split_adjusted", True),
    "european": Shape(write_european, "long", "raw", True),
    "nasdaq": Shape(write_nasdaq, "per_symbol", "split_adjusted", False),
    "polygon": Shape(write_polygon, "long", "raw", True),
    "alpha_vantage": Shape(write_alpha_vantage, "per_symbol", "raw", True),
    "investing": Shape(write_investing, "per_symbol", "split_adjusted", False),
    "tiingo": Shape(write_tiingo, "per_symbol", "raw", True),
    "simfin": Shape(write_simfin, "long", "raw", True),
    "wide_parquet": Shape(write_wide_parquet, "wide", "split_adjusted", False),
    "two_headers_parquet": Shape(write_two_headers_parquet, "two_headers", "adjusted", False),
    "kaggle": Shape(write_kaggle, "long", "split_adjusted", False),
}
