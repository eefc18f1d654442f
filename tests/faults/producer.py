"""Somebody who enqueues all the while, the wait until everybody works again, and until all of it has ended."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence

import psycopg

from tests.faults import recovery
from tests.faults.chronicle import Notes, enqueue
from tests.process.daemon import Daemon, until

ITEMS = [f"page{number}" for number in range(8)]
#: What is raised where the connection is lost.
LOST = (psycopg.OperationalError, psycopg.InterfaceError)
OPEN = "SELECT count(*) FROM workerpool.revisions WHERE completed_at IS NULL"


class Producer(threading.Thread):
    """Enqueues at random until told to stop, and notes what was acknowledged.

    *most*: while so many revisions are open it enqueues no more. Work is always there then, and never so much of it
    that the end of a test is the wait for what piled up while the pool was down. A handler takes from a millisecond to
    two seconds.
    """

    def __init__(self, url: str, seed: int, notes: Notes, pause: float, most: int = 300) -> None:
        super().__init__(daemon=True)
        self._url, self._chance, self._notes, self._pause = url, random.Random(seed), notes, pause
        self._most, self._over = most, threading.Event()
        self.lost = 0

    def run(self) -> None:
        """Enqueue; after a loss connect again: what was not acknowledged may be there or not."""
        while not self._over.is_set():
            try:
                with psycopg.connect(self._url, autocommit=True, connect_timeout=2) as connection:
                    while not self._over.wait(self._chance.uniform(0, 2 * self._pause)):
                        (there,) = connection.execute(OPEN).fetchone() or (0,)
                        if there < self._most:
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
        if self.is_alive():
            self.join(30)
        assert not self.is_alive()


def back(url: str, hosts: Sequence[Daemon]) -> None:
    """Wait until each worker of each host begins revisions again, which nobody helped it to: none is still connecting.

    Somebody has to enqueue meanwhile. A worker that is stopped while it connects cannot say farewell, and its pool
    ends with 5.
    """
    since = time.time()
    for host in hosts:
        until(lambda host=host: _begins(url, host, since), what=f"all of its workers begin again\n{host.tail()}")  # type: ignore[misc]
        until(lambda host=host: _keeps(host), what=f"its keeper is connected\n{host.tail()}")  # type: ignore[misc]


def _begins(url: str, host: Daemon, since: float) -> bool:
    begun = """
    SELECT count(DISTINCT regexp_replace(worker_id, '[.][0-9]+$', '')) FROM workerpool.revision_history
    WHERE new_status = 'processing' AND old_status = 'pending' AND at > to_timestamp(%s) AND starts_with(worker_id, %s)
    """
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            found = connection.execute(begun, [since, recovery.manager(host)]).fetchone()
    except psycopg.OperationalError:
        return False
    return found == (host.settings["workers"],)


def _keeps(host: Daemon) -> bool:
    told = {"keeper.connected", "database.lost"}
    return [each["event"] for each in host.events(role="keeper") if each["event"] in told][-1:] == ["keeper.connected"]


def drain(url: str, hosts: Sequence[Daemon]) -> None:
    """Wait until every revision has ended; nobody has to wait for a back-off."""
    hurry = "UPDATE workerpool.revisions SET run_at = clock_timestamp() WHERE status = 'pending' AND parked = 'due'"

    def empty() -> bool:
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(hurry)
                return connection.execute(OPEN).fetchone() == (0,)
        except psycopg.OperationalError:  # it recovers still from what was done to it last
            return False

    until(empty, 120.0, "\n".join(each.tail() for each in hosts))
