"""The look at a whole history: twenty real faults by name, each rule on injected ones, and the laws that it keeps."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from openbook.common.errors import DataError
from openbook.market.checks.bar_history import make_bar_history, night_spreads
from openbook.market.checks.history import Checkup, examine
from openbook.market.checks.history_thresholds import CHECKS, CheckupRules
from openbook.market.checks.thresholds import RULES
from openbook.market.checks.vendor_folder import check_folder, delivery_of
from openbook.market.ingest import INGEST_RULES, read_bars
from openbook.market.sources.files import FilesSource
from openbook.market.sources.folder import deliver
from openbook.market.tables import Delivery, adjust

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
    assert list(checkup.lines())[-1] == "Usable: 0 findings, none of which stops a run."


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
    "misapplied split": lambda d, damage, act: act(d, (DAY, "S07", "split", 4.0)),
    "missing spin-off": lambda d, damage, act: damage(d, "S07", since(d), scale=0.75),
    "symbol collision": lambda d, damage, act: damage(d, "S07", since(d)[:8], scale=0.2, volume=5e4),
    "decimal shift": lambda d, damage, act: damage(d, "S07", DAY, scale=10),
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
    "no trading": lambda d, damage, act: damage(d, "S07", since(d, "2023-01-01")[:65], volume=0.0),
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


def test_a_bad_last_session(delivery, damage, tonight):
    checkup = look(damage(delivery, [f"S{i:02d}" for i in range(12)], tonight, drop=True))
    assert set(checkup.findings["rule"]) == {"last session", "thin session"}
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
    tape = make_bar_history(read_bars(acted), acted.actions)
    close = acted.bars.pivot(index="date", columns="symbol", values="close")
    slow = np.log(adjust(close, acted.actions)).diff().fillna(0.0)
    np.testing.assert_allclose(tape.move, slow.to_numpy().T.ravel(), atol=1e-12)


def test_a_tape_knows_its_gaps_and_what_came_before(delivery, damage):
    days = since(delivery, "2023-01-01")
    holes = damage(damage(delivery, "S00", days[[3, 4]], drop=True), "S01", days[:5], drop=True)
    tape = make_bar_history(read_bars(holes), None)
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
    tape = make_bar_history(read_bars(delivery), None)
    median, spread = night_spreads(tape)
    moves = tape.move[tape.row == 40]
    assert median[40] == pytest.approx(np.median(moves), rel=1e-12)
    assert spread[40] == pytest.approx(1.4826 * np.median(np.abs(moves - np.median(moves))), rel=1e-12)
    assert np.isnan(median[0])


def test_every_check_has_a_reason_and_a_way_out_and_stands_in_a_test():
    for check in CHECKS.values():
        assert check.reason
        assert check.way_out
    elsewhere = {"refused", "last session", "absurd price", "reserved", "another company", "disagreement", "no symbol"}
    elsewhere |= {"weekend bars"}  # in test_data_check
    assert set(CHECKS) == set(INJECTED) | elsewhere
    assert set(INGEST_RULES) - set(CHECKS) == {
        "level",
        "filing",
        "action",
    }  # what these refuse is named by what it is here
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
    folder = vendor("prices.csv", strange.assign(adj_close=0.9 * strange["Close"]))
    told = "\n".join(check_folder(folder, today=TODAY).lines())
    for words in (
        "prices.csv: bars",
        "symbol = Ticker, date = Date",
        "reports.csv: reports",
        "filed = collected, period_end = end_date; 1 items",
        "members.csv: membership",
        "notes.csv: not recognized, skipped (columns hello)",
        "adjusted_close = adj_close",
        "prices: split adjusted, because adj_close beside it contains dividends and no split",
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
    assert (
        f"prices: {'adjusted' if adjusted else 'raw'}, because {int(not adjusted)} of 1 recorded splits are visible"
        in str(checkup.readings)
    )
    assert checkup.findings.empty


def test_what_adjusted_prices_have_in_them_is_compared_and_not_applied(vendor, delivery, damage):
    twice = damage(delivery, "S07", since(delivery), scale=0.25, volume=4e6)
    on_day = (twice.bars["symbol"] == "S07") & (twice.bars["date"] == DAY)
    folder = vendor("prices.parquet", twice.bars.assign(split_ratio=np.where(on_day, 4.0, 0.0)))
    sent = deliver(FilesSource(path=folder, prices="adjusted"))
    assert sent.adjusted
    checkup = look(sent)
    assert names(checkup) == {("S07", "misapplied split")}
    assert "not applied" in checkup.findings["detail"].iloc[0]


def test_several_files_of_bars_are_one_history_and_others_are_named(vendor, delivery):
    half = delivery.bars["date"] < DAY
    vendor("a.parquet", delivery.bars[half])
    folder = vendor("b.parquet", delivery.bars[~half])
    assert check_folder(folder, today=TODAY).summary["Rows"] == "2,800"
    vendor("c.parquet", delivery.bars.head(5).assign(volume_l=1.0))
    with pytest.raises(
        DataError, match=r"2 files of bars beside c.parquet, .*; move the files of bars to a folder of their own"
    ):
        check_folder(folder, today=TODAY)


def test_of_two_histories_the_larger_is_read_and_the_other_named(vendor, delivery):
    vendor("ohlcv.parquet", delivery.bars)
    folder = vendor("revisions.parquet", delivery.bars.head(5).assign(volume_l=1.0))
    checkup = check_folder(folder, today=TODAY)
    assert checkup.summary["Rows"] == "2,800"
    assert any("revisions.parquet: skipped" in line for line in checkup.readings)


def test_a_folder_that_cannot_be_understood_says_what_it_saw(vendor, tmp_path):
    folder = vendor("notes.csv", pd.DataFrame({"hello": ["you"]}))
    with pytest.raises(DataError, match=r"has columns symbol, date and close .*columns hello.*--source"):
        check_folder(folder)
    with pytest.raises(DataError, match="no file or folder"):
        check_folder(str(tmp_path / "nowhere"))
    vendor("weights.csv", pd.DataFrame({"symbol": ["A"], "date": ["2023-01-03"]}))
    with pytest.raises(DataError, match="has symbol, date and close to compare with"):
        delivery_of(folder)


def test_rows_of_a_side_table_that_repeat_or_have_no_name(vendor):
    rows = pd.DataFrame(
        {"symbol": ["A", "A", "B", ""], "date": ["2023-01-03", "2023-01-03", "2023-01-03", "2023-01-03"]}
    )
    checkup = check_folder(vendor("weights.csv", rows))
    assert names(checkup) == {("A", "duplicate key"), ("*", "no symbol")}
    assert checkup.symbol_years == 0
    assert not checkup.usable
    assert list(checkup.lines())[-1].startswith("Not usable: no prices found")


def test_nothing_to_look_at_is_an_error(delivery):
    with pytest.raises(DataError, match="no usable price in 2,800 rows"):
        look(replace(delivery, bars=delivery.bars.assign(close=0.0)))
    with pytest.raises(DataError, match="no column close"):
        look(replace(delivery, bars=delivery.bars.drop(columns="close")))


def test_closes_alone_can_be_looked_at(delivery, damage):
    wrong = damage(damage(delivery, "S07", since(delivery), scale=0.25), "S09", DAY, scale=10)
    bare = replace(wrong, bars=wrong.bars[["symbol", "date", "close"]], execution="next_close")
    assert names(look(bare)) >= {("S09", "decimal shift")}


# What the look at a whole history knows and the evening does not ask by the same name, and why.
AT_INGEST = {"refused", "conflict", "future", "price", "volume", "range", "reserved", "holiday", "duplicate"}
ANOTHER_NAME = {
    "last session": "the check of the last evening itself",
    "thin session": "coverage",
    "frozen session": "frozen feed",
    "unadjusted split": "suspected split",  # and "small split"
    "misapplied split": "suspected split",  # the adjusted move shows it
    "decimal shift": "jump",  # tenfold; a hundredfold is refused at the door
    "symbol collision": "jump",  # that it is another instrument, the turnover of the days after tells
}
NEEDS_MORE = {
    "another company": "a second source",
    "disagreement": "a second source",
    "recycled ticker": "a past membership: nothing of the last session",
    "late history": "a past membership: nothing of the last session",
    "no history": "members without any bar, which are in no table of the market",
    "weekend bars": "rows that the door has left out",
    "open": "tells of fills at this open, not of the last close",
    "duplicate key": "side tables, as they are in the files",
    "no symbol": "side tables, as they are in the files",
    "early report": "tells of a report, not of a price",
    "late report": "tells of a report, not of a price",
    "repeated report": "tells of a report, not of a price",
    "amended report": "tells of a report, not of a price",
}


def test_what_can_be_judged_at_once_is_judged_each_evening():
    """A new rule here must be one of the evening, or say why it cannot."""
    assert {name for rule, name in ANOTHER_NAME.items() if rule != "last session"} <= set(RULES)
    assert set(CHECKS) - set(RULES) == AT_INGEST | set(ANOTHER_NAME) | set(NEEDS_MORE)
