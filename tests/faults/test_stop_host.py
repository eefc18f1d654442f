"""`workerpool stop --host`: a pool is stopped from another host, through the database."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.hosts import Host, Network, missing
from tests.process.daemon import until

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "-")
Place = Callable[..., Host]


@pytest.fixture
def place(network: Network, tmp_path: Path) -> Iterator[Place]:
    """Make a host (not started); all of one test are on one database, and none leaves anything behind."""
    database, made = network.database(), []

    def make(name: str, **settings: object) -> Host:
        made.append(Host(network, name, database, tmp_path, **settings))
        return made[-1]

    yield make
    for each in made:
        each.clear()


def stop(host: Host, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `workerpool stop`, on a machine that is none of the hosts."""
    environment = host.environment() | {"WORKERPOOL_HOME": str(host.folder / "elsewhere")}
    command = [sys.executable, "-m", "workerpool", "stop", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_a_host_is_stopped_from_elsewhere(place: Place) -> None:
    """`stop --host` lets what runs there finish, starts nothing more there, ends the manager with 0, touches no other
    host, and is recorded with who and why.
    """
    one, two = place("web1").start(), place("web2").start()
    long = [one.insert(f"item{n}", "alive", {"seconds": 1.5}) for n in range(4)]
    running = two.at_work(2)
    done = stop(one, "--host", "web2", "--reason", "a new disk")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("stopped web2/")
    assert two.code() == 0
    rows = {row["id"]: row for row in one.sql("SELECT * FROM revisions")}
    assert {rows[each]["status"] for each in running} == {"completed"}
    assert {rows[each]["attempt"] for each in running} == {1}
    for each in long:
        assert one.ended(each)["status"] == "completed"
    after = one.insert("later", "alive", {"seconds": 0})
    assert one.ended(after)["worker_id"].startswith("web1/")
    assert not one.events("manager.stopping")
    events = one.sql("SELECT action, mode, reason, actor, target FROM control_events WHERE control = 'pool'")
    assert [(e["action"], e["mode"], e["reason"], e["target"]) for e in events] == [
        ("stop", "graceful", "a new disk", "host:web2")
    ]
    assert "@" in events[0]["actor"]
    listed = [row["state"] for row in one.sql("SELECT state FROM workers WHERE host = 'web2'")]
    assert set(listed) == {"gone"}


def test_a_quick_stop_gives_back_at_once(place: Place) -> None:
    """`stop --host --quick`, also after a graceful one that takes too long: out within 5 s, what ran there is given
    back, its attempt not counted, and another host performs it.
    """
    two = place("web2", shutdown_grace="60s").start()
    revision = two.insert("page", "alive", {"seconds": 1000})
    two.at_work()
    late = stop(two, "--host", "web2", "--wait", "500ms")
    assert late.returncode == 75
    assert "are still there after 500ms" in late.stderr
    assert "--quick" in late.stderr
    assert two.row(revision)["status"] == "processing"
    assert stop(two, "--host", "web2", "--quick").returncode == 0
    assert two.code(5.0) in (0, 5)
    row = two.row(revision)
    assert (row["status"], row["attempt"], row["crash_count"]) == ("pending", 0, 0)
    one = place("web1").start()
    until(lambda: one.row(revision)["worker_id"].startswith("web1/"), what="taken by another host")


def test_an_unknown_host_is_named_with_those_that_are_there(place: Place) -> None:
    """A host on which no worker lives is refused with 3 and the names of the hosts; nothing is recorded, and a host
    that is started again after a stop is not stopped by the old request.
    """
    one = place("web1").start()
    wrong = stop(one, "--host", "wbe1")
    assert (wrong.returncode, wrong.stdout) == (3, "")
    assert "no worker on host 'wbe1' is alive: pools run on web1" in wrong.stderr
    assert not one.sql("SELECT 1 FROM control_events")
    assert stop(one, "--reason", "no host").returncode == 2
    assert stop(one, "--host", "web1").returncode == 0
    assert one.code() == 0
    assert "no pool runs anywhere" in stop(one, "--host", "web1").stderr
    one.start()
    revision = one.insert("page", "alive", {"seconds": 1.5})
    assert one.ended(revision)["status"] == "completed"
    assert len(one.events("manager.stopping")) == 1
