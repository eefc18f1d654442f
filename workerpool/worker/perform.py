"""One attempt: a claim and a handler in, an outcome out.

Owns: the boundary around user code. Invariant: whatever the handler does short of ending the process, an outcome
comes out that the
database can hold.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from workerpool.core import outcome as verdicts
from workerpool.core.errors import Cancelled, Fail, FailureKind, HandlerMissing, Retry, Snooze, clean, message_of
from workerpool.core.outcome import Outcome
from workerpool.core.retry import DEFAULT
from workerpool.core.revision import DEFAULT_MAX_ATTEMPTS, Claim, Tries
from workerpool.handlers.command import CommandTimedOut
from workerpool.handlers.registry import HandlerSpec
from workerpool.job.job import Job
from workerpool.job.result import checked
from workerpool.job.token import CancellationToken
from workerpool.job.worker_job import WorkerJob
from workerpool.link.failpoints import reach
from workerpool.store.effects import CommitRefused, NoRoom
from workerpool.store.line import LineLost, StatementRefused
from workerpool.worker.attempt import STOPPING, TIMED_OUT
from workerpool.worker.desk import WorkerDesk
from workerpool.worker.footing import Footing, is_starved
from workerpool.worker.output import HandlerOutput, Printed, wait_until_read

#: Bytes that an attempt may print where its handler says nothing: more is a handler that has run away.
DEFAULT_OUTPUT_LIMIT = 256 << 20
#: How long an attempt is put off whose writes found the disk of the database full.
UNTIL_ROOM = timedelta(seconds=10)


#: The escape of a NUL in JSON text: its backslash is not itself escaped.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


#: Made once: json.dumps makes one for each call that has options.
_ENCODER = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"))


_forked = False


def _note_fork() -> None:
    global _forked
    _forked = True


os.register_at_fork(after_in_child=_note_fork)


class NotJson(Fail):
    """A handler returned something that JSON cannot hold."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the handler's result is not JSON: {why}")


def encode(result: object) -> str:
    """Return *result* as JSON text that jsonb takes; raises NotJson with the reason."""
    if result is None:
        return "null"
    if type(result) is dict and not result:
        return "{}"
    try:
        text = _ENCODER.encode(result)
        text.encode()
    except UnicodeEncodeError as error:
        raise NotJson("a text in it holds a lone surrogate") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise NotJson(message_of(error)) from error
    if "\\u0000" in text and _NUL.search(text):
        raise NotJson("a text in it holds a NUL character")
    return text


class Limits(NamedTuple):
    """What an attempt may take: seconds, tries, bytes of memory (0: any number), bytes printed."""

    timeout: float
    max_attempts: int
    memory: int
    output: int


class Performer:
    """Runs attempts one after the other on the thread that made it."""

    def __init__(self, specs: Mapping[str, HandlerSpec], desk: WorkerDesk, max_crashes: int, footing: Footing) -> None:
        self._specs, self._desk, self._max_crashes, self._footing = specs, desk, max_crashes, footing
        self._runner: asyncio.Runner | None = None
        limits = tuple(specs[name].concurrency for name in sorted(specs))
        self._concurrency = limits if any(limits) else ()
        self._usual: dict[tuple[str, float], Limits] = {}
        self.job: Job | None = None
        self.outputs: tuple[HandlerOutput, ...] = ()
        self.dirty = False
        """The process may be damaged (out of memory, signal handlers): it is to be replaced after this revision."""

    @property
    def concurrency(self) -> tuple[int | None, ...]:
        """Of each handler, by name, how many may run at once on all hosts; empty where none has such a limit."""
        return self._concurrency

    def limits(self, claim: Claim, default_timeout: float) -> Limits:
        """Return what the attempt *claim* may take: as its row says, else its handler, else the pool."""
        if claim.timeout_seconds is not None or claim.max_attempts is not None:
            return self._limits(claim, default_timeout)
        key = claim.handler, default_timeout
        if key not in self._usual:
            self._usual[key] = self._limits(claim, default_timeout)
        return self._usual[key]

    def _limits(self, claim: Claim, default_timeout: float) -> Limits:
        spec = self._specs.get(claim.handler)
        timeout, most = claim.timeout_seconds, claim.max_attempts
        if timeout is None:
            timeout = spec.timeout.total_seconds() if spec is not None and spec.timeout else default_timeout
        if most is None:
            most = spec.max_attempts if spec is not None and spec.max_attempts else DEFAULT_MAX_ATTEMPTS
        memory = spec.memory_limit if spec is not None and spec.memory_limit else 0
        return Limits(timeout, most, memory, _output_limit(spec))

    def perform(self, claim: Claim, token: CancellationToken, max_attempts: int) -> Outcome:
        """Run the handler of *claim* and return what became of it."""
        tries = Tries(claim.attempt, max_attempts, claim.crash_count, self._max_crashes)
        try:
            self.job = Job(claim, self._desk, token, max_attempts)
            reach("before_handler")
            outcome = verdicts.completed(claim.revision_id, claim.token, encode(checked(self._call(self.job))))
            reach("after_handler")
            self._stay_one_process()
        except BaseException as error:
            self._stay_one_process()
            outcome = self._failure(claim, tries, token, error)
        self.dirty |= self._footing.restore() or (outcome.verdict != "completed" and is_starved())
        self._finish_output()
        try:
            return self._desk.conclude(claim, outcome)
        except (CommitRefused, NoRoom, LineLost) as error:
            return self._failure(claim, tries, token, error)

    def close(self) -> None:
        """Close the event loop of the ``async def`` handlers."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    def _finish_output(self) -> None:
        job, self.job = self.job, None
        if job is not None:
            for output in self.outputs:
                output.finish(job)
            wait_until_read(1)

    def _call(self, job: Job) -> object:
        spec = self._specs.get(job.handler)
        if spec is None:
            raise HandlerMissing(job.handler, tuple(self._specs))
        if spec.is_async and self._runner is None:
            self._runner = asyncio.Runner()
        call, printed = spec.call, Printed(_output_limit(spec))
        for output in self.outputs:
            output.printed = printed
        running = WorkerJob(None, lambda _: call(job), job.token, continuations=job.continuations)
        running.run(self._runner)
        result = running.wait()
        printed.check()
        return result

    def _stay_one_process(self) -> None:
        # A handler that forked and let its child return would make a second worker with the same connection.
        if _forked:
            os._exit(70)

    def _failure(self, claim: Claim, tries: Tries, token: CancellationToken, error: BaseException) -> Outcome:
        revision, claim_token = claim.revision_id, claim.token
        spec = self._specs.get(claim.handler)
        waits = spec.backoff if spec is not None else DEFAULT

        def failed(message: str, kind: FailureKind = "error", **more: Any) -> Outcome:
            return verdicts.failed(revision, claim_token, tries, message, kind, random.random(), waits=waits, **more)

        match error:
            case Cancelled() if token.reason == TIMED_OUT:
                return failed("it took longer than its time limit", "timeout")
            case Cancelled() if token.reason == STOPPING:
                return verdicts.released(revision, claim_token)
            case Cancelled():
                return Outcome(revision, claim_token, "cancelled", message=clean(str(error.reason)), kind="cancelled")
            case Fail():
                return failed(message_of(error), error.kind, final=True)
            case Retry():
                return failed(message_of(error), after=error.after)
            case Snooze():
                return verdicts.snoozed(revision, claim_token, message_of(error), error.delay(datetime.now(UTC)))
            case CommandTimedOut():
                return failed(message_of(error), "timeout")
            case LineLost():
                return verdicts.released(revision, claim_token, "the database was not there when the handler needed it")
            case NoRoom() | StatementRefused(full=True):
                return verdicts.snoozed(revision, claim_token, f"the disk of the database is full: {error}", UNTIL_ROOM)
            case MemoryError():
                self.dirty = True
                return failed("out of memory (MemoryError)")
            case _:
                return failed(message_of(error))


def _output_limit(spec: HandlerSpec | None) -> int:
    return spec.output_limit if spec is not None and spec.output_limit else DEFAULT_OUTPUT_LIMIT
