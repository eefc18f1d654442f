"""The ends that this worker wrote lately: so that somebody says it when a failover has lost some of them.

Owns: the memory, and the comparison with the server that took over. Does not own: that what was lost is performed
again, which that server's rows bring about. Invariant: only what the database had acknowledged is said to be lost, and
only after a server of the same cluster took over: while it is the same one, whatever is not there was taken away by
somebody, and another cluster never had it.
"""

from __future__ import annotations

import time
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
#: Seconds by which the clocks of two servers may differ, and that a comparison may be on its way.
SLACK = 1.0
#: Of an end: the revision, the token of its claim, and when it was acknowledged (monotonic).
End = tuple[int, UUID, float]


class Ledger:
    """What one worker wrote, the latest last."""

    def __init__(self, worker_id: str) -> None:
        self._worker_id = worker_id
        self._ends: deque[End] = deque(maxlen=MOST)
        self._origin: Origin | None = None

    def note(self, outcomes: Iterable[Outcome]) -> None:
        """The database has acknowledged these."""
        now = time.monotonic()
        self._ends.extend([(each.revision_id, each.token, now) for each in outcomes if each.verdict in TERMINAL])

    def meet(self, line: Line) -> None:
        """Take note of the server that was reached, and say what it does not know if it is another. Raises LineLost."""
        origin, before = line.origin, self._origin
        if origin is None or origin == before:
            return
        if before is not None and before.system == origin.system:
            try:
                self._compare(line, before, origin)
            except StatementRefused as error:
                log.warning("settlement.refused", what="what a failover lost", error=str(error))
                return  # and again with the next connection
        self._origin = origin

    def _compare(self, line: Line, before: Origin, origin: Origin) -> None:
        ends = {each[0]: each for each in self._ends.copy()}  # (another thread may note one meanwhile)
        if not ends:
            return
        told = (
            f"the end that worker {self._worker_id} wrote was lost by a failover of the database, from timeline "
            f"{before.timeline} to {origin.timeline}: it is performed again"
        )
        ids, tokens, noted = zip(*ends.values(), strict=True)
        now = time.monotonic()
        agos = [now - at + SLACK for at in noted]
        rows = line.call("lost_ends", ids=list(ids), tokens=list(tokens), agos=agos, told=told)
        if not rows:
            return
        again, missing = [row[0] for row in rows if row[1]], [row[0] for row in rows if not row[1]]
        lost = {*again, *missing}
        self._ends = deque([each for each in self._ends.copy() if each[0] not in lost], MOST)
        log.warning("revision.lost", count=len(rows), again=again[:NAMED], missing=missing[:NAMED])
