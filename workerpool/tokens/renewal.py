"""What keeps the tokens of a process alive: one thread and one connection for all of them on one database.

Owns: the connection and its loss, the leases, the knowledge whether the pool is paused. Does not own: who holds what.
Invariant: by this process's clock a grant ends before its row does, and what has ended once is not renewed any more. So
whoever sleeps past his lease (SIGSTOP, a host that hangs) finds his token lost when he wakes up.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from workerpool import logs
from workerpool.store.address import reached
from workerpool.store.line import Line, LineLost, StatementRefused
from workerpool.store.session import Session

log = logs.get("tokens")
#: Seconds that a token counts after its holder's last sign of life, and between two signs.
LEASE, RENEW = 8.0, 2.0
#: Seconds between two looks at the pause; a loop that gives way learns of it within this.
LOOK = 0.5
#: Seconds that the connection stays when no token is left.
LINGER = 10.0
#: Between two tries of those who wait for a resume.
NAP = 0.05


@dataclass(slots=True, eq=False)
class Grant:
    """A row of work_tokens, and until when (by this process's monotonic clock) it counts for certain."""

    id: UUID
    until: float
    gone: bool = False

    @property
    def lost(self) -> bool:
        """Tell whether it may have stopped counting; once it has, for good."""
        self.gone = self.gone or time.monotonic() >= self.until
        return self.gone


class Renewal:
    """The tokens of this process on one database."""

    def __init__(self, url: str | None, schema: str) -> None:
        self._url, self._schema = url, schema
        self._lock = threading.Lock()
        self._wire = threading.RLock()
        self._kept = ExitStack()
        self._line: Line | None = None
        self._is_open = False
        self._grants: dict[UUID, Grant] = {}
        self._waiting = 0
        self._thread: threading.Thread | None = None
        self.paused, self.reason = False, ""

    def grant(self, kind: str, holder: str) -> Grant | None:
        """Ask for a token; None: the pool is paused, or about to be.

        Raises LineLost, StatementRefused, and when it connects for the first time as `reached` and `Session.require`.
        """
        asked: dict[str, Any] = {"kind": kind, "holder": holder, "host": socket.gethostname(), "pid": os.getpid()}
        asked["lease"] = f"{LEASE} seconds"
        with self._wire:
            was_open, sent = self._is_open, time.monotonic()
            try:
                found = self._call("activate_token", **asked)
            except LineLost:  # an old connection; a token that was given on it all the same ends with its lease
                if not was_open:
                    raise
                sent = time.monotonic()
                found = self._call("activate_token", **asked)
            if found[0][0] is None:
                self._look()
                return None
            self.paused = False
            given = Grant(found[0][0], sent + LEASE)
            with self._lock:
                self._grants[given.id] = given
        self._attend()
        return given

    def give_back(self, grant: Grant) -> None:
        """Let a token count no more; where the database does not answer, from the end of its lease."""
        with self._lock:
            self._grants.pop(grant.id, None)
        with suppress(LineLost, StatementRefused):
            self._call("release_token", id=grant.id)

    @contextmanager
    def attended(self) -> Iterator[None]:
        """Keep the knowledge of the pause fresh for somebody who waits."""
        with self._lock:
            self._waiting += 1
        self._attend()
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1

    def wait(self, seconds: float, stop: threading.Event | None = None) -> None:
        """Wait until the pool seems to be paused no more: a moment at least, *seconds* at most, or until *stop*."""
        deadline = time.monotonic() + seconds
        while True:
            if stop is None:
                time.sleep(min(NAP, max(0.0, seconds)))
            elif stop.wait(min(NAP, max(0.0, seconds))):
                return
            if not self.paused or time.monotonic() >= deadline:
                return

    # -- the thread ----------------------------------------------------------------------------------------------

    def _attend(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="workerpool tokens", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        renewed = used = time.monotonic()
        while True:
            time.sleep(LOOK)
            now = time.monotonic()
            with self._lock:
                used = now if self._grants or self._waiting else used
                if now - used > LINGER:
                    self._thread = None
                    break
            if self._line is None:  # whoever asks for a grant connects, and is told what is wrong
                continue
            with suppress(LineLost, StatementRefused):
                if now - renewed >= RENEW:
                    self._renew()
                    renewed = now
                self._look()
        with self._wire:
            if self._thread is None and not self._grants:
                self._close()

    def _renew(self) -> None:
        with self._lock:
            due = [each for each in self._grants.values() if not each.lost]
        sent = time.monotonic()
        asked = [each.id for each in due]
        kept = {row[0] for row in self._call("renew_tokens", ids=asked, lease=f"{LEASE} seconds")} if asked else set()
        with self._lock:
            for each in due:
                if each.id not in kept:
                    each.gone = True
                elif not each.lost:
                    each.until = sent + LEASE
            ended = [each for each in self._grants.values() if each.gone]
        for each in ended:
            self.give_back(each)

    def _look(self) -> None:
        self.paused, reason = self._call("pause_in_force")[0]
        self.reason = reason or ""

    # -- the connection ------------------------------------------------------------------------------------------

    def _call(self, name: str, **parameters: Any) -> list[tuple[Any, ...]]:
        with self._wire:
            try:
                return self._opened().call(name, **parameters)
            except LineLost as error:
                if self._is_open:
                    log.warning("database.lost", error=str(error))
                self._is_open = False
                raise

    def _opened(self) -> Line:
        if self._line is None:
            with ExitStack() as opened:
                url, schema = opened.enter_context(reached(self._url, self._schema))
                line = Line(url, schema, "tokens")
                line.open()
                opened.callback(line.close)
                with Session(url, schema, "tokens") as session:
                    session.require()
                self._line, self._is_open, self._kept = line, True, opened.pop_all()
        if not self._is_open:
            self._line.open()
            self._is_open = True
        return self._line

    def _close(self) -> None:
        self._line, self._is_open = None, False
        self._kept.close()


_renewals: dict[tuple[str | None, str, str], Renewal] = {}
_making = threading.Lock()


def renewal_of(url: str | None, schema: str, home: str) -> Renewal:
    """Return this process's one for a database: that of *url*, else the embedded one of *home*."""
    with _making:
        return _renewals.setdefault((url, schema, home), Renewal(url, schema))


def _forget() -> None:
    # A fork has neither the thread nor a right to the connection; its own tokens are renewed by its own.
    global _making
    _making = threading.Lock()
    _renewals.clear()


os.register_at_fork(after_in_child=_forget)
