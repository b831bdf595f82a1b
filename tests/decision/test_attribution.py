"""The change of a decision by input: what Shapley's axioms say, and numbers by hand."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from openbook.common.errors import UsageError
from openbook.decision.attribution import split_change

FOUR = ("data", "model", "regime", "limits")
BEFORE, AFTER = dict(zip(FOUR, (1.0, 2.0, 3.0, 4.0), strict=True)), dict(zip(FOUR, (5.0, 1.5, 3.5, -2.0), strict=True))


def product(inputs):
    """X is a × b percent, cash the rest."""
    weight = inputs["a"] * inputs["b"] / 100
    return pd.Series({"X": weight, "CASH": 1 - weight})


def tangled(inputs):
    """Twenty weights in which every input matters through every other."""
    x = np.array([inputs[name] for name in FOUR])
    values = np.sin(np.arange(1, 21) * x.sum()) * x.prod() + np.outer(np.arange(20), x).sum(axis=1) ** 2
    return pd.Series(values, index=[f"S{i:02d}" for i in range(20)])


def test_two_inputs_by_hand():
    # swapping a: (3 − 1) × 2 before b, (3 − 1) × 5 after it, on average 7; b: 3 × 1 and 3 × 3, on average 6
    table = split_change({"a": 1, "b": 2}, {"a": 3, "b": 5}, product)
    assert list(table.index) == ["X", "CASH"]
    assert list(table.columns) == ["a", "b", "total"]
    np.testing.assert_allclose(table.loc["X"], [0.07, 0.06, 0.13], rtol=0, atol=1e-15)
    np.testing.assert_allclose(table.loc["CASH"], [-0.07, -0.06, -0.13], rtol=0, atol=1e-15)


def test_effects_add_up_to_the_whole():
    table = split_change(BEFORE, AFTER, tangled)
    whole = tangled(AFTER) - tangled(BEFORE)
    scale = whole.abs().max()
    np.testing.assert_allclose(table[list(FOUR)].sum(axis=1) / scale, whole / scale, rtol=0, atol=1e-12)
    pd.testing.assert_series_equal(table["total"], whole, check_names=False, check_exact=True)


def test_an_effect_is_the_mean_over_every_order():
    found = split_change(BEFORE, AFTER, tangled)
    steps = {name: [] for name in FOUR}
    for order in permutations(FOUR):
        inputs = dict(BEFORE)
        for name in order:
            earlier = tangled(inputs)
            inputs[name] = AFTER[name]
            steps[name].append(tangled(inputs) - earlier)
    for name in FOUR:
        mean = sum(steps[name]) / 24
        np.testing.assert_allclose(found[name], mean, rtol=1e-9, atol=1e-9 * mean.abs().max())


def test_two_inputs_that_do_the_same_have_the_same_effect():
    def decide(inputs):
        return pd.Series({"X": inputs["a"] ** 2 * inputs["b"] ** 2, "Y": inputs["c"] * (inputs["a"] + inputs["b"])})

    table = split_change({"a": 1.0, "b": 1.0, "c": 3.0}, {"a": 4.0, "b": 4.0, "c": 5.0}, decide)
    pd.testing.assert_series_equal(table["a"], table["b"], check_names=False)


def test_an_input_that_decides_nothing_has_no_effect():
    table = split_change({"a": 1, "b": 2, "c": 0}, {"a": 3, "b": 5, "c": 9}, product)
    assert (table["c"] == 0).all()
    assert table["a"].tolist() == pytest.approx([0.07, -0.07], abs=1e-15)


def test_each_mixture_is_decided_once_and_unchanged_inputs_are_left_out():
    seen = []

    def decide(inputs):
        seen.append(tuple(inputs.values()))
        return product(inputs)

    table = split_change({"a": 1, "b": 2, "c": 7}, {"a": 3, "b": 5, "c": 7}, decide, changed={"a", "b"})
    assert sorted(seen) == [(1, 2, 7), (1, 5, 7), (3, 2, 7), (3, 5, 7)]
    assert (table["c"] == 0).all()


def test_a_symbol_that_only_one_side_holds_counts_as_none_on_the_other():
    held = {1: pd.Series({"A": 0.4, "CASH": 0.6}), 2: pd.Series({"B": 0.3, "CASH": 0.7})}
    table = split_change({"a": 1}, {"a": 2}, lambda inputs: held[inputs["a"]])
    assert list(table.index) == ["A", "B", "CASH"]
    assert table["a"].tolist() == pytest.approx([-0.4, 0.3, 0.1])


def test_nothing_changed():
    table = split_change({"a": 1, "b": 2}, {"a": 1, "b": 2}, product, changed=())
    assert (table == 0).all(axis=None)


def test_inputs_that_do_not_fit_are_named():
    with pytest.raises(UsageError, match="same inputs"):
        split_change({"a": 1}, {"b": 1}, product)
    with pytest.raises(UsageError, match="unknown input 'z'"):
        split_change({"a": 1, "b": 2}, {"a": 1, "b": 2}, product, changed=["z"])
