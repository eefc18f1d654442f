"""The loop of a remote worker: claim, perform, tell; rest while there is nothing, or while the pool is paused.

Owns: the claims, how often one is asked for, and the end of the loop. Does not own: an attempt (``attempt``).
Invariant: a claim whose answer was lost is asked for again under the same id until it is answered, so that it is one.
"""

from __future__ import annotations

import contextlib
import inspect
import random
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from types import FrameType
from typing import Any
from uuid import uuid4

from workerpool import logs
from workerpool.core.retry import Backoff
from workerpool.handlers import registry
from workerpool.handlers.registry import HandlerSpec
from workerpool.job.continuations import wait_for_callbacks
from workerpool.remote.answers import Rhythm, claim_of, rhythm_of
from workerpool.remote.attempt import MESSAGE, Attempt, Manner, Means
from workerpool.remote.bell import Bell
from workerpool.remote.server import Away, ClaimGone, Server
from workerpool.remote.verdict import STOPPING

log = logs.get("remote")
#: Between tries while the server is away.
PATIENCE = Backoff(timedelta(seconds=1), cap=timedelta(seconds=30))
#: How much sooner or later than its rhythm a worker asks, so that many do not ask at once.
JITTER = 0.2
SIGNALS = (signal.SIGTERM, signal.SIGINT)
_WORKER = re.compile(r"[A-Za-z0-9_-]{1,40}")
Handlers = Mapping[str, Callable[..., Any]] | Sequence[str]


class RemoteWorker:
    """Performs revisions over HTTP, one at a time."""

    def __init__(
        self,
        url: str,
        *,
        handlers: Handlers,
        token: str | None = None,
        worker: str = "R1",
        grace: timedelta = timedelta(seconds=30),
        timeout: timedelta = timedelta(hours=1),
        cancel_grace: timedelta = timedelta(seconds=10),
    ) -> None:
        """*handlers*: functions by name, or modules (dotted names or .py files) with functions under ``@handler``.

        *token*: a worker's, of ``workerpool tokens add``. *worker* tells several with one token apart. *grace*: how
        long a running handler may go on after `stop`. *timeout*: of an attempt, where neither the revision nor the
        handler has one. *cancel_grace*: from asking a handler to stop to giving this process up. Raises ValueError,
        HandlerModuleBroken.
        """
        if not _WORKER.fullmatch(worker):
            raise ValueError(f"worker is {worker!r}; allowed: 1 to 40 letters, digits, '_' and '-'")
        self.specs = _specs(handlers)
        if not self.specs:
            raise ValueError("there are no handlers: nothing could be claimed")
        self._server, self._bell = Server(url, token), Bell()
        seconds = (each.total_seconds() for each in (grace, timeout, cancel_grace))
        self._manner = Manner(worker, *seconds)
        self._means = Means(self._server, self._bell, self._manner, self._tell_pause, lambda: self._stop_at)
        self._rhythm = Rhythm()
        self._request: str | None = None
        """The id of a claim that was not answered."""
        self._stop_at: float | None = None
        self._told = 0
        self._tries = 0

    def run(self) -> None:
        """Perform revisions until `stop`; on the main thread TERM and INT are that too (INT again: at once).

        Raises Refused where the server does not let this worker claim, HandlerStuck.
        """
        log.info("worker.started", worker=self._manner.worker, handlers=sorted(self.specs))
        with self._signals():
            while self._stop_at is None:
                self._round()
            self._leave()
        wait_for_callbacks(1.0)
        log.info("worker.stopped", worker=self._manner.worker)

    def stop(self, *, quick: bool = False) -> None:
        """Claim nothing more; what runs may go on for the grace (*quick*: not at all), then it is given back.

        From any thread, or a signal's handler.
        """
        grace = 0.0 if quick else self._manner.grace
        at = time.monotonic() + grace
        self._stop_at = at if self._stop_at is None else min(at, self._stop_at)
        self._bell.ring()

    @property
    def is_stopping(self) -> bool:
        """Tell whether it was asked to stop."""
        return self._stop_at is not None

    def _round(self) -> None:
        """Ask for a revision, and perform it, or rest."""
        asked = time.monotonic()
        answer = self._claim()
        if answer is None:
            return
        job, is_paused = answer["job"], answer["system"]["workersPaused"]
        if job is not None:
            claim = claim_of(job, asked)
            Attempt(self._means, self._rhythm, claim, job.get("base"), self.specs[claim.handler]).perform()
        else:
            self._rest(self._rhythm.pause_poll if is_paused else self._rhythm.poll)

    def _claim(self) -> dict[str, Any] | None:
        """Return the answer to a claim; None: there was none yet, and it has been waited."""
        self._request = self._request or str(uuid4())
        body = {"claimRequestId": self._request, "handlers": sorted(self.specs), "worker": self._manner.worker}
        try:
            answer = self._server.ask("/api/queue/jobs/claim", body, MESSAGE)
        except (Away, ClaimGone) as error:
            self._tries += 1
            wait = PATIENCE.wait(self._tries, random.random()).total_seconds()
            self._bell.wait(max(0.1, wait, getattr(error, "after", None) or 0.0))
            return None
        self._request, self._tries = None, 0
        self._rhythm = rhythm_of(answer["intervals"])
        self._tell_pause(answer["system"])
        return answer

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds * random.uniform(1 - JITTER, 1 + JITTER)
        while self._stop_at is None and (left := until - time.monotonic()) > 0:
            self._bell.wait(left)

    def _tell_pause(self, system: Mapping[str, Any]) -> None:
        """Log what is in force, once a version."""
        version, is_paused = system["version"], system["workersPaused"]
        if version != self._told and (is_paused or self._told):
            reason = {"mode": system.get("mode"), "reason": system.get("reason")} if is_paused else {}
            log.info("pause.changed", version=version, paused=is_paused, **reason)
        self._told = version

    def _leave(self) -> None:
        """Give back what a claim may have taken whose answer was lost."""
        log.info("worker.stopping", worker=self._manner.worker)
        with contextlib.suppress(Away, ClaimGone):
            if self._request is not None:
                answer = self._claim()
                job = answer["job"] if answer is not None else None
                if job is not None:
                    body = {"claimToken": job["claimToken"], "worker": self._manner.worker, "reason": STOPPING}
                    self._server.ask(f"/api/queue/jobs/{job['id']}/release", body, MESSAGE)
        self._server.close()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._hear) for number in SIGNALS}
        try:
            yield
        finally:
            for number, former in before.items():
                signal.signal(number, former)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        self.stop(quick=number == signal.SIGINT and self._stop_at is not None)


def _specs(handlers: Handlers) -> dict[str, HandlerSpec]:
    if not isinstance(handlers, Mapping):
        registry.load((handlers,) if isinstance(handlers, str) else tuple(handlers))
        return dict(registry.known())
    return {
        name: HandlerSpec(name, function, is_async=inspect.iscoroutinefunction(function))
        for name, function in handlers.items()
    }
