"""What processes count, kept together in the database, where no process can take it along when it ends.

Owns: the table's keys, and when a process sends what it has counted since its last send. Does not own: what is counted
(``worker``, ``keeper``), nor how it is shown (``api.metrics``). Invariant: counts only rise; a send that failed is made
up for by the next one, because it is the difference that is sent. A process that is killed takes along what it had not
sent, of EVERY seconds at most; a send whose answer alone was lost counts twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workerpool import logs
from workerpool.store.line import Line, LineLost, StatementRefused
from workerpool.store.session import Row, Session

log = logs.get("tallies")
#: Seconds from the first count that was not sent to the send, and to the next try where it was refused: somebody's
#: lock on a table of counts must not keep a worker waiting again and again.
EVERY, AFTER_REFUSAL = 5.0, 60.0
#: Rows that a reader takes: as many as some hundred handlers have.
MOST = 50_000
INFINITY = float("inf")
#: Upper bounds of the buckets of lengths of time, in seconds; the last is infinity.
BOUNDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, INFINITY)
#: Name, handler, kind, bucket: see the comments of the table.
Key = tuple[str, str, str, float]


@dataclass(frozen=True, slots=True)
class Sample:
    """Some of the revisions that were claimed, whose waits stand for those of all."""

    revisions: Sequence[int] = ()
    handlers: Sequence[str] = ()


NO_SAMPLE = Sample()


def key(name: str, handler: str = "", kind: str = "", bucket: float = INFINITY) -> Key:
    """Return the key of a count."""
    return name, handler, kind, bucket


def parameters(counts: Mapping[Key, float], sample: Sample = NO_SAMPLE) -> dict[str, Any]:
    """Return the parameters of `tally` that add *counts*."""
    return {
        "names": [each[0] for each in counts],
        "handlers": [each[1] for each in counts],
        "kinds": [each[2] for each in counts],
        "buckets": [each[3] for each in counts],
        "values": [float(each) for each in counts.values()],
        "sample": list(sample.revisions),
        "waited_for": list(sample.handlers),
        "claims": [float(counts.get(key("claims", handler), 0.0)) for handler in sample.handlers],
        "bounds": list(BOUNDS),
    }


def read(session: Session) -> list[Row]:
    """Return the counts of all processes."""
    return session.rows("tallies", how_many=MOST)


class Sender:
    """Sends what was counted since the last send; safe from several threads."""

    def __init__(
        self,
        line: Line,
        counted: Callable[[], Iterable[tuple[Key, float]]],
        sample: Callable[[], Sample] = lambda: NO_SAMPLE,
    ) -> None:
        """*counted* returns everything since the process began, *sample* what was claimed since the last send."""
        self._line, self._counted, self._sample = line, counted, sample
        self._sent: dict[Key, float] = {}
        self._due: float | None = None
        self._lock = threading.Lock()

    def due_in(self) -> float | None:
        """Return the seconds until something is to be sent; None: there is nothing."""
        now = time.monotonic()
        if self._due is None and self._unsent():
            self._due = now + EVERY
        return None if self._due is None else max(0.0, self._due - now)

    def send_when_due(self) -> bool:
        """Send, if it is time to; tells whether the database took something. Raises LineLost."""
        return self.due_in() == 0.0 and self.send()

    def send(self) -> bool:
        """Send what was not sent, if there is something; tells whether the database took it. Raises LineLost."""
        with self._lock:
            sample, unsent = self._sample(), self._unsent()
            self._due = None
            if not unsent:
                return False
            try:
                self._line.call("tally", **parameters(unsent, sample))
            except StatementRefused as error:
                self._due = time.monotonic() + AFTER_REFUSAL
                log.warning("settlement.refused", what="counts", error=str(error))
                return False
            except LineLost:
                self._due = time.monotonic() + EVERY
                raise
            for each, count in unsent.items():
                self._sent[each] = self._sent.get(each, 0.0) + count
            return True

    def finish(self) -> None:
        """Send what was not sent, at the end of the process, if the database is there."""
        try:
            self.send()
        except LineLost as error:
            log.warning("database.lost", what="counts", error=str(error))

    def _unsent(self) -> dict[Key, float]:
        sent = self._sent.get
        return {each: more for each, count in self._counted() if (more := count - sent(each, 0.0))}
