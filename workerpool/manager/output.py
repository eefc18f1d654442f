"""What handlers write past Python, to the descriptors 1 and 2 of their worker.

Owns: cutting it into lines and handing them to the keeper for the revision that runs. Invariant: it is always read,
so that no handler
ever blocks on it; what is too much is counted and thrown away.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from workerpool import logs
from workerpool.core.errors import OutputLimitExceeded, clean
from workerpool.link.board import Board, Running
from workerpool.manager.child import Process
from workerpool.manager.slot import Slot

log = logs.get("manager")
MOST_LINES, LONGEST = 500, 2_000
#: Lines of one read that go to the process's own log.
MOST_LOGGED = 20
#: Seconds within which workers answer the signal that asks for their stacks.
STACKS_WITHIN = 2.0


@dataclass(slots=True)
class Said:
    """How much an attempt (None: no attempt) has written."""

    attempt: tuple[int, UUID] | None
    lines: int = 0
    size: int = 0


class OutputLines:
    """The output of all workers; bounded for each attempt."""

    def __init__(self, tell: Callable[..., Any]) -> None:
        self._tell = tell
        self._parts: dict[str, bytes] = {}
        self._said: dict[str, Said] = {}
        self._stacks_until = 0.0

    def expect_stacks(self) -> None:
        """For a moment log what is written also while a revision runs: every worker was asked for its stacks."""
        self._stacks_until = time.monotonic() + STACKS_WITHIN

    def take(self, slot: str, data: bytes, running: Running | None) -> int:
        """Take in what the worker in *slot* wrote while *running* (None: nothing) ran.

        Returns the bytes that this attempt has written so far.
        """
        attempt = running.identity if running is not None else None
        said = self._said.get(slot)
        if said is None or said.attempt != attempt:
            self._parts.pop(slot, None)  # the last line of a former attempt had no end
            said = self._said[slot] = Said(attempt)
        count = said.lines
        *lines, part = (self._parts.get(slot, b"") + data).split(b"\n")
        if len(part) > LONGEST:
            lines, part = [*lines, part], b""
        self._parts[slot] = part
        said.lines += len(lines)
        said.size += len(data)
        kept = [clean(line[:LONGEST].decode("utf-8", "replace")) for line in lines[: max(0, MOST_LINES - count)]]
        if count < MOST_LINES < said.lines:
            kept.append(f"more than {MOST_LINES} lines written past Python: the rest is left out")
        self._pass_on(slot, kept, running)
        return said.size

    def ended(self, slot: str, running: Running | None) -> None:
        """The worker in *slot* is gone: its last words may have had no end of a line."""
        part = self._parts.pop(slot, b"")
        self._said.pop(slot, None)
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
        running = board.running(number)
        data = process.read_output()
        if not data:
            return data is not None
        running = running or board.running(number)
        written = output.take(slot.name, data, running)
        if running is not None and 0 < running.output_limit < written:
            slot.exceed("output", running, str(OutputLimitExceeded(running.output_limit)))
        limit -= len(data)
    return True
