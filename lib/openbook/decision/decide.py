"""The decision of one session: target weights, then orders, from what was known at the close.

`decide` and `make_orders` are what every daily page calls; `diff`, revision impact and the attribution of a change
call them again with one input or more taken from elsewhere. `replay` and `whatif` execute the page itself.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import cast

import pandas as pd

from openbook.common.constants import CASH
from openbook.common.shown import Shown
from openbook.execution.kill_switch import ACTIVE
from openbook.execution.orders import TradeGenerator, Unbought, current_weights
from openbook.execution.risk_checks import SafetyLimits, SafetyValidator, profile_of, restrict
from openbook.ledger.records import Settlement
from openbook.market.calendar import sessions
from openbook.market.dollar_volume import median_dollar_volume
from openbook.market.ingest import admit
from openbook.market.tables import BAR_FIELDS, Delivery, Market
from openbook.monitoring.monitoring_log import SCORED
from openbook.portfolio.construct import Portfolio, PortfolioSettings, construct_portfolio, keep_tradable, with_cash
from openbook.portfolio.costs import Costs
from openbook.portfolio.target_weights import DUST
from openbook.selection.champion import ChampionCard
from openbook.signals.features import compute_features
from openbook.signals.models import Model

CAPS = ("max_weight", "max_sector_weight", "max_turnover", "max_trade")  # the settings of a portfolio that are limits


# ---- what a decision needs ----


@dataclass(frozen=True, eq=False)
class Data:
    """The market as known at the close. market : up to that session; tradable : names with a sound bar on it."""

    market: Market
    tradable: pd.Index

    @property
    def session(self) -> pd.Timestamp:
        """The session of that close."""
        return self.market.dates[-1]


@dataclass(frozen=True, eq=False)
class Holdings:
    """What the book held at the close, and whether that was to be changed.

    weights : drifted, by symbol, with CASH; sums to 1
    is_rebalance : without one the target is the holdings. It stands here, not with the data, so that the change since
        a rebalance is its absence
    overdrawn : cash is below zero, so that nothing may be bought
    """

    weights: pd.Series
    is_rebalance: bool
    overdrawn: bool = False

    @classmethod
    def of(cls, settlement: Settlement, market: Market, is_rebalance: bool) -> "Holdings":
        """Those of a settled book. market : through the session of the settlement"""
        return cls(
            current_weights(settlement.positions, settlement.cash, closing_prices(settlement, market)),
            is_rebalance,
            settlement.cash < 0,
        )


@dataclass(frozen=True, eq=False)
class Scorer:
    """A model, its features, and the hash that names it."""

    model: Model
    features: tuple[str, ...]
    sha256: str


@dataclass(frozen=True)
class Caps:
    """The limits on a portfolio (see `PortfolioSettings`), and the state of the kill switch."""

    max_weight: float
    max_sector_weight: float
    max_turnover: float
    max_trade: float
    switch: str


@dataclass(frozen=True, eq=False)
class DecisionInputs:
    """Everything that decides the target weights of a session.

    regime : 0 risk-off, 1 normal, 2 risk-on; optimizer : the settings of the portfolio, its limits left at defaults
    """

    data: Data
    holdings: Holdings
    model: Scorer
    regime: int
    optimizer: PortfolioSettings
    limits: Caps

    @property
    def by_name(self) -> dict[str, object]:
        """The six inputs by name."""
        return {name: getattr(self, name) for name in INPUTS}

    @property
    def settings(self) -> PortfolioSettings:
        """The settings of the portfolio with its limits."""
        return self.optimizer.model_copy(update={name: getattr(self.limits, name) for name in CAPS})

    @property
    def locked(self) -> tuple[str, ...]:
        """Held names that cannot trade in this session."""
        names = self.holdings.weights.drop(CASH, errors="ignore")
        return tuple(names.index[names > DUST].difference(self.data.tradable))

    @property
    def n_scored(self) -> int:
        """How many sessions of scores a decision uses: those that are smoothed, as far as the page has them."""
        return min(self.settings.score_window, SCORED)

    def without_rebalance(self) -> "DecisionInputs":
        """The same, with the holdings to be kept."""
        return replace(self, holdings=replace(self.holdings, is_rebalance=False))


INPUTS = tuple(field.name for field in fields(DecisionInputs))


def gather(
    data: Data, model: Model, card: ChampionCard, holdings: Holdings, regime: int, switch: str
) -> DecisionInputs:
    """The inputs from the objects of a daily page. switch : state of the kill switch"""
    defaults = {name: PortfolioSettings.model_fields[name].default for name in CAPS}
    return DecisionInputs(
        data=data,
        holdings=holdings,
        model=Scorer(model, card.features, card.model_sha256),
        regime=int(regime),
        optimizer=card.portfolio.model_copy(update=defaults),
        limits=Caps(**{name: getattr(card.portfolio, name) for name in CAPS}, switch=switch),
    )


# ---- target weights ----


@dataclass(frozen=True, eq=False)
class Decision(Shown):
    """Target weights of a session and what led to them.

    scores : dates × symbols through the session, or what computes them when they are needed

    Examples
    --------
    >>> decision = ob.TradingDay("2022-12-28", {"provider": "sample"}).decision
    >>> decision.target.index[-1]
    'CASH'
    """

    inputs: DecisionInputs
    scores: pd.DataFrame | Callable[[], pd.DataFrame]

    @cached_property
    def held(self) -> pd.Series:
        """The weights before, by symbol, CASH last; sums to 1. With cash below zero the names are the whole."""
        weights = self.inputs.holdings.weights
        names = weights.drop(CASH, errors="ignore")
        names = names[names > DUST].sort_index()
        names = names / names.sum() if weights.get(CASH, 0.0) < -DUST else names
        return with_cash(names.to_numpy(dtype=float), names.index, "held")

    @cached_property
    def portfolio(self) -> Portfolio:
        """What the model and the optimizer want; without a rebalance they are not followed. Raises what
        `construct_portfolio` does."""
        known, inputs = self.inputs.data, self.inputs
        scores = self.scores() if callable(self.scores) else self.scores
        return construct_portfolio(
            keep_tradable(scores, known.tradable),
            known.market.adjusted.reindex(columns=known.market.symbols.union(self.held.index.drop(CASH))),
            held=inputs.holdings.weights,
            sectors=known.market.sectors,
            regime=inputs.regime,
            locked=inputs.locked,
            settings=inputs.settings,
        )

    @cached_property
    def target(self) -> pd.Series:
        """Target weights by symbol, CASH last, as in portfolio_weights.csv; sums to 1. Without a rebalance what is
        held, as far as the kill switch and the cash allow it."""
        wanted = self.portfolio.weights if self.inputs.holdings.is_rebalance else self.held
        return restrict(wanted, self.held, self.inputs.limits.switch, self.inputs.holdings.overdrawn)

    @property
    def turnover(self) -> float:
        """½Σ|change of weight| of a rebalance, cash included, before rounding to shares; 0 without one."""
        return self.portfolio.turnover if self.inputs.holdings.is_rebalance else 0.0


def decide(inputs: DecisionInputs, scores: pd.DataFrame | Callable[[], pd.DataFrame] | None = None) -> Decision:
    """The target weights of a session.

    scores : dates × symbols through the session, if they are computed already, or what computes them; None: the model
        is asked. Nothing is scored without a rebalance

    Raises what `construct_portfolio` does, if the session is a rebalance.

    Examples
    --------
    >>> inputs = ob.TradingDay("2022-12-28", {"provider": "sample"}).decision.inputs
    >>> float(ob.decide(inputs).target.sum().round(9))
    1.0
    """
    made = Decision(inputs, (lambda: score(inputs.data, inputs.model, inputs.n_scored)) if scores is None else scores)
    _ = made.target  # what fails, fails here
    return made


def score(data: Data, model: Scorer, sessions: int) -> pd.DataFrame:
    """A model's scores on the last `sessions` sessions, dates × symbols."""
    dates = data.market.dates[-sessions:]
    return model.model.predict(compute_features(data.market, model.features, dates=dates), n_jobs=2)


# ---- orders ----


@dataclass(frozen=True, eq=False)
class Orders:
    """The orders of a decision. trades : TRADE_COLUMNS; unbought : wanted names that they leave out

    cost : estimated, USD; turnover : of the orders, ½Σ|change of weight|
    """

    trades: pd.DataFrame
    unbought: Unbought
    cost: float
    turnover: float


def make_orders(
    decision: Decision, settlement: Settlement, *, costs: Costs, limits: SafetyLimits, min_trade_size: float
) -> Orders:
    """The orders from what a settled book holds to the target of a decision.

    limits : of the desk; rounding to shares stays within them. min_trade_size : USD

    Raises what `TradeGenerator.generate_trades` does.
    """
    inputs, market = decision.inputs, decision.inputs.data.market
    positions, switch = settlement.positions, inputs.limits.switch
    generator = TradeGenerator(costs=costs, min_trade_size=min_trade_size, share_units=settlement.share_units)
    plan = (positions, settlement.cash, decision.target, closing_prices(settlement, market))
    trades = generator.generate_trades(
        *plan,
        volume=median_dollar_volume(market),
        reasons=decision.portfolio.reasons if switch == ACTIVE else None,
        room=limits.room(inputs.settings, inputs.regime, profile_of(positions, switch), market.sectors),
        locked=tuple(positions.index.difference(inputs.data.tradable)),
    )
    return Orders(
        trades,
        generator.unbought(*plan, trades),
        generator.estimate_costs(trades)["total"],
        generator.calculate_turnover(trades, settlement.equity),
    )


def check_orders(decision: Decision, orders: Orders, settlement: Settlement, limits: SafetyLimits) -> pd.DataFrame:
    """Every risk check of the target and its orders, CHECK_COLUMNS; the caller decides what a breach stops."""
    inputs, market, validator = decision.inputs, decision.inputs.data.market, SafetyValidator(limits)
    market_cap = None if market.market_cap is None else cast(pd.Series, market.market_cap.loc[settlement.session])
    checks = [
        validator.validate_portfolio(decision.target, market.sectors, market_cap, held=decision.held),
        validator.validate_trades(
            orders.trades,
            settlement.positions,
            settlement.cash,
            closing_prices(settlement, market),
            settlement.equity,
            volume=median_dollar_volume(market),
            profile=profile_of(settlement.positions, inputs.limits.switch),
            share_units=settlement.share_units,
        ),
    ]
    return pd.concat(checks, ignore_index=True)


def closing_prices(settlement: Settlement, market: Market) -> pd.Series:
    """What a settled book trades and is valued at, by symbol, USD; market : through its session."""
    return settlement.priced(cast(pd.Series, market.close.loc[settlement.session]))


def warm_up() -> None:
    """Do once what every page does first, in the process that kernels are forked from: the calendar is built, the
    loops of the features are loaded."""
    days = sessions("2024-01-02", "2024-06-28")
    bars = pd.DataFrame({"symbol": "A", "date": days, **dict.fromkeys(BAR_FIELDS, 10.0)})
    market, _ = admit(Delivery(bars, "nothing"), today=days[-1])
    compute_features(market, dates=market.dates[-1:])
