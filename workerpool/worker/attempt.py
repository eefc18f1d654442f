"""The attempt that a worker is running: its token, its clock, and its record on the board.

Invariant: the record is written before the handler begins and after it is over, so that whoever looks after a kill
knows which attempt it was (R22).
"""

from __future__ import annotations

import time

from workerpool.core.revision import Claim
from workerpool.job.token import CancellationToken
from workerpool.link.board import Record

#: Reasons that this program gives to a token: such an end is a timeout, or a release, and not somebody's cancellation.
TIMED_OUT = "its time limit is over"
STOPPING = "the worker is stopping"


class Attempt:
    """One worker's place for the attempt that runs, one after the other."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self.token: CancellationToken | None = None
        """None while nothing runs."""
        self.started = self.claimed = self.deadline = 0.0

    def begin(self, claim: Claim, timeout: float, *limits: int) -> None:
        """Say that *claim* runs from now on, *timeout* seconds at most."""
        started = time.monotonic()
        self._record.begin(
            claim.revision_id, claim.token.bytes, claim.claimed_at, started + timeout, claim.attempt, *limits
        )
        self.token = CancellationToken()
        self.started, self.claimed, self.deadline = started, claim.claimed_at, started + timeout

    def over(self) -> float:
        """The handler came back: it cannot be asked for anything any more. Returns the seconds that it took."""
        self.token = None
        return time.monotonic() - self.started

    def end(self, *, completed: bool = False) -> None:
        """Say that nothing runs."""
        self.token = None
        self._record.end(completed=completed)

    def stop_clock(self) -> float:
        """The handler is held, and its time limit waits; returns the seconds that are left of it."""
        left, self.deadline = self.deadline - time.monotonic(), float("inf")
        self._record.move_deadline(0.0)
        return left

    def start_clock(self, left: float) -> None:
        """It goes on, with so many seconds left."""
        self.deadline = time.monotonic() + left
        self._record.move_deadline(self.deadline)
