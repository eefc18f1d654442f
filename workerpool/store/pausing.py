"""The pause as people and programs use it: ask for it, take it away, and prove that nothing runs.

Owns: what a proof is made of. Does not own: what a pause forbids (the functions of the schema).
Invariant: a safe state is read in one statement, after the pause committed; nothing can start after that (R12, R15).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from workerpool.store.session import Row, Session

Mode = Literal["drain", "quiesce"]
MODES: tuple[Mode, ...] = ("drain", "quiesce")
#: Between two looks at what still runs.
LOOK = timedelta(milliseconds=50)
#: A worker that nobody has seen for so long is not waited for (R15; the view safe_state has the same).
DEAD = timedelta(minutes=5)


class BadPause(ValueError):
    """A pause that cannot be asked for."""

    def __init__(self, field: str, value: object, allowed: str) -> None:
        self.field, self.value, self.allowed = field, value, allowed
        super().__init__(f"{field} is {value!r}; allowed: {allowed}")


@dataclass(frozen=True, slots=True)
class Safety:
    """What was seen at one moment; the facts of each revision, worker and token are those of `safety.sql`."""

    paused: bool
    mode: Mode | None
    reason: str | None
    version: int
    is_safe: bool
    running: tuple[Row, ...]
    held: tuple[Row, ...]
    lost: tuple[Row, ...]
    workers: tuple[Row, ...]
    tokens: tuple[Row, ...]

    @property
    def unaware(self) -> tuple[Row, ...]:
        """The living workers that have not seen the pause in force."""
        alive = (each for each in self.workers if each["seen"] < DEAD.total_seconds())
        return tuple(each for each in alive if each["version"] < self.version)

    def within(self, scope: str) -> Safety:
        """Return what of it concerns a handler or a host that is paused; `all`: everything.

        A paused handler or host is safe when nothing of it runs: tokens are of the pool as a whole.
        """
        kind, _, name = scope.partition(":")
        if kind not in ("handler", "host"):
            return self
        running, held = (
            tuple(
                each for each in some if name == (each["handler"] if kind == "handler" else host_of(each["worker_id"]))
            )
            for some in (self.running, self.held)
        )
        workers = tuple(each for each in self.workers if kind == "handler" or host_of(each["id"]) == name)
        part = replace(self, running=running, held=held, workers=workers, tokens=(), paused=True)
        return replace(part, is_safe=not part.obstacles())

    def obstacles(self) -> list[str]:
        """Return a sentence for everything that keeps this from being safe."""
        told = [] if self.paused else ["the pool is not paused"]
        for each in self.running:
            step = f" at {each['current_step']!r}" if each["current_step"] else ""
            told.append(
                f"revision {each['id']} of {each['item_key']} runs{step} on {each['worker_id']} "
                f"for {each['seconds']:.1f} s" + (", and has reached no checkpoint" if self.mode == "quiesce" else "")
            )
        for each in self.tokens:
            told.append(
                f"{each['kind']} {each['holder']} (pid {each['pid']} on {each['host']}) is active "
                f"for {each['seconds']:.1f} s"
            )
        told += [f"worker {each['id']} has not seen the pause yet" for each in self.unaware]
        return told


def host_of(worker: str) -> str:
    """Return the host of a worker's id."""
    return worker.partition("/")[0]


class NotSafe(TimeoutError):
    """There was no safe state in time; `safety` says what still runs."""

    def __init__(self, safety: Safety, waited: timedelta) -> None:
        self.safety = safety
        told = "; ".join(safety.obstacles())
        super().__init__(f"no safe state after {waited.total_seconds():g} s: {told}")


def pause(
    session: Session,
    mode: Mode,
    reason: str,
    who: str,
    *,
    holder: str | None = None,
    scope: str = "all",
    until: datetime | None = None,
) -> int:
    """Pause, or change what *holder* (else *who*) asked for before, and return the version in force.

    Once it returns nothing of *scope* (`all`, `handler:NAME` or `host:NAME`) is claimed any more. Raises BadPause, and
    psycopg.errors.LockNotAvailable where a claim hangs for 5 s.
    """
    if mode not in MODES:
        raise BadPause("mode", mode, ", ".join(MODES))
    if not reason.strip():
        raise BadPause("reason", reason, "a text that says why")
    kind, colon, name = scope.partition(":")
    if scope != "all" and not (kind in ("handler", "host") and colon and name):
        raise BadPause("scope", scope, "all, handler:NAME or host:NAME")
    asked: dict[str, Any] = {"scope": scope, "mode": mode, "reason": reason, "who": who, "holder": holder or who}
    row = session.row("pause", **asked, until=until)
    assert row is not None, "pause answers one row"
    return int(row["version"])


def resume(session: Session, who: str, reason: str = "", *, holder: str | None = None, scope: str | None = None) -> int:
    """Take away the pauses of *holder* (None: of everybody) in *scope* (None: each); return how many there were."""
    row = session.row("resume", scope=scope, holder=holder, reason=reason, who=who)
    assert row is not None, "resume answers one row"
    return int(row["lifted"])


def pauses(session: Session) -> list[Row]:
    """Return who asked for which pauses, in the order in which they did."""
    return session.rows("pauses")


def metrics(session: Session) -> Row:
    """Return the figures of the pause: see the view pause_metrics."""
    row = session.row("pause_metrics")
    assert row is not None, "pause_metrics answers one row"
    return row


def look(session: Session) -> Safety:
    """Return what runs, what is held, who has seen the pause, and which tokens are active, as of one moment."""
    row = session.row("safety")
    assert row is not None, "safety answers one row"
    revisions = row.pop("revisions")
    return Safety(
        **{name: row[name] for name in ("paused", "mode", "reason", "version", "is_safe")},
        running=tuple(each for each in revisions if not each["held"] and not each["lost"]),
        held=tuple(each for each in revisions if each["held"]),
        lost=tuple(each for each in revisions if each["lost"]),
        workers=tuple(row["workers"]),
        tokens=tuple(row["tokens"]),
    )


def wait_for_safe_state(
    session: Session,
    timeout: timedelta | None,
    tell: Callable[[Safety], object] = lambda _: None,
    scope: str = "all",
) -> Safety:
    """Wait until it is safe, at most *timeout* (None: for ever), and return the proof; *tell* gets each look.

    It does not pause. A *scope* that is paused alone is safe when nothing of it runs. Raises NotSafe.
    """
    began = time.monotonic()
    while not (found := look(session).within(scope)).is_safe:
        tell(found)
        if found.tokens:
            session.rows("sweep_tokens")  # of holders that are dead or stopped, where no keeper does it
        if timeout is not None and time.monotonic() - began >= timeout.total_seconds():
            raise NotSafe(found, timeout)
        time.sleep(LOOK.total_seconds())
    tell(found)
    return found
