"""A hundred thousand bars that no vendor should send: each is accepted, excluded with a reason, or refused whole."""

import datetime
import tracemalloc
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from openbook.common.errors import DataError
from openbook.market import calendar
from openbook.market.checks.history import examine
from openbook.market.checks.history_thresholds import CHECKS
from openbook.market.ingest import INGEST_RULES, admit, copies, read_bars
from openbook.market.tables import Delivery

TODAY = "2023-06-30"
N_BARS, N_BATCHES = 1000, 110
PRICES = ("open", "high", "low", "close")
HOSTILE = [np.nan, np.inf, -np.inf, 0.0, -0.0, -1.0, 1e308, -1e308, 1.7976931348623157e308, 5e-324, 1e-300, 1e17, 2**63]
NAMES = [
    "NA",
    "TRUE",
    "1E5",
    "BRK.B",
    "nan",
    "None",
    "0123",
    "CASH",
    "Ä",
    "日本",
    "אב",
    "A\u200bB",
    "🦄",
    "A\nB",
    "A\x00",
    "=1+1",
    "x" * 500,
]


def _names(rng) -> list[str]:
    """A few tickers, some of them of any unicode."""
    letters = rng.integers(33, 0x10FFFF, (3, 4))
    names = [f"S{i}" for i in range(30)]
    strange = ["".join(chr(c) for c in row if not 0xD800 <= c <= 0xDFFF) for row in letters]
    return [*rng.choice(NAMES, 4, replace=False), *(name for name in strange if name.strip()), *names]


def _days(rng, n: int) -> np.ndarray:
    """Mostly sessions of a year, some weekends and holidays, some of the year 1, of 1959 and of 1960."""
    sessions = calendar.sessions("2022-07-01", TODAY).to_numpy().astype("datetime64[D]")
    days = rng.choice(sessions, n)
    odd = rng.random(n) < 0.05
    days[odd] = np.datetime64("2022-07-01") + rng.integers(0, 364, odd.sum())
    old = rng.random(n) < 0.01
    return np.where(
        old, rng.choice(np.array(["0001-01-01", "1066-10-14", "1959-12-31", "1969-12-31"], "M8[D]"), n), days
    )


def fuzzed(seed: int) -> Delivery:
    """Bars around plausible prices, one in five of which has something hostile in it."""
    rng = np.random.default_rng(seed)
    close = np.exp(rng.normal(3, 0.3, N_BARS))
    bars = {
        "open": close,
        "high": close * 1.01,
        "low": close * 0.99,
        "close": close,
        "volume": rng.uniform(0, 1e6, N_BARS),
    }
    bars = {name: values.copy() for name, values in bars.items()}
    for values in bars.values():
        hit = rng.random(N_BARS) < 0.04
        values[hit] = rng.choice(HOSTILE, hit.sum())
    names = _names(rng)
    if seed % 9:  # a delivery with a name that cannot be printed is refused as a whole
        names = [name for name in names if name.strip().isprintable()]
    symbol = rng.choice(names, N_BARS)
    table = pd.DataFrame({"symbol": symbol, "date": _days(rng, N_BARS).astype("M8[us]"), **bars}).astype(
        {"symbol": "str"}
    )
    if seed % 8:  # two bars of one symbol and day differ, so ingest would refuse the whole delivery
        table = table.drop_duplicates(["symbol", "date"])
    table = pd.concat([table, table.sample(min(5, len(table)), random_state=seed)], ignore_index=True)
    if seed % 16 == 15:  # dates of tomorrow and of the year 9999
        table.loc[0, "date"] = pd.Timestamp(["2023-07-03", "9999-12-31"][seed // 16 % 2])
    return Delivery(bars=_retyped(table, rng), name=f"fuzz {seed}", adjusted=bool(seed % 2))


def _retyped(table: pd.DataFrame, rng) -> pd.DataFrame:
    """The same numbers in another type, zone, order or set of columns."""
    field = str(rng.choice(["open", "high", "low", "volume"]))
    choice = rng.integers(8)
    if choice == 0:
        return table.drop(columns=field)
    if choice == 1:
        return table.astype({"symbol": "category", "low": "float32"})
    if choice == 2:
        return table.assign(date=table["date"].dt.tz_localize("Asia/Tokyo"))
    if choice == 3:
        return table.assign(volume=pd.array(table["volume"], dtype="Float64"))
    if choice == 4:
        return table.assign(close=table["close"].astype(object))
    return table.sample(frac=1, random_state=0) if choice == 5 else table


def _is_empty(bars: pd.DataFrame) -> pd.Series:
    """Rows without any price are padding, no bars."""
    return bars[[name for name in PRICES if name in bars]].astype("float64").isna().all(axis=1)


def test_a_hundred_thousand_fuzzed_bars_are_accepted_excluded_or_refused():
    """What went in is what came out: no bar disappears without a line that says why."""
    sent = accepted = excluded = refused_whole = empty = 0
    rules = set()
    for seed in range(N_BATCHES):
        delivery = fuzzed(seed)
        n, padding = len(delivery.bars), int(_is_empty(delivery.bars).sum())
        sent += n
        try:
            market, refused = admit(delivery, today=TODAY)
        except DataError:
            refused_whole += n
            continue
        there = int(market.close.notna().sum().sum())
        assert set(refused["rule"]) <= set(INGEST_RULES)
        assert refused["detail"].str.len().gt(0).all()
        assert there + len(refused) + padding == n, delivery.name
        _is_sound(market)
        accepted, excluded, empty = accepted + there, excluded + len(refused), empty + padding
        rules |= set(refused["rule"])
    assert sent >= 1e5
    assert accepted + excluded + empty + refused_whole == sent
    assert rules == {"reserved", "holiday", "duplicate", "price", "volume", "range", "level"}
    assert min(accepted, excluded, refused_whole) > 0.05 * sent


def _is_sound(market) -> None:
    """Whatever is inside can be computed with."""
    for name in (*PRICES, "volume"):
        table = getattr(market, name)
        if table is not None:
            values = table.to_numpy()
            known = values[~np.isnan(values)]
            assert np.isfinite(known).all()
            assert (known >= 0 if name == "volume" else known > 0).all()
    assert "CASH" not in market.symbols
    assert market.dates.isin(calendar.sessions("1960-01-01", TODAY)).all()


def test_the_look_at_a_whole_history_survives_the_same():
    for seed in range(1, N_BATCHES, 11):
        try:
            checkup = examine(fuzzed(seed), today=TODAY)
        except DataError:
            continue
        assert set(checkup.findings["rule"]) <= set(CHECKS)
        assert list(checkup.lines())


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("close", "much", "close"),
        ("close", True, "close"),
        ("close", 1 + 2j, "close"),
        ("close", [[1.0]], "close"),
        ("volume", {"a": 1}, "volume"),
        ("volume", datetime.timedelta(1), "volume"),
        ("volume", pd.Timestamp("2023-01-03"), "volume"),
        ("date", "2023-06-29", "date"),
        ("date", 20230629, "date"),
        ("date", datetime.date(2023, 6, 29), "date"),
        ("date", pd.NaT, "date"),
        ("date", None, "date"),
        ("symbol", 7, "symbol"),
        ("symbol", None, "symbol"),
        ("symbol", np.nan, "symbol"),
        ("symbol", b"A", "symbol"),
        ("symbol", " ", "symbol"),
        ("symbol", "\ud800", "symbol"),
        ("symbol", ("A", "B"), "symbol"),
        ("symbol", ["A"], "symbol"),
    ],
    ids=str,
)
def test_a_column_of_the_wrong_type_is_refused_by_name(delivery, column, value, told):
    wrong = delivery.bars.head(50).assign(
        **{column: pd.Series([value] * 50, dtype=None if column == "close" else object)}
    )
    with pytest.raises(DataError, match=told):
        admit(replace(delivery, bars=wrong), today=TODAY)


@pytest.mark.parametrize("column", ["symbol", "date", "close", "volume"])
def test_a_column_that_is_there_twice_is_refused(delivery, column):
    twice = pd.concat([delivery.bars, delivery.bars[[column]]], axis=1)
    with pytest.raises(DataError, match=column):
        admit(replace(delivery, bars=twice), today=TODAY)


def test_numbers_of_other_types_are_the_same_numbers(delivery):
    exact = delivery.bars.assign(close=[Decimal(repr(float(value))) for value in delivery.bars["close"]])
    market, _ = admit(replace(delivery, bars=exact), today=TODAY)
    pd.testing.assert_frame_equal(market.close, admit(delivery, today=TODAY)[0].close)
    nullable = delivery.bars.assign(volume=delivery.bars["volume"].astype("Int64").mask(delivery.bars.index == 3))
    market, refused = admit(replace(delivery, bars=nullable), today=TODAY)
    assert refused.empty
    assert market.volume.isna().sum().sum() == 1


def test_one_bar_of_1960_among_many_symbols_costs_no_memory():
    """A key for each pair of day and symbol would need 24,000 days × 5,000 symbols here."""
    days = calendar.sessions("2023-06-29", TODAY)
    bars = pd.DataFrame(
        {"symbol": np.repeat([f"S{i}" for i in range(5000)], 2), "date": np.tile(days, 5000), "close": 9.0}
    )
    delivery = Delivery(bars=bars.astype({"symbol": "str"}), name="many", execution="next_close")
    old = bars.head(1).assign(date=pd.Timestamp("1960-01-05"))
    read = read_bars(replace(delivery, bars=pd.concat([delivery.bars, old])))
    tracemalloc.start()
    again, other = copies(read)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not (again | other).any()
    assert peak < 20e6
