"""The manager's loop: one wait, facts, a plan, actions.

Owns: the run of a pool from its first child to its exit code. Invariant: a death is told to the keeper until the
keeper has answered
(R21), and what a dead worker's handler left behind is killed before its place is filled again.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable
from typing import Any, assert_never

from workerpool import logs
from workerpool.core.plan import Abort, Action, Ask, Kill, Leave, Pool, Stage, Start, next_moment, plan
from workerpool.link.board import Board
from workerpool.link.channel import Message
from workerpool.link.tether import RUN, WORKER, sweep
from workerpool.manager.child import Process
from workerpool.manager.notify import Notifier
from workerpool.manager.output import OutputLines
from workerpool.manager.slot import EXIT_ABORTED, EXIT_HANDLERS, End, Slot
from workerpool.manager.spec import PoolSpec

log = logs.get("manager")
HEALTH_EVERY = 60.0
EXIT_BOOT, EXIT_INCOMPLETE, EXIT_GAVE_UP = 3, 5, 75


class Manager:
    """Runs one pool."""

    def __init__(self, spec: PoolSpec, board: Board, notifier: Notifier, reload: Callable[[], PoolSpec | None]) -> None:
        self.spec, self._board, self._notifier, self._reload = spec, board, notifier, reload
        self.slots = {child.name: Slot(child) for child in spec.services}
        self._deaths: dict[str, dict[str, Any]] = {}
        self._selector = selectors.DefaultSelector()
        self._stopping_since: float | None = None
        self._quick = False
        self._code = 0
        self._ready = False
        self._health_at = 0.0
        self._output = OutputLines(self._tell_keeper)
        self.resize(spec.workers)

    # -- the loop ----------------------------------------------------------------------------------------------------

    def run(self, signals: int) -> int:
        """Run until everything is over; *signals* is the descriptor that signal numbers are read from.

        Returns the exit code.
        """
        self._selector.register(signals, selectors.EVENT_READ, self._hear_signals)
        log.info("manager.started", manager=self.spec.manager_id, workers=self.spec.workers, pid=os.getpid())
        while True:
            now = time.monotonic()
            pool = self._facts(now)
            actions = plan(pool, now)
            if Leave() in actions:
                return self._leave()
            for action in actions:
                self._do(action, now)
            self._report(now)
            for key, _ in self._selector.select(0 if actions else self._patience(pool, now)):
                key.data(key.fd)

    def _facts(self, now: float) -> Pool:
        children = tuple(slot.facts(self._board, now) for slot in self.slots.values())
        return Pool(children, self.spec.grace, self.spec.lease, self._stopping_since, self._quick)

    def _patience(self, pool: Pool, now: float) -> float:
        # Deadlines stand in shared memory and nobody announces them: while somebody works, look four times a second.
        busy = any(child.deadline is not None for child in pool.children)
        return min(next_moment(pool, now), 0.25 if busy else 1.0, self._notifier.interval or 1.0)

    def _do(self, action: Action, now: float) -> None:
        match action:
            case Start(name):
                self._start(self.slots[name], now)
            case Ask(name):
                self._ask(self.slots[name])
            case Abort(name):
                slot = self.slots[name]
                slot.aborted = slot.asked = True
                self._code = EXIT_INCOMPLETE
                log.warning("child.asked", child=name, how="abort")
                if slot.process is not None:
                    slot.process.signal(signal.SIGQUIT)
            case Kill(name, why):
                slot = self.slots[name]
                slot.killed = why
                if why == "stop":
                    self._code = EXIT_INCOMPLETE
                log.warning("child.killed", child=name, why=why)
                if slot.process is not None:
                    slot.process.signal(signal.SIGQUIT if slot.spec.stage == Stage.POSTGRES else signal.SIGKILL)
            case Leave():
                raise AssertionError("the loop leaves by itself")
            case _:
                assert_never(action)

    # -- children ----------------------------------------------------------------------------------------------------

    def _start(self, slot: Slot, now: float) -> None:
        slot.generation += 1
        if slot.spec.board_slot is not None:
            self._board.clear(slot.spec.board_slot)
        marks = {WORKER: self._worker_id(slot)} if slot.spec.stage == Stage.WORKER else {}
        try:
            process = Process(
                slot.spec, slot.generation, self._board, {**self.spec.environment, RUN: self.spec.run_id, **marks}
            )
        except OSError as error:
            log.error("child.delayed", child=slot.name, error=str(error))
            slot.start_at = now + 1.0
            return
        slot.started(process, now)
        if process.channel is None:
            slot.state = "ready"
        else:
            self._selector.register(process.channel.fileno(), selectors.EVENT_READ, lambda _fd: self._hear(slot))
        if process.output is not None:
            self._selector.register(process.output, selectors.EVENT_READ, lambda _fd: self._drain(slot, process))
        self._selector.register(process.pidfd, selectors.EVENT_READ, lambda _fd: self._ended(slot))
        if slot.spec.stage == Stage.WORKER:
            self._tell_keeper("living", **self._living(slot))
        log.info("child.started", child=slot.name, generation=slot.generation, pid=process.pid)

    def _ask(self, slot: Slot) -> None:
        slot.asked = True
        process = slot.process
        if process is None:
            return
        log.debug("child.asked", child=slot.name)
        if process.channel is None:
            process.signal(signal.SIGINT)  # postgres: a fast shutdown
        elif slot.spec.stage == Stage.PREPARE:
            process.signal(signal.SIGTERM)
        else:
            process.channel.send("stop")

    def _hear(self, slot: Slot) -> None:
        process = slot.process
        if process is None or process.channel is None:
            return
        for message in process.channel.receive():
            self._understand(slot, message)
        if process.channel.closed:
            self._unwatch(process.channel.fileno())

    def _understand(self, slot: Slot, message: Message) -> None:
        match message["kind"]:
            case "ready":
                slot.state = "ready"
                slot.boot_failures = 0
                slot.handlers = tuple(message.get("handlers", ()))
                log.info("child.ready", child=slot.name, seconds=round(time.monotonic() - slot.since, 2))
                if slot.spec.stage == Stage.KEEPER:
                    self._sync_keeper()
                elif slot.spec.stage == Stage.WORKER:
                    self._tell_keeper("living", **self._living(slot))
            case "round" if not self._ready:
                self._ready, self._health_at = True, 0.0
                log.info("manager.ready")
                self._notifier.say(READY="1")
            case "broken":
                if message["traceback"] and message["traceback"] != slot.told:
                    known = {other.told for other in self.slots.values()}
                    if message["traceback"] not in known:
                        log.error("handlers.failed", why=message["why"], traceback=message["traceback"])
                elif not message["traceback"]:
                    log.error("child.exited", child=slot.name, why=message["why"])
                slot.told = message["traceback"]
            case "buried":
                self._deaths.pop(message["worker"], None)
            case "empty" if self._stopping_since is None:
                log.info("manager.emptied")
                self.stop()

    def _ended(self, slot: Slot) -> None:
        process = slot.process
        status = process.ended() if process is not None else None
        if process is None or status is None:
            return
        self._hear(slot)
        self._drain(slot, process)
        self._forget(process)
        end = slot.end_of(status, self._board)
        completed = self._board.counts(slot.spec.board_slot)[0] if slot.spec.board_slot is not None else 0
        (log.info if end.planned or slot.asked else log.warning)(
            "child.exited",
            child=slot.name,
            pid=process.pid,
            status=status,
            why=end.message if not end.planned else end.reason,
        )
        if slot.spec.stage == Stage.WORKER:
            found = sweep(WORKER, self._worker_id(slot))
            if found:
                log.warning("orphans.killed", child=slot.name, count=found)
            if self._stopping_since is not None and (status != 0 or end.running is not None):
                self._code = EXIT_INCOMPLETE
            self._tell_death(slot, end)
        self._decide(slot, end, status, completed)

    def _decide(self, slot: Slot, end: End, status: int, completed: int) -> None:
        now, stopping = time.monotonic(), self._stopping_since is not None
        if slot.spec.stage == Stage.PREPARE:
            slot.process, slot.state = None, "finished"
            if status != 0 and not stopping:
                self.stop(code=status if status > 0 else 1)
            return
        if slot.spec.stage == Stage.POSTGRES and status == 78 and not stopping:
            slot.process, slot.state = None, "gave_up"
            self.stop(code=78)
            return
        slot.plan_restart(end, status, completed, now, self.spec.max_restarts, self.spec.restart_period)
        if slot.spec.stage == Stage.KEEPER and status == EXIT_ABORTED:
            self._code = EXIT_INCOMPLETE
        if stopping:
            slot.state = "finished"
        elif slot.state == "gave_up":
            log.error("slot.gave_up", child=slot.name, restarts=slot.restart_count)
            self._give_up_if_all(slot, status)
        elif not slot.wanted:
            del self.slots[slot.name]
        elif not end.planned:
            log.info("child.restarted", child=slot.name, seconds=round(slot.start_at - now, 2))

    def _give_up_if_all(self, slot: Slot, status: int) -> None:
        workers = [each for each in self.slots.values() if each.spec.stage == Stage.WORKER]
        if slot.spec.stage == Stage.WORKER and any(each.state != "gave_up" for each in workers):
            return
        boot = slot.boot_failures > 0
        self.stop(
            code=(EXIT_HANDLERS if status == EXIT_HANDLERS else 78 if status == 78 else EXIT_BOOT)
            if boot
            else EXIT_GAVE_UP
        )

    def _forget(self, process: Process) -> None:
        for descriptor in (process.pidfd, process.output, process.channel.fileno() if process.channel else None):
            if descriptor is not None:
                self._unwatch(descriptor)
        process.close()

    def _unwatch(self, descriptor: int) -> None:
        if descriptor in self._selector.get_map():
            self._selector.unregister(descriptor)

    def _drain(self, slot: Slot, process: Process) -> None:
        data = process.read_output()
        if slot.spec.board_slot is not None:
            self._output.take(slot.name, data, self._board.running(slot.spec.board_slot))

    # -- what the keeper must know -----------------------------------------------------------------------------------

    def _worker_id(self, slot: Slot) -> str:
        return f"{self.spec.manager_id}/{slot.name}.{slot.generation}"

    def _living(self, slot: Slot) -> dict[str, Any]:
        assert slot.process is not None
        return {
            "worker": self._worker_id(slot),
            "board_slot": slot.spec.board_slot,
            "pid": slot.process.pid,
            "restarts": slot.restart_count,
            "handlers": list(slot.handlers),
        }

    def _tell_death(self, slot: Slot, end: End) -> None:
        running = end.running
        message: dict[str, Any] = {"worker": self._worker_id(slot), "reason": end.reason, "message": end.message}
        if running is not None:
            message |= {"revision": running.revision_id, "token": running.token.hex, "attempt": running.attempt}
            message["max_attempts"] = running.max_attempts
        self._deaths[message["worker"]] = message
        self._tell_keeper("ended", **message)

    def _tell_keeper(self, kind: str, **fields: Any) -> None:
        for slot in self.slots.values():
            if slot.spec.stage == Stage.KEEPER and slot.process is not None and slot.process.channel is not None:
                slot.process.channel.send(kind, **fields)

    def _sync_keeper(self) -> None:
        for slot in self.slots.values():
            if slot.spec.stage == Stage.WORKER and slot.process is not None:
                self._tell_keeper("living", **self._living(slot))
        for death in self._deaths.values():
            self._tell_keeper("ended", **death)
        self._tell_keeper("synced")

    # -- signals and what people ask ---------------------------------------------------------------------------------

    def _hear_signals(self, descriptor: int) -> None:
        for number in os.read(descriptor, 4096):
            log.debug("signal.received", signal=signal.Signals(number).name)
            match number:
                case signal.SIGTERM:
                    self.stop()
                case signal.SIGINT:
                    self.stop(quick=self._stopping_since is not None)
                case signal.SIGQUIT:
                    self.stop(quick=True)
                case signal.SIGHUP:
                    self.reload()
                case signal.SIGTTIN:
                    self.resize(self._size() + 1)
                case signal.SIGTTOU:
                    self.resize(self._size() - 1)
                case signal.SIGUSR1:
                    self._reopen_logs()
                case signal.SIGUSR2:
                    self._dump()

    def stop(self, *, quick: bool = False, code: int | None = None) -> None:
        """Begin to stop; a repeated graceful stop changes nothing, a quick one shortens it."""
        if code is not None and self._stopping_since is None:
            self._code = code
        if self._stopping_since is None or (quick and not self._quick):
            self._stopping_since = time.monotonic()
            self._quick = quick
            log.info("manager.stopping", quick=quick, grace=0 if quick else self.spec.grace)
            self._notifier.say(STOPPING="1", STATUS="stopping")

    def resize(self, workers: int) -> None:
        """Have this many workers: new slots are started, the highest numbered ones finish and leave."""
        if self._stopping_since is not None:
            return
        workers = max(1, min(workers, self.spec.most_workers))
        for number in range(self.spec.most_workers):
            child = self.spec.worker(number)
            slot = self.slots.get(child.name)
            if number < workers and slot is None:
                self.slots[child.name] = Slot(child)
            elif slot is not None:
                slot.wanted = number < workers
                if not slot.wanted and slot.process is None:
                    del self.slots[child.name]

    def _size(self) -> int:
        return sum(slot.wanted for slot in self.slots.values() if slot.spec.stage == Stage.WORKER)

    def reload(self) -> None:
        """Read the configuration again; if it is good, replace the workers one by one, else say so and keep the old."""
        if self._stopping_since is not None:
            return
        self._notifier.reloading()
        spec = self._reload()
        if spec is not None:
            self.spec = spec
            for slot in self.slots.values():
                if slot.spec.stage == Stage.WORKER:
                    slot.spec = spec.worker(slot.spec.board_slot or 0)
                    slot.replacing, slot.boot_failures, slot.restarts = True, 0, ()
                    if slot.state == "gave_up":
                        slot.state = "waiting"
            self.resize(spec.workers)
            log.info("config.reloaded")
        self._notifier.say(READY="1")

    def _replace_next(self) -> None:
        workers = [slot for slot in self.slots.values() if slot.spec.stage == Stage.WORKER]
        if any(slot.asked or slot.state in {"starting", "waiting"} for slot in workers if slot.wanted):
            return
        for slot in workers:
            if slot.replacing and slot.process is not None:
                log.info("child.recycled", child=slot.name, why="reload")
                self._ask(slot)
                return

    def _reopen_logs(self) -> None:
        logs.reopen()
        for slot in self.slots.values():
            if slot.process is not None and slot.process.channel is not None:
                slot.process.channel.send("reopen")

    def _report(self, now: float) -> None:
        self._notifier.ping(now)
        if self._stopping_since is None and any(slot.replacing for slot in self.slots.values()):
            self._replace_next()
        if self._ready and now >= self._health_at and self._stopping_since is None:
            self._health_at = now + HEALTH_EVERY
            line = ", ".join(
                f"{slot.name}:{(now - slot.since) / 60:.1f}m"
                for slot in self.slots.values()
                if slot.spec.stage == Stage.WORKER and slot.process is not None
            )
            log.info("workers.healthy", line=f"Workers healthy: [{line}]")
            self._notifier.say(STATUS=f"Workers healthy: [{line}]")

    def _dump(self) -> None:
        now = time.monotonic()
        log.warning("manager.dumped", children=[str(slot.facts(self._board, now)) for slot in self.slots.values()])
        for slot in self.slots.values():
            if slot.process is not None and slot.spec.stage == Stage.WORKER:
                slot.process.signal(signal.SIGUSR2)

    def _leave(self) -> int:
        if self._deaths and self._code == 0:
            self._code = EXIT_INCOMPLETE
        sweep(RUN, self.spec.run_id, spare=frozenset({os.getpid()}), seconds=0.5)
        log.info("manager.stopped", code=self._code)
        return self._code
