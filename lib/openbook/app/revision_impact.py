"""Restatements of a sealed day by the vendor, and their impact on its orders. Changes nothing."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from openbook.app.pre_trade_recheck import Written, read_written
from openbook.common.errors import OpenbookError
from openbook.decision.decide import DecisionInputs, Holdings, decide, make_orders
from openbook.decision.difference import Difference, compare
from openbook.decision.sealed_inputs import decision_inputs, input_locations, known_data, sealed_day
from openbook.execution.risk_checks import SafetyLimits
from openbook.market.ingest import admit
from openbook.market.restatements import restated_rows
from openbook.market.sources import fetch, parse_source
from openbook.market.store.revisions import find_revisions
from openbook.market.tables import Market
from openbook.portfolio.regime import detect_regime
from openbook.runs.runs_folder import read_run
from openbook.selection.champion import ChampionCard, read_champion

SHOWN = 20  # revisions that a terminal shows


@dataclass(frozen=True, eq=False)
class RevisionImpact:
    """A sealed day decided again on the history that the vendor sends now.

    revisions : `find_revisions`, up to that day; difference : of its target weights
    orders : symbol, sealed, revised (signed shares), only those that differ
    """

    date: str
    revisions: pd.DataFrame
    difference: Difference
    orders: pd.DataFrame

    @property
    def lines(self) -> list[str]:
        """All of it for a terminal."""
        if self.revisions.empty:
            return [f"no restatements up to {self.date}: the vendor's data are as they were on that date"]
        more = len(self.revisions) - SHOWN
        orders = ["no order would change"] if self.orders.empty else self.orders.to_string(index=False).splitlines()
        return [
            f"{len(self.revisions)} restatements of data known on {self.date}",
            *self.revisions.head(SHOWN).to_string(index=False).splitlines(),
            *([f"… and {more} more"] if more > 0 else []),
            "revision impact on target weights and orders:",
            *self.difference.sentence.splitlines(),
            *orders,
        ]


@dataclass(frozen=True, eq=False)
class Restated:
    """Restatements since a page of sessions that the page had used, and their impact on it.

    restated : symbol, what, date, before, after, largest change first; a missing number was not there, or is no more
    sentence : the impact on the page's target weights, or why there is none to report
    """

    restated: pd.DataFrame
    sentence: str


def restated_since(previous: str | None, market: Market, source: Mapping) -> Restated:
    """Restatements that reached the store since the sealed daily run in the folder `previous`.

    market, source : of this session, as the notebook has them
    """
    if previous is None:
        return Restated(_shown(None), "No earlier daily run to compare with.")
    sealed = Path(previous)
    run = read_run(sealed)
    if parse_source(run["params"]["source"]) != parse_source(source):
        return Restated(_shown(None), "The previous daily run used another price source.")
    rows = market.restatements(since=pd.Timestamp(run["date"]))
    if rows.empty:
        return Restated(_shown(None), "No restatements since the previous daily run.")
    try:
        then = decision_inputs(sealed, market)
        card = read_champion(input_locations(sealed)["champion"])[2]
        revised = _revised(then, market.upto(run["date"]), read_written(sealed), run["params"], card)
        impact = compare(then, revised).sentence or "none."
        sentence = f"Revision impact on the target weights of {run['date']}: {impact}"
    except OpenbookError as error:  # the page of this session does not fail because of an earlier one
        sentence = f"The impact on the previous daily run could not be computed: {error}"
    return Restated(_shown(rows), sentence)


def _shown(rows: pd.DataFrame | None) -> pd.DataFrame:
    """Rows of `Market.restated` for a reader."""
    rows = restated_rows() if rows is None else rows
    change = (rows["after"] / rows["before"] - 1).abs().fillna(np.inf)
    order = np.lexsort((rows["date"], rows["symbol"], -change))
    return rows.rename(columns={"field": "what"})[["symbol", "what", "date", "before", "after"]].iloc[order]


def revision_impact(runs: str | Path, date: str) -> RevisionImpact:
    """Fetch the vendor's history again, and decide a sealed day under it. Stored prices stay as they are.

    Raises UsageError (64) if the day is not sealed, DataError (30) if what the vendor sends now is refused, whatever
    `decision_inputs` raises.
    """
    sealed = sealed_day(Path(runs), date)
    then, written, params = decision_inputs(sealed), read_written(sealed), read_run(sealed)["params"]
    now = admit(fetch(parse_source(params["source"])), through=date)[0].upto(date)
    revisions = find_revisions(then.data.market, now)
    card = read_champion(input_locations(sealed)["champion"])[2]
    revised = then if revisions.empty else _revised(then, now, written, params, card)
    orders = written.trades if revisions.empty else _orders(revised, written, params, card)
    return RevisionImpact(date, revisions, compare(then, revised), _beside(written.trades, orders))


def _revised(
    then: DecisionInputs, market: Market, written: Written, params: dict, card: ChampionCard
) -> DecisionInputs:
    """The session on another history: what could be traded, what the holdings were worth, and the regime."""
    return replace(
        then,
        data=known_data(market, written.settlement, params["quality"]),
        holdings=Holdings.of(written.settlement, market, then.holdings.is_rebalance),
        regime=int(detect_regime(market, card.regime)["regime"].iloc[-1]),
    )


def _orders(revised: DecisionInputs, written: Written, params: dict, card: ChampionCard) -> pd.DataFrame:
    """The orders of a sealed day on another history, as its page makes them."""
    limits = SafetyLimits.model_validate_json(json.dumps(params["limits"]))
    made = make_orders(
        decide(revised),
        written.settlement,
        costs=card.costs,
        limits=limits,
        min_trade_size=params["min_trade_size"],
    )
    return made.trades


def _beside(sealed: pd.DataFrame, revised: pd.DataFrame) -> pd.DataFrame:
    """The orders that differ: symbol, sealed, revised; shares are signed, a missing order is 0."""
    sides = {"sealed": sealed, "revised": revised}
    shares = pd.DataFrame({name: side.set_index("symbol")["shares"] for name, side in sides.items()})
    shares = shares.fillna(0).astype("int64").sort_index().rename_axis("symbol").reset_index()
    return shares[shares["sealed"] != shares["revised"]].reset_index(drop=True)
