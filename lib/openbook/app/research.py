"""Research in a few lines: prices in, a backtest of any scores, several of them side by side."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from openbook.backtest.engine import BacktestResult, VectorizedBacktester, equal_weight_universe
from openbook.backtest.grid import common_dates
from openbook.common.errors import DataError, UsageError
from openbook.common.shown import Shown
from openbook.market.sources import parse_source
from openbook.market.sources.folder import understand
from openbook.market.store import load_market as read_market
from openbook.market.tables import Market
from openbook.selection import summarise_backtests

COMPARED = ["cagr", "volatility", "sharpe", "max_drawdown", "turnover", "active_return", "active_low", "active_high"]


def load_market(source: str | os.PathLike | Mapping[str, Any] | None = None, **settings: Any) -> Market:
    """Daily prices as a `Market`, checked on arrival.

    source : a file or folder of daily prices: without settings they are recognized, and `market.notes` say how; else
        the settings follow by name as in params/<profile> (`prices="raw"`, `layout="wide"`). Or all settings of a
        source, `{"provider": …}`. None: the bundled closes

    Raises ParameterError (78) for a setting that is unknown or missing, DataError (30) for data that are refused.

    Examples
    --------
    >>> market = ob.load_market()
    >>> market.close.shape[1]
    20
    """
    if source is None:
        source = {"provider": "sample"}
    if not isinstance(source, Mapping) and not settings:
        return _recognized(os.fspath(source))
    if not isinstance(source, Mapping):
        source = {"provider": "files", "path": os.fspath(source)}
    return read_market(parse_source({**source, **settings}))[0]


def _recognized(path: str) -> Market:
    """The market in files that nobody described, with how they were understood among its notes."""
    understood = understand(path)
    if understood.source is None:
        raise DataError(f"no file of {path} has symbol, date and close")
    market = read_market(understood.source)[0]
    return replace(market, notes=(*market.notes, *understood.readings))


def run_backtest(
    scores: pd.DataFrame | None,
    market: Market,
    *,
    first: str = "",
    costs: Mapping[str, float] | None = None,
    **settings: Any,
) -> BacktestResult:
    """The portfolio that some scores lead to, decided at closes, executed in the next session, after costs.

    scores : sessions × symbols, higher is better, each row known at its close; None: every name at equal weight
    first : first session to decide on; costs : of `Costs`; settings : of `PortfolioSettings`, such as
        `optimizer="hrp"`, `top_n=20`, `rebalance_every=21`

    The regime is normal throughout. Scores must be out of sample: nothing here can tell. Raises LimitError or
    ValidationError for settings that are unknown or contradict each other, DataError without a session to decide on.

    Examples
    --------
    >>> momentum = ob.compute_features(market, ["momentum_126"])["momentum_126"]
    >>> result = ob.run_backtest(momentum, market, optimizer="hrp", top_n=10, first="2018-01-02")
    >>> result.equity.index[0].date().isoformat()  # the first rebalance from then on
    '2018-01-03'
    """
    tester = VectorizedBacktester.model_validate({"settings": settings, "costs": costs or {}})
    known = market.adjusted if scores is None else scores
    dates = common_dates({"scores": known}, market, first, tester.settings.rebalance_every)
    if scores is None:
        return tester.run(equal_weight_universe(market, dates), market)
    return tester.run(tester.decide(scores, market, None, dates).weights, market)


@dataclass(frozen=True, eq=False)
class SideBySide(Shown):
    """Backtests over the sessions that all of them have.

    table : by name, COMPARED as fractions, a year where that applies; active_* : above the benchmark, with the 95%
        interval of the stationary bootstrap
    returns : sessions × names; benchmark : which name the others are measured against
    """

    table: pd.DataFrame
    returns: pd.DataFrame
    benchmark: str


def compare(results: Mapping[str, BacktestResult], *, benchmark: str = "", seed: int = 0) -> SideBySide:
    """Backtests side by side, over the sessions that all of them have.

    benchmark : the name that the others are measured against; the last one if left out. seed : of the bootstrap

    Raises UsageError for an unknown benchmark, DataError if there is no session in common.

    Examples
    --------
    >>> momentum = ob.compute_features(market, ["momentum_126"])["momentum_126"]
    >>> hrp = ob.run_backtest(momentum, market, optimizer="hrp", top_n=10, first="2018-01-02")
    >>> equal = ob.run_backtest(None, market, first="2018-01-02")
    >>> ob.compare({"momentum × HRP": hrp, "equal weight": equal}).table.index.tolist()
    ['momentum × HRP', 'equal weight']
    """
    benchmark = benchmark or (list(results) or [""])[-1]
    if benchmark not in results:
        raise UsageError(f"no backtest is called {benchmark!r}; there are {', '.join(results) or 'none'}")
    returns = pd.DataFrame({name: result.returns for name, result in results.items()}).dropna()
    if returns.empty:
        raise DataError("the backtests have no session in common")
    rows = summarise_backtests(
        {(name, ""): replace(result, returns=returns[name]) for name, result in results.items()},
        pd.Series(1, index=returns.index),
        benchmark=returns[benchmark],
        seed=seed,
    )
    return SideBySide(rows.set_index("model")[COMPARED].rename_axis("backtest"), returns, benchmark)
