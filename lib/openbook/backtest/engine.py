"""Portfolios through time: the session's decision applied date after date, then walked with exact costs."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from pydantic import Field

from openbook import metrics
from openbook.backtest.decision_dates import DecisionDates, decision_rows, gather_decision_dates
from openbook.backtest.simulate import (
    IN_DOUBT,
    LIMIT,
    SILENT,
    PriceArrays,
    Walk,
    read_prices,
    walk_deciding,
    walk_given,
)
from openbook.common.constants import CASH
from openbook.common.errors import DataError, LimitError, OptimizerError
from openbook.common.settings import Settings
from openbook.common.shown import Shown
from openbook.market.tables import Market
from openbook.portfolio.costs import Costs
from openbook.portfolio.target_weights import (
    PortfolioSettings,
    WeightDecision,
    WeightInputs,
    decide_weights,
    unchosen,
)
from openbook.portfolio.turnover import turnover

LOG_COLUMNS = ["regime", "optimizer", "outcome", "reason", "ranked", "names", "invested", "turnover", "trade_fraction"]
LOCKED_COLUMNS = ["date", "symbol", "why", "usd"]


@dataclass(frozen=True, eq=False)
class Decisions:
    """What `construct_portfolio` would have decided on each date, knowing nothing later.

    weights : dates × symbols and CASH, each row sums to 1
    held : likewise, the drifted weights at the close of the date, before the decision
    log : by date, LOG_COLUMNS; outcome is "decided", or "kept" where no portfolio could be made (reason says why) and
        what was held stayed, as it would have lived through
    """

    weights: pd.DataFrame
    held: pd.DataFrame
    log: pd.DataFrame

    @property
    def failed(self) -> pd.DataFrame:
        """The dates on which no portfolio could be made."""
        return self.log[self.log["outcome"] == "kept"]

    def warning(self, settings: PortfolioSettings) -> str:
        """A warning if `settings` left the model nothing to choose on some dates, for the last of them; else empty."""
        sentences = [unchosen(int(ranked), settings) for ranked in self.log["ranked"].dropna()]
        found = [sentence for sentence in sentences if sentence]
        return f"{found[-1]} (so on {len(found)} of {len(sentences)} rebalances)" if found else ""


@dataclass(frozen=True, eq=False)
class BacktestResult(Shown):
    """The raw facts of one backtest; everything else is derived from them through `openbook.metrics`.

    returns : by session, close to close after costs, from the session after the first decision
    equity, cash : by session, USD at the close, from the first decision
    weights, held : by decision date, targets and the weights before; columns symbols and CASH
    turnover : by decision date, ½Σ|change| at execution, cash included; costs : likewise, USD
    forced_exits : date, symbol, kind, usd of each held name that became cash without an order: by a recorded delisting,
        or because it came back at another level, more than 25 times above
    notes : sentences that every page shows
    warning : that the settings left the model nothing to choose; empty where it chose, or where nothing was decided
    locked : date of the last accepted bar, symbol, why, usd of each name that is held at the end and cannot be sold:
        it has had no bar since, or its bars were refused as doubtful
    """

    returns: pd.Series
    equity: pd.Series
    cash: pd.Series
    weights: pd.DataFrame
    held: pd.DataFrame
    turnover: pd.Series
    costs: pd.Series
    forced_exits: pd.DataFrame
    notes: tuple[str, ...]
    warning: str = ""
    locked: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=LOCKED_COLUMNS))

    @property
    def total_return(self) -> float:
        """Growth from the first decision to the last session, as a fraction."""
        return metrics.total_return(self.returns)

    @property
    def cagr(self) -> float:
        """Growth a year."""
        return metrics.cagr(self.returns)

    @property
    def volatility(self) -> float:
        """Standard deviation of daily returns, a year."""
        return metrics.volatility(self.returns)

    @property
    def sharpe(self) -> float:
        """Mean over standard deviation of daily returns, a year."""
        return metrics.sharpe(self.returns)

    @property
    def sortino(self) -> float:
        """Mean over downside deviation of daily returns, a year."""
        return metrics.sortino(self.returns)

    @property
    def max_drawdown(self) -> float:
        """Deepest fall from a peak, a negative number."""
        return metrics.max_drawdown(self.returns)

    @property
    def calmar(self) -> float:
        """Growth a year over the deepest fall."""
        return metrics.calmar(self.returns)

    @property
    def win_rate(self) -> float:
        """Share of sessions with a gain."""
        return metrics.win_rate(self.returns)

    @property
    def mean_turnover(self) -> float:
        """Mean turnover of a rebalance, the first build left out; NaN if there was no other."""
        later = self.turnover.iloc[1:].dropna()
        return float(later.mean()) if len(later) else float("nan")

    @property
    def total_costs(self) -> float:
        """USD paid in commission and slippage."""
        return float(self.costs.sum())


class VectorizedBacktester(Settings):
    """Decides date after date as `construct_portfolio` does, and walks any weights through a market."""

    settings: PortfolioSettings = PortfolioSettings()
    costs: Costs = Costs()
    capital: float = Field(1_000_000.0, gt=0, description="initial capital, USD; matters for minimum commissions only")

    def decide(self, scores: pd.DataFrame, market: Market, regimes: pd.Series | None, dates) -> Decisions:
        """Target weights of each of `dates`, from the weights that had drifted there.

        scores : dates × symbols, out of sample; regimes : by date, or None: always normal
        Raises OptimizerError if not a single date has a portfolio, with the reason of the first.
        """
        return self.decide_on(gather_decision_dates(scores, market, regimes, dates))

    def decide_on(self, decision_dates: DecisionDates) -> Decisions:
        """The same for sessions already gathered, as when several optimizers share them."""
        log: list[dict] = []

        def decide_row(k: int, held: np.ndarray) -> np.ndarray:
            weights, entry = _try(decision_dates.on(k, held, self.settings), self.settings)
            log.append(entry)
            return weights

        tape, index = decision_dates.tape, decision_dates.dates
        done = walk_deciding(tape, decision_dates.rows, decide_row, self.costs, self.capital)
        decisions = Decisions(
            weights=_with_cash(done.targets, index, tape.symbols),
            held=_with_cash(done.held, index, tape.symbols),
            log=pd.DataFrame(log, index=index, columns=LOG_COLUMNS),
        )
        if len(decisions.failed) == len(index):
            raise OptimizerError(f"no portfolio could be built on any date; on {index[0]:%Y-%m-%d}: {log[0]['reason']}")
        return decisions

    def run(self, weights: pd.DataFrame, market: Market) -> BacktestResult:
        """Walk decided weights through the market: each row is executed at the next session's execution price.

        weights : dates × symbols, with or without CASH; a name left at its drifted weight is no order
        Raises LimitError if a row is negative, not a number, or sums to more than 1 (to other than 1 with CASH).
        """
        return self.run_on(weights, read_prices(market))

    def run_on(self, weights: pd.DataFrame, tape: PriceArrays) -> BacktestResult:
        """The same, on a tape that is there already, as it is when several backtests share it."""
        rows = decision_rows(tape.dates, weights.index)
        done = walk_given(tape, rows, _check_weights(weights, tape.symbols), self.costs, self.capital)
        return _result(done, rows, tape)


def equal_weight_universe(market: Market, dates) -> pd.DataFrame:
    """The passive baseline: on each date the same weight for every name with a bar (and a member)."""
    there = market.adjusted.notna()
    if market.members is not None:
        there &= market.members
    there = there.loc[pd.DatetimeIndex(dates)].astype(float)
    count = there.sum(axis=1)
    if not (count > 0).all():
        raise DataError(f"no name has a bar on {count.index[~(count > 0)][0]:%Y-%m-%d}")
    weights = there.div(count, axis=0)
    return weights.assign(**{CASH: np.maximum(1.0 - weights.sum(axis=1), 0.0)})


def random_scores(market: Market, seed: int) -> pd.DataFrame:
    """The no-skill baseline: independent normal scores where a name has a bar, sessions × symbols."""
    draws = np.random.default_rng(seed).standard_normal(market.close.shape)
    return pd.DataFrame(draws, index=market.dates, columns=market.symbols).where(market.close.notna())


# ---- inside ----


def _try(inputs: WeightInputs, settings: PortfolioSettings) -> tuple[np.ndarray, dict]:
    """The decided weights and their row of the log; holdings stay if no portfolio can be made."""
    try:
        decision = decide_weights(inputs, settings)
    except OptimizerError as error:
        entry = {"optimizer": "", "outcome": "kept", "reason": str(error), "ranked": np.nan}
        entry |= {"turnover": 0.0, "trade_fraction": 0.0}
        return inputs.held, {"regime": inputs.regime, **entry, **_size(inputs.held)}
    return decision.weights, {"regime": inputs.regime, **_entry(decision, inputs), **_size(decision.weights)}


def _entry(decision: WeightDecision, inputs: WeightInputs) -> dict:
    """Optimizer, why it was not the first choice, and how far the portfolio moved."""
    failed = "; ".join(f"{step.optimizer}: {step.reason}" for step in decision.chain if step.outcome == "failed")
    moved = turnover(decision.weights, inputs.held)
    return {
        "optimizer": decision.optimizer,
        "outcome": "decided",
        "reason": failed,
        "ranked": int(np.count_nonzero(decision.rank)),
        "turnover": moved,
        "trade_fraction": decision.trade_fraction,
    }


def _size(weights: np.ndarray) -> dict:
    """Number of names and their total weight."""
    return {"names": int(np.count_nonzero(weights > 0)), "invested": float(weights.sum())}


def _with_cash(weights: np.ndarray, dates: pd.DatetimeIndex, symbols: pd.Index) -> pd.DataFrame:
    """Rows of weights with what they lack to 1 as CASH, the last column; as `cash_of` has it, to the last digit."""
    from openbook.backtest import kernels

    return pd.DataFrame(kernels.with_cash(weights), index=dates, columns=symbols.insert(len(symbols), CASH))


def _check_weights(weights: pd.DataFrame, symbols: pd.Index) -> np.ndarray:
    """Weights in the order of `symbols`, (k, n), cash left out; LimitError names the first bad row."""
    places = symbols.get_indexer(weights.columns)
    stray = weights.columns[(places < 0) & (weights.columns != CASH)]
    if len(stray):
        raise DataError(f"weights of {stray[0]!r}, which is not in this market")
    if not weights.columns.is_unique:
        raise DataError(f"weights of {weights.columns[weights.columns.duplicated()][0]!r} twice; give each name once")
    values = weights.to_numpy(dtype=float)
    total = values.sum(axis=1)
    fits = np.abs(total - 1) <= 1e-9 if CASH in weights.columns else total <= 1 + 1e-9
    good = fits & (values >= 0).all(axis=1)
    if not good.all():
        bad = int(np.argmin(good))
        raise LimitError(f"weights of {weights.index[bad]:%Y-%m-%d} are negative, missing, or sum to {total[bad]:.6f}")
    out = np.zeros((len(values), len(symbols)))
    out[:, places[places >= 0]] = values[:, places >= 0]
    return out


def _result(done: Walk, rows: list[int], tape: PriceArrays) -> BacktestResult:
    """The arrays of a walk as frames."""
    dates, decided = tape.dates[rows[0] :], tape.dates[rows]
    equity = pd.Series(done.equity, index=dates, name="equity")
    forced_exits = [(tape.dates[row], tape.symbols[name], kind, usd) for row, name, kind, usd in done.forced_exits]
    locked = _locked(done, tape)
    return BacktestResult(
        returns=equity.pct_change().iloc[1:].rename("returns"),
        equity=equity,
        cash=pd.Series(done.cash, index=dates, name="cash"),
        weights=_with_cash(done.targets, decided, tape.symbols),
        held=_with_cash(done.held, decided, tape.symbols),
        turnover=pd.Series(done.turnover, index=decided, name="turnover"),
        costs=pd.Series(done.costs, index=decided, name="costs"),
        forced_exits=pd.DataFrame(forced_exits, columns=["date", "symbol", "kind", "usd"]),
        locked=locked,
        notes=(*tape.notes, *_locked_notes(locked, done.equity[-1], tape.dates), *_notes(done, rows, tape)),
    )


def _locked(done: Walk, tape: PriceArrays) -> pd.DataFrame:
    """Names that are held at the end without an accepted bar; see `BacktestResult`."""
    names = np.flatnonzero((done.shares > 0) & (tape.age[-1] > 0))
    table = {
        "date": tape.dates[len(tape.dates) - 1 - tape.age[-1, names]],
        "symbol": tape.symbols[names],
        "why": np.where(np.isnan(tape.doubted[-1, names]), "no bars", "refused"),
        "usd": done.shares[names] * tape.close[-1, names],
    }
    return pd.DataFrame(table, columns=LOCKED_COLUMNS)


def _locked_notes(locked: pd.DataFrame, equity: float, dates: pd.DatetimeIndex) -> list[str]:
    """The part of the last equity in names that could not be sold, why, and the way out."""
    silent = locked[(locked["why"] == "no bars") & (locked["date"] <= dates[max(len(dates) - 1 - SILENT, 0)])]
    refused, notes = locked[locked["why"] == "refused"], []
    if len(silent):
        notes.append(
            f"no bars for at least {SILENT} sessions and no delisting recorded for "
            f"{_describe(silent, equity)}: kept at the last close until the end, not traded; record the "
            "delistings, or set `endings` in the source"
        )
    if len(refused):
        notes.append(
            f"the last bars of {_describe(refused, equity)} were rejected as doubtful: such a drop counts in "
            f"full from its session {IN_DOUBT} on; correct the bars, or record the delisting"
        )
    return notes


def _describe(locked: pd.DataFrame, equity: float) -> str:
    """How many held names, which, and their share of the equity."""
    some = ", ".join([*locked["symbol"][:5], *(["…"] if len(locked) > 5 else [])])
    return (
        f"{len(locked)} held name{'s' * (len(locked) > 1)} ({some}; {locked['usd'].sum() / equity:.1%} of the equity)"
    )


def _notes(done: Walk, rows: list[int], tape: PriceArrays) -> list[str]:
    """Sentences about what else a reader would not expect."""
    notes = []
    higher = sorted({str(tape.symbols[name]) for _, name, kind, _ in done.forced_exits if kind == "another level"})
    if higher:
        notes.append(
            f"{', '.join(higher)} reappeared at more than {LIMIT:g} times the last accepted price while "
            "held: treated as another company or unit, and valued at the last accepted price"
        )
    if rows[-1] == len(tape.dates) - 1:
        notes.append("the last decision was not executed: no next session")
    return notes
