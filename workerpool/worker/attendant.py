"""The second thread of a worker: it listens while a handler runs.

Owns: the channel to the manager, signals, the time limit's gentle half, clearing the desk behind a long handler, and
sending the counts now and then. Does not own: killing (the manager does), renewing (the keeper does), noticing that
leases are not renewed (``lapse``: this thread may hang in a statement).
Invariant: it never waits for the handler, and a handler that holds the interpreter lock only delays it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time

import setproctitle

from workerpool import logs
from workerpool.core.briefs import WorkerBrief
from workerpool.link.board import Board
from workerpool.link.channel import Channel
from workerpool.link.tether import WORKER, sweep
from workerpool.store.line import Line, LineLost, StatementRefused
from workerpool.worker.attempt import STOPPING, TIMED_OUT
from workerpool.worker.desk import WorkerDesk
from workerpool.worker.footing import EXIT_DAMAGED
from workerpool.worker.lapse import LapseWatch
from workerpool.worker.loop import Loop

log = logs.get("worker")
TICK = 0.05
#: A handler that runs longer than this is not short: nothing waits behind it.
LONG = 0.1
FLUSH_EVERY = 0.25
#: Seconds until what the database refused is tried again beside a handler.
AFTER_REFUSAL = 1.0
EXIT_ABORTED, EXIT_STEPPED_DOWN = 5, 75


class Attendant:
    """Runs beside the loop until the process ends."""

    def __init__(
        self, brief: WorkerBrief, channel: Channel, board: Board, line: Line, desk: WorkerDesk, wakeup: int
    ) -> None:
        self._brief, self._channel, self._board, self._line, self._desk = brief, channel, board, line, desk
        self._wakeup = wakeup
        self._poke_read, self._poke_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._cleared = 0.0
        self._title = ""
        self._flushed = self._refused_until = 0.0
        self._manager = os.getppid()
        self.loop: Loop | None = None
        self.lapse: LapseWatch | None = None

    def poke(self) -> None:
        """Wake both watching threads: the loop has something to do again."""
        if self.lapse is not None:
            self.lapse.poke()
        with contextlib.suppress(BlockingIOError):
            os.write(self._poke_write, b".")

    def start(self) -> None:
        """Start the thread, and that of the lapse."""
        if self.lapse is not None:
            self.lapse.start()
        threading.Thread(target=self._run, name="attendant", daemon=True).start()

    def _run(self) -> None:
        try:
            self._attend()
        except BaseException as error:
            # A worker without an attendant would be deaf to everybody; a handler that closed its descriptors does this.
            log.error("worker.failed", what="attendant", error=repr(error))
            logs.flush()
            os._exit(EXIT_DAMAGED)

    def _attend(self) -> None:
        self._messages()  # some may have come right after the brief
        watched = [self._channel.fileno(), self._wakeup, self._poke_read]
        while True:
            ready, _, _ = select.select(watched, [], [], self._patience())
            if self._poke_read in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._poke_read, 4096)
            if self._wakeup in ready:
                self._signals()
            if self._channel.fileno() in ready:
                self._messages()
            if self.loop is not None and self.loop.attempt.token is not None:
                self._watch(self.loop)
            if self.loop is not None:
                self._tell_counts(self.loop)
            self._show()

    def _patience(self) -> float | None:
        if self.loop is None:
            return None
        # (a worker that sleeps wakes for what it has counted before, once, and asks nothing more)
        return self.loop.tally.sender.due_in() if self.loop.idle else TICK

    def _tell_counts(self, loop: Loop) -> None:
        with contextlib.suppress(LineLost):  # the loop finds out by itself, and they are sent with the next ones
            loop.tally.sender.send_when_due()

    def _show(self) -> None:
        """Let ``ps`` show what takes long here."""
        title, loop = f"workerpool: worker {self._brief.slot}", self.loop
        if loop is not None and loop.attempt.token is not None and time.monotonic() - loop.attempt.started > LONG:
            running = self._board.running(self._brief.board_slot)
            state = self._board.counts(self._brief.board_slot)[1]  # busy, or paused where it is held
            title += f" {state} revision {running.revision_id}" if running is not None else ""
        if title != self._title:
            self._title = title
            setproctitle.setproctitle(title)

    def _signals(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in os.read(self._wakeup, 4096):
                if number == signal.SIGTERM:
                    self._stop()
                elif number == signal.SIGQUIT:
                    self._abort()

    def _messages(self) -> None:
        for message in self._channel.receive():
            if message["kind"] == "stop":
                self._stop()
            elif message["kind"] == "reopen":
                logs.reopen()
        if self._channel.closed:
            self._end_with_manager()

    def _end_with_manager(self) -> None:
        """The channel ended: the manager is dead, or a handler closed this end of it."""
        deadline = time.monotonic() + 1.0
        while os.getppid() == self._manager:
            if time.monotonic() > deadline:
                os._exit(EXIT_DAMAGED)
            time.sleep(0.01)
        # Nobody would end this process, or those of its handler (P8).
        sweep(WORKER, self._brief.worker_id, seconds=1.0)
        os._exit(EXIT_ABORTED)

    def _stop(self) -> None:
        if self.loop is not None and not self.loop.stopping:
            self.loop.stopping = True
            os.eventfd_write(self._brief.bell, 1)

    def _abort(self) -> None:
        """Give the handler a moment to take its cancellation, write what is done, and leave.

        The keeper releases the rest.
        """
        loop = self.loop
        if loop is not None:
            loop.stopping = loop.hurried = True
            if loop.attempt.token is not None:
                loop.attempt.token.cancel(STOPPING)
            os.eventfd_write(self._brief.bell, 1)
            with contextlib.suppress(LineLost, StatementRefused):
                loop.clear_desk()
                loop.tally.sender.finish()
            deadline = time.monotonic() + 0.7
            while loop.attempt.token is not None and time.monotonic() < deadline:
                time.sleep(0.02)
            if loop.attempt.token is None:
                return  # the handler came back: the loop leaves in order
        self._leave("stop", EXIT_ABORTED)

    def step_down(self) -> None:
        """End this process and those of its handler now: nobody renews its lease (R18). Safe from another thread."""
        self._leave("lease", EXIT_STEPPED_DOWN, 0.1)

    def _leave(self, why: str, status: int, seconds: float = 0.5) -> None:
        # Said, because an exit status alone could be a handler's own.
        self._channel.send("leaving", why=why)
        sweep(WORKER, self._brief.worker_id, seconds=seconds)
        logs.flush()
        os._exit(status)

    def _watch(self, loop: Loop) -> None:
        now, token = time.monotonic(), loop.attempt.token
        if token is None:
            return
        running = self._board.running(self._brief.board_slot)
        if now > loop.attempt.deadline:
            token.cancel(TIMED_OUT)
        elif running is not None and self._board.cancel_asked(self._brief.board_slot, running):
            token.cancel("somebody asked for it")
        if now - loop.attempt.started < LONG or now < self._refused_until:
            return
        try:
            if loop.pausing.is_news:
                loop.pausing.look()
            if loop.attempt.started != self._cleared:
                loop.clear_desk()
                self._cleared = loop.attempt.started
            if not self._desk.is_empty and now - self._flushed > FLUSH_EVERY:
                self._flushed = now
                self._desk.flush()
        except LineLost:
            self._reopen(now)
        except StatementRefused as error:
            self._refused_until = now + AFTER_REFUSAL
            log.warning("settlement.refused", error=str(error))

    def _reopen(self, now: float) -> None:
        # The loop learns of the loss when its handler returns; until then progress and logs go on over a new
        # connection.
        self._flushed = now + 1.0
        with contextlib.suppress(LineLost):
            self._line.open()
