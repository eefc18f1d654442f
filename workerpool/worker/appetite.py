"""How much this worker asks for, from what its handlers took lately.

Owns: the estimates. Does not own: the rule (``core.pace``).
"""

from __future__ import annotations

from collections.abc import Sequence

from workerpool.core import pace
from workerpool.core.revision import Claim


class Appetite:
    """The estimates of one worker, by handler."""

    def __init__(self) -> None:
        self._estimates: dict[str, float] = {}
        self._asked = 1

    def took(self, handler: str, seconds: float) -> None:
        """Learn from a run."""
        self._estimates[handler] = pace.estimate(self._estimates.get(handler), seconds)

    def is_short(self, held: Sequence[Claim]) -> bool:
        """Tell whether *held* ends so soon that the next claim may be under way meanwhile."""
        return pace.is_short([self._estimates.get(claim.handler) for claim in held])

    def ask(self, held: Sequence[Claim]) -> int:
        """Return how many to claim next, with *held* in hand."""
        known = [self._estimates.get(name) for name in {claim.handler for claim in held}]
        slowest = max((each for each in known or self._estimates.values() if each is not None), default=None)
        self._asked = pace.ahead(slowest, self._asked)
        return self._asked

    def curb(self) -> None:
        """Ask for half as much: the last order was refused."""
        self._asked = max(1, self._asked // 2)
