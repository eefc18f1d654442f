"""What handlers write past Python, to the descriptors 1 and 2 of their worker.

Owns: cutting it into lines and handing them to the keeper for the revision that runs. Invariant: it is always read,
so that no handler
ever blocks on it; what is too much is counted and thrown away.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from workerpool import logs
from workerpool.core.errors import clean
from workerpool.link.board import Board, Running
from workerpool.manager.child import Process
from workerpool.manager.slot import Slot

log = logs.get("manager")
MOST_LINES, LONGEST = 500, 2_000
#: Lines of one read that go to the process's own log.
MOST_LOGGED = 20
#: Seconds within which workers answer the signal that asks for their stacks.
STACKS_WITHIN = 2.0


class OutputLines:
    """The output of all workers; bounded for each revision."""

    def __init__(self, tell: Callable[..., Any]) -> None:
        self._tell = tell
        self._parts: dict[str, bytes] = {}
        self._counts: dict[str, tuple[int, int]] = {}
        self._stacks_until = 0.0

    def expect_stacks(self) -> None:
        """For a moment log what is written also while a revision runs: every worker was asked for its stacks."""
        self._stacks_until = time.monotonic() + STACKS_WITHIN

    def take(self, slot: str, data: bytes, running: Running | None) -> None:
        """Take in what the worker in *slot* wrote while *running* (None: nothing) ran."""
        revision = running.revision_id if running is not None else 0
        of, count = self._counts.get(slot, (0, 0))
        if of != revision:
            self._parts.pop(slot, None)  # the last line of a former revision had no end
            count = 0
        *lines, part = (self._parts.get(slot, b"") + data).split(b"\n")
        if len(part) > LONGEST:
            lines, part = [*lines, part], b""
        self._parts[slot] = part
        self._counts[slot] = (revision, count + len(lines))
        kept = [clean(line[:LONGEST].decode("utf-8", "replace")) for line in lines[: max(0, MOST_LINES - count)]]
        if count < MOST_LINES < count + len(lines):
            kept.append(f"more than {MOST_LINES} lines written past Python: the rest is left out")
        self._pass_on(slot, kept, running)

    def ended(self, slot: str, running: Running | None) -> None:
        """The worker in *slot* is gone: its last words may have had no end of a line."""
        part = self._parts.pop(slot, b"")
        self._counts.pop(slot, None)
        if part:
            self._pass_on(slot, [clean(part.decode("utf-8", "replace"))], running)

    def _pass_on(self, slot: str, lines: list[str], running: Running | None) -> None:
        stacks = time.monotonic() < self._stacks_until
        if running is None or stacks:
            for line in lines[: MOST_LINES if stacks else MOST_LOGGED]:
                log.info("child.printed", child=slot, line=line)
        if running is None:
            return
        for start in range(0, len(lines), 10):
            self._tell("output", revision=running.revision_id, token=running.token.hex, lines=lines[start : start + 10])


def drain(slot: Slot, process: Process, board: Board, output: OutputLines, limit: int) -> bool:
    """Read the output of a worker once, or until *limit* bytes were read or nothing is there.

    Returns whether more may come: False, nobody holds the other end any more.
    """
    number = slot.spec.board_slot
    while number is not None and limit > 0:
        before = board.running(number)
        data = process.read_output()
        if not data:
            return data is not None
        output.take(slot.name, data, before or board.running(number))
        limit -= len(data)
    return True
