"""A private directory for one run of a command.

Owns its creation (0700), its lock and its removal. What stands in it is its user's business.

Invariant: a directory whose lock nobody holds belongs to a worker that was killed, and the next worker removes it. A
lock is used instead of a pid in the name because containers may share one /tmp and have the same pids.
"""

import contextlib
import fcntl
import functools
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PREFIX = "workerpool-run-"
# A directory this young may have been made and not locked yet.
ABANDONED_AFTER = 60.0


@contextlib.contextmanager
def work_directory() -> Iterator[Path]:
    """Make a private directory and remove it with all its content at the end, however it ends."""
    _remove_abandoned_once(tempfile.gettempdir())
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name:
        lock = os.open(name, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield Path(name)
        finally:
            os.close(lock)


def remove_abandoned(folder: str) -> list[str]:
    """Remove the directories under `folder` which killed workers of this user left, and return their paths."""
    removed = []
    with os.scandir(folder) as entries:
        candidates = [entry.path for entry in entries if entry.name.startswith(PREFIX)]
    for path in candidates:
        with contextlib.suppress(OSError):
            if _is_abandoned(path):
                shutil.rmtree(path, ignore_errors=True)
                removed.append(path)
    return removed


def _is_abandoned(path: str) -> bool:
    facts = os.lstat(path)
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        return False
    if time.time() - facts.st_mtime < ABANDONED_AFTER:
        return False
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


@functools.cache
def _remove_abandoned_once(folder: str) -> None:
    remove_abandoned(folder)
