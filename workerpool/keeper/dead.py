"""Settling for those who cannot: processes that ended with claims in hand (R19, R21, R22).

Invariant: only the revision that was running is charged; whatever else the process held is given back.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from workerpool import logs
from workerpool.core import outcome as verdicts
from workerpool.core.briefs import KeeperBrief
from workerpool.core.outcome import Outcome
from workerpool.core.revision import DEFAULT_MAX_ATTEMPTS, Tries
from workerpool.keeper.flock import Death, Flock
from workerpool.keeper.renewal import Renewal
from workerpool.keeper.tally import Tally
from workerpool.link.failpoints import reach
from workerpool.store.line import Line, StatementRefused

log = logs.get("keeper")
RESCUES_A_SWEEP = 20
REFUSALS_A_SWEEP = 2
EVENT_OF = {"poison": "revision.poisoned", "cancelled": "revision.cancelled", "timeout": "revision.timed_out"}
#: Ends of a worker for a limit that its attempt was beyond: the attempt failed, its worker did not crash.
LIMITS = frozenset({"memory", "output"})


def bury(death: Death, line: Line, max_crashes: int, tally: Tally) -> None:
    """Settle everything that the dead process held, and mark it gone. Raises LineLost; doing it again is harmless."""
    reach("before_bury")
    rows = line.call("held_by", worker=death.worker_id, manager=None)
    judged = [(_judge(death, row, max_crashes), row[6]) for row in rows]
    for start in range(0, len(judged), 60):
        some = judged[start : start + 60]
        written = line.settle([outcome for outcome, _ in some])
        for outcome, handler in some:
            # (one that was not written had ended already: its worker was killed while the server committed its outcome)
            if outcome.revision_id in written:
                _note(death, outcome, handler, tally)
    line.call("mark_gone", worker=death.worker_id)
    if death.reason != "stop":
        tally.add("restarts", kind=death.reason)


def _note(death: Death, outcome: Outcome, handler: str, tally: Tally) -> None:
    """Log and count what became of a revision that the dead process held."""
    if (outcome.revision_id, outcome.token) == (death.revision_id, death.token):
        tally.settled(handler, outcome)
    if outcome.verdict != "released":
        event = EVENT_OF.get(outcome.kind or "", "revision.limited" if outcome.kind == "error" else "revision.crashed")
        log.warning(event, revision_id=outcome.revision_id, worker=death.worker_id, why=outcome.message)


def _judge(death: Death, row: Sequence[Any], max_crashes: int) -> Outcome:
    revision, token, _, attempt, most, crashes, _ = row
    if revision != death.revision_id or token != death.token or death.reason in {"stop", "lease", "recycled"}:
        return verdicts.released(revision, token)
    tries = Tries(attempt, most or death.max_attempts or DEFAULT_MAX_ATTEMPTS, crashes, max_crashes)
    if death.reason == "cancel":
        return Outcome(revision, token, "cancelled", message=death.message, kind="cancelled")
    if death.reason in LIMITS:
        return verdicts.failed(revision, token, tries, death.message, "error", random.random())
    if death.reason == "timeout":
        return verdicts.failed(revision, token, tries, death.message, "timeout", random.random())
    return verdicts.crashed(revision, token, tries, death.message, random.random())


def release_strays(flock: Flock, line: Line, manager_id: str) -> int:
    """Give back what the database ascribes to processes of our manager that are not alive (R19).

    Only what was seen so at the last look too: news of a process that has just started, or died, may be on its way.
    """
    waiting = {death.worker_id for death in flock.deaths}
    rows = line.call("held_by", worker=None, manager=f"{manager_id}/")
    found = {(row[0], row[1]) for row in rows if row[2] not in flock.living and row[2] not in waiting}
    strays = [verdicts.released(revision, token) for revision, token in found & flock.strays]
    flock.strays = frozenset(found)
    for start in range(0, len(strays), 60):
        line.settle(strays[start : start + 60])
    if strays:
        log.warning("revision.released", count=len(strays), why="their worker is not alive")
    return len(strays)


def rescue(line: Line, brief: KeeperBrief, flock: Flock, tally: Tally, renewal: Renewal) -> int:
    """Take back claims whose lease ran out, a bounded number; returns how many. Each counts as a crash.

    A living worker of ours keeps its claim: its renewal was kept out by somebody's lock. What a dead one of ours held
    is settled as its death says (``bury``), which somebody's lock may delay.
    """
    ours = {sheep.worker_id for sheep in flock.renewable(brief.lease)} | {death.worker_id for death in flock.deaths}
    rows = line.call("expired", lease=f"{brief.lease} seconds", how_many=RESCUES_A_SWEEP)
    random.shuffle(rows)  # those that somebody has locked must not stand before the others for ever
    taken = refused = 0
    for revision, token, worker, attempt, most, crashes, handler in rows:
        if refused >= REFUSALS_A_SWEEP:
            break
        if worker in ours:
            continue
        renewal.when_due()
        tries = Tries(attempt, most or DEFAULT_MAX_ATTEMPTS, crashes, brief.max_crashes)
        told = f"its lease ran out: nobody renewed it for worker {worker}"
        outcome = verdicts.crashed(revision, token, tries, told, random.random())
        reach("before_rescue")
        try:
            written = line.settle([outcome], only_expired=True)
        except StatementRefused as error:
            refused += 1
            renewal.refused("rescue", error, revision_id=revision)
            continue
        if written:
            taken += 1
            tally.add("rescues")
            tally.settled(handler, outcome)
            log.warning("revision.rescued", revision_id=revision, worker=worker)
    return taken
