"""Ingest, once: a vendor's long tables in, a frozen `Market` and the list of what was refused out.

Every rule uses its own bar and earlier ones only, so admitting day by day gives the same market as all at once.
"""

from typing import NamedTuple, cast

import numpy as np
import pandas as pd

from openbook.common.errors import DataError
from openbook.market import calendar
from openbook.market.side_tables import (
    clean_actions,
    clean_filings,
    clean_index,
    clean_sectors,
    clean_spells,
    membership,
)
from openbook.market.sparsity import require_filled
from openbook.market.tables import BAR_FIELDS, REFUSED_COLUMNS, Delivery, Market, adjust, refused_rows, wide

PRICES = ("open", "high", "low", "close")


class DoorRule(NamedTuple):
    """A threshold, and why a bar on the wrong side of it is not accepted."""

    threshold: float | None
    reason: str


INGEST_RULES = {
    "reserved": DoorRule(None, "CASH is reserved for the cash row in weights; rename the symbol"),
    "holiday": DoorRule(None, "the exchange was closed, or the date is before 1960"),
    "duplicate": DoorRule(None, "exact duplicate: one is kept; if they differ, all vendor data are rejected"),
    "price": DoorRule(0.0, "a price is a finite number above this; open, high and low may be absent"),
    "volume": DoorRule(0.0, "a volume is a finite number of shares, at least this; it may be absent"),
    "range": DoorRule(1e-4, "high ≥ low and the close between them, to this share of the price: vendors round"),
    "level": DoorRule(
        25.0, "this far from the last accepted close, split-adjusted, a drop must repeat and a rise must persist"
    ),
    "filing": DoorRule(None, "an item sent twice on one day with different values: the last one is used"),
    "action": DoorRule(None, "exact duplicate of an action: one is kept"),
}
# The rules that leave a hole where a session should have a bar.
BAR_RULES = ("price", "volume", "range", "level")
# After so many sessions without an accepted close, a new level is a new beginning. A rise waits for that, because a
# false rise makes money from nothing; a fall costs, so it is accepted with the third traded bar at the new level.
LEVEL_MEMORY, LEVEL_BARS = 20, 3
# How far apart these bars may close: below a dollar, prices move by so much in a few days (CheckupRules.thin_jump).
LEVEL_NEAR = 4.0
# Weekdays that indicate shifted dates: what is there, what is missing, and the conclusion. A stray row on a Sunday
# happens; three weeks with one and without a Friday, and most weeks of a name so, do not.
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
SHIFTS = (
    ("early", 6, 4, "which would be look-ahead by one session"),
    ("late", 5, 0, "which would delay every decision by one session"),
)
SHIFTED_WEEKS = 3
DOUBTFUL = "close "  # what the detail of a bar refused by `level` begins with


class Bars(NamedTuple):
    """Long bars in plain arrays of one length: `day` (datetime64[D]), `column` into `symbols`, values by field."""

    day: np.ndarray
    column: np.ndarray
    symbols: pd.Index
    values: dict[str, np.ndarray]

    def take(self, keep: np.ndarray) -> "Bars":
        """The bars where `keep` is true."""
        if keep.all():
            return self
        values = {field: array[keep] for field, array in self.values.items()}
        return self._replace(day=self.day[keep], column=self.column[keep], values=values)


def admit(delivery: Delivery, *, through=None, today=None) -> tuple[Market, pd.DataFrame]:
    """Check a delivery and shape it into a `Market` of every session from its first bar to its last.

    through : what is dated later is ignored, as if it had not been sent (None: nothing is)
    today : the date now in New York (None: by this machine's clock)

    Returns the market, and what was refused: date, symbol, rule (of INGEST_RULES), detail; a refused bar is missing.
    Raises DataError for a bar after today, for bars dated a day early or late, for two different bars of one symbol and
    session, for a symbol, date or action that makes no sense, and if nothing is left.
    """
    bars = _until(read_bars(delivery), through, calendar.today() if today is None else calendar.as_day(today))
    require_filled(bars.day, bars.column, bars.symbols, delivery.name)
    _require_own_days(bars)
    bars, misplaced = refuse(bars, ("reserved", "holiday"))
    dates = _span(bars, delivery, through)
    bars, wrong = refuse(bars, ("duplicate", "price", "volume", "range"))
    bars = _with_listed_symbols(bars)
    actions, repeated = clean_actions(delivery, bars.symbols, dates)
    tables, adjusted, unbelieved = _believed(_pivot(bars, dates), actions, dates, bars.symbols)
    filings, late = clean_filings(delivery.fundamentals, bars.symbols, dates)
    market = Market(
        **{field: wide(values, dates, bars.symbols) for field, values in tables.items()},
        adjusted=adjusted,
        name=delivery.name,
        execution=delivery.execution,
        actions=actions,
        fundamentals=filings,
        sectors=clean_sectors(delivery.sectors, bars.symbols),
        sector_spells=clean_spells(delivery.sectors, bars.symbols, dates),
        members=membership(delivery.members, dates, bars.symbols),
        market_cap=None if delivery.market_cap is None else _caps(delivery.market_cap, adjusted),
        index=clean_index(delivery.index, dates),
        notes=delivery.notes,
        doubtful=doubtful_closes(unbelieved),
    )
    refused = pd.concat([misplaced, wrong, repeated, unbelieved, late])
    return market, refused.sort_values(REFUSED_COLUMNS, ignore_index=True)


def read_bars(delivery: Delivery) -> Bars:
    """The delivered bars as plain arrays, symbols sorted; rows without any price are no bars."""
    table = delivery.bars
    lacking = [name for name in ("symbol", "date", "close") if name not in table]
    if lacking:
        raise DataError(f"{delivery.name} has no column {lacking[0]}; map it in the source's `columns`")
    twice = [name for name in ("symbol", "date", *BAR_FIELDS) if (table.columns == name).sum() > 1]
    if twice:
        raise DataError(f"{delivery.name} has two columns {twice[0]}; map one of them in the source's `columns`")
    column, symbols = _codes(table["symbol"], delivery.name)
    if not pd.api.types.is_datetime64_any_dtype(table["date"]) or table["date"].isna().any():
        raise DataError(f"{delivery.name} has rows without a valid date; set date_format in the source")
    day = table["date"].dt.tz_localize(None).to_numpy().astype("datetime64[D]")
    fields = [field for field in BAR_FIELDS if field in table]
    values = {field: _numbers(table[field], field, delivery.name) for field in fields}
    empty = np.logical_and.reduce([np.isnan(values[field]) for field in fields if field in PRICES])
    return Bars(day, column, symbols, values).take(~empty)


def _numbers(column: pd.Series, field: str, name: str) -> np.ndarray:
    """A column as float64, missing is NaN; DataError if it holds something else than numbers."""
    kind = column.dtype.kind
    if kind not in "iuf" and not (kind == "O" and not isinstance(column.dtype, pd.CategoricalDtype)):
        raise DataError(f"{name} has a column {field} of {column.dtype}, not of numbers; map another in the source")
    try:
        return column.to_numpy("float64", na_value=np.nan)
    except (ValueError, TypeError) as error:
        raise DataError(f"{name}: column {field} has a value that is not a number: {error}") from None


def _codes(symbol: pd.Series, name: str) -> tuple[np.ndarray, pd.Index]:
    """Position of each row's symbol among the sorted symbols."""
    try:
        codes, found = pd.factorize(symbol)
        text = all(isinstance(value, str) and value.strip() and value.encode() for value in found)
    except (TypeError, UnicodeEncodeError):  # a list is no key; half of a surrogate pair is no text
        text = False
    if not text or (codes < 0).any():
        raise DataError(
            f"{name} has rows with a missing or non-text symbol; read the column as text, so that NA and "
            "TRUE stay as written"
        )
    if odd := [value for value in found if not value.strip().isprintable()]:
        raise DataError(f"{name} has a symbol with characters that cannot be printed: {odd[0]!r}; correct the file")
    written = pd.Index([value.strip() for value in found], dtype="str")  # "AAPL " is AAPL
    symbols = pd.Index(sorted(set(written)), dtype="str", name="symbol")
    return symbols.get_indexer(written)[codes], symbols


def _until(bars: Bars, through, today: pd.Timestamp) -> Bars:
    """The bars up to `through`; DataError if any bar, wanted or not, is dated after today."""
    future = np.flatnonzero(bars.day > today.to_datetime64())
    if len(future):
        first = future[0]
        raise DataError(
            f"{bars.symbols[bars.column[first]]} has a bar of {bars.day[first]}, after today ({today:%Y-%m-%d}), and "
            f"{len(future) - 1} more; correct the source, or this machine's clock"
        )
    return bars if through is None else bars.take(bars.day <= calendar.as_day(through).to_datetime64())


def _require_own_days(bars: Bars) -> None:
    """DataError names the symbols whose bars are dated a day early or late, as a vendor's time zone can make them."""
    week, weekday = np.divmod(bars.day.astype("int64") + 3, 7)  # 1970-01-01 was a Thursday; weeks begin on Monday
    week -= week.min(initial=0)
    for shift, there, absent, harm in SHIFTS:
        if not (weekday == there).any():
            continue
        weeks, all_weeks = _weeks_with(bars, week, weekday, there, absent)
        bad = np.flatnonzero((weeks >= SHIFTED_WEEKS) & (2 * weeks > all_weeks))
        if len(bad):
            named = ", ".join([*bars.symbols[bad[:5]], *(["…"] if len(bad) > 5 else [])])
            first = bad[0]
            raise DataError(
                f"the bars of {named} are dated one day {shift}: in {weeks[first]} of {all_weeks[first]} weeks "
                f"{bars.symbols[first]} has a bar on {DAYS[there]} and none on {DAYS[absent]}, {harm}; give each "
                "bar the date of its session in New York (a time zone of the vendor or of the export shifts it)"
            )


def _weeks_with(bars: Bars, week: np.ndarray, weekday: np.ndarray, there: int, absent: int) -> np.ndarray:
    """By symbol, the weeks in which it has a bar on one weekday and none on another, and all its weeks, (2, n)."""
    shifted = np.isin(bars.column, np.unique(bars.column[weekday == there]))
    span, n = week.max(initial=0) + 1, len(bars.symbols)
    key, weekday = (bars.column * span + week)[shifted], weekday[shifted]
    odd = np.setdiff1d(key[weekday == there], key[weekday == absent])
    return np.array([np.bincount(each // span, minlength=n) for each in (odd, np.unique(key))])


def _span(bars: Bars, delivery: Delivery, through) -> pd.DatetimeIndex:
    """Every session from the first bar to the last, with bars or without."""
    if not len(bars.day):
        until = "" if through is None else f" up to {calendar.as_day(through):%Y-%m-%d}"
        raise DataError(f"{delivery.name} has no bars on any session{until}; check path and dates of the source")
    return calendar.sessions(bars.day.min(), bars.day.max())


def refuse(bars: Bars, rules: tuple[str, ...]) -> tuple[Bars, pd.DataFrame]:
    """The bars that pass these rules of INGEST_RULES, one after the other, and a table of those that do not."""
    refused = []
    for rule in rules:
        bad = is_bad(bars, rule)
        refused.append(_listed(bars, np.flatnonzero(bad), rule))
        bars = bars.take(~bad)
    return bars, pd.concat(refused)


def is_bad(bars: Bars, rule: str) -> np.ndarray:
    """Which bars fail one of the rules of INGEST_RULES that need bars alone."""
    return _IS_BAD[rule](bars)


def _listed(bars: Bars, rows: np.ndarray, rule: str) -> pd.DataFrame:
    """The bars at these rows as lines of the refused table, their numbers spelled out."""
    detail = [", ".join(f"{field} {values[i]:.7g}" for field, values in bars.values.items()) for i in rows]
    return refused_rows(bars.day[rows], bars.symbols[bars.column[rows]], rule, detail)


def _is_reserved(bars: Bars) -> np.ndarray:
    return bars.column == (bars.symbols.get_loc("CASH") if "CASH" in bars.symbols else -1)


def _is_holiday(bars: Bars) -> np.ndarray:
    if not len(bars.day):
        return np.zeros(0, dtype=bool)
    first = max(bars.day.min(), np.datetime64(calendar.FIRST))
    known = calendar.sessions(first, max(bars.day.max(), first)).to_numpy().astype("datetime64[D]")
    is_open = np.zeros(int((known[-1:].max(initial=first) - first).astype(int)) + 1, dtype=bool)
    is_open[(known - first).astype(int)] = True
    offset = (bars.day - first).astype(int)
    return ~((offset >= 0) & (offset < len(is_open)) & is_open[np.clip(offset, 0, len(is_open) - 1)])


def _is_duplicate(bars: Bars) -> np.ndarray:
    """Second and later copies of a bar; DataError if two bars of one symbol and session differ."""
    again, other = copies(bars)
    differ = np.flatnonzero(other)
    if len(differ):
        named = [f"{bars.symbols[bars.column[i]]} on {bars.day[i]}" for i in differ[:5]]
        raise DataError(
            f"two different bars of {', '.join(named)}{' and others' if len(differ) > 5 else ''}; "
            "keep the right one in the source, or give the two companies two symbols"
        )
    return again


def copies(bars: Bars) -> tuple[np.ndarray, np.ndarray]:
    """Which bars repeat an earlier one of their symbol and session: exactly, or with other numbers."""
    key = bars.day.astype("int64") * len(bars.symbols) + bars.column
    rows = np.flatnonzero(_is_shared(key))
    twice = pd.DataFrame({"key": key[rows], **{field: values[rows] for field, values in bars.values.items()}})
    same = twice.duplicated().to_numpy()
    again, other = np.zeros((2, len(key)), dtype=bool)
    again[rows[same]] = True
    other[rows[twice.duplicated("key").to_numpy() & ~same]] = True
    return again, other


def _is_shared(key: np.ndarray) -> np.ndarray:
    """Which keys occur more than once; by counting, unless one bar of long ago makes the range of keys too wide."""
    if not len(key) or np.ptp(key) > 4 * len(key) + 1e6:
        return pd.Series(key).duplicated(keep=False).to_numpy()
    key = key - key.min()
    return (np.bincount(key) > 1)[key]


def _is_wrong_price(bars: Bars) -> np.ndarray:
    positive = _positive(bars.values["close"])
    for field in ("open", "high", "low"):
        if field in bars.values:
            positive &= _positive(bars.values[field]) | np.isnan(bars.values[field])
    return ~positive


def _positive(values: np.ndarray) -> np.ndarray:
    return (values > INGEST_RULES["price"].threshold) & np.isfinite(values)


def _is_wrong_volume(bars: Bars) -> np.ndarray:
    if "volume" not in bars.values:
        return np.zeros(len(bars.day), dtype=bool)
    volume = bars.values["volume"]
    return ~(((volume >= INGEST_RULES["volume"].threshold) & np.isfinite(volume)) | np.isnan(volume))


def _is_out_of_range(bars: Bars) -> np.ndarray:
    close, slack = bars.values["close"], INGEST_RULES["range"].threshold * bars.values["close"]
    high, low = (bars.values.get(field, close) for field in ("high", "low"))
    high, low = (np.where(np.isnan(values), close, values) for values in (high, low))
    with np.errstate(over="ignore", invalid="ignore"):  # 1e308 is a price, if the others agree; infinity is none
        return ~((high >= low - slack) & (close <= high + slack) & (close >= low - slack))


_IS_BAD = {
    "reserved": _is_reserved,
    "holiday": _is_holiday,
    "duplicate": _is_duplicate,
    "price": _is_wrong_price,
    "volume": _is_wrong_volume,
    "range": _is_out_of_range,
}


def _with_listed_symbols(bars: Bars) -> Bars:
    """Only symbols that still have a bar."""
    listed = np.bincount(bars.column, minlength=len(bars.symbols)) > 0
    if not listed.any():
        raise DataError("every bar of the vendor data was rejected; check units and columns of the source")
    return bars._replace(column=(np.cumsum(listed) - 1)[bars.column], symbols=bars.symbols[listed])


def _pivot(bars: Bars, dates: pd.DatetimeIndex) -> dict[str, np.ndarray]:
    """Each field as sessions × symbols, NaN where there is no bar."""
    days = dates.to_numpy().astype("datetime64[D]")
    row_of = np.zeros(int((days[-1] - days[0]).astype(int)) + 1, dtype=np.int64)
    row_of[(days - days[0]).astype(int)] = np.arange(len(days))
    cell = row_of[(bars.day - days[0]).astype(int)] * len(bars.symbols) + bars.column
    out = {}
    for field, values in bars.values.items():
        out[field] = np.full((len(days), len(bars.symbols)), np.nan)
        out[field].ravel()[cell] = values
    return out


def _believed(tables, actions, dates, symbols) -> tuple[dict[str, np.ndarray], pd.DataFrame, pd.DataFrame]:
    """The tables without bars at an impossible level, the adjusted close, and the refused bars."""
    adjusted = adjust(pd.DataFrame(tables["close"], index=dates, columns=symbols, copy=False), actions)
    rows, columns = _impossible_levels(adjusted, tables)
    detail = [f"{DOUBTFUL}{tables['close'][cell]:.7g}" for cell in zip(rows, columns, strict=True)]
    refused = refused_rows(dates[rows], symbols[columns], "level", detail)
    if len(rows):
        for values in tables.values():
            values[rows, columns] = np.nan
        adjusted = adjust(pd.DataFrame(tables["close"], index=dates, columns=symbols, copy=False), actions)
    return tables, adjusted, refused


def doubtful_closes(refused: pd.DataFrame) -> pd.DataFrame | None:
    """`Market.doubtful` from the table of what was refused: date, symbol, close; None if there is nothing."""
    rows = refused[(refused["rule"] == "level") & refused["detail"].str.startswith(DOUBTFUL)]
    if rows.empty:
        return None
    close = rows["detail"].str.removeprefix(DOUBTFUL).astype("float64")
    return rows[["date", "symbol"]].assign(close=close).sort_values(["date", "symbol"], ignore_index=True)


def _impossible_levels(adjusted: pd.DataFrame, tables: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of bars that fail the rule `level`."""
    with np.errstate(over="ignore", invalid="ignore"):
        level = np.log(adjusted.to_numpy())
    limit = np.log(cast(float, INGEST_RULES["level"].threshold))
    before = pd.DataFrame(level).ffill(limit=LEVEL_MEMORY).shift(1).to_numpy()
    cells = []
    for column in np.flatnonzero((np.abs(level - before) > limit).any(axis=0)):
        bars = {field: values[:, column] for field, values in tables.items()}
        believed = None
        doubted: list = []
        for row in np.flatnonzero(~np.isnan(level[:, column])):
            move = (
                0.0
                if believed is None or row - believed > LEVEL_MEMORY
                else level[row, column] - level[believed, column]
            )
            doubted = [*doubted[1 - LEVEL_BARS :], row] if abs(move) > limit else []
            if doubted and not (move < 0 and _is_confirmed(level[:, column], bars, doubted)):
                cells.append((row, column))
            else:
                believed, doubted = row, []
    rows, columns = np.array(cells, dtype=int).reshape(-1, 2).T
    return rows, columns


def _is_confirmed(level: np.ndarray, bars: dict[str, np.ndarray], rows: list[int]) -> bool:
    """Whether these bars, the last doubtful ones, are enough, near to each other, traded, and none sent twice."""
    if len(rows) < LEVEL_BARS or not np.ptp(level[rows]) <= np.log(LEVEL_NEAR):
        return False
    traded = "volume" not in bars or bool((bars["volume"][rows] > 0).all())
    cells = np.array([values[rows] for values in bars.values()])
    again = (cells[:, 1:] == cells[:, :-1]) | np.isnan(cells[:, 1:])
    return traded and not again.all(axis=0).any()


def _caps(table: pd.DataFrame, close: pd.DataFrame) -> pd.DataFrame:
    """Caps on the sessions and symbols of `close`; missing before the first bar, and if no positive finite number."""
    values = table.reindex(index=close.index, columns=close.columns).to_numpy("float64", copy=True)
    bar = close.notna().to_numpy()
    listed = np.arange(len(bar))[:, None] >= np.where(bar.any(axis=0), bar.argmax(axis=0), len(bar))
    values[~(_positive(values) & listed)] = np.nan
    return wide(values, close.index, close.columns)
