"""A folder without a description: what its files are, how each column is understood, and what was guessed.

Every guess is reported: each line of `Understood.readings` can be overridden by a `source:` in YAML.
"""

import re
from dataclasses import replace
from typing import Any, NamedTuple, cast

import pandas as pd

from openbook.common.errors import DataError
from openbook.market.adjustment_factors import derive_actions
from openbook.market.sources import Source, fetch
from openbook.market.sources.company_reports import FundamentalsTable
from openbook.market.sources.files import (
    ActionsTable,
    FilesSource,
    IndexTable,
    MembersTable,
    bars_as_written,
    recorded_actions,
)
from openbook.market.sources.headers import KNOWN_AS, Header, find_columns, names_of, plain, read_header, without_header
from openbook.market.sources.layouts import SYMBOL, stem
from openbook.market.sources.plausible import require_plausible, require_rare
from openbook.market.sources.price_kinds import adjusted_as, price_kind
from openbook.market.sources.reading import (
    PARQUET,
    SUFFIXES,
    SideTable,
    all_files,
    file_bytes,
    has_decimal_commas,
    header_key,
    list_files,
    local_path,
    number_columns,
    read_texts,
    shown,
)
from openbook.market.sources.text_dates import find_date_format
from openbook.market.tables import BAR_FIELDS, Delivery

REPORT_FIELDS: dict[str, tuple[str, ...]] = {
    "symbol": ("symbol", "ticker"),
    "available": ("available",),
    "filed": ("filed", "filing_date", "collected", "datekey"),
    "period_end": ("period_end", "end_date", "report_period", "reportperiod"),
}
SPELL_FIELDS: dict[str, tuple[str, ...]] = {
    "symbol": ("symbol", "ticker"),
    "start": ("start", "start_date", "date_added", "from"),
    "end": ("end", "end_date", "date_removed", "to"),
}
SECTOR_FIELDS: dict[str, tuple[str, ...]] = {
    "symbol": ("symbol", "ticker"),
    "sector": ("sector", "gics_sector", "industry_sector", "sector_name"),
}
ACTION_FIELDS: dict[str, tuple[str, ...]] = {
    "date": ("date", "ex_date", "exdate", "effective_date", "execution_date"),
    "symbol": ("symbol", "ticker"),
    "kind": ("kind", "action", "type", "action_type", "event"),
    "value": ("value", "amount"),
}
SPLIT_FIELDS: dict[str, tuple[str, ...]] = {
    "date": ACTION_FIELDS["date"],
    "symbol": ("symbol", "ticker"),
    "ratio": ("ratio", *KNOWN_AS["split"]),
}
DIVIDEND_FIELDS: dict[str, tuple[str, ...]] = {
    "date": ACTION_FIELDS["date"],
    "symbol": ("symbol", "ticker"),
    "value": ("dividend", "dividends", "cash_amount", "dividend_amount"),
}
# What a column called so holds only the name of its file can tell.
VALUES = ("value", "amount")
# What vendors call an action, in lower case, and what it is; other words are left out.
ACTION_WORDS = {
    "split": ("split", "stock split", "splits"),
    "dividend": ("dividend", "cash dividend", "div", "dividends"),
    "delisting": ("delisting", "delisted", "regulatorydelisting", "voluntarydelisting", "bankruptcyliquidation",
                  "acquisitionby", "mergerto"),
}  # fmt: skip
KEYS = ("symbol", "date")
KEYED = "rows by symbol and date"
LAID_OUT = {
    "long": "bars, one row per symbol and date",
    "per_symbol": "bars, one file a symbol",
    "wide": "bars, one column a symbol",
    "two_headers": "bars, two header rows of fields and symbols",
}
DESCRIBE = "describe the files and columns with --source FILE.yaml"
ACTION_TABLES = {"actions", "splits", "dividends"}
SAME_HISTORY = 0.9  # of the rows of a smaller file that the larger one has too
SECOND_HISTORY = 0.01  # of the rows of the larger file
MOST_READ = 50  # files of one header whose numbers are looked at
SAME_CLOSE = 1e-3  # how far two files may round one close
KNOWN_ENDS = (".US", " US Equity", " US")
INDEXES = ("^GSPC", "GSPC", "SPX", "SP500", "S&P500", "^SPX")


class Files(NamedTuple):
    """Files with one header: what they are (a layout, or a word of `_kind`), and their columns as written."""

    kind: str
    header: Header
    columns: tuple[str, ...]
    paths: list[str]


class Understood(NamedTuple):
    """What the files of a folder are.

    source : the bars and what hangs on them, as settings; None if no file holds bars
    keyed : files with one row per symbol and date that are no bars: path, our names of the two columns
    spells : files of membership: path, our names of symbol, start and end
    readings : how each file and column was understood, line by line
    """

    source: FilesSource | None
    keyed: list[tuple[str, dict[str, str]]]
    spells: list[tuple[str, dict[str, str]]]
    readings: list[str]


def understand(path: str) -> Understood:
    """Read what all files at `path` begin with; DataError if no file can be understood, or if two contradict."""
    files = [local_path(file) for file in list_files(path)]
    groups = _with_wide_together(_grouped(files))
    readings = [f"{_names(group.paths)}: {_in_words(group)}" for group in groups]
    keyed = [(file, _keys(group)) for group in groups if group.kind == KEYED for file in group.paths]
    spells = [
        (file, find_columns(group.columns, SPELL_FIELDS, tuple(SPELL_FIELDS)))
        for group in groups
        if group.kind == "membership"
        for file in group.paths
    ]
    bars, index = _bars_of(groups)
    if not (bars or keyed or spells):
        raise DataError(_nothing_read(path, groups, readings))
    if not bars:
        return Understood(None, keyed, spells, readings)
    _require_one_history(path, bars)
    source, of_bars = _source(path, bars[0], [group for group in groups if group is not bars[0]], index)
    unseen = sorted(set(map(local_path, all_files(path))) - set(files))
    readings += [f"not looked at: {_names(unseen)}"] if unseen else []
    unread = [
        f"{_names(other.paths)}: skipped, because the larger file of bars is used; choose another with --source"
        for other in bars[1:]
    ]
    return Understood(source, keyed, spells, [*readings, *of_bars, *unread])


def _grouped(files: list[str]) -> list[Files]:
    """The files by their first line, in the order of the first of each."""
    paths: dict[Any, list[str]] = {}
    for file in files:
        paths.setdefault(header_key(file), []).append(file)
    return [_files(group) for group in paths.values()]


def _with_wide_together(groups: list[Files]) -> list[Files]:
    """Wide tables of different fields are one history, though not all have the same symbols."""
    wide = [group for group in groups if group.kind == "wide"]
    if len(wide) < 2:
        return groups
    together = wide[0]._replace(paths=[path for group in wide for path in group.paths])
    return [together, *(group for group in groups if group.kind != "wide")]


def _files(paths: list[str]) -> Files:
    """What files with one header hold; DataError where one is no table."""
    header = read_header(paths[0])
    return Files(header.layout or _kind(header.names, stem(paths[0])), header, header.names, paths)


def _kind(columns: tuple[str, ...], name: str) -> str:
    """What a file with these columns and of this name holds, if it is no bars; empty if that is unknown."""

    def has(known: dict[str, tuple[str, ...]], *fields: str) -> bool:
        return set(fields) <= find_columns(columns, known, tuple(known)).keys()

    if has(REPORT_FIELDS, "symbol", "period_end", "available") or has(REPORT_FIELDS, "symbol", "period_end", "filed"):
        return "reports"
    if has(SPELL_FIELDS, *SPELL_FIELDS):
        return "membership"
    if has(SECTOR_FIELDS, *SECTOR_FIELDS) and not has(ACTION_FIELDS, "date"):
        return "sectors"
    tables = {"actions": ACTION_FIELDS, "splits": SPLIT_FIELDS, "dividends": DIVIDEND_FIELDS}
    for kind, known in tables.items():
        if has(known, *known) or (kind[:3] in name.lower() and has(_with_values(known), *known)):
            return kind
    return KEYED if has(KNOWN_AS, *KEYS) else ""


def _with_values(known: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The names of the columns of splits or dividends, with those that only the file's name explains."""
    last = list(known)[-1]
    return known | {last: (*known[last], *VALUES)}


def _in_words(group: Files) -> str:
    """What the files are, for a line of the report."""
    if group.kind in LAID_OUT:
        return LAID_OUT[group.kind]
    named = ", ".join(group.columns[:8]) + (", …" if len(group.columns) > 8 else "")
    return group.kind or f"not recognized, skipped (columns {named})"


def _keys(group: Files) -> dict[str, str]:
    return find_columns(group.columns, KNOWN_AS, KEYS)


def _bars_of(groups: list[Files]) -> tuple[list[Files], Files | None]:
    """The groups of bars, the largest first; and the index, where one file of closes without symbols lies beside."""
    bars = [group for group in groups if group.kind in LAID_OUT]
    bars.sort(key=lambda group: -sum(map(file_bytes, group.paths)))  # the largest is the history
    index = next((g for g in bars[1:] if g.kind == "per_symbol" and len(g.paths) == 1 and _is_index(g)), None)
    return [group for group in bars if group is not index], index


def _is_index(group: Files) -> bool:
    """Whether the file's name is that of a market index."""
    name = plain(stem(group.paths[0]))
    return name in ("index", "benchmark", *(plain(known) for known in INDEXES))


def _nothing_read(path: str, groups: list[Files], readings: list[str]) -> str:
    """Why no file was understood."""
    said = next((text for group in groups if (text := without_header(group.paths[0]))), "")
    lacking = f"no file of {shown(path)} has columns symbol, date and close"
    return said or f"no prices found: {lacking} ({'; '.join(readings)}); {DESCRIBE}"


def _require_one_history(path: str, bars: list[Files]) -> None:
    """DataError if two files give one symbol different closes on one day."""
    if len({group.kind for group in bars}) > 1 or sum(group.kind != "long" for group in bars) > 1:
        named = " and ".join(f"{_names(group.paths)} ({LAID_OUT[group.kind]})" for group in bars[:2])
        raise DataError(f"{named} are bars under different headers; leave one of them in {shown(path)}")
    long = bars if bars[0].kind == "long" and len(bars) > 1 else []
    if not long:
        return
    mine = _closes(path, long[0])
    for other in long[1:]:
        theirs = _closes(path, other)
        both = mine.merge(theirs, on=list(KEYS), suffixes=("", "_other"))
        if len(both) < SAME_HISTORY * len(theirs):
            raise DataError(
                f"{_names(long[0].paths)} and {_names(other.paths)} hold bars of different names or days under two "
                "headers; write them with one header, or describe them with --source FILE.yaml"
            )
        differ = both[(both["close"] / both["close_other"] - 1.0).abs() > SAME_CLOSE]
        if len(differ) < SECOND_HISTORY * len(mine):
            continue  # a table of corrections is no second history
        for row in differ.head(1).itertuples():
            raise DataError(
                f"{_names(long[0].paths)} and {_names(other.paths)} give {row.symbol} on {row.date:%Y-%m-%d} two "
                f"closes, {row.close:,.4f} and {row.close_other:,.4f} (adjusted beside raw?); keep one of the files in "
                f"{shown(path)}, or describe it with --source FILE.yaml"
            )


def _closes(path: str, group: Files) -> pd.DataFrame:
    """Symbol, date and close of the files of one header."""
    source = _laid_out(path, group)[0]
    parts = [bars_as_written(source.model_copy(update={"path": file})) for file in group.paths]
    return pd.concat(parts, ignore_index=True)[[*KEYS, "close"]].astype({"symbol": "str"})


def _source(path: str, bars: Files, others: list[Files], index: Files | None) -> tuple[FilesSource, list[str]]:
    """Settings for the bars and the tables beside them, and how that was understood."""
    laid_out, readings = _laid_out(path, bars)
    tables, of_tables = _side_tables(others)
    strange = [group for group in others if group.kind not in SIDE_TABLES and group is not index]
    if len(bars.paths) > 1 and strange:
        raise DataError(
            f"{shown(path)} holds {len(bars.paths)} files of bars beside {_names(strange[0].paths)}, "
            f"{_in_words(strange[0])}; move the files of bars to a folder of their own"
        )
    if index is not None:
        columns = {field: index.header.columns[field] for field in ("date", "close")}
        tables["index"] = IndexTable(path=index.paths[0], **_dated(index, columns))
        of_tables.append(f"index: {_names(index.paths)}")
    return _with_prices(laid_out, tables, [*readings, *of_tables])


def _fields_of_names(paths: list[str]) -> dict[str, str]:
    """Our field → the name of its file, of wide tables one per field."""
    stems = {plain(stem(path)): stem(path) for path in paths}
    fields = (*BAR_FIELDS, "market_cap")
    return {field: stems[name] for field in fields for name in KNOWN_AS[field] if len(name) > 1 and name in stems}


def _laid_out(path: str, bars: Files) -> tuple[FilesSource, list[str]]:
    """Where the bars are and how they are written, as settings with every column of ours, prices still unknown."""
    found = dict(bars.header.columns)
    if bars.kind == "wide" and len(bars.paths) > 1:
        found |= _fields_of_names(bars.paths)
    settings: dict[str, Any] = {"layout": bars.kind, "columns": found, **_dated(bars, found)}
    settings |= {"decimal": "comma"} if any(map(has_decimal_commas, bars.paths[:MOST_READ])) else {}
    ends = (
        _common_format([shown(file).rsplit("/", 1)[-1] for file in bars.paths]) if bars.kind == "per_symbol" else None
    )
    if bars.kind == "long":
        written = read_texts(bars.paths[0], found["symbol"])
        ends = None if written is None else _common_end(written)
    settings |= {"symbol_format": ends} if ends else {}
    if bars.kind == "wide" and len(bars.paths) == 1:
        settings["columns"] = {"date": found["date"]}
    readings = [f"bars: {', '.join(f'{ours} = {theirs}' for ours, theirs in found.items())}"]
    readings += [f"bars: {name} {value}" for name, value in settings.items() if name not in ("layout", "columns")]
    left = sorted(set(bars.columns) - set(found.values())) if bars.kind in ("long", "per_symbol") else []
    readings += [f"bars: unused columns {', '.join(left)}"] if left else []
    whole = path if len(bars.paths) > 1 else bars.paths[0]
    return FilesSource.model_construct(**FilesSource(path=whole, prices="raw").model_dump() | settings), readings


def _dated(group: Files, columns: dict[str, str], *, traded: bool = True) -> dict[str, Any]:
    """Columns, and the date_format of the files if it is not ISO 8601. DataError names the file where dates differ.

    traded : the dates are of days of trading, none of them on a weekend
    """
    texts = {file: read_texts(file, _date_column(file, columns), group.header.n_rows) for file in group.paths}
    known = {file: each for file, each in texts.items() if each is not None}
    if not known:
        return {"columns": columns}
    every = pd.Series(pd.unique(pd.concat(known.values(), ignore_index=True)), dtype="str")
    column = f"column {columns.get('date', 'date')!r} of"
    try:
        where = shown(group.paths[0]) if len(known) == 1 else _names(group.paths)
        form = find_date_format(every, f"{column} {where}", traded=traded)
    except DataError:
        for file, each in known.items():
            find_date_format(each, f"{column} {shown(file)}", traded=traded)
        raise
    return {"columns": columns} | ({"date_format": form} if form else {})


def _date_column(file: str, columns: dict[str, str]) -> str | None:
    """The column of dates; None: the first of a CSV file, whose header has several rows."""
    return columns.get("date") or (names_of(file)[0] if file.lower().endswith(PARQUET) else None)


def _common_format(names: list[str]) -> str | None:
    """What all file names have around the symbol, such as {symbol}.us.txt; None if it is the suffix alone."""
    suffix = next(each for each in sorted(SUFFIXES, key=len, reverse=True) if names[0].lower().endswith(each))
    stems = [name[: -len(suffix)] for name in names if name.lower().endswith(suffix)]
    if len(stems) < len(names):
        return None
    after = _shared(stems) or next((end for end in (".us",) if all(s.lower().endswith(end) for s in stems)), "")
    before = _before(stems)
    return f"{before}{SYMBOL}{after}{suffix}" if before or after else None


def _before(stems: list[str]) -> str:
    """The word that all names begin with, up to a mark."""
    first, last = min(stems), max(stems)
    n = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    start = re.match(r"(.*[A-Za-z]{4,}.*[^A-Za-z0-9])", first[:n])
    return start[1] if start and len(stems) > 1 else ""


def _common_end(symbols: pd.Series) -> str | None:
    """What all symbols end with beside the ticker, such as {symbol}.US."""
    known = next((end for end in KNOWN_ENDS if symbols.str.endswith(end).all()), "")
    end = known or _shared(list(symbols))
    return SYMBOL + end if end else None


def _shared(texts: list[str]) -> str:
    """The end that all texts share, from a mark on, if it is a word or means the US: -PA is part of a symbol."""
    if len(texts) < 2:
        return ""
    first, last = min(text[::-1] for text in texts), max(text[::-1] for text in texts)
    n = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    end = first[:n][::-1]
    at = next((i for i, mark in enumerate(end) if not mark.isalnum()), None)
    if at is None or not re.search(r"[A-Za-z]{4,}|(?i:[._ -]us)$", end[at:]):
        return ""
    return end[at:]


def _side_tables(groups: list[Files]) -> tuple[dict[str, Any], list[str]]:
    """The tables beside the bars as settings by name, and how they were understood. DataError for two of one kind."""
    tables: dict[str, Any] = {}
    readings = []
    for kind, (name, known, make) in SIDE_TABLES.items():
        found_in = [path for group in groups if group.kind == kind for path in group.paths]
        if len(found_in) > 1:
            raise DataError(f"{_names(found_in)} are {kind} in several files; join them in one")
        group = next((group for group in groups if group.kind == kind), None)
        if group is None:
            continue
        known = _with_values(known) if kind in ("splits", "dividends") else known
        found = find_columns(group.columns, known, tuple(known))
        tables[name], said = make(group, found)
        readings.append(f"{kind}: {', '.join(f'{ours} = {theirs}' for ours, theirs in found.items())}{said}")
    return tables, readings


def _reports(group: Files, found: dict[str, str]) -> tuple[FundamentalsTable, str]:
    """The table of reports: every column of numbers is an item."""
    if "available" in found:
        found.pop("filed", None)
    items = {name: name for name in number_columns(group.paths[0]) if name not in found.values()}
    return FundamentalsTable(path=group.paths[0], columns=found, items=items), f"; {len(items)} items"


def _members(group: Files, found: dict[str, str]) -> tuple[MembersTable, str]:
    return MembersTable(path=group.paths[0], **_dated_by(group, found, "start")), ""


def _plain_table(group: Files, found: dict[str, str]) -> tuple[SideTable, str]:
    return SideTable(path=group.paths[0], **_dated_by(group, found, "date")), ""


def _actions(group: Files, found: dict[str, str]) -> tuple[ActionsTable, str]:
    """The table of actions, with the words that are known; the others are left out and named."""
    words = list(cast(pd.Series, read_texts(group.paths[0], found["kind"])))
    ours = {theirs: kind for kind, known in ACTION_WORDS.items() for theirs in words if theirs.lower() in known}
    left = sorted(set(words) - set(ours))
    said = f"; left out: {', '.join(left[:8])}" if left else ""
    return ActionsTable(path=group.paths[0], kinds=ours, **_dated_by(group, found, "date")), said


def _dated_by(group: Files, found: dict[str, str], field: str) -> dict[str, Any]:
    """Columns of a side table, and the date_format if its dates are not ISO 8601."""
    if field not in found:
        return {"columns": found}
    return _dated(group, {"date": found[field]}, traded=field != "start") | {"columns": found}


# By the word of `_kind`: the setting of FilesSource, the names of its columns, and how the table is described.
SIDE_TABLES: dict[str, tuple[str, dict[str, tuple[str, ...]], Any]] = {
    "reports": ("fundamentals", REPORT_FIELDS, _reports),
    "membership": ("members", SPELL_FIELDS, _members),
    "sectors": ("sectors", SECTOR_FIELDS, _plain_table),
    "actions": ("actions", ACTION_FIELDS, _actions),
    "splits": ("splits", SPLIT_FIELDS, _plain_table),
    "dividends": ("dividends", DIVIDEND_FIELDS, _plain_table),
}


def _with_prices(laid_out: FilesSource, tables: dict[str, Any], readings: list[str]) -> tuple[FilesSource, list[str]]:
    """The settings with what kind of prices these are, and the tables that belong to such prices."""
    names, where = cast(dict[str, str], laid_out.columns), shown(laid_out.path)
    whole = laid_out.model_copy(update=tables)
    table = bars_as_written(whole)
    require_plausible(table, names, where)
    told = recorded_actions(whole, table, None)
    require_rare(told, table, names, where)
    kind = price_kind(table, told, names, where)
    unused = {names[field] for field in kind.unused}
    columns = {ours: theirs for ours, theirs in names.items() if theirs not in unused}
    if kind.prices == "adjusted" or "adjusted_close" in columns:
        dropped = sorted(tables.keys() & ACTION_TABLES) if kind.prices == "adjusted" else []
        tables = {name: each for name, each in tables.items() if name not in dropped}
        readings += [f"{name}: not applied, the prices are adjusted for them" for name in dropped]
    readings += [f"prices: {kind.prices.replace('_', ' ')}, {kind.why}"]
    if kind.prices == "split_adjusted" and (told["kind"] == "dividend").any():
        readings += ["dividends: taken as divided by later splits, as the prices are"]
    readings += [f"bars: not used with such prices: {', '.join(sorted(unused))}"] if unused else []
    settings = laid_out.model_dump(exclude_defaults=True) | {"prices": kind.prices, "columns": columns}
    if "adjusted_close" in columns:
        how, column = adjusted_as(table), columns["adjusted_close"]
        implied, _ = derive_actions(table, adjusted_as=how)
        require_rare(implied, table, {"dividend": column, "split": column}, where)
        if how != "today":
            settings["adjusted_as"] = how
            readings += [f"bars: adjusted_as {how}: {column} differs from the close before an action alone"]
    return FilesSource(**settings | {name: each.model_dump() for name, each in tables.items()}), readings


def deliver(source: Source) -> Delivery:
    """What a source has, with the actions that the vendor applied to adjusted prices beside them.

    `fetch` leaves those out, because the market must not apply them again; a check compares them with the prices.
    """
    if not isinstance(source, FilesSource) or source.layout == "wide":
        return fetch(source)
    if source.prices not in ("adjusted", "adjusted_with_actions"):
        return fetch(source)
    first = read_header(list_files(source.path)[0]).columns
    columns = {field: first[field] for field in ("split", "dividend") if field in first} | source.columns
    raw = source.model_copy(update={"prices": "raw", "columns": columns})
    return replace(fetch(raw), adjusted=True)


def _names(files: list[str]) -> str:
    """File names for a line: the first, and how many more."""
    first = shown(files[0]).rsplit("/", 1)[-1]
    return first if len(files) == 1 else f"{first} and {len(files) - 1} more"
