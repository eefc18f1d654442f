"""Locks that others hold, sessions that meet, clients that fall silent (F30 to F35): nobody waits for ever.

The daemon is real, the sessions are real; what is locked is locked by a session like psql's.
"""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from tests.faults.hosts import HANDLERS, check_no_overlap
from tests.process.daemon import Daemon, until
from tests.store.driving import Held, Session
from workerpool.core.outcome import Outcome
from workerpool.store.line import FIRST

Pool = Callable[..., Daemon]
GRACE = 1.0
#: Seconds that a statement of ours waits for a lock, and that a transaction may say nothing (store.connection).
LOCK_TIMEOUT, SILENT = 3.0, 10.0
SESSIONS = 16


@pytest.fixture
def pool(database: str, tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Make a daemon on a fresh database; at the end nothing of it may be left."""
    made: list[Daemon] = []

    def make(**settings: object) -> Daemon:
        made.append(Daemon(database, tmp_path, **settings))
        return made[-1]

    yield make
    for each in made:
        each.clear()


@pytest.fixture
def other(database: str) -> Iterator[psycopg.Connection]:
    """A session of somebody else, whose transaction the test ends."""
    with psycopg.connect(database) as connection:
        yield connection


def test_a_locked_table_holds_the_work_and_not_the_stop(pool: Pool, other: psycopg.Connection) -> None:
    """F30: LOCK TABLE revisions: nobody ends because of it, what waited runs when it is over; and while it is held a
    TERM ends within grace + 5 s all the same.
    """
    daemon = pool(shutdown_grace=f"{GRACE}s").start()
    ask = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'workerpool:%%'"
    first = daemon.insert("page", "work")
    daemon.ended(first)
    other.execute("LOCK TABLE workerpool.revisions IN ACCESS EXCLUSIVE MODE")
    until(lambda: daemon.sql(ask), what="somebody of ours waits")
    until(lambda: daemon.events("duty.failed") or daemon.events("database.busy") or _waited(daemon), 20, daemon.tail())
    assert daemon.process is not None
    assert daemon.process.poll() is None
    other.rollback()
    assert daemon.ended(daemon.insert("page", "work"))["attempt"] == 1
    assert not daemon.events("child.restarted")
    other.execute("LOCK TABLE workerpool.revisions IN ACCESS EXCLUSIVE MODE")
    until(lambda: daemon.sql(ask), what="somebody of ours waits again")
    assert daemon.stop(limit=GRACE + 5.0) in (0, 5)
    assert not daemon.others()


def _waited(daemon: Daemon) -> bool:
    # by then a statement that waited has been ended by its lock_timeout: whoever waits has asked later
    rows = daemon.sql(
        "SELECT max(clock_timestamp() - query_start) < %s AS short FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND application_name LIKE 'workerpool:%%'",
        timedelta(seconds=LOCK_TIMEOUT + 1.0),
    )
    return any(row["short"] is False for row in rows)


def test_a_locked_row_holds_its_item_alone(pool: Pool, other: psycopg.Connection) -> None:
    """F30: one row FOR UPDATE: claims go on elsewhere, its item runs when the row is free, in order."""
    daemon = pool().start()
    daemon.sql("SELECT workerpool.pause('all', 'drain', 'a test', 'me', 'me', NULL)")
    held, behind = daemon.insert("held", "work"), daemon.insert("held", "work")
    other.execute("SELECT 1 FROM workerpool.revisions WHERE id = %s FOR UPDATE", [held])
    daemon.sql("SELECT workerpool.resume('all', 'me', 'over', 'me')")
    for each in [daemon.insert(f"item {n}", "work") for n in range(20)]:
        assert daemon.ended(each, 10)["attempt"] == 1
    assert [daemon.row(each)["status"] for each in (held, behind)] == ["pending"] * 2
    other.rollback()
    assert daemon.ended(held)["completed_at"] <= daemon.ended(behind)["started_at"]
    assert daemon.stop() == 0


def test_a_row_that_is_locked_while_it_runs_has_one_attempt_at_a_time(
    database: str, other: psycopg.Connection, tmp_path: Path
) -> None:
    """F30, I2: a running revision's row FOR UPDATE for longer than its lease, which cannot be renewed: another host
    rescues it as soon as the lock is gone, and the first attempt is over by then.
    """
    hosts = [Daemon(database, tmp_path / name, handlers=HANDLERS, workers=1) for name in ("a", "b")]
    for each in hosts:
        each.folder.mkdir()
        each.journal = tmp_path / "journal"
    one, two = hosts
    try:
        one.start()
        revision = one.insert("page", "alive", {"seconds": 1000})
        one.begun(revision)
        two.start()
        other.execute("UPDATE workerpool.revisions SET payload = '{\"seconds\": 0.3}' WHERE id = %s", [revision])
        over = "SELECT 1 FROM revisions WHERE lease_expires_at < clock_timestamp() - interval '1 s'"
        until(lambda: one.sql(over), what="its lease ran out")
        other.commit()
        row = one.ended(revision)
        # Which of the two comes first: who rescues counts a crash, who settles for its own worker does not.
        assert (row["attempt"], row["crash_count"]) in ((2, 1), (1, 0))
        check_no_overlap(one)
        assert [each.stop() for each in hosts] == [0, 0]
    finally:
        for each in hosts:
            each.clear()


def test_a_worker_that_stepped_down_for_a_lock_is_not_charged(pool: Pool, other: psycopg.Connection) -> None:
    """F30: the same on one host: its own keeper settles for who stepped down, and does not rescue from it."""
    daemon = pool(workers=1).start()
    revision = daemon.insert("page", "work", {"seconds": 1000})
    daemon.begun(revision)
    other.execute("UPDATE workerpool.revisions SET payload = '{}' WHERE id = %s", [revision])
    daemon.event("lease.lost")
    daemon.event("duty.failed", duty="bury")
    over = "SELECT 1 FROM revisions WHERE lease_expires_at < clock_timestamp() - interval '1 s'"
    until(lambda: daemon.sql(over), what="its lease ran out")
    other.commit()
    row = daemon.ended(revision)
    assert (row["attempt"], row["crash_count"]) == (1, 0)
    assert not daemon.events("revision.rescued")
    assert daemon.stop() == 0


class Crowd:
    """Sixteen sessions that claim, settle, rescue, prune, cancel and heal the same items, for so many seconds."""

    def __init__(self, database: str, seconds: float) -> None:
        self.database, self.over = database, time.monotonic() + seconds
        self.errors: list[BaseException] = []
        self.counts = dict.fromkeys(("ended", "pruned", "cancelled", "rounds"), 0)
        self.waited = 0
        self.held: dict[str, list[Held]] = {}

    def work(self, me: Session) -> None:
        """Settle what it has and claim more, with a lease that may run out meanwhile."""
        done = [Outcome(each.id, each.token, "completed", result="1") for each in self.held.get(me.name, ())]
        self.held[me.name] = me.turn(*done, how_many=20, lease=0.05)
        self.counts["ended"] += len(me.settled)

    def rescue(self, me: Session) -> None:
        """Take back what has run out."""
        expired = "SELECT id, claim_token FROM {schema}.revisions WHERE lease_expires_at < clock_timestamp() LIMIT 64"
        for number, token in me.sql(expired):
            me.settle(Outcome(number, token, "retried", message="lost", kind="crash"), only_expired=True)

    def prune(self, me: Session) -> None:
        """Delete what has ended."""
        self.counts["pruned"] += me.call("prune", retention=timedelta(0), after=0, how_many=500)[0][0]

    def cancel(self, me: Session) -> None:
        """Cancel a hundred of all."""
        ids = [row[0] for row in me.sql("SELECT id FROM {schema}.revisions ORDER BY random() LIMIT 100")]
        answers = me.call("cancel", ids=ids, why="a test", who="me")
        self.counts["cancelled"] += sum(row[1] == "cancelled" for row in answers)

    def fill(self, me: Session) -> None:
        """Insert for thirty items."""
        me.insert(*(f"item {n % 30}" for n in range(200)))

    def heal(self, me: Session) -> None:
        """Do what a keeper does besides."""
        me.call("heal", after="", how_many=1000)
        me.call("carry_out_cancels", how_many=100)

    def session(self, name: str, do: Callable[[Session], None]) -> None:
        """Do one of these until the time is over."""
        try:
            with Session(self.database, name) as me:
                while time.monotonic() < self.over:
                    try:
                        do(me)
                        self.counts["rounds"] += 1
                    except errors.LockNotAvailable:
                        self.waited += 1  # in a queue of the others for too long; it asks again, as the program does
        except BaseException as error:
            self.errors.append(error)

    def run(self) -> None:
        """Let all do theirs, and wait for them."""
        plan = [*[self.work] * 6, *[self.rescue] * 2, *[self.prune] * 3, *[self.cancel] * 3, self.fill, self.heal]
        assert len(plan) == SESSIONS
        threads = [
            threading.Thread(target=self.session, args=(f"h/{n}.1", do), name=do.__name__) for n, do in enumerate(plan)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join(self.over - time.monotonic() + 60.0)
            assert not each.is_alive(), each.name


@pytest.mark.parametrize("seconds", [4.0, pytest.param(60.0, marks=pytest.mark.long)])
def test_claim_prune_settle_and_bulk_cancel_do_not_deadlock(database: str, seconds: float) -> None:
    """F31: sixteen sessions claim, settle, rescue, prune, cancel and heal the same rows: no 40P01, no other error, each
    of them got something done, and no head is stranded. Whoever stood in the queue of an item for longer than the lock
    timeout asks again: less than a tenth of the sessions' time is lost that way.
    """
    crowd = Crowd(database, seconds)
    crowd.run()
    assert not crowd.errors
    assert crowd.waited * LOCK_TIMEOUT < seconds * SESSIONS / 10
    assert all(crowd.counts.values()), crowd.counts
    with Session(database) as me:
        assert me.heal() == []


def test_a_client_that_falls_silent_in_its_claim_is_ended(database: str) -> None:
    """F32: a claim whose client says nothing any more before its commit (a stopped process): other items are claimed
    meanwhile, who wants its item waits for the lock timeout at most, and after ten seconds the item is free.
    """
    with Session(database, "h/1.1") as silent, Session(database, "h/2.1") as me:
        (stuck,) = me.insert("stuck")
        silent.sql("BEGIN")
        assert [each.id for each in silent.turn()] == [stuck]
        begun = time.monotonic()
        free = me.insert(*(f"item {n}" for n in range(5)))
        assert [each.id for each in me.turn(how_many=10)] == free
        with pytest.raises(errors.LockNotAvailable):
            me.call("cancel", ids=[stuck], why="a test", who="me")
        assert time.monotonic() - begun < LOCK_TIMEOUT + 3.0
        until(lambda: [each.id for each in me.turn()] == [stuck], SILENT + 5.0, "claimed by somebody else")


def test_an_old_snapshot_does_not_make_claims_dear(database: str) -> None:
    """F33: a transaction keeps a snapshot from before thousands of revisions passed, so that nothing of them can be
    cleaned up: a turn looks at less than three times the pages that it looks at without.
    """
    with Session(database, "h/1.1") as me, psycopg.connect(database) as old:
        without = pages_of_a_turn(me)
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT 1 FROM workerpool.revisions LIMIT 1")
        beside = pages_of_a_turn(me)
        assert beside < 3 * without, (beside, without)


def pages_of_a_turn(me: Session) -> float:
    """Let 4,000 revisions of 4,000 items pass; returns how many pages each of the last 50 turns looked at."""
    me.insert(*(f"item {n}" for n in range(4000)))
    me.sql("VACUUM ANALYZE {schema}.revisions")
    looked = (
        "SELECT pg_stat_force_next_flush()::text, heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read"
        " FROM pg_statio_user_tables WHERE relname = 'revisions'"
    )
    held: list[Held] = []
    before = 0
    me.begin_at = FIRST
    for number in range(200):
        if number == 150:
            me.sql(looked)
            before = me.sql(looked)[0][1]
        done = [Outcome(each.id, each.token, "completed", result="1") for each in held]
        held = me.turn(*done, how_many=20, begin=me.begin_at or FIRST)
        assert len(held) == 20
    me.settle(*(Outcome(each.id, each.token, "completed", result="1") for each in held))
    me.sql(looked)
    return float(me.sql(looked)[0][1] - before) / 50


def test_one_connection_of_a_host_listens(pool: Pool) -> None:
    """F35: however many workers a pool has, one of its connections listens; a pool at rest has workers + 2 in all."""
    daemon = pool(workers=5).start()
    ask = "SELECT application_name AS name, query FROM pg_stat_activity WHERE application_name LIKE 'workerpool:%%'"
    until(lambda: len(daemon.sql(ask)) >= 7, what="all are connected")
    daemon.ended(daemon.insert("page", "work"))
    rows = until(lambda: found if len(found := daemon.sql(ask)) == 7 else None, what="7 connections")
    assert rows is not None
    assert sum("LISTEN" in row["query"].upper() for row in rows) == 1
    assert sum(row["name"].endswith("keeper listens") for row in rows) == 1
    assert daemon.stop() == 0
