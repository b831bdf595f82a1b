"""What a book has to know of its account, and of actions that only a person can explain."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

_EVENT = re.compile(r"\S+ \d{4}-\d\d-\d\d", re.ASCII)


def _event(text: str) -> str:
    if not _EVENT.fullmatch(text):
        raise ValueError(f"{text!r} is no event; write SYMBOL YYYY-MM-DD, such as GE 2023-01-04")
    return text


class Account(BaseModel, frozen=True, extra="forbid"):
    """The terms of the account, the same for every session that a settlement carries the book over."""

    withholding: float = Field(0.0, ge=0, lt=1, description="of every dividend received, what the broker keeps as tax")
    debit_rate: float = Field(
        0.0, ge=0, lt=1, description="yearly interest that a paper book pays on cash below zero, over 360 days"
    )
    max_locked: int = Field(
        10, ge=0, le=60, description="sessions without a close for which a held name keeps its last price; the longest "
        "suspension of the SEC, ten business days (Securities Exchange Act of 1934, section 12(k))"
    )  # fmt: skip
    max_locked_value: float = Field(
        0.1, ge=0, le=1, description="part of the equity that such names may be; more is a delivery that lacks rows"
    )
    actions: dict[Annotated[str, AfterValidator(_event)], Literal["split", "spin_off", "correction"]] = Field(
        {},
        description="'SYMBOL YYYY-MM-DD' → what happened, where a person had to look: a split or a spin-off, if the "
        "ratio could be both; the vendor's correction of a close at which the book was marked",
    )
