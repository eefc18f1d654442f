"""The daemon with the PostgreSQL that it brings itself: it starts, survives everything being killed, and stops last."""

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.daemon import ORPHANS_GONE, Daemon, until
from workerpool.store.embedded import Server


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """A daemon with no database configured, in a home of its own whose path is short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="workerpool-test-"))
    made = Daemon(None, folder, shutdown_grace="5s")
    try:
        yield made
    finally:
        made.url = Server(folder / "home").url()
        made.clear()
        shutil.rmtree(folder, ignore_errors=True)


def start(daemon: Daemon) -> None:
    """Start it without a database URL, and give the test its own connection."""
    daemon.url = None
    daemon.start()
    daemon.url = Server(daemon.folder / "home").url()


def test_everything_killed_and_started_again_keeps_the_data(daemon: Daemon) -> None:
    """kill -9 of manager, server, keeper and workers in one instant: the next start recovers by itself, finished work
    is still finished, interrupted work is done, nobody is charged; a TERM then stops the server last, cleanly.
    """
    start(daemon)
    done = daemon.insert("page", "work")
    finished = daemon.ended(done)
    running = daemon.insert("page", "work", {"seconds": 1000})
    daemon.begun(running)
    daemon.sql("UPDATE revisions SET payload = '{}' WHERE id = %s", running)
    daemon.connection.close()
    for pid in [daemon.pid, *daemon.others()]:
        with contextlib.suppress(ProcessLookupError):  # a child may end with its manager before its turn comes
            os.kill(pid, signal.SIGKILL)
    daemon.code()
    until(lambda: not daemon.others(), ORPHANS_GONE, "every process gone")
    start(daemon)
    assert daemon.row(done) == finished
    row = daemon.ended(running)
    assert (row["status"], row["attempt"], row["crash_count"]) == ("completed", 1, 0)
    daemon.connection.close()
    assert daemon.stop() == 0
    ended = [each["child"] for each in daemon.events("child.exited")]
    assert ended[-1] == "postgres"
    assert daemon.events("child.exited", child="postgres")[-1]["level"] == "info"


def test_a_killed_manager_takes_its_server_along(daemon: Daemon) -> None:
    """kill -9 of the manager alone: the server is gone within 2 s too, and the next start works."""
    start(daemon)
    daemon.connection.close()
    daemon.send(signal.SIGKILL)
    daemon.code()
    until(lambda: not daemon.others(), ORPHANS_GONE, "every process gone")
    start(daemon)
    assert daemon.ended(daemon.insert("page", "work"))["status"] == "completed"
    daemon.connection.close()
    assert daemon.stop() == 0


def test_a_killed_server_comes_back_under_the_pool(daemon: Daemon) -> None:
    """kill -9 of the server: the manager starts it again, workers wait for it, nothing is lost or doubled."""
    start(daemon)
    revision = daemon.insert("page", "work", {"seconds": 1.5})
    daemon.begun(revision)
    daemon.connection.close()
    os.kill(daemon.child("postgres"), signal.SIGKILL)
    daemon.event("child.exited", child="postgres")
    until(lambda: len(daemon.events("database.regained")) >= 2, what="the workers are back")
    row = daemon.ended(revision)
    assert (row["status"], row["attempt"]) == ("completed", 1)
    assert len(daemon.entries("end", revision)) == 1
    daemon.connection.close()
    assert daemon.stop() == 0
