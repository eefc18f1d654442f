"""What became of an attempt, as a message to the server: its verb, and what is said with it.

Owns: which end of a handler is which verb, as ``worker.perform`` has it for the database. Pure but for the result's
files, which must exist. Invariant: whatever a handler returned or raised, there is a verdict for it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from workerpool.core.errors import Cancelled, Fail, Retry, Snooze, clean, message_of
from workerpool.handlers.registry import HandlerSpec
from workerpool.job.result import checked

#: Reasons that this program gives to a token: such an end is a timeout, or a release, and no cancellation.
TIMED_OUT, STOPPING = "its time limit is over", "the worker is stopping"
#: Kinds of failure that a worker may tell, and the longest wait, in seconds.
KINDS, LONGEST = frozenset({"error", "timeout", "invalid_payload", "cancelled"}), 31_536_000.0
Verb = Literal["complete", "fail", "release"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be said of an attempt; *event* and *why* are for the log."""

    verb: Verb
    body: dict[str, Any]
    event: str
    why: str | None = None


def completed(result: object) -> Verdict:
    """The handler returned. Raises ArtifactMissing; a result that is not JSON is a failure for good."""
    found = checked(result)
    try:
        json.dumps(found, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        return refused(f"the handler's result is not JSON: {message_of(error)}")
    return Verdict("complete", {"result": found}, "revision.completed")


def refused(why: str) -> Verdict:
    """What the handler made cannot be stored, and would not be the next time."""
    return _failed(why, final=True)


def ended(error: BaseException, reason: str | None, spec: HandlerSpec, wait: float, now: datetime) -> Verdict:
    """The handler raised *error*; *reason* is that of its token, *wait* the seconds that its back-off says."""
    match error:
        case Cancelled() if reason == TIMED_OUT:
            return overdue(spec, wait)
        case Cancelled() if reason == STOPPING:
            return released(STOPPING)
        case Cancelled():
            return cancelled(clean(str(error.reason)))
        case Fail():
            return _failed(message_of(error), error.kind, final=True)
        case Retry():
            after = error.after.total_seconds() if error.after is not None else wait
            return _failed(message_of(error), spec=spec, after=after)
        case Snooze():
            why, after = message_of(error), error.delay(now).total_seconds()
            body = {"reason": why[:2_000], "afterSeconds": min(after, LONGEST)}
            return Verdict("release", body, "revision.snoozed", why)
        case MemoryError():
            return _failed("out of memory (MemoryError)", spec=spec, after=wait)
        case _:
            return _failed(message_of(error), spec=spec, after=wait)


def overdue(spec: HandlerSpec, wait: float) -> Verdict:
    """The attempt took too long."""
    return _failed("it took longer than its time limit", "timeout", spec=spec, after=wait)


def cancelled(why: str) -> Verdict:
    """Somebody wanted it to end, and it did."""
    return Verdict("fail", {"message": why or "cancelled", "kind": "cancelled"}, "revision.cancelled", why)


def released(why: str) -> Verdict:
    """It is given back unharmed."""
    return Verdict("release", {"reason": why}, "revision.released", why)


def _failed(
    why: str, kind: str = "error", *, final: bool = False, spec: HandlerSpec | None = None, after: float | None = None
) -> Verdict:
    told: dict[str, Any] = {"message": why or "failed", "kind": kind if kind in KINDS else "error", "final": final}
    if after is not None:
        told["retryAfterSeconds"] = min(after, LONGEST)
    if spec is not None and spec.max_attempts is not None:
        told["maxAttempts"] = spec.max_attempts
    return Verdict("fail", told, "revision.failed", why)
