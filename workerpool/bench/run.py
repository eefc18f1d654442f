"""A pool at work on a database of the benchmark, from its start to the verified end.

Owns: starting real daemons for a run, killing their workers where that is asked for, and what a run costs the server.
Does not own: what is in the queue (the workloads). Invariant: a run that is not verified gives no figures.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from workerpool.bench.ground import SCHEMA, Database, Ground
from workerpool.bench.record import FOLDER, SLEEP, STEP, Event, Record, Unverified, rate, verify
from workerpool.pool import Pool
from workerpool.store.session import Session

#: Seconds that a run may take; nothing in the catalogue comes near.
LIMIT = 300.0
#: At most so many kills in a run, so long after each other.
KILLS, BETWEEN_KILLS = 8, (0.02, 0.4)
#: Handlers take so many seconds in such a run: it is there to be killed in, and its rate says nothing.
KILLED_SLEEP = 0.0005
#: A pool whose workers are killed on purpose does not give up, and no revision is thought to be the cause.
LENIENT = {"max_restarts": 10_000, "max_crashes": 100}

#: What the server has done so far in this database; read when no backend has anything left to report.
COUNTERS = """
SELECT xact_commit, blks_hit + blks_read, t.n_tup_upd, t.n_tup_hot_upd, t.n_dead_tup
FROM pg_stat_database d, pg_stat_user_tables t
WHERE d.datname = current_database() AND t.schemaname = 'workerpool' AND t.relname = 'revisions'
"""
COUNTED = ("commits", "blocks", "updates", "hot_updates", "dead_rows")


@contextmanager
def performing(
    ground: Ground,
    database: Database,
    *,
    workers: int | None = None,
    sleep: float = 0.0,
    record: Record | None = None,
    killing: bool = False,
    **settings: object,
) -> Iterator[tuple[Pool, Record]]:
    """Run `workerpool start` for as long as the block takes; yields the pool and what its handlers note."""
    record = record or Record(Path(tempfile.mkdtemp(prefix="record-", dir=ground.folder)))
    home = Path(tempfile.mkdtemp(prefix="home-", dir=ground.folder))
    os.environ |= {FOLDER: str(record.folder), SLEEP: str(sleep)}
    pool = Pool(
        database.url,
        ground.workers if workers is None else workers,
        ["workerpool.bench.handlers"],
        home,
        log_level="warning",
        **(LENIENT if killing else {}),
        **settings,
    )
    pool.start()
    try:
        if killing:
            with _killing(ground, database, pool):
                yield pool, record
        else:
            yield pool, record
    finally:
        code = pool.stop()
    if code:
        raise Unverified(f"the daemon ended with code {code}: {pool.log.read_text()[-2000:]}")


@contextmanager
def _killing(ground: Ground, database: Database, pool: Pool) -> Iterator[None]:
    """Kill random workers while the block runs."""
    over = threading.Event()

    def kill() -> None:
        with Session(database.url, SCHEMA, "bench") as session:
            for _ in range(KILLS):
                if over.wait(random.uniform(*BETWEEN_KILLS)):
                    return
                query = "SELECT worker_pid FROM workerpool.workers WHERE state IN ('idle', 'busy') ORDER BY random()"
                known = [row[0] for row in session.type_in(query).rows]
                ground.kills += _kill_one_of(pool, known)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _kill_one_of(pool: Pool, pids: list[int]) -> int:
    """Kill the first of *pids* that is a process of this pool; return how many that were."""
    with suppress(psutil.Error):
        mine = {child.pid for child in psutil.Process(pool.pid).children()}
        for pid in pids:
            if pid in mine:
                os.kill(pid, signal.SIGKILL)
                return 1
    return 0


def cpu(pid: int | None) -> float:
    """Return the seconds of processor time that a pool's processes have used which are there now."""
    manager = psutil.Process(pid)
    return sum(sum(each.cpu_times()[:2]) for each in (manager, *manager.children(recursive=True)))


def settled(database: Database, count: int, limit: float = LIMIT) -> None:
    """Wait until *count* revisions are completed in the table. Raises Unverified."""
    deadline = time.monotonic() + limit
    while (found := database.number("SELECT count(*) FROM workerpool.revisions WHERE status = 'completed'")) < count:
        if time.monotonic() > deadline:
            raise Unverified(f"{found:.0f} of {count} revisions were completed after {limit:.0f} s")
        time.sleep(5 * STEP)


def drain(
    ground: Ground,
    *statements: str,
    sleep: float = 0.0,
    workers: int | None = None,
    cost: dict[str, float] | None = None,
    killing: bool = False,
) -> list[Event]:
    """Fill a fresh database, perform all of it, verify, and return the events.

    *cost* is given what a revision cost the server. Raises Unverified.
    """
    killing = killing and ground.killing
    sleep, killed = (max(sleep, KILLED_SLEEP), ground.kills) if killing else (sleep, -1)
    with ground.database() as database:
        count = database.fill(*statements)
        before = _counters(database)
        with performing(ground, database, workers=workers, sleep=sleep, killing=killing) as (pool, record):
            begun, used = record.wait(1, LIMIT), cpu(pool.pid)  # without what it takes to start
            record.wait(count, LIMIT)
            settled(database, count)
            used = (cpu(pool.pid) - used) * 1e6 * count / max(count - len(begun), 1)
            wal = _wal(database) - before["wal_bytes"]
        events = record.events()
        verify(database, events, killed=killing)
        if ground.kills == killed:
            raise Unverified("the queue was empty before a worker could be killed; ask for more --revisions")
        if cost is not None:
            after = _counters(database) | {"wal_bytes": before["wal_bytes"] + wal}
            cost |= {f"{name}_per_revision": (after[name] - before[name]) / count for name in after}
            cost["pool_cpu_us_per_revision"] = used / count
    return events


def first(ground: Ground, count: int, *statements: str) -> list[Event]:
    """Fill a fresh database, let the first *count* handlers run, verify what ran, and return them."""
    with ground.database() as database:
        database.fill(*statements)
        with performing(ground, database) as (_, record):
            record.wait(count, LIMIT)
        events = record.events()
        verify(database, events, whole=False)
        return events[:count]


def drained_rate(ground: Ground, *statements: str, sleep: float = 0.0) -> float:
    """Return the rate at which a queue is emptied."""
    return rate(drain(ground, *statements, sleep=sleep))


def _wal(database: Database) -> float:
    return database.number("SELECT pg_current_wal_lsn() - '0/0'")


def _counters(database: Database) -> dict[str, float]:
    row = database.ask(COUNTERS)[0]
    return {name: float(value) for name, value in zip(COUNTED, row, strict=True)} | {"wal_bytes": _wal(database)}
