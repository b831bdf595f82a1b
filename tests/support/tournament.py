"""A whole tournament in one call, small and fast: what the three monthly notebooks do, without the pages."""

from dataclasses import dataclass

import pandas as pd

from openbook.backtest.engine import VectorizedBacktester
from openbook.backtest.grid import backtest_baselines, backtest_grid, common_dates, daily_returns
from openbook.market.sources import SimulatedSource
from openbook.market.store import load_market
from openbook.portfolio.construct import PortfolioSettings
from openbook.portfolio.optimizers import OPTIMIZERS
from openbook.portfolio.regime import detect_regime
from openbook.selection import Selection, SelectionWeights, Thresholds, judge, select_champion, summarise_backtests
from openbook.signals.dataset import build_dataset
from openbook.signals.features import available_features, compute_features
from openbook.signals.models import Candidate
from openbook.signals.training import Trained, WalkForward, train_candidates

FEW = {"n_estimators": 60, "early_stopping": None}
CANDIDATES = (
    Candidate(name="xgboost_default", algorithm="xgboost", **FEW),
    Candidate(name="lightgbm", algorithm="lightgbm", **FEW),
    Candidate(name="random_forest", algorithm="random_forest", **FEW),
    Candidate(name="ensemble", algorithm="ensemble", top=3),
)
PLAN = WalkForward(n_folds=3, embargo=5, holdout=0)


@dataclass(frozen=True, eq=False)
class Tournament:
    """What came out: the training, daily returns of all combinations and baselines, and the verdict."""

    trained: Trained
    returns: pd.DataFrame
    universe: pd.Series
    selection: Selection

    @property
    def champion(self) -> pd.Series:
        """The row of the promoted combination, or of the best that was not."""
        found = self.selection.promoted
        return self.selection.best_unvetted if found is None else found


def hold_tournament(source: SimulatedSource, portfolio: PortfolioSettings, thresholds=None) -> Tournament:
    """Four candidates with five optimizers each on a simulated market, judged as the notebooks judge."""
    market, _ = load_market(source)
    features = compute_features(market, available_features(market), dates=market.dates[252:])
    dataset = build_dataset(market, features, source.horizon)
    trained = train_candidates(dataset, CANDIDATES, PLAN)
    regimes, tester = detect_regime(market)["regime"], VectorizedBacktester(settings=portfolio)
    dates = common_dates(trained.oos_scores, market, "", portfolio.rebalance_every)
    results = backtest_grid(
        trained.oos_scores, market, regimes, optimizers=list(OPTIMIZERS), backtester=tester, dates=dates
    )
    baselines = backtest_baselines(market, regimes, backtester=tester, dates=dates, seed=source.seed)
    universe = next(iter(baselines.values())).returns
    summary = summarise_backtests(results, regimes, benchmark=universe)
    returns = daily_returns(results, market).drop(columns="index", errors="ignore")
    field = judge(summary, returns, n_trials=len(summary), benchmark=universe)
    selection = select_champion(field, SelectionWeights(), thresholds or Thresholds(), n_trials=len(summary))
    return Tournament(trained, returns, universe, selection)
