"""What was known when: any past can be read as it was seen, and what is said later changes none of it."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from openbook.common.errors import DataError
from openbook.market import calendar, rewrites, sources, store
from openbook.market.checks.session import admit
from openbook.market.restatements import restated_rows
from openbook.market.sources import SimulatedSource
from openbook.market.store import compact, fingerprint, put_market, read_store, restatements, store_fingerprint
from openbook.market.store.manifest import files_of, read_manifest, seal_of
from openbook.market.tables import ACTION_COLUMNS, FILING_KEY, SPELL_COLUMNS, Delivery, Market, adjust

FROM = {"provider": "by hand"}
ADJUSTED = FROM | {"prices": "adjusted"}
DAYS = calendar.sessions("2023-12-18", "2024-01-05")  # two calendar years
NAMES = ("A", "BB", "C", "D")
FIELDS = ("close", "volume")
# How a vendor rounds what it multiplies.
PRECISIONS = (
    float,
    lambda value: round(value, 2),
    lambda value: round(value, 4),
    lambda value: float(np.float32(value)),
)


# ---- a vendor that changes its mind, and a slow obvious twin of the store ----


class Vendor:
    """Cells by (symbol, day, field), rows of actions, reports, sectors and the index; all may change."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        rng = self.rng
        self.cells = {
            (name, day, field): float(rng.integers(40, 60) if field == "close" else rng.integers(1, 9) * 100)
            for name in NAMES
            for day in DAYS
            for field in FIELDS
            if not (name == "D" and day < DAYS[4])
        }
        self.actions = {("A", DAYS[2], "split"): 1.5, ("BB", DAYS[6], "dividend"): 1.0}
        self.reports = {("A", DAYS[1], DAYS[0], "sales"): 9.0, ("D", DAYS[2], DAYS[0], "sales"): 7.0}
        self.sectors = {(name, pd.NaT): "Energy" for name in NAMES}
        self.dates_sectors = seed % 2 == 1
        self.index = {day: 1000.0 + i for i, day in enumerate(DAYS)}
        self.hidden: set = set()
        self.undone: list[dict] = []
        self.precision = seed % len(PRECISIONS)

    def change(self, kind: str) -> None:
        """One thing is said otherwise from now on."""
        rng = self.rng
        name, day = NAMES[rng.integers(len(NAMES))], DAYS[rng.integers(len(DAYS))]
        if kind == "bar" and (name, day, "close") in self.cells:
            self.cells[name, day, FIELDS[rng.integers(2)]] = float(rng.integers(40, 60))
        elif kind == "hide":
            self.hidden ^= {(name, day)}
        elif kind == "action":
            key = (name, day, ("split", "dividend")[rng.integers(2)])
            if self.actions.pop(key, None) is None:
                self.actions[key] = float(rng.integers(1, 4))
        elif kind == "report":
            key = (name, day, DAYS[0], "sales")
            if self.reports.pop(key, None) is None:
                self.reports[key] = float(rng.integers(1, 99))
        elif kind == "sector":
            start = day if self.dates_sectors and rng.integers(4) else pd.NaT
            if start is pd.NaT or self.sectors.pop((name, start), None) is None:
                self.sectors[name, start] = ("Energy", "Tech", "Health")[rng.integers(3)]
        elif kind == "index":
            self.index[day] = float(rng.integers(900, 1100))
        elif kind == "factor":
            self._multiply(name, day, (0.995, 0.5, 1.25, 0.98731)[rng.integers(4)])
        elif kind == "undo":
            self.cells |= self.undone.pop() if self.undone else {}

    def _multiply(self, name: str, day, factor: float) -> None:
        """A dividend or a split, as a vendor of adjusted prices tells it: all that was before is multiplied."""
        told = {key: value for key, value in self.cells.items() if key[0] == name and key[1] < day}
        self.undone.append(told)
        for key, value in told.items():
            if key[2] == "close" or factor in (0.5, 1.25):
                moved = value * factor if key[2] == "close" else value / factor
                self.cells[key] = PRECISIONS[self.precision](moved)

    def delivery(self, through) -> Delivery:
        shown = [(n, d) for n in NAMES for d in DAYS if d <= through and (n, d, "close") in self.cells]
        shown = [pair for pair in shown if pair not in self.hidden] or [("A", DAYS[0])]
        bars = pd.DataFrame([(n, d, *(self.cells[n, d, f] for f in FIELDS)) for n, d in shown],
                            columns=["symbol", "date", *FIELDS])  # fmt: skip
        actions = pd.DataFrame([(d, n, k, v) for (n, d, k), v in self.actions.items()], columns=ACTION_COLUMNS)
        reports = pd.DataFrame([(d, n, i, p, v) for (n, d, p, i), v in self.reports.items()],
                               columns=[*FILING_KEY, "value"])  # fmt: skip
        dated = {"date": "datetime64[us]", "available": "datetime64[us]", "period_end": "datetime64[us]"}
        actions, reports = (
            table.astype({name: kind for name, kind in dated.items() if name in table}) for table in (actions, reports)
        )
        return Delivery(
            bars=bars.astype({"symbol": "str"}),
            name="vendor",
            execution="next_close",
            actions=actions.astype({"symbol": "str", "kind": "str", "value": "float64"}),
            fundamentals=reports.astype({"symbol": "str", "item": "str", "value": "float64"}),
            sectors=self._sectors(),
            index=pd.Series(self.index, name="index"),
        )

    def _sectors(self) -> pd.Series | pd.DataFrame:
        rows = pd.DataFrame([(*key, said) for key, said in self.sectors.items()], columns=SPELL_COLUMNS)
        return rows if self.dates_sectors else rows.set_index("symbol")["sector"].astype("str")


class Twin:
    """The newest of everything said, in one dictionary, and a copy of it for each session at whose close it grew."""

    def __init__(self):
        self.now, self.on, self.first, self.last = {}, {}, None, None

    def hear(self, sent: Market) -> None:
        facts, end = _facts(sent), sent.dates[-1]
        if self.first is None or list(self.on) == [end] == [self.first]:
            self.now, self.first = {}, sent.dates[0]  # a store of one session begins again with it
        if end == self.last:  # the last session may be mended
            self.now = {key: value for key, value in self.now.items() if key[2] != end}
        for key in [key for key in self.now if key not in facts and self._is_withdrawn(key, sent)]:
            del self.now[key]
        self.now |= {key: value for key, value in facts.items() if key[0] != "bar" or key[2] >= self.first}
        self.last = end if self.last is None else max(self.last, end)
        self.on[self.last] = dict(self.now)

    def _is_withdrawn(self, key, sent: Market) -> bool:
        table, symbol, day, *_ = key
        if table == "sector" and (sent.sector_spells is None or day is None):  # another one is said now
            return symbol in sent.sectors.index
        if table == "sector":
            return symbol in set(sent.sector_spells["symbol"]) and sent.dates[0] <= day <= sent.dates[-1]
        return table in ("action", "report") and symbol in sent.symbols and sent.dates[0] <= day <= sent.dates[-1]


def _facts(market: Market) -> dict:
    """A market as a dictionary: (table, symbol, day, what, period) → value."""
    out = {}
    for field in FIELDS:
        long = getattr(market, field).where(market.close.notna()).stack().dropna()
        out |= {("bar", name, day, field, None): value for (day, name), value in long.items()}
    out |= {("index", "", day, "", None): value for day, value in market.index.items()}
    out |= {("action", r.symbol, r.date, r.kind, r.value): r.value for r in market.actions.itertuples()}
    filed = market.fundamentals.itertuples()
    out |= {("report", r.symbol, r.available, r.item, r.period_end): r.value for r in filed}
    if market.sector_spells is None:
        return out | {("sector", name, None, said, None): 1.0 for name, said in market.sectors.items()}
    spells = market.sector_spells.itertuples()
    return out | {("sector", r.symbol, None if pd.isna(r.start) else r.start, r.sector, None): 1.0 for r in spells}


def _upto(facts: dict, date) -> dict:
    """The facts up to a date, of names that have a bar by then."""
    known = {key: value for key, value in facts.items() if key[2] is None or key[2] <= date}
    listed = {""} | {symbol for table, symbol, *_ in known if table == "bar"}
    return {key: value for key, value in known.items() if key[1] in listed}


CHANGES = st.lists(st.sampled_from(["bar", "bar", "hide", "hide", "action", "report", "sector", "index"]), max_size=4)
STEPS = st.lists(st.tuples(CHANGES, st.integers(-1, 3)), min_size=2, max_size=7)
QUICK = settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def heard(folder, seed: int, steps, source=FROM) -> tuple[Twin, dict]:
    """A store and its twin after the same deliveries, and the fingerprints at the end."""
    vendor, twin, at, final = Vendor(seed), Twin(), 4, {}
    for changes, ahead in steps:
        for kind in changes:
            vendor.change(kind)
        at = min(max(at + ahead, 1), len(DAYS) - 1)
        sent = admit(vendor.delivery(DAYS[at]))
        twin.hear(sent[0])
        put_market(folder, *sent, settings=source)
        held = {day: digest for day, digest in _prints(folder).items() if day < str(twin.last.date())}
        assert final.items() <= held.items()  # what is said later changes no older fingerprint
        final = held
    return twin, _prints(folder)


def _prints(folder) -> dict[str, str]:
    return read_manifest(folder)["sessions"]


def assert_all_pasts(folder, twin: Twin) -> None:
    """Every past, read from the disk and taken back in memory, is the one that the twin remembers."""
    newest, _ = read_store(folder)
    for known, facts in twin.on.items():
        for day in (known, known - pd.Timedelta(days=3)):
            seen = newest.upto(day, as_known_on=known)
            assert _upto(_facts(seen), day) == _upto(facts, day)
            pd.testing.assert_frame_equal(seen.adjusted, adjust(seen.close, seen.actions))
            if len(seen.dates):
                assert _facts(read_store(folder, through=day, as_known_on=known)[0]) == _upto(facts, day)
    for day in newest.dates[::3]:
        market, _ = read_store(folder, through=day)
        assert _facts(market) == _upto(_facts(newest.upto(day, as_known_on=day)), day)
        assert store_fingerprint(folder, day) == fingerprint(market)
        assert store_fingerprint(folder, day) == fingerprint(newest.upto(day, as_known_on=day))


def check_vintages(folder, seed: int, steps) -> None:
    twin, prints = heard(folder, seed, steps)
    assert_all_pasts(folder, twin)
    compact(folder)
    assert _prints(folder) == prints
    assert_all_pasts(folder, twin)


@QUICK
@given(seed=st.integers(0, 10**6), steps=STEPS)
def test_every_past_is_the_one_that_was_seen(tmp_path_factory, seed, steps):
    check_vintages(tmp_path_factory.mktemp("store"), seed, steps)


@pytest.mark.long
@settings(QUICK, max_examples=150)
@given(seed=st.integers(0, 10**6), steps=STEPS)
def test_every_past_is_the_one_that_was_seen_many_times(tmp_path_factory, seed, steps):
    check_vintages(tmp_path_factory.mktemp("store"), seed, steps)


# ---- whole histories that are multiplied by one factor ----

REWRITES = st.lists(
    st.sampled_from(["factor", "factor", "factor", "undo", "bar", "hide", "action", "index"]), min_size=1, max_size=4
)
REWRITE_STEPS = st.lists(st.tuples(REWRITES, st.integers(-1, 3)), min_size=3, max_size=7)
# So many rows are a rewrite: few, as the histories here are short; or never, which is the slow obvious path.
FEW, NEVER = 3, 10**9


def check_rewrites(folder, seed: int, steps) -> int:
    """Two stores of the same deliveries, one with rewrites: no view and no digest of them differs in a bit."""
    stores = {folder / "packed": FEW, folder / "obvious": NEVER}
    with pytest.MonkeyPatch.context() as patch:
        for at, many in stores.items():
            patch.setattr(rewrites, "MANY", many)
            prints = heard(at, seed, steps, ADJUSTED)[1]
        patch.setattr(rewrites, "MANY", FEW)
        assert_alike(*stores, prints)
        rows = sum(len(read_store(at)[0].rewritten) for at in stores if read_store(at)[0].rewritten is not None)
        folded = [compact(at) for at in stores]  # that of before is packed only here
        newest = [read_store(at)[0] for at in stores]
        assert_same_bits(*newest)
        assert folded[1] == 1 or len(newest[1].rewritten if newest[1].rewritten is not None else []) == rows
    return rows


def assert_alike(packed, obvious, prints: dict) -> None:
    """Every view of the two stores is the same to the last bit, read from the disk and taken back in memory."""
    assert _prints(packed) == _prints(obvious) == prints
    pd.testing.assert_frame_equal(restatements(packed), restatements(obvious))
    (one, _), (other, _) = read_store(packed), read_store(obvious)
    for day in one.dates[-2::-5]:
        assert_same_bits(one.upto(day), other.upto(day))
        assert_same_bits(one.upto(day, as_known_on=day), other.upto(day, as_known_on=day))
        assert fingerprint(one.upto(day, as_known_on=day)) == prints[f"{day:%Y-%m-%d}"]
        then = read_store(packed, through=one.dates[-1], as_known_on=day)[0]
        assert_same_bits(then, read_store(obvious, through=one.dates[-1], as_known_on=day)[0])
        assert_same_bits(read_store(packed, first=day)[0], read_store(obvious, first=day)[0])
        since = one.restatements(since=day)
        pd.testing.assert_frame_equal(since, other.restatements(since=day))
        assert one.is_restated_since(day) == other.is_restated_since(day) == bool(len(since))
        known = restatements(packed, known=day)
        pd.testing.assert_frame_equal(known, restatements(obvious, known=day))


def assert_same_bits(one: Market, other: Market) -> None:
    for name in (*FIELDS, "adjusted"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name), check_exact=True)
    for name in ("actions", "fundamentals"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))
    pd.testing.assert_frame_equal(one.restatements(), other.restatements(), check_exact=True)


@settings(QUICK, max_examples=2)
@given(seed=st.integers(0, 10**6), steps=REWRITE_STEPS)
def test_a_rewrite_in_one_row_says_what_its_cells_said(tmp_path_factory, seed, steps):
    check_rewrites(tmp_path_factory.mktemp("store"), seed, steps)


@pytest.mark.long
@settings(QUICK, max_examples=100)
@given(seed=st.integers(0, 10**6), steps=REWRITE_STEPS)
def test_a_rewrite_in_one_row_says_what_its_cells_said_many_times(tmp_path_factory, seed, steps):
    check_rewrites(tmp_path_factory.mktemp("store"), seed, steps)


@pytest.mark.parametrize("precision", [*(pytest.param(n, marks=pytest.mark.long) for n in (0, 1)), 3])
def test_rewrites_of_every_precision_are_packed_and_mended_on_their_own_evening(tmp_path, precision):
    steps = [(["bar"], 1), (["factor"] * 4, 1), (["factor", "bar", "hide"], 0), (["undo"] * 2, 0), (["factor"] * 4, 2)]
    assert check_rewrites(tmp_path, 8 + precision, [*steps, (["bar", "undo", "undo"], 1), (["factor"], -1)]) > 3


@pytest.mark.parametrize("digits", [2, 4, 7, None])
def test_a_dividend_is_one_row_for_each_field_however_the_vendor_rounds(digits):
    rng, days = np.random.default_rng(0), calendar.sessions("2015-01-01", "2022-12-31")
    raw = rng.lognormal(0, 0.02, len(days)).cumprod() * 30
    before, after = (prices if digits is None else prices.round(digits) for prices in (raw * 0.83, raw * 0.83 * 0.9937))
    if digits == 7:
        before, after = (prices.astype("f4").astype("f8") for prices in (before, after))
    cells = {"table": "bars", "symbol": "A", "field": "close", "date": days, "known": days[-1] + pd.Timedelta(days=1)}
    rows = restated_rows(**cells, before=before, after=after)
    rest, told = rewrites.packed(rows)
    assert (len(rest), len(told)) == (0, 1)
    assert len(told["forth"][0] + told["back"][0] + told["days"][0]) < 2 * len(days)
    table = pd.DataFrame({"A": after}, index=days)
    pd.testing.assert_frame_equal(rewrites.spelled_out({"close": table}, rest, told), rows, check_exact=True)


def test_a_store_of_rewrites_is_of_a_format_that_an_older_openbook_refuses(tmp_path, monkeypatch):
    """Only adjusted prices, which carry no book: pages of other stores are replayed by the openbook that made them."""
    monkeypatch.setattr(rewrites, "MANY", FEW)
    for name, source, form in (("adjusted", ADJUSTED, 3), ("raw", FROM, 2)):
        put(tmp_path / name, sent(*(("A", day, 50) for day in range(6))), source)
        assert read_manifest(tmp_path / name)["format"] == 2
        put(tmp_path / name, sent(*(("A", day, 40) for day in range(6)), ("A", 6, 41)), source)
        compact(tmp_path / name)
        assert read_manifest(tmp_path / name)["format"] == form
    assert len(read_store(tmp_path / "adjusted")[0].rewritten) == 1
    assert read_store(tmp_path / "adjusted")[0].restated.empty


# ---- by hand ----


def sent(*bars, actions=(), **tables) -> tuple[Market, pd.DataFrame]:
    """Bars as (symbol, day number, close), and actions as (day number, symbol, kind, value), admitted."""
    table = pd.DataFrame([(s, DAYS[d], float(c)) for s, d, c in bars], columns=["symbol", "date", "close"])
    rows = pd.DataFrame([(DAYS[d], *rest) for d, *rest in actions], columns=ACTION_COLUMNS)
    rows = rows.astype({"date": "datetime64[us]", "symbol": "str", "kind": "str", "value": "float64"})
    bars = table.astype({"symbol": "str"})
    return admit(Delivery(bars=bars, name="by hand", execution="next_close", actions=rows, **tables))


def put(folder, market_and_refused, settings=FROM, **options) -> store.StoreReport:
    return put_market(folder, *market_and_refused, settings=settings, **options)


def test_a_restatement_says_what_was_said_before_and_after(tmp_path):
    put(tmp_path, sent(("A", 0, 10), ("A", 1, 11)))
    put(tmp_path, sent(("A", 0, 10), ("A", 1, 11.5), ("A", 2, 12), ("B", 1, 50)))
    said = restatements(tmp_path)
    assert set(said["known"]) == {DAYS[2]}
    assert said["symbol"].tolist() == ["A", "B"]
    assert said["after"].tolist() == [11.5, 50.0]
    assert said["before"].tolist()[0] == 11.0
    assert np.isnan(said["before"].iloc[1])
    newest, _ = read_store(tmp_path)
    assert newest.close.loc[DAYS[1]].tolist() == [11.5, 50.0]
    then = newest.upto(DAYS[1], as_known_on=DAYS[1])
    assert list(then.symbols) == ["A"]
    assert then.close.loc[DAYS[1]].tolist() == [11.0]
    assert restatements(tmp_path, known=DAYS[1]).empty


def test_what_a_catch_up_first_says_of_a_missed_session_is_what_was_seen_of_it(tmp_path):
    put(tmp_path, sent(("A", 0, 10)))
    put(tmp_path, sent(("A", 0, 10), ("A", 1, 11), ("A", 2, 12)))
    market, _ = read_store(tmp_path, through=DAYS[1])
    assert market.close["A"].tolist() == [10.0, 11.0]
    put(tmp_path, sent(("A", 0, 10), ("A", 1, 99), ("A", 2, 12), ("A", 3, 13)))
    assert read_store(tmp_path, through=DAYS[1])[0].close["A"].tolist() == [10.0, 11.0]
    assert read_store(tmp_path)[0].close["A"].tolist() == [10.0, 99.0, 12.0, 13.0]


def test_a_late_split_is_known_from_then_on_and_adjusts_what_is_read_then(tmp_path):
    bars = [("A", 0, 100), ("A", 1, 50), ("A", 2, 51)]
    put(tmp_path, sent(*bars))
    put(tmp_path, sent(*bars, ("A", 3, 52), actions=[(1, "A", "split", 2.0)]))
    assert read_store(tmp_path)[0].adjusted["A"].tolist() == [100.0, 100.0, 102.0, 104.0]
    assert read_store(tmp_path, through=DAYS[2])[0].adjusted["A"].tolist() == [100.0, 50.0, 51.0]


def test_what_is_dated_on_a_weekend_is_stored_once_however_often_the_session_after_is_sent(tmp_path):
    friday, after = (DAYS.get_loc(pd.Timestamp(day)) for day in ("2023-12-22", "2023-12-26"))
    saturday = pd.DatetimeIndex(["2023-12-23"]).as_unit("us")
    filed = {"symbol": ["A"], "available": saturday, "period_end": DAYS[:1], "item": ["sales"], "value": [9.0]}
    spells = {"symbol": ["A", "A"], "start": [pd.NaT, saturday[0]], "sector": ["Energy", "Tech"]}
    index = pd.Series(100.0, DAYS[: after + 1].union(saturday), name="index")
    tables = {"fundamentals": pd.DataFrame(filed), "sectors": pd.DataFrame(spells), "index": index}
    whole, refused = sent(*(("A", d, 50) for d in range(after + 1)), **tables)
    whole = replace(whole, actions=pd.DataFrame({"date": saturday, "symbol": "A", "kind": "split", "value": 2.0}))
    put(tmp_path, (whole.upto(DAYS[friday]), refused))
    put(tmp_path, (whole, refused))
    files, prints = _files(tmp_path), _prints(tmp_path)
    for _ in range(2):
        put(tmp_path, (whole, refused))
    assert (_files(tmp_path), _prints(tmp_path)) == (files, prints)
    back, _ = read_store(tmp_path)
    assert [len(back.actions), len(back.fundamentals), len(back.sector_spells)] == [1, 1, 2]
    assert back.index.index.is_unique
    assert back.adjusted["A"].iloc[-1] == 100.0


def test_a_delisting_without_a_return_is_withdrawn_and_comes_with_one(tmp_path):
    bars = [("A", 0, 10), ("A", 1, 11), ("B", 0, 5), ("B", 1, 6)]
    put(tmp_path, sent(*bars, actions=[(1, "A", "delisting", np.nan)]))
    put(tmp_path, sent(*bars, ("B", 2, 7), actions=[(1, "A", "delisting", -0.3)]))
    assert read_store(tmp_path)[0].actions["value"].tolist() == [-0.3]
    assert read_store(tmp_path, through=DAYS[1])[0].actions["value"].isna().tolist() == [True]


def test_a_vendor_that_drops_a_delisted_name_takes_nothing_back(tmp_path):
    put(tmp_path, sent(("A", 0, 10), ("A", 1, 11), ("B", 0, 5), ("B", 1, 6), actions=[(1, "A", "delisting", -0.5)]))
    put(tmp_path, sent(("B", 0, 5), ("B", 1, 6), ("B", 2, 7)))
    market, _ = read_store(tmp_path)
    assert market.close["A"].dropna().tolist() == [10.0, 11.0]
    assert market.actions["symbol"].tolist() == ["A"]
    assert restatements(tmp_path).empty


def test_history_before_the_first_session_is_left_out_and_told(tmp_path):
    put(tmp_path, sent(("A", 2, 10), ("A", 3, 11)))
    report = put(tmp_path, sent(("A", 0, 8), ("A", 1, 9), ("A", 2, 10), ("A", 3, 11), ("A", 4, 12)))
    assert report.earlier == 2
    assert read_store(tmp_path)[0].dates[0] == DAYS[2]


def test_what_the_door_refuses_of_a_restatement_stays_as_it_was(tmp_path):
    put(tmp_path, sent(("A", 0, 10), ("A", 1, 11), ("A", 2, 12)))
    put(tmp_path, sent(("A", 0, 10), ("A", 1, -4), ("A", 2, 12), ("A", 3, 13)))
    market, refused = read_store(tmp_path)
    assert market.close["A"].tolist() == [10.0, 11.0, 12.0, 13.0]
    assert refused["rule"].tolist() == ["price"]
    assert read_store(tmp_path, through=DAYS[2])[1].empty  # and that was not known then


def test_many_updates_fold_by_themselves(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "DELTAS", 3)
    bars = [("A", day, 10 + day) for day in range(9)]
    for day in range(2, 9):
        put(tmp_path, sent(*bars[:day]))
        assert len(read_manifest(tmp_path)["deltas"]) <= 3
    assert read_store(tmp_path)[0].close["A"].tolist() == [10.0 + day for day in range(8)]


def test_only_the_years_that_are_needed_are_read(tmp_path):
    put(tmp_path, sent(*(("A", day, 10 + day) for day in range(len(DAYS)))))
    whole, _ = read_store(tmp_path)
    next(tmp_path.glob("bars-2023-*")).unlink()
    tail, _ = read_store(tmp_path, first="2024-01-01")
    pd.testing.assert_frame_equal(tail.close, whole.close.loc["2024-01-01":])


def test_a_store_of_the_first_format_is_a_base_and_is_brought_over(tmp_path):
    bars = [("A", 0, 10), ("A", 1, 11), ("B", 1, 6)]
    put(tmp_path, sent(*bars))
    new = read_manifest(tmp_path)
    files = new["deltas"][0]["files"]
    old = {key: new[key] for key in ("source", "name", "execution", "notes", "fields", "index", "sessions")}
    old |= {"format": 1, "files": files}
    (tmp_path / "manifest.json").write_text(json.dumps(old | {"seal": seal_of(old)}))
    assert read_store(tmp_path)[0].close["A"].tolist() == [10.0, 11.0]
    put(tmp_path, sent(*bars, ("A", 2, 12)))
    assert read_manifest(tmp_path)["listed"] == {"A": str(DAYS[0].date()), "B": str(DAYS[1].date())}
    assert [store_fingerprint(tmp_path, day) for day in DAYS[:2]] == list(new["sessions"].values())
    assert store_fingerprint(tmp_path, DAYS[2]) == fingerprint(read_store(tmp_path)[0])


def test_a_chain_that_was_cut_is_noticed(tmp_path):
    put(tmp_path, sent(("A", 0, 10), ("A", 1, 11)))
    put(tmp_path, sent(("A", 0, 10), ("A", 1, 11), ("A", 2, 12)))
    body = read_manifest(tmp_path)
    body["deltas"] = body["deltas"][1:]
    (tmp_path / "manifest.json").write_text(json.dumps(body | {"seal": seal_of(body)}))
    with pytest.raises(DataError, match="broken chain of deltas"):
        read_store(tmp_path)


# ---- partial deliveries ----


def test_a_partial_delivery_adds_what_is_new_and_takes_nothing_back(tmp_path, delivery, act, damage):
    dates = pd.DatetimeIndex(delivery.bars["date"].unique())
    whole = act(delivery, (dates[3], "S01", "split", 1.5), (dates[60], "S02", "dividend", 0.4))
    put(tmp_path / "partial", admit(whole, through=dates[-2]))
    said = damage(whole, "S03", dates[50], scale=1.01)
    weeks = replace(said, bars=said.bars[said.bars["date"] >= dates[20]], actions=said.actions.iloc[1:])
    report = put(tmp_path / "partial", admit(weeks), since=dates[20])
    assert set(report.restated["symbol"]) == {"S03"}
    put(tmp_path / "whole", admit(whole, through=dates[-2]))
    put(tmp_path / "whole", admit(said))
    for folder in ("partial", "whole"):
        compact(tmp_path / folder)
    assert _files(tmp_path / "partial") == _files(tmp_path / "whole")


def _files(folder) -> dict[str, bytes]:
    live = files_of(read_manifest(folder))
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name in live}


def test_a_provider_that_takes_since_is_asked_for_the_last_weeks_only(tmp_path, monkeypatch):
    asked, source = [], SimulatedSource(n_symbols=3, n_sessions=120, end="2023-06-30", seed=1)

    def recent(source, since=None):
        asked.append(since)
        found = sources.fetch_simulated(source)
        return found if since is None else replace(found, bars=found.bars[found.bars["date"] >= since])

    monkeypatch.setitem(sources.PROVIDERS, "simulated", recent)
    for day in ("2023-06-28", "2023-06-29", "2023-06-30"):
        store.update_store(tmp_path, source, through=day, whole=day == "2023-06-30")
    sessions = calendar.sessions("2022-01-01", "2023-06-28")
    assert asked == [None, sessions[-store.BLIND - store.COMPARED], None]
    assert restatements(tmp_path).empty
    assert fingerprint(read_store(tmp_path)[0]) == fingerprint(admit(sources.fetch_simulated(source))[0])


# ---- a vendor's own revisions ----


def test_d15_real_revisions_are_seen_as_they_were_and_as_they_are(tmp_path, shared_data):
    folder = shared_data / "us_2015_2017_point_in_time"
    table = pd.read_parquet(folder / "revisions.parquet")
    names = table["symbol"].value_counts().head(20).index
    table = table[table["symbol"].isin(names)].reset_index(drop=True)
    fields = ["open", "high", "low", "close", "volume"]
    before = table[["symbol", "date", *fields]]
    after = table[["symbol", "date"]].join(table[[f"{field}_l" for field in fields]].set_axis(fields, axis=1))
    last = calendar.next_session(table["date"].max())
    tonight = after.drop_duplicates("symbol", keep="last").assign(date=last)
    for bars in (before, pd.concat([after, tonight], ignore_index=True)):
        put(tmp_path, admit(Delivery(bars=bars.astype({"date": "datetime64[us]"}), name="vendor")))
    newest, _ = read_store(tmp_path)
    then = newest.upto(table["date"].max(), as_known_on=table["date"].max())
    for market, told in ((then, before), (newest, after)):
        sound = admit(Delivery(bars=told.astype({"date": "datetime64[us]"}), name="vendor"))[0]
        for field in fields:
            seen = getattr(market, field).reindex_like(getattr(sound, field)).to_numpy()
            known = ~np.isnan(getattr(sound, field).to_numpy())
            np.testing.assert_allclose(seen[known], getattr(sound, field).to_numpy()[known], rtol=1e-9)
    assert len(restatements(tmp_path)) > 100
