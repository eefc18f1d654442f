"""Owns the place that lines go to: a descriptor or a file, and the thread that alone may wait for it.

Invariant: `put` never waits and never raises. A line is written whole or, when the place fails, dropped and counted.
Why a thread and not a test whether the descriptor is writable: all processes of the pool share one pipe, and between
test and write another process may fill it (a supervisor's reader that died stopped whole pools that way).
"""

import contextlib
import errno
import os
import select
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

_MOST_WAITING: Final = 4000
#: Seconds between two writes, unless more than one write's worth of lines waits; the first line after a silence waits
#: for nothing.
GATHER: Final = 0.05
# A write of this size to a pipe is not mixed with those of other processes.
_WHOLE: Final = select.PIPE_BUF


class BadLogFile(Exception):
    """The log file cannot be opened."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"the log file {path} cannot be opened: {reason}")


class LogWriter:
    """A bounded queue of lines and the thread that empties it."""

    def __init__(self, place: int | Path | None, notice: Callable[[int], str]) -> None:
        """Take the place over.

        place: a descriptor, which is duplicated, a file to append to, or None (everything is dropped).
        notice: makes the line that says how many lines were lost. Raises BadLogFile.
        """
        self.dropped = 0
        self._path = place if isinstance(place, Path) else None
        self._notice = notice
        # SimpleQueue: a finaliser that logs while this thread is inside `put` cannot deadlock.
        self._lines: SimpleQueue[str | threading.Event] = SimpleQueue()
        self._descriptor: int | None = None
        self._identity: tuple[int, int] | None = None
        self._reopen = threading.Event()
        self._torn = False
        self._untold = 0
        self._closed = False
        self._take(_opened(place) if isinstance(place, Path) else _duplicated(place))
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Hand a line over, without its newline; it is dropped when too many wait."""
        if self._lines.qsize() >= _MOST_WAITING:
            self._lose()
        else:
            self._lines.put(line)

    def reopen(self) -> None:
        """Open the log file again before the next line: somebody may have renamed it."""
        if self._path is not None:
            self._reopen.set()
            self._lines.put(threading.Event())

    def flush(self, limit: timedelta) -> bool:
        """Wait until everything handed over so far is written or dropped; False when that took longer than limit."""
        reached = threading.Event()
        self._lines.put(reached)
        return reached.wait(limit.total_seconds())

    def close(self, limit: timedelta) -> bool:
        """Flush, then let the thread end and give the descriptor back; False when lines had to be left behind."""
        self._closed = True
        done = self.flush(limit)
        self._thread.join(limit.total_seconds() if done else 0)
        return done

    def _run(self) -> None:
        held: str | threading.Event | None = None
        written = 0.0
        while True:
            more_waits = held is not None
            item = held if held is not None else self._lines.get()
            held = None
            if self._reopen.is_set():
                self._open_again()
            if isinstance(item, threading.Event):
                item.set()
                if self._closed and self._lines.empty():
                    self._take(None)
                    return
                continue
            if not more_waits:
                # Waking for each of many lines would take the interpreter from whoever writes them.
                time.sleep(max(0.0, written + GATHER - time.monotonic()))
            chunk, count = _encode(item), 1
            while held is None and len(chunk) < _WHOLE:
                with contextlib.suppress(Empty):
                    held = self._lines.get_nowait()
                if not isinstance(held, str) or len(chunk) + len(more := _encode(held)) > _WHOLE:
                    break
                chunk, count, held = chunk + more, count + 1, None
            self._write(chunk, count)
            written = time.monotonic()

    def _write(self, chunk: bytes, count: int) -> None:
        untold = self._untold
        told = _encode(self._notice(untold)) if untold else b""
        try:
            self._write_all((b"\n" if self._torn else b"") + told + chunk)
            self._untold -= untold
        except (OSError, ValueError) as error:
            # If not by us, the last line was torn by another process of the pool: the disk is full for all.
            self._torn |= isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
            self._lose(count)

    def _write_all(self, data: bytes) -> None:
        descriptor = self._descriptor
        if descriptor is None or _identity(descriptor) != self._identity:
            # A handler closed our descriptor; its number may be another file's or a socket's by now.
            self._descriptor = None
            raise OSError("the descriptor of the log is gone")
        while data:
            try:
                written = os.write(descriptor, data)
            except BlockingIOError:
                select.select([], [descriptor], [])
                continue
            data = data[written:]
            self._torn = bool(data)

    def _lose(self, count: int = 1) -> None:
        self.dropped += count
        self._untold += count

    def _open_again(self) -> None:
        self._reopen.clear()
        if self._path is not None:
            # The old file stays when the new one cannot be opened: better a line in the wrong file than none.
            with contextlib.suppress(BadLogFile):
                self._take(_opened(self._path))

    def _take(self, descriptor: int | None) -> None:
        old, self._descriptor = self._descriptor, descriptor
        identity, self._identity = self._identity, None if descriptor is None else _identity(descriptor)
        if old is not None and _identity(old) == identity:
            os.close(old)


def _encode(line: str) -> bytes:
    return line.encode("utf-8", "backslashreplace") + b"\n"


def _opened(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, 0o640)
    except OSError as error:
        raise BadLogFile(path, error.strerror or str(error)) from error


def _duplicated(descriptor: int | None) -> int | None:
    with contextlib.suppress(OSError):
        return None if descriptor is None else os.dup(descriptor)
    return None


def _identity(descriptor: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino
