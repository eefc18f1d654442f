"""Everything at once, for a while: two hosts, one server, and trouble at random; afterwards the books are read."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from tests.faults import chronicle, recovery
from tests.faults.chronicle import Notes, check
from tests.faults.hosts import Host, can_slow_down, laid, missing
from tests.faults.nemesis import STOP, Nemesis
from tests.faults.producer import Producer, back, drain
from tests.faults.recovery import Promise, Recovery
from tests.faults.test_clocks import COMPILER, Clock
from tests.process.daemon import Daemon
from tests.process.own_server import OwnServer
from tests.recoveries import Recoveries, part
from tests.store import history
from tests.store.history import Change

HANDLERS = Path(__file__).parent / "fault_handlers.py"
LEASE, HEARTBEAT, GRACE = "2s", "300ms", "3s"
PROMISE = Promise(lease=2.0, heartbeat=0.3)
PATIENT = {"handlers": HANDLERS, "lease": LEASE, "heartbeat": HEARTBEAT, "shutdown_grace": GRACE, "log_level": "info"}
PATIENT |= {"max_crashes": 100, "max_restarts": 10_000, "pause_poll_interval": "1s"}
#: The length of the long form.
SECONDS = int(os.environ.get("WORKERPOOL_TEST_NEMESIS_SECONDS", "1800"))
Ground = tuple[OwnServer, list[Daemon]]


@pytest.fixture
def ground(request: pytest.FixtureRequest, tmp_path: Path, recoveries: Recoveries) -> Iterator[Ground]:
    """A server and two daemons, not started: each in a network namespace of its own, where such can be made."""
    with ExitStack() as stack:
        hosts: list[Daemon] = []
        if why := missing():
            recoveries.say(f"nemesis: two managers on one host, and no network is cut: {why}")
            server = request.getfixturevalue("own")
            for name in ("a", "b"):
                (tmp_path / name).mkdir()
                hosts.append(Daemon(server.url, tmp_path / name, **PATIENT))
        else:
            recoveries.say("nemesis: two managers in two network namespaces")
            network = stack.enter_context(laid())
            server = network.server
            # One notices a dead connection soon; the other one has the program's own settings, and hangs for long.
            for name, more in (("a", {}), ("b", {"options": ""})):
                hosts.append(Host(network, name, "workerpool", tmp_path, **PATIENT, **more))
                hosts[-1].journal = hosts[-1].folder / "journal"
            if not can_slow_down():
                recoveries.say("nemesis: no network is slow: there is no tc, or no token bucket")
            if not COMPILER:
                recoveries.say("nemesis: no clock jumps: there is no C compiler")
        for each in hosts:
            stack.callback(clear, each)
        yield server, hosts


def clear(host: Daemon) -> None:
    """End a host, whatever was being done to it."""
    if isinstance(host, Host):
        host.network.heal(host.name)
    for pid in host.others():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    host.clear()


def set_by(clock: Clock, host: Host) -> Clock:
    """Put a host on a clock of its own, and return that."""
    host.extra |= clock.environment
    return clock


@pytest.mark.parametrize("seconds", [40, pytest.param(SECONDS, marks=pytest.mark.long)])
def test_trouble_at_random(ground: Ground, tmp_path: Path, seed: int, recoveries: Recoveries, seconds: int) -> None:
    """I1 to I8, I11, I12, I16, I17, I19 under fourteen kinds of trouble, and five more where networks can be cut and
    clocks set: no violation, every revision ends, and what the dead held is free again within a lease, a sweep and two
    heartbeats; where nobody was there to free it, so soon after somebody is.
    """
    server, hosts = ground
    chronicle.record(server.url)
    notes = Notes()
    clocks = [set_by(Clock(each.folder / "clock", 0), each) for each in hosts if COMPILER and isinstance(each, Host)]
    nemesis = Nemesis(server, hosts, random.Random(seed), notes, PROMISE.lease, tmp_path / "deeds", clocks)
    for each in hosts:
        each.start()
    producer = Producer(server.url, seed, notes, pause=0.4)
    producer.start()
    until_when = time.monotonic() + seconds
    while time.monotonic() < until_when:
        time.sleep(nemesis.chance.uniform(0, 1.0))  # the moment is what is varied
        nemesis.strike()
    nemesis.heal()
    back(server.url, hosts)
    producer.stop()
    drain(server.url, hosts)
    assert [each.stop() for each in hosts] == [0, 0]
    with psycopg.connect(server.url) as connection:
        ends = dict(connection.execute("SELECT id, status::text FROM workerpool.revisions").fetchall())
        changes = history.changes(connection)
    notes.told = [replace(each, seen=ends[each.revision]) for each in notes.told]
    violations = check(server.url, hosts, notes)
    recoveries.say(f"nemesis: {seconds} s, {len(ends)} revisions: {dict(Counter(ends.values()))}")
    recoveries.say(f"nemesis: {len(violations)} violations; the producer lost {producer.lost} connections")
    found = measure(nemesis, changes)
    tell(recoveries, nemesis, changes, found)
    (tmp_path / "recoveries").write_text("".join(f"{each.seconds:.2f} s: {each}\n" for each in found))
    assert not violations, "\n".join(violations[:20])
    assert max(nemesis.stops, default=0.0) <= STOP
    worst = sorted(found, key=lambda each: each.late)[-10:]
    told = "\n".join(f"{each.hit.fault}: {each.seconds:.2f} s, {each.late:.2f} s late, {each}" for each in worst)
    assert part(sorted(each.seconds for each in found if each.plain), 0.99) <= PROMISE.seconds, told
    assert part(sorted(each.late for each in found), 0.99) <= 0, told


def measure(nemesis: Nemesis, changes: list[Change]) -> list[Recovery]:
    """Return every recovery of what was held by somebody who was hit."""
    windows = [
        window
        for number, host in enumerate(nemesis.hosts)
        for window in recovery.windows(host, number, nemesis.deeds, PROMISE.lease)
    ]
    windows = recovery.without(windows, [*nemesis.outages, *nemesis.pauses])
    return recovery.recovered(changes, nemesis.hits, windows, PROMISE)


def tell(recoveries: Recoveries, nemesis: Nemesis, changes: list[Change], found: list[Recovery]) -> None:
    """Note the recoveries by the kind of deed: of claims, and of hosts and the server until something begins again."""
    recoveries.say(f"nemesis: {len(nemesis.deeds)} deeds: {dict(Counter(each.kind for each in nemesis.deeds))}")
    recoveries.note("nemesis: from TERM to the exit", nemesis.stops, STOP)
    for kind in sorted({each.hit.fault for each in found}):
        its = [each.seconds for each in found if each.hit.fault == kind and each.plain]
        if its:
            recoveries.note(f"nemesis {kind}: free again", its, PROMISE.seconds)
    plain = [each.seconds for each in found if each.plain]
    recoveries.note("nemesis all: free again", plain, PROMISE.seconds)
    late = [each for each in found if not each.plain]
    recoveries.note("nemesis all, where nobody was there to free it", [each.seconds for each in late])
    longest = max(plain, default=0.0)
    recoveries.say(f"nemesis: free again after {longest:.2f} s at the latest, of {PROMISE.seconds:.1f} s")
    if late:
        left = -max(each.late for each in late)
        recoveries.say(
            f"nemesis: {len(late)} more, when nobody was there to free them: with {left:.2f} s left at the latest"
        )
    begun = recovery.begun(changes, nemesis.deeds, [recovery.managers(host) for host in nemesis.hosts])
    for kind, took in sorted(begun.items()):
        recoveries.note(f"nemesis {kind}: begins again", took)
