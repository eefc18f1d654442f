"""A child's numbered place: its process of the moment, and what its past means for its future.

Owns: the state of one place, restart counting, and why its process ended. Invariant: the counts that decide about
giving up come from ``core.restart`` and from nowhere else; an exit status alone never says that an end was asked for,
because a handler may leave with any status.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from uuid import UUID

from workerpool.core import restart
from workerpool.core.lapse import accepted
from workerpool.core.plan import Child, Stage, State, Why
from workerpool.core.restart import Crash
from workerpool.link.board import Board, Running
from workerpool.link.channel import Message
from workerpool.link.tether import is_stopped
from workerpool.manager.child import Process
from workerpool.manager.memory import MemoryWatch
from workerpool.manager.spec import ChildSpec, PoolSpec

EXIT_BOOT, EXIT_HANDLERS, EXIT_ABORTED, EXIT_DAMAGED, EXIT_GAVE_UP, EXIT_CONFIG = 3, 4, 5, 71, 75, 78

#: Why a process is killed for what its attempt does, and what is said of that attempt.
KILLED_FOR: dict[Why, str] = {
    "timeout": "it took longer than its time limit, and its worker was killed",
    "cancel": "it did not end within the cancel grace, and its worker was killed",
    "memory": "it used more memory than its limit, and its worker was killed",
    "output": "it printed more than its limit, and its worker was killed",
}


@dataclass(frozen=True, slots=True)
class End:
    """How a process ended: the reason for the keeper, a sentence for people, and what was running."""

    reason: str
    message: str
    running: Running | None
    planned: bool


@dataclass(frozen=True, slots=True)
class Excess:
    """An attempt that was seen beyond one of its limits, and a sentence for people."""

    why: Why
    attempt: tuple[int, UUID]
    message: str


class Slot:
    """One place in the pool."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.process: Process | None = None
        self.state: State = "waiting"
        self.since = 0.0
        self.start_at = 0.0
        self.generation = 0
        self.wanted = True
        self.asked = self.aborted = False
        self.killed: Why | None = None
        self.leaving: str | None = None
        """Why the process said that it leaves of itself: ``lease`` or ``stop``."""
        self.replacing = False
        self.boot_failures = 0
        self.failures = 0
        self.restarts: tuple[float, ...] = ()
        self.restart_count = 0
        self.last_crash: Crash | None = None
        self.handlers: tuple[str, ...] = ()
        self.watched = False
        """A handler of its process has a memory limit."""
        self.told = ""
        self._stopped_since: float | None = None
        self._memory = MemoryWatch()
        self._excess: Excess | None = None
        self._judged: Running | None = None
        self._condemned: tuple[int, UUID] | None = None

    @property
    def name(self) -> str:
        """The place's name."""
        return self.spec.name

    @property
    def is_worker(self) -> bool:
        """Tell whether revisions are performed here."""
        return self.spec.stage == Stage.WORKER

    @property
    def is_needed(self) -> bool:
        """Tell whether nothing is performed without it: without the API everything is, and workers stand in for
        each other.
        """
        return not self.is_worker and self.spec.stage != Stage.API

    def facts(self, board: Board, now: float) -> Child:
        """Return what a plan needs to know of this place."""
        deadline = cancelled_at = begun = beyond = None
        stopped_for = 0.0
        if self.process is not None:
            stopped_for = self._stopped_for(self.process.pid, now)
            running = self.judge(board)
            if running is not None and self.spec.board_slot is not None:
                deadline = running.deadline or None  # a held handler has none
                cancelled_at = board.cancel_asked(self.spec.board_slot, running) or None
                begun = accepted(board.renewed(self.spec.board_slot), running.claimed)
                beyond = self._beyond(running, now)
        return Child(
            self.name,
            self.spec.stage,
            self.state,
            self.since,
            self.start_at,
            self.wanted,
            self.asked,
            self.aborted,
            self.killed is not None,
            deadline,
            stopped_for,
            cancelled_at,
            begun,
            beyond,
        )

    def judge(self, board: Board) -> Running | None:
        """Return the attempt that runs here: the one that a kill, if the plan wants one, is for."""
        self._judged = board.running(self.spec.board_slot) if self.spec.board_slot is not None else None
        return self._judged

    def condemn(self, why: Why) -> None:
        """Note that the process is killed, for the attempt that was judged: another may have begun since."""
        self.killed = why
        self._condemned = self._judged.identity if self._judged is not None else None

    def exceed(self, why: Why, running: Running, message: str) -> None:
        """Note that this attempt is beyond a limit; the first one noted is the one that is told."""
        if self._excess is None or self._excess.attempt != running.identity:
            self._excess = Excess(why, running.identity, message)

    def _beyond(self, running: Running, now: float) -> Why | None:
        if running.memory_limit and self.process is not None:
            use = self._memory.look(self.process.pid, now)
            if use is not None and use.size > running.memory_limit:
                self.exceed("memory", running, use.told(running.memory_limit))
        return self._excess.why if self._excess is not None and self._excess.attempt == running.identity else None

    def _stopped_for(self, pid: int, now: float) -> float:
        if not is_stopped(pid):
            self._stopped_since = None
            return 0.0
        if self._stopped_since is None:
            self._stopped_since = now
        return now - self._stopped_since

    def started(self, process: Process, now: float) -> None:
        """A process was started here."""
        self.process, self.state, self.since = process, "starting", now
        self.asked = self.aborted = self.replacing = False
        self.killed, self._stopped_since, self.leaving, self._excess = None, None, None, None

    def is_up(self, message: Message) -> None:
        """The process said that it is ready, and what it can do."""
        self.state, self.boot_failures = "ready", 0
        self.handlers = tuple(message.get("handlers", ()))
        self.watched = bool(message.get("watched"))

    def end_of(self, status: int, board: Board) -> End:
        """Explain the end of this place's process."""
        if not self.is_worker:
            return self._end_of_service(status)
        running = board.running(self.spec.board_slot) if self.spec.board_slot is not None else None
        if self.killed in KILLED_FOR:
            return self._end_for_attempt(self.killed, running)
        if self.killed == "stop" or (self.asked and running is None):
            return End("stop", "the pool was stopped", running, True)
        if status == EXIT_ABORTED and (self.aborted or self.leaving == "stop"):
            return End("stop", "the worker was told to leave at once", running, True)
        if "lease" in (self.leaving, self.killed):
            return End("lease", "the worker's lease was not renewed, and it stepped down", running, True)
        if status == 0 and running is None and self.state == "ready":
            return End("recycled", "the worker was replaced as planned", None, True)
        return End("crash", describe(status, self.killed, running), running, False)

    def _end_for_attempt(self, why: Why, running: Running | None) -> End:
        told, attempt = KILLED_FOR[why], self._condemned
        if why in {"memory", "output"} and self._excess is not None:
            told, attempt = self._excess.message, self._excess.attempt
        if running is not None and running.identity == attempt:
            return End(why, told, running, why == "cancel")
        # Its attempt ended in the moment of the kill: the next one has done nothing.
        return End("recycled", f"its worker was killed for the attempt before: {told}", running, True)

    def _end_of_service(self, status: int) -> End:
        ended = _signal_name(status) if status < 0 else f"exit status {status}"
        if self.asked or self.killed == "stop":
            return End("stop", f"ended as asked: {ended}", None, True)
        if status == 0 and self.spec.stage in {Stage.PREPARE, Stage.CHECK}:
            return End("finished", "has done its work", None, True)
        return End("crash", f"ended unasked: {ended}", None, False)

    def plan_restart(self, end: End, completed: int, now: float, pool: PoolSpec) -> None:
        """Decide from the end of the process when, and whether, this place is filled again."""
        was_ready = self.state == "ready"
        self.process, self.state, self.since, self.start_at = None, "waiting", now, now
        if end.planned:
            return
        self.restart_count += 1
        if not was_ready and self.is_worker:
            self.boot_failures += 1
            self.start_at = now + restart.delay(self.boot_failures)
            if self.boot_failures >= restart.BOOT_FAILURES:
                self.state = "gave_up"
            return
        crash = Crash(end.running.revision_id if end.running else None, completed)
        self.failures = 1 if completed > 0 else self.failures + 1
        self.start_at = now + restart.delay(self.failures)
        if end.reason == "crash" and restart.charged(self.last_crash, crash):
            self.restarts, too_many = restart.add_restart(self.restarts, now, pool.max_restarts, pool.restart_period)
            if too_many:
                self.state = "gave_up"
        self.last_crash = crash

    def code_of_giving_up(self, status: int) -> int:
        """Return the exit code of a pool that ends because this place, the last one, was given up."""
        if not self.boot_failures:
            return EXIT_GAVE_UP
        return status if status in {EXIT_HANDLERS, EXIT_CONFIG} else EXIT_BOOT


def describe(status: int, killed: Why | None, running: Running | None) -> str:
    """Return a sentence for the end of a worker that nobody asked for."""
    if killed == "stopped":
        return "its worker was stopped for longer than its lease, and was killed"
    if killed == "late":
        return "its worker did not start in time, and was killed"
    where = "in the middle of the handler" if running is not None else "while it ran nothing"
    if status == EXIT_DAMAGED:
        return "its worker could not go on: a handler closed the descriptors of its process"
    if status < 0:
        hint = "; perhaps out of memory" if -status == signal.SIGKILL else ""
        return f"its worker was killed by {_signal_name(status)} (signal {-status}{hint}) {where}"
    return f"its worker exited with status {status} {where}"


def _signal_name(status: int) -> str:
    return signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
