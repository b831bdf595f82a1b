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


def raw(market: VendorMarket) -> pd.DataFrame:
    """Bars of names that never split, so that nothing else is wrong with them."""
    split = market.actions.loc[market.actions["kind"] == "split", "symbol"]
    return market.bars[~market.bars["symbol"].isin(split)]


def weekly(folder: Path, market: VendorMarket) -> None:
    long(folder, market.bars[market.bars["date"].dt.day_of_week == 4])


def every_day(folder: Path, market: VendorMarket) -> None:
    """What trades on weekends too."""
    days = pd.DataFrame({"date": pd.date_range("2018-01-01", "2019-12-31")})
    parts = [days.assign(symbol=name, close=np.linspace(90, 110.12345, len(days))) for name in ("BTC-USD", "ETH-USD")]
    long(folder, pd.concat(parts))


def listed_abroad(folder: Path, market: VendorMarket) -> None:
    long(folder, market.bars.assign(symbol=market.bars["symbol"] + ".L"))


def fixed_point(folder: Path, market: VendorMarket) -> None:
    """Prices as whole numbers of 1e-9 USD."""
    long(
        folder,
        market.bars.assign(close=(market.bars["close"] * 1e9).round().astype("int64"))[["symbol", "date", "close"]],
    )


def copied(folder: Path, market: VendorMarket) -> None:
    write_yahoo_csv(folder, market)
    (folder / "BAL (1).csv").write_bytes((folder / "BAL.csv").read_bytes())


def a_file_a_year(folder: Path, market: VendorMarket) -> None:
    for (symbol, year), rows in market.bars.groupby(["symbol", market.bars["date"].dt.year]):
        rows.drop(columns="symbol").to_csv(folder / f"{symbol}_{year}.csv", index=False)


def two_spellings(folder: Path, market: VendorMarket) -> None:
    odd = (market.bars["symbol"] == "BAL") & (market.bars["date"] > "2019-01-01")
    long(folder, market.bars.assign(symbol=market.bars["symbol"].mask(odd, "bal")))


def ratios_upside_down(folder: Path, market: VendorMarket) -> None:
    told = market.actions[market.actions["kind"] == "split"]
    long(folder, market.bars)
    long(folder, told.assign(ratio=[f"1:{n:g}" for n in told["value"]])[["date", "symbol", "ratio"]], "splits.csv")


def a_factor_for_a_split(folder: Path, market: VendorMarket) -> None:
    whole = split_adjusted(market)
    long(folder, whole.assign(split_factor=(market.bars["close"] / whole["close"]).round(4) + 1))


def a_shifted_adjusted_close(folder: Path, market: VendorMarket) -> None:
    whole = split_adjusted(market)
    long(folder, whole.assign(adj_close=whole.groupby("symbol")["adj_close"].shift()))


def splits_that_nobody_took_out(folder: Path, market: VendorMarket) -> None:
    long(folder, market.bars[["symbol", "date", "close"]])


def two_headers_of_two_halves(folder: Path, market: VendorMarket) -> None:
    long(folder, market.bars[market.bars["symbol"] < "BE"], "a.csv")
    long(folder, market.bars[market.bars["symbol"] >= "BE"].rename(columns=str.title), "b.csv")


def dividends_in_two_files(folder: Path, market: VendorMarket) -> None:
    long(folder, raw(market))
    paid = market.actions[market.actions["kind"] == "dividend"][["date", "symbol", "value"]]
    long(folder, paid.head(9), "dividends_2018.csv")
    long(folder, paid.tail(9), "dividends_2019.csv")


def dividends_under_two_headers(folder: Path, market: VendorMarket) -> None:
    dividends_in_two_files(folder, market)
    later = folder / "dividends_2019.csv"
    later.write_text(later.read_text().replace("date,", "ex_date,", 1))


def signs_before_quotes(folder: Path, market: VendorMarket) -> None:
    """CRSP's PRC is minus the middle of bid and ask on a day without a trade."""
    days = market.bars["date"].dt.day_of_week == 2
    long(folder, market.bars.assign(close=market.bars["close"].where(~days, -market.bars["close"])))


def one_name(folder: Path, market: VendorMarket) -> None:
    long(folder, raw(market).query("symbol == 'BAN'").assign(close=lambda table: table["close"] + 0.001))


def an_index_among_stocks(folder: Path, market: VendorMarket) -> None:
    write_yahoo_csv(folder, market)
    (folder / "^GSPC.csv").write_bytes((folder / "BAL.csv").read_bytes())


WRONG = [
    (weekly, "prices.csv", "'date'", "bars of B.. are 7 days apart; get daily bars"),
    (every_day, "prices.csv", "'date'", "...-USD has bars on weekends, so it is no US stock"),
    (listed_abroad, "prices.csv", "BAL.L and 7 more", "listed outside the US; use US listings"),
    (fixed_point, "prices.csv", "'close'", "no price of a share in USD; name the closes"),
    (copied, "", "BAL (1)", "named by more than its ticker; rename it, or set symbol_format"),
    (a_file_a_year, "", "BAL_2018", "named by more than its ticker; rename it, or set symbol_format"),
    (two_spellings, "prices.csv", "'bal'|'BAL'", "in capitals and in small letters; write it in one way"),
    (ratios_upside_down, "prices.csv", "the split of BAL", "old shares per new .*; write new shares per old"),
    (a_factor_for_a_split, "prices.csv", "'split_factor'", "not splits on their days, .*; name another column"),
    (a_shifted_adjusted_close, "prices.csv", "'adj_close'", "a shifted column; name another column"),
    (splits_that_nobody_took_out, "prices.csv", "look like splits", "put a table of the splits .* beside the prices"),
    (two_headers_of_two_halves, "a.csv", "b.csv", "under two headers; write them with one header"),
    (dividends_in_two_files, "dividends_2018.csv", "in several files", "join them in one"),
    (dividends_under_two_headers, "dividends_2018.csv", "in several files", "join them in one"),
    (signs_before_quotes, "prices.csv", "'close'", "closes below zero .*; write them without it"),
    (one_name, "", "has 1 symbol", "ranks names against each other: at least 5"),
    (an_index_among_stocks, "", "^GSPC is an index", "move it out, or name it as `index`"),
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
    assert any(name in said.err for name in column.split("|"))
    assert re.search(way_out, said.err)
    assert sorted(desk.rglob("*")) == before
