"""What handlers write past Python, to the descriptors 1 and 2 of their worker.

Owns: cutting it into lines and handing them to the keeper for the revision that runs. Invariant: it is always read,
so that no handler
ever blocks on it; what is too much is counted and thrown away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workerpool import logs
from workerpool.core.errors import clean
from workerpool.link.board import Running

log = logs.get("manager")
MOST_LINES, LONGEST = 500, 2_000


class OutputLines:
    """The output of all workers; bounded for each revision."""

    def __init__(self, tell: Callable[..., Any]) -> None:
        self._tell = tell
        self._parts: dict[str, bytes] = {}
        self._counts: dict[str, tuple[int, int]] = {}

    def take(self, slot: str, data: bytes, running: Running | None) -> None:
        """Take in what the worker in *slot* wrote while *running* (None: nothing) ran."""
        if not data:
            return
        *lines, part = (self._parts.get(slot, b"") + data).split(b"\n")
        self._parts[slot] = part[-LONGEST:]
        revision = running.revision_id if running is not None else 0
        of, count = self._counts.get(slot, (0, 0))
        count = count if of == revision else 0
        room = max(0, MOST_LINES - count)
        self._counts[slot] = (revision, count + len(lines))
        kept = [clean(line[:LONGEST].decode("utf-8", "replace")) for line in lines[:room]]
        if count < MOST_LINES < count + len(lines):
            kept.append(f"more than {MOST_LINES} lines written past Python: the rest is left out")
        if running is None:
            for line in kept[:20]:
                log.info("child.printed", child=slot, line=line)
            return
        for start in range(0, len(kept), 50):
            self._tell("output", revision=revision, token=running.token.hex, lines=kept[start : start + 50])
