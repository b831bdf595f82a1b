"""The check of a feature: right ones pass, and each way to be wrong is named."""

import numpy as np
import pytest

from openbook.signals.feature_check import check_feature
from openbook.signals.features import Feature
from openbook.signals.lab_market import lab_market
from openbook.signals.operators import change, lag, mean
from support.own_desk import guide_snippet


def failed(check) -> list[str]:
    return check.table.loc[~check.table["ok"], "check"].tolist()


def half_year(p):
    return change(p.close, 126)


def test_a_right_feature_passes_with_its_slow_reference():
    found = check_feature(half_year, slow=lambda market: market.adjusted / market.adjusted.shift(126) - 1)
    assert found.ok
    assert found.sentence == "half_year: all checks hold"
    assert "the same as the slow reference" in set(found.table["check"])
    assert "half_year: all checks hold" in found._repr_html_()


@pytest.mark.parametrize("name", ["residual_momentum_252", "sales_growth", "money_flow_14", "turnover_21"])
def test_features_of_the_library_pass(name):
    assert check_feature(name).ok


def test_the_example_of_the_guide_passes():
    code = guide_snippet("check_feature(")
    namespace: dict = {}
    exec(code.replace("\nob.check_feature(", "\nfound = ob.check_feature("), namespace)
    assert namespace["found"].ok


FUTURE = ["unchanged when later sessions vanish", "unchanged when later sessions change"]


def ahead(p):
    """Tomorrow's close."""
    return np.vstack([p.close[1:], p.close[-1:]]) / p.close


def over_all_time(p):
    return (p.close - np.nanmean(p.close, axis=0)) / np.nanstd(p.close, axis=0)


def filled_backward(p):
    values = change(p.close, 21)
    for t in range(len(values) - 2, -1, -1):
        values[t] = np.where(np.isnan(values[t]), values[t + 1], values[t])
    return values


@pytest.mark.parametrize("line", [ahead, over_all_time, filled_backward])
def test_a_feature_that_looks_ahead_is_caught(line):
    found = check_feature(line)
    assert set(FUTURE) & set(failed(found)) == set(FUTURE)
    assert "S000" in found.table.set_index("check").loc[FUTURE[0], "found"]  # which symbol, and when


def centered(p):
    return p.close - np.nanmean(p.close, axis=1, keepdims=True)


def first_is_special(p):
    values = change(p.close, 21)
    values[:, 0] *= -1
    return values


def counting():
    seen = []

    def count(p):
        seen.append(1)
        return change(p.close, 21) + len(seen)

    return count


def in_dollars(p):
    return mean(p.dollars, 21)


def of_raw_volume(p):
    return mean(p._universe.fields["volume"][:, p._columns].copy(), 21)


@pytest.mark.parametrize(
    ("line", "check"),
    [
        (centered, "each symbol from its own history"),
        (first_is_special, "the same for any order of the symbols"),
        (counting(), "the same when computed again"),
        (in_dollars, "reads only the fields that it needs"),
        (lambda p: p.close * np.nan, "one number per session and symbol"),
        (lambda p: p.close * 0.0 + 1.0, "one number per session and symbol"),
        (lambda p: p.close[1:], "computes"),
        (lambda p: p.nothing, "computes"),
        (Feature("raw", "volume", ("close", "volume"), of_raw_volume, "Raw."), "unchanged by the unit of a split"),
    ],
)
def test_each_way_to_be_wrong_is_named(line, check):
    found = check_feature(line)
    assert not found.ok
    assert check in failed(found)


def test_a_difference_from_the_slow_reference_names_the_place():
    found = check_feature(half_year, slow=lambda market: market.adjusted / market.adjusted.shift(125) - 1)
    assert failed(found) == ["the same as the slow reference"]
    assert "values differ, first S000" in found.table.set_index("check").loc["the same as the slow reference", "found"]


def test_a_slow_reference_that_fails_is_a_finding():
    found = check_feature(half_year, slow=lambda market: market.nothing)
    assert failed(found) == ["the same as the slow reference"]


def test_an_unknown_name_is_a_finding():
    assert failed(check_feature("momentum_22")) == ["computes"]


def test_the_market_has_what_trips_a_careless_feature():
    market = lab_market(fundamentals=True)
    assert set(market.actions["kind"]) == {"split", "dividend"}
    assert market.close.isna().any().all()
    assert market.close.iloc[:200, 0].isna().all()  # listed late
    assert market.close.iloc[-100:, -1].isna().all()  # delisted
    assert lag(market.close.to_numpy(), 1).shape == market.close.shape
