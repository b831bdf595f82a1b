"""The compiled loops of `operators`.

A window is the merger of two partial results: the tail of one block of n rows and the head of the next (van Herk
1992). No value is ever taken out of a result again, so nothing drifts and a wild value leaves no trace once it is out
of the window; the cost per value does not depend on n. Spreads are merged by the formulas of Chan, Golub & LeVeque
(1979), which do not cancel. The inner loops run across symbols and touch few arrays each, so that the compiler turns
them into vector instructions. Nothing here starts a thread: callers run kernels side by side, as they release the
interpreter lock. Compiled once per machine, kept on disk.
"""

import numpy as np
from numba import njit

kernel = njit(cache=True, nogil=True, error_model="numpy")

# ------------------------------------------------------------------------------------------------- one row of a window
# k: number of values, g: 1/k or 0 where the row's value is missing, m: mean, d: distance from the mean before this row


@kernel
def _count(x, y, t, k, g):
    """Count row t where both x and y are there."""
    for j in range(k.size):
        both = (abs(x[t, j]) < np.inf) & (abs(y[t, j]) < np.inf)
        k[j] += 1.0 if both else 0.0
        g[j] = 1.0 / k[j] if both else 0.0


@kernel
def _center(x, t, g, m, d):
    """Move the means to include row t."""
    for j in range(m.size):
        d[j] = x[t, j] - m[j] if g[j] > 0.0 else 0.0
        m[j] += d[j] * g[j]


@kernel
def _second(d, e, g, c):
    """Add row t to a sum of products of deviations."""
    for j in range(c.size):
        c[j] += d[j] * e[j] * (1.0 - g[j])


@kernel
def _third(d, g, q, c):
    """Add row t to a sum of cubed deviations c; q is the sum of squares before this row."""
    for j in range(c.size):
        c[j] += d[j] * d[j] * d[j] * (1.0 - g[j]) * (1.0 - 2.0 * g[j]) - 3.0 * d[j] * g[j] * q[j]


@kernel
def _keep(head, tail, i):
    """Store the rows of `head` as row i of the tails."""
    for s in range(tail.shape[0]):
        for j in range(tail.shape[2]):
            tail[s, i, j] = head[s, j]


@kernel
def _join(k, tk, m, tm, w, tw, c, tc, i, out):
    """Sum of products of deviations (from the means m and w) of a head and the tail from row i on."""
    for j in range(k.size):
        n = k[j] + tk[i, j]
        out[j] = c[j] + tc[i, j] + (m[j] - tm[i, j]) * (w[j] - tw[i, j]) * (k[j] * tk[i, j] / n)


# -------------------------------------------------------------------------------------------------------------- windows


@kernel
def rolling_mean(x, n, least):
    rows, cols = x.shape
    out = np.empty_like(x)
    total, count = np.zeros(cols), np.zeros(cols)
    totals, counts = np.zeros((n + 1, cols)), np.zeros((n + 1, cols))
    for start in range(0, rows, n):
        total[:] = 0.0
        count[:] = 0.0
        for t in range(start, min(start + n, rows)):
            _add(x, t, total, count)
            i = t - start + 1
            for j in range(cols):
                k = count[j] + counts[i, j]
                out[t, j] = (total[j] + totals[i, j]) / k if k >= least else np.nan
        if start + n <= rows:
            total[:] = 0.0
            count[:] = 0.0
            for i in range(n - 1, -1, -1):
                _add(x, start + i, total, count)
                totals[i] = total
                counts[i] = count
    return out


@kernel
def _add(x, t, total, count):
    for j in range(total.size):
        there = abs(x[t, j]) < np.inf
        total[j] += x[t, j] if there else 0.0
        count[j] += 1.0 if there else 0.0


@kernel
def rolling_highest(x, n, least, sign):
    rows, cols = x.shape
    out = np.empty_like(x)
    best, count = np.zeros(cols), np.zeros(cols)
    bests, counts = np.full((n + 1, cols), -np.inf), np.zeros((n + 1, cols))
    for start in range(0, rows, n):
        best[:] = -np.inf
        count[:] = 0.0
        for t in range(start, min(start + n, rows)):
            _raise(x, t, sign, best, count)
            i = t - start + 1
            for j in range(cols):
                top = best[j] if best[j] > bests[i, j] else bests[i, j]
                out[t, j] = sign * top if count[j] + counts[i, j] >= least else np.nan
        if start + n <= rows:
            best[:] = -np.inf
            count[:] = 0.0
            for i in range(n - 1, -1, -1):
                _raise(x, start + i, sign, best, count)
                bests[i] = best
                counts[i] = count
    return out


@kernel
def _raise(x, t, sign, best, count):
    for j in range(best.size):
        there = abs(x[t, j]) < np.inf
        v = sign * x[t, j]
        best[j] = v if there & (v > best[j]) else best[j]
        count[j] += 1.0 if there else 0.0


@kernel
def rolling_std(x, n, least):
    rows, cols = x.shape
    out = np.empty_like(x)
    head, tail = np.zeros((3, cols)), np.zeros((3, n + 1, cols))
    g, d, q = np.zeros(cols), np.zeros(cols), np.zeros(cols)
    for start in range(0, rows, n):
        head[:] = 0.0
        for t in range(start, min(start + n, rows)):
            _spread_row(x, t, head, g, d)
            i = t - start + 1
            _join(head[0], tail[0], head[1], tail[1], head[1], tail[1], head[2], tail[2], i, q)
            for j in range(cols):
                k = head[0, j] + tail[0, i, j]
                out[t, j] = np.sqrt(q[j] / (k - 1.0)) if k >= least else np.nan
        if start + n <= rows:
            head[:] = 0.0
            for i in range(n - 1, -1, -1):
                _spread_row(x, start + i, head, g, d)
                _keep(head, tail, i)
    return out


@kernel
def _spread_row(x, t, head, g, d):
    _count(x, x, t, head[0], g)
    _center(x, t, g, head[1], d)
    _second(d, d, g, head[2])


@kernel
def rolling_skew(x, n, least):
    rows, cols = x.shape
    out = np.empty_like(x)
    head, tail = np.zeros((4, cols)), np.zeros((4, n + 1, cols))
    g, d, q, c = np.zeros(cols), np.zeros(cols), np.zeros(cols), np.zeros(cols)
    for start in range(0, rows, n):
        head[:] = 0.0
        for t in range(start, min(start + n, rows)):
            _skew_row(x, t, head, g, d)
            i = t - start + 1
            _join(head[0], tail[0], head[1], tail[1], head[1], tail[1], head[2], tail[2], i, q)
            _join_third(head, tail, i, c)
            for j in range(cols):
                k = head[0, j] + tail[0, i, j]
                skewness = c[j] / (q[j] * np.sqrt(q[j])) * (k * np.sqrt(k - 1.0) / (k - 2.0))
                out[t, j] = skewness if k >= least else np.nan
        if start + n <= rows:
            head[:] = 0.0
            for i in range(n - 1, -1, -1):
                _skew_row(x, start + i, head, g, d)
                _keep(head, tail, i)
    return out


@kernel
def _skew_row(x, t, head, g, d):
    _count(x, x, t, head[0], g)
    _center(x, t, g, head[1], d)
    _third(d, g, head[2], head[3])
    _second(d, d, g, head[2])


@kernel
def _join_third(head, tail, i, out):
    """Sum of cubed deviations of a head and the tail from row i on."""
    for j in range(out.size):
        a, b = head[0, j], tail[0, i, j]
        n = a + b
        d = head[1, j] - tail[1, i, j]
        cube = d * d * d * (a * b / n) * ((b - a) / n)
        out[j] = head[3, j] + tail[3, i, j] + cube + 3.0 * d * (b * head[2, j] - a * tail[2, i, j]) / n


@kernel
def rolling_fit(y, x, n, least):
    rows, cols = x.shape
    slope, residual, correlation = np.empty_like(x), np.empty_like(x), np.empty_like(x)
    head, tail = np.zeros((6, cols)), np.zeros((6, n + 1, cols))  # count, means of x and y, sums xx, yy, xy
    g, d, e = np.zeros(cols), np.zeros(cols), np.zeros(cols)
    xx, yy, xy = np.zeros(cols), np.zeros(cols), np.zeros(cols)
    for start in range(0, rows, n):
        head[:] = 0.0
        for t in range(start, min(start + n, rows)):
            _pair_row(x, y, t, head, g, d, e)
            i = t - start + 1
            _join(head[0], tail[0], head[1], tail[1], head[1], tail[1], head[3], tail[3], i, xx)
            _join(head[0], tail[0], head[2], tail[2], head[2], tail[2], head[4], tail[4], i, yy)
            _join(head[0], tail[0], head[1], tail[1], head[2], tail[2], head[5], tail[5], i, xy)
            for j in range(cols):
                k = head[0, j] + tail[0, i, j]
                g[j] = k if k >= least else np.nan
            _line(g, xx, yy, xy, t, slope, residual, correlation)
        if start + n <= rows:
            head[:] = 0.0
            for i in range(n - 1, -1, -1):
                _pair_row(x, y, start + i, head, g, d, e)
                _keep(head, tail, i)
    return slope, residual, correlation


@kernel
def _pair_row(x, y, t, head, g, d, e):
    _count(x, y, t, head[0], g)
    _center(x, t, g, head[1], d)
    _center(y, t, g, head[2], e)
    _second(d, d, g, head[3])
    _second(e, e, g, head[4])
    _second(d, e, g, head[5])


@kernel
def _line(k, xx, yy, xy, t, slope, residual, correlation):
    """The fitted line of row t from its sums; k is NaN where there are too few values."""
    for j in range(k.size):
        slope[t, j] = xy[j] / xx[j] + 0.0 * k[j]
    for j in range(k.size):
        left = yy[j] - xy[j] * xy[j] / xx[j]
        residual[t, j] = np.sqrt((left if not left < 0.0 else 0.0) / (k[j] - 2.0))
    for j in range(k.size):
        correlation[t, j] = xy[j] / np.sqrt(xx[j] * yy[j]) + 0.0 * k[j]


@kernel
def exponential_mean(x, alpha, least):
    rows, cols = x.shape
    out = np.empty_like(x)
    total, weight, count = np.zeros(cols), np.zeros(cols), np.zeros(cols)
    for t in range(rows):
        for j in range(cols):
            there = abs(x[t, j]) < np.inf
            total[j] = total[j] * (1.0 - alpha) + x[t, j] if there else total[j]
            weight[j] = weight[j] * (1.0 - alpha) + 1.0 if there else weight[j]
            count[j] += 1.0 if there else 0.0
        for j in range(cols):
            known = (abs(x[t, j]) < np.inf) & (count[j] >= least)
            out[t, j] = total[j] / weight[j] if known else np.nan
    return out
