"""The market as frozen tables, and the one way to cut them: `market.upto(date)`, as known then or now."""

from dataclasses import dataclass, fields, replace
from typing import Any, cast

import numpy as np
import pandas as pd

from openbook.common.errors import DataError
from openbook.common.frames import places_in
from openbook.common.shown import Shown
from openbook.market.restatements import WIDE_TABLES, in_order, put_index, put_rows, restated_rows
from openbook.market.rewrites import Grid, put_in_turn, rewrite_rows, spelled_out

BAR_FIELDS = ("open", "high", "low", "close", "volume")
ACTION_COLUMNS = ["date", "symbol", "kind", "value"]
ACTION_KINDS = ("split", "dividend", "delisting")
FUNDAMENTAL_COLUMNS = ["symbol", "available", "period_end", "item", "value"]
FILING_KEY = ["available", "symbol", "item", "period_end"]
EXECUTIONS = ("next_open", "next_close")
REFUSED_COLUMNS = ["date", "symbol", "rule", "detail"]
SPELL_COLUMNS = ["symbol", "start", "sector"]
Spans = dict[str, list[str]]  # symbol → first and last session, and the second source that they came from


def empty_actions() -> pd.DataFrame:
    """No corporate actions, with the right columns."""
    return pd.DataFrame(
        {
            "date": pd.Series(dtype="datetime64[us]"),
            "symbol": pd.Series(dtype="str"),
            "kind": pd.Series(dtype="str"),
            "value": pd.Series(dtype="float64"),
        }
    )


def refused_rows(date, symbol, rule: str, detail) -> pd.DataFrame:
    """Lines of the table of what ingest refused, REFUSED_COLUMNS; `rule` names a rule of `ingest.INGEST_RULES`."""
    table = {"date": np.asarray(date, dtype="datetime64[us]"), "symbol": symbol, "rule": rule, "detail": detail}
    return pd.DataFrame(table).astype(dict.fromkeys(("symbol", "rule", "detail"), "str"))


@dataclass(frozen=True)
class Delivery:
    """What a provider hands over, unchecked: long tables, as the vendor sent them.

    bars : columns symbol, date, then any of open, high, low, close, volume; one row per symbol and session
    actions : ACTION_COLUMNS; value is new shares per old (split), USD per share (dividend), final return (delisting)
    fundamentals : FUNDAMENTAL_COLUMNS or None; `available` is the first session on which the item may be used
    sectors : by symbol; or SPELL_COLUMNS, where sectors are dated (start NaT: since ever); or None
    members : columns symbol, start, end (NaT: still a member), or None
    market_cap : sessions × symbols in USD, or None
    index : closes of the market index by session, or None
    adjusted : True if the prices are already adjusted for splits and dividends (then `actions` is empty)
    missing : symbols that were asked for and are not here: a second source may have them
    unready : why the provider's answer is not whole, so that it counts with a second source only; "" if it is
    second : what came from a second source; None if nothing did

    Examples
    --------
    >>> bars = pd.DataFrame({"symbol": "A", "date": pd.to_datetime(["2022-12-28"]), "close": [10.0]})
    >>> ob.Delivery(bars, name="mine").name
    'mine'
    """

    bars: pd.DataFrame
    name: str
    execution: str = "next_open"
    adjusted: bool = False
    actions: pd.DataFrame | None = None
    fundamentals: pd.DataFrame | None = None
    sectors: pd.Series | pd.DataFrame | None = None
    members: pd.DataFrame | None = None
    market_cap: pd.DataFrame | None = None
    index: pd.Series | None = None
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unready: str = ""
    second: Spans | None = None


@dataclass(frozen=True, eq=False)
class Market(Shown):
    """Frozen tables of one market; a field that the source lacks is None, never invented.

    close, adjusted, open, high, low : sessions × symbols, float64, USD; NaN where there is no bar
    volume : sessions × symbols, float64, shares
    adjusted : total-return close; only its ratios mean anything. It is carried forward from the first bar, so that
        a later split or dividend never changes an earlier value
    actions, fundamentals, sectors, members, market_cap, index : see `Delivery`; members is sessions × symbols, bool
    sector_spells : SPELL_COLUMNS, sorted, where sectors are dated; `sectors` is then the assignment of the last session
    execution : "next_open", or "next_close" where the source has closes only
    notes : sentences that every page shows
    restated : the vendor's restatements of sessions already delivered, `restatements.restated_rows`; None: none
        is known of that. The tables above hold the newest values
    rewritten : whole histories of it that were multiplied by one factor, `rewrites.rewrite_rows`; None: none was.
        `restatements` has them cell by cell
    doubtful : date, symbol, close of the bars that ingest's rule `level` refused: no table above has them, and yet
        their name is not worth what it was before; None: there were none

    Examples
    --------
    >>> market.upto("2022-12-28").dates[-1].date().isoformat()
    '2022-12-28'
    """

    close: pd.DataFrame
    adjusted: pd.DataFrame
    name: str
    execution: str
    actions: pd.DataFrame
    open: pd.DataFrame | None = None
    high: pd.DataFrame | None = None
    low: pd.DataFrame | None = None
    volume: pd.DataFrame | None = None
    fundamentals: pd.DataFrame | None = None
    sectors: pd.Series | None = None
    members: pd.DataFrame | None = None
    market_cap: pd.DataFrame | None = None
    index: pd.Series | None = None
    notes: tuple[str, ...] = ()
    restated: pd.DataFrame | None = None
    rewritten: pd.DataFrame | None = None
    sector_spells: pd.DataFrame | None = None
    doubtful: pd.DataFrame | None = None

    def __post_init__(self):
        if self.execution not in EXECUTIONS:
            raise DataError(f"execution must be one of {EXECUTIONS}, not {self.execution!r}")
        for name, table in self._wide().items():
            if not (table.index.equals(self.dates) and table.columns.equals(self.symbols)):
                raise DataError(f"table {name} must have the same sessions and symbols as close")
            object.__setattr__(self, name, frozen(table))
        if self.sector_spells is not None:
            object.__setattr__(self, "sectors", sectors_on(self.sector_spells, self.dates.max()))

    @property
    def dates(self) -> pd.DatetimeIndex:
        """The sessions, oldest first."""
        return cast(pd.DatetimeIndex, self.close.index)

    @property
    def symbols(self) -> pd.Index:
        """The symbols, sorted."""
        return self.close.columns

    @property
    def bar_fields(self) -> tuple[str, ...]:
        """Which of open, high, low, close, volume this source has."""
        return tuple(name for name in BAR_FIELDS if getattr(self, name) is not None)

    @property
    def adjustment(self) -> pd.DataFrame:
        """adjusted / close, sessions × symbols: multiply a raw price by it to compare it with `adjusted`."""
        return self.adjusted / self.close

    @property
    def execution_price(self) -> pd.DataFrame:
        """The raw price at which an order of the session before is filled, sessions × symbols, USD."""
        return cast(pd.DataFrame, self.open) if self.execution == "next_open" else self.close

    @property
    def adjusted_execution(self) -> pd.DataFrame:
        """The total-return counterpart of `execution_price`; only its ratios have a meaning."""
        return self.open * self.adjustment if self.execution == "next_open" else self.adjusted

    def summary(self) -> dict[str, str]:
        """Description of the market for a page: source, size, span, fields, and how orders execute."""
        there = int(self.close.iloc[-1].notna().sum())
        members = {} if self.members is None else {"Members": f"{int(self.members.iloc[-1].sum())}"}
        return {
            "Source": self.name,
            "Last session": f"{self.dates[-1]:%Y-%m-%d}",
            "Names with a bar": f"{there} of {len(self.symbols)}",
            **members,
            "Sessions": f"{len(self.dates):,} since {self.dates[0]:%Y-%m-%d}",
            "Fields": ", ".join(self.bar_fields),
            "Execution": self.execution.replace("_", " "),
        }

    def upto(self, date, *, as_known_on=None) -> "Market":
        """The market at the close of `date`, without any later row.

        as_known_on : the past as known at the close of that session: later restatements of sessions
            delivered before are undone, and names without a known bar are dropped. A session that was only
            delivered later counts as it was first delivered. Nothing: the newest values that this market knows.
            Sessions after it were not known either.
        """
        date = pd.Timestamp(date)
        if as_known_on is not None:
            then = pd.Timestamp(as_known_on)
            return self._seen_on(then).upto(min(date, then))
        cut: dict[str, Any] = {name: table.loc[:date] for name, table in self._wide().items()}
        cut["actions"] = self.actions[self.actions["date"] <= date].reset_index(drop=True)
        if self.fundamentals is not None:
            known = self.fundamentals["available"] <= date
            cut["fundamentals"] = self.fundamentals[known].reset_index(drop=True)
        if self.index is not None:
            cut["index"] = self.index.loc[:date]
        if self.sector_spells is not None:
            cut["sector_spells"] = self.sector_spells[~(self.sector_spells["start"] > date)].reset_index(drop=True)
        if self.restated is not None:
            cut["restated"] = self.restated[~(self.restated["date"] > date)].reset_index(drop=True)
        if self.rewritten is not None:
            cut["rewritten"] = self.rewritten[self.rewritten["first"] <= date].reset_index(drop=True)
        if self.doubtful is not None:
            known = self.doubtful[self.doubtful["date"] <= date].reset_index(drop=True)
            cut["doubtful"] = None if known.empty else known
        return replace(self, **cut)

    def _seen_on(self, session: pd.Timestamp) -> "Market":
        """All sessions of this market, as they were known at the close of one."""
        if not self.is_restated_since(session):
            return self
        kept: dict[str, Any] = {}
        back: list[pd.DataFrame | None] = []
        for name in ("restated", "rewritten"):
            table = getattr(self, name)
            later: Any = None if table is None else table["known"] > session
            back.append(None if table is None else table[later])
            kept[name] = None if table is None else table[~later].reset_index(drop=True)
        seen = replace(self.before(*back), **kept)
        forgotten = seen.symbols[(self.close.notna().any() & seen.close.isna().all()).to_numpy()]
        return seen.without(forgotten) if len(forgotten) else seen

    def is_restated_since(self, session) -> bool:
        """Whether sessions delivered before were restated after the close of `session`."""
        later_rows = [table["known"] > session for table in (self.restated, self.rewritten) if table is not None]
        return any(bool(later.any()) for later in later_rows)

    def restatements(self, *, since=None) -> pd.DataFrame:
        """Restatements, one row per cell, `restatements.restated_rows`; of names of this market too.

        since : only restatements known after the close of this session; None: all
        """
        rows = restated_rows() if self.restated is None else self.restated
        cells = restated_rows()
        if self.rewritten is not None and len(self.rewritten):
            later = [table if since is None else table[table["known"] > since] for table in (rows, self.rewritten)]
            cells = spelled_out(self._wide(), *later)
        rows = rows if since is None else rows[rows["known"] > since]
        return in_order(pd.concat([rows, cells], ignore_index=True)) if len(cells) else rows.reset_index(drop=True)

    def before(self, rows: pd.DataFrame | None, rewrites: pd.DataFrame | None = None) -> "Market":
        """The market without these rows of `restated` and `rewritten`: the earlier values are restored.

        Oldest first, both; names are kept.
        """
        rows = restated_rows() if rows is None else rows
        rewrites = rewrite_rows() if rewrites is None else rewrites
        if rows.empty and rewrites.empty:
            return self
        wanted: dict[str, Any] = {}
        grid = Grid(self.dates, self.symbols)
        for name in (*self.bar_fields, *(["market_cap"] if self.market_cap is not None else [])):
            chosen = rows[rows["table"].isin(WIDE_TABLES) & (rows["field"] == name)]
            values = getattr(self, name).to_numpy().copy()
            put_in_turn(values, chosen, rewrites[rewrites["field"] == name], "before", grid)
            wanted[name] = wide(values, self.dates, self.symbols)
        actions = put_rows("actions", self.actions, rows, "before").sort_values(ACTION_COLUMNS, ignore_index=True)
        wanted |= {"actions": actions, "adjusted": adjust(wanted["close"], actions)}
        if self.fundamentals is not None:
            filings = put_rows("fundamentals", self.fundamentals, rows, "before")
            wanted["fundamentals"] = filings.sort_values(FILING_KEY, ignore_index=True)
        if self.sector_spells is not None:
            spells = put_rows("sector_spells", self.sector_spells, rows, "before")
            wanted["sector_spells"] = spells.sort_values(SPELL_COLUMNS, na_position="first", ignore_index=True)
        elif self.sectors is not None:
            wanted["sectors"] = sectors_of(put_rows("sectors", sector_rows(self.sectors), rows, "before"))
        if self.index is not None:
            wanted["index"] = put_index(self.index, rows[::-1], "before")
        return replace(self, **wanted)

    def without(self, symbols: pd.Index) -> "Market":
        """The same market without `symbols`, in none of its tables."""
        kept = self.select(self.symbols.difference(symbols))
        cut = {
            name: table[~table["symbol"].isin(symbols)].reset_index(drop=True)
            for name in ("actions", "fundamentals", "sector_spells", "doubtful")
            if (table := getattr(self, name)) is not None
        }
        if self.sectors is not None:
            cut["sectors"] = self.sectors[~self.sectors.index.isin(symbols)]
        return replace(kept, **cut)

    def select(self, symbols) -> "Market":
        """The same market with only `symbols`, in the market's order."""
        keep = self.symbols[self.symbols.isin(list(symbols))]
        cut: dict[str, Any] = {name: table[keep] for name, table in self._wide().items()}
        return replace(self, **cut)

    def _wide(self) -> dict[str, pd.DataFrame]:
        """The sessions × symbols tables that this source has, by name."""
        names = (*BAR_FIELDS, "adjusted", "members", "market_cap")
        return {
            f.name: getattr(self, f.name) for f in fields(self) if f.name in names and getattr(self, f.name) is not None
        }


def wide(values: np.ndarray, dates: pd.Index, symbols: pd.Index) -> pd.DataFrame:
    """A sessions × symbols table over `values`, which becomes read-only: writing into one raises ValueError."""
    values.flags.writeable = False
    return pd.DataFrame(values, index=dates, columns=symbols, copy=False)


def sector_rows(sectors: pd.Series) -> pd.DataFrame:
    """Sectors by symbol as a long table: symbol, sector."""
    return sectors.rename("sector").rename_axis("symbol").reset_index().astype("str")


def sectors_on(spells: pd.DataFrame, date) -> pd.Series:
    """Sector by symbol as valid on `date`, from SPELL_COLUMNS (start NaT: since ever); the newest start counts.

    DataError if a symbol begins two sectors on one day.
    """
    table = spells.drop_duplicates(SPELL_COLUMNS)
    twice = table[table.duplicated(["symbol", "start"])]
    if len(twice):
        raise DataError(f"{twice.iloc[0]['symbol']} has two sectors from the same day; keep one in the source")
    valid = table[~(table["start"] > pd.Timestamp(date))]
    newest = valid.sort_values(["symbol", "start"], na_position="first").drop_duplicates("symbol", keep="last")
    return sectors_of(newest)


def sectors_of(rows: pd.DataFrame) -> pd.Series:
    """The long table as sectors by symbol again, sorted."""
    index = pd.Index(rows["symbol"], dtype="str", name="symbol")
    return pd.Series(rows["sector"].to_numpy(object), index=index, name="sector", dtype="str").sort_index()


def frozen(table: pd.DataFrame) -> pd.DataFrame:
    """The same table over a read-only array; the numbers are copied only if they could still be changed elsewhere."""
    values = table.to_numpy()
    return wide(values.copy() if _writable(values) else values, table.index, table.columns)


def _writable(values: np.ndarray) -> bool:
    """Whether the numbers can be changed through this array or through the one that it is a view of."""
    if values.base is None:
        return values.flags.writeable
    return not isinstance(values.base, np.ndarray) or _writable(values.base)


def adjust(close: pd.DataFrame, actions: pd.DataFrame) -> pd.DataFrame:
    """Total-return close: what one share of each symbol's first bar has become, sessions × symbols, USD.

    A split multiplies the shares; a dividend is paid per share after the splits of its day, and buys more shares at
    that session's close. Where a symbol has no bar, both wait for its next one, so a gap keeps its return. Carried
    forward: no later action changes an earlier value. Actions up to the first bar change nothing; without actions the
    result is `close` itself.
    """
    growth = np.ones(close.shape)
    rows, columns, ratios = _effective(actions, "split", close)
    np.multiply.at(growth, (rows, columns), ratios)
    reinvested = _reinvested(_effective(actions, "dividend", close), growth, close.to_numpy())
    if not (len(rows) or len(reinvested[0])):
        return close
    np.multiply.at(growth, reinvested[:2], reinvested[2])
    shares = np.cumprod(growth, axis=0, out=growth)
    return wide(shares * close.to_numpy(), close.index, close.columns)


def _effective(actions: pd.DataFrame, kind: str, close: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, column and value of the actions of one kind after the symbol's first bar.

    One between two sessions takes effect on the next; one after the last session is not known yet.
    """
    chosen = actions[(actions["kind"] == kind) & actions["symbol"].isin(close.columns)]
    rows, columns = close.index.searchsorted(chosen["date"]), places_in(close.columns, chosen["symbol"])
    first_bar = close.notna().to_numpy().argmax(axis=0)
    known = (rows < len(close)) & (rows > first_bar[columns])
    return rows[known], columns[known], chosen["value"].to_numpy("float64")[known]


def _reinvested(dividends, splits: np.ndarray, close: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, column and growth of the shares by reinvesting the dividends due at each bar.

    dividends : rows, columns, USD per share
    splits : sessions × symbols, new shares per old
    """
    rows, columns, value = (array.copy() for array in dividends)
    for i in np.flatnonzero(np.isnan(close[rows, columns])):
        row, column = rows[i], columns[i]
        wait = int(np.argmax(~np.isnan(close[row:, column])))
        rows[i] += wait  # 0 if no bar has come since: left out below
        value[i] /= splits[row + 1 : row + wait + 1, column].prod()
    arrived = ~np.isnan(close[rows, columns])
    rows, columns, value = rows[arrived], columns[arrived], value[arrived]
    bars, which = np.unique(rows * close.shape[1] + columns, return_inverse=True)
    rows, columns = np.divmod(bars, close.shape[1])
    due = np.bincount(which, weights=value, minlength=len(bars))
    return rows, columns, 1.0 + due / close[rows, columns]
