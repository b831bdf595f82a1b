"""Books of format 2: how live.db.xz, paper.db.xz and what their own code said of them (*.json) were made.

By openbook at commit 47f30e9, the last that wrote format 2, in a checkout of it:

    cd CHECKOUT && PYTHONPATH=tests/desk:HERE/tests .venv/bin/python HERE/tests/ledger/format2/drive.py FOLDER

The imports below name the modules of today; in that checkout they were openbook.desk, openbook.portfolio and desk_lab.
Every kind of event and every way of an order is in them; the code of today cannot make them again.
"""

import json
import lzma
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from ledger.format2.said import said
from openbook.execution.kill_switch import KillSwitch
from openbook.ledger import book_commands
from openbook.ledger.book import audit_book, open_book, read_book
from openbook.portfolio.costs import Costs
from support.books import ABOUT, CALM, DAYS, commit, day, make_market, make_trades

NOW = "2025-03-03 21:00:00 UTC"
ANN = {"who": "Ann", "when": NOW}
COSTS = Costs(commission_bps=1, slippage_bps=5, min_commission=0.35)
NONE = np.nan
MARKET = make_market(
    {
        "A": [100, 101, 102.5, 103, 824.8, 830, 826, 829, 801, 770, 775, 780],
        "B": [50, 49, 48.2, 24.4, 24, 23.9, 24.1, 24, 23.2, 22.1, 22, 22.4],
        "C": [30, 30.3, 30.1, 29.9, 30.4, 30.6, 30.5, 30.2, 29.9, 28.9, 29.3, 29.1],
        "D": [20, 20.5, 21, 20.8, 20.2, 19.9, NONE, NONE, NONE, NONE, NONE, NONE],
        "NA": [10, 10.1, 10.2, 10.3, 10.2, 10.1, 10.4, 10.3, 10.1, 9.6, 9.5, 9.7],
    },
    opens={
        "A": [100, 100.5, 102, 103.2, 822, 829, 828, 827, 815, 790, 771, 779],
        "B": [50, 49.5, 48.6, 24.3, 24.2, 24, 24, 24.2, 23.6, 22.9, 22.1, 22.2],
        "C": [30, 30.2, 30.3, 29.8, 30.2, 30.5, 30.6, 30.4, 30, 29.5, 29, 29.2],
        "D": [20, 20.2, 20.8, 21, 20.5, 20, NONE, NONE, NONE, NONE, NONE, NONE],
        "NA": [10, 10, 10.2, 10.2, 10.3, 10.2, 10.2, 10.4, 10.2, 9.9, 9.6, 9.6],
    },
    actions=[
        (DAYS[3], "B", "split", 2),
        (DAYS[3], "C", "dividend", 0.37),
        (DAYS[4], "A", "split", 0.125),
        (DAYS[6], "D", "delisting", -0.3),
        (DAYS[7], "A", "dividend", 1.25),
    ],
)


def approve(path, n: int, who: str = "Ann") -> None:
    batch = book_commands.read_batch(path, day(n))
    book_commands.approve(path, day(n), digest=batch.digest, about=ABOUT, who=who, when=NOW, how="terminal")


def fill(path, n: int, *rows) -> None:
    """Record rows of (fill_id, symbol, shares, price, commission in cents) of the orders of session n."""
    table = [(key, f"{day(n)}-{symbol}", *rest, day(n + 1)) for key, symbol, *rest in rows]
    names = ["fill_id", "order_id", "shares", "price", "commission_cents", "date"]
    book_commands.record_fills(path, day(n), pd.DataFrame(table, columns=names), when=NOW, source="0" * 64)


def agree(path, n: int) -> None:
    """A statement that says what the book says, after session n is over."""
    state = read_book(path)
    assert book_commands.reconcile(path, state.positions_now, state.cash_now_cents, closed=day(n), when=NOW) == ""


def cash(path, flow: str, cents: int, reason: str) -> None:
    book_commands.record_cash(path, flow=flow, cents=cents, reason=reason, **ANN)


def live(path) -> None:
    """A live book: partial fills, late fills, statements that differ, a halt and a reset, and acts not settled yet."""
    open_book(path, cash=20_000, kind="live")
    commit(path, MARKET, 0, make_trades(A=51, B=21, C=30, D=40))
    approve(path, 0)
    fill(path, 0, ("x1", "A", 30, 100.55, 35), ("x2", "B", 21, 49.4, 35), ("x3", "C", 30, 30.21, 35))
    fill(path, 0, ("x4", "A", 20, 100.61, 35), ("x5", "D", 40, 20.2, 35))
    agree(path, 1)
    cash(path, "deposit", 500_000, "savings")
    commit(path, MARKET, 1, make_trades(A=-10, NA=7))
    book_commands.reject(path, day(1), reason="too much", **ANN)
    commit(path, MARKET, 2, make_trades(B=5, C=-10))
    commit(path, MARKET, 3, make_trades(B=8, C=-5))
    approve(path, 3, "Bob")
    fill(path, 3, ("y1", "B", 3, 24.2, 35), ("y2", "C", -5, 30.2, 35))
    wrong = read_book(path).positions_now.to_dict() | {"Z": 3}
    book_commands.reconcile(path, pd.Series(wrong), 123_456, closed=day(4), when=NOW)
    book_commands.reconcile(
        path, pd.Series(wrong), 123_456, closed=day(4), when=NOW, accepted=("Ann", "they will mend it")
    )
    commit(path, MARKET, 4)
    cash(path, "fee", 1_500, "custody")
    cash(path, "interest", 321, "March")
    commit(path, MARKET, 5, make_trades(D=-40, NA=100))
    approve(path, 5)
    book_commands.halt(path, reason="a drill", **ANN)
    fill(path, 5, ("z1", "NA", 60, 10.2, 35))
    book_commands.reset(path, reason="understood", **ANN)
    agree(path, 6)
    commit(path, MARKET, 7, make_trades(C=-25, NA=-10, B=10))
    approve(path, 7)
    fill(path, 7, ("u1", "C", -25, 30.0, 35), ("u2", "NA", -4, 10.2, 0))
    cash(path, "withdrawal", 10_000, "rent")
    book_commands.reconcile(path, pd.Series({"A": 6}), 0, closed=day(7), when=NOW)


def paper(path) -> None:
    """A paper book: cash that does not suffice, a manual batch, missed sessions, and a kill switch that trips."""
    open_book(path, cash=9_500)
    how = {"costs": COSTS, "switch": KillSwitch(max_daily_loss=0.02)}
    commit(path, MARKET, 0, make_trades(A=60, B=31, C=40, D=50), **how)
    commit(path, MARKET, 1, make_trades(A=-8, NA=20), manual=True, **how)
    approve(path, 1)
    commit(path, MARKET, 2, make_trades(A=-7, X=4), **how)
    cash(path, "deposit", 250_000, "savings")
    commit(path, MARKET, 3, make_trades(B=-17, NA=90), **how)
    commit(path, MARKET, 4, make_trades(C=3), manual=True, **how)
    commit(path, MARKET, 7, make_trades(A=1, C=-4), costs=COSTS, switch=CALM)
    agree(path, 7)
    commit(path, MARKET, 9, make_trades(NA=-30, B=-5), **how)
    approve(path, 9)
    cash(path, "interest", 77, "March")


def main(folder: Path) -> None:
    for name, drive in (("live", live), ("paper", paper)):
        path = folder / f"{name}.db"
        drive(path)
        audit_book(path)
        (folder / f"{name}.json").write_text(json.dumps(said(path), indent=0, sort_keys=True) + "\n")
        (folder / f"{name}.db.xz").write_bytes(lzma.compress(path.read_bytes(), preset=9))
        path.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
