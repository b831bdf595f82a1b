"""Turnover ½Σ|change|, cash included: of weights, and of money that was traded, where it is the larger side."""

import numpy as np


def turnover(new, old) -> float:
    """½Σ|change| between two sets of weights, (n,) each, in the same order; what each leaves to 1 is its cash.

    A NaN weight gives NaN, which passes no limit. Too low when `old` are the last targets instead of drifted weights.
    """
    change = np.asarray(new) - np.asarray(old)
    return 0.5 * float(np.abs(change).sum() + abs(change.sum()))


def traded_turnover(bought, sold, value):
    """The same from what was bought and sold, ≥ 0, in the unit of `value`: numbers or arrays. NaN if either is."""
    return np.maximum(bought, sold) / value
