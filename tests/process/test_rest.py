"""A pool without work: it asks the server little, and misses nothing that nobody told it of (R11)."""

from __future__ import annotations

import time
from collections.abc import Callable

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.conftest import Databases
from tests.process.daemon import Daemon, until

Pool = Callable[..., Daemon]
#: The workers look for themselves after so long: in none of these tests.
NEVER = {"poll_interval": "10m", "pause_poll_interval": "10m"}
#: Seconds within which the keeper does what a notification would have told it at once: a look a second, and the work.
MISSED = 4.0


def idle(daemon: Daemon, count: int) -> None:
    """Wait until so many workers have nothing to do."""
    ask = "SELECT 1 FROM workers WHERE state = 'idle'"
    until(lambda: len(daemon.sql(ask)) == count, what=f"{count} idle workers")


def test_a_pool_at_rest_makes_few_transactions(pool: Pool, server: Databases, database: str) -> None:
    """The keeper looks once a second for all its workers, in one transaction, and nobody else asks anything.

    A schedule that is due tomorrow changes nothing of it. Three seconds are enough that are quiet: a heartbeat, or the
    server's own vacuum, may fall into others.
    """
    daemon = pool(workers=4, heartbeat="10s", lease="60s", **NEVER).start()
    columns = "INSERT INTO schedules (name, cron, item_key, next_run)"
    daemon.sql(columns + " VALUES ('daily', '@daily', 'page', now() + interval '1 d')")
    idle(daemon, 4)
    name = conninfo_to_dict(database)["dbname"]
    with psycopg.connect(server.admin, autocommit=True) as watch:

        def transactions() -> int:
            query = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s"
            return int((watch.execute(query, [name]).fetchone() or (0,))[0])

        def in_three_seconds() -> int:
            before = transactions()
            time.sleep(3.0)
            return transactions() - before

        seen: list[int] = []
        until(lambda: seen.append(in_three_seconds()) or 2 <= seen[-1] <= 5, what="a quiet moment")
    assert daemon.stop() == 0


def test_nobody_said_that_there_is_work(pool: Pool) -> None:
    """Revisions whose notification was lost: as many idle workers are woken as there is work for."""
    daemon = pool(workers=2, **NEVER).start()
    idle(daemon, 2)
    daemon.sql("ALTER TABLE revisions DISABLE TRIGGER revisions_wake")
    began = time.monotonic()
    long = [daemon.insert(item, "work", {"seconds": 6.0}) for item in ("page", "other")]
    until(lambda: all(daemon.row(each)["status"] == "processing" for each in long), MISSED, "both at work")
    assert time.monotonic() - began < MISSED
    daemon.sql("UPDATE revisions SET cancel_requested_at = now() WHERE completed_at IS NULL")
    for each in long:
        daemon.ended(each)
    assert daemon.stop() == 0


def test_what_becomes_due_is_begun_on_time(pool: Pool) -> None:
    """R6: nobody notifies of an instant; the keeper knows it, and the worker need not look for it."""
    daemon = pool(workers=1, **NEVER).start()
    idle(daemon, 1)
    due = daemon.sql("SELECT clock_timestamp() + interval '1.5 s' AS at")[0]["at"]
    revision = daemon.insert("page", "work", run_at=due)
    assert daemon.row(revision)["status"] == "scheduled"
    late = daemon.ended(revision)["started_at"] - due
    assert 0.0 <= late.total_seconds() < 1.0
    assert daemon.stop() == 0


@pytest.mark.parametrize("handler", ["work", "steps"])
def test_nobody_said_that_something_is_to_be_cancelled(pool: Pool, handler: str) -> None:
    """A stamp whose notification was lost: what waits is ended, and the worker of what runs is asked."""
    daemon = pool(workers=1, **NEVER).start()
    running = daemon.insert("page", handler, {"seconds": 60 if handler == "work" else 0.05, "steps": 1000})
    waiting = daemon.insert("page", "work")
    daemon.begun(running)
    daemon.sql("ALTER TABLE revisions DISABLE TRIGGER revisions_cancel")
    daemon.sql("UPDATE revisions SET cancel_requested_at = now() WHERE id IN (%s, %s)", running, waiting)
    for each in (running, waiting):
        assert daemon.ended(each, MISSED)["status"] == "cancelled"
    assert not daemon.entries("begin", waiting)
    assert daemon.stop() == 0


def test_nobody_said_that_the_pool_is_paused(pool: Pool) -> None:
    """A pause, and its end, whose notifications were lost: every worker has seen both soon."""
    daemon = pool(workers=2, **NEVER).start()
    idle(daemon, 2)
    for table in ("pauses", "pause_state"):
        daemon.sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    daemon.sql("INSERT INTO pauses (mode, reason, actor, holder) VALUES ('drain', 'quietly', 'eve', 'eve')")
    write = "UPDATE pause_state SET paused = %s, mode = %s, reason = %s, actor = %s, version = version + 1"
    daemon.sql(write, True, "drain", "quietly", "eve")
    ask = "SELECT 1 FROM workers WHERE state = 'paused' AND pause_version = (SELECT version FROM pause_state)"
    until(lambda: len(daemon.sql(ask)) == 2, MISSED, "both have seen it")
    revision = daemon.insert("page", "work")
    daemon.sql("DELETE FROM pauses")
    daemon.sql(write, False, None, None, None)
    assert daemon.ended(revision, MISSED)["status"] == "completed"
    assert daemon.stop() == 0


def test_a_pause_with_an_end_ends_on_time(pool: Pool) -> None:
    """Nobody resumes: the keeper lifts it within about a second, and what waits is begun."""
    daemon = pool(workers=1, **NEVER).start()
    idle(daemon, 1)
    until_when = "clock_timestamp() + interval '1.5 s'"
    daemon.sql(f"SELECT pause('all', 'drain', 'a moment', 'eve', 'eve', {until_when})")
    end = daemon.sql("SELECT until FROM pauses")[0]["until"]
    revision = daemon.insert("page", "work")
    late = daemon.ended(revision)["started_at"] - end
    assert 0.0 <= late.total_seconds() < 2.0
    assert daemon.events("pause.lifted")
    assert daemon.stop() == 0


def test_what_is_overdue_and_locked_is_not_asked_for_all_the_time(pool: Pool, database: str) -> None:
    """A due revision that somebody has locked is nobody's: a worker is sent for it now and then, not in a frenzy."""
    daemon = pool(workers=1, **NEVER).start()
    idle(daemon, 1)
    due = daemon.sql("SELECT clock_timestamp() + interval '1 s' AS at")[0]["at"]
    revision = daemon.insert("page", "work", run_at=due)
    with psycopg.connect(database) as blocker:
        blocker.execute("SELECT 1 FROM workerpool.revisions WHERE id = %s FOR UPDATE", [revision])
        until(lambda: daemon.sql("SELECT 1 WHERE clock_timestamp() > %s + interval '3 s'", due), what="long overdue")
        statements, began = set(), time.monotonic()
        ask = "SELECT query_start AS at FROM pg_stat_activity WHERE application_name LIKE 'workerpool:%%:worker W1'"
        while time.monotonic() - began < 2.0:
            statements |= {row["at"] for row in daemon.sql(ask)}
    assert 0 < len(statements) < 20
    assert daemon.ended(revision)["status"] == "completed"
    assert daemon.stop() == 0
