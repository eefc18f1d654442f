"""The loop of a worker: claim, run, settle, until told to stop.

Owns: when a turn is sent and how much it asks for. Does not own: what a turn does (the functions of the schema).
Invariant: a handler that may be slow starts with a clean desk (nothing held ahead, nothing unsettled), so that it
delays nobody.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from uuid import uuid4

from workerpool import logs
from workerpool.core import pace
from workerpool.core.briefs import WorkerBrief
from workerpool.core.outcome import released
from workerpool.core.revision import Claim
from workerpool.link.board import Record
from workerpool.store.line import Line, LineLost, Order, StatementRefused, claim_of
from workerpool.worker import presence
from workerpool.worker.appetite import Appetite
from workerpool.worker.attempt import Attempt
from workerpool.worker.desk import WorkerDesk
from workerpool.worker.footing import Wear, is_starved
from workerpool.worker.hand import Hand
from workerpool.worker.pausing import Pausing
from workerpool.worker.perform import Performer
from workerpool.worker.settling import note_outcome, note_written, reconcile, settle_all, still_ours, with_payload
from workerpool.worker.tally import Tally

log = logs.get("worker")
LONGEST_PAUSE, LONGEST_REFUSAL = 0.25, 5.0


class Loop:
    """The life of one worker on its main thread."""

    def __init__(
        self,
        brief: WorkerBrief,
        line: Line,
        hand: Hand,
        desk: WorkerDesk,
        performer: Performer,
        record: Record,
        handlers: tuple[str, ...],
        poke: Callable[[], None],
        on_round: Callable[[], object],
    ) -> None:
        self._brief, self._line, self._hand, self._desk = brief, line, hand, desk
        self._performer, self._record, self._handlers = performer, record, handlers
        self._poke, self._on_round = poke, on_round
        self._appetite, self._wear, self.tally = Appetite(), Wear(brief.max_revisions, brief.max_rss), Tally(line)
        self._said = "busy"
        self._contended = self._refusals = 0
        self.slept: Callable[[], object] = lambda: None  # called after each sleep
        self._unwatched = True  # the attendant may be asleep since this loop was
        self._sent: tuple[Order, float] | None = None
        self._lost: LineLost | None = None
        self.stopping = self.idle = False
        self.hurried = False  # told to leave at once: nothing is waited for any more
        self.attempt = Attempt(record)
        self.pausing = Pausing(brief, line, desk, record, self.attempt, lambda: self.stopping, self.clear_desk)
        desk.hold = self.pausing.hold

    def run(self) -> None:
        """Work until ``stopping``; then settle and give back everything.

        Raises LineLost where the database does not take it.
        """
        self._record.state("busy")
        while not self.stopping and not self._worn_out():
            self._survive(self._round)
        self._record.state("stopping")
        while not self._survive(self._leave):
            pass

    def _survive(self, step: Callable[[], object]) -> bool:
        """Do *step*; tells whether it went through, whatever the database did meanwhile."""
        try:
            if self._lost is not None:
                raise self._lost
            step()
            self._refusals = 0
            return True
        except LineLost as error:
            self._reconnect(error)
        except StatementRefused as error:
            # Its own loop fails, not a handler: it waits longer each time, and leaves the stage to others.
            self._refusals += 1
            log.warning("turn.refused", error=str(error), refusals=self._refusals)
            if error.full and (self.hurried or (self.stopping and self._hand.is_empty)):
                raise LineLost(error) from error  # nothing more can be written, as if the database were away
            longer = min(LONGEST_REFUSAL, LONGEST_PAUSE * 2 ** min(self._refusals - 1, 10))
            time.sleep(LONGEST_PAUSE) if self.stopping else self._sleep(longer)
        return False

    def _round(self) -> None:
        if self.pausing.is_news:
            self.pausing.look()
        held = self._hand.held
        if held and not self._appetite.is_short(held):
            if self._hand.done:
                self._settle()
            self._perform_held()
            return
        if held and not self._appetite.plenty:
            # Nothing else to claim meanwhile: one round trip then settles these and takes their successors.
            self._perform_held()
        state = self._turn()
        if self._hand.held or self._hand.done:
            self._contended = 0
        elif state == "contended":
            self._back_off()
        elif state == "paused":
            self._rest()
        elif state == "empty":
            self._starve()

    def _turn(self) -> str:
        """Send what was said and what is done, ask for more, run what is held meanwhile, take the answer in."""
        if self._said != "busy" and self._hand.done:
            self._say("busy")  # after the first handler, not before it: the pick-up does not wait for this
        with self._hand.lock:
            order, sent = self._order(), time.monotonic()
            try:
                self._line.submit(self._hand.send_off(pace.MOST), order, self._desk.take_off())
            except StatementRefused:
                self._hand.came_back()
                self._desk.came_back()
                raise
            self._sent = order, sent
        if self._hand.held:
            self._perform_held()
        return self.absorb()

    def absorb(self) -> str:
        """Take the answer of the turn under way in, if there is one. Called by the attendant too."""
        with self._hand.lock:
            if self._sent is None:
                return "claimed"
            (order, sent), self._sent = self._sent, None
            try:
                answer = self._line.collect()
            except LineLost as error:
                # Whoever asked for the answer: the loop has to find out what became of its turn.
                self._lost = error
                raise
            except StatementRefused as error:
                # The claim's half may have failed: the outcomes must not be lost with it (R8).
                log.warning("turn.refused", error=str(error))
                self._desk.landed(self._line.refused)
                self._hand.came_back()
                self._appetite.curb()
                self._settle()
                return "contended"
            self._desk.landed(self._line.refused)
            self._on_round()
            outcomes = self._hand.arrived()
            note_written(self._hand, outcomes, answer.settled, self.tally)
            self.tally.claimed(answer.claims)
            self._hand.take_in([claim_of(row, order.token, sent) for row in answer.claims])
            self._appetite.answered(answer, len(outcomes))
            return answer.state

    def _settle(self) -> None:
        # An attempt that is given back has no claim any more that would let its last words in.
        self._desk.flush()
        settle_all(self._hand, self._line, self.tally)

    def clear_desk(self) -> None:
        """A handler takes long: hold nothing behind it, settle what was done before it. Called by the attendant."""
        with self._hand.lock:
            self.absorb()
            given = self._hand.give_back()
            if given:
                log.debug("revision.released", count=given, why="the handler before them takes long")
            self._settle()
            if self._said != "busy":
                self._say("busy")

    def _order(self) -> Order:
        brief, limits = self._brief, self._performer.concurrency
        how_many, begin = self._appetite.ask(self._hand.held), self._appetite.begin(time.monotonic())
        return Order(brief.worker_id, uuid4(), self._handlers, how_many, brief.sharers, brief.lease, limits, begin)

    def _perform_held(self) -> None:
        while (claim := self._next()) is not None:
            if not still_ours(claim, self._hand, self._line, self.attempt):
                continue
            self._perform(claim)
            if self.stopping or self._worn_out():
                self._hand.give_back()

    def _next(self) -> Claim | None:
        """Begin the next claim; what a pause forbids to begin is given back."""
        if self.pausing.is_news:
            self.pausing.look()
        if self.pausing.in_force:
            self._hand.give_back(lambda claim: self.pausing.forbids(claim.handler))
        return self._hand.start_next(self._begin)

    def _begin(self, claim: Claim) -> None:
        self.attempt.begin(claim, *self._performer.limits(claim, self._brief.timeout))

    def _perform(self, claim: Claim) -> None:
        token = self.attempt.token
        assert token is not None
        if self._unwatched:  # only now: two threads that wake at once get in each other's way
            self._unwatched = False
            self._poke()
        try:
            if claim.payload is None:
                claim = with_payload(claim, self._line)
            most = self._performer.limits(claim, self._brief.timeout).max_attempts
            outcome = self._performer.perform(claim, token, most)
        except (LineLost, StatementRefused):
            outcome = released(claim.revision_id, claim.token)
            raise
        finally:
            took = self.attempt.over()
            self._wear.count(took)
            self._appetite.took(claim.handler, took)
            if outcome.written:
                self._hand.forget_running()
            else:
                self._hand.finish(outcome)
            self.attempt.end(completed=outcome.verdict == "completed")
        note_outcome(claim, outcome, took, self.tally)

    def _starve(self) -> None:
        """Nothing to do: say so in a transaction of its own, look once more after its commit, then sleep (R11)."""
        if self._said != "idle":
            self._say("idle")
            return
        self._record.state("idle")
        # The pool looks once an interval, whoever of its workers it is; the keeper looks for all of them besides.
        self._sleep(self._brief.poll_interval * self._brief.sharers * random.uniform(0.5, 1.5))
        self._record.state("busy")

    def _say(self, state: str) -> None:
        self._said = state
        presence.say(self._line, self._brief, state)

    def _rest(self) -> None:
        """Nothing may be claimed: say that this worker has seen why, and sleep until the keeper rings."""
        self._record.state("paused")
        self._said = "paused"
        self.pausing.look("paused")
        self._sleep(self._brief.pause_poll_interval)
        self._record.state("busy")

    def _back_off(self) -> None:
        """Others are at the same rows: come back within milliseconds, then less and less often."""
        self._contended += 1
        self._sleep(min(LONGEST_PAUSE, 0.002 * 2 ** min(self._contended, 10)))

    def _sleep(self, seconds: float) -> None:
        self.idle = self._unwatched = True
        try:
            presence.await_bell(self._brief, 0 if self.stopping else seconds)
        finally:
            self.idle = False
            self.slept()

    def _worn_out(self) -> bool:
        return self._wear.is_over or self._performer.dirty

    def _reconnect(self, error: LineLost) -> None:
        log.warning("database.lost", error=str(error))
        wait, last = 0.05, False
        while True:
            # At the end it is waited for only for somebody's sake; for a farewell, one that is there is asked once.
            if self.hurried or (last and self._hand.is_empty) or is_starved():
                raise error
            last = self.stopping
            try:
                presence.regain(self._line, self._brief, self._handlers)
                with self._hand.lock:
                    self._sent = self._lost = None
                    self._desk.came_back()
                    reconcile(self._hand, self._line, self._brief.worker_id, self.tally)
                self._said = "busy"
                log.info("database.regained")
                return
            except (LineLost, StatementRefused):
                time.sleep(min(wait, LONGEST_PAUSE)) if self.stopping else self._sleep(wait)
                wait = min(2.0, wait * 2)

    def _leave(self) -> None:
        """Settle and give back everything."""
        with self._hand.lock:
            self.absorb()
            self._hand.give_back()
            self._settle()
        presence.say(self._line, self._brief, "gone")
        self.tally.sender.finish()
