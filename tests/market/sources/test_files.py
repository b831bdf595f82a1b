"""Vendor files of every shape, and what is said when they are not what the settings promise."""

import fsspec
import fsspec.config
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from openbook.common.errors import DataError
from openbook.market.ingest import admit
from openbook.market.sources import FilesSource, fetch
from openbook.market.sources.reading import SideTable
from support.real_histories import all_members, as_traded, raw_quotes, survivors

ODD_TICKERS = ["1E5", "BRK.B", "NA", "NULL", "TRUE", "nan"]
DATES = ["2024-01-02", "2024-01-03"]


def bars(symbols=("AAA", "BBB")) -> pd.DataFrame:
    """Two sessions of OHLCV for each symbol."""
    table = pd.DataFrame([(s, d) for d in DATES for s in symbols], columns=["symbol", "date"])
    step = np.arange(len(table), dtype=float)
    return table.assign(open=10 + step, high=12 + step, low=9 + step, close=11 + step, volume=1000 + step)


def write_csv(path, table: pd.DataFrame, **settings) -> FilesSource:
    """The table as CSV, and the source that reads it."""
    table.to_csv(path, index=False)
    return FilesSource(path=str(path), **({"prices": "raw"} | settings))


# --- what goes in comes out -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet"])
def test_d14_odd_tickers_round_trip(tmp_path, suffix):
    path, table = tmp_path / f"bars.{suffix}", bars(ODD_TICKERS)
    table.to_parquet(path) if suffix == "parquet" else table.to_csv(path, index=False)
    sectors = pd.DataFrame({"symbol": ODD_TICKERS, "sector": "NA"})
    sectors.to_csv(tmp_path / "sectors.csv", index=False)
    source = FilesSource(path=str(path), prices="raw", sectors={"path": str(tmp_path / "sectors.csv")})
    delivery = fetch(source)
    assert delivery.bars["symbol"].tolist() == table["symbol"].tolist()
    assert delivery.bars["symbol"].dtype == "str"
    assert delivery.sectors.index.tolist() == ODD_TICKERS
    assert delivery.sectors.unique().tolist() == ["NA"]
    np.testing.assert_array_equal(delivery.bars[["open", "close", "volume"]], table[["open", "close", "volume"]])


def test_missing_numbers_are_nan_and_text_numbers_are_refused(tmp_path):
    table = bars().astype({"close": "object"})
    table.loc[0, "close"] = "NA"
    assert np.isnan(fetch(write_csv(tmp_path / "a.csv", table)).bars.loc[0, "close"])
    table.loc[0, "close"] = "12,5"
    with pytest.raises(DataError, match=r"b\.csv"):
        fetch(write_csv(tmp_path / "b.csv", table))


def write_text(path, text: str) -> FilesSource:
    path.write_text(text)
    return FilesSource(path=str(path), prices="raw")


@pytest.mark.parametrize(
    "text",
    [
        'symbol,date,close,volume\nA,2024-01-02,"106,04",1000\nA,2024-01-03,"1,500",\n',
        "symbol;date;close;volume\nA;2024-01-02;106,04;1000\nA;2024-01-03;1,500;NA\n",
        "symbol;date;close;volume\nA;2024-01-02;106.04;1000\nA;2024-01-03;1.5;\n",
    ],
)
def test_decimal_commas_that_can_be_nothing_else_are_read(tmp_path, text):
    """106,04 has two digits after its comma, so the comma is no mark between thousands, and 1,500 is 1.5."""
    read = fetch(write_text(tmp_path / "a.csv", text)).bars
    assert read["close"].tolist() == [106.04, 1.5]
    assert read["volume"].iloc[0] == 1000.0
    assert np.isnan(read["volume"].iloc[1])


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (("1,500", "2,250"), "'1,500': ambiguous comma"),
        (
            ("106,04", "106.10"),
            "'106,04' and '106.10': mixed commas and points; write every number with a decimal point",
        ),
        (("1,23,456", "1"), "'1,23,456', which is not a number with a decimal point"),
        (("12€", "1"), "'12€': prices are read in USD; convert them"),
        (("halted", "10"), "'halted', which is not a number"),
    ],
)
def test_numbers_that_cannot_be_read_are_named(tmp_path, values, told):
    rows = "".join(f'A,2024-01-0{2 + i},"{value}"\n' for i, value in enumerate(values))
    with pytest.raises(DataError) as caught:
        fetch(write_text(tmp_path / "a.csv", f"symbol,date,close\n{rows}"))
    assert f"column 'close' of {tmp_path / 'a.csv'} holds {told}" in str(caught.value)
    assert "damaged" not in str(caught.value)


def test_a_decimal_comma_below_one_is_no_thousand(tmp_path):
    text = 'symbol,date,close\nA,2024-01-02,"0,125"\nA,2024-01-03,"1,250"\n'
    assert fetch(write_text(tmp_path / "a.csv", text)).bars["close"].tolist() == [0.125, 1.25]


def test_blanks_around_names_are_taken_off_in_every_table(tmp_path):
    (tmp_path / "sectors.csv").write_text("symbol,sector\nA , Energy\n B,Utilities \n")
    text = "symbol,date,close\nA ,2024-01-02,10\n B,2024-01-02,20\n"
    source = write_text(tmp_path / "a.csv", text)
    found = fetch(source.model_copy(update={"sectors": SideTable(path=str(tmp_path / "sectors.csv"))}))
    assert found.bars["symbol"].tolist() == ["A", "B"]
    assert found.sectors.to_dict() == {"A": "Energy", "B": "Utilities"}
    wide = tmp_path / "wide.csv"
    wide.write_text("date,A ,A\n2024-01-02,10,11\n")
    with pytest.raises(DataError, match="two columns A, with and without blanks"):
        fetch(FilesSource(path=str(wide), prices="raw", layout="wide"))


def test_column_map_units_and_subset(tmp_path):
    table = bars().rename(columns={"symbol": "Ticker", "date": "Day", "close": "Last", "volume": "Vol"})
    source = write_csv(
        tmp_path / "a.csv",
        table,
        columns={"symbol": "Ticker", "date": "Day", "close": "Last", "volume": "Vol"},
        price_unit="cents",
        volume_unit="thousands",
        symbols=("BBB",),
    )
    out = fetch(source).bars
    assert out["symbol"].tolist() == ["BBB", "BBB"]
    assert out["close"].tolist() == pytest.approx([0.12, 0.14])
    assert out["open"].tolist() == pytest.approx([0.11, 0.13])
    assert out["volume"].tolist() == [1_001_000.0, 1_003_000.0]


def test_float32_and_categories_become_float64_and_str(tmp_path):
    table = bars().astype({"close": "float32", "symbol": "category", "volume": "int64"})
    table["date"] = pd.to_datetime(table["date"])
    table.to_parquet(tmp_path / "a.parquet")
    out = fetch(FilesSource(path=str(tmp_path / "a.parquet"), prices="raw")).bars
    assert out.dtypes.astype(str).to_dict() == {
        "symbol": "str",
        "date": "datetime64[us]",
        "open": "float64",
        "high": "float64",
        "low": "float64",
        "close": "float64",
        "volume": "float64",
    }


def test_a_folder_is_read_file_by_file(tmp_path):
    table = bars()
    table.iloc[:2].to_csv(tmp_path / "2024-01-02.csv", index=False)
    table.iloc[2:].to_parquet(tmp_path / "2024-01-03.parquet")
    (tmp_path / "README.txt").write_text("not data")
    out = fetch(FilesSource(path=str(tmp_path), prices="raw")).bars
    assert out["close"].tolist() == table["close"].tolist()


class Guarded(MemoryFileSystem):
    """A file system that wants a login."""

    protocol = "guarded"
    cachable = False

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + path.removeprefix("guarded://").lstrip("/")

    def __init__(self, *args, token="", **options):
        super().__init__(*args, **options)
        if token != "s3cr3t-t0ken":
            raise PermissionError("no valid token")


@pytest.mark.parametrize("where", ["environment", "file"])
def test_x08_a_source_logs_in_with_what_the_environment_or_the_file_of_secrets_has(tmp_path, monkeypatch, where):
    fsspec.register_implementation("guarded", Guarded, clobber=True)
    monkeypatch.setattr(fsspec.config, "conf", {})
    fs = Guarded(token="s3cr3t-t0ken")
    fs.pipe(fs._strip_protocol("guarded://bars.csv"), b"symbol,date,close\nA,2024-06-24,10\n")
    source = FilesSource(path="guarded://bars.csv", prices="raw")
    with pytest.raises(PermissionError):
        fetch(source)
    secrets = tmp_path / "secrets"
    secrets.write_text("FSSPEC_GUARDED_TOKEN=s3cr3t-t0ken\n")
    secrets.chmod(0o600)
    name, value = (
        ("FSSPEC_GUARDED_TOKEN", "s3cr3t-t0ken") if where == "environment" else ("OPENBOOK_SECRETS", str(secrets))
    )
    monkeypatch.setenv(name, value)
    assert len(fetch(source).bars) == 1


def test_a_url_is_read_through_fsspec():
    fs = fsspec.filesystem("memory")
    fs.pipe("/vendor/bars.csv", bars().to_csv(index=False).encode())
    for path in ("memory://vendor/bars.csv", "memory://vendor"):
        assert len(fetch(FilesSource(path=path, prices="raw")).bars) == 4


@pytest.mark.parametrize("as_folder", [False, True])
def test_wide_layout(tmp_path, as_folder):
    close = pd.DataFrame({"date": DATES, "NA": [1.0, 2.0], "BRK.B": [np.nan, 4.0]})
    path = tmp_path / "wide"
    path.mkdir()
    close.to_csv(path / "Close.csv", index=False)
    settings = {"path": str(path / "Close.csv"), "layout": "wide", "prices": "adjusted"}
    if as_folder:
        close.to_csv(path / "open.csv", index=False)
        settings |= {"path": str(path), "columns": {"close": "Close"}}
    delivery = fetch(FilesSource(**settings))
    out = delivery.bars.pivot(index="date", columns="symbol", values="close")
    assert out["NA"].tolist() == [1.0, 2.0]
    assert out["BRK.B"].isna().tolist() == [True, False]
    assert delivery.execution == ("next_open" if as_folder else "next_close")


def test_text_dates_with_zone_offsets_keep_their_day(tmp_path):
    table = bars(("AAA",)).assign(date=["2024-03-08 00:00:00-05:00", "2024-03-11 00:00:00-04:00"])
    out = fetch(write_csv(tmp_path / "a.csv", table)).bars
    assert out["date"].tolist() == [pd.Timestamp("2024-03-08"), pd.Timestamp("2024-03-11")]


def test_zoned_timestamps_keep_the_day_of_their_own_clock(tmp_path):
    table = bars(("AAA",))
    table["date"] = pd.to_datetime(table["date"]).dt.tz_localize("America/New_York")
    table.to_parquet(tmp_path / "a.parquet")
    out = fetch(FilesSource(path=str(tmp_path / "a.parquet"), prices="raw")).bars
    assert out["date"].tolist() == [pd.Timestamp("2024-01-02"), pd.Timestamp("2024-01-03")]


def test_date_format(tmp_path):
    table = bars(("AAA",)).assign(date=["1/2/2024", "1/3/2024"])
    with pytest.raises(DataError, match=r"column 'date' of .*a\.csv holds '1/2/2024'.*set date_format"):
        fetch(write_csv(tmp_path / "a.csv", table))
    out = fetch(write_csv(tmp_path / "a.csv", table, date_format="%m/%d/%Y")).bars
    assert out["date"].iloc[1] == pd.Timestamp("2024-01-03")


# --- tables beside the bars -------------------------------------------------------------------------------------------


def test_raw_prices_with_action_columns(tmp_path):
    table = bars().assign(split_ratio=[0.0, 1.0, 4.0, 0.0], dividends=[0.0, 0.25, 0.0, np.nan])
    source = write_csv(tmp_path / "a.csv", table, columns={"split": "split_ratio", "dividend": "dividends"})
    delivery = fetch(source)
    assert delivery.actions.to_numpy().tolist() == [
        [pd.Timestamp("2024-01-02"), "BBB", "dividend", 0.25],
        [pd.Timestamp("2024-01-03"), "AAA", "split", 4.0],
    ]
    assert list(delivery.bars.columns) == ["symbol", "date", "open", "high", "low", "close", "volume"]


@pytest.mark.parametrize("mapped", [False, True])
def test_adjusted_prices_leave_action_columns_unused_and_say_so(tmp_path, mapped):
    table = bars().assign(split_ratio=4.0, dividends=1.0)
    columns = {"split": "split_ratio", "dividend": "dividends"} if mapped else {}
    delivery = fetch(write_csv(tmp_path / "a.csv", table, prices="adjusted", columns=columns))
    assert delivery.actions is None
    assert delivery.adjusted
    assert "Columns dividends, split_ratio were not applied: the prices are already adjusted." in delivery.notes


def test_raw_prices_without_actions_say_so(tmp_path):
    assert "without corporate actions" in fetch(write_csv(tmp_path / "a.csv", bars())).notes[0]


def test_action_table(tmp_path):
    actions = pd.DataFrame(
        {"date": DATES, "symbol": ["BBB", "AAA"], "kind": ["dividend", "delisting"], "value": [0.1, -1.0]}
    )
    actions.to_csv(tmp_path / "actions.csv", index=False)
    source = write_csv(tmp_path / "a.csv", bars(), actions={"path": str(tmp_path / "actions.csv")})
    assert fetch(source).actions["kind"].tolist() == ["dividend", "delisting"]
    actions.assign(kind="spin-off").to_csv(tmp_path / "actions.csv", index=False)
    with pytest.raises(DataError, match="'spin-off'; known are split, dividend, delisting"):
        fetch(source)


def test_sectors_members_and_index(tmp_path):
    pd.DataFrame({"Symbol": ["B.B", "AAA"], "Group": ["Energy", "Utilities"]}).to_csv(tmp_path / "s.csv", index=False)
    (tmp_path / "m.csv").write_text("ticker,start,end\nAAA,2000-01-03,\nNA,1999-01-04,2005-06-30\n")
    (tmp_path / "i.csv").write_text("symbol,date,close\nX,2024-01-03,11\nX,2024-01-02,10\nY,2024-01-02,5\n")
    source = write_csv(
        tmp_path / "bars.csv",
        bars(),
        sectors={
            "path": str(tmp_path / "s.csv"),
            "columns": {"symbol": "Symbol", "sector": "Group"},
            "rename": {"B.B": "BBB"},
        },
        members={"path": str(tmp_path / "m.csv"), "columns": {"symbol": "ticker"}},
        index={"path": str(tmp_path / "i.csv"), "symbol": "X"},
    )
    delivery = fetch(source)
    assert delivery.sectors.to_dict() == {"AAA": "Utilities", "BBB": "Energy"}
    assert delivery.members["symbol"].tolist() == ["AAA", "NA"]
    assert delivery.members["end"].isna().tolist() == [True, False]
    assert "1 of 2 past and present members have no bars." in delivery.notes
    assert delivery.index.to_dict() == {pd.Timestamp("2024-01-02"): 10.0, pd.Timestamp("2024-01-03"): 11.0}


def test_reports_are_usable_from_the_session_after_they_were_filed(tmp_path):
    (tmp_path / "r.csv").write_text(
        "symbol,filed,period_end,ni,rev\nAAA,2024-01-02,2023-12-31,5,50\nBBB,2024-01-03,2023-12-31,6,60\n"
        "BBB,2023-05-06,2023-03-31,,7\n"
    )
    source = write_csv(
        tmp_path / "bars.csv",
        bars(),
        fundamentals={
            "path": str(tmp_path / "r.csv"),
            "columns": {"filed": "filed"},
            "items": {"earnings": "ni", "sales": "rev"},
        },
    )
    table = fetch(source).fundamentals
    assert table[["symbol", "available", "item", "value"]].to_numpy().tolist() == [
        ["BBB", pd.Timestamp("2024-01-02"), "sales", 7.0],
        ["AAA", pd.Timestamp("2024-01-03"), "earnings", 5.0],
        ["AAA", pd.Timestamp("2024-01-03"), "sales", 50.0],
    ]


def test_long_reports_and_market_caps(tmp_path):
    (tmp_path / "r.csv").write_text("symbol,available,period_end,item,value\nAAA,2024-01-02,2023-12-31,book,9\n")
    table = bars().assign(market_cap=[1e9, 2e9, 3e9, 4e9])
    source = write_csv(
        tmp_path / "a.csv",
        table,
        columns={"market_cap": "market_cap"},
        fundamentals={"path": str(tmp_path / "r.csv")},
    )
    delivery = fetch(source)
    assert delivery.fundamentals["value"].tolist() == [9.0]
    assert delivery.market_cap.loc["2024-01-03", "BBB"] == 4e9


# --- what is said when it is wrong ------------------------------------------------------------------------------------


def test_missing_file_and_missing_column_name_the_way_out(tmp_path):
    with pytest.raises(DataError, match=r"no file or folder at .*nowhere\.csv"):
        fetch(FilesSource(path=str(tmp_path / "nowhere.csv"), prices="raw"))
    source = write_csv(tmp_path / "a.csv", bars().rename(columns={"close": "Last"}))
    with pytest.raises(DataError, match=r"a\.csv has no column 'close'; it has 'symbol', .*'Last'"):
        fetch(source)
    with pytest.raises(DataError, match=r"no column 'Px' \(for close\)"):
        fetch(source.model_copy(update={"columns": {"close": "Px"}}))
    with pytest.raises(DataError, match="no bars for ZZZ"):
        fetch(write_csv(tmp_path / "b.csv", bars(), symbols=("AAA", "ZZZ")))
    (tmp_path / "empty").mkdir()
    (tmp_path / "bars.xls").write_text("")
    with pytest.raises(DataError, match=r"ends with \.parquet"):
        fetch(FilesSource(path=str(tmp_path / "empty"), prices="raw"))
    with pytest.raises(DataError, match="unknown file type of"):
        fetch(FilesSource(path=str(tmp_path / "bars.xls"), prices="raw"))
    with pytest.raises(DataError, match="cannot read nosuch"):
        fetch(FilesSource(path="nosuch://bucket/bars.csv", prices="raw"))


@pytest.mark.parametrize("damage", ["cut", "flip", "text"])
def test_d12_damaged_parquet_is_refused(tmp_path, damage):
    path = tmp_path / "a.parquet"
    table = bars(tuple(f"S{i}" for i in range(500)))
    pq.write_table(pa.Table.from_pandas(table), path, write_page_checksum=True, compression="none")
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "flip":
        content[len(content) // 4] ^= 1
    else:
        content = b"symbol,date,close\n"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.parquet is damaged"):
        fetch(FilesSource(path=str(path), prices="raw"))


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_damaged_gzip_is_refused(tmp_path, damage):
    source = write_csv(tmp_path / "a.csv.gz", bars(tuple(f"S{i}" for i in range(200))))
    content = bytearray((tmp_path / "a.csv.gz").read_bytes())
    if damage == "cut":
        content = content[:-12]
    else:
        content[len(content) // 2] ^= 0xFF
    (tmp_path / "a.csv.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.csv\.gz"):
        fetch(source)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [("symbol", "", "'symbol' .* is empty in 1 rows"), ("date", "", "no date in 1 rows")],
)
def test_a_bar_without_symbol_or_date_is_refused(tmp_path, column, value, message):
    table = bars()
    table.loc[2, column] = value
    with pytest.raises(DataError, match=message):
        fetch(write_csv(tmp_path / "a.csv", table))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("sectors", "symbol,sector\nAAA,Energy\nAAA,Utilities\n", "AAA more than one sector"),
        ("index", "date,close\n2024-01-02,1\n2024-01-02,2\n", "a date twice"),
        ("members", "symbol,start\nAAA,2000-01-03\n", "no column 'end'"),
    ],
)
def test_side_tables_are_checked(tmp_path, name, text, message):
    (tmp_path / "side.csv").write_text(text)
    source = write_csv(tmp_path / "a.csv", bars(), **{name: {"path": str(tmp_path / "side.csv")}})
    with pytest.raises(DataError, match=message):
        fetch(source)


def test_unknown_index_and_unused_side_column(tmp_path):
    (tmp_path / "i.csv").write_text("symbol,date,close\nX,2024-01-03,11\n")
    with pytest.raises(DataError, match="has no Z; it has X"):
        fetch(write_csv(tmp_path / "a.csv", bars(), index={"path": str(tmp_path / "i.csv"), "symbol": "Z"}))
    side = {"path": str(tmp_path / "i.csv"), "columns": {"clsoe": "close"}}
    with pytest.raises(DataError, match="unknown fields in `columns`: clsoe"):
        fetch(write_csv(tmp_path / "b.csv", bars(), index=side))


def test_x08_credentials_of_a_url_are_not_repeated():
    with pytest.raises(DataError) as caught:
        fetch(FilesSource(path="nosuch://user:secret@host/bars.csv?token=hush", prices="raw"))
    assert "secret" not in str(caught.value)
    assert "hush" not in str(caught.value)


# --- real data --------------------------------------------------------------------------------------------------------


def test_496_real_stocks(shared_data):
    side = shared_data / "membership"
    rename = {"BRK.B": "BRK-B", "BF.B": "BF-B"}
    source = FilesSource(
        path=str(shared_data / "sp500_2010_2023" / "ohlcv.parquet"),
        prices="adjusted",
        sectors={
            "path": str(side / "sp500_gics_current.csv"),
            "columns": {"symbol": "Symbol", "sector": "GICS Sector"},
            "rename": rename,
        },
        members={
            "path": str(side / "sp500_intervals.csv"),
            "columns": {"symbol": "ticker", "start": "start_date", "end": "end_date"},
            "rename": rename,
        },
        index={"path": str(shared_data / "indexes" / "ohlcv.parquet"), "symbol": "^GSPC"},
    )
    delivery = fetch(source)
    assert delivery.name == "sp500_2010_2023/ohlcv.parquet"
    assert delivery.bars.shape == (1_641_185, 7)
    assert delivery.bars["symbol"].nunique() == 496
    assert (delivery.bars.dtypes.iloc[2:] == "float64").all()
    assert delivery.actions is None
    assert len(set(delivery.bars["symbol"]) - set(delivery.sectors.index)) == 1
    assert delivery.index["2023-12-29"] == pytest.approx(4769.83, abs=0.01)
    assert "Columns dividends, split_ratio were not applied: the prices are already adjusted." in delivery.notes


def test_point_in_time_set_is_raw(shared_data):
    folder = shared_data / "us_2015_2017_point_in_time"
    source = FilesSource(path=str(folder / "ohlcv.parquet"), prices="raw", symbols=("A", "AAPL", "NE"))
    delivery = fetch(source)
    assert not delivery.adjusted
    assert delivery.bars["symbol"].nunique() == 3
    assert "without corporate actions" in delivery.notes[0]


def test_a_bar_symbol_that_means_something_else_here_is_renamed(tmp_path):
    source = write_csv(tmp_path / "bars.csv", bars(("AAA", "CASH")), rename={"CASH": "CASH.O"}, symbols=("CASH.O",))
    market, refused = admit(fetch(source))
    assert list(market.symbols) == ["CASH.O"]
    assert refused.empty


@pytest.mark.long
@pytest.mark.parametrize(
    ("settings", "shape", "refused", "splits", "dividends"),
    [
        (survivors, (3522, 496), {}, 0, 0),
        (as_traded, (3522, 496), {}, 205, 19_731),
        (all_members, (1282, 640), {"holiday": 2}, 0, 0),
        (raw_quotes, (513, 7072), {"holiday": 170, "price": 10, "range": 1}, 337, 29_928),
    ],
)
def test_real_sets_load_by_settings_alone(shared_data, settings, shape, refused, splits, dividends):
    market, out = admit(fetch(FilesSource(**settings(shared_data))))
    assert market.close.shape == shape
    count = out["rule"].value_counts()
    assert {rule: count[rule] for rule in ("holiday", "price", "range") if rule in count} == refused
    kinds = market.actions["kind"].value_counts()
    assert (kinds.get("split", 0), kinds.get("dividend", 0)) == (splits, dividends)
    assert market.index is not None
