"""The pause as a worker obeys it: what it has seen of it, and the hold at a checkpoint (R15).

Owns: the acknowledged version, and staying put. Does not own: what a claim may do (the schema decides), or noticing a
change (the keeper writes the version on the board).
Invariant: a hold is in the database before the handler stands still, and its end before the handler runs on.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from workerpool import logs
from workerpool.core.briefs import WorkerBrief
from workerpool.core.revision import Claim
from workerpool.job.token import CancellationToken
from workerpool.link.board import Record
from workerpool.store.line import Line, LineLost, StatementRefused
from workerpool.worker.attempt import STOPPING, Attempt
from workerpool.worker.desk import WorkerDesk

log = logs.get("worker")
#: A held handler looks this often whether it may go on, in seconds.
TICK = 0.05


class Pausing:
    """What one worker knows of the pause; safe from its two threads and those of a handler."""

    def __init__(
        self,
        brief: WorkerBrief,
        line: Line,
        desk: WorkerDesk,
        record: Record,
        attempt: Attempt,
        stopping: Callable[[], bool],
        clear: Callable[[], object],
    ) -> None:
        """*stopping* tells whether this worker was told to leave, *clear* gives back what waits behind the handler."""
        self._brief, self._line, self._desk, self._record = brief, line, desk, record
        self._attempt, self._stopping, self._clear = attempt, stopping, clear
        self._lock = threading.RLock()
        self._holding = threading.Lock()
        self._seen = 0
        self._pauses: tuple[tuple[str, str, str], ...] = ()

    @property
    def in_force(self) -> bool:
        """Tell whether something is paused, as far as this worker has seen."""
        return bool(self._pauses)

    @property
    def is_news(self) -> bool:
        """Tell whether there is a version that this worker has not seen."""
        return self._record.pause_version() > self._seen

    def look(self, state: str | None = None) -> None:
        """See what is in force, and say so; *state* is in which state this worker is from now on.

        Raises LineLost, StatementRefused.
        """
        with self._lock:
            rows = self._line.call("acknowledge_pause", worker=self._brief.worker_id, state=state)
            for version, pauses in rows:
                self._seen = version
                self._pauses = tuple((scope, mode, reason) for scope, mode, reason in pauses)

    def forbids(self, handler: str) -> bool:
        """Tell whether nothing of *handler* may begin here, as far as this worker has seen."""
        return any(scope in self._scopes(handler) for scope, _, _ in self._pauses)

    def _scopes(self, handler: str) -> tuple[str, str, str]:
        return "all", f"handler:{handler}", f"host:{self._brief.host}"

    def _quiesced(self, handler: str) -> str | None:
        """Return why running revisions of *handler* are to be held, None where they are not."""
        if not self._pauses:
            return None
        scopes = self._scopes(handler)
        reasons = [reason for scope, mode, reason in self._pauses if mode == "quiesce" and scope in scopes]
        return "; ".join(reasons) if reasons else None

    def hold(self, claim: Claim, token: CancellationToken) -> None:
        """Stay here while something quiesces this claim's handler; a cancellation or a stop ends it."""
        if not self.is_news and self._quiesced(claim.handler) is None:
            return
        with self._holding:
            if self.is_news:
                self._try(self.look)
            if self._quiesced(claim.handler) is None or token.cancelled:
                return
            self._stay(claim, token)

    def _stay(self, claim: Claim, token: CancellationToken) -> None:
        began, left = time.monotonic(), self._attempt.stop_clock()
        self._record.state("paused")
        told = held = -1
        looked = began
        try:
            while not token.cancelled:
                if self._stopping():
                    token.cancel(STOPPING)  # released: it is as if it had never begun
                    break
                reason = self._quiesced(claim.handler)
                if reason is None:
                    if self._try(lambda: self._go_on(claim)):
                        break
                    looked = 0.0  # something quiesces it again, or is about to
                elif held != self._seen:
                    if told != self._seen:
                        told = self._seen
                        self._tell(claim, reason)
                    held = self._seen if self._try(lambda: self._enter(claim)) else -1
                if self.is_news or held == -1 or time.monotonic() - looked > self._brief.pause_poll_interval:
                    looked = time.monotonic()
                    self._try(self.look)
                token.wait(TICK)
            if token.cancelled:
                self._try(lambda: self.look("busy"))
        finally:
            self._record.state("busy")
            self._attempt.start_clock(left)
            log.info("revision.resumed", revision_id=claim.revision_id, seconds=round(time.monotonic() - began, 3))

    def _tell(self, claim: Claim, reason: str) -> None:
        log.info("revision.held", revision_id=claim.revision_id, version=self._seen, why=reason)
        self._desk.write_log(claim, "info", f"held at a checkpoint: {reason}", {"version": self._seen})
        self._try(self._clear)  # nothing waits behind a held handler, and what it said is written

    def _enter(self, claim: Claim) -> bool:
        asked = {"worker": self._brief.worker_id, "revision": claim.revision_id, "version": self._seen}
        rows = self._line.call("hold", **asked)
        return bool(rows and rows[0][0])

    def _go_on(self, claim: Claim) -> bool:
        rows = self._line.call("go_on", worker=self._brief.worker_id, handler=claim.handler)
        return bool(rows and rows[0][0])

    def _try(self, step: Callable[[], object]) -> object:
        """Do *step*; None where the database is away: what it would have said is asked for again."""
        try:
            return step()
        except StatementRefused as error:
            log.warning("settlement.refused", what="the pause", error=str(error))
        except LineLost as error:
            log.warning("database.lost", error=str(error))
            time.sleep(TICK)
            with contextlib.suppress(LineLost):
                self._line.open()
        return None
