"""A cancel ends what waits at once and what runs soon, whatever it is doing, and never undoes what is done."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.process.daemon import Daemon, until

Pool = Callable[..., Daemon]
STAMP = "UPDATE revisions SET cancel_requested_at = now() WHERE id = %s"


def test_plain_sql_cancels_what_waits_and_its_item_goes_on(pool: Pool) -> None:
    """A stamp by any SQL client: the revision ends cancelled without having run, and the next of the item runs."""
    daemon = pool(workers=1).start()
    running = daemon.insert("page", "work", {"seconds": 1.5})
    waiting = daemon.insert("page", "work")
    after = daemon.insert("page", "work")
    daemon.begun(running)
    daemon.sql(STAMP, waiting)
    assert until(lambda: daemon.row(waiting)["status"] == "cancelled", 1.0), "not within a second"
    assert daemon.ended(after)["status"] == "completed"
    assert daemon.row(running)["status"] == "completed"
    assert not daemon.entries("begin", waiting)
    assert daemon.stop() == 0


@pytest.mark.parametrize("handler", ["work", "await"])
def test_running_handler_is_asked_within_a_second(pool: Pool, handler: str) -> None:
    """A checkpoint, or the next await, ends it; the attempt is cancelled, not failed, and its worker lives on."""
    daemon = pool(workers=1).start()
    worker = daemon.child("W1")
    revision = daemon.insert("page", handler, {"seconds": 1000})
    after = daemon.insert("page", "work")
    daemon.begun(revision)
    asked = time.monotonic()
    daemon.sql(STAMP, revision)
    row = daemon.ended(revision, 5.0)
    assert time.monotonic() - asked < 2.0
    assert (row["status"], row["error_kind"]) == ("cancelled", "cancelled")
    assert daemon.ended(after)["status"] == "completed"
    assert daemon.child("W1") == worker
    assert daemon.stop() == 0


@pytest.mark.parametrize("handler", ["stubborn", "greedy"])
def test_handler_that_does_not_listen_is_ended_after_the_grace(pool: Pool, handler: str) -> None:
    """One that never looks, or holds the interpreter lock: its worker is killed after the cancel grace, uncharged."""
    daemon = pool(workers=1, cancel_grace="1s", max_restarts=1).start()
    for _ in range(2):
        revision = daemon.insert("page", handler)
        daemon.begun(revision)
        asked = time.monotonic()
        daemon.sql(STAMP, revision)
        row = daemon.ended(revision)
        assert 0.9 < time.monotonic() - asked < 4.0
        assert (row["status"], row["crash_count"]) == ("cancelled", 0)
        assert "cancel grace" in row["error_message"]
    after = daemon.insert("page", "work")
    assert daemon.ended(after)["status"] == "completed", "cancels do not eat the slot's restarts"
    assert daemon.stop() == 0


def test_cancelled_attempt_does_not_cancel_the_next(pool: Pool) -> None:
    """What was asked of one attempt is not asked of a later one of the same revision, in the same place."""
    daemon = pool(workers=1).start()
    revision = daemon.insert("page", "work", {"seconds": 1000})
    daemon.begun(revision)
    daemon.sql(STAMP, revision)
    assert daemon.ended(revision)["status"] == "cancelled"
    daemon.sql("UPDATE revisions SET payload = payload WHERE id = %s", revision)
    daemon.sql("SELECT set_config('workerpool.actor', 'test', false)")
    daemon.sql("UPDATE revisions SET payload = '{\"seconds\": 0.3}' WHERE id = %s", revision)
    assert daemon.sql("SELECT answer FROM retry(%s, 'test')", [revision]) == [{"answer": "retried"}]
    assert daemon.ended(revision)["status"] == "completed"
    assert daemon.stop() == 0
