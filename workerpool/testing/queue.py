"""The queue as a test sees it: enqueue, move the clock, perform, look.

Owns: the face to tests. Does not own: the performing (``drain``). Invariant: everything here happens in the test's own
database and process, when the test says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from workerpool.client import Client, Revision
from workerpool.store.session import Session
from workerpool.testing.drain import drain
from workerpool.testing.server import SCHEMA


class Clock:
    """The time until what waits for an instant: a retry's back-off, a snooze, `run_at`.

    An instant in the queue is compared with the database's own clock, which nobody can move. So the instants are moved
    instead: ``advance`` takes *delta* off each of them. ``datetime.now()`` in a handler is not changed.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def advance(self, delta: timedelta) -> int:
        """Let everything that waits for an instant wait *delta* less; returns how many revisions that were."""
        if delta < timedelta(0):
            raise ValueError(f"advance({delta!r}): the clock goes forward only")
        return len(self._session.rows("advance_clock", delta=delta))


class Queue:
    """A test's queue."""

    def __init__(self, url: str, home: Path) -> None:
        self.url, self.home = url, home
        self.client = Client(url, SCHEMA)
        self._session = Session(url, SCHEMA, "testing")
        self.clock = Clock(self._session)

    def __enter__(self) -> Queue:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()
        self.client.close()

    def drain(self, *, raising: bool = False) -> list[Revision]:
        """Perform what is pending, and what comes of it, until nothing can be claimed; return each that ran, as it is.

        Nothing waits: a retry, a snooze or a later `run_at` is performed after ``clock.advance`` and another drain.
        *raising*: raise what a handler raised (the first, where several did) unless it is for the pool: Retry, Snooze,
        Fail, Cancelled. Not inside of a running event loop: ``await asyncio.to_thread(queue.drain)``.
        """
        drained = drain(self.url, SCHEMA, self.home)
        if drained.interrupt is not None:
            raise drained.interrupt
        if raising and drained.errors:
            raise drained.errors[0]
        return [self.client.show(revision) for revision in dict.fromkeys(drained.attempts)]

    def enqueued(self, item: str | None = None, handler: str | None = None) -> list[Revision]:
        """Return what was enqueued and has not ended, in order; *item*, *handler*: only those."""
        return [self.client.show(row["id"]) for row in self._session.rows("enqueued", item=item, handler=handler)]

    def assert_enqueued(
        self, item: str | None = None, handler: str | None = None, payload: Mapping[str, Any] | None = None
    ) -> Revision:
        """Return the first revision that was enqueued so and has not ended; raises AssertionError with what there is.

        *payload*: what it holds at least; an object inside may hold more too.
        """
        for each in self.enqueued(item, handler):
            if payload is None or _holds(each.payload, payload):
                return each
        wanted = {"item": item, "handler": handler, "payload": payload}
        asked = ", ".join(f"{name}={value!r}" for name, value in wanted.items() if value is not None) or "anything"
        there = [f"  {each.id} {each.item_key!r} {each.handler!r} {each.payload!r}" for each in self.enqueued()]
        raise AssertionError("\n".join([f"not enqueued: {asked}; there is:", *(there or ["  nothing"])]))


def _holds(whole: object, part: object) -> bool:
    if isinstance(part, Mapping):
        return isinstance(whole, Mapping) and all(
            name in whole and _holds(whole[name], value) for name, value in part.items()
        )
    return whole == part
