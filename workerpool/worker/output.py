"""What a handler prints goes to the execution log of its revision.

Owns: ``sys.stdout`` and ``sys.stderr`` of a worker. What is written past Python, to the descriptors 1 and 2, is read
by the manager.
Invariant: printing never blocks, and fails only beyond the attempt's output limit; a line is bounded, and lines are
(by the job's log).
"""

from __future__ import annotations

import fcntl
import io
import os
import termios
import time
from collections.abc import Callable

from workerpool.core.errors import OutputLimitExceeded
from workerpool.job.job import MAX_LINE, Job

READ_WITHIN = 0.2


class Printed:
    """The bytes that one attempt has printed through Python, on both streams together, and how many it may."""

    def __init__(self, limit: int) -> None:
        self._limit, self._size = limit, 0

    def count(self, text: str) -> None:
        """Count *text*. Raises OutputLimitExceeded where it is too much, and again for all that follows."""
        if text.isascii() or self._size + len(text) > self._limit:
            self._size += len(text)
        else:
            self._size += len(text.encode("utf-8", "backslashreplace"))
        self.check()

    def check(self) -> None:
        """Raise OutputLimitExceeded if too much was printed; a handler may have swallowed it."""
        if self._size > self._limit:
            raise OutputLimitExceeded(self._limit)


class HandlerOutput(io.TextIOBase):
    """A text stream whose lines become log lines of the job that runs; outside a job they go to the descriptor."""

    def __init__(self, descriptor: int, level: str, running: Callable[[], Job | None]) -> None:
        self._descriptor, self._level, self._running = descriptor, level, running
        self._part = ""
        self._owner: int | None = None
        self._pid = os.getpid()
        self.printed: Printed | None = None
        """What counts for the attempt that runs."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding that a terminal would have."""
        return "utf-8"

    @property
    def buffer(self) -> io.RawIOBase:
        """A stream for bytes; they go past Python, to the descriptor."""
        return open(self._descriptor, "wb", buffering=0, closefd=False)

    def fileno(self) -> int:
        """Return the descriptor, for code that wants one."""
        return self._descriptor

    def writable(self) -> bool:
        """Tell that one may write."""
        return True

    def write(self, text: str) -> int:
        """Take *text*; each full line is logged. Raises OutputLimitExceeded."""
        job = self._running()
        # (a fork of a handler has a copy of the log that nobody sends)
        if job is None or os.getpid() != self._pid:
            _pass_on(self._descriptor, text)
            return len(text)
        if self._owner != job.id:
            self._part, self._owner = "", job.id
        if self.printed is not None:
            self.printed.count(text)
        *lines, self._part = (self._part + text).split("\n")
        for line in lines:
            job.log.write(self._level, line)
        if len(self._part) > 4 * MAX_LINE:
            job.log.write(self._level, self._part)
            self._part = ""
        return len(text)

    def finish(self, job: Job) -> None:
        """Log the last line, which had no end."""
        if self._part and self._owner == job.id:
            job.log.write(self._level, self._part)
        self._part = ""


def _pass_on(descriptor: int, text: str) -> None:
    try:
        os.write(descriptor, text.encode("utf-8", "backslashreplace")[:4096])
    except OSError:
        return


def wait_until_read(descriptor: int) -> None:
    """Wait until the manager has read what was written to this pipe, so that it knows whose words they are.

    Bounded: it never takes longer than READ_WITHIN seconds.
    """
    waiting = bytearray(4)
    deadline = None
    while True:
        try:
            fcntl.ioctl(descriptor, termios.FIONREAD, waiting)
        except OSError:
            return
        if not any(waiting):
            return
        now = time.monotonic()
        deadline = deadline or now + READ_WITHIN
        if now > deadline:
            return
        time.sleep(0.0005)
