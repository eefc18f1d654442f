"""The loop of the keeper: its timers, its two connections (one listens, one works) and their loss.

Owns: when a duty is due. Does not own: what a duty does.
Invariant: whatever the database does, the keeper sees the end of its manager and cleans up after it (R26).
"""

from __future__ import annotations

import contextlib
import random
import select
import time
from collections.abc import Callable
from pathlib import Path

from workerpool import logs
from workerpool.core.briefs import KeeperBrief
from workerpool.keeper import dead, duties
from workerpool.keeper.facts import Facts, look
from workerpool.keeper.flock import Flock
from workerpool.keeper.renewal import Renewal
from workerpool.keeper.schedules import Schedules
from workerpool.keeper.tally import Tally
from workerpool.keeper.waker import HEAD_START, Waker
from workerpool.link.board import Board
from workerpool.link.channel import Channel
from workerpool.link.tether import RUN, sweep
from workerpool.store.ear import Ear
from workerpool.store.line import Line, LineLost, StatementRefused

log = logs.get("keeper")
#: What is asked so often is for idle workers, and for whatever notifies: notifications may be lost (R11).
TICK_EVERY = 1.0
#: However many notifications come: each wakes a worker at once, and what the rest of a tick does can wait so long.
TICKS_APART = 0.01
#: Seconds until a worker is asked to cancel what it holds and had not begun.
CANCEL_AGAIN = 0.2
HEAL_EVERY = 15.0
#: One that is due and broken is looked at so often; the others are fired when they are due.
SCHEDULES_EVERY = 5.0
#: Seconds between two attempts to reach a database that is away; workers, who need the keeper, try less often.
LONGEST_WAIT = 0.25
#: Seconds until a death that could not be settled is tried again.
BURY_AGAIN = 2.0


class Keeper:
    """The keeper's life."""

    def __init__(self, brief: KeeperBrief, channel: Channel, board: Board) -> None:
        self._brief, self._channel, self._board = brief, channel, board
        self._flock, self._walk, self._schedules = Flock(), duties.Walk(), Schedules()
        self._line = Line(brief.url, brief.schema, "keeper", board.origin)
        self._ear, self._tally = Ear(brief.url, brief.schema, board.origin), Tally(self._line)
        self._renewal = Renewal(brief, self._flock, board, self._line)
        self._waker = Waker(brief.bells, board, self._flock)
        self._connected, self._retry_at, self._wait = False, 0.0, 0.05
        self._leave_at = float("inf")
        self._facts, self._ticked_at, self._fires_at, self._bury_at = Facts(), 0.0, 0.0, 0.0
        self._timers: dict[str, float] = {}

    def run(self) -> int:
        """Keep until the manager says stop, or is gone."""
        while True:
            self._listen()
            if self._channel.closed:
                return end_with_manager(self._brief.run_id)
            if self._stopping and (not self._flock.deaths or time.monotonic() > self._leave_at):
                return self._leave()
            if not self._connected and time.monotonic() >= self._retry_at:
                self._connect()
            if self._connected:
                try:
                    self._bury() if self._stopping else self._work()
                except LineLost as error:
                    self._lose(error)

    def _listen(self) -> None:
        ears = [self._ear.fileno()] if self._ear.hears else []
        ready, _, _ = select.select([self._channel.fileno(), *ears], [], [], self._patience())
        self._channel.flush()
        if self._channel.fileno() in ready:
            for message in self._channel.receive():
                self._hear(message)
        if self._ear.hears and self._ear.fileno() in ready:
            try:
                if self._ear.heard():
                    self._tick_in(HEAD_START if self._waker.wake(1) else 0.0)
            except LineLost as error:
                self._lose(error)

    def _hear(self, message: dict[str, object]) -> None:
        if message["kind"] == "stop":
            self._leave_at, self._retry_at, self._wait = time.monotonic() + 1.0, 0.0, 0.05
        elif message["kind"] == "reopen":
            logs.reopen()
        elif message["kind"] != "output":
            self._flock.hear(message)
        elif self._connected:
            with contextlib.suppress(LineLost):  # the next statement finds out again
                self._try("output", lambda: duties.keep_output(message, self._line))

    def _patience(self) -> float:
        now = time.monotonic()
        if not self._connected:
            return max(0.0, min(0.5, self._retry_at - now))
        if self._stopping:
            return 0.01
        # The other duties are taken up with a tick: they can wait for it.
        nearest = min(self._renewal.due_at, self._timers["beat"], self._timers["tick"], self._waker.due_at)
        if self._flock.deaths:
            nearest = min(nearest, self._bury_at)
        if self._walk.after_id:
            nearest = min(nearest, self._timers["prune"])
        if not self._facts.paused:
            nearest = min(nearest, max(self._timers["schedules"], self._fires_at))
        return max(0.0, nearest - now)

    def _connect(self) -> None:
        try:
            self._line.open()
            # Somebody's lock must not keep the keeper from renewing: it waits for none longer than a part of a beat.
            self._line.patience(min(1.0, self._brief.heartbeat / 3))
        except (LineLost, StatementRefused) as error:
            self._lose(error)
            return
        duties.relay_origin(self._board, self._line.origin)
        now = time.monotonic()
        self._connected, self._wait, self._facts, self._renewal.due_at = True, 0.05, Facts(), now
        self._timers = {
            "beat": now,
            "tick": now,
            # The same holds for the workers of other hosts: they have as long to be seen again.
            "unhandled": now + self._brief.unhandled_after,
            **{name: now + HEAL_EVERY * random.random() for name in ("heal", "prune", "artifacts")},
            "schedules": now,
            "rescue": now,
        }
        self._bury_at = now
        self._renewal.put_rescues_off()
        log.info("keeper.connected")
        self._open_ear()

    def _open_ear(self) -> None:
        # Leases are renewed without it, and it looks once a second in any case: it is no reason to give the line up.
        try:
            self._ear.open()
            self._tick_in(0.0)
        except LineLost as error:
            log.warning("database.waited", error=str(error))

    def _lose(self, error: BaseException) -> None:
        if self._connected:
            log.warning("database.lost", error=str(error))
        self._connected = False
        self._line.close()
        self._ear.close()
        self._retry_at = time.monotonic() + self._wait * random.uniform(0.8, 1.2)
        self._wait = min(0.1 if self._stopping else LONGEST_WAIT, self._wait * 2)

    def _work(self) -> None:
        brief = self._brief
        self._renewal.when_due()
        self._every("beat", brief.heartbeat, self._beat)
        self._bury()
        if time.monotonic() >= self._waker.due_at:
            self._waker.due_at = float("inf")
            if self._waker.wake(1):
                self._tick_in(HEAD_START)
        self._every("tick", TICK_EVERY, self._tick)
        facts, may_rescue = self._facts, self._renewal.rescues
        self._every("unhandled", max(1.0, brief.unhandled_after / 4), self._fail_unhandled, needed=facts.waiting)
        self._every("rescue", max(0.5, brief.lease / 6), self._rescue, needed=facts.processing and may_rescue)
        self._every("heal", HEAL_EVERY, lambda: duties.heal(self._walk, self._line), needed=facts.pending)
        self._every("prune", HEAL_EVERY, self._prune)
        self._every("artifacts", HEAL_EVERY, lambda: duties.sweep_artifacts(self._walk, Path(brief.home), self._line))
        fires = not facts.paused and time.monotonic() >= self._fires_at
        self._every("schedules", SCHEDULES_EVERY, self._fire, needed=fires)
        self._tally.sender.send_when_due()

    def _bury(self) -> None:
        if time.monotonic() < self._bury_at:
            return
        # One that somebody's lock keeps from being settled must not keep the others, nor the renewing of leases.
        for death in list(self._flock.deaths):
            self._renewal.when_due()
            try:
                dead.bury(death, self._line, self._brief.max_crashes, self._tally)
            except StatementRefused as error:
                self._renewal.refused("bury", error, worker=death.worker_id)
                self._bury_at = time.monotonic() + BURY_AGAIN
                continue
            self._flock.bury(death)
            self._channel.send("buried", worker=death.worker_id)

    def _every(self, name: str, seconds: float, duty: Callable[[], object], *, needed: bool = True) -> None:
        if needed and time.monotonic() >= self._timers[name]:
            self._timers[name] = time.monotonic() + seconds
            self._try(name, duty)

    def _try(self, name: str, duty: Callable[[], object]) -> None:
        """Do it; what is refused (somebody's lock) keeps no other duty from being done."""
        self._renewal.when_due()
        try:
            duty()
        except StatementRefused as error:
            self._renewal.refused(name, error)

    def _beat(self) -> None:
        duties.beat(self._brief, self._flock, self._board, self._line)
        if self._flock.known:
            if self._facts.processing:
                dead.release_strays(self._flock, self._line, self._brief.manager_id)
            else:
                self._flock.strays = frozenset()
        if self._ear.is_missing:
            self._open_ear()
        else:
            self._ear.check()

    def _tick_in(self, seconds: float) -> None:
        """Tick so soon, or before: what comes again and again must not put it off."""
        soon = max(time.monotonic() + seconds, self._ticked_at + TICKS_APART)
        self._timers["tick"] = min(self._timers["tick"], soon)

    def _tick(self) -> None:
        self._ticked_at = time.monotonic()
        idle = self._waker.idle()
        facts = self._facts = look(self._line, self._brief.manager_id, idle)
        if duties.relay_pause(self._board, facts):
            self._waker.ring()
        self._waker.serve(facts.found, facts.due_in)
        if facts.stop_asked is not None:  # again and again, until the manager, which knows it already, ends this keeper
            self._channel.send("stop", quick=facts.stop_asked == "quick")
        self._fires_at = float("inf") if facts.fires_in is None else time.monotonic() + facts.fires_in
        if facts.pause_over:
            self._try("pauses", self._lift)
        if facts.token_over:
            self._try("tokens", lambda: duties.sweep_tokens(self._line))
        if facts.cancels:
            self._try("cancels", self._relay_cancels)
        if self._brief.until_empty and idle and len(idle) == len(self._flock.living):
            self._try("empty", lambda: duties.tell_empty(self._channel, self._line))

    def _lift(self) -> None:
        duties.lift_pauses(self._line)
        self._tick_in(0.0)  # what is in force now is seen by a statement that begins after it (R12)

    def _relay_cancels(self) -> None:
        if duties.relay_cancels(self._flock, self._board, self._line):
            self._tick_in(CANCEL_AGAIN)

    def _rescue(self) -> None:
        dead.rescue(self._line, self._brief, self._flock, self._tally, self._renewal)

    def _fail_unhandled(self) -> None:
        # A worker that is still importing its handlers may have the one that is missed.
        if self._flock.has_spoken:
            duties.fail_unhandled(self._brief, self._line, self._tally)

    def _fire(self) -> None:
        due = time.monotonic() + self._schedules.fire(self._line)
        self._timers["schedules"] = min(self._timers["schedules"], due)

    def _prune(self) -> None:
        self._timers["prune"] = time.monotonic() + duties.prune(self._walk, self._brief, self._line)

    @property
    def _stopping(self) -> bool:
        """Tell whether the manager wants it to end: the workers have, and only their deaths are still to be settled."""
        return self._leave_at < float("inf")

    def _leave(self) -> int:
        if self._connected:
            self._tally.sender.finish()
        return 5 if self._flock.deaths else 0


def end_with_manager(run_id: str) -> int:
    """Kill whatever a dead manager left behind (R26); returns the exit code."""
    sweep(RUN, run_id, seconds=1.5)
    return 0
