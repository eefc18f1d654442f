"""The counts of a real pool: right where its processes end cleanly, and never falling whatever dies."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from tests.process.daemon import Daemon, until
from workerpool.api.metrics import Metrics
from workerpool.api.statsd import Statsd
from workerpool.store.session import Session

Pool = Callable[..., Daemon]
Counters = dict[tuple[str, ...], float]
#: Seconds from the last count to the send of a worker that has nothing more to do, and some for a busy machine.
SENT = 20.0


class Watcher:
    """Somebody who scrapes all the time, and pushes what he gets to a StatsD; he remembers what fell."""

    def __init__(self, url: str, listener: socket.socket) -> None:
        self._url, self._listener = url, listener
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.fell: list[str] = []
        self.pushes = 0
        self.heard: dict[str, float] = defaultdict(float)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        metrics = Metrics(timedelta(seconds=60))
        statsd = Statsd(metrics, *self._listener.getsockname())
        before: Counters = {}
        with Session(self._url, "workerpool", "watcher") as session:
            while True:
                last = self._over.is_set()
                now = counters(session, metrics)
                self.fell += [
                    f"{each}: {before[each]}, {now.get(each)}" for each in before if now.get(each, 0) < before[each]
                ]
                before = now
                self.pushes += statsd.push(session)
                self._hear()
                if last:
                    statsd.close()
                    return
                self._over.wait(0.05)

    def _hear(self) -> None:
        self._listener.settimeout(0.02)
        try:
            while True:
                name, _, value = self._listener.recv(65_536).decode().partition(":")
                if value.endswith("|c"):
                    self.heard[name] += float(value[:-2])
        except TimeoutError:
            return


def counters(session: Session, metrics: Metrics) -> Counters:
    """Everything that only rises, by name and labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in metrics.collect(session)
        if family.type != "gauge"
        for sample in family.samples
    }


@pytest.fixture
def watcher(database: str) -> Iterator[Watcher]:
    """A watcher, already at it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        with Watcher(database, listener) as watcher:
            yield watcher


def counted(daemon: Daemon) -> Counters:
    """What is counted at this moment, where it is not nothing."""
    assert daemon.url is not None
    with Session(daemon.url, "workerpool", "test") as session:
        found = counters(session, Metrics(timedelta(seconds=60)))
    return {each: value for each, value in found.items() if value}


def outcomes(daemon: Daemon) -> dict[str, float]:
    """The outcomes, as `handler outcome kind`."""
    found = counted(daemon).items()
    return {" ".join(each[1:]).strip(): value for each, value in found if each[0] == "workerpool_outcomes_total"}


def expect(daemon: Daemon, expected: dict[str, int]) -> None:
    """Wait until the outcomes are these; more than these fails at once."""

    def same() -> bool:
        found = outcomes(daemon)
        assert all(value <= expected.get(each, 0) for each, value in found.items()), (found, expected)
        return found == expected

    try:
        until(same, SENT)
    except AssertionError:
        raise AssertionError(f"{outcomes(daemon)} instead of {expected}\n{daemon.tail()}") from None


def total(found: Counters, name: str) -> float:
    """The sum of a counter over its labels."""
    return sum(value for each, value in found.items() if each[0] == name)


def test_counts_survive_whatever_dies(pool: Pool, watcher: Watcher) -> None:
    """Completed, failed, retried, cancelled, crashed, killed, rescued, without a handler, the pool stopped and started:
    every attempt that ended is counted once, what was counted before never falls, and StatsD gets the same.
    """
    daemon = pool(unhandled_after="1s").start()
    expected = {"work completed": 40, "raise failed error": 3, "raise retried error": 1, "timed cancelled cancelled": 1}
    for number in range(40):
        daemon.insert(f"item{number}", "work")
    for number in range(2):
        daemon.insert(f"bad{number}", "raise", {"error": "Fail"})
    daemon.insert("twice", "raise", {"error": "ValueError"}, max_attempts=2)
    running = daemon.insert("long", "timed")
    daemon.begun(running)
    daemon.sql("UPDATE revisions SET cancel_requested_at = now() WHERE id = %s", running)
    expect(daemon, expected)
    found = counted(daemon)
    assert total(found, "workerpool_attempts_total") == total(found, "workerpool_claims_total") == 45
    assert total(found, "workerpool_run_seconds_count") == 45
    assert found["workerpool_wait_seconds_count", "work"] == 40

    # Those that take their worker with them: what it had counted before was sent, and the keeper counts for it.
    victim = daemon.insert("victim", "work", {"seconds": 60})
    worker = daemon.begun(victim)
    daemon.sql("UPDATE revisions SET payload = '{}' WHERE id = %s", victim)
    os.kill(worker, signal.SIGKILL)
    assert daemon.ended(victim)["crash_count"] == 1
    expect(daemon, expected | {"work completed": 41, "work retried crash": 1})
    assert daemon.ended(daemon.insert("poison", "segfault", max_attempts=10))["error_kind"] == "poison"
    daemon.sql(
        "INSERT INTO revisions (item_key, handler, status, attempt, worker_id, claim_token, lease_expires_at) "
        "VALUES ('lost', 'work', 'processing', 1, 'far/1-x/W1.1', gen_random_uuid(), now() - interval '1 s')"
    )
    assert daemon.ended(daemon.insert("nobody", "nobody's handler"))["status"] == "failed"
    expected |= {
        "work completed": 42,
        "work retried crash": 2,
        "segfault retried crash": 2,
        "segfault failed poison": 1,
    }
    expect(daemon, expected)
    found = counted(daemon)
    assert found["workerpool_restarts_total", "crash"] == 4
    assert found["workerpool_rescues_total",] == found["workerpool_unhandled_total",] == 1

    # A clean end sends what is left, and the next life of the pool goes on from there.
    for life in (1, 2):
        last = [daemon.insert(f"item{number}", "work") for number in range(10)]
        for each in last:
            daemon.ended(each)
        assert daemon.stop() == 0
        assert outcomes(daemon) == expected | {"work completed": 42 + 10 * life}
        if life == 1:
            daemon.start()
    assert counted(daemon)["workerpool_restarts_total", "crash"] == 4

    watcher.__exit__()
    assert watcher.fell == []
    assert watcher.pushes > 20
    for each, value in counted(daemon).items():
        if not each[0].endswith(("_bucket", "_sum")):
            told = ".".join([each[0], *(label.replace(" ", "_") or "none" for label in each[1:])])
            assert watcher.heard[told] == value, each


def test_a_long_handler_hides_nothing(pool: Pool) -> None:
    """While a handler runs, what its worker counted before is sent all the same."""
    daemon = pool(workers=1).start()
    daemon.insert("page", "work")
    long = daemon.insert("other", "work", {"seconds": 60})
    daemon.begun(long)
    expect(daemon, {"work completed": 1})
    assert counted(daemon)["workerpool_claims_total", "work"] == 2
    assert daemon.row(long)["status"] == "processing"
    daemon.sql("UPDATE revisions SET cancel_requested_at = now() WHERE id = %s", long)
    daemon.ended(long)
    assert daemon.stop() == 0
    assert outcomes(daemon) == {"work completed": 1, "work cancelled cancelled": 1}


def test_a_death_that_is_told_again_is_counted_once(pool: Pool) -> None:
    """A keeper that is slow to settle for a dead worker is told of it each second, and counts it once all the same."""
    daemon = pool(workers=1, lease="10s", failpoint="before_bury:sleep:1.5", failpoints_enabled=1).start()
    for _ in range(2):
        pid = daemon.pid_of_child("W1")
        os.kill(pid, signal.SIGKILL)
        daemon.pid_of_child("W1", other_than=pid)
    restarts = ("workerpool_restarts_total", "crash")
    until(lambda: counted(daemon).get(restarts, 0) >= 2, SENT)
    daemon.ended(daemon.insert("page", "work"))
    daemon.stop()
    assert counted(daemon)[restarts] == 2


def test_a_recycled_worker_takes_nothing_along(pool: Pool) -> None:
    """A worker that leaves after so many revisions sends what it has counted first."""
    daemon = pool(workers=1, max_revisions=5).start()
    for each in [daemon.insert(f"item{number}", "work") for number in range(12)]:
        daemon.ended(each)
    until(lambda: len(daemon.events("child.exited", child="W1")) == 2, what="two that left")
    assert daemon.stop() == 0
    assert counted(daemon)["workerpool_restarts_total", "recycled"] == 2
    assert outcomes(daemon) == {"work completed": 12}
