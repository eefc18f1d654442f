"""What workers without access to the database say, and are told."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field

from workerpool.api.http.models.base import (
    Count,
    Delay,
    Flag,
    Handler,
    Model,
    Percentage,
    Reason,
    Shown,
    Status,
)
from workerpool.api.http.models.pool import System


class ClaimIn(Model):
    """What a worker asks for; the same claimRequestId is the same claim."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"claimRequestId": "0d4ff8a5-6c52-4a3f-9f7c-6f0d8b3f2a11", "handlers": ["edit"], "worker": "R1"}
            ]
        }
    )

    claim_request_id: UUID
    handlers: Annotated[list[Handler], Field(min_length=1, max_length=100)]
    worker: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$", description="Tells several workers with one token apart.")
    ] = "R1"


class Fenced(Model):
    """What every message of an attempt carries."""

    claim_token: UUID
    worker: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")] = "R1"


class HeartbeatIn(Fenced):
    """The attempt lives. *held*: its handler stays at a checkpoint, and asks whether it may go on."""

    held: Flag = False


class LineIn(Model):
    """A line for the execution log."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    message: Annotated[str, Field(min_length=1, max_length=20_000)]
    data: Any = None


class ProgressIn(Fenced):
    """How far the attempt is; what is not named stays."""

    percentage: Percentage | None = None
    step: Annotated[str | None, Field(max_length=2_000)] = None
    total_steps: Count | None = None
    log: list[LineIn] = Field(default_factory=list, max_length=1_000)


class CompleteIn(Fenced):
    """The attempt succeeded; its result becomes the item's content."""

    result: Any = None


class FailIn(Fenced):
    """The attempt failed: it is tried again while attempts are left, unless *final*."""

    message: Annotated[str, Field(min_length=1, max_length=20_000)]
    kind: Annotated[
        Literal["error", "timeout", "invalid_payload", "cancelled"],
        Field(description="cancelled: the handler stopped as it was asked to; the revision ends so."),
    ] = "error"
    final: Flag = False
    retry_after_seconds: Delay | None = None
    max_attempts: Annotated[Count | None, Field(description="Where the revision has no limit.")] = None


class ReleaseIn(Fenced):
    """The revision is given back unharmed: the attempt is not counted."""

    reason: Reason = ""
    after_seconds: Annotated[Delay | None, Field(description="Not before: it keeps its place, and waits.")] = None


class Job(Shown):
    """A claimed revision."""

    id: int
    item_key: str
    handler: str
    payload: Any
    base: Annotated[Any, Field(description="The item's content, on which it stacks.")] = None
    attempt: int
    max_attempts: int | None = None
    timeout_seconds: float | None = None
    claim_token: UUID
    lease_expires_at: datetime
    fence: int
    idempotency_key: str
    metadata: Any = None


class Intervals(Shown):
    """Seconds: how often to ask for work, the same while paused, how often to send a heartbeat, how long a
    lease holds.
    """

    poll: float
    pause_poll: float
    heartbeat: float
    lease: float


class Claimed(Shown):
    """The job, or none; and what is in force."""

    job: Job | None
    system: System
    intervals: Intervals


class JobState(Shown):
    """What a worker is told of its attempt."""

    id: int
    status: Status = "processing"
    attempt: int | None = None
    lease_expires_at: datetime | None = None
    cancel_requested: bool = False
    hold: Annotated[bool, Field(description="Stay at the next checkpoint, and send heartbeats with held: true.")] = (
        False
    )


class Acknowledged(Shown):
    """The attempt, and what is in force."""

    job: JobState
    system: System


class Woken(Shown):
    """What came of a webhook."""

    accepted: bool = True
    revisions: list[int] = Field(default_factory=list)
    repeated: Annotated[bool, Field(description="This delivery was seen before.")] = False


class Health(Shown):
    """How the service is."""

    status: Literal["ok", "degraded", "down"]
    checks: dict[str, str] = Field(default_factory=dict)
