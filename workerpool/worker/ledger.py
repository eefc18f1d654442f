"""The ends that this worker wrote lately: so that somebody says it when a failover has lost some of them.

Owns: the memory, and the comparison with the server that took over. Does not own: that what was lost is performed
again, which that server's rows bring about. Invariant: only what the database had acknowledged is said to be lost, and
only after a server was replaced: while it is the same one, whatever is not there was taken away by somebody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from uuid import UUID

from workerpool import logs
from workerpool.core.origin import Origin
from workerpool.core.outcome import Outcome
from workerpool.core.revision import TERMINAL
from workerpool.store.line import Line, StatementRefused

log = logs.get("worker")
#: Ends that are remembered; how many of those that are lost are named in the log (each has a line in its own).
MOST, NAMED = 5_000, 100


class Ledger:
    """What one worker wrote, the latest last."""

    def __init__(self, worker_id: str) -> None:
        self._worker_id = worker_id
        self._ends: deque[tuple[int, UUID]] = deque(maxlen=MOST)
        self._origin: Origin | None = None

    def note(self, outcomes: Iterable[Outcome]) -> None:
        """The database has acknowledged these."""
        self._ends.extend((each.revision_id, each.token) for each in outcomes if each.verdict in TERMINAL)

    def meet(self, line: Line) -> None:
        """Take note of the server that was reached, and say what it does not know if it is another. Raises LineLost."""
        origin = line.origin
        if origin is None or origin == self._origin:
            return
        if self._origin is not None and self._ends:
            try:
                self._compare(line, self._origin, origin)
            except StatementRefused as error:
                log.warning("settlement.refused", what="what a failover lost", error=str(error))
                return  # and again with the next connection
        self._origin = origin

    def _compare(self, line: Line, before: Origin, origin: Origin) -> None:
        ends = dict(self._ends)
        told = (
            f"the end that worker {self._worker_id} wrote was lost by a failover of the database, from timeline "
            f"{before.timeline} to {origin.timeline}: it is performed again"
        )
        rows = line.call("lost_ends", ids=list(ends), tokens=list(ends.values()), told=told)
        if not rows:
            return
        lost = {row[0] for row in rows}
        self._ends = deque((each for each in ends.items() if each[0] not in lost), MOST)
        again, missing = [row[0] for row in rows if row[1]], [row[0] for row in rows if not row[1]]
        log.warning("revision.lost", count=len(rows), again=again[:NAMED], missing=missing[:NAMED])
