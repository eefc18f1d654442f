"""Workloads about time to respond: pick-up (W5), the start of a pool, and the return of a killed worker.

Owns: those workloads. Invariant: both ends of each time are read from one clock, the host's.
"""

from __future__ import annotations

import math
import os
import signal
import statistics
import time

import psutil

from workerpool.bench import fillings
from workerpool.bench.ground import Database, Ground
from workerpool.bench.record import STEP, Record, Unverified, verify
from workerpool.bench.run import LIMIT, performing
from workerpool.bench.sizes import Sizes

BETWEEN_PICKS = 0.03


def pick_up(ground: Ground, sizes: Sizes) -> dict[str, float]:
    """Insert into an idle pool, one by one: from the insert's commit to the handler's start."""
    with ground.database() as database:
        with performing(ground, database) as (_, record):
            at_rest(database, ground.workers)
            committed = {}
            for number in range(sizes.picks):
                [(id,)] = database.ask(
                    "INSERT INTO workerpool.revisions (item_key) VALUES (%s) RETURNING id", f"i{number}"
                )
                committed[id] = time.time()
                time.sleep(BETWEEN_PICKS)
            events = record.wait(sizes.picks, LIMIT)
        verify(database, record.events(), whole=False)
    waits = sorted((event.start - committed[event.id]) * 1000 for event in events)
    return {"p50_ms": statistics.median(waits), "p99_ms": waits[math.ceil(0.99 * len(waits)) - 1], "max_ms": waits[-1]}


def at_rest(database: Database, workers: int) -> None:
    """Wait until all workers are idle. Raises Unverified."""
    deadline = time.monotonic() + 60
    while database.number("SELECT count(*) FROM workerpool.workers WHERE state = 'idle'") < workers:
        if time.monotonic() > deadline:
            raise Unverified("the pool does not come to rest")
        time.sleep(5 * STEP)


def start(ground: Ground, _sizes: Sizes) -> dict[str, float]:
    """Start a pool on a database that is there, then kill a worker of it at work."""
    with ground.database() as database:
        database.fill(fillings.in_turn(100, 40))
        began = time.time()
        with performing(ground, database, sleep=0.005, killing=False) as (pool, record):
            first = record.wait(1, LIMIT)[0].start
            _wait_processes(record, ground.workers)
            victim = next(pid for pid in record.by_process() if pid in _children(pool.pid))
            known = set(record.by_process())
            killed = time.time()
            os.kill(victim, signal.SIGKILL)
            _wait_processes(record, len(known) + 1)
            back = min(
                event.start for pid, events in record.by_process().items() if pid not in known for event in events
            )
    return {"first_claim_seconds": first - began, "worker_back_seconds": back - killed}


def _children(pid: int | None) -> set[int]:
    return {child.pid for child in psutil.Process(pid).children()}


def _wait_processes(record: Record, count: int) -> None:
    """Wait until handlers of so many processes have run. Raises Unverified."""
    deadline = time.monotonic() + 60
    while sum(bool(events) for events in record.by_process().values()) < count:
        if time.monotonic() > deadline:
            raise Unverified(f"handlers of fewer than {count} processes have run")
        time.sleep(STEP)
