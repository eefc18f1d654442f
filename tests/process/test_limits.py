"""Time limits are kept, by a kill where asking does not help; memory and number of revisions by a replacement."""

from collections.abc import Callable

from tests.process.daemon import Daemon, gone, until

Pool = Callable[..., Daemon]


def test_a_handler_that_sleeps_past_its_limit_is_killed(pool: Pool) -> None:
    """timeout_seconds is over and the handler does not look: its worker is killed with the handler's processes, the
    revision fails as a timeout and not as a crash, the slot is back uncharged.
    """
    daemon = pool(max_restarts=0).start()
    revision = daemon.insert("page", "family", timeout_seconds=0.5, max_attempts=1)
    worker = daemon.begun(revision)
    family = [int(pid) for pid in daemon.entries("family", revision)[0][5:]]
    row = daemon.ended(revision, limit=6.0)
    assert (row["status"], row["error_kind"], row["attempt"], row["crash_count"]) == ("failed", "timeout", 1, 0)
    assert gone(worker)
    until(lambda: all(gone(pid) for pid in family), 2.0, "its processes gone")
    assert daemon.ended(daemon.insert("page", "work"))["status"] == "completed"
    assert not daemon.events("slot.gave_up")
    assert daemon.stop() == 0


def test_a_handler_that_looks_ends_at_its_limit_without_a_kill(pool: Pool) -> None:
    """A handler that calls job.checkpoint() ends as a timeout, in the process that goes on; the limit of the row wins
    over the handler's and the pool's, and a timeout is retried.
    """
    daemon = pool(timeout="700ms", workers=1).start()
    worker = daemon.child("W1")
    own = daemon.insert("page", "timed", timeout_seconds=0.2)
    pools = daemon.insert("other", "timed", max_attempts=2)
    for revision, attempts in ((own, 1), (pools, 2)):
        row = daemon.ended(revision)
        assert (row["status"], row["error_kind"], row["attempt"]) == ("failed", "timeout", attempts)
        took = (row["completed_at"] - row["started_at"]).total_seconds()
        assert took < 2.0
    assert not daemon.events("child.killed")
    assert daemon.child("W1") == worker
    assert daemon.stop() == 0


def test_a_worker_is_replaced_after_its_number_of_revisions(pool: Pool) -> None:
    """WORKERPOOL_MAX_REVISIONS: the worker leaves in order after so many and is replaced; no revision notices, and no
    slot is charged.
    """
    daemon = pool(workers=1, max_revisions=5, max_restarts=0).start()
    rows = [daemon.insert(f"item{n}", "work") for n in range(20)]
    assert {daemon.ended(each)["attempt"] for each in rows} == {1}
    assert len(daemon.events("child.started", child="W1")) >= 4
    assert all(each["status"] == 0 for each in daemon.events("child.exited", child="W1"))
    assert daemon.stop() == 0


def test_a_worker_that_has_grown_is_replaced(pool: Pool) -> None:
    """WORKERPOOL_MAX_RSS: a worker that uses more after a revision leaves in order and is replaced, uncharged."""
    daemon = pool(workers=1, max_rss="150MiB", max_restarts=0).start()
    first = daemon.child("W1")
    revision = daemon.insert("page", "grow", {"megabytes": 200})
    assert daemon.ended(revision)["status"] == "completed"
    daemon.pid_of_child("W1", other_than=first)
    assert daemon.ended(daemon.insert("page", "work"))["attempt"] == 1
    assert daemon.stop() == 0
