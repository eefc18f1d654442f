"""A crash stays small (P5), nothing is orphaned (P8), and what a dead process held goes on."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.process.daemon import ORPHANS_GONE, Daemon, gone, until

Pool = Callable[..., Daemon]
SLOT_BACK = 2.0


def test_a_killed_worker_is_back_within_two_seconds_and_its_revision_is_retried(pool: Pool) -> None:
    """kill -9 of a worker in a handler: the slot is back within 2 s, the revision is retried with one crash and the
    signal in its error, its item's next revision waits for it.
    """
    daemon = pool().start()
    first = daemon.insert("page", "work", {"seconds": 60})
    second = daemon.insert("page", "work")
    worker = daemon.begun(first)
    daemon.sql("UPDATE revisions SET payload = '{}' WHERE id = %s", first)
    os.kill(worker, signal.SIGKILL)
    killed = time.monotonic()
    slot = daemon.events("child.started", pid=worker)[0]["child"]
    daemon.pid_of_child(slot, other_than=worker)
    assert time.monotonic() - killed < SLOT_BACK
    one, two = daemon.ended(first), daemon.ended(second)
    assert (one["status"], one["crash_count"], one["attempt"]) == ("completed", 1, 2)
    assert "SIGKILL" in one["error_message"]
    assert "signal 9" in one["error_message"]
    assert one["error_kind"] == "crash"
    assert (two["status"], two["crash_count"], two["attempt"]) == ("completed", 0, 1)
    assert two["started_at"] >= one["completed_at"]
    assert daemon.stop() == 0
