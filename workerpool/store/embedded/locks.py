"""The two flocks of a home and what they mean.

Owns taking and giving them. Does not decide anything. Invariant: a lock is one open file; it is held until the last
process that has the file open is gone, and no descriptor is inherited unless its holder passes it on by name.
"""

import errno
import fcntl
import os
import time
from datetime import timedelta
from pathlib import Path

from workerpool.store.embedded.place import Server, give, make_root

STEP = timedelta(milliseconds=50)


class LockTimeout(Exception):
    """Another process kept a lock of the home for too long."""

    def __init__(self, path: Path, waited: timedelta) -> None:
        self.path, self.waited = path, waited
        super().__init__(
            f"another process holds {path} for more than {waited.total_seconds():g} s "
            "(a database that is stopping, or a stuck process: see `fuser`); try again"
        )


def serving(server: Server) -> int:
    """Open `server.lock`: exclusive means a server runs on the data or is being made."""
    return opened(server, "server.lock")


def using(server: Server) -> int:
    """Open `users.lock`: shared means somebody uses a server that he did not bring; exclusive, that it is stopping."""
    return opened(server, "users.lock")


def opened(server: Server, name: str) -> int:
    """Return a descriptor of a lock's file, which belongs to the owner of the data whoever makes it."""
    make_root(server)
    path = server.root / name
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    give(path, server.root.stat().st_uid)
    return descriptor


def grab(descriptor: int, kind: int) -> bool:
    """Take a lock (`fcntl.LOCK_SH` or `LOCK_EX`) if nobody is against it now."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def share(descriptor: int, server: Server, limit: timedelta) -> None:
    """Take `users.lock` shared, waiting at most `limit` for a server that is stopping; raises LockTimeout."""
    deadline = time.monotonic() + limit.total_seconds()
    while not grab(descriptor, fcntl.LOCK_SH):
        if time.monotonic() > deadline:
            raise LockTimeout(server.root / "users.lock", limit)
        time.sleep(STEP.total_seconds())
