"""Orders from target weights: whole shares, sells first, never more than the cash can pay for."""

import numpy as np
import pandas as pd
from pydantic import BaseModel, Field

from openbook.errors import DataError, LimitError
from openbook.market.tables import Market
from openbook.portfolio.costs import Costs

CASH = "CASH"
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
NO_VOLUME = "not checked: no volume"
# Weights come out of floating-point solvers: 99.9999999 shares are 100, not 99.
WHOLE = 1e-6


def portfolio_value(positions: pd.Series, cash: float, prices: pd.Series) -> float:
    """Cash plus shares × price, in USD.

    positions : (n_held,) signed shares by symbol
    prices : (n_symbols,) by symbol, last close in USD

    Raises DataError if a held symbol has no price: it is never valued at zero.
    """
    held = positions[positions != 0]
    return float(cash) + float((held * _priced(prices, held.index, "held")).sum())


def current_weights(positions: pd.Series, cash: float, prices: pd.Series) -> pd.Series:
    """What is held as fractions of the portfolio, by symbol, CASH last; sums to 1. DataError as `portfolio_value`."""
    held = positions[positions != 0]
    value = portfolio_value(held, cash, prices)
    weights = held * prices.reindex(held.index) / value
    return pd.concat([weights, pd.Series({CASH: cash / value})]).rename("held")


def median_dollar_volume(market: Market, window: int = 20) -> pd.Series | None:
    """Median of close × volume over the last `window` sessions, (n_symbols,), USD; None if the source has no volume.

    A missing bar is left out of the median; a symbol without any bar in the window is NaN.
    """
    if market.volume is None:
        return None
    return (market.close.iloc[-window:] * market.volume.iloc[-window:]).median()


def trade_cents(shares, prices, costs: Costs, share_units: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Notional, commission and slippage of each order, (n,) integer cents, none negative; no shares cost nothing.

    shares : (n,) integers, `share_units` of them to a whole share; prices : (n,) USD per whole share
    """
    notional = np.abs(np.asarray(shares, dtype=np.int64)) / share_units * np.asarray(prices, dtype=float)
    parts = (notional, costs.commission(notional), costs.slippage(notional))
    return tuple(np.rint(np.where(notional > 0, part, 0.0) * 100).astype(np.int64) for part in parts)


def cash_flow(shares, prices, costs: Costs, share_units: int = 1) -> np.ndarray:
    """What each order does to the cash after its own costs, (n,) integer cents; negative for a buy."""
    notional, commission, slippage = trade_cents(shares, prices, costs, share_units)
    return -np.sign(np.asarray(shares, dtype=np.int64)) * notional - commission - slippage


def affordable(shares, prices, cash_cents: int, costs: Costs, share_units: int = 1) -> np.ndarray:
    """As much of the orders as the cash can pay for, (n,) signed units of shares; cash never ends below zero.

    Sells come first and in full; then all buys are scaled by one factor, the largest that fits, and rounded down.
    Only where the cash cannot even carry the sells are those left out whose costs exceed their proceeds.
    """
    shares, prices = np.asarray(shares, dtype=np.int64), np.asarray(prices, dtype=float)
    sells, buys = np.minimum(shares, 0), np.maximum(shares, 0)
    flow = cash_flow(sells, prices, costs, share_units)
    if cash_cents + flow.sum() < 0:
        sells, flow = np.where(flow >= 0, sells, 0), np.maximum(flow, 0)
    budget = cash_cents + flow.sum()
    return sells + _scale(buys, prices, budget, costs, share_units)


def _scale(buys: np.ndarray, prices: np.ndarray, budget: int, costs: Costs, share_units: int) -> np.ndarray:
    """floor(buys × f) for the largest f ≤ 1 whose total is within `budget` cents; found by bisection, as costs may
    have a minimum and are not proportional."""
    if -cash_flow(buys, prices, costs, share_units).sum() <= budget:
        return buys
    low, high = 0.0, 1.0
    for _ in range(53):  # bits of a double
        middle = (low + high) / 2
        fits = -cash_flow(np.floor(buys * middle), prices, costs, share_units).sum() <= budget
        low, high = (middle, high) if fits else (low, middle)
    return np.floor(buys * low).astype(np.int64)


class TradeGenerator(BaseModel, frozen=True, extra="forbid"):
    """Turns target weights into orders.

    Orders are for whole shares, also where a book can hold fractions: of a fraction that it holds nothing is sold.
    Rounding: the shares aimed at are the target rounded down, so a buy stops at or below its target and a sell goes
    to or below it; what rounding leaves over stays in cash.
    """

    min_trade_size: float = Field(100.0, ge=0, description="USD; smaller trades are dropped, full exits never")
    costs: Costs = Field(Costs(), description="the one cost formula, as in the backtest")
    max_volume_pct: float = Field(0.05, gt=0, le=1, description="of the median dollar volume; a larger order is warned")

    def generate_trades(
        self,
        positions: pd.Series,
        cash: float,
        target_weights: pd.Series,
        prices: pd.Series,
        *,
        volume: pd.Series | None = None,
        reasons: pd.Series | None = None,
    ) -> pd.DataFrame:
        """One row per order (TRADE_COLUMNS), sells first, then by symbol.

        positions : (n_held,) whole shares by symbol; cash : USD
        target_weights : (n,) by symbol, CASH among them or not; a held symbol that is absent is sold in full
        prices : (n_symbols,) by symbol, last close in USD
        volume : median dollar volume by symbol, or None where the source has none
        reasons : text by symbol; where there is none, what the order does is said

        weight_before is the drifted weight of the whole book, cash included; weight_target what was asked for, before
        rounding, the minimum size and the cash. Raises DataError for a missing price, LimitError for a weight that is
        not a number ≥ 0.
        """
        plan = self._plan(positions, cash, target_weights, prices)
        asked = self.filter_small_trades(plan[plan["shares"] != 0])
        paid = affordable(asked["shares"], asked["price"], round(cash * 100), self.costs)
        trades = asked.assign(shares=paid, notional=np.abs(paid) * asked["price"])
        trades["reason"] = _explain(asked, paid, reasons)
        trades = self.filter_small_trades(trades[trades["shares"] != 0])
        return self.validate_liquidity(self._with_costs(trades), volume)[TRADE_COLUMNS]

    def filter_small_trades(self, trades: pd.DataFrame) -> pd.DataFrame:
        """`trades` without those below min_trade_size; a sale of everything (weight_target 0) always stays."""
        full_exit = (trades["side"] == "SELL") & (trades["weight_target"] == 0)
        return trades[(trades["notional"] >= self.min_trade_size) | full_exit].reset_index(drop=True)

    def validate_liquidity(self, trades: pd.DataFrame, volume: pd.Series | None) -> pd.DataFrame:
        """`trades` with `liquidity_warning`: empty when fine, else the order's share of the median dollar volume."""
        traded = (pd.Series(dtype=float) if volume is None else volume).reindex(trades["symbol"]).to_numpy(dtype=float)
        pairs = zip(trades["notional"], traded, strict=True)
        return trades.assign(liquidity_warning=pd.Series([self._warn(n, v) for n, v in pairs], dtype="str"))

    def calculate_turnover(self, trades: pd.DataFrame, portfolio_value: float) -> float:
        """½ Σ|change of weight|, cash included: the larger of what is bought and what is sold, of the portfolio."""
        bought = float(trades.loc[trades["shares"] > 0, "notional"].sum(skipna=False))
        sold = float(trades.loc[trades["shares"] < 0, "notional"].sum(skipna=False))
        return float(np.maximum(bought, sold) / portfolio_value)

    def estimate_costs(self, trades: pd.DataFrame) -> dict[str, float]:
        """Sums of the estimates, USD: commission, slippage, total; NaN if any of them is."""
        commission = float(trades["commission_est"].sum(skipna=False))
        slippage = float(trades["slippage_est"].sum(skipna=False))
        return {"commission": commission, "slippage": slippage, "total": commission + slippage}

    def _plan(self, positions, cash, target_weights, prices) -> pd.DataFrame:
        """One row per symbol held or wanted, sells first: price, signed shares to trade, weights, side, notional."""
        held = positions[positions != 0]
        target = _checked_weights(target_weights)
        value = portfolio_value(held, cash, prices)
        if not value > 0:
            raise DataError(f"the portfolio is worth {value:,.2f} USD; nothing can be traded")
        symbols = held.index.union(target.index[target > 0]).sort_values()
        price = _priced(prices, symbols, "wanted")
        has = held.reindex(symbols, fill_value=0).astype("int64")
        want = target.reindex(symbols, fill_value=0.0)
        shares = np.floor(want * value / price + WHOLE).astype("int64") - has
        plan = pd.DataFrame({"symbol": symbols.astype("str"), "shares": shares.to_numpy(), "price": price.to_numpy()})
        plan["side"] = pd.Series(np.where(plan["shares"] > 0, "BUY", "SELL"), dtype="str")
        plan["notional"] = plan["shares"].abs() * plan["price"]
        plan["weight_before"] = (has * price / value).to_numpy()
        plan["weight_target"] = want.to_numpy()
        plan["weight_change"] = plan["weight_target"] - plan["weight_before"]
        return plan.sort_values(["side", "symbol"], ascending=[False, True])

    def _with_costs(self, trades: pd.DataFrame) -> pd.DataFrame:
        """`trades` with the estimates of commission and slippage, USD, to the cent as they will be charged."""
        _, commission, slippage = trade_cents(trades["shares"], trades["price"], self.costs)
        return trades.assign(commission_est=commission / 100, slippage_est=slippage / 100)

    def _warn(self, notional: float, volume: float) -> str:
        """What there is to say about one order against its median dollar volume."""
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
        raise LimitError(f"target weights of {', '.join(map(str, bad))} are not single numbers of 0 or more")
    return names


def _priced(prices: pd.Series, symbols: pd.Index, what: str) -> pd.Series:
    """Prices of `symbols`; DataError names those without a positive one."""
    found = prices.reindex(symbols)
    missing = found.index[~((found > 0) & (found < np.inf))]
    if len(missing):
        raise DataError(f"no price for {what} {', '.join(map(str, missing))}; import one or record the delisting")
    return found


def _explain(asked: pd.DataFrame, paid: np.ndarray, reasons: pd.Series | None) -> pd.Series:
    """Why each order is there: the caller's words if any, else its own; and that cash cut it, where it did."""
    given = (pd.Series(dtype="str") if reasons is None else reasons).reindex(asked["symbol"]).to_numpy()
    rows = zip(asked.itertuples(), given, paid, strict=True)
    return pd.Series([_sentence(row, text, shares) for row, text, shares in rows], dtype="str", index=asked.index)


def _sentence(row, text, shares: int) -> str:
    """Why one order is there."""
    if not isinstance(text, str):
        text = _default_reason(row.side, row.weight_before, row.weight_target)
    return text if shares == row.shares else f"{text}; cash pays for {shares} of {row.shares}"


def _default_reason(side: str, before: float, target: float) -> str:
    """What an order does, from its weights."""
    if side == "SELL":
        return "leaves: target 0%" if target == 0 else f"trim to target {target:.2%}"
    return f"enters: target {target:.2%}" if before == 0 else f"add to target {target:.2%}"
