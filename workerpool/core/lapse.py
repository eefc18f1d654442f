"""How long an attempt may go on when nothing is heard of its lease: always less than the lease itself (R18).

Another host may take the revision as soon as the lease is over by the database's clock, which began to count it no
earlier than its renewal was sent. So whoever runs an attempt must have stopped it before, and stopping takes time: its
processes have to be found and killed. The worker does it first; its manager does it where a handler keeps the worker
from doing anything. Pure.
"""

from __future__ import annotations

#: Parts of the lease, from the sending of the last renewal that the database accepted.
WORKER_STEPS_DOWN, MANAGER_KILLS = 5 / 6, 11 / 12


def accepted(renewed: float, claimed: float) -> float:
    """Return the instant at which the lease began that an attempt has: of its renewal, or of its claim before any."""
    return max(renewed, claimed)
