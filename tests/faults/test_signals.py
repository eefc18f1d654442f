"""Signals at unlucky moments, outputs that take nothing, and the manager as process 1 (F66, F70, F71)."""

import fcntl
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.process.daemon import Daemon, gone, until
from tests.recoveries import Recoveries

Pool = Callable[..., Daemon]
GRACE = 1.0
STAGES = (
    ("manager.started", None),
    ("child.started", "prepare"),
    ("child.started", "keeper"),
    ("child.started", "W1"),
    ("child.ready", "W1"),
)
UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def can_unshare() -> bool:
    """Tell whether process namespaces can be made here."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0


needs_unshare = pytest.mark.skipif(
    not can_unshare(), reason="unshare --pid is missing or refused here (util-linux, and root)"
)


@pytest.fixture
def pool(database: str, tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Make a daemon on a fresh database; at the end nothing of it may be left."""
    made: list[Daemon] = []

    def make(**settings: object) -> Daemon:
        made.append(Daemon(database, tmp_path, **{"shutdown_grace": f"{GRACE}s", **settings}))
        return made[-1]

    yield make
    for each in made:
        each.clear()


def stopped(daemon: Daemon) -> float:
    """The daemon has been told to stop: it ends in time and leaves nothing; returns the seconds that it took."""
    began = time.monotonic()
    assert daemon.code(GRACE + 8.0) in (0, 5, -signal.SIGTERM), daemon.tail()
    took = time.monotonic() - began
    until(lambda: not daemon.others(), 2.0, "nothing left")
    assert "Traceback" not in daemon.text(), daemon.tail()
    return took


def nothing_claimed(daemon: Daemon) -> None:
    """What was claimed while it stopped is not held beyond a lease."""
    held = (
        "SELECT 1 FROM revisions WHERE status = 'processing' AND lease_expires_at > clock_timestamp() + interval '1 m'"
    )
    assert not daemon.sql(held)
    assert {row["attempt"] for row in daemon.sql("SELECT attempt FROM revisions")} <= {0, 1}


@pytest.mark.parametrize(("event", "child"), STAGES, ids=lambda each: str(each))
def test_a_stop_at_each_stage_of_the_start(pool: Pool, recoveries: Recoveries, event: str, child: str | None) -> None:
    """F66: TERM as soon as a child is there, before it has handlers for signals, is registered, or has claimed: the
    manager ends in time, no worker survives it, no signal is lost.
    """
    daemon = pool()
    daemon.insert("page", "work", {"seconds": 1000})
    fields = {} if child is None else {"child": child}
    took = []
    for _ in range(2):
        before = len(daemon.events(event, **fields))
        daemon.spawn()
        until(lambda before=before: len(daemon.events(event, **fields)) > before, what=event)
        daemon.send(signal.SIGTERM)
        took.append(stopped(daemon))
    nothing_claimed(daemon)
    recoveries.note(f"F66 stopped at {child or event}", took, GRACE + 5.0)


@pytest.mark.long
def test_a_stop_at_two_hundred_moments_of_the_start(pool: Pool, recoveries: Recoveries) -> None:
    """F66: the same at two hundred random moments."""
    daemon = pool()
    daemon.insert("page", "work", {"seconds": 1000})
    took = []
    for _ in range(200):
        daemon.spawn()
        time.sleep(random.uniform(0.0, 1.5))  # the moment is what is varied
        daemon.send(signal.SIGTERM)
        took.append(stopped(daemon))
    nothing_claimed(daemon)
    recoveries.note("F66 stopped at any moment", took, GRACE + 5.0)


def works_and_stops(daemon: Daemon) -> None:
    """Revisions whose handlers print run, one that fails is recorded, a TERM ends it with 0."""
    good = [daemon.insert(f"item {n}", "work") for n in range(20)]
    bad = daemon.insert("bad", "raise", {"error": "ValueError"}, max_attempts=1)
    assert {daemon.ended(each)["status"] for each in good} == {"completed"}
    assert daemon.ended(bad)["status"] == "failed"
    assert daemon.stop(limit=GRACE + 8.0) == 0


def test_an_output_that_nobody_reads_blocks_nobody(pool: Pool) -> None:
    """F70: standard output and error are a pipe that is full and that nobody reads: the pool works and stops."""
    daemon = pool()
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        size = fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ)
        assert os.write(writing, b"x" * size) == size
        os.set_blocking(writing, True)
        daemon.process = subprocess.Popen(
            [sys.executable, "-m", "workerpool", "start"],
            env=daemon.environment(),
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            cwd=daemon.folder,
        )
        works_and_stops(daemon)
    finally:
        os.close(reading)
        os.close(writing)


def test_outputs_that_are_closed_disturb_nobody(pool: Pool) -> None:
    """F70: started with standard output and error closed (`>&- 2>&-`): the pool works and stops."""
    daemon = pool()
    script = f"exec {sys.executable} -m workerpool start >&- 2>&-"
    daemon.process = subprocess.Popen(["/bin/sh", "-c", script], env=daemon.environment(), cwd=daemon.folder)
    works_and_stops(daemon)


def test_a_log_file_on_a_full_disk_stops_nobody(pool: Pool) -> None:
    """F70: each write to the log file fails with ENOSPC: the pool works and stops."""
    daemon = pool(log_file="/dev/full").spawn()
    works_and_stops(daemon)


def test_a_log_that_is_copied_and_truncated_goes_on(pool: Pool, tmp_path: Path) -> None:
    """F70: logrotate's copytruncate: what follows begins at the start of the file, with no hole before it."""
    log = tmp_path / "pool.log"
    daemon = pool(log_file=log)
    daemon.log = log
    daemon.start()
    daemon.ended(daemon.insert("page", "work"))
    os.truncate(log, 0)
    daemon.insert("bad", "raise", {"error": "ValueError"}, max_attempts=1)
    daemon.event("revision.failed")
    assert not log.read_bytes().startswith(b"\0")
    assert daemon.stop() == 0


def inside(daemon: Daemon) -> psutil.Process:
    """The manager: the one child of `unshare`."""
    assert daemon.process is not None
    (manager,) = until(lambda: psutil.Process(daemon.process.pid).children(), what="the manager")
    return manager


def as_process_1(daemon: Daemon) -> psutil.Process:
    """Start the manager as process 1 of a namespace, and wait until it works; returns it as it is seen from here."""
    before = len(daemon.events("manager.ready"))
    with daemon.log.open("ab") as log:
        daemon.process = subprocess.Popen(
            [*UNSHARE, sys.executable, "-m", "workerpool", "start"],
            env=daemon.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=daemon.folder,
        )
    until(lambda: len(daemon.events("manager.ready")) > before, what=f"manager.ready\n{daemon.tail()}")
    assert daemon.events("manager.started")[-1]["pid"] == 1
    return inside(daemon)


@needs_unshare
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT], ids=lambda each: each.name)
def test_process_1_hears_its_signals(pool: Pool, number: signal.Signals) -> None:
    """F71: process 1 ignores each signal that it has no handler for: the manager there hears what ends it."""
    daemon = pool()
    manager = as_process_1(daemon)
    assert daemon.ended(daemon.insert("page", "work"))["status"] == "completed"
    manager.send_signal(number)
    assert daemon.code(GRACE + 8.0) == 0
    until(lambda: not daemon.others(), 2.0, "nothing left")


@needs_unshare
def test_process_1_reaps_what_it_adopts(pool: Pool) -> None:
    """F71: orphans of handlers become children of process 1: they are reaped, and taken for no worker."""
    daemon = pool(workers=1, max_restarts=20)
    manager = as_process_1(daemon)
    for number in range(3):
        daemon.ended(daemon.insert(f"family {number}", "family", {"seconds": 0.2}))
    crash = daemon.insert("crash", "segfault", max_attempts=1)
    assert daemon.ended(crash)["error_kind"] in ("crash", "poison")
    assert daemon.ended(daemon.insert("page", "work"))["status"] == "completed"

    def zombies() -> list[psutil.Process]:
        return [each for each in manager.children(recursive=True) if gone(each.pid)]

    until(lambda: not zombies(), 5.0, "no process that is dead and not reaped")
    assert len(daemon.events("child.restarted")) == 1
    manager.send_signal(signal.SIGTERM)
    assert daemon.code(GRACE + 8.0) == 0
