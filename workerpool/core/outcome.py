"""What became of an attempt, and what its revision does next.

Owns: the verdicts. Does not own: writing them (``store``), nor noticing the end of an attempt (``worker``, ``keeper``).
Invariant: an attempt that was given back unharmed is never counted; whichever limit comes first ends the revision.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from uuid import UUID

from workerpool.core.errors import FailureKind
from workerpool.core.retry import DEFAULT, Backoff
from workerpool.core.revision import Tries

Verdict = Literal["completed", "failed", "cancelled", "retried", "snoozed", "released"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One verdict, ready to be written, fenced by its token."""

    revision_id: int
    token: UUID
    verdict: Verdict
    result: str | None = None
    message: str | None = None
    kind: FailureKind | None = None
    delay: timedelta = timedelta(0)
    crashed: bool = False
    written: bool = False
    """It was written with the handler's own transaction, or refused there: it is not to be settled again."""


def completed(revision_id: int, token: UUID, result: str) -> Outcome:
    """The handler returned; *result* is JSON text."""
    return Outcome(revision_id, token, "completed", result=result)


def released(revision_id: int, token: UUID, message: str | None = None) -> Outcome:
    """Given back unharmed: the attempt is not counted."""
    return Outcome(revision_id, token, "released", message=message)


def snoozed(revision_id: int, token: UUID, message: str, delay: timedelta) -> Outcome:
    """Not now: it runs after *delay*, in its place, and the attempt is not counted."""
    return Outcome(revision_id, token, "snoozed", message=message, delay=delay)


def failed(
    revision_id: int,
    token: UUID,
    tries: Tries,
    message: str,
    kind: FailureKind,
    jitter: float,
    *,
    final: bool = False,
    waits: Backoff = DEFAULT,
    after: timedelta | None = None,
) -> Outcome:
    """The attempt failed: tried again while attempts are left, *after* so long, or as *waits* say; unless *final*."""
    if not final and tries.attempt < tries.max_attempts:
        delay = after if after is not None else waits.wait(tries.attempt, jitter)
        return Outcome(revision_id, token, "retried", message=_retry(tries, message), kind=kind, delay=delay)
    return Outcome(revision_id, token, "failed", message=message, kind=kind)


def crashed(revision_id: int, token: UUID, tries: Tries, message: str, jitter: float) -> Outcome:
    """The attempt took its worker with it; *tries* are those before this crash is counted.

    The crash limit is looked at first: a revision that reaches both limits at once was poison.
    """
    crashes = tries.crash_count + 1
    if crashes >= tries.max_crashes:
        told = f"{message}; it crashed its worker {crashes} times and is not tried again"
        return Outcome(revision_id, token, "failed", message=told, kind="poison", crashed=True)
    if tries.attempt >= tries.max_attempts:
        return Outcome(revision_id, token, "failed", message=message, kind="crash", crashed=True)
    told, delay = _retry(tries, message), DEFAULT.wait(tries.attempt, jitter)
    return Outcome(revision_id, token, "retried", message=told, kind="crash", delay=delay, crashed=True)


def _retry(tries: Tries, message: str) -> str:
    return f"Retry {tries.attempt}/{tries.max_attempts}: {message}"
