"""Bars as one row per symbol and session, whatever way a vendor's files are laid out."""

import re
from typing import cast

import pandas as pd

from openbook.common.errors import DataError
from openbook.market.sources.headers import TwoRows, names_of, plain, two_header_rows, two_rows
from openbook.market.sources.reading import (
    PARQUET,
    SUFFIXES,
    Notation,
    column_names,
    first_rows,
    read_body,
    read_file,
    read_table,
    shown,
    typed,
)

SYMBOL = "{symbol}"


def read_per_symbol(
    files: list[str], columns: dict[str, str], notation: Notation, symbol_format: str | None
) -> pd.DataFrame:
    """One file a symbol: the symbol is in the file's name, in capitals.

    symbol_format : such as "{symbol}.us.txt"; None: the name without its suffix

    Raises DataError for a name that does not fit, and for two files of one symbol.
    """
    symbols = [symbol_of(file, symbol_format) for file in files]
    by_symbol: dict[str, str] = {}
    for file, symbol in zip(files, symbols, strict=True):
        if symbol in by_symbol:
            raise DataError(f"two files of {symbol}: {shown(by_symbol[symbol])} and {shown(file)}; keep one of them")
        by_symbol[symbol] = file
    parts = [
        typed(read_file(file, columns, notation.decimal), columns, shown(file), notation).assign(symbol=symbol)
        for symbol, file in by_symbol.items()
    ]
    return pd.concat(parts, ignore_index=True).astype({"symbol": "str"})


def symbol_of(file: str, symbol_format: str | None) -> str:
    """The symbol in a file's name."""
    name = shown(file).rsplit("/", 1)[-1]
    if symbol_format is not None:
        return unwrapped(name, symbol_format, f"file {shown(file)}").upper()
    suffix = next(suffix for suffix in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(suffix))
    return name[: -len(suffix)].strip().upper()


def unwrapped(text: str, symbol_format: str, where: str) -> str:
    """The symbol in a text of that format, in which `{symbol}` stands for it; DataError if the text is another."""
    before, after = (re.escape(part) for part in symbol_format.split(SYMBOL))
    match = re.fullmatch(f"(?i){before}(.+?){after}", text)
    if match is None:
        raise DataError(f"{where}: {text!r} is not like {symbol_format}; correct symbol_format, or remove it")
    return match[1].strip()


def read_wide(paths: list[str], names: dict[str, str], date: str, notation: Notation) -> pd.DataFrame:
    """sessions × symbols tables, one file of closes or one per field.

    names : our field → the name of its file, without suffix, where they differ; date : the column of dates
    """
    files = {stem(file): file for file in paths}
    found = {field: files[name] for field, name in names.items() if name in files}
    if len(paths) == 1:
        found = {"close": paths[0]}
    if "close" not in found:
        raise DataError(f"no file of closes among {', '.join(sorted(files))}; name it in `columns`")
    return pd.concat([_melt(file, field, date, notation) for field, file in found.items()], axis=1).reset_index()


def _melt(file: str, field: str, date: str, notation: Notation) -> pd.Series:
    """One wide file as values by (date, symbol), empty cells left out."""
    columns = {"date": date} | {f"={name}": name for name in column_names(file) if name != date}
    wide = read_table(file, columns, notation=notation).set_index("date")
    wide.columns = pd.Index([name[1:].strip() for name in wide.columns], dtype="str", name="symbol")
    if not wide.columns.is_unique:
        twice = wide.columns[wide.columns.duplicated()][0]
        raise DataError(f"{shown(file)} has two columns {twice}, with and without blanks; keep one of them")
    if not wide.index.is_unique:
        raise DataError(f"{shown(file)} has {wide.index[wide.index.duplicated()][0]:%Y-%m-%d} twice")
    return cast(pd.Series, wide.stack()).rename(field)


def stem(file: str) -> str:
    """File name without its suffixes."""
    return shown(file).rsplit("/", 1)[-1].split(".")[0]


def read_two_headers(files: list[str], columns: dict[str, str], notation: Notation) -> pd.DataFrame:
    """Files with two header rows, of fields and of symbols, as pandas writes them; dates in the first column.

    columns : our field → the field as the header has it
    """
    parts = [_of_two_headers(file, columns, notation) for file in files]
    return pd.concat(parts, ignore_index=True)


def _of_two_headers(file: str, columns: dict[str, str], notation: Notation) -> pd.DataFrame:
    """One such file, long; rows in which a symbol has nothing are left out."""
    is_parquet = file.lower().endswith(PARQUET)
    header = two_rows(names_of(file)) if is_parquet else two_header_rows(first_rows(file, 5))
    if header is None:
        raise DataError(f"{shown(file)} has no two header rows of fields and symbols; correct `layout`")
    cells = {"date": 0} | _cells(file, header, columns)
    if is_parquet:
        named = names_of(file)
        table = read_file(file, {key: named[place] for key, place in cells.items()}, notation.decimal)
    else:
        names = [str(place) for place in range(len(header.fields))]
        table = read_body(file, names, {k: str(place) for k, place in cells.items()}, header.n_rows, notation.decimal)
    table = typed(table, {"date": "date"}, shown(file), notation).set_index("date")
    if not table.index.is_unique:
        raise DataError(f"{shown(file)} has {table.index[table.index.duplicated()][0]:%Y-%m-%d} twice")
    table.columns = pd.MultiIndex.from_tuples([tuple(str(key).split("=", 1)) for key in table], names=[None, "symbol"])
    long = cast(pd.DataFrame, table.stack(level="symbol", future_stack=True)).reset_index()
    return long.dropna(subset=[name for name in long if name not in ("date", "symbol")], how="all")


def _cells(file: str, header: TwoRows, columns: dict[str, str]) -> dict[str, int]:
    """`field=symbol` → position of its column; DataError for a missing field, and for a pair that is there twice."""
    ours = {plain(theirs): field for field, theirs in columns.items() if field not in ("date", "symbol")}
    lacking = sorted(set(ours) - {plain(name) for name in header.fields})
    if lacking:
        raise DataError(f"{shown(file)} has no field {columns[ours[lacking[0]]]!r} in its header; correct `columns`")
    cells: dict[str, int] = {}
    for place, (field, symbol) in enumerate(zip(header.fields, header.symbols, strict=True)):
        if place == 0 or plain(field) not in ours:
            continue
        key = f"{ours[plain(field)]}={symbol.strip()}"
        if key in cells:
            raise DataError(f"{shown(file)} has {field} of {symbol} twice; keep one of the columns")
        cells[key] = place
    return cells
