"""A primary and a streaming standby on loopback ports: to be killed, and promoted, under whoever uses them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg

from tests.process.conftest import free_port
from tests.process.daemon import until
from workerpool.store.embedded import program

#: PostgreSQL refuses to be root: then root without powers, as the embedded server does it.
POWERLESS = ("unshare", "-U", "--map-user=65534", "--map-group=65534") if os.geteuid() == 0 else ()
DATABASE = "postgres"
LIMIT = 30.0
#: In the file, which the recovery before a rewind reads too: the log stays, and pages without checksums are told apart.
FOR_REWIND = "\nwal_log_hints = on\nwal_keep_size = 256MB\n"


def call(name: str, *words: str) -> None:
    """Run a program of PostgreSQL to its end."""
    folder = os.environ.get("WORKERPOOL_TEST_PG_BIN")
    path = program(name, Path(folder) if folder else None)
    done = subprocess.run([*POWERLESS, path, *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


class Node:
    """One server."""

    def __init__(self, home: Path, name: str) -> None:
        self.data, self.log, self.name = home / name, home / f"{name}.log", name
        self.socket = home
        self.port = free_port()
        self.settings: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its own URL, whatever it is."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{DATABASE}?connect_timeout=5"

    def start(self) -> None:
        """Start it and wait until it answers."""
        folder = os.environ.get("WORKERPOOL_TEST_PG_BIN")
        words = [str(program("postgres", Path(folder) if folder else None)), "-D", str(self.data)]
        given = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.socket),
            "max_connections": "60",
            "wal_receiver_status_interval": "1s",
            "wal_retrieve_retry_interval": "200ms",
            **self.settings,
        }
        for name, value in given.items():
            words += ["-c", f"{name}={value}"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*POWERLESS, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(self.answers, LIMIT, f"{self.name} answers\n{self.log.read_text()}")

    def answers(self) -> bool:
        """Tell whether it takes connections."""
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url):
            return True
        return False

    @property
    def source(self) -> str:
        """What a standby is told of it, to follow it."""
        return f"host=127.0.0.1 port={self.port} user=postgres dbname={DATABASE} application_name=standby"

    def sql(self, *statements: str) -> list[tuple[object, ...]]:
        """Run statements as the administrator, on a server that is read-only too, and return the rows of the last."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for each in statements:
                cursor = connection.execute(each.encode())
            return cursor.fetchall() if cursor.description else []

    def kill(self) -> None:
        """SIGKILL to the postmaster and to each of its backends: a host that lost its power."""
        process, self.process = self.process, None
        if process is None:
            return
        listing = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        pairs = [tuple(map(int, line.split())) for line in listing.splitlines()]
        for pid in [process.pid, *(pid for pid, parent in pairs if parent == process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(LIMIT)


class Pair:
    """A primary, and a standby that follows it."""

    def __init__(self, *, synchronous: bool) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="workerpool-test-"))
        self.primary, self.standby = Node(self.home, "primary"), Node(self.home, "standby")
        self._synchronous = synchronous

    @property
    def url(self) -> str:
        """The URL of whichever of the two may be written to."""
        hosts = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}"
        return f"postgresql://postgres@{hosts}/{DATABASE}?target_session_attrs=read-write"

    def start_primary(self) -> None:
        """Make the primary alone."""
        call("initdb", "-D", str(self.primary.data), "-U", "postgres", "-A", "trust", "-N", "--wal-segsize=4")
        with (self.primary.data / "postgresql.conf").open("a") as settings:
            settings.write(FOR_REWIND)
        self.primary.start()

    def start(self) -> None:
        """Make both, and wait until the standby streams."""
        self.start_primary()
        how = ("-R", "-c", "fast", "-X", "stream", "-N")
        call("pg_basebackup", "-D", str(self.standby.data), "-d", self.primary.source, *how)
        self.follow()

    def follow(self) -> None:
        """Start the standby and wait until it follows, as synchronously as it should."""
        self.standby.start()
        until(self.streams, LIMIT, "the standby streams")
        if self._synchronous:
            self.primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'", "SELECT pg_reload_conf()")
            state = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"
            until(lambda: self.primary.sql(state), LIMIT, "the standby is synchronous")

    def rejoin(self) -> None:
        """Let the old primary, which is dead, come back as the standby of the one that replaced it; they change places.

        What it wrote and the other never heard of is taken back.
        """
        self.primary, self.standby = self.standby, self.primary
        self.primary.sql("CHECKPOINT")  # its control file has the new timeline only then
        source = f"--source-server={self.primary.source}"
        call("pg_rewind", "-D", str(self.standby.data), source, "-R", "--no-sync")
        self.follow()

    def streams(self) -> bool:
        """Tell whether the standby follows."""
        return bool(self.primary.sql("SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'"))

    def cut(self) -> None:
        """Let the standby hear nothing more of the primary."""
        self.standby.sql("ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")
        until(lambda: not self.standby.sql("SELECT 1 FROM pg_stat_wal_receiver"), LIMIT, "the standby is alone")
        self.standby.sql("SELECT 1")

    def promote(self) -> None:
        """Make the standby the primary; nobody follows it yet."""
        self.standby.sql("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
        assert self.standby.sql("SELECT pg_promote(true, 30)") == [(True,)]

    def remove(self) -> None:
        """End both and delete their data."""
        self.primary.kill()
        self.standby.kill()
        shutil.rmtree(self.home, ignore_errors=True)
