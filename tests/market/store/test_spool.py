"""An update that breaks off: what it got is kept for the day, and resumed it gives the store of one that did not break.

Real requests of yfinance and of the SEC's client to a real HTTP server on the loopback, with answers by hand.
"""

import itertools
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from openbook.common.errors import DataError, DataNotReady, StorageError
from openbook.market import calendar
from openbook.market.sources import EdgarTable, YahooSource, edgar, yahoo, yahoo_chart
from openbook.market.sources.attempt import Attempt
from openbook.market.sources.rate_limit import Pace, Patience
from openbook.market.store import update_store
from openbook.market.store.spool import Spool
from support import environment
from support.vendor_server import CRUMB, YAHOO, Hours, Said, chart, entry, facts, routed, vendor

DAYS = [f"{day:%Y-%m-%d}" for day in calendar.sessions("2020-08-06", "2020-09-01")]
NAMES = ["AAA", "BBB", "CCC", "DDD", "EEE"]
ASKED = [*NAMES, "^GSPC"]  # in this order
LIMITED = Said(b"Too Many Requests", 429)
SETTINGS = {"provider": "yahoo", "symbols": ["AAA"]}


@pytest.fixture
def here(monkeypatch):
    """Yahoo on this machine, on the evening of 2020-09-01, asked at an owned pace."""
    monkeypatch.setenv(calendar.REHEARSAL, "2020-09-01T22:00Z")
    hours = Hours()
    for module in (yahoo, edgar):
        monkeypatch.setattr(module, "Pace", lambda per_second: Pace(per_second, clock=hours.clock, sleep=hours.sleep))
    with vendor() as server:
        monkeypatch.setattr(yahoo_chart, "PacedSession", routed(server))
        server.says("/fc.yahoo.com/", b"")
        server.says(CRUMB, b"crumb")
        for name in ASKED:
            server.says(YAHOO + name, answer(name))
        yield server


def answer(name: str) -> dict:
    """Prices in float32, a split and a dividend: nothing that a round trip could bend goes unseen."""
    start = 20.0 + 7.3 * ASKED.index(name)
    close = [start * 1.013**i for i in range(len(DAYS))]
    return chart(name, DAYS, close, splits=[(DAYS[9], 3, 2)], dividends=[(DAYS[4], 0.123456)])


def source(**settings) -> YahooSource:
    patience = Patience(requests_per_second=10.0, retries=1, backoff=1.0)
    return YahooSource(**({"symbols": tuple(NAMES), "batch_size": 2} | settings), patience=patience)


def update(folder, of: YahooSource, **given):
    """One update of a store, which keeps what it gets beside it."""
    return update_store(folder / "store", of, through="2020-09-01", unfinished=folder / "unfinished", **given)


def files(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "store").iterdir())}


def parts(folder) -> list:
    return sorted(path for path in (folder / "unfinished").rglob("*") if path.is_file())


@pytest.fixture
def whole(here, tmp_path):
    """The bytes of a store whose update did not break."""
    update(tmp_path / "whole", source())
    here.requests.clear()
    return files(tmp_path / "whole")


@pytest.mark.parametrize("broken", range(len(ASKED)))
def test_limited_at_any_symbol_and_resumed_is_the_store_of_an_unbroken_update(here, tmp_path, whole, broken):
    here.says(YAHOO + ASKED[broken], LIMITED)
    with pytest.raises(DataNotReady, match="rate limit"):
        update(tmp_path, source())
    assert not (tmp_path / "store").exists()
    assert len(parts(tmp_path)) == broken
    here.requests.clear()
    here.says(YAHOO + ASKED[broken], answer(ASKED[broken]))
    report = update(tmp_path, source())
    assert here.asked("chart") == [YAHOO + name for name in ASKED[broken:]]
    assert report.asked.totals == {"symbols": 6}
    assert report.asked.reused == ({"symbols": broken} if broken else {})
    assert files(tmp_path) == whole
    assert not (tmp_path / "unfinished").exists()


def test_interrupted_again_and_again_it_arrives(here, tmp_path, whole, monkeypatch):
    """Ctrl-C after each single answer, with other batches each time; then an update to the end."""
    ask = yahoo_chart.Chart.ask
    for turn in itertools.count():
        left = iter([False, True])

        def ask_one(self, symbol, start, left=left):
            if next(left):
                raise KeyboardInterrupt
            return ask(self, symbol, start)

        monkeypatch.setattr(yahoo_chart.Chart, "ask", ask_one)
        try:
            update(tmp_path, source(batch_size=1 + turn))
            break
        except KeyboardInterrupt:
            assert len(parts(tmp_path)) == turn + 1
    assert turn == len(ASKED) - 1
    assert files(tmp_path) == whole


PROCESS = """
import sys
from pathlib import Path
from openbook.market.sources import parse_source, yahoo_chart
from openbook.market.store import update_store
from support import environment
from support.vendor_server import Vendor, routed

yahoo_chart.PacedSession = routed(Vendor(sys.argv[1]))
source = parse_source({"provider": "yahoo", "symbols": ["AAA", "BBB", "CCC", "DDD", "EEE"]})
folder = Path(sys.argv[2])
update_store(folder / "store", source, through="2020-09-01", unfinished=folder / "unfinished")
"""


def test_a_killed_process_leaves_what_it_got(here, tmp_path, whole):
    """SIGKILL while Yahoo keeps it waiting for the fourth symbol."""
    here.says(YAHOO + "DDD", Said(b"", delay=30.0))
    command = [sys.executable, "-c", PROCESS, here.url, str(tmp_path)]
    with subprocess.Popen(command, env=environment()) as process:
        until = time.monotonic() + 60
        while not here.asked("DDD") and process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    here.says(YAHOO + "DDD", answer("DDD"))
    assert update(tmp_path, source()).asked.reused == {"symbols": 3}
    assert files(tmp_path) == whole


def test_an_update_of_the_last_weeks_is_resumed(here, tmp_path):
    """Of a store that asks for its last weeks only."""
    days = [f"{day:%Y-%m-%d}" for day in calendar.sessions("2020-03-02", "2020-09-01")]
    for name in ASKED:
        here.says(YAHOO + name, chart(name, days, [30.0 + 0.01 * i for i in range(len(days))]))
    for folder in ("broken", "unbroken"):
        update_store(tmp_path / folder / "store", source(), through=days[-2])
    here.says(YAHOO + "CCC", LIMITED)
    with pytest.raises(DataNotReady):
        update(tmp_path / "broken", source())
    here.says(YAHOO + "CCC", chart("CCC", days, [30.0 + 0.01 * i for i in range(len(days))]))
    assert update(tmp_path / "broken", source()).asked.reused == {"symbols": 2}
    assert update(tmp_path / "unbroken", source()).asked.reused == {}
    assert files(tmp_path / "broken") == files(tmp_path / "unbroken")


def test_the_last_weeks_that_were_kept_are_no_whole_history(here, tmp_path):
    days = [f"{day:%Y-%m-%d}" for day in calendar.sessions("2020-03-02", "2020-09-01")]
    for name in ASKED:
        here.says(YAHOO + name, chart(name, days, [30.0 + 0.01 * i for i in range(len(days))]))
    update_store(tmp_path / "store", source(), through=days[-2])
    here.says(YAHOO + "CCC", LIMITED)
    with pytest.raises(DataNotReady):
        update(tmp_path, source())
    here.says(YAHOO + "CCC", chart("CCC", days, [30.0 + 0.01 * i for i in range(len(days))]))
    assert update(tmp_path, source(), whole=True).asked.reused == {}


def test_what_was_kept_on_another_day_or_for_another_source_is_not_used(here, tmp_path, monkeypatch):
    here.says(YAHOO + "CCC", LIMITED)
    for moment, settings, symbols in (
        ("2020-09-01T22:00Z", {}, ["AAA", "BBB", "CCC"]),
        ("2020-09-02T03:00Z", {}, ["CCC"]),  # 23:00 in New York, on the same day
        ("2020-09-02T05:00Z", {}, ["AAA", "BBB", "CCC"]),  # the next day
        ("2020-09-02T05:00Z", {"start": "2020-08-07"}, ["AAA", "BBB", "CCC"]),
        ("2020-09-02T05:00Z", {"start": "2020-08-07"}, ["CCC"]),
        ("2020-09-02T22:00Z", {"start": "2020-08-07"}, ["AAA", "BBB", "CCC"]),  # a session later
    ):
        monkeypatch.setenv(calendar.REHEARSAL, moment)
        here.requests.clear()
        with pytest.raises(DataNotReady):
            update(tmp_path, source(**settings))
        assert list(dict.fromkeys(here.asked("chart"))) == [YAHOO + name for name in symbols]
        assert len(parts(tmp_path)) == 2


def half(file) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def forged(file) -> None:
    """Numbers of the same size: a price changed, under the old name."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


def exchanged(file) -> None:
    """The answer about another symbol."""
    other = next(path for path in sorted(file.parent.iterdir()) if path != file)
    file.write_bytes(other.read_bytes())


def linked(file) -> None:
    other = file.parent.parent / "elsewhere"
    shutil.move(file, other)
    file.symlink_to(other)


@pytest.mark.parametrize("spoil", [half, forged, exchanged, linked])
def test_a_spoiled_part_is_asked_for_again(here, tmp_path, whole, spoil):
    here.says(YAHOO + "DDD", LIMITED)
    with pytest.raises(DataNotReady):
        update(tmp_path, source())
    spoil(parts(tmp_path)[0])
    here.requests.clear()
    here.says(YAHOO + "DDD", answer("DDD"))
    assert update(tmp_path, source()).asked.reused == {"symbols": 2}
    assert len(here.asked("chart")) == 4
    assert files(tmp_path) == whole


def test_answers_that_are_bad_are_not_kept(here, tmp_path):
    """Else the same fault would come again all day, whatever the vendor mends."""
    with pytest.raises(DataError, match="after today"):
        update(tmp_path, source(), today="2020-08-20")
    assert not (tmp_path / "unfinished").exists()


def test_a_store_that_cannot_be_written_loses_no_answer(here, tmp_path, whole):
    (tmp_path / "store").write_text("a file in its place")
    with pytest.raises(StorageError):
        update(tmp_path, source())
    here.requests.clear()
    (tmp_path / "store").unlink()
    assert update(tmp_path, source()).asked.reused == {"symbols": 6}
    assert not here.requests
    assert files(tmp_path) == whole


def test_reports_to_the_sec_go_on_where_they_ended(here, tmp_path):
    """Two share classes of one company, a company that has filed nothing, and one that keeps the client waiting."""
    listed = {"AAA": 1, "BBB": 1, "CCC": 2, "DDD": 3, "EEE": 4}
    rows = {str(i): {"cik_str": cik, "ticker": name} for i, (name, cik) in enumerate(listed.items())}
    here.says("/files/company_tickers.json", rows)
    told = [entry(100.0 / 3, "2020-06-30", "2020-08-03"), entry(1e11, "2020-03-31", "2020-05-01")]
    place = "/api/xbrl/companyfacts/CIK{:010d}.json".format
    for cik in (1, 2, 4):
        here.says(place(cik), facts(cik, Assets=("USD", told)))
    patience = Patience(retries=0, requests_per_second=10.0)
    table = EdgarTable(user_agent="Jane jane@example.com", files_url=here.url, facts_url=here.url, patience=patience)
    update(tmp_path / "whole", source(fundamentals=table))
    here.says(place(4), Said(b"", 503))
    with pytest.raises(DataNotReady, match="8 answers are kept"):  # 6 charts, and companies 1 and 2
        update(tmp_path, source(fundamentals=table))
    here.requests.clear()
    here.says(place(4), facts(4, Assets=("USD", told)))
    seen = []
    report = update(tmp_path, source(fundamentals=table), tell=lambda *step: seen.append(step))
    assert [path for path, _ in here.requests] == ["/files/company_tickers.json", place(3), place(4)]
    assert report.asked.totals == {"symbols": 6, "companies at the SEC": 4}
    assert report.asked.reused == {"symbols": 6, "companies at the SEC": 2}
    assert seen == [*(("symbols", n, 6) for n in range(1, 7)), *(("companies at the SEC", n, 4) for n in range(1, 5))]
    assert files(tmp_path) == files(tmp_path / "whole")


def test_a_kept_table_is_the_same_table(tmp_path):
    """Every bit of every number, missing ones and whole ones too."""
    table = pd.DataFrame(
        {
            "date": pd.DatetimeIndex(["2020-08-06", "2020-08-07"]).as_unit("us"),
            "Close": [0.1 + 0.2, float("nan")],
            "Volume": [2**60 + 1, 0],
            "form": pd.Series(["10-K", None], dtype="str"),
        }
    )
    attempt = Attempt(Spool(tmp_path / "place", SETTINGS, None, "2020-09-01"))
    attempt.keep("symbols", "AAA", table)
    pd.testing.assert_frame_equal(attempt.table("symbols", "AAA"), table, check_exact=True)
    assert attempt.table("symbols", "BBB") is None
    assert attempt.table("companies", "AAA") is None
    assert Attempt().table("symbols", "AAA") is None


def test_a_spool_leaves_nothing_but_itself_in_its_place(tmp_path, monkeypatch):
    place = tmp_path / "place"
    (place / "old").mkdir(parents=True)
    (place / "note").write_text("of somebody")
    spool = Spool(place, SETTINGS, None, "2020-09-01")
    assert not place.exists()
    spool.put("one", b"1")
    assert Spool(place, SETTINGS, None, "2020-09-01").get("one") == b"1"
    assert len(spool) == 1
    elsewhere = tmp_path / "elsewhere"
    shutil.move(place, elsewhere)
    place.symlink_to(elsewhere)
    assert Spool(place, SETTINGS, None, "2020-09-01").get("one") is None
    assert len(list(elsewhere.iterdir())) == 1  # what a link leads to is not ours
