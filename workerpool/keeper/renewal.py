"""The renewing of leases, which comes before every other duty (R17, R18).

Owns: when the leases were renewed last. Invariant: between two renewals there is at most one statement of any other
duty that takes turns with them, so that a slow network delays a renewal by a round trip or two and not by all that a
keeper has to do. A worker is told only of what the database did renew.
"""

from __future__ import annotations

import time

from workerpool import logs
from workerpool.core.briefs import KeeperBrief
from workerpool.core.lapse import accepted
from workerpool.keeper.flock import Flock
from workerpool.link.board import Board
from workerpool.store.line import Line, StatementRefused

log = logs.get("keeper")
#: How much sooner a lease that was kept from being renewed is tried again.
SOONER = 4


class Renewal:
    """Renews the leases of living workers when it is due, and tells them so by the board."""

    def __init__(self, brief: KeeperBrief, flock: Flock, board: Board, line: Line) -> None:
        self._brief, self._flock, self._board, self._line = brief, flock, board, line
        self.due_at = 0.0
        """The monotonic instant of the next one."""
        self._rescues_at = 0.0

    def when_due(self) -> None:
        """Renew if it is time to; somebody's lock costs this round and nothing else. Raises LineLost."""
        sent = time.monotonic()
        if sent < self.due_at:
            return
        self.due_at = sent + self._brief.heartbeat
        try:
            self._renew(sent)
        except StatementRefused as error:
            self.refused("renew", error)

    @property
    def rescues(self) -> bool:
        """Tell whether the living had their chance to be renewed, so that who is expired may be rescued (R17)."""
        return time.monotonic() >= self._rescues_at

    def put_rescues_off(self) -> None:
        """Rescue nobody for a whole lease: after an outage the living, here and on other hosts, come first."""
        self._rescues_at = time.monotonic() + self._brief.lease

    def refused(self, duty: str, error: StatementRefused, **more: object) -> None:
        """Log that the database refused a duty's statement. A full disk keeps whoever lives from being renewed."""
        log.warning("duty.failed", duty=duty, error=str(error), **more)
        if error.full:
            self.put_rescues_off()

    def _renew(self, sent: float) -> None:
        lease, board = self._brief.lease, self._board
        sheep = self._flock.renewable(lease)
        if not sheep:
            return
        rows = self._line.call("renew", workers=[each.worker_id for each in sheep], lease=f"{lease} seconds")
        renewed = {row[0] for row in rows}
        for each in sheep:
            running = board.running(each.board_slot)
            if running is not None and running.revision_id not in renewed:
                # Somebody has it locked, perhaps for a moment; another host may wait for that lock, to rescue it.
                if running.claimed < sent - self._brief.heartbeat:
                    self.due_at = sent + self._brief.heartbeat / SOONER
                continue
            if running is None or sent - accepted(board.renewed(each.board_slot), running.claimed) < lease:
                board.mark_renewed(each.board_slot, sent)
            # else this host slept for a lease: what ran may be somebody else's, and its worker has to step down.
