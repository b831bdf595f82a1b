"""Two hundred random histories of companies, through a paper and a live book beside an exact account of them.

Splits and spin-offs come as vendors store them (six digits, 32 bits), dividends are taxed, names are halted and
delisted, cash goes below zero, and a statement shows days later which dividends were paid. The account is in whole
cents and fractions, one line for each thing that happens, and shares nothing with the library.
"""

import random
import shutil
import tempfile
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from openbook.ledger import book_commands
from openbook.ledger.account import Account
from openbook.ledger.book import audit_book, commit_session, open_book, read_book, settle
from support.books import ABOUT, CALM, DAYS, FREE, day, make_market, make_trades

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
NOW = "2025-03-03 21:00:00 UTC"
N = 14
SYMBOLS = ("A", "B", "C", "D", "E")
TAX, DEBIT = Fraction(15, 100), Fraction(6, 100)
ACCOUNT = Account(withholding=float(TAX), debit_rate=float(DEBIT), max_locked_value=1.0)
CASH, FEE = 30_000_000, 25_000_000  # cents; the fee takes the cash below zero
SPLITS = [Fraction(n, m) for n, m in ((2, 1), (3, 2), (4, 3), (7, 5), (1, 7), (1, 25), (1, 100), (20, 1), (5, 4))]
SPIN_OFFS = [Fraction(text) for text in ("1.281", "1.0053283", "1.998", "1.134", "2.376", "1.067", "1.0017029")]
STORED = (lambda ratio: round(float(ratio), 6), lambda ratio: float(np.float32(float(ratio))), float)


@dataclass
class History:
    """What happens to some companies. `close` in cents (None: no bar), `actions` by session: (symbol, kind, value)"""

    close: dict
    actions: dict
    sent: list
    shares: dict
    fee: tuple


def make_history(seed: int) -> History:
    """Prices that follow the splits and spin-offs, in whole cents; one event a session and name at most."""
    dice, close, actions, sent = random.Random(seed), {}, {}, []
    halted, halt = dice.choice([*SYMBOLS, ""]), dice.randint(3, N - 4)
    for symbol in SYMBOLS:
        price, close[symbol], gone = Fraction(dice.randint(3_000, 90_000)), [], False
        for n in range(N):
            kind = dice.choices(["", "split", "spin_off", "dividend", "delisting"], [20, 2, 2, 3, 0.4])[0]
            if n > 2 and kind and not gone:
                value = {
                    "split": lambda: dice.choice(SPLITS),
                    "spin_off": lambda: dice.choice(SPIN_OFFS),
                    "dividend": lambda: Fraction(dice.randint(1, 40_000), 10_000),
                    "delisting": lambda: Fraction(dice.choice([-1, 0, -30]), 100),
                }[kind]()
                actions.setdefault(n, []).append((symbol, kind, value))
                stored = dice.choice(STORED)(value) if kind == "split" else float(np.float32(float(value)))
                price = price / value if kind in ("split", "spin_off") else price
                ours = {"spin_off": ("split", stored), "split": ("split", stored)}
                sent.append((DAYS[n], symbol, *ours.get(kind, (kind, float(value)))))
                gone = kind == "delisting"
            price = max(Fraction(round(price * Fraction(dice.randint(940, 1060), 1000))), Fraction(20))
            close[symbol].append(None if gone or (symbol == halted and halt <= n < halt + 3) else int(price))
    shares = {symbol: dice.randint(1, 60) for symbol in SYMBOLS}
    return History(close, actions, sent, shares, (dice.randint(4, N - 2), dice.choice([0, FEE])))


@dataclass
class Exact:
    """The account: whole cents, whole shares; `mark` is what a share counts for, a fraction of cents."""

    live: bool
    history: History
    cash: int = CASH
    shares: dict = field(default_factory=dict)
    mark: dict = field(default_factory=dict)
    owed: list = field(default_factory=list)

    def session(self, n: int, fee: int) -> None:
        """What session n does to it."""
        before, said = self.cash, self.history.actions.get(n, [])
        self.cash -= fee
        if before < 0 and not self.live:
            days = (DAYS[n] - DAYS[n - 1]).days
            self.cash -= round(-before * DEBIT * days / 360)
        in_lieu = []
        for symbol, kind, value in said:
            held = self.shares.get(symbol, 0)
            if kind == "split" and held:
                self.shares[symbol], self.mark[symbol] = int(held * value), self.mark[symbol] / value
                in_lieu.append((symbol, int(held * value), held * value))
            if kind == "spin_off" and held:
                worth, self.mark[symbol] = round(held * self.mark[symbol]), self.mark[symbol] / value
                self.owed.append((symbol, "spin_off", worth - round(held * self.mark[symbol])))
        for symbol, kind, value in said:
            if kind == "dividend" and self.shares.get(symbol):
                gross = round(self.shares[symbol] * value * 100)
                net = gross - round(gross * TAX)
                if self.live:
                    self.owed.append((symbol, "dividend", net))
                else:
                    self.cash += net
                self.mark[symbol] = max(self.mark[symbol] - value * 100, Fraction(1))
        if n == 1:
            for symbol, shares in self.history.shares.items():
                self.shares[symbol] = shares
                self.cash -= shares * self.history.close[symbol][n]
        for symbol in self.shares:
            close = self.history.close[symbol][n]
            self.mark[symbol] = self.mark[symbol] if close is None else Fraction(close)
        for symbol, whole, exact in in_lieu:
            self.cash += round(exact * self.mark[symbol]) - round(whole * self.mark[symbol])
        for symbol, kind, value in said:
            if kind == "delisting" and self.shares.get(symbol):
                self.cash += round(self.shares.pop(symbol) * self.mark[symbol] * (1 + value))
        self.shares = {symbol: held for symbol, held in self.shares.items() if held}

    def pay(self, n: int) -> None:
        """The broker pays the n oldest dividends."""
        for row in [row for row in self.owed if row[1] == "dividend"][:n]:
            self.owed.remove(row)
            self.cash += row[2]

    @property
    def invested(self) -> int:
        return sum(round(held * self.mark[symbol]) for symbol, held in self.shares.items())


def market_of(history: History):
    close = {s: [np.nan if c is None else c / 100 for c in row] for s, row in history.close.items()}
    return make_market(close, actions=history.sent)


def evening(path, market, n: int, trades) -> None:
    settled = settle(read_book(path, before=DAYS[n]), market, FREE, DAYS[n], ACCOUNT)
    how = {"switch": CALM, "manual": False, "about": ABOUT, "inputs_hash": "in"}
    commit_session(path, session=DAYS[n], settlement=settled.to_json(), trades=trades, **how)


def bought(path, history: History) -> None:
    """The broker fills the orders of session 0 at the close of the next one."""
    batch = book_commands.read_batch(path, day(0))
    book_commands.approve(path, day(0), digest=batch.digest, about=ABOUT, who="Ann", when=NOW, how="terminal")
    rows = [(f"f{s}", f"{day(0)}-{s}", k, history.close[s][1] / 100, 0, day(1)) for s, k in history.shares.items()]
    names = ["fill_id", "order_id", "shares", "price", "commission_cents", "date"]
    book_commands.record_fills(path, day(0), pd.DataFrame(rows, columns=names), when=NOW, source="0" * 64)
    state = read_book(path)
    assert book_commands.reconcile(path, state.positions_now, state.cash_now_cents, closed=day(1), when=NOW) == ""


def agree(path, exact: Exact) -> None:
    """Shares, cash, receivables and value, to the share and the cent."""
    state = read_book(path)
    assert state.positions.to_dict() == exact.shares
    assert (state.cash_cents, state.invested_cents) == (exact.cash, exact.invested)
    owed = [(row.security, row.kind, row.cents) for row in state.receivables]
    assert owed == [(symbol, kind, cents) for symbol, kind, cents in exact.owed if cents]
    assert state.equity_cents == exact.cash + exact.invested + sum(cents for *_, cents in exact.owed)


@pytest.mark.parametrize("kind", ["paper", "live"])
def test_a_book_is_what_an_exact_account_says_on_every_day(kind):
    compare(kind, range(8))


@pytest.mark.long
@pytest.mark.parametrize("kind", ["paper", "live"])
def test_a_book_is_what_an_exact_account_says_in_two_hundred_histories(kind):
    compare(kind, range(200))


def compare(kind: str, seeds) -> None:
    """Each history through a book of its own, compared on every day. A disk that really syncs is tested elsewhere."""
    for seed in seeds:
        folder = Path(tempfile.mkdtemp(prefix="histories-", dir=MEMORY))
        path, history = folder / "book.db", make_history(seed)
        exact, market, dice = Exact(kind == "live", history), market_of(history), random.Random(seed)
        open_book(path, cash=CASH / 100, kind=kind)
        evening(path, market, 0, make_trades(**history.shares))
        for n in range(1, N):
            fee = history.fee[1] if history.fee[0] == n else 0
            if kind == "live" and n == 1:
                bought(path, history)
            if fee:
                book_commands.record_cash(path, flow="fee", cents=fee, who="Ann", reason="a fine", when=NOW)
            evening(path, market, n, make_trades())
            exact.session(n, fee)
            agree(path, exact)
            if kind == "live" and dice.random() < 0.3:
                exact.pay(dice.randint(1, 3))
                theirs = pd.Series(exact.shares, dtype="int64")
                assert book_commands.reconcile(path, theirs, exact.cash, closed=day(n), when=NOW) == ""
        audit_book(path)
        shutil.rmtree(folder)
