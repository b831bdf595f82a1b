"""Which input a change of the weights came from: one input swapped at a time, averaged over every order.

L. S. Shapley, A value for n-person games, 1953; the decision is the game, its inputs are the players.
"""

from collections.abc import Callable, Collection, Mapping
from itertools import combinations
from math import factorial

import pandas as pd

from openbook.common.constants import CASH
from openbook.common.errors import UsageError

TOTAL = "total"


def split_change(
    before: Mapping[str, object],
    after: Mapping[str, object],
    decide: Callable[[Mapping[str, object]], pd.Series],
    changed: Collection[str] | None = None,
) -> pd.DataFrame:
    """The change of target weights by input, symbols × inputs and a column `total`: their sum within 1e-12.

    before, after : the inputs of two decisions by name, the same names in both
    decide : inputs -> target weights by symbol; a symbol that is not there has weight 0. Called once for each mixture
        of the two, 2**n times for n changed inputs
    changed : names of the inputs that differ; the others have no effect. None: all of them

    The effect of an input is the mean, over every order in which the inputs could have been swapped, of what its swap
    did: it does not depend on an order, is 0 for an input that decides nothing, and equal for two that do the same.
    """
    names = _names(before, after, changed)
    weights = _decisions(before, after, decide, names)
    table = pd.DataFrame(0.0, index=weights[frozenset()].index, columns=[*before, TOTAL])
    for name in names:
        others = [other for other in names if other != name]
        for size in range(len(names)):
            share = factorial(size) * factorial(len(others) - size) / factorial(len(names))
            for swapped in map(frozenset, combinations(others, size)):
                table[name] += share * (weights[swapped | {name}] - weights[swapped])
    table[TOTAL] = weights[frozenset(names)] - weights[frozenset()]
    return table


def _names(before: Mapping, after: Mapping, changed: Collection[str] | None) -> list[str]:
    """The changed inputs in their order; UsageError if the two decisions have not the same inputs."""
    if list(before) != list(after):
        raise UsageError(f"both decisions must have the same inputs, not {list(before)} and {list(after)}")
    unknown = sorted(set(changed or ()) - set(before))
    if unknown:
        raise UsageError(f"unknown input {unknown[0]!r}; choose from {', '.join(before)}")
    return [name for name in before if changed is None or name in changed]


def _decisions(
    before: Mapping, after: Mapping, decide: Callable[[dict], pd.Series], names: list[str]
) -> dict[frozenset, pd.Series]:
    """Weights by the set of inputs that are swapped already, each over all symbols, sorted and CASH last."""
    made = {}
    for size in range(len(names) + 1):
        for swapped in map(frozenset, combinations(names, size)):
            made[swapped] = decide({name: (after if name in swapped else before)[name] for name in before})
    symbols = {symbol for weights in made.values() for symbol in weights.index}
    index = pd.Index(sorted(symbols, key=lambda symbol: (symbol == CASH, symbol)), dtype="str", name="symbol")
    return {swapped: weights.reindex(index).fillna(0.0) for swapped, weights in made.items()}
