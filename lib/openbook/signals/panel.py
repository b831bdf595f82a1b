"""The arguments of a feature's formula: arrays of some symbols over all sessions, and what many features share.

A `Universe` is the whole market, prepared once per call. A `Panel` is a strip of its symbols, small enough to stay in
the processor's cache while every feature of those symbols is computed; strips are independent, so they run in threads.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import pandas as pd

from openbook.common.frames import places_in
from openbook.market.tables import Market
from openbook.signals.operators import Fit, change, fit, lag, std

MARKET_FIELDS = ("open", "high", "low", "close", "volume", "adjusted", "market_cap")
STALE_AFTER = 400  # days since an item became available: a yearly report and a month's delay
A_YEAR_APART = (345, 385)  # days between two period ends that count as the same quarter of consecutive years
REPORTS_BACK = 12  # how many reports back a restated or late figure of the year before is looked for


@dataclass(frozen=True)
class ReportArrays:
    """One reported item of all symbols; one row per report, oldest first.

    row, column : first session that may use it, and its symbol
    day : when it became available, days since 1970
    value, year_ago : the figure, and that of the period one year before as it was known then (NaN: not known)
    """

    row: np.ndarray
    column: np.ndarray
    day: np.ndarray
    value: np.ndarray
    year_ago: np.ndarray


@dataclass(frozen=True)
class Universe:
    """The market as arrays; `fields` are (n_dates, n_symbols) float64 under the names of `MARKET_FIELDS`.

    splits : row, column, new shares per old share
    market : (n_dates,) return of the index, or of the equal-weight universe where there is none
    """

    dates: np.ndarray
    fields: dict[str, np.ndarray]
    splits: list[tuple[int, int, float]]
    market: np.ndarray
    filings: dict[str, ReportArrays]

    @property
    def shape(self) -> tuple[int, int]:
        return self.fields["close"].shape


def prepare(market: Market, items: tuple[str, ...] = ()) -> Universe:
    """Turn the market's tables into arrays; `items` are the fundamentals that some feature needs."""
    tables = {name: getattr(market, name) for name in MARKET_FIELDS if getattr(market, name) is not None}
    reports = _reports(market) if items else None
    return Universe(
        dates=market.dates.to_numpy(),
        fields={name: table.to_numpy(dtype=np.float64) for name, table in tables.items()},
        splits=_splits(market),
        market=market_returns(market),
        filings={} if reports is None else {item: _filings(reports[reports["item"] == item]) for item in items},
    )


def market_returns(market: Market) -> np.ndarray:
    """Return of the market on each session, (n_dates,): the index if there is one, else the mean over its members."""
    if market.index is not None:
        return change(market.index.reindex(market.dates).to_numpy(dtype=np.float64), 1)
    returns = change(np.ascontiguousarray(market.adjusted.to_numpy(dtype=np.float64)), 1)
    if market.members is not None:
        returns[~market.members.to_numpy(dtype=bool)] = np.nan
    returns.sort(axis=1)  # so that the order of the symbols cannot change the last bit of the sum
    count = np.isfinite(returns).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.nansum(returns, axis=1) / count


class Panel:
    """A strip of symbols over all sessions; every array is (n_dates, n_columns) float64, NaN where there is no bar.

    Prices are on the total-return scale of `Market.adjusted`, volume is in shares of before the first split: both can
    be compared across days, and neither changes when something happens later.
    """

    def __init__(self, universe: Universe, columns: slice):
        self._universe = universe
        self._columns = columns
        self._fits: dict[int, Fit] = {}
        self._volatilities: dict[int, np.ndarray] = {}

    @cached_property
    def close(self) -> np.ndarray:
        return self._field("adjusted")

    @cached_property
    def open(self) -> np.ndarray:
        return self._field("open") * self._scale

    @cached_property
    def high(self) -> np.ndarray:
        return self._field("high") * self._scale

    @cached_property
    def low(self) -> np.ndarray:
        return self._field("low") * self._scale

    @cached_property
    def volume(self) -> np.ndarray:
        volume = self._field("volume")
        for row, column, ratio in self._universe.splits:
            if self._columns.start <= column < self._columns.stop:
                volume[row:, column - self._columns.start] /= ratio
        return volume

    @cached_property
    def log_volume(self) -> np.ndarray:
        """Minus infinity, which counts as missing, on a session without trades."""
        return np.log(self.volume)

    @cached_property
    def dollars(self) -> np.ndarray:
        """Dollar volume: raw close × raw volume, USD."""
        return self._field("close") * self._field("volume")

    @cached_property
    def market_cap(self) -> np.ndarray:
        return self._field("market_cap")

    @cached_property
    def returns(self) -> np.ndarray:
        """Close to close, dividends included."""
        return change(self.close, 1)

    @cached_property
    def overnight(self) -> np.ndarray:
        """Last close to open."""
        return self.open / lag(self.close, 1) - 1.0

    @cached_property
    def intraday(self) -> np.ndarray:
        """Open to close."""
        return self.close / self.open - 1.0

    @cached_property
    def steps(self) -> np.ndarray:
        """Close minus last close."""
        return self.close - lag(self.close, 1)

    @cached_property
    def true_range(self) -> np.ndarray:
        """High minus low, the last close included."""
        last = lag(self.close, 1)
        return np.maximum(self.high, last) - np.minimum(self.low, last)

    @cached_property
    def close_location(self) -> np.ndarray:
        """Where in the day's range it closed, -1 (low) … 1 (high)."""
        return ((self.close - self.low) - (self.high - self.close)) / (self.high - self.low)

    @cached_property
    def money_flow(self) -> np.ndarray:
        """Volume at the day's typical price, negative when that price fell."""
        typical = (self.high + self.low + self.close) / 3.0
        return np.sign(typical - lag(typical, 1)) * typical * self.volume

    @cached_property
    def impact(self) -> np.ndarray:
        """Absolute return per dollar traded; infinite, which counts as missing, on a session without trades."""
        return np.abs(self.returns) / self.dollars

    @cached_property
    def market(self) -> np.ndarray:
        """Return of the market, the same in each column."""
        return np.repeat(self._universe.market[:, None], self._columns.stop - self._columns.start, axis=1)

    def market_fit(self, n: int) -> Fit:
        """Line of the stock's returns on the market's over the last n sessions."""
        if n not in self._fits:
            self._fits[n] = fit(self.returns, self.market, n)
        return self._fits[n]

    def volatility(self, n: int) -> np.ndarray:
        """Standard deviation of the last n daily returns."""
        if n not in self._volatilities:
            self._volatilities[n] = std(self.returns, n)
        return self._volatilities[n]

    @cached_property
    def turn_of_month(self) -> np.ndarray:
        """Returns of the sessions dated the 29th to the 4th, missing on the others."""
        day = pd.DatetimeIndex(self._universe.dates).day.to_numpy()
        return np.where(((day >= 29) | (day <= 4))[:, None], self.returns, np.nan)

    def latest(self, item: str) -> np.ndarray:
        """Newest figure of a reported item that is known, unless it became known more than `STALE_AFTER` days ago."""
        return self._known(self._universe.filings[item], "value")

    def year_ago(self, item: str) -> np.ndarray:
        """The same figure one year before `latest`, as it was known when that was filed."""
        return self._known(self._universe.filings[item], "year_ago")

    @cached_property
    def _scale(self) -> np.ndarray:
        return self.close / self._field("close")

    def _field(self, name: str) -> np.ndarray:
        return self._universe.fields[name][:, self._columns].copy()  # contiguous and writable: one type for the kernels

    def _known(self, filings: ReportArrays, figure: str) -> np.ndarray:
        """Carry each figure from its first session on until a newer one or its age ends it."""
        columns = self._columns
        mine = (filings.column >= columns.start) & (filings.column < columns.stop)
        values, days = getattr(filings, figure)[mine], filings.day[mine]
        if not len(values):
            return np.full((len(self._universe.dates), columns.stop - columns.start), np.nan)
        newest = np.full((len(self._universe.dates), columns.stop - columns.start), -1)
        newest[filings.row[mine], filings.column[mine] - columns.start] = np.arange(len(values))
        newest = np.maximum.accumulate(newest, axis=0)
        age = _days(self._universe.dates)[:, None] - days[newest]
        return np.where((newest >= 0) & (age <= STALE_AFTER), values[newest], np.nan)


def _splits(market: Market) -> list[tuple[int, int, float]]:
    """Splits as (row, column, ratio); one between two sessions takes effect on the next."""
    splits = market.actions[(market.actions["kind"] == "split") & market.actions["symbol"].isin(market.symbols)]
    rows = market.dates.searchsorted(splits["date"])
    columns = places_in(market.symbols, splits["symbol"])
    return list(zip(rows.tolist(), columns.tolist(), splits["value"].tolist(), strict=True))


def _reports(market: Market) -> pd.DataFrame:
    """Fundamentals with the row and column at which each may first be used, in the order in which they became known."""
    reports = cast(pd.DataFrame, market.fundamentals).dropna(subset=["value", "available", "period_end"])
    reports = reports.assign(
        row=market.dates.searchsorted(reports["available"]), column=places_in(market.symbols, reports["symbol"])
    )
    reports = reports[(reports["row"] < len(market.dates)) & (reports["column"] >= 0)]
    return reports.sort_values(["item", "column", "available", "period_end"], kind="stable")


def _filings(reports: pd.DataFrame) -> ReportArrays:
    """The reports of one item that were news when they came: none for a period older than one already known."""
    column, value = reports["column"].to_numpy(), reports["value"].to_numpy(dtype=np.float64)
    end = _days(reports["period_end"])
    year_ago = np.full(len(reports), np.nan)
    for back in range(1, min(REPORTS_BACK + 1, len(reports))):
        apart = end[back:] - end[:-back]
        found = (column[back:] == column[:-back]) & (apart >= A_YEAR_APART[0]) & (apart <= A_YEAR_APART[1])
        found &= np.isnan(year_ago[back:])
        year_ago[back:][found] = value[:-back][found]
    news = np.flatnonzero(end >= _days(reports.groupby("column")["period_end"].cummax()))
    news = news[np.argsort(reports["row"].to_numpy()[news], kind="stable")]
    return ReportArrays(
        row=reports["row"].to_numpy()[news],
        column=column[news],
        day=_days(reports["available"])[news],
        value=value[news],
        year_ago=year_ago[news],
    )


def _days(dates) -> np.ndarray:
    """Days since 1970."""
    return np.asarray(dates, dtype="datetime64[D]").astype(np.int64)
