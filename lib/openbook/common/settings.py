"""The base of everything that a person or a profile can set."""

from pydantic import BaseModel


class Settings(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """Settings: frozen, unknown keys refused, and every number finite.

    NaN fails no comparison that is written the other way round, and an infinite limit is none: either would switch off
    what it sets, without a word.
    """
