"""Return of the book's own decisions in a backtest, and why the book's return differs."""

import pandas as pd

from openbook import metrics
from openbook.backtest.engine import VectorizedBacktester
from openbook.common.constants import CASH
from openbook.market.tables import Market
from openbook.portfolio.costs import Costs


def track(
    history: pd.DataFrame,
    executed: pd.DataFrame,
    targets: pd.DataFrame,
    held: pd.DataFrame,
    market: Market,
    *,
    costs: Costs,
    min_trade_size: float,
) -> pd.DataFrame | None:
    """`metrics.tracking_difference` of the book since its first decision; None before there is a session to compare.

    history : HISTORY_COLUMNS; executed : EXECUTION_COLUMNS; both through this session
    targets : decision dates × symbols and CASH, every target weight that led to orders, approved or not; those from
        before the first session of `history` were another book's
    held : dates × symbols, weights at the close; costs : as the backtest has them; min_trade_size : USD

    The backtest takes each target as decided, in fractions of shares, at the execution price of the next session
    and at the costs of the formula. An order that was rejected, expired or cut is in its rest.
    """
    targets = targets[targets.index >= history["date"].min()] if len(targets) else targets
    since = history[history["date"] > targets.index.min()] if len(targets) else history.iloc[:0]
    known = targets.columns.drop(CASH, errors="ignore").difference(market.symbols)
    if since.empty or len(known):
        return None
    capital = float(history.loc[history["date"] <= targets.index[0], "equity"].iloc[-1])
    done = VectorizedBacktester(costs=costs, capital=capital).run(targets, market)
    close, sessions = market.close, pd.DatetimeIndex(since["date"])
    return metrics.tracking_difference(
        since,
        pd.DataFrame({"return": done.returns, "cost": _paid(done.costs, done.equity)}),
        fills=executed,
        ideal=_drifted(targets.drop(columns=CASH, errors="ignore"), market.adjusted).reindex(sessions),
        held=held,
        returns=market.adjusted.ffill().pct_change(fill_method=None).reindex(sessions),
        smallest=close.clip(lower=min_trade_size).reindex(sessions),
    )


def _paid(costs: pd.Series, equity: pd.Series) -> pd.Series:
    """Execution cost of each session, a fraction of the equity before; 0 without a decision."""
    by_session = costs.reindex(equity.index).fillna(0.0).shift(1, fill_value=0.0)
    return by_session / equity.shift(1)


def _drifted(targets: pd.DataFrame, adjusted: pd.DataFrame) -> pd.DataFrame:
    """Weights at each close after a decision, as if it had been executed at its own close; sessions × symbols."""
    ends = [*targets.index[1:], adjusted.index[-1]]
    parts = [
        _grown(weights, adjusted.loc[start:end, targets.columns])
        for (start, weights), end in zip(targets.iterrows(), ends, strict=True)
    ]
    drifted = pd.concat(parts)
    return drifted[~drifted.index.duplicated(keep="last")]


def _grown(weights: pd.Series, adjusted: pd.DataFrame) -> pd.DataFrame:
    """Weights at the first row's close, grown to every row."""
    worth = (adjusted.ffill() / adjusted.iloc[0]).mul(weights, axis=1).fillna(0.0)
    return worth.div(worth.sum(axis=1) + 1.0 - weights.sum(), axis=0)
