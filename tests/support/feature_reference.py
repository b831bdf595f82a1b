"""The features a second time: the same lines spoken with pandas words.

A feature's line is code over a handful of words (`mean`, `lag`, `np` …). `respoken` runs the very same line with other
words bound to those names, so a twin differs in every operator and in nothing else.
"""

from types import FunctionType

import numpy as np
import pandas as pd

from openbook.market.tables import Market
from openbook.signals.features import Feature
from openbook.signals.operators import Fit, enough
from openbook.signals.panel import STALE_AFTER


def respoken(feature: Feature, words):
    """The feature's line over the operators of `words`."""
    return FunctionType(
        feature.line.__code__,
        {name: getattr(words, name) for name in feature.line.__code__.co_names if hasattr(words, name)},
    )


class WideWords:
    """pandas operators on sessions × symbols frames."""

    np = np

    def lag(self, x, n):
        return x.shift(n)

    def change(self, x, n):
        return x / self.lag(x, n) - 1.0

    def mean(self, x, n, least=None):
        return self.rolling(x, n, least or enough(n)).mean()

    def std(self, x, n):
        return self.rolling(x, n, enough(n)).std()

    def skew(self, x, n):
        return self.rolling(x, n, enough(n)).skew()

    def highest(self, x, n):
        return self.rolling(x, n, enough(n)).max()

    def lowest(self, x, n):
        return self.rolling(x, n, enough(n)).min()

    def ema(self, x, span):
        return x.ewm(span=span, ignore_na=True, min_periods=enough(span)).mean().where(x.notna())

    def fit(self, y, x, n):
        both = np.isfinite(x) & np.isfinite(y)
        x, y = x.where(both), y.where(both)
        xx, yy, count = self.std(x, n) ** 2, self.std(y, n) ** 2, self.rolling(both.astype(float), n, 1).sum()
        xy = (self.mean(x * y, n) - self.mean(x, n) * self.mean(y, n)) * count / (count - 1)
        residual = np.sqrt(((yy - xy**2 / xx) * (count - 1) / (count - 2)).clip(lower=0))
        return Fit(xy / xx, residual, xy / np.sqrt(xx * yy))

    def correlation(self, y, x, n):
        return self.fit(y, x.replace([np.inf, -np.inf], np.nan), n).correlation

    def seasonal(self, x, years, ahead):
        past = [self.lag(x, 252 * k - ahead) for k in range(1, years + 1)]
        count = sum(p.notna().astype(float) for p in past)
        return (sum(p.fillna(0.0) for p in past) / count).where(count >= min(2, years))

    def only(self, x, condition):
        return x.where(condition)

    def rolling(self, x, n, least):
        return x.rolling(n, min_periods=least)


class GroupedWords(WideWords):
    """pandas operators on one long column per field, sorted by symbol, then date: groupby and rolling."""

    def __init__(self, symbol: pd.Series):
        self.symbol = symbol

    def lag(self, x, n):
        return x.groupby(self.symbol, sort=False).shift(n)

    def ema(self, x, span):
        weighted = x.groupby(self.symbol, sort=False).ewm(span=span, ignore_na=True, min_periods=enough(span)).mean()
        return weighted.droplevel(0).where(x.notna())

    def rolling(self, x, n, least):
        return _Ungrouped(x.groupby(self.symbol, sort=False).rolling(n, min_periods=least))


class _Ungrouped:
    """A grouped rolling window whose answers have the rows of the column again."""

    def __init__(self, window):
        self.window = window

    def __getattr__(self, name):
        return lambda: getattr(self.window, name)().droplevel(0)


class TwinPanel:
    """What a line sees, from plain fields: adjusted open, high, low, close; volume, dollars, market, is_turn."""

    def __init__(self, words, fields: dict):
        self.words, self.shared = words, {}
        self.__dict__.update(fields)
        np, close = words.np, fields["close"]
        self.returns = words.change(close, 1)
        self.steps = close - words.lag(close, 1)
        self.turn_of_month = words.only(self.returns, self.is_turn)
        if "volume" in fields:
            self.log_volume = np.log(self.volume)
            self.impact = np.abs(self.returns) / self.dollars
        if "open" in fields:
            last = words.lag(close, 1)
            self.overnight, self.intraday = self.open / last - 1.0, close / self.open - 1.0
            self.true_range = np.maximum(self.high, last) - np.minimum(self.low, last)
            self.close_location = (2.0 * close - self.low - self.high) / (self.high - self.low)
            typical = (self.high + self.low + close) / 3.0
            self.money_flow = np.sign(typical - words.lag(typical, 1)) * typical * self.volume

    def market_fit(self, n):
        if ("fit", n) not in self.shared:
            self.shared["fit", n] = self.words.fit(self.returns, self.market, n)
        return self.shared["fit", n]

    def volatility(self, n):
        if ("volatility", n) not in self.shared:
            self.shared["volatility", n] = self.words.std(self.returns, n)
        return self.shared["volatility", n]


class ReportTwin:
    """What the line of a feature of reports sees on a few dates, each figure looked up among all reports by itself."""

    def __init__(self, market: Market, dates):
        self.market, self.dates = market, dates
        self.market_cap = market.market_cap.loc[dates].to_numpy()

    def latest(self, item):
        return self._looked_up(item)[:, :, 0]

    def year_ago(self, item):
        return self._looked_up(item)[:, :, 1]

    def _looked_up(self, item):
        return np.array(
            [[newest(self.market, item, date, symbol) for symbol in self.market.symbols] for date in self.dates]
        )


def newest(market, item, date, symbol):
    """The newest figure known on a date and the one a year before it, by reading the reports one by one."""
    reports = market.fundamentals
    known = reports[(reports["item"] == item) & (reports["symbol"] == symbol) & (reports["available"] <= date)]
    if known.empty:
        return np.nan, np.nan
    last = known[known["period_end"] == known["period_end"].max()].sort_values("available").iloc[-1]
    if (date - last["available"]).days > STALE_AFTER:
        return np.nan, np.nan
    apart = (last["period_end"] - known["period_end"]).dt.days
    before = known[(apart > 344) & (apart < 386) & (known["available"] <= last["available"])].sort_values("available")
    return last["value"], before["value"].iloc[-1] if len(before) else np.nan


def wide_fields(market: Market) -> dict[str, pd.DataFrame]:
    """The fields of a twin panel as frames, the obvious way."""
    day = market.dates.day
    like = {"index": market.dates, "columns": market.symbols}
    returns = market.adjusted / market.adjusted.shift(1) - 1
    average = returns.where(market.members).mean(axis=1) if market.members is not None else returns.mean(axis=1)
    if market.index is not None:
        average = market.index.reindex(market.dates) / market.index.reindex(market.dates).shift(1) - 1
    fields = {
        "close": market.adjusted,
        "market": pd.DataFrame(np.repeat(average.to_numpy()[:, None], len(market.symbols), axis=1), **like),
        "is_turn": np.repeat(((day >= 29) | (day <= 4))[:, None], len(market.symbols), axis=1),
    }
    if market.open is not None:
        fields |= {name: getattr(market, name) * market.adjustment for name in ("open", "high", "low")}
    if market.volume is not None:
        split = pd.DataFrame(1.0, **like)
        for action in market.actions[market.actions["kind"] == "split"].itertuples():
            split.loc[action.date :, action.symbol] *= action.value
        fields |= {"volume": market.volume / split, "dollars": market.close * market.volume}
    return fields
