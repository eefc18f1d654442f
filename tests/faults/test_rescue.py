"""What a rescue charges, and what it does not: the limits of the handler hold whoever rescues, and an outage of the
database is nobody's crash.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.daemon import Daemon, until
from tests.process.own_server import OwnServer

LEASE = 2.0
HANDLERS = Path(__file__).parent / "rescue_handlers.py"
Pool = Callable[..., Daemon]


@pytest.mark.parametrize(
    ("handler", "columns", "status", "attempt"),
    [
        ("once", {}, "failed", 1),
        ("often", {"attempt": 3}, "pending", 4),
        ("often", {"attempt": 4}, "failed", 5),
        ("often", {"attempt": 1, "max_attempts": 2}, "failed", 2),
        ("silent", {"attempt": 2}, "failed", 3),
        ("silent", {"attempt": 1}, "pending", 2),
    ],
)
def test_a_rescue_keeps_to_the_limit_of_the_handler(
    pool: Pool, handler: str, columns: dict[str, int], status: str, attempt: int
) -> None:
    """A host dies, and another one, which has no such handler, takes its revision back: it is tried again as often as
    its row says, else its handler, else three times, and neither more nor less.
    """
    first = pool(handlers=HANDLERS, workers=1, lease=f"{LEASE}s").start()
    revision = first.insert("page", handler, {"seconds": 1000}, **columns)
    first.begun(revision, attempt)
    first.send(signal.SIGKILL)
    first.code()
    other = pool(workers=1, lease=f"{LEASE}s", unhandled_after="60s").start()
    other.event("revision.rescued", revision_id=revision)
    row = other.row(revision)
    assert (row["status"], row["attempt"], row["crash_count"]) == (status, attempt, 1)
    assert row["error_kind"] == "crash"
    assert other.stop() == 0


@pytest.fixture
def daemon(own: OwnServer, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon on a server of its own, with leases that are shorter than the outages here."""
    made = Daemon(own.url, tmp_path, workers=1, lease=f"{LEASE}s")
    try:
        yield made
    finally:
        made.clear()


def test_outages_of_the_database_do_not_make_poison(own: OwnServer, daemon: Daemon, tmp_path: Path) -> None:
    """The database goes away three times, and once more, each time for longer than the lease, while one revision runs:
    its worker steps down each time, and it is given back, uncounted, and completes.
    """
    daemon.start()
    enough = tmp_path / "enough"
    revision = daemon.insert("page", "steps", {"steps": 1, "until": str(enough)})
    for number in range(4):
        until(lambda number=number: len(daemon.entries("begin", revision)) > number, what=f"begun\n{daemon.tail()}")
        lost = len(daemon.events("lease.lost"))
        daemon.connection.close()
        own.stop()
        until(lambda lost=lost: len(daemon.events("lease.lost")) > lost, what="its worker steps down")
        gone = time.monotonic()
        until(lambda gone=gone: time.monotonic() - gone > LEASE, what="the lease is over, and more")
        own.start()
    enough.touch()
    row = daemon.ended(revision)
    assert (row["status"], row["attempt"], row["crash_count"]) == ("completed", 1, 0)
    assert not daemon.events("revision.rescued")
    assert not daemon.events("slot.gave_up")
    assert daemon.stop() == 0
