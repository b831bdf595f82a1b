"""What the header of one file of prices tells: how it is laid out, and which column is which."""

import ast
import re
from typing import Literal, NamedTuple

import pandas as pd

from openbook.market.sources.reading import PARQUET, column_names, first_rows, number_columns, shown
from openbook.market.sources.text_dates import FORMATS, read_dates

Layout = Literal["long", "per_symbol", "wide", "two_headers"]
# What vendors call our fields, by letters and digits alone, in lower case; what is preferred first.
KNOWN_AS: dict[str, tuple[str, ...]] = {
    "symbol": ("symbol", "ticker", "sym", "tic", "code", "stock", "actsymbol", "name", "instrument", "security"),
    "date": ("date", "day", "datetime", "timestamp", "tradedate", "tradingday", "dtyyyymmdd", "windowstart", "datadate",
             "tsevent", "time", "dates", "datum", "t"),
    "open": ("open", "pxopen", "openprice", "priceopen", "openprc", "prcod", "o"),
    "high": ("high", "pxhigh", "highprice", "pricehigh", "askhi", "prchd", "h"),
    "low": ("low", "pxlow", "lowprice", "pricelow", "bidlo", "prcld", "l"),
    "close": ("close", "closelast", "pxlast", "closeprice", "closingprice", "priceclose", "schlusskurs", "last",
              "lastprice", "price", "prc", "prccd", "c"),
    "volume": ("volume", "vol", "pxvolume", "totalvolume", "sharevolume", "cshtrd", "v"),
    "market_cap": ("marketcap", "mktcap", "marketcapitalization"),
    "adjusted_close": ("adjclose", "adjustedclose", "closeadj", "closeadjusted", "adjcloseprice"),
    "unadjusted_close": ("closeunadj", "unadjustedclose", "closeunadjusted"),
    "split": ("split", "splits", "splitratio", "stocksplits", "splitfactor", "splitcoefficient"),
    "dividend": ("dividend", "dividends", "dividendamount", "divcash", "exdividend"),
    "currency": ("currency", "ccy", "curcdd", "currencycode", "curr", "unit", "priceunit"),
    "period": ("per", "period", "interval", "timeframe"),
}  # fmt: skip
# A table with one of these is of holdings or constituents, though it has a price.
_HOLDINGS = {"weight", "shares", "quantity", "marketvalue"}
_LETTERS = {"open": "o", "high": "h", "low": "l", "close": "c"}  # these mean prices only together
DATE_LIKE = 0.9  # of the first rows


class Header(NamedTuple):
    """layout : how the bars of the file are laid out; "" where it holds none
    columns : our field → their column; two header rows: our field → their field
    names : all columns as written; of two header rows, the fields
    n_rows : how many rows of the file are the header
    """

    layout: Layout | Literal[""]
    columns: dict[str, str]
    names: tuple[str, ...] = ()
    n_rows: int = 1


class TwoRows(NamedTuple):
    """Two header rows: by column, the field as written and the symbol; how many rows the header has."""

    fields: list[str]
    symbols: list[str]
    n_rows: int


def names_of(file: str) -> list[str]:
    """The columns of a parquet file, its dates first: pandas writes an index behind the columns."""
    names = column_names(file)
    is_behind = (
        len(names) > 1
        and plain(names[-1]) in ("indexlevel0", *KNOWN_AS["date"])
        and plain(names[0]) not in KNOWN_AS["date"]
    )
    return [names[-1], *names[:-1]] if is_behind else names


def plain(name: str) -> str:
    """Letters and digits of a name, in lower case: `<Adj Close>` is adjclose."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def find_columns(columns, known: dict[str, tuple[str, ...]], fields: tuple[str, ...]) -> dict[str, str]:
    """Our field → their column, for the fields that are there; the first of `known` is preferred."""
    by_name = {plain(name): name for name in reversed(columns)}
    out: dict[str, str] = {}
    for field in fields:
        match = next((by_name[plain(name)] for name in known[field] if plain(name) in by_name), None)
        if match is not None and match not in out.values():
            out[field] = match
    return out


def read_header(file: str) -> Header:
    """What one file holds; layout "" where nothing shows bars. DataError where it is no table at all."""
    is_parquet = file.lower().endswith(PARQUET)
    rows = [] if is_parquet else first_rows(file)
    two = two_rows(names_of(file)) if is_parquet else two_header_rows(rows)
    if two is not None:
        fields = tuple(dict.fromkeys(two.fields[1:]))
        return Header("two_headers", find_columns(fields, KNOWN_AS, tuple(KNOWN_AS)), fields, two.n_rows)
    names = tuple(names_of(file) if is_parquet else rows[0])
    found = _prices_in(names)
    is_held = not {"open", "high", "low"} & found.keys() and _HOLDINGS & {plain(name) for name in names}
    if {"date", "close"} <= found.keys() and not is_held:
        layout: Layout = "long" if "symbol" in found else "per_symbol"
        if len(names) <= 3 * len(found) or not _is_wide(file, names, rows):
            return Header(layout, found, names)
    return Header("wide", {"date": names[0]}, names) if _is_wide(file, names, rows) else Header("", {}, names)


def _prices_in(names: tuple[str, ...]) -> dict[str, str]:
    """Our field → their column, of a table of bars; C alone is Citigroup, not a close."""
    found = find_columns(names, KNOWN_AS, tuple(KNOWN_AS))
    if "close" not in found and "adjusted_close" in found:
        found["close"] = found.pop("adjusted_close")
    letters = {field for field, name in found.items() if len(plain(name)) == 1}
    if letters >= _LETTERS.keys():
        return found
    return {field: name for field, name in found.items() if field not in letters}


def _is_wide(file: str, names: tuple[str, ...], rows: list[list[str]]) -> bool:
    """Whether there is one column a symbol, behind a first column of dates."""
    if len(names) < 3 or plain(names[0]) not in ("", "index", "unnamed0", "indexlevel0", *KNOWN_AS["date"]):
        return False
    if not rows:
        return set(names[1:]) <= set(number_columns(file))
    first = pd.Series([row[0] for row in rows[1:] if row], dtype="str")
    others = [cell for row in rows[1:] for cell in row[1:] if cell.strip()]
    return bool(others) and _are_dates(first) and sum(map(_is_number, others)) > DATE_LIKE * len(others)


def two_header_rows(rows: list[list[str]]) -> TwoRows | None:
    """Fields above symbols, or symbols above fields, as pandas writes columns of two levels; None if it is not so.

    A third row names the index alone and is part of the header.
    """
    if len(rows) < 3 or len(rows[0]) != len(rows[1]) or len(rows[0]) < 2:
        return None
    fields, symbols = _told_apart(rows[0], rows[1])
    if not fields:
        return None
    names_index = len(rows[2]) == len(rows[0]) and not any(cell.strip() for cell in rows[2][1:])
    return TwoRows(fields, symbols, 3 if names_index else 2)


def two_rows(names: list[str]) -> TwoRows | None:
    """The same from the columns of a parquet file, which pandas calls "('Close', 'AAPL')"."""
    pairs = [_pair(name) for name in names]
    if sum(pair is not None for pair in pairs) < len(names) - 1 or len(names) < 2:
        return None
    upper, lower = ([pair[level] if pair else "" for pair in pairs] for level in (0, 1))
    fields, symbols = _told_apart(upper, lower)
    return TwoRows(fields, symbols, 0) if fields else None


def _told_apart(upper: list[str], lower: list[str]) -> tuple[list[str], list[str]]:
    """Which of two rows names fields and which symbols; empty lists if neither or both name fields."""
    is_field = [[plain(cell) in _FIELDS for cell in row[1:]] for row in (upper, lower)]
    all_fields = [all(row) for row in is_field]
    if all_fields == [True, False] and _are_names(lower[1:]):
        return upper, lower
    if all_fields == [False, True] and _are_names(upper[1:]):
        return lower, upper
    return [], []


def _are_names(cells: list[str]) -> bool:
    """Whether these cells can be symbols: none is empty, and most are no numbers."""
    return all(cell.strip() for cell in cells) and sum(map(_is_number, cells)) < len(cells) / 2


_FIELDS = {
    plain(name)
    for field in ("open", "high", "low", "close", "volume", "adjusted_close", "split", "dividend")
    for name in (*KNOWN_AS[field], "capitalgains", "repaired")
}


def _pair(name: str) -> tuple[str, str] | None:
    """The two levels that a parquet file has in one name."""
    if not name.startswith("("):
        return None
    try:
        levels = ast.literal_eval(name)
    except (ValueError, SyntaxError):
        return None
    return (str(levels[0]), str(levels[1])) if isinstance(levels, tuple) and len(levels) == 2 else None


def _are_dates(texts: pd.Series) -> bool:
    """Whether nearly all of these texts are dates of some kind."""
    return any(read_dates(texts, form).notna().mean() > DATE_LIKE for form in (None, *FORMATS, "epoch s"))


def _is_number(text: str) -> bool:
    """Whether a cell can be a number, with signs and marks of any kind."""
    return bool(re.fullmatch(r"[-+$]?[\d.,'\s]*\d[\d.,'\s]*([eE][-+]?\d+)?|N/?[aA]N?|null|-+", text.strip()))


def without_header(file: str) -> str:
    """A sentence where the first row of a file is a row of data; empty where it is a header."""
    first = [] if file.lower().endswith(PARQUET) else first_rows(file, 1)[0]
    if sum(map(_is_number, first)) < max(2, len(first) / 2):
        return ""
    return f"{shown(file)} has no header row (it begins with {', '.join(first[:4])}); add one with the column names"
