"""Waking idle workers: as many as there is work for, one after the other.

Owns: the bells, and the instant at which the next revision becomes due. Invariant: one notification wakes one worker at
once; more are woken only for more work, so that no herd runs.
"""

from __future__ import annotations

import os
import time

from workerpool.keeper.flock import Flock, Sheep
from workerpool.link.board import Board

#: Seconds that a worker who was woken gets to claim, before anybody counts what is left for others.
HEAD_START = 0.002
#: Seconds between two wakings for something that is due and stays so: they grow up to this.
OVERDUE_AT_MOST = 1.0


class Waker:
    """Rings the bells of idle workers."""

    def __init__(self, bells: tuple[int, ...], board: Board, flock: Flock) -> None:
        self._bells, self._board, self._flock = bells, board, flock
        self._turn = 0
        self._overdue = HEAD_START
        self.due_at = float("inf")
        """The monotonic instant at which an idle worker is to be woken because a revision becomes due (R6)."""

    def idle(self) -> list[Sheep]:
        """Return the idle workers, longest unwoken first."""
        there = [each for each in self._flock.living.values() if self._board.counts(each.board_slot)[1] == "idle"]
        return there[self._turn % len(there) :] + there[: self._turn % len(there)] if there else []

    def ring(self) -> None:
        """Wake everybody who waits: the pause has changed."""
        for each in self._flock.living.values():
            if self._board.counts(each.board_slot)[1] in ("idle", "paused"):
                os.eventfd_write(self._bells[each.board_slot], 1)

    def wake(self, how_many: int) -> int:
        """Wake up to *how_many* idle workers; returns how many were."""
        chosen = self.idle()[:how_many]
        for each in chosen:
            os.eventfd_write(self._bells[each.board_slot], 1)
        self._turn += len(chosen)
        return len(chosen)

    def serve(self, found: int, due_in: float | None) -> None:
        """Wake one for each candidate that was *found*, and note when the next revision is due, in seconds.

        What is overdue becomes a candidate by the next claim, unless somebody has it locked: an idle worker is sent
        for it less and less often.
        """
        self.wake(found)
        now = time.monotonic()
        if due_in is None or due_in > 0:
            self._overdue = HEAD_START
            self.due_at = float("inf") if due_in is None else now + due_in
        elif not self.idle():
            self.due_at = float("inf")
        elif (
            now + self._overdue < self.due_at
        ):  # a waking that is near is not put off by each look that comes before it
            self.due_at = now + self._overdue
            self._overdue = min(OVERDUE_AT_MOST, self._overdue * 2)
