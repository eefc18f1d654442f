"""Full disks of PostgreSQL, of its data and of its WAL (F20, F21)."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.faults import chronicle
from tests.faults.chronicle import Notes, check, enqueue
from tests.faults.conftest import rounds
from tests.faults.disks import MIB, SmallServer, completed, goes_on, missing
from tests.faults.producer import Producer, drain
from tests.faults.test_rounds import PATIENT, processor_time
from tests.process.daemon import Daemon, until
from workerpool.worker.perform import UNTIL_ROOM

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

HANDLERS = Path(__file__).parent / "disk_handlers.py"
#: Seconds from room on a disk to the next completed revision: the longest wait of a worker, and a turn.
ROOM_IS_SEEN = 7.0
#: What a pool of three workers may do each second while nothing can be written: seconds of processor time, log lines.
IDLENESS, LINES = 0.25, 25.0
#: A handler that talks for two seconds, and whose result needs pages of its own.
LARGE = '{"seconds": 2.0, "bytes": 50000}'
SETTINGS = {**PATIENT, "handlers": f"{PATIENT['handlers']},{HANDLERS}"}


@pytest.fixture
def small() -> Iterator[SmallServer]:
    """A PostgreSQL on small disks, with books."""
    server = SmallServer(data=96 * MIB, wal=128 * MIB)
    try:
        server.make()
        chronicle.record(server.url)
        yield server
    finally:
        server.remove()


@pytest.fixture
def daemon(small: SmallServer, tmp_path: Path) -> Iterator[Daemon]:
    """A pool on that server, not started."""
    made = Daemon(small.url, tmp_path, **SETTINGS, workers=3, lease="40s")
    try:
        yield made
    finally:
        made.clear()


@pytest.fixture
def load(small: SmallServer, seed: int) -> Iterator[tuple[Notes, Producer]]:
    """Somebody who enqueues all the while."""
    notes = Notes()
    producer = Producer(small.url, seed, notes, pause=0.15)
    producer.start()
    yield notes, producer
    producer.stop()


def over(server: SmallServer, hosts: list[Daemon], load: tuple[Notes, Producer], *, rescues: bool = False) -> None:
    """Let everything end, and read the books: nothing is lost or doubled, no attempt is charged with a full disk.

    *rescues*: leases may have run out, of which each counts as a crash.
    """
    notes, producer = load
    producer.stop()
    drain(server.url, hosts)
    assert [each.stop() for each in hosts] == [0] * len(hosts)
    assert check(server.url, hosts, notes) == []
    with psycopg.connect(server.url) as connection:
        text = "SELECT l.message FROM workerpool.execution_log l JOIN workerpool.revisions r ON r.id = l.revision_id"
        found = [] if rescues else connection.execute(f"{text} WHERE r.crash_count > 0").fetchall()
        assert found == []
        charged = "SELECT message FROM workerpool.execution_log WHERE message ~ '^(Retry|failed).*([Dd]isk|No space)'"
        assert connection.execute(charged).fetchall() == []


def spent(daemon: Daemon) -> float:
    """Seconds of processor time that the pool's processes have used; those that are gone are not counted."""
    found = 0.0
    for pid in (daemon.pid, *daemon.others()):
        try:
            found += processor_time(pid)
        except OSError:
            continue
    return found


def waits_quietly(daemon: Daemon, seconds: float) -> None:
    """While nothing can be written the pool neither spins nor floods its log."""
    began, before, lines = time.monotonic(), spent(daemon), len(daemon.events())
    until(lambda: time.monotonic() - began > seconds, seconds + 5.0, "a while")
    assert (spent(daemon) - before) / seconds < IDLENESS
    assert (len(daemon.events()) - lines) / seconds < LINES, daemon.tail()


@pytest.mark.parametrize("many", rounds(1, 20))
def test_a_full_disk_of_the_data_under_load(
    small: SmallServer, daemon: Daemon, load: tuple[Notes, Producer], many: int
) -> None:
    """F20: statements fail with 53100 while the server lives: no process ends, nobody spins, and when there is room
    all goes on; nothing is lost or doubled, and no attempt is charged.
    """
    daemon.start()
    for _ in range(many):
        goes_on(small.url, 30.0)
        time.sleep(random.uniform(0.0, 0.5))  # the moment is what is varied
        refused = len(daemon.events("turn.refused"))
        with small.data_disk.full():
            until(lambda refused=refused: len(daemon.events("turn.refused")) > refused, what="a turn is refused")  # type: ignore[misc]
            until(small.refuses, what="the server refuses to write")
            waits_quietly(daemon, 4.0)
        room = time.monotonic()
        goes_on(small.url, ROOM_IS_SEEN)
        print(f"recovered {time.monotonic() - room:.2f} s after there was room")
    assert "DiskFull" in daemon.events("turn.refused")[0]["error"]
    assert not daemon.events("child.exited", child="keeper")
    assert not daemon.events("database.lost")
    over(small, [daemon], load)


def test_an_outcome_waits_for_room(small: SmallServer, daemon: Daemon) -> None:
    """F20, F52: a handler that ends while the disk is full has run once: its outcome is written when there is room,
    and so is what it said.
    """
    notes = Notes()
    daemon.start()
    with psycopg.connect(small.url, autocommit=True) as connection:
        (revision,) = enqueue(connection, notes, [("page", LARGE)], handler="talk")
    daemon.begun(revision)
    with small.data_disk.full():
        until(small.refuses, what="the server refuses to write")
        until(lambda: daemon.entries("end", revision), what="the handler has ended")
        until(lambda: daemon.events("turn.refused"), what="its outcome is refused")
        waits_quietly(daemon, 2.0)
    row = daemon.ended(revision, ROOM_IS_SEEN)
    assert (row["status"], row["attempt"], row["crash_count"]) == ("completed", 1, 0)
    assert len(daemon.entries("begin", revision)) == 1
    until(lambda: "the last word" in daemon.lines(revision), ROOM_IS_SEEN, "what it said is written")
    assert daemon.stop() == 0
    assert chronicle.check(small.url, [], notes) == []


def test_what_a_handler_writes_to_a_full_disk_is_put_off(small: SmallServer, daemon: Daemon) -> None:
    """F20: an attempt whose own transaction, its commit, or `job.then()` finds the disk full is not charged: it is
    performed again some seconds later, and writes once.
    """
    with psycopg.connect(small.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE public.written (words text)")
    daemon.start()
    asked = {how: daemon.insert(how, "write", {"how": how}) for how in ("transaction", "outcome", "then")}
    for each in asked.values():
        daemon.begun(each)
    with small.data_disk.full():
        until(small.refuses, what="the server refuses to write")
        (daemon.folder / "go").touch()
        for each in asked.values():
            until(lambda each=each: daemon.entries("end", each), what="it has written in vain")  # type: ignore[misc]
        waits_quietly(daemon, 2.0)
    for each in asked.values():
        row = daemon.ended(each, UNTIL_ROOM.total_seconds() + ROOM_IS_SEEN)
        assert (row["status"], row["attempt"], row["crash_count"]) == ("completed", 1, 0)
        assert len(daemon.entries("begin", each)) >= 2
        event = daemon.event("revision.snoozed", revision_id=each)
        assert "the disk of the database is full" in event["why"]
    assert daemon.sql("SELECT count(*) AS written FROM public.written") == [{"written": 1}]
    assert len(daemon.sql("SELECT 1 FROM revisions WHERE item_key = 'successor'")) == 1
    assert daemon.stop() == 0


@pytest.mark.parametrize("many", rounds(1, 10))
def test_a_disk_that_is_full_for_longer_than_a_lease(
    small: SmallServer, tmp_path: Path, load: tuple[Notes, Producer], many: int
) -> None:
    """F20: two hosts, leases that cannot be renewed: whoever cannot write steps down before the other, whose pages may
    have room, takes over; no two attempts overlap, nothing is lost, and all of it ends.
    """
    hosts = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        hosts.append(Daemon(small.url, tmp_path / name, **SETTINGS, lease="2s", heartbeat="300ms"))
    try:
        for host in hosts:
            host.start()
        for _ in range(many):
            goes_on(small.url, 30.0)
            with small.data_disk.full():
                until(small.refuses, what="the server refuses to write")
                waits_quietly(hosts[0], 6.0)
            goes_on(small.url, ROOM_IS_SEEN + 4.0)
        over(small, hosts, load, rescues=True)
    finally:
        for host in hosts:
            host.clear()


def test_a_stop_and_a_start_while_the_disk_is_full(small: SmallServer, daemon: Daemon) -> None:
    """F20, F72: TERM with an outcome that cannot be written ends within grace + 5 s with 5; a start on a disk that is
    still full waits or ends with 69; when there is room it gives back what was left, uncounted.
    """
    notes = Notes()
    daemon.settings |= {"shutdown_grace": "1s", "start_timeout": "60s"}
    daemon.start()
    with psycopg.connect(small.url, autocommit=True) as connection:
        (revision,) = enqueue(connection, notes, [("page", LARGE)], handler="talk")
    daemon.begun(revision)
    with small.data_disk.full():
        until(small.refuses, what="the server refuses to write")
        until(lambda: daemon.events("turn.refused"), what="its outcome is refused")
        began, lines = time.monotonic(), len(daemon.events())
        assert daemon.stop(limit=12.0) == 5
        assert time.monotonic() - began < 1.0 + 5.0
        assert len(daemon.events()) - lines < 3 * LINES, daemon.tail()
        daemon.spawn()
        began, lines = time.monotonic(), len(daemon.events())
        until(lambda: time.monotonic() - began > 3.0, what="a while")
        assert len(daemon.events()) - lines < 3 * LINES, daemon.tail()
        code = daemon.process.poll() if daemon.process else None
        assert code in (None, 69), daemon.tail()
    if code is not None:
        daemon.spawn()
    row = daemon.ended(revision)
    assert (row["status"], row["crash_count"], row["attempt"]) == ("completed", 0, 1)
    assert daemon.stop() == 0
    assert chronicle.check(small.url, [], notes) == []


@pytest.mark.parametrize("many", rounds(1, 10))
def test_a_full_disk_of_the_wal_under_load(
    small: SmallServer, daemon: Daemon, load: tuple[Notes, Producer], many: int
) -> None:
    """F21: the server panics, cannot recover, and ends, or hangs and is ended. Started again with room, it has all that
    was acknowledged; the pool comes back by itself, and nothing is lost or doubled.
    """
    daemon.start()
    for _ in range(many):
        goes_on(small.url, 30.0)
        with small.wal_disk.full():
            if not small.gives_up():
                print("the server hung, and was ended")
            waits_quietly(daemon, 3.0)
        assert daemon.process is not None
        assert daemon.process.poll() is None, daemon.tail()
        small.start()
        room = time.monotonic()
        goes_on(small.url, ROOM_IS_SEEN)
        print(f"recovered {time.monotonic() - room:.2f} s after the server's start")
    assert "PANIC" in small.log.read_text()
    assert not daemon.events("child.exited", child="keeper")
    over(small, [daemon], load)


def test_who_asks_a_full_database_is_told_so(small: SmallServer, tmp_path: Path) -> None:
    """F20: `workerpool enqueue` says that the disk is full, and exits with 69."""
    daemon = Daemon(small.url, tmp_path)
    payload = json.dumps({"text": os.urandom(45_000).hex()})
    words = [sys.executable, "-m", "workerpool", "enqueue", "page", "--payload", payload]
    with small.data_disk.full():
        until(small.refuses, what="the server refuses to write")
        told = subprocess.run(words, env=daemon.environment(), capture_output=True, text=True)
        if told.returncode == 0:  # a page had room still
            told = subprocess.run(words, env=daemon.environment(), capture_output=True, text=True)
    assert told.returncode == 69, told.stderr
    assert "the disk of the database is full" in told.stderr
    assert completed(small.url) == 0
