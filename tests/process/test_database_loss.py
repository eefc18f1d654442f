"""The database goes away and comes back: workers wait, nothing is lost or doubled, and the daemon does not exit."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.process.daemon import ORPHANS_GONE, Daemon, gone, until
from tests.process.own_server import OwnServer

Pool = Callable[..., Daemon]
ITEMS, EACH = 12, 18


@pytest.fixture
def daemon(own: OwnServer, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon on that server, not started; leases outlast the outages here."""
    made = Daemon(own.url, tmp_path, lease="40s", heartbeat="500ms")
    try:
        yield made
    finally:
        made.clear()


def load(daemon: Daemon, seconds: float = 0.02) -> None:
    """Insert work of every kind of length for a dozen items."""
    daemon.sql(
        "INSERT INTO revisions (item_key, handler, payload) "
        "SELECT 'item' || n %% %s, 'work', jsonb_build_object('seconds', (n %% 4) * %s::float) "
        "FROM generate_series(1, %s) n",
        ITEMS,
        seconds,
        ITEMS * EACH,
    )


def check_history(daemon: Daemon) -> None:
    """Every revision was begun once and ended once, in order inside its item, with no overlap."""
    rows = daemon.sql("SELECT id, item_key, status, attempt, started_at, completed_at FROM revisions ORDER BY id")
    begun = {int(each[1]): float(each[4]) for each in daemon.entries("begin")}
    ended = {int(each[1]): float(each[4]) for each in daemon.entries("end")}
    assert len(daemon.entries("begin")) == len(daemon.entries("end")) == len(rows) == len(begun) == len(ended)
    assert {(row["status"], row["attempt"]) for row in rows} == {("completed", 1)}
    last: dict[str, int] = {}
    for row in rows:
        before = last.get(row["item_key"])
        if before is not None:
            assert ended[before] <= begun[row["id"]], f"{before} and {row['id']} of {row['item_key']} overlap"
        last[row["item_key"]] = row["id"]


def all_done(daemon: Daemon) -> None:
    """Wait until nothing is pending or processing."""
    busy = "SELECT 1 FROM revisions WHERE status IN ('pending', 'processing') LIMIT 1"
    until(lambda: not daemon.sql(busy), 60, f"all done\n{daemon.tail()}")


def two_heartbeats() -> None:
    """Let so much time go by that everybody has asked the database something."""
    begun = time.monotonic()
    until(lambda: time.monotonic() - begun > 1.1, what="two heartbeats")


def outage(own: OwnServer, daemon: Daemon, number: signal.Signals, seconds: float) -> None:
    """Stop the server under load, keep it down, start it again, and look at what became of everything."""
    daemon.start()
    load(daemon)
    until(lambda: len(daemon.entries("end")) > ITEMS * EACH / 4, what="under way")
    daemon.connection.close()
    own.stop(number)
    down = time.monotonic()
    daemon.event("database.lost", role="worker")
    daemon.event("database.lost", role="keeper")
    until(lambda: time.monotonic() - down > seconds, what="the outage over")
    assert daemon.process is not None
    assert daemon.process.poll() is None
    own.start()
    all_done(daemon)
    check_history(daemon)
    assert not daemon.events("child.restarted")
    assert daemon.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_an_outage_under_load_loses_and_doubles_nothing(own: OwnServer, daemon: Daemon, number: signal.Signals) -> None:
    """PostgreSQL stopped, or crashed, for some seconds under load: every revision runs exactly once."""
    outage(own, daemon, number, 3.0)


@pytest.mark.long
def test_an_outage_of_twenty_seconds_loses_and_doubles_nothing(own: OwnServer, daemon: Daemon) -> None:
    """The same, for twenty seconds."""
    outage(own, daemon, signal.SIGINT, 20.0)


def test_any_connection_may_be_cut_at_any_time(pool: Pool) -> None:
    """pg_terminate_backend of each connection in turn, under load: each comes back, nothing is lost or doubled."""
    daemon = pool(lease="40s").start()
    load(daemon)
    for _ in range(3):
        for role in ("keeper", "keeper listens", "worker W1", "worker W2"):
            name = f"workerpool:%:{role}"
            cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s"
            until(lambda name=name, cut=cut: daemon.sql(cut, name), what=f"a connection of {role}")
    all_done(daemon)
    check_history(daemon)
    # The listener listens again: an idle pool hears an insert long before it would look.
    latest = daemon.insert("late", "work")
    assert daemon.ended(latest)["status"] == "completed"
    assert not daemon.events("child.restarted")
    assert daemon.stop() == 0


def test_an_idle_pool_whose_sessions_were_lost_ends_cleanly(own: OwnServer, daemon: Daemon) -> None:
    """All sessions are ended while nobody has anything to do, and the pool is stopped before it noticed: nothing is
    held, and the database is there, so that the exit code is 0.
    """
    daemon.start()
    workers = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'workerpool:%worker%'"
    with psycopg.connect(own.admin, autocommit=True) as connection:
        assert len(connection.execute(workers).fetchall()) == 2
    assert daemon.stop() == 0
    assert daemon.events("database.regained", role="worker")


def test_a_worker_that_dies_during_the_outage_is_replaced_and_waits(own: OwnServer, daemon: Daemon) -> None:
    """Workers killed while the database is away: the new ones wait for it, no slot is given up, the crash is recorded
    when the database is back.
    """
    daemon.start()
    revision = daemon.insert("page", "work", {"seconds": 1000})
    worker = daemon.begun(revision)
    daemon.sql("UPDATE revisions SET payload = '{}'")
    daemon.connection.close()
    own.stop()
    os.kill(worker, signal.SIGKILL)
    until(lambda: len(daemon.events("database.waited")) > 4, what="a worker waits")
    own.start()
    row = daemon.ended(revision)
    assert (row["status"], row["attempt"], row["crash_count"]) == ("completed", 2, 1)
    assert not daemon.events("slot.gave_up")
    assert daemon.stop() == 0


def test_a_stop_while_the_database_is_away_keeps_its_bounds(own: OwnServer, daemon: Daemon) -> None:
    """TERM during an outage, with one worker that runs, one that waits, one that starts: exit within grace + 5 s with
    5; the next start gives back what was left, uncounted.
    """
    daemon.settings |= {"workers": 3, "shutdown_grace": "1s"}
    daemon.start()
    revision = daemon.insert("page", "work", {"seconds": 1.5})
    worker = daemon.begun(revision)
    daemon.connection.close()
    own.stop()
    idle = next(pid for pid in (daemon.child(f"W{n}") for n in (1, 2, 3)) if pid != worker)
    os.kill(idle, signal.SIGKILL)
    daemon.event("database.waited")
    daemon.send(signal.SIGTERM)
    assert daemon.code(6.0) == 5
    assert not daemon.others()
    own.start()
    daemon.start()
    row = daemon.ended(revision)
    assert (row["status"], row["attempt"], row["crash_count"]) == ("completed", 1, 0)


def test_a_database_that_hangs_holds_nobody_up(own: OwnServer, daemon: Daemon) -> None:
    """Every process of the server stopped: a killed manager leaves nothing behind within 2 s all the same, and a TERM
    ends within grace + 5 s.
    """
    daemon.settings |= {"shutdown_grace": "1s"}
    daemon.start()
    revision = daemon.insert("page", "family", {"seconds": 1000})
    daemon.begun(revision)
    family = [int(pid) for pid in daemon.entries("family", revision)[0][5:]]
    own.freeze(signal.SIGSTOP)
    try:
        two_heartbeats()
        daemon.send(signal.SIGKILL)
        daemon.code()
        until(lambda: not daemon.others(), ORPHANS_GONE, "every process gone")
        assert all(gone(pid) for pid in family)
    finally:
        own.freeze(signal.SIGCONT)
    daemon.sql("UPDATE revisions SET payload = '{\"seconds\": 0}'")
    daemon.start()
    assert daemon.ended(revision)["attempt"] == 1
    own.freeze(signal.SIGSTOP)
    try:
        two_heartbeats()
        daemon.send(signal.SIGTERM)
        assert daemon.code(6.0) == 5
    finally:
        own.freeze(signal.SIGCONT)


def test_a_handler_that_reads_its_base_during_an_outage_waits(own: OwnServer, daemon: Daemon, tmp_path: Path) -> None:
    """job.base while the database is away: the handler waits for it, and is not charged for the loss."""
    daemon.start()
    daemon.sql("INSERT INTO items (item_key, original) VALUES ('page', '\"the original\"')")
    signal_file = tmp_path / "go"
    revision = daemon.insert("page", "base", {"after": str(signal_file)})
    daemon.begun(revision)
    daemon.connection.close()
    own.stop()
    signal_file.touch()
    two_heartbeats()
    assert not daemon.entries("end", revision)
    own.start()
    row = daemon.ended(revision)
    assert (row["status"], row["attempt"], row["result"]) == ("completed", 1, {"base": "the original"})


def test_a_lock_that_somebody_holds_stops_neither_leases_nor_shutdown(pool: Pool) -> None:
    """An item locked by a session for long: a dead worker's revision of it waits, other leases are renewed, work on
    other items goes on, and the stop keeps its bounds.
    """
    daemon = pool(workers=3, shutdown_grace="1s").start()
    stuck = daemon.insert("stuck", "work", {"seconds": 1000})
    other = daemon.insert("other", "work", {"seconds": 4})
    worker = daemon.begun(stuck)
    daemon.begun(other)
    assert daemon.url is not None
    with psycopg.connect(daemon.url) as holder:
        holder.execute("SELECT pg_advisory_xact_lock(workerpool.item_lock('stuck'))")
        os.kill(worker, signal.SIGKILL)
        daemon.event("duty.failed", duty="bury")
        third = daemon.insert("third", "work")
        assert daemon.ended(third)["status"] == "completed"
        assert daemon.ended(other)["attempt"] == 1
    daemon.sql("UPDATE revisions SET payload = '{}' WHERE id = %s", stuck)
    assert daemon.ended(stuck)["crash_count"] == 1
    assert daemon.stop() == 0
