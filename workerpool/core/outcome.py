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
from workerpool.core.retry import backoff
from workerpool.core.revision import Tries

Verdict = Literal["completed", "failed", "cancelled", "retried", "released"]


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


def completed(revision_id: int, token: UUID, result: str) -> Outcome:
    """The handler returned; *result* is JSON text."""
    return Outcome(revision_id, token, "completed", result=result)


def released(revision_id: int, token: UUID, message: str | None = None) -> Outcome:
    """Given back unharmed: the attempt is not counted."""
    return Outcome(revision_id, token, "released", message=message)


def failed(
    revision_id: int, token: UUID, tries: Tries, message: str, kind: FailureKind, jitter: float, *, final: bool = False
) -> Outcome:
    """The attempt failed: tried again after a back-off while attempts are left, unless *final*."""
    if not final and tries.attempt < tries.max_attempts:
        told = f"{message} (attempt {tries.attempt} of {tries.max_attempts})"
        return Outcome(revision_id, token, "retried", message=told, kind=kind, delay=backoff(tries.attempt, jitter))
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
    told = f"{message} (crash {crashes}, attempt {tries.attempt} of {tries.max_attempts})"
    return Outcome(
        revision_id, token, "retried", message=told, kind="crash", delay=backoff(tries.attempt, jitter), crashed=True
    )
