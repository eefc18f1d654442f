"""The manager's loop: one wait, facts, a plan, actions.

Owns: the run of a pool from its first child to its exit code. Does not own: which workers there are (``crew``), what
the keeper must know (``news``), what a place's past means (``slot``). Invariant: what a dead worker's handler left
behind is killed before its place is filled again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import assert_never

from workerpool import logs
from workerpool.core import plan as plans
from workerpool.core.plan import Abort, Action, Ask, Kill, Leave, Pool, Stage, Start
from workerpool.link.board import Board
from workerpool.link.channel import Message
from workerpool.link.tether import RUN, WORKER, sweep
from workerpool.manager import health, signals
from workerpool.manager.child import Process
from workerpool.manager.crew import Crew
from workerpool.manager.news import News
from workerpool.manager.notify import Notifier
from workerpool.manager.output import OutputLines, drain
from workerpool.manager.slot import EXIT_ABORTED, EXIT_CONFIG, Slot
from workerpool.manager.spec import PoolSpec
from workerpool.manager.watch import Watch

log = logs.get("manager")
HEALTH_EVERY = 60.0
EXIT_INCOMPLETE = 5
SWEEP_LIMIT = 0.5
#: Bytes of a dead worker's output that are still read: somebody else may hold its pipe and write on.
LAST_WORDS = 1 << 20


class Manager:
    """Runs one pool."""

    def __init__(self, spec: PoolSpec, board: Board, notifier: Notifier, reload: Callable[[], PoolSpec | None]) -> None:
        self._board, self._notifier = board, notifier
        self.slots = {child.name: Slot(child) for child in spec.services}
        self._crew = Crew(spec, self.slots, board, reload)
        self._news = News(spec.manager_id, self.slots.values)
        self._output = OutputLines(lambda kind, **fields: self._news.tell(kind, keep=False, **fields))
        self._watch = Watch()
        self._stopping_since: float | None = None
        self._quick = self._ready = False
        self._code = 0
        self._health_at = self._second = 0.0

    @property
    def spec(self) -> PoolSpec:
        """The run as it is configured now."""
        return self._crew.spec

    @property
    def is_stopping(self) -> bool:
        """Tell whether a stop was asked for."""
        return self._stopping_since is not None

    def run(self, descriptor: int) -> int:
        """Run until everything is over; signal numbers are read from *descriptor*. Returns the exit code."""
        self._watch.add(descriptor, lambda: signals.obey(self, descriptor))
        log.info("manager.started", manager=self.spec.manager_id, workers=self.spec.workers, pid=os.getpid())
        while True:
            now = time.monotonic()
            pool = self._facts(now)
            actions = plans.plan(pool, now)
            if Leave() in actions:
                return self._leave()
            for action in actions:
                self._do(action, now)
            self._report(now)
            self._watch.wait(0 if actions else self._patience(pool, now))

    def _facts(self, now: float) -> Pool:
        children, spec = tuple(slot.facts(self._board, now) for slot in self.slots.values()), self.spec
        return Pool(children, spec.grace, spec.lease, self._stopping_since, self._quick, spec.cancel_grace)

    def _patience(self, pool: Pool, now: float) -> float:
        # Deadlines stand in shared memory and nobody announces them: while somebody works, look four times a second;
        # also while somebody may begin something that could fill the memory in the second until then.
        busy = any(c.deadline is not None for c in pool.children) or any(s.watched for s in self.slots.values())
        return min(plans.next_moment(pool, now), 0.25 if busy else 1.0, self._notifier.interval or 1.0)

    def _do(self, action: Action, now: float) -> None:
        match action:
            case Start(name):
                self._start(self.slots[name], now)
            case Ask(name):
                self._ask(self.slots[name])
            case Abort(name):
                slot = self.slots[name]
                slot.aborted = slot.asked = True
                log.warning("child.asked", child=name, how="abort")
                if slot.process is not None:
                    slot.process.abort()
            case Kill(name, why):
                slot = self.slots[name]
                slot.condemn(why)
                if why == "stop" and slot.spec.stage != Stage.CHECK:
                    self._note(EXIT_INCOMPLETE)
                log.warning("child.killed", child=name, why=why)
                if slot.process is not None:
                    slot.process.kill()
            case Leave():
                raise AssertionError("the loop leaves by itself")
            case _:
                assert_never(action)

    def _note(self, code: int) -> None:
        # The first reason to leave with something else than 0 is the one that is told.
        self._code = self._code or code

    def _start(self, slot: Slot, now: float) -> None:
        slot.generation += 1
        if slot.spec.board_slot is not None:
            self._board.clear(slot.spec.board_slot)
        marks = {RUN: self.spec.run_id} | ({WORKER: self._news.worker_id(slot)} if slot.is_worker else {})
        try:
            process = Process(slot.spec, slot.generation, self._board, {**self.spec.environment, **marks})
        except OSError as error:
            log.error("child.delayed", child=slot.name, error=str(error))
            slot.start_at = now + 1.0
            return
        slot.started(process, now)
        if process.channel is None:
            slot.state = "ready"
        self._watch.add(process.channel.fileno() if process.channel else None, lambda: self._hear(slot))
        self._watch.add(process.output, lambda: self._drain(slot, process))
        self._watch.add(process.pidfd, lambda: self._ended(slot))
        if slot.is_worker:
            self._news.tell_living(slot)
        log.info("child.started", child=slot.name, generation=slot.generation, pid=process.pid)

    def _ask(self, slot: Slot) -> None:
        slot.asked = True
        log.debug("child.asked", child=slot.name)
        if slot.process is not None:
            slot.process.ask()

    def _hear(self, slot: Slot) -> None:
        process = slot.process
        if process is None or process.channel is None:
            return
        for message in process.channel.receive():
            self._understand(slot, message)
        if process.channel.closed:
            self._watch.drop(process.channel.fileno())

    def _understand(self, slot: Slot, message: Message) -> None:
        match message["kind"]:
            case "ready":
                slot.is_up(message)
                log.info("child.ready", child=slot.name, seconds=round(time.monotonic() - slot.since, 2))
                if slot.spec.stage == Stage.KEEPER:
                    self._news.tell_all()
                elif slot.is_worker:
                    self._news.tell_living(slot)
            case "waiting" if slot.state == "starting":
                slot.since = time.monotonic()  # for the database: that is not its own lateness
            case "leaving":
                slot.leaving = message["why"]
            case "round" if not self._ready:
                self._ready, self._health_at = True, 0.0
                log.info("manager.ready")
                self._notifier.say(READY="1")
            case "broken":
                health.say_broken(slot, self.slots.values(), message["why"], message["traceback"])
            case "buried":
                self._news.answered(message["worker"])
            case "empty" if not self.is_stopping:
                log.info("manager.emptied")
                self.stop()
            case "stop":
                self.stop(quick=message["quick"])

    def _ended(self, slot: Slot) -> None:
        process = slot.process
        status = process.ended() if process is not None else None
        if process is None or status is None:
            return
        self._hear(slot)
        self._drain(slot, process, LAST_WORDS)
        for descriptor in (process.pidfd, process.output, process.channel.fileno() if process.channel else None):
            self._watch.drop(descriptor)
        process.close()
        end = slot.end_of(status, self._board)
        completed = self._board.counts(slot.spec.board_slot)[0] if slot.spec.board_slot is not None else 0
        tell = log.info if end.planned or slot.asked else log.warning
        tell("child.exited", child=slot.name, pid=process.pid, status=status, why=end.message)
        if slot.is_worker:
            self._output.ended(slot.name, end.running)
            found = sweep(WORKER, self._news.worker_id(slot), seconds=SWEEP_LIMIT)
            if found:
                log.warning("orphans.killed", child=slot.name, count=found)
            if self.is_stopping and (status != 0 or end.running is not None):
                self._note(EXIT_INCOMPLETE)
            self._news.tell_death(slot, end)
        if slot.spec.stage == Stage.CHECK:
            self._crew.checked(status)
            self._say_reloaded()
        elif slot.spec.stage <= Stage.PREPARE and not self.is_stopping and self._is_final(slot, status):
            slot.process, slot.state = None, "finished" if status == 0 else "gave_up"
        else:
            slot.plan_restart(end, completed, time.monotonic(), self.spec)
            self._after(slot, planned=end.planned, status=status)

    def _is_final(self, slot: Slot, status: int) -> bool:
        """Tell whether this end of a service is its last; one that went wrong ends the pool."""
        if slot.spec.stage == Stage.PREPARE:
            if status != 0:
                self.stop(code=status if status > 0 else 1)
            return True
        if status == EXIT_CONFIG:
            self.stop(code=EXIT_CONFIG)
            return True
        return False

    def _after(self, slot: Slot, *, planned: bool, status: int) -> None:
        if slot.spec.stage == Stage.KEEPER and status == EXIT_ABORTED:
            self._note(EXIT_INCOMPLETE)
        if self.is_stopping:
            slot.state = "finished"
        elif slot.state == "gave_up":
            log.error("slot.gave_up", child=slot.name, restarts=slot.restart_count)
            if slot.is_needed or all(each.state == "gave_up" for each in self._crew.workers()):
                self.stop(code=slot.code_of_giving_up(status))
        elif not slot.wanted:
            del self.slots[slot.name]
        elif not planned:
            log.info("child.restarted", child=slot.name, seconds=round(slot.start_at - time.monotonic(), 2))

    def _drain(self, slot: Slot, process: Process, limit: int = 1) -> None:
        if not drain(slot, process, self._board, self._output, limit):
            self._watch.drop(process.output)

    def stop(self, *, quick: bool = False, code: int | None = None) -> None:
        """Begin to stop; a repeated graceful stop changes nothing, a quick one shortens it."""
        if code is not None and not self.is_stopping:
            self._code = code
        now = time.monotonic()
        if self._stopping_since is None:
            self._stopping_since, self._quick = now, quick
        elif quick and not self._quick:
            self._stopping_since, self._quick = min(now, self._stopping_since + self.spec.grace), True
        else:
            return
        log.info("manager.stopping", quick=quick, grace=0 if quick else self.spec.grace)
        self._notifier.say(STOPPING="1", STATUS="stopping")

    def resize(self, by: int) -> None:
        """Have so many workers more."""
        if not self.is_stopping:
            self._crew.resize(self._crew.size() + by)
            log.info("workers.resized", workers=self._crew.size())

    def reload(self) -> None:
        """Read the configuration again; if it is good, replace the workers one by one, else say so and keep the old."""
        if not self.is_stopping:
            self._notifier.reloading()
            self._crew.reload()
            self._say_reloaded()

    def _say_reloaded(self) -> None:
        if not self._crew.is_checking:
            self._notifier.say(READY="1")

    def reopen_logs(self) -> None:
        """Open log files again, in every process."""
        health.reopen_logs(self.slots.values())

    def dump(self) -> None:
        """Write what is known of the children to the log, and let the workers write their stacks."""
        self._output.expect_stacks()
        health.dump(self.slots.values(), self._board)

    def _report(self, now: float) -> None:
        self._notifier.ping(now)
        if not self.is_stopping and (slot := self._crew.next_to_replace()) is not None:
            log.info("child.recycled", child=slot.name, why="reload")
            self._ask(slot)
        if now >= self._second:
            self._second = now + 1.0
            self._news.repeat(now)
            health.flush(self.slots.values())
        if self._ready and now >= self._health_at and not self.is_stopping:
            self._health_at = now + HEALTH_EVERY
            self._notifier.say(STATUS=health.report(self._crew.workers(), now))

    def _leave(self) -> int:
        if self._news.unanswered or any(slot.process is not None for slot in self.slots.values()):
            self._note(EXIT_INCOMPLETE)
        sweep(RUN, self.spec.run_id, spare=frozenset({os.getpid()}), seconds=SWEEP_LIMIT)
        log.info("manager.stopped", code=self._code)
        return self._code
