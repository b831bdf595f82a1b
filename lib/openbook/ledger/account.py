"""Settings of a book's account, and of corporate actions that only a person can explain."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from openbook.common.settings import Settings

_EVENT = re.compile(r"\S+ \d{4}-\d\d-\d\d", re.ASCII)


def _event(text: str) -> str:
    if not _EVENT.fullmatch(text):
        raise ValueError(f"{text!r} is not a valid key; write SYMBOL YYYY-MM-DD, such as GE 2023-01-04")
    return text


class Account(Settings):
    """The terms of the account, the same for every session that a settlement carries the book over."""

    withholding: float = Field(0.0, ge=0, lt=1, description="withholding tax on dividends, as a fraction")
    debit_rate: float = Field(
        0.0, ge=0, lt=1, description="annual debit rate of a paper book on negative cash, actual/360"
    )
    max_locked: int = Field(
        10,
        ge=0,
        le=60,
        description=(
            "maximum sessions without a close for which a held name is kept at its last close and not "
            "traded; default: the longest SEC trading suspension, ten business days (Securities Exchange Act "
            "of 1934, section 12(k))"
        ),
    )
    max_locked_value: float = Field(
        0.1,
        ge=0,
        le=1,
        description="maximum fraction of equity in such names; above it the vendor data count as incomplete",
    )
    actions: dict[Annotated[str, AfterValidator(_event)], Literal["split", "spin_off", "correction"]] = Field(
        {},
        description="'SYMBOL YYYY-MM-DD' → split, spin_off or correction: a person's decision on an ambiguous ratio, "
        "or on a vendor's correction of a close at which the book was marked",
    )
