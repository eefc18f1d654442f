"""First figures of the queue, by the real daemon on the real server: ``python tests/bench/bench.py [WORKLOAD …]``.

Each workload gets a fresh database on one server (the wheel's, in a temporary folder, fsync on; or the one of
WORKERPOOL_TEST_DATABASE_URL), is filled by plain SQL, and is performed by ``workerpool start`` with two workers. Rates
count from the first handler start to the last, and each run is verified from the rows and from the handlers' own
record: every revision once, in order, no overlap inside an item.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psycopg
from bench_ground import Bench, Event, a_server, fill, read_events, verify, wait_for, wait_settled
from bench_pause import limit_check, pause_check

INDEPENDENT = "INSERT INTO workerpool.revisions (item_key) SELECT 'i' || g FROM generate_series(1, {n}) g"
ROUND_ROBIN = (
    "INSERT INTO workerpool.revisions (item_key) SELECT 'i' || k "
    "FROM generate_series(1, {per}) s, generate_series(1, {items}) k"
)
TELLING = (
    "INSERT INTO workerpool.revisions (item_key, handler) "
    "SELECT 'i{round}.' || g, '{name}' FROM generate_series(1, {n}) g"
)
HOT = "INSERT INTO workerpool.revisions (item_key) SELECT 'hot' FROM generate_series(1, {n})"


def rate(events: list[Event]) -> float:
    """Return revisions per second from the first start to the last."""
    starts = [event.start for event in events]
    return (len(starts) - 1) / (max(starts) - min(starts))


def drain(bench: Bench, *statements: str, sleep: float = 0.0, limit: float = 120.0) -> list[Event]:
    """Fill, run until all is done, verify."""
    with bench.database() as url:
        count = fill(url, *statements)
        with bench.daemon(url, sleep=sleep) as folder:
            events = wait_for(folder, count, limit)
            wait_settled(url, count)
        verify(url, events)
        return events


def w1(bench: Bench) -> dict[str, float]:
    """20,000 independent no-op revisions."""
    return {"per_second": rate(drain(bench, INDEPENDENT.format(n=20_000)))}


def w2(bench: Bench) -> dict[str, float]:
    """1,000 items x 20 in strict order."""
    return {"per_second": rate(drain(bench, ROUND_ROBIN.format(per=20, items=1000)))}


def w3(bench: Bench) -> dict[str, float]:
    """One item with 5,000 in front, 1,000 items x 5 behind."""
    events = drain(bench, HOT.format(n=5000), ROUND_ROBIN.format(per=5, items=1000))
    hot = [event for event in events if event.id <= 5000]
    others = [event for event in events if event.id > 5000]
    return {
        "all_seconds": events[-1].end - events[0].start,
        "hot_per_second": rate(hot),
        "others_per_second": rate(others),
    }


def w4(bench: Bench) -> dict[str, float]:
    """The first 10,000 with 200,000 queued."""
    with bench.database() as url:
        fill(url, INDEPENDENT.format(n=200_000))
        with bench.daemon(url) as folder:
            events = wait_for(folder, 10_000, 60)[:10_000]
    return {"per_second": rate(events)}


def w5(bench: Bench, count: int = 200) -> dict[str, float]:
    """Pick-up: from the insert's commit to the handler's start, on an idle pool."""
    with bench.database() as url, bench.daemon(url) as folder:
        with psycopg.connect(url, autocommit=True) as connection:
            deadline = time.monotonic() + 30
            while connection.execute("SELECT count(*) FROM workerpool.workers WHERE state = 'idle'").fetchone() != (2,):
                assert time.monotonic() < deadline, "the pool does not come to rest"
                time.sleep(0.05)
            committed = {}
            for number in range(count):
                row = connection.execute(
                    "INSERT INTO workerpool.revisions (item_key) VALUES (%s) RETURNING id", [f"i{number}"]
                ).fetchone()
                assert row is not None
                committed[row[0]] = time.time()
                time.sleep(0.05)
        events = wait_for(folder, count, 30)
    waits = sorted((event.start - committed[event.id]) * 1000 for event in events)
    return {"p50_ms": statistics.median(waits), "p99_ms": waits[int(0.99 * len(waits))], "max_ms": waits[-1]}


def w7(bench: Bench) -> dict[str, float]:
    """2,000 revisions of 5 ms, 100 items in order: ideal time over time taken."""
    events = drain(bench, ROUND_ROBIN.format(per=20, items=100), sleep=0.005)
    worked = sum(event.end - event.start for event in events)
    return {"of_ideal": worked / 2 / (max(event.end for event in events) - events[0].start)}


def hot_apart(bench: Bench) -> dict[str, float]:
    """1,000 items of one revision each: their rate behind 100,000 of one item, over their rate alone."""
    alone = rate(drain(bench, ROUND_ROBIN.format(per=1, items=1000), sleep=0.005))
    with bench.database() as url:
        fill(url, HOT.format(n=100_000), ROUND_ROBIN.format(per=1, items=1000))
        with bench.daemon(url, sleep=0.005) as folder:
            deadline = time.monotonic() + 120
            while len(others := [event for event in read_events(folder) if event.id > 100_000]) < 1000:
                assert time.monotonic() < deadline, f"{len(others)} of 1000"
                time.sleep(0.1)
    return {"alone_per_second": alone, "beside_per_second": rate(others), "ratio": rate(others) / alone}


def progress(bench: Bench, pairs: int = 40, count: int = 1_000) -> dict[str, float]:
    """1 ms handlers that call job.progress and job.log.info once, over such that do not: the ratio of their rates.

    In turns on one pool, and each pair in the other order than the one before.
    """
    ratios, quiet = [], []
    with bench.database() as url, bench.daemon(url) as folder:
        done = 0
        for pair in range(pairs + 1):  # the first one warms everything up
            rates = {}
            for name in ("quiet", "telling") if pair % 2 else ("telling", "quiet"):
                fill(url, TELLING.format(name=name, round=done, n=count))
                done += count
                wait_settled(url, done)
                rates[name] = rate(sorted(read_events(folder), key=lambda event: event.id)[-count:])
            if pair:
                ratios.append(rates["telling"] / rates["quiet"])
                quiet.append(rates["quiet"])
        assert_told(url, done // 2)
    return {
        "quiet_per_second": statistics.median(quiet),
        "ratio": statistics.median(ratios),
        "lower_quartile": statistics.quantiles(ratios)[0],
        "upper_quartile": statistics.quantiles(ratios)[2],
    }


def assert_told(url: str, count: int) -> None:
    """Everything that was said is in the database."""
    with psycopg.connect(url) as connection:
        lines = connection.execute("SELECT count(*) FROM workerpool.execution_log WHERE level = 'info'").fetchone()
        assert lines == (count,), lines


WORKLOADS = {
    "W1": w1,
    "W2": w2,
    "W3": w3,
    "W4": w4,
    "W5": w5,
    "W7": w7,
    "HOT": hot_apart,
    "PROGRESS": progress,
    "PAUSE": pause_check,
    "LIMIT": limit_check,
}


def main() -> None:
    """Run the named workloads, all by default; prints JSON lines."""
    wanted = sys.argv[1:] or list(WORKLOADS)
    folder = Path(tempfile.mkdtemp(prefix="workerpool-bench-"))
    try:
        with a_server(folder) as admin:
            bench = Bench(admin, folder)
            for name in wanted:
                figures = WORKLOADS[name](bench)
                rounded = {key: round(value, 3) for key, value in figures.items()}
                print(json.dumps({"workload": name, **rounded}), flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
