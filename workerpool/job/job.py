"""The job: one attempt of one revision, as its handler sees it.

Owns: the handler's view. Does not own: writing (it hands what was said to the worker's desk).
Invariant: a call here costs a short handler almost nothing; what it says is written in bulk, before the outcome.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

from workerpool import logs
from workerpool.core.agent import AgentBrief
from workerpool.core.errors import InvalidPayload, clean
from workerpool.core.revision import Claim
from workerpool.job.artifacts import Shelf
from workerpool.job.continuations import Added, Callback, Continuations
from workerpool.job.token import CancellationToken

log = logs.get("handler")
#: Lines of its log that one attempt may leave; the rest is counted.
MAX_LINES = 2_000
MAX_LINE = 4_000
FiresOn = Literal["completed", "failed", "cancelled", "any"]


class Desk(Protocol):
    """What a job needs of the worker that runs it."""

    def read_base(self, claim: Claim) -> object | None:
        """Return the item's current content."""

    def read_number(self, claim: Claim, number: int) -> tuple[bool, object | None]:
        """Return whether the item's history has a number, and its result."""

    def read_agent(self, claim: Claim, name: str) -> AgentBrief | None:
        """Return the agent of that name, with what earlier attempts of the revision spent on it."""

    def hold(self, claim: Claim, token: CancellationToken) -> None:
        """Stay here while the pause holds running revisions."""

    def write_log(self, claim: Claim, level: str, message: str, data: dict[str, Any] | None) -> None:
        """Keep a line of the execution log."""

    def write_progress(self, claim: Claim, percent: float | None, step: str | None, total_steps: int | None) -> None:
        """Keep the latest progress."""

    def transaction(self, claim: Claim) -> AbstractContextManager[Any]:
        """Open the transaction that commits with the outcome."""

    def follow(self, claim: Claim, item: str, handler: str, payload: str, on: FiresOn) -> None:
        """Say what is to be enqueued when the revision ends."""

    def shelf(self, claim: Claim) -> Shelf:
        """Return the folder for what the attempt keeps."""


class JobLog:
    """The execution log of one attempt; bounded, and never in the way.

    The daemon's own log has its warnings and errors too, and the rest where it is written at level debug: measured with
    handlers of 1 ms, every line there costs as much as all that writes it to the table.
    """

    def __init__(self, desk: Desk, claim: Claim) -> None:
        self._desk, self._claim = desk, claim
        self._lines = 0

    def debug(self, message: str, **data: Any) -> None:
        """Write a line of level debug."""
        self._say(logging.DEBUG, "debug", message, data)

    def info(self, message: str, **data: Any) -> None:
        """Write a line of level info."""
        self._say(logging.DEBUG, "info", message, data)

    def warning(self, message: str, **data: Any) -> None:
        """Write a line of level warning."""
        self._say(logging.WARNING, "warning", message, data)

    def error(self, message: str, **data: Any) -> None:
        """Write a line of level error."""
        self._say(logging.ERROR, "error", message, data)

    def _say(self, number: int, level: str, message: str, data: dict[str, Any]) -> None:
        self.write(level, message, data)
        if self._lines <= MAX_LINES:
            claim, more = self._claim, {"data": data} if data else {}
            log.log(
                number,
                "revision.logged",
                revision_id=claim.revision_id,
                attempt=claim.attempt,
                message=str(message),
                **more,
            )

    def write(self, level: str, message: str, data: dict[str, Any] | None = None) -> None:
        """Write a line of the execution log only; *data* that is not JSON is written as text.

        After MAX_LINES, lines are only counted.
        """
        self._lines += 1
        if self._lines <= MAX_LINES:
            self._desk.write_log(self._claim, level, clean(str(message), MAX_LINE), data or None)
        elif self._lines == MAX_LINES + 1:
            self._desk.write_log(self._claim, "warning", f"more than {MAX_LINES} lines: the rest is left out", None)


class Job:
    """One attempt of one revision."""

    def __init__(self, claim: Claim, desk: Desk, token: CancellationToken, max_attempts: int) -> None:
        self._claim, self._desk = claim, desk
        self._base: object | None = None
        self._base_read = False
        self._shelf: Shelf | None = None
        self.token = token
        self.max_attempts = max_attempts
        self.log = JobLog(desk, claim)
        self.continuations = Continuations()
        self.payload: dict[str, Any] = parse_payload(claim.payload)

    def __repr__(self) -> str:
        """Return the job in one line, for logs and debuggers."""
        return f"Job(id={self.id}, item_key={self.item_key!r}, handler={self.handler!r}, attempt={self.attempt})"

    @property
    def id(self) -> int:
        """The revision's id."""
        return self._claim.revision_id

    @property
    def item_key(self) -> str:
        """The item that this is a revision of."""
        return self._claim.item_key

    @property
    def handler(self) -> str:
        """The handler's name."""
        return self._claim.handler

    @property
    def attempt(self) -> int:
        """Which attempt this is: 1, 2, 3 …"""
        return self._claim.attempt

    @property
    def fence(self) -> int:
        """A number that rises with each claim of the item: a store outside can refuse a lower one."""
        return self._claim.fence

    @property
    def idempotency_key(self) -> str:
        """``<revision>:<attempt>``, for services outside that accept such a key."""
        return f"{self._claim.revision_id}:{self._claim.attempt}"

    @property
    def metadata(self) -> dict[str, Any] | None:
        """What came with the revision beside its payload: source, delivery id, trace context."""
        return json.loads(self._claim.metadata) if self._claim.metadata else None

    @property
    def base(self) -> Any:
        """The item's current content: the result that this revision stacks on, else the original, else None.

        It is read once, when first asked for, and cannot change while this attempt runs.
        """
        if not self._base_read:
            self._base, self._base_read = self._desk.read_base(self._claim), True
        return self._base

    def result_of(self, number: int) -> Any:
        """Return the result with a *number* in this item's history; 0 is the original.

        Raises LookupError where there is none: it was never there, or it was pruned.
        """
        found, result = self._desk.read_number(self._claim, number)
        if not found:
            raise LookupError(f"{self.item_key} has no number {number} in its history, or not any more")
        return result

    def read_agent(self, name: str) -> AgentBrief | None:
        """Return the agent *name* with its provider and what earlier attempts spent on it; None: there is none."""
        return self._desk.read_agent(self._claim, name)

    def checkpoint(self) -> None:
        """Let a cancellation or a quiesce take effect here.

        Raises Cancelled if a cancellation was asked for. While a pause of mode quiesce is in force it does not return,
        and the time limit waits.
        """
        self.token.raise_if_cancelled()
        self._desk.hold(self._claim, self.token)
        self.token.raise_if_cancelled()

    def on_complete(self, key: str, callback: Callback) -> Added:
        """Have *callback* called with (worker, completion type, error message) when this attempt has ended.

        It runs in this process, on another thread, and is lost in a crash: what must happen belongs into ``then``.
        The same *key* again takes the former callback's place.
        """
        return self.continuations.add_or_run_now(key, callback)

    def then(
        self, item: str, handler: str = "default", payload: dict[str, Any] | None = None, *, on: FiresOn = "completed"
    ) -> None:
        """Enqueue a revision of *item* when this revision ends so: in the transaction of its outcome, and once.

        Written at once, so it outlives a crash; what a later attempt asks for takes the place of what this one does.
        Raises ValueError for a bad argument, ClaimLost.
        """
        if on not in ("completed", "failed", "cancelled", "any"):
            raise ValueError(f"then(on={on!r}): completed, failed, cancelled or any is allowed")
        for what, text, most in (("item", item, 512), ("handler", handler, 200)):
            if not isinstance(text, str) or not 1 <= len(text) <= most:
                raise ValueError(f"then({what}={text!r}): 1 to {most} characters are allowed")
        try:
            encoded = json.dumps(payload or {}, allow_nan=False, ensure_ascii=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"then(payload=…): it is not JSON: {error}") from error
        self._desk.follow(self._claim, item, handler, encoded, on)

    def transaction(self) -> AbstractContextManager[Any]:
        """Open a psycopg connection whose writes commit together with the outcome, exactly once.

        Return from inside the block or right after it: the commit comes with the return. An exception rolls back, in
        the block and after it. One in an attempt. Raises TransactionMisused.
        """
        return self._desk.transaction(self._claim)

    def keep_artifact(self, path: str | os.PathLike[str], name: str | None = None) -> str:
        """Copy the file *path* into this attempt's folder under the home, and return the copy's path for the result.

        *name*: what it is called there (None: as it is); a name that this attempt used is refused. The copy is kept as
        long as the revision. Raises BadArtifact, OSError.
        """
        if self._shelf is None:
            self._shelf = self._desk.shelf(self._claim)
        return self._shelf.keep(path, name)

    def progress(self, percent: float, step: str | None = None, *, total_steps: int | None = None) -> None:
        """Say how far this is: *percent* from 0 to 100, the step's name, and how many steps there are in all."""
        if not 0 <= percent <= 100:
            raise ValueError(f"progress {percent!r}: a number from 0 to 100 is wanted")
        self._desk.write_progress(self._claim, float(percent), None if step is None else clean(step, 500), total_steps)


def parse_payload(text: str | None) -> dict[str, Any]:
    """Return the payload as a dict; raises InvalidPayload where it is not an object that Python can hold."""
    if text is None or text == "{}":
        return {}
    try:
        payload = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise InvalidPayload(f"the payload cannot be read: {clean(str(error), 200)}") from error
    if not isinstance(payload, dict):
        raise InvalidPayload(f"the payload must be a JSON object, this is a {type(payload).__name__}")
    return payload


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


#: Made once: json.loads makes one for each call that has options.
_DECODER = json.JSONDecoder(parse_constant=_refuse)
