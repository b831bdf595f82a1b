"""Labels worked by hand, and the laws that keep the future out of them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from sklearn.model_selection import TimeSeriesSplit

from openbook.common.errors import DataError, ParameterError
from openbook.signals.dataset import (
    MLDataset,
    build_dataset,
    compute_labels,
    create_time_based_split,
    describe_label,
    hold_out_last,
    holdout_split,
    rank_by_date,
    scored_rows,
)
from support.signal_markets import features_of, market_of, noise_features, random_market, sessions

NAN = float("nan")


def prices(**columns) -> pd.DataFrame:
    return pd.DataFrame(columns, index=sessions(len(next(iter(columns.values())))), dtype=float)


# --- labels -----------------------------------------------------------------------------------------------------------


def test_label_is_the_open_of_tomorrow_to_the_open_after_the_horizon():
    market = market_of(prices(A=[10, 11, 12, 13, 14, 15]), prices(A=[10, 10, 20, 30, 25, 40]))
    labels = compute_labels(market, 2)
    assert labels["A"].tolist()[:3] == [30 / 10 - 1, 25 / 20 - 1, 40 / 30 - 1]
    assert labels["A"].iloc[3:].isna().all()


def test_label_of_a_source_with_closes_only_uses_the_next_close():
    market = market_of(prices(A=[10, 20, 30, 60]))
    assert compute_labels(market, 1)["A"].tolist()[:2] == [0.5, 1.0]
    assert describe_label(market, 1).startswith("close[t+1+1] / close[t+1] - 1")


def test_a_split_and_a_dividend_inside_the_window_are_part_of_the_return():
    close, open_ = prices(A=[100, 100, 100, 50, 50, 49]), prices(A=[100, 100, 100, 50, 50, 49])
    day = close.index
    market = market_of(close, open_, [(day[3], "A", "split", 2.0), (day[5], "A", "dividend", 1.0)])
    labels = compute_labels(market, 1)["A"]
    assert labels.iloc[:4].tolist() == pytest.approx([0.0, 0.0, 0.0, 0.0], abs=1e-12)


@pytest.mark.parametrize("dated", [2, 3], ids=["on the last bar", "the session after"])
def test_a_delisted_name_leaves_at_its_last_close_times_its_final_return(dated):
    close = prices(A=[10, 10, 8, NAN, NAN, NAN], B=[10, 10, 10, 10, 10, 10])
    actions = [(close.index[dated], "A", "delisting", -0.5)]
    labels = compute_labels(market_of(close, close, actions), 3)
    assert labels["A"].iloc[0] == pytest.approx(8 * 0.5 / 10 - 1)  # bought at 10, 8 at the end, half of it came back
    assert labels["A"].iloc[1] == pytest.approx(0.5 - 1)
    assert labels["B"].iloc[0] == 0


def test_a_name_that_ends_without_a_record_leaves_at_its_last_close():
    close = prices(A=[10, 10, 8, NAN, NAN, NAN])
    assert compute_labels(market_of(close), 2)["A"].iloc[0] == pytest.approx(-0.2)


def test_a_final_return_is_not_earned_before_its_date():
    close = prices(A=[10, 10, 8, NAN, NAN, NAN, NAN])
    market = market_of(close, close, [(close.index[5], "A", "delisting", -1.0)])
    assert compute_labels(market, 2)["A"].iloc[0] == pytest.approx(-0.2)
    assert compute_labels(market, 4)["A"].iloc[0] == -1


def test_a_ticker_used_again_does_not_inherit_the_final_return():
    close = prices(A=[10, 10, NAN, NAN, 10, 20, 20, 20])
    market = market_of(close, close, [(close.index[2], "A", "delisting", -0.5)])
    assert compute_labels(market, 1)["A"].iloc[3] == 1.0


def test_a_name_without_a_bar_tomorrow_cannot_be_bought():
    close = prices(A=[10, 10, NAN, 10, 11, 12])
    labels = compute_labels(market_of(close), 1)["A"]
    assert np.isnan(labels.iloc[1])
    assert labels.iloc[0] == 0  # halted at the exit: valued at its last close
    assert labels.iloc[2] == pytest.approx(0.1)


@pytest.mark.parametrize("horizon", [0, -1, 2.0, True - 1])
def test_a_horizon_must_be_a_whole_number_of_sessions(horizon):
    with pytest.raises(ParameterError, match="horizon"):
        compute_labels(random_market(0, 10, 2)[0], horizon)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), horizon=st.integers(1, 8), cut=st.integers(0, 39))
def test_labels_are_known_once_they_mature_and_never_change(seed, horizon, cut):
    market, _ = random_market(seed, 40, 6, gaps=0.2)
    full, then = compute_labels(market, horizon), compute_labels(market.upto(market.dates[cut]), horizon)
    mature = max(cut - horizon, 0)
    assert_frame_equal(then.iloc[:mature], full.iloc[:mature])
    assert then.iloc[mature:].isna().all(axis=None)


def test_labels_do_not_depend_on_the_currency():
    market, _ = random_market(3, 40, 6, gaps=0.1)
    assert_frame_equal(compute_labels(market, 3), compute_labels(market_of(market.close * 1024), 3))


# --- ranks ------------------------------------------------------------------------------------------------------------


def test_ranks_by_hand():
    table = pd.DataFrame([[3.0, 1.0, 2.0, NAN], [5.0, 5.0, 1.0, 9.0], [NAN, 7.0, NAN, NAN], [NAN] * 4])
    ranks = rank_by_date(table).to_numpy()
    assert ranks[0, :3].tolist() == [0.5, -0.5, 0.0]
    assert ranks[1].tolist() == pytest.approx([0.0, 0.0, -0.5, 0.5])
    assert ranks[2, 1] == 0
    assert np.isnan(ranks[0, 3])
    assert np.isnan(ranks[3]).all()


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30))
def test_ranks_keep_the_order_and_forget_the_rest(values):
    row = pd.DataFrame([values])
    ranks = rank_by_date(row)
    assert ranks.abs().max(axis=None) <= 0.5
    assert ranks.sum(axis=1).abs().item() < 1e-9
    assert_frame_equal(ranks, rank_by_date(row * 4))  # a power of two keeps ties as they are


# --- dataset ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dataset() -> MLDataset:
    market, _ = random_market(5, 60, 7, gaps=0.1)
    return build_dataset(market, noise_features(market, 3), 4)


def test_rows_are_those_of_the_obvious_loop(dataset):
    dates = dataset.dates[10:30]
    X, y, per_date = dataset.rows(dates)
    expected, target = [], []
    for date in dates:
        for symbol in dataset.features.symbols:
            if np.isfinite(dataset.ranks.at[date, symbol]):
                i, j = dataset.dates.get_loc(date), dataset.features.symbols.get_loc(symbol)
                expected.append(dataset.features.values[i, j])
                target.append(dataset.ranks.at[date, symbol])
    assert X.dtype == y.dtype == np.float32
    np.testing.assert_array_equal(X, np.array(expected))
    np.testing.assert_array_equal(y, np.array(target, dtype=np.float32))
    assert per_date.tolist() == dataset.ranks.loc[dates].notna().sum(axis=1).tolist()


def test_names_without_a_feature_are_neither_rows_nor_part_of_the_ranks():
    market, _ = random_market(5, 30, 6)
    features = noise_features(market, 2)
    features.values[:, 0] = np.nan
    dataset = build_dataset(market, features, 2)
    assert not scored_rows(features)[:, 0].any()
    assert dataset.ranks.iloc[:, 0].isna().all()
    assert dataset.labels.iloc[5, 0] == compute_labels(market, 2).iloc[5, 0]
    assert dataset.ranks.iloc[5].max() == 0.5
    assert len(dataset.rows(market.dates)[1]) == 27 * 5


def test_matured_is_the_session_whose_price_closes_the_label(dataset):
    assert dataset.matured[0] == dataset.dates[5]
    assert dataset.matured[-5:].isna().all()
    assert not dataset.matured[:-5].isna().any()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), horizon=st.integers(1, 6), cut=st.integers(15, 45))
def test_rows_of_a_date_do_not_change_when_later_rows_do(seed, horizon, cut):
    market, signal = random_market(seed, 50, 5, gaps=0.1)
    close = market.close.copy()
    close.iloc[cut + 1 :] *= 1 + np.random.default_rng(seed).random((50 - cut - 1, 5))
    other = market_of(close)
    here, there = (build_dataset(m, features_of(m, signal), horizon) for m in (market, other))
    mature = market.dates[: cut - horizon]
    for ours, theirs in zip(here.rows(mature), there.rows(mature), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_features_on_some_dates_are_those_rows(dataset):
    part = dataset.features_on(dataset.dates[3:9])
    assert part.dates.equals(dataset.dates[3:9])
    assert np.shares_memory(part.values, dataset.features.values)
    odd = dataset.features_on(dataset.dates[[1, 5, 8]])
    np.testing.assert_array_equal(odd.values, dataset.features.values[[1, 5, 8]])


def test_features_may_cover_fewer_dates_and_symbols_than_the_market():
    market, _ = random_market(5, 40, 6)
    features = noise_features(market, 2)
    part = replace(features, values=features.values[10:20, :4], dates=market.dates[10:20], symbols=market.symbols[:4])
    dataset = build_dataset(market, part, 3)
    assert_frame_equal(dataset.labels, compute_labels(market, 3).iloc[10:20, :4])
    assert dataset.matured[0] == market.dates[14]


def test_features_of_another_market_are_refused(dataset):
    market, _ = random_market(5, 20, 7)
    with pytest.raises(DataError, match="compute them from this market"):
        build_dataset(market, dataset.features, 4)
    with pytest.raises(DataError, match="labels does not have the dates"):
        replace(dataset, labels=dataset.labels.iloc[:-1])
    with pytest.raises(DataError, match="matured"):
        replace(dataset, matured=dataset.matured[:-1])


def test_a_date_that_the_dataset_lacks_is_named(dataset):
    with pytest.raises(DataError, match="2001-01-01"):
        dataset.rows(["2001-01-01"])


# --- splits -----------------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(
    n=st.integers(30, 400),
    n_folds=st.integers(1, 8),
    horizon=st.integers(1, 21),
    embargo=st.integers(0, 10),
    kind=st.sampled_from(["expanding", "rolling"]),
    min_train=st.one_of(st.none(), st.integers(1, 100)),
)
def test_no_training_label_reaches_into_a_test_block(n, n_folds, horizon, embargo, kind, min_train):
    dates = sessions(n)
    how = {"horizon": horizon, "embargo": embargo, "kind": kind, "min_train": min_train}
    try:
        splits = [create_time_based_split(dates, fold, n_folds, **how) for fold in range(n_folds)]
    except ParameterError:
        gap = horizon + 1 + embargo
        assert n < gap + n_folds + (min_train or (n - gap) // (n_folds + 1) or 1)
        return
    for train, test in splits:
        last_price = dates.get_loc(train[-1]) + 1 + horizon  # of the last training label
        assert last_price < dates.get_loc(test[0]) - embargo
        assert last_price == dates.get_loc(test[0]) - embargo - 1  # and not a session more is thrown away
    first = len(splits[0].train)
    assert all(len(train) == first if kind == "rolling" else train[0] == dates[0] for train, _ in splits)
    assert min_train is None or first == min_train
    stitched = splits[0].test.append([test for _, test in splits[1:]])
    assert stitched.equals(dates[-len(stitched) :])  # each date once, in order, to the end
    assert max(len(test) for _, test in splits) - min(len(test) for _, test in splits) <= 1


def test_a_split_by_hand():
    dates = sessions(20)
    split = create_time_based_split(dates, 1, 2, horizon=2, embargo=1, min_train=6)
    assert split.train.equals(dates[0:11])  # 4 purged or embargoed before session 15
    assert split.test.equals(dates[15:20])
    rolling = create_time_based_split(dates, 1, 2, horizon=2, embargo=1, min_train=6, kind="rolling")
    assert rolling.train.equals(dates[5:11])


def positions(dates, splits) -> list[tuple[list[int], list[int]]]:
    """Training and test dates of each fold as places in `dates`."""
    return [tuple(dates.get_indexer(part).tolist() for part in split) for split in splits]


@settings(max_examples=100, deadline=None)
@given(
    n_folds=st.integers(2, 8),
    horizon=st.integers(1, 21),
    embargo=st.integers(0, 10),
    kind=st.sampled_from(["expanding", "rolling"]),
    first=st.integers(1, 100),
    block=st.integers(1, 60),
)
def test_folds_are_those_of_scikit_learn_and_skfolio(n_folds, horizon, embargo, kind, first, block):
    """Where the blocks come out even: of the rest, scikit-learn leaves out the oldest dates, skfolio the newest, and we
    none. Neither knows labels or an embargo before a block: both are told the whole gap."""
    from skfolio.model_selection import WalkForward as SkfolioWalkForward

    gap = horizon + 1 + embargo
    dates = sessions(first + gap + n_folds * block)
    how = {"horizon": horizon, "embargo": embargo, "kind": kind, "min_train": first}
    ours = positions(dates, [create_time_based_split(dates, fold, n_folds, **how) for fold in range(n_folds)])
    scikit = TimeSeriesSplit(n_folds, test_size=block, gap=gap, max_train_size=first if kind == "rolling" else None)
    assert ours == [(train.tolist(), test.tolist()) for train, test in scikit.split(dates)]
    skfolio = SkfolioWalkForward(test_size=block, train_size=first, purged_size=gap, expand_train=kind == "expanding")
    assert ours == [(train.tolist(), test.tolist()) for train, test in skfolio.split(dates.to_frame())]


@given(horizon=st.integers(1, 21), embargo=st.integers(0, 10), before=st.integers(1, 100), holdout=st.integers(1, 100))
def test_the_holdout_is_the_last_fold_of_scikit_learn(horizon, embargo, before, holdout):
    gap = horizon + 1 + embargo
    dates = sessions(before + gap + 2 * holdout)
    *_, (train, test) = TimeSeriesSplit(2, test_size=holdout, gap=gap).split(dates)
    ours = holdout_split(dates, holdout, horizon=horizon, embargo=embargo)
    assert positions(dates, [ours]) == [(train.tolist(), test.tolist())]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fold": 3}, "no fold 3 of 3"),
        ({"fold": -1}, "no fold -1"),
        ({"kind": "random"}, "expanding or rolling"),
        ({"horizon": 0}, "horizon 0"),
        ({"min_train": 500}, "too few"),
        ({"min_train": 0}, "too few"),
    ],
)
def test_a_split_that_cannot_be_made_is_refused(change, message):
    with pytest.raises(ParameterError, match=message):
        create_time_based_split(sessions(100), **{"fold": 0, "n_folds": 3, "horizon": 5, **change})


@given(n=st.integers(20, 500), fraction=st.floats(0.05, 0.4), horizon=st.integers(1, 21))
def test_the_inner_split_is_purged_too(n, fraction, horizon):
    try:
        end, start = hold_out_last(n, fraction, horizon)
    except ParameterError:
        assert n * (1 - fraction) < horizon + 3
        return
    assert end > 0
    assert end - 1 + 1 + horizon == start - 1
    assert start < n
