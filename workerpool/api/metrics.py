"""The figures of the pool, as Prometheus and StatsD get them: counts of all processes, and the queue at this moment.

Owns: the names, and how old a figure may be. Does not own: counting (``worker.tally``, ``keeper.tally``), nor the
statements. Invariant: a look costs the database the same whatever is queued, but for the depth of the queue: that is
counted again only after fifty times as long as counting it took, and after fifteen seconds.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import timedelta

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from workerpool.store import tallies
from workerpool.store.session import Row, Session
from workerpool.store.tallies import BOUNDS, INFINITY

CONTENT_TYPE = CONTENT_TYPE_LATEST
#: The depth of the queue is counted to so many revisions of a status.
COUNTED = 1_000_000
#: Seconds that it is used again at least, and how many times as long as the count took.
REUSED, SHARE = 15.0, 50.0
#: Handlers that are told apart; anybody may enqueue for any name.
HANDLERS, OTHERS = 200, "(others)"
STATUSES = ("pending", "processing", "scheduled")
STATES = ("starting", "idle", "busy", "paused", "stopping", "silent")
MODES = ("drain", "quiesce")
#: Outcomes that are told as none before there is one, so that the first of them is seen to rise.
USUAL = (("completed", ""), ("failed", "error"), ("retried", "error"))
#: Why worker processes are replaced: see ``keeper.flock``.
REASONS = ("crash", "timeout", "memory", "output", "cancel", "lease", "recycled")
#: Outcomes of attempts that do not count.
UNCOUNTED = frozenset({"released", "snoozed"})

Counts = dict[tuple[str, ...], float]


class Metrics:
    """The figures of one pool; safe to be asked by several threads."""

    def __init__(self, silence: timedelta) -> None:
        """*silence*: a worker that was not seen for longer is silent."""
        self._silence = silence
        self._lock = threading.Lock()
        self._depths: list[Row] | None = None
        self._fresh_until = 0.0

    def text(self, session: Session) -> bytes:
        """Return the figures in Prometheus' text form, of CONTENT_TYPE. Raises psycopg.Error."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collected(self.collect(session)))
        return generate_latest(registry)

    def collect(self, session: Session) -> list[Metric]:
        """Return the figures. Raises psycopg.Error."""
        with session.transaction():
            session.rows("in_order")
            now = session.row("gauges", silence=self._silence)
        assert now is not None, "gauges answers one row"
        counted = tallies.read(session)
        known = set(now["handlers"]) | {row["handler"] for row in counted if row["handler"]}
        return [*_queue(self._depth(session), now), *_pool(now), *_counters(counted, known), *_lengths(counted)]

    def _depth(self, session: Session) -> list[Row]:
        """Return how deep the queue is; while somebody counts it, others are told what was counted before."""
        if self._lock.acquire(blocking=self._depths is None):
            try:
                began = time.monotonic()
                if self._depths is None or began >= self._fresh_until:
                    with session.transaction():
                        session.rows("in_bulk")
                        self._depths = session.rows("depths", most=COUNTED)
                    now = time.monotonic()
                    self._fresh_until = now + max(REUSED, SHARE * (now - began))
            finally:
                self._lock.release()
        return self._depths or []


class _Collected(Collector):
    """What was collected, for the library's own way to write it down."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _gauge(name: str, about: str, counts: Counts, *labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"workerpool_{name}", about, labels=labels)
    for values, count in sorted(counts.items()):
        family.add_metric(values, count)
    return family


def _counter(name: str, about: str, counts: Counts, *labels: str) -> CounterMetricFamily:
    family = CounterMetricFamily(f"workerpool_{name}", about, labels=labels)
    for values, count in sorted(counts.items()):
        family.add_metric(values, count)
    return family


def _queue(depths: list[Row], now: Row) -> Iterator[Metric]:
    counts: Counts = {(status, handler): 0 for status in STATUSES for handler in now["handlers"]}
    sizes: dict[str, int] = defaultdict(int)
    for row in depths:
        sizes[row["handler"]] += row["revisions"]
    told = set(sorted(sizes, key=lambda name: -sizes[name])[:HANDLERS])
    for row in depths:
        place = row["status"], row["handler"] if row["handler"] in told else OTHERS
        counts[place] = counts.get(place, 0) + row["revisions"]
    about = (
        "Revisions that wait or run, by status; drafts are not counted. Counted to 1,000,000 of a status, and used "
        "again for 15 seconds or 50 times as long as counting took."
    )
    yield _gauge("revisions", about, counts, "status", "handler")
    about = "How long the oldest revision that could be claimed has been waiting to be; 0: none waits."
    yield _gauge("oldest_head_age_seconds", about, {(): now["head_age"]})
    yield _gauge("halted_items", "Items that are halted: nothing of them is started.", {(): now["halted"]})
    about = "Revisions that a worker has, whose lease ran out and that nobody has rescued yet."
    yield _gauge("expired_leases", about, {(): now["expired"]})
    yield _gauge("paused", "1: the whole pool is paused, in this mode.", _modes(now), "mode")
    yield _gauge("pause_age_seconds", "How long the whole pool has been paused; 0: it is not.", {(): now["pause_age"]})
    about = "Handlers and hosts that are paused by themselves."
    yield _gauge("scoped_pauses", about, {(): now["scopes"]})


def _modes(now: Row) -> Counts:
    return {(mode,): float(now["paused"] and now["mode"] == mode) for mode in MODES}


def _pool(now: Row) -> Iterator[Metric]:
    hosts = {host for host, _, _ in now["workers"]}
    counts: Counts = {(state, host): 0 for state in STATES for host in hosts}
    for host, state, count in now["workers"]:
        counts[state, host] = count
    yield _gauge(
        "workers", "Worker processes, by what they said last; silent: not seen for a lease.", counts, "state", "host"
    )
    alive = sum(count for (state, _), count in counts.items() if state != "silent")
    yield _gauge("workers_alive", "Worker processes that were seen within a lease.", {(): alive})
    busy: Counts = {(host,): 0 for host in hosts} | {(host,): count for host, count in now["busy"]}
    yield _gauge("workers_busy", "Worker processes that have revisions.", busy, "host")


def _counters(rows: list[Row], known: set[str]) -> Iterator[Metric]:
    outcomes: Counts = {(handler, *usual): 0 for handler in known for usual in USUAL}
    attempts: Counts = {(handler,): 0 for handler in known}
    claims = attempts.copy()
    restarts: Counts = {(reason,): 0 for reason in REASONS}
    alone: dict[str, float] = defaultdict(float)
    for row in rows:
        handler, value = row["handler"], row["value"]
        match row["name"]:
            case "claims":
                claims[handler,] = value
            case "outcomes":
                outcome, _, kind = row["kind"].partition(":")
                outcomes[handler, outcome, kind] = value
                if outcome not in UNCOUNTED:
                    attempts[handler,] = attempts.get((handler,), 0) + value
            case "restarts":
                restarts[row["kind"],] = value
            case name:
                alone[name] += value
    yield _counter("claims", "Revisions that workers claimed, those too that they gave back.", claims, "handler")
    about = "Attempts that ended and counted: neither snoozed nor given back."
    yield _counter("attempts", about, attempts, "handler")
    about = "What became of attempts, and the kind of failure, by their worker, or by the keeper where it died."
    yield _counter("outcomes", about, outcomes, "handler", "outcome", "kind")
    about = "Worker processes that ended while the pool went on, by why."
    yield _counter("restarts", about, restarts, "reason")
    about = "Revisions that were taken back because their lease ran out."
    yield _counter("rescues", about, {(): alone["rescues"]})
    about = "Revisions that failed because no living worker has their handler."
    yield _counter("unhandled", about, {(): alone["unhandled"]})
    about = "Outcomes that were refused, their claim being lost by then: attempts in vain, among the outcomes too."
    yield _counter("fenced", about, {(): alone["fenced"]})


def _lengths(rows: list[Row]) -> Iterator[Metric]:
    about = "How long handlers took, whatever became of it, where their worker lived to see the end."
    yield _histogram("run_seconds", about, rows)
    about = (
        "How long claimed revisions had waited since they were inserted or due, behind others of their item too. From "
        "a sample of claims that stands for all, hence about."
    )
    yield _histogram("wait_seconds", about, rows)


def _histogram(name: str, about: str, rows: list[Row]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(f"workerpool_{name}", about, labels=("handler",))
    buckets: dict[str, dict[float, float]] = defaultdict(lambda: dict.fromkeys(BOUNDS, 0.0))
    sums = {row["handler"]: row["value"] for row in rows if row["name"] == f"{name}_sum"}
    for row in rows:
        if row["name"] == name and row["bucket"] in BOUNDS:
            buckets[row["handler"]][row["bucket"]] = row["value"]
    for handler, counts in sorted(buckets.items()):
        total, told = 0.0, []
        for bound in BOUNDS:
            total += counts[bound]
            # (what a sample stands for need not be whole, but how many there were is; rounded it still only rises)
            told.append((str(bound) if bound < INFINITY else "+Inf", float(round(total))))
        family.add_metric([handler], buckets=told, sum_value=sums.get(handler, 0.0))
    return family
