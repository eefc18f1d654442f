"""Numbers of processes are reused, and are not names (F13, F14): nobody but the pool's own processes is ever hit."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import rounds
from tests.faults.numbers import Contained, missing, stranger, unharmed
from tests.process.daemon import Daemon, gone, until

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

Pool = Callable[..., Daemon]


def verb(daemon: Daemon, *words: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run a command of `workerpool` with the daemon's settings."""
    command = [*before, sys.executable, "-m", "workerpool", *words]
    return subprocess.run(command, env=daemon.environment(), capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("many", rounds(2, 50))
def test_a_stranger_with_the_number_of_a_dead_worker_is_not_hit(pool: Pool, many: int) -> None:
    """F13: as soon as a worker was killed its number is a stranger's: whatever the manager then does to its workers
    (stacks, logs, reload, fewer, a cancel, a stop), the stranger is not hit.
    """
    for _ in range(many):
        daemon = pool(cancel_grace="300ms").start()
        revision = daemon.insert("page", "stubborn", {"seconds": 60}, max_attempts=1)
        worker = daemon.begun(revision)
        os.kill(worker, signal.SIGKILL)
        until(lambda worker=worker: not Path(f"/proc/{worker}").exists(), what="the worker is reaped")  # type: ignore[misc]
        with stranger(worker) as other:
            verb(daemon, "cancel", str(revision))
            daemon.ended(revision)
            running = daemon.insert("other", "stubborn", {"seconds": 60})
            daemon.begun(running)
            for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU, signal.SIGHUP):
                daemon.send(number)
            daemon.event("config.reloaded")
            assert verb(daemon, "cancel", str(running)).returncode == 0
            assert daemon.ended(running)["status"] == "cancelled"
            assert verb(daemon, "stop", "--quick").returncode == 0
            daemon.code()
            assert unharmed(other)


@pytest.mark.parametrize("many", rounds(2, 50))
def test_a_stranger_with_the_number_of_a_dead_manager_is_not_hit(pool: Pool, many: int) -> None:
    """F13: the number of a killed manager, which its home still names, is a stranger's: `stop` and `reload` say that
    no pool runs, the next start gives back and clears away, and nothing of it hits the stranger.
    """
    daemon = pool()
    for _ in range(many):
        daemon.start()
        running = daemon.insert("page", "family", {"seconds": 60})
        daemon.begun(running)
        manager, left = daemon.pid, daemon.others()
        daemon.send(signal.SIGKILL)
        daemon.code()
        until(lambda left=left: all(gone(pid) for pid in left), what="nothing left")  # type: ignore[misc]
        with stranger(manager) as other:
            for words in (("stop",), ("stop", "--quick"), ("reload",)):
                told = verb(daemon, *words)
                assert (told.returncode, "no pool runs" in told.stderr) == (4, True), told.stderr
            daemon.sql("UPDATE revisions SET payload = '{\"seconds\": 0}' WHERE id = %s", running)
            daemon.start()
            row = daemon.ended(running)
            assert (row["status"], row["crash_count"]) == ("completed", 0)
            assert verb(daemon, "stop").returncode == 0
            assert daemon.code() == 0
            assert unharmed(other)


def test_a_lock_whose_number_is_a_strangers_hits_nobody(pool: Pool) -> None:
    """F13: a manager that has the lock and has not yet written its number: the one of a manager before it is still
    there, and by now a stranger's.
    """
    daemon = pool()
    home = Path(str(daemon.settings["home"]))
    home.mkdir(mode=0o700)
    with stranger() as other, (home / "manager.lock").open("w") as lock:
        lock.write(f"{other.pid}\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        for words in (("stop",), ("stop", "--quick"), ("reload",)):
            told = verb(daemon, *words)
            assert told.returncode == 4, told.stderr
            assert f"its manager is not what is process {other.pid} here" in told.stderr
        assert unharmed(other)


def test_a_manager_in_a_container_is_not_what_has_its_number_outside(database: str, tmp_path: Path) -> None:
    """F13: a home that a container shares with its host names the manager's number in there, which is a stranger's
    outside: commands from outside refuse and say what to do; in there they work.
    """
    with stranger() as other:
        daemon = Contained(database, tmp_path / "in", "box", number=other.pid)
        try:
            daemon.start()
            lock = Path(str(daemon.settings["home"])) / "manager.lock"
            assert int(lock.read_text()) == other.pid
            for words in (("stop",), ("stop", "--quick"), ("reload",)):
                told = verb(daemon, *words)
                assert told.returncode == 4, told.stderr
                assert "it runs in a container" in told.stderr
            assert unharmed(other)
            assert verb(daemon, "start").returncode == 78
            assert daemon.ended(daemon.insert("page", "work"))["status"] == "completed"
            enter = ("nsenter", "--target", str(daemon.inside()), "--pid", "--mount")
            told = verb(daemon, "stop", "--wait", "0", before=enter)
            assert f"asked pid {other.pid} to stop" in told.stdout, told.stderr
            assert told.returncode in (0, -signal.SIGKILL)  # (it may end with its namespace)
            assert daemon.code() == 0
            assert unharmed(other)
        finally:
            daemon.clear()


@pytest.mark.parametrize("many", rounds(2, 30))
def test_twins_are_told_apart(database: str, tmp_path: Path, many: int) -> None:
    """F14: two containers with one host name, whose managers are both process 1, again and again: their names and
    those of their workers differ, each works, and what one that was killed held is given back without touching what
    the other runs.
    """
    first, second = (Contained(database, tmp_path / name, "twin", lease="10s") for name in ("a", "b"))
    try:
        first.start()
        second.start()
        names = [manager(first), manager(second)]
        for number in range(many):
            go = tmp_path / f"go{number}"
            payload = {"steps": 1, "until": str(go)}
            revisions = [first.insert(f"page{number}.{n}", "steps", payload) for n in range(4)]
            for each in (first, second):
                until(lambda each=each: len(running(each)) == 2, what="two at work on each")  # type: ignore[misc]
            kept = running(second)
            assert sorted(running(first) + kept) == revisions
            first.send(signal.SIGKILL)
            first.code()
            until(lambda: not first.others(), what="nothing left of the first")
            first.start()
            names.append(manager(first))
            until(lambda: len(running(first)) == 2, what="what was held is at work again")
            assert running(second) == kept
            go.touch()
            for each in revisions:
                row = first.ended(each)
                assert (row["status"], row["attempt"], row["crash_count"]) == ("completed", 1, 0)
        assert all(name.startswith("twin/1-") for name in names)
        assert len(set(names)) == len(names)
        rows = first.sql("SELECT id, manager_id, host FROM workers")
        assert {row["manager_id"] for row in rows} == set(names)
        assert all(row["id"].startswith(f"{row['manager_id']}/W") and row["host"] == "twin" for row in rows)
        assert (first.leave(), second.leave()) == (0, 0)
    finally:
        first.clear()
        second.clear()


def manager(daemon: Daemon) -> str:
    """The name of the manager that was started last."""
    return str(daemon.events("manager.started")[-1]["manager"])


def running(daemon: Daemon) -> list[int]:
    """The revisions that the database ascribes to this pool just now."""
    text = "SELECT id FROM revisions WHERE status = 'processing' AND worker_id LIKE %s ORDER BY id"
    return [int(row["id"]) for row in daemon.sql(text, f"{manager(daemon)}/%")]
