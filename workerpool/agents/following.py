"""An answer as it comes: to the bar, to the log, and never longer than it may be.

Owns: what is said of a stream. Does not own: the stream. Invariant: each piece is a checkpoint, so a cancel or a
quiesce takes effect between two of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from workerpool.core.errors import Fail
from workerpool.job.job import Job

#: Characters of an answer; a model that writes on and on is ended.
MOST_OUTPUT = 1 << 20
#: Characters that make about one token, for the bar alone.
TOKEN = 4
#: A line of the log is one of the answer's, or about so many characters of it, or what came within so many seconds.
LINE, SECONDS = 160, 1.0
#: Lines of an answer in the log; the answer itself is in the result.
MOST_LINES = 400


class Following:
    """Follows the answers of one question, and says in the job's log and progress how far they are."""

    def __init__(self, job: Job, between: tuple[float, float], expected: int, step: str) -> None:
        """*between*: the percentages that the bar moves in; *expected*: tokens at its end."""
        self._job, self._between, self._expected, self._step = job, between, max(expected, 1), step
        self._line = ""
        self._since = 0.0
        self._lines = 0
        self.length = 0
        """Characters that came, of all answers."""

    def piece(self, text: str) -> None:
        """Take in a piece of an answer. Raises Cancelled, and Fail where there is too much."""
        self._job.checkpoint()
        self.length += len(text)
        if self.length > MOST_OUTPUT:
            raise Fail(f"the model wrote more than {MOST_OUTPUT} characters and was ended")
        begin, end = self._between
        share = min(1.0, self.length / TOKEN / self._expected)
        self._job.progress(round(begin + (end - begin) * share, 1), self._step)
        self._since = self._since if self._line else time.monotonic()
        *whole, self._line = (self._line + text).split("\n")
        for line in whole:
            self._write(line)
        if len(self._line) >= LINE or time.monotonic() - self._since > SECONDS:
            self.end()

    def end(self) -> None:
        """Say what is not said yet: an answer has ended."""
        line, self._line = self._line, ""
        self._write(line)

    def _write(self, line: str) -> None:
        if not line.strip():
            return
        self._lines += 1
        if self._lines <= MOST_LINES:
            self._job.log.info(line, stream="answer")
        elif self._lines == MOST_LINES + 1:
            self._job.log.info("the answer goes on; the rest of it is left out of the log")


class Writing:
    """Follows for somebody who only reads along."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self.length = 0

    def piece(self, text: str) -> None:
        """Hand a piece on."""
        self.length += len(text)
        self._write(text)

    def end(self) -> None:
        """Nothing is left to say."""
