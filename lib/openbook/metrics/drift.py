"""Drift: do this session's inputs and scores look like those that the model was trained on?

They need no label, so they react weeks before a rank IC can; but they measure inputs only, which may change without
harm, and stay the same while what follows from them changes.

Features of openbook are ranked within their date, so each has the same even spread over the names of every date, come
what may: stability index and Kolmogorov–Smirnov statistic of a ranked feature are nearly zero by construction. They
still show names that lost the feature, and ties (a frozen or rounded feed). A market in which every stock became twice
as volatile leaves no trace in them at all. What ranks do show is how features go together: whether cheap names are
still the quiet ones. `domain_auc`, `structure_drift` and `out_of_distribution` measure that. Given raw features,
everything here measures levels too. Scores are not ranked: their stability index and statistic need no such caution.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from openbook.common.errors import DataError, ParameterError
from openbook.common.ranks import average_ranks

FLOOR = 1e-4  # share that an empty bin counts as: a logarithm of zero is not defined
SHRINKAGE = 0.05  # share of the diagonal in a covariance, so that features that repeat each other do no harm


def population_stability_index(reference, recent, bins: int = 10) -> float:
    """Σ (q − p)·ln(q/p) over bins, p and q the shares of `reference` and `recent` in each.

    The bins hold equal shares of the reference's known values, tied ones together, and NaN is a bin of its own. 0 means
    equal shares in every bin; bankers call 0.1 a change and 0.25 a large one (Siddiqi 2006). Even without any change
    about (bins − 1)·(1/n + 1/m) is to be expected (Yurdakul 2018). No value at all on a side gives NaN; so does a
    reference that never knew one.
    """
    if not bins >= 2:
        raise ParameterError(f"bins must be at least 2, not {bins}")
    before, now = _values(reference), _values(recent)
    known = before[~np.isnan(before)]
    if not (len(known) and len(now)):
        return np.nan
    edges = np.unique(np.quantile(known, np.arange(1, bins) / bins, method="inverted_cdf"))
    p, q = (np.maximum(_shares(values, edges), FLOOR) for values in (before, now))
    return float(np.sum((q - p) * np.log(q / p)))


def kolmogorov_smirnov(reference, recent) -> float:
    """Largest distance between the two samples' distribution functions, 0 to 1; NaN values are left out.

    Only the statistic: its p-value takes rows for independent, and neighboring sessions of one name are not. A side
    without values gives NaN.
    """
    before, now = (np.sort(values[~np.isnan(values)]) for values in (_values(reference), _values(recent)))
    if not (len(before) and len(now)):
        return np.nan
    at = np.concatenate([before, now])
    gap = np.searchsorted(before, at, side="right") / len(before) - np.searchsorted(now, at, side="right") / len(now)
    return float(np.abs(gap).max())


def column_drift(reference: pd.DataFrame, recent: pd.DataFrame, bins: int = 10) -> pd.DataFrame:
    """Each column of two tables compared: psi, ks, missing_before, missing_now (shares of the rows), by column.

    Rows are observations, in any order. Raises DataError if the columns differ.
    """
    _require_same_columns(reference, recent)
    rows = [
        (
            population_stability_index(reference[name], recent[name], bins),
            kolmogorov_smirnov(reference[name], recent[name]),
            float(reference[name].isna().mean()),
            float(recent[name].isna().mean()),
        )
        for name in reference
    ]
    columns = ["psi", "ks", "missing_before", "missing_now"]
    return pd.DataFrame(rows, index=reference.columns, columns=columns, dtype="float64")


# --- how features go together -----------------------------------------------------------------------------------------


def domain_auc(reference: pd.DataFrame, recent: pd.DataFrame, *, folds: int = 5, seed: int = 0) -> float:
    """How well a classifier separates recent rows from reference rows, as cross-validated area under the ROC curve: 0.5
    is not at all, 1 always.

    reference, recent : (date, symbol) × feature. NaN counts as the reference's mean of the feature

    The classifier is a quadratic discriminant, since ranked features differ in how they go together only, where a line
    and the first cut of a tree see nothing. Folds are of symbols, not of rows: a name's latest row resembles its
    previous one, and would be recognized instead of judged. Same seed, same number. Too few names or rows for the
    folds give NaN. Markets never repeat themselves: 500 large US companies gave 0.83 to 0.98 from 2018 to 2020, the
    most in spring 2020. `domain_history` shows what is usual.
    """
    _require_same_columns(reference, recent)
    if not folds >= 2:
        raise ParameterError(f"folds must be at least 2, not {folds}")
    symbols = reference.index.unique("symbol").union(recent.index.unique("symbol"))
    fold_of = pd.Series(np.random.default_rng(seed).permutation(len(symbols)) % folds, index=symbols)
    before, now = _filled(reference, reference), _filled(recent, reference)
    fold_before = fold_of.loc[reference.index.get_level_values("symbol")].to_numpy()
    fold_now = fold_of.loc[recent.index.get_level_values("symbol")].to_numpy()
    found = []
    for fold in range(folds):
        old, new = before[fold_before != fold], now[fold_now != fold]
        tests = before[fold_before == fold], now[fold_now == fold]
        if not (min(len(old), len(new)) > 2 and all(map(len, tests))):
            return np.nan
        found.append(_auc(*_discriminant(old, new, *tests)))
    return float(np.mean(found))


def domain_history(features: pd.DataFrame, recent: int = 20, *, every: int = 5, seed: int = 0) -> pd.Series:
    """`domain_auc` of each stretch of `recent` sessions against all sessions before it, by the stretch's last session.

    features : (date, symbol) × feature
    every : sessions between two values, counted back from the last; neighbors are nearly the same

    Stretches end with the last date and do not overlap, and each has at least twice as many sessions before it. Too
    short a history is empty. The last value is this session's, the others show what is usual.
    """
    dates, place = _places(features)
    kept = (len(dates) - 1 - place) % every == 0
    features, place = features[kept], place[kept]
    ends = list(range(len(dates), 3 * recent - 1, -recent))[::-1]
    found = [
        domain_auc(features[place < end - recent], features[(place >= end - recent) & (place < end)], seed=seed)
        for end in ends
    ]
    return pd.Series(found, index=dates[[end - 1 for end in ends]], name="domain_auc", dtype="float64")


def structure_drift(features: pd.DataFrame, window: int = 60) -> pd.Series:
    """How far each date's correlations between features are from their mean of the `window` dates before, by date.

    features : (date, symbol) × feature; NaN counts as the date's mean, a constant feature correlates with nothing
    The distance is the root mean square over pairs of features. The first `window` dates are NaN. Its size means
    little, its place among earlier distances much.
    """
    (dates, place), number = _places(features), features.shape[1]
    values, upper = features.to_numpy(dtype="float64"), np.triu_indices(number, 1)
    flat = np.array([_correlations(values[place == t])[upper] for t in range(len(dates))])
    distance = np.full(len(dates), np.nan)
    for t in range(window, len(dates) if number > 1 else 0):
        distance[t] = np.sqrt(np.mean((flat[t] - flat[t - window : t].mean(axis=0)) ** 2))
    return pd.Series(distance, index=dates, name="structure_drift")


@dataclass(frozen=True, eq=False)
class OutOfDistribution:
    """Names whose features are an unusual mixture.

    share : of this session's names, 0 to 1; expected : the share among all reference rows, by construction
    usual_high : share that one reference date in twenty exceeds
    names : symbols, the most unusual first
    """

    share: float
    expected: float
    usual_high: float
    names: tuple[str, ...]


def out_of_distribution(reference: pd.DataFrame, current: pd.DataFrame, expected: float = 0.01) -> OutOfDistribution:
    """Names of this session farther from the reference's center than all but a share `expected` of the reference's
    rows.

    reference : (date, symbol) × feature; current : symbol × feature, or (date, symbol) of one date

    Far is by Mahalanobis distance, which counts a mixture of features as far if it is rare, though each is ordinary:
    of a ranked feature alone, the same share is extreme every session. Ranks are bounded, so no row can bend center and
    covariance; with raw features outliers can, and hide others. NaN counts as the reference's mean, rows without any
    feature are left out. No rows on a side give NaN and no names. Slightly too high: the reference measures itself.
    """
    _require_same_columns(reference, current)
    if not 0 < expected < 1:
        raise ParameterError(f"expected must be between 0 and 1, not {expected}")
    reference, current = reference.dropna(how="all"), current.dropna(how="all")
    if not (len(reference) > 2 and len(current)):
        return OutOfDistribution(np.nan, expected, np.nan, ())
    before, now = _filled(reference, reference), _filled(current, reference)
    center, covariance = before.mean(axis=0), _covariance(before, before)
    usual, far = (_distance(rows, center, covariance) for rows in (before, now))
    limit = np.quantile(usual, 1.0 - expected)
    by_date = pd.Series(usual > limit).groupby(reference.index.get_level_values("date").to_numpy()).mean()
    beyond = np.flatnonzero(far > limit)
    symbols = current.index.get_level_values("symbol")[beyond[np.argsort(-far[beyond], kind="stable")]]
    return OutOfDistribution(float((far > limit).mean()), expected, float(by_date.quantile(0.95)), tuple(symbols))


# ---- inside ----


def _values(sample) -> np.ndarray:
    """One sample as numbers; infinite counts as missing."""
    values = np.asarray(sample, dtype="float64").ravel()
    return np.where(np.isfinite(values), values, np.nan)


def _shares(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Share of the values in each bin, an edge belonging to the bin below it; NaN in the last."""
    place = np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values, side="left"))
    return np.bincount(place, minlength=len(edges) + 2) / len(values)


def _require_same_columns(reference: pd.DataFrame, recent: pd.DataFrame) -> None:
    if not reference.columns.equals(recent.columns):
        differ = sorted(map(str, reference.columns.symmetric_difference(recent.columns)))
        raise DataError(f"reference and recent must have the same columns in the same order; they differ in {differ}")


def _places(features: pd.DataFrame) -> tuple[pd.DatetimeIndex, np.ndarray]:
    """The dates of the rows, ascending, and which of them each row is of."""
    place, dates = pd.factorize(features.index.get_level_values("date"), sort=True)
    return pd.DatetimeIndex(dates, name="date"), place


def _filled(table: pd.DataFrame, reference: pd.DataFrame) -> np.ndarray:
    """Numbers of a table, what is missing being the reference's mean of its column, or 0 where that has none."""
    values = table.to_numpy(dtype="float64")
    return np.where(np.isfinite(values), values, np.nan_to_num(reference.mean().to_numpy(dtype="float64")))


def _covariance(rows: np.ndarray, pooled: np.ndarray) -> np.ndarray:
    """Covariance of rows, drawn to the diagonal of `pooled`, so that it can be inverted."""
    spread = pooled.var(axis=0)
    spread = np.where(spread > 0, spread, 1.0)  # a feature that never moves does not separate names
    return (1.0 - SHRINKAGE) * np.cov(rows, rowvar=False).reshape(len(spread), -1) + SHRINKAGE * np.diag(spread)


def _distance(rows: np.ndarray, center: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Squared Mahalanobis distances, (n_rows,)."""
    white = (rows - center) @ np.linalg.inv(np.linalg.cholesky(covariance)).T
    return (white**2).sum(axis=1)


def _discriminant(old: np.ndarray, new: np.ndarray, *tests: np.ndarray) -> list[np.ndarray]:
    """How much rather a row is new than old, for each table of tests: twice the log-likelihood ratio of two normal
    distributions, up to a constant.
    """
    pooled = np.concatenate([old, new])
    sides = [(rows.mean(axis=0), _covariance(rows, pooled)) for rows in (old, new)]
    return [_distance(rows, *sides[0]) - _distance(rows, *sides[1]) for rows in tests]


def _auc(old: np.ndarray, new: np.ndarray) -> float:
    """Chance that a new row scores above an old one, ties counting half (Mann–Whitney)."""
    ranks = average_ranks(np.concatenate([old, new])[None, :])[0]
    return float((ranks[len(old) :].sum() - len(new) * (len(new) + 1) / 2) / (len(old) * len(new)))


def _correlations(values: np.ndarray) -> np.ndarray:
    """Correlations between the columns of one date; NaN counts as the mean, constant columns correlate 0."""
    known = np.isfinite(values)
    mean = np.where(known, values, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    gap = np.where(known, values - mean, 0.0)
    size = np.sqrt((gap**2).sum(axis=0))
    unit = np.divide(gap, size, out=np.zeros_like(gap), where=size > 1e-12)
    return unit.T @ unit
