"""How a market is laid out in the store: long bars by calendar year, and one table for each of the rest."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from openbook.common.frames import places_in
from openbook.market.restatements import WIDE_TABLES, in_order, put_index, put_rows, restated_rows
from openbook.market.rewrites import Grid, in_key_order, packed, put_in_turn, rewrite_rows, spelled_out
from openbook.market.store.merge import Delta, wide_tables
from openbook.market.tables import (
    ACTION_COLUMNS,
    FILING_KEY,
    FUNDAMENTAL_COLUMNS,
    REFUSED_COLUMNS,
    SPELL_COLUMNS,
    Market,
    adjust,
    empty_actions,
    sector_rows,
    sectors_of,
    wide,
)

DAY = "datetime64[D]"
SORTED_BY = {
    "actions": ACTION_COLUMNS,
    "fundamentals": FILING_KEY,
    "sectors": ["symbol"],
    "sector_spells": SPELL_COLUMNS,
}

# The column with the session from which a row of a table counts.
SINCE = {
    "actions": "date",
    "fundamentals": "available",
    "index": "date",
    "members": "first",
    "restated": "known",
    "sector_spells": "start",
}


def _without_rows(*columns: str) -> pd.DataFrame:
    """A table without a row: days, numbers, and text."""
    days, numbers = ("date", "known", "available", "period_end", "first", "last", "start"), ("value", "close")
    types = {name: "datetime64[us]" if name in days else "float64" if name in numbers else "str" for name in columns}
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in types.items()})


# The long tables as they are where nothing was stored.
EMPTY = {
    "actions": empty_actions(),
    "fundamentals": _without_rows(*FUNDAMENTAL_COLUMNS),
    "sectors": _without_rows("symbol", "sector"),
    "sector_spells": _without_rows(*SPELL_COLUMNS),
    "members": _without_rows("symbol", "first", "last"),
    "index": _without_rows("date", "close"),
    "refused": _without_rows(*REFUSED_COLUMNS, "known"),
    "restated": restated_rows(),
    "rewritten": rewrite_rows(),
}


def to_tables(delta: Delta) -> dict[str, pa.Table]:
    """The tables to store, by name, those without a row left out. A row depends on itself only, never on later ones."""
    market = delta.plain
    tables = {f"bars-{year}": _bars_of(market, market.dates.year == year) for year in market.dates.year.unique()}
    frames = {"actions": market.actions, "fundamentals": market.fundamentals, "members": delta.spells}
    frames |= {"restated": delta.restated, "refused": delta.refused}
    undated = None if market.sector_spells is not None else market.sectors
    frames["sectors"] = None if undated is None else sector_rows(undated)
    frames["sector_spells"] = market.sector_spells
    frames["index"] = None if market.index is None else market.index.rename_axis("date").reset_index(name="close")
    tables |= {name: table_of(frame) for name, frame in frames.items() if frame is not None}
    return {name: table for name, table in tables.items() if table.num_rows}


def table_of(frame: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)


def from_tables(
    tables: dict[str, pa.Table], dates: pd.DatetimeIndex, description: dict, *, known=None, names=()
) -> Market:
    """The market of these sessions.

    tables : as `stacked` or `fold` made them, bars of the years needed
    description : the manifest: fields, optional tables, name, execution, notes and the name of the index
    known : session; restatements known by its close are applied to the first delivery (None: all)
    names : symbols that the market has even without a bar
    """
    restated = frame_of(tables, "restated")
    restated = in_order(restated if known is None else restated[restated["known"] <= known])
    wanted = restated[~(restated["date"] > dates[-1])] if len(dates) else restated[:0]
    rewrites = _rewrites(tables, dates, known)
    bars = [table for name, table in tables.items() if name.startswith("bars-")]
    symbols, values = _pivot(bars, dates, description["fields"], {*names, *late_names(wanted, dates)})
    in_bars, grid = wanted["table"].isin(WIDE_TABLES), Grid(dates, symbols)
    for field, array in values.items():
        cells = wanted[in_bars & (wanted["field"] == field)]
        put_in_turn(array, cells, rewrites[rewrites["field"] == field], "after", grid)
    closes = wide(values.pop("close"), dates, symbols)
    long = {name: _long(tables, name, wanted, dates, symbols) for name in SORTED_BY if name in description["tables"]}
    index = put_index(frame_of(tables, "index").set_index("date")["close"], wanted, "after")
    return Market(
        close=closes,
        adjusted=adjust(closes, long["actions"]),
        **{field: wide(array, dates, symbols) for field, array in values.items()},
        name=description["name"],
        execution=description["execution"],
        notes=tuple(description["notes"]),
        actions=long["actions"],
        fundamentals=long.get("fundamentals"),
        sectors=sectors_of(long["sectors"]) if "sectors" in long else None,
        sector_spells=long.get("sector_spells"),
        members=_unspell(frame_of(tables, "members"), dates, symbols) if "members" in description["tables"] else None,
        index=index.rename(description["index"]).loc[: dates[-1]] if "index" in description["tables"] else None,
        restated=_of_market(wanted, dates, symbols),
        rewritten=rewrites[rewrites["symbol"].isin(symbols)].reset_index(drop=True) if len(rewrites) else None,
    )


def _rewrites(tables: dict[str, pa.Table], dates: pd.DatetimeIndex, known) -> pd.DataFrame:
    """The rewrites known then that reach into these sessions, oldest first."""
    rows = frame_of(tables, "rewritten")
    if rows.empty or dates.empty:
        return EMPTY["rewritten"]
    rows = rows if known is None else rows[rows["known"] <= known]
    return in_key_order(rows[(rows["first"] <= dates[-1]) & (rows["last"] >= dates[0])])


def pack(tables: dict[str, pa.Table]) -> dict[str, pa.Table]:
    """The tables with the restated rows of whole histories that were multiplied by one factor as one row each."""
    if "restated" not in tables:
        return tables
    rows, rewrites = packed(frame_of(tables, "restated"))
    if rewrites.empty:
        return tables
    rewrites = in_key_order(pd.concat([frame_of(tables, "rewritten"), rewrites], ignore_index=True))
    return _with(tables, rows, rewrites)


def unpack(tables: dict[str, pa.Table], market: Market, since: pd.Timestamp | None) -> dict[str, pa.Table]:
    """The tables with the rewrites known after the close of `since`, or all of them, cell by cell.

    market : what is known after all of them, with every session and name
    """
    rows, rewrites = (frame_of(tables, name) for name in ("restated", "rewritten"))
    since = pd.Timestamp.min if since is None else since
    later = rewrites["known"] > since
    if not later.any():
        return tables
    cells = spelled_out(wide_tables(market), rows[rows["known"] > since], in_key_order(rewrites[later]))
    return _with(tables, in_order(pd.concat([rows, cells], ignore_index=True)), rewrites[~later])


def _with(tables: dict[str, pa.Table], rows: pd.DataFrame, rewrites: pd.DataFrame) -> dict[str, pa.Table]:
    """The tables with these restated rows and rewrites; what has no row is left out."""
    frames = {"restated": rows.reset_index(drop=True), "rewritten": rewrites.reset_index(drop=True)}
    rest = {name: table for name, table in tables.items() if name not in frames}
    return rest | {name: table_of(frame) for name, frame in frames.items() if len(frame)}


def _of_market(restated: pd.DataFrame, dates: pd.DatetimeIndex, symbols: pd.Index) -> pd.DataFrame:
    """The rows about these names, and, of cells, about these sessions."""
    cells = restated["table"].isin(WIDE_TABLES) & ~restated["date"].isin(dates)
    ours = restated["symbol"].isin(symbols) | (restated["table"] == "index")
    return restated[ours & ~cells].reset_index(drop=True)


def late_names(restated: pd.DataFrame, dates: pd.DatetimeIndex | None = None) -> set[str]:
    """Names that have a late bar, on one of these sessions if they are given."""
    late = (restated["table"] == "bars") & (restated["field"] == "close") & restated["before"].isna()
    return set(restated.loc[late if dates is None else late & restated["date"].isin(dates), "symbol"])


def frame_of(tables: dict[str, pa.Table], name: str) -> pd.DataFrame:
    """One of the long tables, text as str; without rows where it was not stored."""
    if name not in tables:
        return EMPTY[name]
    frame = tables[name].to_pandas()
    if name == "refused" and "known" not in frame:  # a store of the first format
        frame["known"] = frame["date"]
    return frame.astype(dict(EMPTY[name].dtypes))


def _long(tables, name: str, restated: pd.DataFrame, dates: pd.DatetimeIndex, symbols: pd.Index) -> pd.DataFrame:
    """Actions, reports or sectors of these symbols as known at the last session."""
    frame = put_rows(name, frame_of(tables, name), restated, "after")
    known = places_in(symbols, frame["symbol"]) >= 0
    if name in SINCE:
        known &= ~(frame[SINCE[name]] > dates[-1])
    frame = frame[known].reset_index(drop=True)
    whole = name in tables and tables[name]["symbol"].num_chunks == 1  # each file is in order
    if whole and not (restated["table"] == name).any():
        return frame
    return frame.sort_values(SORTED_BY[name], na_position="first", ignore_index=True)


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


def _pivot(
    bars: list[pa.Table], dates: pd.DatetimeIndex, fields: list[str], late: set[str]
) -> tuple[pd.Index, dict[str, np.ndarray]]:
    """Symbols with a bar, and each field as sessions × symbols; rows of other sessions and symbols are left out."""
    days = dates.to_numpy().astype(DAY)
    parts = []
    for table in bars:
        day = table["date"].to_numpy().astype(DAY)
        first, end = int(np.searchsorted(day, days[0])), int(np.searchsorted(day, days[-1], side="right"))
        names, code = _coded(table)
        parts.append((table.slice(first, end - first), np.searchsorted(days, day[first:end]), names, code[first:end]))
    listed = late | {name for table, _, names, code in parts for name in names[_used(code, table["close"].to_numpy())]}
    symbols = pd.Index(sorted(listed), dtype="str", name="symbol")
    out = {field: np.full((len(dates), len(symbols)), np.nan) for field in fields}
    for table, row, names, code in parts:
        column = places_in(symbols, names)[code]
        known = slice(None) if (column >= 0).all() else column >= 0
        cell = (row * len(symbols) + column)[known]
        for field in fields:
            out[field].ravel()[cell] = table[field].to_numpy()[known]
    return symbols, out


def _used(code: np.ndarray, close: np.ndarray) -> np.ndarray:
    """The codes that have a close somewhere."""
    return np.unique(code[~np.isnan(close)])


def _coded(bars: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Names, and each row's place among them."""
    symbol = bars["symbol"].unify_dictionaries().combine_chunks() if bars.num_rows else bars["symbol"].combine_chunks()
    return np.array(symbol.dictionary.to_pylist(), dtype=object), symbol.indices.to_numpy()


def refused_until(tables: dict[str, pa.Table], last: pd.Timestamp, known) -> pd.DataFrame:
    """What ingest had refused at the close of `known` (None: up to now), up to the session `last`."""
    frame = frame_of(tables, "refused")
    seen = (frame["date"] <= last) & (True if known is None else frame["known"] <= known)
    return frame.loc[seen, REFUSED_COLUMNS].drop_duplicates().sort_values(REFUSED_COLUMNS, ignore_index=True)


def stacked(parts: list[dict[str, pa.Table]]) -> dict[str, pa.Table]:
    """The tables of several updates side by side, in their order, as `from_tables` reads them."""
    out: dict[str, pa.Table] = {}
    for i, part in enumerate(parts):
        out |= {f"{name}/{i}": table for name, table in part.items() if name.startswith("bars-")}
    names = sorted({name for part in parts for name in part if not name.startswith("bars-")})
    return out | {name: pa.concat_tables([part[name] for part in parts if name in part]) for name in names}


def fold(parts: list[dict[str, pa.Table]], sessions: pd.DatetimeIndex) -> dict[str, pa.Table]:
    """The tables of several updates in one, the same bytes as if all had come in one."""
    names = sorted({name for part in parts for name in part})
    several = {name: [part[name] for part in parts if name in part] for name in names}
    return {
        name: tables[0] if len(tables) == 1 else _joined(name, tables, sessions) for name, tables in several.items()
    }


def _joined(name: str, tables: list[pa.Table], sessions: pd.DatetimeIndex) -> pa.Table:
    if name.startswith("bars-"):
        return _joined_bars(tables)
    frame = pd.concat([frame_of({name: table}, name) for table in tables], ignore_index=True)
    if name == "members":
        return table_of(_joined_spells(frame, sessions))
    frame = frame.drop_duplicates() if name == "refused" else frame
    if name == "rewritten":
        return table_of(in_key_order(frame))
    order = SORTED_BY.get(name) or list(frame.columns)
    return table_of(frame.sort_values(order, na_position="first", ignore_index=True))


def _joined_bars(tables: list[pa.Table]) -> pa.Table:
    """Bars of one year from several updates, each of later sessions than the one before."""
    both = pa.concat_tables(tables)
    names, code = _coded(both)
    present, code = np.unique(code, return_inverse=True)
    order = np.argsort(names[present])
    place = np.empty(len(order), dtype=np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    coded = pa.DictionaryArray.from_arrays(pa.array(place[code]), pa.array(names[present][order], pa.string()))
    columns = {name: both[name].combine_chunks() for name in both.column_names} | {"symbol": coded}
    joined = pa.table(columns)
    day = joined["date"].to_numpy().astype(DAY).astype(np.int64)
    return joined.take(pa.array(np.lexsort((place[code], day))))


def _joined_spells(spells: pd.DataFrame, sessions: pd.DatetimeIndex) -> pd.DataFrame:
    """Merge spells if one begins on the session after another has ended."""
    spells = spells.sort_values(["symbol", "first"], ignore_index=True)
    ends = places_in(sessions, spells["last"].shift(fill_value=sessions[0]))
    begins = (spells["symbol"] != spells["symbol"].shift()) | (places_in(sessions, spells["first"]) != ends + 1)
    joined = spells.groupby(begins.cumsum()).agg({"symbol": "first", "first": "first", "last": "last"})
    return joined.reset_index(drop=True).astype(dict(EMPTY["members"].dtypes))


def after_session(tables: dict[str, pa.Table], closed: pd.Timestamp, listed: pd.Index) -> dict[str, pa.Table]:
    """What is first known after the session `closed`: later rows, all rows of names not `listed`, and all bars."""
    out = {}
    for name, table in tables.items():
        if name.startswith("bars-"):
            out[name] = table
            continue
        frame = frame_of(tables, name)
        if name in SORTED_BY:
            young = ~frame["symbol"].isin(listed)
            frame = frame[young | (frame[SINCE[name]] > closed)] if name in SINCE else frame[young]
        elif name in ("index", "restated"):
            frame = frame[frame[SINCE[name]] > closed]
        out[name] = table_of(frame.reset_index(drop=True))
    return out


def before_session(
    tables: dict[str, pa.Table], session: pd.Timestamp, sessions: pd.DatetimeIndex, unlisted: set[str]
) -> dict[str, pa.Table]:
    """The tables of an update without its session `session`, the last one, and without the names listed by that alone.

    A row of a weekend counts with the session after it, and goes with that one. The update's restatements of earlier
    sessions, and what ingest refused, stay.
    """
    out, last = {}, pa.scalar(session.to_pydatetime().date())
    before = sessions[sessions < session].max()
    for name, table in tables.items():
        if name.startswith("bars-"):
            out[name] = table.filter(pc.less(table["date"], last))
            continue
        frame = frame_of(tables, name)
        if "symbol" in frame and name not in ("refused", "restated", "rewritten"):
            frame = frame[~frame["symbol"].isin(unlisted)]
        if name in SINCE and name != "restated":
            frame = frame[~(frame[SINCE[name]] > before)]
        if name == "members":
            frame = frame.assign(last=frame["last"].clip(upper=before))  # type: ignore[call-overload]
        out[name] = table_of(frame.reset_index(drop=True))
    return {name: table for name, table in out.items() if table.num_rows}


def spells_of(members: pd.DataFrame) -> pd.DataFrame:
    """Unbroken spells of membership: symbol, first and last session of each."""
    inside = np.pad(members.to_numpy().astype(np.int8), ((1, 1), (0, 0)))
    change = np.diff(inside, axis=0).T
    column, first = np.nonzero(change == 1)
    _, after = np.nonzero(change == -1)
    return pd.DataFrame(
        {"symbol": members.columns[column], "first": members.index[first], "last": members.index[after - 1]}
    )


def _unspell(spells: pd.DataFrame, dates: pd.DatetimeIndex, symbols: pd.Index) -> pd.DataFrame:
    """Spells as sessions × symbols again."""
    spells = spells[spells["symbol"].isin(symbols) & (spells["first"] <= dates[-1]) & (spells["last"] >= dates[0])]
    change = np.zeros((len(dates) + 1, len(symbols)), dtype=np.int32)
    column = places_in(symbols, spells["symbol"])
    np.add.at(change, (dates.searchsorted(spells["first"]), column), 1)
    np.add.at(change, (dates.searchsorted(spells["last"], side="right"), column), -1)
    return wide(change[:-1].cumsum(axis=0) > 0, dates, symbols)
