"""How a share class, a preferred, a warrant is spelled to a broker, and that it comes back as what it was."""

import json
import re

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbook.common.errors import BookError
from openbook.execution.brokers import FORMATS, parse_fills, require_named_alike
from openbook.execution.ticker_spellings import SEPARATORS, SUFFIXES, match_symbols, parts_of, same_security, spelled

# "Ticker Symbol Convention", nasdaqtrader.com, column CMS (root, space, suffix); Alpaca the same with a dot.
# Yahoo: the quote pages of these securities.
PUBLISHED = [
    # Yahoo, Interactive Brokers, Alpaca
    ("BRK-B", "BRK B", "BRK.B"),
    ("BF-A", "BF A", "BF.A"),
    ("BAC-PK", "BAC PRK", "BAC.PRK"),
    ("CCIV-WT", "CCIV WS", "CCIV.WS"),
    ("CCIV-UN", "CCIV U", "CCIV.U"),
    ("TY-P", "TY PR", "TY.PR"),
    ("XYZ-RI", "XYZ RT", "XYZ.RT"),
]
SYMBOLS = st.from_regex(r"[A-Z]{1,5}(-[A-Z]|-P[A-Z]?|\.PR[A-Z]?|-WT|-UN|-RI|-U|\.WS|\.U)?", fullmatch=True)


@pytest.mark.parametrize(("yahoo", "ibkr", "alpaca"), PUBLISHED)
def test_published_spellings_go_out_and_come_back(yahoo, ibkr, alpaca):
    assert (spelled(yahoo, "ibkr"), spelled(yahoo, "alpaca"), spelled(yahoo, "generic")) == (ibkr, alpaca, yahoo)
    for ours in (yahoo, alpaca):
        assert match_symbols([yahoo], [ours]) == {yahoo: ours}
        assert match_symbols([ibkr], [ours]) == {ibkr: ours}
        assert match_symbols([alpaca], [ours]) == {alpaca: ours}


@pytest.mark.parametrize("other", ["BAC PRK", "BAC PR K", "BAC.PRK", "BAC.PR.K", "BAC-PK", "BAC/PK", "BAC-PRK"])
def test_every_spelling_of_a_preferred_is_one_security(other):
    assert same_security("BAC-PK", other)


@pytest.mark.parametrize("other", ["BRK-A", "BRKB", "BRK-PB", "BRK", "brk-b", "BRK-B-C"])
def test_another_security_is_not_recognised(other):
    """BRKB is how a vendor without separators writes it: as well another company's ticker, so it stays as it is."""
    assert match_symbols([other], ["BRK-B"]) == {other: other}


def test_dot_pk_is_the_pink_sheets_and_no_preferred():
    assert not same_security("ABC.PK", "ABC-PK")


def test_every_real_symbol_comes_back_from_every_broker(shared_data):
    """All 1,200 or so that were ever in the index, held at once: none of them is another's spelling."""
    names = sorted({*pd.read_csv(shared_data / "membership" / "sp500_intervals.csv", keep_default_na=False)["ticker"]})
    assert {"BRK.B", "BF.B"} <= {*names}
    assert len({parts_of(name) for name in names}) == len(names) > 1000
    for form in FORMATS:
        said = {spelled(name, form): name for name in names}
        assert match_symbols(said, names) == said
        yahoo = {name.replace(".", "-") for name in names}
        assert match_symbols([spelled(name, form) for name in names], yahoo) == {
            there: name.replace(".", "-") for there, name in said.items()
        }


@given(SYMBOLS, st.sampled_from(sorted(FORMATS)))
def test_what_goes_out_is_read_as_what_it_was(symbol, form):
    assert match_symbols([spelled(symbol, form)], [symbol]) == {spelled(symbol, form): symbol}
    assert same_security(spelled(symbol, form), symbol)


@given(st.text())
def test_whatever_stands_there_stays_as_it_is_where_the_book_has_nothing_like_it(text):
    assert match_symbols([text], ["AAPL"]) == {text: text}
    assert spelled(spelled(text, "ibkr"), "ibkr") == spelled(text, "ibkr")


def test_a_spelling_that_fits_two_holdings_names_both():
    said = "BRK B may be BRK B or BRK-B in the book, which are spellings of one security; correct the book"
    with pytest.raises(BookError, match=re.escape(said)) as error:
        match_symbols(["BRK B", "AAPL"], ["BRK B", "BRK-B", "AAPL"])
    assert error.value.exit_code == 60
    with pytest.raises(BookError, match="BRK-B may be"):
        match_symbols(["BRK-B"], ["BRK B", "BRK-B"])


def test_a_file_that_spells_both_as_the_book_does_tells_them_apart():
    assert match_symbols(["BRK-B", "BRK B"], ["BRK B", "BRK-B"]) == {"BRK-B": "BRK-B", "BRK B": "BRK B"}


def test_two_spellings_in_one_file_are_one_security_twice():
    with pytest.raises(BookError, match=r"BRK B and BRK\.B are spellings of the same security, BRK-B; list it"):
        match_symbols(["BRK B", "BRK.B"], ["BRK-B"])


def test_what_is_held_comes_before_what_is_only_known():
    """A book that once took "BRK B" for a company of its own still knows that name; it holds BRK-B alone."""
    assert match_symbols(["BRK B"], ["BRK-B"], known=["BRK B", "BRK-B"]) == {"BRK B": "BRK-B"}
    assert match_symbols(["BRK B"], [], known=["BRK-B"]) == {"BRK B": "BRK-B"}
    assert match_symbols(["BRK/B"], [], known=["BRK B", "BRK-B"]) == {"BRK/B": "BRK/B"}


def test_the_table_has_no_two_kinds_of_one_spelling():
    said = [suffix.exchange for suffix in SUFFIXES.values()] + [suffix.yahoo for suffix in SUFFIXES.values()]
    assert len({*said}) == len(said)
    assert {*SEPARATORS} < {*FORMATS}


@pytest.mark.parametrize("form", sorted(SEPARATORS))
def test_orders_leave_as_the_table_has_it(form):
    orders = pd.DataFrame({"symbol": ["BAC-PK", "BRK B"], "shares": [1, -2], "price": 1.0})
    orders = orders.assign(order_id=["a", "b"], session="2024-06-11")
    data = FORMATS[form](orders, "next_open").decode()
    if form == "alpaca":
        assert [row["symbol"] for row in json.loads(data)] == ["BAC.PRK", "BRK.B"]
    else:
        assert [line.split(",")[2] for line in data.splitlines()[1:]] == ["BAC PRK", "BRK B"]


def test_fills_may_say_what_was_traded():
    data = b"fill_id,order_id,symbol,shares,price,commission,date\n1,2024-06-10-BRK-B,BRK B,3,411,0,2024-06-11\n"
    assert parse_fills(data)["symbol"].tolist() == ["BRK B"]


def test_a_fill_of_another_symbol_than_its_order_is_refused():
    """Also after a rename: the order was for FB, which the broker calls META by now."""
    orders = pd.DataFrame({"order_id": ["a", "b"], "symbol": ["BRK-B", "FB"], "ticker": ["BRK-B", "META"]})
    fills = pd.DataFrame({"fill_id": ["1", "2", "3"], "order_id": ["a", "b", "b"], "symbol": ["BRK B", "FB", "META"]})
    require_named_alike(fills, orders)
    require_named_alike(fills.drop(columns="symbol"), orders)
    with pytest.raises(BookError, match="fill 2 is for BRK A, but its order b is for META; the whole file is rejected"):
        require_named_alike(fills.assign(symbol=["BRK.B", "BRK A", "META"]), orders)
