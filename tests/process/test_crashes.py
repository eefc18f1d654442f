"""A crash stays small (P5), nothing is orphaned (P8), and what a dead process held goes on."""

import os
import signal
import time
from collections.abc import Callable

from tests.process.daemon import ORPHANS_GONE, Daemon, gone, until

Pool = Callable[..., Daemon]
SLOT_BACK = 2.0


def slot_of(daemon: Daemon, worker: int) -> str:
    """The place that a process was started in."""
    return str(daemon.events("child.started", pid=worker)[0]["child"])


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
    daemon.pid_of_child(slot_of(daemon, worker), other_than=worker)
    assert time.monotonic() - killed < SLOT_BACK
    one, two = daemon.ended(first), daemon.ended(second)
    assert (one["status"], one["crash_count"], one["attempt"]) == ("completed", 1, 2)
    assert "SIGKILL" in one["error_message"]
    assert "signal 9" in one["error_message"]
    assert one["error_kind"] == "crash"
    assert (two["status"], two["crash_count"], two["attempt"]) == ("completed", 0, 1)
    assert two["started_at"] >= one["completed_at"]
    assert daemon.stop() == 0


def test_what_a_killed_worker_had_claimed_ahead_is_given_back_uncounted(pool: Pool) -> None:
    """Only the revision that ran is charged for the death of its worker (R22)."""
    daemon = pool(workers=1).start()
    # Short work makes the worker claim ahead; then one is slow before the attendant can clear the desk.
    daemon.sql("INSERT INTO revisions (item_key, handler) SELECT 'warm' || n, 'work' FROM generate_series(1, 400) n")
    until(lambda: daemon.sql("SELECT 1 FROM revisions WHERE status = 'completed' HAVING count(*) = 400"), what="warm")
    rows = daemon.sql(
        "INSERT INTO revisions (item_key, handler) SELECT 'item' || n, CASE n WHEN 20 THEN 'segfault' ELSE 'work' END "
        "FROM generate_series(1, 60) n RETURNING id, handler"
    )
    bad = next(row["id"] for row in rows if row["handler"] == "segfault")
    assert daemon.ended(bad)["error_kind"] == "poison"
    for row in rows:
        if row["id"] != bad:
            ended = daemon.ended(row["id"])
            assert (ended["status"], ended["attempt"], ended["crash_count"]) == ("completed", 1, 0)


def test_a_killed_manager_leaves_no_process_and_a_new_start_finishes_everything(pool: Pool) -> None:
    """kill -9 of the manager: after 2 s no child is left, nor a grandchild in a session of its own; the next start
    needs no manual step, finishes everything, and charges nobody.
    """
    daemon = pool().start()
    revision = daemon.insert("page", "family")
    later = daemon.insert("page", "work")
    other = daemon.insert("other", "work", {"seconds": 1000})
    daemon.begun(revision)
    daemon.begun(other)
    family = [int(pid) for pid in daemon.entries("family", revision)[0][5:]]
    assert not any(gone(pid) for pid in family)
    daemon.send(signal.SIGKILL)
    daemon.code()
    until(lambda: not daemon.others(), ORPHANS_GONE, "every process gone")
    assert all(gone(pid) for pid in family)
    daemon.sql("UPDATE revisions SET payload = '{\"seconds\": 0}'")
    daemon.start()
    for each in (revision, later, other):
        row = daemon.ended(each)
        assert (row["status"], row["attempt"], row["crash_count"]) == ("completed", 1, 0)
    assert daemon.stop() == 0


def test_everything_killed_at_once_leaves_rows_that_the_next_start_takes_up(pool: Pool) -> None:
    """Manager, keeper and workers killed in one instant: nothing is lost, and nobody is charged."""
    daemon = pool().start()
    revision = daemon.insert("page", "work", {"seconds": 1000})
    daemon.begun(revision)
    for pid in [daemon.pid, *daemon.others()]:
        os.kill(pid, signal.SIGKILL)
    daemon.code()
    daemon.sql("UPDATE revisions SET payload = '{}'")
    daemon.start()
    row = daemon.ended(revision)
    assert (row["status"], row["attempt"], row["crash_count"]) == ("completed", 1, 0)


def test_a_killed_keeper_comes_back_and_leases_go_on(pool: Pool) -> None:
    """kill -9 of the keeper: it comes back, a running revision keeps its lease, and deaths are settled again."""
    daemon = pool().start()
    revision = daemon.insert("page", "work", {"seconds": 4})
    worker = daemon.begun(revision)
    keeper = daemon.child("keeper")
    os.kill(keeper, signal.SIGKILL)
    daemon.pid_of_child("keeper", other_than=keeper)
    lease = daemon.row(revision)["lease_expires_at"]
    until(lambda: daemon.row(revision)["lease_expires_at"] > lease, what="a renewal by the new keeper")
    assert daemon.ended(revision)["attempt"] == 1
    again = daemon.insert("page", "work", {"seconds": 60})
    worker = daemon.begun(again)
    os.kill(daemon.child("keeper"), signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    daemon.sql("UPDATE revisions SET payload = '{}' WHERE id = %s", again)
    row = daemon.ended(again)
    assert (row["status"], row["crash_count"]) == ("completed", 1)
    assert daemon.stop() == 0


def test_a_manager_that_stood_still_is_not_late_for_anything(pool: Pool) -> None:
    """SIGSTOP of the manager for three leases: leases hold, revisions go on, and when it continues it kills and starts
    nobody but the successor of the one that died meanwhile.
    """
    daemon = pool(workers=3).start()
    long = daemon.insert("long", "work", {"seconds": 8})
    victim = daemon.insert("victim", "work", {"seconds": 60})
    daemon.begun(long)
    worker = daemon.begun(victim)
    started = len(daemon.events("child.started"))
    os.kill(daemon.pid, signal.SIGSTOP)
    stopped = time.monotonic()
    try:
        daemon.sql("UPDATE revisions SET payload = '{}' WHERE id = %s", victim)
        os.kill(worker, signal.SIGKILL)
        for number in range(50):
            assert daemon.ended(daemon.insert(f"short{number}", "work"))["attempt"] == 1
        until(lambda: time.monotonic() - stopped > 6, what="three leases")
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    one, two = daemon.ended(long), daemon.ended(victim)
    assert (one["status"], one["attempt"], one["crash_count"]) == ("completed", 1, 0)
    assert (two["status"], two["attempt"], two["crash_count"]) == ("completed", 2, 1)
    assert len(daemon.events("child.started")) == started + 1
    assert daemon.stop() == 0


def test_a_handler_that_always_crashes_is_poison_and_costs_no_slot(pool: Pool) -> None:
    """A segfault at every attempt: failed as poison after three, other items undisturbed, no slot given up even where
    none may restart.
    """
    daemon = pool(max_restarts=0).start()
    bad = daemon.insert("bad", "segfault", max_attempts=10)
    good = [daemon.insert(f"good{n}", "work", {"seconds": 0.3}) for n in range(10)]
    row = daemon.ended(bad)
    assert (row["status"], row["error_kind"], row["attempt"], row["crash_count"]) == ("failed", "poison", 3, 3)
    assert "SIGSEGV" in row["error_message"]
    assert any("Segmentation fault" in line for line in daemon.lines(bad))
    for each in good:
        assert daemon.ended(each)["attempt"] == 1
    assert not daemon.events("slot.gave_up")
    after = daemon.insert("bad", "work")
    assert daemon.ended(after)["status"] == "completed"
    assert daemon.stop() == 0


def test_an_exit_in_a_handler_is_a_crash_whatever_its_status(pool: Pool) -> None:
    """os._exit with any status, those of our own exits included, and os.abort: a crash is recorded, never a success
    and never an attempt that does not count.
    """
    daemon = pool(workers=3, max_crashes=1).start()
    statuses = (0, 3, 4, 5, 7, 75, 78)
    exits = {status: daemon.insert(f"exit{status}", "exit", {"status": status}) for status in statuses}
    aborted = daemon.insert("abort", "abort")
    for status, each in exits.items():
        row = daemon.ended(each)
        assert (row["status"], row["error_kind"], row["crash_count"]) == ("failed", "poison", 1), status
        assert f"status {status}" in row["error_message"]
    assert "SIGABRT" in daemon.ended(aborted)["error_message"]
    assert daemon.stop() == 0


def test_crashes_of_different_revisions_in_a_row_are_charged_to_the_slot(pool: Pool) -> None:
    """A broken library must not poison a whole backlog: where every revision crashes and none completes, the slots are
    given up, and the pool ends with 75 (R24).
    """
    # By the luck of its back-off a revision may come back before another is tried, which is charged to it alone: it has
    # attempts enough, so that none fails of that.
    daemon = pool(workers=1, max_restarts=1, max_crashes=50).start()
    rows = [daemon.insert(f"item{n}", "segfault", max_attempts=50) for n in range(8)]
    assert daemon.code() == 75
    assert daemon.events("slot.gave_up", child="W1")
    assert [daemon.row(each)["status"] for each in rows] == ["pending"] * len(rows)


def test_a_stopped_worker_is_replaced_after_its_lease(pool: Pool) -> None:
    """SIGSTOP of a worker for longer than its lease: it is killed and replaced, its revision is retried (R20)."""
    daemon = pool(lease="2s", heartbeat="200ms").start()
    revision = daemon.insert("page", "work", {"seconds": 60})
    worker = daemon.begun(revision)
    daemon.sql("UPDATE revisions SET payload = '{}'")
    os.kill(worker, signal.SIGSTOP)
    row = daemon.ended(revision)
    assert (row["status"], row["crash_count"], row["attempt"]) == ("completed", 1, 2)
    assert "stopped for longer than its lease" in row["error_message"]
    assert gone(worker)


def test_a_ghost_can_write_nothing(pool: Pool) -> None:
    """A worker that was stopped while its revision was rescued and finished by another changes nothing when it goes on:
    its outcome, progress and log lines are refused (R16).
    """
    daemon = pool(lease="30s", heartbeat="1s").start()
    revision = daemon.insert("page", "ghost", {"seconds": 0.5})
    worker = daemon.begun(revision)
    os.kill(worker, signal.SIGSTOP)
    # What another host's keeper would do after the lease.
    token = daemon.row(revision)["claim_token"]
    daemon.sql(
        "SELECT settle(ARRAY[%s::bigint], ARRAY[%s::uuid], "
        "'{retried}', '{NULL}', '{rescued}', '{crash}', '{0}', '{true}')",
        revision,
        token,
    )
    other = daemon.begun(revision, attempt=2)
    assert other != worker
    done = daemon.ended(revision)
    os.kill(worker, signal.SIGCONT)
    daemon.event("revision.fenced", revision_id=revision)
    assert daemon.row(revision) == done
    assert done["result"] == {"attempt": 2}
    assert not [line for line in daemon.lines(revision) if line == "attempt 1 is at its end"]
    assert daemon.stop() == 0


def test_a_handler_that_holds_the_interpreter_lock_is_not_run_twice(pool: Pool) -> None:
    """Three leases long nothing of the worker's Python runs: its lease is renewed all the same, by the keeper."""
    daemon = pool(lease="1s", heartbeat="200ms").start()
    revision = daemon.insert("page", "greedy", {"seconds": 3.5})
    row = daemon.ended(revision)
    assert (row["status"], row["attempt"], row["crash_count"]) == ("completed", 1, 0)
    assert len(daemon.entries("begin", revision)) == 1
    assert daemon.stop() == 0
