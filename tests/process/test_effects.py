"""P9: what a handler writes through job.transaction() commits together with its outcome, exactly once."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.process.daemon import Daemon, gone, until

Pool = Callable[..., Daemon]
TABLES = """
CREATE TABLE public.ledger (revision bigint NOT NULL, attempt integer NOT NULL);
CREATE TABLE public.total (rows integer NOT NULL);
INSERT INTO public.total VALUES (0)
"""


def with_tables(pool: Pool, **settings: object) -> Daemon:
    """A daemon that runs, with the application's own tables."""
    daemon = pool(**settings)
    daemon.sql(TABLES)
    return daemon.start()


def ledger(daemon: Daemon) -> list[tuple[int, int]]:
    """What the handlers wrote: revision and attempt."""
    return [(row["revision"], row["attempt"]) for row in daemon.sql("SELECT * FROM public.ledger ORDER BY 1, 2")]


def total(daemon: Daemon) -> int:
    """The number that each of them raised by one."""
    return int(daemon.sql("SELECT rows FROM public.total")[0]["rows"])


def test_the_writes_come_with_the_outcome(pool: Pool) -> None:
    """Neither is seen before the other; the next revision of the item runs; the connection is as new each time."""
    daemon = with_tables(pool, workers=1)
    revisions = [daemon.insert("page", "ledger", {"seconds": 0.2}) for _ in range(3)]
    daemon.begun(revisions[0])
    assert ledger(daemon) == []
    for each in revisions:
        row = daemon.ended(each)
        assert (row["status"], row["revision_number"]) == ("completed", revisions.index(each) + 1)
    assert ledger(daemon) == [(each, 1) for each in revisions]
    assert total(daemon) == 3
    assert daemon.stop() == 0


def test_a_statement_may_be_used_often(pool: Pool) -> None:
    """So often that a driver prepares it: the next attempt of the worker finds a session as new, and does not fail."""
    daemon = with_tables(pool, workers=1)
    revisions = [daemon.insert("page", "ledger", {"statements": often}) for often in (1, 5, 1)]
    assert [daemon.ended(each)["attempt"] for each in revisions] == [1, 1, 1]
    assert total(daemon) == 7
    assert daemon.stop() == 0


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("raise inside", "inside"),
        ("raise after", "after"),
        ("commit", r"commit() is not allowed"),
        ("COMMIT", "ended by a statement"),
        ("serializable", "ended by a statement"),
        ("swallowed", "its error was not passed on"),
        ("twice", "there is one in an attempt"),
    ],
)
def test_without_an_outcome_nothing_is_written(pool: Pool, how: str, says: str) -> None:
    """An error in the block or after it, and every misuse, rolls all of it back and says what was wrong."""
    daemon = with_tables(pool, workers=1)
    revision = daemon.insert("page", "misuse", {"how": how})
    row = daemon.ended(revision)
    assert row["status"] == "failed"
    assert says in row["error_message"]
    assert ledger(daemon) == []
    good = daemon.insert("page", "ledger")
    assert daemon.ended(good)["status"] == "completed"
    assert ledger(daemon) == [(good, 1)]
    assert daemon.stop() == 0


def test_a_constraint_that_fails_at_the_commit_is_a_failure(pool: Pool) -> None:
    """A deferred constraint speaks at the commit: the revision fails with its words, and nothing is written."""
    daemon = with_tables(pool, workers=1)
    daemon.sql("ALTER TABLE public.ledger ADD CONSTRAINT once UNIQUE (attempt) DEFERRABLE INITIALLY DEFERRED")
    first, second = (daemon.insert("page", "ledger", max_attempts=1) for _ in range(2))
    assert daemon.ended(first)["status"] == "completed"
    row = daemon.ended(second)
    assert row["status"] == "failed"
    assert "once" in row["error_message"]
    assert (ledger(daemon), total(daemon)) == ([(first, 1)], 1)
    assert daemon.stop() == 0


def test_a_connection_that_is_cut_leaves_nothing(pool: Pool) -> None:
    """The server ends the connection in the middle: the attempt is not counted as done, and it is tried again."""
    daemon = with_tables(pool, workers=1)
    revision = daemon.insert("page", "ledger", {"seconds": 0.5})
    daemon.begun(revision)
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s"
    until(lambda: daemon.sql(cut, f"%revision {revision}"), what="its connection")
    assert daemon.ended(revision)["status"] == "completed"
    assert len(ledger(daemon)) == total(daemon) == 1
    assert daemon.stop() == 0


def test_a_cancel_meets_a_transaction(pool: Pool) -> None:
    """Asked to cancel, a handler that goes on to its end completes with what it wrote: it won."""
    daemon = with_tables(pool, workers=1)
    revision = daemon.insert("page", "ledger", {"seconds": 0.5})
    daemon.begun(revision)
    daemon.sql("UPDATE revisions SET cancel_requested_at = now() WHERE id = %s", revision)
    assert daemon.ended(revision)["status"] == "completed"
    assert len(ledger(daemon)) == 1
    assert daemon.stop() == 0


def kill_at_random(daemon: Daemon, kills: int) -> None:
    """Insert revisions and kill workers until so many were killed; then let everything end."""
    revisions: list[int] = []
    for n in range(kills):
        revisions.append(daemon.insert(f"page{n % 3}", "ledger", {"seconds": 0.02, "after": 0.01}))
        name = random.choice(["W1", "W2"])
        worker = daemon.pid_of_child(name)
        until(lambda: daemon.sql("SELECT 1 FROM revisions WHERE status = 'processing'") or _all_ended(daemon))
        time.sleep(random.uniform(0, 0.05))  # the moment is what is varied
        os.kill(worker, signal.SIGKILL)
        daemon.pid_of_child(name, other_than=worker)
    for each in revisions:
        assert daemon.ended(each, 120)["status"] == "completed"
    assert [revision for revision, _ in ledger(daemon)] == sorted(revisions)
    assert total(daemon) == len(revisions)


def _all_ended(daemon: Daemon) -> bool:
    return not daemon.sql("SELECT 1 FROM revisions WHERE completed_at IS NULL")


def hard(pool: Pool) -> Daemon:
    """A pool in which a kill is nobody's fault."""
    return with_tables(pool, max_restarts=1000, max_crashes=100)


def test_killed_at_random_each_revision_has_one_row(pool: Pool) -> None:
    """kill -9 at thirty random moments of handler, settlement and commit: one ledger row per completed revision."""
    daemon = hard(pool)
    kill_at_random(daemon, 30)
    assert daemon.stop() == 0


@pytest.mark.long
def test_killed_at_random_five_hundred_times(pool: Pool) -> None:
    """The same, 500 times."""
    daemon = hard(pool)
    kill_at_random(daemon, 500)
    assert daemon.stop() == 0


def test_stopped_beyond_its_lease_a_ghost_writes_nothing(pool: Pool) -> None:
    """SIGSTOP in the open transaction until another worker took over: the ghost's writes and outcome are refused."""
    daemon = with_tables(pool, workers=2, lease="1s", heartbeat="200ms")
    revision = daemon.insert("page", "ledger", {"seconds": 0.3})
    ghost = daemon.begun(revision)
    os.kill(ghost, signal.SIGSTOP)
    row: dict[str, Any] = daemon.ended(revision)
    if not gone(ghost):
        os.kill(ghost, signal.SIGCONT)
    until(lambda: gone(ghost), what="the ghost replaced")
    assert row["status"] == "completed"
    assert ledger(daemon) == [(revision, row["attempt"])]
    assert total(daemon) == 1
    assert daemon.stop() == 0


@pytest.mark.parametrize(
    ("end", "status", "followers"),
    [
        ("", "completed", ["after completed", "after any"]),
        ("fail", "failed", ["after failed", "after any"]),
        ("crash", "failed", ["after failed", "after any"]),
    ],
)
def test_follow_ups_come_with_any_end(pool: Pool, end: str, status: str, followers: list[str]) -> None:
    """job.then: enqueued in the transaction of the outcome, also where the attempt dies; callbacks are in-process."""
    daemon = pool(workers=1).start()
    revision = daemon.insert("page", "follow", {"end": end})
    assert daemon.ended(revision)["status"] == status
    rows = daemon.sql("SELECT item_key, id FROM revisions WHERE id > %s ORDER BY id", revision)
    assert [row["item_key"] for row in rows] == followers
    for row in rows:
        assert daemon.ended(row["id"])["status"] == "completed"
    if end != "crash":
        kind = {"": "normal", "fail": "failed"}[end]
        until(lambda: [entry[-1] for entry in daemon.entries("callback", revision)] == [kind], what="the callback")
    assert daemon.stop() == 0


def test_a_worker_that_leaves_waits_for_its_callbacks(pool: Pool) -> None:
    """A stop right after the outcome: the callback that has begun comes to its end."""
    daemon = pool(workers=1).start()
    revision = daemon.insert("page", "follow", {"callback": 0.4})
    assert daemon.ended(revision)["status"] == "completed"
    assert daemon.stop() == 0
    assert [entry[-1] for entry in daemon.entries("callback", revision)] == ["normal"]
