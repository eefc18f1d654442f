"""What one worker has counted since it began: claims, outcomes, how long handlers took, and whose waits to look at.

Owns: the counts. Does not own: sending them (``store.tallies``). Invariant: counting never waits and never fails: each
number is written by one thread at a time (claims and refusals under the hand's lock, the rest by the loop), is read by
others without a lock, and only rises, so that a reader who comes a moment early finds the rest at its next look.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any

from workerpool.core.outcome import Outcome
from workerpool.store.line import Line
from workerpool.store.tallies import BOUNDS, Key, Sample, Sender, key

#: Claims of a handler, and of all, whose waits are looked at for a send: more would say little more.
OF_ONE, OF_ALL = 64, 200
#: Places in the row of a claim.
REVISION, HANDLER, CRASHES = 0, 2, 6


class _Handler:
    """The counts of one handler."""

    __slots__ = ("claims", "completed", "next_at", "others", "ran", "sample", "seconds", "stride")

    def __init__(self) -> None:
        self.claims = self.completed = self.next_at = 0
        self.others: dict[str, int] = {}
        self.ran = [0] * len(BOUNDS)
        self.seconds = 0.0
        self.sample: list[int] = []
        self.stride = 1

    def keep(self, revision: int) -> None:
        """Take this claim into the sample: every one at first, every second when there are many, and so on."""
        self.sample.append(revision)
        if len(self.sample) >= OF_ONE:
            self.sample = self.sample[::2]
            self.stride *= 2
        self.next_at = self.claims + self.stride


class Tally:
    """The counts of one worker."""

    def __init__(self, line: Line) -> None:
        """*line*: over which they are sent."""
        self._handlers: dict[str, _Handler] = {}
        self._fenced = 0
        self.sender = Sender(line, self.counted, self._sampled)

    def claimed(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Count what a turn claimed, by its rows."""
        for row in rows:
            of = self._handlers.get(row[HANDLER]) or self._of(row[HANDLER])
            of.claims += 1
            if of.claims >= of.next_at:
                of.keep(row[REVISION])
        if rows and rows[0][CRASHES]:
            self.sender.finish()  # it is claimed alone (R22), and may take along what was counted before

    def ended(self, handler: str, outcome: Outcome, took: float) -> None:
        """Count an attempt: what became of it, as its worker sees it, and the seconds that its handler took."""
        of = self._handlers.get(handler) or self._of(handler)
        of.ran[bisect_left(BOUNDS, took)] += 1
        of.seconds += took
        if outcome.verdict == "completed":
            of.completed += 1
        else:
            kind = f"{outcome.verdict}:{outcome.kind}" if outcome.kind else outcome.verdict
            of.others[kind] = of.others.get(kind, 0) + 1

    def fenced(self) -> None:
        """Count an outcome that was refused: its claim was lost, and the attempt was in vain."""
        self._fenced += 1

    def counted(self) -> Iterator[tuple[Key, float]]:
        """Return all counts."""
        if self._fenced:
            yield key("fenced"), self._fenced
        for name, of in self._handlers.copy().items():
            yield key("claims", name), of.claims
            yield key("outcomes", name, "completed"), of.completed
            for kind, count in of.others.copy().items():
                yield key("outcomes", name, kind), count
            for bound, count in zip(BOUNDS, of.ran, strict=True):
                yield key("run_seconds", name, "", bound), count
            yield key("run_seconds_sum", name), of.seconds

    def _of(self, handler: str) -> _Handler:
        return self._handlers.setdefault(handler, _Handler())

    def _sampled(self) -> Sample:
        """Take the claims whose waits are to be looked at. (One that comes in between is in no sample.)"""
        seen = {name: of for name, of in self._handlers.copy().items() if of.sample}
        share = max(1, OF_ALL // max(1, len(seen)))
        revisions: list[int] = []
        for of in seen.values():
            sample, of.sample, of.stride, of.next_at = of.sample, [], 1, 0
            revisions += sample[:: -(-len(sample) // share)]
        return Sample(revisions, list(seen))
