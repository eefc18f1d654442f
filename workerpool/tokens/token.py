"""A work token: while it is active, nobody who waits for a safe state gets one.

Owns: the life of one token: inactive, active, giving way to a pause, lost. Does not own: renewing, nor the guard (the
function ``activate_token``).
Invariant: a token belongs to the process that made it active; a fork of that process has an inactive one.
"""

from __future__ import annotations

import os
import threading
import time
from datetime import timedelta
from typing import Literal

from workerpool import config
from workerpool.core.durations import as_length
from workerpool.store.line import LineLost, StatementRefused
from workerpool.store.quiet import program
from workerpool.tokens.renewal import LOOK, Grant, Renewal, renewal_of

Kind = Literal["orchestrator", "background_worker"]
KINDS: tuple[Kind, ...] = ("orchestrator", "background_worker")
#: Between two tries of those who wait, where a pause lasts; its end is seen earlier.
TRY = 2.0


class Paused(TimeoutError):
    """A token was not activated in time: the pool is paused. `reason` is the pause's."""

    def __init__(self, holder: str, reason: str, waited: timedelta) -> None:
        self.holder, self.reason, self.waited = holder, reason, waited
        why = f" ({reason})" if reason else ""
        super().__init__(f"{holder} may not begin: the pool is paused{why}, waited for {waited.total_seconds():g} s")


class WorkToken:
    """The right to be active; use it as a context manager, or `activate` and `release` it.

    For one holder, on one thread; `pause`, `resume` and the properties are for any thread.
    """

    _grant: Grant | None
    _at: Renewal | None

    def __init__(
        self,
        kind: Kind = "orchestrator",
        pausable: bool = True,
        *,
        name: str | None = None,
        url: str | None = None,
        schema: str | None = None,
    ) -> None:
        """Make an inactive token; nothing is connected yet.

        *pausable*: `check_pause` gives way. *name*: what people are told who holds it, else the program's. *url*,
        *schema*: as of `Client`.
        """
        if kind not in KINDS:
            raise ValueError(f"kind is {kind!r}; allowed: {', '.join(KINDS)}")
        self.kind, self.pausable, self.name = kind, pausable, name or program()
        self._url, self._schema = url, schema
        self._begin()

    def __enter__(self) -> WorkToken:
        self.activate()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __repr__(self) -> str:
        """Return what it is and how it is, for logs."""
        state = "paused" if self.paused else "active" if self.active else "lost" if self.lost else "inactive"
        return f"<WorkToken {self.kind} {self.name!r} {state}>"

    @property
    def active(self) -> bool:
        """Tell whether it counts: there is no safe state as long as this is true."""
        grant = self._grant if self._owner == os.getpid() else None
        return grant is not None and not grant.lost

    @property
    def lost(self) -> bool:
        """Tell whether it was active and stopped counting without being released: it was not renewed for 8 s.

        Then somebody may be at something disruptive. `check_pause` and `activate` make it active anew, guarded.
        """
        grant = self._grant if self._owner == os.getpid() else None
        return grant is not None and grant.lost

    @property
    def paused(self) -> bool:
        """Tell whether its holder waits, in `activate` or `check_pause`, for a pause to end."""
        return self._owner == os.getpid() and self._holds_still

    def activate(self, timeout: timedelta | float | None = None) -> None:
        """Make it active; one that is, stays so. While the pool is paused this waits.

        *timeout*: seconds or a timedelta, 0: do not wait, None: for ever. Raises Paused after it, LineLost where the
        database does not answer, and as `Client` where it cannot be connected to.
        """
        self._become_mine()
        limit, began = as_length(timeout), time.monotonic()
        renewal = self._renewal()
        if self._try(renewal):
            return
        try:
            self._holds_still = True
            with renewal.attended():
                while True:
                    left = TRY if limit is None else began + limit.total_seconds() - time.monotonic()
                    if limit is not None and left <= 0:
                        raise Paused(self.name, renewal.reason, limit)
                    renewal.wait(min(TRY, left))
                    if self._try(renewal):
                        return
        finally:
            self._holds_still = False

    def release(self) -> None:
        """Give it back; one that is not active stays so, and a fork's copy of an active one does nothing.

        Where the database does not answer it stops counting with its lease.
        """
        self._become_mine()
        with self._lock:
            grant, self._grant = self._grant, None
        if grant is not None:
            self._renewal().give_back(grant)

    def pause(self) -> None:
        """Ask the holder to give way at its next `check_pause`, until `resume`, whether the pool is paused or not."""
        self._asked.set()

    def resume(self) -> None:
        """Take `pause` back; a pause of the pool stays in force."""
        self._asked.clear()

    def check_pause(self, stop: threading.Event | None = None) -> bool:
        """Wait here while the pool, or this token, is paused; once this returns True the token is active.

        Call it where the holder may be interrupted for long: its right is given back while it waits. A token that is
        not pausable goes on while it is active, paused or not. Without a pause this costs no question to the database;
        a pause is seen within half a second. An outage of the database is waited for if the token was lost meanwhile.
        *stop*: ends the wait; then, and if it is set already, this returns False, and the token may be inactive.
        """
        if stop is not None and stop.is_set():
            return False
        self._become_mine()
        renewal = self._renewal()
        if self.active and not (self.pausable and (renewal.paused or self._asked.is_set())):
            return True
        if self.pausable:
            self.release()
        with renewal.attended():
            try:
                while not self._may_go_on(renewal, stop):
                    self._holds_still = True
                    renewal.wait(TRY, stop)
                    if stop is not None and stop.is_set():
                        return False
                return True
            finally:
                self._holds_still = False

    def _may_go_on(self, renewal: Renewal, stop: threading.Event | None) -> bool:
        if self.pausable and self._asked.is_set():
            return False
        try:
            return self._try(renewal)
        except LineLost:
            self._holds_still = True
            (stop or threading.Event()).wait(LOOK)
            return False

    def _try(self, renewal: Renewal) -> bool:
        with self._lock:
            if self.active:
                return True
            if self._grant is not None:
                renewal.give_back(self._grant)
                self._grant = None
            try:
                self._grant = renewal.grant(self.kind, self.name)
            except StatementRefused as error:
                if not error.passing:
                    raise
            return self._grant is not None

    def _begin(self) -> None:
        self._owner = os.getpid()
        self._lock, self._asked = threading.RLock(), threading.Event()
        self._grant = None
        self._holds_still = False
        self._at = None

    def _become_mine(self) -> None:
        """Begin anew in a fork: the parent's right, its lock and its connection are not ours."""
        if self._owner != os.getpid():
            self._begin()

    def _renewal(self) -> Renewal:
        if self._at is None:
            url, schema, home = self._url, self._schema, ""
            if url is None or schema is None:
                settings = config.load()
                schema, home = schema or settings.db_schema, str(settings.home)
                if url is None and settings.database_url is not None:
                    url = settings.database_url.get_secret_value()
            self._at = renewal_of(url, schema, home if url is None else "")
        return self._at
