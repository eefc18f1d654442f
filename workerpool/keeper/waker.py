"""Waking idle workers: as many as there is work for, one after the other.

Owns: the bells. Invariant: one notification wakes one worker at once; more are woken only for more work, so that no
herd runs.
"""

from __future__ import annotations

import os

from workerpool.keeper.flock import Flock, Sheep
from workerpool.link.board import Board


class Waker:
    """Rings the bells of idle workers."""

    def __init__(self, bells: tuple[int, ...], board: Board, flock: Flock) -> None:
        self._bells, self._board, self._flock = bells, board, flock
        self._turn = 0

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
