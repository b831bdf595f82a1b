"""How much money a strategy can carry, from its orders and the traded volume; and how little,
from the price of a share."""

import numpy as np

from openbook.backtest.engine import BacktestResult
from openbook.common.constants import CASH
from openbook.market.dollar_volume import median_dollar_volumes
from openbook.market.tables import Market

NO_ORDER = 1e-9  # a smaller change of weight


def capacity(result: BacktestResult, market: Market, *, share: float = 0.05, orders: float = 0.95) -> float:
    """Portfolio value in USD up to which `orders` of all orders are at most `share` of the volume they trade against.

    share : of the name's median dollar volume over the 20 sessions up to the decision
    orders : the part of the orders that must fit, by number; 0.95 lets one in twenty be larger

    A portfolio of V USD that changes a weight by w orders V·w USD, which reaches the share at V = share · median / w;
    this is the (1 − orders) quantile of those values over all orders that were executed, the first build included.
    Orders that fit may still move prices: costs here do not grow with the size. A name without
    volume in those sessions counts as one that not a single USD can be traded of.
    NaN where the source has no volume, where there was no order, and for what is not made of this market's names.
    """
    names = market.symbols.get_indexer(result.weights.columns.drop(CASH))
    if market.volume is None or (names < 0).any():
        return float("nan")
    executed = result.turnover.notna().to_numpy()
    change = (result.weights - result.held).drop(columns=CASH).abs().to_numpy()[executed]
    dates, columns = np.nonzero(change > NO_ORDER)
    if len(dates) == 0:
        return float("nan")
    rows = market.dates.get_indexer(result.weights.index[executed])
    volume = np.nan_to_num(median_dollar_volumes(market, rows[dates], names[columns]))
    return float(np.quantile(share * volume / change[dates, columns], 1 - orders, method="lower"))


def smallest_account(result: BacktestResult, market: Market, *, positions: float = 0.95) -> float:
    """Portfolio value in USD from which `positions` of all target positions are at least one whole share.

    positions : the part of the targets that must be, by number; 0.95 lets one in twenty be less than a share

    A backtest holds fractions of shares, a book mostly whole ones: below this value its result cannot be reached, for
    names are left out and cash stays idle. A target of weight w in a share of P USD is one share at P / w USD; this is
    the quantile of those values over all decisions. P is the close of that session, as traded; where a source has
    adjusted prices only they are often lower than what was paid, and so is this value. NaN where nothing was wanted,
    and for what is not made of this market's names.
    """
    names = market.symbols.get_indexer(result.weights.columns.drop(CASH))
    if (names < 0).any():
        return float("nan")
    weights = result.weights.drop(columns=CASH).to_numpy()
    close = market.close.ffill().loc[result.weights.index].to_numpy()[:, names]
    wanted = (weights > NO_ORDER) & np.isfinite(close)
    if not wanted.any():
        return float("nan")
    return float(np.quantile(close[wanted] / weights[wanted], positions, method="higher"))
