"""A second source stands in for Yahoo: real files beside a Yahoo on this machine, through a real store.

Yahoo's closes are round; those of the files are 0.05 USD higher, about one part in a thousand: so it shows in every
stored number whose it is.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from openbook.common.errors import DataNotReady, ParameterError
from openbook.market import calendar
from openbook.market.ingest import admit
from openbook.market.sources import (
    PROVIDERS,
    EdgarTable,
    FilesSource,
    YahooSource,
    edgar,
    fetch,
    parse_source,
    yahoo,
    yahoo_chart,
)
from openbook.market.sources.files import IndexTable
from openbook.market.sources.rate_limit import Pace, Patience
from openbook.market.store import load_market, read_store, restatements, update_store
from openbook.market.store.manifest import MANIFEST, files_of, read_manifest
from openbook.market.tables import ACTION_COLUMNS, Delivery
from support.vendor_server import CRUMB, YAHOO, Hours, Said, chart, entry, facts, refusal, routed, vendor

SESSIONS = calendar.sessions("2020-03-02", "2020-09-01")
SHORT = SESSIONS[-12:]
NAMES = ["AAA", "BBB", "CCC"]
INDEX = "^GSPC"
GONE, DEAD = Said(refusal("Not Found", "No data found, symbol may be delisted"), 404), Said(b"", 500)
LIMITED = Said(b"Too Many Requests", 429)
HIGHER = 0.05


def close_of(name: str, day: pd.Timestamp) -> float:
    """Yahoo's close."""
    return 40.0 + 10.0 * [*NAMES, INDEX].index(name) + 0.25 * SESSIONS.get_loc(day)


class Evening:
    """Yahoo and the files on some evening, and the source that asks both.

    higher : by how much the files' closes are higher, by name; HIGHER by default
    """

    def __init__(self, server, folder, monkeypatch, days):
        self.server, self.folder, self.monkeypatch, self.days = server, folder, monkeypatch, days
        self.higher, self.splits = {}, {}
        folder.mkdir(exist_ok=True)

    def comes(self, last: pd.Timestamp, *, down=(), fault=GONE, files_until=None, since=None) -> None:
        """An evening: Yahoo answers from `since` on for all but `down`, and the files end on `files_until`."""
        self.monkeypatch.setenv(calendar.REHEARSAL, f"{last:%Y-%m-%d}T22:00Z")
        days = self.days[(self.days <= last) & (self.days >= (since or self.days[0]))]
        for name in (*NAMES, INDEX):
            said = chart(name, days.strftime("%Y-%m-%d"), [close_of(name, day) for day in days])
            self.server.says(YAHOO + name, fault if name in down else said)
        self.write(self.days[self.days <= (files_until or last)])

    def write(self, days: pd.DatetimeIndex, names=NAMES) -> None:
        """The files up to the last of these sessions."""
        rows = [(name, day, close_of(name, day) + self.higher.get(name, HIGHER)) for name in names for day in days]
        bars = pd.DataFrame(rows, columns=["symbol", "date", "close"])
        bars = bars.assign(open=bars["close"], high=bars["close"], low=bars["close"], volume=5000.0, dividend=0.0)
        split = [self.splits.get((name, day), 1.0) for name, day, _ in rows]
        bars.assign(split=split).to_csv(self.folder / "prices.csv", index=False)
        level = [close_of(INDEX, day) + self.higher.get(INDEX, HIGHER) for day in days]
        pd.DataFrame({"date": days, "close": level}).to_csv(self.folder / "index.csv", index=False)

    def source(self, *, index=True, **settings) -> YahooSource:
        level = IndexTable(path=str(self.folder / "index.csv")) if index else None
        columns = {"split": "split", "dividend": "dividend"}
        other = FilesSource(path=str(self.folder / "prices.csv"), prices="raw", columns=columns, index=level)
        patience = Patience(requests_per_second=10.0, retries=0)
        given = {"symbols": tuple(NAMES), "second_source": other, "start": self.days[0].date()} | settings
        return YahooSource(**given, patience=patience)

    def update(self, through=None, whole=False, **settings):
        through = through or calendar.last_closed()
        return update_store(self.folder / "store", self.source(**settings), through=through, whole=whole)

    @property
    def stored(self):
        return read_store(self.folder / "store")[0]

    @property
    def spans(self) -> dict:
        return read_manifest(self.folder / "store").get("second", {})

    def bytes(self) -> dict[str, bytes]:
        """The files that count."""
        store = self.folder / "store"
        return {name: (store / name).read_bytes() for name in (MANIFEST, *files_of(read_manifest(store)))}


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """begin(days, folder) is an `Evening` with these sessions."""
    hours = Hours()
    for module in (yahoo, edgar):
        monkeypatch.setattr(module, "Pace", lambda per_second: Pace(per_second, clock=hours.clock, sleep=hours.sleep))
    with vendor() as server:
        monkeypatch.setattr(yahoo_chart, "PacedSession", routed(server))
        server.says("/fc.yahoo.com/", b"")
        server.says(CRUMB, b"crumb")
        yield lambda days=SHORT, folder="desk": Evening(server, tmp_path / folder, monkeypatch, days)


def note_of(notes) -> str:
    (note,) = [note for note in notes if "came from the second source" in note]
    return note


# ---- without a store ----


def test_a_name_that_yahoo_lacks_comes_whole_from_the_second_source_and_every_page_says_so(begin):
    desk = begin()
    desk.splits["BBB", SHORT[5]] = 2.0
    desk.comes(SHORT[-1], down=["BBB"])
    market, refused = load_market(desk.source())
    assert refused.empty
    assert market.symbols.tolist() == NAMES
    assert market.close["BBB"].tolist() == [close_of("BBB", day) + HIGHER for day in SHORT]
    assert market.close["AAA"].tolist() == [close_of("AAA", day) for day in SHORT]
    assert market.index.tolist() == [close_of(INDEX, day) for day in SHORT]
    assert market.actions[["symbol", "kind", "value"]].to_numpy().tolist() == [["BBB", "split", 2.0]]
    assert note_of(market.notes) == (
        "Bars of 1 name, 2020-08-17 to 2020-09-01, came from the second source files desk/prices.csv: BBB."
    )
    assert "Yahoo has no bars of 1 of 3 symbols, not known to Yahoo, or delisted: BBB." in market.notes


def test_where_yahoo_has_everything_nobody_asks_the_second_source(begin):
    desk = begin()
    desk.comes(SHORT[-1])
    (desk.folder / "prices.csv").unlink()
    market, _ = load_market(desk.source())
    assert not any("second source" in note for note in market.notes)


def test_without_yahoo_everything_comes_from_the_second_source(begin):
    desk = begin()
    desk.comes(SHORT[-1], down=[*NAMES, INDEX], fault=LIMITED)
    market, _ = load_market(desk.source())
    assert market.close.loc[SHORT[3]].tolist() == [close_of(name, SHORT[3]) + HIGHER for name in NAMES]
    assert market.index.name == INDEX
    assert "2020-08-17 to 2020-09-01" in note_of(market.notes)
    assert note_of(market.notes).endswith(": AAA, BBB, CCC, ^GSPC.")


def test_a_limit_in_the_middle_leaves_the_names_that_answered_to_yahoo(begin):
    desk = begin()
    desk.comes(SHORT[-1], down=["BBB"], fault=LIMITED)
    got = fetch(desk.source(batch_size=1))
    closes = got.bars[got.bars["date"] == SHORT[-1]].set_index("symbol")["close"]
    assert (closes - [close_of(name, SHORT[-1]) for name in NAMES]).round(6).tolist() == [0.0, HIGHER, HIGHER]
    assert sorted(got.second) == ["BBB", "CCC", INDEX]


def test_the_bar_of_a_session_that_is_not_over_is_left_out(begin, monkeypatch):
    desk = begin()
    desk.comes(SHORT[-1], down=["BBB"])
    monkeypatch.setenv(calendar.REHEARSAL, f"{SHORT[-1]:%Y-%m-%d}T15:00Z")
    assert fetch(desk.source()).bars["date"].max() == SHORT[-2]


# ---- beside a store ----


@pytest.mark.parametrize("days", [SHORT, SESSIONS], ids=["whole history", "last weeks"])
@pytest.mark.parametrize(("down", "fault"), [(["BBB"], GONE), ([*NAMES, INDEX], DEAD), ([*NAMES, INDEX], LIMITED)])
def test_later_sessions_are_appended_and_none_before_is_touched(begin, days, down, fault):
    desk = begin(days)
    desk.comes(days[-2])
    desk.update()
    before = desk.stored
    desk.comes(days[-1], down=down, fault=fault)
    report = desk.update()
    assert report.new_sessions.tolist() == [days[-1]]
    after = desk.stored
    assert restatements(desk.folder / "store").empty
    pd.testing.assert_frame_equal(after.close.loc[: days[-2]], before.close, check_freq=False)
    expected = [close_of(name, days[-1]) + (HIGHER if name in down else 0.0) for name in NAMES]
    assert after.close.loc[days[-1]].tolist() == pytest.approx(expected, abs=1e-9)
    assert sorted(desk.spans) == sorted(down)
    assert f"{days[-1]:%Y-%m-%d} to {days[-1]:%Y-%m-%d}, came from" in note_of(after.notes)
    assert report.second == (note_of(after.notes),)


def test_a_split_on_the_first_session_of_the_second_source_is_taken_and_no_earlier_action_is_withdrawn(begin):
    desk = begin()
    desk.comes(SHORT[-2])
    earlier = chart("BBB", SHORT[:-1].strftime("%Y-%m-%d"), [close_of("BBB", day) for day in SHORT[:-1]],
                    dividends=[(f"{SHORT[4]:%Y-%m-%d}", 0.5)])  # fmt: skip
    desk.server.says(YAHOO + "BBB", earlier)
    desk.update()
    desk.splits["BBB", SHORT[-1]] = 2.0
    desk.comes(SHORT[-1], down=["BBB"])
    desk.update()
    assert restatements(desk.folder / "store").empty
    assert desk.stored.actions[["date", "kind", "value"]].to_numpy().tolist() == [
        [SHORT[4], "dividend", 0.5],
        [SHORT[-1], "split", 2.0],
    ]


def test_repeated_it_changes_no_byte(begin):
    desk = begin()
    desk.comes(SHORT[-2])
    desk.update()
    desk.comes(SHORT[-1], down=["AAA", "BBB"])
    desk.update()
    once = desk.bytes()
    assert desk.update().new_sessions.empty
    assert desk.bytes() == once


def test_corrected_by_yahoo_on_the_same_evening_it_leaves_no_trace(begin):
    desk, plain = begin(), begin(folder="plain")
    for one in (desk, plain):
        one.comes(SHORT[-2])
        one.update()
    desk.comes(SHORT[-1], down=["AAA", "BBB"])
    desk.update()
    for one in (desk, plain):
        one.comes(SHORT[-1])
        one.update()
    assert desk.spans == {}
    assert desk.bytes() == plain.bytes()


def test_an_outage_after_yahoo_answered_changes_nothing(begin):
    desk = begin()
    desk.comes(SHORT[-1])
    desk.update()
    before = desk.stored
    desk.comes(SHORT[-1], down=["BBB"])
    desk.update()
    pd.testing.assert_frame_equal(desk.stored.close, before.close)
    assert desk.spans == {}
    desk.comes(SHORT[-1], down=[*NAMES, INDEX], fault=DEAD)
    with pytest.raises(DataNotReady, match=r"no readable answer.*has no newer bars"):
        desk.update()


@pytest.mark.parametrize("seed", range(4))
def test_every_close_is_yahoos_or_marked_whatever_fails_when(begin, seed):
    """Eight evenings on which names fail at random: a marked session has the files' close, every other one Yahoo's."""
    rng = np.random.default_rng(seed)
    desk = begin(SESSIONS)
    desk.comes(SESSIONS[-9])
    desk.update()
    for day in SESSIONS[-8:]:
        down = [name for name in (*NAMES, INDEX) if rng.random() < 0.4]
        weeks = SESSIONS[SESSIONS.get_loc(day) - 61]  # what an update asks for
        desk.comes(day, down=down, fault=(GONE, LIMITED)[rng.integers(2)], since=weeks)
        for _ in range(rng.integers(1, 3)):
            desk.update()
        market, spans = desk.stored, desk.spans
        assert market.dates[-1] == day
        for name in (*NAMES, INDEX):
            closes = market.index if name == INDEX else market.close[name]
            first, last, _ = spans.get(name, ["9999", "", ""])
            for session in SESSIONS[day >= SESSIONS]:
                is_second = first <= f"{session:%Y-%m-%d}" <= last
                expected = close_of(name, session) + (HIGHER if is_second else 0.0)
                assert closes[session] == pytest.approx(expected, abs=1e-9), (name, session, spans)


def test_the_mark_stays_where_the_setting_is_removed(begin):
    desk = begin()
    desk.comes(SHORT[-3])
    desk.update()
    desk.comes(SHORT[-2], down=["BBB"])
    desk.update()
    desk.comes(SHORT[-1], down=["BBB"])
    desk.update(second_source=None)
    assert desk.spans == {"BBB": [*[f"{SHORT[-2]:%Y-%m-%d}"] * 2, "files desk/prices.csv"]}
    assert note_of(desk.stored.notes).endswith(": BBB.")


def test_through_an_earlier_session_marks_no_later_one(begin):
    desk = begin()
    desk.comes(SHORT[-1], down=["BBB"])
    desk.update(through=SHORT[-3])
    assert desk.spans["BBB"][1] == f"{SHORT[-3]:%Y-%m-%d}"


@pytest.mark.parametrize(
    ("off", "whole", "taken", "span"),
    [
        (0.001, False, True, [0, -63]),  # yahoo's last weeks are its own now, what is earlier stays marked
        (0.02, False, False, [0, -1]),
        (0.02, True, True, None),
    ],
)
def test_a_name_that_yahoo_begins_to_have_is_not_mixed_with_another_history(begin, off, whole, taken, span):
    desk = begin(SESSIONS)
    desk.higher = {"BBB": off * close_of("BBB", SESSIONS[0])}
    desk.comes(SESSIONS[-2], down=["BBB"])
    desk.update()
    assert desk.spans["BBB"][:2] == [f"{SESSIONS[0]:%Y-%m-%d}", f"{SESSIONS[-2]:%Y-%m-%d}"]
    desk.comes(SESSIONS[-1], since=None if whole else SESSIONS[-62])
    desk.update(whole=whole)
    here, day = desk.stored, SESSIONS[-1]
    assert here.close["BBB"].iloc[-1] == close_of("BBB", day) + (0.0 if taken else desk.higher["BBB"])
    expected = span and [f"{SESSIONS[at]:%Y-%m-%d}" for at in span]
    assert desk.spans.get("BBB", [None, None, None])[:2] == (expected or [None, None])
    left_out = [note for note in here.notes if "openbook data update --whole takes them: BBB." in note]
    assert bool(left_out) != taken
    jumps = here.close["BBB"].pct_change().abs().max()
    assert jumps < 0.01  # a quarter dollar a day, and at most 0.1 % between two vendors


def test_reports_of_a_name_that_the_second_source_has_are_asked_for_and_none_is_withdrawn(begin):
    desk = begin()
    names = {str(i): {"cik_str": i + 1, "ticker": name} for i, name in enumerate(NAMES)}
    desk.server.says("/files/company_tickers.json", names)
    for i in range(len(NAMES)):
        told = facts(i + 1, Assets=("USD", [entry(100.0 + i, "2020-06-30", "2020-08-20")]))
        desk.server.says(f"/api/xbrl/companyfacts/CIK{i + 1:010d}.json", told)
    patience = Patience(requests_per_second=10.0, retries=0)
    urls = {"files_url": desk.server.url, "facts_url": desk.server.url}
    reports = EdgarTable(user_agent="Jane jane@example.com", patience=patience, **urls)
    desk.comes(SHORT[-2])
    desk.update(fundamentals=reports)
    assert desk.stored.fundamentals["symbol"].tolist() == NAMES
    desk.comes(SHORT[-1], down=["BBB"])
    desk.update(fundamentals=reports)
    assert sorted(desk.spans) == ["BBB"]
    assert desk.stored.fundamentals["symbol"].tolist() == NAMES
    assert restatements(desk.folder / "store").empty


# ---- what does not agree ----


def test_a_name_whose_closes_differ_is_left_out_and_said(begin):
    desk = begin()
    desk.comes(SHORT[-2])
    desk.update()
    desk.higher = {"BBB": 0.006 * close_of("BBB", SHORT[-2])}
    desk.comes(SHORT[-1], down=["AAA", "BBB"])
    desk.update()
    market = desk.stored
    assert np.isnan(market.close["BBB"].iloc[-1])
    assert market.close["AAA"].iloc[-1] == close_of("AAA", SHORT[-1]) + HIGHER
    (said,) = [note for note in market.notes if "did not stand in" in note]
    was = close_of("BBB", SHORT[-2])
    assert said == (
        "The second source files desk/prices.csv did not stand in for 1 of the names that are missing, because it "
        f"differs (BBB: close {1.006 * was:,.2f} on {SHORT[-2]:%Y-%m-%d}, not {was:,.2f}): BBB."
    )
    assert sorted(desk.spans) == ["AAA"]


def test_half_a_percent_is_the_limit(begin):
    """0.49 % on every session that both have is taken, 0.51 % on one of them is not."""
    for off, taken in ((0.0049, True), (0.0051, False)):
        desk = begin(folder=f"desk {taken}")
        desk.comes(SHORT[-2])
        desk.update()
        desk.higher = {"BBB": off * close_of("BBB", SHORT[0])}  # the lowest close: there it weighs most
        desk.comes(SHORT[-1], down=["BBB"])
        desk.update()
        assert ("BBB" in desk.spans) == taken


def test_too_few_sessions_in_common_are_no_agreement(begin):
    desk = begin()
    desk.comes(SHORT[3])
    desk.update()  # four sessions
    desk.comes(SHORT[4], down=["BBB"])
    desk.update()
    assert desk.spans == {}
    assert any("BBB: 4 sessions in common, fewer than 5" in note for note in desk.stored.notes)


def test_a_stored_name_without_a_recent_close_is_left_out(begin):
    """Yahoo dropped it long ago; what the files have now cannot be compared with anything of these weeks."""
    desk = begin(SESSIONS)
    desk.comes(SESSIONS[9])
    desk.update(second_source=None)
    for last in (SESSIONS[-2], SESSIONS[-1]):
        desk.comes(last, down=["BBB"])
        desk.update(second_source=None)
    desk.comes(SESSIONS[-1], down=["BBB"])
    desk.update()
    assert "BBB" not in desk.spans
    assert any("BBB: no stored close of these weeks to compare with" in note for note in desk.stored.notes)


def test_bars_that_ingest_would_reject_do_not_spoil_the_first_source(begin):
    """Two different bars of one session, of a name that is missing; the same of a name that is there is nobody's."""
    desk = begin()
    for name, stands in (("BBB", False), ("AAA", True)):
        desk.comes(SHORT[-1], down=["BBB"])
        file = desk.folder / "prices.csv"
        bars = pd.read_csv(file)
        pd.concat([bars, bars[bars["symbol"] == name].iloc[-1:].assign(close=1.0)]).to_csv(file, index=False)
        got = fetch(desk.source())
        assert ("BBB" in got.bars["symbol"].to_numpy()) == stands
        told = [note for note in got.notes if "did not stand in: two different bars of BBB on 2020-09-01" in note]
        assert bool(told) != stands
        assert not got.bars.duplicated(["symbol", "date"]).any()


def test_the_same_bar_twice_counts_once(begin):
    desk = begin()
    desk.comes(SHORT[-1], down=["BBB"])
    file = desk.folder / "prices.csv"
    bars = pd.read_csv(file)
    pd.concat([bars, bars.iloc[-20:]]).to_csv(file, index=False)
    got = fetch(desk.source())
    assert (got.bars["symbol"] == "BBB").sum() == len(SHORT)


def test_actions_that_make_no_sense_do_not_spoil_the_first_source(begin):
    desk = begin()
    desk.splits["BBB", SHORT[5]] = -2.0
    desk.comes(SHORT[-1], down=["BBB"])
    got = fetch(desk.source())
    assert sorted(got.bars["symbol"].unique()) == ["AAA", "CCC"]
    assert any("did not stand in: split of BBB on 2020-08-24 is -2.0" in note for note in got.notes)


# ---- when both fail ----


def test_both_without_an_answer_end_with_31(begin):
    desk = begin()
    desk.comes(SHORT[-1], down=[*NAMES, INDEX], fault=LIMITED)
    (desk.folder / "prices.csv").unlink()
    with pytest.raises(
        DataNotReady, match=r"rate limit was reached.*the second source files desk/prices.csv did not stand"
    ):
        desk.update()
    assert not (desk.folder / "store").exists()


def test_a_second_source_that_is_late_too_ends_with_31(begin):
    desk = begin()
    desk.comes(SHORT[-2])
    desk.update()
    before = desk.bytes()
    desk.comes(SHORT[-1], down=[*NAMES, INDEX], fault=DEAD, files_until=SHORT[-2])
    with pytest.raises(DataNotReady, match="has no newer bars that agree with those before"):
        desk.update()
    assert desk.bytes() == before


@pytest.mark.parametrize("higher", [None, 2.0])
def test_without_an_index_that_agrees_the_session_is_not_there_yet(begin, higher):
    desk = begin()
    desk.comes(SHORT[-2])
    desk.update()
    desk.higher = {} if higher is None else {INDEX: higher}
    desk.comes(SHORT[-1], down=[INDEX])
    with pytest.raises(DataNotReady, match=r"no data from Yahoo for the index.*the index of the second source"):
        desk.update(index=higher is not None)


def test_a_second_source_that_fails_beside_a_sound_answer_is_said(begin):
    desk = begin()
    desk.comes(SHORT[-1], down=["BBB"])
    (desk.folder / "prices.csv").unlink()
    got = fetch(desk.source())
    assert sorted(got.bars["symbol"].unique()) == ["AAA", "CCC"]
    (said,) = [
        note for note in got.notes if note.startswith("The second source files desk/prices.csv did not stand in")
    ]
    assert "no file or folder at" in said


def test_todays_sectors_are_not_asked_for_where_yahoo_does_not_answer_and_none_is_lost(begin):
    profiles = "/query2.finance.yahoo.com/v10/finance/quoteSummary/"
    desk = begin()
    for name in NAMES:
        told = {"quoteSummary": {"result": [{"assetProfile": {"sector": "Energy"}}], "error": None}}
        desk.server.says(profiles + name, told)
    desk.comes(SHORT[-2])
    desk.update(ask_sectors=True)
    desk.server.requests.clear()
    desk.comes(SHORT[-1], down=["BBB", "CCC", INDEX], fault=LIMITED)
    desk.update(ask_sectors=True)
    assert not desk.server.asked(profiles)
    assert desk.stored.sectors.to_dict() == dict.fromkeys(NAMES, "Energy")


# ---- a second source of the desk's own ----


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"adjusted": True}, "its prices are adjusted"),
        ({"actions": None}, "it has no splits and dividends"),
        ({"bars": ["volume"]}, "it has no column volume"),
    ],
)
def test_prices_of_another_kind_do_not_stand_in(begin, monkeypatch, change, why):
    desk = begin()
    desk.comes(SHORT[-1], down=["BBB"])
    sound = fetch(desk.source().second_source)
    changed = change if "bars" not in change else {"bars": sound.bars.drop(columns=change["bars"])}
    monkeypatch.setitem(PROVIDERS, "ours", lambda: replace(sound, **changed))
    got = fetch(desk.source(second_source={"provider": "ours"}))
    assert "BBB" not in got.bars["symbol"].to_numpy()
    assert any(f"The second source ours did not stand in: {why}" in note for note in got.notes)


def test_a_source_of_ones_own_stands_in_and_is_asked_for_the_last_weeks(begin, monkeypatch):
    asked = []

    def ours(*, shift: float, since=None) -> Delivery:
        asked.append(since)
        rows = [("BBB", day, close_of("BBB", day) + shift) for day in SESSIONS if since is None or day >= since]
        bars = pd.DataFrame(rows, columns=["symbol", "date", "close"])
        fields = dict.fromkeys(("open", "high", "low"), bars["close"])
        no_actions = pd.DataFrame(columns=ACTION_COLUMNS)
        return Delivery(bars.assign(volume=1.0, **fields), name="ours", actions=no_actions)

    monkeypatch.setitem(PROVIDERS, "ours", ours)
    desk = begin(SESSIONS)
    own = {"second_source": {"provider": "ours", "shift": 0.01}}
    desk.comes(SESSIONS[-2])
    desk.update(**own)
    desk.comes(SESSIONS[-1], down=["BBB"])
    desk.update(**own)
    assert len(asked) == 1
    assert asked[0] > SESSIONS[0]
    assert desk.spans == {"BBB": [*[f"{SESSIONS[-1]:%Y-%m-%d}"] * 2, "ours"]}
    assert desk.stored.close["BBB"].iloc[-1] == pytest.approx(close_of("BBB", SESSIONS[-1]) + 0.01)


# ---- settings ----


def test_a_second_source_is_no_part_of_what_the_first_one_is():
    """A store goes on when a second source is added: it is the same store, and its history is kept."""
    one = {"provider": "yahoo", "symbols": ["AAA"]}
    files = {"provider": "files", "path": "x.csv", "prices": "raw"}
    both = parse_source(one | {"second_source": files})
    assert both.second_source == FilesSource(path="x.csv", prices="raw")
    assert both.model_dump(mode="json") == parse_source(one).model_dump(mode="json")


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"provider": "files", "path": "x.csv"}, r"second_source\.files\.prices: Field required"),
        ({"provider": "files", "path": "x.csv", "prices": "adjusted"}, "second_source needs prices as traded"),
        ({"provider": "sample"}, "a second source is `provider: files`, or one from lib/extensions"),
        ({"provider": "yahoo", "symbols": ["AAA"]}, "a second source is `provider: files`"),
        ({"provider": "nobody"}, "no provider 'nobody'"),
        ({}, "a second source is `provider: files`"),
    ],
)
def test_a_wrong_second_source_is_named(second, message):
    with pytest.raises(ParameterError, match=message):
        parse_source({"provider": "yahoo", "symbols": ["AAA"], "second_source": second})


def test_admitted_it_is_a_sound_market(begin):
    """Both vendors' bars pass ingest together: sorted, one bar of each name and session."""
    desk = begin()
    desk.comes(SHORT[-1], down=["AAA"])
    got = fetch(desk.source())
    assert got.bars.equals(got.bars.sort_values(["date", "symbol"], ignore_index=True))
    assert not got.bars.duplicated(["symbol", "date"]).any()
    assert got.bars.dtypes.astype(str).to_dict() == {
        "symbol": "str",
        "date": "datetime64[us]",
        **dict.fromkeys(("open", "high", "low", "close", "volume"), "float64"),
    }
    assert admit(got)[1].empty
