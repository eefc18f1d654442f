"""Shutdown is bounded and kind (P6): finish, then cancel, then kill; what did not finish is not counted."""

import os
import random
import signal
import time
from collections.abc import Callable

import pytest

from tests.process.daemon import PATIENCE, Daemon, gone, until

Pool = Callable[..., Daemon]
GRACE = 1.0


@pytest.mark.parametrize("handler", ["stubborn", "greedy", "family"])
def test_a_handler_that_ignores_everything_cannot_delay_the_end(pool: Pool, handler: str) -> None:
    """SIGTERM with a handler that ignores every request, or holds the interpreter lock for ever: exit within
    grace + 5 s, code 5, the revision pending again and its attempt not counted, its processes gone.
    """
    daemon = pool(shutdown_grace=f"{GRACE}s").start()
    revision = daemon.insert("page", handler)
    daemon.begun(revision)
    asked = time.monotonic()
    daemon.send(signal.SIGTERM)
    assert daemon.code(GRACE + 5.0) == 5
    assert time.monotonic() - asked >= GRACE
    row = daemon.row(revision)
    assert (row["status"], row["attempt"], row["crash_count"], row["claim_token"]) == ("pending", 0, 0, None)
    assert not daemon.others()
    assert not daemon.entries("end", revision)


def test_handlers_that_finish_in_time_make_a_clean_end(pool: Pool) -> None:
    """SIGTERM with handlers that finish within the grace: their outcomes are written, nothing more is claimed, code 0;
    a TERM repeated five times, or sent to the whole process group, changes nothing of that.
    """
    daemon = pool().start(group=True)
    running = [daemon.insert(f"item{n}", "work", {"seconds": 1.0}) for n in range(2)]
    waiting = [daemon.insert(f"item{n}", "work") for n in range(2)]
    for each in running:
        daemon.begun(each)
    for _ in range(3):
        daemon.send(signal.SIGTERM)
    for _ in range(2):
        os.killpg(daemon.pid, signal.SIGTERM)
    assert daemon.code() == 0
    assert [daemon.row(each)["status"] for each in running] == ["completed"] * 2
    assert [daemon.row(each)["status"] for each in waiting] == ["pending"] * 2
    assert len(daemon.events("manager.stopping")) == 1
    assert "Traceback" not in daemon.text()
    states = {row["state"] for row in daemon.sql("SELECT state FROM workers")}
    assert states == {"gone"}


def test_a_handler_that_looks_at_its_token_gives_back_within_the_grace(pool: Pool) -> None:
    """At the end of the grace a handler is cancelled first: one that looks leaves in order, and is not counted."""
    daemon = pool(shutdown_grace="300ms").start()
    revision = daemon.insert("page", "work", {"seconds": 1000})
    daemon.begun(revision)
    daemon.send(signal.SIGTERM)
    daemon.code(0.3 + 5.0)
    row = daemon.row(revision)
    assert (row["status"], row["attempt"], row["crash_count"]) == ("pending", 0, 0)
    assert not daemon.events("child.killed")


@pytest.mark.parametrize(
    "numbers", [(signal.SIGQUIT,), (signal.SIGTERM, signal.SIGINT), (signal.SIGINT, signal.SIGINT)]
)
def test_a_quick_stop_ends_within_five_seconds(pool: Pool, numbers: list[signal.Signals]) -> None:
    """QUIT, or INT during a graceful stop: out within 5 s however long the grace, revisions released."""
    daemon = pool(shutdown_grace="60s").start()
    revision = daemon.insert("page", "stubborn")
    daemon.begun(revision)
    for number in numbers:
        count = len(daemon.events("manager.stopping"))
        daemon.send(number)
        until(lambda count=count: len(daemon.events("manager.stopping")) > count, what="heard")
    assert daemon.code(5.0) == 5
    row = daemon.row(revision)
    assert (row["status"], row["attempt"], row["crash_count"]) == ("pending", 0, 0)
    assert "Traceback" not in daemon.text()


def test_a_stop_at_any_moment_of_the_start_is_heard(pool: Pool) -> None:
    """TERM at twenty random moments of the start: the manager always ends soon, nothing is left of it, and no revision
    is claimed afterwards.
    """
    daemon = pool(shutdown_grace="1s")
    daemon.insert("page", "work", {"seconds": 1000})
    for _ in range(20):
        daemon.spawn()
        time.sleep(random.uniform(0.0, 1.5))  # the moment is what is varied
        daemon.send(signal.SIGTERM)
        until(lambda: daemon.process is not None and daemon.process.poll() is not None, 9.0, daemon.tail())
        assert daemon.code() in (0, 5, -signal.SIGTERM), daemon.tail()
        until(lambda: not daemon.others(), 2.0, "nothing left")
        daemon.journal.unlink(missing_ok=True)
    assert "Traceback" not in daemon.text()
    held = daemon.sql(
        "SELECT * FROM revisions WHERE status = 'processing' AND lease_expires_at > now() + interval '1 m'"
    )
    assert not held


def test_the_pool_ends_when_it_is_empty_if_that_was_asked_for(pool: Pool) -> None:
    """--until-empty: everything pending is performed, retries included, then the pool ends with 0."""
    daemon = pool()
    good = [daemon.insert(f"item{n % 3}", "work") for n in range(30)]
    bad = daemon.insert("bad", "raise", {"error": "ValueError"}, max_attempts=2)
    daemon.spawn("--until-empty")
    assert daemon.code(PATIENCE) == 0
    assert {daemon.row(each)["status"] for each in good} == {"completed"}
    assert daemon.row(bad)["status"] == "failed"
    assert daemon.row(bad)["attempt"] == 2
    for name in ("prepare", "keeper"):
        assert [each["level"] for each in daemon.events("child.exited", child=name)] == ["info"]


def test_a_worker_that_is_stopped_by_hand_gives_back_and_is_replaced(pool: Pool) -> None:
    """QUIT to a worker: its revision is given back uncounted; TERM: it finishes first. Both are replaced, uncharged."""
    daemon = pool(workers=1, max_restarts=0).start()
    revision = daemon.insert("page", "stubborn", {"seconds": 1.5})
    worker = daemon.begun(revision)
    os.kill(worker, signal.SIGTERM)
    until(lambda: gone(worker), what="the worker ended")
    assert daemon.ended(revision)["attempt"] == 1
    second = daemon.pid_of_child("W1", other_than=worker)
    again = daemon.insert("page", "work", {"seconds": 1000})
    assert daemon.begun(again) == second
    daemon.sql("UPDATE revisions SET payload = '{}' WHERE id = %s", again)
    os.kill(second, signal.SIGQUIT)
    row = daemon.ended(again)
    assert (row["status"], row["attempt"], row["crash_count"]) == ("completed", 1, 0)
    assert daemon.stop() == 0
