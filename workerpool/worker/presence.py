"""What the database is told of this worker itself: that it is here, hungry, busy, gone.

Invariant: what is said here decides about waking and about handlers that nobody has, never about claims.
"""

from __future__ import annotations

import contextlib
import json
import os
import select

from workerpool.core.briefs import WorkerBrief
from workerpool.handlers import registry
from workerpool.store.line import Line

#: What a worker says to the database for itself, in its turns and when it leaves.
STATEMENTS = (
    *("register_worker", "claim", "turn", "settle", "told", "payload", "still_held", "outcome_of", "held_by"),
    *("worker_state", "acknowledge_pause", "hold", "go_on", "tally"),
)


def register(line: Line, brief: WorkerBrief, handlers: tuple[str, ...]) -> None:
    """Say who this worker is and what it can do."""
    line.call(
        "register_worker",
        id=brief.worker_id,
        manager=brief.manager_id,
        host=brief.host,
        slot=brief.slot,
        generation=brief.generation,
        pid=os.getpid(),
        handlers=list(handlers),
        halting=registry.halting(brief.after_failure),
        limits=json.dumps(registry.limits() | {"": registry.attempts()}),
    )


def regain(line: Line, brief: WorkerBrief, handlers: tuple[str, ...]) -> None:
    """Connect again, forget the answer of a turn that was lost, and register. Raises LineLost, StatementRefused."""
    line.open()
    line.forget()
    register(line, brief, handlers)


def say(line: Line, brief: WorkerBrief, state: str) -> None:
    """Say that this worker is ``idle`` (hungry), ``busy`` again, or ``gone``."""
    line.call("worker_state", id=brief.worker_id, state=state)


def await_bell(brief: WorkerBrief, seconds: float) -> None:
    """Sleep until the keeper rings, at most *seconds*."""
    ready, _, _ = select.select([brief.bell], [], [], seconds)
    if ready:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(brief.bell)
