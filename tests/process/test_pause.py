"""P7: while the pool is paused nothing starts, and what runs is drained or held; it goes on by itself."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.process.daemon import Daemon, gone, until
from workerpool.store import pausing
from workerpool.store.pausing import NotSafe
from workerpool.store.session import Session

Pool = Callable[..., Daemon]
LIMIT = timedelta(seconds=20)


@pytest.fixture
def operator(database: str) -> Iterator[Session]:
    """Somebody who pauses."""
    with Session(database, "workerpool", "test") as session:
        yield session


def pause(operator: Session, mode: Any = "drain", **more: Any) -> int:
    """Pause, for a test."""
    return pausing.pause(operator, mode, "for a test", "eve", **more)


def resume(operator: Session) -> int:
    """Take the test's own pauses away."""
    return pausing.resume(operator, "eve", holder="eve")


def workers(daemon: Daemon) -> dict[str, tuple[str, int, int | None]]:
    """State, acknowledged version and revision of each living worker."""
    rows = daemon.sql("SELECT slot, state, pause_version, current_revision_id FROM workers WHERE is_active ORDER BY 1")
    return {row["slot"]: (row["state"], row["pause_version"], row["current_revision_id"]) for row in rows}


def test_a_drain_lets_what_runs_finish_and_starts_nothing(pool: Pool, operator: Session) -> None:
    """Every worker acknowledges the version within a moment; the resume is as quick."""
    daemon = pool(pause_poll_interval="10m", poll_interval="10m").start()
    running = daemon.insert("page", "work", {"seconds": 0.6})
    waiting = daemon.insert("page", "work")
    daemon.begun(running)
    version = pause(operator)
    with pytest.raises(NotSafe, match=f"revision {running} of page runs"):
        pausing.wait_for_safe_state(operator, timedelta(0))
    proof = pausing.wait_for_safe_state(operator, LIMIT)
    assert (proof.version, proof.running, proof.held, proof.unaware) == (version, (), (), ())
    assert len(proof.workers) == 2
    assert daemon.row(running)["status"] == "completed"
    assert daemon.row(waiting)["status"] == "pending"
    assert set(workers(daemon).values()) == {("paused", version, None)}
    other = daemon.insert("other", "work")
    assert resume(operator) == 1
    for each in (waiting, other):
        assert daemon.ended(each)["status"] == "completed"
    assert daemon.stop() == 0


def test_a_pause_survives_a_restart_of_everything(pool: Pool, operator: Session) -> None:
    """Manager killed and started again: its workers come up paused, and say so."""
    daemon = pool().start()
    pause(operator)
    daemon.send(signal.SIGKILL)
    daemon.code()
    daemon.start()
    revision = daemon.insert("page", "work")
    until(lambda: pausing.look(operator).is_safe, what="the safe state")
    assert daemon.row(revision)["status"] == "pending"
    resume(operator)
    assert daemon.ended(revision)["status"] == "completed"
    assert daemon.stop() == 0


def test_quiesce_holds_beyond_lease_and_time_limit(pool: Pool, operator: Session, tmp_path: Path) -> None:
    """Held for longer than its lease and its time limit, a handler goes on and completes, in one attempt."""
    daemon = pool(workers=2, lease="1s", heartbeat="200ms", timeout="3s").start()
    paused = tmp_path / "paused"
    revision = daemon.insert("page", "steps", {"steps": 20, "seconds": 0.02, "until": str(paused)})
    daemon.begun(revision)
    version = pause(operator, "quiesce")
    proof = pausing.wait_for_safe_state(operator, LIMIT)
    held = proof.held[0]
    assert (held["id"], held["current_step"].startswith("step ")) == (revision, True)
    assert ("paused", version, revision) in workers(daemon).values()
    before = daemon.entries("step", revision)
    paused.touch()
    began = time.monotonic()
    # Longer than its limit of 3 s and its lease of 1 s; a change of the pause in between is held on.
    while time.monotonic() - began < 4.0:
        assert daemon.row(revision)["status"] == "processing"
        time.sleep(0.1)
    again = pausing.pause(operator, "quiesce", "another reason", "eve")
    until(lambda: pausing.look(operator).is_safe, what="held on for the new version")
    assert again == version + 1
    daemon.event(
        "revision.held", version=again
    )  # it is safe as soon as the worker has seen it, and told a moment later
    assert daemon.entries("step", revision) == before, "nothing ran meanwhile"
    resume(operator)
    row = daemon.ended(revision)
    assert (row["status"], row["attempt"]) == ("completed", 1)
    assert len(daemon.entries("step", revision)) == 20
    lines = [line["message"] for line in daemon.sql("SELECT message FROM execution_log ORDER BY id")]
    told = [line for line in lines if line.startswith("held at a checkpoint")]
    assert told == ["held at a checkpoint: for a test", "held at a checkpoint: another reason"]
    assert daemon.stop() == 0


def test_a_handler_without_a_checkpoint_is_named(pool: Pool, operator: Session) -> None:
    """Who never reaches one keeps the state from being safe, and is named with how long it has run."""
    daemon = pool(workers=1).start()
    revision = daemon.insert("page", "stubborn", {"seconds": 1.5})
    daemon.begun(revision)
    version = pause(operator, "quiesce")
    until(lambda: workers(daemon)["W1"][1] == version, what="acknowledged while it runs")
    with pytest.raises(NotSafe, match=rf"revision {revision} of page runs on .* and has reached no checkpoint"):
        pausing.wait_for_safe_state(operator, timedelta(0))
    pausing.wait_for_safe_state(operator, LIMIT)
    assert daemon.row(revision)["status"] == "completed"
    assert daemon.stop() == 0


@pytest.mark.parametrize("how", ["cancel", "stop", "quick stop", "worker killed", "manager killed"])
def test_a_hold_ends_in_a_described_state(pool: Pool, operator: Session, how: str) -> None:
    """A cancel ends it, a stop gives it back uncounted, a kill is a crash; none of it starts anything."""
    daemon = pool(workers=1).start()
    revision = daemon.insert("page", "steps", {"steps": 1000, "seconds": 0.02})
    worker = daemon.begun(revision)
    pause(operator, "quiesce")
    pausing.wait_for_safe_state(operator, LIMIT)
    attempts, crashes = 0, 0
    if how == "cancel":
        daemon.sql("UPDATE revisions SET cancel_requested_at = now() WHERE id = %s", revision)
        assert daemon.ended(revision)["status"] == "cancelled"
        assert daemon.stop() == 0
        return
    if how in ("stop", "quick stop"):
        assert daemon.stop(signal.SIGTERM if how == "stop" else signal.SIGQUIT) == 0
    elif how == "worker killed":
        os.kill(worker, signal.SIGKILL)
        attempts, crashes = 1, 1
    else:
        daemon.send(signal.SIGKILL)
        daemon.code()
        until(lambda: gone(worker), what="the worker gone with its manager")
        daemon.start()
    until(lambda: daemon.row(revision)["status"] == "pending", what="given back")
    row = daemon.row(revision)
    assert (row["attempt"], row["crash_count"]) == (attempts, crashes)
    if how in ("worker killed", "manager killed"):
        until(lambda: pausing.look(operator).is_safe, what="the safe state again")
        assert daemon.stop() == 0


def test_one_handler_is_paused_and_others_go_on(pool: Pool, operator: Session, tmp_path: Path) -> None:
    """Scopes: the handler is held, everything else runs."""
    daemon = pool(workers=2).start()
    paused = tmp_path / "paused"
    held = daemon.insert("page", "steps", {"steps": 50, "seconds": 0.02, "until": str(paused)})
    daemon.begun(held)
    pause(operator, "quiesce", scope="handler:steps")
    until(lambda: any(state[0] == "paused" for state in workers(daemon).values()), what="held")
    waiting = daemon.insert("other", "steps", {"steps": 1})
    assert daemon.ended(daemon.insert("third", "work"))["status"] == "completed"
    assert (daemon.row(held)["status"], daemon.row(waiting)["status"]) == ("processing", "pending")
    paused.touch()
    resume(operator)
    for each in (held, waiting):
        assert daemon.ended(each)["status"] == "completed"
    assert daemon.stop() == 0


def rows(daemon: Daemon) -> list[Any]:
    """The whole queue, as text; but the leases of what is held at a checkpoint, which are renewed all the while."""
    return [
        row["r"]
        for row in daemon.sql("SELECT (to_jsonb(r) - 'lease_expires_at')::text AS r FROM revisions r ORDER BY id")
    ]


LOAD = """
INSERT INTO revisions (item_key, handler, payload)
SELECT 'i' || (g + %s) %% 12, 'work', '{"seconds": 0.002}' FROM generate_series(1, 10) g RETURNING id
"""


def pause_again_and_again(pool: Pool, operator: Session, rounds: int) -> None:
    """Two managers, a load of short revisions, and pauses at random moments."""
    first, second = pool(heartbeat="200ms"), pool(heartbeat="200ms")
    first.start()
    second.start()
    inserted: list[int] = []
    for n in range(rounds):
        for batch in range(8):
            inserted += [row["id"] for row in first.sql(LOAD, batch)]
        time.sleep(random.uniform(0, 0.05))  # the moment is what is varied
        pause(operator, random.choice(["drain", "quiesce"]))
        paused_at = first.sql("SELECT updated_at FROM pause_state")[0]["updated_at"]
        pausing.wait_for_safe_state(operator, LIMIT)
        before = rows(first)
        latest = first.sql("SELECT max(started_at) AS at FROM revisions")[0]["at"]
        assert latest is None or latest < paused_at, f"round {n}: something started after the pause"
        time.sleep(0.05)
        assert rows(first) == before, f"round {n}: the table changed while it was paused"
        assert pausing.look(operator).is_safe
        assert resume(operator) == 1
    until(lambda: not first.sql("SELECT 1 FROM revisions WHERE completed_at IS NULL"), 60, "everything performed")
    done = first.sql("SELECT id, item_key, status, attempt, revision_number FROM revisions ORDER BY item_key, id")
    assert {(row["status"], row["attempt"]) for row in done} == {("completed", 1)}
    assert sorted(row["id"] for row in done) == sorted(inserted)
    numbers: dict[str, int] = {}
    for row in done:
        numbers[row["item_key"]] = numbers.get(row["item_key"], 0) + 1
        assert row["revision_number"] == numbers[row["item_key"]], "out of order"
    begun = first.entries("begin") + second.entries("begin")
    assert len(begun) == len(inserted), "something ran twice"
    assert (first.stop(), second.stop()) == (0, 0)


def test_twenty_pauses_under_load_on_two_managers(pool: Pool, operator: Session) -> None:
    """After each nothing starts, nothing runs, no row changes; nothing is lost, and order is kept."""
    pause_again_and_again(pool, operator, 20)


@pytest.mark.long
def test_two_hundred_pauses_under_load_on_two_managers(pool: Pool, operator: Session) -> None:
    """The same, 200 times."""
    pause_again_and_again(pool, operator, 200)
