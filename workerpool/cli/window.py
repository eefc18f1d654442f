"""A pause of one's own around something disruptive: pause, wait until it is safe, do it, take the pause away.

Owns: the order of these, and what signals do in each. Does not own: what is done meanwhile. Invariant: whatever
happens but a kill that no program sees, the pause is taken away; and who cannot do it says how it is done.

No connection is kept meanwhile: what is done may restart PostgreSQL, stop the embedded server, migrate the schema, or
replace this very program on disk. So everything that the way out needs is loaded before.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from types import FrameType, TracebackType
from typing import Any, Literal

import click

from workerpool.api import holders
from workerpool.api.service import pool
from workerpool.cli import draining
from workerpool.cli.errors import EXIT_NO_DATABASE, explain
from workerpool.cli.options import session
from workerpool.config import Settings
from workerpool.core.wording import safe
from workerpool.store import changing, failures
from workerpool.store.connection import statement

#: How long it may take by default until it is safe; a handler that hangs must not keep the pool paused for ever.
TIMEOUT = timedelta(minutes=10)
#: Between two tries to take the pause away.
AGAIN = timedelta(milliseconds=500)
#: These end what is done, and then the pause.
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
#: A terminal sends these to everybody in front of it: they are the command's.
KEYS = (signal.SIGINT, signal.SIGQUIT)


class Stopped(BaseException):
    """A signal came that asks to end; not an error, so that nobody takes it for one."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)


class Signals:
    """What signals do: before and after a command they end all of it; while it runs they are the command's."""

    def __init__(self) -> None:
        self.noted: int | None = None
        self._raising = True
        self._child: int | None = None
        self._running = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        for number in {*ENDING, *KEYS}:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a shell's background: as it was given
                self._before[number] = signal.signal(number, self._came)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _came(self, number: int, _frame: FrameType | None) -> None:
        if self._running:
            if number not in KEYS:
                self.noted = number
                self._pass_on()
        elif number in ENDING:
            self.noted = number
            if self._raising:
                self._raising = False  # once: what clears away is not to be interrupted
                raise Stopped(number)

    def _pass_on(self) -> None:
        if self._child is not None and self.noted is not None:
            with suppress(ProcessLookupError):
                os.kill(self._child, self.noted)

    def note_only(self) -> None:
        """From now on signals interrupt nothing; they can be asked for."""
        self._raising, self.noted = False, None

    def run(self, words: Sequence[str], mark: str) -> int:
        """Run a command in front of the terminal, and return the exit code that a shell would."""
        import subprocess

        self._running = True
        try:
            child = subprocess.Popen(words, env=dict(os.environ) | {holders.MARK: mark})
            self._child = child.pid
            self._pass_on()  # what came while it was being started
            code = child.wait()
            self._child = None
        except OSError as error:
            _say(f"workerpool: {words[0]}: {error.strerror}")
            return 127 if isinstance(error, FileNotFoundError) else 126
        finally:
            self._running = False
        return 128 - code if code < 0 else code


class Window:
    """What is open while nothing runs."""

    def __init__(self, holder: holders.Holder, signals: Signals, settings: Settings) -> None:
        self.holder, self.signals, self._settings = holder, signals, settings
        self.is_paused = False
        self.is_left = False

    def lift(self) -> None:
        """Take the pause away, and try for WORKERPOOL_START_TIMEOUT; says so where that failed."""
        deadline = time.monotonic() + self._settings.start_timeout.total_seconds()
        told = False
        while True:
            try:
                self._lift()
                return
            except Exception as error:
                kind = (failures.describe(error) or ("unknown", "", ""))[0]
                gone_on = kind in ("unavailable", "busy") and time.monotonic() < deadline
                if not gone_on or self.signals.noted is not None:
                    self._left(error)
                    return
                if not told:
                    _say("workerpool: waiting for the database, to take the pause away")
                told = True
                time.sleep(AGAIN.total_seconds())

    def _lift(self) -> None:
        who = changing.actor()
        with session(self._settings, "safely", migrated=False, migrating=False) as opened:
            lifted, left = pool.lift(opened, "it is done", who, holder=self.holder.name)
            if not lifted and self.is_paused:
                _say("workerpool: somebody else has taken the pause away; `workerpool events` says who")
            for each in left:
                _say(f"workerpool: still paused: {holders.sentence(each)}")

    def _left(self, error: Exception) -> None:
        self.is_left = True
        known = explain(error)
        why = known.message if known is not None else repr(error)
        command = holders.lifting([{"scope": "all", "holder": self.holder.name}])
        _say(f"workerpool: the pause could not be taken away: {safe(why)}\n  `{command}` does it")


@contextmanager
def opened_window(
    settings: Settings, verb: str, mode: Literal["drain", "quiesce"], reason: str, timeout: timedelta
) -> Iterator[Window]:
    """Pause, wait until it is safe, and take the pause away at the end.

    Raises Refused (75 with what still runs), Stopped, and what the database refuses. An end whose pause could not be
    taken away exits 69 if it were a success otherwise (`Window.is_left`).
    """
    who = changing.actor()
    holder = holders.own(verb, who)
    with Signals() as signals:
        window = Window(holder, signals, settings)
        is_there = False
        try:
            try:
                with session(settings, verb) as opened:
                    for name in ("resume", "pauses"):
                        statement(name, opened.schema)  # in memory, whatever becomes of the files
                    is_there = True
                    pool.pause(opened, mode, reason, who, holder=holder.name)
                    window.is_paused = True
                    hint = "nothing was done, and the pause is taken away; --timeout DURATION waits longer"
                    draining.wait(opened, timeout, hint, quiet_stdout=True)
                yield window
            finally:
                signals.note_only()
        finally:
            if is_there:
                window.lift()


def _say(text: str) -> None:
    """Tell somebody who may have gone: a terminal that was closed must not keep the pause."""
    with suppress(OSError):
        click.echo(text, err=True)


def exit_code(window: Window, code: int) -> int:
    """Return the code to exit with: the command's own, or 69 where only the pause was left."""
    return EXIT_NO_DATABASE if window.is_left and code == 0 else code
