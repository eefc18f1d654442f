"""What a job writes on where there is no database: lines and progress that wait to be told, and the hold.

Owns: what was said and not told yet, and the place where a held handler stands. Does not own: telling (``attempt``).
Invariant: a held handler goes on only when ``let_go`` says so, and a full desk drops lines, counts them, and never
blocks a handler.
"""

# ruff: noqa: ARG002 - the signatures are those of job.Desk

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NoReturn

from workerpool.core.errors import Fail, clean
from workerpool.core.revision import Claim
from workerpool.job.artifacts import Shelf
from workerpool.job.job import FiresOn
from workerpool.job.token import CancellationToken

#: Lines that may wait while the server is away.
MOST_LINES = 20_000
#: Lines in one message.
AT_ONCE = 200
Said = dict[str, Any]


class NeedsDatabase(Fail):
    """A handler asked for what only a worker of the pool can do; trying again would not help."""

    def __init__(self, what: str, instead: str) -> None:
        super().__init__(f"{what} needs the database, which a remote worker does not have: {instead}")


class RemoteDesk:
    """The desk of one attempt; its methods are safe from any thread of a handler."""

    def __init__(self, base: object, ring: Callable[[], object]) -> None:
        """*base*: the item's content, as it came with the claim; *ring* wakes whoever tells the server."""
        self._base, self._ring = base, ring
        self._lock, self._holding = threading.Lock(), threading.Lock()
        self._lines: list[Said] = []
        self._progress: Said = {}
        self._dropped = 0
        self._free = threading.Event()
        self.quiesced = False
        """The server wants the handler to stay at its next checkpoint."""
        self.held = False
        """It stays there."""

    def read_base(self, claim: Claim) -> object | None:
        """Return the item's content; it came with the claim."""
        return self._base

    def read_number(self, claim: Claim, number: int) -> NoReturn:
        """Raise NeedsDatabase: an item's history is not a worker's to read over HTTP."""
        raise NeedsDatabase("job.result_of()", "job.base is what came with the claim")

    def read_agent(self, claim: Claim, name: str) -> NoReturn:
        """Raise NeedsDatabase: agents and their providers stand in the database."""
        raise NeedsDatabase("an agent", "let the pool perform handlers that ask agents")

    def transaction(self, claim: Claim) -> AbstractContextManager[Any]:
        """Raise NeedsDatabase."""
        raise NeedsDatabase("job.transaction()", "let the pool perform this handler, or write with job.idempotency_key")

    def follow(self, claim: Claim, item: str, handler: str, payload: str, on: FiresOn) -> None:
        """Raise NeedsDatabase."""
        raise NeedsDatabase("job.then()", "return what is to follow, and let a handler of the pool enqueue it")

    def shelf(self, claim: Claim) -> Shelf:
        """Raise NeedsDatabase: the pool's home is on another machine."""
        raise NeedsDatabase("job.keep_artifact()", "put the file where others can reach it and return its address")

    def write_log(self, claim: Claim, level: str, message: str, data: dict[str, Any] | None) -> None:
        """Keep a line until it is told."""
        with self._lock:
            first = self.is_empty
            if len(self._lines) < MOST_LINES:
                self._lines.append({"level": level, "message": message or " ", "data": plain(data)})
            else:
                self._dropped += 1
        if first:
            self._ring()

    def write_progress(self, claim: Claim, percent: float | None, step: str | None, total_steps: int | None) -> None:
        """Keep the latest progress until it is told."""
        steps = total_steps if isinstance(total_steps, int) and total_steps > 0 else None
        said = {"percentage": percent, "step": step, "totalSteps": steps}
        with self._lock:
            first = self.is_empty
            self._progress |= {name: value for name, value in said.items() if value is not None}
        if first:
            self._ring()

    def hold(self, claim: Claim, token: CancellationToken) -> None:
        """Stay here while the server wants it."""
        if not self.quiesced:
            return
        with self._holding:  # (a second thread of the handler waits behind the first)
            if not self.quiesced or token.cancelled:
                return
            self._free.clear()
            self.held = True
            self._ring()
            self._free.wait()

    def let_go(self) -> None:
        """Let a held handler go on: it is held no more when this returns."""
        self.quiesced = self.held = False
        self._free.set()

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing waits to be told."""
        return not self._lines and not self._progress

    def take(self) -> Said:
        """Return the next message of what was said, without what it holds; it is `put_back` if it was not told."""
        with self._lock:
            lines, self._lines = self._lines[:AT_ONCE], self._lines[AT_ONCE:]
            progress, self._progress = self._progress, {}
            if self._dropped and not self._lines:
                lines.append({"level": "warning", "message": f"{self._dropped} lines were left out", "data": None})
                self._dropped = 0
        return {**progress, "log": lines}

    def put_back(self, said: Said) -> None:
        """What was taken was not told: it comes first, unless something newer takes its place."""
        with self._lock:
            self._lines = said["log"] + self._lines
            self._progress = {name: value for name, value in said.items() if name != "log"} | self._progress


def plain(data: dict[str, Any] | None) -> object:
    """Return *data* where the database can hold it as JSON, else its text."""
    if data is None:
        return None
    try:
        text = json.dumps(data, allow_nan=False, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError, RecursionError):
        text = "\\u0000"
    return data if "\\u0000" not in text else {"data": clean(repr(data), 1_000)}
