"""What a model learns from: labels, their ranks within the date, and splits that do not leak."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import pandas as pd

from openbook.common.errors import DataError, ParameterError
from openbook.common.ranks import average_ranks
from openbook.market.tables import Market

if TYPE_CHECKING:  # features brings numba in, which loading a model does not need
    from openbook.signals.features import Features


def compute_labels(market: Market, horizon: int) -> pd.DataFrame:
    """Forward total return, sessions × symbols: execution price of t+1+horizon over that of t+1, minus 1, stored at t.

    The last horizon+1 rows are NaN, and so is a name that cannot be bought at t+1. A name without a price at the exit
    (halted, or delisted on the way) is valued at its last adjusted close, times 1 + final return where the delisting
    records one; nothing later than session t+1+horizon is looked at.
    """
    if not (isinstance(horizon, int) and horizon >= 1):
        raise ParameterError(f"horizon must be a whole number of sessions, at least 1, not {horizon!r}")
    price = market.adjusted_execution
    bought = price.shift(-1)
    sold = price.fillna(_last_value(market)).shift(-1 - horizon)
    return sold / bought - 1


def describe_label(market: Market, horizon: int) -> str:
    """The label in words, for the model's schema and for the pages."""
    price = "open" if market.execution == "next_open" else "close"
    return f"{price}[t+1+{horizon}] / {price}[t+1] - 1, total return, ranked within the date into [-0.5, 0.5]"


def _last_value(market: Market) -> pd.DataFrame:
    """Last adjusted close so far, sessions × symbols; after a recorded delisting, times 1 + its final return."""
    value = market.adjusted.ffill().to_numpy(copy=True)
    has_bar = market.close.notna().to_numpy()
    gone = market.actions[(market.actions["kind"] == "delisting") & market.actions["symbol"].isin(market.symbols)]
    rows = market.dates.searchsorted(gone["date"])
    for row, symbol, final in zip(rows, gone["symbol"], gone["value"].fillna(0.0), strict=True):
        col = market.symbols.get_loc(symbol)
        start = row + int(row < len(value) and has_bar[row, col])  # dated on its last bar, or on a session after it
        again = np.flatnonzero(has_bar[start:, col])  # a later company under the same ticker
        end = start + again[0] if len(again) else len(value)
        value[start:end, col] *= 1 + final
    return pd.DataFrame(value, index=market.dates, columns=market.symbols)


def rank_by_date(table: pd.DataFrame) -> pd.DataFrame:
    """Ranks within each row, scaled to [-0.5, 0.5]; ties share the average rank, NaN stays NaN, one name alone is 0.

    Not `rank_rows` of the scores, which rounds otherwise in the last bit: labels, and so models, keep theirs.
    """
    values = table.to_numpy(dtype="float64")
    count = np.count_nonzero(~np.isnan(values), axis=1)[:, None]
    ranks = (average_ranks(values) - (count + 1) / 2) / np.maximum(count - 1, 1)
    return pd.DataFrame(ranks, index=table.index, columns=table.columns)


@dataclass(frozen=True, eq=False)
class MLDataset:
    """Features and their labels.

    features : (date, symbol, feature) float32
    labels : dates × symbols, forward total return; see `compute_labels`
    ranks : dates × symbols, labels ranked among the names that have features that day; NaN elsewhere
    horizon : sessions held
    label : the label in words
    matured : by row of `dates`, the session on which the row's label is known; NaT if it is not known yet
    """

    features: Features
    labels: pd.DataFrame
    ranks: pd.DataFrame
    horizon: int
    label: str
    matured: pd.DatetimeIndex

    def __post_init__(self):
        shape = (self.features.dates, self.features.symbols)
        for name in ("labels", "ranks"):
            table = getattr(self, name)
            if not (table.index.equals(shape[0]) and table.columns.equals(shape[1])):
                raise DataError(f"{name} does not have the dates and symbols of the features; use build_dataset")
        if len(self.matured) != len(self.dates):
            raise DataError("matured must have one session per date of the features; use build_dataset")

    @property
    def dates(self) -> pd.DatetimeIndex:
        """The decision dates, oldest first."""
        return self.features.dates

    def rows(self, dates) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Training rows of `dates`, in date order: X (n, n_features) float32, y (n,) float32 ranks, rows per date.

        Only rows with a label. X is copied out of the features once, and nothing else is.
        """
        at = self._positions(dates)
        ranks = self.ranks.to_numpy()
        labeled = np.isfinite(ranks[at])
        row, symbol = np.nonzero(labeled)
        day = at[row]
        return self.features.values[day, symbol], ranks[day, symbol].astype(np.float32), labeled.sum(axis=1)

    def features_on(self, dates) -> Features:
        """The features of some of the dates; a view where these follow each other."""
        at = self._positions(dates)
        solid = len(at) > 0 and np.array_equal(at, np.arange(at[0], at[0] + len(at)))
        chosen = slice(at[0], at[0] + len(at)) if solid else at
        return replace(self.features, values=self.features.values[chosen], dates=self.dates[chosen])

    def upto(self, date) -> MLDataset:
        """What was known at the close of `date`: no later row, and no label that had not matured by then."""
        n = int(self.dates.searchsorted(pd.Timestamp(date), side="right"))
        known = np.asarray(self.matured[:n] <= pd.Timestamp(date))
        return replace(
            self,
            features=self.features_on(self.dates[:n]),
            labels=self.labels.iloc[:n].mul(np.where(known, 1.0, np.nan), axis=0),
            ranks=self.ranks.iloc[:n].mul(np.where(known, 1.0, np.nan), axis=0),
            matured=pd.DatetimeIndex(np.where(known, self.matured[:n], np.datetime64("NaT"))),
        )

    def _positions(self, dates) -> np.ndarray:
        dates = pd.DatetimeIndex(dates)
        at = self.dates.get_indexer(dates)
        if (at < 0).any():
            raise DataError(f"{dates[at < 0][0].date()} is not in the dataset; compute features for that date first")
        return at


def build_dataset(market: Market, features: Features, horizon: int) -> MLDataset:
    """Labels of every date and symbol of `features`, ranked among the names with at least one feature that day.

    Examples
    --------
    >>> features = ob.compute_features(market, ["momentum_126"], dates=market.dates[-300:])
    >>> dataset = ob.build_dataset(market, features, horizon=20)
    >>> dataset.label
    'close[t+1+20] / close[t+1] - 1, total return, ranked within the date into [-0.5, 0.5]'
    """
    missing = features.dates.difference(market.dates)
    if len(missing) or not features.symbols.isin(market.symbols).all():
        raise DataError("the features have dates or symbols that are not in the market; compute them from this market")
    labels = compute_labels(market, horizon).loc[features.dates, features.symbols]
    seen = scored_rows(features)
    later = market.dates.get_indexer(features.dates) + 1 + horizon
    matured = market.dates.insert(len(market.dates), pd.NaT)[np.minimum(later, len(market.dates))]
    return MLDataset(
        features=features,
        labels=labels,
        ranks=rank_by_date(labels.where(seen)),
        horizon=horizon,
        label=describe_label(market, horizon),
        matured=cast(pd.DatetimeIndex, matured),
    )


def scored_rows(features: Features) -> np.ndarray:
    """Which names can be scored on which date, dates × symbols bool: those with at least one feature."""
    seen = np.empty(features.values.shape[:2], dtype=bool)
    for i, day in enumerate(features.values):  # a date at a time: the mask of all features would be another 75 MB
        seen[i] = ~np.isnan(day).all(axis=1)
    return seen


class Split(NamedTuple):
    """One fold: dates to train on and dates to be judged on, both in order, training first."""

    train: pd.DatetimeIndex
    test: pd.DatetimeIndex


def create_time_based_split(
    dates: pd.DatetimeIndex,
    fold: int,
    n_folds: int,
    *,
    horizon: int,
    embargo: int = 0,
    kind: str = "expanding",
    min_train: int | None = None,
) -> Split:
    """Fold `fold` (0 is the oldest) of a purged walk-forward.

    The last dates are cut into n_folds test blocks of equal length; each is judged by a model of the dates before it
    only. Between the two lie horizon+1 purged dates, whose labels reach into the block, and `embargo` more.

    dates : every session, oldest first (fewer than every session purges more than needed, never less)
    kind : "expanding" trains on all earlier dates, "rolling" on the last min_train of them
    min_train : dates that the first fold trains on; by default as many as a test block

    Raises ParameterError if a fold would be empty.
    """
    if kind not in ("expanding", "rolling"):
        raise ParameterError(f"kind must be expanding or rolling, not {kind!r}")
    if not (0 <= fold < n_folds and horizon >= 1 and embargo >= 0):
        raise ParameterError(f"no fold {fold} of {n_folds} with horizon {horizon} and embargo {embargo}")
    gap = horizon + 1 + embargo
    first = (len(dates) - gap) // (n_folds + 1) if min_train is None else min_train
    if not (first >= 1 and len(dates) - first - gap >= n_folds):
        raise ParameterError(
            f"{len(dates)} dates are too few for {n_folds} folds after {first} + {gap}; use fewer folds"
        )
    block = np.array_split(np.arange(first + gap, len(dates)), n_folds)[fold]
    end = block[0] - gap
    start = end - first if kind == "rolling" else 0
    return Split(train=dates[start:end], test=dates[block[0] : block[-1] + 1])


def holdout_split(dates: pd.DatetimeIndex, holdout: int, *, horizon: int, embargo: int = 0) -> Split:
    """The last `holdout` dates, kept for one evaluation at the end, and the dates before them that a model may learn
    from.

    Raises ParameterError if nothing is left to learn from.
    """
    start = len(dates) - holdout
    end = start - (horizon + 1 + embargo)
    if not (holdout >= 1 and end >= 1):
        raise ParameterError(
            f"a holdout of {holdout} of {len(dates)} dates leaves no training data; use a shorter holdout"
        )
    return Split(train=dates[:end], test=dates[start:])


def hold_out_last(n_dates: int, fraction: float, horizon: int) -> tuple[int, int]:
    """Inner purged split for early stopping: dates [0, end) train and [start, n_dates) judge, horizon+1 apart."""
    start = n_dates - max(1, round(n_dates * fraction))
    end = start - horizon - 1
    if end < 1:
        raise ParameterError(
            f"{n_dates} dates are too few for early stopping with horizon {horizon}; set early_stopping: null"
        )
    return end, start
