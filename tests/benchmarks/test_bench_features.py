"""Sixty ranked features of 500 stocks over ten years: ours beside polars and pandas, in one run.

    pytest -m benchmark -s tests/benchmarks/test_bench_features.py

The peers speak the very same lines (see feature_twins) in the way their users write them: polars as lazy expressions
over "symbol" with the shared columns computed first, pandas as groupby and rolling. Agreement is checked before any
number is printed. Wall-clock seconds, every round shown.
"""

import subprocess
import sys
import time
from statistics import median

import numpy as np
import pandas as pd
import pytest

from openbook.signals.features import FEATURES, available_features, compute_features
from openbook.signals.lab_market import lab_market
from openbook.signals.operators import Fit, enough
from support.feature_reference import GroupedWords, TwinPanel, WideWords, respoken, wide_fields

N_DATES, N_SYMBOLS = 2520, 500
ROUNDS = 4  # pandas gets one: it takes as long as all the others together
AT_LEAST = {"polars": 5.0, "pandas": 15.0}
MEMORY_LIMIT = 1e9

pytestmark = pytest.mark.benchmark
pl = pytest.importorskip("polars", reason="the peer is not installed; pip install 'openbook[bench]'")


def test_sixty_ranked_features_against_polars_and_pandas():
    market = lab_market(N_DATES, N_SYMBOLS, gaps=0.005)
    assert len(available_features(market)) == 60
    long = long_frame(market)
    frame = pl.from_pandas(long).with_columns(pl.selectors.float().fill_nan(None))
    ours = compute_features(market).values
    assert_agreement("polars", ours, dated(with_polars(frame).to_numpy()))
    seconds = {"openbook": [], "polars": [], "pandas": []}
    for _ in range(ROUNDS):  # in turns, so that a busy machine is busy for both
        seconds["openbook"] += timed(lambda: compute_features(market)) + timed(lambda: compute_features(market))
        seconds["polars"] += timed(lambda: with_polars(frame))
    out = []
    seconds["pandas"] += timed(lambda: out.append(with_pandas(long)))
    assert_agreement("pandas", ours, dated(out[0].to_numpy()))
    shown(seconds)
    for peer, factor in AT_LEAST.items():
        assert median(seconds[peer]) / median(seconds["openbook"]) >= factor


def test_peak_memory_and_one_evening(project_root):
    """In a process of its own: peak resident memory for everything, and the last 60 sessions as daily_run asks them."""
    program = (
        "import sys; sys.path.insert(0, 'tests'); from time import perf_counter as now\n"
        "began = now(); from openbook.signals.features import compute_features; loaded = now() - began\n"
        "from feature_twins import lab_market\n"
        f"market = lab_market({N_DATES}, {N_SYMBOLS}, gaps=0.005)\n"
        "began = now(); compute_features(market, dates=market.dates[-60:]); first = now() - began\n"
        "began = now(); compute_features(market, dates=market.dates[-60:]); again = now() - began\n"
        "compute_features(market)\n"
        "peak = next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(loaded, first, again, int(peak) * 1024)"
    )
    command = [sys.executable, "-c", program]
    out = subprocess.run(command, capture_output=True, text=True, check=True, cwd=project_root).stdout
    loaded, first, again, peak = map(float, out.split())
    print(f"\nlast 60 sessions: import {loaded:.2f} s, first call {first:.2f} s, next {again:.2f} s")
    print(f"peak resident memory, all sessions, market included: {peak / 1e6:.0f} MB")
    assert peak < MEMORY_LIMIT


def timed(run) -> list[float]:
    start = time.perf_counter()
    run()
    return [time.perf_counter() - start]


def dated(rows: np.ndarray) -> np.ndarray:
    """(symbol and date, feature) as (date, symbol, feature)."""
    return rows.reshape(N_SYMBOLS, N_DATES, -1).transpose(1, 0, 2)


def shown(seconds: dict[str, list[float]]) -> None:
    print(f"\n60 features, ranked, {N_SYMBOLS} symbols × {N_DATES} sessions, seconds")
    ours = median(seconds["openbook"])
    for name, rounds in seconds.items():
        each = " ".join(f"{s:.2f}" for s in rounds)
        print(f"{name:9} median {median(rounds):7.2f}   ×{median(rounds) / ours:5.1f}   rounds {each}")


def assert_agreement(peer: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    """The same names are ranked, and apart from rounding near ties they have the same rank.

    The peers' running sums drift by some 1e-9, so a few neighbors change places.
    """
    for i, name in enumerate(FEATURES_OF_BARS):
        a, b = ours[:, :, i], theirs[:, :, i]
        assert (np.isnan(a) == np.isnan(b)).mean() > 0.9999, f"{peer} {name}: other names are ranked"
        apart = np.abs(a - b)[~np.isnan(a) & ~np.isnan(b)]
        assert (apart > 1.5 / N_SYMBOLS).mean() < 1e-4, f"{peer} {name}: {(apart > 1.5 / N_SYMBOLS).mean():.2%} differ"


FEATURES_OF_BARS = [n for n, f in FEATURES.items() if {"open", "high", "low", "close", "volume"}.issuperset(f.needs)]
SHARED = ["returns", "steps", "overnight", "intraday", "true_range", "close_location", "money_flow"]
SHARED += ["log_volume", "impact", "turn_of_month"]


def long_frame(market) -> pd.DataFrame:
    """One row per symbol and session, sorted by symbol, then date; the fields of a twin panel."""
    wide = wide_fields(market)
    columns = {name: np.asarray(table).T.ravel() for name, table in wide.items()}
    keys = {
        "symbol": np.repeat(market.symbols.to_numpy(), len(market.dates)),
        "date": np.tile(market.dates, N_SYMBOLS),
    }
    return pd.DataFrame(keys | columns)


# --------------------------------------------------------------------------------------------------------------- pandas


def with_pandas(long: pd.DataFrame) -> pd.DataFrame:
    words = GroupedWords(long["symbol"])
    with np.errstate(all="ignore"):
        panel = TwinPanel(words, {name: long[name] for name in long.columns.drop(["symbol", "date"])})
        table = pd.DataFrame({n: respoken(FEATURES[n], words)(panel).astype(np.float32) for n in FEATURES_OF_BARS})
    table = table.where(np.isfinite(table) & long["close"].notna().to_numpy()[:, None])
    ranks = table.groupby(long["date"]).rank()
    count = ranks.groupby(long["date"]).transform("count")
    return ((ranks - 1) / (count - 1) - 0.5).astype(np.float32)


# --------------------------------------------------------------------------------------------------------------- polars


class PolarsNumpy:
    """The NumPy words that occur in lines, as polars expressions."""

    def log(self, x):
        y = x.log()
        return pl.when(y.is_finite()).then(y)

    def sqrt(self, x):
        return x.sqrt()

    def abs(self, x):
        return x.abs()

    def sign(self, x):
        return x.sign()

    def minimum(self, x, y):
        return pl.when(x < y).then(x).when(x >= y).then(y) if isinstance(y, pl.Expr) else x.clip(upper_bound=y)

    def maximum(self, x, y):
        return pl.when(x > y).then(x).when(x <= y).then(y) if isinstance(y, pl.Expr) else x.clip(lower_bound=y)


class PolarsWords(WideWords):
    """polars expressions; the caller puts them over the symbol."""

    np = PolarsNumpy()

    def lag(self, x, n):
        return x.shift(n)

    def mean(self, x, n, least=None):
        return x.rolling_mean(n, min_samples=least or enough(n))

    def std(self, x, n):
        return x.rolling_std(n, min_samples=enough(n))

    def skew(self, x, n):
        return x.rolling_skew(n, bias=False, min_samples=enough(n))

    def highest(self, x, n):
        return x.rolling_max(n, min_samples=enough(n))

    def lowest(self, x, n):
        return x.rolling_min(n, min_samples=enough(n))

    def ema(self, x, span):
        mean = x.ewm_mean(span=span, ignore_nulls=True, min_samples=enough(span))
        return pl.when(x.is_not_null()).then(mean)

    def fit(self, y, x, n):
        both = x.is_not_null() & y.is_not_null()
        x, y = pl.when(both).then(x), pl.when(both).then(y)
        xx, yy = self.std(x, n) ** 2, self.std(y, n) ** 2
        count = both.cast(pl.Float64).rolling_sum(n, min_samples=1)
        xy = (self.mean(x * y, n) - self.mean(x, n) * self.mean(y, n)) * count / (count - 1)
        residual = ((yy - xy**2 / xx) * (count - 1) / (count - 2)).clip(lower_bound=0).sqrt()
        return Fit(xy / xx, residual, xy / (xx * yy).sqrt())

    def only(self, x, condition):
        return pl.when(condition).then(x)

    def seasonal(self, x, years, ahead):
        past = [self.lag(x, 252 * k - ahead) for k in range(1, years + 1)]
        count = pl.sum_horizontal(p.is_not_null().cast(pl.Float64) for p in past)
        return pl.when(count >= min(2, years)).then(pl.sum_horizontal(past) / count)


def with_polars(frame: pl.DataFrame) -> pl.DataFrame:
    """One lazy query in four steps: shared columns, shared windows, features, ranks."""
    words = PolarsWords()
    panel = TwinPanel(words, {name: pl.col(name) for name in frame.columns if name not in ("symbol", "date")})
    query = frame.lazy().with_columns(getattr(panel, name).over("symbol").alias(name) for name in SHARED)
    panel.__dict__.update({name: pl.col(name) for name in SHARED})
    query = query.with_columns(shared_windows(panel))
    spoken = {name: respoken(FEATURES[name], words)(panel).over("symbol").cast(pl.Float32) for name in FEATURES_OF_BARS}
    query = query.select("date", "close", **spoken).with_columns(
        pl.when(pl.col(name).is_finite() & pl.col("close").is_not_null()).then(pl.col(name)).alias(name)
        for name in FEATURES_OF_BARS
    )
    ranks = ((pl.col(name).rank() - 1) / (pl.col(name).count() - 1) - 0.5 for name in FEATURES_OF_BARS)
    return query.select(rank.over("date").cast(pl.Float32) for rank in ranks).collect()


def shared_windows(panel: TwinPanel) -> list[pl.Expr]:
    """The windows that several features use, as columns; from here on the panel refers to these."""
    columns = []
    for n in (63, 252):
        line = panel.market_fit(n)
        columns += [getattr(line, part).over("symbol").alias(f"{part}_{n}") for part in Fit._fields]
        panel.shared["fit", n] = Fit(*(pl.col(f"{part}_{n}") for part in Fit._fields))
    for n in (21, 63, 252):
        columns.append(panel.volatility(n).over("symbol").alias(f"volatility_{n}"))
        panel.shared["volatility", n] = pl.col(f"volatility_{n}")
    return columns
