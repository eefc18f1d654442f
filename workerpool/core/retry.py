"""How long a failed revision waits before it is tried again: exponential, capped, with full jitter.

Source of the idea: Marc Brooker, "Exponential Backoff And Jitter" (2015). Pure: the random number is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Backoff:
    """The waits of a handler: after the first failure up to *base*, then *factor* times as long, up to *cap*."""

    base: timedelta = timedelta(seconds=1)
    factor: float = 2.0
    cap: timedelta = timedelta(minutes=5)

    def __post_init__(self) -> None:
        """Raise ValueError for a back-off that never waits, goes backwards, or has a cap below its base."""
        if self.base <= timedelta(0) or self.factor < 1 or self.cap < self.base:
            raise ValueError(f"{self}: base is more than 0, factor 1 or more, cap at least base")

    def wait(self, attempt: int, jitter: float) -> timedelta:
        """Return the wait after the failure of *attempt* (1, 2, 3 …); *jitter* is a random number in [0, 1)."""
        cap, base = self.cap.total_seconds(), self.base.total_seconds()
        try:
            ceiling = min(cap, base * self.factor ** (attempt - 1))
        except OverflowError:
            ceiling = cap
        return timedelta(seconds=ceiling * jitter)


DEFAULT = Backoff()
