"""Many processes at one queue, some of them killed or stopped, and a checker over everything that happened.

``tests/run.sh --long`` adds a run that is twenty times as long; WORKERPOOL_TEST_SEED repeats one.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest

from tests.conftest import Databases
from tests.store import history
from tests.store.driving import Session
from tests.store.history import Change, Enqueued, Settled, Told, violations
from tests.store.racer import LEASE
from workerpool.core.outcome import Outcome

LIMIT = 60.0


class Racers:
    """The processes of one run, and their logs."""

    def __init__(self, url: str, folder: Path, chance: random.Random) -> None:
        self._url, self._folder, self._chance = url, folder, chance
        self._count = 0

    def start(self, kind: str, number: int = 0) -> subprocess.Popen[bytes]:
        """Start one more."""
        self._count += 1
        log = self._folder / f"{self._count}-{kind}.log"
        seed = str(self._chance.randrange(2**31))
        argv = [sys.executable, "-m", "tests.store.racer", kind, self._url, str(log), seed, str(number)]
        return subprocess.Popen(argv, stdin=subprocess.PIPE)

    def facts(self) -> Iterator[dict]:
        """Return everything that they wrote down."""
        for path in sorted(self._folder.glob("*.log")):
            for line in path.read_text().splitlines():
                yield json.loads(line)


@contextmanager
def ended(processes: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Whatever happens, nobody is left."""
    try:
        yield
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()


@dataclass
class Keeper:
    """Rescues, dismisses and heals, as a keeper and an operator would."""

    session: Session
    chance: random.Random
    rescues: int = 0
    dismissals: int = 0

    def round(self) -> None:
        """Do one round of everything; nothing may be stranded at any moment."""
        expired = self.session.sql(
            "SELECT id, claim_token FROM {schema}.revisions "
            "WHERE status = 'processing' AND lease_expires_at < clock_timestamp() ORDER BY id LIMIT 20"
        )
        for id_, token in expired:
            crash = Outcome(id_, token, "retried", message="its lease ran out", kind="crash", crashed=True)
            self.rescues += len(self.session.settle(crash, only_expired=True))
        if self.chance.random() < 0.3:
            pending = self.session.sql(
                "SELECT id FROM {schema}.revisions WHERE status = 'pending' ORDER BY id DESC LIMIT 40"
            )
            if pending:
                self.dismissals += len(self.session.dismiss(self.chance.choice(pending)[0]))
        assert self.session.heal() == []


def trouble(racers: Racers, workers: list[subprocess.Popen[bytes]], chance: random.Random) -> None:
    """Kill one and start another in its place, or stop one for longer than its lease."""
    victim = chance.choice([each for each in workers if each.poll() is None])
    if chance.random() < 0.7:
        victim.kill()
        workers.append(racers.start("worker"))
    else:
        victim.send_signal(signal.SIGSTOP)
        time.sleep(LEASE * 1.2)
        victim.send_signal(signal.SIGCONT)


def run(url: str, folder: Path, seed: int, revisions: int) -> tuple[list[Enqueued], list[Settled], Keeper]:
    """Run everything until all that was inserted has ended; returns what the processes were told."""
    chance = random.Random(seed)
    racers = Racers(url, folder, chance)
    with ExitStack() as stack:
        keeper = Keeper(stack.enter_context(Session(url, "keeper")), chance)
        inserters = [racers.start("inserter", revisions // 2) for _ in range(2)]
        workers = [racers.start("worker") for _ in range(4)]
        stack.enter_context(ended(inserters))
        stack.enter_context(ended(workers))
        end = time.monotonic() + LIMIT + revisions / 50
        next_trouble = time.monotonic() + 1.0
        unfinished = "SELECT count(*) FROM {schema}.revisions WHERE status IN ('pending', 'processing')"
        while any(each.poll() is None for each in inserters) or keeper.session.sql(unfinished) != [(0,)]:
            assert time.monotonic() < end, f"not done: {keeper.session.sql('SELECT * FROM {schema}.item_status')}"
            keeper.round()
            if time.monotonic() > next_trouble:
                trouble(racers, workers, chance)
                next_trouble = time.monotonic() + 0.1 + chance.random() * 0.5
            time.sleep(0.02)  # the pace of the keeper, not a wait for anything
        for each in workers:
            assert each.stdin is not None
            each.stdin.close()
        assert {each.wait(LIMIT) for each in workers} <= {0, -signal.SIGKILL}
        assert {each.wait(LIMIT) for each in inserters} == {0}
    enqueued: list[Enqueued] = []
    sent: dict[tuple[int, str, str], bool | None] = {}
    for fact in racers.facts():
        assert "error" not in fact, fact
        if "ids" in fact:
            enqueued.append(Enqueued(tuple(fact["ids"]), fact.get("acknowledged"), fact.get("rolled_back", False)))
        for id_, token, verdict in fact.get("sent", ()):
            sent[id_, token, verdict] = id_ in fact["written"] if "written" in fact else None
    return enqueued, [Settled(*key, written) for key, written in sent.items()], keeper


@pytest.mark.parametrize("revisions", [1_500, pytest.param(30_000, marks=pytest.mark.long)])
def test_nothing_is_lost_or_doubled(server: Databases, template: str, tmp_path: Path, revisions: int) -> None:
    """P1, P2, P3, R10: four workers, two inserters, kills, stops, rescues, dismissals leave a clean history."""
    seed = int(os.environ.get("WORKERPOOL_TEST_SEED", random.randrange(2**31)))
    print(f"WORKERPOOL_TEST_SEED={seed}")
    name = f"workerpool_test_race_{seed}"
    server.create(name, template)
    try:
        with psycopg.connect(server.url(name), autocommit=True) as connection:
            history.record(connection)
            enqueued, settled, keeper = run(server.url(name), tmp_path, seed, revisions)
            found = history.changes(connection)
            with Session(server.url(name)) as session:
                assert session.heal() == []
                assert session.turn(handlers=("x", "y")) == []
                assert session.answer == "empty"
        print(
            f"{len(found)} changes, {len(enqueued)} transactions, {len(settled)} outcomes, {keeper.rescues} rescues, "
            f"{keeper.dismissals} dismissals, {sum(each.written is False for each in settled)} refused, "
            f"{sum(each.written is None for each in settled)} unknown"
        )
        assert sum(len(each.ids) for each in enqueued if not each.rolled_back) >= revisions
        assert violations(found, enqueued, settled) == []
    finally:
        server.drop(name)


def life(revision: int, *path: str, start: float, number: int | None = None, item: str = "a") -> list[Change]:
    """A history of one revision that takes a second for each step; every claim is a new attempt."""
    found: list[Change] = []
    attempt, token = 0, None
    for ver, after in enumerate(path, 1):
        before = found[-1].after if found else None
        if after == "processing" and before != "processing":
            attempt, token = attempt + 1, f"{revision}.{ver}"
        shown = token if after != "pending" else None
        last = number if after == "completed" else None
        found.append(Change(revision, item, ver, before, after, attempt, 0, shown, last, start + ver))
    return found


GOOD = [
    *life(1, "pending", "processing", "completed", start=0, number=1),
    *life(
        2, "pending", "pending", "processing", "pending", "processing", "processing", "completed", start=1.5, number=2
    ),
    *life(3, "pending", "cancelled", start=2),
    *life(4, "scheduled", "pending", "processing", "failed", start=20, item="b"),
]
CLIENTS = [Enqueued((1, 2), 1.2), Enqueued((3,), 3.5), Enqueued((9,), None, rolled_back=True)]
TOLD = [Settled(1, "1.2", "completed", True), Settled(2, "2.3", "failed", False), Settled(2, "2.5", "completed", None)]


def changed(revision: int, ver: int, **fields: object) -> list[Change]:
    """The good history with one change falsified."""
    return [replace(c, **fields) if (c.revision, c.ver) == (revision, ver) else c for c in GOOD]  # type: ignore[arg-type]


def moved(revision: int, seconds: float) -> list[Change]:
    """The good history with one revision earlier or later."""
    return [replace(c, at=c.at + seconds) if c.revision == revision else c for c in GOOD]


def test_checker_finds_nothing_in_a_good_history() -> None:
    """The checker has no complaint about a history in which all is well."""
    assert violations(GOOD, CLIENTS, TOLD) == []


@pytest.mark.parametrize(
    ("falsified", "complaint"),
    [
        (lambda: (moved(2, -1.6), [], []), "were processing at the same time"),
        (lambda: (moved(1, 100), CLIENTS, []), "revision 2 started before 1 had ended"),
        (lambda: (changed(1, 3, at=4.6), CLIENTS, []), "were processing at the same time"),
        (lambda: (changed(2, 7, number=3), CLIENTS, []), "are numbered"),
        (lambda: (changed(2, 7, number=1), CLIENTS, []), "are numbered"),
        (lambda: (changed(2, 5, token="2.3"), CLIENTS, []), "claimed twice with token"),
        (lambda: (changed(2, 6, token="other"), CLIENTS, []), "its token changed while processing"),
        (lambda: (changed(2, 5, attempt=1), CLIENTS, []), "counted 0 attempts"),
        (lambda: (changed(2, 7, crashes=1), CLIENTS, []), "counted 0 attempts and 1 crashes"),
        (lambda: (changed(4, 4, after="pending"), CLIENTS, []), "revision 4: never ended, it is pending"),
        (lambda: (changed(3, 2, after="completed"), CLIENTS, []), "illegal change from pending to completed"),
        (lambda: (changed(1, 2, before="draft"), CLIENTS, []), "but it was pending"),
        (
            lambda: ([*GOOD, replace(GOOD[11], ver=3, before="cancelled", after="pending")], CLIENTS, []),
            "changed after its end",
        ),
        (lambda: ([c for c in GOOD if c.ver != 2], CLIENTS, []), "missing or doubled"),
        (lambda: ([*GOOD, GOOD[0]], CLIENTS, []), "missing or doubled"),
        (lambda: ([c for c in GOOD if c.revision != 3], CLIENTS, []), "revision 3: was acknowledged and is lost"),
        (lambda: (GOOD[:-1], CLIENTS, []), "revision 4: never ended, it is processing"),
        (lambda: ([*GOOD, *life(9, "pending", "cancelled", start=0)], CLIENTS, []), "was rolled back and is there"),
        (lambda: (GOOD, CLIENTS, [Settled(1, "wrong", "completed", True)]), "was acknowledged and written 0 times"),
        (lambda: (GOOD, CLIENTS, [Settled(1, "1.2", "completed", False)]), "was refused and written"),
        (lambda: (GOOD, CLIENTS, [Settled(1, "1.2", "failed", True)]), "was acknowledged and written 0 times"),
        (lambda: (changed(4, 3, asked=True), [], []), "was asked to cancel, and is failed"),
        (lambda: (GOOD, [], [], [Told(1, "cancelled", "completed")]), "its canceller was told cancelled"),
        (lambda: (GOOD, [], [], [Told(4, "asked", "failed")]), "its canceller was told asked"),
        (lambda: (GOOD, [], [], [Told(3, "ended", "completed")]), "saw completed; it ended ['cancelled']"),
    ],
)
def test_checker_finds_each_violation(
    falsified: Callable[[], tuple[list[Change], list[Enqueued], list[Settled]]], complaint: str
) -> None:
    """FAULTS 2.3: the checker itself is checked: every kind of violation in a fabricated history is found."""
    told = violations(*falsified())
    assert any(complaint in each for each in told), told
