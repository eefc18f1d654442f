"""A PostgreSQL of one test's own, to be stopped and started under whoever uses it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg

from tests.conftest import QUICK
from workerpool.store.embedded import Server, ready

LIMIT = timedelta(seconds=30)


class OwnServer:
    """The server; its data outlives each of its processes."""

    def __init__(self, programs: Path | None = None, **settings: str) -> None:
        """*programs*: a folder with other PostgreSQL programs; *settings* go before those of all tests."""
        given = os.environ.get("WORKERPOOL_TEST_PG_BIN")
        folder = programs or (Path(given) if given else None)
        self.home = Path(tempfile.mkdtemp(prefix="workerpool-test-"))
        self._facts = Server(self.home, folder=folder, settings=tuple((dict(QUICK) | settings).items()))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def admin(self) -> str:
        """The URL of its administrator."""
        return self._facts.url("postgres", "postgres")

    @property
    def url(self) -> str:
        """The URL of the database that it comes with."""
        return self._facts.url()

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(self._facts.argv(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        ready(self.admin, LIMIT)

    def let_in(self) -> None:
        """Let in whoever reaches its socket, under any name, until it is started again."""
        (self._facts.data / "pg_hba.conf").write_text("local all all trust\n")
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute("SELECT pg_reload_conf()")

    def allow(self, **settings: str) -> None:
        """Let it have other settings from its next start on."""
        self._facts = replace(self._facts, settings=tuple((dict(self._facts.settings) | settings).items()))

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stop it: INT ends its sessions first, QUIT is a crash."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(number)
            process.wait(LIMIT.total_seconds())

    def freeze(self, number: signal.Signals) -> None:
        """STOP or CONT every process of it: a database that hangs."""
        assert self._process is not None
        listing = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        parents = {int(pid): int(parent) for pid, parent in (line.split() for line in listing.splitlines())}
        for pid in [self._process.pid, *(pid for pid, parent in parents.items() if parent == self._process.pid)]:
            with contextlib.suppress(ProcessLookupError):  # one that had ended is reaped as soon as its parent goes on
                os.kill(pid, number)

    def remove(self) -> None:
        """Stop it and delete its data."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.home, ignore_errors=True)
        if self._facts.socket_dir.parent != self._facts.root:
            shutil.rmtree(self._facts.socket_dir, ignore_errors=True)
