"""Evenings on which the world is not as it should be, by command: a halt, a new ticker, prices that carry no book."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from support.trained_desk import clock, openbook, succeed


def settled_on(desk, date) -> dict:
    return json.loads((desk.page(date) / "settlement.json").read_bytes())


def test_w06_a_halted_name_keeps_its_price_and_the_evening_goes_on_for_the_others(desk):
    """One held name without a bar: marked at its last close, noted on the page, and not ordered. It is more than a
    tenth of the value, which stops the evening until somebody says that so much may keep an old price."""
    name, files = desk.held()[0], desk.evening()
    last = files.bars.query("symbol == @name and date == @desk.days[2]")["close"].item()
    with clock(f"{desk.tonight:%Y-%m-%d}T21:00Z"):
        answer = desk.daily(files.without([name], desk.tonight), "account.max_locked_value=0.01")
        assert answer.code == 30
        assert "account.max_locked_value" in answer.err
        succeed(desk.daily(None, "account.max_locked_value=0.2"))
    settled = settled_on(desk, desk.tonight)
    held = {row["symbol"]: row["price"] for row in settled["holdings"]}
    assert held[name] == last
    assert [note["symbol"] for note in settled["notes"]] == [name]
    trades = pd.read_csv(desk.page() / "trades.csv")
    assert name not in set(trades["symbol"])
    page = (desk.page() / "report.html").read_text()
    assert f"No close for {name}: kept at the last close, not traded." in page
    assert "session 1 of at most 10" in page


def test_w05_a_company_that_changes_its_ticker_is_the_same_holding(desk):
    """The vendor sends its whole history under the new ticker: the same shares, under it."""
    name = desk.held()[0]
    shares = desk.state().positions[name]
    files = desk.evening()
    tables = {"bars": files.bars, "actions": files.actions}
    called = {key: table.assign(symbol=table["symbol"].replace(name, "ZZTOP")) for key, table in tables.items()}
    renamed = replace(files, **called)
    with clock(f"{desk.tonight:%Y-%m-%d}T21:00Z"):
        day = f"{desk.tonight:%Y-%m-%d}"
        said = ("--date", day, "--who", "Ann", "--reason", "a new name")
        succeed(openbook("--runs", desk.runs, "rename", name, "ZZTOP", *said))
        succeed(desk.daily(renamed))
    held = {row["symbol"]: row["shares"] for row in settled_on(desk, desk.tonight)["holdings"]}
    assert (held.get("ZZTOP"), name in held) == (shares, False)


@pytest.mark.parametrize(
    "factor", [1.0, 0.5, 10.0, 0.75, 0.995], ids=["as it was", "2:1", "1:10", "special", "dividend"]
)
def test_w01_adjusted_prices_that_rewrite_a_held_name_stop_a_paper_book(desk, factor):
    """30 with name and factor, and nothing changes; as long as nothing held is rewritten the evening goes on."""
    name, files, before = desk.held()[0], desk.evening(), desk.kept()
    source = json.dumps({**json.loads(desk.vendor.source.partition("=")[2]), "prices": "adjusted", "actions": None})
    given = ("--runs", desk.runs, "run", "daily_run", "--date", f"{desk.tonight:%Y-%m-%d}", "--set", f"source={source}")
    past = (files.bars["symbol"] == name) & (files.bars["date"] < desk.tonight)
    fields = ["open", "high", "low", "close"]
    with clock(f"{desk.tonight:%Y-%m-%d}T21:00Z"):
        rewritten = files.bars.copy()
        rewritten.loc[past, fields] *= factor
        desk.vendor.deliver(replace(files, bars=rewritten))
        answer = openbook(*given)
    if factor == 1.0:
        succeed(answer)
        assert "Prices are adjusted by the vendor" in (desk.page(desk.days[3]) / "report.html").read_text()
        return
    assert answer.code == 30
    assert f"held name {name} was marked at" in answer.err
    assert f"{factor:g} times as much" in answer.err
    assert desk.kept() == before


def test_w04_an_evening_with_a_debit_sells_and_buys_nothing(desk):
    """A fee takes the cash below zero: the page is made, what is ordered repays it, and no buy is among it."""
    from openbook.ledger import book_commands

    cents = desk.state().cash_now_cents + 500_000
    book_commands.record_cash(
        desk.book, flow="fee", cents=cents, who="Ann", reason="a fine", when="2024-06-25 22:00:00 UTC"
    )
    with clock(f"{desk.tonight:%Y-%m-%d}T21:00Z"):
        succeed(desk.daily(desk.evening(), "kill_switch.max_daily_loss=0.9", "kill_switch.max_drawdown=0.9"))
    trades = pd.read_csv(desk.page() / "trades.csv")
    assert len(trades)
    assert (trades["side"] == "SELL").all()
    assert settled_on(desk, desk.tonight)["cash_cents"] < 0
    assert np.isfinite(trades["weight_before"]).all()
