"""A pool inside of a program: it works, it stops with it, and nothing of it outlives the program."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.process.daemon import HANDLERS, begun, gone, until
from workerpool import Client, Pool, PoolFailed

Make = Callable[..., Pool]


def family(pid: int) -> list[psutil.Process]:
    """A daemon and every process below it."""
    daemon = psutil.Process(pid)
    return [daemon, *daemon.children(recursive=True)]


def living(processes: list[psutil.Process]) -> list[str]:
    """What is left of them."""
    return [str(each) for each in processes if not gone(each.pid) and each.is_running()]


@pytest.fixture
def make(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Make a pool on a fresh database; it is stopped at the end."""
    monkeypatch.setenv("JOURNAL", str(tmp_path / "journal"))
    made: list[Pool] = []

    def make(**settings: object) -> Pool:
        given = {"database_url": database, "home": tmp_path / f"home{len(made)}", "handlers": [HANDLERS], "workers": 1}
        made.append(Pool(**given | {"lease": "2s", "heartbeat": "300ms"} | settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.stop(0)


def test_it_works_and_stops_with_its_block(make: Make, database: str) -> None:
    """Work is done while the block runs; its workers are told; afterwards no process is there."""
    with make(workers=2) as pool, Client(database, "workerpool") as client:
        assert pool.is_running
        assert client.wait(client.enqueue("page", {}, handler="work").id).status == "completed"
        workers = until(lambda: found if len(found := pool.workers()) == 2 else None, what="two rows")
        assert {each.slot for each in workers} == {"W1", "W2"}
        assert all("work" in each.handlers for each in workers)
        assert pool.pid is not None
        processes = family(pool.pid)
        assert {each.pid for each in workers} < {each.pid for each in processes}
    assert not pool.is_running
    assert living(processes) == []
    assert pool.workers() == []


def test_a_pool_may_be_started_again(make: Make) -> None:
    """Starting one that runs changes nothing; stopping one that does not run neither."""
    pool = make()
    assert pool.stop() is None
    pool.start()
    first = pool.pid
    pool.start()
    assert pool.pid == first
    assert pool.stop() == 0
    pool.start()
    assert pool.pid != first
    assert (pool.stop(), pool.stop()) == (0, 0)


def test_a_running_revision_may_finish(make: Make, database: str, tmp_path: Path) -> None:
    """The stop is that of the daemon: graceful, unless the program is in a hurry."""
    with Client(database, "workerpool") as client, make(shutdown_grace="20s") as pool:
        slow = client.enqueue("a", {"seconds": 1.0}, handler="work").id
        begun(tmp_path / "journal", slow)
        assert pool.stop() == 0
        assert client.show(slow).status == "completed"
        pool.start()
        endless = client.enqueue("b", {"seconds": 1000}, handler="work").id
        begun(tmp_path / "journal", endless)
        pool.stop(0.2)
        assert client.show(endless).status == "pending"


def test_a_bad_setting_is_told(make: Make, tmp_path: Path) -> None:
    """With the daemon's exit code and its own words; a name that is no setting is an error of the program."""
    with pytest.raises(PoolFailed, match="WORKERPOOL_LEASE is 'soon'") as caught:
        make(lease="soon").start()
    assert caught.value.code == 78
    with pytest.raises(PoolFailed, match=r"nowhere\.py"):
        make(handlers=[tmp_path / "nowhere.py"]).start()
    with pytest.raises(TypeError, match="no such setting: leese"):
        make(leese="10s")
    (tmp_path / "file").touch()
    with pytest.raises(PoolFailed, match="cannot be written"):
        make(home=tmp_path / "file" / "home").start()


def test_one_home_holds_one_pool(make: Make, tmp_path: Path) -> None:
    """The second is told who is there, and the first goes on."""
    with make(home=tmp_path / "same") as first:
        with pytest.raises(PoolFailed, match=f"already running on .*same, with pid {first.pid}"):
            make(home=tmp_path / "same").start()
        assert first.is_running


def test_two_pools_on_one_database(make: Make, database: str) -> None:
    """Each knows its own workers; when one is stopped, the other does the work."""
    with make() as one, make() as other:
        mine = until(lambda: {each.id for each in one.workers()}, what="rows of one")
        theirs = until(lambda: {each.id for each in other.workers()}, what="rows of the other")
        assert not mine & theirs
        one.stop()
        assert one.workers() == []
        with Client(database, "workerpool") as client:
            assert client.wait(client.enqueue("page", {}, handler="work").id).worker_id in theirs


def test_it_belongs_to_the_process_and_not_to_a_thread(make: Make) -> None:
    """A thread that started it may end; the pool goes on."""
    pool = make()
    thread = threading.Thread(target=pool.start)
    thread.start()
    thread.join()
    assert pool._process is not None
    with pytest.raises(subprocess.TimeoutExpired):
        pool._process.wait(1.5)


def test_a_fork_of_the_program_leaves_it_alone(make: Make) -> None:
    """The child of a fork has the object, and not the pool."""
    with make() as pool:
        child = subprocess.Popen(["true"])  # an unrelated child must not be reaped by mistake either
        pool._owner += 1
        assert pool.stop() is None
        pool._owner -= 1
        assert pool.is_running
        assert child.wait() == 0


PROGRAM = """
import sys, time
from workerpool import Pool
pool = Pool(sys.argv[1], workers=1, handlers=[sys.argv[2]], home=sys.argv[3], shutdown_grace="1s", cancel_grace="1s")
pool.start()
print(pool.pid, flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("work", [None, "work", "stubborn"])
def test_it_ends_with_a_killed_program(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: str | None
) -> None:
    """Whatever runs: nothing of it is left, and what was running is given back or rescued."""
    monkeypatch.setenv("JOURNAL", str(tmp_path / "journal"))
    words = [sys.executable, "-c", PROGRAM, database, str(HANDLERS), str(tmp_path / "home")]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as program:
        try:
            assert program.stdout is not None
            daemon = int(program.stdout.readline())
            if work is not None:
                with Client(database, "workerpool") as client:
                    revision = client.enqueue("a", {"seconds": 1000}, handler=work)
                    begun(tmp_path / "journal", revision.id)
            processes = family(daemon)
            assert len(processes) >= 3
        finally:
            program.kill()
    until(lambda: not living(processes), 15.0, what="every process gone")
