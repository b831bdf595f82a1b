"""Ranks within a date, for all features of a date at once.

Not `average_ranks`: compiled, in float32 and in place, for the panel of all features and dates.
"""

import numpy as np

from openbook.signals.kernels import kernel

SIGN, INFINITE, ALL = np.uint32(0x80000000), np.uint32(0x7F800000), np.uint32(0xFFFFFFFF)
HALF, BYTE, SYMBOL = np.uint64(32), np.uint64(0xFF), np.uint64(0xFFFFFFFF)


@kernel
def rank_pages(bits, keep):
    """Rank each feature within each date, in place, to [-0.5, 0.5]; ties share their mean rank.

    bits : (n_dates, n_features, n_symbols) float32 seen as uint32; on return the same memory holds, date by date,
        (n_symbols, n_features) ranks, NaN where the value is not finite or the symbol not kept
    keep : (n_dates, n_symbols) bool

    The four bytes of a value are sorted from the lowest up (radix sort), the symbol's number riding in the lower half.
    """
    dates, features, symbols = bits.shape
    page = np.empty((symbols, features), np.float32)
    one, other = np.empty(symbols, np.uint64), np.empty(symbols, np.uint64)
    place = np.empty((4, 256), np.uint32)
    for date in range(dates):
        kept = np.flatnonzero(keep[date])
        page[:] = np.nan
        for f in range(features):
            n = _load_keys(bits[date, f], kept, one)
            _count_bytes(one, n, place)
            _deal(one, other, n, HALF, place[0])
            _deal(other, one, n, HALF + np.uint64(8), place[1])
            _deal(one, other, n, HALF + np.uint64(16), place[2])
            _deal(other, one, n, HALF + np.uint64(24), place[3])
            _write_ranks(one, n, page, f)
        bits[date].reshape(symbols * features)[:] = page.reshape(symbols * features).view(np.uint32)


@kernel
def _load_keys(row, kept, keys):
    """Keys of the finite values, which sort as unsigned integers the way the values sort; returns how many."""
    n = 0
    for j in kept:
        value = np.uint32(0) if row[j] == SIGN else row[j]  # -0 and +0 are a tie
        key = value ^ (ALL if value & SIGN else SIGN)
        keys[n] = (np.uint64(key) << HALF) | np.uint64(j)
        n += 1 if (value & INFINITE) != INFINITE else 0
    return n


@kernel
def _count_bytes(keys, n, place):
    """Where the pile of each byte begins, for each of the four bytes."""
    place[:] = np.uint32(0)
    for i in range(n):
        value = keys[i] >> HALF
        place[0, value & BYTE] += np.uint32(1)
        place[1, (value >> np.uint64(8)) & BYTE] += np.uint32(1)
        place[2, (value >> np.uint64(16)) & BYTE] += np.uint32(1)
        place[3, value >> np.uint64(24)] += np.uint32(1)
    for b in range(4):
        begin = np.uint32(0)
        for i in range(256):
            size = place[b, i]
            place[b, i] = begin
            begin += size


@kernel
def _deal(keys, piles, n, shift, place):
    """Deal the keys in order onto the piles of one byte."""
    for i in range(n):
        byte = (keys[i] >> shift) & BYTE
        piles[place[byte]] = keys[i]
        place[byte] += np.uint32(1)


@kernel
def _write_ranks(keys, n, page, f):
    """Write the ranks of n sorted keys into column f of the page."""
    step = 1.0 / (n - 1) if n > 1 else 0.0
    first = 0
    while first < n:
        value = keys[first] >> HALF
        last = first + 1
        while last < n and keys[last] >> HALF == value:
            last += 1
        rank = np.float32(0.5 * (first + last - 1) * step - 0.5 if n > 1 else 0.0)
        for i in range(first, last):
            page[keys[i] & SYMBOL, f] = rank
        first = last
