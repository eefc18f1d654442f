"""The queue, the workers, the pause, the events."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, ConfigDict, Field

from workerpool.api.http.models.base import Mode, Model, Reason, Shown, Status


class Count(Shown):
    """How many revisions there are of a status and handler."""

    status: Status
    handler: str
    revisions: int
    oldest: datetime | None = None


class Point(Shown):
    """A point of a chart: seconds since the epoch, revisions ended a second, how many wait (to 10,001) and run."""

    at: float
    rate: float
    waiting: int
    running: int


class Queue(Shown):
    """The queue: counts by status, by status and handler, and the last minutes."""

    revisions: dict[Status, int]
    handlers: list[Count]
    oldest_pending: datetime | None = None
    points: list[Point]


class WorkerLine(Shown):
    """A worker process."""

    id: str
    host: str
    slot: str
    generation: int
    pid: int
    state: str
    handlers: list[str]
    current_revision_id: int | None = None
    current_item: str | None = None
    processed_count: int
    restart_count: int
    rss_bytes: int | None = None
    started_at: datetime
    last_heartbeat: datetime


class Workers(Shown):
    """The worker processes of every host."""

    workers: list[WorkerLine]


class Event(Shown):
    """What an operator did."""

    id: int
    created_at: datetime
    control: str
    action: str
    mode: str | None = None
    target: str | None = None
    reason: str | None = None
    actor: str


class Events(Shown):
    """What operators did, the latest last."""

    events: list[Event]


class System(Shown):
    """What is in force; it comes with every answer to a worker."""

    workers_paused: bool
    mode: Mode | None = None
    reason: str | None = None
    version: int
    updated_at: datetime


class PauseMetrics(Shown):
    """The figures of a pause."""

    queued: int
    running: int
    stale_running: int
    held: int
    is_drained: bool
    version: int


class Asked(Shown):
    """Somebody's pause."""

    scope: str
    mode: Mode
    reason: str
    actor: str
    holder: str
    requested_at: datetime
    until: datetime | None = None
    fate: Annotated[str | None, Field(description="What became of the process that holds it, where that is known.")] = (
        None
    )


class Pause(System):
    """The pause: what is in force, who asked for it, its figures, what was done lately."""

    actor: str | None = None
    requested_at: datetime | None = None
    metrics: PauseMetrics
    pauses: list[Asked]
    events: list[Event]
    lifted: Annotated[int | None, Field(description="How many pauses a resume took away.")] = None


class PauseIn(Model):
    """Pause or resume; with *version* only if that is still in force."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"action": "pause", "mode": "drain", "reason": "upgrade to 2.1"}]}
    )

    action: Literal["pause", "resume"]
    mode: Mode = "drain"
    reason: Annotated[str, Field(max_length=2_000, description="Why; wanted for a pause.")] = ""
    version: Annotated[int | None, Field(ge=0, le=2**63 - 1)] = None
    scope: Annotated[
        str | None, Field(max_length=600, description="all, handler:NAME or host:NAME. Of a resume: null is each.")
    ] = None
    until: Annotated[AwareDatetime | None, Field(description="It ends by itself then.")] = None
    holder: Annotated[str | None, Field(min_length=1, max_length=300, description="Whose pause to take away.")] = None
    everybody: Annotated[bool, Field(description="A resume takes away the pauses of all.")] = False


class ProcessingIn(Model):
    """Why processing is started or stopped."""

    reason: Reason = ""
    everybody: Annotated[bool, Field(description="A start takes away the pauses of all.")] = False


class SafeState(Shown):
    """Whether nothing runs outside a hold, as of one moment, and what does."""

    is_safe: bool
    paused: bool
    mode: Mode | None = None
    version: int
    running: int
    held: int
    lost: int
    active_tokens: int
    unaware: list[str]
    obstacles: list[str]
