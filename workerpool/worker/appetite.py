"""What this worker asks for: how much, from what its handlers took lately, and from where on.

Owns: the estimates, and what the answers say of the queue. Does not own: the rule of how much is ahead (``core.pace``).
Invariant: at least every LOOK_AT_ALL seconds a claim looks at all candidates.
"""

from __future__ import annotations

from collections.abc import Sequence

from workerpool.core import pace
from workerpool.core.revision import Claim
from workerpool.store.line import FIRST, Answer, Place

#: Seconds. Between such looks a claim begins behind what the claims before it took. What became a candidate before that
#: place (by a late commit, a higher priority, the end of its predecessor) waits so long at most.
LOOK_AT_ALL = 0.05
#: While the queue holds nothing but what follows the one that was settled (one hot item), so many turns ask for no more
#: than that; then one looks for others again.
CHAIN = 3


class Appetite:
    """The estimates of one worker, by handler, and its view of the queue."""

    def __init__(self) -> None:
        self._estimates: dict[str, float] = {}
        self._asked = 1
        self._chain, self._chained = 0, False
        self._begin, self._looked = FIRST, 0.0
        self.plenty = False
        """The last claim got all that it asked for: there may be more."""

    def took(self, handler: str, seconds: float) -> None:
        """Learn from a run."""
        self._estimates[handler] = pace.estimate(self._estimates.get(handler), seconds)

    def is_short(self, held: Sequence[Claim]) -> bool:
        """Tell whether *held* ends so soon that the next claim may be under way meanwhile."""
        return pace.is_short([self._estimates.get(claim.handler) for claim in held])

    def ask(self, held: Sequence[Claim]) -> int:
        """Return how many to claim next, with *held* in hand."""
        self._chained = self._chain > 0 and not held
        if self._chained:
            self._chain -= 1
            return 1
        known = [self._estimates.get(name) for name in {claim.handler for claim in held}]
        slowest = max((each for each in known or self._estimates.values() if each is not None), default=None)
        self._asked = pace.ahead(slowest, self._asked)
        return self._asked

    def begin(self, now: float) -> Place:
        """Return where a claim at *now* begins to look."""
        if self._begin != FIRST and now - self._looked <= LOOK_AT_ALL:
            return self._begin
        self._looked = now
        return FIRST

    def answered(self, answer: Answer, settled: int) -> None:
        """Learn from the answer to what was asked, with which so many were to be settled."""
        if answer.begin != FIRST or answer.state == "empty":
            self._begin = answer.begin  # else a look at everything did not get through: the place is still good
        if self._chained:
            return  # it was asked for one on purpose
        self.plenty = len(answer.claims) >= self._asked
        alone = settled == len(answer.claims) == 1
        self._chain = CHAIN if alone and not self.plenty else 0

    def curb(self) -> None:
        """Ask for half as much: the last order was refused."""
        self._asked = max(1, self._asked // 2)
