"""SOAK: a pool at half of its load for a long time, with retention on: does anything grow?

Owns: that workload: the load, the samples, what is checked on the way. Does not own: the verdict (``trend``).
Invariant: memory of the benchmark itself does not grow with the length: what handlers noted is read as it comes, and
only what is outstanding and the last revision of each item are remembered.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil

from workerpool.bench import fillings
from workerpool.bench.ground import Database, Ground
from workerpool.bench.record import EVENT, Event, Record, Unverified, rate
from workerpool.bench.response import at_rest
from workerpool.bench.run import drain, performing
from workerpool.bench.sizes import Sizes
from workerpool.bench.trend import fit

ITEMS = 1_000
#: Seconds between two insertions.
PULSE = 0.05
#: Samples of a run; the first part of them is warming up: the table fills until its retention is over.
SAMPLES, WARM = 120, 0.25
#: Retentions that fit into a run.
RETENTIONS = 20
ENOUGH_SECONDS = 60.0
#: What the name of a series has behind it for its change over the run; and `_error` and `_flat` behind that.
CHANGE = "_change"
KINDS = ("manager", "keeper", "worker")

_ADD = """
INSERT INTO workerpool.revisions (item_key)
SELECT 'i' || (g %% %s) FROM generate_series(%s::bigint, %s::bigint) g RETURNING id
"""
_SIZES = """
SELECT pg_table_size(t.relid), pg_indexes_size(t.relid), t.n_dead_tup, t.n_live_tup, pg_current_wal_lsn() - '0/0'
FROM pg_stat_user_tables t WHERE t.schemaname = 'workerpool' AND t.relname = 'revisions'
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


def soak(ground: Ground, sizes: Sizes) -> dict[str, float]:
    """Offer half of the rate that was measured just before, for so many minutes, and fit a line to each series."""
    full = rate(drain(ground, fillings.in_turn(ITEMS, max(sizes.revisions // ITEMS, 2))))
    per_second = min(full / 2, sizes.soak_most)
    seconds = sizes.soak_minutes * 60
    retention = max(1.0, seconds / RETENTIONS)
    with ground.database() as database:
        with performing(ground, database, retention=f"{retention}s") as (pool, record):
            at_rest(database, ground.workers)
            watch = Watch(record)
            series = _offer(database, watch, psutil.Process(pool.pid), per_second, seconds)
        left = int(database.number("SELECT count(*) FROM workerpool.revisions"))
        if open_ := database.number("SELECT count(*) FROM workerpool.revisions WHERE status <> 'completed'"):
            raise Unverified(f"{open_:.0f} revisions are not completed")
    figures = {"offered_per_second": per_second, "enqueued": float(watch.enqueued), "left": float(left)}
    for name, samples in series.items():
        trend = fit(samples[int(WARM * len(samples)) :])
        figures |= {name: trend.median, f"{name}{CHANGE}": trend.change}
        figures |= {f"{name}{CHANGE}_error": trend.error, f"{name}{CHANGE}_flat": float(trend.is_flat)}
    return figures


def _offer(
    database: Database, watch: Watch, manager: psutil.Process, per_second: float, seconds: float
) -> dict[str, list[tuple[float, float]]]:
    """Enqueue at a steady pace, and return the samples of each series. Raises Unverified."""
    series: dict[str, list[tuple[float, float]]] = {}
    waits: list[float] = []
    began = time.monotonic()
    sampled, wal = 0, None
    while (passed := time.monotonic() - began) < seconds:
        _enqueue(database, watch, int(per_second * passed) - watch.enqueued)
        waits += watch.look()
        if passed > (sampled + 1) * seconds / SAMPLES and waits:
            sampled += 1
            found = _sample(database, manager) | _latency(waits) | {"queue": float(len(watch.waiting))}
            position = found.pop("wal")
            if wal is not None:
                found["wal_bytes_per_second"] = (position - wal[1]) / (passed - wal[0])
            wal, waits = (passed, position), []
            for name, value in found.items():
                series.setdefault(name, []).append((passed, value))
        time.sleep(max(0.0, PULSE - (time.monotonic() - began) % PULSE))
    _finish(watch)
    return series


def _enqueue(database: Database, watch: Watch, count: int) -> None:
    if count < 1:
        return
    rows = database.ask(_ADD, ITEMS, watch.enqueued, watch.enqueued + count - 1)
    committed = time.time()
    for number, (id_,) in enumerate(rows, watch.enqueued):
        watch.waiting[id_] = (number % ITEMS, committed)
    watch.enqueued += count


def _finish(watch: Watch) -> None:
    deadline = time.monotonic() + ENOUGH_SECONDS
    while watch.waiting:
        watch.look()
        if time.monotonic() > deadline:
            raise Unverified(f"{len(watch.waiting)} revisions never ran")
        time.sleep(PULSE)


def _sample(database: Database, manager: psutil.Process) -> dict[str, float]:
    names = ("table_bytes", "index_bytes", "dead_rows", "live_rows", "wal")
    found = dict(zip(names, map(float, database.ask(_SIZES)[0]), strict=True))
    for process in (manager, *manager.children()):
        title = " ".join(process.cmdline())
        kind = next((kind for kind in KINDS if title.startswith(f"workerpool: {kind}")), None)
        if kind is not None:
            for name, value in (("mb", process.memory_info().rss / 1e6), ("descriptors", float(process.num_fds()))):
                found[f"{kind}_{name}"] = max(found.get(f"{kind}_{name}", 0.0), value)
    return found


def _latency(waits: list[float]) -> dict[str, float]:
    ordered = sorted(waits)
    p99 = ordered[math.ceil(0.99 * len(ordered)) - 1]
    return {"p50_ms": statistics.median(ordered) * 1000, "p99_ms": p99 * 1000}
