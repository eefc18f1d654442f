"""What running handlers said and is not yet in the database.

Owns: log lines and progress until they are written. Invariant: they are written before the outcome of their attempt,
each fenced by its
token; a full desk drops nothing silently and never blocks a handler.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from workerpool import logs
from workerpool.core.agent import AgentBrief
from workerpool.core.errors import ClaimLost, clean
from workerpool.core.outcome import Outcome
from workerpool.core.revision import Claim
from workerpool.job.artifacts import Shelf
from workerpool.job.job import FiresOn
from workerpool.job.token import CancellationToken
from workerpool.store.agent_brief import brief_of
from workerpool.store.effects import CommitRefused, Effects, EffectsConnection
from workerpool.store.line import Line, LineLost, StatementRefused

log = logs.get("worker")
#: Log lines that may wait; beyond that a handler writes faster than the database takes, and lines are counted instead.
MOST_LINES = 20_000

#: Lines in one statement.
AT_ONCE = 1_000

REOPEN_EVERY = 0.1
#: Seconds for which nothing is sent after the database refused it and may take it later.
REST = 1.0
#: When (monotonic), level, message, data; and percent, step, number of steps.
_Said = tuple[Claim, float, str, str, str | None]
_Progress = tuple[Claim, float | None, str | None, int | None]
#: The escape of a NUL in JSON text, which jsonb refuses; it becomes the picture of one.
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


class WorkerDesk:
    """The pending lines and progress of one worker; its methods are safe from any thread of a handler."""

    def __init__(self, line: Line, patience: float, effects: Effects, home: Path) -> None:
        """*patience*: the seconds that a handler waits for a database that is away; a lease."""
        self._line, self._patience, self._effects, self._home = line, patience, effects, home
        self._lock = threading.Lock()
        _desks.add(self)
        self._lines: list[_Said] = []
        self._progress: dict[int, _Progress] = {}
        self._under_way: tuple[list[_Said], dict[int, _Progress]] = [], {}
        self._dropped = 0
        self._rests_until = 0.0
        self.hold: Callable[[Claim, CancellationToken], None] = lambda *_: None
        """Stay here while the pause holds running revisions; whoever knows the pause puts its own here."""
        self.written: Callable[[list[Outcome]], object] = lambda _: None
        """Told of an outcome that was committed with its handler's transaction."""

    def read_base(self, claim: Claim) -> object | None:
        """Return the item's current content; waits for a database that is away. Raises LineLost after a lease."""
        rows = self._patiently("base", item_key=claim.item_key)
        return json.loads(rows[0][0]) if rows and rows[0][0] is not None else None

    def read_number(self, claim: Claim, number: int) -> tuple[bool, object | None]:
        """Return whether the item's history has a number, and its result. Raises LineLost after a lease."""
        found, result, *_ = self._patiently("numbered", item=claim.item_key, number=number)[0]
        return found, json.loads(result) if result is not None else None

    def read_agent(self, claim: Claim, name: str) -> AgentBrief | None:
        """Return the agent of that name, with what earlier attempts spent. Raises LineLost after a lease."""
        rows = self._patiently("agent_brief", agent=name, id=claim.revision_id, attempt=claim.attempt)
        return brief_of(rows[0]) if rows else None

    def _patiently(self, name: str, **parameters: object) -> list[tuple[Any, ...]]:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return self._line.call(name, **parameters)
            except LineLost:
                if time.monotonic() > deadline:
                    raise
            time.sleep(REOPEN_EVERY)
            with contextlib.suppress(LineLost):
                self._line.open()

    def transaction(self, claim: Claim) -> AbstractContextManager[EffectsConnection]:
        """Lend the connection whose writes commit with the outcome. Raises TransactionMisused, LineLost."""
        return self._effects.transaction(claim)

    def follow(self, claim: Claim, item: str, handler: str, payload: str, on: FiresOn) -> None:
        """Write what is to be enqueued when the revision ends. Raises ClaimLost, LineLost."""
        asked = {"item_key": item, "handler": handler, "payload": payload, "fires_on": on}
        rows = self._line.call("then_enqueue", id=claim.revision_id, token=claim.token, attempt=claim.attempt, **asked)
        if rows[0][0] is None:
            raise ClaimLost(claim.revision_id, "then()")

    def shelf(self, claim: Claim) -> Shelf:
        """Return the folder for what the attempt of *claim* keeps."""
        return Shelf(self._home, claim.revision_id, claim.attempt)

    def conclude(self, claim: Claim, outcome: Outcome) -> Outcome:
        """Commit the handler's transaction with its *outcome*, if it opened one; else return *outcome* as it is.

        One that is not a success is rolled back and settled like any other. Raises CommitRefused, NoRoom, LineLost: all
        of it was rolled back.
        """
        if not self._effects.is_open:
            return outcome
        if outcome.verdict != "completed":
            self._effects.roll_back()
            return outcome
        try:
            self.flush()
        except LineLost:
            self._effects.roll_back()
            raise
        try:
            written = self._effects.commit(claim, outcome)
        except LineLost as error:
            written = self._was_written(claim, error)
        if written:
            self.written([outcome])
        else:
            log.warning("revision.fenced", revision_id=claim.revision_id, verdict="completed")
        return replace(outcome, written=True)

    def _was_written(self, claim: Claim, error: LineLost) -> bool:
        """Find out what a commit did whose answer was lost: a finished row keeps its token (R19).

        Raises CommitRefused where the row is still this attempt's. (Should the server be committing it at this moment,
        what is settled next waits for its item, and is refused.)
        """
        rows = self._patiently("outcome_of", ids=[claim.revision_id])
        status = {row[1]: row[2] for row in rows}.get(claim.token)
        if status == "processing":
            raise CommitRefused(error)
        return status == "completed"

    def write_log(self, claim: Claim, level: str, message: str, data: dict[str, Any] | None) -> None:
        """Keep a line until the next flush."""
        text = None if data is None else _json(data)
        with self._lock:
            if len(self._lines) < MOST_LINES:
                self._lines.append((claim, time.monotonic(), level, message, text))
            else:
                self._dropped += 1

    def write_progress(self, claim: Claim, percent: float | None, step: str | None, total_steps: int | None) -> None:
        """Keep the latest progress until the next flush."""
        with self._lock:
            before = self._progress.get(claim.revision_id)
            if before is not None:
                step = before[2] if step is None else step
                total_steps = before[3] if total_steps is None else total_steps
            self._progress[claim.revision_id] = (claim, percent, step, total_steps)

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing waits."""
        return not self._lines and not self._progress

    def take_off(self) -> list[Any]:
        """Return what waits as the parameters of `told`, none for nothing, to be sent in front of the outcomes.

        It is under way until ``landed`` or ``came_back``. Raises LineLost.
        """
        if time.monotonic() < self._rests_until:
            return []
        if len(self._lines) > AT_ONCE:
            self.flush()
        self._under_way = lines, progress = self._taken()
        return _told(lines, progress) if lines or progress else []

    def landed(self, refused: StatementRefused | None) -> None:
        """What was under way is in the database, or the database *refused* it."""
        (lines, progress), self._under_way = self._under_way, ([], {})
        if refused is not None:
            self._refused(refused, lines, progress)

    def _refused(self, error: StatementRefused, lines: list[_Said], progress: dict[int, _Progress]) -> None:
        log.warning("settlement.refused", what="log lines and progress", count=len(lines), error=str(error))
        if error.passing:  # they wait: neither a lock nor a full disk is for ever
            self._rests_until = time.monotonic() + REST
            self._put_back(lines, progress)

    def came_back(self) -> None:
        """Nobody knows what became of what was under way: it waits again."""
        (lines, progress), self._under_way = self._under_way, ([], {})
        self._put_back(lines, progress)

    def flush(self) -> None:
        """Write what waits; what the database may take later goes on waiting.

        Raises LineLost with everything still here, so that it can be written on the next connection.
        """
        if time.monotonic() < self._rests_until:
            return
        lines, progress = self._taken()
        try:
            while lines or progress:
                self._line.tell(_told(lines[:AT_ONCE], progress))
                lines, progress = lines[AT_ONCE:], {}
        except StatementRefused as error:
            self._refused(error, lines, progress)
        except BaseException:
            self._put_back(lines, progress)
            raise

    def _taken(self) -> tuple[list[_Said], dict[int, _Progress]]:
        with self._lock:
            lines, self._lines = self._lines, []
            progress, self._progress = self._progress, {}
            dropped, self._dropped = self._dropped, 0
        if dropped:
            lines.append((lines[-1][0], time.monotonic(), "warning", f"{dropped} lines were left out", None))
        return lines, progress

    def _put_back(self, lines: list[_Said], progress: dict[int, _Progress]) -> None:
        with self._lock:
            self._lines = lines + self._lines
            self._progress = progress | self._progress


def _unlock() -> None:
    # The thread that held it at the moment of a handler's fork is not in the fork, and would never give it back.
    for desk in _desks:
        desk._lock = threading.Lock()


_desks: weakref.WeakSet[WorkerDesk] = weakref.WeakSet()
os.register_at_fork(after_in_child=_unlock)


def _told(lines: list[_Said], progress: dict[int, _Progress]) -> list[Any]:
    """Return the parameters of `told`."""
    now = time.monotonic()
    latest = sorted(progress.values(), key=lambda each: each[0].revision_id)
    return [
        [claim.revision_id for claim, *_ in latest],
        [claim.token for claim, *_ in latest],
        [percent for _, percent, _, _ in latest],
        [step for _, _, step, _ in latest],
        [total for *_, total in latest],
        [claim.revision_id for claim, *_ in lines],
        [claim.token for claim, *_ in lines],
        [claim.attempt for claim, *_ in lines],
        [now - at for _, at, *_ in lines],
        [level for _, _, level, _, _ in lines],
        [message for *_, message, _ in lines],
        [data for *_, data in lines],
    ]


def _json(data: dict[str, Any]) -> str:
    try:
        text = json.dumps(data, allow_nan=False, ensure_ascii=False, default=lambda value: clean(repr(value), 1_000))
    except (ValueError, TypeError, RecursionError):
        text = json.dumps({"data": clean(repr(data), 1_000)}, ensure_ascii=False)
    return _NUL.sub(r"\1\\u2400", text).encode("utf-8", "replace").decode()
