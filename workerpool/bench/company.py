"""Workloads about how many there are: workers, and managers on one database.

Owns: those workloads. Invariant: each returns figures of runs that were verified.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from workerpool.bench import fillings
from workerpool.bench.ground import Ground
from workerpool.bench.record import Record, rate, verify
from workerpool.bench.run import LIMIT, drain, performing, settled
from workerpool.bench.sizes import Sizes


def workers(ground: Ground, sizes: Sizes) -> dict[str, float]:
    """Perform independent revisions with more and more workers."""
    filling = fillings.independent(sizes.revisions)
    return {f"{count}_workers_per_second": rate(drain(ground, filling, workers=count)) for count in sizes.workers}


def managers(ground: Ground, sizes: Sizes) -> dict[str, float]:
    """Perform items in order by two daemons on one database, with half of the workers each."""
    return {"per_second": rate_of_managers(ground, sizes, 2, max(ground.workers // 2, 1))}


def rate_of_managers(ground: Ground, sizes: Sizes, count: int, each: int) -> float:
    """Return the rate of so many daemons with so many workers each."""
    record = Record(Path(tempfile.mkdtemp(prefix="record-", dir=ground.folder)))
    with ground.database() as database, ExitStack() as pools:
        for _ in range(count):
            pools.enter_context(performing(ground, database, workers=each, record=record))
        total = database.fill(fillings.in_turn(sizes.items, max(sizes.revisions // sizes.items, 1)))
        record.wait(total, LIMIT)
        settled(database, total)
        pools.close()
        events = record.events()
        verify(database, events)
    return rate(events)
