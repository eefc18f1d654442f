"""The pause as programs use it: each has pauses of its own, and a safe state is one call.

Owns: whose pause a program's pause is, and what becomes of it when there is no safe state in time. Does not own: the
pause itself, nor the proof (``pausing``).
Invariant: nothing here takes away a pause that somebody else asked for, unless it is told to (R14).
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from workerpool.store import changing, pausing
from workerpool.store.pausing import LOOK, Mode, NotSafe, Safety
from workerpool.store.session import Session


class NotIdle(TimeoutError):
    """Something was active all the time; `counts` says of which kind how many."""

    def __init__(self, counts: dict[str, int], waited: timedelta) -> None:
        self.counts = counts
        told = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
        super().__init__(f"not idle after {waited.total_seconds():g} s: active are {told}")


def program() -> str:
    """Return what people call this program: the name of its file."""
    return Path(sys.argv[0]).name or "python"


def waiter() -> str:
    """Return whose pause `wait_for_safe_state` asks for: this process's own."""
    return f"{program()} {changing.actor()} pid {os.getpid()} {_mark(os.getpid())}"


@cache
def _mark(_pid: int) -> str:
    # A number that the system gives again must not take away what a dead process left.
    return os.urandom(3).hex()


def pause(
    session: Session, reason: str, mode: Mode, *, scope: str, until: datetime | None, holder: str | None = None
) -> int:
    """Pause for *holder*, else for this user on this host, and return the version. Raises as `pausing.pause`."""
    return pausing.pause(session, mode, reason, changing.actor(), holder=holder, scope=scope, until=until)


def resume(session: Session, reason: str, *, scope: str | None, holder: str | None, everybody: bool) -> int:
    """Take pauses away, and return how many: those of *holder*, else of this user on this host and of this process.

    *everybody*: those of all.
    """
    who = changing.actor()
    if everybody:
        return pausing.resume(session, who, reason, scope=scope)
    with session.transaction():
        return sum(
            pausing.resume(session, who, reason, holder=each, scope=scope)
            for each in ((holder,) if holder else (who, waiter()))
        )


def wait_for_safe_state(
    session: Session, timeout: timedelta | None, *, reason: str, mode: Mode, keep: bool = False
) -> Safety:
    """Pause, wait until it is safe, at most *timeout* (None: for ever), and return the proof; the pause stays.

    It is this process's own, beside what others asked for. Raises NotSafe; then, and after any other error, it is taken
    away, unless *keep*. Raises as `pausing.pause`.
    """
    who, holder = changing.actor(), waiter()
    pausing.pause(session, mode, reason or f"{program()} waits for a safe state", who, holder=holder)
    try:
        return pausing.wait_for_safe_state(session, timeout)
    except BaseException as error:
        if not keep:
            why = "no safe state in time" if isinstance(error, NotSafe) else "the wait for a safe state was broken off"
            pausing.resume(session, who, why, holder=holder)
        raise


def wait_until_all_paused(session: Session, timeout: timedelta | None) -> Safety:
    """Wait until the pool is paused, every living worker has seen it, and none runs outside a hold.

    It does not pause, and tokens are not waited for. Raises NotSafe.
    """
    began = time.monotonic()
    while (found := replace(pausing.look(session), tokens=())).obstacles():
        if timeout is not None and time.monotonic() - began >= timeout.total_seconds():
            raise NotSafe(found, timeout)
        time.sleep(LOOK.total_seconds())
    return found


def active(session: Session) -> dict[str, int]:
    """Return how many are active, of each kind."""
    return {row["kind"]: row["active"] for row in session.rows("active_counts")}


def wait_for_idle(session: Session, timeout: timedelta | None) -> None:
    """Wait until nothing is active; what waits in the queue is not. Raises NotIdle."""
    began = time.monotonic()
    while any((counts := active(session)).values()):
        if timeout is not None and time.monotonic() - began >= timeout.total_seconds():
            raise NotIdle(counts, timeout)
        time.sleep(LOOK.total_seconds())
