"""Limits are kept: of an attempt by a kill where asking does not help, of a worker by a replacement in order."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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


#: Seconds beyond its limit after which an attempt has ended, whatever it does.
ALLOWANCE = 5.0
MOST_MEMORY = 150 << 20


def limited(pool: Pool, **settings: object) -> Daemon:
    """A started pool of two workers with the handlers that go beyond their limits."""
    return pool(handlers=Path(__file__).parent / "limit_handlers.py", max_restarts=0, **settings).start()


def fails(daemon: Daemon, revision: int, within: float, kind: str, told: str) -> None:
    """The only attempt of *revision* ends within so many seconds, says why, and is neither a crash nor charged."""
    row = daemon.ended(revision, limit=within + 25.0)
    assert (row["status"], row["error_kind"], row["crash_count"]) == ("failed", kind, 0), row["error_message"]
    assert re.search(told, row["error_message"]), row["error_message"]
    assert (row["completed_at"] - row["started_at"]).total_seconds() < within
    assert not daemon.events("slot.gave_up")


def others_stay_small(daemon: Daemon, offender: int) -> None:
    """No process of ours but the *offender* ever used more than it may: the peak of each, as the kernel kept it."""
    there = {name: daemon.child(name) for name in ("keeper", "W1", "W2")} | {"manager": daemon.pid}
    peaks = {name: peak for name, pid in there.items() if pid != offender and (peak := peak_memory(pid))}
    assert peaks.keys() >= {"keeper", "manager"}
    assert max(peaks.values()) < MOST_MEMORY, peaks


def peak_memory(pid: int) -> int:
    """The most resident bytes that this process ever had; 0: it is gone."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) << 10 if found else 0


def nothing_remains(daemon: Daemon) -> None:
    """The pool goes on, ends in order, and leaves no process."""
    assert daemon.ended(daemon.insert("after", "modest"))["status"] == "completed"
    assert daemon.stop() == 0
    until(lambda: not daemon.others(), 2.0, "every process gone")


@pytest.mark.parametrize(("child", "whose"), [(False, r"\(worker\)"), (True, r"\(worker and 1 process of it\)")])
def test_a_handler_that_allocates_without_end_is_ended_with_the_figure(pool: Pool, child: bool, whose: str) -> None:
    """memory_limit: the worker is killed with its processes, whichever of them it was; the message says how much."""
    daemon = limited(pool)
    revision = daemon.insert("page", "hoard", {"child": child}, max_attempts=1)
    worker = daemon.begun(revision)
    fails(daemon, revision, ALLOWANCE, "error", rf"^it used [\d.]+ MiB of memory, its limit is 200 MiB {whose}$")
    assert daemon.events("child.killed", why="memory")
    others_stay_small(daemon, worker)
    nothing_remains(daemon)


def test_an_attempt_beyond_its_memory_limit_is_tried_again(pool: Pool) -> None:
    """It counts as a failed try like any other, with its line in the log."""
    daemon = limited(pool)
    revision = daemon.insert("page", "hoard", max_attempts=2)
    row = daemon.ended(revision)
    assert (row["status"], row["attempt"], row["crash_count"]) == ("failed", 2, 0)
    assert any(line.startswith("Retry 1/2: it used ") for line in daemon.lines(revision))
    assert daemon.stop() == 0


def test_a_handler_that_holds_the_interpreter_lock_is_ended(pool: Pool) -> None:
    """Nothing in its process can run any more: the manager ends it, at its time limit."""
    daemon = limited(pool)
    revision = daemon.insert("page", "lock", max_attempts=1)
    worker = daemon.begun(revision)
    fails(daemon, revision, 1.0 + ALLOWANCE, "timeout", "took longer than its time limit, and its worker was killed")
    others_stay_small(daemon, worker)
    nothing_remains(daemon)


def test_a_handler_deaf_to_everything_is_ended_with_its_far_grandchild(pool: Pool) -> None:
    """It ignores TERM and every exception; a process in another session holds its output open and ignores TERM too."""
    daemon = limited(pool)
    revision = daemon.insert("page", "deaf", max_attempts=1)
    worker = daemon.begun(revision)
    far = int(daemon.entries("far", revision)[0][5])
    assert not gone(far)
    fails(daemon, revision, 1.0 + ALLOWANCE, "timeout", "took longer than its time limit, and its worker was killed")
    until(lambda: gone(worker) and gone(far), 2.0, "its processes gone")
    others_stay_small(daemon, worker)
    nothing_remains(daemon)


@pytest.mark.parametrize(
    "payload", [{"how": "print"}, {"how": "both", "bytes": 400_000_000}, {"how": "print", "swallow": True}]
)
def test_a_handler_that_prints_a_gigabyte_fails_in_a_process_that_goes_on(pool: Pool, payload: dict[str, Any]) -> None:
    """Both streams count together, and an error that the handler swallowed is not forgotten; nobody is killed, and
    nobody, the offender included, grows.
    """
    daemon = limited(pool)
    revision = daemon.insert("page", "print", payload, max_attempts=1)
    fails(daemon, revision, 10.0, "error", "^it printed more than 256 MiB$")
    assert not daemon.events("child.killed")
    others_stay_small(daemon, offender=0)
    nothing_remains(daemon)


def test_a_handler_that_writes_a_gigabyte_past_python_is_ended(pool: Pool) -> None:
    """The manager reads it, counts it, and ends the worker with the reason; what is kept of it is bounded."""
    daemon = limited(pool)
    revision = daemon.insert("page", "print", {"how": "descriptor"}, max_attempts=1)
    worker = daemon.begun(revision)
    fails(daemon, revision, 10.0, "error", "^it printed more than 256 MiB$")
    assert daemon.events("child.killed", why="output")
    assert len(daemon.lines(revision)) < 600
    others_stay_small(daemon, worker)
    nothing_remains(daemon)


COMMANDS = """
[commands.flood]
argv = ["sh", "-c", "yes 'a line' | head -c 1000000000"]

[commands.limited]
argv = ["sh", "-c", "trap '' TERM; yes 'a line'"]
output_limit = "50MB"
grace = "1s"

[commands.deaf]
argv = ["sh", "-c", "trap '' TERM; setsid sleep 1000 & echo $!; while :; do sleep 0.1; done"]
timeout = "1s"
grace = "1s"
"""


def test_commands_stay_within_their_limits(pool: Pool, tmp_path: Path) -> None:
    """A gigabyte of a command is left out with a message; beyond its output_limit or its timeout it is ended with
    everything it started, though it ignores TERM and a process in another session holds its pipe; the worker goes on.
    """
    (tmp_path / "commands.toml").write_text(COMMANDS)
    daemon = limited(pool, commands=tmp_path / "commands.toml")
    flood, beyond, deaf = (
        daemon.insert(name, "command", {"command": name}, max_attempts=1) for name in ("flood", "limited", "deaf")
    )
    fails(daemon, beyond, 1.0 + ALLOWANCE, "error", "^command 'limited' printed more than 50 MB$")
    fails(daemon, deaf, 2.0 + ALLOWANCE, "timeout", "command 'deaf' took longer than its limit of 1 s and was ended$")
    row = daemon.ended(flood)
    assert row["status"] == "completed"
    assert row["result"]["output_bytes"] == 1_000_000_000
    assert "bytes left out" in row["result"]["output"]
    far = int(daemon.lines(deaf)[0])
    assert gone(far)
    assert not daemon.events("child.killed")
    others_stay_small(daemon, offender=0)
    nothing_remains(daemon)
