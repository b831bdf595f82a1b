"""The look at a whole history: twenty real faults by name, each rule on injected ones, and the laws that it keeps."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from openbook.errors import DataError
from openbook.market.arrival import DOOR, read_bars
from openbook.market.checks import CHECKS, CheckupRules
from openbook.market.checkup import Checkup, examine
from openbook.market.histories import make_tape, night_spreads
from openbook.market.providers.files import FilesSource
from openbook.market.providers.folder import deliver
from openbook.market.tables import Delivery, adjust
from openbook.market.vendor_check import check_folder, delivery_of

TODAY = "2023-07-01"
DAY, LATER = "2023-05-25", "2023-06-12"  # 44 and 55 sessions after the delivery begins


def look(delivery: Delivery, **options) -> Checkup:
    return examine(delivery, today=TODAY, **options)


def names(checkup: Checkup) -> set[tuple[str, str]]:
    """(symbol, rule) of every finding."""
    return set(zip(checkup.findings["symbol"], checkup.findings["rule"], strict=True))


def since(delivery: Delivery, day=DAY) -> pd.DatetimeIndex:
    """The sessions of a delivery from a day on."""
    days = pd.DatetimeIndex(delivery.bars["date"].unique())
    return days[days >= day]


# ---- a sound history ----


def test_a_sound_history_has_no_findings(delivery):
    checkup = look(delivery)
    assert checkup.findings.empty
    assert list(checkup.findings.columns) == ["rule", "symbol", "first", "last", "n", "detail", "way_out"]
    assert checkup.usable
    assert checkup.symbol_years == 40 * 70 / 252
    assert checkup.summary["Symbols"] == "40"
    assert list(checkup.lines())[-1] == "Usable: 0 findings, none of which stops a run for everybody."


def test_nor_has_one_with_recorded_splits_and_dividends(delivery, damage, act):
    split = act(damage(delivery, "S07", since(delivery), scale=0.25), (DAY, "S07", "split", 4.0))
    split.bars.loc[(split.bars["symbol"] == "S07") & (split.bars["date"] >= DAY), "volume"] *= 4
    paid = act(damage(split, "S08", since(delivery), scale=0.8), (DAY, "S08", "dividend", 58 * 0.2))
    assert look(paid).findings.empty


# ---- one fault each ----


def _members(*rows) -> pd.DataFrame:
    """Spells of these symbols, and of all others since ever."""
    named = {symbol for symbol, *_ in rows}
    others = [(f"S{i:02d}", None, None) for i in range(40) if f"S{i:02d}" not in named]
    table = pd.DataFrame([*rows, *others], columns=["symbol", "start", "end"]).astype({"symbol": "str"})
    return table.assign(**{name: pd.to_datetime(table[name]).astype("datetime64[us]") for name in ("start", "end")})


def _reports(*rows) -> pd.DataFrame:
    table = pd.DataFrame([(*row[:3], "sales", row[3]) for row in rows])
    table.columns = ["symbol", "period_end", "available", "item", "value"]
    dates = {name: pd.to_datetime(table[name]).astype("datetime64[us]") for name in ("period_end", "available")}
    return table.assign(**dates).astype({"symbol": "str", "item": "str"})


def _again(delivery: Delivery, day=DAY, *, symbols=("S07",), **values) -> Delivery:
    """Some bars of a day sent again, with other values."""
    bars = delivery.bars
    rows = bars[bars["symbol"].isin(symbols) & (bars["date"] == day)].assign(**values)
    return replace(delivery, bars=pd.concat([bars, rows], ignore_index=True))


def _moved(delivery: Delivery, symbol: str, to: str) -> Delivery:
    """One symbol given the prices of another, three times as high."""
    bars = delivery.bars
    other = bars[bars["symbol"] == symbol].assign(symbol=to)
    other[["open", "high", "low", "close"]] *= 3
    return replace(delivery, bars=pd.concat([bars[bars["symbol"] != to], other], ignore_index=True))


def _frozen(delivery: Delivery) -> Delivery:
    """The closes of a day are those of the day before."""
    bars = delivery.bars.sort_values(["symbol", "date"], ignore_index=True)
    on_day = bars["date"] == DAY
    fields = ["open", "high", "low", "close"]
    bars.loc[on_day, fields] = bars[fields].shift().loc[on_day]
    return replace(delivery, bars=bars)


INJECTED = {
    "conflict": lambda d, damage, act: _again(d, volume=5.0),
    "future": lambda d, damage, act: _again(d, date=pd.Timestamp("2023-07-05")),
    "thin session": lambda d, damage, act: damage(d, [f"S{i:02d}" for i in range(12)], DAY, drop=True),
    "frozen session": lambda d, damage, act: _frozen(d),
    "unadjusted split": lambda d, damage, act: damage(d, "S07", since(d), scale=0.25, volume=4e6),
    "half-applied split": lambda d, damage, act: act(d, (DAY, "S07", "split", 4.0)),
    "missing spin-off": lambda d, damage, act: damage(d, "S07", since(d), scale=0.75),
    "symbol collision": lambda d, damage, act: damage(d, "S07", since(d)[:8], scale=0.2, volume=5e4),
    "slip": lambda d, damage, act: damage(d, "S07", DAY, scale=10),
    "spike": lambda d, damage, act: damage(d, "S07", DAY, scale=2.3),
    "jump": lambda d, damage, act: damage(d, "S07", since(d), scale=1.66),
    "same company": lambda d, damage, act: _moved(d, "S07", "S08"),
    "recycled ticker": lambda d, damage, act: replace(
        damage(d, "S07", since(d, "2023-01-01").difference(since(d, LATER)), drop=True),
        members=_members(("S07", "2020-01-02", DAY)),
    ),
    "late history": lambda d, damage, act: replace(
        damage(d, "S07", since(d, "2023-01-01").difference(since(d, LATER)), drop=True),
        members=_members(("S07", "2020-01-02", None)),
    ),
    "no history": lambda d, damage, act: replace(d, members=_members(("ZZZ", "2020-01-02", None))),
    "gap": lambda d, damage, act: damage(d, "S07", since(d).difference(since(d, "2023-06-28")), drop=True),
    "stale line": lambda d, damage, act: damage(d, "S07", since(d, "2023-01-01")[:65], volume=0.0),
    "repeated bars": lambda d, damage, act: damage(
        d, "S07", since(d)[:3], open=57.0, high=58.0, low=56.0, close=57.0, volume=9e5
    ),
    "price": lambda d, damage, act: damage(d, "S07", DAY, close=0.0),
    "volume": lambda d, damage, act: damage(d, "S07", DAY, volume=-1.0),
    "range": lambda d, damage, act: damage(d, "S07", DAY, high=1.0),
    "open": lambda d, damage, act: damage(d, "S07", DAY, open=99.0),
    "holiday": lambda d, damage, act: _again(d, date=pd.Timestamp("2023-05-29")),
    "duplicate": lambda d, damage, act: _again(d),
    "early report": lambda d, damage, act: replace(d, fundamentals=_reports(("S07", "2023-06-30", "2023-05-01", 1.0))),
    "late report": lambda d, damage, act: replace(d, fundamentals=_reports(("S07", "2022-06-30", "2023-05-01", 1.0))),
    "repeated report": lambda d, damage, act: replace(
        d, fundamentals=_reports(("S07", "2023-03-31", "2023-05-01", 1.0), ("S07", "2023-03-31", "2023-05-02", 1.0))
    ),
    "amended report": lambda d, damage, act: replace(
        d, fundamentals=_reports(("S07", "2023-03-31", "2023-05-01", 1.0), ("S07", "2023-03-31", "2023-06-02", 1.5))
    ),
    "duplicate key": lambda d, damage, act: replace(
        d, members=_members(("S07", "2020-01-02", None), ("S07", "2023-01-02", None))
    ),
}
# What cannot come alone: a delivery that the door refuses as a whole says so too.
COMPANIONS = {"conflict": {"refused"}, "future": {"refused"}}


@pytest.mark.parametrize("rule", INJECTED)
def test_an_injected_fault_is_found_by_its_name_and_nothing_else(delivery, damage, act, rule):
    checkup = look(INJECTED[rule](delivery, damage, act))
    assert set(checkup.findings["rule"]) - COMPANIONS.get(rule, set()) == {rule}
    assert len(checkup.findings[checkup.findings["rule"] == rule]) == 1
    found = checkup.findings[checkup.findings["rule"] == rule].iloc[0]
    assert found["symbol"] in ("S07", "*", "ZZZ")
    assert found["first"] <= found["last"]
    assert found["n"] >= (rule != "no history")
    assert found["detail"]
    assert found["way_out"] == CHECKS[rule].way_out
    assert checkup.usable == (CHECKS[rule].stops in ("symbol", "nobody"))


def test_a_bad_last_session_is_tonight(delivery, damage, tonight):
    checkup = look(damage(delivery, [f"S{i:02d}" for i in range(12)], tonight, drop=True))
    assert set(checkup.findings["rule"]) == {"tonight", "thin session"}
    assert "coverage 70% < 95%" in checkup.findings["detail"].iloc[0]
    assert not checkup.usable
    assert "a run would stop on 1 sessions, 2023-06-30" in list(checkup.lines())[-1]


def test_a_price_in_another_currency_and_a_stock_called_cash(delivery, damage):
    everywhere = since(delivery, "2023-01-01")
    dear = damage(delivery, "S07", everywhere, scale=1000)
    assert names(look(dear)) == {("S07", "absurd price")}
    assert look(dear, rules=CheckupRules(dear=("S07",))).findings.empty
    cash = replace(delivery, bars=delivery.bars.assign(symbol=delivery.bars["symbol"].replace("S07", "CASH")))
    assert names(look(cash)) == {("CASH", "reserved")}


def test_a_second_source_knows_better(delivery, damage, act):
    bars = delivery.bars
    twin = bars[bars["symbol"] == "S09"].assign(symbol="S07")
    other = replace(delivery, bars=pd.concat([bars[bars["symbol"] != "S07"], twin]))
    checkup = look(damage(other, "S08", DAY, scale=0.9), beside=delivery)
    assert names(checkup) >= {("S07", "another company"), ("S08", "disagreement")}
    assert look(delivery, beside=damage(delivery, "S01", since(delivery), scale=1.03)).findings.empty
    assert look(delivery, beside=delivery).findings.empty


def test_a_share_class_is_no_twin(delivery):
    """Two classes of one company move alike, not equally."""
    rng = np.random.default_rng(0)
    twin = _moved(delivery, "S07", "S08")
    rows = twin.bars["symbol"] == "S08"
    twin.bars.loc[rows, ["open", "high", "low", "close"]] *= rng.normal(1, 0.002, (rows.sum(), 1))
    assert look(twin).findings.empty


# ---- what is real ----


@pytest.mark.parametrize("scale", [0.5, 0.7, 1.5, 2.0, 3.1])
def test_news_on_many_times_the_usual_turnover_is_no_finding(delivery, damage, scale):
    news = damage(delivery, "S07", since(delivery), scale=scale)
    rows = (news.bars["symbol"] == "S07") & (news.bars["date"] == DAY)
    news.bars.loc[rows, "volume"] *= 12
    assert look(news).findings.empty


def test_a_crash_of_the_whole_market_is_no_finding(delivery, damage):
    rng = np.random.default_rng(1)
    for symbol in delivery.bars["symbol"].unique():
        delivery = damage(delivery, symbol, since(delivery), scale=float(rng.uniform(0.5, 1.0)))
    assert look(delivery).findings.empty


def test_a_warrant_that_trades_once_a_week_is_left_alone(delivery, damage):
    rng = np.random.default_rng(2)
    every = since(delivery, "2023-01-01")
    penny = damage(delivery, "S07", every, scale=0.002)
    for day in every[5::5]:
        penny = damage(penny, "S07", day, scale=float(rng.choice([0.6, 1.7])))
    assert look(penny).findings.empty


# ---- laws ----


def test_findings_do_not_depend_on_the_order_of_rows(delivery, damage, act):
    wrong = damage(damage(delivery, "S07", since(delivery), scale=0.25, volume=4e6), "S09", DAY, scale=2.3)
    shuffled = replace(wrong, bars=wrong.bars.sample(frac=1, random_state=0, ignore_index=True))
    pd.testing.assert_frame_equal(look(wrong).findings, look(shuffled).findings)


def test_prices_in_another_unit_have_the_same_moves_and_findings(delivery, damage):
    wrong = damage(damage(delivery, "S07", since(delivery), scale=0.75), "S09", DAY, scale=2.3)
    doubled = replace(wrong, bars=wrong.bars.assign(**{f: wrong.bars[f] * 2 for f in ("open", "high", "low", "close")}))
    assert names(look(wrong)) == names(look(doubled)) == {("S07", "missing spin-off"), ("S09", "spike")}


def test_moves_are_those_of_the_total_return_price(delivery, act, damage):
    acted = act(
        damage(delivery, "S07", since(delivery), scale=0.25),
        (DAY, "S07", "split", 4.0),
        (LATER, "S07", "dividend", 0.7),
        (LATER, "S07", "split", 0.5),
        (LATER, "S08", "dividend", 1.2),
        ("2023-06-18", "S09", "dividend", 1.0),  # a Sunday: due at the next session
        ("2023-01-01", "S10", "split", 2.0),  # before the first bar
        ("2023-07-01", "S11", "split", 2.0),  # after the last
    )
    tape = make_tape(read_bars(acted), acted.actions)
    close = acted.bars.pivot(index="date", columns="symbol", values="close")
    slow = np.log(adjust(close, acted.actions)).diff().fillna(0.0)
    np.testing.assert_allclose(tape.move, slow.to_numpy().T.ravel(), atol=1e-12)


def test_a_tape_knows_its_gaps_and_what_came_before(delivery, damage):
    days = since(delivery, "2023-01-01")
    holes = damage(damage(delivery, "S00", days[[3, 4]], drop=True), "S01", days[:5], drop=True)
    tape = make_tape(read_bars(holes), None)
    of = [np.flatnonzero(tape.column == column) for column in (0, 1)]
    assert tape.gap[of[0][:5]].tolist() == [0, 1, 1, 3, 1]
    assert tape.gap[of[1][:2]].tolist() == [0, 1]
    assert tape.start[of[1][0]]
    window = tape.before(tape.close, np.array([of[1][2]]), 4)[0]
    np.testing.assert_array_equal(window, [np.nan, np.nan, *tape.close[of[1][:2]]])
    first, last = tape.spells(tape.row >= 68)
    assert len(first) == 40
    assert set(last - first) == {1}


def test_the_spread_of_a_night_is_numpys(delivery):
    tape = make_tape(read_bars(delivery), None)
    median, spread = night_spreads(tape)
    moves = tape.move[tape.row == 40]
    assert median[40] == pytest.approx(np.median(moves), rel=1e-12)
    assert spread[40] == pytest.approx(1.4826 * np.median(np.abs(moves - np.median(moves))), rel=1e-12)
    assert np.isnan(median[0])


def test_every_check_has_a_reason_and_a_way_out_and_stands_in_a_test():
    for check in CHECKS.values():
        assert check.reason
        assert check.way_out
    elsewhere = {"refused", "tonight", "absurd price", "reserved", "another company", "disagreement", "no symbol"}
    assert set(CHECKS) == set(INJECTED) | elsewhere
    assert set(DOOR) - set(CHECKS) == {"level", "filing", "action"}  # what these refuse is named by what it is here
    assert all(field.description for field in CheckupRules.model_fields.values())


# ---- folders ----


@pytest.fixture
def vendor(tmp_path, delivery):
    """write(name, table): a file in a folder that nobody described."""

    def write(name: str, table: pd.DataFrame) -> str:
        table.to_csv(tmp_path / name, index=False) if name.endswith("csv") else table.to_parquet(tmp_path / name)
        return str(tmp_path)

    return write


def test_a_folder_is_guessed_aloud(vendor, delivery):
    strange = delivery.bars.rename(columns={"symbol": "Ticker", "date": "Date", "close": "Close"})
    spells = pd.DataFrame({"ticker": ["S01"], "start_date": ["2020-01-01"], "end_date": [""]})
    reports = pd.DataFrame({"symbol": ["S01"], "end_date": ["2023-03-31"], "collected": ["2023-05-01"], "sales": [5.0]})
    vendor("members.csv", spells)
    vendor("reports.csv", reports)
    vendor("notes.csv", pd.DataFrame({"hello": ["you"]}))
    folder = vendor("prices.csv", strange.assign(adj_close=1.0))
    told = "\n".join(check_folder(folder, today=TODAY).lines())
    for words in (
        "prices.csv: bars",
        "symbol = Ticker, date = Date",
        "reports.csv: reports",
        "filed = collected, period_end = end_date; 1 items",
        "members.csv: membership",
        "notes.csv: not understood, left out (columns hello)",
        "bars: nothing uses adj_close",
        "prices: raw, because adj_close stands beside them",
        "Usable: 0 findings",
    ):
        assert words in told
    assert delivery_of(folder).adjusted is False


@pytest.mark.parametrize("adjusted", [True, False])
def test_recorded_splits_tell_raw_prices_from_adjusted_ones(vendor, delivery, damage, adjusted):
    split = delivery if adjusted else damage(delivery, "S07", since(delivery), scale=0.25, volume=4e6)
    on_day = (split.bars["symbol"] == "S07") & (split.bars["date"] == DAY)
    folder = vendor("prices.parquet", split.bars.assign(split_ratio=np.where(on_day, 4.0, 0.0)))
    checkup = check_folder(folder, today=TODAY)
    assert f"prices: {'adjusted' if adjusted else 'raw'}, because {int(not adjusted)} of 1 recorded splits show" in str(
        checkup.told
    )
    assert checkup.findings.empty


def test_what_adjusted_prices_have_in_them_is_compared_and_not_applied(vendor, delivery, damage):
    twice = damage(delivery, "S07", since(delivery), scale=0.25, volume=4e6)
    on_day = (twice.bars["symbol"] == "S07") & (twice.bars["date"] == DAY)
    folder = vendor("prices.parquet", twice.bars.assign(split_ratio=np.where(on_day, 4.0, 0.0)))
    sent = deliver(FilesSource(path=folder, prices="adjusted"))
    assert sent.adjusted
    checkup = look(sent)
    assert names(checkup) == {("S07", "half-applied split")}
    assert "not applied" in checkup.findings["detail"].iloc[0]


def test_several_files_of_bars_are_one_history_and_others_are_named(vendor, delivery):
    half = delivery.bars["date"] < DAY
    vendor("a.parquet", delivery.bars[half])
    folder = vendor("b.parquet", delivery.bars[~half])
    assert check_folder(folder, today=TODAY).summary["Rows"] == "2,800"
    vendor("c.parquet", delivery.bars.head(5).assign(volume_l=1.0))
    with pytest.raises(DataError, match="2 files of bars among others; give them a folder of their own"):
        check_folder(folder, today=TODAY)


def test_of_two_histories_the_larger_is_read_and_the_other_named(vendor, delivery):
    vendor("ohlcv.parquet", delivery.bars)
    folder = vendor("revisions.parquet", delivery.bars.head(5).assign(volume_l=1.0))
    checkup = check_folder(folder, today=TODAY)
    assert checkup.summary["Rows"] == "2,800"
    assert any("revisions.parquet: not read" in line for line in checkup.told)


def test_a_folder_that_cannot_be_understood_says_what_it_saw(vendor, tmp_path):
    folder = vendor("notes.csv", pd.DataFrame({"hello": ["you"]}))
    with pytest.raises(DataError, match=r"has columns symbol, date and close .*columns hello.*--source"):
        check_folder(folder)
    with pytest.raises(DataError, match="no file or folder"):
        check_folder(str(tmp_path / "nowhere"))
    vendor("weights.csv", pd.DataFrame({"symbol": ["A"], "date": ["2023-01-03"]}))
    with pytest.raises(DataError, match="no file of bars to compare with"):
        delivery_of(folder)


def test_rows_of_a_side_table_that_repeat_or_have_no_name(vendor):
    rows = pd.DataFrame(
        {"symbol": ["A", "A", "B", ""], "date": ["2023-01-03", "2023-01-03", "2023-01-03", "2023-01-03"]}
    )
    checkup = check_folder(vendor("weights.csv", rows))
    assert names(checkup) == {("A", "duplicate key"), ("*", "no symbol")}
    assert checkup.symbol_years == 0
    assert list(checkup.lines())


def test_nothing_to_look_at_is_an_error(delivery):
    with pytest.raises(DataError, match="not one bar of 2,800 can be used"):
        look(replace(delivery, bars=delivery.bars.assign(close=0.0)))
    with pytest.raises(DataError, match="no column close"):
        look(replace(delivery, bars=delivery.bars.drop(columns="close")))


def test_closes_alone_can_be_looked_at(delivery, damage):
    wrong = damage(damage(delivery, "S07", since(delivery), scale=0.25), "S09", DAY, scale=10)
    bare = replace(wrong, bars=wrong.bars[["symbol", "date", "close"]], execution="next_close")
    assert names(look(bare)) >= {("S09", "slip")}


# ---- twenty real cases: known_bad_cases.csv beside the data ----

A, B, C, SIDE = "sp500_2010_2023", "sp500_all_members_2013_2018", "us_2015_2017_point_in_time", "membership"
# (set, symbols as the list writes them): rule, symbol and a day inside the finding
KNOWN = {
    (A, "DHR"): [("half-applied split", "DHR", "2016-07-05")],
    (A, "VTR"): [("missing spin-off", "VTR", "2015-08-18")],
    (A, "CB"): [("another company", "CB", "2015-07-01")],
    (A, "SW|FERG|AMCR"): [("stale line", symbol, "2016-06-01") for symbol in ("SW", "FERG", "AMCR")],
    (B, "LIFE"): [("recycled ticker", "LIFE", "2015-05-07")],
    (B, "WLP"): [("same company", "ANTM", "2016-01-04")],
    (B, "AMD"): [("gap", "AMD", "2017-03-31")],
    (B, "CRC"): [("gap", "CRC", "2016-02-29")],
    (B, "AAPL + 32 others"): [("late history", "AAPL", "2014-03-28")],
    (B, "*"): [
        ("thin session", "*", "2017-11-08"),
        ("holiday", "*", "2017-04-14"),
        ("thin session", "*", "2018-02-28"),
    ],
    (B, "AMZN|ADBE|ALXN"): [
        ("open", "AMZN", "2016-11-16"),
        ("open", "ADBE", "2016-11-30"),
        ("open", "ALXN", "2016-11-30"),
    ],
    (C, "CRK|ACLS|ARR|AA"): [
        ("unadjusted split", "CRK", "2016-08-01"),
        ("unadjusted split", "ACLS", "2016-07-01"),
        ("unadjusted split", "ARR", "2015-08-03"),
        ("unadjusted split", "AA", "2016-10-06"),
    ],
    (C, "AOS|CHD|CMCSA|CF"): [
        ("unadjusted split", "AOS", "2016-10-06"),
        ("unadjusted split", "CHD", "2016-09-02"),
        ("unadjusted split", "CMCSA", "2017-02-21"),
        ("unadjusted split", "CF", "2015-06-18"),
    ],
    (C, "reports"): [("repeated report", "AAOI", "2015-12-22"), ("late report", "AAOI", "2015-12-22")],
    (C, "NEE"): [("symbol collision", "NEE", day) for day in ("2016-06-09", "2016-11-18", "2016-11-28", "2017-01-27")],
    (C, "MS"): [("symbol collision", "MS", "2017-02-14"), ("symbol collision", "MS", "2017-02-15")],
    (C, "CUI"): [("price", "CUI", "2015-03-30")],
    (C, "SAB"): [("absurd price", "SAB", "2017-02-01")],
    (C, "*"): [("holiday", "*", "2015-04-03"), ("holiday", "*", "2016-12-26")],
    (SIDE, "CB|MRK|AGN"): [("duplicate key", symbol, "2014-06-30") for symbol in ("CB", "AGN")]
    + [("duplicate key", "MRK", "2008-01-31")],
}
RENAME = {"BRK.B": "BRK-B", "BF.B": "BF-B"}


def _members_at(shared_data) -> dict:
    columns = {"symbol": "ticker", "start": "start_date", "end": "end_date"}
    return {"path": str(shared_data / SIDE / "sp500_intervals.csv"), "columns": columns, "rename": RENAME}


def _folder(shared_data, name: str) -> str:
    if not (shared_data / name).is_dir():
        pytest.skip(f"no {name} in the real data")
    return str(shared_data / name)


@pytest.fixture(scope="module")
def examined(shared_data):
    """The checkup of a set, made once. Of the 7,072 symbols every twentieth, and those of the list."""
    made = {}

    def get(name: str) -> Checkup:
        if name not in made:
            made[name] = _examine(shared_data, name)
        return made[name]

    return get


def _examine(shared_data, name: str) -> Checkup:
    if name == SIDE:
        return check_folder(_folder(shared_data, name))
    if name == C:
        return _part_of_the_largest(shared_data)
    source = FilesSource(path=_folder(shared_data, name), prices="adjusted", members=_members_at(shared_data))
    beside = deliver(FilesSource(path=_folder(shared_data, B), prices="adjusted")) if name == A else None
    return examine(deliver(source), beside=beside)


def _part_of_the_largest(shared_data) -> Checkup:
    folder = _folder(shared_data, C)
    fundamentals = {
        "path": f"{folder}/reports.parquet",
        "columns": {"filed": "collected", "period_end": "end_date"},
        "items": {"assets": "assets", "revenues": "revenues"},
    }
    source = FilesSource(path=f"{folder}/ohlcv.parquet", prices="raw", fundamentals=fundamentals)
    whole = deliver(source)
    known = {symbol for spots in KNOWN.values() for _, symbol, _ in spots}
    every = sorted(whole.bars["symbol"].unique())
    chosen = whole.bars["symbol"].isin(list(known | set(every[::20])))
    holidays = whole.bars["date"].isin(pd.to_datetime(["2015-04-03", "2016-12-26"]))
    return examine(replace(whole, bars=whole.bars[chosen | holidays]))


@pytest.mark.parametrize("case", KNOWN, ids=" ".join)
def test_a_known_real_fault_is_found_by_its_name(examined, case):
    findings = examined(case[0]).findings
    for rule, symbol, day in KNOWN[case]:
        rows = findings[(findings["rule"] == rule) & (findings["symbol"] == symbol)]
        inside = (rows["first"] <= day) & (rows["last"] >= day)
        assert inside.any(), f"{rule} of {symbol} on {day}: {rows.to_string()}"


def test_the_list_of_known_faults_is_the_one_beside_the_data(shared_data):
    listed = pd.read_csv(shared_data / "known_bad_cases.csv", keep_default_na=False)
    assert set(zip(listed["set"], listed["symbol"], strict=True)) == set(KNOWN)
    assert len(KNOWN) == 20


def test_what_is_said_of_the_known_faults(examined):
    def told(name: str, rule: str, symbol: str) -> str:
        rows = examined(name).findings
        return rows[(rows["rule"] == rule) & (rows["symbol"] == symbol)]["detail"].iloc[0]

    assert "applied the wrong way" in told(A, "half-applied split", "VTR")
    assert "a listing elsewhere before" in told(A, "stale line", "AMCR")
    assert "moves as WLP does" in told(B, "same company", "ANTM")
    assert "1281 days" in told(B, "gap", "AMD")
    assert "-89.8%" in told(B, "gap", "CRC")
    assert "3 bars, usually" in told(B, "thin session", "*")
    assert "reverse split 5:1" in told(C, "unadjusted split", "CRK")
    assert (examined(B).findings["rule"] == "late history").sum() > 33
    assert (examined(C).findings["rule"] == "holiday").sum() == 18


# ---- how often a finding is wrong ----

# Findings in the whole sets, known cases included; each was looked at. Of 63 moves beyond 1.4 in the first set none is
# left that is real; in the second all are spin-offs that the set lacks (DF, GCI, HPE twice, VNO). In the third the
# vendor's own adjusted closes confirm the splits.
PINNED = {
    A: {"half-applied split": 3, "missing spin-off": 1, "recycled ticker": 1, "stale line": 3, "open": 1},
    B: {"unadjusted split": 1, "missing spin-off": 3, "jump": 1, "same company": 2, "recycled ticker": 1, "gap": 7},
    C: {
        "unadjusted split": 337,
        "missing spin-off": 26,
        "symbol collision": 37,
        "slip": 24,
        "spike": 30,
        "jump": 114,
        "gap": 31,
        "absurd price": 4,
        "price": 1,
        "range": 1,
        "holiday": 18,
    },
}


@pytest.mark.parametrize("name", [A, B])
def test_pinned_findings_of_the_index_sets(examined, name):
    counts = examined(name).counts.drop(["late history", "no history", "disagreement"], errors="ignore")
    assert counts[list(PINNED[name])].to_dict() == PINNED[name]
    moves = {"half-applied split", "unadjusted split", "missing spin-off", "symbol collision", "slip", "spike", "jump"}
    assert moves & set(counts.index) <= set(PINNED[name])


@pytest.fixture(scope="module")
def largest(shared_data) -> tuple[Checkup, pd.DataFrame]:
    """The checkup of all 7,072 symbols, and the vendor's factor of each bar over the next: adjusted / raw close."""
    folder = _folder(shared_data, C)
    checkup = examine(deliver(FilesSource(path=f"{folder}/ohlcv.parquet", prices="raw")))
    bars = pd.read_parquet(f"{folder}/ohlcv.parquet", columns=["symbol", "date", "close", "adj_close"])
    bars = bars.astype({"symbol": "str"}).sort_values(["symbol", "date"], ignore_index=True)
    bars["factor"] = (bars["adj_close"] / bars["close"]).groupby(bars["symbol"]).shift()
    return checkup, bars


@pytest.mark.long
def test_pinned_findings_among_7072_symbols(largest):
    counts = largest[0].counts
    assert {rule: int(counts[rule]) for rule in PINNED[C]} == PINNED[C]
    assert largest[0].symbol_years == pytest.approx(12_298, abs=1)


@pytest.mark.long
def test_the_vendors_own_factors_confirm_the_splits(largest):
    """Of the splits that the raw closes show, 4 in 5 are in the vendor's adjusted closes; and hardly one is overlooked.

    The fifth that is not is mostly real too (CF 5:1, HTZ, DRYS, SJI, TVIZ are not in the vendor's factors), or a price
    of before the listing; a real fall of 86% that looks like 7:1 is among them (OPHT, 2016-12-12).
    """
    checkup, bars = largest
    bars = bars.assign(split=(bars["factor"] > 1.4) | (bars["factor"] < 1 / 1.4))
    bars["near"] = bars.groupby("symbol")["split"].transform(
        lambda each: each.rolling(5, center=True, min_periods=1).max()
    )
    found = checkup.findings
    splits = found[found["rule"] == "unadjusted split"]
    told = splits.merge(bars, left_on=["symbol", "first"], right_on=["symbol", "date"])
    assert told["near"].mean() > 0.78
    ratio = bars["close"] / bars.groupby("symbol")["close"].shift()
    shown = bars[bars["split"] & ((ratio * bars["factor"] - 1).abs() > 0.25) & ((ratio > 1.4) | (ratio < 1 / 1.4))]
    names = found[found["rule"].isin(["unadjusted split", "jump", "missing spin-off", "symbol collision"])]
    noticed = shown.merge(names, left_on=["symbol", "date"], right_on=["symbol", "first"], how="left")
    assert noticed["rule"].notna().mean() > 0.85


@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "scale", "bars", "rules", "at_least"),
    [
        ("a decimal point for a day", 10.0, 1, {"slip"}, 0.97),
        ("cents for a week", 100.0, 5, {"slip"}, 0.97),
        ("another level for ten days", 0.5, 10, {"symbol collision"}, 0.85),
        ("one bar of another stock", 1.9, 1, {"spike"}, 0.9),
        ("a split of 4:1", 0.25, None, {"unadjusted split"}, 0.95),
        ("a split of 2:1", 0.5, None, {"unadjusted split", "missing spin-off"}, 0.85),
        ("a spin-off of a quarter", 0.75, None, {"missing spin-off"}, 0.7),
    ],
)
def test_faults_put_into_real_data_are_found(shared_data, fault, scale, bars, rules, at_least):
    """60 draws: a name and a day among 496 stocks; a split turns over as many more shares."""
    source = FilesSource(path=_folder(shared_data, A), prices="adjusted", columns={"close": "close"})
    whole = replace(deliver(source), actions=None).bars
    whole = whole[whole["date"] >= "2021-01-01"].sort_values(["symbol", "date"], ignore_index=True)
    rng, dirty, draws = np.random.default_rng(0), whole.copy(), []
    sizes = whole.groupby("symbol").indices
    usual = [symbol for symbol, rows in sizes.items() if len(rows) > 700 and symbol not in ("SW", "FERG", "AMCR")]
    for symbol in rng.choice(usual, 60, replace=False):
        start = sizes[symbol][rng.integers(30, len(sizes[symbol]) - 30)]
        end = start + bars if bars else sizes[symbol][-1] + 1
        dirty.loc[start : end - 1, ["open", "high", "low", "close"]] *= scale
        if fault.startswith("a split"):
            dirty.loc[start : end - 1, "volume"] /= scale
        draws.append((symbol, whole["date"][start]))
    found = examine(Delivery(bars=dirty, name="dirty", adjusted=True)).findings
    hits = found[found["rule"].isin(rules)]
    noticed = [((hits["symbol"] == symbol) & (hits["first"] == day)).any() for symbol, day in draws]
    assert np.mean(noticed) >= at_least, found[found["symbol"].isin([symbol for symbol, _ in draws])].to_string()
