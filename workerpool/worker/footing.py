"""What a worker stands on, and whether a handler pulled it away: descriptors, working directory, signal handlers.

Owns: the comparison after each handler, which costs two system calls, and when a worker is worn out. Invariant: a
process whose descriptors are gone does nothing more, because a number may by now be somebody else's file; what can be
put right is put right.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from importlib import import_module

from workerpool import logs

log = logs.get("worker")
#: The exit status of a worker whose handler closed its descriptors.
EXIT_DAMAGED = 71
#: After a handler that took longer than this, in seconds, the memory in use is looked at; else after every 64.
LONG = 0.05
#: Descriptors without which nothing can be done: for a connection, or a command with its pipes.
SPARE = 8
#: What `signal.getsignal` wraps to make enum members of the answers: this is asked after each handler, four times.
_getsignal: Callable[[int], object] = import_module("_signal").getsignal
_OURS = (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT, signal.SIGHUP)


class Footing:
    """How this process was when it became a worker."""

    def __init__(self, descriptor: int) -> None:
        """Remember; *descriptor* is one that lives as long as the process, inherited with the others."""
        self._descriptor = descriptor
        self._identity = os.fstat(descriptor)[1:3]
        self._folder = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._folder_identity = os.fstat(self._folder)[1:3]
        self._handlers = [_getsignal(number) for number in _OURS]

    @property
    def is_gone(self) -> bool:
        """Tell whether the descriptors were closed under this process."""
        try:
            return os.fstat(self._descriptor)[1:3] != self._identity
        except OSError:
            return True

    def restore(self) -> bool:
        """Put right what the handler that just came back changed; True: it cannot be, this process must be replaced.

        Leaves the process at once where its descriptors are gone.
        """
        if self.is_gone:
            os._exit(EXIT_DAMAGED)
        try:
            moved = os.stat(".")[1:3] != self._folder_identity
        except OSError:
            moved = True
        if moved:
            os.fchdir(self._folder)
        if [_getsignal(number) for number in _OURS] != self._handlers:
            log.warning("worker.dirtied", what="signal handlers")
            return True
        return False


class Wear:
    """How much a worker has done, against what it may before it is replaced between two revisions.

    *most* revisions (None: any number); *memory*: resident bytes (None: any number).
    """

    def __init__(self, most: int | None, memory: int | None) -> None:
        """Start as new."""
        self._most, self._memory = most, memory
        self._performed = 0
        self._too_big = False

    def count(self, took: float) -> None:
        """Count a handler that came back after so many seconds; after a quick one memory is rarely looked at."""
        self._performed += 1
        if self._memory and (took > LONG or self._performed % 64 == 0):
            self._too_big = memory_in_use() > self._memory

    @property
    def is_over(self) -> bool:
        """Tell whether it is enough."""
        return self._too_big or (self._most is not None and self._performed >= self._most)


def is_starved() -> bool:
    """Tell whether this process can open hardly anything more; it says so in the log.

    Handlers may keep what they open, and nobody but a new process gives it back.
    """
    opened = []
    try:
        for _ in range(SPARE):
            opened.append(os.dup(0))
    except OSError as error:
        if error.errno != errno.EMFILE:
            return False
        log.warning("worker.dirtied", what="no descriptors are left")
        return True
    finally:
        for each in opened:
            os.close(each)
    return False


def memory_in_use() -> int:
    """Return the bytes of memory that this process has in use."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
