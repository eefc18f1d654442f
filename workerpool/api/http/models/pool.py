"""The queue, the workers, the pause, the events."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from workerpool.api.http.models.base import (
    Flag,
    Instant,
    Mode,
    Model,
    Reason,
    Shown,
    Status,
    Version,
)


class CountLine(Shown):
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
    handlers: list[CountLine]
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


#: Why; a text with something in it.
Why = Annotated[
    str, Field(min_length=1, max_length=2_000, pattern=r"\S", description="Everybody who waits will read it.")
]
Expected = Annotated[Version | None, Field(description="Only if this is still in force, else 409.")]
SCOPE = r"^(all|(handler|host):[^\x00]{1,512})$"


class PauseAsked(Model):
    """Start nothing more."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"action": "pause", "mode": "drain", "reason": "upgrade to 2.1"}]}
    )

    action: Literal["pause"]
    mode: Mode = "drain"
    reason: Why
    version: Expected = None
    scope: Annotated[str, Field(pattern=SCOPE, description="all, handler:NAME or host:NAME.")] = "all"
    until: Annotated[Instant | None, Field(description="It ends by itself then.")] = None
    holder: Annotated[str | None, Field(min_length=1, max_length=300, description="Whose pause it is.")] = None


class ResumeAsked(Model):
    """Take pauses away: one's own, those of *holder*, or those of *everybody*."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"action": "resume", "reason": "upgraded"}]})

    action: Literal["resume"]
    mode: Annotated[Mode | None, Field(description="Taken and not looked at.")] = None
    reason: Reason = ""
    version: Expected = None
    scope: Annotated[str | None, Field(pattern=SCOPE, description="None: each.")] = None
    holder: Annotated[str | None, Field(min_length=1, max_length=300, description="Whose pauses.")] = None
    everybody: Flag = False


PauseIn = Annotated[PauseAsked | ResumeAsked, Field(discriminator="action")]


class ProcessingIn(Model):
    """Why processing is started or stopped."""

    reason: Reason = ""
    everybody: Annotated[Flag, Field(description="A start takes away the pauses of all.")] = False


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
