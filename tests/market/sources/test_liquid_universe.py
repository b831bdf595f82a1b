"""Who is liquid is decided on the first session of a month by the sessions before it."""

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from openbook.common.errors import DataError
from openbook.market import calendar
from openbook.market.ingest import admit
from openbook.market.sources import FilesSource, fetch
from openbook.market.sources.liquid_universe import Liquid, liquid_members

DATES = calendar.sessions("2020-01-02", "2020-06-30").as_unit("us")
RULE = Liquid(top=3, window=20, min_price=5)


def bars(seed: int = 0, n_symbols: int = 8) -> pd.DataFrame:
    """Random closes and volumes with holes."""
    rng = np.random.default_rng(seed)
    table = pd.MultiIndex.from_product([DATES, [f"S{i}" for i in range(n_symbols)]], names=["date", "symbol"])
    frame = table.to_frame(index=False).astype({"symbol": "str"})
    frame["close"] = rng.uniform(2, 30, len(frame))
    frame["volume"] = rng.lognormal(10, 1, len(frame)) * frame["symbol"].str[1:].astype(int)
    return frame[rng.random(len(frame)) > 0.1].reset_index(drop=True)


@pytest.mark.parametrize("seed", range(4))
def test_members_equal_a_slow_twin(seed):
    table = bars(seed)
    firsts = [day for day in DATES if day == DATES[DATES.to_period("M") == day.to_period("M")][0]]
    wanted = []
    for day, following in zip(firsts, [*firsts[1:], pd.NaT], strict=True):
        before = DATES[day > DATES][-20:]
        if len(before) < 20:
            continue
        found = {}
        for symbol, rows in table[table["date"] < day].groupby("symbol"):
            values = (rows["close"] * rows["volume"]).set_axis(rows["date"]).reindex(before).fillna(0)
            if values.median() > 0 and rows["close"].iloc[-1] >= 5:
                found[symbol] = values.median()
        best = sorted(sorted(found), key=lambda name: -found[name])[:3]
        wanted += [(symbol, day, following) for symbol in sorted(best)]
    assert_frame_equal(
        liquid_members(table, RULE), pd.DataFrame(wanted, columns=["symbol", "start", "end"]), check_dtype=False
    )


def test_later_bars_change_no_earlier_month():
    table, cut = bars(), pd.Timestamp("2020-05-15")
    known, early = liquid_members(table, RULE), liquid_members(table[table["date"] <= cut], RULE)
    same = known[known["start"] <= cut].reset_index(drop=True)
    assert_frame_equal(same[["symbol", "start"]], early[["symbol", "start"]])


def test_the_universe_of_a_folder(tmp_path):
    bars().assign(open=10.0).to_parquet(tmp_path / "bars.parquet")
    source = FilesSource(path=str(tmp_path / "bars.parquet"), prices="raw", liquid=RULE)
    market, _ = admit(fetch(source))
    assert market.members.sum(axis=1).loc["2020-02-03":].eq(3).all()
    assert not market.members.loc[:"2020-01-31"].to_numpy().any()
    assert "the 3 most traded names" in " ".join(market.notes)


def test_without_volumes_there_is_no_liquid_universe():
    with pytest.raises(DataError, match="needs volume"):
        liquid_members(bars().drop(columns="volume"), RULE)
