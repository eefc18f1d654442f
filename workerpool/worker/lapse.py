"""The third thread of a worker: it ends the process when nobody renews the lease of what runs (R18).

Owns: when that is, and nothing else. It never waits for the database, a lock or a handler: whoever does, as the
attendant does, may hang on a network that loses packets for longer than the lease. Invariant: it sleeps while the
worker is idle.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from workerpool import logs
from workerpool.core.briefs import WorkerBrief
from workerpool.core.lapse import WORKER_STEPS_DOWN, accepted
from workerpool.link.board import Board
from workerpool.worker.loop import Loop

log = logs.get("worker")


class LapseWatch:
    """Runs beside the loop until the process ends."""

    def __init__(self, brief: WorkerBrief, board: Board, loop: Loop, step_down: Callable[[], object]) -> None:
        self._brief, self._board, self._loop, self._step_down = brief, board, loop, step_down
        self._work = threading.Event()

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="lapse", daemon=True).start()

    def poke(self) -> None:
        """Something runs again, after a rest."""
        self._work.set()

    def _run(self) -> None:
        while True:
            if self._loop.idle:
                self._work.wait()
                self._work.clear()
            time.sleep(max(0.01, self._left(time.monotonic())))

    def _left(self, now: float) -> float:
        """Return the seconds until this is worth another look; steps down when the lease may be over."""
        lease, attempt = self._brief.lease, self._loop.attempt
        if attempt.token is None:  # what begins later has at least as long
            return lease / 6
        begun = accepted(self._board.renewed(self._brief.board_slot), attempt.claimed)
        left = begun + WORKER_STEPS_DOWN * lease - now
        if left <= 0:
            log.error("lease.lost", worker=self._brief.worker_id, seconds=round(now - begun, 1))
            self._step_down()
        return min(left, lease / 6)
