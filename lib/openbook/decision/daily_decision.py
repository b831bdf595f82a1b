"""The decision of a session from its inputs, and the causes of the difference between two sessions.

The daily page decides step by step, so that a reader can follow; here the same functions are called in the same order,
so a sealed session can be decided again with one of its inputs taken from another session.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from pathlib import Path
from typing import cast

import pandas as pd

from openbook.common.constants import CASH
from openbook.common.errors import DataError, OpenbookError, OptimizerError, UsageError
from openbook.decision.attribution import TOTAL, split_change
from openbook.execution.kill_switch import HALTED
from openbook.execution.orders import current_weights
from openbook.execution.risk_checks import restrict
from openbook.ledger.records import BookState, Settlement
from openbook.market.calendar import next_session, previous_session, sessions
from openbook.market.checks.session import QualityRules, check_session
from openbook.market.ingest import admit
from openbook.market.sources import parse_source
from openbook.market.store import fingerprint, load_market
from openbook.market.tables import BAR_FIELDS, Delivery, Market
from openbook.monitoring.monitoring_log import SCORED
from openbook.portfolio.construct import PortfolioSettings, construct_portfolio, keep_tradable, with_cash
from openbook.portfolio.schedule import Rebalance, is_rebalance, rebalance_on
from openbook.portfolio.target_weights import DUST
from openbook.report.elements import chart, figure
from openbook.runs import registry
from openbook.runs.runs_folder import STORE, RunsFolder, read_run
from openbook.selection.champion import ChampionCard, read_champion
from openbook.signals.features import compute_features
from openbook.signals.models import Model

CAPS = ("max_weight", "max_sector_weight", "max_turnover", "max_trade")  # the settings of a portfolio that are limits
HANDED = ("date", "store", "champion", "champion_note", "previous")  # parameters that locate inputs
VISIBLE = 5e-4  # a smaller effect is 0.0% in words
TINY = 5e-5  # a smaller change is 0.00% in a table
Scores = Callable[["Data", "Scorer"], pd.DataFrame]


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
    due : a rebalance was due or made up for, or nothing was held. It stands here, not with the data: on a session
        without one the target is the holdings, so that the change since a rebalance is its absence
    """

    weights: pd.Series
    due: bool


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
    """Everything that decides the target weights of one evening.

    regime : 0 risk-off, 1 normal, 2 risk-on; optimizer : the settings of the portfolio, its limits left at defaults
    """

    data: Data
    holdings: Holdings
    model: Scorer
    regime: int
    optimizer: PortfolioSettings
    limits: Caps

    @property
    def inputs(self) -> dict[str, object]:
        """The six inputs by name."""
        return {name: getattr(self, name) for name in INPUTS}

    @property
    def settings(self) -> PortfolioSettings:
        """The settings of the portfolio with its limits."""
        return self.optimizer.model_copy(update={name: getattr(self.limits, name) for name in CAPS})


INPUTS = tuple(field.name for field in fields(DecisionInputs))


@dataclass(frozen=True, eq=False)
class Difference:
    """The targets of two sessions, and the causes of the change.

    before, after : target weights by symbol, CASH included
    effects : symbols × inputs and their sum, `total`; see `split_change`
    notes : what a reader should know of it: mixtures that could not be decided, or why nothing is compared
    """

    before: pd.Series
    after: pd.Series
    effects: pd.DataFrame
    notes: tuple[str, ...] = ()

    @property
    def table(self) -> pd.DataFrame:
        """symbol, before, after, change and one column per input; the biggest change first, tiny ones left out."""
        held = {"before": self.before, "after": self.after}
        table = self.effects.assign(**{name: w.reindex(self.effects.index).fillna(0.0) for name, w in held.items()})
        table = table.rename(columns={TOTAL: "change"})[["before", "after", "change", *INPUTS]]
        table = table[(table[["change", *INPUTS]].abs() > TINY).any(axis=1)].sort_index()
        return table.sort_values("change", key=lambda change: -change.abs(), kind="stable").reset_index()

    @property
    def moving(self) -> pd.DataFrame:
        """The table without the inputs that moved nothing."""
        still = [name for name in INPUTS if not (self.effects[name].abs() > TINY).any()]
        return self.table.drop(columns=still)

    @property
    def sizes(self) -> pd.Series:
        """½Σ|effect| of each input and of the total: the part of the portfolio that it moved."""
        return 0.5 * self.effects.abs().sum()

    @property
    def sentence(self) -> str:
        """All of it in words, a line per input that moved anything."""
        said = sentences(self.effects) or (("The target weights did not change.",) if len(self.effects) else ())
        return "\n".join([*said, *self.notes])


# ---- deciding ----


def decide(evening: DecisionInputs, scores: Scores | None = None) -> pd.Series:
    """The target weights of an evening, by symbol, CASH last, as in portfolio_weights.csv; sums to 1.

    scores : how (data, model) are scored, where several sessions share them

    Raises what `construct_portfolio` does. Without a rebalance the target is what is held, and nothing is scored.
    """
    data, weights = evening.data, evening.holdings.weights
    names = weights.drop(CASH, errors="ignore")
    names, debit = names[names > DUST].sort_index(), min(weights.get(CASH, 0.0), 0.0)
    names = names / names.sum() if debit < -DUST else names
    held = with_cash(names.to_numpy(dtype=float), names.index, "held")
    if not evening.holdings.due:
        return restrict(held, held, evening.limits.switch, debit)
    scored = (scores or partial(score, sessions=_sessions(evening)))(data, evening.model)
    wanted = construct_portfolio(
        keep_tradable(scored, data.tradable),
        data.market.adjusted.reindex(columns=data.market.symbols.union(names.index)),
        held=weights,
        sectors=data.market.sectors,
        regime=evening.regime,
        locked=tuple(names.index.difference(data.tradable)),
        settings=evening.settings,
    )
    return restrict(wanted.weights, wanted.held, evening.limits.switch, debit)


def _sessions(evening: DecisionInputs) -> int:
    """How many sessions of scores a decision uses: those that smooth this session's, as far as the page has them."""
    return min(evening.settings.score_window, SCORED)


def score(data: Data, model: Scorer, sessions: int) -> pd.DataFrame:
    """A model's scores on the last `sessions` sessions, dates × symbols."""
    dates = data.market.dates[-sessions:]
    return model.model.predict(compute_features(data.market, model.features, dates=dates), n_jobs=2)


# ---- the inputs ----


def gather(
    data: Data, model: Model, card: ChampionCard, holdings: Holdings, regime: int, switch: str
) -> DecisionInputs:
    """A session from the objects of the daily page. switch : state of the kill switch"""
    defaults = {name: PortfolioSettings.model_fields[name].default for name in CAPS}
    return DecisionInputs(
        data=data,
        holdings=holdings,
        model=Scorer(model, card.features, card.model_sha256),
        regime=int(regime),
        optimizer=card.portfolio.model_copy(update=defaults),
        limits=Caps(**{name: getattr(card.portfolio, name) for name in CAPS}, switch=switch),
    )


def decision_inputs(sealed: Path, known: Market | None = None) -> DecisionInputs:
    """The inputs of a sealed daily run, from what it recorded, its champion's bundle, and the store.

    known : a market of the same source that goes as far or further, in the place of the store

    Raises OpenbookError if the folder is not a daily run, ModelError or DataError if its bundle or prices are missing.
    """
    run, told = read_run(sealed), handed(sealed)
    params, session = run["params"], pd.Timestamp(run["date"])
    market = known or load_market(parse_source(params["source"]), store=told["store"], through=session)[0]
    market = market.upto(session, as_known_on=session)
    if market.dates.empty or market.dates[-1] != session:
        raise DataError(f"the store has lost the prices of {session:%Y-%m-%d}; restore it from a backup")
    settled = Settlement.model_validate_json((sealed / "settlement.json").read_bytes())
    positions, rules = settled.positions, QualityRules.model_validate_json(json.dumps(params["quality"]))
    checked = check_session(market, session, held=tuple(positions.index), rules=rules)
    model, _, card = read_champion(told["champion"])
    recorded = run["recorded"]
    # Pages that were sealed before a missed rebalance was made up for did not record it.
    due = recorded.get("due", is_rebalance(session, card.portfolio.rebalance_every) or positions.empty)
    holdings = Holdings(
        current_weights(positions, settled.cash, settled.priced(cast(pd.Series, market.close.loc[session]))), due
    )
    return gather(Data(market, checked.tradable), model, card, holdings, recorded["regime"], recorded["switch"])


def rebalance_tonight(state: BookState, settlement: Settlement, every: int, previous: str | None) -> Rebalance:
    """Whether the session of a settlement is a rebalance, from what is known of the book before it; see `rebalance_on`.

    state : the book before the settlement; previous : folder of the page before, or None

    Orders that a halted book proposed were for no rebalance, and are not made up for. That of approved orders none was
    filled comes from a broker statement; an empty book with rejected last orders waits for the schedule.
    """
    session, skipped = pd.Timestamp(settlement.session), pd.DatetimeIndex([])
    if state.last_session is not None and next_session(state.last_session) < session:
        skipped = sessions(next_session(state.last_session), previous_session(session))
    waited = {row.order_id for row in settlement.results if (row.before, row.status) == ("PENDING", "EXPIRED")}
    evenings = {f"{day:%Y-%m-%d}" for day in state.pending["decided"][state.pending["order_id"].isin(waited)]}
    page = {} if previous is None else read_run(Path(previous))
    halted = {page["date"]} if page and page["recorded"].get("switch") == HALTED else set()
    ends, decided = set(state.last_orders["status"]) - {"VOID"}, state.last_orders["decided"].max()
    unfilled = {f"{decided:%Y-%m-%d}"} if ends == {"EXPIRED"} and decided == state.last_session else set()
    return rebalance_on(
        session,
        every,
        skipped=skipped,
        expired=sorted(evenings - halted),
        unfilled=sorted(unfilled - halted),
        empty=settlement.positions.empty,
        rejected=decided if ends == {"REJECTED"} else None,
    )


def sealed_day(runs: Path, date: str) -> Path:
    """The folder of the sealed daily run of a session; UsageError (64) if there is none."""
    sealed = RunsFolder(runs).sealed("daily_run", date)
    if sealed is None:
        raise UsageError(f"no sealed daily_run of {date} in {runs}; see openbook status")
    return sealed


def handed(sealed: Path) -> dict:
    """Location of the inputs, from the sealed notebook's parameters; below the same runs folder if it was moved."""
    notebooks = sorted(sealed.glob("*.ipynb"))
    try:
        told = json.loads(notebooks[0].read_bytes())["metadata"]["papermill"]["parameters"]
    except (IndexError, OSError, ValueError, LookupError) as error:
        raise OpenbookError(f"{sealed} has no executed notebook to replay: {error}") from None
    found = {name: told[name] for name in HANDED if told.get(name) is not None}
    for name, folder in (("store", STORE), ("champion", registry.FOLDER), ("previous", "daily_run")):
        beside = sealed.parents[1] / folder / Path(found.get(name, ".")).name
        if name in found and beside.is_dir():
            found[name] = str(beside.resolve())
    return found


# ---- comparing ----


def difference(before: DecisionInputs, after: DecisionInputs) -> pd.DataFrame:
    """The change of target weights by input, symbols × inputs and their sum, `total`; see `split_change`."""
    return compare(before, after).effects


def compare(
    before: DecisionInputs, after: DecisionInputs, scored: Mapping[str, pd.DataFrame] | None = None
) -> Difference:
    """Both decisions, and the change between them by input; (data, model) pairs are scored once each.

    scored : by a model's hash, its scores of a market that the data of both sessions are parts of, dates × symbols,
        if they are computed already: the scores of a session do not depend on later ones

    A mixture of the two which cannot be decided (limits of the one leave no room for the names of the other) leaves
    what is held as it is, as a session would; the notes count them. Raises what `decide` does for the two themselves.
    """
    changed = [name for name in INPUTS if not SAME[name](getattr(before, name), getattr(after, name))]
    last = replace(before, **{name: getattr(after, name) for name in changed})
    scores = _scores(scored or {}, max(_sessions(evening) for evening in (before, last)))
    made, stuck = {_key(evening): decide(evening, scores) for evening in (before, last)}, []

    def mix(inputs: Mapping) -> pd.Series:
        evening = DecisionInputs(**inputs)
        if _key(evening) in made:
            return made[_key(evening)]
        try:
            return decide(evening, scores)
        except (OptimizerError, DataError) as error:
            stuck.append(str(error))
            return decide(replace(evening, holdings=replace(evening.holdings, due=False)))

    effects = split_change(before.inputs, last.inputs, mix, changed)
    return Difference(made[_key(before)], made[_key(last)], effects, _notes(before, after, stuck))


def _scores(scored: Mapping[str, pd.DataFrame], sessions: int) -> Scores:
    """Scores of (data, model) over `sessions`: those that are there already, else computed, once each."""

    @cache
    def scores(data: Data, model: Scorer) -> pd.DataFrame:
        known = scored.get(model.sha256, pd.DataFrame()).loc[: data.session]
        return known if len(known) >= sessions else score(data, model, sessions)

    return scores


def since(previous: str | None, tonight: DecisionInputs, source: dict, scores: pd.DataFrame) -> Difference:
    """What changed since the sealed run in the folder `previous`; nothing, and why, where that cannot be told.

    source, scores : of this session, as the notebook has them. If the source is unchanged, its market and the model's
        scores are reused; scores only if nothing was restated in between
    """
    if previous is None:
        return _nothing(tonight, "This is the first daily run: there is no earlier one to compare with.")
    try:
        then = read_run(Path(previous))["params"]["source"]
        same = parse_source(then) == parse_source(source)
        before = decision_inputs(Path(previous), tonight.data.market if same else None)
        alike = same and not tonight.data.market.is_restated_since(before.data.session)
        return compare(before, tonight, {tonight.model.sha256: scores} if alike else None)
    except OpenbookError as error:  # the page of this session does not fail because of an earlier one
        return _nothing(tonight, f"Not compared with the previous daily run: {error}")


def sentences(effects: pd.DataFrame) -> tuple[str, ...]:
    """One sentence per input that moved anything, such as "Data: 3.1% of the portfolio; most in AAPL +1.2%"."""
    said = []
    for name in INPUTS:
        effect = effects[name]
        size, names = 0.5 * effect.abs().sum(), effect.drop(CASH, errors="ignore")
        if size > VISIBLE:
            most = cast(str, (names if names.abs().max() > TINY else effect).abs().idxmax())
            said.append(f"{name.capitalize()}: {size:.1%} of the portfolio; most in {most} {effect[most]:+.1%}")
    return tuple(said)


def _notes(before: DecisionInputs, after: DecisionInputs, stuck: list[str]) -> tuple[str, ...]:
    """Notes on a comparison."""
    notes = []
    if before.holdings.due and not after.holdings.due:
        notes.append(
            "The previous session was a rebalance date and this one is not, so the target is the current holdings."
        )
    if after.holdings.due and not before.holdings.due:
        notes.append(
            "This is a rebalance date and the previous session was not; the effect is attributed to the holdings."
        )
    if stuck:
        notes.append(
            f"{len(stuck)} combinations of old and new inputs were infeasible and keep the current holdings, "
            f"for example: {stuck[0]}"
        )
    return tuple(notes)


def _nothing(tonight: DecisionInputs, why: str) -> Difference:
    """No difference, and why."""
    weights, effects = tonight.holdings.weights.iloc[:0], pd.DataFrame(columns=[*INPUTS, TOTAL], dtype="float64")
    return Difference(weights, weights, effects.rename_axis("symbol"), (why,))


def _key(evening: DecisionInputs) -> tuple[int, ...]:
    """The objects that make up a session."""
    return tuple(id(part) for part in evening.inputs.values())


def _same_data(one: Data, other: Data) -> bool:
    """The same session, the same names, and not a value of the market changed."""
    alike = one.session == other.session and one.tradable.equals(other.tradable)
    return alike and (one.market is other.market or fingerprint(one.market) == fingerprint(other.market))


def _same_holdings(one: Holdings, other: Holdings) -> bool:
    return one.due == other.due and one.weights.equals(other.weights)


# How to see that an input did not change.
SAME: dict[str, Callable[..., bool]] = {
    "data": _same_data,
    "holdings": _same_holdings,
    "model": lambda one, other: one.model is other.model or (one.sha256 == other.sha256 != ""),
    "regime": int.__eq__,
    "optimizer": PortfolioSettings.__eq__,
    "limits": Caps.__eq__,
}


def warm_up() -> None:
    """Do once what every page does first, in the process that kernels are forked from: the calendar is built, the
    loops of the features are loaded, a figure finds its fonts."""
    days = sessions("2024-01-02", "2024-06-28")
    bars = pd.DataFrame({"symbol": "A", "date": days, **dict.fromkeys(BAR_FIELDS, 10.0)})
    market, _ = admit(Delivery(bars, "nothing"), today=days[-1])
    compute_features(market, dates=market.dates[-1:])
    fig, axes = chart()
    axes.plot(days, days.dayofyear)
    figure(fig, "nothing")._repr_mimebundle_()
