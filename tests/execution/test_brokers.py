"""What goes to a broker, against the published formats; and what comes back: believed whole, or refused whole."""

import csv
import io
import json

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbook.common.errors import BookError
from openbook.execution.brokers import (
    AUCTIONS,
    FILENAMES,
    FORMATS,
    FORMULA,
    NEUTRALIZED,
    alpaca_json,
    generic_csv,
    ibkr_basket,
    parse_fills,
    parse_statement,
)
from openbook.market.tables import EXECUTIONS

HEADER = "fill_id,order_id,shares,price,commission,date"
GOOD = "7f3a,2024-06-10-AAPL,100,193.12,1.05,2024-06-11"
# "Manually Create a Basket File", TWS Users' Guide: the example of a market order.
PUBLISHED_BASKET = """Action,Quantity,Symbol,SecType,Exchange,Currency,TimeInForce,OrderType
BUY,100,IBM,STK,SMART/ARCA,USD,DAY,MKT
BUY,100,GE,STK,SMART/ARCA,USD,DAY,MKT
"""
# "Create an Order", Alpaca Trading API: the request of the example.
PUBLISHED_REQUEST = {"symbol": "AAPL", "qty": "2", "side": "buy", "type": "limit", "time_in_force": "gtc"}


def make_orders(*rows) -> pd.DataFrame:
    """Orders of (symbol, shares, price), decided on 10 June 2024 for the 11th."""
    table = pd.DataFrame(rows, columns=["symbol", "shares", "price"])
    return table.assign(order_id="2024-06-10-" + table["symbol"].astype("str"), session="2024-06-11")


def cells(data: bytes) -> list[list[str]]:
    """A CSV as its reader sees it."""
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


def fills(*lines: str, header: str = HEADER) -> bytes:
    """A file of fills."""
    return "".join(f"{line}\n" for line in (header, *lines)).encode()


def fill_line(**changed: str) -> str:
    """The good line with some cells changed."""
    row = dict(zip(HEADER.split(","), GOOD.split(","), strict=True)) | changed
    file = io.StringIO()
    csv.writer(file).writerow(row.values())
    return file.getvalue().strip("\r\n")


# ---- to the broker ----

OPEN, CLOSE = "next_open", "next_close"


def test_orders_that_execute_at_a_close_go_to_the_closing_auction():
    """IBKR's MOC has no time in force of its own (DAY); Alpaca's is cls."""
    orders = make_orders(("AAPL", 12, 193.12))
    generic, ibkr = (dict(zip(*cells(FORMATS[form](orders, CLOSE)), strict=True)) for form in ("generic", "ibkr"))
    assert (generic["order_type"], generic["time_in_force"]) == ("MARKET", "CLS")
    assert (ibkr["OrderType"], ibkr["TimeInForce"]) == ("MOC", "DAY")
    (alpaca,) = json.loads(alpaca_json(orders, CLOSE))
    assert (alpaca["type"], alpaca["time_in_force"]) == ("market", "cls")
    assert set(AUCTIONS) == set(EXECUTIONS)  # whatever a market may say has an auction


def test_generic_csv_is_what_it_says():
    orders = make_orders(("AAPL", 12, 193.12), ("BRK.B", -3, 411.0))
    assert generic_csv(orders, OPEN).decode() == (
        "order_id,session,symbol,side,shares,order_type,time_in_force,reference_price\r\n"
        "2024-06-10-AAPL,2024-06-11,AAPL,BUY,12,MARKET,OPG,193.12\r\n"
        "2024-06-10-BRK.B,2024-06-11,BRK.B,SELL,3,MARKET,OPG,411\r\n"
    )


def test_published_basket_is_matched_field_by_field():
    """The same two orders differ from the example in what we choose: the auction, the routing, and the tag."""
    published = list(csv.DictReader(io.StringIO(PUBLISHED_BASKET)))
    data = ibkr_basket(make_orders(("IBM", 100, 14.82), ("GE", 100, 18.98)), OPEN).decode()
    ours = list(csv.DictReader(io.StringIO(data, newline="")))
    chosen = {"TimeInForce": "OPG", "Exchange": "SMART"}
    tags = [{"BasketTag": "2024-06-10-IBM"}, {"BasketTag": "2024-06-10-GE"}]
    assert ours == [row | chosen | tag for row, tag in zip(published, tags, strict=True)]
    assert list(ours[0])[:8] == list(published[0])
    assert ", " not in data
    assert " ," not in data


def test_ibkr_writes_a_class_share_with_a_space():
    rows = cells(ibkr_basket(make_orders(("BRK.B", -3, 411.0), ("BF-B", 5, 40.0)), OPEN))
    assert [row[:3] for row in rows[1:]] == [["SELL", "3", "BRK B"], ["BUY", "5", "BF B"]]
    assert [row[-1] for row in rows[1:]] == ["2024-06-10-BRK.B", "2024-06-10-BF-B"]


def test_published_alpaca_request_has_the_same_shape():
    """The fields of the published request, as text; ours names the order too, and has no limit."""
    requests = json.loads(alpaca_json(make_orders(("AAPL", 2, 150.0), ("BRK-B", -3, 411.0), ("BF.B", 1, 40.0)), OPEN))
    ours = {"type": "market", "time_in_force": "opg", "client_order_id": "2024-06-10-AAPL"}
    assert requests[0] == PUBLISHED_REQUEST | ours
    assert requests[1] == requests[0] | {
        "symbol": "BRK.B",
        "qty": "3",
        "side": "sell",
        "client_order_id": "2024-06-10-BRK-B",
    }
    assert requests[2]["symbol"] == "BF.B"


def test_parts_of_a_share_go_into_no_auction():
    """Whole numbers of shares that a book of parts counts leave as such."""
    orders = make_orders(("AAPL", 12.0, 193.12), ("MSFT", -0.25, 411.0))
    assert [row[4] for row in cells(generic_csv(orders, OPEN))[1:]] == ["12", "0.25"]
    for form in ("ibkr", "alpaca"):
        with pytest.raises(
            BookError, match=r"2024-06-10-MSFT is for -0\.25 shares, but auctions take whole shares only"
        ):
            FORMATS[form](orders, OPEN)
    assert cells(ibkr_basket(orders.iloc[:1], OPEN))[1][1] == "12"
    assert json.loads(alpaca_json(orders.iloc[:1], OPEN))[0]["qty"] == "12"


def test_alpaca_refuses_an_id_that_alpaca_would_refuse():
    orders = make_orders(("A" * 117, 1, 1.0))
    assert len(json.loads(alpaca_json(orders, OPEN))[0]["client_order_id"]) == 128
    with pytest.raises(BookError, match="128 characters"):
        alpaca_json(orders.assign(order_id=orders["order_id"] + "A"), OPEN)


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_no_orders_are_a_file_without_orders(form):
    data = FORMATS[form](make_orders(), OPEN)
    assert json.loads(data) == [] if form == "alpaca" else len(cells(data)) == 1
    assert sorted(FILENAMES) == sorted(FORMATS)


@pytest.mark.parametrize("symbol", ["NA", "TRUE", "1E5", "NULL"])
@pytest.mark.parametrize("form", sorted(FORMATS))
def test_a_ticker_that_looks_like_something_else_stays_text(form, symbol):
    assert f"{symbol}".encode() in FORMATS[form](make_orders((symbol, 1, 1.0)), OPEN)


@pytest.mark.parametrize("symbol", ["=cmd|'/c calc'!A0", "+1", "-1", "@SUM(A1)", "\tA", "\rA", "\nA"])
def test_x04_no_exported_text_is_a_formula(symbol):
    """The generic file puts a ' before it; the broker's own shapes have no place for one, and refuse the symbol."""
    orders = make_orders((symbol, -7, 1.0)).assign(order_id=symbol)
    row = cells(generic_csv(orders, OPEN))[1]
    assert row == [f"'{symbol}", "2024-06-11", f"'{symbol}", "SELL", "7", "MARKET", "OPG", "1"]
    for form in ("ibkr", "alpaca"):
        with pytest.raises(BookError, match="not a broker ticker"):
            FORMATS[form](orders, OPEN)


@pytest.mark.parametrize("symbol", ["", " A", "A ", "A  B", "A,B", 'A"', "BRK..B", "BRK.", "ÄPL"])
def test_a_symbol_that_is_no_ticker_does_not_reach_a_broker(symbol):
    with pytest.raises(BookError, match="not a broker ticker"):
        ibkr_basket(make_orders((symbol, 1, 1.0)), OPEN)


@settings(deadline=None)
@given(st.lists(st.tuples(st.text().filter(lambda text: not text.startswith("'")), st.integers(1, 10**9))))
def test_generic_csv_reads_back_whatever_the_texts_are(rows):
    orders = make_orders(*((text, -n, 1.5) for text, n in rows)).assign(order_id=[text for text, _ in rows])
    back = cells(generic_csv(orders, OPEN))[1:]
    assert [NEUTRALIZED.sub("", row[0]) for row in back] == [text for text, _ in rows]
    assert [(row[3], int(row[4])) for row in back] == [("SELL", n) for _, n in rows]
    assert not any(cell.startswith(FORMULA) for row in back for cell in row)


# ---- fills ----


def test_fills_by_hand():
    table = parse_fills(fills(GOOD, "7f3b,2024-06-10-BRK.B,-3,411,0,2024-06-11", "0,x,+1,0.0001,10,2024-02-29"))
    assert list(table.columns) == ["fill_id", "order_id", "shares", "price", "commission_cents", "date"]
    assert table.to_dict("records") == [
        {
            "fill_id": "7f3a",
            "order_id": "2024-06-10-AAPL",
            "shares": 100,
            "price": 193.12,
            "commission_cents": 105,
            "date": "2024-06-11",
        },
        {
            "fill_id": "7f3b",
            "order_id": "2024-06-10-BRK.B",
            "shares": -3,
            "price": 411.0,
            "commission_cents": 0,
            "date": "2024-06-11",
        },
        {
            "fill_id": "0",
            "order_id": "x",
            "shares": 1,
            "price": 0.0001,
            "commission_cents": 1000,
            "date": "2024-02-29",
        },
    ]
    assert table[["shares", "commission_cents"]].dtypes.eq("int64").all()
    assert table["price"].dtype == "float64"
    json.dumps(table.to_dict("records"))


def test_columns_in_any_order_and_the_mark_that_excel_puts_first():
    lines = ["date,price,shares,commission,order_id,fill_id", "2024-06-11,193.12,100,1.05,2024-06-10-AAPL,7f3a", ""]
    data = b"\xef\xbb\xbf" + "\r\n".join(lines).encode()
    pd.testing.assert_frame_equal(parse_fills(data), parse_fills(fills(GOOD)))


@pytest.mark.parametrize("cents", [1, 29, 57, 58, 113, 115, 435, 1001])
def test_commission_is_exact_to_the_cent(cents):
    """0.29, 0.57, 0.58 and 1.13 times 100 are not whole in floating point."""
    line = fill_line(commission=f"{cents // 100}.{cents % 100:02d}")
    assert parse_fills(fills(line))["commission_cents"].tolist() == [cents]


@pytest.mark.parametrize("text", ["NA", "TRUE", "1E5", "null", "007", "nan", "-"])
def test_an_id_that_looks_like_something_else_stays_text(text):
    table = parse_fills(fills(fill_line(fill_id=text, order_id=text)))
    assert table[["fill_id", "order_id"]].values.tolist() == [[text, text]]


def test_x04_the_mark_before_a_formula_is_removed_again():
    table = parse_fills(fills(fill_line(fill_id="'=1+1", order_id="'-AAPL"), fill_line(fill_id="'x", order_id="''=1")))
    assert table[["fill_id", "order_id"]].values.tolist() == [["=1+1", "-AAPL"], ["'x", "''=1"]]
    with pytest.raises(BookError, match="the same as on line 2"):
        parse_fills(fills(fill_line(fill_id="'=1+1"), fill_line(fill_id="=1+1")))


REFUSED = {
    "shares": ["", "0", "-0", "+0", "1.5", "1.0", "1e2", "NaN", "inf", "1,000", " 5", "5 ", "--5", "1000000000", "١"],
    "price": [
        "",
        "0",
        "0.00",
        "-1",
        "+1",
        "NaN",
        "inf",
        "1e400",
        "1e2",
        "1,000.0",
        ".5",
        "5.",
        "10000000",
        "$5",
        "1_0",
    ],
    "commission": ["", "-0.01", "1.005", "1.050", "NaN", "Infinity", "1e400", "1,000", "1.", "$1", " 1", "1_0"],
    "date": ["", "2024-6-11", "20240611", "2024-W24-2", "11.06.2024", "2024-02-30", "2024-06-11T00:00", " 2024-06-11"],
    "fill_id": ["", " ", "\t", " a", "a ", "a\x00b", "a\nb", "a\u202eb", "'\tA"],
    "order_id": ["", " ", "2024-06-10-AAPL ", "\u00a0"],
}


@pytest.mark.parametrize(("column", "text"), [(column, text) for column, texts in REFUSED.items() for text in texts])
def test_anything_else_is_refused_by_line_and_column(column, text):
    """The second line is bad: the first, good one is refused with it."""
    changed = {"fill_id": "second", column: text}
    with pytest.raises(BookError, match=rf"^line \d, {column}: ") as refused:
        parse_fills(fills(GOOD, fill_line(**changed)))
    assert refused.value.exit_code == 60


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the file is empty"),
        (b"\n", "line 1: the columns are"),
        (fills(), "a header but no fills"),
        (fills(GOOD, GOOD), "line 3, fill_id: '7f3a' is the same as on line 2"),
        (fills("7f3a,2024-06-10-AAPL,100,193.12,1.05"), "line 2: 5 cells for 6 columns"),
        (fills(f"{GOOD},more"), "line 2: 7 cells for 6 columns"),
        (fills(GOOD, ""), "line 3: 0 cells for 6 columns"),
        (fills("7f3a,100", header="fill_id,shares"), "line 1: the columns are fill_id,shares, not fill_id,order_id,"),
        (fills(f"{GOOD},x", header=f"{HEADER},note"), "line 1: the columns"),
        (fills(f"{GOOD},x", header=f"{HEADER},date"), "line 1: the columns"),
        (fills(GOOD, header=HEADER.upper()), "line 1: the columns"),
        (fills(GOOD).replace(b"7f3a", b"7f\xff3a"), "not UTF-8"),
        (fills(GOOD).decode().encode("utf-16"), "not UTF-8"),
        (fills('"7f3a" b,x,1,1,0,2024-06-11'), "line 2: invalid CSV"),
        (fills('"7f3a'), "line 2: invalid CSV"),
        (fills("7" * 200_000 + GOOD), "line 2: invalid CSV"),
        (fills(header="x" * 100_000), "x…, not fill_id"),
    ],
)
def test_a_file_of_another_shape_is_refused(data, said):
    with pytest.raises(BookError) as refused:
        parse_fills(data)
    assert said in str(refused.value)
    assert len(str(refused.value)) < 300


def test_the_largest_fill_is_within_64_bits_of_cents():
    row = parse_fills(fills(fill_line(shares="999999999", price="9999999.9999999999"))).iloc[0]
    assert round(row["shares"] * row["price"] * 100) <= 2**63 - 1


# ---- statements ----


def test_a_statement_by_hand():
    shares, cash = parse_statement(b"symbol,shares\nMSFT,-12\nCASH,12345.67\nAAPL,100\nNA,0\n")
    expected = pd.Series([100, -12, 0], index=pd.Index(["AAPL", "MSFT", "NA"], dtype="str", name="symbol"))
    pd.testing.assert_series_equal(shares, expected.rename("shares"))
    assert cash == 1_234_567
    assert isinstance(cash, int)


@pytest.mark.parametrize(("text", "cents"), [("0", 0), ("-0.29", -29), ("1.5", 150), ("999999999999.99", 10**14 - 1)])
def test_cash_is_exact_to_the_cent(text, cents):
    shares, cash = parse_statement(f"shares,symbol\n{text},CASH\n".encode())
    assert cash == cents
    assert shares.empty
    assert shares.dtype == "int64"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["AAPL,1"], "no CASH row"),
        ([], "no CASH row"),
        (["cash,1"], "no CASH row"),
        (["CASH,1", "CASH,1"], "line 3, symbol: 'CASH' is a duplicate"),
        (["AAPL,1", "CASH,1", "AAPL,1"], "line 4, symbol: 'AAPL' is a duplicate"),
        (["'=A,1", "=A,1"], "line 3, symbol: '=A' is a duplicate"),
        (["CASH,12\u202f345.67"], "line 2, shares"),
        (['CASH,"12,345.67"'], "line 2, shares"),
        (["CASH,1.005"], "line 2, shares"),
        (["CASH,NaN"], "line 2, shares"),
        (["CASH,"], "line 2, shares"),
        (["CASH,1e400"], "line 2, shares"),
        (["AAPL,1.5"], "line 2, shares"),
        (["AAPL,inf"], "line 2, shares"),
        ([",1"], "line 2, symbol"),
        (["AAPL"], "line 2: 1 cells"),
    ],
)
def test_a_statement_that_is_not_one_is_refused(lines, said):
    with pytest.raises(BookError) as refused:
        parse_statement(fills(*lines, header="symbol,shares"))
    assert said in str(refused.value)


# ---- anything at all ----


CELL = st.one_of(
    st.text(max_size=12),
    st.sampled_from([text for texts in REFUSED.values() for text in texts] + [*GOOD.split(","), "CASH", '"', "'=1"]),
)


def parsed_or_refused(parse, data: bytes):
    """What `parse` makes of the data; None if it refuses them as it should."""
    try:
        return parse(data)
    except BookError:
        return None


@pytest.mark.parametrize("parse", [parse_fills, parse_statement])
@settings(deadline=None)
@given(data=st.binary())
def test_any_bytes_are_parsed_or_refused(parse, data):
    parsed_or_refused(parse, data)
    parsed_or_refused(parse, f"{HEADER}\n".encode() + data)
    parsed_or_refused(parse, b"symbol,shares\n" + data)


@settings(deadline=None)
@given(data=st.data())
def test_a_good_file_with_some_bytes_changed_is_parsed_or_refused(data):
    good = fills(GOOD, fill_line(fill_id="'=2", shares="-7", price="0.5"))
    first, last = sorted(data.draw(st.tuples(*[st.integers(0, len(good))] * 2)))
    table = parsed_or_refused(parse_fills, good[:first] + data.draw(st.binary(max_size=4)) + good[last:])
    if table is not None:
        assert list(table.columns) == ["fill_id", "order_id", "shares", "price", "commission_cents", "date"]


@settings(deadline=None)
@given(rows=st.lists(st.lists(CELL, min_size=5, max_size=7), max_size=4), quoted=st.booleans())
def test_any_cells_are_fills_or_refused(rows, quoted):
    file = io.StringIO(newline="")
    csv.writer(file, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL).writerows([HEADER.split(","), *rows])
    table = parsed_or_refused(parse_fills, file.getvalue().encode("utf-8", "surrogatepass"))
    if table is not None:
        assert table["fill_id"].is_unique
        assert (table["price"] > 0).all()
        assert (table["shares"] != 0).all()
        assert (table["commission_cents"] >= 0).all()
        assert len(table) == len(rows)


@settings(deadline=None)
@given(rows=st.lists(st.tuples(CELL, CELL), max_size=4), cash=st.integers(-(10**14) + 1, 10**14 - 1))
def test_any_cells_are_a_statement_or_refused(rows, cash):
    file = io.StringIO(newline="")
    usd = f"{'-' if cash < 0 else ''}{abs(cash) // 100}.{abs(cash) % 100:02d}"
    csv.writer(file).writerows([("symbol", "shares"), ("CASH", usd), *rows])
    found = parsed_or_refused(parse_statement, file.getvalue().encode("utf-8", "surrogatepass"))
    if found is not None:
        assert found[1] == cash
        assert found[0].index.is_unique
        assert len(found[0]) == len(rows)
