"""What the handlers noted, and whether it is what was promised.

Owns: the form of an event, reading them, rates, and the verification of a run. Does not own: the rows (``ground``).
Invariant: `verify` returns only if the record and the rows agree; everything else is Unverified.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workerpool.bench.ground import Database

EVENT = struct.Struct("<qdd")
#: How the handlers learn where to note, and how many seconds to sleep.
FOLDER, SLEEP = "BENCH_EVENTS", "BENCH_SLEEP"
STEP = 0.01

#: Completed revisions whose number or times say that the order of their item was broken.
OUT_OF_ORDER = """
SELECT id, item_key FROM (
    SELECT id, item_key, revision_number, started_at, completed_at,
           row_number() OVER line AS place, lag(completed_at) OVER line AS before
    FROM workerpool.revisions WHERE status = 'completed' WINDOW line AS (PARTITION BY item_key ORDER BY id)) r
WHERE revision_number <> place OR started_at < before LIMIT 1
"""


class Unverified(Exception):
    """A run broke a promise, or did not end."""


@dataclass(frozen=True, slots=True)
class Event:
    """One handler run, from its start to its end."""

    id: int
    start: float
    end: float


class Record:
    """The events of one run, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def events(self) -> list[Event]:
        """Return all events so far, in order of start."""
        return sorted((event for path in self._files() for event in _read(path)), key=lambda event: event.start)

    def by_process(self) -> dict[int, list[Event]]:
        """Return the events of each worker process, by its pid."""
        return {int(path.name.partition("-")[2]): _read(path) for path in self._files()}

    def count(self) -> int:
        """Return how many there are so far."""
        return sum(path.stat().st_size for path in self._files()) // EVENT.size

    def wait(self, count: int, limit: float) -> list[Event]:
        """Wait until *count* handlers ran, at most *limit* seconds. Raises Unverified."""
        deadline = time.monotonic() + limit
        while (found := self.count()) < count:
            if time.monotonic() > deadline:
                raise Unverified(f"{found:,} of {count:,} handlers had run after {limit:.0f} s")
            time.sleep(STEP)
        return self.events()

    def _files(self) -> list[Path]:
        return list(self.folder.glob("events-*"))


def _read(path: Path) -> list[Event]:
    data = path.read_bytes()
    whole = len(data) - len(data) % EVENT.size
    return [Event(*EVENT.unpack_from(data, at)) for at in range(0, whole, EVENT.size)]


def rate(events: Sequence[Event]) -> float:
    """Return revisions a second, from the first start to the last."""
    starts = [event.start for event in events]
    passed = max(starts, default=0.0) - min(starts, default=0.0)
    if passed <= 0:
        raise Unverified(f"a rate needs two handlers that ran at different times, and there are {len(starts)} events")
    return (len(starts) - 1) / passed


def verify(database: Database, events: Sequence[Event], *, whole: bool = True, killed: bool = False) -> None:
    """Check a run: each revision once, those of an item in order and never two at a time, by record and by rows.

    *whole*: nothing may be left over. *killed*: workers were killed, so that a handler may have run again. Raises
    Unverified.
    """
    item_of = dict(database.ask("SELECT id, item_key FROM workerpool.revisions"))
    ids = {event.id for event in events}
    if not killed and len(ids) != len(events):
        raise Unverified(f"{len(events) - len(ids)} handler runs too many: a revision ran twice")
    if whole and ids != item_of.keys():
        raise Unverified(f"{len(item_of.keys() - ids)} revisions never ran")
    last: dict[str, Event] = {}
    for event in events:
        before = last.get(item_of[event.id])
        if before is not None and (before.id > event.id or before.end > event.start):
            raise Unverified(f"item {item_of[event.id]}: revision {event.id} ran before {before.id} had ended")
        last[item_of[event.id]] = event
    if whole and (left := database.number("SELECT count(*) FROM workerpool.revisions WHERE status <> 'completed'")):
        raise Unverified(f"{left:.0f} revisions are not completed")
    if wrong := database.ask(OUT_OF_ORDER):
        raise Unverified(f"item {wrong[0][1]}: the rows say that revision {wrong[0][0]} is out of order")
