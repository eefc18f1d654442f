"""What a keeper has counted since it began: what it alone knows of. None of it is frequent.

Owns: the counts. Does not own: sending them (``store.tallies``).
"""

from __future__ import annotations

from workerpool.core.outcome import Outcome
from workerpool.store.line import Line
from workerpool.store.tallies import Key, Sender, key


class Tally:
    """The counts of one keeper."""

    def __init__(self, line: Line) -> None:
        """*line*: over which they are sent."""
        self._counts: dict[Key, float] = {}
        self.sender = Sender(line, self._counts.items)

    def add(self, name: str, handler: str = "", kind: str = "", count: int = 1) -> None:
        """Count something."""
        each = key(name, handler, kind)
        self._counts[each] = self._counts.get(each, 0) + count

    def settled(self, handler: str, outcome: Outcome) -> None:
        """Count the outcome of an attempt that was settled for a process that is dead, or was forgotten."""
        self.add("outcomes", handler, f"{outcome.verdict}:{outcome.kind}" if outcome.kind else outcome.verdict)
