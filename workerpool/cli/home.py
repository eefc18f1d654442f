"""The home: one manager at a time, and the memory of those before it (R29).

Owns: the lock and the notes under WORKERPOOL_HOME. Invariant: whoever holds the lock is alive, because the kernel
lets go of it with its
process; no pid is ever trusted without the lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from workerpool.cli.errors import EXIT_CONFIG, EXIT_FAILED, EXIT_REFUSED, Refused

#: Seconds after which a lock that is still taken is a manager's.
ASKING = 0.3


class Home:
    """The folder of one pool."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = path / "manager.lock"
        self._runs = path / "runs.json"

    def make(self) -> None:
        """Create the folder, for its owner only."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Refused(f"WORKERPOOL_HOME {self.path} cannot be made: {error.strerror}", EXIT_CONFIG) from error

    def note_run(self, manager_id: str, run_id: str) -> tuple[tuple[str, str], ...]:
        """Write this run down; returns the (manager, run) before it whose rows nobody has given back yet."""
        try:
            before = [tuple(run) for run in json.loads(self._runs.read_text(encoding="utf-8"))]
        except (OSError, ValueError):
            before = []
        fresh = self._runs.with_suffix(".new")
        try:
            fresh.write_text(json.dumps([*before[-20:], (manager_id, run_id)]), encoding="utf-8")
            fresh.replace(self._runs)
        except OSError as error:
            raise _unwritable(self._runs, error) from error
        return tuple((str(manager), str(run)) for manager, run in before[-20:])

    def forget_runs(self) -> None:
        """This run left nothing behind."""
        self._runs.unlink(missing_ok=True)

    def manager(self) -> int | None:
        """Return the pid of the living manager of this home, or None."""
        try:
            descriptor = os.open(self.lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except PermissionError as error:
            raise Refused(
                f"{self.path} belongs to somebody else: whether a pool runs there cannot be seen",
                EXIT_REFUSED,
                "run the command as the user who started the pool",
            ) from error
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.read(descriptor, 32).decode(errors="replace").strip()
            return int(text) if text.isdigit() else None
        finally:
            os.close(descriptor)
        return None

    def is_held_by(self, pid: int) -> bool:
        """Tell whether the process that has the number *pid* here has the lock open.

        The number in the lock is the manager's own: one in a container counts from 1, and here that is a stranger.
        """
        try:
            lock = self.lock.stat()
            opened = list(Path(f"/proc/{pid}/fd").iterdir())
        except PermissionError:
            return True  # it has more rights than we have, and the kernel decides whether we may signal it
        except OSError:
            return False
        for each in opened:
            with contextlib.suppress(OSError):
                if os.path.samestat(lock, each.stat()):
                    return True
        return False


def _unwritable(path: Path, error: OSError) -> Refused:
    """Return the refusal for a home that takes nothing; a full disk may have room again: a supervisor tries again."""
    told = f"{path} cannot be written: {error.strerror}"
    return Refused(told, EXIT_FAILED, "make room on the disk of WORKERPOOL_HOME")


def _grab(descriptor: int) -> bool:
    """Take the lock.

    Tries for a moment, because somebody who only asks who is there (`Home.manager`) shares it for an instant.
    """
    deadline = time.monotonic() + ASKING
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        else:
            return True


@contextlib.contextmanager
def hold(home: Home) -> Iterator[None]:
    """Be the one manager of *home*; raises Refused (exit 78) with the pid of the one that is there."""
    home.make()
    try:
        descriptor = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise Refused(f"{home.lock} cannot be opened: {error.strerror}", EXIT_CONFIG) from error
    if not _grab(descriptor):
        pid = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise Refused(
            f"already running on {home.path}, with pid {pid}",
            EXIT_CONFIG,
            "`workerpool stop` ends it; another pool needs another WORKERPOOL_HOME",
        )
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    except OSError as error:
        os.close(descriptor)
        raise _unwritable(home.lock, error) from error
    try:
        yield
    finally:
        os.ftruncate(descriptor, 0)
        os.close(descriptor)
