"""First figures of the queue, by the real daemon on the real server: ``python tests/bench/bench.py [WORKLOAD …]``.

Each workload gets a fresh database on one server (the wheel's, in a temporary folder, fsync on; or the one of
WORKERPOOL_TEST_DATABASE_URL), is filled by plain SQL, and is performed by ``workerpool start`` with two workers. Rates
count from the first handler start to the last, and each run is verified from the rows and from the handlers' own
record: every revision once, in order, no overlap inside an item.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psycopg
from psycopg import sql

from workerpool.store import embedded, migrate

HERE = Path(__file__).parent
EVENT = struct.Struct("<qdd")
SETTINGS = (("shared_buffers", "512MB"), ("max_wal_size", "4GB"))


@dataclass(frozen=True)
class Event:
    """One handler run."""

    id: int
    start: float
    end: float


class Bench:
    """One server, and the daemon runs on it."""

    def __init__(self, admin: str, folder: Path) -> None:
        self.admin, self.folder = admin, folder
        self._count = 0

    @contextmanager
    def database(self) -> Iterator[str]:
        """Make a fresh, migrated database."""
        self._count += 1
        name = f"bench{self._count}"
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        url = psycopg.conninfo.make_conninfo(self.admin, dbname=name)
        migrate.upgrade(url)
        yield url
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    @contextmanager
    def daemon(self, url: str, workers: int = 2, sleep: float = 0.0) -> Iterator[Path]:
        """Run ``workerpool start``; yields the folder of the events."""
        events = Path(tempfile.mkdtemp(dir=self.folder))
        environment = {key: value for key, value in os.environ.items() if not key.startswith("WORKERPOOL_")}
        environment |= {
            "WORKERPOOL_DATABASE_URL": url,
            "WORKERPOOL_HOME": str(events / "home"),
            "WORKERPOOL_HANDLERS": str(HERE / "bench_handlers.py"),
            "WORKERPOOL_WORKERS": str(workers),
            "BENCH_EVENTS": str(events),
            "BENCH_SLEEP": str(sleep),
        }
        with (events / "log").open("w") as log:
            process = subprocess.Popen([sys.executable, "-m", "workerpool", "start"], env=environment, stderr=log)
            try:
                yield events
            finally:
                process.send_signal(signal.SIGTERM)
                code = process.wait(60)
                assert code == 0, (events / "log").read_text()[-3000:]


def read_events(folder: Path) -> list[Event]:
    """Return all events, in order of start."""
    found = []
    for path in folder.glob("events-*"):
        data = path.read_bytes()
        whole = len(data) - len(data) % EVENT.size
        found += [Event(*EVENT.unpack_from(data, at)) for at in range(0, whole, EVENT.size)]
    return sorted(found, key=lambda event: event.start)


def wait_for(folder: Path, count: int, limit: float) -> list[Event]:
    """Wait until *count* handlers ran."""
    deadline = time.monotonic() + limit
    while sum(path.stat().st_size for path in folder.glob("events-*")) < count * EVENT.size:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(read_events(folder))} of {count} after {limit} s; see {folder / 'log'}")
        time.sleep(0.01)
    return read_events(folder)


def wait_settled(url: str, count: int, limit: float = 60.0) -> None:
    """Wait until *count* revisions are completed in the table."""
    deadline = time.monotonic() + limit
    with psycopg.connect(url, autocommit=True) as connection:
        while True:
            row = connection.execute("SELECT count(*) FROM workerpool.revisions WHERE status = 'completed'").fetchone()
            if row is not None and row[0] == count:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{row} of {count} completed")
            time.sleep(0.05)


def verify(url: str, events: list[Event]) -> None:
    """Each revision ran once; inside an item in order of id, and never two at a time."""
    with psycopg.connect(url) as connection:
        item_of = dict(connection.execute("SELECT id, item_key FROM workerpool.revisions").fetchall())
    ids = [event.id for event in events]
    assert len(ids) == len(set(ids)), "a revision ran twice"
    last: dict[str, Event] = {}
    for event in events:
        before = last.get(item_of[event.id])
        assert before is None or (before.id < event.id and before.end <= event.start), (before, event)
        last[item_of[event.id]] = event


def fill(url: str, *statements: str) -> int:
    """Insert by SQL, then leave the table as a server would have it after a while."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())
        connection.execute("VACUUM ANALYZE workerpool.revisions")
        connection.execute("CHECKPOINT")
        row = connection.execute("SELECT count(*) FROM workerpool.revisions").fetchone()
        assert row is not None
        return int(row[0])


INDEPENDENT = "INSERT INTO workerpool.revisions (item_key) SELECT 'i' || g FROM generate_series(1, {n}) g"
ROUND_ROBIN = (
    "INSERT INTO workerpool.revisions (item_key) SELECT 'i' || k "
    "FROM generate_series(1, {per}) s, generate_series(1, {items}) k"
)
HOT = "INSERT INTO workerpool.revisions (item_key) SELECT 'hot' FROM generate_series(1, {n})"


def rate(events: list[Event]) -> float:
    """Return revisions per second from the first start to the last."""
    return (len(events) - 1) / (events[-1].start - events[0].start)


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


WORKLOADS = {"W1": w1, "W2": w2, "W3": w3, "W4": w4, "W5": w5, "W7": w7, "HOT": hot_apart}


@contextmanager
def a_server(folder: Path) -> Iterator[str]:
    """Start the wheel's server with durable settings, or use the one that is named."""
    named = os.environ.get("WORKERPOOL_TEST_DATABASE_URL")
    if named:
        yield named
        return
    server = embedded.Server(folder / "home", settings=SETTINGS)
    process = subprocess.Popen(server.argv(), stderr=subprocess.DEVNULL)
    try:
        embedded.ready(server.url("postgres", "postgres"), timedelta(seconds=60))
        yield server.url("postgres", "postgres")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def main() -> None:
    """Run the named workloads, all by default; prints JSON lines."""
    wanted = sys.argv[1:] or list(WORKLOADS)
    folder = Path(tempfile.mkdtemp(prefix="workerpool-bench-"))
    try:
        with a_server(folder) as admin:
            bench = Bench(admin, folder)
            for name in wanted:
                figures = WORKLOADS[name](bench)
                rounded = {key: round(value, 2) for key, value in figures.items()}
                print(json.dumps({"workload": name, **rounded}), flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
