"""F03, F04, F05, F16, F22, F59: single faults, again and again at random moments; each run ends with its books.

Several hosts have their rounds side by side: a round is mostly the start of a pool, which one processor does.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from tests.faults import chronicle, recovery
from tests.faults.chronicle import Notes, check, enqueue
from tests.faults.conftest import rounds
from tests.faults.producer import Producer, back, drain
from tests.faults.recovery import Hit, Promise
from tests.process.daemon import Daemon, gone, until
from tests.process.own_server import OwnServer
from tests.recoveries import Recoveries
from tests.store import history
from tests.store.history import Change

Pool = Callable[..., Daemon]
HANDLERS = Path(__file__).parent / "fault_handlers.py"
PATIENT = {"handlers": HANDLERS, "max_crashes": 100, "max_restarts": 10_000, "log_level": "info"}
#: So many revisions are open at most: each host has work, and its end is not a wait for what piled up meanwhile.
MOST = 24


@pytest.fixture
def load(database: str, seed: int) -> Iterator[tuple[Notes, Producer]]:
    """Somebody who enqueues all the while."""
    chronicle.record(database)
    notes = Notes()
    producer = Producer(database, seed, notes, pause=0.1, most=MOST)
    producer.start()
    yield notes, producer
    producer.stop()


def over(database: str, hosts: Sequence[Daemon], load: tuple[Notes, Producer]) -> list[Change]:
    """Let everybody come back and everything end, read the books, and return what changed."""
    notes, producer = load
    back(database, hosts)
    producer.stop()
    drain(database, hosts)
    for each in hosts:
        each.send(signal.SIGTERM)
    assert [each.code() for each in hosts] == [0] * len(hosts)
    assert check(database, hosts, notes) == []
    with psycopg.connect(database) as connection:
        return history.changes(connection)


def at_work(host: Daemon, begun: int = 0) -> None:
    """Wait until a host has begun more than so many revisions."""
    assert host.process is not None
    ended = host.process.poll
    until(lambda: ended() is not None or len(host.entries("begin")) > begun, what="it performs revisions")
    assert ended() is None, host.tail()


def side_by_side(hosts: Sequence[Daemon], many: int, one: Callable[[Daemon, random.Random], Hit]) -> list[Hit]:
    """Start the hosts, and let each have its part of the rounds as soon as it is at work; returns what was hit."""
    chances = {host.mark: random.Random(random.random()) for host in hosts}
    for host in hosts:
        host.spawn()

    def its(host: Daemon) -> list[Hit]:
        at_work(host)
        return [one(host, chances[host.mark]) for _ in range(many // len(hosts))]

    with ThreadPoolExecutor(len(hosts)) as pool:
        return [hit for hits in pool.map(its, hosts) for hit in hits]


@pytest.mark.parametrize("many", rounds())
def test_managers_die(
    pool: Pool, database: str, load: tuple[Notes, Producer], recoveries: Recoveries, many: int
) -> None:
    """F03: SIGKILL to a manager with busy workers: within two seconds nothing of it is left; the next start goes on."""
    hosts = [pool(**PATIENT), pool(**PATIENT)]

    def kill(host: Daemon, chance: random.Random) -> Hit:
        time.sleep(chance.uniform(0, 0.4))  # the moment is what is varied
        its = frozenset({recovery.manager(host)})
        hit = Hit("manager killed", its, time.time() - time.monotonic() + host.kill())
        begun = len(host.entries("begin"))
        host.spawn()
        at_work(host, begun)
        return hit

    hits = side_by_side(hosts, many, kill)
    recoveries.note("F03 manager killed", recovery.seconds(over(database, hosts, load), hits))


@pytest.mark.parametrize("many", rounds())
def test_whole_hosts_die(
    pool: Pool, database: str, load: tuple[Notes, Producer], recoveries: Recoveries, many: int
) -> None:
    """F04: everything of a host is killed in the same moment; the next start takes up the rest."""
    hosts = [pool(**PATIENT), pool(**PATIENT)]

    def kill(host: Daemon, chance: random.Random) -> Hit:
        time.sleep(chance.uniform(0, 0.4))  # the moment is what is varied
        pids = [host.pid, *host.others()]
        hit = Hit("host killed", frozenset({recovery.manager(host)}), time.time())
        for pid in pids:
            signal_to(pid, signal.SIGKILL)
        host.code()
        until(lambda: all(gone(pid) for pid in pids), what="killed")
        begun = len(host.entries("begin"))
        host.spawn()
        at_work(host, begun)
        return hit

    hits = side_by_side(hosts, many, kill)
    recoveries.note("F04 host killed", recovery.seconds(over(database, hosts, load), hits))


@pytest.mark.parametrize("many", rounds())
def test_workers_stand_still_and_come_back_as_ghosts(
    pool: Pool, database: str, load: tuple[Notes, Producer], recoveries: Recoveries, many: int
) -> None:
    """F05: hosts stand still for longer than their leases while another works, and go on when it has what they held:
    ghosts change nothing.
    """
    lease = {"lease": "1s", "heartbeat": "200ms"}
    third, *hosts = [pool(**PATIENT, **lease) for _ in range(3)]
    third.start()
    notes, _ = load

    def freeze(host: Daemon, chance: random.Random) -> Hit:
        time.sleep(chance.uniform(0, 0.3))  # the moment is what is varied
        until(lambda: held(host), what=f"something is held\n{host.tail()}")
        pids = [host.pid, *host.others()]
        hit = Hit("host stopped", frozenset({recovery.manager(host)}), time.time())
        for pid in pids:
            signal_to(pid, signal.SIGSTOP)
            notes.stopped[pid].append(time.monotonic())
        until(lambda: time.time() > hit.at + 1.0 and not held(host), what=f"taken over\n{third.tail()}")
        time.sleep(chance.uniform(0, 0.5))  # the length is what is varied
        for pid in pids:
            signal_to(pid, signal.SIGCONT)
        return hit

    hits = side_by_side(hosts, many, freeze)
    took = recovery.seconds(over(database, [third, *hosts], load), hits)
    recoveries.note("F05 host stopped", took, Promise(lease=1.0, heartbeat=0.2).seconds)


def held(host: Daemon) -> list[dict[str, object]]:
    """What the database ascribes to a host's manager."""
    text = "SELECT id FROM revisions WHERE status = 'processing' AND starts_with(worker_id, %s)"
    return host.sql(text, recovery.manager(host))


@pytest.mark.parametrize("many", rounds())
def test_backends_die(own: OwnServer, tmp_path: Path, seed: int, recoveries: Recoveries, many: int) -> None:
    """F22: SIGKILL to a session's backend ends every session: whoever is connected comes back, nothing acknowledged is
    lost, and a commit whose answer was lost is looked up, not repeated.
    """
    chronicle.record(own.url)
    notes = Notes()
    daemon = Daemon(own.url, tmp_path, **PATIENT, workers=3)
    producer = Producer(own.url, seed, notes, pause=0.1, most=MOST)
    kills: list[float] = []
    try:
        daemon.start()
        producer.start()
        for _ in range(many):
            time.sleep(random.uniform(0, 0.5))  # the moment is what is varied
            there = until(lambda: sessions(own.admin), what="the pool's sessions")
            kills.append(time.time())
            signal_to(there[-1], signal.SIGKILL)
            until(lambda there=there: not {*there} & {*sessions(own.admin)}, what="all sessions ended")  # type: ignore[misc]
        changes = over(own.url, [daemon], (notes, producer))
        recoveries.note("F22 backend killed: begins again", recovery.after_loss(daemon, changes, kills))
        assert not daemon.events("child.exited", status=1)
    finally:
        producer.stop()
        daemon.clear()


@pytest.mark.parametrize("many", rounds())
def test_a_head_that_fails_holds_back_its_item_alone(
    pool: Pool, database: str, seed: int, recoveries: Recoveries, many: int
) -> None:
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
    with psycopg.connect(database) as connection:
        took = connection.execute(
            "SELECT extract(epoch FROM completed_at - created_at)::float8 FROM workerpool.revisions "
            "WHERE item_key LIKE 'good%'"
        ).fetchall()
    recoveries.note("F59 a head fails: others are done", [each[0] for each in took])


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
