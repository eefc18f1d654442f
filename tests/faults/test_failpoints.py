"""F01, F06, F15: the process dies, stops or fails exactly at a named place, many times, and the history is clean."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psycopg
import pytest

from tests.faults import chronicle, recovery
from tests.faults.chronicle import Notes, check, enqueue
from tests.faults.conftest import rounds
from tests.process.daemon import Daemon, until
from tests.recoveries import Recoveries
from tests.store import history
from workerpool.link import failpoints
from workerpool.link.failpoints import Failpoint, parse, refusal

Pool = Callable[..., Daemon]
HANDLERS = Path(__file__).parent / "fault_handlers.py"
#: What a run with many deaths needs: they are charged to nobody before the rounds are over.
PATIENT = {"handlers": HANDLERS, "max_crashes": 100, "max_restarts": 10_000, "log_level": "info"}


OPEN = "SELECT count(*) FROM workerpool.revisions WHERE completed_at IS NULL"
HURRY = "UPDATE workerpool.revisions SET run_at = clock_timestamp() WHERE status = 'pending' AND parked = 'due'"
#: What the keeper of another host does after the lease.
RESCUE = """
SELECT settle(ARRAY[id], ARRAY[claim_token], '{retried}', '{NULL}', '{rescued}', '{crash}', '{0}', '{true}')
FROM revisions WHERE id = %s
"""


@pytest.fixture
def failing(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Daemon]:
    """Make a daemon that obeys WORKERPOOL_FAILPOINT."""

    def make(text: str, **settings: object) -> Daemon:
        return pool(**{**PATIENT, "failpoint": text, "failpoints_enabled": "1", **settings})

    return make


def deaths(daemon: Daemon, keeper: bool = False) -> int:
    """How many workers, or keepers, have been killed."""
    return sum((each["child"] == "keeper") == keeper for each in daemon.events("child.exited", status=-9))


def few(daemon: Daemon, connection: psycopg.Connection, many: int) -> None:
    """Wait until at most so many revisions are open, and let none of them wait for its back-off."""

    def open_ones() -> int:
        connection.execute(HURRY)
        row = connection.execute(OPEN).fetchone()
        return row[0] if row else 0

    until(lambda: open_ones() <= many, 120.0, what=f"at most {many} open\n{daemon.tail()}")


@pytest.mark.parametrize("many", rounds())
@pytest.mark.parametrize(
    "point",
    [
        "after_claim",
        "before_handler",
        "after_handler",
        "before_settle",
        "during_settle",
        "after_settle",
        "before_commit",
        "after_commit",
    ],
)
def test_a_worker_dies_at_a_place_of_the_attempt(
    failing: Callable[..., Daemon], database: str, seed: int, recoveries: Recoveries, point: str, many: int
) -> None:
    """F01: SIGKILL at this place of the attempt: nothing is lost, doubled or out of order; of each one effect is left.

    Where the handler was running, the crash is its revision's; elsewhere it is nobody's.
    """
    daemon = failing(f"{point}:kill@0.2", workers=3)
    chronicle.record(database)
    notes = Notes()
    daemon.start()
    with psycopg.connect(database, autocommit=True) as connection:
        while deaths(daemon) < many:
            rows = [(f"page {random.randrange(12)}", "{}") for _ in range(30)]
            enqueue(connection, notes, rows, "mark_outside" if "settle" in point else "mark")
            few(daemon, connection, 10)
        few(daemon, connection, 0)
        crashes = connection.execute("SELECT sum(crash_count) FROM workerpool.revisions").fetchone()
        changes = history.changes(connection)
    assert daemon.stop() in (0, 5)  # one that dies while it leaves could not give back what it held
    assert check(database, [daemon], notes) == []
    hits = recovery.deaths(daemon, point)
    # Settling for the dead is a settlement too: there its keeper dies again and again, and waits longer each time.
    too = ", its keeper too" if deaths(daemon, keeper=True) else ""
    recoveries.note(f"F01 killed {point}{too}", recovery.seconds(changes, hits))
    charged = {"before_handler", "after_handler", "before_commit"}
    assert crashes is not None
    assert bool(crashes[0]) == (point in charged), f"{crashes[0]} crashes were charged to revisions"


@pytest.mark.parametrize("many", rounds())
def test_a_ghost_between_its_check_and_its_write(
    failing: Callable[..., Daemon], database: str, seed: int, recoveries: Recoveries, many: int
) -> None:
    """F06: a worker is stopped when its outcome is ready and its claim is taken from it meanwhile: the check is in the
    statement that writes, so it writes nothing, and the next attempt's outcome counts.
    """
    daemon = failing("before_settle:stop", workers=1, lease="60s", heartbeat="1s", log_level="debug")
    chronicle.record(database)
    daemon.start()
    worker = daemon.child("W1")
    for number in range(1, many + 1):
        revision = daemon.insert(f"page {number % 3}", "mark_outside", {})
        until(lambda: _is_stopped(worker), what=f"stopped with its outcome in hand\n{daemon.tail()}")
        daemon.sql(RESCUE, revision)
        os.kill(worker, signal.SIGCONT)
        until(partial(_is_at, daemon, revision, 2), what="its next attempt claimed")
        until(lambda: _is_stopped(worker), what=f"stopped again\n{daemon.tail()}")
        os.kill(worker, signal.SIGCONT)
        row = daemon.ended(revision)
        daemon.event("revision.fenced", revision_id=revision, verdict="completed")
        assert (row["status"], row["attempt"], row["result"]) == ("completed", 2, {"attempt": 2})
    assert daemon.stop() == 0
    assert check(database, [], Notes(), drained=True) == []
    with psycopg.connect(database) as connection:
        recoveries.note("F06 claim taken: begins again", recovery.again(history.changes(connection)))


def test_a_child_that_cannot_be_started(failing: Callable[..., Daemon], database: str, seed: int) -> None:
    """F15: where starting a process fails again and again (EAGAIN), the manager says so, waits and tries again."""
    daemon = failing("before_spawn:error@0.4", workers=3)
    daemon.start()
    revision = daemon.insert("page", "mark_outside")
    assert daemon.ended(revision)["status"] == "completed"
    for _ in range(5):
        pid = daemon.pid_of_child("W1")
        os.kill(pid, signal.SIGKILL)
        daemon.pid_of_child("W1", other_than=pid)
    assert daemon.events("child.delayed")
    assert daemon.stop() == 0


@pytest.mark.parametrize("place", ["before_bury", "before_rescue"])
def test_a_keeper_dies_while_it_settles_for_the_dead(
    failing: Callable[..., Daemon], database: str, seed: int, recoveries: Recoveries, place: str
) -> None:
    """The keeper's own death between a worker's death and its settlement costs a moment: it is told again."""
    daemon = failing(f"{place}:kill@0.3,before_handler:kill@0.2", workers=3)
    chronicle.record(database)
    notes = Notes()
    daemon.start()
    with psycopg.connect(database, autocommit=True) as connection:
        while deaths(daemon) < 6 or (place == "before_bury" and not deaths(daemon, keeper=True)):
            enqueue(connection, notes, [(f"page {number}", "{}") for number in range(12)])
            few(daemon, connection, 0)
        changes = history.changes(connection)
    assert daemon.stop() in (0, 5)  # one that dies while it leaves could not give back what it held
    assert check(database, [daemon], notes) == []
    hits = recovery.deaths(daemon, place)
    recoveries.note(f"F01 killed before_handler, its keeper {place}", recovery.seconds(changes, hits))


def _is_at(daemon: Daemon, revision: int, attempt: int) -> bool:
    row = daemon.row(revision)
    return (row["status"], row["attempt"]) == ("processing", attempt)


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_failpoints_are_refused_without_their_switch(pool: Pool, capfd: pytest.CaptureFixture[str]) -> None:
    """A variable that was left behind in an environment breaks nothing: the daemon says so and does not start."""
    daemon = pool(failpoint="after_claim:kill").spawn()
    assert daemon.code() == 78
    assert "WORKERPOOL_FAILPOINT is for tests" in daemon.text()
    assert "WORKERPOOL_FAILPOINTS_ENABLED=1" in daemon.text()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("after_claim", "POINT:DEED"),
        ("nowhere:kill", "no such place; there are before_spawn"),
        ("after_claim:dance", "no such deed; there are kill"),
        ("after_claim:sleep", "seconds are for sleep"),
        ("after_claim:kill:5", "seconds are for sleep"),
        ("after_claim:kill@2", "POINT:DEED"),
    ],
)
def test_a_failpoint_that_cannot_be_read_is_refused(text: str, complaint: str) -> None:
    """A mistyped place would make a test that tests nothing: it is refused, with what is allowed."""
    with pytest.raises(ValueError, match=complaint):
        parse(text)
    refused = refusal({failpoints.VARIABLE: text, failpoints.ENABLED: "1"})
    assert refused is not None
    assert complaint in refused


def test_what_a_failpoint_says() -> None:
    """The form of the variable."""
    assert parse("after_claim:sleep:5, before_settle:kill@0.25") == (
        Failpoint("after_claim", "sleep", 5.0, 1.0),
        Failpoint("before_settle", "kill", 0.0, 0.25),
    )
    assert refusal({}) is None
    assert refusal({failpoints.VARIABLE: ""}) is None
