"""Sectors of the day: a name that changed its sector is in the old one on the evenings before."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal, assert_series_equal

from openbook.backtest.decision_dates import gather_decision_dates
from openbook.common.errors import DataError
from openbook.market import calendar
from openbook.market.ingest import admit
from openbook.market.sources import FilesSource, fetch
from openbook.market.store import put_market, read_store
from openbook.market.store.fingerprints import fingerprint, session_digests
from openbook.market.tables import SPELL_COLUMNS, refused_rows, sectors_on


def days(values) -> pd.Series:
    return pd.to_datetime(pd.Series(values, dtype="object")).astype("datetime64[us]")


@pytest.fixture
def market(delivery):
    """Sectors of the forty names, of which the first moved on the twentieth session and the second on the fortieth."""
    names = sorted(delivery.bars["symbol"].unique())
    when = sorted(delivery.bars["date"].unique())
    spells = pd.DataFrame({"symbol": names, "sector": "Technology", "start": pd.NaT})
    moved = pd.DataFrame({"symbol": names[:2], "sector": "Energy", "start": [when[20], when[40]]})
    return admit(replace(delivery, sectors=pd.concat([spells, moved])))[0]


def test_sectors_are_those_of_the_day():
    spells = pd.DataFrame(
        {
            "symbol": ["META", "META", "A"],
            "sector": ["Technology", "Communication", "Health"],
            "start": days([None, "2018-09-24", None]),
        }
    )
    assert sectors_on(spells, "2018-09-21").to_dict() == {"A": "Health", "META": "Technology"}
    assert sectors_on(spells, "2018-09-24").to_dict() == {"A": "Health", "META": "Communication"}
    with pytest.raises(DataError, match="two sectors"):
        sectors_on(pd.concat([spells, spells.assign(sector="Energy")]), "2020-01-02")


def test_dated_sectors_come_through_the_files_provider(tmp_path):
    days_of_bars = calendar.sessions("2018-09-17", "2018-09-21")
    pd.DataFrame({"symbol": "META", "date": days_of_bars, "close": 1.0}).to_parquet(tmp_path / "bars.parquet")
    (tmp_path / "sectors.csv").write_text("symbol,sector,since\nMETA,Technology,\nMETA,Communication,2018-09-24\n")
    sectors = {"path": str(tmp_path / "sectors.csv"), "columns": {"start": "since"}}
    source = FilesSource(path=str(tmp_path / "bars.parquet"), prices="raw", sectors=sectors)
    market, _ = admit(fetch(source))
    assert market.sectors.to_dict() == {"META": "Technology"}
    assert market.sector_spells["sector"].tolist() == ["Technology"]


def test_upto_shows_the_sectors_of_that_evening(market):
    first, second = market.symbols[:2]
    assert market.sectors[[first, second]].tolist() == ["Energy", "Energy"]
    assert market.upto(market.dates[20]).sectors[[first, second]].tolist() == ["Energy", "Technology"]
    early = market.upto(market.dates[19])
    assert set(early.sectors) == {"Technology"}
    assert early.sector_spells["start"].isna().all()


def test_a_sector_that_begins_tonight_is_news_and_one_that_began_long_ago_a_restatement(tmp_path, market):
    before, none = market.upto(market.dates[39]), refused_rows([], [], "", [])
    put_market(tmp_path, before, none, settings={})
    assert put_market(tmp_path, market, none, settings={}).restated.empty
    back, _ = read_store(tmp_path)
    assert_frame_equal(back.sector_spells, market.sector_spells)
    assert_series_equal(back.sectors, market.sectors)
    late = pd.DataFrame({"symbol": market.symbols[2:3], "start": market.dates[5:6], "sector": "Energy"})
    spells = pd.concat([market.sector_spells, late]).sort_values(SPELL_COLUMNS, na_position="first", ignore_index=True)
    told = replace(market, sector_spells=spells)
    report = put_market(tmp_path, told, none, settings={})
    assert report.restated[["symbol", "field", "date"]].to_numpy().tolist() == [
        [market.symbols[2], "Energy", market.dates[5]]
    ]
    assert read_store(tmp_path)[0].sectors[market.symbols[2]] == "Energy"
    then, _ = read_store(tmp_path, through=market.dates[39])
    assert_series_equal(then.sectors, before.sectors)


def test_a_later_sector_changes_no_earlier_fingerprint(market):
    digests = session_digests(market)
    for t in (5, 19, 20, 39, 40, 69):
        assert fingerprint(market.upto(market.dates[t])) == digests[t]
    assert fingerprint(replace(market, sector_spells=market.sector_spells.iloc[:-1])) != digests[-1]


def test_a_backtest_sees_the_sectors_of_each_evening(market):
    chosen = market.dates[[10, 25, 45, 60]]
    scores = pd.DataFrame(np.ones((4, len(market.symbols))), chosen, market.symbols)
    evenings = gather_decision_dates(scores, market, None, chosen)
    for k, date in enumerate(chosen):
        names = np.array(evenings.sector_names, dtype=object)[evenings.sectors[k]]
        assert names.tolist() == market.upto(date).sectors.reindex(market.symbols).tolist()
