"""What the keeper knows of the queue, read once a second in one statement: a queue at rest costs next to nothing.

Does not own: what is done about it. Invariant: a fact only says that a duty may be worth its statements. Each duty
looks again by itself, so that a fact may be a second old, or wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from workerpool.keeper.flock import Sheep
from workerpool.store.line import Line


@dataclass(frozen=True, slots=True)
class Facts:
    """One look. Without arguments: nobody has looked yet, so every duty may be worth it."""

    found: int = 0
    """Candidates that the idle workers would find, of each handler at most as many as there are workers."""
    due_in: float | None = None
    """Seconds until the next revision becomes due; less than 0: one is."""
    version: int = 0
    paused: bool = False
    pause_over: bool = True
    token_over: bool = True
    cancels: bool = True
    waiting: bool = True
    """There is a candidate, of whatever handler."""
    pending: bool = True
    """Something is pending, parked or not."""
    processing: bool = True
    fires_in: float | None = 0.0
    """Seconds until the next schedule is due; None: there is none."""
    stop_asked: str | None = None
    """How somebody asked this manager to stop, ``graceful`` or ``quick``; None: nobody did."""


def look(line: Line, manager_id: str, idle: Iterable[Sheep]) -> Facts:
    """Look, for this manager and its *idle* workers. Raises LineLost or StatementRefused."""
    there = list(idle)
    handlers = sorted({name for each in there for name in each.handlers})
    return Facts(*line.call("tick", handlers=handlers, how_many=len(there), manager=manager_id)[0])
