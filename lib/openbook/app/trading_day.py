"""One trading day of a book: the verdict of the daily page, and everything that it follows from, step by step."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import pandas as pd

from openbook.app import inputs
from openbook.app.revision_impact import Restated, restated_since
from openbook.common.constants import REGIME_NAMES
from openbook.decision.decide import Data, Decision, Holdings, Orders, check_orders, decide, gather, make_orders
from openbook.decision.difference import Difference, since
from openbook.decision.order_rationale import Headline, headline, why_tripped
from openbook.decision.rebalance import rebalance_of
from openbook.execution.cost_analysis import execution_costs
from openbook.execution.implementation_shortfall import track
from openbook.execution.kill_switch import KillSwitch, Verdict
from openbook.execution.risk_checks import SafetyLimits, SafetyValidator
from openbook.ledger.account import Account
from openbook.ledger.book import judge, settle
from openbook.ledger.records import BookState, Settlement, all_fills
from openbook.market.calendar import next_session, require_session
from openbook.market.checks.session import Checked, QualityRules, check_session
from openbook.market.sources import parse_source
from openbook.market.store import load_market
from openbook.market.tables import Market
from openbook.monitoring import monitoring_log
from openbook.portfolio.construct import weights_table
from openbook.portfolio.regime import detect_regime
from openbook.portfolio.schedule import Rebalance
from openbook.runs.past_runs import target_weights
from openbook.selection.champion import ChampionCard, Promise
from openbook.signals.bundle import require_fresh
from openbook.signals.dataset import compute_labels
from openbook.signals.features import Features, compute_features
from openbook.signals.models import Model, check_scores
from openbook.signals.own_scores import SCORES, late_sessions

TOLD = ["check", "status", "detail"]  # of a check that did not pass, in run.json


@dataclass(frozen=True, eq=False)
class TradingDay:
    """What a book does after one close, from the parameters of the daily page; each step is computed once, when it is
    first asked for, and raises what its function does.

    date : the session whose close is the latest thing known; source, store : where prices come from
    champion, champion_note, fallback_champion, max_model_age : the model, and how old it may be in days
    scores_file : a desk's own scores as read for this session; None: the champion's own file, if it has one
    book, previous : file of the book and folder of the page before; None: a new paper book, no comparison
    quality, limits, monitor, kill_switch, account : settings of the steps, by name
    min_trade_size : USD; require_manual_approval, dry_run : who approves, and whether the book is the paper one

    Examples
    --------
    >>> day = ob.TradingDay("2022-12-28", {"provider": "sample"})
    >>> float(day.target.sum().round(9))
    1.0
    """

    date: str
    source: Mapping[str, Any]
    store: str | None = None
    champion: str | None = None
    champion_note: str = ""
    scores_file: str | None = None
    fallback_champion: str = "none"
    max_model_age: int = 92
    book: str | None = None
    previous: str | None = None
    quality: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)
    monitor: Mapping[str, Any] = field(default_factory=dict)
    kill_switch: Mapping[str, Any] = field(default_factory=dict)
    account: Mapping[str, Any] = field(default_factory=dict)
    min_trade_size: float = 100.0
    require_manual_approval: bool = True
    dry_run: bool = True

    # ---- what is known at the close ----

    @cached_property
    def session(self) -> pd.Timestamp:
        """The session of the close. Raises CalendarError (32)."""
        return require_session(self.date)

    @cached_property
    def _delivered(self) -> tuple[Market, pd.DataFrame]:
        return load_market(parse_source(self.source), store=self.store, through=self.session)

    @cached_property
    def market(self) -> Market:
        """The market as known at the close."""
        return self._delivered[0].upto(self.session)

    @cached_property
    def restated(self) -> Restated:
        """Corrections of the vendor since the page before."""
        return restated_since(self.previous, self.market, self.source)

    @cached_property
    def _champion(self) -> tuple[Model, ChampionCard]:
        model, card = inputs.champion(self.champion, self.market, self.scores_file)
        require_fresh(card.model_dump(), self.session, self.max_model_age)
        return model, card

    @property
    def model(self) -> Model:
        """The champion's model."""
        return self._champion[0]

    @property
    def card(self) -> ChampionCard:
        """What the champion was selected with."""
        return self._champion[1]

    @cached_property
    def regimes(self) -> pd.DataFrame:
        """Of every session, as known at its close; columns of `detect_regime`."""
        return detect_regime(self.market, self.card.regime)

    @property
    def regime(self) -> int:
        """0 risk-off, 1 normal, 2 risk-on."""
        return int(self.regimes["regime"].iloc[-1])

    # ---- the book ----

    @cached_property
    def state(self) -> BookState:
        """The book before this session."""
        return inputs.book(self.book, self.session)

    @cached_property
    def settlement(self) -> Settlement:
        """What happened to the book since: cash flows, actions, fills, and the mark at the close."""
        return settle(self.state, self.market, self.card.costs, self.session, Account.model_validate(self.account))

    @cached_property
    def history(self) -> pd.DataFrame:
        """Performance of the book by session."""
        return pd.concat([self.state.history, self.settlement.history]).set_index("date")

    @cached_property
    def rules(self) -> KillSwitch:
        """Thresholds of the kill switch."""
        return KillSwitch.model_validate(self.kill_switch)

    @cached_property
    def judged(self) -> Verdict:
        """The kill switch after every session since the page before."""
        return judge(self.state, self.settlement, self.rules)

    @property
    def why(self) -> str:
        """Why the kill switch is not ACTIVE; empty if it is."""
        return why_tripped(self.judged.trips) or self.state.switch_reason

    # ---- the decision ----

    @cached_property
    def checked(self) -> Checked:
        """Which names have a sound price. Raises DataError (30) if a held one has none."""
        return check_session(
            self.market,
            self.session,
            held=tuple(self.settlement.positions.index),
            rules=QualityRules.model_validate(self.quality),
            refused=self._delivered[1],
        )

    @cached_property
    def features(self) -> Features:
        """What the model sees of the last sessions."""
        return compute_features(self.market, self.card.features, dates=self.market.dates[-monitoring_log.SCORED :])

    @cached_property
    def all_scores(self) -> pd.DataFrame:
        """Scores of the last sessions, dates × symbols."""
        return self.model.predict(self.features, n_jobs=2)

    @cached_property
    def scores(self) -> pd.Series:
        """Scores of the names that can trade and have a feature, by symbol. Raises what `check_scores` does (41)."""
        listed = self.features.symbols[self.model.scorable(self.features)[-1]]
        today = cast(pd.Series, self.all_scores.loc[self.session])
        found = today.reindex(self.checked.tradable.intersection(listed))
        check_scores(found, min_distinct=min(5, len(found)))
        return found

    @cached_property
    def rebalance(self) -> Rebalance:
        """Whether this is a rebalance, and why."""
        return rebalance_of(self.state, self.settlement, self.card.portfolio.rebalance_every, self.previous)

    @cached_property
    def decision(self) -> Decision:
        """The target weights. Raises what `decide` does (50)."""
        known = Data(self.market, self.checked.tradable)
        holdings = Holdings.of(self.settlement, self.market, self.rebalance.is_rebalance)
        return decide(
            gather(known, self.model, self.card, holdings, self.regime, self.judged.state),
            self.all_scores,
        )

    @property
    def target(self) -> pd.Series:
        """Target weights by symbol, CASH last."""
        return self.decision.target

    @cached_property
    def allowed(self) -> SafetyLimits:
        """The limits of the desk."""
        return SafetyLimits.model_validate(self.limits)

    @cached_property
    def orders(self) -> Orders:
        """The orders that lead from what is held to the target."""
        return make_orders(
            self.decision,
            self.settlement,
            costs=self.card.costs,
            limits=self.allowed,
            min_trade_size=self.min_trade_size,
        )

    @property
    def trades(self) -> pd.DataFrame:
        """One row per order, as in trades.csv."""
        return self.orders.trades

    @cached_property
    def checks(self) -> pd.DataFrame:
        """Every risk check of target and orders."""
        return check_orders(self.decision, self.orders, self.settlement, self.allowed)

    def require_safe(self) -> None:
        """LimitError (51) names each check that stops the day."""
        SafetyValidator(self.allowed).require(self.checks)

    @cached_property
    def verdict(self) -> Headline:
        """The result in a few words. Every step before it is made in the order in which a mistake should be found:
        the prices, the champion, the book, its kill switch, the names, the scores, the orders."""
        for step in ("market", "card", "regimes", "settlement", "judged", "checked", "scores", "decision", "orders"):
            getattr(self, step)
        return headline(
            self.trades,
            next_session(self.session),
            switch=self.judged.state,
            why=self.why,
            by_rule=not self.require_manual_approval,
            warning="\n".join(filter(None, self._warnings)),
            unbought=self.orders.unbought.sentence,
            because=self.rebalance.sentence,
        )

    @property
    def _warnings(self) -> list[str]:
        """What a reader must not miss, each may be empty."""
        vetted = "" if self.card.vetted else "The model did not pass every gate: paper only."
        own = self.all_scores.iloc[-self.decision.inputs.n_scored :] if self.model.algorithm == SCORES else None
        late = "" if own is None else late_sessions(own)
        return [vetted, self.champion_note, late, self.decision.portfolio.warning, self.settlement.halted]

    @cached_property
    def change(self) -> Difference:
        """The change of the target weights since the page before, by its causes."""
        return since(self.previous, self.decision.inputs, dict(self.source), self.all_scores)

    # ---- is it still good? ----

    @cached_property
    def executed(self) -> pd.DataFrame:
        """Realized against estimated costs of each fill."""
        return execution_costs(all_fills(self.state, self.settlement), self.market, self.card.costs)

    @cached_property
    def promised(self) -> Promise | None:
        """The champion's out-of-sample record at its selection."""
        return inputs.promise(self.champion, self.card)

    @cached_property
    def unseen(self) -> pd.DataFrame:
        """Scores since the model was trained, dates × symbols."""
        return self.all_scores[self.all_scores.index >= pd.Timestamp(self.card.trained_through)]

    @cached_property
    def labels(self) -> dict[int, pd.DataFrame]:
        """By horizon, the returns that followed those scores; NaN where they are not known yet."""
        horizons = sorted({1, 5, self.card.horizon, 2 * self.card.horizon})
        return {horizon: compute_labels(self.market, horizon).loc[self.unseen.index] for horizon in horizons}

    @cached_property
    def watch(self) -> monitoring_log.OpsMonitor:
        """How the model is monitored."""
        return monitoring_log.OpsMonitor.model_validate(self.monitor)

    @cached_property
    def log(self) -> dict[str, Any]:
        """monitoring_log.json."""
        return monitoring_log.monitoring_log(
            self._facts,
            scores=self.unseen,
            labels=self.labels[self.card.horizon],
            checks=self.checks,
            monitor=self.watch,
            evidence=self._evidence,
        )

    @property
    def _facts(self) -> monitoring_log.SessionFacts:
        card = self.card
        return monitoring_log.SessionFacts(
            session=self.session,
            coverage=self.checked.coverage,
            n_left_out=len(self.checked.left_out),
            model=card.model,
            trained_through=card.trained_through,
            model_age=(self.session - pd.Timestamp(card.trained_through)).days,
            horizon=card.horizon,
            regime=self.regime,
            regime_name=REGIME_NAMES[self.regime],
            portfolio_value=self.settlement.equity,
            cash_weight=self.target["CASH"],
            n_positions=len(self.target) - 1,
            n_trades=len(self.trades),
            turnover=self.orders.turnover,
            cost=self.orders.cost,
        )

    @property
    def _evidence(self) -> monitoring_log.Evidence:
        returns = self.history["daily_return"]
        tracking = track(
            self.history.reset_index(),
            self.executed,
            target_weights(self.previous, dry_run=self.dry_run),
            inputs.held(self.book, self.session),
            self.market,
            costs=self.card.costs,
            min_trade_size=self.min_trade_size,
        )
        return monitoring_log.Evidence(
            expected_ic=None if self.promised is None else self.promised.rank_ic,
            labels_by_horizon=self.labels,
            features=self.features.frame(),
            tracking=tracking,
            book_returns=returns,
            regimes=self.regimes["regime"],
            backtest_returns=None if self.promised is None else self.promised.series,
        )

    # ---- what is written ----

    @property
    def weights(self) -> pd.DataFrame:
        """portfolio_weights.csv."""
        return weights_table(self.target, self.scores, self.market.sectors)

    @property
    def signals(self) -> dict[str, Any]:
        """signals.json."""
        card, smoothed = self.card, self.decision.portfolio.story["score"]
        return {
            "date": self.date,
            "model": card.model,
            "model_sha256": card.model_sha256,
            "regime": self.regime,
            "horizon": card.horizon,
            "scores": self.scores.to_dict(),
            "smoothed": smoothed.to_dict(),
        }

    @property
    def record(self) -> dict[str, Any]:
        """What run.json records of the day, for the calendar of all runs, the mail and the status."""
        card, wanted = self.card, self.decision.portfolio
        return {
            "verdict": self.verdict.verdict,
            "sentence": self.verdict.sentence,
            "look": self.verdict.kind,
            "champion_note": self.champion_note,
            "orders": len(self.trades),
            "equity": self.settlement.equity,
            "cash": self.settlement.cash,
            "regime": self.regime,
            "vetted": card.vetted,
            "model": card.model,
            "optimizer": wanted.optimizer,
            "switch": self.judged.state,
            "not_passed": self.checks.loc[~self.checks["ok"], TOLD].to_dict("records"),
            "turnover": self.decision.turnover,
            "is_rebalance": bool(self.rebalance.is_rebalance),
            "execution": self.market.execution,
            "warning": " ".join(filter(None, [self.orders.unbought.sentence, wanted.warning])),
        }
