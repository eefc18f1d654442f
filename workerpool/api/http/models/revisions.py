"""Revisions and items, as they are asked for and shown."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from workerpool.api.http.models.base import (
    Count,
    Flag,
    Handler,
    Instant,
    Model,
    Number,
    Priority,
    Reason,
    Seconds,
    Shown,
    Status,
)
from workerpool.api.service.revisions import NewRevision


class RevisionIn(Model):
    """A new revision; only itemKey is needed."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"itemKey": "pages/home", "handler": "edit", "payload": {"instructions": "make the snake blue"}}
            ]
        }
    )

    item_key: Annotated[str, Field(min_length=1, max_length=512, description="What it belongs to: its ordering key.")]
    payload: Annotated[dict[str, Any], Field(default_factory=dict, description="The handler's input.")]
    handler: Handler = "default"
    priority: Annotated[Priority, Field(description="Higher first, between items.")] = 0
    run_at: Annotated[Instant | None, Field(description="Not before.")] = None
    dedupe_key: Annotated[
        str | None, Field(min_length=1, max_length=1000, description="Unique among the unfinished of its item.")
    ] = None
    draft: Annotated[Flag, Field(description="It waits until it is queued.")] = False
    max_attempts: Count | None = None
    timeout_seconds: Seconds | None = None
    metadata: dict[str, Any] | None = None

    def asked(self, who: str) -> NewRevision:
        """Return it as the queue takes it; *who* asks is noted where it does not say so itself."""
        return NewRevision(
            self.item_key,
            self.payload,
            self.handler,
            self.priority,
            self.run_at,
            self.dedupe_key,
            self.draft,
            self.max_attempts,
            timedelta(seconds=self.timeout_seconds) if self.timeout_seconds is not None else None,
            {"actor": who, "source": "http"} | (self.metadata or {}),
        )


class Enqueued(Shown):
    """What became of a new revision: its id, or that of the unfinished one that has its dedupe key."""

    id: int
    inserted: bool


class Revision(Shown):
    """Everything of a revision."""

    id: int
    item_key: str
    handler: str
    status: Status
    payload: Any = None
    priority: int = 0
    run_at: datetime | None = None
    parked: str | None = None
    attempt: int = 0
    max_attempts: int | None = None
    crash_count: int = 0
    worker_id: str | None = None
    lease_expires_at: datetime | None = None
    fence: int | None = None
    cancel_requested_at: datetime | None = None
    timeout_seconds: float | None = None
    progress_percentage: float | None = None
    current_step: str | None = None
    total_steps: int | None = None
    result: Any = None
    error_kind: str | None = None
    error_message: str | None = None
    dedupe_key: str | None = None
    metadata: Any = None
    revision_number: int | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    updated_at: datetime | None = None
    actual_duration: Annotated[float | None, Field(description="Seconds.")] = None


class RevisionLine(Shown):
    """A revision in a list."""

    id: int
    item_key: str
    handler: str
    status: Status
    attempt: int
    error_kind: str | None = None
    error_message: str | None = None
    age: Annotated[float, Field(description="Seconds since it ended, else since it was added.")]


class Revisions(Shown):
    """A page of a list, the latest first; *next* is the cursor of the following page."""

    revisions: list[RevisionLine]
    next: str | None = None


class Progress(Shown):
    """How far a revision is."""

    id: int
    status: Status
    progress_percentage: float | None = None
    current_step: str | None = None
    total_steps: int | None = None
    attempt: int = 0
    updated_at: datetime | None = None


class LogLine(Shown):
    """A line of the execution log."""

    id: int
    revision_id: int
    attempt: int
    at: datetime
    level: str
    message: str
    data: Any = None


class Log(Shown):
    """Lines of the execution log, the oldest first; *next* is what to give as `after` to read on."""

    lines: list[LogLine]
    next: int | None = None


class Answer(Shown):
    """What became of a verb: a word, and a sentence."""

    id: int
    answer: str
    status: Status | None = None
    item_key: str | None = None
    new_id: Annotated[int | None, Field(description="The copy that a retry appended.")] = None
    detail: str


class Why(Shown):
    """Why a revision is where it is, and a command that would change it."""

    id: int
    item_key: str
    status: Status
    why: str
    next: str | None = None
    behind: Annotated[Why | None, Field(description="The same of the revision it waits for.")] = None


class CancelIn(Model):
    """Why; it stands in the log."""

    reason: Reason = ""


class RetryIn(Model):
    """How to run it again."""

    append: Annotated[Flag, Field(description="Add a copy at the end of its item instead.")] = False


class EditIn(Model):
    """What to change of a revision that has not started; what is not named stays."""

    payload: dict[str, Any] | None = None
    priority: Priority | None = None
    run_at: Instant | Literal["now"] | None = None


class Item(Shown):
    """An item."""

    item_key: str
    known: bool = True
    revisions: Annotated[int, Field(description="How many rows there are of it.")] = 0
    processing: int = 0
    halted_at: datetime | None = None
    halt_reason: str | None = None
    content: Annotated[Any, Field(description="What its next revision stacks on.")] = None


class ItemLine(Shown):
    """An item in a list."""

    item_key: str
    head_id: int | None = None
    processing_id: int | None = None
    depth: int = 0
    oldest_created_at: datetime | None = None
    current_revision_number: int = 0
    halted_at: datetime | None = None
    halt_reason: str | None = None
    why: Annotated[str | None, Field(description="Why its head does not run.")] = None


class Items(Shown):
    """Items, those with work first."""

    items: list[ItemLine]


class HistoryLine(Shown):
    """A number of an item's history."""

    number: int
    id: int
    handler: str
    who: str | None = None
    completed_at: datetime
    duration: float | None = None
    attempt: int
    summary: str | None = None
    reverted_to: str | None = None
    result: Any = None
    diff: Annotated[list[str] | None, Field(description="Lines of a unified diff to the number before.")] = None


class History(Shown):
    """The latest numbers of an item's history, the oldest of them first."""

    item_key: str
    history: list[HistoryLine]


class HaltIn(Model):
    """Why an item is to stand still."""

    reason: Annotated[str, Field(min_length=1, max_length=2_000)] = "halted over HTTP"


class RevertIn(Model):
    """To which number of its history; 0 is the original."""

    to: Number
