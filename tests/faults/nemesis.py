"""Trouble at random, from a seed: processes killed and frozen, sessions cut, the server restarted, operators at work.

Owns: the kinds of trouble, and the notes of what was done. Does not own: what must hold (``chronicle``).
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.faults.chronicle import Notes, enqueue
from tests.process.daemon import ORPHANS_GONE, Daemon, gone, until
from tests.process.own_server import OwnServer
from tests.store.history import Told
from workerpool.store import changing, pausing
from workerpool.store.session import Session

ITEMS = [f"page{number}" for number in range(8)]
LOST = (psycopg.OperationalError, psycopg.InterfaceError)


@dataclass(frozen=True, slots=True)
class Hit:
    """A claim whose holder was hit, and when, in seconds of the machine's clock."""

    revision: int
    token: str
    kind: str
    at: float


@dataclass(slots=True)
class Nemesis:
    """Whoever makes trouble for these hosts and their server."""

    server: OwnServer
    hosts: Sequence[Daemon]
    chance: random.Random
    notes: Notes
    lease: float
    done: Counter[str] = field(default_factory=Counter)
    hits: list[Hit] = field(default_factory=list)
    #: When the database was not to be relied on: from a fault of it until it answered.
    outages: list[tuple[float, float]] = field(default_factory=list)
    #: Seconds from each TERM to the exit.
    stops: list[float] = field(default_factory=list)

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
        strike = self.chance.choices(list(kinds), list(kinds.values()))[0]
        self.done[strike.__name__] += 1
        with contextlib.suppress(*LOST):  # an operator who meets an outage gives up
            strike()

    # -- processes -----------------------------------------------------------------------------------------------

    def kill_worker(self) -> None:
        """SIGKILL to a worker."""
        host = self._host()
        if workers := self._workers(host):
            pid = self.chance.choice(list(workers))
            self._aim("kill_worker", {pid: workers[pid]})
            _kill([pid])

    def stop_worker(self) -> None:
        """A worker is stopped for longer than its lease, and goes on if it was not replaced meanwhile."""
        host = self._host()
        if workers := self._workers(host):
            self._freeze([self.chance.choice(list(workers))])

    def kill_keeper(self) -> None:
        """SIGKILL to a keeper: its workers go on."""
        host = self._host()
        _kill([int(event["pid"]) for event in host.events("child.started", child="keeper")[-1:]])

    def kill_manager(self) -> None:
        """SIGKILL to a manager: nothing of it may be left (I12); it is started again, at once or a while later."""
        host = self._host()
        self._aim("kill_manager", self._workers(host))
        left = host.others()
        host.send(signal.SIGKILL)
        host.code()
        until(lambda: all(gone(pid) for pid in left), ORPHANS_GONE + 1.0, "nothing left of a killed manager")
        self._again(host)

    def kill_host(self) -> None:
        """SIGKILL to everything of a host in the same moment: the other host has to notice."""
        host = self._host()
        self._aim("kill_host", self._workers(host))
        _kill([host.pid, *host.others()])
        host.code()
        self._again(host)

    def freeze_host(self) -> None:
        """A host stands still for longer than its leases, as a virtual machine may, and goes on."""
        host = self._host()
        self._freeze([host.pid, *host.others()])

    def restart_host(self) -> None:
        """TERM: gracefully, within the grace and five seconds (I16)."""
        host = self._host()
        listening(host)
        began = time.monotonic()
        assert host.stop(limit=3.0 + 5.0 + 5.0) in (0, 5), host.tail()
        self.stops.append(time.monotonic() - began)
        self._again(host)

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
        with Session(self.server.url, "workerpool", "nemesis") as session:
            pausing.pause(session, self.chance.choice(["drain", "quiesce"]), "trouble", "nemesis")
            since = time.time()
            time.sleep(self.chance.uniform(0, 2.0))  # the length is what is varied
            self.notes.pauses.append((since, time.time()))
            pausing.resume(session, "nemesis")

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
        self._await_server(None)
        with Session(self.server.url, "workerpool", "nemesis") as session:
            pausing.resume(session, "nemesis")
            for item in ITEMS:
                changing.unhalt(session, item, "nemesis")

    # -- how -----------------------------------------------------------------------------------------------------

    def _host(self) -> Daemon:
        return self.chance.choice(self.hosts)

    def _again(self, host: Daemon) -> None:
        time.sleep(self.chance.choice([0.0, self.chance.uniform(0, 3.0)]))  # the length is what is varied
        host.spawn()

    def _workers(self, host: Daemon) -> dict[int, str]:
        """The pids of a host's workers, and a pattern of the name of each."""
        living = set(host.others())
        started = [event for event in host.events("child.started") if event["child"] in ("W1", "W2")]
        return {
            int(event["pid"]): f"%/{host.pid}-%/{event['child']}.{event['generation']}"
            for event in started
            if event["pid"] in living
        }

    def _aim(self, kind: str, workers: dict[int, str]) -> None:
        """Note what these workers hold, just before they are killed."""
        with contextlib.suppress(*LOST), psycopg.connect(self.server.url, connect_timeout=2) as connection:
            rows = connection.execute(
                "SELECT id, claim_token::text FROM workerpool.revisions "
                "WHERE status = 'processing' AND worker_id LIKE ANY (%s)",
                [list(workers.values())],
            ).fetchall()
            self.hits += [Hit(revision, token, kind, time.time()) for revision, token in rows]
        self.notes.killed |= {pid: time.monotonic() for pid in workers}

    def _freeze(self, pids: Sequence[int]) -> None:
        self.notes.stopped |= set(pids)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
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


class Producer(threading.Thread):
    """Enqueues at random until told to stop, and notes what was acknowledged."""

    def __init__(self, url: str, seed: int, notes: Notes, pause: float) -> None:
        super().__init__(daemon=True)
        self._url, self._chance, self._notes, self._pause = url, random.Random(seed), notes, pause
        self._over = threading.Event()
        self.lost = 0

    def run(self) -> None:
        """Enqueue; after a loss connect again: what was not acknowledged may be there or not."""
        while not self._over.is_set():
            try:
                with psycopg.connect(self._url, autocommit=True, connect_timeout=2) as connection:
                    while not self._over.wait(self._chance.uniform(0, 2 * self._pause)):
                        enqueue(connection, self._notes, self._rows())
            except LOST:
                self.lost += 1
                self._over.wait(0.1)

    def _rows(self) -> list[tuple[str, str]]:
        rows = []
        for _ in range(self._chance.choice((1, 1, 2, 5))):
            seconds = 0.001 * 2000 ** self._chance.random()
            rows.append((self._chance.choice(ITEMS), f'{{"seconds": {seconds:.4f}, "errors": 0.03, "fails": 0.01}}'))
        return rows

    def stop(self) -> None:
        """Stop, and wait for it."""
        self._over.set()
        self.join(30)
        assert not self.is_alive()
