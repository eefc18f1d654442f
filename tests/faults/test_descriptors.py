"""Descriptors, connections and locks of children: none is inherited, none is missed for long (F16, F17, F18)."""

from __future__ import annotations

import os
import re
import resource
import signal
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import rounds
from tests.process.conftest import up
from tests.process.daemon import HANDLERS as OTHERS
from tests.process.daemon import Daemon, until

Pool = Callable[..., Daemon]
HANDLERS = Path(__file__).parent / "descriptor_handlers.py"
COMMANDS = """
[commands.echo]
argv = ["cat"]
"""


def opened(pid: int) -> list[str]:
    """What the descriptors of a process lead to."""
    found = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(os.readlink(each))
        except FileNotFoundError:
            continue  # closed meanwhile
    return found


def members(daemon: Daemon) -> dict[str, int]:
    """The processes of a pool, by their place."""
    names = {str(each["child"]) for each in daemon.events("child.ready")}
    return {"manager": daemon.pid} | {name: daemon.pid_of_child(name) for name in names - {"prepare"}}


def sessions(daemon: Daemon) -> list[int]:
    """Which process each of the pool's sessions belongs to, by the name that it gave itself."""
    text = "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE %s"
    return [int(row["application_name"].split(":")[2]) for row in daemon.sql(text, "workerpool:%:%")]


def test_no_connection_lock_or_channel_is_shared(pool: Pool) -> None:
    """F17: of a pool some of whose children were started late, when the manager had most open: no socket is open in
    two processes (each session of the database has one client), the lock of the home is the manager's alone, a pipe
    joins a worker and the manager, and a worker has no bell but its own.
    """
    daemon = up(pool(api=True, workers=4))
    for name in ("W1", "keeper", "api"):
        before = daemon.child(name)
        os.kill(before, signal.SIGKILL)
        daemon.pid_of_child(name, other_than=before)
    daemon.send(signal.SIGTTIN)
    until(lambda: daemon.events("child.ready", child="W5"), what="a fifth worker")
    for number in range(20):
        daemon.ended(daemon.insert(f"page{number}", "work"))
    there = members(daemon)
    assert set(there) == {"manager", "keeper", "api", *(f"W{n}" for n in range(1, 6))}
    holders: dict[str, set[str]] = defaultdict(set)
    for name, pid in there.items():
        for each in opened(pid):
            holders[each].add(name)
    sockets = {each: names for each, names in holders.items() if each.startswith("socket:")}
    assert [names for names in sockets.values() if len(names) > 1] == []
    assert len(sockets) >= 2 * 7 + 7
    assert [names for each, names in holders.items() if each.endswith("manager.lock")] == [{"manager"}]
    for each, names in holders.items():
        if each.startswith("pipe:"):
            assert len(names) == 1 or (len(names) == 2 and "manager" in names), names
    for name, pid in there.items():
        if name.startswith("W"):
            assert sum(each == "anon_inode:[eventfd]" for each in opened(pid)) == 1, name
    clients = sessions(daemon)
    assert {pid for name, pid in there.items() if name.startswith("W")} <= set(clients) <= set(there.values())
    assert all(clients.count(pid) == 1 for name, pid in there.items() if name.startswith("W"))
    assert clients.count(there["keeper"]) == 2
    assert there["manager"] not in clients
    assert daemon.stop() == 0


@pytest.mark.parametrize("how", ["subprocess", "posix_spawn", "fork and exec", "system"])
def test_what_a_handler_starts_inherits_three_descriptors(pool: Pool, how: str) -> None:
    """F17, S8: a program that a handler starts, past Python's own care too, has its input and outputs and nothing of
    the pool: no connection, no channel, no shared memory, no bell, no log.
    """
    daemon = pool(workers=1, handlers=HANDLERS).start()
    found = daemon.ended(daemon.insert("page", "start", {"how": how}))["result"]["descriptors"]
    assert sorted(found) == ["0", "1", "2"], found
    assert found["0"] == "/dev/null"
    assert re.fullmatch(r"pipe:\[\d+\]", found["1"])
    assert found["1"] == found["2"]
    assert daemon.stop() == 0


@pytest.mark.parametrize("forks", rounds(100, 1000))
def test_forks_of_a_handler_whose_threads_hold_locks_do_not_hang(pool: Pool, forks: int) -> None:
    """F18: a handler forks while its threads write logs as fast as they can: no fork hangs on a lock that a thread
    held, what a fork prints is in the revision's log, and the worker goes on.
    """
    daemon = pool(workers=1, handlers=f"{HANDLERS},{OTHERS}").start()
    worker = daemon.child("W1")
    revision = daemon.insert("page", "talkative forks", {"forks": forks})
    row = daemon.ended(revision, 60.0)
    assert (row["status"], row["result"]) == ("completed", {"hung": 0})
    assert any(re.fullmatch(r"words of fork \d+", line) for line in daemon.lines(revision))
    assert daemon.ended(daemon.insert("page", "work"))["status"] == "completed"
    assert daemon.child("W1") == worker
    assert daemon.stop() == 0


@pytest.mark.parametrize(("then", "attempt"), [("open", 2), ("transaction", 1)])
def test_a_worker_whose_handler_keeps_every_descriptor_is_replaced(pool: Pool, then: str, attempt: int) -> None:
    """F16: an attempt that finds no descriptor fails (or is given back uncounted, where it was the database that could
    not be reached), its worker is replaced in order, and the next attempt has a process that can open what it wants.
    """
    daemon = pool(workers=1, handlers=f"{HANDLERS},{OTHERS}", max_restarts=0).start()
    worker = daemon.child("W1")
    row = daemon.ended(daemon.insert("page", "hoard", {"then": then}))
    assert (row["status"], row["attempt"], row["crash_count"]) == ("completed", attempt, 0)
    assert daemon.event("worker.dirtied")["what"] == "no descriptors are left"
    assert daemon.pid_of_child("W1", other_than=worker)
    assert daemon.ended(daemon.insert("page", "work"))["attempt"] == 1
    assert {each["status"] for each in daemon.events("child.exited", child="W1")} == {0}
    assert not daemon.events("slot.gave_up")
    assert daemon.stop() == 0


def test_a_worker_without_descriptors_that_loses_its_connection_is_replaced(pool: Pool) -> None:
    """F16: it cannot connect again, and does not try for ever: a new process takes its place, uncharged."""
    daemon = pool(workers=1, handlers=f"{HANDLERS},{OTHERS}", max_restarts=0).start()
    worker = daemon.child("W1")
    assert daemon.ended(daemon.insert("page", "hoard", {"then": "nothing"}))["status"] == "completed"
    assert daemon.child("W1") == worker
    name = f"workerpool:%:{worker}:worker W1"
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s"
    until(lambda: daemon.sql(cut, name), what="the worker's session")
    row = daemon.ended(daemon.insert("page", "work"))
    assert (row["status"], row["attempt"], row["crash_count"]) == ("completed", 1, 0)
    assert daemon.pid_of_child("W1", other_than=worker)
    assert not daemon.events("slot.gave_up")
    assert daemon.stop() == 0


def test_a_worker_whose_limit_falls_in_mid_run_is_replaced(pool: Pool, tmp_path: Path) -> None:
    """F16: `prlimit --nofile` of a running worker: a command that cannot be started fails its attempt, and is started
    by the process that takes the worker's place.
    """
    (tmp_path / "commands.toml").write_text(COMMANDS)
    daemon = pool(workers=1, commands=tmp_path / "commands.toml", max_restarts=0).start()
    worker = daemon.child("W1")
    assert daemon.ended(daemon.insert("page", "command", {"command": "echo"}))["attempt"] == 1
    there, hard = set(os.listdir(f"/proc/{worker}/fd")), resource.prlimit(worker, resource.RLIMIT_NOFILE)[1]
    lowest = next(number for number in range(1000) if str(number) not in there)
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (lowest, hard))
    row = daemon.ended(daemon.insert("page", "command", {"command": "echo"}))
    assert (row["status"], row["attempt"], row["crash_count"]) == ("completed", 2, 0)
    assert "Too many open files" in row["error_message"]
    assert daemon.pid_of_child("W1", other_than=worker)
    assert not daemon.events("slot.gave_up")
    assert daemon.stop() == 0
