"""Each operator against an obvious pandas twin, and the laws that all of them keep."""

import importlib.util

import numba
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from openbook.signals import kernels, ranking
from openbook.signals import operators as op
from openbook.signals.ranking import rank_pages

WINDOWS = (1, 2, 3, 5, 14, 21, 60)


def walk(rows=150, columns=5, seed=0):
    """Prices with gaps, an infinite value, a constant stretch, and a column without a value."""
    rng = np.random.default_rng(seed)
    x = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, (rows, columns)), axis=0))
    x[rng.random(x.shape) < 0.1] = np.nan
    x[rows // 2, 0] = np.inf
    x[rows // 3 : rows // 2, 1] = 12.34
    x[:, 2] = np.nan
    return x


def by_hand(answer, n, *tables, least=None):
    """answer(values of the window that are there), window by window."""
    least = op.enough(n) if least is None else least
    rows, columns = tables[0].shape
    out = np.full((rows, columns), np.nan)
    for t in range(rows):
        for j in range(columns):
            window = np.stack([x[max(0, t - n + 1) : t + 1, j] for x in tables])
            window = window[:, np.isfinite(window).all(axis=0)]
            if window.shape[1] >= least:
                out[t, j] = answer(*(pd.Series(w) for w in window))
    return out


def assert_same(ours, theirs):
    """To the last bit; NaN is NaN, whatever its sign."""
    np.testing.assert_array_equal(ours, theirs)


def assert_twins(ours, theirs, scale=1.0):
    np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12 * scale)


@pytest.mark.parametrize("n", WINDOWS)
def test_mean_highest_and_lowest_are_those_of_pandas(n):
    x = walk()
    assert_twins(op.mean(x, n), by_hand(pd.Series.mean, n, x))
    assert_twins(op.highest(x, n), by_hand(pd.Series.max, n, x))
    assert_twins(op.lowest(x, n), by_hand(pd.Series.min, n, x))


@pytest.mark.parametrize("n", WINDOWS[2:])
def test_std_and_skew_are_those_of_pandas(n):
    x = walk()
    assert_twins(op.std(x, n), by_hand(pd.Series.std, n, x, least=max(op.enough(n), 2)))
    moving = by_hand(lambda w: w.skew() if w.nunique() > 1 else np.nan, n, x, least=max(op.enough(n), 3))
    np.testing.assert_allclose(op.skew(x, n), moving, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("n", WINDOWS[3:])
def test_fit_is_least_squares_on_the_pairs_that_are_there(n):
    x, y = walk(seed=1), walk(seed=2) ** 2
    x[40:60, 3] = 7.0

    def slope(v, w):
        return v.cov(w) / w.var()

    def residual(v, w):
        apart = (v - v.mean()) - slope(v, w) * (w - w.mean())
        return np.sqrt((apart**2).sum() / (len(v) - 2))

    ours = op.fit(y, x, n)
    least = max(op.enough(n), 3)
    known = by_hand(lambda v, w: w.nunique() > 1 and v.nunique() > 1, n, y, x, least=least) == 1.0
    assert np.isfinite(ours.slope[known]).all()
    np.testing.assert_allclose(ours.slope[known], by_hand(slope, n, y, x, least=least)[known], rtol=1e-10)
    residuals, spread = (by_hand(f, n, y, x, least=least)[known] for f in (residual, lambda v, w: v.std()))
    np.testing.assert_allclose((ours.residual[known] / spread) ** 2, (residuals / spread) ** 2, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        ours.correlation[known], by_hand(lambda v, w: v.corr(w), n, y, x, least=least)[known], rtol=1e-9, atol=1e-10
    )
    assert not np.isfinite(ours.correlation[~known]).any()


@pytest.mark.parametrize("span", [2, 9, 26])
def test_ema_is_that_of_pandas(span):
    x = walk()
    frame = pd.DataFrame(x).replace(np.inf, np.nan)
    theirs = frame.ewm(span=span, ignore_na=True, min_periods=op.enough(span)).mean().where(frame.notna())
    assert_twins(op.ema(x, span), theirs.to_numpy())


def test_lag_and_change_are_those_of_pandas():
    x = walk()
    for n in (1, 5, 149, 150, 400):
        assert_twins(op.lag(x, n), pd.DataFrame(x).shift(n).to_numpy())
        with np.errstate(all="ignore"):
            assert_twins(op.change(x, n), (pd.DataFrame(x) / pd.DataFrame(x).shift(n) - 1).to_numpy())


def test_seasonal_averages_the_same_time_of_past_years():
    x = np.arange(1400.0)[:, None] * np.ones(2)
    x[1000 - 252 + 21, 1] = np.nan
    with np.errstate(all="ignore"):
        ours = op.seasonal(x, 5, 21)
    assert ours[1000, 0] == np.mean([1000 - 252 * k + 21 for k in (1, 2, 3, 4)])
    assert ours[1000, 1] == np.mean([1000 - 252 * k + 21 for k in (2, 3, 4)])
    assert np.isnan(ours[482, 0])
    assert ours[483, 0] == np.mean([483 - 231, 483 - 483])


OPERATORS = {
    "lag": lambda x: op.lag(x, 5),
    "change": lambda x: op.change(x, 5),
    "mean": lambda x: op.mean(x, 21),
    "std": lambda x: op.std(x, 21),
    "skew": lambda x: op.skew(x, 21),
    "highest": lambda x: op.highest(x, 21),
    "lowest": lambda x: op.lowest(x, 21),
    "correlation": lambda x: op.correlation(x, np.cumsum(np.ones_like(x), axis=0) ** 1.5, 21),
    "slope": lambda x: op.fit(x, np.cumsum(np.ones_like(x), axis=0) ** 1.5, 21).slope,
    "residual": lambda x: op.fit(x, np.cumsum(np.ones_like(x), axis=0) ** 1.5, 21).residual,
    "seasonal": lambda x: op.seasonal(x, 5, 21),
    "ema": lambda x: op.ema(x, 10),
}
WINDOWED = [name for name in OPERATORS if name != "ema"]


@pytest.fixture(autouse=True)
def quiet():
    with np.errstate(all="ignore"):
        yield


@pytest.mark.parametrize("name", OPERATORS)
def test_no_operator_looks_ahead(name):
    x = walk()
    full = OPERATORS[name](x)
    for rows in (1, 20, 21, 22, 90):
        changed = x.copy()
        changed[rows:] = np.random.default_rng(3).normal(size=changed[rows:].shape) * 1e9
        assert_same(OPERATORS[name](x[:rows].copy()), full[:rows])
        assert_same(OPERATORS[name](changed)[:rows], full[:rows])


@pytest.mark.parametrize("name", WINDOWED)
@pytest.mark.parametrize("wild", [1e18, -1e18, 1e300, np.inf, np.nan])
def test_a_wild_value_leaves_no_trace_once_out_of_the_window(name, wild):
    x = walk(rows=400)
    x[50, :] = 50.0
    hit = x.copy()
    hit[50, :] = wild
    clean, after = OPERATORS[name](x), OPERATORS[name](hit)
    far = 71 if name != "seasonal" else 400
    assert_same(after[far:], clean[far:])


@pytest.mark.parametrize("name", OPERATORS)
def test_columns_never_meet(name):
    x = walk(columns=19)
    order = np.random.default_rng(5).permutation(19)
    full = OPERATORS[name](x)
    assert_same(OPERATORS[name](np.ascontiguousarray(x[:, order])), full[:, order])
    assert_same(OPERATORS[name](x[:, 7:8].copy()), full[:, 7:8])


def test_a_price_that_stands_still_has_no_spread_at_all():
    x = np.full((80, 3), 0.1 + 0.2)
    assert (op.std(x, 21)[20:] == 0.0).all()
    assert np.isnan(op.skew(x, 21)).all()
    assert not np.isfinite(op.correlation(x, x, 21)).any()


def test_windows_answer_with_two_thirds_of_their_values_and_not_before():
    x = np.full((40, 1), 2.0)
    x[10:17] = np.nan
    answered = np.isfinite(op.mean(x, 21))[:, 0]
    assert op.enough(21) == 14
    assert not answered[:13].any()
    assert not answered[13:20].any()  # at most 13 values until row 20
    assert answered[20:].all()
    assert np.isfinite(op.mean(x, 21, 1)).all()


def ranked(values: np.ndarray, keep: np.ndarray | None = None) -> np.ndarray:
    """Ranks of (n_dates, n_features, n_symbols) float32 as (n_dates, n_symbols, n_features)."""
    memory = values.copy()
    rank_pages(memory.view(np.uint32), np.ones(memory[:, 0].shape, dtype=bool) if keep is None else keep)
    return memory.reshape(len(values), values.shape[2], values.shape[1])


def ranks_by_pandas(values: np.ndarray) -> np.ndarray:
    """One row: average ranks of the finite values, to [-0.5, 0.5]."""
    ranks = pd.Series(values).where(np.isfinite(values)).rank()
    return ((ranks - 1) / max(ranks.count() - 1, 1) - (0.5 if ranks.count() > 1 else 0.0)).to_numpy(np.float32)


some_floats = st.one_of(
    st.floats(width=32), st.sampled_from([0.0, -0.0, 1.0, -1.0, np.nan, np.inf, -np.inf, 1e-40, -1e-40]).map(np.float32)
)


@settings(max_examples=300, deadline=None)
@given(arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 40)), elements=some_floats))
def test_ranks_are_those_of_pandas(values):
    ours = ranked(values)
    for date, feature in np.ndindex(values.shape[:2]):
        np.testing.assert_array_equal(ours[date, :, feature], ranks_by_pandas(values[date, feature]))


@settings(max_examples=100, deadline=None)
@given(arrays(np.float32, st.tuples(st.just(1), st.just(1), st.integers(2, 60)), elements=some_floats), st.data())
def test_a_name_left_out_is_as_if_it_were_not_there(values, data):
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=values.shape[2], max_size=values.shape[2])))
    ours = ranked(values, keep[None, :])[0, :, 0]
    assert np.isnan(ours[~keep]).all()
    np.testing.assert_array_equal(ours[keep], ranks_by_pandas(values[0, 0, keep]))


def test_ranks_reach_from_minus_a_half_to_a_half():
    values = np.random.default_rng(0).permutation(7001).astype(np.float32)[None, None, :]
    ours = ranked(values)[0, :, 0]
    assert (ours.min(), ours.max()) == (-0.5, 0.5)
    np.testing.assert_array_equal(ours, (values[0, 0] / np.float64(7000) - 0.5).astype(np.float32))
    assert ranked(np.float32([[[np.nan, 3.0]]]))[0, 1, 0] == 0.0


def interpreted(module, monkeypatch):
    """The module's source once more, run by Python itself."""
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)
    spec = importlib.util.spec_from_file_location("interpreted", module.__file__)
    plain = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plain)
    return plain


def test_compiled_windows_do_what_their_source_says(monkeypatch):
    plain, x, y = interpreted(kernels, monkeypatch), walk(40, 3), walk(40, 3, seed=1) ** 2
    calls = {"rolling_mean": (x, 7, 5), "rolling_std": (x, 7, 5), "rolling_skew": (x, 7, 5)}
    calls |= {"rolling_highest": (x, 7, 5, -1.0), "rolling_fit": (y, x, 7, 5), "exponential_mean": (x, 0.2, 5)}
    assert not hasattr(plain.rolling_mean, "py_func")
    for name, arguments in calls.items():
        np.testing.assert_array_equal(getattr(plain, name)(*arguments), getattr(kernels, name)(*arguments))


def test_compiled_ranks_do_what_their_source_says(monkeypatch):
    plain = interpreted(ranking, monkeypatch)
    values = np.round(np.random.default_rng(0).normal(size=(2, 3, 20)), 1).astype(np.float32)
    values[:, :, 3], values[:, 1, 4] = np.nan, np.inf
    keep = np.random.default_rng(1).random((2, 20)) < 0.8
    compiled, by_python = values.copy(), values.copy()
    ranking.rank_pages(compiled.view(np.uint32), keep)
    plain.rank_pages(by_python.view(np.uint32), keep)
    np.testing.assert_array_equal(by_python, compiled)
