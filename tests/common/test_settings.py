"""No setting of the library is NaN or infinite: a walk over every number of every settings class."""

import importlib
import math
import pkgutil
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import ValidationError

import openbook
from openbook.common.settings import Settings


def every_class(above: type = Settings) -> Iterator[type[Settings]]:
    """The settings classes of all modules."""
    for below in above.__subclasses__():
        if below.__module__.startswith("openbook."):
            yield below
            yield from every_class(below)


def spellings(kind: Any, number: float) -> Iterator[Any]:
    """Values of an annotated type that have `number` in the place of a float; none if it holds no float."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is float:
        yield number
    elif origin in (Union, types.UnionType):
        for one in inner:
            yield from spellings(one, number)
    elif origin is dict:
        yield from ({"a": value} for value in spellings(inner[1], number))
    elif origin is tuple and inner[-1] is ...:
        yield from ([value] for value in spellings(inner[0], number))
    elif origin is tuple:
        for i, one in enumerate(inner):
            others = [True if each is bool else 1.0 for each in inner]
            yield from ([*others[:i], value, *others[i + 1 :]] for value in spellings(one, number))
    elif origin is list:
        yield from ([value] for value in spellings(inner[0], number))
    elif origin is not None and origin is not Literal and inner:  # Annotated
        yield from spellings(inner[0], number)


for _module in pkgutil.walk_packages(openbook.__path__, "openbook."):
    if _module.name != "openbook.ledger.postgres":  # needs a package that only a book on a server needs
        importlib.import_module(_module.name)
FLOATS = [(kind, name) for kind in every_class() for name, field in kind.model_fields.items()
          if any(spellings(field.annotation, 1.0))]  # fmt: skip


def test_the_walk_finds_the_settings_that_matter():
    found = {f"{kind.__name__}.{name}" for kind, name in FLOATS}
    some = {"OpsMonitor.ic_threshold", "SafetyLimits.max_weight", "KillSwitch.min_sharpe", "Costs.commission_bps",
            "Tuning.space", "Candidate.params", "Approver.approve_up_to", "Mail.timeout"}  # fmt: skip
    assert some - found == set()
    assert len(found) > 70


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize(("kind", "name"), FLOATS, ids=lambda part: getattr(part, "__name__", part))
def test_no_setting_takes_nan_or_infinity(kind, name, number):
    for value in spellings(kind.model_fields[name].annotation, number):
        with pytest.raises(ValidationError) as refused:
            kind.model_validate({name: value})
        faults = [fault for fault in refused.value.errors() if fault["loc"][:1] == (name,)]
        assert any(fault["type"] == "finite_number" for fault in faults), faults
