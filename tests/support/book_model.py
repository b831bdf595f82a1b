"""What a book should hold, the slow and obvious way: whole cents, exact fractions, plain lists and dicts."""

import random
import statistics
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor, sqrt

SYMBOLS = ("A", "B", "C", "D")
DELISTED = 8  # D has no bar from this session on
# (session, symbol, kind, value); all values and prices are such that no half cent ever has to be rounded
ACTIONS = (
    (3, "C", "dividend", Fraction(13, 100)),
    (4, "B", "split", Fraction(2)),
    (8, "D", "delisting", Fraction(-3, 10)),
    (9, "C", "dividend", Fraction(37, 100)),
    (10, "A", "dividend", Fraction(1, 2)),
    (11, "B", "split", Fraction(1, 4)),
    (14, "C", "split", Fraction(3, 2)),
)
COMMISSION, SLIPPAGE, LEAST = Fraction(16, 10_000), Fraction(32, 10_000), 100  # of the notional; cents an order
NEVER = 10**6  # due when a statement shows it
OPEN = ("PENDING", "APPROVED", "PARTIALLY_FILLED")
ENDS = {"FILLED": "RECONCILED", "PARTIALLY_FILLED": "RECONCILED", "APPROVED": "EXPIRED"}  # by a statement
RANK = ("ACTIVE", "REDUCE_ONLY", "HALTED")


def make_prices(sessions: int) -> tuple[dict, dict]:
    """(close, open) by symbol: cents in steps of 20 per session, None without a bar."""
    dice, close, opens = random.Random(7), {}, {}
    for symbol, start in zip(SYMBOLS, (5000, 8000, 3000, 2000), strict=True):
        value, close[symbol], opens[symbol] = float(start), [], []
        for n in range(sessions):
            split = [float(v) for at, of, kind, v in ACTIONS if (at, of, kind) == (n, symbol, "split")]
            value *= dice.uniform(0.93, 1.06) / (split[0] if split else 1)
            bar = symbol != "D" or n < DELISTED
            close[symbol].append(20 * round(value / 20) if bar else None)
            opens[symbol].append(20 * round(value * dice.uniform(0.98, 1.02) / 20) if bar else None)
    return close, opens


@dataclass
class Order:
    """`decided` and `due` are numbers of sessions."""

    key: str
    decided: int
    due: int
    symbol: str
    shares: int
    status: str
    approved: bool = False
    filled: int = 0


@dataclass
class Model:
    """A book. `cash`, `shares`, `owed` and `lots` are as settled; `recorded` (order, fill), `flows` and `adjusted` came
    after that. `log` is what happened to orders; `evenings` what each settlement took in, and `marked` the last close
    at which a symbol was held. A lot is [session, shares, cents]; `spent` and `ended` are what was ever paid for lots,
    by symbol, and the cost of those that were closed."""

    kind: str
    close: dict
    opens: dict
    cash: int
    shares: dict = field(default_factory=dict)
    value: int = 0
    orders: dict = field(default_factory=dict)
    fills: dict = field(default_factory=dict)
    recorded: list = field(default_factory=list)
    flows: list = field(default_factory=list)
    adjusted: list = field(default_factory=list)
    owed: list = field(default_factory=list)
    lots: dict = field(default_factory=dict)
    spent: Counter = field(default_factory=Counter)
    ended: Counter = field(default_factory=Counter)
    corrected: list = field(default_factory=list)
    marks: list = field(default_factory=list)
    armed: int = 0
    switch: str = "ACTIVE"
    differs: bool = False
    last: int | None = None
    events: list = field(default_factory=list)
    scaled: dict = field(default_factory=dict)
    seen: dict = field(default_factory=dict)
    log: list = field(default_factory=list)
    evenings: list = field(default_factory=list)
    marked: dict = field(default_factory=dict)
    reversed: set = field(default_factory=set)
    restated: dict = field(default_factory=dict)
    dividends: dict = field(default_factory=dict)
    blind: bool = False
    paid_out: dict = field(default_factory=dict)  # (shares, cents) of a delisting by symbol and session, as recorded

    # ---- what it holds now ----

    def cash_now(self) -> int:
        paid = sum(-row["shares"] * row["cents"] - row["commission"] for row in self.recorded)
        corrected = sum(row["cents"] for row in self.adjusted if row["due"] is None)
        return self.cash + paid + sum(cents for _, cents in self.flows) + corrected

    def shares_now(self) -> dict:
        held = Counter(self.shares)
        for row in self.recorded + self.adjusted:
            held[row["symbol"]] += row["shares"]
        return {symbol: n for symbol, n in held.items() if n}

    def price(self, symbol: str) -> int | None:
        """Cents that the book knows of a share: its last close, else what was paid for it since, else what was said."""
        if symbol in self.shares:
            return self.close[symbol][self.last]
        paid = [row["cents"] for row in self.recorded if row["symbol"] == symbol]
        stated = [row["price"] for row in self.adjusted if row["symbol"] == symbol and row["shares"]]
        return (paid or stated or [None])[-1]

    def says(self, *event) -> bool:
        """Whether that is the last thing that happened."""
        return self.events[-1:] == [event]

    def batch(self, session: int) -> list[Order]:
        return [order for order in self.orders.values() if order.decided == session]

    def unaccounted(self, day: int) -> bool:
        """Whether somebody has to say first what became of something."""
        unknown = [o for o in self.orders.values() if o.status in OPEN[1:] and self.last < o.due <= day]
        return self.differs or (self.kind == "live" and bool(unknown))

    # ---- what people do ----

    def may_judge(self, session: int, states: tuple) -> bool:
        """Whether the batch of a session can still be approved or rejected."""
        at = max(n for n, event in enumerate(self.events) if event[:2] == ("session", session))
        moved = [
            event
            for event in self.events[at + 1 :]
            if event[0] in ("session", "cash", "adjusted", "halted", "reset")
            or (event[0] in ("fills", "reversed") and event[1] != session)
        ]
        orders = self.batch(session)
        return bool(orders) and not moved and all(order.status in states for order in orders)

    def judge(self, session: int, status: str) -> None:
        self.log.append(("judged", session, status))
        for order in self.batch(session):
            order.status, order.approved = status, order.approved or status == "APPROVED"

    def may_fill(self, session: int, rows: list[dict]) -> bool:
        """Whether all of some fills can have happened."""
        filled, seen = Counter(), set()
        for row in rows:
            order, known = self.orders.get(row["order"]), self.fills.get(row["id"])
            if (
                order is None
                or order.decided != session
                or row["due"] != order.due
                or row["shares"] * order.shares <= 0
            ):
                return False
            if known is not None and known != row:
                return False
            if known is None:
                filled[order.key] += row["shares"]
                ends = order.status in ("REJECTED", "RECONCILED")
                if row["id"] in seen or not order.approved or ends:
                    return False
                if abs(order.filled + filled[order.key]) > abs(order.shares):
                    return False
            seen.add(row["id"])
        return True

    def fill(self, rows: list[dict]) -> int:
        """How many are new."""
        new = sorted((row for row in rows if row["id"] not in self.fills), key=lambda row: row["id"])
        for row in new:
            order = self.orders[row["order"]]
            order.filled += row["shares"]
            order.status = "FILLED" if order.filled == order.shares else "PARTIALLY_FILLED"
            self.fills[row["id"]] = row
            self.recorded.append(row)
            self.log.append(("fill", order.key, row["id"]))
        return len(new)

    def halt(self) -> int:
        self.log.append(("halted", self.last))
        waiting = [o for o in self.orders.values() if o.status in OPEN and o.due > self.last]
        for order in waiting:
            order.status = "VOID"
        self.switch = "HALTED"
        return len(waiting)

    def reset(self) -> None:
        self.switch, self.armed = "ACTIVE", len(self.marks)

    def reconcile(self, closed: int) -> int:
        """How many orders have come to their end."""
        self.log.append(("reconciled", closed))
        ended = [order for order in self.orders.values() if order.due <= closed and order.status in ENDS]
        for order in ended:
            order.status = ENDS[order.status]
        return len(ended)

    def pay(self, count: int) -> bool:
        """A statement shows the oldest dividends that are owed to be paid; whether it does. Each is taken in with the
        next evening."""
        waits = [(cents, symbol) for due, cents, symbol in self.owed_now() if due == NEVER]
        owed = [cents for cents, _ in waits]
        amount = sum(owed[:count])
        count = next((k for k in range(1, len(owed) + 1) if abs(sum(owed[:k]) - amount) <= k), 0)
        if self.kind == "paper" or not count or abs(amount) <= 1:
            return False
        blank = {"symbol": "", "shares": 0, "price": 0}
        self.adjusted.append({**blank, "cents": amount, "due": None})
        taken = [{"cents": -cents, "due": NEVER, "taken": cents, "symbol": symbol} for cents, symbol in waits[:count]]
        self.adjusted += [{**blank, **row} for row in taken]
        return True

    def owed_now(self) -> list:
        """What is owed, as settled and corrected since."""
        rows = list(self.owed)
        for row in self.adjusted:
            _owe(rows, row)
        return rows

    # ---- a fill that is taken back ----

    def reverse(self, key: str) -> bool:
        """Take a fill back; False, and nothing is done, where the book cannot know what it would be without it."""
        row, gone = self.fills[key], self.reversed | {key}
        symbol, order = row["symbol"], self.orders[row["order"]]
        if row not in self.recorded and not self._take_back(symbol, gone):
            return False
        self.recorded = [other for other in self.recorded if other is not row]
        self.reversed = gone
        order.status, order.filled = self._told_again(order, gone)
        return True

    def _take_back(self, symbol: str, gone: set) -> bool:
        """Correct what was settled with a fill: the evenings of one symbol are played once more, with and without."""
        old, new = self._alone(symbol, self.reversed), self._alone(symbol, gone)
        shares, price = (
            new.shares.get(symbol, 0) - old.shares.get(symbol, 0),
            self.price(symbol) or self.marked.get(symbol),
        )
        if new.blind or (shares and price is None):
            return False
        blank = {"symbol": symbol, "shares": 0, "cents": 0, "price": 0, "due": None, "reversal": True}
        if new.cash != old.cash:
            self.adjusted.append({**blank, "cents": new.cash - old.cash})
        if shares:
            self.adjusted.append({**blank, "shares": shares, "price": price})
        for day in sorted({*old.dividends, *new.dividends}):
            was, is_ = old.dividends.get(day, 0), new.dividends.get(day, 0)
            if was != is_ and (not was or (NEVER, was, symbol) in self.owed_now()):
                self.adjusted += [{**blank, "cents": -was, "due": NEVER, "taken": was}] if was else []
                self.adjusted += [{**blank, "cents": is_, "due": NEVER}] if is_ else []
        self.restated[symbol] = new.lots.get(symbol, [])
        return True

    def _alone(self, symbol: str, gone: set) -> "Model":
        """The same evenings with one symbol only, and without some fills. `blind` : the book did not hold it on a day
        on which there are shares here, so that it saw no split, no dividend and no delisting of it."""
        alone = Model(self.kind, self.close, self.opens, 0, paid_out=dict(self.paid_out))
        for day, recorded, adjusted, before, after in self.evenings:
            alone.recorded = [row for row in recorded if row["symbol"] == symbol and row["id"] not in gone]
            alone.adjusted = [
                row for row in adjusted if row["symbol"] == symbol and row["shares"] and "reversal" not in row
            ]
            came = sum(row["shares"] for row in alone.adjusted)
            days = 1 if alone.last is None else day - alone.last
            blind = before.get(symbol, 0) + came == 0 or (days > 1 and symbol not in after)
            alone.blind = alone.blind or (bool(alone.shares.get(symbol, 0) + came) and blind)
            alone.settle(day)
        alone.blind = alone.blind or bool(alone.paid_out.keys() - self.paid_out.keys())
        return alone

    def _told_again(self, order: Order, gone: set) -> tuple[str, int]:
        """(state, filled) of an order after all that happened to it but some fills."""
        status, filled = "PENDING", 0
        for kind, *facts in self.log:
            if kind == "judged" and facts[0] == order.decided:
                status = facts[1]
            elif kind == "fill" and facts[0] == order.key and facts[1] not in gone:
                filled += self.fills[facts[1]]["shares"]
                status = "FILLED" if filled == order.shares else "PARTIALLY_FILLED"
            elif kind == "halted" and status in OPEN and order.due > facts[0] >= order.decided:
                status = "VOID"
            elif kind == "reconciled" and order.due <= facts[0]:
                status = ENDS.get(status, status)
            elif kind == "session" and order.due == facts[0] and status == "PENDING":
                status = "EXPIRED"
        return status, filled

    # ---- an evening ----

    def settle(self, day: int) -> None:
        """Carry the book to the close of a session, one after the other."""
        first, before = day if self.last is None else self.last + 1, dict(self.shares)
        taken = (list(self.recorded), list(self.adjusted))
        for n in range(first, day + 1):
            equity, deposits = self.cash + self.value + self._owing(), 0
            self.corrected.append(self._correct(n))
            for kind, cents in self.flows:
                self.cash += cents
                deposits += cents if kind in ("deposit", "withdrawal") else 0
            self.cash += sum(cents for due, cents, _ in self.owed if due <= n)
            self.owed = [row for row in self.owed if row[0] > n]
            fractions = self._act(n) if self.last is not None else []
            self._take(n)
            for symbol, whole, exact in fractions:
                self.cash += _cents(exact * self.close[symbol][n]) - whole * self.close[symbol][n]
            self.seen |= {symbol: self.close[symbol][n] for symbol in self.shares if self.close[symbol][n] is not None}
            self._delist(n)
            self.value = sum(shares * self.close[symbol][n] for symbol, shares in self.shares.items())
            self.marks.append((equity, deposits, self.cash + self.value + self._owing()))
            self.flows, self.last = [], n
            self.log.append(("session", n))
        self.marked |= {symbol: self.close[symbol][day] for symbol in self.shares}
        self.evenings.append((day, *taken, before, dict(self.shares)))

    def _owing(self) -> int:
        return sum(cents for _, cents, _ in self.owed)

    def _correct(self, n: int) -> int:
        """Take in what was corrected; what it was worth."""
        worth, known = 0, {symbol: self.close[symbol][self.last] for symbol in self.shares}
        for symbol, lots in self.restated.items():
            self.spent[symbol] += sum(lot[2] for lot in lots) - sum(lot[2] for lot in self.lots.get(symbol, []))
            self.lots[symbol] = lots
        self.restated = {}
        for row in self.adjusted:
            symbol, shares = row["symbol"], row["shares"]
            worth += row["cents"]
            _owe(self.owed, row)
            self.cash += row["cents"] if row["due"] is None else 0
            if shares:
                if symbol not in known:
                    known[symbol] = self.seen[symbol] = row["price"]
                worth += shares * known[symbol]
                if "reversal" not in row:  # the lots are restated then
                    self._trade(symbol, n, shares, None, row["price"])
                self._hold(symbol, self.shares.get(symbol, 0) + shares)
        self.adjusted = []
        return worth

    # ---- lots ----

    def _trade(self, symbol: str, n: int, shares: int, cash: int | None, price: int) -> None:
        """Shares come or go for `cash` in all; None: nothing was paid, and what comes is worth its price."""
        lots = self.lots.setdefault(symbol, [])
        held = sum(lot[1] for lot in lots)
        ends = min(abs(shares), abs(held)) if held * shares < 0 else 0
        left = shares - ends * (1 if shares > 0 else -1)
        cost = left * price if cash is None else -_parts(cash, [ends, abs(left)])[1]
        self._close(symbol, ends)
        if left:
            lots.append([n, left, cost])
            self.spent[symbol] += cost

    def _close(self, symbol: str, count: int) -> None:
        """So many shares of the oldest lots end, with their part of the cost."""
        lots = self.lots[symbol]
        while count:
            lot, size = lots[0], abs(lots[0][1])
            part = min(size, count)
            cost, count = lot[2] * part // size, count - part
            lots[0] = [lot[0], lot[1] * (size - part) // size, lot[2] - cost]
            self.ended[symbol] += cost
            if part == size:
                lots.pop(0)

    def _split_lots(self, symbol: str, exact: Fraction, whole: int) -> None:
        """Shares and cost over the lots; the fraction that is paid for in cash takes its part of the cost."""
        lots = self.lots[symbol]
        cost = sum(lot[2] for lot in lots)
        gone = round(cost * (exact - whole) / exact)
        self.ended[symbol] += gone
        shares = _parts(whole, [abs(lot[1]) for lot in lots])
        paid = any(lot[2] for lot in lots)
        costs = _parts(cost - gone, [abs(lot[2]) if paid else 1 for lot in lots])
        kept, carried = [], 0
        for lot, some, cents in zip(lots, shares, costs, strict=True):
            carried += cents
            if some:
                kept.append([lot[0], some, carried])
                carried = 0
        if kept:
            kept[-1][2] += carried
        self.lots[symbol] = kept

    def _act(self, n: int) -> list:
        """Splits and dividends on what was held the evening before."""
        fractions = []
        for at, symbol, kind, value in ACTIONS:
            held = self.shares.get(symbol, 0)
            if (at, kind) == (n, "split"):
                exact = held * value
                self._scale(n, symbol, value, held)
                if held:
                    self._split_lots(symbol, exact, int(exact))
                self._hold(symbol, int(exact))
                fractions += [(symbol, int(exact), exact)] if held else []
            if (at, kind) == (n, "dividend") and self.kind == "paper":
                self.cash += _cents(held * value * 100)
            elif (at, kind) == (n, "dividend") and held:
                self.owed.append((NEVER, _cents(held * value * 100), symbol))
                self.dividends[n] = self.owed[-1][1]
        return fractions

    def _scale(self, n: int, symbol: str, ratio: Fraction, held: int) -> None:
        """A paper order that waits is for as many shares as before the split; `scaled` is what is to be filled."""
        self.scaled = {o.key: int(o.shares * ratio) for o in self.orders.values() if (o.due, o.symbol) == (n, symbol)}
        for key in self.scaled:
            if held and self.orders[key].shares == -held:
                self.scaled[key] = -int(held * ratio)

    def _take(self, n: int) -> None:
        """Recorded fills; on paper, those of the approved orders that are due. The rest expires."""
        for row in self.recorded:
            paid = -row["shares"] * row["cents"] - row["commission"]
            self.cash += paid
            self._trade(row["symbol"], row["due"], row["shares"], paid, row["cents"])
            if row["symbol"] not in self.shares:
                self.seen[row["symbol"]] = row["cents"]
            self._hold(row["symbol"], self.shares.get(row["symbol"], 0) + row["shares"])
        self.recorded = []
        due = [order for order in self.orders.values() if order.due == n and order.status in OPEN]
        for order in due:
            if order.status == "PENDING":
                order.status = "EXPIRED"
        if self.kind == "paper":
            self._simulate([order for order in due if order.status == "APPROVED"], n)
        self.scaled = {}

    def _simulate(self, orders: list[Order], n: int) -> None:
        wanted, price = {}, {}
        for order in orders:
            order.status = "EXPIRED"
            if self.opens[order.symbol][n] is not None:
                shares = self.scaled.get(order.key, order.shares)
                held = max(self.shares.get(order.symbol, 0), 0)  # of what was sold short nothing is sold
                wanted[order.key] = max(shares, -held)
                price[order.key] = self.opens[order.symbol][n]
        for key, shares in _affordable(wanted, price, self.cash).items():
            if shares:
                order, ordered = self.orders[key], self.scaled.get(key, self.orders[key].shares)
                order.filled, order.status = shares, "FILLED" if shares == ordered else "PARTIALLY_FILLED"
                self.cash += _flow(shares, price[key])
                self._trade(order.symbol, n, shares, _flow(shares, price[key]), price[key])
                self._hold(order.symbol, self.shares.get(order.symbol, 0) + shares)
                self.fills[f"{key}#1"] = {"order": key, "shares": shares}

    def _delist(self, n: int) -> None:
        for at, symbol, kind, final in ACTIONS:
            if kind == "delisting" and at <= n and symbol in self.shares:
                shares = self.shares[symbol]
                usual = (shares, _cents(shares * self.seen[symbol] * (1 + final)))
                known, cents = self.paid_out.setdefault((symbol, n), usual)  # as much for each share, played again too
                self.cash += round(Fraction(cents * shares, known))
                self._close(symbol, abs(self.shares[symbol]))
                self._hold(symbol, 0)

    def _hold(self, symbol: str, shares: int) -> None:
        self.shares[symbol] = shares
        if not shares:
            del self.shares[symbol]

    # ---- the kill switch ----

    def evaluate(self, limits, unseen: int) -> str:
        """What the switch says of the marks since it was armed; the worst is latched, but not that it cannot see."""
        marks = self.marks[self.armed :]
        growth = [Fraction(new, old + flow) if old + flow > 0 else Fraction(1) for old, flow, new in marks]
        for end in range(len(marks) - unseen + 1, len(marks) + 1):
            gains = [g - 1 for g in growth[:end]]
            if gains[-1] < -Fraction(str(limits.max_daily_loss)) and marks[end - 1][0] + marks[end - 1][1] > 0:
                self._trip("HALTED")
            wealth = peak = Fraction(1)
            for g in growth[:end]:
                wealth *= g
                peak = max(peak, wealth)
            blind = any(old + flow <= 0 for old, flow, _ in marks[:end])
            if wealth / peak - 1 < -Fraction(str(limits.max_drawdown)) and not blind:
                self._trip("HALTED")
            window = [float(gain) for gain in gains[-limits.sharpe_sessions :]]
            seen = all(old + flow > 0 for old, flow, _ in marks[:end][-limits.sharpe_sessions :])
            if len(window) == limits.sharpe_sessions and len(set(window)) > 1 and seen:
                ratio = statistics.mean(window) / statistics.stdev(window) * sqrt(252)
                if ratio < limits.min_sharpe:
                    self._trip("REDUCE_ONLY")
        blind = any(old + flow <= 0 for old, flow, _ in marks)
        return max(self.switch, "REDUCE_ONLY" if blind else "ACTIVE", key=RANK.index)

    def _trip(self, state: str) -> None:
        self.switch = max(self.switch, state, key=RANK.index)

    def adds(self, orders: dict) -> bool:
        """Whether an order does anything but make a holding smaller."""
        held = {symbol: self.shares.get(symbol, 0) for symbol in orders}
        return any(n * held[symbol] >= 0 or abs(n) > abs(held[symbol]) for symbol, n in orders.items())


def _owe(owed: list, row: dict) -> None:
    """What a correction does to what is owed."""
    if "taken" in row:
        owed.remove((NEVER, row["taken"], row["symbol"]))
    elif row["due"] is not None:
        owed.append((row["due"], row["cents"], row["symbol"]))


def _cents(exact) -> int:
    """The nearest whole cent; ties do not occur."""
    return floor(exact + Fraction(1, 2))


def _parts(total: int, weights: list[int]) -> list[int]:
    """`total` in whole parts like `weights`: each rounded down, what is left goes to the largest remainders."""
    exact = [Fraction(abs(total) * weight, sum(weights)) for weight in weights]
    parts = [floor(part) for part in exact]
    order = sorted(range(len(parts)), key=lambda n: parts[n] - exact[n])
    for n in order[: abs(total) - sum(parts)]:
        parts[n] += 1
    return [part if total >= 0 else -part for part in parts]


def _flow(shares: int, price: int) -> int:
    """What a simulated fill does to the cash."""
    notional = abs(shares) * price
    costs = max(_cents(notional * COMMISSION), LEAST) + _cents(notional * SLIPPAGE) if notional else 0
    return -shares * price - costs


def _affordable(wanted: dict, price: dict, cash: int) -> dict:
    """All sells; of the buys the largest common fraction that the cash then pays for, each rounded down."""
    sells = {key: n for key, n in wanted.items() if n <= 0}
    if cash + sum(_flow(n, price[key]) for key, n in sells.items()) < 0:
        sells = {key: n if _flow(n, price[key]) >= 0 else 0 for key, n in sells.items()}
    budget = cash + sum(_flow(n, price[key]) for key, n in sells.items())
    buys = {key: n for key, n in wanted.items() if n > 0}
    for part in sorted({Fraction(k, n) for n in buys.values() for k in range(n + 1)}, reverse=True):
        some = {key: floor(n * part) for key, n in buys.items()}
        if -sum(_flow(n, price[key]) for key, n in some.items()) <= budget:
            return sells | some
    return sells | dict.fromkeys(buys, 0)
