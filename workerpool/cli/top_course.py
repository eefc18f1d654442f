"""How many revisions end in a second, from what the heartbeats of workers tell.

Owns: the arithmetic and its short memory. Does not own: the counts (``worker_list.sql``). Pure: instants are given.
Invariant: what was told is counted once, in the time in which it can have happened.

A worker's count is written with its heartbeat, so it jumps: each jump is spread over the time since the one before,
and what is newer than the latest heartbeat is not judged yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

#: Seconds that are remembered, that a column of the chart stands for, and over which the rate is taken.
MEMORY, COLUMN, WINDOW = 240.0, 2.0, 10.0


@dataclass(frozen=True, slots=True)
class Spell:
    """So many revisions ended between two instants."""

    start: float
    end: float
    amount: int

    def within(self, start: float, end: float) -> float:
        """Return how many of them fall between *start* and *end*."""
        shared = min(end, self.end) - max(start, self.start)
        return self.amount * max(0.0, shared) / (self.end - self.start)


class Course:
    """The last minutes of a pool; *heartbeat* in seconds."""

    def __init__(self, heartbeat: float) -> None:
        self._heartbeat = heartbeat
        self._spells: deque[Spell] = deque()
        self._counts: dict[str, int] = {}
        self._told: dict[str, float] = {}
        self._edge: float | None = None
        self._began: float | None = None

    def note(self, now: float, counts: Mapping[str, int]) -> None:
        """Take what each living worker has done to date."""
        for worker, count in counts.items():
            more = count - self._counts.get(worker, 0 if self._began is not None else count)
            if more > 0:
                start = max(self._told.get(worker, 0.0), now - self._heartbeat)
                self._spells.append(Spell(min(start, now - 0.01), now, more))
                self._edge = now
            if more or worker not in self._told:
                self._told[worker] = now
        self._counts = dict(counts)
        self._told = {worker: self._told[worker] for worker in counts}
        self._began = now if self._began is None else self._began
        while self._spells and self._spells[0].end < now - MEMORY:
            self._spells.popleft()

    def rate(self, now: float) -> float | None:
        """Return how many end in a second; None: nothing can be said yet."""
        edge = self._judged(now)
        if self._began is None or edge - self._began < COLUMN:
            return None
        start = max(self._began, edge - WINDOW)
        return self._between(start, edge) / (edge - start)

    def columns(self, now: float, how_many: int) -> list[float]:
        """Return the rates of the latest stretches of COLUMN seconds that are known, the oldest first."""
        if self._began is None:
            return []
        end = self._judged(now) // COLUMN * COLUMN
        starts = (end - COLUMN * place for place in range(how_many, 0, -1))
        return [self._between(start, start + COLUMN) / COLUMN for start in starts if start >= self._began]

    def _judged(self, now: float) -> float:
        # (a heartbeat and a half: then one that had anything to tell would have been seen)
        return max(now - 1.5 * self._heartbeat, self._edge or 0.0)

    def _between(self, start: float, end: float) -> float:
        return sum(spell.within(start, end) for spell in self._spells)
