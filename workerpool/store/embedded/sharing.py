"""How a command gets the server of its home: the one that runs, or its own for the length of the command.

Owns the command's side (the minder's and the daemon's are in `serving`). Does not speak SQL beyond connecting.
Invariant: between `yield` and the end a server that was started by a command is not stopped by another.
"""

import fcntl
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from workerpool.store.embedded import cluster, programs
from workerpool.store.embedded.locks import STEP, LockTimeout, grab, serving, share, using
from workerpool.store.embedded.place import Server

__all__ = ["LockTimeout", "NotReady", "StartFailed", "Unusable", "check", "ready", "running"]

START_LIMIT = timedelta(seconds=60)
LOG_BYTES = 1 << 20


class NotReady(Exception):
    """The database took no connection in time."""

    def __init__(self, waited: timedelta, last: str) -> None:
        self.waited, self.last = waited, last
        super().__init__(f"the database took no connection for {waited.total_seconds():g} s: {last}")


class StartFailed(Exception):
    """The server that a command started ended before it took a connection."""

    def __init__(self, log: Path, said: str) -> None:
        self.log, self.said = log, said
        super().__init__(f"the embedded PostgreSQL did not start: {said or 'it said nothing'} (more in {log})")


class Unusable(Exception):
    """The embedded server could not run on this machine and home."""

    def __init__(self, said: str) -> None:
        self.said = said
        super().__init__(said)


def check(server: Server) -> str:
    """Return in words under which identity the server runs here; raises Unusable with the reason why it cannot.

    Takes about 0.1 s, starts no server, needs no lock. For `doctor`, and for `start` before it starts anything.
    """
    done = subprocess.run(
        server.launcher("check"), capture_output=True, text=True, timeout=START_LIMIT.total_seconds(), check=False
    )
    if done.returncode != 0:
        raise Unusable(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}")
    return done.stdout.strip()


def ready(url: str, limit: timedelta) -> None:
    """Wait until the database at `url` takes a connection, at most `limit`; raises NotReady."""
    deadline = time.monotonic() + limit.total_seconds()
    while (refused := refusal(url)) is not None:
        if time.monotonic() > deadline:
            raise NotReady(limit, refused)
        time.sleep(STEP.total_seconds())


def refusal(url: str) -> str | None:
    """Try one connection and return why there is none."""
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError as error:
        return str(error).strip()
    return None


@contextmanager
def running(server: Server, limit: timedelta = START_LIMIT) -> Iterator[str]:
    """Yield the URL of a server that runs, started if need be, and let it go at the end.

    Waits at most `limit` for a stopping server and again for the start. Raises LockTimeout, NotReady, StartFailed, and
    what refuses the home, the folders, the programs or the version (all with a sentence for the user).
    """
    programs.program("postgres", server.folder)
    cluster.check_major(server)
    users = using(server)
    try:
        share(users, server, limit)
        reach(server, limit)
        yield server.url()
    finally:
        os.close(users)


def reach(server: Server, limit: timedelta) -> None:
    """Connect to the home's server, starting one whenever none is there; the caller uses it (holds `users.lock`)."""
    deadline = time.monotonic() + limit.total_seconds()
    lock = serving(server)
    started = False
    try:
        while True:
            if grab(lock, fcntl.LOCK_EX):
                if started:
                    raise StartFailed(server.log, last_words(server.log))
                start_minder(server, lock)
                started = True
                # The lock now belongs to the minder, which has the same open file; to ask again takes another one.
                os.close(lock)
                lock = serving(server)
            if (refused := refusal(server.url())) is None:
                return
            if time.monotonic() > deadline:
                raise NotReady(limit, refused)
            time.sleep(STEP.total_seconds())
    finally:
        os.close(lock)


def start_minder(server: Server, lock: int) -> None:
    """Start the process that runs the server until nobody uses it, handing it the taken `server.lock`.

    What is started here only forks the minder and ends, so that the command leaves no child behind.
    """
    mode = "ab" if server.log.exists() and server.log.stat().st_size < LOG_BYTES else "wb"
    with server.log.open(mode) as log:
        subprocess.run(
            server.launcher("mind", "--lock", str(lock)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
            pass_fds=[lock],
            timeout=START_LIMIT.total_seconds(),
            check=False,
        )


def last_words(log: Path) -> str:
    """Return the last line of a log that says why, else its last line."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").strip().splitlines()
    reasons = [line for line in lines if "FATAL:" in line or "PANIC:" in line]
    return (reasons or lines or [""])[-1]
