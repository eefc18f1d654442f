"""A host that falls silent inside of ``job.transaction()``: what it has locked keeps nobody for long."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.hosts import Host, Network, missing
from tests.process.daemon import until

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "-")
Place = Callable[..., Host]
#: How soon a dead peer is noticed here, by both ends.
SOON = "keepalives_idle=1&keepalives_interval=1&keepalives_count=2&tcp_user_timeout=3000"


@pytest.fixture
def place(network: Network, tmp_path: Path) -> Iterator[Place]:
    """Make a host with one worker (not started); all of one test are on one database, which has one row of books."""
    database, made = network.database(), []

    def make(name: str, **settings: object) -> Host:
        made.append(Host(network, name, database, tmp_path, workers=1, options=SOON, **settings))
        if len(made) == 1:
            made[0].sql("CREATE TABLE public.books AS SELECT 0 AS number")
        return made[-1]

    yield make
    for each in made:
        network.heal(each.name)
        if each.process is not None and each.process.poll() is None:
            each.everybody(signal.SIGCONT)
        each.clear()


def done_elsewhere(two: Host, revision: int) -> None:
    """Wait until the other host has done it, and see that its effect is there once."""
    row = two.ended(revision)
    assert (row["status"], row["result"]) == ("completed", {"attempt": 2, "host": two.name})
    assert two.sql("SELECT number FROM public.books") == [{"number": 1}]


def test_a_host_that_stands_still_before_its_commit(place: Place) -> None:
    """F06, F32: a host stands still when its outcome is written and not yet committed: the locks that this holds are
    free before another host looks for leases that ran out, and when it goes on nothing of it counts.
    """
    one = place("web1", failpoint="before_commit:stop", failpoints_enabled="1").start()
    revision = one.insert("page", "books")
    worker = one.begun(revision)
    until(lambda: Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0] == "T", what="stopped")
    one.everybody(signal.SIGSTOP)
    two = place("web2").start()
    done_elsewhere(two, revision)
    one.everybody(signal.SIGCONT)
    # It is told so, or is ended before it asks.
    ends = (("revision.fenced", {}), ("child.exited", {"child": "W1"}))
    until(lambda: any(one.events(name, **which) for name, which in ends), what="the thawed attempt's end")
    done_elsewhere(two, revision)
    assert (one.stop(), two.stop()) == (0, 0)


def test_a_host_that_is_gone_in_the_middle_of_its_transaction(place: Place) -> None:
    """F04, F25: a host loses its network and its power while a handler of it holds a row of the application's: nobody
    tells the server, which looks for itself, and the next attempt gets that row.
    """
    one = place("web1").start()
    revision = one.insert("page", "books", {"seconds": 1000})
    one.begun(revision)
    two = place("web2").start()
    one.network.cut(one.name)
    one.everybody(signal.SIGKILL)
    one.code()
    done_elsewhere(two, revision)
    assert two.stop() == 0
