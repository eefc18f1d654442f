"""Several hosts on one database: one is cut off, frozen or gone, and the others go on with its work, alone.

Whoever is cut off has stopped its handlers, by its own monotonic clock, before the database lets another host begin
them: a revision is never performed at two places at once. What a frozen host does when it is thawed counts for nothing.
"""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.hosts import Host, Lost, Network, check_no_overlap, missing
from tests.faults.recovery import Promise
from tests.process.daemon import gone, until
from tests.recoveries import Recoveries

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "-")

LEASE, HEARTBEAT = 2.0, 0.3
#: What FAULTS promises: the others have the work again within so many seconds.
RECOVERY = Promise(LEASE, HEARTBEAT).seconds
ITEMS, EACH, SECONDS = 12, 20, 3.0
Place = Callable[..., Host]


@pytest.fixture
def place(network: Network, tmp_path: Path) -> Iterator[Place]:
    """Make a host (not started); all of one test are on one database, and none leaves anything behind."""
    database, made = network.database(), []

    def make(name: str, **settings: object) -> Host:
        made.append(
            Host(
                network,
                name,
                database,
                tmp_path,
                **({"lease": f"{LEASE}s", "heartbeat": f"{HEARTBEAT}s", "max_crashes": 100} | settings),
            )
        )
        return made[-1]

    yield make
    for each in made:
        network.heal(each.name)
        if each.process is not None and each.process.poll() is None:
            each.everybody(signal.SIGCONT)
        each.clear()


def load(host: Host, items: int = ITEMS, each: int = EACH) -> None:
    """Insert items with revisions of many lengths, some longer than a lease, half of which talk to the database."""
    host.sql(
        "INSERT INTO revisions (item_key, handler, max_attempts, payload) SELECT 'item' || n %% %s, 'alive', 50, "
        "jsonb_build_object('seconds', (0.2 + random()) * %s::float, 'talks', n / %s::int %% 2 = 0) "
        "FROM generate_series(1, %s) n",
        items,
        SECONDS,
        items,
        items * each,
    )


def taken_over(victim: Host, revisions: list[int], since: float) -> float:
    """Wait until none of *revisions* is ascribed to *victim* any more; returns the seconds *since* then."""
    text = "SELECT 1 FROM revisions WHERE id = ANY (%s) AND status = 'processing' AND worker_id LIKE %s"
    until(lambda: not victim.sql(text, revisions, f"{victim.name}/%"), what=f"taken over\n{victim.tail()}")
    return time.monotonic() - since


def back(host: Host) -> None:
    """Wait until a host performs revisions again."""
    begun = len(mine(host))
    until(lambda: len(mine(host)) > begun, what=f"{host.name} works again\n{host.tail()}")


def mine(host: Host) -> list[list[str]]:
    """The beginnings on this host."""
    return [each for each in host.entries("begin") if each[5] == host.name]


def drained(*hosts: Host) -> None:
    """Take away what has not begun, wait until the rest is over, and stop everybody."""
    one = hosts[0]
    one.sql("UPDATE revisions SET cancel_requested_at = now() WHERE status IN ('pending', 'scheduled') AND attempt = 0")
    busy = "SELECT 1 FROM revisions WHERE status IN ('pending', 'scheduled', 'processing') LIMIT 1"
    until(lambda: not one.sql(busy), what=f"all over\n{one.tail()}")
    for each in hosts:
        each.send(signal.SIGTERM)
    for each in hosts:
        each.code()


def check_all(hosts: tuple[Host, ...], *, ghosts: bool = False) -> None:
    """Nothing was performed twice at once, lost, or failed; no head was ever stranded."""
    one = hosts[0]
    longest = check_no_overlap(one, ghosts=ghosts)
    if ghosts:
        print(f"\na thawed attempt was alive for {longest:.2f} s at most after its successor began")
    bad = one.sql("SELECT id, error_message FROM revisions WHERE status NOT IN ('completed', 'cancelled')")
    assert not bad
    for row in one.sql("SELECT id, result FROM revisions WHERE status = 'completed'"):
        ends = {(int(each[2]), each[5]) for each in one.entries("end", row["id"])}
        assert (row["result"]["attempt"], row["result"]["host"]) in ends
    assert not any(each.events("heal.unparked") for each in hosts)


def keep(recoveries: Recoveries, what: str, took: list[float]) -> None:
    """Note what was measured, and hold it to the promise."""
    recoveries.note(what, took, RECOVERY)
    assert max(took) <= RECOVERY, f"{what}: {sorted(took)}"


def cut_off(place: Place, recoveries: Recoveries, rounds: int, kinds: tuple[Lost, ...]) -> None:
    """Cut one of three hosts off at random moments while it runs revisions, and heal it when others have its work.

    The connections of the first have the program's own settings: there a statement hangs for much longer than a lease.
    """
    hosts = (place("web1", options="").start(), place("web2").start(), place("web3").start())
    load(hosts[0], each=EACH * rounds // 4)
    took: dict[Lost, list[float]] = {kind: [] for kind in kinds}
    for number in range(rounds):
        victim, lost = hosts[number % len(hosts)], kinds[number // len(hosts) % len(kinds)]
        victim.at_work()
        time.sleep(random.uniform(0, HEARTBEAT))
        held, cut = victim.running(), time.monotonic()
        victim.network.cut(victim.name, lost)
        if held:
            took[lost].append(taken_over(victim, held, cut))
        victim.network.heal(victim.name)
        back(victim)
    drained(*hosts)
    check_all(hosts)
    for lost, some in took.items():
        keep(recoveries, f"F25 cut off, {lost} lost", some)


def test_a_host_that_is_cut_off_has_stopped_before_another_begins(place: Place, recoveries: Recoveries) -> None:
    """Packets of one host are lost without a word while it performs revisions, some of which tell the database of their
    progress: the others take them over within LEASE + SWEEP + 2 heartbeats, its handlers were stopped before, however
    long its connections hang, and when the network is back it goes on, with nothing lost and nothing performed twice at
    once.
    """
    cut_off(place, recoveries, 3, ("both",))


def test_a_host_that_is_cut_off_in_one_direction_has_stopped_too(place: Place, recoveries: Recoveries) -> None:
    """The same, where only what it sends is lost, and where only what it is sent is: the database takes its claims and
    outcomes, and it never learns of it.
    """
    cut_off(place, recoveries, 6, ("requests", "answers"))


@pytest.mark.long
@pytest.mark.parametrize("lost", ["both", "requests", "answers"])
def test_many_times_cut_off(place: Place, recoveries: Recoveries, lost: Lost) -> None:
    """The same, many times."""
    cut_off(place, recoveries, 60, (lost,))


def test_a_handler_that_holds_the_interpreter_lock_is_stopped_too(place: Place) -> None:
    """A handler that lets no other thread of its worker run is killed by the manager of the host that is cut off,
    before another host begins it.
    """
    hosts = tuple(place(name).start() for name in ("web1", "web2"))
    one = hosts[0]
    revision = one.insert("page", "greedy", {"seconds": 3 * LEASE})
    one.begun(revision)
    victim = next(each for each in hosts if each.running())
    other = next(each for each in hosts if each is not victim)
    until(lambda: one.row(revision)["lease_expires_at"] is not None, what="leased")
    cut = time.monotonic()
    victim.network.cut(victim.name)
    taken = taken_over(victim, [revision], cut)
    again = until(lambda: [each for each in one.entries("begin", revision) if each[5] == other.name], what="begun")
    assert again[0][6:] == []
    assert victim.event("child.killed", why="lease")
    assert taken <= RECOVERY
    victim.network.heal(victim.name)
    row = one.ended(revision)
    assert (row["status"], row["result"]) == ("completed", {"attempt": 2, "host": other.name})
    drained(*hosts)
    assert len(one.entries("end", revision)) == 1


def freeze(place: Place, recoveries: Recoveries, rounds: int) -> None:
    """Freeze every process of a host for longer than its lease, and thaw it when others have its work."""
    hosts = tuple(place(name).start() for name in ("web1", "web2", "web3"))
    one = hosts[0]
    load(one, each=EACH * rounds // 4)
    took: list[float] = []
    for number in range(rounds):
        victim = hosts[number % len(hosts)]
        victim.at_work()
        time.sleep(random.uniform(0, HEARTBEAT))
        frozen, held = time.monotonic(), victim.running()
        victim.everybody(signal.SIGSTOP)
        if held := [each for each in held if each in victim.running()]:
            took.append(taken_over(victim, held, frozen))
        thawed = one.sql("SELECT clock_timestamp() AS at")[0]["at"]
        victim.everybody(signal.SIGCONT)
        back(victim)
        ghosts = "SELECT revision_id, attempt, message FROM execution_log WHERE revision_id = %s AND at > %s"
        for revision in held:
            told = {(row["attempt"], row["message"].split()[-1]) for row in one.sql(ghosts, revision, thawed)}
            of_victim = [attempt for attempt, host in told if host == victim.name]
            newest = one.row(revision)["attempt"]
            assert all(attempt > 1 and attempt <= newest for attempt in of_victim), (revision, told)
    drained(*hosts)
    check_all(hosts, ghosts=True)
    keep(recoveries, "F05 frozen", took)


def test_a_frozen_host_writes_nothing_when_it_is_thawed(place: Place, recoveries: Recoveries) -> None:
    """Every process of a host is stopped for longer than its lease, and goes on: others have its revisions by then,
    what its attempts still say or return is refused, and it steps back into the pool.
    """
    freeze(place, recoveries, 3)


@pytest.mark.long
def test_many_times_frozen(place: Place, recoveries: Recoveries) -> None:
    """The same, many times."""
    freeze(place, recoveries, 60)


def test_a_host_that_is_gone_at_once_leaves_its_work_to_others(place: Place, recoveries: Recoveries) -> None:
    """Every process of a host is killed in the same instant: the others have its revisions within LEASE + SWEEP + 2
    heartbeats, nothing is lost, and the host comes back without a manual step.
    """
    hosts = tuple(place(name).start() for name in ("web1", "web2"))
    load(hosts[0], items=8, each=5)
    took: list[float] = []
    for victim in (hosts[1], hosts[0], hosts[1]):
        held, killed = victim.at_work(), time.monotonic()
        victim.everybody(signal.SIGSTOP)  # so that nobody sees another one die
        victim.everybody(signal.SIGKILL)
        took.append(taken_over(victim, held, killed))
        victim.code()
        victim.start()
        back(victim)
    drained(*hosts)
    check_all(hosts)
    keep(recoveries, "F04 killed at once", took)


def test_a_thawed_attempt_is_ended_and_not_renewed(place: Place) -> None:
    """A keeper that wakes up before the rest of its frozen host renews nothing that may have lapsed meanwhile: the old
    attempt is ended at once, long before its end, and the new one's outcome counts.
    """
    one, two = place("web1").start(), place("web2", workers=1)
    revision = one.insert("page", "alive", {"seconds": 3 * LEASE})
    pid = one.begun(revision)
    two.start()
    one.everybody(signal.SIGSTOP)
    taken_over(one, [revision], time.monotonic())
    keeper, seen = one.child("keeper"), "SELECT max(last_heartbeat) AS at FROM workers WHERE host = 'web1'"
    before = one.sql(seen)[0]["at"]
    os.kill(keeper, signal.SIGCONT)
    until(lambda: one.sql(seen)[0]["at"] > before, what="the keeper's beat")
    one.everybody(signal.SIGCONT)
    until(lambda: gone(pid), LEASE / 2, "the thawed worker's end")
    assert one.ended(revision)["result"]["attempt"] == 2
    assert len(one.entries("end", revision)) == 1
    drained(one, two)
