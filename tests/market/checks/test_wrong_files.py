"""Files that are no daily prices, or not only: each is refused in one line with file, column and way out."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from support.trained_desk import openbook, succeed
from support.vendor_shapes import FIELDS, VendorMarket, make_market, split_adjusted, write_stooq, write_yahoo_csv


@pytest.fixture(scope="module")
def market() -> VendorMarket:
    return make_market(8)


def long(folder: Path, table: pd.DataFrame, name: str = "prices.csv") -> None:
    table.to_csv(folder / name, index=False)


def mixed_dates(folder: Path, market: VendorMarket) -> None:
    """The second half of the file has another way to write a date."""
    day = market.bars["date"]
    text = day.dt.strftime("%Y-%m-%d").where(day < "2019-01-02", day.dt.strftime("%m/%d/%Y"))
    long(folder, market.bars.assign(date=text))


def total_row(folder: Path, market: VendorMarket) -> None:
    """A spreadsheet's last line."""
    text = market.bars.assign(date=market.bars["date"].dt.strftime("%Y-%m-%d"))
    total = pd.DataFrame({"symbol": [""], "date": ["Total"], "volume": [int(market.bars["volume"].sum())]})
    long(folder, pd.concat([text, total]))


def total_symbol(folder: Path, market: VendorMarket) -> None:
    """A line of totals for each day, under the name Total."""
    sums = market.bars.groupby("date", as_index=False)[[*FIELDS, "volume"]].sum().assign(symbol="Total")
    long(folder, pd.concat([market.bars, sums]))


def two_currencies(folder: Path, market: VendorMarket) -> None:
    long(folder, market.bars.assign(currency=np.where(market.bars["symbol"] < "C", "EUR", "USD")))


def euro_signs(folder: Path, market: VendorMarket) -> None:
    sign = np.where(market.bars["symbol"] < "C", "€", "$")
    long(folder, market.bars.assign(close=sign + market.bars["close"].astype(str)))


def returns(folder: Path, market: VendorMarket) -> None:
    long(folder, market.bars.assign(close=market.bars.groupby("symbol")["close"].pct_change()).dropna())


def gross_returns(folder: Path, market: VendorMarket) -> None:
    moved = market.bars.groupby("symbol")["close"].pct_change() + 1.0
    long(folder, market.bars[["symbol", "date"]].assign(close=moved).dropna())


def high_and_low_swapped(folder: Path, market: VendorMarket) -> None:
    long(folder, market.bars.rename(columns={"high": "low", "low": "high"}))


def close_and_volume_swapped(folder: Path, market: VendorMarket) -> None:
    long(folder, market.bars.rename(columns={"close": "volume", "volume": "close"}))


def one_symbol_twice(folder: Path, market: VendorMarket) -> None:
    first = market.bars[market.bars["symbol"] == "BAL"].assign(symbol="BAN")
    long(folder, pd.concat([market.bars, first]))


def one_symbol_in_two_files(folder: Path, market: VendorMarket) -> None:
    write_yahoo_csv(folder, market)
    (folder / "bal.csv").write_bytes((folder / "BAN.csv").read_bytes())


def one_symbol_in_two_columns(folder: Path, market: VendorMarket) -> None:
    text = market.bars.pivot(index="date", columns="symbol", values="close").to_csv()
    (folder / "closes.csv").write_text(text.replace("BAN", "BAL", 1))


def a_day_early(folder: Path, market: VendorMarket) -> None:
    long(folder, market.bars.assign(date=market.bars["date"] - pd.Timedelta(days=1)))


def adjusted_beside_raw_files(folder: Path, market: VendorMarket) -> None:
    long(folder, market.bars, "raw.csv")
    long(folder, split_adjusted(market).drop(columns="adj_close").assign(source="x"), "adjusted.csv")


def adjusted_beside_raw_names(folder: Path, market: VendorMarket) -> None:
    """Half of the names with splits taken out, and a table of the splits."""
    half = market.bars["symbol"] < "BE"
    table = split_adjusted(market).drop(columns="adj_close").where(half, market.bars)
    long(folder, table)
    long(folder, market.actions, "actions.csv")


def adjusted_close_beside_raw_range(folder: Path, market: VendorMarket) -> None:
    halves = split_adjusted(market)["adj_close"] * 0.5
    long(folder, market.bars.assign(close=halves))


def empty(folder: Path, market: VendorMarket) -> None:
    write_yahoo_csv(folder, market)
    (folder / "BAN.csv").write_bytes(b"")


def header_only(folder: Path, market: VendorMarket) -> None:
    long(folder, market.bars.head(0))


def html(folder: Path, market: VendorMarket) -> None:
    write_yahoo_csv(folder, market)
    (folder / "BAN.csv").write_text("<!DOCTYPE html>\n<html><body>Too many requests</body></html>")


def workbook(folder: Path, market: VendorMarket) -> None:
    (folder / "prices.csv").write_bytes(b"PK\x03\x04" + bytes(200))


def no_header(folder: Path, market: VendorMarket) -> None:
    market.bars.to_csv(folder / "prices.csv", index=False, header=False)


def five_minute_bars(folder: Path, market: VendorMarket) -> None:
    write_stooq(folder, market)
    for file in folder.rglob("*.txt"):
        file.write_text(file.read_text().replace(",D,", ",5,"))


def day_or_month(folder: Path, market: VendorMarket) -> None:
    """Days 1 to 5 of months 1 to 5 alone: 03/04 may be March or April."""
    few = market.bars[(market.bars["date"].dt.day <= 5) & (market.bars["date"].dt.month <= 5)]
    few = few[(few["date"].dt.day >= 2) & (few["date"] >= "2018-02-01")].head(3)
    long(folder, few.assign(date=["02/05/2018", "03/05/2018", "04/05/2018"]))


WRONG = [
    (
        mixed_dates,
        "prices.csv",
        "'date'",
        "mixed dates: '.*' and '.*'; write all of them as YYYY-MM-DD",
    ),
    (total_row, "prices.csv", "'date'", "'Total' among dates; remove the rows that are not daily bars"),
    (total_symbol, "prices.csv", "'symbol'", "holds 'Total'; remove the totals"),
    (two_currencies, "prices.csv", "'currency'", "holds 'EUR' .*, not USD; convert the prices to USD"),
    (euro_signs, "prices.csv", "'close'", "holds '€.*': prices are read in USD; convert them"),
    (returns, "prices.csv", "'close'", "holds returns, not closes .*; name the column of closes"),
    (gross_returns, "prices.csv", "'close'", "holds returns, not closes .*; name the column of closes"),
    (high_and_low_swapped, "prices.csv", "'high' and 'low'", "are swapped: the high is below the low; swap them"),
    (close_and_volume_swapped, "prices.csv", "'close' and 'volume'", "are swapped.*; swap them"),
    (
        one_symbol_twice,
        "prices.csv",
        "'symbol', 'date', 'close'",
        "two different bars of BAN on 2018-01-02.*; keep the right one",
    ),
    (one_symbol_in_two_files, "bal.csv", "two files of BAL", "BAL.csv and .*bal.csv; keep one of them"),
    (one_symbol_in_two_columns, "closes.csv", "'BAL'", "2 times; keep one of them"),
    (a_day_early, "prices.csv", "'date'", "dated one day early: .*; give each bar the date of its session"),
    (adjusted_beside_raw_files, "raw.csv", "adjusted.csv", "two closes, .*; keep one of the files"),
    (
        adjusted_beside_raw_names,
        "",
        "closes as traded beside adjusted ones",
        "split of .* is not; use files of one kind",
    ),
    (
        adjusted_close_beside_raw_range,
        "prices.csv",
        "'high', 'low', 'close'",
        "adjusted beside raw.*; name columns of one",
    ),
    (empty, "BAN.csv", "is empty", "download it again, or remove it"),
    (header_only, "prices.csv", "'close'", "no usable price in 0 rows"),
    (html, "BAN.csv", "is a web page, not a table", "download it again"),
    (workbook, "prices.csv", "an Excel workbook or a zip archive", "unpack it, or save the sheet as CSV"),
    (no_header, "prices.csv", "has no header row", "add one with the column names"),
    (five_minute_bars, "", "'<PER>'", "holds '5' .*, not D; get daily bars"),
    (day_or_month, "prices.csv", "'date'", "may be %m/%d/%Y or %d/%m/%Y; set date_format"),
]


@pytest.mark.parametrize(("write", "file", "column", "way_out"), WRONG, ids=[row[0].__name__ for row in WRONG])
def test_it_is_refused_in_one_line_and_nothing_is_written(tmp_path, market, write, file, column, way_out):
    (tmp_path / "data").mkdir()
    desk = tmp_path / "desk"
    succeed(openbook("new", desk))
    write(tmp_path / "data", market)
    before = sorted(desk.rglob("*"))
    said = openbook("--desk", desk, "data", "check", tmp_path / "data", "--write", "params/mine")
    assert said.code == 30
    assert said.err.count("\n") == 1
    assert str(tmp_path / "data") in said.err or file in said.err
    assert file in said.err
    assert column in said.err
    assert re.search(way_out, said.err)
    assert sorted(desk.rglob("*")) == before
