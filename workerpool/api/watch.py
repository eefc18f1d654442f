"""What is known of the pool at this moment, looked at once for everybody who watches.

Owns: the looks, their rhythm, and the memory of the last minutes for the charts. Does not own: how it is sent
(``http.events``) or shown. Invariant: however many watch, the database is asked once; while nobody watches it is asked
once in five seconds.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from workerpool import logs
from workerpool.store import failures
from workerpool.store.sessions import NoSession, Sessions

log = logs.get("api")
#: Seconds between looks: while somebody watches, and while nobody does (for the charts).
WATCHED, UNWATCHED = 0.5, 5.0
#: What the charts remember: a point each UNWATCHED seconds for fifteen minutes.
REMEMBERED = 180
#: Over how many points a rate is taken: what workers have done is written with their heartbeats.
SMOOTHED = 4
#: The parts of a look: each is told when it changed.
PARTS = ("pause", "queue", "workers", "running", "events", "ended")


@dataclass(frozen=True, slots=True)
class Look:
    """What one look saw: a JSON text for each part; *number* rises with each look that saw something new."""

    number: int
    parts: Mapping[str, str]
    changed: Mapping[str, int]
    """At which look each part changed last."""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """A point of the charts: seconds since the epoch, revisions ended a second, and how many wait, run and
    failed to date.
    """

    at: float
    rate: float
    waiting: int
    running: int


class Watch:
    """A thread that looks, and those who wait for what it sees."""

    def __init__(self, sessions: Sessions, silence: timedelta) -> None:
        self._sessions, self._silence = sessions, silence
        self._wake, self._lock = threading.Event(), threading.Lock()
        self._watchers: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self._points: deque[Point] = deque(maxlen=REMEMBERED)
        self._counted: deque[tuple[float, int]] = deque(maxlen=SMOOTHED)
        self._remembered = self._forgotten = 0.0
        self.stopping = False
        self.look = Look(0, {}, {})

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._run, name="watch", daemon=True).start()

    def stop(self) -> None:
        """Look no more; whoever waits is told."""
        self.stopping = True
        self._wake.set()
        self._tell()

    def soon(self) -> None:
        """Look at once: somebody has just changed something."""
        self._wake.set()

    @contextmanager
    def watching(self) -> Iterator[asyncio.Event]:
        """Be somebody who watches: the event is set when there is something new. For a coroutine."""
        event = asyncio.Event()
        with self._lock:
            self._watchers[event] = asyncio.get_running_loop()
        self._wake.set()
        try:
            yield event
        finally:
            with self._lock:
                del self._watchers[event]

    @property
    def watchers(self) -> int:
        """How many watch."""
        return len(self._watchers)

    def points(self) -> list[Point]:
        """Return what the charts remember, the oldest first."""
        return list(self._points)

    def _run(self) -> None:
        while not self.stopping:
            self._wake.clear()
            began = time.monotonic()
            try:
                self._see()
            except Exception as error:
                self._say(error)
            watched = WATCHED if self._watchers else UNWATCHED
            self._wake.wait(max(0.1, watched - (time.monotonic() - began)))

    def _say(self, error: Exception) -> None:
        known = failures.describe(error)
        told = known[1] if known is not None else "the database is away" if isinstance(error, NoSession) else None
        if self.look.error is None:
            log.warning("database.lost", error=told or repr(error))
        self._replace(Look(self.look.number + 1, self.look.parts, self.look.changed, told or "something went wrong"))

    def _see(self) -> None:
        with self._sessions.lend() as session:
            row = session.row("watch", silence=self._silence)
            assert row is not None, "watch answers one row"
            if time.monotonic() > self._forgotten and not row["is_read_only"]:
                self._forgotten = time.monotonic() + 60.0
                session.rows("forget_requests", how_many=10_000)
        if self.look.error is not None:
            log.info("database.regained")
        self._remember(row)
        number, parts, changed = self.look.number + 1, {}, dict(self.look.changed)
        for part in PARTS:
            parts[part] = json.dumps(row[part], ensure_ascii=False, default=str)
            if parts[part] != self.look.parts.get(part):
                changed[part] = number
        if number in changed.values() or self.look.error is not None:
            self._replace(Look(number, parts, changed))

    def _remember(self, row: Mapping[str, Any]) -> None:
        now, ended = time.monotonic(), int(row["counted"])
        if now < self._remembered:
            return
        self._remembered = now + UNWATCHED - 0.1
        if self._counted and ended < self._counted[-1][1]:
            self._counted.clear()  # rows of workers that are long gone were deleted
        self._counted.append((now, ended))
        since, before = self._counted[0]
        rate = (ended - before) / (now - since) if now > since else 0.0
        queue = row["queue"]
        self._points.append(Point(round(time.time(), 1), round(rate, 2), queue["pending"], queue["processing"]))

    def _replace(self, look: Look) -> None:
        self.look = look
        self._tell()

    def _tell(self) -> None:
        with self._lock:
            for event, loop in self._watchers.items():
                loop.call_soon_threadsafe(event.set)
