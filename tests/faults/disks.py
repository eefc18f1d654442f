"""Small disks, to be filled to the last byte under whoever writes to them, and a PostgreSQL on two of them.

A disk is a tmpfs of its own, which root mounts. Its folder is named after the pid of the tests: those of a run that was
killed are taken away by the next one.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import psycopg

from tests.faults.cluster import LIMIT, Node, call
from tests.process.daemon import gone, until
from workerpool.store import migrate

PREFIX = "workerpool-disk-"
#: Seconds between two looks whether somebody gave back a page of a disk that is to be full.
AGAIN = 0.02
#: A server hangs that for so many seconds neither answers nor has a process that works on it.
HANGS = 5.0
MIB = 1 << 20


@cache
def missing() -> str:
    """Return what these tests need and do not have; empty: nothing."""
    if os.geteuid() != 0:
        return "a tmpfs can be mounted by root only"
    for program in ("mount", "umount", "unshare"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    clear_leftovers()
    try:
        Disk(MIB).remove()
    except AssertionError as error:
        return f"a tmpfs cannot be mounted: {error}"
    return ""


def clear_leftovers() -> None:
    """Take away the disks of test runs that are not alive any more."""
    for line in Path("/proc/mounts").read_text().splitlines():
        folder = line.split()[1]
        found = re.search(rf"/{PREFIX}(\d+)-[^/]*$", folder)
        if found and gone(int(found[1])):
            _unmount(Path(folder))


def _unmount(folder: Path) -> None:
    # (lazily: a process that dies at this moment may still have a file of it open)
    subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)
    shutil.rmtree(folder, ignore_errors=True)


class Disk:
    """A disk of *size* bytes."""

    def __init__(self, size: int) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        self._mount(f"size={size},mode=0700")

    def _mount(self, options: str) -> None:
        words = ["mount", "-t", "tmpfs", "-o", options, "workerpool", str(self.path)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            shutil.rmtree(self.path, ignore_errors=True)
        assert done.returncode == 0, done.stderr.strip()

    @property
    def free(self) -> int:
        """The bytes that are left."""
        facts = os.statvfs(self.path)
        return facts.f_bavail * facts.f_frsize

    def fill(self) -> None:
        """Take every page that is left."""
        with (self.path / "filler").open("ab", buffering=0) as filler:
            for size in (MIB, 4096):
                with contextlib.suppress(OSError):
                    while filler.write(bytes(size)):
                        pass

    def clear(self) -> None:
        """Give back what was taken."""
        (self.path / "filler").unlink(missing_ok=True)

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Be full: whatever somebody gives back meanwhile is taken at once."""
        over = threading.Event()

        def keep() -> None:
            while not over.wait(AGAIN):
                self.fill()

        keeper = threading.Thread(target=keep, daemon=True)
        self.fill()
        keeper.start()
        try:
            yield
        finally:
            over.set()
            keeper.join()
            self.clear()

    def remove(self) -> None:
        """Take it away with all that is on it."""
        _unmount(self.path)


class SmallServer(Node):
    """A PostgreSQL whose data are on one small disk and whose log of writes (WAL) is on another."""

    def __init__(self, *, data: int, wal: int) -> None:
        """*data*, *wal*: bytes of the two disks."""
        self.home = Path(tempfile.mkdtemp(prefix="workerpool-test-"))
        self.data_disk, self.wal_disk = Disk(data), Disk(wal)
        super().__init__(self.home, "small")
        self.data = self.data_disk.path / "data"
        self.settings = {
            "shared_buffers": "16MB",
            "min_wal_size": "2MB",
            # (a checkpoint that finds no room for its notes of replication is a panic of its own)
            "max_wal_size": "96MB",
            "checkpoint_timeout": "1h",
            "wal_keep_size": "0",
            "log_min_messages": "warning",
        }

    def make(self) -> None:
        """Make the data, start, and migrate."""
        wal = self.wal_disk.path / "wal"
        call("initdb", "-D", str(self.data), "-X", str(wal), "-U", "postgres", "-A", "trust", "--wal-segsize=1", "-N")
        self.start()
        migrate.upgrade(self.url)

    def stop(self) -> None:
        """Stop it in order, if it runs."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(signal.SIGINT)
            process.wait(LIMIT)

    def gives_up(self) -> bool:
        """Write into its WAL, which has some room made beforehand, until it ends by itself; False: it had to be ended.

        18.6 sometimes hangs there: its startup process has ended for want of room, which the postmaster does not take
        note of, and it refuses all connections as not yet accepted, for as long as one waits.
        """
        worked_at = time.monotonic()

        def over() -> bool:
            nonlocal worked_at
            if self._has_given_up():
                return True
            if self._works():
                worked_at = time.monotonic()
            return time.monotonic() - worked_at > HANGS

        until(over, 60.0, "the server has ended, or hangs")
        process = self.process
        if process is None:
            return True
        process.send_signal(signal.SIGQUIT)
        process.wait(LIMIT)
        self.process = None
        return False

    def _works(self) -> bool:
        """Tell whether it accepts connections, or has a process that works on it."""
        process = self.process
        if process is None or self.answers():
            return True
        told = subprocess.run(["ps", "--ppid", str(process.pid), "-o", "args="], capture_output=True, text=True).stdout
        return "startup" in told

    def _has_given_up(self) -> bool:
        if self.process is None:
            return True
        if self.process.poll() is not None:
            self.process = None
            return True
        with contextlib.suppress(psycopg.Error), psycopg.connect(self.url, connect_timeout=2) as connection:
            connection.execute("SELECT pg_logical_emit_message(true, 'filler', repeat('x', 300000))")
        return False

    def refuses(self) -> bool:
        """Tell whether it lives, and refuses to write more because its disk is full."""
        try:
            with psycopg.connect(self.url, autocommit=True) as connection:
                text = "CREATE TEMPORARY TABLE more AS SELECT repeat('x', 2000) FROM generate_series(1, 50)"
                connection.execute(text)
        except psycopg.OperationalError as error:
            if "No space left" not in str(error):  # (who connects may be told so already, which is not DiskFull)
                raise
            return True
        return False

    def remove(self) -> None:
        """End it and take its disks away."""
        self.kill()
        for disk in (self.data_disk, self.wal_disk):
            disk.remove()
        shutil.rmtree(self.home, ignore_errors=True)


def completed(url: str) -> int:
    """How many revisions are completed; -1: the database does not say."""
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=2) as connection:
            text = "SELECT count(*) FROM workerpool.revisions WHERE status = 'completed'"
            found = connection.execute(text).fetchone()
    except psycopg.OperationalError:
        return -1
    return int(found[0]) if found else -1


def goes_on(url: str, limit: float) -> None:
    """Wait until more revisions are completed than just now."""
    before = until(lambda: completed(url) + 1, limit, "the database answers")
    until(lambda: completed(url) >= before, limit, "more is completed")
