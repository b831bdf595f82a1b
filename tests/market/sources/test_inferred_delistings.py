"""A listing ends on the first session without a bar, and a symbol that comes back begins another."""

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from openbook.market import calendar
from openbook.market.ingest import admit
from openbook.market.sources import FilesSource, fetch
from openbook.market.sources.inferred_delistings import Endings, read_endings

DATES = calendar.sessions("2020-01-02", "2020-12-31")


def bars(spans: dict[str, list[tuple[int, int]]]) -> pd.DataFrame:
    """Bars of each symbol on sessions first to last (positions in DATES, both included)."""
    rows = [(name, DATES[i]) for name, parts in spans.items() for first, last in parts for i in range(first, last + 1)]
    return pd.DataFrame(rows, columns=["symbol", "date"]).astype({"symbol": "str", "date": "datetime64[us]"})


def test_endings_by_hand():
    end = len(DATES) - 1
    history = bars({"STAYS": [(0, end)], "LATE": [(0, end - 19)], "ENDS": [(0, 100)], "BACK": [(3, 50), (80, end)]})
    found = read_endings(history, Endings(final_return=-0.3))
    assert found[["symbol", "date"]].to_numpy().tolist() == [["BACK", DATES[51]], ["ENDS", DATES[101]]]
    assert set(found["kind"]) == {"delisting"}
    assert set(found["value"]) == {-0.3}


def test_a_row_on_a_holiday_keeps_no_listing_alive():
    history = pd.concat(
        [bars({"A": [(0, 251)], "B": [(0, 200)]}), pd.DataFrame({"symbol": ["B"], "date": ["2020-12-25"]})]
    )
    history["date"] = history["date"].astype("datetime64[us]")
    assert read_endings(history, Endings())["date"].tolist() == [DATES[201]]


def test_order_and_copies_of_the_rows_do_not_matter():
    history = bars({"A": [(0, 90), (150, 200)], "B": [(5, 251)]})
    mixed = pd.concat([history, history[::3]]).sample(frac=1, random_state=1)
    assert_frame_equal(read_endings(mixed, Endings()), read_endings(history, Endings()))


@pytest.mark.parametrize("seed", range(5))
def test_endings_equal_a_slow_twin(seed):
    rng = np.random.default_rng(seed)
    has = {name: rng.random(len(DATES)) < rng.choice([0.02, 0.2, 0.9]) for name in "ABCDEF"}
    has["Z"] = np.ones(len(DATES), dtype=bool)
    history = bars({name: [(i, i) for i in np.flatnonzero(there)] for name, there in has.items()})
    wanted = []
    for name, there in has.items():
        for i in np.flatnonzero(there):
            if len(there) - 1 - i >= 20 and not there[i + 1 : i + 21].any():
                wanted.append((DATES[i + 1], name))
    assert list(zip(*read_endings(history, Endings())[["date", "symbol"]].T.to_numpy(), strict=True)) == sorted(wanted)


@pytest.mark.parametrize("prices", ["raw", "adjusted"])
def test_a_folder_with_endings_tells_of_delistings_and_a_recorded_one_counts(tmp_path, prices):
    bars({"A": [(0, 251)], "B": [(0, 100)], "C": [(0, 50)]}).assign(close=10.0).to_parquet(tmp_path / "bars.parquet")
    settings = {"path": str(tmp_path / "bars.parquet"), "prices": prices, "endings": {"final_return": -0.3}}
    if prices == "raw":
        recorded = pd.DataFrame({"date": [DATES[51]], "symbol": ["C"], "kind": ["delisting"], "value": [-1.0]})
        recorded.to_csv(tmp_path / "actions.csv", index=False)
        settings["actions"] = {"path": str(tmp_path / "actions.csv")}
    delivery = fetch(FilesSource(**settings))
    market, _ = admit(delivery)
    final = {row.symbol: (row.date, row.value) for row in market.actions.itertuples()}
    assert final == {"B": (DATES[101], -0.3), "C": (DATES[51], -1.0 if prices == "raw" else -0.3)}
    assert "counts as delisted at -30% from its last close" in " ".join(market.notes)


@pytest.mark.parametrize(("back", "final"), [(5.0, -0.5), (0.05, -0.995), (9.0, -0.3), (15.0, -0.3), (0.0, -0.3)])
def test_a_listing_that_comes_back_lower_paid_no_more_than_that(back, final):
    """Closes of 10, 30 sessions of silence, then `back`: the return of a holder is back / 10 − 1, if below −30%."""
    history = bars({"A": [(0, 50), (81, 251)], "B": [(0, 251)]})
    late = (history["symbol"] == "A") & (history["date"] >= DATES[81])
    found = read_endings(history.assign(close=np.where(late, back, 10.0)), Endings(final_return=-0.3))
    assert found[["date", "symbol"]].to_numpy().tolist() == [[DATES[51], "A"]]
    assert found["value"].iloc[0] == pytest.approx(final)
