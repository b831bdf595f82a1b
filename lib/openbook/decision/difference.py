"""The change of target weights between two decisions, attributed to their inputs, in numbers and in words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import cast

import pandas as pd

from openbook.common.constants import CASH
from openbook.common.errors import DataError, OpenbookError, OptimizerError
from openbook.decision.attribution import TOTAL, split_change
from openbook.decision.decide import INPUTS, Caps, Data, DecisionInputs, Holdings, Scorer, decide, score
from openbook.decision.sealed_inputs import decision_inputs
from openbook.market.sources import parse_source
from openbook.market.store import fingerprint
from openbook.portfolio.construct import PortfolioSettings
from openbook.runs.runs_folder import read_run

VISIBLE = 5e-4  # a smaller effect is 0.0% in words
TINY = 5e-5  # a smaller change is 0.00% in a table
SPOKEN = {  # the inputs at the head of a sentence
    "data": "Data (prices and features)",
    "holdings": "Holdings (and rebalance date)",
    "model": "Model",
    "regime": "Regime",
    "optimizer": "Optimizer settings",
    "limits": "Limits",
}
Scores = Callable[[Data, Scorer], pd.DataFrame]


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
        sides = {"before": self.before, "after": self.after}
        table = self.effects.assign(**{name: w.reindex(self.effects.index).fillna(0.0) for name, w in sides.items()})
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
        lines = sentences(self.effects) or (("The target weights did not change.",) if len(self.effects) else ())
        return "\n".join([*lines, *self.notes])


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
    if before.model.sha256 == after.model.sha256:  # own scores come with a session, and the later one has both
        late = max((before, after), key=lambda inputs: inputs.data.session)
        before, after = replace(before, model=late.model), replace(after, model=late.model)
    changed = [name for name in INPUTS if not SAME[name](getattr(before, name), getattr(after, name))]
    last = replace(before, **{name: getattr(after, name) for name in changed})
    scores = _scores(scored or {}, max(side.n_scored for side in (before, last)))
    infeasible: list[str] = []

    def target(inputs: DecisionInputs) -> pd.Series:
        return decide(inputs, partial(scores, inputs.data, inputs.model)).target

    made = {_key(side): target(side) for side in (before, last)}

    def mixed(by_name: Mapping) -> pd.Series:
        inputs = DecisionInputs(**by_name)
        if _key(inputs) in made:
            return made[_key(inputs)]
        try:
            return target(inputs)
        except (OptimizerError, DataError) as error:
            infeasible.append(str(error))
            return target(inputs.without_rebalance())

    effects = split_change(before.by_name, last.by_name, mixed, changed)
    return Difference(made[_key(before)], made[_key(last)], effects, _notes(before, after, infeasible))


def since(previous: str | None, inputs: DecisionInputs, source: dict, scores: pd.DataFrame) -> Difference:
    """What changed since the sealed run in the folder `previous`; nothing, and why, where that cannot be told.

    source, scores : of this session, as the notebook has them. If the source is unchanged, its market and the model's
        scores are reused; scores only if nothing was restated in between
    """
    if previous is None:
        return _nothing(inputs, "This is the first daily run: there is no earlier one to compare with.")
    try:
        then = read_run(Path(previous))["params"]["source"]
        same = parse_source(then) == parse_source(source)
        before = decision_inputs(Path(previous), inputs.data.market if same else None)
        alike = same and not inputs.data.market.is_restated_since(before.data.session)
        return compare(before, inputs, {inputs.model.sha256: scores} if alike else None)
    except OpenbookError as error:  # the page of this session does not fail because of an earlier one
        return _nothing(inputs, f"Not compared with the previous daily run: {error}")


def sentences(effects: pd.DataFrame) -> tuple[str, ...]:
    """One sentence per input that moved anything: "Regime moved 3.1% of the portfolio; largest effect A +1.2%"."""
    lines = []
    for name in INPUTS:
        effect = effects[name]
        size, names = 0.5 * effect.abs().sum(), effect.drop(CASH, errors="ignore")
        if size > VISIBLE:
            most = cast(str, (names if names.abs().max() > TINY else effect).abs().idxmax())
            lines.append(f"{SPOKEN[name]} moved {size:.1%} of the portfolio; largest effect {most} {effect[most]:+.1%}")
    return tuple(lines)


def _notes(before: DecisionInputs, after: DecisionInputs, infeasible: list[str]) -> tuple[str, ...]:
    """Notes on a comparison."""
    notes = []
    if before.holdings.is_rebalance and not after.holdings.is_rebalance:
        notes.append(
            "The previous session was a rebalance date and this one is not, so the target is the current holdings."
        )
    if after.holdings.is_rebalance and not before.holdings.is_rebalance:
        notes.append(
            "This is a rebalance date and the previous session was not; the effect is attributed to the holdings."
        )
    if infeasible:
        notes.append(
            f"{len(infeasible)} combinations of old and new inputs were infeasible and keep the current holdings, "
            f"for example: {infeasible[0]}"
        )
    return tuple(notes)


def _nothing(inputs: DecisionInputs, why: str) -> Difference:
    """No difference, and why."""
    weights, effects = inputs.holdings.weights.iloc[:0], pd.DataFrame(columns=[*INPUTS, TOTAL], dtype="float64")
    return Difference(weights, weights, effects.rename_axis("symbol"), (why,))


def _scores(scored: Mapping[str, pd.DataFrame], sessions: int) -> Scores:
    """Scores of (data, model) over `sessions`: those that are there already, else computed, once each."""

    @cache
    def scores(data: Data, model: Scorer) -> pd.DataFrame:
        known = scored.get(model.sha256, pd.DataFrame()).loc[: data.session]
        return known if len(known) >= sessions else score(data, model, sessions)

    return scores


def _key(inputs: DecisionInputs) -> tuple[int, ...]:
    """The objects that make up a session."""
    return tuple(id(part) for part in inputs.by_name.values())


def _same_data(one: Data, other: Data) -> bool:
    """The same session, the same names, and not a value of the market changed."""
    alike = one.session == other.session and one.tradable.equals(other.tradable)
    return alike and (one.market is other.market or fingerprint(one.market) == fingerprint(other.market))


def _same_holdings(one: Holdings, other: Holdings) -> bool:
    same = (one.is_rebalance, one.overdrawn) == (other.is_rebalance, other.overdrawn)
    return same and one.weights.equals(other.weights)


# How to see that an input did not change.
SAME: dict[str, Callable[..., bool]] = {
    "data": _same_data,
    "holdings": _same_holdings,
    "model": lambda one, other: one.model is other.model or (one.sha256 == other.sha256 != ""),
    "regime": int.__eq__,
    "optimizer": PortfolioSettings.__eq__,
    "limits": Caps.__eq__,
}
