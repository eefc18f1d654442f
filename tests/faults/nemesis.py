"""Trouble at random, from a seed: processes killed and frozen, networks and sessions cut, the server restarted, and
operators at work.

Owns: the kinds of trouble, and the notes of what was done. Does not own: what must hold (``chronicle``), and how long
recoveries take (``recovery``).
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.faults import recovery
from tests.faults.chronicle import Notes
from tests.faults.hosts import Host, Lost, can_slow_down
from tests.faults.producer import ITEMS, LOST
from tests.faults.recovery import JUMP, Deed, Hit
from tests.faults.test_clocks import Clock
from tests.process.daemon import Daemon, until
from tests.process.own_server import OwnServer
from tests.store.history import Told
from workerpool.store import changing, pausing
from workerpool.store.session import Session

#: Seconds of a host's grace, and of all that its stop may take (I16).
GRACE = 3.0
STOP = GRACE + 5.0


@dataclass(slots=True)
class Nemesis:
    """Whoever makes trouble for these hosts and their server, and for the network between them where there is one."""

    server: OwnServer
    hosts: Sequence[Daemon]
    chance: random.Random
    notes: Notes
    lease: float
    #: A file with a line for each deed, for whoever looks for a cause.
    journal: Path
    #: The clock of each host, where such can be made.
    clocks: Sequence[Clock] = ()
    deeds: list[Deed] = field(default_factory=list)
    hits: list[Hit] = field(default_factory=list)
    #: When the database was not to be relied on: from a fault of it until it answered.
    outages: list[tuple[float, float]] = field(default_factory=list)
    #: When nobody could be rescued, because of a pause that was asked for.
    pauses: list[tuple[float, float]] = field(default_factory=list)
    #: Seconds from each TERM to the exit.
    stops: list[float] = field(default_factory=list)
    _struck: int | None = None

    def strike(self) -> None:
        """Make trouble of one kind."""
        kinds: dict[Callable[[], None], int] = {
            self.kill_worker: 6,
            self.stop_worker: 2,
            self.kill_keeper: 2,
            self.kill_manager: 2,
            self.kill_host: 2,
            self.freeze_host: 1,
            self.restart_host: 2,
            self.cut_sessions: 3,
            self.kill_backend: 1,
            self.restart_server: 1,
            self.freeze_server: 1,
            self.pause: 3,
            self.cancel: 4,
            self.halt: 2,
        }
        if all(isinstance(host, Host) for host in self.hosts):
            kinds |= {self.cut_both: 2, self.cut_requests: 1, self.cut_answers: 1}
            kinds |= {self.slow_network: 2} if can_slow_down() else {}
        if self.clocks:
            kinds |= {self.jump_clock: 2}
        strike = self.chance.choices(list(kinds), list(kinds.values()))[0]
        self._struck, began = None, time.time()
        with contextlib.suppress(*LOST):  # an operator who meets an outage gives up
            strike()
        self.deeds.append(Deed(strike.__name__, self._struck, began, time.time()))
        with self.journal.open("a") as journal:
            journal.write(f"{self.deeds[-1]}\n")

    # -- processes -----------------------------------------------------------------------------------------------

    def kill_worker(self) -> None:
        """SIGKILL to a worker."""
        if workers := recovery.workers(self._host()):
            pid = self.chance.choice(list(workers))
            self._kill_workers("kill_worker", {pid: workers[pid]})
            _kill([pid])

    def stop_worker(self) -> None:
        """A worker is stopped for longer than its lease, and goes on if it was not replaced meanwhile."""
        if workers := recovery.workers(self._host()):
            pid = self.chance.choice(list(workers))
            self._hit("stop_worker", {pid: workers[pid]})
            self._freeze([pid])

    def kill_keeper(self) -> None:
        """SIGKILL to a keeper: its workers go on."""
        _kill([int(event["pid"]) for event in self._host().events("child.started", child="keeper")[-1:]])

    def kill_manager(self) -> None:
        """SIGKILL to a manager: nothing of it may be left (I12); it is started again, at once or a while later."""
        host = self._host()
        workers = recovery.workers(host)
        sent = host.kill()
        self._hit("kill_manager", workers, sent)
        for pid in workers:
            self.notes.killed[pid].append(sent)
        self._again(host)

    def kill_host(self) -> None:
        """SIGKILL to everything of a host in the same moment: the other host has to notice."""
        host = self._host()
        pids, workers = [host.pid, *host.others()], recovery.workers(host)
        self._kill_workers("kill_host", workers)
        _kill(pids)
        host.code()
        self._again(host)

    def freeze_host(self) -> None:
        """A host stands still for longer than its leases, as a virtual machine may, and goes on."""
        host = self._host()
        pids, workers = [host.pid, *host.others()], recovery.workers(host)
        self._hit("freeze_host", workers)
        self._freeze(pids)

    def restart_host(self) -> None:
        """TERM: gracefully, within the grace and five seconds (I16)."""
        host = self._host()
        listening(host)
        began = time.monotonic()
        assert host.stop(limit=STOP + 5.0) in (0, 5), host.tail()
        self.stops.append(time.monotonic() - began)
        self._again(host)

    def jump_clock(self) -> None:
        """A host's time of day jumps by hours, ahead or back."""
        self._host()
        assert self._struck is not None
        self.clocks[self._struck].jump(self.chance.choice([-JUMP, 0.0, JUMP]))

    # -- the network ---------------------------------------------------------------------------------------------

    def cut_both(self) -> None:
        """Packets of a host are lost, in both directions, for less than a lease or for longer."""
        self._cut("both")

    def cut_requests(self) -> None:
        """Only what it sends is lost."""
        self._cut("requests")

    def cut_answers(self) -> None:
        """Only what it is sent is lost: the database takes its claims and outcomes, and it never learns of it."""
        self._cut("answers")

    def slow_network(self) -> None:
        """A host's link is slow, and loses what waits in it for too long: a turn takes a tenth of a second, or two."""
        host = self._host()
        assert isinstance(host, Host)
        host.network.slow_down(host.name, round(2 ** self.chance.uniform(5, 9)))
        time.sleep(self.lease * self.chance.uniform(0.5, 2.0))  # the length is what is varied
        host.network.heal(host.name)

    def _cut(self, lost: Lost) -> None:
        host = self._host()
        assert isinstance(host, Host)
        # A short one costs nobody a lease, though the first packet behind it may be late by as much again.
        for_long = self.chance.random() < 0.7
        workers = recovery.workers(host)
        host.network.cut(host.name, lost)
        if for_long:
            self._hit(f"cut_{lost}", workers)
        share = self.chance.uniform(1.1, 2.0) if for_long else self.chance.uniform(0.05, 0.3)
        time.sleep(self.lease * share)  # the length is what is varied
        host.network.heal(host.name)

    # -- the database --------------------------------------------------------------------------------------------

    def cut_sessions(self) -> None:
        """Some of the pool's sessions are terminated."""
        self._backends("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = ANY (%s)", 3)

    def kill_backend(self) -> None:
        """SIGKILL to one backend: the server ends all sessions and recovers."""
        began = time.time()
        for (pid,) in self._backends("SELECT unnest(%s::int[])", 1):
            os.kill(pid, signal.SIGKILL)
        self._await_server(began)

    def restart_server(self) -> None:
        """The server is stopped, in order or as by a crash, for up to two seconds."""
        began = time.time()
        self.server.stop(self.chance.choice([signal.SIGINT, signal.SIGQUIT]))
        time.sleep(self.chance.uniform(0, 2.0))  # the length is what is varied
        self.server.start()
        self._await_server(began)

    def freeze_server(self) -> None:
        """Every process of the server stands still for up to a lease and a half."""
        began = time.time()
        self.server.freeze(signal.SIGSTOP)
        time.sleep(self.chance.uniform(0, 1.5 * self.lease))  # the length is what is varied
        self.server.freeze(signal.SIGCONT)
        self._await_server(began)

    # -- operators -----------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """A pause of either mode, for up to two seconds."""
        began = time.time()
        try:
            with Session(self.server.url, "workerpool", "nemesis") as session:
                pausing.pause(session, self.chance.choice(["drain", "quiesce"]), "trouble", "nemesis")
                since = time.time()
                time.sleep(self.chance.uniform(0, 2.0))  # the length is what is varied
                self.notes.pauses.append((since, time.time()))
                pausing.resume(session, "nemesis")
        finally:
            self.pauses.append((began, time.time()))

    def cancel(self) -> None:
        """Somebody cancels something that has not ended."""
        with Session(self.server.url, "workerpool", "nemesis") as session:
            rows = session.connection.execute(
                "SELECT id FROM workerpool.revisions WHERE completed_at IS NULL ORDER BY random() LIMIT 1"
            ).fetchall()
            for (revision,) in rows:
                answer = changing.cancel(session, [revision], "nemesis")[0].answer
                self.notes.told.append(Told(revision, answer, ""))

    def halt(self) -> None:
        """An item is halted for a while."""
        item = self.chance.choice(ITEMS)
        with Session(self.server.url, "workerpool", "nemesis") as session:
            changing.halt(session, item, "trouble", "nemesis")
            time.sleep(self.chance.uniform(0, 1.0))  # the length is what is varied
            changing.unhalt(session, item, "nemesis")

    def heal(self) -> None:
        """End all trouble."""
        for host in self.hosts:
            if isinstance(host, Host):
                host.network.heal(host.name)
        self._await_server(None)
        with Session(self.server.url, "workerpool", "nemesis") as session:
            pausing.resume(session, "nemesis")
            for item in ITEMS:
                changing.unhalt(session, item, "nemesis")

    # -- how -----------------------------------------------------------------------------------------------------

    def _host(self) -> Daemon:
        self._struck = self.chance.randrange(len(self.hosts))
        return self.hosts[self._struck]

    def _again(self, host: Daemon) -> None:
        time.sleep(self.chance.choice([0.0, self.chance.uniform(0, 3.0)]))  # the length is what is varied
        host.spawn()

    def _hit(self, kind: str, workers: dict[int, str], at: float | None = None) -> None:
        since = 0.0 if at is None else time.monotonic() - at
        self.hits.append(Hit(kind, frozenset(workers.values()), time.time() - since))

    def _kill_workers(self, kind: str, workers: dict[int, str]) -> None:
        self._hit(kind, workers)
        for pid in workers:
            self.notes.killed[pid].append(time.monotonic())

    def _freeze(self, pids: Sequence[int]) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                self.notes.stopped[pid].append(time.monotonic())
        time.sleep(self.lease * self.chance.uniform(1.1, 2.0))  # the length is what is varied
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _backends(self, statement: str, most: int) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.server.admin, connect_timeout=2, autocommit=True) as connection:
            found = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'workerpool:%'"
            ).fetchall()
            pids = self.chance.sample([row[0] for row in found], min(most, len(found)))
            return connection.execute(statement, [pids]).fetchall()  # type: ignore[arg-type]

    def _await_server(self, began: float | None) -> None:
        def answers() -> bool:
            try:
                with psycopg.connect(self.server.url, connect_timeout=2) as connection:
                    return connection.execute("SELECT 1").fetchone() == (1,)
            except psycopg.OperationalError:
                return False

        until(answers, what="the server answers")
        if began is not None:
            self.outages.append((began, time.time()))


def listening(host: Daemon) -> None:
    """Wait until a manager that was just started has its signals in place."""
    until(lambda: host.events("manager.started", pid=host.pid), what="manager.started")


def _kill(pids: Sequence[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
