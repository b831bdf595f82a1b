"""Own scores: what of a table is used on which session, and what is refused by name."""

import numpy as np
import pandas as pd
import pytest

from openbook.common.errors import DataError, DataNotReady, ModelError, ParameterError
from openbook.market.calendar import session_close, sessions
from openbook.signals.bundle import load_model, pack_model
from openbook.signals.dataset import build_dataset
from openbook.signals.features import Features
from openbook.signals.learners import LEARNERS
from openbook.signals.models import Candidate, check_scores, define_candidates
from openbook.signals.own_scores import OWN_SCORES, read_rows, read_scores, require_rows, scores_on
from openbook.signals.training import WalkForward, train_candidates
from support.signal_markets import features_of, market_of

DAYS = sessions("2022-01-03", "2023-03-31")  # a year and a quarter
NAMES = [f"S{i:03d}" for i in range(12)]


def table(*rows) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=["date", "symbol", "score", "known_at"])


def written(tmp_path, frame: pd.DataFrame, name: str = "ours.csv") -> str:
    file = tmp_path / name
    frame.to_parquet(file) if name.endswith(".parquet") else frame.to_csv(file, index=False)
    return str(file)


def test_a_score_counts_if_it_was_known_by_the_close_of_its_session(tmp_path):
    """2022-11-25 closed at 18:00 UTC, a half day; 2022-11-28 at 21:00; 2022-07-05 at 20:00, in summer."""
    rows = table(
        ("2022-11-25", "A", 1.0, "2022-11-25T18:00:00Z"),
        ("2022-11-25", "B", 2.0, "2022-11-25T18:00:01Z"),
        ("2022-11-28", "A", 3.0, "2022-11-28T15:59:00-05:00"),
        ("2022-11-28", "B", 4.0, "2022-11-28 20:30"),  # no zone: UTC
        ("2022-07-05", "A", 5.0, "2022-07-05"),
        ("2022-07-05", "B", 6.0, "2022-07-05T20:30:00Z"),
    )
    found = read_scores(written(tmp_path, rows))
    assert found[["symbol", "score"]].values.tolist() == [["A", 5.0], ["A", 1.0], ["A", 3.0], ["B", 4.0]]


def test_of_several_the_latest_that_was_known_by_the_close_counts(tmp_path):
    rows = table(
        ("2022-11-28", "A", 3.0, "2022-11-28T20:00:00Z"),
        ("2022-11-28", "A", 1.0, "2022-11-28T10:00:00Z"),
        ("2022-11-28", "A", 9.0, "2022-11-29T10:00:00Z"),  # a revision, too late
    )
    assert read_scores(written(tmp_path, rows))["score"].tolist() == [3.0]


def test_sessions_without_any_row_are_named_and_late_rows_are_rows(tmp_path):
    days = sessions("2022-11-21", "2022-12-02")  # without Thanksgiving, the 24th
    late = [(f"{days[0]:%Y-%m-%d}", "A", 1.0, "2023-01-01T00:00:00Z")]
    there = [(f"{day:%Y-%m-%d}", "A", 1.0, f"{day:%Y-%m-%d}") for day in days[5:]]
    rows = read_rows(written(tmp_path, table(*late, *there)))
    said = "ours.csv has no row for 2022-11-22, 2022-11-23, 2022-11-25 and 1 more sessions"
    with pytest.raises(DataNotReady, match=f"{said}.* smoothed over 9 sessions"):
        require_rows(rows, days, "ours.csv")
    require_rows(rows, days[5:], "ours.csv")
    require_rows(rows, days[:1], "ours.csv")


def test_parquet_and_csv_say_the_same_and_tickers_stay_texts(tmp_path):
    rows = table(
        ("2022-11-28", "NA", 1.5, "2022-11-28T20:00:00Z"),
        ("2022-11-28", "TRUE", 1e-17, "2022-11-28T20:00:00Z"),
        ("2022-11-28", "1E5", -0.1, "2022-11-28T20:00:00Z"),
    )
    typed = rows.assign(date=pd.to_datetime(rows["date"]), known_at=pd.to_datetime(rows["known_at"]))
    one, two = read_scores(written(tmp_path, rows)), read_scores(written(tmp_path, typed, "ours.parquet"))
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    assert sorted(one["symbol"]) == ["1E5", "NA", "TRUE"]


GOOD = ("2022-11-28", "A", 1.0, "2022-11-28T20:00:00Z")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([GOOD, GOOD], "A on 2022-11-28 is there twice with one known_at"),
        ([GOOD, ("2022-11-28", "B", "", GOOD[3])], r"row 2 \(B\): score is ''"),
        ([GOOD, ("2022-11-28", "B", "inf", GOOD[3])], r"row 2 \(B\): score is 'inf'"),
        ([("28.11.2022", "A", 1.0, GOOD[3])], r"row 1 \(A\): date is '28.11.2022'"),
        ([("2022-11-28", "A", 1.0, "noon")], r"row 1 \(A\): known_at is 'noon'"),
        ([("2022-11-28", "", 1.0, GOOD[3])], "row 1 has no symbol"),
        ([("2022-11-26", "A", 1.0, GOOD[3])], "2022-11-26 is no session"),
        ([("2022-11-28", "A", 1.0, "2022-11-29T00:00:00Z")], "no score was known by the close of its date"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, rows, said):
    with pytest.raises(DataError, match=said) as raised:
        read_scores(written(tmp_path, table(*rows)))
    assert "\n" not in str(raised.value)


def test_a_missing_file_or_column_is_named(tmp_path):
    with pytest.raises(DataError, match=r"the scores .*none\.csv are not there"):
        read_scores(str(tmp_path / "none.csv"))
    with pytest.raises(DataError, match="known_at"):
        read_scores(written(tmp_path, table(GOOD).drop(columns="known_at")))
    with pytest.raises(DataError, match="columns: date, symbol, score, known_at"):
        read_scores(written(tmp_path, table(GOOD).drop(columns="known_at"), "ours.parquet"))
    (tmp_path / "noise.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"noise\.parquet cannot be read"):
        read_scores(str(tmp_path / "noise.parquet"))


# ---- as a candidate ----


@pytest.fixture(scope="module")
def dataset():
    rng = np.random.default_rng(0)
    close = pd.DataFrame(100 * np.exp(np.cumsum(0.02 * rng.standard_normal((len(DAYS), 12)), axis=0)), DAYS, NAMES)
    close.columns = close.columns.astype("str")
    market = market_of(close)
    features: Features = features_of(market, rng.random(close.shape))
    return build_dataset(market, features, 5)


def long(dataset, hours: float = -1.0) -> pd.DataFrame:
    """Perfect scores: the label itself, known `hours` after the close; and a stranger."""
    rows = dataset.labels.fillna(0.0).rename_axis(index="date", columns="symbol").stack().rename("score").reset_index()
    close = {day: session_close(day) + pd.Timedelta(hours=hours) for day in DAYS}
    rows = rows.assign(known_at=rows["date"].map(close))
    return pd.concat([rows, rows.iloc[:12].assign(symbol="STRANGER").drop_duplicates(["date"])], ignore_index=True)


PLAN = WalkForward(n_folds=3, embargo=0, holdout=40)
TINY = Candidate(name="tiny", algorithm="lightgbm", n_estimators=30, early_stopping=None)


def own(path: str) -> Candidate:
    return Candidate(name="ours", algorithm="scores", path=path)


def test_it_goes_through_the_same_folds_and_figures(dataset, tmp_path):
    path = written(tmp_path, long(dataset), "ours.parquet")
    trained = train_candidates(dataset, [own(path), TINY], PLAN)
    assert trained.oos_scores["ours"].index.equals(trained.oos_scores["tiny"].index)
    assert trained.holdout_scores["ours"].index.equals(trained.holdout_scores["tiny"].index)
    summary = trained.summary.set_index("candidate")
    assert summary.loc["ours", "rank_ic"] == pytest.approx(1.0)  # the labels themselves
    assert [one.name for one in trained.learners] == ["tiny"]
    ledger = trained.trials[trained.trials["candidate"] == "ours"]
    assert set(ledger["kind"]) == {"candidate"}


def test_scores_that_came_after_the_close_are_in_no_backtest(dataset, tmp_path):
    rows = long(dataset)
    late = rows["symbol"].isin(["S000", "S001"])
    rows.loc[late, "known_at"] += pd.Timedelta(hours=3)
    trained = train_candidates(dataset, [own(written(tmp_path, rows, "ours.parquet"))], PLAN)
    assert trained.oos_scores["ours"][["S000", "S001"]].isna().all(axis=None)
    assert trained.oos_scores["ours"].drop(columns=["S000", "S001"]).notna().all(axis=None)


def test_a_gap_of_sessions_is_named(dataset, tmp_path):
    rows = long(dataset)
    gap = DAYS[[200, 201]]
    path = written(tmp_path, rows[~rows["date"].isin(gap)], "ours.parquet")
    said = f"no score of this market was known by the close of {gap[0]:%Y-%m-%d}, {gap[1]:%Y-%m-%d}$"
    with pytest.raises(DataError, match=said):
        train_candidates(dataset, [own(path)], PLAN)


def test_scores_of_other_symbols_alone_are_a_gap(dataset, tmp_path):
    path = written(tmp_path, long(dataset).query("symbol == 'STRANGER'"), "ours.parquet")
    with pytest.raises(DataError, match="no score of this market"):
        train_candidates(dataset, [own(path)], PLAN)


def test_its_bundle_holds_the_place_and_reads_the_file_of_the_evening(dataset, tmp_path):
    path = written(tmp_path, long(dataset), "ours.parquet")
    model = train_candidates(dataset, [own(path)], PLAN).models["ours"]
    sample = dataset.features_on(DAYS[-5:])
    files = pack_model(model, sample, data_fingerprint="x")
    folder = tmp_path / "bundle"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    again, schema = load_model(folder)
    assert schema["candidate"]["path"] == path
    assert again.predict(sample).equals(model.predict(sample))
    newer = long(dataset).assign(score=lambda rows: -rows["score"])
    written(tmp_path, newer, "ours.parquet")
    assert again.predict(sample).equals(-model.predict(sample))
    assert again.reading(read_scores(path)).predict(sample).equals(again.predict(sample))


def test_only_names_with_a_score_are_expected_to_have_one(dataset, tmp_path):
    path = written(tmp_path, long(dataset).query("symbol != 'S003'"), "ours.parquet")
    model = train_candidates(dataset, [own(path)], PLAN).models["ours"]
    last = dataset.features_on(DAYS[-30:-25])
    listed = last.symbols[model.scorable(last)[-1]]
    assert "S003" not in listed
    check_scores(model.predict(last).iloc[-1][listed], min_distinct=5)


def test_scores_on_dates_and_symbols():
    rows = pd.DataFrame({"date": DAYS[[0, 1]], "symbol": ["A", "B"], "score": [1.0, 2.0]})
    found = scores_on(rows, DAYS[:3], pd.Index(["B", "A", "C"]))
    expected = [[np.nan, 1.0, np.nan], [2.0, np.nan, np.nan], [np.nan] * 3]
    np.testing.assert_array_equal(found.to_numpy(), expected)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"name": "a", "algorithm": "scores"}, "the table of own scores goes with algorithm: scores"),
        ({"name": "a", "algorithm": "lightgbm", "path": "x.csv"}, "the table of own scores goes with"),
        ({"name": "a", "algorithm": "scores", "path": "x.csv", "tuning": {"n_trials": 2}}, "no parameters to tune"),
        ({"name": "a", "algorithm": "scores", "path": "x.csv", "params": {"b": 1}}, "scores has no parameter 'b'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(entry, said):
    with pytest.raises(ParameterError, match=said):
        define_candidates([entry])


def test_own_scores_are_no_member_of_an_ensemble():
    mine = {"name": "a", "algorithm": "scores", "path": "x.csv"}
    tiny, other = ({"name": name, "algorithm": "lightgbm"} for name in ("tiny", "other"))
    with pytest.raises(ParameterError, match="'a' is not a candidate"):
        define_candidates([mine, tiny, other, {"name": "all", "algorithm": "ensemble", "members": ["a", "tiny"]}])
    with pytest.raises(ParameterError, match="needs at least two other candidates"):
        define_candidates([mine, tiny, {"name": "all", "algorithm": "ensemble"}])


def test_a_candidate_without_a_path_is_written_as_before():
    """Its settings name a trial, also among those of years ago."""
    assert "path" not in TINY.model_dump(mode="json")
    assert own("x.csv").model_dump(mode="json")["path"] == "x.csv"


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'{"names": ["a"]}'])
def test_a_damaged_bundle_is_a_model_error(data):
    with pytest.raises(ModelError, match="does not say where its scores are"):
        OWN_SCORES.load(data)


def test_they_are_no_learner():
    assert "scores" not in LEARNERS
