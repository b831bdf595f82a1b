"""How a market is laid out in the store: long bars by calendar year, and one table for each of the rest."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa

from openbook.market.tables import Market, adjust, wide

DAY = "datetime64[D]"


def to_tables(market: Market, refused: pd.DataFrame) -> Iterator[tuple[str, pa.Table]]:
    """The tables to store, by name. What a table holds depends on its own rows only, never on later ones."""
    for year in market.dates.year.unique():
        yield f"bars-{year}", _bars_of(market, market.dates.year == year)
    frames = {"actions": market.actions, "refused": refused, "fundamentals": market.fundamentals}
    frames["sectors"] = (
        None if market.sectors is None else market.sectors.rename_axis("symbol").reset_index(name="sector")
    )
    frames["members"] = None if market.members is None else _spells(market.members)
    frames["index"] = None if market.index is None else market.index.rename_axis("date").reset_index(name="close")
    for name, frame in frames.items():
        if frame is not None:
            yield name, pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)


def from_tables(tables: dict[str, pa.Table], dates: pd.DatetimeIndex, fields: list[str], description: dict) -> Market:
    """The market of these sessions.

    tables : as `to_tables` made them, bars of the years needed
    fields : the bar fields, and market_cap if there is one
    description : name, execution, notes and the name of the index
    """
    bars = [table for name, table in tables.items() if name.startswith("bars-")]
    symbols, values = _pivot(bars, dates, fields)
    closes = wide(values.pop("close"), dates, symbols)
    actions = _known(tables["actions"], "date", dates, symbols)
    members, sectors = tables.get("members"), tables.get("sectors")
    index = tables.get("index")
    return Market(
        close=closes,
        adjusted=adjust(closes, actions),
        **{field: wide(array, dates, symbols) for field, array in values.items()},
        name=description["name"],
        execution=description["execution"],
        notes=tuple(description["notes"]),
        actions=actions,
        fundamentals=_known(tables["fundamentals"], "available", dates, symbols) if "fundamentals" in tables else None,
        sectors=None if sectors is None else _sectors(sectors, symbols),
        members=None if members is None else _unspell(members, dates, symbols),
        index=None if index is None else _index(index, dates, description["index"]),
    )


def _bars_of(market: Market, chosen: np.ndarray) -> pa.Table:
    """The bars of the chosen sessions, one row each, by date, then symbol; a row may hold a market cap alone."""
    tables = {field: getattr(market, field).to_numpy()[chosen] for field in market.bar_fields}
    if market.market_cap is not None:
        tables["market_cap"] = market.market_cap.to_numpy()[chosen]
    filled = ~np.isnan(tables["close"]) | ~np.isnan(tables.get("market_cap", np.nan))
    row, column = np.nonzero(filled)
    present, code = np.unique(column, return_inverse=True)
    names = pa.array(market.symbols[present].to_numpy(object), pa.string())
    columns = {
        "date": pa.array(market.dates[chosen].to_numpy().astype(DAY)[row], pa.date32()),
        "symbol": pa.DictionaryArray.from_arrays(pa.array(code, pa.int32()), names),
    }
    return pa.table(columns | {field: pa.array(values[filled]) for field, values in tables.items()})


def _pivot(bars: list[pa.Table], dates: pd.DatetimeIndex, fields: list[str]) -> tuple[pd.Index, dict[str, np.ndarray]]:
    """Symbols with a bar, and each field as sessions × symbols; rows of other sessions and symbols are left out."""
    days = dates.to_numpy().astype(DAY)
    parts = []
    for table in bars:
        day = table["date"].to_numpy().astype(DAY)
        n = int(np.searchsorted(day, days[-1], side="right"))
        symbol = table["symbol"].combine_chunks()
        names, code = np.array(symbol.dictionary.to_pylist(), dtype=object), symbol.indices.to_numpy()[:n]
        parts.append((table.slice(0, n), np.searchsorted(days, day[:n]), names, code))
    listed = {name for table, _, names, code in parts for name in names[_used(code, table["close"].to_numpy())]}
    symbols = pd.Index(sorted(listed), dtype="str", name="symbol")
    out = {field: np.full((len(dates), len(symbols)), np.nan) for field in fields}
    for table, row, names, code in parts:
        column = symbols.get_indexer(names)[code]
        known = slice(None) if (column >= 0).all() else column >= 0
        cell = (row * len(symbols) + column)[known]
        for field in fields:
            out[field].ravel()[cell] = table[field].to_numpy()[known]
    return symbols, out


def _used(code: np.ndarray, close: np.ndarray) -> np.ndarray:
    """The codes that have a close somewhere."""
    return np.unique(code[~np.isnan(close)])


def _known(table: pa.Table, since: str, dates: pd.DatetimeIndex, symbols: pd.Index) -> pd.DataFrame:
    """The rows of these symbols that are known at the last session."""
    frame = table.to_pandas()
    text = [name for name, kind in zip(table.column_names, table.schema.types, strict=True) if _is_text(kind)]
    frame = frame.astype(dict.fromkeys(text, "str"))
    return frame[(frame[since] <= dates[-1]) & frame["symbol"].isin(symbols)].reset_index(drop=True)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def refused_until(table: pa.Table, last: pd.Timestamp) -> pd.DataFrame:
    """What the door refused up to the session `last`."""
    frame = table.to_pandas().astype(dict.fromkeys(("symbol", "rule", "detail"), "str"))
    return frame[frame["date"] <= last].reset_index(drop=True)


def _sectors(table: pa.Table, symbols: pd.Index) -> pd.Series:
    frame = table.to_pandas()
    index = pd.Index(frame["symbol"], dtype="str", name="symbol")
    sectors = pd.Series(frame["sector"].to_numpy(object), index=index, name="sector", dtype="str")
    return sectors[sectors.index.isin(symbols)]


def _index(table: pa.Table, dates: pd.DatetimeIndex, name: str | None) -> pd.Series:
    frame = table.to_pandas()
    return frame.set_index("date")["close"].rename(name).loc[: dates[-1]]


def _spells(members: pd.DataFrame) -> pd.DataFrame:
    """Unbroken spells of membership: symbol, first and last session of each."""
    inside = np.pad(members.to_numpy().astype(np.int8), ((1, 1), (0, 0)))
    change = np.diff(inside, axis=0).T
    column, first = np.nonzero(change == 1)
    _, after = np.nonzero(change == -1)
    return pd.DataFrame(
        {"symbol": members.columns[column], "first": members.index[first], "last": members.index[after - 1]}
    )


def _unspell(table: pa.Table, dates: pd.DatetimeIndex, symbols: pd.Index) -> pd.DataFrame:
    """Spells as sessions × symbols again."""
    spells = table.to_pandas()
    spells = spells[spells["symbol"].isin(symbols) & (spells["first"] <= dates[-1])]
    change = np.zeros((len(dates) + 1, len(symbols)), dtype=np.int32)
    column = symbols.get_indexer(spells["symbol"])
    np.add.at(change, (dates.searchsorted(spells["first"]), column), 1)
    np.add.at(change, (dates.searchsorted(spells["last"], side="right"), column), -1)
    return wide(change[:-1].cumsum(axis=0) > 0, dates, symbols)
