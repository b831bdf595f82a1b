"""Where prices come from: settings of each provider in, one unchecked `Delivery` out."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from inspect import signature
from typing import Annotated, Any, cast

import pandas as pd
from pydantic import Discriminator, Field, Tag, TypeAdapter, ValidationError, ValidationInfo, model_validator

from openbook import lazily
from openbook.common import extensions
from openbook.common.errors import DataError, DataNotReady, OpenbookError, ParameterError
from openbook.common.settings import Settings
from openbook.market.sources.attempt import Attempt
from openbook.market.sources.edgar import EdgarTable
from openbook.market.sources.files import FilesSource, fetch_files
from openbook.market.sources.reading import file_name, shown
from openbook.market.sources.sample import SampleSource, fetch_sample
from openbook.market.sources.second_source import Stored, require_usable, stand_in, unmixed
from openbook.market.sources.simulated import fetch_simulated, simulate
from openbook.market.sources.simulated_settings import SimulatedSource
from openbook.market.sources.yahoo import YahooSource, fetch_yahoo
from openbook.market.tables import Delivery

__all__ = [
    "BY_PROVIDER",
    "PROVIDERS",
    "Attempt",
    "EdgarTable",
    "FilesSource",
    "OwnSource",
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

PROVIDERS: dict[str, Callable[..., Delivery]] = {
    "sample": fetch_sample,
    "files": fetch_files,
    "simulated": fetch_simulated,
    "yahoo": fetch_yahoo,
}
BUILT_IN = tuple(PROVIDERS)


class OwnSource(Settings, extra="allow"):
    """A source of the desk's own: the settings beside `provider` are the arguments of its function."""

    provider: str

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments by name."""
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _fits(self, info: ValidationInfo):
        if (info.context or {}).get("sealed"):
            return self
        extensions.load()
        if self.provider not in PROVIDERS:
            known = ", ".join(map(repr, PROVIDERS))
            raise ValueError(f"no provider {self.provider!r}; choose from {known}, or define it in lib/extensions")
        try:
            signature(PROVIDERS[self.provider]).bind(**self.settings)
        except TypeError as error:
            raise ValueError(f"{self.provider!r} does not take these settings: {error}") from None
        return self


def _tag(values: Any) -> str | None:
    """Which class the settings belong to: that of a provider of ours, or `OwnSource`."""
    name = values.get("provider") if isinstance(values, Mapping) else getattr(values, "provider", None)
    return name if name is None or name in BUILT_IN else "own"


Source = (
    Annotated[SampleSource, Tag("sample")]
    | Annotated[FilesSource, Tag("files")]
    | Annotated[SimulatedSource, Tag("simulated")]
    | Annotated[YahooSource, Tag("yahoo")]
    | Annotated[OwnSource, Tag("own")]
)
BY_PROVIDER = Discriminator(
    _tag, custom_error_type="provider", custom_error_message=f"provider is missing; choose from {', '.join(BUILT_IN)}"
)
YahooSource.model_rebuild(
    _types_namespace={
        "SecondSource": Annotated[
            Annotated[FilesSource, Tag("files")] | Annotated[OwnSource, Tag("own")],
            Discriminator(
                _tag,
                custom_error_type="second",
                custom_error_message="a second source is `provider: files`, or one from lib/extensions",
            ),
        ]
    }
)
_SOURCE = TypeAdapter(Annotated[Source, Field(discriminator=BY_PROVIDER)])


def parse_source(values: Mapping, *, sealed: bool = False) -> Source:
    """Settings as written in YAML, checked strictly: ParameterError (78) names each field that is unknown or wrong.

    sealed : of a run that was sealed before, whose own provider may be gone since
    """
    try:
        given = json.dumps(dict(values), default=str)
        return _SOURCE.validate_json(given, strict=True, context={"sealed": sealed})
    except ValidationError as error:
        faults = "; ".join(_sentence(fault) for fault in error.errors())
        raise ParameterError(f"source: {faults}") from None


def origin(source: Source) -> str:
    """Which provider and which of its places the prices come from, in a few words: how they are read does not count."""
    if isinstance(source, SimulatedSource):
        return f"simulated {hashlib.sha256(source.model_dump_json().encode()).hexdigest()[:8]}"
    if isinstance(source, SampleSource):
        return source.provider if source.market == "large_2022" else f"{source.provider} {source.market}"
    place = getattr(source, "path", "")
    return f"{source.provider} {shown(place)}" if place else source.provider


def fetch(
    source: Source,
    *,
    since: pd.Timestamp | None = None,
    attempt: Attempt | None = None,
    stored: Stored | None = None,
) -> Delivery:
    """What the provider has, as it came; what it lacks is taken from its second source, if it has one. DataError if it
    cannot be read; quality is judged by `quality.admit`.

    since : the first session of interest, for a provider that `takes_since`; others send all there is
    attempt : for a provider of ours that asks for many things one after the other
    stored : what the store has of the sessions from `since` on; None where there is no store
    """
    extensions.load()
    provider, recent = PROVIDERS[source.provider], {"since": since} if takes_since(source) else {}
    if isinstance(source, OwnSource):
        return _fetch_own(source, recent)
    attempt = attempt or Attempt()
    followed = {"attempt": attempt} if "attempt" in signature(provider).parameters else {}
    sent = provider(source, **recent, **followed)
    sent = sent if stored is None else unmixed(sent, stored)
    if not (isinstance(source, YahooSource) and source.second_source and (sent.missing or sent.unready)):
        return sent
    begins, other = pd.Timestamp(since or source.start), cast(Source, source.second_source)
    place = getattr(other, "path", "")
    name = " ".join([other.provider, *([file_name(place)] if isinstance(place, str) and place else [])])
    second = _usable(sent, other, name, since, attempt.closed)
    if isinstance(second, str):
        return replace(sent, notes=(*sent.notes, second))
    return stand_in(sent, second, name=name, stored=stored, begins=begins, closed=attempt.closed)


def _usable(sent: Delivery, other: Source, name: str, since, closed: pd.Timestamp) -> Delivery | str:
    """What the second source sends; or a note why it cannot stand in, or DataNotReady (31) if the first needs it to."""
    try:
        return require_usable(sent, fetch(other, since=since), closed)
    except (DataError, DataNotReady) as error:
        if sent.unready:
            raise DataNotReady(f"{sent.unready}; the second source {name} did not stand in: {error}") from None
        return f"The second source {name} did not stand in: {error}."


def _fetch_own(source: OwnSource, recent: dict) -> Delivery:
    """What a desk's own function delivers; DataError (30) where it fails or delivers something else."""
    try:
        sent = PROVIDERS[source.provider](**source.settings, **recent)
    except OpenbookError:
        raise
    except Exception as error:
        raise DataError(f"price source {source.provider!r} failed: {type(error).__name__}: {error}") from error
    if not isinstance(sent, Delivery):
        raise DataError(f"price source {source.provider!r} must return a Delivery, not {type(sent).__name__}")
    return sent


def own_provider(name: str, given) -> Callable[..., Delivery]:
    """A provider from what an extension says: a function of its settings, by name, that returns a `Delivery`.

    With a parameter `since` it is asked for the sessions from then on, or for all with None.
    """
    if not callable(given):
        raise ParameterError(f"price source {name!r} must be a function that returns a Delivery")
    return given


extensions.register("SOURCES", PROVIDERS, own_provider)


def takes_since(source: Source) -> bool:
    """Whether the provider can send the last weeks alone: its function has a parameter `since` (None: all there is)."""
    return "since" in signature(PROVIDERS[source.provider]).parameters


def _sentence(fault) -> str:
    """One pydantic fault in words: which field, what is wrong with it."""
    place = [str(part) for part in fault["loc"]]
    field = ".".join(place[1:] if place and place[0] in (*BUILT_IN, "own") else place)
    if fault["type"] == "extra_forbidden":
        return f"{field} is not a setting of provider {place[0]!r}"
    return f"{field}: {fault['msg']}" if field else fault["msg"]


__getattr__ = lazily(__name__)
