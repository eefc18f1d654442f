"""Writing outcomes when a turn could not: one statement refused, or the connection was lost.

Owns: what to do about each error. Invariant: an outcome is dropped only when the database says that it was written,
or that its claim is
no longer ours.
"""

from __future__ import annotations

import time
from dataclasses import replace

from workerpool import logs
from workerpool.core import pace
from workerpool.core.outcome import Outcome, released
from workerpool.core.revision import TERMINAL, Claim
from workerpool.store.line import Line, StatementRefused
from workerpool.worker.attempt import Attempt
from workerpool.worker.hand import Hand
from workerpool.worker.tally import Tally

log = logs.get("worker")
PATIENCE = 0.2
#: What waited longer than this before its start is checked by token first: this process may have been stopped
#: meanwhile (R23).
STALE = 0.2
EVENT_OF = {
    "failed": "revision.failed",
    "retried": "revision.retried",
    "cancelled": "revision.cancelled",
    "released": "revision.released",
    "snoozed": "revision.snoozed",
}


def still_ours(claim: Claim, hand: Hand, line: Line, attempt: Attempt) -> bool:
    """Tell whether a claim is ours still, before its handler starts (R23); one that has waited is looked up.

    Raises LineLost and StatementRefused, with the claim given back.
    """
    if time.monotonic() - claim.claimed_at <= STALE:
        return True
    rows = None
    try:
        rows = line.call("still_held", ids=[claim.revision_id], token=claim.token)
        if rows:
            return True
    finally:
        if not rows:
            attempt.end()
        if rows is None:
            hand.finish(released(claim.revision_id, claim.token))
    hand.forget_running()
    log.warning("revision.fenced", revision_id=claim.revision_id, verdict="not started")
    return False


def with_payload(claim: Claim, line: Line) -> Claim:
    """Return *claim* with its payload, left out of it where it is large. Raises LineLost, StatementRefused."""
    rows = line.call("payload", id=claim.revision_id, token=claim.token)
    return replace(claim, payload=rows[0][0] if rows else "{}")


def settle_all(hand: Hand, line: Line, tally: Tally) -> None:
    """Settle everything that is done, in one statement if that goes, else one by one.

    Raises LineLost, and StatementRefused where the disk of the server is full, with the rest still in hand.
    """
    with hand.lock:
        while hand.done:
            outcomes = list(hand.done[: pace.MOST])
            try:
                written = line.settle(outcomes)
            except StatementRefused as error:
                log.warning("settlement.refused", error=str(error), count=len(outcomes))
                if error.full:
                    raise
                _one_by_one(hand, line, outcomes, tally)
                continue
            note_written(hand, outcomes, written, tally)
            hand.drop(frozenset(each.revision_id for each in outcomes))


def _one_by_one(hand: Hand, line: Line, outcomes: list[Outcome], tally: Tally) -> None:
    for outcome in outcomes:
        try:
            note_written(hand, [outcome], line.settle([outcome]), tally)
            hand.drop(frozenset({outcome.revision_id}))
        except StatementRefused as error:
            if error.passing:
                time.sleep(PATIENCE)  # somebody holds the row or its item: the claim stays ours, and it is tried again
                continue
            # The database cannot hold this outcome: say so in one that it can.
            told = f"the outcome could not be written: {error.reason}"
            hand.replace(Outcome(outcome.revision_id, outcome.token, "failed", message=told[:2000], kind="error"))


def note_outcome(claim: Claim, outcome: Outcome, took: float, tally: Tally) -> None:
    """Count an attempt, whose handler took so many seconds; log one that did not complete its revision."""
    tally.ended(claim.handler, outcome, took)
    if outcome.verdict != "completed":
        log.info(EVENT_OF[outcome.verdict], revision_id=claim.revision_id, attempt=claim.attempt, why=outcome.message)


def note_written(hand: Hand, outcomes: list[Outcome], written: frozenset[int], tally: Tally) -> None:
    """Pass on which outcomes were written; log and count those that were refused, whose claim was lost: ran in vain."""
    hand.written([each for each in outcomes if each.revision_id in written])
    for outcome in outcomes:
        if outcome.revision_id not in written:
            tally.fenced()
            log.warning("revision.fenced", revision_id=outcome.revision_id, verdict=outcome.verdict)


def reconcile(hand: Hand, line: Line, worker_id: str, tally: Tally) -> None:
    """After a lost answer.

    Find out what was written, and give back what the database says we hold and we do not know of (R19).
    """
    hand.came_back()
    done = hand.done
    if done:
        rows = line.call("outcome_of", ids=[each.revision_id for each in done])
        status = {(row[0], row[1]): row[2] for row in rows}
        over = [each for each in done if status.get((each.revision_id, each.token)) != "processing"]
        hand.drop(frozenset(each.revision_id for each in over))
        # What has ended keeps its token; of what was given back, or is tried again, nobody can tell if it was written.
        ends = [each for each in over if each.verdict in TERMINAL]
        known = frozenset(each.revision_id for each in ends if (each.revision_id, each.token) in status)
        note_written(hand, ends, known, tally)
    ours = line.call("held_by", worker=worker_id, manager=None)
    hand.forget_held(frozenset(row[0] for row in ours if hand.knows(row[0], row[1])))
    strays = [released(row[0], row[1]) for row in ours if not hand.knows(row[0], row[1])]
    if strays:
        line.settle(strays)
        log.info("revision.released", count=len(strays), why="the answer to their claim was lost")
