"""F03, F04, F05, F16, F22, F59: single faults, again and again at random moments; each run ends with its books."""

from __future__ import annotations

import os
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.faults import chronicle
from tests.faults.chronicle import Notes, check, enqueue
from tests.faults.conftest import rounds
from tests.faults.nemesis import Producer
from tests.faults.test_nemesis import drain
from tests.process.daemon import ORPHANS_GONE, Daemon, gone, until
from tests.process.own_server import OwnServer

Pool = Callable[..., Daemon]
HANDLERS = Path(__file__).parent / "fault_handlers.py"
PATIENT = {"handlers": HANDLERS, "max_crashes": 100, "max_restarts": 10_000, "log_level": "info"}


@pytest.fixture
def load(database: str, seed: int) -> Iterator[tuple[Notes, Producer]]:
    """Somebody who enqueues all the while."""
    chronicle.record(database)
    notes = Notes()
    producer = Producer(database, seed, notes, pause=0.15)
    producer.start()
    yield notes, producer
    producer.stop()


def over(database: str, hosts: list[Daemon], load: tuple[Notes, Producer]) -> None:
    """Let everything end, and read the books."""
    notes, producer = load
    producer.stop()
    drain(database, hosts)
    assert [each.stop() for each in hosts] == [0] * len(hosts)
    assert check(database, hosts, notes) == []


@pytest.mark.parametrize("many", rounds())
def test_managers_die(pool: Pool, database: str, load: tuple[Notes, Producer], many: int) -> None:
    """F03: SIGKILL to a manager with busy workers: within two seconds nothing of it is left; the next start goes on."""
    daemon = pool(**PATIENT).start()
    for _ in range(many):
        time.sleep(random.uniform(0, 0.4))  # the moment is what is varied
        left = daemon.others()
        daemon.send(signal.SIGKILL)
        daemon.code()
        until(lambda left=left: all(gone(pid) for pid in left), ORPHANS_GONE, "nothing left of a killed manager")  # type: ignore[misc]
        daemon.start()
    over(database, [daemon], load)


@pytest.mark.parametrize("many", rounds())
def test_whole_hosts_die(pool: Pool, database: str, load: tuple[Notes, Producer], many: int) -> None:
    """F04: everything of a host is killed in the same moment; the next start takes up the rest."""
    hosts = [pool(**PATIENT).start(), pool(**PATIENT).start()]
    for number in range(many):
        time.sleep(random.uniform(0, 0.4))  # the moment is what is varied
        host = hosts[number % 2]
        for pid in (host.pid, *host.others()):
            signal_to(pid, signal.SIGKILL)
        host.code()
        host.start()
    over(database, hosts, load)


@pytest.mark.parametrize("many", rounds(10, 100))
def test_workers_stand_still_and_come_back_as_ghosts(
    pool: Pool, database: str, load: tuple[Notes, Producer], many: int
) -> None:
    """F05: a host stands still for longer than its leases while another works, and goes on: ghosts change nothing."""
    hosts = [pool(**PATIENT, lease="1s", heartbeat="200ms").start() for _ in range(2)]
    notes, _ = load
    for number in range(many):
        host = hosts[number % 2]
        pids = [host.pid, *host.others()]
        notes.stopped |= set(pids)
        for pid in pids:
            signal_to(pid, signal.SIGSTOP)
        time.sleep(random.uniform(1.2, 2.5))  # the length is what is varied
        for pid in pids:
            signal_to(pid, signal.SIGCONT)
        time.sleep(random.uniform(0.2, 0.8))  # the moment is what is varied
    over(database, hosts, load)


@pytest.mark.parametrize("many", rounds())
def test_backends_die(own: OwnServer, tmp_path: Path, seed: int, many: int) -> None:
    """F22: SIGKILL to a session's backend ends every session: whoever is connected comes back, nothing acknowledged is
    lost, and a commit whose answer was lost is looked up, not repeated.
    """
    chronicle.record(own.url)
    notes = Notes()
    daemon = Daemon(own.url, tmp_path, **PATIENT, workers=3)
    producer = Producer(own.url, seed, notes, pause=0.15)
    try:
        daemon.start()
        producer.start()
        for _ in range(many):
            time.sleep(random.uniform(0, 0.5))  # the moment is what is varied
            until(lambda: sessions(own.admin), what="the pool's sessions")
            for pid in sessions(own.admin)[-1:]:
                signal_to(pid, signal.SIGKILL)
        producer.stop()
        drain(own.url, [daemon])
        assert daemon.stop() == 0
        assert check(own.url, [daemon], notes) == []
        assert not daemon.events("child.exited", status=1)
    finally:
        producer.stop()
        daemon.clear()


@pytest.mark.parametrize("many", rounds())
def test_a_head_that_fails_holds_back_its_item_alone(pool: Pool, database: str, seed: int, many: int) -> None:
    """F59: while an item's head fails and backs off nothing behind it starts; other items go on meanwhile."""
    chronicle.record(database)
    notes = Notes()
    daemon = pool(**PATIENT).start()
    with psycopg.connect(database, autocommit=True) as connection:
        for number in range(many):
            head, *behind = enqueue(connection, notes, [(f"bad{number}", '{"errors": 0.8}'), (f"bad{number}", "{}")])
            others = enqueue(connection, notes, [(f"good{number}.{n}", "{}") for n in range(3)])
            for each in others:
                assert daemon.ended(each)["attempt"] == 1
            assert [daemon.row(each)["attempt"] for each in behind] == [0] or daemon.row(head)["completed_at"]
    drain(database, [daemon])
    assert daemon.stop() == 0
    assert check(database, [daemon], notes) == []


def test_a_manager_without_descriptors_lives(pool: Pool, database: str) -> None:
    """F16: a manager that may open nothing more cannot start a worker: it says so, waits without spinning, and does it
    when it may again.
    """
    daemon = pool(**PATIENT).start()
    soft, hard = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    worker = daemon.child("W1")
    there = len(os.listdir(f"/proc/{daemon.pid}/fd"))
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (there - 6, hard))
    os.kill(worker, signal.SIGKILL)
    daemon.event("child.delayed", child="W1")
    before = processor_time(daemon.pid)
    until(lambda: len(daemon.events("child.delayed", child="W1")) >= 3, what="tried again and again")
    assert processor_time(daemon.pid) - before < 1.0
    revision = daemon.insert("page", "mark_outside")
    assert daemon.ended(revision)["status"] == "completed", "the other worker works"
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (soft, hard))
    assert daemon.pid_of_child("W1", other_than=worker)
    assert daemon.stop() == 0


def processor_time(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def sessions(url: str) -> list[int]:
    """The pids of the backends of the pool's sessions; none while the server recovers."""
    try:
        with psycopg.connect(url, connect_timeout=2) as connection:
            text = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'workerpool:%'"
            return [row[0] for row in connection.execute(text)]
    except psycopg.OperationalError:
        return []


def signal_to(pid: int, number: signal.Signals) -> None:
    """Send a signal; one that has just ended needs none."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
