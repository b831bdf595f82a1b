"""Columns of returns that are the same: one company under two symbols."""

import numpy as np

# Moves this near are the same move: vendors round prices to cents and adjusted ones to float32.
SAME = 5e-4
# Columns of the table of moves that are multiplied at once: bounds the memory.
BLOCK = 1024


def same_moves(moves: np.ndarray, at_least: int, share: float) -> list[tuple[int, int, float, np.ndarray]]:
    """Pairs of columns whose moves are the same on this share of the sessions on which either moved.

    moves : (sessions, n) log returns, float32, NaN where there is none; at_least : such sessions that they share
    Returns the two columns, their share, and the rows that they share.
    """
    found = []
    for one, other in _candidates(moves, at_least):
        shared = np.isfinite(moves[:, one]) & np.isfinite(moves[:, other])
        moved = shared & (np.maximum(np.abs(moves[:, one]), np.abs(moves[:, other])) > 2 * SAME)
        equal = (np.abs(moves[moved, one] - moves[moved, other]) <= SAME).mean() if moved.any() else 0.0
        if moved.sum() >= at_least and equal >= share:
            found.append((int(one), int(other), float(equal), np.flatnonzero(shared)))
    return found


def _candidates(moves: np.ndarray, at_least: int) -> list[tuple[int, int]]:
    """Pairs of columns with a correlation above 0.98 over the sessions that they share."""
    there = np.isfinite(moves)
    enough = np.flatnonzero(there.sum(axis=0) >= at_least)
    clipped = np.clip(np.where(there, moves, 0.0), -0.3, 0.3)[:, enough]  # a false level must not hide the rest
    there, squared = there[:, enough].astype(np.float32), np.square(clipped)
    pairs = []
    for begin in range(0, len(enough), BLOCK):
        block = slice(begin, begin + BLOCK)
        product = clipped[:, block].T @ clipped
        scale = np.sqrt((squared[:, block].T @ there) * (there[:, block].T @ squared))
        close = (product > 0.98 * scale) & (scale > 1e-6)
        one, other = np.nonzero(close)
        later = other > one + begin
        pairs += [(enough[i + begin], enough[j]) for i, j in zip(one[later], other[later], strict=True)]
    return pairs
