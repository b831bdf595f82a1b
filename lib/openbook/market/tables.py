"""The market as frozen tables, and the only way to look at them: `market.upto(date)`."""

from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd

from openbook.errors import DataError

BAR_FIELDS = ("open", "high", "low", "close", "volume")
ACTION_COLUMNS = ["date", "symbol", "kind", "value"]
ACTION_KINDS = ("split", "dividend", "delisting")
FUNDAMENTAL_COLUMNS = ["symbol", "available", "period_end", "item", "value"]
EXECUTIONS = ("next_open", "next_close")


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


@dataclass(frozen=True)
class Delivery:
    """What a provider hands over, unchecked: long tables, as the vendor sent them.

    bars : columns symbol, date, then any of open, high, low, close, volume; one row per symbol and session
    actions : ACTION_COLUMNS; value is new shares per old (split), USD per share (dividend), final return (delisting)
    fundamentals : FUNDAMENTAL_COLUMNS or None; `available` is the first session on which the item may be used
    sectors : by symbol, or None
    members : columns symbol, start, end (NaT: still a member), or None
    market_cap : sessions × symbols in USD, or None
    index : closes of the market index by session, or None
    adjusted : True if the prices are already adjusted for splits and dividends (then `actions` is empty)
    """

    bars: pd.DataFrame
    name: str
    execution: str = "next_open"
    adjusted: bool = False
    actions: pd.DataFrame | None = None
    fundamentals: pd.DataFrame | None = None
    sectors: pd.Series | None = None
    members: pd.DataFrame | None = None
    market_cap: pd.DataFrame | None = None
    index: pd.Series | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Market:
    """Frozen tables of one market; a field that the source lacks is None, never invented.

    close, adjusted, open, high, low : sessions × symbols, float64, USD; NaN where there is no bar
    volume : sessions × symbols, float64, shares
    adjusted : total-return close; only its ratios mean anything. It is carried forward from the first bar, so that
        a later split or dividend never changes an earlier value
    actions, fundamentals, sectors, members, market_cap, index : see `Delivery`; members is sessions × symbols, bool
    execution : "next_open", or "next_close" where the source has closes only
    notes : sentences that every page shows
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

    def __post_init__(self):
        if self.execution not in EXECUTIONS:
            raise DataError(f"execution must be one of {EXECUTIONS}, not {self.execution!r}")
        for name, table in self._wide().items():
            if not (table.index.equals(self.dates) and table.columns.equals(self.symbols)):
                raise DataError(f"table {name} does not have the sessions and symbols of close")
            freeze(table)

    @property
    def dates(self) -> pd.DatetimeIndex:
        """The sessions, oldest first."""
        return self.close.index

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
        return self.open if self.execution == "next_open" else self.close

    @property
    def adjusted_execution(self) -> pd.DataFrame:
        """The total-return twin of `execution_price`; only its ratios mean anything."""
        return self.open * self.adjustment if self.execution == "next_open" else self.adjusted

    def upto(self, date) -> "Market":
        """The market as known at the close of `date`: every later row is gone."""
        date = pd.Timestamp(date)
        cut = {name: table.loc[:date] for name, table in self._wide().items()}
        cut["actions"] = self.actions[self.actions["date"] <= date].reset_index(drop=True)
        if self.fundamentals is not None:
            known = self.fundamentals["available"] <= date
            cut["fundamentals"] = self.fundamentals[known].reset_index(drop=True)
        if self.index is not None:
            cut["index"] = self.index.loc[:date]
        return replace(self, **cut)

    def select(self, symbols) -> "Market":
        """The same market with only `symbols`, in the market's order."""
        keep = self.symbols[self.symbols.isin(list(symbols))]
        return replace(self, **{name: table[keep] for name, table in self._wide().items()})

    def _wide(self) -> dict[str, pd.DataFrame]:
        """The sessions × symbols tables that this source has, by name."""
        names = (*BAR_FIELDS, "adjusted", "members", "market_cap")
        return {
            f.name: getattr(self, f.name) for f in fields(self) if f.name in names and getattr(self, f.name) is not None
        }


def freeze(table: pd.DataFrame) -> None:
    """Make the numbers of a single-dtype table read-only, so that nobody can change the market by accident."""
    for block in np.atleast_1d(np.asarray(table._mgr.blocks, dtype=object)):
        block.values.flags.writeable = False


def adjust(close: pd.DataFrame, actions: pd.DataFrame) -> pd.DataFrame:
    """Total-return close, sessions × symbols, carried forward from each symbol's first bar.

    return(t) = split(t) · (close(t) + dividend(t)) / close(last bar before t) − 1, so that no later action changes an
    earlier value; a gap in the bars keeps its return.
    """
    factor = _pivot_actions(actions, "split", close, 1.0)
    dividend = _pivot_actions(actions, "dividend", close, 0.0)
    growth = factor * (close + dividend) / close.ffill().shift(1)
    first = close.notna() & close.ffill().shift(1).isna()
    growth = growth.mask(first, close)
    return growth.fillna(1.0).cumprod().where(close.notna())


def _pivot_actions(actions: pd.DataFrame, kind: str, like: pd.DataFrame, neutral: float) -> pd.DataFrame:
    """Actions of one kind as sessions × symbols; those between two sessions take effect on the next one."""
    out = pd.DataFrame(neutral, index=like.index, columns=like.columns)
    chosen = actions[(actions["kind"] == kind) & actions["symbol"].isin(like.columns)]
    rows = like.index.searchsorted(chosen["date"])
    values = out.to_numpy(copy=True)
    for row, symbol, value in zip(rows, chosen["symbol"], chosen["value"], strict=True):
        if row < len(out):
            col = like.columns.get_loc(symbol)
            values[row, col] = values[row, col] * value if kind == "split" else values[row, col] + value
    return pd.DataFrame(values, index=like.index, columns=like.columns)
