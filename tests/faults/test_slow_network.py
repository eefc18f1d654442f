"""A network to PostgreSQL that is slow, that hangs for a while, or that breaks: nobody loses a lease that need not be
lost, and nothing is lost or doubled.
"""

import random
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import QUICK, Databases
from tests.faults.hosts import HANDLERS, check_no_overlap
from tests.faults.proxy import Direction, Proxy
from tests.process.daemon import Daemon, until
from tests.process.own_server import OwnServer
from workerpool.store import migrate
from workerpool.store.embedded import Server

#: The round trip of a slow network, in seconds; the heartbeat is longer, as it has to be.
ROUND_TRIP, HEARTBEAT, LEASE = 0.5, 1.0, 6.0
ITEMS, EACH = 8, 5
Start = Callable[..., Daemon]


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[OwnServer, str]]:
    """A PostgreSQL of this file's own, on a socket and on a loopback address that nobody else has; and the address."""
    made = OwnServer()
    address = f"127.{random.randint(64, 250)}.{random.randint(1, 250)}.{random.randint(2, 250)}"
    rules = made.home / "hba.conf"
    rules.write_text("local all all peer map=workerpool\nhost all all 127.0.0.0/8 trust\n")
    rules.chmod(0o644)
    settings = (("listen_addresses", address), ("hba_file", str(rules)))
    made._facts = Server(made.home, folder=made._facts.folder, settings=QUICK + settings)
    try:
        made.start()
        migrate.upgrade(made.url)
        yield made, address
    finally:
        made.remove()


@pytest.fixture
def proxy(server: tuple[OwnServer, str]) -> Iterator[Proxy]:
    """A proxy in front of it."""
    with Proxy(server[1]) as made:
        yield made


class Far(Daemon):
    """A manager behind a proxy, or with a connection of its own; the journal is that of all."""

    def __init__(self, database: str, far: str, folder: Path) -> None:
        folder.mkdir()
        times = {"lease": f"{LEASE}s", "heartbeat": f"{HEARTBEAT}s", "handlers": HANDLERS}
        super().__init__(database, folder, **times)
        self.far, self.journal = far, folder.parent / "journal"

    def environment(self) -> dict[str, str]:
        """The same, with the far address of the database."""
        return super().environment() | {"WORKERPOOL_DATABASE_URL": self.far}


@pytest.fixture
def start(server: tuple[OwnServer, str], tmp_path: Path) -> Iterator[Start]:
    """Start a manager behind a proxy; without one it is connected directly. All of a test share a fresh database."""
    own, made = server[0], []
    databases, name = Databases(own.admin, own.url), f"slow_{uuid.uuid4().hex[:10]}"
    databases.create(name, "workerpool")

    def one(proxy: Proxy | None = None) -> Far:
        port = f"127.0.0.1:{proxy.port}" if proxy is not None else f"{server[1]}:5432"
        far = f"postgresql://workerpool@{port}/{name}"
        made.append(Far(databases.url(name), far, tmp_path / f"host{len(made)}"))
        made[-1].start()
        return made[-1]

    yield one
    for each in made:
        each.clear()


def load(one: Daemon, seconds: float = 0.3, each: int = EACH) -> None:
    """Insert work for some items, with a long one first in each of two."""
    one.sql(
        "INSERT INTO revisions (item_key, handler, payload) SELECT 'item' || n %% %s, 'alive', jsonb_build_object("
        "'seconds', random() * %s::float, 'talks', n %% 2 = 0) FROM generate_series(1, %s) n",
        ITEMS,
        seconds,
        ITEMS * each,
    )


def all_once(one: Daemon, *, attempts: int = 1) -> None:
    """Wait until everything is over: everything was completed, by at most so many attempts, in order, and alone."""
    busy = "SELECT 1 FROM revisions WHERE status IN ('pending', 'processing') LIMIT 1"
    until(lambda: not one.sql(busy), 90, f"all over\n{one.tail()}")
    rows = one.sql("SELECT id, status, attempt, error_message FROM revisions")
    assert all(row["status"] == "completed" and row["attempt"] <= attempts for row in rows), rows
    check_no_overlap(one)
    assert not one.events("heal.unparked")


def test_half_a_second_for_each_round_trip(start: Start, proxy: Proxy) -> None:
    """Each round trip takes half a second: revisions run longer than a lease, and many short ones, and none is taken
    away from a living worker, retried or doubled.
    """
    one = start(proxy)
    proxy.delay(ROUND_TRIP / 2)
    long = [one.insert(f"long{n}", "alive", {"seconds": LEASE + 1, "talks": True}) for n in range(2)]
    for each in long:
        one.ended(each, 60)
    load(one, 0.1, 2)
    all_once(one)
    assert not one.events("revision.rescued")
    assert not one.events("lease.lost")
    assert one.stop() in (0, 5)


def test_much_to_do_delays_no_renewal(start: Start, proxy: Proxy) -> None:
    """A sweep of claims of a host that is gone takes longer than a lease where each round trip takes half a second:
    between them the keeper renews what runs here.
    """
    one = start(proxy)
    one.insert("first", "alive", {"seconds": 0.1, "talks": True})
    until(lambda: one.entries("end"), what="connected for a while")
    gone = (
        "INSERT INTO revisions (item_key, handler, payload, status, attempt, worker_id, claim_token, lease_expires_at) "
        "SELECT 'gone' || n, 'alive', '{\"seconds\": 0}', 'processing', 1, 'gone/W1', gen_random_uuid(), now() "
        "FROM generate_series(1, 20) n"
    )
    one.sql(gone)
    proxy.delay(ROUND_TRIP / 2)
    long = [one.insert(f"long{n}", "alive", {"seconds": 3 * LEASE, "talks": True}) for n in range(2)]
    for each in long:
        assert one.ended(each, 90)["attempt"] == 1
    all_once(one, attempts=2)
    assert len(one.events("revision.rescued")) == 20
    assert not one.events("lease.lost")


def test_the_network_hangs_for_seconds_again_and_again(start: Start, proxy: Proxy) -> None:
    """Nothing is delivered for half a lease, in one direction or both, at random moments, with a second manager
    that would take over what is lost: no lease is lost, nothing is retried or doubled.
    """
    one, _ = start(proxy), start()
    load(one, 2.0)
    ways: list[tuple[Direction, ...]] = [("requests",), ("answers",), ("requests", "answers")]
    for way in ways:
        seen = len(one.entries("alive"))
        until(lambda before=seen: len(one.entries("alive")) > before + 50, what="under way")  # type: ignore[misc]
        time.sleep(random.uniform(0, 0.5))
        frozen = time.monotonic()
        proxy.freeze(*way)
        until(lambda since=frozen: time.monotonic() - since > LEASE / 2, what="the network hung")  # type: ignore[misc]
        proxy.thaw()
    all_once(one)
    assert not one.events("lease.lost")
    assert one.stop() == 0


def test_the_network_hangs_for_longer_than_a_lease(start: Start, proxy: Proxy) -> None:
    """Requests arrive and answers do not, for longer than a lease: the worker has stopped before the other host begins
    what it ran, and when everything that was kept is delivered at last, nothing of it counts.
    """
    one, two = start(proxy), start()
    revision = one.insert("page", "alive", {"seconds": 0.1, "talks": True})
    one.ended(revision)
    held = [one.insert(f"long{n}", "alive", {"seconds": LEASE * 1.25, "talks": True}) for n in range(4)]
    until(lambda: len({each[1] for each in one.entries("begin")}) == 5, what="all begun")
    proxy.freeze("answers")
    for each in held:
        assert one.ended(each, 90)["status"] == "completed"
    proxy.thaw()
    all_once(one, attempts=2)
    assert max(row["attempt"] for row in one.sql("SELECT attempt FROM revisions")) <= 2
    assert one.stop() in (0, 5)
    assert two.stop() == 0


def test_connections_that_break_again_and_again(start: Start, proxy: Proxy) -> None:
    """Every connection is broken at random moments, with what is under way: everything runs once, in order."""
    one = start(proxy)
    proxy.delay(0.02)
    load(one, 0.4)
    for _ in range(6):
        seen = len(one.entries("alive"))
        until(lambda before=seen: len(one.entries("alive")) > before + 20, what="under way")  # type: ignore[misc]
        time.sleep(random.uniform(0, 0.3))
        proxy.cut()
    all_once(one)
    assert not one.events("child.restarted")
    assert one.stop() == 0
