"""Where prices come from: settings of each provider in, one unchecked `Delivery` out."""

import json
from collections.abc import Callable, Mapping
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from openbook.errors import ParameterError
from openbook.market.providers.edgar import EdgarTable
from openbook.market.providers.files import FilesSource, fetch_files
from openbook.market.providers.sample import SampleSource, fetch_sample
from openbook.market.providers.simulated import SimulatedSource, fetch_simulated, simulate
from openbook.market.providers.yahoo import YahooSource, fetch_yahoo
from openbook.market.tables import Delivery

__all__ = [
    "PROVIDERS",
    "EdgarTable",
    "FilesSource",
    "SampleSource",
    "SimulatedSource",
    "Source",
    "YahooSource",
    "fetch",
    "parse_source",
    "simulate",
]

Source = SampleSource | FilesSource | SimulatedSource | YahooSource

PROVIDERS: dict[str, Callable[[Source], Delivery]] = {
    "sample": fetch_sample,
    "files": fetch_files,
    "simulated": fetch_simulated,
    "yahoo": fetch_yahoo,
}

_SOURCE = TypeAdapter(Annotated[Source, Field(discriminator="provider")])


def parse_source(values: Mapping) -> Source:
    """Settings as written in YAML, checked strictly: ParameterError (78) names each field that is unknown or wrong."""
    try:
        return _SOURCE.validate_json(json.dumps(dict(values), default=str), strict=True)
    except ValidationError as error:
        faults = "; ".join(_sentence(fault) for fault in error.errors())
        raise ParameterError(f"source: {faults}") from None


def fetch(source: Source) -> Delivery:
    """What the provider has, as it came. DataError if it cannot be read; quality is judged by `quality.admit`."""
    return PROVIDERS[source.provider](source)


def _sentence(fault) -> str:
    """One pydantic fault in words: which field, what is wrong with it."""
    place = [str(part) for part in fault["loc"]]
    field = ".".join(place[1:] if place and place[0] in PROVIDERS else place)
    if fault["type"] == "extra_forbidden":
        return f"{field} is not a setting of provider {place[0]!r}"
    return f"{field}: {fault['msg']}" if field else fault["msg"]
