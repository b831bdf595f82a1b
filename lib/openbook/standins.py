"""What a notebook works on: what an earlier run left, or a stand-in where there was none.

Run All must work on a fresh clone. Where a path is None, the missing piece is made on the spot, small and seeded, and
the page says that it is a stand-in. Nothing made here is ever promoted.
"""

import json
from pathlib import Path

import pandas as pd

from openbook.champion import ChampionCard, Comparison, read_champion
from openbook.desk.book import BookState, read_book
from openbook.desk.statement import new_state
from openbook.errors import DataError, UsageError
from openbook.market.providers import SampleSource
from openbook.market.store import fingerprint, load_market
from openbook.market.tables import Market
from openbook.portfolio.backtest import VectorizedBacktester
from openbook.portfolio.construct import PortfolioSettings
from openbook.portfolio.costs import Costs
from openbook.portfolio.grid import backtest_baselines, backtest_grid, common_dates, daily_returns, label
from openbook.portfolio.regime import RegimeSettings, detect_regime
from openbook.record.runs import read_run
from openbook.selection import summarise_backtests
from openbook.signals.bundle import pack_model
from openbook.signals.dataset import MLDataset, build_dataset
from openbook.signals.features import compute_features
from openbook.signals.models import Candidate, Model, ModelTrainer
from openbook.signals.training import WalkForward, train_candidates

HORIZON = 20
UNSEEN = 40  # sessions before the market's end that the stand-in champion has not learned from
LEARNED = 2000  # sessions that a stand-in learns from
CANDIDATE = Candidate(name="stand_in", algorithm="lightgbm", n_estimators=60, early_stopping=None)
WALK_FORWARD = WalkForward(n_folds=4, holdout=126)
PORTFOLIO = PortfolioSettings(top_n=10, hold_buffer=1.5, cash_absorbs=True)
NOTE = "A stand-in, made on the spot because no run was given; it is never promoted."


def champion(folder: str | None, market: Market) -> tuple[Model, ChampionCard]:
    """The champion of `folder`, or a small model trained on all but the last sessions of `market`."""
    if folder is not None:
        model, _, card = read_champion(folder)
        return model, card
    if not (len(market.dates) > UNSEEN):
        raise DataError(f"{len(market.dates)} sessions are too few for a stand-in model; give the folder of a champion")
    known = market.upto(market.dates[-UNSEEN - 1])
    dataset = _dataset(known)
    model = ModelTrainer(CANDIDATE, n_jobs=2).train(dataset, dataset.dates)
    return model, _card(model, known)


def book(file: str | None, date, cash: float = 100_000.0) -> BookState:
    """The paper book of `file` as it was before `date`, or a new one in memory."""
    return new_state(cash) if file is None else read_book(file, before=date)


def oos_scores(training: str | None, market: Market) -> dict[str, pd.DataFrame]:
    """Out-of-sample scores by candidate, dates × symbols: of a sealed training run, or of a small one made here."""
    if training is None:
        return train_candidates(_dataset(market), [CANDIDATE], WALK_FORWARD).oos_scores
    return read_scores(Path(training) / "oos_scores.parquet")


def read_scores(file: Path) -> dict[str, pd.DataFrame]:
    """Scores by candidate, dates × symbols, from a table of (date, symbol) × candidate."""
    table = pd.read_parquet(file)
    return {name: table[name].dropna().unstack("symbol") for name in table}


def comparison(folder: str | None, training: str | None, date) -> Comparison:
    """What a sealed comparison left, or a small one of the bundled data made here."""
    if folder is None and training is None:
        return _small_comparison(date)
    if folder is None or training is None:
        raise UsageError("a sealed comparison and the training run that it compared go together; give both, or neither")
    details = json.loads((Path(folder) / "backtest_detailed_results.json").read_bytes())
    settings = details["settings"]
    return Comparison(
        summary=pd.DataFrame(details["combinations"]),
        returns=pd.read_parquet(Path(folder) / "returns.parquet"),
        baselines=tuple(details["baseline_names"]),
        models={path.name: _files(path) for path in sorted((Path(training) / "candidates").iterdir())},
        portfolio=PortfolioSettings.model_validate_json(json.dumps(settings["portfolio"])),
        regime=RegimeSettings.model_validate(settings["regime"]),
        costs=Costs.model_validate(settings["costs"]),
        runs={Path(path).parent.name: read_run(Path(path))["inputs_hash"] for path in (training, folder)},
    )


def _dataset(market: Market) -> MLDataset:
    """Features and labels of the last sessions, of all names."""
    return build_dataset(market, compute_features(market, dates=market.dates[-LEARNED:]), HORIZON)


def _files(folder: Path) -> dict[str, bytes]:
    """A bundle as file name -> bytes."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _small_comparison(date) -> Comparison:
    """One model, two optimizers, the bundled data."""
    market, _ = load_market(SampleSource(), through=date)
    market = market.upto(date)
    dataset = _dataset(market)
    trainer = ModelTrainer(CANDIDATE, n_jobs=2)
    scores = train_candidates(dataset, [CANDIDATE], WALK_FORWARD).oos_scores
    regimes = detect_regime(market)["regime"]
    tester = VectorizedBacktester(settings=PORTFOLIO)
    dates = common_dates(scores, market, "", PORTFOLIO.rebalance_every)
    results = backtest_grid(scores, market, regimes, optimizers=["hrp", "equal_weight"], backtester=tester, dates=dates)
    baselines = backtest_baselines(market, regimes, backtester=tester, dates=dates, seed=0)
    model = trainer.train(dataset, dataset.dates)
    bundle = pack_model(model, dataset.features_on(dataset.dates[-5:]), data_fingerprint=fingerprint(market))
    return Comparison(
        summary=summarise_backtests(results, regimes),
        returns=daily_returns({**results, **baselines}, market),
        baselines=tuple(label(pair) for pair in baselines),
        models={CANDIDATE.name: bundle},
        portfolio=PORTFOLIO,
        regime=RegimeSettings(),
        costs=Costs(),
        runs={},
    )


def _card(model: Model, market: Market) -> ChampionCard:
    """The card of a stand-in: not vetted, and chosen from nothing."""
    return ChampionCard(
        model=CANDIDATE.name,
        optimizer=PORTFOLIO.optimizer,
        vetted=False,
        reason=NOTE,
        selected=f"{market.dates[-1]:%Y-%m-%d}",
        score=0.0,
        n_trials=1,
        metrics={},
        features=model.features,
        horizon=HORIZON,
        trained_through=model.training.trained_through,
        portfolio=PORTFOLIO,
        regime=RegimeSettings(),
        costs=Costs(),
        model_sha256="",
        data_fingerprint=fingerprint(market),
        runs={},
    )
