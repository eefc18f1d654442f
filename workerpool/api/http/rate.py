"""How often somebody may ask: a bucket of tokens for each, refilled steadily.

Invariant: the memory is bounded; who was not seen for long is forgotten with a full bucket, which changes nothing for
them.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """At most *burst* at once, and *refill* a second."""

    burst: float
    refill: float


#: What somebody known may ask, and how often an address may say something wrong about who it is. A burst of thousands
#: of
#: deliveries is no attack; a hundred wrong tokens are.
REQUESTS, MISTAKES = Rate(5_000, 1_000), Rate(20, 0.5)
MOST = 10_000


class Buckets:
    """A bucket for each name."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> float:
        """Take one from a bucket; returns 0, or the seconds until there is one again, and then nothing was taken."""
        now, left = time.monotonic(), self._left(name)
        enough = left >= 1
        self._buckets.pop(name, None)
        self._buckets[name] = now, left - 1 if enough else left
        if len(self._buckets) > MOST:
            self._buckets.popitem(last=False)
        return 0.0 if enough else (1 - left) / self._rate.refill

    def wait(self, name: str) -> float:
        """Return the seconds until there is one in a bucket, 0 for now; nothing is taken."""
        return max(0.0, 1 - self._left(name)) / self._rate.refill

    def _left(self, name: str) -> float:
        at, left = self._buckets.get(name, (0.0, self._rate.burst))
        return min(self._rate.burst, left + (time.monotonic() - at) * self._rate.refill)
