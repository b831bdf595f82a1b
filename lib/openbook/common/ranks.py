"""Ranks within the rows of a table."""

import numpy as np


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks 1 … n within each row, ties sharing their average, NaN staying NaN. values : (n_rows, n_columns), finite or
    NaN.
    """
    n_rows, n_columns = values.shape
    if not values.size:
        return np.full(values.shape, np.nan)
    order = np.argsort(values, axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    starts = np.ones(values.shape, dtype=bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    group = np.cumsum(starts.ravel()) - 1
    first = np.flatnonzero(starts.ravel())
    size = np.diff(np.append(first, values.size))
    mean_rank = first % n_columns + 0.5 * (size + 1)
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, mean_rank[group].reshape(n_rows, n_columns), axis=1)
    return np.where(np.isnan(values), np.nan, ranks)
