"""SOAK: a pool at half of its load for a long time, with retention on: does anything grow?

Owns: that workload: the load, and what is checked on the way. Does not own: the samples
(``course``), the fit (``trend``). Invariant: memory of the benchmark itself does not grow with what was performed: what
handlers noted is read as it comes, and only what is outstanding and the last revision of each item are remembered. (On
disk their record grows, by 24 bytes a revision.)
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil

from workerpool.bench import fillings
from workerpool.bench.course import Course, Sampler
from workerpool.bench.ground import Database, Ground
from workerpool.bench.record import EVENT, Event, Record, Unverified, rate
from workerpool.bench.response import at_rest
from workerpool.bench.run import drain, performing
from workerpool.bench.sizes import Sizes

ITEMS = 1_000
#: The full rate is measured over so many times the revisions of W1: some seconds, or it is that of a short rush.
DRAINED = 5
#: Seconds between two insertions.
PULSE = 0.05
#: Retentions that fit into a run; no setting has less than the other one, in seconds.
RETENTIONS, LEAST_RETENTION = 60, 1.0
#: Seconds until the server's autovacuum and the keeper's walk over the past have been round; both begin late.
ROUND = 120.0
#: Without a handler for so many seconds, what is outstanding will not run any more.
PATIENCE = 60.0

_ADD = """
INSERT INTO workerpool.revisions (item_key)
SELECT 'i' || (g %% %s) FROM generate_series(%s::bigint, %s::bigint) g RETURNING id
"""
_OVERDUE = """
SELECT count(*) FROM workerpool.revisions r
WHERE r.completed_at < clock_timestamp() - make_interval(secs => %s) AND EXISTS (
      SELECT 1 FROM workerpool.revisions n WHERE n.item_key = r.item_key AND n.revision_number > r.revision_number)
"""
#: Numbers of an item are given without a gap, and its last revision is never pruned: together they count all.
_NUMBERED = """
SELECT coalesce(sum(most), 0)
FROM (SELECT max(revision_number) AS most FROM workerpool.revisions GROUP BY item_key) i
"""
_OUT_OF_ORDER = """
SELECT id, item_key FROM (
    SELECT id, item_key, revision_number, started_at,
           lag(completed_at) OVER line AS before, lag(revision_number) OVER line AS number_before
    FROM workerpool.revisions WINDOW line AS (PARTITION BY item_key ORDER BY id)) r
WHERE revision_number <= number_before OR started_at < before LIMIT 1
"""


@dataclass(slots=True)
class Watch:
    """What was enqueued and performed so far, and whether in order. Raises Unverified."""

    record: Record
    enqueued: int = 0
    performed: int = 0
    waiting: dict[int, tuple[int, float]] = field(default_factory=dict)
    """Of each revision that is outstanding its item, and when its insert was committed."""
    last: dict[int, Event] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)
    ahead: list[Event] = field(default_factory=list)
    """What ended while the files were read: its predecessor may be in a file that had been read before."""

    def look(self) -> list[float]:
        """Take in what the handlers noted; return the seconds that each revision had waited for its start."""
        waits = []
        for event in self._news():
            known = self.waiting.pop(event.id, None)
            if known is None:
                raise Unverified(f"revision {event.id} ran twice, or was never enqueued")
            item, committed = known
            before = self.last.get(item)
            if before is not None and (before.id > event.id or before.end > event.start):
                raise Unverified(f"item i{item}: revision {event.id} ran before {before.id} had ended")
            self.last[item] = event
            waits.append(max(0.0, event.start - committed))
        self.performed += len(waits)
        return waits

    def _news(self) -> list[Event]:
        now = time.time()
        found = [event for path in self.record.folder.glob("events-*") for event in self._tail(str(path))]
        found += self.ahead
        self.ahead = [event for event in found if event.end > now]
        return sorted((event for event in found if event.end <= now), key=lambda event: event.start)

    def _tail(self, path: str) -> Iterator[Event]:
        with open(path, "rb") as file:
            file.seek(self.read.get(path, 0))
            data = file.read()
        whole = len(data) - len(data) % EVENT.size
        self.read[path] = self.read.get(path, 0) + whole
        for at in range(0, whole, EVENT.size):
            yield Event(*EVENT.unpack_from(data, at))


def retention_of(seconds: float) -> float:
    """Return the retention, in seconds, of a run of so many."""
    return max(LEAST_RETENTION, seconds / RETENTIONS)


def warm_after(seconds: float) -> float:
    """Return after how many seconds a run of so many is warm: a fifth, two retentions and a round; at most half."""
    return min(max(seconds / 5, 2 * retention_of(seconds), ROUND), seconds / 2)


def soak(ground: Ground, sizes: Sizes) -> Course:
    """Offer half of the rate that was measured just before, for so many minutes, and fit a line to each series."""
    full = rate(drain(ground, fillings.in_turn(ITEMS, max(DRAINED * sizes.revisions // ITEMS, 2))))
    per_second = full / 2 if sizes.soak_most is None else min(full / 2, sizes.soak_most)
    seconds = sizes.soak_minutes * 60
    retention = retention_of(seconds)
    with ground.database() as database:
        with performing(ground, database, retention=f"{retention:.3f}s") as (pool, record):
            at_rest(database, ground.workers)
            watch, sampler = Watch(record), Sampler(database, psutil.Process(pool.pid), seconds)
            _offer(database, watch, sampler, per_second, seconds)
            overdue = float(database.ask(_OVERDUE, retention)[0][0])
            _finish(watch)
        left = _verify(database, watch)
    figures = {"full_per_second": full, "offered_per_second": per_second, "of_full": per_second / full}
    figures |= {"retention_seconds": retention, "enqueued": float(watch.enqueued), "pruned": watch.enqueued - left}
    figures |= {"left": left, "overdue": overdue, "replaced_processes": float(sampler.replaced)}
    course = Course(figures, sampler.series, warm_after(seconds))
    course.trends()  # refuses a run with too few samples here, where it counts as unverified
    return course


def _offer(database: Database, watch: Watch, sampler: Sampler, per_second: float, seconds: float) -> None:
    """Enqueue at a steady pace; what is due is counted from the beginning, so that no delay is lost."""
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        sampler.waits += watch.look()
        sampler.look(passed, len(watch.waiting))
        _enqueue(database, watch, int(per_second * passed) - watch.enqueued)
        time.sleep(max(0.0, PULSE - (time.monotonic() - began) % PULSE))


def _enqueue(database: Database, watch: Watch, count: int) -> None:
    if count < 1:
        return
    rows = database.ask(_ADD, ITEMS, watch.enqueued, watch.enqueued + count - 1)
    committed = time.time()
    for number, (id_,) in enumerate(rows, watch.enqueued):
        watch.waiting[id_] = (number % ITEMS, committed)
    watch.enqueued += count


def _finish(watch: Watch) -> None:
    """Wait for what is outstanding, as long as something runs. Raises Unverified."""
    deadline = time.monotonic() + PATIENCE
    while watch.waiting:
        if watch.look():
            deadline = time.monotonic() + PATIENCE
        if time.monotonic() > deadline:
            raise Unverified(f"{len(watch.waiting)} revisions never ran")
        time.sleep(PULSE)


def _verify(database: Database, watch: Watch) -> float:
    """Hold the record against the rows that are left, when the pool has stopped; return their count."""
    watch.look()  # what ran again after its turn would be here
    if watch.waiting or watch.ahead or watch.performed != watch.enqueued:
        raise Unverified(f"{watch.performed} handlers ran, and {watch.enqueued} revisions were enqueued")
    if open_ := database.number("SELECT count(*) FROM workerpool.revisions WHERE status <> 'completed'"):
        raise Unverified(f"{open_:.0f} revisions are not completed")
    if (numbered := database.number(_NUMBERED)) != watch.enqueued:
        raise Unverified(f"the items' last numbers make {numbered:.0f}, and {watch.enqueued} revisions were enqueued")
    if wrong := database.ask(_OUT_OF_ORDER):
        raise Unverified(f"item {wrong[0][1]}: the rows say that revision {wrong[0][0]} is out of order")
    return database.number("SELECT count(*) FROM workerpool.revisions")
