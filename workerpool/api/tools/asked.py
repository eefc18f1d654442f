"""What each tool takes, as a schema that refuses what it does not know."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from workerpool.api.http.models.base import Count, Delay, Flag, Handler, Instant, Mode, Percentage, Priority, Seconds
from workerpool.api.service.revisions import NewRevision

Reason = Annotated[str, Field(max_length=2_000, description="Why; it is recorded as an event.")]
Id = Annotated[int, Field(ge=1, le=2**53 - 1, description="The revision's id.")]
Worker = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$", description="Tells several workers apart.")]
DryRun = Annotated[Flag, Field(description="Say what would happen, and change nothing.")]


class Asked(BaseModel):
    """The arguments of a tool."""

    model_config = ConfigDict(extra="forbid")


class Enqueue(Asked):
    """A new revision."""

    item_key: Annotated[str, Field(min_length=1, max_length=512, description="What it belongs to: its ordering key.")]
    handler: Handler = "default"
    payload: Annotated[dict[str, Any], Field(default_factory=dict, description="The handler's input.")]
    priority: Priority = 0
    run_at: Annotated[Instant | None, Field(description="Not before.")] = None
    dedupe_key: Annotated[str | None, Field(min_length=1, max_length=1_000)] = None
    draft: Annotated[Flag, Field(description="It waits until somebody queues it.")] = False
    max_attempts: Count | None = None
    timeout_seconds: Seconds | None = None
    idempotency_key: Annotated[
        str | None, Field(min_length=1, max_length=255, description="The same key again adds nothing.")
    ] = None
    reason: Reason = ""
    dry_run: DryRun = False

    def new(self, who: str) -> NewRevision:
        """Return it as the queue takes it."""
        timeout = timedelta(seconds=self.timeout_seconds) if self.timeout_seconds is not None else None
        metadata = {"actor": who, "source": "mcp"} | ({"reason": self.reason} if self.reason else {})
        return NewRevision(
            self.item_key,
            self.payload,
            self.handler,
            self.priority,
            self.run_at,
            self.dedupe_key,
            self.draft,
            self.max_attempts,
            timeout,
            metadata,
        )


class Nothing(Asked):
    """No arguments."""


class Status(Asked):
    """What to show of the pool."""

    items: Annotated[int, Field(ge=0, le=100, description="How many items, those with work first.")] = 20


class Show(Asked):
    """Which revision."""

    id: Id


class Logs(Asked):
    """Which lines: the last ones, or those after a line."""

    id: Id
    after: Annotated[int | None, Field(ge=0, le=2**53 - 1, description="`next` of the answer before.")] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 100


class Claim(Asked):
    """What to claim; the same claim_request_id is the same claim."""

    claim_request_id: UUID
    handlers: Annotated[list[Handler], Field(min_length=1, max_length=100)]
    worker: Worker = "R1"
    dry_run: DryRun = False


class Fenced(Asked):
    """Which attempt: what the claim answered."""

    id: Id
    claim_token: UUID
    worker: Worker = "R1"
    dry_run: DryRun = False


class Heartbeat(Fenced):
    """The attempt lives, and how far it is."""

    held: Annotated[Flag, Field(description="It stays at a checkpoint, and asks whether it may go on.")] = False
    percentage: Percentage | None = None
    step: Annotated[str | None, Field(max_length=2_000)] = None


class Complete(Fenced):
    """The result, which becomes the item's content."""

    result: Any = None


class Fail(Fenced):
    """Why it failed; it is tried again while attempts are left, unless it is final."""

    message: Annotated[str, Field(min_length=1, max_length=20_000)]
    final: Flag = False
    retry_after_seconds: Delay | None = None


class Cancel(Asked):
    """Which revision, and why."""

    id: Id
    reason: Reason = ""
    dry_run: DryRun = False


class Retry(Asked):
    """Which revision, and whether a copy at the end of its item is meant."""

    id: Id
    append: Flag = False
    reason: Reason = ""
    dry_run: DryRun = False


class Pause(Asked):
    """How to pause, and why: everybody who waits will read it."""

    mode: Mode = "drain"
    reason: Annotated[str, Field(min_length=1, max_length=2_000, pattern=r"\S")]
    until: Annotated[Instant | None, Field(description="It ends by itself then.")] = None
    dry_run: DryRun = False


class Resume(Asked):
    """Whose pauses to take away; nobody named: one's own."""

    reason: Reason = ""
    holder: Annotated[str | None, Field(min_length=1, max_length=300)] = None
    everybody: Flag = False
    dry_run: DryRun = False


class SafeState(Asked):
    """Of what: everything, a handler, or a host."""

    scope: Annotated[str, Field(pattern=r"^(all|(handler|host):.{1,512})$")] = "all"


Hint = Literal["reads", "adds", "changes", "ends"]
