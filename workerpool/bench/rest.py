"""Workloads without work: what a pool at rest costs the server and the host, and the memory of its processes.

Owns: those workloads. Invariant: only processes of the pool that was started here are counted.
"""

from __future__ import annotations

import time

import psutil

from workerpool.bench.ground import SCHEMA, Ground
from workerpool.bench.response import at_rest
from workerpool.bench.run import cpu, performing
from workerpool.bench.sizes import Sizes
from workerpool.store.session import Session

WORKERS = 16
#: PostgreSQL tells of an idle backend's transactions within so many seconds.
TOLD = 11.0
KINDS = ("manager", "keeper", "worker")


def idle(ground: Ground, sizes: Sizes) -> dict[str, float]:
    """Leave sixteen workers without work, and watch the server and the host."""
    with ground.database() as database, performing(ground, database, workers=WORKERS) as (pool, _):
        at_rest(database, WORKERS)
        name = str(database.ask("SELECT current_database()")[0][0])
        time.sleep(TOLD)
        counted, began = _transactions(ground, name), time.monotonic()
        used = cpu(pool.pid)
        time.sleep(sizes.idle_seconds)
        passed = time.monotonic() - began
        used = cpu(pool.pid) - used
        done = _transactions(ground, name) - counted
    return {"transactions_per_second": max(done, 0.0) / passed, "cpu_percent": 100 * used / passed}


def _transactions(ground: Ground, name: str) -> float:
    """Return the transactions of a database so far; asked in another one, so that asking is not counted."""
    with Session(ground.admin, SCHEMA, "bench") as session:
        told = session.type_in(f"SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = '{name}'")
        return float(told.rows[0][0])


def _family(pid: int | None) -> list[psutil.Process]:
    manager = psutil.Process(pid)
    return [manager, *manager.children(recursive=True)]


def memory(ground: Ground, _sizes: Sizes) -> dict[str, float]:
    """Look at the resident memory of manager, keeper and workers before the first revision."""
    found: dict[str, float] = {}
    with ground.database() as database, performing(ground, database) as (pool, _):
        at_rest(database, ground.workers)
        for process in _family(pool.pid):
            title = " ".join(process.cmdline())
            kind = next((kind for kind in KINDS if title.startswith(f"workerpool: {kind}")), None)
            if kind is not None:
                found[f"{kind}_mb"] = max(found.get(f"{kind}_mb", 0.0), process.memory_info().rss / 1e6)
    return found
