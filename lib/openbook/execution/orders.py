"""Orders from target weights: whole shares, or the unit that a book counts in; sells first, never more than the cash
can pay for, and in words what could not be bought."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from openbook.common.constants import CASH
from openbook.common.errors import DataError, LimitError
from openbook.common.settings import Settings
from openbook.execution.rounding import WHOLE, Room, Rounding, affordable, cash_flow, trade_cents
from openbook.execution.share_units import in_shares
from openbook.portfolio.costs import Costs
from openbook.portfolio.turnover import traded_turnover

__all__ = [
    "CASH",
    "TRADE_COLUMNS",
    "Room",
    "TradeGenerator",
    "affordable",
    "cash_flow",
    "current_weights",
    "portfolio_value",
    "trade_cents",
]

TRADE_COLUMNS = [
    "symbol",
    "side",
    "shares",
    "price",
    "notional",
    "weight_before",
    "weight_target",
    "weight_change",
    "commission_est",
    "slippage_est",
    "liquidity_warning",
    "reason",
]
UNBOUGHT_COLUMNS = ["symbol", "weight_target", "usd", "shares", "price", "why"]
NAMED = 5  # names that a sentence has
MOST = 2**53  # units of a target: beyond it, doubles skip whole numbers
NOTHING = "the portfolio is worth {:,.2f} USD, so nothing can be traded"
NO_VOLUME = "not checked: no volume"


def portfolio_value(positions: pd.Series, cash: float, prices: pd.Series) -> float:
    """Cash plus shares × price, in USD.

    positions : (n_held,) signed shares by symbol
    prices : (n_symbols,) by symbol, last close in USD

    Raises DataError if a held symbol has no price: it is never valued at zero.
    """
    held = positions[positions != 0]
    return float(cash) + float((held * _priced(prices, held.index, "held")).sum())


def current_weights(positions: pd.Series, cash: float, prices: pd.Series) -> pd.Series:
    """What is held as fractions of the portfolio, by symbol, CASH last; sums to 1. A book that holds nothing is all
    cash, whatever there is of it. DataError as `portfolio_value`, and for holdings that are worth nothing together with
    the cash."""
    held = positions[positions != 0]
    value = portfolio_value(held, cash, prices)
    if held.empty:
        return pd.Series({CASH: 1.0}, name="held")
    if not value > 0:
        raise DataError(NOTHING.format(value))
    weights = held * prices.reindex(held.index) / value
    return pd.concat([weights, pd.Series({CASH: cash / value})]).rename("held")


@dataclass(frozen=True, eq=False)
class Unbought:
    """What a book is too small for: names that are wanted and not held after the orders, and the cash that stays idle.

    table : symbol, weight_target, usd, shares (both what the target asks for), price, why; the largest weight first
    n_wanted : number of names with a target; value : of the portfolio, USD
    idle : USD that stay in cash beyond what the target keeps there
    enough : USD from which on the target of every name is at least one share and one order of min_trade_size
    """

    table: pd.DataFrame
    n_wanted: int
    value: float
    idle: float
    enough: float

    @property
    def sentence(self) -> str:
        """All of it in words; empty where every name that is wanted can be bought."""
        if not self.value > 0:
            return f"T{NOTHING.format(self.value)[1:]}."
        if self.table.empty:
            return ""
        n, named = len(self.table), [f"{row.symbol} ({row.why})" for row in self.table.head(NAMED).itertuples()]
        more = [f"{n - NAMED} more"] if n > NAMED else []
        part = self.idle / self.value
        return (
            f"{n} of {self.n_wanted} target names cannot be bought with {self.value:,.2f} USD: "
            f"{', '.join([*named, *more])}. {self.idle:,.2f} USD ({part:.1%}) stay uninvested. These "
            f"settings need about {self.enough:,.0f} USD to hold every name; with less, lower "
            "portfolio.top_n."
        )


class TradeGenerator(Settings):
    """Turns target weights into orders.

    Orders are for whole shares; where a book counts parts of a share, for multiples of its unit. Targets are rounded to
    the nearest unit as far as cash and limits let them, and the cash that is left is spent; see `Rounding.orders`.
    """

    min_trade_size: float = Field(100.0, ge=0, description="USD; smaller trades are dropped, full exits are not")
    costs: Costs = Field(Costs(), description="transaction cost model, the same as in the backtest")
    max_volume_pct: float = Field(
        0.05, gt=0, le=1, description="fraction of median dollar volume above which an order gets a liquidity warning"
    )
    share_units: int = Field(1, ge=1, description="units per share, as in the book; 1: whole shares")

    def generate_trades(
        self,
        positions: pd.Series,
        cash: float,
        target_weights: pd.Series,
        prices: pd.Series,
        *,
        volume: pd.Series | None = None,
        reasons: pd.Series | None = None,
        room: Room = Room(),  # noqa: B008 (frozen)
        locked: tuple[str, ...] = (),
    ) -> pd.DataFrame:
        """One row per order (TRADE_COLUMNS), sells first, then by symbol.

        positions : (n_held,) shares by symbol; cash : USD
        target_weights : (n,) by symbol, CASH among them or not; a held symbol that is absent is sold in full
        prices : (n_symbols,) by symbol, last close in USD
        volume : median dollar volume by symbol, or None where the source has none
        reasons : text by symbol; without one, the reason is what the order does
        room : the limits that rounding up may not break
        locked : held symbols that cannot be traded; they get no order, whatever their target

        weight_before is the drifted weight of the whole book, cash included; weight_target what was asked for, before
        rounding, the minimum size and the cash. A book that is worth nothing and holds nothing has no orders. Raises
        DataError for a missing price, or holdings that are worth nothing; LimitError for a weight that is not a number
        ≥ 0.
        """
        kept = current_weights(positions, cash, prices).reindex(locked) if locked else pd.Series(dtype="float64")
        others = target_weights.drop(list(locked), errors="ignore")
        plan, rounding = self._plan(positions, cash, pd.concat([others, kept]) if locked else target_weights, prices)
        units = rounding.orders(room)
        trades = plan.assign(shares=in_shares(pd.Series(units, index=plan.index), self.share_units))
        trades["side"] = pd.Series(np.where(units > 0, "BUY", "SELL"), dtype="str", index=plan.index)
        trades["notional"] = trades["shares"].abs() * trades["price"]
        asked = in_shares(pd.Series(rounding.rounded_down, index=plan.index), self.share_units)
        trades["reason"] = _explain(trades, asked, reasons)
        trades = trades[units != 0].sort_values(["side", "symbol"], ascending=[False, True], ignore_index=True)
        return self.validate_liquidity(self._with_costs(trades), volume)[TRADE_COLUMNS]

    def unbought(
        self, positions: pd.Series, cash: float, target_weights: pd.Series, prices: pd.Series, trades: pd.DataFrame
    ) -> Unbought:
        """Which wanted names some orders leave out, and why; trades : what `generate_trades` made of the same four."""
        plan, rounding = self._plan(positions, cash, target_weights, prices)
        shares = trades.set_index("symbol")["shares"].reindex(plan["symbol"]).fillna(0).to_numpy(dtype=float)
        ordered = np.rint(shares * self.share_units)
        wanted = plan.assign(usd=plan["weight_target"] * rounding.value, shares=rounding.aimed / self.share_units)
        least = np.maximum(rounding.prices / self.share_units, self.min_trade_size)
        wanted["why"] = [self._why(row) for row in wanted.itertuples()]
        missed = wanted[(plan["weight_target"] > 0) & (rounding.held + ordered == 0)]
        idle = rounding.cash + cash_flow(ordered, rounding.prices, self.costs, self.share_units).sum()
        some = plan["weight_target"].to_numpy() > 0
        return Unbought(
            table=missed.sort_values(["weight_target", "symbol"], ascending=[False, True], ignore_index=True)[
                UNBOUGHT_COLUMNS
            ],
            n_wanted=int(some.sum()),
            value=rounding.value,
            idle=max(float(idle - rounding.keep), 0.0) / 100,
            enough=float((least[some] / plan["weight_target"].to_numpy()[some]).max(initial=0.0)),
        )

    def _why(self, row: Any) -> str:
        """Why a wanted name is not bought."""
        text = f"{row.weight_target:.1%} is {row.shares:.2f} shares at {row.price:,.2f} USD"
        if row.shares * self.share_units < 1 - WHOLE and row.price / self.share_units >= self.min_trade_size:
            return f"{text}, less than one" if self.share_units == 1 else f"{text}, less than 1/{self.share_units:,}"
        if row.usd < self.min_trade_size:
            return f"{row.weight_target:.1%} is {row.usd:,.2f} USD, less than min_trade_size {self.min_trade_size:,.2f}"
        return f"{text}; cash and limits leave no room for an order of min_trade_size"

    def validate_liquidity(self, trades: pd.DataFrame, volume: pd.Series | None) -> pd.DataFrame:
        """`trades` with `liquidity_warning`: empty when fine, else the order's share of the median dollar volume."""
        traded = (pd.Series(dtype=float) if volume is None else volume).reindex(trades["symbol"]).to_numpy(dtype=float)
        pairs = zip(trades["notional"], traded, strict=True)
        return trades.assign(liquidity_warning=pd.Series([self._warn(n, v) for n, v in pairs], dtype="str"))

    def calculate_turnover(self, trades: pd.DataFrame, portfolio_value: float) -> float:
        """½ Σ|change of weight|, cash included: the larger of what is bought and what is sold, of the portfolio."""
        bought = float(trades.loc[trades["shares"] > 0, "notional"].sum(skipna=False))
        sold = float(trades.loc[trades["shares"] < 0, "notional"].sum(skipna=False))
        return float(traded_turnover(bought, sold, portfolio_value)) if len(trades) else 0.0

    def estimate_costs(self, trades: pd.DataFrame) -> dict[str, float]:
        """Sums of the estimates, USD: commission, slippage, total; NaN if any of them is."""
        commission = float(trades["commission_est"].sum(skipna=False))
        slippage = float(trades["slippage_est"].sum(skipna=False))
        return {"commission": commission, "slippage": slippage, "total": commission + slippage}

    def _plan(
        self, positions: pd.Series, cash: float, target_weights: pd.Series, prices: pd.Series
    ) -> tuple[pd.DataFrame, Rounding]:
        """One row per symbol held or wanted, sorted: symbol, price, weights; and the same as the rounding takes it."""
        held = positions[positions != 0]
        target = _checked_weights(target_weights)
        value = portfolio_value(held, cash, prices)
        if not (value > 0 or held.empty):
            raise DataError(NOTHING.format(value))
        symbols = held.index.union(target.index[target > 0]).sort_values() if value > 0 else held.index
        price = _priced(prices, symbols, "wanted")
        has, want = held.reindex(symbols, fill_value=0), target.reindex(symbols, fill_value=0.0)
        plan = pd.DataFrame({"symbol": symbols.astype("str"), "price": price.to_numpy(dtype=float)})
        plan["weight_before"] = (has * price / value).to_numpy(dtype=float)
        plan["weight_target"] = want.to_numpy(dtype=float)
        plan["weight_change"] = plan["weight_target"] - plan["weight_before"]
        units = np.rint(has.to_numpy(dtype=float) * self.share_units).astype(np.int64)
        aimed = (want * value / price).to_numpy(dtype=float) * self.share_units
        _require_countable(plan, aimed)
        return plan, Rounding(
            symbols=plan["symbol"],
            prices=plan["price"].to_numpy(),
            held=units,
            aimed=aimed,
            value=value,
            cash=round(cash * 100),
            keep=max(round((1 - target.to_numpy(dtype=float).sum()) * value * 100), 0),
            smallest=self.min_trade_size,
            costs=self.costs,
            share_units=self.share_units,
        )

    def _with_costs(self, trades: pd.DataFrame) -> pd.DataFrame:
        """`trades` with the estimates of commission and slippage, USD, to the cent as they will be charged."""
        units = np.rint(trades["shares"].to_numpy(dtype=float) * self.share_units)
        _, commission, slippage = trade_cents(units, trades["price"], self.costs, self.share_units)
        return trades.assign(commission_est=commission / 100, slippage_est=slippage / 100)

    def _warn(self, notional: float, volume: float) -> str:
        """The liquidity warning of one order, from its median dollar volume."""
        if np.isnan(volume):
            return NO_VOLUME
        if notional <= self.max_volume_pct * volume:
            return ""
        if volume <= 0:
            return "nothing traded in 20 sessions"
        return f"{notional / volume:.1%} of 20-session median dollar volume"


def _checked_weights(weights: pd.Series) -> pd.Series:
    """Target weights without CASH; LimitError names those that are not numbers ≥ 0, or are given twice."""
    names = weights.drop(CASH, errors="ignore")
    bad = [*names.index[~((names >= 0) & (names < np.inf))], *names.index[names.index.duplicated()]]
    if bad:
        raise LimitError(
            f"invalid target weights for {', '.join(map(str, bad))}: each symbol needs one weight of 0 or more"
        )
    return names


def _priced(prices: pd.Series, symbols: pd.Index, what: str) -> pd.Series:
    """Prices of `symbols`; DataError names those without a positive one."""
    found = prices.reindex(symbols)
    missing = found.index[~((found > 0) & (found < np.inf))]
    if len(missing):
        raise DataError(f"no price for {what} {', '.join(map(str, missing))}; import its bars or record the delisting")
    return found


def _require_countable(plan: pd.DataFrame, units: np.ndarray) -> None:
    """DataError names a symbol of whose price a weight buys more units than a number can tell apart."""
    for row in plan[units > MOST].itertuples():
        raise DataError(f"{row.symbol} at {row.price:.4g} USD: a weight of {row.weight_target:.1%} buys more shares "
                        "than can be counted; correct its price")  # fmt: skip


def _explain(trades: pd.DataFrame, asked: pd.Series, reasons: pd.Series | None) -> pd.Series:
    """The reason of each order: the caller's words if any, else a default; and whether cash reduced it."""
    given = (pd.Series(dtype="str") if reasons is None else reasons).reindex(trades["symbol"]).to_numpy()
    rows = zip(trades.itertuples(), given, asked, strict=True)
    return pd.Series([_sentence(row, text, shares) for row, text, shares in rows], dtype="str", index=trades.index)


def _sentence(row: Any, text: Any, asked: float) -> str:
    """Why one order is there."""
    if not isinstance(text, str):
        text = _default_reason(row.side, row.weight_before, row.weight_target)
    return f"{text}; cash pays for {row.shares:.10g} of {asked:.10g}" if 0 < row.shares < asked else text


def _default_reason(side: str, before: float, target: float) -> str:
    """What an order does, from its weights."""
    if side == "SELL":
        return "position closed: target 0%" if target == 0 else f"position reduced to target {target:.2%}"
    return f"position opened: target {target:.2%}" if before == 0 else f"position increased to target {target:.2%}"
