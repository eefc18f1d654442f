"""Recurring schedules, as people make and remove them.

Owns: what may be kept as a schedule. Does not own: when it is due (``core.cron``) or firing it (the keeper).
Invariant: whatever is kept here can be enqueued as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from workerpool.core import cron
from workerpool.core.cron import Missed
from workerpool.store.enqueueing import CannotEnqueue, NewRevision, Problem, problems
from workerpool.store.session import Row, Session


class ScheduleExists(ValueError):
    """There is a schedule of that name already."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"there is a schedule {name} already")


@dataclass(frozen=True, slots=True)
class NewSchedule:
    """A schedule to be kept; *missed* is what becomes of times at which no pool ran."""

    name: str
    cron: str
    item: str
    timezone: str = "UTC"
    handler: str = "default"
    payload: dict[str, Any] = field(default_factory=dict)
    priority: int = 0
    missed: Missed = "once"


def add(session: Session, new: NewSchedule, *, replace: bool = False) -> datetime:
    """Keep a schedule and return when it is due first.

    Raises CannotEnqueue, BadCron, BadTimezone, and, unless it is to *replace* one, ScheduleExists.
    """
    if wrong := list(_problems(new)):
        raise CannotEnqueue(wrong)
    when = cron.parse(new.cron, new.timezone)
    row = session.row("schedule_time")
    assert row is not None, "schedule_time answers one row"
    first = next(when.after(row["now"]))
    kept = session.row(
        "add_schedule",
        name=new.name,
        cron=new.cron.strip(),
        timezone=new.timezone,
        item=new.item,
        handler=new.handler,
        payload=json.dumps(new.payload, ensure_ascii=False),
        priority=new.priority,
        missed=new.missed,
        next=first,
        replace=replace,
    )
    if kept is None:
        raise ScheduleExists(new.name)
    return first


def _problems(new: NewSchedule) -> Iterator[Problem]:
    if not 1 <= len(new.name) <= 200 or "\x00" in new.name:
        yield Problem("name", new.name, "a text of 1 to 200 characters")
    if new.missed not in cron.MISSED:
        yield Problem("missed", new.missed, ", ".join(cron.MISSED))
    yield from problems(NewRevision(new.item, new.payload, new.handler, new.priority))


def found(session: Session, name: str | None = None) -> list[Row]:
    """Return all schedules by name, or the one that *name* names."""
    return session.rows("schedules", name=name)


def remove(session: Session, name: str) -> bool:
    """Forget a schedule; what it enqueued stays. False: there is none of that name."""
    return session.row("remove_schedule", name=name) is not None
