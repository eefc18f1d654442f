"""How much a worker claims ahead: as much as it will finish soon, judged from what it just ran.

Owns: the estimate for each handler, and the number to claim. Invariant: a handler that was never measured, or is
slow, is claimed
one at a time; the number at most doubles from one claim to the next.
"""

from __future__ import annotations

#: Seconds of work that a worker may hold beside what it is running; twice this is in hand while a claim is under way.
SOON = 0.025
#: Item locks are a resource of the whole server (R5): a turn settles and claims at most this many each.
MOST = 60


def estimate(known: float | None, took: float) -> float:
    """Return the new estimate in seconds after a run that *took* so long.

    One run counts for a fifth: a short handler that was kept off its processor for once is still a short one. What
    really takes long is seen while it runs, and nothing waits behind it (the attendant).
    """
    return took if known is None else known * 0.8 + took * 0.2


def ahead(slowest: float | None, last: int) -> int:
    """Return how many to claim, where *slowest* is the longest estimate in play (None.

    Unknown) and *last* the number asked before.
    """
    if slowest is None or slowest >= SOON:
        return 1
    return max(1, min(MOST, 2 * last, int(SOON / max(slowest, 1e-6))))


def is_short(estimates: list[float | None]) -> bool:
    """Tell whether a batch with these estimates ends so soon that the next claim may be under way meanwhile."""
    total = 0.0
    for each in estimates:
        if each is None:
            return False
        total += each
    return total <= 2 * SOON
