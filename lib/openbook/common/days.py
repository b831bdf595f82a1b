"""A day as text, in records."""

import datetime
from typing import Annotated

from pydantic import AfterValidator


def _real(day: str) -> str:
    """A day that there is, as YYYY-MM-DD."""
    if not (day.isascii() and datetime.date.fromisoformat(day).isoformat() == day):
        raise ValueError("write YYYY-MM-DD")
    return day


Day = Annotated[str, AfterValidator(_real)]
