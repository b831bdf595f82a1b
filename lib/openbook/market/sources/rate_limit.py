"""Requests to a public server: with a rate limit, retries, and an end to the retries."""

import time
from collections.abc import Callable

from pydantic import Field

from openbook.common.settings import Settings

LONGEST_PAUSE = 300.0  # seconds; a server that asks for more is tried on another day


class Patience(Settings):
    """How a server is asked; what it answers does not depend on it."""

    requests_per_second: float = Field(4.0, gt=0, le=10, description="maximum requests per second, retries included")
    retries: int = Field(4, ge=0, le=10, description="retries after a failure")
    backoff: float = Field(2.0, gt=0, le=60, description="seconds before the first retry, doubled each time")
    timeout: float = Field(30.0, gt=0, le=600, description="timeout in seconds")

    def pauses(self) -> list[float]:
        """Seconds before each further attempt, the same on every run."""
        return [min(self.backoff * 2.0**k, LONGEST_PAUSE) for k in range(self.retries)]


class Pace:
    """At most `per_second` turns a second, evenly spaced. The clock and the sleep can be given, both in seconds."""

    def __init__(
        self,
        per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self._gap, self._clock, self._sleep = 1.0 / per_second, clock, sleep
        self._free = clock()

    def wait(self) -> None:
        """Return when it is our turn."""
        now = self._clock()
        if now < self._free:
            self._sleep(self._free - now)
        self._free = max(now, self._free) + self._gap

    def pause(self, seconds: float) -> None:
        """Stay away for so long."""
        self._sleep(seconds)


def asked_to_wait(header: str | None) -> float:
    """Seconds of a Retry-After header, at most LONGEST_PAUSE; 0 without one, or if it holds a date."""
    text = (header or "").strip()
    return min(float(text), LONGEST_PAUSE) if text.isdecimal() else 0.0
