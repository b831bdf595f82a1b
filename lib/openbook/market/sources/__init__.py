"""Where prices come from: settings of each provider in, one unchecked `Delivery` out."""

import hashlib
import json
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Annotated

import pandas as pd
from pydantic import Field, TypeAdapter, ValidationError

from openbook import lazily
from openbook.common.errors import ParameterError
from openbook.market.sources.edgar import EdgarTable
from openbook.market.sources.files import FilesSource, fetch_files
from openbook.market.sources.reading import shown
from openbook.market.sources.sample import SampleSource, fetch_sample
from openbook.market.sources.simulated import fetch_simulated, simulate
from openbook.market.sources.simulated_settings import SimulatedSource
from openbook.market.sources.yahoo import YahooSource, fetch_yahoo
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
    "origin",
    "parse_source",
    "simulate",
    "takes_since",
]

Source = SampleSource | FilesSource | SimulatedSource | YahooSource

PROVIDERS: dict[str, Callable[..., Delivery]] = {
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


def origin(source: Source) -> str:
    """Which provider and which of its places the prices come from, in a few words: how they are read does not count."""
    if isinstance(source, SimulatedSource):
        return f"simulated {hashlib.sha256(source.model_dump_json().encode()).hexdigest()[:8]}"
    place = getattr(source, "path", "")
    return f"{source.provider} {shown(place)}" if place else source.provider


def fetch(source: Source, *, since: pd.Timestamp | None = None) -> Delivery:
    """What the provider has, as it came. DataError if it cannot be read; quality is judged by `quality.admit`.

    since : the first session of interest, for a provider that `takes_since`; others send all there is
    """
    provider = PROVIDERS[source.provider]
    return provider(source, since=since) if takes_since(source) else provider(source)


def takes_since(source: Source) -> bool:
    """Whether the provider can send the last weeks alone: its function has a parameter `since` (None: all there is)."""
    return "since" in signature(PROVIDERS[source.provider]).parameters


def _sentence(fault) -> str:
    """One pydantic fault in words: which field, what is wrong with it."""
    place = [str(part) for part in fault["loc"]]
    field = ".".join(place[1:] if place and place[0] in PROVIDERS else place)
    if fault["type"] == "extra_forbidden":
        return f"{field} is not a setting of provider {place[0]!r}"
    return f"{field}: {fault['msg']}" if field else fault["msg"]


__getattr__ = lazily(__name__)
