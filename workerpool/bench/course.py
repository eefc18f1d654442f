"""The course of a long run: samples on the way, a line fitted to each series, and whether the series is flat.

Owns: what is sampled and how often, and the floors below which nothing counts as growth. Does not own: the load
(``soak``), the fit (``trend``), the pictures (``plot``). Invariant: a figure of a series is about its samples after the
warm-up only.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from workerpool.bench.ground import Database
from workerpool.bench.record import Unverified
from workerpool.bench.trend import Samples, Trend, fit

#: So many samples of a run, where that makes a number of seconds between two that is within these.
SAMPLES, LEAST_APART, MOST_APART = 720, 0.5, 5.0
#: How a series' name ends -> a change over the run that is flat however small the median is.
FLOORS = {"_mb": 1.0, "_rows": 1_000.0, "_descriptors": 0.5, "_seconds": 1.0, "_ms": 0.5, "queue": 50.0}
KINDS = ("manager", "keeper", "worker")

_SIZES = """
SELECT pg_table_size(t.relid) / 1e6, pg_indexes_size(t.relid) / 1e6,
       pg_total_relation_size('workerpool.execution_log') / 1e6, pg_database_size(current_database()) / 1e6,
       t.n_dead_tup, t.n_live_tup,
       (SELECT extract(epoch FROM clock_timestamp() - r.created_at) FROM workerpool.revisions r ORDER BY r.id LIMIT 1),
       (pg_current_wal_lsn() - '0/0') / 1e6
FROM pg_stat_user_tables t WHERE t.schemaname = 'workerpool' AND t.relname = 'revisions'
"""
_SIZED = ("table_mb", "indexes_mb", "log_mb", "database_mb", "dead_rows", "live_rows", "oldest_row_seconds", "wal")


def apart(seconds: float) -> float:
    """Return the seconds between two samples of a run of so many."""
    return min(max(seconds / SAMPLES, LEAST_APART), MOST_APART)


def floor_of(name: str) -> float:
    """Return the change over a run that is flat in any case, of a series by its name."""
    return next((floor for end, floor in FLOORS.items() if name.endswith(end)), 0.0)


@dataclass(frozen=True, slots=True)
class Course:
    """What a long run found: figures of the whole, and its series of (seconds since the beginning, value)."""

    figures: dict[str, float]
    series: Mapping[str, Samples]
    warm: float
    """Seconds after which it was warm."""

    def trends(self) -> dict[str, Trend]:
        """Return the trend of each series. Raises Unverified: there are too few samples to fit a line."""
        found = {}
        for name, samples in self.series.items():
            try:
                found[name] = fit([(at, value) for at, value in samples if at >= self.warm], floor_of(name))
            except ValueError as error:
                raise Unverified(f"{name}: {error}") from None
        return found


@dataclass(slots=True)
class Sampler:
    """Takes the samples of a run of so many *seconds*, of a database and of the processes of a pool."""

    database: Database
    manager: psutil.Process
    seconds: float
    series: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    waits: list[float] = field(default_factory=list)
    """Seconds from the commit of an insert to the handler's start, since the last sample."""
    _taken: int = 0
    _wal: tuple[float, float] | None = None
    _first: set[int] = field(default_factory=set)
    _seen: set[int] = field(default_factory=set)

    @property
    def replaced(self) -> int:
        """Processes that came after the first sample, instead of others that ended."""
        return len(self._seen - self._first)

    def look(self, passed: float, queue: int) -> None:
        """Take a sample if it is time for one, *passed* seconds after the beginning."""
        step = apart(self.seconds)
        if passed < (self._taken + 1) * step:
            return
        self._taken = int(passed / step)
        found = self._sizes(passed) | self._processes() | _latency(self.waits) | {"queue": float(queue)}
        self.waits = []
        for name, value in found.items():
            self.series.setdefault(name, []).append((passed, value))

    def _sizes(self, passed: float) -> dict[str, float]:
        found = dict(zip(_SIZED, (float(size or 0) for size in self.database.ask(_SIZES)[0]), strict=True))
        position, before = found.pop("wal"), self._wal
        self._wal = passed, position
        if before is not None:
            found["wal_mb_per_second"] = (position - before[1]) / (passed - before[0])
        return found

    def _processes(self) -> dict[str, float]:
        """Return memory and descriptors of the manager, the keeper, and the worker that has most; and our memory."""
        found = {"bench_mb": psutil.Process().memory_info().rss / 1e6}
        for process in (self.manager, *self.manager.children()):
            with suppress(psutil.NoSuchProcess):  # a worker may end, and be replaced
                title = " ".join(process.cmdline())
                kind = next((kind for kind in KINDS if title.startswith(f"workerpool: {kind}")), None)
                if kind is None:
                    continue
                held = {"mb": process.memory_info().rss / 1e6, "descriptors": float(process.num_fds())}
                self._seen.add(process.pid)
                found |= {f"{kind}_{what}": max(found.get(f"{kind}_{what}", 0.0), held[what]) for what in held}
        self._first = self._first or set(self._seen)
        return found


def _latency(waits: list[float]) -> dict[str, float]:
    if not waits:
        return {}
    ordered = sorted(waits)
    p99 = ordered[math.ceil(0.99 * len(ordered)) - 1]
    return {"p50_ms": statistics.median(ordered) * 1000, "p99_ms": p99 * 1000}
