"""Vendor files: a folder, file or URL of parquet or CSV, with a map from our names to theirs."""

from typing import Literal, cast

import pandas as pd
from pydantic import Field, model_validator

from openbook.common.errors import DataError
from openbook.common.settings import Settings
from openbook.market.adjustment_factors import AdjustedAs, derive_actions, unadjust
from openbook.market.securities import MASTER_COLUMNS, resolve, resolve_spells
from openbook.market.sources.company_reports import FundamentalsTable, read_reports
from openbook.market.sources.edgar import EdgarTable, fetch_reports
from openbook.market.sources.inferred_delistings import Endings, read_endings
from openbook.market.sources.liquid_universe import Liquid, liquid_members
from openbook.market.sources.reading import SideTable, column_names, file_name, list_files, read_side, read_table, shown
from openbook.market.sparsity import require_filled
from openbook.market.tables import ACTION_COLUMNS, ACTION_KINDS, BAR_FIELDS, Delivery

BarField = Literal[
    "symbol", "date", "open", "high", "low", "close", "volume", "market_cap", "split", "dividend", "adjusted_close"
]
Prices = Literal["raw", "adjusted", "adjusted_with_actions"]
PRICE_FIELDS = ("open", "high", "low", "close")
PRICE_UNITS = {"USD": 1.0, "cents": 0.01}
VOLUME_UNITS = {"shares": 1.0, "thousands": 1e3, "millions": 1e6}
# What vendors call the columns that must not be applied to prices that are adjusted already.
ACTION_NAMES = ("dividend", "dividends", "split", "splits", "split_ratio")


class MembersTable(SideTable):
    """When a name was in the universe."""

    tickers: Literal["of_the_day", "latest"] = Field(
        "of_the_day", description="with `securities`: point-in-time tickers, or each company by its current symbol"
    )


class IndexTable(SideTable):
    """Closes of a market index."""

    symbol: str | None = Field(None, description="which one, if the file has several")


class FilesSource(Settings):
    """A vendor's files, as settings."""

    provider: Literal["files"] = "files"
    path: str = Field(min_length=1, description="file, folder or URL; parquet or CSV")
    prices: Prices = Field(
        description="raw: as traded; adjusted: for splits and dividends; adjusted_with_actions: adjusted, with "
        "columns split and dividend from which prices as traded are recovered"
    )
    adjusted_as: AdjustedAs = Field(
        "today", description="how the column adjusted_close beside raw prices was made; see `factors.derive_actions`"
    )
    adjusted_tick: float = Field(0.01, ge=0, le=1, description="USD to which the vendor rounds adjusted_close")
    layout: Literal["long", "wide"] = Field(
        "long", description="one row per symbol and session; or sessions × symbols, one file of closes or one per field"
    )
    columns: dict[BarField, str] = Field({}, description="our column → theirs, where they differ")
    date_format: str | None = Field(None, description="strftime format of text dates; default: ISO 8601")
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
    actions: SideTable | None = Field(None, description="columns date, symbol, kind, value; see `tables.Delivery`")
    fundamentals: FundamentalsTable | EdgarTable | None = Field(None, description="a table, or reports to the SEC")
    liquid: Liquid | None = Field(None, description="universe built from the bars, if there is no membership table")
    endings: Endings | None = Field(
        None, description="delistings inferred from where bars end, if no action records them"
    )

    @model_validator(mode="after")
    def _not_contradictory(self):
        if self.prices == "adjusted" and self.actions is not None:
            raise ValueError("adjusted prices must not have actions, which would be applied twice")
        if self.members is not None and self.liquid is not None:
            raise ValueError("give members or liquid, not both")
        return self

    @model_validator(mode="after")
    def _actions_come_from_one_place(self):
        named = {"split", "dividend"} & self.columns.keys()
        if self.prices == "adjusted_with_actions" and (self.layout == "wide" or not named or self.actions is not None):
            raise ValueError(
                "adjusted_with_actions needs long bars with a column split or dividend, and no other actions"
            )
        if "adjusted_close" in self.columns:
            if self.prices != "raw" or self.layout == "wide":
                raise ValueError("adjusted_as needs raw long prices")
            if named or self.actions is not None:
                raise ValueError(
                    "adjusted_close already contains the actions; remove split, dividend and the actions table"
                )
        return self


def fetch_files(source: FilesSource) -> Delivery:
    """Read the bars and every table beside them; nothing is judged here but names and types."""
    bars, unused = _read_long(source) if source.layout == "long" else (_read_wide(source), [])
    if source.rename:
        bars["symbol"] = bars["symbol"].replace(source.rename).astype("str")
    master = None if source.securities is None else read_side(source.securities, tuple(MASTER_COLUMNS))
    bars, strangers = _of_companies(bars, master)
    bars = _subset(bars, source)
    _require_filled(bars, source)
    bars, implied, unexplained = _as_traded(source, bars)
    actions = _actions(source, bars, implied, master)
    market_cap = bars.pivot(index="date", columns="symbol", values="market_cap") if "market_cap" in bars else None
    members = _members(source, bars, master)
    reports, odd = _reports(source.fundamentals, bars, master)
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


def _read_long(source: FilesSource) -> tuple[pd.DataFrame, list[str]]:
    """One row per symbol and session; also the names of action columns that adjusted prices leave unused."""
    present = column_names(list_files(source.path)[0])
    wanted = {field: field for field in ("symbol", "date", "close")}
    wanted |= {field: field for field in BAR_FIELDS if field in present} | source.columns
    unused = []
    if source.prices == "adjusted":
        named = {wanted.pop(field) for field in ("split", "dividend") if field in wanted}
        unused = sorted(set(present) & (named | set(ACTION_NAMES)))
    return _in_our_units(read_table(source.path, wanted, date_format=source.date_format), source), unused


def _read_wide(source: FilesSource) -> pd.DataFrame:
    """sessions × symbols tables as one row per symbol and session; the files of a folder are named by field."""
    date = source.columns.get("date", "date")
    files = {_stem(file): file for file in list_files(source.path)}
    if list(files.values()) == [source.path]:
        found = {"close": source.path}
    else:
        names = {field: cast(dict[str, str], source.columns).get(field, field) for field in (*BAR_FIELDS, "market_cap")}
        found = {field: files[name] for field, name in names.items() if name in files}
    if "close" not in found:
        raise DataError(f"{shown(source.path)} has no file of closes; it has {', '.join(sorted(files))}")
    long = [_melt(file, field, date, source.date_format) for field, file in found.items()]
    return _in_our_units(pd.concat(long, axis=1).reset_index(), source)


def _melt(file: str, field: str, date: str, date_format: str | None) -> pd.Series:
    """One wide file as values by (date, symbol), empty cells left out."""
    columns = {"date": date} | {f"={name}": name for name in column_names(file) if name != date}
    wide = read_table(file, columns, date_format=date_format).set_index("date")
    wide.columns = pd.Index([name[1:].strip() for name in wide.columns], dtype="str", name="symbol")
    if not wide.columns.is_unique:
        twice = wide.columns[wide.columns.duplicated()][0]
        raise DataError(f"{shown(file)} has two columns {twice}, with and without blanks; keep one of them")
    if not wide.index.is_unique:
        raise DataError(f"{shown(file)} has {wide.index[wide.index.duplicated()][0]:%Y-%m-%d} twice")
    return cast(pd.Series, wide.stack()).rename(field)


def _stem(file: str) -> str:
    """File name without its suffixes."""
    return shown(file).rsplit("/", 1)[-1].split(".")[0]


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


def _as_traded(source: FilesSource, bars: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame | None, list[str]]:
    """The bars with prices as traded, the actions implied by their adjustment, and what could not be explained."""
    if source.prices == "adjusted_with_actions":
        bars, actions = unadjust(bars)
        return bars, actions, []
    if "adjusted_close" not in bars:
        return bars, None, []
    actions, left = derive_actions(bars, adjusted_as=source.adjusted_as, tick=source.adjusted_tick)
    if left.empty:
        return bars, actions, []
    first = left.iloc[0]
    text = f"{first['symbol']} on {first['date']:%Y-%m-%d}, ×{first['growth']:.4g}"
    note = f"{len(left)} vendor adjustments are neither splits nor dividends and were not applied; the first: {text}."
    return bars, actions, [note]


def _actions(source: FilesSource, bars: pd.DataFrame, implied: pd.DataFrame | None, master) -> pd.DataFrame | None:
    """Corporate actions: implied by adjusted prices, from a table, from columns beside raw bars, from endings."""
    parts = [] if implied is None else [implied]
    if source.actions is not None:
        table = read_side(source.actions, tuple(ACTION_COLUMNS))
        parts.append(table if master is None else resolve(table, master)[0])
    neutral = {"split": (0.0, 1.0), "dividend": (0.0,)}  # vendors write "no split" as 0 or as 1
    for kind in neutral.keys() & set(bars.columns):
        rows = bars[bars[kind].notna() & ~bars[kind].isin(neutral[kind])]
        parts.append(rows[["date", "symbol"]].assign(kind=kind, value=rows[kind]).astype({"kind": "str"}))
    if source.endings is not None:
        recorded = {name for part in parts for name in part.loc[part["kind"] == "delisting", "symbol"]}
        ended = read_endings(bars, source.endings)
        parts.append(ended[~ended["symbol"].isin(recorded)])
    if not parts:
        return None
    table = pd.concat(parts, ignore_index=True).sort_values(["date", "symbol", "kind"], ignore_index=True)
    unknown = sorted(set(table["kind"]) - set(ACTION_KINDS))
    if unknown:
        known = ", ".join(ACTION_KINDS)
        raise DataError(
            f"{shown(cast(SideTable, source.actions).path)} has an action of kind {unknown[0]!r}; known are {known}"
        )
    return table[ACTION_COLUMNS]


def _reports(spec: FundamentalsTable | EdgarTable | None, bars: pd.DataFrame, master: pd.DataFrame | None):
    """Reports from a table or from the SEC, and notes on them."""
    return fetch_reports(spec, bars) if isinstance(spec, EdgarTable) else read_reports(spec, bars, master)


def _notes(source: FilesSource, bars: pd.DataFrame, members, unused: list[str]) -> list[str]:
    """Notes on this source for the pages."""
    notes = []
    if source.prices == "adjusted":
        notes.append("Prices are adjusted by the vendor: past share counts and USD amounts are not historical ones.")
    elif source.prices == "adjusted_with_actions":
        notes.append(
            "Prices as traded are recovered from adjusted ones; dividends after the last bar lower them slightly."
        )
    elif source.actions is None and not {"split", "dividend", "adjusted_close"} & set(bars.columns):
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
