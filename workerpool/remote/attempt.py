"""One attempt: the handler on a thread of its own, and beside it, on the thread that claimed, what keeps the claim.

Owns: heartbeats, the hold, the limits of time, and telling how it ended. Does not own: claiming (``worker``).
Invariant: a lease counts from before the message that asked for it, by this process's own monotonic clock; once it is
over, or the server says that the claim is gone, the handler is asked to stop and nothing is written any more. A held
handler goes on only on the answer to a heartbeat that said that it is held.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from workerpool import logs
from workerpool.core.revision import DEFAULT_MAX_ATTEMPTS, Claim
from workerpool.handlers.registry import HandlerSpec
from workerpool.job.job import Job
from workerpool.job.token import CancellationToken
from workerpool.job.worker_job import WorkerJob
from workerpool.remote import verdict as verdicts
from workerpool.remote.answers import Rhythm
from workerpool.remote.bell import Bell
from workerpool.remote.desk import RemoteDesk
from workerpool.remote.server import Away, ClaimGone, Refused, Server
from workerpool.remote.verdict import STOPPING, TIMED_OUT, Verdict

log = logs.get("remote")
#: Seconds between two messages with lines and progress, between tries of a heartbeat, and that one message may take.
GATHER, AGAIN, MESSAGE = 0.5, 1.0, 10.0
LOST, ASKED = "its claim is lost", "somebody asked for it"


class HandlerStuck(Exception):
    """A handler did not end although it was asked to: only the end of its process ends it."""

    def __init__(self, revision: int, reason: str) -> None:
        self.revision = revision
        super().__init__(f"the handler of revision {revision} was asked to stop ({reason}) and runs on")


@dataclass(frozen=True, slots=True)
class Manner:
    """How the worker works, as the program that started it said; durations are seconds."""

    worker: str
    grace: float
    timeout: float
    cancel_grace: float


@dataclass(frozen=True, slots=True)
class Means:
    """What an attempt works with."""

    server: Server
    bell: Bell
    manner: Manner
    tell_pause: Callable[[Mapping[str, Any]], object]
    stop_at: Callable[[], float | None]
    """Until when (monotonic) a handler may run on; None: nobody asked this worker to stop."""


class Attempt:
    """Performs one revision that was claimed."""

    def __init__(self, means: Means, rhythm: Rhythm, claim: Claim, base: object, spec: HandlerSpec) -> None:
        """*base*: the item's content, which came with the claim."""
        self._means, self._rhythm, self._claim, self._spec = means, rhythm, claim, spec
        self._desk, self._token = RemoteDesk(base, means.bell.ring), CancellationToken()
        self._accepted, self._beat_at = claim.claimed_at, claim.claimed_at + rhythm.heartbeat
        self._deadline = time.monotonic() + self._limit()
        self._tell_at = self._cancelled_at = 0.0
        self._held_since: float | None = None
        self._asked: str | None = None
        """Why the handler was asked to stop."""
        self._lost: str | None = None
        self._why_paused: str | None = None
        self._verdict: Verdict | None = None

    def perform(self) -> None:
        """Run the handler to its end, and tell it. Raises HandlerStuck."""
        log.info("revision.claimed", **self._about, item=self._claim.item_key, handler=self._claim.handler)
        threading.Thread(target=self._run, name="handler", daemon=True).start()
        while self._verdict is None and not self._is_stuck(time.monotonic()):
            self._look(time.monotonic())
            self._means.bell.wait(self._next() - time.monotonic())
        stuck = self._verdict is None
        self._settle(self._verdict or self._verdict_of_stuck())
        if stuck:
            raise HandlerStuck(self._claim.revision_id, str(self._asked))

    # -- the handler's thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            most = self._claim.max_attempts or self._spec.max_attempts or DEFAULT_MAX_ATTEMPTS
            job = Job(self._claim, self._desk, self._token, most)
            running = WorkerJob(None, lambda _: self._spec.call(job), self._token, continuations=job.continuations)
            running.run()
            found = verdicts.completed(running.wait())
        except BaseException as error:
            wait = self._wait()
            found = verdicts.ended(error, self._token.reason, self._spec, wait, datetime.now(UTC))
        self._verdict = found
        self._means.bell.ring()

    # -- the main thread -----------------------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        """Do what is due."""
        stop_at = self._means.stop_at()
        if self._lost is None and now >= self._lease_end:
            self._lose("no heartbeat was accepted for a lease")
        if stop_at is not None and (now >= stop_at or self._desk.held):
            self._cancel(STOPPING)  # a held one is given back: it is as if it had never begun
        elif now >= self._deadline and not self._desk.held:
            self._cancel(TIMED_OUT)
        if self._token.cancelled and self._desk.held:
            self._leave_hold()  # the handler cancelled its token itself
        if self._lost is not None:
            return
        if self._desk.held and self._held_since is None:
            self._enter_hold(now)
        elif not self._desk.held and not self._desk.is_empty and now >= self._tell_at:
            self._tell()
        if now >= self._beat_at:
            self._beat()

    def _next(self) -> float:
        """Return when (monotonic) something is due next."""
        if self._lost is not None:
            return self._cancelled_at + self._means.manner.cancel_grace
        times = [self._beat_at, self._lease_end]
        if self._asked is not None:
            times.append(self._cancelled_at + self._means.manner.cancel_grace)
        elif not self._desk.held:
            times.append(self._deadline)
        if (stop_at := self._means.stop_at()) is not None and self._asked is None:
            times.append(stop_at)
        if not self._desk.held and not self._desk.is_empty:
            times.append(self._tell_at)
        return min(times)

    def _beat(self) -> None:
        held, sent = self._desk.held, time.monotonic()
        answer = self._ask("heartbeat", {"held": held})
        if answer is None:
            self._beat_at = time.monotonic() + min(AGAIN, self._rhythm.heartbeat)
            return
        self._accepted = sent
        self._beat_at = sent + (
            min(self._rhythm.heartbeat, self._rhythm.pause_poll) if held else self._rhythm.heartbeat
        )
        if held and not answer["job"]["hold"]:
            self._leave_hold()

    def _enter_hold(self, now: float) -> None:
        self._held_since = self._beat_at = now
        log.info("revision.held", **self._about, why=self._why_paused)
        why = f": {self._why_paused}" if self._why_paused else ""
        self._desk.write_log(self._claim, "info", f"held at a checkpoint{why}", None)
        self._tell()  # before the hold is: whoever tells something counts as running

    def _leave_hold(self) -> None:
        since, self._held_since = self._held_since, None
        if since is not None:
            held = time.monotonic() - since
            self._deadline += held
            log.info("revision.resumed", **self._about, seconds=round(held, 3))
        self._desk.let_go()

    def _cancel(self, reason: str) -> None:
        if self._asked is not None:
            return
        self._asked = reason
        if self._desk.held and self._lost is None:
            self._ask("heartbeat", {"held": False})  # it is about to run on, to its end
        self._cancelled_at = time.monotonic()
        self._token.cancel(reason)
        self._leave_hold()

    def _lose(self, why: str) -> None:
        """Write nothing more for this attempt: it is, or may be, another's by now."""
        if self._lost is None:
            self._lost = why
            log.warning("lease.lost", **self._about, why=why)
            self._cancel(LOST)

    def _tell(self) -> bool:
        """Tell what the handler said; tells whether nothing of it waits any more."""
        self._tell_at = time.monotonic() + GATHER
        said = self._desk.take()
        try:
            answer = self._ask("progress", said)
        except Refused as error:
            lines = len(said["log"])
            log.warning(
                "settlement.refused", **self._about, what="log lines and progress", count=lines, error=str(error)
            )
            return self._desk.is_empty
        if answer is None and self._lost is None:
            self._desk.put_back(said)
        return self._desk.is_empty

    def _ask(self, verb: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """Say something of the attempt, and take in what the answer says of it; None: there was none.

        Raises Refused, of what is not a heartbeat.
        """
        path = f"/api/queue/jobs/{self._claim.revision_id}/{verb}"
        about = {"claimToken": str(self._claim.token), "worker": self._means.manner.worker}
        left = self._lease_end - time.monotonic()
        try:
            answer = self._means.server.ask(path, about | dict(body), max(0.5, min(MESSAGE, left)))
        except ClaimGone as error:
            self._lose(str(error))
            return None
        except Refused as error:
            if verb != "heartbeat":
                raise
            self._lose(str(error))
            return None
        except Away:
            return None
        self._means.tell_pause(answer["system"])
        self._why_paused = answer["system"].get("reason")
        if answer["job"].get("cancelRequested"):
            self._cancel(ASKED)
        if not self._desk.held:
            self._desk.quiesced = bool(answer["job"].get("hold"))
        return answer

    def _settle(self, verdict: Verdict) -> None:
        """Tell how it ended, again and again until the lease is over."""
        tries = 0
        while self._lost is None:
            try:
                if (self._desk.is_empty or self._tell()) and self._ask(verdict.verb, verdict.body) is not None:
                    more = {"why": verdict.why} if verdict.why is not None else {}
                    log.info(verdict.event, **self._about, **more)
                    return
            except Refused as error:
                log.warning("settlement.refused", **self._about, what=verdict.verb, count=1, error=str(error))
                if verdict.verb != "complete":
                    return
                verdict = verdicts.refused(f"the handler's result was refused: {error}")
                continue
            if self._lost is None and time.monotonic() >= self._lease_end:
                self._lose(f"it ended ({verdict.verb}), and could not be told for a lease")
            tries += 1
            self._means.bell.wait(min(0.2 * 2 ** min(tries, 4), max(0.0, self._lease_end - time.monotonic())))
        log.warning("revision.fenced", **self._about, verdict=verdict.verb)

    def _is_stuck(self, now: float) -> bool:
        return self._asked is not None and now >= self._cancelled_at + self._means.manner.cancel_grace

    def _verdict_of_stuck(self) -> Verdict:
        if self._asked == TIMED_OUT:
            return verdicts.overdue(self._spec, self._wait())
        if self._asked == STOPPING:
            return verdicts.released(STOPPING)
        return verdicts.cancelled(f"{self._asked}; it did not stop")

    def _wait(self) -> float:
        return self._spec.backoff.wait(self._claim.attempt, random.random()).total_seconds()

    def _limit(self) -> float:
        if self._claim.timeout_seconds is not None:
            return self._claim.timeout_seconds
        return self._spec.timeout.total_seconds() if self._spec.timeout else self._means.manner.timeout

    @property
    def _lease_end(self) -> float:
        return self._accepted + self._rhythm.lease

    @property
    def _about(self) -> dict[str, Any]:
        return {"revision_id": self._claim.revision_id, "attempt": self._claim.attempt}
