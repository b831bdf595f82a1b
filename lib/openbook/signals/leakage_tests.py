"""Negative controls: noise has no rank IC, and an injected leak is detected.

They run at every training, before any result is shown, and take a few seconds. Each is a row of one table:
control, expected (in words), found, limit, ok.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from openbook import metrics
from openbook.common.errors import DataError
from openbook.common.frames import each_row
from openbook.signals.dataset import MLDataset, Split, rank_by_date
from openbook.signals.models import Candidate, ModelTrainer

MAX_IC = 0.08  # mean rank IC of daily stock returns; above it, a leak until proven otherwise
STANDARD_ERRORS = 5  # two-sided and normal: one false alarm in 1.7 million
NEAREST = 100  # training dates and test dates that the small model sees, those closest to each other
LUCK = 3  # standard errors; if luck alone reaches max_ic within them, a rank IC above it is no evidence
FEW = 10  # names a date; a rank IC of fewer takes few values, and a small model may find nothing to learn from
DEALS = 5  # times that each candidate's scores are dealt to other dates

# Small and quick to learn by heart, which is the point: it remembers a training row that it meets again in the test.
CONTROL = Candidate(
    name="control",
    algorithm="lightgbm",
    n_estimators=30,
    early_stopping=None,
    params={
        "learning_rate": 0.2,
        "num_leaves": 63,
        "max_depth": 12,
        "min_data_in_leaf": 20,
        "bagging_fraction": 1.0,
        "feature_fraction": 1.0,
        "lambda_l2": 0.0,
        "max_bin": 63,
    },
)

WAYS_OUT = {
    "purged split": "training labels overlap the test block; purge horizon+1 sessions before it",
    "shuffled labels": "shuffled labels were predicted, so training rows are in the test block; fix the split",
    "injected leak": "a feature computed from the label was not detected; lower max_ic or fix the training",
    "date-permuted scores": "scores of other dates predict the labels, so the evaluation leaks; fix it",
    "rank IC plausible": "a rank IC this high indicates leakage; look for features with look-ahead, and raise max_ic "
    "only if it is proven to be real",
}


def run_controls(
    dataset: MLDataset,
    split: Split,
    oos_scores: Mapping[str, pd.DataFrame],
    *,
    max_ic: float = MAX_IC,
    seed: int = 0,
) -> pd.DataFrame:
    """The table of controls, one row each: control, expected, found, limit, ok; see `require_controls`.

    split : one fold as the candidates were trained and tested on; the controls on labels are made there
    oos_scores : by candidate, stitched out-of-sample scores, dates × symbols, without the holdout
    max_ic : mean rank IC above which a candidate is suspected of a leak; with FEW names luck alone goes there, and
        the row is then marked as not judged, unless the rank IC is beyond luck too
    """
    near = _nearest(dataset, split)
    rows = [_purged(dataset, split), _shuffled_labels(near, seed), _planted_leak(near, max_ic, seed)]
    for name, scores in oos_scores.items():
        labels = dataset.labels.loc[scores.index]
        rows += [
            plausible(name, scores, labels, max_ic, dataset.horizon),
            permute_dates(name, scores, labels, seed=seed),
        ]
    return pd.DataFrame(rows)


def require_controls(table: pd.DataFrame) -> None:
    """Raise DataError unless every control of the table is ok, naming those that are not and the way out."""
    failed = table[~table["ok"].astype(bool)]
    if len(failed):
        failures = [
            f"{row.control}: found {row.found:.4f}, limit {row.limit:.4f} ({WAYS_OUT[row.control.split(': ')[0]]})"
            for row in each_row(failed)
        ]
        raise DataError(f"{len(failed)} of {len(table)} leakage tests failed: {'; '.join(failures)}")


def suspect_leaks(rank_ics: Mapping[str, float], max_ic: float = MAX_IC) -> list[str]:
    """Names whose mean out-of-sample rank IC is above max_ic, or is no number: too good until proven otherwise."""
    return [name for name, rank_ic in rank_ics.items() if not (rank_ic <= max_ic)]


def permute_dates(
    name: str,
    scores: pd.DataFrame,
    labels: pd.DataFrame,
    *,
    seed: int,
    evaluate: Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame] = metrics.information_coefficient,
) -> dict:
    """Deal the scores of one candidate to other dates at random: their mean rank IC must be 0 but for luck.

    Scores and labels are ranked within the date and each name's own mean is taken off first. A name that is always
    liked and always rises keeps its rank IC whatever the dates are: that is no leak and no timing either, and it would
    hide what this control is for. With the means gone, the dealt scores expect 0 (those of each name sum to 0 over
    the dates that they are drawn from; of the labels too because the evaluation ranks again, which brings a little of
    the mean back). Therefore no date is barred from its own or its neighbors' scores: barring them would leave the
    rest with a small negative mean, and call healthy slow scores a fault.

    The standard error is that of the dealt dates as if independent, which a random deal makes them, however much
    labels overlap and names move together.
    """
    known = (scores.notna() & labels.notna()).any(axis=1)
    table, labels = _without_means(scores[known]), _without_means(labels[known])
    rng = np.random.default_rng(seed)
    daily = np.concatenate([evaluate(_deal(table, rng), labels)["rank_ic"] for _ in range(DEALS)])
    names = int((scores.notna() & labels.notna()).sum(axis=1).median()) if len(scores) else 0
    return _near_zero(f"date-permuted scores: {name}", daily, pd.Series(daily).var(ddof=0), names)


def _purged(dataset: MLDataset, split: Split) -> dict:
    """No label of a training date may be unknown when the test block begins."""
    matured = dataset.matured[dataset.dates.get_indexer(split.train)]
    late = int(np.count_nonzero(~(matured < split.test[0])))
    return _row("purged split", "no training label overlaps the test block", float(late), 0.0, late == 0)


def _shuffled_labels(near: tuple[MLDataset, Split], seed: int) -> dict:
    """A model of labels dealt at random among the names of each date must not predict the labels dealt so later.

    Without skill the rank IC of a date with n names has variance 1/(n−1), and dates are independent. The same deal
    serves training and test, so a date that is in both is learned by heart and found.
    """
    dataset, split = near
    rng = np.random.default_rng([seed, 1])
    dealt = dataset.ranks.to_numpy(copy=True)
    for day in dealt:
        held = np.flatnonzero(np.isfinite(day))
        day[held] = day[rng.permutation(held)]
    daily = _learn_and_judge(replace(dataset, ranks=_like(dataset.ranks, dealt)), split)
    variance = 1.0 / np.maximum(daily["n"] - 1.0, 1.0)
    return _near_zero("shuffled labels", daily["rank_ic"], variance, _names(near))


def _planted_leak(near: tuple[MLDataset, Split], max_ic: float, seed: int) -> dict:
    """The first feature replaced by the label's rank under as much noise: the model must shine, and be suspected."""
    dataset, split = near
    ranks = dataset.ranks.to_numpy()
    values = dataset.features.values.copy()
    values[:, :, 0] = ranks + np.nanstd(ranks) * np.random.default_rng([seed, 2]).standard_normal(ranks.shape)
    leaking = replace(dataset, features=replace(dataset.features, values=values))
    found = float(_learn_and_judge(leaking, split)["rank_ic"].mean())
    caught = np.isfinite(found) and suspect_leaks({"leak": found}, max_ic) == ["leak"]
    if np.isnan(found) and _names(near) < FEW:
        return _row("injected leak", _unjudged(_names(near)), found, max_ic, True)
    return _row("injected leak", "detected: rank IC above max_ic", found, max_ic, caught)


def plausible(name: str, scores: pd.DataFrame, labels: pd.DataFrame, max_ic: float, horizon: int) -> dict:
    """The candidate's own mean rank IC, judged like the injected leak, if luck alone does not reach that far.

    Without skill the rank IC of n names has variance 1/(n−1); of overlapping labels one date in horizon+1 counts.
    """
    daily = metrics.information_coefficient(scores, labels)
    seen, found = np.isfinite(daily["rank_ic"]), float(daily["rank_ic"].mean())
    names = int((scores.notna() & labels.notna()).sum(axis=1).median()) if len(scores) else 0
    variance = (1.0 / np.maximum(daily["n"][seen] - 1.0, 1.0)).mean() if seen.any() else np.nan
    error = float(np.sqrt(variance * (horizon + 1) / seen.sum())) if seen.any() else np.nan
    if names < FEW and np.isnan(found):
        return _row(f"rank IC plausible: {name}", _unjudged(names), found, max_ic, True)
    if names < FEW and LUCK * error > max_ic:
        limit = max_ic + STANDARD_ERRORS * error
        detail = (
            f"not tested against max_ic: with {names} names on {seen.sum()} dates chance alone reaches "
            f"{LUCK * error:.2f}"
        )
        return _row(f"rank IC plausible: {name}", detail, found, limit, found <= limit)
    ok = not suspect_leaks({name: found}, max_ic)
    return _row(f"rank IC plausible: {name}", "rank IC not above max_ic", found, max_ic, ok)


def _names(near: tuple[MLDataset, Split]) -> int:
    """The usual number of labeled names on a test date."""
    dataset, split = near
    return int(dataset.ranks.loc[split.test].notna().sum(axis=1).median())


def _unjudged(names: int) -> str:
    """What is expected of a control that has nothing to judge by."""
    return f"not tested: {names} names per date are too few for a rank IC; use {FEW} or more"


def _nearest(dataset: MLDataset, split: Split) -> tuple[MLDataset, Split]:
    """The labeled dates of the split on both sides of its border, at most NEAREST each, with a copy of their rows."""
    labeled = dataset.dates[dataset.ranks.notna().any(axis=1).to_numpy()]
    test = split.test.intersection(labeled)[:NEAREST]
    train = split.train.intersection(labeled)
    if not (len(train) and len(test)):
        raise DataError("the leakage tests' split has no labeled date on one side; use fewer folds")
    at, block = dataset.dates.get_indexer(train), dataset.dates.get_indexer(test)
    distance = np.maximum(block[0] - at, at - block[-1])
    train = train[np.sort(np.argsort(distance, kind="stable")[:NEAREST])]
    dates = train.union(test)
    matured = dataset.matured[dataset.dates.get_indexer(dates)]
    tables: dict[str, Any] = {
        "labels": dataset.labels.loc[dates],
        "ranks": dataset.ranks.loc[dates],
        "matured": matured,
    }
    return replace(dataset, features=dataset.features_on(dates), **tables), Split(train, test)


def _learn_and_judge(dataset: MLDataset, split: Split) -> pd.DataFrame:
    """The small model's per-date figures on the test dates, against the ranks that the dataset holds."""
    model = ModelTrainer(CONTROL).train(dataset, split.train)
    scores = model.predict(dataset.features_on(split.test))
    return metrics.information_coefficient(scores, dataset.ranks.loc[split.test])


def _near_zero(control: str, daily, variance, names: int) -> dict:
    """A control whose mean over dates must lie within STANDARD_ERRORS of 0; variance : of one date, or of each.

    names : on a usual date; where they are FEW, nothing to judge by is no fault
    """
    daily = np.asarray(daily, dtype=float)
    seen = np.isfinite(daily)
    total = np.broadcast_to(variance, daily.shape)[seen].sum()
    found, limit = np.nan, np.nan
    if seen.any():
        found = float(daily[seen].mean())
        limit = float(STANDARD_ERRORS * np.sqrt(total) / seen.sum())
    elif names < FEW:
        return _row(control, _unjudged(names), found, limit, True)
    return _row(control, f"0, within {STANDARD_ERRORS} standard errors", found, limit, abs(found) <= limit)


def _without_means(table: pd.DataFrame) -> pd.DataFrame:
    """Ranks within the date, each name's mean over the dates taken off."""
    ranks = rank_by_date(table)
    return ranks - ranks.mean()


def _deal(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """The rows of a table in random order under the same dates."""
    return _like(table, table.to_numpy()[rng.permutation(len(table))])


def _like(table: pd.DataFrame, values: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(values, index=table.index, columns=table.columns)


def _row(control: str, expected: str, found: float, limit: float, ok) -> dict:
    return {"control": control, "expected": expected, "found": found, "limit": limit, "ok": bool(ok)}
