"""The primary dies and its standby takes over, or the database becomes read-only: what is kept, and what runs again."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.faults.cluster import Pair
from tests.faults.conftest import rounds
from tests.process.daemon import Daemon, until
from tests.process.own_server import OwnServer
from tests.process.test_database_loss import ITEMS, all_done, check_history, load
from tests.recoveries import Recoveries
from workerpool.store import migrate

INSERT = (
    "INSERT INTO workerpool.revisions (item_key, handler, payload) "
    "VALUES (%s, 'work', '{\"seconds\": 0.03}') RETURNING id"
)


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """A primary and a standby, synchronous or not, with the queue's schema."""
    made = Pair(synchronous=request.param == "synchronous")
    try:
        made.start()
        migrate.upgrade(made.url)
        yield made
    finally:
        made.remove()


@pytest.fixture
def daemon(pair: Pair, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon on whichever of the pair may be written to; its leases outlast the failover."""
    made = Daemon(pair.url, tmp_path, lease="40s", heartbeat="500ms")
    try:
        yield made
    finally:
        made.clear()


class Producer(threading.Thread):
    """Enqueues one revision after another and remembers which were acknowledged; goes on after a failover."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url, self.over = url, threading.Event()
        self.acknowledged: list[int] = []

    def run(self) -> None:
        """Insert until told to end."""
        number = 0
        while not self.over.is_set():
            try:
                with psycopg.connect(f"{self.url}&connect_timeout=2", autocommit=True) as connection:
                    while not self.over.is_set():
                        number += 1
                        row = connection.execute(INSERT, [f"item{number % ITEMS}"]).fetchone()
                        assert row is not None
                        self.acknowledged.append(int(row[0]))
                        self.over.wait(0.02)
            except psycopg.OperationalError:
                self.over.wait(0.1)

    def stop(self) -> list[int]:
        """End it and return what was acknowledged."""
        self.over.set()
        self.join(30)
        assert not self.is_alive()
        return self.acknowledged


def completed(daemon: Daemon) -> set[int]:
    """Those whose outcome the database shows."""
    return {int(row["id"]) for row in daemon.sql("SELECT id FROM revisions WHERE status = 'completed'")}


def begun(daemon: Daemon) -> Counter[int]:
    """How often each was begun."""
    return Counter(int(each[1]) for each in daemon.entries("begin"))


def check_order(daemon: Daemon) -> None:
    """By the database's clock no revision of an item started before the one before it had ended."""
    overlap = (
        "SELECT id FROM (SELECT id, started_at, lag(completed_at) OVER (PARTITION BY item_key ORDER BY id) AS before "
        "FROM revisions) r WHERE started_at < before"
    )
    assert not daemon.sql(overlap)
    assert {row["status"] for row in daemon.sql("SELECT DISTINCT status FROM revisions")} == {"completed"}


@pytest.mark.parametrize("pair", ["synchronous"], indirect=True)
def test_a_failover_to_a_synchronous_standby_loses_nothing(pair: Pair, daemon: Daemon) -> None:
    """The primary killed under load, the standby promoted: every acknowledged revision completes, each is performed
    once and in order, nobody is charged, and the daemon needs no restart.
    """
    daemon.start()
    producer = Producer(pair.url)
    producer.start()
    until(lambda: len(completed(daemon)) > 3 * ITEMS, what=f"under way\n{daemon.tail()}")
    seen = completed(daemon)
    daemon.connection.close()
    pair.primary.kill()
    daemon.event("database.lost", role="worker")
    before = begun(daemon)
    sent = len(producer.acknowledged)
    pair.promote()
    until(lambda: sum(begun(daemon).values()) > sum(before.values()), what="the next start")
    until(lambda: len(producer.acknowledged) > sent + ITEMS, what="the producer goes on")
    acknowledged = producer.stop()
    all_done(daemon)
    assert set(acknowledged) <= completed(daemon)
    assert all(begun(daemon)[each] == 1 for each in seen)
    check_history(daemon)
    check_order(daemon)
    assert not daemon.events("child.restarted")
    assert daemon.stop() == 0


@pytest.mark.parametrize("pair", ["asynchronous"], indirect=True)
def test_a_failover_to_a_standby_that_was_behind_runs_again_what_was_lost(pair: Pair, daemon: Daemon) -> None:
    """A standby that missed the last outcomes is promoted: those run again, what it had is not run again, all of it
    ends completed and in order, and no crash is charged.
    """
    load(daemon, 0.1)
    daemon.start()
    until(lambda: len(completed(daemon)) > ITEMS, what=f"under way\n{daemon.tail()}")
    pair.cut()
    kept = {
        int(str(row[0])) for row in pair.standby.sql("SELECT id FROM workerpool.revisions WHERE status='completed'")
    }
    until(lambda: len(completed(daemon)) > len(kept) + ITEMS, what="more is done, unheard by the standby")
    lost = completed(daemon) - kept
    daemon.connection.close()
    pair.primary.kill()
    pair.promote()
    all_done(daemon)
    again = {each for each, count in begun(daemon).items() if count > 1}
    assert lost <= again
    assert not kept & again
    check_order(daemon)
    assert {row["crash_count"] for row in daemon.sql("SELECT DISTINCT crash_count FROM revisions")} == {0}
    assert not daemon.events("child.restarted")
    assert daemon.stop() == 0


@pytest.mark.parametrize("many", rounds(1, 20))
def test_a_database_that_becomes_read_only_is_a_lost_connection(
    tmp_path: Path, recoveries: Recoveries, many: int
) -> None:
    """default_transaction_read_only under load, and back: nothing fails of it, nothing is charged or run twice."""
    own = OwnServer()
    daemon = Daemon(None, tmp_path, lease="40s", heartbeat="500ms")
    try:
        own.start()
        migrate.upgrade(own.url)
        daemon.url = own.url
        daemon.start()
        took = []
        for _ in range(many):
            done = len(daemon.entries("end"))
            load(daemon)
            until(lambda done=done: len(daemon.entries("end")) > done + ITEMS, what="under way")  # type: ignore[misc]
            lost = {role: len(daemon.events("database.lost", role=role)) for role in ("worker", "keeper")}
            turn(own, "on")
            for role, before in lost.items():
                until(lambda role=role, before=before: len(daemon.events("database.lost", role=role)) > before)  # type: ignore[misc]
            assert daemon.process is not None
            assert daemon.process.poll() is None
            turn(own, "off")
            since = time.time()
            all_done(daemon)
            (begun,) = daemon.sql(
                "SELECT min(started_at) AS at FROM revisions WHERE started_at > to_timestamp(%s)", since
            )
            took.append(begun["at"].timestamp() - since)
        check_history(daemon)
        recoveries.note("F27 writable again: begins", took)
        assert not daemon.events("child.restarted")
        assert daemon.stop() == 0
    finally:
        daemon.clear()
        own.remove()


def turn(own: OwnServer, word: str) -> None:
    """Make the server read-only, or writable again."""
    with psycopg.connect(own.admin, autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {word}".encode())
        connection.execute("SELECT pg_reload_conf()")
