"""The primary dies and its standby takes over, comes back, or becomes read-only: what is kept, and what runs again."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.test_web import ask
from tests.faults.cluster import Node, Pair
from tests.faults.conftest import rounds
from tests.process.conftest import free_port
from tests.process.daemon import Daemon, until
from tests.process.own_server import OwnServer
from tests.process.test_database_loss import ITEMS, all_done, check_history, load
from tests.recoveries import Recoveries
from workerpool.store import migrate

#: How often the primary is killed: as often as fits into the time of CI, and with --long.
FAILOVERS = rounds()
#: How often every session of the pool is cut, while an old primary waits for it to come back.
CUTS = 5
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


def said_lost(daemon: Daemon) -> set[int]:
    """Those of which a worker said that their end was lost."""
    return {each for event in daemon.events("revision.lost") for each in event["again"]}


def timelines(daemon: Daemon) -> list[tuple[int, int]]:
    """The failovers that the keeper said."""
    return [(each["old_timeline"], each["new_timeline"]) for each in daemon.events("database.failed_over")]


def fail_over(pair: Pair, daemon: Daemon, producer: Producer) -> set[int]:
    """Kill the primary under load and promote the standby; returns what the old one showed as completed.

    It is over when the workers and the producer have gone on.
    """
    before = len(completed(daemon))
    until(lambda: len(completed(daemon)) > before + ITEMS, what=f"under way\n{daemon.tail()}")
    seen, losses = completed(daemon), len(daemon.events("database.lost", role="worker"))
    daemon.connection.close()
    pair.primary.kill()
    until(lambda: len(daemon.events("database.lost", role="worker")) > losses, what="a worker has noticed")
    started, sent = len(daemon.entries("begin")), len(producer.acknowledged)
    pair.promote()
    promoted = time.monotonic()
    until(lambda: len(daemon.entries("begin")) > started, what=f"the next start\n{daemon.tail()}")
    print(f"the next start came {time.monotonic() - promoted:.3f} s after the promotion")
    until(lambda: len(producer.acknowledged) > sent + ITEMS, what="the producer goes on")
    return seen


@pytest.mark.parametrize("failovers", FAILOVERS)
@pytest.mark.parametrize("pair", ["synchronous"], indirect=True)
def test_a_failover_to_a_synchronous_standby_loses_nothing(pair: Pair, daemon: Daemon, failovers: int) -> None:
    """The primary killed under load, the standby promoted, the old one back as the standby, and so on: every
    acknowledged revision completes, each is performed once and in order, nobody is charged, each failover is said once,
    nothing is said to be lost, and the daemon needs no restart.
    """
    daemon.start()
    producer = Producer(pair.url)
    producer.start()
    for number in range(failovers):
        seen = fail_over(pair, daemon, producer)
        times = begun(daemon)
        assert all(times[each] == 1 for each in seen)
        if number + 1 < failovers:
            pair.rejoin()
    acknowledged = producer.stop()
    all_done(daemon)
    assert set(acknowledged) <= completed(daemon)
    check_history(daemon)
    check_order(daemon)
    assert timelines(daemon) == [(number, number + 1) for number in range(1, failovers + 1)]
    assert not daemon.events("revision.lost")
    assert not daemon.events("database.outdated")
    assert not daemon.events("child.restarted")
    assert daemon.stop() == 0


@pytest.mark.parametrize("pair", ["asynchronous"], indirect=True)
def test_a_failover_to_a_standby_that_was_behind_runs_again_what_was_lost(pair: Pair, daemon: Daemon) -> None:
    """A standby that missed the last outcomes is promoted: those run again, what it had is not run again, all of it
    ends completed and in order, no crash is charged; and the log says that there was a failover, and what runs again.
    """
    load(daemon, 0.03)
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
    assert timelines(daemon) == [(1, 2)]
    # (the outcome of what ran at that moment was refused, and that is said too)
    refused = {each["revision_id"] for each in daemon.events("revision.fenced", verdict="completed")}
    said = said_lost(daemon)
    assert said | refused == again
    assert said
    told = "was lost by a failover of the database, from timeline 1 to 2"
    assert all(any(told in line for line in daemon.lines(each)) for each in said)
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


def everything(node: Node) -> dict[str, object]:
    """What stands in each table of the queue, and where its sequences are."""
    tables = node.sql("SELECT relname FROM pg_class WHERE relnamespace = 'workerpool'::regnamespace AND relkind = 'r'")
    text = "SELECT md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) FROM workerpool.{} t"
    found: dict[str, object] = {str(name): node.sql(text.format(name))[0][0] for (name,) in tables}
    return found | {"sequences": node.sql("SELECT sequencename, last_value FROM pg_sequences ORDER BY 1")}


def cut_all(node: Node) -> int:
    """End every session of the pool on a server; returns how many there were."""
    return len(
        node.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'workerpool:%'")
    )


@pytest.mark.parametrize("pair", ["asynchronous"], indirect=True)
@pytest.mark.parametrize(
    "how",
    [pytest.param("rewound", marks=pytest.mark.long), pytest.param("read-only", marks=pytest.mark.long), "as it was"],
)
def test_an_old_primary_that_comes_back_is_not_written_to(pair: Pair, daemon: Daemon, how: str) -> None:
    """The primary that was replaced comes back, the first in the URL: as a standby after pg_rewind, read-only with
    commits that nobody else has, or as it was, which is a second primary. All of the pool's sessions are cut again and
    again: each comes back to the new primary, work goes on there, and no row of the old one changes.
    """
    daemon.start()
    old, new = pair.primary, pair.standby
    daemon.ended(daemon.insert("page", "work"))
    pair.cut()
    daemon.ended(daemon.insert("page", "work"))  # of which the new primary never hears
    daemon.connection.close()
    old.kill()
    pair.promote()
    daemon.event("database.failed_over")
    daemon.url = new.url
    daemon.ended(daemon.insert("page", "work"))
    if how == "rewound":
        pair.rejoin()
    else:
        old.settings["default_transaction_read_only"] = "on" if how == "read-only" else "off"
        old.start()
    before = everything(old) if how != "rewound" else {}
    for number in range(CUTS):
        connected = len(daemon.events("keeper.connected"))
        until(lambda: cut_all(new), what="sessions to cut")
        until(lambda connected=connected: len(daemon.events("keeper.connected")) > connected, what="the keeper is back")
        for each in [daemon.insert(f"item {number} {n}", "work", {"seconds": 0.05}) for n in range(4)]:
            assert daemon.ended(each)["attempt"] == 1
    assert timelines(daemon) == [(1, 2)]
    assert bool(daemon.events("database.outdated")) == (how == "as it was")
    if how == "rewound":
        assert old.sql("SELECT pg_is_in_recovery()") == [(True,)]
        assert not cut_all(old)
    else:
        assert everything(old) == before
    assert not daemon.events("child.restarted")
    assert daemon.stop() == 0


@pytest.mark.parametrize("pair", ["asynchronous"], indirect=True)
def test_a_primary_that_becomes_read_only_under_its_sessions_is_left(pair: Pair, daemon: Daemon) -> None:
    """The primary is made read-only with every session open, as one that is demoted, and the standby is promoted: the
    workers, the keeper and the API leave for it, and no row of the old one changes from then on.
    """
    port = free_port()
    daemon.settings["http"] = f"127.0.0.1:{port}"
    daemon.start()
    asked = {"itemKey": "page", "handler": "work"}
    until(lambda: daemon.events("api.listening"), what="the API")
    status, job = ask(port, "/api/revisions", None, asked)
    assert status == 201, json.dumps(job)
    daemon.ended(job["id"])
    old, new = pair.primary, pair.standby
    old.sql("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
    until(lambda: ask(port, "/api/revisions", None, asked)[0] == 503, what="the API may not write")
    pair.promote()
    until(lambda: not cut_needed(old), what=f"everybody has left the old primary\n{daemon.tail()}")
    before = everything(old)
    daemon.connection.close()
    daemon.url = new.url
    status, job = until(lambda: answered(port, asked), what="the API writes to the new primary")
    assert daemon.ended(job["id"])["status"] == "completed"
    assert timelines(daemon) == [(1, 2)]
    assert everything(old) == before
    assert daemon.stop() == 0


def cut_needed(node: Node) -> list[tuple[object, ...]]:
    """The sessions of workers and the keeper on a server."""
    return node.sql(
        "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'workerpool:%:worker%'"
        " OR application_name LIKE 'workerpool:%:keeper%'"
    )


def answered(port: int, asked: dict[str, str]) -> tuple[int, dict[str, int]] | None:
    """Ask the API for a revision; None where it does not take it."""
    found = ask(port, "/api/revisions", None, asked)
    return found if found[0] == 201 else None
