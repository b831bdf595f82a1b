"""Inputs of a notebook: the outputs of an earlier run, or a demo input if there is none.

Run All must work on a fresh clone. Where a path is None, a small seeded input is made on the fly, and
the page says that it is a demo input. Nothing made here is ever promoted.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from openbook.backtest.engine import VectorizedBacktester
from openbook.backtest.grid import backtest_baselines, backtest_grid, backtest_holdout, common_dates, daily_returns
from openbook.common.constants import CASH
from openbook.common.errors import DataError, UsageError
from openbook.decision.sealed_inputs import with_scores
from openbook.ledger.book import BookState, held_weights, read_book
from openbook.ledger.records import new_state
from openbook.market.sources import SampleSource
from openbook.market.store import fingerprint, load_market
from openbook.market.tables import Market
from openbook.portfolio.construct import Portfolio, PortfolioSettings, construct_portfolio
from openbook.portfolio.costs import Costs
from openbook.portfolio.regime import RegimeSettings, detect_regime
from openbook.report import charts
from openbook.report.elements import Element
from openbook.runs.runs_folder import read_run
from openbook.selection import Trials, count_trials, detailed_results, summarise_backtests
from openbook.selection.champion import ChampionCard, Comparison, Promise, read_champion, read_promise
from openbook.signals.bundle import pack_model
from openbook.signals.dataset import MLDataset, build_dataset
from openbook.signals.features import FEATURES, Feature, compute_features
from openbook.signals.models import Candidate, Model, ModelTrainer
from openbook.signals.training import Trained, WalkForward, train_candidates

HORIZON = 20
UNSEEN = 40  # sessions before the market's end that the demo champion has not learned from
LEARNED = 2000  # sessions that a demo champion learns from
CANDIDATE = Candidate(name="stand_in", algorithm="lightgbm", n_estimators=60, early_stopping=None)
WALK_FORWARD = WalkForward(n_folds=4, holdout=126)
PORTFOLIO = PortfolioSettings(top_n=10, hold_buffer=1.5, cash_absorbs=True)
NOTE = "Demo model, trained on the fly because no champion was given; never promoted."


def champion(folder: str | None, market: Market, scores_file: str | None = None) -> tuple[Model, ChampionCard]:
    """The champion of `folder`, or a small model trained on all but the last sessions of `market`.

    scores_file : the desk's own scores as they were read for this session; None: the champion reads its own file
    """
    if folder is not None:
        model, _, card = read_champion(folder)
        return with_scores(model, scores_file), card
    if not (len(market.dates) > UNSEEN):
        raise DataError(
            f"{len(market.dates)} sessions are too few to train a demo model; pass the folder of a champion"
        )
    known = market.upto(market.dates[-UNSEEN - 1])
    dataset = _dataset(known)
    model = ModelTrainer(CANDIDATE, n_jobs=2).train(dataset, dataset.dates)
    return model, _card(model, known)


def promise(folder: str | None, card: ChampionCard) -> Promise | None:
    """The out-of-sample record of the champion of `folder` at its selection; a demo champion has none."""
    return None if folder is None else read_promise(folder, card)


def book(file: str | None, date, cash: float = 100_000.0) -> BookState:
    """The paper book of `file` as it was before `date`, or a new one in memory."""
    return new_state(cash) if file is None else read_book(file, before=date)


def held(file: str | None, date) -> pd.DataFrame:
    """Weights that the paper book of `file` held at each close before `date`; nothing without a file."""
    return pd.DataFrame(dtype="float64") if file is None else held_weights(file, before=date)


@dataclass(frozen=True, eq=False)
class Scored:
    """Scores to compare: by candidate, dates × symbols.

    oos : walk-forward, before the holdout; held : over the holdout, empty without one
    recipes : by candidate, its settings as plain values
    """

    oos: dict[str, pd.DataFrame]
    held: dict[str, pd.DataFrame]
    recipes: dict[str, dict]

    @property
    def last_known(self) -> pd.Timestamp:
        """The last session before the holdout."""
        return max(table.index[-1] for table in self.oos.values())

    @property
    def holdout(self) -> str | None:
        """First to last session of the holdout."""
        if not self.held:
            return None
        dates = next(iter(self.held.values())).index
        return f"{dates[0]:%Y-%m-%d} to {dates[-1]:%Y-%m-%d}"

    @property
    def sentence(self) -> str:
        """What is left out of the comparison, for the head of a page."""
        return f"Holdout, evaluated once at the end: {self.holdout}." if self.holdout else "No holdout period."


def scores(training: str | None, market: Market) -> Scored:
    """The scores of a sealed training run, or of a small one made here.

    Examples
    --------
    >>> scored = ob.load_scores(None, market)
    >>> sorted(scored.oos)
    ['stand_in']
    >>> scored.last_known < market.dates[-1]
    True
    """
    if training is None:
        trained = _train(_dataset(market))
        return Scored(trained.oos_scores, trained.holdout_scores, {CANDIDATE.name: CANDIDATE.model_dump(mode="json")})
    folder = Path(training)
    params = read_run(folder)["params"]
    shared = {name: params[name] for name in ("source", "features", "horizon", "first", "walk_forward")}
    recipes = {entry["name"]: {**shared, **entry} for entry in params["candidates"]}
    return Scored(read_scores(folder / "oos_scores.parquet"), read_scores(folder / "holdout_scores.parquet"), recipes)


def read_scores(file: Path) -> dict[str, pd.DataFrame]:
    """Scores by candidate, dates × symbols, from a table of (date, symbol) × candidate."""
    table = pd.read_parquet(file)
    return {name: table[name].dropna().unstack("symbol") for name in table.columns}


def comparison(folder: str | None, training: str | None, date) -> Comparison:
    """The outputs of a sealed comparison, or of a small one on the bundled data made here."""
    if folder is None and training is None:
        return _small_comparison(date)
    if folder is None or training is None:
        raise UsageError("pass both the comparison and its training run, or neither")
    unseen, details = Path(folder) / "holdout_returns.parquet", _details(folder)
    return Comparison(
        summary=pd.DataFrame(details["combinations"]),
        returns=pd.read_parquet(Path(folder) / "returns.parquet"),
        unseen=unseen if pq.read_metadata(unseen).num_rows else None,
        models={path.name: _files(path) for path in sorted((Path(training) / "candidates").iterdir())},
        ledger=pd.read_parquet(Path(training) / "trials.parquet"),
        runs={Path(path).parent.name: read_run(Path(path))["inputs_hash"] for path in (training, folder)},
        code={name: code for path in (training, folder) for name, code in _code(Path(path)).items()},
        **_of_details(details),
    )


def _code(sealed: Path) -> dict[str, str]:
    """The identity of the code that made a sealed run, by its notebook; nothing for an older one, which has none."""
    code = read_run(sealed).get("code", {}).get("sha256")
    return {sealed.parent.name: code} if code else {}


def tried(compared: Comparison, earlier: Sequence[str]) -> Trials:
    """All trials so far; earlier : folders of the sealed comparisons before this one."""
    return count_trials(compared.details, [_details(folder) for folder in earlier], compared.ledger)


@contextmanager
def trying(*features: Feature) -> Iterator[None]:
    """Inside, `FEATURES` has these rows too; afterwards it is as before, so that a cell can be run twice.

    Raises UsageError for a name that is taken.
    """
    before = dict(FEATURES)
    try:
        for feature in features:
            if feature.name in FEATURES:
                raise UsageError(f"feature {feature.name!r} already exists; choose another name")
            FEATURES[feature.name] = feature
        yield
    finally:
        FEATURES.clear()
        FEATURES.update(before)


@dataclass(frozen=True, eq=False)
class FittingRoom:
    """The last session of a market, to try portfolios on; orders nothing and writes nothing.

    scores : dates × symbols, through the market's last session; settings : those that the others are compared with

    Every portfolio is built from cash, so turnover cap and largest trade do not apply; a sealed day is tried again,
    with what it held, by `openbook.app.whatif.try_it`.
    """

    scores: pd.DataFrame
    market: Market
    settings: PortfolioSettings = PORTFOLIO

    def portfolio(self, changes: Mapping[str, object] = MappingProxyType({})) -> Portfolio:
        """This session's portfolio with some settings changed, named as in `PortfolioSettings`, which checks them."""
        settings = PortfolioSettings.model_validate({**self.settings.model_dump(), **changes})
        regime = int(detect_regime(self.market)["regime"].iloc[-1])
        return construct_portfolio(
            self.scores, self.market.adjusted, sectors=self.market.sectors, regime=regime, settings=settings
        )

    def compare(self, ideas: Mapping[str, Mapping]) -> pd.DataFrame:
        """One row per idea (its changes by name) after "as set": names, largest, largest_sector, cash, volatility.

        names : how many are held; volatility : a year, by the covariance the optimizer saw; the rest are weights
        """
        tried = {"as set": self.portfolio(), **{name: self.portfolio(changes) for name, changes in ideas.items()}}
        rows = [_worn(one, self.market.sectors) for one in tried.values()]
        return pd.DataFrame(rows, index=pd.Index(tried, name="settings", dtype="str"))

    def look(self, top_n: int, max_weight: float, optimizer: str) -> Element:
        """The weights under these three settings beside those as set; what the sliders of a notebook draw."""
        tried = self.portfolio({"top_n": top_n, "max_weight": max_weight, "optimizer": optimizer})
        return charts.weights(self.portfolio().weights, tried.weights, legend=("as set", "tried"))


def _worn(one: Portfolio, sectors: pd.Series | None) -> dict[str, float]:
    """The figures of one portfolio; NaN for the largest sector where the source has none."""
    names = one.weights.drop(CASH)
    risk = one.covariance.reindex(index=names.index, columns=names.index).to_numpy()
    by_sector = pd.Series([np.nan]) if sectors is None else names.groupby(sectors.reindex(names.index)).sum()
    return {
        "names": len(names),
        "largest": names.max() if len(names) else 0.0,
        "largest_sector": by_sector.max() if len(names) else 0.0,
        "cash": one.weights[CASH],
        "volatility": float(np.sqrt(names.to_numpy() @ risk @ names.to_numpy())),
    }


def _details(folder: str) -> dict:
    """backtest_detailed_results.json of a comparison."""
    return json.loads((Path(folder) / "backtest_detailed_results.json").read_bytes())


def _of_details(details: dict) -> dict:
    """Settings and baselines from a comparison's details."""
    settings = details["settings"]
    return {
        "baselines": tuple(details["baseline_names"]),
        "portfolio": PortfolioSettings.model_validate_json(json.dumps(settings["portfolio"])),
        "regime": RegimeSettings.model_validate(settings["regime"]),
        "costs": Costs.model_validate(settings["costs"]),
        "details": details,
    }


def _dataset(market: Market) -> MLDataset:
    """Features and labels of the last sessions, of all names."""
    return build_dataset(market, compute_features(market, dates=market.dates[-LEARNED:]), HORIZON)


def _files(folder: Path) -> dict[str, bytes]:
    """A bundle as file name -> bytes."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _train(dataset: MLDataset) -> Trained:
    """One small model, walked forward and fitted."""
    return train_candidates(dataset, [CANDIDATE], WALK_FORWARD)


def _small_comparison(date) -> Comparison:
    """One model, two optimizers, the bundled members of the S&P 500."""
    market, _ = load_market(SampleSource(market="sp500_2013_2018"), through=date)
    market = market.upto(date)
    dataset = _dataset(market)
    trained = _train(dataset)
    known = market.upto(dataset.dates[-WALK_FORWARD.holdout - 1])
    regimes, tester = detect_regime(market)["regime"], VectorizedBacktester(settings=PORTFOLIO)
    names, scores = ["hrp", "equal_weight"], trained.oos_scores
    dates = common_dates(scores, known, "", PORTFOLIO.rebalance_every)
    results = backtest_grid(scores, known, regimes, optimizers=names, backtester=tester, dates=dates)
    baselines = backtest_baselines(known, regimes, backtester=tester, dates=dates, seed=0)
    universe = next(iter(baselines.values())).returns
    summary, beside = (summarise_backtests(part, regimes, benchmark=universe) for part in (results, baselines))
    recipes = {CANDIDATE.name: CANDIDATE.model_dump(mode="json")}
    model, sample = trained.models[CANDIDATE.name], dataset.features_on(dataset.dates[-5:])
    return Comparison(
        summary=summary,
        returns=daily_returns({**results, **baselines}, known),
        unseen=backtest_holdout(scores, trained.holdout_scores, market, regimes, optimizers=names, backtester=tester),
        models={CANDIDATE.name: pack_model(model, sample, data_fingerprint=fingerprint(market))},
        ledger=trained.trials,
        runs={},
        **_of_details(detailed_results(summary, beside, backtester=tester, regime=RegimeSettings(), recipes=recipes)),
    )


def _card(model: Model, market: Market) -> ChampionCard:
    """The card of a demo champion: not vetted, and not selected from anything."""
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
