"""Vendor files: a folder, file or URL of parquet or CSV, with a map from our names to theirs."""

from typing import Literal, cast

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from openbook.common.desk_folder import inside
from openbook.common.errors import DataError
from openbook.common.settings import Settings
from openbook.market.adjustment_factors import AdjustedAs, derive_actions, unadjust, unadjust_splits
from openbook.market.securities import MASTER_COLUMNS, resolve, resolve_spells
from openbook.market.sources.attempt import Attempt
from openbook.market.sources.company_reports import FundamentalsTable, read_reports
from openbook.market.sources.edgar import EdgarTable, fetch_reports
from openbook.market.sources.headers import KNOWN_AS, Layout, plain, read_header
from openbook.market.sources.inferred_delistings import Endings, read_endings
from openbook.market.sources.layouts import read_per_symbol, read_two_headers, read_wide, unwrapped
from openbook.market.sources.liquid_universe import Liquid, liquid_members
from openbook.market.sources.presets import Preset, with_preset
from openbook.market.sources.reading import (
    Notation,
    SideTable,
    column_names,
    file_name,
    list_files,
    local_path,
    read_files,
    read_side,
    shown,
)
from openbook.market.sources.text_numbers import Decimal
from openbook.market.sparsity import require_filled
from openbook.market.tables import ACTION_COLUMNS, ACTION_KINDS, BAR_FIELDS, Delivery, empty_actions

BarField = Literal[
    "symbol", "date", "open", "high", "low", "close", "volume", "market_cap", "split", "dividend", "adjusted_close",
    "unadjusted_close", "currency", "period",
]  # fmt: skip
Prices = Literal["raw", "split_adjusted", "adjusted", "adjusted_with_actions"]
PRICE_FIELDS = ("open", "high", "low", "close")
PRICE_UNITS = {"USD": 1.0, "cents": 0.01}
VOLUME_UNITS = {"shares": 1.0, "thousands": 1e3, "millions": 1e6}
# What vendors call the columns that must not be applied to prices that are adjusted already.
_ACTIONS = {*KNOWN_AS["split"], *KNOWN_AS["dividend"]}
COUNT = r"(\d{1,9}(?:\.\d{1,9})?|\.\d{1,9})"
DAILY = ("D", "1D", "DAILY", "1DAY", "DAY")


class MembersTable(SideTable):
    """When a name was in the universe."""

    tickers: Literal["of_the_day", "latest"] = Field(
        "of_the_day", description="with `securities`: point-in-time tickers, or each company by its current symbol"
    )


class ActionsTable(SideTable):
    """Corporate actions of all kinds: columns date, symbol, kind, value."""

    kinds: dict[str, Literal["split", "dividend", "delisting"]] = Field(
        {}, description="their word → ours; rows with any other word are left out"
    )


class IndexTable(SideTable):
    """Closes of a market index."""

    symbol: str | None = Field(None, description="which one, if the file has several")


class FilesSource(Settings):
    """A vendor's files, as settings."""

    provider: Literal["files"] = "files"
    preset: Preset | None = Field(None, description="settings for the files of one vendor; what is given here counts")
    path: str = Field(min_length=1, description="file, folder or URL; parquet or CSV")
    prices: Prices = Field(
        description="raw: as traded; split_adjusted: past prices, and dividends with them, divided by later splits; "
        "adjusted: for splits and dividends; adjusted_with_actions: adjusted, with columns split and dividend from "
        "which prices as traded are recovered"
    )
    adjusted_as: AdjustedAs = Field(
        "today", description="how the column adjusted_close beside raw prices was made; see `factors.derive_actions`"
    )
    adjusted_tick: float = Field(0.01, ge=0, le=1, description="USD to which the vendor rounds adjusted_close")
    layout: Layout = Field(
        "long",
        description="long: one row per symbol and session; per_symbol: one file a symbol, named by it; wide: "
        "sessions × symbols, one file of closes or one per field; two_headers: a row of fields, one of symbols",
    )
    symbol_format: str | None = Field(
        None,
        pattern=r"^[^{}]*\{symbol\}[^{}]*$",
        description="how a symbol is written, {symbol}.US; with per_symbol: the file name, {symbol}.us.txt",
    )
    columns: dict[BarField, str] = Field({}, description="our column → theirs, where they differ")
    date_format: str | None = Field(
        None, description="strftime format of dates, or epoch s, ms, us, ns; default: ISO 8601"
    )
    decimal: Decimal | None = Field(None, description="decimal mark, point or comma; default: found in each file")
    price_unit: Literal["USD", "cents"] = "USD"
    volume_unit: Literal["shares", "thousands", "millions"] = "shares"
    rename: dict[str, str] = Field({}, description="their symbol → ours, in the bars, for example CASH → CASH.O")
    symbols: tuple[str, ...] | None = Field(None, description="a subset, by our symbols; default: all")
    name: str | None = Field(None, description="name shown on the pages; default: folder and file name")
    securities: SideTable | None = Field(
        None, description="columns id, ticker, start, end: which company had a ticker when; see `securities.resolve`"
    )
    sectors: SideTable | None = Field(None, description="columns symbol, sector; start too, where sectors are dated")
    members: MembersTable | None = Field(
        None, description="columns symbol, start, end: when a name was in the universe"
    )
    index: IndexTable | None = Field(None, description="columns date, close, and symbol if it holds several")
    actions: ActionsTable | None = Field(None, description="columns date, symbol, kind, value; see `tables.Delivery`")
    splits: SideTable | None = Field(None, description="columns date, symbol, ratio: new shares per old, 4 or 4:1")
    dividends: SideTable | None = Field(None, description="columns date, symbol, value: USD per share")
    fundamentals: FundamentalsTable | EdgarTable | None = Field(None, description="a table, or reports to the SEC")
    liquid: Liquid | None = Field(None, description="universe built from the bars, if there is no membership table")
    endings: Endings | None = Field(
        None, description="delistings inferred from where bars end, if no action records them"
    )

    @model_validator(mode="before")
    @classmethod
    def _by_preset(cls, values):
        return with_preset(values)

    @property
    def has_tables(self) -> bool:
        """Whether a table beside the bars tells actions."""
        return not (self.actions is None and self.splits is None and self.dividends is None)

    @property
    def carries_a_live_book(self) -> bool:
        """Whether shares stay right: prices are as traded, or the actions that make them so are there."""
        if self.prices == "split_adjusted":
            told = {"split", "unadjusted_close"} & self.columns.keys()
            return bool(told) or self.splits is not None or self.actions is not None
        return self.prices != "adjusted"

    @model_validator(mode="after")
    def _not_contradictory(self):
        if self.prices == "adjusted" and self.has_tables:
            raise ValueError("adjusted prices must not have actions, which would be applied twice")
        if self.members is not None and self.liquid is not None:
            raise ValueError("give members or liquid, not both")
        return self

    @model_validator(mode="after")
    def _actions_come_from_one_place(self):
        named = {"split", "dividend"} & self.columns.keys()
        if self.prices == "adjusted_with_actions" and (self.layout == "wide" or not named or self.has_tables):
            raise ValueError("adjusted_with_actions needs a column split or dividend, and no other actions")
        if "unadjusted_close" in self.columns and (self.prices != "split_adjusted" or "split" in named):
            raise ValueError("unadjusted_close belongs to prices: split_adjusted, without a column split")
        if "adjusted_close" in self.columns:
            if self.prices not in ("raw", "split_adjusted") or self.layout == "wide":
                raise ValueError("adjusted_close needs prices that are raw or split_adjusted, not a wide table")
            twice = named if self.prices == "raw" else named - {"split"}
            if twice or self.actions is not None or self.dividends is not None:
                raise ValueError(
                    "adjusted_close already contains the actions; remove split, dividend and the actions table"
                )
        return self


def fetch_files(source: FilesSource, *, attempt: Attempt | None = None) -> Delivery:
    """Read the bars and every table beside them; nothing is judged here but names and types.

    attempt : keeps the companies that the SEC has answered for, where reports come from there
    """
    bars, unused = _read_bars(source)
    bars = _in_our_terms(bars, source)
    master = None if source.securities is None else read_side(source.securities, tuple(MASTER_COLUMNS))
    bars, strangers = _of_companies(bars, master)
    bars = _subset(bars, source)
    _require_filled(bars, source)
    bars, actions, unexplained = _as_traded(source, bars, master)
    actions = _with_endings(source, bars, actions)
    market_cap = bars.pivot(index="date", columns="symbol", values="market_cap") if "market_cap" in bars else None
    members = _members(source, bars, master)
    reports, odd = _reports(source.fundamentals, bars, master, attempt)
    return Delivery(
        bars=bars[[name for name in ("symbol", "date", *BAR_FIELDS) if name in bars]],
        name=source.name or file_name(source.path),
        execution="next_open" if "open" in bars else "next_close",
        adjusted=source.prices == "adjusted",
        actions=actions,
        fundamentals=reports,
        sectors=_sectors(source),
        members=members,
        market_cap=market_cap,
        index=_index(source),
        notes=tuple(_notes(source, bars, members, unused) + strangers + unexplained + list(odd)),
    )


def _read_bars(source: FilesSource) -> tuple[pd.DataFrame, list[str]]:
    """One row per symbol and session; also the names of action columns that adjusted prices leave unused."""
    notation, files = Notation(source.date_format, source.decimal), bar_files(source)
    if source.layout == "wide":
        names = {field: cast(dict[str, str], source.columns).get(field, field) for field in (*BAR_FIELDS, "market_cap")}
        return read_wide(files, names, source.columns.get("date", "date"), notation), []
    wanted, unused = _wanted(source)
    if source.layout == "two_headers":
        bars = read_two_headers(files, wanted, notation)
    elif source.layout == "per_symbol":
        wanted.pop("symbol", None)
        return read_per_symbol(files, wanted, notation, source.symbol_format), unused
    else:
        bars = read_files(files, wanted, notation, shown(source.path))
    if source.symbol_format is not None:
        where = f"column {wanted.get('symbol', 'symbol')!r} of {shown(source.path)}"
        known = {name: unwrapped(name, source.symbol_format, where) for name in bars["symbol"].unique()}
        bars["symbol"] = bars["symbol"].map(known).astype("str")
    return bars, unused


def bar_files(source: FilesSource) -> list[str]:
    """The files of bars: all at the path but the tables beside them. DataError if none is left."""
    tables = (source.sectors, source.members, source.index, source.actions, source.splits, source.dividends,
              source.securities, source.fundamentals)  # fmt: skip
    beside = {local_path(path) for table in tables if (path := getattr(table, "path", ""))}
    there = list_files(source.path)
    files = [file for file in there if not any(_is_at(file, path) for path in beside)]
    if not files:
        raise DataError(f"{shown(source.path)} has no file of bars beside the other tables of the source")
    return files if source.path not in there else there


def _is_at(file: str, path: str) -> bool:
    """Whether a listed file is the one at the path of a setting, which may start at the desk."""
    return local_path(file) == (path if "://" in path else str(inside(path)))


def bars_as_written(source: FilesSource) -> pd.DataFrame:
    """Every column of the bars that the source names, long and in our units, with prices as they are in the files."""
    return _in_our_terms(_read_bars(source)[0], source)


def _in_our_terms(bars: pd.DataFrame, source: FilesSource) -> pd.DataFrame:
    """Daily bars in USD and shares, under our symbols."""
    bars = _in_our_units(_require_usd_daily(bars, source), source)
    if source.rename:
        bars["symbol"] = bars["symbol"].replace(source.rename).astype("str")
    return bars


def _wanted(source: FilesSource) -> tuple[dict[str, str], list[str]]:
    """Our field → their column, for what is to be read; and action columns that adjusted prices leave unused."""
    present = _names(source)
    wanted: dict[str, str] = {field: field for field in ("symbol", "date", "close")}
    wanted |= {field: field for field in BAR_FIELDS if field in present} | source.columns
    unused = []
    if source.prices == "adjusted":
        named = {wanted.pop(field) for field in ("split", "dividend") if field in wanted}
        unused = sorted(name for name in present if name in named or plain(name) in _ACTIONS)
    return wanted, unused


def _names(source: FilesSource) -> list[str]:
    """The columns of the first file; of one with two header rows, its fields."""
    first = bar_files(source)[0]
    if source.layout != "two_headers":
        return column_names(first)
    header = read_header(first)
    return list(dict.fromkeys(header.columns.values()))


def _require_usd_daily(bars: pd.DataFrame, source: FilesSource) -> pd.DataFrame:
    """The bars without currency and period; DataError for a currency but USD, and for bars that are not daily."""
    for field, usual, way_out in (
        ("currency", "USD", "convert the prices to USD, or leave these rows out"),
        ("period", "D", "get daily bars"),
    ):
        if field not in bars:
            continue
        odd = bars[~bars[field].str.upper().isin([usual, *DAILY] if field == "period" else [usual])]
        if len(odd):
            row, name = odd.iloc[0], dict(source.columns).get(cast(BarField, field), field)
            raise DataError(
                f"column {name!r} of {shown(source.path)} holds {row[field]!r} ({row['symbol']} on "
                f"{row['date']:%Y-%m-%d}), not {usual}; {way_out}"
            )
    return bars.drop(columns=["currency", "period"], errors="ignore")


def _in_our_units(bars: pd.DataFrame, source: FilesSource) -> pd.DataFrame:
    """Prices and dividends in USD, volume in shares."""
    scale = dict.fromkeys((*PRICE_FIELDS, "dividend", "adjusted_close"), PRICE_UNITS[source.price_unit])
    scale["volume"] = VOLUME_UNITS[source.volume_unit]
    for field, factor in scale.items():
        if field in bars and factor != 1.0:
            bars[field] = bars[field] * factor
    return bars


def _subset(bars: pd.DataFrame, source: FilesSource) -> pd.DataFrame:
    """Only the symbols asked for, each of which must exist."""
    if source.symbols is None:
        return bars
    missing = sorted(set(source.symbols) - set(bars["symbol"].unique()))
    if missing:
        raise DataError(f"{shown(source.path)} has no bars for {', '.join(missing)}; correct `symbols`")
    return bars[bars["symbol"].isin(list(source.symbols))].reset_index(drop=True)


def _require_filled(bars: pd.DataFrame, source: FilesSource) -> None:
    """Before any table of sessions × symbols is made of the bars; see `sparsity`."""
    column, symbols = pd.factorize(bars["symbol"])
    days = bars["date"].to_numpy("datetime64[D]")
    require_filled(days, column, pd.Index(symbols), source.name or file_name(source.path))


def _of_companies(bars: pd.DataFrame, master: pd.DataFrame | None) -> tuple[pd.DataFrame, list[str]]:
    """The bars under the symbol of each company, and notes on rows whose ticker was assigned to no company."""
    if master is None:
        return bars, []
    bars, nobodys = resolve(bars, master)
    if nobodys.empty:
        return bars, []
    names = ", ".join(sorted(nobodys["symbol"].unique())[:10])
    return bars, [
        f"{len(nobodys)} bars of {names} were skipped: the ticker was unassigned then, by the security master."
    ]


def _sectors(source: FilesSource) -> pd.Series | pd.DataFrame | None:
    """Sector by symbol, or SPELL_COLUMNS if they are dated; two sectors of one symbol without a date are an error."""
    if source.sectors is None:
        return None
    if "start" in source.sectors.columns:
        return read_side(source.sectors, ("symbol", "sector", "start"))
    table = read_side(source.sectors, ("symbol", "sector")).drop_duplicates()
    twice = table.loc[table["symbol"].duplicated(), "symbol"]
    if len(twice):
        raise DataError(f"{shown(source.sectors.path)} gives {twice.iloc[0]} more than one sector")
    return table.set_index("symbol")["sector"].sort_index()


def _members(source: FilesSource, bars: pd.DataFrame, master: pd.DataFrame | None) -> pd.DataFrame | None:
    """Intervals of membership under the symbols of the bars, as delivered or as `liquid_universe` makes them."""
    if source.liquid is not None:
        return liquid_members(bars, source.liquid)
    if source.members is None:
        return None
    spells = read_side(source.members, ("symbol", "start", "end"))
    return spells if master is None or source.members.tickers == "latest" else resolve_spells(spells, master)


def _index(source: FilesSource) -> pd.Series | None:
    """Closes of the index by session, oldest first."""
    if source.index is None:
        return None
    several = source.index.symbol is not None
    table = read_side(source.index, ("date", "close", "symbol") if several else ("date", "close"))
    if several:
        chosen = table["symbol"] == source.index.symbol
        if not chosen.any():
            known = ", ".join(sorted(table["symbol"].unique())[:20])
            raise DataError(f"{shown(source.index.path)} has no {source.index.symbol}; it has {known}")
        table = table[chosen]
    if not table["date"].is_unique:
        raise DataError(f"{shown(source.index.path)} has a date twice; name the index by `symbol`")
    return table.set_index("date")["close"].sort_index().rename(source.index.symbol or "index")


def _as_traded(source: FilesSource, bars: pd.DataFrame, master) -> tuple[pd.DataFrame, pd.DataFrame | None, list[str]]:
    """The bars with prices as traded, the actions told or implied by their adjustment, and what is unexplained."""
    if source.prices == "adjusted_with_actions":
        return *unadjust(bars), []
    told = recorded_actions(source, bars, master)
    is_told = source.has_tables or {"split", "dividend"} & set(bars.columns)
    parts, notes = ([told] if is_told else []), []
    if "adjusted_close" in bars:
        kinds = ("dividend",) if source.prices == "split_adjusted" else ("split", "dividend")
        implied, left = derive_actions(bars, adjusted_as=source.adjusted_as, tick=source.adjusted_tick, kinds=kinds)
        parts.append(implied)
        notes = _unexplained(left)
    actions = pd.concat(parts, ignore_index=True) if parts else None
    if source.prices == "split_adjusted":
        bars, actions = unadjust_splits(bars, actions)
    return bars, actions, notes


def _unexplained(left: pd.DataFrame) -> list[str]:
    """A note on what the vendor's adjustments hold beside splits and dividends, if anything."""
    if left.empty:
        return []
    first = left.iloc[0]
    text = f"{first['symbol']} on {first['date']:%Y-%m-%d}, ×{first['growth']:.4g}"
    return [f"{len(left)} vendor adjustments are neither splits nor dividends and were not applied; the first: {text}."]


def recorded_actions(source: FilesSource, bars: pd.DataFrame, master: pd.DataFrame | None) -> pd.DataFrame:
    """ACTION_COLUMNS that the source tells: in tables beside the bars, in columns beside the prices."""
    tables = []
    if source.actions is not None:
        tables.append(_action_table(source.actions))
    if source.splits is not None:
        splits = read_side(source.splits, ("date", "symbol", "ratio"))
        tables.append(splits.assign(kind="split", value=_ratios(splits["ratio"], source.splits)))
    if source.dividends is not None:
        tables.append(read_side(source.dividends, ("date", "symbol", "value")).assign(kind="dividend"))
    parts = [table if master is None else resolve(table, master)[0] for table in tables]
    neutral = {"split": (0.0, 1.0), "dividend": (0.0,)}  # vendors write "no split" as 0 or as 1
    for kind in neutral.keys() & set(bars.columns):
        rows = bars[bars[kind].notna() & ~bars[kind].isin(neutral[kind])]
        parts.append(rows[["date", "symbol"]].assign(kind=kind, value=rows[kind]))
    return pd.concat([empty_actions(), *(part[ACTION_COLUMNS].astype({"kind": "str"}) for part in parts)])


def _action_table(spec: "ActionsTable") -> pd.DataFrame:
    """ACTION_COLUMNS of a table; with `kinds`, the rows of those alone, under our names."""
    table = read_side(spec, tuple(ACTION_COLUMNS))
    if spec.kinds:
        table = table[table["kind"].isin(list(spec.kinds))]
        table = table.assign(kind=table["kind"].map(spec.kinds).astype("str"))
    unknown = sorted(set(table["kind"]) - set(ACTION_KINDS))
    if unknown:
        known = ", ".join(ACTION_KINDS)
        raise DataError(f"{shown(spec.path)} has an action of kind {unknown[0]!r}; known are {known}; set `kinds`")
    return table


def _ratios(texts: pd.Series, spec: SideTable) -> pd.Series:
    """New shares per old from 4, 4:1, 4/1 or "4 for 1"."""
    parts = texts.str.extract(rf"^\s*{COUNT}\s*(?:(?::|/|-?\s*for\s*-?)\s*{COUNT})?\s*$")
    bad = texts[parts[0].isna()]
    if len(bad):
        raise DataError(f"column of ratios of {shown(spec.path)} holds {bad.iloc[0]!r}, not a ratio like 4 or 4:1")
    ratio = parts[0].astype("float64") / parts[1].astype("float64").fillna(1.0)
    if len(wrong := texts[~((ratio > 0) & np.isfinite(ratio))]):
        raise DataError(
            f"column of ratios of {shown(spec.path)} holds {wrong.iloc[0]!r}; a split has more than 0 shares"
        )
    return ratio


def _with_endings(source: FilesSource, bars: pd.DataFrame, actions: pd.DataFrame | None) -> pd.DataFrame | None:
    """The actions, and a delisting where bars end without one, if the source says so; by date, symbol and kind."""
    parts = [] if actions is None else [actions]
    if source.endings is not None:
        recorded = {name for part in parts for name in part.loc[part["kind"] == "delisting", "symbol"]}
        ended = read_endings(bars, source.endings)
        parts.append(ended[~ended["symbol"].isin(recorded)])
    if not parts:
        return None
    table = pd.concat(parts, ignore_index=True).sort_values(["date", "symbol", "kind"], ignore_index=True)
    return table[ACTION_COLUMNS]


def _reports(spec: FundamentalsTable | EdgarTable | None, bars: pd.DataFrame, master, attempt: Attempt | None):
    """Reports from a table or from the SEC, and notes on them."""
    if isinstance(spec, EdgarTable):
        return fetch_reports(spec, bars, attempt=attempt)
    return read_reports(spec, bars, master)


def _notes(source: FilesSource, bars: pd.DataFrame, members, unused: list[str]) -> list[str]:
    """Notes on this source for the pages."""
    notes = []
    if source.prices == "adjusted":
        notes.append("Prices are adjusted by the vendor: past share counts and USD amounts are not historical ones.")
    elif source.prices == "adjusted_with_actions":
        notes.append(
            "Prices as traded are recovered from adjusted ones; dividends after the last bar lower them slightly."
        )
    elif source.prices == "split_adjusted" and not source.carries_a_live_book:
        notes.append(
            "Past prices are divided by splits that the source does not list: right until the next split. Paper only."
        )
    elif not source.has_tables and not {"split", "dividend", "adjusted_close", "unadjusted_close"} & set(bars.columns):
        notes.append("Raw prices without corporate actions: a split or dividend looks like a loss.")
    if source.endings is not None:
        after, back = source.endings.after, source.endings.final_return
        notes.append(
            f"A stock without bars for {after} sessions counts as delisted at {back:+.0%} from its last "
            "close, or at its price on return if lower."
        )
    if unused:
        notes.append(f"Columns {', '.join(unused)} were not applied: the prices are already adjusted.")
    if "open" not in bars:
        notes.append("No opening prices: orders fill at the next close.")
    if source.liquid is not None:
        notes.append(f"The universe is the {source.liquid.top} most traded names, rebalanced monthly.")
    elif members is not None:
        listed = set(members["symbol"])
        lacking = len(listed - set(bars["symbol"].unique()))
        notes.append(f"{lacking} of {len(listed)} past and present members have no bars.")
    return notes
