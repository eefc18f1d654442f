"""How long a failed revision waits before it is tried again: exponential, capped, with full jitter.

Source of the idea: Marc Brooker, "Exponential Backoff And Jitter" (2015). Pure: the random number is an argument.
"""

from __future__ import annotations

from datetime import timedelta

BASE = timedelta(seconds=1)
CAP = timedelta(minutes=5)


def backoff(attempt: int, jitter: float) -> timedelta:
    """Return the wait after the failure of *attempt* (1, 2, 3 …); *jitter* is a random number in [0, 1)."""
    ceiling = min(CAP.total_seconds(), BASE.total_seconds() * 2.0 ** min(attempt - 1, 30))
    return timedelta(seconds=ceiling * jitter)
