"""A folder without a description: what its files are, how each column is understood, and what was guessed.

Every guess is reported: each line of `Understood.readings` can be overridden by a `source:` in YAML.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from openbook.common.errors import DataError
from openbook.market.sources import Source, fetch
from openbook.market.sources.files import ACTION_NAMES, FilesSource, FundamentalsTable, MembersTable
from openbook.market.sources.reading import column_names, file_bytes, list_files, number_columns, shown
from openbook.market.tables import BAR_FIELDS, Delivery

# What vendors call our fields, in lower case; our own name first.
KNOWN_AS: dict[str, tuple[str, ...]] = {field: (field,) for field in BAR_FIELDS} | {
    "symbol": ("symbol", "ticker"),
    "date": ("date", "datetime", "timestamp"),
    "split": ("split", "splits", "split_ratio", "stock splits"),
    "dividend": ("dividend", "dividends"),
}
REPORT_FIELDS: dict[str, tuple[str, ...]] = {
    "symbol": ("symbol", "ticker"),
    "available": ("available",),
    "filed": ("filed", "filing_date", "collected"),
    "period_end": ("period_end", "end_date", "report_period"),
}
SPELL_FIELDS: dict[str, tuple[str, ...]] = {
    "symbol": ("symbol", "ticker"),
    "start": ("start", "start_date"),
    "end": ("end", "end_date"),
}
ADJUSTED_CLOSE = ("adj_close", "adj close", "adjclose", "adjusted_close")
KEYS = ("symbol", "date")
KEYED = "rows by symbol and date"
# A day on which a recorded split of at least this much shows in the close, or does not.
TELLING_SPLIT = 1.4


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
    """Read the names and types of all columns at `path`; DataError if no file can be understood."""
    groups: dict[tuple[str, ...], list[str]] = {}
    files = list_files(path)
    for file in files:
        groups.setdefault(tuple(column_names(file)), []).append(file)
    kinds = {columns: _kind(columns) for columns in groups}
    readings = [f"{_names(groups[columns])}: {kind}" for columns, kind in kinds.items()]
    bars = [columns for columns, kind in kinds.items() if kind == "bars"]
    bars.sort(key=lambda columns: -sum(map(file_bytes, groups[columns])))  # the largest is the history
    keyed, spells = (
        [(file, _found(c, known, tuple(known))) for c, kind in kinds.items() if kind == wanted for file in groups[c]]
        for wanted, known in ((KEYED, {field: KNOWN_AS[field] for field in KEYS}), ("membership", SPELL_FIELDS))
    )
    if not (bars or keyed or spells):
        raise DataError(f"no file of {shown(path)} has columns symbol, date and close ({'; '.join(readings)})")
    if not bars:
        return Understood(None, keyed, spells, readings)
    source, of_bars = _source(path, files, groups[bars[0]], {kinds[c]: (groups[c][0], c) for c in reversed(groups)})
    unread = [
        (f"{_names(groups[other])}: skipped, because the larger file of bars is used; choose another with --source")
        for other in bars[1:]
    ]
    return Understood(source, keyed, spells, [*readings, *of_bars, *unread])


def _kind(columns: tuple[str, ...]) -> str:
    """What a file with these columns holds."""
    if len(_found(columns, KNOWN_AS, ("symbol", "date", "close"))) == 3:
        return "bars"
    reports = _found(columns, REPORT_FIELDS, tuple(REPORT_FIELDS))
    if {"symbol", "period_end"} <= reports.keys() and reports.keys() & {"available", "filed"}:
        return "reports"
    if len(_found(columns, SPELL_FIELDS, tuple(SPELL_FIELDS))) == 3:
        return "membership"
    if len(_found(columns, KNOWN_AS, KEYS)) == 2:
        return KEYED
    return f"not recognized, skipped (columns {', '.join(columns[:8])}{', …' if len(columns) > 8 else ''})"


def _found(columns, known: dict[str, tuple[str, ...]], fields: tuple[str, ...]) -> dict[str, str]:
    """Our field → their column, for the fields that are there; our own name is preferred."""
    by_lower = {name.lower(): name for name in reversed(columns)}
    out = {}
    for field in fields:
        match = next((by_lower[name] for name in known[field] if name in by_lower), None)
        if match is not None:
            out[field] = match
    return out


def _source(path: str, files: list[str], bars: list[str], first_of: dict) -> tuple[FilesSource, list[str]]:
    """Settings for the bars and the side tables beside them, and how that was understood."""
    if len(bars) > 1 and len(bars) < len(files):
        raise DataError(f"{shown(path)} holds {len(bars)} files of bars among others; move them to a separate folder")
    columns = column_names(bars[0])
    found = _found(columns, KNOWN_AS, tuple(KNOWN_AS))
    readings = [f"bars: {', '.join(f'{ours} = {theirs}' for ours, theirs in found.items())}"]
    left = sorted(set(columns) - set(found.values()))
    readings += [f"bars: unused columns {', '.join(left)}"] if left else []
    readings += [
        f"bars: {name} contains splits and dividends; a source with columns: {{adjusted_close: {name}}} reads them"
        for name in left
        if name.lower() in ADJUSTED_CLOSE
    ]
    reports, report_readings = _reports(first_of)
    members = None
    if "membership" in first_of:
        file, names = first_of["membership"]
        members = MembersTable(path=file, columns=_found(names, SPELL_FIELDS, tuple(SPELL_FIELDS)))
    settings = {"columns": found, "fundamentals": reports, "members": members}
    whole = path if len(bars) == len(files) else bars[0]
    return FilesSource(path=whole, prices="raw", **settings), [*readings, *report_readings]


def _reports(first_of: dict) -> tuple[FundamentalsTable | None, list[str]]:
    """The table of reports, if there is one: every column of numbers is an item."""
    if "reports" not in first_of:
        return None, []
    file, names = first_of["reports"]
    found = _found(names, REPORT_FIELDS, tuple(REPORT_FIELDS))
    if "available" in found:
        found.pop("filed", None)
    items = {name: name for name in number_columns(file) if name not in found.values()}
    reading = f"reports: {', '.join(f'{ours} = {theirs}' for ours, theirs in found.items())}; {len(items)} items"
    return FundamentalsTable(path=file, columns=found, items=items), [reading]


def deliver(source: Source) -> Delivery:
    """What a source has, with the actions that the vendor applied to adjusted prices beside them.

    `fetch` leaves those out, because the market must not apply them again; a check compares them with the prices.
    """
    if not (isinstance(source, FilesSource) and source.prices == "adjusted" and source.layout == "long"):
        return fetch(source)
    present = column_names(list_files(source.path)[0])
    known = {field: tuple(name for name in KNOWN_AS[field] if name in ACTION_NAMES) for field in ("split", "dividend")}
    columns = _found(present, known, ("split", "dividend")) | source.columns
    raw = source.model_copy(update={"prices": "raw", "columns": columns})
    return replace(fetch(raw), adjusted=True)


def are_adjusted(delivery: Delivery, columns) -> tuple[bool, str]:
    """Whether undescribed prices are adjusted, and the evidence.

    columns : all names in the file: a column of adjusted closes beside the close makes the close raw
    """
    beside = [name for name in columns if name.lower() in ADJUSTED_CLOSE]
    if beside:
        return False, f"prices: raw, because {beside[0]} is also there"
    shown_by, n = _splits_that_show(delivery)
    if n:
        adjusted = shown_by < n / 2
        word = "adjusted" if adjusted else "raw"
        return adjusted, f"prices: {word}, because {shown_by} of {n} recorded splits are visible in the close"
    return True, "prices: assumed to be adjusted; set prices: raw or adjusted in a source file"


def _splits_that_show(delivery: Delivery) -> tuple[int, int]:
    """On how many days with a recorded split the close moved by it, and how many such days there are."""
    if delivery.actions is None:
        return 0, 0
    splits = delivery.actions[delivery.actions["kind"] == "split"]
    splits = splits[np.abs(np.log(splits["value"].where(splits["value"] > 0))) > np.log(TELLING_SPLIT)]
    bars = delivery.bars[delivery.bars["symbol"].isin(splits["symbol"])].sort_values(["symbol", "date"])
    ratio = bars["close"] / bars.groupby("symbol")["close"].shift()
    moved = bars[["symbol", "date"]].assign(ratio=ratio).merge(splits, on=["symbol", "date"]).dropna(subset=["ratio"])
    moved = moved[moved["ratio"] > 0]
    shows = np.abs(np.log(moved["ratio"] * moved["value"])) < np.abs(np.log(moved["ratio"]))
    return int(shows.sum()), len(moved)


def _names(files: list[str]) -> str:
    """File names for a line: the first, and how many more."""
    first = shown(files[0]).rsplit("/", 1)[-1]
    return first if len(files) == 1 else f"{first} and {len(files) - 1} more"
